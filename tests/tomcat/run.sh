#!/bin/bash
# Real Tomcats, real memcached-session-manager, real kill -9. Usage: run.sh [--control] [...],
# see driver.py --help. Installs Maven and a JDK from Debian when missing.
set -euo pipefail
cd "$(dirname "$0")"

packages=()
command -v mvn >/dev/null || packages+=(maven)
command -v javac >/dev/null || packages+=(default-jdk-headless)
case " $* " in *" --control "* | *" --ideal "*)
    command -v memcached >/dev/null || packages+=(memcached) ;;
esac
if ((${#packages[@]})); then
    sudo=$([[ $EUID == 0 ]] || echo sudo)
    $sudo apt-get -o DPkg::Lock::Timeout=300 update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get -o DPkg::Lock::Timeout=300 install -y -qq \
        --no-install-recommends "${packages[@]}" </dev/null
fi

# Online once; afterwards Maven answers from its local repository.
build=(mvn -q -B compile dependency:copy-dependencies
    -DincludeScope=runtime '-DoutputDirectory=../../target/tomcat/lib')
"${build[@]}" -o </dev/null >/dev/null 2>&1 || "${build[@]}" </dev/null

exec python3 driver.py "$@"
