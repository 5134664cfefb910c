#!/usr/bin/env python3
"""A follower returns after it has missed writes: time and bytes until it has them; two services in turn.

    ZKFAST_ZOOKEEPER_LIB=DIR benches/compare/resync.py             # ZooKeeper against zkfast
    benches/compare/resync.py --znodes 10000 --writes 50000 --rounds 1

In each round, for each service in turn: a follower gets SIGTERM and is started again at once, which shows the cost of a
start alone; then it gets SIGTERM, `--writes` setDatas go all over a tree of `--znodes` znodes of 100 bytes, and it is
started again. It has caught up when its `srvr` has the leader's zxid, which no write raises meanwhile.

    serves after   from the start of the process to its first answer with a mode
    caught up      from the start of the process to the leader's zxid
    received       bytes that it received on its connection to the leader until then (`ss`, of iproute2)
    written        bytes that the process wrote to the disk until then
    CPU            of the follower and of the leader from the start to then

The figures go to runs.jsonl (the environment first) and summary.txt, as in compare.py.
"""

import itertools
import os
import re
import statistics
import subprocess
import sys
import time

import compare
from session import CLOSE, Connection, create, set_data

CATCH_UP_S_MAX = 300
# Writes in flight.
IN_FLIGHT = 1000


def usage(process):
    """CPU time in ms and bytes written to the disk, since the process began."""
    with open(f"/proc/{process.pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    io = dict(line.split(": ") for line in open(f"/proc/{process.pid}/io", encoding="utf-8").read().splitlines())
    return ticks * 1000 / os.sysconf("SC_CLK_TCK"), int(io["write_bytes"]) - int(io["cancelled_write_bytes"])


def received(process, port):
    """Bytes that `process` has received from the quorum port `port`; None if ss does not report them."""
    done = subprocess.run(["ss", "-tinpHO", "dport", "=", f":{port}"], capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        found = re.search(r"bytes_received:(\d+)", line)
        if f"pid={process.pid}," in line and found:
            return int(found.group(1))
    return None


def write(service, requests):
    """Writes in order, by one session on the leader, many at once."""
    connection = Connection(service.leader().port, None, 0)
    while batch := list(itertools.islice(requests, IN_FLIGHT)):
        codes = {code for _, code in connection.pipeline(batch)}
        if codes != {0}:
            sys.exit(f"{service.label}: writes fail with codes {codes}")
    connection.call(CLOSE, b"")
    connection.close()


def path(number):
    """Path of a znode; a thousand znodes have the same parent."""
    return f"/resync/{number // 1000}/{number}"


def tree(args):
    yield create("/resync", b"")
    for number in range(args.znodes):
        if number % 1000 == 0:
            yield create(os.path.dirname(path(number)), b"")
        yield create(path(number), bytes(100))


def changes(args):
    # A prime step visits all znodes, far from each other.
    for number in range(args.writes):
        yield set_data(path(number * 7919 % args.znodes), number.to_bytes(100, "big"))


def restart(service, follower, what, missed):
    """Stops the follower, writes, starts it and waits until it has caught up."""
    leader = service.leader()
    follower.stop()
    before = leader.state()[1]
    write(service, missed)
    zxid = leader.state()[1]
    leader_before = usage(leader.process)
    quorum_port = re.search(rf"^server\.{leader.sid}=127\.0\.0\.1:(\d+):", leader.config, re.M).group(1)
    begun = time.monotonic()
    follower.start()
    serves = None
    while True:
        state = follower.state()
        now = time.monotonic()
        if state and serves is None:
            serves = now - begun
        if state and state[1] >= zxid:
            break
        if follower.process.poll() is not None or now > begun + CATCH_UP_S_MAX:
            sys.exit(f"{follower.label}: not caught up after {now - begun:.0f} s; log: {follower.log.name}")
        time.sleep(0.005)
    cpu_ms, disk_bytes = usage(follower.process)
    return {
        "what": what,
        "label": service.label,
        "missed_zxids": zxid - before,
        "serves_after_s": serves,
        "caught_up_s": now - begun,
        "received_bytes": received(follower.process, quorum_port),
        "written_bytes": disk_bytes,
        "follower_cpu_ms": cpu_ms,
        "leader_cpu_ms": usage(leader.process)[0] - leader_before[0],
    }


def summary(runs, labels):
    lines = [f"{'':<14} {'median':<20}" + "".join(f" {label:>16}" for label in labels)]
    for what in ("plain restart", "missed writes"):
        for heading, key in (
            ("missed zxids", "missed_zxids"),
            ("serves after s", "serves_after_s"),
            ("caught up s", "caught_up_s"),
            ("received bytes", "received_bytes"),
            ("written bytes", "written_bytes"),
            ("follower CPU ms", "follower_cpu_ms"),
            ("leader CPU ms", "leader_cpu_ms"),
        ):
            line = f"{what if key == 'missed_zxids' else '':<14} {heading:<20}"
            for label in labels:
                values = [run[key] for run in runs if run["label"] == label and run["what"] == what]
                line += f" {'?' if None in values else compare.number(statistics.median(values)):>16}"
            lines.append(line)
    return "\n".join(lines)


def measure(args, labels, directory, out):
    with compare.collected(args, labels, directory, out, summary) as (services, report):
        for service in services:
            # Makes the tree.
            write(service, tree(args))
        for turn in range(args.rounds):
            for service in services:
                leader = service.leader()
                follower = next(server for server in service.servers if server is not leader)
                for what, missed in (("plain restart", iter(())), ("missed writes", changes(args))):
                    run = {**restart(service, follower, what, missed), "round": turn}
                    report(run, f"round {turn + 1} {service.label}, {what}: caught up after "
                                f"{run['caught_up_s']:.2f} s, {run['received_bytes']} bytes received")


def main():
    parser = compare.arguments(__doc__, rounds=3, servers=3)
    parser.add_argument("--znodes", type=int, default=100_000, help="znodes in the tree (default: 100000)")
    parser.add_argument("--writes", type=int, default=300_000, help="writes that the follower misses (default: 300000)")
    args = parser.parse_args()
    if args.servers < 3:
        parser.error("a service that misses a server has three servers or more")
    compare.conduct(parser, args, measure)


if __name__ == "__main__":
    main()
