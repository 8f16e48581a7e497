#!/bin/sh
# Finds where two runs part: the first checkpoint that differs, then the first record, with the 50
# before it. usage: diverge.sh FZSIM FZSIM ARGUMENTS...   (the same arguments for both programs)
# Exit: 0 when the runs are equal, 4 when they differ, 6 when one did not run.
set -u
a=$1
b=$2
shift 2
EVERY=1024 # records of a checkpoint, SIM_CHECKPOINT_EVERY
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$a" "$@" --digest >"$dir/a.all"
"$b" "$@" --digest >"$dir/b.all"
for side in a b; do
    grep '^checkpoint ' "$dir/$side.all" >"$dir/$side"
    grep '^seed .* digest ' "$dir/$side.all" >"$dir/$side.end" || { echo "no run: $side"; exit 6; }
done
if cmp -s "$dir/a.end" "$dir/b.end" && cmp -s "$dir/a" "$dir/b"; then
    echo "equal: $(cat "$dir/a.end")"
    exit 0
fi
# Checkpoints are cumulative: the first that differs ends the range in which the runs part.
at=$(awk 'NR == FNR { first[FNR] = $3; next } first[FNR] != $3 { print FNR - 1; exit } END { }' \
    "$dir/a" "$dir/b")
lines=$(($(wc -l <"$dir/a") < $(wc -l <"$dir/b") ? $(wc -l <"$dir/a") : $(wc -l <"$dir/b")))
[ -n "$at" ] && [ "$at" -lt "$lines" ] || at=$lines
if [ "$at" -lt "$lines" ]; then
    echo "first checkpoint that differs: $at"
else
    echo "checkpoints agree as far as both go: $at"
fi
first=$((at * EVERY > 50 ? at * EVERY - 50 : 0))
range=$first..$(((at + 1) * EVERY))
"$a" "$@" --records "$range" | grep '^record ' >"$dir/a.records"
"$b" "$@" --records "$range" | grep '^record ' >"$dir/b.records"
line=$(awk 'NR == FNR { text[FNR] = $0; next } text[FNR] != $0 { print FNR; found = 1; exit }
            END { if (!found) print FNR + 1 }' "$dir/a.records" "$dir/b.records")
echo "first record that differs: $((first + line - 1))"
from=$((line > 50 ? line - 50 : 1))
[ "$line" -gt 1 ] && sed -n "${from},$((line - 1))p" "$dir/a.records" | cut -c 1-200 | sed 's/^/  /'
for side in a b; do
    echo "$side: $(sed -n "${line}p" "$dir/$side.records" | cut -c 1-2000)"
done
exit 4
