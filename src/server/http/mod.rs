//! HTTP on a thread of its own: the commands of the AdminServer, what probes ask, and metrics. What it serves is on the page on
//! [HTTP](crate::docs::http).
//!
//! ```text
//! zkfast-http: accept -> connection (bounds) -> router -> site -> ask ---> commit thread -> every view
//!                                                          \<- Status, rendered beside this thread
//!                                                  \-> browse -> the first view
//! ```
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the thread: it binds the port, and accepts |
//! | `connection.rs` | one connection, its time limits, and which one goes where there are too many |
//! | `stream.rs` | a socket that notes when bytes moved, and a body in pieces |
//! | `client.rs` | the other side, for commands of `zkfast` |
//! | `https.rs` | TLS of the same port |
//! | `router.rs` | method and path into what is asked |
//! | `site.rs` | the answers |
//! | `transfer.rs` | `snapshot` and `restore`: whole trees |
//! | `export.rs` | a snapshot in ZooKeeper's form, on its way to a client |
//! | `import.rs` | one from a client: received, read and checked |
//! | `hand_over.rs` | what `hand_over` asks for, and how long it waits |
//! | `shed.rs` | what `shed_connections` asks for |
//! | `authorization.rs` | who a request comes from, and what that may do |
//! | `console.rs` | the files of the console |
//! | `api.rs` | what the console asks beside commands and metrics |
//! | `ask.rs` | questions to the server: how many at once, how long they may take, what was answered last |
//!
//! Nothing that a client of it sends reaches another thread but a question, an order, or a tree to restore, so the client port never waits for it. The
//! thread yields to all others (nice 10).

mod api;
mod ask;
mod authorization;
mod client;
mod connection;
mod console;
mod export;
mod hand_over;
mod https;
mod import;
mod router;
mod shed;
mod site;
mod stream;
mod transfer;

pub use ask::Server;
pub use client::{Asked, ask};

use self::https::Https;
use super::logging::{Text, provoked};
use super::start_up::StartUp;
use super::{Clock, binding, helper};
use crate::config::{AdminConfig, Config, MetricsConfig};
use connection::Connections;
use log::Level;
use site::{Port, Site};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;

/// How much less of a core than other threads it gets: `nice`.
const NICE: i32 = 10;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 128;

/// Threads beside this one that read files and render answers.
const RENDERERS: usize = 2;

/// The pause after an error of accept.
const PAUSE: Duration = Duration::from_millis(100);

/// The HTTP server, for the thread that starts everything.
#[derive(Debug)]
pub struct Http {
    server: Arc<OnceLock<Server>>,
}

impl Http {
    /// Starts the thread, if the configuration asks for one. A port that cannot be had is a warning: clients are served
    /// without HTTP.
    pub fn start(config: &Config, start_up: Arc<StartUp>, clock: Clock) -> Self {
        let server = Arc::new(OnceLock::new());
        if config.http_ports() > 0 {
            let (config, asked) = (config.clone(), server.clone());
            let main = move || run(&config, || Site::new(&config, asked, start_up, clock));
            if let Err(error) = helper::spawn("zkfast-http", main) {
                log::warn!(target: "http", "not served: no thread: error={}", Text(&error));
            }
        }
        Self { server }
    }

    /// The data is read, and from here on the server answers questions.
    pub fn serving(&self, server: Server) {
        let is_first = self.server.set(server).is_ok();
        assert!(is_first, "a server starts once");
    }
}

fn run(config: &Config, site: impl FnOnce() -> Site) {
    // A thread of its own is not urgent; one that cannot be made less so is.
    let _ = rustix::process::setpriority_process(None, NICE);
    if let Err(error) = serve(config, site) {
        log::warn!(target: "http", "not served: error={}", Text(&error));
    }
}

/// Serves the ports that the configuration asks for and that can be had.
fn serve(config: &Config, site: impl FnOnce() -> Site) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(RENDERERS)
        .thread_name("zkfast-http-out")
        .build()?;
    let https = Https::new(&config.admin);
    if let Err(why) = &https {
        log::warn!(target: "http", "not served: admin.serverPort={} why={} then={}", config.admin.port, Text(why),
            Text("clients are served all the same"));
    }
    let (admin, metrics) = {
        let _entered = runtime.enter();
        let admin = https.is_ok().then(|| admin_listener(&config.admin)).flatten();
        (admin, metrics_listener(&config.metrics))
    };
    let https = https.ok().flatten().map(Rc::new);
    let (site, idle) = (Rc::new(site()), Duration::from_millis(config.admin.idle_timeout_ms.into()));
    let all = tokio::task::LocalSet::new();
    for (listener, port, https) in [(admin, Port::Admin, https), (metrics, Port::Metrics, None)] {
        if let Some(listener) = listener {
            all.spawn_local(accept(listener, site.clone(), Rc::new(Connections::new(port, https, idle))));
        }
    }
    runtime.block_on(all);
    Ok(())
}

/// The port of the AdminServer, if it is asked for and can be had.
fn admin_listener(admin: &AdminConfig) -> Option<TcpListener> {
    if !admin.enabled {
        return None;
    }
    let bound = bind(&admin.address, admin.port);
    if let Err(error) = &bound {
        log::warn!(target: "http", "not served: admin.serverAddress={} admin.serverPort={} error={} do={}",
            Text(&admin.address), admin.port, Text(error),
            Text("set admin.serverPort to a free port or admin.enableServer=false; clients are served all the same"));
    }
    let (listener, address) = bound.ok()?;
    log::info!(target: "http", "serving: address={address} commands={}", Text(&admin.command_url));
    Some(listener)
}

/// The port of the metrics provider, likewise.
fn metrics_listener(metrics: &MetricsConfig) -> Option<TcpListener> {
    if !metrics.prometheus {
        return None;
    }
    let bound = bind(&metrics.http_host, metrics.http_port);
    if let Err(error) = &bound {
        log::warn!(target: "http", "no metrics: metricsProvider.httpHost={} metricsProvider.httpPort={} error={} do={}",
            Text(&metrics.http_host), metrics.http_port, Text(error),
            Text("set metricsProvider.httpPort to a free port; the admin port has /metrics too"));
    }
    let (listener, address) = bound.ok()?;
    log::info!(target: "http", "serving: address={address} metrics=/metrics");
    Some(listener)
}

/// Listens where the configuration says. An address that stands for every one does so for both families, as in Java.
fn bind(host: &str, port: u16) -> io::Result<(TcpListener, SocketAddr)> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let ip = binding::resolve(host)?.ok_or_else(none)?;
    let listener = binding::bind(Some(ip).filter(|ip| !ip.is_unspecified()), port, Some(BACKLOG), false)?;
    let listener = TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn accept(listener: TcpListener, site: Rc<Site>, connections: Rc<Connections>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                connections.make_room().await;
                connections.serve(stream, peer, site.clone());
            }
            Err(error) => {
                let line = format_args!("accept failed: error={}", Text(&error));
                provoked(Level::Warn, "http", "accept failed", "error of the system", line);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
