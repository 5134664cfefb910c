#!/usr/bin/env python3
"""Dynamic reconfiguration by zkfast, by Apache ZooKeeper and by both in one ensemble: what requests are answered, the files
that servers write, growing and shrinking under load, servers that join, leave and change roles.

    tests/compat/reconfig.py               the usual cases
    tests/compat/reconfig.py --only CASE   one case; those that end in `_java` show that a case is right
"""

import concurrent.futures
import contextlib
import logging
import pathlib
import re
import shutil
import signal
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402

support.use_environment()
import kazoo.client  # noqa: E402
import kazoo.exceptions  # noqa: E402
import quorum_sasl  # noqa: E402
import quorum_tls  # noqa: E402
import tls_fixtures  # noqa: E402
from members import CONFIG, OPEN, RECONFIG, SECONDS_MAX, Ensemble, parsed, request  # noqa: E402
from reconfig_answers import answers, answers_java  # noqa: E402


class Files:
    """The files of a server: what they were, and what a configuration has made of them."""

    def __init__(self, ensemble, sid):
        self.ensemble, self.sid, self.path = ensemble, sid, ensemble.path(sid)
        self.original = (self.path / "zoo.cfg").read_text()
        self.dynamic = set()

    def check(self, version, lines, client_port=False):
        """Waits until the files are of this version, and checks all of them."""
        config = self.path / "zoo.cfg"
        dynamic = self.path / f"zoo.cfg.dynamic.{version:x}"
        self.ensemble.wait_files(version, self.sid)
        proposed = self.path / "zoo.cfg.dynamic.next"
        support.wait_until(lambda: not proposed.exists(), SECONDS_MAX, f"{proposed} goes")
        keys = dict(line.split("=", 1) for line in config.read_text().splitlines()[:-1] if not line.startswith("#"))
        moved = re.compile(r"server\.|group|weight|peerType|dynamicConfigFile" + ("" if client_port else "|clientPort"))
        pairs = [line.split("=", 1) for line in self.original.splitlines() if "=" in line]
        wanted = {key: value for key, value in pairs if not moved.match(key)}
        if self.ensemble.kinds[self.sid] != "java" and not any(line.startswith(f"server.{self.sid}=") for line in lines):
            # ZooKeeper's server does not start again on files that do not name it; zkfast's does, and keeps its port.
            assert keys.pop("clientPort") == str(self.ensemble.ports[self.sid]), "another port for clients"
            keys.pop("clientPortAddress", None)
            wanted.pop("clientPort", None)
        assert keys == wanted, f"zoo.cfg of server {self.sid} has {keys}, wanted {wanted}"
        found = dynamic.read_text().split("\n")
        assert len(set(found)) == len(found) and set(found) == lines, f"{dynamic} has {found}, wanted {sorted(lines)}"
        backup = self.path / "zoo.cfg.bak"
        if "dynamicConfigFile" in self.original:
            assert not backup.exists(), f"{backup} is there although no file of a person was changed"
            assert (self.path / "servers.cfg").exists()
        else:
            assert backup.read_text() == self.original, f"{backup} is not what zoo.cfg was"
        self.dynamic.add(dynamic.name)
        names = {path.name for path in self.path.glob("zoo.cfg.dynamic*")}
        assert names == self.dynamic, f"server {self.sid} has {names}, wanted {self.dynamic}"


def files(kinds):
    """The files after each change, of servers with lines in zoo.cfg (1, 2, 4) and in a file of their own (3, 5)."""

    def case(server, folder):
        with Ensemble(server, folder, kinds) as ensemble:
            lines = ensemble.servers(1, 2, 3)
            for sid in [1, 2, 3]:
                also = {2: {f"clientPort={ensemble.ports[2]}", "peerType=participant", "# a comment", "maxClientCnxns=0"}}
                ensemble.configure(sid, sorted(lines | also.get(sid, set())), dynamic=sid == 3)
            kept = {sid: Files(ensemble, sid) for sid in [1, 2, 3]}
            for sid in kept:
                ensemble.resume(sid)
            leader = ensemble.wait_roles(1, 2, 3)
            version = 1 << 32
            for each in kept.values():
                each.check(version, lines)
            # Joiners have the files of the ensemble before they are members.
            for sid in [4, 5]:
                also = {f"clientPort={ensemble.ports[4]}"} if sid == 4 else set()
                ensemble.configure(sid, sorted(ensemble.servers(1, 2, 3, sid) | also), dynamic=sid == 5)
                kept[sid] = Files(ensemble, sid)
                ensemble.resume(sid)
                ensemble.wait(sid)
                # No line of its own: so its port for clients stays.
                kept[sid].check(version, lines, client_port=True)
            for sids, change in [
                ([1, 2, 3, 4], {"joining": ensemble.server(4)}),
                ([1, 2, 3, 4, 5], {"joining": ensemble.server(5)}),
                # Nothing changes but the version.
                ([1, 2, 3, 4, 5], {}),
            ]:
                lines = ensemble.servers(*sids)
                answer = ensemble.ask(leader, **change)
                assert answer.err == 0 and answer.lines == lines, answer
                version = answer.version
                for each in kept.values():
                    each.check(version, lines)
            gone = next(sid for sid in [1, 2, 3] if sid != leader)
            members = [sid for sid in kept if sid != gone]
            lines = ensemble.servers(*members)
            version = ensemble.change(lines, leaving=str(gone), via=leader)
            for each in kept.values():
                each.check(version, lines)
            # All start again on these files, with this version; the one that is gone is none of them.
            for sid in kept:
                ensemble.kill(sid)
            for sid in members:
                ensemble.resume(sid)
            ensemble.wait_roles(*members)
            for sid in members:
                assert ensemble.config(sid) == (version, lines), ensemble.config(sid)
                kept[sid].check(version, lines)
            check_stays_out(ensemble, gone)
            for each in kept.values():
                each.check(version, lines)

    return case


def check_stays_out(ensemble, gone):
    """A removed server that starts on its own files ends, as ZooKeeper's does, or serves nobody; it disturbs no other."""
    before = {sid: ensemble.role(sid) for sid in ensemble.running}
    ensemble.resume(gone)
    process = ensemble.running[gone]
    if ensemble.kinds[gone] == "java":
        support.wait_until(lambda: process.poll() is not None, SECONDS_MAX, f"server {gone} ends")
        assert process.returncode != 0, process.returncode
    else:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and process.poll() is None:
            assert ensemble.role(gone) is None, f"server {gone}, which is no member, is {ensemble.role(gone)}"
            time.sleep(0.1)
        assert process.poll() != 0, "it ends as if all were well"
    if process.poll() is None:
        ensemble.kill(gone)
    else:
        del ensemble.running[gone]
    assert before == {sid: ensemble.role(sid) for sid in ensemble.running}, "the others were disturbed"


def files_of_old(kinds):
    """Servers whose lines have no client part: the port stays in zoo.cfg until a line has one."""

    def case(server, folder):
        with Ensemble(server, folder, kinds) as ensemble:
            lines = {f"server.{sid}={ensemble.line(sid, client=False)}" for sid in [1, 2]}
            for sid in [1, 2]:
                ensemble.configure(sid, sorted(lines | {f"clientPort={ensemble.ports[sid]}"}))
            kept = {sid: Files(ensemble, sid) for sid in [1, 2]}
            for sid in kept:
                ensemble.resume(sid)
            leader = ensemble.wait_roles(1, 2)
            for each in kept.values():
                each.check(1 << 32, lines, client_port=True)
            for sid in [1, 2]:
                lines = lines - {f"server.{sid}={ensemble.line(sid, client=False)}"} | {ensemble.server(sid)}
                answer = ensemble.ask(leader, joining=ensemble.server(sid))
                assert answer.err == 0 and answer.lines == lines, answer
                for other in [1, 2]:
                    kept[other].check(answer.version, lines, client_port=other > sid)
            for sid in [1, 2]:
                ensemble.kill(sid)
                ensemble.resume(sid)
            ensemble.wait_roles(1, 2)

    return case


class Load:
    """Clients that create one znode after the other, over whatever server there is, and remember what was acknowledged."""

    # A client is soon back at a server, so that a pause is the servers' and not its own.
    RETRY = {"max_tries": -1, "delay": 0.02, "backoff": 1, "max_delay": 0.05}

    def __init__(self, hosts, count=4):
        self.clients = [kazoo.client.KazooClient(hosts, timeout=10, connection_retry=self.RETRY) for _ in range(count)]
        self.written, self.times, self.lost = [[] for _ in self.clients], [[] for _ in self.clients], 0
        self.stopped, self.threads, self.failures = threading.Event(), [], []

    def state(self, state):
        if state == kazoo.client.KazooState.LOST and not self.stopped.is_set():
            self.lost += 1

    def run(self, number):
        client, written = self.clients[number], self.written[number]
        while not self.stopped.is_set():
            path = f"/load/{number}/{len(written):06}"
            try:
                client.create(path, path.encode())
            except kazoo.exceptions.NodeExistsError:
                # The answer to an attempt before was lost.
                pass
            except kazoo.exceptions.NoNodeError as error:
                self.failures.append(f"what was acknowledged is gone: {path}: {error}")
                return
            except kazoo.exceptions.KazooException:
                self.stopped.wait(0.01)
                continue
            written.append(path)
            self.times[number].append(time.monotonic())

    def __enter__(self):
        for number, client in enumerate(self.clients):
            client.add_listener(self.state)
            client.start(timeout=SECONDS_MAX)
            client.ensure_path(f"/load/{number}")
        self.threads = [threading.Thread(target=self.run, args=[number]) for number in range(len(self.clients))]
        for thread in self.threads:
            thread.start()
        return self

    def count(self):
        return sum(map(len, self.written))

    def until(self, more):
        """Waits until every client has written so many more."""
        wanted = [len(written) + more for written in self.written]
        reached = lambda: all(len(written) >= least for written, least in zip(self.written, wanted))  # noqa: E731
        support.wait_until(reached, SECONDS_MAX, f"{more} more writes of each client")

    def __exit__(self, *_):
        self.stopped.set()
        # That ends a write which waits for a server that never comes. Whether such a write was done is open.
        for client in self.clients:
            client.stop()
            client.close()
        for thread in self.threads:
            thread.join(SECONDS_MAX)
            assert not thread.is_alive(), "a client does not end"

    def figures(self, lost):
        """A line of figures: the pause is the longest time in which no client was told of a write."""
        times = sorted(each for one in self.times for each in one)
        pause = max(after - before for before, after in zip(times, times[1:]))
        return f"longest pause {1000 * pause:.0f} ms, writes {self.count()}, sessions lost {lost}"

    def check(self, ensemble, *sids):
        """Every server has all that was acknowledged, and nothing that was not asked for."""
        assert not self.failures, self.failures
        for sid in sids:
            client = ensemble.client(sid)
            try:
                client.sync("/")
                for number, written in enumerate(self.written):
                    have = {f"/load/{number}/{name}" for name in client.get_children(f"/load/{number}")}
                    missing = set(written) - have
                    assert not missing, f"server {sid} lacks {sorted(missing)[:5]} of {len(written)} writes"
                    assert have - set(written) <= {f"/load/{number}/{len(written):06}"}, f"server {sid} has what nobody wrote"
            finally:
                client.stop()
                client.close()
        ensemble.check_equal(*sids)


def names(kinds):
    return "+".join(sorted(set(kinds.values())))


class Scaling:
    """An ensemble that grows from one server to five and shrinks back under load; with `kills` each change loses a server on
    the way, which then starts again."""

    def __init__(self, ensemble, load, kills):
        self.ensemble, self.load, self.kills = ensemble, load, kills

    def change(self, victim, lines, **change):
        """A change, in the middle of which a server may be killed."""
        ensemble = self.ensemble
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            done = pool.submit(ensemble.change, lines, **change)
            if self.kills:
                time.sleep(0.01)
                ensemble.kill(victim)
            done.result()

    def leader(self, members):
        return self.ensemble.wait_roles(*members)

    def grow(self, members, joiners, victim_of):
        """Joiners start, and become members together."""
        ensemble = self.ensemble
        for sid in joiners:
            ensemble.join(sid, *members)
        victim = victim_of(self.leader(members))
        joining = ",".join(ensemble.server(sid) for sid in joiners)
        self.change(victim, ensemble.servers(*members, *joiners), joining=joining)
        if self.kills:
            ensemble.revive(victim, *members)
        self.leader([*members, *joiners])
        self.load.until(50)
        return [*members, *joiners]

    def shrink(self, members, count, stays):
        """So many servers leave, the leader among them, and end."""
        ensemble, leader = self.ensemble, self.leader(members)
        leaving = [leader, *(sid for sid in members if sid != leader)][:count]
        members = [sid for sid in members if sid not in leaving]
        victim = members[0] if stays else leaving[-1]
        self.change(victim, ensemble.servers(*members), leaving=",".join(map(str, leaving)))
        if self.kills and stays:
            ensemble.revive(victim, *members)
        self.leader(members)
        self.load.until(50)
        for sid in leaving:
            if sid in ensemble.running:
                ensemble.stop(sid)
        self.load.until(50)
        return members


def scale(kinds, kills=False):
    """From one server to five and back to one."""

    def case(server, folder):
        with Ensemble(server, folder, kinds) as ensemble:
            ensemble.found(1, dynamic=True)
            with Load(ensemble.hosts()) as load:
                scaling = Scaling(ensemble, load, kills)
                members = scaling.grow([1], [2, 3], lambda leader: 3)
                members = scaling.grow(members, [4, 5], lambda leader: leader)
                members = scaling.shrink(members, 2, stays=True)
                members = scaling.shrink(members, 2, stays=False)
                lost = load.lost
            print(f"  1-3-5-3-1 {'with kills' if kills else 'in peace'}, {names(kinds)}: {load.figures(lost)}", flush=True)
            load.check(ensemble, *members)
            assert ensemble.config(members[0])[1] == ensemble.servers(*members)
            assert lost == 0, f"{lost} sessions were lost"

    return case


def changing(kinds):
    """Joining, leaving and other roles, server 3 leading first; an observer is served by followers."""

    def case(server, folder):
        with Ensemble(server, folder, kinds) as ensemble:
            ensemble.settings = ensemble.settings | {"observerMasterPort": support.free_port()}
            for sid in [1, 2, 3]:
                ensemble.configure(sid, sorted(ensemble.servers(1, 2, 3)), dynamic=sid == 2)
            ensemble.resume(3)
            ensemble.resume(1)
            assert ensemble.wait_roles(1, 3) == 3
            ensemble.resume(2)
            ensemble.wait_roles(1, 2, 3)
            steps = Steps(ensemble, [1, 2, 3])
            ensemble.join(5, 1, 2, 3, role="observer")
            assert ensemble.role(5) == "follower", "one that is no member is a follower without a vote"
            wait_strangers(ensemble, 3, 1)
            steps.take([1, 2, 3], [5], joining=ensemble.server(5, "observer"))
            ensemble.join(4, 1, 2, 3, observers=[5])
            steps.take([1, 2, 3, 4], [5], joining=ensemble.server(4))
            steps.take([2, 3, 4], [5], leaving="1")
            leader = steps.leader
            steps.take([sid for sid in [2, 3, 4] if sid != leader], [5], leaving=str(leader))
            assert steps.leader != leader
            steps.take([2, 3, 4], [5], joining=ensemble.server(leader))
            steps.take([1, 2, 3, 4], [5], joining=ensemble.server(1))
            # Of other roles: one after the other, the leader too.
            steps.take([1, 2, 3, 4, 5], [], joining=ensemble.server(5))
            leader = steps.leader
            steps.take([sid for sid in range(1, 6) if sid != leader], [leader], joining=ensemble.server(leader, "observer"))
            assert steps.leader != leader
            follower = next(sid for sid in range(1, 6) if sid not in (leader, steps.leader))
            swapped = [sid for sid in range(1, 6) if sid != follower]
            both = f"{ensemble.server(leader)},{ensemble.server(follower, 'observer')}"
            steps.take(swapped, [follower], joining=both)
            steps.take([1, 2, 3, 4, 5], [], joining=ensemble.server(follower))
            ensemble.check_equal(1, 2, 3, 4, 5)

    return case


class Steps:
    """Changes of an ensemble, after each of which all servers serve and write."""

    def __init__(self, ensemble, voters):
        self.ensemble, self.leader = ensemble, ensemble.wait_roles(*voters)

    def take(self, voters, viewers, **change):
        """One change; `voters` and `viewers` are the participants and observers of then."""
        ensemble = self.ensemble
        lines = ensemble.servers(*voters, observers=viewers)
        version = ensemble.change(lines, via=self.leader, **change)
        self.leader = ensemble.wait_roles(*voters)
        for sid in viewers:
            ensemble.wait_role(sid, "observer")
        ensemble.wait_config(version, *ensemble.running)
        for sid in ensemble.running:
            ensemble.write(sid)
        for sid in viewers:
            # Which may be one that was removed: it follows, and serves observers, as before.
            served = lambda: ensemble.figure(sid, "observer_master_id") in {*ensemble.running} - {sid}  # noqa: E731
            support.wait_until(served, SECONDS_MAX, f"observer {sid} is served by a follower")


def proposed(kinds):
    """All servers are killed while one of three knows of a new configuration: they agree on one, the old or the new."""

    def case(server, folder):
        with Ensemble(server, folder, kinds) as ensemble:
            leader = ensemble.found(1, 2, 3)
            ensemble.join(4, 1, 2, 3)
            old, new = ensemble.servers(1, 2, 3), ensemble.servers(1, 2, 3, 4)
            others = [sid for sid in ensemble.running if sid != leader]
            with ensemble.connect(leader) as client, ensemble.connect(leader) as reader:
                for sid in others:
                    ensemble.running[sid].send_signal(signal.SIGSTOP)
                client.send(RECONFIG, request(joining=ensemble.server(4)))
                next_file = ensemble.path(leader) / "zoo.cfg.dynamic.next"
                support.wait_until(next_file.exists, SECONDS_MAX, f"the leader writes {next_file}")
                proposal = parsed(next_file.read_bytes())
                assert proposal[1] == new and proposal[0] > 1 << 32, proposal
                assert parsed(reader.data(CONFIG)[0]) == (1 << 32, old), "it is read before it is committed"
                for sid in [leader, *others]:
                    ensemble.kill(sid)
            for sid in [1, 2, 3]:
                ensemble.resume(sid)
            ensemble.wait_roles(1, 2, 3)
            ensemble.revive(4, 1, 2, 3)
            ensemble.wait_roles(1, 2, 3, 4)
            agreed = ensemble.config(1)
            assert agreed in [(1 << 32, old), (proposal[0], new)], agreed
            ensemble.wait_config(agreed[0], 2, 3, 4)
            version = ensemble.change(new, joining=ensemble.server(4))
            for sid in [1, 2, 3, 4]:
                ensemble.wait_config(version, sid)
                ensemble.wait_files(version, sid)
                ensemble.write(sid)
            ensemble.check_equal(1, 2, 3, 4)
            print(f"  {names(kinds)}: {'the new one' if agreed[1] == new else 'the old one'}", flush=True)

    return case


def back(kinds):
    """A removed server goes on as a follower without a vote and disturbs nobody; it is added again, twice."""

    def case(server, folder):
        with Ensemble(server, folder, kinds) as ensemble:
            leader = ensemble.found(1, 2, 3)
            gone, other = [sid for sid in [1, 2, 3] if sid != leader]
            epoch, states = ensemble.zxid(leader) >> 32, []
            client = ensemble.client(gone)
            client.add_listener(states.append)
            client.create("/of-the-removed", b"", ephemeral=True)
            ensemble.change(ensemble.servers(leader, other), leaving=str(gone), via=leader)
            wait_strangers(ensemble, leader, 1)
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                client.set("/of-the-removed", b"")
                found = {sid: ensemble.role(sid) for sid in ensemble.running}
                assert found == {leader: "leader", gone: "follower", other: "follower"}, found
                time.sleep(0.2)
            ensemble.change(ensemble.servers(1, 2, 3), joining=ensemble.server(gone), via=leader)
            wait_strangers(ensemble, leader, 0)
            client.set("/of-the-removed", b"")
            assert not states, f"the client of the removed server was told {states}"
            assert ensemble.zxid(leader) >> 32 == epoch, "there was an election"
            client.stop()
            client.close()

            version = ensemble.change(ensemble.servers(leader, other), leaving=str(gone), via=leader)
            wait_strangers(ensemble, leader, 1)
            ensemble.wait_files(version, gone)
            ensemble.kill(gone)
            check_stays_out(ensemble, gone)
            ensemble.join(gone, leader, other)
            ensemble.change(ensemble.servers(1, 2, 3), joining=ensemble.server(gone), via=leader)
            wait_strangers(ensemble, leader, 0)
            assert ensemble.zxid(leader) >> 32 == epoch, "there was an election"
            # Its vote counts again.
            ensemble.kill(other)
            ensemble.wait_roles(leader, gone)
            ensemble.write(gone)

    return case


def moved(kinds):
    """All others move to other ports while a server is away. It finds them once its zoo.cfg has their present lines."""

    def case(server, folder):
        with Ensemble(server, folder, kinds) as ensemble:
            ensemble.found(1, 2, 3)
            lines = ensemble.servers(1, 2, 3)
            # From here on its files are those that a configuration has made.
            ensemble.wait_files(ensemble.config(3)[0], 3)
            ensemble.stop(3)
            for sid in [1, 2]:
                before = ensemble.server(sid)
                port = support.free_port(2)
                now = f"server.{sid}=127.0.1.{sid}:{port}:{port + 1}:participant;127.0.0.1:{ensemble.ports[sid]}"
                lines = lines - {before} | {now}
                version = ensemble.change(lines, joining=now)
                ensemble.wait_config(version, 1, 2)
            config = ensemble.path(3) / "zoo.cfg"
            kept = [line for line in config.read_text().splitlines() if not line.startswith("dynamicConfigFile=")]
            config.write_text("\n".join(kept + sorted(lines)) + "\n")
            ensemble.resume(3)
            ensemble.wait_role(3, "follower")
            ensemble.wait_config(version, 3)
            ensemble.write(3)
            ensemble.wait_files(version, 3)

    return case


def wait_strangers(ensemble, leader, count):
    """Waits until a leader counts so many followers without a vote."""
    counted = lambda: ensemble.figure(leader, "synced_non_voting_followers") == count  # noqa: E731
    support.wait_until(counted, SECONDS_MAX, f"server {leader} has {count} followers without a vote")


class Pods(Ensemble):
    """Servers that the hooks of pravega's zookeeper-operator start, ask and stop.

    Each has a volume `data` with `myid`, `zoo.cfg.dynamic` and `conf`. The operator's zoo.cfg ends in `dynamicConfigFile=`.
    """

    def path(self, sid):
        return self.folder / str(sid) / "data" / "conf"

    def given(self, sid):
        """The operator's zoo.cfg."""
        keys = self.keys_of(sid) | {"dynamicConfigFile": self.first(sid)}
        return [f"{key}={value}" for key, value in keys.items()]

    def first(self, sid):
        """The file of servers that the start hook writes."""
        return self.folder / str(sid) / "data" / "zoo.cfg.dynamic"

    def line(self, sid, role="participant", client=True):
        return f"127.0.1.{sid}:{self.ports[sid] + 1}:{self.ports[sid] + 2}:{role};{self.ports[sid]}"

    def reconfigure(self, **change):
        """Its program's one attempt, by any server that is there; gives the lines of the new configuration."""
        hosts = ",".join(f"127.0.0.1:{self.ports[sid]}" for sid in self.running)
        client = kazoo.client.KazooClient(hosts, timeout=3)
        client.start(timeout=SECONDS_MAX)
        try:
            words = {"joining": None, "leaving": None, "new_members": None} | change
            data, _ = client.reconfig(**words)
        finally:
            client.stop()
            client.close()
        return [line for line in data.decode().split("\n") if not line.startswith("version=")]

    def start_hook(self, sid):
        """A new volume: the first server lists itself alone, another one is added as an observer, before it runs."""
        if not (self.path(sid) / "zoo.cfg").exists():
            self.path(sid).mkdir(parents=True)
            (self.folder / str(sid) / "data" / "myid").write_text(f"{sid}\n")
            lines = [self.server(1)] if sid == 1 else self.reconfigure(joining=self.server(sid, "observer"))
            self.first(sid).write_text("\n".join(lines) + "\n")
            lines = self.given(sid)
        else:
            last = (self.path(sid) / "zoo.cfg").read_text().splitlines()[-1]
            lines = [*self.given(sid)[:-1], last]
        (self.path(sid) / "zoo.cfg").write_text("\n".join(lines) + "\n")
        self.resume(sid)

    def ready_hook(self, sid):
        """Whether a server is ready. One that is an observer is removed and added as a participant."""
        with contextlib.suppress(OSError):
            if self.word(sid, "ruok") != "imok":
                return False
            line = next(line for line in (self.path(sid) / "zoo.cfg").read_text().splitlines() if "dynamicConfigFile=" in line)
            lines = pathlib.Path(line.removeprefix("dynamicConfigFile=")).read_text().splitlines()
            own = [line for line in lines if f"server.{sid}=" in line]
            if len(own) != 1:
                return False
            if "participant" in own[0]:
                return True
            assert "observer" in own[0], own
            self.reconfigure(leaving=str(sid))
            time.sleep(1)
            self.reconfigure(joining=self.server(sid))
        return False

    def stop_hook(self, sid):
        """Removes a server for good if there are to be fewer, and ends it as one finds it in the list of processes."""
        assert self.word(sid, "cons").strip(), "cons says nothing"
        client = self.client(sid)
        client.sync("/zookeeper-operator/test")
        size = int(client.get("/zookeeper-operator/test")[0].decode().removeprefix("CLUSTER_SIZE="))
        client.stop()
        client.close()
        if size < sid:
            self.reconfigure(leaving=str(sid))
        assert b"zoo.cfg" in pathlib.Path(f"/proc/{self.running[sid].pid}/cmdline").read_bytes()
        self.stop(sid)

    def begin_pod(self, sid):
        self.start_hook(sid)
        support.wait_until(lambda: self.ready_hook(sid) or time.sleep(0.2), SECONDS_MAX, f"pod {sid} is ready")


def pravega(kinds):
    """From one pod to three, to five, a restart, back to three, and a fourth one with a new volume; under load."""

    def case(server, folder):
        with Pods(server, folder, kinds) as pods:
            for sid in [1, 2, 3]:
                pods.begin_pod(sid)
            pods.wait_roles(1, 2, 3)
            client = pods.client(1)
            client.create("/zookeeper-operator/test", b"CLUSTER_SIZE=3", makepath=True)
            with Load(pods.hosts(), 2) as load:
                client.set("/zookeeper-operator/test", b"CLUSTER_SIZE=5")
                for sid in [4, 5]:
                    pods.begin_pod(sid)
                pods.wait_roles(1, 2, 3, 4, 5)
                pods.stop_hook(2)
                pods.begin_pod(2)
                pods.wait_roles(1, 2, 3, 4, 5)
                client.set("/zookeeper-operator/test", b"CLUSTER_SIZE=3")
                for sid in [5, 4]:
                    pods.stop_hook(sid)
                load.until(50)
                pods.wait_roles(1, 2, 3)
                shutil.rmtree(folder / "4" / "data")
                client.set("/zookeeper-operator/test", b"CLUSTER_SIZE=4")
                pods.begin_pod(4)
                pods.wait_roles(1, 2, 3, 4)
                load.until(50)
                lost = load.lost
            print(f"  pods, {names(kinds)}: {load.figures(lost)}", flush=True)
            client.stop()
            client.close()
            load.check(pods, 1, 2, 3, 4)
            own = {f"server.{sid}={pods.line(sid).replace(';', ';0.0.0.0:')}" for sid in [1, 2, 3, 4]}
            assert pods.config(1)[1] == own, pods.config(1)

    return case


class Secured(Ensemble):
    """Servers that log in to each other with a JAAS file, within TLS or not."""

    sections, flags = quorum_sasl.Ensemble.sections, quorum_sasl.Ensemble.flags
    environment_of = quorum_sasl.Ensemble.environment_of

    def configure(self, sid, listed, dynamic=False):
        (self.folder / str(sid) / "quorum.jaas").write_text(self.sections(sid, "quorumsecret"))
        super().configure(sid, listed, dynamic)


def joins(kinds, tls, sasl):
    """A server joins, and the leader leaves, where servers prove to each other who they are."""

    def case(server, folder):
        settings = dict(OPEN)
        if tls:
            fixtures = tls_fixtures.Fixtures(folder)
            addresses = ",".join(f"IP:127.0.1.{sid}" for sid in range(1, 5))
            identity = fixtures.signed("members", "/O=zkfast test/CN=members", fixtures.ca, names=addresses)
            settings |= quorum_tls.TLS | quorum_tls.stores(fixtures, identity=identity)[1]
        if sasl:
            settings |= quorum_sasl.REQUIRED
        with (Secured if sasl else Ensemble)(server, folder, kinds, settings) as ensemble:
            leader = ensemble.found(1, 2, 3)
            if tls:
                assert not quorum_tls.takes_plain(ensemble.ports[1] + 2, "127.0.1.1"), "a plain connection is taken"
            ensemble.join(4, 1, 2, 3)
            ensemble.change(ensemble.servers(1, 2, 3, 4), joining=ensemble.server(4), via=leader)
            ensemble.wait_roles(1, 2, 3, 4)
            ensemble.write(4)
            rest = [sid for sid in [1, 2, 3, 4] if sid != leader]
            ensemble.change(ensemble.servers(*rest), leaving=str(leader), via=leader)
            ensemble.wait_roles(*rest)
            for sid in rest:
                ensemble.write(sid)
            ensemble.check_equal(*rest)

    return case


def of(*kinds):
    """Kinds by sid."""
    return dict(enumerate(kinds, 1))


OWN, JAVA = of(*["zkfast"] * 5), of(*["java"] * 5)
# Server 3 leads first where it matters.
JAVA_LEADS = of("zkfast", "zkfast", "java", "java", "zkfast")
OWN_LEADS = of("java", "java", "zkfast", "zkfast", "java")
CASES = {
    "answers": answers,
    "files": files(OWN),
    "files_of_old": files_of_old(of("zkfast", "zkfast")),
    "scale": scale(OWN),
    "scale_killed": scale(OWN, kills=True),
    "changing": changing(OWN),
    "changing_under_java": changing(JAVA_LEADS),
    "changing_java_under_own": changing(OWN_LEADS),
    "proposed": proposed(OWN),
    "back": back(of("zkfast", "zkfast", "zkfast")),
    "moved": moved(of("zkfast", "zkfast", "zkfast")),
    "pravega": pravega(OWN),
    "tls": joins(of("zkfast", "java", "zkfast", "zkfast"), tls=True, sasl=False),
    "sasl": joins(of("zkfast", "zkfast", "java", "zkfast"), tls=False, sasl=True),
}
# Only by name: those that take long, and those that show that the cases are right.
SELDOM = {
    "files_mixed": files(JAVA_LEADS),
    "scale_mixed": scale(JAVA_LEADS),
    "scale_killed_mixed": scale(JAVA_LEADS, kills=True),
    "proposed_mixed": proposed(JAVA_LEADS),
    "back_mixed": back(of("java", "zkfast", "java")),
    "pravega_mixed": pravega(JAVA_LEADS),
    "tls_and_sasl": joins(OWN_LEADS, tls=True, sasl=True),
    "answers_java": answers_java,
    "files_java": files(JAVA),
    "files_of_old_java": files_of_old(of("java", "java")),
    "scale_java": scale(JAVA),
    "scale_killed_java": scale(JAVA, kills=True),
    "changing_java": changing(JAVA),
    "proposed_java": proposed(JAVA),
    "back_java": back(of("java", "java", "java")),
    "moved_java": moved(of("java", "java", "java")),
    "pravega_java": pravega(JAVA),
    "tls_java": joins(JAVA, tls=True, sasl=False),
    "sasl_java": joins(JAVA, tls=False, sasl=True),
}


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("--only", choices=CASES | SELDOM, action="append", help="this case alone")
    options = parser.parse_args()
    # Connections that end are what these cases are about.
    logging.getLogger("kazoo").setLevel(logging.CRITICAL)
    with support.scratch("reconfig") as folder:
        support.run_named(CASES | SELDOM, options.only or CASES, options.server, folder)


if __name__ == "__main__":
    main()
