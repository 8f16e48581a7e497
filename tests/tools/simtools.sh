#!/bin/sh
# The tools around a failing run, each on a run that is made to fail. usage: simtools.sh BUILD
set -eu
cd "$(dirname "$0")/../.."
fzsim=$1/fzsim
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# Two runs that part in the middle: a link is made slower there, in one of them.
"$fzsim" --seed 5 --save-actions "$dir/list" >/dev/null
printf '#!/bin/sh\nsed "40s/\\"d\\":[0-9]*/\\"d\\":77/" "$2" >%s/other\nshift 2\nexec %s --actions %s/other "$@"\n' \
    "$dir" "$fzsim" "$dir" >"$dir/fzsim-b"
chmod +x "$dir/fzsim-b"
tests/tools/diverge.sh "$fzsim" "$fzsim" --actions "$dir/list" | grep -q '^equal: '
code=0
tests/tools/diverge.sh "$fzsim" "$dir/fzsim-b" --actions "$dir/list" >"$dir/out" || code=$?
[ $code -eq 4 ] || { echo "the divergence was not found: exit $code"; cat "$dir/out"; exit 1; }
# The first record that differs is the action itself.
grep -q '^a: record .* action ' "$dir/out"
grep -q '^b: record .* action ' "$dir/out"
sed -n '/^first/p' "$dir/out"

# Recordings of simulated gateways, of each boot, replay to their digests; one that was tampered with
# does not.
"$fzsim" --seed 7 --record "$dir/recording" >/dev/null
boots=0
for file in "$dir"/recording-*; do
    "$fzsim" replay "$file" >"$dir/out"
    grep -q ' recorded digests agree$' "$dir/out"
    grep -q '^exit' "$dir/out" && ended=$file # its last record is a digest
    boots=$((boots + 1))
done
[ $boots -gt 1 ]
echo "$boots recordings replay"
size=$(wc -c <"$ended")
{ head -c $((size - 1)) "$ended"; printf 'x'; } >"$dir/tampered"
code=0
"$fzsim" replay "$dir/tampered" >"$dir/out" || code=$?
[ $code -eq 4 ] || { echo "a false digest was not noticed: exit $code"; cat "$dir/out"; exit 1; }

# Planted faults: each oracle that judges from outside fails when it must.
planted() { # sabotage oracle code
    cat >"$dir/planted" <<EOF
{"format":1,"seed":1,"options":{"sabotage":$1,"duration_s":30,"head_clients":1,"head_portal":1}}
{"at":6000,"action":"probe","d":64}
{"at":8000,"action":"stranger","b":5,"d":700}
{"at":9000,"action":"gateway_crash","d":500}
{"at":15000,"action":"probe","d":64}
EOF
    code=0
    "$fzsim" --actions "$dir/planted" >"$dir/out" || code=$?
    [ $code -eq "${3:-2}" ] && grep -q "^$2 at " "$dir/out" || { echo "sabotage $1: no $2"; tail -n 3 "$dir/out"; exit 1; }
    echo "sabotage $1 is noticed by $2"
}
planted 1 O-08
planted 2 O-10
planted 3 O-11
planted 4 O-14
planted 5 O-15
planted 6 L-04 3
planted 7 O-18

# A failing run of hundreds of actions shrinks to the one that matters, and the result fails alike.
"$fzsim" --seed 12 --set sabotage=1 --shrink --save-actions "$dir/small" >"$dir/out"
cat "$dir/out"
[ "$(wc -l <"$dir/small")" -le 4 ]
code=0
"$fzsim" --actions "$dir/small" >"$dir/out" || code=$?
[ $code -eq 2 ] && grep -q '^O-08 at ' "$dir/out"
code=0
"$fzsim" --seed 12 --shrink >"$dir/out" || code=$?
[ $code -eq 1 ] && grep -q '^nothing fails' "$dir/out"

# The table of a run has a column for each node and a line for each action.
"$fzsim" --actions "$dir/list" --timeline >"$dir/out"
grep -q '^  *.*gateway0 .*client0' "$dir/out"
grep -q ' world     action  probe' "$dir/out"
grep -q '^ *[0-9]*\.\.[0-9]* .*>[0-9]* <[0-9]* x[0-9]*' "$dir/out"

# A run as Wireshark sees it: nothing of our protocols is malformed (probes to well-known ports are no
# messages of theirs), handshakes open with the keys in the file, the portal's messages are text, losses have their cause.
if command -v tshark >/dev/null; then
    cat >"$dir/list" <<'EOF'
{"format":1,"seed":1,"options":{"clients":2,"client_nat_0":4,"gateway_nat_0":3,"dns_resources":2,"duration_s":20}}
{"at":6000,"action":"probe","b":0,"d":64}
{"at":7000,"action":"tcp","b":0,"d":4000}
{"at":10000,"action":"block","a":0,"b":2,"d":3000}
EOF
    "$fzsim" --actions "$dir/list" --pcap "$dir/run.pcapng" >/dev/null
    shark() { tshark -r "$dir/run.pcapng" --disable-protocol dns "$@" 2>/dev/null; }
    [ -z "$(shark -Y '_ws.malformed && (stun || wg || http || websocket || icmp || icmpv6)')" ]
    shark -Y 'wg.type == 1' -V | grep -q '^ *Static Public Key: '
    shark -Y websocket -V | grep -q '"event":"phx_join"'
    shark -Y frame.comment -T fields -e frame.comment | grep -q nat-filtered
    shark -T fields -e frame.interface_name | grep -q '^gateway0 tun$'
    echo "$(shark | wc -l) packets, none malformed"
else
    echo "SKIPPED: no tshark"
fi
