use super::*;
use crate::admin::{Conf, ConnectionSession, Gauges, Leading, Observer};
use crate::config::{ClientAddress, Ensemble};
use crate::proto::{SessionId, Zxid};
use crate::watch;
use std::collections::BTreeSet;

const SESSION: SessionId = SessionId(72_058_634_787_160_064);

/// The state in which the answers below were taken from Apache ZooKeeper 3.9.4.
fn status() -> Status {
    Status {
        serving: true,
        mode: Mode::Leader,
        leader: Some(Leading { synced_observers: 1, ..Leading::default() }),
        synced_observers: Some(1),
        leader_id: Some(3),
        zxid: Zxid::new(1, 8),
        gauges: Gauges { znode_count: 6, ..Gauges::default() },
        conf: Conf {
            client_port: 29_181,
            data_dir: "/d/version-2".to_owned(),
            data_log_dir: "/l/version-2".to_owned(),
            tick_time_ms: 2000,
            max_client_cnxns: 60,
            min_session_timeout_ms: 4000,
            max_session_timeout_ms: 40_000,
            client_port_listen_backlog: -1,
            ..Conf::default()
        },
        connections: vec![Connection {
            peer: "127.0.0.1:36934".to_owned(),
            interest_ops: 1,
            established_wall_ms: 1_795_963_799_513,
            session: Some(ConnectionSession {
                id: SESSION,
                timeout_ms: 10_000,
                last_cxid: -1,
                last_zxid: -1,
                ..ConnectionSession::default()
            }),
            ..Connection::default()
        }],
        sessions: vec![(15_896_000, vec![SESSION])],
        ephemerals: vec![(SESSION, vec![b"/ealone"[..].into()])],
        watches: watch::Summary { connections: 1, paths: 1, watches: 1 },
        watches_by_session: vec![(SESSION, vec![b"/ealone"[..].into()])],
        watches_by_path: vec![(b"/ealone"[..].into(), vec![SESSION])],
        observers: vec![Observer {
            peer: "/127.0.0.1:55346".to_owned(),
            sid: 4,
            last_zxid: -1,
            ..Observer::default()
        }],
        trace_mask: 306,
        ..Status::default()
    }
}

fn server(sid: i64, role: Role) -> Server {
    let port = |base: u16| base + sid as u16;
    Server {
        sid,
        addresses: vec![PeerAddress {
            host: "127.0.0.1".to_owned(),
            quorum_port: port(29_200),
            election_port: port(29_210),
        }],
        role,
        client: Some(ClientAddress { host: Some("127.0.0.1".to_owned()), port: port(29_220) }),
    }
}

fn facts() -> Facts {
    let servers = [server(3, Role::Participant), server(4, Role::Observer)];
    let servers = servers.into_iter().map(|server| (server.sid, server)).collect();
    let ensemble = Ensemble { servers, ..Ensemble::default() };
    Facts {
        initial_configuration: Some("tickTime=2000\n".to_owned()),
        properties: vec![("zookeeper.snapCount".to_owned(), "7".to_owned())],
        member: Some(Member { id: 3, ensemble }),
        last_snapshot: Some((Zxid::new(1, 10), 1_795_963_794)),
    }
}

fn answer(command: Command) -> String {
    let name = command.names()[0];
    String::from_utf8(command.answer(name, &status(), &facts())).expect("UTF-8")
}

/// No name stands for two commands, and each leads to its own.
#[test]
fn names() {
    let mut seen = BTreeSet::new();
    for command in Command::ALL {
        for name in command.names() {
            assert!(seen.insert(name), "{name} twice");
            assert_eq!(Command::find(name), Some(command));
        }
    }
    let own = ["slow_requests", "top", "hand_over", "shed_connections", "shed"];
    assert!(own.iter().all(|name| seen.remove(name)), "{seen:?}");
    assert_eq!(seen.len(), 52, "28 names and 24 aliases, as 3.9.4 has");
    for name in ["", "RUOK", "ruok/", "Shed"] {
        assert_eq!(Command::find(name), None, "{name}");
    }
    assert!(links("/c").starts_with("<a href=\"/c/configuration\">configuration</a>\n<br/>\n"));
    assert_eq!(links("/c").lines().count(), 2 * Command::ALL.len());
}

/// The text is that of 3.9.4, byte for byte where the order of members is fixed there.
#[test]
fn texts() {
    for (command, expected) in [
        (Command::Ruok, "{\n  \"command\" : \"ruok\",\n  \"error\" : null\n}"),
        (
            Command::Configuration,
            "{\n  \"client_port\" : 29181,\n  \"data_dir\" : \"/d/version-2\",\n  \"data_log_dir\" : \
             \"/l/version-2\",\n  \"tick_time\" : 2000,\n  \"max_client_cnxns\" : 60,\n  \
             \"min_session_timeout\" : 4000,\n  \"max_session_timeout\" : 40000,\n  \"server_id\" : 0,\n  \
             \"client_port_listen_backlog\" : -1,\n  \"command\" : \"configuration\",\n  \"error\" : null\n}",
        ),
        (
            Command::Connections,
            "{\n  \"connections\" : [ {\n    \"remote_socket_address\" : \"127.0.0.1:36934\",\n    \
             \"interest_ops\" : 1,\n    \"outstanding_requests\" : 0,\n    \"packets_received\" : 0,\n    \
             \"packets_sent\" : 0,\n    \"session_id\" : 72058634787160064,\n    \"last_operation\" : \"NA\",\n    \
             \"established\" : 1795963799513,\n    \"session_timeout\" : 10000,\n    \"last_cxid\" : -1,\n    \
             \"last_zxid\" : -1,\n    \"last_response_time\" : 0,\n    \"last_latency\" : 0,\n    \
             \"min_latency\" : 0,\n    \"avg_latency\" : 0,\n    \"max_latency\" : 0\n  } ],\n  \
             \"secure_connections\" : [ ],\n  \"command\" : \"connections\",\n  \"error\" : null\n}",
        ),
        (
            Command::Dump,
            "{\n  \"expiry_time_to_session_ids\" : {\n    \"15896000\" : [ 72058634787160064 ]\n  },\n  \
             \"session_id_to_ephemeral_paths\" : {\n    \"72058634787160064\" : [ \"/ealone\" ]\n  },\n  \
             \"command\" : \"dump\",\n  \"error\" : null\n}",
        ),
        (
            Command::Leader,
            "{\n  \"is_leader\" : true,\n  \"leader_id\" : 3,\n  \"leader_ip\" : \"127.0.0.1\",\n  \
             \"command\" : \"leader\",\n  \"error\" : null\n}",
        ),
        (
            Command::LastSnapshot,
            "{\n  \"zxid\" : \"10000000a\",\n  \"timestamp\" : 1795963794,\n  \"command\" : \
             \"last_snapshot\",\n  \"error\" : null\n}",
        ),
        (
            Command::Observers,
            "{\n  \"synced_observers\" : 1,\n  \"observers\" : [ {\n    \"remote_socket_address\" : \
             \"/127.0.0.1:55346\",\n    \"sid\" : 4,\n    \"established\" : 0,\n    \"queued_packets\" : 0,\n    \
             \"queued_packets_size\" : 0,\n    \"packets_received\" : 0,\n    \"packets_sent\" : 0,\n    \
             \"requests\" : 0,\n    \"last_zxid\" : -1\n  } ],\n  \"command\" : \"observers\",\n  \
             \"error\" : null\n}",
        ),
        (
            Command::VotingView,
            "{\n  \"current_config\" : {\n    \"3\" : {\n      \"server_addresses\" : [ \"127.0.0.1:29203\" ],\n      \
             \"election_addresses\" : [ \"127.0.0.1:29213\" ],\n      \"client_address\" : \
             \"127.0.0.1:29223\",\n      \"learner_type\" : \"participant\"\n    }\n  },\n  \"command\" : \
             \"voting_view\",\n  \"error\" : null\n}",
        ),
        (
            Command::Watches,
            "{\n  \"session_id_to_watched_paths\" : {\n    \"72058634787160064\" : [ \"/ealone\" ]\n  },\n  \
             \"command\" : \"watches\",\n  \"error\" : null\n}",
        ),
        (
            Command::WatchesByPath,
            "{\n  \"path_to_session_ids\" : {\n    \"/ealone\" : [ 72058634787160064 ]\n  },\n  \
             \"command\" : \"watches_by_path\",\n  \"error\" : null\n}",
        ),
    ] {
        assert_eq!(answer(command), expected);
    }
}

/// A server alone leads nothing, and a member without a leader shows no place in the ensemble.
#[test]
fn alone_and_without_a_leader() {
    let alone = Facts { member: None, ..facts() };
    let text = |command: Command, status: &Status, facts: &Facts| {
        String::from_utf8(command.answer("typed", status, facts)).expect("UTF-8")
    };
    assert_eq!(
        text(Command::Leader, &status(), &alone),
        "{\n  \"error\" : \"server is not initialized\",\n  \"command\" : \"leader\"\n}"
    );
    let none = "{\n  \"voting\" : false,\n  \"zabstate\" : \"\",\n  \"command\" : \"zabstate\",\n  \"error\" : null\n}";
    assert_eq!(text(Command::Zabstate, &status(), &alone), none);
    let looking = Status { serving: false, ..status() };
    assert_eq!(text(Command::Zabstate, &looking, &facts()), none);
    let refused = format!("{{\n  \"command\" : \"typed\",\n  \"error\" : \"{NOT_SERVING}\"\n}}");
    for command in Command::ALL {
        let is_answered = text(command, &looking, &facts()) != refused;
        assert_eq!(is_answered, !command.wants_serving(), "{command:?}");
    }
    assert_eq!(Command::ALL.iter().filter(|command| !command.wants_serving()).count(), 6);
}

/// A tree that came shows its zxid, and one that did not says why.
#[test]
fn trees() {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let zxid = Some(Zxid::new(1, 2));
    assert_eq!(
        text(Command::Restore.done(zxid)),
        "{\n  \"last_zxid\" : 4294967298,\n  \"command\" : \"restore\",\n  \"error\" : null\n}"
    );
    assert_eq!(text(Command::Snapshot.done(None)), "{\n  \"command\" : \"snapshot\",\n  \"error\" : null\n}");
    assert_eq!(
        text(Command::Restore.refused("no")),
        "{\n  \"command\" : \"restore\",\n  \"error\" : \"no\"\n}"
    );
}

/// A mask is what Java's `Long.parseLong` takes.
#[test]
fn trace_masks() {
    assert_eq!(Command::trace_mask(Some("306")), Ok(306));
    assert_eq!(Command::trace_mask(Some("-1")), Ok(-1));
    for wrong in [None, Some(""), Some("x"), Some("0x10"), Some("99999999999999999999")] {
        let body = Command::trace_mask(wrong).expect_err("no mask");
        let text = String::from_utf8(body).expect("UTF-8");
        assert!(
            text.starts_with("{\n  \"error\" : \"setTraceMask requires long traceMask argument"),
            "{text}"
        );
        assert!(text.ends_with("\"command\" : \"set_trace_mask\"\n}"), "{text}");
    }
}

/// Figures of observers begin again where they were reset, and those of a new connection do not.
#[test]
fn observers_since() {
    let observer = |connection, sent, last_zxid| Observer {
        connection,
        sent,
        received: 2 * sent,
        requests: sent,
        last_zxid,
        ..Observer::default()
    };
    let before = [observer(1, 5, 7)];
    assert_eq!(observer(1, 5, 7).since(&before), observer(1, 0, -1));
    assert_eq!(observer(1, 8, 9).since(&before), observer(1, 3, 9));
    assert_eq!(observer(2, 1, 7).since(&before), observer(2, 1, 7));
}
