//! SASL between servers: packets before what a connection is for, on the election port after the hello.
//!
//! ```text
//! connects                                  accepts
//!   |  --- IN_PROGRESS, empty -----------------> |
//!   |  <-- IN_PROGRESS, challenge -------------- |
//!   |  --- IN_PROGRESS, response --------------> |
//!   |  <-- SUCCESS, rspauth / ERROR, empty ----- |
//! ```
//!
//! The side that connects decides whether it authenticates; the side that accepts tells by the first bytes, and decides
//! whether it must. Source: `SaslQuorumAuthServer`, `SaslQuorumAuthLearner`, `QuorumAuth`, `QuorumAuthPacket`.
//!
//! An attacker at the other end of a connection that a server makes can pass on to it what a third server asks, or what it
//! asks itself, and be let in there with its answer. So a nonce of zkfast names the server that asks, and a server answers
//! only the one that it connects to. Nonces of ZooKeeper name none, and are answered.

use super::digest_md5::{self, Client, Failure, Server, Service, TOKEN_BYTES_MAX};
use crate::auth::secret::Secret;
use crate::proto::{JuteWrite, Reader, ServerId};
use bytes::BufMut;
use std::collections::BTreeMap;

/// What a packet begins with: no sid, no protocol version and no length that a server sends there.
const MAGIC: i64 = 0xa0db_cafe_cafe_1234_u64.wrapping_neg().cast_signed();

/// What a nonce begins with that names the server that asks: its number follows.
const ASKS: &str = "zkfast-server-";

const IN_PROGRESS: i32 = 0;
const SUCCESS: i32 = 1;
const ERROR: i32 = -1;

/// Why a server is kept out, or is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuorumFailure {
    /// The exchange failed.
    #[error("SASL failed: {0}")]
    Exchange(#[from] Failure),
    /// The other side does not authenticate, and must.
    #[error("it does not authenticate, and quorum.auth.serverRequireSasl=true")]
    Anonymous,
    /// The other side does not know this server's user, or its password.
    #[error("it refuses the user of quorum.auth.learner.saslLoginContext")]
    Refused,
    /// The challenge is another server's.
    #[error("it passes on a challenge of server {asks} where server {} should be", to.0)]
    PassedOn {
        /// The number of the server that asks.
        asks: Box<str>,
        /// The server that was connected to.
        to: ServerId,
    },
    /// What came is no packet of an exchange.
    #[error("what it sent is no packet of SASL")]
    Malformed,
    /// A user wants to act as another one.
    #[error("user {0:?} wants to act as another one")]
    ActsAs(Box<str>),
}

/// How far an exchange is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The next bytes of the other side are due.
    Waits,
    /// It is over; what came after it belongs to what the connection is for. The side that accepts learns the user, if the
    /// other one has proved any.
    Done {
        /// Whom the other side has proved to be.
        user: Option<String>,
        /// What came after it.
        rest: Vec<u8>,
    },
}

/// The nonce of server `asks`, made of a text in base64 that was never used.
pub fn nonce(asks: ServerId, unused: &str) -> String {
    format!("{ASKS}{}-{unused}", asks.0)
}

/// The number of the server that a nonce names, if it is one of zkfast.
fn asks(nonce: &str) -> Option<&str> {
    Some(nonce.strip_prefix(ASKS)?.rsplit_once('-')?.0)
}

/// The side that accepts.
#[derive(Debug, Default)]
pub struct Accepts {
    bytes: Vec<u8>,
    asked: Option<Server>,
}

impl Accepts {
    /// Takes bytes of the other side, and appends what to send. `nonce` makes a [`nonce`] of this server.
    ///
    /// # Errors
    /// [`QuorumFailure`]: the connection is to be closed, once `out` is sent.
    pub fn receive(
        &mut self,
        users: &BTreeMap<String, Secret>,
        is_required: bool,
        bytes: &[u8],
        nonce: impl Fn() -> String,
        out: &mut Vec<u8>,
    ) -> Result<Progress, QuorumFailure> {
        self.bytes.extend_from_slice(bytes);
        if self.asked.is_none() && self.bytes.len() >= 8 && !self.bytes.starts_with(&MAGIC.to_be_bytes()) {
            return match is_required {
                true => Err(QuorumFailure::Anonymous),
                false => Ok(Progress::Done { user: None, rest: std::mem::take(&mut self.bytes) }),
            };
        }
        let taken = self.take(users, nonce, out);
        if taken.is_err() {
            put(out, ERROR, b"");
        }
        taken
    }

    fn take(
        &mut self,
        users: &BTreeMap<String, Secret>,
        nonce: impl Fn() -> String,
        out: &mut Vec<u8>,
    ) -> Result<Progress, QuorumFailure> {
        while let Some((_, token)) = next(&mut self.bytes)? {
            let Some(server) = self.asked.take() else {
                let server = Server::new(Service::QUORUM, nonce());
                put(out, IN_PROGRESS, &server.challenge());
                self.asked = Some(server);
                continue;
            };
            let proved = server.verify(&token, |user| users.get(user))?;
            if proved.acts_as != proved.user {
                return Err(QuorumFailure::ActsAs(digest_md5::shown(&proved.user)));
            }
            put(out, SUCCESS, &proved.token);
            let rest = std::mem::take(&mut self.bytes);
            return Ok(Progress::Done { user: Some(proved.user), rest });
        }
        Ok(Progress::Waits)
    }

    /// The other side sends nothing more: what came so far, if it need not authenticate and has not begun to.
    pub fn end(&mut self, is_required: bool) -> Option<Vec<u8>> {
        let has_begun = self.asked.is_some() || self.bytes.starts_with(&MAGIC.to_be_bytes());
        (!is_required && !has_begun).then(|| std::mem::take(&mut self.bytes))
    }
}

/// The side that connects.
#[derive(Debug)]
pub struct Connects {
    to: ServerId,
    bytes: Vec<u8>,
    answered: Option<Client>,
}

impl Connects {
    /// The side that connects to server `to`; appends what to send first.
    pub fn begin(to: ServerId, out: &mut Vec<u8>) -> Self {
        put(out, IN_PROGRESS, b"");
        Self { to, bytes: Vec::new(), answered: None }
    }

    /// Takes bytes of the other side, and appends what to send. `cnonce` makes one that was never used.
    ///
    /// # Errors
    /// [`QuorumFailure`]: the connection is to be closed.
    pub fn receive(
        &mut self,
        user: &str,
        password: &Secret,
        bytes: &[u8],
        cnonce: impl Fn() -> String,
        out: &mut Vec<u8>,
    ) -> Result<Progress, QuorumFailure> {
        self.bytes.extend_from_slice(bytes);
        while let Some((status, token)) = next(&mut self.bytes)? {
            match (status, self.answered.take()) {
                (IN_PROGRESS, None) => {
                    let nonce = digest_md5::nonce_of(&token)?;
                    if let Some(asks) = asks(&nonce).filter(|asks| *asks != self.to.0.to_string()) {
                        return Err(QuorumFailure::PassedOn { asks: asks.into(), to: self.to });
                    }
                    let (client, answer) =
                        Client::respond(Service::QUORUM, user, password, &cnonce(), &token)?;
                    put(out, IN_PROGRESS, &answer);
                    self.answered = Some(client);
                }
                (SUCCESS, Some(client)) => {
                    client.check(&token)?;
                    return Ok(Progress::Done { user: None, rest: std::mem::take(&mut self.bytes) });
                }
                (ERROR, _) => return Err(QuorumFailure::Refused),
                _ => return Err(QuorumFailure::Malformed),
            }
        }
        Ok(Progress::Waits)
    }
}

fn put(out: &mut Vec<u8>, status: i32, token: &[u8]) {
    out.put_i64(MAGIC);
    out.put_i32(status);
    out.put_buffer(Some(token));
}

/// Takes the next packet from the front of `bytes`: its status and its token.
fn next(bytes: &mut Vec<u8>) -> Result<Option<(i32, Vec<u8>)>, QuorumFailure> {
    let mut reader = Reader::new(bytes);
    let Ok(magic) = reader.long() else { return Ok(None) };
    if magic != MAGIC {
        return Err(QuorumFailure::Malformed);
    }
    let (Ok(status), Ok(length)) = (reader.int(), reader.int()) else { return Ok(None) };
    // -1 is null, which is as good as empty.
    let length = usize::try_from(length.max(0)).unwrap_or_default();
    if length > TOKEN_BYTES_MAX {
        return Err(Failure::TooLong(length).into());
    }
    let Some(token) = reader.rest().get(..length).map(<[u8]>::to_vec) else { return Ok(None) };
    bytes.drain(..8 + 4 + 4 + length);
    Ok(Some((status, token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn users() -> BTreeMap<String, Secret> {
        BTreeMap::from([("zk".to_owned(), secret("secret"))])
    }

    /// Both sides of an exchange, whose bytes come one by one; then what each has at the end.
    fn exchange(user: &str, password: &str) -> [Option<Result<Progress, QuorumFailure>>; 2] {
        let (mut accepts, mut sent, mut answered) = (Accepts::default(), Vec::new(), Vec::new());
        let mut connects = Connects::begin(ServerId(1), &mut sent);
        let mut ends = [None, None];
        let waits = Ok(Progress::Waits);
        while ends[1].is_none() && !(sent.is_empty() && answered.is_empty()) {
            for byte in std::mem::take(&mut sent) {
                let step = accepts.receive(&users(), true, &[byte], || "n".to_owned(), &mut answered);
                ends[0] = (step != waits).then_some(step);
            }
            for byte in std::mem::take(&mut answered) {
                let step = connects.receive(user, &secret(password), &[byte], || "c".to_owned(), &mut sent);
                ends[1] = (step != waits).then_some(step);
            }
        }
        ends
    }

    /// Who knows the password gets in, at every cut of the bytes; who does not, is told so.
    #[test]
    fn exchanges() {
        let done =
            |user: Option<&str>| Some(Ok(Progress::Done { user: user.map(str::to_owned), rest: Vec::new() }));
        assert_eq!(exchange("zk", "secret"), [done(Some("zk")), done(None)]);
        let refused = Some(Err(QuorumFailure::Refused));
        let wrong = Failure::WrongPassword("zk".into());
        assert_eq!(exchange("zk", "other"), [Some(Err(wrong.into())), refused.clone()]);
        let unknown = Failure::UnknownUser("other".into());
        assert_eq!(exchange("other", "secret"), [Some(Err(unknown.into())), refused]);
    }

    /// What follows the exchange is kept, and the magic is Java's.
    #[test]
    fn rest_is_kept() {
        assert_eq!(MAGIC, 0x5f24_3501_3501_edcc);
        let (mut accepts, mut out, mut first) = (Accepts::default(), Vec::new(), Vec::new());
        let mut connects = Connects::begin(ServerId(1), &mut first);
        let nonce = || "n".to_owned();
        assert_eq!(accepts.receive(&users(), true, &first, nonce, &mut out), Ok(Progress::Waits));
        let mut answer = Vec::new();
        connects.receive("zk", &secret("secret"), &out, nonce, &mut answer).unwrap();
        answer.extend_from_slice(b"more");
        let user = Some("zk".to_owned());
        let done = Progress::Done { user, rest: b"more".to_vec() };
        assert_eq!(accepts.receive(&users(), true, &answer, nonce, &mut out), Ok(done));
    }

    /// A challenge of a third server, or of this one, that is passed on gets no answer; one of ZooKeeper's gets one.
    #[test]
    fn passed_on() {
        let answers = |asked: &str, to| {
            let (mut accepts, mut out, mut first) = (Accepts::default(), Vec::new(), Vec::new());
            let mut connects = Connects::begin(to, &mut first);
            accepts.receive(&users(), true, &first, || asked.to_owned(), &mut out).unwrap();
            let mut answer = Vec::new();
            connects.receive("zk", &secret("secret"), &out, || "c".to_owned(), &mut answer)?;
            let done = accepts.receive(&users(), true, &answer, String::new, &mut out).unwrap();
            assert!(matches!(done, Progress::Done { user: Some(_), .. }));
            Ok(())
        };
        for sid in [-1, 0, 2] {
            let asked = nonce(ServerId(sid), "ab+/=");
            assert_eq!(answers(&asked, ServerId(sid)), Ok(()));
            let refused = QuorumFailure::PassedOn { asks: sid.to_string().into(), to: ServerId(3) };
            assert_eq!(answers(&asked, ServerId(3)), Err(refused));
        }
        assert_eq!(answers("OA6MG9tEQGm2hh", ServerId(3)), Ok(()));
    }

    /// A server that does not authenticate is let in where it may be, with all its bytes.
    #[test]
    fn anonymous() {
        let receive = |is_required, bytes: &[u8]| {
            let mut out = Vec::new();
            let step = Accepts::default().receive(&users(), is_required, bytes, String::new, &mut out);
            assert!(out.is_empty());
            step
        };
        let plain = b"\0\0\0\x0b\0\0\0\0x";
        let done = Progress::Done { user: None, rest: plain.to_vec() };
        assert_eq!(receive(false, plain), Ok(done));
        assert_eq!(receive(true, plain), Err(QuorumFailure::Anonymous));
        assert_eq!(receive(true, &plain[..7]), Ok(Progress::Waits));
        let mut ends = Accepts { bytes: b"\0".to_vec(), asked: None };
        assert_eq!((ends.end(true), ends.end(false)), (None, Some(b"\0".to_vec())));
        let mut begun = Accepts { bytes: MAGIC.to_be_bytes().to_vec(), asked: None };
        assert_eq!(begun.end(false), None);
    }

    /// A packet that promises too much, or comes at the wrong time, ends the exchange before more is kept.
    #[test]
    fn bad_packets() {
        let mut long = MAGIC.to_be_bytes().to_vec();
        long.extend_from_slice(&[0, 0, 0, 0, 0x7f, 0, 0, 0]);
        let mut out = Vec::new();
        let step = Accepts::default().receive(&users(), false, &long, String::new, &mut out);
        assert_eq!(step, Err(Failure::TooLong(0x7f00_0000).into()));
        assert_eq!(next(&mut out), Ok(Some((ERROR, Vec::new()))));
        let mut early = Vec::new();
        put(&mut early, SUCCESS, b"rspauth=x");
        let connects = || Connects::begin(ServerId(1), &mut Vec::new());
        let step = connects().receive("zk", &secret("x"), &early, String::new, &mut out);
        assert_eq!(step, Err(QuorumFailure::Malformed));
        let step = connects().receive("zk", &secret("x"), &[0; 8], String::new, &mut out);
        assert_eq!(step, Err(QuorumFailure::Malformed));
    }
}
