//! The answers.

use super::super::Clock;
use super::super::process::own_process;
use super::super::start_up::StartUp;
use super::api::{self, Asked};
use super::ask::{Asker, NoAnswer, Row, Server};
use super::authorization;
use super::console;
use super::export;
use super::hand_over;
use super::import;
use super::router::{COMMAND_METHODS, Route, Subject, metrics_route, parameter, route};
use super::shed::Wanted;
use super::stream::Pieces;
use super::transfer::{Refusal, Restoring, Snapshot, Transfers};
use crate::admin::{
    self, Command, Exporter, Facts, FourLetterWord, Health, Member, Mode, Observer, Progress, Shedding,
    Status,
};
use crate::config::{Config, Shown};
use crate::proto::{Acl, Zxid};
use bytes::Bytes;
use hyper::body::Body;
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How old the last thing that the server said may be for `/ready` where it does not answer now: a disk that stands still
/// for a moment is no reason to send clients elsewhere.
const READY_AGE_MAX: Duration = Duration::from_secs(5);

/// Why no connection is shed.
const NO_OTHER: &str = "this server is alone or without a leader: its clients have no other server to go to";

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";
const HTML: &str = "text/html;charset=utf-8";
const PLAIN: &str = "text/plain;charset=utf-8";

/// An answer before it is a response.
struct Answer {
    status: StatusCode,
    kind: &'static str,
    body: Pieces,
    /// What the path knows, of an answer to a method that it does not know.
    allow: Option<&'static str>,
    /// Headers of the command's own.
    headers: Vec<(&'static str, String)>,
    /// Whether a browser may take it for a page of its own.
    is_page: bool,
}

impl Answer {
    fn new(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status, kind, body: Pieces::new(body), allow: None, headers: Vec::new(), is_page: false }
    }

    fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::new(status, JSON, body)
    }

    /// A file of the console.
    fn page(kind: &'static str, body: &'static str) -> Self {
        Self { is_page: true, ..Self::new(StatusCode::OK, kind, body) }
    }

    fn error(status: StatusCode, why: &str) -> Self {
        Self::new(status, PLAIN, format!("{status}: {why}\n"))
    }

    fn allowing(self, methods: &'static str) -> Self {
        Self { allow: Some(methods), ..self }
    }

    fn into_response(self) -> Response<Pieces> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
        set(CONTENT_TYPE, self.kind);
        set(X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(CACHE_CONTROL, "no-store");
        if let Some(methods) = self.allow {
            set(ALLOW, methods);
        }
        if self.is_page {
            console::HEADERS.into_iter().for_each(|(name, value)| _ = set(name, value));
        }
        for (name, value) in self.headers {
            let value = HeaderValue::from_str(&value).expect("digits");
            headers.insert(HeaderName::from_static(name), value);
        }
        response
    }
}

/// Which port a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// `admin.serverPort`: everything.
    Admin,
    /// `metricsProvider.httpPort`: `/metrics` alone.
    Metrics,
}

/// What is served.
#[derive(Debug)]
pub struct Site {
    command_url: String,
    facts: Arc<Facts>,
    asker: Asker,
    start_up: Arc<StartUp>,
    clock: Clock,
    /// Observers as they were when `observer_connection_stat_reset` was asked last.
    observers_before: RefCell<Vec<Observer>>,
    exporter: RefCell<Exporter>,
    /// What became of the settings, where there is a console.
    console: Option<Shown>,
    /// Whether the page of metrics has those of the process.
    exports_process: bool,
    /// `zkfast.slowRequestThresholdMs`
    slow_request_ms: u64,
    /// Requests by command, since the start.
    requests: RefCell<BTreeMap<&'static str, u64>>,
    transfers: Transfers,
}

/// What does not change while the server runs.
fn facts(config: &Config) -> Facts {
    let mut properties = config.admin.shown.properties.clone();
    properties.extend(super::super::environment::properties());
    properties.sort_unstable();
    let ensemble = || config.quorum.ensemble.clone();
    let id = config.quorum.my_id.filter(|_| config.is_distributed());
    Facts {
        initial_configuration: config.admin.shown.file.clone(),
        properties,
        member: id.map(|id| Member { id, ensemble: ensemble() }),
        last_snapshot: None,
    }
}

impl Site {
    /// What `server` says once it is there, and `start_up` before.
    pub fn new(config: &Config, server: Arc<OnceLock<Server>>, start_up: Arc<StartUp>, clock: Clock) -> Self {
        let facts = facts(config);
        Self {
            command_url: config.admin.command_url.clone(),
            facts: Arc::new(facts),
            asker: Asker::new(server),
            start_up,
            clock,
            observers_before: RefCell::default(),
            exporter: RefCell::default(),
            console: config.admin.console.then(|| config.admin.shown.clone()),
            exports_process: config.metrics.export_jvm_info,
            slow_request_ms: config.slow_request_ms.into(),
            requests: RefCell::default(),
            transfers: Transfers::new(&config.admin),
        }
    }

    /// Answers a request. Its body is not read, but for that of `restore`.
    pub async fn answer<B>(&self, request: Request<B>, peer: SocketAddr, port: Port) -> Response<Pieces>
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        let began = Instant::now();
        let (head, body) = request.into_parts();
        let (method, uri) = (&head.method, &head.uri);
        let route = match port {
            Port::Admin => route(method, uri.path(), uri.query(), &self.command_url),
            Port::Metrics => metrics_route(method, uri.path(), uri.query()),
        };
        let answer = match route {
            Route::Metrics { names } => self.metrics(&names).await,
            Route::NotFound if port == Port::Metrics => {
                Answer::error(StatusCode::NOT_FOUND, "this port has /metrics alone")
            }
            Route::Index => self.index(&head.headers),
            Route::Console { name } => self.file(&name),
            Route::Api { subject, query } => self.api(subject, &query, &head.headers).await,
            Route::Live => Answer::json(StatusCode::OK, admin::live(self.uptime_ms())),
            Route::Ready => self.ready().await,
            Route::StartUp => self.started().await,
            Route::Links => Answer::new(StatusCode::OK, HTML, admin::links(&self.command_url)),
            Route::Command { name, query, is_post } => match Command::find(&name) {
                Some(Command::Snapshot) => self.snapshot(&name, &query, is_post, &head.headers, peer).await,
                Some(Command::ShedConnections) => {
                    self.shed(&name, &query, is_post, &head.headers, peer).await
                }
                Some(Command::HandOver) => self.hand_over(&name, &query, is_post, &head.headers, peer).await,
                Some(Command::Restore) => self.restore(&name, is_post, &head.headers, body, peer).await,
                _ => self.command(&name, &query, is_post).await,
            },
            Route::Options => Answer::new(StatusCode::OK, PLAIN, "").allowing(COMMAND_METHODS),
            Route::NotFound => Answer::error(StatusCode::NOT_FOUND, "/ lists what there is"),
            Route::BadPath => {
                Answer::error(StatusCode::BAD_REQUEST, "the path is not encoded in UTF-8 and %XX")
            }
            Route::NotAllowed(methods) => {
                Answer::error(StatusCode::METHOD_NOT_ALLOWED, methods).allowing(methods)
            }
            Route::Forbidden => Answer::error(StatusCode::FORBIDDEN, "no TRACE here"),
            Route::NotImplemented => Answer::error(StatusCode::NOT_IMPLEMENTED, COMMAND_METHODS),
        };
        log::debug!(target: "http", "answered: peer={peer} method={method} path={} status={} took_ms={}",
            admin::Text(uri.path()), answer.status.as_u16(), began.elapsed().as_millis());
        answer.into_response()
    }

    /// The console for a browser, and a list for everything else.
    fn index(&self, headers: &HeaderMap) -> Answer {
        let accepts = headers.get(ACCEPT).map_or(&b""[..], HeaderValue::as_bytes);
        if self.console.is_some() && console::wants_page(accepts) {
            return Answer::page(HTML, console::PAGE);
        }
        let console = if self.console.is_some() { "/  in a browser: the console\n" } else { "" };
        let list = format!(
            "zkfast {}\n\n\
             {}  commands, with JSON as ZooKeeper's AdminServer\n\
             /live  200 while the process runs\n\
             /startup  200 once the server has served, 503 with how far it is before\n\
             /ready  200 while clients are served, 503 with the reasons otherwise\n\
             /metrics  for Prometheus\n{console}",
            env!("CARGO_PKG_VERSION"),
            self.command_url
        );
        Answer::new(StatusCode::OK, PLAIN, list)
    }

    /// A file of the console.
    fn file(&self, name: &str) -> Answer {
        match console::file(name).filter(|_| self.console.is_some()) {
            Some((kind, text)) => Answer::page(kind, text),
            None => Answer::error(StatusCode::NOT_FOUND, "/ lists what there is"),
        }
    }

    /// What the console asks.
    async fn api(&self, subject: Subject, query: &str, headers: &HeaderMap) -> Answer {
        let answered = match (&self.console, subject) {
            (None, _) => return Answer::error(StatusCode::NOT_FOUND, "admin.console.enabled is false"),
            (Some(shown), Subject::Settings) => Ok(api::settings(&self.command_url, shown)),
            (Some(_), Subject::Ensemble) => self.ensemble().await,
            (Some(_), Subject::Znode | Subject::Children) => self.browse(subject, query, headers).await,
        };
        match answered {
            Ok(body) => Answer::json(StatusCode::OK, body),
            Err(refusal) => Answer::json(refusal.status, refusal.json()),
        }
    }

    /// The servers of the ensemble.
    async fn ensemble(&self) -> Result<Vec<u8>, api::Refusal> {
        // The word whose answer is least.
        let asked = self.asker.ask(FourLetterWord::Gtmk, None, Row::Short).await;
        let (status, _turn) = asked.map_err(api::Refusal::unavailable)?;
        let version = self.asker.server().map_or("", |server| server.about.version());
        let member = self.facts.member.as_ref().map(|member| member.now(&status));
        Ok(admin::ensemble(version, &status, member.as_ref()))
    }

    /// A znode, or children of one.
    async fn browse(
        &self,
        subject: Subject,
        query: &str,
        headers: &HeaderMap,
    ) -> Result<Vec<u8>, api::Refusal> {
        let asked = Asked::read(subject, query)?;
        let browser = self.asker.server().and_then(|server| server.browser.as_ref());
        let browser = browser.ok_or_else(|| api::Refusal::unavailable(NoAnswer::Starting))?;
        let ids =
            authorization::ids_or_none(&browser.policy, headers).map_err(api::Refusal::not_authenticated)?;
        let browsed =
            self.asker.browse(browser, asked.browse(ids)).await.map_err(api::Refusal::unavailable)?;
        asked.answer(browsed)
    }

    /// Whether a path asks for a whole tree, or brings one.
    pub fn is_transfer(&self, path: &str) -> bool {
        match route(&Method::GET, path, None, &self.command_url) {
            Route::Command { name, .. } => {
                matches!(Command::find(&name), Some(Command::Snapshot | Command::Restore))
            }
            _ => false,
        }
    }

    fn uptime_ms(&self) -> u64 {
        self.clock.mono_us() as u64 / 1000
    }

    fn progress(&self) -> Progress {
        self.start_up.progress(self.uptime_ms())
    }

    async fn ready(&self) -> Answer {
        let said = self.asker.said().await;
        let health = self.asker.server().map(|_| Health {
            last: said.as_ref().map(|said| &*said.status),
            age_ms: said.as_ref().map_or(0, |said| said.age().as_millis() as u64),
            age_max_ms: READY_AGE_MAX.as_millis() as u64,
            is_stopping: self.asker.is_stopping(),
        });
        let (is_ready, body) = admin::ready(health, &self.progress());
        Answer::json(ok_or_unavailable(is_ready), body)
    }

    async fn started(&self) -> Answer {
        if !self.asker.has_served() {
            self.asker.said().await;
        }
        let has_started = self.asker.has_served();
        Answer::json(ok_or_unavailable(has_started), admin::started(has_started, &self.progress()))
    }

    /// A page for Prometheus.
    async fn metrics(&self, names: &[String]) -> Answer {
        let (status, turn) = match self.asker.ask(FourLetterWord::Mntr, None, Row::Short).await {
            Ok(answered) => answered,
            Err(why) => return Answer::error(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()),
        };
        let (cell, exports_process) = (self.asker.cell(), self.exports_process);
        // It reads files, so it may wait for a disk.
        let gather = move || (gathered(status, exports_process, cell.get()), turn);
        let Ok((mut status, _turn)) = tokio::task::spawn_blocking(gather).await else {
            return Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "the metrics were not gathered");
        };
        status.http_requests = self.requests.borrow().iter().map(|(name, count)| (*name, *count)).collect();
        let page = self.exporter.borrow_mut().render(&status, self.clock.mono_us(), names);
        Answer::new(StatusCode::OK, admin::CONTENT_TYPE, page)
    }

    /// Requests that took long, and sampled ones. No shard is asked: this is for when they do not answer.
    fn slow_requests(&self, name: &str) -> Answer {
        let Some(server) = self.asker.server() else {
            return Answer::json(StatusCode::OK, admin::no_answer(name, None));
        };
        let command = Command::SlowRequests.names()[0];
        Answer::json(StatusCode::OK, server.shared.traces().answer(self.slow_request_ms, command))
    }

    /// The server, what it says of itself and the root's access list, where it serves and the request may do everything; else
    /// the answer that says why not.
    async fn authorized(
        &self,
        command: Command,
        name: &str,
        headers: &HeaderMap,
        peer: SocketAddr,
    ) -> Result<(&Server, Box<Status>, Vec<Acl>), Answer> {
        self.count_request(command);
        // Of a command that 3.9 does not have, a script tells by the status alone that nothing is done.
        let not_yet = match command {
            Command::HandOver | Command::ShedConnections => StatusCode::CONFLICT,
            _ => StatusCode::OK,
        };
        let (server, status) = self.serving(name, not_yet).await?;
        match self.transfers.authorize(server, headers, peer.ip()).await {
            Ok(acl) => Ok((server, status, acl)),
            Err(Refusal { status, why }) => Err(Answer::json(status, admin::no_answer(name, Some(&why)))),
        }
    }

    /// Gives a tree, or has one stored.
    async fn snapshot(
        &self,
        name: &str,
        query: &str,
        is_post: bool,
        headers: &HeaderMap,
        peer: SocketAddr,
    ) -> Answer {
        let server = match self.authorized(Command::Snapshot, name, headers, peer).await {
            Ok((server, ..)) => server,
            Err(answer) => return answer,
        };
        if is_post {
            return wants(name, "GET");
        }
        // As `Boolean.parseBoolean`.
        let streaming = parameter(query, "streaming").is_none_or(|value| value.eq_ignore_ascii_case("true"));
        let taken = match self.transfers.snapshot(server, streaming).await {
            Ok(taken) => taken,
            Err(Refusal { status, why }) => return Answer::json(status, Command::Snapshot.refused(&why)),
        };
        let (zxid, bytes) = match &taken {
            Snapshot::Stored(zxid, bytes) => (*zxid, *bytes),
            Snapshot::Made(export, _) => (export.zxid, export.bytes),
        };
        let mut answer = match taken {
            Snapshot::Stored(..) => Answer::json(StatusCode::OK, Command::Snapshot.done(None)),
            Snapshot::Made(export, permit) => {
                let began = Instant::now();
                let sending = export::send(export, move |sent| {
                    let took_ms = began.elapsed().as_millis();
                    log::info!(target: "snapshot", "sent: peer={peer} zxid={zxid} bytes={sent} of={bytes} took_ms={took_ms}");
                    drop(permit);
                });
                Answer { body: Pieces::of_file(sending, bytes), ..Answer::new(StatusCode::OK, BYTES, "") }
            }
        };
        answer.headers = vec![("last_zxid", format!("0x{:x}", zxid.0)), ("snapshot_size", bytes.to_string())];
        answer
    }

    /// Takes a tree. A client that is refused is heard out, as far as that takes little.
    async fn restore<B>(
        &self,
        name: &str,
        is_post: bool,
        headers: &HeaderMap,
        body: B,
        peer: SocketAddr,
    ) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        let (server, own, restoring) = match self.may_restore(name, is_post, headers, peer).await {
            Ok(begun) => begun,
            Err(answer) => {
                import::pass_over(body).await;
                return answer;
            }
        };
        match self.transfers.restore(server, own, body, peer, restoring).await {
            Ok(zxid) => Answer::json(StatusCode::OK, Command::Restore.done(Some(zxid))),
            Err(Refusal { status, why }) => Answer::json(status, Command::Restore.refused(&why)),
        }
    }

    /// Whether a restore may begin; else the answer that says why not.
    async fn may_restore(
        &self,
        name: &str,
        is_post: bool,
        headers: &HeaderMap,
        peer: SocketAddr,
    ) -> Result<(&Server, Zxid, Restoring), Answer> {
        let (server, status, acl) = self.authorized(Command::Restore, name, headers, peer).await?;
        if !is_post {
            return Err(wants(name, "POST"));
        }
        let begun = self.transfers.check_restore(server, &acl);
        let refused = |Refusal { status, why }| Answer::json(status, Command::Restore.refused(&why));
        begun.map(|restoring| (server, status.zxid, restoring)).map_err(refused)
    }

    /// Has another server lead in place of this one.
    async fn hand_over(
        &self,
        name: &str,
        query: &str,
        is_post: bool,
        headers: &HeaderMap,
        peer: SocketAddr,
    ) -> Answer {
        let server = match self.authorized(Command::HandOver, name, headers, peer).await {
            Ok((server, ..)) => server,
            Err(answer) => return answer,
        };
        if !is_post {
            return wants(name, "POST");
        }
        let handed_over = match hand_over::to(query) {
            Ok(to) => {
                log::info!(target: "zab", "a hand-over is asked for: peer={peer} to={}",
                    to.map_or_else(|| "any".to_owned(), |sid| sid.to_string()));
                hand_over::hand_over(&server.hand_overs, to).await
            }
            Err(refusal) => Err(refusal),
        };
        match handed_over {
            Ok(leader) => Answer::json(StatusCode::OK, Command::handed_over(Some(leader), None)),
            Err(hand_over::Refusal { status, leader, why }) => {
                Answer::json(status, Command::handed_over(leader, Some(&why)))
            }
        }
    }

    /// Closes connections whose clients are to go to other servers; without POST it says how far that is.
    async fn shed(
        &self,
        name: &str,
        query: &str,
        is_post: bool,
        headers: &HeaderMap,
        peer: SocketAddr,
    ) -> Answer {
        if is_post {
            return match self.authorized(Command::ShedConnections, name, headers, peer).await {
                Ok((server, status, _)) => self.begin_shedding(server, &status, query, peer),
                Err(answer) => answer,
            };
        }
        self.count_request(Command::ShedConnections);
        match self.serving(name, StatusCode::OK).await {
            Ok((server, status)) => shedding(server, &status),
            Err(answer) => answer,
        }
    }

    fn begin_shedding(&self, server: &Server, status: &Status, query: &str, peer: SocketAddr) -> Answer {
        let refused = |status, why| Answer::json(status, Command::ShedConnections.refused(why));
        if !matches!(status.mode, Mode::Leader | Mode::Follower | Mode::Observer) {
            return refused(StatusCode::CONFLICT, NO_OTHER);
        }
        let connections = status.gauges.num_alive_connections;
        let to_shed = match Wanted::read(query) {
            Ok(wanted) => wanted.of(connections),
            Err(why) => return refused(StatusCode::BAD_REQUEST, &why),
        };
        server.shared.shedding.begin(to_shed, connections, self.clock.mono_us() / 1000);
        log::info!(target: "cnxn", "shedding: peer={peer} connections={to_shed} of={connections}");
        shedding(server, status)
    }

    /// The server and what it says of itself, where it serves; else the answer that says why not, with the status `not_yet` where
    /// it has no leader: 200 in Java, whose server is not there yet.
    async fn serving(&self, name: &str, not_yet: StatusCode) -> Result<(&Server, Box<Status>), Answer> {
        let none = |status, why| Answer::json(status, admin::no_answer(name, why));
        let not_yet = || none(not_yet, None);
        match self.asker.ask(FourLetterWord::Gtmk, None, Row::Short).await {
            Ok((status, _)) if status.serving => Ok((self.asker.server().ok_or_else(not_yet)?, status)),
            Ok(_) | Err(NoAnswer::Starting) => Err(not_yet()),
            Err(why) => Err(none(StatusCode::SERVICE_UNAVAILABLE, Some(&why.to_string()))),
        }
    }

    fn count_request(&self, command: Command) {
        *self.requests.borrow_mut().entry(command.names()[0]).or_default() += 1;
    }

    async fn command(&self, name: &str, query: &str, is_post: bool) -> Answer {
        let Some(command) = Command::find(name) else {
            return Answer::json(StatusCode::OK, admin::unknown(name));
        };
        self.count_request(command);
        if is_post {
            return wants(name, "GET");
        }
        if command == Command::SlowRequests {
            return self.slow_requests(name);
        }
        let mask = match command {
            Command::SetTraceMask => match Command::trace_mask(parameter(query, "traceMask").as_deref()) {
                Ok(mask) => Some(mask),
                Err(body) => return Answer::json(StatusCode::OK, body),
            },
            _ => None,
        };
        let row = if command.is_long() { Row::Long } else { Row::Short };
        let (mut status, turn) = match self.asker.ask(command.word(), mask, row).await {
            Ok(answered) => answered,
            // As Java, whose server is not there yet.
            Err(NoAnswer::Starting) => return Answer::json(StatusCode::OK, admin::no_answer(name, None)),
            Err(why) => {
                let body = admin::no_answer(name, Some(&why.to_string()));
                return Answer::json(StatusCode::SERVICE_UNAVAILABLE, body);
            }
        };
        match command {
            Command::ObserverConnectionStatReset => {
                self.observers_before.replace(std::mem::take(&mut status.observers));
            }
            Command::Observers => {
                let (before, observers) = (self.observers_before.borrow(), &mut status.observers);
                *observers = observers.drain(..).map(|observer| observer.since(&before)).collect();
            }
            _ => {}
        }
        let (facts, cell, typed) = (self.facts.clone(), self.asker.cell(), name.to_owned());
        let render = move || {
            let body = rendered(command, &typed, status, &facts, cell.get());
            // Of a short answer; that of a long one goes with it.
            (body, turn)
        };
        // A thread that panics ends the process.
        let Ok((body, turn)) = tokio::task::spawn_blocking(render).await else {
            return Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "the answer was not rendered");
        };
        let mut answer = Answer::json(StatusCode::OK, body);
        if row == Row::Long {
            answer.body.hold(turn);
        }
        answer
    }
}

/// What has become of the last order to shed connections.
fn shedding(server: &Server, status: &Status) -> Answer {
    let shed = server.shared.shedding.progress();
    let shedding = Shedding {
        connections: status.gauges.num_alive_connections,
        to_shed: shed.wanted,
        shed: shed.closed,
        is_under_way: shed.is_under_way,
    };
    Answer::json(StatusCode::OK, Command::shed(shedding))
}

/// The answer to another method.
fn wants(name: &str, method: &str) -> Answer {
    let body = admin::no_answer(name, Some(&format!("it wants {method}")));
    Answer::json(StatusCode::METHOD_NOT_ALLOWED, body).allowing(COMMAND_METHODS)
}

/// What metrics show of a server, with what only the shell knows.
fn gathered(mut status: Box<Status>, exports_process: bool, server: Option<&Server>) -> Box<Status> {
    if let Some(Server { about, shared, .. }) = server {
        about.fill_in(FourLetterWord::Mntr, &mut status, shared);
    }
    status.process = exports_process.then(own_process);
    status
}

/// The answer to a command, with what only the shell knows. It reads directories, so it may wait for a disk.
fn rendered(
    command: Command,
    typed: &str,
    mut status: Box<Status>,
    facts: &Facts,
    server: Option<&Server>,
) -> Vec<u8> {
    let Some(Server { about, shared, .. }) = server else { return admin::no_answer(typed, None) };
    about.fill_in(command.word(), &mut status, shared);
    if command.word() == FourLetterWord::Srst {
        shared.admission.forget_rejected();
    }
    match command {
        Command::LastSnapshot => {
            let facts = Facts { last_snapshot: about.last_snapshot(), ..facts.clone() };
            command.answer(typed, &status, &facts)
        }
        Command::Leader | Command::VotingView | Command::Zabstate => {
            let member = facts.member.as_ref().map(|member| member.now(&status));
            command.answer(typed, &status, &Facts { member, ..Facts::default() })
        }
        _ => command.answer(typed, &status, facts),
    }
}

fn ok_or_unavailable(is_ok: bool) -> StatusCode {
    if is_ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
