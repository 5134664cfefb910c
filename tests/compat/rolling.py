#!/usr/bin/env python3
"""All five servers of an ensemble are restarted one by one by `zkfast rolling-restart` while 1,000 sessions write: no session is
lost and every write is answered. What the clients notice of it is printed: the writes that took longer than 50 ms.

    tests/compat/rolling.py                               one run
    tests/compat/rolling.py --runs 3 --rate 4000          three, with 4,000 writes per second
    tests/compat/rolling.py --server reference            servers of Apache ZooKeeper, restarted by the same command

The clients are those of loadgen. A write that is lost with its connection is sent again on the next one, and its time counts
from when it was first due.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402

support.use_environment()
import roles  # noqa: E402

SERVERS, SESSIONS = 5, 1000
SLOW_MS = 50
WARMUP_S = 2
# No promise: what takes longer hangs, however busy the machine is.
SECONDS_MAX = 240


def release(program):
    """A program of the release build."""
    return support.TARGET / "release" / program


class Restarts:
    """Restarts the servers that a command asks for by their numbers: the command ends once the server is told to start."""

    def __init__(self, ensemble, folder):
        self.ensemble, self.asked, self.done = ensemble, folder / "asked", folder / "done"
        for fifo in self.asked, self.done:
            os.mkfifo(fifo)
        self.command = f"echo {{id}} >{self.asked} && read -r _ <{self.done}"
        self.restarted, self.error = [], None
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while sid := self.asked.read_text().strip():
            self.restart(int(sid))
            self.done.write_text("done\n")

    def restart(self, sid):
        try:
            self.ensemble.stop(sid)
            self.ensemble.resume(sid)
        except Exception as error:
            self.error = error
        self.restarted.append(sid)

    def end(self):
        self.asked.write_text("\n")
        self.thread.join()
        if self.error:
            raise self.error


def loadgen(hosts, seconds, rate):
    """Starts the clients."""
    return subprocess.Popen(
        [release("loadgen"), "--server", hosts, "--workload", "set", "--connections", str(SESSIONS), "--in-flight", "4",
         "--rate", str(rate), "--warmup", str(WARMUP_S), "--seconds", str(seconds), "--retry", "--slow-ms", str(SLOW_MS), "--json"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def connections(ensemble):
    """Connections of all servers."""
    return sum(int(re.search(r"^Connections: (\d+)$", ensemble.word(sid, "srvr"), re.M)[1]) for sid in ensemble.kinds)


def run(server, folder, seconds, rate):
    """Restarts all servers once under load. Gives what loadgen found."""
    kinds = dict.fromkeys(range(1, SERVERS + 1), "java" if server == "reference" else "zkfast")
    with roles.Ensemble(server, folder, kinds, {"maxClientCnxns": 0}) as ensemble:
        ensemble.begin()
        leader = ensemble.wait_roles(*kinds)
        restarts = Restarts(ensemble, folder)
        hosts = ensemble.hosts()
        ports = ",".join(f"127.0.0.1:{ensemble.admin[sid]}" for sid in kinds)
        load = loadgen(hosts, seconds, rate)
        try:
            support.wait_until(lambda: connections(ensemble) >= SESSIONS or time.sleep(0.1), SECONDS_MAX, "all sessions are open")
            time.sleep(WARMUP_S + 1)
            words = [release("zkfast"), "rolling-restart", "--server", hosts, "--http", ports]
            begun = time.monotonic()
            rolled = subprocess.run([*words, "--command", restarts.command], capture_output=True, text=True, timeout=SECONDS_MAX)
            took = time.monotonic() - begun
            assert rolled.returncode == 0, f"exit status {rolled.returncode}\n{rolled.stdout}{rolled.stderr}"
            assert load.poll() is None, f"the load ended before the restarts, which took {took:.1f} s: give it more --seconds"
            found = json.loads(load.communicate(timeout=SECONDS_MAX)[0])
        finally:
            load.kill()
            load.wait()
        restarts.end()
        assert restarts.restarted[-1] == leader and sorted(restarts.restarted) == [*kinds], f"restarted: {restarts.restarted}"
        assert load.returncode == 0, f"loadgen ended with {load.returncode}"
        found["took_s"], found["said"] = took, rolled.stdout
        return found


def checked(found):
    """Prints what the clients saw, and asserts what they are promised."""
    slow = found["slow"]["writes"]
    print(
        f"       {SERVERS} servers in {found['took_s']:.1f} s, {SESSIONS} sessions, {found['write']['ops_per_s']:.0f} writes/s:"
        f" {found['expired']} sessions lost, {slow} of {found['write']['ops']} writes over {SLOW_MS} ms,"
        f" the longest {found['write']['max_us'] / 1000:.0f} ms; {found['reconnects']} reconnects, {found['lost']} writes sent"
        f" again; errors: {found['errors'] or 'none'}"
    )
    assert found["reconnects"] >= SESSIONS, "not every server had clients"
    assert found["expired"] == 0, f"{found['expired']} sessions expired"
    assert not set(found["errors"]) - {"connect"}, f"errors: {found['errors']}"
    assert (found["wrong"], found["unanswered"], found["unsent"]) == (0, 0, 0), found


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("--runs", type=int, default=1, help="so many runs, one after the other")
    parser.add_argument("--rate", type=int, default=2000, help="writes per second of all sessions together")
    parser.add_argument("--seconds", type=int, default=0, help="measured time of a run [default: 30, of Apache ZooKeeper 90]")
    parser.add_argument("--say", action="store_true", help="print what the command says")
    options = parser.parse_args()
    seconds = options.seconds or (90 if options.server == "reference" else 30)

    def case(number):
        def rolling_restart():
            found = run(options.server, folder / str(number), seconds, options.rate)
            if options.say:
                print(found["said"], end="")
            checked(found)

        return rolling_restart

    with support.scratch("rolling") as folder:
        for number in range(options.runs):
            (folder / str(number)).mkdir()
        support.run_cases([case(number) for number in range(options.runs)], folder)


if __name__ == "__main__":
    main()
