#!/usr/bin/env python3
"""SASL in zkfast's own clients: `zkfast cli` and `loadgen` with DIGEST-MD5, to Apache ZooKeeper and to zkfast.

They log in with a JAAS file of a client, by a flag and by a client's file of properties, alone and within TLS; they say what is
wrong where a server does not let them, and log in again where their connection was lost.

    tests/compat/sasl_tools.py                all cases, against both servers
    tests/compat/sasl_tools.py --only CASE    one case
"""

import contextlib
import json
import pathlib
import socket
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402
from sasl import JAAS, MODULE, MORE, served  # noqa: E402
from tls_fixtures import Fixtures  # noqa: E402

NETTY = "org.apache.zookeeper.server.NettyServerCnxnFactory"
SECONDS_MAX = support.ANSWER_SECONDS_MAX
BOB, CARL, WRONG = ("bob", 'bob \\"secret\\"'), ("carl", "carlsecret"), ("bob", "nonsense")
SECRETS = ['bob "secret"', 'bob \\"secret', "carlsecret", "nonsense"]
REFUSED, USAGE, CLI_LOST, LOADGEN_LOST = 1, 2, 4, 3
NOT_ACCEPTED = 'SASL: the server does not accept user "bob"'
REQUIRED = MORE | {"sessionRequireClientSASLAuth": "true"}


class Tools:
    """`zkfast cli` and `loadgen` as clients of one server. No word that they print may be a password."""

    def __init__(self, binary, folder, address):
        self.binary, self.folder, self.address = pathlib.Path(binary), folder, address

    def file(self, name, text, mode=0o600):
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def jaas(self, user, section="Client", mode=0o600):
        name, password = user
        text = f'{section} {{ {MODULE} required username="{name}" password="{password}"; }};\n'
        return self.file(f"{section}-{name}-{len(password)}.jaas", text, mode)

    def run(self, words, status, *said):
        """Runs a tool, which ends with this status and says all of this; gives its standard output."""
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=SECONDS_MAX)
        everything = done.stdout + done.stderr
        assert done.returncode == status, f"{words} ended with {done.returncode}, not {status}: {everything}"
        for text in said:
            assert text in done.stderr, f"{words} does not say {text!r}: {everything}"
        for secret in SECRETS:
            assert secret not in everything, f"{words} shows a password: {everything}"
        return done.stdout

    def cli(self, flags, verb, status=0, *said):
        return self.run([self.binary, "cli", "-s", self.address, *flags, *verb], status, *said)

    def loadgen(self, flags, status=0, *said, seconds=0.5):
        words = ["--connections", 2, "--keys", 10, "--seconds", seconds, "--warmup", 0, "--json"]
        return self.run([self.binary.parent / "loadgen", "--server", self.address, *words, *flags], status, *said)

    def measures(self, flags, seconds=0.5):
        """What loadgen measured; all replies were right."""
        told = json.loads(self.loadgen(flags, seconds=seconds))
        assert told["ops"] > 0 and told["wrong"] == 0, told
        return told


class Relay:
    """A port that leads to the server's, and whose connections can be cut."""

    def __init__(self, port):
        self.to, self.open, self.count = port, [], 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.to))
                self.count += 1
                self.open += [client, server]
                for one, other in (client, server), (server, client):
                    threading.Thread(target=self.carry, args=(one, other), daemon=True).start()

    def carry(self, one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)

    def cut(self):
        for end in self.open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self.open.clear()

    def close(self):
        self.listener.close()
        self.cut()


def command_line(tools, server, settings):
    """Who `zkfast cli` is, by a flag and by a client's file, and what lists with that id are worth."""
    bob, carl = ["--jaas", tools.jaas(BOB)], ["--jaas", tools.jaas(CARL)]
    assert "sasl: bob" in tools.cli(bob, ["whoami"])
    assert "sasl" not in tools.cli([], ["whoami"])
    tools.cli(bob, ["create", "/own", "of bob", "sasl:bob:cdrwa"])
    assert tools.cli(bob, ["get", "/own"]) == "of bob\n"
    for flags in [], carl:
        tools.cli(flags, ["get", "/own"], REFUSED, "Insufficient permission : /own (NoAuth)")
    keys = f"java.security.auth.login.config={tools.jaas(CARL, 'Own')}\n"
    own = tools.file("own.properties", keys + "zookeeper.sasl.clientconfig = Own\n")
    assert "sasl: carl" in tools.cli(["--client-configuration", own], ["whoami"])
    # The flag wins over the file's JAAS file, and has no section Own.
    tools.cli(["--client-configuration", own, *bob], ["whoami"], USAGE, 'it has no section "Own"')
    off = tools.file("off.properties", keys + "zookeeper.sasl.client=false\nzookeeper.sasl.clientconfig=Own\n")
    assert "sasl" not in tools.cli(["--client-configuration", off], ["whoami"])
    assert "sasl: bob" in tools.cli(["--jaas", tools.jaas(BOB, mode=0o644)], ["whoami"], 0, "chmod 600")
    export = tools.folder / "export"
    tools.cli(bob, ["export", "/own", "--out", export])
    tools.cli(carl, ["import", export], REFUSED, "NodeExists")
    # Each session of a copy logs in.
    tools.cli(bob, ["copy", f"{tools.address}/own", f"{tools.address}/copied"])
    assert tools.cli(bob, ["get", "/copied"]) == "of bob\n"
    tools.cli(carl, ["get", "/copied"], REFUSED, "NoAuth")


def refusals(tools, server, settings):
    """A password that is wrong, in text and as JSON; a server that is not there is another error."""
    wrong, bob = ["--jaas", tools.jaas(WRONG)], ["--jaas", tools.jaas(BOB)]
    tools.cli(wrong, ["whoami"], REFUSED, NOT_ACCEPTED, "(AuthFailed)")
    tools.cli([*wrong, "--json"], ["whoami"], REFUSED, '"code":-115', '"error":"AuthFailed"')
    tools.loadgen(wrong, REFUSED, NOT_ACCEPTED, "(AuthFailed)")
    tools.loadgen([*wrong, "--reconnect"], REFUSED, NOT_ACCEPTED)
    tools.address = f"127.0.0.1:{support.free_port()}"
    tools.cli(bob, ["whoami"], CLI_LOST, "ConnectionLoss")
    tools.loadgen(bob, LOADGEN_LOST)


def failed_may_stay(tools, server, settings):
    """A server that lets a client stay has not accepted it: the client ends, as with any other server."""
    wrong = ["--jaas", tools.jaas(WRONG)]
    tools.cli(wrong, ["whoami"], REFUSED, NOT_ACCEPTED)
    tools.loadgen(wrong, REFUSED, NOT_ACCEPTED)


def without_sasl(tools, server, settings):
    """A server that has no users at all."""
    bob = ["--jaas", tools.jaas(BOB)]
    tools.cli(bob, ["whoami"], REFUSED, "SASL: the server has no users", "(AuthFailed)")
    tools.loadgen(bob, REFUSED, "SASL: the server has no users")
    assert "world" in tools.cli([], ["whoami"]) or "ip" in tools.cli([], ["whoami"])


def required(tools, server, settings):
    """A server that serves only clients that have proved who they are: before anything else."""
    bob, wrong = ["--jaas", tools.jaas(BOB)], ["--jaas", tools.jaas(WRONG)]
    tools.cli(bob, ["create", "/a", "1"])
    assert tools.cli(bob, ["get", "/a"]) == "1\n"
    tools.cli([], ["get", "/a"], REFUSED, "only clients that prove by SASL", "/a (SessionClosedRequireSaslAuth)")
    tools.cli(wrong, ["get", "/a"], REFUSED, NOT_ACCEPTED, "(SessionClosedRequireSaslAuth)")
    tools.measures([*bob, "--read-ratio", "0.5"])
    # A storm opens sessions on sockets that do not block, and so does a session that is opened again.
    tools.measures([*bob, "--workload", "connect"])
    for flags in [], ["--workload", "connect"], ["--workload", "get"]:
        tools.loadgen(flags, REFUSED, "only clients that prove by SASL")
    tools.loadgen(wrong, REFUSED, NOT_ACCEPTED, "(SessionClosedRequireSaslAuth)")
    tools.loadgen([*wrong, "--workload", "connect"], REFUSED, NOT_ACCEPTED)


def reconnects(tools, server, settings):
    """A client whose connection is cut proves who it is to the next one, before its watches and its next request."""
    bob = ["--jaas", tools.jaas(BOB)]
    tools.cli(bob, ["create", "/own", "of bob", "sasl:bob:cdrwa"])
    relay = Relay(server.port)
    words = [tools.binary, "cli", "-s", f"127.0.0.1:{relay.port}", *bob]
    shell = subprocess.Popen(
        list(map(str, words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    try:
        for count in 1, 2, 3:
            print("get -w /own", file=shell.stdin)
            line = shell.stdout.readline()
            while "next command connects again" in line or not line.strip():
                line = shell.stdout.readline()
            assert line == "of bob\n", line
            assert relay.count == count, f"{relay.count} connections"
            relay.cut()
            # The shell sees the end while it waits for a command.
            line = shell.stdout.readline() + shell.stdout.readline()
            assert "next command connects again" in line, line
    finally:
        shell.kill()
        shell.wait()
        relay.close()
    relay = Relay(server.port)
    cutter = threading.Timer(1, relay.cut)
    cutter.start()
    try:
        tools.address = f"127.0.0.1:{relay.port}"
        told = tools.measures([*bob, "--reconnect", "--workload", "get"], seconds=3)
        assert told["reconnects"] == 2, told
    finally:
        cutter.cancel()
        relay.close()


def within_tls(tools, server, settings):
    """Both clients with SASL over TLS."""
    jaas = tools.jaas(BOB)
    stores = FIXTURES.trust_store("pem") | FIXTURES.key_store("pem", FIXTURES.client, "client")
    keys = {"client.secure": "true"} | stores
    lines = "".join(f"zookeeper.{key}={value}\n" for key, value in keys.items())
    secure = ["--client-configuration", tools.file("tls.properties", f"{lines}java.security.auth.login.config={jaas}\n")]
    tools.address = f"localhost:{settings['secureClientPort']}"
    assert "sasl: bob" in tools.cli(secure, ["whoami"])
    tools.cli(secure, ["create", "/own", "of bob", "sasl:bob:cdrwa"])
    assert tools.cli(secure, ["get", "/own"]) == "of bob\n"
    tools.measures([*secure, "--read-ratio", "0.5"])
    tools.measures([*secure, "--workload", "connect"])
    wrong = tools.file("wrong.properties", f"{lines}java.security.auth.login.config={tools.jaas(WRONG)}\n")
    tools.cli(["--client-configuration", wrong], ["whoami"], REFUSED, NOT_ACCEPTED)
    tools.loadgen(["--client-configuration", wrong], REFUSED, NOT_ACCEPTED)


FIXTURES = None
CASES = {
    "command_line": (command_line, MORE),
    "refusals": (refusals, MORE),
    "failed_may_stay": (failed_may_stay, MORE | {"allowSaslFailedClients": "true"}),
    "without_sasl": (without_sasl, {}),
    "required": (required, REQUIRED),
    "reconnects": (reconnects, REQUIRED),
    "within_tls": (within_tls, REQUIRED),
}


def run_against(command, binary, name, folder):
    """Runs a case against one server."""
    global FIXTURES
    run, settings = CASES[name]
    is_java = command == "reference"
    folder = folder / f"{name}-{'java' if is_java else 'zkfast'}"
    folder.mkdir()
    if run is within_tls:
        FIXTURES = FIXTURES or Fixtures(folder)
        settings = settings | FIXTURES.key_store("pem") | FIXTURES.trust_store("pem")
        settings |= {"secureClientPort": support.free_port()} | ({"serverCnxnFactory": NETTY} if is_java else {})
    with served(command, folder, None if run is without_sasl else JAAS, **settings) as server:
        run(Tools(binary, folder, server.address), server, settings)


def case(options, name, folder):
    def both():
        for command in "reference", options.server:
            run_against(command, options.binary, name, folder)

    both.__name__ = name
    return both


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("--only", choices=CASES, action="append", help="this case alone")
    parser.add_argument("--binary", default=support.TARGET / "release/zkfast", help="the zkfast with `cli`; loadgen is beside it")
    options = parser.parse_args()
    with support.scratch("sasl-tools") as folder, contextlib.suppress(KeyboardInterrupt):
        support.run_cases([case(options, name, folder) for name in options.only or CASES], folder)


if __name__ == "__main__":
    main()
