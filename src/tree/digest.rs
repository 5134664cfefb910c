//! The tree's digest: replicas that agree on it hold the same tree.

use super::body::Body;
use crate::proto::Zxid;

/// Version that txns and snapshots carry beside the digest. Source: `DigestCalculator`.
pub const DIGEST_VERSION: i32 = 2;

/// A znode's part of the digest, summed over all znodes: CRC-32 of path, data and bookkeeping.
///
/// Znodes below `/zookeeper/` count nothing (quota statistics differ between servers), and the root
/// counts under the empty path. Source: `DigestCalculator.calculateDigest`, version 2.
pub(super) fn of(body: &Body, cversion: i32, pzxid: Zxid) -> u32 {
    let path = match body.path() {
        path if path.starts_with(b"/zookeeper/") => return 0,
        b"/" => b"",
        path => path,
    };
    let fixed = body.fixed();
    let mut stat = [0u8; 60];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        stat[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(&fixed.czxid.0.to_be_bytes());
    put(&fixed.mzxid.0.to_be_bytes());
    put(&pzxid.0.to_be_bytes());
    put(&fixed.ctime_ms.to_be_bytes());
    put(&fixed.mtime_ms.to_be_bytes());
    put(&fixed.version.to_be_bytes());
    put(&cversion.to_be_bytes());
    put(&fixed.aversion.to_be_bytes());
    put(&fixed.owner.0.to_be_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(path);
    crc.update(body.bytes());
    crc.update(&stat);
    crc.finalize()
}
