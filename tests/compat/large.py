#!/usr/bin/env python3
"""Long lists of children, many watches, many sessions: what a server does with more of them than usual.

    tests/compat/large.py                        against the release zkfast
    tests/compat/large.py --server reference     against Apache ZooKeeper

The full sizes are those of benches/compare/large.py; these are as large as a test may take.
"""

import os
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "benches/compare"))
import crowd  # noqa: E402
import mixed  # noqa: E402
import session  # noqa: E402
import support  # noqa: E402

FEW_CHILDREN, CHILDREN, CHANGES = 1000, 300_000, 10_000
DELETE, GET_CHILDREN = 2, 8
WATCHERS, WATCHED = 100, 1000
SESSIONS, TIMEOUT_MS, TICK_MS = 3000, 10_000, 500
# A list that a change walks makes the change cost hundreds of times as much; a busy machine less than this.
COST_FACTOR_MAX = 4
# A start reads a segment of the log into memory (64 MiB), and needs some more of what it serves.
START_FACTOR_MAX, START_BYTES_MAX = 1.1, 80 << 20
# No promise: a step that takes longer than this hangs, however busy the machine is.
SECONDS_MAX = 240


def send_all(connection, requests, in_flight=1000):
    """Sends requests, none of which may fail."""
    for first in range(0, len(requests), in_flight):
        codes = {code for _, code in connection.pipeline(requests[first:first + in_flight])}
        assert codes == {0}, f"codes {codes}"


def child(number):
    return f"/many/{number:07}"


def listed(connection, path):
    """The names that one getChildren gives."""
    connection.xid += 1
    connection.send(struct.pack(">ii", connection.xid, GET_CHILDREN) + session.string(path) + b"\0")
    answer = connection.receive()
    code, count = struct.unpack_from(">ii", answer, 12)
    assert code == 0, f"code {code}"
    names, at = [], 20
    for _ in range(count):
        length, = struct.unpack_from(">i", answer, at)
        names.append(answer[at + 4:at + 4 + length].decode())
        at += 4 + length
    assert at == len(answer), f"{len(answer) - at} bytes after the names"
    return names


def status_bytes(member, key):
    with open(f"/proc/{member.process.pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(f"{key}:"))


def cpu_us(member):
    with open(f"/proc/{member.process.pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")


def change_us(member, connection):
    """CPU time of a create below the parent and the delete after it."""
    name = "/many/changed"
    pair = [session.create(name, bytes(100)), (DELETE, session.string(name) + struct.pack(">i", -1))]
    before = cpu_us(member)
    send_all(connection, pair * CHANGES)
    return (cpu_us(member) - before) / CHANGES


def alone(ensemble):
    """The cases of one server."""
    member = ensemble.member(1)

    def a_change_below_300000_children_costs_what_it_costs_below_1000():
        ensemble.start()
        ensemble.wait()
        connection = mixed.Connection(member.port, None, 0)
        send_all(connection, [session.create("/many", b"")])
        costs, made = [], 0
        for count in (FEW_CHILDREN, CHILDREN):
            send_all(connection, [session.create(child(at), bytes(100)) for at in range(made, count)])
            made = count
            # Java compiles while it runs: the second time counts.
            change_us(member, connection)
            costs.append(change_us(member, connection))
        print(f"       {costs[0]:.1f} us below {FEW_CHILDREN}, {costs[1]:.1f} us below {CHILDREN}")
        assert costs[1] <= COST_FACTOR_MAX * costs[0], costs
        connection.close()

    def one_answer_lists_all_children_though_it_is_longer_than_a_request_may_be():
        connection = mixed.Connection(member.port, None, 0)
        names = listed(connection, "/many")
        assert len(names) == CHILDREN and set(names) == {os.path.basename(child(at)) for at in range(CHILDREN)}
        # The connection serves on.
        send_all(connection, [session.set_data("/many", b"listed")])
        connection.close()

    def a_start_needs_little_more_memory_than_what_it_serves():
        assert member.stop(), "it did not end after TERM"
        member.start()
        ensemble.wait(limit_s=SECONDS_MAX)
        served, peak = status_bytes(member, "VmRSS"), member.peak_bytes()
        print(f"       {served / 1e6:.0f} MB served, {peak / 1e6:.0f} MB at most")
        # A JVM takes what its heap allows.
        if member.kind == "zkfast":
            assert peak <= START_FACTOR_MAX * served + START_BYTES_MAX, f"{peak} bytes, to serve {served}"
        connection = mixed.Connection(member.port, None, 0)
        assert len(listed(connection, "/many")) == CHILDREN
        connection.close()

    def each_of_100000_watches_fires_once():
        paths = [f"/watched-{at:05}" for at in range(WATCHED)]
        many = crowd.Crowd(WATCHERS, [member.port], TIMEOUT_MS)
        many.open(SECONDS_MAX)
        many.watch(paths, SECONDS_MAX)
        connection = mixed.Connection(member.port, None, 0)
        send_all(connection, [session.create(path, b"") for path in paths])
        # Once more, which nobody watches any longer.
        send_all(connection, [session.set_data(path, b"changed") for path in paths])
        many.until(lambda: all(len(one.events) == WATCHED for one in many.members), SECONDS_MAX, "all events are here")
        many.hold(1)
        assert many.lacking_events(paths) == 0, f"{many.lacking_events(paths)} events are missing or came twice"
        assert many.losses == 0, f"{many.losses} connections ended"
        many.close()
        connection.close()

    return [a_change_below_300000_children_costs_what_it_costs_below_1000,
            one_answer_lists_all_children_though_it_is_longer_than_a_request_may_be,
            a_start_needs_little_more_memory_than_what_it_serves, each_of_100000_watches_fires_once]


def three(ensemble):
    """The cases of three servers."""

    def all_of_3000_sessions_are_back_after_the_leader_was_killed_and_none_has_expired():
        ensemble.start()
        ensemble.wait()
        many = crowd.Crowd(SESSIONS, ensemble.ports(), TIMEOUT_MS)
        many.open(SECONDS_MAX)
        ids = many.ids()
        assert len(ids) == SESSIONS
        ensemble.leader().kill()
        many.until(lambda: many.losses > 0, SECONDS_MAX, "sessions lose their connections")
        back_s = many.until(lambda: many.ready == SESSIONS, SECONDS_MAX, "all are back")
        print(f"       back after {back_s:.1f} s")
        # Sessions that the new leader does not know to be alive expire within a timeout.
        many.hold(TIMEOUT_MS / 1000 + 2 * TICK_MS / 1000)
        assert many.expired == many.wrong == 0 and many.ids() == ids, f"{many.expired} expired, {many.wrong} wrong"
        assert many.ready == SESSIONS, f"{SESSIONS - many.ready} are not connected"
        many.close()

    return [all_of_3000_sessions_are_back_after_the_leader_was_killed_and_none_has_expired]


def main():
    options = support.arguments(__doc__).parse_args()
    kind = "java" if options.server == "reference" else "zkfast"
    words = support.server_command("" if kind == "java" else options.server)
    if kind == "java":
        mixed.jars()
    crowd.allow_files(2 * SESSIONS + 1000)
    with support.scratch("large") as folder:

        def place(name):
            (folder / name).mkdir()
            return str(folder / name)

        keys = {"maxSessionTimeout": 120_000}
        one = mixed.Options(words, place("one"), TICK_MS, heap="2g", keys=keys)
        other = mixed.Options(words, place("three"), TICK_MS, keys={**keys, "initLimit": 20, "syncLimit": 10})
        with mixed.Ensemble([kind], one) as first, mixed.Ensemble([kind] * 3, other) as second:
            support.run_cases([*alone(first), *three(second)], folder)


if __name__ == "__main__":
    main()
