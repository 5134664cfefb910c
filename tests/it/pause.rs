//! Servers that stand still for a while: a virtual machine that is moved, a laptop that sleeps.

use crate::harness::{ANSWER_TIMEOUT, GroupDelay, Kind, Server, alone};
use std::thread::sleep;
use std::time::{Duration, Instant};
use zkfast::client::Request;
use zkfast::client::net::{ClientError, Connect, Connection};
use zkfast::proto::{Acl, OpCode};

const TICK_MS: u64 = 200;
/// Session timeouts of the attempts. A machine that keeps the client from coming back for as long as its session lasts
/// shows nothing; then the next one is tried.
const TIMEOUTS_MS: [i32; 4] = [1_000, 2_000, 4_000, 8_000];

/// A pause far beyond the timeout of a session does not end it: its client could not be heard. It
/// attaches again with its ephemerals, and is ended when it really is silent.
#[test]
fn pause_expires_nobody() {
    let _alone = alone();
    let ticks = TICK_MS.to_string();
    let server = Server::start(Kind::Zkfast, &[("tickTime", &ticks), ("maxSessionTimeout", "10000")]);
    assert!(
        TIMEOUTS_MS.iter().any(|timeout_ms| survives_a_pause(&server, *timeout_ms)),
        "the machine keeps this client from running"
    );
}

/// Whether a session with that timeout outlives a pause; false where the client came back too late to tell.
fn survives_a_pause(server: &Server, timeout_ms: i32) -> bool {
    let timeout = Duration::from_millis(u64::from(timeout_ms.unsigned_abs()));
    let connect = Connect { timeout_ms, ..Connect::default() };
    let open = |connect: &Connect| Connection::connect(server.address(), connect, ANSWER_TIMEOUT);
    let mut client = open(&connect).expect("a session");
    let path = format!("/while-i-live-{timeout_ms}").into_bytes();
    let acl = vec![Acl::open()];
    let create =
        Request::Create { op: OpCode::CREATE, path: path.clone(), data: None, acl, flags: 1, ttl_ms: -1 };
    let heard = Instant::now();
    assert_eq!(client.call(&create, &mut Vec::new()).expect("an answer").header.err, 0);
    let session = Some(client.identity());

    server.pause();
    let silent = heard.elapsed();
    sleep(4 * timeout);
    let resumed = Instant::now();
    server.resume();
    drop(client);
    let again = Connect { session, ..connect };
    let mut client = match open(&again) {
        Err(ClientError::Refused) if silent + resumed.elapsed() >= timeout => return false,
        attached => attached.expect("the session is still there"),
    };
    let exists = Request::Exists { path: path.clone(), watch: false };
    let heard = Instant::now();
    assert_eq!(client.call(&exists, &mut Vec::new()).expect("an answer").header.err, 0);

    // Silence that the server did hear.
    drop(client);
    let mut other = open(&Connect { timeout_ms: 10_000, ..Connect::default() }).expect("a session");
    let mut group_delay = GroupDelay::new(10 * timeout);
    while other.call(&exists, &mut Vec::new()).expect("an answer").header.err != -101 {
        assert!(!group_delay.is_over(), "a silent session lives on");
        sleep(Duration::from_millis(TICK_MS / 4));
    }
    assert!(heard.elapsed() >= timeout, "a session ended {:?} after it was heard", heard.elapsed());
    true
}
