//! What a view says of itself, for four-letter words.

use super::View;
use super::address::address_text;
use super::cnxn::{Cnxn, State};
use crate::admin::{self, Connection, ConnectionSession, FourLetterWord, Metrics};
use crate::proto::SessionId;
use crate::replica::{Now, ViewReport};
use crate::watch;

impl View {
    /// What this view adds to a four-letter word's answer.
    pub(in crate::replica) fn report(&mut self, word: FourLetterWord, now: Now) -> ViewReport {
        let operations = &self.tally.metrics.operations;
        let report = ViewReport {
            number: self.settings.number,
            zxid: self.data.zxid,
            received: self.tally.received,
            sent: self.tally.sent,
            latency: operations.requests(),
            metrics: match word {
                FourLetterWord::Mntr | FourLetterWord::Srvr | FourLetterWord::Stat => {
                    self.tally.metrics.clone()
                }
                _ => Metrics::default(),
            },
            outstanding: self.outbox.outstanding(),
            open: self.cnxn_count(),
            watch_count: self.data.watches.len(),
            watch_summary: self.data.watches.summary(),
            connections: match word {
                FourLetterWord::Stat | FourLetterWord::Cons | FourLetterWord::Dump => {
                    let sessionless_ms = self.settings.sessionless_timeout_ms;
                    self.connections.iter().map(|cnxn| connection(cnxn, sessionless_ms)).collect()
                }
                _ => Vec::new(),
            },
            hot_paths: match word {
                FourLetterWord::Cons => self.tally.tracer.sampler.hot.paths().to_vec(),
                _ => Vec::new(),
            },
            large_znodes: match word {
                FourLetterWord::Cons if self.settings.number == 0 => self.survey.ask(self.data.resets, now),
                _ => None,
            },
            watches: match word {
                FourLetterWord::Wchc | FourLetterWord::Wchp => self.watches_by_session(),
                _ => Vec::new(),
            },
        };
        match word {
            FourLetterWord::Srst => {
                (self.tally.received, self.tally.sent) = (0, 0);
                self.tally.metrics.reset();
            }
            FourLetterWord::Crst => self.connections.reset_stats(),
            _ => {}
        }
        report
    }

    fn watches_by_session(&self) -> Vec<(SessionId, Box<[u8]>)> {
        let session_of =
            |watch::Cnxn(slot)| self.connections.peek(slot).map_or(SessionId::NONE, |cnxn| cnxn.session_id);
        let watches = self.data.watches.by_cnxn().flat_map(|(cnxn, paths)| {
            let session_id = session_of(cnxn);
            paths.map(move |path| (session_id, Box::from(path)))
        });
        watches.collect()
    }
}

fn connection(cnxn: &Cnxn, sessionless_ms: i64) -> Connection {
    let (stats, session_id) = (&cnxn.stats, cnxn.session_id);
    let session = ConnectionSession {
        id: session_id,
        last_op: stats.last_op.map_or("null", admin::last_op),
        timeout_ms: cnxn.timeout_ms,
        last_cxid: stats.last_cxid.into(),
        last_zxid: stats.last_zxid.to_wire(),
        last_response_ms: stats.last_response.mono_ms(),
        last_latency_us: stats.last_latency_us,
        latency: stats.latency,
    };
    // Java's selector bits: 1 reads, 4 has something to write. It reads no further from a connection that waits
    // for its session or for the answer to a word.
    let reads = matches!(cnxn.state, State::Fresh | State::Established) && !cnxn.stalled;
    let interest_ops = u8::from(reads) | u8::from(cnxn.unsent() > 0) << 2;
    let timeout_ms = if session_id.is_none() { sessionless_ms } else { cnxn.timeout_ms.into() };
    let heard_ms = stats.last_response.wall_ms.max(cnxn.opened.wall_ms);
    Connection {
        peer: address_text(cnxn.peer),
        interest_ops,
        queued: cnxn.awaited.into(),
        received: stats.received,
        sent: stats.sent,
        established_wall_ms: cnxn.opened.wall_ms,
        expires_wall_ms: next_interval(heard_ms + timeout_ms, sessionless_ms),
        session: session_id.is_some().then_some(session),
    }
}

/// Connections expire by intervals, rounded up. Source: `ExpiryQueue.roundToNextInterval`.
fn next_interval(at_ms: i64, interval_ms: i64) -> i64 {
    (at_ms.div_euclid(interval_ms.max(1)) + 1) * interval_ms.max(1)
}
