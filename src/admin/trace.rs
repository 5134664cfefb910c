//! Requests that took long, and requests that were sampled: with how long each stage took.

use super::json;
use crate::proto::SessionId;
use std::collections::VecDeque;
use std::fmt;

/// Requests that are remembered.
pub const TRACES_KEPT: usize = 128;

/// Bytes of a path that are remembered.
pub const TRACE_PATH_BYTES_MAX: usize = 1024;

/// A request that took long, or that was sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// When it was answered, in ms since 1970.
    pub wall_ms: i64,
    /// Whose it was; 0 of a session that was not made.
    pub session_id: SessionId,
    /// The client's number for it.
    pub cxid: i32,
    /// Its name, as `zkfast_request_duration_seconds` has it.
    pub op: &'static str,
    /// The znode; `None` where it is not known: of operations without one, of writes that failed, and of reads that were
    /// answered at once together with others.
    pub path: Option<Box<[u8]>>,
    /// Requests that were answered in the same time. More than one only of reads, which are measured together; the one
    /// that is named is the one with most work, or the last.
    pub requests: u64,
    /// From its arrival until its reply was made, in microseconds.
    pub total_us: u64,
    /// How long each stage took, in microseconds, by its name; they add up to the whole.
    pub stages: Vec<(&'static str, u64)>,
    /// It took longer than the threshold.
    pub is_slow: bool,
    /// It was chosen by chance.
    pub is_sampled: bool,
}

/// As fields of a log line. No data, no names of users: only what HTTP shows as well.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session_id, cxid, op, path, requests, total_us, stages, .. } = self;
        write!(f, "op={op}")?;
        if let Some(path) = path {
            write!(f, " path={}", super::Text(String::from_utf8_lossy(path)))?;
        }
        write!(f, " session={session_id:#x} cxid={cxid} requests={requests} total_us={total_us}")?;
        stages.iter().try_for_each(|(stage, us)| write!(f, " {stage}_us={us}"))
    }
}

/// The newest traces.
#[derive(Debug, Default)]
pub struct Traces {
    /// Oldest first.
    newest: VecDeque<Trace>,
}

impl Traces {
    /// Adds one; the oldest makes room for it.
    pub fn push(&mut self, trace: Trace) {
        if self.newest.len() == TRACES_KEPT {
            self.newest.pop_front();
        }
        self.newest.push_back(trace);
    }

    /// The answer to the command `slow_requests`, newest first; a threshold of 0 ms is none.
    pub fn answer(&self, threshold_ms: u64, command: &str) -> Vec<u8> {
        json::object(|o| {
            o.set("threshold_ms", threshold_ms);
            o.list("requests", |l| {
                for trace in self.newest.iter().rev() {
                    l.object(|o| {
                        o.set("time", trace.wall_ms);
                        o.set("session", format!("{:#x}", trace.session_id));
                        o.set("cxid", trace.cxid);
                        o.set("op", trace.op);
                        o.set("path", trace.path.as_deref());
                        o.set("requests", trace.requests);
                        o.set("total_us", trace.total_us);
                        o.object("stages", |o| {
                            trace.stages.iter().for_each(|(stage, us)| o.set(&format!("{stage}_us"), *us));
                        });
                        o.set("slow", trace.is_slow);
                        o.set("sampled", trace.is_sampled);
                    });
                }
            });
            o.set("command", command);
            o.set("error", None::<&str>);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(cxid: i32) -> Trace {
        Trace {
            wall_ms: 1_700_000_000_000,
            session_id: SessionId(0x10),
            cxid,
            op: "setData",
            path: Some(Box::from(&b"/a b"[..])),
            requests: 1,
            total_us: 7,
            stages: vec![("queue", 3), ("apply", 4)],
            is_slow: true,
            is_sampled: false,
        }
    }

    /// A line has a field for each stage, and a path with a blank is quoted.
    #[test]
    fn as_a_line() {
        let line = "op=setData path=\"/a b\" session=0x10 cxid=1 requests=1 total_us=7 queue_us=3 apply_us=4";
        assert_eq!(trace(1).to_string(), line);
        let without = Trace { path: None, ..trace(1) };
        assert!(without.to_string().starts_with("op=setData session="), "{without}");
    }

    /// So many are kept, and the newest stands first.
    #[test]
    fn newest_first() {
        let mut traces = Traces::default();
        (0..200).for_each(|cxid| traces.push(trace(cxid)));
        let text = String::from_utf8(traces.answer(50, "slow_requests")).expect("UTF-8");
        let number = |line: &str| line.trim().strip_prefix("\"cxid\" : ")?.trim_end_matches(',').parse().ok();
        let cxids: Vec<i32> = text.lines().filter_map(number).collect();
        assert_eq!(cxids, (200 - TRACES_KEPT as i32..200).rev().collect::<Vec<_>>());
        assert!(
            text.starts_with("{\n  \"threshold_ms\" : 50,\n  \"requests\" : [ {\n    \"time\" :"),
            "{text}"
        );
        assert!(text.ends_with("\"command\" : \"slow_requests\",\n  \"error\" : null\n}"), "{text}");
    }
}
