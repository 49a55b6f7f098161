#!/usr/bin/env bash
# Runs fuzz tests, one after the other: those of both modules, or those whose
# PACKAGE.NAME matches the regular expression. What one finds, go test leaves in
# the package's testdata/fuzz, where it belongs once the cause is gone.
# Usage: fuzz.sh TIME [REGEXP]
set -euo pipefail
time=$1 run=${2:-}
cd "$(dirname "$0")/.."
failed=()
while IFS=: read -r file name; do
  dir=$(dirname "$file")
  [[ "$dir.$name" =~ $run ]] || continue
  echo "fuzz $dir.$name"
  # Go runs one worker a processor; each test starts anew in its own module.
  (cd "$dir" && go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" . | sed -n '/^--- FAIL/,$ {p;d}; $p') || failed+=("$dir.$name")
done < <(grep -rEo --include=*_test.go '^func Fuzz\w+' api cmd hack images internal test | sed 's/func //' | sort)
if ((${#failed[@]})); then
  printf 'found something: %s\n' "${failed[@]}"
  exit 1
fi
