#!/usr/bin/env bash
# Builds the image a second time with an empty cache and compares what came out
# with the first. Usage: repro.sh ARCH
set -euo pipefail
arch=$1
cd "$(dirname "${BASH_SOURCE[0]}")/.."
again=$PWD/out/repro
rm -rf "$again"
mkdir -p "$again"
trap 'chmod -R u+w "$again/cache" && rm -rf "$again/cache"' EXIT
(cd images && XDG_CACHE_HOME=$again/cache go run ./cmd/mkimage build --arch "$arch" --out "$again" --bin "$again/bin")
status=0
for file in vmlinuz initramfs.zst root.erofs root.verity roothash cmdline cyvive.efi disk.raw release.json; do
  if cmp "out/$arch/$file" "$again/$arch/$file"; then
    echo "same: $file"
  else
    status=1
  fi
done
exit $status
