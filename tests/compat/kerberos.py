#!/usr/bin/env python3
"""SASL with Kerberos: a KDC of the test's own, zkfast beside Apache ZooKeeper with the same keytabs, clients and ensembles.

    tests/compat/kerberos.py                      all cases
    tests/compat/kerberos.py --only CASE          one case
"""

import contextlib
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402

support.use_environment()
import quorum_sasl  # noqa: E402
import sasl  # noqa: E402


MODULE = "com.sun.security.auth.module.Krb5LoginModule"
REALM = "ZK.TEST"
SECONDS_MAX = support.ANSWER_SECONDS_MAX
PROVIDER = {"authProvider.sasl": sasl.PROVIDER}
CLIENTS = ["ann", "svc/host1"]


class Kdc:
    """A KDC on a free port of 127.0.0.1, whose realm has the test's principals. It runs within a `with` block."""

    def __init__(self, folder):
        self.folder, self.port = folder / "kdc", support.free_port()
        self.conf = self.folder / "krb5.conf"
        self.folder.mkdir()
        self.conf.write_text(
            f"[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n"
            " dns_canonicalize_hostname = false\n rdns = false\n udp_preference_limit = 1\n kdc_timeout = 3000\n"
            f" max_retries = 1\n[realms]\n {REALM} = {{\n  kdc = 127.0.0.1:{self.port}\n }}\n"
        )
        (self.folder / "kdc.conf").write_text(
            f"[kdcdefaults]\n kdc_ports = {self.port}\n kdc_tcp_ports = {self.port}\n kdc_listen = 127.0.0.1:{self.port}\n"
            f" kdc_tcp_listen = 127.0.0.1:{self.port}\n[realms]\n {REALM} = {{\n  database_name = {self.folder}/principal\n"
            f"  key_stash_file = {self.folder}/stash\n  acl_file = {self.folder}/acl\n  max_life = 1h\n }}\n"
            f"[logging]\n kdc = FILE:{self.folder}/log\n"
        )
        self.environment = os.environ | {"KRB5_CONFIG": str(self.conf), "KRB5_KDC_PROFILE": str(self.folder / "kdc.conf")}
        self.run("kdb5_util", "create", "-s", "-r", REALM, "-P", "master")

    def run(self, *words):
        run = subprocess.run(words, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert run.returncode == 0, f"{words}: {run.stdout}"

    def keytab(self, principal):
        """The path of a keytab with the key of the principal, who is made if it is not there."""
        path = self.folder / f"{principal.replace('/', '-')}.keytab"
        if not path.exists():
            self.run("kadmin.local", "-r", REALM, "addprinc", "-randkey", principal)
            self.new_key(principal, path)
        return path

    def new_key(self, principal, path):
        """Gives the principal a new key, and adds it to a keytab."""
        self.run("kadmin.local", "-r", REALM, "ktadd", "-k", str(path), principal)

    def __enter__(self):
        self.process = subprocess.Popen(
            ["krb5kdc", "-n"], env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )  # fmt: skip

        def answers():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True

        support.wait_until(answers, SECONDS_MAX, "the KDC listens")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def flags(self, jaas, *more):
        """JVM flags that name the realm and a JAAS file."""
        return " ".join([f"-Djava.security.krb5.conf={self.conf}", f"-Djava.security.auth.login.config={jaas}", *more])


def section(name, principal, keytab, *more):
    options = ["useKeyTab=true", f'keyTab="{keytab}"', "storeKey=true", "useTicketCache=false", f'principal="{principal}@{REALM}"', *more]
    return f"{name} {{ {MODULE} required {' '.join(options)}; }};\n"


@contextlib.contextmanager
def server(command, folder, kdc, keytab, principal="zookeeper/localhost", flags=(), **settings):
    """A server whose clients log in with tickets for `principal`."""
    kind = "java" if command == "reference" else "zkfast"
    folder = folder / kind
    folder.mkdir()
    jaas = folder / "server.jaas"
    jaas.write_text(section("Server", principal, keytab))
    flags = kdc.flags(jaas, *flags)
    os.environ["JAVA_TOOL_OPTIONS" if kind == "java" else "JVMFLAGS"] = flags
    try:
        with support.Server(command, folder, **(PROVIDER | settings)) as running:
            for name in ["JAVA_TOOL_OPTIONS", "JVMFLAGS"]:
                os.environ.pop(name, None)
            support.wait_until(lambda: "Mode" in running.four_letter_word("srvr"), SECONDS_MAX, "it serves")
            yield running
    finally:
        for name in ["JAVA_TOOL_OPTIONS", "JVMFLAGS"]:
            os.environ.pop(name, None)


def command_line(kdc, folder, port, principal, keytab, commands, *more):
    """What ZooKeeper's own command line says to these commands as a principal."""
    jaas = folder / f"{principal.replace('/', '-')}.jaas"
    jaas.write_text(section("Client", principal, keytab))
    words = [
        "java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
        *kdc.flags(jaas).split(), *more, "-cp", f"{support.installed('zookeeper')}/*", "org.apache.zookeeper.ZooKeeperMain",
        "-waitforconnection", "-timeout", "20000", "-server", f"localhost:{port}",
    ]  # fmt: skip
    run = subprocess.run(
        words, input=commands + "quit\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS_MAX
    )
    wanted = re.compile(r"sasl|Auth|cdrwa|Created|Insufficient|^x$|KeeperError|NoAuth")
    said = [line for line in run.stdout.splitlines() if wanted.search(line) and "\tat " not in line]
    # Another thread of the client prints its events: where they stand among the answers is chance.
    return sorted(said, key=lambda line: line.startswith("WatchedEvent"))


def both(options, folder, kdc, keytab, ask, **settings):
    """What `ask` finds at each server; ZooKeeper's first."""
    found = []
    for command in ["reference", options.server]:
        with server(command, folder, kdc, keytab, **settings) as running:
            found.append(ask(running))
    return found


def clients(options, folder, kdc):
    """Java's client logs in, has its id, and lists are worth what they are with ZooKeeper."""
    service = kdc.keytab("zookeeper/localhost")
    keytabs = {principal: kdc.keytab(principal) for principal in CLIENTS}

    def ask(running):
        said = {}
        for principal in CLIENTS:
            name = principal.replace("/", "-")
            commands = (
                f"whoami\ncreate /{name} x sasl:{principal}@{REALM}:cdrwa\ncreate /auth-{name} x auth::cdrwa\ngetAcl /auth-{name}\n"
                "get /ann\nget /auth-ann\n"
            )
            said[principal] = command_line(kdc, folder, running.port, principal, keytabs[principal], commands)
        return said

    java, ours = both(options, folder, kdc, service, ask)
    assert ours == java, f"\n  zkfast    {ours}\n  ZooKeeper {java}"
    assert any("Insufficient" in line or "NoAuth" in line for line in ours["svc/host1"]), ours
    assert not any("Insufficient" in line for line in ours["ann"]), ours


NAMES = {
    "no_realm": ("-Dzookeeper.kerberos.removeRealmFromPrincipal=true",),
    "no_host": ("-Dzookeeper.kerberos.removeHostFromPrincipal=true",),
    "rules": (
        "-Dzookeeper.kerberos.removeRealmFromPrincipal=true", "-Dzookeeper.kerberos.removeHostFromPrincipal=true",
        "-Dzookeeper.security.auth_to_local=RULE:[2:$1-$2@$0](svc-.*)s/@.*//RULE:[1:$1](a.*)s/n/m/gDEFAULT",
    ),
}  # fmt: skip


def names(options, folder, kdc):
    """Ids are made of principals by the same rules."""
    service = kdc.keytab("zookeeper/localhost")
    keytabs = {principal: kdc.keytab(principal) for principal in CLIENTS}
    for name, flags in NAMES.items():
        (folder / name).mkdir()

        def ask(running):
            return [command_line(kdc, folder, running.port, who, keytabs[who], "whoami\n") for who in CLIENTS]

        java, ours = both(options, folder / name, kdc, service, ask, flags=flags)
        assert ours == java and all("sasl" in str(said) for said in ours), f"{name}:\n  zkfast    {ours}\n  ZooKeeper {java}"


class Tap:
    """Passes a client's connection on to a server, and keeps the tokens that the client sends."""

    def __init__(self, port):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.tokens, self.target = self.listener.getsockname()[1], [], port
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                upstream = socket.create_connection(("127.0.0.1", self.target))
                threading.Thread(target=self.copy, args=(client, upstream, True), daemon=True).start()
                threading.Thread(target=self.copy, args=(upstream, client, False), daemon=True).start()

    def copy(self, source, sink, is_client):
        seen = b""
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
                seen += data
                while is_client and len(seen) >= 4 and len(seen) >= 4 + struct.unpack_from(">i", seen)[0]:
                    frame, seen = seen[4 : 4 + struct.unpack_from(">i", seen)[0]], seen[4 + struct.unpack_from(">i", seen)[0] :]
                    if struct.unpack_from(">i", frame, 4)[0] == sasl.SASL:
                        self.tokens.append(frame[12:])
            sink.shutdown(socket.SHUT_WR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def refused(options, folder, kdc):
    """Tokens that are no tickets, tickets for another key, and tickets that were shown before are refused, as by ZooKeeper."""
    service, keytab = kdc.keytab("zookeeper/localhost"), kdc.keytab("ann")

    def ask(running):
        notes = []
        for what, token in [("empty", b""), ("nonsense", b"nonsense"), ("long", b"x" * 70_000), ("null", None)]:
            session = sasl.Session(running.port, notes)
            session.call(f"a token that is {what}", sasl.SASL, sasl.buffer(token))
            session.ended(f"after a token that is {what}")
        with Tap(running.port) as tap:
            assert any("sasl" in line for line in command_line(kdc, folder, tap.port, "ann", keytab, "whoami\n"))
            assert tap.tokens and len(tap.tokens[0]) > 200, [len(token) for token in tap.tokens]
            replayed = sasl.Session(running.port, notes)
            for number, token in enumerate(tap.tokens):
                replayed.call(f"a ticket that was shown before, token {number}", sasl.SASL, sasl.buffer(token))
            replayed.who("with a ticket that was shown before")
        return notes

    java, ours = both(options, folder, kdc, service, ask)
    assert ours == java, f"\n  zkfast    {ours}\n  ZooKeeper {java}"
    assert not any("sasl" in str(note) for note in ours), ours
    # zkfast remembers tickets over a restart.
    (folder / "restart").mkdir()
    with server(options.server, folder / "restart", kdc, service) as running, Tap(running.port) as tap:
        command_line(kdc, folder, tap.port, "ann", keytab, "whoami\n")
        data = running.folder / "data"
        assert (data / "krb5.rcache").stat().st_mode & 0o077 == 0
    (folder / "restarted").mkdir()
    with server(options.server, folder / "restarted", kdc, service, dataDir=data) as running:
        notes = []
        sasl.Session(running.port, notes).call("an old ticket", sasl.SASL, sasl.buffer(tap.tokens[0]))
        assert notes[0][1] == -115, notes
        assert "replay" in running.log.read_text().lower(), running.log.read_text()[-2000:]
    # The service has a new key; the server still has the old one.
    (folder / "new_key").mkdir()
    with server(options.server, folder / "new_key", kdc, service) as running:
        kdc.new_key("zookeeper/localhost", folder / "new.keytab")
        said = command_line(kdc, folder, running.port, "ann", keytab, "whoami\n")
        assert any("AuthFailed" in line for line in said), said
        assert "SASL failed: Kerberos: " in running.log.read_text(), running.log.read_text()[-2000:]


def configuration(options, folder, kdc):
    """What is wrong is said at the start, with the file and the section; a host without the library serves all but Kerberos."""
    service, zkfast = kdc.keytab("zookeeper/localhost"), support.server_command(options.server)[0]
    missing, jaas, config = folder / "missing.keytab", folder / "server.jaas", folder / "zoo.cfg"
    config.write_text(f"dataDir={folder}/data\nclientPort={support.free_port()}\nadmin.enableServer=false\n")

    def said(text, *before):
        jaas.write_text(text)
        environment = os.environ | {"JVMFLAGS": kdc.flags(jaas)}
        words = [*before, zkfast, "check", str(config)]
        run = subprocess.run(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return run.returncode, run.stdout

    status, text = said(section("Server", "zookeeper/localhost", service))
    assert status == 0, text
    for jaas_text, wanted in [
        (section("Server", "zookeeper/localhost", missing), "No such file"),
        (section("Server", "zookeeper/elsewhere", service), "zookeeper/elsewhere"),
        (f"Server {{ {MODULE} required useTicketCache=true; }};", "a server has a key"),
        (f"Server {{ {MODULE} required; }};", "lacks useKeyTab=true"),
    ]:
        status, text = said(jaas_text)
        assert status != 0 and wanted in text, (wanted, text)
    status, text = said(section("Server", "zookeeper/localhost", service).replace("storeKey=true", ""))
    assert status == 0, text
    library = next(pathlib.Path("/usr/lib").glob("*/libgssapi_krb5.so.2"), None)
    hidden = ["unshare", "-m", "sh", "-c", f'mount --bind /dev/null {library} && exec "$0" "$@"']
    if library and subprocess.run([*hidden, "true"], stderr=subprocess.DEVNULL).returncode == 0:
        status, text = said(section("Server", "zookeeper/localhost", service), *hidden)
        assert status != 0 and "apt-get install libgssapi-krb5-2" in text, text
        status, text = said("", *hidden)
        assert status == 0, text
    else:
        print("not shown: what is said on a host without the library, which wants a mount namespace", file=sys.stderr)


def tools(options, folder, kdc):
    """zkfast's own clients log in with a keytab and with a ticket of kinit, to ZooKeeper and to zkfast."""
    service, keytab = kdc.keytab("zookeeper/localhost"), kdc.keytab("ann")
    binary = pathlib.Path(support.server_command(options.server)[0])
    cache, by_key, by_cache = folder / "cache", folder / "by_key.jaas", folder / "by_cache.jaas"
    kdc.run("kinit", "-c", str(cache), "-k", "-t", str(keytab), "ann")
    by_key.write_text(section("Client", "ann", keytab))
    by_cache.write_text(f'Client {{ {MODULE} required useTicketCache=true ticketCache="{cache}"; }};\n')
    properties = folder / "client.properties"
    properties.write_text(f"java.security.krb5.conf={kdc.conf}\n")

    def run(jaas, program, *words):
        """Runs a program, whose last word may be a verb."""
        flags = ["--client-configuration", properties, "--jaas", jaas]
        words = [str(word) for word in [*program, *flags, *words]]
        return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS_MAX)

    def ask(running):
        address = f"localhost:{running.port}"
        for jaas in [by_key, by_cache]:
            done = run(jaas, [binary, "cli", "-s", address], "whoami")
            assert done.returncode == 0 and f"ann@{REALM}" in done.stdout, done.stdout
        load = ["--server", address, "--connections", 2, "--keys", 10, "--seconds", 0.5, "--warmup", 0]
        done = run(by_key, [binary.parent / "loadgen"], *load)
        assert done.returncode == 0, done.stdout
        properties.write_text(f"java.security.krb5.conf={kdc.conf}\nzookeeper.server.principal=zookeeper/elsewhere\n")
        done = run(by_key, [binary, "cli", "-s", address], "whoami")
        assert done.returncode == 1 and "zookeeper/elsewhere" in done.stdout, (done.returncode, done.stdout)
        properties.write_text(f"java.security.krb5.conf={kdc.conf}\n")

    both(options, folder, kdc, service, ask)


class Ensemble(quorum_sasl.Ensemble):
    """Servers on `localhost` that log in to each other with tickets."""

    host = "localhost"

    def __init__(self, options, folder, kinds, kdc, hosts=None):
        super().__init__(options.server, folder, kinds)
        self.kdc = kdc
        self.own = hosts or dict.fromkeys(kinds, "localhost")

    def sections(self, sid, _password=None):
        principal = f"zkquorum/{self.own[sid]}"
        keytab = self.kdc.keytab(principal)
        return section("QuorumServer", principal, keytab) + section("QuorumLearner", principal, keytab)

    def flags(self, sid):
        return self.kdc.flags(self.folder / f"{sid}/quorum.jaas")


REQUIRED = quorum_sasl.REQUIRED | {"quorum.auth.kerberos.servicePrincipal": "zkquorum/_HOST"}


def ensembles(options, folder, kdc):
    """zkfast alone, and with ZooKeeper in both roles: servers that have tickets form an ensemble and serve writes."""
    for name, kinds in {
        "zkfast": {1: "zkfast", 2: "zkfast", 3: "zkfast"},
        "java_leads": {1: "zkfast", 2: "java", 3: "java"},
        "zkfast_leads": {1: "java", 2: "zkfast", 3: "zkfast"},
    }.items():
        (folder / name).mkdir()
        with Ensemble(options, folder / name, kinds, kdc) as ensemble:
            for sid in kinds:
                ensemble.start(sid, REQUIRED)
            ensemble.wait_roles(*kinds)
            for sid in kinds:
                ensemble.write(sid)


def strangers(options, folder, kdc):
    """A server whose principal is of no server's host is kept out, and the others serve."""
    (folder / "e").mkdir()
    kinds = {1: "zkfast", 2: "zkfast", 3: "zkfast"}
    with Ensemble(options, folder / "e", kinds, kdc, {1: "localhost", 2: "localhost", 3: "elsewhere"}) as ensemble:
        for sid in kinds:
            ensemble.start(sid, REQUIRED)
        leader = ensemble.wait_roles(1, 2)
        ensemble.write(leader)
        wanted = 'principal "zkquorum/elsewhere@ZK.TEST" is not NAME/HOST@REALM with the host of a server line'
        support.wait_until(lambda: wanted.replace('"', '\\"') in ensemble.log(1) + ensemble.log(2), SECONDS_MAX, "the log names the principal")
        assert ensemble.role(3) is None


def without_kdc(options, folder, kdc):
    """While the KDC is away, servers that have tickets go on, one that has none says so, and joins when it is back."""
    (folder / "e").mkdir()
    kinds = {1: "zkfast", 2: "zkfast", 3: "zkfast"}
    with Ensemble(options, folder / "e", kinds, kdc) as ensemble:
        for sid in [1, 2]:
            ensemble.start(sid, REQUIRED)
        leader = ensemble.wait_roles(1, 2)
        ensemble.sections(3)
        kdc.__exit__()
        try:
            ensemble.start(3, REQUIRED)
            support.wait_until(lambda: "Cannot contact any KDC" in ensemble.log(3), SECONDS_MAX, "the log names the KDC")
            ensemble.write(leader)
            # A KDC that takes connections and never answers. A follower that has tickets loses its leader, and joins again.
            with socket.create_server(("127.0.0.1", kdc.port)):
                silent = "the KDC has not answered yet"
                support.wait_until(lambda: silent in ensemble.log(3), SECONDS_MAX, "the log says that the KDC is silent")
                follower = 3 - leader
                ensemble.running[follower].send_signal(signal.SIGSTOP)
                wanted = 'zk_synced_followers\t0'
                support.wait_until(lambda: wanted in ensemble.word(leader, "mntr") or ensemble.role(leader) != "leader", SECONDS_MAX, "it is lost")
                ensemble.running[follower].send_signal(signal.SIGCONT)
                ensemble.write(ensemble.wait_roles(1, 2))
        finally:
            kdc.__enter__()
        ensemble.wait_roles(1, 2, 3)
        ensemble.write(3)


CASES = {case.__name__: case for case in [clients, names, refused, configuration, tools, ensembles, strangers, without_kdc]}


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("--only", choices=CASES, action="append", help="this case alone")
    options = parser.parse_args()
    os.environ["PATH"] += os.pathsep + "/usr/sbin"
    support.installed("kerberos")
    with support.scratch("kerberos") as folder:

        def case(name):
            def run():
                (folder / name).mkdir()
                with Kdc(folder / name) as kdc:
                    CASES[name](options, folder / name, kdc)

            run.__name__ = name
            return run

        support.run_cases([case(name) for name in options.only or CASES], folder)


if __name__ == "__main__":
    main()
