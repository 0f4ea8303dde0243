"""One bridge as a process: a call is a line to it, its answer is a line back."""

import os
import pathlib
import select
import subprocess
import time

# More than any client's own limit, so that a client says what it thinks of a dead server.
ANSWER_WITHIN_S = 20


class ClientError(Exception):
    """The client raised, or said in its own way that it does not know."""


class Speaker:
    """Answers are True, False (a miss, or not stored), a string, or a dict of strings."""

    def __init__(self, variant, store, directory, credentials=None):
        """`credentials` are a user and a password, for clients that know SASL."""
        self.name = variant.name
        self.log = pathlib.Path(directory) / f"{variant.name.replace(' ', '-')}.log"
        environment = {**os.environ, "NODE_MODULES": f"{store}/node/node_modules",
                       "PYTHONDONTWRITEBYTECODE": "1"}
        if credentials is not None:
            environment["CLIENT_USER"], environment["CLIENT_PASSWORD"] = credentials
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                [str(part).replace("{store}", str(store)) for part in variant.argv],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment)
        self.pending = bytearray()

    def __call__(self, handle, verb, *arguments):
        line = " ".join([handle, verb, *map(str, arguments)]) + "\n"
        try:
            self.child.stdin.write(line.encode())
            self.child.stdin.flush()
        except BrokenPipeError as error:
            raise RuntimeError(f"the bridge of {self.name} ended, see {self.log}") from error
        return self.answer(line[:60].rstrip())

    def answer(self, asked):
        deadline = time.monotonic() + ANSWER_WITHIN_S
        while not self.pending.endswith(b"\n"):
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([self.child.stdout], [], [], left_s)[0]:
                raise TimeoutError(f"{self.name}: no answer to {asked!r} in {ANSWER_WITHIN_S} s")
            data = os.read(self.child.stdout.fileno(), 1 << 20)
            if not data:
                raise RuntimeError(f"the bridge of {self.name} ended, see {self.log}")
            self.pending += data
        kind, _, rest = self.pending.decode(errors="replace").rstrip("\n").partition(" ")
        self.pending.clear()
        if kind in ("ok", "no"):
            return kind == "ok"
        if kind == "value":
            return rest
        if kind == "values":
            return dict(pair.split("=", 1) for pair in rest.split())
        raise ClientError(rest)

    def stop(self):
        self.child.kill()
        self.child.wait()


class Client:
    """One client within a bridge, with the addresses that it was given last."""

    def __init__(self, speaker, handle, addresses):
        self.speaker = speaker
        self.handle = handle
        self.open(addresses)

    def open(self, addresses):
        self.addresses = addresses
        self.speaker(self.handle, "open", ",".join(addresses))

    def __getattr__(self, verb):
        return lambda *arguments: self.speaker(self.handle, verb, *arguments)
