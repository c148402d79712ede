#!/usr/bin/env bash
# Build a base image where no image registry is reachable: a small Debian with Python, from this machine's own package
# mirror. Needs root and debootstrap. ENGINE is podman or docker; TARBALL is kept and reused the next time.
set -euo pipefail
name=${1:-localhost/imgtag-base}
suite=${SUITE:-bookworm}
engine=${ENGINE:-$(command -v podman || command -v docker)}
aside=$(mktemp --directory)
trap 'rm --recursive --force "$aside"' EXIT

# Prints nothing on other systems than Debian; debootstrap then chooses a mirror.
mirror() {
  apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(SITE)' |
    awk '$1 == "Debian" && $2 == "main" && $3 !~ /security$/ && !found { print $3; found = 1 }'
}

bootstrap() {
  local root=$aside/root
  # In its own mount namespace, so that its mounts disappear however it ends.
  # shellcheck disable=SC2046 # no mirror, no argument
  unshare --mount debootstrap --variant=minbase --include=python3,python3-venv "$suite" "$root" $(mirror) >&2
  find "$root/var/cache/apt" "$root/var/lib/apt/lists" -type f -delete
  tar --directory "$root" --numeric-owner --create --file "$aside/base.tar" .
}

tarball=${TARBALL:-$aside/base.tar}
if [[ ! -e $tarball ]]; then
  bootstrap
  [[ $tarball == "$aside/base.tar" ]] || { mkdir --parents "$(dirname "$tarball")" && mv "$aside/base.tar" "$tarball"; }
fi
"$engine" import "$tarball" "$name"
