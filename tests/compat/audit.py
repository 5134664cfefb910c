#!/usr/bin/env python3
"""The audit log, beside Apache ZooKeeper's under the same traffic.

Both servers run alone, then as leader, follower and observer of an ensemble of three, with `audit.enable=true`. On each,
clients make every kind of write, writes that fail, multis, prove who they are, hang up with a request on its way, and end
their sessions or let them expire. Then each server stops. For each role the lines are equal: same events, fields, values
and order, but for:

- session ids, which are counted in the order in which they appear;
- ephemerals that go with one session, whose order is that of a hash set in Java: they are sorted;
- users, which are a hash set in Java and stand here in the order in which they were proved: they are sorted;
- the address of a client that has hung up, which Java has forgotten by then;
- the level: failures are ERROR in Java and INFO in zkfast (not in the text that is compared).

    tests/compat/audit.py
    tests/compat/audit.py --show      prints zkfast's lines
"""

import os
import pathlib
import re
import socket
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import metrics  # noqa: E402
import support  # noqa: E402
from metrics import (  # noqa: E402
    AUTH,
    CHECK,
    CREATE,
    DELETE,
    GET_DATA,
    MULTI,
    OPEN_ACL,
    SET_DATA,
    SYNC,
    Session,
    buffer,
    create,
    string,
)

SET_ACL, CREATE2, RECONFIG, CREATE_CONTAINER, CREATE_TTL = 7, 15, 16, 19, 21
END_OF_MULTI = struct.pack(">ibi", -1, 1, -1)
NODE_EXISTS, NO_NODE, BAD_VERSION, NOT_EMPTY, NO_AUTH, INVALID_ACL = -110, -101, -103, -111, -102, -114
EXPIRING_MS = 2000
EPHEMERALS_GONE = "ephemeralZNodeDeletionOnSessionCloseOrExpire"
# Java's log says nothing of INFO by default in these tests.
JAVA_OPTIONS = "-Dorg.slf4j.simpleLogger.log.org.apache.zookeeper.audit=info"
# The text of an event in a line of either log.
EVENT = re.compile(r"(?:audit: |Slf4jAuditLogger - )(\S.*)$")


class Audited(metrics.Ensemble):
    def keys_of(self, sid):
        return super().keys_of(sid) | {"audit.enable": "true", "extendedTypesEnabled": "true", "quorumListenOnAllIPs": "false"}


def acl(*entries):
    return struct.pack(">i", len(entries)) + b"".join(
        struct.pack(">i", perms) + string(scheme) + string(name) for perms, scheme, name in entries
    )


def version(path, number=-1):
    return string(path) + struct.pack(">i", number)


def set_data(path, data, number=-1):
    return string(path) + buffer(data) + struct.pack(">i", number)


def multi(*operations):
    return b"".join(struct.pack(">ibi", op, 0, -1) + body for op, body in operations) + END_OF_MULTI


def expect(client, err, op, body=b""):
    got = client.call(op, body)
    assert got == err, f"operation {op} gives {got}, not {err}"


def single_writes(client, top):
    expect(client, 0, CREATE, create(top))
    for name, flags in ("plain", 0), ("ephemeral", 1), ("sequential-", 2), ("ephemeral-sequential-", 3):
        expect(client, 0, CREATE, create(f"{top}/{name}", b"x", flags))
    expect(client, 0, CREATE2, create(f"{top}/two words=ü", b"x"))
    expect(client, 0, CREATE_CONTAINER, create(f"{top}/container", b"", 4))
    for name, flags in ("ttl", 5), ("ttl-sequential-", 6):
        expect(client, 0, CREATE_TTL, create(f"{top}/{name}", b"", flags) + struct.pack(">q", 3_600_000))
    expect(client, 0, SET_DATA, set_data(f"{top}/plain", b"y"))
    expect(client, 0, SET_ACL, string(f"{top}/plain") + acl((31, "world", "anyone")) + struct.pack(">i", -1))
    both = acl((1, "ip", "127.0.0.1"), (31, "world", "anyone"))
    expect(client, 0, SET_ACL, string(f"{top}/plain") + both + struct.pack(">i", -1))
    expect(client, 0, CREATE, create(f"{top}/gone"))
    expect(client, 0, DELETE, version(f"{top}/gone"))
    # What is not in the log.
    expect(client, 0, GET_DATA, string(top) + b"\0")
    expect(client, 0, SYNC, string(top))
    client.ping()


def failures(client, top):
    expect(client, NODE_EXISTS, CREATE, create(f"{top}/plain"))
    expect(client, NODE_EXISTS, CREATE, create(f"{top}/plain", b"", 1))
    expect(client, NO_NODE, CREATE, create(f"{top}/none/child"))
    expect(client, NO_NODE, SET_DATA, set_data(f"{top}/none", b""))
    expect(client, BAD_VERSION, SET_DATA, set_data(f"{top}/plain", b"", 77))
    expect(client, NO_NODE, DELETE, version(f"{top}/none"))
    expect(client, NOT_EMPTY, DELETE, version(top))
    expect(client, NO_NODE, SET_ACL, string(f"{top}/none") + acl((31, "world", "anyone")) + struct.pack(">i", -1))
    wrong = acl((31, "nobody", "knows"))
    expect(client, INVALID_ACL, SET_ACL, string(f"{top}/plain") + wrong + struct.pack(">i", -1))
    assert client.call(RECONFIG, string("") * 3 + struct.pack(">q", -1)) != 0
    # No path, and a mode that does not exist: Java finds nothing to say.
    assert client.call(CREATE, create("no/path")) != 0
    assert client.call(CREATE, create(f"{top}/mode", b"", 99)) != 0


def multis(client, top):
    done = [
        (CHECK, version(f"{top}/plain")),
        (CREATE, create(f"{top}/m")),
        (CREATE, create(f"{top}/m-", b"", 2)),
        (CREATE2, create(f"{top}/m2", b"", 1)),
        (CREATE_CONTAINER, create(f"{top}/mc", b"", 4)),
        (CREATE_TTL, create(f"{top}/mt", b"", 5) + struct.pack(">q", 3_600_000)),
        (SET_DATA, set_data(f"{top}/m", b"z")),
        (DELETE, version(f"{top}/m")),
    ]
    expect(client, 0, MULTI, multi(*done))
    # It fails as a whole; the code is in its results.
    expect(client, 0, MULTI, multi((CREATE, create(f"{top}/never")), (DELETE, version(f"{top}/none"))))
    expect(client, 0, MULTI, multi((CHECK, version(f"{top}/plain"))))


def names(client, top):
    for auth in b"bob:secret", b"eve:other":
        assert client.call(AUTH, struct.pack(">i", 0) + string("digest") + buffer(auth), xid=-4) == 0
    own = string(f"{top}/own") + buffer(b"") + acl((31, "auth", "")) + struct.pack(">i", 0)
    expect(client, 0, CREATE, own)
    expect(client, 0, SET_DATA, set_data(f"{top}/own", b"1"))


def traffic(port, top):
    """What clients of one server do; ends once the server has said of it what it will say."""
    client = Session(port)
    single_writes(client, top)
    failures(client, top)
    multis(client, top)
    other = Session(port)
    names(other, top)
    expect(client, NO_AUTH, SET_DATA, set_data(f"{top}/own", b"2"))
    # Its request is on its way when it hangs up.
    gone = Session(port)
    gone.socket.sendall(buffer(struct.pack(">ii", 1, CREATE) + create(f"{top}/hung-up")))
    gone.socket.shutdown(socket.SHUT_WR)
    gone.drop()
    support.wait_until(lambda: client.call(GET_DATA, string(f"{top}/hung-up") + b"\0") == 0, 30, "/hung-up is there")
    client.close()
    late = Session(port, timeout_ms=EXPIRING_MS)
    for number in range(3):
        expect(late, 0, CREATE, create(f"{top}/late{number}", b"", 1))
    late.drop()

    def has_expired():
        other.ping()
        return other.call(GET_DATA, string(f"{top}/late0") + b"\0") == NO_NODE

    support.wait_until(has_expired, 60, "a session expires")
    other.close()


def events(log):
    """The events of a log, sessions counted."""
    found, sessions, group = [], {}, []
    for line in log.read_text().splitlines():
        event = EVENT.search(line)
        if not event:
            continue
        text = re.sub(
            r"^session=(0x\w+)", lambda at: f"session={sessions.setdefault(at[1], len(sessions))}", event[1]
        )
        text = re.sub(r"\buser=([^\t]*)", lambda at: "user=" + ",".join(sorted(at[1].split(","))), text)
        if "/hung-up" in text:
            text = re.sub(r"\bip=[^\t]*", "ip=ANY", text)
        if EPHEMERALS_GONE not in text:
            found += [*sorted(group), text]
            group = []
        else:
            group.append(text)
    return found + sorted(group)


def run(command, folder):
    """The events of each role."""
    found = {}
    for voters, observers in (1, 0), (2, 1):
        at = folder / str(voters)
        with Audited(command, at, voters, observers) as ensemble:
            roles = {sid: ensemble.role(sid) for sid in ensemble.ports}
            order = sorted(roles, key=lambda sid: roles[sid])
            for sid in order:
                traffic(ensemble.ports[sid], f"/{roles[sid]}")
            for sid in reversed(order):
                ensemble.stop(sid)
        for sid, role in roles.items():
            found[role] = events(at / str(sid) / "server.log")
    return found


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("--show", action="store_true", help="print zkfast's lines")
    options = parser.parse_args()
    os.environ["JAVA_TOOL_OPTIONS"] = JAVA_OPTIONS
    both = []
    with support.scratch("audit") as folder:
        for name, command in ("zookeeper", "reference"), ("zkfast", options.server):
            both.append(run(command, folder / name))
            print(f"ran    {name}: {({role: len(lines) for role, lines in both[-1].items()})}", flush=True)
        java, zkfast = both
        passed = failed = 0
        for role, theirs in java.items():
            assert len(theirs) > 40, f"{role}: Java has {len(theirs)} events"
            for at in range(max(len(theirs), len(zkfast[role]))):
                pair = [lines[at] if at < len(lines) else None for lines in (theirs, zkfast[role])]
                if options.show and pair[1]:
                    print(f"{role}: {pair[1]}")
                if pair[0] == pair[1]:
                    passed += 1
                else:
                    failed += 1
                    print(f"{role}, line {at + 1}: ZooKeeper {pair[0]!r}, zkfast {pair[1]!r}")
        support.report(passed, failed, 0, folder)


if __name__ == "__main__":
    main()
