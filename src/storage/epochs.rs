//! The file `epochs`: what was promised to leaders.

use super::{EPOCHS_TMP, Folder, Storage, write_whole};
use bytes::BufMut;
use std::io;

/// Name of the file, in the snapshots' folder.
pub const EPOCHS: &str = "epochs";

const MAGIC: [u8; 8] = *b"ZKFASTEP";
/// With a configuration's version; without one, version 1 is written, which older servers read as well.
const VERSION: u32 = 2;
const REPAIRING: u32 = 1;
const BYTES: usize = 36;
/// Of version 1.
const BYTES_1: usize = 28;

/// Promises that a server keeps over restarts. Source: `QuorumPeer`, files `acceptedEpoch` and `currentEpoch`.
///
/// In the file, integers big-endian:
///
/// | offset | bytes | field      |                                                          |
/// |-------:|------:|------------|----------------------------------------------------------|
/// |      0 |     8 | magic      | `ZKFASTEP`                                               |
/// |      8 |     4 | version    | 2; 1 where `config_version` is 0, and left out           |
/// |     12 |     4 | `accepted` |                                                          |
/// |     16 |     4 | `current`  | at most `accepted`                                       |
/// |     20 |     4 | flags      | 1: `repairing`                                           |
/// |     24 |     8 | `config_version` | only in version 2                                  |
/// |     32 |     4 | `crc32`    | of all before, last in every version                     |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// The newest epoch that a leader was promised (NEWEPOCH acknowledged): no older leader is followed.
    pub accepted: u32,
    /// The newest epoch whose leader's history was taken over (NEWLEADER acknowledged).
    pub current: u32,
    /// The version that a leader has given to the ensemble's configuration; 0 for none.
    pub config_version: i64,
    /// The data was damaged and moved aside, or is not complete again yet: the server does not vote, also after
    /// another restart, until a leader's state is installed.
    pub repairing: bool,
}

/// Why the epochs are not known.
#[derive(Debug, thiserror::Error)]
pub enum EpochsError {
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file is another version's.
    #[error("the file has version {0}, this zkfast reads version {VERSION}: start the one that wrote it")]
    Version(u32),
    /// The file changed after it was written.
    #[error("the file is damaged ({0}): what this server promised to leaders is not known")]
    Damaged(&'static str),
}

impl Epochs {
    /// What the file holds; `None` where there is none.
    ///
    /// # Errors
    /// Where it cannot be read or is damaged. It must not be replaced by less then: promises would be broken.
    pub fn read<S: Storage>(storage: &S) -> Result<Option<Self>, EpochsError> {
        if !storage.names(Folder::Snap)?.iter().any(|name| name == EPOCHS) {
            return Ok(None);
        }
        Self::decode(&storage.read(Folder::Snap, EPOCHS)?).map(Some)
    }

    /// Makes them durable; what was promised may be said once this returns.
    ///
    /// # Errors
    /// Those of the system: the process ends, as it is unknown what is on disk.
    ///
    /// # Panics
    /// Where `current` is above `accepted`.
    pub fn write<S: Storage>(self, storage: &S) -> io::Result<()> {
        assert!(self.current <= self.accepted, "current {} above accepted {}", self.current, self.accepted);
        write_whole(storage, Folder::Snap, EPOCHS_TMP, EPOCHS, &self.encode())
    }

    fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BYTES);
        out.put_slice(&MAGIC);
        out.put_u32(if self.config_version == 0 { 1 } else { VERSION });
        out.put_u32(self.accepted);
        out.put_u32(self.current);
        out.put_u32(if self.repairing { REPAIRING } else { 0 });
        if self.config_version != 0 {
            out.put_i64(self.config_version);
        }
        let crc = crc32fast::hash(&out);
        out.put_u32(crc);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, EpochsError> {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if bytes.len() < 16 || bytes[..8] != MAGIC {
            return Err(EpochsError::Damaged("it does not begin as one"));
        }
        // Every version ends with this, so that another version is not taken for damage.
        if word(bytes.len() - 4) != crc32fast::hash(&bytes[..bytes.len() - 4]) {
            return Err(EpochsError::Damaged("its checksum is wrong"));
        }
        let config_version = match (word(8), bytes.len()) {
            (1, BYTES_1) => 0,
            (VERSION, BYTES) => (i64::from(word(24)) << 32) | i64::from(word(28)),
            (1 | VERSION, _) => return Err(EpochsError::Damaged("its length is another one")),
            (version, _) => return Err(EpochsError::Version(version)),
        };
        let (accepted, current, repairing) = (word(12), word(16), word(20) & REPAIRING != 0);
        if current > accepted {
            return Err(EpochsError::Damaged("its fields do not fit together"));
        }
        Ok(Self { accepted, current, config_version, repairing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every changed bit and every other length is noticed.
    #[test]
    fn damage() {
        for (config_version, length) in [(0, BYTES_1), (7 << 32, BYTES)] {
            let epochs = Epochs { accepted: 7, current: 5, config_version, repairing: true };
            let mut bytes = epochs.encode();
            assert_eq!(bytes.len(), length);
            assert_eq!(Epochs::decode(&bytes).expect("whole"), epochs);
            for bit in 0..length * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(matches!(Epochs::decode(&bytes), Err(EpochsError::Damaged(_))), "{bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            for cut in 0..length {
                assert!(Epochs::decode(&bytes[..cut]).is_err(), "{cut}");
            }
            assert!(Epochs::decode(&[&bytes[..], &[0]].concat()).is_err());
            bytes[11] = 9;
            let crc = crc32fast::hash(&bytes[..length - 4]);
            bytes[length - 4..].copy_from_slice(&crc.to_be_bytes());
            assert!(matches!(Epochs::decode(&bytes), Err(EpochsError::Version(9))));
        }
    }
}
