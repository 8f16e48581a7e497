#!/bin/sh
# Every kind of resource over both families, refusals, revocation, direct and relayed paths: for both
# generations of the portal and both personalities of the client, with either login of the gateway.
# usage: test_paths.sh BUILD
set -eu
cd "$(dirname "$0")/../.."
if [ -z "${2:-}" ]; then
    for generation in v142 head; do
        for personality in base head; do
            GENERATION=$generation PERSONALITY=$personality "$0" "$1" one
        done
    done
    exit 0
fi
. tests/e2e/net.sh
# Today's client goes with a gateway that tries today's login: the older portal knows none of it.
[ "$PERSONALITY" = head ] && GATEWAY_FLAGS="--portal-api auto"

unreachable() { ! in_ns client curl -fs -m 0.4 -o /dev/null "$@" 2>/dev/null; }
gateway_revoked() { grep -q "revoked.*$CIDR4" "$WORK/gateway.log"; }
not_in_events() { ! events_have "$1"; }
pinged() { in_ns client ping -c 3 -i 0.2 -W 2 "$@" >/dev/null; }

net_up
start_all
check "page by name, IPv4" page_is -4 http://web.corp.test/
check "page by name, IPv6" page_is -6 http://web.corp.test/
check "page by a name that has IPv4 only, asked over IPv6" page_is -6 http://four.corp.test/
check "page from a network, IPv4" page_is http://10.3.0.10/
check "page from a network, IPv6" page_is "http://[fd33::10]/"
check "ping by name, IPv4" pinged -4 web.corp.test
check "ping by name, IPv6" pinged -6 web.corp.test
check "ping into a network" pinged 10.3.0.11
check "a port that is not permitted is refused at once, IPv4" refused http://10.3.0.10:81/
check "a port that is not permitted is refused at once, IPv6" refused "http://[fd33::10]:81/"
check "a port of a name that is not permitted is refused" unreachable http://web.corp.test:81/
check "a name that nobody has does not exist" unreachable http://nowhere.corp.test/
check "the path is direct" wait_for 3 events_have path_direct
if [ "$PERSONALITY" = head ] && [ "$GENERATION" = head ]; then
    check "the portal is never shown a token in an address" \
        sh -c "grep -q gateway/v2/websocket '$WORK/portal.jsonl' && ! grep -q 'gateway/.*token=' '$WORK/portal.jsonl'"
fi

write_policy "{\"client\":\"*\",\"resource\":\"$WEB\"},{\"client\":\"*\",\"resource\":\"$CIDR6\"}"
check "the gateway revokes within a second" wait_for 1 gateway_revoked
check "what was revoked is out of reach" wait_for 1 unreachable http://10.3.0.10/
check "what was not revoked stays" page_is -4 http://web.corp.test/
write_policy
check "what was given back is there again" wait_for 3 page_is http://10.3.0.10/
CIDR_FILTERS='{"protocol":"tcp","port_range_start":80,"port_range_end":81}'
write_policy
check "a wider filter opens the port" wait_for 3 page_is http://10.3.0.10:81/

stop client
block_direct
start_client --port 53001
check "page through a relay, IPv4" page_is -4 http://web.corp.test/
check "page through a relay, IPv6" page_is -6 http://web.corp.test/
check "the path is relayed" events_have path_relay
check "and not direct" not_in_events path_direct
allow_direct

stop client
start_client --port 53002 --no-direct
check "page for a client that wants relays only" page_is -4 http://web.corp.test/
check "its path is relayed" events_have path_relay
check "nobody broke a protocol" no_violations
check "the gateway is well" gateway_is_well
