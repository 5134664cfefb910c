//! Processes that loadgen started: all of them end with it, also where a signal ends it, and leave
//! nothing behind.

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a process may take to end by itself.
const STOP_WAIT: Duration = Duration::from_secs(15);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// All that was started and lives. One place, for a signal must find it.
static ALL: Mutex<All> = Mutex::new(All { groups: Vec::new(), opened: 0, over: false, regular: false });

struct All {
    groups: Vec<Started>,
    opened: u64,
    /// A signal came: nothing may be started any more.
    over: bool,
    /// A signal is how this ends when all is well.
    regular: bool,
}

struct Started {
    number: u64,
    directory: PathBuf,
    children: Vec<Child>,
}

/// Processes that end together, and a directory that goes with them.
#[derive(Debug)]
pub struct Group {
    number: u64,
    /// Theirs alone; it is there as long as they are.
    pub directory: PathBuf,
}

impl Group {
    /// An empty one with a new directory below `parent`.
    pub fn open(parent: &std::path::Path) -> Result<Self, String> {
        end_on_signals()?;
        let mut all = lock();
        if all.over {
            return Err("interrupted".to_owned());
        }
        all.opened += 1;
        let number = all.opened;
        let directory = parent.join(format!("loadgen-{}-{number}", std::process::id()));
        fs::create_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        all.groups.push(Started { number, directory: directory.clone(), children: Vec::new() });
        Ok(Self { number, directory })
    }

    /// Starts a process whose output goes to the file `log`; returns its id.
    pub fn start(&self, command: &mut Command, log: &std::path::Path) -> Result<u32, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let failed = |error: std::io::Error| format!("{name}: {error}");
        let out = File::create(log).map_err(failed)?;
        let err = out.try_clone().map_err(failed)?;
        // A group of its own: the Ctrl-C of a terminal is for us, and we end it after its clients.
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let mut all = lock();
        let Some(started) = all.groups.iter_mut().find(|started| started.number == self.number) else {
            return Err("interrupted".to_owned());
        };
        let child = command.spawn().map_err(failed)?;
        let pid = child.id();
        started.children.push(child);
        Ok(pid)
    }

    /// How the first process that ended did so.
    pub fn ended(&self) -> Option<String> {
        let mut all = lock();
        let started = all.groups.iter_mut().find(|started| started.number == self.number)?;
        started.children.iter_mut().find_map(|child| {
            let status = child.try_wait().ok().flatten()?;
            Some(format!("process {}: {status}", child.id()))
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let mut all = lock();
        let Some(index) = all.groups.iter().position(|started| started.number == self.number) else { return };
        let started = all.groups.remove(index);
        // The lock is kept: a signal that comes now waits until they are gone.
        stop(vec![started]);
    }
}

/// Ends them all, and removes their directories.
fn stop(groups: Vec<Started>) {
    for child in groups.iter().flat_map(|started| &started.children) {
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            // One that ended already is waited for below.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
    let until = Instant::now() + STOP_WAIT;
    for mut started in groups {
        for child in &mut started.children {
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
                std::thread::sleep(LOOK);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Err(error) = fs::remove_dir_all(&started.directory) {
            eprintln!("loadgen: {} stays: {error}", started.directory.display());
        }
    }
}

/// From here on, a signal ends loadgen with the status 0.
pub fn a_signal_is_the_regular_end() {
    lock().regular = true;
}

/// From the first group on, SIGINT and SIGTERM end what was started, then loadgen, with the status
/// that a shell gives to a process that a signal ended.
fn end_on_signals() -> Result<(), String> {
    static WATCHED: OnceLock<Result<(), String>> = OnceLock::new();
    WATCHED
        .get_or_init(|| {
            let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| format!("signals: {error}"))?;
            std::thread::spawn(move || {
                let signal = signals.forever().next().unwrap_or(SIGTERM);
                let mut all = lock();
                all.over = true;
                stop(std::mem::take(&mut all.groups));
                std::process::exit(if all.regular { 0 } else { 128 + signal });
            });
            Ok(())
        })
        .clone()
}

fn lock() -> MutexGuard<'static, All> {
    // What it guards is whole between any two statements.
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A group's processes and its directory are gone once it is; one that cannot be started is named.
    #[test]
    fn nothing_is_left() {
        let group = Group::open(&std::env::temp_dir()).expect("a directory");
        let (directory, log) = (group.directory.clone(), group.directory.join("log"));
        let pid = group.start(Command::new("sleep").arg("600"), &log).expect("sleep");
        assert!(directory.is_dir() && fs::exists(format!("/proc/{pid}")).expect("proc"));
        assert_eq!(group.ended(), None);
        let missing = group.start(&mut Command::new("no-such-program"), &log);
        assert!(missing.is_err_and(|error| error.contains("no-such-program: No such file")));
        drop(group);
        assert!(!directory.exists() && !fs::exists(format!("/proc/{pid}")).expect("proc"));
    }

    /// A process that ends by itself is noticed, with its status.
    #[test]
    fn an_end_is_noticed() {
        let group = Group::open(&std::env::temp_dir()).expect("a directory");
        let log = group.directory.join("log");
        group.start(Command::new("sh").args(["-c", "echo why; exit 3"]), &log).expect("sh");
        while group.ended().is_none() {
            std::thread::sleep(LOOK);
        }
        assert!(group.ended().is_some_and(|end| end.contains("exit status: 3")));
        assert_eq!(fs::read_to_string(&log).expect("its words"), "why\n");
    }
}
