#!/usr/bin/env python3
"""The cost of an operation in counts that a busy machine does not change: system calls, switches, bytes, instructions.

    benches/compare/costs.py                          # zkfast: one server, three, five, seven, with observers
    benches/compare/costs.py --zookeeper LIBDIR       # and the calls of ZooKeeper, whose jars are in LIBDIR
    benches/compare/costs.py --engines epoll,io_uring --parts calls      # the calls of both engines

`calls` puts loadgen's load on servers and counts, while the load is steady, each server's system calls by kind (perf
with tracepoints, as root), its context switches and its written bytes (/proc). It divides them by the requests that the
servers received meanwhile, by their own count. How many requests share a group, and so a call, depends on the speed of
the machine; the cost of a group does not.

`instructions` sends N requests to a server under valgrind's callgrind, and 2N to a second one: the difference is the
cost of N requests without the start. It counts instructions of the process itself, not those of the kernel.
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

# Voters, observers, loads: workload, connections, requests in flight on each. A single connection is to the leader.
SERVICES = [(1, 0, ["get 48x16", "get 32x1", "get 1x1", "set 48x16", "set 32x1", "set 1x1"]),
            (3, 0, ["set 48x16", "set 32x1", "set 1x1"]), (5, 0, ["set 1x1"]), (7, 0, ["set 1x1"]), (3, 2, ["set 1x1"])]
# System calls that have a figure of their own; the others are one sum.
CALLS = ["epoll_wait", "epoll_ctl", "recvfrom", "read", "sendto", "write", "writev", "futex", "pwrite64", "fdatasync",
         "timerfd_settime", "io_uring_enter", "sched_yield", "mmap", "munmap", "madvise"]
ALL_CALLS = "raw_syscalls:sys_enter"
# Requests after which loadgen has made its znodes.
SETUP_REQUESTS = 3000
# --cores of the servers under callgrind, and the number of views on them (`Roles` in src/server/cores.rs).
CORES = {"0": 1, "0-1": 1, "0,1,0": 2, "0,1,0,1,0": 3, "0,1,0,1,0,1,0,1,0,1": 8}
CONNECTIONS, PIPELINED, KEYS, VALUE_BYTES, GET, SYNC = 8, 16, 128, 100, 4, 9
# Functions that have a figure, with all that they call. IDLE writes zeros after the end of the log when there is
# nothing else to do: it is subtracted.
FUNCTIONS = ["View::receive", "View::apply", "View::change", "Turn::reply", "Commit::submit", "Commit::check",
             "Commit::apply", "Commit::log", "LogWriter::group"]
IDLE = "LogWriter::idle"


class Service(compare.Service):
    """Servers of one kind; the leader is the first."""

    def __init__(self, spec, kind, voters, observers, directory, args):
        place = os.path.join(directory, f"{kind}-{voters}-{observers}")
        super().__init__(spec, kind, place, args, voters, observers)
        try:
            self.wait()
            leader = self.leader()
            self.servers.sort(key=lambda server: server is not leader)
        except BaseException:
            self.stop()
            raise


class Counting:
    """perf on one server: counts between `command("enable")` and `command("disable")`."""

    def __init__(self, server, directory):
        self.path = os.path.join(directory, f"perf-{server.process.pid}")
        control, self.control = os.pipe()
        self.answer, answer = os.pipe()
        events = [ALL_CALLS] + [f"syscalls:sys_enter_{call}" for call in CALLS]
        command = ["perf", "stat", "-x,", "-o", self.path, "-D", "-1", "--control", f"fd:{control},{answer}",
                   "-e", ",".join(events), "-p", str(server.process.pid)]
        self.process = subprocess.Popen(command, pass_fds=(control, answer))
        list(map(os.close, (control, answer)))

    def command(self, word):
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


def counters(server):
    """Requests that a server has received, and its counters in /proc."""
    received = re.search(r"zk_packets_received\t(\d+)", compare.four_letters(server.port, "mntr") or "")
    proc = f"/proc/{server.process.pid}"
    found = {"requests": int(received.group(1)) if received else 0, "voluntary": 0, "involuntary": 0,
             "bytes": int(compare.file_line(f"{proc}/io", "write_bytes"))}
    for task in os.listdir(f"{proc}/task"):
        # A thread may end while it is read.
        with contextlib.suppress(OSError):
            found["voluntary"] += int(compare.file_line(f"{proc}/task/{task}/status", "voluntary_ctxt"))
            found["involuntary"] += int(compare.file_line(f"{proc}/task/{task}/status", "nonvoluntary_ctxt"))
    return found


def count(service, row, args, directory):
    """Counts of each server under a steady load; empty if the load ended before the counting did."""
    workload, connections, in_flight = re.split("[ x]", row)
    command = [args.loadgen, "--workload", workload, "--connections", connections, "--in-flight", in_flight,
               "--seconds", str(args.seconds + 2), "--warmup", "0.1", "--server", service.addresses()]
    received = lambda: sum(counters(server)["requests"] for server in service.servers)
    start = received()
    with contextlib.ExitStack() as stack:
        counting = [Counting(server, directory) for server in service.servers]
        for one in counting:
            stack.callback(one.close)
        load = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while received() - start < SETUP_REQUESTS and load.poll() is None:
            time.sleep(0.05)
        for one in counting:
            one.command("enable")
        before = [counters(server) for server in service.servers]
        time.sleep(args.seconds)
        after = [counters(server) for server in service.servers]
        for one in counting:
            one.command("disable")
        is_steady = load.poll() is None
        assert load.wait() == 0, f"{' '.join(command)}: exit status {load.returncode}"
        servers = [{"role": server.state()[0], **{key: b[key] - a[key] for key in b}, "calls": one.result()}
                   for server, a, b, one in zip(service.servers, before, after, counting)]
    return {"what": "calls", "row": row, "ops": sum(server["requests"] for server in servers),
            "command": " ".join(command), "by_server": servers} if is_steady else {}


def calls(spec, args, directory, keep, say):
    kind = spec.replace("@", "-")
    for voters, observers, rows in SERVICES:
        # More Java servers show nothing that three do not.
        if kind == "zookeeper" and voters + observers > 3:
            continue
        service = Service(spec, kind, voters, observers, directory, args)
        try:
            for server in service.servers:
                kept = ("label", "version", "command", "config")
                keep({"what": "server", **{key: vars(server)[key] for key in kept}})
            name = f"{kind}, {voters}" + f" + {observers} observers" * bool(observers)
            for row in rows:
                # The first does not count, because Java compiles and files grow. An empty one is repeated.
                runs = []
                while len(runs) <= args.rounds:
                    if run := count(service, row, args, directory):
                        runs.append({**run, "kind": kind, "voters": voters, "observers": observers})
                list(map(keep, runs[1:]))
                say_calls(name, row, runs[1:], say)
        finally:
            service.stop()


def say_calls(name, row, runs, say):
    """Says a paragraph for each role, with medians of the rounds."""
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
        """Instructions of the process, and of functions with all that they call; the server has stopped."""
        listed = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", self.profile],
                                capture_output=True, text=True, check=True).stdout
        found = {name: 0 for name in ["all", IDLE, *FUNCTIONS]}
        for line in listed.splitlines():
            for name in found:
                # Of a method that stands in another file than its type, the type is in angle brackets; generic types have
                # their arguments.
                method = name.replace("::", "(<.*>)?>?::")
                pattern = "PROGRAM TOTALS" if name == "all" else rf"zkfast::[\w:]+::{method}( |$)"
                if re.search(pattern, line):
                    found[name] = max(found[name], int(line.split()[0].replace(",", "")))
        return found


def requests(port, workload, number):
    """Sends `number` requests on several connections, one pipeline on each at a time, and checks every reply."""
    # A server under valgrind on a busy machine is slow.
    session.ANSWER_S, session.SESSION_TIMEOUT_MS = 600.0, 40000
    connections = [session.Connection(port, None, 0) for _ in range(CONNECTIONS)]
    data, bursts, paths = bytes(VALUE_BYTES), [b""] * CONNECTIONS, [f"/key-{key:03}" for key in range(KEYS)]
    connections[0].pipeline([session.create(path, data) for path in paths])
    for key, path in enumerate(paths):
        op, body = (GET, session.string(path) + b"\0") if workload == "get" else session.set_data(path, data)
        bursts[key % CONNECTIONS] += struct.pack(">iii", 8 + len(body), key, op) + body
    # Other views may not have the znodes yet.
    for connection in connections:
        connection.call(SYNC, session.string("/"))
    for _ in range(number // KEYS):
        for connection, frames in zip(connections, bursts):
            connection.sock.sendall(frames)
        for connection in connections:
            codes = [struct.unpack_from(">iqi", connection.receive())[2] for _ in range(PIPELINED)]
            assert not any(codes), f"{workload}: a reply has an error: {codes}"
    for connection in connections:
        connection.call(session.CLOSE, b"")
        connection.close()


def instructions(args, directory, keep, say):
    totals = {}
    for workload in ("get", "set"):
        for cores, views in CORES.items():
            if "1" in cores and os.cpu_count() < 2:
                say(f"{workload}, --cores {cores}: left out: this machine has one core")
                continue
            found = []
            for number in (args.requests, 2 * args.requests):
                place = tempfile.mkdtemp(prefix="callgrind-", dir=directory)
                settings = argparse.Namespace(**{**vars(args), "cores": cores})
                server = Instrumented("zkfast@epoll", "zkfast", place, settings)
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
            say("calls: left out: perf counts them by tracepoints, which only root may use")
        elif "calls" in args.parts:
            for spec in [f"zkfast@{engine}" for engine in args.engines] + ["zookeeper"] * bool(args.zookeeper):
                calls(spec, args, directory, keep, say)
        if "instructions" in args.parts and not shutil.which("callgrind_annotate"):
            say("instructions: left out: there is no valgrind to count them")
        elif "instructions" in args.parts:
            instructions(args, directory, keep, say)
    compare.publish("\n".join(lines), out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="calls,instructions", help="one of them, or both (default)")
    parser.add_argument("--zookeeper", metavar="LIBDIR", help="jars of Apache ZooKeeper; counts its calls too")
    parser.add_argument("--engines", type=lambda text: text.split(","), default=["epoll"],
                        help="zkfast's, for calls (default: epoll, which the page on cost has)")
    parser.add_argument("--seconds", type=float, default=2, help="counted time of a round (default: 2)")
    parser.add_argument("--rounds", type=int, default=3, help="after one that does not count (default: 3)")
    parser.add_argument("--requests", type=int, default=102_400, help="N of the instructions (default: 102400)")
    parser.add_argument("--cores", default="0-1", help="zkfast's, for calls (default: 0-1)")
    parser.add_argument("--zkfast", default=os.path.join(compare.ROOT, "target/release/zkfast"))
    parser.add_argument("--loadgen", default=os.path.join(compare.ROOT, "target/release/loadgen"))
    parser.add_argument("--dir", default=os.path.join(compare.ROOT, "target"), help="directory of the servers' data")
    parser.add_argument("--out", help="result directory (default: benches/runs/DATE-MACHINE-costs)")
    parser.set_defaults(a="zkfast", b="zookeeper", c=None, floor=False, servers=1, build=False)
    args = parser.parse_args()
    os.environ["ZKFAST_ZOOKEEPER_LIB"] = args.zookeeper or ""
    name = f"{datetime.date.today()}-{platform.node()}-costs"
    args.out = args.out or os.path.join(compare.ROOT, "benches/runs", name)
    compare.conduct(parser, args, measure)


if __name__ == "__main__":
    main()
