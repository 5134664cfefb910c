//! Every key of ZooKeeper 3.9, and zkfast's own, in one table: name, default, limits, what becomes of it, what it means.
//!
//! The reader takes defaults and limits from it, `zkfast check` its texts, suggestions their names, the command line its
//! flags, and the page on configuration its last table (a test compares them).

use super::key::{
    Key, Kind, Row, absent, boolean, file, int, jvm, long, only_yes, prop_bool, prop_int, prop_long,
    property, property_or_bare, text, unless_false, unless_no,
};
use super::suggest::suggestion;

/// Finds the row of a key as written, in its exact case as in Java.
pub(crate) fn find(name: &str) -> Option<&'static Row> {
    if let Some(row) = KEYS.iter().find(|row| row.name == name) {
        return Some(row);
    }
    // Java asks for `group` and `weight` without a dot, and trips over whatever follows.
    let family = match name {
        _ if name.starts_with("server.") => "server.N",
        _ if name.starts_with("group") => "group.N",
        _ if name.starts_with("weight") => "weight.N",
        _ if name.starts_with("metricsProvider.") => "metricsProvider.*",
        _ if name.starts_with("ssl.") => SSL,
        _ if name.starts_with("authProvider.") => AUTH_PROVIDER,
        _ if name.starts_with("superUser.") => SASL_SUPER_USERS,
        _ => return None,
    };
    KEYS.iter().find(|row| row.name == family)
}

/// The key that the server reads where the administrator's guide has another heading.
pub(crate) fn of_guide(heading: &str) -> Option<&'static str> {
    KEYS.iter().find(|row| row.guide == Some(heading)).map(|row| row.name)
}

/// The key that was meant: one that differs in case, blanks or a byte order mark only, or in a few letters.
pub(crate) fn near_miss(name: &str) -> Option<&'static str> {
    let plain = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let plain = plain.strip_prefix("zookeeper.").unwrap_or(plain);
    let names: Vec<&'static str> = KEYS.iter().map(|row| row.name).collect();
    let same = names.iter().find(|known| known.eq_ignore_ascii_case(plain));
    same.copied().or_else(|| suggestion(plain, &names))
}

/// The table as Markdown, for the page on configuration.
pub fn keys_as_markdown() -> String {
    let head = "| key | default | verdict | meaning |\n|---|---|---|---|\n".to_owned();
    KEYS.iter().fold(head, |out, row| out + &row.as_markdown())
}

/// Family of the settings of TLS.
pub(crate) const SSL: &str = "ssl.*";
/// Family of the schemes of authentication.
pub(crate) const AUTH_PROVIDER: &str = "authProvider.*";
/// Who is super by SASL.
pub(crate) const SASL_SUPER_USER: &str = "superUser";
/// Family of others who are.
pub(crate) const SASL_SUPER_USERS: &str = "superUser.N";

/// Makes the table, and a [`Key`] for each row that has a name and a type: those whose values the reader takes.
macro_rules! keys {
    ($($(_)? $($id:ident: $type:ty)? = $row:expr;)*) => {
        /// All rows, in the order of the documentation.
        pub(crate) static KEYS: &[Row] = &[$($row),*];
        $($(pub(crate) static $id: Key<$type> = Key::of($row);)?)*
    };
}

#[rustfmt::skip]
keys! {
    TICK_TIME: i32 = file("tickTime", int(3000)).at_least(1).without_file("2000").flag("--tick-time").about("Length of a tick, ms.");
    MIN_SESSION_TIMEOUT: i32 = file("minSessionTimeout", int(-1)).default_ticks(2).about("Shortest session timeout a client gets, ms; -1 is the default.");
    MAX_SESSION_TIMEOUT: i32 = file("maxSessionTimeout", int(-1)).default_ticks(20).about("Longest session timeout a client gets, ms; -1 is the default.");
    DATA_DIR: Option<String> = file("dataDir", absent(Kind::Text)).without_file("zkfast-data").flag("--data-dir").about("Directory of snapshots, and of the log unless dataLogDir says otherwise.");
    DATA_LOG_DIR: Option<String> = file("dataLogDir", absent(Kind::Text)).default_is("dataDir").flag("--data-log-dir").about("Directory of the transaction log.");
    CLIENT_PORT: Option<u16> = file("clientPort", absent(Kind::Int)).port().without_file("2181").flag("--client-port").about("TCP port for clients; 0 lets the system choose.");
    CLIENT_PORT_ADDRESS: Option<String> = file("clientPortAddress", absent(Kind::Text)).default_is("every interface").without_file("127.0.0.1").flag("--client-port-address").about("Address or name to listen on for clients.");
    CLIENT_PORT_LISTEN_BACKLOG: i32 = file("clientPortListenBacklog", int(-1)).about("Length of the listen queue; -1 leaves it to zkfast.");
    MAX_CLIENT_CNXNS: u32 = file("maxClientCnxns", int(60)).not_negative().flag("--max-client-cnxns").about("Connections from one address; 0 is no limit.");
    MAX_CNXNS: u32 = property("maxCnxns", prop_int(0)).not_negative().about("Connections in all; 0 is no limit.");
    SESSIONLESS_CNXN_TIMEOUT: u32 = property("nio.sessionlessCnxnTimeout", prop_int(10_000)).at_least(1).about("How long a connection may live without a session, ms.");
    CLIENT_TCP_KEEP_ALIVE: bool = property("clientTcpKeepAlive", prop_bool(false)).about("TCP keep-alive on client connections.");
    GLOBAL_OUTSTANDING_LIMIT: u32 = property("globalOutstandingLimit", prop_int(1000)).not_negative().about("Requests in progress above which connections are read no further.");
    JUTE_MAX_BUFFER: u32 = jvm("jute.maxbuffer", prop_int(0xF_FFFF)).at_least(1).about("Longest client frame, bytes; a connection may hold that much memory. A write is limited to 54 MiB (56,623,104 bytes) beside.");
    _ = property("jute.maxbuffer.extrasize", absent(Kind::PropInt)).default_is("jute.maxbuffer").moot("zkfast's log and peers have limits of their own that fit every accepted frame").about("Extra room for records from peers and disk, bytes.");
    SNAP_COUNT: u32 = property("snapCount", prop_int(100_000)).raised_to(2).about("Transactions between snapshots.");
    SNAP_SIZE_LIMIT: u64 = property("snapSizeLimitInKb", prop_long(4_194_304)).not_negative().about("Log bytes between snapshots, KiB; 0 is no limit.");
    SNAP_RETAIN_COUNT: u32 = file("autopurge.snapRetainCount", int(3)).raised_to(3).about("Snapshots that purging keeps.");
    PURGE_INTERVAL: u32 = file("autopurge.purgeInterval", int(1)).not_negative().java_default("0").about("0 turns purging off; otherwise what is not needed goes after each snapshot.");
    FOUR_LETTER_WORDS: String = property("4lw.commands.whitelist", text("srvr,ruok,mntr,conf,isro")).java_default("srvr").flag("--four-letter-words").about("Four-letter words that are answered; * is all, srvr always is.");
    SKIP_ACL: bool = property("skipACL", only_yes()).about("yes: ACLs are not checked.");
    EXTENDED_TYPES: bool = property("extendedTypesEnabled", prop_bool(false)).about("TTL nodes.");
    EMULATE_353: bool = property("emulate353TTLNodes", prop_bool(false)).about("With extendedTypesEnabled: TTL nodes that 3.5.3 made are known, too.");
    ENFORCE_QUOTA: bool = property("enforceQuota", prop_bool(false)).about("Hard quotas are enforced.");
    DIGEST: bool = property("digest.enabled", prop_bool(true)).about("Tree digest per transaction.");
    CLOSE_SESSION_TXN: bool = property("closeSessionTxn.enabled", prop_bool(true)).about("closeSession transactions list the ephemerals they delete.");
    SUPER_DIGEST: Option<String> = property("DigestAuthenticationProvider.superDigest", absent(Kind::Secret)).about("user:base64(hash(user:password)) of the super user.");
    DIGEST_ALG: String = property("DigestAuthenticationProvider.digestAlg", text("SHA1")).about("Hash of scheme digest: SHA1, SHA-224, SHA-256, SHA-384, SHA-512, SHA-512/224, SHA-512/256.");
    DIGEST_AUTH: bool = property("DigestAuthenticationProvider.enabled", prop_bool(true)).about("Scheme digest.");
    ENFORCE_AUTH: bool = property("enforce.auth.enabled", prop_bool(false)).about("Sessions must authenticate before anything else.");
    ENFORCE_AUTH_SCHEMES: Option<String> = property("enforce.auth.schemes", absent(Kind::Text)).about("Schemes that satisfy enforce.auth.enabled, by commas.");
    SESSION_REQUIRES_SASL: bool = property("sessionRequireClientSASLAuth", prop_bool(false)).about("Sessions must authenticate by SASL before anything else; `enforce.auth.*` do not count then. It wants an `authProvider.*` with SASLAuthenticationProvider, and a JAAS file.");
    CONTAINER_CHECK_INTERVAL: u32 = jvm("znode.container.checkIntervalMs", prop_int(60_000)).at_least(1).about("Time between sweeps of containers and TTL nodes, ms.");
    CONTAINER_MAX_PER_MINUTE: u32 = jvm("znode.container.maxPerMinute", prop_int(10_000)).at_least(1).about("Containers and TTL nodes deleted per minute at most.");
    CONTAINER_MAX_NEVER_USED: u64 = jvm("znode.container.maxNeverUsedIntervalMs", prop_long(0)).not_negative().about("Age at which a container that never had a child is deleted, ms; 0 is never.");
    _ = property("largeRequestMaxBytes", prop_int(104_857_600)).moot("bytes of all requests in progress are limited, large or not").about("Bytes of large requests in progress at most.");
    _ = property("largeRequestThreshold", prop_int(-1)).moot("bytes of all requests in progress are limited, large or not").about("Bytes above which a request is large; -1 turns this off.");
    DATA_DIR_AUTOCREATE: bool = property("datadir.autocreate", prop_bool(true)).about("Create missing data directories.");
    READ_ONLY_MODE: bool = jvm("readonlymode.enabled", prop_bool(false)).about("A member without a leader serves clients that ask for no more than reads, 2 s or tickTime after it has lost its leader; the four-letter word isro is allowed.");
    STANDALONE: bool = file("standaloneEnabled", boolean(true)).about("One server line, or none, is a standalone server; false makes it an ensemble of one.");
    RECONFIG: bool = file("reconfigEnabled", boolean(false)).about("Request reconfig is allowed: servers join, leave and change their roles and addresses while all run.");
    _ = property("forceSync", unless_no()).missing("every acknowledged write is on disk: forceSync=no is ignored").about("no: acknowledge before the data is on disk.");
    DYNAMIC_CONFIG_FILE: Option<String> = file("dynamicConfigFile", absent(Kind::Text)).about("File with the server, group and weight lines.");
    _ = file("server.N", absent(Kind::Server)).about("`host:quorumPort:electionPort[:participant or :observer][;[address:]clientPort]`.");
    _ = file("group.N", absent(Kind::Server)).about("Ids of the servers in a group, by colons.");
    _ = file("weight.N", absent(Kind::Server)).default_is("1").about("Weight of a server in its group.");
    _ = file("version", absent(Kind::Server)).default_is("0").about("Version of the configuration, hexadecimal.");
    PEER_TYPE: String = file("peerType", text("participant")).about("Role of this server; the server lines win.");
    INIT_LIMIT: i32 = file("initLimit", int(0)).at_least_in_ensemble(1, "an ensemble wants a number of ticks; 10 is usual").about("Ticks a follower has for its first synchronization, and a new leader for a quorum of them.");
    SYNC_LIMIT: i32 = file("syncLimit", int(0)).at_least_in_ensemble(1, "an ensemble wants a number of ticks; 5 is usual").about("Ticks that leader and follower may be silent.");
    _ = file("connectToLearnerMasterLimit", absent(Kind::Int)).default_is("initLimit").moot("a leader that cannot be reached for 1 s, or initLimit if that is less, is given up for another election").about("Ticks a follower has to connect to its leader.");
    _ = file("electionAlg", int(3)).only(3).about("Election algorithm.");
    ELECTION_PORT_BIND_RETRY: u32 = property("electionPortBindRetry", prop_int(3)).default_if_negative().about("Tries to bind the election port, one a second; 0 is without end.");
    LISTEN_ON_ALL_IPS: bool = file("quorumListenOnAllIPs", boolean(false)).about("Listen for peers on every interface, not only on the own server line's address.");
    _ = file("syncEnabled", boolean(true)).moot("observers always write log and snapshots").about("Observers write log and snapshots.");
    _ = property("observer.syncEnabled", prop_bool(true)).moot("observers always write log and snapshots").about("Observers write log and snapshots.");
    OBSERVER_RECONNECT_DELAY: u64 = property("observer.reconnectDelayMs", prop_long(0)).not_negative().about("Longest delay of an observer before it connects to its leader again, or has tried all followers with observerMasterPort, ms.");
    _ = property("observer.election.DelayMs", prop_long(200)).moot("an observer looks for the leader at once").about("Delay of an observer before it looks for a leader, ms.");
    OBSERVER_MASTER_PORT: u16 = file("observerMasterPort", int(0)).port().about("Port on which a follower serves observers, and where observers connect to followers; the same on all servers. 0: they connect to the leader.");
    OBSERVER_MASTER_BYTES: u32 = property("observerMaster.sizeLimit", prop_int(33_554_432)).at_least(1).about("Bytes of transactions that a follower with observerMasterPort keeps in memory for observers; what is older is read from the log.");
    LOCAL_SESSIONS: bool = file("localSessionsEnabled", boolean(false)).about("Members of an ensemble: sessions begin known to their server only, and cost no transaction.");
    LOCAL_SESSIONS_UPGRADING: bool = file("localSessionsUpgradingEnabled", boolean(false)).about("A local session becomes global when its client creates an ephemeral; without, such a create fails with EphemeralOnLocalSession.");
    LEADER_SERVES: bool = property("leaderServes", unless_no()).about("no: a server that leads serves no clients.");
    _ = property("cnxTimeout", prop_int(5000)).moot("an attempt is given up after 2 s, and made again").about("Time to connect for an election, ms.");
    _ = property("quorumCnxnTimeoutMs", prop_int(-1)).moot("during an election a voter that says nothing for 6 s gets a new connection").about("Read timeout of election connections, ms.");
    _ = file("quorum.cnxn.threads.size", int(20)).moot("zkfast has no such threads").about("Threads for election connections.");
    _ = property("fastleader.minNotificationInterval", prop_int(200)).moot("votes are repeated after 200 ms, then after up to 1 s").about("Shortest wait for votes, ms.");
    _ = property("fastleader.maxNotificationInterval", prop_int(60_000)).moot("votes are repeated after 200 ms, then after up to 1 s").about("Longest wait for votes, ms.");
    _ = property("leader.maxTimeToWaitForEpoch", prop_int(-1)).guide("maxTimeToWaitForEpoch").moot("a leader waits 1 s, or initLimit if that is less, for a quorum to connect").about("Time a leader waits for epochs, ms.");
    SNAP_SYNCS: i32 = property("leader.maxConcurrentSnapSyncs", prop_int(10)).at_least_in_ensemble(1, "no observer could be given the tree").guide("maxConcurrentSnapSyncs").about("Servers fed by snapshot at a time; further observers are sent away to come again, followers are counted and never sent away.");
    _ = property("leader.maxConcurrentDiffSyncs", prop_int(100)).guide("maxConcurrentDiffSyncs").moot("a difference comes from memory, or from the log in pieces that wait for the learner").about("Followers fed by difference at a time.");
    _ = property("leader.ackLoggingFrequency", prop_int(1000)).moot("a log line of the Java server").about("Acknowledgements between log lines.");
    _ = property_or_bare("leader.closeSocketAsync", prop_bool(false)).moot("zkfast never blocks on a close").about("Close peer sockets in a thread of their own.");
    _ = property_or_bare("learner.closeSocketAsync", prop_bool(false)).moot("zkfast never blocks on a close").about("Close peer sockets in a thread of their own.");
    _ = property_or_bare("learner.asyncSending", prop_bool(false)).moot("zkfast never blocks on a send").about("Send to the leader in a thread of its own.");
    _ = jvm("leader.nodelay", text("true")).moot("zkfast always sets it").about("TCP_NODELAY towards followers.");
    _ = jvm("follower.nodelay", text("true")).moot("zkfast always sets it").about("TCP_NODELAY towards the leader.");
    _ = property("leaderConnectDelayDuringRetryMs", prop_int(100)).moot("a follower tries again after 10 ms").about("Time between attempts to reach the leader, ms.");
    _ = property("follower.skipLearnerRequestToNextProcessor", prop_bool(false)).moot("zkfast has no such pipeline").about("Order of work in a follower.");
    _ = property("forward_learner_requests_to_commit_processor_disabled", prop_bool(false)).moot("zkfast has no such pipeline").about("Order of work in a leader.");
    FORCE_SNAPSHOT_SYNC: bool = property("forceSnapshotSync", prop_bool(false)).about("Feed followers by snapshot always.");
    TCP_KEEP_ALIVE: bool = property("tcpKeepAlive", prop_bool(false)).about("TCP keep-alive between peers.");
    _ = property("enableEagerACLCheck", prop_bool(false)).moot("the leader checks ACLs, once").about("Followers check ACLs before forwarding.");
    MULTI_ADDRESS: bool = file("multiAddress.enabled", boolean(false)).about("Several addresses per server line, tried in turn; the server listens on all of its own (Java 3.9.4 wants it as -Dzookeeper.multiAddress.enabled=true).");
    _ = file("multiAddress.reachabilityCheckEnabled", boolean(true)).moot("an address that is not reached is left for the next one, without a ping").about("Ping the addresses of a peer.");
    _ = file("multiAddress.reachabilityCheckTimeoutMs", int(1000)).moot("there is no such ping").about("Timeout of that ping, ms.");
    ORACLE_PATH: Option<String> = file("oraclePath", absent(Kind::Text)).about("Of two voters: file that begins with 1 where this server may lead without the other one. Something outside the ensemble writes it, and never lets both files be 1. Without effect for any other number of voters, and where there are groups.");
    COMMIT_LOG_COUNT: u32 = property("commitLogCount", prop_int(500)).raised_to(500).about("Transactions at the end of the log that a start reads back for followers, 8 MiB at most. While the server runs, the newest 8 MiB are in memory.");
    _ = property("snapshotSizeFactor", text("0.33")).moot("a follower is fed from the newest 8 MiB of transactions in memory, from the log up to 128 MiB or a third of the newest snapshot, or else from a snapshot").about("Log size, as a part of the snapshot, a follower is fed from.");
    _ = property("request_throttle_max_requests", prop_int(0)).guide("requestThrottleLimit").missing("requests are limited by globalOutstandingLimit alone").about("Requests in progress above which the throttler stalls; 0 is off.");
    _ = property("request_throttle_stall_time", prop_int(100)).guide("requestThrottleStallTime").moot("requests are limited by globalOutstandingLimit alone").about("Stall of the throttler, ms.");
    _ = property("request_throttle_drop_stale", prop_bool(true)).guide("requestThrottleDropStale").moot("requests are limited by globalOutstandingLimit alone").about("The throttler drops requests of closed connections.");
    _ = property("request_stale_latency_check", prop_bool(false)).guide("requestStaleLatencyCheck").moot("requests are limited by globalOutstandingLimit alone").about("Requests older than their session timeout are stale.");
    _ = property("request_stale_connection_check", prop_bool(true)).guide("requestStaleConnectionCheck").moot("requests are limited by globalOutstandingLimit alone").about("Requests of closed connections are stale.");
    _ = property("request_throttler.shutdownTimeout", prop_int(10_000)).moot("requests are limited by globalOutstandingLimit alone").about("Time the throttler has to drain, ms.");
    _ = property("throttled_op_wait_time", prop_int(0)).guide("throttledOpWaitTime").missing("no request is answered ThrottledOp").about("Wait after which a request is answered ThrottledOp, ms; 0 is never.");
    _ = property("connection_throttle_tokens", prop_int(0)).guide("connectionMaxTokens").missing("connections are limited by maxCnxns and maxClientCnxns").about("Connections that may arrive at once; 0 is off.");
    _ = property("connection_throttle_fill_time", prop_int(1)).guide("connectionTokenFillTime").moot("connections are limited by maxCnxns and maxClientCnxns").about("Time between refills, ms.");
    _ = property("connection_throttle_fill_count", prop_int(1)).guide("connectionTokenFillCount").moot("connections are limited by maxCnxns and maxClientCnxns").about("Tokens per refill.");
    _ = property("connection_throttle_freeze_time", prop_int(-1)).guide("connectionFreezeTime").moot("connections are limited by maxCnxns and maxClientCnxns").about("Time between changes of the drop probability, ms.");
    _ = property("connection_throttle_drop_increase", text("0.02")).guide("connectionDropIncrease").moot("connections are limited by maxCnxns and maxClientCnxns").about("Step up of the drop probability.");
    _ = property("connection_throttle_drop_decrease", text("0.002")).guide("connectionDropDecrease").moot("connections are limited by maxCnxns and maxClientCnxns").about("Step down of the drop probability.");
    _ = property("connection_throttle_decrease_ratio", text("0")).guide("connectionDecreaseRatio").moot("connections are limited by maxCnxns and maxClientCnxns").about("Fill level below which the probability rises.");
    _ = property("connection_throttle_weight_enabled", prop_bool(false)).moot("connections are limited by maxCnxns and maxClientCnxns").about("Kinds of session weigh differently.");
    _ = property("connection_throttle_global_session_weight", prop_int(3)).moot("connections are limited by maxCnxns and maxClientCnxns").about("Weight of a global session.");
    _ = property("connection_throttle_local_session_weight", prop_int(1)).moot("connections are limited by maxCnxns and maxClientCnxns").about("Weight of a local session.");
    _ = property("connection_throttle_renew_session_weight", prop_int(2)).moot("connections are limited by maxCnxns and maxClientCnxns").about("Weight of a renewed session.");
    _ = property("preAllocSize", prop_long(65_536)).moot("log segments are preallocated whole").about("Log preallocation, KiB.");
    _ = property("txnLogSizeLimitInKb", prop_long(-1)).moot("log segments have a fixed size").about("Length of a log file, KiB.");
    _ = property_or_bare("fsync.warningthresholdms", prop_long(1000)).missing("fsyncs over 1000 ms are logged, whatever this says").about("fsync time above which the log says so, ms.");
    _ = property("flushDelay", prop_long(0)).moot("the log groups whatever waits while the last fsync runs").about("Wait for more requests before an fsync, ms.");
    _ = property("maxWriteQueuePollTime", absent(Kind::PropLong)).default_is("flushDelay/3").moot("the log groups whatever waits while the last fsync runs").about("Wait for more requests before an fsync, ms.");
    _ = property("maxBatchSize", prop_int(1000)).moot("the log groups whatever waits while the last fsync runs").about("Requests per fsync at most.");
    _ = property("snapshot.compression.method", absent(Kind::Text)).moot("zkfast's snapshots have their own format").about("gz or snappy for snapshots written.");
    SNAPSHOT_TRUST_EMPTY: bool = property("snapshot.trust.empty", prop_bool(false)).about("ZooKeeper's data is taken over also from a log without a snapshot, if it begins with the first txn.");
    _ = property("serializeLastProcessedZxid.enabled", prop_bool(true)).moot("zkfast's snapshots always hold it").about("Last zxid in snapshots.");
    DB_AUTOCREATE: bool = property("db.autocreate", prop_bool(true)).about("false: a member with an empty data directory does not vote until its leader has given it everything, unless dataDir holds a file named initialize.");
    _ = property("maxResponseCacheSize", prop_int(400)).moot("replies are encoded from the tree directly").about("Cached getData replies.");
    _ = property("maxGetChildrenResponseCacheSize", prop_int(400)).moot("replies are encoded from the tree directly").about("Cached getChildren replies.");
    _ = property("intBufferStartingSizeBytes", prop_int(1024)).moot("a buffer of the Java server").about("First size of buffers, bytes.");
    SERVER_CNXN_FACTORY: Option<String> = property("serverCnxnFactory", absent(Kind::Text)).default_is("NIO").moot("zkfast has one kind of listener").about("Java class for connections.");
    _ = property("nio.numSelectorThreads", absent(Kind::PropInt)).default_is("by CPUs").moot("a thread per core: see --cores").about("Selector threads.");
    _ = property("nio.numWorkerThreads", absent(Kind::PropInt)).default_is("by CPUs").moot("a thread per core: see --cores").about("Worker threads.");
    _ = property("nio.directBufferBytes", prop_int(65_536)).moot("a buffer of the Java server").about("Direct buffer, bytes.");
    _ = property("nio.shutdownTimeout", prop_long(5000)).moot("a thread per core: see --cores").about("Time workers have to stop, ms.");
    _ = property("netty.advancedFlowControl.enabled", prop_bool(false)).guide("advancedFlowControlEnabled").moot("zkfast does not use Netty").about("Netty flow control.");
    _ = property("netty.server.outstandingHandshake.limit", prop_int(-1)).guide("outstandingHandshake.limit").moot("a connection that shakes hands counts for maxClientCnxns and maxCnxns, and has nio.sessionlessCnxnTimeout").about("TLS handshakes in progress.");
    _ = property("netty.server.earlyDropSecureConnectionHandshakes", prop_bool(false)).moot("a connection over a limit is dropped before its handshake").about("Drop handshakes early.");
    _ = property("commitProcessor.numWorkerThreads", absent(Kind::PropInt)).default_is("by CPUs").moot("a thread per core: see --cores").about("Worker threads.");
    _ = property("commitProcessor.maxReadBatchSize", prop_int(-1)).moot("zkfast has no such pipeline").about("Reads between commits.");
    _ = property("commitProcessor.maxCommitBatchSize", prop_int(1)).moot("zkfast has no such pipeline").about("Commits between reads.");
    _ = property("commitProcessor.shutdownTimeout", prop_long(5000)).moot("zkfast has no such pipeline").about("Time workers have to stop, ms.");
    _ = property("watchManagerName", absent(Kind::Text)).default_is("WatchManager").moot("zkfast has one way to keep watches").about("Java class for watches.");
    _ = property("watcherCleanThreadsNum", prop_int(2)).moot("watches go with their connection").about("Threads that drop dead watches.");
    _ = property("watcherCleanThreshold", prop_int(1000)).moot("watches go with their connection").about("Dead watches before they are dropped.");
    _ = property("watcherCleanIntervalInSeconds", prop_int(600)).moot("watches go with their connection").about("Seconds between drops.");
    _ = property("maxInProcessingDeadWatchers", prop_int(-1)).moot("watches go with their connection").about("Dead watches kept at most.");
    _ = property("bitHashCacheSize", prop_int(10)).moot("zkfast has one way to keep watches").about("Cache of a Java watch manager.");
    _ = file("jvm.pause.monitor", boolean(false)).moot("there is no JVM").about("Watch for pauses of the JVM.");
    _ = file("jvm.pause.warn-threshold.ms", long(10_000)).moot("there is no JVM").about("Pause that is warned of, ms.");
    _ = file("jvm.pause.info-threshold.ms", long(1000)).moot("there is no JVM").about("Pause that is logged, ms.");
    _ = file("jvm.pause.sleep.time.ms", long(500)).moot("there is no JVM").about("Time between looks, ms.");
    _ = property("jmx.log4j.disable", prop_bool(false)).moot("there is no JMX").about("JMX beans of log4j.");
    AUDIT_ENABLED: bool = property("audit.enable", prop_bool(false)).about("Audit log: lines of target `audit` in the log.");
    _ = property("audit.impl.class", absent(Kind::Text)).default_is("a log file").moot("the audit log is written to the log, whatever it says").about("Java class of the audit log.");
    SLOW_REQUEST_MS: u32 = file("zkfast.slowRequestThresholdMs", int(1000)).not_negative().about("A key of zkfast: a request that takes as long is logged, and listed by the command `slow_requests`, ms; 0 is off.");
    ALLOW_CORE_DUMPS: bool = file("zkfast.allowCoreDumps", prop_bool(false)).about("A key of zkfast: a server with TLS or a JAAS file leaves core dumps, too. They have its private keys and passwords in them.");
    TRACE_ONE_IN: u32 = file("zkfast.traceOneIn", int(0)).not_negative().about("A key of zkfast: one of so many requests is listed there as well, however long it took; 0 is off.");
    _ = property("messageTracker.Enabled", prop_bool(false)).moot("a debugging aid of the Java server").about("Keep the last messages of peers for the log.");
    _ = property("messageTracker.BufferSize", prop_int(10)).moot("a debugging aid of the Java server").about("How many.");
    _ = property("pathStats.enabled", prop_bool(false)).moot("a debugging aid of the Java server").about("Count requests by path.");
    _ = property("pathStats.slotCapacity", prop_int(60)).moot("a debugging aid of the Java server").about("Slots of those counts.");
    _ = property("pathStats.slotDuration", prop_int(15)).moot("a debugging aid of the Java server").about("Seconds per slot.");
    _ = property("pathStats.maxDepth", prop_int(6)).moot("a debugging aid of the Java server").about("Depth of paths counted.");
    _ = property("pathStats.sampleRate", text("0.1")).moot("a debugging aid of the Java server").about("Part of requests counted.");
    _ = property("pathStats.initialDelay", prop_long(5)).moot("a debugging aid of the Java server").about("Minutes before the first report.");
    _ = property("pathStats.delay", prop_long(5)).moot("a debugging aid of the Java server").about("Minutes between reports.");
    _ = property("pathStats.topPathMax", prop_int(20)).moot("a debugging aid of the Java server").about("Paths per report.");
    ADMIN_ENABLED: bool = property("admin.enableServer", unless_false()).about("The HTTP server, with the commands of the AdminServer and what probes ask.");
    ADMIN_ADDRESS: String = property("admin.serverAddress", text("0.0.0.0")).about("Address or name on which HTTP is served; without a file it is that of clients.");
    ADMIN_PORT: u16 = property("admin.serverPort", prop_int(8080)).port().about("TCP port for HTTP; 0 lets the system choose.");
    ADMIN_COMMAND_URL: String = property("admin.commandURL", text("/commands")).about("Path of the commands.");
    ADMIN_IDLE_TIMEOUT: u32 = property("admin.idleTimeout", prop_int(30_000)).raised_to(1000).about("HTTP connections on which nothing moves are closed after it, and those whose request has not come whole, ms.");
    ADMIN_CONSOLE: bool = property("admin.console.enabled", unless_false()).about("The console at `/` of the HTTP port, and what it asks (`/api`). A key of zkfast's own: ZooKeeper has no console.");
    _ = property("admin.httpVersion", prop_int(11)).moot("HTTP/1.1 and 1.0 are served, whatever it says").about("HTTP version.");
    ADMIN_PORT_UNIFICATION: bool = property("admin.portUnification", prop_bool(false)).about("HTTP and HTTPS on one port; the stores are those of `ssl.quorum.*`.");
    ADMIN_FORCE_HTTPS: bool = property("admin.forceHttps", prop_bool(false)).about("HTTPS only; the stores are those of `ssl.quorum.*`.");
    ADMIN_NEED_CLIENT_AUTH: bool = property("admin.needClientAuth", prop_bool(false)).about("HTTPS clients must show a certificate that the trust store trusts.");
    ADMIN_RATE_LIMITER_INTERVAL: u32 = property("admin.rateLimiterIntervalInMS", prop_int(300_000)).not_negative().about("Time between restores by HTTP, ms; between snapshots it is a thousandth, as in Java.");
    ADMIN_SNAPSHOT_ENABLED: bool = property("admin.snapshot.enabled", prop_bool(true)).about("Snapshots by HTTP.");
    ADMIN_RESTORE_ENABLED: bool = property("admin.restore.enabled", prop_bool(true)).about("Restore by HTTP. Where nothing is said, it is refused while everybody may do everything at `/`; `true` allows it then, too.");
    METRICS_CLASS: Option<String> = file("metricsProvider.className", absent(Kind::Text)).default_is("DefaultMetricsProvider").about("Java class that exports metrics.");
    METRICS_HOST: String = file("metricsProvider.httpHost", text("0.0.0.0")).about("Address of the metrics.");
    METRICS_PORT: u16 = file("metricsProvider.httpPort", int(7000)).port().about("Port of the metrics.");
    METRICS_JVM_INFO: bool = file("metricsProvider.exportJvmInfo", prop_bool(true)).about("The metrics of the process, `process_*`, are exported too. There is no JVM.");
    _ = file("metricsProvider.numWorkerThreads", int(1)).moot("values are recorded where they arise, by no other thread").about("Threads that record values.");
    _ = file("metricsProvider.maxQueueSize", int(1_000_000)).at_least(1).moot("values are recorded where they arise, and wait in no queue").about("Values that may wait for these threads.");
    _ = file("metricsProvider.workerShutdownTimeoutMs", long(1000)).moot("values are recorded where they arise, by no other thread").about("How long a stop waits for these threads, ms.");
    _ = file("metricsProvider.*", absent(Kind::Text)).moot("settings of a Java class").about("Other settings of the metrics provider.");
    SECURE_CLIENT_PORT: Option<u16> = file("secureClientPort", absent(Kind::Int)).port().about("TCP port for clients with TLS; 0 lets the system choose.");
    SECURE_CLIENT_PORT_ADDRESS: Option<String> = file("secureClientPortAddress", absent(Kind::Text)).default_is("every interface").about("Address or name to listen on for them.");
    CLIENT_PORT_UNIFICATION: bool = property("client.portUnification", prop_bool(false)).about("`clientPort` takes clients with TLS, too.");
    CLIENT_CERT_RELOAD: bool = property("client.certReload", prop_bool(true)).java_default("false").about("Stores are read again when their files change; connections stay.");
    SSL_KEY_STORE: Option<String> = property("ssl.keyStore.location", absent(Kind::Text)).about("File with the server's certificate, what leads from it to its authority, and its private key.");
    SSL_KEY_STORE_PASSWORD: Option<String> = property("ssl.keyStore.password", absent(Kind::Secret)).about("Password of that file.");
    SSL_KEY_STORE_PASSWORD_PATH: Option<String> = property("ssl.keyStore.passwordPath", absent(Kind::Text)).about("File whose first line is that password; it wins.");
    SSL_PRIVATE_KEY: Option<String> = file("zkfast.ssl.keyStore.keyLocation", absent(Kind::Text)).about("A key of zkfast: file with the private key in PEM, where `ssl.keyStore.location` has the certificates alone (`tls.crt`, `tls.key`).");
    SSL_KEY_STORE_TYPE: Option<String> = property("ssl.keyStore.type", absent(Kind::Text)).default_is("by the file's extension").about("PEM, PKCS12 or JKS.");
    SSL_TRUST_STORE: Option<String> = property("ssl.trustStore.location", absent(Kind::Text)).about("File with the certificates that clients' certificates are checked against.");
    SSL_TRUST_STORE_PASSWORD: Option<String> = property("ssl.trustStore.password", absent(Kind::Secret)).about("Password of that file.");
    SSL_TRUST_STORE_PASSWORD_PATH: Option<String> = property("ssl.trustStore.passwordPath", absent(Kind::Text)).about("File whose first line is that password; it wins.");
    SSL_TRUST_STORE_TYPE: Option<String> = property("ssl.trustStore.type", absent(Kind::Text)).default_is("by the file's extension").about("PEM, PKCS12 or JKS.");
    SSL_CLIENT_AUTH: String = property("ssl.clientAuth", text("need")).about("Whether clients must show a certificate: need, want or none.");
    SSL_PROTOCOL: Option<String> = property("ssl.protocol", absent(Kind::Text)).default_is("TLSv1.2 and TLSv1.3").java_default("TLSv1.2").about("Version of TLS, where `ssl.enabledProtocols` names none.");
    SSL_ENABLED_PROTOCOLS: Option<String> = property("ssl.enabledProtocols", absent(Kind::Text)).default_is("ssl.protocol").about("Versions of TLS, by commas.");
    SSL_CIPHER_SUITES: Option<String> = property("ssl.ciphersuites", absent(Kind::Text)).default_is("all that there are").about("Cipher suites by their names in Java, by commas. There are those with AES-GCM and ChaCha20-Poly1305 whose keys are agreed by ECDHE.");
    SSL_HOSTNAME_VERIFICATION: bool = property("ssl.hostnameVerification", prop_bool(true)).about("false turns `ssl.clientHostnameVerification` off.");
    SSL_CLIENT_HOSTNAME_VERIFICATION: bool = property("ssl.clientHostnameVerification", prop_bool(false)).about("A client's certificate must name the address that it connects from.");
    SSL_REVERSE_DNS: bool = property("ssl.allowReverseDnsLookup", prop_bool(false)).moot("no name is looked up for a client's address; `true` is refused where `ssl.clientHostnameVerification` is").about("A name of the client's address will do.");
    _ = property("ssl.crl", prop_bool(false)).refused_when_true("lists of revoked certificates are not read").about("Revoked certificates are found by lists.");
    _ = property("ssl.ocsp", prop_bool(false)).refused_when_true("OCSP is not asked").about("Revoked certificates are found by OCSP.");
    SSL_AUTH_PROVIDER: String = property("ssl.authProvider", text("x509")).about("Scheme that clients' certificates prove.");
    _ = property("ssl.context.supplier.class", absent(Kind::Text)).refused("a Java class makes the settings of TLS").about("Java class that makes the settings of TLS.");
    _ = property("ssl.handshakeDetectionTimeoutMillis", prop_int(5000)).moot("a connection has nio.sessionlessCnxnTimeout for its handshake and its session").about("Time for the first bytes, ms.");
    _ = property("ssl.sslProvider", text("JDK")).moot("there is one library for TLS").about("Library for TLS.");
    SSL_QUORUM: bool = file("sslQuorum", boolean(false)).about("Servers connect to each other with TLS, and take no plain connections unless `portUnification` is true.");
    SSL_QUORUM_RELOAD: bool = file("sslQuorumReloadCertFiles", boolean(true)).java_default("false").about("Stores for other servers are read again when their files change; connections stay.");
    PORT_UNIFICATION: bool = file("portUnification", boolean(false)).about("Ports for other servers take plain connections and those with TLS: on the way from one to the other.");
    QUORUM_KEY_STORE: Option<String> = property("ssl.quorum.keyStore.location", absent(Kind::Text)).about("For connections between servers: file with this server's certificate, what leads from it to its authority, and its private key.");
    QUORUM_KEY_STORE_PASSWORD: Option<String> = property("ssl.quorum.keyStore.password", absent(Kind::Secret)).about("Password of that file.");
    QUORUM_KEY_STORE_PASSWORD_PATH: Option<String> = property("ssl.quorum.keyStore.passwordPath", absent(Kind::Text)).about("File whose first line is that password; it wins.");
    QUORUM_PRIVATE_KEY: Option<String> = file("zkfast.ssl.quorum.keyStore.keyLocation", absent(Kind::Text)).about("A key of zkfast: file with the private key in PEM, where `ssl.quorum.keyStore.location` has the certificates alone.");
    QUORUM_KEY_STORE_TYPE: Option<String> = property("ssl.quorum.keyStore.type", absent(Kind::Text)).default_is("by the file's extension").about("PEM, PKCS12 or JKS.");
    QUORUM_TRUST_STORE: Option<String> = property("ssl.quorum.trustStore.location", absent(Kind::Text)).about("File with the certificates that other servers' certificates are checked against.");
    QUORUM_TRUST_STORE_PASSWORD: Option<String> = property("ssl.quorum.trustStore.password", absent(Kind::Secret)).about("Password of that file.");
    QUORUM_TRUST_STORE_PASSWORD_PATH: Option<String> = property("ssl.quorum.trustStore.passwordPath", absent(Kind::Text)).about("File whose first line is that password; it wins.");
    QUORUM_TRUST_STORE_TYPE: Option<String> = property("ssl.quorum.trustStore.type", absent(Kind::Text)).default_is("by the file's extension").about("PEM, PKCS12 or JKS.");
    QUORUM_CLIENT_AUTH: String = property("ssl.quorum.clientAuth", text("need")).about("Whether servers that connect must show a certificate: need, want or none.");
    QUORUM_PROTOCOL: Option<String> = property("ssl.quorum.protocol", absent(Kind::Text)).default_is("TLSv1.2 and TLSv1.3").java_default("TLSv1.2").about("Version of TLS, where `ssl.quorum.enabledProtocols` names none.");
    QUORUM_ENABLED_PROTOCOLS: Option<String> = property("ssl.quorum.enabledProtocols", absent(Kind::Text)).default_is("ssl.quorum.protocol").about("Versions of TLS, by commas.");
    QUORUM_CIPHER_SUITES: Option<String> = property("ssl.quorum.ciphersuites", absent(Kind::Text)).default_is("all that there are").about("Cipher suites, as `ssl.ciphersuites`.");
    QUORUM_HOSTNAME_VERIFICATION: bool = property("ssl.quorum.hostnameVerification", prop_bool(true)).about("A server's certificate must name the host of its server line.");
    QUORUM_CLIENT_HOSTNAME_VERIFICATION: bool = property("ssl.quorum.clientHostnameVerification", prop_bool(false)).java_default("true, and without effect while fips-mode is").about("The certificate of a server that connects must name its address, or the host of a server line.");
    _ = property("ssl.quorum.allowReverseDnsLookup", prop_bool(false)).moot("a certificate may name the host of any server line").about("A name of the server's address will do.");
    _ = property("ssl.quorum.crl", prop_bool(false)).refused_when_true("lists of revoked certificates are not read").about("Revoked certificates are found by lists.");
    _ = property("ssl.quorum.ocsp", prop_bool(false)).refused_when_true("OCSP is not asked").about("Revoked certificates are found by OCSP.");
    _ = property("ssl.quorum.context.supplier.class", absent(Kind::Text)).refused("a Java class makes the settings of TLS").about("Java class that makes the settings of TLS.");
    QUORUM_HANDSHAKE_TIMEOUT: u32 = property("ssl.quorum.handshakeDetectionTimeoutMillis", prop_int(5000)).at_least(1).about("Time that a server which connects has for its handshake, ms.");
    _ = property("fips-mode", prop_bool(true)).moot("the versions and cipher suites that are served are the same").about("FIPS rules for TLS.");
    _ = property(SSL, absent(Kind::Secret)).missing("zkfast has no such setting").about("Other settings of TLS.");
    _ = property(AUTH_PROVIDER, absent(Kind::Text)).missing("the schemes are those of 3.9.4's own classes").about("Java class of an authentication scheme: one of 3.9.4's six. `digest`, `ip`, and `x509` with TLS are there without a key; `sasl`, `ensemble` and `key` where one names them.");
    X509_SUPER_USER: Option<String> = property("X509AuthenticationProvider.superUser", absent(Kind::Text)).about("Subject of the certificate of the super user, as scheme x509 has it.");
    _ = property(SASL_SUPER_USER, absent(Kind::Text)).about("Id of scheme sasl whose client is the super user.");
    _ = property(SASL_SUPER_USERS, absent(Kind::Text)).about("Another one.");
    SASL_SUPER_PASSWORD: Option<String> = property("SASLAuthenticationProvider.superPassword", absent(Kind::Secret)).about("Password of user `super` in place of the one in the JAAS file, which must have that user.");
    ANY_SASL_USER: Option<String> = property("letAnySaslUserDoX", absent(Kind::Text)).about("Entries of scheme sasl with this id mean every client that has authenticated by SASL.");
    ALLOW_SASL_FAILED: bool = property("allowSaslFailedClients", prop_bool(false)).about("Clients whose SASL failed stay, without an id, unless SASL is required of them.");
    USE_FORWARDED_FOR: bool = property("IPAuthenticationProvider.usexforwardedfor", prop_bool(false)).about("Trust X-Forwarded-For over HTTP, for scheme `ip` there.");
    ENSEMBLE_NAMES: Option<String> = property("ensembleAuthName", absent(Kind::Text)).about("Names that this ensemble answers to, by commas: a client that sends another one by scheme `ensemble` is turned away. It wants an `authProvider.*` with EnsembleAuthenticationProvider.");
    JAAS_FILE: Option<String> = jvm("java.security.auth.login.config", absent(Kind::Text)).about("JAAS file: users of SASL, keytabs of Kerberos.");
    SERVER_SECTION: String = property("sasl.serverconfig", text("Server")).about("Section of the JAAS file for clients.");
    KRB5_CONF: Option<String> = jvm("java.security.krb5.conf", absent(Kind::Text)).default_is("`KRB5_CONFIG`, or /etc/krb5.conf").about("Configuration of Kerberos.");
    _ = jvm("java.security.krb5.realm", absent(Kind::Text)).missing("krb5.conf names the realm: default_realm").about("Realm, without a krb5.conf.");
    _ = jvm("java.security.krb5.kdc", absent(Kind::Text)).missing("krb5.conf names the KDC").about("Its KDC.");
    _ = property("kinit", text("/usr/bin/kinit")).moot("tickets in a cache are renewed by what put them there; those of a keytab by the library").about("Path of kinit.");
    REQUIRES_KERBEROS: bool = property("requireKerberosConfig", prop_bool(false)).about("The server does not start where krb5.conf names no default realm.");
    REMOVE_HOST: bool = property("kerberos.removeHostFromPrincipal", prop_bool(false)).about("Ids of scheme sasl have no host.");
    REMOVE_REALM: bool = property("kerberos.removeRealmFromPrincipal", prop_bool(false)).about("Ids of scheme sasl have no realm.");
    _ = property("kerberos.canonicalizeHostNames", prop_bool(false)).missing_when_true("_HOST stands for the host of the server line").about("The host in a server's principal is what DNS makes of the one in its server line.");
    _ = property("kerberos.minReLoginTimeMs", prop_long(60_000)).moot("the library gets a ticket when there is none that lasts").about("Time between Kerberos logins, ms.");
    AUTH_TO_LOCAL: String = property("security.auth_to_local", text("DEFAULT")).about("Rules that shorten principals for ids of scheme sasl.");
    SERVER_REALM: Option<String> = property("server.realm", absent(Kind::Text)).default_is("the realm of this server's own principal").about("Realm of the other servers' principals.");
    QUORUM_SASL: bool = file("quorum.auth.enableSasl", boolean(false)).about("SASL between servers; it wants a JAAS file.");
    SERVER_REQUIRES_SASL: bool = file("quorum.auth.serverRequireSasl", boolean(false)).about("Servers that do not authenticate are kept out. It wants `quorum.auth.enableSasl` and `quorum.auth.learnerRequireSasl`.");
    LEARNER_REQUIRES_SASL: bool = file("quorum.auth.learnerRequireSasl", boolean(false)).about("This server authenticates where it connects to another one. It wants `quorum.auth.enableSasl`.");
    QUORUM_SERVER_SECTION: String = file("quorum.auth.server.saslLoginContext", text("QuorumServer")).about("Section of the JAAS file with the users that other servers may be.");
    QUORUM_LEARNER_SECTION: String = file("quorum.auth.learner.saslLoginContext", text("QuorumLearner")).about("Section of the JAAS file with the user that this server is to others.");
    QUORUM_SERVICE: String = file("quorum.auth.kerberos.servicePrincipal", text("zkquorum/localhost")).about("Principal of the other servers; _HOST stands for the host of each server line.");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each key, flag and heading stands in one row, and no heading of the guide is a key.
    #[test]
    fn once_each() {
        let names = KEYS.iter().map(|row| row.name);
        let others = KEYS.iter().flat_map(|row| [row.flag, row.guide]).flatten();
        let mut all: Vec<&str> = names.chain(others).collect();
        all.sort_unstable();
        let twice = all.windows(2).find(|pair| pair[0] == pair[1]);
        assert_eq!(twice, None);
    }

    /// A family's row stands for all keys that begin like it.
    #[test]
    fn families() {
        let name = |key: &str| find(key).map(|row| row.name);
        assert_eq!(name("ssl.keyStore.location"), Some(SSL_KEY_STORE.name));
        assert_eq!(name("ssl.quorum.keyStore.location"), Some(QUORUM_KEY_STORE.name));
        assert_eq!(name("ssl.other"), Some(SSL));
        assert_eq!(name("authProvider.1"), Some(AUTH_PROVIDER));
        assert_eq!(name("metricsProvider.httpPort"), Some(METRICS_PORT.name));
        assert_eq!(name("server.1"), Some("server.N"));
        assert_eq!(name("TickTime"), None);
    }
}
