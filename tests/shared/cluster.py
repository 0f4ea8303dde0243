"""Three nodes for the session tests, behind one surface: start, kill, restart, wait_healthy.

Three kinds of backend:

  RaftCluster   raftcached, the thing under test
  StockNodes    three memcacheds that know nothing of each other: the control, which must fail
  IdealCluster  one memcached behind three forwarders: "nothing is ever lost", so whatever goes
                wrong against it is the client's doing and not the cluster's
"""

import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
NODES = ("n1", "n2", "n3")
HEALTHY_TIMEOUT_S = 30
POLL_S = 0.02


# Below the range that the kernel takes for outgoing connections: no client may sit on the port of a
# node that is about to start again.
PORTS = range(12_000, 32_000)


def free_ports(count):
    """Ports that nobody listens on; all held at once so that they differ."""
    with contextlib.ExitStack() as held:
        ports = []
        while len(ports) < count:
            one = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                one.bind((HOST, random.choice(PORTS)))
                ports.append(one.getsockname()[1])
        return ports


def wait_until(what, condition, timeout_s):
    """Polls until `condition()` is true and returns how long that took, in seconds."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > timeout_s:
            raise TimeoutError(f"{what}: not within {timeout_s} s")
        time.sleep(POLL_S)
    return time.monotonic() - start


def http_get(url, timeout_s=1.0):
    """Status and body; (0, b"") when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def listens(port):
    """Whether a connection to the port is accepted."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


class Process:
    """One child with its output in a file, killed without warning."""

    def __init__(self, name, argv, directory, env=None):
        self.name = name
        self.argv = [str(arg) for arg in argv]
        self.env = env
        self.log = pathlib.Path(directory) / f"{name}.log"
        self.child = None

    def start(self):
        # A group of its own, because php's server forks workers that must die with it.
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env,
                start_new_session=True)

    def check(self):
        """Raises if the process ended by itself."""
        if self.child is not None and self.child.poll() is not None:
            raise RuntimeError(f"{self.name} exited with {self.child.returncode}, see {self.log}")

    def kill(self):
        if self.child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()
        self.child = None


class Backend:
    """What the three kinds have in common; `processes[i]` is what dies with node i."""

    def __init__(self, directory):
        self.client_ports = free_ports(len(NODES))
        self.processes = [self.process(i, name, directory) for i, name in enumerate(NODES)]

    def process(self, i, name, directory):
        raise NotImplementedError

    def start(self):
        for process in self.processes:
            process.start()
        return self.wait_healthy()

    def kill(self, i):
        self.processes[i].kill()

    def restart(self, i):
        self.processes[i].start()

    def serves(self, i):
        return listens(self.client_ports[i])

    def leader(self):
        """The index of the node whose death hurts most; where all are alike, the first."""
        return 0

    def healthy(self):
        for process in self.processes:
            process.check()
        return all(self.serves(i) for i in range(len(NODES)))

    def wait_healthy(self):
        """Returns after how many seconds any one node may be killed."""
        return wait_until("cluster healthy", self.healthy, HEALTHY_TIMEOUT_S)

    def stop(self):
        for process in self.processes:
            process.kill()


class RaftCluster(Backend):
    def __init__(self, directory, options=()):
        """`options` are what every node is given besides its addresses."""
        self.options = options
        self.peer_ports = free_ports(len(NODES))
        self.admin_ports = free_ports(len(NODES))
        super().__init__(directory)

    @staticmethod
    def binary():
        path = pathlib.Path(os.environ.get("RAFTCACHED_BIN", ROOT / "target/release/raftcached"))
        if not path.is_file():
            sys.exit(f"no raftcached at {path}: build it (cargo build --release) or set "
                     "RAFTCACHED_BIN")
        return path

    def process(self, i, name, directory):
        return Process(name, [
            self.binary(), "server", "--name", name, "-l", HOST, "-p", self.client_ports[i],
            "--peer-listen", f"{HOST}:{self.peer_ports[i]}",
            "--admin-listen", f"{HOST}:{self.admin_ports[i]}",
            "--join", ",".join(f"{HOST}:{port}" for port in self.peer_ports),
            "--bootstrap-expect", len(NODES), *self.options], directory)

    def serves(self, i):
        return http_get(f"http://{HOST}:{self.admin_ports[i]}/readyz")[0] == 200

    def healthy(self):
        # Ready alone is not enough: until the dead predecessor is replaced, the loss of another
        # node would be the loss of the quorum, and every node must know.
        return super().healthy() and all(self.can_lose(i) >= 1 for i in range(len(NODES)))

    def can_lose(self, i):
        return self.status(i).get("can_lose", 0)

    def leader(self):
        return NODES.index(self.status(0)["shards"][0]["leader"])

    def status(self, i):
        """What node i says of the cluster; empty if it does not answer."""
        status, body = http_get(f"http://{HOST}:{self.admin_ports[i]}/v1/status")
        return json.loads(body) if status == 200 else {}


class StockNodes(Backend):
    def process(self, i, name, directory):
        return Process(name, stock_memcached(self.client_ports[i]), directory)


class IdealCluster(Backend):
    def __init__(self, directory):
        self.store_port = free_ports(1)[0]
        self.store = Process("store", stock_memcached(self.store_port), directory)
        super().__init__(directory)

    def process(self, i, name, directory):
        forwarder = pathlib.Path(__file__).with_name("forwarder.py")
        return Process(name, [sys.executable, forwarder, self.client_ports[i], self.store_port],
                       directory)

    def start(self):
        self.store.start()
        return super().start()

    def stop(self):
        super().stop()
        self.store.kill()


def stock_memcached(port):
    """The user is named because memcached refuses to run as root without it."""
    return ["memcached", "-l", HOST, "-p", port, "-U", "0", "-u", "nobody"]


def backend(kind, directory):
    """Makes, but does not start, the backend that an option names."""
    return {"raftcached": RaftCluster, "control": StockNodes, "ideal": IdealCluster}[kind](
        directory)


class Report:
    """Counts claims that held and claims that did not."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, claim, holds, found):
        """`found` is the figure behind the verdict, printed either way."""
        self.passed += holds
        self.failed += not holds
        print(f"{'ok  ' if holds else 'FAIL'} {claim}: {found}", flush=True)

    def finish(self):
        """Prints the line that tests/run counts and returns the exit status."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed else 0
