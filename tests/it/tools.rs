//! `zkfast dev` and `zkfast status` as scripts use them.

use crate::harness::{Directory, Kind, Running, Server, free_address, wait_for, zkfast_binary};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use zkfast::client::net::{Connect, Connection, four_letter_word};
use zkfast::client::{Body, Request};
use zkfast::proto::{Acl, OpCode};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// A `zkfast dev`, killed at the end, and the line that it prints.
fn dev(arguments: &[&str]) -> (Running, String) {
    let mut command = Command::new(zkfast_binary());
    command.arg("dev").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("zkfast dev");
    let line = first_line(&mut child);
    (Running(child), line)
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    let out = child.stdout.take().expect("a pipe");
    BufReader::new(out).read_line(&mut line).expect("text");
    line.trim_end().to_owned()
}

fn folder(process: u32) -> String {
    format!("/dev/shm/zkfast-dev-{process}")
}

/// A server serves at the address that it prints, and its files go with it; those of one that was killed go with the next.
#[test]
fn dev_serves_and_leaves_nothing() {
    let (mut killed, address) = dev(&[]);
    let address: SocketAddr = address.parse().expect("an address and nothing else");
    let connect = Connect::default();
    let mut connection = Connection::connect(address, &connect, ANSWER_TIMEOUT).expect("a session");
    let (path, acl) = (b"/a".to_vec(), vec![Acl::open()]);
    let create = Request::Create { op: OpCode::CREATE, path, data: Some(vec![1]), acl, flags: 0, ttl_ms: -1 };
    let reply = connection.call(&create, &mut Vec::new()).expect("an answer");
    assert!(matches!(reply.body, Body::Path(_)), "{reply:?}");
    let left = folder(killed.0.id());
    assert!(fs::metadata(&left).is_ok(), "{left} is where the files are");
    killed.0.kill().expect("killed");
    killed.0.wait().expect("ended");
    let (mut next, line) = dev(&["--json"]);
    assert!(fs::metadata(&left).is_err(), "{left} is gone since the next start");
    let told: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(told["pid"], next.0.id(), "{line}");
    let address: SocketAddr = told["address"].as_str().expect("text").parse().expect("an address");
    assert_eq!(told["port"], address.port(), "{line}");
    let own = folder(next.0.id());
    assert!(fs::metadata(&own).is_ok(), "{own} is where the files are");
    rustix::process::kill_process(rustix::process::Pid::from_child(&next.0), rustix::process::Signal::TERM)
        .expect("a signal");
    let status = next.0.wait().expect("ended");
    assert_eq!((status.code(), status.signal()), (Some(0), None));
    assert!(fs::metadata(&own).is_err(), "{own} is gone");
}

/// A server that is to end with its parent ends when that was killed.
#[test]
fn dev_ends_with_its_parent() {
    let directory = Directory::new("dev-parent");
    let script = format!("{:?} dev --with-parent > address & sleep 1000", zkfast_binary());
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    let mut parent = Running::start(command, directory.path());
    let address: SocketAddr = wait_for(END_TIMEOUT, || {
        let line = fs::read_to_string(directory.path().join("address")).unwrap_or_default();
        line.trim_end().parse().map_err(|error| format!("{line:?}: {error}"))
    });
    four_letter_word(address, "srvr", ANSWER_TIMEOUT).expect("it serves");
    let sleeper = fs::read_to_string(format!("/proc/{0}/task/{0}/children", parent.0.id()));
    parent.0.kill().expect("killed");
    parent.0.wait().expect("ended");
    wait_for(END_TIMEOUT, || match four_letter_word(address, "ruok", ANSWER_TIMEOUT) {
        Ok(answer) => Err(format!("still there: {answer}")),
        Err(_) => Ok(()),
    });
    // The shell's other child, which nothing else ends.
    for process in sleeper.unwrap_or_default().split_whitespace() {
        let _ = Command::new("kill").arg(process).stderr(Stdio::null()).status();
    }
}

/// What is wrong with a flag is said, and no folder remains.
#[test]
fn dev_refuses_what_the_server_refuses() {
    let output =
        Command::new(zkfast_binary()).args(["dev", "--set", "tickTime=-1"]).output().expect("zkfast");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("tickTime"), "{said}");
    assert!(output.stdout.is_empty());
}

fn status(arguments: &[&str]) -> Output {
    let mut command = Command::new(zkfast_binary());
    command.arg("status").args(arguments);
    command.output().expect("zkfast status")
}

/// One server: its row and status 0; none: status 4, and the reason.
#[test]
fn status_of_one_server_and_of_none() {
    let mut server = Server::start(Kind::Zkfast, &[]);
    server.wait_until_serving();
    let address = server.address().to_string();
    let output = status(&["--server", &address]);
    let table = String::from_utf8(output.stdout).expect("text");
    let row = table.lines().nth(1).unwrap_or_default();
    assert!(row.contains(&address) && row.contains("standalone") && row.contains("3.9.4-zkfast"), "{table}");
    assert_eq!(output.status.code(), Some(0), "{table}");
    let none = free_address().to_string();
    let output = status(&["--json", "--only", "--server", &format!("{address},{none}")]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_eq!(told["servers"][0]["role"], "standalone", "{told}");
    assert_eq!(told["servers"][1]["serving"], false, "{told}");
    server.stop();
    let output = status(&["--server", &address]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert_eq!(status(&["--server"]).status.code(), Some(2));
}

/// `zkfast admin` prints what the HTTP port answers; its exit statuses are for scripts.
#[test]
fn admin_asks_the_http_port() {
    let _alone = crate::harness::alone();
    let (_server, http) = crate::http::server(&[]);
    let run = |arguments: &[&str]| {
        Command::new(zkfast_binary()).arg("admin").args(arguments).output().expect("zkfast admin")
    };
    let server = http.to_string();
    for command in ["top", "slow_requests", "monitor", "ruok"] {
        let output = run(&[command, "--server", &server]);
        assert!(output.status.success(), "{output:?}");
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(told["command"], command, "{told}");
    }
    let links = run(&["commands", "--server", &server]);
    assert!(links.status.success() && String::from_utf8_lossy(&links.stdout).contains("top"), "{links:?}");
    let mask = run(&["set_trace_mask", "--server", &server, "--query", "traceMask=306"]);
    assert!(mask.status.success() && String::from_utf8_lossy(&mask.stdout).contains("306"), "{mask:?}");
    for (arguments, status) in [
        (&["nonsense", "--server", &server][..], 1),
        (&["top", "--server", &server, "--query", "a b"], 2),
        (&["top", "--server", &free_address().to_string()], 4),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {output:?}");
    }
}
