//! Who a client proves to be by SASL: its JAAS file as the shell reads it, and an exchange for each connection.

use crate::auth::sasl::NonceKey;
use crate::auth::sasl::login::{ClientExchange, LoginError};
#[cfg(feature = "kerberos")]
use crate::auth::sasl::{Failure, KerberosLogin};
#[cfg(feature = "kerberos")]
use crate::config::ServerPrincipal;
use crate::config::{ClientIdentity, ClientSasl, Secret};
#[cfg(feature = "kerberos")]
use crate::kerberos::Kerberos;
use std::fmt::Debug;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zeroize::Zeroizing;

/// Bytes of a JAAS file that are read at most.
const JAAS_BYTES_MAX: u64 = 1 << 20;

/// Begins an exchange on each connection of a client.
pub trait Logins: Debug + Send + Sync {
    /// An exchange with the server on `host`. With Kerberos it waits for the KDC.
    ///
    /// # Errors
    /// [`LoginError::Token`] where there is no ticket to be had.
    fn begin(&self, host: &str) -> Result<ClientExchange, LoginError>;
}

/// A user with a password, to every server.
#[derive(Debug)]
struct PasswordLogins {
    user: String,
    password: Secret,
    /// With the number of exchanges so far it makes what only one exchange has.
    key: NonceKey,
    begun: AtomicU64,
}

impl Logins for PasswordLogins {
    fn begin(&self, _: &str) -> Result<ClientExchange, LoginError> {
        let cnonce = self.key.nonce(&[self.begun.fetch_add(1, Ordering::Relaxed)]);
        Ok(ClientExchange::by_password(self.user.clone(), self.password.clone(), cnonce))
    }
}

/// A principal, by a ticket for each server.
#[cfg(feature = "kerberos")]
#[derive(Debug)]
struct TicketLogins {
    kerberos: Kerberos,
    login: KerberosLogin,
    servers: ServerPrincipal,
}

#[cfg(feature = "kerberos")]
impl Logins for TicketLogins {
    fn begin(&self, host: &str) -> Result<ClientExchange, LoginError> {
        let Self { kerberos, login, servers } = self;
        let begun = kerberos.initiate(login, &servers.of(host));
        let (context, own) = begun.map_err(|why| Failure::Kerberos(why.to_string().into()))?;
        ClientExchange::by_ticket(context, own)
    }
}

/// Reads the JAAS file of a client. `key` was drawn for this process; the second part of the result is a warning.
///
/// # Errors
/// Names the file and what is wrong, without any password.
pub fn login(config: &ClientSasl, key: [u8; 32]) -> Result<(Arc<dyn Logins>, Option<String>), String> {
    let path = config.jaas.as_path();
    let at = |why: String| format!("{}: {why}", path.display());
    let file = read(path).map_err(at)?;
    let (logins, has_password): (Arc<dyn Logins>, bool) = match config.identity(&file).map_err(at)? {
        ClientIdentity::Digest { user, password } => {
            let (key, begun) = (NonceKey(key), AtomicU64::new(0));
            (Arc::new(PasswordLogins { user, password, key, begun }), true)
        }
        #[cfg(feature = "kerberos")]
        ClientIdentity::Kerberos(login) => {
            let kerberos = Kerberos::load(config.krb5_conf.as_deref()).map_err(|why| at(why.to_string()))?;
            (Arc::new(TicketLogins { kerberos, login, servers: config.servers.clone() }), false)
        }
        #[cfg(not(feature = "kerberos"))]
        ClientIdentity::Kerberos(_) => return Err(at("this program is built without Kerberos".to_owned())),
    };
    let is_private = std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 == 0);
    let warning = "it has passwords, and other users may read it: chmod 600";
    Ok((logins, (has_password && !is_private).then(|| at(warning.to_owned()))))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > JAAS_BYTES_MAX {
        return Err(format!("it has {length} bytes, and {JAAS_BYTES_MAX} are the most"));
    }
    std::fs::read(path).map(Zeroizing::new).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::sasl::login::ClientStep;
    use crate::config::client_config;

    /// Exchanges of one process have different nonces, and a file that others may read is warned of.
    #[test]
    fn digest_logins() {
        let folder = std::env::temp_dir().join(format!("zkfast-login-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("a folder");
        let jaas = folder.join("client.jaas");
        let text = "Client { org.apache.zookeeper.server.auth.DigestLoginModule required username=bob password=secret; };";
        std::fs::write(&jaas, text).expect("a file");
        let config = client_config(b"", Some(jaas.clone())).expect("right").sasl.expect("a JAAS file");
        let of_mode = |mode: u32| {
            std::fs::set_permissions(&jaas, std::fs::Permissions::from_mode(mode)).expect("a file of ours");
            login(&config, [7; 32]).expect("right")
        };
        let ((login, quiet), (_, warned)) = (of_mode(0o600), of_mode(0o644));
        let answer = || {
            let mut exchange = login.begin("zk1").expect("a password");
            assert_eq!(exchange.first(), b"");
            exchange.answer(0, Some(b"nonce=\"n\",algorithm=md5-sess"))
        };
        let (one, other) = (answer(), answer());
        let too_long = std::fs::write(&jaas, vec![b' '; JAAS_BYTES_MAX as usize + 1])
            .map(|()| super::login(&config, [7; 32]).map(drop));
        std::fs::remove_dir_all(&folder).expect("a folder of ours");
        assert!(
            matches!(&one, Ok(ClientStep::Sends(token)) if token.starts_with(b"charset=utf-8,username=\"bob\""))
        );
        assert_ne!(one, other);
        assert_eq!(quiet, None);
        assert!(warned.expect("a warning").ends_with("chmod 600"));
        assert!(too_long.expect("a file").expect_err("too long").contains("are the most"));
        assert!(!format!("{login:?}").contains("secret"));
    }
}
