"""The meta commands that Dalli 5 sends, byte by byte, where no registry serves that gem.

Formats are those of Dalli 5's RequestFormatter in raw mode (no client flags are asked for): `ms`
with `c`, `T` and `M`, but no `c` for append; `mg` with `v`, or `v c` for cas, or `T` alone for
touch; many keys as quiet `mg ... v k q s` with one `mn` behind; `ma` with `v D M`; `md`. A key that
has other than printable ASCII is sent as base64 with `b`. On connecting it asks for `version` and
insists on 1.6. A server that fails is left out, and the request tried on the next.
"""

import base64
import re
import socket
import zlib

import bridge

TIMEOUT_S = 5


class ServerFailed(Exception):
    """The connection broke or said what Dalli does not understand."""


class Server:
    def __init__(self, address):
        self.address = address
        self.socket = None

    def connect(self):
        host, _, port = self.address.partition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = self.socket.makefile("rb")
        self.socket.sendall(b"version\r\n")
        version = re.fullmatch(rb"VERSION (\d+)\.(\d+)\.(\d+)\S*\r\n", self.input.readline())
        if not version or tuple(map(int, version.groups())) < (1, 6, 0):
            raise ServerFailed("not memcached 1.6")

    def request(self, data, read):
        try:
            if self.socket is None:
                self.connect()
            self.socket.sendall(data)
            return read(self)
        except (OSError, ServerFailed) as error:
            if self.socket is not None:
                self.socket.close()
            self.socket = None
            raise ServerFailed(f"{self.address} {error}") from error

    def reply(self, *codes):
        line = self.input.readline()
        tokens = line.split()
        if not line.endswith(b"\r\n") or not tokens or tokens[0].decode() not in codes:
            raise ServerFailed(f"unexpected {line!r}")
        return [token.decode() for token in tokens]

    def data(self, length):
        value = self.input.read(int(length) + 2)
        if len(value) != int(length) + 2 or not value.endswith(b"\r\n"):
            raise ServerFailed("a value is cut off")
        return value[:-2].decode()


def wire(key):
    if re.fullmatch(r"[!-~]{1,250}", key):
        return key
    return base64.b64encode(key.encode()).decode() + " b"


def flag(tokens, letter):
    return next((token[1:] for token in tokens[1:] if token.startswith(letter)), None)


class Client:
    def __init__(self, addresses):
        self.servers = [Server(address) for address in addresses]
        self.tokens = {}

    def perform(self, key, command, read):
        """As Dalli with `failover`: a request that broke is sent again, to the next server."""
        while self.servers:
            server = self.servers[zlib.crc32(key.encode()) % len(self.servers)]
            try:
                return server.request(command.encode(), read)
            except ServerFailed as error:
                self.servers.remove(server)
                failed = error
        raise failed

    def store(self, key, exptime, value, mode, token=None):
        head, _, b = wire(key).partition(" ")
        plain = "" if mode == "A" else " c"
        command = (f"ms {head} {len(value)}{plain}{b and ' b'}{'' if token is None else f' C{token}'}"
                   f"{'' if exptime is None else f' T{exptime}'} M{mode}\r\n{value}\r\n")
        return self.perform(key, command,
                            lambda s: s.reply("HD", "NS", "NF", "EX")[0] == "HD")

    def set(self, key, exptime, value):
        return self.store(key, exptime, value, "S")

    def add(self, key, exptime, value):
        return self.store(key, exptime, value, "E")

    def replace(self, key, exptime, value):
        return self.store(key, exptime, value, "R")

    def append(self, key, value):
        return self.store(key, None, value, "A")

    def cas(self, key, exptime, value):
        return self.store(key, exptime, value, "S", self.tokens[key])

    def get(self, key):
        def read(server):
            tokens = server.reply("VA", "EN")
            return server.data(tokens[1]) if tokens[0] == "VA" else None

        return self.perform(key, f"mg {wire(key)} v\r\n", read)

    def gets(self, key):
        def read(server):
            tokens = server.reply("VA", "EN")
            if tokens[0] == "EN":
                return None
            self.tokens[key] = flag(tokens[1:], "c")
            return server.data(tokens[1])

        return self.perform(key, f"mg {wire(key)} v c\r\n", read)

    def mget(self, keys):
        """All through the server of the first key: every node has every key."""
        def read(server):
            values = {}
            while (tokens := server.reply("VA", "MN"))[0] == "VA":
                value = server.data(tokens[1])
                name = flag(tokens[1:], "k")
                values[base64.b64decode(name).decode() if "b" in tokens else name] = value
                if int(flag(tokens[1:], "s")) != len(value):
                    raise ServerFailed("a size that is not the value's")
            return values

        return self.perform(
            keys[0], "".join(f"mg {wire(key)} v k q s\r\n" for key in keys) + "mn\r\n", read)

    def incr(self, key, delta):
        def read(server):
            tokens = server.reply("VA", "NF", "NS", "EX")
            return server.data(tokens[1]) if tokens[0] == "VA" else None

        return self.perform(key, f"ma {wire(key)} v D{delta} MI\r\n", read)

    def touch(self, key, exptime):
        return self.perform(key, f"mg {wire(key)} T{exptime}\r\n",
                            lambda s: s.reply("EN", "HD")[0] == "HD")

    def delete(self, key):
        return self.perform(key, f"md {wire(key)}\r\n",
                            lambda s: s.reply("HD", "NF", "EX")[0] == "HD")


bridge.serve(Client)
