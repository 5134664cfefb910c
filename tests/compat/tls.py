#!/usr/bin/env python3
"""TLS for clients, beside Apache ZooKeeper with the same zoo.cfg: who is let in, and whom the server takes it for.

Certificates and stores are made by openssl and keytool. Where ZooKeeper is the model the same is asked of both servers, and
the answers are equal, but for those that a case names. Clients are kazoo, ZooKeeper's own with Netty, and
`openssl s_client`.

    tests/compat/tls.py [CASE ...]     all cases, or some
"""

import concurrent.futures
import contextlib
import os
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402

support.use_environment()

from kazoo.client import KazooClient  # noqa: E402
from kazoo.exceptions import KazooException, NoAuthError  # noqa: E402
from kazoo.security import ACL, Id  # noqa: E402
from tls_fixtures import KEY_STORES, PASSWORD, TRUST_STORES, Der, Fixtures  # noqa: E402

ANSWER_SECONDS_MAX = 60
NETTY = "org.apache.zookeeper.server.NettyServerCnxnFactory"
AUTH_MODES = ["none", "want", "need"]


class Server(support.Server):
    """A server with a plain port and one with TLS; both on this host."""

    def __init__(self, command, folder, **keys):
        folder.mkdir()
        self.is_java = command == "reference"
        self.secure = support.free_port()
        settings = {"secureClientPort": self.secure} | {name: value for name, value in keys.items() if value is not None}
        if self.is_java:
            settings["serverCnxnFactory"] = NETTY
        super().__init__(command, folder, **settings)

    def answers(self):
        """True once both ports are open: Java opens the one with TLS last."""
        if not super().answers():
            return False
        with contextlib.suppress(ConnectionError):
            socket.create_connection(("127.0.0.1", self.secure), timeout=ANSWER_SECONDS_MAX).close()
            return True
        return "secureClientPort" not in self.config.read_text()

    def reports(self):
        return self.log.read_text(errors="replace")


_count = iter(range(1_000_000))


@contextlib.contextmanager
def served(command, **keys):
    """A server with these keys; another one may be started meanwhile."""
    with Server(command, FOLDER / f"server-{next(_count)}", **keys) as server:
        yield server


def both(ask, keys=None):
    """What `ask` gives of ZooKeeper and of zkfast, by turns: two servers at once are too much for two cores."""
    answers = []
    for command in "reference", COMMAND:
        with served(command, **(keys or {})) as server:
            answers.append(ask(server))
    return answers


def equal(ask, keys=None):
    """Asserts that both servers give the same, and gives it."""
    theirs, ours = both(ask, keys)
    assert theirs == ours, f"ZooKeeper: {theirs}\nzkfast:    {ours}"
    return ours


def stores(key_store="pem", trust_store="pem", auth="need"):
    return FILES.key_store(key_store) | FILES.trust_store(trust_store) | {"ssl.clientAuth": auth}


def context(identity=None, trusted=None, versions=None, ciphers=None):
    """TLS for a client in Python: the server must be `localhost` of the authority."""
    made = ssl.create_default_context(cafile=(trusted or FILES.ca).certificate)
    if identity:
        made.load_cert_chain(identity.certificate, identity.key)
    if versions:
        made.minimum_version, made.maximum_version = versions
    if ciphers:
        made.set_ciphers(ciphers)
    return made


def word(port, tls, text=b"ruok"):
    """The answer to a four-letter word over TLS; `refused` where the connection ends without one."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS_MAX) as plain:
            with tls.wrap_socket(plain, server_hostname="localhost") as secure:
                secure.sendall(text)
                answer = b""
                while chunk := secure.recv(65536):
                    answer += chunk
        return answer.decode() or "refused"
    except (ssl.SSLError, ConnectionError):
        return "refused"


def openssl_word(port, *words):
    """The same by `openssl s_client`."""
    done = subprocess.run(
        ["openssl", "s_client", "-quiet", "-verify_return_error", "-verify_hostname", "localhost",
         "-CAfile", FILES.ca.certificate, "-connect", f"127.0.0.1:{port}", *map(str, words)],
        input=b"ruok", capture_output=True, timeout=ANSWER_SECONDS_MAX,
    )  # fmt: skip
    return done.stdout.decode() or "refused"


def kazoo(port, identity=None, trusted=None):
    """A client that is connected; the caller ends it."""
    words = {"certfile": str(identity.certificate), "keyfile": str(identity.key)} if identity else {}
    client = KazooClient(
        f"localhost:{port}", timeout=30, use_ssl=True, ca=str((trusted or FILES.ca).certificate), verify_certs=True, **words
    )
    client.start(ANSWER_SECONDS_MAX)
    return client


@contextlib.contextmanager
def session(port, identity=None, trusted=None):
    client = kazoo(port, identity, trusted)
    try:
        yield client
    finally:
        client.stop()
        client.close()


class Java:
    """ZooKeeper's own client: one JVM answers all questions."""

    def __init__(self):
        lib = support.installed("zookeeper")
        self.process = subprocess.Popen(
            ["java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
             "-cp", f"{lib}/*", str(support.HERE / "TlsClient.java")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.lock = threading.Lock()

    def ask(self, port, seconds=ANSWER_SECONDS_MAX, **keys):
        """Whom the server takes the client for; `None` where no session begins."""
        settings = {f"zookeeper.{key}": value for key, value in keys.items()}
        line = "\t".join([f"localhost:{port}", str(seconds), *(f"{key}={value}" for key, value in settings.items())])
        with self.lock:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline().rstrip("\n").split("\t")
        assert answer[0] in ("ok", "none"), answer
        return [urllib.parse.unquote_plus(one) for one in answer[1:]] if answer[0] == "ok" else None

    def identity(self, kind="pem", identity=None, name="client"):
        """Keys of a client with this certificate; without one where it is `False`."""
        keys = FILES.trust_store("pem")
        if identity is not False:
            keys |= FILES.key_store(kind, identity or FILES.client, name)
        return keys

    def end(self):
        self.process.kill()
        self.process.wait()


def ids(answer):
    """Ids as a client's address does not change them."""
    return None if answer is None else sorted(one for one in answer if not one.startswith("ip:"))


def matrix():
    """Every key store with every trust store and every clientAuth: who is let in."""
    cells = [(key, trust, auth) for key in KEY_STORES for trust in TRUST_STORES for auth in AUTH_MODES]

    def ask(server):
        return {name: word(server.secure, context(who)) for name, who in (("without", None), ("with", FILES.client))}

    for key, trust, auth in cells:
        cell = f"{key}, {trust}, {auth}"
        keys = stores(key, trust, auth)
        theirs = None
        if (key, trust, auth) in JAVA_CELLS:
            with served("reference", **keys) as server:
                theirs = ask(server)
        with served(COMMAND, **keys) as server:
            ours = ask(server)
            assert theirs is None or theirs == ours, f"{cell}: ZooKeeper: {theirs}, zkfast: {ours}"
            assert ours == {"without": "refused" if auth == "need" else "imok", "with": "imok"}, f"{cell}: {ours}"
            certificate = ["-cert", FILES.client.certificate, "-key", FILES.client.key]
            assert openssl_word(server.secure, *certificate) == "imok", cell
            with session(server.secure, FILES.client) as client:
                client.create("/kazoo", b"x")
                assert client.get("/kazoo")[0] == b"x", cell
            own = ["x509:CN=client 1,OU=a\\, b,O=zkfast test,DC=org"]
            assert ids(JAVA.ask(server.secure, **JAVA.identity(key))) == ([] if auth == "none" else own), cell
            if auth == "need":
                assert openssl_word(server.secure) == "refused", cell
            else:
                assert openssl_word(server.secure) == "imok", cell
                assert ids(JAVA.ask(server.secure, **JAVA.identity(identity=False))) == [], cell


# The cells that are asked of Java, too: each store of each kind, and each mode with several of them.
JAVA_CELLS = {
    (key, TRUST_STORES[at % 3], AUTH_MODES[(at + shift) % 3]) for at, key in enumerate(KEY_STORES) for shift in range(3)
}


def subjects():
    """The ids of certificates with odd subjects, and which names an ACL may hold."""
    texts = {"utf8": 0x0C, "printable": 0x13, "t61": 0x14, "ia5": 0x16, "general": 0x1B, "universal": 0x1C, "bmp": 0x1E}
    cn, o, mail, dc, uid, serial, c = (
        "2.5.4.3", "2.5.4.10", "1.2.840.113549.1.9.1", "0.9.2342.19200300.100.1.25", "0.9.2342.19200300.100.1.1",
        "2.5.4.5", "2.5.4.6",
    )  # fmt: skip
    values = [
        b"a", b" lead", b"trail ", b"  two  ", b"   ", b"", b"a,b+c=d;e<f>g", b'q"q', b"back\\slash", b"#hash", b"in#side",
        b"nul\0nul", b"tab\tnew\nline\r", b"\rcr\r", "ü€".encode(), b"\xff\xfe\xc3", b"\xe2\x82", b"/slash",
        b"x" * 130, b"x" * 300,
    ]  # fmt: skip
    names = [[[(cn, 0x0C, value)]] for value in values]
    names += [[[(cn, tag, value)]] for tag in texts.values() for value in (b"a b", b"\0a\0b", b"\xfc\xe9")]
    names += [
        [],
        [[(c, 0x13, b"DE")], [(o, 0x0C, b"x"), (cn, 0x0C, b"y")], [(uid, 0x0C, b"u")]],
        [[(cn, 0x0C, b"y"), (o, 0x0C, b"x"), (cn, 0x0C, b"a")]],
        [[(mail, 0x16, b"a@b")], [(cn, 0x0C, b"m")]],
        [[(serial, 0x13, b"12")], [("2.5.4.12", 0x0C, b"Dr")], [("2.5.4.4", 0x0C, b"S")], [("2.5.4.42", 0x0C, b"G")]],
        [[(dc, 0x16, b"org")], [(dc, 0x16, b"example")], [(uid, 0x13, b"u,1")]],
        [[("2.5.4.7", 0x0C, b"L")], [("2.5.4.8", 0x0C, b"S")], [("2.5.4.9", 0x0C, b"street 1")], [("2.5.4.11", 0x0C, b"OU")]],
        [[("1.2.3.4.5", 0x0C, b"x" * 200)]],
        [[("2.999.1", 0x02, b"\5")]],
        [[(cn, 0x02, b"\5")]],
        [[(cn, 0x04, b"octets")]],
    ]
    identities = [FILES.of_subject(f"subject-{at}", Der.name(name)) for at, name in enumerate(names)]
    acl_names = (support.HERE / "tls_names.txt").read_text().split("\n")

    def ask(server):
        keys = FILES.trust_store("pem")
        found = []
        for at, identity in enumerate(identities):
            path = FILES.pem(f"subject-{at}", identity)
            found.append(ids(JAVA.ask(server.secure, **keys, **{"ssl.keyStore.location": path})))
        taken = []
        with session(server.secure, FILES.client) as client:
            for at, name in enumerate(acl_names):
                try:
                    client.create(f"/name-{at}", b"", acl=[ACL(31, Id("x509", name.replace("\\n", "\n")))])
                    taken.append("taken")
                except KazooException as error:
                    taken.append(type(error).__name__)
        return found, taken

    (their_ids, their_names), (our_ids, our_names) = both(ask, stores())
    wrong = [f"{name}: ZooKeeper {java}, zkfast {ours}" for name, java, ours in zip(names, their_ids, our_ids) if java != ours]
    pairs = zip(acl_names, their_names, our_names)
    wrong += [f"ACL {name!r}: ZooKeeper {java}, zkfast {ours}" for name, java, ours in pairs if java != ours]
    assert not wrong, "\n".join(wrong)
    assert sum(found is not None for found in our_ids) > 30, our_ids
    assert our_names.count("taken") > 40 and our_names.count("InvalidACLError") > 40, our_names


def acls():
    """ACLs of scheme x509, `auth`, and the super user."""
    me = "CN=client 1,OU=a\\, b,O=zkfast test,DC=org"
    boss = "CN=admin,O=zkfast test"

    def tried(act):
        try:
            act()
            return "done"
        except NoAuthError:
            return "no auth"

    def ask(server):
        with session(server.secure, FILES.client) as one, session(server.secure, FILES.admin) as two:
            one.create("/mine", b"", acl=[ACL(31, Id("x509", me))])
            one.create("/theirs", b"", acl=[ACL(31, Id("x509", "CN=nobody"))])
            one.create("/auth", b"", acl=[ACL(31, Id("auth", ""))])
            found = {"auth": [(acl.perms, acl.id.scheme, acl.id.id) for acl in one.get_acls("/auth")[0]]}
            plain = KazooClient(server.address, timeout=30)
            plain.start(ANSWER_SECONDS_MAX)
            for name, client in ("own", one), ("super", two), ("plain", plain):
                found[name] = [tried(lambda: client.set(path, b"x")) for path in ("/mine", "/theirs", "/auth")]
            plain.stop()
            plain.close()
        identity = JAVA.identity(identity=FILES.admin, name="admin")
        found["whoAmI"] = sorted(JAVA.ask(server.secure, **identity)), sorted(JAVA.ask(server.secure, **JAVA.identity()))
        return found

    found = equal(ask, stores() | {"X509AuthenticationProvider.superUser": boss})
    assert found["auth"] == [(31, "x509", me)], found
    assert found["own"] == ["done", "no auth", "done"], found
    assert found["super"] == ["done"] * 3 and found["plain"] == ["no auth"] * 3, found
    assert found["whoAmI"] == (
        ["ip:127.0.0.1", "super:", f"x509:{boss}"], ["ip:127.0.0.1", f"x509:{me}"],
    ), found  # fmt: skip
    assert equal(ask, stores())["super"] == ["no auth", "no auth", "no auth"]


def certificates():
    """Certificates that are over, of another authority, signed by themselves, trusted by themselves, of odd kinds."""
    middle = FILES.signed("middle", "/CN=middle", FILES.ca, extensions="basicConstraints=critical,CA:TRUE\n")
    leaf = FILES.signed("leaf", "/CN=leaf", middle)
    leaf.chain = (middle,)
    who = {
        "expired": FILES.signed("expired", "/CN=expired", FILES.ca, days=-1),
        "expired and trusted": FILES.signed("expired-trusted", "/CN=expired and trusted", FILES.other_ca, days=-1),
        "other authority": FILES.signed("stranger", "/CN=stranger", FILES.other_ca),
        "self-signed": FILES.self_signed("own", "/CN=own"),
        "self-signed and trusted": FILES.self_signed("own-authority", "/CN=own authority"),
        "self-signed, no authority, and trusted": FILES.self_signed("own-leaf", "/CN=own leaf", is_authority=False),
        "of an intermediate": leaf,
        "for servers only": FILES.signed("purpose", "/CN=purpose", FILES.ca, extensions="extendedKeyUsage=serverAuth\n"),
        "for clients only": FILES.signed("purpose2", "/CN=purpose2", FILES.ca, extensions="extendedKeyUsage=clientAuth\n"),
        "version 1": FILES.signed("v1", "/CN=v1", FILES.ca, extensions=""),
        "P-256": FILES.signed("p256", "/CN=p256", FILES.ca, kind="p256"),
        "P-384": FILES.signed("p384", "/CN=p384", FILES.ca, kind="p384"),
        "P-521": FILES.signed("p521", "/CN=p521", FILES.ca, kind="p521"),
        "Ed25519": FILES.signed("ed25519", "/CN=ed25519", FILES.ca, kind="ed25519"),
        "RSA 1024": FILES.signed("rsa1024", "/CN=rsa1024", FILES.ca, kind="rsa1024"),
        "RSA 4096": FILES.signed("rsa4096", "/CN=rsa4096", FILES.ca, kind="rsa4096"),
        "unknown critical extension": FILES.signed(
            "critical", "/CN=critical", FILES.ca, extensions="1.2.3.4=critical,ASN1:UTF8String:x\n"
        ),
    }
    trusted = FILES.path("several.pem")
    names = "expired and trusted", "self-signed and trusted", "self-signed, no authority, and trusted"
    trusted.write_text("".join(one.certificate.read_text() for one in (FILES.ca, *(who[name] for name in names))))
    keys = FILES.key_store("pem") | {"ssl.trustStore.location": trusted, "ssl.clientAuth": "need"}

    def ask(server):
        # OpenSSL would refuse its own 1024 bits.
        return {
            name: openssl_word(
                server.secure, "-cipher", "DEFAULT@SECLEVEL=0", "-cert", one.certificate, "-key", one.key,
                *(["-cert_chain", one.chain[0].certificate] if one.chain else []),
            )
            for name, one in who.items()
        }  # fmt: skip

    theirs, ours = both(ask, keys)
    differ = {name: (theirs[name], ours[name]) for name in who if theirs[name] != ours[name]}
    assert differ == DIFFERENT_CERTIFICATES, (differ, theirs, ours)
    assert [name for name, answer in ours.items() if answer == "refused"] == REFUSED_CERTIFICATES, ours


# What ZooKeeper and zkfast make of a certificate where they differ; the page on TLS says why.
DIFFERENT_CERTIFICATES = dict.fromkeys(["expired and trusted", "version 1", "P-521", "RSA 1024"], ("imok", "refused"))
REFUSED_CERTIFICATES = [
    "expired", "expired and trusted", "other authority", "self-signed", "for servers only", "version 1", "P-521", "RSA 1024",
    "unknown critical extension",
]  # fmt: skip


def versions():
    """Versions and cipher suites as the keys name them; what a client without any of them gets."""
    tls12, tls13 = (ssl.TLSVersion.TLSv1_2,) * 2, (ssl.TLSVersion.TLSv1_3,) * 2

    def ask(server):
        found = {}
        for name, pair in ("1.2", tls12), ("1.3", tls13):
            found[name] = word(server.secure, context(FILES.client, versions=pair))
        # ZooKeeper's own list has no ChaCha20.
        for ciphers in "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384":
            found[ciphers] = word(server.secure, context(FILES.client, versions=tls12, ciphers=ciphers))
        return found

    for keys in (
        {"ssl.enabledProtocols": "TLSv1.2"},
        {"ssl.enabledProtocols": "TLSv1.3"},
        {"ssl.enabledProtocols": "TLSv1.2,TLSv1.3"},
        {"ssl.protocol": "TLSv1.2"},
        {"ssl.ciphersuites": "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,TLS_AES_128_GCM_SHA256", "ssl.enabledProtocols": "TLSv1.2,TLSv1.3"},
        {"ssl.ciphersuites": "TLS_AES_256_GCM_SHA384", "ssl.enabledProtocols": "TLSv1.3"},
    ):  # fmt: skip
        found = equal(ask, stores() | keys)
        assert len(set(found.values())) == 2 or keys == {"ssl.enabledProtocols": "TLSv1.2,TLSv1.3"}, (keys, found)
    with served(COMMAND, **stores()) as server:
        assert set(ask(server).values()) == {"imok"}, "by default both"
        old = openssl_word(server.secure, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")
        assert old == "refused", old
        assert "SupportedVersions" in server.reports() or "peer is incompatible" in server.reports(), server.reports()


def host_names():
    """`ssl.clientHostnameVerification`: a client's certificate must name the address that it connects from."""
    who = {
        "address": FILES.signed("by-ip", "/CN=x", FILES.ca, names="IP:127.0.0.1"),
        "other address": FILES.signed("by-other", "/CN=y", FILES.ca, names="IP:127.0.0.2"),
        "none": FILES.client,
    }

    def ask(server):
        return {name: word(server.secure, context(one)) for name, one in who.items()}

    # In Java the check is off where fips-mode is on, its default.
    keys = stores() | {"ssl.clientHostnameVerification": "true", "fips-mode": "false"}
    assert equal(ask, keys) == {"address": "imok", "other address": "refused", "none": "refused"}
    with served(COMMAND, **keys) as server:
        ask(server)
        assert "does not name its address 127.0.0.1" in server.reports(), server.reports()
    off = {"address": "imok", "other address": "imok", "none": "imok"}
    assert equal(ask, keys | {"ssl.hostnameVerification": "false"}) == off
    assert equal(ask, stores()) == off


def one_port():
    """`client.portUnification`: plain clients and those with TLS on one port; words on both."""

    def ask(server):
        with session(server.port, FILES.client) as secure:
            plain = KazooClient(server.address, timeout=30)
            plain.start(ANSWER_SECONDS_MAX)
            plain.create("/by-plain", b"1")
            found = [secure.get("/by-plain")[0], server.four_letter_word("ruok")]
            plain.stop()
            plain.close()
        found.append(word(server.port, context(FILES.client)))
        found.append(word(server.port, context(None)))
        return found

    # Without secureClientPort Java has no authProvider.x509.
    provider = {"authProvider.x509": "org.apache.zookeeper.server.auth.X509AuthenticationProvider"}
    keys = stores() | {"client.portUnification": "true", "secureClientPort": None} | provider
    assert equal(ask, keys) == [b"1", "imok", "imok", "refused"]


def words_over_tls():
    """Words that the whitelist has are answered, and others as on the plain port."""

    def ask(server):
        answers = [word(server.secure, context(FILES.client), text) for text in (b"ruok", b"isro", b"wchs", b"conf")]
        return [answers[0], answers[1], answers[2], re.findall(r"(?m)^secureClientPort=\d+$", answers[3]) != []]

    assert equal(ask, stores() | {"4lw.commands.whitelist": "ruok,isro,conf"})[:2] == ["imok", "rw"]


def passwords():
    """Passwords in files; the file wins."""
    path = FILES.path("password")

    def ask(server):
        return word(server.secure, context(FILES.client))

    for text in PASSWORD, f"{PASSWORD}\n":
        path.write_text(text)
        path.chmod(0o600)
        keys = stores("pkcs12-keytool", "jks")
        keys |= {"ssl.keyStore.password": "wrong", "ssl.keyStore.passwordPath": path, "ssl.trustStore.passwordPath": path}
        assert equal(ask, keys) == "imok", text
    for kind in "default", "scrypt":
        keys = stores() | {"ssl.keyStore.location": FILES.pem(f"by-{kind}", FILES.server, kind), "ssl.keyStore.password": PASSWORD}
        with served(COMMAND, **keys) as server:
            assert ask(server) == "imok", kind


def kinds_of_keys():
    """A server whose key is elliptic, of the older forms of PEM, or whose certificate an intermediate has signed."""
    middle = FILES.signed("server-middle", "/CN=middle of servers", FILES.ca, extensions="basicConstraints=critical,CA:TRUE\n")
    names = "DNS:localhost,IP:127.0.0.1"
    for kind in "p256", "p384", "ed25519", "rsa4096":
        one = FILES.signed(f"server-{kind}", "/CN=localhost", middle, names=names, kind=kind)
        one.chain = (middle,)
        for store in KEY_STORES:
            if kind == "ed25519" and store not in ("pem", "pkcs12-openssl"):
                continue
            keys = stores() | FILES.key_store(store, one, f"server-{kind}")
            with served(COMMAND, **keys) as server:
                assert word(server.secure, context(FILES.client)) == "imok", (kind, store)
    # Of version 1 of X.509, which has no alternative names.
    old = FILES.signed("server-v1", "/CN=localhost", FILES.ca, extensions="")
    with served(COMMAND, **stores(auth="none") | FILES.key_store("pem", old, "server-v1")) as server:
        assert openssl_word(server.secure) == "imok"
    for kind, words in ("rsa", ["rsa", "-traditional"]), ("p256", ["ec"]):
        one = FILES.signed(f"old-{kind}", "/CN=localhost", FILES.ca, names=names, kind=kind)
        old = FILES.path(f"old-form-{kind}.key")
        subprocess.run(["openssl", *words, "-in", one.key, "-out", old], check=True, capture_output=True)
        store = FILES.path(f"old-form-{kind}.pem")
        # The certificate before the key.
        store.write_text(one.text() + old.read_text())
        with served(COMMAND, **stores() | {"ssl.keyStore.location": store}) as server:
            assert word(server.secure, context(FILES.client)) == "imok", kind


def refused():
    """What cannot be used ends the start with status 2 and a line that names key, file and reason."""
    garbage, empty, missing = FILES.path("garbage.pem"), FILES.path("empty.pem"), FILES.path("missing.pem")
    garbage.write_bytes(b"\0\1\2 no PEM")
    empty.write_bytes(b"")
    bare = FILES.path("bare.pem")
    bare.write_text(FILES.server.key.read_text())
    mixed = FILES.path("mixed.pem")
    mixed.write_text(FILES.client.key.read_text() + FILES.server.certificate.read_text())
    only = FILES.path("only.pem")
    only.write_text(FILES.server.certificate.read_text())
    legacy = FILES.path("legacy.pem")
    subprocess.run(
        ["openssl", "rsa", "-traditional", "-aes256", "-passout", "pass:x", "-in", FILES.server.key, "-out", legacy],
        check=True, capture_output=True,
    )  # fmt: skip
    legacy.write_text(legacy.read_text() + FILES.server.certificate.read_text())
    wrong = {"ssl.keyStore.password": "s3cr3t-wrong"}
    key, trust = "ssl.keyStore.location", "ssl.trustStore.location"
    encrypted = FILES.key_store("pem-encrypted")[key]
    for change, name, why in [
        ({key: missing}, key, "No such file"),
        ({key: garbage}, key, "neither a certificate nor a private key"),
        ({key: empty}, key, "neither a certificate nor a private key"),
        ({key: bare}, key, "no certificate"),
        ({key: only}, key, "no private key"),
        ({key: mixed}, key, "not that of its certificate, of CN=localhost,O=zkfast test"),
        ({key: legacy}, key, "openssl pkcs8 -topk8"),
        ({key: FILES.folder, "ssl.keyStore.type": "PEM"}, key, "directory"),
        ({key: encrypted}, key, "no key gives a password"),
        ({key: encrypted} | wrong, key, "password"),
        (FILES.key_store("pkcs12-openssl") | wrong, key, "password"),
        (FILES.key_store("pkcs12-keytool") | wrong, key, "password"),
        (FILES.key_store("jks") | wrong, key, "password"),
        ({key: garbage, "ssl.keyStore.type": "JKS"}, key, "JKS"),
        ({key: garbage, "ssl.keyStore.type": "PKCS12"}, key, "PKCS12"),
        ({"ssl.keyStore.passwordPath": missing}, "ssl.keyStore.passwordPath", "No such file"),
        ({trust: missing}, trust, "No such file"),
        ({trust: garbage}, trust, "neither a certificate nor a private key"),
        ({trust: FILES.key_store("jks")[key], "ssl.trustStore.password": PASSWORD}, trust, "without a private key"),
        (FILES.trust_store("jks") | {"ssl.trustStore.password": "s3cr3t-wrong"}, trust, "password"),
        ({"ssl.ciphersuites": "TLS_RSA_WITH_AES_128_CBC_SHA"}, "ssl.ciphersuites", "there are TLS_"),
        (
            {"ssl.ciphersuites": "TLS_AES_128_GCM_SHA256", "ssl.enabledProtocols": "TLSv1.2"}, "ssl.ciphersuites",
            "they fit no version",
        ),
    ]:  # fmt: skip
        file = change.get("ssl.keyStore.passwordPath") or change.get(name, "")
        lines = fails(stores() | change)
        line = lines[-1]
        assert " ERROR " in line and f"{name}: " in line and why in line and str(file) in line, (change, line)
        assert "s3cr3t" not in "\n".join(lines) and PASSWORD not in "\n".join(lines), lines


def fails(keys):
    """The log of a server that ends by itself, with status 2."""
    server = Server(COMMAND, FOLDER / f"server-{next(_count)}", **keys)
    with open(server.log, "ab") as log:
        words = support.on_config(server.words, server.config)
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=support.START_SECONDS_MAX)
    assert done.returncode == 2, (done.returncode, keys, server.reports())
    return [line for line in server.reports().splitlines() if line]


def serial_of(port):
    """The serial number of the certificate that a new connection sees."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS_MAX) as plain:
        anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
        with anyone.wrap_socket(plain) as secure:
            der = secure.getpeercert(binary_form=True)
    done = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-serial"], input=der, capture_output=True)
    return int(done.stdout.decode().strip().removeprefix("serial="), 16)


def reload():
    """Certificates that are replaced under load: connections stay, new ones see the new; a broken file keeps the old."""
    first = FILES.signed("first", "/CN=localhost", FILES.ca, names="DNS:localhost")
    second = FILES.signed("second", "/CN=localhost", FILES.ca, names="DNS:localhost")
    third = FILES.signed("third", "/CN=localhost", FILES.ca, names="DNS:localhost")
    newcomer = FILES.signed("newcomer", "/CN=newcomer", FILES.other_ca)
    first_number = FILES.serial - 3
    store, trust = FILES.path("live.pem"), FILES.path("live-trust.pem")
    store.write_text(FILES.pem("first", first).read_text())
    trust.write_text(FILES.ca.certificate.read_text())
    keys = {"ssl.keyStore.location": store, "ssl.trustStore.location": trust, "ssl.clientAuth": "want"}

    def replace(path, text, in_place=False):
        if in_place:
            path.write_text(text)
        else:
            fresh = path.with_suffix(".new")
            fresh.write_text(text)
            fresh.rename(path)

    with served(COMMAND, **keys) as server:
        lost, asked, stop = [], [0], threading.Event()

        def work(client):
            while not stop.is_set():
                client.set("/load", b"x")
                asked[0] += 1

        with contextlib.ExitStack() as clients:
            pool = clients.enter_context(concurrent.futures.ThreadPoolExecutor(4))
            clients.callback(stop.set)
            loaded = []
            for _ in range(4):
                loaded.append(clients.enter_context(session(server.secure, FILES.client)))
                loaded[-1].add_listener(lost.append)
            loaded[0].create("/load", b"")
            work_done = [pool.submit(work, client) for client in loaded]
            assert serial_of(server.secure) == first_number
            replace(store, FILES.pem("second", second).read_text())
            support.wait_until(lambda: serial_of(server.secure) == first_number + 1, 30, "the second certificate")
            replace(store, "-----BEGIN CERTIFICATE-----\nbroken")
            support.wait_until(lambda: "certificates not read again" in server.reports(), 30, "a warning")
            assert serial_of(server.secure) == first_number + 1
            line = next(line for line in server.reports().splitlines() if "certificates not read again" in line)
            assert " WARN " in line and str(store) in line and "ssl.keyStore.location" in line, line
            replace(store, FILES.pem("third", third).read_text(), in_place=True)
            support.wait_until(lambda: serial_of(server.secure) == first_number + 2, 30, "the third certificate")
            assert word(server.secure, context(newcomer)) == "refused"
            replace(trust, FILES.ca.certificate.read_text() + FILES.other_ca.certificate.read_text())
            support.wait_until(lambda: word(server.secure, context(newcomer)) == "imok", 30, "the new authority")
            replace(trust, FILES.other_ca.certificate.read_text())
            support.wait_until(lambda: word(server.secure, context(FILES.client)) == "refused", 30, "the old one is gone")
            before = asked[0]
            support.wait_until(lambda: asked[0] > before + 20, 30, "clients go on")
            stop.set()
            for done in work_done:
                done.result(60)
            assert lost == [], lost
        assert server.reports().count("certificates read again") >= 3, server.reports()
    with served(COMMAND, **keys | {"client.certReload": "false"}) as server:
        replace(store, FILES.pem("first", first).read_text())
        time.sleep(3)
        assert serial_of(server.secure) == first_number + 2, "client.certReload=false"


def private_key_of_its_own():
    """Certificate and private key in two files, as cert-manager has them in a secret, and a new pair of them."""
    certificate, private = FILES.path("tls.crt"), FILES.path("tls.key")

    def place(identity):
        for path, text in [(certificate, identity.certificate.read_text()), (private, identity.key.read_text())]:
            new = path.with_suffix(".new")
            new.write_text(text)
            new.chmod(0o600)
            new.rename(path)

    server_names = "DNS:localhost,IP:127.0.0.1"
    place(FILES.signed("pair-1", "/CN=localhost", FILES.ca, names=server_names))
    own = {"ssl.keyStore.location": certificate, "ssl.keyStore.type": "PEM", "zkfast.ssl.keyStore.keyLocation": private}
    with served(COMMAND, **stores() | own) as server:
        assert word(server.secure, context(FILES.client)) == "imok"
        first = serial_of(server.secure)
        place(FILES.signed("pair-2", "/CN=localhost", FILES.ca, names=server_names))
        support.wait_until(lambda: serial_of(server.secure) != first, ANSWER_SECONDS_MAX, "the new certificate is served")
        assert word(server.secure, context(FILES.client)) == "imok"
        assert " mode=0" not in server.reports(), server.reports()
    line = fails(stores() | own | {"zkfast.ssl.keyStore.keyLocation": FILES.path("no.key")})[-1]
    assert "zkfast.ssl.keyStore.keyLocation: " in line and "no.key: No such file" in line, line
    line = fails(stores("jks") | {"zkfast.ssl.keyStore.keyLocation": private})[-1]
    assert "ssl.keyStore.location is no PEM, and has the private key in it" in line, line


def secrets():
    """Passwords are in no log line and no report; a key that others may read is a warning; its end is told."""
    keys = stores("pkcs12-keytool", "jks")
    port = support.free_port(2)
    keys |= {
        "admin.enableServer": "true",
        "admin.serverPort": port,
        "metricsProvider.className": "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider",
        "metricsProvider.httpPort": port + 1,
    }
    store = keys["ssl.keyStore.location"]
    store.chmod(0o644)

    def page(port, path):
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=ANSWER_SECONDS_MAX).read().decode()

    with served(COMMAND, **keys) as server:
        commands = "configuration", "initial_configuration", "system_properties", "environment"
        texts = {command: page(port, f"commands/{command}") for command in commands}
        texts |= {word: server.four_letter_word(word) for word in ("conf", "envi")}
        check = subprocess.run([server.words[0], "check", server.config], capture_output=True, text=True)
        texts |= {"check": check.stdout + check.stderr, "log": server.reports()}
        for name, text in texts.items():
            assert PASSWORD not in text, (name, text)
        for name in "initial_configuration", "check":
            assert re.search(r"ssl\.keyStore\.password ?= ?\*\*\*", texts[name]), texts[name]
        warnings = [line for line in texts["log"].splitlines() if " WARN tls: " in line]
        assert len(warnings) == 2, warnings
        assert f"key=ssl.keyStore.location path={store} mode=0644" in warnings[0], warnings
        # All certificates here are for 30 days.
        assert "certificate expires soon: days=29 " in warnings[1] and "CN=localhost" in warnings[1], warnings
        found = re.search(r"(?m)^zkfast_certificate_expiry_timestamp_seconds (\S+)$", page(port + 1, "metrics"))
        assert 29 * 86400 < float(found[1]) - time.time() <= 30 * 86400, found
    store.chmod(0o600)
    with served(COMMAND, **keys) as server:
        assert " mode=0" not in server.reports(), server.reports()
        broken = FOLDER / "broken.cfg"
        broken.write_text(server.config.read_text() + "ssl.keyStore.password=s3cr3t-wrong\n")
        check = subprocess.run([server.words[0], "check", broken], capture_output=True, text=True)
        text = check.stdout + check.stderr
        assert check.returncode == 1 and f"ssl.keyStore.location: {store}: " in text and "s3cr3t" not in text, text


CASES = [
    matrix, subjects, acls, certificates, versions, host_names, one_port, words_over_tls, passwords, kinds_of_keys,
    refused, reload, private_key_of_its_own, secrets,
]  # fmt: skip


def main():
    global FOLDER, FILES, JAVA, COMMAND
    parser = support.arguments(__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    options = parser.parse_args()
    COMMAND = options.server
    if not COMMAND and os.environ.get("ZKFAST_BIN"):
        COMMAND = f"{os.environ['ZKFAST_BIN']} {{config}}"
    with support.scratch("tls") as FOLDER:
        (FOLDER / "files").mkdir()
        FILES = Fixtures(FOLDER / "files")
        JAVA = Java()
        try:
            cases = [case for case in CASES if not options.cases or case.__name__ in options.cases]
            support.run_cases(cases, FOLDER)
        finally:
            JAVA.end()


main()
