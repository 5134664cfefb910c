//! Reconfigurations: a client asks for other servers, roles or addresses.
//!
//! A reconfiguration is the last txn of its group, and nothing is proposed after it before it is committed: what comes
//! waits, about as long as one flush and one round trip. So nothing that was proposed is lost where another server leads
//! afterwards, and a second reconfiguration waits for the first one instead of being refused.
//!
//! Source: `PrepRequestProcessor.pRequest2Txn`, Apache ZooKeeper 3.9.4.

use super::reconfiguring::Reconfiguring;
use super::{Asker, Commit};
use crate::database::CONFIG_PATH;
use crate::proto::request::Reconfig;
use crate::proto::{ErrorCode, OpCode, Perms, Reader, ServerId};
use crate::replica::{CommitSettings, TxnKind};
use crate::txn::Txn;
use crate::zab::configuration::{Configuration, Configurations};
use crate::zab::reconfig_request::{Rules, asked, check_numbers};
use std::collections::BTreeSet;

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
        let CommitSettings { standalone_enabled, multi_address, .. } = self.core.settings;
        let rules = Rules { standalone_enabled, multi_address };
        let configuration = asked(active.ensemble(), request, rules).map_err(|refused| refused.code)?;
        if !configuration.decides(followers.iter().copied()) {
            return Err(ErrorCode::NewConfigNoQuorum);
        }
        let index = self.core.tree.find(CONFIG_PATH).ok_or(ErrorCode::NoNode)?;
        self.permit(index, Perms::WRITE, asker.ids)?;
        check_numbers(&configuration).map_err(|refused| refused.code)?;
        self.core.tree.remember(index);
        Ok(configuration)
    }
}
