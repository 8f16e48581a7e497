#!/bin/sh
# Many seeds of the simulator, and what they did together. Fails when one fails, and when a fault point
# of the core (src/base/fault.h) fired in none of them: then nothing tests what it is there for.
# usage: seeds.sh FZSIM A..B JOBS
set -eu
out=$(mktemp)
trap 'rm -f "$out"' EXIT
code=0
"$1" --seeds "$2" -j"$3" --report >"$out" || code=$?
cat "$out"
[ $code -eq 0 ] || exit $code
points=$(grep -c '^fault  ' "$out" || true)
never=$(sed -n 's/^never  *fault  *//p' "$out" | tr '\n' ' ')
[ -z "$never" ] || { echo "fault points that never fired: $never"; exit 1; }
[ "$points" -gt 0 ] # else the report has another form now
echo "all $points fault points fired"
