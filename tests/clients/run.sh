#!/bin/bash
# Real clients in six languages on three nodes, real kill -9; and memcached-tool.
# Usage: run.sh [--control] [--only NAME]..., see driver.py --help.
#
# Installs the languages from Debian when missing, and the clients, pinned, from the registry of
# each language into target/clients, where they stay.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
store="${CARGO_TARGET_DIR:-$root/target}/clients"
bridges="$here/bridges"

# shellcheck disable=SC2046  # One word per package.
"$root/tests/run" --install $("$root/tests/run" --packages clients)

# Runs a command that fills a directory, unless that was done with the same files before. The
# directory appears when it is whole.
cached() {
    local directory=$1 stamp
    stamp=$(cat "${@:3}" | sha256sum)
    [ "$(cat "$directory.stamp" 2> /dev/null)" != "$stamp" ] || return 0
    echo "installing clients: $(basename "$directory")"
    rm -rf "$directory" "$directory.stamp"
    mkdir -p "$directory"
    "$2" "$directory"
    echo "$stamp" > "$directory.stamp"
}

install_python() {
    python3 -m venv "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes \
        --requirement "$bridges/requirements.txt"
}

install_node() {
    cp "$bridges/package.json" "$bridges/package-lock.json" "$1"
    npm ci --silent --no-audit --no-fund --ignore-scripts --prefix "$1"
}

install_java() {
    mvn -q -B -f "$bridges/java/pom.xml" "-Dbridges.target=$1" compile \
        dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$1/lib"
}

install_go() {
    (cd "$bridges/go" && go build -o "$1/gomemcache" .)
}

{
    cached "$store/python" install_python "$bridges/requirements.txt"
    cached "$store/node" install_node "$bridges/package-lock.json"
    cached "$store/java" install_java "$bridges/java/pom.xml" "$bridges"/java/src/main/java/*/*/*.java
    cached "$store/go" install_go "$bridges"/go/*
} < /dev/null

# pylibmc brings its own libsasl, which looks for the mechanisms where they are not.
SASL_PATH=$(dirname "$(find /usr/lib/*/sasl2 -name 'libplain.so*' -print -quit)")
export SASL_PATH

exec python3 "$here/driver.py" --store "$store" "$@"
