//! A network that tests can cut: one namespace per server, joined by a bridge.
//!
//! A cut gives a server a wrong hardware address for the other server, so that its frames are lost. No connection is
//! refused or reset, and each direction is cut separately. That needs `ip` and the right to create namespaces (root),
//! but no packet filter.

use rustix::process::{Pid, Signal, kill_process};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

/// The names of the namespaces begin with this, followed by the test's process id.
const PREFIX: &str = "zkfast-";
/// A hardware address that no server has.
const UNUSED: &str = "02:5a:4b:00:00:fe";

/// Namespaces `zkfast-PID-SID` and a bridge, removed with this value.
#[derive(Debug)]
pub struct Network {
    process: u32,
    servers: usize,
    bridge: String,
    subnet: [u8; 3],
}

impl Network {
    /// Creates the namespaces of servers 1 to `servers`.
    ///
    /// # Errors
    /// The command that this machine does not allow.
    pub fn new(servers: usize) -> Result<Self, String> {
        remove_leftovers();
        let process = std::process::id();
        let [_, _, high, low] = process.to_be_bytes();
        let bridge = format!("zkb{process:x}");
        let network = Self { process, servers, bridge, subnet: [10, 100 + high % 100, low] };
        let bridge = &network.bridge;
        ip(&["link", "add", bridge, "type", "bridge"])?;
        ip(&["addr", "add", &format!("{}/24", network.address(254)), "dev", bridge])?;
        ip(&["link", "set", bridge, "up"])?;
        for sid in 1..=servers {
            let (name, cable) = (network.namespace(sid), network.cable(sid));
            ip(&["netns", "add", &name])?;
            let hardware = hardware(sid);
            let peer = ["peer", "name", "eth0", "netns", &name, "address", &hardware];
            ip(&[&["link", "add", &cable, "type", "veth"], &peer[..]].concat())?;
            ip(&["link", "set", &cable, "master", bridge, "up"])?;
            ip(&["-n", &name, "addr", "add", &format!("{}/24", network.address(sid)), "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
        }
        network.heal();
        Ok(network)
    }

    /// The address of server `sid`, reachable from the test and from all servers.
    pub fn address(&self, sid: usize) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, u8::try_from(sid).expect("few servers"))
    }

    /// A command that runs `program` in the namespace of `sid`. The process keeps the id of the command's child.
    pub fn command(&self, sid: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(sid)]).arg(program);
        command
    }

    /// Loses from now on what `from` sends to `to`.
    pub fn cut(&self, from: usize, to: usize) {
        self.set_neighbour(from, to, UNUSED);
    }

    /// Lets all servers reach each other again.
    pub fn heal(&self) {
        for from in 1..=self.servers {
            for to in (1..=self.servers).filter(|&to| to != from) {
                self.set_neighbour(from, to, &hardware(to));
            }
        }
    }

    fn set_neighbour(&self, from: usize, to: usize, hardware: &str) {
        let (name, address) = (self.namespace(from), self.address(to).to_string());
        let neighbour = ["neigh", "replace", &address, "lladdr", hardware, "dev", "eth0", "nud", "permanent"];
        ip(&[&["-n", &name], &neighbour[..]].concat())
            .expect("a neighbour entry in a namespace of this test");
    }

    fn namespace(&self, sid: usize) -> String {
        format!("{PREFIX}{}-{sid}", self.process)
    }

    fn cable(&self, sid: usize) -> String {
        format!("zkv{:x}-{sid}", self.process)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for sid in 1..=self.servers {
            // The cable goes first: a namespace exists as long as a socket in it.
            let _ = ip(&["link", "del", &self.cable(sid)]);
            let _ = ip(&["netns", "del", &self.namespace(sid)]);
        }
        let _ = ip(&["link", "del", &self.bridge]);
    }
}

fn hardware(sid: usize) -> String {
    format!("02:5a:4b:00:00:{sid:02x}")
}

/// Removes namespaces, and servers in them, of tests that were killed.
fn remove_leftovers() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let parts = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
        let Some((process, sid)) = parts else { continue };
        let Ok(process) = process.parse::<u32>() else { continue };
        if !Path::new(&format!("/proc/{process}")).exists() {
            let servers = Command::new("ip").args(["netns", "pids", &name]).output();
            let servers = servers.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            for pid in servers.unwrap_or_default().lines().filter_map(|line| line.parse().ok()) {
                let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
            }
            let _ = ip(&["link", "del", &format!("zkv{process:x}-{sid}")]);
            let _ = ip(&["netns", "del", &name]);
            let _ = ip(&["link", "del", &format!("zkb{process:x}")]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// Writes to standard error, past libtest's capture, that a test did not run. `tests/run.sh` counts the line as a skipped
/// test.
pub fn skip(test: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
}
