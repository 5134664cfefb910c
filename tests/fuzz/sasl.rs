//! SASL: tokens of clients and servers, packets between servers, JAAS files.

use std::collections::BTreeMap;
use std::io;
use zkfast::auth::Secret;
use zkfast::auth::sasl::digest_md5::{Client, Server, Service};
use zkfast::auth::sasl::quorum::{Accepts, Connects, Demands, Progress, QuorumFailure};
use zkfast::auth::sasl::{Login, Means, Mechanism};
use zkfast::config::{Loader, Sources, load};
use zkfast::proto::ServerId;

use super::Bounds;

/// A JAAS file is read beside a zoo.cfg, with the whole table of keys.
pub const BOUNDS: Bounds = Bounds { bytes: (1 << 20, 256), allocations: (8 << 10, 32) };

const PASSWORD: &str = "secret";

fn nonce() -> String {
    "nonce".to_owned()
}

fn password() -> Secret {
    Secret::new(PASSWORD.to_owned())
}

fn users() -> BTreeMap<String, Secret> {
    BTreeMap::from([("bob".to_owned(), password())])
}

/// The first byte says which decoder reads the rest.
pub fn check(input: &[u8]) -> bool {
    let Some((&which, input)) = input.split_first() else { return false };
    match which {
        b'a' => answer(input),
        b'c' => Client::respond(Service::CLIENTS, "bob", &password(), "c", input).is_ok(),
        b'q' => packets(input),
        b'j' => jaas(input),
        _ => false,
    }
}

/// Who is let in has the name of a user, whatever the bytes.
fn answer(input: &[u8]) -> bool {
    let (server, users) = (Server::new(Service::CLIENTS, nonce()), users());
    let proved = server.verify(input, |user| users.get(user));
    proved.as_ref().is_ok_and(|proved| users.contains_key(&proved.user))
}

/// Gives the side that accepts these bytes.
fn accept(accepts: &mut Accepts, bytes: &[u8], out: &mut Vec<u8>) -> Result<Progress, QuorumFailure> {
    let (service, mechanism) = (Service::QUORUM, &Mechanism::DigestMd5(users()));
    let means = Means { service, mechanism, nonce: &nonce, kerberos: None };
    accepts.receive(&Demands { means, is_required: true, is_host: &|_| false }, bytes, out)
}

/// The side that connects, which appends what it sends first.
fn connects(out: &mut Vec<u8>) -> Connects {
    let (login, first) = Login::by_password(Service::QUORUM, "bob".to_owned(), password());
    Connects::begin(ServerId(1), login, &first, out)
}

/// Packets in one piece and byte by byte lead to the same.
fn packets(input: &[u8]) -> bool {
    let (mut whole, mut whole_out) = (Accepts::default(), Vec::new());
    let at_once = accept(&mut whole, input, &mut whole_out);
    let (mut cut, mut cut_out) = (Accepts::default(), Vec::new());
    let mut last = Ok(Progress::Waits);
    for byte in input {
        last = accept(&mut cut, &[*byte], &mut cut_out);
        if last != Ok(Progress::Waits) {
            break;
        }
    }
    let user = |progress: Progress| match progress {
        Progress::Waits => None,
        Progress::Done { user, .. } => user,
    };
    assert_eq!(at_once.clone().map(user), last.map(user), "cut into bytes it reads differently");
    assert_eq!(whole_out, cut_out, "cut into bytes it is answered differently");
    let mut out = Vec::new();
    let _ = connects(&mut Vec::new()).receive(input, nonce, &mut out);
    at_once.is_ok()
}

struct Files<'a>(&'a [u8]);

impl Loader for Files<'_> {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        match path {
            "zoo.cfg" => Ok(b"dataDir=/d\nclientPort=2181\n".to_vec()),
            "/jaas" => Ok(self.0.to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn is_file(&self, path: &str) -> bool {
        path == "zoo.cfg" || path == "/jaas"
    }
}

fn jaas(input: &[u8]) -> bool {
    let flags = [("JVMFLAGS", "-Djava.security.auth.login.config=/jaas")];
    let sources = Sources { file: Some("zoo.cfg"), jvm_flags: &flags, overrides: None };
    load(&sources, &Files(input)).is_ok()
}

/// What both sides of an exchange send, and a file.
pub fn seeds() -> Vec<Vec<u8>> {
    let server = Server::new(Service::CLIENTS, nonce());
    let challenge = server.challenge();
    let (_, answer) = Client::respond(Service::CLIENTS, "bob", &password(), "c", &challenge).unwrap();
    let mut packets = Vec::new();
    let (mut connects, mut asked) = (connects(&mut packets), Vec::new());
    accept(&mut Accepts::default(), &packets, &mut asked).unwrap();
    connects.receive(&asked, nonce, &mut packets).unwrap();
    let file = b"/* a */ Server { // b\n\
        org.apache.zookeeper.server.auth.DigestLoginModule required user_bob=\"\\\"x\\101\" a=b; };\n";
    let with = |which: u8, bytes: &[u8]| [&[which], bytes].concat();
    vec![with(b'a', &answer), with(b'c', &challenge), with(b'q', &packets), with(b'j', file)]
}
