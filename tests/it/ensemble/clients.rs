//! Clients that write and read while faults happen to the servers, and record what they see.

use super::history::{
    Call, Entry, FENCE, LOCK, Node, Op, Outcome, QUEUE, REGISTERS, Tree, Value, number_of, register,
};
use crate::harness::{ANSWER_TIMEOUT as HANGS, Random, wait_for};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use zkfast::client::net::{ClientError, Connect, Connection};
use zkfast::client::{Body, Incoming, Reply, Request};
use zkfast::proto::{Acl, OpCode, PASSWORD_BYTES, SessionId, Zxid};

/// A client that gets no answer for so long connects to another server.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);
/// The same for clients that only read. It is longer than any pause: a leader that was suspended while another was
/// elected finds their requests when it resumes, and must not answer them with stale data.
const PATIENT_TIMEOUT: Duration = Duration::from_secs(8);
/// Pause between two attempts to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(20);
/// How often one of the lockers abandons a session whose znode is in the queue of the lock.
const ABANDON_EVERY: Duration = Duration::from_secs(15);
/// When it abandons its first session.
const ABANDON_FIRST: Duration = Duration::from_secs(4);
/// Timeout of sessions that outlive every fault, and of sessions that may expire during one.
const LONG_SESSION_MS: i32 = 60_000;
const SHORT_SESSION_MS: i32 = 4_000;
/// Most requests of a client in flight.
const BATCH: usize = 6;
/// Percentage of creates and setDatas.
const WRITES_PERCENT: usize = 40;
/// Znodes that a walk over the tree reads at a time.
const WALK_BATCH: usize = 256;

/// [`Run::phase`] while clients work.
pub const RUN: u8 = 0;
/// [`Run::phase`] when clients must finish in order.
pub const FINISH: u8 = 1;
/// [`Run::phase`] when the test has failed: clients stop at once.
pub const ABORT: u8 = 2;

/// What all clients of a run share.
#[derive(Debug)]
pub struct Run {
    /// Client addresses of the servers.
    pub addresses: Vec<SocketAddr>,
    /// Time 0 of the history.
    pub begun: Instant,
    /// Seed of the clients' requests.
    pub seed: u64,
    /// [`RUN`], [`FINISH`] or [`ABORT`].
    pub phase: AtomicU8,
    /// Acknowledged writes of all clients.
    pub acknowledged: AtomicU64,
    /// How long a client may take to find a server after all faults.
    pub finish_within: Duration,
}

impl Run {
    /// Waits until clients have so many more acknowledged writes.
    pub fn wait_for_writes(&self, writes: u64) {
        let acknowledged = || self.acknowledged.load(Ordering::Relaxed);
        let enough = acknowledged() + writes;
        wait_for(HANGS, || match acknowledged() {
            count if count >= enough => Ok(()),
            count => Err(format!("{count} acknowledged writes, {enough} are wanted")),
        });
    }

    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }
}

/// Ends the clients if the test's own thread panics.
#[derive(Debug)]
pub struct AbortOnDrop<'a>(pub &'a Run);

impl Drop for AbortOnDrop<'_> {
    fn drop(&mut self) {
        if self.0.phase() == RUN {
            self.0.phase.store(ABORT, Ordering::Relaxed);
        }
    }
}

/// Creates the znodes that the clients use.
pub fn prepare(address: SocketAddr) {
    let mut connection =
        Connection::connect(address, &Connect::default(), HANGS).expect("a session in a whole ensemble");
    let registers = (0..REGISTERS).map(register);
    for path in registers.chain([QUEUE.to_owned(), LOCK.to_owned()]) {
        let reply = connection.call(&create(&path, Value::default(), 0), &mut Vec::new());
        assert_eq!(reply.expect("an answer").header.err, 0, "{path}");
    }
    connection.call(&Request::CloseSession, &mut Vec::new()).expect("an answer");
}

/// How long a reader waits for an answer that must not come.
const READER_TIMEOUT: Duration = Duration::from_secs(3);

/// A session at one server. It reads the first register after a sync.
#[derive(Debug)]
pub struct Reader(Connection);

impl Reader {
    /// Opens a session.
    pub fn new(address: SocketAddr) -> Self {
        let connect = Connect { timeout_ms: LONG_SESSION_MS, ..Connect::default() };
        Self(Connection::connect(address, &connect, HANGS).expect("a session in a whole ensemble"))
    }

    /// The register's version in a whole ensemble.
    pub fn read_synced(&mut self) -> i32 {
        self.read_synced_within(HANGS).expect("an answer of a whole ensemble")
    }

    /// The register's version; `None` if there is no answer within [`READER_TIMEOUT`].
    pub fn try_read_synced(&mut self) -> Option<i32> {
        self.read_synced_within(READER_TIMEOUT)
    }

    fn read_synced_within(&mut self, timeout: Duration) -> Option<i32> {
        let path = register(0).into_bytes();
        let sync = self.ask(&Request::Sync { path: path.clone() }, timeout)?;
        assert_eq!(sync.header.err, 0, "a sync fails only with its connection");
        match self.ask(&Request::GetData { path, watch: false }, timeout)?.body {
            Body::Data { stat, .. } => Some(stat.version),
            body => panic!("a register holds {body:?}"),
        }
    }

    fn ask(&mut self, request: &Request, timeout: Duration) -> Option<Reply> {
        self.0.queue(request);
        self.0.flush().ok()?;
        match self.0.receive_within(timeout).ok()? {
            Incoming::Reply(reply) => Some(reply),
            Incoming::Event(event) => panic!("an event without a watch: {event:?}"),
        }
    }
}

/// Writes the first register. Gives its new version.
pub fn overwrite(address: SocketAddr) -> i32 {
    let mut connection =
        Connection::connect(address, &Connect::default(), HANGS).expect("a session with a quorum");
    let request =
        Request::SetData { path: register(0).into(), data: Some(Value::default().bytes()), version: -1 };
    match connection.call(&request, &mut Vec::new()).expect("an answer").body {
        Body::Stat(stat) => stat.version,
        body => panic!("a setData is answered with {body:?}"),
    }
}

/// A client that reads and writes registers and creates sequential znodes, in batches. Gives its record. Every third such
/// client only reads, with a longer timeout for answers.
pub fn mixed(run: &Run, number: usize) -> Vec<Entry> {
    let mut client =
        Client::new(run, number, if number.is_multiple_of(3) { SHORT_SESSION_MS } else { LONG_SESSION_MS });
    let reads_only = number % 3 == 1;
    if reads_only {
        client.answer_timeout = PATIENT_TIMEOUT;
    }
    while run.phase() == RUN {
        if client.attach(None) {
            client.batch(reads_only);
            let pause = client.random.below(8) as u64;
            std::thread::sleep(Duration::from_millis(pause));
        }
    }
    client.finish();
    client.log
}

/// A client that takes the lock, writes the register that it guards, and releases it. Gives its record. One that
/// `abandons` lets a session expire now and then.
pub fn locker(run: &Run, number: usize, abandons: bool) -> Vec<Entry> {
    let mut client = Client::new(run, number, SHORT_SESSION_MS);
    client.abandons = abandons.then(|| run.begun + ABANDON_FIRST);
    while run.phase() == RUN {
        if client.attach(None) {
            client.lock();
        }
    }
    client.finish();
    client.log
}

/// A client with a session, which it replaces when the session ends.
struct Client<'a> {
    run: &'a Run,
    number: usize,
    random: Random,
    timeout_ms: i32,
    answer_timeout: Duration,
    ids: u64,
    connection: Option<Connection>,
    session: Option<(SessionId, [u8; PASSWORD_BYTES])>,
    last_zxid: Zxid,
    pending: VecDeque<(Call, u64)>,
    /// The newest version seen, per register.
    versions: [i32; REGISTERS],
    watched: [bool; REGISTERS],
    /// When this client abandons its next session, and the tokens of the znodes of sessions that it has abandoned.
    abandons: Option<Instant>,
    abandoned: Vec<i64>,
    log: Vec<Entry>,
}

impl<'a> Client<'a> {
    fn new(run: &'a Run, number: usize, timeout_ms: i32) -> Self {
        Self {
            run,
            number,
            random: Random(run.seed.wrapping_mul(1000) + number as u64),
            timeout_ms,
            answer_timeout: ANSWER_TIMEOUT,
            ids: 0,
            connection: None,
            session: None,
            last_zxid: Zxid::ZERO,
            pending: VecDeque::new(),
            versions: [0; REGISTERS],
            watched: [false; REGISTERS],
            abandons: None,
            abandoned: Vec::new(),
            log: Vec::new(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.run.begun.elapsed().as_nanos()).expect("a short run")
    }

    /// Connects the session to a server. False if that has not succeeded at `until`, or when the run ends.
    fn attach(&mut self, until: Option<Instant>) -> bool {
        loop {
            if self.connection.is_some() {
                return true;
            }
            let ends = until.map_or(self.run.phase() != RUN, |until| Instant::now() > until);
            if ends || self.run.phase() == ABORT {
                return false;
            }
            let server = self.random.below(self.run.addresses.len());
            let connect = Connect {
                timeout_ms: self.timeout_ms,
                session: self.session,
                last_zxid_seen: self.last_zxid,
                read_only: Some(false),
            };
            match Connection::connect(self.run.addresses[server], &connect, self.answer_timeout) {
                Ok(connection) => self.attached(connection, server + 1),
                Err(ClientError::Refused) => self.ended(),
                Err(ClientError::Protocol(error)) => self.broken(error.to_string()),
                Err(_) => std::thread::sleep(CONNECT_PAUSE),
            }
        }
    }

    fn attached(&mut self, connection: Connection, server: usize) {
        let (at, session) = (self.now(), connection.identity());
        self.session = Some(session);
        self.log.push(Entry::Attached { at, session: session.0, server });
        self.connection = Some(connection);
        let watched: Vec<Vec<u8>> =
            (0..REGISTERS).filter(|&key| self.watched[key]).map(|key| register(key).into()).collect();
        if !watched.is_empty() {
            let lists = [watched, Vec::new(), Vec::new()];
            self.queue(Call::Other, &Request::SetWatches { relative_zxid: self.last_zxid, lists });
        }
    }

    fn ended(&mut self) {
        let at = self.now();
        if let Some((session, _)) = self.session.take() {
            self.log.push(Entry::Ended { at, session });
        }
        self.connection = None;
        self.last_zxid = Zxid::ZERO;
        self.watched = [false; REGISTERS];
    }

    fn broken(&mut self, what: String) {
        let at = self.now();
        self.log.push(Entry::Broken { at, what });
    }

    fn queue(&mut self, call: Call, request: &Request) {
        let now = self.now();
        let connection = self.connection.as_mut().expect("attached");
        connection.queue(request);
        self.pending.push_back((call, now));
    }

    /// Sends queued requests and waits for all answers. False if the connection is lost.
    fn exchange(&mut self) -> bool {
        let mut last = None;
        self.exchange_for(&mut last)
    }

    fn exchange_for(&mut self, last: &mut Option<(Outcome, Body)>) -> bool {
        let connection = self.connection.as_mut().expect("attached");
        // Even if the write failed, answers to earlier requests may have arrived.
        let sent = connection.flush();
        while !self.pending.is_empty() {
            let connection = self.connection.as_mut().expect("attached");
            match connection.receive() {
                Ok(incoming) => self.incoming(incoming, last),
                Err(error) => {
                    self.lost(&error);
                    return false;
                }
            }
        }
        if let Err(error) = sent {
            self.lost(&error);
            return false;
        }
        true
    }

    /// Takes an event that arrives without a request.
    fn idle(&mut self) {
        let connection = self.connection.as_mut().expect("attached");
        match connection.receive_within(Duration::from_millis(1)) {
            Ok(incoming) => self.incoming(incoming, &mut None),
            Err(ClientError::Timeout(_)) => {}
            Err(error) => self.lost(&error),
        }
    }

    fn lost(&mut self, error: &ClientError) {
        if let ClientError::Protocol(error) = error {
            self.broken(error.to_string());
        }
        if let Some(connection) = self.connection.take() {
            self.last_zxid = self.last_zxid.max(connection.session().last_zxid());
            connection.shut_down();
        }
        let complete = self.now();
        for (call, invoke) in std::mem::take(&mut self.pending) {
            self.log.push(Entry::Op(Op { call, invoke, complete, outcome: Outcome::Unknown }));
        }
    }

    fn incoming(&mut self, incoming: Incoming, last: &mut Option<(Outcome, Body)>) {
        let at = self.now();
        match incoming {
            Incoming::Event(event) => {
                let path = String::from_utf8_lossy(&event.path).into_owned();
                match (0..REGISTERS).find(|&key| register(key) == path) {
                    Some(key) => {
                        self.watched[key] = false;
                        self.log.push(Entry::Event { at, key, zxid: event.zxid });
                    }
                    None => self.broken(format!("an event of {path}: {event:?}")),
                }
            }
            Incoming::Reply(reply) => {
                let (call, invoke) = self.pending.pop_front().expect("the session knows what it asked");
                let outcome = self.outcome(call, &reply);
                if let Call::Read { key, watch: true, .. } = call
                    && reply.header.err == 0
                {
                    self.watched[key] = true;
                }
                if matches!(outcome, Outcome::Written { .. } | Outcome::Created { .. }) {
                    self.run.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                self.log.push(Entry::Op(Op { call, invoke, complete: at, outcome }));
                *last = Some((outcome, reply.body));
            }
        }
    }

    fn outcome(&mut self, call: Call, reply: &Reply) -> Outcome {
        let zxid = reply.header.zxid;
        if reply.header.err != 0 {
            return Outcome::Refused { zxid, code: reply.header.err };
        }
        match (call, &reply.body) {
            (Call::Read { key, .. }, Body::Data { data, stat }) => {
                let Some(value) = data.as_deref().and_then(Value::read) else {
                    self.broken(format!("register {key} holds {data:?}"));
                    return Outcome::Unknown;
                };
                self.versions[key] = stat.version;
                Outcome::Read { zxid, version: stat.version, mzxid: stat.mzxid.to_wire(), value }
            }
            (Call::Write { key, .. }, Body::Stat(stat)) => {
                self.versions[key] = stat.version;
                Outcome::Written { zxid, version: stat.version, mzxid: stat.mzxid.to_wire() }
            }
            (Call::Append { .. } | Call::Enqueue, Body::Path(path)) => match number_of(path) {
                Some(number) => Outcome::Created { zxid, number },
                None => {
                    self.broken(format!(
                        "a sequential znode without number: {}",
                        String::from_utf8_lossy(path)
                    ));
                    Outcome::Unknown
                }
            },
            _ => Outcome::Done { zxid },
        }
    }

    fn value(&mut self, token: i64) -> Value {
        self.ids += 1;
        Value { id: ((self.number as u64 + 1) << 32) | self.ids, token }
    }

    fn read(&mut self, key: usize, watch: bool, synced: bool) {
        let call = Call::Read { key, watch, synced };
        // The read counts from the start of its sync.
        let path = register(key).into_bytes();
        if synced {
            self.queue(Call::Other, &Request::Sync { path: path.clone() });
        }
        self.queue(call, &Request::GetData { path, watch });
        if synced && let Some(&(_, begun)) = self.pending.iter().nth_back(1) {
            self.pending.back_mut().expect("just queued").1 = begun;
        }
    }

    fn write(&mut self, key: usize, expected: Option<i32>, token: i64) {
        let value = self.value(token);
        let request = Request::SetData {
            path: register(key).into(),
            data: Some(value.bytes()),
            version: expected.unwrap_or(-1),
        };
        self.queue(Call::Write { key, value, expected }, &request);
    }

    fn batch(&mut self, reads_only: bool) {
        for _ in 0..=self.random.below(BATCH) {
            let key = self.random.below(REGISTERS);
            let first = if reads_only { WRITES_PERCENT } else { 0 };
            match first + self.random.below(100 - first) {
                ..25 if key != FENCE => {
                    let expected = self.random.percent(50).then_some(self.versions[key]);
                    self.write(key, expected, 0);
                }
                25..WRITES_PERCENT => {
                    let value = self.value(0);
                    self.queue(Call::Append { value }, &create(&format!("{QUEUE}/s-"), value, 2));
                }
                WRITES_PERCENT..60 => self.read(key, false, true),
                _ => {
                    let watch = self.random.percent(40);
                    self.read(key, watch, false);
                }
            }
        }
        if self.exchange() && self.random.percent(30) {
            self.idle();
        }
    }

    /// Sends one request. Gives its outcome, which is unknown if the connection was lost; `None` if the session or the
    /// run ended.
    fn ask(&mut self, call: Call, request: &Request) -> Option<(Outcome, Body)> {
        let session = self.session?.0;
        self.queue(call, request);
        let mut last = None;
        if self.exchange_for(&mut last) {
            return last;
        }
        // The client may only go on without the session once a server has refused it.
        self.attach(None);
        if self.session.map(|(id, _)| id) != Some(session) || self.connection.is_none() {
            return None;
        }
        Some((Outcome::Unknown, Body::Empty))
    }

    /// Takes and releases the lock once. Where that fails, the session is closed, which deletes its znode.
    fn lock(&mut self) {
        let request = create(&format!("{LOCK}/l-"), Value::default(), 3);
        let Some((Outcome::Created { number: token, .. }, _)) = self.ask(Call::Enqueue, &request) else {
            // The znode may exist under a name that this client does not know.
            return self.end_session(None);
        };
        if self.abandons.is_some_and(|at| Instant::now() >= at) {
            return self.abandon(token);
        }
        if self.wait_for_turn(token).is_some() {
            let at = self.now();
            self.log.push(Entry::Granted { at, token });
            if self.write_under_lock(token).is_none() {
                return self.end_session(None);
            }
        } else {
            return self.end_session(None);
        }
        let request = Request::Delete { path: format!("{LOCK}/l-{token:010}").into(), version: -1 };
        let mut again = false;
        loop {
            match self.ask(Call::Release { token, again }, &request) {
                Some((Outcome::Unknown, _)) => again = true,
                Some(_) => return,
                None => return self.end_session(None),
            }
        }
    }

    /// Drops the connection without closing the session. The servers must expire it and delete its znode.
    fn abandon(&mut self, token: i64) {
        if let Some(connection) = self.connection.take() {
            connection.shut_down();
        }
        self.ended();
        self.abandoned.push(token);
        self.abandons = Some(Instant::now() + ABANDON_EVERY);
    }

    fn wait_for_turn(&mut self, token: i64) -> Option<()> {
        while self.run.phase() == RUN {
            // A stale answer does no harm: it is newer than the client's own create, so it has every earlier znode.
            let request = Request::GetChildren { path: LOCK.into(), watch: false };
            let (_, body) = self.ask(Call::Other, &request)?;
            if let Body::Paths(children) = body {
                let first = children.iter().filter_map(|name| number_of(name)).min();
                if first == Some(token) {
                    return Some(());
                }
            }
            std::thread::sleep(Duration::from_millis(4));
        }
        None
    }

    fn write_under_lock(&mut self, token: i64) -> Option<()> {
        for _ in 0..=self.random.below(3) {
            let read = Call::Read { key: FENCE, watch: false, synced: false };
            let request = Request::GetData { path: register(FENCE).into(), watch: false };
            let (outcome, _) = self.ask(read, &request)?;
            let Outcome::Read { version, value, .. } = outcome else { continue };
            if value.token > token {
                // A later holder has written: this session must have ended.
                return None;
            }
            let value = self.value(token);
            let call = Call::Write { key: FENCE, value, expected: Some(version) };
            let data = Some(value.bytes());
            self.ask(call, &Request::SetData { path: register(FENCE).into(), data, version })?;
            let pause = self.random.below(10) as u64;
            std::thread::sleep(Duration::from_millis(pause));
        }
        Some(())
    }

    /// Closes the session, and repeats that until it is known to be closed, until `until` or until the run ends.
    fn end_session(&mut self, until: Option<Instant>) {
        while self.session.is_some() && self.attach(until) {
            // `attach` has replaced a session that has expired.
            let connection = self.connection.as_mut().expect("attached");
            let mut events = Vec::new();
            match connection.call(&Request::CloseSession, &mut events) {
                Ok(_) => self.ended(),
                Err(error) => self.lost(&error),
            }
        }
    }

    /// Reads every register once more, which shows lost watches, and closes the session.
    fn finish(&mut self) {
        if self.run.phase() == ABORT {
            return;
        }
        let until = Instant::now() + self.run.finish_within;
        loop {
            if !self.attach(Some(until)) {
                self.broken("no server takes the session after all faults are over".to_owned());
                return;
            }
            for key in 0..REGISTERS {
                self.read(key, false, true);
            }
            if self.exchange() {
                break;
            }
        }
        self.wait_for_expiry(until);
        self.end_session(Some(until));
        if self.session.is_some() {
            self.broken("the session cannot be closed after all faults are over".to_owned());
        }
    }
}

impl Client<'_> {
    /// Waits until the abandoned sessions have expired. If a znode of theirs stays, the trees show it.
    fn wait_for_expiry(&mut self, until: Instant) {
        while !self.abandoned.is_empty() && Instant::now() < until && self.attach(Some(until)) {
            let request = Request::GetChildren { path: LOCK.into(), watch: false };
            if let Some((_, Body::Paths(children))) = self.ask(Call::Other, &request) {
                let there: Vec<i64> = children.iter().filter_map(|name| number_of(name)).collect();
                self.abandoned.retain(|token| there.contains(token));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn create(path: &str, value: Value, flags: i32) -> Request {
    Request::Create {
        op: OpCode::CREATE,
        path: path.into(),
        data: Some(value.bytes()),
        acl: vec![Acl::open()],
        flags,
        ttl_ms: -1,
    }
}

/// Reads all znodes of one server, after a sync.
///
/// # Errors
/// The connection failed; the caller may try again.
pub fn walk(address: SocketAddr) -> Result<Tree, ClientError> {
    let mut connection = Connection::connect(address, &Connect::default(), HANGS)?;
    connection.call(&Request::Sync { path: b"/".to_vec() }, &mut Vec::new())?;
    let mut tree = Tree::new();
    let mut waiting = vec![String::new()];
    while !waiting.is_empty() {
        let batch = waiting.split_off(waiting.len().saturating_sub(WALK_BATCH));
        for path in &batch {
            let path = if path.is_empty() { "/" } else { path };
            connection.queue(&Request::GetData { path: path.into(), watch: false });
            connection.queue(&Request::GetChildren { path: path.into(), watch: false });
        }
        connection.flush()?;
        for path in batch {
            let (data, children) = (receive(&mut connection)?, receive(&mut connection)?);
            if let Body::Data { data, stat } = data {
                tree.insert(if path.is_empty() { "/".to_owned() } else { path.clone() }, Node { data, stat });
            }
            if let Body::Paths(children) = children {
                let below = children.iter().map(|name| format!("{path}/{}", String::from_utf8_lossy(name)));
                waiting.extend(below);
            }
        }
    }
    connection.call(&Request::CloseSession, &mut Vec::new())?;
    Ok(tree)
}

fn receive(connection: &mut Connection) -> Result<Body, ClientError> {
    loop {
        if let Incoming::Reply(reply) = connection.receive()? {
            return Ok(reply.body);
        }
    }
}
