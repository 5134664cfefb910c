//! When the next request of an open loop arrives, told to an epoll: `epoll_wait` itself counts milliseconds.

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A timer that rings once each time that it is set.
pub struct Alarm {
    timer: OwnedFd,
    set_to_ns: Option<f64>,
}

impl Alarm {
    /// What the event of an alarm carries.
    pub const DATA: u64 = u64::MAX;

    /// One that rings in `epoll`.
    ///
    /// # Errors
    /// The system has no descriptor to give.
    pub fn new(epoll: &OwnedFd) -> Result<Self, Errno> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        epoll::add(epoll, &timer, EventData::new_u64(Self::DATA), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { timer, set_to_ns: None })
    }

    /// Rings at `at_ns`, or at once where that is not later than `now_ns`; it has rung or will where it was
    /// set to the same before.
    ///
    /// # Errors
    /// None that is known of.
    pub fn set(&mut self, at_ns: f64, now_ns: u64) -> Result<(), Errno> {
        if self.set_to_ns == Some(at_ns) {
            return Ok(());
        }
        self.set_to_ns = Some(at_ns);
        // Of zero it would never ring.
        let wait = Duration::from_nanos((at_ns - now_ns as f64).max(1.0) as u64);
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec { tv_sec: wait.as_secs() as _, tv_nsec: wait.subsec_nanos().into() };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::buffer::spare_capacity;

    /// What is due when the alarm is set rings as well: an open loop that slept over it answered for the
    /// server's slowness.
    #[test]
    fn past_rings() {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
        let mut alarm = Alarm::new(&epoll).expect("a timer");
        let mut rings = |at_ns, now_ns, wait: i64| {
            alarm.set(at_ns, now_ns).expect("a timer that is set");
            let mut events = Vec::with_capacity(1);
            let wait = Timespec { tv_sec: wait, tv_nsec: 0 };
            epoll::wait(&epoll, spare_capacity(&mut events), Some(&wait)).expect("a wait");
            events.first().is_some_and(|event: &epoll::Event| event.data.u64() == Alarm::DATA)
        };
        assert!(rings(7.0, 100, 60));
        assert!(rings(100.0, 100, 60));
        assert!(rings(1_000_100.0, 100, 60), "a millisecond later");
        assert!(!rings(1_000_100.0, 200, 0), "once");
    }
}
