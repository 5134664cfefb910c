//! What other threads bring to a shard now and then, such as orders of HTTP clients: bounded, with any number of senders.
//! Batches between shards go by [`super::spsc`].

use super::spsc::Notify;
use std::fmt;
use std::future::poll_fn;
use std::sync::mpsc::{self, SyncSender, TryRecvError, sync_channel};
use std::task::Poll;

/// Gets an answer, on the shard's thread: it must hand it over and return. It is dropped where there will be none.
pub type Deliver<T> = Box<dyn FnOnce(T) + Send>;

/// A message is not taken: many wait already, or the server has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server takes no {noun} now: {waiting_max} wait already, or it stops")]
pub struct Busy {
    noun: &'static str,
    waiting_max: usize,
}

/// Brings messages; for any number of threads.
pub struct Sender<T> {
    sender: SyncSender<T>,
    /// Wakes the shard.
    notify: Notify,
    /// What is said of a message that is not taken.
    busy: Busy,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), notify: self.notify.clone(), busy: self.busy }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("of", &self.busy.noun).finish_non_exhaustive()
    }
}

impl<T> Sender<T> {
    /// Brings a message, without waiting for what comes of it.
    ///
    /// # Errors
    /// The message is dropped.
    pub fn send(&self, message: T) -> Result<(), Busy> {
        self.sender.try_send(message).map_err(|_| self.busy)?;
        self.notify.notify();
        Ok(())
    }
}

/// The shard's end.
#[derive(Debug)]
pub struct Receiver<T> {
    receiver: mpsc::Receiver<T>,
    notify: Notify,
}

impl<T> Receiver<T> {
    /// The next message, if there is one.
    pub fn take(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }

    /// The next message, once there is one; `None` once there will be no more. The mailbox's `notify` must wake this task.
    pub async fn next(&mut self) -> Option<T> {
        poll_fn(|cx| {
            self.notify.register(cx.waker());
            match self.receiver.try_recv() {
                Ok(message) => Poll::Ready(Some(message)),
                Err(TryRecvError::Empty) => Poll::Pending,
                Err(TryRecvError::Disconnected) => Poll::Ready(None),
            }
        })
        .await
    }
}

/// Both ends of a mailbox in which so many messages may wait. `noun` is what one of them is called; `notify` wakes the shard.
pub fn channel<T>(noun: &'static str, waiting_max: usize, notify: Notify) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = sync_channel(waiting_max);
    (
        Sender { sender, notify: notify.clone(), busy: Busy { noun, waiting_max } },
        Receiver { receiver, notify },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages come in order; a full mailbox, and one whose shard has stopped, say so in words.
    #[test]
    fn limits() {
        let (sender, mut receiver) = channel("question", 2, Notify::default());
        let other = sender.clone();
        assert_eq!(sender.send(1), Ok(()));
        assert_eq!(other.send(2), Ok(()));
        let busy = sender.send(3).expect_err("two wait");
        assert_eq!(busy.to_string(), "the server takes no question now: 2 wait already, or it stops");
        assert_eq!((receiver.take(), receiver.take(), receiver.take()), (Some(1), Some(2), None));
        assert_eq!(sender.send(4), Ok(()), "there is room again");
        drop(receiver);
        assert_eq!(sender.send(5), Err(busy), "the shard has stopped");
    }
}
