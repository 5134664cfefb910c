"""What requests of a reconfiguration are answered, by ZooKeeper and by zkfast: cases of `reconfig.py`."""

import contextlib
import pathlib
import signal
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402

support.use_environment()
import sessions  # noqa: E402
from members import (  # noqa: E402
    CONFIG, GUARDED, OPEN, RECONFIG, SECONDS_MAX, SET_ACL, Connection, Ensemble, acl, parsed, refused, request, text,
    told_or_closed,
)  # fmt: skip


class Table:
    """What requests are answered, by label, in a form that two ensembles can share."""

    # Whether each is printed.
    shown = False

    def __init__(self, ensemble, via):
        self.ensemble, self.via, self.rows = ensemble, via, {}

    def note(self, label, value):
        assert label not in self.rows, label
        self.rows[label] = value
        if self.shown:
            print(f"  {label}: {value}", flush=True)

    def ask(self, label, via=None, rights=True, **what):
        """Sends one request. A new configuration is then known, and the same, on every server."""
        ensemble = self.ensemble
        answer = ensemble.ask(via or self.via, rights=rights, **what)
        self.note(label, answer.err or self.told(answer))
        if answer.err == 0:
            ensemble.wait_config(answer.version, *ensemble.running)
            for sid in ensemble.running:
                assert ensemble.config(sid)[1] == answer.lines, f"{label}: server {sid} knows {ensemble.config(sid)}"
        return answer

    def count(self, label, quorum, followers, strangers, observers):
        """The leader counts these, and `conf` of every server has the configuration and the server's role."""
        ensemble = self.ensemble
        wanted = {
            "quorum_size": quorum, "synced_followers": followers, "synced_non_voting_followers": strangers,
            "synced_observers": observers,
        }  # fmt: skip
        found = lambda: {name: ensemble.figure(self.via, name) for name in wanted}  # noqa: E731
        try:
            support.wait_until(lambda: found() == wanted, SECONDS_MAX, f"{label}: the leader counts {wanted}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}, not {found()}") from None
        for sid in sorted(ensemble.running):
            lines = ensemble.word(sid, "conf").splitlines()
            members = {line for line in lines[lines.index("membership: ") + 1 :] if line}
            kept = [line for line in lines if line.startswith("peerType=")]
            version = {f"version={ensemble.config(sid)[0]:x}"}
            assert members == ensemble.config(sid)[1] | version, f"{label}: conf of {sid} has {sorted(members)}"
            self.note(f"{label}: conf of {sid}", kept)

    def told(self, answer):
        """A new configuration: its lines, what its Stat says, and whether the three zxids of it are one."""
        zxids = {answer.version, answer.zxid, answer.stat.mzxid}
        return {
            "lines": sorted(map(self.ensemble.plain, answer.lines)),
            "zxids": "equal" if len(zxids) == 1 else (answer.version, answer.zxid, answer.stat.mzxid),
            "stat": [answer.stat.czxid, answer.stat.pzxid, answer.stat.owner, answer.stat.children, *answer.stat.versions],
        }


def errors(table):
    """What is refused, and which of two reasons is told. Server 4 runs and is no member, 5 does not run."""
    ensemble = table.ensemble
    version, _ = ensemble.config(table.via)
    synced = {"joining": ensemble.server(4, "observer")}
    absent = {"joining": ensemble.server(5), "leaving": "2,3"}
    wrong = {"joining": "server.4"}
    table.ask("without rights", rights=False, **synced)
    table.ask("without rights, stale", rights=False, version=version - 1, **synced)
    table.ask("without rights, wrong", rights=False, **wrong)
    table.ask("without rights, no quorum", rights=False, **absent)
    table.ask("stale", version=version - 1, **synced)
    table.ask("a version to come", version=version + 1, **synced)
    table.ask("version 0", version=0, **synced)
    table.ask("stale, wrong", version=version - 1, **wrong)
    table.ask("wrong, no quorum", joining=f"server.4,{ensemble.server(5)}", leaving="2,3")
    table.ask("no quorum", **absent)
    table.ask("all leave", leaving="1,2,3")
    table.ask("all become observers", joining=",".join(sorted(ensemble.servers(observers=[1, 2, 3]))))
    address = "127.0.1.4:2888:3888"
    for line in [
        "server.4=127.0.1.4", "server.4=127.0.1.4:2888", "server.4=127.0.1.4:2888;2181", f"server.4={address}",
        f"server.4={address};", f"server.4={address};1;2", f"server.4={address};a", f"server.4={address};127.0.0.1:2181:3",
        "server.4=127.0.1.4:x:3888;2181", "server.4=127.0.1.4:2888:x;2181", "server.4=127.0.1.4:2888:2888;2181",
        f"server.4={address}:boss;2181", f"server.4={address}:participant:x;2181", "server.4=127.0.1.4:2888:65536;2181",
        f"server.four={address};2181", f"server.={address};2181", f"server.4={address};2181=x",
        f"server.4={address}|127.0.2.4:2888:3888;2181", "=", "server.4=", "server.4=;2181",
        "server.4=192.0.2.4:2888:3888;2181,server.5=192.0.2.4:2888:3889;2182",
        "server.4=192.0.2.4:2888:3888;192.0.2.4:2181,server.5=192.0.2.5:2888:3888;192.0.2.4:2888",
    ]:  # fmt: skip
        table.ask(f"joining {line}", joining=line)
    for sids in ["x", "1.5", "server.3", "3;4"]:
        table.ask(f"leaving {sids}", leaving=sids)
    three = sorted(ensemble.servers(1, 2, 3))
    for label, members in {
        "nobody": [],
        "another key": [*three, "clientPort=1"],
        "observers only": sorted(ensemble.servers(observers=[1, 2, 3])),
        "no quorum": [ensemble.server(1), ensemble.server(5)],
        "a wrong line": [*three, "server.4=127.0.1.4"],
        "a wrong number": [*three, f"server.x={ensemble.line(4)}"],
        "a voter without a group": [*three, "group.1=1:2"],
        "a voter in two groups": [*three, "group.1=1:2", "group.2=2:3"],
        "a wrong weight": [*three, "group.1=1:2:3", "weight.1=x"],
        "a weight alone": [*three, "weight.1=1"],
        "a group of a stranger": [*three, "group.1=1:2:3:9"],
    }.items():
        table.ask(f"members: {label}", members=",".join(members))


def progress(table):
    """What comes while a configuration is proposed and cannot be committed: its followers are stopped."""
    ensemble = table.ensemble
    followers = [sid for sid in ensemble.running if sid != table.via]
    with ensemble.connect(table.via, rights=True) as client:
        for sid in followers:
            ensemble.running[sid].send_signal(signal.SIGSTOP)
        try:
            for what in [{}, {}, {"version": 1}, {"joining": "server.4"}]:
                client.send(RECONFIG, request(**what))
            # The leader has all of them.
            time.sleep(1)
        finally:
            for sid in followers:
                ensemble.running[sid].send_signal(signal.SIGCONT)
        table.note("while one is in progress", [client.answer()[2] for _ in range(4)])
    ensemble.wait_roles(*ensemble.running)


def watched(table, answer_of):
    """Makes a change, and notes the events that a watch of the configuration gives on each member."""
    ensemble = table.ensemble
    with contextlib.ExitStack() as stack:
        clients = {sid: stack.enter_context(ensemble.connect(sid)) for sid in [1, 2, 3]}
        for client in clients.values():
            client.data(CONFIG, watch=True)
        answer_of()
        for sid, client in clients.items():
            support.wait_until(
                lambda: client.call(sessions.PING, xid=-2) or client.events, SECONDS_MAX, f"the watch on server {sid} fires"
            )
            table.note(f"watch on {sid}", client.events)


def changes(table):
    """What is done: a server joins, changes roles and leaves; lists of all members."""
    ensemble, other = table.ensemble, next(sid for sid in [1, 2, 3] if sid != table.via)
    table.count("before", 3, 3, 1, 0)
    table.ask("nothing")
    table.ask("nothing, by a follower", via=other)
    table.ask("nothing, by one that is no member", via=4)
    table.ask("nothing, in empty words", joining="", leaving="")
    table.ask("unknown leave", leaving="9, 8,,")
    table.ask("of this version", version=ensemble.config(other)[0])
    table.ask("a member as it is", joining=ensemble.server(2))
    watched(table, lambda: table.ask("joins as observer", joining=ensemble.server(4, "OBSERVER")))
    ensemble.wait_role(4, "observer")
    table.count("an observer", 3, 2, 0, 1)
    table.ask("nothing, by an observer", via=4)
    table.ask("observer to participant", joining=ensemble.server(4))
    ensemble.wait_role(4, "follower")
    table.count("four", 4, 3, 0, 0)
    table.ask("participant to observer", via=other, joining=ensemble.server(4, "observer"))
    ensemble.wait_role(4, "observer")
    table.ask("leaves", leaving="4")
    ensemble.wait_role(4, "follower")
    table.count("three again", 3, 3, 1, 0)
    table.ask("joins and leaves", joining=ensemble.server(4), leaving="4,9")
    table.ask("leaves again", leaving="4")
    port = ensemble.ports[5]
    table.ask("one that does not run", joining=f"server.5=localhost:{port + 1}:{port + 2}:observer;{port}")
    table.ask("one without a host", joining=f"server.5=:{port + 1}:{port + 2}:observer;{port}")
    table.ask("it leaves", leaving="5")
    table.ask("without the word server, with spaces", joining=f" 5 = {ensemble.line(5, 'observer')} ")
    table.ask("without a role", joining=f"server.5=127.0.1.5:{port + 1}:{port + 2};localhost:{port}")
    lists = {"commas": ",", "newlines": "\n", "both": ",\n"}
    for label, separator in lists.items():
        table.ask(f"members by {label}", members=separator.join(sorted(ensemble.servers(1, 2, 3))))
    three = ",".join(sorted(ensemble.servers(1, 2, 3)))
    table.ask("members beside joining", members=three, joining=ensemble.server(4), leaving="1")
    table.ask("members with a version", members=f"{three},version=5")
    table.ask("members with an observer", members=f"{three},{ensemble.server(4, 'observer')}")
    ensemble.wait_role(4, "observer")
    table.ask("groups", members=f"{three},group.1=1:2,group.2=3,weight.3=2")
    ensemble.wait_role(4, "follower")
    table.ask("joining to groups", joining=ensemble.server(4))
    table.ask("nothing, with groups")
    table.ask("from groups to a majority", members=three)


def client_port(table):
    """A follower's client port changes: sessions on it go on, new ones find it at its new place."""
    ensemble, sid = table.ensemble, next(sid for sid in [1, 2, 3] if sid != table.via)
    before, after = ensemble.ports[sid], support.free_port()
    with ensemble.connect(sid) as client:
        answer = ensemble.ask(table.via, joining=ensemble.server(sid).replace(f":{before}", f":{after}"), rights=True)
        table.note("another client port", answer.err or len(answer.lines))
        support.wait_until(lambda: not support.is_free(after), SECONDS_MAX, "the new client port")
        with Connection(after) as late:
            table.note("sees its own version", parsed(late.data(CONFIG)[0])[0] == answer.version)
        support.wait_until(lambda: refused(before), SECONDS_MAX, "the old client port is closed")
        table.note("a session of before", client.call(sessions.EXISTS, text("/") + b"\0"))
    # And with the number alone.
    answer = ensemble.ask(table.via, joining=ensemble.server(sid).replace("127.0.0.1:", ""), rights=True)
    table.note("the port alone", answer.err or sorted(map(ensemble.plain, answer.lines)))
    ensemble.wait_config(answer.version, sid)
    table.ask("the first client port again", joining=ensemble.server(sid))


def rights(table):
    """The configuration's access list, and requests that write it as any other znode."""
    ensemble = table.ensemble
    world = (31, "world", "anyone")
    with ensemble.connect(table.via) as client, ensemble.connect(table.via, rights=True) as ruler:
        assert client.call(sessions.GET_ACL, text(CONFIG)) == 0
        table.note("access list", client.body[: -68].hex())
        setting = text(CONFIG) + sessions.buffer(b"nonsense") + struct.pack(">i", -1)
        table.note("setData without rights", client.call(sessions.SET_DATA, setting))
        table.note("delete without rights", client.call(sessions.DELETE, text(CONFIG) + struct.pack(">i", -1)))
        table.note("create below without rights", client.call(sessions.CREATE, sessions.create(CONFIG + "/x")))
        table.note("setACL without rights", client.call(SET_ACL, text(CONFIG) + acl(world) + struct.pack(">i", -1)))
        table.note("delete with rights", ruler.call(sessions.DELETE, text(CONFIG) + struct.pack(">i", -1)))
        table.note("setACL with rights", ruler.call(SET_ACL, text(CONFIG) + acl(world) + struct.pack(">i", -1)))
        table.ask("for everybody", rights=False)
        back = acl((1, "world", "anyone")) + struct.pack(">i", -1)
        assert ruler.call(SET_ACL, text(CONFIG) + back) == 0
        table.ask("for nobody again", rights=False)


def small(kind, server, folder, rows):
    """What servers answer that are alone, or whose configuration is not to change."""
    joining = "server.9=127.0.1.9:2888:3888:observer;2181"
    for label, sids, settings in [
        ("disabled", [1], {"reconfigEnabled": "false"}),
        ("disabled and alone", [1], {"reconfigEnabled": "false", "standaloneEnabled": "true"}),
        ("alone", [1], {"standaloneEnabled": "true"}),
        ("two voters", [1, 2], {"standaloneEnabled": "true"}),
    ]:
        place = folder / label.replace(" ", "-")
        place.mkdir()
        with Ensemble(server, place, dict.fromkeys(sids, kind), OPEN | settings) as ensemble:
            if label.endswith("alone"):
                ensemble.configure(1, [f"clientPort={ensemble.ports[1]}"])
                ensemble.resume(1)
                ensemble.wait(1)
                leader = 1
            else:
                leader = ensemble.found(*sids)
            table = Table(ensemble, leader)
            table.ask(f"{label}: joining", rights=False, joining=joining)
            table.ask(f"{label}: wrong and stale", rights=False, joining="server.9", version=1)
            if len(sids) == 1:
                # Not to a leader: ZooKeeper's then skips a zxid, and its followers leave it.
                with ensemble.connect(leader) as client:
                    client.send(RECONFIG, b"\xff" * 11)
                    table.note(f"{label}: half a request", told_or_closed(client))
            else:
                table.ask(f"{label}: one leaves", rights=False, leaving="1")
                table.ask(f"{label}: one stays a voter", rights=False, joining=ensemble.server(1, "observer"))
                table.ask(f"{label}: members: one", rights=False, members=ensemble.server(leader))
                table.ask(f"{label}: members: one and an observer", rights=False, members=f"{ensemble.server(leader)},{joining}")
                table.ask(f"{label}: members: observers", rights=False, members=joining)
            rows |= table.rows


def answers_of(kind, server, folder):
    """All that an ensemble of one kind answers."""
    rows = {}
    small(kind, server, folder, rows)
    with Ensemble(server, folder, dict.fromkeys([1, 2, 3, 4, 5], kind), GUARDED) as ensemble:
        leader = ensemble.found(1, 2, 3)
        ensemble.join(4, 1, 2, 3)
        table = Table(ensemble, leader)
        for part in [errors, progress, changes, client_port, rights]:
            part(table)
        return rows | table.rows


# What zkfast answers otherwise on purpose: the row, ZooKeeper's answer and zkfast's.
DIFFERENCES = {
    # A leader of ZooKeeper's closes the connection, and with followers it skips a zxid at which they leave.
    "disabled: half a request": ("closed", -5),
    # The others wait for the first, and are judged by what it made.
    "while one is in progress": ([0, -14, -14, -14], [0, 0, -103, -8]),
}


def answers(server, folder):
    """The same requests to servers of ZooKeeper and of zkfast."""
    told = {}
    for kind in ["java", "zkfast"]:
        (folder / kind).mkdir()
        told[kind] = answers_of(kind, server, folder / kind)
    differ = {row: (want, told["zkfast"].get(row)) for row, want in told["java"].items()}
    differ = {row: both for row, both in differ.items() if both[0] != both[1] and DIFFERENCES.get(row) != both}
    assert not differ, "\n" + "\n".join(f"{row}\n  ZooKeeper {want}\n  zkfast    {have}" for row, (want, have) in differ.items())
    assert told["java"].keys() == told["zkfast"].keys()


def answers_java(server, folder):
    """What ZooKeeper answers, for reading."""
    Table.shown = True
    answers_of("java", server, folder)
