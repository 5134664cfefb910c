//! A client's settings, from a file of properties as ZooKeeper's clients read it: TLS, and who the client proves to be.

use super::jaas::{self, Class, Jaas};
use super::properties;
use super::reading::shorten;
use super::tls::{
    ClientAuth, NoKind, NoVersion, Password, Secret, StoreConfig, StoreKind, TlsConfig, TlsVersions, words,
};
use crate::auth::sasl::{KerberosLogin, KerberosService, Principal};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The key of the JAAS file. Java takes it as a property of the JVM only.
const JAAS_FILE: &str = "java.security.auth.login.config";
/// The key of the section of that file.
const SECTION: &str = "zookeeper.sasl.clientconfig";
/// The section where that key is not set. Source: `ZKClientConfig.LOGIN_CONTEXT_NAME_KEY_DEFAULT`.
const SECTION_DEFAULT: &str = "Client";
/// The first part of a server's principal where no key says it. Source: `ZKClientConfig.ZK_SASL_CLIENT_USERNAME_DEFAULT`.
const SERVER_USER_DEFAULT: &str = "zookeeper";

/// What a client's file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// `zookeeper.client.secure` and what it takes; `None` for plain connections
    pub tls: Option<TlsConfig>,
    /// `zookeeper.sasl.*`; `None` for a client that proves nothing
    pub sasl: Option<ClientSasl>,
}

/// Where a client finds who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSasl {
    /// `java.security.auth.login.config`, or what a flag names in place of it
    pub jaas: PathBuf,
    /// `zookeeper.sasl.clientconfig`
    pub section: String,
    /// `zookeeper.fips-mode`, where it is set: a digest of MD5 is no proof then
    pub fips_mode: bool,
    /// `java.security.krb5.conf`; `None` for the host's
    pub krb5_conf: Option<String>,
    /// Who the servers are, to a client with a ticket of Kerberos.
    pub servers: ServerPrincipal,
}

/// Who a client takes a server to be by Kerberos. Source: `SaslServerPrincipal`, `SecurityUtils.createSaslClient`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerPrincipal {
    /// `zookeeper.sasl.client.username`: the first part of the name
    pub user: String,
    /// `zookeeper.sasl.client.canonicalize.hostname`: krb5.conf may have DNS make another name of the host
    pub canonicalize: bool,
    /// `zookeeper.server.realm`, in place of the client's own
    pub realm: Option<String>,
    /// `zookeeper.server.principal`, in place of all that
    pub principal: Option<String>,
}

impl ServerPrincipal {
    /// What a ticket for the server on `host` is asked for.
    pub fn of(&self, host: &str) -> KerberosService {
        let Self { user, canonicalize, realm, principal } = self;
        match principal {
            Some(name) => KerberosService::Principal { name: name.clone(), realm: realm.clone() },
            None if *canonicalize && realm.is_none() => KerberosService::OfHost(format!("{user}@{host}")),
            None => KerberosService::Principal { name: format!("{user}/{host}"), realm: realm.clone() },
        }
    }
}

/// Who a client proves to be, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientIdentity {
    /// A user with a password, by DIGEST-MD5.
    Digest {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A principal, by Kerberos.
    Kerberos(KerberosLogin),
}

/// The properties of a file.
struct Properties(BTreeMap<String, String>);

impl Properties {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Java takes every other word for false, so that a slip would turn protection off.
    fn flag(&self, key: &str, default: bool) -> Result<bool, String> {
        match self.get(key) {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(format!("{key}: {} is neither true nor false", shorten(text))),
        }
    }
}

/// Reads a client's file: the keys of `ZKClientConfig` and `ClientX509Util`. `jaas` is the JAAS file that a flag names, which
/// wins over the file's. Other keys mean something to Java's clients and nothing here.
///
/// ```text
/// zookeeper.client.secure=true
/// zookeeper.ssl.trustStore.location=/etc/zk/ca.pem
/// zookeeper.ssl.keyStore.location=/etc/zk/client.pem
/// java.security.auth.login.config=/etc/zk/client.jaas
/// ```
///
/// # Errors
/// The file is no file of properties, or names the key whose value is wrong.
pub fn client_config(file: &[u8], jaas: Option<PathBuf>) -> Result<ClientConfig, String> {
    let found = properties::parse(file).map_err(|error| error.to_string())?;
    let found = found.into_iter().map(|property| (property.key, property.value.trim().to_owned()));
    let properties = Properties(found.collect());
    Ok(ClientConfig { tls: tls(&properties)?, sasl: sasl(&properties, jaas)? })
}

fn tls(properties: &Properties) -> Result<Option<TlsConfig>, String> {
    if !properties.flag("zookeeper.client.secure", false)? {
        return Ok(None);
    }
    let trust_store = store(properties, "ssl.trustStore.location")?;
    if trust_store.is_none() {
        return Err("zookeeper.ssl.trustStore.location is not set: no server could be trusted".to_owned());
    }
    let suites = properties.get("zookeeper.ssl.ciphersuites").unwrap_or_default();
    Ok(Some(TlsConfig {
        prefix: "ssl.",
        key_store: store(properties, "ssl.keyStore.location")?,
        trust_store,
        versions: versions(properties)?,
        cipher_suites: words(suites).map(str::to_owned).collect(),
        client_auth: ClientAuth::None,
        verify_host: properties.flag("zookeeper.ssl.hostnameVerification", true)?,
        verify_client_host: false,
        handshake_timeout_ms: 5000,
        super_user: None,
        reload: false,
    }))
}

/// The store whose location `key` has.
fn store(properties: &Properties, key: &'static str) -> Result<Option<StoreConfig>, String> {
    let name = |end: &str| format!("zookeeper.{}", key.replace("location", end));
    let get = |end: &str| properties.get(&name(end));
    let Some(path) = get("location") else { return Ok(None) };
    let kind = StoreKind::of(get("type"), path).map_err(|why| match why {
        NoKind::Name => format!(
            "{}: {} is not PEM, PKCS12 or JKS",
            name("type"),
            shorten(get("type").unwrap_or_default())
        ),
        NoKind::Path => {
            format!("{}: {} does not end in .pem, .p12, .pfx or .jks", name("location"), shorten(path))
        }
    })?;
    let password = Password::of(get("passwordPath"), get("password"));
    Ok(Some(StoreConfig { key, path: PathBuf::from(path), kind, password, private_key: None }))
}

fn versions(properties: &Properties) -> Result<TlsVersions, String> {
    let names = ["zookeeper.ssl.enabledProtocols", "zookeeper.ssl.protocol"];
    let Some((key, text)) = names.iter().find_map(|key| Some((key, properties.get(key)?))) else {
        return Ok(TlsVersions::ALL);
    };
    let mut versions = TlsVersions::NONE;
    for word in words(text) {
        // Old ones beside others are of clients that take what the server has.
        if versions.add(word) == Err(NoVersion::Unknown) {
            let word = shorten(word);
            return Err(format!("{key}: {word} is no version of TLS: there are TLSv1.2 and TLSv1.3"));
        }
    }
    match versions == TlsVersions::NONE {
        true => Err(format!("{key}: {} leaves no version: there are TLSv1.2 and TLSv1.3", shorten(text))),
        false => Ok(versions),
    }
}

fn sasl(properties: &Properties, flag: Option<PathBuf>) -> Result<Option<ClientSasl>, String> {
    if !properties.flag("zookeeper.sasl.client", true)? {
        return match flag {
            Some(_) => {
                Err("zookeeper.sasl.client=false, and a JAAS file is named: which one counts?".to_owned())
            }
            None => Ok(None),
        };
    }
    let servers = servers(properties)?;
    let fips_mode = properties.flag("zookeeper.fips-mode", false)?;
    let section = properties.get(SECTION);
    let Some(jaas) = flag.or_else(|| properties.get(JAAS_FILE).map(|text| PathBuf::from(jaas::path(text))))
    else {
        return match section {
            Some(section) => Err(format!("{SECTION}: {} wants {JAAS_FILE}: a JAAS file", shorten(section))),
            None => Ok(None),
        };
    };
    let section = section.unwrap_or(SECTION_DEFAULT).to_owned();
    let krb5_conf = properties.get("java.security.krb5.conf").map(str::to_owned);
    Ok(Some(ClientSasl { jaas, section, fips_mode, krb5_conf, servers }))
}

fn servers(properties: &Properties) -> Result<ServerPrincipal, String> {
    let part = |key: &'static str| match properties.get(key) {
        Some(text) if text.is_empty() || text.contains(['/', '@']) => {
            Err(format!("{key}: {} is no part of a principal", shorten(text)))
        }
        found => Ok(found.map(str::to_owned)),
    };
    let key = "zookeeper.server.principal";
    let principal = properties.get(key);
    if principal.is_some_and(|name| name.is_empty() || Principal::parse(name).is_none()) {
        let name = shorten(principal.unwrap_or_default());
        return Err(format!("{key}: {name} is no principal: write service/host, with @REALM or without"));
    }
    Ok(ServerPrincipal {
        user: part("zookeeper.sasl.client.username")?.unwrap_or_else(|| SERVER_USER_DEFAULT.to_owned()),
        canonicalize: properties.flag("zookeeper.sasl.client.canonicalize.hostname", true)?,
        realm: part("zookeeper.server.realm")?,
        principal: principal.map(str::to_owned),
    })
}

impl ClientSasl {
    /// Who the client is, by the bytes of its JAAS file.
    ///
    /// # Errors
    /// What is wrong with the file, without any password of it.
    pub fn identity(&self, file: &[u8]) -> Result<ClientIdentity, String> {
        let text = str::from_utf8(file).map_err(|_| "it is not UTF-8".to_owned())?;
        let jaas = Jaas::parse(text).map_err(|error| error.to_string())?;
        let section = shorten(&self.section);
        let modules = jaas.section(&self.section).ok_or_else(|| format!("it has no section {section}"))?;
        if let Class::Kerberos(module) =
            jaas::class(modules).map_err(|why| format!("section {section}: {why}"))?
        {
            let login = jaas::kerberos(module).map_err(|why| format!("section {section} {why}"))?;
            return Ok(ClientIdentity::Kerberos(login));
        }
        let (user, password) = jaas::user_and_password(modules)
            .ok_or_else(|| format!("section {section} lacks username and password"))?;
        if self.fips_mode {
            return Err(format!(
                "section {section} is for DIGEST-MD5, which zookeeper.fips-mode=true of the client's file forbids"
            ));
        }
        Ok(ClientIdentity::Digest { user, password })
    }
}

#[cfg(test)]
mod tests {
    use super::super::jaas::DIGEST_MODULE;
    use super::*;

    fn read(text: &str) -> Result<ClientConfig, String> {
        client_config(text.as_bytes(), None)
    }

    /// What a client's file sets of TLS, and what is wrong with it.
    #[test]
    fn tls_of_files() {
        let tls = |text: &str| read(text).map(|config| config.tls);
        assert_eq!(tls("zookeeper.ssl.trustStore.location=/ca.pem"), Ok(None));
        let secure = "zookeeper.client.secure = true\n";
        let config = tls(&format!(
            "{secure}zookeeper.ssl.trustStore.location=/ca.pem\nzookeeper.ssl.keyStore.location=/k.jks\n\
             zookeeper.ssl.keyStore.password=s\nzookeeper.ssl.hostnameVerification=false\nzookeeper.ssl.protocol=TLSv1.3\n\
             zookeeper.ssl.ciphersuites=A , B,"
        ));
        let config = config.expect("right").expect("secure");
        assert_eq!(config.key_store.map(|store| store.kind), Some(StoreKind::Jks));
        assert_eq!(config.versions, TlsVersions { tls12: false, tls13: true });
        assert_eq!(config.cipher_suites, ["A", "B"]);
        assert!(!config.verify_host);
        let trusted = format!("{secure}zookeeper.ssl.trustStore.location=/ca.pem\n");
        let old = tls(&format!("{trusted}zookeeper.ssl.enabledProtocols=TLSv1,TLSv1.2")).expect("right");
        assert_eq!(old.expect("secure").versions, TlsVersions { tls12: true, tls13: false });
        for (text, expected) in [
            ("", "zookeeper.ssl.trustStore.location is not set"),
            (
                "zookeeper.ssl.trustStore.location=/ca",
                "zookeeper.ssl.trustStore.location: \"/ca\" does not end",
            ),
            (
                "zookeeper.ssl.trustStore.location=/ca\nzookeeper.ssl.trustStore.type=X",
                "zookeeper.ssl.trustStore.type: \"X\" is not",
            ),
            (
                "zookeeper.ssl.trustStore.location=/a.pem\nzookeeper.ssl.protocol=SSLv3",
                "zookeeper.ssl.protocol: \"SSLv3\"",
            ),
            (
                "zookeeper.ssl.trustStore.location=/a.pem\nzookeeper.ssl.enabledProtocols=TLSv1.2,TLSv9",
                "zookeeper.ssl.enabledProtocols: \"TLSv9\" is no version",
            ),
            ("zookeeper.client.secure=yes", "zookeeper.client.secure: \"yes\" is neither true nor false"),
        ] {
            let error = tls(&format!("{secure}{text}")).expect_err(text);
            assert!(error.starts_with(expected), "{error}");
        }
    }

    /// Where a client finds who it is, and which values are refused.
    #[test]
    fn sasl_of_files() {
        let sasl = |text: &str| read(text).map(|config| config.sasl);
        assert_eq!(sasl(""), Ok(None));
        assert_eq!(sasl("zookeeper.sasl.client=FALSE\njava.security.auth.login.config=/j"), Ok(None));
        let found = sasl("java.security.auth.login.config = file:/j").expect("right").expect("a JAAS file");
        assert_eq!((found.jaas.to_str(), &*found.section, found.fips_mode), (Some("/j"), "Client", false));
        let both = client_config(
            b"java.security.auth.login.config=/j\nzookeeper.sasl.clientconfig=Own",
            Some(PathBuf::from("/flag")),
        );
        let both = both.expect("right").sasl.expect("a JAAS file");
        assert_eq!((both.jaas.to_str(), &*both.section), (Some("/flag"), "Own"));
        assert!(client_config(b"zookeeper.sasl.client=false", Some(PathBuf::from("/flag"))).is_err());
        for (text, expected) in [
            ("zookeeper.sasl.client=no", "zookeeper.sasl.client: \"no\" is neither true nor false"),
            ("zookeeper.sasl.clientconfig=Own", "zookeeper.sasl.clientconfig: \"Own\" wants java.security."),
            ("zookeeper.sasl.client.username=a/b", "zookeeper.sasl.client.username: \"a/b\" is no part"),
            (
                "zookeeper.sasl.client.canonicalize.hostname=1",
                "zookeeper.sasl.client.canonicalize.hostname: \"1\" is",
            ),
            ("zookeeper.server.realm=", "zookeeper.server.realm: "),
            ("zookeeper.server.principal=a@b@c", "zookeeper.server.principal: \"a@b@c\" is no principal"),
            ("zookeeper.fips-mode=x", "zookeeper.fips-mode: \"x\" is neither"),
        ] {
            let error = sasl(text).expect_err(text);
            assert!(error.starts_with(expected), "{error}");
        }
    }

    /// A server's principal is made of its host, unless a key says all of it. Source: `SaslServerPrincipal`.
    #[test]
    fn principals_of_servers() {
        let of = |text: &str| {
            let text = format!("java.security.auth.login.config=/j\n{text}");
            let sasl = read(&text).expect("right").sasl.expect("a JAAS file");
            sasl.servers.of("zk1.example")
        };
        let principal = |name: &str, realm: Option<&str>| KerberosService::Principal {
            name: name.to_owned(),
            realm: realm.map(str::to_owned),
        };
        assert_eq!(of(""), KerberosService::OfHost("zookeeper@zk1.example".to_owned()));
        let as_named = "zookeeper.sasl.client.canonicalize.hostname=false";
        assert_eq!(of(as_named), principal("zookeeper/zk1.example", None));
        let other = of("zookeeper.sasl.client.username=zk\nzookeeper.server.realm=R");
        assert_eq!(other, principal("zk/zk1.example", Some("R")));
        let whole = of("zookeeper.server.principal=zk/other\nzookeeper.server.realm=R");
        assert_eq!(whole, principal("zk/other", Some("R")));
    }

    /// Who a client is by its JAAS file, and what is wrong with one; no message shows a password.
    #[test]
    fn identities() {
        let of = |keys: &str, jaas: &str| {
            let text = format!("java.security.auth.login.config=/j\n{keys}");
            let sasl = read(&text).expect("right").sasl.expect("a JAAS file");
            sasl.identity(jaas.as_bytes())
        };
        let own = format!("Client {{ {DIGEST_MODULE} required username=\"bob\" password=\"hunter2\"; }};");
        let bob =
            ClientIdentity::Digest { user: "bob".to_owned(), password: Secret::new("hunter2".to_owned()) };
        assert_eq!(of("", &own), Ok(bob));
        assert!(!format!("{:?}", of("", &own)).contains("hunter2"));
        let ticket = "Client { com.sun.security.auth.module.Krb5LoginModule required useTicketCache=true; };";
        let login = KerberosLogin { ticket_cache: Some(String::new()), ..KerberosLogin::default() };
        assert_eq!(of("zookeeper.fips-mode=true", ticket), Ok(ClientIdentity::Kerberos(login)));
        for (keys, jaas, expected) in [
            ("zookeeper.sasl.clientconfig=Own", own.clone(), "it has no section \"Own\""),
            ("zookeeper.fips-mode=true", own.clone(), "section \"Client\" is for DIGEST-MD5, which"),
            ("", own.replace("password", "passwd"), "section \"Client\" lacks username and password"),
            ("", own.replace("\"hunter2\"", "\"hunter2"), "line 1: a text in quotes has no end"),
            (
                "",
                "Client { com.sun.security.auth.module.Krb5LoginModule required; };".to_owned(),
                "section \"Client\" lacks useKeyTab=true",
            ),
            ("", "Client { a.B required; };".to_owned(), "section \"Client\": \"a.B\" is no class"),
        ] {
            let error = of(keys, &jaas).expect_err(expected);
            assert!(error.starts_with(expected) && !error.contains("hunter2"), "{error}");
        }
    }
}
