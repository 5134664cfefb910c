//! Requests that take long, and sampled ones: which of them views remember.

use super::net::{Net, create, delete, get, read, set};
use crate::admin::FourLetterWord;
use crate::proto::OpCode;
use crate::replica::ViewSettings;

const SLOW_US: u64 = 10_000;

fn traced(one_in: u32) -> Net {
    Net::with_views(|number| ViewSettings {
        slow_request_us: SLOW_US,
        trace_one_in: one_in,
        ..ViewSettings::new(number)
    })
}

/// Traces of the first view in short: `op path cxid total stages`, and whether each was slow (`!`) or sampled (`?`).
fn traces(net: &mut Net) -> Vec<String> {
    let traces = net.views[0].take_traces();
    let text = |trace: crate::admin::Trace| {
        let path = trace.path.as_deref().map_or("-".into(), String::from_utf8_lossy).into_owned();
        let stages: Vec<&str> = trace.stages.iter().map(|(stage, _)| *stage).collect();
        assert_eq!(trace.stages.iter().map(|(_, us)| us).sum::<u64>(), trace.total_us, "{trace:?}");
        let (slow, sampled) = (if trace.is_slow { "!" } else { "" }, if trace.is_sampled { "?" } else { "" });
        let (op, cxid, total) = (trace.op, trace.cxid, trace.total_us);
        format!("{op}{slow}{sampled} {path} {cxid} {total} {}", stages.join(","))
    };
    traces.into_iter().map(text).collect()
}

/// Lets so much time pass between a request and its commit.
fn after(net: &mut Net, us: u64) {
    net.now.mono_us += us as i64;
    net.run_until_idle();
}

/// Writes that take long are remembered with the path that they have changed, those that fail without one, and reads that
/// waited for them with theirs. Quick ones are not.
#[test]
fn slow_requests() {
    let mut net = traced(0);
    let a = net.connect(0);
    net.ok(a, create(1, "/a", 0));
    assert_eq!(traces(&mut net), Vec::<String>::new());
    net.send_all(a, &[create(2, "/s-", 2), get(3, "/a"), set(4, "/a", b"x", 77), delete(5, "/a", -1)]);
    after(&mut net, SLOW_US);
    let stages = "queue,check,log_queue,log,quorum,apply";
    assert_eq!(
        traces(&mut net),
        [
            // The read is answered while the write is.
            format!("getData! /a 3 {SLOW_US} queue"),
            format!("create! /s-0000000001 2 {SLOW_US} {stages}"),
            format!("setData! - 4 {SLOW_US} {stages}"),
            format!("delete! /a 5 {SLOW_US} {stages}"),
        ]
    );
    net.send(a, &create(6, "/b", 0));
    after(&mut net, SLOW_US - 1);
    assert_eq!(traces(&mut net), Vec::<String>::new());
    let b = net.open(0);
    net.send_connect(b, crate::proto::SessionId::NONE, &[0; 16], 10_000);
    after(&mut net, SLOW_US);
    assert_eq!(traces(&mut net), [format!("createSession! - 0 {SLOW_US} {stages}")]);
}

/// Of reads that are answered together and took long, the one with most work is named; without one, the last.
#[test]
fn slow_reads() {
    let mut net = traced(0);
    let a = net.connect(0);
    for number in 0..40 {
        net.ok(a, create(number, &format!("/{}-{number}", "x".repeat(60_000)), 0));
    }
    let place = net.clients[a].place;
    net.send_all(a, &[get(50, "/none"), get(51, "/"), get(52, "/none")]);
    net.views[0].measured(place, 3 * SLOW_US);
    net.send_all(a, &[get(60, "/none"), read(61, OpCode::GET_CHILDREN, "/", false), get(62, "/none")]);
    net.views[0].measured(place, SLOW_US);
    net.send_all(a, &[get(70, "/none")]);
    net.views[0].measured(place, SLOW_US - 1);
    assert_eq!(
        traces(&mut net),
        [format!("getData! - 52 {} read", 3 * SLOW_US), format!("getChildren! / 61 {SLOW_US} read"),]
    );
}

/// The largest znodes are known once the first view, asked for them, has been through its tree by some ticks.
#[test]
fn largest_znodes() {
    let mut net = traced(0);
    let a = net.connect(1);
    net.ok(a, create(1, "/many", 0));
    for number in 0..1500 {
        net.ok(a, create(2, &format!("/many/{number}"), 0));
    }
    net.ok(a, set(3, "/many/7", &[b'x'; 5000], -1));
    let ask = |net: &mut Net| {
        let now = net.now;
        net.views
            .iter_mut()
            .map(|view| view.report(FourLetterWord::Cons, now).large_znodes)
            .collect::<Vec<_>>()
    };
    assert_eq!(ask(&mut net), [None, None]);
    net.pass(100);
    assert_eq!(ask(&mut net), [None, None], "there are more places than one tick visits");
    net.pass(100);
    let [Some(found), None] = &ask(&mut net)[..] else { panic!("the first view has been through the tree") };
    assert_eq!(found.data[0], (Box::from(&b"/many/7"[..]), 5000));
    assert_eq!(found.children[0], (Box::from(&b"/many"[..]), 1500));
    assert_eq!(found.znodes as usize, net.views[0].tree().len());
}

/// Sampled requests are remembered however long they took, with the path that they asked for.
#[test]
fn sampled_requests() {
    let mut net = traced(1);
    let a = net.connect(0);
    net.send_all(a, &[set(1, "/none", b"", -1), get(2, "/none")]);
    net.run_until_idle();
    let place = net.clients[a].place;
    net.send(a, &get(3, "/"));
    net.views[0].measured(place, 5);
    assert_eq!(
        traces(&mut net),
        [
            "getData? /none 2 0 queue",
            "setData? /none 1 0 queue,check,log_queue,log,quorum,apply",
            "getData? / 3 5 read",
        ]
    );
}
