//! Exchanges by whichever mechanism the configuration has: a server's side ([`Exchange`]) and a client's ([`Login`]).

use super::digest_md5::{self, Service};
use super::failure::Failure;
use super::gssapi::{self, Acceptor, Context};
use super::mechanism::Mechanism;
use crate::auth::secret::Secret;

/// What a server needs for an exchange.
pub struct Means<'a> {
    /// For whom it is.
    pub service: Service,
    /// How the other side proves who it is.
    pub mechanism: &'a Mechanism,
    /// Makes a nonce that no other exchange has.
    pub nonce: &'a dyn Fn() -> String,
    /// The library of Kerberos with this server's key, where that is the mechanism.
    pub kerberos: Option<&'a dyn Acceptor>,
}

/// Where an exchange is, on the side that asks.
#[derive(Debug, Default)]
pub enum Exchange {
    /// No token has come.
    #[default]
    New,
    /// A password was asked for, and its answer is due.
    DigestMd5(Box<digest_md5::Server>),
    /// A ticket has come.
    Gssapi(Box<gssapi::Server>),
    /// It has succeeded or failed; no token may follow.
    Over,
}

/// What a token leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The exchange goes on: the other side gets this.
    Asks(Vec<u8>),
    /// It has succeeded.
    Proves(Proved),
}

/// Whom the other side has proved to be.
#[derive(Debug, PartialEq, Eq)]
pub struct Proved {
    /// The name, of Kerberos with its realm.
    pub user: String,
    /// Whom it wants to act as; the same as `user` where it says nothing.
    pub acts_as: String,
    /// What the other side gets last; `None` where the mechanism has nothing to say.
    pub token: Option<Vec<u8>>,
}

impl Exchange {
    /// True until the first token has come.
    pub fn is_new(&self) -> bool {
        matches!(self, Self::New)
    }

    /// Takes the other side's next token.
    ///
    /// # Errors
    /// [`Failure`]: the exchange is over.
    pub fn take(&mut self, means: &Means<'_>, token: &[u8]) -> Result<Step, Failure> {
        let exchange = std::mem::replace(self, Self::Over);
        let limit = means.mechanism.token_bytes_max();
        if token.len() > limit {
            return Err(Failure::TooLong { bytes: token.len(), limit });
        }
        match (exchange, means.mechanism) {
            // An initial response would belong to an earlier exchange; a new one begins instead, as in OpenJDK.
            (Self::New, Mechanism::DigestMd5(_)) => {
                let server = digest_md5::Server::new(means.service, (means.nonce)());
                let challenge = server.challenge();
                *self = Self::DigestMd5(Box::new(server));
                Ok(Step::Asks(challenge))
            }
            (Self::New, Mechanism::Gssapi(_)) => {
                let kerberos =
                    means.kerberos.ok_or_else(|| Failure::Kerberos("the library is not there".into()))?;
                self.take_ticket(Box::new(gssapi::Server::new(kerberos.accept())), token)
            }
            (Self::DigestMd5(server), Mechanism::DigestMd5(users)) => {
                let digest_md5::Proved { user, acts_as, token } =
                    server.verify(token, |user| users.get(user))?;
                Ok(Step::Proves(Proved { user, acts_as, token: Some(token) }))
            }
            (Self::Gssapi(server), _) => self.take_ticket(server, token),
            (Self::DigestMd5(_) | Self::Over, _) => Err(Failure::Over),
        }
    }

    fn take_ticket(&mut self, mut server: Box<gssapi::Server>, token: &[u8]) -> Result<Step, Failure> {
        match server.take(token)? {
            gssapi::Taken::Asks(token) => {
                *self = Self::Gssapi(server);
                Ok(Step::Asks(token))
            }
            gssapi::Taken::Proves { user, acts_as } => {
                Ok(Step::Proves(Proved { user, acts_as, token: None }))
            }
        }
    }
}

/// Where an exchange is, on the side that proves who it is.
#[derive(Debug)]
pub enum Login {
    /// The challenge is due.
    DigestMd5 {
        /// For whom the exchange is.
        service: Service,
        /// Whom this side proves to be.
        user: String,
        /// Its password.
        password: Secret,
    },
    /// A challenge was answered; the server is to prove that it knows the password, too.
    Answered(digest_md5::Client),
    /// By a ticket.
    Gssapi(gssapi::Client),
    /// It has succeeded or failed.
    Over,
}

/// What a server's token leads to, on the side that proves who it is.
#[derive(Debug, PartialEq, Eq)]
pub enum Response {
    /// The server gets this.
    Answers(Vec<u8>),
    /// The server has proved what it has to prove: the exchange is over.
    Done,
}

impl Login {
    /// An exchange by password, and what to send first.
    pub fn by_password(service: Service, user: String, password: Secret) -> (Self, Vec<u8>) {
        (Self::DigestMd5 { service, user, password }, Vec::new())
    }

    /// An exchange by a ticket of the principal `own`, and what to send first. This may wait for the KDC.
    ///
    /// # Errors
    /// [`Failure`] where there is no ticket to be had.
    pub fn by_ticket(context: Box<dyn Context>, own: String) -> Result<(Self, Vec<u8>), Failure> {
        let (client, first) = gssapi::Client::begin(context, own)?;
        Ok((Self::Gssapi(client), first))
    }

    /// True once this side has said all that it has to say, and the server's last word has no token.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Gssapi(client) if client.is_done())
    }

    /// Takes the server's next token, or none where its last word has none. `cnonce` makes one that was never used.
    ///
    /// # Errors
    /// [`Failure`]: the exchange is over.
    pub fn take(&mut self, token: Option<&[u8]>, cnonce: impl Fn() -> String) -> Result<Response, Failure> {
        match (std::mem::replace(self, Self::Over), token) {
            (Self::DigestMd5 { service, user, password }, Some(token)) => {
                let (client, answer) =
                    digest_md5::Client::respond(service, &user, &password, &cnonce(), token)?;
                *self = Self::Answered(client);
                Ok(Response::Answers(answer))
            }
            (Self::Answered(client), Some(token)) => client.check(token).map(|()| Response::Done),
            // The last word has no token.
            (Self::Gssapi(client), _) if client.is_done() => Ok(Response::Done),
            (Self::Gssapi(mut client), Some(token)) => {
                let answer = client.take(token)?;
                *self = Self::Gssapi(client);
                Ok(Response::Answers(answer))
            }
            _ => Err(Failure::Over),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::gssapi::tests::Fake;
    use super::super::mechanism::KerberosLogin;
    use super::*;
    use std::collections::BTreeMap;

    fn passwords() -> Mechanism {
        let users = ["bob", "ann"].map(|user| (user.to_owned(), Secret::new("secret".to_owned())));
        Mechanism::DigestMd5(BTreeMap::from(users))
    }

    fn take(
        exchange: &mut Exchange,
        mechanism: &Mechanism,
        token: &[u8],
        nonce: &str,
    ) -> Result<Step, Failure> {
        let nonce = || nonce.to_owned();
        exchange.take(
            &Means { service: Service::CLIENTS, mechanism, nonce: &nonce, kerberos: Some(&Keys) },
            token,
        )
    }

    /// An exchange with this nonce, in which `user` answers with `password`.
    fn exchange(nonce: &str, user: &str, password: &str) -> (Exchange, Vec<u8>, Result<Step, Failure>) {
        let mut exchange = Exchange::default();
        let Ok(Step::Asks(challenge)) = take(&mut exchange, &passwords(), b"", nonce) else {
            panic!("no challenge");
        };
        let (user, password) = (user.to_owned(), Secret::new(password.to_owned()));
        let (mut login, _) = Login::by_password(Service::CLIENTS, user, password);
        let answer = match login.take(Some(&challenge), || "cnonce".to_owned()) {
            Ok(Response::Answers(answer)) => answer,
            other => panic!("{other:?}"),
        };
        let step = take(&mut exchange, &passwords(), &answer, "");
        if let Ok(Step::Proves(Proved { token, .. })) = &step {
            assert_eq!(login.take(token.as_deref(), String::new), Ok(Response::Done));
        }
        (exchange, answer, step)
    }

    /// Who knows the password proves to have the name, and the server proves to know it, too.
    #[test]
    fn passwords_prove() {
        let (_, _, step) = exchange("1", "bob", "secret");
        let Ok(Step::Proves(Proved { user, acts_as, token: Some(token) })) = step else { panic!("{step:?}") };
        assert!(token.starts_with(b"rspauth=") && user == "bob" && acts_as == "bob");
        assert_eq!(exchange("2", "bob", "other").2, Err(Failure::WrongPassword("bob".into())));
        assert_eq!(exchange("3", "eve", "secret").2, Err(Failure::UnknownUser("eve".into())));
    }

    /// An answer that was right once is worth nothing a second time, in its exchange or in another one.
    #[test]
    fn replayed() {
        let passwords = passwords();
        let (mut same, answer, step) = exchange("1", "bob", "secret");
        assert!(step.is_ok());
        assert_eq!(take(&mut same, &passwords, &answer, ""), Err(Failure::Over));
        let mut other = Exchange::default();
        assert!(matches!(take(&mut other, &passwords, b"", "2"), Ok(Step::Asks(_))));
        assert_eq!(take(&mut other, &passwords, &answer, ""), Err(Failure::Mismatch("nonce")));
        assert_eq!(take(&mut other, &passwords, &answer, ""), Err(Failure::Over));
        let mut long = Exchange::default();
        let too_long = Failure::TooLong { bytes: 4097, limit: 4096 };
        assert_eq!(take(&mut long, &passwords, &[0; 4097], ""), Err(too_long));
    }

    #[derive(Debug)]
    struct Keys;

    impl Acceptor for Keys {
        fn accept(&self) -> Box<dyn Context> {
            Box::new(Fake { steps: vec![("ap-rep", true)] })
        }
    }

    /// Tickets take the same ways: the server's last word has no token.
    #[test]
    fn tickets_prove() {
        let tickets = Mechanism::Gssapi(KerberosLogin::default());
        let context = Box::new(Fake { steps: vec![("ap-req", false), ("", true)] });
        let (mut login, mut token) = Login::by_ticket(context, "ann@R".to_owned()).unwrap();
        let mut exchange = Exchange::default();
        let proved = loop {
            match take(&mut exchange, &tickets, &token, "").unwrap() {
                Step::Asks(asked) => match login.take(Some(&asked), String::new).unwrap() {
                    Response::Answers(answer) => token = answer,
                    Response::Done => panic!("the server has not said that it is over"),
                },
                Step::Proves(proved) => break proved,
            }
        };
        assert_eq!((proved.user.as_str(), proved.token.as_deref()), ("ann@R", None));
        assert_eq!(login.take(None, String::new), Ok(Response::Done));
        let mut long = Exchange::default();
        assert!(matches!(take(&mut long, &tickets, &[0; 65537], ""), Err(Failure::TooLong { .. })));
    }

    /// A server that has no token before it has proved anything ends the exchange.
    #[test]
    fn early_end() {
        let (user, password) = ("bob".to_owned(), Secret::new("secret".to_owned()));
        let (mut login, first) = Login::by_password(Service::CLIENTS, user, password);
        assert!(first.is_empty());
        assert_eq!(login.take(None, String::new), Err(Failure::Over));
        let context = Box::new(Fake { steps: vec![("ap-req", false)] });
        let (mut login, _) = Login::by_ticket(context, "ann@R".to_owned()).unwrap();
        assert_eq!(login.take(None, String::new), Err(Failure::Over));
    }
}
