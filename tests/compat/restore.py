#!/usr/bin/env python3
"""The commands `snapshot` and `restore` of the AdminServer: trees between zkfast and Apache ZooKeeper, and what is refused.

A tree with data, access lists, ephemerals, quotas, containers and TTL nodes is streamed from zkfast and restored into
ZooKeeper, and the other way round; both trees are walked by a client, and their digests compared. What is refused is
refused with the same status and the same names in JSON. Then zkfast alone: clients and zxids after a restore, kill -9 at
any moment of one, an ensemble made of a restored server, and a tree of 250 MB that is streamed to slow clients.

    tests/compat/restore.py                 all of it
    tests/compat/restore.py --only at_size  the cases of zkfast alone whose names hold that
"""

import concurrent.futures
import contextlib
import http.client
import json
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402

support.use_environment()

import admin  # noqa: E402
from kazoo.client import KazooClient  # noqa: E402
from kazoo.exceptions import ConnectionLoss, SessionExpiredError  # noqa: E402
from kazoo.security import OPEN_ACL_UNSAFE, make_acl, make_digest_acl  # noqa: E402

ZNODES = 10_000
KILLS = 40
LARGE_ZNODES = 25_000
LARGE_BYTES = 10_000
# A generous ceiling: a stream shares its znodes with the tree, and has a piece of the file in memory. What clients write
# while the file is made comes on top of that, and is the whole tree at most.
GROWTH_BYTES_MAX = 80 << 20

OWNER = "owner:secret"
OWNS = {"Authorization": f"digest {OWNER}"}
NOBODY = {"Authorization": "digest nobody:x"}
STREAM = f"GET /commands/snapshot HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: digest {OWNER}\r\n\r\n".encode()
# Everybody may do all at the root but administer it.
ROOT_ACL = [
    make_digest_acl("owner", "secret", all=True),
    make_acl("world", "anyone", read=True, write=True, create=True, delete=True),
]

# Last zxid (8) and its seal (13); digest (8 + 4 + 8) and its seal before.
LAST_ZXID = 21
DIGEST = 33


class Server(support.Server):
    """A server alone, with HTTP."""

    def __init__(self, command, folder, **settings):
        folder.mkdir(parents=True)
        self.admin = support.free_port()
        keys = {
            "admin.enableServer": "true",
            "admin.serverAddress": "127.0.0.1",
            "admin.serverPort": self.admin,
            "admin.rateLimiterIntervalInMS": 0,
            "admin.restore.enabled": "true",
            "extendedTypesEnabled": "true",
            "enforceQuota": "true",
            "clientPortAddress": "127.0.0.1",
            "maxClientCnxns": 0,
        }
        keys.update({name.replace("__", "."): value for name, value in settings.items()})
        super().__init__(command, folder, **keys)

    def __enter__(self):
        super().__enter__()
        support.wait_until(self.serves, support.START_SECONDS_MAX, "HTTP serves")
        return self

    def serves(self):
        with contextlib.suppress(OSError, ValueError):
            return json.loads(self.ask("GET", "ruok")[2])["error"] is None
        return False

    def ask(self, method, request, headers=None, body=None):
        """Status code, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=support.ANSWER_SECONDS_MAX)
        try:
            connection.request(method, "/commands/" + request, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def snapshot(self):
        status, headers, body = self.ask("GET", "snapshot?streaming=true", OWNS)
        assert status == 200, (status, body)
        assert int(headers["snapshot_size"]) == len(body)
        assert int(headers["last_zxid"], 16) == last_zxid(body)
        return body

    def restore(self, snapshot):
        status, _, body = self.ask("POST", "restore", OWNS | {"Content-Type": "application/octet-stream"}, snapshot)
        assert status == 200, (status, body)
        return json.loads(body)["last_zxid"]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(support.STOP_SECONDS_MAX)

    def client(self, **settings):
        client = KazooClient(self.address, timeout=30, auth_data=[("digest", OWNER)], **settings)
        client.start(support.START_SECONDS_MAX)
        return client

    def rss(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) << 10
        raise RuntimeError("no VmRSS")


def last_zxid(snapshot):
    return struct.unpack(">q", snapshot[-LAST_ZXID:][:8])[0]


def digest(snapshot):
    """Zxid, version and digest."""
    return struct.unpack(">qiq", snapshot[-LAST_ZXID - DIGEST :][:20])


def fill(server):
    """A tree with all that a snapshot can hold. Gives the client whose session has ephemerals; it stays connected."""
    client = server.client()
    client.set_acls("/", ROOT_ACL)
    by_ip = [make_digest_acl("a", "b", all=True), make_acl("ip", "127.0.0.1", all=True)]
    lists = [None, ROOT_ACL, by_ip, OPEN_ACL_UNSAFE]
    requests = []
    for number in range(ZNODES // 100):
        requests.append(client.create_async(f"/d{number}", b"%d" % number, acl=lists[number % 4]))
    for request in requests:
        request.get(60)
    requests = []
    for number in range(ZNODES):
        data = random.Random(number).randbytes(number % 300)
        requests.append(client.create_async(f"/d{number % 100}/\u00fc{number}", data, acl=lists[number % 4]))
        if len(requests) == 500:
            [request.get(60) for request in requests]
            requests = []
    [request.get(60) for request in requests]
    for number in range(0, ZNODES, 97):
        client.set(f"/d{number % 100}/\u00fc{number}", b"again")
    for number in range(50):
        client.create(f"/d1/e{number}", b"e", ephemeral=True)
        client.create("/d2/s", b"", sequence=True)
        client.delete(f"/d3/\u00fc{3 + 100 * number}")
    # kazoo makes neither.
    for words in ["-c", "/container"], ["-t", "3600000", "/ttl", "x"]:
        command = [ZKFAST, "cli", "-s", server.address, "create", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    client.create("/container/child", b"")
    client.ensure_path("/zookeeper/quota/d5")
    client.create("/zookeeper/quota/d5/zookeeper_limits", b"count=1000,bytes=-1,byteHardLimit=-1,countHardLimit=-1")
    client.create("/zookeeper/quota/d5/zookeeper_stats", b"count=0,bytes=0")
    client.create("/d5/counted", b"x")
    client.create("/null", None)
    return client


def walk(client):
    """All znodes below the root: data, Stat, access list, children."""
    found, ahead = {}, ["/"]
    while ahead:
        level, ahead = ahead, []
        for at in range(0, len(level), 500):
            part = level[at : at + 500]
            requests = client.get_async, client.get_acls_async, client.get_children_async
            asked = [(path, *(request(path) for request in requests)) for path in part]
            for path, data, acls, children in asked:
                children = sorted(children.get(60))
                found[path] = data.get(60), acls.get(60)[0], children
                ahead += [f"{path.rstrip('/')}/{child}" for child in children]
    return found


def assert_equal(one, other):
    assert one.keys() == other.keys(), sorted(one.keys() ^ other.keys())[:5]
    different = [path for path in one if one[path] != other[path]]
    assert not different, [(path, one[path], other[path]) for path in different[:3]]


class Refusals:
    """What each of the two servers answers to what it refuses."""

    def __init__(self, folder, whole):
        self.folder, self.whole = folder, whole

    def requests(self, snapshot):
        garbage = random.Random(1).randbytes(100_000)
        flipped = bytearray(snapshot)
        flipped[len(snapshot) // 2] ^= 1
        return [
            ("snapshot without credentials", "GET", "snapshot", {}, None),
            ("snap without credentials", "GET", "snap", {}, None),
            ("restore without credentials", "POST", "restore", {}, snapshot),
            ("rest without credentials", "POST", "rest", {}, snapshot),
            ("GET restore without credentials", "GET", "restore", {}, None),
            ("a scheme that is none", "GET", "snapshot", {"Authorization": "Basic b3duZXI6c2VjcmV0"}, None),
            ("no password", "GET", "snapshot", {"Authorization": "digest"}, None),
            ("too much", "GET", "snapshot", {"Authorization": "digest owner:secret x"}, None),
            ("two blanks", "GET", "snapshot", {"Authorization": "digest  owner:secret"}, None),
            ("a scheme in capitals", "GET", "snapshot", {"Authorization": "DIGEST owner:secret"}, None),
            ("x509 without TLS", "GET", "snapshot", {"Authorization": "x509"}, None),
            ("a stranger", "GET", "snapshot", NOBODY, None),
            ("a stranger restores", "POST", "restore", NOBODY, snapshot),
            ("by address, which has no entry", "GET", "snapshot", {"Authorization": "ip"}, None),
            ("without streaming", "GET", "snapshot?streaming=false", OWNS, None),
            ("a word that is not true", "GET", "snapshot?streaming=yes", OWNS, None),
            ("garbage", "POST", "restore", OWNS, garbage),
            ("nothing", "POST", "restore", OWNS, b""),
            ("cut short", "POST", "restore", OWNS, snapshot[: len(snapshot) // 2]),
            ("one bit changed", "POST", "restore", OWNS, bytes(flipped)),
            ("GET restore", "GET", "restore", OWNS, None),
            ("POST snapshot", "POST", "snapshot", OWNS, b"x"),
        ]

    def of(self, command, name):
        found = {}
        with Server(command, self.folder / f"{name}-refuses") as server:
            client = server.client()
            client.create("/kept", b"")
            client.set_acls("/", ROOT_ACL)
            for what, method, request, headers, body in self.requests(self.whole):
                # Java's limiter wants a millisecond between two.
                time.sleep(0.005)
                found[what] = server.ask(method, request, headers, body)
            assert client.exists("/kept"), "a restore that failed has changed the tree"
            client.stop()
        off = {"admin__snapshot__enabled": "false", "admin__restore__enabled": "false"}
        with Server(command, self.folder / f"{name}-off", **off) as server:
            found["snapshot switched off"] = server.ask("GET", "snapshot", OWNS)
            found["restore switched off"] = server.ask("POST", "restore", OWNS, self.whole)
        with Server(command, self.folder / f"{name}-limited", admin__rateLimiterIntervalInMS=3_600_000) as server:
            first, second = server.ask("GET", "snapshot", OWNS), server.ask("GET", "snapshot", OWNS)
            assert first[0] == 200, first
            found["snapshot too often"] = second
            first, second = server.ask("POST", "restore", OWNS, b"no"), server.ask("POST", "restore", OWNS, self.whole)
            assert first[0] == 500, first
            found["restore too often, after one that failed"] = second
        return found


def refusals_are_java_s(java, zkfast):
    """Statuses are equal, and names and values in JSON, but that zkfast says what is wrong where Java says null."""
    by_accident = {"GET restore", "POST snapshot"}
    for what, (status, headers, body) in zkfast.items():
        their_status, their_headers, their_body = java[what]
        if what in by_accident:
            # A NullPointerException.
            assert (their_status, status) == (500, 405), (what, their_status, status)
            continue
        assert status == their_status, f"{what}: ZooKeeper {their_status}, zkfast {status} {body}"
        theirs, ours = json.loads(their_body), json.loads(body)
        assert list(theirs) == list(ours), (what, theirs, ours)
        if status in (429, 500, 503):
            assert theirs["error"] is None and ours["error"], (what, theirs, ours)
            del theirs["error"], ours["error"]
        assert theirs == ours, (what, theirs, ours)
        for name in "last_zxid", "snapshot_size":
            assert (name in headers) == (name in their_headers), (what, name)
    print(f"       {len(zkfast)} requests")


def between(folder, stack):
    zkfast = stack.enter_context(Server(COMMAND, folder / "zkfast"))
    java = stack.enter_context(Server("reference", folder / "java"))
    state = {}
    stack.callback(lambda: [state[name].stop() for name in ("owner", "moved") if name in state])

    def from_zkfast_into_java():
        owner = state["owner"] = fill(zkfast)
        state["tree"] = walk(owner)
        streamed = state["streamed"] = zkfast.snapshot()
        assert digest(streamed)[0] == last_zxid(streamed)
        client = java.client()
        client.create("/gone", b"")
        answered = java.restore(streamed)
        client.stop()
        assert answered == last_zxid(streamed)
        client = java.client()
        assert_equal(state["tree"], walk(client))
        client.stop()
        print(f"       {len(state['tree'])} znodes, {len(streamed)} bytes, zxid {answered:#x}")

    def java_sees_the_same_digest_and_sessions():
        again = java.snapshot()
        assert digest(again)[1:] == digest(state["streamed"])[1:], (digest(again), digest(state["streamed"]))
        # The session goes on there: its client attaches, and owns its ephemerals.
        moved = KazooClient(java.address, timeout=30, client_id=state["owner"].client_id)
        moved.start(support.START_SECONDS_MAX)
        assert moved.client_id[0] == state["owner"].client_id[0]
        assert moved.exists("/d1/e7").ephemeralOwner == moved.client_id[0]
        state["moved"] = moved

    def from_java_into_zkfast():
        client = java.client()
        for number in range(200):
            client.create(f"/java{number}", b"j" * number)
        tree, streamed = walk(client), java.snapshot()
        client.stop()
        with Server(COMMAND, folder / "zkfast-2") as restored:
            before = restored.client()
            # More txns than the other has zxids are not needed: epochs differ.
            before.create("/gone", b"")
            former = before.client_id[0]
            answered = restored.restore(streamed)
            assert answered == last_zxid(streamed)
            client = restored.client()
            assert_equal(tree, walk(client))
            assert digest(restored.snapshot())[1:] == digest(streamed)[1:]
            # A client whose session the snapshot does not have begins a new one.
            support.wait_until(lambda: reconnected(before, former), 60, "a client begins a new session")
            assert before.exists("/gone") is None
            attached = KazooClient(restored.address, timeout=30, client_id=state["owner"].client_id)
            attached.start(support.START_SECONDS_MAX)
            assert attached.client_id[0] == state["owner"].client_id[0]
            assert attached.exists("/d1/e7").ephemeralOwner == attached.client_id[0]
            attached.stop()
            assert client.exists("/d1/e7") is None, "the session has ended"
            # Zxids go on above both.
            made = client.create("/next", include_data=True)[1].czxid
            assert made > last_zxid(streamed) and made >> 32 > last_zxid(streamed) >> 32, hex(made)
            before.stop()
            tree = walk(client)
            client.stop()
            restored.stop()
            restored.__enter__()
            client = restored.client()
            assert_equal(tree, walk(client))
            client.stop()

    def files_compare():
        """What `zkfast snapshot` says of both streams."""
        mine, theirs = folder / "snapshot.1", folder / "snapshot.2"
        mine.write_bytes(state["streamed"])
        theirs.write_bytes(zkfast.snapshot())
        run = subprocess.run([ZKFAST, "snapshot", "compare", mine, theirs], stdout=subprocess.PIPE, text=True)
        assert run.returncode == 0, run.stdout
        run = subprocess.run([ZKFAST, "snapshot", "verify", mine], stdout=subprocess.PIPE, text=True)
        assert run.returncode == 0, run.stdout
        print(f"       {run.stdout.strip()}")

    def refused():
        refusals = Refusals(folder, state["streamed"])
        refusals_are_java_s(refusals.of("reference", "java"), refusals.of(COMMAND, "zkfast"))

    return [
        from_zkfast_into_java,
        java_sees_the_same_digest_and_sessions,
        from_java_into_zkfast,
        files_compare,
        refused,
    ]


def reconnected(client, former):
    with contextlib.suppress(ConnectionLoss, SessionExpiredError):
        return client.exists("/") and client.client_id[0] != former
    return False


def alone(folder):
    def an_open_root_wants_to_be_confirmed():
        server = Server(COMMAND, folder / "open")
        server.config.write_text(server.config.read_text().replace("admin.restore.enabled=true\n", ""))
        with server:
            snapshot = server.snapshot()
            status, _, body = server.ask("POST", "restore", OWNS, snapshot)
            assert status == 403 and b"setAcl" in body and b"admin.restore.enabled=true" in body, (status, body)
            client = server.client()
            client.set_acls("/", ROOT_ACL)
            client.stop()
            server.restore(snapshot)
            # What was restored has an open root again.
            assert server.ask("POST", "restore", OWNS, snapshot)[0] == 403

    def members_are_not_restored():
        port = support.free_port(4)
        data = folder / "member/data"
        server = Server(COMMAND, folder / "member")
        (data / "myid").write_text("1")
        with open(server.config, "a") as config:
            config.write(f"server.1=127.0.0.1:{port}:{port + 1}\n")
            config.write(f"server.2=127.0.0.1:{port + 2}:{port + 3}:observer\n")
            config.write("standaloneEnabled=false\ninitLimit=10\nsyncLimit=5\n")
        with server:
            snapshot = server.snapshot()
            status, _, body = server.ask("POST", "restore", OWNS, snapshot)
            assert status == 409 and "ensemble" in json.loads(body)["error"], (status, body)

    def an_ensemble_goes_on_with_what_a_server_alone_was_restored_to():
        """What members say when they refuse a restore, done."""
        place = folder / "for-three"
        with Server(COMMAND, place) as server:
            client = server.client()
            client.create("/kept", b"k")
            snapshot = server.snapshot()
            client.delete("/kept")
            restored = server.restore(snapshot)
            support.wait_until(lambda: reconnected(client, 0), 60, "the client is back")
            client.stop()
        (folder / "three").mkdir()
        servers = admin.Servers(COMMAND, folder / "three", 3)
        for sid in servers.ports:
            shutil.copytree(place / "data/zkfast-1", folder / f"three/{sid}/data/zkfast-1")
        with servers:
            for sid, port in servers.ports.items():
                client = KazooClient(f"127.0.0.1:{port}", timeout=30)
                client.start(support.START_SECONDS_MAX)
                assert client.get("/kept")[0] == b"k"
                assert client.create(f"/made-{sid}", include_data=True)[1].czxid > restored
                client.stop()

    def secrets_are_not_logged():
        for log in folder.glob("**/server.log"):
            assert "secret" not in log.read_text(errors="replace"), log

    def killed_at_any_moment_of_a_restore():
        server = Server(COMMAND, folder / "killed", snapCount=500)
        streams, digests = {}, {}
        with server:
            for which in "old", "new":
                client = server.client()
                if client.exists("/old"):
                    client.delete("/old", recursive=True)
                client.create(f"/{which}", b"")
                requests = [client.create_async(f"/{which}/{number}", b"x" * 500) for number in range(3000)]
                [request.get(60) for request in requests]
                client.stop()
                streams[which] = server.snapshot()
                digests[digest(streams[which])[2]] = which
            outcomes, newest = {}, 0
            begun = time.monotonic()
            server.restore(streams["old"])
            took, holds = time.monotonic() - begun, "old"
            chance = random.Random(17)
            for number in range(KILLS):
                wanted = "new" if holds == "old" else "old"
                answers = []
                restoring = threading.Thread(target=quietly, args=(server, streams[wanted], answers))
                restoring.start()
                if number % 2:
                    time.sleep(chance.random() * took * 1.3)
                else:
                    # While the snapshot is named, the log begins anew with it, and the server goes on.
                    wait_for_incoming(folder / "killed/data")
                    time.sleep(chance.random() * 0.02)
                server.kill()
                restoring.join()
                server.__enter__()
                after = server.snapshot()
                now = digests.get(digest(after)[2])
                assert now, f"kill {number}: neither tree"
                assert now == wanted or not answers, f"kill {number}: a restore that was answered is gone"
                # A session is a txn, and leaves the tree as it is.
                client = server.client()
                client.exists("/")
                assert client.last_zxid > newest, f"kill {number}: zxid {client.last_zxid:#x} after {newest:#x}"
                newest = client.last_zxid
                client.stop()
                outcomes[bool(answers), now == wanted] = outcomes.get((bool(answers), now == wanted), 0) + 1
                holds = now
            names = {(True, True): "answered", (False, True): "done, not answered", (False, False): "not done"}
            print("       " + ", ".join(f"{names[how]}: {count}" for how, count in sorted(outcomes.items())))
            leftovers = [path.name for path in (folder / "killed/data").glob("**/*.tmp")]
            assert not leftovers, leftovers

    return [
        an_open_root_wants_to_be_confirmed,
        members_are_not_restored,
        an_ensemble_goes_on_with_what_a_server_alone_was_restored_to,
        killed_at_any_moment_of_a_restore,
        secrets_are_not_logged,
    ]


def wait_for_incoming(data):
    """Returns once a snapshot waits for its place, or after a while."""
    begun = time.monotonic()
    while time.monotonic() - begun < 10:
        if any(not path.name.endswith(".tmp") for path in data.glob("*/incoming.*")):
            return


def quietly(server, snapshot, answers):
    with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
        answers.append(server.restore(snapshot))


class Writers:
    """Clients that write all the time, and how long each write took."""

    def __init__(self, server, count):
        self.took, self.ends = [], threading.Event()
        self.threads = [threading.Thread(target=self.write, args=(server, number)) for number in range(count)]

    def write(self, server, number):
        client = server.client()
        chance = random.Random(number)
        while not self.ends.is_set():
            begun = time.monotonic()
            client.set(f"/large/{chance.randrange(LARGE_ZNODES)}", chance.randbytes(LARGE_BYTES))
            self.took.append(time.monotonic() - begun)
        client.stop()

    def __enter__(self):
        [thread.start() for thread in self.threads]
        return self

    def __exit__(self, *_):
        self.ends.set()
        [thread.join() for thread in self.threads]

    def p99_ms(self):
        took, self.took = sorted(self.took), []
        return took[len(took) * 99 // 100] * 1000 if took else 0


def slowly(server, bytes_per_second):
    """Reads a stream at a pace; gives all of it."""
    with socket.create_connection(("127.0.0.1", server.admin), timeout=60) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.sendall(STREAM)
        received = bytearray()
        while piece := connection.recv(1 << 16):
            received += piece
            time.sleep(len(piece) / bytes_per_second)
        head, _, body = bytes(received).partition(b"\r\n\r\n")
        assert b" 200 " in head, head
        return body


def streamed(server):
    """A stream to a client that is slow, and the most memory that the server had meanwhile."""
    most = server.rss()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        streaming = pool.submit(slowly, server, 40 << 20)
        while not streaming.done():
            most = max(most, server.rss())
            time.sleep(0.05)
        return streaming.result(), most


def unnamed_files(server):
    links = pathlib.Path(f"/proc/{server.process.pid}/fd").glob("*")
    found = []
    for link in links:
        with contextlib.suppress(OSError):
            target = str(link.readlink())
            if ".tmp" in target and "(deleted)" in target:
                found.append(target)
    return found


def at_size(folder):
    def a_stream_of_250_mb_at_size():
        with Server(COMMAND, folder / "large", admin__idleTimeout=2000, snapCount=1_000_000) as server:
            client = server.client()
            client.create("/large", b"")
            for at in range(0, LARGE_ZNODES, 100):
                made = [client.create_async(f"/large/{n}", random.randbytes(LARGE_BYTES)) for n in range(at, at + 100)]
                [request.get(60) for request in made]
            before = server.rss()
            body, alone = streamed(server)
            assert alone - before < GROWTH_BYTES_MAX, (before, alone)
            with Writers(server, 4) as writers:
                time.sleep(3)
                quiet = writers.p99_ms()
                body, most = streamed(server)
                busy = writers.p99_ms()
            assert most - before < GROWTH_BYTES_MAX + LARGE_ZNODES * LARGE_BYTES, (before, most)
            with Writers(server, 1):
                # A client that stops to read is given up, and its file with it.
                with socket.create_connection(("127.0.0.1", server.admin)) as dead:
                    dead.sendall(STREAM)
                    support.wait_until(lambda: unnamed_files(server), 60, "a stream begins")
                    support.wait_until(lambda: not unnamed_files(server), 60, "a dead client is given up")
            assert len(body) > LARGE_ZNODES * LARGE_BYTES
            (folder / "snapshot.1").write_bytes(body)
            run = subprocess.run([ZKFAST, "snapshot", "verify", folder / "snapshot.1"], stdout=subprocess.PIPE, text=True)
            assert run.returncode == 0, run.stdout
            print(f"       {len(body) >> 20} MiB; memory {before >> 20} MiB, while it was made and sent {alone >> 20} MiB,")
            print(f"       {most >> 20} MiB beside clients that write; p99 of theirs {quiet:.1f} ms, {busy:.1f} ms beside it")
            # And back.
            last = server.rss()
            begun = time.monotonic()
            server.restore(body)
            took, after = time.monotonic() - begun, server.rss()
            print(f"       restored in {took:.1f} s; memory {last >> 20} MiB before, {after >> 20} MiB after")
            support.wait_until(lambda: client.connected, 60, "the client is back")
            assert len(client.retry(client.get_children, "/large")) == LARGE_ZNODES
            client.stop()
            (folder / "snapshot.1").unlink()

    return [a_stream_of_250_mb_at_size]


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    global COMMAND, ZKFAST
    COMMAND = options.server
    ZKFAST = support.server_command(COMMAND)[0]
    with support.scratch("restore") as folder, contextlib.ExitStack() as stack:
        cases = [] if options.only else between(folder, stack)
        cases += [case for case in [*alone(folder), *at_size(folder)] if options.only in case.__name__]
        support.run_cases(cases, folder)


if __name__ == "__main__":
    main()
