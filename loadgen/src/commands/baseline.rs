//! `loadgen floor`: what a request costs if the server only makes the reply.
//!
//! One thread, one epoll instance, no tree. What a server takes beyond this baseline, on the same machine and in the
//! same minute, is its own; what both take is the kernel's and loadgen's.

use crate::args;
use crate::commands::baseline_reply::{Client, End, Replies};
use crate::commands::blocks::Blocks;
use crate::engine::wire;
use crate::failure::Failure;
use crate::servers::open_files;
use clap::Args;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use zkfast::proto::FRAME_BYTES_MAX_DEFAULT;

/// Options of the command.
#[derive(Debug, Args)]
#[command(
    after_help = "It is no ZooKeeper: it has no tree, keeps no write, replies to every path alike, never expires a \
    session and knows one watched\nznode. It replies to what loadgen's get, set, mix, connect and watch ask for, so \
    that they find nothing wrong (connect,\nping, getData, setData, create, sync, closeSession), and to srvr and mntr. A yardstick: what a \
    server takes beyond it is the server's own.\n\n\
    With --dir, it replies to writes after one O_DIRECT write and one fdatasync for all that came at once.\n\n\
    Examples:\n  \
    loadgen floor --port 2182\n  \
    loadgen floor --port 2182 --dir /var/tmp\n  \
    loadgen compare --a localhost:2182 --b zkfast --workload get"
)]
pub struct Baseline {
    /// Port on the loopback address; 0 takes a free one, which it prints on stdout
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Bytes of the value of every getData: --value-bytes of the load
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = args::value_bytes)]
    value_bytes: u32,
    /// Makes writes durable in a file in this directory before it replies [default: not durable]
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Sockets that are served before the group is flushed.
const EVENTS: usize = 256;
/// Bytes that one read takes, after the start of a frame that came before.
const READ_BYTES: usize = 256 << 10;
/// Bytes of replies that wait for one socket. The connection of a client that asks for more without reading is closed.
const REPLIES_BYTES_MAX: usize = 64 << 20;
/// Descriptors in use; a connection with a higher one is closed.
const DESCRIPTORS_MAX: usize = 4096;

impl Baseline {
    /// Serves until SIGINT or SIGTERM.
    pub fn run(&self) -> Result<(), Failure> {
        open_files::raise_limit(DESCRIPTORS_MAX).map_err(Failure::Usage)?;
        self.serve().map_err(|error| Failure::Usage(format!("floor: {error}")))
    }

    fn serve(&self) -> io::Result<()> {
        let (end, signalled) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM] {
            signal_hook::low_level::pipe::register(signal, signalled.try_clone()?)?;
        }
        let mut server = Server::open(self.port, self.value_bytes, self.dir.as_deref())?;
        let mut stdout = io::stdout();
        writeln!(stdout, "floor: listening on {}", server.address()?)?;
        stdout.flush()?;
        server.run(&end)
    }
}

/// A client and its socket.
struct Connection {
    stream: TcpStream,
    client: Client,
    /// Bytes of its replies that the socket has taken.
    sent: usize,
    /// The socket is full: no request is read until it has taken all replies.
    is_full: bool,
    /// The start of a frame whose end has not arrived.
    partial: Vec<u8>,
}

/// The sockets, and what replies on them.
struct Server {
    listener: TcpListener,
    epoll: OwnedFd,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    /// Connections whose replies wait for the flush of the group.
    held: Vec<usize>,
    /// Connections that watch; some may be gone.
    watchers: Vec<usize>,
    replies: Replies,
    /// Sockets are read into this; a frame is decoded in place.
    scratch: Vec<u8>,
}

impl Server {
    fn open(port: u16, value_bytes: u32, dir: Option<&Path>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        let named = |dir: &Path, error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", dir.display()))
        };
        let blocks = dir.map(|dir| Blocks::create(dir).map_err(|error| named(dir, error))).transpose()?;
        Ok(Self {
            listener,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections: Vec::new(),
            held: Vec::new(),
            watchers: Vec::new(),
            replies: Replies::new(value_bytes, blocks),
            scratch: vec![0; FRAME_BYTES_MAX_DEFAULT + READ_BYTES],
        })
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `end` is readable or its other end is closed.
    fn run(&mut self, end: &UnixStream) -> io::Result<()> {
        let [listener_at, end_at] = [self.listener.as_raw_fd(), end.as_raw_fd()].map(|fd| fd as usize);
        for (fd, at) in [(self.listener.as_fd(), listener_at), (end.as_fd(), end_at)] {
            epoll::add(&self.epoll, fd, EventData::new_u64(at as u64), EventFlags::IN)?;
        }
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let at = event.data.u64() as usize;
                if at == end_at {
                    return Ok(());
                } else if at == listener_at {
                    self.accept()?;
                } else {
                    let done = self.on_ready(at);
                    self.close_ended(at, done)?;
                }
            }
            if !self.held.is_empty() {
                self.replies.flush()?;
            }
            if self.replies.take_change() {
                self.tell_watchers()?;
            }
            while let Some(at) = self.held.pop() {
                let done = self.send(at);
                self.close_ended(at, done)?;
            }
        }
    }

    /// Sends the event of a change to each connection that watches.
    fn tell_watchers(&mut self) -> io::Result<()> {
        for at in std::mem::take(&mut self.watchers) {
            let Some(Connection { client, .. }) = &mut self.connections[at] else { continue };
            if std::mem::take(&mut client.is_watching) {
                self.replies.put_event(client);
                let done = self.send(at);
                self.close_ended(at, done)?;
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            let at = stream.as_raw_fd() as usize;
            if at >= DESCRIPTORS_MAX {
                continue;
            }
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            epoll::add(&self.epoll, &stream, EventData::new_u64(at as u64), EventFlags::IN)?;
            self.connections.resize_with(self.connections.len().max(at + 1), || None);
            let (client, partial) = (Client::default(), Vec::new());
            self.connections[at] = Some(Connection { stream, client, sent: 0, is_full: false, partial });
        }
    }

    /// Closes a connection that ended; passes on an error of the disk.
    fn close_ended(&mut self, at: usize, done: Result<(), End>) -> io::Result<()> {
        match done {
            Ok(()) => Ok(()),
            Err(End::Connection) => {
                self.connections[at] = None;
                Ok(())
            }
            Err(End::Disk(error)) => Err(error),
        }
    }

    /// Sends what the socket did not take before, or replies to the requests that arrived.
    fn on_ready(&mut self, at: usize) -> Result<(), End> {
        let Self { connections, scratch, replies, .. } = self;
        let Some(connection) = &mut connections[at] else { return Ok(()) };
        if connection.is_full {
            return self.send(at);
        }
        let client = &mut connection.client;
        let was_watching = client.is_watching;
        let kept = connection.partial.len();
        scratch[..kept].copy_from_slice(&connection.partial);
        let read = match connection.stream.read(&mut scratch[kept..]) {
            Ok(0) => return Err(End::Connection),
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(_) => return Err(End::Connection),
        };
        let mut rest = &scratch[..kept + read];
        let word = rest.get(..4).filter(|_| !client.is_open).and_then(|word| replies.four_letter_word(word));
        if let Some(word) = word {
            client.out.extend_from_slice(word.as_bytes());
            client.is_closing = true;
        }
        while !client.is_closing {
            let frame = wire::split_frame(rest, FRAME_BYTES_MAX_DEFAULT).map_err(|_| End::Connection)?;
            let Some((frame, after)) = frame else { break };
            rest = after;
            replies.reply(client, frame)?;
            if client.out.len() > REPLIES_BYTES_MAX {
                return Err(End::Connection);
            }
        }
        connection.partial.clear();
        if !client.is_closing {
            connection.partial.extend_from_slice(rest);
        }
        if client.is_watching && !was_watching {
            self.watchers.push(at);
        }
        if client.is_held {
            self.held.push(at);
            return Ok(());
        }
        self.send(at)
    }

    /// Sends what the socket takes now; epoll says when it takes the rest.
    fn send(&mut self, at: usize) -> Result<(), End> {
        let Some(connection) = &mut self.connections[at] else { return Ok(()) };
        let client = &mut connection.client;
        client.is_held = false;
        let unsent = &client.out[connection.sent..];
        if !unsent.is_empty() {
            match connection.stream.write(unsent) {
                Ok(written) => connection.sent += written,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return Err(End::Connection),
            }
        }
        let is_full = connection.sent < client.out.len();
        if !is_full {
            client.out.clear();
            connection.sent = 0;
            if client.is_closing {
                return Err(End::Connection);
            }
        }
        if is_full != connection.is_full {
            connection.is_full = is_full;
            let flags = if is_full { EventFlags::OUT } else { EventFlags::IN };
            let data = EventData::new_u64(at as u64);
            epoll::modify(&self.epoll, &connection.stream, data, flags).map_err(|_| End::Connection)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Load;
    use crate::commands::load;
    use zkfast::proto::{ConnectRequest, OpCode, SessionId, Zxid};

    /// Serves until `measure`, which gets the server's address, returns; returns how often the disk was flushed.
    fn serving(dir: Option<&Path>, measure: impl FnOnce(String)) -> io::Result<u64> {
        let mut server = Server::open(0, 100, dir)?;
        let address = server.address()?.to_string();
        let (end, ends) = UnixStream::pair()?;
        let thread = std::thread::spawn(move || server.run(&end).map(|()| server.replies.flushes));
        measure(address);
        drop(ends);
        thread.join().expect("the server does not panic")
    }

    fn load(server: &str, workload: &str) -> Load {
        let words = "--connections 4 --seconds 0.3 --warmup 0.1 --keys 50 --server";
        Load::from_words(words.split(' ').chain([server, "--workload", workload])).expect("a load")
    }

    /// loadgen finds nothing wrong with gets, sets, mixes and watches; durable sets share flushes, others need none.
    #[test]
    fn load_finds_nothing_wrong() {
        let dir = std::env::current_exe().expect("a path").with_extension("baseline");
        std::fs::create_dir_all(&dir).expect("a directory");
        for dir in [None, Some(&*dir)] {
            let mut ops = 0;
            let flushes = serving(dir, |server| {
                for workload in ["get", "set", "mix", "watch"] {
                    let outcome = load::measure(&load(&server, workload)).expect("a server that serves");
                    load::verdict(&outcome).expect("nothing is wrong");
                    assert!(outcome.ops > 10, "{workload}: {}", outcome.ops);
                    ops += outcome.ops - outcome.reads;
                }
            });
            match flushes {
                Ok(flushes) if dir.is_some() => assert!((1..ops).contains(&flushes), "{flushes} of {ops}"),
                Ok(flushes) => assert_eq!(flushes, 0),
                // A file system without O_DIRECT.
                Err(error) => assert!(dir.is_some() && error.kind() == ErrorKind::InvalidInput, "{error}"),
            }
        }
        std::fs::remove_dir(&dir).expect("empty again");
    }

    /// Bytes that are no frame, a frame that is too long and a request without a path end their own connection only.
    #[test]
    fn malformed_frames() {
        serving(None, |server| {
            let mut connect = Vec::new();
            let request = ConnectRequest {
                protocol_version: 0,
                last_zxid_seen: Zxid::ZERO,
                timeout_ms: 1,
                session_id: SessionId::NONE,
                password: None,
                read_only: None,
            };
            zkfast::proto::jute::frame(&mut connect, |out| request.put(out));
            let mut no_path = connect.clone();
            wire::put_request(&mut no_path, 1, OpCode::GET_DATA, |_| {});
            let cases = [
                b"GET / HTTP/1.1\r\n".to_vec(),
                [&connect[..], &[0xFF; 4]].concat(),
                [&connect[..], &(FRAME_BYTES_MAX_DEFAULT as u32 + 1).to_be_bytes()].concat(),
                no_path,
            ];
            let mut others = TcpStream::connect(&server).expect("a server");
            for bytes in cases {
                let mut stream = TcpStream::connect(&server).expect("a server");
                stream.write_all(&bytes).expect("a connection");
                let ended = stream.read_to_end(&mut Vec::new());
                assert!(
                    ended.is_ok() || ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
                );
            }
            others.write_all(b"srvr").expect("a connection");
            let mut answer = String::new();
            others.read_to_string(&mut answer).expect("an answer");
            assert!(answer.contains("Mode: standalone"), "{answer}");
        })
        .expect("it serves");
    }
}
