//! Files, keys, requests and command lines at the edge of what is valid: zkfast does what ZooKeeper 3.9.4 does, which
//! runs beside it or was observed before. And what zkfast does with its defaults.

use crate::harness::{Directory, Kind, Running, Server, alone, free_address, free_ports, zkfast_binary};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use zkfast::client::net::{Connect, Connection, four_letter_word};
use zkfast::client::{Body, Request};
use zkfast::proto::{Acl, OpCode, Stat};
use zkfast::snapshot::java::{put_log_entry, put_log_header};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const START_TIMEOUT: Duration = Duration::from_secs(60);

fn connect(address: SocketAddr) -> Connection {
    Connection::connect(address, &Connect::default(), ANSWER_TIMEOUT).expect("a session")
}

fn create(path: &str, data: Option<&[u8]>, flags: i32) -> Request {
    let (path, acl) = (path.as_bytes().to_vec(), vec![Acl::open()]);
    Request::Create { op: OpCode::CREATE, path, data: data.map(Vec::from), acl, flags, ttl_ms: -1 }
}

fn code(connection: &mut Connection, request: &Request) -> i32 {
    connection.call(request, &mut Vec::new()).expect("an answer").header.err
}

fn stat(connection: &mut Connection, path: &str) -> Option<Stat> {
    let request = Request::Exists { path: path.into(), watch: false };
    match connection.call(&request, &mut Vec::new()).expect("an answer").body {
        Body::Stat(stat) => Some(stat),
        _ => None,
    }
}

/// A string or buffer in jute; `None` is null.
fn buffer(bytes: Option<&[u8]>) -> Vec<u8> {
    match bytes {
        None => (-1i32).to_be_bytes().to_vec(),
        Some(bytes) => [&(bytes.len() as i32).to_be_bytes()[..], bytes].concat(),
    }
}

/// Sends a request that our client cannot send, on a new session. Gives the code of the answer, `None` without one.
fn raw(address: SocketAddr, op: i32, body: &[u8]) -> Option<i32> {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a socket");
    let connect = [&[0; 12][..], &30_000i32.to_be_bytes(), &[0; 8], &buffer(Some(&[0; 16])), &[0]].concat();
    let request = [&1i32.to_be_bytes()[..], &op.to_be_bytes(), body].concat();
    stream.write_all(&[buffer(Some(&connect)), buffer(Some(&request))].concat()).expect("sent");
    let mut frame = || {
        let mut length = [0; 4];
        stream.read_exact(&mut length).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut frame).ok()?;
        Some(frame)
    };
    frame()?;
    let answer = frame()?;
    Some(i32::from_be_bytes(answer[12..16].try_into().expect("four bytes")))
}

/// Null is a valid path of a watch, as in Java, where a request does not look the path up in the tree.
#[test]
fn null_paths_of_watches() {
    const CHECK_WATCHES: i32 = 17;
    const REMOVE_WATCHES: i32 = 18;
    const SET_WATCHES: i32 = 101;
    const SET_WATCHES2: i32 = 105;
    const ADD_WATCH: i32 = 106;
    let _alone = alone();
    let with_number = |number: i32| [buffer(None), number.to_be_bytes().to_vec()].concat();
    let lists = |nulls: [i32; 5], count: usize| {
        let list = |null: &i32| match null {
            0 => 0i32.to_be_bytes().to_vec(),
            _ => [1i32.to_be_bytes().to_vec(), buffer(None)].concat(),
        };
        [vec![0; 8], nulls[..count].iter().flat_map(list).collect()].concat()
    };
    let mut requests: Vec<(i32, Vec<u8>, i32)> = Vec::new();
    for (mode, expected) in [(0, 0), (1, 0), (2, -5), (-1, -5)] {
        requests.push((ADD_WATCH, with_number(mode), expected));
    }
    for op in [CHECK_WATCHES, REMOVE_WATCHES] {
        for (kind, expected) in [(1, -121), (2, -121), (3, -121), (4, -121), (5, -121), (0, -5), (9, -5)] {
            requests.push((op, with_number(kind), expected));
        }
    }
    requests.push((SET_WATCHES, lists([1, 0, 0, 0, 0], 3), -5));
    for (nulls, expected) in
        [([1, 0, 0, 0, 0], -5), ([0, 0, 1, 0, 0], -5), ([0, 0, 0, 1, 0], 0), ([0, 0, 0, 0, 1], 0)]
    {
        requests.push((SET_WATCHES2, lists(nulls, 5), expected));
    }
    for kind in [Kind::Java, Kind::Zkfast] {
        let server = Server::start(kind, &[]);
        for (op, body, expected) in &requests {
            assert_eq!(raw(server.address(), *op, body), Some(*expected), "{kind:?}: {op} {body:?}");
        }
    }
}

/// With `enforceQuota`, a write that must be checked against a limit or usage that does not parse fails with -5.
#[test]
fn quotas_that_do_not_parse() {
    let _alone = alone();
    let codes = |kind| {
        let server = Server::start(kind, &[("enforceQuota", "true")]);
        let mut client = connect(server.address());
        let mut codes = Vec::new();
        let texts: [(Option<&[u8]>, &str); 9] = [
            (None, "count=0,bytes=0"),
            (Some(b"garbage"), "count=0,bytes=0"),
            (Some(b""), "count=0,bytes=0"),
            (Some(b"count=x,bytes=-1"), "count=0,bytes=0"),
            (Some(b"count="), "count=0,bytes=0"),
            (Some(b",count=5"), "count=0,bytes=0"),
            (Some(b"count==5;;byteHardLimit=-1"), "count=0,bytes=0"),
            (Some(b"count=-1,bytes=-1=;byteHardLimit=5"), "count=1,bytes=0"),
            (Some(b"count=2,bytes=-1=;countHardLimit=3"), "count=1,bytes=0"),
        ];
        for (number, (limits, usage)) in texts.into_iter().enumerate() {
            let (place, quota) = (format!("/q{number}"), format!("/zookeeper/quota/q{number}"));
            codes.push(code(&mut client, &create(&place, None, 0)));
            codes.push(code(&mut client, &create(&quota, None, 0)));
            codes.push(code(&mut client, &create(&format!("{quota}/zookeeper_limits"), limits, 0)));
            codes.push(code(
                &mut client,
                &create(&format!("{quota}/zookeeper_stats"), Some(usage.as_bytes()), 0),
            ));
            for child in ["a", "b", "c"] {
                codes.push(code(&mut client, &create(&format!("{place}/{child}"), Some(b"four"), 0)));
            }
            let set = |path: String, bytes: usize| Request::SetData {
                path: path.into(),
                data: Some(vec![7; bytes]),
                version: -1,
            };
            codes.push(code(&mut client, &set(format!("{place}/a"), 4)));
            codes.push(code(&mut client, &set(place.clone(), 6)));
            let multi = Request::Multi {
                ops: vec![create(&format!("/free{number}"), None, 0), create(&format!("{place}/m"), None, 0)],
            };
            codes.push(code(&mut client, &multi));
            codes.push(i32::from(stat(&mut client, &format!("/free{number}")).is_some()));
        }
        codes
    };
    let java = codes(Kind::Java);
    assert!(java.contains(&-5) && java.contains(&-125), "{java:?}");
    assert_eq!(codes(Kind::Zkfast), java, "left is zkfast");
}

/// Writes a txn log as ZooKeeper would: each txn creates a znode and has its parent's `cversion` after that.
fn write_log(data: &Path, creates: &[(&str, i32)]) {
    let folder = data.join("version-2");
    fs::create_dir_all(&folder).expect("a folder");
    let mut log = Vec::new();
    put_log_header(&mut log);
    for (number, (path, parent_cversion)) in creates.iter().enumerate() {
        let (zxid, create) = (number as i64 + 1, 1i32);
        let header = [
            &0i64.to_be_bytes()[..],
            &0i32.to_be_bytes(),
            &zxid.to_be_bytes(),
            &1_700_000_000_000i64.to_be_bytes(),
            &create.to_be_bytes(),
        ];
        let acl = [
            &1i32.to_be_bytes()[..],
            &31i32.to_be_bytes(),
            &buffer(Some(b"world")),
            &buffer(Some(b"anyone")),
        ];
        let txn = [
            &buffer(Some(path.as_bytes()))[..],
            &buffer(Some(b"d")),
            &acl.concat(),
            &[0],
            &parent_cversion.to_be_bytes(),
        ];
        put_log_entry(&mut log, &[header.concat(), txn.concat()].concat());
    }
    fs::write(folder.join("log.1"), log).expect("a log");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let target = to.join(entry.file_name().expect("a name"));
        match entry.is_dir() {
            true => copy(&entry, &target),
            false => _ = fs::copy(&entry, &target).expect("a copy"),
        }
    }
}

fn zkfast(args: &[&str]) -> Output {
    Command::new(zkfast_binary()).args(args).env_remove("JVMFLAGS").output().expect("zkfast runs")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// `cversion` overflows after 2^31 - 1, also in txns. zkfast imports a log of 3.9.4 from there, and shows the same Stats
/// afterwards. The log has no snapshot, so Java needs `snapshot.trust.empty`.
#[test]
fn counters_at_their_end() {
    let _alone = alone();
    let mut java = Server::new(Kind::Java, &[("snapshot.trust.empty", "true")]);
    write_log(&java.data(), &[("/p", 1), ("/p/a", i32::MAX - 1)]);
    java.start_again();
    let more = |server: &Server, names: [&str; 4]| {
        let mut client = connect(server.address());
        let [first, second, third, sequential] = names;
        let (mut seen, mut before) = (Vec::new(), None);
        for request in [
            create(&format!("/p/{first}"), None, 0),
            create(&format!("/p/{second}"), None, 0),
            create(&format!("/p/{third}"), None, 0),
            create(&format!("/p/{sequential}"), None, 2),
            create(&format!("/p/{sequential}"), None, 2),
            Request::Delete { path: format!("/p/{first}").into(), version: -1 },
        ] {
            seen.push(i64::from(code(&mut client, &request)));
            let Stat { cversion, children, pzxid, .. } = stat(&mut client, "/p").expect("is there");
            // Whether pzxid moves, not its value: sessions that end have txns too.
            let moves = before.replace(pzxid).is_none_or(|before| before != pzxid);
            seen.extend([cversion.into(), children.into(), i64::from(moves)]);
        }
        seen
    };
    let first = more(&java, ["b", "c", "d", "s-"]);
    assert!(first.chunks(4).all(|row| row[1] < 0), "twice the counter does not fit: {first:?}");
    java.kill();

    let target = Directory::new("imported");
    let config = java.directory().join("zoo.cfg");
    // Java predicts digests as if the counter did not overflow, and warns about its own log.
    let into = target.path().join("data");
    let imported = zkfast(&["import", "--no-digest", "--config", text(&config), text(&into)]);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));

    let mut ours = Server::new(Kind::Zkfast, &[]);
    copy(&target.path().join("data"), &ours.data());
    ours.start_again();
    java.start_again();
    let names = ["x", "y", "z", "t-"];
    assert_eq!(more(&ours, names), more(&java, names), "left is zkfast");
    // zkfast can read its own log after that.
    ours.kill();
    ours.start_again();
}

/// zkfast imports what 3.9.4 starts on: a snapshot without a log, with a warning, and a log without a snapshot if
/// `snapshot.trust.empty` is set. `zkfast import` does so with --config, and names the necessary flags without.
#[test]
fn halves_of_a_data_directory() {
    let _alone = alone();
    let mut java = Server::start(Kind::Java, &[("snapCount", "3")]);
    let mut client = connect(java.address());
    for number in 0..12 {
        assert_eq!(code(&mut client, &create(&format!("/n{number}"), None, 0)), 0);
    }
    java.kill();
    java.start_again();
    java.kill();
    let keep = |prefix: &'static str, data: &Path| {
        copy(&java.data(), data);
        for entry in fs::read_dir(data.join("version-2")).expect("a folder") {
            let path = entry.expect("an entry").path();
            if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)) {
                fs::remove_file(path).expect("removed");
            }
        }
    };
    let count = |server: &Server| {
        let mut client = connect(server.address());
        (0..12).filter(|number| stat(&mut client, &format!("/n{number}")).is_some()).count()
    };
    for (prefix, trusts, expected) in [("snapshot", false, true), ("log", false, false), ("log", true, true)]
    {
        let mut found = Vec::new();
        for kind in [Kind::Java, Kind::Zkfast] {
            let trust = [("snapshot.trust.empty", if trusts { "true" } else { "false" })];
            let mut server = Server::new(kind, &trust);
            keep(prefix, &server.data());
            if expected {
                server.start_again();
                found.push(count(&server));
                if kind == Kind::Zkfast {
                    let warned = server.output();
                    assert!(warned.contains("WARN") && warned.contains("there is a"), "{warned}");
                }
            } else {
                assert!(server.start_and_fail().is_some_and(|status| status != 0), "{kind:?} starts");
            }
            // `zkfast import` accepts what the server accepts.
            if kind == Kind::Zkfast {
                let (config, data) = (server.directory().join("zoo.cfg"), Directory::new("source"));
                keep(prefix, data.path());
                let new = |name: &str| server.directory().join(name);
                fs::write(
                    new("java.cfg"),
                    fs::read_to_string(&config).expect("zoo.cfg")
                        + &format!("dataDir={}\n", text(data.path())),
                )
                .expect("written");
                let with = zkfast(&["import", "--config", text(&new("java.cfg")), text(&new("with"))]);
                assert_eq!(with.status.success(), expected, "{}", String::from_utf8_lossy(&with.stderr));
                let without = zkfast(&["import", text(data.path()), text(&new("without"))]);
                assert_eq!(without.status.code(), Some(3));
                let flag = if prefix == "log" { "--trust-empty" } else { "--without-log" };
                assert!(String::from_utf8_lossy(&without.stderr).contains(flag));
            }
        }
        assert!(
            found.iter().all(|nodes| *nodes == found[0]) && found.first() != Some(&0),
            "{prefix}: {found:?}"
        );
    }
}

/// With a `jute.maxbuffer` of 128 MiB, clients can write and read a value of 50 MiB, also after a restart. A request
/// that is too large for the log ends its own connection, with a log line, and no other.
#[test]
fn long_frames() {
    const LONG: usize = 50 << 20;
    const TOO_LONG: usize = 60 << 20;
    let _alone = alone();
    // A busy machine takes half a minute for these frames, and no session may expire in this time.
    let keys = [("jute.maxbuffer", "134217728"), ("maxSessionTimeout", "300000")];
    let mut server = Server::start(Kind::Zkfast, &keys);
    let open = || {
        let connect = Connect { timeout_ms: 300_000, ..Connect::default() };
        Connection::connect(server.address(), &connect, ANSWER_TIMEOUT).expect("a session")
    };
    let (mut client, mut other) = (open(), open());
    let value = |bytes: usize| vec![0x5a; bytes];
    assert_eq!(code(&mut client, &create("/long", Some(&value(LONG)), 0)), 0);
    let set = Request::SetData { path: b"/long".to_vec(), data: Some(value(LONG + 1)), version: 0 };
    assert_eq!(code(&mut client, &set), 0);
    let too_long = create("/longer", Some(&value(TOO_LONG)), 0);
    assert!(client.call(&too_long, &mut Vec::new()).is_err(), "the request is too large for the log");
    assert!(server.output().contains("the log takes"), "{}", server.output());
    // The log line and the page on configuration name the same limit.
    let page = include_str!("../../src/docs/configuration.md");
    assert!(
        server.output().contains("56623104") && page.contains("54 MiB (56,623,104 bytes)"),
        "{}",
        server.output()
    );
    assert!(!page.contains("55 MiB"));
    let length = |client: &mut Connection| {
        let get = Request::GetData { path: b"/long".to_vec(), watch: false };
        match client.call(&get, &mut Vec::new()).expect("an answer").body {
            Body::Data { data, .. } => data.map(|data| data.len()),
            body => panic!("{body:?}"),
        }
    };
    assert_eq!(length(&mut other), Some(LONG + 1));
    assert_eq!(stat(&mut other, "/longer"), None);
    server.kill();
    server.start_again();
    assert_eq!(length(&mut connect(server.address())), Some(LONG + 1));
}

/// Starts zkfast with its output in `directory`.
fn running(directory: &Path, args: &[&str]) -> Running {
    let mut command = Command::new(zkfast_binary());
    command.args(args).env("JVMFLAGS", "-Dzookeeper.multiAddress.enabled=true");
    Running::start(command, directory)
}

/// Started without a configuration file, the server accepts connections from this machine only, and only its user can
/// read its files.
#[test]
fn started_without_a_file() {
    let _alone = alone();
    let directory = Directory::new("bare");
    let port = free_address().port();
    let mut server = running(directory.path(), &["-p", &port.to_string(), "--cores", "0"]);
    let local = SocketAddr::from(([127, 0, 0, 1], port));
    server.wait(directory.path(), START_TIMEOUT, |log| log.contains("started:"));
    assert_eq!(code(&mut connect(local), &create("/mine", None, 0)), 0);
    // The server does not listen on other loopback addresses.
    assert!(TcpStream::connect(SocketAddr::from(([127, 0, 0, 2], port))).is_err());
    let mut modes = BTreeMap::new();
    let mut todo = vec![directory.path().join("zkfast-data")];
    while let Some(path) = todo.pop() {
        let metadata = fs::metadata(&path).expect("is there");
        modes.insert(path.clone(), metadata.permissions().mode() & 0o777);
        assert_eq!(modes[&path], if metadata.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
        if metadata.is_dir() {
            todo.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        }
    }
    assert!(modes.len() >= 3, "{modes:?}");
}

/// If another process holds the client port, the start fails with a line that names the flag for another port.
#[test]
fn a_client_port_that_is_taken() {
    let _alone = alone();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let directory = Directory::new("taken");
    let data = directory.path().join("data");
    let output = zkfast(&["-p", &port, "--data-dir", text(&data), "--cores", "0"]);
    assert_eq!(output.status.code(), Some(4));
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        report.contains(&format!("clientPort={port}")) && report.contains("--client-port names another"),
        "{report}"
    );
}

/// A member waits until its quorum and election ports are free, skips one of its addresses that has no host, and runs
/// without a client port.
#[test]
fn ports_of_a_member() {
    let _alone = alone();
    let ports: Vec<u16> = free_ports().take(3).collect();
    let [client, quorum, election] = ports[..] else { panic!("three ports") };
    let start = |name: &str, line: &str, client: Option<u16>, more: &str| {
        let directory = Directory::new(name);
        fs::create_dir_all(directory.path().join("data")).expect("a folder");
        fs::write(directory.path().join("data/myid"), "1").expect("written");
        let client =
            client.map_or(String::new(), |port| format!("clientPort={port}\nclientPortAddress=127.0.0.1\n"));
        let config = format!(
            "dataDir=data\ninitLimit=10\nsyncLimit=5\nstandaloneEnabled=false\nadmin.enableServer=false\n{client}server.1={line}\n{more}"
        );
        fs::write(directory.path().join("zoo.cfg"), config).expect("written");
        let server = running(directory.path(), &["zoo.cfg", "--cores", "0"]);
        (directory, server)
    };
    let serves = |_: &str| {
        let address = SocketAddr::from(([127, 0, 0, 1], client));
        four_letter_word(address, "isro", Duration::from_secs(2)).is_ok_and(|answer| answer == "rw")
    };
    let own = format!("127.0.0.1:{quorum}:{election}");

    let taken = [quorum, election].map(|port| TcpListener::bind(("127.0.0.1", port)).expect("a port"));
    let (directory, mut server) =
        start("taken-for-a-moment", &own, Some(client), "electionPortBindRetry=0\n");
    server.wait(directory.path(), START_TIMEOUT, |log| log.contains("waiting to listen: quorum port="));
    drop(taken);
    server.wait(directory.path(), START_TIMEOUT, serves);
    drop(server);

    let two = format!("{own}|host.invalid:{quorum}:{election}");
    let (directory, mut server) = start("one-of-two", &two, Some(client), "");
    let log = server.wait(directory.path(), START_TIMEOUT, |log| {
        log.contains("not listening: election port=host.invalid")
    });
    assert!(!log.contains("ERROR"), "{log}");
    drop((directory, server));

    // With an empty address before the colon, the client port listens on this machine only.
    let (directory, mut server) = start("empty-client-address", &format!("{own};:{client}"), None, "");
    server.wait(directory.path(), START_TIMEOUT, serves);
    assert!(TcpStream::connect(SocketAddr::from(([127, 0, 0, 2], client))).is_err());
    drop((directory, server));

    let (directory, mut server) = start("no-client-port", &own, None, "");
    server.wait(directory.path(), START_TIMEOUT, |log| {
        log.contains("clientPort=none") && log.contains("started:")
    });
    drop(server);

    // In the end the server gives up, and names the key to set.
    let unknown = format!("host.invalid:{quorum}:{election}");
    let (directory, mut server) = start("unknown", &unknown, Some(client), "electionPortBindRetry=1\n");
    let status = server.0.wait().expect("the end of a child");
    let log = fs::read_to_string(directory.path().join("output.log")).expect("a file");
    assert_eq!(status.code(), Some(4), "{log}");
    assert!(log.contains("electionPortBindRetry"), "{log}");
}

/// Runs zkfast. Gives status, standard output and standard error.
fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let output = zkfast(args);
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code(), stdout, stderr)
}

/// The command line reports each typing error once, with a suggestion, and exits with the statuses that `--help` lists.
#[test]
fn command_line() {
    let _alone = alone();
    for words in [&["chek", "zoo.cfg"][..], &["chek"][..]] {
        let (status, _, stderr) = run(words);
        assert_eq!(status, Some(2), "{stderr}");
        assert!(stderr.contains("did you mean `zkfast check`?"), "{stderr}");
        assert_eq!(stderr.matches("error").count(), 1, "{stderr}");
    }
    let (status, _, stderr) = run(&["absent.cfg"]);
    assert_eq!(status, Some(2));
    assert_eq!(stderr.lines().filter(|line| line.contains("absent.cfg")).count(), 1, "{stderr}");
    assert!(!stderr.contains("is not set"), "{stderr}");

    let directory = Directory::new("typed");
    let good = directory.path().join("good.cfg");
    fs::write(&good, "dataDir=/tmp/none\nclientPort=2181\n").expect("written");
    check_reports(directory.path(), &good);

    let (status, version, _) = run(&["--version"]);
    assert_eq!(status, Some(0));
    let shape: String =
        version.chars().map(|letter| if letter.is_ascii_digit() { '9' } else { letter }).collect();
    assert!(shape.starts_with("zkfast 9.9.9 (") && shape.ends_with("9999-99-99)\n"), "{version}");
    let (_, help, _) = run(&["--help"]);
    for part in [
        "[possible values: epoll, io_uring]",
        "Exit status:",
        "  10  the log cannot be written",
        "-p, --client-port",
    ] {
        assert!(help.contains(part), "{part}\n{help}");
    }
    let (_, script, _) = run(&["completion", "bash"]);
    assert!(script.contains("_zkfast()") && script.contains("--client-port-address"), "{script}");
    let (_, page, _) = run(&["man"]);
    assert!(page.contains(".TH zkfast") && page.contains("client\\-port"), "{page}");
    // Exactly one argument must say where the data is.
    let (status, _, stderr) = run(&["import", "/tmp/none"]);
    assert_eq!(status, Some(2));
    assert!(stderr.contains("--config"), "{stderr}");
    let (status, _, stderr) = run(&["export", "--config", text(&good), "/tmp/none", "/tmp/other"]);
    assert_eq!(status, Some(2));
    assert!(stderr.contains("--config says where"), "{stderr}");
}

/// `zkfast check` exits with 0 for a good file, with 1 for an error, and with --strict also for a warning.
fn check_reports(directory: &Path, good: &Path) {
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).expect("written");
        path
    };
    let warned = file("warned.cfg", "dataDir=/tmp/none\nclientPort=2181\ntickTme=2000\n");
    let bad = file(
        "bad.cfg",
        &format!("dataDir={}\nclientPort=2181\nclientPortAddress=host.invalid\n", good.display()),
    );
    let check = |path: &Path, more: &[&str]| run(&[&["check", text(path)][..], more].concat());
    for (path, plain, strict) in [(good, 0, 0), (&warned, 0, 1), (&bad, 1, 1)] {
        assert_eq!(check(path, &[]).0, Some(plain), "{}", path.display());
        assert_eq!(check(path, &["--strict"]).0, Some(strict), "{}", path.display());
    }
    let (_, report, _) = check(&warned, &[]);
    assert!(report.contains("tickTme: no key") || report.contains("did you mean tickTime?"), "{report}");
    let (_, report, _) = check(&bad, &[]);
    assert!(report.contains("is a file, and no directory"), "{report}");
    assert!(report.contains("host.invalid has no address"), "{report}");
    let (_, json, _) = check(&bad, &["--json"]);
    assert!(json.starts_with("{\"ok\":false,\"errors\":2,") && json.ends_with("]}\n"), "{json}");
}

/// A directory below the system's temporary directory, where other users can reach it. It is removed with this value.
struct Shared(PathBuf);

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A user without rights, since no permission stops root.
const UNPRIVILEGED: u32 = 65_534;

/// A user other than root, with a copy of zkfast and with directories of any mode.
struct UnprivilegedUser {
    root: Shared,
    program: PathBuf,
    is_root: bool,
}

impl UnprivilegedUser {
    fn new() -> Self {
        let root = Shared(std::env::temp_dir().join(format!("zkfast-check-{}", std::process::id())));
        fs::create_dir(&root.0).expect("made");
        let is_root = fs::metadata(&root.0).expect("is there").uid() == 0;
        // The unprivileged user may not reach the folder of the build.
        let program = root.0.join("zkfast");
        let this = Self { root, program, is_root };
        Self::set_mode(&this.root.0, 0o755);
        fs::copy(zkfast_binary(), &this.program).expect("copied");
        Self::set_mode(&this.program, 0o755);
        this
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    /// Gives a file to the user that runs zkfast.
    fn give(&self, path: &Path) {
        if self.is_root {
            chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).expect("root may");
        }
    }

    fn directory(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.root.0.join(name);
        fs::create_dir(&path).expect("made");
        self.give(&path);
        Self::set_mode(&path, mode);
        path
    }

    /// A data directory of zkfast, whose inner folder has this mode.
    fn data_directory(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.directory(name, 0o755);
        let folder = path.join("zkfast-1");
        fs::create_dir(&folder).expect("made");
        fs::write(folder.join("lock"), "").expect("written");
        self.give(&folder);
        self.give(&folder.join("lock"));
        Self::set_mode(&folder, mode);
        path
    }

    /// A data directory of ZooKeeper, whose folder and snapshot have these modes.
    fn java_directory(&self, name: &str, mode: u32, snapshot_mode: u32) -> PathBuf {
        let path = self.directory(name, 0o755);
        let folder = path.join("version-2");
        let snapshot = folder.join("snapshot.0");
        fs::create_dir(&folder).expect("made");
        fs::write(&snapshot, "").expect("written");
        self.give(&snapshot);
        Self::set_mode(&snapshot, snapshot_mode);
        self.give(&folder);
        Self::set_mode(&folder, mode);
        path
    }

    /// Runs zkfast as the unprivileged user. Gives its status and its output. A server that does not end is killed.
    fn run(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(&self.root.0).env_remove("JVMFLAGS");
        if self.is_root {
            command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("zkfast runs");
        let deadline = Instant::now() + START_TIMEOUT;
        while child.try_wait().expect("the state of a child").is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let output = child.wait_with_output().expect("its output");
        let both = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&both).into_owned())
    }
}

/// `zkfast check` reports each directory that the server could not use, with the key, and creates nothing. For a usable
/// directory it reports "ok".
#[test]
fn check_and_directories() {
    let _alone = alone();
    let user = UnprivilegedUser::new();
    let root = user.root.0.as_path();
    let open = user.directory("open", 0o755);
    let file = root.join("file");
    fs::write(&file, "").expect("written");
    let dangling = root.join("dangling");
    symlink("/nowhere/at/all", &dangling).expect("made");
    let closed = user.directory("closed", 0);
    let read_only = user.directory("read-only", 0o555);
    let lock_of_another = user.data_directory("lock-of-another", 0o755);
    UnprivilegedUser::set_mode(&lock_of_another.join("zkfast-1/lock"), 0o400);
    for (path, why) in [
        (read_only.clone(), "Permission denied"),
        (read_only.join("new/one"), "Permission denied"),
        (closed.clone(), "Permission denied"),
        (closed.join("below"), "Permission denied"),
        (user.directory("without-listing", 0o300), "Permission denied"),
        (user.data_directory("folder", 0o500), "Permission denied"),
        (lock_of_another, "Permission denied"),
        (dangling.clone(), "is a symbolic link to /nowhere/at/all, which is not there"),
        (dangling.join("below"), "is a symbolic link"),
        (file.join("below"), "is a file, and no directory"),
    ] {
        let only_data = ["check", "-p", "0", "--data-dir", text(&path)];
        let as_log = ["check", "-p", "0", "--data-dir", text(&open), "--data-log-dir", text(&path)];
        for (args, key) in [(&only_data[..], "dataDir"), (&as_log, "dataLogDir")] {
            let (status, report) = user.run(args);
            assert!(status == Some(1) && report.contains(why) && report.contains(key), "{why}: {report}");
        }
        let (status, log) = user.run(&["-p", "0", "--cores", "0", "--data-dir", text(&path)]);
        assert_eq!(status, Some(3), "{}: {log}", path.display());
    }
    java_directories(&user);
    let absent = open.join("new/one");
    let (status, report) =
        user.run(&["check", "--data-dir", text(&absent), "--set", "datadir.autocreate=false"]);
    assert!(status == Some(1) && report.contains("does not exist, and datadir.autocreate=false"), "{report}");
    for fine in [open.clone(), absent, user.data_directory("whole", 0o700)] {
        let (status, report) = user.run(&["check", "--data-dir", text(&fine)]);
        assert!(status == Some(0) && report.contains("ok: "), "{report}");
    }
    assert_eq!(fs::read_dir(&open).expect("a folder").count(), 0, "check made something");
}

/// ZooKeeper's data that this user cannot read is an error: the server would start with an empty tree.
fn java_directories(user: &UnprivilegedUser) {
    let on_lost_disk = user.directory("disk-of-java", 0o755);
    symlink("/nowhere", on_lost_disk.join("version-2")).expect("made");
    for (path, why) in [
        (user.java_directory("folder-of-java", 0, 0o600), "Permission denied"),
        (user.java_directory("file-of-java", 0o755, 0), "Permission denied"),
        (on_lost_disk, "No such file"),
    ] {
        let (status, report) = user.run(&["check", "-p", "0", "--data-dir", text(&path)]);
        assert!(status == Some(1) && report.contains(why), "{}: {report}", path.display());
        let (status, log) = user.run(&["-p", "0", "--cores", "0", "--data-dir", text(&path)]);
        assert!(status == Some(3) && log.contains("version-2"), "{}: {log}", path.display());
    }
}

/// `zkfast check` accepts the server's flags before and after its name, and they override the file.
#[test]
fn check_takes_the_flags_of_the_server() {
    let _alone = alone();
    let directory = Directory::new("flags");
    let file = directory.path().join("zoo.cfg");
    fs::write(&file, "tickTime=2000\nclientPort=2181\n").expect("written");
    let (file, data) = (text(&file), text(directory.path()));
    let run = |args: &[&str]| {
        let output = zkfast(args);
        let report = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&report).into_owned())
    };
    assert_eq!(run(&["check", file]).0, Some(1), "there is no dataDir");
    for args in [
        &["check", file, "--data-dir", data, "-p", "2199", "--client-port-address", "[::1]"][..],
        &["--data-dir", data, "-p", "2199", "--client-port-address", "[::1]", "check", file],
        &["--config", file, "-p", "2199", "check", "--data-dir", data, "--client-port-address", "[::1]"],
        &["check", "--config", file, "--data-dir", data, "-p", "2199", "--set", "clientPortAddress=[::1]"],
    ] {
        let (status, report) = run(args);
        assert_eq!(status, Some(0), "{args:?}: {report}");
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = report.lines().map(words).collect();
        for expected in [
            "overridden clientPort = 2181",
            "effective clientPort = 2199",
            "effective clientPortAddress = [::1]",
            "effective dataDir = ",
        ] {
            assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected}: {report}");
        }
    }
    let (status, report) =
        run(&["--set", "tickTime=9", "check", file, "--data-dir", data, "--set", "tickTime=7"]);
    assert!(status == Some(0) && report.contains("effective   tickTime = 7"), "{report}");
    for (args, why) in [
        (&["check", file, "--data-dir", data, "--set", "tickTime=x"][..], "is not a decimal number"),
        (&["check", file, "--data-dir", data, "--cores", "4095"], "names CPU 4095"),
        (
            &["check", file, "--data-dir", data, "--client-port-address", "192.0.2.1"],
            "192.0.2.1: Cannot assign",
        ),
    ] {
        let (status, report) = run(args);
        assert!(status == Some(1) && report.contains(why), "{why}: {report}");
    }
    for (args, why) in [
        (&["zoo.cfg", "check", file][..], "two configuration files"),
        (&["--data-dir", data, "import", data, data], "stands after its name"),
    ] {
        let (status, report) = run(args);
        assert!(status == Some(2) && report.contains(why), "{why}: {report}");
    }
}

/// A command fails if its output is lost on a full disk. It succeeds if the reader of its output closes the pipe.
#[test]
fn output_that_is_lost() {
    let _alone = alone();
    let directory = Directory::new("lost");
    let file = directory.path().join("zoo.cfg");
    fs::write(&file, format!("dataDir={}\nclientPort=2181\n", text(directory.path()))).expect("written");
    for args in [
        &["check", text(&file)][..],
        &["check", "--json", text(&file)],
        &["man"],
        &["man", "check"],
        &["completion", "bash"],
        &["--version"],
        &["--help"],
        &["check", "--help"],
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
        let output = Command::new(zkfast_binary()).args(args).stdout(full).output().expect("zkfast runs");
        let report = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(5), "{args:?}: {report}");
        assert!(report.contains("standard output cannot be written"), "{args:?}: {report}");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = Command::new(zkfast_binary()).args(args).stdout(writer).output().expect("zkfast runs");
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}");
    }
}

/// `zkfast man` prints every page that the main page names, with the command's options.
#[test]
fn pages_of_the_manual() {
    let _alone = alone();
    let page = |args: &[&str]| {
        let output = zkfast(&[&["man"], args].concat());
        assert!(output.status.success(), "{args:?}");
        String::from_utf8(output.stdout).expect("text").replace("\\-", "-")
    };
    let main = page(&[]);
    let names: Vec<&str> =
        main.lines().filter_map(|line| line.strip_prefix("zkfast-")?.strip_suffix("(1)")).collect();
    assert!(names.len() >= 5, "{names:?}\n{main}");
    for name in names {
        let page = page(&[name]);
        assert!(page.contains(&format!(".TH zkfast-{name} 1")), "{page}");
    }
    assert!(page(&["check"]).contains("--strict") && page(&["import"]).contains("--extended-types"));
    assert!(main.contains("man check"), "{main}");
}

/// An import or export that fails reports its error once and leaves no files.
#[test]
fn imports_that_fail() {
    let _alone = alone();
    let directory = Directory::new("failed");
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("empty/version-2")).expect("a folder");
    fs::create_dir(at("bare")).expect("a folder");
    let cfg = |name: &str, text: &str| {
        fs::write(at(name), text).expect("written");
        at(name)
    };
    let target = at("not/there");
    let [nothing, empty, bare] = ["nothing", "empty", "bare"].map(|name| text(&at(name)).to_owned());
    let absent = text(&at("absent.cfg")).to_owned();
    let silent = text(&cfg("silent.cfg", "clientPort=2181\n")).to_owned();
    let elsewhere = text(&cfg("elsewhere.cfg", &format!("dataDir={nothing}\n"))).to_owned();
    for (args, status, why) in [
        (&["import", &nothing][..], 3, "nothing: no such directory"),
        (&["import", &bare], 3, "bare/version-2: no such directory"),
        (&["import", &empty, "--log-dir", &nothing], 3, "nothing: no such directory"),
        (&["import", "--config", &elsewhere], 3, "nothing: no such directory"),
        (&["import", &empty], 3, "holds neither a snapshot nor a log"),
        (&["export", &nothing], 3, "nothing: no such directory"),
        (&["export", &bare], 3, "bare/zkfast-1: no such directory"),
        (&["import", "--config", &absent], 2, "absent.cfg: cannot be read: No such file or directory"),
        (&["import", "--config", &silent], 2, "silent.cfg says no dataDir"),
    ] {
        let output = zkfast(&[args, &[text(&target)]].concat());
        let report = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{args:?}: {report}");
        assert_eq!(report.matches(why).count(), 1, "{args:?}: {report}");
        assert!(status == 3 || !report.contains("is not set"), "{args:?}: {report}");
        assert!(!at("not").exists(), "{args:?} left something");
    }
    // A directory that existed before stays.
    fs::create_dir(at("not")).expect("a folder");
    assert_eq!(zkfast(&["import", &empty, text(&target)]).status.code(), Some(3));
    assert_eq!(fs::read_dir(at("not")).expect("a folder").count(), 0);
}
