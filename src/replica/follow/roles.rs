//! How a follower's side becomes a leader's, and a leader's a follower's: nothing of the clients is lost.

use super::{Follow, Forwarded};
use crate::proto::SessionId;
use crate::replica::commit::Parts;
use crate::replica::core::Core;
use crate::replica::fencing::Attach;
use crate::replica::{CnxnId, Now, Origin, Request, Uplink, ViewRequest};
use std::collections::BTreeMap;

impl Follow {
    /// Goes on for a leader that has handed over: its clients stay connected, and what they asked goes to the next leader.
    pub fn of_leader(parts: Parts, now: Now) -> Self {
        let Parts { core, sessions, owners, fenced, waiting } = parts;
        let mut follow = Self { owners, ..Self::of(core, sessions, now) };
        for (former, Attach { cnxn: from, session_id, timeout_ms }) in fenced {
            follow.leaving.push((session_id, former));
            // That of another server's client asks the next leader.
            if let Origin::Client(cnxn) = from {
                follow.fencing.wait(former, Attach { cnxn, session_id, timeout_ms });
            }
        }
        waiting.into_iter().for_each(|uplink| follow.submit(now, uplink));
        follow
    }

    /// Gives the role up; everything must be committed. What clients asked for and no leader has answered is
    /// given along.
    pub fn into_parts(
        mut self,
        now: Now,
    ) -> (Core, BTreeMap<SessionId, i32>, BTreeMap<SessionId, CnxnId>, Uplink) {
        assert!(self.logged.is_empty(), "{} txns are in the log and not in the tree", self.logged.len());
        self.core.next_session_id = Some(self.next_session_id);
        // Their clients' requests come again, and with them what makes the sessions global.
        let session_ms = self.core.session_ms(now);
        self.core.local.give_upgrades_up(session_ms);
        let mut waiting = Uplink::default();
        for (session_id, requests) in self.forwarded {
            for Forwarded { cnxn, xid, op, body, ids, .. } in requests {
                let start = waiting.bytes.len();
                waiting.bytes.extend_from_slice(&body);
                let body = start..waiting.bytes.len();
                let origin = cnxn.into();
                waiting.items.push(ViewRequest::Request(Request { origin, session_id, xid, op, body, ids }));
            }
        }
        for Attach { cnxn, session_id, timeout_ms } in self.creating.into_values() {
            waiting.items.push(ViewRequest::CreateSession { from: cnxn.into(), session_id, timeout_ms });
        }
        // Those that wait for a fence ask again: the former connection, which was told, sends nothing any more.
        for Attach { cnxn, session_id, timeout_ms } in
            self.attaching.into_iter().chain(self.fencing.into_waiting())
        {
            waiting.items.push(ViewRequest::Revalidate { from: cnxn.into(), session_id, timeout_ms });
        }
        (self.core, self.sessions, self.owners, waiting)
    }
}
