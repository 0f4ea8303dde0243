#!/bin/bash
# Asks memcached's own tools and tests whether every node of a running cluster is a memcached.
#
#   memccapable -a and -b      27 checks each, on every node
#   19 files of memcached's t/ those that run against a living endpoint, through every node
#
# usage: tests/conformance/run.sh             three raftcached nodes on loopback
#        tests/conformance/run.sh --stock     one stock memcached instead: the suite itself is sound
#
# The binary under test is $RAFTCACHED_BIN, default target/release/raftcached. memcached's t/ comes
# from the distribution's source package (it is not ours to copy) and is kept under target/.
# MEMCACHED_SOURCE=DIR names an unpacked source tree instead.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
store="${CARGO_TARGET_DIR:-$root/target}/conformance"

"$root/tests/run" --install memcached libmemcached-tools perl dpkg-dev python3

if [ -z "${MEMCACHED_SOURCE:-}" ]; then
    MEMCACHED_SOURCE=$("$here/fetch-source.sh" "$store")
fi
exec python3 "$here/conformance.py" --source "$MEMCACHED_SOURCE" "$@"
