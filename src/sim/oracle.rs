//! What must hold, whatever happens.
//!
//! | check | by |
//! |---|---|
//! | what is published was durable on a quorum, and is the same txn on every server | [`Oracle::committed`] |
//! | equal digests after equal zxids | [`Oracle::digest`] |
//! | no committed txn is taken back by a marker or lost by a start | [`Oracle::taken_back`], [`Oracle::started`] |
//! | one leader an epoch | [`Oracle::leads`] |
//! | a reconfiguration is on quorums of both configurations, and what comes after it on one of the new | [`Oracle::committed`] |
//! | a request counts once, and in the order of its session; ephemerals have an owner | [`Model`] |

use super::model::Model;
use crate::config::Ensemble;
use crate::proto::{ServerId, Zxid};
use crate::txn::{self, TxnHeader};
use crate::zab::configuration::Configuration;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;

/// What a server's log holds, as the one who writes it knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shadow {
    /// All that it knows, whether it came as a record or in a tree; and whether each is durable.
    pub records: BTreeMap<Zxid, (Bytes, bool)>,
    /// What it had when its disk was damaged: it said so of that, and was right.
    pub lost: BTreeMap<Zxid, (Bytes, bool)>,
    /// A marker that is written and not durable, and whether it is a base.
    pub marker: Option<(Zxid, bool)>,
}

impl Shadow {
    /// Where the log ends.
    pub fn last(&self) -> Zxid {
        self.records.last_key_value().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }

    /// A marker is durable; `images` are trees that were sent.
    pub fn mark(&mut self, images: &BTreeMap<Zxid, Self>) {
        match self.marker.take() {
            Some((zxid, true)) => self.records = images.get(&zxid).cloned().unwrap_or_default().records,
            Some((zxid, false)) => self.records.retain(|known, _| *known <= zxid),
            None => {}
        }
    }

    /// The disk is damaged, and the server begins with nothing.
    pub fn lose(&mut self) {
        self.lost.append(&mut self.records);
        self.marker = None;
    }

    fn has_durable(&self, zxid: Zxid, txn: &Bytes) -> bool {
        let record = self.records.get(&zxid).or_else(|| self.lost.get(&zxid));
        record.is_some_and(|(own, is_durable)| *is_durable && own == txn)
    }
}

/// A txn that counts.
#[derive(Debug)]
pub(crate) struct Committed {
    pub header: TxnHeader,
    pub txn: Bytes,
    digest: Option<u64>,
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Oracle {
    /// Committed configurations, each with the zxid from which on it counts.
    pub configs: Vec<(Zxid, Configuration)>,
    pub model: Model,
    pub committed: BTreeMap<Zxid, Committed>,
    leaders: BTreeMap<u32, (usize, u64)>,
    /// The newest zxid that any client was told.
    pub newest_seen: Zxid,
    /// What is wrong first.
    pub violation: Option<String>,
}

impl Oracle {
    /// That of servers that start with this ensemble.
    pub fn new(ensemble: &Ensemble) -> Self {
        let first = Configuration::new(ensemble.clone()).expect("an ensemble");
        Self {
            configs: vec![(Zxid::ZERO, first)],
            model: Model::default(),
            committed: BTreeMap::new(),
            leaders: BTreeMap::new(),
            newest_seen: Zxid::ZERO,
            violation: None,
        }
    }

    /// The newest committed configuration.
    pub fn config(&self) -> &Configuration {
        &self.configs.last().expect("there is a first one").1
    }

    /// Whether these servers decide on a txn: by the configuration that counts there, and by the one that it makes.
    fn decides(&self, zxid: Zxid, txn: &[u8], servers: impl Iterator<Item = usize> + Clone) -> bool {
        let sids = servers.map(|server| ServerId(server as i64 + 1));
        let before = self.configs.iter().rev().find(|(since, _)| *since < zxid || *since == Zxid::ZERO);
        let made = txn::configuration(txn).map(|text| Configuration::parse(text).expect("it was committed"));
        before.is_some_and(|(_, config)| config.decides(sids.clone()))
            && made.is_none_or(|config| config.decides(sids.clone()))
    }

    /// The servers that have this txn on their disks.
    fn holders(shadows: &[Shadow], zxid: Zxid, txn: &Bytes) -> impl Iterator<Item = usize> + Clone {
        let have = shadows.iter().enumerate().filter(move |(_, shadow)| shadow.has_durable(zxid, txn));
        have.map(|(server, _)| server)
    }

    pub fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// The newest txn that counts.
    pub fn last(&self) -> Zxid {
        self.committed.last_key_value().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }

    /// A server shows `zxid` to clients, and so everything before it; what of that it showed before is not looked at
    /// again.
    pub fn committed(&mut self, server: usize, from: Zxid, zxid: Zxid, shadows: &[Shadow]) {
        let own = &shadows[server];
        let behind = (Bound::Excluded(from), Bound::Included(zxid));
        if from >= zxid {
            return;
        }
        // What is shown may be on its way to the own log still: a quorum has it.
        let mut shown: BTreeMap<Zxid, Bytes> =
            own.records.range(behind).map(|(zxid, (txn, _))| (*zxid, txn.clone())).collect();
        if own.last() < zxid {
            for (&zxid, (txn, _)) in shadows.iter().flat_map(|other| other.records.range(behind)) {
                let is_durable = || self.decides(zxid, txn, Self::holders(shadows, zxid, txn));
                if zxid > own.last() && (self.committed.contains_key(&zxid) || is_durable()) {
                    shown.entry(zxid).or_insert_with(|| txn.clone());
                }
            }
        }
        if !shown.contains_key(&zxid) {
            return self.violate(format!("server {} shows {zxid}, which no quorum has", server + 1));
        }
        for (&zxid, txn) in &shown {
            if let Some(known) = self.committed.get(&zxid) {
                if known.txn != txn {
                    return self.violate(format!("server {} has another txn {zxid}", server + 1));
                }
                continue;
            }
            if zxid <= self.last() {
                let last = self.last();
                return self
                    .violate(format!("server {} commits {zxid}, and {last} is committed", server + 1));
            }
            if !self.decides(zxid, txn, Self::holders(shadows, zxid, txn)) {
                let have: Vec<usize> = Self::holders(shadows, zxid, txn).map(|server| server + 1).collect();
                let config = String::from_utf8_lossy(self.config().text()).into_owned();
                return self.violate(format!(
                    "server {} commits {zxid}, durable on servers {have:?}, which are no quorum: {config}",
                    server + 1
                ));
            }
            match self.model.apply(txn) {
                Ok(header) if header.zxid == zxid => {
                    if let Some(text) = txn::configuration(txn) {
                        self.configs.push((zxid, Configuration::parse(text).expect("it was checked")));
                    }
                    self.committed.insert(zxid, Committed { header, txn: txn.clone(), digest: None });
                }
                Ok(header) => return self.violate(format!("txn {zxid} says that it is {}", header.zxid)),
                Err(why) => return self.violate(format!("txn {zxid}: {why}")),
            }
        }
    }

    /// A server shows `zxid`: what its log gets under a committed zxid is that txn.
    pub fn written(&mut self, server: usize, shown: Zxid, zxid: Zxid, txn: &[u8]) {
        if zxid <= shown && self.committed.get(&zxid).is_none_or(|known| known.txn != txn) {
            self.violate(format!("server {} shows {zxid}, and logs another txn", server + 1));
        }
    }

    /// A server's tree has this digest after `zxid`, which is committed.
    pub fn digest(&mut self, server: usize, zxid: Zxid, digest: u64) {
        if let Some(committed) = self.committed.get_mut(&zxid) {
            let known = *committed.digest.get_or_insert(digest);
            if known != digest {
                self.violate(format!(
                    "server {} has digest {digest:x} at {zxid}, another {known:x}",
                    server + 1
                ));
            }
        }
    }

    /// The digest after the last txn, if it is known.
    pub fn last_digest(&self) -> Option<u64> {
        self.committed.last_key_value().and_then(|(_, last)| last.digest)
    }

    /// A server's log loses what is after `to`. Some of that may have been committed by others meanwhile: where leaders do as
    /// ZooKeeper's own, which have a follower truncate what is not committed at that moment, and where the tree of a leader
    /// that is gone reaches the disk late (this server acknowledges nothing before that). Then a quorum has it without
    /// this server; `may_be_late` allows that.
    pub fn taken_back(&mut self, server: usize, shadows: &[Shadow], to: Zxid, may_be_late: bool) {
        let behind = (Bound::Excluded(to), Bound::Unbounded);
        let others_do = |zxid: &Zxid, txn: &Bytes| {
            let others = Self::holders(shadows, *zxid, txn).filter(|other| *other != server);
            may_be_late && self.decides(*zxid, txn, others)
        };
        let lost = shadows[server].records.range(behind).find(|(zxid, (txn, _))| {
            self.committed.get(zxid).is_some_and(|committed| committed.txn == txn) && !others_do(zxid, txn)
        });
        if let Some((zxid, _)) = lost {
            self.violate(format!("server {} is told to forget {zxid}, which is committed", server + 1));
        }
    }

    /// A server starts with what its disk holds, through `zxid`.
    pub fn started(
        &mut self,
        server: usize,
        shadow: &mut Shadow,
        images: &BTreeMap<Zxid, Shadow>,
        zxid: Zxid,
    ) {
        if shadow.marker.is_some_and(|(to, is_base)| to == zxid && (is_base || to < shadow.last())) {
            shadow.mark(images);
        }
        shadow.marker = None;
        let durable = shadow.records.iter().rev().find(|(_, (_, is_durable))| *is_durable);
        let durable = durable.map_or(Zxid::ZERO, |(zxid, _)| *zxid);
        if zxid < durable || zxid > shadow.last().max(durable) {
            self.violate(format!(
                "server {} starts at {zxid}, its log was durable through {durable} and reached {}",
                server + 1,
                shadow.last()
            ));
        }
        shadow.records.retain(|known, _| *known <= zxid);
        shadow.records.values_mut().for_each(|(_, is_durable)| *is_durable = true);
    }

    /// A server leads an epoch that is established.
    pub fn leads(&mut self, server: usize, incarnation: u64, epoch: u32) {
        let first = *self.leaders.entry(epoch).or_insert((server, incarnation));
        if first != (server, incarnation) {
            self.violate(format!("servers {} and {} lead epoch {epoch}", first.0 + 1, server + 1));
        }
    }

    /// How many epochs began.
    pub fn epochs(&self) -> usize {
        self.leaders.len()
    }
}
