//! Seeds, and that they find what they are meant to find.

use super::cluster::history;

/// Whole histories of small ensembles: nothing that clients were promised breaks.
#[test]
fn seeds() {
    for seed in 0..100 {
        let outcome = history(seed, None, None);
        assert_eq!(outcome.violation, None, "seed {seed}");
    }
}
