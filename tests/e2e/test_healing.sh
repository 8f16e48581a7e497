#!/bin/sh
# The ground under a connection moves: the gateway's NAT forgets everything, comes back endpoint-dependent,
# the gateway's address changes, relays restart with new secrets, the gateway is stopped for a minute.
# Each time the tunnel carries packets again within BOUND_MS of the client's next request (promised are
# 5 s; the rest is for a busy machine). usage: test_healing.sh BUILD
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/net.sh

BOUND_MS=8000
PATIENCE_S=60

# The NAT in front of the gateway loses its table: from now on its packets belong to another zone of
# conntrack. With "fully-random" every flow gets a port of its own.
zone=0
reboot_nat() { # [flags of masquerade]
    zone=$((zone + 1))
    in_ns natg nft -f - <<EOF
delete table ip fz
table ip fz {
  chain zones { type filter hook prerouting priority raw; ct zone set $zone; }
  chain unasked { type filter hook prerouting priority -150; iifname "eth0" ct state new,invalid drop; }
  chain outward { type nat hook postrouting priority srcnat; oifname "eth0" masquerade $*; }
}
EOF
}

move_gateway() {
    ip -n "$P-gw" addr del 10.2.0.2/24 dev eth0
    address gw eth0 10.2.0.7/24
    ip -n "$P-gw" route replace default via 10.2.0.1
}

restart_relays() { # 1, 2 or both
    _joined=$(grep -c '"topic":"relay","event":"init"' "$WORK/portal.jsonl")
    for _relay in "$@"; do
        stop "relay$_relay" KILL
    done
    for _relay in "$@"; do
        start_relay "$_relay"
    done
    wait_for 10 relays_joined $((_joined + $#)) || fail "relays do not come back"
}

suspend_gateway() {
    kill -STOP "$(pid_of gateway)"
    sleep 60
    kill -CONT "$(pid_of gateway)"
}

ponged() { in_ns client ping -q -c 1 -W 1 10.3.0.10 >/dev/null 2>&1; }
steady() { ponged && ponged && ponged; }

# The last request of the client since a time, in milliseconds of the same clock; empty: none.
asked_since() {
    sed -n 's/^{"ms":\([0-9]*\).*"event":"intent".*/\1/p' "$WORK/events.jsonl" |
        awk -v from="$1" '$1 >= from { last = $1 } END { if (last) print last }'
}

# heals WHAT COMMAND...: does it to a connection that works, and measures.
heals() {
    _what=$1
    shift
    steady || wait_for 10 steady || fail "no connection before: $_what"
    "$@"
    _moved=$(boot_ms)
    _end=$((_moved + PATIENCE_S * 1000))
    sleep 1
    until ponged; do
        [ "$(boot_ms)" -lt $_end ] || fail "not healed: $_what"
    done
    _back=$(boot_ms)
    _asked=$(asked_since "$_moved")
    [ -n "$_asked" ] && [ "$_asked" -le "$_back" ] || _asked=$_back
    _took=$((_back - _asked))
    [ $_took -le $BOUND_MS ] || fail "$_what: back $_took ms after the client asked"
    echo "ok: $_what (after $((_back - _moved)) ms, $_took ms after the client asked)"
}

net_up
start_all
wait_for 10 steady || fail "no connection"
wait_for 3 events_have path_direct || fail "no direct path"
heals "the NAT reboots" reboot_nat
heals "the NAT reboots and becomes endpoint-dependent" reboot_nat fully-random
heals "the NAT reboots and is as before" reboot_nat
heals "the gateway's address changes" move_gateway
heals "the gateway is stopped for a minute" suspend_gateway
stop client
block_direct
start_client --port 53001
wait_for 10 steady || fail "no relayed connection"
check "the path is relayed" events_have path_relay
heals "relayed, the NAT reboots" reboot_nat
heals "relayed, it becomes endpoint-dependent" reboot_nat fully-random
heals "relayed, one relay restarts" restart_relays 1
heals "relayed, the other one restarts" restart_relays 2
heals "relayed, both restart" restart_relays 1 2
heals "relayed, the gateway is stopped for a minute" suspend_gateway
check "no protocol was broken" no_violations
check "the gateway is well" gateway_is_well
