#!/usr/bin/env python3
"""The resident memory of a server: idle, and per znode, session, watch and view.

    benches/compare/memory.py                                      # zkfast alone
    benches/compare/memory.py --zookeeper DIR                      # and ZooKeeper, whose jars are in DIR
    benches/compare/memory.py --znodes 100000 --more-cores '' --sessions '' --watches '' --children ''

Each row has a server of its own on an empty directory. Its figure is VmRSS once it is at rest: no thread runs, neither
its directory nor its memory changes. "Each" is its growth since it was idle, divided by the number of things it was
given:

    znodes     of 100 bytes, a thousand to a parent, by `loadgen fill`
    deleted    after `loadgen clean`; filled again, after as many znodes once more
    restarted  the same server after SIGTERM and a start on what it wrote; deleted and filled again after that
    sessions   by `loadgen idle`, which pings
    watches    of `exists` on as many paths without a znode, by ten sessions; `wchs` counts them
    children   of one parent; one getChildren must list them all

`--cores 0-1` is one view beside the thread that commits, `0,1,0` two; of four cores or more the second is the log's, so
that `0,1,0,1,0` is three views. For Java there is also the memory after `jcmd PID GC.run`, if the machine has jcmd.

The figures go to runs.jsonl (the environment first) and summary.txt, as in compare.py.
"""

import argparse
import contextlib
import glob
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time

import compare
import session
from session import CLOSE, Connection, create, string

# Waits are long, because time is not what this program measures.
WAIT_S_MAX = 600
compare.START_WAIT_S = compare.STOP_WAIT_S = session.ANSWER_S = WAIT_S_MAX
session.SESSION_TIMEOUT_MS = WAIT_S_MAX * 1000
compare.CONFIG = compare.CONFIG.replace("isro", "isro,wchs") + f"maxSessionTimeout={session.SESSION_TIMEOUT_MS}\n"
compare.SETTINGS |= {"znodes", "more_znodes", "more_cores", "sessions", "watches", "children"}

# A server is at rest after RESTS checks in a row, a second apart, without activity; the wait is at most REST_S_MAX.
RESTS, REST_S_MAX = 3, 180
# Activity of a server at rest within a second: it replies to pings, and a JVM does its housekeeping.
REST_CPU_MS, REST_BYTES = 100, 256 << 10

# Znodes of the rows with more views, and sessions that watch.
VIEWS_ZNODES, WATCHERS = 1_000_000, 10
# Keys of an entry: memory, and its growth per thing since the server was idle.
KINDS = (("rss_bytes", "bytes_each"), ("collected_bytes", "collected_bytes_each"))
# Requests in flight.
IN_FLIGHT = 1000

EXISTS, GET_CHILDREN, NO_NODE = 3, 8, -101


class Failed(Exception):
    """A row that failed; the other rows are measured all the same."""


def status(process):
    """Bytes of resident memory: now, without file-backed pages, and the peak."""
    with open(f"/proc/{process.pid}/status", encoding="utf-8") as file:
        fields = dict(line.split(":", 1) for line in file)
    return {name: int(fields[key].split()[0]) << 10
            for name, key in (("rss_bytes", "VmRSS"), ("anonymous_bytes", "RssAnon"), ("rss_peak_bytes", "VmHWM"))}


def activity(server):
    """CPU time in ms, resident bytes, blocks of its files, and whether one of its threads runs or is blocked."""
    process, cpu, size, busy = server.process.pid, 0, 0, False
    for path in glob.glob(f"/proc/{process}/task/*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(path, encoding="utf-8") as file:
            fields = file.read().rpartition(")")[2].split()
            busy |= fields[0] in "RDTt"
            cpu += int(fields[11]) + int(fields[12])
    for path in glob.glob(os.path.join(server.data, "**"), recursive=True):
        with contextlib.suppress(FileNotFoundError):
            size += os.stat(path).st_blocks
    return cpu * 1000 / os.sysconf("SC_CLK_TCK"), status(server.process)["rss_bytes"], size, busy


def rest(server):
    """Returns whether the server has come to rest in time."""
    until, rests, before = time.monotonic() + REST_S_MAX, 0, activity(server)
    while rests < RESTS and time.monotonic() < until:
        time.sleep(1)
        now = activity(server)
        quiet = (not now[3] and now[0] - before[0] <= REST_CPU_MS and abs(now[1] - before[1]) <= REST_BYTES
                 and now[2] == before[2])
        rests, before = rests + 1 if quiet else 0, now
    return rests >= RESTS


def measured_memory(server):
    """Its memory at rest; for Java also after a garbage collection."""
    found = {"at_rest": rest(server), **status(server.process)}
    if server.kind == "zookeeper" and shutil.which("jcmd"):
        subprocess.run(["jcmd", str(server.process.pid), "GC.run"], capture_output=True, check=True, timeout=WAIT_S_MAX)
        found["at_rest"] &= rest(server)
        found["collected_bytes"] = status(server.process)["rss_bytes"]
    return found


def command(server, args, *words):
    """Runs loadgen on a server; returns its record, with the command."""
    line = [args.loadgen, *words, "--server", f"127.0.0.1:{server.port}", "--json"]
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=WAIT_S_MAX)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{words[0]} stopped after {WAIT_S_MAX} s") from error
    if done.returncode != 0:
        raise Failed(f"{words[0]}: exit status {done.returncode}: {(done.stdout + done.stderr).strip()[-300:]}")
    return {**json.loads(done.stdout), "command": " ".join(line)}


def znodes(server, args, count, report):
    """Measures a server that is filled, emptied and filled again; then restarted, emptied and filled again."""
    fill = ("fill", "--znodes", str(count))
    report("filled", command(server, args, *fill))
    for restarts in (False, True):
        if restarts:
            server.stop()
            server.start()
            server.wait()
            report("restarted")
        if count in args.znodes and server.cores in (args.cores, None):
            report("deleted", command(server, args, "clean"))
            report("filled again", command(server, args, *fill))


def sessions(server, args, count, report):
    """Measures a server with idle sessions."""
    line = [args.loadgen, "idle", "--sessions", str(count), "--seconds", "600", "--server", f"127.0.0.1:{server.port}"]
    holder = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    try:
        until, alive = time.monotonic() + WAIT_S_MAX, 0
        while alive < count:
            if holder.poll() is not None or time.monotonic() > until:
                raise Failed(f"idle: {alive} sessions of {count}; exit status {holder.poll()}")
            time.sleep(0.2)
            words = (compare.four_letters(server.port, "srvr") or "").splitlines()
            alive = next((int(word.split()[1]) for word in words if word.startswith("Connections:")), 0)
        report("held", {"connections": alive, "command": " ".join(line)})
    finally:
        holder.terminate()
        holder.wait()


def send_all(connection, requests, expected):
    """Sends requests, IN_FLIGHT at once; every reply must have the error code `expected`."""
    for first in range(0, len(requests), IN_FLIGHT):
        codes = {code for _, code in connection.pipeline(requests[first:first + IN_FLIGHT])}
        if codes != {expected}:
            raise Failed(f"replies have codes {codes} instead of {expected}")


def watches(server, _args, count, report):
    """Measures a server with watches."""
    watchers = [Connection(server.port, None, 0) for _ in range(WATCHERS)]
    for number, watcher in enumerate(watchers):
        mine = range(number, count, WATCHERS)
        send_all(watcher, [(EXISTS, string(f"/memory/watch/{at:07}") + b"\1") for at in mine], NO_NODE)
    answer = (compare.four_letters(server.port, "wchs") or "").strip()
    if f"Total watches:{count}" not in answer:
        raise Failed(f"wchs says {answer!r} of {count} watches")
    report("set", {"wchs": answer})
    for watcher in watchers:
        watcher.call(CLOSE, b"")
        watcher.close()
    report("closed")


def children(server, _args, count, report):
    """Measures a server with one large parent, and lists its children."""
    connection = Connection(server.port, None, 0)
    send_all(connection, [create("/memory", b"")] + [create(f"/memory/{at:07}", bytes(100)) for at in range(count)], 0)
    report("created")
    connection.send(struct.pack(">ii", 1, GET_CHILDREN) + string("/memory") + b"\0")
    answer = connection.receive()
    if (found := struct.unpack_from(">ii", answer, 12)) != (0, count):
        raise Failed(f"getChildren: code and children {found} instead of 0, {count}")
    report("listed", {"children": count, "answer_bytes": len(answer)})
    connection.close()


def plan(args):
    """Rows: what, server, cores, count, and the function that measures them."""
    for label, cores in (("zkfast", args.cores), ("zookeeper", None))[:1 + bool(args.zookeeper)]:
        some = slice(None) if cores else slice(1)
        for what, counts, measured in (("znodes", args.znodes + args.more_znodes * bool(cores), znodes),
                                       ("sessions", args.sessions[some], sessions),
                                       ("watches", args.watches[some], watches),
                                       ("children", args.children * bool(cores), children)):
            for count in counts:
                yield what, label, cores, count, measured
    for cores in args.more_cores:
        yield "znodes", "zkfast", cores, VIEWS_ZNODES, znodes


def summary(entries):
    heads = "".join(f"{head:>12}" for head in ("MB", "bytes each", "MB after GC", "bytes each", "most MB"))
    lines = [f"{'':<34}{'server':<11}{'cores':<10}{heads}"]
    for entry in entries:
        name = f"{entry['count']:,} {entry['what']}" if entry["state"] in ("idle", "failed") else ""
        line = f"{name:<20}{entry['state']:<14}{entry['label']:<11}{entry['cores'] or '':<10}"
        if "error" in entry:
            lines.append(f"{line}  {entry['error']}")
            continue
        for key in (*KINDS[0], *KINDS[1], "rss_peak_bytes"):
            scale = 1 if key.endswith("_each") else 1e6
            line += f"{compare.number(entry[key] / scale):>12}" if key in entry else f"{'':>12}"
        lines.append(line + ("" if entry["at_rest"] else "  (not at rest)"))
    return "\n".join(lines)


def row(args, entry, measured, directory, report):
    """Measures one server on an empty directory, idle and then with what it is given."""
    label, cores = entry["label"], entry["cores"]
    with contextlib.ExitStack() as stack:
        place = tempfile.mkdtemp(dir=directory)
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        server = compare.Server(label, label, place, argparse.Namespace(**{**vars(args), "cores": cores}))
        stack.callback(server.stop)
        server.cores = cores
        server.wait()
        idle = measured_memory(server)
        report({**entry, "state": "idle", **idle})

        def weighed(state, more=None):
            found = measured_memory(server)
            for kind, of_each in KINDS:
                if kind in found:
                    found[of_each] = (found[kind] - idle[kind]) / entry["count"]
            report({**entry, "state": state, **found, "more": more or {}})

        measured(server, args, entry["count"], weighed)


def measure(args, labels, directory, out):
    entries = []
    with contextlib.ExitStack() as stack:
        # These servers only supply the environment's entries: each row has a server of its own.
        with contextlib.ExitStack() as meanwhile:
            services = []
            for label in labels[:1 + bool(args.zookeeper)]:
                services.append(compare.Service(label, label, os.path.join(directory, label), args))
                meanwhile.callback(services[-1].stop)
                services[-1].wait()
            keep = stack.enter_context(compare.record(services, args, directory, out))

        def report(entry):
            keep(entry)
            entries.append(entry)
            print(summary([entry]).splitlines()[-1], file=sys.stderr)

        for what, label, cores, count, measured in plan(args):
            entry = {"what": what, "label": label, "cores": cores, "count": count}
            try:
                row(args, entry, measured, directory, report)
            except (Failed, session.Lost, OSError) as error:
                report({**entry, "state": "failed", "error": str(error) or type(error).__name__})
    compare.publish(summary(entries), out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zookeeper", metavar="DIR", help="jars of Apache ZooKeeper; measures it too")
    parser.add_argument("--cores", default="0-1", help="zkfast's (default: 0-1)")
    parser.add_argument("--more-cores", type=str.split, default=["0,1,0", "0,1,0,1,0"],
                        help=f"other --cores to fill with {VIEWS_ZNODES} znodes (default: '0,1,0 0,1,0,1,0')")
    counts = lambda text: [int(word) for word in text.split(",") if word]
    for name, default, what in (
        ("znodes", "100000,1000000", "znodes of 100 bytes, of both servers"),
        ("more-znodes", "10000000", "znodes of 100 bytes, of zkfast alone"),
        ("sessions", "1000,10000", "idle sessions; ZooKeeper gets only the first number"),
        ("watches", "100000,1000000", "watches; ZooKeeper gets only the first number"),
        ("children", "100000", "children of one parent, of zkfast alone"),
    ):
        parser.add_argument(f"--{name}", type=counts, default=default, help=f"{what} (default: {default})")
    parser.add_argument("--zkfast", default=os.path.join(compare.ROOT, "target/release/zkfast"))
    parser.add_argument("--loadgen", default=os.path.join(compare.ROOT, "target/release/loadgen"))
    parser.add_argument("--no-build", dest="build", action="store_false", help="use the binaries as they are")
    parser.add_argument("--dir", default=os.path.join(compare.ROOT, "target"), help="directory of the servers' data")
    parser.add_argument("--out", help="result directory (default: benches/runs/DATE-MACHINE)")
    parser.set_defaults(a="zkfast", b="zookeeper", c=None, floor=False, servers=1)
    args = parser.parse_args()
    if args.zookeeper:
        os.environ["ZKFAST_ZOOKEEPER_LIB"] = args.zookeeper
    compare.conduct(parser, args, measure)


if __name__ == "__main__":
    main()
