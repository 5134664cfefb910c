#!/usr/bin/env python3
"""What an operation costs, in counts that a busy machine does not change: system calls, switches, bytes, instructions.

    benches/compare/costs.py                          # zkfast: one server, three, five, seven, with observers
    benches/compare/costs.py --zookeeper LIBDIR       # and the calls of ZooKeeper, whose jars are in LIBDIR

`calls` puts loadgen's load on servers and counts, while that is steady, each server's system calls by kind (perf,
tracepoints: root), fdatasyncs among them, and its context switches and written bytes (/proc). They are divided by the
requests that the servers say they received meanwhile. How many requests share a group, and so a call, depends on how
fast the machine is; what a group costs does not.

`instructions` has N requests answered under valgrind's callgrind, and then 2N by a second server: the difference is
what N requests take, without the start. It is what the process executes itself, not what the kernel does for it.
"""

import argparse
import contextlib
import datetime
import os
import platform
import re
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import compare
import session

# Voters, observers, loads: workload, connections, requests on their way on each. A lone connection is the leader's.
SERVICES = [(1, 0, ["get 48x16", "get 1x1", "set 48x16", "set 32x1", "set 1x1"]),
            (3, 0, ["set 48x16", "set 32x1", "set 1x1"]), (5, 0, ["set 1x1"]), (7, 0, ["set 1x1"]), (3, 2, ["set 1x1"])]
# System calls that are told by name; what is left is one sum.
CALLS = ["epoll_wait", "epoll_ctl", "recvfrom", "read", "sendto", "write", "writev", "futex", "pwrite64", "fdatasync",
         "timerfd_settime", "io_uring_enter", "sched_yield", "mmap", "munmap", "madvise"]
ALL_CALLS = "raw_syscalls:sys_enter"
# Requests received, behind which loadgen's set-up is done.
SETUP_REQUESTS = 3000
# What callgrind is asked about: cores, and how many views serve on them (`Roles` in src/server/mod.rs).
CORES = {"0": 1, "0-1": 1, "0,1,0": 2, "0,1,0,1,0": 3, "0,1,0,1,0,1,0,1,0,1": 8}
CONNECTIONS, PIPELINED, KEYS, VALUE_BYTES, GET, SYNC = 8, 16, 128, 100, 4, 9
# Functions that are told, with all that they call. Zeros ahead of the log are written in idle time: taken out.
FUNCTIONS = ["View::receive", "View::apply", "View::change", "View::reply", "Commit::submit", "Commit::check",
             "Commit::apply", "Commit::log", "LogWriter::group"]
IDLE = "LogWriter::idle"


class Service(compare.Service):
    """Servers of one kind, the leader first."""

    def __init__(self, kind, voters, observers, directory, args):
        place = os.path.join(directory, f"{kind}-{voters}-{observers}")
        super().__init__(kind, kind, place, args, voters, observers)
        try:
            self.wait()
            leader = self.leader()
            self.servers.sort(key=lambda server: server is not leader)
        except BaseException:
            self.stop()
            raise


class Counting:
    """perf on one server: what it does between `tell("enable")` and `tell("disable")`."""

    def __init__(self, server, directory):
        self.path = os.path.join(directory, f"perf-{server.process.pid}")
        control, self.control = os.pipe()
        self.answer, answer = os.pipe()
        events = [ALL_CALLS] + [f"syscalls:sys_enter_{call}" for call in CALLS]
        command = ["perf", "stat", "-x,", "-o", self.path, "-D", "-1", "--control", f"fd:{control},{answer}",
                   "-e", ",".join(events), "-p", str(server.process.pid)]
        self.process = subprocess.Popen(command, pass_fds=(control, answer))
        list(map(os.close, (control, answer)))

    def tell(self, word):
        os.write(self.control, f"{word}\n".encode())
        assert os.read(self.answer, 16), "perf does not count here; its reason is above"

    def result(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        with open(self.path, encoding="utf-8") as file:
            lines = [line.split(",") for line in file]
        return {fields[2].split("sys_enter_")[-1]: int(fields[0]) for fields in lines if fields[0].isdigit()}

    def close(self):
        self.process.kill()
        self.process.wait()
        list(map(os.close, (self.control, self.answer)))


def look(server):
    """Requests that a server has received, and what /proc says of it."""
    received = re.search(r"zk_packets_received\t(\d+)", compare.four_letters(server.port, "mntr") or "")
    proc = f"/proc/{server.process.pid}"
    found = {"requests": int(received.group(1)) if received else 0, "voluntary": 0, "involuntary": 0,
             "bytes": int(compare.file_line(f"{proc}/io", "write_bytes"))}
    for task in os.listdir(f"{proc}/task"):
        # A thread may end meanwhile.
        with contextlib.suppress(OSError):
            found["voluntary"] += int(compare.file_line(f"{proc}/task/{task}/status", "voluntary_ctxt"))
            found["involuntary"] += int(compare.file_line(f"{proc}/task/{task}/status", "nonvoluntary_ctxt"))
    return found


def count(service, row, args, directory):
    """What each server did for a steady load; nothing where that ended before the counting."""
    workload, connections, in_flight = re.split("[ x]", row)
    command = [args.loadgen, "--workload", workload, "--connections", connections, "--in-flight", in_flight,
               "--seconds", str(args.seconds + 2), "--warmup", "0.1", "--server", service.addresses()]
    received = lambda: sum(look(server)["requests"] for server in service.servers)
    start = received()
    with contextlib.ExitStack() as stack:
        counting = [Counting(server, directory) for server in service.servers]
        for one in counting:
            stack.callback(one.close)
        load = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while received() - start < SETUP_REQUESTS and load.poll() is None:
            time.sleep(0.05)
        for one in counting:
            one.tell("enable")
        before = [look(server) for server in service.servers]
        time.sleep(args.seconds)
        after = [look(server) for server in service.servers]
        for one in counting:
            one.tell("disable")
        is_steady = load.poll() is None
        assert load.wait() == 0, f"{' '.join(command)}: exit status {load.returncode}"
        servers = [{"role": server.state()[0], **{key: b[key] - a[key] for key in b}, "calls": one.result()}
                   for server, a, b, one in zip(service.servers, before, after, counting)]
    return {"what": "calls", "row": row, "ops": sum(server["requests"] for server in servers),
            "command": " ".join(command), "by_server": servers} if is_steady else {}


def calls(kind, args, directory, keep, say):
    for voters, observers, rows in SERVICES:
        # Java's others differ by what three show already.
        if kind == "zookeeper" and voters + observers > 3:
            continue
        service = Service(kind, voters, observers, directory, args)
        try:
            for server in service.servers:
                told = ("label", "version", "command", "config")
                keep({"what": "server", **{key: vars(server)[key] for key in told}})
            name = f"{kind}, {voters}" + f" + {observers} observers" * bool(observers)
            for row in rows:
                # The first does not count: Java compiles, files grow. One that was held up is tried again.
                runs = []
                while len(runs) <= args.rounds:
                    if run := count(service, row, args, directory):
                        runs.append({**run, "kind": kind, "voters": voters, "observers": observers})
                list(map(keep, runs[1:]))
                tell(name, row, runs[1:], say)
        finally:
            service.stop()


def tell(name, row, runs, say):
    """A paragraph for each role, by medians of the rounds."""
    for role in sorted({server["role"] for run in runs for server in run["by_server"]}, key="leader".__ne__):
        found = [(run["ops"], [server for server in run["by_server"] if server["role"] == role]) for run in runs]

        def per_op(pick):
            return statistics.median(sum(map(pick, same)) / max(1, len(same)) / ops for ops, same in found)
        named = {call: per_op(lambda server, call=call: server["calls"].get(call, 0)) for call in CALLS}
        total = per_op(lambda server: server["calls"][ALL_CALLS])
        named["others"] = total - sum(named.values())
        parts = ", ".join(f"{call} {value:.3f}" for call, value in named.items() if value >= 0.0005)
        say(f"{name}, {row}, {'each ' * (len(found[0][1]) > 1)}{role}: {found[0][0]:,} operations a round\n"
            f"    calls/op {total:.3f}: {parts}\n"
            f"    bytes/op {per_op(lambda server: server['bytes']):,.1f}, switches/op "
            f"{per_op(lambda server: server['voluntary']):.3f} voluntary, "
            f"{per_op(lambda server: server['involuntary']):.3f} not")


class Instrumented(compare.Server):
    """A server under callgrind."""

    def start(self):
        self.profile = os.path.join(self.directory, "callgrind")
        tool = ["valgrind", "--tool=callgrind", "--fair-sched=try", f"--callgrind-out-file={self.profile}"]
        self.command = tool + self.command
        super().start()

    def instructions(self):
        """Of all that it ran, and of functions with what they call; it has stopped."""
        listed = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", self.profile],
                                capture_output=True, text=True, check=True).stdout
        found = {name: 0 for name in ["all", IDLE, *FUNCTIONS]}
        for line in listed.splitlines():
            for name in found:
                pattern = "PROGRAM TOTALS" if name == "all" else rf":zkfast::[\w:]+::{name}( |$)"
                if re.search(pattern, line):
                    found[name] = max(found[name], int(line.split()[0].replace(",", "")))
        return found


def requests(port, workload, number):
    """Sends so many requests on several connections, a pipeline on each at a time, and looks at every answer."""
    # Under valgrind, on a machine that has other work.
    session.ANSWER_S, session.SESSION_TIMEOUT_MS = 600.0, 40000
    connections = [session.Connection(port, None, 0) for _ in range(CONNECTIONS)]
    data, bursts, paths = bytes(VALUE_BYTES), [b""] * CONNECTIONS, [f"/key-{key:03}" for key in range(KEYS)]
    connections[0].pipeline([session.create(path, data) for path in paths])
    for key, path in enumerate(paths):
        op, body = (GET, session.string(path) + b"\0") if workload == "get" else session.set_data(path, data)
        bursts[key % CONNECTIONS] += struct.pack(">iii", 8 + len(body), key, op) + body
    # Other views may be behind.
    for connection in connections:
        connection.call(SYNC, session.string("/"))
    for _ in range(number // KEYS):
        for connection, frames in zip(connections, bursts):
            connection.sock.sendall(frames)
        for connection in connections:
            codes = [struct.unpack_from(">iqi", connection.receive())[2] for _ in range(PIPELINED)]
            assert not any(codes), f"{workload}: an answer is an error: {codes}"
    for connection in connections:
        connection.call(session.CLOSE, b"")
        connection.close()


def instructions(args, directory, keep, say):
    totals = {}
    for workload in ("get", "set"):
        for cores, views in CORES.items():
            if "1" in cores and os.cpu_count() < 2:
                say(f"{workload}, --cores {cores}: left out: this machine has one")
                continue
            found = []
            for number in (args.requests, 2 * args.requests):
                place = tempfile.mkdtemp(prefix="callgrind-", dir=directory)
                settings = argparse.Namespace(**{**vars(args), "cores": cores})
                server = Instrumented("zkfast", "zkfast", place, settings)
                try:
                    server.wait()
                    requests(server.port, workload, number)
                finally:
                    server.stop()
                found.append(server.instructions())
                keep({"what": "instructions", "workload": workload, "cores": cores, "views": views, "requests": number,
                      "version": server.version, "command": " ".join(server.command), "instructions": found[-1]})
            per_op = {name: (found[1][name] - found[0][name]) / args.requests for name in found[1]}
            totals[workload, cores] = per_op["all"] - per_op[IDLE]
            parts = ", ".join(f"{name} {per_op[name]:,.0f}" for name in FUNCTIONS if per_op[name] >= 10)
            say(f"{workload} {CONNECTIONS}x{PIPELINED}, --cores {cores} ({views} view{'s' * (views > 1)}): "
                f"{totals[workload, cores]:,.0f} instructions/op\n    with what they call: {parts}")
    if ("get", "0,1,0") in totals:
        say(f"instructions per get, two views / one: {totals['get', '0,1,0'] / totals['get', '0-1']:.3f}")


def measure(args, labels, directory, out):
    say = (lines := []).append
    with compare.record([], args, directory, out) as keep:
        keep({"what": "tools", "command": " ".join(sys.argv), "perf": compare.first_line(["perf", "--version"]),
              "valgrind": compare.first_line(["valgrind", "--version"])})
        if "calls" in args.parts and (not shutil.which("perf") or os.geteuid() != 0):
            say("calls: left out: perf counts them, by tracepoints, which are root's")
        elif "calls" in args.parts:
            for kind in labels[:1 + bool(args.zookeeper)]:
                calls(kind, args, directory, keep, say)
        if "instructions" in args.parts and not shutil.which("callgrind_annotate"):
            say("instructions: left out: valgrind counts them")
        elif "instructions" in args.parts:
            instructions(args, directory, keep, say)
    compare.publish("\n".join(lines), out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="calls,instructions", help="one of them, or both (default)")
    parser.add_argument("--zookeeper", metavar="LIBDIR", help="count ZooKeeper's calls too; its jars")
    parser.add_argument("--seconds", type=float, default=2, help="counted time of a round (default: 2)")
    parser.add_argument("--rounds", type=int, default=3, help="behind one that does not count (default: 3)")
    parser.add_argument("--requests", type=int, default=102_400, help="N of the instructions (default: 102400)")
    parser.add_argument("--cores", default="0-1", help="zkfast's, for calls (default: 0-1)")
    parser.add_argument("--zkfast", default=os.path.join(compare.ROOT, "target/release/zkfast"))
    parser.add_argument("--loadgen", default=os.path.join(compare.ROOT, "target/release/loadgen"))
    parser.add_argument("--dir", default=os.path.join(compare.ROOT, "target"), help="where the servers' data is")
    parser.add_argument("--out", help="result directory (default: benches/runs/DATE-MACHINE-costs)")
    parser.set_defaults(a="zkfast", b="zookeeper", floor=False, servers=1, build=False)
    args = parser.parse_args()
    os.environ["ZKFAST_ZOOKEEPER_LIB"] = args.zookeeper or ""
    name = f"{datetime.date.today()}-{platform.node()}-costs"
    args.out = args.out or os.path.join(compare.ROOT, "benches/runs", name)
    compare.conduct(parser, args, measure)


if __name__ == "__main__":
    main()
