#!/bin/sh
# The real gateway in namespaces, beside plain forwarding and wireguard-go of the distribution, in turn within each
# round; the first transfer on every path is thrown away. Everything runs on this machine's processors, so only
# ratios within one run mean something. Results: a table, the targets, and JSON lines.
#
# usage: macro.sh BUILD [ROUNDS] [SECONDS]      needs root and the packages of `tests/tools/install.sh bench`
#   JSON=FILE          appends the JSON lines there
#   ONLY="base rungs"  of the parts: base rungs null ways wire line queue crowd
set -eu
cd "$(dirname "$0")/../.."
if [ "$(id -u)" != 0 ]; then
    echo "SKIPPED: network namespaces need root"
    exit 0
fi
tests/tools/install.sh bench
. tests/e2e/net.sh
. tests/bench/paths.sh
ROUNDS=${2:-3}
SECONDS_EACH=${3:-2}
PARTS=${ONLY:-base rungs null ways wire line queue crowd}
RAW=$WORK/raw
IPERF=$WORK/iperf.json
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

# rtt KEY COUNT: a ping every 5 ms.
rtt() {
    in_ns client ping -i 0.005 -c "$2" "$TARGET" | sed -n 's/.*time=\([0-9.]*\).*/\1/p' | sort -n |
        awk -v key="$1" '{ at[NR] = $1 }
            function rank(part) { return at[int((NR - 1) * part) + 1] * 1000 }
            END { if (NR > 0) printf "%s p50 %.0f\n%s p99 %.0f\n%s worst %.0f\n", key, rank(0.5), key, rank(0.99), key, rank(1) }' >>"$RAW"
}

rtt_loaded() { # KEY WAY
    [ "$2" = down ] && _reverse=-R || _reverse=
    # shellcheck disable=SC2086
    in_ns client iperf3 -c $TARGET -p $PORT -C cubic -t 2 $_reverse >/dev/null &
    _load=$!
    sleep 0.3
    rtt "$1" 300
    wait $_load || true
}

# 64-byte datagrams, 100 000 a second, towards the server.
small_udp() {
    _key=udp-64/up/1/$PATH_NAME
    _ticks=$(ticks)
    iperf 2 -u -l 64 -b 51200k -w 2M
    echo "$_ticks $(ticks)" | awk -v key="$_key" '{ printf "%s core %.3f\n", key, ($3 + $4 - $1 - $2) / 200 }' >>"$RAW"
    note "$_key" loss "$(field sum lost_percent)"
    note "$_key" offered "$(field sum packets | awk '{ printf "%.1f", $1 / 2000 }')" # thousands a second
}

warm_up() { iperf 1 -C cubic; }

# ---- parts of a round ----

wanted() { case " $PARTS " in *" $1 "*) ;; *) return 1 ;; esac; }

base_path() {
    path_up "$1"
    warm_up
    tcp_both tcp 1
    tcp_both tcp 10
    rtt "rtt-idle/up/1/$PATH_NAME" 400
    rtt_loaded "rtt-load/up/1/$PATH_NAME" up
    rtt_loaded "rtt-load/down/1/$PATH_NAME" down
    small_udp
    path_down
}

tcp_path() { # PREFIX PATH
    path_up "$2"
    warm_up
    tcp_both "$1" 1
    path_down
}

# What this processor or kernel does not have is left out.
rungs() {
    for _rung in libsodium avx2 tso no-tun no-gso no-gro none reference; do
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
    for _path in forward all; do
        path_up $_path
        warm_up
        tcp_both "$_prefix" "$_streams"
        path_down
    done
    SEGMENT=
    unplug_client
    plug_client
}

queue_lengths() {
    path_up all
    warm_up
    for _length in 500 1000 10000; do
        ip -n "$P-gw" link set tun-firezone txqueuelen $_length
        rtt_loaded "queue-$_length/down/1/all" down
        tcp "queue-$_length" down 1
    done
    path_down
}

# Clients that upload at once, as fast as they can and 100 Mbit/s each: what one gets beside the others.
crowd() {
    PATH_NAME=all
    GATEWAY_FLAGS=
    start_gateway
    wait_for 10 gateway_ready || fail "the gateway does not get ready"
    MEASURED=$(pid_of gateway)
    for _n in $(seq $CROWD); do
        start_crowd_client "$_n"
    done
    crowd_uploads crowd
    crowd_uploads crowd-100M -b 100M
    for _n in $(seq $CROWD); do
        stop "crowd$_n"
    done
    path_down
}
crowd_uploads() { # PREFIX [iperf3 flags]
    _key=$1/up/$CROWD/all
    shift
    counters >"$WORK/before"
    _ticks=$(ticks)
    _loads=
    for _n in $(seq $CROWD); do
        in_ns "crowd$_n" iperf3 -c $SERVER -p "520$_n" -C cubic -t "$SECONDS_EACH" -J "$@" >"$IPERF.$_n" 2>&1 &
        _loads="$_loads $!"
    done
    wait $_loads || fail "iperf3 among $CROWD clients"
    counters >"$WORK/after"
    echo "$_ticks $(ticks)" | awk -v key="$_key" -v s="$SECONDS_EACH" \
        '{ printf "%s core %.3f\n", key, ($3 + $4 - $1 - $2) / 100 / s }' >>"$RAW"
    per_call "$_key" "$WORK/before" "$WORK/after"
    for _n in $(seq $CROWD); do
        IPERF=$WORK/iperf.json.$_n field sum_received bits_per_second
    done | sort -n | awk -v key="$_key" '{ v[NR] = $1; sum += $1 }
        END { printf "%s rate %.1f\n%s fairness %.2f\n", key, sum / 1e6, key, v[1] / v[NR] }' >>"$RAW"
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

one_round() {
    if wanted base; then
        for _base in forward deb all; do base_path $_base; done
    fi
    if wanted null; then tcp_path tcp null; fi
    if wanted rungs; then rungs; fi
    if wanted ways; then
        for _way in all relayed named; do tcp_path ways $_way; done
    fi
    if wanted wire; then
        wire_like on
        for _wire in forward deb all; do tcp_path wire $_wire; done
        wire_like off
    fi
    if wanted line; then
        line_paths line-10ms 1 --delay 10
        line_paths line-20ms 1 --delay 20
        wire_like on # else a lost frame is up to 45 segments
        line_paths line-10ms-lossy 10 --delay 10 --loss 1000
        wire_like off
    fi
    if wanted queue; then queue_lengths; fi
}

bench_net_up
find_backend
for _round in $(seq "$ROUNDS"); do
    echo "round $_round of $ROUNDS" >&2
    one_round
done
if wanted crowd; then crowd; fi
cpu=$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)
echo
[ ! -s "$WORK/skipped" ] || sort -u "$WORK/skipped"
awk -v json="${JSON:-}" -v commit="${COMMIT:-none}" -v cpu="$cpu" -v kernel="$(uname -r)" -v backend="$BACKEND" \
    -f tests/bench/report.awk "$RAW"
