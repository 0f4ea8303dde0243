#!/bin/bash
# Runs memcached's own t/ with our program in the place of memcached, options and all.
#
# usage: suite.sh [--stock] [--class protocol|tls|sasl]... [FILE...]
#
# It needs python3, perl and the source of Debian's memcached, which is fetched and kept under
# target/. MEMCACHED_SOURCE=DIR names an unpacked source tree instead. The program is
# RAFTCACHED_BIN, or the release build; --stock runs the memcached that is installed.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
store="${CARGO_TARGET_DIR:-$root/target}/conformance"

"$root/tests/run" --install perl libio-socket-ssl-perl dpkg-dev python3

if [ -z "${MEMCACHED_SOURCE:-}" ]; then
    MEMCACHED_SOURCE=$("$here/fetch-source.sh" "$store")
fi
exec python3 "$here/suite.py" --source "$MEMCACHED_SOURCE" "$@"
