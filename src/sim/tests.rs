//! Seeds, and that the checks find what they are meant to find.

use super::{Mutation, Outcome, history};
use crate::driver::Bug;
use crate::replica::SessionsBug;
use crate::zab::configuration::ConfigurationsBug;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A failing seed says how to see it.
fn run(seed: u64, mutation: Option<Mutation>) -> Result<Outcome, String> {
    match catch_unwind(AssertUnwindSafe(|| history(seed, mutation, None))) {
        Ok(outcome) => match &outcome.violation {
            None => Ok(outcome),
            Some(violation) => Err(violation.clone()),
        },
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text.unwrap_or_else(|| panic.downcast_ref::<&str>().copied().unwrap_or_default().to_owned()))
        }
    }
}

/// Whole histories of small ensembles: nothing that clients were promised breaks. They are not idle: every way to bring
/// a follower up to date, elections, expired sessions, events and repairs are among them.
#[test]
fn seeds() {
    let mut total = Outcome::default();
    for seed in 0..SEEDS {
        match run(seed, None) {
            Ok(outcome) => total.add(&outcome),
            Err(violation) => panic!(
                "seed {seed}: {violation}\nZKFAST_SIM_TRACE=1 ZKFAST_SIM_SEEDS={seed} cargo test \
                 --no-default-features --features sim --test sim"
            ),
        }
    }
    let Outcome { committed, epochs, expired, events, repairs, syncs, .. } = &total;
    assert!(*committed > 50 * SEEDS as usize && *events > 10 * SEEDS, "{total:?}");
    assert!(*epochs > SEEDS as usize && *expired > 0 && *repairs > 0, "{total:?}");
    assert!(total.read_only > SEEDS && total.upgrades > SEEDS, "{total:?}");
    assert!(total.reconfigurations > SEEDS, "{total:?}");
    assert!(total.hand_overs > SEEDS && total.renewals > 0, "{total:?}");
    assert!(["DIFF", "TRUNC", "SNAP"].iter().all(|sync| syncs.contains_key(sync)), "{total:?}");
}

const SEEDS: u64 = 150;

/// A seed is one history, to the last byte.
#[test]
fn a_seed_is_one_history() {
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 0..10 {
        let outcome = history(seed, None, None);
        assert_eq!(outcome, history(seed, None, None), "seed {seed}");
        hashes.insert(outcome.hash);
    }
    assert_eq!(hashes.len(), 10);
}

/// Runs seeds of a broken server until one is noticed, which must say one of these.
fn caught(mutation: Mutation, says: &[&str]) {
    for seed in 0..SEEDS {
        if let Err(violation) = run(seed, Some(mutation)) {
            let expected = says.iter().any(|words| violation.contains(words));
            assert!(expected, "{mutation:?}, seed {seed}: {violation}");
            return;
        }
    }
    panic!("{mutation:?} is not noticed");
}

/// A server that acknowledges before the flush is caught: what is committed is not on a quorum's disks.
#[test]
fn acknowledging_before_the_flush() {
    caught(Mutation::AcknowledgeEarly, &["durable on", "which no quorum has"]);
}

/// So is one that never writes.
#[test]
fn losing_writes() {
    caught(Mutation::LoseWrites, &["durable on", "which no quorum has"]);
}

/// A server that forgets what it promised over a restart is caught: an epoch has two leaders, or a log goes back.
#[test]
fn forgetting_epochs() {
    caught(
        Mutation::ForgetEpochs,
        &["lead epoch", "durable on", "is committed", "goes back", "another txn", "the log ends elsewhere"],
    );
}

/// Servers that decide alone are caught.
#[test]
fn deciding_alone() {
    caught(Mutation::DecideAlone, &["durable on", "lead epoch", "is committed", "which no quorum has"]);
}

/// A truncation that is said to be done and is not is caught when the disk is read.
#[test]
fn skipping_truncation() {
    caught(
        Mutation::SkipTruncation,
        &["starts at", "another txn", "goes back", "durable on", "leaves digest", "diverged", "is committed"],
    );
}

/// A request that reaches the leader twice is caught.
#[test]
fn forwarding_twice() {
    caught(Mutation::ForwardTwice, &["is done after its", "begins after", "out of order"]);
}

/// A sync that is answered without asking the leader is caught: it says less than was seen before.
#[test]
fn answering_sync_at_once() {
    caught(Mutation::SyncAtOnce, &["was seen before it was asked", "out of order", "answered before"]);
}

/// Answers in another order are caught by the client.
#[test]
fn swapping_replies() {
    caught(
        Mutation::SwapReplies,
        &["reply with xid", "reply to", "goes back", "should have fired", "behind a reply"],
    );
}

/// A session that counts as upgraded without a txn is caught: it may own no ephemeral, or owns one nevertheless.
#[test]
fn upgrading_without_a_txn() {
    caught(
        Mutation::InSessions(SessionsBug::UpgradeNotLogged),
        &["which no txn began", "which is alive, is"],
    );
}

/// A local session whose end is logged is caught.
#[test]
fn logging_the_end_of_a_local_session() {
    caught(Mutation::InSessions(SessionsBug::EndLogged), &["is not alive", "and the log knows it"]);
}

/// A server that lets clients read what no leader has confirmed, and another one may take back, is caught.
#[test]
fn reading_what_no_leader_has_confirmed() {
    caught(
        Mutation::InSessions(SessionsBug::UnconfirmedRead),
        &["is told", "without a leader, which no quorum has"],
    );
}

/// A reconfiguration that a quorum of the former servers decides alone is caught.
#[test]
fn reconfiguring_by_the_old_quorum() {
    caught(
        Mutation::InConfigurations(ConfigurationsBug::OldQuorum),
        &["durable on", "lead epoch", "is committed", "goes back", "which no quorum has"],
    );
}

/// So is a configuration that counts before it is committed.
#[test]
fn activating_a_configuration_early() {
    caught(
        Mutation::InConfigurations(ConfigurationsBug::ActiveEarly),
        &["durable on", "lead epoch", "is committed", "goes back", "which no quorum has"],
    );
}

/// A leader that hands over before all it has proposed is committed, and answers its clients as if it were, is caught.
#[test]
fn handing_over_early() {
    caught(
        Mutation::InConfigurations(ConfigurationsBug::HandOverEarly),
        &["which no quorum has", "is committed", "durable on", "has handed over"],
    );
}

/// So is a server that forgets, over a restart or a change of its leader, what its log proposes.
#[test]
fn forgetting_a_proposed_configuration() {
    caught(
        Mutation::InConfigurations(ConfigurationsBug::NextForgotten),
        &["durable on", "lead epoch", "is committed", "goes back", "which no quorum has", "ends with"],
    );
}

/// An event that is not sent is caught by the next answer.
#[test]
fn losing_events() {
    caught(Mutation::LoseEvents, &["should have fired", "was due at setWatches"]);
}

/// So is one that comes behind it.
#[test]
fn late_events() {
    caught(Mutation::LateEvents, &["should have fired", "was due at setWatches", "behind a reply"]);
}

/// A follower that tells its observers what no quorum has is caught: an observer shows what is not committed.
#[test]
fn informing_observers_early() {
    caught(
        Mutation::InformEarly,
        &["which no quorum has", "is committed", "durable on", "goes back", "another txn"],
    );
}

/// An ensemble that does not come back once faults end is caught.
#[test]
fn never_coming_back() {
    caught(Mutation::StayCut, &["no ensemble", "no write", "wait for ever"]);
}

/// A driver that reports a group as durable before the flush is caught: its acknowledgement goes out too early.
#[test]
fn a_driver_that_reports_a_group_early() {
    caught(Mutation::InDriver(Bug::DurableNextTurn), &["durable on", "which no quorum has"]);
}

/// A driver that sends a promise before the epochs are on disk is caught: after a crash it promises the same to another.
#[test]
fn a_driver_that_promises_before_the_disk() {
    caught(
        Mutation::InDriver(Bug::EpochsLate),
        &["lead epoch", "is committed", "goes back", "another txn", "the log ends elsewhere"],
    );
}

/// A driver that says that a leader's tree is stored, and has it in memory only, is caught at the next start: the log
/// begins with a tree that is not there.
#[test]
fn a_driver_that_keeps_no_tree() {
    caught(Mutation::InDriver(Bug::TreeNotKept), &["is damaged"]);
}

/// A driver whose groups overtake one that a view has no room for is caught.
#[test]
fn a_driver_that_overtakes_its_backlog() {
    caught(Mutation::InDriver(Bug::BacklogOvertaken), &["goes back", "out of order", "behind", "after"]);
}
