#!/usr/bin/env python3
"""Measures the effect of each setting of the host: the same load with a bad value and with the advised value, in turn.

    sudo tuning/measure.py                         # all that can be set on this host, in less than five minutes
    sudo tuning/measure.py --only thp,scheduler --minutes 10 --rounds 9
    sudo tuning/measure.py --readme                # also puts the table into tuning/README.md

A setting is one row of `SETTINGS` below. Settings that cannot be changed here are printed with the reason. `nothing`
changes no setting: both sides are the same, and a difference means something only above its spread. Every run has a new
server in an empty directory, and the sides of a pair alternate (a b, b a, a b). In the end all settings are restored, also
after Ctrl-C.

Clients run on the same cores as the server. That hides part of the effect of placement, and no packet passes through a
network card, so `irq_nic` cannot be measured.

The figures go to `runs.jsonl` and `summary.md` in benches/runs/DATE-MACHINE-tuning, as those of benches/compare do.
Exit status: 0, 1 if a run failed, 2 for a usage error.
"""

import argparse
import contextlib
import datetime
import importlib.machinery
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import statistics
import sys
import tempfile
import time
import types

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, "benches/compare"))
import compare  # noqa: E402


def load_check():
    """Imports the rules of `tuning/check`, whose name has no suffix."""
    loader = importlib.machinery.SourceFileLoader("check", os.path.join(HERE, "check"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("check", loader))
    sys.modules["check"] = module
    sys.dont_write_bytecode = True
    loader.exec_module(module)
    return module


check = load_check()

ROWS = ["set 1x1", "set 64x16", "get 64x16"]
KEYS = 100_000
WARMUP_S = 0.3
# Seconds for a server's start, its znodes and its end, measured on a loaded machine.
OVERHEAD_S = 2.5
SECONDS_MIN = 0.5

# Columns of the table: heading, key in loadgen's JSON.
METRICS = [("p50", "p50_us"), ("p99", "p99_us"), ("CPU/op", "server_cpu_us_per_op"), ("memory", "server_rss_bytes")]


class Impossible(Exception):
    """A setting that this host does not let change, and the reason."""


class Files:
    """Files of the host that the measurement writes and restores."""

    def __init__(self):
        self.former = {}

    def write(self, path, value):
        try:
            with open(path, encoding="utf-8") as file:
                now = file.read().strip()
            self.former.setdefault(path, check.chosen(now) if "[" in now else now)
            with open(path, "w", encoding="utf-8") as file:
                file.write(value)
        except OSError as error:
            raise Impossible(f"{path}: {error.strerror}") from error

    def restore(self):
        for path, value in self.former.items():
            with contextlib.suppress(OSError), open(path, "w", encoding="utf-8") as file:
                file.write(value)
        self.former.clear()


class Side:
    """One side of a pair: its name, the server's cores, and the files to write before the start."""

    def __init__(self, name, cores, writes=()):
        self.name = name
        self.cores = cores
        self.writes = list(writes)


def nothing(host):
    return Side("as it is", host.cores), Side("as it is", host.cores)


def disk_interrupts(host):
    found = {}
    for disk in host.disks():
        found.update(host.interrupts(disk))
    return found


def order(host):
    """Two orders of `--cores`: the log on another core than the disk's interrupt, then on the same core."""
    place = 0 if len(host.cores) < 4 else 1
    at = {core for cores in disk_interrupts(host).values() for core in cores}
    near = [core for core in host.distinct if core in at]
    far = [core for core in host.distinct if core not in at]
    if not near or not far:
        raise Impossible(f"interrupts of the disk come to {check.listed(sorted(at))}: there is nothing to choose")

    def with_log_on(core):
        rest = [other for other in host.cores if other != core]
        return rest[:place] + [core] + rest[place:]

    return tuple(Side(f"--cores {check.listed(cores)}", cores) for cores in map(with_log_on, (far[0], near[0])))


def irq_disk(host):
    """The disk's interrupt on a view's core, then on the log's."""
    views = [core for core in host.views if core != host.log]
    if not views:
        raise Impossible("one core")
    paths = [f"/proc/irq/{number}/smp_affinity_list" for number in disk_interrupts(host)]
    return tuple(Side(f"on core {core}", host.cores, [(path, str(core)) for path in paths])
                 for core in (views[-1], host.log))


def thp(host):
    path = "/sys/kernel/mm/transparent_hugepage/enabled"
    return tuple(Side(value, host.cores, [(path, value)]) for value in ("always", "madvise"))


def scheduler(host):
    paths = [disk + "/queue/scheduler" for disk in host.disks()]
    for path in paths:
        if not {"none", "mq-deadline"} <= set(re.findall(r"[\w-]+", host.need(path))):
            raise Impossible(f"{path}: {host.need(path)}")
    return tuple(Side(value, host.cores, [(path, value) for path in paths]) for value in ("mq-deadline", "none"))


def governor(host):
    base = "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_"
    known = host.need(base.format(host.cores[0]) + "available_governors").split()
    other = next((name for name in ("powersave", "schedutil", "ondemand") if name in known), None)
    if "performance" not in known or other is None:
        raise Impossible(f"governors: {' '.join(known)}")
    return tuple(Side(name, host.cores, [(base.format(core) + "governor", name) for core in host.distinct])
                 for name in (other, "performance"))


def c_states(host):
    deep = []
    for core in host.distinct:
        base = f"/sys/devices/system/cpu/cpu{core}/cpuidle"
        for state in host.list(base):
            latency = host.read(f"{base}/{state}/latency")
            if latency and int(latency) > check.EXIT_LATENCY_US_MAX:
                deep.append(f"{base}/{state}/disable")
    if not deep:
        raise Impossible("no state is deep, or none is visible")
    return tuple(Side(name, host.cores, [(path, value) for path in deep])
                 for name, value in (("deep states", "0"), ("none deep", "1")))


SETTINGS = {
    "nothing": nothing, "order": order, "irq_disk": irq_disk, "thp": thp, "scheduler": scheduler, "governor": governor,
    "c_states": c_states,
}


def pairs(host, files, names):
    """The settings that can be changed here, with their sides. Prints the others."""
    found = {}
    for name in names:
        try:
            sides = SETTINGS[name](host)
            for side in sides:
                for write in side.writes:
                    files.write(*write)
            found[name] = sides
        except (Impossible, check.Absent) as why:
            print(f"{name}: not tried: {why}", file=sys.stderr)
        finally:
            files.restore()
    return found


def run(side, rows, seconds, args, directory, seed):
    """Starts a server and runs each load on it. Gives loadgen's rows."""
    place = tempfile.mkdtemp(dir=directory)
    changed = {"cores": check.listed(side.cores), "warmup": WARMUP_S, "seconds": seconds, "servers": 1}
    settings = types.SimpleNamespace(**{**vars(args), **changed})
    server = compare.Service("zkfast", "zkfast", place, settings)
    try:
        server.wait()
        for row in rows:
            options = [*compare.WORKLOADS[row], "--keys", str(KEYS), "--seconds", f"{seconds:.2f}",
                       "--warmup", str(WARMUP_S), "--seed", str(seed)]
            yield row, compare.loadgen(server, options, settings)
    finally:
        server.stop()
        shutil.rmtree(place, ignore_errors=True)


def measure(found, seconds, args, directory, files, keep):
    """Measures all settings in each round, so that a drift over minutes affects all of them."""
    runs, begun = [], time.monotonic()
    for turn in range(args.rounds):
        spent = time.monotonic() - begun
        if turn and spent * (turn + 1) / turn > args.minutes * 60:
            print(f"{turn} rounds took {spent:.0f} s: there is no time for another one", file=sys.stderr)
            break
        for name, sides in found.items():
            for number in ((0, 1), (1, 0))[turn % 2]:
                side = sides[number]
                try:
                    for write in side.writes:
                        files.write(*write)
                    for row, result in run(side, args.rows, seconds, args, directory, turn + 1):
                        entry = {"setting": name, "side": "ab"[number], "name": side.name, "row": row, "round": turn}
                        runs.append({**result, **entry})
                        keep(runs[-1])
                finally:
                    files.restore()
                told = ", ".join(f"{entry['row']} p50 {entry['p50_us']:.0f} us" for entry in runs[-len(args.rows):])
                print(f"round {turn + 1} {name} {side.name}: {told}", file=sys.stderr)
    return runs


def table(found, runs, rows):
    """The table in Markdown: medians before and after, and the ratio within a round with its spread. Below 1 is better."""
    headings = " | ".join(f"{heading} ratio" for heading, _ in METRICS)
    lines = [f"| setting | from, to | load | {headings} | p50 us |",
             "|---|---|---|" + "---|" * len(METRICS) + "---|"]
    for name, (before, after) in found.items():
        for row in rows:
            sides = [[entry for entry in runs if (entry["setting"], entry["row"], entry["side"]) == (name, row, letter)]
                     for letter in "ab"]
            cells = []
            for _, key in METRICS:
                ratio = compare.ratios(*([entry[key] for entry in sorted(side, key=lambda entry: entry["round"])]
                                         for side in sides))
                cells.append("{:.2f} ({:.2f} to {:.2f})".format(*ratio) if ratio else "-")
            medians = [statistics.median(entry["p50_us"] for entry in side) for side in sides]
            what = f"{before.name}, {after.name}"
            lines.append(f"| {name} | {what} | {row} | {' | '.join(cells)} | "
                         f"{', '.join(map(compare.number, medians))} |")
    return "\n".join(lines)


BEGIN, END = "<!-- measured: tuning/measure.py --readme writes what is below -->", "<!-- measured: end -->"


def into_readme(text):
    path = os.path.join(HERE, "README.md")
    with open(path, encoding="utf-8") as file:
        front, _, rest = file.read().partition(BEGIN)
    _, _, back = rest.partition(END)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{front}{BEGIN}\n\n{text}\n\n{END}{back}")


def environment(host, found, seconds, args, directory):
    return {
        "what": "environment",
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "cpu": compare.file_line("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "disk": compare.first_line(["findmnt", "-no", "SOURCE,FSTYPE,OPTIONS", "-T", directory]),
        "load_average": os.getloadavg(),
        "commit": compare.first_line(["git", "describe", "--always", "--dirty", "--abbrev=12"]),
        "seconds": seconds,
        "rounds": args.rounds,
        "keys": KEYS,
        "sides": {name: [side.name for side in sides] for name, sides in found.items()},
        "host": [finding.line() for finding in check.look(host, list(check.RULES))],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=check.cores, help="zkfast's, two or more (default: the first four)")
    parser.add_argument("--only", metavar="NAMES", help=f"some of: {','.join(SETTINGS)}")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--minutes", type=float, default=4.5, help="for all of it, without the build (default: 4.5)")
    parser.add_argument("--rows", type=lambda text: text.split(","), default=ROWS,
                        help=f"some of: {','.join(compare.WORKLOADS)} (default: {','.join(ROWS)})")
    parser.add_argument("--zkfast", default=os.path.join(ROOT, "target/release/zkfast"))
    parser.add_argument("--loadgen", default=os.path.join(ROOT, "target/release/loadgen"))
    parser.add_argument("--no-build", dest="build", action="store_false", help="take the binaries as they are")
    parser.add_argument("--dir", default=os.path.join(ROOT, "target"), help="on the disk to measure")
    parser.add_argument("--out", help="result directory (default: benches/runs/DATE-MACHINE-tuning)")
    parser.add_argument("--readme", action="store_true", help="put the table into tuning/README.md")
    args = parser.parse_args()
    names = args.only.split(",") if args.only else list(SETTINGS)
    for name in names:
        if name not in SETTINGS:
            parser.error(f"no such setting: {name}; there are: {','.join(SETTINGS)}")
    for row in args.rows:
        if row not in compare.WORKLOADS:
            parser.error(f"no such row: {row}")
    if os.geteuid() != 0:
        parser.error("settings of the host are changed and restored: run it as root (sudo)")
    out = args.out or os.path.join(ROOT, "benches/runs", f"{datetime.date.today()}-{platform.node()}-tuning")
    if os.path.exists(os.path.join(out, "runs.jsonl")):
        parser.error(f"{out} has results already: name another directory by --out")
    os.makedirs(args.dir, exist_ok=True)
    host = check.Host(types.SimpleNamespace(root="/", pid=None, cores=args.cores, engine="epoll",
                                            data_dir=os.path.abspath(args.dir), connections=10_000))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    files = Files()
    found = pairs(host, files, names)
    if not found:
        parser.error("no setting can be tried here")
    one = args.minutes * 60 / (len(found) * args.rounds * 2)
    seconds = (one - OVERHEAD_S) / len(args.rows) - WARMUP_S
    if seconds < SECONDS_MIN:
        parser.error(f"{args.minutes} minutes are too few for {args.rounds} rounds of {len(found)} settings")
    if args.build:
        compare.build()
    os.makedirs(out, exist_ok=True)
    directory = tempfile.mkdtemp(prefix="tuning-", dir=args.dir)
    try:
        with open(os.path.join(out, "runs.jsonl"), "w", encoding="utf-8") as raw:
            def keep(entry):
                raw.write(json.dumps(compare.portable(entry, directory)) + "\n")
                raw.flush()

            keep(environment(host, found, seconds, args, directory))
            text = table(found, measure(found, seconds, args, directory, files, keep), args.rows)
    finally:
        files.restore()
        shutil.rmtree(directory, ignore_errors=True)
    with open(os.path.join(out, "summary.md"), "w", encoding="utf-8") as file:
        file.write(text + "\n")
    print(text)
    if args.readme:
        into_readme(text)


if __name__ == "__main__":
    main()
