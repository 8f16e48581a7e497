#!/bin/sh
# A recording of the real gateway, plain or sealed, replays to what the gateway put out; a damaged one
# is noticed. usage: test_record.sh BUILD
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/net.sh

replays() { # file flags...: the recorded digests agree, and there are some
    "$BUILD/fzsim" replay "$@" >"$WORK/replay.out" 2>&1 &&
        grep -q '^[1-9][0-9]* recorded digests agree' "$WORK/replay.out" &&
        grep -q '^exit 0: ' "$WORK/replay.out"
}
some_traffic() {
    page_is -4 http://web.corp.test/ && page_is -6 http://web.corp.test/
    fetch -4 http://web.corp.test/big.bin | cmp - "$WORK/www/big.bin"
}
has_lines() { [ "$(replay_lines "$1")" -gt 50 ]; }
replay_lines() { "$BUILD/fzsim" replay "$WORK/plain" --verbose | grep -c " $1 " || true; }

# One record's length is cut by a byte less, so that everything behind it is out of step.
damage() { { head -c 5000 "$WORK/plain"; tail -c +5002 "$WORK/plain"; } >"$WORK/damaged"; }

net_up
GATEWAY_FLAGS="--record $WORK/plain --record-plain"
start_all
head -c 3000000 /dev/urandom >"$WORK/www/big.bin"
check "pages and a file pass a gateway that records" some_traffic
stop client
stop gateway
check "the recording replays to the same outputs" replays "$WORK/plain"
cat "$WORK/replay.out"
check "every input and output can be listed" has_lines in
check "outputs too" has_lines out
damage
check "a damaged recording is noticed" sh -c "! '$BUILD/fzsim' replay '$WORK/damaged' >/dev/null 2>&1"

(umask 077 && wg genkey >"$WORK/operator.key")
GATEWAY_FLAGS="--record $WORK/sealed --record-to $(wg pubkey <"$WORK/operator.key")"
start_gateway
wait_for 10 gateway_ready || fail "the gateway does not get ready again"
start_client
check "pages and a file pass a gateway that seals its recording" some_traffic
stop client
stop gateway
check "without the key nothing opens" sh -c "! '$BUILD/fzsim' replay '$WORK/sealed' >/dev/null 2>&1"
check "with the key it replays to the same outputs" replays "$WORK/sealed" --key "$WORK/operator.key"
cat "$WORK/replay.out"
