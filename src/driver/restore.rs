//! How a server alone is restored: a tree comes from an operator, and takes the place of what there is.

use super::turn::Driver;
use super::{Fatal, World};
use crate::database::Database;
use crate::proto::Zxid;
use crate::replica::{Now, RestoreStep};
use crate::wal::Position;
use std::io;

/// Where trees come from that a server alone is to go on with. One is restored at a time.
///
/// # Errors
/// Those of the system.
pub trait Restores {
    /// The next tree. All of its snapshot is written and flushed, under no name that a start knows.
    fn next(&mut self) -> Option<Box<Database>>;

    /// Names its snapshot as incoming, where the log ends now, and makes that durable.
    fn store(&mut self, log: Position) -> io::Result<()>;

    /// Gives the incoming snapshot at `zxid` its name; its base in the log ends at `base`.
    fn adopt(&mut self, zxid: Zxid, base: Position) -> io::Result<()>;

    /// Says what became of the tree, to its sender.
    fn tell(&mut self, restored: io::Result<()>);
}

impl Driver {
    /// Goes on with a restore, or begins one. True if there may be more to do at once.
    pub(super) fn restore<W: World>(
        &mut self,
        world: &mut W,
        now: Now,
        stopping: bool,
    ) -> Result<bool, Fatal> {
        let Some(restores) = world.restores() else { return Ok(false) };
        if !self.replica.is_restoring()
            && !stopping
            && let Some(restored) = restores.next()
        {
            self.replica.restore(restored);
        }
        match self.replica.next_restore_step() {
            None => Ok(false),
            Some(RestoreStep::Refuse(zxid, last)) => {
                let why =
                    format!("the tree is at {zxid}, and the server has gone on to {last}: send it again");
                restores.tell(Err(io::Error::other(why)));
                Ok(true)
            }
            Some(RestoreStep::Store(_)) => {
                match restores.store(self.outputs.log_end()) {
                    Ok(()) => self.replica.restore_stored(),
                    Err(error) => {
                        self.replica.restore_failed();
                        restores.tell(Err(error));
                    }
                }
                Ok(true)
            }
            Some(RestoreStep::Adopt(zxid)) => {
                let adopted = restores.adopt(zxid, self.outputs.log_end());
                adopted.map_err(|error| Fatal::Install(zxid, error))?;
                self.replica.finish_restore(now);
                restores.tell(Ok(()));
                Ok(true)
            }
        }
    }
}
