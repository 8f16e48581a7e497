#!/bin/sh
# Holds docs/PARITY.md against the tests. usage: parity.sh [--update | RESULTS]
#
# Always: every test that a row names exists; a row shows something; only rows of "should" are missing,
# and they say so: "missing (should): reason"; the table of counts is right.
# RESULTS (of a whole `make test`): every named test ran and passed.
# --update: rewrites the table of counts.
set -u
cd "$(dirname "$0")/../.."
list=docs/PARITY.md
mode=${1:-}
facts=$(mktemp -d)
trap 'rm -rf "$facts"' EXIT

# has PROGRAM WORD: every word of every test program, and every step that has no words of its own.
for file in tests/*/test_*.c; do
    base=$(basename "$file" .c)
    grep -oE '[a-z_][a-z0-9_]+' "$file" | sort -u | sed "s/^/has $base /"
done >"$facts/facts"
for file in tests/*/test_*.c tests/e2e/test_*.sh fuzz/fuzz_*.c; do
    base=$(basename "${file%.*}")
    echo "has $base $base"
done >>"$facts/facts"

# ran PROGRAM WORD: what the logs of the steps say.
if [ -n "$mode" ] && [ "$mode" != --update ]; then
    if [ -e "$mode/complete" ]; then
        echo "results" >>"$facts/facts"
        for log in "$mode"/*.log; do
            base=$(basename "$log" .log | sed 's/^[a-z0-9]*_test_/test_/')
            sed -n "s/^\[       OK \] \([a-z0-9_]*\).*/ran $base \1/p" "$log"
        done >>"$facts/facts"
        sed -n 's|^ok corpus/\(.*\)|ran fuzz_\1 fuzz_\1|p; s|^ok [a-z0-9]*/\(test_.*\)|ran \1 \1|p' \
            "$mode/steps" >>"$facts/facts"
    else
        echo "no results of a whole 'make test' under $mode: only that the tests exist is checked"
    fi
fi

awk -v mode="$mode" '
function complain(text) { print "docs/PARITY.md: " text; bad = 1 }
function judge(program, word) {
    known = program == "" ? word in anywhere : (program, word) in has
    done = program == "" ? word in ran_anywhere : (program, word) in ran
    if (!known) complain((program == "" ? "" : program ": ") word " does not exist")
    else if (results && !done) complain((program == "" ? "" : program ": ") word " did not run, or failed")
}
# Judges what the cell names; returns how much.
function names(cell,    n, token, program) {
    n = 0
    while (match(cell, /`[^`]*`/)) {
        token = substr(cell, RSTART + 1, RLENGTH - 2)
        cell = substr(cell, RSTART + RLENGTH)
        if (token ~ /^(test|fuzz)_[a-z0-9_]+$/) {
            program = token
            if (match(cell, /^: `[a-z0-9_]+`/)) {
                token = substr(cell, 4, RLENGTH - 4)
                cell = substr(cell, RLENGTH + 1)
                judge(program, token)
            } else {
                judge("", token)
            }
            n++
        }
    }
    return n
}
FILENAME != list {
    if ($1 == "has") { has[$2, $3]; anywhere[$3] }
    if ($1 == "ran") { ran[$2, $3]; ran_anywhere[$3] }
    if ($1 == "results") results = 1
    next
}
/^## / { part = substr($0, 4); parts[++parts_count] = part; next }
part != "" && /^\| / && !/^\| (behaviour|---)/ {
    cells = split($0, cell, / \| /)
    last = cell[cells]
    sub(/ \|$/, "", last)
    found = names(last)
    kind = last ~ /^missing/ ? 5 : last ~ /^untested/ ? 4 : last ~ /^simulator/ ? 3 : last ~ /^in part/ ? 2 : 1
    if (kind == 5 && last !~ /^missing \(should\): ./) complain("a must that is missing, or no reason: " cell[1])
    if (kind == 1 && found == 0) complain("nothing shows: " cell[1])
    count[part, 0]++
    count[part, kind]++
}
END {
    for (i = 1; i <= parts_count; i++) {
        p = parts[i]
        line = "| " p " |"
        for (k = 0; k <= 5; k++) { line = line " " count[p, k] + 0 " |"; all[k] += count[p, k] }
        print line > facts "/counts"
    }
    line = "| **all** |"
    for (k = 0; k <= 5; k++) line = line " **" all[k] + 0 "** |"
    print line > facts "/counts"
    exit bad
}' list="$list" facts="$facts" FS=' ' "$facts/facts" "$list"
bad=$?

# The table of counts has a row for each heading; a file's name in brackets may follow the heading.
row='^\| .* \|( \**[0-9]+\** \|){6}$'
grep -E "$row" "$list" >"$facts/rows"
sed 's/ (`[a-z]*\.md`) |/ |/' "$facts/rows" >"$facts/stated"
if [ "$mode" = --update ]; then
    first=$(grep -nE "$row" "$list" | head -n 1 | cut -d: -f1)
    {
        head -n $((first - 1)) "$list"
        while IFS= read -r line; do
            name=${line%%" | "*}
            label=$(grep -F "$name (" "$facts/rows" | head -n 1)
            label=${label%%" | "*}
            printf '%s | %s\n' "${label:-$name}" "${line#*" | "}"
        done <"$facts/counts"
        tail -n +$((first + $(wc -l <"$facts/rows"))) "$list"
    } >"$facts/new" && cat "$facts/new" >"$list"
elif ! diff "$facts/stated" "$facts/counts"; then
    echo "docs/PARITY.md: its counts are wrong (<); tests/tools/parity.sh --update puts these (>) there"
    bad=1
fi
exit $bad
