"""A steady stream of operations through one client of three nodes, while one of them dies."""

import random
import threading
import time

import checks
import speaker
import text

COUNTERS = 16
ROUNDS_BEFORE = 150
# Rounds without an error after which the client has got over it.
ROUNDS_AFTER = 300
OVER_WITHIN_S = 20


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


def run(client, prefix, reopens, backend, victim):
    """Kills the node `victim` in the middle, and starts it again when the client got over it.

    Returns the stream, whether the client got over it, and when its last error was, in seconds
    after the kill.
    """
    stream = Stream(client, prefix, reopens)
    stream.prepare()
    alive = list(client.addresses)
    number = 0
    while number < ROUNDS_BEFORE:
        number += 1
        if not stream.round(number, lambda: alive):
            raise checks.Wrong(f"with all nodes alive: {stream.last_error}")
    living = [address for i, address in enumerate(alive) if i != victim]
    # From a thread, so that it falls into the middle of some operation.
    killer = threading.Thread(target=backend.kill, args=(victim,))
    killed_at = time.monotonic()
    killer.start()
    last_error_at, in_a_row = killed_at, 0
    while in_a_row < ROUNDS_AFTER and time.monotonic() - killed_at < OVER_WITHIN_S:
        number += 1
        if stream.round(number, lambda: living):
            in_a_row += 1
        else:
            last_error_at, in_a_row = time.monotonic(), 0
    killer.join()
    try:
        stream.compare_all("the client", client.get)
    finally:
        backend.restart(victim)
        backend.wait_healthy()
    for i, port in enumerate(backend.client_ports):
        with text.Connection(port) as connection:
            stream.compare_all(f"node {i + 1}", connection.get)
    return stream, in_a_row >= ROUNDS_AFTER, last_error_at - killed_at
