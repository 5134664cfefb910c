//! Wakes an open loop when its next request arrives, through its epoll: `epoll_wait` itself counts only milliseconds.

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A timer that fires once each time that it is set.
pub struct Timer {
    descriptor: OwnedFd,
    /// The time of the last `set`.
    set_to_ns: Option<f64>,
}

impl Timer {
    /// The data of the timer's event.
    pub const DATA: u64 = u64::MAX;

    /// A timer that fires as an event of `epoll`.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new(epoll: &OwnedFd) -> Result<Self, Errno> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        epoll::add(epoll, &descriptor, EventData::new_u64(Self::DATA), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { descriptor, set_to_ns: None })
    }

    /// Makes the timer fire at `at_ns`, or at once if that is not after `now_ns`. A second call with the same `at_ns`
    /// does nothing: the timer has fired or will.
    ///
    /// # Errors
    /// Those of `timerfd_settime`, none of which is expected.
    pub fn set(&mut self, at_ns: f64, now_ns: u64) -> Result<(), Errno> {
        if self.set_to_ns == Some(at_ns) {
            return Ok(());
        }
        self.set_to_ns = Some(at_ns);
        // Zero would disarm the timer.
        let wait = Duration::from_nanos((at_ns - now_ns as f64).max(1.0) as u64);
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec { tv_sec: wait.as_secs() as _, tv_nsec: wait.subsec_nanos().into() };
        timerfd_settime(&self.descriptor, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::buffer::spare_capacity;

    /// A time in the past fires too: an open loop that slept over it would measure its own delay as the server's.
    #[test]
    fn past_fires() {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
        let mut timer = Timer::new(&epoll).expect("a timer");
        let mut fires = |at_ns, now_ns, wait: i64| {
            timer.set(at_ns, now_ns).expect("a timer that is set");
            let mut events = Vec::with_capacity(1);
            let wait = Timespec { tv_sec: wait, tv_nsec: 0 };
            epoll::wait(&epoll, spare_capacity(&mut events), Some(&wait)).expect("a wait");
            events.first().is_some_and(|event: &epoll::Event| event.data.u64() == Timer::DATA)
        };
        assert!(fires(7.0, 100, 60));
        assert!(fires(100.0, 100, 60));
        assert!(fires(1_000_100.0, 100, 60), "a millisecond later");
        assert!(!fires(1_000_100.0, 200, 0), "once");
    }
}
