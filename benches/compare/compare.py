#!/usr/bin/env python3
"""Two servers or more side by side on this machine: the same load on one, then on the other, several rounds.

    ZKFAST_ZOOKEEPER_LIB=DIR benches/compare/compare.py            # ZooKeeper against zkfast
    benches/compare/compare.py --a zkfast --b zkfast               # how much two equal servers differ
    benches/compare/compare.py --a zkfast=OLD/zkfast --b zkfast    # before and after a change
    benches/compare/compare.py --a zkfast@io_uring --b zkfast@epoll      # one engine and the other
    benches/compare/compare.py --floor                             # also the least server that can reply
    benches/compare/compare.py --a zkfast@io_uring --b zkfast@epoll --c zookeeper --floor   # all in one run
    benches/compare/compare.py --servers 3 --rows 'set 1x1,set 32x1,set 64x16'   # services of three servers each
    benches/compare/compare.py --rows 'mix 30000/s' --seconds 60   # tails: each round has snapshots in it

All servers run all the time; only one has work. A machine that others use drifts by tens of percent
within minutes, so a ratio is taken within each round, and its median and spread count: that of each service
to the first. The floor is
`loadgen floor`: no tree, no ZooKeeper, sets that share one write and one fdatasync. Every server takes at
least as much as it on this machine.

DIR has the jars of org.apache.zookeeper:zookeeper:3.9.4 and of its dependencies. The result
directory gets `runs.jsonl` (environment first, then each run as loadgen printed it, with its command)
and `summary.txt` (what is printed here).
"""

import argparse
import contextlib
import datetime
import glob
import json
import os
import platform
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Name of a row: arguments of loadgen beside server, time and seed.
WORKLOADS = {
    "get 64x16": ["--workload", "get", "--connections", "64", "--in-flight", "16"],
    "set 64x16": ["--workload", "set", "--connections", "64", "--in-flight", "16"],
    "get 32x1": ["--workload", "get", "--connections", "32", "--in-flight", "1"],
    "get 1x1": ["--workload", "get", "--connections", "1", "--in-flight", "1"],
    "set 32x1": ["--workload", "set", "--connections", "32", "--in-flight", "1"],
    "set 1x1": ["--workload", "set", "--connections", "1", "--in-flight", "1"],
    "mix 64x16": ["--workload", "mix", "--read-ratio", "0.9", "--connections", "64", "--in-flight", "16"],
    "get 5000/s": ["--workload", "get", "--rate", "5000", "--connections", "32"],
    "connect": ["--workload", "connect", "--connections", "32"],
    "watch 1000": ["--workload", "watch", "--connections", "1000"],
    # Some 30 % of what ZooKeeper can do on two cores, and of what zkfast can.
    **{f"mix {rate}/s": ["--workload", "mix", "--read-ratio", "0.9", "--rate", str(rate), "--connections", "32",
                         "--in-flight", "64", "--keys", "100000"] for rate in (30_000, 300_000)},
}
# Open loops, connects and watches run only if --rows names them.
OPEN_LOOPS = [name for name, options in WORKLOADS.items() if "--rate" in options]
DEFAULT_ROWS = [name for name in WORKLOADS if name not in ("connect", "watch 1000", *OPEN_LOOPS)]

# Columns of a run: heading, key in loadgen's JSON.
METRICS = [
    ("server CPU us/op", "server_cpu_us_per_op"),
    ("ops/s", "ops_per_s"),
    ("p50 us", "p50_us"),
    ("p99 us", "p99_us"),
    ("bytes written/op", "server_write_bytes_per_op"),
    ("switches/op", "server_voluntary_switches_per_op"),
    ("fsyncs/op", "server_fsyncs_per_op"),
    ("loadgen's cores", "client_cores"),
]
# Further columns of an open loop, whose arrivals do not wait for a server that stands still. Its latencies include the
# time by which loadgen itself was late.
OPEN_METRICS = [("p99.9 us", "p999_us"), ("max us", "max_us"), ("late, p99 ms", "late_p99_ms"),
                ("late, max ms", "late_ms")]
# Counts that should be 0: the summary names a run that has some.
TROUBLE = ["lost", "reconnects", "expired", "unsent"]

CONFIG = """tickTime=2000
dataDir={data}
clientPort={port}
maxClientCnxns=0
admin.enableServer=false
4lw.commands.whitelist=srvr,mntr,isro
"""

# Further lines of zoo.cfg for several servers.
ENSEMBLE_CONFIG = """initLimit=10
syncLimit=5
"""

# Further lines of zoo.cfg with --tls: a certificate of the server, and none of its clients.
TLS_CONFIG = """secureClientPort={port}
ssl.keyStore.location={folder}/server.p12
ssl.keyStore.password=secret
ssl.clientAuth=none
"""

# What loadgen is given then.
TLS_CLIENT = """zookeeper.client.secure=true
zookeeper.ssl.trustStore.location={folder}/server.crt
zookeeper.ssl.trustStore.type=PEM
"""

# Arguments that the record keeps, of this program and of the others in this folder.
SETTINGS = {"servers", "rounds", "seconds", "warmup", "znodes", "writes", "sessions", "tls"}

# How long a server may take to answer its first four-letter word, in seconds.
START_WAIT_S = 60
STOP_WAIT_S = 20


def free_port():
    """A port below those that the kernel gives to outgoing connections: a client that connects to the port of a dead
    server could otherwise get the same port and connect to itself."""
    while True:
        port = random.randrange(10000, 20000)
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
            return port


def four_letters(port, word):
    """The answer to a four-letter word, or None without one."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as sock:
            sock.sendall(word.encode())
            answer = b""
            while chunk := sock.recv(65536):
                answer += chunk
            return answer.decode(errors="replace")
    except OSError:
        return None


def certificate(directory):
    """Makes a certificate for 127.0.0.1, and the file of a client that trusts it; gives their folder."""
    folder = os.path.join(directory, "tls")
    if not os.path.exists(folder):
        os.makedirs(folder)
        key, crt, p12 = (os.path.join(folder, name) for name in ("server.key", "server.crt", "server.p12"))
        quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", crt, "-days",
                        "2", "-subj", "/CN=server", "-addext", "subjectAltName=IP:127.0.0.1"], **quiet)
        subprocess.run(["openssl", "pkcs12", "-export", "-in", crt, "-inkey", key, "-out", p12, "-passout",
                        "pass:secret"], **quiet)
        with open(os.path.join(folder, "client.properties"), "w", encoding="utf-8") as file:
            file.write(TLS_CLIENT.format(folder=folder))
    return folder


class Server:
    """A server that this program starts and ends."""

    def __init__(self, spec, label, directory, args, sid=1, peers=()):
        self.label = label
        self.sid = sid
        name, _, binary = spec.partition("=")
        self.kind, _, engine = name.partition("@")
        self.directory = directory
        self.data = os.path.join(directory, "data")
        os.makedirs(self.data)
        self.port = peers[sid - 1][0] if peers else free_port()
        self.config = CONFIG.format(data=self.data, port=self.port)
        self.load_port = self.port
        if getattr(args, "tls", False):
            self.load_port = free_port()
            self.tls = certificate(os.path.dirname(os.path.dirname(directory)))
            self.config += TLS_CONFIG.format(port=self.load_port, folder=self.tls)
        if peers:
            self.config += ENSEMBLE_CONFIG
            for number, (_, quorum, election) in enumerate(peers, 1):
                self.config += f"server.{number}=127.0.0.1:{quorum}:{election}\n"
            with open(os.path.join(self.data, "myid"), "w", encoding="utf-8") as file:
                file.write(f"{sid}\n")
        path = os.path.join(directory, "zoo.cfg")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.config)
        if self.kind == "zookeeper":
            jars = os.environ.get("ZKFAST_ZOOKEEPER_LIB", "")
            if not glob.glob(os.path.join(jars, "zookeeper-[0-9]*.jar")):
                sys.exit("ZKFAST_ZOOKEEPER_LIB must name the directory of ZooKeeper's jars")
            # Its logging is off, because it is no part of the comparison.
            netty = ["-Dzookeeper.serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory"]
            self.command = ["java", "-Xmx1g", "-Dzookeeper.forceSync=yes", *(netty if self.load_port != self.port else []),
                            "-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp", os.path.join(jars, "*"),
                            "org.apache.zookeeper.server.quorum.QuorumPeerMain", path]
        elif self.kind == "zkfast":
            binary = binary or args.zkfast
            self.command = [binary, "--config", path]
            if args.cores != "none":
                self.command += ["--cores", args.cores]
            if engine:
                self.command += ["--engine", engine]
        elif self.kind == "floor" and not peers:
            self.config = ""
            self.command = [args.loadgen, "floor", "--port", str(self.port), "--dir", self.data]
        else:
            sys.exit(f"{spec}: neither zookeeper nor zkfast[@ENGINE][=PATH] nor, alone, floor")
        self.start()

    def start(self):
        """Starts the process on its data directory as it is."""
        self.log = open(os.path.join(self.directory, "log"), "ab")
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)

    def state(self):
        """Mode and newest zxid by srvr; None while it does not serve."""
        answer = four_letters(self.port, "srvr")
        if not answer or "Mode:" not in answer:
            return None
        self.version = answer.splitlines()[0]
        fields = dict(line.split(": ", 1) for line in answer.splitlines() if ": " in line)
        return fields["Mode"], int(fields["Zxid"], 16)

    def wait(self):
        """Returns once the server answers."""
        until = time.monotonic() + START_WAIT_S
        while time.monotonic() < until and self.process.poll() is None:
            if self.state():
                return
            time.sleep(0.02)
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            sys.stderr.write(file.read()[-2000:])
        sys.exit(f"{self.label}: no answer to srvr; its log is above")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_WAIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


class Service:
    """One server, or several that form one service."""

    def __init__(self, spec, label, directory, args, voters=None, observers=0):
        self.label = label
        count = (voters or args.servers) + observers
        peers = [[free_port() for _ in range(3)] for _ in range(count)] if count > 1 else []
        for ports in peers[count - observers:]:
            ports[2] = f"{ports[2]}:observer"
        self.servers = []
        try:
            for sid in range(1, count + 1):
                place = os.path.join(directory, f"server-{sid}")
                os.makedirs(place)
                name = f"{label} {sid}" if peers else label
                self.servers.append(Server(spec, name, place, args, sid, peers))
        except BaseException:
            self.stop()
            raise

    def wait(self):
        """Returns once all servers serve."""
        for server in self.servers:
            server.wait()
        self.version = self.servers[0].version

    def leader(self):
        """The server that leads; waits until one does."""
        until = time.monotonic() + START_WAIT_S
        while time.monotonic() < until:
            for server in self.servers:
                state = server.process.poll() is None and server.state()
                if state and state[0] in ("leader", "standalone"):
                    return server
            time.sleep(0.02)
        sys.exit(f"{self.label}: no server leads")

    def addresses(self):
        return ",".join(f"127.0.0.1:{server.load_port}" for server in self.servers)

    def pids(self):
        return ",".join(str(server.process.pid) for server in self.servers)

    def stop(self):
        for server in self.servers:
            server.stop()


def loadgen(service, options, args):
    """Runs loadgen on a service; returns its record, with the command."""
    command = [args.loadgen, *options, "--server", service.addresses(), "--server-pid", service.pids(), "--json"]
    if getattr(args, "tls", False):
        command += ["--client-configuration", os.path.join(service.servers[0].tls, "client.properties")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.stderr.write(done.stdout + done.stderr)
        sys.exit(f"{service.label}: {' '.join(command)}: exit status {done.returncode}")
    return {**json.loads(done.stdout), "command": " ".join(command)}


def derived(run):
    """A run with the figures that are computed from it."""
    more = {"client_cores": run["client_cpu_us_per_op"] * run["ops_per_s"] / 1e6}
    if "server_fsyncs" in run:
        more["server_fsyncs_per_op"] = run["server_fsyncs"] / run["ops"]
    return {**run, **more}


def trouble(run):
    """What went wrong in a run, as text; empty if nothing did."""
    counts = {**{what: run.get(what, 0) for what in TROUBLE}, **run.get("errors", {})}
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def portable(value, directory):
    """The value without directories of this machine, which mean nothing on another one."""
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


def environment(services, args, directory):
    """What a reader must know to understand the figures, or to measure them again."""
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
            for service in services for server in service.servers
        },
        "settings": {key: value for key, value in vars(args).items() if key in SETTINGS},
    }


def ratios(a_values, b_values):
    """Median, least and greatest of the ratios of runs of the same round; None if a divisor is zero."""
    if not a_values or len(a_values) != len(b_values) or not all(a_values):
        return None
    quotients = [b / a for a, b in zip(a_values, b_values)]
    return statistics.median(quotients), min(quotients), max(quotients)


def number(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def summary(rows, runs, first, *others):
    """The table: medians of all, and the ratio of each to the first with its spread."""
    runs = [derived(run) for run in runs]
    labels = (first, *others)
    heads = "".join(f" {label:>15}" for label in labels)
    ratio_heads = ", ".join(f"{label} / {first}" for label in others)
    lines = [f"{'':<11} {'median':<17}{heads}   {ratio_heads} (least to greatest of a round)"]
    for row in rows:
        for index, (heading, key) in enumerate(METRICS + (OPEN_METRICS if row in OPEN_LOOPS else [])):
            values = [[run[key] for run in runs if run["row"] == row and run["label"] == label and key in run]
                      for label in labels]
            if not all(values[:2]):
                continue
            line = f"{row if index == 0 else '':<11} {heading:<17}"
            line += "".join(f" {number(statistics.median(side)) if side else '-':>15}" for side in values)
            found = [ratios(values[0], side) for side in values[1:]]
            line += "   " + ", ".join("{:.3f} ({:.3f} to {:.3f})".format(*ratio) if ratio else "-" for ratio in found)
            lines.append(line)
    lines += [f"{run['row']}, round {run['round'] + 1}, {run['label']}: {trouble(run)}" for run in runs if trouble(run)]
    return "\n".join(lines)


def lone_set(server, args):
    """Single sets and bare writes to the disk of the same log, in turn."""
    command = [args.loadgen, "lone-set", "--server", f"127.0.0.1:{server.port}", "--dir", server.data,
               "--seconds", str(args.seconds), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.stderr.write(done.stderr)
        sys.exit(f"{server.label}: {' '.join(command)}: exit status {done.returncode}")
    return {**json.loads(done.stdout), "command": " ".join(command), "label": server.label}


def build():
    """Builds the programs, so that they are those of the sources."""
    subprocess.run(["cargo", "build", "--release", "--workspace"], cwd=ROOT, check=True)


def specs(args):
    """The services to measure: two or three, and the floor with --floor."""
    return [args.a, args.b, *([args.c] if args.c else []), *(["floor"] if args.floor else [])]


@contextlib.contextmanager
def both(args, labels, directory):
    """The services, serving; stopped at the end."""
    services = []
    try:
        for spec, label in zip(specs(args), labels):
            services.append(Service(spec, label, os.path.join(directory, label), args))
        for service in services:
            service.wait()
        yield services
    finally:
        for service in services:
            service.stop()


@contextlib.contextmanager
def record(services, args, directory, out):
    """A function that writes entries to runs.jsonl; the environment is the first."""
    with open(os.path.join(out, "runs.jsonl"), "w", encoding="utf-8") as raw:
        def keep(entry):
            raw.write(json.dumps(portable(entry, directory)) + "\n")
            raw.flush()

        keep(environment(services, args, directory))
        yield keep


def compare(args, labels, directory, out):
    with both(args, labels, directory) as services:
        with record(services, args, directory, out) as keep:
            # Java compiles while it runs: all services get the same load first, which is not measured.
            for service in services:
                for row in ("mix 64x16", "set 32x1"):
                    loadgen(service, [*WORKLOADS[row], "--seconds", str(args.first_warmup / 2)], args)
            runs = []
            for row in args.rows:
                for turn in range(args.rounds):
                    # Each service runs as often after the other as before it.
                    for service in services if turn % 2 == 0 else reversed(services):
                        options = [*WORKLOADS[row], "--seconds", str(args.seconds), "--warmup", str(args.warmup),
                                   "--seed", str(turn + 1)]
                        run = loadgen(service, options, args)
                        run.update(row=row, label=service.label, round=turn)
                        keep(run)
                        runs.append(run)
                        print(f"{row} round {turn + 1} {service.label}: {run['ops_per_s']:,.0f}/s, "
                              f"{run['server_cpu_us_per_op']:.2f} us CPU/op, p50 {run['p50_us']:.0f} us",
                              file=sys.stderr)
            text = summary(args.rows, runs, *labels)
            lone = [service.servers[0] for service in services if args.lone_set and args.servers == 1]
            for server in lone:
                found = lone_set(server, args)
                keep(found)
                text += (f"\nlone set, {server.label}: p50 {found['set_p50_us']:.0f} us, bare 4 KiB write + fdatasync "
                         f"{found['write_p50_us']:.0f} us, ratio {found['ratio_p50']:.2f} ({found['pairs']} pairs)")
    publish(text, out)


@contextlib.contextmanager
def collected(args, labels, directory, out, summary):
    """Both services, and a function that records a run and prints a line about it.

    If no run fails, `summary(runs, labels)` is published at the end."""
    runs = []
    with both(args, labels, directory) as services, record(services, args, directory, out) as keep:
        def report(run, line):
            keep(run)
            runs.append(run)
            print(line, file=sys.stderr)

        yield services, report
    publish(summary(runs, labels), out)


def publish(text, out):
    """Writes the summary of a comparison beside its runs, and prints it."""
    with open(os.path.join(out, "summary.txt"), "w", encoding="utf-8") as file:
        file.write(text + "\n")
    print(text)


def arguments(description, rounds, servers):
    """The parser of the arguments that all comparisons take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--a", default="zookeeper",
                        help="zookeeper, zkfast[@ENGINE][=PATH] or floor (default: zookeeper)")
    parser.add_argument("--b", default="zkfast", help="the same for the second service (default: zkfast)")
    parser.add_argument("--servers", type=int, default=servers, help=f"of each service (default: {servers})")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"(default: {rounds})")
    parser.add_argument("--cores", default="none", help="zkfast's (default: none, no thread is pinned)")
    parser.add_argument("--zkfast", default=os.path.join(ROOT, "target/release/zkfast"))
    parser.add_argument("--loadgen", default=os.path.join(ROOT, "target/release/loadgen"))
    parser.add_argument("--no-build", dest="build", action="store_false", help="use the binaries as they are")
    parser.add_argument("--dir", default=os.path.join(ROOT, "target"),
                        help="directory of the servers' data while they run, on the disk to measure")
    parser.add_argument("--out", help="result directory (default: benches/runs/DATE-MACHINE)")
    parser.set_defaults(floor=False, c=None)
    return parser


def conduct(parser, args, measure):
    """Builds, makes the directories, and calls `measure(args, labels, directory, out)`."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    out = args.out or os.path.join(ROOT, "benches/runs", f"{datetime.date.today()}-{platform.node()}")
    if os.path.exists(os.path.join(out, "runs.jsonl")):
        parser.error(f"{out} has results already: name another directory by --out")
    if args.build:
        build()
    os.makedirs(out, exist_ok=True)
    os.makedirs(args.dir, exist_ok=True)
    directory = tempfile.mkdtemp(prefix="compare-", dir=args.dir)
    kinds = [spec.partition("=")[0].replace("@", "-") for spec in specs(args)]
    labels = kinds if kinds[0] != kinds[1] else [f"{kinds[0]}-a", f"{kinds[1]}-b", *kinds[2:]]
    try:
        measure(args, labels, directory, out)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main():
    parser = arguments(__doc__, rounds=5, servers=1)
    parser.add_argument("--seconds", type=float, default=5, help="measured time of a run")
    parser.add_argument("--warmup", type=float, default=1, help="time before the measured time, in seconds")
    parser.add_argument("--first-warmup", type=float, default=20,
                        help="seconds of load on each server before the first run")
    parser.add_argument("--rows", type=lambda text: text.split(","), default=DEFAULT_ROWS,
                        help=f"some of: {','.join(WORKLOADS)}")
    parser.add_argument("--no-lone-set", dest="lone_set", action="store_false",
                        help="leave out the single sets and bare writes")
    parser.add_argument("--c", help="a third service")
    parser.add_argument("--tls", action="store_true", help="clients have TLS; ZooKeeper's server takes them by Netty")
    parser.add_argument("--floor", action="store_true", help="also measure the floor (above) in each round")
    args = parser.parse_args()
    if args.floor and (args.servers > 1 or "floor" in (args.a, args.b, args.c)):
        parser.error("there is one floor, and it is one server")
    for row in args.rows:
        if row not in WORKLOADS:
            parser.error(f"no such row: {row}")
    conduct(parser, args, compare)


if __name__ == "__main__":
    main()
