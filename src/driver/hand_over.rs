//! How a leader comes to hand over: an operator asks, or the server is about to stop.

use super::World;
use super::turn::Driver;
use crate::replica::{HandOverError, Now, Standing};

/// Where it comes from that this server is to hand over its lead. There is one hand-over at a time.
pub trait HandOvers {
    /// The next one: to which server, or to any.
    fn next(&mut self) -> Option<Option<i64>>;

    /// Says which server leads in place of this one, which follows it.
    ///
    /// # Errors
    /// This server leads on, or did not lead.
    fn tell(&mut self, handed_over: Result<i64, NotHandedOver>);
}

/// Why no other server leads in place of this one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotHandedOver {
    /// Nothing was begun.
    #[error(transparent)]
    Refused(#[from] HandOverError),
    /// The next leader was not ready in time.
    #[error("server {0} does not have all that was proposed in time, and this server leads on")]
    GivenUp(i64),
}

impl Driver {
    /// Begins a hand-over, or says what became of it.
    pub(super) fn hand_over<W: World>(&mut self, world: &mut W, now: Now, stopping: bool) {
        let Some(asked) = world.hand_overs() else { return };
        if self.handing_over.is_none() && !stopping {
            let Some(to) = asked.next() else { return };
            match self.replica.hand_over(now, to) {
                Ok(sid) => self.handing_over = Some(sid),
                Err(why) => asked.tell(Err(why.into())),
            }
        }
        let Some(to) = self.handing_over else { return };
        let handed_over = match self.replica.standing() {
            Standing::Leading if self.replica.is_handing_over() => return,
            // It may have led in between.
            Standing::Leading => Err(NotHandedOver::GivenUp(to)),
            Standing::Following | Standing::Observing => {
                self.replica.leader().ok_or(NotHandedOver::GivenUp(to))
            }
            Standing::Looking | Standing::ReadOnly | Standing::Alone => return,
        };
        self.handing_over = None;
        asked.tell(handed_over);
    }
}
