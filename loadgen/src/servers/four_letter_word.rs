//! Four-letter words, which a server answers without a session.

use crate::engine::socket::Socket;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// A server that takes longer to answer counts as silent.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// The rest of a longer answer is not read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// The answer of `server` (`host:port`) to `word`; `None` if no address of that name answers.
pub fn ask(server: &str, word: &str) -> Option<String> {
    let connect = |address| TcpStream::connect_timeout(&address, ANSWER_WAIT).ok();
    let stream: TcpStream = server.to_socket_addrs().ok()?.find_map(connect)?;
    stream.set_read_timeout(Some(ANSWER_WAIT)).ok()?;
    let mut stream = Socket::new(stream, server).ok()?;
    stream.write_all(word.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).ok()?;
    Some(answer)
}
