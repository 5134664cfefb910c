//! Servers that are suspended for a while, like a virtual machine that migrates or a laptop that sleeps.

use crate::harness::{ANSWER_TIMEOUT, Kind, Server, alone, wait_for};
use std::thread::sleep;
use std::time::{Duration, Instant};
use zkfast::client::Request;
use zkfast::client::net::{ClientError, Connect, Connection};
use zkfast::proto::{Acl, OpCode};

const TICK_MS: u64 = 200;
/// Session timeouts of the attempts. If the machine keeps the client from running for as long as its session's timeout,
/// the attempt proves nothing, and the test tries the next timeout.
const TIMEOUTS_MS: [i32; 4] = [1_000, 2_000, 4_000, 8_000];

/// A session survives a pause of the server of four times its timeout: the server could not hear the client. The client
/// attaches again and has its ephemerals. When it is silent while the server runs, the session expires.
#[test]
fn pause_expires_no_session() {
    let _alone = alone();
    let ticks = TICK_MS.to_string();
    let server = Server::start(Kind::Zkfast, &[("tickTime", &ticks), ("maxSessionTimeout", "10000")]);
    assert!(
        TIMEOUTS_MS.iter().any(|timeout_ms| survives_a_pause(&server, *timeout_ms)),
        "the machine keeps this client from running"
    );
}

/// True if a session with that timeout survives a pause; false if the client came back too late to decide.
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
    // The length of the pause is the test's input: a suspended server shows no condition to wait for.
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

    // The client is silent while the server runs.
    drop(client);
    let mut other = open(&Connect { timeout_ms: 10_000, ..Connect::default() }).expect("a session");
    wait_for(10 * timeout, || match other.call(&exists, &mut Vec::new()).expect("an answer").header.err {
        -101 => Ok(()),
        _ => Err("a silent session lives on".to_owned()),
    });
    assert!(heard.elapsed() >= timeout, "a session ended {:?} after it was heard", heard.elapsed());
    true
}
