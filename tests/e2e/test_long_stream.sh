#!/bin/sh
# Two TCP streams by name, one over each family, whose every line is numbered: they survive a name that
# is resolved again (same and other addresses), a portal that restarts, a direct path that is lost, the
# loss of each relay while relayed, and the way back to a direct path. With LONG=1 also a re-keying of
# the tunnel at 120 s. usage: test_long_stream.sh BUILD
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/net.sh

STEP=150000 # bytes that a stream must move on to be called alive, at 100 kB/s

size_of() { stat -c %s "$WORK/stream$1.out" 2>/dev/null || echo 0; }

# The ping keeps the client busy. One that only listens is idle after 10 s and looks after its path once
# a minute then; and after a lost connection it asks for access again when it has something to send.
start_streams() {
    spawn ping client ping -q -i 0.5 -4 web.corp.test
    spawn stream4 client curl -sS -4 -N -o "$WORK/stream4.out" http://web.corp.test/slow/numbers
    spawn stream6 client curl -sS -6 -N -o "$WORK/stream6.out" http://web.corp.test/slow/numbers
}

# Both streams move on by so much within 30 s.
larger() { [ "$(size_of "$1")" -ge "$2" ]; }
alive() {
    _four=$(($(size_of 4) + STEP))
    _six=$(($(size_of 6) + STEP))
    wait_for 30 larger 4 $_four && wait_for 30 larger 6 $_six
}

# Every complete line holds its own number: nothing is lost, repeated or mixed up.
in_sequence() {
    awk '$1 != NR { if (bad) exit; bad = NR } END { exit bad && bad < NR }' "$WORK/stream$1.out"
}

moved_to() { [ "$(fetch -4 http://web.corp.test/where)" = "$1" ] && [ "$(fetch -6 http://web.corp.test/where)" = "$2" ]; }
rejoined() { [ "$(grep -c portal_joined "$WORK/gateway.log")" -ge "$1" ]; }
revived() { fetch -4 -o /dev/null http://web.corp.test/; }

# lose_relay N: the relay's process ends, and the portal tells everybody.
lose_relay() {
    stop "relay$1"
    check "the streams survive the loss of relay $1" alive
    _joined=$(grep -c '"topic":"relay","event":"init"' "$WORK/portal.jsonl")
    start_relay "$1"
    wait_for 5 relays_joined $((_joined + 1)) || fail "relay $1 does not come back"
}

net_up
mkdir -p "$WORK/www/slow"
seq 1 4000000 >"$WORK/www/slow/numbers"
start_all
check "a page before" page_is -4 http://web.corp.test/
wait_for 3 events_have path_direct || fail "no direct path"
start_streams
check "the streams run" alive

check "a name resolved again, same addresses" moved_to 10.3.0.10 fd33::10
check "the streams survive that" alive
start_dns 10.3.0.11 fd33::11
check "new flows go to the name's new addresses" wait_for 15 moved_to 10.3.0.11 fd33::11
check "the streams keep their old ones" alive

if [ "$GENERATION" = v142 ]; then
    stop portal
    check "the streams survive without a portal" alive
    start_portal
else # it would tell the gateway that nothing is authorized: what restarts keeps its database
    kill -USR1 "$(pid_of portal)"
fi
check "the gateway joins again" wait_for 20 rejoined 2
wait_for 20 events_have online 2 || fail "the client does not join again"
check "the streams survive the portal's return" alive
check "new flows work" wait_for 10 revived

block_direct
check "the streams survive the loss of the direct path" alive
check "the path is relayed now" events_have path_relay
lose_relay 1
lose_relay 2
direct=$(events_count path_direct)
allow_direct
stop relay1
check "the streams survive another loss" alive
start_relay 1
check "new flows work" wait_for 10 revived

if [ "${LONG:-0}" = 1 ]; then
    sessions=$(events_count handshake)
    sleep 125
    check "the tunnel was keyed again" events_have handshake $((sessions + 1))
    check "the streams survive that" alive
fi
check "the IPv4 stream is in sequence ($(size_of 4) bytes)" in_sequence 4
check "the IPv6 stream is in sequence ($(size_of 6) bytes)" in_sequence 6

# Within one connection: it starts relayed, and moves to the direct path when that opens.
stop stream4
stop stream6
stop ping
stop client
rm -f "$WORK"/stream?.out
block_direct
start_client --port 53001
start_streams
check "new streams run through a relay" alive
check "the path is relayed" events_have path_relay
direct=$(events_count path_direct)
allow_direct
check "the path becomes direct" wait_for 10 events_have path_direct $((direct + 1))
check "the streams survive that" alive
check "the IPv4 stream is in sequence" in_sequence 4
check "the IPv6 stream is in sequence" in_sequence 6
check "the gateway is well" gateway_is_well
