//! Decompresses ZooKeeper's snapshots (gzip, snappy) as a stream.

use crate::snapshot::java::Packing;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read};

/// Begins each snappy stream of a file; version and compatible version (4 bytes each) follow. Source: xerial's
/// `SnappyCodec`.
const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER_BYTES: usize = 16;

/// The maximum length of a block in bytes, compressed or not: Java's writer makes blocks of 32 KiB.
const BLOCK_BYTES_MAX: usize = 64 << 20;

/// Bytes that a decompressor reads at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Opens a stream of the decompressed content of `file`.
pub fn unpack(file: File, packing: Packing) -> Box<dyn Read> {
    let file = BufReader::with_capacity(BUFFER_BYTES, file);
    match packing {
        Packing::Plain => Box::new(file),
        Packing::Gzip => Box::new(MultiGzDecoder::new(file)),
        Packing::Snappy => Box::new(Snappy::new(file)),
    }
}

/// Reads what `SnappyOutputStream` writes.
struct Snappy<R> {
    inner: R,
    began: bool,
    packed: Vec<u8>,
    block: Vec<u8>,
    at: usize,
}

fn bad(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl<R: Read> Snappy<R> {
    fn new(inner: R) -> Self {
        Self { inner, began: false, packed: Vec::new(), block: Vec::new(), at: 0 }
    }

    /// Fills `bytes`; false if the stream ends before the first byte.
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        let mut have = 0;
        while have < bytes.len() {
            match self.inner.read(&mut bytes[have..]) {
                Ok(0) if have == 0 => return Ok(false),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => have += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Decompresses the next block; false at the end.
    fn next_block(&mut self) -> io::Result<bool> {
        let mut length = [0; 4];
        loop {
            if !self.fill(&mut length)? {
                return if self.began { Ok(false) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            // A header may precede any block. It cannot be taken for a length, since no length is negative.
            if length != MAGIC[..4] {
                break;
            }
            let mut rest = [0; HEADER_BYTES - 4];
            if !self.fill(&mut rest)? || rest[..4] != MAGIC[4..] {
                return Err(bad("a snappy header that is not whole".into()));
            }
            self.began = true;
        }
        if !self.began {
            return Err(bad("it does not begin as a snappy stream".into()));
        }
        let too_long =
            |bytes| bad(format!("a snappy block of {bytes} bytes, at most {BLOCK_BYTES_MAX} are taken"));
        let length = u32::from_be_bytes(length) as usize;
        if length > BLOCK_BYTES_MAX {
            return Err(too_long(length));
        }
        let mut packed = std::mem::take(&mut self.packed);
        packed.resize(length, 0);
        if !self.fill(&mut packed)? && length > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let unpacked = snap::raw::decompress_len(&packed).map_err(|error| bad(error.to_string()))?;
        if unpacked > BLOCK_BYTES_MAX {
            return Err(too_long(unpacked));
        }
        self.block.resize(unpacked, 0);
        let result = snap::raw::Decoder::new().decompress(&packed, &mut self.block);
        result.map_err(|error| bad(error.to_string()))?;
        self.packed = packed;
        self.at = 0;
        Ok(true)
    }
}

impl<R: Read> Read for Snappy<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let bytes = out.len().min(self.block.len() - self.at);
        out[..bytes].copy_from_slice(&self.block[self.at..self.at + bytes]);
        self.at += bytes;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(blocks: &[&[u8]]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 1]);
        for block in blocks {
            let packed = snap::raw::Encoder::new().compress_vec(block).expect("packs");
            bytes.extend((packed.len() as u32).to_be_bytes());
            bytes.extend(packed);
        }
        bytes
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Snappy::new(bytes).read_to_end(&mut out)?;
        Ok(out)
    }

    /// Blocks are joined, also over several streams in one file; an empty block adds nothing.
    #[test]
    fn blocks() {
        let bytes = [pack(&[b"one ", b"", b"two "]), pack(&[b"three"])].concat();
        assert_eq!(read(&bytes).expect("whole"), b"one two three");
        assert_eq!(read(&pack(&[])).expect("empty"), b"");
    }

    /// A stream that is cut within a block, is of another kind, or has a block over the maximum is refused.
    #[test]
    fn damage() {
        let bytes = pack(&[b"one block of some bytes"]);
        for length in (0..bytes.len()).filter(|length| *length != HEADER_BYTES) {
            assert!(read(&bytes[..length]).is_err(), "{length}");
        }
        assert!(read(b"ZKSN and more").is_err());
        let mut long = pack(&[]);
        long.extend([0x7F, 0xFF, 0xFF, 0xFF]);
        assert!(read(&long).expect_err("long").to_string().contains("at most"));
        let mut unpacks_long = pack(&[]);
        unpacks_long.extend([0, 0, 0, 5, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]);
        assert!(read(&unpacks_long).expect_err("long").to_string().contains("at most"));
    }
}
