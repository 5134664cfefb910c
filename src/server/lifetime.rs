//! The server's life between start and end: the signals that stop it, the watchdog, and the end of its threads.

use super::hand_overs::{self, HandOvers};
use super::logging::{self, Text};
use super::spsc::Notify;
use super::supervisor::{self, Watchdog};
use super::{EXIT_BUG, EXIT_HOST, Phase, Shared, audit, exit, helper, rt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long shards may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// How long a leader that is to stop waits until another server leads.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(1);

/// How long a member that is to stop waits until its clients have gone to other servers.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// After this time in which no client went, none will: those that are left always have a request under way, or no session.
const LEAVE_PAUSE: Duration = Duration::from_millis(100);

/// Checks, one a second, without progress of a shard after which the process ends: a stalled shard answers no client, and
/// a supervisor cannot see it.
const WATCHDOG_CHECKS: u32 = 30;

/// The signals that stop the server.
pub struct Signals {
    receiver: std::sync::mpsc::Receiver<i32>,
    serving: Arc<AtomicBool>,
}

impl Signals {
    /// Until the server serves, one ends the process at once: there is nothing to finish, and recovery may
    /// take long.
    pub fn listen() -> Self {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]);
        let mut signals = signals.unwrap_or_else(|error| exit(EXIT_HOST, format_args!("signals: {error}")));
        let (sender, receiver) = channel();
        let serving = Arc::new(AtomicBool::new(false));
        let is_serving = serving.clone();
        let spawned = helper::spawn("zkfast-signals", move || {
            // A terminal that is closed, or a script that means "read your files again": no reason to end.
            let is_stop = |signal: &i32| {
                if *signal == SIGHUP {
                    log::info!(target: "server", "signal ignored: signal=SIGHUP why={}",
                        Text("zkfast reads its configuration at the start only"));
                }
                *signal != SIGHUP
            };
            let Some(signal) = signals.forever().find(is_stop) else { return };
            log::info!(target: "server", "stopping: signal={signal}");
            if !is_serving.load(Ordering::Acquire) {
                std::process::exit(0);
            }
            // The receiver is gone if the process is ending already.
            let _ = sender.send(signal);
            // Further ones change nothing, and the handlers stay: the default would be an untimely end.
            signals.forever().for_each(drop);
        });
        if let Err(error) = spawned {
            exit(EXIT_HOST, format_args!("no thread for signals: {error}"));
        }
        Self { receiver, serving }
    }

    /// From here on a signal is an orderly stop.
    pub fn serving(&self) {
        self.serving.store(true, Ordering::Release);
    }
}

/// What one check of the shards has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Every shard has gone on since the last check.
    Progress,
    /// A shard writes the log since so many checks. A disk that hangs is no bug of a shard that waits for it, and nothing is
    /// gained by another start.
    Writing(u32),
    /// A shard has stood still for so many checks.
    Still { shard: usize, checks: u32 },
}

/// The state of the shards at the last check. Time is counted in checks, so that a paused process is not taken for a stalled
/// one.
struct Progress {
    /// Beats of each shard, and checks since they changed.
    beats: Vec<(u64, u32)>,
    /// [`Shared::writes`], and checks since it changed while it was odd.
    writes: (u64, u32),
}

impl Progress {
    fn new(shards: usize) -> Self {
        Self { beats: vec![(0, 0); shards], writes: (0, 0) }
    }

    /// Compares with the last check; `beats` are those of each shard.
    fn check(&mut self, beats: impl Iterator<Item = u64>, writes: u64) -> Found {
        let (before, checks) = self.writes;
        let checks = if writes % 2 == 1 && writes == before { checks + 1 } else { 0 };
        self.writes = (writes, checks);
        if checks > 0 {
            return Found::Writing(checks);
        }
        for ((seen, still), now) in self.beats.iter_mut().zip(beats) {
            *still = if now == *seen { *still + 1 } else { 0 };
            *seen = now;
        }
        let longest = self.beats.iter().enumerate().max_by_key(|(_, (_, still))| *still);
        match longest {
            Some((shard, &(_, checks))) if checks > 0 => Found::Still { shard, checks },
            _ => Found::Progress,
        }
    }
}

/// Waits for a signal, and meanwhile for shards that stand still. A leader hands over before it stops, where that is possible: it
/// takes less time than an election after it. Then the clients of a member go, each at a moment at which nothing of it is under
/// way, so that no request ends without an answer.
pub fn watch(
    signals: &Signals,
    shared: &Shared,
    commit_notify: &Notify,
    hand_overs: &HandOvers,
    is_member: bool,
) {
    let mut progress = Progress::new(shared.beats.len());
    let mut watchdog = Watchdog::of_process();
    loop {
        match signals.receiver.recv_timeout(Duration::from_secs(1)) {
            Ok(_) | Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
        }
        logging::flush_due();
        let beats = shared.beats.iter().map(|beats| beats.load(Ordering::Relaxed));
        match progress.check(beats, shared.writes.load(Ordering::Relaxed)) {
            Found::Progress => watchdog.feed(),
            Found::Writing(checks) => {
                watchdog.feed();
                if checks == WATCHDOG_CHECKS {
                    log::warn!(target: "server", "a flush of the log goes on: seconds={WATCHDOG_CHECKS} then={}",
                        Text("does its disk hang?"));
                }
            }
            Found::Still { shard, checks } => {
                if checks >= WATCHDOG_CHECKS {
                    exit(EXIT_BUG, format_args!("shard {shard} has stood still for {WATCHDOG_CHECKS} s"));
                }
            }
        }
    }
    if let Some(leader) = hand_overs::before_stop(hand_overs, HAND_OVER_WITHIN) {
        log::info!(target: "server", "handed over before the stop: leader={leader}");
    }
    if is_member {
        let left = leave(shared);
        log::info!(target: "cnxn", "clients sent to other servers: connections_left={left}");
    }
    audit::stopping();
    supervisor::stopping();
    shared.set_phase(Phase::Stopping);
    commit_notify.notify();
}

/// Has the clients go to other servers, and waits for that; gives the connections that are left.
fn leave(shared: &Shared) -> u32 {
    const POLL: Duration = Duration::from_millis(5);
    shared.shedding.leave();
    let began = Instant::now();
    let (mut open, mut went) = (shared.admission.open(), began);
    while open > 0 && began.elapsed() < LEAVE_WITHIN && went.elapsed() < LEAVE_PAUSE {
        std::thread::sleep(POLL);
        let now = shared.admission.open();
        if now < open {
            went = Instant::now();
        }
        open = now;
    }
    open
}

/// How the shards ended, once all have.
pub type Ended = std::sync::mpsc::Receiver<Vec<std::io::Result<()>>>;

/// Starts the thread that joins the shards. From the beginning: at the end there may be no thread to be had.
pub fn join(running: Vec<rt::Shard>, threads: Vec<JoinHandle<()>>) -> Ended {
    let (sender, ended) = channel();
    let spawned = helper::spawn("zkfast-end", move || {
        let mut results: Vec<_> = running.into_iter().map(rt::Shard::join).collect();
        let joined = threads.into_iter().map(JoinHandle::join);
        results.extend(joined.map(|joined| joined.map_err(|_| std::io::Error::other("a thread panicked"))));
        // The receiver is gone if this took too long.
        let _ = sender.send(results);
    });
    if let Err(error) = spawned {
        exit(EXIT_HOST, format_args!("no thread to wait for the shards: {error}"));
    }
    ended
}

/// Waits for the shards to end, but not for ever.
pub fn wait(ended: &Ended) {
    match ended.recv_timeout(STOP_WITHIN) {
        Ok(results) => {
            if let Some(error) = results.into_iter().find_map(Result::err) {
                exit(EXIT_BUG, format_args!("a shard ended badly: {error}"));
            }
        }
        Err(_) => exit(
            EXIT_BUG,
            format_args!("shards do not stop within {STOP_WITHIN:?}; what was answered is durable"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One shard that stands still is found among others that go on, and counts from the check at which it went on last.
    #[test]
    fn a_shard_stands_still() {
        let mut progress = Progress::new(3);
        assert_eq!(progress.check([1, 1, 1].into_iter(), 0), Found::Progress);
        assert_eq!(progress.check([2, 1, 2].into_iter(), 0), Found::Still { shard: 1, checks: 1 });
        assert_eq!(progress.check([3, 1, 3].into_iter(), 0), Found::Still { shard: 1, checks: 2 });
        assert_eq!(progress.check([4, 2, 4].into_iter(), 0), Found::Progress);
    }

    /// A write of the log that goes on is no shard that stands still; one after the other are many writes.
    #[test]
    fn a_write_goes_on() {
        let mut progress = Progress::new(1);
        assert_eq!(progress.check([1].into_iter(), 1), Found::Progress);
        assert_eq!(progress.check([1].into_iter(), 1), Found::Writing(1));
        assert_eq!(progress.check([1].into_iter(), 1), Found::Writing(2));
        assert_eq!(progress.check([2].into_iter(), 3), Found::Progress);
        assert_eq!(progress.check([2].into_iter(), 4), Found::Still { shard: 0, checks: 1 });
    }
}
