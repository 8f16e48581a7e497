#!/bin/sh
# Garbage at the gateway's UDP port, from strangers and with the relays' and the client's address as its
# source; packets inside the tunnel with sources that are not the client's, to destinations and ports
# that it may not reach. All of it is counted by reason, and traffic goes on. usage: test_hostile.sh BUILD
set -eu
cd "$(dirname "$0")/../.."
PERSONALITY=base # today's client refuses itself what it may not send
. tests/e2e/net.sh

# count FILE REASON...: how many packets were dropped for any of these reasons.
count() {
    _file=$1
    shift
    _pattern=$(printf '%s|' "$@")
    awk -v p="^firezone_gateway_dropped_total.reason=.(${_pattern%|})\"" '$0 ~ p { n += $2 } END { print n + 0 }' "$_file"
}

mark() { metrics >"$WORK/before" || fail "no metrics"; }

# counted WHAT LEAST REASON...: dropped since the last mark, at least so many.
counted() {
    _what=$1
    _least=$2
    shift 2
    metrics >"$WORK/after" || fail "no metrics"
    _count=$(($(count "$WORK/after" "$@") - $(count "$WORK/before" "$@")))
    if [ $_count -lt "$_least" ]; then
        grep dropped "$WORK/after" >&2
        fail "$_what: only $_count of at least $_least were counted"
    fi
    echo "ok: $_what ($_count counted)"
}

noise() { # NAMESPACE flags...
    _from=$1
    shift
    in_ns "$_from" "$FZDEV" noise "$@" || fail "noise cannot be made"
}

net_up
start_all
check "a page before" page_is -4 http://web.corp.test/
wait_for 3 events_have path_direct || fail "no direct path"

mark
noise natg --to 10.2.0.2:52625 --from 198.51.100.7:0 --count 1800 --seed 1
counted "garbage from a stranger" 1500 udp_empty udp_too_long udp_unknown stun_malformed stun_integrity stun_unknown_txn \
    stun_unknown_ufrag stun_unexpected stun_fingerprint stun_source wg_malformed wg_mac1 wg_unknown_index wg_unexpected \
    turn_channel turn_length
check "a page after that" page_is -4 http://web.corp.test/

mark
noise natg --to 10.2.0.2:52625 --from 203.0.113.10:3478 --count 900 --seed 2
noise natg --to 10.2.0.2:52625 --from 203.0.113.11:3478 --count 900 --seed 3
counted "garbage in the name of the relays" 1200 udp_empty udp_too_long udp_unknown stun_malformed stun_integrity \
    stun_unknown_txn stun_unknown_ufrag stun_unexpected stun_fingerprint stun_source wg_malformed wg_mac1 wg_unknown_index \
    wg_unexpected turn_channel turn_length turn_family
check "a page after that" page_is -4 http://web.corp.test/

mark
noise natg --to 10.2.0.2:52625 --from 203.0.113.30:52625 --count 1800 --seed 4
counted "garbage in the name of the client" 1500 udp_empty udp_too_long udp_unknown stun_malformed stun_integrity \
    stun_unknown_txn stun_unknown_ufrag stun_unexpected stun_fingerprint stun_source wg_malformed wg_mac1 wg_unknown_index \
    wg_unexpected turn_channel turn_length
check "a page after that" page_is -4 http://web.corp.test/

mark
noise client --to 10.3.0.10:80 --from 100.64.0.99:4000 --count 50 --text spoofed
noise client --to 10.3.0.10:80 --from 10.3.0.11:4000 --count 50 --text spoofed
noise client --to "[fd33::10]:80" --from "[fd00:2021:1111::99]:4000" --count 50 --text spoofed
counted "inner packets with another's source" 140 source icmp_rate
check "a page after that" page_is -6 http://web.corp.test/

mark
noise client --to 10.3.0.10:9 --from 100.64.0.10:4000 --count 50 --text refused
if [ "$PERSONALITY" = base ]; then
    counted "ports that are not permitted" 40 filter icmp_rate
fi
check "a page at the end, IPv4" page_is -4 http://web.corp.test/
check "a page at the end, IPv6" page_is -6 http://web.corp.test/
check "the gateway is well" gateway_is_well
