#!/bin/sh
# Runs one test step: shows what it is and how long it took, keeps its output, counts it.
# usage: step.sh RESULTS NAME COMMAND...
# A step that fails is named with the command that runs it alone, and its last lines are shown.
results=$1
name=$2
shift 2
mkdir -p "$results"
log=$results/$(printf '%s' "$name" | tr ' /' '__').log
start=$(date +%s)
if "$@" >"$log" 2>&1 </dev/null; then
    count=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" | tail -n 1)
    printf 'ok      %-44s %4ss %s\n' "$name" $(($(date +%s) - start)) "${count:+($count tests)}"
    echo "${count:-1}" >>"$results/passed"
    echo "ok $name" >>"$results/steps"
else
    code=$?
    printf 'FAILED  %-44s exit %s; run alone: %s\n' "$name" "$code" "$*"
    tail -n 25 "$log" | sed 's/^/        /'
    count=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$log" | tail -n 1)
    echo "${count:-1}" >>"$results/failed"
    exit 1
fi
