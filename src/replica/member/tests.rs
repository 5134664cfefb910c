//! One member, and peers that the test plays.

use super::super::fencing::attachment_sid;
use super::super::tests::{settings, tree_settings};
use super::super::{ControlKind, Entry, EntryKind, Serving, View, ViewSettings};
use super::common::EARLY_LINKS_MAX;
use super::connecting::Connecting;
use super::leading::Synchronizing;
use super::*;
use crate::proto::{Epoch, OpCode, ServerId, SessionId};
use crate::snapshot::java::{Encoder, Form};
use crate::zab::LinkId;
use crate::zab::leader::Leader;
use crate::zab::message::{
    ForwardedRequest, LearnerInfo, PROTOCOL_VERSION_CUMULATIVE, PacketStream, PacketType, Revalidate,
    put_ack, put_ack_epoch, put_bare, put_leader_info, put_ping_answer, put_proposal, put_with,
    read_ack_epoch,
};
use std::collections::BTreeMap;

const LINK: LinkId = LinkId(9);

fn at(ms: i64) -> Now {
    Now { mono_us: ms * 1000, wall_ms: 1_700_000_000_000 + ms }
}

/// Server 1 of three, whose log ends at `last`.
fn member(last: Zxid) -> Replica {
    let (_, membership) = Membership::of_three(1);
    let member = MemberSettings {
        membership,
        is_observer: false,
        election_address: "zk1:3888".to_owned(),
        read_only_mode: false,
        repairing: false,
        duties: Duties::default(),
    };
    let restored = Database { zxid: last, ..Database::fresh(tree_settings()) };
    let epochs = Epochs { accepted: Epoch::of(last), current: Epoch::of(last) };
    Replica::member(member, settings(), Arc::default(), restored, epochs, History::new(last), at(0))
}

fn in_ensemble(replica: &mut Replica) -> &mut Member {
    match &mut replica.role {
        Role::Member(member) => member,
        Role::Alone(_) => panic!("a member"),
    }
}

/// Puts a follower into a phase that it would reach by events.
fn become_phase(replica: &mut Replica, phase: impl FnOnce(Box<Follow>, &Common) -> Phase) {
    let Member { common, phase: slot, .. } = in_ensemble(replica);
    slot.change(|former| match former {
        Phase::Settling(Settling { follow, .. })
        | Phase::Electing(electing::Electing { follow, .. })
        | Phase::Connecting(Connecting { follow, .. }) => (phase(follow, common), ()),
        other => panic!("it is {}", other.name()),
    });
}

/// It has heard that server 3 was elected, and tries to connect for a second from `retry_ms` on.
fn connecting(replica: &mut Replica, link: Option<LinkId>, retry_ms: i64) {
    become_phase(replica, |follow, _| {
        let until_ms = retry_ms + 1000;
        Phase::Connecting(Connecting {
            follow,
            leader: 3,
            sid: 3,
            port: Port::Quorum,
            link,
            retry_ms,
            until_ms,
            wants_all: false,
        })
    });
}

/// The same, connected to server 3, which leads epoch 9 and has heard where the log ends.
fn learner(last: Zxid) -> Replica {
    let mut replica = member(last);
    connecting(&mut replica, Some(LINK), 0);
    replica.connected(LINK, at(1));
    let mut bytes = Vec::new();
    put_leader_info(&mut bytes, Epoch(9), PROTOCOL_VERSION_CUMULATIVE);
    replica.received(LINK, &bytes, at(2));
    replica
}

/// Server 1 leads, and says so to whom connects.
fn leader(last: Zxid) -> Replica {
    let mut replica = member(last);
    become_phase(&mut replica, |follow, common| {
        let leader = Leader::new(common.settings.membership.clone(), common.epochs, last, 0);
        Phase::Synchronizing(Synchronizing { leader: Box::new(leader), follow })
    });
    replica
}

/// Server `sid` connects and promises; its log ends at `last`.
fn promise(replica: &mut Replica, link: LinkId, sid: i64, last: Zxid) {
    replica.accepted(link, Port::Quorum, at(1));
    let mut bytes = Vec::new();
    let info = LearnerInfo::bytes(ServerId(sid), PROTOCOL_VERSION_CUMULATIVE, 0);
    put_with(&mut bytes, PacketType::FOLLOWERINFO, Zxid::new(last.epoch(), 0), &info);
    put_ack_epoch(&mut bytes, last, last.epoch() as i32);
    replica.received(link, &bytes, at(2));
}

/// The same, and it is in step at `ms`.
fn follow(replica: &mut Replica, link: LinkId, sid: i64, last: Zxid, ms: i64) {
    promise(replica, link, sid, last);
    let mut bytes = Vec::new();
    put_ack(&mut bytes, Zxid::new(2, 0));
    replica.received(link, &bytes, at(ms));
}

/// SNAP and a tree as of `zxid`, as a leader sends them.
fn snap(zxid: Zxid) -> Vec<u8> {
    let mut tree = Database::fresh(tree_settings()).tree;
    tree.begin_image();
    let mut nodes = Vec::new();
    while tree.image_slice(64, &mut nodes) {}
    let mut encoder = Encoder::new(Form::Stream, BTreeMap::new(), nodes);
    let mut bytes = Vec::new();
    put_bare(&mut bytes, PacketType::SNAP, zxid);
    while encoder.next_piece(&mut bytes) {}
    bytes
}

fn outputs(replica: &mut Replica) -> Vec<Output> {
    std::iter::from_fn(|| replica.take_output()).collect()
}

fn view() -> View {
    View::new(
        ViewSettings::new(0),
        Arc::default(),
        Database::fresh(tree_settings()).tree,
        Zxid::ZERO,
        BTreeMap::new(),
        0,
    )
}

/// What is asked of a server in the moment in which it gets its leader's tree goes before that tree: after it,
/// it would be of a zxid before, and the server would stop itself.
#[test]
fn word_while_a_tree_is_installed() {
    let mut replica = learner(Zxid::ZERO);
    replica.received(LINK, &snap(Zxid::new(8, 7)), at(3));
    let stored = outputs(&mut replica).into_iter().find_map(|output| match output {
        Output::StoreTree(restored) => Some(restored),
        _ => None,
    });
    replica.tree_stored(*stored.expect("a tree to store"));
    let base = replica.take_group(at(5)).expect("the log's new base");
    let cnxn = CnxnId { view: 0, slot: 0, generation: 1 };
    let items = vec![ViewRequest::FourLetterWord {
        asker: Asker::Cnxn(cnxn),
        word: FourLetterWord::Srvr,
        mask: None,
    }];
    replica.submit(at(5), Uplink { items, ..Uplink::default() });
    replica.durable(base, at(5));
    let mut view = view();
    while let Some(deltas) = replica.take_published() {
        view.apply(&deltas, at(6));
    }
    assert_eq!(view.zxid(), Zxid::new(8, 7));
    assert!(view.has_uplink(), "the view reports");
}

/// A four-letter word waits for no group: an operator asks most when the disk is slow.
#[test]
fn word_while_the_log_is_written() {
    let mut replica = Replica::alone(settings(), Arc::default(), Database::fresh(tree_settings()), at(0));
    let cnxn = CnxnId { view: 0, slot: 0, generation: 1 };
    let session =
        ViewRequest::CreateSession { from: cnxn.into(), session_id: SessionId(7), timeout_ms: 10_000 };
    replica.submit(at(1), Uplink { items: vec![session], ..Uplink::default() });
    let group = replica.take_group(at(1)).expect("a txn");
    assert!(replica.take_published().is_none(), "it is not durable");
    let word =
        ViewRequest::FourLetterWord { asker: Asker::Cnxn(cnxn), word: FourLetterWord::Srvr, mask: None };
    replica.submit(at(2), Uplink { items: vec![word], ..Uplink::default() });
    let asked = replica.take_published().expect("the views are asked");
    assert!(matches!(
        asked.entries[..],
        [Entry { what: EntryKind::Control(ControlKind::Report { .. }), zxid: Zxid::ZERO, .. }]
    ));
    replica.answer_word(cnxn, b"Mode: standalone".to_vec());
    let told = replica.take_published().expect("the client is told");
    assert!(matches!(told.entries[..], [Entry { what: EntryKind::Control(ControlKind::Text(_)), .. }]));
    replica.durable(group, at(3));
    assert!(
        replica
            .take_published()
            .is_some_and(|deltas| deltas.entries.last().is_some_and(|last| last.zxid > Zxid::ZERO))
    );
}

/// While a learner carries out what takes long it takes in no more than it has room for, and does not hold its
/// leader's silence against it.
#[test]
fn deaf_while_truncating() {
    let mut replica = learner(Zxid::new(8, 7));
    assert!(replica.may_receive(LINK));
    let mut bytes = Vec::new();
    put_bare(&mut bytes, PacketType::TRUNC, Zxid::new(8, 5));
    replica.received(LINK, &bytes, at(3));
    assert!(!replica.may_receive(LINK), "it would be kept until the log is cut");
    assert!(replica.take_group(at(3)).is_none(), "it is not known whether that can be done");
    replica.truncate(Zxid::new(8, 5), true, at(3));
    assert!(!replica.may_receive(LINK));
    let marker = replica.take_group(at(3)).expect("a marker");
    replica.durable(marker, at(4));
    replica.tick(at(60_000));
    assert!(!replica.may_receive(LINK));
    replica.reloaded(Database { zxid: Zxid::new(8, 5), ..Database::fresh(tree_settings()) }, at(60_001));
    replica.tick(at(60_002));
    assert!(replica.may_receive(LINK));
    let looks = |output: &Output| matches!(output, Output::Event(Event::Looking { .. }));
    assert!(!outputs(&mut replica).iter().any(looks));
}

/// A learner whose log does not go back to where its leader wants it writes nothing, connects again at once, and says
/// that it has nothing; a leader that does not send everything then, or another one, hears no more of that.
#[test]
fn all_instead_of_a_truncation() {
    let last = Zxid::new(8, 7);
    // What it says to the leader of this epoch about the end of its log.
    let promise_epoch = |replica: &mut Replica, link: LinkId, epoch: u32| {
        let mut bytes = Vec::new();
        put_leader_info(&mut bytes, Epoch(epoch), PROTOCOL_VERSION_CUMULATIVE);
        replica.received(link, &bytes, at(5));
        let mut stream = PacketStream::default();
        for output in outputs(replica) {
            if let Output::Send { bytes, .. } = output {
                stream.feed(&bytes);
            }
        }
        let mut said = None;
        while let Some(packet) = stream.next_packet().expect("well formed") {
            if packet.kind == PacketType::ACKEPOCH {
                said = Some((packet.zxid, read_ack_epoch(packet.data).expect("well formed")));
            }
        }
        said.expect("a promise")
    };
    let begin = || {
        let mut replica = learner(last);
        let mut bytes = Vec::new();
        put_bare(&mut bytes, PacketType::TRUNC, Zxid::new(8, 5));
        replica.received(LINK, &bytes, at(3));
        outputs(&mut replica);
        replica.truncate(Zxid::new(8, 5), false, at(4));
        assert!(replica.take_group(at(4)).is_none(), "nothing is cut");
        let told = outputs(&mut replica);
        let link = told.iter().find_map(|output| match output {
            Output::Connect { link, sid: 3, port: Port::Quorum } => Some(*link),
            _ => None,
        });
        let is_closed = |output: &Output| matches!(output, Output::Close { link } if *link == LINK);
        assert!(told.iter().any(is_closed), "{told:?}");
        let link = link.expect("another connection");
        replica.connected(link, at(5));
        (replica, link)
    };
    for kind in [PacketType::TRUNC, PacketType::DIFF] {
        let (mut replica, link) = begin();
        assert_eq!(promise_epoch(&mut replica, link, 9), (Zxid::ZERO, -1));
        let mut bytes = Vec::new();
        put_bare(&mut bytes, kind, Zxid::new(8, 5));
        replica.received(link, &bytes, at(6));
        let looks = |output: &Output| matches!(output, Output::Event(Event::Looking { .. }));
        assert!(outputs(&mut replica).iter().any(looks), "{kind:?}");
        assert_eq!(in_ensemble(&mut replica).common.history.last(), last);
    }
    let (mut replica, link) = begin();
    assert_eq!(
        promise_epoch(&mut replica, link, 10),
        (last, 8),
        "the promise of another epoch tells what is here"
    );
}

/// So it does with proposals that come while a tree is on its way to the disk.
#[test]
fn proposals_behind_a_tree_are_bounded() {
    let mut replica = learner(Zxid::ZERO);
    replica.received(LINK, &snap(Zxid::new(8, 7)), at(3));
    let txn = vec![0; 1 << 20];
    let mut taken = 0;
    while replica.may_receive(LINK) {
        taken += 1;
        let mut bytes = Vec::new();
        put_proposal(&mut bytes, Zxid::new(9, taken), &txn);
        replica.received(LINK, &bytes, at(5));
        assert!(taken < 100, "there is no end");
    }
    assert!(taken >= 16);
}

/// A follower whose views are far behind reads nothing more, and does not hold its leader's silence against it.
#[test]
fn views_that_lag() {
    let mut replica = learner(Zxid::ZERO);
    assert!(replica.may_receive(LINK));
    outputs(&mut replica);
    replica.set_views_lag(true);
    assert!(!replica.may_receive(LINK));
    (1..=120).for_each(|s| replica.tick(at(s * 1000)));
    assert!(
        !outputs(&mut replica).iter().any(|output| matches!(output, Output::Close { link } if *link == LINK))
    );
    replica.set_views_lag(false);
    assert!(replica.may_receive(LINK));
    (121..=240).for_each(|s| replica.tick(at(s * 1000)));
    assert!(
        outputs(&mut replica).iter().any(|output| matches!(output, Output::Close { link } if *link == LINK))
    );
}

/// A leader that makes its tree for the voter that it needs waits for itself, and no longer than a moment where that voter
/// has gone.
#[test]
fn leader_that_makes_its_tree() {
    let last = Zxid::new(1, 5);
    let mut replica = leader(last);
    promise(&mut replica, LINK, 2, Zxid::new(1, 2));
    assert!(outputs(&mut replica).iter().any(|output| matches!(output, Output::SaveEpochs { .. })));
    replica.log_found(LINK, None, at(2));
    let image = |deltas: Deltas| {
        deltas.entries.iter().any(|entry| matches!(entry.what, EntryKind::Control(ControlKind::Image(_))))
    };
    assert!(std::iter::from_fn(|| replica.take_published()).any(image), "server 2 waits for a tree");
    (1..=60).for_each(|s| replica.tick(at(s * 1000)));
    let leads = |replica: &mut Replica| in_ensemble(replica).phase.leader().is_some();
    assert!(leads(&mut replica));
    replica.closed(LINK, at(60_500));
    (61..=64).for_each(|s| replica.tick(at(s * 1000)));
    assert!(!leads(&mut replica), "no server is left to follow");
}

/// With `leaderServes=no` a server that leads serves no client, and says so to clients that ask; HTTP hears that it leads.
#[test]
fn leader_without_clients() {
    let last = Zxid::new(1, 5);
    for serves in [true, false] {
        let mut replica = leader(last);
        in_ensemble(&mut replica).common.settings.duties.leader_serves = serves;
        follow(&mut replica, LINK, 2, last, 3);
        assert_eq!(replica.standing(), Standing::Leading);
        let is_open = |deltas: Deltas| {
            deltas
                .entries
                .iter()
                .any(|entry| matches!(entry.what, EntryKind::Control(ControlKind::Serving(Serving::Yes))))
        };
        assert_eq!(std::iter::from_fn(|| replica.take_published()).any(is_open), serves);
        assert_eq!(replica.serves_clients(), serves);
    }
}

/// A follower that comes back to its leader still has its clients' sessions there, and no other server has.
#[test]
fn sessions_of_a_learner_that_comes_back() {
    let last = Zxid::new(1, 5);
    let mut replica = leader(last);
    follow(&mut replica, LINK, 2, last, 3);
    assert_eq!(replica.standing(), Standing::Leading);
    let session = SessionId(0x0200_0000_0000_0001);
    let request = |op: OpCode, cxid: i32, body: &[u8]| {
        let mut bytes = Vec::new();
        ForwardedRequest { session, cxid, op, body }.write(&mut bytes, &[]);
        bytes
    };
    replica.received(LINK, &request(OpCode::CREATE_SESSION, 0, &9000_i32.to_be_bytes()), at(4));
    // Deletes what is not there: whose the session is comes first.
    let delete = [&[0, 0, 0, 2][..], b"/a", &[0xFF; 4]].concat();
    replica.received(LINK, &request(OpCode::DELETE, 1, &delete), at(5));
    for (link, sid) in [(LinkId(10), 2), (LinkId(11), 3)] {
        follow(&mut replica, link, sid, last, 6);
        replica.received(link, &request(OpCode::DELETE, 2, &delete), at(7));
    }
    let group = replica.take_group(at(7)).expect("four txns");
    let codes =
        group.iter().filter_map(|(_, txn)| match crate::txn::read(txn, &mut crate::txn::AclTable::new(1)) {
            Ok((_, crate::txn::Txn::Error { code }, _)) => Some(code),
            _ => None,
        });
    let codes: Vec<_> = codes.map(crate::proto::ErrorCode::from_wire).collect();
    use crate::proto::ErrorCode::{NoNode, SessionMoved};
    assert_eq!(codes, [Some(NoNode), Some(NoNode), Some(SessionMoved)]);
}

/// The txn by which a client attaches to its session tells through which server: another that it asked before, and that hears
/// yes as well, ends its connection.
#[test]
fn attachment_tells_its_server() {
    let last = Zxid::new(1, 5);
    let mut replica = leader(last);
    let session = SessionId(0x0200_0000_0000_0001);
    let mut create = Vec::new();
    ForwardedRequest { session, cxid: 0, op: OpCode::CREATE_SESSION, body: &9000_i32.to_be_bytes() }
        .write(&mut create, &[]);
    for (link, sid) in [(LINK, 2), (LinkId(11), 3)] {
        follow(&mut replica, link, sid, last, 3);
        if sid == 2 {
            replica.received(link, &create, at(4));
        }
        let mut revalidate = Vec::new();
        Revalidate { session, timeout: 9000 }.write(&mut revalidate);
        replica.received(link, &revalidate, at(5));
    }
    let own = CnxnId { view: 0, slot: 0, generation: 1 };
    let connect = ViewRequest::Connect {
        cnxn: own,
        session_id: session,
        password: crate::session::password(session).into(),
        timeout_ms: 9000,
        last_zxid_seen: Zxid::ZERO,
    };
    replica.submit(at(6), Uplink { items: vec![connect], ..Uplink::default() });
    let group = replica.take_group(at(7)).expect("four txns");
    let told: Vec<_> = group
        .iter()
        .map(|(_, txn)| crate::txn::read(txn, &mut crate::txn::AclTable::new(1)).expect("a txn").0)
        .map(|header| (header.op, attachment_sid(header.cxid)))
        .collect();
    let from = |sid| (OpCode::CREATE_SESSION, sid);
    assert_eq!(told, [from(None), from(Some(2)), from(Some(3)), from(Some(1))]);
}

/// An epoch that no election reaches ends the connection of who claims it, not the server.
#[test]
fn epoch_out_of_bounds() {
    let mut replica = leader(Zxid::new(1, 5));
    promise(&mut replica, LINK, 2, Zxid::new(u32::MAX, 0));
    let closed = |output: &Output| matches!(output, Output::Close { link: LINK });
    assert!(outputs(&mut replica).iter().any(closed));
    assert_eq!(replica.epochs().accepted, Epoch(1));
}

/// A leader whose disk hangs lets others lead after syncLimit; while groups take long and end, it goes on.
#[test]
fn disk_that_hangs() {
    let last = Zxid::new(1, 5);
    let mut replica = leader(last);
    follow(&mut replica, LINK, 2, last, 3);
    let connect = |replica: &mut Replica, ms| {
        let cnxn = CnxnId { view: 0, slot: 0, generation: ms as u32 };
        let (password, last_zxid_seen) = (Box::from([]), Zxid::ZERO);
        let connect = ViewRequest::Connect {
            cnxn,
            session_id: SessionId::NONE,
            password,
            timeout_ms: 9000,
            last_zxid_seen,
        };
        replica.submit(at(ms), Uplink { items: vec![connect], ..Uplink::default() });
        replica.take_group(at(ms)).expect("a session")
    };
    let pass = |replica: &mut Replica, from: i64, to: i64| {
        for ms in (from..to).step_by(500) {
            replica.tick(at(ms));
            let mut bytes = Vec::new();
            put_ping_answer(&mut bytes, Zxid(u64::MAX), [].into_iter());
            replica.received(LINK, &bytes, at(ms));
        }
    };
    let group = connect(&mut replica, 10);
    pass(&mut replica, 10, 4_000);
    replica.durable(group, at(4_000));
    let group = connect(&mut replica, 4_010);
    pass(&mut replica, 4_010, 8_000);
    assert_eq!(replica.standing(), Standing::Leading);
    pass(&mut replica, 8_000, 11_000);
    assert_eq!(replica.standing(), Standing::Looking);
    replica.durable(group, at(60_000));
    assert!(replica.is_logged());
}

/// A tree that is on its way to the disk when its leader is lost is installed all the same, and the next election waits
/// for it: the next leader need not send it again, and no second one is written beside it.
#[test]
fn tree_outlives_its_leader() {
    let mut replica = learner(Zxid::ZERO);
    replica.received(LINK, &snap(Zxid::new(8, 7)), at(3));
    let stored = |replica: &mut Replica| {
        outputs(replica).into_iter().find_map(|output| match output {
            Output::StoreTree(restored) => Some(restored),
            _ => None,
        })
    };
    let tree = stored(&mut replica).expect("a tree to store");
    replica.closed(LINK, at(4));
    replica.tick(at(2_000));
    assert!(matches!(*in_ensemble(&mut replica).phase, Phase::Settling(_)));
    assert!(stored(&mut replica).is_none());
    replica.tree_stored(*tree);
    let base = replica.take_group(at(2_001)).expect("the log's new base");
    replica.durable(base, at(2_002));
    let member = in_ensemble(&mut replica);
    assert!(matches!(*member.phase, Phase::Electing(_)));
    assert_eq!(member.common.history.last(), Zxid::new(8, 7));
}

/// A tree that cannot be stored leaves nothing behind, and the next attempt waits: each costs all of the tree.
#[test]
fn tree_that_finds_no_room() {
    let mut replica = learner(Zxid::ZERO);
    replica.received(LINK, &snap(Zxid::new(8, 7)), at(3));
    replica.tree_not_stored(std::io::Error::other("no room"), at(4));
    let failed = |output: &Output| matches!(output, Output::Event(Event::SyncFailed { sid: 3, sync: "SNAP", why, .. }) if why.contains("no room"));
    assert!(outputs(&mut replica).iter().any(failed));
    let member = in_ensemble(&mut replica);
    assert!(matches!(*member.phase, Phase::Electing(_)) && member.common.next_sync_ms >= 10_000);
    // Elections come and go, and the pause does not begin anew: an ensemble that needs this server would never form.
    let mut connects = false;
    for ms in (500..=12_000).step_by(500) {
        if ms % 1500 == 0 {
            become_phase(&mut replica, |follow, _| Phase::Settling(Settling::new(follow)));
            replica.step(at(ms), |_, _| Next::StartElection);
            let retry_ms = ms.max(in_ensemble(&mut replica).common.next_sync_ms);
            connecting(&mut replica, None, retry_ms);
        }
        replica.tick(at(ms));
        let is_asked = |output: &Output| matches!(output, Output::Connect { port: Port::Quorum, .. });
        connects |= outputs(&mut replica).iter().any(is_asked);
    }
    assert!(connects);
}

/// A follower that finds its leader's port before the leader knows that it leads is kept, and heard once it does; where
/// this server follows, it is told so at once.
#[test]
fn followers_that_are_early() {
    let mut replica = member(Zxid::new(1, 5));
    replica.accepted(LINK, Port::Quorum, at(1));
    let closes = |output: &Output| matches!(output, Output::Close { link } if *link == LINK);
    assert!(!replica.may_receive(LINK) && !outputs(&mut replica).iter().any(closes));
    for early in 0..EARLY_LINKS_MAX as u64 {
        replica.accepted(LinkId(100 + early), Port::Quorum, at(1));
    }
    assert!(outputs(&mut replica).iter().any(closes), "the oldest goes");
}

/// A server that hears no quorum says so every half minute, and whom it does not hear.
#[test]
fn no_quorum_is_told() {
    let mut replica = member(Zxid::new(8, 7));
    let mut told = |ms| {
        replica.tick(at(ms));
        let told = outputs(&mut replica).into_iter().filter_map(|output| match output {
            Output::Event(event @ Event::Unserved { .. }) => Some(event),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    let silent = || "2,3".to_owned();
    let no_quorum = |for_s| Event::Unserved { is_quorum: false, heard: 1, of: 3, silent: silent(), for_s };
    assert_eq!(told(0), []);
    assert_eq!(told(29_999), []);
    assert_eq!(told(30_000), [no_quorum(30)]);
    assert_eq!(told(59_000), []);
    assert_eq!(told(61_000), [no_quorum(61)]);
    assert_eq!(no_quorum(30).to_string(), "no quorum: heard=1 of=3 silent=2,3 for_s=30");
}
