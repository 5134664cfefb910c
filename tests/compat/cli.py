#!/usr/bin/env python3
"""`zkfast cli` and ZooKeeper's own command line do the same: each verb runs in both, against one server, each below a znode of
its own. What they print is compared, and the two subtrees.

    tests/compat/cli.py                        against the release zkfast
    tests/compat/cli.py --server reference     against Apache ZooKeeper
"""

import base64
import os
import pathlib
import pty
import re
import select
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402
from zkcli import Cli, equal, java  # noqa: E402

# The subtrees of Java's command line and of zkfast's. They are of one length, so that quotas count the same bytes.
JAVA, OURS = "/java", "/zkfa"
# What differs between two znodes that are alike: zxids, times, the session.
MASKS = [
    (re.compile(r"^(cZxid|mZxid|pZxid|ctime|mtime) = .*"), r"\1 = *"),
    (re.compile(r"^ephemeralOwner = 0x[1-9a-f].*"), "ephemeralOwner = *"),
    # zkfast names the error code, Java says that there is one.
    (re.compile(r" \((NoNode|NodeExists|NotEmpty|NoAuth|BadVersion|NoChildrenForEphemerals|QuotaExceeded|NoWatcher|"
                r"InvalidAcl|ReconfigDisabled|Unimplemented)\)$"), ""),
    (re.compile(r"^KeeperErrorCode = "), ""),
]  # fmt: skip


def masked(lines, root):
    result = []
    for line in lines:
        line = line.replace(root, "/ROOT")
        for pattern, text in MASKS:
            line = pattern.sub(text, line)
        result.append(line)
    return result


class Pair:
    """A session of each command line. `reader` is a third session, of Java's, that looks at what they did."""

    def __init__(self, address, jars, binary, reader):
        self.reader = reader
        self.java = Cli(address, jars)
        self.ours = Cli(address, jars, [str(binary), "cli", "--server", address])

    def __call__(self, command, order=list):
        """Runs `command` in both, with `~` as the root, and compares what they print. Gives that."""
        have = order(masked(self.ours(command.replace("~", OURS)), OURS))
        want = order(masked(self.java(command.replace("~", JAVA)), JAVA))
        assert have == want, f"\n  {command}\n  zkfast cli {have}\n  zkCli      {want}"
        return have

    def same_effects(self):
        """Compares the paths, data, Stats and access lists of the two subtrees."""
        equal(self.tree(OURS), self.tree(JAVA))

    def tree(self, root):
        paths = self.reader(f"ls -R {root}")
        assert paths[0] == root, paths
        read = lambda verb: [masked(self.reader(f"{verb} {path}"), root) for path in paths]  # noqa: E731
        return masked(paths, root), read("get -s -b"), read("getAcl")

    def expect_events(self, *events):
        """The events of the server that both print. Java's client adds one for a watch that it removes."""
        for cli, root in ((self.ours, OURS), (self.java, JAVA)):
            with cli.changed:
                cli.changed.wait_for(lambda cli=cli: len(cli.events) >= len(events), support.ANSWER_SECONDS_MAX)
                seen, cli.events = cli.events, []
            seen = [event for event in seen if not event[0].endswith("WatchRemoved")]
            equal(seen, [(kind, path.replace("~", root)) for kind, path in events])

    def quit(self):
        """Ends both sessions in order. The status of zkfast's is that of the first command that failed."""
        self.java.quit()
        self.ours.process.stdin.write("quit\n")
        self.ours.process.wait(support.ANSWER_SECONDS_MAX)

    def kill(self):
        self.java.kill()
        self.ours.kill()


class Terminal:
    """`zkfast cli` on a terminal of its own, with an empty home."""

    def __init__(self, address, binary, home):
        self.end, inside = pty.openpty()
        self.process = subprocess.Popen(
            [str(binary), "cli", "-s", address], stdin=inside, stdout=inside, stderr=inside, start_new_session=True,
            env={**os.environ, "HOME": str(home), "TERM": "xterm"},
        )  # fmt: skip
        os.close(inside)
        self.seen = b""

    def expect(self, text):
        """Reads until `text` has come, and drops it and what came before it."""
        deadline = time.monotonic() + support.ANSWER_SECONDS_MAX
        while text.encode() not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.end], [], [], left)[0], f"no {text!r} in {self.seen!r}"
            self.seen += os.read(self.end, 65536)
        self.seen = self.seen.split(text.encode(), 1)[1]

    def type(self, keys):
        os.write(self.end, keys.encode())

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.end)


def cases(server, jars, binary, reader, pair, folder):
    """The cases, in order. `pair` is one for all that need no session of their own."""

    def znodes_are_created_listed_and_read():
        pair("create ~")
        pair('create ~/a "some text"')
        pair("create ~/a/b 'quoted'")
        pair("create -s ~/a/n_ x")
        pair("create -s ~/a/ x")
        pair("create -c ~/container x")
        pair("create -t 600000 ~/ttl x")
        pair("create -s -t 600000 ~/ttl- x")
        pair("create ~/acl x world:anyone:cr,ip:127.0.0.1:cdrwa")
        for command in ("ls ~", "ls -s ~", "ls -R ~", "get ~/a", "get -s ~/a", "get -b ~/a", "get -x ~/a", "get -s -b ~/a",
                        "get ~", "stat ~/a", "getAcl ~/acl", "getAcl -s ~/acl", "getAllChildrenNumber ~", "ls ~/acl true",
                        "get ~/acl true", "stat ~/acl true"):  # fmt: skip
            assert pair(command), command
        pair.same_effects()

    def data_is_set_and_znodes_are_deleted():
        pair("set ~/a two")
        pair("set -s ~/a three")
        pair("set -v 2 ~/a four")
        pair("set ~/a five -v 3 -s")
        pair(f"set -b ~/a {base64.b64encode(bytes(range(256))).decode()}")
        pair("get -x ~/a")
        pair("get -b ~/a")
        pair("delete ~/a/b")
        pair("delete -v 0 ~/a/n_0000000001")
        pair.same_effects()
        pair("create ~/many")
        for number in range(12):
            pair(f"create ~/many/{number}")
            pair(f"create ~/many/{number}/below")
        pair("deleteall ~/many -b 5")
        pair("ls ~")
        pair.same_effects()

    def refusals_have_the_same_texts():
        for command in ("create ~/a", "create ~/none/child", "get ~/none", "stat ~/none", "ls ~/none", "ls -R ~/none",
                        "set ~/none x", "delete ~/none", "delete ~", "set -v 99 ~/a x", "delete -v 99 ~/a", "getAcl ~/none",
                        "setAcl ~/none world:anyone:r", "deleteall ~/none", "getAllChildrenNumber ~/none",
                        "setAcl -v 9 ~/a world:anyone:r", "create ~/acl/x/y"):  # fmt: skip
            assert pair(command), command
        pair.same_effects()

    def access_lists_are_set_and_enforced():
        pair("create ~/guarded x")
        pair("create ~/guarded/below x")
        pair("setAcl -s ~/guarded world:anyone:ra")
        pair("getAcl ~/guarded")
        pair("set ~/guarded y")
        pair("create ~/guarded/other y")
        pair("setAcl -v 1 ~/guarded world:anyone:cdrwa")
        pair("setAcl -R ~/guarded world:anyone:cdra")
        pair("whoami")
        pair.same_effects()

    def credentials_and_ephemerals_belong_to_a_session():
        guest = Pair(server.address, jars, binary, reader)
        try:
            guest("addauth digest alice:secret")
            guest("whoami", sorted)
            guest("create ~/private text auth::cdrwa")
            guest("get ~/private")
            guest("getAcl ~/private")
            guest("create -e ~/guest here")
            guest("create -e -s ~/guest- here")
            guest("create ~/guest/child")
            guest("stat ~/guest")
            for root, cli in ((JAVA, guest.java), (OURS, guest.ours)):
                for command in ("getEphemerals", f"getEphemerals {root}/g"):
                    paths = sorted(cli(command)[0].strip("[]").split(", "))
                    equal([path.removeprefix(root)[:6] for path in paths], ["/guest", "/guest"])
            guest("getEphemerals /elsewhere")
            pair("get ~/private")
            guest.quit()
        finally:
            guest.kill()
        pair("ls ~")
        pair.reader("addauth digest alice:secret")
        pair.same_effects()

    def watches_give_the_same_events():
        pair("create ~/watched")
        pair("addWatch ~/watched")
        pair("get -w ~/a")
        pair("ls -w ~/a")
        pair("stat -w ~/later")
        for root in (JAVA, OURS):
            reader(f"create {root}/watched/child")
            reader(f"set {root}/watched/child x")
            reader(f"delete {root}/watched/child")
            reader(f"set {root}/a x")
            reader(f"create {root}/a/new")
            reader(f"create {root}/later")
        pair.expect_events(
            ("NodeCreated", "~/watched/child"), ("NodeDataChanged", "~/watched/child"),
            ("NodeDeleted", "~/watched/child"), ("NodeDataChanged", "~/a"), ("NodeChildrenChanged", "~/a"),
            ("NodeCreated", "~/later"),
        )  # fmt: skip
        pair("removewatches ~/watched")
        pair("addWatch -m PERSISTENT ~/watched")
        pair("removewatches ~/watched -p")
        pair("removewatches ~/watched")
        for root in (JAVA, OURS):
            reader(f"set {root}/watched y")
        pair("get ~/watched")
        pair.expect_events()

    def quotas_are_set_listed_and_deleted():
        pair("create ~/limited 12345")
        pair("create ~/limited/below 12345")
        for command in ("listquota ~/limited", "setquota -n 20 ~/limited", "setquota -b 100 ~/limited",
                        "setquota -N 3 ~/limited", "setquota -B 200 ~/limited", "listquota ~/limited",
                        "delquota -b ~/limited", "delquota -N ~/limited", "listquota ~/limited",
                        "setquota -n 1 ~/limited", "listquota ~/limited", "delquota ~/limited", "listquota ~/limited",
                        "delquota ~/limited"):  # fmt: skip
            pair(command)
        quotas = reader("ls -R /zookeeper/quota")
        equal(quotas, ["/zookeeper/quota"])
        pair("setquota -n 20 ~/limited")
        # A quota above or below another one is refused by both, in words of their own.
        for root, cli in ((JAVA, pair.java), (OURS, pair.ours)):
            for path, what in ((f"{root}/limited/below", "has a parent"), (root, "has a child")):
                lines = cli(f"setquota -n 5 {path}")
                assert any(what in line for line in lines), (path, lines)
        both = [reader(f"get /zookeeper/quota{root}/limited/zookeeper_{kind}") for kind in ("limits", "stats")
                for root in (JAVA, OURS)]  # fmt: skip
        equal((both[0], both[2]), (both[1], both[3]))
        pair("delquota ~/limited")

    def the_ensembles_verbs_answer_alike():
        pair("sync /")
        pair("config")
        pair("config -c")
        pair("reconfig -remove 1")
        pair("printwatches on")
        for cli in (pair.java, pair.ours):
            assert cli("version")[0].startswith("ZooKeeper CLI version: "), cli("version")

    def history_and_redo_count_alike():
        equal(len(pair("history")), 11)
        # Both have run as many commands: this one is the third to last of the next list.
        pair("get ~/a")
        number = int(pair("history")[-3].split()[0])
        equal(pair(f"redo {number}"), pair("get ~/a"))
        pair("history")

    def one_command_on_the_command_line_has_the_same_status():
        for command in (["ls", "/"], ["get", "/nowhere"], ["delete", "/nowhere"], ["get", "-s", JAVA + "/a"]):
            run = lambda words: subprocess.run(words + command, capture_output=True, text=True,  # noqa: E731
                                               timeout=support.START_SECONDS_MAX)  # fmt: skip
            theirs, ours = run(java(jars) + ["-server", server.address]), run([str(binary), "cli", "-s", server.address])
            equal(ours.returncode, theirs.returncode)
            if theirs.returncode == 0:
                # Java says on standard output as well what it connects to and what it is told by watches.
                assert ours.stdout and ours.stdout in theirs.stdout, (theirs.stdout, ours.stdout)
                equal(ours.stderr, "")

    def a_terminal_completes_shows_events_and_remembers():
        home = folder / "home"
        home.mkdir()
        terminal = Terminal(server.address, binary, home)
        try:
            terminal.expect("(CONNECTED) 0] ")
            terminal.type("getAc\t -s /zkf\t\r")
            terminal.expect(": cdrwa")
            terminal.expect("numChildren = ")
            terminal.type("addauth digest bob:secret\r")
            terminal.expect("2] ")
            terminal.type(f"addWatch {OURS}\r")
            terminal.expect("3] ")
            reader(f"set {OURS} x")
            # It comes while the prompt waits.
            terminal.expect(f"WatchedEvent state:SyncConnected type:NodeDataChanged path:{OURS} ")
            terminal.type("get /none\r")
            terminal.expect("Node does not exist: /none (NoNode)")
            terminal.type("quit\r")
            equal(terminal.process.wait(support.ANSWER_SECONDS_MAX), 0)
        finally:
            terminal.close()
        history = home / ".zkfast_history"
        equal(history.stat().st_mode & 0o777, 0o600)
        lines = history.read_text().splitlines()
        assert f"getAcl -s {OURS}" in lines and not any("secret" in line for line in lines), lines

    return [case for name, case in locals().items()
            if callable(case) and name not in ("reader", "pair")]  # fmt: skip


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("--binary", default=support.TARGET / "release/zkfast", help="the zkfast whose `cli` is tested")
    options = parser.parse_args()
    jars = os.environ.get("ZKFAST_ZOOKEEPER_LIB") or support.installed("zookeeper")
    settings = {"extendedTypesEnabled": "true", "enforceQuota": "true"}
    with support.scratch("cli") as folder, support.Server(options.server, folder, **settings) as server:
        sessions = []
        try:
            sessions.append(Cli(server.address, jars))
            sessions.append(Pair(server.address, jars, options.binary, sessions[0]))
            support.run_cases(cases(server, jars, options.binary, *sessions, folder), folder)
        finally:
            for session in sessions:
                session.kill()


if __name__ == "__main__":
    main()
