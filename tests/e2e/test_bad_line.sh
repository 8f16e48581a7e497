#!/bin/sh
# A client on a bad line: 5 ms each way, one frame of a thousand lost, one of a thousand out of order. Pages
# arrive, and a download arrives unchanged. usage: test_bad_line.sh BUILD
set -eu
cd "$(dirname "$0")/../.."
LINE="--delay 5 --loss 1000 --reorder 1000"
. tests/e2e/net.sh

fetched_is_right() {
    [ "$(FETCH_SECONDS=60 fetch "$1" http://web.corp.test/big.bin | sha256sum)" = "$want" ]
}
# The line is as bad as it says: no ping below 10 ms.
slow_enough() {
    in_ns client ping -q -c 5 -i 0.2 10.1.0.1 | awk -F'[/= ]+' '/^rtt/ { exit !($6 >= 10) }'
}

net_up
start_all
check "a ping takes 10 ms" slow_enough
check "page by name, IPv4" page_is -4 http://web.corp.test/
check "page by name, IPv6" page_is -6 http://web.corp.test/
head -c 20971520 /dev/urandom >"$WORK/www/big.bin"
want=$(sha256sum <"$WORK/www/big.bin")
from=$(now_ms)
check "20 MB over IPv4 arrive unchanged" fetched_is_right -4
echo "that is $((20 * 8000 / ($(now_ms) - from + 1))) Mbit/s"
check "20 MB over IPv6 arrive unchanged" fetched_is_right -6
check "nobody broke a protocol" no_violations
check "the gateway is well" gateway_is_well
