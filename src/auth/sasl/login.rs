//! A client's side of SASL, whatever the mechanism: what it sends, and what the server's answers mean.
//!
//! ```text
//! client                                     server
//!   |  --- first token ----------------------> |   ClientExchange::first; empty where the server speaks first
//!   |  <-- code, token ----------------------- |
//!   |  --- next token ... -------------------> |   ClientExchange::answer
//! ```
//!
//! Source: `ZooKeeperSaslClient`, `SecurityUtils.createSaslClient`, Apache ZooKeeper 3.9.

use super::digest_md5::Service;
use super::exchange::{Login, Response};
use super::failure::Failure;
use super::gssapi::Context;
use crate::auth::secret::Secret;
use crate::proto::ErrorCode;

/// Tokens of one exchange that a client sends: DIGEST-MD5 takes two, Kerberos three.
const TOKENS_MAX: u32 = 8;

/// Why a server does not accept who a client wants to be. No other server of the ensemble is tried, as in Java's state `AUTH_FAILED`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The server answers the first token with null.
    #[error("SASL: the server has no users: its JAAS file lacks the section for clients")]
    NotServed,
    /// The server answers with one of the codes for that, or with null in place of a proof: then its client may stay.
    #[error(
        "SASL: the server does not accept user {user:?}: it does not know the user, or another password or key"
    )]
    NotAccepted {
        /// Who the client wants to be.
        user: Box<str>,
        /// What the server answered; [`ErrorCode::AuthFailed`] for null.
        code: ErrorCode,
    },
    /// The server answers a token with a code that says nothing of SASL.
    #[error("SASL: the server answers a token with error {0}")]
    Code(i32),
    /// A token of the server is wrong.
    #[error("SASL: {0}")]
    Token(#[from] Failure),
    /// The server asks on and on.
    #[error("SASL: the server still asks after {TOKENS_MAX} tokens")]
    Endless,
}

impl LoginError {
    /// Its code, as a program is to see it.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotAccepted { code, .. } => *code,
            _ => ErrorCode::AuthFailed,
        }
    }
}

/// What follows a server's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientStep {
    /// The next token of the client, which may be empty.
    Sends(Vec<u8>),
    /// The exchange is over: the server knows who the client is.
    Done,
}

/// One exchange with one server. Nothing but its tokens may be sent until it is over.
#[derive(Debug)]
pub struct ClientExchange {
    /// Who the client wants to be, for messages.
    user: Box<str>,
    login: Login,
    first: Vec<u8>,
    cnonce: String,
    sent: u32,
}

impl ClientExchange {
    /// An exchange by password, with a `cnonce` that no other exchange has had.
    pub fn by_password(user: String, password: Secret, cnonce: String) -> Self {
        let shown = user.as_str().into();
        let (login, first) = Login::by_password(Service::CLIENTS, user, password);
        Self { user: shown, login, first, cnonce, sent: 0 }
    }

    /// An exchange by a ticket of the principal `own`. This may wait for the KDC.
    ///
    /// # Errors
    /// [`LoginError::Token`] where there is no ticket to be had.
    pub fn by_ticket(context: Box<dyn Context>, own: String) -> Result<Self, LoginError> {
        let user = own.as_str().into();
        let (login, first) = Login::by_ticket(context, own)?;
        Ok(Self { user, login, first, cnonce: String::new(), sent: 0 })
    }

    /// The first token; an empty one where the server speaks first.
    pub fn first(&mut self) -> Vec<u8> {
        self.sent = 1;
        std::mem::take(&mut self.first)
    }

    /// Takes the answer to the token that was sent last: the code of its header, and its token.
    ///
    /// # Errors
    /// [`LoginError`]: the connection is of no use, and the server closes it where it sent a code.
    pub fn answer(&mut self, err: i32, token: Option<&[u8]>) -> Result<ClientStep, LoginError> {
        let not_accepted = |code| LoginError::NotAccepted { user: self.user.clone(), code };
        match ErrorCode::from_wire(err) {
            Some(ErrorCode::Ok) => {}
            Some(code @ (ErrorCode::AuthFailed | ErrorCode::SessionClosedRequireSaslAuth)) => {
                return Err(not_accepted(code));
            }
            _ => return Err(LoginError::Code(err)),
        }
        if token.is_none() && !self.login.is_done() {
            // With allowSaslFailedClients a server has no code for a wrong answer.
            return Err(if self.sent == 1 {
                LoginError::NotServed
            } else {
                not_accepted(ErrorCode::AuthFailed)
            });
        }
        match self.login.take(token, || self.cnonce.clone())? {
            Response::Done => Ok(ClientStep::Done),
            Response::Answers(_) if self.sent == TOKENS_MAX => Err(LoginError::Endless),
            Response::Answers(token) => {
                self.sent += 1;
                Ok(ClientStep::Sends(token))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::digest_md5::Server;
    use super::super::gssapi::tests::Fake;
    use super::*;

    const OK: i32 = 0;

    fn digest(user: &str, password: &str) -> ClientExchange {
        let password = Secret::new(password.to_owned());
        ClientExchange::by_password(user.to_owned(), password, "cnonce".to_owned())
    }

    /// A client with the right password is let in by what serves clients here, after two tokens.
    #[test]
    fn digest_md5() {
        let password = Secret::new("secret".to_owned());
        let (mut client, server) = (digest("bob", "secret"), Server::new(Service::CLIENTS, "n".to_owned()));
        assert_eq!(client.first(), b"");
        let asked = client.answer(OK, Some(&server.challenge()));
        let Ok(ClientStep::Sends(answer)) = asked else { panic!("{asked:?}") };
        let proved = server.verify(&answer, |user| (user == "bob").then_some(&password)).expect("a proof");
        assert_eq!(client.answer(OK, Some(&proved.token)), Ok(ClientStep::Done));
    }

    /// What a server may answer in place of a challenge or a proof, and what the client makes of it.
    #[test]
    fn refusals() {
        let not_accepted = |code| Err(LoginError::NotAccepted { user: "bob".into(), code });
        let begun = || {
            let mut client = digest("bob", "secret");
            client.first();
            client
        };
        assert_eq!(begun().answer(OK, None), Err(LoginError::NotServed));
        assert_eq!(begun().answer(-115, None), not_accepted(ErrorCode::AuthFailed));
        assert_eq!(begun().answer(-6, None), Err(LoginError::Code(-6)));
        let nonsense = begun().answer(OK, Some(b"nonsense")).expect_err("no challenge");
        assert!(matches!(nonsense, LoginError::Token(_)) && nonsense.code() == ErrorCode::AuthFailed);
        let asked = || {
            let mut client = begun();
            let challenge = b"realm=\"zk-sasl-md5\",nonce=\"n\",charset=utf-8,algorithm=md5-sess";
            assert!(matches!(client.answer(OK, Some(challenge)), Ok(ClientStep::Sends(_))));
            client
        };
        let required = ErrorCode::SessionClosedRequireSaslAuth;
        assert_eq!(asked().answer(required.to_wire(), None), not_accepted(required));
        assert_eq!(not_accepted(required).map_err(|error| error.code()), Err::<ClientStep, _>(required));
        assert_eq!(asked().answer(OK, None), not_accepted(ErrorCode::AuthFailed));
        assert_eq!(asked().answer(OK, Some(b"rspauth=0")), Err(Failure::Impostor.into()));
        assert!(!format!("{:?}", asked()).contains("secret"), "the password is not shown");
    }

    /// A ticket speaks first; null is a server's last word to it, and a server that never ends is ended.
    #[test]
    fn tickets() {
        let begun = |steps| {
            let context = Box::new(Fake { steps });
            ClientExchange::by_ticket(context, "zk/host@REALM".to_owned()).expect("a ticket")
        };
        let mut client = begun(vec![("hello", false), ("", true)]);
        assert_eq!(client.first(), b"hello");
        assert_eq!(client.answer(OK, Some(b"proof")), Ok(ClientStep::Sends(Vec::new())));
        let chosen = client.answer(OK, Some(b"sealed:\x01\0\0\0"));
        assert!(matches!(chosen, Ok(ClientStep::Sends(token)) if token.ends_with(b"zk/host@REALM")));
        assert_eq!(client.answer(OK, None), Ok(ClientStep::Done));
        let mut unknown = begun(vec![("hello", false)]);
        unknown.first();
        assert_eq!(unknown.answer(OK, None), Err(LoginError::NotServed));
        let mut endless = begun(vec![("more", false); 9]);
        endless.first();
        for _ in 1..TOKENS_MAX {
            assert_eq!(endless.answer(OK, Some(b"x")), Ok(ClientStep::Sends(b"more".to_vec())));
        }
        assert_eq!(endless.answer(OK, Some(b"x")), Err(LoginError::Endless));
    }
}
