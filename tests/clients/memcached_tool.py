"""memcached-tool, as Debian ships it, against one node."""

import re
import subprocess

import checks
import text

TOOL = "/usr/share/memcached/scripts/memcached-tool"
WITHIN_S = 10
ITEMS = {f"tool-{i}": "v" * (10 + i) for i in range(20)}


def run(port, mode):
    """What it prints. It ends with 0 whatever happens, so that only its output tells."""
    try:
        done = subprocess.run(["perl", TOOL, f"127.0.0.1:{port}", mode], capture_output=True,
                              encoding="utf-8", errors="replace", timeout=WITHIN_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise checks.Wrong(f"no answer in {WITHIN_S} s") from error
    if done.returncode != 0 or "Couldn't connect" in done.stdout + done.stderr:
        raise checks.Wrong(f"status {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


def pairs(output):
    """Lines of a name and a value, without the heading."""
    return dict(line.split(None, 1) for line in output.splitlines()[1:] if len(line.split()) > 1)


def display(port):
    """At least one class of slabs, and in all of them at least the items stored here."""
    head, *rows = run(port, "display").splitlines()
    checks.expect("heading", head.split()[:2], ["#", "Item_Size"])
    rows = [row.split() for row in rows]
    count = sum(int(row[4]) for row in rows if len(row) >= 5 and row[0].isdigit())
    if count < len(ITEMS):
        raise checks.Wrong(f"{count} items in {rows}, at least {len(ITEMS)} were stored")


def stats(port):
    found = pairs(run(port, "stats"))
    for name in ("pid", "uptime", "version", "curr_items", "cmd_get", "get_hits", "bytes",
                 "limit_maxbytes", "curr_connections"):
        if name not in found:
            raise checks.Wrong(f"no {name}")
    if int(found["curr_items"]) < len(ITEMS):
        raise checks.Wrong(f"curr_items {found['curr_items']}")


def settings(port):
    found = pairs(run(port, "settings"))
    for name, value in (("maxbytes", 64 << 20), ("item_size_max", 1 << 20), ("maxconns", 1024)):
        checks.expect(name, found.get(name, "").strip(), str(value))


def sizes(port):
    """Either sizes with counts, or, as memcached's own default, that they are not counted."""
    output = run(port, "sizes")
    found = pairs(output)
    if not found or not (found.get("sizes_status") in ("disabled", "enabled")
                         or all(re.fullmatch(r"\d+", name) for name in found)):
        raise checks.Wrong(repr(output))


def dump(port):
    """Every item as the commands that store it again."""
    output = run(port, "dump")
    for key, value in ITEMS.items():
        if not re.search(rf"^add {key} 0 \d+ {len(value)}\r?\n{value}\r?$", output, re.MULTILINE):
            raise checks.Wrong(f"no {key} in {checks.short(output)}")


def keys(port):
    output = run(port, "keys")
    for key in ITEMS:
        if not re.search(rf"\bkey={key}\b", output):
            raise checks.Wrong(f"no {key} in {checks.short(output)}")


CHECKS = {"display": display, "stats": stats, "settings": settings, "sizes": sizes, "dump": dump,
          "keys": keys}


def fill(port):
    with text.Connection(port) as connection:
        for key, value in ITEMS.items():
            connection.set(key, 0, value)
