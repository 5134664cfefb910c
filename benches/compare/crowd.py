"""Many sessions at once, on epoll: they ping, watch, and look for another server when theirs is gone.

A Crowd does what it does within calls. Crowds are several of them, each in a process that serves it all the time.
"""

import errno
import itertools
import multiprocessing
import random
import resource
import select
import socket
import struct
import time

from session import CLOSE, string

EXISTS, PING, PING_XID, EVENT_XID = 3, 11, -2, -1
# Sessions of each process of Crowds; a process may have 20,000 files open on some machines.
OF_ONE_PROCESS = 10_000
# Handshakes that may be under way at once, as many as a listener's queue holds by default.
HANDSHAKES = 1000
# Java's client waits so long at most, at random, before it tries another server.
PAUSE_S_MAX = 1.0
PINGS_PER_TIMEOUT = 3


class Stuck(Exception):
    """Something did not come about in time."""


def allow_files(count):
    """Lets this process, and servers that it starts, have so many files open, or as many as the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))
            return
        except (ValueError, OSError):
            count = hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


class Member:
    """A session of the crowd; without a socket it waits until it may try again."""

    __slots__ = ("sock", "port_at", "id", "password", "ready", "input", "events", "answers")

    def __init__(self, port_at):
        self.port_at = port_at
        self.sock, self.ready, self.input = None, False, b""
        self.id, self.password = 0, bytes(16)
        self.events, self.answers = {}, 0


class Crowd:
    """Sessions that are spread over the servers at `ports`. Nothing happens but within a call."""

    def __init__(self, count, ports, timeout_ms, address="127.0.0.1"):
        self.ports, self.timeout_ms, self.address = list(ports), timeout_ms, address
        self.epoll = select.epoll()
        self.members = [Member(number % len(self.ports)) for number in range(count)]
        self.by_fd = {}
        # Those without a connection, by the time when they may try.
        self.waiting = [(0.0, member) for member in self.members]
        # Those whose handshake is under way, oldest first, with the time when it began.
        self.shaking, self.ready = {}, 0
        self.losses = self.expired = self.refused = self.silent = self.wrong = 0
        self.zxid = 0
        self.pings = itertools.cycle(self.members)
        self.ping_due = time.monotonic()

    def until(self, condition, limit_s, what):
        """Serves the sessions until `condition()` is true; returns the seconds that took."""
        begun = time.monotonic()
        while not condition():
            if time.monotonic() > begun + limit_s:
                raise Stuck(f"not within {limit_s} s: {what}; {self.ready} of {len(self.members)} are connected, "
                            f"{self.losses} losses, {self.refused} refusals, {self.expired} expired")
            self.turn()
        return time.monotonic() - begun

    def open(self, limit_s):
        """Returns once all are connected."""
        return self.until(lambda: self.ready == len(self.members), limit_s, "all sessions are connected")

    def hold(self, seconds):
        """Pings for so long."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end, seconds + 60, "time passes")

    def turn(self):
        now = time.monotonic()
        self.give_up_some(now)
        self.connect_some(now)
        self.ping_some(now)
        for fd, events in self.epoll.poll(0.01):
            member = self.by_fd.get(fd)
            if member and events & select.EPOLLOUT:
                self.greet(member)
            elif member:
                self.read(member)

    def give_up_some(self, now):
        """Leaves servers that do not answer, as Java's client does: a server may have no room for more connections."""
        limit_s = self.timeout_ms / 1000 / len(self.ports)
        while self.shaking:
            member, since = next(iter(self.shaking.items()))
            if now - since < limit_s:
                break
            self.silent += 1
            self.lose(member)

    def connect_some(self, now):
        waiting, self.waiting = self.waiting, []
        for at, member in waiting:
            if at <= now and len(self.shaking) < HANDSHAKES:
                self.connect(member)
            else:
                self.waiting.append((at, member))

    def connect(self, member):
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel then chooses a port that is free for this server alone.
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((self.address, 0))
        member.sock, member.ready, member.input = sock, False, b""
        self.shaking[member] = time.monotonic()
        sock.setblocking(False)
        if sock.connect_ex(("127.0.0.1", self.ports[member.port_at])) not in (0, errno.EINPROGRESS):
            self.refused += 1
            self.lose(member)
            return
        self.by_fd[sock.fileno()] = member
        # It is writable once it is connected, and after an error, too.
        self.epoll.register(sock.fileno(), select.EPOLLOUT)

    def greet(self, member):
        """Sends the connect request."""
        body = struct.pack(">iqiqi16sb", 0, self.zxid if member.id else 0, self.timeout_ms, member.id, 16,
                           member.password, 0)
        try:
            member.sock.send(struct.pack(">i", len(body)) + body)
        except OSError:
            self.refused += 1
            self.lose(member)
            return
        self.epoll.modify(member.sock.fileno(), select.EPOLLIN)

    def lose(self, member):
        if member.sock.fileno() in self.by_fd:
            del self.by_fd[member.sock.fileno()]
            self.epoll.unregister(member.sock.fileno())
        member.sock.close()
        member.sock = None
        if member.ready:
            self.ready -= 1
            self.losses += 1
        else:
            del self.shaking[member]
        member.ready = False
        member.port_at = (member.port_at + random.randint(1, max(1, len(self.ports) - 1))) % len(self.ports)
        self.waiting.append((time.monotonic() + random.random() * PAUSE_S_MAX, member))

    def ping_some(self, now):
        gap = self.timeout_ms / 1000 / PINGS_PER_TIMEOUT / len(self.members)
        self.ping_due = max(self.ping_due, now - 5)
        while self.ping_due <= now:
            self.ping_due += gap
            member = next(self.pings)
            if member.ready:
                self.send(member, struct.pack(">iii", 8, PING_XID, PING))

    def send(self, member, frames):
        """Sends what fits; a session that does not take its requests is none that this program can serve."""
        try:
            member.sock.setblocking(True)
            member.sock.sendall(frames)
            member.sock.setblocking(False)
        except OSError:
            self.lose(member)

    def read(self, member):
        try:
            piece = member.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            if not member.ready:
                self.refused += 1
            self.lose(member)
            return
        data = member.input + piece if member.input else piece
        at = 0
        while len(data) >= at + 4:
            length, = struct.unpack_from(">i", data, at)
            if len(data) < at + 4 + length:
                break
            self.frame(member, data, at + 4)
            if member.sock is None:
                return
            at += 4 + length
        member.input = data[at:]

    def frame(self, member, data, at):
        if not member.ready:
            _, timeout, number, _ = struct.unpack_from(">iiqi", data, at)
            if timeout <= 0:
                self.expired += 1
                member.id, member.password = 0, bytes(16)
                self.lose(member)
                return
            self.wrong += member.id not in (0, number)
            member.id, member.password = number, data[at + 20:at + 36]
            member.ready = True
            del self.shaking[member]
            self.ready += 1
            return
        xid, zxid, _ = struct.unpack_from(">iqi", data, at)
        if xid == EVENT_XID:
            length, = struct.unpack_from(">i", data, at + 24)
            path = data[at + 28:at + 28 + length]
            member.events[path] = member.events.get(path, 0) + 1
        else:
            self.zxid = max(self.zxid, zxid)
            member.answers += xid > 0

    def watch(self, paths, limit_s):
        """Has each session watch the znodes at `paths` by exists; returns the seconds that took."""
        frames = b""
        for xid, path in enumerate(paths, 1):
            body = string(path) + b"\1"
            frames += struct.pack(">iii", 8 + len(body), xid, EXISTS) + body
        begun = time.monotonic()
        for member in self.members:
            member.answers = 0
            self.send(member, frames)
            self.turn()
        self.until(lambda: all(member.answers == len(paths) for member in self.members), limit_s, "all watches are set")
        return time.monotonic() - begun

    def lacking_events(self, paths):
        """Events that are missing or came twice, of one for each session and path."""
        wanted = {path.encode(): 1 for path in paths}
        return sum(len(wanted.items() ^ member.events.items()) for member in self.members if member.events != wanted)

    def ids(self):
        return {member.id for member in self.members}

    def close(self):
        """Ends the sessions, or where that cannot be their connections."""
        for member in self.members:
            if member.sock is not None:
                if member.ready:
                    self.send(member, struct.pack(">iii", 8, 1, CLOSE))
                if member.sock is not None:
                    self.lose(member)


class Crowds:
    """Sessions in processes of their own, each of which connects from an address of its own; they open at once."""

    def __init__(self, count, ports, timeout_ms):
        self.count, self.pipes, self.processes = count, [], []
        for first in range(0, count, OF_ONE_PROCESS):
            pipe, other = multiprocessing.Pipe()
            address = f"127.0.0.{2 + len(self.pipes)}"
            process = multiprocessing.Process(
                target=serve, daemon=True,
                args=(other, min(OF_ONE_PROCESS, count - first), ports, timeout_ms, address))
            process.start()
            self.pipes.append(pipe)
            self.processes.append(process)

    def status(self):
        """Sums over all: connected sessions, lost connections, and what went wrong."""
        for pipe in self.pipes:
            pipe.send("status")
        all_of = [pipe.recv() for pipe in self.pipes]
        return {key: sum(one[key] for one in all_of) for key in all_of[0]}

    def until(self, condition, limit_s, what):
        """Waits until `condition(status)` is true; returns the seconds that took."""
        begun = time.monotonic()
        while not condition(found := self.status()):
            if time.monotonic() > begun + limit_s:
                raise Stuck(f"not within {limit_s} s: {what}; {found}")
            time.sleep(0.02)
        return time.monotonic() - begun

    def open(self, limit_s):
        """Returns once all are connected; from then on `other_ids` counts sessions that are not those of now."""
        seconds = self.until(lambda found: found["ready"] == self.count, limit_s, "all sessions are connected")
        for pipe in self.pipes:
            pipe.send("mark")
        return seconds

    def close(self):
        for pipe, process in zip(self.pipes, self.processes):
            pipe.send("close")
            process.join(60)
            process.kill()


def serve(pipe, count, ports, timeout_ms, address):
    """The process of some of the sessions."""
    allow_files(count + 100)
    crowd, marked = Crowd(count, ports, timeout_ms, address), []
    while True:
        while pipe.poll():
            match pipe.recv():
                case "status":
                    others = sum(member.id != known for member, known in zip(crowd.members, marked))
                    keys = ("ready", "losses", "refused", "silent", "expired", "wrong")
                    pipe.send({**{key: getattr(crowd, key) for key in keys}, "other_ids": others})
                case "mark":
                    marked = [member.id for member in crowd.members]
                case "close":
                    return crowd.close()
        crowd.turn()
