//! TLS and what is no TLS, from clients that mean no good. Certificates are made by `openssl` at run time.

use crate::harness::{ANSWER_TIMEOUT, Deadline, Directory, Kind, Server, alone, free_address, wait_for};
use crate::hostile::assert_harmless_to;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zkfast::client::net::four_letter_word;
use zkfast::proto::{ConnectRequest, SessionId, Zxid};

/// `nio.sessionlessCnxnTimeout` of these servers: a connection has so long for handshake and session.
const SESSIONLESS: Duration = Duration::from_secs(3);

/// A server with TLS, and what its clients need.
struct Secure {
    files: Directory,
    address: SocketAddr,
}

impl Secure {
    fn new() -> Self {
        Self::with_key("rsa:2048")
    }

    /// A server whose key is of that kind.
    fn with_key(kind: &str) -> Self {
        let files = Directory::new("tls");
        // The machine's own settings would make it an authority's.
        std::fs::write(files.path().join("openssl.cnf"), "[req]\ndistinguished_name=dn\n[dn]\n")
            .expect("a file");
        let made = Command::new("openssl")
            .args([
                "req",
                "-config",
                "openssl.cnf",
                "-x509",
                "-newkey",
                kind,
                "-nodes",
                "-subj",
                "/CN=localhost",
                "-days",
                "60",
            ])
            .args([
                "-addext",
                "subjectAltName=DNS:localhost",
                "-keyout",
                "key.pem",
                "-out",
                "certificate.pem",
            ])
            .current_dir(files.path())
            .output()
            .expect("openssl on PATH");
        assert!(made.status.success(), "{made:?}");
        let text = |name: &str| std::fs::read_to_string(files.path().join(name)).expect("made by openssl");
        let both = text("certificate.pem") + &text("key.pem");
        std::fs::write(files.path().join("both.pem"), both).expect("a file");
        Self { files, address: free_address() }
    }

    /// Starts a server with a plain port and one with TLS; every client has a certificate that is trusted.
    fn start(&self, keys: &[(&str, &str)]) -> Server {
        let store = self.files.path().join("both.pem").display().to_string();
        let (port, ip) = (self.address.port().to_string(), self.address.ip().to_string());
        let timeout = SESSIONLESS.as_millis().to_string();
        let own = [
            ("secureClientPort", port.as_str()),
            ("secureClientPortAddress", &ip),
            ("ssl.keyStore.location", &store),
            ("ssl.trustStore.location", &store),
            ("nio.sessionlessCnxnTimeout", &timeout),
        ];
        Server::start(Kind::Zkfast, &[&own[..], keys].concat())
    }

    fn tls(&self) -> ClientConnection {
        self.tls_with(None)
    }

    /// A client that shows `beside` with its own certificate.
    fn tls_with(&self, beside: Option<CertificateDer<'static>>) -> ClientConnection {
        let file = |name: &str| self.files.path().join(name);
        let certificate = CertificateDer::from_pem_file(file("certificate.pem")).expect("PEM");
        let key = PrivateKeyDer::from_pem_file(file("key.pem")).expect("PEM");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert([certificate].into_iter().chain(beside).collect(), key)
            .expect("a certificate and its key");
        let name = ServerName::try_from("localhost").expect("a name");
        let mut tls = ClientConnection::new(Arc::new(config), name).expect("a client");
        tls.set_buffer_limit(None);
        tls
    }

    fn plain(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a listening port");
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a socket");
        stream
    }

    /// A client with a session.
    fn client(&self) -> StreamOwned<ClientConnection, TcpStream> {
        self.client_of(self.tls())
    }

    fn client_of(&self, tls: ClientConnection) -> StreamOwned<ClientConnection, TcpStream> {
        let mut client = StreamOwned::new(tls, self.plain());
        begin_session(&mut client);
        client
    }

    /// The first bytes of a client.
    fn hello(&self) -> Vec<u8> {
        let mut hello = Vec::new();
        self.tls().write_tls(&mut hello).expect("bytes");
        hello
    }
}

fn begin_session(client: &mut (impl Read + Write)) {
    let mut body = Vec::new();
    let (session_id, last_zxid_seen) = (SessionId::NONE, Zxid::ZERO);
    let (password, read_only) = (Some(&[0; 16][..]), Some(false));
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen,
        timeout_ms: 30_000,
        session_id,
        password,
        read_only,
    }
    .put(&mut body);
    client.write_all(&framed(&body)).expect("a request");
    assert!(frame(client).len() >= 36, "the answer to a connect request");
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len()).expect("short");
    [&length.to_be_bytes()[..], body].concat()
}

fn frame(client: &mut impl Read) -> Vec<u8> {
    let mut length = [0; 4];
    client.read_exact(&mut length).expect("an answer");
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    client.read_exact(&mut body).expect("all of it");
    body
}

/// A ping, which a session answers.
fn is_answered(client: &mut (impl Read + Write)) {
    let ping = [(-2i32).to_be_bytes(), 11i32.to_be_bytes()].concat();
    client.write_all(&framed(&ping)).expect("a request");
    assert_eq!(frame(client)[..4], (-2i32).to_be_bytes());
}

/// Reads until the server has closed the connection; gives what came.
fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut came = Vec::new();
    match stream.read_to_end(&mut came) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("not closed: {error}"),
        _ => came,
    }
}

/// Waits for a line of the server's log that has all of `parts`.
fn logged(server: &Server, parts: &[&str]) {
    wait_for(Duration::from_secs(5), || {
        let output = server.whole_output();
        let is_there = output.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        if is_there { Ok(()) } else { Err(format!("no line with {parts:?} in\n{output}")) }
    });
}

/// What is no TLS is turned away at once, with a line that names peer and reason; a flood of it has few lines.
#[test]
fn plain_bytes_on_the_tls_port() {
    let _alone = alone();
    let secure = Secure::new();
    let server = secure.start(&[]);
    let mut other = secure.client();
    let attacks: [&[u8]; 5] = [
        b"ruok",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        &[0, 0, 0, 44, 0, 0, 0, 0],
        &[0xFF; 64],
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ];
    for bytes in attacks {
        let mut stream = secure.plain();
        let peer = format!("peer={}", stream.local_addr().expect("an address"));
        stream.write_all(bytes).expect("bytes");
        assert_ne!(until_closed(&mut stream), b"imok");
        logged(&server, &["WARN cnxn", &peer, "it does not begin with TLS"]);
    }
    for _ in 0..200 {
        let mut stream = secure.plain();
        stream.write_all(&[0xFF; 64]).expect("bytes");
        until_closed(&mut stream);
    }
    let lines = server.whole_output().lines().filter(|line| line.contains("does not begin with TLS")).count();
    assert!(lines <= 6, "{lines} lines");
    is_answered(&mut other);
}

/// A client with TLS on the plain port is turned away, with a line that says so.
#[test]
fn tls_on_the_plain_port() {
    let _alone = alone();
    let secure = Secure::new();
    let server = secure.start(&[]);
    let mut stream = TcpStream::connect(server.address()).expect("a listening port");
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a socket");
    let peer = format!("peer={}", stream.local_addr().expect("an address"));
    stream.write_all(&secure.hello()).expect("bytes");
    assert_eq!(until_closed(&mut stream), b"");
    logged(&server, &[&peer, "TLS"]);
}

/// Records that are too long, of unknown kinds, cut, or follow a hello that is none: closed, with a line.
#[test]
fn malformed_records() {
    let _alone = alone();
    let secure = Secure::new();
    let server = secure.start(&[]);
    let mut other = secure.client();
    let hello = secure.hello();
    let attacks = [
        ("a record of 65,535 bytes", [&[0x16, 3, 1, 0xFF, 0xFF][..], &[7; 4096]].concat()),
        ("a record of an unknown kind", [&[0x16, 3, 1, 0, 4], &[99, 0, 0, 0][..]].concat()),
        ("an alert first", vec![0x15, 3, 1, 0, 2, 2, 40]),
        ("data before the handshake", [&hello[..], &[0x17, 3, 3, 0, 32], &[7; 32]].concat()),
        ("a hello of 16 MB", [&[0x16, 3, 1, 0x40, 0, 1, 0xFF, 0xFF, 0xFF][..], &[0; 0x4000]].concat()),
        ("an SSLv2 hello", vec![0x80, 0x2E, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10]),
    ];
    for (name, bytes) in attacks {
        let mut stream = secure.plain();
        // The server may have closed it already.
        let _ = stream.write_all(&bytes);
        let begun = Instant::now();
        until_closed(&mut stream);
        // Not because its time is over.
        assert!(begun.elapsed() < SESSIONLESS, "{name}: closed after {:?}", begun.elapsed());
    }
    let mut client = secure.client();
    client
        .sock
        .write_all(&[0x17, 3, 3, 0, 64])
        .and_then(|()| client.sock.write_all(&[7; 64]))
        .expect("bytes");
    until_closed(&mut client.sock);
    logged(&server, &["WARN cnxn", "TLS: received corrupt message"]);
    is_answered(&mut other);
}

/// A thousand handshakes that stop half way cost less than 32 KiB each, and end when the time for a session is over.
#[test]
fn half_handshakes() {
    const CLIENTS: usize = 1000;
    let secure = Secure::new();
    let hello = secure.hello();
    for half in [&hello[..hello.len() / 2], &hello] {
        assert_harmless_to(
            || secure.start(&[]),
            CLIENTS as u64 * 32,
            |_| {
                let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| secure.plain()).collect();
                clients.iter_mut().for_each(|client| client.write_all(half).expect("bytes"));
                is_answered(&mut secure.client());
                clients
            },
        );
    }
    let server = secure.start(&[]);
    let mut clients: Vec<TcpStream> = (0..20).map(|_| secure.plain()).collect();
    let begun = Instant::now();
    clients.iter_mut().for_each(|client| client.write_all(&hello).expect("bytes"));
    clients.iter_mut().for_each(|client| _ = until_closed(client));
    assert!(begun.elapsed() >= SESSIONLESS - Duration::from_millis(500), "{:?}", begun.elapsed());
    drop(server);
}

/// On a port for both kinds plain clients do not wait for handshakes, however many there are; one more handshake has its turn.
#[test]
fn plain_clients_among_handshakes() {
    const HANDSHAKES: usize = 150;
    let _alone = alone();
    // Each handshake costs some milliseconds.
    let secure = Secure::with_key("rsa:4096");
    // Time enough for all of them, also on a busy machine.
    let server = secure.start(&[("client.portUnification", "true"), ("nio.sessionlessCnxnTimeout", "20000")]);
    let hello = secure.hello();
    let connect = || {
        let stream = TcpStream::connect(server.address()).expect("a listening port");
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a socket");
        stream
    };
    let mut crowd: Vec<TcpStream> = (0..HANDSHAKES).map(|_| connect()).collect();
    let begun = Instant::now();
    crowd.iter_mut().for_each(|client| client.write_all(&hello).expect("bytes"));
    begin_session(&mut connect());
    let plain = begun.elapsed();
    begin_session(&mut StreamOwned::new(secure.tls(), connect()));
    crowd.iter_mut().for_each(|client| client.read_exact(&mut [0]).expect("an answer"));
    let all = begun.elapsed();
    assert!(plain * 4 < all, "a plain client waited {plain:?}, all handshakes took {all:?}");
}

/// A client that is trusted shows certificates as long as a handshake may have, again and again: none is kept once its connection
/// has ended.
#[test]
fn long_certificates() {
    const HANDSHAKES: usize = 500;
    let secure = Secure::new();
    assert_harmless_to(
        || secure.start(&[]),
        16 << 10,
        |_| {
            for _ in 0..HANDSHAKES {
                let beside = CertificateDer::from(vec![0x30; 60_000]);
                secure.client_of(secure.tls_with(Some(beside)));
            }
        },
    );
}

/// Connections that shake hands count for `maxClientCnxns`.
#[test]
fn handshakes_are_counted() {
    let _alone = alone();
    let secure = Secure::new();
    let server = secure.start(&[("maxClientCnxns", "10")]);
    let clients: Vec<TcpStream> = (0..10).map(|_| secure.plain()).collect();
    // The listener takes them in order.
    let mut further = secure.plain();
    assert_eq!(until_closed(&mut further), b"");
    logged(&server, &["connection turned away"]);
    drop(clients);
}

/// A handshake byte by byte is served while it is in time, and ended when it is not.
#[test]
fn byte_by_byte() {
    let _alone = alone();
    let secure = Secure::new();
    let _server = secure.start(&[]);
    let mut tls = secure.tls();
    let mut stream = secure.plain();
    stream.set_nodelay(true).expect("a socket");
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).expect("bytes");
    for byte in hello {
        stream.write_all(&[byte]).expect("a byte");
    }
    let mut client = StreamOwned::new(tls, stream);
    client.write_all(b"ruok").expect("a word");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "imok");

    let mut slow = secure.plain();
    let (begun, mut deadline) = (Instant::now(), Deadline::new(SESSIONLESS * 5));
    let hello = secure.hello();
    let mut bytes = hello.iter().cycle();
    while slow.write_all(&[*bytes.next().expect("endless")]).is_ok() {
        assert!(!deadline.is_over(), "it is still served after {:?}", begun.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(begun.elapsed() >= SESSIONLESS - Duration::from_millis(500), "{:?}", begun.elapsed());
}

/// Changes of keys without end are no work without end.
#[test]
fn changes_of_keys_without_end() {
    let secure = Secure::new();
    assert_harmless_to(
        || secure.start(&[]),
        16 << 10,
        |server| {
            let mut client = secure.client();
            let mut sent = 0;
            while sent < 100_000 {
                client.conn.refresh_traffic_keys().expect("TLS 1.3");
                sent += 1;
                let mut bytes = Vec::new();
                while client.conn.wants_write() {
                    client.conn.write_tls(&mut bytes).expect("bytes");
                }
                if client.sock.write_all(&bytes).is_err() {
                    break;
                }
            }
            assert!(sent < 100_000, "all were taken");
            logged(server, &["TLS", "TooManyKeyUpdateRequests"]);
        },
    );
}

/// Renegotiation is refused: the connection goes on or ends, and nobody waits.
#[test]
fn renegotiation() {
    let _alone = alone();
    let secure = Secure::new();
    let _server = secure.start(&[]);
    let mut other = secure.client();
    let mut client = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-legacy_renegotiation", "-connect", &secure.address.to_string()])
        .args(["-cert", "certificate.pem", "-key", "key.pem", "-CAfile", "certificate.pem"])
        .current_dir(secure.files.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl on PATH");
    let mut input = client.stdin.take().expect("a pipe");
    for _ in 0..3 {
        // It ends on the first that is refused.
        let _ = input.write_all(b"R\n");
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(input);
    let output = client.wait_with_output().expect("an end");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
    is_answered(&mut other);
}

/// A client with TLS that asks and never reads has bounded memory.
#[test]
fn reader_that_never_reads() {
    let secure = Secure::new();
    assert_harmless_to(
        || secure.start(&[]),
        24 << 10,
        |server| {
            let mut client = secure.client();
            let path = framed(b"/big");
            let acl = [1i32.to_be_bytes(), 31i32.to_be_bytes()].concat();
            let acl = [&acl[..], &framed(b"world"), &framed(b"anyone")].concat();
            let header = |op: i32| [1i32.to_be_bytes(), op.to_be_bytes()].concat();
            let data = framed(&vec![7; 500_000]);
            let create = [&header(1)[..], &path, &data, &acl, &0i32.to_be_bytes()].concat();
            client.write_all(&framed(&create)).expect("a request");
            frame(&mut client);
            let read = framed(&[&header(4)[..], &path, &[0]].concat());
            client.sock.set_write_timeout(Some(Duration::from_secs(1))).expect("a socket");
            // Answers of 1 GB, of which none is read. It may stop taking requests.
            for _ in 0..2000 {
                if client.write_all(&read).is_err() {
                    break;
                }
            }
            assert_eq!(
                four_letter_word(server.address(), "ruok", ANSWER_TIMEOUT).expect("an answer"),
                "imok"
            );
            client
        },
    );
}

/// What follows a client's close_notify is ignored, however much it is and whatever came before in the same packet: no thread
/// is held up by it, and the connection ends.
#[test]
fn bytes_after_the_end() {
    let _alone = alone();
    let secure = Secure::new();
    let server = secure.start(&[]);
    let mut witness = secure.client();
    for (before, after) in [(0, 20_000), (0, 1), (8, 1), (8, 20_000), (0, 0), (8, 0)] {
        let mut client = StreamOwned::new(secure.tls(), secure.plain());
        // The handshake, and the beginning of a connect request that never ends.
        client.write_all(&[0, 0, 0, 45]).expect("bytes");
        client.flush().expect("bytes");
        let mut burst = Vec::new();
        client.conn.writer().write_all(&vec![0; before]).expect("bytes");
        client.conn.send_close_notify();
        while client.conn.wants_write() {
            client.conn.write_tls(&mut burst).expect("bytes");
        }
        burst.extend(vec![0x17; after]);
        client.sock.write_all(&burst).expect("bytes");
        is_answered(&mut witness);
        until_closed(&mut client.sock);
        is_answered(&mut witness);
    }
    is_answered(&mut secure.client());
    drop(server);
}
