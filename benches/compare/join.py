#!/usr/bin/env python3
"""How long a server takes to join, by the kind of leader and of learner, what it lacks, the load, and the disk.

    benches/compare/join.py                                # 40 cells, and Java to Java beside each: some two hours
    benches/compare/join.py --quick                        # the same cells with a tenth of the data: half an hour
    benches/compare/join.py --cells 1-8,13 --no-java       # some of them, without Java to Java
    benches/compare/join.py --list                         # the cells

The cells are chosen of all combinations so that each pair of values occurs, and as many triples as fit:

    leader     java or zkfast; a second server of that kind makes the quorum with it
    learner    java, zkfast, or zkfast as an observer
    sync       SNAP: its directory is empty. DIFF: it lacks 200,000 setDatas of 100 bytes. TRUNC: it led once, and has
               proposals that no other server has
    load       idle, 20 writes a second, or as many as the leader takes (all by the leader)
    znodes     500,000 of 100 bytes, or 300 of 900 KB; the writes are of 100 bytes or of 200 KB
    disk       as it is, or each server's slowed to 20 MB/s and 500 ms more for each flush

    join s     from the start of the process until it serves; it is `in step` once it has what its leader had then
    tries      connections to the leader's quorum port that ended in a synchronisation, or should have
    given      the kind of the last synchronisation; a leader may choose another one than the cell names
    lost       writes that were acknowledged meanwhile and are missing on the learner or on the leader, or on any
               server after all got SIGKILL and were started again

The ensembles begin on prepared directories, which are made once. The figures go to runs.jsonl (the environment
first), cells.csv and summary.txt.
"""

import argparse
import csv
import itertools
import os
import shutil
import signal
import struct
import sys
import time

import compare
import mixed
import session
from session import Connection, set_data

FACTORS = {
    "leader": ("java", "zkfast"),
    "learner": ("java", "zkfast", "observer"),
    "sync": ("SNAP", "DIFF", "TRUNC"),
    "load": ("idle", "20/s", "full"),
    "znodes": ("100 B", "900 KB"),
    "disk": ("fast", "slow"),
}
CELLS = 40
SLOW_BYTES_PER_S, SLOW_FLUSH_MS = 20_000_000, 500
# Znodes that the writes of a DIFF change.
DIFF_KEYS = 10_000
# Proposals of a former leader that no other server has.
TAIL = 100
SECOND, LEADER, LEARNER = 1, 2, 3


def is_java(cell):
    """Whether it is Java to Java, with which the others are compared."""
    return cell["leader"] == cell["learner"] == "java"


def subsets(row, size):
    return set(itertools.combinations(enumerate(row), size))


def cells():
    """Forty combinations that are not Java to Java, in the same order each time: pairs first, then triples and more."""
    rows = [row for row in itertools.product(*FACTORS.values()) if row[:2] != ("java", "java")]
    sizes = (2, 3, 4)
    chosen, covered = [], {size: set() for size in sizes}
    while len(chosen) < CELLS:
        best = max(rows, key=lambda row: tuple(len(subsets(row, size) - covered[size]) for size in sizes))
        rows.remove(best)
        chosen.append(best)
        for size in sizes:
            covered[size] |= subsets(best, size)
    # Java to Java is measured beside each cell.
    pairs = set().union(*(subsets(row, 2) for row in itertools.product(*FACTORS.values())))
    missing = pairs - covered[2] - {((0, "java"), (1, "java"))}
    assert not missing, f"pairs that do not occur: {missing}"
    return [dict(zip(FACTORS, row)) for row in chosen]


def name(cell):
    return ", ".join(cell.values())


def label(cell):
    """Its name as part of the name of a file."""
    return "-".join(cell.values()).replace(" ", "").replace("/", "")


class Templates:
    """Directories that ensembles begin with, made when they are first used."""

    def __init__(self, args, directory, disk):
        self.args, self.directory, self.disk, self.made = args, directory, disk, set()

    def path(self, size, what, kind):
        return os.path.join(self.directory, f"template-{size.replace(' ', '')}-{what}-{kind}")

    def options(self, place):
        os.makedirs(place, exist_ok=True)
        # Java's leader sends a DIFF only if the files of its log, whose length is rounded up, are below its tree's.
        jvm = ["-Dzookeeper.snapshotSizeFactor=1.0", "-Dzookeeper.preAllocSize=1024"]
        return mixed.Options(self.args.zkfast, place, heap=self.args.heap, cores=self.args.cores, disk=self.disk,
                             jvm=jvm)

    def begin(self, size):
        """Directories of both kinds before and after the writes of a DIFF."""
        if ("begin", size) in self.made:
            return
        count, value_bytes = shape(self.args, size)
        place = os.path.join(self.directory, "making")
        with mixed.Ensemble(["java", "zkfast"], self.options(place)) as ensemble:
            for what in ("before", "after"):
                ensemble.start()
                ensemble.wait()
                leader = ensemble.leader()
                if what == "before":
                    mixed.create_all(leader.port, mixed.tree(count, value_bytes))
                    mixed.create_all(leader.port, small_znodes())
                else:
                    change(leader.port, self.args.diff)
                in_step(ensemble.members)
                for member in ensemble.members:
                    member.stop()
                for member in ensemble.members:
                    mixed.copy(member.data, self.path(size, what, member.kind))
        shutil.rmtree(place)
        self.made.add(("begin", size))

    def tail(self, size, kind):
        """A former leader of that kind with proposals that were never committed, and the others of its ensemble."""
        if ("tail", size, kind) in self.made:
            return
        self.begin(size)
        place = os.path.join(self.directory, "making")
        with mixed.Ensemble(["java", "zkfast", kind], self.options(place)) as ensemble:
            for member in ensemble.members:
                member.become(member.kind, self.path(size, "after", member.kind))
            first = [ensemble.member(3), ensemble.member(2)]
            ensemble.start(first)
            ensemble.wait(first)
            ensemble.start([ensemble.member(1)])
            ensemble.wait()
            leader, others = ensemble.member(3), ensemble.members[:2]
            if ensemble.leader() is not leader:
                raise mixed.Failed(f"{leader} does not lead")
            change(leader.port, 10)
            in_step(ensemble.members)
            connection = Connection(leader.port, None, 0)
            in_step(ensemble.members)
            for member in others:
                member.signal(signal.SIGSTOP)
            for number in range(TAIL):
                body = set_data(f"/diff/{number}", b"no other server has this")[1]
                connection.send(struct.pack(">ii", number + 1, session.SET) + body)
            # The leader's log has the proposals after this time; it does not report when.
            time.sleep(2)
            leader.kill()
            for member in others:
                member.kill()
            connection.close()
            for member in others:
                mixed.copy(member.data, self.path(size, f"tail-{kind}", member.kind))
            mixed.copy(leader.data, self.path(size, f"tail-{kind}", "leader"))
        shutil.rmtree(place)
        self.made.add(("tail", size, kind))

    def of(self, cell):
        """Directories of the leader (and the second server), and of the learner."""
        kind = "java" if cell["learner"] == "java" else "zkfast"
        size = cell["znodes"]
        self.begin(size)
        if cell["sync"] == "TRUNC":
            self.tail(size, kind)
            return self.path(size, f"tail-{kind}", cell["leader"]), self.path(size, f"tail-{kind}", "leader")
        learner = self.path(size, "before", kind) if cell["sync"] == "DIFF" else None
        return self.path(size, "after", cell["leader"]), learner


def small_znodes():
    yield "/diff", b""
    for key in range(DIFF_KEYS):
        yield f"/diff/{key}", bytes(100)


def change(port, count):
    connection = Connection(port, None, 0)
    for first in range(0, count, 1000):
        batch = [set_data(f"/diff/{number % DIFF_KEYS}", mixed.value(number, 100))
                 for number in range(first, min(first + 1000, count))]
        codes = {code for _, code in connection.pipeline(batch)}
        if codes != {0}:
            raise mixed.Failed(f"writes fail with codes {codes}")
    connection.close()


def in_step(members, limit_s=120):
    """Returns once all have the same newest zxid."""
    mixed.wait_for(lambda: len({(state := member.state()) and state[1] for member in members}) == 1
                   and all(member.state() for member in members), limit_s, "all are in step")


def shape(args, size):
    """Number and bytes of the znodes."""
    return (args.znodes, 100) if size == "100 B" else (args.large, 900_000)


def loads(cell, leader, place):
    large = cell["znodes"] != "100 B"
    size, keys = (200_000, 20) if large else (100, 1000)
    if cell["load"] == "20/s":
        return [mixed.Load([leader.port], "slow", place, rate=20, window=100, size=size, keys=keys)]
    if cell["load"] == "full":
        window = 12 if large else 500
        return [mixed.Load([leader.port], f"full{number}", place, window=window, size=size, keys=keys)
                for number in range(2)]
    return []


def run(cell, args, templates, directory, out):
    """Runs one cell: the figures of mixed.join(), and what is wrong at the end."""
    data, learners = templates.of(cell)
    place = os.path.join(directory, "cell")
    kind = "java" if cell["learner"] == "java" else "zkfast"
    observers = (LEARNER,) if cell["learner"] == "observer" else ()
    result = {"what": "cell", **cell}
    running = []
    templates.disk.set()
    try:
        with mixed.Ensemble([cell["leader"], cell["leader"], kind], templates.options(place), observers) as ensemble:
            learner, leader = ensemble.member(LEARNER), ensemble.member(LEADER)
            for member in ensemble.members[:2]:
                member.become(member.kind, data)
            learner.become(kind, learners)
            ensemble.start(ensemble.members[:2])
            ensemble.wait(ensemble.members[:2])
            leader = ensemble.leader()
            # Java's leader sends TRUNC only before the first write of its epoch, a new session included; later a tree.
            load_comes_late = cell["sync"] == "TRUNC" and cell["leader"] == "java"
            if not load_comes_late:
                change(leader.port, 10)
                running = loads(cell, leader, place)
                for load in running:
                    load.wait(500 if load.name.startswith("full") and cell["znodes"] == "100 B" else 10)
            if cell["disk"] == "slow":
                templates.disk.set(SLOW_BYTES_PER_S, SLOW_FLUSH_MS)
                time.sleep(1)
            since, before = leader.mark(), sum(load.acknowledged.value for load in running)

            def begin():
                learner.start()
                if load_comes_late and cell["load"] != "idle":
                    asked = f"Synchronizing with Learner sid: {learner.sid}"
                    mixed.wait_for(lambda: asked in leader.log_text(since), mixed.SERVES_S_MAX,
                                   f"{learner} asks {leader}")
                    running.extend(loads(cell, leader, place))

            result |= mixed.join(learner, leader, args.limit, begin)
            acknowledged = sum(load.acknowledged.value for load in running) - before
            result["writes_per_s"] = round(acknowledged / result["waited_s"], 1)
            still_leads = leader.runs() and (leader.state() or ("",))[0] == "leader"
            result["leader_lost"] = not still_leads
            found = [load.stop() for load in running]
            running = []
            templates.disk.set()
            result["gap_s"] = max((mixed.longest_gap(one, result["begun"], result["ended"]) or 0 for one in found),
                                  default=None)
            if result["joined_s"]:
                in_step([learner, leader], 240)
                for what, member in (("lost", learner), ("leader_lost_writes", leader)):
                    result[what] = sum(len(mixed.lost(member.port, one)) for one in found)
                count, value_bytes = shape(args, cell["znodes"])
                result["damaged"] = len(mixed.tree_damage(learner.port, count, value_bytes, 200))
                if args.restart:
                    result["restart_lost"] = None
                    for member in ensemble.members:
                        member.kill()
                    ensemble.start()
                    ensemble.wait()
                    result["restart_lost"] = sum(len(mixed.lost(member.port, one))
                                                 for member in ensemble.members for one in found)
            strange = result["joined_s"] is None or result["tries"] != 1 or result["errors"]
            if args.keep_logs or strange and not is_java(cell):
                mixed.keep_log(learner, out, label(cell) + "-learner")
                mixed.keep_log(leader, out, label(cell) + "-leader")
    except (mixed.Failed, session.Lost, OSError, AssertionError) as error:
        result["failed"] = f"{type(error).__name__}: {error}"[:500]
    finally:
        for load in running:
            load.process.kill()
    result.setdefault("joined_s", None)
    if args.keep_data and not is_java(cell) and verdict(result, None) != "ok":
        shutil.rmtree(os.path.join(out, label(cell)), ignore_errors=True)
        shutil.move(place, os.path.join(out, label(cell)))
    shutil.rmtree(place, ignore_errors=True)
    return result


COLUMNS = (
    ("join s", lambda run: mixed.seconds(run["joined_s"])),
    ("in step", lambda run: mixed.seconds(run.get("in_step_s"))),
    ("tries", lambda run: str(run.get("tries", "-"))),
    ("given", lambda run: str(run.get("sync") or "-")),
    ("learner MB", lambda run: mixed.megabytes(run.get("joiner_peak_bytes"))),
    ("leader MB", lambda run: mixed.megabytes(run.get("leader_peak_bytes"))),
    ("disk MB", lambda run: mixed.megabytes(run.get("joiner_disk_most_bytes"))),
    ("writes/s", lambda run: f"{run.get('writes_per_s', 0):.0f}"),
    ("lost", lambda run: str(run.get("lost", "-") if run.get("lost") is None else
                             run["lost"] + run["leader_lost_writes"] + run["damaged"]
                             + (run.get("restart_lost") or 0))),
)
JAVA_COLUMNS = COLUMNS[:7]


def line(number, cell, run, java):
    """A row of the table."""
    text = f"{number:>3} " + "".join(f"{value:<9}" for value in cell.values())
    text += "".join(f"{column(run):>11}" for _, column in COLUMNS) + " |"
    text += "".join(f"{column(java):>11}" for _, column in JAVA_COLUMNS) if java else ""
    return text + f"  {verdict(run, java)}"


def verdict(run, java):
    if "failed" in run:
        return "FAILED: " + run["failed"].splitlines()[0][:80]
    words = []
    if run["joined_s"] is None:
        words.append("NO JOIN" if java is None or java.get("joined_s") else "no join, nor Java's")
    else:
        if run["tries"] != 1:
            words.append("TRIES")
        if run.get("in_step_s") is None:
            words.append("NEVER IN STEP")
        if run["lost"] or run["leader_lost_writes"] or run["damaged"]:
            words.append("LOST WRITES")
        if run.get("restart_lost"):
            words.append("LOST WRITES AT A RESTART")
        if java and java.get("joined_s") and run["joined_s"] > java["joined_s"]:
            words.append(f"slower than Java x{run['joined_s'] / java['joined_s']:.1f}")
    if run.get("errors"):
        words.append(f"{run['errors']} ERRORs in the log")
    return ", ".join(words) or "ok"


def summary(rows):
    lines = ["    " + "".join(f"{factor:<9}" for factor in FACTORS)
             + "".join(f"{heading:>11}" for heading, _ in COLUMNS) + " |"
             + "".join(f"{'J ' + heading:>11}" for heading, _ in JAVA_COLUMNS) + "  verdict"]
    lines += [line(*row) for row in rows]
    runs = [run for _, _, run, _ in rows]
    joined = [run for run in runs if run["joined_s"] is not None]
    words = [verdict(run, java) for _, _, run, java in rows]
    lines.append(f"{len(rows)} cells: {len(joined)} joined, {sum(run['tries'] == 1 for run in joined)} of them in one "
                 f"try; beside Java: {sum('NO JOIN' in word for word in words)} did not join where Java did, "
                 f"{sum('slower' in word for word in words)} were slower")
    return "\n".join(lines)


def numbers(text):
    """1-8,13 as numbers."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def measure(args, labels, directory, out):
    disk = mixed.Disk(directory)
    templates = Templates(args, directory, disk)
    java_runs, rows = {}, []
    chosen = [(number, cell) for number, cell in enumerate(cells(), 1) if number in args.cells]
    with compare.record([], args, directory, out) as keep, \
            open(os.path.join(out, "cells.csv"), "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["cell", *FACTORS, *(heading for heading, _ in COLUMNS),
                        *("java " + heading for heading, _ in JAVA_COLUMNS), "verdict"])
        print(summary([]).splitlines()[0], file=sys.stderr)
        for number, cell in chosen:
            java = None
            if args.java:
                beside = {**cell, "leader": "java", "learner": "java"}
                if name(beside) not in java_runs:
                    java_runs[name(beside)] = run(beside, args, templates, directory, out)
                    keep({"cell": number, "side": "java", **java_runs[name(beside)]})
                java = java_runs[name(beside)]
            found = run(cell, args, templates, directory, out)
            keep({"cell": number, "side": "zkfast", **found})
            rows.append((number, cell, found, java))
            table.writerow([number, *cell.values(), *(column(found) for _, column in COLUMNS),
                            *(column(java) if java else "" for _, column in JAVA_COLUMNS), verdict(found, java)])
            file.flush()
            print(line(*rows[-1]), file=sys.stderr, flush=True)
            with open(os.path.join(out, "summary.txt"), "w", encoding="utf-8") as so_far:
                so_far.write(summary(rows) + "\n")
    compare.publish(summary(rows), out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mixed.arguments(parser)
    parser.add_argument("--cells", type=numbers, default=range(1, CELLS + 1), help="some of them, as 1-8,13")
    parser.add_argument("--list", action="store_true", help="print the cells and end")
    parser.add_argument("--quick", action="store_true", help="a tenth of the znodes and of the txns, 60 s a cell")
    parser.add_argument("--no-java", dest="java", action="store_false", help="leave out Java to Java")
    parser.add_argument("--no-restart", dest="restart", action="store_false", help="leave out the SIGKILL of all")
    parser.add_argument("--keep-data", action="store_true", help="keep the directories of what went wrong")
    parser.add_argument("--limit", type=float, default=240, help="limit of a join, in seconds (default: 240)")
    parser.add_argument("--znodes", type=int, default=500_000, help="znodes of 100 bytes (default: 500000)")
    parser.add_argument("--large", type=int, default=300, help="znodes of 900 KB (default: 300)")
    parser.add_argument("--diff", type=int, default=200_000, help="txns of a DIFF (default: 200000)")
    args = parser.parse_args()
    if args.list:
        for number, cell in enumerate(cells(), 1):
            print(f"{number:>3} {name(cell)}")
        return
    if args.quick:
        args.znodes, args.large, args.diff = args.znodes // 10, args.large // 10, args.diff // 10
        args.limit = min(args.limit, 60)
    mixed.jars()
    compare.conduct(parser, args, measure)


if __name__ == "__main__":
    main()
