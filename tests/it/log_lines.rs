//! A server's log: the format of its lines as text and as JSON, and lines about sessions, hostile connections, peers and
//! SIGHUP.

use crate::harness::{ANSWER_TIMEOUT, Directory, Kind, Server, alone, free_address, wait_for, zkfast_binary};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use zkfast::client::Request;
use zkfast::client::net::{ClientError, Connect, Connection, four_letter_word};
use zkfast::proto::{Acl, OpCode};

/// Bytes that a pipe holds.
const PIPE_BYTES: usize = 64 << 10;

/// A parsed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The level, from ERROR to TRACE.
    pub level: String,
    /// The part of the server that wrote it.
    pub target: String,
    /// The message.
    pub what: String,
    fields: BTreeMap<String, String>,
}

impl Line {
    /// A field's value.
    pub fn field(&self, key: &str) -> Option<&str> {
        self.fields.get(key).map(String::as_str)
    }

    /// Parses a line of text: `TIME LEVEL target: what: key=value key="two words"`.
    pub fn of_text(line: &str) -> Option<Self> {
        let (_time, rest) = line.split_once(' ')?;
        let (level, rest) = rest.split_once(' ')?;
        let (target, rest) = rest.split_once(": ")?;
        let (what, mut rest) = rest.split_once(": ").unwrap_or((rest, ""));
        let mut fields = BTreeMap::new();
        while let Some((key, value)) = rest.split_once('=') {
            let (value, after) = match value.strip_prefix('"') {
                Some(quoted) => quoted_value(quoted)?,
                None => {
                    let (value, after) = value.split_once(' ').unwrap_or((value, ""));
                    (value.to_owned(), after)
                }
            };
            fields.insert(key.to_owned(), value);
            rest = after.trim_start();
        }
        Some(Self { level: level.to_owned(), target: target.to_owned(), what: what.to_owned(), fields })
    }

    /// Parses a line of JSON: an object of strings, numbers and one inner object of these.
    fn of_json(line: &str) -> Option<Self> {
        let mut rest = line;
        let mut object = json_object(&mut rest)?;
        let mut fields_of = object.remove("fields")?;
        let fields = json_object(&mut &*std::mem::take(&mut fields_of))?;
        let mut take = |key| object.remove(key);
        let (level, target, what) = (take("level")?, take("target")?, take("message")?);
        (rest.is_empty() && take("time").is_some() && object.is_empty()).then_some(Self {
            level,
            target,
            what,
            fields,
        })
    }
}

/// The text before the closing quote without escapes, and the rest after the quote.
fn quoted_value(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

/// Keys and values of a JSON object. An inner object stays text.
fn json_object(rest: &mut &str) -> Option<BTreeMap<String, String>> {
    let mut object = BTreeMap::new();
    *rest = rest.strip_prefix('{')?;
    if let Some(after) = rest.strip_prefix('}') {
        *rest = after;
        return Some(object);
    }
    loop {
        let (key, after) = quoted_value(rest.strip_prefix('"')?)?;
        let after = after.strip_prefix(':')?;
        let (value, after) = if let Some(quoted) = after.strip_prefix('"') {
            quoted_value(quoted)?
        } else if after.starts_with('{') {
            let mut inner = after;
            json_object(&mut inner)?;
            (after[..after.len() - inner.len()].to_owned(), inner)
        } else {
            let end = after.find([',', '}'])?;
            (after[..end].to_owned(), &after[end..])
        };
        object.insert(key, value);
        if let Some(after) = after.strip_prefix(',') {
            *rest = after;
        } else {
            *rest = after.strip_prefix('}')?;
            return Some(object);
        }
    }
}

/// All lines so far. Panics if one does not parse.
fn lines(server: &Server, of: fn(&str) -> Option<Line>) -> Vec<Line> {
    let output = server.whole_output();
    // The server may still write the last line.
    let whole = output.rfind('\n').map_or("", |end| &output[..end]);
    whole.lines().map(|line| of(line).unwrap_or_else(|| panic!("not a line of the log: {line}"))).collect()
}

/// Waits for a line for which `is_it` is true.
fn wait_for_line(server: &Server, of: fn(&str) -> Option<Line>, is_it: impl Fn(&Line) -> bool) -> Line {
    wait_for(Duration::from_secs(20), || {
        let found = lines(server, of).into_iter().find(|line| is_it(line));
        found.ok_or_else(|| format!("no such line:\n{}", server.whole_output()))
    })
}

fn session_of(connection: &Connection) -> String {
    format!("{:#x}", connection.identity().0)
}

fn address_of(connection: &Connection) -> String {
    connection.socket().and_then(|socket| socket.local_addr()).expect("an address").to_string()
}

/// At level DEBUG the server logs when each session is made, attached, refused, closed and expired; the lines are JSON.
#[test]
fn sessions_as_json() {
    let _alone = alone();
    let mut server = Server::new(Kind::Zkfast, &[("tickTime", "200")]);
    server.set_arguments(&["--log-format", "json", "--log-level", "debug"]);
    server.start_again();
    let connect = Connect { timeout_ms: 2_000, ..Connect::default() };
    let open = |connect: &Connect| Connection::connect(server.address(), connect, ANSWER_TIMEOUT);
    let logged = |what: &str, session: &str| {
        let line = wait_for_line(&server, Line::of_json, |line| {
            line.target == "session" && line.what == what && line.field("session") == Some(session)
        });
        assert_eq!(line.level, "DEBUG", "{line:?}");
        line
    };

    let first = open(&connect).expect("a session");
    let session = session_of(&first);
    let line = logged("made", &session);
    assert_eq!(line.field("peer"), Some(&*address_of(&first)), "{line:?}");
    assert_eq!(line.field("timeout_ms"), Some("2000"), "{line:?}");

    let again = Connect { session: Some(first.identity()), timeout_ms: 3_000, ..connect.clone() };
    let mut second = open(&again).expect("the same session");
    let line = logged("attached", &session);
    assert_eq!(line.field("peer"), Some(&*address_of(&second)), "{line:?}");
    assert_eq!(line.field("timeout_ms"), Some("3000"), "{line:?}");
    second.call(&Request::CloseSession, &mut Vec::new()).expect("an answer");
    let line = logged("closed", &session);
    assert_eq!(line.field("peer"), Some(&*address_of(&second)), "{line:?}");
    assert!(line.field("why").is_some_and(|why| why.contains("client")), "{line:?}");
    assert!(matches!(open(&again), Err(ClientError::Refused)), "it is closed");
    logged("refused", &session);

    let silent = open(&connect).expect("a session");
    let session = session_of(&silent);
    drop(silent);
    let line = logged("expired", &session);
    assert_eq!(line.field("timeout_ms"), Some("2000"), "{line:?}");
    assert_eq!(server.stop(), Some(0));
    let last = lines(&server, Line::of_json).pop().expect("lines");
    assert_eq!((&*last.level, &*last.what), ("INFO", "stopped"), "{last:?}");
}

/// With levels of single targets the audit log stands alone. Its lines are objects, too.
#[test]
fn audit_log_as_json() {
    let _alone = alone();
    let mut server = Server::new(Kind::Zkfast, &[("audit.enable", "true")]);
    server.set_arguments(&["--log-format", "json", "--log-level", "off,audit=info"]);
    server.start_again();
    let mut client =
        Connection::connect(server.address(), &Connect::default(), ANSWER_TIMEOUT).expect("a session");
    let (path, acl) = (b"/a b=c".to_vec(), vec![Acl::open()]);
    let create = Request::Create { op: OpCode::CREATE, path, data: None, acl, flags: 1, ttl_ms: -1 };
    client.call(&create, &mut Vec::new()).expect("an answer");
    client.call(&Request::CloseSession, &mut Vec::new()).expect("an answer");
    let session = session_of(&client);
    assert_eq!(server.stop(), Some(0));
    let lines = lines(&server, Line::of_json);
    assert!(lines.iter().all(|line| line.target == "audit" && line.level == "INFO"), "{lines:?}");
    let operations: Vec<&str> = lines.iter().filter_map(|line| line.field("operation")).collect();
    let gone = "ephemeralZNodeDeletionOnSessionCloseOrExpire";
    assert_eq!(operations, ["serverStart", "create", gone, "serverStop"]);
    for line in &lines[1..3] {
        assert_eq!(line.field("session"), Some(&*session), "{line:?}");
        assert_eq!(line.field("znode"), Some("/a b=c"), "{line:?}");
        assert_eq!(line.field("result"), Some("success"), "{line:?}");
    }
}

/// Of many hostile connections the server logs some as lines and the rest as a count. SIGHUP only gives a line.
#[test]
fn storms_are_counted() {
    const CONNECTIONS: u64 = 170;
    let _alone = alone();
    let mut server = Server::start(Kind::Zkfast, &[]);
    let begun = Instant::now();
    let mut ends = Vec::new();
    for number in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(server.address()).expect("a connection");
        let bytes: &[u8] = if number % 2 == 0 { b"GET / HTTP/1.1\r\n\r\n" } else { &[0xFF; 8] };
        stream.write_all(bytes).expect("room for a few bytes");
        ends.push(stream);
    }
    for mut stream in ends {
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a timeout");
        // The server closes the connection, or resets it if bytes are unread.
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    }
    server.hang_up();
    wait_for_line(&server, Line::of_text, |line| {
        line.field("signal") == Some("SIGHUP") && line.level == "INFO"
    });
    let answer = four_letter_word(server.address(), "ruok", ANSWER_TIMEOUT).expect("an answer to ruok");
    assert_eq!(answer, "imok");
    assert_eq!(server.stop(), Some(0));
    let windows = begun.elapsed().as_secs() / 10 + 1;
    let lines = lines(&server, Line::of_text);
    let closed: Vec<&Line> = lines.iter().filter(|line| line.target == "cnxn").collect();
    let (single, counts): (Vec<&Line>, Vec<&Line>) =
        closed.into_iter().partition(|line| line.field("more").is_none());
    let counted: u64 = counts
        .iter()
        .filter_map(|line| line.field("more"))
        .map(|more| more.parse::<u64>().expect("a number"))
        .sum();
    assert_eq!(single.len() as u64 + counted, CONNECTIONS, "{single:?} {counts:?}");
    assert!(single.len() as u64 <= 5 * windows, "{} lines in {windows} windows", single.len());
    assert!(counts.iter().all(|line| line.field("causes").is_some_and(|causes| causes.contains("HTTP: "))));
    assert!(
        single.iter().any(|line| line.field("why").is_some_and(|why| why.contains("HTTP"))),
        "{single:?}"
    );
}

/// The server logs address and reason of a peer that cannot be reached and of one whose name has no address, once each.
#[test]
fn peers_are_named() {
    let _alone = alone();
    let [own, other] = [(); 2].map(|()| [free_address().port(), free_address().port()]);
    let keys = [
        ("initLimit", "10".to_owned()),
        ("syncLimit", "5".to_owned()),
        ("server.1", format!("127.0.0.1:{}:{}", own[0], own[1])),
        ("server.2", format!("127.0.0.1:{}:{}", other[0], other[1])),
        ("server.3", format!("no-such-host.invalid:{}:{}", other[0], other[1])),
    ];
    let keys: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (*key, &**value)).collect();
    let mut server = Server::new(Kind::Zkfast, &keys);
    std::fs::write(server.data().join("myid"), "1").expect("myid");
    server.spawn();
    for (sid, address) in
        [("2", format!("127.0.0.1:{}", other[1])), ("3", format!("no-such-host.invalid:{}", other[1]))]
    {
        let line = wait_for_line(&server, Line::of_text, |line| {
            line.what == "unreachable"
                && line.field("sid") == Some(sid)
                && line.field("port") == Some("election")
        });
        assert_eq!((&*line.level, line.field("address")), ("WARN", Some(&*address)), "{line:?}");
        assert!(line.field("why").is_some_and(|why| !why.is_empty()), "{line:?}");
    }
    // Attempts go on, a second apart, and each reason is logged once. Attempts that log nothing cannot be observed, so
    // this waits for the time of three.
    std::thread::sleep(Duration::from_secs(3));
    let lines = lines(&server, Line::of_text);
    let named: Vec<_> = lines
        .iter()
        .filter(|line| line.what == "unreachable")
        .map(|line| (line.field("sid"), line.field("port"), line.field("why")))
        .collect();
    let distinct: BTreeSet<_> = named.iter().collect();
    assert_eq!(named.len(), distinct.len(), "{named:?}");
}

/// A process that is killed with this value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// While the reader of the log pipe hangs, the server serves clients and can stop. A reader that goes on gets a line
/// with the number of lost lines.
#[test]
fn readers_that_hang() {
    let _alone = alone();
    for reads_on in [false, true] {
        let (data, address) = (Directory::new("reader"), free_address());
        let mut command = Command::new(zkfast_binary());
        command.arg("--data-dir").arg(data.path()).args(["--client-port", &address.port().to_string()]);
        command.args(["--log-level", "debug"]).stderr(Stdio::piped());
        let mut process = Process(command.spawn().expect("it starts"));
        let child = &mut process.0;
        wait_for(ANSWER_TIMEOUT, || {
            four_letter_word(address, "ruok", ANSWER_TIMEOUT).map_err(|error| error.to_string())
        });
        // A closed connection counts against `maxClientCnxns` until the server has noticed its end.
        let open = || {
            wait_for(ANSWER_TIMEOUT, || {
                let connection = Connection::connect(address, &Connect::default(), ANSWER_TIMEOUT);
                connection.map(drop).map_err(|error| error.to_string())
            });
        };
        // Their lines take several times as many bytes as fit into a pipe.
        (0..1000).for_each(|_| open());
        let mut log = child.stderr.take().expect("a pipe");
        let reader = reads_on.then(|| {
            let (read, mut before) = (Arc::new(AtomicUsize::new(0)), 0);
            let counter = read.clone();
            let reader = thread::spawn(move || {
                let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
                loop {
                    match log.read(&mut buffer)? {
                        0 => return Ok::<_, std::io::Error>(text),
                        bytes => text.extend_from_slice(&buffer[..bytes]),
                    }
                    counter.store(text.len(), Ordering::Relaxed);
                }
            });
            // Once the pipe is empty, the server's next line says how many lines were lost.
            wait_for(ANSWER_TIMEOUT, || {
                let now = read.load(Ordering::Relaxed);
                let is_all = now >= PIPE_BYTES && now == std::mem::replace(&mut before, now);
                is_all.then_some(()).ok_or_else(|| format!("{now} bytes of the log were read"))
            });
            open();
            reader
        });
        let process = Pid::from_raw(child.id().cast_signed()).expect("a process");
        kill_process(process, Signal::TERM).expect("it runs");
        let status = wait_for(ANSWER_TIMEOUT, || {
            child
                .try_wait()
                .expect("the state of a child")
                .ok_or_else(|| "the server does not end".to_owned())
        });
        assert_eq!(status.code(), Some(0));
        let Some(reader) = reader else { continue };
        let text = reader.join().expect("the reader does not panic").expect("a pipe");
        let text = String::from_utf8(text).expect("UTF-8");
        let lines: Vec<Line> = text.lines().map(|line| Line::of_text(line).expect(line)).collect();
        let lost =
            lines.iter().find(|line| line.what == "lines were lost").and_then(|line| line.field("count"));
        let count: u64 =
            lost.unwrap_or_else(|| panic!("no line about lost lines:\n{text}")).parse().expect("a number");
        assert!(count > 100 && lines.len() > 100, "{count} lost, {} read", lines.len());
    }
}
