//! Every key of ZooKeeper 3.9: how Java reads it and what zkfast makes of it.
//!
//! One table serves the reader, `zkfast check` and the page of documentation (a test compares them).

/// How Java turns the text into a value, and what it does with text that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `Integer.parseInt`; anything else stops the start.
    Int,
    /// `Long.parseLong`; anything else stops the start.
    Long,
    /// `true` or `false` in any case; anything else stops the start.
    Bool,
    /// `Integer.getInteger`: decimal, hexadecimal or octal; anything else is silently the default.
    PropInt,
    /// `Long.getLong`, likewise.
    PropLong,
    /// `true` in any case; anything else is false.
    PropBool,
    /// `yes` exactly; anything else is no.
    OnlyYes,
    /// `no` exactly; anything else is yes.
    UnlessNo,
    /// Any text.
    Text,
    /// Any text that reports must not show.
    Secret,
    /// Part of the ensemble: read by [`super::ensemble`], not trimmed.
    Server,
}

/// Where Java looks for the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `QuorumPeerConfig` knows it: in the file only.
    File,
    /// JVM property `zookeeper.KEY`, which the file sets as `KEY`.
    Property,
    /// JVM property `KEY`: Java ignores it in the file, zkfast does not.
    Jvm,
}

/// What the key does in zkfast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It does what it does in ZooKeeper.
    Effective,
    /// No effect, and nobody misses it: a note in `zkfast check`.
    Moot(&'static str),
    /// No effect, and somebody may miss it: a warning.
    Missing(&'static str),
    /// A warning when it is true, a note otherwise.
    MissingWhenTrue(&'static str),
    /// The server does not start.
    Refused(&'static str),
    /// The server does not start when it is true.
    RefusedWhenTrue(&'static str),
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// As zoo.cfg has it; `ssl.*` stands for all that begin so, `server.N` for all of that form.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) source: Source,
    pub(crate) effect: Effect,
    pub(crate) default: &'static str,
    pub(crate) about: &'static str,
}

const fn key(
    name: &'static str,
    kind: Kind,
    source: Source,
    effect: Effect,
    default: &'static str,
    about: &'static str,
) -> Key {
    Key { name, kind, source, effect, default, about }
}

/// Finds the row of a key as written, in its exact case as in Java.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    if let Some(row) = KEYS.iter().find(|row| row.name == name) {
        return Some(row);
    }
    // Java asks for `group` and `weight` without a dot, and trips over whatever follows.
    let family = match name {
        _ if name.starts_with("server.") => "server.N",
        _ if name.starts_with("group") => "group.N",
        _ if name.starts_with("weight") => "weight.N",
        _ if name.starts_with("metricsProvider.") => "metricsProvider.*",
        _ if name.starts_with("ssl.") => "ssl.*",
        _ if name.starts_with("authProvider.") => "authProvider.*",
        _ => return None,
    };
    KEYS.iter().find(|row| row.name == family)
}

/// The table as Markdown, for the documentation and `zkfast check` without a file.
pub fn keys_as_markdown() -> String {
    let mut out = String::from("| key | default | verdict | meaning |\n|---|---|---|---|\n");
    for row in KEYS {
        let verdict = match row.effect {
            Effect::Effective => "effective".to_owned(),
            Effect::Moot(why) | Effect::Missing(why) => format!("no effect: {why}"),
            Effect::MissingWhenTrue(why) => format!("no effect, `true` warns: {why}"),
            Effect::Refused(why) => format!("refused: {why}"),
            Effect::RefusedWhenTrue(why) => format!("`true` is refused: {why}"),
        };
        let jvm = if row.source == Source::Jvm { " (Java: `-D` only)" } else { "" };
        out.push_str(&format!("| `{}`{jvm} | {} | {verdict} | {} |\n", row.name, row.default, row.about));
    }
    out
}

/// All rows, in the order of the documentation.
#[rustfmt::skip]
pub(crate) const KEYS: &[Key] = &[
    key("tickTime", Kind::Int, Source::File, Effect::Effective, "3000 (2000 without a file)", "Length of a tick, ms."),
    key("minSessionTimeout", Kind::Int, Source::File, Effect::Effective, "2 ticks", "Shortest session timeout a client gets, ms; -1 is the default."),
    key("maxSessionTimeout", Kind::Int, Source::File, Effect::Effective, "20 ticks", "Longest session timeout a client gets, ms; -1 is the default."),
    key("dataDir", Kind::Text, Source::File, Effect::Effective, "none (zkfast-data without a file)", "Directory of snapshots, and of the log unless dataLogDir says otherwise."),
    key("dataLogDir", Kind::Text, Source::File, Effect::Effective, "dataDir", "Directory of the transaction log."),
    key("clientPort", Kind::Int, Source::File, Effect::Effective, "none (2181 without a file)", "TCP port for clients; 0 lets the system choose."),
    key("clientPortAddress", Kind::Text, Source::File, Effect::Effective, "every interface", "Address or name to listen on for clients."),
    key("clientPortListenBacklog", Kind::Int, Source::File, Effect::Effective, "-1", "Length of the listen queue; -1 leaves it to zkfast."),
    key("maxClientCnxns", Kind::Int, Source::File, Effect::Effective, "60", "Connections from one address; 0 or less is no limit."),
    key("maxCnxns", Kind::PropInt, Source::Property, Effect::Effective, "0", "Connections in all; 0 is no limit."),
    key("nio.sessionlessCnxnTimeout", Kind::PropInt, Source::Property, Effect::Effective, "10000", "How long a connection may live without a session, ms."),
    key("clientTcpKeepAlive", Kind::PropBool, Source::Property, Effect::Effective, "false", "TCP keep-alive on client connections."),
    key("globalOutstandingLimit", Kind::PropInt, Source::Property, Effect::Effective, "1000", "Requests in progress above which connections are read no further."),
    key("jute.maxbuffer", Kind::PropInt, Source::Jvm, Effect::Effective, "1048575", "Longest client frame, bytes; a connection may hold that much memory. A write is limited to 54 MiB (56,623,104 bytes) beside."),
    key("jute.maxbuffer.extrasize", Kind::PropInt, Source::Property, Effect::Moot("zkfast's log and peers have limits of their own that fit every accepted frame"), "jute.maxbuffer", "Extra room for records from peers and disk, bytes."),
    key("snapCount", Kind::PropInt, Source::Property, Effect::Effective, "100000", "Transactions between snapshots; less than 2 reads as 2."),
    key("snapSizeLimitInKb", Kind::PropLong, Source::Property, Effect::Effective, "4194304", "Log bytes between snapshots, KiB; 0 or less is no limit."),
    key("autopurge.snapRetainCount", Kind::Int, Source::File, Effect::Effective, "3", "Snapshots that purging keeps; less than 3 reads as 3."),
    key("autopurge.purgeInterval", Kind::Int, Source::File, Effect::Effective, "1 (Java: 0)", "0 or less turns purging off; otherwise what is not needed goes after each snapshot."),
    key("4lw.commands.whitelist", Kind::Text, Source::Property, Effect::Effective, "srvr,ruok,mntr,conf,isro (Java: srvr)", "Four-letter words that are answered; * is all, srvr always is."),
    key("skipACL", Kind::OnlyYes, Source::Property, Effect::Effective, "no", "yes: ACLs are not checked."),
    key("extendedTypesEnabled", Kind::PropBool, Source::Property, Effect::Effective, "false", "TTL nodes."),
    key("emulate353TTLNodes", Kind::PropBool, Source::Property, Effect::Effective, "false", "With extendedTypesEnabled: TTL nodes that 3.5.3 made are known, too."),
    key("enforceQuota", Kind::PropBool, Source::Property, Effect::Effective, "false", "Hard quotas are enforced."),
    key("digest.enabled", Kind::PropBool, Source::Property, Effect::Effective, "true", "Tree digest per transaction."),
    key("closeSessionTxn.enabled", Kind::PropBool, Source::Property, Effect::Effective, "true", "closeSession transactions list the ephemerals they delete."),
    key("DigestAuthenticationProvider.superDigest", Kind::Secret, Source::Property, Effect::Effective, "none", "user:base64(hash(user:password)) of the super user."),
    key("DigestAuthenticationProvider.digestAlg", Kind::Text, Source::Property, Effect::Effective, "SHA1", "Hash of scheme digest: SHA1, SHA-224, SHA-256, SHA-384, SHA-512, SHA-512/224, SHA-512/256."),
    key("DigestAuthenticationProvider.enabled", Kind::PropBool, Source::Property, Effect::Effective, "true", "Scheme digest."),
    key("enforce.auth.enabled", Kind::PropBool, Source::Property, Effect::Effective, "false", "Sessions must authenticate before anything else."),
    key("enforce.auth.schemes", Kind::Text, Source::Property, Effect::Effective, "none", "Schemes that satisfy enforce.auth.enabled, by commas."),
    key("sessionRequireClientSASLAuth", Kind::PropBool, Source::Property, Effect::RefusedWhenTrue("SASL is not served yet, so no client could do anything"), "false", "Sessions must authenticate by SASL."),
    key("znode.container.checkIntervalMs", Kind::PropInt, Source::Jvm, Effect::Effective, "60000", "Time between sweeps of containers and TTL nodes, ms."),
    key("znode.container.maxPerMinute", Kind::PropInt, Source::Jvm, Effect::Effective, "10000", "Containers and TTL nodes deleted per minute at most."),
    key("znode.container.maxNeverUsedIntervalMs", Kind::PropLong, Source::Jvm, Effect::Effective, "0", "Age at which a container that never had a child is deleted, ms; 0 is never."),
    key("largeRequestMaxBytes", Kind::PropInt, Source::Property, Effect::Moot("bytes of all requests in progress are limited, large or not"), "104857600", "Bytes of large requests in progress at most."),
    key("largeRequestThreshold", Kind::PropInt, Source::Property, Effect::Moot("bytes of all requests in progress are limited, large or not"), "-1", "Bytes above which a request is large; -1 turns this off."),
    key("datadir.autocreate", Kind::PropBool, Source::Property, Effect::Effective, "true", "Create missing data directories."),
    key("readonlymode.enabled", Kind::PropBool, Source::Jvm, Effect::MissingWhenTrue("a server without a leader serves nobody; only the word isro is allowed by this"), "false", "A server without a leader serves reads."),
    key("standaloneEnabled", Kind::Bool, Source::File, Effect::Effective, "true", "One server line, or none, is a standalone server; false makes it an ensemble of one."),
    key("reconfigEnabled", Kind::Bool, Source::File, Effect::MissingWhenTrue("the configuration gets a version as in ZooKeeper; request reconfig is answered Unimplemented; servers are changed by configuration and restart"), "false", "Request reconfig is allowed."),
    key("forceSync", Kind::UnlessNo, Source::Property, Effect::Missing("every acknowledged write is on disk: forceSync=no is ignored"), "yes", "no: acknowledge before the data is on disk."),
    key("dynamicConfigFile", Kind::Text, Source::File, Effect::Effective, "none", "File with the server, group and weight lines."),
    key("server.N", Kind::Server, Source::File, Effect::Effective, "none", "`host:quorumPort:electionPort[:participant or :observer][;[address:]clientPort]`."),
    key("group.N", Kind::Server, Source::File, Effect::Effective, "none", "Ids of the servers in a group, by colons."),
    key("weight.N", Kind::Server, Source::File, Effect::Effective, "1", "Weight of a server in its group."),
    key("version", Kind::Server, Source::File, Effect::Effective, "0", "Version of the configuration, hexadecimal."),
    key("peerType", Kind::Text, Source::File, Effect::Effective, "participant", "Role of this server; the server lines win."),
    key("initLimit", Kind::Int, Source::File, Effect::Effective, "0", "Ticks a follower has for its first synchronization, and a new leader for a quorum of them."),
    key("syncLimit", Kind::Int, Source::File, Effect::Effective, "0", "Ticks that leader and follower may be silent."),
    key("connectToLearnerMasterLimit", Kind::Int, Source::File, Effect::Moot("a leader that cannot be reached for 1 s, or initLimit if that is less, is given up for another election"), "initLimit", "Ticks a follower has to connect to its leader."),
    key("electionAlg", Kind::Int, Source::File, Effect::Effective, "3", "Election algorithm: 3 is the only one."),
    key("electionPortBindRetry", Kind::PropInt, Source::Property, Effect::Effective, "3", "Tries to bind the election port, one a second; 0 is without end."),
    key("quorumListenOnAllIPs", Kind::Bool, Source::File, Effect::Effective, "false", "Listen for peers on every interface, not only on the own server line's address."),
    key("syncEnabled", Kind::Bool, Source::File, Effect::Moot("observers always write log and snapshots"), "true", "Observers write log and snapshots."),
    key("observer.syncEnabled", Kind::PropBool, Source::Property, Effect::Moot("observers always write log and snapshots"), "true", "Observers write log and snapshots."),
    key("observer.reconnectDelayMs", Kind::PropLong, Source::Property, Effect::Moot("an observer connects again at once"), "0", "Delay of an observer before it connects again, ms."),
    key("observer.election.DelayMs", Kind::PropLong, Source::Property, Effect::Moot("an observer looks for the leader at once"), "200", "Delay of an observer before it looks for a leader, ms."),
    key("observerMasterPort", Kind::Int, Source::File, Effect::Missing("followers serve no observers: those connect to the leader"), "0", "Port on which a follower serves observers."),
    key("observerMaster.sizeLimit", Kind::PropInt, Source::Property, Effect::Moot("followers serve no observers"), "33554432", "Bytes a follower keeps for observers."),
    key("localSessionsEnabled", Kind::Bool, Source::File, Effect::MissingWhenTrue("every session is known to the whole ensemble, and costs two transactions"), "false", "Sessions known to one server only."),
    key("localSessionsUpgradingEnabled", Kind::Bool, Source::File, Effect::Moot("every session is known to the whole ensemble"), "false", "Local sessions become global when they need to."),
    key("leaderServes", Kind::UnlessNo, Source::Property, Effect::Missing("the leader accepts clients, whatever this says"), "yes", "The leader accepts clients."),
    key("cnxTimeout", Kind::PropInt, Source::Property, Effect::Moot("an attempt is given up after 2 s, and made again"), "5000", "Time to connect for an election, ms."),
    key("quorumCnxnTimeoutMs", Kind::PropInt, Source::Property, Effect::Moot("during an election a voter that says nothing for 6 s gets a new connection"), "-1", "Read timeout of election connections, ms."),
    key("quorum.cnxn.threads.size", Kind::Int, Source::File, Effect::Moot("zkfast has no such threads"), "20", "Threads for election connections."),
    key("fastleader.minNotificationInterval", Kind::PropInt, Source::Property, Effect::Moot("votes are repeated after 200 ms, then after up to 1 s"), "200", "Shortest wait for votes, ms."),
    key("fastleader.maxNotificationInterval", Kind::PropInt, Source::Property, Effect::Moot("votes are repeated after 200 ms, then after up to 1 s"), "60000", "Longest wait for votes, ms."),
    key("leader.maxTimeToWaitForEpoch", Kind::PropInt, Source::Property, Effect::Moot("a leader waits 1 s, or initLimit if that is less, for a quorum to connect"), "-1", "Time a leader waits for epochs, ms."),
    key("leader.maxConcurrentSnapSyncs", Kind::PropInt, Source::Property, Effect::Effective, "10", "Servers fed by snapshot at a time; further observers are sent away to come again, followers are counted and never sent away."),
    key("leader.maxConcurrentDiffSyncs", Kind::PropInt, Source::Property, Effect::Moot("a difference comes from memory, or from the log in pieces that wait for the learner"), "100", "Followers fed by difference at a time."),
    key("leader.ackLoggingFrequency", Kind::PropInt, Source::Property, Effect::Moot("a log line of the Java server"), "1000", "Acknowledgements between log lines."),
    key("leader.closeSocketAsync", Kind::PropBool, Source::Property, Effect::Moot("zkfast never blocks on a close"), "false", "Close peer sockets in a thread of their own."),
    key("learner.closeSocketAsync", Kind::PropBool, Source::Property, Effect::Moot("zkfast never blocks on a close"), "false", "Close peer sockets in a thread of their own."),
    key("learner.asyncSending", Kind::PropBool, Source::Property, Effect::Moot("zkfast never blocks on a send"), "false", "Send to the leader in a thread of its own."),
    key("leader.nodelay", Kind::Text, Source::Jvm, Effect::Moot("zkfast always sets it"), "true", "TCP_NODELAY towards followers."),
    key("follower.nodelay", Kind::Text, Source::Jvm, Effect::Moot("zkfast always sets it"), "true", "TCP_NODELAY towards the leader."),
    key("leaderConnectDelayDuringRetryMs", Kind::PropInt, Source::Property, Effect::Moot("a follower tries again after 10 ms"), "100", "Time between attempts to reach the leader, ms."),
    key("follower.skipLearnerRequestToNextProcessor", Kind::PropBool, Source::Property, Effect::Moot("zkfast has no such pipeline"), "false", "Order of work in a follower."),
    key("forward_learner_requests_to_commit_processor_disabled", Kind::PropBool, Source::Property, Effect::Moot("zkfast has no such pipeline"), "false", "Order of work in a leader."),
    key("forceSnapshotSync", Kind::PropBool, Source::Property, Effect::Effective, "false", "Feed followers by snapshot always."),
    key("tcpKeepAlive", Kind::PropBool, Source::Property, Effect::Effective, "false", "TCP keep-alive between peers."),
    key("enableEagerACLCheck", Kind::PropBool, Source::Property, Effect::Moot("the leader checks ACLs, once"), "false", "Followers check ACLs before forwarding."),
    key("multiAddress.enabled", Kind::Bool, Source::File, Effect::Effective, "false", "Several addresses per server line, tried in turn; the server listens on all of its own (Java 3.9.4 wants it as -Dzookeeper.multiAddress.enabled=true)."),
    key("multiAddress.reachabilityCheckEnabled", Kind::Bool, Source::File, Effect::Moot("an address that is not reached is left for the next one, without a ping"), "true", "Ping the addresses of a peer."),
    key("multiAddress.reachabilityCheckTimeoutMs", Kind::Int, Source::File, Effect::Moot("there is no such ping"), "1000", "Timeout of that ping, ms."),
    key("oraclePath", Kind::Text, Source::File, Effect::Missing("no oracle is asked"), "none", "File that decides between two servers."),
    key("commitLogCount", Kind::PropInt, Source::Property, Effect::Effective, "500", "Transactions at the end of the log that a start reads back for followers, 8 MiB at most; less than 500 reads as 500. While the server runs, the newest 8 MiB are in memory."),
    key("snapshotSizeFactor", Kind::Text, Source::Property, Effect::Moot("a follower is fed from the newest 8 MiB of transactions in memory, from the log up to 128 MiB or a third of the newest snapshot, or else from a snapshot"), "0.33", "Log size, as a part of the snapshot, a follower is fed from."),
    key("request_throttle_max_requests", Kind::PropInt, Source::Property, Effect::Missing("requests are limited by globalOutstandingLimit alone"), "0", "Requests in progress above which the throttler stalls; 0 is off."),
    key("request_throttle_stall_time", Kind::PropInt, Source::Property, Effect::Moot("requests are limited by globalOutstandingLimit alone"), "100", "Stall of the throttler, ms."),
    key("request_throttle_drop_stale", Kind::PropBool, Source::Property, Effect::Moot("requests are limited by globalOutstandingLimit alone"), "true", "The throttler drops requests of closed connections."),
    key("request_stale_latency_check", Kind::PropBool, Source::Property, Effect::Moot("requests are limited by globalOutstandingLimit alone"), "false", "Requests older than their session timeout are stale."),
    key("request_stale_connection_check", Kind::PropBool, Source::Property, Effect::Moot("requests are limited by globalOutstandingLimit alone"), "true", "Requests of closed connections are stale."),
    key("request_throttler.shutdownTimeout", Kind::PropInt, Source::Property, Effect::Moot("requests are limited by globalOutstandingLimit alone"), "10000", "Time the throttler has to drain, ms."),
    key("throttled_op_wait_time", Kind::PropInt, Source::Property, Effect::Missing("no request is answered ThrottledOp"), "0", "Wait after which a request is answered ThrottledOp, ms; 0 is never."),
    key("connection_throttle_tokens", Kind::PropInt, Source::Property, Effect::Missing("connections are limited by maxCnxns and maxClientCnxns"), "0", "Connections that may arrive at once; 0 is off."),
    key("connection_throttle_fill_time", Kind::PropInt, Source::Property, Effect::Moot("connections are limited by maxCnxns and maxClientCnxns"), "1", "Time between refills, ms."),
    key("connection_throttle_fill_count", Kind::PropInt, Source::Property, Effect::Moot("connections are limited by maxCnxns and maxClientCnxns"), "1", "Tokens per refill."),
    key("connection_throttle_freeze_time", Kind::PropInt, Source::Property, Effect::Moot("connections are limited by maxCnxns and maxClientCnxns"), "-1", "Time between changes of the drop probability, ms."),
    key("connection_throttle_drop_increase", Kind::Text, Source::Property, Effect::Moot("connections are limited by maxCnxns and maxClientCnxns"), "0.02", "Step up of the drop probability."),
    key("connection_throttle_drop_decrease", Kind::Text, Source::Property, Effect::Moot("connections are limited by maxCnxns and maxClientCnxns"), "0.002", "Step down of the drop probability."),
    key("connection_throttle_decrease_ratio", Kind::Text, Source::Property, Effect::Moot("connections are limited by maxCnxns and maxClientCnxns"), "0", "Fill level below which the probability rises."),
    key("connection_throttle_weight_enabled", Kind::PropBool, Source::Property, Effect::Moot("connections are limited by maxCnxns and maxClientCnxns"), "false", "Kinds of session weigh differently."),
    key("connection_throttle_global_session_weight", Kind::PropInt, Source::Property, Effect::Moot("connections are limited by maxCnxns and maxClientCnxns"), "3", "Weight of a global session."),
    key("connection_throttle_local_session_weight", Kind::PropInt, Source::Property, Effect::Moot("connections are limited by maxCnxns and maxClientCnxns"), "1", "Weight of a local session."),
    key("connection_throttle_renew_session_weight", Kind::PropInt, Source::Property, Effect::Moot("connections are limited by maxCnxns and maxClientCnxns"), "2", "Weight of a renewed session."),
    key("preAllocSize", Kind::PropLong, Source::Property, Effect::Moot("log segments are preallocated whole"), "65536", "Log preallocation, KiB."),
    key("txnLogSizeLimitInKb", Kind::PropLong, Source::Property, Effect::Moot("log segments have a fixed size"), "-1", "Length of a log file, KiB."),
    key("fsync.warningthresholdms", Kind::PropLong, Source::Property, Effect::Missing("fsyncs over 1000 ms are logged, whatever this says"), "1000", "fsync time above which the log says so, ms."),
    key("flushDelay", Kind::PropLong, Source::Property, Effect::Moot("the log groups whatever waits while the last fsync runs"), "0", "Wait for more requests before an fsync, ms."),
    key("maxWriteQueuePollTime", Kind::PropLong, Source::Property, Effect::Moot("the log groups whatever waits while the last fsync runs"), "flushDelay/3", "Wait for more requests before an fsync, ms."),
    key("maxBatchSize", Kind::PropInt, Source::Property, Effect::Moot("the log groups whatever waits while the last fsync runs"), "1000", "Requests per fsync at most."),
    key("snapshot.compression.method", Kind::Text, Source::Property, Effect::Moot("zkfast's snapshots have their own format"), "none", "gz or snappy for snapshots written."),
    key("snapshot.trust.empty", Kind::PropBool, Source::Property, Effect::Effective, "false", "ZooKeeper's data is taken over also from a log without a snapshot, if it begins with the first txn."),
    key("serializeLastProcessedZxid.enabled", Kind::PropBool, Source::Property, Effect::Moot("zkfast's snapshots always hold it"), "true", "Last zxid in snapshots."),
    key("db.autocreate", Kind::PropBool, Source::Property, Effect::Effective, "true", "false: a member with an empty data directory does not vote until its leader has given it everything, unless dataDir holds a file named initialize."),
    key("maxResponseCacheSize", Kind::PropInt, Source::Property, Effect::Moot("replies are encoded from the tree directly"), "400", "Cached getData replies."),
    key("maxGetChildrenResponseCacheSize", Kind::PropInt, Source::Property, Effect::Moot("replies are encoded from the tree directly"), "400", "Cached getChildren replies."),
    key("intBufferStartingSizeBytes", Kind::PropInt, Source::Property, Effect::Moot("a buffer of the Java server"), "1024", "First size of buffers, bytes."),
    key("serverCnxnFactory", Kind::Text, Source::Property, Effect::Moot("zkfast has one kind of listener"), "NIO", "Java class for connections."),
    key("nio.numSelectorThreads", Kind::PropInt, Source::Property, Effect::Moot("a thread per core: see --cores"), "by CPUs", "Selector threads."),
    key("nio.numWorkerThreads", Kind::PropInt, Source::Property, Effect::Moot("a thread per core: see --cores"), "by CPUs", "Worker threads."),
    key("nio.directBufferBytes", Kind::PropInt, Source::Property, Effect::Moot("a buffer of the Java server"), "65536", "Direct buffer, bytes."),
    key("nio.shutdownTimeout", Kind::PropLong, Source::Property, Effect::Moot("a thread per core: see --cores"), "5000", "Time workers have to stop, ms."),
    key("netty.advancedFlowControl.enabled", Kind::PropBool, Source::Property, Effect::Moot("zkfast does not use Netty"), "false", "Netty flow control."),
    key("netty.server.outstandingHandshake.limit", Kind::PropInt, Source::Property, Effect::Moot("TLS is not served yet"), "-1", "TLS handshakes in progress."),
    key("netty.server.earlyDropSecureConnectionHandshakes", Kind::PropBool, Source::Property, Effect::Moot("TLS is not served yet"), "false", "Drop handshakes early."),
    key("commitProcessor.numWorkerThreads", Kind::PropInt, Source::Property, Effect::Moot("a thread per core: see --cores"), "by CPUs", "Worker threads."),
    key("commitProcessor.maxReadBatchSize", Kind::PropInt, Source::Property, Effect::Moot("zkfast has no such pipeline"), "-1", "Reads between commits."),
    key("commitProcessor.maxCommitBatchSize", Kind::PropInt, Source::Property, Effect::Moot("zkfast has no such pipeline"), "1", "Commits between reads."),
    key("commitProcessor.shutdownTimeout", Kind::PropLong, Source::Property, Effect::Moot("zkfast has no such pipeline"), "5000", "Time workers have to stop, ms."),
    key("watchManagerName", Kind::Text, Source::Property, Effect::Moot("zkfast has one way to keep watches"), "WatchManager", "Java class for watches."),
    key("watcherCleanThreadsNum", Kind::PropInt, Source::Property, Effect::Moot("watches go with their connection"), "2", "Threads that drop dead watches."),
    key("watcherCleanThreshold", Kind::PropInt, Source::Property, Effect::Moot("watches go with their connection"), "1000", "Dead watches before they are dropped."),
    key("watcherCleanIntervalInSeconds", Kind::PropInt, Source::Property, Effect::Moot("watches go with their connection"), "600", "Seconds between drops."),
    key("maxInProcessingDeadWatchers", Kind::PropInt, Source::Property, Effect::Moot("watches go with their connection"), "-1", "Dead watches kept at most."),
    key("bitHashCacheSize", Kind::PropInt, Source::Property, Effect::Moot("zkfast has one way to keep watches"), "10", "Cache of a Java watch manager."),
    key("jvm.pause.monitor", Kind::Bool, Source::File, Effect::Moot("there is no JVM"), "false", "Watch for pauses of the JVM."),
    key("jvm.pause.warn-threshold.ms", Kind::Long, Source::File, Effect::Moot("there is no JVM"), "10000", "Pause that is warned of, ms."),
    key("jvm.pause.info-threshold.ms", Kind::Long, Source::File, Effect::Moot("there is no JVM"), "1000", "Pause that is logged, ms."),
    key("jvm.pause.sleep.time.ms", Kind::Long, Source::File, Effect::Moot("there is no JVM"), "500", "Time between looks, ms."),
    key("jmx.log4j.disable", Kind::PropBool, Source::Property, Effect::Moot("there is no JMX"), "false", "JMX beans of log4j."),
    key("audit.enable", Kind::PropBool, Source::Property, Effect::MissingWhenTrue("no audit log is written yet"), "false", "Audit log."),
    key("audit.impl.class", Kind::Text, Source::Property, Effect::Moot("no audit log is written yet"), "a log file", "Java class of the audit log."),
    key("messageTracker.Enabled", Kind::PropBool, Source::Property, Effect::Moot("a debugging aid of the Java server"), "false", "Keep the last messages of peers for the log."),
    key("messageTracker.BufferSize", Kind::PropInt, Source::Property, Effect::Moot("a debugging aid of the Java server"), "10", "How many."),
    key("pathStats.enabled", Kind::PropBool, Source::Property, Effect::Moot("a debugging aid of the Java server"), "false", "Count requests by path."),
    key("pathStats.slotCapacity", Kind::PropInt, Source::Property, Effect::Moot("a debugging aid of the Java server"), "60", "Slots of those counts."),
    key("pathStats.slotDuration", Kind::PropInt, Source::Property, Effect::Moot("a debugging aid of the Java server"), "15", "Seconds per slot."),
    key("pathStats.maxDepth", Kind::PropInt, Source::Property, Effect::Moot("a debugging aid of the Java server"), "6", "Depth of paths counted."),
    key("pathStats.sampleRate", Kind::Text, Source::Property, Effect::Moot("a debugging aid of the Java server"), "0.1", "Part of requests counted."),
    key("pathStats.initialDelay", Kind::PropLong, Source::Property, Effect::Moot("a debugging aid of the Java server"), "5", "Minutes before the first report."),
    key("pathStats.delay", Kind::PropLong, Source::Property, Effect::Moot("a debugging aid of the Java server"), "5", "Minutes between reports."),
    key("pathStats.topPathMax", Kind::PropInt, Source::Property, Effect::Moot("a debugging aid of the Java server"), "20", "Paths per report."),
    key("admin.enableServer", Kind::Text, Source::Property, Effect::Missing("the HTTP server is not there yet"), "true", "AdminServer (HTTP)."),
    key("admin.serverAddress", Kind::Text, Source::Property, Effect::Missing("the HTTP server is not there yet"), "0.0.0.0", "Address of the AdminServer."),
    key("admin.serverPort", Kind::PropInt, Source::Property, Effect::Missing("the HTTP server is not there yet"), "8080", "Port of the AdminServer."),
    key("admin.commandURL", Kind::Text, Source::Property, Effect::Missing("the HTTP server is not there yet"), "/commands", "Path of the AdminServer's commands."),
    key("admin.idleTimeout", Kind::PropInt, Source::Property, Effect::Moot("the HTTP server is not there yet"), "30000", "Idle HTTP connections live so long, ms."),
    key("admin.httpVersion", Kind::PropInt, Source::Property, Effect::Moot("the HTTP server is not there yet"), "11", "HTTP version."),
    key("admin.portUnification", Kind::PropBool, Source::Property, Effect::Moot("the HTTP server is not there yet"), "false", "HTTP and HTTPS on one port."),
    key("admin.forceHttps", Kind::PropBool, Source::Property, Effect::MissingWhenTrue("the HTTP server is not there yet"), "false", "HTTPS only."),
    key("admin.needClientAuth", Kind::PropBool, Source::Property, Effect::Moot("the HTTP server is not there yet"), "false", "Client certificates."),
    key("admin.rateLimiterIntervalInMS", Kind::PropInt, Source::Property, Effect::Moot("the HTTP server is not there yet"), "300000", "Time between snapshots by HTTP, ms."),
    key("admin.snapshot.enabled", Kind::PropBool, Source::Property, Effect::Moot("the HTTP server is not there yet"), "true", "Snapshots by HTTP."),
    key("admin.restore.enabled", Kind::PropBool, Source::Property, Effect::Moot("the HTTP server is not there yet"), "true", "Restore by HTTP."),
    key("metricsProvider.className", Kind::Text, Source::File, Effect::Missing("no metrics are exported over HTTP yet; word mntr has them"), "DefaultMetricsProvider", "Java class that exports metrics."),
    key("metricsProvider.httpHost", Kind::Text, Source::File, Effect::Missing("no metrics are exported over HTTP yet; word mntr has them"), "0.0.0.0", "Address of the metrics."),
    key("metricsProvider.httpPort", Kind::PropInt, Source::File, Effect::Missing("no metrics are exported over HTTP yet; word mntr has them"), "7000", "Port of the metrics."),
    key("metricsProvider.*", Kind::Text, Source::File, Effect::Moot("settings of a Java class"), "none", "Other settings of the metrics provider."),
    key("secureClientPort", Kind::Int, Source::File, Effect::Refused("TLS is not served yet; a client that expects TLS must not be given a plain port"), "none", "TCP port for clients with TLS."),
    key("secureClientPortAddress", Kind::Text, Source::File, Effect::Refused("TLS is not served yet; a client that expects TLS must not be given a plain port"), "every interface", "Address of that port."),
    key("client.portUnification", Kind::PropBool, Source::Property, Effect::MissingWhenTrue("TLS is not served yet"), "false", "TLS and plain clients on one port."),
    key("client.certReload", Kind::PropBool, Source::Property, Effect::Moot("TLS is not served yet"), "false", "Certificates are read again when they change."),
    key("sslQuorum", Kind::Bool, Source::File, Effect::MissingWhenTrue("TLS between servers is not there yet; an ensemble is refused then"), "false", "TLS between peers."),
    key("sslQuorumReloadCertFiles", Kind::Bool, Source::File, Effect::Moot("TLS is not served yet"), "false", "Certificates are read again when they change."),
    key("portUnification", Kind::Bool, Source::File, Effect::MissingWhenTrue("TLS between servers is not there yet: the port is plain"), "false", "TLS and plain peers on one port."),
    key("fips-mode", Kind::PropBool, Source::Property, Effect::Moot("TLS is not served yet"), "true", "FIPS rules for TLS."),
    key("ssl.*", Kind::Secret, Source::Property, Effect::Missing("TLS is not served yet"), "none", "TLS settings."),
    key("authProvider.*", Kind::Text, Source::Property, Effect::Missing("schemes are world, auth, digest and ip; SASL and x509 are not served yet"), "none", "Java class of an authentication scheme."),
    key("X509AuthenticationProvider.superUser", Kind::Text, Source::Property, Effect::Missing("TLS is not served yet"), "none", "Super user by certificate."),
    key("superUser", Kind::Text, Source::Property, Effect::Missing("SASL is not served yet"), "none", "Super user by SASL."),
    key("SASLAuthenticationProvider.superPassword", Kind::Secret, Source::Property, Effect::Missing("SASL is not served yet"), "none", "Password of the super user by SASL."),
    key("letAnySaslUserDoX", Kind::Text, Source::Property, Effect::Missing("SASL is not served yet"), "none", "A SASL user who may do anything."),
    key("allowSaslFailedClients", Kind::PropBool, Source::Property, Effect::Moot("SASL is not served yet"), "false", "Clients whose SASL failed may stay."),
    key("IPAuthenticationProvider.usexforwardedfor", Kind::PropBool, Source::Property, Effect::Moot("the HTTP server is not there yet"), "false", "Trust X-Forwarded-For over HTTP."),
    key("ensembleAuthName", Kind::Text, Source::Property, Effect::Missing("scheme ensemble is not served"), "none", "Names an ensemble answers to."),
    key("java.security.auth.login.config", Kind::Text, Source::Jvm, Effect::Missing("SASL is not served yet"), "none", "JAAS file."),
    key("sasl.serverconfig", Kind::Text, Source::Property, Effect::Moot("SASL is not served yet"), "Server", "Section of the JAAS file."),
    key("kinit", Kind::Text, Source::Property, Effect::Moot("SASL is not served yet"), "/usr/bin/kinit", "Path of kinit."),
    key("requireKerberosConfig", Kind::PropBool, Source::Property, Effect::Moot("SASL is not served yet"), "false", "Kerberos must be configured."),
    key("kerberos.removeHostFromPrincipal", Kind::PropBool, Source::Property, Effect::Moot("SASL is not served yet"), "false", "Kerberos names without host."),
    key("kerberos.removeRealmFromPrincipal", Kind::PropBool, Source::Property, Effect::Moot("SASL is not served yet"), "false", "Kerberos names without realm."),
    key("kerberos.canonicalizeHostNames", Kind::PropBool, Source::Property, Effect::Moot("SASL is not served yet"), "false", "Resolve names for Kerberos."),
    key("kerberos.minReLoginTimeMs", Kind::PropLong, Source::Property, Effect::Moot("SASL is not served yet"), "60000", "Time between Kerberos logins, ms."),
    key("security.auth_to_local", Kind::Text, Source::Property, Effect::Moot("SASL is not served yet"), "DEFAULT", "Kerberos name rules."),
    key("quorum.auth.enableSasl", Kind::Bool, Source::File, Effect::MissingWhenTrue("SASL between servers is not there yet"), "false", "SASL between peers."),
    key("quorum.auth.serverRequireSasl", Kind::Bool, Source::File, Effect::MissingWhenTrue("SASL between servers is not there yet; an ensemble is refused then"), "false", "SASL between peers is required."),
    key("quorum.auth.learnerRequireSasl", Kind::Bool, Source::File, Effect::MissingWhenTrue("SASL between servers is not there yet; an ensemble is refused then"), "false", "SASL between peers is required."),
    key("quorum.auth.server.saslLoginContext", Kind::Text, Source::File, Effect::Moot("SASL is not served yet"), "QuorumServer", "Section of the JAAS file."),
    key("quorum.auth.learner.saslLoginContext", Kind::Text, Source::File, Effect::Moot("SASL is not served yet"), "QuorumLearner", "Section of the JAAS file."),
    key("quorum.auth.kerberos.servicePrincipal", Kind::Text, Source::File, Effect::Moot("SASL is not served yet"), "zkquorum/localhost", "Kerberos principal of peers."),
];
