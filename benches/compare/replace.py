#!/usr/bin/env python3
"""Three Java servers with a large tree are replaced one by one by empty zkfast servers, and those by Java servers.

    benches/compare/replace.py                                 # a million znodes of 60 bytes, tickTime 2000 and 500
    benches/compare/replace.py --znodes 100000 --ticks 500     # a smaller tree
    benches/compare/replace.py --no-java                       # leave out the replacement of Java by Java

One session writes `--rate` times a second all the time and continues on the next server when its own ends. Each server
gets SIGTERM, its directory is emptied, and the other kind starts in its place with the same server lines; the next
server follows when that one is in step. The leader is the last of each round.

    join s         from the start of the process until it serves; it is `in step` once it has what its leader had then
    tries          how often it asked a leader for what it lacked
    gap s          longest time between two acknowledged writes, from the SIGTERM to the join
    disk MB        the greatest size of its directory meanwhile
    lost           acknowledged writes that are missing at the end of the round, and damaged znodes of a sample; for
                   each server

A round ends with the first server that has not joined within `--limit` seconds. The figures go to runs.jsonl
(the environment first), replace.csv and summary.txt.
"""

import argparse
import csv
import os
import shutil
import sys
import time

import compare
import mixed
import session

ZNODE_BYTES = 60
LOADING_TICK_MS = 2000


def replace(ensemble, old, kind, leader, limit_s):
    """Replaces one server: the figures of mixed.join(), with those of the end of the old process."""
    begun = time.monotonic()
    in_order = old.stop()
    stopped = time.monotonic()
    old.become(kind)
    if leader is old:
        # It joins the server that leads after the election.
        leader = ensemble.leader()
    found = mixed.join(old, leader, limit_s)
    return {**found, "stop_s": round(stopped - begun, 2), "stopped_in_order": in_order, "begun": begun,
            "leader_kind": leader.kind}


def round_of(ensemble, kind, args, report):
    """Replaces all three, the leader last; returns whether all joined."""
    leader = ensemble.leader()
    for member in sorted(ensemble.members, key=lambda member: member is leader):
        before = str(member)
        found = replace(ensemble, member, kind, leader, args.limit)
        leader = ensemble.leader() if found["in_step_s"] else leader
        report(member, {"from": before, "to": str(member), **found})
        if not found["in_step_s"]:
            return False
    return True


def scenario(kinds, tick_ms, args, directory, out, keep, rows):
    """Rounds to `kinds` after each other, beginning with Java."""
    place = os.path.join(directory, "replace")
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place)
    options = mixed.Options(args.zkfast, place, tick_ms=tick_ms, heap=args.heap, cores=args.cores)
    label = "java > " + " > ".join(kinds)
    with mixed.Ensemble(["java"] * 3, options) as ensemble:
        # Java's servers lose each other with a short tickTime while they take the tree.
        options.keys["tickTime"] = max(LOADING_TICK_MS, tick_ms)
        ensemble.start()
        ensemble.wait()
        begun = time.monotonic()
        mixed.create_all(ensemble.leader().port, mixed.tree(args.znodes, ZNODE_BYTES))
        if tick_ms < LOADING_TICK_MS:
            options.keys["tickTime"] = tick_ms
            for member in ensemble.members:
                member.stop()
            ensemble.start()
            ensemble.wait()
        print(f"tickTime {tick_ms}, {label}: {args.znodes} znodes after {time.monotonic() - begun:.0f} s",
              file=sys.stderr)
        for turn, kind in enumerate(kinds):
            load = mixed.Load(ensemble.ports(), f"{tick_ms}-{turn}", place, rate=args.rate, window=100)
            load.wait()
            of_round = []

            def report(member, found):
                of_round.append({"what": "replace", "scenario": label, "tick_ms": tick_ms, "round": turn, **found})
                if args.keep_logs or found["tries"] != 1 or found["errors"] or not found["in_step_s"]:
                    mixed.keep_log(member, out, f"tick{tick_ms}-round{turn}-{'-'.join(kinds)}")

            try:
                complete = round_of(ensemble, kind, args, report)
                # The gap after the last join belongs to it.
                time.sleep(1)
            finally:
                results = load.stop()
            lost = check(ensemble, results, args)
            for found in of_round:
                found["gap_s"] = mixed.longest_gap(results, found["begun"], found["ended"])
                found["lost"] = lost
                keep(found)
                rows.append(found)
                print(line(found), file=sys.stderr, flush=True)
            if not complete:
                break
    shutil.rmtree(place, ignore_errors=True)


def check(ensemble, results, args):
    """Missing writes and damaged znodes on each server that serves."""
    found = {}
    for member in ensemble.members:
        if member.state():
            try:
                found[str(member)] = (len(mixed.lost(member.port, results))
                                      + len(mixed.tree_damage(member.port, args.znodes, ZNODE_BYTES)))
            except (mixed.Failed, session.Lost, OSError) as error:
                found[str(member)] = f"not known: {type(error).__name__} {error}"
    return found


HEADINGS = ("tickTime", "scenario", "from", "to", "leader", "stop s", "join s", "in step", "tries", "given", "gap s",
            "disk MB", "joiner MB", "leader MB", "ERRORs", "lost")


def cells(found):
    return (str(found["tick_ms"]), found["scenario"], found["from"], found["to"], found["leader_kind"],
            mixed.seconds(found["stop_s"]), mixed.seconds(found["joined_s"]) if found["joined_s"] else "NO JOIN",
            mixed.seconds(found["in_step_s"]), str(found["tries"]), str(found["sync"] or "-"),
            mixed.seconds(found["gap_s"]), mixed.megabytes(found["joiner_disk_most_bytes"]),
            mixed.megabytes(found["joiner_peak_bytes"]), mixed.megabytes(found["leader_peak_bytes"]),
            str(found["errors"]), "/".join(str(count) for count in found["lost"].values()))


WIDTHS = (9, 23, 9, 9, 7, 7, 8, 8, 6, 6, 6, 8, 10, 10, 7, 8)


def line(found):
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells(found), WIDTHS))


def summary(rows):
    heading = " ".join(f"{cell:>{width}}" for cell, width in zip(HEADINGS, WIDTHS))
    return "\n".join([heading, *map(line, rows)])


def measure(args, labels, directory, out):
    rows = []
    scenarios = [("zkfast", "java")] + [("java",)] * args.java
    with compare.record([], args, directory, out) as keep:
        print(summary([]), file=sys.stderr)
        for tick_ms in args.ticks:
            for kinds in scenarios:
                try:
                    scenario(kinds, tick_ms, args, directory, out, keep, rows)
                except (mixed.Failed, session.Lost, OSError) as error:
                    keep({"what": "failed", "scenario": kinds, "tick_ms": tick_ms, "error": str(error)})
                    print(f"tickTime {tick_ms}, java > {' > '.join(kinds)}: {error!r}", file=sys.stderr)
    with open(os.path.join(out, "replace.csv"), "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADINGS, *map(cells, rows)])
    compare.publish(summary(rows), out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mixed.arguments(parser)
    parser.add_argument("--znodes", type=int, default=1_000_000, help="znodes of 60 bytes (default: 1000000)")
    parser.add_argument("--rate", type=float, default=20, help="writes a second (default: 20)")
    parser.add_argument("--ticks", type=lambda text: [int(word) for word in text.split(",")], default=[2000, 500],
                        help="tickTime of each run, in ms (default: 2000,500)")
    parser.add_argument("--limit", type=float, default=600, help="limit of a join, in seconds (default: 600)")
    parser.add_argument("--no-java", dest="java", action="store_false", help="leave out Java by Java")
    args = parser.parse_args()
    mixed.jars()
    compare.conduct(parser, args, measure)


if __name__ == "__main__":
    main()
