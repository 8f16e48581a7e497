#!/bin/sh
# 200 MB by name, byte for byte, over IPv4; less over IPv6 and through a relay. A slow machine
# fetches less, but never under 50 MB. usage: test_download.sh BUILD
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/net.sh

# make_file MEGABYTES: random, so that neither compression nor a repeated block can hide a fault.
make_file() {
    head -c "$(($1 * 1048576))" /dev/urandom >"$WORK/www/big.bin"
    want=$(sha256sum <"$WORK/www/big.bin")
}
fetched_is_right() {
    [ "$(FETCH_SECONDS=120 fetch "$1" http://web.corp.test/big.bin | sha256sum)" = "$want" ]
}

net_up
start_all
make_file 10
from=$(now_ms)
check "10 MB over IPv4 arrive unchanged" fetched_is_right -4
took=$(($(now_ms) - from))
size=200
[ $took -lt 1500 ] || size=50
make_file $size
from=$(now_ms)
check "$size MB over IPv4 arrive unchanged" fetched_is_right -4
took=$(($(now_ms) - from))
echo "that is $((size * 8000 / (took + 1))) Mbit/s"
make_file 50
check "50 MB over IPv6 arrive unchanged" fetched_is_right -6

stop client
block_direct
start_client --port 53001
make_file 20
check "20 MB through a relay arrive unchanged" fetched_is_right -4
check "the gateway is well" gateway_is_well
