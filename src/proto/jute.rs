//! Jute's primitive encodings (`BinaryInputArchive`, `BinaryOutputArchive`).

use bytes::BufMut;

/// A record that ends before its last field, or a length that cannot be.
///
/// Where a request's body is short the client gets [`ErrorCode::MarshallingError`]; where the
/// request's header is, its connection ends.
///
/// [`ErrorCode::MarshallingError`]: super::ErrorCode::MarshallingError
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Short {
    /// The bytes end inside the field.
    #[error("record ends after {have} of {need} bytes")]
    Ends {
        /// Bytes that are left.
        have: usize,
        /// Bytes that the field wants.
        need: usize,
    },
    /// A length below -1.
    #[error("length {0} is negative")]
    Negative(i32),
    /// A null where there must be something: Java trips over it later than over bytes that end.
    #[error("null where a value is due")]
    Null,
    /// A type of record that does not exist, or not here.
    #[error("type {0} is not known here")]
    Unknown(i32),
}

/// Reads jute records in place; what it returns borrows from the frame.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn take(&mut self, need: usize) -> Result<&'a [u8], Short> {
        match self.rest.split_at_checked(need) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(Short::Ends { have: self.rest.len(), need }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("take gives the length asked for"))
    }

    /// A `boolean`: one byte, true unless zero.
    pub fn bool(&mut self) -> Result<bool, Short> {
        Ok(self.array::<1>()?[0] != 0)
    }

    /// An `int`.
    pub fn int(&mut self) -> Result<i32, Short> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// A `long`.
    pub fn long(&mut self) -> Result<i64, Short> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A `buffer`; `None` is jute's null (length -1), which is not the empty buffer.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, Short> {
        match self.int()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| Short::Negative(length))?;
                self.take(length).map(Some)
            }
        }
    }

    /// A `ustring`, as its bytes: paths are compared bytewise and validated where they are created.
    pub fn string(&mut self) -> Result<Option<&'a [u8]>, Short> {
        self.buffer()
    }

    /// The count before a `vector`; `None` is null.
    ///
    /// The count is checked against what is left (an item has `item_bytes_min` bytes at least), so
    /// that nothing is ever allocated for items that cannot be there.
    pub fn count(&mut self, item_bytes_min: usize) -> Result<Option<usize>, Short> {
        match self.int()? {
            -1 => Ok(None),
            count => {
                let count = usize::try_from(count).map_err(|_| Short::Negative(count))?;
                let need = count.saturating_mul(item_bytes_min);
                if need > self.rest.len() {
                    return Err(Short::Ends { have: self.rest.len(), need });
                }
                Ok(Some(count))
            }
        }
    }
}

/// Jute's writing side, on anything that takes bytes; `int` and `long` are `put_i32` and `put_i64`.
pub trait JuteWrite: BufMut {
    /// A `boolean`.
    fn put_bool(&mut self, value: bool) {
        self.put_u8(value.into());
    }

    /// A `buffer`; `None` is null.
    fn put_buffer(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.put_i32(-1),
            Some(bytes) => {
                self.put_i32(length_of(bytes));
                self.put_slice(bytes);
            }
        }
    }

    /// A `ustring` that is not null.
    fn put_string(&mut self, value: &[u8]) {
        self.put_buffer(Some(value));
    }

    /// The count before a `vector`.
    fn put_count(&mut self, items: usize) {
        self.put_i32(i32::try_from(items).expect("no vector here has 2^31 items"));
    }
}

impl<B: BufMut + ?Sized> JuteWrite for B {}

fn length_of(bytes: &[u8]) -> i32 {
    i32::try_from(bytes.len()).expect("no buffer here has 2^31 bytes")
}

/// Appends one frame to `out`: what `body` writes, after its length.
#[inline]
pub fn frame(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put_i32(0);
    body(out);
    let length = length_of(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Null, empty and full buffers survive a round trip, each as itself.
    #[test]
    fn null_is_not_empty() {
        let mut out = Vec::new();
        for value in [None, Some(&b""[..]), Some(&b"ab"[..])] {
            out.put_buffer(value);
        }
        let mut reader = Reader::new(&out);
        assert_eq!(reader.buffer(), Ok(None));
        assert_eq!(reader.buffer(), Ok(Some(&b""[..])));
        assert_eq!(reader.buffer(), Ok(Some(&b"ab"[..])));
        assert!(reader.rest().is_empty());
    }

    /// A length that the frame cannot hold is an error, not an allocation.
    #[test]
    fn hostile_lengths_are_refused() {
        assert_eq!(
            Reader::new(&[0x7F, 0xFF, 0xFF, 0xFF, 1]).buffer(),
            Err(Short::Ends { have: 1, need: 0x7FFF_FFFF })
        );
        assert_eq!(Reader::new(&(-2i32).to_be_bytes()).buffer(), Err(Short::Negative(-2)));
        assert!(Reader::new(&[0x7F, 0xFF, 0xFF, 0xFF]).count(4).is_err());
    }
}
