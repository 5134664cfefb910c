//! Sessions: clients open them, attach to them and close them; those that nothing is heard of expire.

use super::{Asker, Commit};
use crate::proto::{ErrorCode, OpCode, SessionId, Zxid};
use crate::replica::fencing::{Attach, attachment_cxid};
use crate::replica::local::Upgrading;
use crate::replica::{CnxnId, ControlKind, Now, Origin, SessionKind, SessionOwner, TxnKind};
use crate::session;
use crate::txn::Txn;

/// Bytes of paths up to which a closeSession's txn lists them. ZooKeeper's servers read no txn that is longer than their
/// `jute.maxbuffer` and some extra, neither from their leader nor from their own log: 1 MiB and as much by default, 1 MiB
/// and 1 KiB at least.
const CLOSE_SESSION_PATHS_BYTES_MAX: usize = 1_000_000;

impl Commit {
    /// These sessions gave a sign of life.
    pub fn heard(&mut self, now: Now, sessions: &[SessionId]) {
        let now_ms = self.session_ms(now);
        for id in sessions {
            if !self.sessions.heard(*id, now_ms) {
                self.core.local.heard(*id, now_ms);
            }
        }
    }

    /// The time by which sessions live.
    pub(super) fn session_ms(&self, now: Now) -> i64 {
        self.core.session_ms(now)
    }

    /// Checks that the session is alive and has the connection that asks.
    pub(super) fn check_session(&mut self, asker: &Asker<'_>) -> Result<(), ErrorCode> {
        let Some(origin) = asker.origin else { return Ok(()) };
        match self.sessions.check(asker.session_id, origin.owner()) {
            Err(ErrorCode::SessionExpired) if self.sessions.get(asker.session_id).is_none() => match origin {
                Origin::Client(cnxn) => self.core.local.check(asker.session_id, cnxn),
                Origin::Learner { .. } if self.may_be_of_learner(asker.session_id) => Ok(()),
                Origin::Learner { .. } => Err(ErrorCode::SessionExpired),
            },
            checked => checked,
        }
    }

    /// The same of what only a session of the ensemble may do: own an ephemeral.
    pub(super) fn check_global_session(&mut self, asker: &Asker<'_>) -> Result<(), ErrorCode> {
        let Some(origin) = asker.origin else { return Ok(()) };
        match self.sessions.check(asker.session_id, origin.owner()) {
            Err(ErrorCode::SessionExpired) if self.core.local.contains(asker.session_id) => {
                Err(ErrorCode::EphemeralOnLocalSession)
            }
            checked => checked,
        }
    }

    /// Notes a request of a session that is not the ensemble's; false if no server may know it.
    pub(super) fn hears_local(&mut self, asker: &Asker<'_>, op: OpCode) -> bool {
        match asker.origin {
            Some(Origin::Client(_)) => {
                let session_ms = self.session_ms(asker.now);
                self.core.local.heard(asker.session_id, session_ms)
            }
            Some(Origin::Learner { .. }) => {
                op != OpCode::CLOSE_SESSION
                    && self.sessions.get(asker.session_id).is_none()
                    && self.may_be_of_learner(asker.session_id)
            }
            None => false,
        }
    }

    /// Whether a learner may have given out this id, for a session that it does not tell of.
    /// Source: `LeaderSessionTracker.checkSession`.
    fn may_be_of_learner(&self, session_id: SessionId) -> bool {
        let of_server = (session_id.0 as u64 >> 56) as u8;
        self.core.settings.local_sessions
            && of_server != self.core.settings.server_id
            && !self.ended.contains(session_id)
    }

    /// Makes a local session the ensemble's.
    pub(super) fn upgrade(&mut self, asker: &Asker<'_>) {
        let (session_id, now) = (asker.session_id, asker.now);
        let Some(Upgrading { timeout_ms, owner }) = self.core.local.remove(session_id) else { return };
        self.sessions.track(session_id, timeout_ms, self.session_ms(now));
        let owned = owner.map(|cnxn| self.sessions.set_owner(session_id, SessionOwner::Client(cnxn)));
        if owned.is_some_and(|owned| owned.is_err()) {
            // A learner has named the same id, and its session ends.
            return;
        }
        #[cfg(any(test, feature = "sim"))]
        if self.core.settings.has_bug(crate::replica::SessionsBug::UpgradeNotLogged) {
            return;
        }
        self.next_zxid();
        let header =
            self.header(&Asker { origin: None, session_id, xid: 0, ids: &[], now }, OpCode::CREATE_SESSION);
        self.log(&header, &Txn::CreateSession { timeout_ms });
        self.push(None, 0, SessionKind::Created { session_id, timeout_ms });
    }

    /// A client opens a session, or attaches to one; `seen` is the newest zxid that it has seen.
    pub(super) fn connect(
        &mut self,
        now: Now,
        origin: Origin,
        session_id: SessionId,
        password: &[u8],
        timeout_ms: i32,
        seen: Zxid,
    ) {
        // Signed, as in Java: -1 is before everything.
        if seen.to_wire() > self.committed.to_wire() {
            return self.push(Some(origin), 0, SessionKind::Ahead { seen });
        }
        let (min_ms, max_ms) =
            (self.core.settings.min_session_timeout_ms, self.core.settings.max_session_timeout_ms);
        let timeout_ms = timeout_ms.max(min_ms).min(max_ms);
        if session_id.is_none() {
            let session_id = self.sessions.next_session_id();
            if let (true, Origin::Client(cnxn)) = (self.core.settings.local_sessions, origin) {
                if self.core.local.is_full() {
                    self.core.metrics.counters.connection_rejected += 1;
                    return self.push(Some(origin), 0, TxnKind::Dropped);
                }
                let session_ms = self.session_ms(now);
                self.core.local.open(session_id, timeout_ms, cnxn, session_ms);
                return self.push(Some(origin), 0, SessionKind::Opened { session_id, timeout_ms });
            }
            return self.create_session(now, origin, session_id, timeout_ms);
        }
        // The password first: a client that only guesses an id must not end its owner's connection.
        match session::is_password(session_id, password) {
            true => self.attach(now, Attach { cnxn: origin, session_id, timeout_ms }),
            false => self.push(Some(origin), 0, SessionKind::Refused { session_id }),
        }
    }

    /// Begins a session for the client at `origin`.
    pub(super) fn create_session(
        &mut self,
        now: Now,
        origin: Origin,
        session_id: SessionId,
        timeout_ms: i32,
    ) {
        self.core.local.remove(session_id);
        self.sessions.track(session_id, timeout_ms, self.session_ms(now));
        if self.sessions.set_owner(session_id, origin.owner()).is_err() {
            // A learner names one that is being closed: it hears of that.
            return;
        }
        self.next_zxid();
        let header =
            self.header(&Asker { origin: None, session_id, xid: 0, ids: &[], now }, OpCode::CREATE_SESSION);
        self.log(&header, &Txn::CreateSession { timeout_ms });
        self.push(Some(origin), 0, SessionKind::Created { session_id, timeout_ms });
    }

    /// Attaches a client to its session, once the session's former connection is silent.
    pub(super) fn attach(&mut self, now: Now, attach: Attach<Origin>) {
        let Attach { cnxn: origin, session_id, timeout_ms } = attach;
        if let Origin::Client(cnxn) = origin
            && self.core.local.contains(session_id)
        {
            let session_ms = self.session_ms(now);
            let former = self.core.local.attach(session_id, timeout_ms, cnxn, session_ms);
            return match former.filter(|former| *former != cnxn) {
                Some(former) => {
                    self.fencing.wait(former, attach);
                    self.push(Some(former.into()), 0, ControlKind::Fence(former));
                }
                None => self.push(Some(origin), 0, SessionKind::Attached { session_id, timeout_ms }),
            };
        }
        let known = !self.sessions.is_closing(session_id)
            && self.sessions.touch(session_id, timeout_ms, self.session_ms(now));
        if !known {
            return self.push(Some(origin), 0, SessionKind::Refused { session_id });
        }
        // From here on its client pings by what it is told now.
        self.sessions.set_timeout(session_id, timeout_ms);
        let former = self.sessions.owner(session_id).filter(|former| *former != origin.owner());
        if self.sessions.set_owner(session_id, origin.owner()).is_err() {
            return self.push(Some(origin), 0, SessionKind::Refused { session_id });
        }
        if self.leads {
            // A txn, so that its former server knows of it under any next leader: what that still holds for the client
            // must not be done any more. To ZooKeeper's own servers it is a session that they know.
            self.next_zxid();
            let xid = match origin {
                Origin::Client(_) => attachment_cxid(self.core.settings.server_id.into()),
                Origin::Learner { sid, .. } => attachment_cxid(sid),
            };
            let header =
                self.header(&Asker { origin: None, session_id, xid, ids: &[], now }, OpCode::CREATE_SESSION);
            self.log(&header, &Txn::CreateSession { timeout_ms });
            self.push(None, 0, SessionKind::Created { session_id, timeout_ms });
        }
        // An attachment that still waits was overtaken: its connection is fenced like any other. What a learner
        // still forwards for a connection that it lost is refused by its origin, and needs no fence.
        match former {
            Some(SessionOwner::Client(former)) => {
                self.fencing.wait(former, attach);
                self.push(Some(former.into()), 0, ControlKind::Fence(former));
            }
            Some(SessionOwner::Server { .. }) | None => {
                self.push(Some(origin), 0, SessionKind::Attached { session_id, timeout_ms });
            }
        }
    }

    /// A connection has said that it sends nothing any more.
    pub(super) fn fenced(&mut self, former: CnxnId) {
        let Self { core, sessions, fencing, .. } = self;
        let lives = |id| sessions.get(id).is_some() && !sessions.is_closing(id);
        let mut answers = Vec::new();
        let is_owner = |attach: &Attach<Origin>| {
            let local = core.local.owner(attach.session_id).map(SessionOwner::Client);
            sessions.owner(attach.session_id).or(local) == Some(attach.cnxn.owner())
        };
        // A learner can only be told that the session is gone, which it is not.
        let is_valid = |attach: &Attach<Origin>| attach.cnxn.learner().is_some() && lives(attach.session_id);
        fencing.fenced(former, is_owner, is_valid, |origin, what| answers.push((origin, what)));
        answers.into_iter().for_each(|(origin, what)| core.push_in_order(Some(origin), 0, what));
    }

    /// Ends a session, and deletes its ephemerals.
    pub(super) fn close_session(&mut self, asker: &Asker<'_>) {
        self.closed += 1;
        self.next_zxid();
        let header = self.header(asker, OpCode::CLOSE_SESSION);
        let paths: Vec<Box<[u8]>> = self.core.tree.ephemerals(asker.session_id).map(Box::from).collect();
        // Without the list, replicas delete what their trees say: the same, and never too long for a server to read.
        let listed = self.core.settings.close_session_paths
            && paths.iter().map(|path| path.len() + 4).sum::<usize>() < CLOSE_SESSION_PATHS_BYTES_MAX;
        let listed = listed.then(|| paths.iter().map(|path| &**path).collect());
        let txn = Txn::CloseSession { paths: listed };
        self.apply(&header, &txn, None);
        self.log(&header, &txn);
        debug_assert_eq!(
            self.core.tree.ephemerals(asker.session_id).next(),
            None,
            "an ephemeral outlives its session"
        );
        self.sessions.remove(asker.session_id);
        if self.core.settings.local_sessions {
            self.ended.note(asker.session_id);
        }
        debug_assert!(self.sessions.owner(asker.session_id).is_none(), "a session outlives its close");
        self.push(asker.origin, asker.xid, SessionKind::Closed { session_id: asker.session_id });
    }
}
