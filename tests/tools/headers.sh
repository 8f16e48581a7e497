#!/bin/sh
# Compiles each header alone, twice included: it must stand on its own and have a guard.
set -eu
cd "$(dirname "$0")/../.."
bad=0
for header in src/*/*.h platform/*.h platform/linux/*.h sim/*.h sim/dev/*.h fuzz/*.h; do
    [ -e "$header" ] || continue
    name=${header#src/}
    printf '#include "%s"\n#include "%s"\n' "$name" "$name" |
        gcc -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -Isrc -I. -I/usr/include/cjson -fsyntax-only -x c - || {
        echo "$header does not compile alone"
        bad=1
    }
done
exit $bad
