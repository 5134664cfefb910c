//! What a command measures: servers that run already, or servers that it starts.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The service to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Servers that run already, `host:port` each.
    Running(Vec<String>),
    /// Apache ZooKeeper, which loadgen fetches and starts.
    Zookeeper {
        /// Servers that form the service.
        servers: usize,
    },
    /// zkfast, which loadgen starts from a binary.
    Zkfast {
        /// Servers that form the service.
        servers: usize,
        /// The binary; if none, the one beside loadgen's own.
        binary: Option<PathBuf>,
    },
}

/// The most servers of a service that loadgen starts. More measure nothing on one machine.
pub const SERVERS_MAX: usize = 9;

impl Target {
    /// The name of the service in results, unless an argument gives one.
    pub fn name(&self) -> String {
        match self {
            Self::Running(addresses) => addresses.join(","),
            Self::Zookeeper { servers } => named("ZooKeeper", *servers),
            Self::Zkfast { servers, .. } => named("zkfast", *servers),
        }
    }

    /// The same service with `servers` servers; one that runs already stays as it is.
    pub fn with_servers(&self, servers: usize) -> Self {
        match self.clone() {
            running @ Self::Running(_) => running,
            Self::Zookeeper { .. } => Self::Zookeeper { servers },
            Self::Zkfast { binary, .. } => Self::Zkfast { servers, binary },
        }
    }
}

fn named(name: &str, servers: usize) -> String {
    if servers == 1 { name.to_owned() } else { format!("{name} ({servers})") }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(addresses) => f.write_str(&addresses.join(",")),
            Self::Zookeeper { servers } => write!(f, "zookeeper:{servers}"),
            Self::Zkfast { servers, binary: None } => write!(f, "zkfast:{servers}"),
            Self::Zkfast { servers, binary: Some(binary) } => {
                write!(f, "zkfast:{servers}={}", binary.display())
            }
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (head, binary) = match text.split_once('=') {
            Some((head, path)) => (head, Some(PathBuf::from(path))),
            None => (text, None),
        };
        let (name, after) = match head.split_once(':') {
            Some((name, after)) => (name, Some(after)),
            None => (head, None),
        };
        // A host may be called zookeeper or zkfast; its port is a greater number than a service has servers.
        let port = after.and_then(|after| after.parse::<u16>().ok());
        let is_host = text.contains(',') || port.is_some_and(|port| usize::from(port) > SERVERS_MAX * 10);
        match name {
            "zookeeper" if !is_host => {
                if binary.is_some() {
                    return Err(format!(
                        "{text}: zookeeper takes no =PATH; ZKFAST_ZOOKEEPER_LIB names its jars"
                    ));
                }
                Ok(Self::Zookeeper { servers: servers(text, after)? })
            }
            "zkfast" if !is_host => {
                if let Some(path) = binary.as_ref().filter(|path| !path.is_file()) {
                    return Err(format!("{text}: there is no file {}", path.display()));
                }
                Ok(Self::Zkfast { servers: servers(text, after)?, binary })
            }
            _ => addresses(text).map(Self::Running),
        }
    }
}

fn servers(text: &str, number: Option<&str>) -> Result<usize, String> {
    let Some(number) = number else { return Ok(1) };
    match number.parse() {
        Ok(servers @ 1..=SERVERS_MAX) => Ok(servers),
        _ => Err(format!("{text}: {number} servers; 1 to {SERVERS_MAX} can be started here")),
    }
}

fn addresses(text: &str) -> Result<Vec<String>, String> {
    let is_address = |part: &str| {
        let port = part.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
    };
    let parts: Vec<String> = text.split(',').map(str::to_owned).collect();
    match parts.iter().find(|part| !is_address(part)) {
        None => Ok(parts),
        Some(part) => {
            Err(format!("{part:?} is neither HOST:PORT nor zookeeper[:SERVERS] nor zkfast[:SERVERS][=PATH]"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses, services to start, and hosts that have the name of a service.
    #[test]
    fn what_is_understood() {
        let running = |text: &str| Target::Running(text.split(',').map(str::to_owned).collect());
        let zkfast =
            |servers, binary: Option<&str>| Target::Zkfast { servers, binary: binary.map(PathBuf::from) };
        for (text, target) in [
            ("localhost:2181", running("localhost:2181")),
            ("[::1]:2181,b:2182", running("[::1]:2181,b:2182")),
            ("zookeeper:2181", running("zookeeper:2181")),
            ("zookeeper:2181,zookeeper2:2181", running("zookeeper:2181,zookeeper2:2181")),
            ("zookeeper", Target::Zookeeper { servers: 1 }),
            ("zookeeper:3", Target::Zookeeper { servers: 3 }),
            ("zkfast", zkfast(1, None)),
            ("zkfast:3", zkfast(3, None)),
        ] {
            assert_eq!(text.parse(), Ok(target), "{text}");
        }
        let own = std::env::current_exe().expect("a path");
        let text = format!("zkfast:2={}", own.display());
        assert_eq!(text.parse(), Ok(zkfast(2, own.to_str())));
        assert_eq!(text, text.parse::<Target>().expect("as above").to_string());
    }

    /// A wrong argument is refused with the wrong word and what it could be.
    #[test]
    fn what_is_refused() {
        let refused = |text: &str| text.parse::<Target>().expect_err(text);
        for (text, part) in [
            ("zookeper", "\"zookeper\" is neither HOST:PORT nor zookeeper[:SERVERS]"),
            ("localhost", "\"localhost\" is neither"),
            ("localhost:0", "\"localhost:0\" is neither"),
            ("localhost:2181,", "\"\" is neither"),
            (":2181", "\":2181\" is neither"),
            ("zookeeper:0", "0 servers; 1 to 9 can be started here"),
            ("zookeeper:10", "10 servers; 1 to 9"),
            ("zkfast:x", "x servers"),
            ("zookeeper=/jars", "ZKFAST_ZOOKEEPER_LIB"),
            ("zkfast=/no/such/binary", "there is no file /no/such/binary"),
        ] {
            let message = refused(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
