#!/usr/bin/env python3
"""Each command of the AdminServer, beside Apache ZooKeeper's in the same state: names, types, values, status codes.

Both servers run alone, then as leader, follower and observer of an ensemble of three. On each a client has a session, an
ephemeral, a watch and a write. The test asks every command by every name, with right and wrong parameters, by every method,
and paths that are no command. Then, for each role and request:

- the status codes are equal, but for those in STATUSES;
- the JSON has the same names and types at every depth, but for those in NAMES; names that are data (session ids, paths,
  times) are counted as one;
- of commands in VALUES the values are equal, too, once ports and folders are made the same.

A member that has no leader is asked as well.

    tests/compat/admin.py                          both servers
    tests/compat/admin.py --show alone monitor     prints both answers of one role and command
"""

import contextlib
import http.client
import json
import pathlib
import re
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402

support.use_environment()

from kazoo.client import KazooClient  # noqa: E402

ANSWER_SECONDS_MAX = 60
PAGE = support.ROOT / "src/docs/four-letter-words.md"

# Commands with their aliases, as `Commands` registers them in 3.9.4.
COMMANDS = {
    "configuration": ["conf", "config"],
    "connections": ["cons"],
    "hash": [],
    "dirs": [],
    "dump": [],
    "environment": ["env", "envi"],
    "get_trace_mask": ["gtmk"],
    "initial_configuration": ["icfg"],
    "is_read_only": ["isro"],
    "last_snapshot": ["lsnp"],
    "leader": ["lead"],
    "monitor": ["mntr"],
    "observer_connection_stat_reset": ["orst"],
    "observers": ["obsr"],
    "ruok": [],
    "server_stats": ["srvr"],
    "set_trace_mask": ["stmk"],
    "stats": ["stat"],
    "system_properties": ["sysp"],
    "voting_view": [],
    "watch_summary": ["wchs"],
    "watches": ["wchc"],
    "watches_by_path": ["wchp"],
    "zabstate": [],
    "connection_stat_reset": ["crst"],
    "stat_reset": ["srst"],
}
# What is asked beside each name: queries, and names that are none.
OTHERS = [
    "set_trace_mask?traceMask=307",
    "set_trace_mask?traceMask=306&traceMask=1",
    "set_trace_mask?traceMask=x",
    "set_trace_mask?tracemask=306",
    "set_trace_mask?traceMask=%33%30%36",
    "set_trace_mask?traceMask=99999999999999999999",
    "nope",
    "RUOK",
    "ruok/",
    "/ruok",
    "%72uok",
    "ruok;x=1",
    "a%22b%0Ac",
]
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"]

# Status codes that differ: method, request, ZooKeeper's, zkfast's, reason.
STATUSES = [
    ("POST", r"(?!nope).*", 500, 405, "Java ends in a NullPointerException: a GET command has no answer to POST"),
]

# Names that one side lacks: command, path of the name, reason. The path is made of names and of * for any element.
NAMES = [
    ("system_properties", r"(java\.|sun\.|jdk\.|native\.|user\.(language|country|timezone|variant)|file\.encoding).*",
     "a JVM's own"),
    ("system_properties", r"org\.slf4j\..*", "of the command line that starts Java"),
    ("system_properties", r"zookeeper\.(jmx\.log4j\.disable|preAllocSize)", "of the command line that starts Java"),
    ("system_properties", r"jetty\.git\.hash", "a library's own"),
    ("initial_configuration", r"initial_configuration", "Java gives it to a standalone server only"),
    ("monitor", r"fsync_threshold_exceed_count", "added: Java has it in server_stats only"),
    ("monitor", r"connections_shed", "added: 3.9 sheds none"),
    ("monitor", r"(avg|min|max|cnt|sum)_zookeeper_write_per_namespace", "Java counts what it replays at its start"),
]  # fmt: skip

# Commands whose values are equal once ports and folders are made the same; their members that are not are in the set.
VALUES = {
    # The folders have other names: the formats are others.
    "configuration": {"data_dir", "data_log_dir"},
    "get_trace_mask": set(),
    "initial_configuration": set(),
    "is_read_only": set(),
    "leader": set(),
    "observer_connection_stat_reset": set(),
    "ruok": set(),
    "set_trace_mask": set(),
    "voting_view": set(),
    "watch_summary": set(),
    "zabstate": {"last_zxid", "zab_epoch", "zab_counter"},
    "connection_stat_reset": set(),
    "stat_reset": set(),
}
# Names below these are data.
MAPS = {"expiry_time_to_session_ids", "session_id_to_ephemeral_paths", "session_id_to_watched_paths", "path_to_session_ids"}


class Servers:
    """A standalone server, or an ensemble whose last server is an observer; HTTP and clients on ports of their own. `more`
    are keys of zoo.cfg."""

    def __init__(self, command, folder, count, **more):
        self.words, self.folder = support.server_command(command), folder
        # Of clients, HTTP, followers and the election.
        self.ports = {sid: support.free_port(4) for sid in range(1, count + 1)}
        self.processes = {}
        for sid, port in self.ports.items():
            data = folder / str(sid) / "data"
            data.mkdir(parents=True)
            keys = {
                "tickTime": 1000,
                "initLimit": 40,
                "syncLimit": 20,
                "dataDir": data,
                "clientPort": port,
                "clientPortAddress": "127.0.0.1",
                "admin.serverAddress": "127.0.0.1",
                "admin.serverPort": port + 1,
                "4lw.commands.whitelist": "*",
                "snapCount": 12345,
                "my.own.key": "1",
                **more,
            }
            if count > 1:
                (data / "myid").write_text(str(sid))
                for other, at in self.ports.items():
                    role = "observer" if other == count else "participant"
                    keys[f"server.{other}"] = f"127.0.0.1:{at + 2}:{at + 3}:{role};127.0.0.1:{at}"
                del keys["clientPort"], keys["clientPortAddress"]
                if sid == count:
                    keys["peerType"] = "observer"
            (folder / str(sid) / "zoo.cfg").write_text("".join(f"{key}={value}\n" for key, value in keys.items()))

    def __enter__(self):
        try:
            self.start(*self.ports)
            for sid in self.ports:
                support.wait_until(lambda: self.serves(sid), support.START_SECONDS_MAX, f"server {sid} serves")
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self, *sids):
        for sid in sids:
            with open(self.folder / str(sid) / "server.log", "ab") as log:
                words = support.on_config(self.words, self.folder / str(sid) / "zoo.cfg")
                self.processes[sid] = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def stop(self, *sids):
        for sid in sids:
            self.processes[sid].send_signal(signal.SIGTERM)
            self.processes.pop(sid).wait(support.STOP_SECONDS_MAX)

    def __exit__(self, *_):
        for process in self.processes.values():
            process.kill()
            process.wait()

    def serves(self, sid):
        with contextlib.suppress(OSError, ValueError):
            return json.loads(self.ask(sid, "GET", "ruok")[1])["error"] is None
        return False

    def ask(self, sid, method, request, below="/commands/"):
        """Status code and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[sid] + 1, timeout=ANSWER_SECONDS_MAX)
        try:
            connection.request(method, below + request)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def role(self, sid):
        if len(self.ports) == 1:
            return "alone"
        return json.loads(self.ask(sid, "GET", "monitor")[1])["server_state"]

    def named(self, text):
        """Text in which ports and the folder are those that every server could have."""
        text = text.replace(str(self.folder), "FOLDER")
        for sid, port in self.ports.items():
            for at in range(4):
                text = re.sub(rf"\b{port + at}\b", str(90_000 + 10 * sid + at), text)
        return text


def used(servers, sid):
    """A client that has done something on this server; it stays connected."""
    client = KazooClient(f"127.0.0.1:{servers.ports[sid]}", timeout=30)
    client.start(support.START_SECONDS_MAX)
    client.create(f"/a{sid}", b"x")
    client.set(f"/a{sid}", b"y")
    client.create(f"/e{sid}", b"", ephemeral=True)
    client.get(f"/a{sid}", watch=lambda event: None)
    return client


def answers(command, folder):
    """All answers by role, method and request, as status code and body."""
    found = {}
    for count in 1, 3:
        place = folder / str(count)
        place.mkdir()
        with Servers(command, place, count) as servers:
            for sid in servers.ports:
                role = servers.role(sid)
                client = used(servers, sid)
                names = [name for first, others in COMMANDS.items() for name in (first, *others)]
                for request in [*names[:-4], *OTHERS, "snapshot", "restore", *names[-4:]]:
                    status, body = servers.ask(sid, "GET", request)
                    found[role, "GET", request] = status, servers.named(body)
                for request in "ruok", "nope", "stats", "restore", "":
                    for method in METHODS:
                        found[role, method, request] = servers.ask(sid, method, request)[0], ""
                for path in "/commands", "/commandsx", "/nope":
                    found[role, "GET", path] = servers.ask(sid, "GET", path, below="")[0], ""
                client.stop()
                client.close()
            if count > 1:
                looking(servers, found)
    return found


def looking(servers, found):
    """Asks a member that has lost its quorum."""
    servers.stop(2)

    def has_lost():
        return not servers.serves(1)

    support.wait_until(has_lost, support.START_SECONDS_MAX, "server 1 has no leader")
    for request in [*COMMANDS, *OTHERS]:
        # Java's ends in a NullPointerException.
        if request != "monitor":
            found["looking", "GET", request] = servers.ask(1, "GET", request)


def left_out():
    """The metrics that the page lists as left out, as a pattern."""
    section = PAGE.read_text().split("## Names left out")[1]
    names = [name.removeprefix("N_") for name in re.findall(r"`(\w+)`", section)]
    prefix = r"(cnt|sum|avg|min|max|p50|p95|p99|p999)_"
    return re.compile(rf"({prefix})?(\d+_)?({'|'.join(names)})|.*_read_per_namespace")


def shape(value, path=""):
    """The type of each name in a document, by its path."""
    if isinstance(value, dict):
        found = {path: "object"}
        for name, inner in value.items():
            below = "*" if path.rsplit("/", 1)[-1] in MAPS else name
            found |= shape(inner, f"{path}/{below}" if path else below)
        return found
    if isinstance(value, list):
        found = {path: "list"}
        for inner in value:
            found |= shape(inner, f"{path}/*")
        return found
    kinds = {bool: "true or false", int: "whole number", float: "number", str: "text", type(None): "null"}
    return {path: kinds[type(value)]}


def is_listed(command, path):
    return any(command == listed and re.fullmatch(what, path) for listed, what, _ in NAMES)


def primary(request):
    name = request.split("?")[0]
    return next((first for first, others in COMMANDS.items() if name in (first, *others)), name)


def differences(role, method, request, theirs, ours, absent):
    """What differs between two answers, as sentences."""
    (their_status, their_body), (our_status, our_body) = theirs, ours
    if their_status != our_status:
        excused = any(
            re.fullmatch(by, method) and re.fullmatch(what, request) and (java, zkfast) == (their_status, our_status)
            for by, what, java, zkfast, _ in STATUSES
        )
        return [] if excused else [f"status: ZooKeeper {their_status}, zkfast {our_status}"]
    if not their_body or not their_body.startswith("{"):
        return []
    java, zkfast = json.loads(their_body), json.loads(our_body)
    command = primary(request)
    found = []
    their_shape, our_shape = shape(java), shape(zkfast)
    for path in sorted(their_shape.keys() | our_shape.keys()):
        kinds = their_shape.get(path), our_shape.get(path)
        if kinds[0] == kinds[1] or is_listed(command, path):
            continue
        if command == "monitor" and kinds[1] is None and absent.fullmatch(path):
            continue
        found.append(f"{path}: ZooKeeper {kinds[0]}, zkfast {kinds[1]}")
    if command in VALUES:
        for name in java.keys() & zkfast.keys() - VALUES[command]:
            if java[name] != zkfast[name] and not is_listed(command, name):
                found.append(f"{name}: ZooKeeper {java[name]!r}, zkfast {zkfast[name]!r}")
    return found


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("--show", nargs=2, metavar=("ROLE", "COMMAND"))
    options = parser.parse_args()
    both = []
    with support.scratch("admin") as folder:
        for name, command in ("zookeeper", "reference"), ("zkfast", options.server):
            (folder / name).mkdir()
            both.append(answers(command, folder / name))
            print(f"asked  {name} {len(both[-1])} times", flush=True)
        java, zkfast = both
        if options.show:
            role, command = options.show
            for found in both:
                print(found[role, "GET", command][1])
            return
        absent, compared, failed = left_out(), 0, 0
        assert java.keys() == zkfast.keys(), java.keys() ^ zkfast.keys()
        for asked, theirs in java.items():
            compared += 1
            found = differences(*asked, theirs, zkfast[asked], absent)
            failed += bool(found)
            for line in found:
                print(f"{', '.join(asked)}: {line}")
        support.report(compared - failed, failed, 0, folder)


if __name__ == "__main__":
    main()
