#!/usr/bin/env python3
"""How long a service takes to start, and what it uses while it has nothing to do; two services in turn.

    ZKFAST_ZOOKEEPER_LIB=DIR benches/compare/starts.py                # one server of each
    ZKFAST_ZOOKEEPER_LIB=DIR benches/compare/starts.py --servers 3    # three

    cold       from the start of all processes in empty directories to the reply to the first write
    restart    the same after SIGKILL of all, with `--znodes` znodes and `--writes` setDatas of 100 bytes in the log
    idle       CPU of all processes with `--sessions` sessions that only ping, in cores

A client tries all servers in turn, a millisecond after each failure. The figures go to runs.jsonl (the environment
first) and summary.txt, as in compare.py.
"""

import os
import statistics
import sys
import time

import compare
import resync
from session import CLOSE, Connection, Lost, create

START_S_MAX = 60
IDLE_S = 10
NODE_EXISTS = -110


def first_write(service, begun):
    """Milliseconds from `begun` to the reply to the first create."""
    turn = 0
    while time.monotonic() < begun + START_S_MAX:
        server = service.servers[turn % len(service.servers)]
        turn += 1
        try:
            connection = Connection(server.port, None, 0)
            if connection.session:
                _, code = connection.call(*create("/started", b""))
                if code in (0, NODE_EXISTS):
                    took_ms = (time.monotonic() - begun) * 1e3
                    connection.call(CLOSE, b"")
                    connection.close()
                    return took_ms
            connection.close()
        except Lost:
            pass
        time.sleep(0.001)
    sys.exit(f"{service.label}: no write within {START_S_MAX} s")


def cold(spec, label, directory, args):
    begun = time.monotonic()
    service = compare.Service(spec, label, directory, args)
    try:
        return first_write(service, begun)
    finally:
        service.stop()


def restart(service):
    for server in service.servers:
        server.kill()
    begun = time.monotonic()
    for server in service.servers:
        server.start()
    return first_write(service, begun)


def idle(service, args):
    options = ["idle", "--sessions", str(args.sessions), "--seconds", str(IDLE_S)]
    return compare.loadgen(service, options, args)["cores"]


def summary(runs, labels):
    lines = [f"{'median (worst)':<22}" + "".join(f" {label:>20}" for label in labels)]
    for what, unit in (("cold", "ms"), ("restart", "ms"), ("idle", "cores")):
        line = f"{what + ', ' + unit:<22}"
        for label in labels:
            values = [run["value"] for run in runs if run["label"] == label and run["what"] == what]
            digits = 4 if unit == "cores" else 0
            line += f" {f'{statistics.median(values):,.{digits}f} ({max(values):,.{digits}f})':>20}"
        lines.append(line)
    return "\n".join(lines)


def measure(args, labels, directory, out):
    with compare.collected(args, labels, directory, out, summary) as (services, keep):
        def report(what, label, turn, value):
            run = {"what": what, "label": label, "round": turn, "value": value}
            keep(run, f"round {turn + 1} {label}, {what}: {value:.4g}")

        for service in services:
            resync.write(service, resync.tree(args))
            resync.write(service, resync.changes(args))
        for turn in range(args.rounds):
            for service in services:
                report("idle", service.label, turn, idle(service, args))
            for service in services:
                report("restart", service.label, turn, restart(service))
                service.leader()
            for spec, label in zip((args.a, args.b), labels):
                place = os.path.join(directory, f"cold-{turn}-{label}")
                os.makedirs(place)
                report("cold", label, turn, cold(spec, label, place, args))


def main():
    parser = compare.arguments(__doc__, rounds=5, servers=1)
    parser.add_argument("--znodes", type=int, default=100_000, help="znodes in the tree of a restart (default: 100000)")
    parser.add_argument("--writes", type=int, default=200_000, help="writes after those (default: 200000)")
    parser.add_argument("--sessions", type=int, default=1000, help="idle sessions (default: 1000)")
    args = parser.parse_args()
    compare.conduct(parser, args, measure)


if __name__ == "__main__":
    main()
