//! The data of znodes: what loadgen writes, and the check of what it reads.

use crate::engine::wire::paths::{DIGITS, digits};
use crate::engine::wire::wrong::Wrong;
use crate::random::Random;
use std::ops::RangeInclusive;

/// What the data of znodes looks like: the digits of the znode's number, the digits of the length, then `x`; a short
/// value is cut. So data of another znode and a mix of two values are noticed.
#[derive(Clone, Debug)]
pub struct Values {
    sizes: RangeInclusive<u32>,
    filler: Vec<u8>,
}

impl Values {
    /// Values of `sizes` bytes.
    pub fn new(sizes: RangeInclusive<u32>) -> Self {
        let filler = vec![b'x'; *sizes.end() as usize];
        Self { sizes, filler }
    }

    /// A random size; all are equally likely.
    pub fn size(&self, random: &mut Random) -> u32 {
        let (least, most) = (*self.sizes.start(), *self.sizes.end());
        if least == most { least } else { least + random.below(most - least + 1) }
    }

    /// Appends the value of znode `leaf`, of `bytes` bytes, without the length field.
    pub fn put(&self, out: &mut Vec<u8>, leaf: u32, bytes: u32) {
        let start = out.len();
        let bytes = bytes as usize;
        out.extend_from_slice(&self.filler[..bytes]);
        for (at, number) in [(start, leaf), (start + DIGITS, bytes as u32)] {
            if at + DIGITS <= start + bytes {
                out[at..at + DIGITS].copy_from_slice(&digits(number));
            }
        }
    }

    /// Checks data that a server returned for znode `leaf`.
    ///
    /// # Errors
    /// The size is none of the possible ones, or the data is of another znode or size.
    pub fn check(&self, data: &[u8], leaf: u32) -> Result<(), Wrong> {
        let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
        if !self.sizes.contains(&bytes) {
            let want = bytes.clamp(*self.sizes.start(), *self.sizes.end()) as usize;
            return Err(Wrong::Length { want, have: data.len() });
        }
        let mut rest = data;
        for number in [leaf, bytes] {
            let Some((name, after)) = rest.split_first_chunk::<DIGITS>() else { break };
            if *name != digits(number) {
                return Err(Wrong::Data);
            }
            rest = after;
        }
        if *rest == self.filler[..rest.len()] { Ok(()) } else { Err(Wrong::Data) }
    }
}

/// The value of a key of `bytes` bytes.
pub fn key_value(key: u32, bytes: u32) -> Vec<u8> {
    let mut value = Vec::new();
    Values::new(bytes..=bytes).put(&mut value, key, bytes);
    value
}
