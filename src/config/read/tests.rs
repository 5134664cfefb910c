//! The reader on files, flags and command lines.

use std::io;

use super::super::{DigestAlgorithm, Overrides, Role};
use super::*;
use crate::auth::sasl::{KerberosLogin, Mechanism};
use crate::auth::{EnsembleNames, Secret};
use crate::config::QuorumLogin;
use crate::tree::ExtendedTypes;

struct OneFile<'a>(&'a str);

impl Loader for OneFile<'_> {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        if path == "zoo.cfg" { Ok(self.0.as_bytes().to_vec()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn is_file(&self, _: &str) -> bool {
        false
    }
}

const BASE: &str = "dataDir=/d\nclientPort=2181\n";

pub(super) fn with(lines: &str) -> Loaded {
    let text = format!("{BASE}{lines}");
    load(&Sources { file: Some("zoo.cfg"), ..Sources::default() }, &OneFile(&text))
}

pub(super) fn ok(lines: &str) -> Config {
    let loaded = with(lines);
    assert!(loaded.is_ok(), "{lines:?}: {:?}", loaded.findings);
    loaded.config
}

pub(super) fn said(loaded: &Loaded, severity: Severity) -> Vec<String> {
    loaded.findings.iter().filter(|f| f.severity == severity).map(ToString::to_string).collect()
}

pub(super) fn refused(lines: &str) -> String {
    let errors = said(&with(lines), Severity::Error);
    assert!(!errors.is_empty(), "{lines:?} is accepted");
    errors.join("\n")
}

pub(super) fn jvm(flags: &str, lines: &str) -> Loaded {
    let text = format!("{BASE}{lines}");
    let sources = Sources { file: Some("zoo.cfg"), jvm_flags: &[("JVMFLAGS", flags)], overrides: None };
    load(&sources, &OneFile(&text))
}

/// Without a file zkfast is standalone on 2181 with a tick of 2000 ms, and has nothing to say.
#[test]
fn no_file() {
    let loaded = load(&Sources::default(), &OneFile(""));
    assert_eq!(loaded.findings, []);
    let c = loaded.config;
    assert_eq!((c.client_port, c.tick_time_ms), (Some(2181), 2000));
    assert_eq!((c.min_session_timeout_ms, c.max_session_timeout_ms), (4000, 40000));
    assert_eq!((c.data_dir.to_str(), c.data_log_dir.to_str()), (Some("zkfast-data"), Some("zkfast-data")));
    assert!(!c.is_distributed());
}

/// Every default of a file that says next to nothing.
#[test]
fn defaults() {
    let c = ok("");
    assert_eq!(c.tick_time_ms, 3000);
    assert_eq!((c.max_client_cnxns, c.max_cnxns, c.global_outstanding_limit), (60, 0, 1000));
    assert_eq!((c.jute_max_buffer_bytes, c.sessionless_cnxn_timeout_ms), (0xFFFFF, 10_000));
    assert_eq!((c.snap_count, c.snap_size_limit_kb, c.snap_retain_count), (100_000, 4_194_304, 3));
    assert_eq!(c.purge_interval_hours, 1, "purging is on");
    assert_eq!((c.container_check_interval_ms, c.container_max_per_minute), (60_000, 10_000));
    assert_eq!(c.container_max_never_used_interval_ms, 0);
    assert_eq!((c.skip_acl, c.extended_types, c.enforce_quota), (false, ExtendedTypes::Off, false));
    assert_eq!((c.digest_enabled, c.close_session_txn_enabled, c.schemes.digest), (true, true, true));
    assert_eq!((c.standalone_enabled, c.reconfig_enabled), (true, false));
    assert_eq!((c.super_digest, c.digest_alg, c.enforce_auth_schemes), (None, DigestAlgorithm::Sha1, None));
    assert_eq!((c.client_port_address, c.client_port_listen_backlog, c.cores), (None, None, None));
    for word in ["srvr", "ruok", "mntr", "conf", "isro"] {
        assert!(c.four_letter_words.allows(word), "{word}");
    }
    assert!(!c.four_letter_words.allows("stat"));
}

/// Each key lands in its field.
#[test]
fn every_field() {
    let c = ok(
        "tickTime=1000\nminSessionTimeout=3000\nmaxSessionTimeout=9000\nmaxClientCnxns=0\nmaxCnxns=7\n\
         dataLogDir=/l\nclientPortAddress=::1\nclientPortListenBacklog=128\nglobalOutstandingLimit=5\n\
         snapCount=10\nsnapSizeLimitInKb=-1\nautopurge.snapRetainCount=4\nautopurge.purgeInterval=0\n\
         skipACL=yes\nextendedTypesEnabled=true\nenforceQuota=true\ndigest.enabled=false\n\
         closeSessionTxn.enabled=false\nlargeRequestMaxBytes=9\nlargeRequestThreshold=8\n\
         nio.sessionlessCnxnTimeout=6\nclientTcpKeepAlive=true\ndatadir.autocreate=false\nreconfigEnabled=true\n\
         DigestAuthenticationProvider.superDigest=super:x\nDigestAuthenticationProvider.digestAlg=sha-256\n\
         enforce.auth.enabled=true\nenforce.auth.schemes=digest, ip\ninitLimit=5\nsyncLimit=2\n\
         admin.serverPort=9090\nadmin.enableServer=false\nmetricsProvider.httpPort=7001\n\
         metricsProvider.exportJvmInfo=false\nmetricsProvider.httpHost=::1\n\
         metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n",
    );
    assert_eq!((c.tick_time_ms, c.min_session_timeout_ms, c.max_session_timeout_ms), (1000, 3000, 9000));
    assert_eq!((c.max_client_cnxns, c.max_cnxns, c.global_outstanding_limit), (0, 7, 5));
    assert_eq!((c.data_dir.to_str(), c.data_log_dir.to_str()), (Some("/d"), Some("/l")));
    assert_eq!((c.client_port_address.as_deref(), c.client_port_listen_backlog), (Some("::1"), Some(128)));
    assert_eq!(
        (c.snap_count, c.snap_size_limit_kb, c.snap_retain_count, c.purge_interval_hours),
        (10, 0, 4, 0)
    );
    assert_eq!((c.skip_acl, c.extended_types, c.enforce_quota), (true, ExtendedTypes::On, true));
    assert_eq!((c.digest_enabled, c.close_session_txn_enabled, c.reconfig_enabled), (false, false, true));
    assert_eq!(
        (c.sessionless_cnxn_timeout_ms, c.client_tcp_keep_alive, c.data_dir_autocreate),
        (6, true, false)
    );
    assert_eq!((c.super_digest.as_deref(), c.digest_alg), (Some("super:x"), DigestAlgorithm::Sha256));
    assert_eq!(c.enforce_auth_schemes, Some(vec!["digest".to_owned(), "ip".to_owned()]));
    assert_eq!((c.quorum.init_limit_ticks, c.quorum.sync_limit_ticks), (5, 2));
    assert_eq!((c.admin.enabled, c.admin.port), (false, 9090));
    let metrics = (c.metrics.prometheus, c.metrics.http_port, c.metrics.export_jvm_info);
    assert_eq!((metrics, c.metrics.http_host.as_str()), ((true, 7001, false), "::1"));
}

/// The whitelist follows Java: blanks, `*`, srvr always, an empty list, read-only mode.
#[test]
fn four_letter_words() {
    let words = |lines: &str| ok(lines).four_letter_words;
    let list = words("4lw.commands.whitelist= stat , ruok,,\n");
    assert!(list.allows("stat") && list.allows("ruok") && list.allows("srvr"));
    assert!(!list.allows("mntr") && !list.allows("isro") && !list.allows("STAT"));
    assert!(words("4lw.commands.whitelist=stat,*,x\n").allows("wchp"));
    assert_eq!(words("4lw.commands.whitelist=\n").words(), Some(&["srvr".to_owned()][..]));
    assert!(words("4lw.commands.whitelist=ruok\nreadonlymode.enabled=true\n").allows("isro"));
    let odd = with("4lw.commands.whitelist=stats\n");
    assert_eq!(
        said(&odd, Severity::Warning),
        ["zoo.cfg:3: 4lw.commands.whitelist: \"stats\" is no four-letter word"]
    );
}

/// Properties that Java reads with `getInteger` take hexadecimal and octal and fall back with a warning.
#[test]
fn lenient_numbers() {
    assert_eq!(ok("snapCount=0x10\nglobalOutstandingLimit=010\n").snap_count, 16);
    assert_eq!(ok("snapCount=0x10\nglobalOutstandingLimit=010\n").global_outstanding_limit, 8);
    let many = with("snapCount=many\n");
    assert!(many.is_ok());
    assert_eq!(many.config.snap_count, 100_000);
    assert!(
        said(&many, Severity::Warning)[0].contains("\"many\" is not a number: the default, 100000, stays")
    );
    assert_eq!(ok("snapCount=0\n").snap_count, 2);
    assert!(!ok("skipACL=true\n").skip_acl, "only yes is yes");
    assert!(!ok("enforceQuota=yes\n").enforce_quota, "only true is true");
}

/// Errors name file, line, key, value and what would be right.
#[test]
fn messages() {
    assert_eq!(
        refused("tickTime=2000 # ms\n"),
        "zoo.cfg:3: tickTime: \"2000 # ms\" is not a decimal number of 32 bits; a comment stands on a line of its own"
    );
    assert_eq!(refused("clientPort=70000\n"), "zoo.cfg:3: clientPort: port 70000 is not within 0 to 65535");
    assert!(
        refused("minSessionTimeout=90000\n").contains("90000 ms is larger than maxSessionTimeout 60000 ms")
    );
    assert!(refused("sessionRequireClientSASLAuth=true\n").contains("authProvider.sasl="));
    assert!(refused("enforce.auth.enabled=true\n").contains("enforce.auth.schemes must be set"));
    assert!(
        refused("enforce.auth.enabled=true\nenforce.auth.schemes=sasl\n")
            .contains("scheme \"sasl\" is not available (there is digest, ip); authProvider.sasl=org.")
    );
    assert!(refused("DigestAuthenticationProvider.digestAlg=MD5\n").contains("\"MD5\" is not SHA1"));
    assert!(refused("jute.maxbuffer=-1\n").contains("-1 is less than 1"));
    assert!(refused("znode.container.maxPerMinute=0\n").contains("0 is less than 1"));
    assert_eq!(
        refused("dataDir=\\u12\n").lines().next(),
        Some("zoo.cfg:3: \\u is not followed by four hexadecimal digits (a backslash is written \\\\)")
    );
}

/// TTL nodes of 3.5.3, a long `jute.maxbuffer`, tries to bind, an empty snapshot: as Java takes them.
#[test]
fn taken_as_java_does() {
    let types = |keys: &str| with(keys).config.extended_types;
    assert_eq!(types("emulate353TTLNodes=true\n"), ExtendedTypes::Off);
    assert_eq!(types("extendedTypesEnabled=true\n"), ExtendedTypes::On);
    let both = "emulate353TTLNodes=true\nextendedTypesEnabled=true\n";
    assert_eq!(types(both), ExtendedTypes::Emulate353);
    let alone = said(&with("emulate353TTLNodes=true\n"), Severity::Warning);
    assert!(alone[0].contains("does nothing without extendedTypesEnabled=true"), "{alone:?}");
    let config = with("jute.maxbuffer=134217728\nsnapshot.trust.empty=true\n").config;
    assert_eq!((config.jute_max_buffer_bytes, config.snapshot_trust_empty), (128 << 20, true));
    let tries =
        |value: &str| with(&format!("electionPortBindRetry={value}\n")).config.quorum.election_port_tries;
    assert_eq!(["0", "7", "-1"].map(tries), [None, Some(7), Some(3)]);
    assert_eq!(with("").config.quorum.election_port_tries, Some(3));
}

/// Classes of ZooKeeper's that 3.9.4 does not find keep it from starting, or are warned of, as there; of other
/// people's classes nothing is known.
#[test]
fn classes() {
    let factory = "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactry\n";
    assert_eq!(
        refused(factory),
        "zoo.cfg:3: serverCnxnFactory: there is no class \"org.apache.zookeeper.server.NettyServerCnxnFactry\": \
         3.9.4 does not start with it; did you mean org.apache.zookeeper.server.NettyServerCnxnFactory?"
    );
    let metrics = "metricsProvider.className=org.apache.zookeeper.metrics.NoSuch\n";
    assert!(refused(metrics).contains("there is no class \"org.apache.zookeeper.metrics.NoSuch\""));
    for (keys, expected) in [
        ("authProvider.1=org.apache.zookeeper.server.auth.Nope\n", "3.9.4 warns of it and goes on"),
        ("metricsProvider.className=com.example.Metrics\n", "a Java class that zkfast has no use for"),
        ("serverCnxnFactory=com.example.Factory\n", "a Java class that zkfast has no use for"),
    ] {
        let loaded = with(keys);
        assert!(loaded.is_ok(), "{keys}");
        assert!(said(&loaded, Severity::Warning).iter().any(|line| line.contains(expected)), "{keys}");
    }
    let stock = "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
                 authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n";
    assert!(!said(&with(stock), Severity::Warning).iter().any(|line| line.contains("class")));
}

/// A clientPortAddress that has no address is an error, as in Java; a number is not looked up.
#[test]
fn client_port_address_without_an_address() {
    struct NoNames;
    impl Loader for NoNames {
        fn read(&self, _: &str) -> io::Result<Vec<u8>> {
            Ok(b"dataDir=/d\nclientPort=1\nclientPortAddress=zk.invalid\n".to_vec())
        }

        fn is_file(&self, _: &str) -> bool {
            false
        }

        fn resolve(&self, host: &str) -> io::Result<()> {
            assert_eq!(host, "zk.invalid");
            Err(io::Error::other("not known"))
        }
    }
    let loaded = load(&Sources { file: Some("zoo.cfg"), ..Sources::default() }, &NoNames);
    let expected = "zoo.cfg:3: clientPortAddress: zk.invalid has no address: not known";
    assert_eq!(said(&loaded, Severity::Error), [expected]);
    let overrides = Overrides { client_port_address: Some("10.0.0.1".to_owned()), ..Overrides::default() };
    let sources = Sources { file: Some("zoo.cfg"), overrides: Some(&overrides), ..Sources::default() };
    assert!(load(&sources, &NoNames).is_ok());
}

/// A file that is not there is an error with its name.
#[test]
fn missing_file() {
    let loaded = load(&Sources { file: Some("nowhere.cfg"), ..Sources::default() }, &OneFile(""));
    let errors = said(&loaded, Severity::Error);
    assert!(errors[0].starts_with("nowhere.cfg: cannot be read"));
    // One cause, one error.
    assert_eq!(errors.len(), 1, "{errors:?}");
}

/// Unknown keys warn and stop nothing; a slip in case or a byte order mark is recognized.
#[test]
fn unknown_keys() {
    let loaded = with("foo=1\nTickTime=5\n");
    assert!(loaded.is_ok());
    assert_eq!(loaded.config.tick_time_ms, 3000);
    let warnings = said(&loaded, Severity::Warning);
    assert_eq!(warnings[0], "zoo.cfg:3: foo: no key of ZooKeeper 3.9: ignored, as Java does");
    assert!(
        warnings[1]
            .ends_with("TickTime: no key of ZooKeeper 3.9: ignored, as Java does; did you mean tickTime?")
    );
    let guide = said(&with("requestThrottleLimit=5\n"), Severity::Warning);
    assert!(guide[0].ends_with("the server reads request_throttle_max_requests"), "{guide:?}");
    assert!(keys::KEYS.iter().filter_map(|row| row.guide).all(|guide| keys::find(guide).is_none()));
}

/// A key without effect warns where a user may miss it, and not otherwise.
#[test]
fn without_effect() {
    let quiet = with("nio.numWorkerThreads=4\njvm.pause.monitor=true\npreAllocSize=100\nsyncEnabled=false\n");
    assert_eq!(said(&quiet, Severity::Warning), Vec::<String>::new());
    assert!(quiet.settings[2..].iter().all(|s| s.verdict == Verdict::NoEffect && !s.notes.is_empty()));
    assert_eq!(said(&with("forceSync=yes\n"), Severity::Warning), Vec::<String>::new());
    let unsafe_sync = said(&with("forceSync=no\n"), Severity::Warning);
    assert_eq!(
        unsafe_sync,
        ["zoo.cfg:3: forceSync: every acknowledged write is on disk: forceSync=no is ignored"]
    );
    let keys = "authProvider.1=org.apache.zookeeper.server.auth.KeyAuthenticationProvider\n";
    let loaded = with(keys);
    assert!(loaded.config.schemes.key && !ok("").schemes.key);
    assert!(said(&loaded, Severity::Warning)[0].contains("which every client passes that sends 0"));
    for on in ["true", "false"] {
        assert_eq!(said(&with(&format!("audit.enable={on}\n")), Severity::Warning), Vec::<String>::new());
    }
}

/// Settings of the metrics provider are read as its class reads them, and not at all where another one is there.
#[test]
fn metrics_provider() {
    const PROMETHEUS: &str =
        "metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n";
    for (wrong, expected) in [
        ("metricsProvider.httpPort=0x10\n", "is not a decimal number of 32 bits"),
        ("metricsProvider.httpPort=65536\n", "port 65536 is not within 0 to 65535"),
        ("metricsProvider.numWorkerThreads=many\n", "is not a decimal number of 32 bits"),
        ("metricsProvider.maxQueueSize=0\n", "0 is less than 1"),
        ("metricsProvider.workerShutdownTimeoutMs=1s\n", "is not a decimal number of 64 bits"),
    ] {
        let message = refused(&format!("{wrong}{PROMETHEUS}"));
        assert!(message.contains(expected), "{wrong}: {message}");
        let loaded = with(wrong);
        assert!(loaded.is_ok(), "{wrong}");
        assert_eq!(said(&loaded, Severity::Warning), [""; 0], "{wrong}");
        assert!(said(&loaded, Severity::Note).iter().any(|note| note.contains(expected)), "{wrong}");
    }
    let defaults = ok(PROMETHEUS).metrics;
    assert_eq!((defaults.http_port, defaults.export_jvm_info), (7000, true));
    assert_eq!(defaults.http_host, "0.0.0.0");
    for (text, expected) in [("TRUE", true), ("yes", false), ("false", false)] {
        let keys = format!("metricsProvider.exportJvmInfo={text}\n{PROMETHEUS}");
        assert_eq!(ok(&keys).metrics.export_jvm_info, expected, "{text}");
    }
    let quiet = "metricsProvider.numWorkerThreads=4\nmetricsProvider.maxQueueSize=5\n\
                 metricsProvider.workerShutdownTimeoutMs=6\n";
    assert_eq!(said(&with(&format!("{quiet}{PROMETHEUS}")), Severity::Warning), [""; 0]);
}

/// A key without effect warns where its value asks for what is not there, and not where the value changes nothing.
#[test]
fn warnings_of_keys_without_effect() {
    const METRICS: &str = "metricsProvider.className=org.apache.zookeeper.metrics";
    let prometheus = format!("{METRICS}.prometheus.PrometheusMetricsProvider\n");
    let default = format!("{METRICS}.impl.DefaultMetricsProvider\n");
    let auth = "authProvider.1=org.apache.zookeeper.server.auth";
    for quiet in [
        "admin.enableServer=false\n",
        "admin.enableServer=false\nadmin.serverPort=9090\nadmin.serverAddress=::1\nadmin.forceHttps=true\n",
        "admin.serverPort=9090\nadmin.commandURL=/c\nadmin.enableServer=true\nadmin.enableServer=false\n",
        "admin.serverPort=8080\nadmin.serverAddress=0.0.0.0\nadmin.commandURL=/commands\n",
        &default,
        &format!("{METRICS}.impl.NullMetricsProvider\n"),
        &format!("metricsProvider.httpPort=7001\nmetricsProvider.httpHost=::1\n{default}"),
        &format!("metricsProvider.httpPort=7001\n{prometheus}"),
        "metricsProvider.httpPort=7000\n",
        "forceSync=yes\nleaderServes=yes\nobserverMasterPort=0\nfsync.warningthresholdms=1000\n",
        "request_throttle_max_requests=0\nthrottled_op_wait_time=0x0\nconnection_throttle_tokens=0\n",
        "localSessionsEnabled=false\nreconfigEnabled=false\naudit.enable=false\nsslQuorum=false\n",
        "ssl.keyStore.location=/k\nssl.clientAuth=need\n",
        &format!("{auth}.DigestAuthenticationProvider\n"),
        &format!("{auth}.IPAuthenticationProvider\n"),
        "jute.maxbuffer=1048575\n",
        "snapCount=7\nsnapCount=7\n",
    ] {
        let mut warnings = said(&with(quiet), Severity::Warning);
        warnings.retain(|line| !line.contains("given again"));
        assert_eq!(warnings, [""; 0], "{quiet}");
    }
    assert_eq!(said(&with("snapCount=7\nsnapCount=7\n"), Severity::Warning), [""; 0]);
    for (missed, expected) in [
        ("admin.commandURL=c\n", 1),
        ("observerMasterPort=2191\n", 0),
        ("oraclePath=none\n", 0),
        (&format!("{auth}.SASLAuthenticationProvider\n"), 0),
        ("jute.maxbuffer=1048576\n", 1),
        ("snapCount=7\nsnapCount=8\n", 1),
    ] {
        assert_eq!(said(&with(missed), Severity::Warning).len(), expected, "{missed}");
    }
}

/// What cannot be known because a line or a file was refused is no error of its own.
#[test]
fn one_cause_one_error() {
    let more = "server.2=b:3:4;22\nserver.3=c:5:6;23\n";
    let blank = "port \"21 \" is not a number (blanks around it count)";
    let pipes = "2 addresses want -Dzookeeper.multiAddress.enabled=true";
    for (cfg, expected) in [
        (format!("{LIMITS}server.1=a:1:2;21 \n{more}"), format!("zoo.cfg:4: server.1: {blank}")),
        (format!("{LIMITS}server.1=a:1:2|a:3:4;21\n{more}"), format!("zoo.cfg:4: server.1: {pipes}")),
        (format!("{LIMITS}server.1=a:1:2;21 \n"), format!("zoo.cfg:4: server.1: {blank}")),
        (
            format!("{LIMITS}server.1=a:1:2;21 \nserver.2=b:3:4;22\npeerType=observer\n"),
            format!("zoo.cfg:4: server.1: {blank}"),
        ),
        (
            "dataDir=/d\ndynamicConfigFile=/none\n".to_owned(),
            "zoo.cfg:2: dynamicConfigFile: /none cannot be read: entity not found".to_owned(),
        ),
        (
            format!("initLimit=10\nsyncLimit=5\n{THREE}{PORT}"),
            "dataDir: is not set (or give --data-dir)".to_owned(),
        ),
        (
            "dataDir=/d\nclientPort=70000\nclientPortAddress=127.0.0.1\n".to_owned(),
            "zoo.cfg:2: clientPort: port 70000 is not within 0 to 65535".to_owned(),
        ),
    ] {
        let loaded = member(&cfg, Some("1"));
        assert_eq!(said(&loaded, Severity::Error), [expected], "{cfg}");
        assert_eq!(said(&loaded, Severity::Warning), [""; 0], "{cfg}");
    }
    let overrides = Overrides { client_port_address: Some("::1".to_owned()), ..Overrides::default() };
    let sources = Sources { file: Some("nowhere"), overrides: Some(&overrides), ..Sources::default() };
    let errors = said(&load(&sources, &OneFile("")), Severity::Error);
    assert_eq!(errors, ["nowhere: cannot be read: entity not found"]);
}

/// An address of IPv6 may stand in brackets, in the file and as a flag; nothing else may.
#[test]
fn client_port_address_in_brackets() {
    let address = |text: &str| ok(&format!("clientPortAddress={text}\n")).client_port_address;
    assert_eq!(address("[::1]").as_deref(), Some("::1"));
    assert_eq!(address("[::]").as_deref(), Some("::"));
    assert_eq!(address("[fe80::1%eth0]").as_deref(), Some("fe80::1%eth0"));
    assert_eq!(address("[127.0.0.1]").as_deref(), Some("[127.0.0.1]"), "which has no address");
    let overrides = Overrides { client_port_address: Some("[::1]".to_owned()), ..Overrides::default() };
    let sources = Sources { file: Some("zoo.cfg"), overrides: Some(&overrides), ..Sources::default() };
    assert_eq!(load(&sources, &OneFile(BASE)).config.client_port_address.as_deref(), Some("::1"));
}

/// Keys with `zookeeper.` in front and JVM-only names work in the file, with a remark; the exact key wins.
#[test]
fn names_of_the_jvm() {
    let loaded = with("zookeeper.skipACL=yes\njute.maxbuffer=4194304\nznode.container.checkIntervalMs=50\n");
    assert!(loaded.is_ok() && loaded.config.skip_acl);
    assert_eq!(loaded.config.jute_max_buffer_bytes, 4_194_304);
    assert_eq!(loaded.config.container_check_interval_ms, 50);
    assert!(said(&loaded, Severity::Warning)[0].contains("Java wants skipACL here"));
    assert!(said(&loaded, Severity::Warning)[1].contains("-Djute.maxbuffer only"));
    assert_eq!(ok("snapCount=7\nzookeeper.snapCount=9\n").snap_count, 7);
}

/// `JVMFLAGS` sets what a JVM property sets, the file wins over it, the rest is named and ignored.
#[test]
fn jvm_flags() {
    let flags =
        "-Xmx1g -Dzookeeper.snapCount=5 -Djute.maxbuffer=0x200000 -Dcom.example=1 -Dzookeeper.skipACL=yes";
    let loaded = jvm(flags, "snapCount=6\n");
    assert_eq!((loaded.config.snap_count, loaded.config.jute_max_buffer_bytes), (6, 0x20_0000));
    assert!(loaded.config.skip_acl);
    let warnings = said(&loaded, Severity::Warning);
    assert_eq!(warnings[0], "JVMFLAGS: -Xmx1g ignored: there is no JVM");
    let file_only = jvm("-Dzookeeper.tickTime=5", "");
    assert_eq!(file_only.config.tick_time_ms, 3000);
    assert!(said(&file_only, Severity::Warning)[0].contains("in the file only"));
    let flags = [("JVMFLAGS", "-Dzookeeper.tickTime=5 -Dzookeeper.dataDir=/x")];
    let no_file = load(&Sources { jvm_flags: &flags, ..Sources::default() }, &OneFile(""));
    assert!(no_file.is_ok(), "{:?}", no_file.findings);
    assert_eq!((no_file.config.tick_time_ms, no_file.config.data_dir.to_str()), (2000, Some("zkfast-data")));
}

/// Several addresses per server want the JVM property, as in 3.9.4.
#[test]
fn multi_address() {
    let line = "server.1=a:1:2|b:3:4\n";
    assert!(refused(line).contains("-Dzookeeper.multiAddress.enabled=true"));
    assert!(refused(&format!("multiAddress.enabled=true\n{line}")).contains("2 addresses"));
    let loaded = jvm("-Dzookeeper.multiAddress.enabled=true", line);
    assert!(loaded.is_ok(), "{:?}", loaded.findings);
    assert_eq!(loaded.config.quorum.ensemble.servers[&1].addresses.len(), 2);
}

/// Flags win over the file, defaults follow them, and they are checked like the file.
#[test]
fn overrides() {
    let load_with = |overrides: &Overrides, text: &str| {
        let sources = Sources { file: Some("zoo.cfg"), jvm_flags: &[], overrides: Some(overrides) };
        load(&sources, &OneFile(text))
    };
    let overrides = Overrides {
        client_port: Some(9999),
        data_dir: Some("/flag".to_owned()),
        tick_time_ms: Some(500),
        cores: Some("0,2-3".to_owned()),
        set: vec!["snapCount=12".to_owned()],
        ..Overrides::default()
    };
    let loaded = load_with(&overrides, BASE);
    assert!(loaded.is_ok(), "{:?}", loaded.findings);
    let c = loaded.config;
    assert_eq!((c.client_port, c.snap_count, c.cores), (Some(9999), 12, Some(vec![0, 2, 3])));
    assert_eq!((c.data_dir.to_str(), c.data_log_dir.to_str()), (Some("/flag"), Some("/flag")));
    assert_eq!((c.min_session_timeout_ms, c.max_session_timeout_ms), (1000, 10_000));
    let only_flags = Overrides { data_dir: Some("/flag".to_owned()), ..Overrides::default() };
    assert!(load_with(&only_flags, "clientPort=1\n").is_ok(), "a flag stands in for a missing key");
    for wrong in [
        Overrides { cores: Some("x".to_owned()), ..Overrides::default() },
        Overrides { set: vec!["snapCount".to_owned()], ..Overrides::default() },
        Overrides { set: vec!["tickTime=x".to_owned()], ..Overrides::default() },
    ] {
        assert!(!load_with(&wrong, BASE).is_ok(), "{wrong:?}");
    }
}

/// One server line is a standalone server, with a warning; without a client port nothing starts.
#[test]
fn one_server_line() {
    let one = with("server.1=a:1:2\n");
    assert!(one.is_ok() && !one.config.is_distributed());
    assert!(said(&one, Severity::Warning)[0].contains("standalone server"));
    let sources = Sources { file: Some("zoo.cfg"), ..Sources::default() };
    let silent = load(&sources, &OneFile("dataDir=/d\n"));
    let expected =
        "clientPort: is not set: no client could connect; set clientPort=2181 (or give --client-port)";
    assert_eq!(said(&silent, Severity::Error), [expected]);
}

/// zoo.cfg and the file myid, if there is one.
struct Member<'a> {
    cfg: &'a str,
    my_id: Option<&'a str>,
}

impl Loader for Member<'_> {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let text = if path == "zoo.cfg" { Some(self.cfg) } else { self.my_id.filter(|_| path == "/d/myid") };
        text.map(|text| text.as_bytes().to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn is_file(&self, path: &str) -> bool {
        self.read(path).is_ok()
    }
}

fn member(cfg: &str, my_id: Option<&str>) -> Loaded {
    load(&Sources { file: Some("zoo.cfg"), ..Sources::default() }, &Member { cfg, my_id })
}

const LIMITS: &str = "dataDir=/d\ninitLimit=10\nsyncLimit=5\n";
const PORT: &str = "clientPort=2181\n";
const THREE: &str = "server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\n";

/// A member takes its client port from its own server line, or from clientPort, and needs no more than that.
#[test]
fn member_of_an_ensemble() {
    let lines = "server.1=a:1:2;2181\nserver.2=b:1:2:observer;127.0.0.1:2182\nserver.3=c:1:2;2183\nserver.4=e:1:2;2184\n";
    let loaded = member(&format!("{LIMITS}{lines}"), Some("2\n"));
    assert_eq!(loaded.findings, []);
    let c = loaded.config;
    assert!(c.is_distributed());
    assert_eq!((c.client_port, c.client_port_address.as_deref()), (Some(2182), Some("127.0.0.1")));
    assert_eq!((c.quorum.my_id, c.quorum.peer_type), (Some(2), Role::Observer));
    let loaded = member(
        &format!("{LIMITS}{THREE}clientPort=2181\ntcpKeepAlive=true\ncommitLogCount=900\n"),
        Some("3"),
    );
    assert_eq!(loaded.findings, []);
    assert_eq!(loaded.config.client_port, Some(2181));
    let quorum = loaded.config.quorum;
    assert_eq!((quorum.tcp_keep_alive, quorum.commit_log_count), (true, 900));
    assert_eq!((quorum.max_concurrent_snap_syncs, quorum.force_snapshot_sync), (10, false));
    let more = "clientPort=2181\nleader.maxConcurrentSnapSyncs=3\nforceSnapshotSync=true\n";
    let snaps = member(&format!("{LIMITS}{THREE}{more}"), Some("3"));
    assert_eq!(snaps.findings, []);
    let quorum = snaps.config.quorum;
    assert_eq!((quorum.max_concurrent_snap_syncs, quorum.force_snapshot_sync), (3, true));
    let few = member(&format!("{LIMITS}{THREE}clientPort=2181\ncommitLogCount=7\n"), Some("3"));
    assert_eq!(few.config.quorum.commit_log_count, 500);
    assert_eq!(
        said(&few, Severity::Warning),
        ["zoo.cfg:8: commitLogCount: 7 reads as 500, the least there is"]
    );
}

/// The one error of a file and a number.
fn refused_member(cfg: &str, my_id: Option<&str>, expected: &str) {
    assert_eq!(said(&member(cfg, my_id), Severity::Error), [expected], "{cfg:?} {my_id:?}");
}

/// A file of three servers with a port for clients.
fn three_with_port(more: &str) -> String {
    format!("{LIMITS}{THREE}{PORT}{more}")
}

/// Whatever keeps a member from starting is one line: key, value, what to do.
#[test]
fn not_a_member() {
    refused_member(
        &three_with_port(""),
        None,
        "/d/myid is missing: write which of 1, 2, 3 this server is, in digits alone",
    );
    refused_member(
        &three_with_port(""),
        Some("4"),
        "/d/myid: says 4, and there is no server.4: write which of 1, 2, 3 this server is, or add its line",
    );
    // A reconfiguration may add it.
    let joins = member(&three_with_port("reconfigEnabled=true\n"), Some("4"));
    assert_eq!(said(&joins, Severity::Error), [""; 0]);
    let text = "/d/myid: says 4, and there is no server.4: this server joins without a vote";
    assert!(said(&joins, Severity::Warning).iter().any(|said| said.starts_with(text)));
    refused_member(
        &three_with_port(""),
        Some("one"),
        "/d/myid: first line \"one\" is not a server number (blanks around it count)",
    );
    let without = format!("dataDir=/d\n{THREE}{PORT}");
    refused_member(
        &format!("{without}syncLimit=5\n"),
        Some("1"),
        "initLimit: is not set: an ensemble wants a number of ticks; 10 is usual",
    );
    refused_member(
        &format!("{without}initLimit=10\nsyncLimit=0\n"),
        Some("1"),
        "zoo.cfg:7: syncLimit: 0 is less than 1: an ensemble wants a number of ticks; 5 is usual",
    );
    refused_member(
        &format!("{without}initLimit=-1\nsyncLimit=5\n"),
        Some("1"),
        "zoo.cfg:6: initLimit: -1 is less than 1: an ensemble wants a number of ticks; 10 is usual",
    );
    refused_member(
        &three_with_port("leader.maxConcurrentSnapSyncs=0\n"),
        Some("1"),
        "zoo.cfg:8: leader.maxConcurrentSnapSyncs: 0 is less than 1: no observer could be given the tree",
    );
}

/// Each server listens on ports of its own, and no member needs one for clients.
#[test]
fn ports_of_members() {
    // A member without a client port serves the ensemble, as in Java.
    let portless = member(&format!("{LIMITS}{THREE}"), Some("1"));
    assert!(portless.is_ok());
    assert_eq!(portless.config.client_port, None);
    assert!(said(&portless, Severity::Warning)[0].contains("this member takes no clients"));
    refused_member(
        &format!("{LIMITS}{THREE}clientPort=3888\n"),
        Some("2"),
        "zoo.cfg:7: clientPort: 3888 is a port of this server's own line, server.2, as well",
    );
    refused_member(
        &format!("{LIMITS}{PORT}server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=A:2888:3888\n"),
        Some("1"),
        "zoo.cfg:7: server.3: quorum port A:2888 is the quorum port of server.1 as well: each server listens on ports \
         of its own",
    );
    refused_member(
        &format!("{LIMITS}server.1=a:1:2;5\nserver.2=a:3:4;5\nserver.3=b:1:2;5\n"),
        Some("1"),
        "zoo.cfg:5: server.2: client port a:5 is the client port of server.1 as well: each server listens on ports of \
         its own",
    );
    refused_member(
        &format!("{LIMITS}server.1=a:1:2;2\nserver.2=b:3:4;5\nserver.3=c:1:2;5\n"),
        Some("1"),
        "zoo.cfg:4: server.1: client port a:2 is the election port of server.1 as well: each server listens on ports of \
         its own",
    );
}

/// Servers' numbers make session ids, which must differ; peers speak without TLS.
#[test]
fn numbers_of_members() {
    let far = "server.1=a:1:2\nserver.2=b:1:2\nserver.255=c:1:2\n";
    assert_eq!(said(&member(&format!("{LIMITS}{PORT}{far}"), Some("1")), Severity::Error), [""; 0]);
    refused_member(
        &format!("{LIMITS}{PORT}{far}extendedTypesEnabled=true\n"),
        Some("1"),
        "zoo.cfg:8: extendedTypesEnabled: true wants server numbers up to 254, and there is server.255: its sessions \
         would look like the marks of TTL znodes; give it another number",
    );
    refused_member(
        &three_with_port("server.257=d:1:2\n"),
        Some("1"),
        "zoo.cfg:8: server.257: its number ends in the same byte as that of server.1, so that their sessions would get \
         the same ids: use numbers from 0 to 255",
    );
    refused_member(
        &three_with_port("sslQuorum=true\nssl.quorum.clientAuth=none\n"),
        Some("1"),
        "zoo.cfg:8: sslQuorum: ssl.quorum.keyStore.location is not set: a server with TLS needs a certificate and its key",
    );
}

/// An even number of voters gets a remark.
#[test]
fn how_many_servers() {
    let of = |servers: usize| {
        let lines: String = (1..=servers).map(|sid| format!("server.{sid}=h{sid}:1:2\n")).collect();
        member(&format!("{LIMITS}clientPort=2181\n{lines}"), Some("1"))
    };
    assert_eq!(of(3).findings, []);
    assert_eq!(
        said(&of(2), Severity::Warning),
        ["2 servers with a vote serve only while both run: 3 go on without one"]
    );
    assert_eq!(said(&of(4), Severity::Note), ["4 servers with a vote go on without as many as 3 would"]);
}

/// Nothing that is read as a secret appears in settings or findings.
#[test]
fn secrets_stay_hidden() {
    let loaded = with(
        "ssl.keyStore.password=hunter2\nDigestAuthenticationProvider.superDigest=hunter2\n\
         zookeeper.ssl.trustStore.password=hunter2\nSASLAuthenticationProvider.superPassword=hunter2\n\
         my.password=hunter2\n",
    );
    assert!(!format!("{:?} {:?}", loaded.settings, loaded.findings).contains("hunter2"));
}

/// zoo.cfg and a JAAS file beside it.
struct WithJaas<'a>(&'a str, &'a str);

impl Loader for WithJaas<'_> {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        match path {
            "zoo.cfg" => Ok(self.0.into()),
            "/etc/zk.jaas" => Ok(self.1.into()),
            "/d/myid" => Ok(b"1".into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn is_file(&self, path: &str) -> bool {
        self.read(path).is_ok()
    }
}

/// The names of an ensemble count where a key names the class that reads them; the scheme proves nothing, so that it cannot
/// be the only one that counts.
#[test]
fn ensemble_names() {
    let provider = "authProvider.1=org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider\n";
    let names = "ensembleAuthName=blue, green\n";
    assert_eq!(ok(provider).schemes.ensemble, Some(EnsembleNames::default()));
    let both = ok(&format!("{provider}{names}"));
    assert_eq!(both.schemes.ensemble, Some(EnsembleNames::parse(Some("blue, green"))));
    let alone = with(names);
    assert_eq!(alone.config.schemes.ensemble, None);
    assert!(said(&alone, Severity::Warning)[0].contains("does nothing: authProvider.ensemble=org."));
    let enforced =
        |schemes: &str| format!("{provider}enforce.auth.enabled=true\nenforce.auth.schemes={schemes}\n");
    assert!(
        refused(&enforced("ensemble")).contains("no client could do anything: scheme ensemble proves no id")
    );
    ok(&enforced("ensemble,digest"));
    assert!(
        refused("enforce.auth.enabled=true\nenforce.auth.schemes=key\n")
            .contains("scheme \"key\" is not available")
    );
}

/// A scheme that is always there, or is turned off, is there again where its class is named.
#[test]
fn schemes_by_class() {
    let class = |name: &str| {
        format!("authProvider.1=org.apache.zookeeper.server.auth.{name}AuthenticationProvider\n")
    };
    let off = "DigestAuthenticationProvider.enabled=false\n";
    assert!(!with(off).config.schemes.digest);
    assert!(with(&format!("{off}{}", class("Digest"))).config.schemes.digest);
    assert!(ok(&class("X509")).schemes.x509 && !ok("").schemes.x509);
}

const SASL: &str = "authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n";
const JAAS: &str = "Server { org.apache.zookeeper.server.auth.DigestLoginModule required\n\
    user_super=\"hunter2\" user_bob=\"hunter2\"; };\n\
    QuorumServer { org.apache.zookeeper.server.auth.DigestLoginModule required user_zk=\"hunter2\"; };\n\
    QuorumLearner { org.apache.zookeeper.server.auth.DigestLoginModule required\n\
    username=\"zk\" password=\"hunter2\"; };\n";

fn with_jaas(cfg: &str, jaas: &str) -> Loaded {
    let flags = [("JVMFLAGS", "-Djava.security.auth.login.config=/etc/zk.jaas")];
    let sources = Sources { file: Some("zoo.cfg"), jvm_flags: &flags, overrides: None };
    load(&sources, &WithJaas(cfg, jaas))
}

/// Users come from the JAAS file; what keys say of them counts, and no report shows a password.
#[test]
fn users_of_sasl() {
    let cfg = format!(
        "{BASE}{SASL}superUser=ann\nsuperUser.1=bob\nsessionRequireClientSASLAuth=true\n\
         SASLAuthenticationProvider.superPassword=hunter3\n"
    );
    let loaded = with_jaas(&cfg, JAAS);
    assert!(loaded.is_ok(), "{:?}", loaded.findings);
    let sasl = &loaded.config.sasl;
    assert!(sasl.is_scheme && sasl.is_required && !sasl.failed_may_stay);
    let Some(Mechanism::DigestMd5(users)) = &sasl.mechanism else { panic!("{sasl:?}") };
    let users: Vec<_> = users.iter().map(|(user, password)| (user.as_str(), password.reveal())).collect();
    assert_eq!(users, [("bob", "hunter2"), ("super", "hunter3")]);
    assert_eq!(sasl.super_users, ["ann", "bob"]);
    assert_eq!(loaded.config.enforce_auth_schemes.as_deref(), Some(&["sasl".to_owned()][..]));
    assert!(!format!("{loaded:?}").contains("hunter"), "{loaded:?}");
}

/// A JAAS file that is missing, wrong, or of another class keeps the server from starting; one without the section does not.
#[test]
fn jaas_files() {
    let errors = |cfg: &str, jaas: &str| said(&with_jaas(&format!("{BASE}{cfg}"), jaas), Severity::Error);
    let at = "JVMFLAGS: java.security.auth.login.config: ";
    assert_eq!(
        errors("", "Server {"),
        [format!(
            "{at}\"/etc/zk.jaas\": line 1: the file ends where the class \
        of a login module, or }} is expected"
        )]
    );
    let unknown = errors("", "Server { com.ibm.security.auth.module.Krb5LoginModule required; };");
    assert!(unknown[0].contains("is no class that zkfast knows"), "{unknown:?}");
    assert!(refused("java.security.auth.login.config=/none\n").contains("\"/none\": "));
    let none = with_jaas(&format!("{BASE}{SASL}"), "Client { };");
    assert!(none.is_ok() && none.config.sasl.mechanism.is_none());
    assert!(said(&none, Severity::Warning)[0].contains("no section \"Server\": clients cannot use SASL"));
    let required = errors(&format!("{SASL}sessionRequireClientSASLAuth=true\n"), "");
    assert!(required[0].contains("no client could do anything"), "{required:?}");
}

/// Sections of Kerberos say principal, keytab or cache; a server needs a key, and rules of names are read at the start.
#[test]
fn kerberos() {
    let section = |name: &str, options: &str| {
        format!("{name} {{ com.sun.security.auth.module.Krb5LoginModule required {options}; }};")
    };
    let server = section("Server", "useKeyTab=true keyTab=\"/etc/zk.jaas\" principal=\"zk/h@R\"");
    let cfg =
        format!("{BASE}security.auth_to_local=RULE:[2:$1] DEFAULT\nkerberos.removeRealmFromPrincipal=true\n");
    let loaded = with_jaas(&cfg, &server);
    assert!(loaded.is_ok(), "{:?}", loaded.findings);
    let SaslPolicy { mechanism, names, .. } = loaded.config.sasl;
    let keytab = Some("/etc/zk.jaas".to_owned());
    let login = KerberosLogin { principal: Some("zk/h@R".to_owned()), keytab, ticket_cache: None };
    assert_eq!(mechanism, Some(Mechanism::Gssapi(login)));
    assert_eq!(names.id_of("ann/h@OTHER").as_deref(), Some("ann/h"));
    let error = |cfg: &str, options: &str| {
        said(&with_jaas(&format!("{BASE}{cfg}"), &section("Server", options)), Severity::Error).join("\n")
    };
    assert!(error("", "").contains("lacks useKeyTab=true and keyTab"));
    assert!(error("", "useTicketCache=true").contains("a server has a key"));
    assert!(error("", "useKeyTab=true keyTab=\"/none\" principal=\"zk/h\"").contains("keyTab \"/none\": "));
    assert!(error("", "useKeyTab=true keyTab=\"/etc/zk.jaas\"").contains("lacks principal"));
    let rule = error("security.auth_to_local=RULE:[1:$2]\n", "useTicketCache=true");
    assert!(rule.contains("names a part"), "{rule}");
    let keys = "quorum.auth.enableSasl=true\nquorum.auth.learnerRequireSasl=true\nserver.realm=R2\n\
                quorum.auth.kerberos.servicePrincipal=zkquorum/_HOST\n";
    let options = "useTicketCache=true ticketCache=\"/tmp/krb5cc\" principal=\"zkquorum/h@R\"";
    let sections = [server.replace("Server", "QuorumServer"), section("QuorumLearner", options)].concat();
    let loaded = with_jaas(&format!("{BASE}{LIMITS}{THREE}{keys}"), &sections);
    assert!(loaded.is_ok(), "{:?}", loaded.findings);
    let login = KerberosLogin {
        principal: Some("zkquorum/h@R".to_owned()),
        keytab: None,
        ticket_cache: Some("/tmp/krb5cc".to_owned()),
    };
    let (service, realm) = ("zkquorum/_HOST".to_owned(), Some("R2".to_owned()));
    let ticket = QuorumLogin::Ticket { login, service, realm };
    assert_eq!(loaded.config.quorum_sasl.unwrap().login, ticket);
}

/// A member takes users of other servers, and its own, from two sections; a server alone needs neither.
#[test]
fn sasl_between_servers() {
    let keys = "quorum.auth.enableSasl=true\nquorum.auth.learnerRequireSasl=true\n\
                quorum.auth.serverRequireSasl=true\n";
    let cfg = format!("{BASE}{LIMITS}{THREE}{keys}");
    let loaded = with_jaas(&cfg, JAAS);
    assert!(loaded.is_ok(), "{:?}", loaded.findings);
    let sasl = loaded.config.quorum_sasl.unwrap();
    assert!(sasl.server_requires && sasl.learner_requires);
    let password = Secret::new("hunter2".to_owned());
    assert_eq!(sasl.login, QuorumLogin::Password("zk".to_owned(), password.clone()));
    assert_eq!(sasl.mechanism, Mechanism::DigestMd5([("zk".to_owned(), password)].into()));
    let errors = said(&with_jaas(&cfg, "Server { };"), Severity::Error);
    assert!(errors[0].contains("the JAAS file has no section \"QuorumServer\""), "{errors:?}");
    assert!(errors[1].contains("the JAAS file has no section \"QuorumLearner\""), "{errors:?}");
    assert_eq!(ok(keys).quorum_sasl, None);
}
