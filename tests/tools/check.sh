#!/bin/sh
# The long gate: formatting, layers, purity, headers, tidy, both compilers, instruction counts,
# sanitizers, determinism matrix, 1 000 seeds, coverage, a sample of the planted bugs, bounded fuzzing.
# Each part says how long it took; all run, then it fails if one did. usage: check.sh BUILD
set -u
cd "$(dirname "$0")/../.."
build=$1
logs=$build/check
bad=0
mkdir -p "$logs"

part() { # name command...
    name=$1
    shift
    start=$(date +%s)
    if "$@" >"$logs/$name.log" 2>&1 </dev/null; then
        verdict=ok
        skip=$(tail -n 1 "$logs/$name.log" | sed -n 's/^SKIP *//p')
        [ -z "$skip" ] || verdict=SKIPPED
        printf '%-7s %-24s %4ss%s\n' $verdict "$name" $(($(date +%s) - start)) "${skip:+; $skip}"
    else
        printf 'FAILED  %-24s %4ss; see %s\n' "$name" $(($(date +%s) - start)) "$logs/$name.log"
        tail -n 25 "$logs/$name.log" | sed 's/^/        /'
        bad=1
    fi
}

part format tests/tools/format.sh
part layers tests/tools/layers.sh
part headers tests/tools/headers.sh
part purity tests/tools/purity.sh "$build"
part gcc make -k -j2 BUILD="$build" all build-tests
part clang make -k -j2 BUILD="$build/clang" CC=clang-14 all build-tests
part counts make BUILD="$build" bench-counts
part sanitizers tests/tools/sanitizers.sh "$build/asan"
part tidy tests/tools/tidy.sh
part determinism tests/tools/determinism.sh "$build" "${MATRIX_SEEDS:-1..12}"
part streams "$build/fzsim" --streams --seeds "${STREAM_SEEDS:-1..30}"
part seeds tests/tools/seeds.sh "$build/fzsim" "${CHECK_SEEDS:-1..1000}" 2
part cover tests/tools/cover.sh "$build/cover"
part mutants tests/tools/mutants.sh "$build" "${MUTANTS_EVERY:-4}"
part fuzz tests/tools/fuzz.sh "$build" "${FUZZ_SECONDS:-20}"
part rekey env LONG=1 tests/e2e/test_long_stream.sh "$build"
part ladder-asan tests/e2e/test_offload_ladder.sh "$build/asan"
part streams-today env GENERATION=head PERSONALITY=head tests/e2e/test_long_stream.sh "$build"
part parity tests/tools/parity.sh "$build/results"
part clean tests/tools/clean_tree.sh
exit $bad
