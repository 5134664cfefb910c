//! Which engine serves where the kernel or the container refuses a part of io_uring.

use crate::harness::{Directory, Running, START_TIMEOUT, alone, free_address, wait_for, zkfast_binary};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};
use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, ExitStatus};
use std::thread;

const EPERM: u32 = 1;
const EINVAL: u32 = 22;
const ENOSYS: u32 = 38;

/// `io_uring_setup`, `io_uring_enter` and `io_uring_register`: the same numbers on every architecture.
const SETUP: i64 = 425;
const ENTER: i64 = 426;
const REGISTER: i64 = 427;

/// `IORING_REGISTER_PBUF_RING`: buffers that the kernel takes as bytes arrive, since Linux 5.19.
const PBUF_RING: u64 = 22;

/// Exit status where the host refuses.
const EXIT_HOST: i32 = 5;

/// A system call that fails for the server, like in a container or on an old kernel.
#[derive(Clone, Copy)]
struct Filter {
    call: i64,
    /// Only with this second argument.
    operation: Option<u64>,
    errno: u32,
}

impl Filter {
    /// Has the kernel refuse the call to this thread and to the processes that it starts.
    fn apply(self) {
        let rules = self.operation.map(|operation| {
            let is_it = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, operation);
            SeccompRule::new(vec![is_it.expect("a condition")]).expect("a rule")
        });
        let arch = TargetArch::try_from(std::env::consts::ARCH).expect("an architecture with seccomp");
        let filter = SeccompFilter::new(
            BTreeMap::from([(self.call, rules.into_iter().collect())]),
            SeccompAction::Allow,
            SeccompAction::Errno(self.errno),
            arch,
        );
        let program = BpfProgram::try_from(filter.expect("a filter")).expect("a program");
        apply_filter(&program).expect("a thread may filter its own calls");
    }
}

/// A server, and where its log is.
struct Started {
    directory: Directory,
    running: Running,
}

impl Started {
    /// Starts `program`, whose last arguments are zkfast and its own, under a filter.
    fn new(program: &[&str], engine: Option<&str>, filter: Option<Filter>) -> Self {
        let directory = Directory::new("engines");
        let port = free_address().port().to_string();
        let binary = zkfast_binary();
        let mut words = program.iter().map(|word| word.as_ref()).chain([binary.as_os_str()]);
        let mut command = Command::new(words.next().expect("zkfast at least"));
        command.args(words).args(["-p", &port]);
        command.args(engine.iter().flat_map(|engine| ["--engine", engine]));
        let path = directory.path().to_owned();
        // On a thread of its own, which keeps the filter.
        let start = move || {
            if let Some(filter) = filter {
                filter.apply();
            }
            Running::start(command, &path)
        };
        let running = thread::spawn(start).join().expect("the child");
        Self { directory, running }
    }

    /// The lines about the engine once the server serves.
    fn engine_lines(&mut self) -> Vec<String> {
        let log = self.running.wait(self.directory.path(), START_TIMEOUT, |log| log.contains("started:"));
        log.lines().filter(|line| line.contains("io_uring")).map(str::to_owned).collect()
    }

    /// How it ends by itself, and what it said.
    fn end(mut self) -> (ExitStatus, String) {
        let child = &mut self.running.0;
        let ended = || child.try_wait().expect("the state of a child").ok_or_else(String::new);
        let status = wait_for(START_TIMEOUT, ended);
        (status, fs::read_to_string(self.directory.path().join("output.log")).expect("a file"))
    }
}

/// Where a part of io_uring is refused, the server starts on epoll with one line that says why and what to do; a server that
/// was told to use io_uring does not start, and says the same. Where the kernel is only too old for the ring, glommio's
/// sockets serve a server that was told to use io_uring.
#[test]
fn io_uring_refused() {
    let _alone = alone();
    let refused = |call, errno| Filter { call, operation: None, errno };
    let old = Filter { call: REGISTER, operation: Some(PBUF_RING), errno: EINVAL };
    let cases = [
        // Docker's profile, and one that allows a part.
        (refused(SETUP, EPERM), "allow io_uring_setup, io_uring_enter and io_uring_register"),
        (refused(ENTER, EPERM), "allow io_uring_setup, io_uring_enter and io_uring_register"),
        (refused(REGISTER, EPERM), "allow io_uring_setup, io_uring_enter and io_uring_register"),
        // gVisor, and a kernel without it.
        (refused(SETUP, ENOSYS), "a sandbox hides it"),
        (old, "Linux 6.1 or newer"),
    ];
    for (filter, remedy) in cases {
        let lines = Started::new(&[], None, Some(filter)).engine_lines();
        let is_right = matches!(&lines[..], [line] if line.contains("name=epoll") && line.contains(remedy));
        assert!(is_right, "{} refused with {}: {lines:#?}", filter.call, filter.errno);
        assert!(Started::new(&[], Some("epoll"), Some(filter)).engine_lines().is_empty());
        if filter.operation == old.operation && filter.call == old.call {
            continue;
        }
        let (status, log) = Started::new(&[], Some("io_uring"), Some(filter)).end();
        assert_eq!(status.code(), Some(EXIT_HOST), "{log}");
        assert!(log.contains(remedy) && log.contains("--engine epoll"), "{log}");
    }
    let lines = Started::new(&[], Some("io_uring"), Some(old)).engine_lines().join("\n");
    assert!(lines.contains("through glommio"), "{lines}");
}

/// A line about a refused io_uring names the sysctl that forbids it, if that is why.
#[test]
fn io_uring_refused_by_sysctl() {
    let _alone = alone();
    if !rustix::process::geteuid().is_root() {
        return eprintln!("left out: only root can show a server another sysctl");
    }
    let mount =
        "echo 2 > sysctl && mount --bind sysctl /proc/sys/kernel/io_uring_disabled && exec \"$0\" \"$@\"";
    let program = ["unshare", "--mount", "sh", "-c", mount];
    let filter = Filter { call: SETUP, operation: None, errno: EPERM };
    let lines = Started::new(&program, None, Some(filter)).engine_lines();
    let is_right = matches!(&lines[..], [line] if line.contains("kernel.io_uring_disabled is 2"));
    assert!(is_right, "{lines:#?}");
}

/// Without a flag io_uring serves where the kernel allows it; a machine that tests this does.
#[test]
fn io_uring_by_default() {
    let _alone = alone();
    let log = Started::new(&[], None, None).engine_lines();
    assert!(log.iter().any(|line| line.contains("engine: name=io_uring")), "{log:#?}");
}
