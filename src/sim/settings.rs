//! What a history is like: how many servers and clients it has, how fast they are, and which faults happen.

use super::Random;
use crate::tree::{self, Digests};

/// What a history is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Servers that vote.
    pub voters: usize,
    /// Servers that do not.
    pub observers: usize,
    /// Followers serve the observers.
    pub observer_masters: bool,
    /// Clients.
    pub clients: usize,
    /// Views of each server.
    pub views: u16,
    /// `tickTime`.
    pub tick_ms: i32,
    /// Bounds of how long bytes are under way.
    pub delay_us: (u64, u64),
    /// Bounds of how long a flush takes.
    pub flush_us: (u64, u64),
    /// Now and then a flush takes much longer.
    pub flushes_hang: bool,
    /// Longest time that something is under way between the threads of a server.
    pub channel_us: u64,
    /// How often a client asks.
    pub act_us: u64,
    /// Requests of a client that wait for an answer.
    pub pipeline: usize,
    /// Txns after which a snapshot is taken, `snapCount`; 0 for never.
    pub snap_count: u64,
    /// How long there are faults.
    pub faults_us: u64,
    /// How often there is one; 0 for none.
    pub fault_every_us: u64,
    /// How often the leader is asked to hand over; 0 for never.
    pub hand_over_every_us: u64,
    /// Zxids of an epoch.
    pub epoch_zxids: Option<u32>,
    /// Disks fill up, fail, and rot.
    pub disk_faults: bool,
    /// Clients remember every reply.
    pub keep_replies: bool,
    /// After the faults a server loses all that it had, and joins while clients write.
    pub joins: bool,
    /// Sessions begin as local ones.
    pub local_sessions: bool,
    /// They become global when they need to.
    pub upgrades_sessions: bool,
    /// Servers without a leader serve clients that read.
    pub read_only_mode: bool,
    /// Servers that no configuration names at first.
    pub spares: usize,
    /// Clients reconfigure the ensemble.
    pub reconfigures: bool,
    /// Servers speak to each other as ZooKeeper's own do, and are as strict.
    pub as_java: bool,
}

impl Settings {
    /// A calm ensemble of `voters` servers, for scripts.
    pub fn calm(voters: usize) -> Self {
        Self {
            voters,
            observers: 0,
            observer_masters: false,
            clients: 0,
            views: 2,
            tick_ms: 200,
            delay_us: (100, 1_000),
            flush_us: (200, 2_000),
            flushes_hang: true,
            channel_us: 200,
            act_us: 20_000,
            pipeline: 4,
            snap_count: 0,
            faults_us: 0,
            fault_every_us: 0,
            hand_over_every_us: 0,
            epoch_zxids: None,
            disk_faults: false,
            keep_replies: true,
            joins: false,
            local_sessions: false,
            upgrades_sessions: false,
            read_only_mode: false,
            spares: 0,
            reconfigures: false,
            as_java: false,
        }
    }

    /// What `seed` stands for.
    pub fn of(seed: u64) -> Self {
        let mut random = Random(seed ^ 0x5EED);
        let mut of_sessions = Random(seed ^ 0x10CA1);
        let mut of_servers = Random(seed ^ 0x5E12E5);
        let mut of_leaders = Random(seed ^ 0x1EADE2);
        let reconfigures = of_servers.one_in(3);
        let voters = [3, 3, 3, 5, 5, 7][random.below(6) as usize];
        let slow_us = [500, 2_000, 2_000, 20_000][random.below(4) as usize];
        let settings = Self {
            voters,
            observers: random.below(4).saturating_sub(2) as usize,
            observer_masters: false,
            clients: 2 + random.below(4) as usize,
            views: 1 + random.below(2) as u16,
            tick_ms: 200,
            delay_us: (50, 50 + random.below(slow_us)),
            flush_us: (100, 100 + random.below(slow_us)),
            flushes_hang: true,
            channel_us: random.below(2_000),
            act_us: 10_000 + random.below(60_000),
            pipeline: 1 + random.below(12) as usize,
            snap_count: [0, 20, 100][random.below(3) as usize],
            faults_us: 4_000_000 + random.below(8_000_000),
            fault_every_us: [0, 200_000, 600_000, 600_000, 1_500_000, 1_500_000][random.below(6) as usize],
            hand_over_every_us: [0, 0, 300_000, 1_000_000, 3_000_000][of_leaders.below(5) as usize],
            epoch_zxids: of_leaders.one_in(5).then_some(100 + of_leaders.below(400) as u32),
            disk_faults: random.one_in(3),
            keep_replies: false,
            joins: true,
            as_java: random.one_in(3),
            local_sessions: of_sessions.one_in(3),
            upgrades_sessions: !of_sessions.one_in(4),
            read_only_mode: of_sessions.one_in(3),
            spares: if reconfigures { of_servers.below(3) as usize } else { 0 },
            reconfigures,
        };
        // A learner of ZooKeeper's leader acknowledges each zxid, those that have no txn as well.
        let settings = Self { epoch_zxids: settings.epoch_zxids.filter(|_| !settings.as_java), ..settings };
        match random.one_in(4) {
            true => Self { observers: 1 + random.below(5) as usize, observer_masters: true, ..settings },
            false => settings,
        }
    }
}

/// How trees are kept.
pub(super) fn tree_settings() -> tree::Settings {
    tree::Settings { extended_types: tree::ExtendedTypes::Off, digests: Digests::Kept, hash_seed: 1 }
}
