//! One connection, its time limits, and which one goes where there are too many.

use super::super::preflight::HTTP_CONNECTIONS_MAX;
use super::https::Https;
use super::site::{Port, Site};
use super::stream::Watched;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Bytes of a request's first line and headers. Source: `HttpConfiguration`, Jetty 9.4.
const HEADER_BYTES_MAX: usize = 8 << 10;

/// Headers of a request.
const HEADERS_MAX: usize = 64;

/// Bytes of a connection that are read before they are looked at: requests that follow one another without waiting for
/// answers go no further.
const BUFFER_BYTES: usize = 16 << 10;

/// From a whole request until its answer is sent; a client that takes longer to read it is disconnected.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// The same where a whole tree is the answer, or the body of the request.
const TRANSFER_MAX: Duration = Duration::from_secs(3600);

/// The connections that are open.
#[derive(Debug)]
pub struct Connections {
    port: Port,
    https: Option<Rc<Https>>,
    idle: Duration,
    next: Cell<u64>,
    open: RefCell<BTreeMap<u64, Open>>,
}

#[derive(Debug)]
struct Open {
    state: Rc<State>,
    task: Option<JoinHandle<()>>,
}

/// What a connection does.
#[derive(Debug)]
struct State {
    phase: Cell<Phase>,
    /// Since when it has been waiting for a request, or when the request came that it is about.
    since: Cell<Instant>,
    /// How long that request may take, until its answer is sent.
    answer_max: Cell<Duration>,
    /// When bytes moved last.
    moved: Rc<Cell<Instant>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No request has come whole.
    Waiting,
    /// The answer to one is being made.
    Answering,
    /// It is being sent.
    Sending,
}

impl State {
    /// When the connection has had its time, unless something happens.
    fn ends_at(&self, idle: Duration) -> Instant {
        let (still, at_last) = (self.moved.get() + idle, self.since.get() + self.answer_max.get());
        match self.phase.get() {
            Phase::Waiting => still,
            Phase::Answering => at_last,
            Phase::Sending => still.min(at_last),
        }
    }
}

/// A request under way; dropped when the last piece of its answer is with the connection.
#[derive(Debug)]
struct Busy(Rc<State>);

impl Busy {
    fn new(state: &Rc<State>, answer_max: Duration) -> Self {
        state.answer_max.set(answer_max);
        state.phase.set(Phase::Answering);
        state.since.set(Instant::now());
        Self(state.clone())
    }

    /// The answer is made.
    fn sends(&self) {
        self.0.phase.set(Phase::Sending);
        self.0.moved.set(Instant::now());
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.phase.set(Phase::Waiting);
        self.0.since.set(Instant::now());
    }
}

impl Connections {
    /// Connections to a port, which are closed when nothing has moved on them for `idle`.
    pub fn new(port: Port, https: Option<Rc<Https>>, idle: Duration) -> Self {
        Self { port, https, idle, next: Cell::new(0), open: RefCell::default() }
    }

    /// Closes a connection if one more would be too many: the one that has been without a request for longest, or, if all
    /// have one, the one whose request is the oldest.
    pub async fn make_room(&self) {
        let task = {
            let mut open = self.open.borrow_mut();
            let is_busy = |open: &Open| open.state.phase.get() != Phase::Waiting;
            let oldest = open.iter().min_by_key(|(_, open)| (is_busy(open), open.state.since.get()));
            let oldest = oldest.map(|(number, _)| *number).filter(|_| open.len() >= HTTP_CONNECTIONS_MAX);
            oldest.and_then(|number| open.remove(&number)?.task)
        };
        if let Some(task) = task {
            log::debug!(target: "http", "closed: why=crowded connections_max={HTTP_CONNECTIONS_MAX}");
            task.abort();
            // The socket is closed once the task has ended.
            let _ = task.await;
        }
    }

    /// Serves a connection, in a task of this thread.
    pub fn serve(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, site: Rc<Site>) {
        let number = self.next.replace(self.next.get() + 1);
        let now = Instant::now();
        let state = Rc::new(State {
            phase: Cell::new(Phase::Waiting),
            since: Cell::new(now),
            answer_max: Cell::new(ANSWER_MAX),
            moved: Rc::new(Cell::new(now)),
        });
        self.open.borrow_mut().insert(number, Open { state: state.clone(), task: None });
        let all = self.clone();
        let task = tokio::task::spawn_local(async move {
            all.serve_until_idle(stream, peer, site, state).await;
            all.open.borrow_mut().remove(&number);
        });
        if let Some(open) = self.open.borrow_mut().get_mut(&number) {
            open.task = Some(task);
        }
    }

    /// Serves a connection until it ends, or nothing has moved on it for too long.
    async fn serve_until_idle(&self, stream: TcpStream, peer: SocketAddr, site: Rc<Site>, state: Rc<State>) {
        let idle = self.idle;
        let served = async {
            if let Err(why) = self.serve_any(stream, peer, site, &state).await {
                log::debug!(target: "http", "closed: peer={peer} why={}", crate::admin::Text(&why));
            }
        };
        let overdue = async {
            loop {
                let (at, now) = (state.ends_at(idle), Instant::now());
                if at <= now {
                    return log::debug!(target: "http", "closed: peer={peer} why=idle");
                }
                // The phase may change meanwhile, and the end with it.
                tokio::time::sleep_until(at.min(now + idle).into()).await;
            }
        };
        futures_lite::future::or(pin!(served), pin!(overdue)).await;
    }

    /// Serves a connection with or without TLS.
    async fn serve_any(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        site: Rc<Site>,
        state: &Rc<State>,
    ) -> Result<(), Box<dyn Error>> {
        let https = match &self.https {
            Some(https) if https.is_for(&stream).await? => Some(https),
            _ => None,
        };
        let stream = Watched::new(stream, state.moved.clone());
        match https {
            Some(https) => {
                // Bytes that come one by one would put the end off for ever.
                let accepted = tokio::time::timeout(self.idle, https.accept(stream)).await;
                let accepted = accepted.map_err(|_| "the TLS handshake took too long")?;
                self.serve_http(accepted?, peer, site, state).await
            }
            None => self.serve_http(stream, peer, site, state).await,
        }
    }

    async fn serve_http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        peer: SocketAddr,
        site: Rc<Site>,
        state: &Rc<State>,
    ) -> Result<(), Box<dyn Error>> {
        let (asked, port) = (state.clone(), self.port);
        let service = service_fn(move |request: Request<Incoming>| {
            let answer_max = if site.is_transfer(request.uri().path()) { TRANSFER_MAX } else { ANSWER_MAX };
            let (site, busy) = (site.clone(), Busy::new(&asked, answer_max));
            async move {
                let mut answer = site.answer(request, peer, port).await;
                busy.sends();
                answer.body_mut().hold(busy);
                Ok::<_, Infallible>(answer)
            }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.idle)
            .max_headers(HEADERS_MAX)
            .max_header_size(HEADER_BYTES_MAX)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        Ok(served.await?)
    }
}
