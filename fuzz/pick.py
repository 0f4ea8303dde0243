"""Picks the inputs that are worth committing.

usage: pick.py CONTROL_FILE TO

CONTROL_FILE is what libFuzzer's -merge_control_file leaves behind. Of its inputs at most COUNT_MAX
are copied to TO: always the one that adds most edges to those picked before, and of equals the
shortest. So a corpus stays small enough to be read through, and misses the rarest edges, which the
fuzzer finds again within seconds.
"""

import hashlib
import os
import shutil
import sys

COUNT_MAX = 48


def main(control, to):
    lines = open(control).read().splitlines()
    total = int(lines[0])
    files = lines[2 : 2 + total]
    edges = {}
    for line in lines[2 + total :]:
        kind, number, *covered = line.split()
        if kind == "COV":
            edges[int(number)] = set(covered)
    sizes = {number: os.path.getsize(files[number]) for number in edges}
    seen = set()
    for _ in range(COUNT_MAX):
        gain = lambda number: (len(edges[number] - seen), -sizes[number])
        best = max(edges, key=gain, default=None)
        if best is None or edges[best] <= seen:
            break
        seen |= edges.pop(best)
        content = open(files[best], "rb").read()
        shutil.copy(files[best], os.path.join(to, hashlib.sha1(content).hexdigest()))


main(*sys.argv[1:])
