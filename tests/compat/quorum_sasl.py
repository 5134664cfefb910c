#!/usr/bin/env python3
"""SASL between servers: zkfast alone and with Apache ZooKeeper, strangers that are kept out, and a move to it by restarts.

    tests/compat/quorum_sasl.py               all cases
    tests/compat/quorum_sasl.py --only CASE   one case
"""

import contextlib
import pathlib
import socket
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402

support.use_environment()
import kazoo.client  # noqa: E402
import quorum_tls  # noqa: E402
from tls_fixtures import Fixtures  # noqa: E402

MODULE = "org.apache.zookeeper.server.auth.DigestLoginModule"
ENABLED = {"quorum.auth.enableSasl": "true"}
LEARNERS = ENABLED | {"quorum.auth.learnerRequireSasl": "true"}
REQUIRED = LEARNERS | {"quorum.auth.serverRequireSasl": "true"}
SECONDS_MAX = support.ANSWER_SECONDS_MAX
# How long a write may take while strangers knock, on a machine with other work.
UNDISTURBED_SECONDS_MAX = 2


class Ensemble(support.Ensemble):
    """Servers by number, each `zkfast` or `java`, that log in to each other with a JAAS file."""

    def __init__(self, server, folder, kinds):
        super().__init__(folder, {sid: server if kind == "zkfast" else "reference" for sid, kind in kinds.items()})
        self.kinds = kinds

    def keys_of(self, sid):
        return {"tickTime": 500}

    def sections(self, sid, password):
        """The JAAS file of a server."""
        return (
            f'QuorumServer {{ {MODULE} required user_zk="quorumsecret"; }};\n'
            f'QuorumLearner {{ {MODULE} required username="zk" password="{password}"; }};\n'
        )

    def flags(self, sid):
        """The JVM flags of a server."""
        return f"-Djava.security.auth.login.config={self.folder / f'{sid}/quorum.jaas'} -Dzookeeper.fips-mode=false"

    def environment_of(self, sid):
        return {"JAVA_TOOL_OPTIONS" if self.kinds[sid] == "java" else "JVMFLAGS": self.flags(sid)}

    def start(self, sid, settings, password="quorumsecret"):
        (self.folder / f"{sid}/quorum.jaas").write_text(self.sections(sid, password))
        super().start(sid, settings)

    def write(self, sid):
        """Writes through a server, and says how long that took."""
        client = kazoo.client.KazooClient(f"127.0.0.1:{self.ports[sid]}", timeout=20)
        client.start(timeout=SECONDS_MAX)
        try:
            begun = time.monotonic()
            client.ensure_path("/written")
            client.set("/written", str(begun).encode())
            return time.monotonic() - begun
        finally:
            client.stop()
            client.close()


def forms(kinds):
    """All servers authenticate, whoever leads: each leader is stopped once and comes back."""

    def case(server, folder):
        with Ensemble(server, folder, kinds) as ensemble:
            for sid in kinds:
                ensemble.start(sid, REQUIRED)
            for _ in kinds:
                leader = ensemble.wait_roles(*kinds)
                for sid in kinds:
                    ensemble.write(sid)
                ensemble.stop(leader)
                ensemble.wait_roles(*[sid for sid in kinds if sid != leader])
                ensemble.start(leader, REQUIRED)
            ensemble.wait_roles(*kinds)
            for sid in kinds:
                assert "quorumsecret" not in ensemble.log(sid), f"the log of server {sid} shows the password"

    return case


def hello(sid):
    address = b"127.0.0.1:1"
    return struct.pack(">qqi", -65536, sid, len(address)) + address


def strangers(server, folder):
    """Who does not authenticate is closed with a line, and disturbs nobody: silent, by the hundred, or as a server."""
    kinds = dict.fromkeys([1, 2, 3], "zkfast")
    with Ensemble(server, folder, kinds) as ensemble, contextlib.ExitStack() as stack:
        for sid in kinds:
            ensemble.start(sid, REQUIRED)
        leader = ensemble.wait_roles(*kinds)
        quorum, election = ensemble.ports[leader] + 1, ensemble.ports[leader] + 2
        learner = struct.pack(">iq", 11, 0) + struct.pack(">i", 20) + struct.pack(">qiq", 3, 0x10000, 0) + struct.pack(">i", -1)
        magic = struct.pack(">Q", -0xA0DBCAFECAFE1234 % 2**64)
        for port, sent in [
            (election, hello(9) + struct.pack(">i", 40) + bytes(40)),
            (quorum, learner),
            (quorum, magic + struct.pack(">ii", 0, 0x7FFFFFFF)),
            (quorum, magic + struct.pack(">iii", 0, 0, 0) + magic + struct.pack(">ii", 0, 9) + b"nonsense!"),
            (election, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ]:
            with socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX) as stranger:
                stranger.sendall(sent)
                with contextlib.suppress(ConnectionError):
                    while stranger.recv(65536):
                        pass
        for number in range(300):
            port = quorum if number % 2 else election
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX))
            if number % 50 == 0:
                took = ensemble.write(leader)
                assert took < UNDISTURBED_SECONDS_MAX, f"a write took {took} s while strangers knock"
        assert ensemble.wait_roles(*kinds) == leader, "there is another leader"
        line = "kept out: peer=127.0.0.1:"
        support.wait_until(lambda: line in ensemble.log(leader), SECONDS_MAX, "the log says who was kept out")
        assert "serverRequireSasl" in ensemble.log(leader)


def wrong_password(kinds):
    """A server with another password is kept out; once it has the right one, it joins."""

    def case(server, folder):
        with Ensemble(server, folder, kinds) as ensemble:
            ensemble.start(1, REQUIRED)
            ensemble.start(2, REQUIRED)
            ensemble.wait_roles(1, 2)
            ensemble.start(3, REQUIRED, password="nonsense")
            begun = time.monotonic()
            while time.monotonic() - begun < 10:
                assert ensemble.role(3) is None, "a server with a wrong password joined"
                ensemble.write(1)
                time.sleep(0.5)
            for sid in [1, 2]:
                if kinds[sid] == "zkfast":
                    assert "wrong password" in ensemble.log(sid), f"the log of {sid} does not say why"
            if kinds[3] == "zkfast":
                assert "refuses the user" in ensemble.log(3), "the log of 3 does not say why"
            ensemble.stop(3)
            ensemble.start(3, REQUIRED)
            ensemble.wait_roles(1, 2, 3)
            ensemble.write(3)

    return case


def moves(kinds):
    """From none to required and back, one server after the other, and a write after each restart."""

    def case(server, folder):
        with Ensemble(server, folder, kinds) as ensemble:
            for sid in kinds:
                ensemble.start(sid, {})
            ensemble.wait_roles(*kinds)
            for settings in [ENABLED, LEARNERS, REQUIRED, LEARNERS, ENABLED, {}]:
                for sid in kinds:
                    ensemble.stop(sid)
                    ensemble.start(sid, settings)
                    ensemble.wait_roles(*kinds)
                    ensemble.write(sid)

    return case


def within_tls(server, folder):
    """SASL within TLS, whoever leads: servers of zkfast and one of Java."""
    own_stores = quorum_tls.stores(Fixtures(folder))
    with Ensemble(server, folder, MIXED) as ensemble:
        for sid in MIXED:
            ensemble.start(sid, REQUIRED | {"sslQuorum": "true"} | own_stores[sid])
        leader = ensemble.wait_roles(*MIXED)
        ensemble.write(leader)
        ensemble.stop(leader)
        ensemble.wait_roles(*[sid for sid in MIXED if sid != leader])
        ensemble.start(leader, REQUIRED | {"sslQuorum": "true"} | own_stores[leader])
        ensemble.wait_roles(*MIXED)
        ensemble.write(leader)


OWN, MIXED, OTHERS = (
    dict(zip([1, 2, 3], kinds))
    for kinds in [["zkfast"] * 3, ["zkfast", "java", "zkfast"], ["java", "zkfast", "java"]]
)
CASES = {
    "three_of_zkfast": forms(OWN),
    "two_of_zkfast": forms(MIXED),
    "one_of_zkfast": forms(OTHERS),
    "within_tls": within_tls,
    "strangers": strangers,
    "wrong_password": wrong_password(OWN),
    "wrong_password_of_java": wrong_password({1: "zkfast", 2: "zkfast", 3: "java"}),
    "wrong_password_among_java": wrong_password({1: "java", 2: "java", 3: "zkfast"}),
    "moves": moves(OWN),
    "moves_with_java": moves(MIXED),
}


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("--only", choices=CASES, action="append", help="this case alone")
    options = parser.parse_args()
    with support.scratch("quorum-sasl") as folder:
        support.run_named(CASES, options.only or CASES, options.server, folder)


if __name__ == "__main__":
    main()
