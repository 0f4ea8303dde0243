#!/usr/bin/env python3
"""Runs memccapable and memcached's own t/ files against every node of a cluster.

One result is one suite on one node: it passes when every check in it passed and none was skipped.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# The files of t/ that need nothing but an endpoint: no own command line, no debug clock.
FILES = """
    binary-get bogus-commands cas flags getandtouch getset incrdecr issue_152 issue_192 issue_3
    issue_68 issue_70 malicious-commands metaget multiversioning noreply quit strtol-testing touch
""".split()
MEMCCAPABLE_CHECKS = 27
READY_WITHIN_S = 60
CHECK_WITHIN_S = 10
SUITE_WITHIN_S = 300


class Unusable(Exception):
    """A node that cannot be asked: it exited, does not get ready, or refuses `flush_all`."""


@dataclass
class Node:
    """One endpoint under test."""

    name: str
    port: int
    process: subprocess.Popen
    log: Path
    admin: int = 0


@dataclass
class Result:
    """What one suite said about one node."""

    passed: int
    total: int
    why: str

    @property
    def ok(self):
        return not self.why


def free_ports(count):
    """Ports that nobody listens on now; all are held until the last is found."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_until(what, nodes, condition):
    """Polls `condition`; a node that exits or a deadline that passes ends the run."""
    deadline = time.monotonic() + READY_WITHIN_S
    while not condition():
        for node in nodes:
            if node.process.poll() is not None:
                raise Unusable(f"{node.name} exited {node.process.returncode}\n{tail(node)}")
        if deadline < time.monotonic():
            raise Unusable(f"{what}: not within {READY_WITHIN_S} s\n{''.join(map(tail, nodes))}")
        time.sleep(0.05)


def tail(node, lines=20):
    """The end of what a node wrote, for a failure's report."""
    text = node.log.read_text(errors="replace").splitlines()[-lines:]
    return "".join(f"    {node.name}| {line}\n" for line in text)


def accepts(node):
    try:
        socket.create_connection(("127.0.0.1", node.port), timeout=1).close()
        return True
    except OSError:
        return False


def can_lose_one(node):
    """Whether the node serves clients and the cluster is whole as the node sees it."""
    base = f"http://127.0.0.1:{node.admin}"
    try:
        with urllib.request.urlopen(f"{base}/readyz", timeout=2) as reply:
            if reply.status != 200:
                return False
        with urllib.request.urlopen(f"{base}/v1/status", timeout=2) as reply:
            status = json.load(reply)
        return status["quorum"] and 1 <= status["can_lose"]
    except (OSError, urllib.error.URLError, ValueError):
        return False


def start(name, argv, port, folder, admin=0):
    log = folder / f"{name}.log"
    with open(log, "wb") as out:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    return Node(name, port, process, log, admin)


@contextlib.contextmanager
def stopped_at_end(nodes):
    try:
        yield
    finally:
        for node in nodes:
            node.process.kill()
        for node in nodes:
            node.process.wait()


def start_cluster(binary, folder):
    ports = free_ports(9)
    clients, peers, admins = ports[:3], ports[3:6], ports[6:]
    join = ",".join(f"127.0.0.1:{peer}" for peer in peers)
    return [
        start(
            f"n{i + 1}",
            [binary, "server", "--name", f"n{i + 1}", "-l", "127.0.0.1", "-p", str(clients[i]),
             "--peer-listen", f"127.0.0.1:{peers[i]}", "--admin-listen", f"127.0.0.1:{admins[i]}",
             "--join", join, "--bootstrap-expect", "3"],
            clients[i], folder, admins[i],
        )
        for i in range(3)
    ]


def start_stock(folder):
    (port,) = free_ports(1)
    argv = ["memcached", "-l", "127.0.0.1", "-p", str(port)]
    if os.geteuid() == 0:
        argv += ["-u", "root"]
    return [start("memcached", argv, port, folder)]


def run(argv, **options):
    """Runs one suite; a suite that hangs is cut off and counts as failed (status -1)."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=SUITE_WITHIN_S, **options)
        return done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as cut:
        output = (cut.stdout or b"").decode(errors="replace")
        return -1, f"{output}\nno end within {SUITE_WITHIN_S} s"


def memccapable(node, flag):
    status, output = run(["memccapable", "-h", "127.0.0.1", "-p", str(node.port),
                          "-t", str(CHECK_WITHIN_S), flag])
    passed = len(re.findall(r"\[pass\]", output))
    ok = status == 0 and passed == MEMCCAPABLE_CHECKS
    why = "" if ok else "\n".join(
        [f"exit status {status}"]
        + [line for line in output.splitlines() if line and "[pass]" not in line])
    return Result(passed, MEMCCAPABLE_CHECKS, why)


def build_folder(source, folder):
    """What t/ takes for memcached's build folder.

    MemcachedTest.pm refuses to load without an executable `memcached-debug`, although it does not
    start one when a server is named to it; should it try, the stand-in fails the file.
    """
    build = folder / "build"
    build.mkdir()
    (build / "t").symlink_to((source / "t").resolve())
    stand_in = build / "memcached-debug"
    stand_in.write_text("#!/bin/sh\necho 'not the server under test' >&2\nexit 70\n")
    stand_in.chmod(0o755)
    return build


def test_file(node, build, name):
    flush(node)
    env = dict(os.environ, T_MEMD_USE_DAEMON=f"127.0.0.1:{node.port}")
    status, output = run(["perl", f"t/{name}.t"], cwd=build, env=env)
    plan = re.search(r"^1\.\.(\d+)", output, re.M)
    total = int(plan[1]) if plan else 0
    good = re.findall(r"^ok \d+(?!.*# skip)", output, re.M | re.I)
    bad = re.findall(r"^(?:not ok .*|ok \d+.*# skip.*)$", output, re.M | re.I)
    ok = status == 0 and total and len(good) == total and not bad
    if ok:
        return Result(total, total, "")
    notes = re.findall(r"^#.*$", output, re.M)[:12] + output.splitlines()[-3:]
    return Result(len(good), total, "\n".join([f"exit status {status}"] + bad[:8] + notes))


def flush(node):
    """Each file expects an empty server, as it would get from its own start."""
    with socket.create_connection(("127.0.0.1", node.port), timeout=10) as connection:
        connection.sendall(b"flush_all\r\n")
        reply = connection.recv(64)
        if reply != b"OK\r\n":
            raise Unusable(f"{node.name}: flush_all answered {reply!r}")


def check(nodes, build):
    """Runs everything, prints the table, returns (passed, failed)."""
    suites = [("memccapable -a", lambda node: memccapable(node, "-a")),
              ("memccapable -b", lambda node: memccapable(node, "-b"))]
    suites += [(f"t/{name}.t", lambda node, name=name: test_file(node, build, name))
               for name in FILES]
    print(f"{'':24}" + "".join(f"{node.name:>16}" for node in nodes), flush=True)
    results, reports = [], []
    for suite, ask in suites:
        began = time.monotonic()
        row = [(node, ask(node)) for node in nodes]
        took_s = time.monotonic() - began
        cells = (f"{r.passed}/{r.total}" + ("" if r.ok else " FAIL") for _, r in row)
        print(f"{suite:24}" + "".join(f"{cell:>16}" for cell in cells) + f"{took_s:>9.1f} s",
              flush=True)
        for node, result in row:
            results.append(result)
            if not result.ok:
                why = "".join(f"    {line}\n" for line in result.why.splitlines())
                reports.append(f"{suite} on {node.name}:\n{why}{tail(node)}")
    print("".join("\n" + report for report in reports), end="")
    print(f"{sum(r.passed for r in results)} single checks passed")
    passed = sum(r.ok for r in results)
    return passed, len(results) - passed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="unpacked memcached source")
    parser.add_argument("--stock", action="store_true", help="ask a stock memcached instead")
    args = parser.parse_args()
    target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
    binary = os.environ.get("RAFTCACHED_BIN", f"{target}/release/raftcached")
    if not args.stock and not os.access(binary, os.X_OK):
        raise SystemExit(f"{binary} is missing: cargo build --release, or set RAFTCACHED_BIN")
    missing = [name for name in FILES if not (args.source / "t" / f"{name}.t").exists()]
    if missing:
        raise SystemExit(f"{args.source} has no t/ files {' '.join(missing)}")

    folder = Path(tempfile.mkdtemp(prefix="raftcached-conformance-"))
    nodes = start_stock(folder) if args.stock else start_cluster(binary, folder)
    try:
        with stopped_at_end(nodes):
            ready = accepts if args.stock else can_lose_one
            wait_until("every node ready", nodes, lambda: all(map(ready, nodes)))
            passed, failed = check(nodes, build_folder(args.source, folder))
        shutil.rmtree(folder)
    except (OSError, Unusable) as error:
        print(f"{error}\nwhat the nodes wrote is in {folder}")
        passed, failed = 0, 1
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
