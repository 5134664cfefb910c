//! A client's connection as the view shard sees it: plain bytes, whatever goes over the wire.

use super::turns::Turn;
use crate::proto::Id;
use crate::server::rt::{self, Stream};
use crate::tls::{Acceptor, HANDSHAKE, SEALED_BYTES, Session};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Reads in a row that may give no plain bytes.
const READS_AT_ONCE_MAX: usize = 8;

/// Plain bytes that are sealed at a time.
const SEALED_AT_ONCE_MAX: usize = 32 << 10;

thread_local! {
    /// What was read last; one buffer serves all connections of the shard.
    static SEALED: RefCell<Vec<u8>> = RefCell::new(vec![0; SEALED_BYTES]);

    /// Records that are sent as one piece.
    static JOINED: RefCell<Vec<u8>> = RefCell::default();
}

/// What a port for clients takes.
#[derive(Clone)]
pub enum Port {
    /// Plain clients.
    Plain,
    /// Plain clients, and those with TLS.
    Either(Arc<Acceptor>),
    /// Clients with TLS.
    Tls(Arc<Acceptor>),
}

/// A client's connection.
pub struct Channel {
    stream: Stream,
    peer: IpAddr,
    state: State,
}

enum State {
    Plain,
    /// The first byte tells whether the client speaks TLS.
    Unknown(Arc<Acceptor>),
    Tls(Box<Secured>),
}

/// A connection with TLS.
struct Secured {
    session: Session,
    turn: Turn,
    acceptor: Arc<Acceptor>,
    /// Plain bytes that are sealed, and of which the caller does not know yet.
    taken: usize,
    /// Who the client is was asked.
    is_asked: bool,
}

impl Channel {
    /// A connection that came through `port`.
    ///
    /// # Errors
    /// What rustls says.
    pub fn new(stream: Stream, port: Port, peer: IpAddr) -> io::Result<Self> {
        let state = match port {
            Port::Plain => State::Plain,
            Port::Either(acceptor) => State::Unknown(acceptor),
            Port::Tls(acceptor) => State::Tls(Box::new(Secured::begin(acceptor)?)),
        };
        Ok(Self { stream, peer, state })
    }

    /// Reads into `out`, which has room for 49 KiB at least; 0 is the end.
    ///
    /// # Errors
    /// The connection is lost, or what came is no TLS: then the client is told, as far as that goes.
    #[inline]
    pub fn poll_read(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut self.state {
            State::Plain => self.stream.poll_read(cx, out),
            State::Tls(secured) => secured.poll_read(&mut self.stream, cx, out),
            State::Unknown(_) => self.poll_first(cx, out),
        }
    }

    /// Reads one byte, which costs nothing: a plain client does not wait for the handshakes of others.
    fn poll_first(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let bytes = ready!(self.stream.poll_read(cx, &mut out[..1]))?;
        let State::Unknown(acceptor) = std::mem::replace(&mut self.state, State::Plain) else {
            unreachable!("only a connection of unknown kind comes here");
        };
        if bytes == 0 {
            return Poll::Ready(Ok(0));
        }
        if out[0] != HANDSHAKE {
            return match self.stream.poll_read(cx, &mut out[1..]) {
                Poll::Ready(more) => Poll::Ready(more.map(|more| 1 + more)),
                Poll::Pending => Poll::Ready(Ok(1)),
            };
        }
        let mut secured = Box::new(Secured::begin(acceptor)?);
        secured.session.open(&[HANDSHAKE], out)?;
        self.state = State::Tls(secured);
        self.poll_read(cx, out)
    }

    /// Sends of `bytes`; says how many went. While it is pending the next call must begin with the same ones.
    ///
    /// # Errors
    /// The connection is lost.
    #[inline]
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.state {
            State::Tls(secured) => secured.poll_write(&mut self.stream, cx, bytes),
            State::Plain | State::Unknown(_) => self.stream.poll_write(cx, bytes),
        }
    }

    /// Whom the client's certificate proves it to be: once, after the first bytes that it sent.
    ///
    /// # Errors
    /// Why the connection must end.
    #[inline]
    pub fn take_ids(&mut self) -> Option<io::Result<Vec<Id>>> {
        match &mut self.state {
            State::Tls(secured) if !secured.is_asked => Some(secured.ids(self.peer)),
            _ => None,
        }
    }

    /// Ends the connection; of TLS its client is told, if there is room for that.
    pub async fn close(self) {
        let Self { mut stream, state, .. } = self;
        if let State::Tls(mut secured) = state {
            secured.session.end();
            // An error, or no room: the connection ends all the same.
            poll_fn(|cx| {
                let _ = secured.poll_flush(&mut stream, cx);
                Poll::Ready(())
            })
            .await;
            // Its turn ends here: a client that takes nothing does not hold up the handshakes of others.
            drop(secured);
        }
        stream.close().await;
    }
}

impl Secured {
    fn begin(acceptor: Arc<Acceptor>) -> io::Result<Self> {
        let session = acceptor.begin()?;
        Ok(Self { session, turn: Turn::new(), acceptor, taken: 0, is_asked: false })
    }

    /// Takes in what was read; gives the number of plain bytes that it held.
    fn open(&mut self, sealed: &[u8], out: &mut [u8]) -> io::Result<usize> {
        match self.session.is_handshaking() {
            true => Turn::count(|| self.session.open(sealed, out)),
            false => self.session.open(sealed, out),
        }
    }

    fn poll_read(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.session.is_handshaking() && !self.turn.is_come() {
            return wait(cx);
        }
        SEALED.with_borrow_mut(|sealed| {
            for _ in 0..READS_AT_ONCE_MAX {
                // The handshake, and what it leaves behind; where there is no room the wait for it is registered.
                if let Poll::Ready(Err(error)) = self.poll_flush(stream, cx) {
                    return Poll::Ready(Err(error));
                }
                // It may have ended behind the bytes of the last call.
                if !self.session.is_handshaking() && self.session.is_ended() {
                    return Poll::Ready(Ok(0));
                }
                let bytes = ready!(stream.poll_read(cx, sealed))?;
                if bytes == 0 {
                    return Poll::Ready(match self.session.is_handshaking() {
                        true => {
                            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended within the handshake"))
                        }
                        false => Ok(0),
                    });
                }
                let opened = self.open(&sealed[..bytes], out);
                if opened.is_err() {
                    // The client is told why, as far as that goes.
                    let _ = self.poll_flush(stream, cx);
                }
                let opened = opened?;
                if opened > 0 || self.session.is_ended() {
                    return Poll::Ready(Ok(opened));
                }
            }
            // A client may send records without contents for ever: others come first.
            wait(cx)
        })
    }

    fn poll_write(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.taken == 0 {
            let taken = bytes.len().min(SEALED_AT_ONCE_MAX);
            self.session.seal(&bytes[..taken])?;
            self.taken = taken;
        }
        ready!(self.poll_flush(stream, cx))?;
        Poll::Ready(Ok(std::mem::take(&mut self.taken)))
    }

    /// Sends what is sealed.
    fn poll_flush(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.session.has_unsent() {
            return Poll::Ready(Ok(()));
        }
        match self.session.send(&mut Wire { stream, cx }) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            sent => Poll::Ready(sent),
        }
    }

    fn ids(&mut self, peer: IpAddr) -> io::Result<Vec<Id>> {
        self.is_asked = true;
        let Some(certificate) = self.session.certificate() else { return Ok(Vec::new()) };
        let ids = self.acceptor.ids(certificate, peer);
        ids.map_err(|why| io::Error::new(io::ErrorKind::PermissionDenied, why))
    }
}

/// A stream as the session writes to it: where it takes no more, the wait for that is registered.
struct Wire<'a, 'b> {
    stream: &'a mut Stream,
    cx: &'a mut Context<'b>,
}

impl Write for Wire<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream.poll_write(self.cx, bytes) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Several records go as one piece: each would be a packet of its own.
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [one] => self.write(one),
            several => JOINED.with_borrow_mut(|joined| {
                joined.clear();
                several.iter().for_each(|slice| joined.extend_from_slice(slice));
                self.write(joined)
            }),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lets other tasks go first.
fn wait<T>(cx: &Context<'_>) -> Poll<T> {
    rt::again(cx);
    Poll::Pending
}
