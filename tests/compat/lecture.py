#!/usr/bin/env python3
"""Leader election as it is taught with ZooKeeper, by a real client in real processes.

Three candidates create ephemeral sequential znodes; the first leads, each other watches only its predecessor. The
leader is killed (SIGKILL): the second leads within its session timeout, and the third is not woken.

    tests/compat/lecture.py                        against the release zkfast
    tests/compat/lecture.py --server reference     against Apache ZooKeeper
"""

import json
import os
import pathlib
import queue
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402

ELECTION = "/myapp/leader_election"
TICK_TIME_MS = 500
# Long enough that no session ends because a busy machine keeps its client from running.
SESSION_TIMEOUT_MS = 6000
# For a process to start and import its client, or to answer a question: what takes longer hangs.
ANSWER_SECONDS_MAX = support.ANSWER_SECONDS_MAX
# What a client process may take from the event's arrival to its own line about it. The time in which it, or the server,
# was ready to run and others had the cores comes on top, as measured.
SCHEDULING_SECONDS_MAX = 1.0


def candidate(address):
    """One candidate: tells on stdout, a JSON object a line, what it is and each event it gets; answers `status`."""
    from kazoo.client import KazooClient
    from kazoo.protocol.states import Callback

    def tell(**what):
        print(json.dumps(what), flush=True)

    inbox, woken = queue.SimpleQueue(), []

    def on_event(event):
        woken.append([event.type, event.path])
        tell(event=event.type, path=event.path)
        inbox.put("look")

    def listen():
        for line in sys.stdin:
            inbox.put(line.strip())
        inbox.put("end")

    client = KazooClient(address, timeout=SESSION_TIMEOUT_MS / 1000)
    client.start(ANSWER_SECONDS_MAX)
    path = client.create(f"{ELECTION}/n_", b"", ephemeral=True, sequence=True, makepath=True)
    me = path.rpartition("/")[2]
    tell(joined=me, session=f"0x{client.client_id[0]:x}", timeout_ms=client._session_timeout)
    inbox.put("look")
    threading.Thread(target=listen, daemon=True).start()
    while (message := inbox.get()) != "end":
        if message == "status":
            # The reply comes after every event that the server sent before it, and the marker behind their callbacks.
            client.exists(ELECTION)
            flushed = threading.Event()
            client.handler.dispatch_callback(Callback("marker", flushed.set, ()))
            flushed.wait(ANSWER_SECONDS_MAX)
            tell(woken=woken)
            continue
        members = sorted(client.get_children(ELECTION))
        if members[0] == me:
            tell(leads=me)
        else:
            predecessor = members[members.index(me) - 1]
            if client.exists(f"{ELECTION}/{predecessor}", watch=on_event):
                tell(watches=predecessor)
            else:
                inbox.put("look")


class Candidate:
    """A candidate's process, seen from the lecture."""

    def __init__(self, address):
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--candidate", address],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        self.lines = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put((time.monotonic(), json.loads(line)))
        self.lines.put((time.monotonic(), {"ended": True}))

    def next(self, key, seconds=ANSWER_SECONDS_MAX):
        """When its next line came, and what that line says under `key`; a line about something else is a failure."""
        try:
            when, line = self.lines.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"nothing was said within {seconds} s, awaited {key!r}") from None
        assert key in line, f"awaited {key!r}, got {line}"
        return when, line if key in ("joined", "event") else line[key]

    def woken(self):
        """Every watch event it has got so far."""
        self.process.stdin.write("status\n")
        return self.next("woken")[1]

    def kill(self):
        self.process.kill()
        self.process.wait()
        return time.monotonic()


def watched_paths(server):
    """Path to the number of sessions that watch it, as the server itself says (`wchp`)."""
    watched, path = {}, None
    for line in server.four_letter_word("wchp").splitlines():
        if line.startswith("/"):
            path = line
            watched[path] = 0
        elif line.strip():
            watched[path] += 1
    return watched


def lecture(server, candidates):
    """The cases in their order; `candidates` takes every process that must be ended."""
    told = []

    def each_candidate_watches_only_its_predecessor():
        for number in range(3):
            one = Candidate(server.address)
            candidates.append(one)
            told.append(one.next("joined")[1])
            assert told[-1]["joined"] == f"n_{number:010}", told
            assert told[-1]["timeout_ms"] == SESSION_TIMEOUT_MS, told
            if number == 0:
                one.next("leads")
            else:
                assert one.next("watches")[1] == told[number - 1]["joined"]
        expected = {f"{ELECTION}/{told[number]['joined']}": 1 for number in (0, 1)}
        assert watched_paths(server) == expected, watched_paths(server)

    def the_second_leads_within_the_session_timeout_of_the_killed_first():
        second = candidates[1]
        pids = (second.process.pid, server.process.pid)
        kept = support.kept_waiting(*pids)
        killed = candidates[0].kill()
        gone = f"{ELECTION}/{told[0]['joined']}"
        when, event = second.next("event")
        assert event == {"event": "DELETED", "path": gone}, event
        when, _ = second.next("leads")
        taken, kept = when - killed, max(0, support.kept_waiting(*pids) - kept)
        # Sessions end on a tick, the first at or after their timeout (ExpiryQueue).
        limit = (SESSION_TIMEOUT_MS + TICK_TIME_MS) / 1000 + SCHEDULING_SECONDS_MAX + kept
        print(f"       the second leads {taken:.2f} s after the kill, session timeout {SESSION_TIMEOUT_MS / 1000} s, "
              f"kept waiting for a core {kept:.2f} s")  # fmt: skip
        # A closed socket is not the end of a session: the server last heard of it at most a ping interval (a third of
        # the timeout) before the kill.
        assert SESSION_TIMEOUT_MS / 2000 <= taken <= limit, taken

    def the_third_was_not_woken():
        assert candidates[2].woken() == [], candidates[2].woken()
        assert len(candidates[1].woken()) == 1
        assert watched_paths(server) == {f"{ELECTION}/{told[1]['joined']}": 1}, watched_paths(server)

    def the_third_leads_after_the_second():
        candidates[1].kill()
        _, event = candidates[2].next("event")
        assert event == {"event": "DELETED", "path": f"{ELECTION}/{told[1]['joined']}"}, event
        candidates[2].next("leads")
        assert len(candidates[2].woken()) == 1

    return [
        each_candidate_watches_only_its_predecessor,
        the_second_leads_within_the_session_timeout_of_the_killed_first,
        the_third_was_not_woken,
        the_third_leads_after_the_second,
    ]


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("--candidate", metavar="ADDRESS", help="be a candidate (the lecture starts these)")
    options = parser.parse_args()
    support.use_environment()
    if options.candidate:
        candidate(options.candidate)
        # Threads of the client are left as they are: leaving without closing the session is the point.
        os._exit(0)
    candidates = []
    with support.scratch("lecture") as folder, support.Server(options.server, folder, TICK_TIME_MS) as server:
        try:
            support.run_cases(lecture(server, candidates), folder)
        finally:
            for one in candidates:
                one.kill()


if __name__ == "__main__":
    main()
