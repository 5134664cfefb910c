//! Questions that HTTP clients ask of the server: they go the way of a four-letter word, and the answer is a [`Status`].

use super::mailbox::{self, Deliver};
use super::spsc::Notify;
use crate::admin::{FourLetterWord, Status};
use std::collections::BTreeMap;
use std::fmt;

/// Questions that may wait to be taken.
const WAITING_MAX: usize = 64;

/// Questions that views have not all reported on at which no more are taken: a view may hang, and the client asks
/// again.
const OPEN_MAX: usize = 16;

/// Something to be asked of all shards.
pub struct Question {
    /// Says what is gathered. `Srst`, `Crst` and `Stmk` act as the words do.
    pub word: FourLetterWord,
    /// The mask that `Stmk` sets.
    pub mask: Option<i64>,
    /// Gets the answer, on the commit thread.
    pub answer: Deliver<Box<Status>>,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("word", &self.word).field("mask", &self.mask).finish_non_exhaustive()
    }
}

/// Asks.
pub type Questions = mailbox::Sender<Question>;

/// The commit shard's end.
#[derive(Debug)]
pub struct Pending {
    receiver: mailbox::Receiver<Question>,
    next: u64,
    open: BTreeMap<u64, Question>,
}

impl Pending {
    /// The next question: its number, what it wants, and its mask.
    pub fn take(&mut self) -> Option<(u64, FourLetterWord, Option<i64>)> {
        if self.open.len() >= OPEN_MAX {
            return None;
        }
        let question = self.receiver.take()?;
        self.next += 1;
        let taken = (self.next, question.word, question.mask);
        self.open.insert(self.next, question);
        Some(taken)
    }

    /// Hands over the answer to the question of this number.
    pub fn tell(&mut self, number: u64, status: Box<Status>) {
        let question = self.open.remove(&number);
        assert!(
            question.is_some(),
            "question {number} is answered, which was not asked or is answered already"
        );
        if let Some(question) = question {
            (question.answer)(status);
        }
    }
}

/// Both ends; `notify` wakes the commit shard.
pub fn channel(notify: Notify) -> (Questions, Pending) {
    let (questions, receiver) = mailbox::channel("question", WAITING_MAX, notify);
    (questions, Pending { receiver, next: 0, open: BTreeMap::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn question(word: FourLetterWord, told: &mpsc::Sender<FourLetterWord>) -> Question {
        let told = told.clone();
        let answer = move |_: Box<Status>| told.send(word).expect("the test listens");
        Question { word, mask: None, answer: Box::new(answer) }
    }

    /// Each answer goes to the one who asked, in any order; beyond the limits nothing is taken, and after an answer more is.
    #[test]
    fn answers_and_limits() {
        let (asked, mut pending) = channel(Notify::default());
        let (told, heard) = mpsc::channel();
        for number in 0..OPEN_MAX as u64 {
            asked.send(question(FourLetterWord::Srvr, &told)).expect("there is room");
            assert_eq!(pending.take(), Some((number + 1, FourLetterWord::Srvr, None)));
        }
        asked.send(question(FourLetterWord::Dump, &told)).expect("there is room");
        assert_eq!(pending.take(), None, "too many are open");
        pending.tell(5, Box::default());
        assert_eq!(heard.try_recv(), Ok(FourLetterWord::Srvr));
        let (number, word, _) = pending.take().expect("one was answered");
        assert_eq!(word, FourLetterWord::Dump);
        pending.tell(number, Box::default());
        assert_eq!(heard.try_recv(), Ok(FourLetterWord::Dump));
        assert!(heard.try_recv().is_err());
        for _ in 0..WAITING_MAX {
            asked.send(question(FourLetterWord::Srvr, &told)).expect("there is room");
        }
        let busy = asked.send(question(FourLetterWord::Srvr, &told)).expect_err("many wait");
        drop(pending);
        assert_eq!(asked.send(question(FourLetterWord::Srvr, &told)), Err(busy), "the server has stopped");
    }
}
