//! What the servers of an ensemble say at a moment, and whether they are in step.

use super::super::http::{Http, Method};
use super::super::status::{Asking, Server, Told, ask_all};
use super::members::{Member, Members};
use std::fmt::Write as _;
use std::time::Duration;

/// What the servers said.
#[derive(Debug)]
pub struct Survey<'a> {
    /// Each with what it said, or why it said nothing.
    pub servers: Vec<(&'a Member, Result<Told, String>)>,
}

/// The place in a leader's txns which the others must have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goal {
    /// The leader's id.
    pub leader: i64,
    /// What it had when it was asked first.
    pub zxid: u64,
}

impl<'a> Survey<'a> {
    /// Asks all servers at once.
    pub fn take(members: &'a Members, http: &Http, asking: Asking<'_>) -> Self {
        let addresses = members.all.iter().map(|member| (member.address.clone(), Some(member.id))).collect();
        let told = ask_all(addresses, asking).into_iter().map(|Server { told, .. }| told);
        let servers = members.all.iter().zip(told).map(|(member, told)| {
            let told = match told {
                Ok(told) => Ok(with_figures(told, member, http, asking.timeout)),
                Err(why) => by_http(member, http, asking.timeout).ok_or(why),
            };
            (member, told)
        });
        Self { servers: servers.collect() }
    }

    /// What a server said.
    pub fn told(&self, id: i64) -> Option<&Told> {
        let (_, told) = self.servers.iter().find(|(member, _)| member.id == id)?;
        told.as_ref().ok()
    }

    /// What a server is now, or why it is nothing.
    pub fn role(&self, id: i64) -> &str {
        self.told(id).map_or("not serving", |told| &told.mode)
    }

    /// The leader; of two that say so, the one with the newer epoch: the other one has not noticed yet.
    pub fn leader(&self) -> Option<(&'a Member, &Told)> {
        let told = self.servers.iter().filter_map(|(member, told)| Some((*member, told.as_ref().ok()?)));
        told.filter(|(_, told)| told.mode == "leader").max_by_key(|(_, told)| told.zxid >> 32)
    }

    /// Client connections of all.
    pub fn connections(&self) -> u64 {
        self.servers.iter().filter_map(|(_, told)| told.as_ref().ok()).map(|told| told.connections).sum()
    }

    /// What keeps the voters and server `also` from being in step with the leader; empty if nothing does. Another leader makes
    /// another `goal`.
    pub fn faults(&self, goal: &mut Option<Goal>, also: Option<i64>) -> Vec<String> {
        let Some((leader, leads)) = self.leader() else { return vec!["no server leads".to_owned()] };
        let goal = match *goal {
            Some(known) if known.leader == leader.id && known.zxid >> 32 == leads.zxid >> 32 => known,
            _ => *goal.insert(Goal { leader: leader.id, zxid: leads.zxid }),
        };
        let wanted = self.servers.iter().filter(|(member, _)| member.is_voter || Some(member.id) == also);
        let mut faults: Vec<String> = wanted
            .filter_map(|(member, told)| Some(format!("{member} {}", lacks(member, told, goal)?)))
            .collect();
        let voters = self.servers.iter().filter(|(member, _)| member.is_voter).count() as u64;
        if let Some(synced) = leads.synced_followers.filter(|synced| faults.is_empty() && synced + 1 < voters)
        {
            faults.push(format!("{leader} leads and counts {synced} of {} followers in step", voters - 1));
        }
        faults
    }

    /// One line for people: who leads, who is in step, who is not and why.
    pub fn summary(&self) -> String {
        let mut text = match self.leader() {
            Some((leader, told)) => format!("leader {leader}, zxid {:#x}", told.zxid),
            None => "no leader".to_owned(),
        };
        let goal = self.leader().map(|(leader, told)| Goal { leader: leader.id, zxid: told.zxid });
        for (member, told) in &self.servers {
            let state = match (goal.and_then(|goal| lacks(member, told, goal)), told) {
                (Some(why), _) => why,
                (None, Ok(told)) => format!("is {}", told.mode),
                (None, Err(why)) => format!("does not serve ({why})"),
            };
            // Writing into a String does not fail.
            let _ = write!(text, "; {member} {state}");
        }
        text
    }
}

/// What a server lacks to be in step.
fn lacks(member: &Member, told: &Result<Told, String>, goal: Goal) -> Option<String> {
    match told {
        Err(why) => Some(format!("does not serve ({why})")),
        Ok(told) if told.mode == "leader" && member.id != goal.leader => {
            Some("says that it leads, of an older epoch".to_owned())
        }
        Ok(told) if !matches!(told.mode.as_str(), "leader" | "follower" | "observer") => {
            Some(format!("is {}", told.mode))
        }
        // A follower shows an epoch with its first txn; that it serves says that it has all that was before.
        Ok(told) if told.zxid < goal.zxid && goal.zxid & 0xffff_ffff != 0 => {
            Some(format!("has zxid {:#x}, the leader {:#x}", told.zxid, goal.zxid))
        }
        Ok(_) => None,
    }
}

/// What a leader says that serves no clients (`leaderServes=no`): its client port answers no word.
fn by_http(member: &Member, http: &Http, timeout: Duration) -> Option<Told> {
    let (_, answer) = http.json(member.http.as_deref()?, Method::Get, "server_stats", timeout).ok()?;
    let stats = &answer["server_stats"];
    let told = Told {
        mode: stats["server_state"].as_str()?.to_owned(),
        zxid: stats["last_processed_zxid"].as_u64()?,
        connections: stats["num_alive_client_connections"].as_u64()?,
        ..Told::default()
    };
    (told.mode == "leader").then(|| with_figures(told, member, http, timeout))
}

/// What `mntr` would say, by HTTP where the whitelist leaves that out.
fn with_figures(told: Told, member: &Member, http: &Http, timeout: Duration) -> Told {
    let Some(port) = member.http.as_deref().filter(|_| told.uptime_ms.is_none()) else { return told };
    let Ok((200, monitor)) = http.json(port, Method::Get, "monitor", timeout) else { return told };
    let figure = |name: &str| monitor[name].as_u64();
    Told { uptime_ms: figure("uptime"), synced_followers: figure("synced_followers"), ..told }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Vec<Member> {
        let member = |id| Member { id, address: format!("zk{id}:2181"), http: None, is_voter: id < 4 };
        (1..=4).map(member).collect()
    }

    fn told(mode: &str, zxid: u64, synced_followers: Option<u64>) -> Result<Told, String> {
        Ok(Told { mode: mode.to_owned(), zxid, synced_followers, ..Told::default() })
    }

    /// A server in step serves, and has what the leader had when it was asked first; an observer matters only where it is
    /// the one that was restarted.
    #[test]
    fn in_step() {
        let members = members();
        const LED: u64 = 0x2_0000_0010;
        let leads = |synced| told("leader", LED, synced);
        let follows = |zxid| told("follower", zxid, None);
        let gone = || Err("Connection refused".to_owned());
        let cases = [
            (leads(Some(2)), follows(LED), follows(LED + 1), gone(), None, vec![]),
            (leads(None), follows(LED), follows(LED), gone(), None, vec![]),
            (
                leads(Some(2)),
                follows(LED),
                follows(LED),
                gone(),
                Some(4),
                vec!["zk4:2181 (server 4) does not serve"],
            ),
            (leads(Some(2)), follows(LED), follows(LED), told("observer", LED, None), Some(4), vec![]),
            (
                leads(Some(2)),
                follows(LED - 1),
                gone(),
                gone(),
                None,
                vec!["zk2:2181 (server 2) has zxid", "server 3"],
            ),
            (leads(Some(1)), follows(LED), follows(LED), gone(), None, vec!["counts 1 of 2 followers"]),
            (leads(Some(2)), follows(LED), told("read-only", LED, None), gone(), None, vec!["is read-only"]),
            (
                leads(Some(2)),
                follows(LED),
                told("leader", 1 << 32, None),
                gone(),
                None,
                vec!["an older epoch"],
            ),
            (gone(), follows(LED), follows(LED), gone(), None, vec!["no server leads"]),
            // Followers of an epoch without txns show the one before.
            (told("leader", 3 << 32, Some(2)), follows(LED), follows(LED), gone(), None, vec![]),
        ];
        for (number, (one, two, three, four, also, expected)) in cases.into_iter().enumerate() {
            let servers = members.iter().zip([one, two, three, four]).collect();
            let faults = Survey { servers }.faults(&mut None, also);
            assert_eq!(faults.len(), expected.len(), "case {number}: {faults:?}");
            assert!(
                faults.iter().zip(expected).all(|(fault, part)| fault.contains(part)),
                "{number}: {faults:?}"
            );
        }
    }

    /// The goal stays while its leader does, so that followers of a busy leader reach it.
    #[test]
    fn goals_stay() {
        let members = members();
        let survey = |zxid, of_follower, leader: usize| {
            let servers = members.iter().map(|member| match member.id {
                id if id == leader as i64 => (member, told("leader", zxid, None)),
                _ => (member, told("follower", of_follower, None)),
            });
            Survey { servers: servers.collect() }
        };
        let mut goal = None;
        assert_eq!(survey(0x1_0000_0064, 0x1_0000_0060, 1).faults(&mut goal, None).len(), 2);
        assert_eq!(survey(0x1_0000_00c8, 0x1_0000_0064, 1).faults(&mut goal, None).len(), 0);
        assert_eq!(
            survey(0x2_0000_0001, 0x1_0000_00c8, 2).faults(&mut goal, None).len(),
            2,
            "another leader"
        );
        assert_eq!(goal, Some(Goal { leader: 2, zxid: 0x2_0000_0001 }));
    }
}
