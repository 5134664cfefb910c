use super::super::core::SessionClock;
use super::super::tests::{settings, tree_settings};
use super::*;
use crate::proto::{JuteWrite, SessionId};

fn commit() -> Commit {
    Commit::new(settings(), Arc::default(), Database::fresh(tree_settings()), Now::default())
}

/// No session is judged beyond what views have told, whatever the time is; and by a clock of its own.
#[test]
fn sessions_are_judged_by_what_was_heard() {
    let at = |ms: i64| Now { mono_us: ms * 1000, wall_ms: 1_700_000_000_000 + ms };
    let mut commit = commit();
    let from = CnxnId { view: 0, slot: 1, generation: 1 };
    commit.create_session(at(0), from.into(), SessionId(7), 4000);
    let mut tick = |now, ahead_ms, through_ms| {
        commit.core_mut().session_clock = SessionClock { ahead_ms, through_ms };
        commit.tick(now);
        commit.sessions.get(SessionId(7)).is_some()
    };
    assert!(tick(at(60_000), 0, 3000), "views have told of three seconds");
    assert!(tick(at(60_000), -57_000, i64::MAX), "a view stood still for 57 seconds");
    assert!(!tick(at(60_000), 0, 59_900), "it was silent");
}

/// Learners that fill every group, and more, do not keep clients of this server from theirs.
#[test]
fn views_have_their_turn_beside_learners() {
    let now = Now { mono_us: 0, wall_ms: 1_700_000_000_000 };
    let mut commit = commit();
    let learner = Origin::Learner { learner: 0, sid: 2 };
    let set = |origin: Origin, session_id: SessionId, count: i32| {
        let mut bytes = Vec::new();
        bytes.put_string(b"/");
        bytes.put_buffer(Some(&vec![7; 1 << 20]));
        bytes.put_i32(-1);
        let request = |xid| {
            let (op, body, ids) = (OpCode::SET_DATA, 0..bytes.len(), Arc::from([]));
            ViewRequest::Request(Request { origin, session_id, xid, op, body, ids })
        };
        let items = (0..count).map(request).collect();
        Uplink { bytes: bytes.clone(), items, ..Uplink::default() }
    };
    let client = Origin::Client(CnxnId { view: 0, slot: 1, generation: 1 });
    commit.create_session(now, learner, SessionId(2 << 56), 4000);
    commit.create_session(now, client, SessionId(1 << 56), 4000);
    commit.submit(now, set(learner, SessionId(2 << 56), 20));
    assert!(!commit.has_room() && commit.takes_uplinks(), "one may wait behind the learner's");
    commit.submit_of_view(now, set(client, SessionId(1 << 56), 1));
    assert!(!commit.takes_uplinks(), "one, and no more");
    let mut groups = 0;
    let is_clients = |entry: &super::super::Entry| {
        entry.to == Some(client) && matches!(entry.what, EntryKind::Txn(TxnKind::Done(_)))
    };
    loop {
        // The learner goes on sending.
        commit.submit(now, set(learner, SessionId(2 << 56), 5));
        let proposed = commit.take(wal::Batch::default()).expect("a group");
        groups += 1;
        if proposed.deltas.entries.iter().any(is_clients) {
            break;
        }
        assert!(groups < 10, "the client waits for good");
        commit.proceed(now);
    }
    assert!(commit.takes_uplinks());
}

/// A learner that asks once more for a session that is about to end delays no other request.
#[test]
fn creating_a_session_that_ends() {
    let now = Now { mono_us: 0, wall_ms: 1_700_000_000_000 };
    let mut commit = Commit::new(settings(), Arc::default(), Database::fresh(tree_settings()), now);
    let session_id = SessionId(0x0200_0000_0000_0001);
    let create = || {
        let from = Origin::Learner { learner: 0, sid: 2 };
        let items = vec![ViewRequest::CreateSession { from, session_id, timeout_ms: 4000 }];
        Uplink { items, ..Uplink::default() }
    };
    commit.submit(now, create());
    commit.sessions.set_closing(session_id);
    commit.submit(now, create());
    let proposed = commit.take(wal::Batch::default()).expect("one session");
    assert_eq!(proposed.records.records(), 1);
}
