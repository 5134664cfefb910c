//! What clients prove, and who may do what then.

use super::net::{Net, put_create_acl, request, set};
use crate::proto::acl::RawAcl;
use crate::proto::{Acl, ErrorCode, Id, JuteWrite, OpCode, Perms, Reader};
use crate::replica::CloseReason;
use bytes::BufMut;

/// What an auth packet vouches for, `auth` entries stand for, and getACL shows without the hash to who
/// may not administer.
#[test]
fn auth_and_acls() {
    let mut net = Net::new();
    let (a, b) = (net.connect(0), net.connect(1));
    let packet = |scheme: &'static str| {
        request(-4, OpCode::AUTH, move |out| {
            out.put_i32(0);
            out.put_string(scheme.as_bytes());
            out.put_buffer(Some(b"user:secret"));
        })
    };
    let mine = [
        Acl { perms: Perms::ALL, id: Id::new("auth", "") },
        Acl { perms: Perms::READ, id: Id::new("world", "anyone") },
    ];
    let create = || request(1, OpCode::CREATE, |out| put_create_acl(out, "/mine", b"", &mine, 0));
    assert_eq!(net.err(a, create()), -114);
    let got = net.call(a, packet("digest"));
    assert_eq!((got.brief().as_str(), got.zxid()), ("-4:0", 0));
    net.ok(a, create());
    assert_eq!(net.err(b, set(2, "/mine", b"", -1)), -102);
    net.ok(a, set(2, "/mine", b"", -1));
    let mut shown = |client| {
        let got = net.call(client, request(3, OpCode::GET_ACL, |out| out.put_string(b"/mine")));
        let mut reader = Reader::new(got.body());
        let acls = crate::proto::acl::read_acls(&mut reader).unwrap();
        let id = |acl: &RawAcl<'_>| String::from_utf8(acl.id.unwrap().to_vec()).unwrap();
        acls.iter().map(id).collect::<Vec<_>>()
    };
    assert_ne!(shown(a), ["user:x", "anyone"]);
    assert_eq!(shown(b), ["user:x", "anyone"]);
    assert_eq!(net.call(b, packet("nonsense")).brief(), "-4:-115");
    assert!(matches!(net.clients[b].closed, Some(CloseReason::Auth(_))));
    net.check_replay();
}

/// A token is answered with null, as by a 3.9 without a login configuration; a client that never stops
/// sending them is told that it failed.
#[test]
fn sasl_ends() {
    let mut net = Net::new();
    let a = net.connect(0);
    let token = |xid| request(xid, OpCode::SASL, |out| out.put_buffer(Some(b"")));
    for xid in 1..=8 {
        net.ok(a, token(xid));
    }
    assert_eq!(net.err(a, token(9)), ErrorCode::AuthFailed.to_wire());
    assert_eq!(net.clients[a].closed, Some(CloseReason::Auth(ErrorCode::AuthFailed)));
}
