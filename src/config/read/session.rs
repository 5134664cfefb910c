//! What a session gets: timeouts, and who it may be.

use super::super::properties::java_trim;
use super::super::reading::shorten;
use super::super::{Schemes, keys};
use super::entries::Entries;
use super::{classes, sasl, tls};
use crate::auth::{DigestAlgorithm, EnsembleNames};

/// A scheme by which a client proves nothing.
const ENSEMBLE: &str = "ensemble";

/// The tick and the bounds of session timeouts, ms.
pub(super) struct Timeouts {
    pub(super) tick_ms: u32,
    pub(super) min_ms: i32,
    pub(super) max_ms: i32,
}

pub(super) fn timeouts(entries: &mut Entries) -> Timeouts {
    let tick = entries.get(&keys::TICK_TIME);
    let (min_key, max_key) = (&keys::MIN_SESSION_TIMEOUT, &keys::MAX_SESSION_TIMEOUT);
    // Java's int arithmetic, so that absurd ticks are refused or taken as there.
    let or_ticks = |given: i32, ticks: i32| if given == -1 { tick.wrapping_mul(ticks) } else { given };
    let min = or_ticks(entries.get(min_key), min_key.ticks());
    let max = or_ticks(entries.get(max_key), max_key.ticks());
    if min > max && !entries.is_refused(&keys::TICK_TIME) {
        let names = [min_key.name, max_key.name, keys::TICK_TIME.name];
        let name = names.into_iter().find(|name| entries.at(name).is_some()).unwrap_or(min_key.name);
        let message = format!(
            "minSessionTimeout {min} ms is larger than maxSessionTimeout {max} ms (defaults are {} and {} ticks of {tick} \
             ms)",
            min_key.ticks(),
            max_key.ticks()
        );
        entries.fault(name, message);
    }
    Timeouts { tick_ms: tick.unsigned_abs(), min_ms: min, max_ms: max }
}

pub(super) fn super_digest(entries: &mut Entries) -> Option<String> {
    let text = entries.get(&keys::SUPER_DIGEST)?;
    if !text.split_once(':').is_some_and(|(user, hash)| !user.is_empty() && !hash.is_empty()) {
        let message = "is not user:base64(hash(user:password)), so no client can be the super user";
        entries.warn(keys::SUPER_DIGEST.name, message);
    }
    Some(text)
}

pub(super) fn digest_alg(entries: &mut Entries) -> DigestAlgorithm {
    let text = entries.get(&keys::DIGEST_ALG);
    DigestAlgorithm::from_name(&text).unwrap_or_else(|| {
        let message = format!("{} is not SHA1 or a hash of the SHA-2 family", shorten(&text));
        entries.fault(keys::DIGEST_ALG.name, message);
        DigestAlgorithm::default()
    })
}

/// The schemes of which a session must use one; `None` if it need not. Source: `AuthenticationHelper`.
pub(super) fn enforced_schemes(entries: &mut Entries) -> Option<Vec<String>> {
    let (mut name, mut list) = (keys::SESSION_REQUIRES_SASL.name, sasl::SCHEME.to_owned());
    if !entries.get(&keys::SESSION_REQUIRES_SASL) {
        if !entries.get(&keys::ENFORCE_AUTH) {
            return None;
        }
        name = keys::ENFORCE_AUTH_SCHEMES.name;
        let Some(given) = entries.get(&keys::ENFORCE_AUTH_SCHEMES) else {
            entries.fault(keys::ENFORCE_AUTH.name, format!("is true, so {name} must be set"));
            return None;
        };
        list = given;
    }
    let available = available_schemes(entries);
    let schemes: Vec<String> = list.split(',').map(|s| java_trim(s).to_owned()).collect();
    for scheme in schemes.iter().filter(|scheme| !available.contains(&scheme.as_str())) {
        let there = available.join(", ");
        let hint = match scheme.as_str() {
            sasl::SCHEME => format!("; authProvider.sasl={} adds it", classes::SASL),
            _ => String::new(),
        };
        entries.fault(name, format!("scheme {} is not available (there is {there}){hint}", shorten(scheme)));
    }
    if schemes.iter().all(|scheme| scheme == ENSEMBLE) {
        entries.fault(name, "no client could do anything: scheme ensemble proves no id".to_owned());
    }
    Some(schemes)
}

/// What keys say of schemes.
pub(super) fn schemes(entries: &mut Entries) -> Schemes {
    check_acls(entries);
    Schemes {
        digest: is_digest_scheme(entries),
        x509: classes::has_provider(entries, classes::X509),
        key: classes::has_provider(entries, classes::KEY),
        ensemble: ensemble_names(entries),
    }
}

/// Whether scheme digest exists: where it is turned off, a key that names its class turns it on again, as in Java.
fn is_digest_scheme(entries: &Entries) -> bool {
    entries.get(&keys::DIGEST_AUTH) || classes::has_provider(entries, classes::DIGEST)
}

/// The names that the ensemble answers to; `None` if there is no scheme of that name.
fn ensemble_names(entries: &mut Entries) -> Option<EnsembleNames> {
    let names = entries.get(&keys::ENSEMBLE_NAMES);
    if classes::has_provider(entries, classes::ENSEMBLE) {
        return Some(EnsembleNames::parse(names.as_deref()));
    }
    if names.is_some() {
        let message = format!("does nothing: authProvider.ensemble={} reads it", classes::ENSEMBLE);
        entries.warn(keys::ENSEMBLE_NAMES.name, message);
    }
    None
}

/// Schemes that are there. A client may prove an id of each but `ensemble`.
fn available_schemes(entries: &Entries) -> Vec<&'static str> {
    let there = [
        ("digest", is_digest_scheme(entries)),
        ("ip", true),
        ("x509", tls::serves_clients(entries) || classes::has_provider(entries, classes::X509)),
        (sasl::SCHEME, sasl::is_scheme(entries)),
        (ENSEMBLE, classes::has_provider(entries, classes::ENSEMBLE)),
        ("key", classes::has_provider(entries, classes::KEY)),
    ];
    there.into_iter().filter(|(_, is_there)| *is_there).map(|(scheme, _)| scheme).collect()
}

/// Warns where ACLs protect nothing.
fn check_acls(entries: &mut Entries) {
    if entries.get(&keys::SKIP_ACL) {
        let message = "every client may read, change and delete everything";
        entries.warn(keys::SKIP_ACL.name, message);
    }
}
