//! What a txn changed, once, for every copy of the tree.

use crate::proto::{Zxid, path};
use crate::tree::{Body, NodeIndex, Tree};

/// One change of one znode; copies of the tree share the body.
#[derive(Clone, Debug)]
pub enum Change {
    /// A znode came.
    Created {
        /// The znode as created.
        body: Body,
        /// The parent's internal cversion afterwards, unless it is above that already.
        parent_cversion: i32,
    },
    /// A znode went.
    Deleted {
        /// As it last was: its ACL decides which watchers are notified.
        body: Body,
    },
    /// Its data changed.
    Data {
        /// As it is now.
        body: Body,
    },
    /// Its ACL changed; no watch is notified.
    Acl {
        /// As it is now.
        body: Body,
    },
    /// A quota's statistics moved along; no zxid, no version, no watch is notified.
    Quota {
        /// The `zookeeper_stats` node as it is now.
        body: Body,
    },
}

impl Change {
    /// The znode's path.
    pub fn path(&self) -> &[u8] {
        match self {
            Self::Created { body, .. }
            | Self::Deleted { body }
            | Self::Data { body }
            | Self::Acl { body }
            | Self::Quota { body } => body.path(),
        }
    }

    /// How many change records ZooKeeper makes of it: one more for the parent. Source: `PrepRequestProcessor`.
    pub(crate) fn records(&self) -> u64 {
        match self {
            Self::Created { .. } | Self::Deleted { .. } => 2,
            Self::Data { .. } | Self::Acl { .. } => 1,
            Self::Quota { .. } => 0,
        }
    }

    /// Makes the change in `tree`, which must be as the tree was that the change was made from; returns where the znode
    /// is, if it is still there.
    pub fn apply(&self, tree: &mut Tree, zxid: Zxid) -> Option<NodeIndex> {
        match self {
            Self::Created { body, parent_cversion } => {
                let parent = tree.find_again(path::split(body.path()).expect("not the root").0);
                let parent = parent.expect("checked: the parent is there");
                let index = tree.insert(parent, body.clone());
                // Only forward, and pzxid with it: a counter that is at its end stays there, as in Java, whose digest
                // of the tree is another one otherwise. Source: `DataTree.createNode`.
                let (cversion, pzxid) = tree.child_stat(parent);
                match *parent_cversion > cversion {
                    true => tree.set_child_stat(parent, *parent_cversion, zxid),
                    false => tree.set_child_stat(parent, cversion, pzxid),
                }
                Some(index)
            }
            Self::Deleted { body } => {
                let parent = tree.find(path::split(body.path()).expect("not the root").0);
                let parent = parent.expect("a znode's parent is there");
                let index = tree.find(body.path()).expect("checked: the znode is there");
                tree.remove(parent, index);
                let (cversion, pzxid) = tree.child_stat(parent);
                tree.set_child_stat(parent, cversion, pzxid.max(zxid));
                None
            }
            Self::Data { body } | Self::Acl { body } | Self::Quota { body } => {
                let index = tree.find(body.path()).expect("checked: the znode is there");
                tree.replace(index, body.clone());
                Some(index)
            }
        }
    }
}
