//! Names of Kerberos principals, `service/host@REALM`, and what of them an id has.
//!
//! Users of DIGEST-MD5 are read as such names, too. Source: `KerberosName`, `SaslServerCallbackHandler`.

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

/// What of a principal an id has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameRules {
    /// `kerberos.removeHostFromPrincipal`
    pub remove_host: bool,
    /// `kerberos.removeRealmFromPrincipal`
    pub remove_realm: bool,
    /// The realm whose principals have their first part as short name, by the rule `DEFAULT`; empty where none is known.
    pub default_realm: String,
}

impl NameRules {
    /// The id of a user who has proved this name; `None` if the name is malformed.
    ///
    /// A name that no rule shortens stays whole. There, Java takes the name that the client wants to act as instead.
    pub fn id_of(&self, name: &str) -> Option<String> {
        let Principal { service, host, realm } = Principal::parse(name)?;
        let Some(realm) = realm.filter(|realm| **realm == *self.default_realm) else {
            return Some(name.to_owned());
        };
        let mut id = service.to_owned();
        if let Some(host) = host.filter(|_| !self.remove_host) {
            id = id + "/" + host;
        }
        if !self.remove_realm {
            id = id + "@" + realm;
        }
        Some(id)
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

    /// Host and realm go where they are to, from names of the default realm.
    #[test]
    fn ids() {
        let rules = |remove_host, remove_realm| NameRules {
            remove_host,
            remove_realm,
            default_realm: "R".to_owned(),
        };
        let id = |rules: NameRules, name| rules.id_of(name).unwrap();
        assert_eq!(id(rules(false, false), "zk/h@R"), "zk/h@R");
        assert_eq!(id(rules(true, false), "zk/h@R"), "zk@R");
        assert_eq!(id(rules(false, true), "zk/h@R"), "zk/h");
        assert_eq!(id(rules(true, true), "zk/h@R"), "zk");
        assert_eq!(id(rules(true, true), "zk/h@OTHER"), "zk/h@OTHER");
        assert_eq!(id(rules(true, true), "bob"), "bob");
        assert_eq!(rules(true, true).id_of("a@b@c"), None);
    }
}
