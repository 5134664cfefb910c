//! Words that the source does without: names of an older dialect, and phrases that hide the part that acts.

use crate::debts::{self, Counts};
use crate::repository::{read, rust_files};
use crate::rust::{code_of, words};

/// Names in code, and what to say instead.
const NAMES: [(&str, &str); 15] = [
    ("Others", "EnsembleIo"),
    ("Patience", "GroupDelay"),
    ("patience", "group_delay"),
    ("Up", "ViewRequest"),
    ("What", "EntryKind"),
    ("Bell", "Notify"),
    ("bell", "notify"),
    ("AsItGoes", "UntilBackpressure"),
    ("Whatever", "All"),
    ("Nobody", "a state without it"),
    ("QUICK", "SLOW_GROUP"),
    ("DISTRUST", "SLOW_PENALTY_FACTOR"),
    ("FEW", "a name with a unit or a bound"),
    ("ENOUGH", "a name with a unit or a bound"),
    ("WEIGHT", "a name with a unit or a bound"),
];

/// Names in the code of `src/replica`, where each had several meanings. Elsewhere they may be the right word.
const REPLICA_NAMES: [(&str, &str); 11] = [
    ("say", "push_control, or what it does"),
    ("tell", "answer, or what it does"),
    ("announce", "publish, or what it does"),
    ("look", "poll, or what it does"),
    ("look_at", "poll_connection"),
    ("sharpen", "finish_fuzzy_snapshot"),
    ("settle", "start_election_if_durable"),
    ("marked", "on_marker_durable"),
    ("led", "run_leader_outputs"),
    ("learned", "run_learner_outputs"),
    ("term", "epoch, or serving_generation"),
];

/// Phrases in code, comments and text, and what to say instead. In a list the spaces are `_`.
const PHRASES: [(&str, &str); 6] = [
    ("in front of", "before"),
    ("nobody", "the part that does not act"),
    ("somebody", "the part that acts"),
    ("whoever", "the part that acts"),
    ("Lets time pass", "fires what is due"),
    ("passed over", "ignored, or what happens"),
];

/// No name of the older dialect is in the code.
#[test]
fn names_are_the_fields_own() {
    let mut found = Counts::new();
    for path in rust_files("src") {
        let code = code_of(&read(&path));
        count(&code, &NAMES, &mut found);
        if path.starts_with("src/replica/") {
            count(&code, &REPLICA_NAMES, &mut found);
        }
    }
    debts::hold("name", &found, &format!("say it in the field's words: {NAMES:?}, {REPLICA_NAMES:?}"));
}

/// A sentence has a subject that acts.
#[test]
fn sentences_name_the_part_that_acts() {
    let mut found = Counts::new();
    for path in rust_files("src") {
        count(&read(&path), &PHRASES, &mut found);
    }
    debts::hold("phrase", &found, &format!("plain English: {PHRASES:?}"));
}

/// Adds how often each word is in `text`, whole.
fn count(text: &str, list: &[(&str, &str)], found: &mut Counts) {
    for (word, _) in list {
        let times = words(text, word).count();
        if times > 0 {
            *found.entry(word.replace(' ', "_")).or_insert(0) += times;
        }
    }
}

/// Names are found as whole words of the code, phrases also in comments.
#[test]
fn words_are_found() {
    let mut found = Counts::new();
    count(&code_of("fn f(bell: Bell) {} // Bell\nlet doorbell = \"bell\";"), &NAMES, &mut found);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [("Bell".into(), 1), ("bell".into(), 1)]);
    let mut found = Counts::new();
    count("// What nobody sees stands in front of it.\n", &PHRASES, &mut found);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [("in_front_of".into(), 1), ("nobody".into(), 1)]);
}
