//! Commits as learners hear of them: that of a reconfiguration names the server that leads from then on.

use crate::proto::{ServerId, Zxid};
use crate::zab::message::{put_commit, put_commit_and_activate, put_inform, put_inform_and_activate};
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

/// Reconfigurations that became active, each with the leader that it designates.
pub(super) type Activations = BTreeMap<Zxid, ServerId>;

/// Appends the commit of everything through `through` for a zkfast learner that has heard of those through `after`.
pub(super) fn put_commits(out: &mut Vec<u8>, activations: &Activations, after: Zxid, through: Zxid) {
    let mut last = after;
    for (zxid, leader) in activations.range((Excluded(after), Included(through))) {
        put_commit_and_activate(out, *zxid, *leader);
        last = *zxid;
    }
    if last < through {
        put_commit(out, through);
    }
}

/// Appends the commit of one txn.
pub(super) fn put_commit_of(out: &mut Vec<u8>, activations: &Activations, zxid: Zxid) {
    match activations.get(&zxid) {
        Some(leader) => put_commit_and_activate(out, zxid, *leader),
        None => put_commit(out, zxid),
    }
}

/// Appends a committed txn for an observer.
pub(super) fn put_inform_of(out: &mut Vec<u8>, activations: &Activations, zxid: Zxid, txn: &[u8]) {
    match activations.get(&zxid) {
        Some(leader) => put_inform_and_activate(out, zxid, *leader, txn),
        None => put_inform(out, zxid, txn),
    }
}
