//! Faults: what goes wrong with servers, wires and disks, and how it ends.

use super::cluster::Cluster;
use super::event::{Event, Fault, Inside, Machine};
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

    /// Something goes wrong, and the time of the next fault is drawn.
    pub(super) fn fault(&mut self) {
        if self.net.now_us >= self.settings.faults_us {
            return;
        }
        let next_us = self.net.random.below(2 * self.settings.fault_every_us);
        self.net.after(1 + next_us, Event::Fault);
        let server = self.any_server();
        let random = &mut self.net.random;
        let how = if random.one_in(2) { Stop::Killed } else { Stop::PowerOff };
        let back_us = 20_000 + random.below(1_500_000);
        let longest_us = [200_000, 1_000_000, 4_000_000][random.below(3) as usize];
        let long_us = 50_000 + random.below(longest_us);
        // Long enough for it to be read.
        if self.settings.read_only_mode && random.one_in(5) {
            let for_us = 2_500_000 + random.below(3_000_000);
            return self.cut_from_all(server, for_us);
        }
        let kinds = match (self.settings.disk_faults, self.settings.reconfigures) {
            (false, _) => 13,
            // One or two voters do not go on without what one of them had.
            (true, true) => 16,
            (true, false) => 17,
        };
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
            5 => self.cut_from_all(server, long_us),
            6 => self.cut_in_two(long_us),
            7 => self.cut_from_one(server, long_us),
            8..=9 => self.break_some_connection(),
            10 => self.slow_down(long_us),
            11 => self.jump_wall_clock(server),
            12 => self.stop_all(how),
            13 => self.fill_disk(server, back_us),
            14 => {
                let flushes = random.below(20);
                self.servers[server].disk.fail_flush_after(flushes);
            }
            15 => {
                let operations = random.below(30);
                self.servers[server].disk.power_off_after(operations);
            }
            _ => self.rots_while_down(server, back_us),
        }
    }

    /// Some server, mostly the leader, is asked to hand over, to some server or to any. When that is next is
    /// drawn.
    pub(super) fn hand_over_some(&mut self) {
        if self.net.now_us >= self.settings.faults_us {
            return;
        }
        let next_us = self.net.random.below(2 * self.settings.hand_over_every_us);
        self.net.after(1 + next_us, Event::HandOver);
        let some = self.net.random.below(self.servers.len() as u64) as usize;
        let asked = if self.net.random.one_in(10) { some } else { self.leader().unwrap_or(some) };
        let to = self.net.random.one_in(3).then_some(some as i64 + 1);
        self.hand_over(asked, to);
    }

    /// A server is asked to hand over.
    pub fn hand_over(&mut self, server: usize, to: Option<i64>) {
        self.trace(|_| format!("server {} is asked to hand over to {to:?}", server + 1));
        let of = &self.servers[server];
        let (incarnation, what) = (of.incarnation, Inside::HandOver(to));
        self.net.after(1, Event::Inside { server, incarnation, what });
    }

    /// The server that a fault concerns. In one case of three it is the leader, whose faults matter most.
    fn any_server(&mut self) -> usize {
        let server = self.net.random.below(self.servers.len() as u64) as usize;
        self.leader().filter(|_| self.net.random.one_in(3)).unwrap_or(server)
    }

    /// Cuts one server from all others, both ways or one.
    fn cut_from_all(&mut self, server: usize, for_us: u64) {
        let others: Vec<Machine> = (0..self.servers.len()).filter(|other| *other != server).collect();
        let mut wires = Self::between(&[server], &others);
        match self.net.random.below(3) {
            0 => wires.retain(|(from, _)| *from == server),
            1 => wires.retain(|(_, to)| *to == server),
            _ => {}
        }
        self.cut(wires, for_us);
    }

    /// Cuts all machines, clients' too, into two groups.
    fn cut_in_two(&mut self, for_us: u64) {
        let machines = self.servers.len() + self.clients.len();
        let (a, b): (Vec<Machine>, Vec<Machine>) = (0..machines).partition(|_| self.net.random.one_in(2));
        self.cut(Self::between(&a, &b), for_us);
    }

    /// Cuts one server from another one, both ways or one.
    fn cut_from_one(&mut self, server: usize, for_us: u64) {
        let other = self.net.random.below(self.servers.len() as u64) as usize;
        let mut wires = Self::between(&[server], &[other]);
        if self.net.random.one_in(2) {
            wires.retain(|(from, _)| *from == server);
        }
        self.cut(wires, for_us);
    }

    /// Breaks one of all connections, if there is any.
    fn break_some_connection(&mut self) {
        let numbers = self.net.connection_numbers();
        if !numbers.is_empty() {
            let number = numbers[self.net.random.below(numbers.len() as u64) as usize];
            self.trace(|_| format!("connection {number} breaks"));
            self.net.break_connection(number);
        }
    }

    /// Bytes may be under way 2 to 21 times as long as usual.
    fn slow_down(&mut self, for_us: u64) {
        let (min, max) = self.settings.delay_us;
        self.net.delay_us = (min, max * (2 + self.net.random.below(20)));
        self.net.after(for_us, Event::Heal(Fault::Slow));
    }

    /// A server's wall clock jumps by up to 10 s, either way.
    fn jump_wall_clock(&mut self, server: usize) {
        let jump_ms = self.net.random.below(20_000) as i64 - 10_000;
        let of = &mut self.servers[server];
        of.latest_wall_ms = of.latest_wall_ms.max(of.now(self.net.now_us).wall_ms);
        of.wall_offset_ms += jump_ms;
    }

    /// Stops all servers at once; each starts again after a time of its own.
    fn stop_all(&mut self, how: Stop) {
        for server in 0..self.servers.len() {
            self.stop(server, how);
            let back_us = 20_000 + self.net.random.below(500_000);
            self.net.after(back_us, Event::Start(server));
        }
    }

    /// Leaves a server's disk fewer than 10 free blocks.
    fn fill_disk(&mut self, server: usize, for_us: u64) {
        let disk = &self.servers[server].disk;
        let blocks = disk.blocks() + self.net.random.below(10) as usize;
        disk.set_blocks_max(Some(blocks));
        self.trace(|_| format!("the disk of server {} has {blocks} blocks", server + 1));
        self.net.after(for_us, Event::Heal(Fault::FullDisk(server)));
    }

    /// Stops a server, whose disk rots before it starts again. One server's disk rots at most: what is on one disk only is
    /// not durable.
    fn rots_while_down(&mut self, server: usize, for_us: u64) {
        let server = self.rotten.unwrap_or(server);
        self.stop(server, Stop::Killed);
        self.rots(server);
        self.net.after(for_us, Event::Start(server));
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
