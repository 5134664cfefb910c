//! The port for clients where it may move: a reconfiguration that changes this server's own line moves it.
//!
//! A thread binds the new address and hands the socket to the task that accepts, which stays the same; then the old socket
//! ends, which wakes that task on every engine. Connections stay. Source: `NIOServerCnxnFactory.reconfigure`.

use super::binding::{backlog, bind_now, resolve};
use super::helper;
use super::logging::Text;
use crate::config::ClientAddress;
use crate::zab::quorum::in_brackets;
use socket2::SockRef;
use std::io;
use std::net::{IpAddr, Shutdown, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Between two tries to listen at the new address.
const PAUSE: Duration = Duration::from_secs(1);

/// Tries after which the log says again that the port does not move.
const TRIES_A_LINE: u32 = 30;

/// Options of the socket.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// `clientPortListenBacklog`
    pub backlog: Option<u32>,
    /// `clientTcpKeepAlive`
    pub keep_alive: bool,
}

/// See the module's page.
#[derive(Debug)]
pub struct ClientPort {
    options: Options,
    /// There is a socket to take, or the old one does not accept for a moment.
    is_moving: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Where clients are accepted.
    at: Option<ClientAddress>,
    /// A second descriptor of that socket.
    socket: Option<TcpListener>,
    /// For the task that accepts.
    next: Option<TcpListener>,
    /// Where they are to be accepted; a thread tries to bind it.
    wanted: Option<ClientAddress>,
    is_tried: bool,
}

/// With every interface as no host, however it is written.
fn plain(address: &ClientAddress) -> ClientAddress {
    let is_any = |host: &String| host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    ClientAddress { host: address.host.clone().filter(|host| !is_any(host)), port: address.port }
}

fn name(address: &ClientAddress) -> String {
    format!("{}:{}", in_brackets(address.host.as_deref().unwrap_or("0.0.0.0")), address.port)
}

impl ClientPort {
    /// The port at which `socket` listens; none yet where the server has no port for clients.
    ///
    /// # Errors
    /// The system gives no second descriptor.
    pub fn new(
        at: Option<ClientAddress>,
        socket: Option<&TcpListener>,
        options: Options,
    ) -> io::Result<Self> {
        let socket = socket.map(TcpListener::try_clone).transpose()?;
        let at = at.as_ref().map(plain);
        let state = Mutex::new(State { at, socket, next: None, wanted: None, is_tried: false });
        Ok(Self { options, is_moving: AtomicBool::new(false), state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the port, if clients may connect.
    pub fn number(&self) -> Option<u16> {
        self.state().socket.as_ref()?.local_addr().ok().map(|address| address.port())
    }

    /// Has clients accepted at another address, once that can be bound; returns at once.
    pub fn follow(self: &Arc<Self>, address: &ClientAddress) {
        let address = plain(address);
        let mut state = self.state();
        let is_there = state.at.as_ref() == Some(&address);
        state.wanted = (!is_there).then_some(address);
        if is_there || state.is_tried {
            return;
        }
        let port = self.clone();
        match helper::spawn("zkfast-listen", move || port.try_to_move()) {
            Ok(_) => state.is_tried = true,
            // The next change of the configuration tries again.
            Err(error) => {
                log::warn!(target: "listener", "no thread to move the client port: error={}", Text(error))
            }
        }
    }

    /// Tries until clients are accepted where they are to be.
    fn try_to_move(&self) {
        let (mut tried, mut tries) = (None, 0);
        while let Some(wanted) = self.wanted() {
            if tried.as_ref() != Some(&wanted) {
                (tried, tries) = (Some(wanted.clone()), 0);
            }
            let Err(error) = self.try_once(&wanted) else { continue };
            if tries % TRIES_A_LINE == 0 {
                log::warn!(target: "listener", "the client port does not move: address={} error={} then={}",
                    name(&wanted), Text(error), Text("clients connect where they did; tried again every second"));
            }
            tries += 1;
            std::thread::sleep(PAUSE);
        }
    }

    /// What the thread is to try; without anything, it is about to end.
    fn wanted(&self) -> Option<ClientAddress> {
        let mut state = self.state();
        state.is_tried = state.wanted.is_some();
        state.wanted.clone()
    }

    fn try_once(&self, wanted: &ClientAddress) -> io::Result<()> {
        let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let ip = wanted.host.as_deref().map(|host| resolve(host)?.ok_or_else(none)).transpose()?;
        // Until the end, so that the task that accepts closes the old socket's other descriptor after this one: epoll keeps
        // a socket for as long as it has one.
        let mut state = self.state();
        // It may have changed while a name was looked up.
        if state.wanted.as_ref() != Some(wanted) {
            return Ok(());
        }
        let bind = || bind_now(ip, wanted.port, self.options.backlog, self.options.keep_alive);
        let socket = match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let own = state.socket.as_ref();
                let own = own.filter(|own| own.local_addr().is_ok_and(|at| at.port() == wanted.port));
                self.bind_over(own.ok_or(error)?, bind)?
            }
            bound => bound?,
        };
        let second = socket.try_clone()?;
        (state.next, state.at, state.wanted) = (Some(socket), Some(wanted.clone()), None);
        self.is_moving.store(true, Ordering::Release);
        if let Some(old) = state.socket.replace(second) {
            // It may have ended already.
            let _ = SockRef::from(&old).shutdown(Shutdown::Both);
        }
        log::info!(target: "listener", "the client port has moved: address={}", name(wanted));
        Ok(())
    }

    /// Binds a port that this server itself has at another address: its old socket stops accepting meanwhile.
    fn bind_over(
        &self,
        own: &TcpListener,
        bind: impl Fn() -> io::Result<TcpListener>,
    ) -> io::Result<TcpListener> {
        self.is_moving.store(true, Ordering::Release);
        SockRef::from(own).shutdown(Shutdown::Both)?;
        let bound = bind();
        if bound.is_err() {
            SockRef::from(own).listen(backlog(self.options.backlog))?;
            self.is_moving.store(false, Ordering::Release);
        }
        bound
    }

    /// The socket at which clients are to be accepted from now on, if that has changed.
    pub fn take_next(&self) -> Option<TcpListener> {
        if !self.is_moving() {
            return None;
        }
        let mut state = self.state();
        let next = state.next.take();
        if next.is_some() {
            self.is_moving.store(false, Ordering::Release);
        }
        next
    }

    /// True where an error of the old socket is no news.
    pub fn is_moving(&self) -> bool {
        self.is_moving.load(Ordering::Acquire)
    }

    /// True once clients are accepted where they are to be.
    #[cfg(test)]
    pub fn is_settled(&self) -> bool {
        self.state().wanted.is_none() && !self.is_moving()
    }

    /// Clients are accepted no more.
    pub fn end(&self) {
        let mut state = self.state();
        (state.socket, state.next, state.wanted) = (None, None, None);
    }
}
