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
//! only the one that it connects to. Nonces of ZooKeeper name none, and are answered. A ticket names the server that it is for.

use super::digest_md5;
use super::exchange::{Exchange, Login, Means, Proved, Response, Step};
use super::failure::{Failure, shown};
use super::gssapi::TOKEN_BYTES_MAX;
use super::mechanism::Mechanism;
use super::name::Principal;
use crate::proto::{JuteWrite, Reader, ServerId};
use bytes::BufMut;

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
    /// A principal is of a host that no server has.
    #[error("principal {0:?} is not NAME/HOST@REALM with the host of a server line")]
    Host(Box<str>),
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
    exchange: Exchange,
}

/// What the side that accepts asks for.
pub struct Demands<'a> {
    /// What its exchanges need.
    pub means: Means<'a>,
    /// `quorum.auth.serverRequireSasl`
    pub is_required: bool,
    /// Says whether a server of the ensemble has this host: what a principal needs.
    pub is_host: &'a dyn Fn(&str) -> bool,
}

impl Accepts {
    /// Takes bytes of the other side, and appends what to send.
    ///
    /// # Errors
    /// [`QuorumFailure`]: the connection is to be closed, once `out` is sent.
    pub fn receive(
        &mut self,
        demands: &Demands<'_>,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress, QuorumFailure> {
        self.bytes.extend_from_slice(bytes);
        if self.exchange.is_new() && self.bytes.len() >= 8 && !self.bytes.starts_with(&MAGIC.to_be_bytes()) {
            return match demands.is_required {
                true => Err(QuorumFailure::Anonymous),
                false => Ok(Progress::Done { user: None, rest: std::mem::take(&mut self.bytes) }),
            };
        }
        let taken = self.take(demands, out);
        if taken.is_err() {
            put(out, ERROR, Some(b""));
        }
        taken
    }

    fn take(&mut self, demands: &Demands<'_>, out: &mut Vec<u8>) -> Result<Progress, QuorumFailure> {
        while let Some((_, token)) = next(&mut self.bytes)? {
            match self.exchange.take(&demands.means, token.as_deref().unwrap_or_default())? {
                Step::Asks(token) => put(out, IN_PROGRESS, Some(&token)),
                Step::Proves(proved) => {
                    demands.judge(&proved)?;
                    put(out, SUCCESS, proved.token.as_deref());
                    let rest = std::mem::take(&mut self.bytes);
                    return Ok(Progress::Done { user: Some(proved.user), rest });
                }
            }
        }
        Ok(Progress::Waits)
    }

    /// The other side sends nothing more: what came so far, if it need not authenticate and has not begun to.
    pub fn end(&mut self, is_required: bool) -> Option<Vec<u8>> {
        let has_begun = !self.exchange.is_new() || self.bytes.starts_with(&MAGIC.to_be_bytes());
        (!is_required && !has_begun).then(|| std::mem::take(&mut self.bytes))
    }
}

impl Demands<'_> {
    /// Whether a server that has proved who it is may join. Source: `SaslQuorumServerCallbackHandler`.
    fn judge(&self, Proved { user, acts_as, .. }: &Proved) -> Result<(), QuorumFailure> {
        if acts_as != user {
            return Err(QuorumFailure::ActsAs(shown(user)));
        }
        if matches!(self.means.mechanism, Mechanism::DigestMd5(_)) {
            return Ok(());
        }
        let host = Principal::parse(user).and_then(|principal| principal.host);
        if host.is_some_and(self.is_host) { Ok(()) } else { Err(QuorumFailure::Host(shown(user))) }
    }
}

/// The side that connects.
#[derive(Debug)]
pub struct Connects {
    to: ServerId,
    bytes: Vec<u8>,
    login: Login,
}

impl Connects {
    /// The side that connects to server `to`; appends what to send first, which is `login`'s `first` token.
    pub fn begin(to: ServerId, login: Login, first: &[u8], out: &mut Vec<u8>) -> Self {
        put(out, IN_PROGRESS, Some(first));
        Self { to, bytes: Vec::new(), login }
    }

    /// Takes bytes of the other side, and appends what to send. `cnonce` makes one that was never used.
    ///
    /// # Errors
    /// [`QuorumFailure`]: the connection is to be closed.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        cnonce: impl Fn() -> String,
        out: &mut Vec<u8>,
    ) -> Result<Progress, QuorumFailure> {
        self.bytes.extend_from_slice(bytes);
        while let Some((status, token)) = next(&mut self.bytes)? {
            if status == ERROR {
                return Err(QuorumFailure::Refused);
            }
            self.check_who_asks(token.as_deref())?;
            match (status, self.login.take(token.as_deref(), &cnonce)?) {
                (IN_PROGRESS, Response::Answers(answer)) => put(out, IN_PROGRESS, Some(&answer)),
                (SUCCESS, Response::Done) => {
                    return Ok(Progress::Done { user: None, rest: std::mem::take(&mut self.bytes) });
                }
                _ => return Err(QuorumFailure::Malformed),
            }
        }
        Ok(Progress::Waits)
    }
}

impl Connects {
    /// Refuses the challenge of another server than the one that was connected to.
    fn check_who_asks(&self, token: Option<&[u8]>) -> Result<(), QuorumFailure> {
        let (Login::DigestMd5 { .. }, Some(challenge)) = (&self.login, token) else { return Ok(()) };
        let nonce = digest_md5::nonce_of(challenge)?;
        match asks(&nonce).filter(|asks| *asks != self.to.0.to_string()) {
            Some(asks) => Err(QuorumFailure::PassedOn { asks: asks.into(), to: self.to }),
            None => Ok(()),
        }
    }
}

fn put(out: &mut Vec<u8>, status: i32, token: Option<&[u8]>) {
    out.put_i64(MAGIC);
    out.put_i32(status);
    out.put_buffer(token);
}

/// A packet's status and its token.
type Packet = (i32, Option<Vec<u8>>);

/// Takes the next packet from the front of `bytes`.
fn next(bytes: &mut Vec<u8>) -> Result<Option<Packet>, QuorumFailure> {
    let mut reader = Reader::new(bytes);
    let Ok(magic) = reader.long() else { return Ok(None) };
    if magic != MAGIC {
        return Err(QuorumFailure::Malformed);
    }
    let (Ok(status), Ok(length)) = (reader.int(), reader.int()) else { return Ok(None) };
    // -1 is null.
    let kept = usize::try_from(length).unwrap_or_default();
    if kept > TOKEN_BYTES_MAX {
        return Err(Failure::TooLong { bytes: kept, limit: TOKEN_BYTES_MAX }.into());
    }
    let Some(token) = reader.rest().get(..kept).map(<[u8]>::to_vec) else { return Ok(None) };
    bytes.drain(..8 + 4 + 4 + kept);
    Ok(Some((status, (length >= 0).then_some(token))))
}

#[cfg(test)]
mod tests {
    use super::super::digest_md5::Service;
    use super::super::gssapi::tests::Fake;
    use super::super::gssapi::{Acceptor, Context};
    use super::super::mechanism::KerberosLogin;
    use super::*;
    use crate::auth::secret::Secret;
    use std::collections::BTreeMap;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[derive(Debug)]
    struct Keys;

    impl Acceptor for Keys {
        fn accept(&self) -> Box<dyn Context> {
            Box::new(Fake { steps: vec![("ap-rep", true)] })
        }
    }

    /// Gives the side that accepts these bytes.
    fn accept(
        accepts: &mut Accepts,
        mechanism: &Mechanism,
        is_required: bool,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress, QuorumFailure> {
        let nonce = || "n".to_owned();
        let (service, kerberos) = (Service::QUORUM, Some(&Keys as &dyn Acceptor));
        let is_host = |host: &str| host == "zk1";
        let means = Means { service, mechanism, nonce: &nonce, kerberos };
        accepts.receive(&Demands { means, is_required, is_host: &is_host }, bytes, out)
    }

    fn passwords() -> Mechanism {
        Mechanism::DigestMd5(BTreeMap::from([("zk".to_owned(), secret("secret"))]))
    }

    fn connects(user: &str, password: &str, out: &mut Vec<u8>) -> Connects {
        let (login, first) = Login::by_password(Service::QUORUM, user.to_owned(), secret(password));
        Connects::begin(ServerId(1), login, &first, out)
    }

    /// Both sides of an exchange, whose bytes come one by one; then what each has at the end.
    fn exchange(
        mechanism: &Mechanism,
        mut connects: Connects,
        mut sent: Vec<u8>,
    ) -> [Option<Result<Progress, QuorumFailure>>; 2] {
        let (mut accepts, mut answered) = (Accepts::default(), Vec::new());
        let mut ends = [None, None];
        let waits = Ok(Progress::Waits);
        while ends[1].is_none() && !(sent.is_empty() && answered.is_empty()) {
            for byte in std::mem::take(&mut sent) {
                let step = accept(&mut accepts, mechanism, true, &[byte], &mut answered);
                ends[0] = (step != waits).then_some(step);
            }
            for byte in std::mem::take(&mut answered) {
                let step = connects.receive(&[byte], || "c".to_owned(), &mut sent);
                ends[1] = (step != waits).then_some(step);
            }
        }
        ends
    }

    fn done(user: Option<&str>) -> Option<Result<Progress, QuorumFailure>> {
        Some(Ok(Progress::Done { user: user.map(str::to_owned), rest: Vec::new() }))
    }

    /// Who knows the password gets in, at every cut of the bytes; who does not, is told so.
    #[test]
    fn passwords_exchange() {
        let exchange = |user, password| {
            let mut sent = Vec::new();
            let connects = connects(user, password, &mut sent);
            exchange(&passwords(), connects, sent)
        };
        assert_eq!(exchange("zk", "secret"), [done(Some("zk")), done(None)]);
        let refused = Some(Err(QuorumFailure::Refused));
        let wrong = Failure::WrongPassword("zk".into());
        assert_eq!(exchange("zk", "other"), [Some(Err(wrong.into())), refused.clone()]);
        let unknown = Failure::UnknownUser("other".into());
        assert_eq!(exchange("other", "secret"), [Some(Err(unknown.into())), refused]);
    }

    /// Who has a ticket gets in if its principal is of a server's host.
    #[test]
    fn tickets_exchange() {
        let tickets = Mechanism::Gssapi(KerberosLogin::default());
        let exchange = |own: &str| {
            let (context, mut sent) =
                (Box::new(Fake { steps: vec![("ap-req", false), ("", true)] }), Vec::new());
            let (login, first) = Login::by_ticket(context, own.to_owned()).unwrap();
            let connects = Connects::begin(ServerId(1), login, &first, &mut sent);
            exchange(&tickets, connects, sent)
        };
        let refused = || Some(Err(QuorumFailure::Refused));
        assert_eq!(exchange("ann@R"), [Some(Err(QuorumFailure::Host("ann@R".into()))), refused()]);
        assert_eq!(exchange("bob@R"), [Some(Err(QuorumFailure::ActsAs("ann@R".into()))), refused()]);
        let judge = |user: &str| {
            let nonce = String::new;
            let is_host = |host: &str| host == "zk1";
            let means =
                Means { service: Service::QUORUM, mechanism: &tickets, nonce: &nonce, kerberos: None };
            let demands = Demands { means, is_required: true, is_host: &is_host };
            demands.judge(&Proved { user: user.to_owned(), acts_as: user.to_owned(), token: None })
        };
        assert_eq!(judge("zk/zk1@R"), Ok(()));
        assert_eq!(judge("zk/zk2@R"), Err(QuorumFailure::Host("zk/zk2@R".into())));
    }

    /// What follows the exchange is kept, and the magic is Java's.
    #[test]
    fn rest_is_kept() {
        assert_eq!(MAGIC, 0x5f24_3501_3501_edcc);
        let (mut accepts, mut out, mut first) = (Accepts::default(), Vec::new(), Vec::new());
        let mut connects = connects("zk", "secret", &mut first);
        assert_eq!(accept(&mut accepts, &passwords(), true, &first, &mut out), Ok(Progress::Waits));
        let mut answer = Vec::new();
        connects.receive(&out, || "c".to_owned(), &mut answer).unwrap();
        answer.extend_from_slice(b"more");
        let user = Some("zk".to_owned());
        let done = Progress::Done { user, rest: b"more".to_vec() };
        assert_eq!(accept(&mut accepts, &passwords(), true, &answer, &mut out), Ok(done));
    }

    /// A challenge of a third server, or of this one, that is passed on gets no answer; one of ZooKeeper's gets one.
    #[test]
    fn passed_on() {
        let passwords = passwords();
        let answers = |asked: &str, to| {
            let (mut accepts, mut out, mut first) = (Accepts::default(), Vec::new(), Vec::new());
            let (login, token) = Login::by_password(Service::QUORUM, "zk".to_owned(), secret("secret"));
            let mut connects = Connects::begin(to, login, &token, &mut first);
            let receive = |accepts: &mut Accepts, bytes: &[u8], out: &mut Vec<u8>| {
                let nonce = || asked.to_owned();
                let (service, mechanism) = (Service::QUORUM, &passwords);
                let means = Means { service, mechanism, nonce: &nonce, kerberos: None };
                accepts.receive(&Demands { means, is_required: true, is_host: &|_| false }, bytes, out)
            };
            receive(&mut accepts, &first, &mut out).unwrap();
            let mut answer = Vec::new();
            connects.receive(&out, || "c".to_owned(), &mut answer)?;
            let done = receive(&mut accepts, &answer, &mut out).unwrap();
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
            let step = accept(&mut Accepts::default(), &passwords(), is_required, bytes, &mut out);
            assert!(out.is_empty());
            step
        };
        let plain = b"\0\0\0\x0b\0\0\0\0x";
        let done = Progress::Done { user: None, rest: plain.to_vec() };
        assert_eq!(receive(false, plain), Ok(done));
        assert_eq!(receive(true, plain), Err(QuorumFailure::Anonymous));
        assert_eq!(receive(true, &plain[..7]), Ok(Progress::Waits));
        let mut ends = Accepts { bytes: b"\0".to_vec(), ..Accepts::default() };
        assert_eq!((ends.end(true), ends.end(false)), (None, Some(b"\0".to_vec())));
        let mut begun = Accepts { bytes: MAGIC.to_be_bytes().to_vec(), ..Accepts::default() };
        assert_eq!(begun.end(false), None);
    }

    /// A packet that promises too much, or comes at the wrong time, ends the exchange before more is kept.
    #[test]
    fn bad_packets() {
        let mut long = MAGIC.to_be_bytes().to_vec();
        long.extend_from_slice(&[0, 0, 0, 0, 0x7f, 0, 0, 0]);
        let mut out = Vec::new();
        let step = accept(&mut Accepts::default(), &passwords(), false, &long, &mut out);
        let too_long = Failure::TooLong { bytes: 0x7f00_0000, limit: TOKEN_BYTES_MAX };
        assert_eq!(step, Err(too_long.into()));
        assert_eq!(next(&mut out), Ok(Some((ERROR, Some(Vec::new())))));
        let receive = |bytes: &[u8]| {
            let mut out = Vec::new();
            connects("zk", "x", &mut out).receive(bytes, String::new, &mut out)
        };
        let mut early = Vec::new();
        put(&mut early, SUCCESS, Some(b"realm=\"x\",nonce=\"y\",algorithm=md5-sess"));
        assert_eq!(receive(&early), Err(QuorumFailure::Malformed));
        assert_eq!(receive(&[0; 8]), Err(QuorumFailure::Malformed));
    }
}
