#!/usr/bin/env python3
"""`zkfast log` and `zkfast snapshot` say of ZooKeeper's files what ZooKeeper's own tools say.

    tests/compat/offline.py

A server of Apache ZooKeeper, alone in its ensemble, gets every type of txn, and is started again for a snapshot of each
compression. The tools are TxnLogToolkit, SnapshotFormatter, SnapshotComparer and SnapshotRecursiveSummary; what they print
is parsed and compared.
"""

import base64
import collections
import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402

ZKFAST = os.environ.get("ZKFAST_BIN", support.TARGET / "release/zkfast")
# Sessions outlive restarts of the server.
SESSION_S = 600
# How often ZooKeeper looks for containers without children, and for znodes whose time is over.
CONTAINER_CHECK_MS = 200
TTL_MS = 300
# Of each txn a tool of ZooKeeper's prints this first. Data may have lines of its own.
TXN = re.compile(
    r"^(?:(?P<mark>CRC ERROR) - )?(?P<time>\d+/\d+/\d+, \d+:\d+:\d+\s[AP]M \w+) session 0x(?P<session>[0-9a-f]+) "
    r"cxid 0x(?P<cxid>[0-9a-f]+) zxid 0x(?P<zxid>[0-9a-f]+) (?P<type>\w+) ",
    re.MULTILINE,
)
# Types of which ZooKeeper prints the path up to the first comma.
WITH_COMMA = {"create", "create2", "createContainer", "createTTL", "setData", "reconfig"}
EVERY_TYPE = WITH_COMMA | {"delete", "deleteContainer", "setACL", "multi", "createSession", "closeSession", "error"}
STAT_FIELDS = {
    "cZxid": "czxid", "mZxid": "mzxid", "pZxid": "pzxid", "cversion": "cversion", "dataVersion": "version",
    "aclVersion": "aversion", "ephemeralOwner": "owner",
}  # fmt: skip

Txn = collections.namedtuple("Txn", "zxid session cxid second type path")


def java(jars, name, *arguments, properties=(), status=0):
    """What a class of ZooKeeper's prints."""
    run = subprocess.run(
        ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8",
         "-Duser.timezone=UTC", "-Duser.language=en", "-Duser.country=US", *properties,
         "-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp", f"{jars}/*",
         f"org.apache.zookeeper.{name}", *map(str, arguments)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip
    assert run.returncode == status, f"{name} ended with {run.returncode}: {run.stderr[-2000:]}"
    return run.stdout


def zkfast(*arguments, status=0):
    """The objects that zkfast prints."""
    run = subprocess.run([ZKFAST, *map(str, arguments), "--json"], stdin=subprocess.DEVNULL, capture_output=True)
    assert run.returncode == status, f"{arguments} ended with {run.returncode}: {run.stderr.decode()[-2000:]}"
    return [json.loads(line) for line in run.stdout.decode().splitlines()]


def equal(have, want, what):
    """Asserts that two mappings or lists are equal, and shows a few differences."""
    if isinstance(want, list):
        have, want = dict(enumerate(have)), dict(enumerate(want))
    differing = [key for key in want.keys() | have.keys() if have.get(key) != want.get(key)]
    shown = "".join(f"\n  {key}:\n    zkfast    {have.get(key)}\n    ZooKeeper {want.get(key)}" for key in differing[:5])
    assert not differing, f"{what}: {len(differing)} of {len(want)} differ{shown}"


class Traffic:
    """A server of ZooKeeper, and clients that make every type of txn."""

    def __init__(self, folder, jars):
        self.folder, self.jars, self.left = folder, jars, None
        quorum = support.free_port(5)
        election, observer = quorum + 1, quorum + 2
        words = [
            "java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8",
            "-Dzookeeper.preAllocSize=100", "-Dzookeeper.extendedTypesEnabled=true", "-Dzookeeper.skipACL=yes",
            f"-Dznode.container.checkIntervalMs={CONTAINER_CHECK_MS}", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        ]  # fmt: skip
        main = ["-cp", f"{jars}/*", "org.apache.zookeeper.server.quorum.QuorumPeerMain", "{config}"]
        self.words, self.main = words, main
        self.server = support.Server(" ".join(words + main), folder, **{
            "server.1": f"127.0.0.1:{quorum}:{election};127.0.0.1:__port__", "initLimit": 10, "syncLimit": 5,
            "standaloneEnabled": "false", "reconfigEnabled": "true", "maxSessionTimeout": 1000 * SESSION_S,
        })  # fmt: skip
        config = self.server.config.read_text().replace("__port__", str(self.server.port))
        config = "".join(line for line in config.splitlines(True) if not line.startswith("clientPort="))
        self.server.config.write_text(config)
        (folder / "data/myid").write_text("1\n")
        self.observer = f"server.2=127.0.0.1:{observer}:{observer + 1}:observer;127.0.0.1:{observer + 2}"

    @property
    def version_2(self):
        return self.folder / "data/version-2"

    def run(self, compression, *work):
        """Starts the server with a compression of snapshots, runs functions, and stops it. It takes a snapshot as it starts."""
        words = [*self.words, f"-Dzookeeper.snapshot.compression.method={compression}", *self.main]
        self.server.words = support.server_command(" ".join(words))
        with self.server as server:
            support.wait_until(
                lambda: "Mode: leader" in server.four_letter_word("srvr"), support.START_SECONDS_MAX, "it leads")
            for function in work:
                function()
        if self.left:
            # The server is gone, so the session stays.
            self.left.stop()
            self.left = None

    def client(self):
        from kazoo.client import KazooClient

        client = KazooClient(self.server.address, timeout=SESSION_S)
        client.start(support.ANSWER_SECONDS_MAX)
        return client

    def cli(self, *words):
        """One command of zkCli."""
        java(self.jars, "ZooKeeperMain", "-server", self.server.address, *words)

    def every_type(self):
        from kazoo.exceptions import KazooException
        from kazoo.security import make_acl, make_digest_acl

        client = self.client()
        for path in ("/a", "/a/b", "/a/b/c", "/deep/er/and/deeper", "/großes €"):
            client.create(path, f"of {path}".encode(), makepath=True)
        client.create("/a/listed", b"x", acl=[make_digest_acl("bob", "secret", all=True), make_acl("world", "anyone", read=True)])
        for number in range(30):
            client.create("/a/queue-", b"q" * number, sequence=True)
        client.create("/empty", b"")
        client.create("/with-stat", b"s", include_data=True)
        client.create("/large", bytes(range(32, 126)) * 1000)
        for number in range(10):
            client.set("/a/b", b"set %d" % number)
        client.set_acls("/a/b/c", [make_acl("ip", "127.0.0.1", all=True)])
        client.delete("/a/queue-0000000003")
        transaction = client.transaction()
        transaction.create("/multi", b"m")
        transaction.create("/multi/gone", b"m", ephemeral=True)
        transaction.set_data("/a", b"in a multi")
        transaction.check("/a/b", 10)
        transaction.delete("/multi/gone")
        assert not [answer for answer in transaction.commit() if isinstance(answer, Exception)]
        transaction = client.transaction()
        transaction.create("/never", b"n")
        transaction.delete("/absent")
        transaction.commit()
        for fails in (lambda: client.create("/a"), lambda: client.delete("/a"), lambda: client.set("/a", b"", 99)):
            try:
                fails()
            except KazooException:
                continue
            raise AssertionError("a request that must fail did not")
        self.cli("create", "-c", "/container", "c")
        self.cli("create", "-t", str(TTL_MS), "/ttl", "t")
        self.cli("create", "-t", "86400000", "/ttl-stays", "t")
        self.cli("create", "-c", "/container-stays", "c")
        self.cli("reconfig", "-add", self.observer)
        client.create("/container/child")
        client.delete("/container/child")
        for path in ("/container", "/ttl"):
            support.wait_until(lambda path=path: not client.exists(path), support.ANSWER_SECONDS_MAX, f"{path} goes")
        client.create("/gone", ephemeral=True)
        client.stop()
        self.left = self.client()
        self.left.create("/stays", b"e", ephemeral=True)
        self.left.create("/a/stays-", b"e", ephemeral=True, sequence=True)

    def more(self):
        client = self.client()
        client.create("/later", b"l" * 500)
        client.create("/later/below", b"l" * 20)
        client.set("/a/b", b"longer than it was before")
        client.delete("/deep", recursive=True)
        client.stop()


def files(folder, prefix):
    """Files of a folder in the order of the zxids in their names."""
    return sorted(folder.glob(prefix + ".*"), key=lambda path: int(path.name.split(".")[1], 16))


def txns_of_java(jars, path):
    """The txns that TxnLogToolkit prints, and of each what follows the header; marked ones apart."""
    text = java(jars, "server.persistence.TxnLogToolkit", "-d", path)
    found = list(TXN.finditer(text))
    txns, rests, marked = [], [], []
    for match, following in zip(found, found[1:] + [None]):
        rest = text[match.end() : following.start() if following else len(text)]
        moment = datetime.datetime.strptime(re.sub(r"\s", " ", match["time"]), "%m/%d/%y, %I:%M:%S %p %Z")
        second = int(moment.replace(tzinfo=datetime.timezone.utc).timestamp())
        path = rest.split(",")[0] if match["type"] in WITH_COMMA else None
        txn = Txn(int(match["zxid"], 16), int(match["session"], 16), int(match["cxid"], 16) & 0xFFFFFFFF, second,
                  match["type"], path)  # fmt: skip
        if match["mark"]:
            marked.append(txn)
        else:
            txns.append(txn)
            rests.append(rest)
    assert txns, f"no txn in {text[:500]!r}"
    return txns, rests, marked


def txns_of_zkfast(rows):
    return [
        Txn(int(row["zxid"], 16), int(row["session"], 16), int(row["cxid"], 16), row["time_ms"] // 1000, row["type"],
            row.get("path") if row["type"] in WITH_COMMA else None)
        for row in rows
    ]  # fmt: skip


def znodes_of_java(jars, path):
    """What SnapshotFormatter prints: znodes by path, and sessions."""
    text = java(jars, "server.SnapshotFormatter", "-d", path)
    tree, sessions = text.split("Session Details (sid, timeout, ephemeralCount):\n")
    znodes = {}
    for block in tree.split("----\n")[1:]:
        lines = block.splitlines()
        if not lines:
            continue
        fields = {name: value for name, _, value in (line.lstrip().partition(" = ") for line in lines[1:])}
        znode = {ours: int(fields[theirs], 0) for theirs, ours in STAT_FIELDS.items()}
        znode["data"] = fields["data"]
        for theirs, ours in (("ctime", "ctime_ms"), ("mtime", "mtime_ms")):
            moment = datetime.datetime.strptime(fields[theirs], "%a %b %d %H:%M:%S UTC %Y")
            znode[ours] = int(moment.replace(tzinfo=datetime.timezone.utc).timestamp())
        znodes[lines[0]] = znode
    found = re.findall(r"^(0x[0-9a-f]+), (\d+), (\d+)$", sessions, re.MULTILINE)
    return znodes, {int(sid, 16): (int(timeout), int(count)) for sid, timeout, count in found}


def znodes_of_zkfast(path):
    rows = zkfast("snapshot", "show", path, "--data")
    znodes = {}
    for row in (row for row in rows if row["record"] == "znode"):
        znode = {ours: row[ours] for ours in STAT_FIELDS.values()}
        znode = {key: int(value, 0) if isinstance(value, str) else value for key, value in znode.items()}
        znode["data"] = row["data"] or ""
        znode |= {key: row[key] // 1000 for key in ("ctime_ms", "mtime_ms")}
        znodes[row["path"]] = znode
        assert len(base64.b64decode(znode["data"])) == row["bytes"], row
    sessions = (row for row in rows if row["record"] == "session")
    return znodes, {int(row["session"], 16): (row["timeout_ms"], row["ephemerals"]) for row in sessions}


def entries(bytes_of_log):
    """Where the entries of a log begin, and their lengths without the frame."""
    at, found = 16, []
    while length := int.from_bytes(bytes_of_log[at + 8 : at + 12], "big"):
        found.append((at, length))
        at += 12 + length + 1
    return found


def log_cases(jars, logs, folder):
    """The cases about logs."""

    def every_txn_is_listed_as_txnlogtoolkit_lists_it():
        types = set()
        for path in logs:
            want, rests, marked = txns_of_java(jars, path)
            assert not marked
            rows = zkfast("log", "list", path)
            equal(txns_of_zkfast(rows), want, path.name)
            types |= {txn.type for txn in want}
            for row, rest in zip(rows, rests):
                # Forms of its own, of which the path is a part.
                parts = [row, *row.get("txns", [])]
                names = [part["path"] for part in parts if "path" in part] + row.get("paths", [])
                missing = [name for name in names if name not in rest]
                assert not missing, f"{row} names {missing}, ZooKeeper prints {rest!r}"
                for part in row.get("txns", []):
                    assert part["type"] + ":" in rest, f"{row} holds {part}, ZooKeeper prints {rest!r}"
                if row["type"] == "error":
                    assert str(row["code"]) in rest, f"{row}, ZooKeeper prints {rest!r}"
        equal(dict.fromkeys(types, True), dict.fromkeys(EVERY_TYPE, True), "types in the log")

    def a_directory_is_the_files_in_order():
        want = [row for path in logs for row in zkfast("log", "list", path)]
        equal(zkfast("log", "list", logs[0].parent), want, "the directory")
        assert all(row["state"] == "sound" for row in zkfast("log", "verify", logs[0].parent))

    def a_wrong_checksum_is_seen_and_repaired_alike():
        path = folder / logs[0].name
        bytes_of_log = bytearray(logs[0].read_bytes())
        found = entries(bytes_of_log)
        at, length = next((at, length) for at, length in found[len(found) // 2 :] if length > 100)
        # In its time, so that the entry can still be read.
        bytes_of_log[at + 12 + 27] ^= 1
        path.write_bytes(bytes_of_log)
        _, _, marked = txns_of_java(jars, path)
        rows = zkfast("log", "list", path, status=1)
        equal(txns_of_zkfast([row for row in rows if "damaged" in row]), marked, "entries with a wrong checksum")
        assert len(marked) == 1 and len(rows) == len(found)
        verified = zkfast("log", "verify", path, status=1)
        assert [damage["offset"] for damage in verified[0]["damages"]] == [at], verified
        java(jars, "server.persistence.TxnLogToolkit", "-r", "-y", path)
        zkfast("log", "recover", path, "--out", folder / "fixed", "--fix-checksums")
        theirs = (folder / (path.name + ".fixed")).read_bytes()
        assert (folder / "fixed").read_bytes() == theirs.rstrip(b"\0"), "the repaired files differ"
        zkfast("log", "recover", path, "--out", folder / "cut")
        assert (folder / "cut").read_bytes() == bytes_of_log[:at], "it is not cut before the damage"

    def a_log_is_chopped_alike():
        path = folder / "chop"
        shutil.copy(logs[0], path)
        txns, _, _ = txns_of_java(jars, path)
        zxid = txns[len(txns) // 3].zxid
        java(jars, "server.persistence.TxnLogToolkit", "-c", "-z", zxid, path)
        zkfast("log", "recover", path, "--out", folder / "chopped", "--through", hex(zxid))
        assert (folder / "chopped").read_bytes() == (folder / f"chop.chopped{zxid}").read_bytes()

    def a_cut_tail_is_torn_and_not_damaged():
        path = folder / "torn"
        bytes_of_log = logs[0].read_bytes()
        at, length = entries(bytes_of_log)[-1]
        path.write_bytes(bytes_of_log[: at + length // 2])
        shutil.move(path, folder / "log.1")
        row = zkfast("log", "verify", folder / "log.1")[0]
        assert (row["state"], row["torn_at"], row["damages"]) == ("torn", at, []), row

    return [every_txn_is_listed_as_txnlogtoolkit_lists_it, a_directory_is_the_files_in_order,
            a_wrong_checksum_is_seen_and_repaired_alike, a_log_is_chopped_alike,
            a_cut_tail_is_torn_and_not_damaged]  # fmt: skip


def summary_of_java(jars, path, start, depth):
    text = java(jars, "server.SnapshotRecursiveSummary", path, start, depth)
    found = re.findall(r"^(?:--)* (/.*)\n(?:--)*   children: (\d+)\n(?:--)*   data: (\d+)$", text, re.MULTILINE)
    return {name: (int(count), int(size)) for name, count, size in found}


def comparison_of_java(jars, left, right, size, count):
    text = java(jars, "server.SnapshotComparer", "-l", left, "-r", right, "-b", size, "-n", count)
    found = {}
    for line in text.splitlines():
        one = re.fullmatch(r"Node (.*) found only in (left|right) tree. Descendant size: (\d+). Descendant count: (\d+)", line)
        both = re.fullmatch(r"Node (.*) found in both trees. Delta: (-?\d+) bytes, (-?\d+) descendants", line)
        if one:
            sign = -1 if one[2] == "left" else 1
            found[one[1] or "/"] = (sign * int(one[3]), sign * int(one[4]))
        elif both:
            found[both[1] or "/"] = (int(both[2]), int(both[3]))
    return found


def snapshot_cases(jars, data, snapshots, folder):
    """The cases about snapshots."""

    def every_compression_is_known():
        kinds = {row["kind"] for row in zkfast("snapshot", "list", *snapshots)}
        assert kinds == {"zookeeper", "zookeeper-gz", "zookeeper-snappy"}, kinds
        assert all(row["state"] == "sound" for row in zkfast("snapshot", "verify", data))

    def every_znode_is_shown_as_snapshotformatter_shows_it():
        for path in snapshots:
            znodes, sessions = znodes_of_java(jars, path)
            have, have_sessions = znodes_of_zkfast(path)
            equal(have, znodes, path.name)
            equal(have_sessions, sessions, f"sessions of {path.name}")
        assert len(znodes) > 40 and len(sessions) > 0, (len(znodes), sessions)

    def subtrees_are_summed_up_as_snapshotrecursivesummary_does():
        for start, depth in (("/", 0), ("/", 1), ("/a", 0), ("/a", 1)):
            rows = zkfast("snapshot", "summary", snapshots[-1], "--path", start, "--depth", depth)
            have = {row["path"]: (row["descendants"], row["bytes"]) for row in rows}
            want = summary_of_java(jars, snapshots[-1], start, depth)
            assert want, "ZooKeeper prints nothing"
            equal(have, want, f"{start}, depth {depth}")

    def differences_are_those_of_snapshotcomparer():
        for size, count in ((0, 0), (100, 3), (10, 1000000)):
            rows = zkfast("snapshot", "compare", snapshots[0], snapshots[-1], "--bytes", size, "--nodes", count, status=1)
            have = {row["path"]: (row["bytes"], row["descendants"]) for row in rows}
            want = comparison_of_java(jars, snapshots[0], snapshots[-1], size, count)
            assert want, "ZooKeeper finds nothing"
            equal(have, want, f"more than {size} bytes or {count} znodes")

    def an_import_differs_in_nothing():
        target = folder / "imported"
        subprocess.run([ZKFAST, "import", "--extended-types", data, target], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)  # fmt: skip
        rows = zkfast("snapshot", "compare", snapshots[-1], target)
        assert rows == [], rows

    def a_flipped_bit_is_found():
        for path in (snapshots[0], snapshots[-1]):
            changed = bytearray(path.read_bytes())
            changed[len(changed) // 2] ^= 8
            copy = folder / path.name
            copy.write_bytes(changed)
            zkfast("snapshot", "verify", copy, status=1)

    return [every_compression_is_known, every_znode_is_shown_as_snapshotformatter_shows_it,
            subtrees_are_summed_up_as_snapshotrecursivesummary_does, differences_are_those_of_snapshotcomparer,
            an_import_differs_in_nothing, a_flipped_bit_is_found]  # fmt: skip


def main():
    support.use_environment()
    support.arguments(__doc__).parse_args()
    jars = os.environ.get("ZKFAST_ZOOKEEPER_LIB") or support.installed("zookeeper")
    with support.scratch("offline") as folder:
        copies = folder / "copies"
        copies.mkdir()
        begun = time.monotonic()
        traffic = Traffic(folder, jars)
        traffic.run("", traffic.every_type)
        traffic.run("gz", traffic.more)
        traffic.run("snappy")
        traffic.run("")
        print(f"       traffic took {time.monotonic() - begun:.1f} s", flush=True)
        logs = files(traffic.version_2, "log")
        # The first one is of the empty tree.
        snapshots = files(traffic.version_2, "snapshot")[1:]
        assert len(logs) >= 2 and len(snapshots) >= 3, (logs, snapshots)
        cases = log_cases(jars, logs, copies) + snapshot_cases(jars, folder / "data", snapshots, copies)
        support.run_cases(cases, folder)


if __name__ == "__main__":
    main()
