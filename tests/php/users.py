"""Hundreds of users of a PHP application, behind a balancer, one PHP server per node.

The balancer does what nginx does with `proxy_next_upstream error timeout http_503
non_idempotent;`: each request goes to the next server in turn; a refused or closed connection, a
timeout or a 503 sends it to the following one at once, and nothing of the failed attempt reaches
the user. A server that failed so gets no more requests for SERVER_RETRY_S, unless all have; except
for one thing that is not its fault: a session whose lock somebody holds (see `is_lock`).

A request that failed in its write may have been applied, and counts twice when tried again.
"""

import collections
import dataclasses
import http.client
import itertools
import re
import threading
import time

HOST = "127.0.0.1"
COOKIE = "PHPSESSID"
SERVER_RETRY_S = 1.0
READ_TIMEOUT_S = 5.0
ROUNDS = 3


@dataclasses.dataclass
class Server:
    """One PHP server and when its node was last known to live."""
    name: str
    port: int
    out_until: float = 0.0
    node_alive: bool = True
    node_changed: float = 0.0

    def had_its_node(self, since):
        """Whether the node lived from then until now."""
        return self.node_alive and self.node_changed < since


@dataclasses.dataclass
class User:
    cookie: str | None = None
    counter: int = 0
    # Whether the last request was answered by a server that lost its node meanwhile: what it had
    # written was safe, but its unlocking may have been lost.
    may_be_locked: bool = False


class Faults:
    """What must not happen, each with when and what; shared by all threads."""

    KINDS = ("logged out", "counter", "error", "surviving")

    def __init__(self):
        self.by_kind = {kind: [] for kind in self.KINDS}

    def add(self, kind, text):
        self.by_kind[kind].append((time.monotonic(), text))


class Browser(threading.Thread):
    """Lets its share of the users click in turn, one request at a time."""

    turn = itertools.count()

    def __init__(self, servers, user_count, faults, stop):
        super().__init__(daemon=True)
        self.servers = servers
        self.users = [User() for _ in range(user_count)]
        self.faults = faults
        self.stop = stop
        self.successes = 0
        self.retried = 0
        self.counted_twice = 0
        self.lock_waits = 0
        self.reasons = collections.Counter()
        # (seconds, when): whole requests as a user sees them; single attempts on servers that had
        # their node, as PHP sees them.
        self.requests = []
        self.attempts = []
        self.crash = None

    def run(self):
        try:
            while not self.stop.is_set():
                for user in self.users:
                    if self.stop.is_set():
                        return
                    self.request(user)
        except Exception as error:  # noqa: BLE001 - the main thread reports it.
            self.crash = error

    def order(self):
        first = next(self.turn)
        count = len(self.servers)
        turn = [self.servers[(first + i) % count] for i in range(count)]
        now = time.monotonic()
        return sorted(turn, key=lambda server: server.out_until > now)

    def request(self, user):
        """One click: tried on each server in turn until one answers, each attempt judged."""
        begun = time.monotonic()
        attempt_count = 0
        # Whether a server without its node had this request, and may have left the lock behind.
        excused = user.may_be_locked
        reason = "no server"
        for _ in range(ROUNDS):
            for server in self.order():
                attempt_count += 1
                since = time.monotonic()
                status, cookie, body, elapsed_s = self.attempt(server, user)
                now = time.monotonic()
                if server.had_its_node(since):
                    self.attempts.append((elapsed_s, now))
                if status == 200:
                    self.requests.append((now - begun, now))
                    self.retried += attempt_count > 1
                    self.successes += 1
                    user.may_be_locked = not server.had_its_node(since)
                    self.handle_reply(user, server, attempt_count, cookie, body)
                    return
                reason = f"{server.name} {status} {without_address(body)}"
                self.reasons[f"{status} {without_address(body)}"] += 1
                if is_lock(body):
                    self.lock_waits += 1
                else:
                    server.out_until = now + SERVER_RETRY_S
                if not server.had_its_node(since):
                    excused = True
                elif not (excused and is_lock(body)):
                    self.faults.add("surviving", reason)
        self.faults.add("error", reason)

    @staticmethod
    def attempt(server, user):
        headers = {"Cookie": f"{COOKIE}={user.cookie}"} if user.cookie else {}
        since = time.monotonic()
        connection = http.client.HTTPConnection(HOST, server.port, timeout=READ_TIMEOUT_S)
        try:
            connection.request("POST", "/session.php", headers=headers)
            reply = connection.getresponse()
            body = reply.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return 503, None, type(error).__name__, time.monotonic() - since
        finally:
            connection.close()
        cookie = None
        for header in reply.headers.get_all("Set-Cookie") or []:
            name, _, value = header.partition(";")[0].partition("=")
            if name == COOKIE:
                cookie = value
        elapsed_s = int(reply.getheader("X-Elapsed-Us", 0)) / 1e6
        return reply.status, cookie, body, elapsed_s

    def handle_reply(self, user, server, attempt_count, cookie, body):
        user.cookie = cookie or user.cookie
        session_id, counter = body.split(",")
        counter = int(counter)
        grown = counter - user.counter
        change = f"{server.name} {user.counter} -> {counter}, {attempt_count} attempts"
        if user.counter > 0 and counter == 1:
            self.faults.add("logged out", change)
        elif not 1 <= grown <= attempt_count or session_id != user.cookie:
            self.faults.add("counter", change)
        self.counted_twice += 1 < grown <= attempt_count
        user.counter = counter


def without_address(body):
    """So that equal reasons count as equal."""
    return re.sub(r"127\.0\.0\.1:\d+|\(0x[0-9a-f]+\)|session_(start|write_close)\(\): ", "", body)


def is_lock(body):
    """Whether PHP gave up because the session's lock was held for the whole spin."""
    return "clear session lock" in body and "Failed to write session lock" not in body
