//! A [`Status`] as the answers of Apache ZooKeeper 3.9.4.

use super::date::date_of;
use super::figures::{MILLISECOND, figures};
use super::{Connection, FourLetterWord, Mode, Status};
use crate::proto::{OpCode, SessionId};
use std::fmt::{Display, Write as _};

const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// The answer to `word`, whole; the connection is closed after it.
///
/// `srst`, `crst` and `stmk` only confirm: the caller that gathers the status resets or sets.
pub fn render(word: FourLetterWord, status: &Status) -> Vec<u8> {
    let mut out = Answer(Vec::new());
    match word {
        FourLetterWord::Ruok => out.text("imok"),
        FourLetterWord::Gtmk | FourLetterWord::Stmk => out.text(status.trace_mask),
        FourLetterWord::Isro => out.text(match status.mode {
            _ if !status.serving => "null",
            Mode::ReadOnly => "ro",
            _ => "rw",
        }),
        FourLetterWord::Envi => environment(status, &mut out),
        FourLetterWord::TelnetClose => {}
        FourLetterWord::Hash if !status.serving => out.text(NOT_SERVING),
        _ if !status.serving => out.line(NOT_SERVING),
        FourLetterWord::Srvr => server(status, false, &mut out),
        FourLetterWord::Stat => server(status, true, &mut out),
        FourLetterWord::Mntr => {
            figures(status, &mut |name, value| out.line(format_args!("zk_{name}\t{value}")));
        }
        FourLetterWord::Conf => configuration(status, &mut out),
        FourLetterWord::Cons => {
            status.connections.iter().for_each(|connection| describe(connection, false, &mut out));
            out.line("");
        }
        FourLetterWord::Dirs => {
            out.line(format_args!("datadir_size: {}", status.conf.data_dir_bytes));
            out.line(format_args!("logdir_size: {}", status.conf.data_log_bytes));
        }
        FourLetterWord::Wchs => {
            let watches = status.watches;
            out.line(format_args!("{} connections watching {} paths", watches.connections, watches.paths));
            out.line(format_args!("Total watches:{}", watches.watches));
        }
        FourLetterWord::Wchc => {
            for (session, paths) in &status.watches_by_session {
                out.line(format_args!("{session:#x}"));
                paths.iter().for_each(|path| out.path(path));
            }
            out.line("");
        }
        FourLetterWord::Wchp => {
            for (path, sessions) in &status.watches_by_path {
                out.0.extend_from_slice(path);
                out.line("");
                sessions.iter().for_each(|session| out.line(format_args!("\t{session:#x}")));
            }
            out.line("");
        }
        FourLetterWord::Dump => dump(status, &mut out),
        FourLetterWord::Srst => out.line("Server stats reset."),
        FourLetterWord::Crst => out.line("Connection stats reset."),
        FourLetterWord::Hash => {
            for (zxid, digest) in &status.digests {
                out.line(format_args!("{:x}: {}", zxid.0, *digest as i64));
            }
        }
    }
    out.0
}

/// What `cons` calls an operation. Source: `FinalRequestProcessor`.
pub fn last_op(op: OpCode) -> &'static str {
    match op {
        OpCode::PING => "PING",
        OpCode::CREATE_SESSION => "SESS",
        OpCode::MULTI => "MULT",
        OpCode::MULTI_READ => "MLTR",
        OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_TTL | OpCode::CREATE_CONTAINER => "CREA",
        OpCode::DELETE | OpCode::DELETE_CONTAINER => "DELE",
        OpCode::SET_DATA => "SETD",
        OpCode::RECONFIG => "RECO",
        OpCode::SET_ACL => "SETA",
        OpCode::CLOSE_SESSION => "CLOS",
        OpCode::SYNC => "SYNC",
        OpCode::CHECK => "CHEC",
        OpCode::EXISTS => "EXIS",
        OpCode::GET_DATA => "GETD",
        OpCode::SET_WATCHES => "SETW",
        OpCode::SET_WATCHES2 => "STW2",
        OpCode::ADD_WATCH => "ADDW",
        OpCode::GET_ACL => "GETA",
        OpCode::GET_CHILDREN | OpCode::GET_CHILDREN2 => "GETC",
        OpCode::GET_ALL_CHILDREN_NUMBER => "GETACN",
        OpCode::CHECK_WATCHES => "CHKW",
        OpCode::REMOVE_WATCHES => "REMW",
        OpCode::WHO_AM_I => "HOMI",
        OpCode::GET_EPHEMERALS => "GETE",
        _ => "NA",
    }
}

/// Bytes that only ever get longer; paths in them need not be text.
struct Answer(Vec<u8>);

impl std::fmt::Write for Answer {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl Answer {
    fn text(&mut self, value: impl Display) {
        write!(self, "{value}").expect("a vector takes all");
    }

    fn line(&mut self, value: impl Display) {
        self.text(value);
        self.0.push(b'\n');
    }

    fn path(&mut self, path: &[u8]) {
        self.0.push(b'\t');
        self.0.extend_from_slice(path);
        self.0.push(b'\n');
    }
}

/// A number with a point, as Java prints a double of ordinary size.
struct Double(f64);

impl Display for Double {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Source: `StatCommand`, `ServerStats.toString`.
fn server(status: &Status, with_clients: bool, out: &mut Answer) {
    out.line(format_args!("Zookeeper version: {}", status.version));
    if status.mode == Mode::ReadOnly {
        out.line("READ-ONLY mode; serving only read-only clients");
    }
    if with_clients {
        out.line("Clients:");
        status.connections.iter().for_each(|connection| describe(connection, true, out));
        out.line("");
    }
    let Status { latency, gauges, .. } = status;
    out.line(format_args!(
        "Latency min/avg/max: {}/{}/{}",
        latency.min() / MILLISECOND,
        Double(latency.average(MILLISECOND)),
        latency.max() / MILLISECOND
    ));
    out.line(format_args!("Received: {}", gauges.packets_received));
    out.line(format_args!("Sent: {}", gauges.packets_sent));
    out.line(format_args!("Connections: {}", gauges.num_alive_connections));
    out.line(format_args!("Outstanding: {}", gauges.outstanding_requests));
    out.line(format_args!("Zxid: {}", status.zxid));
    out.line(format_args!("Mode: {}", status.mode.name()));
    out.line(format_args!("Node count: {}", gauges.znode_count));
    if status.leader.is_some() {
        match status.metrics.proposal_size.values() {
            Some([last, min, max]) => {
                out.line(format_args!("Proposal sizes last/min/max: {last}/{min}/{max}"))
            }
            None => out.line("Proposal sizes last/min/max: -1/-1/-1"),
        }
    }
}

/// Source: `ServerCnxn.dumpConnectionInfo`.
fn describe(connection: &Connection, brief: bool, out: &mut Answer) {
    let Connection { peer, interest_ops, queued, received, sent, session, .. } = connection;
    out.text(format_args!(" /{peer}[{interest_ops:x}](queued={queued},recved={received},sent={sent}"));
    if let (false, Some(session)) = (brief, session) {
        let last_op = if session.last_op.is_empty() { "NA" } else { session.last_op };
        out.text(format_args!(",sid={:#x},lop={last_op}", session.id));
        out.text(format_args!(",est={},to={}", connection.established_wall_ms, session.timeout_ms));
        if session.last_cxid >= 0 {
            out.text(format_args!(",lcxid={:#x}", session.last_cxid));
        }
        out.text(format_args!(",lzxid={:#x},lresp={}", session.last_zxid, session.last_response_ms));
        out.text(format_args!(
            ",llat={},minlat={},avglat={},maxlat={}",
            session.last_latency_us / MILLISECOND,
            session.latency.min() / MILLISECOND,
            session.latency.sum() / session.latency.count().max(1) / MILLISECOND,
            session.latency.max() / MILLISECOND
        ));
    }
    out.line(")");
}

/// Source: `ZooKeeperServer.dumpConf`.
fn configuration(status: &Status, out: &mut Answer) {
    let conf = &status.conf;
    out.line(format_args!("clientPort={}", conf.client_port));
    out.line(format_args!("secureClientPort={}", conf.secure_client_port));
    out.line(format_args!("dataDir={}", conf.data_dir));
    out.line(format_args!("dataDirSize={}", conf.data_dir_bytes));
    out.line(format_args!("dataLogDir={}", conf.data_log_dir));
    out.line(format_args!("dataLogSize={}", conf.data_log_bytes));
    out.line(format_args!("tickTime={}", conf.tick_time_ms));
    out.line(format_args!("maxClientCnxns={}", conf.max_client_cnxns));
    out.line(format_args!("minSessionTimeout={}", conf.min_session_timeout_ms));
    out.line(format_args!("maxSessionTimeout={}", conf.max_session_timeout_ms));
    out.line(format_args!("clientPortListenBacklog={}", conf.client_port_listen_backlog));
    out.line(format_args!("serverId={}", conf.server_id));
    // The last line has no end in ZooKeeper either.
    out.text(conf.member.join("\n"));
}

/// Source: `EnvCommand`.
fn environment(status: &Status, out: &mut Answer) {
    out.line("Environment:");
    out.line(format_args!("zookeeper.version={}", status.version));
    for (name, value) in &status.environment {
        out.line(format_args!("{name}={value}"));
    }
}

/// Sessions by the time at which they expire. Source: `ExpiryQueue.dump`.
fn session_sets(sets: &[(i64, Vec<SessionId>)], out: &mut Answer) {
    let sessions: usize = sets.iter().map(|(_, ids)| ids.len()).sum();
    out.line(format_args!("Session Sets ({})/({sessions}):", sets.len()));
    for (expires_wall_ms, ids) in sets {
        out.line(format_args!("{} expire at {}:", ids.len(), Date(*expires_wall_ms)));
        ids.iter().for_each(|id| out.line(format_args!("\t{id:#x}")));
    }
}

/// Source: `DumpCommand`, `LearnerSessionTracker.dumpSessions`, `LeaderSessionTracker.dumpSessions`,
/// `DataTree.dumpEphemerals`.
fn dump(status: &Status, out: &mut Answer) {
    out.line("SessionTracker dump:");
    if let Some(local) = &status.local_sessions {
        out.text("Local ");
        session_sets(local, out);
    }
    match &status.learner_sessions {
        Some(sessions) => {
            out.line(format_args!("Global Sessions({}):", sessions.len()));
            sessions.iter().for_each(|(id, timeout_ms)| out.line(format_args!("{id:#x}\t{timeout_ms}ms")));
        }
        None => {
            if status.local_sessions.is_some() {
                out.text("Global ");
            }
            session_sets(&status.sessions, out);
        }
    }
    out.line("ephemeral nodes dump:");
    out.line(format_args!("Sessions with Ephemerals ({}):", status.ephemerals.len()));
    for (session, paths) in &status.ephemerals {
        out.line(format_args!("{session:#x}:"));
        paths.iter().for_each(|path| out.path(path));
    }
    out.line("Connections dump:");
    let mut connections: Vec<&Connection> = status.connections.iter().collect();
    connections.sort_by_key(|connection| connection.expires_wall_ms);
    let sets = || connections.chunk_by(|a, b| a.expires_wall_ms == b.expires_wall_ms);
    out.line(format_args!("Connections Sets ({})/({}):", sets().count(), connections.len()));
    for set in sets() {
        out.line(format_args!("{} expire at {}:", set.len(), Date(set[0].expires_wall_ms)));
        for connection in set {
            let id = connection.session.map_or(SessionId::NONE, |session| session.id);
            out.line(format_args!("\tip: /{} sessionId: {id:#x}", connection.peer));
        }
    }
}

/// Milliseconds since 1970 as Java's `Date` prints them where the time zone is UTC.
struct Date(i64);

impl Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let seconds = self.0.div_euclid(1000);
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day_of_month) = date_of(days);
        write!(
            f,
            "{} {} {day_of_month:02} {:02}:{:02}:{:02} UTC {year}",
            WEEKDAYS[days.rem_euclid(7) as usize],
            MONTHS[(month - 1) as usize],
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }
}

#[cfg(test)]
mod tests;
