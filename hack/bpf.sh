#!/usr/bin/env bash
# Compiles every eBPF program, internal/**/X.c, to X_bpfel.o with its Go loader
# X_bpfel.go. They are written beside the source, or below the folder given, so
# that the tree stays as it is. The bytes depend on source and compiler alone.
# Usage: bpf.sh [FOLDER]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
into=${1:-.}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -modfile=hack/tools/go.mod -o "$work/bpf2go" github.com/cilium/ebpf/cmd/bpf2go
# v3 has 32-bit arithmetic, and jumps on it; Linux 5.1 was the first to take it.
flags=(-I internal/bpf/include -O2 -mcpu=v3 -std=gnu11 -Wall -Wextra -Werror)
find internal -name '*.c' | sort | while read -r source; do
  dir=$(dirname "$source")
  mkdir -p "$into/$dir"
  "$work/bpf2go" -cc clang-19 -strip llvm-strip-19 -target bpfel -go-package "$(basename "$dir")" \
    -output-dir "$into/$dir" "$(basename "$source" .c)" "$source" -- "${flags[@]}"
done
