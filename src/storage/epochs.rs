//! The file `epochs`: what was promised to leaders, and the configuration by which quorums count.

use super::{EPOCHS_TMP, Folder, Storage, write_whole};
use bytes::BufMut;
use std::io;

/// Name of the file, in the snapshots' folder.
pub const EPOCHS: &str = "epochs";

const MAGIC: [u8; 8] = *b"ZKFASTEP";
/// With configurations; without one, version 1 is written, which older servers read as well.
const VERSION: u32 = 3;
/// With a configuration's version alone; it is read, and not written any more.
const VERSION_OF_VERSION: u32 = 2;
const REPAIRING: u32 = 1;
/// Before the parts that not all versions have.
const HEAD_BYTES: usize = 24;
const CRC_BYTES: usize = 4;

/// Promises that a server keeps over restarts. Source: `QuorumPeer`, files `acceptedEpoch`, `currentEpoch` and
/// `zoo.cfg.dynamic`.
///
/// In the file, integers big-endian:
///
/// | offset | bytes | field      |                                                          |
/// |-------:|------:|------------|----------------------------------------------------------|
/// |      0 |     8 | magic      | `ZKFASTEP`                                               |
/// |      8 |     4 | version    | 3; 1 where there is no `config`, and both are left out   |
/// |     12 |     4 | `accepted` |                                                          |
/// |     16 |     4 | `current`  | at most `accepted`                                       |
/// |     20 |     4 | flags      | 1: `repairing`                                           |
/// |     24 |     4 | length     | of `config`                                              |
/// |     28 |     n | `config`   | text                                                     |
/// | 28 + n |     4 | `crc32`    | of all before, last in every version                     |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// The newest epoch that a leader was promised (NEWEPOCH acknowledged): no older leader is followed.
    pub accepted: u32,
    /// The newest epoch whose leader's history was taken over (NEWLEADER acknowledged).
    pub current: u32,
    /// The data was damaged and moved aside, or is not complete again yet: the server does not vote, also after
    /// another restart, until a leader's state is installed.
    pub repairing: bool,
    /// The ensemble's active configuration, once a leader has given it a version. A later one that is proposed the log has.
    pub config: Option<Box<[u8]>>,
    /// The version of the active configuration as older versions of zkfast wrote it, without its text; 0 for none.
    pub former_config_version: i64,
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
    pub fn write<S: Storage>(&self, storage: &S) -> io::Result<()> {
        assert!(self.current <= self.accepted, "current {} above accepted {}", self.current, self.accepted);
        write_whole(storage, Folder::Snap, EPOCHS_TMP, EPOCHS, &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_slice(&MAGIC);
        out.put_u32(if self.config.is_some() { VERSION } else { 1 });
        out.put_u32(self.accepted);
        out.put_u32(self.current);
        out.put_u32(if self.repairing { REPAIRING } else { 0 });
        if let Some(config) = &self.config {
            out.put_u32(config.len() as u32);
            out.put_slice(config);
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
        if word(bytes.len() - CRC_BYTES) != crc32fast::hash(&bytes[..bytes.len() - CRC_BYTES]) {
            return Err(EpochsError::Damaged("its checksum is wrong"));
        }
        let version = word(8);
        if !(1..=VERSION).contains(&version) {
            return Err(EpochsError::Version(version));
        }
        let length = EpochsError::Damaged("its length is another one");
        let Some(mut rest) = bytes[..bytes.len() - CRC_BYTES].get(HEAD_BYTES..) else { return Err(length) };
        let mut epochs = Self {
            accepted: word(12),
            current: word(16),
            repairing: word(20) & REPAIRING != 0,
            ..Self::default()
        };
        if version == VERSION_OF_VERSION
            && let Some((number, end)) = rest.split_first_chunk()
        {
            epochs.former_config_version = i64::from_be_bytes(*number);
            rest = end;
        }
        if version == VERSION {
            let Some(config) = take_text(&mut rest) else { return Err(length) };
            epochs.config = Some(config.into());
        }
        if !rest.is_empty() || version == VERSION_OF_VERSION && epochs.former_config_version == 0 {
            return Err(length);
        }
        if epochs.current > epochs.accepted {
            return Err(EpochsError::Damaged("its fields do not fit together"));
        }
        Ok(epochs)
    }
}

/// Takes a text and its length off the front; `None` where they end early.
fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    let (text, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = after;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every changed bit and every other length is noticed, in each form.
    #[test]
    fn damage() {
        for config in [None, Some(Box::from(*b"server.1=a"))] {
            let epochs = Epochs { accepted: 7, current: 5, repairing: true, config, ..Epochs::default() };
            let mut bytes = epochs.encode();
            assert_eq!(Epochs::decode(&bytes).expect("whole"), epochs);
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(matches!(Epochs::decode(&bytes), Err(EpochsError::Damaged(_))), "{bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            for cut in 0..bytes.len() {
                assert!(Epochs::decode(&bytes[..cut]).is_err(), "{cut}");
            }
            assert!(Epochs::decode(&[&bytes[..], &[0]].concat()).is_err());
            bytes[11] = 9;
            seal(&mut bytes);
            assert!(matches!(Epochs::decode(&bytes), Err(EpochsError::Version(9))));
        }
    }

    fn seal(bytes: &mut [u8]) {
        let at = bytes.len() - CRC_BYTES;
        let crc = crc32fast::hash(&bytes[..at]);
        bytes[at..].copy_from_slice(&crc.to_be_bytes());
    }

    /// The file of an older server, which has the version of a configuration and no text, is read; lengths that go past the
    /// end are refused.
    #[test]
    fn other_forms() {
        let mut bytes =
            [&MAGIC[..], &[0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 5, 0, 0, 0, 0], &(7_i64 << 32).to_be_bytes()]
                .concat();
        bytes.extend([0; CRC_BYTES]);
        seal(&mut bytes);
        let epochs = Epochs::decode(&bytes).expect("version 2");
        assert_eq!((epochs.accepted, epochs.current, epochs.former_config_version), (7, 5, 7 << 32));
        let mut bytes = Epochs { config: Some(b"text".as_slice().into()), ..Epochs::default() }.encode();
        for length in [3_u32, 5, 100, u32::MAX] {
            bytes[HEAD_BYTES..HEAD_BYTES + 4].copy_from_slice(&length.to_be_bytes());
            seal(&mut bytes);
            assert!(matches!(Epochs::decode(&bytes), Err(EpochsError::Damaged(_))), "{length}");
        }
    }
}
