"""One connection in the text protocol: the driver's own view of a node."""

import socket

import cluster


class Connection:
    """A close or an unexpected line raises."""

    def __init__(self, port):
        self.socket = socket.create_connection((cluster.HOST, port), timeout=5)
        self.input = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.input.close()
        self.socket.close()

    def get(self, key):
        """The value, or False for a miss."""
        self.socket.sendall(f"get {key}\r\n".encode())
        head = self.input.readline().split()
        if head == [b"END"]:
            return False
        if len(head) != 4 or head[0] != b"VALUE":
            raise RuntimeError(f"get {key}: {head}")
        value = self.input.read(int(head[3]) + 2)[:-2]
        if self.input.readline() != b"END\r\n":
            raise RuntimeError(f"get {key}: no END")
        return value.decode()

    def set(self, key, exptime, value):
        self.socket.sendall(f"set {key} 0 {exptime} {len(value)}\r\n{value}\r\n".encode())
        reply = self.input.readline()
        if reply != b"STORED\r\n":
            raise RuntimeError(f"set {key}: {reply}")


def getter(port):
    """A `get` through the node at this port, on one connection."""
    return Connection(port).get
