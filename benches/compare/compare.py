#!/usr/bin/env python3
"""Two servers side by side on this machine: the same load on one, then on the other, several rounds.

    ZKFAST_ZOOKEEPER_LIB=DIR benches/compare/compare.py            # ZooKeeper against zkfast
    benches/compare/compare.py --a zkfast --b zkfast               # how much two equal servers differ
    benches/compare/compare.py --a zkfast=OLD/zkfast --b zkfast    # before and after a change

Both servers run all the time; only one has work. A machine that others use drifts by tens of percent
within minutes, so a ratio is taken inside each round, and its median and spread are what counts.

DIR holds the jars of org.apache.zookeeper:zookeeper:3.9.4 and what it depends on. The result
directory gets `runs.jsonl` (environment first, then each run as loadgen printed it, with its command)
and `summary.txt` (what is printed here).
"""

import argparse
import datetime
import glob
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Name of a row: what loadgen is told beside server, time and seed.
WORKLOADS = {
    "get 64x16": ["--workload", "get", "--connections", "64", "--in-flight", "16"],
    "set 64x16": ["--workload", "set", "--connections", "64", "--in-flight", "16"],
    "get 32x1": ["--workload", "get", "--connections", "32", "--in-flight", "1"],
    "set 32x1": ["--workload", "set", "--connections", "32", "--in-flight", "1"],
    "set 1x1": ["--workload", "set", "--connections", "1", "--in-flight", "1"],
    "mix 64x16": ["--workload", "mix", "--read-ratio", "0.9", "--connections", "64", "--in-flight", "16"],
    "get 5000/s": ["--workload", "get", "--rate", "5000", "--connections", "32"],
}
# The open loop takes its place only when it is asked for.
DEFAULT_ROWS = [name for name in WORKLOADS if name != "get 5000/s"]

# What is shown of a run: heading, key in loadgen's JSON.
METRICS = [
    ("server CPU us/op", "server_cpu_us_per_op"),
    ("ops/s", "ops_per_s"),
    ("p50 us", "p50_us"),
    ("p99 us", "p99_us"),
    ("bytes written/op", "server_write_bytes_per_op"),
    ("switches/op", "server_voluntary_switches_per_op"),
]

CONFIG = """tickTime=2000
dataDir={data}
clientPort={port}
maxClientCnxns=0
admin.enableServer=false
"""

# How long a server may take to answer its first four-letter word, in seconds.
START_WAIT_S = 60
STOP_WAIT_S = 20


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def four_letters(port, word):
    """The answer to a four-letter word, or None where there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as sock:
            sock.sendall(word.encode())
            answer = b""
            while chunk := sock.recv(65536):
                answer += chunk
            return answer.decode(errors="replace")
    except OSError:
        return None


class Server:
    """A server of ours, from its start to its end."""

    def __init__(self, spec, label, directory, args):
        self.label = label
        self.kind, _, binary = spec.partition("=")
        self.directory = directory
        self.data = os.path.join(directory, "data")
        os.makedirs(self.data)
        self.port = free_port()
        self.config = CONFIG.format(data=self.data, port=self.port)
        path = os.path.join(directory, "zoo.cfg")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.config)
        if self.kind == "zookeeper":
            jars = os.environ.get("ZKFAST_ZOOKEEPER_LIB", "")
            if not glob.glob(os.path.join(jars, "zookeeper-[0-9]*.jar")):
                sys.exit("ZKFAST_ZOOKEEPER_LIB must name the directory of ZooKeeper's jars")
            self.command = ["java", "-Xmx1g", "-Dzookeeper.forceSync=yes", "-cp", os.path.join(jars, "*"),
                            "org.apache.zookeeper.server.quorum.QuorumPeerMain", path]
        elif self.kind == "zkfast":
            binary = binary or args.zkfast
            self.command = [binary, "--config", path, "--cores", args.cores]
        else:
            sys.exit(f"{spec}: neither zookeeper nor zkfast nor zkfast=PATH")
        self.log = open(os.path.join(directory, "log"), "wb")
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)

    def wait(self):
        """Returns once the server answers."""
        until = time.monotonic() + START_WAIT_S
        while time.monotonic() < until and self.process.poll() is None:
            answer = four_letters(self.port, "srvr")
            if answer and "Mode:" in answer:
                self.version = answer.splitlines()[0]
                return
            time.sleep(0.1)
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            sys.stderr.write(file.read()[-2000:])
        sys.exit(f"{self.label}: no answer to srvr; its log is above")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_WAIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


def loadgen(server, options, args):
    """Runs loadgen on a server; returns what it printed, with the command."""
    command = [args.loadgen, *options, "--server", f"127.0.0.1:{server.port}", "--server-pid",
               str(server.process.pid), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.stderr.write(done.stdout + done.stderr)
        sys.exit(f"{server.label}: {' '.join(command)}: exit status {done.returncode}")
    return {**json.loads(done.stdout), "command": " ".join(command)}


def portable(value, directory):
    """What is recorded names no place of this machine: another one has others."""
    places = [(directory, "$DATA"), (ROOT, "."), (os.environ.get("ZKFAST_ZOOKEEPER_LIB"), "$ZKFAST_ZOOKEEPER_LIB")]
    text = json.dumps(value)
    for place, name in places:
        if place:
            text = text.replace(json.dumps(place)[1:-1], name)
    return json.loads(text)


def first_line(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        return (done.stdout + done.stderr).strip().split("\n")[0]
    except OSError as error:
        return str(error)


def file_line(path, start):
    with open(path, encoding="utf-8") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith(start)), "?")


def environment(servers, args, directory):
    """What one must know to make sense of the figures, or to get them again."""
    return {
        "what": "environment",
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": platform.node(),
        "cpu": file_line("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory": file_line("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "disk": first_line(["findmnt", "-no", "SOURCE,FSTYPE,OPTIONS", "-T", directory]),
        "load_average": os.getloadavg(),
        "commit": first_line(["git", "describe", "--always", "--dirty", "--abbrev=12"]),
        "java": first_line(["java", "-version"]),
        "rustc": first_line(["rustc", "--version"]),
        "servers": {
            server.label: {"version": server.version, "command": server.command, "config": server.config}
            for server in servers
        },
        "rounds": args.rounds,
        "seconds": args.seconds,
        "warmup": args.warmup,
    }


def ratios(a_values, b_values):
    """Median, least and greatest of the ratios of runs of the same round; None where one divides by zero."""
    if not a_values or len(a_values) != len(b_values) or not all(a_values):
        return None
    quotients = [b / a for a, b in zip(a_values, b_values)]
    return statistics.median(quotients), min(quotients), max(quotients)


def number(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def summary(rows, runs, a, b):
    """The table: medians of both, and the ratio with its spread."""
    lines = [f"{'':<11} {'median':<17} {a:>14} {b:>14}   {b} / {a} (least to greatest of a round)"]
    for row in rows:
        for index, (heading, key) in enumerate(METRICS):
            values = [[run[key] for run in runs if run["row"] == row and run["label"] == label]
                      for label in (a, b)]
            if not all(values):
                continue
            line = f"{row if index == 0 else '':<11} {heading:<17}"
            line += "".join(f" {number(statistics.median(side)):>14}" for side in values)
            ratio = ratios(*values)
            if ratio:
                line += "   {:.3f} ({:.3f} to {:.3f})".format(*ratio)
            lines.append(line)
    return "\n".join(lines)


def lone_set(server, args):
    """A lone set against a bare write to the disk of the same log, in turn."""
    command = [args.loadgen, "lone-set", "--server", f"127.0.0.1:{server.port}", "--dir", server.data,
               "--seconds", str(args.seconds), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.stderr.write(done.stderr)
        sys.exit(f"{server.label}: {' '.join(command)}: exit status {done.returncode}")
    return {**json.loads(done.stdout), "command": " ".join(command), "label": server.label}


def build():
    """Builds what is measured, so that it is what the sources say."""
    subprocess.run(["cargo", "build", "--release", "--workspace"], cwd=ROOT, check=True)


def compare(args, labels, directory, out):
    servers = []
    try:
        for spec, label in zip((args.a, args.b), labels):
            place = os.path.join(directory, label)
            os.makedirs(place)
            servers.append(Server(spec, label, place, args))
        for server in servers:
            server.wait()
        with open(os.path.join(out, "runs.jsonl"), "w", encoding="utf-8") as raw:
            def keep(entry):
                raw.write(json.dumps(portable(entry, directory)) + "\n")
                raw.flush()

            keep(environment(servers, args, directory))
            # Java compiles while it runs: both get the same first minute, which is not measured.
            for server in servers:
                for row in ("mix 64x16", "set 32x1"):
                    loadgen(server, [*WORKLOADS[row], "--seconds", str(args.first_warmup / 2)], args)
            runs = []
            for row in args.rows:
                for turn in range(args.rounds):
                    for server in servers:
                        options = [*WORKLOADS[row], "--seconds", str(args.seconds), "--warmup", str(args.warmup),
                                   "--seed", str(turn + 1)]
                        run = loadgen(server, options, args)
                        run.update(row=row, label=server.label, round=turn)
                        keep(run)
                        runs.append(run)
                        print(f"{row} round {turn + 1} {server.label}: {run['ops_per_s']:,.0f}/s, "
                              f"{run['server_cpu_us_per_op']:.2f} us CPU/op, p50 {run['p50_us']:.0f} us",
                              file=sys.stderr)
            text = summary(args.rows, runs, *labels)
            for server in servers if args.lone_set else []:
                lone = lone_set(server, args)
                keep(lone)
                text += (f"\nlone set, {server.label}: p50 {lone['set_p50_us']:.0f} us, bare 4 KiB write + fdatasync "
                         f"{lone['write_p50_us']:.0f} us, ratio {lone['ratio_p50']:.2f} ({lone['pairs']} pairs)")
    finally:
        for server in servers:
            server.stop()
    with open(os.path.join(out, "summary.txt"), "w", encoding="utf-8") as file:
        file.write(text + "\n")
    print(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--a", default="zookeeper", help="zookeeper, zkfast or zkfast=PATH (default: zookeeper)")
    parser.add_argument("--b", default="zkfast", help="likewise (default: zkfast)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5, help="measured time of a run")
    parser.add_argument("--warmup", type=float, default=1, help="time before it, in seconds")
    parser.add_argument("--first-warmup", type=float, default=20, help="seconds of load on each server at first")
    parser.add_argument("--rows", type=lambda text: text.split(","), default=DEFAULT_ROWS,
                        help=f"some of: {','.join(WORKLOADS)}")
    parser.add_argument("--no-lone-set", dest="lone_set", action="store_false",
                        help="leave out the lone set against the bare disk")
    parser.add_argument("--cores", default="0-1", help="zkfast's (default: 0-1)")
    parser.add_argument("--zkfast", default=os.path.join(ROOT, "target/release/zkfast"))
    parser.add_argument("--loadgen", default=os.path.join(ROOT, "target/release/loadgen"))
    parser.add_argument("--no-build", dest="build", action="store_false", help="take the binaries as they are")
    parser.add_argument("--dir", default=os.path.join(ROOT, "target"),
                        help="where the servers' data is while they run; on the disk to measure")
    parser.add_argument("--out", help="result directory (default: benches/runs/DATE-MACHINE)")
    args = parser.parse_args()
    for row in args.rows:
        if row not in WORKLOADS:
            parser.error(f"no such row: {row}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    out = args.out or os.path.join(ROOT, "benches/runs", f"{datetime.date.today()}-{platform.node()}")
    if os.path.exists(os.path.join(out, "runs.jsonl")):
        parser.error(f"{out} has results already: name another directory by --out")
    if args.build:
        build()
    os.makedirs(out, exist_ok=True)
    os.makedirs(args.dir, exist_ok=True)
    directory = tempfile.mkdtemp(prefix="compare-", dir=args.dir)
    kinds = [spec.partition("=")[0] for spec in (args.a, args.b)]
    labels = kinds if kinds[0] != kinds[1] else [f"{kinds[0]}-a", f"{kinds[1]}-b"]
    try:
        compare(args, labels, directory, out)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
