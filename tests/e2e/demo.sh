#!/bin/sh
# The real gateway, a portal, two relays, a client behind a NAT and a private network, each in its own
# namespace; real traffic; a table of what happened. Exit code 0 only if every row is good.
# usage: demo.sh BUILD        KEEP=1 leaves everything up until Ctrl-C and says how to look around
set -eu
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "demo.sh: namespaces and TUN devices need root" >&2; exit 1; }
. tests/e2e/net.sh

SETUPS=11
bad=0
warned=0

# row GOOD WHAT RESULT [MS]
row() {
    case $1 in
    ok) _mark=ok ;;
    warn) _mark=warn warned=1 ;;
    *) _mark=FAILED bad=1 ;;
    esac
    printf '  %-44s %-7s %9s  %s\n' "$2" "$_mark" "${4:-}" "$3"
}

# timed COMMAND...: runs it; $took is how many milliseconds that took.
timed() {
    _t=$(now_ms)
    _rc=0
    "$@" || _rc=$?
    took=$(($(now_ms) - _t))
    return $_rc
}

# show WHAT RESULT COMMAND...: a row that is good when the command succeeds.
show() {
    _what=$1
    _text=$2
    shift 2
    if timed "$@"; then row ok "$_what" "$_text" "$took ms"; else row bad "$_what" "not so: $_text" "$took ms"; fi
}

unreachable() { ! in_ns client curl -fs -m 0.4 -o /dev/null "$@" 2>/dev/null; }

# What the gateway said of a resource that was taken away.
gateway_revoked() { grep -q "revoked.*$CIDR4" "$WORK/gateway.log"; }

# One set-up from nothing: a new client with new keys and a new port, so that the NATs know nothing of
# it, until it reports EVENT. Appends "relayed handshake direct" to the set-ups: milliseconds from the
# intent, 9999 for never. usage: set_up_once NUMBER EVENT
set_up_once() {
    stop client
    start_client --port $((53000 + $1))
    wait_for 3 events_have online || return 1
    sleep 0.2 # its relays are ready, as they are when a person starts to work
    in_ns client ping -c 1 -W 3 10.3.0.10 >/dev/null 2>&1 || return 1
    wait_for 3 events_have "$2" || return 1
    awk -F'[:,]' '
        { e = $4; gsub("\"", "", e) }
        e == "intent" && !from { from = $2 }
        from && !(e in at) { at[e] = $2 - from }
        END { printf "%s %s %s\n", ("path_relay" in at) ? at["path_relay"] : 9999,
                     ("handshake" in at) ? at["handshake"] : 9999, ("path_direct" in at) ? at["path_direct"] : 9999 }
    ' "$WORK/events.jsonl" >>"$WORK/setups"
}

# The median of column N of the set-ups.
median_of() {
    awk -v column="$1" '{ print $column }' "$WORK/setups" | sort -n |
        awk '{ all[NR] = $1 } END { if (NR) printf "%.1f\n", all[int((NR + 1) / 2)]; else print 9999 }'
}

# timing WHAT COLUMN REFERENCE LIMIT: a row that warns above the limit.
timing() {
    _ms=$(median_of "$2")
    if [ "$2" = 1 ] && awk "BEGIN { exit !($_ms > 9998) }"; then
        row warn "$1" "reference: $3; here the direct path came first" ""
    elif awk "BEGIN { exit !($_ms > 9998) }"; then
        row bad "$1" "never happened" ""
    elif awk "BEGIN { exit !($_ms > $4) }"; then
        row warn "$1" "reference: $3; more than 1.5 times that" "$_ms ms"
    else
        row ok "$1" "reference: $3" "$_ms ms"
    fi
}

# ---- the story ----

started=$(now_ms)
net_up
start_all
printf '\n  client %s  --NAT--  relays %s  --NAT--  gateway %s  --  resources %s\n\n' \
    10.1.0.2 203.0.113.10,.11 10.2.0.2 "10.3.0.0/24, fd33::/64"
printf '  %-44s %-7s %9s  %s\n' "what" "result" "time" "details"
row ok "everything is up" "portal over wss, gateway ready, client online" "$(($(now_ms) - started)) ms"

show "first page by name, IPv4" "http://web.corp.test, nothing was set up before" page_is -4 http://web.corp.test/
show "page by name, IPv6" "http://web.corp.test" page_is -6 http://web.corp.test/
show "page from a network, IPv4" "http://10.3.0.10" page_is http://10.3.0.10/
show "page from a network, IPv6" "http://[fd33::10]" page_is "http://[fd33::10]/"
show "port that the policy does not permit" "10.3.0.10:81, refused at once" refused http://10.3.0.10:81/
show "direct path through both NATs" "no relay carries the traffic" wait_for 3 events_have path_direct

write_policy "{\"client\":\"*\",\"resource\":\"$WEB\"},{\"client\":\"*\",\"resource\":\"$CIDR6\"}"
show "access revoked, at the gateway" "10.3.0.0/24 taken from the policy" wait_for 1 gateway_revoked
show "access revoked, at the client" "nothing is reached any more, 0.4 s of patience included" wait_for 1 unreachable http://10.3.0.10/
show "other access stays" "http://web.corp.test" page_is -4 http://web.corp.test/
write_policy
show "access given back" "http://10.3.0.10" wait_for 3 page_is http://10.3.0.10/

block_direct
relayed_before=$(events_count path_relay)
kill -USR1 "$(pid_of client)"
wait_for 5 events_have online 2 || fail "the client does not come back"
direct_before=$(events_count path_direct)
show "page while the direct path is blocked" "through a relay" page_is -4 http://web.corp.test/
if [ "$(events_count path_relay)" -gt "$relayed_before" ] && [ "$(events_count path_direct)" = "$direct_before" ]; then
    row ok "the relayed path carries it" "no direct path was found"
else
    row bad "the relayed path carries it" "the client says otherwise"
fi

# set_ups FIRST EVENT: a series of set-ups.
set_ups() {
    : >"$WORK/setups"
    n=0
    while [ $n -lt $SETUPS ]; do
        set_up_once $(($1 + n)) "$2" || { row bad "set-up $n" "no $2"; break; }
        n=$((n + 1))
    done
}

set_ups 100 path_relay
timing "intent to relayed path (median of $SETUPS)" 1 "8-17 ms" 25.5
timing "intent to WireGuard session, relayed" 2 "9-10 ms" 15
allow_direct
set_ups 0 path_direct
timing "intent to WireGuard session" 2 "9-10 ms" 15
timing "intent to direct path through both NATs" 3 "about 255 ms" 382.5

dropped=$(metrics | sed -n 's/^firezone_gateway_dropped_total{reason="\([a-z0-9_]*\)"} \([1-9][0-9]*\)$/\1 \2,/p' | tr '\n' ' ')
printf '\n  refused by the gateway, by reason: %s\n' "${dropped:-none}"
if [ $bad = 0 ]; then
    [ -z "${DEBUG:-}" ] || cat "$WORK/setups"
    printf '  all good after %s s%s\n\n' $((($(now_ms) - started + 500) / 1000)) "$([ $warned = 0 ] || echo '; see the warnings')"
else
    printf '  something is wrong; the logs:\n' >&2
    (fail "demo") || true
fi

if [ "${KEEP:-0}" = 1 ]; then
    cat <<EOF
  Everything stays up until Ctrl-C. Look around from another terminal:
    ip netns exec $P-client curl http://web.corp.test/
    ip netns exec $P-client curl http://10.3.0.10/
    ip netns exec $P-gw curl http://127.0.0.1:8080/metrics
    ip netns exec $P-gw ip addr show tun-firezone
    edit $WORK/policy.json (grants, filters, resources); it takes effect when saved
    tail -f $WORK/gateway.log $WORK/portal.jsonl $WORK/events.jsonl
    kill -USR1 $(pid_of client)   # the client starts anew; USR2: it roams; HUP: loses the portal
EOF
    while :; do sleep 1; done
fi
exit $bad
