#!/usr/bin/env python3
"""Runs memcached's own t/ with our program in the place of theirs.

The files start the server themselves, with options of their own: `./timedrun 600 ./memcached-debug
...` in the folder that they take for memcached's build folder. Both are stand-ins here; t/ is as it
came.

One result is one file in one class:

    protocol   what any drop-in must pass
    tls        the same through TLS, and the files about TLS alone
    sasl       binary-sasl.t, with a saslpasswd2 that writes our password file

It passes when every check in it passed and none was skipped. EXPECTED names what is known not to, and
why; what fails as expected counts as neither, and what passes unexpectedly has failed.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PROTOCOL = """
    00-startup ascii-auth binary-get binary bogus-commands cas chunked-items daemonize dash-M flags
    flush-all getandtouch getset idle-timeout incrdecr issue_104 issue_108 issue_152 issue_192
    issue_3 issue_41 issue_50 issue_61 issue_67 issue_68 issue_70 item_size_max malicious-commands
    maxconns metaget multiversioning noreply quit shutdown stats-conns stats-detail stats
    strtol-testing touch udp unixsocket
""".split()
# Newer suites have these as well.
PROTOCOL_IF_THERE = ["ascii-auth2"]
TLS_ALONE = """
    ssl_cert_refresh ssl_ports ssl_proto_version ssl_session_resumption ssl_settings
    ssl_verify_modes
""".split()
# maxconns through TLS takes three minutes against any server: Perl makes a thousand contexts.
# Of these one at a time.
HAS_FIXED_PORTS = {"issue_67"}
FIXED_PORTS = threading.Lock()
FILE_WITHIN_S = 600
# What is asked of a stand-in that has to die.
END_WITHIN_S = 10


@dataclass
class Expected:
    """A file that is known not to pass: all of it, or the checks that are named."""

    why: str
    # Each is found in a check that fails, and each check that fails has one of them; none: any.
    checks: list = field(default_factory=list)


# By class and file.
KEPT = Expected(
    "with -C memcached loses what is set in the second of a flush_all; nothing of ours is lost",
    ["failed to set value after flush with no CAS at least once"])
NEVER_KEPT = Expected(
    "what has expired when it arrives is not kept, so a get of it finds nothing that has expired",
    ["get_expired counter is 1"])
EXPECTED = {
    ("sasl", "binary-sasl"): Expected(
        "PLAIN is the only mechanism; the file wants CRAM-MD5 to be there as well",
        ["list_mechs PLAIN"]),
    ("protocol", "flush-all"): KEPT,
    ("protocol", "stats"): NEVER_KEPT,
    ("tls", "flush-all"): KEPT,
    ("tls", "stats"): NEVER_KEPT,
}
# What a file always skips, whoever serves it.
SKIPPED_ALWAYS = ["# skip sessions counter accuracy requires OpenSSL 1.1.1 or newer"]


@dataclass
class Result:
    """What one file said."""

    passed: int
    total: int
    bad: list
    notes: str

    @property
    def ok(self):
        return not self.bad


class Suite:
    """The folder that the files take for memcached's, and the environment they run in."""

    def __init__(self, source, folder, program):
        self.build = folder / "build"
        self.build.mkdir(parents=True)
        (self.build / "t").symlink_to((source / "t").resolve())
        self.script(self.build / "memcached-debug", program)
        # Theirs limits the time; here that is FILE_WITHIN_S.
        self.script(self.build / "timedrun", 'shift\nexec "$@"\n')
        self.users = folder / "users"
        tools = folder / "bin"
        tools.mkdir()
        self.script(tools / "saslpasswd2", SASLPASSWD2)
        # All processes of this run, the daemons too, have it in their environment.
        self.mark = f"MEMCACHED_SUITE={uuid.uuid4()}"
        name, value = self.mark.split("=")
        self.env = {key: text for key, text in os.environ.items()
                    if not key.startswith(("RAFTCACHED_", "T_MEMD_", "MEMCACHED_", "SSL_TEST"))}
        self.env.update({name: value, "PATH": f"{tools}:{os.environ['PATH']}"})

    @staticmethod
    def script(path, text):
        path.write_text(f"#!/bin/sh\n{text}")
        path.chmod(0o755)

    def run(self, kind, name):
        env = dict(self.env)
        if kind == "tls":
            env["SSL_TEST"] = "1"
        if kind == "sasl":
            # A file without users is refused, since nobody could come in.
            self.users.write_text("somebody:else\n")
            env.update(RUN_SASL_TESTS="1", MEMCACHED_SASL_PWDB=str(self.users))
        # A file and no pipe: a server that is left behind would hold that open.
        with tempfile.TemporaryFile() as output:
            perl = subprocess.Popen(["perl", f"t/{name}.t"], cwd=self.build, env=env,
                                    stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            try:
                status = f"exit status {perl.wait(FILE_WITHIN_S)}"
            except subprocess.TimeoutExpired:
                perl.kill()
                perl.wait()
                status = f"no end within {FILE_WITHIN_S} s"
            self.end_all()
            output.seek(0)
            return judge(status, output.read().decode(errors="replace"))

    def end_all(self):
        """Kills what a file has left behind; its ports are free afterwards."""
        deadline = time.monotonic() + END_WITHIN_S
        while time.monotonic() < deadline:
            left = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
                    if self.is_ours(pid)]
            if not left:
                return
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.02)
        raise SystemExit(f"processes that cannot be killed: {left}")

    def is_ours(self, pid):
        try:
            if self.mark.encode() not in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                return False
            # Whoever waits to be waited for is gone already.
            return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False


# saslpasswd2 -a memcached -u REALM -c -p USER, with the password on standard input. Clients give the
# realm behind the user, and without Cyrus it is a part of the name.
SASLPASSWD2 = """
while getopts a:u:cp option; do
    [ "$option" != u ] || realm=$OPTARG
done
shift $((OPTIND - 1))
read -r password
echo "$1@$realm:$password" >> "$MEMCACHED_SASL_PWDB"
"""
# As memcached is built for its own tests it takes one option more.
STOCK = """
for word; do
    shift
    if [ "$word" = relaxed_privileges ]; then word=modern; fi
    set -- "$@" "$word"
done
exec memcached "$@"
"""


def judge(status, output):
    """Reads what Test::More prints."""
    plan = re.search(r"^1\.\.(\d+)", output, re.M)
    total = int(plan[1]) if plan else 0
    checks = re.findall(r"^(?:not )?ok \d+.*$", output, re.M)
    to_do = [line for line in checks if re.search(r"# TODO", line)]
    bad = [line for line in checks if line not in to_do
           and (line.startswith("not") or re.search(r"# skip", line, re.I))
           and not any(line.endswith(always) for always in SKIPPED_ALWAYS)]
    good = len(checks) - len(bad)
    if total == 0:
        skipped = re.search(r"^1\.\.0.*$", output, re.M)
        bad.append(skipped[0] if skipped else "no plan")
    elif len(checks) != total:
        bad.append(f"{len(checks)} of {total} checks were made")
    if status != "exit status 0" and not bad:
        bad.append(status)
    # What passed and what -h printed says nothing about a failure.
    notes = [line for line in output.splitlines() if not re.match(r"ok \d+|\s+-", line)]
    return Result(good, total, bad, "\n".join(printable(line) for line in notes[-40:] + [status]))


def printable(line):
    """For a log: some checks show binary replies."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in line)


def verdict(kind, name, result, expectations):
    """One word for the table, and whether it counts as passed (None: as neither)."""
    expected = expectations.get((kind, name))
    if expected is None:
        return ("ok", True) if result.ok else ("FAIL", False)
    if result.ok:
        return "PASSED UNEXPECTEDLY", False
    if expected.checks:
        unknown = [line for line in result.bad
                   if not any(check in line for check in expected.checks)]
        unseen = [check for check in expected.checks
                  if not any(check in line for line in result.bad)]
        if unknown or unseen:
            return "FAIL, not as expected", False
    return "as expected", None


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="unpacked memcached source")
    parser.add_argument("--stock", action="store_true", help="run a stock memcached instead")
    parser.add_argument("--class", dest="kinds", action="append", metavar="CLASS",
                        choices=["protocol", "tls", "sasl"], help="only this class")
    parser.add_argument("files", nargs="*", help="only these files of t/, without .t")
    args = parser.parse_args()
    target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
    binary = Path(os.environ.get("RAFTCACHED_BIN", f"{target}/release/raftcached")).resolve()
    if not args.stock and not os.access(binary, os.X_OK):
        raise SystemExit(f"{binary} is missing: cargo build --release, or set RAFTCACHED_BIN")

    there = [name for name in PROTOCOL_IF_THERE if (args.source / "t" / f"{name}.t").exists()]
    files = {"protocol": PROTOCOL + there, "tls": PROTOCOL + there + TLS_ALONE,
             "sasl": ["binary-sasl"]}
    missing = [name for names in files.values() for name in names
               if not (args.source / "t" / f"{name}.t").exists()]
    if missing:
        raise SystemExit(f"{args.source} has no t/ files {' '.join(missing)}")
    if subprocess.run(["perl", "-MIO::Socket::SSL", "-e1"], stderr=subprocess.DEVNULL).returncode:
        print("class tls: SKIPPED, NOTHING WAS PROVED: Perl has no IO::Socket::SSL")
        files["tls"] = []
    if args.stock:
        # Debian's has no password file of its own, only Cyrus's.
        files["sasl"] = []
    chosen = [(kind, name) for kind, names in files.items() for name in names
              if (not args.kinds or kind in args.kinds) and (not args.files or name in args.files)]

    folder = Path(tempfile.mkdtemp(prefix="raftcached-suite-"))
    program = STOCK if args.stock else f'exec "{binary}" "$@"\n'
    expectations = {} if args.stock else EXPECTED
    counted, checks, reports = [], [], []
    reporting = threading.Lock()

    def report(kind, name, result, took_s):
        word, ok = verdict(kind, name, result, expectations)
        print(f"{kind:10}{name:26}{result.passed:>6}/{result.total:<6}{took_s:>7.1f} s  {word}",
              flush=True)
        checks.append(result.passed)
        if ok is not None:
            counted.append(ok)
        if ok is False:
            bad = "".join(f"    {printable(line)}\n" for line in result.bad[:12])
            notes = "".join(f"    | {line}\n" for line in result.notes.splitlines())
            reports.append(f"\n{kind} {name}:\n{bad}{notes}")

    def run_all(lane, files):
        suite = Suite(args.source, folder / lane, program)
        for kind, name in files:
            began = time.monotonic()
            with FIXED_PORTS if name in HAS_FIXED_PORTS else contextlib.nullcontext():
                result = suite.run(kind, name)
            with reporting:
                report(kind, name, result, time.monotonic() - began)

    # Much of the time is waiting: two files run at a time, of different classes.
    lanes = {"plain": [file for file in chosen if file[0] == "protocol"],
             "other": [file for file in chosen if file[0] != "protocol"]}
    with ThreadPoolExecutor(len(lanes)) as pool:
        for lane in [pool.submit(run_all, *lane) for lane in lanes.items()]:
            lane.result()
    print("".join(reports), end="")
    for (kind, name), expected in expectations.items():
        if (kind, name) in chosen:
            print(f"not expected to pass: {kind} {name}: {expected.why}")
    shutil.rmtree(folder)
    print(f"{sum(checks)} single checks passed")
    passed = sum(counted)
    failed = len(counted) - passed
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
