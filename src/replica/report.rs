//! Four-letter words that want more than one shard knows: every view reports, the commit side adds
//! its part, the shell fills in what only it can see.

use super::local::LocalSessions;
use super::{CnxnId, Now, SessionOwner};
use crate::admin::{
    self, Connection, FourLetterWord, Gauges, HotPath, LargeZnodes, Merge, Metrics, QuotaUse, Status,
    Summary, ViewLoad,
};
use crate::proto::{SessionId, Zxid};
use crate::session::Tracker;
use crate::tree::Tree;
use crate::txn::{self, Limits, Quotas};
use crate::watch;
use std::collections::BTreeMap;

/// What a view says of itself. Lists are filled only for the words that tell them.
#[derive(Debug, Default)]
pub struct ViewReport {
    /// The view's number.
    pub number: u16,
    /// The last txn that its tree has.
    pub zxid: Zxid,
    /// Requests that arrived.
    pub received: u64,
    /// Replies and events that went out.
    pub sent: u64,
    /// All requests' latency in microseconds.
    pub latency: Summary,
    /// What it counted.
    pub metrics: Metrics,
    /// Requests that wait for the commit side.
    pub outstanding: usize,
    /// Connections that are open.
    pub open: usize,
    /// Watches, of all tables.
    pub watch_count: usize,
    /// Watches, as `wchs` tells them.
    pub watch_summary: watch::Summary,
    /// `stat`, `cons` and `dump`: its connections.
    pub connections: Vec<Connection>,
    /// `cons`, by which HTTP also asks for the following: paths that many requests name.
    pub hot_paths: Vec<HotPath>,
    /// `cons` of the first view: the largest znodes, once it has been through the tree.
    pub large_znodes: Option<LargeZnodes>,
    /// `wchc` and `wchp`: a session and a path that it watches.
    pub watches: Vec<(SessionId, Box<[u8]>)>,
}

/// Who asks what the server knows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A client, by a four-letter word.
    Cnxn(CnxnId),
    /// The shell, for its HTTP clients; the number is the shell's own.
    Shell(u64),
}

/// A question that all views have answered; the shell fills in the rest, renders it and tells.
#[derive(Debug)]
pub struct Answered {
    /// Who asked.
    pub asker: Asker,
    /// What.
    pub word: FourLetterWord,
    /// Everything that is known inside.
    pub status: Box<Status>,
}

/// What a role's sessions add.
#[derive(Debug, Default)]
pub(super) struct SessionsTold {
    /// How many there are.
    pub count: usize,
    /// How many only this server knows.
    pub local: usize,
    /// `dump`: when these expire by the monotonic clock, in ms, and which then; `None` where there cannot be any.
    pub local_by_expiry: Option<Vec<(i64, Vec<SessionId>)>>,
    /// `dump` of the server that expires them: when by the monotonic clock, in ms, and which then.
    pub by_expiry: Vec<(i64, Vec<SessionId>)>,
    /// `dump` of a learner: ids and timeouts in ms.
    pub of_learner: Option<Vec<(SessionId, i32)>>,
}

impl SessionsTold {
    /// Those that this server expires.
    pub fn of(sessions: &Tracker<SessionOwner>, word: FourLetterWord) -> Self {
        let by_expiry = match word {
            FourLetterWord::Dump => sessions.buckets().map(|(at_ms, ids)| (at_ms, ids.collect())).collect(),
            _ => Vec::new(),
        };
        Self { count: sessions.len(), by_expiry, ..Self::default() }
    }

    /// Those that a learner knows, and its leader expires.
    pub fn of_learner(sessions: &BTreeMap<SessionId, i32>, word: FourLetterWord) -> Self {
        let list = || sessions.iter().map(|(&id, &timeout_ms)| (id, timeout_ms)).collect();
        let of_learner = (word == FourLetterWord::Dump).then(list);
        Self { count: sessions.len(), of_learner, ..Self::default() }
    }

    /// Adds those that only this server knows; `may_be` says whether the configuration has any.
    pub fn with_local(self, local: &LocalSessions, may_be: bool, word: FourLetterWord) -> Self {
        let is_told = word == FourLetterWord::Dump && (may_be || local.len() > 0);
        Self { local: local.len(), local_by_expiry: is_told.then(|| local.buckets().collect()), ..self }
    }
}

/// Questions that wait for views.
#[derive(Debug)]
pub(super) struct Queries {
    views: u16,
    next: u64,
    open: BTreeMap<u64, Query>,
}

#[derive(Debug)]
struct Query {
    asker: Asker,
    word: FourLetterWord,
    reports: Vec<ViewReport>,
}

impl Queries {
    pub fn new(views: u16) -> Self {
        Self { views, next: 0, open: BTreeMap::new() }
    }

    pub fn ask(&mut self, asker: Asker, word: FourLetterWord) -> u64 {
        self.next += 1;
        self.open.insert(self.next, Query { asker, word, reports: Vec::new() });
        self.next
    }

    /// Takes a view's part; the whole once that was the last one missing.
    pub fn answered(
        &mut self,
        query: u64,
        report: ViewReport,
    ) -> Option<(Asker, FourLetterWord, Vec<ViewReport>)> {
        assert!(query <= self.next, "report to question {query}, and {} were asked", self.next);
        let open = self.open.get_mut(&query)?;
        open.reports.push(report);
        assert!(open.reports.len() <= usize::from(self.views), "{} views answer", open.reports.len());
        if open.reports.len() < usize::from(self.views) {
            return None;
        }
        let Query { asker, word, reports } = self.open.remove(&query)?;
        Some((asker, word, reports))
    }
}

/// What the commit side knows.
pub(super) struct CommitReport<'a> {
    pub tree: &'a Tree,
    pub quotas: &'a Quotas,
    pub metrics: &'a Metrics,
    /// Digests of the past, with the zxids that they are of.
    pub digests: Vec<(Zxid, u64)>,
    /// What `stmk` has set.
    pub trace_mask: i64,
    pub uptime_ms: i64,
    pub sessions: SessionsTold,
}

/// Adds the commit side's part to what the views said.
pub(super) fn status(
    word: FourLetterWord,
    reports: Vec<ViewReport>,
    commit: CommitReport<'_>,
    now: Now,
) -> Status {
    let CommitReport { tree, quotas, metrics, digests, trace_mask, uptime_ms, sessions } = commit;
    let mut status = Status {
        serving: true,
        uptime_ms: uptime_ms as u64,
        zxid: reports.iter().map(|report| report.zxid).min().unwrap_or_default(),
        gauges: Gauges {
            // The root is stored under two names in Java, and both are counted.
            znode_count: tree.len() as u64 + 1,
            ephemerals_count: tree.ephemeral_count() as u64,
            approximate_data_size: tree.data_bytes(),
            global_sessions: sessions.count as u64,
            local_sessions: sessions.local as u64,
            ..Gauges::default()
        },
        metrics: metrics.clone(),
        digests,
        trace_mask,
        ..Status::default()
    };
    let mut by_session: BTreeMap<SessionId, Vec<Box<[u8]>>> = BTreeMap::new();
    let mut by_path: BTreeMap<Box<[u8]>, Vec<SessionId>> = BTreeMap::new();
    for report in reports {
        let gauges = &mut status.gauges;
        gauges.packets_received += report.received;
        gauges.packets_sent += report.sent;
        gauges.num_alive_connections += report.open as u64;
        gauges.outstanding_requests += report.outstanding as u64;
        gauges.watch_count += report.watch_count as u64;
        status.latency.merge(&report.latency);
        status.views.push(ViewLoad {
            number: report.number,
            connections: report.open as u64,
            outstanding_requests: report.outstanding as u64,
            watches: report.watch_count as u64,
            answered: report.metrics.since_start().operations.answered(),
        });
        status.metrics.merge(&report.metrics);
        status.watches.connections += report.watch_summary.connections;
        status.watches.paths += report.watch_summary.paths;
        status.watches.watches += report.watch_summary.watches;
        status.connections.extend(report.connections);
        status.hot_paths.extend(report.hot_paths);
        status.large_znodes = status.large_znodes.or(report.large_znodes);
        for (session_id, path) in report.watches {
            by_path.entry(path.clone()).or_default().push(session_id);
            by_session.entry(session_id).or_default().push(path);
        }
    }
    status.views.sort_unstable_by_key(|view| view.number);
    if word == FourLetterWord::Mntr {
        status.quotas = quota_uses(tree, quotas);
    }
    status.watches_by_session = by_session.into_iter().collect();
    status.watches_by_path = by_path.into_iter().collect();
    if word == FourLetterWord::Dump {
        dump(&mut status, sessions, tree, now);
    }
    status
}

/// Adds what `dump` lists.
fn dump(status: &mut Status, sessions: SessionsTold, tree: &Tree, now: Now) {
    // Tracked by the monotonic clock, told by the wall's. Source: `Time.elapsedTimeToDate`.
    let to_wall_ms = |at_ms: i64| now.wall_ms + (at_ms - now.mono_ms());
    let by_expiry = sessions.by_expiry.into_iter();
    status.sessions = by_expiry.map(|(at_ms, ids)| (to_wall_ms(at_ms), ids)).collect();
    status.learner_sessions = sessions.of_learner;
    let local = sessions.local_by_expiry;
    status.local_sessions =
        local.map(|local| local.into_iter().map(|(at_ms, ids)| (to_wall_ms(at_ms), ids)).collect());
    let owners = tree.ephemeral_owners();
    status.ephemerals = owners.map(|id| (id, tree.ephemerals(id).map(Box::from).collect())).collect();
}

/// The quotas of each namespace, added up. Source: `QuotaMetricsUtils`.
fn quota_uses(tree: &Tree, quotas: &Quotas) -> BTreeMap<String, QuotaUse> {
    let text = |path: Vec<u8>| {
        let text = tree.find(&path).map_or(&b""[..], |index| tree.body(index).bytes());
        Limits::parse(text)
    };
    let limit = |hard: i64, soft: i64| if hard > -1 { hard } else { soft };
    let mut uses: BTreeMap<String, QuotaUse> = BTreeMap::new();
    for limited in quotas.limited() {
        let Some(name) = admin::namespace(limited) else { continue };
        let (limits, usage) = (text(txn::limits_path(limited)), text(txn::stats_path(limited)));
        let quota = uses.entry(String::from_utf8_lossy(name).into_owned()).or_default();
        quota.count_limit = quota.count_limit.wrapping_add(limit(limits.count_hard(), limits.count));
        quota.bytes_limit = quota.bytes_limit.wrapping_add(limit(limits.bytes_hard(), limits.bytes));
        quota.count = quota.count.wrapping_add(usage.count);
        quota.bytes = quota.bytes.wrapping_add(usage.bytes);
    }
    uses
}
