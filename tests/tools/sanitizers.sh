#!/bin/sh
# Unit tests, fuzz corpora and a sample of seeds under AddressSanitizer and UBSan, with clang.
# usage: sanitizers.sh BUILD
set -eu
cd "$(dirname "$0")/../.."
make -s -k -j2 BUILD="$1" CC=clang-14 OPT=-O1 SAN=address,undefined all build-tests
make -s BUILD="$1" CC=clang-14 OPT=-O1 SAN=address,undefined unit
rm -rf "$1/results"
make -s -k -j2 BUILD="$1" CC=clang-14 OPT=-O1 SAN=address,undefined corpus
tests/tools/saved.sh "$1/fzsim"
"$1/fzsim" --seeds "${ASAN_SEEDS:-1..40}" -j2
