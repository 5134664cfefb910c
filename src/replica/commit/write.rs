//! Writes: each is checked, applied to the tree that is ahead of the log, and logged.

use super::check::WriteOp;
use super::{Asker, Commit};
use crate::proto::request::{MultiOp, read_multi};
use crate::proto::{ErrorCode, JuteWrite, OpCode, Reader};
use crate::replica::{MultiResult, TxnKind};
use crate::txn::{self, Applied, Txn, TxnHeader};
use crate::wal;

/// Bytes of a multi's sub-txns; beside them a txn holds its header and the digest.
const MULTI_BYTES_MAX: usize = wal::TXN_BYTES_MAX - 64;

/// What a change of the tree costs.
const CHANGE_WORK: usize = 150;

impl Commit {
    /// Does a write of one operation.
    pub(super) fn write(&mut self, asker: &Asker<'_>, op: OpCode, body: &[u8]) {
        let Ok(op_read) = WriteOp::read(op, &mut Reader::new(body)) else {
            return self.refuse(asker, ErrorCode::MarshallingError);
        };
        self.next_zxid();
        let mut sequential = Vec::new();
        match self.check(asker, &op_read, &mut sequential) {
            Err(code) => self.fail(asker, code),
            Ok(txn) => {
                let header = self.header(asker, op);
                self.apply(&header, &txn, None);
                self.log(&header, &txn);
                self.push(asker.origin, asker.xid, TxnKind::Done(op));
            }
        }
    }

    /// Applies a txn that was checked to the tree.
    pub(super) fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>, undo: Option<&mut Vec<txn::Undo>>) {
        let changes = std::mem::take(&mut self.core.deltas.changes);
        let before = changes.len();
        debug_assert_eq!(header.zxid, self.core.zxid, "a txn other than the newest is applied");
        let mut applied = Applied { changes, undo: undo.is_some().then(Vec::new) };
        let result = txn::apply(&mut self.core.tree, &mut self.core.quotas, header, txn, &mut applied);
        self.core.deltas.changes = applied.changes;
        self.charge((self.core.deltas.changes.len() - before) * CHANGE_WORK);
        if let (Some(all), Some(steps)) = (undo, applied.undo) {
            all.extend(steps);
        }
        assert_eq!(result, Ok(()), "txn {} was checked and does not apply: {txn:?}", header.zxid);
    }

    /// Does all operations of a multi, or none.
    pub(super) fn multi(&mut self, asker: &Asker<'_>, body: &[u8]) {
        self.next_zxid();
        let ops = match read_multi(&mut Reader::new(body)) {
            Ok(ops) if !ops.iter().any(|op| matches!(op, MultiOp::GetData(_) | MultiOp::GetChildren(_))) => {
                ops
            }
            // Reads in a multi fail as in 3.9: it cannot make a txn of them.
            _ => return self.fail(asker, ErrorCode::MarshallingError),
        };
        let header = self.header(asker, OpCode::MULTI);
        let (first_change, first_result) = (self.core.deltas.changes.len(), self.core.deltas.results.len());
        let mut multi =
            Multi { undo: Vec::new(), encoded: Vec::with_capacity(body.len() + 64), failed: None };
        multi.encoded.put_count(ops.len());
        let is_readable = ops.iter().all(|op| self.multi_op(asker, &header, op, &mut multi));
        let Multi { undo, encoded, failed } = multi;
        if failed.is_some() || !is_readable {
            txn::undo(&mut self.core.tree, &mut self.core.quotas, undo);
            self.core.deltas.changes.truncate(first_change);
            if !is_readable {
                self.core.deltas.results.truncate(first_result);
                return self.fail(asker, ErrorCode::MarshallingError);
            }
            for result in &mut self.core.deltas.results[first_result..] {
                (result.op, result.changes) = (OpCode::ERROR, 0);
            }
        }
        let results = self.core.deltas.results.len() - first_result;
        assert_eq!(results, ops.len(), "multi {} has a result for each operation", header.zxid);
        debug_assert_eq!(
            self.core.deltas.results[first_result..]
                .iter()
                .map(|result| result.changes as usize)
                .sum::<usize>(),
            self.core.deltas.changes.len() - first_change,
            "changes of multi {} belong to no operation",
            header.zxid
        );
        self.log_encoded(&header, &encoded);
        let what = if failed == Some(ErrorCode::SessionMoved) { TxnKind::Moved } else { TxnKind::Multi };
        self.push(asker.origin, asker.xid, what);
    }

    /// Checks one operation of a multi against what the ones before it did, does it and encodes it. False if the whole
    /// request fails as one that cannot be read: a null in an access list does that in Java, and so does what no log takes.
    fn multi_op(
        &mut self,
        asker: &Asker<'_>,
        header: &TxnHeader,
        op: &MultiOp<'_>,
        multi: &mut Multi,
    ) -> bool {
        let (op, read) = WriteOp::of_multi(op);
        let mut sequential = Vec::new();
        let checked = match multi.failed {
            Some(_) => Err(ErrorCode::RuntimeInconsistency),
            None => self.check(asker, &read, &mut sequential),
        };
        match checked {
            Ok(txn) => {
                let before = self.core.deltas.changes.len();
                self.apply(&TxnHeader { op, ..*header }, &txn, Some(&mut multi.undo));
                let changes = (self.core.deltas.changes.len() - before) as u32;
                self.core.deltas.results.push(MultiResult { op, err: 0, changes });
                txn::put_sub_txn(&mut multi.encoded, op, &txn);
            }
            Err(code) => {
                let err = code.to_wire();
                self.core.deltas.results.push(MultiResult { op: OpCode::ERROR, err, changes: 0 });
                txn::put_sub_txn(&mut multi.encoded, OpCode::ERROR, &Txn::Error { code: err });
                multi.failed = multi.failed.or(Some(code));
            }
        }
        multi.failed != Some(ErrorCode::MarshallingError) && multi.encoded.len() <= MULTI_BYTES_MAX
    }
}

/// A multi of which some operations were done.
struct Multi {
    /// What takes them back, in the order in which they were done.
    undo: Vec<txn::Undo>,
    /// The body of its txn so far.
    encoded: Vec<u8>,
    /// Why the first one failed that did.
    failed: Option<ErrorCode>,
}
