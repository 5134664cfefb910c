#!/usr/bin/env python3
"""Local sessions and read-only mode: the same traffic against Apache ZooKeeper and zkfast, three servers each, and mixed.

Clients open local sessions on a follower and on the leader, write, create ephemerals one by one, in a multi and pipelined,
come back, move to another server, close their sessions and let them expire: with `localSessionsUpgradingEnabled` and without.
Then two of the three servers end, and clients read from the third one. Each part gives a list of what clients were told, by
how much the zxid moved, and what words and HTTP say. Apart from DIFFERENCES the lists are equal.

    tests/compat/sessions.py                      all cases
    tests/compat/sessions.py --only CASE ...      some of them
"""

import json
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402
from metrics import buffer, string  # noqa: E402

TICK_TIME_MS = 500
ANSWER_SECONDS_MAX = 30
# A server without a leader may be read after max(2 s, tickTime).
READ_ONLY_AFTER_SECONDS = 2

NO_NODE = -101
CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, GET_ACL, GET_CHILDREN, SYNC = 1, 2, 3, 4, 5, 6, 8, 9
PING, MULTI, CREATE2, CONTAINER, MULTI_READ = 11, 14, 15, 19, 22
SET_WATCHES, ADD_WATCH, WHO_AM_I, CLOSE = 101, 106, 107, -11
OPEN_ACL = struct.pack(">ii", 1, 31) + b"\0\0\0\x05world\0\0\0\x06anyone"
EPHEMERAL, SEQUENTIAL, EPHEMERAL_SEQUENTIAL, CONTAINER_FLAG = 1, 2, 3, 4

# What zkfast does otherwise on purpose: part and label, then ZooKeeper's value and zkfast's.
DIFFERENCES = {
    # ZooKeeper's follower has the leader refuse the ephemeral, which knows no such session. Alone, the create is answered
    # by what the follower knows, in a multi by what the leader says.
    ("refusal", "follower: multi"): ([0, 0, -112, -2], [0, 0, -120, -2]),
    # No txn is needed for that.
    ("refusal", "follower: create moves"): (1, 0),
    ("refusal", "follower: create2 moves"): (1, 0),
    ("refusal", "follower: multi moves"): (1, 0),
    # ZooKeeper's read-only server has forgotten the local sessions that it had with a leader.
    ("read-only", "local session from before"): ("expired", "attached"),
    # And it forgets its own once there is a leader again.
    ("read-only", "its session afterwards"): ("expired", "attached"),
}


def create(path, flags=0, data=b""):
    return string(path) + buffer(data) + OPEN_ACL + struct.pack(">i", flags)


def multi(*ops):
    """Operations as (op, body)."""
    parts = [struct.pack(">ibi", op, 0, -1) + body for op, body in ops]
    return b"".join(parts) + struct.pack(">ibi", -1, 1, -1)


class Client:
    """A connection, and the session that it asks for. It sends only what a test calls."""

    def __init__(self, port, timeout_ms=10_000, identity=None, seen=0, read_only=False):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS_MAX)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.xid, self.events, self.read_only = 0, [], None
        session, password = identity or (0, bytes(16))
        body = struct.pack(">iqiq", 0, seen, timeout_ms, session) + buffer(password)
        self.socket.sendall(buffer(body + (b"" if read_only is None else bytes([read_only]))))
        try:
            answer = self.frame()
        except (EOFError, ConnectionError):
            self.state, self.session = "closed", 0
            return
        _, self.timeout_ms, self.session = struct.unpack_from(">iiq", answer)
        self.state = "expired" if self.session == 0 else "attached" if session else "new"
        self.read_only = answer[36:]
        self.identity = (self.session, answer[20:36])

    def frame(self):
        return support.exactly(self.socket, struct.unpack(">i", support.exactly(self.socket, 4))[0])

    def send(self, op, body=b"", xid=None):
        if xid is None:
            self.xid += 1
            xid = self.xid
        self.socket.sendall(buffer(struct.pack(">ii", xid, op) + body))
        return xid

    def answer(self):
        """The next answer: xid, zxid, error and body. Events go elsewhere."""
        while True:
            answer = self.frame()
            xid, zxid, err = struct.unpack_from(">iqi", answer)
            if xid != -1:
                return xid, zxid, err, answer[16:]
            self.events.append(struct.unpack_from(">i", answer, 16)[0])

    def call(self, op, body=b"", xid=None):
        """Sends a request, and gives the error of its answer."""
        asked = self.send(op, body, xid)
        got, self.zxid, err, self.body = self.answer()
        assert got == asked, f"answer to {got}, asked {asked}"
        return err

    def results(self, *ops):
        """The error of the multi, and those of its operations."""
        err = self.call(MULTI, multi(*ops))
        errors, at = [err], 0
        while not err and at < len(self.body):
            op, done, _ = struct.unpack_from(">ibi", self.body, at)
            at += 9
            if done:
                break
            if op != -1:
                return [*errors, "done"]
            errors.append(struct.unpack_from(">i", self.body, at)[0])
            at += 4
        return errors

    def owner(self, path):
        """The ephemeralOwner of a znode: whether it is this session."""
        err = self.call(EXISTS, string(path) + b"\0")
        return err or struct.unpack_from(">q", self.body, 44)[0] == self.session

    def close(self):
        """Closes the session; the error, and whether the server ends the connection then."""
        err = self.call(CLOSE)
        return err, self.ends()

    def drop(self):
        self.socket.close()

    def ends(self, seconds=ANSWER_SECONDS_MAX):
        """Whether the server closes the connection within the time."""
        self.socket.settimeout(seconds)
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True


class Ensemble(support.Ensemble):
    """Three servers, each zkfast or ZooKeeper. The second and third start first, so that the third leads. A fourth observes."""

    def __init__(self, kinds, folder, **keys):
        kinds = dict(enumerate(kinds, 1))
        super().__init__(folder, kinds, [sid for sid in kinds if sid > 3])
        self.keys, self.admin = keys, {sid: support.free_port() for sid in kinds}

    def keys_of(self, sid):
        return {
            "tickTime": TICK_TIME_MS,
            "initLimit": 40,
            "syncLimit": 20,
            "admin.enableServer": "true",
            "admin.serverPort": self.admin[sid],
            "localSessionsEnabled": "true",
            "readonlymode.enabled": "true",
            **self.keys,
        }

    def environment_of(self, sid):
        return {"JAVA_TOOL_OPTIONS": "-Dreadonlymode.enabled=true"}

    def __enter__(self):
        try:
            for sids in ([3, 2], [1], self.observers):
                for sid in sids:
                    self.start(sid)
                self.wait_for(sids)
            assert self.role(3) == "leader", "the third server was to lead"
        except BaseException:
            self.__exit__()
            raise
        return self

    def wait_for(self, sids):
        """Waits until these servers have a leader: one that is only read does not."""
        for sid in sids:
            support.wait_until(
                lambda: self.role(sid) in ("leader", "follower", "observer"), support.START_SECONDS_MAX, f"server {sid} serves"
            )

    def figures(self, sid):
        lines = self.word(sid, "mntr").splitlines()
        return dict(line.split("\t", 1) for line in lines if "\t" in line)

    def sessions(self, sid):
        figures = self.figures(sid)
        return int(figures["zk_local_sessions"]), int(figures["zk_global_sessions"])

    def http(self, sid, command):
        url = f"http://127.0.0.1:{self.admin[sid]}/commands/{command}"
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS_MAX) as answer:
            return json.load(answer)


class Part:
    """What one ensemble did: labels and values, in order."""

    def __init__(self, ensemble):
        self.ensemble, self.told = ensemble, []

    def say(self, label, value):
        self.told.append((label, value))

    def zxid(self):
        """The newest that is committed, as a follower and the leader say: the follower does not tell of an epoch that has no txn
        yet, and ZooKeeper's leader answers a sync by what it has applied."""

        def seen(port):
            watcher = Client(port, read_only=True)
            assert watcher.call(SYNC, string("/")) == 0
            watcher.close()
            return watcher.zxid

        return max(seen(self.ensemble.ports[sid]) for sid in (2, 3))

    def moves(self, label, act):
        """How many txns an act makes."""
        before = self.zxid()
        value = act()
        self.say(label, value)
        self.say(f"{label} moves", self.zxid() - before)
        return value


def upgrades(ensemble, follower):
    """Local sessions and their upgrade, through a follower and through the leader."""
    part = Part(ensemble)
    for name, sid, other in (("follower", follower, 3), ("leader", 3, follower)):
        port = ensemble.ports[sid]
        opened = []

        def client(**more):
            opened.append(Client(port, **more))
            return opened[-1].state

        say = lambda label, value: part.say(f"{name}: {label}", value)  # noqa: E731
        moves = lambda label, act: part.moves(f"{name}: {label}", act)  # noqa: E731
        moves("session", client)
        local = opened[-1]
        say("id names the server", local.session >> 56 == sid)
        say("read-only byte", local.read_only)
        say("sessions", ensemble.sessions(sid))
        moves("create", lambda: local.call(CREATE, create(f"/{name}")))
        moves("create sequential", lambda: local.call(CREATE2, create(f"/{name}/n", SEQUENTIAL)))
        moves("create container", lambda: local.call(CONTAINER, create(f"/{name}/c", CONTAINER_FLAG)))
        moves("set", lambda: local.call(SET_DATA, string(f"/{name}") + buffer(b"x") + struct.pack(">i", -1)))
        moves("sync", lambda: local.call(SYNC, string("/")))
        moves("create twice", lambda: local.call(CREATE, create(f"/{name}")))
        say("sessions after writes", ensemble.sessions(sid))
        local.drop()
        say("wrong password", Client(port, identity=(local.session, b"x" * 16)).state)
        moves("comes back", lambda: client(identity=local.identity))
        say("and writes", opened[-1].call(CREATE, create(f"/{name}/back")))
        say("moves elsewhere", Client(ensemble.ports[other], identity=local.identity).state)
        again = opened[-1]
        moves("ephemeral", lambda: again.call(CREATE, create(f"/{name}/e1", EPHEMERAL)))
        moves("second ephemeral", lambda: again.call(CREATE, create(f"/{name}/e2", EPHEMERAL)))
        say("owner", again.owner(f"/{name}/e1"))
        say("sessions after the upgrade", ensemble.sessions(sid))
        again.drop()
        moved = Client(ensemble.ports[other], identity=again.identity)
        say("global session moves elsewhere", moved.state)
        say("and owns", moved.owner(f"/{name}/e1"))
        say("and closes", moved.close())
        # ZooKeeper's leader may apply the end of a session after its followers.
        reader = Client(port)
        is_gone = lambda: reader.call(EXISTS, string(f"/{name}/e1") + b"\0") == NO_NODE  # noqa: B023, E731
        say("ephemeral afterwards", support.wait_until(is_gone, ANSWER_SECONDS_MAX, "the ephemeral is gone"))
        for what, op, flags in (("create2", CREATE2, EPHEMERAL_SEQUENTIAL), ("create", CREATE, EPHEMERAL_SEQUENTIAL)):
            client()
            ephemeral = create(f"/{name}/{what}", flags)
            moves(f"{what} of an ephemeral", lambda: opened[-1].call(op, ephemeral))  # noqa: B023
            opened[-1].close()
        client()
        in_multi = [(CREATE, create(f"/{name}/m")), (CREATE, create(f"/{name}/m/e", EPHEMERAL))]
        moves("multi with an ephemeral", lambda: opened[-1].results(*in_multi))
        say("owner of that", opened[-1].owner(f"/{name}/m/e"))
        opened[-1].close()
        client()
        pipelined(opened[-1], name, say)
        opened[-1].close()
        client()
        moves("close of a local session", opened[-1].close)
        say("closed session comes back", Client(port, identity=opened[-1].identity).state)
        client(timeout_ms=2 * TICK_TIME_MS)
        moves("local session expires", lambda: opened[-1].ends())
        say("expired session comes back", Client(port, identity=opened[-1].identity).state)
        client()
        for _ in range(8):
            opened[-1].call(PING, xid=-2)
            time.sleep(TICK_TIME_MS / 4000)
        say("pings keep it", opened[-1].call(EXISTS, string("/") + b"\0"))
        dump = ensemble.word(sid, "dump")
        say("dump", [re.sub(r"\d+", "N", line) for line in dump.splitlines() if "Session" in line])
        say("dump of http", sorted(ensemble.http(sid, "dump")))
        for one in opened:
            one.drop()
    return part.told


def pipelined(client, name, say):
    """Answers come in the order of the requests, also over the upgrade."""
    requests = [
        (CREATE, create(f"/{name}/p1")), (CREATE, create(f"/{name}/p2", EPHEMERAL)),
        (EXISTS, string(f"/{name}/p2") + b"\0"), (CREATE, create(f"/{name}/p3", EPHEMERAL)),
        (SYNC, string("/")), (SET_DATA, string(f"/{name}/p2") + buffer(b"y") + struct.pack(">i", 0)),
        (DELETE, string(f"/{name}/absent") + struct.pack(">i", -1)), (GET_DATA, string(f"/{name}/p2") + b"\0"),
    ]  # fmt: skip
    asked = [client.send(op, body) for op, body in requests]
    answers = [client.answer() for _ in asked]
    say("pipelined: order", [xid for xid, *_ in answers] == asked)
    say("pipelined: errors", [err for _, _, err, _ in answers])


def refusal(ensemble, follower):
    """Without upgrading a local session cannot own an ephemeral."""
    part = Part(ensemble)
    for name, sid in (("follower", follower), ("leader", 3)):
        client = Client(ensemble.ports[sid])
        assert client.call(CREATE, create(f"/{name}")) == 0
        for what, op in (("create", CREATE), ("create2", CREATE2)):
            ephemeral = create(f"/{name}/e", EPHEMERAL)
            part.moves(f"{name}: {what}", lambda: client.call(op, ephemeral))  # noqa: B023
        ops = [(CREATE, create(f"/{name}/a")), (CREATE, create(f"/{name}/e", EPHEMERAL)), (CREATE, create(f"/{name}/b"))]
        part.moves(f"{name}: multi", lambda: client.results(*ops))  # noqa: B023
        part.say(f"{name}: persistent", client.call(CREATE, create(f"/{name}/p")))
        part.say(f"{name}: nothing else is there", client.call(EXISTS, string(f"/{name}/a") + b"\0"))
        part.say(f"{name}: sessions", ensemble.sessions(sid))
        asked = [client.send(CREATE, create(f"/{name}/q{n}", n % 2)) for n in range(4)]
        answers = [client.answer() for _ in asked]
        part.say(f"{name}: pipelined", [xid for xid, *_ in answers] == asked)
        part.say(f"{name}: errors", [err for _, _, err, _ in answers])
        client.close()
    return part.told


def read_only(ensemble, _follower):
    """Two of the three servers end; the first one serves clients that read, until one of the others is back."""
    part, port = Part(ensemble), ensemble.ports[1]
    say = part.say
    before, owner = Client(port), Client(port)
    assert before.call(CREATE, create("/a", data=b"one")) == 0
    assert owner.call(CREATE, create("/e", EPHEMERAL)) == 0
    assert before.call(SYNC, string("/")) == 0
    zxid = before.zxid
    say("isro before", ensemble.word(1, "isro"))
    begun = time.monotonic()
    for sid in (2, 3):
        ensemble.stop(sid, signal.SIGKILL)
    say("connections end", (before.ends(), owner.ends()))
    support.wait_until(lambda: ensemble.word(1, "isro") == "ro", 60, "server 1 may be read")
    say("not too early", time.monotonic() - begun >= READ_ONLY_AFTER_SECONDS)
    say("mode", ensemble.role(1))
    say("stat", ensemble.word(1, "stat").splitlines()[1])
    figures = ensemble.figures(1)
    names = ("server_state", "peer_state", "quorum_size", "global_sessions", "znode_count")
    say("mntr", [(name, figures.get(f"zk_{name}")) for name in names])
    say("http", ensemble.http(1, "is_read_only")["read_only"])
    say("http stats", ensemble.http(1, "server_stats")["read_only"])
    say("client that writes", Client(port).state)
    say("client of old", Client(port, read_only=None).state)
    say("client that is ahead", Client(port, seen=zxid + 100, read_only=True).state)
    say("global session from before", Client(port, identity=owner.identity, read_only=True).state)
    say("local session from before", Client(port, identity=before.identity, read_only=True).state)
    say("session of nobody", Client(port, identity=(0x7654321, bytes(16)), read_only=True).state)
    reader = Client(port, read_only=True, seen=zxid)
    say("client that reads", (reader.state, reader.read_only, reader.session >> 56))
    say("get", (reader.call(GET_DATA, string("/a") + b"\1"), reader.body[4:7]))
    for label, op, body in (
        ("children", GET_CHILDREN, string("/") + b"\1"), ("exists", EXISTS, string("/b") + b"\1"),
        ("ephemeral", EXISTS, string("/e") + b"\0"), ("acl", GET_ACL, string("/a")), ("who am i", WHO_AM_I, b""),
        ("add watch", ADD_WATCH, string("/a") + struct.pack(">i", 0)),
        ("multi read", MULTI_READ, multi((GET_DATA, string("/a") + b"\0"))),
        ("create", CREATE, create("/b")), ("create2", CREATE2, create("/b", EPHEMERAL)),
        ("delete", DELETE, string("/a") + struct.pack(">i", -1)),
        ("set", SET_DATA, string("/a") + buffer(b"x") + struct.pack(">i", -1)), ("sync", SYNC, string("/")),
        ("multi", MULTI, multi((CREATE, create("/b")))),
    ):  # fmt: skip
        try:
            say(label, reader.call(op, body))
        except EOFError as error:
            raise AssertionError(label) from error
    say("ping", reader.call(PING, xid=-2))
    say("zxid", reader.zxid - zxid)
    second = Client(port, read_only=True)
    say("sessions", ensemble.sessions(1)[0] - {"attached": 1}.get(dict(part.told)["local session from before"], 0))
    say("close", second.close())
    reader.drop()
    again = Client(port, identity=reader.identity, seen=zxid, read_only=True)
    say("its session comes back", again.state)
    again.call(GET_DATA, string("/a") + b"\1")
    short = Client(port, timeout_ms=2 * TICK_TIME_MS, read_only=True)
    say("session expires", short.ends())
    again.call(PING, xid=-2)
    ensemble.start(2)
    say("connection ends", again.ends())
    ensemble.wait_for([1, 2])
    say("isro afterwards", ensemble.word(1, "isro"))
    afterwards = Client(port, identity=again.identity, seen=zxid, read_only=True)
    say("its session afterwards", afterwards.state)
    new = Client(port, seen=zxid, read_only=True)
    say("client that reads afterwards", (new.state, new.read_only))
    watches = struct.pack(">q", zxid) + struct.pack(">i", 1) + string("/a") + struct.pack(">ii", 0, 0)
    say("watches again", new.call(SET_WATCHES, watches, xid=-8))
    say("write afterwards", new.call(SET_DATA, string("/a") + buffer(b"two") + struct.pack(">i", -1)))
    say("watch fires", new.events)
    say("ephemeral's session comes back", Client(ensemble.ports[1], identity=owner.identity, seen=zxid).state)
    return part.told


def read_from_command_lines(ensemble, zkfast):
    """kazoo, zkCli.sh and `zkfast cli` read from a server without a leader if they are told that they may."""
    import kazoo.client
    import kazoo.exceptions

    writer = Client(ensemble.ports[1])
    assert writer.call(CREATE, create("/a", data=b"read me")) == 0
    for sid in (2, 3):
        ensemble.stop(sid, signal.SIGKILL)
    support.wait_until(lambda: ensemble.word(1, "isro") == "ro", 60, "server 1 may be read")
    address = f"127.0.0.1:{ensemble.ports[1]}"
    client = kazoo.client.KazooClient(address, read_only=True)
    client.start(timeout=ANSWER_SECONDS_MAX)
    assert client.client_state == "CONNECTED_RO", client.client_state
    assert client.get("/a")[0] == b"read me"
    try:
        client.create("/b")
        raise AssertionError("a read-only server takes a write")
    except kazoo.exceptions.NotReadOnlyCallError:
        pass
    client.stop()
    client.close()

    def output(*words):
        ended = subprocess.run(words, capture_output=True, text=True, timeout=ANSWER_SECONDS_MAX * 4)
        return ended.returncode, ended.stdout + ended.stderr

    jars = support.installed("zookeeper")
    java = ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*", "org.apache.zookeeper.ZooKeeperMain"]
    status, text = output(*java, "-server", address, "-r", "get", "/a")
    assert status == 0 and "read me" in text, text
    program = support.server_command(zkfast)[0]
    status, text = output(program, "cli", "--server", address, "-r", "get", "/a")
    assert (status, text.strip()) == (0, "read me"), (status, text)
    status, text = output(program, "cli", "--server", address, "-r", "create", "/b")
    assert status == 1 and "read-only" in text, (status, text)


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("--only", nargs="*", metavar="CASE", help="cases to run")
    parser.add_argument("--show", action="store_true", help="print what ZooKeeper and zkfast said")
    options = parser.parse_args()
    support.use_environment()
    zkfast, java = options.server, "reference"
    parts = {"upgrades": (upgrades, "true"), "refusal": (refusal, "false"), "read-only": (read_only, "true")}
    with support.scratch("sessions") as folder:

        def run(part, name, kinds, follower=1):
            act, upgrading = parts[part]
            place = folder / name
            place.mkdir()
            with Ensemble(kinds, place, localSessionsUpgradingEnabled=upgrading) as ensemble:
                return act(ensemble, follower)

        known = {}

        def compare(part, name, kinds, follower=1):
            if part not in known:
                known[part] = run(part, f"{part}-java", [java] * 3)
            expected, told = known[part], run(part, name, kinds, follower)
            if options.show:
                print(*told, sep="\n")
            assert [label for label, _ in told] == [label for label, _ in expected], "the same is asked"
            wrong = []
            for (label, theirs), (_, ours) in zip(expected, told, strict=True):
                # Both are right of a mixed ensemble: it depends on which server answers.
                allowed = [theirs, *DIFFERENCES.get((part, label), ())]
                if ours not in allowed:
                    wrong.append(f"{label}: ZooKeeper {theirs!r}, {name} {ours!r}")
                known_theirs = DIFFERENCES.get((part, label), (theirs,))[0]
                assert theirs == known_theirs, f"{label}: ZooKeeper is said to give {known_theirs!r}, and gives {theirs!r}"
            assert not wrong, "\n  ".join(["", *wrong])

        def case(part, name, kinds, follower=1):
            def one():
                compare(part, name, kinds, follower)

            one.__name__ = name
            return one

        cases = [
            case("upgrades", "upgrades", [zkfast] * 3),
            case("upgrades", "upgrades_behind_java", [zkfast, java, java]),
            case("upgrades", "upgrades_before_java", [java, zkfast, zkfast]),
            case("upgrades", "upgrades_of_an_observer", [zkfast] * 4, follower=4),
            case("refusal", "refusal", [zkfast] * 3),
            case("refusal", "refusal_behind_java", [zkfast, java, java]),
            case("refusal", "refusal_before_java", [java, zkfast, zkfast]),
            case("read-only", "read_only", [zkfast] * 3),
            case("read-only", "read_only_behind_java", [zkfast, java, java]),
        ]

        def command_lines():
            place = folder / "command_lines"
            place.mkdir()
            with Ensemble([zkfast] * 3, place) as ensemble:
                read_from_command_lines(ensemble, zkfast)

        cases.append(command_lines)
        chosen = [one for one in cases if not options.only or one.__name__ in options.only]
        support.run_cases(chosen, folder)


if __name__ == "__main__":
    main()
