#!/bin/sh
# The real gateway in namespaces, beside plain forwarding and wireguard-go of the distribution, in turn within each
# round; the first transfer on every path is thrown away. Everything runs on this machine's processors, so only
# ratios within one run mean something. Results: a table, the targets, and JSON lines.
#
# usage: macro.sh BUILD [ROUNDS] [SECONDS]      needs root and the packages of `tests/tools/install.sh bench`
#   JSON=FILE          appends the JSON lines there
#   ONLY="base rungs"  of the parts: base ways line, ROUNDS times; rungs wire udp queue crowd many, once
set -eu
cd "$(dirname "$0")/../.."
if [ "$(id -u)" != 0 ]; then
    echo "SKIPPED: network namespaces need root"
    exit 0
fi
# A session of its own, before all others: what else this machine does would decide about every result.
if [ -z "${OWN_SESSION:-}" ] && [ ! -t 0 ] && command -v setsid >/dev/null; then
    OWN_SESSION=1 exec setsid -w tests/bench/macro.sh "$@"
fi
[ -z "${OWN_SESSION:-}" ] || echo -20 2>/dev/null >/proc/self/autogroup || true
tests/tools/install.sh bench
. tests/e2e/net.sh
. tests/bench/paths.sh
ROUNDS=${2:-3}
SECONDS_EACH=${3:-2}
PARTS=${ONLY:-base ways line rungs wire udp queue crowd many}
RAW=$WORK/raw
IPERF=$WORK/iperf.json
REALTIME=
: >"$RAW"

# ---- measuring ----

note() { # KEY METRIC VALUE
    echo "$1 $2 $3" >>"$RAW"
}
skip() {
    echo "SKIPPED: $*" | tee -a "$WORK/skipped" >&2
}

# User and system ticks (10 ms) of the measured process. System time includes what the kernel does for other
# namespaces in its context.
ticks() { [ -z "$MEASURED" ] && echo "0 0" || awk '{ print $14, $15 }' "/proc/$MEASURED/stat"; }

counters() { case $PATH_NAME in forward | deb) ;; *) metrics | tr -d '\r' ;; esac; }

# How often a sender's TCP had to notice that the network changed the order of its segments.
disorder() {
    for _ns in client resource; do
        in_ns $_ns cat /proc/net/netstat
    done | awk '$1 != "TcpExt:" { next }
        $2 ~ /[A-Z]/ { split($0, name); next }
        { for (i = 2; i <= NF; i++) if (name[i] ~ /^TCP(SACK|TS|Reno)Reorder$/) sum += $i }
        END { printf "%.0f\n", sum }'
}

# Segments per call out of two readings of the counters.
per_call() { # KEY BEFORE AFTER
    # shellcheck disable=SC2016
    awk -v key="$1" '
        NR == FNR { before[$1] = $2; next }
        { delta[$1] = $2 - before[$1] }
        function per(what, segments, calls) {
            segments = delta["firezone_gateway_" segments]; calls = delta["firezone_gateway_" calls]
            if (calls > 0) printf "%s per-%s %.2f\n", key, what, segments / calls
        }
        END {
            per("tun-read", "tun_in_segments_total", "tun_read_calls_total")
            per("tun-write", "tun_out_packets_total", "tun_write_calls_total")
            per("udp-receive", "udp_in_datagrams_total", "udp_receive_calls_total")
            per("udp-send", "udp_out_datagrams_total", "udp_send_calls_total")
            per("seal", "aead_sealed_total", "aead_seal_batches_total")
            per("open", "aead_opened_total", "aead_open_batches_total")
        }' "$2" "$3" >>"$RAW"
}

iperf() { # SECONDS [iperf3 flags]: result in $IPERF
    _seconds=$1
    shift
    in_ns client timeout $((_seconds + 15)) iperf3 -c $TARGET -p $PORT -t "$_seconds" -J "$@" >"$IPERF" 2>&1 ||
        fail "iperf3 on path $PATH_NAME: $(tail -n 3 "$IPERF")"
}
# field SECTION NAME: a number out of the summary in iperf3's answer.
field() {
    awk -F'[:,]' -v section="\"$1\"" -v name="\"$2\"" '
        /"end":[ \t]*\{/ { summary = 1 }
        summary && index($1, section) { inside = 1 }
        inside && index($1, name) { printf "%.3f\n", $2; found = 1; exit }
        END { if (!found) print 0 }' "$IPERF"
}

# tcp PREFIX WAY STREAMS: one transfer over the path that is up.
tcp() {
    _key=$1/$2/$3/$PATH_NAME
    [ "$2" = down ] && _reverse=-R || _reverse=
    counters >"$WORK/before"
    _disorder=$(disorder)
    _ticks=$(ticks)
    # shellcheck disable=SC2086
    iperf "$SECONDS_EACH" -C cubic -P "$3" $_reverse ${SEGMENT:+-M $SEGMENT}
    _ticks="$_ticks $(ticks)"
    counters >"$WORK/after"
    _rate=$(field sum_received bits_per_second)
    note "$_key" rate "$(echo "$_rate" | awk '{ printf "%.1f", $1 / 1e6 }')"
    note "$_key" resent "$(field sum_sent retransmits)"
    note "$_key" reordered $(($(disorder) - _disorder))
    if [ -n "$MEASURED" ]; then
        echo "$_ticks $_rate $SECONDS_EACH" | awk -v key="$_key" '{
            gbit = $5 * $6 / 1e9 + 1e-9
            printf "%s user %.1f\n%s system %.1f\n%s cpu %.1f\n",
                key, ($3 - $1) * 10 / gbit, key, ($4 - $2) * 10 / gbit, key, ($3 + $4 - $1 - $2) * 10 / gbit
        }' >>"$RAW"
        per_call "$_key" "$WORK/before" "$WORK/after"
    fi
}

tcp_both() { # PREFIX STREAMS
    tcp "$1" up "$2"
    tcp "$1" down "$2"
}

# A ping every 5 ms, µs of each.
pings() { # COUNT
    # shellcheck disable=SC2086
    in_ns client $REALTIME ping -i 0.005 -c "$1" "$TARGET" | sed -n 's/.*time=\([0-9.]*\).*/\1/p'
}
note_rtt() { # KEY, times in ms on the input
    sort -n | awk -v key="$1" '{ at[NR] = $1 }
        function rank(part) { return at[int((NR - 1) * part) + 1] * 1000 }
        END { if (NR > 0) printf "%s p50 %.0f\n%s p90 %.0f\n%s p99 %.0f\n%s worst %.0f\n",
            key, rank(0.5), key, rank(0.9), key, rank(0.99), key, rank(1) }' >>"$RAW"
}

# Idle, PATHS in turn every second.
rtt_idle() { # PREFIX TURNS PATHS
    _prefix=$1
    _turns=$2
    shift 2
    rm -f "$WORK"/rtt.*
    for _turn in $(seq "$_turns"); do
        for _path in "$@"; do
            use "$_path"
            pings 200 >>"$WORK/rtt.$_path"
        done
    done
    for _path in "$@"; do
        note_rtt "$_prefix/up/1/$_path" <"$WORK/rtt.$_path"
    done
}

# The same with every process on the way before all others: no time slice of a busy machine is in it, but each step is
# a wake-up of the other processor.
rtt_realtime() {
    if realtime -r 1; then
        REALTIME="chrt -r 1"
        rtt_idle rtt-realtime 3 deb all
    else
        skip "real-time priority for idle round trips: not permitted"
    fi
    REALTIME=
    realtime -o 0 || true
}
realtime() { # POLICY PRIORITY
    for _name in client gateway deb-client deb-gateway; do
        chrt -a "$1" -p "$2" "$(pid_of $_name)" 2>/dev/null || return 1
    done
}

rtt_loaded() { # KEY WAY
    [ "$2" = down ] && _reverse=-R || _reverse=
    # shellcheck disable=SC2086
    in_ns client iperf3 -c $TARGET -p $PORT -C cubic -t 3 $_reverse >/dev/null &
    _load=$!
    sleep 0.3
    pings 500 | note_rtt "$1"
    wait $_load || true
}

# ---- UDP ----

load() { # fzdev load flags: result in $WORK/load
    in_ns client timeout 60 "$FZDEV" load --to "$(numeric "$TARGET")" --port $LOAD_PORT "$@" >"$WORK/load" 2>&1 ||
        fail "fzdev load on path $PATH_NAME: $(tail -n 3 "$WORK/load")"
}
numeric() { case $1 in *[!0-9a-f.:]*) in_ns client getent ahostsv4 "$1" | awk '{ print $1; exit }' ;; *) echo "$1" ;; esac; }

# way_flag WAY: of fzdev load.
way_flag() { [ "$1" = up ] || echo --down; }

# udp_at PREFIX WAY RATE [flags]: 1.5 s at one rate.
udp_at() {
    _key=$1/$2/1/$PATH_NAME
    _way=$(way_flag "$2")
    _rate=$3
    shift 3
    _ticks=$(ticks)
    # shellcheck disable=SC2086
    load --rate "$_rate" --ms 1500 $_way "$@"
    echo "$_ticks $(ticks)" | awk -v key="$_key" '{ printf "%s core %.3f\n", key, ($3 + $4 - $1 - $2) / 150 }' >>"$RAW"
    awk -v key="$_key" '$1 == "step" { printf "%s sent %s\n%s arrived %s\n%s loss %s\n%s reordered %s\n",
        key, $3, key, $4, key, $5, key, $6 }' "$WORK/load" >>"$RAW"
}

# udp_search PREFIX WAY FIRST [flags]: the highest rate that loses at most 0.1 %, and the curve up to there and beyond.
udp_search() {
    _key=$1/$2/1/$PATH_NAME
    _way=$(way_flag "$2")
    _rate=$3
    shift 3
    # shellcheck disable=SC2086
    load --search --rate "$_rate" --ms 250 $_way "$@"
    awk -v key="$_key" '
        $1 == "best" { printf "%s kpps %s\n%s limit %s\n", key, $2, key, $3 }
        $1 == "step" { curve = curve sep $3 ":" $5; sep = ","; disorder += $6 }
        END { printf "%s curve %s\n%s reordered %d\n", key, curve, key, disorder }' "$WORK/load" >>"$RAW"
}

warm_up() { iperf 1 -C cubic; }

# ---- parts of a round ----

wanted() { case " $PARTS " in *" $1 "*) ;; *) return 1 ;; esac; }

# Everything that a target compares with wireguard-go or plain forwarding, transfer by transfer in turn.
base() {
    path_up deb
    path_up all
    for _base in forward deb all; do
        use $_base
        warm_up
    done
    for _streams in 1 10; do
        for _direction in up down; do
            for _base in forward deb all; do
                [ "$_base $_streams" != "forward 10" ] || continue
                use $_base
                tcp tcp $_direction $_streams
            done
        done
    done
    rtt_idle rtt-idle 12 forward deb all
    rtt_realtime
    for _base in deb all; do
        use $_base
        udp_at udp-64-100k up 100000 --size 64
    done
    udp_at udp-64-300k up 300000 --size 64
    udp_at udp-64-300k-gso up 300000 --size 64 --gso --burst 32
    rtt_loaded "rtt-load/up/1/all" up
    rtt_loaded "rtt-load/down/1/all" down
    path_down
    for _base in null reference; do tcp_path tcp $_base; done
}

# P-03 and P-04: senders with and without super-packets; bursts of 10 to 40 over 32 flows, as QUIC paces them.
udp() {
    path_up deb
    path_up all
    for _direction in up down; do
        for _size in 64 1200; do
            for _path in forward deb all; do
                use $_path
                udp_search "udp-$_size" $_direction 50000 --size $_size
                udp_search "udp-$_size-gso" $_direction 100000 --size $_size --gso --burst 32
            done
        done
        for _path in forward deb all; do
            use $_path
            udp_search udp-bursts $_direction 50000 --size 1200 --flows 32 --burst 10 --burst-max 40
        done
    done
    path_down
}

# Families: inner in outer.
ways() {
    path_up all
    warm_up
    for _way in all named 6-in-4; do
        use $_way
        tcp_both ways 1
    done
    path_down
    path_up 4-in-6
    warm_up
    for _way in 4-in-6 6-in-6; do
        use $_way
        tcp_both ways 1
    done
    path_down
    tcp_path ways relayed
}

wire() {
    wire_like on
    path_up deb
    path_up all
    for _path in forward deb all; do
        use $_path
        warm_up
        tcp_both wire 1
    done
    path_down
    wire_like off
}

tcp_path() { # PREFIX PATH
    path_up "$2"
    warm_up
    tcp_both "$1" 1
    path_down
}

# What this processor or kernel does not have is left out.
rungs() {
    for _rung in libsodium avx2 tso no-tun no-gso no-gro none plain-tun; do
        case $_rung in
        avx2) grep -qw avx2 /proc/cpuinfo || { skip "rung avx2: not in this processor" && continue; } ;;
        tso) [ "$OFFLOAD" = uso ] || { skip "rung tso: the kernel has no USO to be without" && continue; } ;;
        esac
        tcp_path tcp $_rung
    done
}

# Both with the segment size that the tunnel has: what limits is the rate of segments.
line_paths() { # PREFIX STREAMS, flags of the line
    _prefix=$1
    _streams=$2
    shift 2
    unplug_client
    plug_client_by_line --rate 500000 "$@"
    SEGMENT=1228
    path_up all
    for _path in forward all; do
        use $_path
        warm_up
        tcp_both "$_prefix" "$_streams"
    done
    path_down
    SEGMENT=
    unplug_client
    plug_client
}

queue() {
    path_up all
    warm_up
    for _length in 500 1000 10000; do
        ip -n "$P-gw" link set tun-firezone txqueuelen $_length
        rtt_loaded "queue-$_length/down/1/all" down
        tcp "queue-$_length" down 1
    done
    path_down
}

# Clients that upload at once, as fast as they can and 100 Mbit/s each: what one gets beside the others. And as fast as
# they can without a tunnel: what TCP and the scheduler give them on these processors.
crowd() {
    PATH_NAME=all
    GATEWAY_FLAGS=
    start_gateway
    wait_for 10 gateway_ready || fail "the gateway does not get ready"
    MEASURED=$(pid_of gateway)
    for _n in $(seq $CROWD); do
        start_crowd_client "$_n"
    done
    crowd_uploads crowd $SERVER
    crowd_uploads crowd-100M $SERVER -b 100M
    PATH_NAME=forward
    MEASURED=
    crowd_uploads crowd $FORWARDED
    for _n in $(seq $CROWD); do
        stop "crowd$_n"
    done
    path_down
}
crowd_uploads() { # PREFIX ADDRESS [iperf3 flags]
    _key=$1/up/$CROWD/$PATH_NAME
    _address=$2
    shift 2
    counters >"$WORK/before"
    _ticks=$(ticks)
    _loads=
    for _n in $(seq $CROWD); do
        in_ns "crowd$_n" iperf3 -c "$_address" -p "520$_n" -C cubic -t "$SECONDS_EACH" -J "$@" >"$IPERF.$_n" 2>&1 &
        _loads="$_loads $!"
    done
    wait $_loads || fail "iperf3 among $CROWD clients"
    counters >"$WORK/after"
    [ -z "$MEASURED" ] || echo "$_ticks $(ticks)" | awk -v key="$_key" -v s="$SECONDS_EACH" \
        '{ printf "%s core %.3f\n", key, ($3 + $4 - $1 - $2) / 100 / s }' >>"$RAW"
    per_call "$_key" "$WORK/before" "$WORK/after"
    for _n in $(seq $CROWD); do
        IPERF=$WORK/iperf.json.$_n field sum_received bits_per_second
    done | sort -n | awk -v key="$_key" '{ v[NR] = $1; sum += $1 }
        END { printf "%s rate %.1f\n%s fairness %.2f\n", key, sum / 1e6, key, v[1] / v[NR] }' >>"$RAW"
}

# P-09 and P-10: a thousand clients with 25, then 50 pings and as many answers a second each; then ever more new clients
# a second.
many() {
    PATH_NAME=all
    start_herd_gateway
    herd herd --clients 1000 --rate 250 --pings 25 --pings 50 --seconds 4 --pid "$MEASURED"
    await herd
    metrics | tr -d '\r' >"$WORK/after"
    : >"$WORK/before"
    per_call many/both/1000/all "$WORK/before" "$WORK/after"
    awk '$1 == "setup" { k = "many-setup/up/" $3 "/all"; printf "%s p50 %s\n%s p99 %s\n%s worst %s\n", k, $5 * 1000, k, $6 * 1000, k, $7 * 1000 }
        $1 == "traffic" { k = "many-" int($3 / $2 / 4 + 0.5) "/both/" $2 "/all"
            printf "%s loss %.3f\n%s p50 %s\n%s p99 %s\n%s fairness %.2f\n%s core %s\n", k, ($3 - $4) * 100 / $3,
                k, $5, k, $6, k, $7 / $8, k, $9 }' "$WORK/herd.log" >>"$RAW"
    stop gateway
    start_herd_gateway
    herd herd --search --rate 250
    await herd
    awk '$1 == "setup" { k = "new-clients/up/" $2 "/all"; printf "%s p50 %s\n%s p99 %s\n%s unserved %d\n", k, $5 * 1000, k, $6 * 1000, k, $3 - $4 }
        $1 == "rate" { printf "new-clients/up/1/all setups %s\n", $2 }' "$WORK/herd.log" >>"$RAW"
    stop gateway
}

# The cipher and the offload that the gateway chooses by itself.
find_backend() {
    GATEWAY_FLAGS=
    start_gateway
    wait_for 10 gateway_ready || fail "the gateway does not get ready"
    BACKEND=$(sed -n 's/.*started; aead: \([^;]*\);.*/\1/p' "$WORK/gateway.log")
    OFFLOAD=$(sed -n 's/.*; TUN offload: \([a-z]*\).*/\1/p' "$WORK/gateway.log")
    case $BACKEND in *AVX512*) ;; *) skip "AVX-512: not in this processor, or slower; cipher $BACKEND" ;; esac
    stop gateway
}

part() { if wanted "$1"; then "$1"; fi; }

line() {
    line_paths line-10ms 1 --delay 10
    line_paths line-20ms 1 --delay 20
    wire_like on # else a lost frame is up to 45 segments
    line_paths line-10ms-lossy 10 --delay 10 --loss 1000
    wire_like off
}

bench_net_up
find_backend
for _round in $(seq "$ROUNDS"); do
    echo "round $_round of $ROUNDS" >&2
    for _part in base ways line; do
        part $_part
    done
done
for _part in rungs wire udp queue crowd many; do # no target hangs on these
    part $_part
done
cpu=$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)
echo
[ ! -s "$WORK/skipped" ] || sort -u "$WORK/skipped"
awk -v json="${JSON:-}" -v commit="${COMMIT:-none}" -v cpu="$cpu" -v kernel="$(uname -r)" -v backend="$BACKEND" \
    -f tests/bench/report.awk "$RAW"
