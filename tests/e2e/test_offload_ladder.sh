#!/bin/sh
# Every rung of the ladder of offloads and every cipher carries TCP and UDP bit-exactly in both
# directions: every size of datagram, super-packets, IPv4 and IPv6, a network and a name (NAT), direct
# and through a relay. The counters prove that a rung was in use. A rung that this machine lacks is
# skipped, with the reason.
# usage: test_offload_ladder.sh BUILD      LONG=1: super-packets of every size on every rung
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/net.sh
WEB_FILTERS=
CIDR_FILTERS=
STRIDE=32
[ -z "${LONG:-}" ] || STRIDE=1
PHASE=0

address_of() { in_ns client getent "$1" web.corp.test | awk '$1 ~ /[.:]/ { print $1; exit }'; }

# Four ways at once; each gives its verdict.
traffic() {
    _four=$(address_of ahostsv4)
    _six=$(address_of ahostsv6)
    for _to in 10.3.0.10 fd33::10 "$_four" "$_six"; do
        spawn "traffic-$_to" client "$FZDEV" traffic --to "$_to" --bytes "${BYTES:-2000000}" --stride $STRIDE \
            --phase $((PHASE + 1))
    done
    _good=0
    for _to in 10.3.0.10 fd33::10 "$_four" "$_six"; do
        wait "$(pid_of "traffic-$_to")" || { _good=1; tail -n 3 "$WORK/traffic-$_to.log" >&2; }
        rm -f "$WORK/traffic-$_to.pid"
    done
    PHASE=$((PHASE + 1))
    return $_good
}

# read_counters: SEGMENTS_* and CALLS_* of what the gateway did since its start.
read_counters() {
    eval "$(metrics | awk '/^firezone_gateway_(udp|tun)_.*_total / { sub("firezone_gateway_", ""); print $1 "=" $2 }')"
}
# more MANY FEW: clearly more segments than calls; single datagrams are the larger part of the traffic.
more() { [ "$1" -gt $(($2 + $2 / 16)) ]; }
# single MANY FEW: one segment a call. The counters of calls are a moment older, so while traffic still ends they lag.
single() { [ "$1" -le $(($2 + 16)) ]; }

# What the flags of the gateway must have led to.
is_in_use() {
    read_counters
    # shellcheck disable=SC2154
    case " $GATEWAY_FLAGS " in
    *" --tun-offload=none "*) single "$tun_in_segments_total" "$tun_in_packets_total" &&
        single "$tun_out_packets_total" "$tun_write_calls_total" ;;
    *) more "$tun_in_segments_total" "$tun_in_packets_total" ;;
    esac || return 1
    # shellcheck disable=SC2154
    case " $GATEWAY_FLAGS " in
    *" --no-gso "*) single "$udp_out_datagrams_total" "$udp_send_calls_total" ;;
    *) more "$udp_out_datagrams_total" "$udp_send_calls_total" ;;
    esac || return 1
    # shellcheck disable=SC2154
    case " $GATEWAY_FLAGS " in
    *" --no-gro "*) single "$udp_in_datagrams_total" "$udp_receive_messages_total" ;;
    *) [ -n "$CLIENT_FLAGS" ] || more "$udp_in_datagrams_total" "$udp_receive_messages_total" ;;
    esac
}
say_counters() {
    metrics | grep -E '^firezone_gateway_(udp|tun)_' >&2
    return 1
}

# missing: says what the rung needs and this machine lacks; fails when nothing is missing.
missing() {
    case " $GATEWAY_FLAGS " in
    *" --aead="* | *" --checksum="*) grep -qE -e '--(aead|checksum) cannot' "$WORK/gateway.log" && ! kill -0 "$(pid_of gateway)" 2>/dev/null &&
        echo "this processor lacks the instructions" && return ;;
    *" --tun-offload=none "*) return 1 ;;
    *" --tun-offload=tso "*) grep -q 'TUN offload: none' "$WORK/gateway.log" && echo "no TSO of the TUN device" && return ;;
    *) grep -q 'TUN offload: [tn]' "$WORK/gateway.log" && echo "no USO of the TUN device" && return ;;
    esac
    case " $GATEWAY_FLAGS " in
    *" --no-gso "*) ;;
    *) grep -q 'UDP segmentation: no' "$WORK/gateway.log" && echo "no UDP_SEGMENT" && return ;;
    esac
    return 1
}

# rung GATEWAY_FLAGS [CLIENT_FLAGS]
rung() {
    GATEWAY_FLAGS=$1
    CLIENT_FLAGS=${2:-}
    _what="gateway ${1:-with everything}, client ${2:-with everything}"
    : >"$WORK/gateway.log"
    start_gateway
    wait_for 10 gateway_ready || missing >/dev/null || fail "the gateway does not get ready"
    if _why=$(missing); then
        echo "SKIPPED: $_what: $_why"
        stop gateway
        return
    fi
    # shellcheck disable=SC2086
    start_client $CLIENT_FLAGS
    wait_for 10 page_is http://10.3.0.10/ || fail "no way to the resource"
    wait_for 10 page_is "http://[fd33::10]/" || fail "no way to the resource over IPv6"
    wait_for 10 page_is -4 http://web.corp.test/ || fail "no way by name"
    check "$_what: bit-exact" traffic
    wait_for 5 is_in_use || say_counters || fail "$_what: not in use"
    check "$_what: the gateway is well" gateway_is_well
    stop client
    stop gateway
}

PLAIN="--tun-offload none --no-gso --no-gro"
net_up
write_policy
start_nginx
start_dns
start_portal
start_relay 1
start_relay 2
wait_for 5 relays_joined 2 || fail "the relays do not join"
spawn traffic resource "$FZDEV" traffic --serve 10.3.0.10 --serve fd33::10
wait_for 5 grep -q serving "$WORK/traffic.log" || fail "the traffic server does not start"
rung ""
rung "--tun-offload=tso"
rung "--tun-offload=none"
rung "--no-gso"
rung "--no-gro"
rung "--tun-offload=none --no-gso --no-gro"
rung "" "$PLAIN"
rung "--tun-offload=none --no-gso --no-gro" "$PLAIN"
rung "" "--no-direct"
rung "--no-gso --no-gro" "--no-direct"
for aead in libsodium sse avx2 avx512; do
    rung "--aead=$aead"
done
for checksum in portable avx2 avx512; do
    rung "--checksum=$checksum"
done
stop traffic
check "the server saw nothing wrong" [ "$(grep -c wrong "$WORK/traffic.log")" = 0 ]
check "nobody broke a protocol" no_violations
