#!/usr/bin/env python3
"""`mntr` after the same traffic: zkfast counts what Apache ZooKeeper counts, name by name.

Both servers run the same script: standalone, then as leader, follower and observer of an ensemble of four. Clients read,
write, watch, create ephemerals, let sessions expire, attach again and drop connections. Quotas are set and exceeded,
snapshots are taken, a follower restarts, the leader is killed, and a server joins with an empty disk. The test reads `mntr`
before and after each part. Then, for each part and role:

- a metric that changed on ZooKeeper changes on zkfast, unless src/docs/four-letter-words.md lists it as left out or DESIGN
  says why it does not change there;
- exact counts (EQUAL, TXNS) change by the same number;
- an average time is at most TIMES_MS (START_MS for times of a start) or TIMES_FACTOR times ZooKeeper's, whichever is more,
  and no metric in MEASURED is 0.

    tests/compat/metrics.py                               both servers, all parts
    tests/compat/metrics.py --save FILE                   one server (see --server); writes its counts to a file
    tests/compat/metrics.py --compare JAVA-FILE FILE      compares two such files
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
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402

TICK_TIME_MS = 500
# Sessions with this timeout do not expire during a part.
SESSION_TIMEOUT_MS = 300_000
ANSWER_SECONDS_MAX = 30
PAGE = support.ROOT / "src/docs/four-letter-words.md"
# Limits of average times. Both servers share two cores with other programs.
TIMES_MS = 100
TIMES_FACTOR = 10
# At its start zkfast reads whole log segments of 64 MiB. ZooKeeper reads the few KiB that it has written.
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
    """A client that sends only what a test calls: no pings by itself, and one request at a time."""

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
        length = struct.unpack(">i", support.exactly(self.socket, 4))[0]
        return support.exactly(self.socket, length)

    def call(self, op, body=b"", xid=None):
        """Sends a request and gives the error code of its answer. Counts events before the answer."""
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
        """Closes the connection without closing the session."""
        self.socket.close()

    def ended(self):
        """Waits until the server has closed the connection. A client that closes first may be counted as a drop."""
        with contextlib.suppress(EOFError, ConnectionError):
            support.exactly(self.socket, 1)
            raise AssertionError("a connection that the server has to close stays open")
        self.socket.close()

    def close(self):
        assert self.call(CLOSE) == 0
        self.ended()


# Four-letter words sent to each port, which the server counts among its packets.
WORDS_SENT = collections.Counter()


def word(port, name):
    WORDS_SENT[port] += 1
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(name.encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer.decode()


def mntr(port):
    """Metrics as text, by name without `zk_`."""
    lines = [line.split("\t", 1) for line in word(port, "mntr").splitlines()]
    return {line[0].removeprefix("zk_"): line[1] for line in lines if len(line) == 2} | {"words": str(WORDS_SENT[port])}


def settled(port):
    """The metrics once they no longer change: a server counts an answer a little after it has sent it."""
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
    """True if the metric is a counter, which only grows."""
    if name.startswith(STATISTICS) or name in GAUGES:
        return False
    return name in COUNTERS or name.startswith(("cnt_", "sum_")) or name.endswith(("_count", "_error_per_namespace"))


def moved(before, after):
    """The increase of each counter, and the later value of each other metric. The test's own words are subtracted."""
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
    """Sends one request at a time, so that every count is the same in each run."""
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
    # Watches of two clients: for creation, data, children, deletion, and a recursive one.
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
    # One event of each of four one-shot watches, and one of the recursive watch.
    assert (client.events, other.events) == (5, 4), (client.events, other.events)
    # Auth that succeeds, and auth that fails.
    assert client.call(AUTH, struct.pack(">i", 0) + string("digest") + buffer(b"u:p"), xid=-4) == 0
    stranger = Session(port)
    assert stranger.call(AUTH, struct.pack(">i", 0) + string("none") + buffer(b"u:p"), xid=-4) == -115
    stranger.ended()
    # A client attaches again, one has a wrong password, one closes its connection at once, and one is silent.
    alive = int(mntr(port)["num_alive_connections"])
    other.drop()
    # A server that sees the end only after the session has attached again counts no drop.
    support.wait_until(lambda: int(mntr(port)["num_alive_connections"]) < alive or time.sleep(0.05),
                       ANSWER_SECONDS_MAX, "a dropped connection is gone")  # fmt: skip
    Session(port, identity=(other.identity[0], b"0" * 16), expect=False).ended()
    other = Session(port, identity=other.identity)
    socket.create_connection(("127.0.0.1", port)).close()
    silent = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS_MAX)
    with contextlib.suppress(ConnectionError):
        assert silent.recv(1) == b"", "a connection without a session stays open"
    # A session expires, with its ephemeral.
    short = Session(port, timeout_ms=1000)
    assert short.call(CREATE, create("/m/short", b"", 1)) == 0
    short.drop()
    support.wait_until(lambda: mntr(port)["ephemerals_count"] == "1" or time.sleep(0.2),
                       ANSWER_SECONDS_MAX, "a session expires")  # fmt: skip
    for _ in range(3):
        word(port, "srvr")
    # Deletes everything, as before the traffic.
    for name in "acdef":
        assert client.call(DELETE, string(f"/m/{name}") + struct.pack(">i", -1)) == 0
    for path in "/m/n0000000007", "/m/multi", "/m/new", "/m/eph", "/m":
        assert client.call(DELETE, string(path) + struct.pack(">i", -1)) == 0, path
    other.close()
    client.close()


def crowd(port):
    """Opens more connections than one address may have."""
    held = []
    for _ in range(20):
        with contextlib.suppress(OSError, EOFError):
            held.append(Session(port))
    for session in held:
        session.close()


def quota(port):
    """Sets limits on /q, and sends two writes over them."""
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


class Ensemble(support.Ensemble):
    """An ensemble whose last servers are observers, or a standalone server. All of them run from the beginning."""

    def __init__(self, command, folder, voters, observers):
        sids = range(1, voters + observers + 1)
        super().__init__(folder, dict.fromkeys(sids, command), sids[voters:])

    def keys_of(self, sid):
        return {
            "tickTime": TICK_TIME_MS,
            "initLimit": 40,
            "syncLimit": 20,
            "maxClientCnxns": 12,
            "nio.sessionlessCnxnTimeout": 2000,
            # Alone it takes one snapshot, of its own part. Java takes the next at a random txn.
            "snapCount": 200 if len(self.ports) == 1 else 100_000,
            "enforceQuota": "true",
            "maxSessionTimeout": SESSION_TIMEOUT_MS,
        }

    def word(self, sid, name):
        return word(self.ports[sid], name)

    def __enter__(self):
        try:
            for sid in self.ports:
                self.start(sid)
            self.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def all(self):
        """Metrics of every running server, by id."""
        return {sid: settled(self.ports[sid]) for sid in self.running}


def standalone(command, folder, kind=Ensemble):
    """Gives the parts of a standalone server: name, role, changes of metrics."""
    with kind(command, folder, 1, 0) as server:
        port = server.ports[1]
        # Counts of the start itself.
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
        # The snapshot may hold all txns so far; the ones of this session are replayed from the log.
        client = Session(port)
        assert client.call(CREATE, create("/replayed")) == 0
        client.close()
        server.stop(1)
        server.start(1)
        server.wait(1)
        yield "restart", "standalone", moved({}, settled(port))
        word(port, "srst")
        yield "srst", "standalone", moved({}, mntr(port))


def ensemble_of_four(command, folder, kind=Ensemble):
    """Gives the parts of an ensemble with three voters and an observer."""
    with kind(command, folder, 3, 1) as ensemble:
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
        # A follower restarts, and misses some txns.
        before = ensemble.all()
        ensemble.stop(followers[1])
        fill(ensemble.ports[leader], 20)
        ensemble.start(followers[1])
        ensemble.wait(followers[1])
        after = ensemble.all()
        for sid in roles:
            name = "restarted" if sid == followers[1] else roles[sid]
            yield "restart", name, moved({} if sid == followers[1] else before[sid], after[sid])
        # The leader is killed, and the other voters elect one of them.
        before = ensemble.all()
        ensemble.stop(leader, signal.SIGKILL)
        time.sleep(0.5)
        ensemble.wait(*followers, 4)
        after = ensemble.all()
        for sid in [*followers, 4]:
            yield "election", ensemble.role(sid), moved(before[sid], after[sid])
        # It rejoins with an empty disk, and gets the whole tree.
        now_leads = next(sid for sid in followers if ensemble.role(sid) == "leader")
        shutil.rmtree(ensemble.folder / str(leader) / "data")
        (ensemble.folder / str(leader) / "data").mkdir()
        (ensemble.folder / str(leader) / "data" / "myid").write_text(str(leader))
        before = ensemble.all()
        ensemble.start(leader)
        ensemble.wait(leader)
        after = ensemble.all()
        yield "empty disk", "leader", moved(before[now_leads], after[now_leads])
        yield "empty disk", "new", moved({}, after[leader])


# Metrics that change by the same number on both, in each of PARTS, on the server that the clients are connected to.
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
# These too, except for clients that attach again, which is a txn in a zkfast ensemble.
TXNS = """proposal_count commit_count learner_proposal_received_count learner_commit_received_count
    cnt_propagation_latency cnt_proposal_latency cnt_commit_propagation_latency cnt_quorum_ack_latency
    cnt_proposal_ack_creation_latency""".split()
PARTS = ("traffic", "crowd", "quota", "snapshot")
# Clients of `traffic` that attach again to their sessions.
ATTACHED = 1
# Average times in milliseconds that must be more than 0 if there is a value.
MEASURED = """fsynctime updatelatency readlatency propagation_latency sync_processor_queue_flush_time_ms snapshottime
    dbinittime election_time unavailable_time sync_processor_queue_and_flush_time_ms""".split()
# Metrics that change on ZooKeeper and not on zkfast: part and role, name, reason.
DESIGN = [
    (r"^(start|restart|formed|election|empty disk)", r"cnt_(prep|sync)_processor_queue_size",
     "Java's threads count when they begin to wait"),
    (r"^(restart|formed|election|empty disk)", r"cnt_learner_request_processor_queue_size", "likewise"),
    (r"^(start|restart|formed|election)", r"cnt_snapshottime", "Java takes a snapshot when it starts or leads"),
    (r"^(restart|formed|election|empty disk)", r"(cnt|sum)_.*_write_per_namespace", "Java counts txns that it replays"),
    (r"^formed", r"(snap|diff)_count|cnt_inflight_(snap|diff)_count", "which learner is first, and gets which, is random"),
    (r"^election", r"cnt_commit_process_time", "Java's commit processor ends"),
    (r"^traffic at (follower|observer), leader", r"cnt_read_.*", "for Java's leader a learner's sync is a read"),
]  # fmt: skip


def left_out():
    """The metrics that the page lists as left out."""
    section = PAGE.read_text().split("## Names left out")[1]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    rest = section.split("\n\n`X_read_per_namespace`")[1]
    return set(re.findall(r"`(\w+)`", "".join(rows) + rest)) | {"X_read_per_namespace"}


def base(name):
    """A name without the statistic, with N for a server's number and X for a namespace."""
    name = re.sub(r"^(cnt|sum|avg|min|max|p50|p95|p99|p999)_", "", name)
    return re.sub(r"^\d+_", "N_", re.sub(r"^\w+_(?=(read|write)_per_namespace)", "X_", name))


def compare(java, zkfast):
    """Findings about zkfast's numbers as lines, and the number of comparisons."""
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
                wrong(name, "does not change")
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
    """All changes of metrics, by part and role."""
    result = {}
    with support.scratch(f"metrics-{name}") as folder:
        for scenario in standalone, ensemble_of_four:
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


if __name__ == "__main__":
    main()
