"""What every client must be able to do, each check through one node and some through another."""

import random
import string
import time

MISS = False
# The clocks of memcached tick once a second: an item of one second may be gone at once.
SHORT_S = 2
LONG_S = 1000
GONE_WITHIN_S = SHORT_S + 3
POLL_S = 0.02
# Drawn, so that a client that compresses whatever it sends has little to gain.
LARGE = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=1_000_000))


class Wrong(Exception):
    """An answer that is not the one that memcached gives."""


def expect(what, found, wanted):
    if found != wanted:
        raise Wrong(f"{what}: {short(found)} instead of {short(wanted)}")


def short(value):
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}... ({len(text)} characters)"


class Checks:
    """One client's; `here` and `there` are two of it, at two nodes."""

    def __init__(self, here, there, prefix):
        self.here = here
        self.there = there
        self.prefix = prefix

    def key(self, name):
        return f"{self.prefix}-{name}"

    def stored(self, name, value, exptime=0):
        key = self.key(name)
        expect("set", self.here.set(key, exptime, value), True)
        return key

    def set_and_get(self):
        expect("get of nothing", self.here.get(self.key("nothing")), MISS)
        key = self.stored("set", "one")
        expect("get", self.here.get(key), "one")
        self.stored("set", "two")
        expect("get after the second set", self.here.get(key), "two")

    def add(self):
        key = self.key("add")
        expect("add", self.here.add(key, 0, "one"), True)
        expect("second add", self.here.add(key, 0, "two"), False)
        expect("get", self.here.get(key), "one")

    def replace(self):
        expect("replace of nothing", self.here.replace(self.key("nothing"), 0, "one"), False)
        key = self.stored("replace", "one")
        expect("replace", self.here.replace(key, 0, "two"), True)
        expect("get", self.here.get(key), "two")

    def append(self):
        expect("append to nothing", self.here.append(self.key("nothing"), "two"), False)
        key = self.stored("append", "one")
        expect("append", self.here.append(key, "two"), True)
        expect("get", self.here.get(key), "onetwo")

    def delete(self):
        key = self.stored("delete", "one")
        expect("delete", self.here.delete(key), True)
        expect("get", self.here.get(key), MISS)

    def incr(self):
        key = self.stored("incr", "41")
        expect("incr", self.here.incr(key, 1), "42")
        expect("incr by 18446744", self.here.incr(key, 18446744), "18446786")
        expect("get", self.here.get(key), "18446786")

    def cas(self):
        key = self.stored("cas", "one")
        expect("gets", self.here.gets(key), "one")
        expect("cas", self.here.cas(key, 0, "two"), True)
        expect("cas with the old token", self.here.cas(key, 0, "three"), False)
        expect("get", self.here.get(key), "two")

    def multi_get(self):
        wanted = {self.stored(f"many{i}", f"value{i}"): f"value{i}" for i in range(50)}
        keys = [*wanted, self.key("nothing")]
        expect("get of 51 keys, one of them missing", self.here.mget(*keys), wanted)

    def touch(self):
        """Both ways, so that a touch that does nothing is found out."""
        expect("touch of nothing", self.here.touch(self.key("nothing"), LONG_S), False)
        longer = self.stored("longer", "one", SHORT_S)
        expect("touch", self.here.touch(longer, LONG_S), True)
        shorter = self.stored("shorter", "one", LONG_S)
        expect("touch", self.here.touch(shorter, SHORT_S), True)
        witness = self.stored("witness", "one", SHORT_S)
        self.wait_gone(shorter)
        self.wait_gone(witness)
        expect("get of what was touched to live longer", self.here.get(longer), "one")

    def expiry(self):
        short_lived = self.stored("short", "one", SHORT_S)
        absolute = self.stored("absolute", "two", int(time.time()) + LONG_S)
        expect("get before it expires", self.here.get(short_lived), "one")
        self.wait_gone(short_lived)
        expect("get of what expires at a given time", self.here.get(absolute), "two")

    def wait_gone(self, key):
        deadline = time.monotonic() + GONE_WITHIN_S
        while self.here.get(key) != MISS:
            if time.monotonic() > deadline:
                raise Wrong(f"{key} of {SHORT_S} s is there after {GONE_WITHIN_S} s")
            time.sleep(POLL_S)

    def large(self):
        key = self.stored("large", LARGE)
        expect("get", self.here.get(key), LARGE)
        expect("get of the next", self.here.get(self.key("nothing")), MISS)
        expect("delete", self.here.delete(key), True)

    def other_node(self):
        """Each answer at once, with no time in between for anything to spread."""
        for i in range(50):
            key = self.stored("shared", f"value{i}")
            expect("get through another node", self.there.get(key), f"value{i}")
        key = self.stored("counter", "0")
        for i in range(0, 50, 2):
            expect("incr here", self.here.incr(key, 1), str(i + 1))
            expect("incr there", self.there.incr(key, 1), str(i + 2))
        expect("add of what is here, there", self.there.add(key, 0, "0"), False)
        expect("delete there", self.there.delete(key), True)
        expect("get here", self.here.get(key), MISS)


CHECKS = {
    "set and get": Checks.set_and_get,
    "add": Checks.add,
    "replace": Checks.replace,
    "append": Checks.append,
    "delete": Checks.delete,
    "incr": Checks.incr,
    "cas": Checks.cas,
    "multi-get": Checks.multi_get,
    "touch": Checks.touch,
    "expiry": Checks.expiry,
    "1 MB": Checks.large,
    "another node": Checks.other_node,
}
