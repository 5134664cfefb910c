#!/usr/bin/env python3
"""What servers of an ensemble are beside voter and learner, each case by zkfast and by Apache ZooKeeper: a leader that serves
no client, two servers with an oracle.

    tests/compat/roles.py               all cases
    tests/compat/roles.py --only CASE   one case; `oracle_of_java`, which shows that the case is right, only so
"""

import contextlib
import json
import pathlib
import re
import signal
import socket
import sys
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402

support.use_environment()
import kazoo.client  # noqa: E402

SECONDS_MAX = support.ANSWER_SECONDS_MAX
NOT_SERVING = "This ZooKeeper instance is not currently serving requests"
WORDS = ["ruok", "srvr", "stat", "mntr", "isro", "conf", "cons", "wchs", "dump", "crst", "dirs", "hash"]


class Ensemble(support.Ensemble):
    """Servers by number, each `zkfast` or `java`, with HTTP."""

    def __init__(self, server, folder, kinds, settings, observers=()):
        commands = {sid: server if kind == "zkfast" else "reference" for sid, kind in kinds.items()}
        super().__init__(folder, commands, observers)
        self.kinds, self.settings = kinds, settings
        self.admin = {sid: support.free_port() for sid in kinds}

    def keys_of(self, sid):
        admin = {"admin.enableServer": "true", "admin.serverAddress": "127.0.0.1", "admin.serverPort": self.admin[sid]}
        return admin | {"tickTime": 500} | self.settings

    def begin(self, *sids, **settings):
        for sid in sids or self.kinds:
            self.start(sid, settings)

    def client(self, sid, **settings):
        client = kazoo.client.KazooClient(f"127.0.0.1:{self.ports[sid]}", **{"timeout": 10} | settings)
        client.start(timeout=SECONDS_MAX)
        return client

    def write(self, sid):
        """Writes through a server."""
        client = self.client(sid)
        try:
            client.ensure_path("/written")
            client.set("/written", str(time.monotonic()).encode())
        finally:
            client.stop()
            client.close()

    def http(self, sid, command):
        """What an admin command answers; None where it is refused."""
        url = f"http://127.0.0.1:{self.admin[sid]}/commands/{command}"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)
        return None

    def kill(self, sid):
        process = self.running.pop(sid)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def zxid(self, sid):
        return int(re.search(r"Zxid: 0x([0-9a-f]+)", self.word(sid, "srvr"))[1], 16)


def session_of(port):
    """What a client that connects is told: `served`, or how the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX) as client:
        client.sendall(bytes.fromhex("0000002d" + "00000000" + "00" * 8 + "00002710" + "00" * 8 + "00000010" + "00" * 16 + "00"))
        try:
            return "served" if client.recv(4096) else "closed"
        except ConnectionResetError:
            return "closed"


def leader_without_clients(kind, server, folder):
    """What clients, words and HTTP get from a leader with leaderServes=no, and from the next one."""
    facts = {}
    with Ensemble(server, folder, dict.fromkeys([1, 2, 3], kind), {"leaderServes": "no"}) as ensemble:
        ensemble.begin()

        def hidden():
            roles = {sid: ensemble.role(sid) for sid in ensemble.running}
            unseen = [sid for sid, role in roles.items() if role is None]
            leads = [sid for sid in unseen if (ensemble.http(sid, "leader") or {}).get("is_leader")]
            return leads[0] if len(unseen) == len(leads) == 1 else None

        leader = support.wait_until(hidden, SECONDS_MAX, "two servers serve and one leads")
        follower = next(sid for sid in ensemble.kinds if sid != leader)
        for word in WORDS:
            facts[f"word {word}"] = ensemble.word(leader, word).strip()
        facts["client"] = session_of(ensemble.ports[leader])
        facts["client of a follower"] = session_of(ensemble.ports[follower])
        for command in ["ruok", "srvr", "stats", "leader", "is_read_only", "voting_view", "monitor", "connections"]:
            answer = ensemble.http(leader, command) or {}
            kept = {name: answer.get(name) for name in ["error", "is_leader", "read_only", "server_state", "mode"] if name in answer}
            if "server_stats" in answer:
                kept["server_state"] = answer["server_stats"]["server_state"]
            facts[f"http {command}"] = kept
        ensemble.write(follower)
        ensemble.kill(leader)
        # A follower says that it is one for some time after its leader has died, and may become the next leader.
        leader_now = support.wait_until(hidden, SECONDS_MAX, "the next leader serves nobody")
        ensemble.write(next(sid for sid in ensemble.running if sid != leader_now))
        facts["next leader"] = ensemble.word(leader_now, "srvr").strip()
        ensemble.begin(leader)
        support.wait_until(lambda: ensemble.role(leader) == "follower", SECONDS_MAX, "the former leader serves as a follower")
        facts["mode of a follower"] = ensemble.role(leader)
    return facts


def leader_serves(server, folder):
    facts = {}
    for kind in ["java", "zkfast"]:
        (folder / kind).mkdir()
        facts[kind] = leader_without_clients(kind, server, folder / kind)
    java, zkfast = facts["java"], facts["zkfast"]
    differ = {name: (java[name], zkfast[name]) for name in java if java[name] != zkfast[name]}
    assert not differ, f"Java's and zkfast's: {differ}"
    assert java["client"] == "closed" and java["word srvr"] == NOT_SERVING, java


def two_with_oracle(kind):
    """Two servers, each with a file that says whether it may lead alone: the one that may goes on, and the other one, which
    comes back later, has what was written meanwhile."""

    def case(server, folder):
        with Ensemble(server, folder, dict.fromkeys([1, 2], kind), {}) as ensemble:
            oracle = {sid: folder / f"oracle{sid}" for sid in ensemble.kinds}
            begin = lambda sid: ensemble.begin(sid, oraclePath=oracle[sid])  # noqa: E731
            for sid in ensemble.kinds:
                oracle[sid].write_text("0")
                begin(sid)
            leader = ensemble.wait_roles(1, 2)
            follower = 3 - leader
            ensemble.write(leader)
            # Without permission the one that is left does not serve.
            ensemble.kill(leader)
            time.sleep(6)
            assert ensemble.role(follower) is None, "it serves without the other one, and the oracle says no"
            oracle[follower].write_text("1")
            support.wait_until(lambda: ensemble.role(follower) == "leader", SECONDS_MAX, "it leads alone, since the oracle says yes")
            ensemble.write(follower)
            written = ensemble.zxid(follower)
            begin(leader)
            support.wait_until(lambda: ensemble.role(leader) == "follower", SECONDS_MAX, "the other one follows it")
            assert ensemble.zxid(leader) >= written
            ensemble.write(leader)
            # A follower that goes does not end the lead of a server that may lead alone.
            ensemble.kill(leader)
            ensemble.write(follower)
            time.sleep(6)
            assert ensemble.role(follower) == "leader"
            ensemble.write(follower)
            oracle[follower].write_text("0")
            support.wait_until(lambda: ensemble.role(follower) is None, SECONDS_MAX, "it leads no more, since the oracle says no")

    return case

CASES = {
    "leader_serves": leader_serves,
    "oracle": two_with_oracle("zkfast"),
    "oracle_of_java": two_with_oracle("java"),
}


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("--only", choices=CASES, action="append", help="this case alone")
    options = parser.parse_args()
    with support.scratch("roles") as folder:
        support.run_named(CASES, options.only or [name for name in CASES if name != "oracle_of_java"], options.server, folder)


if __name__ == "__main__":
    main()
