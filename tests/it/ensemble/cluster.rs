//! Servers of one ensemble, each with its own directory, ports and, if a test needs it, network namespace.

use super::network::Network;
use crate::harness::{
    ANSWER_TIMEOUT, Deadline, Directory, JAVA_FLAGS, Kind, WORD_TIMEOUT, free_ports, java_class_path, tail,
    wait_for, zkfast_binary,
};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use zkfast::client::net::four_letter_word;

/// How long an ensemble may take until all of its servers serve, JVMs included, on a quiet machine ([`Deadline`]).
pub const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a server may take to exit after SIGTERM, on a quiet machine.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// Implementation, role and keys of one server.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Its implementation.
    pub kind: Kind,
    /// True for an observer: no vote, no acknowledgement.
    pub observer: bool,
    /// Keys of its own `zoo.cfg`, after those of all servers.
    pub keys: Vec<(String, String)>,
}

impl Shape {
    /// A voter without keys of its own.
    pub fn voter(kind: Kind) -> Self {
        Self { kind, observer: false, keys: Vec::new() }
    }
}

#[derive(Debug)]
struct Member {
    sid: usize,
    shape: Shape,
    address: IpAddr,
    client_port: u16,
    quorum_port: u16,
    election_port: u16,
    child: Option<Child>,
    paused: bool,
    environment: Vec<(&'static str, String)>,
}

/// The servers of an ensemble. Their ids are 1, 2, 3 and so on. Dropping this value kills them, and shows their last
/// lines if the test fails.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Member>,
    keys: Vec<(String, String)>,
    directory: Directory,
    network: Option<Network>,
    java_config_version: Option<u64>,
}

impl Cluster {
    /// An ensemble without processes. `keys` go into every `zoo.cfg`.
    pub fn new(shapes: &[Shape], keys: &[(&str, &str)], network: Option<Network>) -> Self {
        let mut ports = free_ports();
        let mut port = |fixed| match network {
            // In a namespace of its own a server may use any port.
            Some(_) => fixed,
            None => ports.next().expect("a free port"),
        };
        let member = |(index, shape): (usize, &Shape)| Member {
            sid: index + 1,
            shape: shape.clone(),
            address: network
                .as_ref()
                .map_or(Ipv4Addr::LOCALHOST, |network| network.address(index + 1))
                .into(),
            client_port: port(2181),
            quorum_port: port(2888),
            election_port: port(3888),
            child: None,
            paused: false,
            environment: Vec::new(),
        };
        let members = shapes.iter().enumerate().map(member).collect();
        let keys = keys.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        let directory = Directory::new("ensemble");
        Self { members, keys, directory, network, java_config_version: None }
    }

    /// Starts all servers and waits until all serve.
    pub fn start(shapes: &[Shape], keys: &[(&str, &str)], network: Option<Network>) -> Self {
        let mut cluster = Self::new(shapes, keys, network);
        for sid in cluster.sids() {
            cluster.spawn(sid);
        }
        cluster.wait_until_all_serve(START_TIMEOUT);
        cluster
    }

    /// The ids of all servers.
    pub fn sids(&self) -> std::ops::RangeInclusive<usize> {
        1..=self.members.len()
    }

    fn member(&self, sid: usize) -> &Member {
        &self.members[sid - 1]
    }

    /// The client address of `sid`.
    pub fn address(&self, sid: usize) -> SocketAddr {
        let member = self.member(sid);
        SocketAddr::new(member.address, member.client_port)
    }

    /// The client addresses, in the order of the ids.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sids().map(|sid| self.address(sid)).collect()
    }

    /// The network that tests can cut, if there is one.
    pub fn network(&self) -> Option<&Network> {
        self.network.as_ref()
    }

    /// True if one of the servers is of this kind.
    pub fn has(&self, kind: Kind) -> bool {
        self.members.iter().any(|member| member.shape.kind == kind)
    }

    /// Gives `sid` another implementation or role, from its next start on.
    pub fn reshape(&mut self, sid: usize, shape: Shape) {
        self.members[sid - 1].shape = shape;
    }

    /// Sets variables of the next starts of `sid`. The server also gets the test's own.
    pub fn set_environment(&mut self, sid: usize, environment: Vec<(&'static str, String)>) {
        self.members[sid - 1].environment = environment;
    }

    /// The data directory of `sid`.
    pub fn data(&self, sid: usize) -> PathBuf {
        self.place(sid).join("data")
    }

    /// From the next start on, each Java server has the `server` lines in a dynamic file of this version.
    pub fn set_java_config_version(&mut self, version: u64) {
        self.java_config_version = Some(version);
    }

    /// Empties the data directory of `sid`, which must not run. The server loses what it acknowledged, and no ensemble
    /// can make up for that.
    pub fn forget(&mut self, sid: usize) {
        assert!(!self.is_running(sid), "server {sid} runs");
        fs::remove_dir_all(self.data(sid)).expect("a data directory");
    }

    /// Starts the process on its data directory as it is, without waiting for it.
    pub fn spawn(&mut self, sid: usize) {
        assert!(!self.is_running(sid), "server {sid} runs already");
        let config = self.configure(sid);
        let output = fs::File::options().create(true).append(true).open(self.output_file(sid));
        let output = output.expect("a file for the server's output");
        let errors = output.try_clone().expect("a second handle of it");
        let mut command = self.command(sid, &config);
        command.envs(self.member(sid).environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.place(sid)).stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let member = &mut self.members[sid - 1];
        member.child = Some(child);
        member.paused = false;
    }

    /// The server gets the test's environment. So `ZKFAST_BIN` can name a build with deliberate bugs, and a variable can
    /// switch one of them on.
    fn command(&self, sid: usize, config: &Path) -> Command {
        let program = |path: &Path| match &self.network {
            Some(network) => network.command(sid, path),
            None => Command::new(path),
        };
        match self.member(sid).shape.kind {
            Kind::Zkfast => {
                let mut command = program(&zkfast_binary());
                command.arg("--config").arg(config).args(["--cores", "0,1"]);
                command
            }
            Kind::Java => {
                let mut command = program(Path::new("java"));
                command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
                command.args(["-Dzookeeper.jmx.log4j.disable=true", "-Dzookeeper.preAllocSize=100"]);
                command.args(JAVA_FLAGS).arg("-cp").arg(java_class_path());
                command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(config);
                command
            }
        }
    }

    fn configure(&self, sid: usize) -> PathBuf {
        let member = self.member(sid);
        let data = self.data(sid);
        fs::create_dir_all(&data).expect("the data directory");
        fs::write(data.join("myid"), format!("{sid}\n")).expect("myid");
        let mut text = format!(
            "dataDir={}\nclientPort={}\nclientPortAddress={}\nadmin.enableServer=false\n\
             4lw.commands.whitelist=*\nmaxClientCnxns=0\n",
            data.display(),
            member.client_port,
            member.address,
        );
        for (key, value) in self.keys.iter().chain(&member.shape.keys) {
            let _ = writeln!(text, "{key}={value}");
        }
        if member.shape.observer {
            text += "peerType=observer\n";
        }
        let mut lines = String::new();
        for peer in &self.members {
            let role = if peer.shape.observer { ":observer" } else { "" };
            let Member { sid, address, quorum_port, election_port, .. } = peer;
            let _ = writeln!(lines, "server.{sid}={address}:{quorum_port}:{election_port}{role}");
        }
        match self.java_config_version {
            Some(version) if member.shape.kind == Kind::Java => {
                let path = self.place(sid).join(format!("zoo.cfg.dynamic.{version:x}"));
                fs::write(&path, lines).expect("a dynamic file");
                let _ = writeln!(text, "dynamicConfigFile={}", path.display());
            }
            _ => text += &lines,
        }
        let path = self.place(sid).join("zoo.cfg");
        fs::write(&path, text).expect("zoo.cfg");
        path
    }

    /// True if the process exists, paused or not.
    pub fn is_running(&mut self, sid: usize) -> bool {
        self.ended(sid);
        self.member(sid).child.is_some()
    }

    /// The status of a process that has ended by itself; the inner `None` if a signal ended it.
    pub fn ended(&mut self, sid: usize) -> Option<Option<i32>> {
        let child = self.members[sid - 1].child.as_mut()?;
        let status = child.try_wait().expect("the state of a child")?;
        self.members[sid - 1].child = None;
        Some(status.code())
    }

    /// Waits until `sid` exits by itself. Gives its status, `None` if a signal ended it.
    pub fn wait_for_exit(&mut self, sid: usize, timeout: Duration) -> Option<i32> {
        wait_for(timeout, || {
            self.ended(sid).ok_or_else(|| format!("server {sid} still runs:\n{}", self.output(sid)))
        })
    }

    /// The last lines of its output.
    pub fn output(&self, sid: usize) -> String {
        tail(&self.output_file(sid))
    }

    /// All of its output.
    pub fn whole_output(&self, sid: usize) -> String {
        fs::read_to_string(self.output_file(sid)).expect("the server's output, in UTF-8")
    }

    /// True between [`pause`](Self::pause) and [`resume`](Self::resume).
    pub fn is_paused(&self, sid: usize) -> bool {
        self.member(sid).paused
    }

    /// The process id of `sid`, which must run.
    pub fn process(&self, sid: usize) -> u32 {
        self.member(sid).child.as_ref().expect("runs").id()
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self, sid: usize) {
        self.members[sid - 1].kill();
    }

    /// Sends SIGTERM, and waits for the end.
    pub fn stop(&mut self, sid: usize) {
        self.signal(sid, Signal::TERM);
        self.wait_for_exit(sid, STOP_TIMEOUT);
    }

    /// Sends SIGSTOP.
    pub fn pause(&mut self, sid: usize) {
        self.signal(sid, Signal::STOP);
        self.members[sid - 1].paused = true;
    }

    /// Sends SIGCONT.
    pub fn resume(&mut self, sid: usize) {
        self.signal(sid, Signal::CONT);
        self.members[sid - 1].paused = false;
    }

    fn signal(&self, sid: usize, signal: Signal) {
        let pid = Pid::from_raw(self.process(sid).cast_signed()).expect("a child's id is not 0");
        kill_process(pid, signal).expect("a child takes signals");
    }

    /// The answer of `sid` to a four-letter word; `None` if the server does not run or is paused.
    pub fn word(&self, sid: usize, word: &str) -> Option<String> {
        if self.is_paused(sid) {
            return None;
        }
        let timeout = match self.member(sid).shape.kind {
            Kind::Zkfast => ANSWER_TIMEOUT,
            Kind::Java => WORD_TIMEOUT,
        };
        four_letter_word(self.address(sid), word, timeout).ok()
    }

    /// The mode of `sid`: leader, follower or observer; `None` while it looks for a leader.
    pub fn mode(&self, sid: usize) -> Option<String> {
        let answer = self.word(sid, "srvr")?;
        answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
    }

    /// The metrics of `sid`, without the prefix `zk_`.
    pub fn mntr(&self, sid: usize) -> BTreeMap<String, String> {
        let answer = self.word(sid, "mntr").unwrap_or_default();
        let pair = |line: &str| line.split_once('\t').map(|(key, value)| (key.to_owned(), value.to_owned()));
        let plain = |(key, value): (String, String)| (key.trim_start_matches("zk_").to_owned(), value);
        answer.lines().filter_map(pair).map(plain).collect()
    }

    /// The server whose mode is leader. A former leader may not have noticed yet: of two, the one with the newer epoch
    /// counts.
    pub fn leader(&mut self) -> Option<usize> {
        let epoch = |answer: &str| {
            let zxid = answer.lines().find_map(|line| line.strip_prefix("Zxid: 0x"))?;
            Some(u64::from_str_radix(zxid, 16).ok()? >> 32)
        };
        let candidates =
            self.sids().filter(|&sid| self.is_running(sid) && !self.is_paused(sid)).collect::<Vec<_>>();
        let epoch_led = |sid: usize| {
            let answer = self.word(sid, "srvr").filter(|answer| answer.contains("Mode: leader"))?;
            Some((epoch(&answer)?, sid))
        };
        candidates.into_iter().filter_map(epoch_led).max().map(|(_, sid)| sid)
    }

    /// Waits until a server leads.
    pub fn wait_for_leader(&mut self, timeout: Duration) -> usize {
        wait_for(timeout, || self.leader().ok_or_else(|| "no server leads".to_owned()))
    }

    /// Waits until every server has joined a leader and serves. Gives the time that this took.
    pub fn wait_until_all_serve(&mut self, timeout: Duration) -> Duration {
        let begun = Instant::now();
        let mut deadline = Deadline::new(timeout);
        loop {
            let mut missing = Vec::new();
            let mut leaders = 0;
            for sid in self.sids() {
                if !self.is_running(sid) {
                    panic!("server {sid} ended by itself\n{}", self.output(sid));
                }
                match self.mode(sid) {
                    Some(mode) if mode == "leader" => leaders += 1,
                    Some(_) => {}
                    None => missing.push(sid),
                }
            }
            if leaders == 1 && missing.is_empty() {
                return begun.elapsed();
            }
            let waited = begun.elapsed();
            assert!(
                !deadline.is_over(),
                "{leaders} leaders, servers {missing:?} do not serve after {waited:?}"
            );
            std::thread::sleep(POLL);
        }
    }

    /// The directory of the servers' directories. A test may put files there that a failure must keep.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn place(&self, sid: usize) -> PathBuf {
        self.directory.path().join(format!("server-{sid}"))
    }

    fn output_file(&self, sid: usize) -> PathBuf {
        self.place(sid).join("output.log")
    }
}

impl Member {
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.paused = false;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.kill();
        }
        if std::thread::panicking() {
            for sid in self.sids() {
                let Member { shape, .. } = self.member(sid);
                eprintln!(
                    "---- last output of server {sid}, {:?}\n{}\n----",
                    shape.kind,
                    tail(&self.output_file(sid))
                );
            }
        }
    }
}
