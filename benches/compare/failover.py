#!/usr/bin/env python3
"""How long no client can write after the leader dies, and how long a write takes while it stops: two services in turn.

    ZKFAST_ZOOKEEPER_LIB=DIR benches/compare/failover.py           # ZooKeeper against zkfast, 30 rounds
    benches/compare/failover.py --a zkfast --b zkfast=OTHER/zkfast --rounds 10

Both services run all the time, each of `--servers` servers in the same configuration (tickTime 2000). A session per
server writes one setData after the other, 2 ms apart; when its connection ends it continues at once, with the same
session, on the next server that takes it. In each round, for each service in turn, the leader gets SIGKILL and is
started again; once all servers serve, the leader of that time gets SIGTERM and is started again.

    next write     from the signal to the reply to the first successful write that any session sent after it
    longest write  from the moment when a session wants to write to the reply, with all attempts and new connections
                   between them; the slowest of all sessions of a round

The figures go to runs.jsonl (the environment first) and summary.txt, as in compare.py.
"""

import signal
import statistics
import sys
import threading
import time

import compare
from session import CLOSE, Connection, Lost, create, set_data

PATH = "/failover"
# Between two writes of a session.
PAUSE_S = 0.002
# Sessions write for this long before the signal, and after the first success.
BEFORE_S = 0.5
AFTER_S = 1.5
# The program gives up if no session can write for this long after a leader's end.
ROUND_S_MAX = 120


class Writer(threading.Thread):
    """A session that begins on one server and writes until `stopping` is set."""

    def __init__(self, ports, first):
        super().__init__(daemon=True)
        self.ports = ports[first:] + ports[:first]
        self.path = f"{PATH}-{first}"
        self.connection = None
        self.session = None
        self.last_zxid = 0
        self.expired = 0
        self.writes = []  # (wanted, last attempt sent, done)
        self.stopping = threading.Event()

    def run(self):
        self.until_done(*create(self.path, b""))
        self.writes.clear()
        while not self.stopping.is_set():
            self.until_done(*set_data(self.path, bytes(100)))
            time.sleep(PAUSE_S)
        if self.connection:
            try:
                self.connection.call(CLOSE, b"")
            except Lost:
                pass
            self.connection.close()

    def until_done(self, op, body):
        wanted = time.monotonic()
        while not self.stopping.is_set():
            try:
                if not self.connection:
                    self.connect()
                sent = time.monotonic()
                zxid, code = self.connection.call(op, body)
                if code in (0, -110):
                    self.last_zxid = max(self.last_zxid, zxid)
                    self.writes.append((wanted, sent, time.monotonic()))
                    return
                if code not in (-112, -118):
                    sys.exit(f"setData: code {code}")
                raise Lost
            except Lost:
                if self.connection:
                    self.connection.close()
                self.connection = None
                self.ports.append(self.ports.pop(0))
                time.sleep(0.001)

    def connect(self):
        connection = Connection(self.ports[0], self.session, self.last_zxid)
        if connection.session is None:
            self.expired += 1
            self.session, self.last_zxid = None, 0
            connection.close()
            raise Lost
        self.connection, self.session = connection, connection.session


def one(service, how):
    """Ends the leader and measures what the writers notice."""
    leader = service.leader()
    ports = [server.port for server in service.servers]
    writers = [Writer(ports, first) for first in range(len(ports))]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + ROUND_S_MAX
    while not all(writer.writes for writer in writers):
        if time.monotonic() > deadline:
            sys.exit(f"{service.label}: not all servers take writes")
        time.sleep(0.01)
    time.sleep(BEFORE_S)
    ended = time.monotonic()
    leader.process.send_signal(how)
    while not all(writer.writes[-1][1] > ended for writer in writers):
        if time.monotonic() > ended + ROUND_S_MAX:
            sys.exit(f"{service.label}: no write within {ROUND_S_MAX} s after the leader's end")
        time.sleep(0.01)
    time.sleep(AFTER_S)
    for writer in writers:
        writer.stopping.set()
    for writer in writers:
        writer.join()
    leader.process.wait(compare.STOP_WAIT_S)
    leader.log.close()
    on_leader = service.servers.index(leader)
    after = [done for writer in writers for wanted, sent, done in writer.writes if sent > ended]
    longest = [max(done - wanted for wanted, _, done in writer.writes if done > ended) for writer in writers]
    result = {
        "what": how.name,
        "label": service.label,
        "next_write_ms": (min(after) - ended) * 1000,
        "longest_write_ms": max(longest) * 1000,
        "longest_write_ms_of_followers_sessions": max(
            time_s for number, time_s in enumerate(longest) if number != on_leader) * 1000,
        "writes": sum(len(writer.writes) for writer in writers),
        "sessions_expired": sum(writer.expired for writer in writers),
    }
    begun = time.monotonic()
    leader.start()
    service.wait()
    result["all_serve_after_restart_ms"] = (time.monotonic() - begun) * 1000
    return result


def summary(runs, labels):
    lines = [f"{'':<9} {'':<26} " + " ".join(f"{label + ' median':>20} {'worst':>9}" for label in labels)]
    for how in ("SIGKILL", "SIGTERM"):
        for heading, key in (
            ("next write ms", "next_write_ms"),
            ("longest write ms", "longest_write_ms"),
            ("... not on the leader ms", "longest_write_ms_of_followers_sessions"),
            ("all serve after restart ms", "all_serve_after_restart_ms"),
            ("sessions expired", "sessions_expired"),
        ):
            if how == "SIGTERM" and key == "next_write_ms":
                # A leader that gets SIGTERM may still take writes.
                continue
            line = f"{how:<9} {heading:<26} "
            for label in labels:
                values = [run[key] for run in runs if run["label"] == label and run["what"] == how]
                line += f" {compare.number(statistics.median(values)):>20} {compare.number(max(values)):>9}"
            lines.append(line)
    return "\n".join(lines)


def measure(args, labels, directory, out):
    with compare.collected(args, labels, directory, out, summary) as (services, report):
        for turn in range(args.rounds):
            for service in services:
                for how in (signal.SIGKILL, signal.SIGTERM):
                    run = {**one(service, how), "round": turn}
                    report(run, f"round {turn + 1} {service.label} {how.name}: "
                                f"next write {run['next_write_ms']:.0f} ms, longest {run['longest_write_ms']:.0f} ms")


def main():
    parser = compare.arguments(__doc__, rounds=30, servers=3)
    args = parser.parse_args()
    if args.servers < 3:
        parser.error("a service that survives its leader has three servers or more")
    compare.conduct(parser, args, measure)


if __name__ == "__main__":
    main()
