"""python-binary-memcached's DistributedClient: binary. It has no append."""

import os

import bridge
import bmemcached


class Client:
    """The client returns None, False or 0 for a server that is gone; this raises instead.

    An application sees it in the same way: the server's connection is closed then.
    """

    def __init__(self, addresses):
        self.client = bmemcached.DistributedClient(
            addresses, os.getenv("CLIENT_USER"), os.getenv("CLIENT_PASSWORD"), socket_timeout=5)
        self.tokens = {}

    def ask(self, method, key, *arguments, **options):
        result = getattr(self.client, method)(key, *arguments, **options)
        if any(server.connection is None for server in self.servers_of([key])):
            raise ConnectionError("server disconnected")
        return result

    def servers_of(self, keys):
        return {self.client._get_server(key) for key in keys}

    def set(self, key, exptime, value):
        return self.ask("set", key, value, exptime, compress_level=0)

    def add(self, key, exptime, value):
        return self.ask("add", key, value, exptime)

    def replace(self, key, exptime, value):
        return self.ask("replace", key, value, exptime)

    def get(self, key):
        return self.ask("get", key)

    def gets(self, key):
        value, self.tokens[key] = self.ask("gets", key)
        return value

    def cas(self, key, exptime, value):
        return self.ask("cas", key, value, self.tokens[key], exptime)

    def mget(self, keys):
        values = self.client.get_multi(keys)
        if any(server.connection is None for server in self.servers_of(keys)):
            raise ConnectionError("server disconnected")
        return values

    def incr(self, key, delta):
        return self.ask("incr", key, delta)

    def delete(self, key):
        return self.ask("delete", key)


bridge.serve(Client)
