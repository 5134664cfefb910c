#!/usr/bin/env python3
"""Large trees, lists of children, watches and numbers of sessions: memory, and times to start, join and reconnect.

    benches/compare/large.py                                # all parts at full size, zkfast alone: some half an hour
    benches/compare/large.py --zookeeper DIR                # and ZooKeeper, whose jars are in DIR
    benches/compare/large.py --parts tree --znodes 1000000 --zookeeper DIR
    benches/compare/large.py --parts sessions,failover --sessions 10000

tree      Znodes of 100 bytes, a thousand to a parent, from a snapshot in ZooKeeper's format. Then a start on what the
          server itself has written: seconds and CPU time until it serves, the most memory until then, and the memory
          at rest. Then 500 setDatas a second, without a snapshot and while snapshots are taken: their p99.9 and
          longest latency, and the most memory.
join      The same directory, copied to two servers; a third one begins with an empty directory: seconds until it is in
          step, and the most memory that it and the leader had meanwhile.
children  One parent: CPU time, and instructions where perf counts them, of a create with the delete after it, with
          1000 children and with all; the answer to one getChildren.
watches   Sessions that watch the same znodes by exists; then each znode is created. The memory of a watch, the time
          until the last event has come, and events that are missing or came twice.
sessions  Sessions on one server that only ping: memory and CPU.
failover  The same on several servers; the leader gets SIGKILL: seconds until all are connected again (each tries
          another server after 0 to 1 s, as Java's client does), and sessions that were expired.

The figures go to runs.jsonl (the environment first) and summary.txt, as in compare.py.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib

import compare
import crowd
import memory
import mixed
import session
from crowd import Crowd, Crowds
from mixed import Failed
from session import CLOSE, Connection, create

WAIT_S_MAX = 900
ZNODE_BYTES, OF_ONE_PARENT, OPEN_ACL = 100, 1000, -1
FIRST_CHILDREN, CHANGES, GET_CHILDREN, DELETE = 1000, 20_000, 8, 2
LOAD_RATE, LOAD_S_MIN = 500, 20
# Setting of `snapCount`: none during a load, or one after the other.
NO_SNAPSHOTS, SNAPSHOTS = 1_000_000_000, 1000
SNAPSHOT_TAKEN = {"zkfast": re.compile(r"snapshot: written: .*took_ms=(\d+)"),
                  "java": re.compile(r"Snapshot taken in (\d+) ms")}
WATCHED = 1000
SESSION_TIMEOUT_MS = 40_000
JAVA_HEAP_OF_ZNODE = 1500


def usage(member):
    """CPU time of a server so far, in ms."""
    with open(f"/proc/{member.process.pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def at_rest(member):
    """Its memory once nothing of it runs; Java's after a collection."""
    if member.kind == "java":
        subprocess.run(["jcmd", str(member.process.pid), "GC.run"], capture_output=True, check=True, timeout=WAIT_S_MAX)
    memory.rest(member)
    return memory.status(member.process)["rss_bytes"]


def started(ensemble, member):
    """Starts a server; returns the time and CPU time until it serves, and the most memory until then."""
    begun = time.monotonic()
    member.start()
    ensemble.wait([member], WAIT_S_MAX)
    return {"start_s": round(time.monotonic() - begun, 2), "start_cpu_ms": usage(member),
            "start_peak_bytes": member.peak_bytes()}


def server(kind, args, directory, name, count=1, heap_bytes=1 << 30, **keys):
    """An ensemble, or one server that is none, with `keys` in its configuration."""
    place = os.path.join(directory, name)
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place)
    keys = {"maxSessionTimeout": 600_000, "autopurge.purgeInterval": 1, **keys}
    heap = f"{max(heap_bytes, 1 << 30) >> 20}m"
    options = mixed.Options(args.zkfast, place, heap=heap, cores=args.cores, keys=keys)
    return mixed.Ensemble([kind] * count, options)


def load(member, args, seconds):
    """Latencies of a load that no server finds hard."""
    line = [args.loadgen, "--workload", "set", "--rate", str(LOAD_RATE), "--connections", "4", "--seconds",
            str(seconds), "--warmup", "1", "--server", f"127.0.0.1:{member.port}", "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(line)}: {done.stderr[-300:]}")
    found = json.loads(done.stdout)
    return {key: found.get(key) for key in ("ops_per_s", "p50_us", "p99_us", "p999_us", "max_us", "late_ms")}


def write_snapshot(path, znodes):
    """Writes a snapshot in ZooKeeper's format, on which both servers start: creating znodes takes far longer."""
    def record(name, data, cversion):
        name = name.encode()
        return struct.pack(f">i{len(name)}si{len(data)}sqqqqqiiiqq", len(name), name, len(data), data, OPEN_ACL, 1, 1,
                           1, 1, 0, cversion, 0, 0, 1)

    parents = (znodes + OF_ONE_PARENT - 1) // OF_ONE_PARENT
    data, check = bytes(ZNODE_BYTES), 1
    with open(path, "wb") as file:
        def put(piece):
            nonlocal check
            check = zlib.adler32(piece, check)
            file.write(piece)

        # Magic, version, database; no sessions, no lists.
        put(b"ZKSN" + struct.pack(">iqii", 2, -1, 0, 0))
        put(b"".join(record(name, b"", children) for name, children in (
            ("", 2), ("/zookeeper", 2), ("/zookeeper/quota", 0), ("/zookeeper/config", 0), ("/tree", parents))))
        for parent in range(parents):
            numbers = range(parent * OF_ONE_PARENT, min((parent + 1) * OF_ONE_PARENT, znodes))
            put(record(f"/tree/{parent}", b"", len(numbers)))
            put(b"".join(record(f"/tree/{parent}/{number}", data, 0) for number in numbers))
        put(struct.pack(">i1s", 1, b"/"))
        file.write(struct.pack(">qi1s", check, 1, b"/"))


def tree(kind, args, directory, report):
    """The parts `tree` and `join`."""
    for znodes in args.znodes:
        heap_bytes = znodes * JAVA_HEAP_OF_ZNODE
        with server(kind, args, directory, f"tree-{kind}", heap_bytes=heap_bytes) as ensemble:
            member, = ensemble.members
            entry = {"what": "tree", "kind": kind, "count": znodes}
            os.makedirs(os.path.join(member.data, "version-2"))
            write_snapshot(os.path.join(member.data, "version-2", "snapshot.1"), znodes)
            # zkfast takes a snapshot of its own at this start, Java after the first writes.
            started(ensemble, member)
            entry |= {"heap_bytes": heap_bytes if kind == "java" else None}
            load(member, args, LOAD_S_MIN)
            for name, snap_count in (("quiet", NO_SNAPSHOTS), ("snapshots", SNAPSHOTS)):
                member.stop(WAIT_S_MAX)
                entry |= {"files_bytes": member.disk_bytes()} if name == "quiet" else {}
                ensemble.options.keys["snapCount"] = snap_count
                since = member.mark()
                found = started(ensemble, member)
                if name == "quiet":
                    entry |= found
                    entry["start_lines"] = [text for text in member.log_text(since).splitlines() if "recovery:" in text]
                    entry["restarted_bytes"] = at_rest(member)
                since = member.mark()
                member.forget_peak()
                seconds = LOAD_S_MIN + (znodes // 500_000 if name == "snapshots" else 0)
                entry[f"load_{name}"] = load(member, args, seconds)
                entry[f"peak_{name}_bytes"] = member.peak_bytes()
                entry[f"snapshots_ms_{name}"] = [int(ms) for ms in
                                                 SNAPSHOT_TAKEN[kind].findall(member.log_text(since))]
            report(entry)
            member.stop(WAIT_S_MAX)
            if "join" in args.parts:
                join(kind, args, directory, report, znodes, member.data)
        shutil.rmtree(os.path.join(directory, f"tree-{kind}"), ignore_errors=True)


def join(kind, args, directory, report, znodes, data):
    limits = {"initLimit": 60, "syncLimit": 30}
    heap_bytes = znodes * JAVA_HEAP_OF_ZNODE // 2
    with server(kind, args, directory, f"join-{kind}", 3, heap_bytes, **limits) as ensemble:
        first, joiner = ensemble.members[:2], ensemble.member(3)
        for member in first:
            member.become(kind, data)
        ensemble.start(first)
        ensemble.wait(first, WAIT_S_MAX)
        leader = ensemble.leader()
        before = at_rest(leader)
        found = mixed.join(joiner, leader, WAIT_S_MAX)
        if not found["in_step_s"]:
            mixed.keep_log(joiner, args.out or directory, "join")
        report({"what": "join", "kind": kind, "count": znodes, "leader_bytes": before, "joiner_bytes": at_rest(joiner),
                **{key: found[key] for key in ("in_step_s", "tries", "sync", "joiner_peak_bytes", "leader_peak_bytes",
                                               "joiner_disk_most_bytes", "errors", "leader_errors")}})
    shutil.rmtree(os.path.join(directory, f"join-{kind}"), ignore_errors=True)


def delete(path):
    return DELETE, session.string(path) + struct.pack(">i", -1)


def cost_of_change(member, connection):
    """CPU time, and instructions in user space where perf counts them, of a create and the delete after it."""
    counted = None
    if shutil.which("perf"):
        counted = subprocess.Popen(["perf", "stat", "-x,", "-e", "instructions:u", "-p", str(member.process.pid)],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(0.5)
    before, begun = usage(member), time.monotonic()
    pairs = [request for at in range(CHANGES) for request in (create(f"/many/x{at % 7}", bytes(100)),
                                                              delete(f"/many/x{at % 7}"))]
    memory.send_all(connection, pairs, 0)
    found = {"cpu_us": round((usage(member) - before) * 1000 / CHANGES, 2),
             "wall_us": round((time.monotonic() - begun) * 1e6 / CHANGES, 2)}
    if counted:
        counted.send_signal(signal.SIGINT)
        match = re.match(r"(\d+),", counted.communicate()[1])
        found["instructions"] = int(match.group(1)) // CHANGES if match else None
    return found


def children(kind, args, directory, report):
    with server(kind, args, directory, f"children-{kind}", heap_bytes=4 << 30, snapCount=NO_SNAPSHOTS) as ensemble:
        member, = ensemble.members
        member.start()
        ensemble.wait()
        connection = Connection(member.port, None, 0)
        memory.send_all(connection, [create("/many", b"")], 0)
        entry, made = {"what": "children", "kind": kind, "count": args.children}, 0
        for count in (FIRST_CHILDREN, args.children):
            begun = time.monotonic()
            memory.send_all(connection, [create(f"/many/{at:07}", bytes(100)) for at in range(made, count)], 0)
            entry |= {"create_s": round(time.monotonic() - begun, 2)}
            made = count
            # Java compiles what it runs: the second measure counts.
            cost_of_change(member, connection)
            entry[f"change_with_{count}"] = cost_of_change(member, connection)
        before, begun = usage(member), time.monotonic()
        connection.xid += 1
        connection.send(struct.pack(">ii", connection.xid, GET_CHILDREN) + session.string("/many") + b"\0")
        try:
            answer = connection.receive()
            entry |= {"listed": struct.unpack_from(">ii", answer, 12), "answer_bytes": len(answer),
                      "list_ms": round((time.monotonic() - begun) * 1000, 1), "list_cpu_ms": usage(member) - before,
                      "peak_bytes": member.peak_bytes()}
            memory.send_all(connection, [delete(f"/many/{at:07}") for at in range(made)], 0)
            memory.send_all(connection, [delete("/many")], 0)
            connection.call(CLOSE, b"")
        except session.Lost:
            entry["listed"] = "the connection was closed"
        entry["rss_bytes"] = at_rest(member)
        report(entry)


def watches(kind, args, directory, report):
    with server(kind, args, directory, f"watches-{kind}", heap_bytes=4 << 30) as ensemble:
        member, = ensemble.members
        member.start()
        ensemble.wait()
        paths = [f"/watched-{at:05}" for at in range(WATCHED)]
        many = Crowd(args.watches // WATCHED, [member.port], 120_000)
        many.open(WAIT_S_MAX)
        before = at_rest(member)
        set_s = many.watch(paths, WAIT_S_MAX)
        rss = at_rest(member)
        cpu = usage(member)
        writer = Connection(member.port, None, 0)
        begun = time.monotonic()
        frames = []
        for xid, path in enumerate(paths, 1):
            body = create(path, b"")[1]
            frames.append(struct.pack(">iii", 8 + len(body), xid, session.CREATE) + body)
        writer.sock.sendall(b"".join(frames))
        count = lambda: all(len(one.events) == WATCHED for one in many.members)
        with contextlib.suppress(crowd.Stuck):
            many.until(count, 120, "all events have come")
        entry = {"what": "watches", "kind": kind, "count": args.watches, "sessions": len(many.members),
                 "set_s": round(set_s, 2), "rss_bytes": rss, "bytes_each": round((rss - before) / args.watches, 1),
                 "fire_s": round(time.monotonic() - begun, 2), "fire_cpu_ms": usage(member) - cpu,
                 "lacking": many.lacking_events(paths), "losses": many.losses, "peak_bytes": member.peak_bytes()}
        writer.close()
        many.close()
        report(entry)


def connected(many):
    """Whether all sessions of a crowd are."""
    return lambda found: found["ready"] == many.count


def sessions(kind, args, directory, report):
    with server(kind, args, directory, f"sessions-{kind}", heap_bytes=4 << 30) as ensemble:
        member, = ensemble.members
        member.start()
        ensemble.wait()
        before = at_rest(member)
        many = Crowds(args.sessions, [member.port], SESSION_TIMEOUT_MS)
        open_s = many.open(WAIT_S_MAX)
        cpu, begun = usage(member), time.monotonic()
        time.sleep(args.seconds)
        cores = (usage(member) - cpu) / 1000 / (time.monotonic() - begun)
        rss = memory.status(member.process)["rss_bytes"]
        report({"what": "sessions", "kind": kind, "count": args.sessions, "open_s": round(open_s, 2), "rss_bytes": rss,
                "bytes_each": round((rss - before) / args.sessions), "cores": round(cores, 4), **many.status()})
        many.close()


def failover(kind, args, directory, report):
    with server(kind, args, directory, f"failover-{kind}", args.servers, 2 << 30) as ensemble:
        ensemble.start()
        ensemble.wait()
        many = Crowds(args.failover_sessions, ensemble.ports(), SESSION_TIMEOUT_MS)
        open_s = many.open(WAIT_S_MAX)
        time.sleep(5)
        for _ in range(args.rounds):
            before = many.status()
            leader = ensemble.leader()
            begun = time.monotonic()
            leader.kill()
            back_s = None
            with contextlib.suppress(crowd.Stuck):
                many.until(lambda found: found["losses"] > before["losses"], 60, "a session loses its connection")
                many.until(connected(many), 120, "all are connected")
                back_s = round(time.monotonic() - begun, 2)
            # Sessions that the new leader takes for dead expire within a timeout.
            time.sleep(args.hold)
            after = many.status()
            keys = ("losses", "refused", "silent", "expired", "wrong", "other_ids")
            counts = {key: after[key] - before[key] for key in keys}
            report({"what": "failover", "kind": kind, "count": many.count, "servers": args.servers,
                    "open_s": round(open_s, 2), "back_s": back_s, "ready": after["ready"], **counts,
                    "peak_bytes": max(one.peak_bytes() for one in ensemble.members if one.runs())})
            leader.start()
            ensemble.wait([leader])
        many.close()


PARTS = {"tree": tree, "join": None, "children": children, "watches": watches, "sessions": sessions,
         "failover": failover}


def cells(entry):
    """What the summary says of an entry, in pairs of heading and text."""
    for key, value in entry.items():
        if key in ("what", "kind", "count", "start_lines") or value is None:
            continue
        if key.endswith("_bytes") and isinstance(value, (int, float)):
            yield key.replace("_bytes", " MB").replace("_", " "), f"{value / 1e6:,.1f}"
        elif isinstance(value, dict):
            yield key.replace("_", " "), ", ".join(f"{name} {one}" for name, one in value.items())
        else:
            yield key.replace("_", " "), str(value)


def summary(entries):
    lines = []
    for entry in entries:
        lines.append(f"{entry['what']} {entry.get('count', 0):,} {entry['kind']}")
        lines += [f"    {name:<24} {text}" for name, text in cells(entry)]
    return "\n".join(lines)


def measure(args, labels, directory, out):
    entries = []
    with compare.record([], args, directory, out) as keep:
        def report(entry):
            keep(entry)
            entries.append(entry)
            print(summary([entry]), file=sys.stderr, flush=True)

        kinds = ["zkfast"] * args.own + ["java"] * bool(args.zookeeper)
        for name, part in PARTS.items():
            for kind in kinds:
                if name not in args.parts or not part:
                    continue
                try:
                    part(kind, args, directory, report)
                except (Failed, crowd.Stuck, memory.Failed, session.Lost, OSError) as error:
                    report({"what": name, "kind": kind, "count": 0, "failed": f"{type(error).__name__} {error}"})
    compare.publish(summary(entries), out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mixed.arguments(parser)
    words = lambda text: text.split(",")
    parser.add_argument("--zookeeper", metavar="DIR", help="jars of Apache ZooKeeper; measures it too")
    parser.add_argument("--no-zkfast", dest="own", action="store_false", help="leave out zkfast")
    parser.add_argument("--loadgen", default=os.path.join(compare.ROOT, "target/release/loadgen"))
    parser.add_argument("--parts", type=words, default=list(PARTS), help=f"(default: {','.join(PARTS)})")
    parser.add_argument("--znodes", type=lambda text: [int(word) for word in words(text)], default=[10_000_000],
                        help="sizes of the tree (default: 10000000)")
    parser.add_argument("--children", type=int, default=1_000_000, help="(default: 1000000)")
    parser.add_argument("--watches", type=int, default=1_000_000, help=f"{WATCHED} a session (default: 1000000)")
    parser.add_argument("--sessions", type=int, default=50_000, help="(default: 50000)")
    parser.add_argument("--seconds", type=float, default=30, help="that the sessions of one server ping (default: 30)")
    parser.add_argument("--hold", type=float, default=60, help="seconds after a leader's loss (default: 60)")
    parser.add_argument("--servers", type=int, default=3, help="of the part `failover` (default: 3)")
    parser.add_argument("--failover-sessions", type=int, default=50_000, help="(default: 50000)")
    parser.add_argument("--rounds", type=int, default=1, help="leaders' losses (default: 1)")
    args = parser.parse_args()
    if args.zookeeper:
        os.environ["ZKFAST_ZOOKEEPER_LIB"] = args.zookeeper
    crowd.allow_files(max(args.sessions, args.failover_sessions) + 10_000)
    compare.conduct(parser, args, measure)


if __name__ == "__main__":
    main()
