#!/bin/sh
# Runs fuzz targets with sanitizers, each for a bounded time, or until EDGES inputs in a row have found
# no new edge (0: time alone). New inputs go to BUILD/fuzz-corpus, the table that is printed to
# BUILD/fuzz-report.txt. usage: fuzz.sh BUILD SECONDS [EDGES [TARGET...]]   TARGET: stun, gateway, ...
set -eu
cd "$(dirname "$0")/../.."
build=$1/fuzz-asan
corpora=$1/fuzz-corpus
report=$1/fuzz-report.txt
seconds=$2
edges=${3:-0}
[ $# -gt 3 ] && shift 3 || set --
targets=${*:-$(cd fuzz && ls fuzz_*.c | sed 's/^fuzz_//; s/\.c$//' | grep -v '^support$')}
# An input of the gateway is a long life. Hooks at comparisons would take half of its time: it has a
# build without them.
for t in $targets; do
    if [ "$t" = gateway ]; then
        make -s -j2 BUILD="$build-lives" CC=clang-14 OPT=-O2 SAN=address,undefined,fuzzer-no-link \
            CFLAGS=-fno-sanitize-coverage=trace-cmp "$build-lives/fuzz/fuzz_gateway"
    else
        make -s -j2 BUILD="$build" CC=clang-14 OPT=-O1 SAN=address,undefined,fuzzer-no-link "$build/fuzz/fuzz_$t"
    fi
done
binary_of() { # and its flags
    case $1 in gateway) echo "$build-lives/fuzz/fuzz_gateway -entropic=0" ;; *) echo "$build/fuzz/fuzz_$1" ;; esac
}
export ASAN_OPTIONS="quarantine_size_mb=16${ASAN_OPTIONS:+:$ASAN_OPTIONS}" # fresh pages cost more than they find
mkdir -p "$corpora"

# The words of the text protocols, out of the code that knows them.
words=$corpora/words.dict
cat src/portal/*.c src/p2p/*.c src/ice/ice_candidate.c src/gateway/gateway_http.c | grep -v '^#include' |
    grep -oE '"[A-Za-z0-9_:./ -]{2,32}"' | sort -u >"$words"

# What the decoder reads at most, or what the machine lives through in a few milliseconds.
length_of() {
    case $1 in
    channel_data) echo 64 ;;
    candidate | wg_msg) echo 256 ;;
    dns | stun | turn_client | ice_agent | wg_peer | policy) echo 600 ;;
    ip) echo 1600 ;;
    json | portal_msg) echo 2048 ;;
    gateway) echo 800 ;;
    *) echo 1280 ;;
    esac
}
stat_of() { # name log
    sed -n "s/^stat::$1: *//p" "$2"
}
edges_of() { # INITED or DONE, log
    sed -n "s/^#[0-9]*\t$1 *cov: \([0-9]*\) .*/\1/p" "$2" | tail -n 1
}

# Leaves runs, found (edges), features and why.
run_target() { # name
    log=$corpora/$1.log
    deadline=$(($(date +%s) + seconds))
    runs=0
    why=time
    while left=$((deadline - $(date +%s))) && [ $left -gt 0 ]; do
        # shellcheck disable=SC2046
        $(binary_of "$1") -max_total_time=$left -runs="$([ "$edges" -gt 0 ] && echo "$edges" || echo -1)" \
            -max_len="$(length_of "$1")" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 -dict="$words" \
            -artifact_prefix="$corpora/crash-$1-" "$corpora/$1" "fuzz/corpus/$1" >"$log" 2>&1 || return 1
        runs=$((runs + $(stat_of number_of_executed_units "$log")))
        found=$(edges_of DONE "$log")
        features=$(sed -n 's/^#[0-9]*\tDONE .* ft: \([0-9]*\) .*/\1/p' "$log")
        if [ "$edges" -gt 0 ] && [ "$found" = "$(edges_of INITED "$log")" ]; then
            why=edges
            break
        fi
    done
}

failed=0
printf '%-8s%-16s%12s%10s%10s%10s  %s\n' '' target inputs edges features inputs/s 'stopped by' | tee "$report"
for t in $targets; do
    mkdir -p "$corpora/$t" "fuzz/corpus/$t"
    start=$(date +%s)
    if run_target "$t"; then
        took=$(($(date +%s) - start))
        printf 'ok      %-16s%12s%10s%10s%10s  %s\n' "$t" "$runs" "$found" "$features" \
            $((runs / (took > 0 ? took : 1))) "$why" | tee -a "$report"
    else
        failed=1
        echo "FAILED  $t: see $log" | tee -a "$report"
        tail -n 20 "$log"
    fi
done
exit $failed
