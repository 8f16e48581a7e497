#!/bin/sh
# The process around the gateway: signals and exit codes, keys, trust, the health address, the system's
# socket buffer limits, the supervisor's socket, flow records. usage: test_process.sh BUILD
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/net.sh

# end_with SIGNAL: ends the gateway with it; leaves its exit code in $code.
end_with() {
    kill "-$1" "$(pid_of gateway)"
    code=0
    wait "$(pid_of gateway)" || code=$?
    rm -f "$WORK/gateway.pid"
}
joined() { grep -q portal_joined "$WORK/gateway.log"; }
says() { grep -q "$1" "$WORK/gateway.log"; }
start_fresh() {
    : >"$WORK/gateway.log"
    start_gateway
}
# Public keys that the portal was shown, one a line, each once.
keys() { grep -o 'public_key=[^& "\\]*' "$WORK/portal.jsonl" | sort -u; }

net_up
write_policy
start_dns
start_portal
start_relay 1
wait_for 5 relays_joined 1 || fail "the relay does not join"

for signal in INT TERM HUP; do
    start_fresh
    wait_for 10 gateway_ready || fail "the gateway does not get ready"
    end_with $signal
    check "SIG$signal ends it orderly, exit 0" [ "$code" = 0 ]
    check "it said so" says shutdown
done

# What other daemons take as "open your logs again" or "tell your state" changes nothing here; a terminal
# that closes ends the gateway only if it was not started with nohup.
start_fresh
wait_for 10 gateway_ready || fail "the gateway does not get ready"
kill -USR1 "$(pid_of gateway)"
kill -USR2 "$(pid_of gateway)"
sleep 0.5
check "SIGUSR1 and SIGUSR2 change nothing" gateway_ready
end_with TERM
: >"$WORK/gateway.log"
SSL_CERT_FILE="$WORK/tls/ca.pem" FIREZONE_TOKEN="$GATEWAY_TOKEN" FIREZONE_API_URL=wss://portal.test \
    FIREZONE_ID=e2e-gateway HEALTH_CHECK_ADDR=127.0.0.1:8080 spawn gateway gw nohup "$GATEWAY"
wait_for 10 gateway_ready || fail "the gateway does not get ready under nohup"
kill -HUP "$(pid_of gateway)"
sleep 0.5
check "under nohup a SIGHUP changes nothing" gateway_ready
end_with TERM
check "and SIGTERM ends it" [ "$code" = 0 ]

start_fresh
wait_for 10 gateway_ready || fail "the gateway does not get ready"
ready=$(in_ns gw curl -fsS -m 2 http://127.0.0.1:8080/readyz)
check "readiness says why" [ "$ready" = '{"ready":true,"portal_joined":true,"initialised":true,"tun_up":true,"relays":1,"allocations":1}' ]
first=$(in_ns gw curl -fsS -m 2 http://127.0.0.1:8080/metrics | sed -n 's/.*build_info{version="\(.*\)"} 1/\1/p')
check "metrics, log and --version tell one version" says "firezone-gateway $first started"
check "and --version" [ "$("$GATEWAY" --version)" = "firezone-gateway $first" ]
end_with TERM

# Each start has shown another key: the portal's log holds the upgrade requests.
check "each start has a key pair of its own" [ "$(keys | wc -l)" = 6 ]
check "none of them is kept" sh -c '! grep -rqs "$(cat)" /var/lib/firezone' <<KEYS
$(keys | head -n 1 | sed 's/public_key=//')
KEYS

# A token, given either way, does not stay where other users of the machine or a crash report see it.
GATEWAY_FLAGS=$GATEWAY_TOKEN
start_fresh
GATEWAY_FLAGS=
wait_for 10 joined || fail "the gateway does not join with a token as argument"
check "the token is gone from arguments and environment" \
    sh -c "! cat /proc/$(pid_of gateway)/cmdline /proc/$(pid_of gateway)/environ | grep -qaF '$GATEWAY_TOKEN'"
end_with TERM

# A crash must not write its keys to a disk; who wants that says so.
core_limit() { grep "Max core file size" "/proc/$1/limits"; }
start_fresh
wait_for 10 joined || fail "the gateway does not join"
check "it may leave no core dump" sh -c "grep -Eq 'Max core file size +0 +0 ' /proc/$(pid_of gateway)/limits"
end_with TERM
GATEWAY_FLAGS=--core-dumps
start_fresh
GATEWAY_FLAGS=
wait_for 10 joined || fail "the gateway does not join with --core-dumps"
check "unless it was asked to" [ "$(core_limit "$(pid_of gateway)")" = "$(core_limit $$)" ]
end_with TERM

# Started with its standard descriptors closed, nothing of the gateway's takes their places.
: >"$WORK/gateway.log"
SSL_CERT_FILE="$WORK/tls/ca.pem" FIREZONE_TOKEN="$GATEWAY_TOKEN" FIREZONE_API_URL=wss://portal.test \
    FIREZONE_ID=e2e-gateway HEALTH_CHECK_ADDR=127.0.0.1:8080 spawn gateway gw sh -c 'exec "$0" 0<&- 1>&- 2>&-' "$GATEWAY"
wait_for 10 gateway_ready || fail "the gateway does not get ready without standard descriptors"
for fd in 0 1 2; do
    check "descriptor $fd is the null device" [ "$(stat -L -c %t:%T "/proc/$(pid_of gateway)/fd/$fd")" = 1:3 ]
done
end_with TERM

# The health address is taken: a warning, and the gateway serves.
spawn squatter gw nc -l 127.0.0.1 8080
start_fresh
wait_for 10 joined || fail "the gateway does not join without its health address"
check "a health address that is taken is a warning" wait_for 5 says "cannot listen for health checks"
stop squatter
check "it is served once it is free" wait_for 10 in_ns gw curl -fsS -m 2 -o /dev/null http://127.0.0.1:8080/healthz
check "and that is said" says "listens for health checks now"
end_with TERM

# As the unit runs it: another user, and the capability that is given to it alone.
: >"$WORK/gateway.log"
cp "$GATEWAY" "$WORK/gateway" # where everybody may read it
chmod 755 "$WORK" "$WORK/tls"
chmod 644 "$WORK/tls/ca.pem"
as_unit() { # CAPABILITY PORT
    SSL_CERT_FILE="$WORK/tls/ca.pem" FIREZONE_TOKEN="$GATEWAY_TOKEN" FIREZONE_API_URL=wss://portal.test \
        FIREZONE_ID=e2e-gateway HEALTH_CHECK_ADDR=127.0.0.1:$2 RUST_LOG=info \
        spawn gateway gw unshare -m sh -c 'mount -t tmpfs -o mode=755 none /dev/net &&
            mknod -m 666 /dev/net/tun c 10 200 && exec "$@"' sh \
        setpriv --reuid nobody --regid nogroup --clear-groups --inh-caps "-all,+$1" --ambient-caps "-all,+$1" \
        --bounding-set "-all,+$1" "$WORK/gateway"
}
as_unit net_admin 80
check "it joins with NET_ADMIN alone" wait_for 10 joined
check "a health port below 1024 is then a warning" wait_for 5 says "cannot listen for health checks.*permission denied"
end_with TERM
as_unit net_admin,+net_bind_service 80
check "with the capability for it, it is served" wait_for 10 in_ns gw curl -fsS -m 2 -o /dev/null http://127.0.0.1/readyz
end_with TERM

# The supervisor hears that it runs, that it lives and that it ends.
spawn supervisor gw nc -lkuU "$WORK/notify"
wait_for 5 test -S "$WORK/notify" || fail "no socket of a supervisor"
NOTIFY_SOCKET="$WORK/notify" WATCHDOG_USEC=400000 start_fresh
wait_for 10 joined || fail "the gateway does not join under a supervisor"
check "the supervisor is told that it runs" wait_for 5 grep -q READY=1 "$WORK/supervisor.log"
check "and how it stands with the portal" wait_for 5 grep -q 'STATUS=joined the portal' "$WORK/supervisor.log"
check "and that it lives" wait_for 5 sh -c "[ \$(grep -o WATCHDOG=1 '$WORK/supervisor.log' | wc -l) -ge 3 ]"
end_with TERM
check "and that it ends" wait_for 5 grep -q STOPPING=1 "$WORK/supervisor.log"
: >"$WORK/gateway.log"
NOTIFY_SOCKET="$WORK/notify" GATEWAY_TOKEN=another start_gateway
code=0
wait "$(pid_of gateway)" || code=$?
rm -f "$WORK/gateway.pid"
check "a token that the portal refuses ends it with 1" [ "$code" = 1 ]
check "the log says what to do" says 'portal_fatal.*token'
check "and so does the supervisor" wait_for 5 grep -q 'STATUS=ended, the portal refuses.*token' "$WORK/supervisor.log"
stop supervisor

# Trust: without the authority's certificate the portal is a stranger.
: >"$WORK/gateway.log"
SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt FIREZONE_TOKEN="$GATEWAY_TOKEN" FIREZONE_API_URL=wss://portal.test \
    FIREZONE_ID=e2e-gateway HEALTH_CHECK_ADDR=off RUST_LOG=info spawn gateway gw "$GATEWAY"
check "a portal that no authority vouches for is left" wait_for 10 says 'portal_lost.*certificate'
check "and never joined" sh -c "! grep -q portal_joined '$WORK/gateway.log'"
stop gateway

# The limits of socket buffers, on files that stand in for the kernel's.
mkdir "$WORK/core"
with_limits() { # VALUE [NAME=VALUE]: starts a gateway that finds this value there
    echo "$1" >"$WORK/core/rmem_max"
    echo "$1" >"$WORK/core/wmem_max"
    shift
    : >"$WORK/gateway.log"
    spawn gateway gw unshare -m sh -c 'mount --bind "$0" /proc/sys/net/core && exec "$@"' "$WORK/core" \
        env SSL_CERT_FILE="$WORK/tls/ca.pem" FIREZONE_TOKEN="$GATEWAY_TOKEN" FIREZONE_API_URL=wss://portal.test \
        FIREZONE_ID=e2e-gateway HEALTH_CHECK_ADDR=off RUST_LOG=info "$@" "$GATEWAY"
    wait_for 10 joined || fail "the gateway does not join"
    end_with TERM
}
limits_are() { [ "$(cat "$WORK/core/rmem_max") $(cat "$WORK/core/wmem_max")" = "$1 $2" ]; }
with_limits 212992 A=b
check "low limits are raised" limits_are 134217728 16777216
with_limits 212992 FIREZONE_NO_INC_BUF=true
check "not when told not to" limits_are 212992 212992
with_limits 999999999 A=b
check "higher ones stay" limits_are 999999999 999999999

# Flow records: one line for the start of a flow and one for its end, nothing without the option.
start_nginx
FIREZONE_FLOW_LOGS=true start_fresh
wait_for 10 gateway_ready || fail "the gateway does not get ready"
start_client
check "a page arrives" wait_for 10 page_is http://10.3.0.10/
check "its flow is recorded" wait_for 5 says '"type":"flow","event":"end","protocol":"tcp".*"inner_dst_ip":"10.3.0.10","inner_dst_port":80'
check "with its client, resource and bytes" says "\"client_id\":\"$CLIENT_ID\",\"resource_id\":\"$CIDR4\".*\"rx_bytes\":[1-9]"
page_is http://web.corp.test/ || fail "the page by its name"
check "and its name" wait_for 5 says '"event":"end".*"domain":"web.corp.test"'
grep '"type":"flow"' "$WORK/gateway.log" >"$WORK/flows.jsonl"
check "each record is a line of its own" sh -c "! grep -vE '^\{\"time\":\"[^\"]*\",\"type\":\"flow\",.*\}\$' '$WORK/flows.jsonl'"
end_with TERM
start_fresh
wait_for 10 gateway_ready || fail "the gateway does not get ready"
check "a page arrives" wait_for 20 page_is http://10.3.0.10/

# Somebody sets the device down, or a network manager takes away the rules that it does not know.
ip -n "$P-gw" link set tun-firezone down
check "a device that was set down comes up again" wait_for 15 page_is http://10.3.0.10/
check "and that is said" says "somebody changed the tunnel's device"
ip -n "$P-gw" rule del table 539098368
ip -n "$P-gw" route flush table 539098368
check "rule and route that were taken away come again" wait_for 15 page_is http://10.3.0.10/
check "no records without the option" sh -c "! grep -q '\"type\":\"flow\"' '$WORK/gateway.log'"

# The portal replaces the token while a client is connected: the gateway takes leave before it ends.
(GATEWAY_TOKEN=another && write_policy)
code=0
wait "$(pid_of gateway)" || code=$?
rm -f "$WORK/gateway.pid"
check "a token that expires ends it with 1" [ "$code" = 1 ]
check "its last words say why" says '^firezone-gateway: ended: the portal says that the token has expired$'
check "the client is taken leave of" says 'connection_closed.*shutting down'
check "the relay gets its allocation back" says 'relay_lost'
policies() { grep -c '"policy"' "$WORK/portal.jsonl"; }
read_before=$(policies)
write_policy
reads() { [ "$(policies)" -gt "$read_before" ]; }
wait_for 5 reads || fail "the portal does not read its policy again"
start_fresh
wait_for 10 gateway_ready || fail "the gateway does not get ready"
check "a page arrives" wait_for 20 page_is http://10.3.0.10/
end_with TERM

# Somebody deletes the device while a client of today is connected through a relay: it hears goodbye.
stop client
PERSONALITY=head
write_policy
block_direct
start_fresh
wait_for 10 gateway_ready || fail "the gateway does not get ready"
start_client
check "a page arrives by a relay" wait_for 20 page_is http://10.3.0.10/
ip -n "$P-gw" link del tun-firezone
code=0
wait "$(pid_of gateway)" || code=$?
rm -f "$WORK/gateway.pid"
check "a device that is deleted ends it with 1" [ "$code" = 1 ]
check "its last words say why" says '^firezone-gateway: ended: the TUN device is gone$'
check "the log says so once" [ "$(grep -c 'environment.*the TUN device is gone' "$WORK/gateway.log")" = 1 ]
check "and nothing else of the environment" [ "$(grep -c ' environment ' "$WORK/gateway.log")" = 1 ]
check "the client hears goodbye" wait_for 5 grep -q '"event":"disconnected".*"text":"goodbye"' "$WORK/events.jsonl"
check "the relay gets its allocation back" says 'relay_lost'
stop client
allow_direct
PERSONALITY=base
write_policy

# The bundle of authorities is renewed while it runs: the next connection reads it. One that cannot be
# read leaves the old one in use, and is told once.
roots=$WORK/roots.pem
lost() { [ "$(grep -c 'portal_lost' "$WORK/gateway.log")" -gt "$1" ]; }
renew_portal() { # its authority is another one then
    stop portal
    rm -rf "$WORK/tls"
    start_portal
}
cp "$WORK/tls/ca.pem" "$roots"
: >"$WORK/gateway.log"
SSL_CERT_FILE="$roots" FIREZONE_TOKEN="$GATEWAY_TOKEN" FIREZONE_API_URL=wss://portal.test FIREZONE_ID=e2e-gateway \
    HEALTH_CHECK_ADDR=127.0.0.1:8080 RUST_LOG=info spawn gateway gw "$GATEWAY"
wait_for 10 joined || fail "the gateway does not join with a bundle of its own"
echo "no certificate" >"$roots.new" && mv "$roots.new" "$roots"
renew_portal
check "a portal of another authority is left" wait_for 20 says 'portal_lost.*certificate'
check "a bundle that cannot be read is told" says 'environment.*certificate authorities'
count=$(grep -c portal_lost "$WORK/gateway.log")
wait_for 20 lost "$count" || fail "the gateway does not try again"
check "once" [ "$(grep -c 'certificate authorities' "$WORK/gateway.log")" = 1 ]
cp "$WORK/tls/ca.pem" "$roots.new" && mv "$roots.new" "$roots"
check "a renewed bundle is used without a restart" wait_for 60 sh -c "[ \$(grep -c portal_joined '$WORK/gateway.log') = 2 ]"
end_with TERM
: >"$WORK/gateway.log"
rm "$roots"
SSL_CERT_FILE="$roots" FIREZONE_TOKEN="$GATEWAY_TOKEN" FIREZONE_API_URL=wss://portal.test FIREZONE_ID=e2e-gateway \
    HEALTH_CHECK_ADDR=127.0.0.1:8080 RUST_LOG=info spawn gateway gw "$GATEWAY"
check "without a bundle it starts, and says so" wait_for 10 says 'environment.*certificate authorities.*roots.pem'
cp "$WORK/tls/ca.pem" "$roots"
check "and joins once there is one" wait_for 15 joined
end_with TERM
