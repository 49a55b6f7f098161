#!/usr/bin/env bash
# Builds the image a second time and compares what came out with the first:
# from a copy of the sources in another folder and with other file times, later,
# with a cache of its own, and, where root runs this, as a user without any rights.
# The public keys of releases are an input like the sources: both builds get those
# of $CYVIVE_KEYS, or of the user's data folder, and those of $CYVIVE_OWNER and
# $CYVIVE_EXTENSION_KEYS, where the first had them, and the microcode that $MICROCODE
# chooses. So are the signatures of the kernel
# modules that are built, if there are any: they hold for the same bytes only.
#
# Usage: repro.sh ARCH full|short
#
# full begins with nothing but the fetched packages, and takes as long as a first
# build. short takes the results that are made of pinned inputs alone (the
# Debian tree, OpenZFS, the third-party programs) from the cache and makes all the
# rest again: the programs of this repository, RAM disk, root, hash tree, kernel
# image and disk. It takes the compressed root, too, which takes minutes: it is kept by
# the root's hash, so one of another root is not taken.
set -euo pipefail
arch=$1 form=$2
cd "$(dirname "${BASH_SOURCE[0]}")/.."
first=$PWD/out/$arch
from=${XDG_CACHE_HOME:-$HOME/.cache}/cyvive
keys=${CYVIVE_KEYS:-${XDG_DATA_HOME:-$HOME/.local/share}/cyvive/keys}
kept="tree kernel zfs coredns containerd containerd-shim-runc-v2 runc etcd kubernetes kubectl transport"

# Not below the repository: the path of the sources must not matter.
work=$(mktemp -d "${TMPDIR:-/var/tmp}/cyvive-repro-XXXXXX")
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -p "$work/elsewhere/src" "$work/cache/cyvive/step" "$work/modules" "$work/out"
git ls-files -z --cached --others --exclude-standard | tar -c --null -T - --ignore-failed-read 2>/dev/null | tar -x -C "$work/elsewhere/src"
find "$work/elsewhere/src" -exec touch -h -d '2001-02-03 04:05:06 UTC' {} +
cp -a --reflink=auto "$from/deb" "$work/cache/cyvive/deb"
cp "$keys/release.pem" "$work/release.pem"
[ ! -e "$keys/policy.pem" ] || cp "$keys/policy.pem" "$work/policy.pem"
[ ! -e "$keys/db.key" ] || cp -r "$first/module-signatures" "$work/module-signatures"
[ -z "${CYVIVE_OWNER:-}" ] || cp "$CYVIVE_OWNER" "$work/owner.pem"
[ -z "${CYVIVE_EXTENSION_KEYS:-}" ] || cp "$CYVIVE_EXTENSION_KEYS" "$work/extension-keys.pem"
if [ "$form" = short ]; then
  for step in $kept; do
    cp -a --reflink=auto "$from/step/$step" "$work/cache/cyvive/step/"
  done
fi

# The second build. Its module cache is the first one's, mounted where another
# user can read it; the mount is seen by this build alone.
build='cd "$1/elsewhere/src/images" && exec env HOME="$1" XDG_CACHE_HOME="$1/cache" GOCACHE="$1/gocache" GOMODCACHE="$1/modules" TMPDIR="$1/tmp" \
  go run ./cmd/mkimage build --arch "$2" --out "$1/out" --bin "$1/bin" --keys "$1/release.pem" --microcode "${MICROCODE-amd}" \
  $([ ! -e "$1/policy.pem" ] || echo --policy-keys "$1/policy.pem") \
  $([ ! -e "$1/owner.pem" ] || echo --owner "$1/owner.pem") \
  $([ ! -e "$1/extension-keys.pem" ] || echo --extension-keys "$1/extension-keys.pem") \
  $([ ! -e "$1/module-signatures" ] || echo --module-signatures "$1/module-signatures")'
modules=$(go env GOMODCACHE)
mkdir "$work/tmp"
if [ "$(id -u)" = 0 ]; then
  chown -R 65534:65534 "$work"
  echo "repro: the second build is by user 65534 in $work"
  unshare -m bash -c 'mount --bind "$1" "$2/modules" && exec setpriv --reuid=65534 --regid=65534 --clear-groups bash -c "$3" build "$2" "$4"' \
    repro "$modules" "$work" "$build" "$arch"
else
  rmdir "$work/modules" && ln -s "$modules" "$work/modules"
  bash -c "$build" build "$work" "$arch"
fi

status=0
for file in vmlinuz initramfs.zst root.erofs root.erofs.zst root.verity roothash cmdline cyvive.efi disk.raw release.json sbom.spdx.json; do
  if cmp "$first/$file" "$work/out/$arch/$file"; then
    echo "same: $file"
  else
    status=1
  fi
done
exit $status
