//! What a server's log says, line by line: its shape as text and as JSON, sessions, storms, SIGHUP.

use crate::harness::{
    ANSWER_TIMEOUT, Directory, GroupDelay, Kind, Server, alone, free_address, zkfast_binary,
};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use zkfast::client::Request;
use zkfast::client::net::{ClientError, Connect, Connection, four_letter_word};

/// A line, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// ERROR to TRACE.
    pub level: String,
    /// What part of the server says it.
    pub target: String,
    /// What happened.
    pub what: String,
    fields: BTreeMap<String, String>,
}

impl Line {
    /// A field's value.
    pub fn field(&self, key: &str) -> Option<&str> {
        self.fields.get(key).map(String::as_str)
    }

    /// One of text: `TIME LEVEL target: what: key=value key="two words"`.
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

    /// One of JSON, of strings, numbers and one object of these.
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

/// What stands before the closing quote, and what follows it.
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

/// Keys and values, inner objects as they are.
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

/// Every line so far; each has the shape.
fn lines(server: &Server, of: fn(&str) -> Option<Line>) -> Vec<Line> {
    let output = server.whole_output();
    // The last one may be on its way.
    let whole = output.rfind('\n').map_or("", |end| &output[..end]);
    whole.lines().map(|line| of(line).unwrap_or_else(|| panic!("not a line of the log: {line}"))).collect()
}

/// Waits for a line.
fn wait_for(server: &Server, of: fn(&str) -> Option<Line>, is_it: impl Fn(&Line) -> bool) -> Line {
    let mut group_delay = GroupDelay::new(Duration::from_secs(20));
    loop {
        if let Some(line) = lines(server, of).into_iter().find(|line| is_it(line)) {
            return line;
        }
        assert!(!group_delay.is_over(), "no such line:\n{}", server.whole_output());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn session_of(connection: &Connection) -> String {
    format!("{:#x}", connection.identity().0)
}

fn address_of(connection: &Connection) -> String {
    connection.socket().and_then(|socket| socket.local_addr()).expect("an address").to_string()
}

/// At DEBUG and as JSON, each session is told: when it is made, attached, refused, closed and expired.
#[test]
fn sessions_as_json() {
    let _alone = alone();
    let mut server = Server::new(Kind::Zkfast, &[("tickTime", "200")]);
    server.set_arguments(&["--log-format", "json", "--log-level", "debug"]);
    server.start_again();
    let connect = Connect { timeout_ms: 2_000, ..Connect::default() };
    let open = |connect: &Connect| Connection::connect(server.address(), connect, ANSWER_TIMEOUT);
    let told = |what: &str, session: &str| {
        let line = wait_for(&server, Line::of_json, |line| {
            line.target == "session" && line.what == what && line.field("session") == Some(session)
        });
        assert_eq!(line.level, "DEBUG", "{line:?}");
        line
    };

    let first = open(&connect).expect("a session");
    let session = session_of(&first);
    let line = told("made", &session);
    assert_eq!(line.field("peer"), Some(&*address_of(&first)), "{line:?}");
    assert_eq!(line.field("timeout_ms"), Some("2000"), "{line:?}");

    let again = Connect { session: Some(first.identity()), timeout_ms: 3_000, ..connect.clone() };
    let mut second = open(&again).expect("the same session");
    let line = told("attached", &session);
    assert_eq!(line.field("peer"), Some(&*address_of(&second)), "{line:?}");
    assert_eq!(line.field("timeout_ms"), Some("3000"), "{line:?}");
    second.call(&Request::CloseSession, &mut Vec::new()).expect("an answer");
    let line = told("closed", &session);
    assert_eq!(line.field("peer"), Some(&*address_of(&second)), "{line:?}");
    assert!(line.field("why").is_some_and(|why| why.contains("client")), "{line:?}");
    assert!(matches!(open(&again), Err(ClientError::Refused)), "it is closed");
    told("refused", &session);

    let silent = open(&connect).expect("a session");
    let session = session_of(&silent);
    drop(silent);
    let line = told("expired", &session);
    assert_eq!(line.field("timeout_ms"), Some("2000"), "{line:?}");
    assert_eq!(server.stop(), Some(0));
    let last = lines(&server, Line::of_json).pop().expect("lines");
    assert_eq!((&*last.level, &*last.what), ("INFO", "stopped"), "{last:?}");
}

/// Hostile connections are some lines and a count, which together are all of them; SIGHUP is a line and nothing else.
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
        // Closed, or reset with bytes unread.
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    }
    server.hang_up();
    wait_for(&server, Line::of_text, |line| line.field("signal") == Some("SIGHUP") && line.level == "INFO");
    let answer = four_letter_word(server.address(), "ruok", ANSWER_TIMEOUT).expect("it lives");
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

/// A peer that cannot be reached, and one whose name leads nowhere, are named with address and reason.
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
        let line = wait_for(&server, Line::of_text, |line| {
            line.what == "unreachable"
                && line.field("sid") == Some(sid)
                && line.field("port") == Some("election")
        });
        assert_eq!((&*line.level, line.field("address")), ("WARN", Some(&*address)), "{line:?}");
        assert!(line.field("why").is_some_and(|why| !why.is_empty()), "{line:?}");
    }
    // Once for each reason: attempts go on, a second apart.
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

/// A process that ends with this.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A reader of the log that hangs keeps nobody from being served, and the server from no end. One that reads on learns how
/// many lines it has missed.
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
        let mut group_delay = GroupDelay::new(ANSWER_TIMEOUT);
        while four_letter_word(address, "ruok", ANSWER_TIMEOUT).is_err() {
            assert!(!group_delay.is_over(), "it does not come to serve");
            thread::sleep(Duration::from_millis(5));
        }
        // Those that have ended count among the clients of one address until the server has noticed.
        let open = || {
            let mut group_delay = GroupDelay::new(ANSWER_TIMEOUT);
            while let Err(error) = Connection::connect(address, &Connect::default(), ANSWER_TIMEOUT) {
                assert!(!group_delay.is_over(), "{error}");
                thread::sleep(Duration::from_millis(5));
            }
        };
        // Their lines are several times what a pipe holds.
        (0..1000).for_each(|_| open());
        let mut log = child.stderr.take().expect("a pipe");
        let reader = reads_on.then(|| {
            let reader = thread::spawn(move || {
                let mut text = String::new();
                log.read_to_string(&mut text).map(|_| text)
            });
            thread::sleep(Duration::from_millis(300));
            open();
            reader
        });
        let process = Pid::from_raw(child.id().cast_signed()).expect("a process");
        kill_process(process, Signal::TERM).expect("it runs");
        let mut group_delay = GroupDelay::new(ANSWER_TIMEOUT);
        let status = loop {
            if let Some(status) = child.try_wait().expect("the state of a child") {
                break status;
            }
            assert!(!group_delay.is_over(), "it does not end");
            thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(0));
        let Some(reader) = reader else { continue };
        let text = reader.join().expect("it reads").expect("UTF-8");
        let lines: Vec<Line> = text.lines().map(|line| Line::of_text(line).expect(line)).collect();
        let told =
            lines.iter().find(|line| line.what == "lines were lost").and_then(|line| line.field("count"));
        let count: u64 =
            told.unwrap_or_else(|| panic!("of lost lines nothing:\n{text}")).parse().expect("a number");
        assert!(count > 100 && lines.len() > 100, "{count} lost, {} read", lines.len());
    }
}
