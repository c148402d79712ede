#!/usr/bin/env bash
# Debian packages that the tests need besides Python, make and Go: installed where they are missing.
set -euo pipefail

packages=(
  etcd-server # the store of the Kubernetes control plane that the chart is tested on
  openssl # keys of that control plane, certificates
  prometheus # promtool, which reads the alerts
)

if ! command -v apt-get >/dev/null; then
  echo "There is no apt-get here: install what stands for ${packages[*]} yourself." >&2
  exit 0
fi
missing=()
for package in "${packages[@]}"; do
  dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep --quiet '^installed$' || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  exit 0
fi
as_root=()
if ((EUID != 0)); then
  as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update --quiet=2
"${as_root[@]}" apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}"
