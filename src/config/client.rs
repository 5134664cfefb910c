//! A client's settings of TLS, from a file of properties as ZooKeeper's clients read it.

use super::properties;
use super::tls::{ClientAuth, Password, Secret, StoreConfig, StoreKind, TlsConfig, TlsVersions};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Reads a client's file: the keys of `ZKClientConfig` and `ClientX509Util`, `zookeeper.` before each. `None` where
/// `zookeeper.client.secure` is not true.
///
/// ```text
/// zookeeper.client.secure=true
/// zookeeper.ssl.trustStore.location=/etc/zk/ca.pem
/// zookeeper.ssl.keyStore.location=/etc/zk/client.pem
/// ```
///
/// # Errors
/// The file is no file of properties, or names the key whose value is wrong.
pub fn client_tls(file: &[u8]) -> Result<Option<TlsConfig>, String> {
    let found = properties::parse(file).map_err(|error| error.to_string())?;
    let values: BTreeMap<String, String> =
        found.into_iter().map(|property| (property.key, property.value.trim().to_owned())).collect();
    let get = |key: &str| values.get(&format!("zookeeper.{key}")).map(String::as_str);
    let is_true =
        |key: &str, default: bool| get(key).map_or(default, |text| text.eq_ignore_ascii_case("true"));
    if !is_true("client.secure", false) {
        return Ok(None);
    }
    let store = |key: &'static str| -> Result<Option<StoreConfig>, String> {
        let part = |end: &str| get(&key.replace("location", end));
        let Some(path) = get(key) else { return Ok(None) };
        let kind = match part("type") {
            Some(name) => StoreKind::from_name(name).ok_or_else(|| {
                format!("zookeeper.{}: {name:?} is not PEM, PKCS12 or JKS", key.replace("location", "type"))
            }),
            None => StoreKind::from_path(path)
                .ok_or_else(|| format!("zookeeper.{key}: {path} does not end in .pem, .p12, .pfx or .jks")),
        };
        let password = match part("passwordPath") {
            Some(path) => Password::InFile(PathBuf::from(path)),
            None => Password::Given(Secret::new(part("password").unwrap_or_default().to_owned())),
        };
        Ok(Some(StoreConfig { key, path: PathBuf::from(path), kind: kind?, password }))
    };
    let protocols = get("ssl.enabledProtocols").or_else(|| get("ssl.protocol")).unwrap_or("TLSv1.2,TLSv1.3");
    let has = |name: &str| protocols.split(',').any(|word| word.trim() == name || word.trim() == "TLS");
    let versions = TlsVersions { tls12: has("TLSv1.2"), tls13: has("TLSv1.3") };
    if !versions.tls12 && !versions.tls13 {
        return Err(format!("zookeeper.ssl.enabledProtocols: {protocols}: there are TLSv1.2 and TLSv1.3"));
    }
    let suites = get("ssl.ciphersuites").unwrap_or_default();
    let trust_store = store("ssl.trustStore.location")?;
    if trust_store.is_none() {
        return Err("zookeeper.ssl.trustStore.location is not set: no server could be trusted".to_owned());
    }
    Ok(Some(TlsConfig {
        prefix: "ssl.",
        key_store: store("ssl.keyStore.location")?,
        trust_store,
        versions,
        cipher_suites: suites
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
        client_auth: ClientAuth::None,
        verify_host: is_true("ssl.hostnameVerification", true),
        verify_client_host: false,
        handshake_timeout_ms: 5000,
        super_user: None,
        reload: false,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client's file sets, and what is wrong with it.
    #[test]
    fn files() {
        let read = |text: &str| client_tls(text.as_bytes());
        assert_eq!(read("zookeeper.ssl.trustStore.location=/ca.pem"), Ok(None));
        let secure = "zookeeper.client.secure = true\n";
        let config = read(&format!(
            "{secure}zookeeper.ssl.trustStore.location=/ca.pem\nzookeeper.ssl.keyStore.location=/k.jks\n\
             zookeeper.ssl.keyStore.password=s\nzookeeper.ssl.hostnameVerification=false\nzookeeper.ssl.protocol=TLSv1.3"
        ));
        let config = config.expect("right").expect("secure");
        assert_eq!(config.key_store.map(|store| store.kind), Some(StoreKind::Jks));
        assert_eq!(config.versions, TlsVersions { tls12: false, tls13: true });
        assert!(!config.verify_host);
        for (text, expected) in [
            ("", "zookeeper.ssl.trustStore.location is not set"),
            ("zookeeper.ssl.trustStore.location=/ca", "zookeeper.ssl.trustStore.location: /ca does not end"),
            (
                "zookeeper.ssl.trustStore.location=/ca\nzookeeper.ssl.trustStore.type=X",
                "zookeeper.ssl.trustStore.type: \"X\"",
            ),
            ("zookeeper.ssl.protocol=SSLv3", "zookeeper.ssl.enabledProtocols: SSLv3"),
        ] {
            let error = read(&format!("{secure}{text}")).expect_err(text);
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
