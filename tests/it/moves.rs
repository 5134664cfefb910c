//! What an operator moves without a client's notice: connections to other servers, servers to another process.

use crate::ensemble::cluster::{Cluster, START_TIMEOUT};
use crate::harness::{ANSWER_TIMEOUT, Directory, Kind, alone, under_test, wait_for, zkfast_binary};
use crate::http::{Answer, create, exchange, get, members_of};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use zkfast::client::net::{ClientError, Connect, Connection};
use zkfast::client::session::{Body, Incoming, Request};
use zkfast::proto::SessionId;

/// Clients of the server that sheds.
const CLIENTS: usize = 60;

/// The share that it sheds.
const PERCENT: usize = 50;

const EPHEMERAL: i32 = 1;

/// How long a client listens at a time for the end of its connection.
const LISTEN: Duration = Duration::from_millis(2);

fn post(address: SocketAddr, path: &str, headers: &str) -> Answer {
    let request = format!(
        "POST /commands/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: 0\r\n\r\n"
    );
    Answer::of(&exchange(address, request.as_bytes())).expect("an answer")
}

/// True if the server has ended the connection.
fn has_ended(client: &mut Connection) -> bool {
    match client.receive_within(LISTEN) {
        Ok(Incoming::Event(event)) => panic!("nothing is watched: {event:?}"),
        Ok(Incoming::Reply(reply)) => panic!("nothing was asked: {reply:?}"),
        Err(ClientError::Io(error)) => !matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock),
        Err(ClientError::Timeout(_)) => false,
        Err(ClientError::Closed) => true,
        Err(error) => panic!("{error}"),
    }
}

fn owner(client: &mut Connection, path: &str) -> SessionId {
    let exists = Request::Exists { path: path.into(), watch: false };
    let reply = client.call(&exists, &mut Vec::new()).expect("an answer");
    let Body::Stat(stat) = reply.body else { panic!("{path} is gone: {reply:?}") };
    stat.ephemeral_owner
}

fn ephemeral(path: &str) -> Request {
    let Request::Create { op, path, data, acl, ttl_ms, .. } = create(path, b"") else { unreachable!() };
    Request::Create { op, path, data, acl, flags: EPHEMERAL, ttl_ms }
}

fn follower(cluster: &mut Cluster) -> usize {
    let leader = cluster.wait_for_leader(START_TIMEOUT);
    cluster.sids().find(|sid| *sid != leader).expect("three servers")
}

/// A server with all clients sheds half of them: these attach to other servers with the sessions that they have, and every
/// ephemeral stays. The command is for those who may do everything.
#[test]
fn shed_connections() {
    let _alone = alone();
    let (mut cluster, http) = members_of(Kind::Zkfast, &[]);
    cluster.sids().for_each(|sid| cluster.spawn(sid));
    cluster.wait_until_all_serve(START_TIMEOUT);
    let sid = follower(&mut cluster);
    let others: Vec<usize> = cluster.sids().filter(|other| *other != sid).collect();
    let (server, http) = (cluster.address(sid), http[sid - 1]);
    let connect = |address, connect: &Connect| Connection::connect(address, connect, ANSWER_TIMEOUT);
    let mut clients: Vec<(Connection, bool)> = Vec::new();
    for number in 0..CLIENTS {
        let mut client = connect(server, &Connect::default()).expect("a session");
        let reply = client.call(&ephemeral(&format!("/e{number}")), &mut Vec::new()).expect("an answer");
        assert_eq!(reply.header.err, 0);
        clients.push((client, false));
    }
    for (path, headers, status) in [
        ("shed_connections?percent=50", "", 401),
        ("shed_connections?percent=50", "Authorization: nonsense x\r\n", 401),
        ("shed_connections?percent=101", "Authorization: ip\r\n", 400),
        ("shed_connections", "Authorization: ip\r\n", 400),
    ] {
        let answer = post(http, path, headers);
        assert_eq!(answer.status, status, "{path} {headers:?}: {answer:?}");
    }
    assert!(get(http, "/commands/shed_connections").has("\"under_way\" : false"));
    let answer = post(http, &format!("shed_connections?percent={PERCENT}"), "Authorization: ip\r\n");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.has("\"to_shed\" : 30") && answer.has("\"under_way\" : true"), "{answer:?}");
    let mut next = others.iter().cycle();
    wait_for(START_TIMEOUT, || {
        for (client, has_moved) in clients.iter_mut().filter(|(_, has_moved)| !has_moved) {
            if has_ended(client) {
                let again = Connect { session: Some(client.identity()), ..Connect::default() };
                let other = cluster.address(*next.next().expect("without end"));
                let moved = connect(other, &again).expect("its session goes on");
                assert_eq!(moved.identity(), client.identity());
                (*client, *has_moved) = (moved, true);
            }
        }
        let state = get(http, "/commands/shed");
        if state.has("\"under_way\" : false") { Ok(()) } else { Err(state.body) }
    });
    let state = get(http, "/commands/shed");
    assert!(state.has("\"connections_shed\" : 30"), "{state:?}");
    assert_eq!(cluster.mntr(sid)["connections_shed"], "30");
    // The last ones may not have heard it yet.
    let mut moved = 0;
    for (number, (client, has_moved)) in clients.iter_mut().enumerate() {
        if !*has_moved && has_ended(client) {
            let again = Connect { session: Some(client.identity()), ..Connect::default() };
            (*client, *has_moved) = (connect(cluster.address(others[0]), &again).expect("it goes on"), true);
        }
        moved += usize::from(*has_moved);
        assert_eq!(owner(client, &format!("/e{number}")), client.identity().0, "client {number}");
    }
    assert_eq!(moved, CLIENTS * PERCENT / 100);
    assert_eq!(cluster.mntr(others[0])["ephemerals_count"], CLIENTS.to_string());
}

/// A leader hands over to the server that was asked for, and again to any: every client keeps its connection, its session and its
/// ephemeral, and those who have not to do so are refused. A leader that is told to stop hands over before.
#[test]
fn hand_over() {
    let _alone = alone();
    let (mut cluster, http) = members_of(Kind::Zkfast, &[]);
    cluster.sids().for_each(|sid| cluster.spawn(sid));
    cluster.wait_until_all_serve(START_TIMEOUT);
    let connect = |address, connect: &Connect| Connection::connect(address, connect, ANSWER_TIMEOUT);
    let mut clients: Vec<Connection> = Vec::new();
    for number in 0..CLIENTS {
        let server = cluster.address(number % 3 + 1);
        let mut client = connect(server, &Connect::default()).expect("a session");
        let reply = client.call(&ephemeral(&format!("/e{number}")), &mut Vec::new()).expect("an answer");
        assert_eq!(reply.header.err, 0);
        clients.push(client);
    }
    let first = cluster.wait_for_leader(START_TIMEOUT);
    let other = follower(&mut cluster);
    for (sid, path, headers, status, says) in [
        (first, "hand_over", "", 401, "\"error\""),
        (first, "hand_over?to=x", "Authorization: ip\r\n", 400, "is no number of a server"),
        (first, "hand_over?to=9", "Authorization: ip\r\n", 409, "the configuration names no server 9"),
        (other, "hand_over", "Authorization: ip\r\n", 409, "this server does not lead"),
    ] {
        let answer = post(http[sid - 1], path, headers);
        assert!(answer.status == status && answer.has(says), "{path} {headers:?}: {answer:?}");
    }
    assert!(
        post(http[other - 1], "hand_over", "Authorization: ip\r\n").has(&format!("\"leader\" : {first}"))
    );
    let write = Request::SetData { path: b"/e0".into(), data: Some(b"x".to_vec()), version: -1 };
    for to in [Some(other), None] {
        let leader = cluster.wait_for_leader(START_TIMEOUT);
        // On its way while the leader changes, through each server.
        for client in clients.iter_mut().take(3) {
            client.queue(&write);
            client.flush().expect("it is connected");
        }
        let path = to.map_or_else(|| "hand_over".to_owned(), |to| format!("hand_over?to={to}"));
        let answer = post(http[leader - 1], &path, "Authorization: ip\r\n");
        assert_eq!(answer.status, 200, "{answer:?}");
        let next = cluster.wait_for_leader(START_TIMEOUT);
        assert!(next != leader && to.is_none_or(|to| to == next), "{leader}, then {next}");
        assert!(answer.has(&format!("\"leader\" : {next}")), "{answer:?}");
        for client in clients.iter_mut().take(3) {
            assert!(matches!(client.receive(), Ok(Incoming::Reply(reply)) if reply.header.err == 0));
        }
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(owner(client, &format!("/e{number}")), client.identity().0, "client {number}");
    }
    let leader = cluster.wait_for_leader(START_TIMEOUT);
    cluster.stop(leader);
    let next = cluster.wait_for_leader(START_TIMEOUT);
    let said = cluster.whole_output(leader);
    assert!(said.contains(&format!("handed over before the stop: leader={next}")), "{said}");
    for (number, client) in clients.iter_mut().enumerate().filter(|(number, _)| number % 3 + 1 != leader) {
        assert_eq!(owner(client, &format!("/e{number}")), client.identity().0, "client {number}");
    }
}

/// A server alone has no other to which its clients could go.
#[test]
fn shed_connections_of_a_server_alone() {
    let _alone = alone();
    let (_server, http) = crate::http::server(&[]);
    let answer = post(http, "shed?percent=50", "Authorization: ip\r\n");
    assert!(answer.status == 409 && answer.has("no other server"), "{answer:?}");
    assert_eq!(get(http, "/commands/shed").status, 200);
}

/// Three servers that a script restarts by their pids. What it has started ends with this value.
struct Rolled {
    cluster: Cluster,
    http: Vec<SocketAddr>,
    directory: Directory,
}

/// Ends the process of server `$1` by TERM, waits for its end, and starts it again as it was started.
const RESTART: &str = r#"
set -e
pid=$(cat "$HERE/pid-$1")
cwd=$(readlink "/proc/$pid/cwd")
mapfile -d '' -t words < "/proc/$pid/cmdline"
kill -TERM "$pid"
for _ in $(seq 1000); do
    if [ ! -d "/proc/$pid" ] || grep -q '^State:.Z' "/proc/$pid/status"; then break; fi
    sleep 0.02
done
cd "$cwd"
"${words[@]}" >> output.log 2>&1 &
echo $! > "$HERE/pid-$1"
"#;

impl Rolled {
    fn start(kind: Kind) -> Self {
        let (mut cluster, http) = members_of(kind, &[("maxSessionTimeout", "120000")]);
        cluster.sids().for_each(|sid| cluster.spawn(sid));
        cluster.wait_until_all_serve(START_TIMEOUT);
        let directory = Directory::new("rolled");
        fs::write(directory.path().join("restart.sh"), RESTART).expect("a script");
        let rolled = Self { cluster, http, directory };
        for sid in rolled.cluster.sids() {
            fs::write(rolled.pid_file(sid), rolled.cluster.process(sid).to_string()).expect("a file");
        }
        rolled
    }

    fn pid_file(&self, sid: usize) -> PathBuf {
        self.directory.path().join(format!("pid-{sid}"))
    }

    fn pid(&self, sid: usize) -> i32 {
        let text = fs::read_to_string(self.pid_file(sid)).expect("a file");
        text.trim().parse().expect("a number")
    }

    fn pids(&self) -> Vec<i32> {
        self.cluster.sids().map(|sid| self.pid(sid)).collect()
    }

    fn leader(&self) -> usize {
        let leads = |sid: &usize| self.cluster.mode(*sid).as_deref() == Some("leader");
        wait_for(START_TIMEOUT, || {
            self.cluster.sids().find(leads).ok_or_else(|| "no server leads".to_owned())
        })
    }

    /// `zkfast rolling-restart` for these servers, with their HTTP ports.
    fn command(&self, sids: &[usize], https: &[usize], command: &str) -> Command {
        let list = |sids: &[usize], address: &dyn Fn(usize) -> SocketAddr| {
            sids.iter().map(|sid| address(*sid).to_string()).collect::<Vec<_>>().join(",")
        };
        let mut zkfast = Command::new(zkfast_binary());
        zkfast.args(["rolling-restart", "--server", &list(sids, &|sid| self.cluster.address(sid))]);
        zkfast.args(["--http", &list(https, &|sid| self.http[sid - 1]), "--command", command]);
        zkfast.env("HERE", self.directory.path());
        zkfast
    }

    /// Runs `zkfast rolling-restart` for these servers.
    fn roll(&self, sids: &[usize], command: &str, arguments: &[&str]) -> (Output, String, String) {
        let mut zkfast = self.command(sids, sids, command);
        let output = zkfast.args(arguments).output().expect("zkfast rolling-restart");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (said, complained) = (text(&output.stdout), text(&output.stderr));
        (output, said, complained)
    }
}

impl Drop for Rolled {
    fn drop(&mut self) {
        for sid in self.cluster.sids() {
            // The cluster ends those that it has started.
            if !self.cluster.is_running(sid)
                && let Some(pid) = Pid::from_raw(self.pid(sid))
            {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// The words after `start` of each line that begins so.
fn after<'a>(said: &'a str, start: &str) -> Vec<&'a str> {
    said.lines().filter_map(|line| line.strip_prefix(start)).collect()
}

const COMMAND: &str = "bash $HERE/restart.sh {id}";

/// Three servers are restarted one by one, the leader last; a session goes on with its ephemeral. A dry run changes nothing.
#[test]
fn rolling_restart() {
    let _alone = alone();
    let rolled = Rolled::start(under_test());
    let all = [1, 2, 3];
    let leader = rolled.leader();
    let connect = Connect { timeout_ms: 120_000, ..Connect::default() };
    let mut client =
        Connection::connect(rolled.cluster.address(1), &connect, ANSWER_TIMEOUT).expect("a session");
    assert_eq!(client.call(&ephemeral("/e"), &mut Vec::new()).expect("an answer").header.err, 0);
    let before = rolled.pids();
    let (output, said, complained) = rolled.roll(&all, COMMAND, &["--dry-run"]);
    assert_eq!(output.status.code(), Some(0), "{said}{complained}");
    let planned = after(&said, "would restart ");
    assert!(planned.len() == 3 && planned[2].contains(&format!("(server {leader}), leader")), "{said}");
    assert_eq!(rolled.pids(), before, "a dry run");
    let (output, said, complained) = rolled.roll(&all, COMMAND, &[]);
    assert_eq!(output.status.code(), Some(0), "{said}{complained}");
    let restarted = after(&said, "restarting ");
    assert!(restarted.len() == 3 && restarted[2].contains(&format!("(server {leader})")), "{said}");
    assert_eq!(after(&said, "in step after ").len(), 3, "{said}");
    // ZooKeeper's servers do not have the command.
    let is_over = match under_test() {
        Kind::Zkfast => "handed over: ",
        Kind::Java => "without a hand-over: ",
    };
    assert!(said.contains(is_over), "{said}");
    assert!(said.contains("done: 3 servers restarted in "), "{said}");
    let now = rolled.pids();
    assert!(before.iter().zip(&now).all(|(before, now)| before != now), "{before:?} {now:?}");
    assert_ne!(rolled.leader(), leader);
    let again = Connect { session: Some(client.identity()), ..Connect::default() };
    client =
        Connection::connect(rolled.cluster.address(2), &again, ANSWER_TIMEOUT).expect("its session goes on");
    assert_eq!(owner(&mut client, "/e"), client.identity().0);
}

/// Steps that fail end the restart, and say what is and how to go on: a command that fails, one that restarts nothing, a
/// voter that is missing, one whose address is not known.
#[test]
fn rolling_restart_stops() {
    let _alone = alone();
    let mut rolled = Rolled::start(Kind::Zkfast);
    let all = [1, 2, 3];
    let leader = rolled.leader();
    let [first, second] = all.iter().copied().filter(|sid| *sid != leader).collect::<Vec<_>>()[..] else {
        panic!("three servers")
    };
    let before = rolled.pids();
    let (output, said, complained) = rolled.roll(&all, &format!("test {{id}} != {second} && {COMMAND}"), &[]);
    assert_eq!(output.status.code(), Some(1), "{said}{complained}");
    let names = |sid: usize| rolled.cluster.address(sid).to_string();
    assert!(
        complained.contains(&format!("{} (server {second}): the command failed", names(second))),
        "{complained}"
    );
    assert!(complained.contains(&format!("restarted: {first};")), "{complained}");
    let left: Vec<String> = all.iter().filter(|sid| **sid != first).map(usize::to_string).collect();
    assert!(
        complained.contains(&format!("the same command with --only {}\n", left.join(","))),
        "{complained}"
    );
    let changed: Vec<usize> = all.into_iter().filter(|sid| rolled.pid(*sid) != before[sid - 1]).collect();
    assert_eq!(changed, [first]);
    let (output, said, complained) =
        rolled.roll(&all, "true {id}", &["--wait-s", "1", "--only", &first.to_string()]);
    assert_eq!(output.status.code(), Some(1), "{said}{complained}");
    assert!(complained.contains("the command has not restarted it"), "{complained}");
    let (output, _, complained) = rolled.roll(&[first], COMMAND, &[]);
    assert_eq!(output.status.code(), Some(1), "{complained}");
    assert!(complained.contains("its client address is not known"), "{complained}");
    let (output, _, _) = rolled.roll(&all, "true", &[]);
    assert_eq!(output.status.code(), Some(2), "a command for no server");
    rolled.cluster.stop(second);
    let now = rolled.pids();
    let (output, said, complained) = rolled.roll(&all, COMMAND, &[]);
    assert_eq!((output.status.code(), said.as_str()), (Some(1), ""), "{complained}");
    assert!(complained.contains(&rolled.cluster.address(second).to_string()), "{complained}");
    assert_eq!(rolled.pids(), now);
}

/// Nothing begins where another server answers at a HTTP port.
#[test]
fn rolling_restart_knows_the_http_ports() {
    let _alone = alone();
    let rolled = Rolled::start(Kind::Zkfast);
    let before = rolled.pids();
    let output = rolled.command(&[1, 2, 3], &[2, 1, 3], COMMAND).output().expect("zkfast rolling-restart");
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complained}");
    assert!(complained.contains(&format!("server 2 answers at {}", rolled.http[1])), "{complained}");
    assert_eq!(rolled.pids(), before);
}

/// The first signal lets the command end, which may be between a stop and a start, and no further server is restarted.
#[test]
fn rolling_restart_is_interrupted_between_two_servers() {
    let _alone = alone();
    let rolled = Rolled::start(Kind::Zkfast);
    let before = rolled.pids();
    let command = format!("touch $HERE/begun; while [ ! -e $HERE/go-on ]; do sleep 0.02; done; {COMMAND}");
    let mut zkfast = rolled.command(&[1, 2, 3], &[1, 2, 3], &command);
    let zkfast =
        zkfast.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("zkfast rolling-restart");
    let has_begun = rolled.directory.path().join("begun");
    let begun = || if has_begun.exists() { Ok(()) } else { Err("no server has its turn".to_owned()) };
    wait_for(START_TIMEOUT, begun);
    kill_process(Pid::from_child(&zkfast), Signal::INT).expect("it runs");
    fs::write(rolled.directory.path().join("go-on"), "").expect("a file");
    let output = zkfast.wait_with_output().expect("its end");
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complained}");
    assert!(complained.contains("interrupted by a signal\n"), "{complained}");
    assert!(
        complained.contains("to go on once all voters are in step: the same command with --only"),
        "{complained}"
    );
    let restarted = before.iter().zip(rolled.pids()).filter(|(before, now)| **before != *now).count();
    assert_eq!(restarted, 1, "{complained}");
}

/// At the end a server with more than its share of the connections sheds the excess.
#[test]
fn rolling_restart_evens_out() {
    const CONNECTIONS: usize = 30;
    let _alone = alone();
    let rolled = Rolled::start(Kind::Zkfast);
    let leader = rolled.leader();
    let followers: Vec<usize> = (1..=3).filter(|sid| *sid != leader).collect();
    let address = rolled.cluster.address(followers[0]);
    let clients: Vec<Connection> = (0..CONNECTIONS)
        .map(|_| Connection::connect(address, &Connect::default(), ANSWER_TIMEOUT).expect("a session"))
        .collect();
    let sids = [followers[1], followers[0], leader];
    let (output, said, complained) = rolled.roll(&sids, COMMAND, &["--dry-run"]);
    assert_eq!(output.status.code(), Some(0), "{said}{complained}");
    assert!(said.contains(&format!("would ask {address} (server {}) to shed ", followers[0])), "{said}");
    let (output, said, complained) = rolled.roll(&sids, COMMAND, &["--no-shed", "--dry-run"]);
    assert!(output.status.success() && !said.contains("shed"), "{said}{complained}");
    let (output, said, complained) = rolled.roll(&sids, COMMAND, &["--only", &followers[1].to_string()]);
    assert_eq!(output.status.code(), Some(0), "{said}{complained}");
    assert!(said.contains("done: 1 servers restarted"), "{said}");
    let sheds = after(&said, "sheds: ");
    assert!(sheds.len() == 1 && sheds[0].contains(&format!("(server {}), ", followers[0])), "{said}");
    let wanted: u64 =
        sheds[0].split_whitespace().nth(3).and_then(|word| word.parse().ok()).expect("a number");
    assert!((15..CONNECTIONS as u64).contains(&wanted), "{said}");
    wait_for(START_TIMEOUT, || {
        let shed = rolled.cluster.mntr(followers[0])["connections_shed"].clone();
        if shed == wanted.to_string() { Ok(()) } else { Err(format!("{shed} of {wanted} are shed")) }
    });
    drop(clients);
}
