//! What a leader's commit side knows of the ensemble that requests reconfigure.

use crate::proto::ServerId;
use crate::zab::configuration::Configuration;
use std::collections::BTreeSet;

/// What a leader's commit side knows of the ensemble.
#[derive(Debug)]
pub(super) struct Reconfiguring {
    pub active: Configuration,
    /// Followers in step, voters or not, and this server.
    pub followers: BTreeSet<ServerId>,
    /// What was checked last, until the group that it is in is taken.
    pub proposed: Option<Configuration>,
    /// Nothing is proposed until the last one is committed, or no more since another server is to lead.
    pub is_barred: bool,
}

impl Reconfiguring {
    /// Whether no txn may be made.
    pub fn is_barred(&self) -> bool {
        self.is_barred
    }

    /// The configuration that the last record of the group makes.
    pub fn take_proposed(&mut self) -> Option<Configuration> {
        self.proposed.take()
    }
}
