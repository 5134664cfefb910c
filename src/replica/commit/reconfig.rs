//! Reconfigurations: a client asks for other servers, roles or addresses.
//!
//! A reconfiguration is the last txn of its group, and nothing is proposed after it before it is committed: what comes
//! waits, about as long as one flush and one round trip. So nothing that was proposed is lost where another server leads
//! afterwards, and a second reconfiguration waits for the first one instead of being refused.
//!
//! Source: `PrepRequestProcessor.pRequest2Txn`, Apache ZooKeeper 3.9.4.

use super::reconfiguring::Reconfiguring;
use super::{Asker, Commit};
use crate::config::{Ensemble, ParseError};
use crate::database::CONFIG_PATH;
use crate::proto::request::Reconfig;
use crate::proto::{ErrorCode, OpCode, Perms, Reader, ServerId};
use crate::replica::{CommitSettings, TxnKind};
use crate::txn::Txn;
use crate::zab::configuration::{Configuration, Configurations};
use std::collections::BTreeSet;

/// Largest number of a server: it is the high byte of its sessions' ids.
const SID_MAX: i64 = 255;

/// Fewest voters of a reconfiguration where `standaloneEnabled` is set.
const VOTERS_MIN_WITH_STANDALONE: usize = 2;

impl Commit {
    /// It leads with these configurations and followers; `is_leaving` says that another server is to lead.
    pub fn set_configurations(
        &mut self,
        configs: &Configurations,
        followers: BTreeSet<ServerId>,
        is_leaving: bool,
    ) {
        assert!(self.leads, "only a leader reconfigures");
        let proposed = self.reconfiguring.take().and_then(|before| before.proposed);
        let is_barred = is_leaving || configs.next().is_some() || proposed.is_some();
        let active = configs.active().clone();
        self.reconfiguring = Some(Reconfiguring { active, followers, proposed, is_barred });
    }

    /// The version of the active configuration that it knows of.
    pub fn config_version(&self) -> i64 {
        self.reconfiguring.as_ref().map_or(0, |reconfiguring| reconfiguring.active.version())
    }

    /// Deals with a client's reconfiguration.
    pub(super) fn reconfigure(&mut self, asker: &Asker<'_>, body: &[u8]) {
        let Ok(request) = Reconfig::read(&mut Reader::new(body)) else {
            return self.refuse(asker, ErrorCode::MarshallingError);
        };
        self.next_zxid();
        let configuration = match self.check_reconfiguration(asker, &request) {
            Ok(configuration) => configuration.with_version(self.core.zxid.to_wire()),
            Err(code) => return self.fail(asker, code),
        };
        // The version of the znode stays what it is, as in Java.
        let txn = Txn::SetData { path: CONFIG_PATH, data: Some(configuration.text()), version: -1 };
        let header = self.header(asker, OpCode::RECONFIG);
        self.apply(&header, &txn, None);
        self.log(&header, &txn);
        self.push(asker.origin, asker.xid, TxnKind::Done(OpCode::RECONFIG));
        if let Some(reconfiguring) = &mut self.reconfiguring {
            (reconfiguring.proposed, reconfiguring.is_barred) = (Some(configuration), true);
        }
    }

    /// Checks it in the order in which 3.9's errors win.
    fn check_reconfiguration(
        &mut self,
        asker: &Asker<'_>,
        request: &Reconfig<'_>,
    ) -> Result<Configuration, ErrorCode> {
        if !self.core.settings.reconfig_enabled {
            return Err(ErrorCode::ReconfigDisabled);
        }
        self.check_session(asker)?;
        // A server alone has no ensemble.
        let Reconfiguring { active, followers, .. } =
            self.reconfiguring.as_ref().ok_or(ErrorCode::Unimplemented)?;
        if request.config_id != -1 && request.config_id != active.version() {
            return Err(ErrorCode::BadVersion);
        }
        let ensemble = match request.new_members {
            Some(members) => whole(members, self.core.settings.standalone_enabled)?,
            None => changed(active.ensemble(), request)?,
        };
        let CommitSettings { standalone_enabled, multi_address, .. } = self.core.settings;
        let voters_min = if standalone_enabled { VOTERS_MIN_WITH_STANDALONE } else { 1 };
        let has_several = ensemble.servers.values().any(|server| server.addresses.len() > 1);
        if ensemble.participants() < voters_min
            || has_several && !multi_address
            || !ensemble.collisions().is_empty()
        {
            return Err(ErrorCode::BadArguments);
        }
        let configuration = Configuration::new(ensemble).map_err(|_| ErrorCode::BadArguments)?;
        if !configuration.decides(followers.iter().copied()) {
            return Err(ErrorCode::NewConfigNoQuorum);
        }
        let index = self.core.tree.find(CONFIG_PATH).ok_or(ErrorCode::NoNode)?;
        self.permit(index, Perms::WRITE, asker.ids)?;
        // 3.9 has no such limit, so its own errors win.
        if configuration.ensemble().servers.keys().any(|sid| !(0..=SID_MAX).contains(sid)) {
            return Err(ErrorCode::BadArguments);
        }
        self.core.tree.remember(index);
        Ok(configuration)
    }
}

/// All servers, by lines or with commas between them. What a configuration file must not say is a request that cannot be read,
/// as in Java.
fn whole(members: &[u8], standalone_enabled: bool) -> Result<Ensemble, ErrorCode> {
    let text = std::str::from_utf8(members).map_err(|_| ErrorCode::BadArguments)?;
    let ensemble = Ensemble::parse(&text.replace(',', "\n")).map_err(|error| code(&error))?;
    let is_refused = ensemble.participants() == 0 || !ensemble.check(standalone_enabled).is_empty();
    if is_refused { Err(ErrorCode::MarshallingError) } else { Ok(ensemble) }
}

fn code(error: &ParseError) -> ErrorCode {
    if error.is_unreadable { ErrorCode::MarshallingError } else { ErrorCode::BadArguments }
}

/// The present servers without those that leave, and with those that join or change.
fn changed(active: &Ensemble, request: &Reconfig<'_>) -> Result<Ensemble, ErrorCode> {
    if active.hierarchical {
        return Err(ErrorCode::BadArguments);
    }
    let mut ensemble = active.clone();
    for leaving in items(request.leaving)? {
        // Of one that is no number Java makes a request that cannot be read.
        let sid: i64 = leaving.parse().map_err(|_| ErrorCode::MarshallingError)?;
        ensemble.servers.remove(&sid);
    }
    for joining in items(request.joining)? {
        let both = joining.split_once('=').filter(|(name, line)| !name.is_empty() && !line.is_empty());
        let (name, line) = both.ok_or(ErrorCode::BadArguments)?;
        let sid = name.trim().rsplit('.').next().and_then(|sid| sid.parse().ok());
        let sid: i64 = sid.ok_or(ErrorCode::MarshallingError)?;
        if line.contains('\n') {
            return Err(ErrorCode::BadArguments);
        }
        let joiner = Ensemble::parse(&format!("server.{sid}={}", line.trim()));
        let joiner = joiner.map_err(|error| code(&error))?;
        // Clients must find it, too.
        let server = joiner.servers.into_values().next().filter(|server| server.client.is_some());
        ensemble.servers.insert(sid, server.ok_or(ErrorCode::BadArguments)?);
    }
    Ok(ensemble)
}

/// What stands between commas, without blanks around it.
fn items(text: Option<&[u8]>) -> Result<impl Iterator<Item = &str>, ErrorCode> {
    let text = std::str::from_utf8(text.unwrap_or_default()).map_err(|_| ErrorCode::BadArguments)?;
    Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()))
}
