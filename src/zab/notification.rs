//! The election port's bytes: a hello, then one vote per frame.
//!
//! The side that connects sends [`put_hello`] once; nothing answers it. Then both sides send frames, `int length` and
//! a [`Notification`]:
//!
//! | offset | bytes | field |
//! |---:|---:|---|
//! | 0 | 4 | state of the sender |
//! | 4 | 8 | leader it votes for |
//! | 12 | 8 | that one's zxid |
//! | 20 | 8 | round |
//! | 28 | 8 | that one's peer epoch |
//! | 36 | 4 | version, 2 |
//! | 40 | 4 | length of the configuration |
//! | 44 | n | configuration as text |
//! | 44 + n | 4 + m | length and text of the configuration that a reconfiguration proposes; zkfast's own, left out if there is none |
//!
//! Source: `FastLeaderElection.buildMsg`, `WorkerReceiver`, `QuorumCnxManager.InitialMessage`, 3.9.4.

use bytes::BufMut;

use super::message::MessageError;
use crate::proto::{JuteWrite, Reader, ServerId, Short, Zxid};

/// Most bytes of a frame. Source: `QuorumCnxManager.PACKETMAXSIZE`.
pub const NOTIFICATION_BYTES_MAX: usize = 512 * 1024;
/// Most bytes of the addresses in a hello. Source: `QuorumCnxManager.maxBuffer`.
pub const ADDRESSES_BYTES_MAX: usize = 2048;
/// Bytes of the oldest form: no peer epoch, the zxid's stands for it.
const BYTES_WITHOUT_EPOCH: usize = 28;
/// Bytes of the form that ends where a version and a configuration begin; its last four are not looked at.
const BYTES_WITHOUT_CONFIG: usize = 40;

/// A hello with one address.
const HELLO: i64 = -65536;
/// A hello with several, `|` between them.
const HELLO_MULTI_ADDRESS: i64 = -65535;
/// The version of notifications that carries the configuration.
const VERSION: i32 = 2;

/// What a server does, as it sends to others. Source: `QuorumPeer.ServerState`, by ordinal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// It looks for a leader.
    Looking,
    /// It follows, with a vote.
    Following,
    /// It leads.
    Leading,
    /// It follows, without a vote.
    Observing,
}

impl ServerState {
    const fn from_wire(value: i32) -> Option<Self> {
        match value {
            0 => Some(Self::Looking),
            1 => Some(Self::Following),
            2 => Some(Self::Leading),
            3 => Some(Self::Observing),
            _ => None,
        }
    }

    const fn to_wire(self) -> i32 {
        match self {
            Self::Looking => 0,
            Self::Following => 1,
            Self::Leading => 2,
            Self::Observing => 3,
        }
    }
}

/// The server that a voter wants to lead, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Sid of the proposed leader.
    pub leader: ServerId,
    /// Last zxid in the proposed leader's log.
    pub zxid: Zxid,
    /// The election's round, a logical clock.
    pub round: i64,
    /// The proposed leader's current epoch; once it leads, the epoch in which it does.
    pub peer_epoch: i64,
}

/// Leader, zxid and peer epoch on the wire where the sender votes for no server. Source:
/// `FastLeaderElection.getInitId`, `getInitLastLoggedZxid`, `getPeerEpoch`.
const NO_VOTE: i64 = i64::MIN;
/// The zxid of a server that looks for a leader and cannot read its log; Java ignores such a vote. Source:
/// `FastLeaderElection.lookForLeader`, "Ignoring notification from member with -1 zxid".
const ZXID_UNKNOWN: i64 = -1;

/// One frame's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification<'a> {
    /// The sender's state.
    pub state: ServerState,
    /// The sender's round, a logical clock; its vote is of the same.
    pub round: i64,
    /// Its vote; `None` from a server that votes for no server.
    pub vote: Option<Vote>,
    /// Form of the message; 0 from servers before 3.4.6.
    pub version: i32,
    /// The sender's configuration, `None` in older forms.
    pub config: Option<&'a [u8]>,
    /// The configuration that a reconfiguration in its log proposes.
    pub next_config: Option<&'a [u8]>,
}

impl<'a> Notification<'a> {
    /// Reads a frame's content.
    ///
    /// # Errors
    /// A form or state that is not known. Java passes over such a frame and keeps the connection.
    pub fn read(frame: &'a [u8]) -> Result<Self, MessageError> {
        Self::fields(frame).map_err(|error| MessageError::Data { message: "notification", error })
    }

    fn fields(frame: &'a [u8]) -> Result<Self, Short> {
        let mut reader = Reader::new(frame);
        let state = reader.int()?;
        let state = ServerState::from_wire(state).ok_or(Short::Unknown(state))?;
        let leader = ServerId(reader.long()?);
        let zxid = Zxid::from_wire(reader.long()?);
        let round = reader.long()?;
        let peer_epoch = match frame.len() {
            BYTES_WITHOUT_EPOCH => i64::from(zxid.epoch()),
            _ => reader.long()?,
        };
        let version = match frame.len() {
            BYTES_WITHOUT_EPOCH | BYTES_WITHOUT_CONFIG => 0,
            _ => reader.int()?,
        };
        let config = if version >= VERSION { Some(reader.buffer()?.ok_or(Short::Null)?) } else { None };
        let next_config = reader.buffer().ok().flatten().filter(|_| config.is_some());
        let is_unknown = state == ServerState::Looking && zxid.to_wire() == ZXID_UNKNOWN;
        let is_vote = leader.0 != NO_VOTE && !is_unknown;
        let vote = is_vote.then_some(Vote { leader, zxid, round, peer_epoch });
        Ok(Self { state, round, vote, version, config, next_config })
    }
}

/// Appends a frame with a vote, or with none, in the form of version 2.
pub fn put_notification(
    out: &mut Vec<u8>,
    state: ServerState,
    round: i64,
    vote: Option<&Vote>,
    config: &[u8],
    next_config: Option<&[u8]>,
) {
    assert!(vote.is_none_or(|vote| vote.round == round), "{vote:?} is sent in round {round}");
    let length = 44 + config.len() + next_config.map_or(0, |next| 4 + next.len());
    assert!(length <= NOTIFICATION_BYTES_MAX, "notification of {length} bytes");
    out.reserve(4 + length);
    out.put_count(length);
    out.put_i32(state.to_wire());
    out.put_i64(vote.map_or(NO_VOTE, |vote| vote.leader.0));
    out.put_i64(vote.map_or(NO_VOTE, |vote| vote.zxid.to_wire()));
    out.put_i64(round);
    out.put_i64(vote.map_or(NO_VOTE, |vote| vote.peer_epoch));
    out.put_i32(VERSION);
    out.put_buffer(Some(config));
    if next_config.is_some() {
        out.put_buffer(next_config);
    }
}

/// The content of the frame at the start of `bytes`, and the frame's length; `None` while it has not all come.
///
/// # Errors
/// A length that no frame has, as soon as it is seen.
pub fn read_frame(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, MessageError> {
    let mut reader = Reader::new(bytes);
    let Ok(length) = reader.int() else { return Ok(None) };
    let length = checked(length, "notification", NOTIFICATION_BYTES_MAX)?;
    Ok(reader.rest().get(..length).map(|frame| (frame, 4 + length)))
}

/// A length from 1 to `limit`.
fn checked(length: i32, field: &'static str, limit: usize) -> Result<usize, MessageError> {
    match usize::try_from(length) {
        Err(_) | Ok(0) => Err(MessageError::Negative { field, have: length }),
        Ok(have) if have > limit => Err(MessageError::TooLong { field, have, limit }),
        Ok(have) => Ok(have),
    }
}

/// What a server says in its hello that does not listen for votes: an address must be there, and none is called at this one.
pub const NO_ADDRESS: &str = "0.0.0.0:0";

/// Appends what the side that connects sends first. `address` is where it listens for votes, `host:port`.
pub fn put_hello(out: &mut Vec<u8>, sid: ServerId, address: &str) {
    out.put_i64(HELLO);
    out.put_i64(sid.0);
    out.put_string(address.as_bytes());
}

/// The sid of the hello at the start of `bytes`, and the hello's length; `None` while it has not all come.
///
/// The addresses in it count only for a server that the configuration does not name: [`address_in_hello`].
///
/// # Errors
/// Neither a hello nor the bare sid of the oldest form.
pub fn read_hello(bytes: &[u8]) -> Result<Option<(ServerId, usize)>, MessageError> {
    let mut reader = Reader::new(bytes);
    let sid = match reader.long() {
        Err(_) => return Ok(None),
        Ok(HELLO | HELLO_MULTI_ADDRESS) => match reader.long() {
            Err(_) => return Ok(None),
            Ok(sid) => {
                let Ok(length) = reader.int() else { return Ok(None) };
                let length = checked(length, "election address", ADDRESSES_BYTES_MAX)?;
                return Ok((reader.rest().len() >= length).then_some((ServerId(sid), 20 + length)));
            }
        },
        Ok(sid) => sid,
    };
    if sid < 0 {
        let error = Short::Unknown(i32::try_from(sid).unwrap_or(i32::MIN));
        return Err(MessageError::Data { message: "hello", error });
    }
    Ok(Some((ServerId(sid), 8)))
}

/// Host and port where the server that says this hello listens for votes, the first of several; `None` where it does not say,
/// or not so that it can be read.
pub fn address_in_hello(hello: &[u8]) -> Option<(String, u16)> {
    let text = std::str::from_utf8(hello.get(20..)?).ok()?;
    let (host, port) = text.split('|').next()?.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &[u8] = b"server.1=a:1:2:participant\nversion=0";

    fn long(value: i64) -> [u8; 8] {
        value.to_be_bytes()
    }

    /// A vote's bytes are those of `FastLeaderElection.buildMsg`, field by field, after their length.
    #[test]
    fn a_vote_as_java_builds_it() {
        let mut java = vec![0, 0, 0, 44 + CONFIG.len() as u8];
        java.extend([0, 0, 0, 2]);
        for value in [3, 0x5_0000_0007, 9, 5] {
            java.extend(long(value));
        }
        java.extend([0, 0, 0, 2, 0, 0, 0, CONFIG.len() as u8]);
        java.extend(CONFIG);
        let vote = Vote { leader: ServerId(3), zxid: Zxid::new(5, 7), round: 9, peer_epoch: 5 };
        let mut ours = Vec::new();
        put_notification(&mut ours, ServerState::Leading, 9, Some(&vote), CONFIG, None);
        assert_eq!(ours, java);
        for cut in 0..java.len() {
            assert_eq!(read_frame(&java[..cut]), Ok(None), "cut at {cut}");
        }
        let (frame, length) = read_frame(&java).unwrap().unwrap();
        assert_eq!(length, java.len());
        let back = Notification::read(frame).unwrap();
        assert_eq!(
            back,
            Notification {
                state: ServerState::Leading,
                round: 9,
                vote: Some(vote),
                version: 2,
                config: Some(CONFIG),
                next_config: None,
            }
        );
    }

    /// A server that votes for no server writes what Java's does, and is read as such; so is one that does not know its
    /// last zxid while it looks.
    #[test]
    fn no_vote() {
        let mut bytes = Vec::new();
        put_notification(&mut bytes, ServerState::Looking, 9, None, CONFIG, None);
        let fields: Vec<_> = [i64::MIN, i64::MIN, 9, i64::MIN].map(long).concat();
        assert_eq!(bytes[8..40], fields);
        let back = Notification::read(&bytes[4..]).unwrap();
        assert_eq!((back.state, back.round, back.vote), (ServerState::Looking, 9, None));
        let unknown = Vote { leader: ServerId(1), zxid: Zxid::from_wire(-1), round: 9, peer_epoch: 1 };
        for (state, vote) in [(ServerState::Looking, None), (ServerState::Following, Some(unknown))] {
            let mut bytes = Vec::new();
            put_notification(&mut bytes, state, 9, Some(&unknown), CONFIG, None);
            assert_eq!(Notification::read(&bytes[4..]).unwrap().vote, vote);
        }
    }

    /// The forms of 28 and 40 bytes are taken; in the first the epoch is the zxid's, in neither is a version.
    #[test]
    fn old_forms() {
        let mut bytes = vec![0, 0, 0, 1];
        for value in [2, 0x4_0000_0001, 6] {
            bytes.extend(long(value));
        }
        let old = Notification::read(&bytes).unwrap();
        assert_eq!((old.vote.unwrap().peer_epoch, old.version, old.config), (4, 0, None));
        bytes.extend(long(11));
        bytes.extend([0, 0, 0, 1]);
        let old = Notification::read(&bytes).unwrap();
        assert_eq!((old.vote.unwrap().peer_epoch, old.version, old.config), (11, 0, None));
        assert_eq!(old.state, ServerState::Following);
    }

    /// Every shortened vote and every length or state that cannot be is refused.
    #[test]
    fn hostile_votes() {
        let vote = Vote { leader: ServerId(1), zxid: Zxid::ZERO, round: 1, peer_epoch: 0 };
        let mut bytes = Vec::new();
        put_notification(&mut bytes, ServerState::Looking, 1, Some(&vote), CONFIG, None);
        let frame = &bytes[4..];
        for cut in (0..frame.len()).filter(|cut| ![28, 40].contains(cut)) {
            assert!(Notification::read(&frame[..cut]).is_err(), "cut at {cut}");
        }
        for length in [-1, i32::MAX, i32::MIN] {
            let mut bytes = frame.to_vec();
            bytes[40..44].copy_from_slice(&length.to_be_bytes());
            assert!(Notification::read(&bytes).is_err(), "configuration of {length}");
        }
        let mut unknown = frame.to_vec();
        unknown[3] = 4;
        assert!(Notification::read(&unknown).is_err());
        for length in [0, -1, i32::MIN, NOTIFICATION_BYTES_MAX as i32 + 1, i32::MAX] {
            assert!(read_frame(&length.to_be_bytes()).is_err(), "frame of {length}");
        }
        assert_eq!(read_frame(&(NOTIFICATION_BYTES_MAX as i32).to_be_bytes()), Ok(None));
    }

    /// A hello is the protocol, the sid and the address, and is read at every cut; so is that of several addresses.
    #[test]
    fn hello_as_java_says_it() {
        let mut java = Vec::new();
        java.extend((-65536_i64).to_be_bytes());
        java.extend(long(7));
        java.extend([0, 0, 0, 6]);
        java.extend(b"a:3888");
        let mut ours = Vec::new();
        put_hello(&mut ours, ServerId(7), "a:3888");
        assert_eq!(ours, java);
        for cut in 0..java.len() {
            assert_eq!(read_hello(&java[..cut]), Ok(None), "cut at {cut}");
        }
        assert_eq!(read_hello(&java), Ok(Some((ServerId(7), 26))));
        java.push(0);
        java[..8].copy_from_slice(&long(-65535));
        assert_eq!(read_hello(&java), Ok(Some((ServerId(7), 26))), "what follows is not part of it");
    }

    /// A bare sid is the oldest hello; other protocols and addresses of no or too great length are refused.
    #[test]
    fn hostile_hellos() {
        assert_eq!(read_hello(&long(5)), Ok(Some((ServerId(5), 8))));
        assert!(read_hello(&long(-65534)).is_err());
        assert!(read_hello(&long(-1)).is_err());
        for length in [0, -1, 2049, i32::MAX] {
            let mut bytes = long(-65536).to_vec();
            bytes.extend(long(1));
            bytes.extend(i32::to_be_bytes(length));
            assert!(read_hello(&bytes).is_err(), "address of {length}");
        }
    }
}
