//! Rules that the source does not keep everywhere yet. What still breaks one is counted in `debts.txt`, and a count may
//! only go down: more is a failure, and so is less, until the line says so.
//!
//! `ZKFAST_TIDY=lower cargo test --test tidy` lowers the lines to what there is. It never raises one and never adds one.

use crate::repository::{read, root};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// The file, from the repository's root: lines of rule, place and count; `#` begins a comment.
const FILE: &str = "tests/tidy/debts.txt";

/// How much breaks a rule, by place. A place has no spaces.
pub type Counts = BTreeMap<String, usize>;

/// Held while the file is read and written again: tests run in threads of one process.
static WRITING: Mutex<()> = Mutex::new(());

/// Fails unless `found` is what the file says of `rule`. `advice` is what to do about a finding.
pub fn hold(rule: &str, found: &Counts, advice: &str) {
    let _writing = WRITING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let text = read(FILE);
    let known = debts_of(rule, &text);
    let more = more_than(&known, found);
    assert!(more.is_empty(), "{rule}: {advice}\n  {}", more.join("\n  "));
    let less = less_than(&known, found);
    if less.is_empty() {
        return;
    }
    if std::env::var("ZKFAST_TIDY").is_ok_and(|what| what == "lower") {
        std::fs::write(root().join(FILE), lowered(rule, &text, found)).expect("the file can be written");
    } else {
        panic!(
            "{rule}: less than {FILE} says, which is good; `ZKFAST_TIDY=lower cargo test --test tidy` writes it down\n  {}",
            less.join("\n  ")
        );
    }
}

/// What the file says of one rule.
///
/// # Panics
/// If a line is not `rule place count`, or a place is there twice.
fn debts_of(rule: &str, text: &str) -> Counts {
    let mut counts = Counts::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [of, place, count] = fields[..] else { panic!("{FILE}: not `rule place count`: {line}") };
        let count = count.parse().unwrap_or_else(|_| panic!("{FILE}: no number: {line}"));
        if of == rule {
            let before = counts.insert(place.to_owned(), count);
            assert_eq!(before, None, "{FILE}: twice: {line}");
        }
    }
    counts
}

/// Where there is more than the file allows.
fn more_than(known: &Counts, found: &Counts) -> Vec<String> {
    let allowed = |place: &String| known.get(place).copied().unwrap_or(0);
    let more = found.iter().filter(|(place, count)| **count > allowed(place));
    more.map(|(place, count)| format!("{place}: {count}, at most {}", allowed(place))).collect()
}

/// Where there is less than the file says, or nothing any more.
fn less_than(known: &Counts, found: &Counts) -> Vec<String> {
    let left = |place: &String| found.get(place).copied().unwrap_or(0);
    let less = known.iter().filter(|(place, count)| left(place) < **count);
    less.map(|(place, count)| format!("{place}: {} of {count}", left(place))).collect()
}

/// The file with each line of `rule` at what was found, and without those where nothing was.
fn lowered(rule: &str, text: &str, found: &Counts) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            [of, place, _] if of == rule => {
                lines.extend(found.get(place).map(|count| format!("{rule} {place} {count}")));
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n") + "\n"
}

mod debts_only_shrink {
    use super::*;

    const TEXT: &str = "# Said once.\nlong a.rs 90\nlong b.rs 80\nother a.rs 3\n";

    fn counts(of: &[(&str, usize)]) -> Counts {
        of.iter().map(|&(place, count)| (place.to_owned(), count)).collect()
    }

    /// A count that grew and a place that is new are found; the same place of another rule does not count.
    #[test]
    fn more() {
        let known = debts_of("long", TEXT);
        assert_eq!(known, counts(&[("a.rs", 90), ("b.rs", 80)]));
        let found = counts(&[("a.rs", 91), ("b.rs", 80), ("c.rs", 71)]);
        assert_eq!(more_than(&known, &found), ["a.rs: 91, at most 90", "c.rs: 71, at most 0"]);
    }

    /// A count that shrank and a place where nothing is left are found, and written down.
    #[test]
    fn less() {
        let known = debts_of("long", TEXT);
        let found = counts(&[("a.rs", 89)]);
        assert_eq!(less_than(&known, &found), ["a.rs: 89 of 90", "b.rs: 0 of 80"]);
        assert_eq!(lowered("long", TEXT, &found), "# Said once.\nlong a.rs 89\nother a.rs 3\n");
        assert_eq!(lowered("other", TEXT, &Counts::new()), "# Said once.\nlong a.rs 90\nlong b.rs 80\n");
    }
}
