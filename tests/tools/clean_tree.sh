#!/bin/sh
# Building and testing must leave the work tree as it was.
cd "$(dirname "$0")/../.." || exit 1
changes=$(git status --porcelain)
[ -z "$changes" ] || { echo "$changes"; exit 1; }
