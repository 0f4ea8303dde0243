#!/bin/bash
# Unpacks the distribution's memcached source package under DIR and prints the folder's path.
#
# usage: fetch-source.sh DIR
#
# Most machines have no deb-src lines. apt gets a configuration of its own here, made of the sources
# the machine already trusts, with its lists under DIR: the system's own apt state stays as it is,
# and no root is needed.
set -euo pipefail

store=$1
mkdir -p "$store"
store=$(cd "$store" && pwd)

# A folder appears under its final name only when it is complete, so that an interrupted run is
# not taken for a cache.
unpacked() { find "$store" -maxdepth 2 -path "$store/source/memcached-*" -type d | tail -n 1; }
if [ -n "$(unpacked)" ]; then
    unpacked
    exit
fi

scratch=$(mktemp -d "$store/apt.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial" "$scratch/source"

# One "deb-src" line for each "deb" source of the distribution itself that has a main component.
apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)' \
    'Created-By: Packages' | sort -u | while read -r origin uri release component; do
    case "$origin/$component" in
        Debian/main | Ubuntu/main | Ubuntu/universe) ;;
        *) continue ;;
    esac
    keyring="/usr/share/keyrings/${origin,,}-archive-keyring.gpg"
    signed=""
    [ -e "$keyring" ] && signed="[signed-by=$keyring] "
    echo "deb-src $signed$uri $release $component"
done > "$scratch/sources.list"
if [ ! -s "$scratch/sources.list" ]; then
    echo "fetch-source: apt knows no Debian or Ubuntu source; run apt-get update," \
        "or set MEMCACHED_SOURCE to an unpacked memcached source tree" >&2
    exit 1
fi

cat > "$scratch/apt.conf" <<CONF
Dir::Etc::sourcelist "$scratch/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "$scratch/lists";
Dir::Cache "$scratch/cache";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Sandbox::User "";
APT::Update::Post-Invoke-Success "";
CONF
export APT_CONFIG="$scratch/apt.conf"
apt-get update >&2
(cd "$scratch/source" && apt-get source memcached >&2)
rm -rf "$store/source"
mv "$scratch/source" "$store/source"
unpacked
