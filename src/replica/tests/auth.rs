//! What clients prove, and who may do what then.

use super::net::{Got, Net, put_create_acl, request, set};
use crate::auth::sasl::digest_md5::{Client, Service};
use crate::auth::sasl::{Failure, Mechanism, SaslPolicy};
use crate::auth::{EnsembleNames, Policy, Secret};
use crate::proto::acl::RawAcl;
use crate::proto::{Acl, ErrorCode, Id, JuteWrite, OpCode, Perms, Reader};
use crate::replica::CloseReason;
use bytes::BufMut;
use std::collections::BTreeMap;

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

/// A client that means another ensemble gets no answer, for an error would end its session; the others are counted.
#[test]
fn ensemble_names() {
    let ensemble = Some(EnsembleNames::parse(Some("blue")));
    let mut net = Net::with_policy(Policy { ensemble, ..Policy::default() });
    let (a, b) = (net.connect(0), net.connect(0));
    let packet = |name: &'static str| {
        request(-4, OpCode::AUTH, move |out| {
            out.put_i32(0);
            out.put_string(b"ensemble");
            out.put_buffer(Some(name.as_bytes()));
        })
    };
    for name in ["blue", ""] {
        assert_eq!(net.call(a, packet(name)).brief(), "-4:0");
    }
    net.send(b, &packet("red"));
    net.run_until_idle();
    let name = "red".to_owned();
    assert_eq!(net.clients[b].closed, Some(CloseReason::OtherEnsemble { name }));
    assert_eq!(net.got(b).len(), 0);
    net.ok(a, set(1, "/", b"", -1));
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

fn token(xid: i32, token: &[u8]) -> Vec<u8> {
    request(xid, OpCode::SASL, |out| out.put_buffer(Some(token)))
}

/// The error of an answer to a token, and its token.
fn answered(net: &mut Net, client: usize, frame: Vec<u8>) -> (i32, Option<Vec<u8>>) {
    let Got::Reply { err, body, .. } = net.call(client, frame) else { panic!("no reply") };
    (err, Reader::new(&body).buffer().unwrap_or_default().map(<[u8]>::to_vec))
}

fn answer(challenge: &[u8], password: &str) -> Vec<u8> {
    let password = Secret::new(password.to_owned());
    Client::respond(Service::CLIENTS, "bob", &password, "cnonce", challenge).expect("a challenge").1
}

fn with_bob(sasl: SaslPolicy) -> Net {
    let users = BTreeMap::from([("bob".to_owned(), Secret::new("secret".to_owned()))]);
    let sasl = SaslPolicy { is_scheme: true, mechanism: Some(Mechanism::DigestMd5(users)), ..sasl };
    Net::with_policy(Policy { sasl, ..Policy::default() })
}

/// A client that knows its password has an id; one that does not gets an error with a null token, and ends.
#[test]
fn sasl_proves_a_user() {
    let mut net = with_bob(SaslPolicy::default());
    let (a, b) = (net.connect(0), net.connect(0));
    let (_, challenge) = answered(&mut net, a, token(1, b""));
    let (_, other) = answered(&mut net, b, token(1, b""));
    assert_ne!(challenge, other, "two exchanges have one nonce");
    let right = answer(&challenge.unwrap(), "secret");
    let (err, proof) = answered(&mut net, a, token(2, &right));
    assert!(err == 0 && proof.unwrap().starts_with(b"rspauth="));
    let bobs = [Acl { perms: Perms::ALL, id: Id::new("sasl", "bob") }];
    net.ok(a, request(3, OpCode::CREATE, |out| put_create_acl(out, "/bob", b"", &bobs, 0)));
    net.ok(a, set(4, "/bob", b"", -1));
    assert_eq!(net.err(b, set(2, "/bob", b"", -1)), -102);
    // The right answer to another challenge.
    assert_eq!(answered(&mut net, b, token(3, &right)), (ErrorCode::AuthFailed.to_wire(), None));
    let failure = Failure::Mismatch("nonce");
    assert_eq!(net.clients[b].closed, Some(CloseReason::Sasl { code: ErrorCode::AuthFailed, failure }));
    net.check_replay();
}

/// Where they may, clients stay whose exchange failed, but not those that go on without end; where SASL is required, they
/// end with the code for that.
#[test]
fn sasl_fails() {
    let mut net = with_bob(SaslPolicy { failed_may_stay: true, ..SaslPolicy::default() });
    let a = net.connect(0);
    let (_, challenge) = answered(&mut net, a, token(1, b""));
    let wrong = answer(&challenge.unwrap(), "other");
    for xid in 2..=8 {
        assert_eq!(answered(&mut net, a, token(xid, &wrong)), (0, None));
    }
    assert_eq!(answered(&mut net, a, token(9, &wrong)).0, ErrorCode::AuthFailed.to_wire());
    let mut net = with_bob(SaslPolicy { failed_may_stay: true, is_required: true, ..SaslPolicy::default() });
    let b = net.connect(0);
    answered(&mut net, b, token(1, b""));
    let code = ErrorCode::SessionClosedRequireSaslAuth;
    assert_eq!(answered(&mut net, b, token(2, &[b'x'; 5000])), (code.to_wire(), None));
    let failure = Failure::TooLong { bytes: 5000, limit: 4096 };
    assert_eq!(net.clients[b].closed, Some(CloseReason::Sasl { code, failure }));
}
