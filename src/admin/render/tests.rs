use super::*;
use crate::admin::{Conf, ConnectionSession, Gauges, Summary, TRACE_MASK_DEFAULT};
use crate::proto::{SessionId, Zxid};
use crate::watch;
use std::collections::BTreeSet;

/// 2026-11-23 04:40:14 UTC.
const EXPIRY_MS: i64 = 1_795_408_814_000;
const FIRST: SessionId = SessionId(0x0100_0021_40e7_0000);
const SECOND: SessionId = SessionId(FIRST.0 + 1);

fn latency_ms(values: &[u64]) -> Summary {
    let mut summary = Summary::default();
    values.iter().for_each(|value| summary.record(value * MILLISECOND));
    summary
}

/// A server in the state in which the answers below were taken from Apache ZooKeeper 3.9.4: two
/// clients, each with an ephemeral znode, three data watches, and a third connection that asks.
/// Connections of the sessions [`FIRST`] and [`SECOND`], and one without a session.
fn connections() -> Vec<Connection> {
    let client = |peer: &str, received, sent, session| Connection {
        peer: peer.to_owned(),
        interest_ops: 1,
        received,
        sent,
        established_wall_ms: 1_795_408_783_348,
        expires_wall_ms: EXPIRY_MS + 8000,
        session: Some(session),
        ..Connection::default()
    };
    let first = ConnectionSession {
        id: FIRST,
        last_op: last_op(OpCode::PING),
        timeout_ms: 30_000,
        last_cxid: 5,
        last_zxid: 5,
        last_response_ms: 2_210_612,
        last_latency_us: 999,
        latency: latency_ms(&[0, 15, 4, 1]),
    };
    let second = ConnectionSession { id: SECOND, last_op: "", last_cxid: -1, last_zxid: -1, ..first };
    vec![
        client("127.0.0.1:54398", 3, 3, second),
        Connection {
            peer: "127.0.0.1:54430".to_owned(),
            received: 1,
            expires_wall_ms: EXPIRY_MS - 12_000,
            ..Connection::default()
        },
        client("127.0.0.1:54384", 7, 8, first),
    ]
}

fn status() -> Status {
    Status {
        version: "3.9.4-zkfast-0.1.0, built on 2025-08-19 19:53 UTC".to_owned(),
        serving: true,
        mode: Mode::Standalone,
        uptime_ms: 31_560,
        zxid: Zxid(5),
        latency: latency_ms(&[0, 2, 4, 8, 15, 0, 0, 1, 2, 3]),
        gauges: Gauges {
            packets_received: 27,
            packets_sent: 28,
            num_alive_connections: 3,
            znode_count: 8,
            ..Gauges::default()
        },
        conf: Conf {
            client_port: 2181,
            secure_client_port: -1,
            data_dir: "/data/version-2".to_owned(),
            data_dir_bytes: 67_109_358,
            data_log_dir: "/datalog/version-2".to_owned(),
            data_log_bytes: 67_109_359,
            tick_time_ms: 2000,
            max_client_cnxns: 60,
            min_session_timeout_ms: 4000,
            max_session_timeout_ms: 40_000,
            client_port_listen_backlog: -1,
            server_id: 0,
            member: Vec::new(),
        },
        environment: vec![("host.name".to_owned(), "localhost".to_owned())],
        connections: connections(),
        sessions: vec![(EXPIRY_MS, vec![FIRST, SECOND])],
        ephemerals: vec![(FIRST, vec![b"/a/e"[..].into()]), (SECOND, vec![b"/a/e2"[..].into()])],
        watches: watch::Summary { connections: 2, paths: 2, watches: 3 },
        watches_by_session: vec![
            (SECOND, vec![b"/a"[..].into()]),
            (FIRST, vec![b"/p"[..].into(), b"/a"[..].into()]),
        ],
        watches_by_path: vec![(b"/p"[..].into(), vec![FIRST]), (b"/a"[..].into(), vec![FIRST, SECOND])],
        digests: vec![(Zxid::new(1, 0x80), 4_711), (Zxid::new(1, 0x100), u64::MAX)],
        trace_mask: TRACE_MASK_DEFAULT,
        ..Status::default()
    }
}

#[track_caller]
fn check(word: FourLetterWord, expected: &str) {
    assert_eq!(String::from_utf8_lossy(&render(word, &status())), expected);
}

/// `srvr` and `stat` read as those of 3.9.4 do, line by line.
#[test]
fn srvr_and_stat() {
    let figures = "Latency min/avg/max: 0/3.5/15\nReceived: 27\nSent: 28\nConnections: 3\n\
                   Outstanding: 0\nZxid: 0x5\nMode: standalone\nNode count: 8\n";
    let version = "Zookeeper version: 3.9.4-zkfast-0.1.0, built on 2025-08-19 19:53 UTC\n";
    check(FourLetterWord::Srvr, &format!("{version}{figures}"));
    let clients = "Clients:\n \
                   /127.0.0.1:54398[1](queued=0,recved=3,sent=3)\n \
                   /127.0.0.1:54430[0](queued=0,recved=1,sent=0)\n \
                   /127.0.0.1:54384[1](queued=0,recved=7,sent=8)\n\n";
    check(FourLetterWord::Stat, &format!("{version}{clients}{figures}"));
}

/// `cons` shows what a connection with a session did, and less of the others.
#[test]
fn cons() {
    check(
        FourLetterWord::Cons,
        " /127.0.0.1:54398[1](queued=0,recved=3,sent=3,sid=0x100002140e70001,lop=NA,est=1795408783348,\
         to=30000,lzxid=0xffffffffffffffff,lresp=2210612,llat=0,minlat=0,avglat=5,maxlat=15)\n \
         /127.0.0.1:54430[0](queued=0,recved=1,sent=0)\n \
         /127.0.0.1:54384[1](queued=0,recved=7,sent=8,sid=0x100002140e70000,lop=PING,est=1795408783348,\
         to=30000,lcxid=0x5,lzxid=0x5,lresp=2210612,llat=0,minlat=0,avglat=5,maxlat=15)\n\n",
    );
}

/// `conf`, `dirs` and `envi` are lists of settings.
#[test]
fn settings() {
    check(
        FourLetterWord::Conf,
        "clientPort=2181\nsecureClientPort=-1\ndataDir=/data/version-2\ndataDirSize=67109358\n\
         dataLogDir=/datalog/version-2\ndataLogSize=67109359\ntickTime=2000\nmaxClientCnxns=60\n\
         minSessionTimeout=4000\nmaxSessionTimeout=40000\nclientPortListenBacklog=-1\nserverId=0\n",
    );
    check(FourLetterWord::Dirs, "datadir_size: 67109358\nlogdir_size: 67109359\n");
    check(
        FourLetterWord::Envi,
        "Environment:\nzookeeper.version=3.9.4-zkfast-0.1.0, built on 2025-08-19 19:53 UTC\n\
         host.name=localhost\n",
    );
}

/// Watches by number, by session and by path; the list ends with an empty line.
#[test]
fn watches() {
    check(FourLetterWord::Wchs, "2 connections watching 2 paths\nTotal watches:3\n");
    check(FourLetterWord::Wchc, "0x100002140e70001\n\t/a\n0x100002140e70000\n\t/p\n\t/a\n\n");
    check(FourLetterWord::Wchp, "/p\n\t0x100002140e70000\n/a\n\t0x100002140e70000\n\t0x100002140e70001\n\n");
}

/// `dump` shows sessions and connections by the time at which they end.
#[test]
fn dump() {
    check(
        FourLetterWord::Dump,
        "SessionTracker dump:\n\
         Session Sets (1)/(2):\n\
         2 expire at Mon Nov 23 04:40:14 UTC 2026:\n\
         \t0x100002140e70000\n\
         \t0x100002140e70001\n\
         ephemeral nodes dump:\n\
         Sessions with Ephemerals (2):\n\
         0x100002140e70000:\n\
         \t/a/e\n\
         0x100002140e70001:\n\
         \t/a/e2\n\
         Connections dump:\n\
         Connections Sets (2)/(3):\n\
         1 expire at Mon Nov 23 04:40:02 UTC 2026:\n\
         \tip: /127.0.0.1:54430 sessionId: 0x0\n\
         2 expire at Mon Nov 23 04:40:22 UTC 2026:\n\
         \tip: /127.0.0.1:54398 sessionId: 0x100002140e70001\n\
         \tip: /127.0.0.1:54384 sessionId: 0x100002140e70000\n",
    );
}

/// A follower knows sessions and not when they expire.
#[test]
fn dump_of_a_learner() {
    let status = Status { learner_sessions: Some(vec![(FIRST, 30_000), (SECOND, 4000)]), ..status() };
    let answer = String::from_utf8(render(FourLetterWord::Dump, &status)).expect("text");
    let sessions = "SessionTracker dump:\nGlobal Sessions(2):\n0x100002140e70000\t30000ms\n\
                    0x100002140e70001\t4000ms\nephemeral nodes dump:\n";
    assert!(answer.starts_with(sessions), "{answer}");
}

/// Sessions that only this server knows come first, in the words of 3.9.4; a leader calls the others global.
#[test]
fn dump_of_local_sessions() {
    let local = Some(vec![(1_700_000_000_000, vec![FIRST])]);
    let learner =
        Status { learner_sessions: Some(vec![(SECOND, 4000)]), local_sessions: local.clone(), ..status() };
    let text = |status: &Status| String::from_utf8(render(FourLetterWord::Dump, status)).expect("text");
    let begin = "SessionTracker dump:\nLocal Session Sets (1)/(1):\n\
                 1 expire at Tue Nov 14 22:13:20 UTC 2023:\n\t0x100002140e70000\n";
    let answer = text(&learner);
    assert!(
        answer.starts_with(&format!("{begin}Global Sessions(1):\n0x100002140e70001\t4000ms\n")),
        "{answer}"
    );
    let answer = text(&Status { local_sessions: local, ..status() });
    assert!(answer.starts_with(&format!("{begin}Global Session Sets (")), "{answer}");
}

/// The list of members ends `conf` without a newline, as in 3.9.4.
#[test]
fn conf_of_a_member() {
    let mut status = status();
    status.conf.member = vec!["membership: ".to_owned(), "version=0".to_owned()];
    let answer = String::from_utf8(render(FourLetterWord::Conf, &status)).expect("text");
    assert!(answer.ends_with("\nserverId=0\nmembership: \nversion=0"), "{answer}");
}

/// Short answers have no newline where 3.9.4 has none.
#[test]
fn short_ones() {
    check(FourLetterWord::Ruok, "imok");
    check(FourLetterWord::Isro, "rw");
    check(FourLetterWord::Gtmk, "306");
    check(FourLetterWord::Stmk, "306");
    check(FourLetterWord::Srst, "Server stats reset.\n");
    check(FourLetterWord::Crst, "Connection stats reset.\n");
    check(FourLetterWord::Hash, "100000080: 4711\n100000100: -1\n");
    check(FourLetterWord::TelnetClose, "");
}

/// A server that does not serve answers so, except where the word is about the process.
#[test]
fn not_serving() {
    let status = Status { serving: false, ..status() };
    for word in FourLetterWord::ALL {
        let answer = String::from_utf8(render(word, &status)).expect("text");
        match word {
            FourLetterWord::Ruok => assert_eq!(answer, "imok"),
            FourLetterWord::Isro => assert_eq!(answer, "null"),
            FourLetterWord::Gtmk | FourLetterWord::Stmk => assert_eq!(answer, "306"),
            FourLetterWord::Envi => assert!(answer.starts_with("Environment:\n")),
            FourLetterWord::TelnetClose => assert_eq!(answer, ""),
            _ => assert_eq!(answer.trim_end(), NOT_SERVING, "{word:?}"),
        }
    }
    let read_only = Status { mode: Mode::ReadOnly, ..self::status() };
    assert_eq!(render(FourLetterWord::Isro, &read_only), b"ro");
    let answer = String::from_utf8(render(FourLetterWord::Srvr, &read_only)).expect("text");
    assert_eq!(answer.lines().nth(1), Some("READ-ONLY mode; serving only read-only clients"));
    assert!(answer.contains("\nMode: read-only\n"));
}

/// `mntr` has every name that a standalone 3.9.4 prints, except for those that the page on
/// four-letter words lists as left out, and one more.
#[test]
fn mntr_names() {
    let page = include_str!("../../docs/four-letter-words.md");
    let section = page.split_once("## Names left out").expect("a section of the page").1;
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let left_out: BTreeSet<&str> = rows
        .flat_map(|row| row.split('|').nth(1).expect("a first column").split('`').skip(1).step_by(2))
        .collect();
    let base = |name: &'static str| {
        let name = name.strip_prefix("zk_").expect("every name begins so");
        let (first, rest) = name.split_once('_').unwrap_or((name, ""));
        let is_statistic =
            matches!(first, "avg" | "min" | "max" | "cnt" | "sum" | "p50" | "p95" | "p99" | "p999");
        if is_statistic { rest } else { name }
    };
    let java: BTreeSet<&str> = include_str!("../mntr-names-3.9.4.txt").lines().collect();
    assert!(java.len() > 450, "the list is whole");
    for name in &left_out {
        assert!(java.iter().any(|line| base(line) == *name), "{name} is not one of 3.9.4");
    }
    let mut expected: BTreeSet<&str> =
        java.into_iter().filter(|name| !left_out.contains(base(name))).collect();
    expected.insert("zk_fsync_threshold_exceed_count");
    expected.insert("zk_connections_shed");

    let answer = String::from_utf8(render(FourLetterWord::Mntr, &status())).expect("text");
    let mut names = BTreeSet::new();
    for line in answer.lines() {
        let (name, value) = line.split_once('\t').expect("name, tab, value");
        assert!(names.insert(name), "{name} twice");
        let is_text = matches!(name, "zk_version" | "zk_server_state");
        assert!(is_text || value.parse::<f64>().is_ok(), "{line}");
    }
    assert_eq!(names, expected);
}

/// Values are integers or have a point exactly where 3.9.4's do, and times are milliseconds.
#[test]
fn mntr_values() {
    let mut status = status();
    status.metrics.counters.stale_sessions_expired = 3;
    status.metrics.times.fsynctime.record(1500);
    status.metrics.sizes.sync_processor_batch_size.record(7);
    (1..=100).for_each(|value| status.metrics.operations.record(OpCode::EXISTS, value * 100));
    [0, 1, 1].into_iter().for_each(|bytes| status.metrics.namespaces.write(b"/a/b", bytes));
    status.metrics.namespaces.write(b"/", 10);
    [70, 16, 20].into_iter().for_each(|bytes| status.metrics.client_response_size.record(0, bytes));
    let answer = String::from_utf8(render(FourLetterWord::Mntr, &status)).expect("text");
    let lines: BTreeSet<&str> = answer.lines().collect();
    for expected in [
        "zk_version\t3.9.4-zkfast-0.1.0, built on 2025-08-19 19:53 UTC",
        "zk_server_state\tstandalone",
        "zk_avg_latency\t3.5",
        "zk_max_latency\t15",
        "zk_uptime\t31560",
        "zk_last_client_response_size\t20",
        "zk_min_client_response_size\t16",
        "zk_max_client_response_size\t70",
        "zk_stale_sessions_expired\t3",
        "zk_avg_fsynctime\t1.5",
        "zk_max_fsynctime\t1",
        "zk_cnt_fsynctime\t1",
        "zk_sum_sync_processor_batch_size\t7",
        "zk_avg_readlatency\t5.05",
        "zk_sum_readlatency\t505",
        "zk_p50_readlatency\t5",
        "zk_p999_readlatency\t10",
        "zk_avg_a_write_per_namespace\t4.6667",
        "zk_sum_a_write_per_namespace\t14",
    ] {
        assert!(lines.contains(expected), "{expected}");
    }
}

/// Dates over leap days, centuries and before 1970 are those that `date -u` gives.
#[test]
fn dates() {
    for (seconds, expected) in [
        (0, "Thu Jan 01 00:00:00 UTC 1970"),
        (-1, "Wed Dec 31 23:59:59 UTC 1969"),
        (951_782_399, "Mon Feb 28 23:59:59 UTC 2000"),
        (951_782_400, "Tue Feb 29 00:00:00 UTC 2000"),
        (4_107_542_400, "Mon Mar 01 00:00:00 UTC 2100"),
        (1_795_408_814, "Mon Nov 23 04:40:14 UTC 2026"),
    ] {
        assert_eq!(Date(seconds * 1000 + 999).to_string(), expected);
    }
}
