//! Names of Kerberos principals, `service/host@REALM`.
//!
//! Users of DIGEST-MD5 are read as such names, too. Source: `KerberosName`.

/// A name, in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Principal<'a> {
    /// What stands first; all of it where there is no `@`.
    pub service: &'a str,
    /// After a slash.
    pub host: Option<&'a str>,
    /// After the `@`.
    pub realm: Option<&'a str>,
}

impl<'a> Principal<'a> {
    /// Takes a name apart; `None` for one with an `@` that is in no such form.
    pub fn parse(name: &'a str) -> Option<Self> {
        let Some((before, realm)) = name.split_once('@') else {
            return Some(Self { service: name, host: None, realm: None });
        };
        let (service, host) = match before.split_once('/') {
            Some((service, host)) => (service, Some(host)),
            None => (before, None),
        };
        let is_plain = |part: &str| !part.contains(['/', '@']);
        (is_plain(realm) && host.is_none_or(is_plain)).then_some(Self { service, host, realm: Some(realm) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names with an `@` have at most two parts and one realm; names without are anything.
    #[test]
    fn forms() {
        let parts = |name| Principal::parse(name).map(|p: Principal<'_>| (p.service, p.host, p.realm));
        assert_eq!(parts("bob"), Some(("bob", None, None)));
        assert_eq!(parts("bob/host"), Some(("bob/host", None, None)));
        assert_eq!(parts(""), Some(("", None, None)));
        assert_eq!(parts("bob@R"), Some(("bob", None, Some("R"))));
        assert_eq!(parts("zk/h@R"), Some(("zk", Some("h"), Some("R"))));
        assert_eq!(parts("@"), Some(("", None, Some(""))));
        for name in ["a@b@c", "a/b/c@R", "a@R/b"] {
            assert_eq!(parts(name), None, "{name}");
        }
    }
}
