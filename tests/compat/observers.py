#!/usr/bin/env python3
"""Observer masters: observers that followers serve, zkfast's and Apache ZooKeeper's in every pairing.

    tests/compat/observers.py               all cases
    tests/compat/observers.py --only CASE   one case; `java`, which shows that the case is right, and `mixed` only so
"""

import contextlib
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402

support.use_environment()
import kazoo.client  # noqa: E402
import roles  # noqa: E402

SECONDS_MAX = support.ANSWER_SECONDS_MAX
VOTERS = [1, 2, 3]
# Where a client that loses its connection finds no server.
NOWHERE = "127.0.0.1:1"


class Ensemble(roles.Ensemble):
    """Three voters and observers, all with one port for observers; each server has an address of 127.0.0.0/8 of its own,
    since that port is the same on all."""

    def __init__(self, server, folder, kinds):
        super().__init__(server, folder, kinds, {}, observers=[sid for sid in kinds if sid not in VOTERS])
        self.master_port = support.free_port()

    def keys_of(self, sid):
        lines = {"observerMasterPort": self.master_port}
        for other, port in self.ports.items():
            role = "observer" if other in self.observers else "participant"
            lines[f"server.{other}"] = f"127.0.1.{other}:{port + 1}:{port + 2}:{role}"
        return super().keys_of(sid) | lines

    def observers_of(self, sid):
        """The sids of the observers that a server has in step, as it says by HTTP."""
        answer = self.http(sid, "observers") or {}
        return sorted(observer["sid"] for observer in answer.get("observers", []))

    def wait_observers(self, *sids):
        """Waits until these observers serve, each by a follower and none by the leader; gives the leader."""

        def is_settled():
            roles_now = {sid: self.role(sid) for sid in self.running}
            leaders = [sid for sid, role in roles_now.items() if role == "leader"]
            if len(leaders) != 1 or any(roles_now[sid] != "observer" for sid in sids):
                return None
            served = [sid for voter in self.running if voter in VOTERS for sid in self.observers_of(voter)]
            return leaders[0] if sorted(served) == sorted(sids) and not self.observers_of(leaders[0]) else None

        return support.wait_until(is_settled, SECONDS_MAX, f"observers {sids} serve through followers")

    def client_sees(self, sid, path):
        client = self.client(sid)
        try:
            client.sync("/")
            return client.exists(path)
        finally:
            client.stop()
            client.close()

    def master_of(self, sid):
        """The number of the server that an observer is connected to; None while it is to none."""
        found = (self.http(sid, "monitor") or {}).get("observer_master_id")
        return None if found is None or int(found) < 0 else int(found)

    def walk(self, sid):
        """All znodes with data and what the servers must agree on."""
        client, seen = self.client(sid), {}
        try:
            client.sync("/")
            paths = ["/"]
            while paths:
                path = paths.pop()
                if path == "/zookeeper":
                    continue
                data, stat = client.get(path)
                seen[path] = (data, stat.czxid, stat.mzxid, stat.pzxid, stat.version, stat.cversion, stat.ephemeralOwner)
                paths += [f"{path.rstrip('/')}/{child}" for child in client.get_children(path)]
            return seen
        finally:
            client.stop()
            client.close()


def works(kinds, load=2):
    """Clients of an observer do all that clients do; the observer loses its master, and then the leader, and goes on."""

    def case(server, folder):
        with Ensemble(server, folder, kinds) as ensemble:
            ensemble.begin(*VOTERS)
            ensemble.wait_roles(*VOTERS)
            writer = ensemble.client(1)
            writer.create("/before", b"0")
            for n in range(200):
                writer.create(f"/before/{n}", b"x" * 100)
            ensemble.begin(4)
            leader = ensemble.wait_observers(4)
            master = next(sid for sid in VOTERS if ensemble.observers_of(sid) == [4])
            assert master != leader
            monitor = ensemble.http(4, "monitor")
            assert int(monitor["observer_master_id"]) == master, monitor["observer_master_id"]
            assert monitor["cnt_observer_sync_time"] == 1
            assert int(ensemble.http(master, "monitor")["synced_observers"]) == 1
            assert int(ensemble.http(leader, "monitor")["synced_observers"]) == 0

            # What came before, writes, watches, ephemerals, multi, sync, errors, sessions that end and move.
            client = ensemble.client(4)
            assert len(client.get_children("/before")) == 200
            events = []
            client.get("/before", watch=events.append)
            writer.set("/before", b"1")
            support.wait_until(lambda: events, SECONDS_MAX, "the watch fires")
            client.create("/mine", b"", ephemeral=True)
            stat = client.create("/mine2", b"", ephemeral=False, include_data=True)[1]
            assert writer.exists("/mine") is None or writer.exists("/mine").ephemeralOwner == client.client_id[0]
            transaction = client.transaction()
            transaction.create("/multi", b"")
            transaction.set_data("/mine2", b"2", version=stat.version)
            assert all(not isinstance(result, Exception) for result in transaction.commit())
            with contextlib.suppress(kazoo.client.NoNodeError):
                client.delete("/absent")
                raise AssertionError("a znode that is not there was deleted")
            for n in range(30):
                writer.set("/before", str(n).encode())
                client.sync("/before")
                assert client.get("/before")[0] == str(n).encode(), "a read after sync is old"
            # The session moves to another server and back.
            session = client.client_id
            client.set_hosts(NOWHERE)
            moved = ensemble.client(master, client_id=session)
            assert moved.client_id == session, "the session did not move"
            assert moved.exists("/mine").ephemeralOwner == session[0]
            moved.create("/moved", b"")
            moved.set_hosts(NOWHERE)
            back = ensemble.client(4, client_id=session)
            assert back.client_id == session, "the session did not move back"
            back.create("/back", b"", ephemeral=True)
            back.stop()
            client.stop()
            moved.stop()
            support.wait_until(lambda: ensemble.client_sees(1, "/back") is None, SECONDS_MAX, "the ephemeral goes with its session")

            # Its sessions live by its pings, which its master passes on.
            idle = kazoo.client.KazooClient(f"127.0.0.1:{ensemble.ports[4]}", timeout=2)
            idle.start(timeout=SECONDS_MAX)
            idle.create("/idle", b"", ephemeral=True)
            session, states = idle.client_id[0], []
            idle.add_listener(states.append)
            time.sleep(6)
            assert idle.client_id[0] == session and writer.exists("/idle"), f"the session ended: {states}"

            # Its master goes: another follower, or none but the leader's only other one, serves it.
            with Load(ensemble, [1, 2, 3]) as written:
                ensemble.kill(master)
                support.wait_until(lambda: ensemble.role(4) == "observer" and ensemble.master_of(4) not in (None, master), SECONDS_MAX, "another master")
                support.wait_until(lambda: idle.exists("/idle"), SECONDS_MAX, "the idle session lives")
                ensemble.begin(master)
                ensemble.wait_roles(*VOTERS)
                leader = ensemble.wait_observers(4)
                ensemble.kill(leader)
                ensemble.wait_roles(*[sid for sid in VOTERS if sid != leader], 4)
                ensemble.begin(leader)
                ensemble.wait_observers(4)
                written.until(50)
            idle.stop()
            # All servers are equal.
            writer.stop()
            ensemble.wait_roles(*ensemble.running)
            # A client that was looking for a server has ended its session by saying nothing more.
            support.wait_until(lambda: ensemble.client_sees(1, "/idle") is None, SECONDS_MAX, "the idle session ends")
            support.wait_until(lambda: len({ensemble.zxid(sid) for sid in ensemble.running}) == 1, SECONDS_MAX, "one zxid")
            trees = {sid: ensemble.walk(sid) for sid in ensemble.running}
            for sid in VOTERS:
                differ = {path: (trees[sid].get(path), trees[4].get(path)) for path in trees[sid].keys() | trees[4].keys()}
                differ = {path: both for path, both in differ.items() if both[0] != both[1]}
                assert not differ, f"the trees of {sid} and 4 differ: {differ}"
            assert len(trees[4]) > 200

    return case


class Load:
    """A client that writes until the end, over whatever server there is."""

    def __init__(self, ensemble, sids):
        self.hosts = ",".join(f"127.0.0.1:{ensemble.ports[sid]}" for sid in sids)
        self.stopped, self.count = threading.Event(), 0

    def run(self):
        client = kazoo.client.KazooClient(self.hosts, timeout=10)
        client.start(timeout=SECONDS_MAX)
        client.ensure_path("/load")
        while not self.stopped.is_set():
            with contextlib.suppress(Exception):
                client.create("/load/n", b"x" * 200, sequence=True)
                self.count += 1
        client.stop()

    def until(self, more):
        wanted = self.count + more
        support.wait_until(lambda: self.count >= wanted, SECONDS_MAX, f"{more} more writes")

    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()


def of(voters, observer):
    return dict(zip([1, 2, 3, 4], [*voters, observer]))


OWN, JAVA = ["zkfast"] * 3, ["java"] * 3
CASES = {
    "own": works(of(OWN, "zkfast")),
    "observer_of_java_followers": works(of(JAVA, "zkfast")),
    "java_observer": works(of(OWN, "java")),
    "mixed": works(of(["zkfast", "java", "zkfast"], "zkfast")),
    "java": works(of(JAVA, "java")),
}


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("--only", choices=CASES, action="append", help="this case alone")
    options = parser.parse_args()
    with support.scratch("observers") as folder:
        support.run_named(CASES, options.only or [name for name in CASES if name not in ("java", "mixed")], options.server, folder)


if __name__ == "__main__":
    main()
