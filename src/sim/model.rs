//! What a tree is, said as plainly as possible: every znode as it was after every txn.

use crate::proto::{ErrorCode, OpCode, SessionId, Stat, Zxid};
use crate::txn::{self, AclTable, CreateKind, CreateTxn, Txn, TxnHeader};
use std::collections::{BTreeMap, BTreeSet};

/// A znode after a txn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its data.
    pub data: Option<Vec<u8>>,
    /// Owner, zxids, times and versions, but for what children count.
    stat: Stat,
    /// Children ever created.
    creates: i32,
}

impl Node {
    /// What a client is told.
    pub fn stat(&self) -> Stat {
        let Stat { children, .. } = self.stat;
        let data_bytes = self.data.as_ref().map_or(0, Vec::len) as i32;
        Stat { cversion: self.creates * 2 - children, data_bytes, ..self.stat }
    }
}

/// What a watch waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum WatchKind {
    /// New data, or the end of the znode.
    Data,
    /// That it comes.
    Exist,
    /// That a child comes or goes, or the end of the znode.
    Child,
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Model {
    nodes: BTreeMap<Vec<u8>, Vec<(Zxid, Option<Node>)>>,
    /// When a watch of each kind would have fired.
    fires: BTreeMap<(WatchKind, Vec<u8>), Vec<Zxid>>,
    /// Alive sessions, with the txn that began each.
    sessions: BTreeMap<SessionId, Zxid>,
    /// Ended sessions, with the txn that ended each.
    ended: BTreeMap<SessionId, Zxid>,
    ephemerals: BTreeMap<SessionId, BTreeSet<Vec<u8>>>,
    /// Sessions that the ensemble does not know may write.
    pub has_local_sessions: bool,
    /// Newest cxid of each session.
    cxids: BTreeMap<SessionId, i32>,
    acls: AclTable,
}

fn parent(path: &[u8]) -> Vec<u8> {
    let slash = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    path[..slash.max(1)].to_vec()
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

impl Default for Model {
    fn default() -> Self {
        let root = Node { data: None, stat: Stat::default(), creates: 0 };
        Self {
            nodes: BTreeMap::from([(b"/".to_vec(), vec![(Zxid::ZERO, Some(root))])]),
            fires: BTreeMap::new(),
            sessions: BTreeMap::new(),
            ended: BTreeMap::new(),
            ephemerals: BTreeMap::new(),
            has_local_sessions: false,
            cxids: BTreeMap::new(),
            acls: AclTable::new(0),
        }
    }
}

impl Model {
    /// A znode as it was after `zxid`.
    pub fn at(&self, path: &[u8], zxid: Zxid) -> Option<&Node> {
        let versions = self.nodes.get(path)?;
        let count = versions.partition_point(|(since, _)| *since <= zxid);
        versions[..count].last()?.1.as_ref()
    }

    fn newest(&self, path: &[u8]) -> Option<&Node> {
        self.at(path, Zxid(u64::MAX))
    }

    /// A copy of a znode as it is after the last txn.
    fn newest_of(&self, path: &[u8]) -> Result<Node, String> {
        self.newest(path).cloned().ok_or_else(|| format!("{} is not there", text(path)))
    }

    /// Names of the children as they were after `zxid`.
    pub fn children(&self, path: &[u8], zxid: Zxid) -> BTreeSet<Vec<u8>> {
        let prefix = [path, b"/"].concat();
        let below = self.nodes.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
        let names = below.filter(|(path, _)| self.at(path, zxid).is_some());
        names.map(|(path, _)| path[prefix.len()..].to_vec()).filter(|name| !name.contains(&b'/')).collect()
    }

    /// The first txn behind `since` that a watch would have fired for.
    pub fn fires_after(&self, kind: WatchKind, path: &[u8], since: Zxid) -> Option<Zxid> {
        let fires = self.fires.get(&(kind, path.to_vec()))?;
        fires.get(fires.partition_point(|zxid| *zxid <= since)).copied()
    }

    /// Whether a session is alive.
    pub fn is_alive(&self, session_id: SessionId) -> bool {
        self.sessions.contains_key(&session_id)
    }

    /// Which txn began a session that is alive.
    pub fn began(&self, session_id: SessionId) -> Option<Zxid> {
        self.sessions.get(&session_id).copied()
    }

    /// Whether a txn is about the session's beginning or end.
    pub fn knows(&self, session_id: SessionId) -> bool {
        self.is_alive(session_id) || self.ended.contains_key(&session_id)
    }

    /// Which txn ended a session.
    pub fn ended(&self, session_id: SessionId) -> Option<Zxid> {
        self.ended.get(&session_id).copied()
    }

    /// Sessions that have ended.
    pub fn ended_count(&self) -> usize {
        self.ended.len()
    }

    fn put(&mut self, path: &[u8], zxid: Zxid, node: Option<Node>) {
        let versions = self.nodes.entry(path.to_vec()).or_default();
        match versions.last_mut() {
            Some((since, last)) if *since == zxid => *last = node,
            _ => versions.push((zxid, node)),
        }
    }

    fn fire(&mut self, kind: WatchKind, path: &[u8], zxid: Zxid) {
        self.fires.entry((kind, path.to_vec())).or_default().push(zxid);
    }

    fn count_child(&mut self, path: &[u8], zxid: Zxid, change: i32) -> Result<i32, String> {
        let above = parent(path);
        let mut node = self.newest(&above).ok_or_else(|| format!("{} has no parent", text(path)))?.clone();
        node.stat.children += change;
        node.stat.pzxid = zxid;
        node.creates += change.max(0);
        let creates = node.creates;
        self.put(&above, zxid, Some(node));
        self.fire(WatchKind::Child, &above, zxid);
        Ok(creates)
    }

    fn delete(&mut self, path: &[u8], zxid: Zxid) -> Result<(), String> {
        let node = self.newest_of(path)?;
        let (owner, children) = (node.stat.ephemeral_owner, node.stat.children);
        if children > 0 {
            return Err(format!("{} has {children} children", text(path)));
        }
        if let Some(own) = self.ephemerals.get_mut(&owner) {
            own.remove(path);
        }
        self.put(path, zxid, None);
        self.fire(WatchKind::Data, path, zxid);
        self.fire(WatchKind::Child, path, zxid);
        self.count_child(path, zxid, -1).map(|_| ())
    }

    /// Carries out the next committed txn.
    ///
    /// # Errors
    /// What of it cannot be.
    pub fn apply(&mut self, bytes: &[u8]) -> Result<TxnHeader, String> {
        let mut acls = std::mem::replace(&mut self.acls, AclTable::new(0));
        let read = txn::read(bytes, &mut acls).map_err(|error| format!("does not decode: {error}"));
        let applied = read.and_then(|(header, txn, _)| {
            // A request that came too late for its session was never done, and says so wherever it stands.
            let is_refusal = |txn: &Txn<'_>| {
                let refusals = [ErrorCode::SessionExpired, ErrorCode::SessionMoved].map(ErrorCode::to_wire);
                matches!(txn, Txn::Error { code } if refusals.contains(code))
            };
            let is_refused = match &txn {
                Txn::Multi(txns) => txns.iter().any(|(_, txn)| is_refusal(txn)),
                txn => is_refusal(txn),
            };
            if !is_refused {
                self.account(&header)?;
            }
            self.one(&header, &txn)?;
            Ok(header)
        });
        self.acls = acls;
        applied
    }

    /// Every request counts once, in the order of its session.
    fn account(&mut self, header: &TxnHeader) -> Result<(), String> {
        let TxnHeader { session_id, cxid, .. } = *header;
        if cxid <= 0 {
            return Ok(());
        }
        let last = self.cxids.entry(session_id).or_insert(0);
        if cxid <= *last {
            return Err(format!("request {cxid} of session {session_id:#x} is done after its {last}"));
        }
        *last = cxid;
        Ok(())
    }

    /// Carries out one txn, which may be part of a multi.
    fn one(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Result<(), String> {
        let (zxid, session_id) = (header.zxid, header.session_id);
        let is_session = matches!(header.op, OpCode::CREATE_SESSION | OpCode::ERROR);
        if !is_session && session_id.is_some() && !self.is_alive(session_id) {
            let may_be_local = self.has_local_sessions && header.op != OpCode::CLOSE_SESSION;
            if !may_be_local || self.ended.contains_key(&session_id) {
                return Err(format!("session {session_id:#x} is not alive"));
            }
        }
        match txn {
            Txn::Create(create) => self.create(header, create),
            Txn::Delete { path } => self.delete(path, zxid),
            // The configuration's znode is not among those that are modelled.
            Txn::SetData { .. } if header.op == OpCode::RECONFIG => Ok(()),
            Txn::SetData { path, data, version } => self.set_data(header, path, *data, *version),
            Txn::SetAcl { path, .. } => {
                let mut node = self.newest_of(path)?;
                node.stat.aversion += 1;
                self.put(path, zxid, Some(node));
                Ok(())
            }
            Txn::Check { .. } | Txn::Error { .. } => Ok(()),
            Txn::CreateSession { .. } => self.begin_session(session_id, zxid),
            Txn::CloseSession { .. } => self.end_session(session_id, zxid),
            Txn::Multi(txns) if txns.iter().any(|(op, _)| *op == OpCode::ERROR) => Ok(()),
            Txn::Multi(txns) => {
                txns.iter().try_for_each(|(op, txn)| self.one(&TxnHeader { op: *op, ..*header }, txn))
            }
        }
    }

    fn create(&mut self, header: &TxnHeader, create: &CreateTxn<'_>) -> Result<(), String> {
        let (path, zxid) = (create.path, header.zxid);
        if self.newest(path).is_some() {
            return Err(format!("{} is there already", text(path)));
        }
        let creates = self.count_child(path, zxid, 1)?;
        if parent(path) != b"/" && creates != create.parent_cversion {
            let says = create.parent_cversion;
            return Err(format!("{} is child {creates}, and says {says}", text(path)));
        }
        let mut ephemeral_owner = SessionId::NONE;
        if create.kind == CreateKind::Ephemeral {
            ephemeral_owner = header.session_id;
            if !self.is_alive(ephemeral_owner) {
                return Err(format!(
                    "{} is an ephemeral of {ephemeral_owner:#x}, which no txn began",
                    text(path)
                ));
            }
            self.ephemerals.entry(ephemeral_owner).or_default().insert(path.to_vec());
        }
        let stat = Stat {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime_ms: header.time_ms,
            mtime_ms: header.time_ms,
            ephemeral_owner,
            ..Stat::default()
        };
        let node = Node { data: create.data.map(<[u8]>::to_vec), stat, creates: 0 };
        self.put(path, zxid, Some(node));
        self.fire(WatchKind::Exist, path, zxid);
        Ok(())
    }

    fn set_data(
        &mut self,
        header: &TxnHeader,
        path: &[u8],
        data: Option<&[u8]>,
        version: i32,
    ) -> Result<(), String> {
        let mut node = self.newest_of(path)?;
        node.data = data.map(<[u8]>::to_vec);
        node.stat.version += 1;
        if node.stat.version != version {
            let is = node.stat.version;
            return Err(format!("{} becomes version {is}, and says {version}", text(path)));
        }
        (node.stat.mzxid, node.stat.mtime_ms) = (header.zxid, header.time_ms);
        self.put(path, header.zxid, Some(node));
        self.fire(WatchKind::Data, path, header.zxid);
        Ok(())
    }

    /// A session begins, or its client attaches to it again.
    fn begin_session(&mut self, session_id: SessionId, zxid: Zxid) -> Result<(), String> {
        self.sessions.entry(session_id).or_insert(zxid);
        match self.ended.contains_key(&session_id) {
            true => Err(format!("session {session_id:#x} begins after its end")),
            false => Ok(()),
        }
    }

    /// A session ends, and its ephemerals with it.
    fn end_session(&mut self, session_id: SessionId, zxid: Zxid) -> Result<(), String> {
        self.sessions.remove(&session_id);
        self.ended.insert(session_id, zxid);
        let ephemerals = self.ephemerals.remove(&session_id).unwrap_or_default();
        ephemerals.iter().try_for_each(|path| self.delete(path, zxid))
    }
}
