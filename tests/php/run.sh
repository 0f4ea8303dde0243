#!/bin/bash
# A real PHP application with php-memcached's session handler, real kill -9.
# Usage: run.sh [--control] [...], see driver.py --help. Installs PHP from Debian when missing.
set -euo pipefail
cd "$(dirname "$0")"

packages=()
command -v php >/dev/null || packages+=(php-cli)
php -m 2>/dev/null | grep -qx memcached || packages+=(php-memcached)
case " $* " in *" --control "* | *" --ideal "*)
    command -v memcached >/dev/null || packages+=(memcached) ;;
esac
if ((${#packages[@]})); then
    sudo=$([[ $EUID == 0 ]] || echo sudo)
    $sudo apt-get -o DPkg::Lock::Timeout=300 update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get -o DPkg::Lock::Timeout=300 install -y -qq \
        --no-install-recommends "${packages[@]}" </dev/null
fi

exec python3 driver.py "$@"
