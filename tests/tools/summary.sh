#!/bin/sh
# Adds up what step.sh counted; prints one closing line; fails when anything failed or nothing ran.
# usage: summary.sh RESULTS
sum() {
    awk '{ n += $1 } END { print n + 0 }' "$1" 2>/dev/null || echo 0
}
passed=$([ -e "$1/passed" ] && sum "$1/passed" || echo 0)
failed=$([ -e "$1/failed" ] && sum "$1/failed" || echo 0)
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
