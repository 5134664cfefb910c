//! Hand-overs that operators ask for by HTTP, and that of a server which is about to stop, on their way to the commit side.

use super::mailbox::{self, Deliver};
use super::spsc::Notify;
use crate::driver::{self, NotHandedOver};
use std::fmt;
use std::sync::mpsc;
use std::time::Duration;

/// Hand-overs that may wait for the one that is under way.
const WAITING_MAX: usize = 4;

/// A server's lead is to go to another one.
pub struct HandOver {
    /// Which, or any.
    pub to: Option<i64>,
    /// Gets what became of it, on the commit thread.
    pub answer: Deliver<Result<i64, NotHandedOver>>,
}

impl fmt::Debug for HandOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandOver").field("to", &self.to).finish_non_exhaustive()
    }
}

/// Asks for hand-overs.
pub type HandOvers = mailbox::Sender<HandOver>;

/// Hands over to any server, where this one leads, and waits for that until `limit`: the server that leads then.
pub fn before_stop(hand_overs: &HandOvers, limit: Duration) -> Option<i64> {
    let (sender, receiver) = mpsc::channel();
    let answer = move |handed_over| {
        // It may have taken too long.
        let _ = sender.send(handed_over);
    };
    hand_overs.send(HandOver { to: None, answer: Box::new(answer) }).ok()?;
    receiver.recv_timeout(limit).ok()?.ok()
}

/// The commit shard's end.
pub struct Asked {
    receiver: mailbox::Receiver<HandOver>,
    /// Who wants to hear of the one that is under way.
    answer: Option<Deliver<Result<i64, NotHandedOver>>>,
}

impl driver::HandOvers for Asked {
    fn next(&mut self) -> Option<Option<i64>> {
        let HandOver { to, answer } = self.receiver.take()?;
        self.answer = Some(answer);
        Some(to)
    }

    fn tell(&mut self, handed_over: Result<i64, NotHandedOver>) {
        let answer = self.answer.take().expect("someone has asked");
        answer(handed_over);
    }
}

/// Both ends; `notify` wakes the commit shard.
pub fn channel(notify: Notify) -> (HandOvers, Asked) {
    let (hand_overs, receiver) = mailbox::channel("hand-over", WAITING_MAX, notify);
    (hand_overs, Asked { receiver, answer: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::HandOvers as _;
    use crate::replica::HandOverError;

    /// Each answer goes to the one who asked; one that stops hears none where its question is not taken in time.
    #[test]
    fn answers() {
        let (hand_overs, mut asked) = channel(Notify::default());
        let (sender, receiver) = mpsc::channel();
        let answer = move |handed_over| sender.send(handed_over).expect("the test listens");
        hand_overs.send(HandOver { to: Some(3), answer: Box::new(answer) }).expect("there is room");
        assert_eq!(asked.next(), Some(Some(3)));
        asked.tell(Ok(3));
        assert_eq!(receiver.try_recv(), Ok(Ok(3)));
        assert_eq!(before_stop(&hand_overs, Duration::from_millis(1)), None);
        assert_eq!(asked.next(), Some(None));
        asked.tell(Err(HandOverError::NoFollower.into()));
        assert_eq!(asked.next(), None);
        drop(asked);
        assert_eq!(before_stop(&hand_overs, Duration::from_secs(100)), None, "the server has stopped");
    }
}
