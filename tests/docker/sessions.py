#!/usr/bin/env python3
"""Sessions through the published ports of three containers, while each is killed in turn.

Each round: `docker kill` one node; the two others must serve every session, on connections that
were open before; half of the sessions change; the node is started again; once the cluster is whole,
the node that was away must serve the changed sessions too. In the next round it is a witness.
"""

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import time

SESSIONS = 300
HEALTHY_WITHIN_S = 90
# A client of a surviving node sees a pause, not an error; this bounds a pause that would be an
# outage. How long it really was is printed (and measured properly by the cluster tests).
ANSWER_WITHIN_S = 5


class Client:
    """One connection that is kept; a close or an error line is a failure, never retried."""

    def __init__(self, name, port):
        self.name = name
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_WITHIN_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = self.socket.makefile("rb")

    def close(self):
        self.input.close()
        self.socket.close()

    def line(self):
        line = self.input.readline()
        if not line.endswith(b"\r\n"):
            raise OSError(f"{self.name} closed the connection")
        return line[:-2]

    def set(self, key, value):
        self.socket.sendall(b"set %s 0 3600 %d\r\n%s\r\n" % (key, len(value), value))
        reply = self.line()
        if reply != b"STORED":
            raise OSError(f"{self.name} answered a set of {key!r} with {reply!r}")

    def get(self, key):
        self.socket.sendall(b"get %s\r\n" % key)
        head = self.line()
        if head == b"END":
            return None
        if not head.startswith(b"VALUE "):
            raise OSError(f"{self.name} answered a get of {key!r} with {head!r}")
        value = self.input.read(int(head.split()[3]) + 2)[:-2]
        if self.line() != b"END":
            raise OSError(f"{self.name} is out of step")
        return value


class Tally:
    """Counts results and prints each as it comes."""

    def __init__(self):
        self.passed = self.failed = 0

    @contextlib.contextmanager
    def check(self, what):
        try:
            notes = []
            yield notes.append
        except (OSError, AssertionError, subprocess.SubprocessError, ValueError) as error:
            self.failed += 1
            print(f"FAIL {what}: {error}", flush=True)
        else:
            self.passed += 1
            print(f"ok   {what}{''.join(f' ({note})' for note in notes)}", flush=True)


def docker(*argv):
    return subprocess.run(("docker",) + argv, check=True, stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=60).stdout.strip()


def health(container):
    """The engine's verdict, which is the image's own HEALTHCHECK."""
    state = json.loads(docker("inspect", "--format", "{{json .State}}", container))
    return state.get("Health", {}).get("Status", state["Status"])


def complaint(container):
    """What the last health check of a container said."""
    log = json.loads(docker("inspect", "--format", "{{json .State.Health.Log}}", container))
    return log[-1]["Output"].strip() if log else "no health check has run"


def can_lose(container):
    """How many nodes may die now, as the node in the container sees it; -1 when it cannot say."""
    done = subprocess.run(["docker", "exec", container, "raftcached", "status", "--cluster",
                           "127.0.0.1:31211", "-o", "json"], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=60)
    try:
        status = json.loads(done.stdout)
        return status["can_lose"] if status["quorum"] else -1
    except (ValueError, KeyError):
        return -1


def wait_whole(containers):
    """Waits until the engine calls every node healthy and the cluster can lose one again."""
    began = time.monotonic()
    while True:
        seen = [(health(c), can_lose(c)) for c in containers]
        if all(verdict == "healthy" and 1 <= spare for verdict, spare in seen):
            return time.monotonic() - began
        if began + HEALTHY_WITHIN_S < time.monotonic():
            said = [complaint(container) for container in containers]
            raise OSError(f"not healthy within {HEALTHY_WITHIN_S} s: {seen}: {said}")
        time.sleep(0.2)


def key(number):
    return b"session:%d" % number


def expect_all(client, sessions):
    for number, value in sessions.items():
        have = client.get(key(number))
        assert have == value, f"{client.name}: session {number} is {have!r}, not {value!r}"


def kill_in_turn(tally, names, ports, containers):
    with tally.check("three containers healthy, the cluster can lose one") as note:
        note(f"{wait_whole(containers):.1f} s")
    if tally.failed:
        return
    clients = {name: Client(name, port) for name, port in zip(names, ports)}
    sessions = {}
    with tally.check(f"{SESSIONS} sessions written through all nodes, each node serves all"):
        for number in range(SESSIONS):
            sessions[number] = b"user %d, first version" % number
            clients[names[number % 3]].set(key(number), sessions[number])
        for client in clients.values():
            expect_all(client, sessions)
    for victim, container, port in zip(names, containers, ports):
        survivors = [clients[name] for name in names if name != victim]
        with tally.check(f"docker kill {victim}: a write is acknowledged by the others") as note:
            docker("kill", container)
            began = time.monotonic()
            for client in survivors:
                client.set(b"heartbeat", victim.encode())
            note(f"{(time.monotonic() - began) * 1000:.0f} ms after the kill was done")
        for client in survivors:
            with tally.check(f"{victim} is dead: {client.name} serves every session"):
                expect_all(client, sessions)
        with tally.check(f"{victim} is dead: half of the sessions change"):
            for number in range(0, SESSIONS, 2):
                sessions[number] = b"user %d, changed without %s" % (number, victim.encode())
                survivors[number // 2 % 2].set(key(number), sessions[number])
        with tally.check(f"{victim} is started again and healthy") as note:
            clients[victim].close()
            docker("start", container)
            note(f"{wait_whole(containers):.1f} s")
            clients[victim] = Client(victim, port)
        for client in clients.values():
            with tally.check(f"{victim} is back: {client.name} serves every session as changed"):
                expect_all(client, sessions)


def check_image(tally, containers):
    with tally.check("the process in the container is not root"):
        status = docker("exec", containers[0], "cat", "/proc/1/status")
        uid = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1]
        assert uid != "0", "it runs as root"
    with tally.check("the image's health check is the binary itself"):
        test = json.loads(docker("inspect", "--format", "{{json .Config.Healthcheck.Test}}",
                                 containers[0]))
        assert test[:2] == ["CMD", "raftcached"], f"it is {test}"
    with tally.check("docker stop: the node ends by itself with status 0"):
        docker("stop", "--time", "30", containers[0])
        code = docker("inspect", "--format", "{{.State.ExitCode}}", containers[0])
        assert code == "0", f"exit status {code}"


def free_ports(count):
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--free-ports", action="store_true", help="print three and exit")
    parser.add_argument("--ports", nargs=3, type=int)
    parser.add_argument("--containers", nargs=3)
    parser.add_argument("--result", help="file for the line that run.sh ends with")
    args = parser.parse_args()
    if args.free_ports:
        print(*free_ports(3))
        return
    tally = Tally()
    names = ("n1", "n2", "n3")
    try:
        kill_in_turn(tally, names, args.ports, args.containers)
        check_image(tally, args.containers)
    except (OSError, subprocess.SubprocessError) as error:
        tally.failed += 1
        print(f"FAIL the run ended early: {error}")
    with open(args.result, "w", encoding="ascii") as result:
        print(f"{tally.passed} passed, {tally.failed} failed", file=result)
    sys.exit(1 if tally.failed else 0)


if __name__ == "__main__":
    main()
