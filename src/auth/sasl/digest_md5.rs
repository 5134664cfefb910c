//! SASL mechanism DIGEST-MD5, without a security layer: what a server asks, what a client answers, and who is right.
//!
//! ```text
//! client                                     server
//!   |  <-- realm, nonce ---------------------- |   Server::challenge
//!   |  --- user, cnonce, response -----------> |   Client::respond, Server::verify
//!   |  <-- rspauth --------------------------- |   Client::check
//! ```
//!
//! Source: RFC 2831, initial authentication, `qop=auth`; `DigestMD5Server` and `DigestMD5Client` of OpenJDK for what is
//! optional there.

use super::failure::{Failure, shown};
use crate::auth::secret::Secret;
use md5::{Digest, Md5};
use zeroize::Zeroizing;

/// Longest token that either side takes, bytes. Source: `DigestMD5Base.MAX_CHALLENGE_LENGTH` is 2048,
/// `MAX_RESPONSE_LENGTH` 4096.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// The form of all tokens.
const DIRECTIVES: &str = "list of directives";

/// The only count that there is: no nonce serves twice.
const NONCE_COUNT: &str = "00000001";

/// What both sides know before an exchange: for whom it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Kind of the service.
    pub protocol: &'static str,
    /// Name of the server, and its realm.
    pub server: &'static str,
}

impl Service {
    /// What a ZooKeeper server is to clients. Source: `ZooKeeperSaslServer`.
    pub const CLIENTS: Self = Self { protocol: "zookeeper", server: "zk-sasl-md5" };
    /// What it is to the other servers of its ensemble. Source: `QuorumAuth`.
    pub const QUORUM: Self = Self { protocol: "zookeeper-quorum", server: "zk-quorum-sasl-md5" };

    fn uri(self) -> String {
        format!("{}/{}", self.protocol, self.server)
    }
}

/// A user who has proved to know the password.
#[derive(Debug, PartialEq, Eq)]
pub struct Proved {
    /// The name.
    pub user: String,
    /// Whom it wants to act as; the same as `user` where it says nothing.
    pub acts_as: String,
    /// What tells the client that the server knows the password, too.
    pub token: Vec<u8>,
}

/// A server's side of one exchange, from its challenge to the answer.
#[derive(Debug)]
pub struct Server {
    service: Service,
    nonce: Box<str>,
}

impl Server {
    /// An exchange with a nonce that no other exchange has had and no other side can guess.
    pub fn new(service: Service, nonce: String) -> Self {
        Self { service, nonce: nonce.into() }
    }

    /// What the client is asked.
    pub fn challenge(&self) -> Vec<u8> {
        let (realm, nonce) = (self.service.server, &self.nonce);
        format!("realm=\"{realm}\",nonce=\"{nonce}\",charset=utf-8,algorithm=md5-sess").into_bytes()
    }

    /// Checks the client's answer. A nonce is used up by it, whether it is right or not.
    ///
    /// # Errors
    /// [`Failure`]; the client is not to be told which.
    pub fn verify<'a>(
        self,
        token: &[u8],
        password_of: impl FnOnce(&str) -> Option<&'a Secret>,
    ) -> Result<Proved, Failure> {
        let answer = Directives::parse(token)?;
        let user = answer.needed("username")?;
        let realm = self.service.server;
        if answer.text("charset").is_some_and(|charset| charset != "utf-8") {
            return Err(Failure::Mismatch("charset"));
        }
        if answer.needed("realm")? != realm {
            return Err(Failure::Mismatch("realm"));
        }
        if answer.needed("nonce")? != &*self.nonce {
            return Err(Failure::Mismatch("nonce"));
        }
        let cnonce = answer.needed("cnonce")?;
        if answer.text("nc").is_some_and(|count| count != NONCE_COUNT) {
            return Err(Failure::Mismatch("nc"));
        }
        if answer.text("qop").is_some_and(|qop| qop != "auth") {
            return Err(Failure::Mismatch("qop"));
        }
        let uri = answer.needed("digest-uri")?;
        if !uri.eq_ignore_ascii_case(&self.service.uri()) {
            return Err(Failure::Mismatch("digest-uri"));
        }
        let response = answer.needed("response")?;
        let authzid = answer.text("authzid");
        let password = password_of(user).ok_or_else(|| Failure::UnknownUser(shown(user)))?;
        let secret = Shared { user, realm, nonce: &self.nonce, cnonce, uri, authzid }.secret(password);
        // A difference in time tells of this nonce's response, which is worth nothing any more.
        if response != secret.response() {
            return Err(Failure::WrongPassword(shown(user)));
        }
        let token = format!("rspauth={}", secret.rspauth()).into_bytes();
        Ok(Proved { user: user.to_owned(), acts_as: authzid.unwrap_or(user).to_owned(), token })
    }
}

/// The nonce of a challenge.
///
/// # Errors
/// [`Failure`] where the challenge is none.
pub(super) fn nonce_of(challenge: &[u8]) -> Result<String, Failure> {
    Directives::parse(challenge)?.needed("nonce").map(str::to_owned)
}

/// A client's side of one exchange, once it has answered.
#[derive(Debug)]
pub struct Client {
    rspauth: String,
}

impl Client {
    /// Answers a challenge; the second part is what to send. `cnonce` is one that was never used.
    ///
    /// # Errors
    /// [`Failure`] where the challenge is none, or asks for what a client without a security layer does not do.
    pub fn respond(
        service: Service,
        user: &str,
        password: &Secret,
        cnonce: &str,
        challenge: &[u8],
    ) -> Result<(Self, Vec<u8>), Failure> {
        let asked = Directives::parse(challenge)?;
        if asked.needed("algorithm")? != "md5-sess" {
            return Err(Failure::Mismatch("algorithm"));
        }
        if asked.text("qop").is_some_and(|qops| qops.split(',').all(|qop| qop.trim() != "auth")) {
            return Err(Failure::Mismatch("qop"));
        }
        let realm = asked.text("realm").unwrap_or(service.server);
        let (nonce, uri) = (asked.needed("nonce")?, service.uri());
        let shared = Shared { user, realm, nonce, cnonce, uri: &uri, authzid: Some(user) };
        let secret = shared.secret(password);
        let token = format!(
            "charset=utf-8,username={},realm={},nonce={},nc={NONCE_COUNT},cnonce={},digest-uri={},response={},qop=auth,\
             authzid={}",
            quoted(user),
            quoted(realm),
            quoted(nonce),
            quoted(cnonce),
            quoted(&uri),
            secret.response(),
            quoted(user)
        );
        Ok((Self { rspauth: secret.rspauth() }, token.into_bytes()))
    }

    /// Checks that the server knows the password, too.
    ///
    /// # Errors
    /// [`Failure`] where it does not.
    pub fn check(&self, token: &[u8]) -> Result<(), Failure> {
        let answer = Directives::parse(token)?;
        if answer.needed("rspauth")? == self.rspauth { Ok(()) } else { Err(Failure::Impostor) }
    }
}

/// What both sides know of an exchange.
struct Shared<'a> {
    user: &'a str,
    realm: &'a str,
    nonce: &'a str,
    cnonce: &'a str,
    uri: &'a str,
    authzid: Option<&'a str>,
}

impl<'a> Shared<'a> {
    /// What only those know who have the password: `H(A1)` of RFC 2831, 2.1.2.1.
    fn secret(self, password: &Secret) -> SharedSecret<'a> {
        let known = Md5::new()
            .chain_update(latin1_or_utf8(self.user))
            .chain_update(":")
            .chain_update(latin1_or_utf8(self.realm))
            .chain_update(":")
            .chain_update(latin1_or_utf8(password.reveal()))
            .finalize();
        let mut a1 = Md5::new().chain_update(known);
        for part in [Some(self.nonce), Some(self.cnonce), self.authzid].into_iter().flatten() {
            a1.update(":");
            a1.update(part);
        }
        SharedSecret { a1: Zeroizing::new(hex(&a1.finalize())), shared: self }
    }
}

struct SharedSecret<'a> {
    a1: Zeroizing<String>,
    shared: Shared<'a>,
}

impl SharedSecret<'_> {
    /// What the client sends.
    fn response(&self) -> String {
        self.value("AUTHENTICATE:")
    }

    /// What the server sends.
    fn rspauth(&self) -> String {
        self.value(":")
    }

    fn value(&self, method: &str) -> String {
        let Shared { nonce, cnonce, uri, .. } = self.shared;
        let a2 = hex(&Md5::new().chain_update(method).chain_update(uri).finalize());
        let a1 = &*self.a1;
        hex(&Md5::digest(format!("{a1}:{nonce}:{NONCE_COUNT}:{cnonce}:auth:{a2}")))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The bytes that are hashed: ISO 8859-1 where it has all the characters, though UTF-8 was agreed upon. Source: RFC 2831,
/// 2.1.2.1, `unq(...)` with charset.
fn latin1_or_utf8(text: &str) -> Zeroizing<Vec<u8>> {
    let latin1: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    Zeroizing::new(latin1.unwrap_or_else(|| text.as_bytes().to_vec()))
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

/// Names that are looked for; others may stand in a token and mean nothing.
const NAMES: [&str; 12] = [
    "username",
    "realm",
    "nonce",
    "cnonce",
    "nc",
    "qop",
    "digest-uri",
    "response",
    "charset",
    "authzid",
    "algorithm",
    "rspauth",
];

/// The directives of a token, by their place in [`NAMES`].
#[derive(Default)]
struct Directives([Option<String>; NAMES.len()]);

impl Directives {
    /// Reads `name=value` pairs, separated by commas; a value is a token, or a text in quotes with backslashes.
    fn parse(token: &[u8]) -> Result<Self, Failure> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Failure::TooLong { bytes: token.len(), limit: TOKEN_BYTES_MAX });
        }
        let mut rest = str::from_utf8(token).map_err(|_| Failure::Malformed(DIRECTIVES))?;
        let mut found = Self::default();
        loop {
            rest = rest.trim_start_matches([' ', '\t', '\r', '\n', ',']);
            if rest.is_empty() {
                return Ok(found);
            }
            let (name, after) = rest.split_once('=').ok_or(Failure::Malformed(DIRECTIVES))?;
            let (value, after) = value(after.trim_start())?;
            rest = after.trim_start();
            if !rest.is_empty() && !rest.starts_with(',') {
                return Err(Failure::Malformed(DIRECTIVES));
            }
            let Some(at) = NAMES.iter().position(|known| known.eq_ignore_ascii_case(name.trim())) else {
                continue;
            };
            if found.0[at].replace(value).is_some() {
                return Err(Failure::Twice(NAMES[at]));
            }
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        let at = NAMES.iter().position(|known| *known == name);
        self.0[at.expect("one of the names")].as_deref()
    }

    fn needed(&self, name: &'static str) -> Result<&str, Failure> {
        self.text(name).ok_or(Failure::Missing(name))
    }
}

/// The value at the beginning of `text`, and what follows it.
fn value(text: &str) -> Result<(String, &str), Failure> {
    let Some(inner) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t', '\r', '\n']).unwrap_or(text.len());
        return Ok((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &inner[at + 1..])),
            '\\' => value.push(chars.next().ok_or(Failure::Malformed(DIRECTIVES))?.1),
            _ => value.push(c),
        }
    }
    Err(Failure::Malformed(DIRECTIVES))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2831, section 4: the exchange with an IMAP server.
    const IMAP: Service = Service { protocol: "imap", server: "elwood.innosoft.com" };
    const NONCE: &str = "OA6MG9tEQGm2hh";
    const CNONCE: &str = "OA6MHXh6VqTrRk";
    const RESPONSE: &str = "d388dad90d4bbd760a152321f2143af7";
    const RSPAUTH: &[u8] = b"rspauth=ea40f60335c427b5527b84dbabcdfffd";

    fn answer() -> String {
        format!(
            "charset=utf-8,username=\"chris\",realm=\"elwood.innosoft.com\",nonce=\"{NONCE}\",nc=00000001,\
             cnonce=\"{CNONCE}\",digest-uri=\"imap/elwood.innosoft.com\",response={RESPONSE},qop=auth"
        )
    }

    fn verify(answer: &str) -> Result<Proved, Failure> {
        let password = Secret::new("secret".to_owned());
        let server = Server::new(IMAP, NONCE.to_owned());
        server.verify(answer.as_bytes(), |user| (user == "chris").then_some(&password))
    }

    /// The example of the specification, byte for byte where it says which bytes.
    #[test]
    fn example_of_the_rfc() {
        let proved = verify(&answer()).unwrap();
        assert_eq!((proved.user.as_str(), proved.acts_as.as_str()), ("chris", "chris"));
        assert_eq!(proved.token, RSPAUTH);
    }

    /// A client gets in with the right password, and finds out a server that does not know it.
    #[test]
    fn both_sides() {
        for (user, password) in
            [("bob", "secret"), ("a\"b\\c", "p,=\"\\"), ("jörg", "pässwort"), ("名", "密")]
        {
            let password = Secret::new(password.to_owned());
            let server = Server::new(Service::QUORUM, NONCE.to_owned());
            let challenge = server.challenge();
            let (client, token) =
                Client::respond(Service::QUORUM, user, &password, CNONCE, &challenge).unwrap();
            let proved = server.verify(&token, |name| (name == user).then_some(&password)).unwrap();
            assert_eq!((proved.user.as_str(), proved.acts_as.as_str()), (user, user));
            client.check(&proved.token).unwrap();
            assert_eq!(client.check(RSPAUTH), Err(Failure::Impostor));
            assert_eq!(client.check(b"rspauth"), Err(Failure::Malformed(DIRECTIVES)));
        }
    }

    /// Hashes of names and passwords that ISO 8859-1 has are hashes of those bytes.
    #[test]
    fn latin1() {
        assert_eq!(*latin1_or_utf8("é"), [0xe9]);
        assert_eq!(*latin1_or_utf8("é€"), "é€".as_bytes());
    }

    /// Whatever differs from what was offered fails, and says what it was.
    #[test]
    fn refused() {
        let with = |from: &str, to: &str| {
            let changed = answer().replace(from, to);
            assert_ne!(changed, answer(), "{from}");
            verify(&changed).unwrap_err()
        };
        assert_eq!(with("chris", "bob"), Failure::UnknownUser("bob".into()));
        assert_eq!(with(RESPONSE, &RESPONSE.replace('d', "e")), Failure::WrongPassword("chris".into()));
        assert_eq!(with(NONCE, "OA6MG9tEQGm2hi"), Failure::Mismatch("nonce"));
        assert_eq!(with(CNONCE, "other"), Failure::WrongPassword("chris".into()));
        assert_eq!(with("00000001", "00000002"), Failure::Mismatch("nc"));
        assert_eq!(with("qop=auth", "qop=auth-int"), Failure::Mismatch("qop"));
        assert_eq!(with("imap/", "smtp/"), Failure::Mismatch("digest-uri"));
        assert_eq!(with("charset=utf-8", "charset=latin"), Failure::Mismatch("charset"));
        assert_eq!(with("realm=\"elwood", "realm=\"jake"), Failure::Mismatch("realm"));
        assert_eq!(with("username=\"chris\",", ""), Failure::Missing("username"));
        assert_eq!(with("qop=auth", "qop=auth,qop=auth"), Failure::Twice("qop"));
        assert_eq!(with("\"chris\"", "\"chris"), Failure::Malformed(DIRECTIVES));
        assert_eq!(with("qop=auth", "qop"), Failure::Malformed(DIRECTIVES));
        assert_eq!(verify(""), Err(Failure::Missing("username")));
        assert_eq!(verify(&",".repeat(5000)), Err(Failure::TooLong { bytes: 5000, limit: TOKEN_BYTES_MAX }));
        let server = Server::new(IMAP, NONCE.to_owned());
        assert_eq!(server.verify(b"username=\xff", |_| None), Err(Failure::Malformed(DIRECTIVES)));
    }

    /// Names without meaning, blanks and other letters' case do not matter; whom a user wants to act as is in the hash.
    #[test]
    fn taken() {
        let blanks =
            answer().replace(',', " , ").replace("username=", "UserName = ") + ", maxbuf=65536,x=\"y\"";
        assert!(verify(&blanks).is_ok(), "{blanks}");
        let acting = answer() + ",authzid=\"root\"";
        assert_eq!(verify(&acting), Err(Failure::WrongPassword("chris".into())));
    }

    /// A client answers only what it can.
    #[test]
    fn challenges() {
        let password = Secret::new("secret".to_owned());
        let respond = |challenge: &str| {
            Client::respond(IMAP, "chris", &password, CNONCE, challenge.as_bytes()).map(|_| ())
        };
        assert_eq!(respond("nonce=\"a\",algorithm=md5-sess,qop=\"auth-int, auth\""), Ok(()));
        assert_eq!(respond("nonce=\"a\",algorithm=md5-sess,qop=\"auth-int\""), Err(Failure::Mismatch("qop")));
        assert_eq!(respond("nonce=\"a\",algorithm=md5"), Err(Failure::Mismatch("algorithm")));
        assert_eq!(respond("algorithm=md5-sess"), Err(Failure::Missing("nonce")));
    }
}
