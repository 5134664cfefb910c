#!/usr/bin/env python3
"""A follower returns after it stood still for 15 s and for 5 minutes under full load: how long, in how many tries.

    benches/compare/stopped.py                                       # three zkfast servers
    benches/compare/stopped.py --kinds java,java,java                # three Java servers
    benches/compare/stopped.py --kinds java,zkfast,java --stopped 2 --rest 15

First it gets SIGSTOP and, `--rest` seconds later, SIGCONT; then SIGKILL and, as much later, a start. Meanwhile two
processes set znodes of `--bytes` on the leader, as many as it takes (or `--rate` a second).

    back s         from SIGCONT, or from the start, until it serves and has all that its leader had at that moment
    behind after   txns that it lacks ten seconds later
    tries          how often it asked a leader for what it lacked
    given          the kind of synchronization that it got; none if its connection outlived the rest
    lost           acknowledged writes that are missing at the end, over all servers

The figures go to runs.jsonl (the environment first) and summary.txt.
"""

import argparse
import os
import shutil
import signal
import sys
import time

import compare
import mixed
import session

TREE_ZNODES, TREE_BYTES = 100_000, 100


def rest(member, leader, how, rest_s, limit_s):
    """One rest of a member; returns the figures of its return."""
    if how == "SIGSTOP":
        member.signal(signal.SIGSTOP)
    else:
        member.kill()
    time.sleep(rest_s)
    state = leader.state()
    if not state:
        raise mixed.Failed(f"{leader} does not serve while {member} rests")

    def begin():
        if how == "SIGSTOP":
            member.signal(signal.SIGCONT)
        else:
            member.start()

    found = mixed.join(member, leader, limit_s, begin, target=state[1])
    time.sleep(10)
    now, lead = member.state(), leader.state()
    found["behind"] = lead[1] - now[1] if now and lead else None
    return found


def run(how, rest_s, args, directory, out):
    place = os.path.join(directory, "stopped")
    os.makedirs(place)
    options = mixed.Options(args.zkfast, place, heap=args.heap, cores=args.cores)
    result = {"what": "stopped", "how": how, "rest_s": rest_s, "kinds": args.kinds}
    loads = []
    try:
        with mixed.Ensemble(args.kinds, options) as ensemble:
            ensemble.start()
            ensemble.wait()
            leader = ensemble.leader()
            member = ensemble.member(args.stopped) if args.stopped else next(
                one for one in ensemble.members if one is not leader)
            if member is leader:
                raise mixed.Failed(f"{member} leads: it is no follower")
            mixed.create_all(leader.port, mixed.tree(TREE_ZNODES, TREE_BYTES))
            rate = args.rate and args.rate / 2
            loads = [mixed.Load([leader.port], f"{number}", place, rate=rate, window=500, size=args.bytes, keys=1000)
                     for number in range(2)]
            for load in loads:
                load.wait(500)
            before, since = sum(load.acknowledged.value for load in loads), time.monotonic()
            result |= {"stopped": str(member), "leader": str(leader)} | rest(member, leader, how, rest_s, args.limit)
            result["writes_per_s"] = (sum(load.acknowledged.value for load in loads) - before) / (
                time.monotonic() - since)
            found = [load.stop() for load in loads]
            loads = []
            result["gap_s"] = max(mixed.longest_gap(one) or 0 for one in found)
            result["lost"] = [sum(len(mixed.lost(one.port, results)) for results in found)
                              for one in ensemble.members if one.state()]
            if args.keep_logs or result["tries"] > 1 or not result["joined_s"] or result["errors"]:
                mixed.keep_log(member, out, f"{how}-{rest_s:.0f}-follower")
                mixed.keep_log(leader, out, f"{how}-{rest_s:.0f}-leader")
    except (mixed.Failed, session.Lost, OSError) as error:
        result["failed"] = f"{type(error).__name__}: {error}"[:500]
    finally:
        for load in loads:
            load.process.kill()
        shutil.rmtree(place, ignore_errors=True)
    return result


HEADINGS = ("how", "rest s", "follower", "leader", "back s", "tries", "given", "behind after", "writes/s", "gap s",
            "disk MB", "follower MB", "leader MB", "ERRORs", "lost")


def line(found):
    start = f"{found['how']:>8} {found['rest_s']:>12.0f}"
    if "failed" in found:
        return f"{start} FAILED: {found['failed']}"
    words = (found["stopped"], found["leader"],
             mixed.seconds(found["joined_s"]) if found["joined_s"] is not None else "NOT BACK", found["tries"],
             found["sync"] or "-", found["behind"], f"{found['writes_per_s']:.0f}", mixed.seconds(found["gap_s"]),
             mixed.megabytes(found["joiner_disk_most_bytes"]), mixed.megabytes(found["joiner_peak_bytes"]),
             mixed.megabytes(found["leader_peak_bytes"]), found["errors"], "/".join(map(str, found["lost"])))
    return start + " " + " ".join(f"{word!s:>12}" for word in words)


def summary(rows):
    heading = f"{HEADINGS[0]:>8} " + " ".join(f"{word:>12}" for word in HEADINGS[1:])
    return "\n".join([heading, *map(line, rows)])


def measure(args, labels, directory, out):
    rows = []
    with compare.record([], args, directory, out) as keep:
        print(summary([]), file=sys.stderr)
        for rest_s in args.rest:
            for how in args.how:
                rows.append(run(how, rest_s, args, directory, out))
                keep(rows[-1])
                print(line(rows[-1]), file=sys.stderr, flush=True)
    compare.publish(summary(rows), out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mixed.arguments(parser)
    words = lambda text: text.split(",")
    parser.add_argument("--kinds", type=words, default=["zkfast"] * 3, help="kind of each server (default: zkfast)")
    parser.add_argument("--stopped", type=int, default=0, help="number of the follower (default: any)")
    parser.add_argument("--rest", type=lambda text: [float(word) for word in words(text)], default=[15, 300],
                        help="in seconds (default: 15,300)")
    parser.add_argument("--how", type=words, default=["SIGSTOP", "SIGKILL"], help="(default: SIGSTOP,SIGKILL)")
    parser.add_argument("--bytes", type=int, default=1000, help="bytes of a write (default: 1000)")
    parser.add_argument("--rate", type=float, help="writes a second (default: as many as the leader takes)")
    parser.add_argument("--limit", type=float, default=240, help="limit of a return, in seconds (default: 240)")
    args = parser.parse_args()
    if "java" in args.kinds:
        mixed.jars()
    compare.conduct(parser, args, measure)


if __name__ == "__main__":
    main()
