#!/usr/bin/env bash
# Fails when the generated code is not what its source generates now. The
# sources are generated into a folder of their own, so the tree stays as it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go tool -modfile=hack/tools/go.mod buf generate --output "$work"
hack/bpf.sh "$work"
mkdir -p "$work/docs/reference"
go tool -modfile=hack/tools/go.mod buf build -o - | go run ./hack/apidoc > "$work/docs/reference/api.md"
status=0
while read -r file; do
  cmp -s "$file" "$work/$file" || { echo "not current: $file (make generate)"; status=1; }
done < <(cd "$work" && find . -type f | sort)
while read -r file; do
  [ -e "$work/$file" ] || { echo "generated from nothing: $file"; status=1; }
done < <(find ./api ./internal -name '*.pb.go' -o -name '*_bpfel.*' | sort)
exit $status
