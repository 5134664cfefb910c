//! Questions about the tree from HTTP clients. The first view answers them on its ticks, one at a time and for a turn's worth
//! of work each, so that clients of the client port hardly wait for them.

use crate::auth::Policy;
use crate::replica::View;
use crate::replica::browse::{Browse, Browsed, Browsing, NotBrowsed};
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Questions that may wait for the view.
const WAITING_MAX: usize = 4;

/// Gets the answer, on the view's thread: it must hand it over and return. It is dropped where there will be none.
type Answer = Box<dyn FnOnce(Result<Browsed, NotBrowsed>) + Send>;

/// No question is taken now: others wait already, or the server has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server takes no question about the tree now: {WAITING_MAX} wait already, or it stops")]
pub struct Busy;

/// Asks; for any thread.
#[derive(Clone, Debug)]
pub struct Browser {
    sender: SyncSender<(Browse, Answer)>,
    /// What turns credentials into ids.
    pub policy: Arc<Policy>,
}

impl Browser {
    /// Asks, without waiting for the answer.
    ///
    /// # Errors
    /// The question is not taken.
    pub fn ask(
        &self,
        browse: Browse,
        answer: impl FnOnce(Result<Browsed, NotBrowsed>) + Send + 'static,
    ) -> Result<(), Busy> {
        self.sender.try_send((browse, Box::new(answer))).map_err(|_| Busy)
    }
}

/// The view's end.
pub struct Pending {
    receiver: Receiver<(Browse, Answer)>,
    current: Option<(Browsing, Answer)>,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("is_busy", &self.current.is_some()).finish_non_exhaustive()
    }
}

impl Pending {
    /// Does a turn's worth of work for the question that is next, if there is one.
    pub fn turn(&mut self, view: &View) {
        let next = || self.receiver.try_recv().ok().map(|(browse, answer)| (Browsing::new(browse), answer));
        let Some((mut browsing, answer)) = self.current.take().or_else(next) else { return };
        match view.browse(&mut browsing) {
            Some(answered) => answer(answered),
            None => self.current = Some((browsing, answer)),
        }
    }
}

/// Both ends.
pub fn channel(policy: Arc<Policy>) -> (Browser, Pending) {
    let (sender, receiver) = sync_channel(WAITING_MAX);
    (Browser { sender, policy }, Pending { receiver, current: None })
}
