#!/bin/sh
# The real gateway under steady load with churn for a while: does it grow, does it stall, does it always serve?
# Load: TCP both ways, small datagrams, bursts over many flows. Churn: four clients that start anew, roam, end and come
# back in turn, each of which must get through again; a name whose flows end and open; grants that go and come.
# Samples every 5 s; fails when a client does not get through, or when what is not the core's memory grows in the second
# half by more than a twentieth. The core's is one range, bounded by the limits: it grows with every page of its tables
# that is touched for the first time.
#
# usage: soak.sh BUILD [SECONDS]      needs root and the packages of `tests/tools/install.sh bench`
#   MBIT=1000   of TCP, both ways together
set -eu
cd "$(dirname "$0")/../.."
if [ "$(id -u)" != 0 ]; then
    echo "SKIPPED: network namespaces need root"
    exit 0
fi
tests/tools/install.sh bench
. tests/e2e/net.sh
. tests/bench/paths.sh
TIME=${2:-600}
MBIT=${MBIT:-1000}
SAMPLES=$WORK/samples
TURNS=0
LATE=0

value() { awk -v name="firezone_gateway_$1" '$1 == name { printf "%.0f", $2; found = 1 } END { if (!found) print 0 }' "$WORK/now"; }

# Of the resident KiB: the largest range of mappings without a gap, which has the core's tables, and all others.
resident() {
    awk '/^[0-9a-f]+-[0-9a-f]+ / {
            split($1, edge, "-")
            if (edge[1] != last || NF > 5) range++
            last = NF > 5 ? "" : edge[2]
        }
        $1 == "Size:" { size[range] += $2 }
        $1 == "Rss:" { rss[range] += $2; sum += $2 }
        END {
            for (r in size) if (size[r] > size[core]) core = r
            print rss[core], sum - rss[core]
        }' "/proc/$MEASURED/smaps"
}

# Seconds, KiB of the core and else, ticks, clients, NAT sessions, longest step in µs, turns.
sample() {
    metrics | tr -d '\r' >"$WORK/now" || fail "the gateway does not answer"
    _ticks=$(awk '{ print $14 + $15 }' "/proc/$MEASURED/stat")
    echo "$(($(now_ms) / 1000 - START)) $(resident) $_ticks $(value clients) $(value nat_sessions) $(($(value longest_step_ns) / 1000)) $TURNS" >>"$SAMPLES"
}

# One answer within ten seconds, however late: on a busy machine every hop waits for its time slice.
answers() { in_ns "$1" ping -q -c 1 -w 10 "$2"; }

gets_through() { # CLIENT
    wait_for 10 answers "$1" "$SERVER" || fail "$1 does not get through after turn $TURNS"
}

# One client anew, in one of three ways; then everybody's name and a grant.
churn() {
    _client=crowd$((5 + TURNS % 4))
    case $((TURNS / 4 % 3)) in
    0) kill -USR1 "$(pid_of $_client)" ;;
    1) kill -USR2 "$(pid_of $_client)" ;;
    2) stop $_client && start_crowd_client "${_client#crowd}" ;;
    esac
    _since=$(now_ms)
    gets_through $_client
    [ $(($(now_ms) - _since)) -lt 2000 ] || LATE=$((LATE + 1))
    wait_for 10 answers client four.corp.test || fail "the name does not answer after turn $TURNS"
    case $((TURNS % 10)) in
    4) write_policy "{\"client\":\"*\",\"resource\":\"$CIDR4\"},{\"client\":\"*\",\"resource\":\"$WEB\"}" ;;
    9) write_policy ;;
    esac
    TURNS=$((TURNS + 1))
}

bench_net_up
PATH_NAME=all
GATEWAY_FLAGS=
start_gateway
wait_for 10 gateway_ready || fail "the gateway does not get ready"
MEASURED=$(pid_of gateway)
start_client --address4 203.0.113.30
for _n in $(seq $CROWD); do
    start_crowd_client "$_n"
done
spawn tcp-up crowd1 iperf3 -c $SERVER -p 5201 -C cubic -t "$TIME" -b $((MBIT / 2))M
spawn tcp-down crowd2 iperf3 -c $SERVER -p 5202 -C cubic -t "$TIME" -b $((MBIT / 2))M -R
spawn small crowd3 "$FZDEV" load --to $SERVER --port $LOAD_PORT --size 64 --rate 10000 --ms $((TIME * 1000))
spawn bursts crowd4 "$FZDEV" load --to $SERVER --port $LOAD_PORT --size 1200 --rate 5000 --flows 32 --burst 10 \
    --burst-max 40 --down --ms $((TIME * 1000))
START=$(($(now_ms) / 1000))
NEXT=0
while [ $(($(now_ms) / 1000 - START)) -lt "$TIME" ]; do
    if [ $(($(now_ms) / 1000 - START)) -ge $NEXT ]; then
        sample
        NEXT=$((NEXT + 5))
    fi
    churn
    sleep 0.5
done
sample
for _load in tcp-up tcp-down small bursts; do # they end by themselves
    wait "$(pid_of $_load)" || true
done
echo "turns of churn: $TURNS, of which $LATE took longer than 2 s"
for _load in tcp-up tcp-down; do
    echo "$_load: $(awk '/receiver/ { print $7, $8 }' "$WORK/$_load.log")"
done
for _load in small bursts; do
    echo "$_load: $(awk '{ print $3, "kpps sent,", $5, "% lost,", $6, "out of order" }' "$WORK/$_load.log")"
done
grep '_dropped_total.* [1-9]' "$WORK/now" | sed 's/firezone_gateway_//' || true
cp "$SAMPLES" "$BUILD/soak.samples"
awk '
    { at[NR] = $1; core[NR] = $2; rest[NR] = $3; ticks[NR] = $4; clients = $5; nat = $6; longest = $7; turns[NR] = $8 }
    # KiB a minute over the second half.
    function slope(v,    i, n, x, y, xx, xy) {
        for (i = half; i <= NR; i++) { n++; x += at[i]; y += v[i]; xx += at[i] * at[i]; xy += at[i] * v[i] }
        return n * xx > x * x ? (n * xy - x * y) / (n * xx - x * x) * 60 : 0
    }
    END {
        half = int(NR / 2) + 1
        printf "resident, core: %d KiB at first, %d at half time, %d at the end; %.1f KiB a minute, %.1f a turn\n",
            core[1], core[half], core[NR], slope(core), (core[NR] - core[half]) / (turns[NR] - turns[half] + 1e-9)
        printf "resident, else: %d KiB at first, %d at half time, %d at the end; %.1f KiB a minute\n",
            rest[1], rest[half], rest[NR], slope(rest)
        printf "longest step of the loop: %.1f ms; processor: %.2f cores; clients %d, NAT sessions %d\n",
            longest / 1000, (ticks[NR] - ticks[1]) / 100 / (at[NR] - at[1]), clients, nat
        exit rest[NR] > rest[half] * 1.05
    }' "$SAMPLES" || fail "memory grows"
