//! Where other servers are, as configurations and this server's own file say.

use crate::config::{Ensemble, PeerAddress};
use std::collections::BTreeMap;

/// Where another server is.
pub struct Other {
    /// Where it may be, in the order in which it is tried.
    pub addresses: Vec<PeerAddress>,
    /// Attempts on each port: each takes the next address.
    pub attempts: [usize; 3],
}

impl Other {
    /// One without an attempt so far.
    pub fn at(addresses: Vec<PeerAddress>) -> Self {
        Self { addresses, attempts: [0; 3] }
    }
}

/// What tells the addresses of servers beside the configurations.
#[derive(Debug, Default)]
pub struct Whereabouts {
    /// The lines of this server's file, where a later configuration counts, and the version of that.
    written: Option<(Ensemble, i64)>,
}

impl Whereabouts {
    /// With the lines of this server's file, where the configuration that counts is later and has this version. The servers may
    /// have moved to the addresses in these lines meanwhile.
    pub fn with_written(lines: Ensemble, version: i64) -> Self {
        Self { written: Some((lines, version)) }
    }

    /// The addresses of all servers of two configurations: those of the next one are tried after those of the active one, then
    /// those of the same servers in this server's file. A configuration after the one that counted at the start ends that.
    pub fn of(&mut self, active: &Ensemble, next: Option<&Ensemble>) -> BTreeMap<i64, Vec<PeerAddress>> {
        self.written.take_if(|(_, version)| active.version > *version);
        let written = self.written.as_ref().map(|(lines, _)| lines);
        let is_named =
            |sid: &i64| [Some(active), next].into_iter().flatten().any(|of| of.servers.contains_key(sid));
        let servers = [Some(active), next, written].into_iter().flatten().flat_map(|of| of.servers.values());
        let mut all: BTreeMap<i64, Vec<PeerAddress>> = BTreeMap::new();
        for server in servers.filter(|server| is_named(&server.sid)) {
            let of_server = all.entry(server.sid).or_default();
            for address in &server.addresses {
                if !of_server.contains(address) {
                    of_server.push(address.clone());
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that was away calls the others also where the lines of its file say that they are, until a configuration says so.
    #[test]
    fn lines_of_the_file_are_tried() {
        let ensemble = |text: &str| Ensemble::parse(text).expect("a configuration");
        let of = |host: &str, version: i64| ensemble(&format!("server.2={host}:1:2\nversion={version}"));
        let hosts = |whereabouts: &mut Whereabouts, active: &Ensemble, next: Option<&Ensemble>| {
            let all = whereabouts.of(active, next);
            let hosts = |addresses: &Vec<PeerAddress>| {
                addresses.iter().map(|address| address.host.clone()).collect::<Vec<_>>().join(" ")
            };
            all.iter().map(|(sid, addresses)| (*sid, hosts(addresses))).collect::<Vec<_>>()
        };
        let lines = ensemble("server.2=written:1:2\nserver.3=stranger:1:2");
        let mut whereabouts = Whereabouts::with_written(lines, 5);
        let (old, next) = (of("old", 5), of("next", 6));
        assert_eq!(hosts(&mut whereabouts, &old, None), [(2, "old written".to_owned())]);
        assert_eq!(hosts(&mut whereabouts, &old, Some(&next)), [(2, "old next written".to_owned())]);
        assert_eq!(hosts(&mut whereabouts, &next, None), [(2, "next".to_owned())]);
        assert_eq!(hosts(&mut whereabouts, &old, None), [(2, "old".to_owned())]);
    }
}
