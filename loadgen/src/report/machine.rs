//! What a reader must know of the machine to understand a figure, or to measure it again.

use crate::report::format;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// The machine, and the command that was run on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// Time of the measurement, UTC.
    pub time: String,
    /// Name of the machine.
    pub host: String,
    /// Name of the CPU.
    pub cpu: String,
    /// CPUs that loadgen may use.
    pub cpus: usize,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// Processes that wanted a CPU in the last minute, including those of other users.
    pub load_average: f64,
    /// File system and device of the data of servers that loadgen started; empty if it started none.
    pub disk: String,
    /// loadgen's command line.
    pub command: String,
    /// loadgen's version.
    pub loadgen: String,
}

impl Machine {
    /// This machine, now; `data` is the directory of the data of servers that loadgen starts.
    pub fn here(data: Option<&Path>) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let words: Vec<String> = std::env::args().skip(1).map(|word| quoted(&word)).collect();
        let memory = field(&read("/proc/meminfo"), "MemTotal").split(' ').next().unwrap_or("0").parse();
        let load = read("/proc/loadavg");
        Self {
            time: utc_now(),
            host: read("/proc/sys/kernel/hostname").trim().to_owned(),
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory.unwrap_or(0) * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_average: load.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0),
            disk: data.map_or_else(String::new, |data| mount(&read("/proc/self/mountinfo"), data)),
            command: format!("loadgen {}", words.join(" ")).trim_end().to_owned(),
            loadgen: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Names and values, for people.
    pub fn facts(&self) -> Vec<(String, String)> {
        let machine =
            format!("{}, {} CPUs, {}", self.cpu, self.cpus, format::bytes(self.memory_bytes as f64));
        [
            ("command", self.command.clone()),
            ("machine", format!("{}: {}", self.host, machine.trim_start_matches(", "))),
            ("kernel", format!("Linux {}", self.kernel)),
            ("load average before", format!("{:.2}", self.load_average)),
            ("disk of the data", self.disk.clone()),
            ("time", self.time.clone()),
            ("loadgen", self.loadgen.clone()),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

/// The value in the first line `name: value`; empty without one.
fn field(text: &str, name: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    value.unwrap_or_default().trim().to_owned()
}

/// File system and device of the mount that holds `path`: the longest mount point that leads to it.
fn mount(mountinfo: &str, path: &Path) -> String {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let point = left.split(' ').nth(4)?;
        let mut right = right.split(' ');
        path.starts_with(point).then_some((point.len(), right.next()?, right.next()?))
    });
    // Of two mounts at one point the later one hides the other.
    let deepest = mounts.max_by_key(|(length, ..)| *length);
    deepest.map_or_else(String::new, |(_, kind, device)| format!("{kind} on {device}"))
}

/// A word of a command line, quoted for a shell if it needs that.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_=+.,:/@%[]".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn utc_now() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    utc(now.map_or(0, |since| since.as_secs()))
}

/// Seconds since 1970 as date and time. The date by Hinnant, "chrono-compatible low-level date algorithms".
fn utc(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", of_day / 3600, of_day / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Days at the ends of months and in leap years have the right dates.
    #[test]
    fn dates() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59 UTC"),
            (1_772_323_260, "2026-03-01 00:01 UTC"),
        ] {
            assert_eq!(utc(seconds), date, "{seconds}");
        }
    }

    /// A path is on the deepest mount above it; a mount point whose name only begins alike is another.
    #[test]
    fn mounts() {
        let info = "21 1 254:0 / / rw - ext4 /dev/vda rw\n22 21 0:20 / /var rw shared:1 - xfs /dev/vdb rw\n\
                    23 21 0:21 / /va rw - tmpfs tmpfs rw\n";
        assert_eq!(mount(info, Path::new("/var/tmp")), "xfs on /dev/vdb");
        assert_eq!(mount(info, Path::new("/vartmp")), "ext4 on /dev/vda");
        assert_eq!(mount("", Path::new("/")), "");
    }

    /// Words that a shell would split are quoted; this machine has a kernel, a CPU and memory.
    #[test]
    fn words_and_here() {
        assert_eq!(["--a", "a b", "it's", ""].map(quoted), ["--a", "'a b'", r"'it'\''s'", "''"]);
        let here = Machine::here(Some(Path::new("/")));
        assert!(here.cpus > 0 && here.memory_bytes > 1_000_000 && !here.kernel.is_empty(), "{here:?}");
        assert!(here.facts().iter().any(|(name, value)| name == "command" && value.starts_with("loadgen")));
    }
}
