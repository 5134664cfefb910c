//! Who a request comes from, by its `Authorization` header: a scheme and what it reads, such as `digest user:password`.
//!
//! Commands of ZooKeeper's read it as ZooKeeper does ([`Authorizer::ids`]); what the console asks is less strict about it
//! ([`ids_or_none`]).
//!
//! The header holds a password: nothing here is logged, and no answer shows any of it.
//!
//! Source: `Commands.handleAuthentication` and `handleAuthorization`, `IPAuthenticationProvider`, Apache ZooKeeper 3.9.4.

use crate::auth::{Policy, ip_text_v4, ip_text_v6};
use crate::proto::acl::{Acl, Id, Perms};
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap};
use std::net::IpAddr;

/// The header in which a proxy names the client. It is read only where the configuration says so.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has no `Authorization` header.
    #[error("Auth info is missing for the command")]
    Missing,
    /// The header names no scheme that is served, or nothing that the scheme takes.
    #[error("Not authenticated")]
    NotAuthenticated,
    /// The access list does not give these ids what is asked.
    #[error("Not authorized")]
    NotAuthorized,
}

impl Refused {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Missing | Self::NotAuthenticated => StatusCode::UNAUTHORIZED,
            Self::NotAuthorized => StatusCode::FORBIDDEN,
        }
    }
}

/// Why the console gets no answer: what its header has in place of an id. It shows the scheme and nothing more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Authorization: scheme {scheme:?} {why}")]
pub struct NoId {
    scheme: String,
    why: &'static str,
}

/// A header's scheme, and what follows the first blank.
fn parts(header: &[u8]) -> (&[u8], Option<&[u8]>) {
    match header.iter().position(|byte| *byte == b' ') {
        Some(at) => (&header[..at], Some(&header[at + 1..])),
        None => (header, None),
    }
}

/// The ids of a request of the console; without the header it has none, and may do what lists grant to `world:anyone`.
/// `digest` is the only scheme. It may be written in any case, and its password may hold blanks.
///
/// # Errors
/// [`NoId`].
pub fn ids_or_none(policy: &Policy, headers: &HeaderMap) -> Result<Vec<Id>, NoId> {
    let Some(header) = headers.get(AUTHORIZATION) else { return Ok(Vec::new()) };
    let (scheme, auth) = parts(header.as_bytes());
    let refused = |why| NoId { scheme: String::from_utf8_lossy(scheme).into_owned(), why };
    if !scheme.eq_ignore_ascii_case(b"digest") {
        return Err(refused("is not served here: write \"digest user:password\""));
    }
    let authenticated = policy.authenticate(Some(b"digest"), auth, "");
    authenticated.map_err(|_| refused("is switched off, or lacks user:password"))
}

/// Checks requests.
#[derive(Clone, Copy, Debug)]
pub struct Authorizer<'a> {
    /// As for clients of the client port.
    pub policy: &'a Policy,
    /// `IPAuthenticationProvider.usexforwardedfor`
    pub trusts_forwarded_for: bool,
}

impl Authorizer<'_> {
    /// The ids of a request from `peer`. The schemes are `digest` and `ip`; the latter takes nothing.
    ///
    /// # Errors
    /// [`Refused::Missing`] and [`Refused::NotAuthenticated`].
    pub fn ids(&self, headers: &HeaderMap, peer: IpAddr) -> Result<Vec<Id>, Refused> {
        let header = headers.get(AUTHORIZATION).ok_or(Refused::Missing)?.as_bytes();
        // As `String.split(" ")`: empty parts at the end do not count, and others do.
        let end = header.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
        let (scheme, auth) = parts(&header[..end]);
        if auth.is_some_and(|auth| auth.contains(&b' ')) {
            return Err(Refused::NotAuthenticated);
        }
        let ip = self.ip(headers, peer).ok_or(Refused::NotAuthenticated)?;
        self.policy.authenticate(Some(scheme), auth, &ip).map_err(|_| Refused::NotAuthenticated)
    }

    /// The client's address; `None` where the proxy's header has none.
    fn ip(&self, headers: &HeaderMap, peer: IpAddr) -> Option<String> {
        match headers.get(FORWARDED_FOR).filter(|_| self.trusts_forwarded_for) {
            Some(header) => {
                let mut hops = header.to_str().ok()?.split(',').filter(|hop| !hop.is_empty());
                hops.next().map(|client| client.trim().to_owned())
            }
            None => Some(match peer.to_canonical() {
                IpAddr::V4(v4) => ip_text_v4(v4.octets()),
                IpAddr::V6(v6) => ip_text_v6(v6.octets()),
            }),
        }
    }

    /// Checks that `acl` gives `ids` all of `wanted`, be it by several entries.
    ///
    /// # Errors
    /// [`Refused::NotAuthorized`].
    pub fn check(&self, acl: &[Acl], wanted: Perms, ids: &[Id]) -> Result<(), Refused> {
        let mut bits = (0..i32::BITS).map(|bit| 1 << bit).filter(|bit| wanted.0 & bit != 0);
        let may_all = bits.all(|bit| self.policy.permits(acl, Perms(bit), ids));
        if may_all { Ok(()) } else { Err(Refused::NotAuthorized) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3));

    fn ids(policy: &Policy, header: &[u8]) -> Result<Vec<Id>, Refused> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_bytes(header).expect("a header"));
        Authorizer { policy, trusts_forwarded_for: false }.ids(&headers, PEER)
    }

    /// A header is taken apart as Java does it.
    #[test]
    fn schemes() {
        let policy = Policy::default();
        let digest = Id::new("digest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
        for header in [&b"digest super:test"[..], b"digest super:test  "] {
            assert_eq!(ids(&policy, header), Ok(vec![digest.clone()]));
        }
        assert_eq!(ids(&policy, b"ip"), Ok(vec![Id::new("ip", "10.1.2.3")]));
        assert_eq!(
            ids(&policy, b"ip 1.2.3.4"),
            Ok(vec![Id::new("ip", "10.1.2.3")]),
            "a client does not choose its address"
        );
        for bad in [
            &b""[..],
            b" ",
            b"digest",
            b"digest  super:test",
            b"digest a b",
            b"Digest super:test",
            b"x509",
            b"super",
        ] {
            assert_eq!(ids(&policy, bad), Err(Refused::NotAuthenticated), "{}", bad.escape_ascii());
        }
        let without = Authorizer { policy: &policy, trusts_forwarded_for: false };
        assert_eq!(without.ids(&HeaderMap::new(), PEER), Err(Refused::Missing));
    }

    /// For the console only a digest names a user; a header that says anything else is refused and does not count as none.
    #[test]
    fn of_the_console() {
        let policy = Policy::default();
        let ids = |header: &'static str| {
            ids_or_none(&policy, &HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(header))]))
        };
        let expected = Id::new("digest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
        assert_eq!(ids("digest super:test"), Ok(vec![expected.clone()]));
        assert_eq!(ids("Digest super:test"), Ok(vec![expected.clone()]));
        assert_ne!(ids("digest super:test with blanks"), Ok(vec![expected]));
        assert!(ids("digest super:test with blanks").is_ok());
        for header in ["", "digest", "basic dTpw", "super x", "world anyone", "ip"] {
            let refused = ids(header).expect_err(header).to_string();
            assert!(refused.starts_with("Authorization: scheme ") && !refused.contains("dTpw"), "{refused}");
        }
        assert_eq!(ids_or_none(&policy, &HeaderMap::new()), Ok(Vec::new()));
    }

    /// The super user has an id that passes every list.
    #[test]
    fn super_user() {
        let policy = Policy {
            super_digest: Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".to_owned()),
            ..Policy::default()
        };
        let checks = Authorizer { policy: &policy, trusts_forwarded_for: false };
        let list = [Acl { perms: Perms::ALL, id: Id::new("digest", "other:x") }];
        let (good, bad) = (ids(&policy, b"digest super:test"), ids(&policy, b"digest super:no"));
        assert_eq!(checks.check(&list, Perms::ALL, &good.expect("an id")), Ok(()));
        assert_eq!(checks.check(&list, Perms::ALL, &bad.expect("an id")), Err(Refused::NotAuthorized));
    }

    /// Every bit that is wanted must be given, by whichever entries.
    #[test]
    fn all_bits() {
        let policy = Policy::default();
        let checks = Authorizer { policy: &policy, trusts_forwarded_for: false };
        let (id, read) = (Id::new("ip", "10.1.2.3"), Perms(1));
        let entry = |perms, id: &Id| Acl { perms, id: id.clone() };
        let most = entry(Perms(30), &Id::new("ip", "10.0.0.0/8"));
        let ids = [id.clone()];
        assert_eq!(checks.check(std::slice::from_ref(&most), Perms::ALL, &ids), Err(Refused::NotAuthorized));
        assert_eq!(checks.check(&[most, entry(read, &Id::new("world", "anyone"))], Perms::ALL, &ids), Ok(()));
        assert_eq!(checks.check(&[entry(read, &id)], read, &ids), Ok(()));
    }

    /// The client that a proxy names counts only where proxies are trusted.
    #[test]
    fn forwarded() {
        let policy = Policy::default();
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("ip"));
        headers.insert(FORWARDED_FOR, HeaderValue::from_static("1.2.3.4 , 5.6.7.8"));
        for (trusts_forwarded_for, expected) in [(false, "10.1.2.3"), (true, "1.2.3.4")] {
            let checks = Authorizer { policy: &policy, trusts_forwarded_for };
            assert_eq!(checks.ids(&headers, PEER), Ok(vec![Id::new("ip", expected)]));
        }
        headers.insert(FORWARDED_FOR, HeaderValue::from_static(","));
        let checks = Authorizer { policy: &policy, trusts_forwarded_for: true };
        assert_eq!(checks.ids(&headers, PEER), Err(Refused::NotAuthenticated));
    }
}
