use super::simulation::{Net, Standing, Stop, ensemble};
use super::*;

/// Three servers that start together elect the one with the best log, at once.
#[test]
fn the_best_log_leads() {
    let mut net = Net::new(1, ensemble(&[1, 2, 3], &[]));
    net.candidate(1, 1, Zxid::new(1, 9));
    net.start_all();
    let took = net.until(1_000, |net| net.leader() == Some(1));
    assert!(took < FINALIZE_MS / 2, "{took} ms");
}
