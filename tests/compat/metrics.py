#!/usr/bin/env python3
"""What `mntr` counts: the same traffic to Apache ZooKeeper and to zkfast, name by name.

Each goes through the same script: alone, then as leader, follower and observer of an ensemble of four. Clients read,
write, watch, make ephemerals, expire, come back, break off; quotas are set and exceeded; snapshots are taken; a follower
restarts, the leader is killed, a server comes with an empty disk. `mntr` is read before and after each part. Then, for
each part and role:

- a name that moved on ZooKeeper moves on zkfast, unless src/docs/four-letter-words.md lists it as left out, or DESIGN says
  why it does not move there;
- what can be counted (EQUAL, TXNS) moves by as much;
- an average time is at most TIMES_MS (START_MS for those of a start) or TIMES_FACTOR times ZooKeeper's, whichever is more,
  and none of MEASURED is 0.

    tests/compat/metrics.py                               both servers, whole
    tests/compat/metrics.py --save FILE                   one server (see --server), and writes what it counted
    tests/compat/metrics.py --compare JAVA-FILE FILE      compares what was written
"""

import collections
import contextlib
import json
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402

TICK_TIME_MS = 500
# No session but those that shall expire does so while a part runs.
SESSION_TIMEOUT_MS = 300_000
ANSWER_SECONDS_MAX = 30
PAGE = support.ROOT / "src/docs/four-letter-words.md"
# What an average time may be beside ZooKeeper's: both share two cores with whatever else runs.
TIMES_MS = 100
TIMES_FACTOR = 10
# A start of zkfast reads the log's segments whole, 64 MiB each, of which ZooKeeper would have written a few KiB.
START_MS = 3000

CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, GET_ACL, GET_CHILDREN, SYNC = 1, 2, 3, 4, 5, 6, 8, 9
PING, GET_CHILDREN2, CHECK, MULTI, AUTH, SET_WATCHES, ADD_WATCH, CLOSE = 11, 12, 13, 14, 100, 101, 106, -11
OPEN_ACL = struct.pack(">ii", 1, 31) + b"\0\0\0\x05world\0\0\0\x06anyone"


def string(text):
    data = text.encode()
    return struct.pack(">i", len(data)) + data


def buffer(data):
    return struct.pack(">i", len(data)) + data


def create(path, data=b"", flags=0):
    return string(path) + buffer(data) + OPEN_ACL + struct.pack(">i", flags)


class Session:
    """A client that says exactly what it is told to say: no pings of its own, nothing at once."""

    def __init__(self, port, timeout_ms=SESSION_TIMEOUT_MS, identity=(0, bytes(16)), expect=True):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS_MAX)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.xid, self.events = 0, 0
        session, password = identity
        body = struct.pack(">iqiq", 0, 0, timeout_ms, session) + buffer(password) + b"\0"
        self.socket.sendall(buffer(body))
        answer = self.frame()
        _, self.timeout_ms, session = struct.unpack_from(">iiq", answer)
        assert (session != 0) == expect, f"session {session:#x}"
        self.identity = (session, answer[20:36])

    def frame(self):
        length = struct.unpack(">i", self.exactly(4))[0]
        return self.exactly(length)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError("the server closed the connection")
            data += piece
        return data

    def call(self, op, body=b"", xid=None):
        """Error code of the answer; events in front of it are counted."""
        if xid is None:
            self.xid += 1
            xid = self.xid
        self.socket.sendall(buffer(struct.pack(">ii", xid, op) + body))
        while True:
            answer = self.frame()
            got, _, err = struct.unpack_from(">iqi", answer)
            if got == -1:
                self.events += 1
                continue
            assert got == xid, f"answer to {got}, asked {xid}"
            return err

    def ping(self):
        return self.call(PING, xid=-2)

    def drop(self):
        """Ends the connection without a word."""
        self.socket.close()

    def close(self):
        assert self.call(CLOSE) == 0
        with contextlib.suppress(EOFError, OSError):
            self.exactly(1)
        self.socket.close()


# Words that each port was asked: they count among its packets.
ASKED = collections.Counter()


def word(port, name):
    ASKED[port] += 1
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(name.encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer.decode()


def mntr(port):
    """Names without `zk_`, and their values as text."""
    lines = [line.split("\t", 1) for line in word(port, "mntr").splitlines()]
    return {line[0].removeprefix("zk_"): line[1] for line in lines if len(line) == 2} | {"words": str(ASKED[port])}


def settled(port):
    """The metrics once they stand still: what was answered last is counted a little later."""
    before = {}
    for _ in range(50):
        now = mntr(port)
        if all(before.get(name) == now.get(name) for name in SETTLE):
            return now
        before = now
        time.sleep(0.2)
    return now


SETTLE = ["proposal_count", "commit_count", "learner_commit_received_count", "znode_count", "cnt_updatelatency",
          "cnt_readlatency", "cnt_propagation_latency", "num_alive_connections", "connection_drop_count"]  # fmt: skip
STATISTICS = ("avg_", "min_", "max_", "p50_", "p95_", "p99_", "p999_", "last_")
GAUGES = {"ephemerals_count", "max_file_descriptor_count", "non_mtls_local_conn_count", "non_mtls_remote_conn_count",
          "open_file_descriptor_count", "watch_count", "znode_count"}  # fmt: skip
COUNTERS = {"add_dead_watcher_stall_time", "cnxn_closed_without_zk_server_running", "connection_rejected",
            "dead_watchers_cleared", "dead_watchers_queued", "large_requests_rejected", "outstanding_changes_queued",
            "outstanding_changes_removed", "packets_received", "packets_sent", "prep_processor_request_queued",
            "quit_leading_due_to_disloyal_voter", "request_commit_queued", "requests_not_forwarded_to_commit_processor",
            "response_bytes", "response_packet_cache_hits", "response_packet_cache_misses",
            "response_packet_get_children_cache_hits", "response_packet_get_children_cache_misses",
            "sessionless_connections_expired", "stale_replies", "stale_requests", "stale_requests_dropped",
            "stale_sessions_expired", "sync_processor_request_queued", "throttled_ops", "watch_bytes",
            "words"}  # fmt: skip


def is_counted(name):
    """Whether it only grows."""
    if name.startswith(STATISTICS) or name in GAUGES:
        return False
    return name in COUNTERS or name.startswith(("cnt_", "sum_")) or name.endswith(("_count", "_error_per_namespace"))


def moved(before, after):
    """By how much each number that only grows has grown; the others as they are after. Words are taken out."""
    result = {}
    for name, value in after.items():
        try:
            value = float(value)
        except ValueError:
            result[name] = value
            continue
        result[name] = value - float(before.get(name, 0)) if is_counted(name) else value
    words = result.pop("words")
    if before:
        result["packets_received"] -= words
        result["bytes_received_count"] -= 4 * words
    return result


def traffic(port):
    """What clients do, each request answered before the next: every count is the same each time."""
    client = Session(port)
    assert client.call(CREATE, create("/m", b"0123456789")) == 0
    for name in "abcdef":
        assert client.call(CREATE, create(f"/m/{name}", b"x" * 20)) == 0
    assert client.call(CREATE, create("/m/eph", b"", 1)) == 0
    assert client.call(CREATE, create("/m/a")) == -110
    assert client.call(CREATE, create("/m/n", b"", 2)) == 0
    for _ in range(10):
        assert client.call(GET_DATA, string("/m/a") + b"\0") == 0
    for path, err in ("/m/a", 0), ("/m/b", 0), ("/m", 0), ("/m/none", -101):
        assert client.call(EXISTS, string(path) + b"\0") == err
    for op in GET_CHILDREN, GET_CHILDREN2:
        assert client.call(op, string("/m") + b"\0") == 0
    assert client.call(GET_ACL, string("/m/a")) == 0
    for _ in range(3):
        client.ping()
    assert client.call(SYNC, string("/m")) == 0
    for _ in range(5):
        assert client.call(SET_DATA, string("/m/a") + buffer(b"y" * 30) + struct.pack(">i", -1)) == 0
    done = struct.pack(">ibi", -1, 1, -1)
    sets = struct.pack(">ibi", SET_DATA, 0, -1) + string("/m/c") + buffer(b"z") + struct.pack(">i", -1)
    assert client.call(MULTI, struct.pack(">ibi", CREATE, 0, -1) + create("/m/multi") + sets + done) == 0
    client.call(MULTI, struct.pack(">ibi", CREATE, 0, -1) + create("/m/multi") + sets + done)
    # Watches of two clients: created, data, children, deleted, recursive.
    other = Session(port)
    for session in client, other:
        session.call(EXISTS, string("/m/new") + b"\1")
        session.call(GET_DATA, string("/m/a") + b"\1")
        session.call(GET_DATA, string("/m/b") + b"\1")
        session.call(GET_CHILDREN, string("/m") + b"\1")
    assert client.call(ADD_WATCH, string("/m/d") + struct.pack(">i", 1)) == 0
    assert client.call(CREATE, create("/m/new")) == 0
    assert client.call(SET_DATA, string("/m/a") + buffer(b"") + struct.pack(">i", -1)) == 0
    assert client.call(DELETE, string("/m/b") + struct.pack(">i", -1)) == 0
    assert client.call(SET_DATA, string("/m/d") + buffer(b"d") + struct.pack(">i", -1)) == 0
    other.ping()
    # An event of each of 4 one-shot watches, and the recursive one's.
    assert (client.events, other.events) == (5, 4), (client.events, other.events)
    # Who proves who it is, and who cannot.
    assert client.call(AUTH, struct.pack(">i", 0) + string("digest") + buffer(b"u:p"), xid=-4) == 0
    stranger = Session(port)
    assert stranger.call(AUTH, struct.pack(">i", 0) + string("none") + buffer(b"u:p"), xid=-4) == -115
    stranger.drop()
    # A client that comes back, one that claims what is not its own, one that hangs up, one that says nothing.
    other.drop()
    Session(port, identity=(other.identity[0], b"0" * 16), expect=False).drop()
    other = Session(port, identity=other.identity)
    socket.create_connection(("127.0.0.1", port)).close()
    silent = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS_MAX)
    with contextlib.suppress(ConnectionError):
        assert silent.recv(1) == b"", "a connection without a session goes on"
    # A session that ends by itself, with its ephemeral.
    short = Session(port, timeout_ms=1000)
    assert short.call(CREATE, create("/m/short", b"", 1)) == 0
    short.drop()
    support.wait_until(lambda: mntr(port)["ephemerals_count"] == "1" or time.sleep(0.2),
                       ANSWER_SECONDS_MAX, "a session expires")  # fmt: skip
    for _ in range(3):
        word(port, "srvr")
    # As it was before.
    for name in "acdef":
        assert client.call(DELETE, string(f"/m/{name}") + struct.pack(">i", -1)) == 0
    for path in "/m/n0000000007", "/m/multi", "/m/new", "/m/eph", "/m":
        assert client.call(DELETE, string(path) + struct.pack(">i", -1)) == 0, path
    other.close()
    client.close()


def crowd(port):
    """More connections than one address may have."""
    held = []
    for _ in range(20):
        with contextlib.suppress(OSError, EOFError):
            held.append(Session(port))
    for session in held:
        session.close()


def quota(port):
    """Limits on /q, and two writes that are too much."""
    client = Session(port)
    for path, data in (("/q", b""), ("/zookeeper/quota/q", b""), ("/zookeeper/quota/q/zookeeper_stats", b""),
                       ("/zookeeper/quota/q/zookeeper_limits",
                        b"count=5,bytes=100=;byteHardLimit=200;countHardLimit=3")):  # fmt: skip
        assert client.call(CREATE, create(path, data)) == 0, path
    for path, data, err in (("/q/a", b"x" * 50, 0), ("/q/big", b"x" * 300, -125), ("/q/b", b"", 0), ("/q/c", b"", -125)):
        assert client.call(CREATE, create(path, data)) == err, path
    client.close()


def fill(port, txns):
    client = Session(port)
    assert client.call(CREATE, create("/fill")) == 0
    for number in range(txns - 3):
        assert client.call(CREATE, create(f"/fill/{number}", b"x" * 100)) == 0
    client.close()


class Ensemble:
    """Servers that form one service, or one alone."""

    def __init__(self, command, folder, voters, observers):
        self.words, self.folder = support.server_command(command), folder
        self.count = voters + observers
        self.processes = {}
        # Three ports each; found once, taken soon.
        base = support.free_port()
        self.ports = {sid: base + 3 * sid for sid in range(1, self.count + 1)}
        for sid in self.ports:
            (folder / str(sid) / "data").mkdir(parents=True)
            keys = {
                "tickTime": TICK_TIME_MS,
                "initLimit": 40,
                "syncLimit": 20,
                "dataDir": folder / str(sid) / "data",
                "clientPort": self.ports[sid],
                "admin.enableServer": "false",
                "4lw.commands.whitelist": "*",
                "maxClientCnxns": 12,
                "nio.sessionlessCnxnTimeout": 2000,
                "snapCount": 200,
                "enforceQuota": "true",
                "maxSessionTimeout": SESSION_TIMEOUT_MS,
            }
            if self.count > 1:
                (folder / str(sid) / "data" / "myid").write_text(str(sid))
                for other, port in self.ports.items():
                    role = "observer" if other > voters else "participant"
                    keys[f"server.{other}"] = f"127.0.0.1:{port + 1}:{port + 2}:{role}"
                if sid > voters:
                    keys["peerType"] = "observer"
            (folder / str(sid) / "zoo.cfg").write_text("".join(f"{key}={value}\n" for key, value in keys.items()))

    def start(self, sid):
        config = self.folder / str(sid) / "zoo.cfg"
        with open(self.folder / str(sid) / "server.log", "ab") as log:
            self.processes[sid] = subprocess.Popen(
                support.on_config(self.words, config), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def stop(self, sid, how=signal.SIGTERM):
        self.processes[sid].send_signal(how)
        self.processes.pop(sid).wait(support.STOP_SECONDS_MAX)

    def role(self, sid):
        try:
            found = re.search(r"^Mode: (\S+)", word(self.ports[sid], "srvr"), re.MULTILINE)
        except OSError:
            return None
        return found and found[1]

    def serve(self, sids):
        for sid in sids:
            support.wait_until(lambda: self.role(sid) or time.sleep(0.1), support.START_SECONDS_MAX, f"{sid} serves")

    def __enter__(self):
        try:
            for sid in self.ports:
                self.start(sid)
            self.serve(self.ports)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.kill()
            process.wait()

    def all(self):
        """Every server's metrics, by id; a follower that no client talks to is the last one named."""
        return {sid: settled(self.ports[sid]) for sid in self.processes}


def alone(command, folder):
    with Ensemble(command, folder, 1, 0) as server:
        port = server.ports[1]
        # What the start itself counted.
        yield "start", "standalone", moved({}, mntr(port))
        before = settled(port)
        traffic(port)
        yield "traffic", "standalone", moved(before, settled(port))
        before = settled(port)
        crowd(port)
        yield "crowd", "standalone", moved(before, settled(port))
        before = settled(port)
        quota(port)
        yield "quota", "standalone", moved(before, settled(port))
        before = settled(port)
        fill(port, 400)
        support.wait_until(lambda: mntr(port)["cnt_snapshottime"] != before["cnt_snapshottime"] or time.sleep(0.2),
                           ANSWER_SECONDS_MAX, "a snapshot")  # fmt: skip
        yield "snapshot", "standalone", moved(before, settled(port))
        server.stop(1)
        server.start(1)
        server.serve([1])
        yield "restart", "standalone", moved({}, settled(port))
        word(port, "srst")
        yield "srst", "standalone", moved({}, mntr(port))


def together(command, folder):
    with Ensemble(command, folder, 3, 1) as ensemble:
        roles = {sid: ensemble.role(sid) for sid in ensemble.ports}
        leader = next(sid for sid in roles if roles[sid] == "leader")
        followers = [sid for sid in roles if roles[sid] == "follower"]
        for sid, values in ensemble.all().items():
            if sid != followers[1]:
                yield "formed", roles[sid], moved({}, values)
        for asked in leader, followers[0], 4:
            before = ensemble.all()
            traffic(ensemble.ports[asked])
            after = ensemble.all()
            for sid in roles:
                role = "other follower" if sid == followers[1] else roles[sid]
                yield f"traffic at {roles[asked]}", role, moved(before[sid], after[sid])
        # A follower that restarts, and lacks some.
        before = ensemble.all()
        ensemble.stop(followers[1])
        fill(ensemble.ports[leader], 20)
        ensemble.start(followers[1])
        ensemble.serve([followers[1]])
        after = ensemble.all()
        for sid in roles:
            name = "restarted" if sid == followers[1] else roles[sid]
            yield "restart", name, moved({} if sid == followers[1] else before[sid], after[sid])
        # A leader that is gone: one of the others leads, both vote.
        before = ensemble.all()
        ensemble.stop(leader, signal.SIGKILL)
        time.sleep(0.5)
        ensemble.serve([*followers, 4])
        after = ensemble.all()
        for sid in [*followers, 4]:
            yield "election", ensemble.role(sid), moved(before[sid], after[sid])
        # It comes back with an empty disk: it gets the whole tree.
        now_leads = next(sid for sid in followers if ensemble.role(sid) == "leader")
        shutil.rmtree(ensemble.folder / str(leader) / "data")
        (ensemble.folder / str(leader) / "data").mkdir()
        (ensemble.folder / str(leader) / "data" / "myid").write_text(str(leader))
        before = ensemble.all()
        ensemble.start(leader)
        ensemble.serve([leader])
        after = ensemble.all()
        yield "empty disk", "leader", moved(before[now_leads], after[now_leads])
        yield "empty disk", "new", moved({}, after[leader])


# Names, without `cnt_` and `sum_`, by which both move as much: in each of PARTS on the server that the clients talk to.
EQUAL = """watch_bytes connection_rejected sessionless_connections_expired connection_drop_count bytes_received_count
    packets_received response_bytes connection_request_count connection_revalidate_count stale_sessions_expired
    cnt_readlatency cnt_updatelatency ephemerals_count watch_count
    znode_count last_client_response_size min_client_response_size max_client_response_size
    cnt_node_created_watch_count sum_node_created_watch_count cnt_node_deleted_watch_count sum_node_deleted_watch_count
    cnt_node_changed_watch_count sum_node_changed_watch_count cnt_node_children_watch_count sum_node_children_watch_count
    cnt_m_write_per_namespace sum_m_write_per_namespace
    cnt_fill_write_per_namespace sum_fill_write_per_namespace cnt_q_write_per_namespace sum_q_write_per_namespace
    q_quota_count_limit_per_namespace q_quota_bytes_limit_per_namespace q_quota_count_usage_per_namespace
    q_quota_bytes_usage_per_namespace q_quota_exceeded_error_per_namespace revalidate_count
    outstanding_changes_queued outstanding_changes_removed cnt_close_session_prep_time""".split()
# These as well, but for the clients that come back: to an ensemble of zkfast that is a txn.
TXNS = """proposal_count commit_count learner_proposal_received_count learner_commit_received_count
    cnt_propagation_latency cnt_proposal_latency cnt_commit_propagation_latency cnt_quorum_ack_latency
    cnt_proposal_ack_creation_latency""".split()
PARTS = ("traffic", "crowd", "quota", "snapshot")
# One client of `traffic` comes back to its session.
ATTACHED = 1
# Averages, in milliseconds, that are more than 0 wherever there is a value.
MEASURED = """fsynctime updatelatency readlatency propagation_latency sync_processor_queue_flush_time_ms snapshottime
    dbinittime election_time unavailable_time sync_processor_queue_and_flush_time_ms""".split()
# Where ZooKeeper's moves and zkfast's does not: part and role, name, why.
DESIGN = [
    (r"^(start|restart|formed|election|empty disk)", r"cnt_(prep|sync)_processor_queue_size",
     "its threads count when they begin to wait, with nothing to do"),
    (r"^(restart|formed|election|empty disk)", r"cnt_learner_request_processor_queue_size", "likewise"),
    (r"^(start|restart|formed|election)", r"cnt_snapshottime", "it takes a snapshot as it starts or leads"),
    (r"^(restart|formed|election|empty disk)", r"(cnt|sum)_.*_write_per_namespace", "it counts what it replays"),
    (r"^formed", r"(snap|diff)_count|cnt_inflight_(snap|diff)_count", "who comes first, and so gets which, is chance"),
    (r"^election", r"cnt_commit_process_time", "a commit processor that ends"),
    (r"^traffic at (follower|observer), leader", r"cnt_read_.*", "a learner's sync is a read of the leader's"),
]  # fmt: skip


def left_out():
    """The names that the page lists as left out."""
    section = PAGE.read_text().split("## Names left out")[1]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    rest = section.split("\n\n`X_read_per_namespace`")[1]
    return set(re.findall(r"`(\w+)`", "".join(rows) + rest)) | {"X_read_per_namespace"}


def base(name):
    """A name without statistic, with N for a server's number and X for a namespace."""
    name = re.sub(r"^(cnt|sum|avg|min|max|p50|p95|p99|p999)_", "", name)
    return re.sub(r"^\d+_", "N_", re.sub(r"^\w+_(?=(read|write)_per_namespace)", "X_", name))


def compare(java, zkfast):
    """What is wrong with zkfast's numbers, a line each; and how many were compared."""
    findings, compared, absent = [], 0, left_out()
    for part, theirs in java.items():
        ours = zkfast[part]

        def wrong(name, why):
            findings.append(f"{part}: {name}: ZooKeeper {theirs.get(name)}, zkfast {ours.get(name)}: {why}")

        kind, role = part.split(", ")
        asked = kind.split(" at ")[-1]
        is_asked = kind.split()[0] in PARTS and (role == "standalone" or role == asked)
        for name, value in theirs.items():
            if base(name) in absent or not isinstance(value, float) or not is_counted(name) or value <= 0:
                continue
            compared += 1
            excused = any(re.search(where, part) and re.fullmatch(what, name) for where, what, _ in DESIGN)
            if not ours.get(name, 0) > 0 and not name.startswith("sum_") and not excused:
                wrong(name, "does not move")
        for name in EQUAL if is_asked else ():
            compared += name in theirs
            if ours.get(name, 0.0) != theirs.get(name, 0.0):
                wrong(name, "differs")
        for name in TXNS if kind.split()[0] in PARTS else ():
            compared += name in theirs
            more = ours.get(name, 0.0) - theirs.get(name, 0.0)
            allowed = {0.0, float(ATTACHED)} if " at " in kind and theirs.get(name) else {0.0}
            if more not in allowed:
                wrong(name, "differs")
        for name, value in ours.items():
            time_of = name.removeprefix("avg_")
            if not isinstance(value, float) or not re.match("avg_.*(time|latency)", name) or name == "avg_latency":
                continue
            limit = max(TIMES_MS, TIMES_FACTOR * float(theirs.get(name, 0)))
            if re.match("avg_(startup|dbinittime)", name):
                limit = max(limit, START_MS)
            if value > limit:
                wrong(name, f"more than {limit} ms")
            if time_of in MEASURED and ours.get(f"cnt_{time_of}") and value <= 0:
                wrong(name, "measures nothing")
        for name in "peer_state", "server_state":
            if theirs.get(name) != ours.get(name):
                wrong(name, "differs")
        if ("observer_master_id" in theirs) != ("observer_master_id" in ours):
            wrong("observer_master_id", "differs")
    return findings, compared


def run(command, name):
    """All that a server counted: part and role to names and values."""
    result = {}
    with support.scratch(f"metrics-{name}") as folder:
        for scenario in alone, together:
            place = folder / scenario.__name__
            place.mkdir()
            begun = time.monotonic()
            for part, role, values in scenario(command, place):
                result[f"{part}, {role}"] = values
            print(f"ran    {name} {scenario.__name__} ({time.monotonic() - begun:.1f} s)", flush=True)
    return result


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("--save", metavar="FILE")
    parser.add_argument("--compare", nargs=2, metavar=("JAVA-FILE", "FILE"))
    options = parser.parse_args()
    if options.save:
        pathlib.Path(options.save).write_text(json.dumps(run(options.server, "one"), indent=1))
        return
    if options.compare:
        java, zkfast = (json.loads(pathlib.Path(path).read_text()) for path in options.compare)
    else:
        java, zkfast = run("reference", "reference"), run(options.server, "zkfast")
    findings, compared = compare(java, zkfast)
    print("".join(f"{finding}\n" for finding in findings), end="")
    print(f"{compared - len(findings)} passed, {len(findings)} failed, 0 skipped", flush=True)
    sys.exit(1 if findings else 0)


main()
