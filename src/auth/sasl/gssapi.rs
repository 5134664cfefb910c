//! SASL mechanism GSSAPI, which is Kerberos, without a security layer.
//!
//! ```text
//! client                                     server
//!   |  --- ticket (AP-REQ) ------------------> |
//!   |  <-- proof of the server (AP-REP) ------ |   where the client asks for it
//!   |  --- empty ----------------------------> |   only then
//!   |  <-- layers offered, sealed ------------ |
//!   |  --- layer chosen, acts as, sealed ----> |
//! ```
//!
//! What a ticket is worth only the library of Kerberos knows, behind [`Context`]. Source: RFC 4752; `GssKrb5Server` and
//! `GssKrb5Client` of OpenJDK for what is optional there.

use super::failure::Failure;
use std::fmt::Debug;

/// Longest token that either side takes, bytes. A ticket of a domain with many groups has up to 48,000 (`MaxTokenSize` of
/// Active Directory).
pub const TOKEN_BYTES_MAX: usize = 64 << 10;

/// The bit of "no security layer", and the only one that is offered or chosen.
const NO_LAYER: u8 = 1;

/// Layers, then the bytes that a sealed message may have, which are 0 where there is no layer.
const OFFER: [u8; 4] = [NO_LAYER, 0, 0, 0];

/// One side's context of Kerberos with the other side. What it says where it fails is for people.
pub trait Context: Debug + Send {
    /// Takes the other side's token, which is empty where this side begins.
    ///
    /// # Errors
    /// What the library says.
    fn step(&mut self, token: &[u8]) -> Result<Stepped, String>;

    /// The principal of the other side, with its realm; only of an established context.
    ///
    /// # Errors
    /// What the library says.
    fn peer(&self) -> Result<String, String>;

    /// Seals a message against changes.
    ///
    /// # Errors
    /// What the library says.
    fn wrap(&mut self, message: &[u8]) -> Result<Vec<u8>, String>;

    /// The message of a sealed one.
    ///
    /// # Errors
    /// What the library says, of one that another has sealed or changed.
    fn unwrap(&mut self, sealed: &[u8]) -> Result<Vec<u8>, String>;
}

/// Who has keys that tickets of clients are for.
pub trait Acceptor: Debug + Send + Sync {
    /// A context of a client that is about to show its ticket.
    fn accept(&self) -> Box<dyn Context>;
}

/// What a step of a context leads to.
#[derive(Debug, PartialEq, Eq)]
pub struct Stepped {
    /// What the other side gets; it may be empty.
    pub token: Vec<u8>,
    /// Both sides have a key now.
    pub is_established: bool,
}

/// What a token leads to, on the side that accepts.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// The client is to get this, and to answer.
    Asks(Vec<u8>),
    /// It has proved to be a principal; it gets no more.
    Proves {
        /// The principal, with its realm.
        user: String,
        /// Whom it wants to act as; the same as `user` where it says nothing.
        acts_as: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The context is being established.
    Establishing,
    /// It is established, and the other side is to say so by an empty token.
    Established,
    /// Layers were offered.
    Offered,
    /// All is said.
    Over,
}

/// A server's side of one exchange.
#[derive(Debug)]
pub struct Server {
    context: Box<dyn Context>,
    state: State,
}

impl Server {
    /// An exchange within a new context.
    pub fn new(context: Box<dyn Context>) -> Self {
        Self { context, state: State::Establishing }
    }

    /// Takes the client's next token.
    ///
    /// # Errors
    /// [`Failure`]: the exchange is over.
    pub fn take(&mut self, token: &[u8]) -> Result<Taken, Failure> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Establishing => {
                // The first token of a client that would prove a password.
                if token.is_empty() {
                    return Err(Failure::Malformed("ticket: this server takes GSSAPI and not DIGEST-MD5"));
                }
                let Stepped { token, is_established } = self.context.step(token).map_err(kerberos)?;
                match is_established {
                    true if token.is_empty() => self.offer(),
                    true => {
                        self.state = State::Established;
                        Ok(Taken::Asks(token))
                    }
                    false => {
                        self.state = State::Establishing;
                        Ok(Taken::Asks(token))
                    }
                }
            }
            State::Established if token.is_empty() => self.offer(),
            State::Established => Err(Failure::Malformed("empty one")),
            State::Offered => {
                let chosen = self.context.unwrap(token).map_err(kerberos)?;
                let (layer, acts_as) =
                    chosen.split_at_checked(OFFER.len()).ok_or(Failure::Malformed("choice"))?;
                if layer[0] != NO_LAYER {
                    return Err(Failure::Mismatch("security layer"));
                }
                let acts_as = str::from_utf8(acts_as).map_err(|_| Failure::Malformed("choice"))?;
                let user = self.context.peer().map_err(kerberos)?;
                let acts_as = if acts_as.is_empty() { user.clone() } else { acts_as.to_owned() };
                Ok(Taken::Proves { user, acts_as })
            }
            State::Over => Err(Failure::Over),
        }
    }

    fn offer(&mut self) -> Result<Taken, Failure> {
        self.state = State::Offered;
        self.context.wrap(&OFFER).map(Taken::Asks).map_err(kerberos)
    }
}

/// A client's side of one exchange.
#[derive(Debug)]
pub struct Client {
    context: Box<dyn Context>,
    state: State,
    acts_as: String,
}

impl Client {
    /// An exchange within a new context, and what to send first. The client acts as the principal `own` that it is.
    ///
    /// # Errors
    /// [`Failure`] where there is no ticket to be had.
    pub fn begin(context: Box<dyn Context>, own: String) -> Result<(Self, Vec<u8>), Failure> {
        let mut client = Self { context, state: State::Establishing, acts_as: own };
        let first = client.take(b"")?;
        Ok((client, first))
    }

    /// Answers the server's next token.
    ///
    /// # Errors
    /// [`Failure`]: the exchange is over.
    pub fn take(&mut self, token: &[u8]) -> Result<Vec<u8>, Failure> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Establishing => {
                let Stepped { token, is_established } = self.context.step(token).map_err(kerberos)?;
                self.state = if is_established { State::Established } else { State::Establishing };
                Ok(token)
            }
            State::Established => {
                let offered = self.context.unwrap(token).map_err(kerberos)?;
                if offered.len() != OFFER.len() || offered[0] & NO_LAYER == 0 {
                    return Err(Failure::Mismatch("security layer"));
                }
                self.state = State::Offered;
                self.context.wrap(&[&OFFER[..], self.acts_as.as_bytes()].concat()).map_err(kerberos)
            }
            State::Offered | State::Over => Err(Failure::Over),
        }
    }

    /// True once the client has said all that it has to say: the server's word is due, and no token.
    pub fn is_done(&self) -> bool {
        self.state == State::Offered
    }
}

/// What the library says.
fn kerberos(why: String) -> Failure {
    Failure::Kerberos(why.into())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A context that knows no secret: tokens are texts, and a seal is a prefix.
    #[derive(Debug)]
    pub struct Fake {
        /// What this side says in its steps, and whether it is established then.
        pub steps: Vec<(&'static str, bool)>,
    }

    impl Context for Fake {
        fn step(&mut self, token: &[u8]) -> Result<Stepped, String> {
            if token == b"bad" {
                return Err("No key".to_owned());
            }
            let (token, is_established) = self.steps.remove(0);
            Ok(Stepped { token: token.into(), is_established })
        }

        fn peer(&self) -> Result<String, String> {
            Ok("ann@R".to_owned())
        }

        fn wrap(&mut self, message: &[u8]) -> Result<Vec<u8>, String> {
            Ok([b"sealed:", message].concat())
        }

        fn unwrap(&mut self, sealed: &[u8]) -> Result<Vec<u8>, String> {
            sealed.strip_prefix(b"sealed:").map(<[u8]>::to_vec).ok_or_else(|| "Bad seal".to_owned())
        }
    }

    fn server(steps: &[(&'static str, bool)]) -> Server {
        Server::new(Box::new(Fake { steps: steps.to_vec() }))
    }

    fn client(steps: &[(&'static str, bool)]) -> (Client, Vec<u8>) {
        Client::begin(Box::new(Fake { steps: steps.to_vec() }), "ann@R".to_owned()).unwrap()
    }

    /// Both sides, where the server proves itself, too: the client's tokens are three.
    #[test]
    fn exchange() {
        let mut server = server(&[("ap-rep", true)]);
        let (mut client, first) = client(&[("ap-req", false), ("", true)]);
        assert_eq!(first, b"ap-req");
        let Ok(Taken::Asks(proof)) = server.take(&first) else { panic!("no proof") };
        let empty = client.take(&proof).unwrap();
        assert_eq!((proof.as_slice(), empty.as_slice()), (&b"ap-rep"[..], &b""[..]));
        let Ok(Taken::Asks(offer)) = server.take(&empty) else { panic!("no offer") };
        assert!(!client.is_done());
        let choice = client.take(&offer).unwrap();
        assert!(client.is_done());
        let proved = Taken::Proves { user: "ann@R".to_owned(), acts_as: "ann@R".to_owned() };
        assert_eq!(server.take(&choice), Ok(proved));
        assert_eq!((server.take(b""), client.take(b"")), (Err(Failure::Over), Err(Failure::Over)));
    }

    /// A client that asks for no proof is offered layers at once; one that names no user acts as itself.
    #[test]
    fn one_sided() {
        let mut server = server(&[("", true)]);
        assert_eq!(server.take(b"ap-req"), Ok(Taken::Asks(b"sealed:\x01\0\0\0".to_vec())));
        let proved = Taken::Proves { user: "ann@R".to_owned(), acts_as: "ann@R".to_owned() };
        assert_eq!(server.take(b"sealed:\x01\0\0\0"), Ok(proved));
    }

    /// Whom the client wants to act as is told, not judged.
    #[test]
    fn acts_as_another() {
        let mut server = server(&[("", true)]);
        server.take(b"ap-req").unwrap();
        let proved = Taken::Proves { user: "ann@R".to_owned(), acts_as: "bob@R".to_owned() };
        assert_eq!(server.take(b"sealed:\x01\0\0\0bob@R"), Ok(proved));
    }

    /// A token that is wrong ends the exchange: what follows is not taken.
    #[test]
    fn refused() {
        let ends = |tokens: &[&[u8]]| {
            let mut server = server(&[("ap-rep", true)]);
            let (last, others) = tokens.split_last().unwrap();
            others.iter().for_each(|token| drop(server.take(token).unwrap()));
            let failure = server.take(last).unwrap_err();
            assert_eq!(server.take(b""), Err(Failure::Over));
            failure
        };
        assert!(matches!(ends(&[b""]), Failure::Malformed(_)));
        assert_eq!(ends(&[b"bad"]), Failure::Kerberos("No key".into()));
        assert_eq!(ends(&[b"ap-req", b"more"]), Failure::Malformed("empty one"));
        assert_eq!(ends(&[b"ap-req", b"", b"open:\x01\0\0\0"]), Failure::Kerberos("Bad seal".into()));
        assert_eq!(ends(&[b"ap-req", b"", b"sealed:\x01\0"]), Failure::Malformed("choice"));
        assert_eq!(ends(&[b"ap-req", b"", b"sealed:\x02\0\0\0"]), Failure::Mismatch("security layer"));
        assert_eq!(ends(&[b"ap-req", b"", b"sealed:\x01\0\0\0\xff"]), Failure::Malformed("choice"));
        let (mut client, _) = client(&[("ap-req", true)]);
        assert_eq!(client.take(b"sealed:\x06\0\0\0"), Err(Failure::Mismatch("security layer")));
        assert_eq!(client.take(b"sealed:\x01\0\0\0"), Err(Failure::Over));
    }
}
