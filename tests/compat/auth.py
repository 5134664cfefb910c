#!/usr/bin/env python3
"""Schemes of authentication: zkfast answers what Apache ZooKeeper answers, and ids are worth the same.

Both servers get the same configurations and the same traffic: the names of an ensemble, numbers of scheme key, each hash of
scheme digest, several credentials on one connection, addresses of IPv4 and IPv6 in lists.

    tests/compat/auth.py                      both servers, all cases
    tests/compat/auth.py --only CASE          one case
"""

import base64
import contextlib
import hashlib
import os
import pathlib
import socket
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import sasl  # noqa: E402
import support  # noqa: E402
from sasl import ANSWER_SECONDS_MAX, AUTH, DELETE, GET_ACL, GET_DATA, WORLD, buffer, string  # noqa: E402

CLASSES = "org.apache.zookeeper.server.auth."


class Session(sasl.Session):
    """A client that sends auth packets."""

    def __init__(self, server, notes, host="127.0.0.1"):
        self.notes, self.xid = notes, 0
        self.socket = socket.create_connection((host, server.port), timeout=ANSWER_SECONDS_MAX)
        self.socket.sendall(buffer(struct.pack(">iqiq", 0, 0, 30_000, 0) + buffer(bytes(16)) + b"\0"))
        _, _, self.session = struct.unpack_from(">iiq", self.frame())

    def auth(self, scheme, data):
        self.call(f"{scheme} {data}", AUTH, struct.pack(">i", 0) + string(scheme) + buffer(data))

    def read(self, path, what):
        self.call(f"get {path} {what}", GET_DATA, string(path) + b"\0", lambda rest: rest[:8])

    def remove(self, path):
        self.call(f"delete {path}", DELETE, string(path) + struct.pack(">i", -1))


def entries(rest):
    """The entries of a list, as it comes in an answer."""
    at = 4
    for _ in range(struct.unpack_from(">i", rest)[0] if rest else 0):
        texts = [rest[at : at + 4]]
        at += 4
        for _ in range(2):
            end = at + 4 + struct.unpack_from(">i", rest, at)[0]
            texts.append(rest[at + 4 : end])
            at = end
        yield texts


def count(server, notes, prefix):
    lines = server.four_letter_word("mntr").splitlines()
    notes.append(("counts", sorted(line.split("\t")[0] + line.split("\t")[1].rjust(4) for line in lines if prefix in line)))


def ensemble(server, notes):
    """What becomes of clients that say which ensemble they mean."""
    for name in [b"blue", b"green", b" green", b"Blue", b"", None, b"blue,green", b"red\n\x01", b"\xff\xfe", b"x" * 5000]:
        session = Session(server, notes)
        session.auth("ensemble", name)
        session.who(f"after {name}")
    session = Session(server, notes)
    session.auth("digest", b"a:b")
    session.auth("ensemble", b"blue")
    session.who()
    session.create("/list", (31, "ensemble", "blue"), WORLD)
    session.create("/auth", (31, "auth", ""))
    session.read("/auth", "digest")
    count(server, notes, "ensemble_auth")
    # The session of a client that was turned away lives on, and it can attach to it elsewhere.
    session = Session(server, notes)
    session.auth("ensemble", b"other")
    sessions = server.four_letter_word("dump")
    notes.append(("the session lives", f"0x{session.session:x}" in sessions))


def key(server, notes):
    """The example that reads a znode."""
    def passes(data, what):
        session = Session(server, notes)
        session.auth("key", data)
        session.who(f"{what} {data}")
        return session

    for data in [b"", b"7", None, b"x"]:
        passes(data, "without a key")
    writer = Session(server, notes)
    writer.auth("key", b"1")
    writer.create("/open", (31, "auth", ""))
    for value in [b"25", b"0", b"", b"nonsense", b"-1", b" 5"]:
        writer.call(f"create /key {value}", 1, string("/key") + buffer(value) + sasl.acl(WORLD) + struct.pack(">i", 0))
        for data in [b"50", b"51", b"0", b"-25", b"+75", b"", b"x", None, b"-2147483648", b"2147483648"]:
            passes(data, f"key {value}")
        writer.remove("/key")
    writer.call("create /key", 1, string("/key") + buffer(b"25") + sasl.acl(WORLD) + struct.pack(">i", 0))
    one, other = passes(b"75", "lists"), passes(b"0", "lists")
    one.create("/mine", (31, "auth", ""))
    one.create("/named", (31, "key", "25"))
    one.create("/strange", (31, "key", ""), (1, "key", "whatever"))
    one.get_acl("/mine")
    for path in ["/mine", "/named", "/strange", "/open"]:
        other.read(path, "key")
        writer.read(path, "key before")
        Session(server, notes).read(path, "plain")


def digest(algorithm):
    """Lists and the super user with one hash."""
    def run(server, notes):
        owner, other, boss = (Session(server, notes) for _ in range(3))
        for session, data in [(owner, b"ann:secret"), (other, b"ann:secreT"), (boss, b"boss:word")]:
            session.auth("digest", data)
            session.who(str(data))
        hashed = base64.b64encode(hashlib.new(hash_name(algorithm), b"ann:secret").digest()).decode()
        owner.create("/auth", (31, "auth", ""))
        other.create("/named", (31, "digest", f"ann:{hashed}"))
        owner.get_acl("/auth")
        for path in ["/auth", "/named"]:
            for who, session in [("owner", owner), ("other", other), ("boss", boss)]:
                session.read(path, who)

    run.settings = {"DigestAuthenticationProvider.digestAlg": algorithm}
    return run


def credentials(server, notes):
    """Several credentials on one connection."""
    many, one = Session(server, notes), Session(server, notes)
    for data in [b"a:1", b"b:2", b"a:1", b"c", b"d:e:f", b":", b"", b"\xc3\xa9:x", b"\xff:x"]:
        many.auth("digest", data)
    many.auth("ip", b"10.0.0.1")
    many.who("many")
    many.create("/all", (31, "auth", ""))
    many.create("/one", (1, "auth", "ignored"), (2, "auth", ""))
    # Java keeps them in no order.
    for path in ["/all", "/one"]:
        many.call(f"getACL {path}", GET_ACL, string(path), lambda rest: sorted(entries(rest)))
    for data in [b"b:2", b"c:1", b"b:3"]:
        session = Session(server, notes)
        session.auth("digest", data)
        for path in ["/all", "/one"]:
            session.read(path, str(data))
            session.write(path, str(data))
    one.create("/none", (31, "auth", ""))
    for scheme in ["world", "auth", "super", "x509", "sasl", "ensemble", "key", "Digest", ""]:
        session = Session(server, notes)
        session.auth(scheme, b"anyone")
        session.ended(f"after {scheme}")


def addresses(server, notes):
    """Entries of scheme ip, for clients by IPv4 and by IPv6."""
    four, six = Session(server, notes), Session(server, notes, "::1")
    for session in [four, six]:
        session.auth("ip", b"")
        session.who()
    for number, entry in enumerate([
        "127.0.0.1", "127.0.0.1/8", "127.0.0.1/32", "127.1.2.3/7", "127.0.0.0/31", "127.0.0.2/31", "10.0.0.0/8", "0.0.0.0/0",
        "::1", "0:0:0:0:0:0:0:1", "::1/128", "::/0", "::2/126", "::2/127", "::1/0", "0::1", "::0001", "::00001", "1::",
        "::ffff:127.0.0.1", "::ffff:7f00:1", "fe80::1%lo", "::1/129", "::1/-1", "::1/", "/8", "", "1.2.3", "1.2.3.4.5",
        "256.1.1.1", "127.0.0.1/33", "127.0.0.1/8/8", "localhost", ":::", "1::2::3", "::1%0", "[::1]", "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7::", "::FFFF", "::-1", "::+1", "127.0.0.+1", "0127.0.0.01", "127.0.0.1/+8", "127.0.0.1/08", " 127.0.0.1",
    ]):  # fmt: skip
        path = f"/ip{number}"
        four.create(path, (31, "ip", entry))
        for who, session in [("four", four), ("six", six)]:
            session.read(path, f"{entry} {who}")


def x509_without_tls(server, notes):
    """Lists may have entries of scheme x509 where its class is named."""
    session = Session(server, notes)
    session.create("/x509", (31, "x509", "CN=a"), WORLD)
    session.create("/bad", (31, "x509", "a"))
    session.auth("x509", b"CN=a")
    session.ended("after x509")


NAMES = {"authProvider.1": CLASSES + "EnsembleAuthenticationProvider"}
OFF = {"DigestAuthenticationProvider.enabled": "false"}
CASES = {
    "ensemble": (ensemble, NAMES | {"ensembleAuthName": "blue, green ,,"}),
    "ensemble_without_name": (ensemble, NAMES),
    "ensemble_without_provider": (ensemble, {"ensembleAuthName": "blue"}),
    "ensemble_empty": (ensemble, NAMES | {"ensembleAuthName": ""}),
    "key": (key, {"authProvider.key": CLASSES + "KeyAuthenticationProvider"}),
    "key_without_provider": (key, {}),
    "credentials": (credentials, {}),
    "digest_off": (credentials, OFF),
    "digest_on_again": (credentials, OFF | {"authProvider.digest": CLASSES + "DigestAuthenticationProvider"}),
    "addresses": (addresses, {"clientPortAddress": "::"}),
    "x509_without_tls": (x509_without_tls, {"authProvider.x509": CLASSES + "X509AuthenticationProvider"}),
    "x509_without_provider": (x509_without_tls, {}),
}
for algorithm in ["SHA1", "SHA-224", "SHA-256", "SHA-384", "SHA-512", "SHA-512/224", "SHA-512/256"]:
    run = digest(algorithm)
    CASES[f"digest_{algorithm.replace('/', '_')}"] = (run, run.settings)
# Where zkfast differs, with the reason: (case, what) -> what zkfast answers.
DESIGN = {}


def serves(server):
    """Whether a server serves. One of ZooKeeper's may take a connection while it starts, and never answer on it."""
    try:
        return "Mode" in server.four_letter_word("srvr", seconds=5)
    except OSError:
        return False


def hash_name(algorithm):
    """Python's name of a hash of Java's."""
    return algorithm.lower().replace("sha-", "sha").replace("sha3-", "sha3_").replace("/", "_")


def answers(command, name, folder):
    """What a server answers in a case."""
    run, settings = CASES[name]
    folder = folder / f"{name}-{'java' if command == 'reference' else 'zkfast'}"
    folder.mkdir()
    # Java reads these as system properties only.
    flags = [f"-Dzookeeper.{key}={value}" for key, value in settings.items() if key.startswith("DigestAuth")]
    kept = {key: value for key, value in settings.items() if not key.startswith("DigestAuth")}
    boss = settings.get("DigestAuthenticationProvider.digestAlg")
    if boss:
        hashed = base64.b64encode(hashlib.new(hash_name(boss), b"boss:word").digest())
        flags.append(f"-Dzookeeper.DigestAuthenticationProvider.superDigest=boss:{hashed.decode()}")
    os.environ["JVMFLAGS"] = " ".join(flags)
    os.environ["JAVA_TOOL_OPTIONS"] = " ".join(flags) if command == "reference" else ""
    notes = []
    try:
        with support.Server(command, folder, **kept) as running:
            os.environ["JAVA_TOOL_OPTIONS"] = ""
            support.wait_until(lambda: serves(running), ANSWER_SECONDS_MAX, "it serves")
            run(running, notes)
    finally:
        del os.environ["JVMFLAGS"], os.environ["JAVA_TOOL_OPTIONS"]
    log = (folder / "server.log").read_text(errors="replace")
    if name == "ensemble" and command != "reference":
        assert "which ensembleAuthName does not list" in log, log
    return notes


def other_hashes(command, folder):
    """A hash that zkfast does not have keeps it from starting, with a line: lists would match nobody."""
    def refused():
        for number, algorithm in enumerate(["SHA3-256", "MD5", "nonsense"]):
            config = folder / f"refused-{number}.cfg"
            config.write_text(f"dataDir={folder / 'refused'}\nclientPort=0\n")
            environment = os.environ | {"JVMFLAGS": f"-Dzookeeper.DigestAuthenticationProvider.digestAlg={algorithm}"}
            words = support.on_config(support.server_command(command), config)
            run = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=ANSWER_SECONDS_MAX)
            line = f'digestAlg: \\"{algorithm}\\" is not SHA1 or a hash of the SHA-2 family'
            assert run.returncode == 2 and line in run.stdout + run.stderr, run.stdout + run.stderr

    refused.__name__ = "other_hashes"
    return refused


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("--only", choices=[*CASES, "other_hashes"], action="append", help="this case alone")
    options = parser.parse_args()
    with support.scratch("auth") as folder, contextlib.suppress(KeyboardInterrupt):
        names = options.only or [*CASES, "other_hashes"]
        support.run_cases([
            other_hashes(options.server, folder) if name == "other_hashes" else support.compared(name, answers, options.server, folder, DESIGN)
            for name in names
        ], folder)  # fmt: skip


if __name__ == "__main__":
    main()
