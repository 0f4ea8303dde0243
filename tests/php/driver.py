"""A real PHP application on a three-node cluster, through the death of each node.

One PHP server per node, with that node's address as its session.save_path. Users click all the
time while n1, n2, n3 die by kill -9 one after the other, each started again before the next.
See README.md for the configuration.
"""

import os
import pathlib
import socket
import sys
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "shared"))

import cluster  # noqa: E402
import scenario  # noqa: E402
import users  # noqa: E402

USER_COUNT = 300
BROWSER_COUNT = 6
PHP_WORKERS = 4
DOWN_S = 2.0
DOWN_REQUESTS = 60
PHP_TIMEOUT_S = 10
LOCK_PREFIX = "memc.sess.key.lock."
# Default spin of the handler: sess_lock_retries (5) waits of sess_lock_wait_min (150 ms).
LOCK_SPIN_S = 5 * 0.150
# On top of the spin: work, two cores for everything, and one failover of the cluster.
ATTEMPT_MAX_S = LOCK_SPIN_S + 0.6

COMMON = {
    "session.save_handler": "memcached",
    # The one setting that differs from PHP's own. A lock outlives its request when the PHP process
    # or the node it talks to dies; 0 would mean max_execution_time, 30 s. Must exceed the longest
    # request of the application.
    "memcached.sess_lock_expire": "2",
}
VARIANTS = {
    "binary": {},
    "text": {"memcached.sess_binary_protocol": "Off"},
    # Asks for the session with an add that expires at once before it accepts the user's cookie.
    "text-strict": {"memcached.sess_binary_protocol": "Off", "session.use_strict_mode": "1"},
}


def php_server(i, settings, node_ports, directory):
    """The process and the balancer's view of it."""
    name = f"php{i + 1}"
    port = cluster.free_ports(1)[0]
    ports = [node_ports[i]]
    ini = dict(settings)
    # Against the cluster a list is worse than one address: see README.md.
    if ini.pop("all_nodes", None):
        ports = node_ports
    ini["session.save_path"] = ",".join(f"{cluster.HOST}:{port}" for port in ports)
    argv = ["php", *(part for key, value in ini.items() for part in ("-d", f"{key}={value}")),
            "-S", f"{cluster.HOST}:{port}", "-t", HERE]
    environment = {**os.environ, "PHP_CLI_SERVER_WORKERS": str(PHP_WORKERS)}
    return cluster.Process(name, argv, directory, environment), users.Server(name, port)


class Scenario(scenario.Scenario):
    """One variant from start to verdict."""

    def __init__(self, kind, settings, lock_timeout_s, directory):
        super().__init__(kind, directory)
        self.lock_timeout_s = lock_timeout_s
        pairs = [php_server(i, settings, self.backend.client_ports, directory)
                 for i in range(len(cluster.NODES))]
        self.php = [process for process, _ in pairs]
        self.servers = [server for _, server in pairs]
        self.faults = users.Faults()
        self.workers = [
            users.Browser(self.servers, USER_COUNT // BROWSER_COUNT, self.faults,
                          self.stop_workers) for _ in range(BROWSER_COUNT)]
        self.locks_left = None
        self.locks_s = 0.0

    def run(self):
        try:
            print(f"     cluster healthy after {self.backend.start():.2f} s", flush=True)
            for process in self.php:
                process.start()
            cluster.wait_until("PHP serves", lambda: all(
                cluster.listens(server.port) for server in self.servers), PHP_TIMEOUT_S)
            self.begin("steady")
            for browser in self.workers:
                browser.start()
            self.wait_progress(DOWN_REQUESTS, DOWN_S)
            for i, name in enumerate(cluster.NODES):
                self.outage(i, name)
            self.end_workers()
            self.wait_for_locks(self.lock_timeout_s)
        finally:
            self.end_workers()
            for process in self.php:
                process.kill()
            self.backend.stop()

    def outage(self, i, name):
        self.begin(f"{name} down")
        server = self.servers[i]
        # Said before it is done, so that no attempt in between counts as one on a living node.
        server.node_alive = False
        server.node_changed = time.monotonic()
        self.backend.kill(i)
        self.wait_progress(DOWN_REQUESTS, DOWN_S)
        self.begin(f"{name} back")
        self.backend.restart(i)
        print(f"     {name} back: cluster healthy after {self.backend.wait_healthy():.2f} s",
              flush=True)
        server.node_changed = time.monotonic()
        server.node_alive = True
        self.wait_progress(DOWN_REQUESTS, 0.0)

    def wait_for_locks(self, timeout_s):
        """Locks still held when nobody clicks any more are orphans; they must end by themselves."""
        start = time.monotonic()
        while True:
            self.locks_left = sum(self.held_locks(port) for port in self.backend.client_ports)
            self.locks_s = time.monotonic() - start
            if self.locks_left == 0 or self.locks_s > timeout_s:
                return
            time.sleep(cluster.POLL_S)

    def held_locks(self, port):
        """How many users' locks this node knows, asked as PHP does: with an add."""
        held = 0
        with socket.create_connection((cluster.HOST, port), timeout=5) as connection:
            replies = connection.makefile("rb")
            for browser in self.workers:
                for user in browser.users:
                    key = f"{LOCK_PREFIX}{user.cookie}"
                    connection.sendall(f"add {key} 0 2 1\r\n1\r\n".encode())
                    reply = replies.readline()
                    if reply == b"STORED\r\n":
                        connection.sendall(f"delete {key}\r\n".encode())
                        reply = replies.readline()
                        if reply != b"DELETED\r\n":
                            raise RuntimeError(f"delete of an obtained lock: {reply!r}")
                    elif reply == b"NOT_STORED\r\n":
                        held += 1
                    else:
                        raise RuntimeError(f"add of a lock: {reply!r}")
        return held


def judge(report, variant, played, lock_expire_s):
    browsers = played.workers
    print(f"     {sum(b.successes for b in browsers)} requests of {USER_COUNT} users answered, "
          f"{sum(b.retried for b in browsers)} of them retried, "
          f"{sum(b.counted_twice for b in browsers)} of those counted twice, "
          f"{sum(b.lock_waits for b in browsers)} attempts gave up on an orphan lock")
    reasons = sum((b.reasons for b in browsers), start=type(browsers[0].reasons)())
    for reason, count in reasons.most_common(6):
        print(f"       {count:5} x {reason}")
    for phase, _ in played.phases:
        seconds = sorted(s for b in browsers for s, at in b.requests
                         if played.phase_at(at) == phase)
        median = seconds[len(seconds) // 2] if seconds else 0.0
        print(f"     {phase:8} {len(seconds):5} requests, median {median * 1000:4.0f} ms, longest "
              f"{max(seconds, default=0.0) * 1000:5.0f} ms")
    claims = {"logged out": "nobody is logged out",
              "counter": "no counter goes back or stays",
              "error": "no error reaches a user",
              "surviving": "no server fails whose node lives"}
    for kind, claim in claims.items():
        faults = played.faults.by_kind[kind]
        report.check(f"{variant}: {claim}", not faults, f"{len(faults)} violations")
        for at, text in faults[:5]:
            print(f"       {played.phase_at(at)}: {text}")
    longest, at = max(attempt for b in browsers for attempt in b.attempts)
    report.check(f"{variant}: no attempt on a living node takes longer than the lock spin",
                 longest <= ATTEMPT_MAX_S,
                 f"{longest * 1000:.0f} of {ATTEMPT_MAX_S * 1000:.0f} ms ({played.phase_at(at)})")
    longest, at = max(request for b in browsers for request in b.requests)
    wait_max_s = lock_expire_s + ATTEMPT_MAX_S
    report.check(f"{variant}: no user waits longer than an orphan lock lives, and one spin",
                 longest <= wait_max_s,
                 f"{longest * 1000:.0f} of {wait_max_s * 1000:.0f} ms ({played.phase_at(at)})")
    report.check(f"{variant}: no lock is left behind", played.locks_left == 0,
                 f"{played.locks_left} after {played.locks_s:.2f} s")


def main():
    arguments = scenario.parse_arguments(
        __doc__, VARIANTS, "a php.ini setting, or all_nodes=1, for experiments")
    report = cluster.Report()
    for variant in arguments.variant or VARIANTS:
        settings = {**COMMON, **VARIANTS[variant], **dict(s.split("=", 1) for s in arguments.set)}
        if arguments.kind == "control":
            # As people run it today: every PHP server knows all memcacheds, each session is on one.
            settings["all_nodes"] = "1"
        lock_expire_s = int(settings["memcached.sess_lock_expire"])
        print(f"---- {variant} on {arguments.kind}: {settings}", flush=True)
        scenario.play(
            report, "php", variant,
            lambda directory: Scenario(arguments.kind, settings, lock_expire_s + 1.0, directory),
            lambda played: judge(report, variant, played, lock_expire_s))
    return report.finish()


sys.exit(main())
