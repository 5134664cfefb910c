//! What a view counts and notes.

use super::audit::Audit;
use super::cnxn::CnxnStats;
use super::traces::Tracer;
use crate::admin::{Metrics, Unmeasured};
use crate::proto::{OpCode, Zxid};
use crate::replica::Now;
use crate::txn::Change;

/// What a view counts, for four-letter words and metrics, and what it notes for logs.
#[derive(Debug)]
pub(super) struct Tally {
    /// Packets from clients.
    pub received: u64,
    /// Replies and events to clients.
    pub sent: u64,
    /// Reads that were answered as soon as they came, since [`Self::measured`]: how long that took is not known yet.
    pub unmeasured: Unmeasured,
    pub metrics: Metrics,
    pub tracer: Tracer,
    /// What the audit log is to say, if there is one.
    pub audit: Option<Box<Audit>>,
}

impl Tally {
    /// Nothing is counted yet.
    pub fn new(tracer: Tracer, audit: Option<Box<Audit>>) -> Self {
        let (unmeasured, metrics) = (Unmeasured::default(), Metrics::default());
        Self { received: 0, sent: 0, unmeasured, metrics, tracer, audit }
    }

    /// Counts a frame from a client.
    #[inline]
    pub fn note_frame(&mut self, stats: &mut CnxnStats, bytes: usize) {
        self.received += 1;
        self.metrics.counters.bytes_received_count += bytes as u64;
        stats.received += 1;
    }

    /// Counts an answer or an event to a client.
    #[inline]
    pub fn note_sent(&mut self, stats: &mut CnxnStats) {
        self.sent += 1;
        stats.sent += 1;
    }

    /// Counts the bytes of a frame that is not the answer to a request; its length field is no part of them.
    #[inline]
    pub fn note_size(&mut self, frame: usize, now: Now) {
        if frame > 0 {
            self.metrics.client_response_size.record(now.mono_us, frame as u64 - 4);
        }
    }

    /// Counts the bytes of a request's answer.
    #[inline]
    pub fn note_reply(&mut self, frame: usize, now: Now) {
        self.metrics.counters.response_bytes += frame as u64 - 4;
        self.note_size(frame, now);
    }

    /// Counts the bytes of an event.
    #[inline]
    pub fn note_event(&mut self, stats: &mut CnxnStats, frame: usize, now: Now) {
        self.metrics.counters.watch_bytes += frame as u64 - 4;
        self.note_size(frame, now);
        self.note_sent(stats);
    }

    /// Counts the events of a setWatches, which are whole frames.
    pub fn note_events(&mut self, stats: &mut CnxnStats, mut events: &[u8], now: Now) {
        while let Some((length, rest)) = events.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            events = &rest[length..];
            self.note_event(stats, 4 + length, now);
        }
        debug_assert!(events.is_empty(), "{} bytes after the last whole event", events.len());
    }

    /// What was received from a connection since the last call took so long to answer: for reads, which were answered at
    /// once, that is their latency. One reading of the clock serves all of them. Gives their number.
    pub fn measured(&mut self, stats: &mut CnxnStats, took_us: u64) -> u64 {
        if self.unmeasured.is_empty() {
            return 0;
        }
        let reads = self.metrics.operations.take_in(&mut self.unmeasured, took_us);
        self.metrics.latencies.read_final_proc_time_ms.record_n(took_us / reads, reads);
        stats.latency.record_n(took_us, reads);
        stats.last_latency_us = took_us;
        reads
    }

    /// Counts a write's bytes in its namespace.
    pub fn note_write(&mut self, change: &Change) {
        let namespaces = &mut self.metrics.namespaces;
        match change {
            Change::Created { body, .. } | Change::Data { body } => {
                namespaces.write(body.path(), body.data().map_or(0, <[u8]>::len));
            }
            Change::Deleted { body } => namespaces.write(body.path(), 0),
            Change::Acl { .. } | Change::Quota { .. } => {}
        }
    }
}

impl CnxnStats {
    /// Notes that a request was answered, as of `zxid`; `latency_us` if it is known.
    #[inline]
    pub fn note_answer(&mut self, xid: i32, op: OpCode, zxid: Zxid, latency_us: Option<u64>, now: Now) {
        if let Some(latency_us) = latency_us {
            self.latency.record(latency_us);
            self.last_latency_us = latency_us;
        }
        if xid >= 0 {
            self.last_cxid = xid;
        }
        self.last_op = Some(op);
        self.last_zxid = zxid;
        self.last_response = now;
    }
}
