#!/usr/bin/env python3
"""What works with a small tree on a quick disk, again with 250 MB, under load, with flushes that take 10 ms more.

    tests/compat/size.py                        against the release zkfast
    tests/compat/size.py --server reference     against Apache ZooKeeper

Three servers are one service; as many writes of 1 KB as they take go on all the time. A follower stands still until its
leader has given it up, another comes back with an empty directory, all are killed and started again. Then a server
joins two servers of Apache ZooKeeper that have 300,000 znodes. Each time every write that was acknowledged is there.
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
# A busy machine may leave a process without its core for four seconds (seen); that is no follower that is gone.
TICK_MS, INIT_LIMIT, SYNC_LIMIT = 1000, 30, 10
# Longer than the leader waits for a follower that says nothing.
STOPPED_S = 1.5 * SYNC_LIMIT * TICK_MS / 1000
# None of this is a promise; only what never comes is a failure, on a machine however busy.
SECONDS_MAX = 240
# What a directory may have beside trees and the writes that came meanwhile: segments that are prepared or begun.
SEGMENTS_BYTES = 256 << 20
JAVA_ZNODES, JAVA_ZNODE_BYTES, JAVA_TICK_MS = 300_000, 60, 500


def written_bytes(load):
    """What the log has of it at most."""
    return load.acknowledged.value * (WRITE_BYTES + 200)


def returned(found, tries):
    """That a server is back, in step, after as many tries as it may take, and nothing looked wrong to it."""
    print("       " + ", ".join(f"{key}={found[key]}" for key in (
        "joined_s", "in_step_s", "tries", "sync", "joiner_disk_most_bytes", "joiner_peak_bytes", "leader_peak_bytes")))
    assert found["joiner_ended_with"] is None, f"it ended with {found['joiner_ended_with']}"
    assert found["in_step_s"] is not None, f"not in step after {found['waited_s']} s and {found['tries']} tries"
    assert found["tries"] in tries, f"{found['tries']} tries"


def nothing_is_wrong(ensemble):
    """No server wrote an ERROR. Java writes one where its own digests disagree."""
    wrong = {str(member): member.errors()[:3] for member in ensemble.members if member.kind != "java"}
    assert not any(wrong.values()), wrong


def nothing_is_lost(ensemble, load):
    for member in ensemble.members:
        missing = mixed.lost(member.port, load.results)
        assert not missing, f"{member} lacks the newest of {len(missing)} znodes: {missing[:3]}"


def three(ensemble, disk, folder):
    """Cases of three servers, in their order."""
    loads = []

    def a_tree_of_250_mb_is_made_while_flushes_take_10_ms():
        disk.set(flush_ms=FLUSH_MS)
        ensemble.start()
        ensemble.wait()
        mixed.create_all(ensemble.leader().port, mixed.tree(ZNODES, ZNODE_BYTES))
        # On the leader as long as it leads: a follower that stands still must not take the load with it.
        leader = ensemble.leader()
        ports = sorted(ensemble.ports(), key=lambda port: port != leader.port)
        loads.append(mixed.Load(ports, "three", folder, window=200, size=WRITE_BYTES))
        loads[0].wait(200, SECONDS_MAX)

    def a_follower_that_stood_still_under_load_is_back_in_one_try():
        leader = ensemble.leader()
        follower = next(member for member in ensemble.members if member is not leader)
        follower.signal(signal.SIGSTOP)
        time.sleep(STOPPED_S)
        target = leader.state()[1]
        found = mixed.join(follower, leader, SECONDS_MAX, lambda: follower.signal(signal.SIGCONT), target)
        # None where the leader had not given it up.
        returned(found, (0, 1))

    def a_server_with_an_empty_directory_joins_in_one_try_and_takes_no_more_than_two_trees_of_disk():
        leader = ensemble.leader()
        joiner = next(member for member in reversed(ensemble.members) if member is not leader)
        assert joiner.stop(), f"{joiner} did not end after TERM"
        status = joiner.process.returncode
        assert status == (143 if joiner.kind == "java" else 0), f"{joiner} ended with {status} after TERM"
        joiner.become(joiner.kind)
        before = written_bytes(loads[0])
        found = mixed.join(joiner, leader, SECONDS_MAX)
        returned(found, (1,))
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
        nothing_is_lost(ensemble, loads[0])
        for member in ensemble.members:
            wrong = mixed.tree_damage(member.port, ZNODES, ZNODE_BYTES)
            assert not wrong, f"{member}: {wrong[:3]}"

    def no_server_writes_an_error():
        nothing_is_wrong(ensemble)

    return [
        a_tree_of_250_mb_is_made_while_flushes_take_10_ms,
        a_follower_that_stood_still_under_load_is_back_in_one_try,
        a_server_with_an_empty_directory_joins_in_one_try_and_takes_no_more_than_two_trees_of_disk,
        all_are_killed_under_load_and_nothing_that_was_acknowledged_is_lost,
        no_server_writes_an_error,
    ], loads


def beside_java(ensemble, kind, folder):
    """Cases of an ensemble that Java leads."""
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
        returned(found, (1,))
        loads[0].stop()
        nothing_is_lost(ensemble, loads[0])
        wrong = mixed.tree_damage(joiner.port, JAVA_ZNODES, JAVA_ZNODE_BYTES)
        assert not wrong, wrong[:3]
        nothing_is_wrong(ensemble)

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
        # Pings come each half tick, which a learner must not answer before its time; nothing else depends on the tick.
        patient = {"initLimit": 120, "syncLimit": 120, "maxSessionTimeout": 60_000}
        of_java = mixed.Options(words, place("java"), JAVA_TICK_MS, keys=patient)
        with mixed.Ensemble([kind] * 3, of_three) as one, mixed.Ensemble(["java", "java", kind], of_java) as other:
            first, first_loads = three(one, disk, str(folder))
            second, second_loads = beside_java(other, kind, str(folder))

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
