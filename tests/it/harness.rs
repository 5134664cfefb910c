//! Starts and stops real servers, and keeps their output, which a failing test shows.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use zkfast::client::net::four_letter_word;

/// How long a server may take until it serves, on a quiet machine.
pub const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long any answer may take. A server that needs longer hangs, however busy the machine is.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the answer to a four-letter word may take where the caller tries again. A Java server that is asked while it
/// starts may never answer that connection (a NullPointerException in `ZooKeeperServer.removeCnxn`).
pub const WORD_TIMEOUT: Duration = Duration::from_secs(3);
/// How many times longer a [`Deadline`] may be on a busy machine.
const CROWDING_MAX: f64 = 20.0;
/// Pause between two attempts of [`wait_for`].
const POLL: Duration = Duration::from_millis(20);
/// Lines of a server's output that a failing test shows.
const LINES_SHOWN: usize = 40;

/// Gives the machine to one test at a time. Several tests at once on two cores would make latencies, and so the tests
/// that bound them, a matter of luck.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end of a wait. On a busy machine it moves away: with three threads per core that want to run, the wait may last
/// three times as long.
#[derive(Debug)]
pub struct Deadline {
    left: Duration,
    asked: Instant,
}

impl Deadline {
    /// A deadline `limit` from now, on a machine with nothing else to do.
    pub fn new(limit: Duration) -> Self {
        Self { left: limit, asked: Instant::now() }
    }

    /// True once the deadline has passed. The loop that waits must ask in each round: time counts by how busy the
    /// machine is when it asks.
    pub fn is_over(&mut self) -> bool {
        let now = Instant::now();
        let passed = now - std::mem::replace(&mut self.asked, now);
        self.left = self.left.saturating_sub(passed.div_f64(crowding()));
        self.left.is_zero()
    }
}

/// Asks again and again until `attempt` gives a value. Panics with its last error once `limit` has passed on a quiet
/// machine.
#[track_caller]
pub fn wait_for<T>(limit: Duration, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let mut deadline = Deadline::new(limit);
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) => assert!(!deadline.is_over(), "not within {limit:?}: {error}"),
        }
        std::thread::sleep(POLL);
    }
}

/// Threads that want to run per core of the machine, at least 1.
fn crowding() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let running = text.split(' ').nth(3).and_then(|tasks| tasks.split('/').next()?.parse::<f64>().ok());
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    // The thread that asks runs as well.
    ((running.unwrap_or(0.0) - 1.0) / cores).clamp(1.0, CROWDING_MAX)
}

/// How long a thread was ready to run and had no core, since its start; 0 where the kernel does not count it.
fn runnable_without_core(schedstat: &Path) -> Duration {
    let text = fs::read_to_string(schedstat).unwrap_or_default();
    let nanoseconds = text.split_whitespace().nth(1).and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// [`runnable_without_core`], summed over the calling thread and all threads of a process.
pub fn runnable_without_core_with(process: u32) -> Duration {
    let own = runnable_without_core(Path::new("/proc/thread-self/schedstat"));
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    own + threads.map(|thread| runnable_without_core(&thread.path().join("schedstat"))).sum::<Duration>()
}

/// A number from the environment, with which a run is longer or shorter than by `default`.
pub fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

/// A seeded generator (splitmix64): the same program for the same seed on every machine.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// True in `percent` of 100 cases.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `items`.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// A directory that belongs to one test. It is removed with this value unless the test fails.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// A new, empty directory whose name starts with `name`.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory under target/tmp");
        Self(path)
    }

    /// The directory's path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for inspection: {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Which implementation a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This repository's server.
    Zkfast,
    /// Apache ZooKeeper 3.9.4.
    Java,
}

/// Which server the tests judge: zkfast, or Apache ZooKeeper with `ZKFAST_UNDER_TEST=java`. The latter tests the tests.
pub fn under_test() -> Kind {
    match std::env::var("ZKFAST_UNDER_TEST") {
        Ok(name) if name == "java" => Kind::Java,
        _ => Kind::Zkfast,
    }
}

/// A server process with its own port and data directory. Dropping this value kills it.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    directory: Directory,
    address: SocketAddr,
    child: Option<Child>,
    descriptors: Option<u32>,
    has_core_dumps: bool,
    cores: &'static str,
    arguments: &'static [&'static str],
    environment: Vec<(&'static str, String)>,
}

impl Server {
    /// Starts a server, and waits until it serves. Its `zoo.cfg` holds `keys` and the keys that every server here needs.
    pub fn start(kind: Kind, keys: &[(&str, &str)]) -> Self {
        let mut server = Self::new(kind, keys);
        server.start_again();
        server
    }

    /// As [`start`](Self::start), without starting the process.
    pub fn new(kind: Kind, keys: &[(&str, &str)]) -> Self {
        let directory = Directory::new(if kind == Kind::Java { "java" } else { "zkfast" });
        let address = free_address();
        let data = directory.path().join("data");
        fs::create_dir_all(&data).expect("the data directory");
        let mut config = format!(
            "dataDir={}\nclientPort={}\nclientPortAddress={}\nadmin.enableServer=false\n\
             4lw.commands.whitelist=*\nmaxClientCnxns=0\n",
            data.display(),
            address.port(),
            address.ip()
        );
        for (key, value) in keys {
            config += &format!("{key}={value}\n");
        }
        fs::write(directory.path().join("zoo.cfg"), config).expect("zoo.cfg");
        let environment = Vec::new();
        Self {
            kind,
            directory,
            address,
            child: None,
            descriptors: None,
            has_core_dumps: false,
            cores: "0,1",
            arguments: &[],
            environment,
        }
    }

    /// The server's data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Starts the process on the data directory as it is, and waits until it serves.
    pub fn start_again(&mut self) {
        self.spawn();
        self.wait_until_serving();
    }

    /// Appends a key to `zoo.cfg`, for the next start. The last value of a key counts.
    pub fn set(&self, key: &str, value: &str) {
        let path = self.directory.path().join("zoo.cfg");
        let config = fs::read_to_string(&path).expect("zoo.cfg");
        fs::write(path, format!("{config}{key}={value}\n")).expect("zoo.cfg");
    }

    /// Sets `--cores` of the next start.
    pub fn set_cores(&mut self, cores: &'static str) {
        self.cores = cores;
    }

    /// Adds arguments to zkfast's next start.
    pub fn set_arguments(&mut self, arguments: &'static [&'static str]) {
        self.arguments = arguments;
    }

    /// Sets variables of the next starts. The server also gets the test's own.
    pub fn set_environment(&mut self, environment: Vec<(&'static str, String)>) {
        self.environment = environment;
    }

    /// Limits the file descriptors of the next start.
    pub fn limit_descriptors(&mut self, descriptors: u32) {
        self.descriptors = Some(descriptors);
    }

    /// Raises the limit of core dumps for the next starts.
    pub fn allow_core_dumps(&mut self) {
        self.has_core_dumps = true;
    }

    /// Ends the process as a failed assertion of C would.
    pub fn abort(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a running server");
        kill_process(Pid::from_child(&child), Signal::ABORT).expect("a signal");
        child.wait().expect("the state of a child")
    }

    /// Starts the process on the data directory as it is, where it must fail, and gives its exit status.
    pub fn start_and_fail(&mut self) -> Option<i32> {
        self.spawn();
        self.wait_for_end()
    }

    /// Waits until the process ends by itself. Gives its exit status, `None` if a signal ended it.
    pub fn wait_for_end(&mut self) -> Option<i32> {
        let mut deadline = Deadline::new(START_TIMEOUT);
        loop {
            let child = self.child.as_mut().expect("just started");
            if let Some(status) = child.try_wait().expect("the state of a child") {
                self.child = None;
                return status.code();
            }
            assert!(!deadline.is_over(), "{:?} does not end\n{}", self.kind, self.output());
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// The directory of the server's files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts the process without waiting for it.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "{:?} still runs", self.kind);
        let output = fs::File::options()
            .create(true)
            .append(true)
            .open(self.output_file())
            .expect("a file for the server's output");
        let errors = output.try_clone().expect("a second handle of it");
        let mut command = self.command();
        command.current_dir(self.directory.path()).stdin(Stdio::null()).stdout(output).stderr(errors);
        command.envs(self.environment.iter().cloned());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        self.child = Some(child);
    }

    fn command(&self) -> Command {
        let config = self.directory.path().join("zoo.cfg");
        match self.kind {
            Kind::Zkfast => {
                let descriptors = self.descriptors.map(|descriptors| format!("ulimit -n {descriptors}"));
                let cores = self.has_core_dumps.then(|| "ulimit -S -c \"$(ulimit -H -c)\"".to_owned());
                let limits: Vec<String> = descriptors.into_iter().chain(cores).collect();
                let mut command = match limits.as_slice() {
                    [] => Command::new(zkfast_binary()),
                    limits => {
                        let mut shell = Command::new("sh");
                        shell.args(["-c", &format!("{} && exec \"$0\" \"$@\"", limits.join(" && "))]);
                        shell.arg(zkfast_binary());
                        shell
                    }
                };
                command.arg(config).args(["--cores", self.cores]).args(self.arguments);
                if let Some(engine) = std::env::var_os("ZKFAST_ENGINE") {
                    command.arg("--engine").arg(engine);
                }
                command
            }
            Kind::Java => {
                let mut command = Command::new("java");
                // forceSync: tests compare answers, not what survives a power cut. The key of containers is a property
                // of the JVM: Java does not read it from the file.
                command.args(["-Xmx512m", "-XX:+UseSerialGC", "-Dzookeeper.forceSync=no"]);
                command.arg("-Dznode.container.checkIntervalMs=3600000");
                command.args(JAVA_FLAGS).arg("-cp").arg(java_class_path());
                command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(config);
                command
            }
        }
    }

    /// Waits until the server serves; in an ensemble that takes a quorum.
    pub fn wait_until_serving(&mut self) {
        let mut deadline = Deadline::new(START_TIMEOUT);
        loop {
            // Not `ruok`: Java answers "imok" before it accepts sessions.
            if let Ok(answer) = four_letter_word(self.address, "isro", WORD_TIMEOUT)
                && answer == "rw"
            {
                return;
            }
            let child = self.child.as_mut().expect("just started");
            if let Some(status) = child.try_wait().expect("the state of a child") {
                self.child = None;
                panic!("{:?} ended at its start: {status}\n{}", self.kind, self.output());
            }
            assert!(!deadline.is_over(), "{:?} does not serve\n{}", self.kind, self.output());
            // A short pause: restarts take most of the crash test's time.
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// The client address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's implementation.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The id of the running process.
    pub fn process(&self) -> u32 {
        self.child.as_ref().expect("runs").id()
    }

    /// True if the process still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Sends SIGKILL: the server flushes nothing, and closes no connection in order.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends SIGTERM, and waits for the end. Gives the exit status.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        let mut child = self.child.take().expect("runs");
        child.wait().expect("the end of a child").code()
    }

    /// Sends SIGSTOP, which suspends the process.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Sends SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().expect("runs").id();
        let pid = Pid::from_raw(pid.cast_signed()).expect("a child's id is not 0");
        kill_process(pid, signal).expect("a child takes signals");
    }

    /// The server's resident memory in KiB.
    pub fn rss_kib(&self) -> u64 {
        let pid = self.child.as_ref().expect("runs").id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("/proc of a child");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS of a live process");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number of kB")
    }

    /// The last lines of the server's output.
    pub fn output(&self) -> String {
        tail(&self.output_file())
    }

    /// All of the server's output.
    pub fn whole_output(&self) -> String {
        fs::read_to_string(self.output_file()).expect("the server's output, in UTF-8")
    }

    fn output_file(&self) -> PathBuf {
        self.directory.path().join("output.log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- last output of {:?} at {}\n{}\n----", self.kind, self.address, self.output());
        }
    }
}

/// A process that is killed with this value. A test gives its whole command line; [`Server`] has one of its own.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Starts `command` in `directory`, with stderr in a file there.
    pub fn start(mut command: Command, directory: &Path) -> Self {
        let log = fs::File::create(directory.join("output.log")).expect("a file");
        command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Waits until `is_there` is true of the log, and gives the log. The process must not end before.
    pub fn wait(
        &mut self,
        directory: &Path,
        limit: Duration,
        mut is_there: impl FnMut(&str) -> bool,
    ) -> String {
        wait_for(limit, || {
            let log = fs::read_to_string(directory.join("output.log")).expect("a file");
            if is_there(&log) {
                return Ok(log);
            }
            let ended = self.0.try_wait().expect("the state of a child");
            assert!(ended.is_none(), "{ended:?}\n{log}");
            Err(log)
        })
    }
}

/// The last lines of a server's output file.
pub fn tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}

/// Free loopback ports, each given once. They lie below the range from which the kernel takes ports of outgoing
/// connections: such a connection could take the port of a server between two starts.
pub fn free_ports() -> impl Iterator<Item = u16> {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let own = std::process::id() * 97;
    let ports = std::iter::repeat_with(move || {
        (FIRST + (own + GIVEN.fetch_add(1, Ordering::Relaxed)) % COUNT) as u16
    });
    ports.filter(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
}

/// A loopback address with a free port. If another process takes the port first, the server's start fails, with its own
/// message.
pub fn free_address() -> SocketAddr {
    let port = free_ports().next().expect("there is always another one");
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The binary under test: `ZKFAST_BIN` (`tests/run.sh` names the release build), or else the one that was built with this
/// test.
pub fn zkfast_binary() -> PathBuf {
    std::env::var_os("ZKFAST_BIN").map_or_else(|| env!("CARGO_BIN_EXE_zkfast").into(), PathBuf::from)
}

/// What every Java server has: a log of warnings and errors only, and UTF-8 whatever the locale is, since its digests are of
/// paths in its default encoding.
pub const JAVA_FLAGS: [&str; 2] = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dfile.encoding=UTF-8"];

/// The jars of Apache ZooKeeper 3.9.4. `tests/setup/setup.sh` prints where they are, and downloads them if they are
/// absent.
pub fn java_class_path() -> &'static str {
    static CLASS_PATH: OnceLock<String> = OnceLock::new();
    CLASS_PATH.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup/setup.sh");
        let output = Command::new(&script)
            .arg("zookeeper")
            .stderr(Stdio::inherit())
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
        assert!(output.status.success(), "{} zookeeper: {}", script.display(), output.status);
        let directory = String::from_utf8(output.stdout).expect("a path in UTF-8");
        format!("{}/*", directory.trim_end())
    })
}
