//! Starts and stops real servers, and keeps what they said for when a test fails.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use zkfast::client::net::four_letter_word;

/// How long a server may take until it serves.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Until when an answer has to be there: what takes longer than this hangs, however busy the machine is.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a four-letter word may take of which there is another try: a Java server that is asked while it starts may
/// never answer that connection (a NullPointerException in `ZooKeeperServer.removeCnxn`).
pub const WORD_TIMEOUT: Duration = Duration::from_secs(3);
/// How many times longer a wait may last on a busy machine.
const CROWDING_MAX: f64 = 20.0;
/// Lines of a server's output that a failing test shows.
const LINES_SHOWN: usize = 40;

/// Keeps the machine to one test at a time: several servers at once on two cores would make
/// latencies, and so the tests that bound them, a matter of luck.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A limit of time that follows what the machine gives: with three threads that want to run for each core it lasts
/// three times as long.
#[derive(Debug)]
pub struct GroupDelay {
    left: Duration,
    looked: Instant,
}

impl GroupDelay {
    /// One that lasts for `limit` on a machine with nothing else to do.
    pub fn new(limit: Duration) -> Self {
        Self { left: limit, looked: Instant::now() }
    }

    /// Whether it is over; to be asked at each turn of the loop that waits.
    pub fn is_over(&mut self) -> bool {
        let now = Instant::now();
        let passed = now - std::mem::replace(&mut self.looked, now);
        self.left = self.left.saturating_sub(passed.div_f64(crowding()));
        self.left.is_zero()
    }
}

/// Threads that want to run, for each core of the machine; 1 at least.
fn crowding() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let running = text.split(' ').nth(3).and_then(|tasks| tasks.split('/').next()?.parse::<f64>().ok());
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    // The one that asks runs as well.
    ((running.unwrap_or(0.0) - 1.0) / cores).clamp(1.0, CROWDING_MAX)
}

/// How long threads were ready to run and had no core, since they began; 0 where the kernel does not count it.
fn kept_waiting(schedstat: &Path) -> Duration {
    let text = fs::read_to_string(schedstat).unwrap_or_default();
    let nanoseconds = text.split_whitespace().nth(1).and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// [`kept_waiting`] of the calling thread and of all threads of a process.
pub fn kept_waiting_with(process: u32) -> Duration {
    let own = kept_waiting(Path::new("/proc/thread-self/schedstat"));
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    own + threads.map(|thread| kept_waiting(&thread.path().join("schedstat"))).sum::<Duration>()
}

/// A number from the environment, for runs longer or shorter than usual.
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

/// A directory of a test's own, gone with it unless the test fails.
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

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for a look: {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The one under test.
    Zkfast,
    /// Apache ZooKeeper 3.9.4.
    Java,
}

/// What the tests test: zkfast, unless `ZKFAST_UNDER_TEST=java` has them judge the real server, which
/// tests the tests.
pub fn under_test() -> Kind {
    match std::env::var("ZKFAST_UNDER_TEST") {
        Ok(name) if name == "java" => Kind::Java,
        _ => Kind::Zkfast,
    }
}

/// A server process with a port and a data directory of its own. It dies with this value.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    directory: Directory,
    address: SocketAddr,
    child: Option<Child>,
    descriptors: Option<u32>,
    cores: &'static str,
    arguments: &'static [&'static str],
    environment: Vec<(&'static str, String)>,
}

impl Server {
    /// Starts a server whose `zoo.cfg` holds `keys` beside what every server here needs, and waits
    /// until it answers.
    pub fn start(kind: Kind, keys: &[(&str, &str)]) -> Self {
        let mut server = Self::new(kind, keys);
        server.start_again();
        server
    }

    /// The same, not started yet.
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
            cores: "0,1",
            arguments: &[],
            environment,
        }
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Starts the process on the data directory as it is, and waits until it serves.
    pub fn start_again(&mut self) {
        self.spawn();
        self.wait_until_it_answers();
    }

    /// What the next start's `zoo.cfg` says beside, or instead of, what it said so far.
    pub fn set(&self, key: &str, value: &str) {
        let path = self.directory.path().join("zoo.cfg");
        let config = fs::read_to_string(&path).expect("zoo.cfg");
        fs::write(path, format!("{config}{key}={value}\n")).expect("zoo.cfg");
    }

    /// What the next start gets for `--cores`.
    pub fn set_cores(&mut self, cores: &'static str) {
        self.cores = cores;
    }

    /// Further arguments of the next start, of zkfast.
    pub fn set_arguments(&mut self, arguments: &'static [&'static str]) {
        self.arguments = arguments;
    }

    /// Variables that the next starts get beside the test's own.
    pub fn set_environment(&mut self, environment: Vec<(&'static str, String)>) {
        self.environment = environment;
    }

    /// How many descriptors the next start gets.
    pub fn limit_descriptors(&mut self, descriptors: u32) {
        self.descriptors = Some(descriptors);
    }

    /// Starts the process on the data directory as it is, and waits until it ends by itself: its status.
    pub fn start_in_vain(&mut self) -> Option<i32> {
        self.spawn();
        self.wait_for_end()
    }

    /// Waits until the process ends by itself: its status, `None` where a signal ended it.
    pub fn wait_for_end(&mut self) -> Option<i32> {
        let mut group_delay = GroupDelay::new(START_TIMEOUT);
        loop {
            let child = self.child.as_mut().expect("just started");
            if let Some(status) = child.try_wait().expect("the state of a child") {
                self.child = None;
                return status.code();
            }
            assert!(!group_delay.is_over(), "{:?} does not end\n{}", self.kind, self.output());
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts the process, and does not wait.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "{:?} still runs", self.kind);
        let output = fs::File::options()
            .create(true)
            .append(true)
            .open(self.output_file())
            .expect("a file for the server's output");
        let errors = output.try_clone().expect("a second handle of it");
        let mut command = self.command();
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.directory.path()).stdin(Stdio::null()).stdout(output).stderr(errors);
        command.envs(self.environment.iter().cloned());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        self.child = Some(child);
    }

    fn command(&self) -> Command {
        let config = self.directory.path().join("zoo.cfg");
        match self.kind {
            Kind::Zkfast => {
                let mut command = match self.descriptors {
                    None => Command::new(zkfast_binary()),
                    Some(descriptors) => {
                        let mut shell = Command::new("sh");
                        shell.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")]);
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
                // forceSync: the answers are compared, not what survives a power cut. The container keys
                // are properties of the JVM only: the file's are not read by Java.
                command.args(["-Xmx512m", "-XX:+UseSerialGC", "-Dzookeeper.forceSync=no"]);
                command.arg("-Dznode.container.checkIntervalMs=3600000");
                command.args([JAVA_LOG, "-cp"]).arg(java_class_path());
                command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(config);
                command
            }
        }
    }

    /// Waits until it serves: until a quorum does, in an ensemble.
    pub fn wait_until_it_answers(&mut self) {
        let mut group_delay = GroupDelay::new(START_TIMEOUT);
        loop {
            // Not `ruok`: Java says "imok" before it takes sessions.
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
            assert!(!group_delay.is_over(), "{:?} does not come to serve\n{}", self.kind, self.output());
            // Short: restarts are most of the crash test's time.
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whose server it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The id of its process, which runs.
    pub fn process(&self) -> u32 {
        self.child.as_ref().expect("runs").id()
    }

    /// Whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// SIGKILL: nothing is flushed, nobody is told.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and waits for the end; gives the exit status.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        let mut child = self.child.take().expect("runs");
        child.wait().expect("the end of a child").code()
    }

    /// SIGSTOP: the process stands still.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().expect("runs").id();
        let pid = Pid::from_raw(pid.cast_signed()).expect("a child's id is not 0");
        kill_process(pid, signal).expect("a child takes signals");
    }

    /// Resident memory, in KiB.
    pub fn rss_kib(&self) -> u64 {
        let pid = self.child.as_ref().expect("runs").id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("/proc of a child");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS of a live process");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number of kB")
    }

    /// The last lines of what the server wrote.
    pub fn output(&self) -> String {
        tail(&self.output_file())
    }

    /// All that the server wrote.
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

/// The last lines of a server's output.
pub fn tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}

/// Loopback ports that nobody listens on, each given once, below those that the kernel gives to outgoing
/// connections: one of these could else have the port of a server that is about to start again.
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

/// An address of one. Another process may take it before we do; then the start fails with that server's own
/// message.
pub fn free_address() -> SocketAddr {
    let port = free_ports().next().expect("there is always another one");
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The binary under test: `ZKFAST_BIN` (`tests/run.sh` names the release build), or the one that was built with this
/// test.
pub fn zkfast_binary() -> PathBuf {
    std::env::var_os("ZKFAST_BIN").map_or_else(|| env!("CARGO_BIN_EXE_zkfast").into(), PathBuf::from)
}

/// Has Java say what goes wrong, and nothing else.
pub const JAVA_LOG: &str = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn";

/// The jars of Apache ZooKeeper 3.9.4; `tests/setup/setup.sh` says where, and gets them if need be.
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
