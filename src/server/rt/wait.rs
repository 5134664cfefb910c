//! How long a reactor may sleep.

use std::time::Duration;

/// The sleep of a thread that has nothing to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Poll,
    /// Until something happens.
    Event,
    /// For this time at most. Where `is_precise` is false it may be a millisecond more.
    AtMost { time: Duration, is_precise: bool },
}
