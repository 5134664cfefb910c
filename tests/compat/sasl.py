#!/usr/bin/env python3
"""SASL with DIGEST-MD5: zkfast answers what Apache ZooKeeper answers, token by token, and ids are worth the same.

Both servers get the same configurations and the same traffic: right and wrong passwords, replayed and long tokens, lists with
ids of scheme sasl, super users, clients that must authenticate and clients that may fail. ZooKeeper's own command line then
logs in with a JAAS file of a client.

    tests/compat/sasl.py                      both servers, all cases
    tests/compat/sasl.py --only CASE          one case
"""

import contextlib
import hashlib
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402

PROVIDER = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
MODULE = "org.apache.zookeeper.server.auth.DigestLoginModule"
JAAS = f"""/* users of clients */
Server {{
  {MODULE} required // all of them
  user_super="adminsecret" user_bob="bob \\"secret\\""
  user_ann="annsecret"
  user_carl="carlsecret"
  "user_jörg"="jörgs";
}};
"""
CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, GET_ACL, SET_ACL = 1, 2, 3, 4, 5, 6, 7
PING, AUTH, SASL, WHO_AM_I = 11, 100, 102, 107
ANSWER_SECONDS_MAX = support.ANSWER_SECONDS_MAX


def string(text):
    return buffer(text.encode())


def buffer(data):
    return struct.pack(">i", -1 if data is None else len(data)) + (data or b"")


def acl(*entries):
    body = struct.pack(">i", len(entries))
    for perms, scheme, name in entries:
        body += struct.pack(">i", perms) + string(scheme) + string(name)
    return body


WORLD = (31, "world", "anyone")


def digest(text):
    return hashlib.md5(text).digest()


def latin1(text):
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def response(challenge, user, password, **changed):
    """What a client answers; `changed` replaces directives after the hash was made of the right ones."""
    nonce = re.search(rb'nonce="([^"]*)"', challenge)[1].decode()
    uri, cnonce = "zookeeper/zk-sasl-md5", "Zm9vYmFy"
    a1 = digest(latin1(user) + b":zk-sasl-md5:" + latin1(password)) + f":{nonce}:{cnonce}".encode()
    authzid = changed.get("acts_as")
    if authzid is not None:
        a1 += f":{authzid}".encode()
    a2 = hashlib.md5(f"AUTHENTICATE:{uri}".encode()).hexdigest()
    proof = hashlib.md5(f"{hashlib.md5(a1).hexdigest()}:{nonce}:00000001:{cnonce}:auth:{a2}".encode()).hexdigest()
    directives = {
        "charset": "utf-8", "username": f'"{user}"', "realm": '"zk-sasl-md5"', "nonce": f'"{nonce}"', "nc": "00000001",
        "cnonce": f'"{cnonce}"', "digest-uri": f'"{uri}"', "maxbuf": "65536", "response": proof, "qop": "auth",
    }  # fmt: skip
    if authzid is not None:
        directives["authzid"] = f'"{authzid}"'
    for name, value in changed.items():
        name = name.replace("_", "-")
        if name != "acts-as":
            directives[name] = value
    return ",".join(f"{name}={value}" for name, value in directives.items() if value is not None).encode()


class Session:
    """A client that notes what it is answered, with what differs from run to run left out."""

    def __init__(self, port, notes):
        self.notes, self.xid = notes, 0
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS_MAX)
        self.socket.sendall(buffer(struct.pack(">iqiq", 0, 0, 30_000, 0) + buffer(bytes(16)) + b"\0"))
        assert self.frame() is not None

    def exactly(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                return None
            data += piece
        return data

    def frame(self):
        """The next frame, `None` at the end of the connection."""
        try:
            head = self.exactly(4)
            return head and self.exactly(struct.unpack(">i", head)[0])
        except ConnectionError:
            return None

    def call(self, what, op, body=b"", show=lambda body: None):
        """Sends a request, and notes the error of its answer and what `show` makes of the rest; gives the rest."""
        self.xid += 1
        xid = -4 if op == AUTH else self.xid
        try:
            self.socket.sendall(buffer(struct.pack(">ii", xid, op) + body))
        except ConnectionError:
            self.notes.append((what, "closed"))
            return b""
        answer = self.frame()
        if answer is None:
            self.notes.append((what, "closed"))
            return b""
        got, zxid, err = struct.unpack_from(">iqi", answer)
        assert got == xid, f"answer to {got}, asked {xid}"
        rest = answer[16:]
        self.notes.append((what, err, zxid == 0, show(rest)))
        return rest

    def token(self, what, token):
        """Sends a token; gives the one that answers it."""
        def show(rest):
            if not rest:
                return "no token"
            length = struct.unpack_from(">i", rest)[0]
            text = rest[4 : 4 + length].decode() if length >= 0 else "null"
            text = re.sub(r'nonce="[^"]*"', "nonce=N", text)
            return re.sub(r"rspauth=\w{32}", "rspauth=R", text)

        return self.call(what, SASL, buffer(token), show)[4:]

    def login(self, user, password, **changed):
        challenge = self.token(f"begin {user}", b"")
        if challenge:
            self.token(f"answer {user} {changed}", response(challenge, user, password, **changed))

    def who(self, what="whoAmI"):
        def show(rest):
            names, at = [], 4
            for _ in range(2 * struct.unpack_from(">i", rest)[0] if rest else 0):
                length = struct.unpack_from(">i", rest, at)[0]
                names.append(rest[at + 4 : at + 4 + length].decode())
                at += 4 + length
            return sorted(zip(names[::2], names[1::2]))

        self.call(what, WHO_AM_I, show=show)

    def create(self, path, *entries):
        self.call(f"create {path} {entries}", CREATE, string(path) + buffer(b"") + acl(*entries) + struct.pack(">i", 0))

    def write(self, path, what=""):
        self.call(f"set {path} {what}", SET_DATA, string(path) + buffer(b"x") + struct.pack(">i", -1))

    def get_acl(self, path):
        def show(rest):
            return rest[: -(8 * 6 + 4 * 5)] if len(rest) > 68 else rest

        self.call(f"getACL {path}", GET_ACL, string(path), show)

    def ended(self, what):
        """Notes whether the server ends the connection."""
        self.socket.settimeout(1)
        try:
            self.notes.append((what, "ends" if self.frame() is None else "goes on"))
        except TimeoutError:
            self.notes.append((what, "stays"))
        self.socket.settimeout(ANSWER_SECONDS_MAX)


def ids(port, notes):
    """Who a client proves to be, and what lists with ids of scheme sasl are worth."""
    bob, plain = Session(port, notes), Session(port, notes)
    bob.who("before")
    bob.login("bob", 'bob \\"secret\\"'.replace("\\", ""))
    bob.who()
    plain.who("plain")
    bob.create("/bob", (31, "sasl", "bob"))
    bob.create("/auth", (31, "auth", ""))
    plain.create("/auth2", (31, "auth", ""))
    for name in ["bob/host@REALM", "bob/host", "", "a@b", "a@b@c", "a/b/c@R", "a/b/c", "zoë", "@"]:
        plain.create("/valid" + name.replace("/", "-").replace("@", "+"), (31, "sasl", name), WORLD)
    plain.get_acl("/bob")
    bob.get_acl("/auth")
    for session, who in [(plain, "plain"), (bob, "bob")]:
        session.write("/bob", who)
        session.write("/auth", who)
    ann = Session(port, notes)
    ann.login("ann", "annsecret")
    ann.who("ann")
    ann.write("/bob", "ann, who is super")
    carl = Session(port, notes)
    carl.login("carl", "carlsecret")
    carl.write("/bob", "carl")
    bob.create("/all", (31, "sasl", "everyone"))
    carl.write("/all", "carl")
    plain.write("/all", "plain")
    bob.create("/digest", (31, "digest", "x:y"), (1, "sasl", "bob"))
    admin = Session(port, notes)
    admin.login("super", "adminsecret")
    admin.who("super")
    admin.write("/bob", "super")
    admin.write("/digest", "super")
    joerg = Session(port, notes)
    joerg.login("jörg", "jörgs")
    joerg.who("jörg")
    both = Session(port, notes)
    both.call("digest", AUTH, struct.pack(">i", 0) + string("digest") + buffer(b"a:b"))
    both.login("bob", 'bob "secret"')
    both.who("both")
    both.call("auth packet of sasl", AUTH, struct.pack(">i", 0) + string("sasl") + buffer(b"bob"))
    both.ended("after it")


def failures(port, notes):
    """What a client gets whose exchange is wrong, and whether it stays."""
    def failing(what, run):
        session = Session(port, notes)
        run(session)
        session.who(f"after {what}")

    failing("wrong password", lambda s: s.login("bob", "nonsense"))
    failing("unknown user", lambda s: s.login("nobody", "nonsense"))
    failing("acts as", lambda s: s.login("ann", "annsecret", acts_as="super"))
    for changed in [
        {"nonce": '"AAAA"'}, {"realm": '"other"'}, {"digest_uri": '"zookeeper/other"'}, {"qop": "auth-int"},
        {"charset": "latin-1"}, {"response": "0" * 32}, {"username": None}, {"nonce": None}, {"cnonce": None},
        {"realm": None}, {"response": None}, {"digest_uri": '"ZooKeeper/zk-sasl-md5"'}, {"qop": None}, {"charset": None},
        {"more": "x"}, {"maxbuf": None},
    ]:  # fmt: skip
        failing(str(changed), lambda s, changed=changed: s.login("ann", "annsecret", **changed))
    failing("an initial response", lambda s: s.token("initial", b"username=bob"))
    failing("nonsense", lambda s: (s.token("first", b""), s.token("nonsense", b"nonsense")))
    failing("nothing", lambda s: (s.token("first", b""), s.token("empty", b"")))
    failing("a long token", lambda s: (s.token("first", b""), s.token("long", b"x" * 5000)))
    failing("null", lambda s: s.token("null", None))

    def twice(session):
        session.login("ann", "annsecret")
        session.token("again", b"")

    failing("a second exchange", twice)
    seen = Session(port, [])
    challenge = seen.token("", b"")
    answer = response(challenge, "ann", "annsecret")
    seen.token("", answer)
    failing("a replayed answer", lambda s: (s.token("first", b""), s.token("replayed", answer)))


def required(port, notes):
    """Clients that must authenticate by SASL before anything else."""
    for what, run in [("ping", lambda s: s.call("ping", PING)), ("create", lambda s: s.create("/a", WORLD))]:
        session = Session(port, notes)
        run(session)
        session.ended(f"after {what}")
    for user, password in [("bob", "nonsense"), ("nobody", "x"), ("ann", "annsecret")]:
        session = Session(port, notes)
        session.login(user, password)
        session.create(f"/of-{user}", WORLD)
        session.ended(f"after {user}")
    digest_user = Session(port, notes)
    digest_user.call("digest", AUTH, struct.pack(">i", 0) + string("digest") + buffer(b"a:b"))
    digest_user.create("/b", WORLD)


def command_line(port, notes, folder):
    """ZooKeeper's own client with a JAAS file."""
    jars = support.installed("zookeeper")
    for user, password in [("bob", 'bob \\"secret\\"'), ("bob", "nonsense"), ("ann", "annsecret")]:
        jaas = folder / f"client-{user}.jaas"
        jaas.write_text(f'Client {{ {MODULE} required username="{user}" password="{password}"; }};\n')
        words = [
            "java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=off", f"-Djava.security.auth.login.config={jaas}",
            "-Dzookeeper.fips-mode=false", "-cp", f"{jars}/*", "org.apache.zookeeper.ZooKeeperMain", "-waitforconnection",
            "-timeout", "20000", "-server", f"127.0.0.1:{port}",
        ]  # fmt: skip
        run = subprocess.run(
            words, input=f"whoami\ncreate /cli-{user} x sasl:{user}:cdrwa\ngetAcl /cli-{user}\nget /cli-bob\nquit\n",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=ANSWER_SECONDS_MAX,
        )  # fmt: skip
        lines = [line for line in run.stdout.splitlines() if "INFO" not in line and line.strip()]
        wanted = re.compile(r"sasl|auth|Auth|cdrwa|Created|Insufficient|^x$|KeeperError")
        # The head of whoAmI's table says nothing, and a session that has failed may or may not come that far.
        said = [line for line in lines if wanted.search(line) and "\tat " not in line and line != "Auth scheme: User"]
        # Another thread of the client prints its events: where they stand among the answers is chance.
        said.sort(key=lambda line: line.startswith("WatchedEvent"))
        notes.append((f"command line of {user}", said))


SETTINGS = {"authProvider.sasl": PROVIDER}
MORE = SETTINGS | {"superUser": "ann", "letAnySaslUserDoX": "everyone"}
CASES = {
    "ids": (ids, MORE),
    "failures": (failures, MORE),
    "several_super_users": (ids, SETTINGS | {"superUser.1": "carl", "superUser.x": "bob"}),
    "super_password": (ids, SETTINGS | {"SASLAuthenticationProvider.superPassword": "other"}),
    "without_provider": (ids, {}),
    "failed_may_stay": (failures, SETTINGS | {"allowSaslFailedClients": "true"}),
    "session_requires": (required, SETTINGS | {"sessionRequireClientSASLAuth": "true", "allowSaslFailedClients": "true"}),
    "enforced": (required, SETTINGS | {"enforce.auth.enabled": "true", "enforce.auth.schemes": "sasl,digest"}),
    "command_line": (command_line, MORE),
}
# Where zkfast differs, with the reason: (case, what) -> what zkfast answers.
DESIGN = {}


@contextlib.contextmanager
def served(server, folder, jaas=JAAS, **settings):
    """A server with the users of a JAAS file, or without one."""
    flags = "-Dfile.encoding=UTF-8"
    if jaas:
        (folder / "server.jaas").write_text(jaas, encoding="utf-8")
        flags += f" -Djava.security.auth.login.config={folder / 'server.jaas'}"
    os.environ["JAVA_TOOL_OPTIONS"] = flags if server == "reference" else ""
    os.environ["JVMFLAGS"] = flags
    try:
        with support.Server(server, folder, **settings) as running:
            os.environ["JAVA_TOOL_OPTIONS"] = ""
            support.wait_until(lambda: "Mode" in running.four_letter_word("srvr"), ANSWER_SECONDS_MAX, "it serves")
            yield running
    finally:
        del os.environ["JVMFLAGS"], os.environ["JAVA_TOOL_OPTIONS"]


def answers(server, name, folder):
    """What a server answers in a case."""
    run, settings = CASES[name]
    folder = folder / f"{name}-{'java' if server == 'reference' else 'zkfast'}"
    folder.mkdir()
    notes = []
    with served(server, folder, **settings) as running:
        run(running.port, notes, *[folder] * (run is command_line))
    log = (folder / "server.log").read_text(errors="replace") if server != "reference" else ""
    for secret in ["adminsecret", "bob \\", "annsecret", "carlsecret"]:
        assert secret not in log, f"the log shows the password {secret}"
    return notes


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("--only", choices=CASES, action="append", help="this case alone")
    options = parser.parse_args()
    with support.scratch("sasl") as folder, contextlib.suppress(KeyboardInterrupt):
        support.run_cases([support.compared(name, answers, options.server, folder, DESIGN) for name in options.only or CASES], folder)


if __name__ == "__main__":
    main()
