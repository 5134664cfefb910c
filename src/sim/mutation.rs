//! Deliberate bugs of a server, to see that the checks notice them.

use super::Random;
use crate::driver::Bug;
use crate::proto::OpCode;
use crate::replica::{Deltas, Entry, Now, SessionsBug, TxnKind, Uplink, View, ViewRequest};
use crate::zab::configuration::ConfigurationsBug;

/// A deliberate bug, to see that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A group counts as durable when it is written.
    AcknowledgeEarly,
    /// Groups are not written at all.
    LoseWrites,
    /// Epochs are not saved.
    ForgetEpochs,
    /// Every server is a quorum.
    DecideAlone,
    /// A truncation is not carried out.
    SkipTruncation,
    /// What is forwarded to the leader is sent twice.
    ForwardTwice,
    /// A view answers sync by itself.
    SyncAtOnce,
    /// Two answers change places.
    SwapReplies,
    /// Some events are not sent.
    LoseEvents,
    /// Events come behind the answers.
    LateEvents,
    /// A follower tells its observers of what is proposed, before it is committed.
    InformEarly,
    /// Wires stay cut when faults end.
    StayCut,
    /// One of the driver, which the server has too.
    InDriver(Bug),
    /// One of local sessions or of read-only mode.
    InSessions(SessionsBug),
    /// One of reconfigurations.
    InConfigurations(ConfigurationsBug),
}

/// A view answers sync by itself. See [`Mutation::SyncAtOnce`].
pub(super) fn sync_at_once(view: &mut View, uplink: &mut Uplink, now: Now) {
    let zxid = view.zxid();
    let synced = uplink
        .items
        .extract_if(.., |item| matches!(item, ViewRequest::Request(request) if request.op == OpCode::SYNC));
    let entries = synced.map(|item| {
        let ViewRequest::Request(request) = item else { unreachable!("looked at above") };
        Entry {
            zxid,
            digest: 0,
            to: Some(request.origin),
            xid: request.xid,
            what: TxnKind::Synced.into(),
            changes_end: 0,
            results_end: 0,
        }
    });
    let entries: Vec<_> = entries.collect();
    view.apply(&Deltas { entries, ..Deltas::default() }, now);
}

/// What a broken server makes of its answers.
pub(super) fn mutate(mutation: Option<Mutation>, bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    if !matches!(mutation, Some(Mutation::SwapReplies | Mutation::LoseEvents | Mutation::LateEvents)) {
        return bytes;
    }
    let mut frames: Vec<Vec<u8>> = Vec::new();
    let mut rest = &bytes[..];
    while let Some(length) = rest.first_chunk::<4>() {
        let (frame, behind) = rest.split_at(4 + u32::from_be_bytes(*length) as usize);
        frames.push(frame.to_vec());
        rest = behind;
    }
    let is_event = |frame: &Vec<u8>| frame.len() >= 8 && frame[4..8] == (-1i32).to_be_bytes();
    match mutation {
        Some(Mutation::SwapReplies) if frames.len() > 1 => {
            let at = random.below(frames.len() as u64 - 1) as usize;
            frames.swap(at, at + 1);
        }
        Some(Mutation::LoseEvents) if random.one_in(4) => frames.retain(|frame| !is_event(frame)),
        Some(Mutation::LateEvents) => frames.sort_by_key(is_event),
        _ => {}
    }
    frames.concat()
}
