#!/bin/sh
# clang-tidy over the product and the simulator, two files at a time.
set -u
cd "$(dirname "$0")/../.."
git ls-files 'src/*.c' 'platform/*.c' 'sim/*.c' | xargs -P2 -n4 sh -c '
    clang-tidy-14 --quiet "$@" -- -std=c11 -D_GNU_SOURCE -Isrc -I. -I/usr/include/cjson 2>/dev/null' sh
