//! Who a connection is and what it may do: the schemes `world`, `digest`, `ip`, `x509`, `sasl`, `ensemble` and `key`,
//! and the check of access control lists.
//!
//! Callers check a list through [`AclList`] (`list`), which has an index where the list is long; `digest` and
//! `ip` are schemes.
//!
//! A connection holds a set of [`Id`]s: `ip` with its address from the start, and what each auth
//! packet adds to it. Nothing here is per connection; [`Policy`] is configuration and is copied to
//! every shard.
//!
//! Source: `PrepRequestProcessor.fixupACL`, `ZooKeeperServer.checkACL`,
//! `DigestAuthenticationProvider`, `IPAuthenticationProvider`, Apache ZooKeeper 3.9.

mod digest;
pub mod ensemble;
mod ip;
pub mod key;
mod list;
pub mod sasl;
mod secret;
mod x509;

pub use digest::DigestAlgorithm;
pub use ensemble::{EnsembleCheck, EnsembleNames};
pub use ip::{ip_text_v4, ip_text_v6};
pub use list::AclList;
pub use secret::Secret;

use crate::proto::acl::{Acl, Id, Perms, RawAcl, SUPER};
use crate::proto::error::ErrorCode;
use foldhash::fast::FixedState;
use hashbrown::HashSet;
use sasl::SaslPolicy;
use std::borrow::Cow;

/// An auth packet that adds nothing. The client gets [`ErrorCode::AuthFailed`] and is disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no scheme of this name, or nothing for it to read")]
pub struct AuthFailed;

/// How ids come about and what they are worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `user:hash` that makes a connection super; `None` if no connection can be.
    /// Source: `zookeeper.DigestAuthenticationProvider.superDigest`.
    pub super_digest: Option<String>,
    /// Hash of the digest scheme. Source: `zookeeper.DigestAuthenticationProvider.digestAlg`.
    pub digest_algorithm: DigestAlgorithm,
    /// Whether the digest scheme exists. Source: `zookeeper.DigestAuthenticationProvider.enabled`.
    pub digest_enabled: bool,
    /// Lets everybody do everything. Source: `zookeeper.skipACL`.
    pub skip_acl: bool,
    /// Whether scheme x509 exists: clients have TLS, or a key names its class. Source: `QuorumPeerConfig.configureSSLAuth`.
    pub x509_enabled: bool,
    /// Scheme sasl.
    pub sasl: SaslPolicy,
    /// Scheme ensemble, if it exists. Source: `zookeeper.ensembleAuthName`.
    pub ensemble: Option<EnsembleNames>,
    /// Whether scheme key exists.
    pub key_enabled: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            super_digest: None,
            digest_algorithm: DigestAlgorithm::default(),
            digest_enabled: true,
            skip_acl: false,
            x509_enabled: false,
            sasl: SaslPolicy::default(),
            ensemble: None,
            key_enabled: false,
        }
    }
}

impl Policy {
    /// The ids that an auth packet earns, in the order in which the connection gets them. It keeps
    /// each once: ids are a set.
    ///
    /// The digest scheme takes anything that is not null, also without a colon: it only names the
    /// client, and the hash decides what the name is worth. `peer_ip` is the address as
    /// [`ip_text_v4`] and [`ip_text_v6`] write it.
    ///
    /// # Errors
    /// [`AuthFailed`] for a scheme that is not there, and for a null where digest wants bytes. The schemes `ensemble` and `key`,
    /// which ask more than this, are the caller's.
    pub fn authenticate(
        &self,
        scheme: Option<&[u8]>,
        auth: Option<&[u8]>,
        peer_ip: &str,
    ) -> Result<Vec<Id>, AuthFailed> {
        match scheme {
            Some(b"digest") if self.digest_enabled => {
                let id = digest::id(self.digest_algorithm, auth.ok_or(AuthFailed)?);
                let mut ids = Vec::with_capacity(2);
                if self.super_digest.as_deref() == Some(id.as_str()) {
                    ids.push(Id::new(SUPER, ""));
                }
                ids.push(Id { scheme: "digest".into(), id: id.into() });
                Ok(ids)
            }
            Some(b"ip") => Ok(vec![Id::new("ip", peer_ip)]),
            _ => Err(AuthFailed),
        }
    }

    /// The list to store for the one that a client with `ids` sent.
    ///
    /// Duplicates go first, then every entry is checked; `auth` becomes one entry for each id that
    /// a scheme vouched for.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidAcl`] for an empty list, an entry that its scheme refuses, and `auth`
    /// without such an id. [`ErrorCode::MarshallingError`] where the null in an entry is a
    /// `NullPointerException` in Java; in a multi it fails the whole request, not one operation.
    pub fn fix_up(&self, raw: &[RawAcl<'_>], ids: &[Id]) -> Result<Vec<Acl>, ErrorCode> {
        // What nearly every create sends.
        if let [RawAcl { perms, scheme: Some(b"world"), id: Some(b"anyone") }] = raw {
            return Ok(vec![Acl { perms: Perms(*perms), id: Id::new("world", "anyone") }]);
        }
        let unique = without_duplicates(raw)?;
        if unique.is_empty() {
            return Err(ErrorCode::InvalidAcl);
        }
        let mut acls = Vec::with_capacity(unique.len());
        for entry in unique {
            let perms = Perms(entry.perms);
            let scheme = lossy(entry.scheme.ok_or(ErrorCode::InvalidAcl)?);
            let id = entry.id.map(lossy);
            let valid = match &*scheme {
                "auth" => {
                    let before = acls.len();
                    let vouched = ids.iter().filter(|id| self.is_authenticated(&id.scheme));
                    acls.extend(vouched.map(|id| Acl { perms, id: id.clone() }));
                    if acls.len() == before {
                        return Err(ErrorCode::InvalidAcl);
                    }
                    continue;
                }
                "world" => needed(&id)? == "anyone",
                "digest" if self.digest_enabled => digest::is_valid(needed(&id)?),
                "ip" => ip::is_valid(needed(&id)?),
                "x509" if self.x509_enabled => x509::is_valid(needed(&id)?),
                "sasl" if self.sasl.is_scheme => sasl::is_valid(needed(&id)?),
                "key" if self.key_enabled => true,
                _ => false,
            };
            if !valid {
                return Err(ErrorCode::InvalidAcl);
            }
            acls.push(Acl { perms, id: Id::new(&scheme, needed(&id)?) });
        }
        Ok(acls)
    }

    /// Whether a client with `ids` may do any of `wanted` where `acl` governs. An empty list is
    /// open to all.
    #[inline]
    pub fn permits(&self, acl: &[Acl], wanted: Perms, ids: &[Id]) -> bool {
        // The open list is what nearly every znode has, and is answered without a look at the ids.
        match acl {
            [] => true,
            [first, ..] if first.perms.intersects(wanted) && is_world(&first.id) => true,
            _ => self.permits_one(acl, wanted, ids),
        }
    }

    fn permits_one(&self, acl: &[Acl], wanted: Perms, ids: &[Id]) -> bool {
        if self.skip_acl || ids.iter().any(|id| &*id.scheme == SUPER) {
            return true;
        }
        acl.iter().filter(|entry| entry.perms.intersects(wanted)).any(|entry| {
            is_world(&entry.id)
                || ids.iter().any(|id| id.scheme == entry.id.scheme && self.matches(id, &entry.id.id))
        })
    }

    /// Whether `id`, which has the entry's scheme, is the one that `expression` means.
    fn matches(&self, id: &Id, expression: &str) -> bool {
        match &*id.scheme {
            "ip" => ip::matches(&id.id, expression),
            "sasl" => self.sasl.is_scheme && self.sasl.matches(&id.id, expression),
            scheme => self.is_authenticated(scheme) && *id.id == *expression,
        }
    }

    /// True if ids of `scheme` name a user, and not only an address; those are what `auth` means.
    fn is_authenticated(&self, scheme: &str) -> bool {
        match scheme {
            "digest" => self.digest_enabled,
            // Only a listener that has TLS gives out such ids.
            "x509" => true,
            "sasl" => self.sasl.is_scheme,
            "key" => self.key_enabled,
            _ => false,
        }
    }

    /// What whoAmI answers: scheme and user of each id. The user of a digest id is what stands
    /// before its colon; schemes without a provider have none.
    pub fn client_infos(&self, ids: &[Id]) -> Vec<(String, String)> {
        let user = |id: &Id| match &*id.scheme {
            "digest" if self.digest_enabled => digest::user(&id.id).to_owned(),
            "ip" | "x509" => id.id.to_string(),
            "sasl" if self.sasl.is_scheme => id.id.to_string(),
            "key" if self.key_enabled => id.id.to_string(),
            _ => String::new(),
        };
        ids.iter().map(|id| (id.scheme.to_string(), user(id))).collect()
    }
}

/// What getACL shows to a client that may not administer the znode: the hashes of digest ids are
/// replaced by an `x`.
pub fn mask(acl: &[Acl]) -> Vec<Acl> {
    let masked = |entry: &Acl| {
        let mut entry = entry.clone();
        if &*entry.id.scheme == "digest"
            && let Some((user, _)) = entry.id.id.split_once(':')
        {
            entry.id.id = format!("{user}:x").into();
        }
        entry
    };
    acl.iter().map(masked).collect()
}

fn is_world(id: &Id) -> bool {
    &*id.scheme == "world" && &*id.id == "anyone"
}

fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// The id of an entry whose scheme reads it.
fn needed<'a>(id: &'a Option<Cow<'_, str>>) -> Result<&'a str, ErrorCode> {
    id.as_deref().ok_or(ErrorCode::MarshallingError)
}

/// Entries up to which each is compared with all before it; a frame has room for 80,000.
const COMPARED_ONE_BY_ONE_MAX: usize = 16;

/// First occurrences, in order. Comparing an entry that holds a null is what Java's generated
/// `equals` cannot do; it gets that far only when all before the null is equal.
fn without_duplicates<'a, 'b>(raw: &'b [RawAcl<'a>]) -> Result<Vec<&'b RawAcl<'a>>, ErrorCode> {
    let mut unique: Vec<&RawAcl<'_>> = Vec::with_capacity(raw.len());
    if raw.len() > COMPARED_ONE_BY_ONE_MAX {
        let mut known = HashSet::with_capacity_and_hasher(raw.len(), FixedState::default());
        for entry in raw {
            // Java trips over a null sooner or later.
            let (Some(scheme), Some(id)) = (entry.scheme, entry.id) else {
                return Err(ErrorCode::InvalidAcl);
            };
            if known.insert((entry.perms, scheme, id)) {
                unique.push(entry);
            }
        }
        return Ok(unique);
    }
    'next: for entry in raw {
        for known in unique.iter().filter(|known| known.perms == entry.perms) {
            let scheme = entry.scheme.ok_or(ErrorCode::MarshallingError)?;
            if known.scheme == Some(scheme) {
                let id = entry.id.ok_or(ErrorCode::MarshallingError)?;
                if known.id == Some(id) {
                    continue 'next;
                }
            }
        }
        unique.push(entry);
    }
    Ok(unique)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of tens of thousands of entries, nearly all the same, is made short in an instant, and its
    /// order is kept.
    #[test]
    fn long_lists() {
        let names: Vec<String> = (0..40).map(|n| format!("10.0.0.{n}")).collect();
        let many: Vec<_> = (0..80_000).map(|n| raw(31, "ip", &names[n % 40])).collect();
        let stored = Policy::default().fix_up(&many, &[]).unwrap();
        assert!(stored.iter().map(|acl| &*acl.id.id).eq(names.iter().map(String::as_str)));
    }

    const PEER: &str = "10.0.0.1";

    fn raw<'a>(perms: i32, scheme: &'a str, id: &'a str) -> RawAcl<'a> {
        RawAcl { perms, scheme: Some(scheme.as_bytes()), id: Some(id.as_bytes()) }
    }

    fn acl(perms: Perms, scheme: &str, id: &str) -> Acl {
        Acl { perms, id: Id::new(scheme, id) }
    }

    fn digest(policy: &Policy, auth: &str) -> Vec<Id> {
        policy.authenticate(Some(b"digest"), Some(auth.as_bytes()), PEER).expect("digest takes anything")
    }

    /// The digest of `user:password` is the one that `DigestAuthenticationProvider.main` prints.
    #[test]
    fn digest_is_that_of_zookeeper() {
        let policy = Policy::default();
        assert_eq!(digest(&policy, "super:test"), [Id::new("digest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU=")]);
        // Without a colon all of it is the user, and is hashed.
        assert_eq!(digest(&policy, "u")[0].id.split_once(':').map(|(user, _)| user), Some("u"));
        // The user ends at the first colon, the hash covers all.
        assert_eq!(digest(&policy, "a:b:c"), [Id::new("digest", "a:cLzgnoJ6mP5qz3w+mwvPE2vDgu0=")]);
        assert_eq!(digest(&policy, ""), [Id::new("digest", ":2jmj7l5rSw0yVb/vlWAYkK/YBwk=")]);
    }

    /// The super digest adds the super id before the digest id, and only for its password.
    #[test]
    fn super_digest_makes_super() {
        let policy = Policy {
            super_digest: Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".to_owned()),
            ..Policy::default()
        };
        let ids = digest(&policy, "super:test");
        assert_eq!(ids[0], Id::new("super", ""));
        assert_eq!(&*ids[1].scheme, "digest");
        assert_eq!(digest(&policy, "super:tost").len(), 1);
        assert!(policy.permits(&[acl(Perms::READ, "ip", "1.2.3.4")], Perms::ADMIN, &ids));
    }

    /// Only digest (with bytes) and ip succeed; schemes that merely exist in lists do not.
    #[test]
    fn schemes_that_fail() {
        let policy = Policy::default();
        let failed = Err(AuthFailed);
        assert_eq!(policy.authenticate(Some(b"digest"), None, PEER), failed);
        assert_eq!(policy.authenticate(None, Some(b"a:b"), PEER), failed);
        for scheme in ["world", "auth", "super", "sasl", "x509", "", "Digest"] {
            assert_eq!(policy.authenticate(Some(scheme.as_bytes()), Some(b"a:b"), PEER), failed, "{scheme}");
        }
        assert_eq!(policy.authenticate(Some(b"ip"), None, PEER), Ok(vec![Id::new("ip", PEER)]));
        let off = Policy { digest_enabled: false, ..Policy::default() };
        assert_eq!(off.authenticate(Some(b"digest"), Some(b"a:b"), PEER), failed);
    }

    /// Lists that 3.9 refuses, and with which code.
    #[test]
    fn invalid_lists() {
        let policy = Policy::default();
        let ids = [Id::new("ip", PEER)];
        let refuse = |list: &[RawAcl<'_>]| policy.fix_up(list, &ids).expect_err("must be refused");
        assert_eq!(refuse(&[]), ErrorCode::InvalidAcl);
        for (scheme, id) in [
            ("world", "everyone"),
            ("auth", ""), // an ip id vouches for no user
            ("digest", "user"),
            ("digest", "user:"),
            ("digest", "a:b:c"),
            ("ip", "1.2.3"),
            ("ip", "1.2.3.4/33"),
            ("sasl", "bob"),
            ("super", ""),
            ("", ""),
        ] {
            assert_eq!(refuse(&[raw(31, scheme, id)]), ErrorCode::InvalidAcl, "{scheme}:{id}");
        }
        let null = |scheme: Option<&'static [u8]>| RawAcl { perms: 31, scheme, id: None };
        assert_eq!(refuse(&[null(None)]), ErrorCode::InvalidAcl);
        assert_eq!(refuse(&[null(Some(b"no-one"))]), ErrorCode::InvalidAcl);
        for scheme in [&b"world"[..], b"digest", b"ip"] {
            assert_eq!(refuse(&[null(Some(scheme))]), ErrorCode::MarshallingError);
        }
        assert_eq!(refuse(&[null(None), null(None)]), ErrorCode::MarshallingError);
        assert_eq!(refuse(&[raw(31, "world", "anyone"), raw(31, "ip", "x")]), ErrorCode::InvalidAcl);
    }

    /// `auth` becomes every authenticated id of the connection, whatever its id part is, and
    /// duplicates are gone from what the client sent, not from what that makes.
    #[test]
    fn auth_expands() {
        let policy = Policy::default();
        let ids =
            [Id::new("ip", PEER), Id::new("super", ""), Id::new("digest", "a:1"), Id::new("x509", "CN=b")];
        let null_id = RawAcl { perms: 1, scheme: Some(b"auth"), id: None };
        assert_eq!(
            policy.fix_up(&[null_id], &ids),
            Ok(vec![acl(Perms::READ, "digest", "a:1"), acl(Perms::READ, "x509", "CN=b")])
        );
        let sent = [raw(31, "digest", "a:1"), raw(31, "digest", "a:1"), raw(31, "auth", "zzz")];
        let stored = policy.fix_up(&sent, &ids).expect("valid");
        assert_eq!(stored.len(), 3);
        assert_eq!(stored[0], stored[1]);
        let same = [raw(1, "world", "anyone"), raw(2, "world", "anyone"), raw(1, "world", "anyone")];
        assert_eq!(
            policy.fix_up(&same, &ids),
            Ok(vec![acl(Perms::READ, "world", "anyone"), acl(Perms::WRITE, "world", "anyone")])
        );
    }

    /// With digest off its ids neither vouch, nor match, nor are valid in a list.
    #[test]
    fn digest_can_be_off() {
        let off = Policy { digest_enabled: false, ..Policy::default() };
        let ids = [Id::new("digest", "a:1")];
        assert_eq!(off.fix_up(&[raw(31, "auth", "")], &ids), Err(ErrorCode::InvalidAcl));
        assert_eq!(off.fix_up(&[raw(31, "digest", "a:1")], &ids), Err(ErrorCode::InvalidAcl));
        assert!(!off.permits(&[acl(Perms::ALL, "digest", "a:1")], Perms::READ, &ids));
    }

    /// Bytes that are not UTF-8 are read as replacement characters, as Java reads them.
    #[test]
    fn not_utf8_is_read_lossily() {
        let bytes = RawAcl { perms: 1, scheme: Some(b"digest"), id: Some(b"\xff:x") };
        let stored = Policy::default().fix_up(&[bytes], &[]).expect("valid");
        assert_eq!(&*stored[0].id.id, "\u{fffd}:x");
    }

    /// Any one entry is enough, if it has the permission and means one of the ids.
    #[test]
    fn permits() {
        let policy = Policy::default();
        let ids = [Id::new("ip", PEER), Id::new("digest", "a:1")];
        let may = |list: &[Acl], wanted| policy.permits(list, wanted, &ids);
        assert!(may(&[], Perms::ADMIN));
        assert!(may(&[Acl::open()], Perms::DELETE));
        let read_only = [acl(Perms::READ, "world", "anyone")];
        assert!(may(&read_only, Perms::READ) && !may(&read_only, Perms::WRITE));
        assert!(may(&read_only, Perms::READ.or(Perms::ADMIN)));
        assert!(may(&[acl(Perms::ALL, "digest", "a:1")], Perms::WRITE));
        assert!(!may(&[acl(Perms::ALL, "digest", "a:2")], Perms::WRITE));
        assert!(!may(&[acl(Perms::READ, "digest", "a:1")], Perms::WRITE));
        assert!(may(&[acl(Perms::ALL, "ip", "10.0.0.0/8")], Perms::WRITE));
        assert!(!may(&[acl(Perms::ALL, "ip", "11.0.0.0/8")], Perms::WRITE));
        // The same text under another scheme is another user.
        assert!(!may(&[acl(Perms::ALL, "sasl", "a:1")], Perms::WRITE));
        assert!(!may(&[acl(Perms::ALL, "world", "someone")], Perms::WRITE));
        let open = Policy { skip_acl: true, ..Policy::default() };
        assert!(open.permits(&[acl(Perms::READ, "digest", "b:2")], Perms::WRITE, &ids));
    }

    /// Hashes are hidden, users and other schemes are not.
    #[test]
    fn masked() {
        let list = [acl(Perms::ALL, "digest", "a:hash=:"), acl(Perms::READ, "ip", "::1")];
        assert_eq!(mask(&list), [acl(Perms::ALL, "digest", "a:x"), acl(Perms::READ, "ip", "::1")]);
    }

    /// whoAmI names users without their hashes, and schemes without a provider have no user.
    #[test]
    fn who_am_i() {
        let ids = [Id::new("ip", PEER), Id::new("digest", "a:hash="), Id::new("super", "")];
        let infos = Policy::default().client_infos(&ids);
        let infos: Vec<_> = infos.iter().map(|(scheme, user)| (scheme.as_str(), user.as_str())).collect();
        assert_eq!(infos, [("ip", PEER), ("digest", "a"), ("super", "")]);
    }
}
