//! Sleeps that `epoll_wait`, which counts milliseconds, cannot end in time.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// Sleeps shorter than this need the alarm: of a longer one a millisecond does not matter.
pub const SHORT: Duration = Duration::from_millis(5);

/// A timer that wakes an epoll.
pub struct Alarm(OwnedFd);

impl Alarm {
    /// An alarm that makes `token` ready when it fires.
    ///
    /// # Errors
    /// The system has no descriptor to give.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self(timer))
    }

    /// What to give to `epoll_wait` in order to sleep for `timeout` at most; the timer fires in between if it must.
    pub fn bound(&self, timeout: Duration) -> Duration {
        if timeout.is_zero() || timeout >= SHORT {
            return timeout;
        }
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec { tv_sec: 0, tv_nsec: timeout.subsec_nanos().into() };
        // It need not be read: the epoll is edge-triggered, and setting it clears what it counted. One that is not needed
        // any more ends a later sleep at worst.
        let set = timerfd_settime(
            &self.0,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: zero, it_value: value },
        );
        assert!(set.is_ok(), "a timer cannot be set: {set:?}");
        SHORT
    }
}
