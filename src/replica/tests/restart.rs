//! A server that begins again, with its log or with an image of its tree.

use super::net::{
    Net, SEGMENT_BYTES, body, create, delete, dump, multi, password, set, settings, tree_settings,
};
use crate::database::Database;
use crate::proto::OpCode;
use crate::tree::{ImageOf, NodeImage, Tree};
use crate::txn::{AclTable, Quotas};
use crate::wal::{Entry as LogEntry, Place as LogPlace, Recovery};

/// An image that is taken in slices while the tree changes gives the tree, digest included, as it was
/// when the image began, and the log from there gives the newest.
#[test]
fn image_while_changes_go_on() {
    let mut net = Net::new();
    let a = net.connect(0);
    let mut random = 7u64;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut change = move |net: &mut Net| {
        let frames: Vec<_> = (0..4)
            .map(|_| {
                let (dir, name) = (next(5), next(12));
                let path = format!("/d{dir}/n{name}");
                match next(6) {
                    0 => create(1, &format!("/d{dir}"), 0),
                    1 => create(1, &path, i32::from(next(2) == 0)),
                    2 => set(1, &path, format!("{name}").as_bytes(), -1),
                    3 => delete(1, &path, -1),
                    4 => multi(
                        1,
                        &[
                            (OpCode::CREATE, body(create(0, &path, 0))),
                            (OpCode::DELETE, body(delete(0, &format!("/d{dir}/n{}", next(12)), -1))),
                        ],
                    ),
                    _ => create(1, &format!("/d{dir}/s"), 2),
                }
            })
            .collect();
        net.send_all(a, &frames);
        net.run_until_idle();
        net.got(a);
    };
    (0..100).for_each(|_| change(&mut net));
    for _ in 0..10 {
        let (zxid, digest, sessions) = net.views[0].begin_image(ImageOf::Snapshot);
        assert_eq!(zxid, net.commit.zxid());
        let wanted = dump(net.commit.tree());
        let mut nodes: Vec<NodeImage> = Vec::new();
        while net.views[0].image_slice(ImageOf::Snapshot, 7, usize::MAX, &mut nodes) {
            change(&mut net);
        }
        let mut tree = Tree::empty(tree_settings());
        nodes.into_iter().for_each(|node| tree.restore(node));
        tree.link_restored().unwrap();
        assert_eq!(dump(&tree), wanted);
        assert_eq!(tree.digest(), digest);
        let quotas = Quotas::of(&tree);
        let acls = AclTable::new(1);
        let mut restored = Database { tree, quotas, acls, sessions: sessions.into_iter().collect(), zxid };
        let mut recovery = Recovery::new(SEGMENT_BYTES);
        let each = |entry: LogEntry<'_>| match entry {
            LogEntry::Txn(record, txn) if record > zxid => restored.replay(record, txn).unwrap(),
            _ => {}
        };
        recovery.segment(&net.log, 1, LogPlace::Newest, each).unwrap();
        assert_eq!(dump(&restored.tree), dump(net.commit.tree()));
    }
    net.check_replay();
}

/// A server that starts again has its sessions and their ephemerals, and goes on where it was.
#[test]
fn restart() {
    let mut net = Net::new();
    let a = net.connect(0);
    let id = net.clients[a].session_id;
    net.ok(a, create(1, "/e", 1));
    let restored = net.replay();
    let zxid = restored.zxid;
    let mut net = Net::restored(settings(), restored);
    let b = net.open(1);
    net.send_connect(b, id, &password(id), 10_000);
    net.run_until_idle();
    assert_eq!(net.connected(b).session_id, id);
    assert_eq!(net.stat(b, "/e").ephemeral_owner, id);
    let got = net.call(b, create(2, "/x", 0));
    assert_eq!(got.zxid(), zxid.next().unwrap().to_wire());
    // The clock of this server has not moved on, and still the next session is another one.
    let c = net.connect(0);
    assert_ne!(net.clients[c].session_id, id);
}
