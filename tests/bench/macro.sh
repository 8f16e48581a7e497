#!/bin/sh
# The real gateway in namespaces, TCP through it in both directions, for several rungs of its offloads
# and ciphers in turn. Prints Mbit/s and core-milliseconds of the gateway per Gbit, medians of the
# rounds: only ratios within one run mean something. The client is the development one: often it, not
# the gateway, limits the rate. Needs root. usage: macro.sh BUILD [ROUNDS] [SECONDS]
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/net.sh
ROUNDS=${2:-3}
SECONDS_EACH=${3:-3}
RESULTS=$WORK/macro.txt

cpu_ticks() { awk '{ print $14 + $15 }' "/proc/$(pid_of gateway)/stat"; }

# measure NAME DIRECTION [iperf3 flags]
measure() {
    _name=$1
    _direction=$2
    shift 2
    _before=$(cpu_ticks)
    _bits=$(in_ns client iperf3 -c 10.3.0.11 -p 5201 -C cubic -t "$SECONDS_EACH" -J "$@" |
        awk -F: '/"sum_received"/ { found = 1 } found && /bits_per_second/ { printf "%d\n", $2; exit }')
    _ticks=$(($(cpu_ticks) - _before))
    echo "$_name $_direction $((_bits / 1000000)) $((_ticks * 10 * 1000 / (_bits / 1000000 * SECONDS_EACH + 1)))" |
        tee -a "$RESULTS"
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
    for name in auto libsodium no-tun-offload plain; do
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
echo "variant direction Mbit/s core-ms/Gbit (medians of $ROUNDS)"
sort "$RESULTS" | awk '{ print $1, $2 }' | uniq | while read -r name direction; do
    rate=$(grep "^$name $direction " "$RESULTS" | sort -n -k3 | awk '{ a[NR] = $3 } END { print a[int((NR + 1) / 2)] }')
    cost=$(grep "^$name $direction " "$RESULTS" | sort -n -k4 | awk '{ a[NR] = $4 } END { print a[int((NR + 1) / 2)] }')
    echo "$name $direction $rate $cost"
done
