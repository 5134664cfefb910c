//! The operator's command that restarts a server.

use super::members::Member;
use crate::client::net::host_of;
use rustix::process::{Pid, Signal, kill_process_group};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often a command that runs is looked at.
const POLL: Duration = Duration::from_millis(50);

/// What stands for parts of a server's address.
const PLACES: [&str; 4] = ["{host}", "{port}", "{server}", "{id}"];

/// A command for the shell, in which a server has places.
#[derive(Clone, Debug)]
pub struct Template(String);

impl Template {
    /// A command that says which server it means.
    ///
    /// # Errors
    /// It has no place for a server.
    pub fn new(text: &str) -> Result<Self, String> {
        match PLACES.iter().any(|place| text.contains(place)) {
            true => Ok(Self(text.to_owned())),
            false => Err(format!("--command {text:?} names no server: write {} in it", PLACES.join(", "))),
        }
    }

    /// The command for a server.
    ///
    /// # Errors
    /// The server's address has characters that mean something to a shell: it may come from another server.
    pub fn of(&self, member: &Member) -> Result<String, String> {
        let Member { address, id, .. } = member;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:_[]".contains(&byte);
        if !address.bytes().all(is_plain) || address.starts_with('-') {
            return Err(format!("{address:?} is no address that a command can have"));
        }
        let port = address.rsplit_once(':').map_or("", |(_, port)| port);
        let values = [host_of(address), port, address, &id.to_string()];
        let filled =
            PLACES.iter().zip(values).fold(self.0.clone(), |text, (place, value)| text.replace(place, value));
        Ok(filled)
    }
}

/// Runs a command, whose output goes to standard error, and waits for its end. It has a process group of its own: Ctrl-C does not
/// end it between a stop and a start, and it ends as a whole where it takes too long.
///
/// # Errors
/// It cannot be run, fails, or is killed since it takes longer than `limit`.
pub fn run(command: &str, limit: Duration) -> Result<(), String> {
    let output = std::io::stderr().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(output).process_group(0);
    let mut child = shell.spawn().map_err(|error| format!("sh: {error}"))?;
    let began = Instant::now();
    loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("the command failed: {status}")),
            None if began.elapsed() < limit => thread::sleep(POLL),
            None => {
                // It may have ended just now.
                let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
                let _ = child.wait();
                return Err(format!("the command did not end within {} s and was killed", limit.as_secs()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(address: &str) -> Member {
        Member { id: 2, address: address.to_owned(), http: None, is_voter: true }
    }

    /// A command has the server where its places are, and nothing of an address reaches the shell as more than a word.
    #[test]
    fn templates() {
        assert!(Template::new("systemctl restart zkfast").is_err());
        let template = Template::new("ssh {host} restart {port} {server} {id}; {host}").expect("places");
        for (address, expected) in [
            ("zk2:2181", Some("ssh zk2 restart 2181 zk2:2181 2; zk2")),
            ("[::1]:2181", Some("ssh ::1 restart 2181 [::1]:2181 2; ::1")),
            ("$(reboot):2181", None),
            ("a b:2181", None),
            ("-oProxyCommand=x:2181", None),
            ("-x:2181", None),
        ] {
            assert_eq!(template.of(&member(address)).ok().as_deref(), expected, "{address}");
        }
    }

    /// A command that fails or takes too long is told apart from one that is done.
    #[test]
    fn runs() {
        let limit = Duration::from_secs(60);
        assert_eq!(run("true", limit), Ok(()));
        assert_eq!(run("exit 3", limit), Err("the command failed: exit status: 3".to_owned()));
    }

    /// What takes too long is killed with all that it has started.
    #[test]
    fn late_commands_are_killed() {
        let folder = std::env::temp_dir().join(format!("zkfast-command-{}", std::process::id()));
        let pid_file = folder.with_extension("pid");
        // The shell waits for a process of its own.
        let command = format!("sleep 1000 & echo $! >'{}'; wait", pid_file.display());
        let late = run(&command, Duration::from_secs(2));
        assert!(late.is_err_and(|why| why.contains("was killed")));
        let pid = std::fs::read_to_string(&pid_file).expect("it has begun");
        std::fs::remove_file(&pid_file).expect("it is there");
        let is_gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        let began = Instant::now();
        while !is_gone() {
            assert!(began.elapsed() < Duration::from_secs(20), "process {pid} goes on");
            thread::sleep(POLL);
        }
    }
}
