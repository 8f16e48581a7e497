#!/bin/sh
# The real gateway in namespaces, TCP through it in both directions, for several rungs of its offloads
# and ciphers in turn. Prints Mbit/s and core milliseconds of the gateway per Gbit, medians of the
# rounds: only ratios within one run mean something. The client is the development one: often it, not
# the gateway, limits the rate. Needs root. usage: macro.sh BUILD [ROUNDS] [SECONDS]
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/net.sh
ROUNDS=${2:-3}
SECONDS_EACH=${3:-3}
RESULTS=$WORK/macro.txt
VARIANTS=${VARIANTS:-auto libsodium no-tun-offload plain}

# User and system ticks of the gateway so far. System time includes what the kernel forwards for other
# namespaces in the sender's context.
cpu_ticks() { awk '{ print $14, $15 }' "/proc/$(pid_of gateway)/stat"; }

# measure NAME DIRECTION [iperf3 flags]
measure() {
    _name=$1
    _direction=$2
    shift 2
    _before=$(cpu_ticks)
    _bits=$(in_ns client iperf3 -c 10.3.0.11 -p 5201 -C cubic -t "$SECONDS_EACH" -J "$@" |
        awk -F: '/"sum_received"/ { found = 1 } found && /bits_per_second/ { printf "%d\n", $2; exit }')
    echo "$_before $(cpu_ticks) $_bits $SECONDS_EACH" | awk -v what="$_name $_direction" '{
        gbit = $5 * $6 / 1e9 + 1e-9
        printf "%s %d %d %d\n", what, $5 / 1e6, ($3 - $1) * 10 / gbit, ($4 - $2) * 10 / gbit
    }' | tee -a "$RESULTS"
}

# median NAME DIRECTION COLUMN
median() {
    awk -v n="$1" -v d="$2" -v c="$3" '$1 == n && $2 == d { print $c }' "$RESULTS" | sort -n |
        awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'
}

variant() {
    case $1 in
    auto) GATEWAY_FLAGS= ;;
    libsodium) GATEWAY_FLAGS=--aead=libsodium ;;
    no-tun-offload) GATEWAY_FLAGS="--tun-offload=none" ;;
    plain) GATEWAY_FLAGS="--tun-offload=none --no-gso --no-gro" ;;
    esac
}

CIDR_FILTERS=
net_up
write_policy
start_nginx
start_dns
start_portal
start_relay 1
start_relay 2
wait_for 5 relays_joined 2 || fail "the relays do not join"
spawn iperf resource iperf3 -s -B 10.3.0.11 -p 5201
for round in $(seq "$ROUNDS"); do
    for name in $VARIANTS; do
        variant $name
        start_gateway
        wait_for 10 gateway_ready || fail "the gateway does not get ready"
        start_client
        wait_for 10 in_ns client curl -fsS -m 2 -o /dev/null http://10.3.0.11/ || fail "no way"
        measure $name up
        measure $name down -R
        stop client
        stop gateway
    done
done
echo
printf '%-16s %-5s %8s %14s %14s  (medians of %s)\n' variant way Mbit/s "user ms/Gbit" "system ms/Gbit" "$ROUNDS"
for name in $VARIANTS; do
    for direction in up down; do
        printf '%-16s %-5s %8s %14s %14s\n' "$name" $direction "$(median "$name" $direction 3)" \
            "$(median "$name" $direction 4)" "$(median "$name" $direction 5)"
    done
done
