#!/usr/bin/env python3
"""kazoo's own test suite against zkfast. All cases in baseline.txt must pass.

    tests/compat/kazoo/run.py                                   the baseline
    tests/compat/kazoo/run.py --servers 3                       three servers instead of one, and baseline-of-three.txt
    tests/compat/kazoo/run.py kazoo/tests/test_lock.py          one file, baseline or not; pytest's names work
    tests/compat/kazoo/run.py --server reference                the same on Apache ZooKeeper
"""

import collections
import fcntl
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import support  # noqa: E402

# kazoo uses five ports per server. The servers' first ports are ten apart, below the kernel's range for outgoing
# connections.
PORTS_PER_SERVER = 10
# The longest case takes 10 s on the reference. A case that takes this long hangs, also on a busy machine.
CASE_SECONDS_MAX = 300
# pytest ends cases that hang. If it reports no case for so long, it hangs itself.
SILENT_SECONDS_MAX = CASE_SECONDS_MAX + 120
# Results between two progress lines; a case writes three.
RESULTS_PER_LINE = 30


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="what to run instead of the baseline")
    parser.add_argument("--servers", type=int, default=1, help="servers that form the service (default 1)")
    parser.add_argument("--parts", type=int, default=2, help="pytest processes at once (default 2)")
    parser.add_argument("--once", action="store_true", help="do not run cases that fail a second time")
    parser.add_argument("--slowest", type=int, default=0, metavar="N", help="print the N slowest classes")
    options = parser.parse_args()
    support.use_environment()

    lists = ["baseline.txt"] + ["baseline-of-three.txt"] * (options.servers >= 3)
    baseline = options.cases or [
        line for name in lists for line in (HERE / name).read_text().split("\n") if line and line[0] != "#"
    ]
    with support.scratch("kazoo") as folder:
        groups = split(baseline, options.parts)
        server = support.server_command(options.server)
        results = run(server, options.servers, groups, folder)
        if options.slowest:
            print_slowest(results, options.slowest)
        # kazoo's cases have time limits that a busy machine exceeds. A case that fails runs again without other cases beside
        # it, and the second result counts.
        again = failures(results)
        if again and not options.once:
            print(f"running again, one by one: {' '.join(again)}", flush=True)
            (folder / "again").mkdir()
            second = run(server, options.servers, [again], folder / "again")
            results = [line for line in results if line["name"] not in again] + second
        counts = summarize(results, [] if options.cases else baseline)
        support.report(counts["passed"], counts["failed"], counts["skipped"], folder)


def split(cases, parts):
    """Distributes the classes over groups. A class stays whole, since kazoo starts a server for each."""
    groups = [[] for _ in range(max(1, parts))]
    classes = list(dict.fromkeys(class_of(case) for case in cases))
    for case in cases:
        groups[classes.index(class_of(case)) % len(groups)].append(case)
    return [group for group in groups if group]


def class_of(case):
    return case.rpartition("::")[0] or case


def failures(results):
    """The cases that failed, each once, in order."""
    return list(dict.fromkeys(
        line["name"] for line in results if line["outcome"] == "failed" and "::" in line["name"]
    ))  # fmt: skip


def run(server, servers, groups, folder):
    """Runs each group in its own pytest, all at the same time. Gives the lines that the plugin wrote, in order.

    Prints the number of results from time to time, so that tests/run.sh sees progress and does not end the step."""
    import kazoo

    site = pathlib.Path(kazoo.__file__).resolve().parent.parent
    parts, locks = [], []
    try:
        for number, cases in enumerate(groups):
            place = folder / f"part-{number}"
            place.mkdir()
            (place / "cases").write_text("\n".join(cases) + "\n")
            offset, more_locks = free_ports(servers)
            locks += more_locks
            environment = os.environ | {
                "ZKFAST_KAZOO_SERVER": json.dumps(server),
                "ZKFAST_KAZOO_STATUS_AFTER_TERM": str(support.status_after_term(server)),
                "ZKFAST_KAZOO_SERVER_LOG": str(place / "server.log"),
                "ZKFAST_KAZOO_RESULTS": str(place / "results"),
                "PYTHONPATH": str(HERE),
                "PYTHONDONTWRITEBYTECODE": "1",
                # kazoo creates its data folders here.
                "TMPDIR": str(place),
                "ZOOKEEPER_VERSION": "3.9.4",
                "ZOOKEEPER_CLASSPATH": "unused",
                "ZOOKEEPER_CLUSTER_SIZE": str(servers),
                "ZOOKEEPER_PORT_OFFSET": str(offset),
            }
            command = [sys.executable, "-m", "pytest", "-q", "--tb=short", f"--timeout={CASE_SECONDS_MAX}"]
            command += ["-p", "no:cacheprovider", "-p", "plugin", f"--rootdir={site}", f"@{place / 'cases'}"]
            with open(place / "pytest.log", "wb") as log:
                # The servers that kazoo starts are in the same process group, and are killed with it.
                part = subprocess.Popen(
                    command, cwd=site, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True,
                )  # fmt: skip
            parts.append(part)
        done, moved = 0, time.monotonic()
        for part in parts:
            # WNOWAIT leaves the process unreaped, so that its id still belongs to it when the group is killed.
            while not os.waitid(os.P_PID, part.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                cases = sum(path.read_bytes().count(b"\n") for path in folder.glob("part-*/results"))
                if cases > done:
                    if cases // RESULTS_PER_LINE > done // RESULTS_PER_LINE:
                        print(f"{cases} results", flush=True)
                    done, moved = cases, time.monotonic()
                if time.monotonic() > moved + SILENT_SECONDS_MAX:
                    print(f"kazoo: no further case within {SILENT_SECONDS_MAX} s")
                    break
                time.sleep(0.5)
    finally:
        for part in parts:
            os.killpg(part.pid, signal.SIGKILL)
            part.wait()
    lines = []
    for place in sorted(folder.glob("part-*/results")):
        lines += [json.loads(line) for line in place.read_text().splitlines()]
    if not lines:
        print((folder / "part-0/pytest.log").read_text(errors="replace")[-4000:])
    return lines


def free_ports(servers):
    """An offset for the servers' ports, and locks that reserve them. Another run could not detect their use by binding them,
    since a port is free between two servers of a suite."""
    first, last = 23000, 28000 - servers * PORTS_PER_SERVER
    for offset in range(first, last, servers * PORTS_PER_SERVER):
        locks = []
        try:
            for start in range(offset, offset + servers * PORTS_PER_SERVER, PORTS_PER_SERVER):
                locks.append(open(os.path.join(tempfile.gettempdir(), f"zkfast-tests-port-{start}.lock"), "w"))
                fcntl.flock(locks[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
                for port in range(start, start + PORTS_PER_SERVER):
                    with socket.socket() as probe:
                        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                        probe.bind(("127.0.0.1", port))
            return offset, locks
        except OSError:
            for lock in locks:
                lock.close()
    sys.exit(f"kazoo: no free ports for {servers} servers between 23000 and 28000")


def summarize(results, baseline):
    """Prints failures and counts outcomes. A case of the baseline without a result has failed."""
    outcomes, texts = {}, collections.defaultdict(list)
    for line in results:
        name, outcome = line["name"], line["outcome"]
        # A case whose tear-down fails has failed.
        if outcome and outcomes.get(name) != "failed":
            outcomes[name] = outcome
        if outcome == "failed":
            texts[name].append(line["text"])
    for case in baseline:
        if case not in outcomes:
            outcomes[case] = "failed"
            texts[case].append("did not run, or its pytest ended before it")
    for name, text in texts.items():
        print(f"FAILED {name}\n    " + "\n".join(text).strip().replace("\n", "\n    "))
    return collections.Counter(outcomes.values())


def print_slowest(results, count):
    seconds = collections.Counter()
    for line in results:
        seconds[class_of(line["name"])] += line["seconds"]
    for name, spent in seconds.most_common(count):
        print(f"{spent:6.1f} s  {name}")


if __name__ == "__main__":
    main()
