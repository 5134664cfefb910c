//! Questions about the tree from HTTP clients. The first view answers them on its ticks, one at a time and for a turn's worth
//! of work each, so that clients of the client port hardly wait for them.

use super::mailbox::{self, Busy, Deliver};
use super::spsc::Notify;
use crate::auth::Policy;
use crate::replica::View;
use crate::replica::browse::{Browse, Browsed, Browsing, NotBrowsed};
use std::fmt;
use std::sync::Arc;

/// Questions that may wait for the view.
const WAITING_MAX: usize = 4;

type Answer = Deliver<Result<Browsed, NotBrowsed>>;

/// Asks; for any thread.
#[derive(Clone, Debug)]
pub struct Browser {
    sender: mailbox::Sender<(Browse, Answer)>,
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
        self.sender.send((browse, Box::new(answer)))
    }
}

/// The view's end.
pub struct Pending {
    receiver: mailbox::Receiver<(Browse, Answer)>,
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
        let next = || self.receiver.take().map(|(browse, answer)| (Browsing::new(browse), answer));
        let Some((mut browsing, answer)) = self.current.take().or_else(next) else { return };
        match view.browse(&mut browsing) {
            Some(answered) => answer(answered),
            None => self.current = Some((browsing, answer)),
        }
    }
}

/// Both ends.
pub fn channel(policy: Arc<Policy>) -> (Browser, Pending) {
    // The view looks on its ticks.
    let (sender, receiver) = mailbox::channel("question about the tree", WAITING_MAX, Notify::default());
    (Browser { sender, policy }, Pending { receiver, current: None })
}
