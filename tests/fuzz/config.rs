//! zoo.cfg, its dynamic file and myid: `0xFF` stands between them.

use super::Bounds;
use std::io;
use zkfast::config::{Loader, Sources, check as checked, load};

/// A setting is kept with its origin, its value, what is said of it, and the line that `zkfast check` prints. A key that is
/// not known is compared with those of about its length, which allocates for each.
pub const BOUNDS: Bounds = Bounds { bytes: (256 << 10, 1024), allocations: (16_384, 2048) };

struct Files<'a>(Vec<&'a [u8]>);

impl Files<'_> {
    fn part(&self, path: &str) -> Option<&[u8]> {
        let number = match path {
            "zoo.cfg" => 0,
            path if path.ends_with("myid") => 2,
            _ => 1,
        };
        self.0.get(number).copied()
    }
}

impl Loader for Files<'_> {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.part(path).map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn is_file(&self, path: &str) -> bool {
        self.part(path).is_some()
    }
}

pub fn check(input: &[u8]) -> bool {
    let files = Files(input.splitn(3, |&byte| byte == 0xFF).collect());
    let sources = Sources { file: Some("zoo.cfg"), ..Sources::default() };
    let loaded = load(&sources, &files);
    let lines = input.split(|&byte| byte == b'\n' || byte == b'\r').count();
    assert!(loaded.settings.len() <= lines + 1, "{} settings in {lines} lines", loaded.settings.len());
    // A few may be missing, each line may be wrong in several ways, and each server may clash with each kind of port.
    assert!(loaded.findings.len() <= 32 + 8 * lines, "{} findings", loaded.findings.len());
    let report = checked(&sources, &files);
    assert_eq!(report.errors() == 0, loaded.is_ok());
    assert!(!report.text().is_empty());
    let json = report.json();
    assert!(json.chars().all(|c| c >= ' ' || c == '\n'), "control characters in JSON: {json:?}");
    !loaded.settings.is_empty()
}

pub fn seeds() -> Vec<Vec<u8>> {
    let alone = "tickTime=2000\ndataDir=/data\nclientPort=2181\nautopurge.snapRetainCount = 3\n\
                 4lw.commands.whitelist=stat, ruok\n# comment\nmaxClientCnxns: 60\n";
    let ensemble = "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/data\nclientPort=2181\n\
                    server.1=zoo1:2888:3888\nserver.2=zoo2:2888:3888:observer\nserver.3=[::1]:2888:3888;2182\n\
                    group.1=1:2\nweight.1=1\npeerType=participant\nstandaloneEnabled=false\n";
    let dynamic = "reconfigEnabled=true\ndataDir=/data\ninitLimit=5\nsyncLimit=2\n\
                   dynamicConfigFile=/conf/zoo.cfg.dynamic.100000000\n";
    let members = "server.1=a:2888:3888:participant;0.0.0.0:2181\nserver.2=b:1:2|c:1:2:participant;2181\nversion=100000000\n";
    let escapes = "data\\u0044ir=\\\n   /d\\u00e9\\t\nclient\\ Port 1\n!x\nserverCnxnFactory=a.b\nauthProvider.1=x\n\
                   admin.enableServer=false\nmetricsProvider.httpPort=70000\njute.maxbuffer=0x10\nfsync.warningthresholdms=-1\n";
    let join = |parts: &[&str]| parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>().join(&0xFF);
    vec![join(&[alone]), join(&[ensemble, "", "2\n"]), join(&[dynamic, members, "1"]), join(&[escapes])]
}
