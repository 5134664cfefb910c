//! What a txn does to a tree that may have some of it already.
//!
//! ZooKeeper writes its snapshots while the tree changes: they hold some of what the txns after their zxid
//! made. Replaying all of these in order, each as far as it goes, ends in the exact tree. Source:
//! `DataTree.processTxn`, `createNode`, `deleteNode`.

use super::apply::{Applied, apply};
use super::{Quotas, Txn, TxnHeader};
use crate::proto::{OpCode, path};
use crate::tree::{Fixed, NodeIndex, Tree};

/// Applies one txn as far as it goes: a znode that is there already stays and gets the ACL it was created
/// with, one that is gone stays gone, and a parent's cversion and pzxid only go forward.
///
/// Where Java keeps children whose parent was deleted and made again while the snapshot was taken,
/// they go with it: they are younger than this txn, and replay makes them again.
pub fn apply_fuzzy(tree: &mut Tree, quotas: &mut Quotas, header: &TxnHeader, txn: &Txn<'_>) {
    match txn {
        Txn::Create(create) => {
            let Some(parent) = parent_of(tree, create.path) else { return };
            let before = tree.child_stat(parent);
            if let Some(index) = tree.find(create.path) {
                // The list may be younger than the snapshot's lists.
                let body = tree.body(index).clone();
                let fixed = Fixed { acl: create.acl.clone(), ..body.fixed().clone() };
                let body = tree.make_body(create.path, body.data(), fixed);
                tree.replace(index, body);
            } else if apply(tree, quotas, header, txn, &mut Applied::default()).is_err() {
                return;
            }
            let cversion = match create.parent_cversion {
                -1 => before.0.wrapping_add(1),
                cversion => cversion,
            };
            match cversion > before.0 {
                true => tree.set_child_stat(parent, cversion, before.1.max(header.zxid)),
                false => tree.set_child_stat(parent, before.0, before.1),
            }
        }
        Txn::Delete { path } => delete(tree, quotas, header, path),
        Txn::CloseSession { paths } => {
            for path in paths.iter().flatten() {
                delete(tree, quotas, header, path);
            }
            let owned: Vec<Box<[u8]>> = tree.ephemerals(header.session_id).map(Box::from).collect();
            for path in &owned {
                delete(tree, quotas, header, path);
            }
        }
        Txn::Multi(txns) => {
            if txns.iter().all(|(op, _)| *op != OpCode::ERROR) {
                for (op, txn) in txns {
                    apply_fuzzy(tree, quotas, &TxnHeader { op: *op, ..*header }, txn);
                }
            }
        }
        Txn::SetData { .. } | Txn::SetAcl { .. } => {
            // Fails where the znode is gone, and then changes nothing.
            let (Ok(()) | Err(_)) = apply(tree, quotas, header, txn, &mut Applied::default());
        }
        Txn::Check { .. } | Txn::CreateSession { .. } | Txn::Error { .. } => {}
    }
}

fn parent_of(tree: &Tree, node: &[u8]) -> Option<NodeIndex> {
    tree.find(path::split(node)?.0)
}

fn delete(tree: &mut Tree, quotas: &mut Quotas, header: &TxnHeader, node: &[u8]) {
    if node == b"/" {
        return;
    }
    let Some(parent) = parent_of(tree, node) else { return };
    let Some(top) = tree.find(node) else {
        let (cversion, pzxid) = tree.child_stat(parent);
        if header.zxid > pzxid {
            tree.set_child_stat(parent, cversion, header.zxid);
        }
        return;
    };
    // Parents come before their children here, and go after them.
    let mut paths: Vec<Box<[u8]>> = vec![node.into()];
    let mut next = 0;
    if tree.child_count(top) > 0 {
        while let Some(parent) = paths.get(next).cloned() {
            next += 1;
            let index = tree.find(&parent).expect("was listed");
            let names = tree.children(index).map(|name| [&parent, &b"/"[..], name].concat().into());
            let names: Vec<Box<[u8]>> = names.collect();
            paths.extend(names);
        }
    }
    for path in paths.iter().rev() {
        let txn = Txn::Delete { path };
        let done = apply(tree, quotas, header, &txn, &mut Applied::default());
        debug_assert!(done.is_ok(), "children go first: {done:?}");
    }
}
