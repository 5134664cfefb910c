"""An ensemble whose members change while it runs: servers with files of their own, and what a reconfiguration is answered."""

import base64
import collections
import contextlib
import hashlib
import pathlib
import re
import socket
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402

support.use_environment()
import observers  # noqa: E402
import roles  # noqa: E402
import sessions  # noqa: E402

SECONDS_MAX = support.ANSWER_SECONDS_MAX
TICK_TIME_MS = 500
RECONFIG, AUTH, SET_ACL, DELETE = 16, 100, 7, sessions.DELETE
CONFIG = "/zookeeper/config"
IN_PROGRESS, NO_QUORUM = -14, -13
# What a client may be told while the servers agree on a leader, and tries again.
RETRIED = (-4, IN_PROGRESS, NO_QUORUM)
DIGEST = base64.b64encode(hashlib.sha1(b"super:secret").digest()).decode()
GUARDED = {"DigestAuthenticationProvider.superDigest": f"super:{DIGEST}"}
OPEN = {"skipACL": "yes"}


def text(value):
    return struct.pack(">i", -1) if value is None else sessions.string(value)


def acl(*entries):
    """Entries as (permissions, scheme, id)."""
    return struct.pack(">i", len(entries)) + b"".join(
        struct.pack(">i", perms) + text(scheme) + text(name) for perms, scheme, name in entries
    )


def request(joining=None, leaving=None, members=None, version=-1):
    return text(joining) + text(leaving) + text(members) + struct.pack(">q", version)


class Connection(sessions.Client):
    """A connection that a test ends by leaving a `with` block; its session ends by its timeout."""

    def __init__(self, port, rights=False):
        super().__init__(port)
        if self.state != "new":
            raise ConnectionError(f"port {port} does not serve")
        if rights:
            assert self.call(AUTH, struct.pack(">i", 0) + text("digest") + sessions.buffer(b"super:secret"), xid=-4) == 0

    def data(self, path, watch=False):
        """A znode's data and Stat."""
        err = self.call(sessions.GET_DATA, text(path) + bytes([watch]))
        assert err == 0, f"{path}: error {err}"
        length = max(struct.unpack_from(">i", self.body)[0], 0)
        return self.body[4 : 4 + length], Stat(self.body[4 + length :])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.drop()


def told_or_closed(client):
    try:
        return client.answer()[2]
    except (EOFError, ConnectionError):
        return "closed"


def refused(port):
    """Whether nobody listens on a port of clients."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX).close()
    except ConnectionRefusedError:
        return True
    return False


class Answer:
    """What a reconfiguration is answered: the error, or the servers of the new configuration."""

    def __init__(self, client, err):
        self.err, self.zxid = err, client.zxid
        if err == 0:
            length = struct.unpack_from(">i", client.body)[0]
            self.version, self.lines = parsed(client.body[4 : 4 + length])
            self.stat = Stat(client.body[4 + length :])

    def __repr__(self):
        return f"error {self.err}" if self.err else f"version {self.version:#x} of {sorted(self.lines)}"


class Stat:
    """A znode's Stat."""

    def __init__(self, data):
        self.czxid, self.mzxid, _, _, *self.versions = struct.unpack_from(">qqqqiii", data)
        self.owner, self.bytes, self.children, self.pzxid = struct.unpack_from(">qiiq", data, 44)


def parsed(data):
    """The version of a configuration, and its other lines as a set."""
    lines = data.decode().split("\n")
    version = [line for line in lines if line.startswith("version=")]
    assert len(version) <= 1 and len(set(lines)) == len(lines), f"lines come twice: {lines}"
    return int(version[0].removeprefix("version="), 16) if version else None, set(lines) - set(version)


class Ensemble(roles.Ensemble):
    """Servers by number, each `zkfast` or `java`. The files of a server are its own once it has begun: it changes them.

    Each has an address of 127.0.0.0/8 of its own, since a port for observers would be the same on all.
    """

    def __init__(self, server, folder, kinds, settings=OPEN):
        super().__init__(server, folder, kinds, settings)
        for sid in kinds:
            (folder / str(sid) / "data" / "myid").write_text(f"{sid}\n")

    def line(self, sid, role="participant", client=True):
        """What a server's line says, as servers write it."""
        port = self.ports[sid]
        return f"127.0.1.{sid}:{port + 1}:{port + 2}:{role}" + (f";127.0.0.1:{port}" if client else "")

    def server(self, sid, role="participant"):
        return f"server.{sid}={self.line(sid, role)}"

    def servers(self, *sids, observers=()):
        return {self.server(sid) for sid in sids} | {self.server(sid, "observer") for sid in observers}

    def keys_of(self, sid):
        return {
            "tickTime": TICK_TIME_MS,
            "initLimit": 40,
            "syncLimit": 10,
            "dataDir": self.folder / str(sid) / "data",
            "4lw.commands.whitelist": "*",
            "admin.enableServer": "false",
            "reconfigEnabled": "true",
            "standaloneEnabled": "false",
        } | self.settings

    def configure(self, sid, listed, dynamic=False):
        """Writes a server's first files, which list these servers."""
        listed = [*listed] or ["# no servers"]
        keys = self.keys_of(sid)
        if dynamic:
            path = self.path(sid) / "servers.cfg"
            path.write_text("\n".join(listed) + "\n")
            listed = [f"dynamicConfigFile={path}"]
        lines = [*(f"{key}={value}" for key, value in keys.items()), *listed]
        (self.path(sid) / "zoo.cfg").write_text("\n".join(lines) + "\n")

    def found(self, *sids, dynamic=False):
        """Starts the first servers, which list each other; gives the leader."""
        for sid in sids:
            self.configure(sid, self.servers(*sids), dynamic)
            self.resume(sid)
        return self.wait_roles(*sids)

    def join(self, sid, *present, role="participant", dynamic=False, observers=()):
        """Starts a server that lists the present members and itself. It serves before it is a member."""
        self.configure(sid, self.servers(*present, observers=observers) | {self.server(sid, role)}, dynamic)
        self.resume(sid)
        self.wait(sid)

    def connect(self, sid, rights=False):
        """A connection that says only what a test sends."""
        return Connection(self.ports[sid], rights)

    def revive(self, sid, *members):
        """Starts a server that was killed, on its files. Where those do not name it yet, ZooKeeper's server ends; then the
        server starts as one that joins."""
        self.resume(sid)
        process = self.running[sid]
        support.wait_until(lambda: process.poll() is not None or self.role(sid), SECONDS_MAX, f"server {sid} serves or ends")
        if process.poll() is not None:
            self.configure(sid, self.servers(*members, sid))
            self.resume(sid)

    def ask(self, sid, joining=None, leaving=None, members=None, version=-1, rights=False):
        """One request of a reconfiguration and its answer; a ConnectionError or EOFError if there is none."""
        with self.connect(sid, rights) as client:
            return Answer(client, client.call(RECONFIG, request(joining, leaving, members, version)))

    def change(self, wanted, joining=None, leaving=None, members=None, via=None):
        """Has the ensemble make a change, and asks again while it cannot. Gives the version once a member says `wanted`.

        The answer may be lost together with a leader, so what counts is the configuration.
        """

        def changed():
            for sid in [via] if via else list(self.running):
                with contextlib.suppress(OSError, EOFError):
                    version, lines = self.config(sid)
                    if lines == wanted:
                        return version
                    answer = self.ask(sid, joining, leaving, members)
                    assert answer.err in (0, *RETRIED), f"{joining} {leaving} {members}: {answer}"
                    if answer.err == 0:
                        assert answer.lines == wanted, f"{answer}, wanted {sorted(wanted)}"
                        return answer.version
                    last.append(answer)
            return None

        last = collections.deque(maxlen=5)
        try:
            return support.wait_until(changed, SECONDS_MAX, "the configuration changes")
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {[*last]}") from None

    def config(self, sid):
        """The configuration that a server knows: its version, and its other lines."""
        with self.connect(sid) as client:
            return parsed(client.data(CONFIG)[0])

    def wait_config(self, version, *sids):
        """Waits until these servers have this configuration."""

        def known(sid):
            with contextlib.suppress(OSError, EOFError):
                return self.config(sid)[0] == version
            return False

        for sid in sids:
            support.wait_until(lambda: known(sid), SECONDS_MAX, f"server {sid} has the configuration {version:#x}")

    def wait_files(self, version, sid):
        """Waits until a server's zoo.cfg names the file of this version."""
        pointer = f"dynamicConfigFile={self.path(sid) / f'zoo.cfg.dynamic.{version:x}'}"
        last = lambda: (self.path(sid) / "zoo.cfg").read_text().splitlines()[-1:] == [pointer]  # noqa: E731
        support.wait_until(last, SECONDS_MAX, f"zoo.cfg of server {sid} ends in {pointer}")

    def wait_role(self, sid, role):
        support.wait_until(lambda: self.role(sid) == role, SECONDS_MAX, f"server {sid} is {role}")

    def figure(self, sid, name):
        """A number of mntr; None while there is none."""
        with contextlib.suppress(OSError):
            for line in self.word(sid, "mntr").splitlines():
                if line.startswith(f"zk_{name}\t"):
                    return int(float(line.split("\t")[1]))
        return None

    walk = observers.Ensemble.walk

    def check_equal(self, *sids):
        """The trees of these servers are one."""
        trees = [self.walk(sid) for sid in sids]
        for sid, tree in zip(sids[1:], trees[1:]):
            differ = {path for path in trees[0].keys() | tree.keys() if trees[0].get(path) != tree.get(path)}
            assert not differ, f"servers {sids[0]} and {sid} differ at {sorted(differ)[:5]}"

    def keys(self, sid):
        """Keys of a server's zoo.cfg, in order."""
        lines = (self.path(sid) / "zoo.cfg").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    def plain(self, line):
        """A line of a configuration without the numbers of ports, which differ between two ensembles."""
        kinds = enumerate(["client", "quorum", "vote"])
        names = {str(port + n): f"{kind}{sid}" for n, kind in kinds for sid, port in self.ports.items()}
        return re.sub(r"\b\d{5}\b", lambda found: names.get(found[0], "other"), line)
