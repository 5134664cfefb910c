//! Lets go what is not needed any more.

use super::{Folder, Storage, segments, snapshots};
use crate::snapshot;
use std::io;

/// What a purge did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Purged {
    /// Snapshots that were deleted.
    pub snapshots: usize,
    /// Segments that were deleted, or kept to be used again.
    pub segments: usize,
}

/// Deletes snapshots beyond the newest `retain`, and the log that only they need.
///
/// # Errors
/// Those of the system; what was done until then is consistent.
pub fn purge<S: Storage>(storage: &S, retain: usize) -> io::Result<Purged> {
    let plan = snapshot::purge(&snapshots(storage)?, &segments(storage)?, retain);
    for zxid in &plan.snapshots {
        storage.remove(Folder::Snap, &snapshot::file_name(*zxid))?;
    }
    storage.sync(Folder::Snap)?;
    for number in &plan.segments {
        storage.retire_segment(*number)?;
        storage.sync(Folder::Log)?;
    }
    Ok(Purged { snapshots: plan.snapshots.len(), segments: plan.segments.len() })
}
