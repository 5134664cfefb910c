//! Reads logs of both kinds, with bounded memory, and goes on after damage.

use super::files::{Kind, Log};
use super::item::{Each, Flow};
use super::{java, segments};
use std::io;

/// Reads logs in their order and hands out what they hold.
///
/// # Errors
/// Those of `each`.
pub fn read(logs: &[Log], each: Each<'_>) -> io::Result<()> {
    for log in logs {
        let flow = match log.kind {
            Kind::Zkfast => segments::read(log, each)?,
            Kind::Java => java::read(log, each)?,
        };
        if flow == Flow::Stop {
            break;
        }
    }
    Ok(())
}
