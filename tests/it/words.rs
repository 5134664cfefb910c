//! Answers to four-letter words: zkfast gives the same as ZooKeeper 3.9.4 after the same traffic.
//!
//! The tests compare every line. Before that they replace what must differ (ports, times, sizes, session ids, the epoch
//! of a zxid in an ensemble) and sort lists, which Java keeps in hash tables. `mntr` has other tests.
//! `ZKFAST_UNDER_TEST=java` compares ZooKeeper with itself, which tests the tests.

mod parsers;

use crate::ensemble::cluster::{Cluster, START_TIMEOUT, Shape};
use crate::harness::{Kind, Server, alone, under_test, wait_for};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zkfast::client::net::{Connect, Connection, four_letter_word};
use zkfast::client::{Incoming, Request};
use zkfast::proto::{Acl, OpCode};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeouts of the traffic's two sessions, long enough that neither expires during the test on a busy machine.
const BUSY_TIMEOUT_MS: i32 = 40_000;
const QUIET_TIMEOUT_MS: i32 = 30_000;
/// Writes of the traffic. `hash` then has two digests of the tree, one per 128 txns.
const WRITES: usize = 280;
/// `nio.sessionlessCnxnTimeout`: Java rounds the expiry of connections to it.
const CNXN_INTERVAL_MS: i64 = 10_000;
/// The trace mask that the test sets with `stmk`.
const MASK: i64 = 77;
/// Keys of `envi` whose values depend on the machine only. The others depend on the process or on Java.
const SAME_ENVIRONMENT: [&str; 7] =
    ["java.io.tmpdir", "java.compiler", "os.name", "os.arch", "os.version", "user.name", "user.home"];

/// The clients of one server.
struct Traffic {
    busy: Connection,
    quiet: Connection,
    /// Connections without a session, open while the test sends words.
    idle: Vec<TcpStream>,
}

impl Traffic {
    /// Sends the same requests to any server. `place` is a znode for this traffic only.
    fn new(address: SocketAddr, place: &str) -> Self {
        // Resets the counts from the wait for the server's start.
        four_letter_word(address, "srst", ANSWER_TIMEOUT).expect("an answer");
        let session = |timeout_ms| {
            let connect = Connect { timeout_ms, ..Connect::default() };
            Connection::connect(address, &connect, ANSWER_TIMEOUT).expect("a session")
        };
        let mut busy = session(BUSY_TIMEOUT_MS);
        let create = |path: String, flags| {
            let (path, acl, data) = (path.into_bytes(), vec![Acl::open()], Some(b"data".to_vec()));
            Request::Create { op: OpCode::CREATE, path, data, acl, flags, ttl_ms: -1 }
        };
        let path = || place.as_bytes().to_vec();
        let requests = [
            create(place.to_owned(), 0),
            create(format!("{place}/ephemeral"), 1),
            create(format!("{place}/second"), 1),
            Request::GetChildren2 { path: path(), watch: true },
            Request::GetData { path: format!("{place}/second").into_bytes(), watch: true },
            Request::Exists { path: format!("{place}/missing").into_bytes(), watch: true },
        ];
        for request in &requests {
            busy.call(request, &mut Vec::new()).expect("an answer");
        }
        for _ in 0..WRITES {
            busy.queue(&Request::SetData { path: path(), data: Some(b"more".to_vec()), version: -1 });
        }
        busy.flush().expect("sent");
        for _ in 0..WRITES {
            assert!(matches!(busy.receive().expect("an answer"), Incoming::Reply(_)));
        }
        busy.call(&Request::GetData { path: path(), watch: false }, &mut Vec::new()).expect("an answer");
        let quiet = session(QUIET_TIMEOUT_MS);
        let idle = vec![TcpStream::connect(address).expect("a connection")];
        Self { busy, quiet, idle }
    }

    /// The answers to all words. The order matters, since `srst` and `crst` change later answers.
    fn answers(&self, address: SocketAddr) -> Vec<(&'static str, String)> {
        let word = |word| four_letter_word(address, word, ANSWER_TIMEOUT).expect("an answer");
        let mut answers = Vec::new();
        // Java counts an answer of more than 2048 bytes as several packets, so `envi` comes after the words with packet
        // counts.
        for name in [
            "ruok", "isro", "gtmk", "conf", "cons", "stat", "srvr", "dirs", "dump", "wchs", "wchc", "wchp",
            "hash", "envi",
        ] {
            answers.push((name, word(name)));
        }
        answers.push(("stmk", set_mask(address)));
        answers.push(("gtmk", word("gtmk")));
        // From here on the servers count these words and their answers.
        for name in ["srst", "srvr", "crst", "cons", "stat"] {
            answers.push((name, word(name)));
        }
        answers
    }

    fn names(&self) -> BTreeMap<String, &'static str> {
        let id = |connection: &Connection| format!("{:#x}", connection.identity().0);
        [(id(&self.busy), "BUSY"), (id(&self.quiet), "QUIET")].into()
    }
}

/// Sends `stmk` and its eight bytes at once, since Java does not wait for the rest. Gives the answer.
fn set_mask(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a socket");
    stream.write_all(&[&b"stmk"[..], &MASK.to_be_bytes()].concat()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// Replaces in answers what must differ between servers.
struct Normal {
    /// Names for session ids.
    names: BTreeMap<String, &'static str>,
    is_member: bool,
}

impl Normal {
    fn answer(&self, word: &str, answer: &str) -> String {
        let text = self.common(answer);
        match word {
            "conf" => by_line(&text, |line| match line.split_once('=') {
                Some((key @ ("clientPort" | "electionPort" | "quorumPort"), port)) => {
                    format!("{key}={}", port_of(port))
                }
                Some((key @ ("dataDirSize" | "dataLogSize"), bytes)) => format!("{key}={}", number(bytes)),
                Some((key @ ("dataDir" | "dataLogDir"), path)) => {
                    assert!(path.starts_with('/'), "{path}");
                    key.to_owned()
                }
                Some((key, value)) if key.starts_with("server.") => {
                    let parts = value.split(':').map(|part| if is_number(part) { "PORT" } else { part });
                    format!("{key}={}", parts.collect::<Vec<_>>().join(":"))
                }
                _ => line.to_owned(),
            }),
            "envi" => by_line(&text, |line| match line.split_once('=') {
                Some(("zookeeper.version", version)) => format!("zookeeper.version={}", version_of(version)),
                Some((key, _)) if SAME_ENVIRONMENT.contains(&key) => line.to_owned(),
                Some((key, value)) if key.starts_with("os.memory.") => {
                    format!("{key}={}MB", number(value.strip_suffix("MB").expect("megabytes")))
                }
                Some((key, value)) => {
                    assert!(!value.is_empty(), "{line}");
                    key.to_owned()
                }
                None => line.to_owned(),
            }),
            "srvr" | "stat" => {
                sorted_block(&by_line(&text, |line| self.figure(line)), |line| line.starts_with(" /"))
            }
            "cons" => sorted_block(&by_line(&text, connection), |line| line.starts_with(" /")),
            "dirs" => by_line(&text, |line| match line.split_once(": ") {
                Some((key, bytes)) => format!("{key}: {}", number(bytes)),
                None => line.to_owned(),
            }),
            "dump" => self.dump(&text),
            "hash" => by_line(&text, |line| {
                let (zxid, digest) = line.split_once(": ").expect("a zxid and a digest");
                assert!(digest.parse::<i64>().is_ok(), "{line}");
                format!("{}: DIGEST", self.zxid(zxid))
            }),
            "wchc" | "wchp" => sorted_groups(&text),
            _ => text,
        }
    }

    /// Replaces client addresses and session ids, which occur in several words.
    fn common(&self, answer: &str) -> String {
        let mut text = answer.to_owned();
        for (id, name) in &self.names {
            // One id may be a prefix of another.
            for end in [",", "\n", ":", "\t"] {
                text = text.replace(&format!("{id}{end}"), &format!("{name}{end}"));
            }
        }
        for host in ["/127.0.0.1:", "/[0:0:0:0:0:0:0:1]:"] {
            let mut parts = text.split(host);
            let mut out = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                out += host;
                out += "PORT";
                out += part.trim_start_matches(|digit: char| digit.is_ascii_digit());
            }
            text = out;
        }
        text
    }

    fn figure(&self, line: &str) -> String {
        match line.split_once(": ") {
            Some((key @ "Zookeeper version", version)) => format!("{key}: {}", version_of(version)),
            Some((key @ "Latency min/avg/max", figures)) => {
                let figures: Vec<&str> = figures.split('/').collect();
                let [min, avg, max] = figures[..] else { panic!("{line}") };
                let [min, max] = [min, max].map(|figure| figure.parse::<u64>().expect("milliseconds"));
                // A decimal number with a point.
                assert!(avg.contains('.') && avg.parse::<f64>().is_ok() && min <= max, "{line}");
                key.to_owned()
            }
            Some((key @ "Zxid", zxid)) => {
                format!("{key}: {}", self.zxid(zxid.strip_prefix("0x").expect("hexadecimal")))
            }
            // Java's proposal sizes include a header that zkfast's proposals do not have.
            Some((key @ "Proposal sizes last/min/max", sizes)) => {
                assert_eq!(sizes.split('/').filter(|size| size.parse::<i64>().is_ok()).count(), 3, "{line}");
                key.to_owned()
            }
            _ => line.to_owned(),
        }
    }

    /// A zxid, without its epoch for a member of an ensemble: elections increase it.
    fn zxid(&self, hex: &str) -> String {
        let zxid = u64::from_str_radix(hex, 16).unwrap_or_else(|_| panic!("{hex} is no zxid"));
        if self.is_member { format!("EPOCH+{:#x}", zxid & 0xffff_ffff) } else { format!("{zxid:#x}") }
    }

    /// Joins the sets of `dump`: Java groups what expires at the same time by its own clock, and keeps empty sets.
    /// Checks the time at which each set expires.
    fn dump(&self, text: &str) -> String {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64;
        let mut sections: Vec<(String, Vec<String>)> = Vec::new();
        let mut owner = String::new();
        for line in text.lines() {
            if let Some((count, date)) = line.split_once(" expire at ") {
                number(count);
                let at_ms = java_date_ms(date.strip_suffix(':').expect("a colon"));
                let longest = i64::from(BUSY_TIMEOUT_MS) + CNXN_INTERVAL_MS;
                let soonest = i64::from(QUIET_TIMEOUT_MS) - 2 * CNXN_INTERVAL_MS;
                let limits = match count {
                    // An empty set whose time has passed may still exist.
                    "0" => now_ms - 60_000..=now_ms + longest,
                    // A date has no milliseconds, and an idle connection may be about to expire.
                    _ => now_ms - 1000 + soonest.min(0)..=now_ms + longest,
                };
                assert!(limits.contains(&at_ms), "{line}: {at_ms} at {now_ms}");
            } else if let Some(item) = line.strip_prefix('\t') {
                let (_, items) = sections.last_mut().expect("a heading");
                items.push(if owner.is_empty() { item.to_owned() } else { format!("{owner} {item}") });
            } else if let Some(id) = line.strip_suffix(':').filter(|id| !id.contains(' ')) {
                owner = id.to_owned();
            } else if line.contains("ms") && line.contains('\t') {
                let (_, items) = sections.last_mut().expect("a heading");
                items.push(line.to_owned());
            } else {
                owner.clear();
                // The first number in `Session Sets (2)/(3):` counts sets.
                let heading = match line.split_once(" Sets (") {
                    Some((what, counts)) => {
                        format!("{what} Sets {}", counts.split_once('/').expect("two numbers").1)
                    }
                    None => line.to_owned(),
                };
                sections.push((heading, Vec::new()));
            }
        }
        let mut out = String::new();
        for (heading, mut items) in sections {
            items.sort();
            out += &format!("{heading}\n");
            items.iter().for_each(|item| out += &format!("\t{item}\n"));
        }
        out
    }
}

/// Applies `normal` to each line.
fn by_line(text: &str, normal: impl Fn(&str) -> String) -> String {
    text.split_inclusive('\n')
        .map(|line| match line.strip_suffix('\n') {
            Some(line) => format!("{}\n", normal(line)),
            None => normal(line),
        })
        .collect()
}

/// Sorts the lines of one block, and leaves those before and after it in place.
fn sorted_block(text: &str, is_in: impl Fn(&str) -> bool) -> String {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    if let Some(from) = lines.iter().position(|line| is_in(line)) {
        let to = lines.iter().rposition(|line| is_in(line)).map_or(from, |last| last + 1);
        lines[from..to].sort_unstable();
    }
    lines.concat()
}

/// Sorts lines, together with the indented lines after each, and sorts these too.
fn sorted_groups(text: &str) -> String {
    let mut groups: Vec<Vec<&str>> = Vec::new();
    let (body, end) = text.strip_suffix("\n\n").map_or((text, ""), |body| (body, "\n\n"));
    for line in body.lines() {
        match groups.last_mut() {
            Some(group) if line.starts_with('\t') => group.push(line),
            _ => groups.push(vec![line]),
        }
    }
    groups.iter_mut().for_each(|group| group[1..].sort_unstable());
    groups.sort();
    let lines: Vec<&str> = groups.into_iter().flatten().collect();
    format!("{}{end}", lines.join("\n"))
}

/// A line of `cons` without times and latencies, whose plausibility it checks.
fn connection(line: &str) -> String {
    let Some((head, fields)) = line.split_once("](") else { return line.to_owned() };
    let fields = fields.strip_suffix(')').expect("a parenthesis");
    let mut latencies = BTreeMap::new();
    let mut field = |field: &str| {
        let (key, value) = field.split_once('=').expect("a key and a value");
        match key {
            "est" | "lresp" => {
                // The time 0 of `lresp` is Java's own.
                let ms: i64 = value.parse().expect("milliseconds");
                assert!(ms >= 0, "{line}");
                format!("{key}={}", if ms == 0 { "0" } else { "TIME" })
            }
            "llat" | "minlat" | "avglat" | "maxlat" => {
                latencies.insert(key.to_owned(), value.parse::<u64>().expect("milliseconds"));
                key.to_owned()
            }
            "lzxid" if !["0xffffffffffffffff", "0x0"].contains(&value) => {
                assert!(u64::from_str_radix(&value[2..], 16).is_ok(), "{line}");
                // The zxid of the server's tree at the time of the answer. Other clients may have written since.
                format!("{key}=ZXID")
            }
            _ => field.to_owned(),
        }
    };
    let fields: Vec<String> = fields.split(',').map(&mut field).collect();
    if let [Some(min), Some(avg), Some(max)] = ["minlat", "avglat", "maxlat"].map(|key| latencies.get(key)) {
        assert!(min <= avg && avg <= max, "{line}");
    }
    format!("{head}]({})", fields.join(","))
}

fn is_number(text: &str) -> bool {
    text.parse::<u64>().is_ok()
}

fn number(text: &str) -> &'static str {
    assert!(is_number(text), "{text} is no number");
    "NUMBER"
}

fn port_of(text: &str) -> &'static str {
    assert!(text.parse::<u16>().is_ok_and(|port| port > 0), "{text} is no port");
    "PORT"
}

/// `3.9.4-<commit or name>, built on 2025-08-19 19:53 UTC`.
fn version_of(text: &str) -> &'static str {
    let (version, date) = text.split_once(", built on ").expect("a date");
    assert!(version.starts_with("3.9.4-"), "{text}");
    let shape: String =
        date.chars().map(|letter| if letter.is_ascii_digit() { '9' } else { letter }).collect();
    assert_eq!(shape, "9999-99-99 99:99 UTC", "{text}");
    assert!(&date[..4] >= "2025", "{text}");
    "VERSION"
}

/// `Sat Nov 28 18:01:15 UTC 2026` in milliseconds since 1970.
fn java_date_ms(text: &str) -> i64 {
    let parts: Vec<&str> = text.split(' ').collect();
    let [_, month, day, time, "UTC", year] = parts[..] else { panic!("{text} is no date") };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == month).expect("a month") as i64 + 1;
    let (day, year): (i64, i64) = (day.parse().expect("a day"), year.parse().expect("a year"));
    let clock: Vec<i64> = time.split(':').map(|part| part.parse().expect("a time")).collect();
    // Days since 1970 by the count of leap years up to the last February.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    (((days * 24 + clock[0]) * 60 + clock[1]) * 60 + clock[2]) * 1000
}

/// A server's answers, with replacements, by word. `polls` words that the test sent before do not count: `srst` resets
/// the counts between the first and the second `srvr`.
fn observe(
    address: SocketAddr,
    traffic: &Traffic,
    names: &BTreeMap<String, &'static str>,
    is_member: bool,
    polls: u64,
) -> Vec<(String, String)> {
    let normal = Normal { names: names.clone(), is_member };
    let answers = traffic.answers(address);
    let reset = answers.iter().position(|(word, _)| *word == "srst").expect("one of the words");
    let normal_answer = |(at, (word, answer)): (usize, &(&str, String))| {
        let answer = if at < reset { without_polls(answer, polls) } else { answer.clone() };
        ((*word).to_owned(), normal.answer(word, &answer))
    };
    answers.iter().enumerate().map(normal_answer).collect()
}

/// An answer to `stat` or `srvr`, with packet counts as if the test had not sent `polls` words.
fn without_polls(answer: &str, polls: u64) -> String {
    by_line(answer, |line| match line.split_once(": ") {
        Some((key @ ("Received" | "Sent"), packets)) => {
            format!("{key}: {}", packets.parse::<u64>().expect("a number of packets") - polls)
        }
        _ => line.to_owned(),
    })
}

#[track_caller]
fn compare(what: &str, java: &[(String, String)], ours: &[(String, String)]) {
    assert_eq!(java.len(), ours.len());
    for (at, ((word, expected), (_, answer))) in java.iter().zip(ours).enumerate() {
        assert_eq!(answer, expected, "{what}: word {at}, {word}: left is zkfast, right is Java");
    }
}

/// A standalone server gives Java's answers, also about a client with an IPv6 address.
#[test]
fn standalone_like_java() {
    let _alone = alone();
    let all = |kind| {
        let server = Server::start(kind, &[("clientPortAddress", "::")]);
        let address = server.address();
        let mut traffic = Traffic::new(address, "/words");
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, address.port()));
        traffic.idle.push(TcpStream::connect(v6).expect("IPv6 on the loopback interface"));
        let names = traffic.names();
        let answers = observe(address, &traffic, &names, false, 0);
        parsers::all(address, "standalone");
        answers
    };
    compare("standalone", &all(Kind::Java), &all(under_test()));
}

/// The server waits for the rest of a trace mask, and answers other words in this time.
#[test]
fn pieces() {
    let _alone = alone();
    let server = Server::start(Kind::Zkfast, &[]);
    let word = |word| four_letter_word(server.address(), word, ANSWER_TIMEOUT).expect("an answer");
    let mut stream = TcpStream::connect(server.address()).expect("a connection");
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a socket");
    stream.set_nodelay(true).expect("a socket");
    stream.write_all(b"stmk\0\0\0").expect("sent");
    assert_eq!(word("gtmk"), "306");
    stream.write_all(&MASK.to_be_bytes()[3..]).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert_eq!((answer.as_str(), word("gtmk").as_str()), ("77", "77"));
}

/// After a client attaches again to a session, `cons` shows no operation and no xid of the former connection.
#[test]
fn attached_again() {
    let _alone = alone();
    let cons = |kind| {
        let server = Server::start(kind, &[]);
        let open = |session| {
            let connect = Connect { session, ..Connect::default() };
            Connection::connect(server.address(), &connect, ANSWER_TIMEOUT).expect("a session")
        };
        let session = open(None).identity();
        let again = open(Some(session));
        assert_eq!(again.identity(), session);
        let names = [(format!("{:#x}", session.0), "AGAIN")].into();
        let word = |word| four_letter_word(server.address(), word, ANSWER_TIMEOUT).expect("an answer");
        // Waits until the server has noticed the end of the former connection, and has counted its answer to the new one,
        // which Java does after it has sent it.
        wait_for(ANSWER_TIMEOUT, || match word("cons") {
            answer
                if answer.matches("sid=").count() > 1
                    || !answer.contains("[1](queued=0,recved=1,sent=1,sid=") =>
            {
                Err(answer)
            }
            _ => Ok(()),
        });
        let normal = Normal { names, is_member: false };
        let before = normal.answer("cons", &word("cons"));
        word("crst");
        [before, normal.answer("cons", &word("cons"))]
    };
    let java = cons(Kind::Java);
    assert!(java[0].contains(",lop=null,") && java[1].contains(",lop=NA,"), "{java:?}");
    assert_eq!(cons(under_test()), java, "left is zkfast");
}

/// Leader, follower and observer give the answers of Java's leader, follower and observer.
#[test]
fn members_like_java() {
    let _alone = alone();
    let all = |kind| {
        let observer = Shape { observer: true, ..Shape::voter(kind) };
        let shapes = [Shape::voter(kind), Shape::voter(kind), observer];
        let keys =
            [("tickTime", "2000"), ("initLimit", "20"), ("syncLimit", "10"), ("maxSessionTimeout", "60000")];
        let mut cluster = Cluster::start(&shapes, &keys, None);
        let leader = cluster.wait_for_leader(START_TIMEOUT);
        let follower = 3 - leader;
        let roles = [("leader", leader), ("follower", follower), ("observer", 3)];
        let traffic = roles.map(|(role, sid)| Traffic::new(cluster.address(sid), &format!("/{role}")));
        let mut names = BTreeMap::new();
        for ((role, _), traffic) in roles.iter().zip(&traffic) {
            let of_role = |name| match (*role, name) {
                ("leader", "BUSY") => "LEADER-BUSY",
                ("leader", _) => "LEADER-QUIET",
                ("follower", "BUSY") => "FOLLOWER-BUSY",
                ("follower", _) => "FOLLOWER-QUIET",
                (_, "BUSY") => "OBSERVER-BUSY",
                _ => "OBSERVER-QUIET",
            };
            names.extend(traffic.names().into_iter().map(|(id, name)| (id, of_role(name))));
        }
        let zxid = |sid| {
            let answer = cluster.word(sid, "srvr").unwrap_or_default();
            answer.lines().find(|line| line.starts_with("Zxid: ")).map(str::to_owned)
        };
        let mut polls = 0;
        wait_for(START_TIMEOUT, || {
            polls += 1;
            match [1, 2, 3].map(zxid) {
                [Some(a), Some(b), Some(c)] if a == b && b == c => Ok(()),
                zxids => Err(format!("the servers have different zxids: {zxids:?}")),
            }
        });
        roles.each_ref().map(|(role, sid)| {
            let traffic = &traffic[usize::from(*role != "leader") + usize::from(*role == "observer")];
            let answers = observe(cluster.address(*sid), traffic, &names, true, polls);
            parsers::all(cluster.address(*sid), role);
            (*role, answers)
        })
    };
    for ((role, java), (_, ours)) in all(Kind::Java).into_iter().zip(all(under_test())) {
        compare(role, &java, &ours);
    }
}
