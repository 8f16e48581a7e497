#!/bin/sh
# Planted bugs: applies each mutant of tests/mutants/list to a copy of the tree, builds, and runs the
# tests that must notice; then, if those do not, saved runs and seeds. A mutant that nothing notices,
# that does not apply at exactly one place, or that does not build is a failure.
# usage: mutants.sh BUILD [EVERY|NAME...]   EVERY: a number n, every n-th mutant only
set -u
cd "$(dirname "$0")/../.."
mkdir -p "$1/mutants/list"
top=$(cd "$1/mutants" && pwd)
shift
every=1
case ${1:-} in '' | *[!0-9]*) ;; *) every=$1; shift ;; esac
wanted=$*
tree=$top/tree
out=$tree/out
rm -rf "$top/list" && mkdir -p "$top/list" "$tree"

# One directory a mutant, in the order of the list: file, old, new, tests.
awk -v top="$top/list" '
    /^#/ || /^$/ { next }
    /^== / { dir = sprintf("%s/%03d-%s", top, ++count, $2); system("mkdir -p " dir); line = 0; next }
    { line++; field = line == 1 ? "file" : line == 2 ? "old" : line == 3 ? "new" : "tests"
      text = line == 2 || line == 3 ? substr($0, 3) : $0
      if ((line == 2 && $0 !~ /^- /) || (line == 3 && $0 !~ /^\+/) || line > 4) {
          print "tests/mutants/list:" NR ": not understood" >"/dev/stderr"; exit 1 }
      print text >(dir "/" field); close(dir "/" field) }
' tests/mutants/list || exit 1

selected=
at=0
for dir in "$top"/list/*; do
    name=${dir##*/}
    name=${name#*-}
    if [ -n "$wanted" ]; then
        case " $wanted " in *" $name "*) selected="$selected $dir" ;; esac
    elif [ $((at % every)) -eq 0 ]; then
        selected="$selected $dir"
    fi
    at=$((at + 1))
done
[ -n "$selected" ] || { echo "no such mutant"; exit 1; }

# The copy keeps its objects between runs; only what differs is copied, so that make rebuilds little.
for dir in src platform sim fuzz tests Makefile; do
    [ -e "$tree/$dir" ] && diff -rq "$dir" "$tree/$dir" >/dev/null && continue
    rm -rf "${tree:?}/$dir" && cp -R "$dir" "$tree/$dir"
done

make_out() {
    # shellcheck disable=SC2086
    make -s -C "$tree" -j2 BUILD="$out" OPT=-O1 CFLAGS=-w $1 >"$top/make.log" 2>&1
}
targets_of() {
    for t in $1; do printf '%s/tests/%s ' "$out" "$t"; done
}
run() { # a failing test, a crash and a hang are all noticed
    (cd "$tree" && timeout 120 "$@" >"$top/run.log" 2>&1 </dev/null)
}
# Replaces the text of "old", which must stand exactly once in the file, by that of "new".
apply() { # file; the texts come by OLD and NEW
    awk '
        BEGIN { old = ENVIRON["OLD"]; new = ENVIRON["NEW"] }
        { at = index($0, old)
          if (at) { found++; if (index(substr($0, at + 1), old)) { found++ }
                    $0 = substr($0, 1, at - 1) new substr($0, at + length(old)) }
          print }
        END { exit found == 1 ? 0 : 1 }' "$1"
}

read_texts() {
    OLD=$(cat "$1/old")
    NEW=$(cat "$1/new")
    export OLD NEW
}

# Of those that do not run this time as well: code that changed must take its mutants along.
bad=0
for dir in "$top"/list/*; do
    read_texts "$dir"
    apply "$(cat "$dir/file")" >/dev/null && continue
    echo "FAILED  ${dir##*/} does not stand at exactly one place of $(cat "$dir/file"): $OLD"
    bad=$((bad + 1))
done
[ $bad -eq 0 ] || exit 1

tests=$(for dir in $selected; do cat "$dir/tests"; done | tr ' ' '\n' | sort -u)
if ! make_out "$(targets_of "$tests") $out/fzsim"; then
    tail -n 20 "$top/make.log"
    exit 1
fi
for t in $tests; do
    run "$out/tests/$t" || { echo "FAILED  $t fails without any mutant; see $top/run.log"; exit 1; }
done

killed=0
for dir in $selected; do
    name=${dir##*/}
    name=${name#*-}
    file=$(cat "$dir/file")
    tests=$(cat "$dir/tests")
    verdict=
    read_texts "$dir"
    apply "$file" >"$top/mutant.c"
    cp "$top/mutant.c" "$tree/$file"
    if ! make_out "$(targets_of "$tests")"; then
        verdict="does not build; see $top/make.log"
        cp "$top/make.log" "$dir/make.log"
    else
        for t in $tests; do
            run "$out/tests/$t" || { verdict=" by $t"; break; }
        done
        if [ -z "$verdict" ] && make_out "$out/fzsim"; then
            if ! run tests/tools/saved.sh "$out/fzsim"; then
                verdict=" by a saved run"
            elif ! run "$out/fzsim" --seeds "${MUTANT_SEEDS:-1..12}" -j2; then
                verdict=" by a seed"
            fi
        fi
    fi
    case $verdict in
    '') echo "FAILED  $name survives: $file: $OLD -> $NEW"; bad=$((bad + 1)) ;;
    ' '*) printf 'killed  %-40s%s\n' "$name" "$verdict"; killed=$((killed + 1)) ;;
    *) echo "FAILED  $name $verdict"; bad=$((bad + 1)) ;;
    esac
    cp "$file" "$tree/$file"
done
echo "$killed killed, $bad failed"
[ $bad -eq 0 ]
