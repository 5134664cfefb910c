//! HTTP on a thread of its own: the commands of the AdminServer, and what probes ask. What it serves is on the page on
//! [HTTP](crate::docs::http).
//!
//! ```text
//! zkfast-http: accept -> connection (bounds) -> router -> site -> ask ---> commit thread -> every view
//!                                                          \<- Status, rendered beside this thread
//! ```
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the thread: it binds the port, and accepts |
//! | `connection.rs` | one connection, its time limits, and which one goes where there are too many |
//! | `stream.rs` | a socket that notes when bytes moved, and a body in pieces |
//! | `router.rs` | method and path into what is asked |
//! | `site.rs` | the answers |
//! | `ask.rs` | questions to the server: how many at once, how long they may take, what was answered last |
//!
//! Nothing that a client of it sends reaches another thread but a question, so the client port never waits for it. The
//! thread yields to all others (nice 10).

mod ask;
mod connection;
mod router;
mod site;
mod stream;

pub use ask::Server;

use super::logging::{Text, provoked};
use super::start_up::StartUp;
use super::{Clock, helper, listener};
use crate::config::{AdminConfig, Config};
use connection::Connections;
use log::Level;
use site::Site;
use std::io;
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
        if config.admin.enabled {
            let (admin, facts) = (config.admin.clone(), site::facts(config));
            let asked = server.clone();
            let main = move || run(&admin, |admin| Site::new(admin, facts, asked, start_up, clock));
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

fn run(admin: &AdminConfig, site: impl FnOnce(&AdminConfig) -> Site) {
    // A thread of its own is not urgent; one that cannot be made less so is.
    let _ = rustix::process::setpriority_process(None, NICE);
    let served = bind(admin).and_then(|listener| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(RENDERERS)
            .thread_name("zkfast-http-out")
            .build()?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let address = listener.local_addr()?;
        log::info!(target: "http", "serving: address={address} commands={}", Text(&admin.command_url));
        let connections = Rc::new(Connections::new(Duration::from_millis(admin.idle_timeout_ms.into())));
        let site = Rc::new(site(admin));
        tokio::task::LocalSet::new().block_on(&runtime, accept(listener, site, connections));
        Ok(())
    });
    if let Err(error) = served {
        log::warn!(target: "http", "not served: admin.serverAddress={} admin.serverPort={} error={} do={}",
            Text(&admin.address), admin.port, Text(&error),
            Text("set admin.serverPort to a free port or admin.enableServer=false; clients are served all the same"));
    }
}

/// Listens where the configuration says. An address that stands for every one does so for both families, as in Java.
fn bind(admin: &AdminConfig) -> io::Result<std::net::TcpListener> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let ip = listener::resolve(&admin.address)?.ok_or_else(none)?;
    listener::bind(Some(ip).filter(|ip| !ip.is_unspecified()), admin.port, Some(BACKLOG), false)
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
