//! Two servers in lock step: each step goes to both, and both must give the same answers and events.

use super::normal::{Normal, sort_close};
use crate::harness::{ANSWER_TIMEOUT, Kind, Server};
use zkfast::client::net::{ClientError, Connect, Connection};
use zkfast::client::{Incoming, Reply, Request};
use zkfast::proto::{OpCode, Zxid};

/// Keys of both servers. What depends on the clock is off: sessions outlive any pause of the test, and containers and
/// TTL nodes are not deleted.
const KEYS: &[(&str, &str)] = &[
    ("tickTime", "2000"),
    ("maxSessionTimeout", "900000"),
    ("enforceQuota", "true"),
    ("extendedTypesEnabled", "true"),
    ("znode.container.checkIntervalMs", "3600000"),
    // super:admin
    ("DigestAuthenticationProvider.superDigest", "super:xQJmxLMiHGwaqBvst5y6rkB6HQs="),
];

/// Session timeout that every session requests.
const TIMEOUT_MS: i32 = 600_000;

/// What the test does on a session's connection. The other sessions only receive events.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends requests without waiting, then reads the answers. The zxid of a `SetWatches` is a distance from the
    /// program's base.
    Burst(Vec<Request>),
    /// Sends bytes after which the server must close the connection.
    Break(Vec<u8>),
    /// Sends a request after whose answer the server must close the connection.
    Last(Request),
    /// Connects again, usually to the same session.
    Attach(Attach),
}

/// Ways to connect again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// Closes the old connection first.
    Again {
        /// The flag in the connect request. `None` leaves it out, as clients before 3.4 do: the request has 44 bytes.
        read_only: Option<bool>,
    },
    /// Leaves the old connection open: the server must close it.
    Steal,
    /// Tries a wrong password, then the right one.
    WrongPassword,
    /// Claims to have seen a future zxid, then the true one.
    FromTheFuture,
    /// Opens a new session. The old session stays open.
    New {
        /// Session timeout to ask for.
        timeout_ms: i32,
    },
}

/// One server and its sessions, by place.
#[derive(Debug)]
struct Side {
    server: Server,
    normal: Normal,
    places: Vec<Option<Connection>>,
}

/// Answers and events of one connection, in the order of their arrival, each with its zxid.
type Seen = Vec<(i64, String)>;

impl Side {
    fn new(kind: Kind, places: usize) -> Self {
        let server = Server::start(kind, KEYS);
        let mut side = Self { server, normal: Normal::new(0), places: (0..places).map(|_| None).collect() };
        for place in 0..places {
            let connect = Connect { timeout_ms: TIMEOUT_MS, ..Connect::default() };
            let connection = Connection::connect(side.server.address(), &connect, ANSWER_TIMEOUT)
                .unwrap_or_else(|error| panic!("{kind:?}: {error}\n{}", side.server.output()));
            side.normal.connect(connection.response());
            side.places[place] = Some(connection);
        }
        side.rebase();
        side
    }

    /// Counts zxids from the newest one.
    fn rebase(&mut self) {
        let connection = self.places.iter_mut().flatten().next().expect("a session");
        let reply = connection.call(&Request::Ping, &mut Vec::new()).expect("a ping's reply");
        self.normal.rebase(reply.header.zxid);
    }

    fn connection(&mut self, place: usize) -> &mut Connection {
        self.places[place].as_mut().expect("every step leaves a connection in its place")
    }

    fn send(&mut self, place: usize, requests: &[Request]) {
        for request in requests {
            let request = self.absolute(request);
            self.connection(place).queue(&request);
        }
        // If the server has closed the connection, reading the answers will show it.
        let _ = self.connection(place).flush();
    }

    fn absolute(&self, request: &Request) -> Request {
        let mut request = request.clone();
        if let Request::SetWatches { relative_zxid, .. } | Request::SetWatches2 { relative_zxid, .. } =
            &mut request
        {
            *relative_zxid = Zxid::from_wire(self.normal.absolute(relative_zxid.to_wire()));
        }
        request
    }

    /// Reads until all requests are answered or, with `to_the_end`, until the server closes the connection.
    fn collect(&mut self, place: usize, to_the_end: bool, replies: &mut Vec<Reply>) -> Seen {
        let Self { places, normal, .. } = self;
        let connection = places[place].as_mut().expect("connected");
        let mut seen = Seen::new();
        while to_the_end || connection.session().pending() > 0 {
            match connection.receive() {
                Ok(incoming) => {
                    let zxid = match &incoming {
                        Incoming::Event(event) => event.zxid,
                        Incoming::Reply(reply) => reply.header.zxid,
                    };
                    seen.push((zxid, normal.incoming(&incoming)));
                    if let Incoming::Reply(reply) = incoming {
                        replies.push(reply);
                    }
                }
                Err(error) => {
                    seen.push((0, error.to_string()));
                    break;
                }
            }
        }
        seen
    }

    /// Opens a connection in `place`, and drops the former one.
    fn connect(&mut self, place: usize, connect: &Connect) -> String {
        let opened = Connection::open(self.server.address(), ANSWER_TIMEOUT).and_then(|mut connection| {
            connection.handshake(connect)?;
            Ok(connection)
        });
        match opened {
            Ok(connection) => {
                let text = self.normal.connect(connection.response());
                self.places[place] = Some(connection);
                text
            }
            Err(error) => error.to_string(),
        }
    }

    fn attach(&mut self, place: usize, attach: Attach) -> Seen {
        let old = self.places[place].take().expect("connected");
        let (id, mut password) = old.identity();
        let last_zxid_seen = old.session().last_zxid();
        let session = Some((id, password));
        let right = Connect { timeout_ms: TIMEOUT_MS, session, last_zxid_seen, ..Connect::default() };
        let mut seen = Vec::new();
        match attach {
            Attach::Again { read_only } => {
                old.shut_down();
                seen.push(self.connect(place, &Connect { read_only, ..right }));
            }
            Attach::Steal => {
                seen.push(self.connect(place, &right));
                // Java may leave the old connection open: when it notices the end of a session's former connection, it
                // forgets the new one (`NIOServerCnxnFactory.removeCnxn`).
                if self.server.kind() != Kind::Java {
                    let mut old = old;
                    let end = loop {
                        if let Err(end) = old.receive() {
                            break end;
                        }
                    };
                    if !matches!(end, ClientError::Closed) {
                        seen.push(format!("the old connection: {end}"));
                    }
                }
            }
            Attach::WrongPassword => {
                old.shut_down();
                password[7] ^= 1;
                let wrong = Connect { session: Some((id, password)), ..right.clone() };
                seen.push(self.connect(place, &wrong));
                if self.places[place].is_some() {
                    seen.extend(self.collect(place, true, &mut Vec::new()).into_iter().map(|item| item.1));
                }
                seen.push(self.connect(place, &right));
            }
            Attach::FromTheFuture => {
                old.shut_down();
                let ahead = Zxid(last_zxid_seen.0 + (1 << 40));
                seen.push(self.connect(place, &Connect { last_zxid_seen: ahead, ..right.clone() }));
                seen.push(self.connect(place, &right));
            }
            Attach::New { timeout_ms } => {
                old.shut_down();
                seen.push(self.connect(place, &Connect { timeout_ms, session: None, ..right }));
            }
        }
        seen.into_iter().map(|text| (0, text)).collect()
    }
}

/// A difference between the two servers.
#[derive(Debug)]
pub struct Difference {
    /// What differs, and after which requests.
    pub text: String,
}

/// Two servers with the same number of sessions each.
#[derive(Debug)]
pub struct Pair {
    sides: [Side; 2],
    /// The first server's replies to the last step.
    pub replies: Vec<Reply>,
}

impl Pair {
    /// Starts both servers and connects `places` sessions to each.
    pub fn new(kinds: [Kind; 2], places: usize) -> Self {
        Self { sides: kinds.map(|kind| Side::new(kind, places)), replies: Vec::new() }
    }

    /// Gives `program` the replies to the last step.
    pub fn teach(&self, program: &mut super::program::Program) {
        program.learn(&self.replies, |zxid| self.sides[0].normal.distance(zxid));
    }

    /// Counts zxids of both sides from their newest ones.
    pub fn rebase(&mut self) {
        for side in &mut self.sides {
            side.rebase();
        }
    }

    /// Does `step` on both servers, in the session in `place`, and compares all answers and the events of the other
    /// sessions.
    ///
    /// # Errors
    /// The first difference.
    pub fn step(&mut self, place: usize, step: &Step) -> Result<(), Difference> {
        let [a, b] = &mut self.sides;
        let mut replies = [Vec::new(), Vec::new()];
        let mut seen = match step {
            Step::Burst(requests) => {
                // Both servers get the requests before the test reads any answer, so they work at the same time.
                let closes = requests.iter().any(|request| request.op() == OpCode::CLOSE_SESSION);
                a.send(place, requests);
                b.send(place, requests);
                [a.collect(place, closes, &mut replies[0]), b.collect(place, closes, &mut replies[1])]
            }
            Step::Last(request) => {
                let requests = std::slice::from_ref(request);
                a.send(place, requests);
                b.send(place, requests);
                [a.collect(place, true, &mut replies[0]), b.collect(place, true, &mut replies[1])]
            }
            Step::Break(bytes) => [a, b].map(|side| {
                side.connection(place).queue_bytes(bytes);
                let _ = side.connection(place).flush();
                side.collect(place, true, &mut Vec::new())
            }),
            Step::Attach(attach) => [a.attach(place, *attach), b.attach(place, *attach)],
        };
        let closes: [i64; 2] = [0, 1].map(|side| {
            let close = replies[side].iter().rev().find(|reply| reply.op == OpCode::CLOSE_SESSION);
            close.map_or(0, |reply| reply.header.zxid)
        });
        for (seen, close) in seen.iter_mut().zip(closes) {
            sort_close(seen, close);
        }
        let [first, _] = &replies;
        self.replies.clone_from(first);
        compare(place, step, &seen)?;
        let ended = match step {
            Step::Burst(requests) => replies[0].len() < requests.len(),
            Step::Break(_) | Step::Last(_) => false,
            Step::Attach(_) => self.sides.iter().any(|side| side.places[place].is_none()),
        };
        if ended {
            let text =
                format!("both end the connection in place {place} after {}: {:?}", show_step(step), seen[0]);
            return Err(Difference { text });
        }
        if changes(step) { self.listen(place, step, closes) } else { Ok(()) }
    }

    /// Compares the events of all sessions but the one in `actor`. Each sends a sync, whose reply follows all events of
    /// earlier commits.
    fn listen(&mut self, actor: usize, step: &Step, closes: [i64; 2]) -> Result<(), Difference> {
        let places = self.sides[0].places.len();
        let sync = [Request::Sync { path: b"/".to_vec() }];
        for side in &mut self.sides {
            for place in (0..places).filter(|&place| place != actor) {
                side.send(place, &sync);
            }
        }
        for place in (0..places).filter(|&place| place != actor) {
            let [a, b] = &mut self.sides;
            let mut seen = [a, b].map(|side| side.collect(place, false, &mut Vec::new()));
            for (seen, close) in seen.iter_mut().zip(closes) {
                sort_close(seen, close);
            }
            compare(place, step, &seen)?;
        }
        Ok(())
    }

    /// Waits for the next event of the session in `place` on both servers, and compares.
    pub fn wait_for_event(&mut self, place: usize) -> Result<(), Difference> {
        let seen = self.sides.each_mut().map(|side| {
            let received = side.connection(place).receive();
            let text = received.map_or_else(|error| error.to_string(), |item| side.normal.incoming(&item));
            vec![(0, text)]
        });
        compare(place, &Step::Burst(Vec::new()), &seen)
    }

    /// Names of the two servers.
    pub fn names(&self) -> [Kind; 2] {
        self.sides.each_ref().map(|side| side.server.kind())
    }
}

/// True if other sessions may get events of `step`.
fn changes(step: &Step) -> bool {
    let Step::Burst(requests) = step else { return !matches!(step, Step::Attach(_)) };
    requests.iter().any(|request| {
        !matches!(
            request,
            Request::Exists { .. }
                | Request::GetData { .. }
                | Request::GetAcl { .. }
                | Request::GetChildren { .. }
                | Request::GetChildren2 { .. }
                | Request::Sync { .. }
                | Request::Ping
                | Request::MultiRead { .. }
                | Request::CheckWatches { .. }
                | Request::RemoveWatches { .. }
                | Request::AddWatch { .. }
                | Request::SetWatches { .. }
                | Request::SetWatches2 { .. }
                | Request::GetEphemerals { .. }
                | Request::GetAllChildrenNumber { .. }
                | Request::WhoAmI
        )
    })
}

fn compare(place: usize, step: &Step, seen: &[Seen; 2]) -> Result<(), Difference> {
    let [a, b] = seen;
    // Two timeouts would be equal, and hide that nothing was compared.
    let silent =
        |item: Option<&(i64, String)>| item.is_some_and(|item| item.1.starts_with("no answer within"));
    let differs = (0..a.len().max(b.len()))
        .find(|&i| a.get(i).map(|x| &x.1) != b.get(i).map(|x| &x.1) || silent(a.get(i)));
    let Some(at) = differs else { return Ok(()) };
    let line = |seen: &Seen, i: usize| seen.get(i).map_or("(nothing)".into(), |item| item.1.clone());
    let mut text = format!("the session in place {place} got different answers or events\n");
    for i in at.saturating_sub(2)..at {
        text += &format!("  both:  {}\n", line(a, i));
    }
    text += &format!("  first:  {}\n  second: {}\n", line(a, at), line(b, at));
    text += &match step {
        Step::Burst(requests) => {
            // Events count as items too: the request that differs is the one with as many replies before it.
            let before = a[..at.min(a.len())].iter().filter(|item| item.1.starts_with("reply")).count();
            let shown = requests.iter().enumerate().take(before + 1).skip(before.saturating_sub(3));
            let lines: Vec<String> =
                shown.map(|(i, r)| format!("  request {i}: {}", show_request(r))).collect();
            format!("in a burst of {}:\n{}", requests.len(), lines.join("\n"))
        }
        Step::Break(bytes) => format!("after {} bytes {:02x?}", bytes.len(), &bytes[..bytes.len().min(64)]),
        Step::Last(request) => show_request(request),
        Step::Attach(attach) => format!("{attach:?}"),
    };
    Err(Difference { text })
}

/// A step as text, with one request per line.
pub fn show_step(step: &Step) -> String {
    match step {
        Step::Burst(requests) => requests.iter().map(show_request).collect::<Vec<_>>().join("\n   "),
        Step::Last(request) => format!("last {}", show_request(request)),
        Step::Break(bytes) => format!("break {bytes:02x?}"),
        Step::Attach(attach) => format!("{attach:?}"),
    }
}

/// A request as text. Byte strings become text, and long ones are cut.
pub fn show_request(request: &Request) -> String {
    let debug = format!("{request:?}");
    let mut text = String::new();
    let mut rest = debug.as_str();
    // A `Vec<u8>` prints as `[47, 97]`, so a list of numbers becomes a string.
    while let Some(open) = rest.find('[') {
        let (before, list) = rest.split_at(open);
        text += before;
        let close = list.find(']').map_or(list.len(), |at| at + 1);
        let numbers: Option<Vec<u8>> = list[1..close.max(2) - 1]
            .split(", ")
            .filter(|part| !part.is_empty())
            .map(|part| part.parse().ok())
            .collect();
        match numbers {
            Some(bytes) if close > 1 => {
                text += &super::normal::show(&bytes[..bytes.len().min(80)]);
                rest = &list[close..];
            }
            _ => {
                text.push('[');
                rest = &list[1..];
            }
        }
    }
    text + rest
}
