#!/bin/bash
# Makes sure that the engine has the images that a Dockerfile starts FROM.
#
# usage: base-images.sh DOCKERFILE MADE
#
# An image that is there is used, one that can be pulled is pulled. Where there is no way to a
# registry, a stand-in of exactly the same name is made: Debian by debootstrap for debian:*, and the
# same with a C compiler, this machine's Rust toolchain and the crates of Cargo.lock for rust:*. The
# Dockerfile itself is used unchanged. Names of stand-ins are appended to the file MADE.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
dockerfile=$1
made=$2
# Root file systems are kept: making them takes a minute, and they do not depend on our sources.
store="${CARGO_TARGET_DIR:-$root/target}/docker-test"
mkdir -p "$store"
scratch=$(mktemp -d /tmp/raftcached-base.XXXXXX)
trap 'as_root rm -rf "$scratch"' EXIT

say() { echo "docker: $*"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# The mirror this machine already uses for the suite; empty lets debootstrap choose.
mirror() {
    apt-get indextargets --format '$(ORIGIN)/$(COMPONENT)/$(CODENAME) $(REPO_URI)' \
        'Created-By: Packages' | sed -n "s|^Debian/main/$1 ||p" | head -n 1
}

# Makes $store/SUITE.tar, a minimal Debian, and $store/SUITE-cc.tar, the same with a C compiler.
make_debian() {
    local suite=$1 tree="$scratch/tree"
    [ ! -e "$store/$suite-cc.tar" ] || return 0
    "$root/tests/run" --install debootstrap
    say "making a Debian $suite with debootstrap"
    as_root debootstrap --variant=minbase "$suite" "$tree" $(mirror "$suite") \
        > "$scratch/log" 2>&1 || { tail -n 20 "$scratch/log"; return 1; }
    as_root rm -rf "$tree/var/cache/apt/archives" "$tree/var/lib/apt/lists"
    as_root tar -C "$tree" -c . > "$store/$suite.tar.part"
    # What the official image gives a build with C in it (the allocator's).
    as_root chroot "$tree" /bin/sh -ec '
        export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
        apt-get update
        apt-get install -y --no-install-recommends gcc libc6-dev make
        apt-get clean' \
        > "$scratch/log" 2>&1 < /dev/null || { tail -n 20 "$scratch/log"; return 1; }
    as_root tar -C "$tree" -c . > "$store/$suite-cc.tar.part"
    as_root rm -rf "$tree"
    mv "$store/$suite.tar.part" "$store/$suite.tar"
    mv "$store/$suite-cc.tar.part" "$store/$suite-cc.tar"
}

# This machine's compiler and cargo, where the official image has them in effect: on the PATH.
add_toolchain() {
    local tree=$1 sysroot
    sysroot=$(rustc --print sysroot)
    mkdir -p "$tree/usr/local/bin" "$tree/usr/local/lib"
    cp "$sysroot/bin/cargo" "$sysroot/bin/rustc" "$tree/usr/local/bin/"
    (cd "$sysroot/lib" && find . -path ./rustlib/src -prune -o -type f -print0 -o -type l -print0 |
        tar -c --null --files-from - ) | tar -C "$tree/usr/local/lib" -x
}

# The crates of Cargo.lock, so that the build in the container needs no way to a registry either.
add_crates() {
    local tree=$1 home="$1/usr/local/cargo"
    mkdir -p "$home"
    (cd "$root" && cargo vendor --quiet --locked --versioned-dirs "$home/vendor" \
        > /dev/null 2> "$scratch/log") || { cat "$scratch/log"; return 1; }
    cat > "$home/config.toml" <<CONF
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "/usr/local/cargo/vendor"
CONF
}

make_rust() {
    local image=$1 suite=$2 tree="$scratch/rust" base="raftcached-test-cc:$2"
    make_debian "$suite"
    docker import - "$base" < "$store/$suite-cc.tar" > /dev/null
    echo "$base" >> "$made"
    mkdir -p "$tree"
    add_toolchain "$tree"
    add_crates "$tree"
    docker build --tag "$image" --file - "$tree" > "$scratch/log" 2>&1 <<DOCKERFILE ||
FROM $base
ENV CARGO_HOME=/usr/local/cargo
COPY . /
DOCKERFILE
        { tail -n 20 "$scratch/log"; return 1; }
    rm -rf "$tree"
}

can_pull=unknown
sed -n 's/^FROM  *\([^ ]*\).*/\1/p' "$dockerfile" | sort -u | while read -r image; do
    if docker image inspect "$image" > /dev/null 2>&1; then continue; fi
    if [ "$can_pull" != no ]; then
        if timeout 900 docker pull --quiet "$image" > "$scratch/pull.log" 2>&1; then continue; fi
        can_pull=no
        say "no image can be pulled here ($(tail -n 1 "$scratch/pull.log"))"
    fi
    suite=$(sed -n 's/.*[:-]\(bookworm\|trixie\).*/\1/p' <<< "$image")
    case "$image" in
        rust:*) make_rust "$image" "$suite" ;;
        debian:*)
            make_debian "$suite"
            docker import - "$image" < "$store/$suite.tar" > /dev/null
            ;;
        *) say "no stand-in is known for $image"; exit 1 ;;
    esac
    echo "$image" >> "$made"
    say "$image: a stand-in made here"
done
