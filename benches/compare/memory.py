#!/usr/bin/env python3
"""What a server's resident memory is: idle, and for each znode, session, watch and view it has.

    benches/compare/memory.py                                      # zkfast alone
    benches/compare/memory.py --zookeeper DIR                      # and ZooKeeper, of which DIR holds the jars
    benches/compare/memory.py --znodes 100000 --more-cores '' --sessions '' --watches '' --children ''

Each row has a server of its own on an empty directory. What is told of it is VmRSS once it has come to rest: no thread
runs, its directory does not change, its memory neither. "Each" is what it has grown by since it was idle, divided by
what it was given:

    znodes     of 100 bytes, a thousand to a parent, by `loadgen fill`
    deleted    after `loadgen clean`; filled again, after as many znodes once more
    restarted  the same server after SIGTERM and a start on what it wrote; deleted and filled again after that
    sessions   by `loadgen idle`, which pings
    watches    of `exists` on as many paths where nothing is, by ten sessions; `wchs` counts them
    children   of one parent; one getChildren must name them all

`--cores 0-1` is one view beside the thread that commits, `0,1,0` two; of four or more the second is the log's, so that
`0,1,0,1,0` is three. Of Java the memory after `jcmd PID GC.run` stands beside it, where there is a jcmd.

The figures go to runs.jsonl (environment first) and summary.txt, as those of compare.py do.
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

# What is slow is waited for: it is not time that is measured.
WAIT_S_MAX = 600
compare.START_WAIT_S = compare.STOP_WAIT_S = session.ANSWER_S = WAIT_S_MAX
session.SESSION_TIMEOUT_MS = WAIT_S_MAX * 1000
compare.CONFIG = compare.CONFIG.replace("isro", "isro,wchs") + f"maxSessionTimeout={session.SESSION_TIMEOUT_MS}\n"
compare.SETTINGS |= {"znodes", "more_znodes", "more_cores", "sessions", "watches", "children"}

# A server is at rest after so many looks in a row, a second apart, that found nothing; it is waited for so long.
RESTS, REST_S_MAX = 3, 180
# What may happen at rest within a second: pings are answered, a JVM looks after itself.
REST_CPU_MS, REST_BYTES = 100, 256 << 10

# What further views hold, and how many sessions watch.
VIEWS_ZNODES, WATCHERS = 1_000_000, 10
# What an entry has: memory, and what it has grown by for each thing since the server was idle.
KINDS = (("rss_bytes", "bytes_each"), ("collected_bytes", "collected_bytes_each"))
# Requests on their way at once.
IN_FLIGHT = 1000

EXISTS, GET_CHILDREN, NO_NODE = 3, 8, -101


class Failed(Exception):
    """A row that came to nothing; the others are measured all the same."""


def status(process):
    """Bytes of resident memory: now, of it what no file backs, and the most there ever was."""
    with open(f"/proc/{process.pid}/status", encoding="utf-8") as file:
        fields = dict(line.split(":", 1) for line in file)
    return {name: int(fields[key].split()[0]) << 10
            for name, key in (("rss_bytes", "VmRSS"), ("anonymous_bytes", "RssAnon"), ("rss_peak_bytes", "VmHWM"))}


def activity(server):
    """CPU ms, resident bytes, blocks of its files, and whether any of its threads runs or is held up."""
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


def weigh(server):
    """Its memory at rest; of Java also once the garbage is collected."""
    found = {"at_rest": rest(server), **status(server.process)}
    if server.kind == "zookeeper" and shutil.which("jcmd"):
        subprocess.run(["jcmd", str(server.process.pid), "GC.run"], capture_output=True, check=True, timeout=WAIT_S_MAX)
        found["at_rest"] &= rest(server)
        found["collected_bytes"] = status(server.process)["rss_bytes"]
    return found


def command(server, args, *words):
    """Runs loadgen on a server; what it printed, with the command."""
    line = [args.loadgen, *words, "--server", f"127.0.0.1:{server.port}", "--json"]
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=WAIT_S_MAX)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{words[0]} stopped after {WAIT_S_MAX} s") from error
    if done.returncode != 0:
        raise Failed(f"{words[0]}: exit status {done.returncode}: {(done.stdout + done.stderr).strip()[-300:]}")
    return {**json.loads(done.stdout), "command": " ".join(line)}


def znodes(server, args, count, tell):
    """Weighs a server that is filled, emptied and filled again; started again, emptied and filled again."""
    fill = ("fill", "--znodes", str(count))
    tell("filled", command(server, args, *fill))
    for restarts in (False, True):
        if restarts:
            server.stop()
            server.start()
            server.wait()
            tell("restarted")
        if count in args.znodes and server.cores in (args.cores, None):
            tell("deleted", command(server, args, "clean"))
            tell("filled again", command(server, args, *fill))


def sessions(server, args, count, tell):
    """Weighs a server while sessions are held."""
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
        tell("held", {"connections": alive, "command": " ".join(line)})
    finally:
        holder.terminate()
        holder.wait()


def send_all(connection, requests, expected):
    """Sends requests, some at once; every answer must have the error code `expected`."""
    for first in range(0, len(requests), IN_FLIGHT):
        codes = {code for _, code in connection.pipeline(requests[first:first + IN_FLIGHT])}
        if codes != {expected}:
            raise Failed(f"answers have codes {codes} instead of {expected}")


def watches(server, _args, count, tell):
    """Weighs a server on which paths are watched."""
    watchers = [Connection(server.port, None, 0) for _ in range(WATCHERS)]
    for number, watcher in enumerate(watchers):
        mine = range(number, count, WATCHERS)
        send_all(watcher, [(EXISTS, string(f"/memory/watch/{at:07}") + b"\1") for at in mine], NO_NODE)
    said = (compare.four_letters(server.port, "wchs") or "").strip()
    if f"Total watches:{count}" not in said:
        raise Failed(f"wchs says {said!r} of {count} watches")
    tell("set", {"wchs": said})
    for watcher in watchers:
        watcher.call(CLOSE, b"")
        watcher.close()
    tell("closed")


def children(server, _args, count, tell):
    """Weighs a server with one large directory, and asks for it."""
    connection = Connection(server.port, None, 0)
    send_all(connection, [create("/memory", b"")] + [create(f"/memory/{at:07}", bytes(100)) for at in range(count)], 0)
    tell("created")
    connection.send(struct.pack(">ii", 1, GET_CHILDREN) + string("/memory") + b"\0")
    answer = connection.receive()
    if (found := struct.unpack_from(">ii", answer, 12)) != (0, count):
        raise Failed(f"getChildren: code and children {found} instead of 0, {count}")
    tell("listed", {"children": count, "answer_bytes": len(answer)})
    connection.close()


def plan(args):
    """Rows: what, server, cores, how many, and the function that measures them."""
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


def row(args, entry, measured, directory, tell):
    """One server on an empty directory, idle and then with what it is given."""
    label, cores = entry["label"], entry["cores"]
    with contextlib.ExitStack() as stack:
        place = tempfile.mkdtemp(dir=directory)
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        server = compare.Server(label, label, place, argparse.Namespace(**{**vars(args), "cores": cores}))
        stack.callback(server.stop)
        server.cores = cores
        server.wait()
        idle = weigh(server)
        tell({**entry, "state": "idle", **idle})

        def weighed(state, more=None):
            found = weigh(server)
            for kind, of_each in KINDS:
                if kind in found:
                    found[of_each] = (found[kind] - idle[kind]) / entry["count"]
            tell({**entry, "state": state, **found, "more": more or {}})

        measured(server, args, entry["count"], weighed)


def measure(args, labels, directory, out):
    entries = []
    with contextlib.ExitStack() as stack:
        # What the environment tells of, and nothing more: each row has a server of its own.
        with contextlib.ExitStack() as meanwhile:
            services = []
            for label in labels[:1 + bool(args.zookeeper)]:
                services.append(compare.Service(label, label, os.path.join(directory, label), args))
                meanwhile.callback(services[-1].stop)
                services[-1].wait()
            keep = stack.enter_context(compare.record(services, args, directory, out))

        def tell(entry):
            keep(entry)
            entries.append(entry)
            print(summary([entry]).splitlines()[-1], file=sys.stderr)

        for what, label, cores, count, measured in plan(args):
            entry = {"what": what, "label": label, "cores": cores, "count": count}
            try:
                row(args, entry, measured, directory, tell)
            except (Failed, session.Lost, OSError) as error:
                tell({**entry, "state": "failed", "error": str(error) or type(error).__name__})
    compare.publish(summary(entries), out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zookeeper", metavar="DIR", help="jars of Apache ZooKeeper, which is then measured too")
    parser.add_argument("--cores", default="0-1", help="zkfast's (default: 0-1)")
    parser.add_argument("--more-cores", type=str.split, default=["0,1,0", "0,1,0,1,0"],
                        help=f"other --cores to fill with {VIEWS_ZNODES} znodes (default: '0,1,0 0,1,0,1,0')")
    counts = lambda text: [int(word) for word in text.split(",") if word]
    for name, default, what in (
        ("znodes", "100000,1000000", "of 100 bytes, of both servers"),
        ("more-znodes", "10000000", "of 100 bytes, of zkfast alone"),
        ("sessions", "1000,10000", "that idle; of ZooKeeper the first of these"),
        ("watches", "100000,1000000", "likewise"),
        ("children", "100000", "of one parent, of zkfast alone"),
    ):
        parser.add_argument(f"--{name}", type=counts, default=default, help=f"{what} (default: {default})")
    parser.add_argument("--zkfast", default=os.path.join(compare.ROOT, "target/release/zkfast"))
    parser.add_argument("--loadgen", default=os.path.join(compare.ROOT, "target/release/loadgen"))
    parser.add_argument("--no-build", dest="build", action="store_false", help="take the binaries as they are")
    parser.add_argument("--dir", default=os.path.join(compare.ROOT, "target"), help="where the servers' data is")
    parser.add_argument("--out", help="result directory (default: benches/runs/DATE-MACHINE)")
    parser.set_defaults(a="zkfast", b="zookeeper", floor=False, servers=1)
    args = parser.parse_args()
    if args.zookeeper:
        os.environ["ZKFAST_ZOOKEEPER_LIB"] = args.zookeeper
    compare.conduct(parser, args, measure)


if __name__ == "__main__":
    main()
