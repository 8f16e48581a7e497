#!/bin/sh
# Every test that docs/PARITY.md names must exist: a function in tests/, a script, or a fuzz target.
set -u
cd "$(dirname "$0")/../.."
bad=0
for name in $(grep -oE '`(test|fuzz)_[a-z0-9_]+`' docs/PARITY.md | tr -d '`' | sort -u); do
    if ! grep -rqE "(void|int) $name\(" tests fuzz && [ ! -e "tests/e2e/$name.sh" ] && [ ! -e "fuzz/$name.c" ] &&
        ! find tests -name "$name.c" -o -name "$name.sh" | grep -q .; then
        echo "docs/PARITY.md names $name, which does not exist"
        bad=1
    fi
done
exit $bad
