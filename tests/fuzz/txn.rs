//! Txns as they stand in logs and come from leaders: a few in a row, applied to a tree.

use super::snapshot::{SETTINGS, check_database};
use bytes::BufMut;
use zkfast::database::Database;
use zkfast::proto::{Acl, OpCode, SessionId, Zxid};
use zkfast::txn::{self, AclTable, CreateKind, CreateTxn, Txn, TxnHeader};

/// Where in a txn its zxid is.
const ZXID_AT: usize = 12;

/// The first byte tells whether the txns are replayed onto a tree that may have some of it. Then txns, each after two bytes
/// of length. They get the zxids that are due.
pub fn check(input: &[u8]) -> bool {
    let Some((&how, mut rest)) = input.split_first() else { return false };
    let mut database = Database::fresh(SETTINGS);
    let (mut zxid, mut are_all_taken) = (Zxid::new(1, 1), true);
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let mut bytes = after[..length].to_vec();
        rest = &after[length..];
        if let Some(place) = bytes.get_mut(ZXID_AT..ZXID_AT + 8) {
            place.copy_from_slice(&zxid.to_wire().to_be_bytes());
        }
        check_codec(&bytes);
        let replayed = match how % 2 {
            0 => database.replay_hinted(zxid, &bytes),
            _ => database.replay_fuzzy(zxid, &bytes),
        };
        match replayed {
            Ok(_) => zxid = zxid.next().expect("few txns"),
            Err(_) => are_all_taken = false,
        }
    }
    check_database(&mut database);
    are_all_taken
}

/// What is read is written, and reads the same.
pub fn check_codec(bytes: &[u8]) {
    let mut acls = AclTable::new(1);
    let read = txn::read(bytes, &mut acls);
    assert_eq!(txn::without_digest(bytes).is_ok(), read.is_ok() || ends_in_digest(bytes), "{read:?}");
    let Ok((header, txn, _)) = read else { return };
    let mut first = Vec::new();
    header.put(&mut first);
    txn.put(&mut first);
    let (again, txn, _) = txn::read(&first, &mut acls).expect("what was written can be read");
    assert_eq!(again, header);
    let mut second = Vec::new();
    again.put(&mut second);
    txn.put(&mut second);
    assert_eq!(first, second);
}

/// Whether the record is whole and a digest after it is not.
fn ends_in_digest(bytes: &[u8]) -> bool {
    let Ok(record) = txn::without_digest(bytes) else { return false };
    (4..12).contains(&(bytes.len() - record.len()))
}

/// Txns that follow each other, with the digest that the tree has after each.
pub fn sample() -> Vec<Vec<u8>> {
    let mut acls = AclTable::new(1);
    let acl = acls.intern(vec![Acl::open()]);
    let create = |path: &'static [u8], kind| {
        let (data, parent_cversion) = (Some(&b"data"[..]), 1);
        Txn::Create(CreateTxn { path, data, acl: acl.clone(), kind, parent_cversion })
    };
    let txns = [
        (OpCode::CREATE_SESSION, Txn::CreateSession { timeout_ms: 4000 }),
        (OpCode::CREATE, create(b"/a", CreateKind::Persistent)),
        (OpCode::CREATE, create(b"/a/e", CreateKind::Ephemeral)),
        (OpCode::CREATE_CONTAINER, create(b"/c", CreateKind::Container)),
        (OpCode::CREATE_TTL, create(b"/t", CreateKind::Ttl(5000))),
        (OpCode::SET_DATA, Txn::SetData { path: b"/a", data: None, version: 1 }),
        (OpCode::SET_ACL, Txn::SetAcl { path: b"/a", acl: acl.clone(), version: 1 }),
        (OpCode::ERROR, Txn::Error { code: -101 }),
        (
            OpCode::MULTI,
            Txn::Multi(vec![
                (OpCode::CREATE, create(b"/a/m", CreateKind::Persistent)),
                (OpCode::CHECK, Txn::Check { path: b"/a/m", version: 1 }),
                (OpCode::DELETE, Txn::Delete { path: b"/a/m" }),
            ]),
        ),
        (OpCode::DELETE, Txn::Delete { path: b"/c" }),
        (OpCode::CLOSE_SESSION, Txn::CloseSession { paths: Some(vec![b"/a/e"]) }),
    ];
    let mut bytes = Vec::new();
    for ((op, txn), counter) in txns.iter().zip(1..) {
        let zxid = Zxid::new(1, counter);
        let header =
            TxnHeader { session_id: SessionId(7), cxid: 1, zxid, time_ms: 1_700_000_000_000, op: *op };
        let mut out = Vec::new();
        header.put(&mut out);
        txn.put(&mut out);
        bytes.push(out);
    }
    bytes
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for how in [0, 1] {
        let mut seed = vec![how];
        for txn in sample() {
            seed.put_u16(txn.len() as u16);
            seed.extend(txn);
        }
        seeds.push(seed);
    }
    let mut digest = vec![0];
    let mut txn = sample().swap_remove(1);
    txn::put_digest(&mut txn, 12345);
    digest.put_u16(txn.len() as u16);
    digest.extend(txn);
    seeds.push(digest);
    seeds
}
