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

use super::digest_md5::{Client, Failure, Service};
use crate::auth::secret::Secret;
use crate::proto::ErrorCode;
use std::fmt;

/// Tokens of one exchange that a client sends: DIGEST-MD5 takes two, Kerberos three.
const TOKENS_MAX: u32 = 8;

/// Why a server does not accept who a client wants to be. No other server of the ensemble is tried, as in Java's state `AUTH_FAILED`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The server answers the first token with null.
    #[error("SASL: the server has no users: its JAAS file lacks the section for clients")]
    NotServed,
    /// The server answers with one of the codes for that, or with null in place of a proof: then its client may stay.
    #[error("SASL: the server does not accept user {user:?}: it does not know the user, or another password")]
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
    /// What the mechanism says.
    #[error("SASL: {0}")]
    Mechanism(Box<str>),
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

/// A client's side of one exchange by one mechanism.
pub trait ClientMechanism: fmt::Debug + Send {
    /// Who the client wants to be, for messages.
    fn user(&self) -> &str;

    /// The first token; an empty one where the server speaks first.
    ///
    /// # Errors
    /// [`LoginError::Mechanism`] where there is none, as without a ticket.
    fn first(&mut self) -> Result<Vec<u8>, LoginError>;

    /// Takes the server's next token; `None` is null.
    ///
    /// # Errors
    /// [`LoginError`]: the exchange is over.
    fn respond(&mut self, token: Option<&[u8]>) -> Result<ClientStep, LoginError>;
}

/// One exchange with one server. Nothing but its tokens may be sent until it is over.
#[derive(Debug)]
pub struct ClientExchange {
    mechanism: Box<dyn ClientMechanism>,
    sent: u32,
}

impl ClientExchange {
    /// An exchange by this mechanism.
    pub fn new(mechanism: Box<dyn ClientMechanism>) -> Self {
        Self { mechanism, sent: 0 }
    }

    /// The first token.
    ///
    /// # Errors
    /// [`LoginError::Mechanism`].
    pub fn first(&mut self) -> Result<Vec<u8>, LoginError> {
        self.sent = 1;
        self.mechanism.first()
    }

    /// Takes the answer to the token that was sent last: the code of its header, and its token.
    ///
    /// # Errors
    /// [`LoginError`]: the connection is of no use, and the server closes it where it sent a code.
    pub fn answer(&mut self, err: i32, token: Option<&[u8]>) -> Result<ClientStep, LoginError> {
        match ErrorCode::from_wire(err) {
            Some(ErrorCode::Ok) => {}
            Some(code @ (ErrorCode::AuthFailed | ErrorCode::SessionClosedRequireSaslAuth)) => {
                return Err(LoginError::NotAccepted { user: self.mechanism.user().into(), code });
            }
            _ => return Err(LoginError::Code(err)),
        }
        let step = self.mechanism.respond(token)?;
        if matches!(step, ClientStep::Sends(_)) {
            if self.sent == TOKENS_MAX {
                return Err(LoginError::Endless);
            }
            self.sent += 1;
        }
        Ok(step)
    }
}

/// DIGEST-MD5: the server asks first.
#[derive(Debug)]
pub struct DigestMechanism {
    user: String,
    password: Secret,
    cnonce: String,
    answered: Option<Client>,
}

impl DigestMechanism {
    /// An exchange with a `cnonce` that no other exchange has had.
    pub fn new(user: String, password: Secret, cnonce: String) -> Self {
        Self { user, password, cnonce, answered: None }
    }
}

impl ClientMechanism for DigestMechanism {
    fn user(&self) -> &str {
        &self.user
    }

    fn first(&mut self) -> Result<Vec<u8>, LoginError> {
        Ok(Vec::new())
    }

    fn respond(&mut self, token: Option<&[u8]>) -> Result<ClientStep, LoginError> {
        match (self.answered.take(), token) {
            (None, None) => Err(LoginError::NotServed),
            (None, Some(challenge)) => {
                let Self { user, password, cnonce, .. } = self;
                let (client, answer) = Client::respond(Service::CLIENTS, user, password, cnonce, challenge)?;
                self.answered = Some(client);
                Ok(ClientStep::Sends(answer))
            }
            // With allowSaslFailedClients a server has no code for a wrong answer.
            (Some(_), None) => {
                Err(LoginError::NotAccepted { user: (*self.user).into(), code: ErrorCode::AuthFailed })
            }
            (Some(client), Some(proof)) => {
                client.check(proof)?;
                Ok(ClientStep::Done)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::digest_md5::Server;
    use super::*;

    const OK: i32 = 0;

    fn digest(user: &str, password: &str) -> ClientExchange {
        let password = Secret::new(password.to_owned());
        ClientExchange::new(Box::new(DigestMechanism::new(user.to_owned(), password, "cnonce".to_owned())))
    }

    /// A client with the right password is let in by what serves clients here, after two tokens.
    #[test]
    fn digest_md5() {
        let password = Secret::new("secret".to_owned());
        let (mut client, server) = (digest("bob", "secret"), Server::new(Service::CLIENTS, "n".to_owned()));
        assert_eq!(client.first(), Ok(Vec::new()));
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
            client.first().expect("a token");
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

    /// A mechanism that speaks first is let speak, and one that never ends is ended.
    #[test]
    fn other_mechanisms() {
        #[derive(Debug)]
        struct Talks;
        impl ClientMechanism for Talks {
            fn user(&self) -> &str {
                "zk/host@REALM"
            }

            fn first(&mut self) -> Result<Vec<u8>, LoginError> {
                Ok(b"hello".to_vec())
            }

            fn respond(&mut self, token: Option<&[u8]>) -> Result<ClientStep, LoginError> {
                Ok(ClientStep::Sends(token.unwrap_or_default().to_vec()))
            }
        }
        let mut client = ClientExchange::new(Box::new(Talks));
        assert_eq!(client.first(), Ok(b"hello".to_vec()));
        for _ in 1..TOKENS_MAX {
            assert_eq!(client.answer(OK, Some(b"x")), Ok(ClientStep::Sends(b"x".to_vec())));
        }
        assert_eq!(client.answer(OK, None), Err(LoginError::Endless));
    }
}
