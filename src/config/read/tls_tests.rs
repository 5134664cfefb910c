//! What the reader says of TLS for clients.

use std::path::Path;

use super::super::{ClientAuth, Password, StoreKind, TlsVersions};
use super::tests::{jvm, ok, refused, said, with};
use crate::config::Severity;

/// A port with TLS, and a store of each kind.
const STORES: &str = "secureClientPort=2281\nssl.keyStore.location=/k.pem\nssl.trustStore.location=/t.p12\n";

fn warnings(lines: &str) -> Vec<String> {
    let loaded = with(lines);
    assert!(loaded.is_ok(), "{lines:?}: {:?}", loaded.findings);
    said(&loaded, Severity::Warning)
}

/// Without a port that asks for it there is no TLS, and settings of it are no fault, whatever they are.
#[test]
fn no_port() {
    for lines in ["", "ssl.keyStore.location=/k\nssl.clientAuth=x\nssl.crl=true\nssl.enabledProtocols=a\n"] {
        let config = ok(lines);
        assert_eq!((config.client_tls, config.secure_client_port), (None, None));
        assert_eq!(said(&with(lines), Severity::Warning), [""; 0]);
    }
}

/// Every default of a port with TLS; ports beside one another, and one alone.
#[test]
fn defaults() {
    let config = ok(STORES);
    assert_eq!((config.client_port, config.secure_client_port), (Some(2181), Some(2281)));
    let tls = config.client_tls.expect("TLS");
    assert_eq!(
        (
            tls.key_store.as_ref().expect("a store").kind,
            tls.key_store.as_ref().expect("a store").path.as_path()
        ),
        (StoreKind::Pem, Path::new("/k.pem"))
    );
    assert_eq!(tls.trust_store.expect("a store").kind, StoreKind::Pkcs12);
    assert_eq!(tls.versions, TlsVersions { tls12: true, tls13: true });
    assert_eq!((tls.cipher_suites, tls.client_auth), (vec![], ClientAuth::Need));
    assert_eq!((tls.verify_client_host, tls.super_user, tls.reload), (false, None, true));
    assert!(!config.client_port_unification);
    let both = ok("client.portUnification=true\nssl.keyStore.location=/k.jks\nssl.clientAuth=none\n");
    assert_eq!((both.secure_client_port, both.client_port_unification), (None, true));
    assert_eq!(both.client_tls.expect("TLS").key_store.as_ref().expect("a store").kind, StoreKind::Jks);
}

/// Keys are read in the file and on the JVM's command line.
#[test]
fn values() {
    let lines = "ssl.keyStore.location=/k\nssl.keyStore.type=jks\nssl.keyStore.password=a b\n\
        ssl.keyStore.passwordPath=\nssl.trustStore.location=/t\nssl.trustStore.type=PEM\n\
        ssl.trustStore.password=no\nssl.trustStore.passwordPath=/p\nssl.clientAuth=Want\n\
        ssl.enabledProtocols=TLSv1.3\nssl.protocol=TLSv1.2\nssl.ciphersuites= TLS_A , TLS_B,\n\
        ssl.clientHostnameVerification=true\nX509AuthenticationProvider.superUser=CN=root,O=x\n\
        client.certReload=false\nsecureClientPortAddress=127.0.0.1\n";
    let loaded = jvm("-Dzookeeper.ssl.keyStore.location=/over", &format!("secureClientPort=0\n{lines}"));
    assert!(loaded.is_ok(), "{:?}", loaded.findings);
    let tls = loaded.config.client_tls.expect("TLS");
    let Password::Given(password) = &tls.key_store.as_ref().expect("a store").password else {
        panic!("{:?}", tls.key_store)
    };
    assert_eq!((password.reveal(), tls.key_store.as_ref().expect("a store").kind), ("a b", StoreKind::Jks));
    let trust = tls.trust_store.expect("a store");
    assert_eq!((trust.password, trust.kind), (Password::InFile("/p".into()), StoreKind::Pem));
    assert_eq!(tls.versions, TlsVersions { tls12: false, tls13: true });
    assert_eq!(tls.cipher_suites, ["TLS_A", "TLS_B"]);
    assert_eq!((tls.client_auth, tls.verify_client_host, tls.reload), (ClientAuth::Want, true, false));
    assert_eq!(tls.super_user.as_deref(), Some("CN=root,O=x"));
    assert_eq!(loaded.config.secure_client_port_address.as_deref(), Some("127.0.0.1"));
}

/// What is missing or wrong is an error that names line, key, value and what would be right.
#[test]
fn messages() {
    let at = |line: usize, rest: &str| format!("zoo.cfg:{line}: {rest}");
    for (lines, expected) in [
        (
            "secureClientPort=2281\nssl.clientAuth=none\n",
            at(
                3,
                "secureClientPort: ssl.keyStore.location is not set: a server with TLS needs a certificate and its key",
            ),
        ),
        (
            "client.portUnification=true\nssl.clientAuth=none\n",
            at(
                3,
                "client.portUnification: ssl.keyStore.location is not set: a server with TLS needs a certificate and its key",
            ),
        ),
        (
            "secureClientPort=2281\nssl.keyStore.location=/k.pem\n",
            at(
                3,
                "secureClientPort: ssl.trustStore.location is not set: no certificate of another side could be checked; set it, or ssl.clientAuth=none",
            ),
        ),
        (
            "secureClientPortAddress=::1\n",
            at(3, "secureClientPortAddress: is set and secureClientPort is not"),
        ),
        (
            "secureClientPort=70000\nssl.keyStore.location=/k.pem\nssl.clientAuth=none\n",
            at(3, "secureClientPort: port 70000 is not within 0 to 65535"),
        ),
    ] {
        assert_eq!(refused(lines), expected, "{lines:?}");
    }
    for (lines, expected) in [
        ("ssl.clientAuth=yes\n", "ssl.clientAuth: \"yes\" is not none, want or need"),
        (
            "ssl.authProvider=mine\n",
            "ssl.authProvider: \"mine\" is not x509, the only one that checks certificates",
        ),
        ("ssl.keyStore.type=BCFKS\n", "ssl.keyStore.type: \"BCFKS\" is not PEM, PKCS12 or JKS"),
        ("ssl.trustStore.type=x\n", "ssl.trustStore.type: \"x\" is not PEM, PKCS12 or JKS"),
        (
            "ssl.enabledProtocols=TLSv1.4\n",
            "ssl.enabledProtocols: \"TLSv1.4\" is no version of TLS: there are TLSv1.2 and TLSv1.3",
        ),
        ("ssl.protocol=tls\n", "ssl.protocol: \"tls\" is no version of TLS: there are TLSv1.2 and TLSv1.3"),
        (
            "ssl.enabledProtocols=TLSv1.1\n",
            "ssl.enabledProtocols: \"TLSv1.1\" leaves no version: there are TLSv1.2 and TLSv1.3",
        ),
        ("ssl.crl=true\n", "ssl.crl: lists of revoked certificates are not read"),
        ("ssl.ocsp=true\n", "ssl.ocsp: OCSP is not asked"),
        (
            "ssl.context.supplier.class=a.B\n",
            "ssl.context.supplier.class: a Java class makes the settings of TLS",
        ),
    ] {
        assert_eq!(refused(&format!("{STORES}{lines}")), at(6, expected), "{lines:?}");
    }
    let unknown = "secureClientPort=1\nssl.clientAuth=none\nssl.keyStore.location=/k.key\n";
    assert_eq!(
        refused(unknown),
        at(
            5,
            "ssl.keyStore.location: \"/k.key\" does not end in .pem, .p12, .pfx or .jks: set ssl.keyStore.type to PEM, PKCS12 or JKS"
        )
    );
}

/// No name is looked up for a client's address: where one would have to be, the server does not start.
#[test]
fn reverse_names() {
    let both = "ssl.allowReverseDnsLookup=true\nssl.clientHostnameVerification=true\n";
    let why = "ssl.allowReverseDnsLookup: no name is looked up for a client's address, so clients whose certificates have only \
               names would be turned away: let certificates name addresses, or set ssl.clientHostnameVerification=false";
    assert_eq!(refused(&format!("{STORES}{both}")), format!("zoo.cfg:6: {why}"));
}

/// What is left out, or is said in another way than Java's, is a warning.
#[test]
fn missed() {
    let warned = warnings(&format!("{STORES}ssl.enabledProtocols=TLSv1.1,TLSv1.2\n"));
    let expected = "TLSv1.1 is not served: there are TLSv1.2 and TLSv1.3";
    assert!(warned.iter().any(|line| line.contains(expected)), "{warned:?}");
    for quiet in ["ssl.sslProvider=OPENSSL\nssl.crl=false\n", "ssl.allowReverseDnsLookup=true\n"] {
        assert_eq!(warnings(&format!("{STORES}{quiet}")), [""; 0]);
    }
}
