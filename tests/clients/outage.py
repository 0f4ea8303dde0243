"""A steady stream of operations through one client of three nodes, while one of them dies."""

import random
import threading
import time

import checks
import speaker

COUNTERS = 16
ROUNDS_BEFORE = 150
# Rounds without an error after which the client has got over it.
ROUNDS_AFTER = 200
# When the last error may be, and how long all of it may take on a machine that is busy.
OVER_WITHIN_S = 20
ALL_WITHIN_S = 60


class Stream:
    """Remembers what was acknowledged; one thing of every round is checked against it."""

    def __init__(self, client, prefix, reopens):
        self.client = client
        self.prefix = prefix
        self.reopens = reopens
        self.items = {}
        self.counters = {f"{prefix}-c{i}": 0 for i in range(COUNTERS)}
        # Acknowledged increments, and those that may or may not have happened.
        self.acknowledged = dict.fromkeys(self.counters, 0)
        self.unknown = 0
        self.errors = 0
        self.last_error = ""
        self.faults = []
        self.random = random.Random(prefix)

    def prepare(self):
        for key in self.counters:
            checks.expect("set of a counter", self.client.set(key, 0, "0"), True)

    def round(self, number, living):
        """Returns whether nothing failed."""
        steps = (lambda: self.store(number), lambda: self.count(number), self.read)
        return all([self.attempt(step, living) for step in steps])

    def attempt(self, step, living):
        try:
            step()
            return True
        except speaker.ClientError as error:
            self.errors += 1
            self.last_error = str(error)
            if self.reopens:
                self.client.open(living())
            return False

    def store(self, number):
        key, value = f"{self.prefix}-s{number}", f"value{number}"
        if self.client.set(key, 0, value) is not True:
            raise speaker.ClientError("set was not acknowledged")
        self.items[key] = value

    def count(self, number):
        key = f"{self.prefix}-c{number % COUNTERS}"
        # Stays counted as unknown if the client raises.
        self.unknown += 1
        value = self.client.incr(key, 1)
        self.unknown -= 1
        self.acknowledged[key] += 1
        if value is checks.MISS or int(value) <= self.counters[key]:
            self.faults.append(f"incr {key}: {value} after {self.counters[key]}")
        self.counters[key] = max(self.counters[key], int(value))

    def read(self):
        key = self.random.choice(list(self.items)) if self.items else None
        if key is not None:
            self.compare("the client", key, self.client.get(key))

    def compare(self, where, key, found):
        if found != self.items[key]:
            self.faults.append(f"get {key} through {where}: {found} instead of {self.items[key]}")

    def compare_all(self, where, get):
        for key in self.items:
            self.compare(where, key, get(key))
        values = {key: get(key) for key in self.counters}
        for key, value in values.items():
            if value is checks.MISS or int(value) < self.acknowledged[key]:
                self.faults.append(f"{key} through {where}: {value}, acknowledged "
                                   f"{self.acknowledged[key]}")
        total = sum(int(value) for value in values.values() if value is not checks.MISS)
        # A client may send again by itself what was under way when the connection broke.
        most = sum(self.acknowledged.values()) + self.unknown + 1
        if total > most:
            self.faults.append(f"{total} increments through {where}, at most {most} were asked for")


def run(client, prefix, reopens, backend, victim, views):
    """Kills the node `victim` in the middle, and starts it again when the client got over it.

    `views(i)` gives a `get` through node i. Returns the stream, whether the client got over it, and
    when its last error was, in seconds after the kill.
    """
    stream = Stream(client, prefix, reopens)
    stream.prepare()
    alive = list(client.addresses)
    living = [address for i, address in enumerate(alive) if i != victim]
    for number in range(ROUNDS_BEFORE):
        if not stream.round(number, lambda: alive):
            raise checks.Wrong(f"with all nodes alive: {stream.last_error}")
    # From a thread, so that it falls into the middle of some operation.
    killer = threading.Thread(target=backend.kill, args=(victim,))
    killed_at = time.monotonic()
    killer.start()
    try:
        over, last_error_at = follow(stream, living, killed_at)
        stream.compare_all("the client", client.get)
    finally:
        killer.join()
        backend.restart(victim)
        backend.wait_healthy()
    for i in range(len(alive)):
        stream.compare_all(f"node {i + 1}", views(i))
    return stream, over, last_error_at - killed_at


def follow(stream, living, since):
    """Goes on until the client got over it; returns whether it did, and when its last error was."""
    number, last_error_at, in_a_row = ROUNDS_BEFORE, since, 0
    while in_a_row < ROUNDS_AFTER and time.monotonic() - since < ALL_WITHIN_S:
        if stream.round(number, lambda: living):
            in_a_row += 1
        else:
            last_error_at, in_a_row = time.monotonic(), 0
        number += 1
    return in_a_row >= ROUNDS_AFTER and last_error_at - since < OVER_WITHIN_S, last_error_at
