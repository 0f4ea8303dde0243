#!/bin/bash
# Builds the fuzz targets and runs each from its corpus; README.md says what each proves.
#
# usage: fuzz/run.sh [TARGET...]           all of them, or these, FUZZ_SECONDS (30) each
#        fuzz/run.sh --build               only builds them
#        fuzz/run.sh --replay TARGET FILE  one input
#        fuzz/run.sh --merge [TARGET...]   picks fuzz/corpus anew, out of it and what was found
#
# As many run at a time as there are processors. What is found goes to target/fuzz/found/TARGET,
# inputs that crash to target/fuzz/crashes/TARGET. It needs neither a nightly toolchain nor clang:
# coverage comes from LLVM's own pass, and src/allocations.rs does a sanitizer's part of the work.
# It ends with "N passed, N failed".
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/.." && pwd)
store="${CARGO_TARGET_DIR:-$root/target}/fuzz"
seconds="${FUZZ_SECONDS:-30}"
host=$(rustc -vV | sed -n 's/^host: //p')
binaries="$store/$host/release"
CARGO_FUZZ_VERSION=0.13.2
# Longer inputs find little that shorter ones do not, and take longer.
LEN_MAX=4096
# Of the whole process; what one input may have, src/allocations.rs says.
RSS_LIMIT_MB=1024
# An input that takes this long has found a loop.
TIMEOUT_SECONDS=20

all_targets() {
    local file
    for file in "$here"/fuzz_targets/*.rs; do basename "$file" .rs; done
}

build() {
    "$root/tests/run" --install gcc g++ libc6-dev make
    local tools="$store/tools"
    export PATH="$tools/bin:$PATH"
    if [ "$(cargo fuzz --version 2> /dev/null)" != "cargo-fuzz $CARGO_FUZZ_VERSION" ]; then
        cargo install cargo-fuzz --locked --version "$CARGO_FUZZ_VERSION" --root "$tools"
    fi
    # cargo-fuzz has no --locked of its own.
    cargo fetch --quiet --locked --manifest-path "$here/Cargo.toml"
    local began=$SECONDS
    (cd "$here" && CARGO_TARGET_DIR="$store" cargo fuzz build --sanitizer none)
    echo "fuzz: built in $((SECONDS - began)) s"
}

# Options that every run of a target has in common.
options_of() {
    local dictionary="$here/dictionaries/$1.dict"
    [ ! -e "$dictionary" ] || echo "-dict=$dictionary"
    printf '%s\n' "-max_len=$LEN_MAX" "-rss_limit_mb=$RSS_LIMIT_MB" "-timeout=$TIMEOUT_SECONDS"
}

# Runs one target; its output goes to its log.
fuzz_one() {
    local target=$1 options
    local found="$store/found/$target" crashes="$store/crashes/$target"
    mkdir -p "$found" "$crashes"
    mapfile -t options < <(options_of "$target")
    "$binaries/$target" "${options[@]}" -artifact_prefix="$crashes/" -print_final_stats=1 \
        -max_total_time="$seconds" "$found" "$here/corpus/$target" > "$store/logs/$target.log" 2>&1
}

# One line about a target that has run; what crashed it, if something did.
report() {
    local target=$1 status=$2 log="$store/logs/$1.log" runs coverage artifact
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(sed -n 's/^#.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    if [ "$status" = 0 ]; then
        echo "fuzz: $target: ok, $runs runs, $coverage edges"
        return 0
    fi
    echo "fuzz: $target: FAILED (status $status), log: $log"
    grep -v '^#' "$log" | tail -n 40
    artifact=$(sed -n "s/.*Test unit written to //p" "$log" | tail -n 1)
    if [ -n "$artifact" ]; then
        echo "fuzz: input:  $artifact"
        echo "fuzz: base64: $(base64 --wrap 0 "$artifact")"
        echo "fuzz: replay: fuzz/run.sh --replay $target $artifact"
    fi
    return 1
}

run_all() {
    local target pid passed=0 failed=0
    declare -A running=()
    mkdir -p "$store/logs"
    # Takes the next target that has ended.
    reap() {
        local status=0
        wait -n -p pid "${!running[@]}" || status=$?
        if report "${running[$pid]}" "$status"; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
        fi
        unset "running[$pid]"
    }
    for target in "$@"; do
        [ "${#running[@]}" -lt "$(nproc)" ] || reap
        fuzz_one "$target" &
        running[$!]=$target
    done
    while [ "${#running[@]}" != 0 ]; do reap; done
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}

# Edges alone decide, and not how often they are taken: a corpus is to be read through by people.
merge() {
    local target options scratch
    for target in "$@"; do
        mapfile -t options < <(options_of "$target")
        scratch="$store/merged/$target"
        rm -rf "$scratch"
        mkdir -p "$scratch/all" "$scratch/picked" "$here/corpus/$target" "$store/found/$target"
        "$binaries/$target" "${options[@]}" -merge=1 -use_counters=0 \
            -merge_control_file="$scratch/control" "$scratch/all" \
            "$here/corpus/$target" "$store/found/$target" > "$scratch/log" 2>&1
        python3 "$here/pick.py" "$scratch/control" "$scratch/picked"
        # What people gave a name tells a story and stays.
        find "$here/corpus/$target" -type f -regextype posix-extended \
            ! -regex '.*/[0-9a-f]{40}' -exec cp -t "$scratch/picked" {} +
        rm -rf "${here:?}/corpus/$target"
        mv "$scratch/picked" "$here/corpus/$target"
        echo "fuzz: $target: $(find "$here/corpus/$target" -type f | wc -l) inputs," \
            "$(du -sb "$here/corpus/$target" | cut -f1) bytes"
    done
}

main() {
    local mode=run targets
    case "${1:-}" in
        --build | --merge | --replay)
            mode=${1#--}
            shift
            ;;
        -*)
            sed -n '2,15s/^# \{0,1\}//p' "$0"
            exit 2
            ;;
    esac
    if [ "$mode" = replay ]; then
        [ "$#" = 2 ] || { echo "usage: fuzz/run.sh --replay TARGET FILE" >&2; exit 2; }
        build
        mapfile -t options < <(options_of "$1")
        RUST_BACKTRACE=1 exec "$binaries/$1" "${options[@]}" "$2"
    fi
    mapfile -t targets < <(all_targets)
    [ "$#" = 0 ] || targets=("$@")
    build
    case "$mode" in
        merge) merge "${targets[@]}" ;;
        run) run_all "${targets[@]}" ;;
    esac
}

main "$@"
