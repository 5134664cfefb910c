#!/usr/bin/env python3
"""TLS between servers: three of zkfast, and mixed with Apache ZooKeeper.

From plain to TLS and back by rolling restarts while a client writes: no acknowledged write is lost. A server without a
certificate that the others trust is kept out, and disturbs no other. HTTPS takes the same stores.

    tests/compat/quorum_tls.py [CASE ...]     all cases, or some
"""

import contextlib
import http.client
import pathlib
import socket
import ssl
import sys
import threading
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402

support.use_environment()

from kazoo.client import KazooClient  # noqa: E402
from kazoo.exceptions import KazooException, NodeExistsError  # noqa: E402
from tls_fixtures import Fixtures  # noqa: E402

SERVERS = (1, 2, 3)
SERVE_SECONDS_MAX = 120
# A writer that was acknowledged no more than this has shown nothing.
WRITES_MIN = 50
# The steps from plain to TLS, as ZooKeeper's administrator's guide has them: all servers take one before the next.
PLAIN = {}
EITHER = {"portUnification": "true"}
TLS_AND_EITHER = {"sslQuorum": "true", "portUnification": "true"}
TLS = {"sslQuorum": "true"}


class Ensemble(support.Ensemble):
    """Three servers with stores; `commands` has what runs each."""

    def __init__(self, folder, commands, stores):
        super().__init__(folder, commands)
        self.stores = stores

    def keys_of(self, sid):
        return self.stores[sid]

    def roll(self, keys):
        """All servers take `keys`, one after the other."""
        for sid in SERVERS:
            self.stop(sid)
            self.start(sid, keys)
            self.wait()


class Writer:
    """A client that creates one znode after the other, and remembers those that were acknowledged."""

    def __init__(self, ensemble):
        self.client = KazooClient(ensemble.hosts(), timeout=20)
        self.client.start(timeout=SERVE_SECONDS_MAX)
        self.acknowledged, self.stopping = [], False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        number = 0
        while not self.stopping:
            path = f"/w{number:06}"
            try:
                self.client.create(path)
            except NodeExistsError:
                # The answer to the first attempt was lost.
                pass
            except KazooException:
                time.sleep(0.05)
                continue
            self.acknowledged.append(path)
            number += 1

    def finish(self):
        self.stopping = True
        self.thread.join()
        self.client.stop()
        self.client.close()
        return self.acknowledged


def check(ensemble, acknowledged):
    """Every server has every write that was acknowledged."""
    assert len(acknowledged) > WRITES_MIN, len(acknowledged)
    for sid in ensemble.running:
        client = KazooClient(f"127.0.0.1:{ensemble.ports[sid]}")
        client.start(timeout=SERVE_SECONDS_MAX)
        client.sync("/")
        missing = set(acknowledged) - {f"/{name}" for name in client.get_children("/")}
        client.stop()
        client.close()
        assert not missing, f"server {sid} lacks {sorted(missing)[:5]} of {len(acknowledged)}"


def takes_plain(port, host="127.0.0.1"):
    """True if an election port waits for more of a connection without TLS; one with TLS ends it."""
    with socket.create_connection((host, port), timeout=10) as connection:
        # Its beginning: protocol version, server id, length of the address.
        connection.sendall(bytes.fromhex("ffffffffffff0000" "000000000000002a" "00000004"))
        connection.settimeout(2)
        try:
            while connection.recv(4096):
                pass
        except TimeoutError:
            return True
        except ConnectionError:
            pass
        return False


def stores(fixtures, sids=SERVERS, identity=None):
    path = fixtures.once("peer", lambda: fixtures.pkcs12("peer", identity or fixtures.server))
    keys = {
        "ssl.quorum.keyStore.location": path,
        "ssl.quorum.keyStore.password": "pass word#1",
    }
    trust = {f"ssl.quorum.{key.removeprefix('ssl.')}": value for key, value in fixtures.trust_store("jks").items()}
    return {sid: keys | trust for sid in sids}


def rolling(folder, fixtures, commands):
    with Ensemble(folder, commands, stores(fixtures)) as ensemble:
        for sid in SERVERS:
            ensemble.start(sid, PLAIN)
        ensemble.wait()
        writer = Writer(ensemble)
        for keys in EITHER, TLS_AND_EITHER, TLS:
            ensemble.roll(keys)
        if not any(commands.values()):
            assert not takes_plain(ensemble.ports[1] + 2), "a plain connection is taken where all have TLS"
        for keys in TLS_AND_EITHER, EITHER, PLAIN:
            ensemble.roll(keys)
        check(ensemble, writer.finish())


def of_zkfast(folder, fixtures):
    """Plain to TLS and back by rolling restarts under load, zkfast alone."""
    rolling(folder, fixtures, dict.fromkeys(SERVERS, ""))


def mixed(folder, fixtures):
    """The same with two servers of Apache ZooKeeper."""
    rolling(folder, fixtures, {1: "reference", 2: "", 3: "reference"})


def mixed_leader(folder, fixtures):
    """A server of Apache ZooKeeper follows zkfast over TLS, and zkfast follows it."""
    with Ensemble(folder, {1: "reference", 2: "", 3: ""}, stores(fixtures)) as ensemble:
        for sid in SERVERS:
            ensemble.start(sid, TLS)
        ensemble.wait()
        writer = Writer(ensemble)
        time.sleep(1)
        for sid in 3, 2, 3:
            ensemble.stop(sid)
            ensemble.wait(*set(SERVERS) - {sid})
            time.sleep(1)
            ensemble.start(sid, TLS)
            ensemble.wait()
        check(ensemble, writer.finish())


def kept_out(folder, fixtures):
    """A server whose certificate is of another authority, and one without TLS, are kept out; the others go on."""
    other = fixtures.signed("intruder", "/CN=localhost", fixtures.other_ca, names="DNS:localhost,IP:127.0.0.1")
    all_stores = stores(fixtures)
    intruder = fixtures.once("intruder", lambda: fixtures.pkcs12("intruder", other))
    all_stores[3] = all_stores[3] | {"ssl.quorum.keyStore.location": intruder}
    with Ensemble(folder, dict.fromkeys(SERVERS, ""), all_stores) as ensemble:
        ensemble.start(1, TLS)
        ensemble.start(2, TLS)
        ensemble.wait(1, 2)
        writer = Writer(ensemble)
        for keys in TLS, PLAIN:
            ensemble.start(3, keys)
            deadline = time.monotonic() + 6
            while time.monotonic() < deadline:
                assert not ensemble.role(3), f"the server with {keys} serves"
                time.sleep(0.2)
            ensemble.stop(3)
        logs = ensemble.log(1) + ensemble.log(2)
        assert "connection refused: peer=127.0.0.1" in logs, logs[-2000:]
        assert "looking for a leader" not in logs, "the quorum was disturbed"
        check(ensemble, writer.finish())


def crowd(folder, fixtures):
    """Handshakes that never end cost neither the quorum nor a server that comes."""
    with Ensemble(folder, dict.fromkeys(SERVERS, ""), stores(fixtures)) as ensemble:
        ensemble.start(1, TLS)
        ensemble.start(2, TLS)
        ensemble.wait(1, 2)
        with contextlib.ExitStack() as open_ones:
            for _ in range(300):
                for sid in 1, 2:
                    for port in ensemble.ports[sid] + 1, ensemble.ports[sid] + 2:
                        with contextlib.suppress(OSError):
                            connection = open_ones.enter_context(socket.create_connection(("127.0.0.1", port), timeout=2))
                            connection.sendall(b"\x16\x03\x01")
            writer = Writer(ensemble)
            # The handshakes end after 5 s; until then this address has no more of them.
            ensemble.start(3, TLS)
            ensemble.wait()
            support.wait_until(lambda: len(writer.acknowledged) > WRITES_MIN, SERVE_SECONDS_MAX, "writes go on")
            check(ensemble, writer.finish())


def asked(url, fixtures, identity=None):
    """The status of an answer over HTTP or HTTPS, or the name of the error."""
    context = ssl.create_default_context(cafile=fixtures.ca.certificate)
    if identity:
        context.load_cert_chain(identity.certificate, identity.key)
    try:
        with urllib.request.urlopen(url, timeout=20, context=context if url.startswith("https") else None) as answer:
            return answer.status
    except (OSError, http.client.HTTPException):
        return "refused"


def https(folder, fixtures):
    """HTTPS of the admin port, on one port with HTTP or alone, with certificates of clients or without: as ZooKeeper."""
    wanted = {
        (): (200, "refused", "refused"),
        ("portUnification",): (200, 200, 200),
        ("portUnification", "needClientAuth"): (200, "refused", 200),
        ("forceHttps",): ("refused", 200, 200),
        ("forceHttps", "needClientAuth"): ("refused", "refused", 200),
    }
    for command in "", "reference":
        for number, (keys, expected) in enumerate(wanted.items()):
            place = folder / f"{command or 'zkfast'}-{number}"
            place.mkdir()
            port = support.free_port()
            settings = {f"admin.{key}": "true" for key in keys} | stores(fixtures)[1]
            settings |= {"admin.enableServer": "true", "admin.serverPort": port, "admin.serverAddress": "127.0.0.1"}
            with support.Server(command, place, **settings):
                path = f"://127.0.0.1:{port}/commands/ruok"
                support.wait_until(
                    lambda: 200 in (asked("http" + path, fixtures), asked("https" + path, fixtures, fixtures.client))
                    or time.sleep(0.2), SERVE_SECONDS_MAX, "HTTP is served",
                )  # fmt: skip
                answers = (
                    asked("http" + path, fixtures),
                    asked("https" + path, fixtures),
                    asked("https" + path, fixtures, fixtures.client),
                )
                assert answers == expected, f"{command or 'zkfast'} with {keys}: {answers}, not {expected}"


CASES = [of_zkfast, mixed, mixed_leader, kept_out, crowd, https]


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(case.__name__ for case in CASES))
    args = parser.parse_args()
    failed = passed = 0
    with support.scratch("quorum-tls") as folder:
        (folder / "fixtures").mkdir()
        fixtures = Fixtures(folder / "fixtures")
        for case in CASES:
            if args.cases and case.__name__ not in args.cases:
                continue
            (folder / case.__name__).mkdir()
            begun = time.monotonic()
            try:
                case(folder / case.__name__, fixtures)
            except Exception as error:
                failed += 1
                print(f"FAILED {case.__name__}: {type(error).__name__}: {error}", flush=True)
            else:
                passed += 1
                print(f"ok     {case.__name__} ({time.monotonic() - begun:.0f} s)", flush=True)
        print(f"{passed} passed, {failed} failed, 0 skipped")
        if failed:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
