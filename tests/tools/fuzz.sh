#!/bin/sh
# Runs every fuzz target for a bounded time, or until RUNS inputs, with sanitizers; new inputs go to
# BUILD/fuzz-corpus. usage: fuzz.sh BUILD SECONDS [RUNS]
set -eu
cd "$(dirname "$0")/../.."
build=$1/fuzz-asan
seconds=$2
runs=${3:--1}
targets=$(cd fuzz && ls fuzz_*.c | sed 's/\.c$//' | grep -v '^fuzz_support$')
# shellcheck disable=SC2046
make -s -j2 BUILD="$build" CC=clang-14 OPT=-O1 SAN=address,undefined,fuzzer-no-link $(for t in $targets; do echo "$build/fuzz/$t"; done)
failed=0
for t in $targets; do
    name=${t#fuzz_}
    mkdir -p "$1/fuzz-corpus/$name" "fuzz/corpus/$name"
    log=$1/fuzz-corpus/$name.log
    if ! "$build/fuzz/$t" -max_total_time="$seconds" -runs="$runs" -timeout=10 -rss_limit_mb=4096 \
        -max_len=4096 -print_final_stats=1 -artifact_prefix="$1/fuzz-corpus/crash-$name-" \
        "$1/fuzz-corpus/$name" "fuzz/corpus/$name" >"$log" 2>&1; then
        failed=1
        echo "FAILED  $t: see $log"
        tail -n 20 "$log"
    else
        echo "ok      $t $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs"
    fi
done
exit $failed
