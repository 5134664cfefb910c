//! What a client's reconfiguration asks for: the servers that come of it, or why there are none.
//!
//! Source: `PrepRequestProcessor.pRequest2Txn`, `ReconfigRequest`, `QuorumPeerConfig.parseDynamicConfig`, Apache ZooKeeper 3.9.4.

use super::configuration::Configuration;
use crate::config::{Ensemble, ParseError};
use crate::proto::ErrorCode;
use crate::proto::request::Reconfig;

/// Largest number of a server: it is the high byte of its sessions' ids.
const SID_MAX: i64 = 255;

/// Fewest voters where `standaloneEnabled` is set.
const VOTERS_MIN_WITH_STANDALONE: usize = 2;

/// Settings of the server that is asked.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `standaloneEnabled`.
    pub standalone_enabled: bool,
    /// `multiAddress.enabled`.
    pub multi_address: bool,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What 3.9 answers.
    pub code: ErrorCode,
    /// The reason, for people; no answer of the protocol has room for it.
    pub why: String,
}

impl Refused {
    fn arguments(why: impl Into<String>) -> Self {
        Self { code: ErrorCode::BadArguments, why: why.into() }
    }

    /// Java makes a request that cannot be read of it.
    fn unreadable(why: impl Into<String>) -> Self {
        Self { code: ErrorCode::MarshallingError, why: why.into() }
    }
}

impl From<ParseError> for Refused {
    fn from(error: ParseError) -> Self {
        match error.is_unreadable {
            true => Self::unreadable(error.message),
            false => Self::arguments(error.message),
        }
    }
}

/// The configuration that a request makes of the active one, still without a version.
///
/// # Errors
/// The first of 3.9's errors, in its order.
pub fn asked(active: &Ensemble, request: &Reconfig<'_>, rules: Rules) -> Result<Configuration, Refused> {
    let ensemble = match request.new_members {
        Some(members) => whole(members, rules.standalone_enabled)?,
        None => changed(active, request)?,
    };
    let voters_min = if rules.standalone_enabled { VOTERS_MIN_WITH_STANDALONE } else { 1 };
    let voters = ensemble.participants();
    if voters < voters_min {
        return Err(Refused::arguments(format!(
            "{voters} voters are left, and standaloneEnabled={} wants {voters_min} at least",
            rules.standalone_enabled
        )));
    }
    let several = ensemble.servers.values().find(|server| server.addresses.len() > 1);
    if let Some(several) = several.filter(|_| !rules.multi_address) {
        return Err(Refused::arguments(format!(
            "server.{}: {} addresses want multiAddress.enabled=true",
            several.sid,
            several.addresses.len()
        )));
    }
    if let Some((sid, why)) = ensemble.collisions().into_iter().next() {
        return Err(Refused::arguments(format!("server.{sid}: {why}")));
    }
    Configuration::new(ensemble).map_err(|error| Refused::arguments(error.to_string()))
}

/// Checks the numbers of servers. 3.9 has no such limit, so all of its own errors win.
///
/// # Errors
/// One is outside 0 to 255.
pub fn check_numbers(configuration: &Configuration) -> Result<(), Refused> {
    let outside = configuration.ensemble().servers.keys().find(|sid| !(0..=SID_MAX).contains(*sid));
    match outside {
        Some(sid) => {
            Err(Refused::arguments(format!("server.{sid}: numbers of servers are from 0 to {SID_MAX}")))
        }
        None => Ok(()),
    }
}

/// All servers, by lines or with commas between them. What a configuration file must not say is a request that cannot be read,
/// as in Java.
fn whole(members: &[u8], standalone_enabled: bool) -> Result<Ensemble, Refused> {
    let text = text(members)?;
    let ensemble = Ensemble::parse(&text.replace(',', "\n"))?;
    if ensemble.participants() == 0 {
        return Err(Refused::unreadable("no server is a participant"));
    }
    match ensemble.check(standalone_enabled).into_iter().next() {
        Some(why) => Err(Refused::unreadable(why)),
        None => Ok(ensemble),
    }
}

/// The present servers without those that leave, and with those that join or change.
fn changed(active: &Ensemble, request: &Reconfig<'_>) -> Result<Ensemble, Refused> {
    if active.hierarchical {
        return Err(Refused::arguments("servers in groups are changed only all together, by new members"));
    }
    let mut ensemble = active.clone();
    for leaving in items(request.leaving)? {
        let sid: i64 = leaving.parse().map_err(|_| {
            Refused::unreadable(format!("{leaving:?}, which is to leave, is no number of a server"))
        })?;
        ensemble.servers.remove(&sid);
    }
    for joining in items(request.joining)? {
        let both = joining.split_once('=').filter(|(name, line)| !name.is_empty() && !line.is_empty());
        let (name, line) =
            both.ok_or_else(|| Refused::arguments(format!("{joining:?} is not server.N=address")))?;
        let sid = name.trim().rsplit('.').next().and_then(|sid| sid.parse().ok());
        let sid: i64 = sid.ok_or_else(|| Refused::unreadable(format!("{name:?} is not server.N")))?;
        if line.contains('\n') {
            return Err(Refused::arguments(format!(
                "server.{sid}: a comma is wanted before the next server"
            )));
        }
        let joiner = Ensemble::parse(&format!("server.{sid}={}", line.trim())).map_err(|error| {
            let Refused { code, why } = error.into();
            Refused { code, why: format!("server.{sid}: {why}") }
        })?;
        // Clients must find it, too.
        let server = joiner.servers.into_values().next().filter(|server| server.client.is_some());
        let server = server
            .ok_or_else(|| Refused::arguments(format!("server.{sid}: {line:?} has no ;port for clients")))?;
        ensemble.servers.insert(sid, server);
    }
    Ok(ensemble)
}

fn text(bytes: &[u8]) -> Result<&str, Refused> {
    std::str::from_utf8(bytes).map_err(|error| Refused::arguments(error.to_string()))
}

/// What stands between commas, without blanks around it.
fn items(bytes: Option<&[u8]>) -> Result<impl Iterator<Item = &str>, Refused> {
    let text = text(bytes.unwrap_or_default())?;
    Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reason names the server, the value and what is wanted.
    #[test]
    fn reasons() {
        let active = Ensemble::parse("server.1=a:1:2;3\nserver.2=b:1:2;3").expect("two servers");
        let rules = Rules { standalone_enabled: true, multi_address: false };
        let refused = |joining: &str, leaving: &str, members: Option<&str>| {
            let [joining, leaving] = [joining, leaving].map(|text| Some(text.as_bytes()));
            let new_members = members.map(str::as_bytes);
            let request = Reconfig { joining, leaving, new_members, config_id: -1 };
            let asked = asked(&active, &request, rules);
            let refused = asked.and_then(|asked| check_numbers(&asked)).err();
            refused.map(|Refused { code, why }| (code, why))
        };
        assert_eq!(refused("server.3=c:1:2;3", "", None), None);
        let (arguments, unreadable) = (ErrorCode::BadArguments, ErrorCode::MarshallingError);
        for (joining, leaving, members, code, parts) in [
            ("server.256=c:1:2;3", "", None, arguments, &["server.256", "255"][..]),
            ("server.3=c:1:2", "", None, arguments, &["server.3", "c:1:2", "port for clients"]),
            ("server.3=a:1:2;3", "", None, arguments, &["server.3", "a:1", "server.1"]),
            ("server.3", "", None, arguments, &["\"server.3\"", "server.N=address"]),
            ("server.x=c:1:2;3", "", None, unreadable, &["server.x"]),
            ("server.3=c:1:x;3", "", None, arguments, &["server.3", "\"x\""]),
            (
                "server.3=c:1:2|d:1:2;3",
                "",
                None,
                arguments,
                &["server.3", "2 addresses", "multiAddress.enabled"],
            ),
            ("", "2", None, arguments, &["1 voters", "standaloneEnabled=true", "2"]),
            ("", "two", None, unreadable, &["\"two\""]),
            ("", "", Some("server.1=a:1:2:observer;3"), unreadable, &["participant"]),
        ] {
            let (have, why) = refused(joining, leaving, members).expect(joining);
            assert_eq!(have, code, "{joining} {leaving} {members:?}: {why}");
            assert!(parts.iter().all(|part| why.contains(part)), "{joining} {leaving} {members:?}: {why}");
        }
    }
}
