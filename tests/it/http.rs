//! HTTP: commands, probes before and after a start, hostile clients, and a port that is taken.

use crate::ensemble::cluster::{Cluster, Shape};
use crate::harness::{
    ANSWER_TIMEOUT, Directory, Kind, Running, START_TIMEOUT, Server, alone, free_address, free_ports,
    wait_for, zkfast_binary,
};
use crate::preload::SlowDisk;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};
use zkfast::client::net::{Connect, Connection, four_letter_word};
use zkfast::client::{Body, Request};
use zkfast::proto::{Acl, OpCode};

/// Connections that a server has open at once (`HTTP_CONNECTIONS_MAX`).
const CONNECTIONS_MAX: usize = 32;

/// `admin.idleTimeout` of tests that wait for it.
const IDLE: Duration = Duration::from_secs(1);

/// The longest that a read may take while HTTP is busy; one of [`ATTEMPTS`] must stay within it, since the machine is shared.
const DELAY_MAX: Duration = Duration::from_millis(100);
const ATTEMPTS: u32 = 4;

/// The commands that change nothing.
const COMMANDS: [&str; 25] = [
    "configuration",
    "connections",
    "dirs",
    "dump",
    "environment",
    "get_trace_mask",
    "hash",
    "initial_configuration",
    "is_read_only",
    "last_snapshot",
    "leader",
    "monitor",
    "observers",
    "ruok",
    "server_stats",
    "shed_connections",
    "slow_requests",
    "stats",
    "system_properties",
    "top",
    "voting_view",
    "watch_summary",
    "watches",
    "watches_by_path",
    "zabstate",
];

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
    }

    /// True if the JSON has this member, written as it is here.
    pub fn has(&self, member: &str) -> bool {
        self.body.contains(member)
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the HTTP port");
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a time-out");
    stream.set_write_timeout(Some(ANSWER_TIMEOUT)).expect("a time-out");
    stream
}

/// All that comes back for some bytes until the server closes the connection.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    // A server that refuses the beginning closes before the end.
    let _ = stream.write_all(bytes);
    rest(&mut stream)
}

/// What is still to come on a connection.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let (mut all, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return all,
            Ok(length) => all.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("{error} after {} bytes", all.len()),
        }
    }
}

fn ask(address: SocketAddr, method: &str, path: &str) -> Answer {
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    let answer = exchange(address, request.as_bytes());
    Answer::of(&answer).unwrap_or_else(|| panic!("{method} {path}: {:?}", String::from_utf8_lossy(&answer)))
}

pub fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path)
}

/// A server with HTTP on a port of its own, and more keys.
pub fn server(keys: &[(&str, &str)]) -> (Server, SocketAddr) {
    let address = free_address();
    let port = address.port().to_string();
    let own = [
        ("admin.enableServer", "true"),
        ("admin.serverAddress", "127.0.0.1"),
        ("admin.serverPort", port.as_str()),
    ];
    (Server::start(Kind::Zkfast, &[&own[..], keys].concat()), address)
}

/// Three servers that are not started, with HTTP and more keys; where each has it.
fn members(keys: &[(&str, &str)]) -> (Cluster, Vec<SocketAddr>) {
    members_of(Kind::Zkfast, keys)
}

/// The same of servers of a kind.
pub fn members_of(kind: Kind, keys: &[(&str, &str)]) -> (Cluster, Vec<SocketAddr>) {
    let ports = free_ports().take(3);
    let http: Vec<SocketAddr> = ports.map(|port| (Ipv4Addr::LOCALHOST, port).into()).collect();
    let shape = |http: &SocketAddr| Shape {
        keys: [
            ("admin.enableServer", "true".to_owned()),
            ("admin.serverAddress", "127.0.0.1".to_owned()),
            ("admin.serverPort", http.port().to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .to_vec(),
        ..Shape::voter(kind)
    };
    let shapes: Vec<Shape> = http.iter().map(shape).collect();
    let own = [("tickTime", "500"), ("initLimit", "20"), ("syncLimit", "6")];
    (Cluster::new(&shapes, &[&own[..], keys].concat(), None), http)
}

pub fn client(server: &Server) -> Connection {
    connected(server.address())
}

fn connected(address: SocketAddr) -> Connection {
    Connection::connect(address, &Connect::default(), ANSWER_TIMEOUT).expect("a session")
}

pub fn create(path: &str, data: &[u8]) -> Request {
    let (path, acl) = (path.as_bytes().to_vec(), vec![Acl::open()]);
    Request::Create { op: OpCode::CREATE, path, data: Some(data.to_vec()), acl, flags: 0, ttl_ms: -1 }
}

/// A server that serves is live, started and ready, and answers each command by each of its names; other methods and paths
/// get the status codes of ZooKeeper's.
#[test]
fn commands_and_probes() {
    let _alone = alone();
    let (server, http) = server(&[]);
    let _client = client(&server);
    for (path, part) in [
        ("/live", "\"live\" : true"),
        ("/startup", "\"started\" : true"),
        ("/ready", "\"state\" : \"standalone\""),
        ("/ready", "\"reasons\" : [ ]"),
        ("/", "/commands"),
        ("/commands", "<a href=\"/commands/ruok\">ruok</a>"),
        ("/commands/", "<a href=\"/commands/ruok\">ruok</a>"),
        ("/commands/ruok", "{\n  \"command\" : \"ruok\",\n  \"error\" : null\n}"),
        ("/commands/srvr", "\"command\" : \"server_stats\""),
        ("/commands/mntr", "\"server_state\" : \"standalone\""),
        ("/commands/cons", "\"session_timeout\" : 30000"),
        ("/commands/set_trace_mask?traceMask=307", "\"tracemask\" : 307"),
        ("/commands/gtmk", "\"tracemask\" : 307"),
        ("/commands/set_trace_mask?traceMask=x", "requires long traceMask argument, got x"),
        ("/commands/nope", "\"error\" : \"Unknown command: nope\""),
        ("/commands/RUOK", "\"error\" : \"Unknown command: RUOK\""),
        ("/commands/%22%0A", "\"error\" : \"Unknown command: \\\"\\n\""),
    ] {
        let answer = get(http, path);
        assert!(answer.status == 200 && answer.has(part), "{path}: {answer:?}");
    }
    for command in COMMANDS {
        let answer = get(http, &format!("/commands/{command}"));
        assert!(answer.head.contains("content-type: application/json"), "{answer:?}");
        assert!(answer.status == 200 && answer.has(&format!("\"command\" : \"{command}\"")), "{answer:?}");
    }
    for (method, path, status) in [
        ("PUT", "/commands/ruok", 405),
        ("DELETE", "/commands/ruok", 405),
        ("POST", "/commands/ruok", 405),
        ("POST", "/commands/nope", 200),
        ("POST", "/commands", 200),
        ("TRACE", "/commands/ruok", 403),
        ("OPTIONS", "/commands/ruok", 200),
        ("BREW", "/commands/ruok", 501),
        ("POST", "/ready", 405),
        ("GET", "/nope", 404),
        ("GET", "/commands/%ff", 400),
    ] {
        let answer = ask(http, method, path);
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
    let head = ask(http, "HEAD", "/commands/ruok");
    assert!(
        head.status == 200 && head.body.is_empty() && head.head.contains("content-length: 42"),
        "{head:?}"
    );
}

/// A request that waits for a disk that hangs is listed with the stage that took long, and logged; quick ones are only
/// listed where all are traced.
#[test]
fn slow_requests() {
    const HANG: Duration = Duration::from_millis(700);
    let _alone = alone();
    let disk = SlowDisk::new();
    let address = free_address();
    let port = address.port().to_string();
    let keys = [
        ("admin.enableServer", "true"),
        ("admin.serverAddress", "127.0.0.1"),
        ("admin.serverPort", port.as_str()),
        ("zkfast.slowRequestThresholdMs", "500"),
        ("zkfast.traceOneIn", "1"),
    ];
    let mut server = Server::new(Kind::Zkfast, &keys);
    server.set_environment(disk.environment());
    server.start_again();
    let mut client = client(&server);
    client.call(&create("/quick", b""), &mut Vec::new()).expect("an answer");
    disk.delay_next_flush(HANG);
    client.call(&create("/slow one", b""), &mut Vec::new()).expect("an answer");
    let requests = |is_slow: bool| {
        let body = get(address, "/commands/slow_requests").body;
        assert!(body.contains("\"threshold_ms\" : 500,"), "{body}");
        let all: Vec<String> = body.split("}, {").map(str::to_owned).collect();
        let slow = format!("\"slow\" : {is_slow}");
        all.into_iter().filter(|request| request.contains(&slow)).collect::<Vec<_>>()
    };
    let slow = requests(true);
    let session = format!("\"session\" : \"{:#x}\"", client.identity().0);
    assert_eq!(slow.len(), 1, "{slow:?}");
    for part in ["\"op\" : \"create\"", "\"path\" : \"/slow one\"", "\"cxid\" : 2", session.as_str()] {
        assert!(slow[0].contains(part), "{part} in {}", slow[0]);
    }
    let number = |name: &str| -> u64 {
        let value = slow[0].split_once(&format!("\"{name}\" : ")).expect("a member").1;
        value
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .and_then(|digits| digits.parse().ok())
            .expect("a number")
    };
    assert!(number("log_us") >= HANG.as_micros() as u64, "{}", slow[0]);
    let stages = ["queue_us", "check_us", "log_queue_us", "log_us", "quorum_us", "apply_us"];
    assert_eq!(stages.into_iter().map(number).sum::<u64>(), number("total_us"), "{}", slow[0]);
    let quick = requests(false);
    assert!(
        quick.iter().any(|request| request.contains("/quick") && request.contains("\"sampled\" : true")),
        "{quick:?}"
    );
    let output = server.whole_output();
    let lines: Vec<&str> = output.lines().filter(|line| line.contains(" slow: ")).collect();
    assert_eq!(lines.len(), 1, "{output}");
    assert!(
        lines[0].contains("WARN slow: slow request: op=create path=\"/slow one\" session=0x"),
        "{output}"
    );
}

/// The leader of an ensemble knows all stages of its clients' writes, the others when the leader's commit came.
#[test]
fn traces_of_an_ensemble() {
    let _alone = alone();
    let (mut cluster, http) = members(&[("zkfast.traceOneIn", "1")]);
    cluster.sids().for_each(|sid| cluster.spawn(sid));
    cluster.wait_until_all_serve(START_TIMEOUT);
    let leader = cluster.wait_for_leader(START_TIMEOUT);
    for sid in cluster.sids() {
        let path = format!("/of-{sid}");
        connected(cluster.address(sid)).call(&create(&path, b""), &mut Vec::new()).expect("an answer");
        let body = get(http[sid - 1], "/commands/slow_requests").body;
        let trace = body.split("}, {").find(|trace| trace.contains(&path));
        let trace = trace.unwrap_or_else(|| panic!("server {sid}: no {path} in {body}"));
        let stages: &[&str] = match sid == leader {
            true => &["queue_us", "check_us", "log_queue_us", "log_us", "quorum_us", "apply_us"],
            false => &["forwarded_us", "apply_us"],
        };
        let named: Vec<&str> =
            trace.split('"').filter(|part| part.ends_with("_us") && *part != "total_us").collect();
        assert_eq!(named, stages, "server {sid}: {trace}");
    }
}

/// `top` names the path that most requests name, the client that sends most, and znodes by data and children.
#[test]
fn top() {
    let _alone = alone();
    let (server, http) = server(&[]);
    let (mut busy, _quiet) = (client(&server), client(&server));
    for number in 0..50 {
        busy.call(&create(&format!("/d{number}"), &[b'x'; 10]), &mut Vec::new()).expect("an answer");
    }
    busy.call(&create("/large", &[b'x'; 4321]), &mut Vec::new()).expect("an answer");
    for _ in 0..2_000 {
        let get = Request::GetData { path: b"/large".to_vec(), watch: false };
        busy.call(&get, &mut Vec::new()).expect("an answer");
    }
    wait_for(Duration::from_secs(20), || {
        let answer = get(http, "/commands/top");
        let text: String = answer.body.split_whitespace().collect();
        let address = busy.socket().and_then(|socket| socket.local_addr()).expect("an address");
        let parts = [
            "\"hot_paths\":[{\"path\":\"/large\"".to_owned(),
            format!(
                "\"busiest_clients\":[{{\"remote_socket_address\":\"{address}\",\"session\":\"{:#x}\"",
                busy.identity().0
            ),
            "\"largest_data\":[{\"path\":\"/large\",\"bytes\":4321}".to_owned(),
            "\"most_children\":[{\"path\":\"/\",\"children\":52}".to_owned(),
        ];
        match parts.iter().find(|part| !text.contains(*part)) {
            None => Ok(()),
            Some(part) => Err(format!("no {part} in {text}")),
        }
    });
}

/// What resets figures resets them, as the words do.
#[test]
fn resets() {
    let _alone = alone();
    let (server, http) = server(&[]);
    let mut client = client(&server);
    for index in 0..50 {
        client.call(&create(&format!("/n{index}"), b""), &mut Vec::new()).expect("an answer");
    }
    let received = |words: &str| -> u64 {
        let line = words.lines().find_map(|line| line.strip_prefix("Received: ")).expect("a line");
        line.parse().expect("a number")
    };
    let srvr = || four_letter_word(server.address(), "srvr", ANSWER_TIMEOUT).expect("an answer");
    assert!(received(&srvr()) > 50);
    assert_eq!(get(http, "/commands/stat_reset").status, 200);
    assert!(received(&srvr()) < 50);
    assert!(!get(http, "/commands/connections").has("\"packets_received\" : 0"));
    assert_eq!(get(http, "/commands/crst").status, 200);
    let connections = get(http, "/commands/connections");
    assert!(connections.has("\"packets_received\" : 0"), "{connections:?}");
}

/// Secrets of the configuration are in no answer and in no line of the log.
#[test]
fn secrets_stay_hidden() {
    let _alone = alone();
    let secrets = ["c2VjcmV0ZGlnZXN0", "k3yst0re", "qu0rumst0re", "tru5tst0re", "0ther"];
    let (server, http) = server(&[
        ("DigestAuthenticationProvider.superDigest", "super:c2VjcmV0ZGlnZXN0"),
        ("ssl.keyStore.password", "k3yst0re"),
        ("ssl.quorum.keyStore.password", "qu0rumst0re"),
        ("zookeeper.ssl.trustStore.password", "tru5tst0re"),
        ("my.password", "0ther"),
        ("snapCount", "77777"),
    ]);
    let mut all = server.whole_output();
    for command in COMMANDS {
        all += &get(http, &format!("/commands/{command}")).body;
    }
    for secret in secrets {
        assert!(!all.contains(secret), "{secret} is shown");
    }
    for shown in [
        "ssl.keyStore.password=***",
        "snapCount=77777",
        "\"zookeeper.snapCount\" : \"77777\"",
        "superDigest\" : \"***\"",
    ] {
        assert!(all.contains(shown), "{shown} is not shown in {all}");
    }
}

/// A port that is taken is one warning, which names it and says what to do, and clients are served; also without a file,
/// where HTTP is on the clients' address alone.
#[test]
fn taken_port() {
    let _alone = alone();
    let (first, http) = server(&[]);
    let port = http.port().to_string();
    let second = Server::start(
        Kind::Zkfast,
        &[
            ("admin.enableServer", "true"),
            ("admin.serverAddress", "127.0.0.1"),
            ("admin.serverPort", port.as_str()),
        ],
    );
    let warnings = |output: &str| -> Vec<String> {
        output.lines().filter(|line| line.contains(" WARN http: ")).map(str::to_owned).collect()
    };
    wait_for(START_TIMEOUT, || match warnings(&second.whole_output()) {
        none if none.is_empty() => Err("no warning".to_owned()),
        found => Ok(found),
    });
    let found = warnings(&second.whole_output());
    let [line] = &found[..] else { panic!("{found:?}") };
    assert!(
        line.contains(&format!("admin.serverPort={port}")) && line.contains("admin.enableServer=false"),
        "{line}"
    );
    assert_eq!(client(&second).call(&create("/a", b""), &mut Vec::new()).expect("an answer").header.err, 0);
    assert_eq!(get(http, "/ready").status, 200, "the first is not disturbed");
    drop(first);

    let directory = Directory::new("no-file");
    let mut ports = free_ports();
    let (client_port, http_port) = (ports.next().expect("a port"), ports.next().expect("a port"));
    let mut command = Command::new(zkfast_binary());
    command.args([
        "--client-port",
        &client_port.to_string(),
        "--set",
        &format!("admin.serverPort={http_port}"),
    ]);
    let mut running = Running::start(command, directory.path());
    let log = running.wait(directory.path(), START_TIMEOUT, |log| {
        log.contains("server: started") && log.contains("http: serving")
    });
    assert!(log.contains(&format!("address=127.0.0.1:{http_port} ")), "{log}");
    assert_eq!(get((Ipv4Addr::LOCALHOST, http_port).into(), "/ready").status, 200);
}

/// `admin.enableServer=false` opens no port.
#[test]
fn switched_off() {
    let _alone = alone();
    let address = free_address();
    let port = address.port().to_string();
    let server = Server::start(Kind::Zkfast, &[("admin.serverPort", port.as_str())]);
    assert!(TcpStream::connect(address).is_err(), "{}", server.output());
}

/// While a server reads its data it is live, neither started nor ready, and says how far it is; afterwards it is both.
#[test]
fn probes_before_recovery() {
    let _alone = alone();
    let (mut server, http) = server(&[]);
    let mut writer = client(&server);
    for round in 0..60 {
        let creates: Vec<Request> =
            (0..500).map(|index| create(&format!("/n{round}-{index}"), &[7; 1000])).collect();
        for request in &creates {
            writer.queue(request);
        }
        writer.flush().expect("sent");
        creates.iter().for_each(|_| drop(writer.receive().expect("an answer")));
    }
    server.kill();
    server.spawn();
    let (mut seen, mut is_live) = (Vec::new(), false);
    wait_for(START_TIMEOUT, || {
        if TcpStream::connect(http).is_err() {
            return Err("no HTTP".to_owned());
        }
        // A server that is ready has started: /startup is asked last.
        let (live, ready, startup) = (get(http, "/live"), get(http, "/ready"), get(http, "/startup"));
        is_live |= live.status == 200;
        seen.push((startup.status, ready.status, startup.body));
        if ready.status == 200 { Ok(()) } else { Err(ready.body) }
    });
    assert!(is_live);
    let (before, after) = (seen.first().expect("asked"), seen.last().expect("asked"));
    assert_eq!((before.0, before.1), (503, 503), "HTTP came with the data only: {seen:?}");
    assert!(seen.iter().any(|(_, _, body)| body.contains("\"percent\" : ")), "{seen:?}");
    assert_eq!((after.0, after.1), (200, 200), "{seen:?}");
    server.wait_until_serving();
}

/// A member that finds no quorum is live, not started and not ready, and says why; with one it is both. Without it again,
/// it has started all the same, and is not ready.
#[test]
fn probes_without_a_quorum() {
    let _alone = alone();
    let (mut cluster, http) = members(&[]);
    let first = http[0];
    let until = |path: &str, status: u16, part: &str| {
        wait_for(START_TIMEOUT, || match TcpStream::connect(first).map(|_| get(first, path)) {
            Ok(answer) if answer.status == status && answer.has(part) => Ok(()),
            other => Err(format!("{path}: {other:?}")),
        });
    };
    cluster.spawn(1);
    until("/ready", 503, "it has no leader");
    until("/live", 200, "\"live\" : true");
    until("/startup", 503, "\"phase\" : \"joining\"");
    until("/commands/stat", 200, "This ZooKeeper instance is not currently serving requests");
    until("/commands/zabstate", 200, "\"zabstate\" : \"\"");
    cluster.spawn(2);
    cluster.spawn(3);
    until("/ready", 200, "\"reasons\" : [ ]");
    until("/startup", 200, "\"started\" : true");
    until("/commands/leader", 200, "\"leader_ip\" : \"127.0.0.1\"");
    until("/commands/voting_view", 200, "\"learner_type\" : \"participant\"");
    until("/commands/zabstate", 200, "\"zabstate\" : \"broadcast\"");
    let leaders = http.iter().filter(|http| get(**http, "/commands/leader").has("\"is_leader\" : true"));
    assert_eq!(leaders.count(), 1);
    cluster.kill(2);
    cluster.kill(3);
    until("/ready", 503, "\"state\" : \"looking\"");
    until("/startup", 200, "\"started\" : true");
}

/// Malformed and oversized requests get an answer or the end of their connection, cost little memory, and leave the server
/// as it was.
#[test]
fn hostile_requests() {
    let _alone = alone();
    let (server, http) = server(&[]);
    get(http, "/commands/stats");
    let before = server.rss_kib();
    let line = |bytes: usize| "a".repeat(bytes);
    let attacks: Vec<(&str, Vec<u8>)> = vec![
        ("no HTTP", b"\x00\x00\x00\x2d\x00\x00\x00\x00".to_vec()),
        ("TLS", [&[0x16, 3, 1, 0, 0xF4, 1, 0, 0, 0xF0, 3, 3][..], &[7; 240]].concat()),
        ("a long path", format!("GET /{} HTTP/1.1\r\n\r\n", line(1 << 20)).into_bytes()),
        ("a long query", format!("GET /commands/ruok?{} HTTP/1.1\r\n\r\n", line(1 << 20)).into_bytes()),
        ("a long method", format!("{} / HTTP/1.1\r\n\r\n", line(1 << 20)).into_bytes()),
        ("a long header", format!("GET /live HTTP/1.1\r\nX: {}\r\n\r\n", line(1 << 20)).into_bytes()),
        ("many headers", format!("GET /live HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(10_000)).into_bytes()),
        ("a header without a colon", b"GET /live HTTP/1.1\r\nnonsense\r\n\r\n".to_vec()),
        ("two lengths", b"POST /live HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_vec()),
        ("a negative length", b"POST /live HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_vec()),
        (
            "length and chunks",
            b"POST /live HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_vec(),
        ),
        (
            "a large body",
            [&b"POST /commands/ruok HTTP/1.1\r\nContent-Length: 104857600\r\n\r\n"[..], &vec![b'x'; 8 << 20]]
                .concat(),
        ),
        (
            "endless chunks",
            [
                &b"POST /commands/nope HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
                b"FFFF\r\n",
                &vec![b'x'; 8 << 20],
            ]
            .concat(),
        ),
        ("HTTP/9", b"GET /live HTTP/9.9\r\n\r\n".to_vec()),
        (
            "an upgrade",
            b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: upgrade, close\r\nUpgrade: h2c\r\n\r\n".to_vec(),
        ),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("CONNECT", b"CONNECT 10.0.0.1:80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec()),
        (
            "a proxy's line",
            b"GET http://example.org/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(),
        ),
        ("a line of its own", b"GET /live HTTP/1.1\nHost: x\nConnection: close\n\n".to_vec()),
    ];
    for (name, bytes) in &attacks {
        let answer = exchange(http, bytes);
        let statuses = ["HTTP/1.1 4", "HTTP/1.1 200", "HTTP/1.1 501", "HTTP/1.0 4"];
        let is_known = answer.is_empty() || statuses.iter().any(|known| answer.starts_with(known.as_bytes()));
        assert!(is_known, "{name}: {:?}", String::from_utf8_lossy(&answer));
        assert_eq!(get(http, "/ready").status, 200, "{name}");
    }
    // 60 MB of requests that do not wait for their answers.
    let mut stream = connect(http);
    let requests = "GET /commands/ruok HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_500_000);
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a time-out");
    let written = stream.write_all(requests.as_bytes());
    assert!(written.is_err(), "the server takes requests without end while it can send no answer");
    drop(stream);
    assert_eq!(get(http, "/ready").status, 200);
    let grown = server.rss_kib().saturating_sub(before);
    assert!(grown < 20 << 10, "{grown} KiB");
    assert_eq!(client(&server).call(&create("/a", b""), &mut Vec::new()).expect("an answer").header.err, 0);
    assert!(!server.whole_output().contains(" WARN http"), "{}", server.output());
}

/// A tree leaves by `snapshot` and comes back by `restore`, for good; what is none changes nothing, and leaves nothing.
#[test]
fn trees_leave_and_come_back() {
    let _alone = alone();
    let allowed = [("admin.restore.enabled", "true"), ("admin.rateLimiterIntervalInMS", "0")];
    let (mut server, http) = server(&[&allowed[..], &[("admin.idleTimeout", "1000")]].concat());
    let call = |server: &Server, path: &str| {
        client(server).call(&create(path, b"x"), &mut Vec::new()).expect("an answer").header.err
    };
    const EXISTS: i32 = -110;
    assert_eq!(call(&server, "/kept"), 0);
    let head = "Host: x\r\nConnection: close\r\nAuthorization: digest a:b\r\n";
    let streamed = exchange(http, format!("GET /commands/snapshot HTTP/1.1\r\n{head}\r\n").as_bytes());
    let at = streamed.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let tree = &streamed[at..];
    assert!(tree.starts_with(b"ZKSN"), "{:?}", String::from_utf8_lossy(&streamed));
    let restore = |length: usize, body: &[u8], head: &str| {
        let head = format!("POST /commands/restore HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n");
        Answer::of(&exchange(http, &[head.as_bytes(), body].concat()))
    };
    assert_eq!(call(&server, "/later"), 0);
    let without = "Host: x\r\nConnection: close\r\n";
    for (name, length, body, head, status) in [
        ("no credentials", 2 << 20, &vec![0; 2 << 20][..], without, Some(401)),
        ("garbage", 8 << 20, &vec![7; 8 << 20][..], head, Some(500)),
        ("cut short", tree.len() / 2, &tree[..tree.len() / 2], head, Some(500)),
        ("with something after it", tree.len() + 1, &[tree, b"x"].concat()[..], head, Some(500)),
        ("never all of it", tree.len() + 1, tree, head, Some(500)),
    ] {
        let answer = restore(length, body, head);
        assert_eq!(answer.as_ref().map(|answer| answer.status), status, "{name}: {answer:?}");
        assert_eq!(call(&server, "/later"), EXISTS, "{name}");
    }
    let answer = restore(tree.len(), tree, head).expect("an answer");
    assert!(answer.status == 200 && answer.has("\"last_zxid\" : "), "{answer:?}");
    assert_eq!((call(&server, "/kept"), call(&server, "/later")), (EXISTS, 0));
    assert!(get(http, "/commands/mntr").has("\"restore_error_count\" : 4"));
    server.kill();
    server.start_again();
    assert_eq!((call(&server, "/kept"), call(&server, "/later")), (EXISTS, EXISTS));
    let folder = server.data().join("zkfast-1");
    let names = std::fs::read_dir(folder).expect("files").map(|entry| entry.expect("a file").file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().contains("restore.")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!server.whole_output().contains("digest a:b"));
}

/// Clients that open connections and say nothing keep no probe out: the one that has said nothing for longest goes.
#[test]
fn crowds() {
    let _alone = alone();
    let (server, http) = server(&[]);
    let mut silent: Vec<TcpStream> = (0..3 * CONNECTIONS_MAX).map(|_| connect(http)).collect();
    for _ in 0..5 {
        assert_eq!(get(http, "/ready").status, 200);
    }
    let mut session = client(&server);
    assert_eq!(session.call(&create("/a", b""), &mut Vec::new()).expect("an answer").header.err, 0);
    let mut is_open = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out");
        match stream.read(&mut [0]) {
            Ok(0) => false,
            Err(error) => error.kind() != ErrorKind::ConnectionReset,
            Ok(_) => panic!("an answer to nothing"),
        }
    };
    let open: Vec<bool> = silent.iter_mut().map(&mut is_open).collect();
    let count = open.iter().filter(|is_open| **is_open).count();
    assert!((CONNECTIONS_MAX - 8..CONNECTIONS_MAX).contains(&count), "{open:?}");
    assert!(open[..2 * CONNECTIONS_MAX].iter().all(|is_open| !is_open), "the oldest go first: {open:?}");
}

/// A client that sends a request byte by byte, one that sends nothing, and one that does not read its answer are
/// disconnected after `admin.idleTimeout`.
#[test]
fn slow_clients() {
    let _alone = alone();
    let idle = IDLE.as_millis().to_string();
    let (server, http) = server(&[("admin.idleTimeout", &idle)]);
    let mut session = client(&server);
    // A list that no server's socket buffer holds: 24 MB.
    for index in 0..24_000 {
        let path = format!("/{index:05}{}", "w".repeat(1000));
        session.queue(&Request::Exists { path: path.into_bytes(), watch: true });
    }
    session.flush().expect("sent");
    (0..24_000).for_each(|_| drop(session.receive().expect("an answer")));
    let began = Instant::now();
    let (mut trickle, mut silent, mut deaf) = (connect(http), connect(http), connect(http));
    // What this side holds must not be all of it.
    socket2::SockRef::from(&deaf).set_recv_buffer_size(64 << 10).expect("a small buffer");
    deaf.write_all(b"GET /commands/watches HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let ended = wait_for(START_TIMEOUT, || {
        let sent = trickle.write_all(b"G").and_then(|()| trickle.flush());
        trickle.set_read_timeout(Some(Duration::from_millis(1))).expect("a time-out");
        match (sent, trickle.read(&mut [0; 512])) {
            (Err(_), _) | (_, Ok(0)) => Ok(began.elapsed()),
            (_, Err(error)) if error.kind() == ErrorKind::ConnectionReset => Ok(began.elapsed()),
            other => Err(format!("still open: {other:?}")),
        }
    });
    assert!(ended >= IDLE / 2, "{ended:?} is too soon");
    assert!(rest(&mut silent).is_empty());
    // The answer was cut off: what the sockets held is all there is.
    std::thread::sleep(2 * IDLE);
    let taken = rest(&mut deaf);
    assert!(taken.len() < 24_000_000 && taken.starts_with(b"HTTP/1.1 200"), "{} bytes", taken.len());
    let answer = get(http, "/commands/watches");
    assert!(answer.status == 200 && answer.body.len() > 24_000_000, "{} bytes", answer.body.len());
    assert_eq!(session.call(&create("/a", b""), &mut Vec::new()).expect("an answer").header.err, 0);
}

/// Clients of the client port do not wait for those of HTTP, whatever these ask.
#[test]
fn clients_are_not_disturbed() {
    let _alone = alone();
    let (server, http) = server(&[]);
    let mut session = client(&server);
    session.call(&create("/a", b"x"), &mut Vec::new()).expect("an answer");
    let slowest = (0..ATTEMPTS).map(|_| slowest_read(&mut session, http)).min().expect("attempts");
    assert!(slowest < DELAY_MAX, "{slowest:?}");
}

/// The longest that a read takes while clients of HTTP ask for lists as fast as they can.
fn slowest_read(session: &mut Connection, http: SocketAddr) -> Duration {
    let attack = std::thread::spawn(move || {
        let until = Instant::now() + Duration::from_secs(2);
        let request = "GET /commands/stats HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20);
        let mut rounds = 0;
        while Instant::now() < until {
            let mut stream = connect(http);
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            rest(&mut stream);
            rounds += 1;
        }
        rounds
    });
    let mut slowest = Duration::ZERO;
    let read = Request::GetData { path: b"/a".to_vec(), watch: false };
    while !attack.is_finished() {
        let asked = Instant::now();
        let reply = session.call(&read, &mut Vec::new()).expect("an answer");
        assert!(matches!(reply.body, Body::Data { .. }), "{reply:?}");
        slowest = slowest.max(asked.elapsed());
    }
    assert!(attack.join().expect("no panic") > 0);
    slowest
}
