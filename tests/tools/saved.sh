#!/bin/sh
# Replays every saved action list; each once failed, or shows something that must not be lost.
# usage: saved.sh FZSIM
set -eu
count=0
for list in sim/corpus/*.jsonl; do
    [ -e "$list" ] || continue
    echo "$list"
    "$1" --actions "$list"
    count=$((count + 1))
done
echo "$count saved lists"
[ $count -gt 0 ]
