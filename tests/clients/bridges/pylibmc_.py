"""pylibmc on libmemcached: `text` or `binary`."""

import os
import sys

import bridge
import pylibmc

BINARY = sys.argv[1] == "binary"
USER = os.getenv("CLIENT_USER")
PASSWORD = os.getenv("CLIENT_PASSWORD")
# Enough keys for every one of three servers to be asked.
PROBES = 100
# In binary these are raised where in text the answer is False.
NOT_DONE = (pylibmc.NotFound, pylibmc.DataExists)


def told(method, *arguments):
    try:
        return method(*arguments)
    except NOT_DONE:
        return False


class Client:
    def __init__(self, addresses):
        # What libmemcached offers for failover: a server that fails once is taken out of the ring.
        self.client = pylibmc.Client(addresses, binary=BINARY, username=USER, password=PASSWORD,
                                     behaviors={
            "ketama": True, "remove_failed": 1, "retry_timeout": 1, "dead_timeout": 60,
            "tcp_nodelay": True, "cas": True,
            # Its touch in binary waits for more than any server sends, until this ends.
            "_poll_timeout": 2000})
        # With SASL the first request to a server must not store: having heard that the server takes
        # PLAIN the client gives up then, without a byte sent. So every server is asked for something.
        for i in range(PROBES if USER else 0):
            self.client.get(f"probe-{i}")
        self.tokens = {}

    def set(self, key, exptime, value):
        return told(self.client.set, key, value, exptime)

    def add(self, key, exptime, value):
        return told(self.client.add, key, value, exptime)

    def replace(self, key, exptime, value):
        return told(self.client.replace, key, value, exptime)

    def append(self, key, value):
        return told(self.client.append, key, value)

    def get(self, key):
        return self.client.get(key)

    def gets(self, key):
        value, self.tokens[key] = self.client.gets(key)
        return value

    def cas(self, key, exptime, value):
        return told(self.client.cas, key, value, self.tokens[key], exptime)

    def mget(self, keys):
        return self.client.get_multi(keys)

    def incr(self, key, delta):
        return told(self.client.incr, key, delta)

    def touch(self, key, exptime):
        return told(self.client.touch, key, exptime)

    def delete(self, key):
        return told(self.client.delete, key)


bridge.serve(Client)
