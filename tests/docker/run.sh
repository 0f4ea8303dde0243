#!/bin/bash
# Proves on a real engine what docker-compose.yml promises: `docker-compose up` forms a cluster, and
# when `docker kill` takes any one node the others serve every session.
#
# usage: tests/docker/run.sh
#
# What it does to the machine: it installs docker.io, docker-compose and debootstrap if they are
# missing; if no engine answers it starts one of its own, with all its data in a temporary folder,
# and stops it at the end. Base images that can be pulled are pulled; where they cannot be, images
# of the same names are made of the distribution's packages and this machine's Rust toolchain
# (base-images.sh). Containers, network and images that it made are removed.
#
# Published ports are free ones, so a memcached on 11211 does not matter.
# It ends with "N passed, N failed".
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
scratch=$(mktemp -d /tmp/raftcached-docker.XXXXXX)
engine_pid=""
# What to remove at the end; base-images.sh adds a line for each image it makes.
made_images="$scratch/made-images"
: > "$made_images"

say() { echo "docker: $*"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

finish() {
    local status=$?
    trap - EXIT INT TERM
    set +e
    if [ -e "$scratch/up" ]; then
        if [ "$status" != 0 ]; then
            compose ps
            compose logs --no-color --tail 40
        fi
        compose down --volumes --timeout 5 > "$scratch/down.log" 2>&1 || cat "$scratch/down.log"
    fi
    # In an engine of our own everything goes with its folder.
    if ! engine_runs; then
        while read -r image; do docker image rm "$image" > /dev/null; done < "$made_images"
    fi
    stop_engine
    local result="0 passed, 1 failed"
    [ ! -e "$scratch/result" ] || result=$(cat "$scratch/result")
    as_root rm -rf "$scratch"
    echo "$result"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# ---- engine ------------------------------------------------------------------------------------

# Only an engine that this script started has its process id here.
engine_runs() { [ -n "$engine_pid" ] && [ -e "/proc/$engine_pid" ]; }

# Ends the engine and, through it, its containerd. It gets time to unmount; what it leaves mounted
# must not be followed by the rm -rf.
stop_engine() {
    engine_runs || return 0
    as_root kill "$engine_pid"
    for _ in $(seq 200); do engine_runs || break; sleep 0.1; done
    ! engine_runs || as_root kill -KILL "$engine_pid"
    grep -o " $scratch/[^ ]*" /proc/mounts | while read -r mount; do
        as_root umount -l "$mount"
    done
    engine_pid=""
}

# Starts an engine with the given options, if any; fails when it does not answer.
start_engine() {
    # sudo and the shell may stand between: the engine's own file knows its process id.
    rm -f "$scratch/dockerd.pid"
    as_root env PATH="$engine_path" dockerd --data-root "$scratch/data" \
        --exec-root "$scratch/exec" --pidfile "$scratch/dockerd.pid" \
        --host "unix://$scratch/docker.sock" "$@" \
        < /dev/null >> "$scratch/dockerd.log" 2>&1 &
    local starter=$!
    export DOCKER_HOST="unix://$scratch/docker.sock"
    for _ in $(seq 300); do
        if docker info > /dev/null 2>&1; then
            engine_pid=$(cat "$scratch/dockerd.pid")
            return 0
        fi
        kill -0 "$starter" 2> /dev/null || break
        sleep 0.1
    done
    # It may be up and yet not answer.
    engine_pid=$(cat "$scratch/dockerd.pid" 2> /dev/null || true)
    stop_engine || true
    return 1
}

# A sandbox may lack overlay mounts, or have only the older iptables interface. What works is found
# by trying: the engine must answer and run a container.
start_some_engine() {
    local legacy="$scratch/legacy-iptables" tool options
    mkdir -p "$legacy"
    for tool in iptables ip6tables; do
        ln -sf "$(command -v $tool-legacy || command -v $tool)" "$legacy/$tool"
    done
    for engine_path in "$PATH:/usr/sbin:/sbin" "$legacy:$PATH:/usr/sbin:/sbin"; do
        for options in "" "--storage-driver=vfs"; do
            # shellcheck disable=SC2086  # no options means no word
            if start_engine $options; then
                if runs_a_container; then
                    say "engine of our own, $(docker info --format '{{.Driver}}') storage"
                    return 0
                fi
                stop_engine || true
            fi
            as_root rm -rf "$scratch/data" "$scratch/exec"
        done
    done
    tail -n 20 "$scratch/dockerd.log"
    say "no engine answers and none could be started"
    return 1
}

runs_a_container() {
    local probe="$scratch/probe"
    mkdir -p "$probe"
    # The statically linked docker-init stands in for a whole distribution.
    cp "$(command -v docker-init || echo /usr/libexec/docker/docker-init)" "$probe/init"
    tar -C "$probe" -c . | docker import - raftcached-probe > /dev/null &&
        docker run --rm -p 127.0.0.1::1 raftcached-probe /init --version > /dev/null
}

# ---- compose -----------------------------------------------------------------------------------

compose() {
    local command=(docker-compose)
    command -v docker-compose > /dev/null || command=(docker compose)
    "${command[@]}" --project-name "$project" --file "$root/docker-compose.yml" "$@"
}

project="raftcached-test-$$"
# The classic builder is the one that is always there: Debian ships no buildx.
if ! docker buildx version > /dev/null 2>&1; then export DOCKER_BUILDKIT=0; fi

"$root/tests/run" --install python3 tar
command -v dockerd > /dev/null || docker info > /dev/null 2>&1 ||
    "$root/tests/run" --install docker.io iptables
command -v docker-compose > /dev/null || docker compose version > /dev/null 2>&1 ||
    "$root/tests/run" --install docker-compose

docker info > /dev/null 2>&1 || start_some_engine
"$here/base-images.sh" "$root/Dockerfile" "$made_images"

read -r p1 p2 p3 < <(python3 "$here/sessions.py" --free-ports)
export RAFTCACHED_N1_PORT=$p1 RAFTCACHED_N2_PORT=$p2 RAFTCACHED_N3_PORT=$p3

# The image of a developer who works with the compose file keeps its name when the test is done.
before=$(docker image inspect --format '{{.Id}}' raftcached 2> /dev/null || true)
began=$SECONDS
compose build --build-arg PROFILE=dev n1
say "image built in $((SECONDS - began)) s"
[ -n "$before" ] || echo raftcached >> "$made_images"

touch "$scratch/up"
compose up --detach
declare -a containers
for node in n1 n2 n3; do containers+=("$(compose ps --quiet $node)"); done
python3 "$here/sessions.py" --ports "$p1" "$p2" "$p3" --containers "${containers[@]}" \
    --result "$scratch/result"
