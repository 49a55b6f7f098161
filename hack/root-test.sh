#!/usr/bin/env bash
# Runs the tests of packages as root, each package in mount, PID, network, IPC
# and UTS namespaces of its own; a user who is not root is mapped to it.
# Usage: root-test.sh REGEXP PACKAGE...
set -euo pipefail
run=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
namespaces=(--mount --pid --net --ipc --uts --fork --mount-proc --kill-child)
[ "$(id -u)" = 0 ] || namespaces+=(--map-root-user)
# Programs that tests start; make image builds them.
export CYVIVE_PROGRAMS=${CYVIVE_PROGRAMS:-$PWD/out/$(go env GOARCH)/programs}
status=0
# Two are built at a time: what takes longest in it, linking, uses one processor.
[ $# = 0 ] || printf '%s\n' "$@" |
  CGO_ENABLED=0 xargs -P 2 -I{} bash -c 'go test -c -o "$1/$(echo "$2" | tr ./ _-).test" "$2"' build "$work" {}
for package in "$@"; do
  test=$work/$(echo "$package" | tr ./ _-).test
  echo "root-test $package"
  (cd "$package" && REQUIRE_ROOT=1 timeout --kill-after=10s 10m \
    unshare "${namespaces[@]}" "$test" -test.v -test.timeout 9m ${run:+-test.run "$run"}) || status=1
done
exit $status
