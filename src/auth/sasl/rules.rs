//! What of a principal an id has: rules that shorten names, `auth_to_local` of Kerberos: `RULE:[2:$1](zk.*)s/^zk-//` or `DEFAULT`.
//!
//! Source: `KerberosName`, `SaslServerCallbackHandler`, Apache ZooKeeper 3.9.

use super::name::Principal;
use regex_lite::{Captures, Regex};
use std::sync::LazyLock;

/// One rule at the front of a text. Groups: 1 `DEFAULT`; 2 number of components, 3 format, 4 what it must match, 5 what is
/// replaced, 6 by what, 7 `g`.
static RULE: LazyLock<Regex> = LazyLock::new(|| {
    let substitution = r"(?:s/([^/]*)/([^/]*)/(g)?)?";
    let pattern = format!(r"\A\s*(?:(DEFAULT)|RULE:\[(\d*):([^\]]*)\](?:\(([^)]*)\))?{substitution})");
    Regex::new(&pattern).expect("a constant pattern")
});

/// What of a principal an id has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameRules {
    /// `kerberos.removeHostFromPrincipal`
    pub remove_host: bool,
    /// `kerberos.removeRealmFromPrincipal`
    pub remove_realm: bool,
    /// `security.auth_to_local`
    pub rules: Rules,
    /// The realm whose principals have their first part as short name, by the rule `DEFAULT`; empty where none is known.
    pub default_realm: String,
}

impl NameRules {
    /// The id of a user who has proved this name; `None` if the name is malformed.
    ///
    /// A name that no rule shortens stays whole. There, Java takes the name that the client wants to act as instead.
    pub fn id_of(&self, name: &str) -> Option<String> {
        let principal = Principal::parse(name)?;
        let Some(mut id) = self.rules.short(principal, &self.default_realm) else {
            return Some(name.to_owned());
        };
        if let Some(host) = principal.host.filter(|_| !self.remove_host) {
            id = id + "/" + host;
        }
        if let Some(realm) = principal.realm.filter(|_| !self.remove_realm) {
            id = id + "@" + realm;
        }
        Some(id)
    }
}

/// The rules of a server, the first one that applies to a name counts.
#[derive(Clone, Debug)]
pub struct Rules {
    /// As they stand in the configuration.
    text: String,
    rules: Vec<Rule>,
}

/// Why a text is no list of rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// What stands there is none.
    #[error("no rule begins at {0:?}: RULE:[COMPONENTS:FORMAT](PATTERN)s/FROM/TO/g, or DEFAULT")]
    Malformed(String),
    /// A pattern is none.
    #[error("{pattern:?} is no pattern: {why}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// A format or a replacement names a part that is not there.
    #[error("{0:?} names a part that names with so many components, or the pattern, do not have")]
    Part(String),
}

#[derive(Clone, Debug)]
enum Rule {
    /// The first component of names of the default realm.
    Default,
    Of {
        components: usize,
        format: Vec<Piece>,
        /// All of what the format makes must match it.
        wanted: Option<Regex>,
        substitution: Option<Substitution>,
    },
}

#[derive(Clone, Debug)]
struct Substitution {
    from: Regex,
    to: Vec<Piece>,
    is_repeated: bool,
}

/// A part of a format or of a replacement.
#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    /// `$N`: of a format the realm for 0 and a component from 1 on, of a replacement a group.
    Part(usize),
}

impl Default for Rules {
    fn default() -> Self {
        Self { text: "DEFAULT".to_owned(), rules: vec![Rule::Default] }
    }
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Rules {}

impl Rules {
    /// Reads rules, one after the other.
    ///
    /// # Errors
    /// [`RuleError`]. Java finds parts that are not there only when a name comes.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let (mut rest, mut rules) = (text.trim(), Vec::new());
        while !rest.is_empty() {
            let Some(found) = RULE.captures(rest) else { return Err(RuleError::Malformed(rest.to_owned())) };
            rules.push(Rule::of(&found, rest)?);
            rest = &rest[found[0].len()..];
        }
        Ok(Self { text: text.to_owned(), rules })
    }

    /// What the rules make of a principal; `None` where none applies, or where one makes a name with `/` or `@`.
    fn short(&self, principal: Principal<'_>, default_realm: &str) -> Option<String> {
        let Principal { service, host, realm } = principal;
        let Some(realm) = realm else { return Some(service.to_owned()) };
        let parts: Vec<&str> = [realm, service].into_iter().chain(host).collect();
        let short = self.rules.iter().find_map(|rule| rule.apply(&parts, default_realm))?;
        (!short.contains(['/', '@'])).then_some(short)
    }
}

impl Rule {
    fn of(found: &Captures<'_>, text: &str) -> Result<Self, RuleError> {
        if found.get(1).is_some() {
            return Ok(Self::Default);
        }
        let group = |at| found.get(at).map(|group| group.as_str());
        let components = group(2).and_then(|number| number.parse().ok());
        let components: usize = components.ok_or_else(|| RuleError::Malformed(text.to_owned()))?;
        let format = group(3).unwrap_or_default();
        let substitution = match (group(5), group(6)) {
            (Some(from), Some(to)) => {
                let from = pattern(from, from)?;
                let to_pieces = replacement(to)?;
                check_parts(to, &to_pieces, from.captures_len() - 1)?;
                Some(Substitution { from, to: to_pieces, is_repeated: group(7).is_some() })
            }
            _ => None,
        };
        let pieces = formatted(format)?;
        check_parts(format, &pieces, components)?;
        let wanted = group(4).map(|wanted| pattern(&format!(r"\A(?:{wanted})\z"), wanted)).transpose()?;
        Ok(Self::Of { components, format: pieces, wanted, substitution })
    }

    /// What the rule makes of a name whose realm is the first of `parts`; `None` where it does not apply.
    fn apply(&self, parts: &[&str], default_realm: &str) -> Option<String> {
        match self {
            Self::Default => (parts[0] == default_realm).then(|| parts[1].to_owned()),
            Self::Of { components, format, wanted, substitution } => {
                if parts.len() - 1 != *components {
                    return None;
                }
                let base = put_together(format, |at| parts[at]);
                if wanted.as_ref().is_some_and(|wanted| !wanted.is_match(&base)) {
                    return None;
                }
                let Some(Substitution { from, to, is_repeated }) = substitution else { return Some(base) };
                let by = |found: &Captures<'_>| {
                    put_together(to, |at| found.get(at).map_or("", |group| group.as_str()))
                };
                let times = if *is_repeated { 0 } else { 1 };
                Some(from.replacen(&base, times, by).into_owned())
            }
        }
    }
}

/// Compiles a pattern; a message shows it as it was `written`.
fn pattern(pattern: &str, written: &str) -> Result<Regex, RuleError> {
    let why =
        |error: regex_lite::Error| RuleError::Pattern { pattern: written.to_owned(), why: error.to_string() };
    Regex::new(pattern).map_err(why)
}

/// Reads a format: `$` and a number is a part, all else is text.
fn formatted(format: &str) -> Result<Vec<Piece>, RuleError> {
    let mut pieces = Vec::new();
    let mut texts = format.split('$');
    pieces.extend(texts.next().map(|text| Piece::Text(text.to_owned())));
    for text in texts {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let part = text[..digits].parse().map_err(|_| RuleError::Part(format.to_owned()))?;
        pieces.extend([Piece::Part(part), Piece::Text(text[digits..].to_owned())]);
    }
    Ok(pieces)
}

/// Reads a replacement of Java's: `$` and a digit is a group, a backslash makes text of what follows it. Source:
/// `java.util.regex.Matcher.appendReplacement`, without groups that have more than one digit or a name.
fn replacement(text: &str) -> Result<Vec<Piece>, RuleError> {
    let bad = || RuleError::Part(text.to_owned());
    let (mut pieces, mut chars) = (Vec::new(), text.chars());
    while let Some(c) = chars.next() {
        pieces.push(match c {
            '\\' => Piece::Text(chars.next().ok_or_else(bad)?.to_string()),
            '$' => Piece::Part(chars.next().and_then(|c| c.to_digit(10)).ok_or_else(bad)? as usize),
            c => Piece::Text(c.to_string()),
        });
    }
    Ok(pieces)
}

fn check_parts(text: &str, pieces: &[Piece], part_max: usize) -> Result<(), RuleError> {
    let is_missing = |piece: &Piece| matches!(piece, Piece::Part(part) if *part > part_max);
    if pieces.iter().any(is_missing) { Err(RuleError::Part(text.to_owned())) } else { Ok(()) }
}

fn put_together<'a>(pieces: &'a [Piece], part: impl Fn(usize) -> &'a str) -> String {
    let text = |piece: &'a Piece| match piece {
        Piece::Text(text) => text.as_str(),
        Piece::Part(at) => part(*at),
    };
    pieces.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(rules: &str, name: &str) -> Option<String> {
        Rules::parse(rules).unwrap().short(Principal::parse(name).unwrap(), "R")
    }

    /// Each name is shortened by the first rule that applies to it.
    #[test]
    fn names() {
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(short("DEFAULT", "zk/host@R"), some("zk"));
        assert_eq!(short("DEFAULT", "zk/host@OTHER"), None);
        assert_eq!(short("DEFAULT", "plain"), some("plain"));
        assert_eq!(short("RULE:[1:$1@$0](.*@OTHER)s/@.*// DEFAULT", "ann@OTHER"), some("ann"));
        assert_eq!(short("RULE:[1:$1@$0](.*@OTHER)s/@.*//\nDEFAULT", "ann@R"), some("ann"));
        assert_eq!(short("RULE:[2:$1]", "zk/host@OTHER"), some("zk"));
        assert_eq!(short("RULE:[2:$1-$2]", "zk/host@OTHER"), some("zk-host"));
        assert_eq!(short("RULE:[1:$1]", "zk/host@OTHER"), None);
        assert_eq!(short("RULE:[1:$1](a)", "ann@OTHER"), None, "all of it must match");
        assert_eq!(short("RULE:[1:$1](a.*)s/n/m/", "ann@OTHER"), some("amn"));
        assert_eq!(short("RULE:[1:$1](a.*)s/n/m/g", "ann@OTHER"), some("amm"));
        assert_eq!(short(r"RULE:[1:$1]s/(a)(n*)/$2$1\$/", "ann@OTHER"), some("nna$"));
        assert_eq!(short("RULE:[1:$1@$0]", "ann@OTHER"), None, "a short name has no @");
        assert_eq!(short("RULE:[2:x]RULE:[1:y]", "ann@OTHER"), some("y"));
    }

    /// What is no rule is refused, with what is wrong.
    #[test]
    fn refused() {
        let error = |rules| Rules::parse(rules).unwrap_err();
        assert_eq!(error("DEFAULT RULLE"), RuleError::Malformed(" RULLE".to_owned()));
        assert!(matches!(error("RULE:[:$1]"), RuleError::Malformed(_)));
        assert!(matches!(error("RULE:[1:$1](a(?=b)"), RuleError::Malformed(_) | RuleError::Pattern { .. }));
        assert!(matches!(error("RULE:[1:$1]([)"), RuleError::Pattern { .. }));
        assert_eq!(error("RULE:[1:$2]"), RuleError::Part("$2".to_owned()));
        assert_eq!(error("RULE:[1:$]"), RuleError::Part("$".to_owned()));
        assert_eq!(error("RULE:[1:$1]s/a/$1/"), RuleError::Part("$1".to_owned()));
        assert!(Rules::parse("").unwrap().rules.is_empty());
    }

    /// Host and realm go where they are to, from names of the default realm.
    #[test]
    fn ids() {
        let rules = |remove_host, remove_realm| NameRules {
            remove_host,
            remove_realm,
            default_realm: "R".to_owned(),
            rules: Rules::default(),
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
