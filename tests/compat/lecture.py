#!/usr/bin/env python3
"""The leader election of ZooKeeper's recipes, with a real client (kazoo) in real processes.

Three candidates create ephemeral sequential znodes. The first leads, and each of the others watches only its predecessor.
After SIGKILL of the leader the second leads within the session timeout, and the third gets no event.

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
# Long enough that no session expires because a busy machine keeps its client from running.
SESSION_TIMEOUT_MS = 6000
# For a process to start and import its client, or to answer `status`. A process that needs longer hangs.
ANSWER_SECONDS_MAX = support.ANSWER_SECONDS_MAX
# How long a client process may take from the arrival of an event to its line about it. The time in which it or the server
# was ready to run but had no core is measured and comes on top.
SCHEDULING_SECONDS_MAX = 1.0


def candidate(address):
    """A candidate's process. It prints its role and each event as a JSON object per line, and answers `status`."""
    from kazoo.client import KazooClient
    from kazoo.protocol.states import Callback

    def write_line(**what):
        print(json.dumps(what), flush=True)

    inbox, events = queue.SimpleQueue(), []

    def on_event(event):
        events.append([event.type, event.path])
        write_line(event=event.type, path=event.path)
        inbox.put("check")

    def listen():
        for line in sys.stdin:
            inbox.put(line.strip())
        inbox.put("end")

    client = KazooClient(address, timeout=SESSION_TIMEOUT_MS / 1000)
    client.start(ANSWER_SECONDS_MAX)
    path = client.create(f"{ELECTION}/n_", b"", ephemeral=True, sequence=True, makepath=True)
    me = path.rpartition("/")[2]
    write_line(joined=me, session=f"0x{client.client_id[0]:x}", timeout_ms=client._session_timeout)
    inbox.put("check")
    threading.Thread(target=listen, daemon=True).start()
    while (message := inbox.get()) != "end":
        if message == "status":
            # The reply follows every event that the server sent before it, and the marker follows their callbacks.
            client.exists(ELECTION)
            flushed = threading.Event()
            client.handler.dispatch_callback(Callback("marker", flushed.set, ()))
            flushed.wait(ANSWER_SECONDS_MAX)
            write_line(events=events)
            continue
        members = sorted(client.get_children(ELECTION))
        if members[0] == me:
            write_line(leads=me)
        else:
            predecessor = members[members.index(me) - 1]
            if client.exists(f"{ELECTION}/{predecessor}", watch=on_event):
                write_line(watches=predecessor)
            else:
                inbox.put("check")


class Candidate:
    """A candidate's process, as the test uses it."""

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
        """The time of its next line, and the line's value for `key`. A line without `key` is a failure."""
        try:
            when, line = self.lines.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"no line within {seconds} s, awaited {key!r}") from None
        assert key in line, f"awaited {key!r}, got {line}"
        return when, line if key in ("joined", "event") else line[key]

    def events(self):
        """All watch events that it has got so far."""
        self.process.stdin.write("status\n")
        return self.next("events")[1]

    def kill(self):
        self.process.kill()
        self.process.wait()
        return time.monotonic()


def watched_paths(server):
    """The number of sessions that watch each path, from the server's `wchp`."""
    watched, path = {}, None
    for line in server.four_letter_word("wchp").splitlines():
        if line.startswith("/"):
            path = line
            watched[path] = 0
        elif line.strip():
            watched[path] += 1
    return watched


def lecture(server, candidates):
    """The cases, in order. They append to `candidates` every process that must be killed at the end."""
    joined = []

    def each_candidate_watches_only_its_predecessor():
        for number in range(3):
            one = Candidate(server.address)
            candidates.append(one)
            joined.append(one.next("joined")[1])
            assert joined[-1]["joined"] == f"n_{number:010}", joined
            assert joined[-1]["timeout_ms"] == SESSION_TIMEOUT_MS, joined
            if number == 0:
                one.next("leads")
            else:
                assert one.next("watches")[1] == joined[number - 1]["joined"]
        expected = {f"{ELECTION}/{joined[number]['joined']}": 1 for number in (0, 1)}
        assert watched_paths(server) == expected, watched_paths(server)

    def the_second_leads_within_the_session_timeout_of_the_killed_first():
        second = candidates[1]
        pids = (second.process.pid, server.process.pid)
        without_core = support.runnable_without_core(*pids)
        killed = candidates[0].kill()
        gone = f"{ELECTION}/{joined[0]['joined']}"
        when, event = second.next("event")
        assert event == {"event": "DELETED", "path": gone}, event
        when, _ = second.next("leads")
        taken = when - killed
        without_core = max(0, support.runnable_without_core(*pids) - without_core)
        # A session expires at the first tick at or after its timeout (ExpiryQueue).
        limit = (SESSION_TIMEOUT_MS + TICK_TIME_MS) / 1000 + SCHEDULING_SECONDS_MAX + without_core
        print(f"       the second leads {taken:.2f} s after the kill, session timeout {SESSION_TIMEOUT_MS / 1000} s, "
              f"without a core {without_core:.2f} s")  # fmt: skip
        # A closed socket does not end a session. The server heard the client last at most a ping interval (a third of the
        # timeout) before the kill.
        assert SESSION_TIMEOUT_MS / 2000 <= taken <= limit, taken

    def the_third_got_no_event():
        assert candidates[2].events() == [], candidates[2].events()
        assert len(candidates[1].events()) == 1
        assert watched_paths(server) == {f"{ELECTION}/{joined[1]['joined']}": 1}, watched_paths(server)

    def the_third_leads_after_the_second():
        candidates[1].kill()
        _, event = candidates[2].next("event")
        assert event == {"event": "DELETED", "path": f"{ELECTION}/{joined[1]['joined']}"}, event
        candidates[2].next("leads")
        assert len(candidates[2].events()) == 1

    return [
        each_candidate_watches_only_its_predecessor,
        the_second_leads_within_the_session_timeout_of_the_killed_first,
        the_third_got_no_event,
        the_third_leads_after_the_second,
    ]


def main():
    parser = support.arguments(__doc__)
    parser.add_argument("--candidate", metavar="ADDRESS", help="run as a candidate (the test starts these)")
    options = parser.parse_args()
    support.use_environment()
    if options.candidate:
        candidate(options.candidate)
        # The process must end without closing its session, so the client's threads are not stopped.
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
