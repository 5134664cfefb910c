//! One service to measure: it runs already, or loadgen starts its servers and ends them with it.

use crate::random::Random;
use crate::servers::children::Group;
use crate::servers::target::Target;
use crate::servers::{four_letter_word, jars};
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs};

/// How loadgen starts servers.
#[derive(Clone, Debug, clap::Args)]
pub struct Start {
    /// Version of Apache ZooKeeper to fetch and start
    #[arg(long, value_name = "VERSION", default_value = "3.9.4")]
    pub zookeeper_version: String,
    /// Directory of the data of servers that are started, on the disk to measure [default: /var/tmp]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// CPUs of each server that is started, such as 0-1 or 0,2 [default: all]
    #[arg(long, value_name = "LIST")]
    pub cores: Option<String>,
    /// CPUs of each server in their order; they take precedence over `cores`.
    #[arg(skip)]
    pub cores_by_server: Vec<String>,
}

impl Start {
    fn cores_of(&self, sid: usize) -> Option<&String> {
        self.cores_by_server.get(sid - 1).or(self.cores.as_ref())
    }

    /// The directory of the data of servers that are started; it exists afterwards.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn data_directory(&self) -> Result<PathBuf, String> {
        let default =
            || Some(PathBuf::from("/var/tmp")).filter(|path| path.is_dir()).unwrap_or_else(env::temp_dir);
        let directory = self.data_dir.clone().unwrap_or_else(default);
        fs::create_dir_all(&directory)
            .and_then(|()| directory.canonicalize())
            .map_err(|error| format!("{}: {error}", directory.display()))
    }
}

/// Servers that serve.
#[derive(Debug)]
pub struct Service {
    /// `host:port` of each server, for clients.
    pub addresses: Vec<String>,
    /// Process ids of the servers, as far as they are known.
    pub pids: Vec<u32>,
    /// Version of the first server, by `srvr`.
    pub version: String,
    /// Command line of the first server; empty if it ran already.
    pub command: String,
    /// Configuration of the first server; empty if it ran already.
    pub config: String,
    group: Option<Group>,
}

/// How long servers may take until they serve.
const START_WAIT: Duration = Duration::from_secs(60);

/// How often loadgen asks whether a server serves.
const CHECK: Duration = Duration::from_millis(50);

/// Ports of servers, below those that the kernel gives to outgoing connections: a client that connects to the port of a
/// dead server could otherwise get the same port and connect to itself.
const PORTS: std::ops::Range<u32> = 10_000..30_000;

/// Heap of ZooKeeper's JVM, as in its own start script (`ZK_SERVER_HEAP` of zkEnv.sh).
const HEAP: &str = "-Xmx1000m";

/// Lines of the log of a server that does not start, for the error.
const LOG_LINES: usize = 15;

impl Service {
    /// Starts the servers of `target` and waits until all serve. `ports` are those for clients; if it is empty, free
    /// ones are taken. `pids` are the processes of servers that run already.
    ///
    /// # Errors
    /// The message names the server that does not serve and ends with its log, or says what is wrong with an argument.
    pub fn start(target: &Target, start: &Start, ports: &[u16], pids: &[u32]) -> Result<Self, String> {
        let servers = match target {
            Target::Running(addresses) => return Ok(Self::running(addresses, pids)),
            Target::Zookeeper { servers } | Target::Zkfast { servers, .. } => *servers,
        };
        if !pids.is_empty() {
            return Err(format!("{target}: loadgen starts it, so its process ids are known"));
        }
        if !ports.is_empty() && ports.len() != servers {
            return Err(format!("{} ports for {servers} servers", ports.len()));
        }
        let program = program(target, start)?;
        let group = Group::open(&start.data_directory()?)?;
        let members = members(servers, ports)?;
        let mut service = Self {
            addresses: members.iter().map(|member| format!("127.0.0.1:{}", member.client)).collect(),
            pids: Vec::new(),
            version: String::new(),
            command: String::new(),
            config: String::new(),
            group: None,
        };
        for sid in 1..=servers {
            let place = group.directory.join(sid.to_string());
            let config = config(&place, &members, sid);
            let file = place.join("zoo.cfg");
            prepare(&place, &config, sid).map_err(|error| format!("{}: {error}", place.display()))?;
            let words = with_cores(target, &program, start.cores_of(sid));
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]).arg(&file).current_dir(&place);
            if sid == 1 {
                service.command = format!("{} zoo.cfg", words.join(" "));
                service.config = config.replace(&format!("{}/", place.display()), "");
            }
            service.pids.push(group.start(&mut command, &place.join("log"))?);
        }
        service.version = await_all(&service.addresses, &group)?;
        service.group = Some(group);
        Ok(service)
    }

    /// The exit status of a server that loadgen started and that has ended, as text; `None` while all live.
    pub fn ended(&self) -> Option<String> {
        self.group.as_ref().and_then(Group::ended)
    }

    fn running(addresses: &[String], pids: &[u32]) -> Self {
        let version = mode_and_version(&addresses[0]).map_or_else(String::new, |(_, version)| version);
        let (addresses, pids) = (addresses.to_vec(), pids.to_vec());
        Self { addresses, pids, version, command: String::new(), config: String::new(), group: None }
    }
}

/// The ports of one server.
#[derive(Clone, Copy, Debug)]
struct Member {
    client: u16,
    quorum: u16,
    election: u16,
}

fn members(servers: usize, clients: &[u16]) -> Result<Vec<Member>, String> {
    for port in clients {
        TcpListener::bind(("0.0.0.0", *port)).map_err(|error| format!("port {port}: {error}"))?;
    }
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let mut random = Random::new(seed, u64::from(std::process::id()));
    let mut taken = clients.to_vec();
    let mut free = || {
        loop {
            let port = (PORTS.start + random.below(PORTS.end - PORTS.start)) as u16;
            if !taken.contains(&port) && TcpListener::bind(("0.0.0.0", port)).is_ok() {
                taken.push(port);
                return port;
            }
        }
    };
    let member = |index: usize| Member {
        client: clients.get(index).copied().unwrap_or_else(&mut free),
        quorum: free(),
        election: free(),
    };
    Ok((0..servers).map(member).collect())
}

/// The command of a server up to the name of its configuration file.
fn program(target: &Target, start: &Start) -> Result<Vec<String>, String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    if let Target::Zkfast { binary, .. } = target {
        return Ok(vec![text(&zkfast(binary.as_deref())?), "--config".to_owned()]);
    }
    let jars = jars::directory(&start.zookeeper_version)?;
    let java = env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java"));
    let java = java.filter(|java| java.is_file()).unwrap_or_else(|| "java".into());
    let mut program = vec![text(&java), HEAP.to_owned()];
    // zkServer.sh reads the same variable.
    let flags = env::var("JVMFLAGS").unwrap_or_default();
    program.extend(flags.split_whitespace().map(str::to_owned));
    program.extend(["-cp".to_owned(), text(&jars.join("*"))]);
    program.push("org.apache.zookeeper.server.quorum.QuorumPeerMain".to_owned());
    Ok(program)
}

/// The same command on `cores`: zkfast has an option for it, Java needs taskset.
fn with_cores(target: &Target, program: &[String], cores: Option<&String>) -> Vec<String> {
    let Some(cores) = cores else { return program.to_vec() };
    let (first, rest) = program.split_first().expect("a command has a program");
    let (first, cores, mut words) = (first.clone(), cores.clone(), Vec::new());
    if matches!(target, Target::Zkfast { .. }) {
        words.extend([first, "--cores".to_owned(), cores]);
    } else {
        words.extend(["taskset".to_owned(), "-c".to_owned(), cores, first]);
    }
    words.extend_from_slice(rest);
    words
}

/// The binary that the argument names, or the one beside loadgen's own.
fn zkfast(named: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(path) = named {
        return path.canonicalize().map_err(|error| format!("{}: {error}", path.display()));
    }
    let own = env::current_exe().map_err(|error| format!("loadgen's own path: {error}"))?;
    let beside = own.with_file_name("zkfast");
    if beside.is_file() {
        return Ok(beside);
    }
    Err(format!("there is no {}: build it with cargo build --release, or say zkfast=PATH", beside.display()))
}

fn prepare(place: &Path, config: &str, sid: usize) -> std::io::Result<()> {
    fs::create_dir_all(place.join("data"))?;
    fs::write(place.join("data/myid"), format!("{sid}\n"))?;
    fs::write(place.join("zoo.cfg"), config)
}

fn config(place: &Path, members: &[Member], sid: usize) -> String {
    let mut config = format!(
        "tickTime=2000\ndataDir={}\nclientPort={}\nmaxClientCnxns=0\nadmin.enableServer=false\n\
         4lw.commands.whitelist=srvr,mntr,isro\n",
        place.join("data").display(),
        members[sid - 1].client
    );
    if members.len() > 1 {
        config.push_str("initLimit=10\nsyncLimit=5\n");
        for (index, member) in members.iter().enumerate() {
            let Member { quorum, election, .. } = member;
            let _ = writeln!(config, "server.{}=127.0.0.1:{quorum}:{election}", index + 1);
        }
    }
    config
}

/// Waits until every server has a mode, which says that it serves; returns the version of the first.
fn await_all(addresses: &[String], group: &Group) -> Result<String, String> {
    let until = Instant::now() + START_WAIT;
    let mut version = String::new();
    for (index, address) in addresses.iter().enumerate().rev() {
        loop {
            if let Some((_, found)) = mode_and_version(address) {
                version = found;
                break;
            }
            let late = (Instant::now() > until).then(|| format!("{address} does not serve"));
            if let Some(why) = group.ended().or(late) {
                let log = group.directory.join((index + 1).to_string()).join("log");
                let log = fs::read_to_string(log).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
                return Err(format!("{why}; the last lines of its log:\n{last}"));
            }
            std::thread::sleep(CHECK);
        }
    }
    Ok(version)
}

/// Mode and version of a server that serves, by `srvr`.
fn mode_and_version(address: &str) -> Option<(String, String)> {
    let answer = four_letter_word::ask(address, "srvr")?;
    let field = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name));
    let version = field("Zookeeper version: ").unwrap_or_default();
    // The commit and the date of the build follow the version.
    let version = version.split([',', ' ']).next().unwrap_or_default();
    let is_commit = |part: &str| part.len() == 40 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let version =
        version.rsplit_once('-').filter(|(_, last)| is_commit(last)).map_or(version, |(first, _)| first);
    Some((field("Mode: ")?.to_owned(), version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Start {
        let data_dir = Some(env::temp_dir());
        Start { zookeeper_version: "3.9.4".to_owned(), data_dir, cores: None, cores_by_server: Vec::new() }
    }

    /// A wrong argument is refused with the reason: ports, process ids, versions, a missing binary, a port that another
    /// process has.
    #[test]
    fn refuses_wrong_input() {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a free port");
        let taken = listener.local_addr().expect("its port").port();
        let own = env::current_exe().expect("a path");
        let zkfast = |servers| Target::Zkfast { servers, binary: Some(own.clone()) };
        let beside = Target::Zkfast { servers: 1, binary: None };
        let other = Start { zookeeper_version: "latest".to_owned(), ..start() };
        for (target, start, ports, pids, part) in [
            (zkfast(3), start(), vec![2181], vec![], "1 ports for 3 servers"),
            (zkfast(1), start(), vec![], vec![1], "its process ids are known"),
            (zkfast(1), start(), vec![taken], vec![], "in use"),
            (beside, start(), vec![], vec![], "build it with cargo build --release, or say zkfast=PATH"),
            (
                Target::Zookeeper { servers: 1 },
                other,
                vec![],
                vec![],
                "\"latest\" is no version of ZooKeeper",
            ),
        ] {
            let error = Service::start(&target, &start, &ports, &pids).expect_err(part);
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    /// A server that ends instead of serving is an error with the end of its log, and its directory is removed.
    #[test]
    fn a_server_that_ends() {
        let place = env::temp_dir().join(format!("loadgen-service-{}", std::process::id()));
        // `false` takes any arguments, and ends.
        let target = Target::Zkfast { servers: 3, binary: Some("/bin/false".into()) };
        let start = Start { data_dir: Some(place.clone()), ..start() };
        let error = Service::start(&target, &start, &[], &[]).expect_err("it ends");
        assert!(error.contains("exit status: 1; the last lines of its log"), "{error}");
        assert_eq!(fs::read_dir(&place).expect("the parent").count(), 0);
        fs::remove_dir(&place).expect("ours");
    }

    /// The configuration of several servers names all of them with different ports.
    #[test]
    fn configuration() {
        let members = members(3, &[]).expect("free ports");
        let config = config(Path::new("/data"), &members, 2);
        assert!(config.contains(&format!("clientPort={}\n", members[1].client)), "{config}");
        for (index, member) in members.iter().enumerate() {
            let line = format!("server.{}=127.0.0.1:{}:{}\n", index + 1, member.quorum, member.election);
            assert!(config.contains(&line), "{config}");
        }
        let mut ports: Vec<u16> = members.iter().flat_map(|m| [m.client, m.quorum, m.election]).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 9);
    }
}
