//! What Apache ZooKeeper 3.9.4 on Java 17 made of tricky files, written down once, and zkfast beside it.
//!
//! `java_properties` is `Properties.load`, `java` the outcome of `QuorumPeerConfig.parse`: fields that
//! differ from port 2181 on every interface, a tick of 3000 ms, 60 connections, `./d`; or `refused`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;

use super::{Config, Loader, Role, Sources, load, properties};

struct Case {
    name: &'static str,
    cfg: &'static [u8],
    /// Files beside it.
    files: &'static [(&'static str, &'static [u8])],
    java_properties: &'static str,
    java: &'static str,
    /// Where zkfast differs on purpose: its outcome, and why.
    zkfast: Option<(&'static str, &'static str)>,
}

struct Files<'a>(&'a Case);

impl Loader for Files<'_> {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        if path == "zoo.cfg" {
            return Ok(self.0.cfg.to_vec());
        }
        let file = self.0.files.iter().find(|(name, _)| *name == path);
        file.map(|(_, bytes)| bytes.to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn is_file(&self, path: &str) -> bool {
        self.read(path).is_ok()
    }
}

/// The properties as the probe prints them.
fn properties_of(cfg: &[u8]) -> String {
    match properties::parse(cfg) {
        Err(_) => "refused".to_owned(),
        Ok(found) => {
            let map: BTreeMap<_, _> = found.into_iter().map(|p| (p.key, p.value)).collect();
            map.iter().map(|(k, v)| format!("<{k}>=<{v}>")).collect::<Vec<_>>().join(" ")
        }
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// What differs from the plain case, in the words of the probe.
fn outcome(c: &Config) -> String {
    let mut out = String::new();
    let host = c.client_port_address.as_deref().filter(|h| *h != "0.0.0.0").unwrap_or("*");
    let port = c.client_port.map_or("none".to_owned(), |port| format!("{host}:{port}"));
    let times = (c.tick_time_ms, c.min_session_timeout_ms, c.max_session_timeout_ms);
    let mut field = |shown: bool, text: String| {
        if shown {
            write!(out, " {text}").unwrap();
        }
    };
    field(port != "*:2181", format!("port={port}"));
    field(times != (3000, 6000, 60000), format!("times={},{},{}", times.0, times.1, times.2));
    field(c.max_client_cnxns != 60, format!("cnx={}", c.max_client_cnxns));
    field(c.data_dir.as_os_str() != "./d", format!("data={}", c.data_dir.display()));
    field(c.data_log_dir != c.data_dir, format!("log={}", c.data_log_dir.display()));
    field(c.snap_retain_count != 3, format!("retain={}", c.snap_retain_count));
    field(c.quorum.my_id.is_some(), format!("id={}", c.quorum.my_id.unwrap_or_default()));
    field(c.is_distributed(), "distributed".to_owned());
    field(c.quorum.peer_type == Role::Observer, "observer".to_owned());
    let ensemble = &c.quorum.ensemble;
    let servers = ensemble.servers.values().map(|s| {
        let addresses: Vec<_> = s
            .addresses
            .iter()
            .map(|a| format!("{}:{}:{}", bracketed(&a.host), a.quorum_port, a.election_port))
            .collect();
        let client = s.client.as_ref().map_or(String::new(), |client| {
            format!(";{}:{}", bracketed(client.host.as_deref().unwrap_or("0.0.0.0")), client.port)
        });
        format!("{}:{:?}{client}", addresses.join("|"), s.role).replace(":P", ":p").replace(":O", ":o")
    });
    let servers = servers.collect::<Vec<_>>().join(", ");
    field(!servers.is_empty(), format!("servers=[{servers}]"));
    field(ensemble.version != 0, format!("v={:x}", ensemble.version));
    out.trim_start().to_owned()
}

/// Each file gives the properties and the settings it gives in Java, or is refused as there; the few
/// that end otherwise do so on purpose.
#[test]
fn as_java_reads_them() {
    let mut wrong = String::new();
    for case in CASES {
        let properties = properties_of(case.cfg);
        if properties != case.java_properties {
            writeln!(wrong, "{}: properties {properties:?}, Java {:?}", case.name, case.java_properties)
                .unwrap();
        }
        let loaded = load(&Sources { file: Some("zoo.cfg"), ..Sources::default() }, &Files(case));
        let got = if loaded.is_ok() { outcome(&loaded.config) } else { "refused".to_owned() };
        let wanted = case.zkfast.map_or(case.java, |(outcome, _)| outcome);
        if got != wanted {
            writeln!(wrong, "{}: {got:?}, expected {wanted:?}; {:?}", case.name, loaded.findings).unwrap();
        }
        if let Some((outcome, why)) = case.zkfast {
            assert!(outcome != case.java && !why.is_empty(), "{}: no difference", case.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(CASES.len() > 100, "{} cases", CASES.len());
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { name: "basic", cfg: b"dataDir=./d\nclientPort=2181\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d>", java: "", zkfast: None },
    Case { name: "cont", cfg: b"dataDir=./d\\\n   ata\nclientPort=21\\\n  81\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./data>", java: "data=./data", zkfast: None },
    Case { name: "seps", cfg: b"dataDir ./d\nclientPort:2181\ntickTime   =   1500\nmaxClientCnxns\t:\t7\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <maxClientCnxns>=<7> <tickTime>=<1500>", java: "times=1500,3000,30000 cnx=7", zkfast: None },
    Case { name: "unicode", cfg: b"dataDir=./\\u0064\\u00e9\nclient\\u0050ort=2181\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d\u{e9}>", java: "data=./d\u{e9}", zkfast: None },
    Case { name: "inline_comment_num", cfg: b"dataDir=./d\nclientPort=2181\ntickTime=2000 # two seconds\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <tickTime>=<2000 # two seconds>", java: "refused", zkfast: None },
    Case { name: "inline_comment_dir", cfg: b"dataDir=./d # here\nclientPort=2181\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d # here>", java: "data=./d # here", zkfast: None },
    Case { name: "comments", cfg: b"# c\n  ! also = x\n   # and\ndataDir=./d\nclientPort=2181\n!tickTime=5\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d>", java: "", zkfast: None },
    Case { name: "dup", cfg: b"dataDir=./d\nclientPort=2181\ntickTime=1000\ntickTime=4000\nclientPort=2182\n", files: &[], java_properties: "<clientPort>=<2182> <dataDir>=<./d> <tickTime>=<4000>", java: "port=*:2182 times=4000,8000,80000", zkfast: None },
    Case { name: "lone_cr", cfg: b"dataDir=./d\rclientPort=2181\rtickTime=1234\r", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <tickTime>=<1234>", java: "times=1234,2468,24680", zkfast: None },
    Case { name: "crlf", cfg: b"dataDir=./d\r\nclientPort=2181\r\ntickTime=1234\r\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <tickTime>=<1234>", java: "times=1234,2468,24680", zkfast: None },
    Case { name: "bom", cfg: b"\xef\xbb\xbfdataDir=./d\nclientPort=2181\n", files: &[], java_properties: "<clientPort>=<2181> <\u{ef}\u{bb}\u{bf}dataDir>=<./d>", java: "refused", zkfast: None },
    Case { name: "bom_harmless", cfg: b"\xef\xbb\xbftickTime=1000\ndataDir=./d\nclientPort=2181\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <\u{ef}\u{bb}\u{bf}tickTime>=<1000>", java: "", zkfast: None },
    Case { name: "latin1", cfg: b"dataDir=./d\xc3\xa9\nclientPort=2181\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d\u{c3}\u{a9}>", java: "data=./d\u{c3}\u{a9}", zkfast: None },
    Case { name: "trailing_ws", cfg: b"dataDir=./d   \nclientPort=2181\t\ntickTime= 2000 \x0c\n", files: &[], java_properties: "<clientPort>=<2181\t> <dataDir>=<./d   > <tickTime>=<2000 \u{c}>", java: "times=2000,4000,40000", zkfast: None },
    Case { name: "bad_unicode", cfg: b"dataDir=./\\u12G4\nclientPort=2181\n", files: &[], java_properties: "refused", java: "refused", zkfast: None },
    Case { name: "key_case", cfg: b"datadir=./x\ndataDir=./d\nclientPort=2181\nticktime=5\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <datadir>=<./x> <ticktime>=<5>", java: "", zkfast: None },
    Case { name: "no_datadir", cfg: b"clientPort=2181\n", files: &[], java_properties: "<clientPort>=<2181>", java: "refused", zkfast: None },
    Case { name: "no_port", cfg: b"dataDir=./d\n", files: &[], java_properties: "<dataDir>=<./d>", java: "port=none", zkfast: Some(("refused", "Java would listen nowhere")) },
    Case { name: "port_range", cfg: b"dataDir=./d\nclientPort=65536\n", files: &[], java_properties: "<clientPort>=<65536> <dataDir>=<./d>", java: "refused", zkfast: None },
    Case { name: "port_neg", cfg: b"dataDir=./d\nclientPort=-1\n", files: &[], java_properties: "<clientPort>=<-1> <dataDir>=<./d>", java: "refused", zkfast: None },
    Case { name: "port_zero", cfg: b"dataDir=./d\nclientPort=0\n", files: &[], java_properties: "<clientPort>=<0> <dataDir>=<./d>", java: "port=*:0", zkfast: None },
    Case { name: "plus", cfg: b"dataDir=./d\nclientPort=2181\ntickTime=+2000\nmaxClientCnxns=-5\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <maxClientCnxns>=<-5> <tickTime>=<+2000>", java: "times=2000,4000,40000 cnx=0", zkfast: None },
    Case { name: "tick_zero", cfg: b"dataDir=./d\nclientPort=2181\ntickTime=0\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <tickTime>=<0>", java: "refused", zkfast: None },
    Case { name: "tick_neg", cfg: b"dataDir=./d\nclientPort=2181\ntickTime=-5\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <tickTime>=<-5>", java: "refused", zkfast: None },
    Case { name: "min_gt_max", cfg: b"dataDir=./d\nclientPort=2181\ntickTime=2000\nminSessionTimeout=40001\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <minSessionTimeout>=<40001> <tickTime>=<2000>", java: "refused", zkfast: None },
    Case { name: "min_only", cfg: b"dataDir=./d\nclientPort=2181\ntickTime=2000\nminSessionTimeout=40000\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <minSessionTimeout>=<40000> <tickTime>=<2000>", java: "times=2000,40000,40000", zkfast: None },
    Case { name: "max_lt_min", cfg: b"dataDir=./d\nclientPort=2181\nmaxSessionTimeout=100\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <maxSessionTimeout>=<100>", java: "refused", zkfast: None },
    Case { name: "min_minus1", cfg: b"dataDir=./d\nclientPort=2181\nminSessionTimeout=-1\nmaxSessionTimeout=-1\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <maxSessionTimeout>=<-1> <minSessionTimeout>=<-1>", java: "", zkfast: None },
    Case { name: "empty_value", cfg: b"dataDir=./d\nclientPort=2181\nmaxClientCnxns=\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <maxClientCnxns>=<>", java: "refused", zkfast: None },
    Case { name: "bool_bad", cfg: b"dataDir=./d\nclientPort=2181\nreconfigEnabled=yes\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <reconfigEnabled>=<yes>", java: "refused", zkfast: None },
    Case { name: "bool_case", cfg: b"dataDir=./d\nclientPort=2181\nreconfigEnabled=TRUE\nstandaloneEnabled= True \n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <reconfigEnabled>=<TRUE> <standaloneEnabled>=<True >", java: "", zkfast: None },
    Case { name: "hex_strict", cfg: b"dataDir=./d\nclientPort=2181\ntickTime=0x7d0\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <tickTime>=<0x7d0>", java: "refused", zkfast: None },
    Case { name: "hex_prop", cfg: b"dataDir=./d\nclientPort=2181\nsnapCount=0x10\nglobalOutstandingLimit=010\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <globalOutstandingLimit>=<010> <snapCount>=<0x10>", java: "", zkfast: None },
    Case { name: "unknown", cfg: b"dataDir=./d\nclientPort=2181\nfoo.bar=baz\nzookeeper.skipACL=yes\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <foo.bar>=<baz> <zookeeper.skipACL>=<yes>", java: "", zkfast: None },
    Case { name: "purge_units", cfg: b"dataDir=./d\nclientPort=2181\nautopurge.purgeInterval=1h\n", files: &[], java_properties: "<autopurge.purgeInterval>=<1h> <clientPort>=<2181> <dataDir>=<./d>", java: "refused", zkfast: None },
    Case { name: "retain", cfg: b"dataDir=./d\nclientPort=2181\nautopurge.snapRetainCount=1\nautopurge.purgeInterval=-4\n", files: &[], java_properties: "<autopurge.purgeInterval>=<-4> <autopurge.snapRetainCount>=<1> <clientPort>=<2181> <dataDir>=<./d>", java: "", zkfast: None },
    Case { name: "electionalg", cfg: b"dataDir=./d\nclientPort=2181\nelectionAlg=1\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <electionAlg>=<1>", java: "refused", zkfast: None },
    Case { name: "peertype", cfg: b"dataDir=./d\nclientPort=2181\npeerType=Observer\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <peerType>=<Observer>", java: "", zkfast: None },
    Case { name: "peertype_bad", cfg: b"dataDir=./d\nclientPort=2181\npeerType=leader\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <peerType>=<leader>", java: "refused", zkfast: None },
    Case { name: "one_server", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:2888:3888\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:2888:3888>", java: "servers=[localhost:2888:3888:participant]", zkfast: None },
    Case { name: "server_space", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:2888:3888 \n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:2888:3888 >", java: "refused", zkfast: None },
    Case { name: "server_role_space", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:2888:3888:participant \n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:2888:3888:participant >", java: "servers=[localhost:2888:3888:participant]", zkfast: None },
    Case { name: "server_client", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:2888:3888;2181\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:2888:3888;2181>", java: "servers=[localhost:2888:3888:participant;0.0.0.0:2181]", zkfast: None },
    Case { name: "server_third", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:2888:3888;2181;secure\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:2888:3888;2181;secure>", java: "refused", zkfast: None },
    Case { name: "server_v6", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=[::1]:2888:3888:participant;[::1]:2181\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<[::1]:2888:3888:participant;[::1]:2181>", java: "servers=[[::1]:2888:3888:participant;[::1]:2181]", zkfast: None },
    Case { name: "server_sameport", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:2888:2888\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:2888:2888>", java: "refused", zkfast: None },
    Case { name: "server_short", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:2888\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:2888>", java: "refused", zkfast: None },
    Case { name: "server_badid", cfg: b"dataDir=./d\nclientPort=2181\nserver.one=localhost:2888:3888\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.one>=<localhost:2888:3888>", java: "refused", zkfast: None },
    Case { name: "server_multi", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:2888:3888|localhost:2889:3889\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:2888:3888|localhost:2889:3889>", java: "refused", zkfast: None },
    Case { name: "three_noinit", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:1:2\nserver.2=localhost:3:4\nserver.3=localhost:5:6\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:1:2> <server.2>=<localhost:3:4> <server.3>=<localhost:5:6>", java: "refused", zkfast: None },
    Case { name: "three_nomyid", cfg: b"dataDir=./d\nclientPort=2181\ninitLimit=5\nsyncLimit=2\nserver.1=localhost:1:2\nserver.2=localhost:3:4\nserver.3=localhost:5:6\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <initLimit>=<5> <server.1>=<localhost:1:2> <server.2>=<localhost:3:4> <server.3>=<localhost:5:6> <syncLimit>=<2>", java: "refused", zkfast: None },
    Case { name: "observer_only", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:1:2:observer\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:1:2:observer>", java: "refused", zkfast: None },
    Case { name: "one_plus_observer", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:1:2\nserver.2=localhost:1:2:observer\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:1:2> <server.2>=<localhost:1:2:observer>", java: "refused", zkfast: None },
    Case { name: "nostandalone", cfg: b"dataDir=./d\nclientPort=2181\nstandaloneEnabled=false\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <standaloneEnabled>=<false>", java: "refused", zkfast: None },
    Case { name: "dyn_and_server", cfg: b"dataDir=./d\nclientPort=2181\ndynamicConfigFile=/nonexistent\nserver.1=localhost:1:2\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <dynamicConfigFile>=</nonexistent> <server.1>=<localhost:1:2>", java: "refused", zkfast: None },
    Case { name: "dyn_missing", cfg: b"dataDir=./d\nclientPort=2181\ndynamicConfigFile=/nonexistent\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <dynamicConfigFile>=</nonexistent>", java: "refused", zkfast: None },
    Case { name: "groupfoo", cfg: b"dataDir=./d\nclientPort=2181\ngroupfoo=1\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <groupfoo>=<1>", java: "refused", zkfast: None },
    Case { name: "group_missing", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:1:2\nserver.2=localhost:3:4\ngroup.1=1\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <group.1>=<1> <server.1>=<localhost:1:2> <server.2>=<localhost:3:4>", java: "refused", zkfast: None },
    Case { name: "version", cfg: b"dataDir=./d\nclientPort=2181\nversion=zz\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <version>=<zz>", java: "refused", zkfast: None },
    Case { name: "addr_noport", cfg: b"dataDir=./d\nclientPortAddress=127.0.0.1\n", files: &[], java_properties: "<clientPortAddress>=<127.0.0.1> <dataDir>=<./d>", java: "refused", zkfast: None },
    Case { name: "addr", cfg: b"dataDir=./d\nclientPort=2181\nclientPortAddress=127.0.0.1\n", files: &[], java_properties: "<clientPort>=<2181> <clientPortAddress>=<127.0.0.1> <dataDir>=<./d>", java: "port=127.0.0.1:2181", zkfast: None },
    Case { name: "addr_empty", cfg: b"dataDir=./d\nclientPort=2181\nclientPortAddress=\n", files: &[], java_properties: "<clientPort>=<2181> <clientPortAddress>=<> <dataDir>=<./d>", java: "port=localhost:2181", zkfast: Some(("port=127.0.0.1:2181", "the same address by its number")) },
    Case { name: "secure", cfg: b"dataDir=./d\nclientPort=2181\nsecureClientPort=2281\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <secureClientPort>=<2281>", java: "", zkfast: Some(("refused", "no ssl.keyStore.location: Java would begin no connection")) },
    Case { name: "secure_addr_only", cfg: b"dataDir=./d\nclientPort=2181\nsecureClientPortAddress=127.0.0.1\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <secureClientPortAddress>=<127.0.0.1>", java: "refused", zkfast: None },
    Case { name: "metrics_missing", cfg: b"dataDir=./d\nclientPort=2181\nmetricsProvider.className=org.example.Nope\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <metricsProvider.className>=<org.example.Nope>", java: "refused", zkfast: Some(("", "there are no Java classes to be missing")) },
    Case { name: "qsasl", cfg: b"dataDir=./d\nclientPort=2181\nquorum.auth.serverRequireSasl=true\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <quorum.auth.serverRequireSasl>=<true>", java: "refused", zkfast: None },
    Case { name: "line_noval", cfg: b"dataDir=./d\nclientPort=2181\ntickTime\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <tickTime>=<>", java: "refused", zkfast: None },
    Case { name: "backslash_path", cfg: b"dataDir=C:\\data\\new\nclientPort=2181\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<C:data\new>", java: "data=C:data\new", zkfast: None },
    Case { name: "dollar", cfg: b"dataDir=${HOME}/d\nclientPort=2181\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<${HOME}/d>", java: "data=${HOME}/d", zkfast: None },
    Case { name: "eof_backslash", cfg: b"dataDir=./d\nclientPort=2181\ntickTime=2000\\", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <tickTime>=<2000>", java: "times=2000,4000,40000", zkfast: None },
    Case { name: "double_backslash", cfg: b"dataDir=./d\\\\\nclientPort=2181\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d\\>", java: "data=./d\\", zkfast: None },
    Case { name: "escaped_sep", cfg: b"dataDir=./d\nclientPort=2181\na\\=b\\:c\\ d=1\n", files: &[], java_properties: "<a=b:c d>=<1> <clientPort>=<2181> <dataDir>=<./d>", java: "", zkfast: None },
    Case { name: "cont_comment", cfg: b"dataDir=./d\nclientPort=2181\nfoo=a\\\n# not a comment\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <foo>=<a# not a comment>", java: "", zkfast: None },
    Case { name: "blank_cont", cfg: b"dataDir=./d\nclientPort=2181\nfoo=a\\\n\ntickTime=1000\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <foo>=<a> <tickTime>=<1000>", java: "times=1000,2000,20000", zkfast: None },
    Case { name: "escaped_key_space", cfg: b"\\ dataDir=./d\nclientPort=2181\n", files: &[], java_properties: "< dataDir>=<./d> <clientPort>=<2181>", java: "", zkfast: None },
    Case { name: "only_key_eq", cfg: b"dataDir=./d\nclientPort=2181\n=x\n", files: &[], java_properties: "<>=<x> <clientPort>=<2181> <dataDir>=<./d>", java: "", zkfast: None },
    Case { name: "multi_sep", cfg: b"dataDir=./d\nclientPort=2181\nfoo = = bar\nbaz : = q\n", files: &[], java_properties: "<baz>=<= q> <clientPort>=<2181> <dataDir>=<./d> <foo>=<= bar>", java: "", zkfast: None },
    Case { name: "nul", cfg: b"dataDir=./d\nclientPort=2181\nfoo=a\x00b\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <foo>=<a\u{0}b>", java: "", zkfast: None },
    Case { name: "tick_big", cfg: b"dataDir=./d\nclientPort=2181\ntickTime=200000000\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <tickTime>=<200000000>", java: "refused", zkfast: None },
    Case { name: "int_overflow", cfg: b"dataDir=./d\nclientPort=2181\ntickTime=2147483648\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <tickTime>=<2147483648>", java: "refused", zkfast: None },
    Case { name: "jvmpause", cfg: b"dataDir=./d\nclientPort=2181\njvm.pause.monitor=maybe\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <jvm.pause.monitor>=<maybe>", java: "refused", zkfast: None },
    Case { name: "emptydir", cfg: b"dataDir=\nclientPort=2181\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<>", java: "refused", zkfast: None },
    Case { name: "server_v6_raw", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=::1:2888:3888\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<::1:2888:3888>", java: "refused", zkfast: None },
    Case { name: "client_addr_bad", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:1:2;a:b:c\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:1:2;a:b:c>", java: "refused", zkfast: None },
    Case { name: "server_port_big", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:65536:3888\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:65536:3888>", java: "refused", zkfast: None },
    Case { name: "server_port_nan", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:x:3888\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:x:3888>", java: "refused", zkfast: None },
    Case { name: "relative1", cfg: b"dataDir=d\nclientPort=2181\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<d>", java: "refused", zkfast: Some(("data=d", "Java trips over names of one character")) },
    Case { name: "one_server_nostandalone", cfg: b"dataDir=./d\nclientPort=2181\nstandaloneEnabled=false\ninitLimit=1\nsyncLimit=1\nserver.1=localhost:1:2\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <initLimit>=<1> <server.1>=<localhost:1:2> <standaloneEnabled>=<false> <syncLimit>=<1>", java: "refused", zkfast: None },
    Case { name: "server_empty", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<>", java: "refused", zkfast: None },
    Case { name: "server_role_bad", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:1:2:Boss\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:1:2:Boss>", java: "refused", zkfast: None },
    Case { name: "two_dup_ids", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:1:2\nserver.01=localhost:3:4\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.01>=<localhost:3:4> <server.1>=<localhost:1:2>", java: "servers=[localhost:3:4:participant]", zkfast: Some(("refused", "which of two lines counts is an accident of hashing in Java")) },
    Case { name: "ctrl_z_ff", cfg: b"\x0cdataDir=./d\nclientPort\x0c2181\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d>", java: "", zkfast: None },
    Case { name: "surrogate", cfg: b"dataDir=./d\nclientPort=2181\nfoo=\\ud83d\\ude00\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <foo>=<\u{1f600}>", java: "", zkfast: None },
    Case { name: "unterminated_u", cfg: b"dataDir=./d\nclientPort=2181\nfoo=\\u12", files: &[], java_properties: "refused", java: "refused", zkfast: None },
    Case { name: "cr_cont", cfg: b"dataDir=./d\nclientPort=2181\nfoo=a\\\rb\nbar=c\\\r\nd\n", files: &[], java_properties: "<bar>=<cd> <clientPort>=<2181> <dataDir>=<./d> <foo>=<ab>", java: "", zkfast: None },
    Case { name: "serverdot_empty", cfg: b"dataDir=./d\nclientPort=2181\nserver.=localhost:1:2\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.>=<localhost:1:2>", java: "refused", zkfast: None },
    Case { name: "weight", cfg: b"dataDir=./d\nclientPort=2181\nweight.1=2\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <weight.1>=<2>", java: "", zkfast: None },
    Case { name: "group_bad", cfg: b"dataDir=./d\nclientPort=2181\ngroup.1=1:x\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <group.1>=<1:x>", java: "refused", zkfast: None },
    Case { name: "server_trailing_semi", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:1:2;\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:1:2;>", java: "servers=[localhost:1:2:participant]", zkfast: None },
    Case { name: "lone_surrogate", cfg: b"dataDir=./d\nclientPort=2181\nfoo=\\ud83d!\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <foo>=<\u{fffd}!>", java: "", zkfast: None },
    Case { name: "unicode_digits", cfg: b"dataDir=./d\nclientPort=2181\ntickTime=\\u0662\\u0660\\u0660\\u0660\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <tickTime>=<\u{662}\u{660}\u{660}\u{660}>", java: "times=2000,4000,40000", zkfast: Some(("refused", "digits of other scripts")) },
    Case { name: "nbsp", cfg: b"dataDir=./d\nclientPort=2181\ntickTime=2000\xa0\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <tickTime>=<2000\u{a0}>", java: "refused", zkfast: None },
    Case { name: "server_trailing_colon", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:1:2:\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:1:2:>", java: "servers=[localhost:1:2:participant]", zkfast: None },
    Case { name: "server_v6_noport", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=[::1]:\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<[::1]:>", java: "refused", zkfast: None },
    Case { name: "server_v6_bare", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=[::1]\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<[::1]>", java: "refused", zkfast: None },
    Case { name: "server_v6_nobr", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=[::1:2888:3888\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<[::1:2888:3888>", java: "refused", zkfast: None },
    Case { name: "quorum_sasl_learner", cfg: b"dataDir=./d\nclientPort=2181\nquorum.auth.enableSasl=true\nquorum.auth.serverRequireSasl=true\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <quorum.auth.enableSasl>=<true> <quorum.auth.serverRequireSasl>=<true>", java: "refused", zkfast: None },
    Case { name: "server_upper_role", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:1:2:OBSERVER\nserver.2=localhost:1:2:Participant\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:1:2:OBSERVER> <server.2>=<localhost:1:2:Participant>", java: "refused", zkfast: None },
    Case { name: "observer_master", cfg: b"dataDir=./d\nclientPort=2181\nobserverMasterPort=x\n", files: &[], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <observerMasterPort>=<x>", java: "refused", zkfast: None },
    Case { name: "myid", cfg: b"dataDir=./d\nclientPort=2181\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <dataDir>=<./d>", java: "id=1", zkfast: None },
    Case { name: "myid_two_lines", cfg: b"dataDir=./d\nclientPort=2181\n", files: &[("./d/myid", b"1\n2\n")], java_properties: "<clientPort>=<2181> <dataDir>=<./d>", java: "id=1", zkfast: None },
    Case { name: "myid_blank", cfg: b"dataDir=./d\nclientPort=2181\n", files: &[("./d/myid", b"1 \n")], java_properties: "<clientPort>=<2181> <dataDir>=<./d>", java: "refused", zkfast: None },
    Case { name: "myid_empty", cfg: b"dataDir=./d\nclientPort=2181\n", files: &[("./d/myid", b"")], java_properties: "<clientPort>=<2181> <dataDir>=<./d>", java: "refused", zkfast: None },
    Case { name: "myid_plus_crlf", cfg: b"dataDir=./d\nclientPort=2181\n", files: &[("./d/myid", b"+7\r\n")], java_properties: "<clientPort>=<2181> <dataDir>=<./d>", java: "id=7", zkfast: None },
    Case { name: "myid_minus_one", cfg: b"dataDir=./d\nclientPort=2181\n", files: &[("./d/myid", b"-1")], java_properties: "<clientPort>=<2181> <dataDir>=<./d>", java: "", zkfast: None },
    Case { name: "myid_bom", cfg: b"dataDir=./d\nclientPort=2181\n", files: &[("./d/myid", b"\xef\xbb\xbf1")], java_properties: "<clientPort>=<2181> <dataDir>=<./d>", java: "refused", zkfast: None },
    Case { name: "myid_word", cfg: b"dataDir=./d\nclientPort=2181\n", files: &[("./d/myid", b"x")], java_properties: "<clientPort>=<2181> <dataDir>=<./d>", java: "refused", zkfast: None },
    Case { name: "port_from_server_line", cfg: b"dataDir=./d\nserver.1=localhost:1:2;2185\n", files: &[("./d/myid", b"1")], java_properties: "<dataDir>=<./d> <server.1>=<localhost:1:2;2185>", java: "port=*:2185 id=1 servers=[localhost:1:2:participant;0.0.0.0:2185]", zkfast: None },
    Case { name: "port_differs", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:1:2;2185\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:1:2;2185>", java: "refused", zkfast: None },
    Case { name: "any_then_address", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:1:2;127.0.0.1:2181\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:1:2;127.0.0.1:2181>", java: "port=127.0.0.1:2181 id=1 servers=[localhost:1:2:participant;127.0.0.1:2181]", zkfast: None },
    Case { name: "address_then_any", cfg: b"dataDir=./d\nclientPort=2181\nclientPortAddress=127.0.0.1\nserver.1=localhost:1:2;2181\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <clientPortAddress>=<127.0.0.1> <dataDir>=<./d> <server.1>=<localhost:1:2;2181>", java: "refused", zkfast: None },
    Case { name: "same_address", cfg: b"dataDir=./d\nclientPort=2181\nclientPortAddress=127.0.0.1\nserver.1=localhost:1:2;127.0.0.1:2181\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <clientPortAddress>=<127.0.0.1> <dataDir>=<./d> <server.1>=<localhost:1:2;127.0.0.1:2181>", java: "port=127.0.0.1:2181 id=1 servers=[localhost:1:2:participant;127.0.0.1:2181]", zkfast: None },
    Case { name: "line_of_another", cfg: b"dataDir=./d\nserver.1=localhost:1:2;2185\n", files: &[("./d/myid", b"2")], java_properties: "<dataDir>=<./d> <server.1>=<localhost:1:2;2185>", java: "port=none id=2 servers=[localhost:1:2:participant;0.0.0.0:2185]", zkfast: Some(("refused", "Java would listen nowhere")) },
    Case { name: "no_myid_one_line", cfg: b"dataDir=./d\nserver.1=localhost:1:2;2185\n", files: &[], java_properties: "<dataDir>=<./d> <server.1>=<localhost:1:2;2185>", java: "port=none servers=[localhost:1:2:participant;0.0.0.0:2185]", zkfast: Some(("port=*:2185 servers=[localhost:1:2:participant;0.0.0.0:2185]", "Java would listen nowhere")) },
    Case { name: "address_and_name", cfg: b"dataDir=./d\nclientPort=2181\nclientPortAddress=127.0.0.1\nserver.1=localhost:1:2;localhost:2181\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <clientPortAddress>=<127.0.0.1> <dataDir>=<./d> <server.1>=<localhost:1:2;localhost:2181>", java: "port=localhost:2181 id=1 servers=[localhost:1:2:participant;localhost:2181]", zkfast: None },
    Case { name: "any_v6", cfg: b"dataDir=./d\nserver.1=localhost:1:2;[::]:2185\n", files: &[("./d/myid", b"1")], java_properties: "<dataDir>=<./d> <server.1>=<localhost:1:2;[::]:2185>", java: "port=:::2185 id=1 servers=[localhost:1:2:participant;[::]:2185]", zkfast: None },
    Case { name: "dynamic", cfg: b"dataDir=./d\nclientPort=2181\ninitLimit=5\nsyncLimit=2\ndynamicConfigFile=./d/dyn\n", files: &[("./d/myid", b"2"), ("./d/dyn", b"server.1=localhost:1:2;21\nserver.2=localhost:3:4\nserver.3=localhost:5:6:observer\n")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <dynamicConfigFile>=<./d/dyn> <initLimit>=<5> <syncLimit>=<2>", java: "id=2 distributed servers=[localhost:1:2:participant;0.0.0.0:21, localhost:3:4:participant, localhost:5:6:observer]", zkfast: None },
    Case { name: "dynamic_version", cfg: b"dataDir=./d\nclientPort=2181\ninitLimit=5\nsyncLimit=2\ndynamicConfigFile=./d/zoo.cfg.dynamic.1a\n", files: &[("./d/myid", b"2"), ("./d/zoo.cfg.dynamic.1a", b"server.1=localhost:1:2;21\nserver.2=localhost:3:4\nserver.3=localhost:5:6:observer\n")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <dynamicConfigFile>=<./d/zoo.cfg.dynamic.1a> <initLimit>=<5> <syncLimit>=<2>", java: "id=2 distributed servers=[localhost:1:2:participant;0.0.0.0:21, localhost:3:4:participant, localhost:5:6:observer] v=1a", zkfast: None },
    Case { name: "dynamic_version_inside", cfg: b"dataDir=./d\nclientPort=2181\ninitLimit=5\nsyncLimit=2\ndynamicConfigFile=./d/dyn\n", files: &[("./d/myid", b"2"), ("./d/dyn", b"server.1=localhost:1:2;21\nserver.2=localhost:3:4\nserver.3=localhost:5:6:observer\nversion=5\n")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <dynamicConfigFile>=<./d/dyn> <initLimit>=<5> <syncLimit>=<2>", java: "refused", zkfast: None },
    Case { name: "dynamic_other_key", cfg: b"dataDir=./d\nclientPort=2181\ninitLimit=5\nsyncLimit=2\ndynamicConfigFile=./d/dyn\n", files: &[("./d/myid", b"2"), ("./d/dyn", b"server.1=localhost:1:2;21\nserver.2=localhost:3:4\nserver.3=localhost:5:6:observer\ntickTime=5\n")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <dynamicConfigFile>=<./d/dyn> <initLimit>=<5> <syncLimit>=<2>", java: "refused", zkfast: None },
    Case { name: "dynamic_port_differs", cfg: b"dataDir=./d\nclientPort=2181\ninitLimit=5\nsyncLimit=2\ndynamicConfigFile=./d/dyn\n", files: &[("./d/myid", b"1"), ("./d/dyn", b"server.1=localhost:1:2;21\nserver.2=localhost:3:4\nserver.3=localhost:5:6:observer\ngroup.1=1:2\nweight.1=3\n")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <dynamicConfigFile>=<./d/dyn> <initLimit>=<5> <syncLimit>=<2>", java: "refused", zkfast: None },
    Case { name: "myid_not_listed", cfg: b"dataDir=./d\nclientPort=2181\ninitLimit=5\nsyncLimit=2\ndynamicConfigFile=./d/dyn\n", files: &[("./d/myid", b"9"), ("./d/dyn", b"server.1=localhost:1:2;21\nserver.2=localhost:3:4\nserver.3=localhost:5:6:observer\n")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <dynamicConfigFile>=<./d/dyn> <initLimit>=<5> <syncLimit>=<2>", java: "id=9 distributed servers=[localhost:1:2:participant;0.0.0.0:21, localhost:3:4:participant, localhost:5:6:observer]", zkfast: Some(("refused", "Java ends once it has read its data: not in the peer list")) },
    Case { name: "group_beside_dynamic", cfg: b"dataDir=./d\nclientPort=2181\ninitLimit=5\nsyncLimit=2\ngroup.1=1\ndynamicConfigFile=./d/dyn\n", files: &[("./d/myid", b"1"), ("./d/dyn", b"server.1=localhost:1:2;21\nserver.2=localhost:3:4\nserver.3=localhost:5:6:observer\n")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <dynamicConfigFile>=<./d/dyn> <group.1>=<1> <initLimit>=<5> <syncLimit>=<2>", java: "refused", zkfast: None },
    Case { name: "dynamic_one_server", cfg: b"dataDir=./d\nclientPort=2181\ndynamicConfigFile=./d/dyn\n", files: &[("./d/myid", b"1"), ("./d/dyn", b"server.1=localhost:1:2\n")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <dynamicConfigFile>=<./d/dyn>", java: "id=1 servers=[localhost:1:2:participant]", zkfast: None },
    Case { name: "dynamic_empty", cfg: b"dataDir=./d\nclientPort=2181\ninitLimit=5\nsyncLimit=2\ndynamicConfigFile=./d/dyn\n", files: &[("./d/myid", b"1"), ("./d/dyn", b"")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <dynamicConfigFile>=<./d/dyn> <initLimit>=<5> <syncLimit>=<2>", java: "id=1", zkfast: None },
    Case { name: "dynamic_port", cfg: b"dataDir=./d\ndynamicConfigFile=./d/zoo.cfg.dynamic.100000000\n", files: &[("./d/myid", b"1"), ("./d/zoo.cfg.dynamic.100000000", b"server.1=localhost:1:2:participant;0.0.0.0:2181\n")], java_properties: "<dataDir>=<./d> <dynamicConfigFile>=<./d/zoo.cfg.dynamic.100000000>", java: "id=1 servers=[localhost:1:2:participant;0.0.0.0:2181] v=100000000", zkfast: None },
    Case { name: "dynamic_no_name", cfg: b"dataDir=./d\nclientPort=2181\ndynamicConfigFile =\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <dynamicConfigFile>=<>", java: "refused", zkfast: None },
    Case { name: "static_version", cfg: b"dataDir=./d\ninitLimit=5\nsyncLimit=2\nserver.1=localhost:1:2;21\nserver.2=localhost:3:4\nserver.3=localhost:5:6:observer\nversion=1A\n", files: &[("./d/myid", b"3")], java_properties: "<dataDir>=<./d> <initLimit>=<5> <server.1>=<localhost:1:2;21> <server.2>=<localhost:3:4> <server.3>=<localhost:5:6:observer> <syncLimit>=<2> <version>=<1A>", java: "port=none id=3 distributed observer servers=[localhost:1:2:participant;0.0.0.0:21, localhost:3:4:participant, localhost:5:6:observer] v=1a", zkfast: None },
    Case { name: "observer", cfg: b"dataDir=./d\nclientPort=2181\ninitLimit=5\nsyncLimit=2\npeerType=observer\nserver.1=localhost:1:2;21\nserver.2=localhost:3:4\nserver.3=localhost:5:6:observer\n", files: &[("./d/myid", b"3")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <initLimit>=<5> <peerType>=<observer> <server.1>=<localhost:1:2;21> <server.2>=<localhost:3:4> <server.3>=<localhost:5:6:observer> <syncLimit>=<2>", java: "id=3 distributed observer servers=[localhost:1:2:participant;0.0.0.0:21, localhost:3:4:participant, localhost:5:6:observer]", zkfast: None },
    Case { name: "two_groups", cfg: b"dataDir=./d\nclientPort=2181\ninitLimit=5\nsyncLimit=2\nserver.1=localhost:1:2;21\nserver.2=localhost:3:4\nserver.3=localhost:5:6:observer\ngroup.1=1:2\ngroup.2=2\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <group.1>=<1:2> <group.2>=<2> <initLimit>=<5> <server.1>=<localhost:1:2;21> <server.2>=<localhost:3:4> <server.3>=<localhost:5:6:observer> <syncLimit>=<2>", java: "refused", zkfast: None },
    Case { name: "bad_weight", cfg: b"dataDir=./d\nclientPort=2181\ninitLimit=5\nsyncLimit=2\nserver.1=localhost:1:2;21\nserver.2=localhost:3:4\nserver.3=localhost:5:6:observer\ngroup.1=1:2\nweight.1=x\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <group.1>=<1:2> <initLimit>=<5> <server.1>=<localhost:1:2;21> <server.2>=<localhost:3:4> <server.3>=<localhost:5:6:observer> <syncLimit>=<2> <weight.1>=<x>", java: "refused", zkfast: None },
    Case { name: "weight_without_group", cfg: b"dataDir=./d\nclientPort=2181\ninitLimit=5\nsyncLimit=2\nserver.1=localhost:1:2;21\nserver.2=localhost:3:4\nserver.3=localhost:5:6:observer\nweight.1=1\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <initLimit>=<5> <server.1>=<localhost:1:2;21> <server.2>=<localhost:3:4> <server.3>=<localhost:5:6:observer> <syncLimit>=<2> <weight.1>=<1>", java: "refused", zkfast: None },
    Case { name: "quorum_of_one", cfg: b"dataDir=./d\nclientPort=2181\ninitLimit=5\nsyncLimit=2\nstandaloneEnabled=false\nserver.1=localhost:1:2\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <initLimit>=<5> <server.1>=<localhost:1:2> <standaloneEnabled>=<false> <syncLimit>=<2>", java: "id=1 distributed servers=[localhost:1:2:participant]", zkfast: None },
    Case { name: "dynamic_blanks", cfg: b"dataDir=./d\nclientPort=2181\ndynamicConfigFile=./d/dyn\n", files: &[("./d/dyn", b"server.1=localhost:1:2\n server.2 = localhost:3:4\n")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <dynamicConfigFile>=<./d/dyn>", java: "refused", zkfast: None },
    Case { name: "client_trailing_semicolon", cfg: b"dataDir=./d\nclientPort=2181\ninitLimit=5\nsyncLimit=2\nserver.1=localhost:1:2;21;\nserver.2= localhost :3:4\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <initLimit>=<5> <server.1>=<localhost:1:2;21;> <server.2>=<localhost :3:4> <syncLimit>=<2>", java: "refused", zkfast: None },
    Case { name: "no_host", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=:1:2\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<:1:2>", java: "id=1 servers=[localhost:1:2:participant]", zkfast: None },
    Case { name: "host_with_blank", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=a b:1:2\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<a b:1:2>", java: "id=1 servers=[a b:1:2:participant]", zkfast: None },
    Case { name: "port_with_blank", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:1: 2\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:1: 2>", java: "refused", zkfast: None },
    Case { name: "negative_id", cfg: b"dataDir=./d\nclientPort=2181\nserver.-1=localhost:1:2\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.-1>=<localhost:1:2>", java: "id=1 servers=[localhost:1:2:participant]", zkfast: None },
    Case { name: "trailing_pipe", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=localhost:1:2|\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<localhost:1:2|>", java: "id=1 servers=[localhost:1:2:participant]", zkfast: None },
    Case { name: "client_only", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=;2181\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<;2181>", java: "refused", zkfast: None },
    Case { name: "server_key_with_blank", cfg: b"dataDir=./d\nclientPort=2181\n\\ server.1=localhost:1:2\n", files: &[("./d/myid", b"1")], java_properties: "< server.1>=<localhost:1:2> <clientPort>=<2181> <dataDir>=<./d>", java: "id=1", zkfast: None },
    Case { name: "bracket_then_letter", cfg: b"dataDir=./d\nclientPort=2181\nserver.1=[::1]x1:2\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <server.1>=<[::1]x1:2>", java: "id=1 servers=[[::1]:1:2:participant]", zkfast: None },
    Case { name: "oracle", cfg: b"dataDir=./d\nclientPort=2181\noraclePath=/x\nserver.1=a:1:2\nserver.2=b:1:2\ninitLimit=5\nsyncLimit=2\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <dataDir>=<./d> <initLimit>=<5> <oraclePath>=</x> <server.1>=<a:1:2> <server.2>=<b:1:2> <syncLimit>=<2>", java: "id=1 distributed servers=[a:1:2:participant, b:1:2:participant]", zkfast: None },
    Case { name: "lone_backslashes", cfg: b"dataDir=./d\nclientPort=2181\na=\\\n#x\n=b\n\\\n# c\nq=1\n", files: &[("./d/myid", b"1")], java_properties: "<>=<b> <a>=<#x> <clientPort>=<2181> <dataDir>=<./d> <q>=<1>", java: "id=1", zkfast: None },
    Case { name: "client_port_with_blank", cfg: b"dataDir=./d\nserver.1=localhost:1:2;21 \n", files: &[("./d/myid", b"1")], java_properties: "<dataDir>=<./d> <server.1>=<localhost:1:2;21 >", java: "refused", zkfast: None },
    Case { name: "client_address_port_with_blank", cfg: b"dataDir=./d\nserver.1=localhost:1:2;127.0.0.1:21 \n", files: &[("./d/myid", b"1")], java_properties: "<dataDir>=<./d> <server.1>=<localhost:1:2;127.0.0.1:21 >", java: "refused", zkfast: None },
    Case { name: "role_with_blank_before_client", cfg: b"dataDir=./d\nserver.1=localhost:1:2:participant ;21\n", files: &[("./d/myid", b"1")], java_properties: "<dataDir>=<./d> <server.1>=<localhost:1:2:participant ;21>", java: "port=*:21 id=1 servers=[localhost:1:2:participant;0.0.0.0:21]", zkfast: None },
    Case { name: "client_no_address", cfg: b"dataDir=./d\nserver.1=localhost:1:2;:21\n", files: &[("./d/myid", b"1")], java_properties: "<dataDir>=<./d> <server.1>=<localhost:1:2;:21>", java: "port=localhost:21 id=1 servers=[localhost:1:2:participant;localhost:21]", zkfast: None },
    Case { name: "client_no_address_v6", cfg: b"dataDir=./d\nserver.1=localhost:1:2;[]:21\n", files: &[("./d/myid", b"1")], java_properties: "<dataDir>=<./d> <server.1>=<localhost:1:2;[]:21>", java: "port=localhost:21 id=1 servers=[localhost:1:2:participant;localhost:21]", zkfast: None },
    Case { name: "client_trailing_colon", cfg: b"dataDir=./d\nserver.1=localhost:1:2;21:\n", files: &[("./d/myid", b"1")], java_properties: "<dataDir>=<./d> <server.1>=<localhost:1:2;21:>", java: "port=*:21 id=1 servers=[localhost:1:2:participant;0.0.0.0:21]", zkfast: None },
    Case { name: "addr_v6_brackets", cfg: b"dataDir=./d\nclientPort=2181\nclientPortAddress=[::1]\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <clientPortAddress>=<[::1]> <dataDir>=<./d>", java: "port=::1:2181 id=1", zkfast: None },
    Case { name: "addr_v6_any", cfg: b"dataDir=./d\nclientPort=2181\nclientPortAddress=[::]\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <clientPortAddress>=<[::]> <dataDir>=<./d>", java: "port=:::2181 id=1", zkfast: None },
    Case { name: "port_and_no_address", cfg: b"dataDir=./d\nclientPort=2181\nclientPortAddress=127.0.0.1\nserver.1=localhost:1:2;:2181\n", files: &[("./d/myid", b"1")], java_properties: "<clientPort>=<2181> <clientPortAddress>=<127.0.0.1> <dataDir>=<./d> <server.1>=<localhost:1:2;:2181>", java: "port=localhost:2181 id=1 servers=[localhost:1:2:participant;localhost:2181]", zkfast: None },
];
