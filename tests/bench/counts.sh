#!/bin/bash
# usage: counts.sh [BUILD]: instructions of the core per packet, and how they grow. Exact where times
# are not: a gate for a busy machine. Nothing in them depends on the processor: no cipher, checksums of
# portable C, and of the C library what every amd64 has. Needs valgrind; skips without.
set -u
build=${1:-build}
if ! command -v valgrind >/dev/null; then
    echo "SKIP  bench counts: no valgrind"
    exit 0
fi
export GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM,-SSSE3,-SSE4_2
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
valgrind --tool=callgrind --callgrind-out-file="$out/cg" '--toggle-collect=counted_run*' \
    "$build/bench" --counts >"$out/log" 2>&1 || {
    tail -5 "$out/log"
    echo "FAIL  bench counts"
    exit 1
}
declare -A count
for file in "$out"/cg.*; do
    name=$(sed -n 's/^desc: Trigger: Client Request: //p' "$file")
    total=$(sed -n 's/^totals: //p' "$file")
    case $name in
    *-alone) count[$name]=$((total / 8)) ;; # 8 batches of one
    *) count[$name]=$((total / 512)) ;;     # 8 batches of 64
    esac
done
[ -n "${count[up-1-peers]:-}" ] || { echo "SKIP  bench counts: built without valgrind's header"; exit 0; }

failed=0
# NAME LIMIT: instructions of one packet of 1280 bytes without cipher; 2 to 3 % above what gcc 12 makes.
while read -r name limit; do
    verdict=ok
    [ "${count[$name]}" -le "$limit" ] || { verdict="TOO MANY"; failed=1; }
    printf '%-20s %6d of %6d  %s\n' "$name" "${count[$name]}" "$limit" "$verdict"
done <<'LIMITS'
down-1-peers 1531
up-1-peers 2175
down-20-peers 1803
up-20-peers 2630
down-1-flows 2038
up-1-flows 2645
down-20-flows 2314
up-20-flows 3043
down-1-relayed 1508
up-1-relayed 2127
down-20-refused 1130
up-20-refused 3792
down-alone 2205
up-alone 2321
LIMITS
# Nothing that a packet does may depend on how many peers or flows there are.
grows() {
    local percent=$((count[$2] * 100 / count[$1]))
    local verdict=ok
    [ "$percent" -le "$3" ] || { verdict="GROWS"; failed=1; }
    printf '%-20s %5d %% of %s  %s\n' "$2" "$percent" "$1" "$verdict"
}
grows down-20-peers down-200-peers 103
grows up-20-peers up-200-peers 103
grows down-20-flows down-20000-flows 104
grows up-20-flows up-20000-flows 104
[ $failed -eq 0 ] && echo "PASS  bench counts" || echo "FAIL  bench counts"
exit $failed
