"""pymemcache's HashClient: text."""

import bridge
from pymemcache.client.hash import HashClient


class Client:
    def __init__(self, addresses):
        # With its default of two retries it answers None for a server that is down, without
        # asking anybody: a false miss. With none it raises once, and goes to another server.
        self.client = HashClient(addresses, connect_timeout=2, timeout=5, retry_attempts=0,
                                 default_noreply=False)
        self.tokens = {}

    def set(self, key, exptime, value):
        return self.client.set(key, value, exptime)

    def add(self, key, exptime, value):
        return self.client.add(key, value, exptime)

    def replace(self, key, exptime, value):
        return self.client.replace(key, value, exptime)

    def append(self, key, value):
        return self.client.append(key, value)

    def get(self, key):
        return self.client.get(key)

    def gets(self, key):
        value, self.tokens[key] = self.client.gets(key)
        return value

    def cas(self, key, exptime, value):
        return self.client.cas(key, value, self.tokens[key], exptime)

    def mget(self, keys):
        return self.client.get_many(keys)

    def incr(self, key, delta):
        return self.client.incr(key, delta)

    def touch(self, key, exptime):
        return self.client.touch(key, exptime)

    def delete(self, key):
        return self.client.delete(key)


bridge.serve(Client)
