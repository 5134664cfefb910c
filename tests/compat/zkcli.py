#!/usr/bin/env python3
"""ZooKeeper's own command line (the classes of ZooKeeperMain) gives the expected answers with zkfast.

    tests/compat/zkcli.py                        against the release zkfast
    tests/compat/zkcli.py --server reference     against Apache ZooKeeper
"""

import os
import pathlib
import re
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402

# How long a command may take.
ANSWER_SECONDS_MAX = support.ANSWER_SECONDS_MAX
# A command that prints one known line and sends no request. All lines before that line belong to the command before it.
END_COMMAND, END_LINE = "printwatches", "printwatches is on"
EVENT = re.compile(r"WatchedEvent state:(\w+) type:(\w+) path:(\S+) zxid: (-?\d+)")


class Cli:
    """A command line's process, ZooKeeperMain unless `words` says another, controlled through its standard input and output."""

    def __init__(self, address, jars, words=None):
        self.lines, self.events, self.ended = [], [], False
        self.changed = threading.Condition()
        self.process = subprocess.Popen(
            words or java(jars) + ["-server", address],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()
        # Drops the JVM's first lines. The answer also shows that there is a session.
        self("ls /")
        if not words:
            self.expect_events(("None", "null"))

    def _read(self):
        for line in self.process.stdout:
            line = line.rstrip("\n")
            event = EVENT.fullmatch(line)
            with self.changed:
                if event:
                    self.events.append((event[2], event[3]))
                elif line != "WATCHER::":
                    self.lines.append(line)
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def __call__(self, command):
        """The lines that `command` prints, without watch events and empty lines."""
        with self.changed:
            del self.lines[:]
            self.process.stdin.write(f"{command}\n{END_COMMAND}\n")
            done = self.changed.wait_for(lambda: END_LINE in self.lines or self.ended, ANSWER_SECONDS_MAX)
            assert done and not self.ended, f"no answer to {command!r}, only {self.lines}"
            return [line for line in self.lines[: self.lines.index(END_LINE)] if line]

    def stat(self, command):
        """The answer to `command`: the lines before the Stat, and the printed fields of the Stat."""
        lines, stat = [], {}
        for line in self(command):
            field = re.fullmatch(r"(\w+) = (.*)", line)
            if field:
                stat[field[1]] = field[2]
            else:
                lines.append(line)
        return lines, stat

    def expect_events(self, *events):
        """Waits for these events since the last call. There must be no others, and the order must be the same."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.events) >= len(events), ANSWER_SECONDS_MAX)
            seen, self.events = self.events, []
        equal(seen, list(events))

    def quit(self):
        self.process.stdin.write("quit\n")
        status = self.process.wait(ANSWER_SECONDS_MAX)
        equal(status, 0)

    def kill(self):
        self.process.kill()
        self.process.wait()


def java(jars):
    return ["java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp", f"{jars}/*",
            "org.apache.zookeeper.ZooKeeperMain"]  # fmt: skip


def equal(have, want):
    assert have == want, f"\n  have {have}\n  want {want}"


def zxid(stat, field):
    return int(stat[field], 16)


def cases(server, jars, cli, other):
    """The cases, in order. `cli` and `other` are two sessions for all of them."""

    def first_commands_of_a_tutorial():
        equal(cli('create /myapp ""'), ["Created /myapp"])
        equal(cli('create /myapp/leader_election "election root"'), ["Created /myapp/leader_election"])
        equal(cli("ls /"), ["[myapp, zookeeper]"])
        equal(cli("ls /myapp"), ["[leader_election]"])
        equal(cli("ls -R /myapp"), ["/myapp", "/myapp/leader_election"])
        equal(cli("get /myapp"), [])
        equal(cli("get /myapp/leader_election"), ["election root"])
        equal(cli("getAllChildrenNumber /myapp"), ["1"])

    def a_new_znode_has_zookeepers_stat():
        lines, child = cli.stat("get -s /myapp/leader_election")
        equal(lines, ["election root"])
        _, parent = cli.stat("stat /myapp")
        equal(list(child), ["cZxid", "ctime", "mZxid", "mtime", "pZxid", "cversion", "dataVersion", "aclVersion",
                            "ephemeralOwner", "dataLength", "numChildren"])  # fmt: skip
        equal((child["dataLength"], parent["dataLength"]), ("13", "0"))
        equal((child["numChildren"], parent["numChildren"]), ("0", "1"))
        equal((child["cversion"], parent["cversion"]), ("0", "1"))
        equal(zxid(child, "cZxid"), zxid(parent, "cZxid") + 1)
        equal(zxid(parent, "pZxid"), zxid(child, "cZxid"))
        equal({child[field] for field in ("mZxid", "pZxid")}, {child["cZxid"]})
        equal(child["ctime"], child["mtime"])
        equal(child["ephemeralOwner"], "0x0")

    def errors_have_zookeepers_texts():
        equal(cli("create /myapp"), ["Node already exists: /myapp"])
        equal(cli("create /nowhere/child"), ["Node does not exist: /nowhere/child"])
        equal(cli("get /nowhere"), ["Node does not exist: /nowhere"])
        equal(cli("delete /nowhere"), ["Node does not exist: /nowhere"])
        equal(cli("delete /myapp"), ["Node not empty: /myapp"])

    def set_and_delete_check_the_version():
        cli("create /versions one")
        equal(cli("set /versions two"), [])
        _, stat = cli.stat("set -s -v 1 /versions three")
        equal((stat["dataVersion"], stat["dataLength"]), ("2", "5"))
        equal(cli("set -v 1 /versions four"), ["version No is not valid : /versions"])
        equal(cli("get /versions"), ["three"])
        equal(cli("delete -v 1 /versions"), ["version No is not valid : /versions"])
        equal(cli("delete -v 2 /versions"), [])
        equal(cli("get /versions"), ["Node does not exist: /versions"])

    def sequence_numbers_count_creates_below_the_parent():
        cli("create /queue")
        equal(cli("create -s /queue/n_"), ["Created /queue/n_0000000000"])
        equal(other("create -s /queue/n_"), ["Created /queue/n_0000000001"])
        equal(cli("delete /queue/n_0000000001"), [])
        equal(cli("create -s /queue/n_"), ["Created /queue/n_0000000002"])
        equal(cli("ls /queue"), ["[n_0000000000, n_0000000002]"])

    def add_watch_gets_events_of_another_session():
        cli("create /watched")
        equal(cli("addWatch /watched"), [])
        other("create /watched/child one")
        other("set /watched/child two")
        other("create /watched/child/deep")
        other("deleteall /watched/child")
        other("set /watched x")
        # ZooKeeperMain's default mode is PERSISTENT_RECURSIVE: no NodeChildrenChanged, every node below.
        cli.expect_events(
            ("NodeCreated", "/watched/child"),
            ("NodeDataChanged", "/watched/child"),
            ("NodeCreated", "/watched/child/deep"),
            ("NodeDeleted", "/watched/child/deep"),
            ("NodeDeleted", "/watched/child"),
            ("NodeDataChanged", "/watched"),
        )
        equal(cli("removewatches /watched"), [])
        cli.expect_events(("PersistentWatchRemoved", "/watched"))
        other("set /watched y")
        # An event for `y` would come before this answer.
        equal(cli("get /watched"), ["y"])
        cli.expect_events()

    def persistent_watch_gets_events_of_children_only():
        cli("create /flat")
        equal(cli("addWatch -m PERSISTENT /flat"), [])
        other("create /flat/child")
        other("create /flat/child/deep")
        other("set /flat x")
        cli.expect_events(("NodeChildrenChanged", "/flat"), ("NodeDataChanged", "/flat"))
        cli("removewatches /flat")
        cli.expect_events(("PersistentWatchRemoved", "/flat"))

    def a_watch_of_get_and_ls_fires_once():
        cli("create /once")
        cli("get -w /once")
        cli("ls -w /once")
        other("set /once x")
        other("set /once y")
        other("create /once/a")
        other("create /once/b")
        equal(cli("get /once"), ["y"])
        cli.expect_events(("NodeDataChanged", "/once"), ("NodeChildrenChanged", "/once"))

    def ephemerals_end_with_their_session():
        cli("create /workers")
        guest = Cli(server.address, jars)
        try:
            equal(guest("create -e /workers/guest here"), ["Created /workers/guest"])
            equal(guest("create -e -s /workers/guest-"), ["Created /workers/guest-0000000001"])
            equal(guest("create /workers/guest/child"), ["Ephemerals cannot have children: /workers/guest/child"])
            lines = guest("getEphemerals")
            equal(sorted(lines[0].strip("[]").split(", ")), ["/workers/guest", "/workers/guest-0000000001"])
            equal(guest("getEphemerals /elsewhere"), ["[]"])
            equal(cli("getEphemerals"), ["[]"])
            _, stat = cli.stat("stat /workers/guest")
            assert stat["ephemeralOwner"] != "0x0", stat
            guest.quit()
        finally:
            guest.kill()
        equal(cli("ls /workers"), ["[]"])

    def containers_and_ttl_nodes_are_created():
        equal(cli("create -c /container"), ["Created /container"])
        equal(cli("create -c /container/child"), ["Created /container/child"])
        equal(cli("create -t 600000 /with-ttl"), ["Created /with-ttl"])
        assert re.fullmatch(r"Created /with-ttl-\d{10}", cli("create -s -t 600000 /with-ttl-")[0])
        for path in ("/container", "/with-ttl"):
            _, stat = cli.stat(f"stat {path}")
            # Clients do not see the kind of the znode, which the server stores in its owner.
            equal(stat["ephemeralOwner"], "0x0")

    def quotas_are_set_listed_enforced_and_deleted():
        limits = "absolute path is /zookeeper/quota/limited/zookeeper_limits"
        cli("create /limited 12345")
        equal(cli("listquota /limited"), [limits, "quota for /limited does not exist."])
        equal(cli("setquota -n 20 /limited"), [])
        equal(cli("setquota -b 100 /limited"), [])
        equal(cli("setquota -N 3 /limited"), [])
        equal(cli("listquota /limited"), [
            limits,
            "Output quota for /limited count=20,bytes=100=;byteHardLimit=-1;countHardLimit=3",
            "Output stat for /limited count=1,bytes=5",
        ])  # fmt: skip
        equal(cli("create /limited/second abc"), ["Created /limited/second"])
        equal(cli("create /limited/third"), ["Created /limited/third"])
        equal(cli("create /limited/fourth"), ["Quota has exceeded : /limited/fourth"])
        equal(cli("listquota /limited")[2], "Output stat for /limited count=3,bytes=8")
        equal(cli("delquota -N /limited"), [])
        equal(cli("create /limited/fourth"), ["Created /limited/fourth"])
        equal(cli("delquota /limited"), [])
        equal(cli("listquota /limited"), [limits, "quota for /limited does not exist."])

    def acls_are_shown_changed_and_enforced():
        cli("create /guarded")
        equal(cli("getAcl /guarded"), ["'world,'anyone", ": cdrwa"])
        _, stat = cli.stat("setAcl -s /guarded world:anyone:ra")
        equal(stat["aclVersion"], "1")
        lines, stat = other.stat("getAcl -s /guarded")
        equal((lines, stat["aclVersion"]), (["'world,'anyone", ": ra"], "1"))
        equal(cli("set /guarded x"), ["Insufficient permission : /guarded"])
        equal(cli("create /guarded/child"), ["Insufficient permission : /guarded/child"])
        equal(cli("setAcl -v 0 /guarded world:anyone:cdrwa"), ["version No is not valid : /guarded"])
        equal(cli("setAcl -v 1 /guarded world:anyone:cdrwa"), [])
        equal(cli("set /guarded x"), [])

    def digest_users_read_their_own_znodes():
        owner = Cli(server.address, jars)
        try:
            equal(owner("whoami"), ["Auth scheme: User", "ip: 127.0.0.1"])
            equal(owner("addauth digest alice:secret"), [])
            # The ids are a set without an order.
            equal(sorted(owner("whoami")), ["Auth scheme: User", "digest: alice", "ip: 127.0.0.1"])
            equal(owner('create /private "top secret" auth::cdrwa'), ["Created /private"])
            equal(owner("getAcl /private"), ["'digest,'alice:aYXlLOpEooaV1cRAvUL1fp9Qt7E=", ": cdrwa"])
            equal(owner("get /private"), ["top secret"])
            equal(cli("get /private"), ["Insufficient permission : /private"])
            owner.quit()
        finally:
            owner.kill()

    def deleteall_deletes_the_whole_subtree():
        for path in ("/tree", "/tree/a", "/tree/a/b", "/tree/c"):
            cli(f"create {path}")
        equal(cli("deleteall /tree"), [])
        equal(cli("get /tree"), ["Node does not exist: /tree"])

    def sync_version_config_and_reconfig_answer():
        equal(cli("sync /"), ["Sync is OK"])
        assert cli("version")[0].startswith("ZooKeeper CLI version: 3.9.4"), cli("version")
        # On a standalone server the config znode exists and is empty, and reconfiguration is disabled.
        equal(cli("config"), [])
        equal(cli("reconfig -remove 1"), ["KeeperErrorCode = Reconfig is disabled"])
        equal(cli("ls /zookeeper"), ["[config, quota]"])

    def one_command_on_the_command_line_has_an_exit_status():
        for command, status in ((["ls", "/"], 0), (["get", "/nowhere"], 1)):
            run = subprocess.run(java(jars) + ["-server", server.address, *command], capture_output=True,
                                 timeout=support.START_SECONDS_MAX)  # fmt: skip
            equal(run.returncode, status)

    return [case for name, case in locals().items() if callable(case) and name not in ("cli", "other")]


def main():
    options = support.arguments(__doc__).parse_args()
    jars = os.environ.get("ZKFAST_ZOOKEEPER_LIB") or support.installed("zookeeper")
    settings = {"extendedTypesEnabled": "true", "enforceQuota": "true"}
    with support.scratch("zkcli") as folder, support.Server(options.server, folder, **settings) as server:
        sessions = []
        try:
            for _ in range(2):
                sessions.append(Cli(server.address, jars))
            support.run_cases(cases(server, jars, *sessions), folder)
        finally:
            for session in sessions:
                session.kill()


if __name__ == "__main__":
    main()
