//! A client of the admin port, for commands of `zkfast`.

use crate::tls::{Connector, server_name};
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Bytes of an answer that are taken: `connections` of 50,000 clients has a third of it.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A request without a body.
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

/// What is on the socket beside plain bytes: `(connector, host)`.
type Secured<'a> = Option<(&'a Connector, &'a str)>;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The path, with its query.
    pub path: &'a str,
    /// Whether it is a POST, and not a GET.
    pub is_post: bool,
    /// What the header `Authorization` says, if there is one.
    pub by: Option<&'a str>,
}

impl Asked<'_> {
    fn request(self, server: &str) -> io::Result<Request<Nothing>> {
        let request = if self.is_post { Request::post(self.path) } else { Request::get(self.path) };
        let request = self.by.into_iter().fold(request, |request, by| request.header(AUTHORIZATION, by));
        request.header(HOST, server).body(Nothing).map_err(io::Error::other)
    }
}

/// Asks `server`, as `host:port`: the status, and the body.
///
/// # Errors
/// The server cannot be reached, or does not answer within `timeout`, or its answer is longer than 64 MiB.
pub fn ask(
    server: &str,
    secured: Secured<'_>,
    asked: Asked<'_>,
    timeout: Duration,
) -> io::Result<(u16, Vec<u8>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {timeout:?}"));
    let request = asked.request(server)?;
    let answered = async {
        let answered = tokio::time::timeout(timeout, connect(server, secured, request));
        answered.await.unwrap_or_else(|_| Err(late()))
    };
    let (status, body) = runtime.block_on(answered)?;
    Ok((status.as_u16(), body))
}

async fn connect(
    server: &str,
    secured: Secured<'_>,
    request: Request<Nothing>,
) -> io::Result<(StatusCode, Vec<u8>)> {
    let stream = TcpStream::connect(server).await?;
    match secured {
        Some((connector, host)) => {
            let name = server_name(host)?;
            let connector = tokio_rustls::TlsConnector::from(connector.client_config());
            exchange(connector.connect(name, stream).await?, request).await
        }
        None => exchange(stream, request).await,
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Nothing>,
) -> io::Result<(StatusCode, Vec<u8>)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        Ok((status, whole(response.into_body()).await?))
    };
    let moved = async {
        // It moves the bytes; what becomes of it, `answered` hears as well.
        let _ = connection.await;
        std::future::pending().await
    };
    futures_lite::future::or(answered, moved).await
}

async fn whole(mut body: Incoming) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
            all.extend_from_slice(&data);
        }
        if all.len() > ANSWER_BYTES_MAX {
            return Err(io::Error::other(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes")));
        }
    }
    Ok(all)
}
