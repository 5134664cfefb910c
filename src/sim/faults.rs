//! Faults: what goes wrong with servers, wires and disks, and how it ends.

use super::cluster::Cluster;
use super::event::{Event, Fault, Machine};
use super::mutation::Mutation;
use super::stop::Stop;
use std::collections::BTreeSet;

impl Cluster {
    /// A fault ends.
    pub(super) fn heal(&mut self, fault: Fault) {
        self.trace(|_| format!("ends: {fault:?}"));
        match fault {
            Fault::Cut(_) if self.mutation == Some(Mutation::StayCut) => {}
            Fault::Cut(wires) => self.net.heal(&wires),
            Fault::Slow => self.net.delay_us = self.settings.delay_us,
            Fault::FullDisk(server) => self.servers[server].disk.set_blocks_max(None),
        }
    }

    /// Cuts wires, for a while.
    pub fn cut(&mut self, wires: BTreeSet<(Machine, Machine)>, for_us: u64) {
        self.trace(|_| format!("cut for {for_us}: {wires:?}"));
        self.net.cut.extend(&wires);
        self.net.after(for_us, Event::Heal(Fault::Cut(wires)));
    }

    /// The wires between two groups of machines, both ways.
    pub fn between(a: &[Machine], b: &[Machine]) -> BTreeSet<(Machine, Machine)> {
        let ways = a.iter().flat_map(|a| b.iter().flat_map(move |b| [(*a, *b), (*b, *a)]));
        ways.filter(|(a, b)| a != b).collect()
    }

    /// Something goes wrong.
    pub(super) fn fault(&mut self) {
        let every_us = self.settings.fault_every_us;
        if self.net.now_us >= self.settings.faults_us {
            return;
        }
        let next_us = self.net.random.below(2 * every_us);
        self.net.after(1 + next_us, Event::Fault);
        let servers = self.servers.len() as u64;
        let machines = (self.servers.len() + self.clients.len()) as u64;
        let random = &mut self.net.random;
        let server = random.below(servers) as usize;
        // The leader is where it hurts.
        let leader = self.leader().filter(|_| self.net.random.one_in(3));
        let server = leader.unwrap_or(server);
        let random = &mut self.net.random;
        let how = if random.one_in(2) { Stop::Killed } else { Stop::PowerOff };
        let back_us = 20_000 + random.below(1_500_000);
        let long_us = 50_000 + {
            let longest_us = [200_000, 1_000_000, 4_000_000][random.below(3) as usize];
            random.below(longest_us)
        };
        let kinds = if self.settings.disk_faults { 17 } else { 13 };
        match random.below(kinds) {
            0 => {
                self.stop(server, how);
                self.net.after(back_us, Event::Start(server));
            }
            1..=3 => {
                let steps = random.below(60);
                self.servers[server].fuse = Some((steps, how));
            }
            4 => {
                self.trace(|_| format!("server {} stands still for {long_us}", server + 1));
                self.stall(server, long_us);
            }
            5 => {
                // One server from all others, both ways or one.
                let others: Vec<Machine> = (0..servers as usize).filter(|other| *other != server).collect();
                let mut wires = Self::between(&[server], &others);
                match self.net.random.below(3) {
                    0 => wires.retain(|(from, _)| *from == server),
                    1 => wires.retain(|(_, to)| *to == server),
                    _ => {}
                }
                self.cut(wires, long_us);
            }
            6 => {
                let (a, b): (Vec<Machine>, Vec<Machine>) =
                    (0..machines as usize).partition(|_| self.net.random.one_in(2));
                self.cut(Self::between(&a, &b), long_us);
            }
            7 => {
                let other = random.below(servers) as usize;
                let mut wires = Self::between(&[server], &[other]);
                if random.one_in(2) {
                    wires.retain(|(from, _)| *from == server);
                }
                self.cut(wires, long_us);
            }
            8..=9 => {
                let numbers = self.net.connection_numbers();
                if !numbers.is_empty() {
                    let number = numbers[self.net.random.below(numbers.len() as u64) as usize];
                    self.trace(|_| format!("connection {number} breaks"));
                    self.net.break_connection(number);
                }
            }
            10 => {
                let (min, max) = self.settings.delay_us;
                self.net.delay_us = (min, max * (2 + random.below(20)));
                self.net.after(long_us, Event::Heal(Fault::Slow));
            }
            11 => {
                let jump_ms = random.below(20_000) as i64 - 10_000;
                let of = &mut self.servers[server];
                of.latest_wall_ms = of.latest_wall_ms.max(of.now(self.net.now_us).wall_ms);
                of.wall_offset_ms += jump_ms;
            }
            12 => {
                // Everybody at once.
                for server in 0..servers as usize {
                    self.stop(server, how);
                    let back_us = 20_000 + self.net.random.below(500_000);
                    self.net.after(back_us, Event::Start(server));
                }
            }
            13 => {
                let disk = &self.servers[server].disk;
                let blocks = disk.blocks() + random.below(10) as usize;
                disk.set_blocks_max(Some(blocks));
                self.trace(|_| format!("the disk of server {} has {blocks} blocks", server + 1));
                self.net.after(back_us, Event::Heal(Fault::FullDisk(server)));
            }
            14 => {
                let flushes = random.below(20);
                self.servers[server].disk.fail_flush_after(flushes);
            }
            15 => {
                let operations = random.below(30);
                self.servers[server].disk.power_off_after(operations);
            }
            _ => {
                // One server's at most: what is on one disk only is not durable.
                let server = self.rotten.unwrap_or(server);
                self.stop(server, Stop::Killed);
                self.rots(server);
                self.net.after(back_us, Event::Start(server));
            }
        }
    }

    /// A bit flips on a server's disk, while it is down.
    pub fn rots(&mut self, server: usize) {
        self.rotten = Some(server);
        let seed = self.net.random.draw();
        let damaged = self.servers[server].disk.damage(seed);
        self.trace(|_| format!("the disk of server {} rots: {damaged:?}", server + 1));
    }

    /// All faults end.
    pub fn calm_down(&mut self) {
        self.trace(|_| "faults end".to_owned());
        self.settings.fault_every_us = 0;
        let cut = self.net.cut.clone();
        if self.mutation != Some(Mutation::StayCut) {
            self.net.heal(&cut);
        }
        self.net.delay_us = self.settings.delay_us;
        self.stop_at = None;
        for server in 0..self.servers.len() {
            self.servers[server].fuse = None;
            self.servers[server].disk.set_blocks_max(None);
            self.servers[server].disk.call_off();
            if self.servers[server].process.is_none() {
                self.net.after(1, Event::Start(server));
            }
        }
    }
}
