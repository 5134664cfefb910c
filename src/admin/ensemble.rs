//! The servers of an ensemble as one of them knows them, for the console.

use super::commands::{client_address, place};
use super::json::{self, Object};
use super::{LearnerSeen, Member, Mode, Status};
use crate::config::{Role, Server};
use crate::proto::Zxid;

/// This server's role, and the others': a leader knows how far each is, another member who leads. `status` may be the answer
/// to any question. Shape:
///
/// | member | what |
/// |---|---|
/// | `my_id` | null for a server alone |
/// | `state` | `looking`, `read-only`, `standalone`, `leader`, `follower` or `observer` |
/// | `leader_id`, `voters` | null where there is no leader, and for a server alone |
/// | `zxid`, `uptime` | this server's, hexadecimal; ms |
/// | `version` | ZooKeeper's and zkfast's |
/// | `servers` | by number: `id`, `line` (participant or observer), `address`, `client_address`, `is_me`, `state` (null where this server does not know), of itself `zxid`, and on the leader of each learner `in_step`, `zxid` (a follower's last on disk, an observer's last sent; null before the first), `lag` (txns; null while it lacks some of an earlier epoch) and `heard_ms_ago` |
pub fn ensemble(version: &str, status: &Status, member: Option<&Member>) -> Vec<u8> {
    json::object(|o| {
        o.set("my_id", member.map(|member| member.id));
        o.set("state", if status.serving { status.mode.name() } else { "looking" });
        o.set("leader_id", status.leader_id);
        o.set("voters", status.quorum_size);
        o.set("zxid", format!("{:#x}", status.zxid.to_wire()));
        o.set("uptime", status.uptime_ms);
        o.set("version", version);
        o.list("servers", |l| {
            let Some(Member { id, ensemble }) = member else { return };
            for server in ensemble.servers.values() {
                l.object(|o| put_server(o, server, *id, status));
            }
        });
    })
}

fn put_server(o: &mut Object<'_>, server: &Server, my_id: i64, status: &Status) {
    let is_me = server.sid == my_id;
    let seen = status.learners.iter().find(|learner| learner.sid == server.sid);
    let state = match seen {
        _ if is_me && !status.serving => Some("looking"),
        _ if is_me => Some(status.mode.name()),
        _ if status.leader_id == Some(server.sid) => Some("leader"),
        Some(_) if server.role == Role::Observer => Some("observer"),
        Some(_) => Some("follower"),
        // A leader has a connection of each learner.
        None if status.serving && status.mode == Mode::Leader => Some("away"),
        None => None,
    };
    o.set("id", server.sid);
    o.set("line", if server.role == Role::Observer { "observer" } else { "participant" });
    o.set("address", server.addresses.first().map(|at| place(&at.host, at.quorum_port)));
    o.set("client_address", client_address(server));
    o.set("is_me", is_me);
    o.set("state", state);
    if is_me {
        o.set("zxid", format!("{:#x}", status.zxid.to_wire()));
    }
    if let Some(seen) = seen {
        o.set("in_step", seen.is_in_step);
        o.set("zxid", (seen.last > Zxid::ZERO).then(|| format!("{:#x}", seen.last.to_wire())));
        o.set("lag", lag(seen, status.zxid));
        o.set("heard_ms_ago", seen.heard_ms_ago);
    }
}

/// Txns that a learner lacks; `None` while it lacks some of an earlier epoch. One in step lacks none of those.
fn lag(seen: &LearnerSeen, zxid: Zxid) -> Option<u32> {
    let is_of_epoch = seen.last.epoch() == zxid.epoch();
    let last = if is_of_epoch { seen.last.counter() } else { 0 };
    (is_of_epoch || seen.is_in_step).then(|| zxid.counter().saturating_sub(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Ensemble, PeerAddress};

    fn member(id: i64) -> Member {
        let server = |sid: i64| Server {
            sid,
            addresses: vec![PeerAddress { host: format!("h{sid}"), quorum_port: 2888, election_port: 3888 }],
            role: if sid == 4 { Role::Observer } else { Role::Participant },
            client: None,
        };
        let servers = (1..=4).map(|sid| (sid, server(sid))).collect();
        Member { id, ensemble: Ensemble { servers, ..Ensemble::default() } }
    }

    fn states(status: &Status, id: i64) -> Vec<String> {
        let text = String::from_utf8(ensemble("v", status, Some(&member(id)))).expect("UTF-8");
        let lines = text.lines().map(str::trim);
        lines
            .filter_map(|line| line.strip_prefix("\"state\" : "))
            .map(|s| s.trim_end_matches(',').to_owned())
            .collect()
    }

    /// A leader knows its learners and who is away; a follower knows itself and its leader; a server that looks knows itself.
    #[test]
    fn what_a_server_knows() {
        let seen = |sid| LearnerSeen { sid, is_in_step: true, last: Zxid::new(1, 7), heard_ms_ago: 3 };
        let leader = Status {
            serving: true,
            mode: Mode::Leader,
            leader_id: Some(1),
            zxid: Zxid::new(1, 9),
            learners: vec![seen(2), seen(4)],
            ..Status::default()
        };
        let expected = ["\"leader\"", "\"leader\"", "\"follower\"", "\"away\"", "\"observer\""];
        assert_eq!(states(&leader, 1), expected);
        let text = String::from_utf8(ensemble("v", &leader, Some(&member(1)))).expect("UTF-8");
        assert!(text.contains("\"lag\" : 2,"), "{text}");
        assert_eq!(lag(&LearnerSeen { last: Zxid::new(0, 99), ..seen(2) }, leader.zxid), Some(9));
        let behind = LearnerSeen { last: Zxid::new(0, 99), is_in_step: false, ..seen(2) };
        assert_eq!(lag(&behind, leader.zxid), None);
        let follower =
            Status { serving: true, mode: Mode::Follower, leader_id: Some(3), ..Status::default() };
        assert_eq!(states(&follower, 1), ["\"follower\"", "\"follower\"", "null", "\"leader\"", "null"]);
        assert_eq!(states(&Status::default(), 1), ["\"looking\"", "\"looking\"", "null", "null", "null"]);
    }
}
