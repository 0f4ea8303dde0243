#!/bin/bash
# Asks of every crate that comes from outside: its licence, who may use it, where it is from, and
# whether something is known against it. deny.toml says what is allowed.
#
# usage: tests/deny.sh
#
# Without a network but for the first download of crates. Advisories are judged only where a copy
# of the database lies: in ADVISORY_DB, or where `cargo deny fetch db` puts it,
# ~/.cargo/advisory-dbs. It ends with "N passed, N failed".
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
tools="${CARGO_TARGET_DIR:-$root/target}/tools"
export PATH="$tools/bin:$PATH"
CARGO_DENY_VERSION=0.20.2

# Its own release build is for those who run it every minute.
if [ "$(cargo deny --version 2> /dev/null)" != "cargo-deny $CARGO_DENY_VERSION" ]; then
    env CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install cargo-deny --locked --version "$CARGO_DENY_VERSION" --root "$tools"
fi
# All of them, those of other systems too: cargo reads each manifest of the lock file.
cargo fetch --quiet --locked

config=$(mktemp /tmp/deny.XXXXXX.toml)
trap 'rm -f "$config"' EXIT
databases="${ADVISORY_DB:-${CARGO_HOME:-$HOME/.cargo}/advisory-dbs}"
sed "s|^\[advisories\]|&\ndb-path = \"$databases\"|" deny.toml > "$config"

passed=0
failed=0
check() {
    if cargo deny --offline --locked --config "$config" check --hide-inclusion-graph "$1"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
}

for what in licenses bans sources; do check "$what"; done
if compgen -G "$databases/advisory-db-*/crates" > /dev/null; then
    check advisories
else
    # Counted as passed here, and taken off again by tests/run.
    passed=$((passed + 1))
    echo "advisories: SKIPPED, NOTHING WAS PROVED: there is no database in $databases"
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
