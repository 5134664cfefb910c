"""A ZooKeeper session on a socket, with as little code as possible, so that it measures the server."""

import socket
import struct

# A connection is lost if a reply takes longer than this.
ANSWER_S = 2.0
SESSION_TIMEOUT_MS = 20000

# Operation codes.
CREATE, SET, CLOSE = 1, 5, -11


class Lost(Exception):
    """The connection has ended or is unusable."""


class Connection:
    """A session's connection to one server."""

    def __init__(self, port, session, last_zxid):
        self.input = b""
        try:
            self.sock = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number, password = session or (0, bytes(16))
            self.send(struct.pack(">iqiqi16sb", 0, last_zxid, SESSION_TIMEOUT_MS, number, 16, password, 0))
            _, timeout, number, _ = struct.unpack_from(">iiqi", answer := self.receive())
        except (OSError, struct.error) as error:
            self.close()
            raise Lost from error
        self.session = (number, answer[20:36]) if timeout > 0 else None
        self.xid = 0

    def send(self, body):
        self.sock.sendall(struct.pack(">i", len(body)) + body)

    def receive(self):
        header = self.exactly(4)
        return self.exactly(struct.unpack(">i", header)[0])

    def exactly(self, count):
        while len(self.input) < count:
            piece = self.sock.recv(1 << 16)
            if not piece:
                raise Lost
            self.input += piece
        data, self.input = self.input[:count], self.input[count:]
        return data

    def call(self, op, body):
        """Sends a request; returns zxid and error code of the reply."""
        return self.pipeline([(op, body)])[0]

    def pipeline(self, requests):
        """Sends all requests at once; returns zxid and error code of each reply."""
        frames = []
        for op, body in requests:
            self.xid += 1
            frames.append(struct.pack(">iii", 8 + len(body), self.xid, op) + body)
        try:
            self.sock.sendall(b"".join(frames))
            return [struct.unpack_from(">iqi", self.receive())[1:] for _ in requests]
        except (OSError, struct.error) as error:
            raise Lost from error

    def close(self):
        if hasattr(self, "sock"):
            self.sock.close()


def string(text):
    data = text.encode() if isinstance(text, str) else text
    return struct.pack(">i", len(data)) + data


def create(path, data):
    """Operation and body of a create of a persistent znode whose ACL is open to all."""
    acl = struct.pack(">ii", 1, 31) + string("world") + string("anyone")
    return CREATE, string(path) + string(data) + acl + struct.pack(">i", 0)


def set_data(path, data):
    """Operation and body of a setData of any version."""
    return SET, string(path) + string(data) + struct.pack(">i", -1)
