//! The lines of the audit log that differ in when they are known. Its text beside ZooKeeper's: `tests/compat/audit.py`.

use super::net::{Net, close, create, delete, get, multi, put_create, set};
use crate::proto::OpCode;
use crate::replica::ViewSettings;

/// A server with an audit log.
fn audited() -> Net {
    Net::with_views(|number| ViewSettings { audit_user: Some("zk".to_owned()), ..ViewSettings::new(number) })
}

/// Lines of a view, without session ids.
fn lines(net: &mut Net, view: usize) -> Vec<String> {
    let lines = net.views[view].take_audit_lines();
    lines.iter().map(|line| line.split_once('\t').expect("fields").1.replace('\t', " ")).collect()
}

/// A line is written by the view of the client that asked, once the write is committed, and whether it was done.
#[test]
fn who_asked_is_told() {
    let mut net = audited();
    let (a, b) = (net.connect(0), net.connect(1));
    net.send(b, &create(1, "/a", 0));
    assert_eq!(lines(&mut net, 1), Vec::<String>::new(), "it is not committed yet");
    net.run_until_idle();
    assert_eq!(lines(&mut net, 0), Vec::<String>::new());
    let user = "user=10.0.0.1 ip=10.0.0.1";
    assert_eq!(
        lines(&mut net, 1),
        [format!("{user} operation=create znode=/a znode_type=persistent result=success")]
    );
    net.send_all(a, &[get(1, "/a"), set(2, "/a", b"x", 7), delete(3, "/a", -1)]);
    net.run_until_idle();
    assert_eq!(
        lines(&mut net, 0),
        [
            format!("{user} operation=setData znode=/a result=failure"),
            format!("{user} operation=delete znode=/a result=success"),
        ]
    );
    assert_eq!(lines(&mut net, 1), Vec::<String>::new());
}

/// The request of a client that has hung up is in the log, and what its slot's next client asks is told of that one.
#[test]
fn a_client_hangs_up() {
    let mut net = audited();
    let a = net.connect(0);
    net.send(a, &create(1, "/a", 0));
    let place = net.clients[a].place;
    net.views[0].closed(place);
    net.clients[a].closed = Some(crate::replica::CloseReason::Done);
    let b = net.connect(0);
    net.ok(b, create(1, "/b", 1));
    let found = lines(&mut net, 0);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("znode=/a ") && found[1].contains("znode=/b znode_type=ephemeral "),
        "{found:?}"
    );
}

/// The first view tells of ephemerals that go with their session, whichever view their client is on. A multi that fails is one line.
#[test]
fn sessions_and_multis() {
    let mut net = audited();
    let a = net.connect(1);
    let body = |path: &str| {
        let mut body = Vec::new();
        put_create(&mut body, path, b"", 1);
        body
    };
    net.ok(a, multi(1, &[(OpCode::CREATE, body("/a")), (OpCode::CREATE, body("/b"))]));
    net.ok(a, multi(2, &[(OpCode::CREATE, body("/c")), (OpCode::CREATE, body("/b"))]));
    let found = lines(&mut net, 1);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].ends_with("znode=/a znode_type=ephemeral result=success"), "{found:?}");
    assert!(found[2].ends_with("operation=multiOperation result=failure"), "{found:?}");
    net.send(a, &close(3));
    net.run_until_idle();
    assert_eq!(lines(&mut net, 1), Vec::<String>::new());
    let gone = "user=zk operation=ephemeralZNodeDeletionOnSessionCloseOrExpire";
    let mut found = lines(&mut net, 0);
    found.sort();
    assert_eq!(found, [format!("{gone} znode=/a result=success"), format!("{gone} znode=/b result=success")]);
}
