"""Clients with cookie jars, behind a balancer, in front of the Tomcats.

What the balancer does is what nginx does with

    proxy_next_upstream error timeout http_503 non_idempotent;

(HAProxy: `retry-on conn-failure empty-response response-timeout 503`, `option redispatch`):

  - a request goes to the Tomcat that its cookie's route names (sticky), else to each in turn;
  - a refused or closed connection, a timeout, or a 503 sends the same request to the other Tomcat
    at once, and the first one gets no more requests for WORKER_RETRY_S, unless both are out;
  - nothing of a failed attempt reaches the client, its Set-Cookie neither;
  - after two rounds over all Tomcats the client gets the error.

A request that failed after it had been sent may have been applied. Tried again it counts twice, so
a counter may grow by up to the number of attempts. It must never grow by less than one.
"""

import contextlib
import dataclasses
import http.client
import itertools
import threading
import time

HOST = "127.0.0.1"
COOKIE = "JSESSIONID"
PERIOD_S = 0.02
WORKER_RETRY_S = 1.0
READ_TIMEOUT_S = 5.0
ROUNDS = 2


@dataclasses.dataclass
class Worker:
    """One Tomcat as the balancer sees it."""
    name: str
    port: int
    out_until: float = 0.0


class Balancer:
    """Shared by all clients. A late view of `out_until` costs an attempt, so there is no lock."""

    def __init__(self, workers, sticky):
        self.workers = workers
        self.sticky = sticky
        self.turn = itertools.count()

    def order(self, cookie):
        """The workers in the order in which this request should try them."""
        first = next(self.turn)
        turn = [self.workers[(first + i) % len(self.workers)] for i in range(len(self.workers))]
        if self.sticky and cookie:
            turn.sort(key=lambda worker: worker.name != cookie.rpartition(".")[2])
        now = time.monotonic()
        return sorted(turn, key=lambda worker: worker.out_until > now)


class Client(threading.Thread):
    """One user: a request every PERIOD_S, each checked against the one before."""

    def __init__(self, balancer, stop):
        super().__init__(daemon=True)
        self.balancer = balancer
        self.stop = stop
        self.cookie = None
        self.connections = {}
        self.counter = 0
        self.last_success = None
        self.successes = 0
        self.retried = 0
        self.counted_twice = 0
        self.gaps = []
        self.faults = {"new": [], "counter": [], "error": [], "payload": []}
        self.crash = None

    def run(self):
        try:
            while not self.stop.is_set():
                started = time.monotonic()
                self.request()
                # The pace of a user, not a wait for anything.
                self.stop.wait(max(0.0, PERIOD_S - (time.monotonic() - started)))
        except Exception as error:  # noqa: BLE001 - the main thread reports it.
            self.crash = error

    def request(self):
        attempts = 0
        reason = "no worker"
        for _ in range(ROUNDS):
            for worker in self.balancer.order(self.cookie):
                attempts += 1
                try:
                    status, cookie, body = self.attempt(worker)
                    reason = f"{worker.name} {status}"
                except (OSError, http.client.HTTPException) as error:
                    status, reason = 503, f"{worker.name} {type(error).__name__}"
                    self.connections.pop(worker.name).close()
                if status != 503:
                    self.handle_reply(attempts, reason, status, cookie, body)
                    return
                worker.out_until = time.monotonic() + WORKER_RETRY_S
        self.fault("error", reason)

    def attempt(self, worker):
        connection = self.connections.get(worker.name)
        if connection is None:
            connection = http.client.HTTPConnection(HOST, worker.port, timeout=READ_TIMEOUT_S)
            self.connections[worker.name] = connection
        headers = {"Cookie": f"{COOKIE}={self.cookie}"} if self.cookie else {}
        connection.request("POST", "/count", headers=headers)
        reply = connection.getresponse()
        body = reply.read().decode()
        cookie = None
        for header in reply.headers.get_all("Set-Cookie") or []:
            name, _, value = header.partition(";")[0].partition("=")
            if name == COOKIE:
                cookie = value
        return reply.status, cookie, body

    def handle_reply(self, attempts, reason, status, cookie, body):
        if status != 200:
            self.fault("error", reason)
            return
        self.cookie = cookie or self.cookie
        worker, counter, new, payload = body.split(",")
        counter = int(counter)
        if new == "true" and self.counter > 0:
            self.fault("new", f"{worker} after {self.counter}")
        elif not 1 <= counter - self.counter <= attempts:
            self.fault("counter", f"{worker} {self.counter} -> {counter}, {attempts} attempts")
        elif counter - self.counter > 1:
            self.counted_twice += 1
        if payload != "ok":
            self.fault("payload", worker)
        self.counter = counter
        self.retried += attempts > 1
        now = time.monotonic()
        if self.last_success is not None:
            self.gaps.append((now - self.last_success, now))
        self.last_success = now
        self.successes += 1

    def fault(self, kind, text):
        self.faults[kind].append((time.monotonic(), text))

    def close(self):
        for connection in self.connections.values():
            with contextlib.suppress(OSError):
                connection.close()
