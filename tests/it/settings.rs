//! Restarts with changed settings, and starts with few resources.

use crate::harness::{ANSWER_TIMEOUT, Kind, Server, alone};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use zkfast::client::net::{Connect, Connection};
use zkfast::client::{Incoming, Request};
use zkfast::proto::{Acl, OpCode};

/// Exit status of a server that cannot use its data directory.
const EXIT_DATA: i32 = 3;

fn client(server: &Server) -> Connection {
    Connection::connect(server.address(), &Connect::default(), ANSWER_TIMEOUT).expect("a session")
}

fn create(connection: &mut Connection, path: &str) -> i32 {
    let (path, acl) = (path.as_bytes().to_vec(), vec![Acl::open()]);
    let create = Request::Create { op: OpCode::CREATE, path, data: None, acl, flags: 0, ttl_ms: -1 };
    connection.call(&create, &mut Vec::new()).expect("an answer").header.err
}

fn exists(server: &Server, path: &str) -> bool {
    let exists = Request::Exists { path: path.as_bytes().to_vec(), watch: false };
    client(server).call(&exists, &mut Vec::new()).expect("an answer").header.err == 0
}

/// A server that holds passwords leaves no core dump, where a server without them, and one that is told to, does.
#[test]
fn no_core_dump_with_secrets() {
    let _alone = alone();
    let mut server = Server::new(Kind::Zkfast, &[]);
    let jaas = server.directory().join("jaas.conf");
    let module = "org.apache.zookeeper.server.auth.DigestLoginModule";
    fs::write(&jaas, format!("Server {{ {module} required user_bob=\"secret\"; }};\n")).expect("a JAAS file");
    server.allow_core_dumps();
    let left = |server: &mut Server| {
        server.start_again();
        let process = server.process();
        let limits = fs::read_to_string(format!("/proc/{process}/limits")).expect("its limits");
        let limit =
            limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line").to_owned();
        (server.abort().core_dumped(), limit.split_whitespace().nth(4).map(str::to_owned))
    };
    let host_dumps = left(&mut server).0;
    server.set("java.security.auth.login.config", &jaas.display().to_string());
    assert_eq!(left(&mut server), (false, Some("1".to_owned())));
    assert!(server.output().contains("core dumps: off"), "{}", server.output());
    server.set("zkfast.allowCoreDumps", "true");
    assert_eq!(left(&mut server).0, host_dumps, "a host that has core dumps has one of this server");
}

/// A server whose `dataLogDir` has changed does not start without its log, although no snapshot shows that a log
/// existed. With the former setting it has everything.
#[test]
fn log_elsewhere() {
    let _alone = alone();
    let mut server = Server::start(Kind::Zkfast, &[]);
    let place = |name: &str| server.directory().join(name).display().to_string();
    let (data, one, other) = (place("data"), place("one"), place("other"));
    assert_eq!(create(&mut client(&server), "/kept"), 0);
    server.kill();
    server.set("dataLogDir", &one);
    assert_eq!(server.start_and_fail(), Some(EXIT_DATA));
    assert!(server.output().contains("dataLogDir"), "{}", server.output());

    let folder = |base: &str| std::path::Path::new(base).join("zkfast-1");
    fs::rename(folder(&data).join("log.00000001"), folder(&one).join("log.00000001")).expect("moved");
    server.start_again();
    assert!(exists(&server, "/kept"));
    server.kill();
    for wrong in [&other, &data] {
        server.set("dataLogDir", wrong);
        assert_eq!(server.start_and_fail(), Some(EXIT_DATA), "{wrong}");
    }
    server.set("dataLogDir", &one);
    server.start_again();
    assert!(exists(&server, "/kept"));
}

/// A server restarts with digests disabled and enabled again, on a log that has digests for some txns only.
#[test]
fn digests_off_and_on() {
    let _alone = alone();
    let mut server = Server::start(Kind::Zkfast, &[]);
    for (round, enabled) in ["false", "true", "false", "true"].into_iter().enumerate() {
        assert_eq!(create(&mut client(&server), &format!("/{round}")), 0);
        server.kill();
        server.set("digest.enabled", enabled);
        server.start_again();
        assert!((0..=round).all(|round| exists(&server, &format!("/{round}"))));
    }
}

/// With one core, with two, and with a thread for the log, a server exits with status 0 on SIGTERM and has every
/// acknowledged write after the next start.
#[test]
fn stops_on_any_number_of_cores() {
    let _alone = alone();
    let mut server = Server::start(Kind::Zkfast, &[]);
    for (round, cores) in ["0", "0,1", "0,0,1", "0,1,0,1"].into_iter().enumerate() {
        server.set_cores(cores);
        assert_eq!(server.stop(), Some(0), "before --cores {cores}: {}", server.output());
        server.start_again();
        assert!((0..round).all(|round| exists(&server, &format!("/{round}"))), "--cores {cores}");
        assert_eq!(create(&mut client(&server), &format!("/{round}")), 0);
    }
    assert_eq!(server.stop(), Some(0), "{}", server.output());
}

/// When connections use up all descriptors, the log can still begin its next segment.
#[test]
fn descriptors_used_up() {
    let _alone = alone();
    let mut server = Server::start(Kind::Zkfast, &[]);
    server.kill();
    server.limit_descriptors(96);
    server.start_again();
    let mut writer = client(&server);
    assert_eq!(create(&mut writer, "/d"), 0);
    // Connections over the limit wait in the listen queue.
    let _idle: Vec<_> =
        (0..120).map(|_| Connection::open(server.address(), ANSWER_TIMEOUT).expect("a connection")).collect();
    let data = Some(vec![7; 1_000_000]);
    let set = Request::SetData { path: b"/d".to_vec(), data, version: -1 };
    for _ in 0..80 {
        let reply = writer.call(&set, &mut Vec::<Incoming>::new()).expect("an answer");
        assert_eq!(reply.header.err, 0);
    }
    assert!(server.directory().join("data/zkfast-1/log.00000002").exists());
    assert!(server.is_alive());
}
