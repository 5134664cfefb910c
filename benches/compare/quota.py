#!/usr/bin/env python3
"""Servers with a CPU quota, as containers have, and on a machine that is busy with other work.

    ZKFAST_ZOOKEEPER_LIB=DIR benches/compare/quota.py                      # as root: it makes control groups
    benches/compare/quota.py --a zkfast --b zkfast --quotas 0.5,1 --servers 3

Each service starts inside a control group with the quota (`none`: without one), and gets an open loop of reads and writes
from a loadgen outside of it. `busy` is no quota, and a loop in each CPU beside. Told for each: threads of a server, requests
answered a second of those that arrive, latencies from their arrival, CPU, and in how many periods of 100 ms the group was
throttled. The services run one after the other, since a quota leaves no choice of when.
"""

import contextlib
import os
import shutil
import statistics
import subprocess
import sys

import compare

PERIOD_US = 100_000
LOAD = ["--workload", "mix", "--read-ratio", "0.9", "--connections", "32", "--in-flight", "16", "--keys", "10000"]

# Where control groups of the CPU are: version 2, and version 1.
ROOTS = ["/sys/fs/cgroup", "/sys/fs/cgroup/cpu"]


class Group:
    """A control group of its own for the servers; quota in CPUs, or None."""

    def __init__(self, quota):
        root = next((root for root in ROOTS if self.is_usable(root)), None)
        if root is None:
            sys.exit(f"no control group with a CPU quota in {' or '.join(ROOTS)}: run this as root")
        self.home = self.own(root)
        self.path = os.path.join(root, f"zkfast-quota-{os.getpid()}")
        os.mkdir(self.path)
        is_v2 = os.path.exists(os.path.join(self.path, "cpu.max"))
        limit = "max" if is_v2 else "-1"
        if quota:
            limit = str(int(quota * PERIOD_US))
        name, value = ("cpu.max", f"{limit} {PERIOD_US}") if is_v2 else ("cpu.cfs_quota_us", limit)
        self.put(os.path.join(self.path, name), value)

    @staticmethod
    def is_usable(root):
        """Whether groups below have a quota: a group's own folder has the file, and version 2's root does not."""
        controllers = os.path.join(root, "cgroup.subtree_control")
        if os.path.exists(controllers):
            with open(controllers, encoding="utf-8") as file:
                return "cpu" in file.read().split()
        return os.path.exists(os.path.join(root, "cpu.cfs_quota_us"))

    @staticmethod
    def own(root):
        """The file by which this process goes back to where it is now."""
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            for line in file:
                _, controllers, path = line.strip().split(":", 2)
                if controllers in ("", "cpu", "cpu,cpuacct", "cpuacct,cpu"):
                    found = os.path.join(root, path.lstrip("/"), "cgroup.procs")
                    if os.path.exists(found):
                        return found
        return os.path.join(root, "cgroup.procs")

    @staticmethod
    def put(path, value):
        with open(path, "w", encoding="utf-8") as file:
            file.write(value)

    @contextlib.contextmanager
    def inside(self):
        """Processes that begin in here belong to the group."""
        self.put(os.path.join(self.path, "cgroup.procs"), str(os.getpid()))
        try:
            yield
        finally:
            self.put(self.home, str(os.getpid()))

    def periods(self):
        """Periods so far, and those in which the group was throttled."""
        with open(os.path.join(self.path, "cpu.stat"), encoding="utf-8") as file:
            stat = dict(line.split() for line in file)
        return int(stat.get("nr_periods", 0)), int(stat.get("nr_throttled", 0))

    def remove(self):
        os.rmdir(self.path)


@contextlib.contextmanager
def busy(count):
    """Loops that take a CPU each, while it lasts."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def threads_of(server):
    return len(os.listdir(f"/proc/{server.process.pid}/task"))


def one(spec, label, quota, args, directory):
    """A run of one service under one quota."""
    group = Group(None if quota in ("none", "busy") else float(quota))
    service = None
    try:
        with contextlib.ExitStack() as stack:
            with group.inside():
                service = compare.Service(spec, label, directory, args)
            service.wait()
            if quota == "busy":
                stack.enter_context(busy(os.cpu_count()))
            load = [*LOAD, "--rate", str(args.rate)]
            compare.loadgen(service, [*load, "--seconds", str(args.warmup)], args)
            before = group.periods()
            run = compare.loadgen(service, [*load, "--seconds", str(args.seconds)], args)
            after = group.periods()
        run.update(quota=quota, label=label, threads=max(threads_of(server) for server in service.servers),
                   periods=after[0] - before[0], throttled=after[1] - before[1])
        return service, run
    finally:
        if service:
            service.stop()
        group.remove()


def summary(runs, labels, quotas, rate):
    lines = [f"{rate} requests a second arrive",
             f"{'CPUs':<6} {'service':<16} {'threads':>8} {'answered/s':>11} {'p50 us':>10} {'p99 us':>11} {'max us':>11} "
             f"{'CPU us/op':>10} {'throttled':>10}"]
    for quota in quotas:
        for label in labels:
            own = [run for run in runs if run["quota"] == quota and run["label"] == label]

            def median(key, own=own):
                return statistics.median(run[key] for run in own)

            throttled = f"{median('throttled'):.0f}/{median('periods'):.0f}" if median("periods") else "-"
            lines.append(f"{quota:<6} {label:<16} {median('threads'):>8.0f} {median('ops_per_s'):>11,.0f} "
                         f"{median('p50_us'):>10,.0f} {median('p99_us'):>11,.0f} {median('max_us'):>11,.0f} "
                         f"{median('server_cpu_us_per_op'):>10.1f} {throttled:>10}")
    return "\n".join(lines)


def measure(args, labels, directory, out):
    runs = []
    with contextlib.ExitStack() as stack:
        keep = None
        for turn in range(args.rounds):
            for quota in args.quotas:
                for spec, label in zip(compare.specs(args), labels):
                    place = os.path.join(directory, label)
                    service, run = one(spec, label, quota, args, place)
                    if keep is None:
                        keep = stack.enter_context(compare.record([service], args, directory, out))
                    run["round"] = turn
                    keep(run)
                    runs.append(run)
                    print(f"{quota} {label}: {run['ops_per_s']:,.0f}/s p99 {run['p99_us']:,.0f} us "
                          f"throttled {run['throttled']}/{run['periods']}", file=sys.stderr)
                    shutil.rmtree(place)
    compare.publish(summary(runs, labels, args.quotas, args.rate), out)


def main():
    parser = compare.arguments(__doc__, rounds=2, servers=1)
    parser.add_argument("--quotas", type=lambda text: text.split(","), default=["0.5", "1", "2", "none", "busy"],
                        help="CPUs; none: no quota; busy: none, with other work on all CPUs")
    parser.add_argument("--rate", type=int, default=3000, help="requests a second that arrive")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--warmup", type=float, default=10)
    args = parser.parse_args()
    compare.conduct(parser, args, measure)


if __name__ == "__main__":
    main()
