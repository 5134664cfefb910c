//! The tree's digest: replicas that agree on it hold the same tree.

use super::body::Body;
use crate::proto::Zxid;

/// Version that txns and snapshots carry beside the digest. Source: `DigestCalculator`.
pub const DIGEST_VERSION: i32 = 2;

/// Bytes of a znode's bookkeeping.
const STAT_BYTES: usize = 60;

/// Bytes of path and data up to which they are copied to the bookkeeping: one checksum is cheaper than two.
const SHORT_BYTES: usize = 256;

/// A znode's part of the digest, summed over all znodes: CRC-32 of path, data and bookkeeping.
///
/// Znodes below `/zookeeper/` count nothing (quota statistics differ between servers), and the root
/// counts under the empty path. Source: `DigestCalculator.calculateDigest`, version 2.
///
/// `crc` is an empty hasher; the caller keeps one, since `Hasher::new` asks the processor for its features each time.
pub(super) fn of(mut crc: crc32fast::Hasher, body: &Body, cversion: i32, pzxid: Zxid) -> u32 {
    let path_and_data = match body.path() {
        path if path.starts_with(b"/zookeeper/") => return 0,
        b"/" => body.bytes(),
        _ => body.path_and_data(),
    };
    let fixed = body.fixed();
    let mut rest = [0; SHORT_BYTES + STAT_BYTES];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        rest[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    match path_and_data.len() <= SHORT_BYTES {
        true => put(path_and_data),
        false => crc.update(path_and_data),
    }
    put(&fixed.czxid.0.to_be_bytes());
    put(&fixed.mzxid.0.to_be_bytes());
    put(&pzxid.0.to_be_bytes());
    put(&fixed.ctime_ms.to_be_bytes());
    put(&fixed.mtime_ms.to_be_bytes());
    put(&fixed.version.to_be_bytes());
    put(&cversion.to_be_bytes());
    put(&fixed.aversion.to_be_bytes());
    put(&fixed.owner.0.to_be_bytes());
    crc.update(&rest[..at]);
    crc.finalize()
}
