//! What probes ask: does the process live, has it started, can it serve clients.

use super::json;
use super::{Mode, Status};

/// How far a start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It opens directories and ports.
    Opening,
    /// It takes over ZooKeeper's data.
    Importing,
    /// It reads the newest snapshot.
    ReadingSnapshot,
    /// It replays the log that follows the snapshot.
    ReplayingLog,
    /// Its data is read; a member waits for a leader.
    Joining,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 5] =
        [Self::Opening, Self::Importing, Self::ReadingSnapshot, Self::ReplayingLog, Self::Joining];

    /// As `/startup` shows it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Importing => "importing",
            Self::ReadingSnapshot => "reading snapshot",
            Self::ReplayingLog => "replaying log",
            Self::Joining => "joining",
        }
    }
}

/// A start under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it does.
    pub step: Step,
    /// Bytes of this step's files that are read; 0 where the step reads none.
    pub bytes: u64,
    /// Bytes of all of them.
    pub bytes_all: u64,
    /// Milliseconds since the process began.
    pub uptime_ms: u64,
}

impl Progress {
    /// How much of the step is done; `None` where it reads nothing.
    pub fn percent(&self) -> Option<u64> {
        (self.bytes_all > 0)
            .then(|| (self.bytes.min(self.bytes_all) as f64 * 100.0 / self.bytes_all as f64) as u64)
    }
}

/// What is known of a server that has read its data.
#[derive(Clone, Copy, Debug)]
pub struct Health<'a> {
    /// What it said last; `None` before it said anything.
    pub last: Option<&'a Status>,
    /// How long ago that was, in milliseconds.
    pub age_ms: u64,
    /// The age in milliseconds up to which that counts.
    pub age_max_ms: u64,
    /// A signal has told it to stop.
    pub is_stopping: bool,
}

/// The answer to `/live`: the process runs, and this thread of it.
pub fn live(uptime_ms: u64) -> Vec<u8> {
    json::object(|o| {
        o.set("live", true);
        o.set("uptime_ms", uptime_ms);
    })
}

/// The answer to `/startup`: once the server has served, that it has, and before that how far it is.
pub fn started(has_started: bool, progress: &Progress) -> Vec<u8> {
    json::object(|o| {
        o.set("started", has_started);
        if !has_started {
            o.set("phase", progress.step.name());
            if let Some(percent) = progress.percent() {
                o.set("bytes", progress.bytes);
                o.set("bytes_all", progress.bytes_all);
                o.set("percent", percent);
            }
        }
        o.set("uptime_ms", progress.uptime_ms);
    })
}

/// The answer to `/ready`, and whether the server is ready: it serves clients, and belongs to a quorum if it is a member of
/// an ensemble. `None` of `health` is a server that still starts.
pub fn ready(health: Option<Health<'_>>, progress: &Progress) -> (bool, Vec<u8>) {
    let mut reasons = Vec::new();
    let last = health.and_then(|health| health.last);
    match health {
        None => reasons.push(match progress.percent() {
            Some(percent) => format!("it starts: {}, {percent} percent", progress.step.name()),
            None => format!("it starts: {}", progress.step.name()),
        }),
        Some(Health { age_ms, age_max_ms, is_stopping, .. }) => {
            if is_stopping {
                reasons.push("it stops".to_owned());
            }
            if last.is_none() {
                reasons.push("it has not said yet whether it serves".to_owned());
            } else if age_ms > age_max_ms {
                reasons.push(format!("it has not answered for {age_ms} ms: does its disk hang?"));
            }
        }
    }
    if last.is_some_and(|status| !status.serving) {
        reasons.push("it has no leader: too few servers of the ensemble can reach each other".to_owned());
    }
    if last.is_some_and(|status| status.serving && status.mode == Mode::ReadOnly) {
        reasons.push("it has no leader, and serves only clients that read".to_owned());
    }
    let is_ready = reasons.is_empty();
    let text = json::object(|o| {
        o.set("ready", is_ready);
        o.set("state", state(last));
        o.list("reasons", |l| reasons.iter().for_each(|reason| l.push(reason.as_str())));
        if let Some(status) = last {
            o.set("zxid", format!("{}", status.zxid));
            o.set("age_ms", health.map_or(0, |health| health.age_ms));
        }
    });
    (is_ready, text)
}

/// The role, or `looking` without a leader, or `starting`.
fn state(last: Option<&Status>) -> &'static str {
    match last {
        None => "starting",
        Some(status) if status.serving => status.mode.name(),
        Some(_) => "looking",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Zxid;

    const READ: Progress = Progress { step: Step::Joining, bytes: 0, bytes_all: 0, uptime_ms: 7 };

    fn health(last: Option<&Status>) -> Health<'_> {
        Health { last, age_ms: 3, age_max_ms: 5000, is_stopping: false }
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).expect("UTF-8")
    }

    /// A server is ready only while it serves, answers and does not stop; each thing that is missing is named.
    #[test]
    fn readiness() {
        let serving =
            Status { serving: true, mode: Mode::Leader, zxid: Zxid::new(2, 5), ..Status::default() };
        let looking = Status::default();
        let (is_ready, body) = ready(Some(health(Some(&serving))), &READ);
        assert!(is_ready);
        let expected = "{\n  \"ready\" : true,\n  \"state\" : \"leader\",\n  \"reasons\" : [ ],\n  \
                        \"zxid\" : \"0x200000005\",\n  \"age_ms\" : 3\n}";
        assert_eq!(text(&body), expected);
        for (health, why, state) in [
            (Some(health(Some(&looking))), "no leader", "looking"),
            (Some(health(None)), "not said yet", "starting"),
            (Some(Health { age_ms: 5001, ..health(Some(&serving)) }), "for 5001 ms", "leader"),
            (Some(Health { is_stopping: true, ..health(Some(&serving)) }), "it stops", "leader"),
            (None, "it starts: joining", "starting"),
        ] {
            let (is_ready, body) = ready(health, &READ);
            let body = text(&body);
            assert!(!is_ready && body.contains("\"ready\" : false"), "{body}");
            assert!(body.contains(why) && body.contains(&format!("\"state\" : \"{state}\"")), "{body}");
        }
    }

    /// A start shows its phase, and bytes and percent where it reads; what has started shows no phase.
    #[test]
    fn startup() {
        let reading = Progress { step: Step::ReplayingLog, bytes: 3 << 26, bytes_all: 4 << 26, uptime_ms: 7 };
        let body = started(false, &reading);
        for part in [
            "\"started\" : false",
            "\"phase\" : \"replaying log\"",
            "\"percent\" : 75",
            "\"bytes\" : 201326592",
        ] {
            assert!(text(&body).contains(part), "{}", text(&body));
        }
        assert!(!text(&started(false, &READ)).contains("percent"));
        assert_eq!(text(&started(true, &reading)), "{\n  \"started\" : true,\n  \"uptime_ms\" : 7\n}");
        let (_, body) = ready(None, &reading);
        assert!(text(&body).contains("it starts: replaying log, 75 percent"), "{}", text(&body));
    }
}
