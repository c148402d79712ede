#!/bin/sh
# Install the packages that the tests need besides Python, from the list beside this script. Needs root and Debian.
set -eu
list=$(sed 's/#.*//' "$(dirname "$0")/ci-packages.txt")
missing=$(for name in $list; do dpkg-query -Wf '${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed || echo "$name"; done)
[ -n "$missing" ] || exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# shellcheck disable=SC2086
apt-get -qq -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends $missing
