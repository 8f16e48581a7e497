#!/bin/sh
# The same seeds must give the same digests under gcc and clang, -O0 and -O2, optimised file by file and
# as a whole (as the gateway is), with and without sanitizers, with logging on and off, twice in one process, and with fresh memory full of noise that
# lies elsewhere. usage: determinism.sh BUILD A..B
set -eu
cd "$(dirname "$0")/../.."
build=$1
first=${2%%..*}
last=${2##*..}
make -s -j2 BUILD="$build" "$build/fzsim"
make -s -j2 BUILD="$build/whole" LDPARTS="-flto=auto -w" "$build/whole/fzsim"
make -s -j2 BUILD="$build/gcc-O0" OPT=-O0 "$build/gcc-O0/fzsim"
make -s -j2 BUILD="$build/clang" CC=clang-14 "$build/clang/fzsim"
make -s -j2 BUILD="$build/clang-O0" CC=clang-14 OPT=-O0 "$build/clang-O0/fzsim"
make -s -j2 BUILD="$build/asan" CC=clang-14 OPT=-O1 SAN=address,undefined "$build/asan/fzsim"
bad=0
seed=$first
while [ "$seed" -le "$last" ]; do
    expected=$("$build/fzsim" --seed "$seed" | tail -n 1)
    case $expected in *" ok digest "*) ;; *) echo "seed $seed: $expected"; bad=1 ;; esac
    for variant in whole gcc-O0 clang clang-O0 asan; do
        got=$("$build/$variant/fzsim" --seed "$seed" | tail -n 1)
        [ "$got" = "$expected" ] && continue
        echo "seed $seed: $variant: $got, expected $expected"
        tests/tools/diverge.sh "$build/fzsim" "$build/$variant/fzsim" --seed "$seed" || true
        bad=1
    done
    got=$("$build/fzsim" --seed "$seed" --twice | tail -n 1)
    [ "$got" = "$expected" ] || { echo "seed $seed: twice: $got, expected $expected"; bad=1; }
    got=$("$build/fzsim" --seed "$seed" --verbose 2>/dev/null | tail -n 1)
    [ "$got" = "$expected" ] || { echo "seed $seed: verbose: $got, expected $expected"; bad=1; }
    got=$(MALLOC_PERTURB_=165 MALLOC_MMAP_THRESHOLD_=8192 "$build/fzsim" --seed "$seed" | tail -n 1)
    [ "$got" = "$expected" ] || { echo "seed $seed: noise in memory: $got, expected $expected"; bad=1; }
    seed=$((seed + 1))
done
[ $bad -eq 0 ] && echo "seeds $first..$last agree in 9 ways"
exit $bad
