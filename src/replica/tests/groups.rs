//! Groups of the log: their bytes are bounded, and so is each txn in them.

use super::net::{
    Net, body, brief, create, dump, multi, put_create, put_create_acl, request, settings, tree_settings,
};
use crate::auth::Policy;
use crate::database::Database;
use crate::proto::{Acl, Id, JuteWrite, OpCode, Perms, SessionId, Zxid};
use crate::replica::{
    CnxnId, Commit, CommitSettings, EntryKind, Now, Proposed, Request, SessionKind, TxnKind, Uplink,
    ViewRequest,
};
use bytes::BufMut;
use std::sync::Arc;

/// However many containers are due and allowed at once, a group of the log stays one.
#[test]
fn sweep_in_groups() {
    let settings = CommitSettings { container_max_per_minute: u32::MAX, ..settings() };
    let mut now = Now { mono_us: 1_000_000, wall_ms: 1_700_000_000_000 };
    let restored = Database::fresh(tree_settings());
    let mut commit = Commit::new(settings, Arc::new(Policy::default()), restored, now);
    let group = |commit: &mut Commit| {
        let proposed = commit.take(crate::wal::Batch::default())?;
        commit.committed(proposed.through);
        Some(proposed)
    };
    let cnxn = CnxnId { view: 0, slot: 0, generation: 1 };
    let (password, last_zxid_seen) = (Box::from([0; 16]), Zxid::ZERO);
    let connect = ViewRequest::Connect {
        cnxn,
        session_id: SessionId::NONE,
        password,
        timeout_ms: 20_000,
        last_zxid_seen,
    };
    commit.submit(now, Uplink { items: vec![connect], ..Uplink::default() });
    let EntryKind::Session(SessionKind::Created { session_id, .. }) =
        group(&mut commit).unwrap().deltas.entries[0].what
    else {
        panic!("no session");
    };
    let long = "p".repeat(5_000);
    for n in 0..4_000 {
        let mut bytes = Vec::new();
        put_create(&mut bytes, &format!("/{long}{n}"), b"", 5);
        bytes.put_i64(1);
        let (op, body, ids) = (OpCode::CREATE_TTL, 0..bytes.len(), Arc::from([]));
        let origin = cnxn.into();
        let request = Request { origin, session_id, xid: n, op, body, ids };
        commit.submit(now, Uplink { bytes, items: vec![ViewRequest::Request(request)], ..Uplink::default() });
        assert!(matches!(
            group(&mut commit).unwrap().deltas.entries[0].what,
            EntryKind::Txn(TxnKind::Done(_))
        ));
    }
    let mut groups = 0;
    (now.mono_us, now.wall_ms) = (now.mono_us + 61_000_000, now.wall_ms + 61_000);
    loop {
        commit.tick(now);
        let Some(proposed) = group(&mut commit) else { break };
        groups += 1;
        assert!(proposed.records.bytes() < 5 << 20, "{} bytes", proposed.records.bytes());
    }
    assert!(groups > 3, "{groups} groups");
    assert_eq!(dump(commit.tree()).keys().filter(|path| path.starts_with(b"/p")).count(), 0);
}

/// However much arrives or expires at once, a group stays small, in order, and nothing is lost.
#[test]
fn groups_are_bounded() {
    let mut net = Net::new();
    let clients: Vec<_> = (0..8).map(|view| net.connect(view % 2)).collect();
    let groups = |net: &mut Net| {
        let mut sizes = Vec::new();
        net.up();
        while let Some(Proposed { records, deltas, through, .. }) = net.commit.take(Default::default()) {
            sizes.push(records.bytes());
            net.commit.committed(through);
            net.publish(&deltas);
            net.up();
        }
        sizes
    };
    let check = |sizes: &[usize]| {
        assert!(sizes.len() > 1 && sizes.iter().all(|bytes| *bytes < 6 << 20), "{sizes:?}");
    };
    for &client in &clients {
        let name = "n".repeat(900);
        let ephemerals =
            (0..950).map(|n| (OpCode::CREATE, body(create(0, &format!("/{client}-{name}{n}"), 1))));
        net.send(client, &multi(1, &ephemerals.collect::<Vec<_>>()));
        net.send(client, &create(2, &format!("/{client}"), 0));
    }
    check(&groups(&mut net));
    for &client in &clients {
        assert_eq!(brief(&net.got(client)), ["1:0", "2:0"]);
    }
    assert_eq!(net.commit.tree().ephemeral_count(), 8 * 950);
    net.now.mono_us += 60_000_000;
    net.commit.tick(net.now);
    check(&groups(&mut net));
    assert_eq!((net.commit.tree().ephemeral_count(), net.commit.session_count()), (0, 0));
    assert!(clients.iter().all(|client| net.clients[*client].closed.is_some()));
}

/// Neither ids nor access lists nor a multi grow into a txn that the log does not take: the request
/// fails, and the server goes on.
#[test]
fn oversized_txns_are_refused() {
    let mut net = Net::new();
    let a = net.connect(0);
    let packet = |user: String| {
        request(-4, OpCode::AUTH, move |out| {
            out.put_i32(0);
            out.put_string(b"digest");
            out.put_buffer(Some(format!("{user}:x").as_bytes()));
        })
    };
    assert_eq!(net.call(a, packet("u".repeat(900_000))).brief(), "-4:0");
    let auth = |count: i32| -> Vec<Acl> {
        (1..=count).map(|perms| Acl { perms: Perms(perms), id: Id::new("auth", "") }).collect()
    };
    let create =
        |path: String, acl: &[Acl]| request(1, OpCode::CREATE, |out| put_create_acl(out, &path, b"", acl, 0));
    assert_eq!(net.err(a, create("/x".to_owned(), &auth(2))), -114);
    net.ok(a, create("/one".to_owned(), &auth(1)));
    let ops: Vec<_> = (0..70).map(|n| (OpCode::CREATE, body(create(format!("/m{n}"), &auth(1))))).collect();
    let zxid = net.commit.zxid();
    let before = dump(net.commit.tree());
    assert_eq!(net.err(a, multi(2, &ops)), -5);
    assert_eq!(net.commit.zxid(), zxid.next().unwrap());
    assert_eq!(dump(net.commit.tree()), before);
    assert_eq!(net.call(a, packet("v".repeat(900_000))).brief(), "-4:-115");
    net.check_replay();
}
