//! Malformed bytes and abusive clients: the server lives, answers as ZooKeeper does, keeps its memory bounded, and other
//! clients do not wait.

use crate::harness::{ANSWER_TIMEOUT, Kind, Server, alone, runnable_without_core_with, under_test, wait_for};
use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use zkfast::client::net::{Connect, Connection, four_letter_word};
use zkfast::client::{Body, Incoming, Reply, Request, Session};
use zkfast::proto::{Acl, ConnectRequest, Id, OpCode, Perms, SessionId, Zxid};

/// How long silence must last to count as the server's reaction. If ZooKeeper reacts otherwise, the next attempt listens
/// twice as long.
const SILENCE: Duration = Duration::from_millis(300);
/// The longest that another client may wait for an answer during an attack, as far as the server causes it. Delays by the
/// machine do not count: see [`Wait`].
const DELAY_MAX: Duration = Duration::from_millis(100);

/// Runs of an attack, one of which must stay within the limit. Server, attack and probe share two cores with other
/// programs, so one run over the limit proves little.
const ATTEMPTS: u32 = 4;

/// The server's reaction to an attack.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It closed the connection without an answer.
    Closed,
    /// It waits for more bytes.
    Silent,
    /// It answered with this code, and then closed the connection or went on.
    Replied { err: i32, then: Then },
    /// It sent this text without a frame, and closed the connection.
    Text(String),
}

#[derive(Debug, PartialEq, Eq)]
enum Then {
    Closes,
    GoesOn,
}

/// Attacks with the first bytes of a connection, by name.
fn before_a_session() -> Vec<(&'static str, Vec<u8>)> {
    let connect = |password: Option<&[u8]>, length_off: i32| {
        let mut body = Vec::new();
        let read_only = Some(false);
        let (session_id, timeout_ms) = (SessionId::NONE, 30_000);
        let last_zxid_seen = Zxid::ZERO;
        ConnectRequest { protocol_version: 0, last_zxid_seen, timeout_ms, session_id, password, read_only }
            .put(&mut body);
        let length = i32::try_from(body.len()).expect("short") + length_off;
        [&length.to_be_bytes()[..], &body].concat()
    };
    vec![
        ("length -1", (-1i32).to_be_bytes().to_vec()),
        ("length min", i32::MIN.to_be_bytes().to_vec()),
        ("length max", i32::MAX.to_be_bytes().to_vec()),
        ("length one over the limit", 0x10_0000i32.to_be_bytes().to_vec()),
        ("length 0", 0i32.to_be_bytes().to_vec()),
        ("connect cut short", connect(Some(&[0; 16]), -25)),
        ("connect still to come", connect(Some(&[0; 16]), 100)),
        ("password too long for its frame", {
            let mut bytes = connect(Some(&[0; 16]), 0);
            bytes[28..32].copy_from_slice(&i32::MAX.to_be_bytes());
            bytes
        }),
        ("password of length -2", {
            let mut bytes = connect(Some(&[0; 16]), 0);
            bytes[28..32].copy_from_slice(&(-2i32).to_be_bytes());
            bytes
        }),
        ("HTTP", b"GET /commands/ruok HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("TLS", [&[0x16, 3, 1, 0, 0xF4, 1, 0, 0, 0xF0, 3, 3][..], &[7; 240]].concat()),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        ("unknown word", b"abcd".to_vec()),
        ("ones", vec![0xFF; 64]),
    ]
}

/// Attacks within a session, by name.
fn in_a_session() -> Vec<(&'static str, Vec<u8>)> {
    let int = |value: i32| value.to_be_bytes().to_vec();
    let framed = |body: Vec<u8>| [int(i32::try_from(body.len()).expect("short")), body].concat();
    let request = |op: i32, body: &[Vec<u8>]| framed([int(1), int(op), body.concat()].concat());
    let path = || [int(2), b"/a".to_vec()].concat();
    let acl_open = || [int(1), int(31), int(5), b"world".to_vec(), int(6), b"anyone".to_vec()].concat();
    vec![
        ("length -1", int(-1)),
        ("length max", int(i32::MAX)),
        ("length one over the limit", int(0x10_0000)),
        ("length 0", int(0)),
        ("header cut short", framed(vec![0; 7])),
        ("half a frame", [int(1000), vec![0; 500]].concat()),
        ("empty create", request(1, &[])),
        ("create: path longer than frame", request(1, &[int(i32::MAX)])),
        ("create: path of length -2", request(1, &[int(-2)])),
        ("create: null path", request(1, &[int(-1), int(-1), acl_open(), int(0)])),
        ("create: data longer than frame", request(1, &[path(), int(0x7FFF_0000)])),
        ("create: 2^31-1 ACL entries", request(1, &[path(), int(-1), int(i32::MAX)])),
        ("create: null ACL", request(1, &[path(), int(-1), int(-1), int(0)])),
        (
            "create: ACL with null scheme",
            request(1, &[path(), int(-1), int(1), int(31), int(-1), int(-1), int(0)]),
        ),
        ("getData: null path", request(4, &[int(-1), vec![0]])),
        ("getData without flag", request(4, &[path()])),
        ("path that is no UTF-8", request(1, &[int(3), b"/\xFF\xFE".to_vec(), int(-1), acl_open(), int(0)])),
        ("multi without end", request(14, &[int(13), vec![0], int(-1), path(), int(-1)])),
        ("multi of unknown operations", request(14, &[int(99), vec![0], int(-1)])),
        ("setWatches: 2^31-1 paths", request(101, &[vec![0; 8], int(i32::MAX)])),
        ("setWatches: null path", request(101, &[vec![0; 8], int(1), int(-1), int(0), int(0)])),
        ("setWatches2 cut short", request(105, &[vec![0; 8], int(0), int(0), int(0)])),
        ("removeWatches without type", request(18, &[path()])),
        ("reconfig: empty", request(16, &[])),
        ("getEphemerals: empty", request(103, &[])),
        ("unknown opcode", request(77, &[vec![0; 100]])),
        ("auth: empty", request(100, &[])),
        ("auth: null scheme", request(100, &[int(0), int(-1), int(-1)])),
        ("auth: scheme longer than frame", request(100, &[int(0), int(i32::MAX)])),
    ]
}

/// zkfast reacts to every malformed message as ZooKeeper 3.9.4 does, and no other client waits for it.
#[test]
fn malformed_bytes() {
    let _alone = alone();
    let servers = [Kind::Java, under_test()].map(|kind| Server::start(kind, &[]));
    let mut failures = Vec::new();
    for (in_session, attacks) in [(false, before_a_session()), (true, in_a_session())] {
        for (name, bytes) in attacks {
            let [real, ours] = servers.each_ref().map(Server::address);
            let mut wrong = Vec::new();
            for attempt in 0..ATTEMPTS {
                let silence = SILENCE * 2u32.pow(attempt);
                // Both servers at the same time: an attack is mostly waiting.
                let (real, (ours, waited)) = std::thread::scope(|scope| {
                    let real = scope.spawn(|| attack(real, in_session, &bytes, silence));
                    let probe = Probe::start(&servers[1]);
                    let outcome = attack(ours, in_session, &bytes, silence);
                    (real.join().expect("an outcome"), (outcome, probe.stop()))
                });
                if real != ours {
                    wrong.push(format!("{ours:?}, ZooKeeper: {real:?}"));
                } else if servers[1].kind() == Kind::Zkfast && !waited.is_short() {
                    wrong.push(format!("another client waited {waited}"));
                } else {
                    wrong.clear();
                    break;
                }
            }
            if !wrong.is_empty() {
                failures.push(format!("{name} (in a session: {in_session}): {}", wrong.join("; ")));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    for mut server in servers {
        assert!(server.is_alive(), "{:?} died", server.kind());
    }
}

/// Sends `bytes` on a new connection and gives the server's reaction. No bytes for `silence` are a reaction too.
fn attack(address: SocketAddr, in_session: bool, bytes: &[u8], silence: Duration) -> Outcome {
    let mut stream = if in_session {
        let connection =
            Connection::connect(address, &Connect::default(), ANSWER_TIMEOUT).expect("a session");
        connection.socket().expect("a second handle")
    } else {
        TcpStream::connect(address).expect("a connection")
    };
    stream.write_all(bytes).expect("room for a few bytes");
    let (heard, closed) = listen(&mut stream, silence, |_| false);
    let Some(first) = Frame::first(&heard) else {
        return match (heard.is_empty(), closed) {
            (true, true) => Outcome::Closed,
            (true, false) => Outcome::Silent,
            (false, _) => Outcome::Text(String::from_utf8_lossy(&heard).into_owned()),
        };
    };
    if closed {
        return Outcome::Replied { err: first.err, then: Then::Closes };
    }
    // The connection is open if the server answers a ping.
    let mut ping = Vec::new();
    Session::default().put(&Request::Ping, &mut ping);
    stream.write_all(&ping).expect("room for a ping");
    let (heard, closed) = listen(&mut stream, ANSWER_TIMEOUT, |heard| Frame::first(heard).is_some());
    if closed {
        return Outcome::Replied { err: first.err, then: Then::Closes };
    }
    assert!(Frame::first(&heard).is_some_and(|frame| frame.err == 0), "no ping: {heard:?}");
    Outcome::Replied { err: first.err, then: Then::GoesOn }
}

/// A reply's header, as far as the tests need it.
struct Frame {
    err: i32,
}

impl Frame {
    /// The first reply in `bytes`; `None` if it is incomplete.
    fn first(bytes: &[u8]) -> Option<Self> {
        let length = i32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
        let body = bytes.get(4..4 + usize::try_from(length).ok()?)?;
        Some(Self { err: i32::from_be_bytes(body.get(12..16)?.try_into().ok()?) })
    }
}

/// Reads until the server closes the connection (true), or until it is silent for `silence` or has sent enough (false).
fn listen(stream: &mut TcpStream, silence: Duration, is_enough: impl Fn(&[u8]) -> bool) -> (Vec<u8>, bool) {
    stream.set_read_timeout(Some(silence)).expect("a timeout");
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (heard, true),
            Ok(bytes) => {
                heard.extend_from_slice(&buffer[..bytes]);
                if is_enough(&heard) {
                    return (heard, false);
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return (heard, false);
            }
            Err(_) => return (heard, true),
        }
    }
}

/// The longest time that a well-behaved client waited for an answer.
#[derive(Clone, Copy, Debug, Default)]
struct Wait {
    /// Wall-clock time.
    clock: Duration,
    /// Wall-clock time without the time in which the client or a thread of the server was ready to run but had no core:
    /// what the server itself caused.
    server: Duration,
    /// The longest that the disk took in this time to flush one block for the test.
    disk: Duration,
}

impl Wait {
    /// True if the server caused no wait over [`DELAY_MAX`].
    fn is_short(&self) -> bool {
        self.is_within(DELAY_MAX)
    }

    /// True if the server caused no wait over `limit`. Two flushes may come on top.
    fn is_within(&self, limit: Duration) -> bool {
        self.server <= limit + 2 * self.disk
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clock, server, disk } = self;
        write!(
            f,
            "{server:.1?} caused by the server ({clock:.1?} in all; flushing a block took up to {disk:.1?})"
        )
    }
}

/// A well-behaved client that reads and writes without pause and measures its longest wait. A second thread flushes a
/// block every few milliseconds, to measure the disk.
struct Probe {
    stop: Arc<AtomicBool>,
    client: JoinHandle<Wait>,
    disk: JoinHandle<Duration>,
}

impl Probe {
    fn start(server: &Server) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let place = server.directory().join("block");
        let (client, disk) = (Self::client(server, stop.clone()), Self::disk(place, stop.clone()));
        Self { stop, client, disk }
    }

    fn disk(place: PathBuf, stopped: Arc<AtomicBool>) -> JoinHandle<Duration> {
        let block = [7; 4096];
        let file = File::create(place).expect("a file beside the server's");
        file.write_all_at(&block, 0).and_then(|()| file.sync_all()).expect("a disk");
        std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !stopped.load(Ordering::Relaxed) {
                let begun = Instant::now();
                file.write_all_at(&block, 0).and_then(|()| file.sync_data()).expect("a disk");
                longest = longest.max(begun.elapsed());
                std::thread::sleep(Duration::from_millis(5));
            }
            longest
        })
    }

    fn client(server: &Server, stopped: Arc<AtomicBool>) -> JoinHandle<Wait> {
        let (process, mut connection) = (server.process(), client(server.address()));
        let made = call(&mut connection, &create("/probe", b"x"));
        assert!(matches!(made.header.err, 0 | -110), "{made:?}");
        std::thread::spawn(move || {
            let path = b"/probe".to_vec();
            let read = Request::GetData { path: path.clone(), watch: false };
            let write = Request::SetData { path, data: Some(b"y".to_vec()), version: -1 };
            let mut longest = Wait::default();
            while !stopped.load(Ordering::Relaxed) {
                for request in [&read, &write] {
                    let kept = runnable_without_core_with(process);
                    let sent = Instant::now();
                    let reply = call(&mut connection, request);
                    let clock = sent.elapsed();
                    if clock > longest.server {
                        let kept = runnable_without_core_with(process).saturating_sub(kept);
                        longest.server = longest.server.max(clock.saturating_sub(kept));
                    }
                    longest.clock = longest.clock.max(clock);
                    assert_eq!(reply.header.err, 0, "the probing client's {request:?}");
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            call(&mut connection, &Request::CloseSession);
            longest
        })
    }

    /// Stops both threads and gives the longest wait.
    fn stop(self) -> Wait {
        self.stop.store(true, Ordering::Relaxed);
        let disk = self.disk.join().expect("a disk");
        Wait { disk, ..self.client.join().expect("the probing client is served to the end") }
    }
}

/// Established sockets, and the bytes in their queues in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Queued {
    sockets: u64,
    unsent: u64,
    unread: u64,
}

/// Sums the queues of all established TCP sockets whose (local, remote) ports `counts`.
fn queued(counts: impl Fn(u16, u16) -> bool) -> Queued {
    let mut sum = Queued::default();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, remote, "01", queues, ..] = fields[..] else { continue };
            let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
            let (local, remote) = (port(local).expect("a port"), port(remote).expect("a port"));
            let (unsent, unread) = queues.split_once(':').expect("two numbers");
            if counts(local, remote) {
                sum.sockets += 1;
                sum.unsent += u64::from_str_radix(unsent, 16).expect("a number");
                sum.unread += u64::from_str_radix(unread, 16).expect("a number");
            }
        }
    }
    sum
}

/// Waits until the server has read all that clients have sent.
fn wait_until_all_read(server: &Server) {
    let port = server.address().port();
    wait_for(ANSWER_TIMEOUT, || {
        let (unsent, unread) =
            (queued(|_, remote| remote == port).unsent, queued(|local, _| local == port).unread);
        match unsent + unread {
            0 => Ok(()),
            bytes => Err(format!("the server has not read {bytes} bytes")),
        }
    });
}

/// Waits until answers wait in a client's socket and no byte of the connection moves any more, or until the server has
/// closed the connection.
fn wait_until_stuck(client: &TcpStream) {
    /// Equal observations in a row, 20 ms apart.
    const EQUAL: u32 = 10;
    let port = client.local_addr().expect("an address").port();
    let (mut before, mut equal) = ([Queued::default(); 2], 0);
    wait_for(ANSWER_TIMEOUT, || {
        let now = [queued(|local, _| local == port), queued(|_, remote| remote == port)];
        equal = if now == before && now[0].unread > 0 { equal + 1 } else { 0 };
        before = now;
        if equal >= EQUAL || now[0].sockets == 0 { Ok(()) } else { Err(format!("bytes still move: {now:?}")) }
    });
}

fn client(address: SocketAddr) -> Connection {
    Connection::connect(address, &Connect::default(), ANSWER_TIMEOUT).expect("a session")
}

fn call(connection: &mut Connection, request: &Request) -> Reply {
    connection.call(request, &mut Vec::new()).expect("an answer")
}

fn create(path: &str, data: &[u8]) -> Request {
    let (path, data) = (path.into(), Some(data.to_vec()));
    Request::Create { op: OpCode::CREATE, path, data, acl: vec![Acl::open()], flags: 0, ttl_ms: -1 }
}

/// Runs `attack` beside a probing client. The probe waits no longer than [`DELAY_MAX`], the server's memory grows by
/// `growth_kib_max` at most, and the server lives. What `attack` gives, connections for example, stays open until the
/// memory is measured.
///
/// Each of the [`ATTEMPTS`] has a server of its own.
fn assert_harmless<H>(growth_kib_max: u64, attack: impl Fn(&Server) -> H) {
    assert_harmless_to(|| Server::start(under_test(), &[]), growth_kib_max, attack);
}

/// As [`assert_harmless`], to servers that the caller starts.
pub fn assert_harmless_to<H>(start: impl Fn() -> Server, growth_kib_max: u64, attack: impl Fn(&Server) -> H) {
    harmless(start, |_| (), growth_kib_max, DELAY_MAX, |server, ()| attack(server));
}

/// As [`assert_harmless`], with a limit for the probe's waits, and with a server that `prepare` has filled before the
/// measurement.
fn assert_harmless_after<T, H>(
    prepare: impl Fn(&Server) -> T,
    growth_kib_max: u64,
    delay_max: Duration,
    attack: impl Fn(&Server, T) -> H,
) {
    harmless(|| Server::start(under_test(), &[]), prepare, growth_kib_max, delay_max, attack);
}

fn harmless<T, H>(
    start: impl Fn() -> Server,
    prepare: impl Fn(&Server) -> T,
    growth_kib_max: u64,
    delay_max: Duration,
    attack: impl Fn(&Server, T) -> H,
) {
    let _alone = alone();
    let mut waits = Vec::new();
    for _ in 0..ATTEMPTS {
        let mut server = start();
        let prepared = prepare(&server);
        let before = server.rss_kib();
        let probe = Probe::start(&server);
        let held = attack(&server, prepared);
        let grown = server.rss_kib().saturating_sub(before);
        drop(held);
        let waited = probe.stop();
        assert!(server.is_alive());
        let answer = four_letter_word(server.address(), "ruok", ANSWER_TIMEOUT).expect("an answer to ruok");
        assert_eq!(answer, "imok");
        eprintln!("grown by {grown} KiB, longest wait {waited}");
        // The limits are for zkfast only: the JVM sizes its own heap, and its first requests are slow.
        if server.kind() != Kind::Zkfast {
            return;
        }
        assert!(grown <= growth_kib_max, "memory grew by {grown} KiB, limit {growth_kib_max}");
        if waited.is_within(delay_max) {
            return;
        }
        waits.push(waited.to_string());
    }
    panic!("another client waited {}, each time over {delay_max:?}", waits.join(", then "));
}

/// Two hundred sessions that each send half of the largest frame cost no more memory than these frames.
#[test]
fn half_frames() {
    const CLIENTS: u64 = 200;
    let frame_kib = 1024;
    assert_harmless(CLIENTS * frame_kib + (32 << 10), |server| {
        let half = [&0xF_FFFFi32.to_be_bytes()[..], &vec![7; 512 << 10]].concat();
        let mut clients: Vec<Connection> = (0..CLIENTS).map(|_| client(server.address())).collect();
        for client in &mut clients {
            client.queue_bytes(&half);
            client.flush().expect("the server reads");
        }
        wait_until_all_read(server);
        clients
    });
}

/// The length of a frame that has not arrived allocates no memory.
#[test]
fn promised_frames() {
    const CLIENTS: usize = 200;
    assert_harmless(32 << 10, |server| {
        let mut streams = Vec::new();
        for _ in 0..CLIENTS {
            let mut stream = TcpStream::connect(server.address()).expect("a connection");
            stream.write_all(&[&0xF_FFFFi32.to_be_bytes()[..], b"soon"].concat()).expect("room for 8 bytes");
            streams.push(stream);
            let mut session = client(server.address());
            session.queue_bytes(&[&0xF_FFFFi32.to_be_bytes()[..], b"soon"].concat());
            session.flush().expect("room for 8 bytes");
            streams.push(session.socket().expect("a second handle"));
        }
        wait_until_all_read(server);
        streams
    });
}

/// setWatches with hundreds of thousands of paths makes no other client wait, and the watches end with their connection.
#[test]
fn watches_by_the_hundred_thousand() {
    const FRAMES: usize = 4;
    const PATHS: usize = 85_000;
    assert_harmless(256 << 10, |server| {
        let mut hoarder = client(server.address());
        let relative_zxid = Zxid(u64::from(u32::MAX));
        for frame in 0..FRAMES {
            let paths = (0..PATHS).map(|i| format!("/{frame}-{i:05}").into_bytes()).collect();
            let request = Request::SetWatches { relative_zxid, lists: [vec![], paths, vec![]] };
            assert_eq!(call(&mut hoarder, &request).header.err, 0);
        }
        let watches = |server: &Server| {
            let text = four_letter_word(server.address(), "wchs", ANSWER_TIMEOUT).expect("an answer to wchs");
            let total = text.lines().find_map(|line| line.strip_prefix("Total watches:")).map(str::to_owned);
            total
                .and_then(|total| total.trim().parse::<usize>().ok())
                .unwrap_or_else(|| panic!("wchs: {text}"))
        };
        assert_eq!(watches(server), FRAMES * PATHS);
        // Data watches on znodes that do not exist give as many events at once.
        let paths: Vec<Vec<u8>> = (0..PATHS).map(|i| format!("/{i:05}").into_bytes()).collect();
        let request = Request::SetWatches { relative_zxid, lists: [paths, vec![], vec![]] };
        let mut events = Vec::new();
        let reply = hoarder.call(&request, &mut events).expect("an answer after the events");
        assert_eq!((reply.header.err, events.len()), (0, PATHS));
        drop(hoarder);
        wait_for(Duration::from_secs(20), || match watches(server) {
            0 => Ok(()),
            count => Err(format!("{count} watches of a closed connection stay")),
        });
    });
}

/// The server stops reading from a client that asks for gigabytes and reads no answer. Other clients do not wait.
#[test]
fn reader_that_never_reads() {
    const READS: usize = 20_000;
    assert_harmless(64 << 10, |server| {
        let mut owner = client(server.address());
        assert_eq!(call(&mut owner, &create("/big", &vec![7; 100 << 10])).header.err, 0);
        let greedy = client(server.address());
        let mut socket = greedy.socket().expect("a second handle");
        socket.set_write_timeout(Some(Duration::from_secs(2))).expect("a timeout");
        let (mut session, mut bytes) = (Session::default(), Vec::new());
        for _ in 0..READS {
            session.put(&Request::GetData { path: b"/big".to_vec(), watch: false }, &mut bytes);
        }
        // Either all requests fit into the sockets' buffers, or the write ends with the timeout.
        let _ = socket.write_all(&bytes);
        wait_until_stuck(&socket);
        greedy
    });
}

/// A thousand connections that are opened and closed, with and without bytes, make no other client wait.
#[test]
fn connections_that_come_and_go() {
    assert_harmless(32 << 10, |server| {
        for i in 0..1000 {
            let mut stream = TcpStream::connect(server.address()).expect("a connection");
            if i % 3 == 0 {
                let _ = stream.write_all(&45i32.to_be_bytes());
            } else if i % 3 == 1 {
                let _ = stream.write_all(b"ru");
            }
        }
    });
}

/// Events for a client that does not read them take bounded memory.
#[test]
fn watcher_that_never_reads() {
    const ROUNDS: usize = 300;
    const BURST: usize = 100;
    assert_harmless(64 << 10, |server| {
        let mut watcher = client(server.address());
        let long = format!("/{}", "n".repeat(2000));
        assert_eq!(call(&mut watcher, &Request::AddWatch { path: b"/".to_vec(), mode: 1 }).header.err, 0);
        let mut writer = client(server.address());
        assert_eq!(call(&mut writer, &create(&long, b"")).header.err, 0);
        // 60 MB of events, more than sockets' buffers hold.
        for _ in 0..ROUNDS {
            for _ in 0..BURST {
                writer.queue(&Request::SetData { path: long.clone().into_bytes(), data: None, version: -1 });
            }
            writer.flush().expect("the server reads");
            for _ in 0..BURST {
                writer.receive().expect("an answer");
            }
        }
        watcher
    });
}

/// Sends all `requests` at once, and gives the codes of their answers.
fn call_all(connection: &mut Connection, requests: &[Request]) -> Vec<i32> {
    for request in requests {
        connection.queue(request);
    }
    connection.flush().expect("the server reads");
    let mut codes = Vec::new();
    while codes.len() < requests.len() {
        if let Incoming::Reply(reply) = connection.receive().expect("an answer") {
            codes.push(reply.header.err);
        }
    }
    codes
}

/// Small packets that ask for much work make no other client wait: hundreds of times counting a large tree, searching the
/// ephemerals of a session, or recounting a quota.
#[test]
fn work_that_a_small_packet_asks_for() {
    const ZNODES: usize = 100_000;
    const ASKED: usize = 600;
    let prepare = |server: &Server| {
        let mut owner = client(server.address());
        assert_eq!(call(&mut owner, &create("/big", b"")).header.err, 0);
        assert_eq!(call(&mut owner, &create("/zookeeper/quota/big", b"")).header.err, 0);
        for from in (0..ZNODES).step_by(1000) {
            let ephemeral = |n: usize| {
                let (path, acl) = (format!("/big/{n:06}").into_bytes(), vec![Acl::open()]);
                Request::Create { op: OpCode::CREATE, path, data: None, acl, flags: 1, ttl_ms: -1 }
            };
            let creates: Vec<_> = (from..from + 1000).map(ephemeral).collect();
            assert!(call_all(&mut owner, &creates).iter().all(|err| *err == 0));
        }
        owner
    };
    assert_harmless_after(prepare, 64 << 10, DELAY_MAX, |_, mut owner| {
        let count = Request::GetAllChildrenNumber { path: b"/big".to_vec() };
        let reply = call(&mut owner, &count);
        assert_eq!(reply.body, Body::Number(ZNODES as i32));
        let needle = Request::GetEphemerals { prefix: b"/none".to_vec() };
        let stats = "/zookeeper/quota/big/zookeeper_stats";
        let recount = [create(stats, b""), Request::Delete { path: stats.into(), version: -1 }];
        let many = |request: &Request| vec![request.clone(); ASKED];
        for requests in [many(&count), many(&needle), vec![recount.to_vec(); ASKED].concat()] {
            assert!(call_all(&mut owner, &requests).iter().all(|err| *err == 0));
        }
    });
}

/// Thousands of identities, and ACLs with thousands of entries, make no other client wait: neither adding the
/// identities, nor storing ACLs that name all of them, nor reading under such an ACL with as many other identities.
#[test]
fn identities_by_the_thousand() {
    const IDENTITIES: usize = 3000;
    let prove = |connection: &mut Connection, prefix: &str| {
        let ids = (0..IDENTITIES).map(|n| {
            let auth = Some(format!("{prefix}{n}:x").into_bytes());
            Request::Auth { scheme: b"digest".to_vec(), auth }
        });
        let ids: Vec<_> = ids.collect();
        assert!(call_all(connection, &ids).iter().all(|err| *err == 0));
    };
    // 600 refused writes take half a millisecond each in a test build, and other writes wait in the queue after them.
    // They took 25 s when the server compared each entry with each identity.
    let delay_max = 10 * DELAY_MAX;
    assert_harmless_after(
        |_| (),
        256 << 10,
        delay_max,
        |server, ()| {
            let (mut owner, mut other) = (client(server.address()), client(server.address()));
            prove(&mut owner, "owner");
            prove(&mut other, "other");
            let create = |n: usize| {
                let acl = vec![Acl { perms: Perms::ALL, id: Id::new("auth", "") }];
                let path = format!("/owned-{n}").into_bytes();
                Request::Create { op: OpCode::CREATE, path, data: None, acl, flags: 0, ttl_ms: -1 }
            };
            let creates: Vec<_> = (0..20).map(create).collect();
            assert!(call_all(&mut owner, &creates).iter().all(|err| *err == 0));
            let read = Request::GetData { path: b"/owned-0".to_vec(), watch: false };
            assert!(call_all(&mut owner, &vec![read.clone(); 600]).iter().all(|err| *err == 0));
            assert!(call_all(&mut other, &vec![read; 600]).iter().all(|err| *err == -102));
            let write = Request::SetData { path: b"/owned-0".to_vec(), data: None, version: -1 };
            assert!(call_all(&mut other, &vec![write; 600]).iter().all(|err| *err == -102));
        },
    );
}

/// Clients that ask for sixty megabytes each and read nothing: the answers that wait for them are bounded in sum, other
/// clients get answers, and the server closes connections that hold such answers without reading.
#[test]
fn large_answers_that_no_client_reads() {
    const CLIENTS: usize = 40;
    const PARTS: usize = 60;
    const GROWTH_KIB_MAX: u64 = 480 << 10;
    let _alone = alone();
    let server = Server::start(under_test(), &[]);
    let mut owner = client(server.address());
    assert_eq!(call(&mut owner, &create("/big", &vec![7; 1_000_000])).header.err, 0);
    let part = Request::GetData { path: b"/big".to_vec(), watch: false };
    let large = Request::MultiRead { ops: vec![part.clone(); PARTS] };
    let before = server.rss_kib();
    let mut greedy: Vec<_> = (0..CLIENTS).map(|_| client(server.address())).collect();
    for client in &mut greedy {
        client.queue(&large);
        client.flush().expect("the server reads");
    }
    // Small answers do not wait. A large one waits until the server has closed some of the others.
    let exists = Request::Exists { path: b"/big".to_vec(), watch: false };
    let (mut grown, mut asked) = (0, 0);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        assert_eq!(call(&mut owner, &exists).header.err, 0);
        grown = server.rss_kib().saturating_sub(before).max(grown);
        asked += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(call(&mut owner, &part).header.err, 0);
    eprintln!("grown by {grown} KiB, {asked} small answers, a large answer after {:?}", begun.elapsed());
    if server.kind() == Kind::Zkfast {
        assert!(grown <= GROWTH_KIB_MAX, "memory grew by {grown} KiB, limit {GROWTH_KIB_MAX}");
    }
}

/// A client takes longer to read a large answer than its session's timeout, and pings all the time. It keeps its
/// session, as with ZooKeeper, although the server does not read from it while so much waits to be sent.
#[test]
fn large_answer_taken_slowly() {
    const TIMEOUT_MS: i32 = 2000;
    const PARTS: usize = 8;
    const PART_BYTES: usize = 1_000_000;
    /// Bytes per tenth of a second. The whole answer takes much longer than the timeout, however large the sockets'
    /// buffers.
    const PIECE: usize = 80_000;
    let _alone = alone();
    let take = |kind: Kind| {
        let server = Server::start(kind, &[("tickTime", "500")]);
        let mut owner = client(server.address());
        assert_eq!(call(&mut owner, &create("/big", &vec![7; PART_BYTES])).header.err, 0);
        let connect = Connect { timeout_ms: TIMEOUT_MS, ..Connect::default() };
        let mut slow = Connection::connect(server.address(), &connect, ANSWER_TIMEOUT).expect("a session");
        let acl = vec![Acl::open()];
        let (path, data) = (b"/alive".to_vec(), None);
        let alive = Request::Create { op: OpCode::CREATE, path, data, acl, flags: 1, ttl_ms: -1 };
        assert_eq!(call(&mut slow, &alive).header.err, 0);
        let mut socket = slow.socket().expect("a second handle");
        socket2::SockRef::from(&socket).set_recv_buffer_size(64 << 10).expect("a small buffer");
        let part = Request::GetData { path: b"/big".to_vec(), watch: false };
        slow.queue(&Request::MultiRead { ops: vec![part; PARTS] });
        slow.flush().expect("the server reads");
        let (mut session, mut ping) = (Session::default(), Vec::new());
        session.put(&Request::Ping, &mut ping);
        let (mut piece, mut taken, mut turn) = (vec![0; PIECE], 0, 0);
        while taken < PARTS * PART_BYTES {
            let begun = Instant::now();
            socket
                .read_exact(&mut piece)
                .unwrap_or_else(|error| panic!("{kind:?} after {taken} bytes: {error}"));
            taken += PIECE;
            if turn % 5 == 0 {
                socket
                    .write_all(&ping)
                    .unwrap_or_else(|error| panic!("{kind:?} after {taken} bytes: {error}"));
            }
            turn += 1;
            std::thread::sleep(Duration::from_millis(100).saturating_sub(begun.elapsed()));
        }
        let exists = Request::Exists { path: b"/alive".to_vec(), watch: false };
        // The owner's own session has expired in this time.
        let mut other = client(server.address());
        assert_eq!(call(&mut other, &exists).header.err, 0, "{kind:?}: the session is gone");
    };
    // Both servers at the same time: the test mostly waits.
    std::thread::scope(|scope| {
        let kinds = [Kind::Java, under_test()].map(|kind| scope.spawn(move || take(kind)));
        kinds.into_iter().for_each(|kind| kind.join().expect("the session lives"));
    });
}
