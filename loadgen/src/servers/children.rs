//! Processes that loadgen starts: they end with it, also if a signal ends it, and their directories are removed.

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
/// How often loadgen checks whether a process has ended.
const CHECK: Duration = Duration::from_millis(20);

/// All processes that loadgen started and has not ended. It is global because the thread for signals needs it.
static ALL: Mutex<All> =
    Mutex::new(All { groups: Vec::new(), opened: 0, is_interrupted: false, signal_is_success: false });

struct All {
    groups: Vec<Started>,
    /// Number of groups so far.
    opened: u64,
    /// A signal has come: nothing may start any more.
    is_interrupted: bool,
    /// A signal is the usual end of the command.
    signal_is_success: bool,
}

/// The processes of a [`Group`].
struct Started {
    number: u64,
    directory: PathBuf,
    children: Vec<Child>,
}

/// Processes that end together, and their directory. Dropping the group ends them and removes the directory.
#[derive(Debug)]
pub struct Group {
    number: u64,
    /// The directory of these processes alone.
    pub directory: PathBuf,
}

impl Group {
    /// A group without processes, with a new directory below `parent`.
    ///
    /// # Errors
    /// The directory cannot be made, or a signal has interrupted loadgen.
    pub fn open(parent: &std::path::Path) -> Result<Self, String> {
        end_on_signals()?;
        let mut all = lock();
        if all.is_interrupted {
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
    ///
    /// # Errors
    /// The program or the file cannot be opened, or a signal has interrupted loadgen.
    pub fn start(&self, command: &mut Command, log: &std::path::Path) -> Result<u32, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let failed = |error: std::io::Error| format!("{name}: {error}");
        let out = File::create(log).map_err(failed)?;
        let err = out.try_clone().map_err(failed)?;
        // In a process group of its own the Ctrl-C of a terminal does not reach it: loadgen ends it, after its clients.
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

    /// The exit status of a process that has ended, as text; `None` while all live.
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
        // The lock stays held, so that the thread for signals waits until the processes have ended.
        stop(vec![started]);
    }
}

/// Ends the processes of all groups and removes their directories.
fn stop(groups: Vec<Started>) {
    for child in groups.iter().flat_map(|started| &started.children) {
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            // A process that has ended already is waited for below.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
    let until = Instant::now() + STOP_WAIT;
    for mut started in groups {
        for child in &mut started.children {
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
                std::thread::sleep(CHECK);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Err(error) = fs::remove_dir_all(&started.directory) {
            eprintln!("loadgen: {} was not removed: {error}", started.directory.display());
        }
    }
}

/// From now on a signal ends loadgen with exit status 0.
pub fn end_on_signal_is_success() {
    lock().signal_is_success = true;
}

/// From the first group on, SIGINT and SIGTERM end all processes that loadgen started, then loadgen, with the exit
/// status that a shell gives to a process that a signal ended.
fn end_on_signals() -> Result<(), String> {
    static WATCHED: OnceLock<Result<(), String>> = OnceLock::new();
    WATCHED
        .get_or_init(|| {
            let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| format!("signals: {error}"))?;
            std::thread::spawn(move || {
                let signal = signals.forever().next().unwrap_or(SIGTERM);
                let mut all = lock();
                all.is_interrupted = true;
                stop(std::mem::take(&mut all.groups));
                std::process::exit(if all.signal_is_success { 0 } else { 128 + signal });
            });
            Ok(())
        })
        .clone()
}

fn lock() -> MutexGuard<'static, All> {
    // A thread that panics leaves the list consistent: each statement does.
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dropping a group ends its processes and removes its directory; a program that cannot start is named.
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

    /// A process that ends by itself is noticed, with its exit status.
    #[test]
    fn an_end_is_noticed() {
        let group = Group::open(&std::env::temp_dir()).expect("a directory");
        let log = group.directory.join("log");
        group.start(Command::new("sh").args(["-c", "echo why; exit 3"]), &log).expect("sh");
        while group.ended().is_none() {
            std::thread::sleep(CHECK);
        }
        assert!(group.ended().is_some_and(|end| end.contains("exit status: 3")));
        assert_eq!(fs::read_to_string(&log).expect("its output"), "why\n");
    }
}
