//! Markers: what of the records before it in the log counts no longer.

use super::format::{MARKER_BYTES, u32_at, zxid_at};
use crate::proto::Zxid;
use bytes::BufMut;

/// Stands in the log beside the txns and takes some of them back, since nothing durable is rewritten. Written and
/// flushed as a group of its own; records after it need only be above its zxid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// Records above `to` do not count: the leader never committed them. Source: `Learner`, TRUNC.
    Truncate {
        /// The last record that counts.
        to: Zxid,
    },
    /// No record before this counts: the log restarts at a snapshot that the leader sent. Begins a segment.
    /// Source: `Learner`, SNAP.
    Base {
        /// Zxid of the snapshot.
        at: Zxid,
    },
}

const TRUNCATE: u32 = 1;
const BASE: u32 = 2;

impl Marker {
    /// Where the log goes on.
    pub fn zxid(self) -> Zxid {
        match self {
            Self::Truncate { to } => to,
            Self::Base { at } => at,
        }
    }

    /// `from` is where the log ended before.
    pub(super) fn encode(self, from: Zxid) -> [u8; MARKER_BYTES] {
        let mut bytes = [0; MARKER_BYTES];
        let mut out = &mut bytes[..];
        out.put_u32(if matches!(self, Self::Truncate { .. }) { TRUNCATE } else { BASE });
        out.put_u64(self.zxid().0);
        out.put_u64(from.0);
        bytes
    }

    /// The marker, and where the log ended before it; `None` if the kind is unknown.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, Zxid)> {
        let (zxid, from) = (zxid_at(bytes, 4), zxid_at(bytes, 12));
        match u32_at(bytes, 0) {
            TRUNCATE => Some((Self::Truncate { to: zxid }, from)),
            BASE => Some((Self::Base { at: zxid }, from)),
            _ => None,
        }
    }
}

/// Which records count, from all the markers that are among and after them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// For records with so many markers before them: the highest zxid that counts, `None` if none does.
    limits: Vec<Option<Zxid>>,
}

impl Cuts {
    /// From the markers of a stretch of the log, in its order.
    pub fn of(markers: &[Marker]) -> Self {
        let mut limits = vec![None; markers.len()];
        let mut limit = Some(Zxid(u64::MAX));
        for (i, marker) in markers.iter().enumerate().rev() {
            limit = match *marker {
                Marker::Truncate { to } => limit.map(|limit| limit.min(to)),
                Marker::Base { .. } => None,
            };
            limits[i] = limit;
        }
        Self { limits }
    }

    /// Whether the record `zxid`, before which the stretch has `markers`, counts.
    pub fn counts(&self, zxid: Zxid, markers: usize) -> bool {
        self.limits.get(markers).is_none_or(|limit| limit.is_some_and(|limit| zxid <= limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What counts is what is left if each marker is carried out in its turn.
    #[test]
    fn as_if_carried_out() {
        let mut state = 1u64;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        for _ in 0..2000 {
            // Each entry of the log: a record, or a marker.
            let (mut log, mut left, mut last) = (Vec::new(), Vec::new(), 0);
            for place in 0..below(30) as usize {
                let marker = match below(8) {
                    0 => Marker::Truncate { to: Zxid(below(last + 1)) },
                    1 if below(4) == 0 => Marker::Base { at: Zxid(below(last + 3)) },
                    _ => {
                        last += 1 + below(3);
                        log.push(Ok(Zxid(last)));
                        left.push((place, Zxid(last)));
                        continue;
                    }
                };
                match marker {
                    Marker::Truncate { to } => left.retain(|(_, zxid)| *zxid <= to),
                    Marker::Base { .. } => left.clear(),
                }
                last = marker.zxid().0;
                log.push(Err(marker));
            }
            let markers: Vec<_> = log.iter().filter_map(|entry| entry.err()).collect();
            let cuts = Cuts::of(&markers);
            let mut before = 0;
            let mut counted = Vec::new();
            for (place, entry) in log.iter().enumerate() {
                match entry {
                    Ok(zxid) if cuts.counts(*zxid, before) => counted.push((place, *zxid)),
                    Ok(_) => {}
                    Err(_) => before += 1,
                }
            }
            assert_eq!(counted, left, "{log:?}");
        }
    }
}
