#!/usr/bin/env python3
"""Ensembles with a tree of 250 MB, under load, on disks whose flushes take 10 ms more, lose no acknowledged write.

    tests/compat/size.py                        against the release zkfast
    tests/compat/size.py --server reference     against Apache ZooKeeper

A client writes 1 KB at a time to three servers without pause. A follower is suspended until the leader has dropped it, a
server rejoins with an empty directory, and all are killed and started again. Then a server joins two servers of Apache
ZooKeeper that have 300,000 znodes. After each step the servers must have every acknowledged write.
"""

import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "benches/compare"))
import mixed  # noqa: E402
import support  # noqa: E402

ZNODES, ZNODE_BYTES = 50_000, 5000
TREE_BYTES = ZNODES * (ZNODE_BYTES + 100)
WRITE_BYTES = 1000
FLUSH_MS = 10
# On a busy machine a process was without a core for four seconds. A leader must not drop such a follower.
TICK_MS, INIT_LIMIT, SYNC_LIMIT = 1000, 30, 10
# Longer than the leader waits for a silent follower.
STOPPED_S = 1.5 * SYNC_LIMIT * TICK_MS / 1000
# No promise: a step that takes longer than this hangs, however busy the machine is.
SECONDS_MAX = 240
# Bytes that a directory may have beside trees and new writes, in log segments that are prepared or not full.
SEGMENTS_BYTES = 256 << 20
JAVA_ZNODES, JAVA_ZNODE_BYTES, JAVA_TICK_MS = 300_000, 60, 500


def written_bytes(load):
    """The most bytes that the log has of this load."""
    return load.acknowledged.value * (WRITE_BYTES + 200)


def assert_in_step(found, tries):
    """Asserts that a server is in step with the leader, after a number of tries in `tries`, and did not exit."""
    print("       " + ", ".join(f"{key}={found[key]}" for key in (
        "joined_s", "in_step_s", "tries", "sync", "joiner_disk_most_bytes", "joiner_peak_bytes", "leader_peak_bytes")))
    assert found["joiner_ended_with"] is None, f"it ended with {found['joiner_ended_with']}"
    assert found["in_step_s"] is not None, f"not in step after {found['waited_s']} s and {found['tries']} tries"
    assert found["tries"] in tries, f"{found['tries']} tries"


def assert_no_errors(ensemble):
    """Asserts that no zkfast server logged an ERROR. Java logs one when its own digests disagree."""
    wrong = {str(member): member.errors()[:3] for member in ensemble.members if member.kind != "java"}
    assert not any(wrong.values()), wrong


def assert_nothing_lost(ensemble, load):
    """Asserts that every server has every acknowledged write of the load."""
    for member in ensemble.members:
        missing = mixed.lost(member.port, load.results)
        assert not missing, f"{member} lacks the newest of {len(missing)} znodes: {missing[:3]}"


def three(ensemble, disk, folder):
    """The cases of three servers, in order."""
    loads = []

    def a_tree_of_250_mb_is_made_while_flushes_take_10_ms():
        disk.set(flush_ms=FLUSH_MS)
        ensemble.start()
        ensemble.wait()
        mixed.create_all(ensemble.leader().port, mixed.tree(ZNODES, ZNODE_BYTES))
        # The client prefers the leader, so that the load goes on while a follower is suspended.
        leader = ensemble.leader()
        ports = sorted(ensemble.ports(), key=lambda port: port != leader.port)
        loads.append(mixed.Load(ports, "three", folder, window=200, size=WRITE_BYTES))
        loads[0].wait(200, SECONDS_MAX)

    def a_follower_that_was_suspended_under_load_rejoins_in_one_try():
        leader = ensemble.leader()
        follower = next(member for member in ensemble.members if member is not leader)
        follower.signal(signal.SIGSTOP)
        time.sleep(STOPPED_S)
        target = leader.state()[1]
        found = mixed.join(follower, leader, SECONDS_MAX, lambda: follower.signal(signal.SIGCONT), target)
        # No try if the leader has not dropped it.
        assert_in_step(found, (0, 1))

    def a_server_with_an_empty_directory_joins_in_one_try_and_takes_no_more_than_two_trees_of_disk():
        leader = ensemble.leader()
        joiner = next(member for member in reversed(ensemble.members) if member is not leader)
        assert joiner.stop(), f"{joiner} did not end after TERM"
        status = joiner.process.returncode
        assert status == (143 if joiner.kind == "java" else 0), f"{joiner} ended with {status} after TERM"
        joiner.become(joiner.kind)
        before = written_bytes(loads[0])
        found = mixed.join(joiner, leader, SECONDS_MAX)
        assert_in_step(found, (1,))
        limit = 2 * TREE_BYTES + written_bytes(loads[0]) - before + SEGMENTS_BYTES
        most = found["joiner_disk_most_bytes"]
        assert most <= limit, f"{most} bytes of disk, over {limit}"

    def all_are_killed_under_load_and_nothing_that_was_acknowledged_is_lost():
        for member in ensemble.members:
            member.kill()
        ensemble.start()
        ensemble.wait(limit_s=SECONDS_MAX)
        acknowledged = loads[0].acknowledged.value
        loads[0].wait(acknowledged + 200, SECONDS_MAX)
        results = loads[0].stop()
        print(f"       {results['acknowledged']} writes acknowledged, longest gap {mixed.longest_gap(results):.1f} s")
        assert_nothing_lost(ensemble, loads[0])
        for member in ensemble.members:
            wrong = mixed.tree_damage(member.port, ZNODES, ZNODE_BYTES)
            assert not wrong, f"{member}: {wrong[:3]}"

    def no_server_writes_an_error():
        assert_no_errors(ensemble)

    return [
        a_tree_of_250_mb_is_made_while_flushes_take_10_ms,
        a_follower_that_was_suspended_under_load_rejoins_in_one_try,
        a_server_with_an_empty_directory_joins_in_one_try_and_takes_no_more_than_two_trees_of_disk,
        all_are_killed_under_load_and_nothing_that_was_acknowledged_is_lost,
        no_server_writes_an_error,
    ], loads


def joining_java(ensemble, kind, folder):
    """The cases of an ensemble with a Java leader."""
    loads = []

    def an_empty_server_joins_a_java_leader_with_300000_znodes_in_one_try():
        first, joiner = ensemble.members[:2], ensemble.member(3)
        ensemble.start(first)
        ensemble.wait(first)
        leader = ensemble.leader()
        mixed.create_all(leader.port, mixed.tree(JAVA_ZNODES, JAVA_ZNODE_BYTES))
        loads.append(mixed.Load([leader.port], "java", folder, rate=20, window=100))
        loads[0].wait(20)
        found = mixed.join(joiner, leader, SECONDS_MAX)
        assert_in_step(found, (1,))
        loads[0].stop()
        assert_nothing_lost(ensemble, loads[0])
        wrong = mixed.tree_damage(joiner.port, JAVA_ZNODES, JAVA_ZNODE_BYTES)
        assert not wrong, wrong[:3]
        assert_no_errors(ensemble)

    assert ensemble.member(3).kind == kind
    return [an_empty_server_joins_a_java_leader_with_300000_znodes_in_one_try], loads


def main():
    options = support.arguments(__doc__).parse_args()
    kind = "java" if options.server == "reference" else "zkfast"
    words = support.server_command("" if kind == "java" else options.server)
    mixed.jars()
    with support.scratch("size") as folder:
        disk = mixed.Disk(str(folder))

        def place(name):
            (folder / name).mkdir()
            return str(folder / name)

        limits = {"initLimit": INIT_LIMIT, "syncLimit": SYNC_LIMIT}
        of_three = mixed.Options(words, place("three"), TICK_MS, disk=disk, keys=limits)
        # Java's leader pings every half tick. A learner that loads a tree may answer late, so the limits are large.
        patient = {"initLimit": 120, "syncLimit": 120, "maxSessionTimeout": 60_000}
        of_java = mixed.Options(words, place("java"), JAVA_TICK_MS, keys=patient)
        with mixed.Ensemble([kind] * 3, of_three) as one, mixed.Ensemble(["java", "java", kind], of_java) as other:
            first, first_loads = three(one, disk, str(folder))
            second, second_loads = joining_java(other, kind, str(folder))

            def the_three_are_done():
                for member in one.members:
                    member.kill()

            try:
                support.run_cases([*first, the_three_are_done, *second], folder)
            finally:
                for load in first_loads + second_loads:
                    if load.process.is_alive():
                        load.process.kill()


if __name__ == "__main__":
    main()
