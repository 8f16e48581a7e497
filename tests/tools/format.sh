#!/bin/sh
# Checks the formatting of every C file, and that no line holds a tab or trailing space.
set -u
cd "$(dirname "$0")/../.."
files=$(git ls-files '*.c' '*.h')
# shellcheck disable=SC2086
clang-format-14 --dry-run -Werror $files
