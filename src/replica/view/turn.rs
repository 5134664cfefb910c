//! A connection's turn: takes requests in, answers reads, sends the rest to the commit side.

use super::address::ip_text;
use super::cnxn::{CloseReason, Cnxn, Deferred, Incoming, Pending, State};
use super::data::Data;
use super::outbox::Outbox;
use super::pool::{OUT_BYTES_PAUSE, OUT_BYTES_PAUSE_SHORT, Pool};
use super::read::{BYTES_PER_WORK, REQUEST_WORK, is_long};
use super::tally::Tally;
use super::traces::HEAVY_WORK;
use crate::admin::{self, FourLetterWord};
use crate::auth::sasl::digest_md5::Service;
use crate::auth::sasl::{Failure, Means, Mechanism, SaslPolicy, Step};
use crate::auth::{EnsembleCheck, EnsembleNames, ensemble, key};
use crate::proto::reply::{MultiHeader, ReplyHeader, put_reply, put_status};
use crate::proto::request::{AuthPacket, WatchCursor, read_multi};
use crate::proto::{
    ConnectRequest, ErrorCode, Id, JuteWrite, OpCode, OpKind, Reader, RequestHeader, SessionId, XID_PING,
    Zxid, jute,
};
use crate::replica::commit::WRITE_BYTES_MAX;
use crate::replica::{Asker, CnxnId, Now, Serving, ViewRequest, ViewSettings};

/// Bytes that are read of a connection whose requests wait: what a client sends while it takes a large answer, or while
/// the log is slow, shows that it lives. They hold a ping a second for an hour.
const READ_AHEAD_BYTES: usize = 64 << 10;

/// Unsent bytes at which a connection ends: only reads before a write of their own session get it there, since they cannot
/// wait any longer.
const OUT_BYTES_MAX: usize = 64 << 20;

/// A larger buffer for input is given back once it is empty.
const INPUT_BYTES_KEPT: usize = 4096;

/// Bytes of the ids that one connection may prove: each request takes them along.
const AUTH_IDS_BYTES_MAX: usize = 1 << 20;

/// Requests that wait for their answer at which the connection waits.
const DEFERRED_MAX: usize = 1024;

/// Bytes of deferred reads at which it waits.
const DEFERRED_BYTES_MAX: usize = 256 << 10;

/// Reads after a connection's own writes at which its next write waits. They are answered before that write shows, whether
/// the client takes the answers or not: this bounds what that may cost.
const DEFERRED_BEFORE_WRITE_MAX: usize = 16;

/// Tokens of an authentication that never succeeds which are answered.
const SASL_TOKENS_MAX: u32 = 8;

/// Characters of an ensemble's name that a client sent which the log shows.
const ENSEMBLE_NAME_SHOWN_CHARS_MAX: usize = 64;

/// Work to check the answer to a challenge: half a dozen hashes.
const SASL_WORK: usize = 4 * REQUEST_WORK;

/// What a token of Kerberos costs: some 0.3 ms in the library, which reads its keys and notes the ticket in files.
const KERBEROS_WORK: usize = 1 << 16;

/// In place of the path of a sync that does not decode: no path that a client sends.
pub(super) const UNREADABLE_PATH: &[u8] = b"\0";

/// How far deferred reads are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drain {
    /// While the client takes the answers, and for as long as the turn lasts.
    UntilBackpressure,
    /// All of them: what comes next must not show in them.
    All,
}

/// What became of a four-letter word.
enum Word {
    Taken,
    /// Its argument has not arrived yet.
    NeedsMore,
}

/// What the shell should do for a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Bytes are there to be sent: [`View::output`](super::View::output).
    pub write: bool,
    /// It takes bytes.
    pub read: bool,
    /// Its turn is over and it has more to do: it is to be polled again once others had their turn.
    pub again: bool,
    /// Once everything is sent the connection ends, for this reason.
    pub close: Option<CloseReason>,
}

/// A connection, and what it may touch of its view.
pub(super) struct Turn<'v> {
    pub id: CnxnId,
    pub now: Now,
    pub cnxn: &'v mut Cnxn,
    pub pool: &'v mut Pool,
    pub data: &'v mut Data,
    pub outbox: &'v mut Outbox,
    pub tally: &'v mut Tally,
    pub settings: &'v ViewSettings,
}

impl Turn<'_> {
    /// Ends the turn; says what the connection wants.
    #[inline]
    pub fn finish(self) -> Wants {
        let Self { cnxn, pool, .. } = self;
        pool.weigh(cnxn);
        cnxn.check();
        wants(cnxn, pool)
    }

    /// Ends the turn of a connection that the shell has not asked about: it is to poll it.
    #[inline]
    pub fn finish_listed(self) {
        let Self { cnxn, pool, id, .. } = self;
        pool.weigh(cnxn);
        cnxn.check();
        pool.list(id.slot, cnxn);
    }

    /// Goes on with what had to wait.
    #[inline]
    pub fn go_on(&mut self) {
        if self.cnxn.deferred > 0 {
            self.drain_deferred(Drain::UntilBackpressure);
        }
        if self.cnxn.stalled {
            self.pump_input();
        }
    }

    /// Handles bytes that have arrived, and keeps those that have to wait.
    #[inline]
    pub fn receive(&mut self, bytes: &[u8]) {
        self.pool.hear(self.id.slot, self.cnxn);
        if self.cnxn.input.is_empty() {
            let used = self.pump(bytes);
            if self.cnxn.state != State::Closing {
                self.cnxn.input.extend_from_slice(&bytes[used..]);
            }
        } else {
            self.cnxn.input.extend_from_slice(bytes);
            self.pump_input();
        }
    }

    fn pump_input(&mut self) {
        let mut input = std::mem::take(&mut self.cnxn.input);
        let used = self.pump(&input);
        if self.cnxn.state != State::Closing {
            input.drain(..used);
            if input.is_empty() && input.capacity() > INPUT_BYTES_KEPT {
                input = Vec::new();
            }
            self.cnxn.input = input;
        }
    }

    /// Handles frames until they run out or have to wait; says how many bytes were used.
    fn pump(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        self.cnxn.stalled = false;
        loop {
            let Some((first, rest)) = bytes[used..].split_first_chunk::<4>() else { return used };
            if self.pool.work <= 0 {
                self.cnxn.stalled = true;
                return used;
            }
            if self.must_wait() {
                self.cnxn.stalled = self.cnxn.state != State::Closing;
                return used;
            }
            if self.cnxn.state == State::Fresh
                && let Some(word) = FourLetterWord::from_code(i32::from_be_bytes(*first))
            {
                return match self.four_letter_word(word, rest) {
                    Word::Taken => bytes.len(),
                    Word::NeedsMore => used,
                };
            }
            let length = i32::from_be_bytes(*first);
            let limit = self.settings.frame_bytes_max;
            let Some(length) = usize::try_from(length).ok().filter(|length| *length <= limit) else {
                self.cnxn.close(CloseReason::FrameLength { bytes: length, limit, first: *first });
                return used;
            };
            let Some(frame) = rest.get(..length) else { return used };
            if self.cnxn.state == State::Fresh {
                self.tally.note_frame(&mut self.cnxn.stats, 4 + length);
                self.connect(frame);
            } else if !self.take_request(frame) {
                self.cnxn.stalled = true;
                return used;
            }
            used += 4 + length;
        }
    }

    /// True if the connection's next frame must wait.
    #[inline]
    fn must_wait(&mut self) -> bool {
        let Self { cnxn, pool, outbox, .. } = self;
        if cnxn.state == State::Waiting
            || cnxn.state == State::Closing
            || cnxn.unsent() >= OUT_BYTES_PAUSE
            || pool.is_short() && cnxn.unsent() >= OUT_BYTES_PAUSE_SHORT
            || cnxn.pending.len() >= DEFERRED_MAX
            || cnxn.deferred_bytes >= DEFERRED_BYTES_MAX
        {
            return true;
        }
        if cnxn.awaited > 0 && outbox.is_full() {
            self.tally.metrics.counters.request_throttle_wait_count += 1;
            pool.held_up.push(self.id.slot);
            return true;
        }
        false
    }

    fn connect(&mut self, frame: &[u8]) {
        debug_assert_eq!(self.cnxn.state, State::Fresh, "a second connect request of {:?}", self.id);
        let Ok(request) = ConnectRequest::read(&mut Reader::new(frame)) else {
            return self.cnxn.close(CloseReason::Malformed("connect request"));
        };
        let counters = &mut self.tally.metrics.counters;
        if self.data.serving == Serving::No {
            counters.cnxn_closed_without_zk_server_running += 1;
            return self.cnxn.close(CloseReason::NotServing);
        }
        counters.connection_request_count += 1;
        if self.data.serving == Serving::ReadOnly && request.read_only != Some(true) {
            return self.cnxn.close(CloseReason::NotReadOnlyClient);
        }
        self.cnxn.state = State::Waiting;
        self.cnxn.read_only = request.read_only;
        self.cnxn.asked_us = self.now.mono_us;
        self.outbox.push_connect(self.id, &request, self.now);
    }

    /// Takes a four-letter word; `rest` is what follows it.
    fn four_letter_word(&mut self, word: FourLetterWord, rest: &[u8]) -> Word {
        debug_assert_eq!(self.cnxn.state, State::Fresh, "{word:?} after other bytes of {:?}", self.id);
        let is_allowed = self.settings.whitelist.allows(word);
        let mask = match word {
            FourLetterWord::Stmk if is_allowed => {
                match rest.first_chunk::<{ FourLetterWord::MASK_BYTES }>() {
                    Some(mask) => Some(i64::from_be_bytes(*mask)),
                    None => return Word::NeedsMore,
                }
            }
            _ => None,
        };
        self.cnxn.state = State::Waiting;
        // ZooKeeper counts a word as a packet, of its connection and of the server.
        self.tally.note_frame(&mut self.cnxn.stats, 4);
        self.tally.metrics.words.count(word);
        if !is_allowed {
            self.answer_word(&word.refusal());
        } else if word == FourLetterWord::Ruok {
            // A liveness probe asks this thread alone.
            self.answer_word(&admin::render(word, &admin::Status::default()));
        } else {
            self.outbox.push_control(ViewRequest::FourLetterWord { asker: Asker::Cnxn(self.id), word, mask });
        }
        Word::Taken
    }

    /// Sends the answer to a four-letter word, and ends the connection after it.
    pub fn answer_word(&mut self, text: &[u8]) {
        self.tally.note_sent(&mut self.cnxn.stats);
        self.cnxn.out.extend_from_slice(text);
        self.cnxn.close(CloseReason::Done);
    }

    /// Takes a request in; false if it must wait.
    #[inline]
    fn take_request(&mut self, frame: &[u8]) -> bool {
        debug_assert_eq!(self.cnxn.state, State::Established);
        let mut reader = Reader::new(frame);
        let Ok(RequestHeader { xid, op }) = RequestHeader::read(&mut reader) else {
            self.tally.note_frame(&mut self.cnxn.stats, 4 + frame.len());
            self.cnxn.close(CloseReason::Malformed("request header"));
            return true;
        };
        let body = reader.rest();
        if self.cnxn.deferred >= DEFERRED_BEFORE_WRITE_MAX && op.kind() == OpKind::Ordered
            || self.pool.waits_for_room(self.id.slot, self.data, self.cnxn.session_id, op, body)
        {
            return false;
        }
        self.tally.note_frame(&mut self.cnxn.stats, 4 + frame.len());
        self.request(Incoming { xid, op, body });
        true
    }

    #[inline]
    fn request(&mut self, request: Incoming<'_>) {
        let Incoming { xid, op, body } = request;
        match op.kind() {
            OpKind::Authentication => self.authentication(request),
            _ if !self.is_authenticated() => {
                self.begin_answer();
                put_status(&mut self.cnxn.out, xid, 0, ErrorCode::SessionClosedRequireSaslAuth);
                self.tally.metrics.counters.auth_failed_count += 1;
                self.cnxn.close(CloseReason::Auth(ErrorCode::SessionClosedRequireSaslAuth));
            }
            OpKind::Read if self.cnxn.pending.is_empty() && !is_long(op, body) => {
                self.read(request, None, None);
            }
            OpKind::Read => {
                self.cnxn.defer(request, self.now.mono_us);
                // What is left after the first turn is done when the shell polls the connection.
                self.drain_deferred(Drain::UntilBackpressure);
                self.pool.list(self.id.slot, self.cnxn);
            }
            OpKind::Ordered if body.len() > WRITE_BYTES_MAX => {
                self.cnxn.close(CloseReason::WriteTooLong { bytes: body.len(), limit: WRITE_BYTES_MAX });
            }
            OpKind::Ordered if self.data.serving == Serving::ReadOnly && op != OpCode::CLOSE_SESSION => {
                self.refuse_write(xid);
            }
            OpKind::Ordered => self.send_up(request),
            OpKind::Unknown => {
                self.begin_answer();
                put_status(&mut self.cnxn.out, xid, -1, ErrorCode::Unimplemented);
                self.cnxn.close(CloseReason::UnknownOp(op));
            }
        }
    }

    /// True if the client has proved what it must prove before anything else.
    #[inline]
    fn is_authenticated(&self) -> bool {
        let enforced = &self.settings.enforced_schemes;
        enforced.is_empty()
            || self.cnxn.ids.iter().any(|id| enforced.iter().any(|scheme| **scheme == *id.scheme))
    }

    /// Answers a write, or a sync, of a server that is read-only. Source: `ReadOnlyRequestProcessor`.
    fn refuse_write(&mut self, xid: i32) {
        self.answer_reads_before_write();
        if !self.cnxn.pending.is_empty() {
            // It comes after a closeSession, whose answer is the last.
            return;
        }
        self.begin_answer();
        let before = self.cnxn.out.len();
        put_status(&mut self.cnxn.out, xid, self.data.zxid.to_wire(), ErrorCode::NotReadOnly);
        self.tally.note_reply(self.cnxn.out.len() - before, self.now);
        self.pool.charge(REQUEST_WORK);
    }

    fn send_up(&mut self, Incoming { xid, op, body }: Incoming<'_>) {
        let mut path = Box::default();
        if op == OpCode::SYNC {
            match Reader::new(body).string() {
                Ok(named) => path = named.unwrap_or_default().into(),
                // Java finds out when it answers; nothing else depends on it.
                Err(_) => path = UNREADABLE_PATH.into(),
            }
        }
        if let Some(audit) = &mut self.tally.audit {
            audit.asked(self.id, self.cnxn, op, body);
        }
        let is_traced = self.tally.tracer.sampler.is_due() && self.tally.tracer.sampled(op, body, &mut path);
        let Self { cnxn, now, .. } = self;
        debug_assert_ne!(
            cnxn.session_id,
            SessionId::NONE,
            "{op:?} of {:?}, which has no session, is sent up",
            self.id
        );
        self.pool.charge(REQUEST_WORK + body.len() / BYTES_PER_WORK);
        self.outbox.push_request(self.id, cnxn.session_id, xid, op, body, cnxn.ids.clone(), *now);
        cnxn.awaited += 1;
        cnxn.pending.push_back(Pending::Awaited { xid, op, sent_us: now.mono_us, path, is_traced });
    }

    fn authentication(&mut self, Incoming { xid, op, body }: Incoming<'_>) {
        let before = self.cnxn.out.len();
        match op {
            OpCode::AUTH => self.authenticate(xid, body),
            _ => self.sasl(xid, body),
        }
        let has_failed = matches!(self.cnxn.reason, CloseReason::Auth(_) | CloseReason::Sasl { .. });
        self.tally.metrics.counters.auth_failed_count += u64::from(has_failed);
        self.tally.note_size(self.cnxn.out.len() - before, self.now);
    }

    fn authenticate(&mut self, xid: i32, body: &[u8]) {
        let Ok(packet) = AuthPacket::read(&mut Reader::new(body)) else {
            return self.cnxn.close(CloseReason::Malformed("auth packet"));
        };
        let policy = self.data.policy.clone();
        if let (Some(ensemble::SCHEME), Some(names)) = (packet.scheme, &policy.ensemble) {
            return self.check_ensemble(xid, names, packet.auth);
        }
        let earned = match packet.scheme {
            Some(key::SCHEME) if policy.key_enabled => {
                let tree = &self.data.tree;
                let znode = tree.find(key::PATH).map(|index| tree.body(index));
                key::id(znode.and_then(|body| body.data()), packet.auth).map(|id| vec![id])
            }
            scheme => policy.authenticate(scheme, packet.auth, &ip_text(self.cnxn.peer.ip())),
        };
        self.begin_answer();
        if !earned.is_ok_and(|earned| self.earn(earned)) {
            return self.fail_authentication(xid);
        }
        put_status(&mut self.cnxn.out, xid, 0, ErrorCode::Ok);
    }

    /// Takes the name of the ensemble that the client means, and ends the connection where it is another one.
    fn check_ensemble(&mut self, xid: i32, names: &EnsembleNames, auth: Option<&[u8]>) {
        let counters = &mut self.tally.metrics.counters;
        match names.check(auth) {
            EnsembleCheck::Skipped => counters.ensemble_auth_skip += 1,
            EnsembleCheck::Matched => counters.ensemble_auth_success += 1,
            EnsembleCheck::Other => {
                counters.ensemble_auth_fail += 1;
                let name = String::from_utf8_lossy(auth.unwrap_or_default());
                let name = name.chars().take(ENSEMBLE_NAME_SHOWN_CHARS_MAX).collect();
                return self.cnxn.close(CloseReason::OtherEnsemble { name });
            }
        }
        self.begin_answer();
        put_status(&mut self.cnxn.out, xid, 0, ErrorCode::Ok);
    }

    /// Adds ids that the client has proved to have; false if it has no room for them.
    fn earn(&mut self, mut earned: Vec<Id>) -> bool {
        let cnxn = &mut *self.cnxn;
        self.pool.charge(cnxn.ids.len() * REQUEST_WORK / 8 + REQUEST_WORK);
        earned.retain(|id| !cnxn.ids.contains(id));
        if !earned.is_empty() {
            let ids = [&cnxn.ids, &earned[..]].concat();
            if ids.iter().map(|id| id.scheme.len() + id.id.len()).sum::<usize>() > AUTH_IDS_BYTES_MAX {
                return false;
            }
            cnxn.ids = ids.into();
        }
        true
    }

    fn fail_authentication(&mut self, xid: i32) {
        put_status(&mut self.cnxn.out, xid, 0, ErrorCode::AuthFailed);
        self.cnxn.close(CloseReason::Auth(ErrorCode::AuthFailed));
    }

    /// Takes a token of a SASL exchange. A 3.9 server without a login configuration answers every token with null. There are
    /// clients that go on for ever then (kazoo 2.11): after some tokens they are told that it failed.
    fn sasl(&mut self, xid: i32, body: &[u8]) {
        let Ok(Some(token)) = Reader::new(body).buffer() else {
            return self.cnxn.close(CloseReason::Malformed("sasl token"));
        };
        self.cnxn.sasl_tokens += 1;
        self.begin_answer();
        let policy = self.data.policy.clone();
        let Some(mechanism) = &policy.sasl.mechanism else {
            if self.cnxn.sasl_tokens > SASL_TOKENS_MAX {
                return self.fail_authentication(xid);
            }
            return self.put_token(xid, None);
        };
        self.pool.charge(match mechanism {
            Mechanism::DigestMd5(_) => SASL_WORK,
            Mechanism::Gssapi(_) => KERBEROS_WORK,
        });
        let (CnxnId { view, slot, generation }, settings) = (self.id, self.settings);
        let opened_us = self.cnxn.opened.mono_us.cast_unsigned();
        // A connection has one exchange at most.
        let nonce = || settings.nonce_key.nonce(&[view.into(), slot.into(), generation.into(), opened_us]);
        let (service, kerberos) = (Service::CLIENTS, settings.kerberos.as_deref());
        let means = Means { service, mechanism, nonce: &nonce, kerberos };
        let taken = self.cnxn.sasl.take(&means, token).and_then(|step| {
            Ok(match step {
                Step::Asks(token) => (Some(token), None),
                Step::Proves(proved) => (proved.token, Some(policy.sasl.ids_of(&proved.user)?)),
            })
        });
        match taken {
            Ok((token, ids)) => match ids.is_none_or(|ids| self.earn(ids)) {
                true => self.put_token(xid, token.as_deref()),
                false => self.fail_authentication(xid),
            },
            Err(failure) => self.fail_sasl(xid, &policy.sasl, failure),
        }
    }

    fn put_token(&mut self, xid: i32, token: Option<&[u8]>) {
        put_reply(&mut self.cnxn.out, xid, Zxid::ZERO, |out| out.put_buffer(token));
    }

    /// Ends a connection whose exchange failed, or lets it stay without an id where the configuration says so.
    fn fail_sasl(&mut self, xid: i32, policy: &SaslPolicy, failure: Failure) {
        if policy.failed_may_stay && !policy.is_required && self.cnxn.sasl_tokens <= SASL_TOKENS_MAX {
            self.tally.metrics.counters.auth_failed_count += 1;
            return self.put_token(xid, None);
        }
        let code = match policy.is_required {
            true => ErrorCode::SessionClosedRequireSaslAuth,
            false => ErrorCode::AuthFailed,
        };
        jute::frame(&mut self.cnxn.out, |out| {
            ReplyHeader { xid, zxid: 0, err: code.to_wire() }.put(out);
            out.put_buffer(None);
        });
        self.cnxn.close(CloseReason::Sasl { code, failure });
    }

    /// An answer is about to be written: gives the connection a buffer for it, and counts it.
    #[inline]
    pub fn begin_answer(&mut self) {
        self.pool.lend_buffer(self.cnxn);
        self.tally.note_sent(&mut self.cnxn.stats);
    }

    /// Answers a read. One that was deferred has the ids of when it came, at `came_us`.
    #[inline]
    fn read(&mut self, request: Incoming<'_>, ids: Option<&[Id]>, came_us: Option<i64>) {
        let Incoming { xid, op, body } = request;
        self.begin_answer();
        let (start, zxid) = (self.cnxn.out.len(), self.data.zxid);
        if op == OpCode::PING {
            put_status(&mut self.cnxn.out, XID_PING, zxid.to_wire(), ErrorCode::Ok);
            self.pool.charge(REQUEST_WORK / 2);
            // Java's does not count among the bytes of replies.
            self.tally.note_size(self.cnxn.out.len() - start, self.now);
            return self.note_read(xid, op, came_us);
        }
        let cnxn = &mut *self.cnxn;
        let is_due = self.tally.tracer.sampler.is_due();
        if is_due || came_us.is_some() {
            self.tally.tracer.read(cnxn, request, is_due, came_us, self.now);
        }
        let (mut failed, mut events) = (None, Vec::new());
        let mut read = self.data.read(self.id.slot, cnxn.session_id, ids.unwrap_or(&cnxn.ids));
        put_reply(&mut cnxn.out, xid, zxid, |out| failed = read.answer(op, body, out, &mut events).err());
        let appended = cnxn.out.len() - start + events.len();
        let work = REQUEST_WORK + read.work + appended / BYTES_PER_WORK;
        self.pool.charge(work);
        if work >= HEAVY_WORK && came_us.is_none() {
            self.tally.tracer.heavy_read(cnxn, request, work);
        }
        if let Some(code) = failed {
            cnxn.out.truncate(start);
            jute::frame(&mut cnxn.out, |out| {
                ReplyHeader { xid, zxid: zxid.to_wire(), err: code.to_wire() }.put(out);
                // The one error with a body: 3.9 has begun the list of results when it finds a write.
                if op == OpCode::MULTI_READ && read_multi(&mut Reader::new(body)).is_ok() {
                    MultiHeader::END.put(out);
                }
            });
        }
        self.tally.note_reply(cnxn.out.len() - start, self.now);
        if !events.is_empty() {
            // Catch-up events go before the reply of the setWatches that they answer.
            self.tally.note_events(&mut cnxn.stats, &events, self.now);
            cnxn.out.splice(start..start, events);
        }
        self.note_read(xid, op, came_us);
    }

    /// Counts the answer to a read. How long one took that came just now, [`Tally::measured`] says.
    #[inline(always)]
    fn note_read(&mut self, xid: i32, op: OpCode, came_us: Option<i64>) {
        let latency_us = came_us.map(|came_us| (self.now.mono_us - came_us).max(0) as u64);
        match latency_us {
            None => self.tally.unmeasured.add(op),
            Some(latency_us) => self.tally.metrics.operations.record(op, latency_us),
        }
        self.cnxn.stats.note_answer(xid, op, self.data.zxid, latency_us, self.now);
    }

    /// Answers deferred reads up to the next write, as far as `drain` says.
    pub fn drain_deferred(&mut self, drain: Drain) {
        while let Some(first) = self.cnxn.first_deferred() {
            let limit = match drain {
                Drain::UntilBackpressure => self.pool.pause_bytes(),
                Drain::All => self.deferred_output_max(),
            };
            if self.cnxn.state != State::Established || self.cnxn.unsent() >= limit {
                return;
            }
            let mut work = usize::MAX;
            if drain == Drain::UntilBackpressure {
                let Ok(left @ 1..) = usize::try_from(self.pool.work) else { return };
                let (slot, session_id) = (self.id.slot, self.cnxn.session_id);
                if self.pool.waits_for_room(slot, self.data, session_id, first.op, &first.body) {
                    return;
                }
                work = left;
            }
            let mut deferred = self.cnxn.take_deferred().expect("looked at above");
            if !self.catch_up(&mut deferred, work) {
                self.cnxn.put_back(deferred);
                continue;
            }
            let Deferred { xid, op, ref body, ref ids, came_us, .. } = deferred;
            self.read(Incoming { xid, op, body }, Some(ids), Some(came_us));
        }
    }

    /// Takes a long setWatches further, for so much work; true if the rest of it (or of whatever request this is) can be
    /// answered at once.
    fn catch_up(&mut self, deferred: &mut Deferred, work: usize) -> bool {
        let Deferred { op, ref body, ref mut done, .. } = *deferred;
        if !is_long(op, body) {
            return true;
        }
        if done.is_none() {
            // One that cannot be read is refused as a whole.
            self.pool.charge(body.len() / BYTES_PER_WORK);
            if WatchCursor::check(body, op).is_err() {
                return true;
            }
        }
        let cursor = done.get_or_insert_default();
        let before = self.cnxn.out.len();
        let mut read = self.data.read(self.id.slot, self.cnxn.session_id, &[]);
        let is_done = read.set_watches(op, body, cursor, work, &mut self.cnxn.out);
        self.pool.charge(read.work + (self.cnxn.out.len() - before) / BYTES_PER_WORK);
        is_done
    }

    /// Answers the reads before a write whose turn has come, also those that waited because much is unsent: what they see
    /// must not have the write in it. A client that has not room for them ends.
    pub fn answer_reads_before_write(&mut self) {
        self.drain_deferred(Drain::All);
        if self.cnxn.first_deferred().is_some() {
            let (bytes, limit) = (self.cnxn.unsent(), self.deferred_output_max());
            self.cnxn.give_up_output(bytes, limit);
        }
    }

    /// Unsent bytes at which reads before a write are not answered any more, and the connection ends.
    fn deferred_output_max(&self) -> usize {
        if self.pool.is_short() { OUT_BYTES_PAUSE } else { OUT_BYTES_MAX }
    }
}

/// What a connection wants of the shell.
#[inline]
pub(super) fn wants(cnxn: &Cnxn, pool: &Pool) -> Wants {
    let is_open = cnxn.is_open();
    let has_more = cnxn.stalled || cnxn.deferred > 0 && can_drain(cnxn, pool);
    Wants {
        write: cnxn.unsent() > 0,
        again: pool.work <= 0 && is_open && has_more,
        read: is_open && (!cnxn.stalled || cnxn.input.len() < READ_AHEAD_BYTES),
        close: (cnxn.state == State::Closing).then(|| cnxn.reason.clone()),
    }
}

/// True if the next deferred read may be answered as far as its client is concerned.
fn can_drain(cnxn: &Cnxn, pool: &Pool) -> bool {
    cnxn.state == State::Established && cnxn.unsent() < pool.pause_bytes() && cnxn.first_deferred().is_some()
}
