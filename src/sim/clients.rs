//! Clients: what they ask, and what they may be told.
//!
//! A client keeps its session over reconnects to any server, pipelines, and holds every answer against the model: a
//! reply says a zxid, and what it shows must be the tree as it is after that txn.

use super::Random;
use super::client::{Asked, Phase, Watch};
use super::cluster::Cluster;
use super::event::{Arrival, Event, Socket, Who};
use super::model::WatchKind;
use crate::client::session::{Body, Incoming, Reply, Request, Session};
use crate::proto::{
    Acl, ConnectRequest, ConnectResponse, ErrorCode, OpCode, PASSWORD_BYTES, SessionId, XID_PING,
    XID_SET_WATCHES, Zxid,
};
use crate::txn;
use bytes::Bytes;
use std::collections::BTreeSet;

/// How long a client waits for a connection.
const CONNECT_US: u64 = 1_000_000;

fn machine(cluster: &Cluster, client: usize) -> usize {
    cluster.servers.len() + client
}

impl Cluster {
    /// It is a client's turn.
    pub(super) fn act(&mut self, client: usize) {
        let every_us = self.settings.act_us;
        let delay_us = 1 + every_us / 2 + self.net.random.below(every_us);
        self.net.after(delay_us, Event::Client(client));
        let now_us = self.net.now_us;
        let of = &mut self.clients[client];
        match of.phase {
            Phase::Away => self.connect(client),
            Phase::Connecting => {
                if now_us - of.began_us > CONNECT_US {
                    self.hang_up(client);
                }
            }
            Phase::Connected => {
                let timeout_us = of.session.map_or(0, |(_, _, timeout_ms)| timeout_ms as u64 * 1000);
                if now_us - of.heard_us > timeout_us * 2 / 3 {
                    return self.hang_up(client);
                }
                if now_us - of.sent_us > timeout_us / 4 {
                    self.put(client, XID_PING, Request::Ping);
                }
                if !self.clients[client].is_quiet {
                    let count = 1 + self.net.random.below(3);
                    for _ in 0..count {
                        if self.clients[client].asked.len() < self.settings.pipeline {
                            self.ask_something(client);
                        }
                    }
                }
            }
        }
    }

    /// Goes to a server, with the session if there is one.
    pub fn connect(&mut self, client: usize) {
        let servers = self.servers.len() as u64;
        let any = self.net.random.below(servers) as usize;
        let server = self.clients[client].server.unwrap_or(any);
        let view = self.net.random.below(u64::from(self.settings.views)) as u16;
        let is_fleeting = self.clients[client].is_reader && !self.settings.local_sessions;
        if is_fleeting {
            // No server that is read-only takes a session which the ensemble knows.
            self.clients[client].forget_session();
        }
        let from = (machine(self, client), Who::Client);
        let socket = self.net.dial(from, (server, Who::View(view)));
        let of = &mut self.clients[client];
        of.socket = Some(socket);
        of.phase = Phase::Connecting;
        of.began_us = self.net.now_us;
        of.committed = self.oracle.last();
        (of.at, of.is_read_only, of.is_tentative) = (server, false, false);
        of.wire = Session::default();
        // The server's answers to these are lost.
        of.asked.clear();
    }

    /// Leaves its server.
    pub fn hang_up(&mut self, client: usize) {
        let of = &mut self.clients[client];
        of.phase = Phase::Away;
        if let Some(socket) = of.socket.take() {
            self.net.close(socket);
        }
    }

    pub(super) fn client_hears(&mut self, client: usize, socket: Socket, arrival: Arrival) {
        if self.clients[client].socket != Some(socket) {
            if matches!(arrival, Arrival::Connected) {
                self.net.close(socket);
            }
            return;
        }
        match arrival {
            Arrival::Connected => {
                let of = &mut self.clients[client];
                let (session_id, password) = match &of.session {
                    Some((id, password, _)) => (*id, password.to_vec()),
                    None => (SessionId::NONE, vec![0; PASSWORD_BYTES]),
                };
                let request = ConnectRequest {
                    protocol_version: 0,
                    last_zxid_seen: of.seen,
                    timeout_ms: self.settings.tick_ms * (4 + (client as i32 % 3) * 4),
                    session_id,
                    password: Some(&password),
                    read_only: Some(of.is_reader),
                };
                let mut bytes = Vec::new();
                Session::put_connect(&request, &mut bytes);
                self.net.send(socket, bytes.into());
            }
            Arrival::Bytes(bytes) => {
                self.clients[client].heard_us = self.net.now_us;
                self.heard(client, &bytes);
            }
            Arrival::Closed => {
                self.net.vanish(socket);
                let of = &mut self.clients[client];
                (of.socket, of.phase) = (None, Phase::Away);
                of.lost += 1;
            }
            Arrival::Dial => {}
        }
    }

    fn heard(&mut self, client: usize, bytes: &Bytes) {
        self.clients[client].wire.feed(bytes);
        while self.oracle.violation.is_none() && self.clients[client].socket.is_some() {
            let of = &mut self.clients[client];
            if of.phase == Phase::Connecting {
                match of.wire.next_connect() {
                    Ok(None) => return,
                    Ok(Some(response)) => {
                        self.attached(client, &response);
                    }
                    Err(error) => return self.oracle.violate(format!("client {client}: {error}")),
                }
                continue;
            }
            match of.wire.next() {
                Ok(None) => return,
                Ok(Some(Incoming::Event(event))) => {
                    self.event(client, Zxid::from_wire(event.zxid), event.kind, &event.path);
                }
                Ok(Some(Incoming::Reply(reply))) => self.replied(client, reply),
                Err(error) => return self.oracle.violate(format!("client {client}: {error}")),
            }
        }
    }

    fn attached(
        &mut self,
        client: usize,
        &ConnectResponse { session_id, password, timeout_ms, read_only, .. }: &ConnectResponse,
    ) {
        let of = &mut self.clients[client];
        let committed = of.committed;
        of.phase = Phase::Connected;
        of.is_read_only = read_only == Some(true);
        if of.is_read_only && !of.is_reader {
            return self.oracle.violate(format!("client {client} writes, and is connected to read"));
        }
        let process = self.servers[of.at].process.as_ref();
        of.is_tentative =
            of.is_read_only && process.is_some_and(|process| !process.replica().shows_confirmed());
        let is_tentative = of.is_tentative;
        let former = of.session.map(|(id, ..)| id);
        if timeout_ms == 0 {
            self.trace(|_| format!("client {client}: session {former:x?} is gone"));
            // A read-only server does not know of all sessions, and one that was local when its client came here may have
            // become global since.
            if let Some(former) = former
                && read_only != Some(true)
                && self.oracle.model.began(former).is_some_and(|began| began <= committed)
            {
                self.oracle.violate(format!("client {client} is told that its session {former:#x} is gone"));
            }
            let of = &mut self.clients[client];
            of.expired += 1;
            of.forget_session();
            return self.hang_up(client);
        }
        self.trace(|_| format!("client {client} has session {session_id:#x}"));
        if former.is_some_and(|former| former != session_id) {
            self.oracle.violate(format!("client {client} asked for {former:x?} and got {session_id:#x}"));
        }
        if self.oracle.model.ended(session_id).is_some_and(|ended| ended <= self.clients[client].seen) {
            self.oracle.violate(format!("client {client} attaches to {session_id:#x}, which has ended"));
        }
        let of = &mut self.clients[client];
        of.session = Some((session_id, password, timeout_ms));
        if is_tentative {
            return;
        }
        if !of.watches.is_empty() {
            of.is_rearming = true;
            let paths = |kind: WatchKind| {
                let of_kind = of.watches.keys().filter(|(known, _)| *known == kind);
                of_kind.map(|(_, path)| path.clone()).collect::<Vec<_>>()
            };
            let lists = [paths(WatchKind::Data), paths(WatchKind::Exist), paths(WatchKind::Child)];
            let request = Request::SetWatches { relative_zxid: of.seen, lists };
            self.put(client, XID_SET_WATCHES, request);
        }
        if former.is_none() {
            for path in ["/r0", "/r1", "/r2", "/q", "/e", "/d"] {
                self.ask(client, create(path.as_bytes(), Vec::new(), 0));
            }
        }
    }

    fn put(&mut self, client: usize, xid: i32, request: Request) {
        let of = &mut self.clients[client];
        let Some(socket) = of.socket.filter(|_| of.phase == Phase::Connected) else { return };
        let mut bytes = Vec::new();
        of.wire.put_as(xid, &request, &mut bytes);
        of.sent_us = self.net.now_us;
        of.asked.push_back(Asked { xid, request, newest: self.oracle.newest_seen });
        self.net.send(socket, bytes.into());
    }

    /// Asks, if it is connected.
    pub fn ask(&mut self, client: usize, request: Request) {
        let of = &mut self.clients[client];
        if of.phase == Phase::Connected {
            let xid = of.next_xid;
            of.next_xid += 1;
            self.put(client, xid, request);
        }
    }

    fn ask_something(&mut self, client: usize) {
        let (is_reader, is_tentative) = (self.clients[client].is_reader, self.clients[client].is_tentative);
        let random = &mut self.net.random;
        let of = &mut self.clients[client];
        of.salt += 1;
        let value = format!("{}-{}", of.number, of.salt).into_bytes();
        let register = format!("/r{}", random.below(3)).into_bytes();
        let deletable = format!("/d/{}", random.below(4)).into_bytes();
        let ephemeral = format!("/e/{}", random.below(4)).into_bytes();
        let watch = !is_tentative && random.one_in(3);
        let anything = match random.below(4) {
            0 => deletable.clone(),
            1 => ephemeral.clone(),
            _ => register.clone(),
        };
        let version = match random.below(3) {
            0 => -1,
            _ => of.versions.get(&register).copied().unwrap_or(0),
        };
        let request = match random.below(22) {
            0..=11 | 19..=20 if is_tentative => Request::GetData { path: anything, watch },
            7..=8 if is_reader => Request::GetData { path: anything, watch },
            0..=3 => Request::SetData { path: register, data: Some(value), version },
            4..=6 => create(b"/q/n", value, 2),
            7 => create(b"/e/n", value, 3),
            8 => create(&ephemeral, value, 1),
            9 => create(&deletable, value, 0),
            10 => Request::Delete { path: deletable, version: -1 },
            11 => Request::Delete {
                path: of.mine.pop_first().unwrap_or_else(|| b"/q/none".to_vec()),
                version: -1,
            },
            12..=13 => Request::GetData { path: anything, watch },
            14 => Request::Exists { path: anything, watch },
            15 => {
                let path = [&b"/q"[..], b"/e", b"/d"][random.below(3) as usize].to_vec();
                Request::GetChildren2 { path, watch }
            }
            16..=18 => {
                self.ask(client, Request::Sync { path: register.clone() });
                Request::GetData { path: register, watch }
            }
            19..=20 => {
                let mut ops = vec![
                    Request::Check { path: register.clone(), version },
                    create(b"/q/m", value.clone(), 2),
                    Request::SetData { path: register, data: Some(value), version: -1 },
                ];
                if random.one_in(3) {
                    ops.push(Request::Delete { path: deletable, version: -1 });
                }
                if self.settings.local_sessions && !is_reader && random.one_in(3) {
                    ops.push(create(b"/e/m", Vec::new(), 3));
                }
                Request::Multi { ops }
            }
            _ if random.one_in(6) => {
                self.ask(client, Request::CloseSession);
                return;
            }
            _ if self.may_reconfigure && !is_reader && random.one_in(2) => self.some_reconfiguration(),
            _ => Request::Ping,
        };
        self.clients[client].wants_global |= wants_ephemeral(&request);
        match request {
            Request::Ping => self.put(client, XID_PING, Request::Ping),
            request => self.ask(client, request),
        }
    }

    /// Other servers: some that join, leave or change their role, or all of them anew.
    fn some_reconfiguration(&mut self) -> Request {
        let (random, config) = (&mut self.net.random, self.oracle.config());
        let count = self.servers.len() as u64;
        let role = |random: &mut Random| if random.one_in(4) { "observer" } else { "participant" };
        let line = |sid: u64, role: &str| format!("server.{sid}=zk{sid}:2888:3888:{role};2181");
        let (mut joining, mut leaving, mut members) = (None, None, None);
        match random.below(4) {
            0 => joining = Some(line(1 + random.below(count), role(random))),
            1 => leaving = Some((1 + random.below(count)).to_string()),
            2 => {
                joining = Some(line(1 + random.below(count), role(random)));
                leaving = Some((1 + random.below(count)).to_string());
            }
            _ => {
                let some = (1..=count).filter(|_| random.one_in(2)).collect::<Vec<_>>();
                let lines = some.into_iter().map(|sid| line(sid, role(random)));
                members = Some(lines.collect::<Vec<_>>().join("\n"));
            }
        }
        let config_id = if random.one_in(3) { config.version() } else { -1 };
        let bytes = |text: Option<String>| text.map(String::into_bytes);
        Request::Reconfig {
            joining: bytes(joining),
            leaving: bytes(leaving),
            new_members: bytes(members),
            config_id,
        }
    }

    fn event(&mut self, client: usize, zxid: Zxid, kind: i32, path: &[u8]) {
        self.trace(|_| format!("client {client}: event {kind} {} {zxid}", String::from_utf8_lossy(path)));
        let of = &mut self.clients[client];
        of.events += 1;
        let kinds: &[WatchKind] = match kind {
            1 | 3 => &[WatchKind::Data, WatchKind::Exist],
            2 => &[WatchKind::Data, WatchKind::Exist, WatchKind::Child],
            _ => &[WatchKind::Child],
        };
        let mut known = Vec::new();
        for kind in kinds {
            known.extend(of.watches.remove(&(*kind, path.to_vec())).map(|watch| (*kind, watch)));
        }
        let path = String::from_utf8_lossy(path);
        if known.is_empty() {
            return self.oracle.violate(format!("client {client}: event {kind} on {path}, unasked"));
        }
        if of.is_rearming || zxid.to_wire() < 0 {
            return;
        }
        let seen = of.seen;
        if zxid <= seen {
            let what = format!("client {client}: event {kind} on {path} of {zxid} behind a reply of {seen}");
            return self.oracle.violate(what);
        }
        let model = &self.oracle.model;
        let due =
            known.iter().filter_map(|(kind, watch)| model.fires_after(*kind, path.as_bytes(), watch.since));
        if due.min() != Some(zxid) {
            self.oracle
                .violate(format!("client {client}: event {kind} on {path} of {zxid}, nothing happened then"));
        }
    }

    /// Every watch that should have fired by `zxid` has.
    fn check_watches(&mut self, client: usize, zxid: Zxid) {
        let of = &self.clients[client];
        if of.is_rearming {
            return;
        }
        let late = of.watches.iter().find_map(|((kind, path), watch)| {
            let fires = self.oracle.model.fires_after(*kind, path, watch.since)?;
            (fires <= zxid).then(|| {
                let path = String::from_utf8_lossy(path);
                format!(
                    "client {client} reads {zxid}, its {kind:?} watch on {path} should have fired at {fires}"
                )
            })
        });
        if let Some(what) = late {
            self.oracle.violate(what);
        }
    }

    /// Watches are set again as of `zxid`: those that it could tell were due have fired.
    fn check_rearmed(&mut self, client: usize, relative: Zxid, zxid: Zxid) {
        let model = &self.oracle.model;
        for ((kind, path), watch) in &mut self.clients[client].watches {
            let node = model.at(path, zxid);
            let is_quiet = match kind {
                WatchKind::Data => node.is_some_and(|node| node.stat().mzxid <= relative),
                WatchKind::Exist => node.is_none(),
                WatchKind::Child => node.is_some_and(|node| node.stat().pzxid <= relative),
            };
            if !is_quiet {
                let path = String::from_utf8_lossy(path);
                let what = format!("client {client}: {kind:?} watch on {path} was due at setWatches, {zxid}");
                return self.oracle.violate(what);
            }
            watch.since = watch.since.max(zxid);
        }
        self.clients[client].is_rearming = false;
    }

    fn replied(&mut self, client: usize, reply: Reply) {
        let of = &mut self.clients[client];
        let Some(at) = of.asked.iter().position(|asked| asked.xid == reply.header.xid) else {
            return self.oracle.violate(format!("client {client}: a reply to nothing: {reply:?}"));
        };
        let Asked { xid, request, newest } = of.asked.remove(at).expect("it was found");
        let (zxid, err) = (Zxid::from_wire(reply.header.zxid), reply.header.err);
        self.trace(|_| format!("client {client}: {zxid} {err} {xid} {request:?}"));
        let of = &mut self.clients[client];
        if of.is_tentative {
            self.counts.read_only += 1;
            return;
        }
        let last = self.oracle.last();
        if zxid < of.seen {
            let what = format!("client {client}: zxid goes back from {} to {zxid}: {request:?}", of.seen);
            return self.oracle.violate(what);
        }
        if zxid > last && zxid.counter() != 0 {
            return self.oracle.violate(format!("client {client} is told {zxid}, committed is {last}"));
        }
        match request {
            Request::SetWatches { relative_zxid, .. } => self.check_rearmed(client, relative_zxid, zxid),
            _ => self.check_watches(client, zxid),
        }
        let of = &mut self.clients[client];
        of.seen = zxid;
        of.acknowledged += 1;
        if self.check_of_read_only(client, &request, zxid, err)
            || self.check_of_local(client, &request, zxid, err)
        {
            return;
        }
        let is_write = matches!(
            request,
            Request::SetData { .. }
                | Request::Create { .. }
                | Request::Delete { .. }
                | Request::Multi { .. }
                | Request::Reconfig { .. }
                | Request::CloseSession
        );
        if is_write {
            self.check_write(client, xid, &request, &reply, newest);
        } else {
            self.check_read(client, &request, &reply, newest);
        }
        self.oracle.newest_seen = self.oracle.newest_seen.max(zxid);
        if request == Request::CloseSession {
            self.clients[client].forget_session();
            self.hang_up(client);
        }
        if self.settings.keep_replies {
            self.clients[client].replies.push((request, reply));
        }
    }

    /// A server that is read-only shows what the ensemble has committed, and takes no write; no other says that it is.
    /// True if there is nothing more to check.
    fn check_of_read_only(&mut self, client: usize, request: &Request, zxid: Zxid, err: i32) -> bool {
        let is_read_only = self.clients[client].is_read_only;
        let is_refused = err == ErrorCode::NotReadOnly.to_wire();
        let is_read = matches!(
            request,
            Request::GetData { .. }
                | Request::Exists { .. }
                | Request::GetChildren2 { .. }
                | Request::SetWatches { .. }
                | Request::Ping
                | Request::CloseSession
        );
        if is_refused != (is_read_only && !is_read) {
            self.oracle.violate(format!(
                "client {client}: {request:?} is answered {err}, read-only: {is_read_only}"
            ));
        }
        if !is_read_only {
            return false;
        }
        self.counts.read_only += 1;
        if zxid.counter() != 0 && !self.oracle.committed.contains_key(&zxid) {
            self.oracle
                .violate(format!("client {client} reads {zxid} without a leader, which no quorum has"));
        }
        is_refused
    }

    /// A session that only its server knows leaves no trace in the log, and owns nothing. True if there is nothing more
    /// to check.
    fn check_of_local(&mut self, client: usize, request: &Request, zxid: Zxid, err: i32) -> bool {
        let of = &self.clients[client];
        let Some((session_id, ..)) = of.session else { return false };
        let is_known = self.oracle.model.knows(session_id);
        self.counts.upgrades += u64::from(self.settings.local_sessions && is_known);
        if self.settings.local_sessions && is_known && !of.wants_global {
            self.oracle.violate(format!("session {session_id:#x} wants no ephemeral, and the log knows it"));
        }
        let has_ended = self.oracle.model.ended(session_id).is_some();
        if self.settings.local_sessions && err == ErrorCode::SessionExpired.to_wire() && !has_ended {
            self.oracle.violate(format!(
                "client {client}: {request:?} of {session_id:#x}, which is alive, is {err}"
            ));
        }
        let is_closed_here = *request == Request::CloseSession && !is_known;
        if is_closed_here && !self.settings.local_sessions && !of.is_read_only {
            self.oracle.violate(format!(
                "client {client}: session {session_id:#x} ends at {zxid}, where nothing ends"
            ));
        }
        if is_closed_here {
            self.clients[client].forget_session();
            self.hang_up(client);
        }
        let stays_local = self.settings.local_sessions && !self.settings.upgrades_sessions;
        is_closed_here || stays_local && wants_ephemeral(request)
    }

    fn check_write(&mut self, client: usize, xid: i32, request: &Request, reply: &Reply, newest: Zxid) {
        let zxid = Zxid::from_wire(reply.header.zxid);
        let session_id = self.clients[client].session.map_or(SessionId::NONE, |(id, ..)| id);
        let Some(committed) = self.oracle.committed.get(&zxid) else {
            return self
                .oracle
                .violate(format!("client {client}: {request:?} is said to be {zxid}, which is none"));
        };
        let (header, text) = (committed.header, txn::configuration(&committed.txn).map(<[u8]>::to_vec));
        // A follower of a leader that does as ZooKeeper's numbers its clients' requests itself.
        let is_own = (self.settings.as_java || self.settings.observer_masters) && header.cxid < 0;
        if header.session_id != session_id || header.cxid != xid && !is_own {
            let what = format!("client {client}: {request:?} is said to be {zxid}, which is {header:?}");
            return self.oracle.violate(what);
        }
        if zxid <= newest {
            let what =
                format!("client {client}: {request:?} is {zxid}, and {newest} was seen before it was asked");
            return self.oracle.violate(what);
        }
        let is_failed = header.op == OpCode::ERROR;
        if is_failed != (reply.header.err != 0) && !matches!(request, Request::Multi { .. }) {
            self.oracle.violate(format!("client {client}: {reply:?} for {header:?}"));
        }
        if let Body::Path(path) = &reply.body {
            if self.oracle.model.at(path, zxid).is_none() {
                self.oracle.violate(format!("client {client}: {reply:?} is not there"));
            }
            if path.starts_with(b"/q/n") {
                self.clients[client].mine.insert(path.clone());
            }
        }
        if let (Body::Data { data, stat }, Request::Reconfig { .. }) = (&reply.body, request) {
            if *data != text || stat.mzxid != zxid {
                self.oracle.violate(format!("client {client}: {reply:?}, the configuration is {text:?}"));
            }
            self.counts.reconfigurations += 1;
        }
        if let (Body::Stat(stat), Request::SetData { path, data, .. }) = (&reply.body, request) {
            self.clients[client].versions.insert(path.clone(), stat.version);
            let is = self.oracle.model.at(path, zxid);
            if is.is_none_or(|node| node.stat() != *stat || node.data != *data) {
                self.oracle.violate(format!("client {client}: {reply:?}, the znode is {is:?}"));
            }
        }
    }

    fn check_read(&mut self, client: usize, request: &Request, reply: &Reply, newest: Zxid) {
        let (zxid, err) = (Zxid::from_wire(reply.header.zxid), reply.header.err);
        let model = &self.oracle.model;
        let of = &mut self.clients[client];
        let no_node = err == ErrorCode::NoNode.to_wire();
        let is_right = match (request, &reply.body) {
            (Request::Sync { .. }, _) => {
                if zxid < newest {
                    let what =
                        format!("client {client}: sync says {zxid}, {newest} was seen before it was asked");
                    return self.oracle.violate(what);
                }
                true
            }
            (Request::GetData { path, .. }, Body::Data { data, stat }) => {
                of.versions.insert(path.clone(), stat.version);
                model.at(path, zxid).is_some_and(|node| node.data == *data && node.stat() == *stat)
            }
            (Request::Exists { path, .. }, Body::Stat(stat)) => {
                model.at(path, zxid).is_some_and(|node| node.stat() == *stat)
            }
            (Request::GetChildren2 { path, .. }, Body::Children { children, stat }) => {
                let children: BTreeSet<_> = children.iter().cloned().collect();
                model.at(path, zxid).is_some_and(|node| node.stat() == *stat)
                    && model.children(path, zxid) == children
            }
            (Request::GetData { path, .. } | Request::Exists { path, .. }, _) if no_node => {
                model.at(path, zxid).is_none()
            }
            (Request::GetChildren2 { path, .. }, _) if no_node => model.at(path, zxid).is_none(),
            _ => err == 0,
        };
        let left = match request {
            Request::GetData { path, watch: true } if err == 0 => Some((WatchKind::Data, path)),
            Request::Exists { path, watch: true } if err == 0 => Some((WatchKind::Data, path)),
            Request::Exists { path, watch: true } => Some((WatchKind::Exist, path)),
            Request::GetChildren2 { path, watch: true } if err == 0 => Some((WatchKind::Child, path)),
            _ => None,
        };
        if let Some((kind, path)) = left {
            of.watches.entry((kind, path.clone())).or_insert(Watch { since: zxid });
        }
        if !is_right {
            let is = match request {
                Request::GetData { path, .. } | Request::Exists { path, .. } => model.at(path, zxid),
                _ => None,
            };
            self.oracle
                .violate(format!("client {client}: {request:?} is answered {reply:?}, there is {is:?}"));
        }
    }
}

/// Whether a request creates an ephemeral.
fn wants_ephemeral(request: &Request) -> bool {
    match request {
        Request::Create { flags, .. } => matches!(flags, 1 | 3),
        Request::Multi { ops } => ops.iter().any(wants_ephemeral),
        _ => false,
    }
}

/// A create, with `CreateMode`'s number.
pub(super) fn create(path: &[u8], data: Vec<u8>, flags: i32) -> Request {
    let (path, data, acl) = (path.to_vec(), Some(data), vec![Acl::open()]);
    Request::Create { op: OpCode::CREATE, path, data, acl, flags, ttl_ms: -1 }
}
