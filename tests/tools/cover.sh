#!/bin/sh
# Line coverage of src/ by unit tests, fuzz corpora, saved runs and seeds, per file, per folder and in
# total; fails below SRC_MIN in total or DECODERS_MIN over all decoders. The lines that nothing ran
# are listed in BUILD/uncovered.txt. usage: cover.sh BUILD [SEEDS]
set -eu
cd "$(dirname "$0")/../.."
build=$1
seeds=${2:-1..40}
SRC_MIN=90
DECODERS_MIN=98
# What reads bytes that a stranger, a relay, a client, a name server or the portal wrote.
DECODERS="src/base/bytes.h src/base/bytes.c src/base/text.c
  src/stun/stun_msg.c src/stun/channel_data.c src/stun/stun_integrity.c
  src/ice/ice_candidate.c src/ice/ice_message.c src/wg/wg_msg.c src/p2p/p2p.c
  src/json/json_read.c src/json/json_number.c src/json/json_piece.c src/json/json_tree.c src/json/json_get.c src/json/json.c
  src/portal/http_head.c src/portal/http_upgrade.c src/portal/http_date.c src/portal/ws.c
  src/portal/portal_msg.c src/portal/portal_part.c
  src/dns/dns_msg.c src/dns/dns_name.c src/dns/dns_pattern.c
  src/packet/packet.c src/packet/packet_icmp.c"

make_cover() {
    make -s -k -j2 BUILD="$build" CC=gcc OPT=-O0 CFLAGS=--coverage LDFLAGS=--coverage "$@"
}
find "$build" -name '*.gcda' -delete 2>/dev/null || true
make_cover cover-programs
bad=0
rm -rf "$build/results" "$build/uncovered.txt" "$build/table.txt"
make_cover unit-run corpus || bad=1
tests/tools/saved.sh "$build/fzsim" >"$build/saved.log" 2>&1 || { echo "a saved run fails: $build/saved.log"; bad=1; }
"$build/fzsim" --seeds "$seeds" -j2 >"$build/seeds.log" 2>&1 || { echo "a seed fails: $build/seeds.log"; bad=1; }

# One line "source<TAB>line<TAB>count" for each line with code; a header's lines come once an object.
# gcov's "#####" and "=====" are lines that nothing ran, "*" behind a count is a part of one.
find "$build/obj/src" -name '*.gcno' | sort | while read -r object; do
    gcov -t "$object" 2>/dev/null
done | awk -F: '
    $2 + 0 == 0 && $3 == "Source" { source = $4; next }
    source !~ /^src\// { next }
    { gsub(/[ *]/, "", $1); gsub(/ /, "", $2) }
    $1 == "-" || $2 + 0 == 0 { next }
    { print source "\t" $2 "\t" ($1 ~ /^[0-9]/ ? 1 : 0) }' >"$build/lines.txt"

awk -F'\t' -v decoders="$DECODERS" -v src_min=$SRC_MIN -v decoders_min=$DECODERS_MIN -v table="$build/table.txt" \
    -v list="$build/uncovered.txt" '
    function row(name) {
        return sprintf("%-40s %6d of %6d lines %6.1f %%", name, ran[name], all[name], 100 * ran[name] / all[name])
    }
    { at = $1 "\t" $2; if (!(at in hit)) { hit[at] = 0 } if ($3) { hit[at] = 1 } }
    END {
        count = split(decoders, names, /[ \n]+/)
        for (i = 1; i <= count; i++) { is_decoder[names[i]] = 1 }
        for (at in hit) {
            split(at, part, "\t"); file = part[1]; folder = file; sub(/\/[^\/]*$/, "/", folder)
            all[file]++; all[folder]++; all["src"]++
            ran[file] += hit[at]; ran[folder] += hit[at]; ran["src"] += hit[at]
            if (file in is_decoder) { all["decoders"]++; ran["decoders"] += hit[at] }
            if (!hit[at]) { print file ":" part[2] >list }
        }
        for (name in all) { if (name != "src" && name != "decoders") { print row(name) >table } }
        for (i = 1; i <= count; i++) {
            if (!(names[i] in all)) { print "no such decoder: " names[i]; bad = 1 }
        }
        print row("decoders"); print row("src")
        if (100 * ran["decoders"] < decoders_min * all["decoders"]) { print "decoders are below " decoders_min " %"; bad = 1 }
        if (100 * ran["src"] < src_min * all["src"]) { print "src is below " src_min " %"; bad = 1 }
        exit bad
    }' "$build/lines.txt" >"$build/totals.txt" || bad=1
sort "$build/table.txt"
sort -t: -k1,1 -k2,2n -o "$build/uncovered.txt" "$build/uncovered.txt"
cat "$build/totals.txt"
exit $bad
