//! Connections like TCP's, and what is due when.
//!
//! Bytes arrive in order, cut anywhere, or not at all. A process that dies closes its connections; a machine without
//! power, and a wire that is cut, say nothing: what was sent over a cut wire arrives once it is whole again, unless the
//! connection ended meanwhile.

use super::Random;
use super::event::{Arrival, Event, Machine, Socket, Who};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Debug)]
struct End {
    machine: Machine,
    who: Who,
    is_open: bool,
    /// When the last that is under way to it arrives.
    last_us: u64,
    /// Arrived over a wire that is cut.
    stuck: VecDeque<Arrival>,
}

#[derive(Clone, Debug)]
struct Connection {
    ends: [End; 2],
    /// Everything under way is lost.
    is_broken: bool,
}

/// The wires, and the order of all that happens.
#[derive(Debug)]
pub(crate) struct Net {
    /// Microseconds since the beginning, which no machine's clock says.
    pub now_us: u64,
    pub random: Random,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    /// From, to: nothing arrives.
    pub cut: BTreeSet<(Machine, Machine)>,
    /// Bounds of how long bytes are under way.
    pub delay_us: (u64, u64),
    /// What came through.
    pub bytes: u64,
}

impl Net {
    pub fn new(random: Random, delay_us: (u64, u64)) -> Self {
        Self {
            now_us: 0,
            random,
            queue: BTreeMap::new(),
            sequence: 0,
            connections: BTreeMap::new(),
            next_connection: 1,
            cut: BTreeSet::new(),
            delay_us,
            bytes: 0,
        }
    }

    pub fn at(&mut self, at_us: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((at_us.max(self.now_us), self.sequence), event);
    }

    pub fn after(&mut self, delay_us: u64, event: Event) {
        self.at(self.now_us + delay_us, event);
    }

    /// The next event, if it is due by `until_us`; time goes on to it.
    pub fn next(&mut self, until_us: u64) -> Option<Event> {
        let (&(at_us, sequence), _) = self.queue.first_key_value()?;
        if at_us > until_us {
            self.now_us = until_us;
            return None;
        }
        self.now_us = at_us;
        self.queue.remove(&(at_us, sequence))
    }

    fn delay(&mut self) -> u64 {
        let (min, max) = self.delay_us;
        min + self.random.below(max - min + 1)
    }

    fn arrives(&mut self, (number, side): Socket, arrival: Arrival) {
        let delay = self.delay();
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let end = &mut connection.ends[side];
        end.last_us = end.last_us.max(self.now_us + delay);
        let at = end.last_us;
        self.at(at, Event::Net { socket: (number, side), arrival });
    }

    /// Begins to connect; this end is side 0.
    pub fn dial(&mut self, from: (Machine, Who), to: (Machine, Who)) -> Socket {
        let number = self.next_connection;
        self.next_connection += 1;
        let end = |(machine, who), is_open| End { machine, who, is_open, last_us: 0, stuck: VecDeque::new() };
        let ends = [end(from, true), end(to, false)];
        self.connections.insert(number, Connection { ends, is_broken: false });
        self.arrives((number, 1), Arrival::Dial);
        (number, 0)
    }

    /// Whose end it is.
    pub fn whose(&self, (number, side): Socket) -> Option<(Machine, Who)> {
        let end = &self.connections.get(&number)?.ends[side];
        Some((end.machine, end.who))
    }

    pub fn is_open(&self, (number, side): Socket) -> bool {
        self.connections.get(&number).is_some_and(|connection| connection.ends[side].is_open)
    }

    /// The other end is taken: both are open.
    pub fn accept(&mut self, (number, side): Socket) {
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.ends[side].is_open = true;
            self.arrives((number, 1 - side), Arrival::Connected);
        }
    }

    /// No process is there.
    pub fn refuse(&mut self, (number, side): Socket) {
        self.arrives((number, 1 - side), Arrival::Closed);
    }

    pub fn send(&mut self, (number, side): Socket, bytes: Bytes) {
        let Some(connection) = self.connections.get(&number) else { return };
        if !connection.ends[side].is_open {
            return;
        }
        self.bytes += bytes.len() as u64;
        // What a socket takes at once need not be a frame.
        let mut rest = bytes;
        while rest.len() > 1 && self.random.one_in(6) {
            let piece = rest.split_to(1 + self.random.below(rest.len() as u64 - 1) as usize);
            self.arrives((number, 1 - side), Arrival::Bytes(piece));
        }
        self.arrives((number, 1 - side), Arrival::Bytes(rest));
    }

    /// This end is closed; the other one hears of it after all that was sent.
    pub fn close(&mut self, (number, side): Socket) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if std::mem::replace(&mut connection.ends[side].is_open, false) {
            self.arrives((number, 1 - side), Arrival::Closed);
        }
        self.forget(number);
    }

    /// This end is gone, and the other is not told.
    pub fn vanish(&mut self, (number, side): Socket) {
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.ends[side].is_open = false;
        }
        self.forget(number);
    }

    fn forget(&mut self, number: u64) {
        if self.connections.get(&number).is_some_and(|of| of.ends.iter().all(|end| !end.is_open)) {
            self.connections.remove(&number);
        }
    }

    /// All open sockets of a machine.
    pub fn sockets(&self, machine: Machine) -> Vec<Socket> {
        let ends = self.connections.iter().flat_map(|(number, of)| {
            let open = |side: &usize| of.ends[*side].machine == machine && of.ends[*side].is_open;
            (0..2).filter(open).map(|side| (*number, side)).collect::<Vec<_>>()
        });
        ends.collect()
    }

    /// Both ends lose it, and what is under way.
    pub fn break_connection(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.is_broken = true;
        connection.ends.iter_mut().for_each(|end| end.stuck.clear());
        for side in 0..2 {
            self.arrives((number, side), Arrival::Closed);
        }
    }

    pub fn connection_numbers(&self) -> Vec<u64> {
        self.connections.keys().copied().collect()
    }

    /// Whether an arrival may be handled now: it is lost with a broken connection and stuck before a cut wire.
    pub fn passes(&mut self, (number, side): Socket, arrival: &Arrival) -> bool {
        let Some(connection) = self.connections.get_mut(&number) else { return false };
        let [from, to] = [connection.ends[1 - side].machine, connection.ends[side].machine];
        if connection.is_broken {
            return matches!(arrival, Arrival::Closed);
        }
        // Both ways: a connection begins with answers. A way back that is cut alone delays nothing that was sent.
        let is_cut = match arrival {
            Arrival::Dial | Arrival::Connected => {
                self.cut.contains(&(from, to)) || self.cut.contains(&(to, from))
            }
            _ => self.cut.contains(&(from, to)),
        };
        let end = &mut connection.ends[side];
        if is_cut || !end.stuck.is_empty() {
            end.stuck.push_back(arrival.clone());
            return false;
        }
        true
    }

    /// The next of what is stuck at an end, if its wire is whole.
    pub fn unstick(&mut self, (number, side): Socket) -> Option<Arrival> {
        let connection = self.connections.get_mut(&number)?;
        let [from, to] = [connection.ends[1 - side].machine, connection.ends[side].machine];
        if self.cut.contains(&(from, to)) {
            return None;
        }
        connection.ends[side].stuck.pop_front()
    }

    /// Wires are whole again: what is stuck goes on, or its connection is found to be dead.
    pub fn heal(&mut self, wires: &BTreeSet<(Machine, Machine)>) {
        self.cut.retain(|wire| !wires.contains(wire));
        for number in self.connection_numbers() {
            for side in 0..2 {
                let Some(connection) = self.connections.get_mut(&number) else { continue };
                if connection.ends[side].stuck.is_empty() {
                    continue;
                }
                if self.random.one_in(3) {
                    self.break_connection(number);
                } else {
                    let delay = self.delay();
                    self.after(delay, Event::Unstick((number, side)));
                }
            }
        }
    }

    /// A connection that could not be made in time.
    pub fn give_up(&mut self, number: u64) {
        self.break_connection(number);
    }
}

impl Net {
    /// Bytes came to an end that knows nothing of the connection: the other one is told.
    pub fn reset(&mut self, (number, side): Socket) {
        self.arrives((number, 1 - side), Arrival::Closed);
    }
}
