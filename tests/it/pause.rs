//! Servers that stand still for a while: a virtual machine that is moved, a laptop that sleeps.

use crate::harness::{Kind, Server, alone};
use std::thread::sleep;
use std::time::Duration;
use zkfast::client::Request;
use zkfast::client::net::{Connect, Connection};
use zkfast::proto::{Acl, OpCode};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const TICK_MS: u64 = 200;
const TIMEOUT_MS: i32 = 1000;

/// A pause far beyond the timeout of a session does not end it: its client could not be heard. It
/// attaches again with its ephemerals, and is ended when it really is silent.
#[test]
fn pause_expires_nobody() {
    let _alone = alone();
    let server = Server::start(Kind::Zkfast, &[("tickTime", &TICK_MS.to_string())]);
    let connect = Connect { timeout_ms: TIMEOUT_MS, ..Connect::default() };
    let open = |connect: &Connect| Connection::connect(server.address(), connect, ANSWER_TIMEOUT);
    let mut client = open(&connect).expect("a session");
    let path = b"/while-i-live".to_vec();
    let acl = vec![Acl::open()];
    let create =
        Request::Create { op: OpCode::CREATE, path: path.clone(), data: None, acl, flags: 1, ttl_ms: -1 };
    assert_eq!(client.call(&create, &mut Vec::new()).expect("an answer").header.err, 0);
    let session = Some(client.identity());

    server.pause();
    sleep(Duration::from_millis(4 * u64::from(TIMEOUT_MS.unsigned_abs())));
    server.resume();
    drop(client);
    let again = Connect { session, ..connect };
    let mut client = open(&again).expect("the session is still there");
    let exists = Request::Exists { path: path.clone(), watch: false };
    assert_eq!(client.call(&exists, &mut Vec::new()).expect("an answer").header.err, 0);

    // Silence that the server did hear.
    drop(client);
    sleep(Duration::from_millis(u64::from(TIMEOUT_MS.unsigned_abs()) + 3 * TICK_MS));
    let mut other = open(&connect).expect("a session");
    assert_eq!(other.call(&exists, &mut Vec::new()).expect("an answer").header.err, -101);
}
