"""Ensembles of Java and zkfast servers at real sizes: what replace.py, join.py, stopped.py and the test of sizes share.

A member has a place in its ensemble (a number, ports, server lines) and a kind, which may change: its next process may
be the other server in the same place. A Load writes from a process of its own and knows which writes were acknowledged,
so that `lost` finds the missing ones at the end.
"""

import contextlib
import glob
import multiprocessing
import os
import pickle
import random
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time

import compare
import session
from session import CLOSE, Connection, Lost, create, set_data, string

ROOT = compare.ROOT
DISK_LIBRARY = os.path.join(ROOT, "tests/preload/disk.rs")
CONTROL_BYTES = 40  # of the library's control file

# Operation codes beside those of session.py, and error codes.
GET, SYNC, MULTI = 4, 9, 14
NODE_EXISTS = -110

# A server under load on a slow disk is slow; a client that gives up earlier measures only its own impatience.
ANSWER_S = session.ANSWER_S = 60.0
session.SESSION_TIMEOUT_MS = 60_000
SERVES_S_MAX = 120
STOP_S_MAX = 60
# Time between two checks of a server and its directory.
LOOK_S = 0.05

SERVING = ("leader", "follower", "observer", "standalone")

# Lines of a log at the start of a synchronisation: a learner of either kind asks a leader once per election.
TRIES = {
    "java": re.compile(r"QuorumPeer - (?:FOLLOWING|OBSERVING)$", re.M),
    "zkfast": re.compile(r"zab: elected: leader=", re.M),
}
KINDS_OF_SYNC = {
    "java": re.compile(r"(?P<SNAP>Getting a snapshot from leader)|(?P<TRUNC>Truncating log to get in sync)|"
                       r"(?P<DIFF>Getting a diff from the leader)"),
    "zkfast": re.compile(r"following: .*sync=(?P<kind>\w+)"),
}
ERROR_LINE = {
    "java": re.compile(r"^.* ERROR .*$", re.M),
    "zkfast": re.compile(r"^\S+ ERROR .*$", re.M),
}


def jars():
    """The folder of ZooKeeper's jars."""
    found = os.environ.get("ZKFAST_ZOOKEEPER_LIB") or installed("zookeeper")
    if not glob.glob(os.path.join(found, "zookeeper-[0-9]*.jar")):
        sys.exit("ZKFAST_ZOOKEEPER_LIB must name the directory of ZooKeeper's jars")
    os.environ["ZKFAST_ZOOKEEPER_LIB"] = found
    return found


def installed(what):
    """The path that tests/setup/setup.sh prints for `what`."""
    done = subprocess.run([os.path.join(ROOT, "tests/setup/setup.sh"), what], stdout=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode != 0:
        sys.exit(1)
    return done.stdout.strip()


def free_port(given=set()):
    """A port that this process has not had before."""
    while (port := compare.free_port()) in given:
        pass
    given.add(port)
    return port


class Disk:
    """The disk of an ensemble: as it is, or slower for each server. It can change while servers run."""

    def __init__(self, directory):
        self.library = os.path.join(directory, "libdisk.so")
        self.control = os.path.join(directory, "disk")
        if not os.path.exists(self.library):
            subprocess.run(["rustc", "-O", "--edition", "2024", "--crate-type", "cdylib", "-C", "panic=abort", "-o",
                            self.library, DISK_LIBRARY], check=True)
        with open(self.control, "wb") as file:
            file.write(bytes(CONTROL_BYTES))

    def set(self, bytes_per_s=0, flush_ms=0.0):
        with open(self.control, "r+b") as file:
            file.write(struct.pack("<QQ", bytes_per_s, int(flush_ms * 1000)))

    def counts(self):
        """Flushes and bytes written so far, by all servers."""
        with open(self.control, "rb") as file:
            return struct.unpack("<4Q", file.read(32))[2:]

    def environment(self, data):
        return {"LD_PRELOAD": self.library, "FAULTY_DISK_DIRECTORY": data, "FAULTY_DISK_CONTROL": self.control}


class Options:
    """Settings of all servers of an ensemble. `zkfast` is a program, or a command with `{config}` in it."""

    def __init__(self, zkfast, directory, tick_ms=2000, heap="1g", cores="0-1", disk=None, keys=None, jvm=()):
        self.zkfast, self.directory, self.heap, self.cores = zkfast, directory, heap, cores
        self.disk, self.jvm = disk, jvm
        self.keys = {"tickTime": tick_ms, "initLimit": 10, "syncLimit": 5, "maxClientCnxns": 0,
                     "admin.enableServer": "false", "4lw.commands.whitelist": "*", **(keys or {})}


class Member:
    """A place in an ensemble, and the process that fills it."""

    def __init__(self, ensemble, sid, kind, observer=False):
        self.ensemble, self.options, self.sid, self.observer = ensemble, ensemble.options, sid, observer
        self.port = free_port()
        self.quorum_port, self.election_port = free_port(), free_port()
        self.process = self.log = None
        self.generation = 0
        self.become(kind)

    def __str__(self):
        return f"{self.kind} {self.sid}"

    def become(self, kind, data=None):
        """Makes the next process of this place one of `kind`, on an empty directory or on a copy of `data`."""
        assert self.process is None or self.process.poll() is not None, f"{self} still runs"
        if self.generation:
            shutil.rmtree(self.directory, ignore_errors=True)
        self.kind = kind
        self.generation += 1
        self.directory = os.path.join(self.options.directory, f"server-{self.sid}-{self.generation}")
        self.data = os.path.join(self.directory, "data")
        self.log_path = os.path.join(self.directory, "log")
        os.makedirs(self.directory)
        if data:
            copy(data, self.data)
        else:
            os.makedirs(self.data)
        with open(os.path.join(self.data, "myid"), "w", encoding="utf-8") as file:
            file.write(f"{self.sid}\n")

    def configure(self):
        keys = {**self.options.keys, "dataDir": self.data, "clientPort": self.port}
        if self.observer:
            keys["peerType"] = "observer"
        keys |= self.ensemble.lines()
        self.config = "".join(f"{key}={value}\n" for key, value in keys.items())
        path = os.path.join(self.directory, "zoo.cfg")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.config)
        if self.kind == "java":
            self.command = [
                "java", f"-Xmx{self.options.heap}", *self.options.jvm, "-Dzookeeper.jmx.log4j.disable=true",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=info", "-Dorg.slf4j.simpleLogger.showDateTime=true",
                "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS", "-cp", os.path.join(jars(), "*"),
                "org.apache.zookeeper.server.quorum.QuorumPeerMain", path]
        elif isinstance(self.options.zkfast, list):
            self.command = [word.replace("{config}", path) for word in self.options.zkfast]
        else:
            self.command = [self.options.zkfast, "--config", path, "--cores", self.options.cores]

    def start(self):
        """Starts a process on the directory as it is."""
        self.configure()
        environment = dict(os.environ)
        if self.options.disk:
            environment |= self.options.disk.environment(self.data)
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        env=environment)

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def state(self):
        """Mode and newest zxid of a server that serves, else None."""
        answer = compare.four_letters(self.port, "srvr") if self.runs() else None
        if not answer or "Mode:" not in answer:
            return None
        self.version = answer.splitlines()[0]
        fields = dict(line.split(": ", 1) for line in answer.splitlines() if ": " in line)
        return fields["Mode"], int(fields["Zxid"], 16)

    def monitor(self):
        """The lines of mntr as a dictionary."""
        answer = compare.four_letters(self.port, "mntr") or ""
        return dict(line.split("\t", 1) for line in answer.splitlines() if "\t" in line)

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.runs():
            self.process.kill()
        self.process.wait()
        self.log.close()

    def stop(self, limit_s=STOP_S_MAX):
        """Ends the process by SIGTERM; False if it had to be killed."""
        if not self.runs():
            return True
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        try:
            self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        self.log.close()
        return True

    def mark(self):
        """The length of its log now."""
        return os.path.getsize(self.log_path) if os.path.exists(self.log_path) else 0

    def log_text(self, since=0):
        with open(self.log_path, "rb") as file:
            file.seek(since)
            return file.read().decode(errors="replace")

    def last_words(self):
        """The end of its log, without lines about connections."""
        lines = [line for line in self.log_text().splitlines()
                 if " cnxn: " not in line and " NIOServerCnxn" not in line]
        return "\n".join(line[:300] for line in lines[-15:])

    def tries(self, since=0):
        """How often it has begun to synchronise with a leader since a mark."""
        return len(TRIES[self.kind].findall(self.log_text(since)))

    def syncs(self, since=0):
        """The kinds of synchronisation that it got since a mark, in order."""
        kinds = [found.groupdict().get("kind") or found.lastgroup
                 for found in KINDS_OF_SYNC[self.kind].finditer(self.log_text(since))]
        return kinds

    def errors(self, since=0):
        return ERROR_LINE[self.kind].findall(self.log_text(since))

    def disk_bytes(self):
        """Blocks of its directory that are in use."""
        return disk_bytes(self.data)

    def peak_bytes(self):
        """The most memory that it had resident since its start or the last `forget_peak`."""
        try:
            with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as file:
                return next((int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM:")), 0)
        except OSError:
            return 0

    def forget_peak(self):
        with contextlib.suppress(OSError), open(f"/proc/{self.process.pid}/clear_refs", "w", encoding="utf-8") as file:
            file.write("5\n")


class Ensemble:
    """Members that form one service; they end with the `with` block."""

    def __init__(self, kinds, options, observers=()):
        self.options = options
        self.members = []
        for sid, kind in enumerate(kinds, 1):
            self.members.append(Member(self, sid, kind, observer=sid in observers))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for member in self.members:
            if member.process and member.runs():
                member.kill()

    def lines(self):
        if len(self.members) == 1:
            return {}
        return {f"server.{one.sid}": f"127.0.0.1:{one.quorum_port}:{one.election_port}"
                + (":observer" if one.observer else "") for one in self.members}

    def member(self, sid):
        return self.members[sid - 1]

    def start(self, members=None):
        for member in members or self.members:
            member.start()

    def wait(self, members=None, limit_s=SERVES_S_MAX):
        """Returns once all of them serve."""
        waiting, until = list(members or self.members), time.monotonic() + limit_s
        while waiting:
            waiting = [member for member in waiting if not member.state()]
            for member in waiting:
                if not member.runs() or time.monotonic() > until:
                    raise Failed(f"{member} does not serve after {limit_s} s; its log ends with:\n"
                                 + member.last_words())
            time.sleep(LOOK_S)

    def leader(self, limit_s=SERVES_S_MAX):
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            for member in self.members:
                if (state := member.state()) and state[0] == "leader":
                    return member
            time.sleep(LOOK_S)
        raise Failed(f"no leader within {limit_s} s")

    def ports(self):
        return [member.port for member in self.members]


class Failed(Exception):
    """A measurement that did not succeed."""


def disk_bytes(directory):
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(place, name)).st_blocks * 512
    return total


def copy(source, target):
    """A copy that shares the blocks of files where the file system can, and keeps holes."""
    subprocess.run(["cp", "-r", "--reflink=auto", "--sparse=auto", source, target], check=True)


class Watch(threading.Thread):
    """Watches the directory of a server while it runs: `most_bytes` is its greatest size."""

    def __init__(self, member):
        super().__init__(daemon=True)
        self.member, self.most_bytes, self.ended = member, 0, threading.Event()

    def run(self):
        while not self.ended.wait(0.1):
            self.most_bytes = max(self.most_bytes, self.member.disk_bytes())

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()
        self.most_bytes = max(self.most_bytes, self.member.disk_bytes())


def join(member, leader, limit_s, begin=None, target=None):
    """Starts a member (or calls `begin`) and waits until it is in step; returns the figures of that.

    It has joined when it serves, and is in step when it has the zxid that its leader had then, or `target`.
    """
    leader.forget_peak()
    disk = member.options.disk
    counts = disk.counts() if disk else (0, 0)
    since, leader_since = member.mark(), leader.mark()
    with Watch(member) as watch:
        begun = time.monotonic()
        (begin or member.start)()
        joined = in_step = None
        while time.monotonic() < begun + limit_s and member.runs() and in_step is None:
            state = member.state()
            if state and state[0] in SERVING:
                now = time.monotonic()
                if joined is None and (target is None or state[1] >= target):
                    joined = now
                    lead = leader.state()
                    if target is None:
                        target = lead[1] if lead else state[1]
                if joined and state[1] >= target:
                    in_step = now
            time.sleep(LOOK_S)
        ended = time.monotonic()
    tries = member.tries(since)
    if leader.kind == "java" and leader.runs():
        # The leader's count is the right one: it logs each request to synchronise.
        asked = rf"Synchronizing with Learner sid: {member.sid}\b"
        tries = len(re.findall(asked, leader.log_text(leader_since))) or tries
    syncs = member.syncs(since)
    return {
        "joined_s": round(joined - begun, 2) if joined else None,
        "in_step_s": round(in_step - begun, 2) if in_step else None,
        "waited_s": round(ended - begun, 2),
        "tries": tries,
        "sync": syncs[-1] if syncs else None,
        "syncs": len(syncs),
        "joiner_peak_bytes": member.peak_bytes(),
        "leader_peak_bytes": leader.peak_bytes(),
        "joiner_disk_most_bytes": watch.most_bytes,
        "joiner_disk_end_bytes": member.disk_bytes(),
        "leader_disk_bytes": leader.disk_bytes(),
        "joiner_ended_with": None if member.runs() else member.process.returncode,
        "errors": len(member.errors(since)),
        "leader_errors": len(leader.errors(leader_since)),
        "begun": begun, "ended": ended,
        # These are sums over all servers.
        **({"flushes": disk.counts()[0] - counts[0], "written_bytes": disk.counts()[1] - counts[1]} if disk else {}),
    }


# Trees.


def value(number, size):
    """Data of a znode, with the number of the write that made it."""
    return number.to_bytes(8, "big") + b"y" * (size - 8)


def tree_path(number):
    return f"/tree/{number // 1000}/{number}"


def create_all(port, creates, batch_bytes=200_000):
    """Creates znodes, `(path, data)` each, parents first; many in one multi, several multis in flight."""
    connection = Connection(port, None, 0)
    batch, size, multis = [], 0, []

    def flush(last):
        nonlocal batch, size
        if batch:
            body = b"".join(struct.pack(">ibi", session.CREATE, 0, -1) + create(*one)[1] for one in batch)
            multis.append((MULTI, body + struct.pack(">ibi", -1, 1, -1)))
            batch, size = [], 0
        if multis and (last or len(multis) >= 4 or sum(len(body) for _, body in multis) > 4_000_000):
            codes = {code for _, code in connection.pipeline(multis)}
            if codes != {0}:
                raise Failed(f"creates fail with codes {codes}")
            multis.clear()

    for path, data in creates:
        batch.append((path, data))
        size += len(path) + len(data) + 50
        if size >= batch_bytes:
            flush(False)
    flush(True)
    connection.call(CLOSE, b"")
    connection.close()


def tree(count, size):
    """`count` znodes of `size` bytes, a thousand to a parent, and the parents before them."""
    yield "/tree", b""
    for number in range(count):
        if number % 1000 == 0:
            yield os.path.dirname(tree_path(number)), b""
        yield tree_path(number), value(number, size)


def set_all(port, count, keys, size=100, in_flight=1000):
    """Sends `count` setDatas of the first `keys` znodes of the tree, again and again."""
    connection = Connection(port, None, 0)
    for first in range(0, count, in_flight):
        batch = [set_data(tree_path(number * 7919 % keys), value(number, size))
                 for number in range(first, min(first + in_flight, count))]
        codes = {code for _, code in connection.pipeline(batch)}
        if codes != {0}:
            raise Failed(f"writes fail with codes {codes}")
    connection.call(CLOSE, b"")
    connection.close()


def read_all(port, paths, in_flight=200):
    """Data of each path (None without a znode), no older than this call, on one connection."""
    connection = Connection(port, None, 0)
    if connection.session is None:
        raise Failed("no session to read by")
    connection.call(SYNC, string("/"))
    paths = list(paths)
    for first in range(0, len(paths), in_flight):
        batch = paths[first:first + in_flight]
        frames = []
        for path in batch:
            connection.xid += 1
            body = string(path) + b"\0"
            frames.append(struct.pack(">iii", 8 + len(body), connection.xid, GET) + body)
        connection.sock.sendall(b"".join(frames))
        for path in batch:
            answer = connection.receive()
            _, _, code = struct.unpack_from(">iqi", answer)
            if code == 0:
                length, = struct.unpack_from(">i", answer, 16)
                yield path, answer[20:20 + length]
            elif code == -101:
                yield path, None
            else:
                raise Failed(f"getData {path}: code {code}")
    connection.call(CLOSE, b"")
    connection.close()


def tree_damage(port, count, size, sample=1000, changed=False):
    """Znodes of a sample whose data is wrong: not what was created or, if they were `changed`, not whole."""
    numbers = random.Random(1).sample(range(count), min(sample, count))
    wrong = []
    for number, (path, data) in zip(numbers, read_all(port, map(tree_path, numbers), 200 if size < 10_000 else 4)):
        fine = data is not None and (data[8:] == b"y" * (len(data) - 8) if changed else data == value(number, size))
        if not fine:
            wrong.append((path, data and data[:16]))
    return wrong


# Loads.


class Load:
    """Sets znodes of its own from a process of its own, `rate` a second or with `window` requests in flight."""

    def __init__(self, ports, name, directory, rate=None, window=1, size=100, keys=1000):
        self.results_path = os.path.join(directory, f"load-{name}")
        self.acknowledged = multiprocessing.Value("q", 0, lock=False)
        self.stopping = multiprocessing.Event()
        self.name = name
        self.process = multiprocessing.Process(
            target=load, daemon=True,
            args=(list(ports), name, rate, window, size, keys, self.results_path, self.acknowledged, self.stopping))
        self.process.start()

    def wait(self, count=1, limit_s=60):
        """Returns once `count` writes are acknowledged."""
        until = time.monotonic() + limit_s
        while self.acknowledged.value < count:
            if time.monotonic() > until or not self.process.is_alive():
                raise Failed(f"load {self.name}: {self.acknowledged.value} writes of {count} in {limit_s} s")
            time.sleep(0.01)

    def stop(self):
        """Ends the load; returns its results."""
        self.stopping.set()
        self.process.join(2 * ANSWER_S)
        if self.process.is_alive():
            self.process.kill()
            raise Failed(f"load {self.name} did not end")
        with open(self.results_path, "rb") as file:
            self.results = pickle.load(file)
        os.remove(self.results_path)
        return self.results


def load_path(name, generation, key):
    return f"/load-{name}-{generation}/{key}"


def load(ports, name, rate, window, size, keys, results_path, acknowledged, stopping):
    """The process of a Load. A lost session leaves writes of unknown outcome: the next session uses other znodes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    attempted, acked = {}, {}
    acks, expired, reconnects, codes = [], 0, 0, {}
    generation = number = last_zxid = 0
    connection = known = None
    pending = []
    filler = b"y" * (size - 8)
    due = time.monotonic()
    while not stopping.is_set():
        try:
            if connection is None:
                connection = Connection(ports[0], known, last_zxid)
                if connection.session is None:
                    connection.close()
                    expired += 1
                    known, last_zxid = None, 0
                    raise Lost
                if known is None:
                    generation += 1
                    parent = os.path.dirname(load_path(name, generation, 0))
                    made = connection.pipeline([create(parent, b"")] + [
                        create(load_path(name, generation, key), value(0, 8)) for key in range(keys)])
                    if not {code for _, code in made} <= {0, NODE_EXISTS}:
                        raise Lost
                known = connection.session
                pending.clear()
            now = time.monotonic()
            frames = []
            while len(pending) < window and (rate is None or due <= now):
                number += 1
                key = number % keys
                body = set_data(load_path(name, generation, key), number.to_bytes(8, "big") + filler)[1]
                connection.xid += 1
                frames.append(struct.pack(">iii", 8 + len(body), connection.xid, session.SET) + body)
                attempted[generation, key] = number
                pending.append((connection.xid, key, number, now))
                if rate is not None:
                    due = max(due + 1 / rate, now - 1)
            if frames:
                connection.sock.sendall(b"".join(frames))
            wait_s = 0.05 if rate is None or len(pending) >= window else min(0.05, max(0, due - time.monotonic()))
            if pending:
                readable = select.select([connection.sock], [], [], wait_s)[0]
                if not readable:
                    if time.monotonic() > pending[0][3] + ANSWER_S:
                        raise Lost
                    continue
                piece = connection.sock.recv(1 << 18)
                if not piece:
                    raise Lost
                connection.input += piece
                now, done, at, have = time.monotonic(), 0, 0, connection.input
                while len(have) >= at + 20:
                    length, xid, zxid, code = struct.unpack_from(">iiqi", have, at)
                    if len(have) < at + 4 + length:
                        break
                    at += 4 + length
                    expected, key, sent, _ = pending[done]
                    if xid != expected:
                        raise AssertionError(f"answer to {xid} instead of {expected}")
                    done += 1
                    if code == 0:
                        acked[generation, key] = sent
                        last_zxid = max(last_zxid, zxid)
                        acknowledged.value += 1
                    else:
                        codes[code] = codes.get(code, 0) + 1
                        raise Lost
                connection.input = have[at:]
                del pending[:done]
                if done:
                    acks.append(now)
            elif wait_s:
                time.sleep(wait_s)
        except (Lost, OSError):
            if connection:
                connection.close()
                connection = None
                reconnects += 1
            ports.append(ports.pop(0))
            # The server may have ended in the middle of these requests: their outcome is unknown.
            pending.clear()
            time.sleep(0.02)
    if connection:
        with contextlib.suppress(Lost, OSError):
            # Waits for the requests in flight, so that few have an unknown outcome.
            connection.sock.settimeout(ANSWER_S)
            for _, key, sent, _ in pending:
                if struct.unpack_from(">iqi", connection.receive())[2] == 0:
                    acked[generation, key] = sent
                    acknowledged.value += 1
            connection.call(CLOSE, b"")
        connection.close()
    with open(results_path, "wb") as file:
        pickle.dump({"attempted": attempted, "acked": acked, "acks": acks, "acknowledged": acknowledged.value,
                     "expired": expired, "reconnects": reconnects, "codes": codes, "name": name}, file)


def longest_gap(results, begun=0.0, ended=float("inf")):
    """The longest time between two acknowledgements that overlaps the interval, in seconds."""
    acks = results["acks"]
    gaps = [after - before for before, after in zip(acks, acks[1:]) if after >= begun and before <= ended]
    return max(gaps, default=None)


def lost(port, results):
    """Acknowledged writes of a load that are missing on the server."""
    name = results["name"]
    keys = {load_path(name, *place): place for place in results["acked"]}
    missing = []
    for path, data in read_all(port, keys, 20):
        number = int.from_bytes(data[:8], "big") if data else None
        place = keys[path]
        if number is None or not results["acked"][place] <= number <= results["attempted"][place]:
            missing.append((path, number, results["acked"][place], results["attempted"][place]))
    return missing


# Programs.


def arguments(parser):
    """Adds the arguments that all programs with mixed ensembles take."""
    parser.add_argument("--zkfast", default=os.path.join(ROOT, "target/release/zkfast"))
    parser.add_argument("--no-build", dest="build", action="store_false", help="use the binary as it is")
    parser.add_argument("--dir", default=os.path.join(ROOT, "target"), help="directory of the servers' data")
    parser.add_argument("--out", help="result directory (default: benches/runs/DATE-MACHINE)")
    parser.add_argument("--heap", default="1g", help="heap of each JVM (default: 1g)")
    parser.add_argument("--cores", default="0-1", help="zkfast's (default: 0-1)")
    parser.add_argument("--keep-logs", action="store_true", help="keep the logs of all servers, not only of failures")
    parser.set_defaults(a="zkfast", b="java", c=None, floor=False)
    return parser


def megabytes(count):
    return "-" if count is None else f"{count / 1e6:.0f}"


def seconds(span):
    return "-" if span is None else f"{span:.1f}"


def keep_log(member, out, name):
    """Copies a log beside the results; of a long one only start and end."""
    text = member.log_text()
    with open(os.path.join(out, f"{name}-{member.kind}-{member.sid}.log"), "w", encoding="utf-8") as file:
        file.write(text if len(text) < 400_000 else text[:200_000] + "\n...\n" + text[-200_000:])


def wait_for(condition, limit_s, what):
    """The first true value of `condition`."""
    until = time.monotonic() + limit_s
    while True:
        if found := condition():
            return found
        if time.monotonic() > until:
            raise Failed(f"not within {limit_s} s: {what}")
        time.sleep(LOOK_S)
