//! The file of a Java login configuration (JAAS): sections of login modules with their options.
//!
//! ```text
//! Server {
//!     org.apache.zookeeper.server.auth.DigestLoginModule required
//!     user_super="adminsecret"
//!     user_bob="bobsecret";
//! };
//! ```
//!
//! Source: `sun.security.provider.ConfigFile` and `java.io.StreamTokenizer` of OpenJDK.

use super::reading::shorten;
use crate::auth::Secret;
use crate::auth::sasl::KerberosLogin;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// Whose options are users and their passwords: `user_NAME="PASSWORD"` for a server, `username` and `password` for a client.
pub const DIGEST_MODULE: &str = "org.apache.zookeeper.server.auth.DigestLoginModule";

/// Whose options say how a server or a client is known to Kerberos.
pub const KERBEROS_MODULE: &str = "com.sun.security.auth.module.Krb5LoginModule";

/// Names of users begin with it.
const USER_PREFIX: &str = "user_";

/// What is wrong with a file, and in which line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct JaasError {
    line: usize,
    what: String,
}

/// One login module of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its Java class.
    pub class: String,
    /// Its options.
    pub options: BTreeMap<String, Secret>,
}

/// The sections of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jaas(BTreeMap<String, Vec<Module>>);

impl Jaas {
    /// Reads a file.
    ///
    /// # Errors
    /// [`JaasError`] at the first place where Java would stop reading. It shows nothing that was in quotes.
    pub fn parse(text: &str) -> Result<Self, JaasError> {
        let mut tokens = Tokens { chars: text.chars().peekable(), line: 1 };
        let mut sections = BTreeMap::new();
        while let Some(token) = tokens.next()? {
            let Token::Text(name) = token else { return Err(tokens.wanted("the name of a section")) };
            let modules = section(&mut tokens)?;
            if sections.insert(name.clone(), modules).is_some() {
                return Err(tokens.error(format!("section {name} is there twice")));
            }
        }
        Ok(Self(sections))
    }

    /// The modules of a section, or of the one that stands for those that are missing.
    pub fn section(&self, name: &str) -> Option<&[Module]> {
        self.0.get(name).or_else(|| self.0.get("other")).map(Vec::as_slice)
    }
}

/// The path of the file in a value of `java.security.auth.login.config`: Java takes `=FILE` to replace what java.security
/// names, and a URL.
pub fn path(text: &str) -> &str {
    let path = text.trim_start_matches('=');
    path.strip_prefix("file://").or_else(|| path.strip_prefix("file:")).unwrap_or(path)
}

/// The users of a section and their passwords. Source: `ServerCnxnFactory.getDigestMd5Credentials`.
pub fn users(modules: &[Module]) -> BTreeMap<String, Secret> {
    let options = modules.iter().flat_map(|module| &module.options);
    let user = |(name, password): (&String, &Secret)| {
        Some((name.strip_prefix(USER_PREFIX)?.to_owned(), password.clone()))
    };
    options.filter_map(user).collect()
}

/// Who the side is that proves a password. Source: `DigestLoginModule.initialize`.
pub fn user_and_password(modules: &[Module]) -> Option<(String, Secret)> {
    let option = |name: &str| modules.iter().find_map(|module| module.options.get(name));
    Some((option("username")?.reveal().to_owned(), option("password")?.clone()))
}

/// What the modules of a section are.
pub enum Class<'a> {
    /// All are [`DIGEST_MODULE`].
    Digest,
    /// The first, which Java looks at, is a [`KERBEROS_MODULE`].
    Kerberos(&'a Module),
}

/// What the modules of a section are.
///
/// # Errors
/// Names a class that is neither.
pub fn class(modules: &[Module]) -> Result<Class<'_>, String> {
    if let Some(module) = modules.first().filter(|module| module.class == KERBEROS_MODULE) {
        return Ok(Class::Kerberos(module));
    }
    match modules.iter().find(|module| module.class != DIGEST_MODULE) {
        None => Ok(Class::Digest),
        Some(other) => Err(format!(
            "{} is no class that zkfast knows: there are {DIGEST_MODULE} and {KERBEROS_MODULE}",
            shorten(&other.class)
        )),
    }
}

/// How the side of a section is known to Kerberos. Source: `Krb5LoginModule` of OpenJDK.
///
/// # Errors
/// What the section lacks.
pub fn kerberos(module: &Module) -> Result<KerberosLogin, &'static str> {
    let option = |option: &str| module.options.get(option).map(|value| value.reveal().to_owned());
    let is_true = |name: &str| option(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let path = |path: String| path.strip_prefix("file:").unwrap_or(&path).to_owned();
    let keytab = option("keyTab").filter(|_| is_true("useKeyTab")).map(path);
    let principal = option("principal").filter(|principal| principal != "*");
    // Java looks into the cache first. A key gets tickets for the same principal, which do not run out.
    let wants_cache = is_true("useTicketCache") && keytab.is_none();
    let ticket_cache = wants_cache.then(|| option("ticketCache").unwrap_or_default());
    if keytab.is_none() && ticket_cache.is_none() {
        return Err(
            "lacks useKeyTab=true and keyTab=\"FILE\", or useTicketCache=true: a password cannot be typed in",
        );
    }
    Ok(KerberosLogin { principal, keytab, ticket_cache })
}

/// What follows the name of a section.
fn section(tokens: &mut Tokens<'_>) -> Result<Vec<Module>, JaasError> {
    tokens.take('{')?;
    let mut modules = Vec::new();
    loop {
        let class = match tokens.needed("the class of a login module, or }")? {
            Token::Sign('}') => break,
            Token::Text(class) => class,
            Token::Sign(_) => return Err(tokens.wanted("the class of a login module, or }")),
        };
        let flag = tokens.text("required, requisite, sufficient or optional")?;
        if !["required", "requisite", "sufficient", "optional"].contains(&flag.to_ascii_lowercase().as_str())
        {
            return Err(tokens.wanted("required, requisite, sufficient or optional"));
        }
        modules.push(Module { class, options: options(tokens)? });
    }
    tokens.take(';')?;
    Ok(modules)
}

/// The options of a module, up to its semicolon.
fn options(tokens: &mut Tokens<'_>) -> Result<BTreeMap<String, Secret>, JaasError> {
    let mut options = BTreeMap::new();
    loop {
        let name = match tokens.needed("an option, or ;")? {
            Token::Sign(';') => return Ok(options),
            Token::Text(name) => name,
            Token::Sign(_) => return Err(tokens.wanted("an option, or ;")),
        };
        tokens.take('=')?;
        let value = tokens.text("the value of an option, in quotes")?;
        if value.contains("${") {
            return Err(tokens.error(format!("option {name} names a Java property by ${{: there is no JVM")));
        }
        options.insert(name, Secret::new(value));
    }
}

enum Token {
    /// A word, or what stood in quotes.
    Text(String),
    Sign(char),
}

struct Tokens<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
}

impl Tokens<'_> {
    fn error(&self, what: impl Into<String>) -> JaasError {
        JaasError { line: self.line, what: what.into() }
    }

    fn wanted(&self, what: &str) -> JaasError {
        self.error(format!("{what} is expected here"))
    }

    fn char(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    /// The next token; `None` at the end.
    fn next(&mut self) -> Result<Option<Token>, JaasError> {
        while let Some(c) = self.char() {
            match c {
                '/' if self.chars.peek() == Some(&'*') => self.skip_comment()?,
                // Java takes a single slash for a comment as well.
                '/' => while self.chars.next_if(|c| *c != '\n').is_some() {},
                '"' => return self.quoted().map(Some),
                '{' | '}' | ';' | '=' => return Ok(Some(Token::Sign(c))),
                c if c <= ' ' => {}
                c if is_word(c) && !c.is_ascii_digit() && c != '.' => {
                    let mut word = String::from(c);
                    word.extend(std::iter::from_fn(|| self.chars.next_if(|c| is_word(*c))));
                    return Ok(Some(Token::Text(word)));
                }
                c => return Err(self.error(format!("{c:?} must stand in quotes"))),
            }
        }
        Ok(None)
    }

    fn skip_comment(&mut self) -> Result<(), JaasError> {
        // The star that begins it is not the one that ends it.
        let mut last = self.char().map(|_| ' ');
        while let Some(c) = self.char() {
            if last == Some('*') && c == '/' {
                return Ok(());
            }
            last = Some(c);
        }
        Err(self.error("a comment has no end"))
    }

    /// What follows a quote, up to the next one or the end of the line.
    fn quoted(&mut self) -> Result<Token, JaasError> {
        let mut text = String::new();
        loop {
            match self.char() {
                Some('"') => return Ok(Token::Text(text)),
                Some('\\') => text.extend(self.escaped()),
                None | Some('\n' | '\r') => return Err(self.error("a text in quotes has no end")),
                Some(c) => text.push(c),
            }
        }
    }

    /// What a backslash and the character after it stand for.
    fn escaped(&mut self) -> Option<char> {
        Some(match self.char()? {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            c @ '0'..='7' => {
                let digits_max = if c <= '3' { 2 } else { 1 };
                let mut code = c.to_digit(8)?;
                for _ in 0..digits_max {
                    let Some(digit) = self.chars.next_if(|c| c.is_digit(8)) else { break };
                    code = code * 8 + digit.to_digit(8)?;
                }
                char::from_u32(code)?
            }
            c => c,
        })
    }

    fn needed(&mut self, what: &str) -> Result<Token, JaasError> {
        self.next()?.ok_or_else(|| self.error(format!("the file ends where {what} is expected")))
    }

    fn text(&mut self, what: &str) -> Result<String, JaasError> {
        match self.needed(what)? {
            Token::Text(text) => Ok(text),
            Token::Sign(_) => Err(self.wanted(what)),
        }
    }

    fn take(&mut self, sign: char) -> Result<(), JaasError> {
        match self.needed(&sign.to_string())? {
            Token::Sign(found) if found == sign => Ok(()),
            _ => Err(self.wanted(&sign.to_string())),
        }
    }
}

/// What words are made of. A word does not begin with a digit or a dot: that would be a number to Java.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-$*".contains(c) || c >= '\u{a0}'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Jaas::parse(text).unwrap_err().to_string()
    }

    /// Sections, modules, options, comments and quotes, as Java reads them.
    #[test]
    fn read() {
        let text = "/* for\n * clients */\nServer { // users\n\
             org.apache.zookeeper.server.auth.DigestLoginModule REQUIRED debug=true\n\
             user_super=\"admin \\\"secret\\\"\" user_o.b-1 = \"\\101\\x\\52;{}//\"\n;};\n\
             /**/ \"QuorumServer\"{a.B optional;\nc.D sufficient x=\"\";};";
        let jaas = Jaas::parse(text).unwrap();
        let users = users(jaas.section("Server").unwrap());
        let users: Vec<_> = users.iter().map(|(user, password)| (user.as_str(), password.reveal())).collect();
        assert_eq!(users, [("o.b-1", "Ax*;{}//"), ("super", "admin \"secret\"")]);
        let modules = jaas.section("QuorumServer").unwrap();
        assert_eq!(modules.iter().map(|m| m.class.as_str()).collect::<Vec<_>>(), ["a.B", "c.D"]);
        assert_eq!(modules[1].options["x"].reveal(), "");
        assert_eq!(jaas.section("Client"), None);
        assert_eq!(Jaas::parse(" \n// nothing").unwrap(), Jaas::default());
    }

    /// A section `other` stands for those that are missing.
    #[test]
    fn other() {
        let jaas = Jaas::parse("other { a.B required; };").unwrap();
        assert_eq!(jaas.section("Server").unwrap()[0].class, "a.B");
    }

    /// What Java does not read is refused with its line, and passwords are in no message.
    #[test]
    fn refused() {
        assert_eq!(
            error("Server {\n a.B required\n x=\"y\"\n};"),
            "line 4: an option, or ; is expected here"
        );
        assert_eq!(
            error("Server {\n a.B required"),
            "line 2: the file ends where an option, or ; is expected"
        );
        assert_eq!(error("Server {\n a.B needed;\n};").split_once(':').unwrap().0, "line 2");
        assert_eq!(error("Server { a.B required x=7; };"), "line 1: '7' must stand in quotes");
        assert_eq!(error("Server { a.B required x='y'; };"), "line 1: '\\'' must stand in quotes");
        assert_eq!(error("Server { a.B required x=\"hunter2\n\"; };"), "line 2: a text in quotes has no end");
        assert_eq!(error("S { };\nS { };"), "line 2: section S is there twice");
        assert_eq!(error("S { }"), "line 1: the file ends where ; is expected");
        assert_eq!(error("S { a.B required; } /* "), "line 1: a comment has no end");
        assert!(error("S { a.B required x=\"${user.home}/hunter2\"; };").ends_with("there is no JVM"));
        // A path without quotes is a comment to Java.
        assert!(error("S { a.B required keyTab=/etc/zk.keytab; };\n").contains("the file ends where"));
    }
}
