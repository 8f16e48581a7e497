# net.sh: a small internet of network namespaces. A script that sources it has BUILD as its first argument.
#
#   client 10.1.0.2 --- natc 203.0.113.30 --+                +-- natg 203.0.113.40 --- gw 10.2.0.2
#                                           +-- wan (bridge) +                          |
#   relay1 203.0.113.10, 2001:db8:113::10 --+                +-- portal 203.0.113.20    | 10.3.0.1, fd33::1
#   relay2 203.0.113.11, 2001:db8:113::11 --+                                           |
#                                                            resource 10.3.0.10, fd33::10 (nginx)
#                                                                     10.3.0.53 (unbound)
#
# LINE="--delay 5 --loss 1000" (flags of fzdev link) puts a bad line between the client and its NAT.
# Names carry the process id, so that runs do not collide. Everything is removed at the end, on failure
# and on Ctrl-C; only processes that were started here are ended, by their ids.

BUILD=$1
GATEWAY=$BUILD/firezone-gateway
FZDEV=$BUILD/fzdev
P=fz$$
WORK=$(mktemp -d "/tmp/$P.XXXXXX")
NAMESPACES="wan client line natc natg gw portal relay1 relay2 resource"
RELAY_TOKEN=relay-token
GATEWAY_TOKEN=gateway-token
CLIENT_TOKEN=client-token
GATEWAY_ID=11111111-1111-4111-8111-111111111111
CLIENT_ID=22222222-2222-4222-8222-222222222222
WEB=33333333-3333-4333-8333-333333333333
CIDR4=44444444-4444-4444-8444-444444444444
CIDR6=55555555-5555-4555-8555-555555555555
PAGE="this page lives in the private network"
GENERATION=${GENERATION:-v142}
PERSONALITY=${PERSONALITY:-base}

# ---- plumbing ----

# Runs a command in a namespace.
in_ns() {
    _ns=$1
    shift
    ip netns exec "$P-$_ns" "$@"
}

# spawn NAME NAMESPACE COMMAND...: in the background, output to $WORK/NAME.log.
spawn() {
    _name=$1
    _ns=$2
    shift 2
    ip netns exec "$P-$_ns" "$@" >>"$WORK/$_name.log" 2>&1 </dev/null &
    echo $! >"$WORK/$_name.pid"
}

pid_of() { cat "$WORK/$1.pid"; }

# stop NAME [SIGNAL]: ends what spawn started and waits for it; 2 s of patience.
stop() {
    [ -e "$WORK/$1.pid" ] || return 0
    _pid=$(pid_of "$1")
    kill "-${2:-TERM}" "$_pid" 2>/dev/null || true
    _left=100
    while [ $_left -gt 0 ] && kill -0 "$_pid" 2>/dev/null; do
        sleep 0.02
        _left=$((_left - 1))
    done
    kill -KILL "$_pid" 2>/dev/null || true
    wait "$_pid" 2>/dev/null || true
    rm -f "$WORK/$1.pid"
}

fail() {
    echo "FAILED: $*" >&2
    for _log in "$WORK"/gateway.log "$WORK"/client.log "$WORK"/portal.log "$WORK"/relay1.log; do
        [ -s "$_log" ] || continue
        echo "--- $(basename "$_log")" >&2
        tail -n "${LOG_LINES:-15}" "$_log" >&2
    done
    metrics 2>/dev/null | grep 'dropped_total.* [1-9]' >&2 || true
    exit 1
}

# wait_for SECONDS COMMAND...: until the command succeeds; fails otherwise.
wait_for() {
    _until=$(($(now_ms) + $1 * 1000))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(now_ms)" -lt "$_until" ] || return 1
        sleep 0.02
    done
}

now_ms() { date +%s%3N; }
# The clock of the events: milliseconds of boot time.
boot_ms() { awk '{ printf "%d\n", $1 * 1000 }' /proc/uptime; }

net_down() {
    for _file in "$WORK"/*.pid; do
        [ -e "$_file" ] && stop "$(basename "$_file" .pid)"
    done
    for _ns in $NAMESPACES; do
        ip netns del "$P-$_ns" 2>/dev/null || true
        rm -rf "/etc/netns/$P-$_ns"
    done
    rmdir /etc/netns 2>/dev/null || true
    rm -rf "$WORK"
}

on_exit() {
    _code=$?
    trap - EXIT INT TERM HUP
    if [ -n "${KEEP_LOGS:-}" ]; then
        mkdir -p "$KEEP_LOGS" && cp "$WORK"/*.log "$WORK"/*.jsonl "$KEEP_LOGS"/ 2>/dev/null
    fi
    net_down
    exit $_code
}
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# ---- topology ----

# cable NS1 NAME1 NS2 NAME2: a pair of interfaces, both up.
cable() {
    ip -n "$P-$1" link add "$2" type veth peer name "$4" netns "$P-$3"
    ip -n "$P-$1" link set "$2" up
    ip -n "$P-$3" link set "$4" up
}

# address NS INTERFACE ADDRESS...
address() {
    _ns=$1
    _if=$2
    shift 2
    for _a in "$@"; do
        case $_a in
        *:*) ip -n "$P-$_ns" addr add "$_a" dev "$_if" nodad ;;
        *) ip -n "$P-$_ns" addr add "$_a" dev "$_if" ;;
        esac
    done
}

plug() { # NS ADDRESS...: joins the wan bridge as eth0
    _plugged=$1
    cable "$1" eth0 wan "$1"
    ip -n "$P-wan" link set "$1" master br0
    shift
    address "$_plugged" eth0 "$@"
}

# A NAT that keeps the source port and lets in only answers. Packets that nobody asked for are dropped
# before conntrack confirms them: a confirmed one would take the port away from the next packet that
# leaves, and the NAT would look symmetric.
nat_rules() {
    in_ns "$1" sysctl -qw net.ipv4.ip_forward=1
    in_ns "$1" nft -f - <<EOF
table ip fz {
  chain unasked { type filter hook prerouting priority -150; iifname "eth0" ct state new,invalid drop; }
  chain outward { type nat hook postrouting priority srcnat; oifname "eth0" masquerade; }
}
EOF
}

# What the gateway's host needs: forwarding, and masquerade of tunnel sources. By the script that is
# installed with the gateway.
gateway_rules() {
    in_ns gw sh platform/linux/packaging/firezone-gateway-network up || fail "the packaged rules"
}

net_up() {
    for _ns in $NAMESPACES; do
        ip netns add "$P-$_ns"
        ip -n "$P-$_ns" link set lo up
        mkdir -p "/etc/netns/$P-$_ns"
        echo "127.0.0.1 localhost" >"/etc/netns/$P-$_ns/hosts"
        echo "203.0.113.20 portal.test" >>"/etc/netns/$P-$_ns/hosts"
        echo "nameserver 127.0.0.1" >"/etc/netns/$P-$_ns/resolv.conf"
    done
    echo "nameserver 10.3.0.53" >"/etc/netns/$P-gw/resolv.conf"
    ip -n "$P-wan" link add br0 type bridge forward_delay 0 mcast_snooping 0
    ip -n "$P-wan" link set br0 up
    plug natc 203.0.113.30/24
    plug natg 203.0.113.40/24
    plug portal 203.0.113.20/24
    plug relay1 203.0.113.10/24 2001:db8:113::10/64
    plug relay2 203.0.113.11/24 2001:db8:113::11/64
    if [ -n "${LINE:-}" ]; then
        cable client eth0 line near
        cable natc eth1 line far
        # shellcheck disable=SC2086
        spawn line line "$FZDEV" link --a near --b far $LINE
        wait_for 5 grep -q joined "$WORK/line.log" || fail "the line does not start"
    else
        cable client eth0 natc eth1
    fi
    address client eth0 10.1.0.2/24
    address natc eth1 10.1.0.1/24
    ip -n "$P-client" route add default via 10.1.0.1
    cable gw eth0 natg eth1
    address gw eth0 10.2.0.2/24
    address natg eth1 10.2.0.1/24
    ip -n "$P-gw" route add default via 10.2.0.1
    cable gw eth1 resource eth0
    address gw eth1 10.3.0.1/24 fd33::1/64
    address resource eth0 10.3.0.10/24 10.3.0.11/24 10.3.0.53/24 fd33::10/64 fd33::11/64
    nat_rules natc
    nat_rules natg
    gateway_rules
}

# The direct path between the two NATs, taken away and given back.
block_direct() {
    in_ns natc nft -f - <<EOF
table ip block {
  chain there { type filter hook forward priority 0; ip daddr 203.0.113.40 drop; ip saddr 203.0.113.40 drop; }
}
EOF
}
allow_direct() { in_ns natc nft delete table ip block; }

# ---- the resource network ----

start_nginx() {
    mkdir -p "$WORK/www" "$WORK/nginx"
    echo "$PAGE" >"$WORK/www/index.html"
    chmod 755 "$WORK"
    cat >"$WORK/nginx.conf" <<EOF
daemon off; master_process off; pid $WORK/nginx/pid; error_log stderr warn;
events { worker_connections 256; }
http {
  access_log off; sendfile on; root $WORK/www;
  client_body_temp_path $WORK/nginx/b; proxy_temp_path $WORK/nginx/p; fastcgi_temp_path $WORK/nginx/f;
  uwsgi_temp_path $WORK/nginx/u; scgi_temp_path $WORK/nginx/s;
  server {
    listen 10.3.0.10:80; listen 10.3.0.10:81; listen 10.3.0.11:80;
    listen [fd33::10]:80; listen [fd33::10]:81; listen [fd33::11]:80;
    location /slow/ { limit_rate 100k; }
    location /take { return 200 "taken "; }
    location /where { return 200 "\$server_addr\n"; }
  }
}
EOF
    spawn nginx resource nginx -c "$WORK/nginx.conf" -p "$WORK/nginx"
}

# start_dns [ADDRESS4 ADDRESS6]: where web.corp.test points to; also restarts it with other addresses.
start_dns() {
    stop unbound
    cat >"$WORK/unbound.conf" <<EOF
server:
  interface: 10.3.0.53
  access-control: 0.0.0.0/0 allow
  chroot: ""
  username: ""
  directory: "$WORK"
  pidfile: "$WORK/unbound.own"
  do-daemonize: no
  use-syslog: no
  num-threads: 1
  local-zone: "corp.test." static
  local-data: "web.corp.test. 5 IN A ${1:-10.3.0.10}"
  local-data: "web.corp.test. 5 IN AAAA ${2:-fd33::10}"
  local-data: "four.corp.test. 5 IN A 10.3.0.10"
  local-data: "six.corp.test. 5 IN AAAA fd33::10"
  local-data: "dead.corp.test. 5 IN A 10.3.0.99"
  local-data: "_ldap.corp.test. 5 IN SRV 0 5 389 target.corp.test."
  local-data: 'web.corp.test. 5 IN TXT "a page of the private network"'
remote-control:
  control-enable: no
EOF
    spawn unbound resource unbound -d -c "$WORK/unbound.conf"
}

# ---- the policy ----

# write_policy [GRANTS] [FILTERS of the CIDR resources]: replaces the file in one step.
ALL_GRANTS="{\"client\":\"*\",\"resource\":\"*\"}"
WEB_FILTERS='{"protocol":"tcp","port_range_start":80,"port_range_end":80},{"protocol":"icmp"}'
CIDR_FILTERS='{"protocol":"tcp","port_range_start":80,"port_range_end":80},{"protocol":"icmp"}'
write_policy() {
    cat >"$WORK/policy.new" <<EOF
{"account_slug": "acme", "relay_token": "$RELAY_TOKEN",
 "gateways": [{"id": "$GATEWAY_ID", "token": "$GATEWAY_TOKEN", "name": "gateway", "ipv4": "100.64.0.2", "ipv6": "fd00:2021:1111::2"}],
 "clients": [{"id": "$CLIENT_ID", "token": "$CLIENT_TOKEN", "ipv4": "100.64.0.10", "ipv6": "fd00:2021:1111::a", "head": $([ "$PERSONALITY" = head ] && echo true || echo false)}${MORE_CLIENTS:-}],
 "resources": [
  {"id": "$WEB", "type": "dns", "address": "*.corp.test", "name": "web", "filters": [$WEB_FILTERS]},
  {"id": "$CIDR4", "type": "cidr", "address": "10.3.0.0/24", "name": "net4", "filters": [$CIDR_FILTERS]},
  {"id": "$CIDR6", "type": "cidr", "address": "fd33::/64", "name": "net6", "filters": [$CIDR_FILTERS]}],
 "grants": [${1-$ALL_GRANTS}]}
EOF
    mv "$WORK/policy.new" "$WORK/policy.json"
}

# ---- Firezone's processes ----

start_portal() {
    # shellcheck disable=SC2086
    spawn portal portal "$FZDEV" portal --listen 203.0.113.20:443 ${PORTAL_LISTEN:-} --tls-dir "$WORK/tls" \
        --policy "$WORK/policy.json" --generation "$GENERATION" --log "$WORK/portal.jsonl"
    wait_for 5 grep -q 'listening' "$WORK/portal.log" || fail "the portal does not start"
}

start_relay() { # 1 or 2
    # shellcheck disable=SC2086
    SSL_CERT_FILE="$WORK/tls/ca.pem" spawn "relay$1" "relay$1" "$FZDEV" relay \
        --listen4 "203.0.113.1$(($1 - 1))" --listen6 "2001:db8:113::1$(($1 - 1))" \
        --portal wss://portal.test --token "$RELAY_TOKEN" --mode "$GENERATION" ${RELAY_SECRET:+--secret $RELAY_SECRET}
}

relays_joined() { [ "$(grep -c '"topic":"relay","event":"init"' "$WORK/portal.jsonl")" -ge "$1" ]; }

start_gateway() {
    # shellcheck disable=SC2086
    SSL_CERT_FILE="$WORK/tls/ca.pem" FIREZONE_TOKEN="$GATEWAY_TOKEN" FIREZONE_API_URL=wss://portal.test \
        FIREZONE_ID=e2e-gateway FIREZONE_NAME=gateway HEALTH_CHECK_ADDR=127.0.0.1:8080 \
        RUST_LOG="${GATEWAY_LOG:-info}" spawn gateway gw "$GATEWAY" ${GATEWAY_FLAGS:-}
}

gateway_ready() { in_ns gw curl -fsS -m 2 -o /dev/null http://127.0.0.1:8080/readyz; }
metrics() { in_ns gw curl -fsS -m 2 http://127.0.0.1:8080/metrics; }

start_client() { # further flags
    : >"$WORK/events.jsonl"
    SSL_CERT_FILE="$WORK/tls/ca.pem" spawn client client "$FZDEV" client --portal wss://portal.test \
        --token "$CLIENT_TOKEN" --name e2e-client --dns 127.0.0.1 --personality "$PERSONALITY" \
        --events "$WORK/events.jsonl" "$@"
    wait_for 5 events_have online || fail "the client does not get online"
}

# events_have EVENT [COUNT]: at least so many of them since the start of the client.
events_have() { [ "$(grep -c "\"event\":\"$1\"" "$WORK/events.jsonl")" -ge "${2:-1}" ]; }
events_count() { grep -c "\"event\":\"$1\"" "$WORK/events.jsonl" || true; }

# Everything up to a client that is online.
start_all() {
    write_policy
    start_nginx
    start_dns
    start_portal
    start_relay 1
    start_relay 2
    wait_for 5 relays_joined 2 || fail "the relays do not join"
    start_gateway
    wait_for 10 gateway_ready || fail "the gateway does not get ready"
    start_client "$@"
}

# ---- traffic ----

# fetch URL [curl flags]: prints the body.
fetch() { in_ns client curl -fsS -m "${FETCH_SECONDS:-5}" "$@"; }
page_is() { [ "$(fetch "$@" 2>>"$WORK/curl.log")" = "$PAGE" ]; }

# refused URL: the connection must fail, and at once (an ICMP error), not by a time-out.
refused() {
    _from=$(now_ms)
    ! in_ns client curl -sS -m 4 -o /dev/null "$@" 2>>"$WORK/curl.log" && [ $(($(now_ms) - _from)) -lt 3000 ]
}

# ---- tests ----

# check WHAT COMMAND...: says what was checked; fails the test when the command does.
check() {
    _what=$1
    shift
    "$@" || fail "$_what${GENERATION:+ (portal $GENERATION, client $PERSONALITY)}"
    echo "ok: $_what"
}

# No peer broke a protocol as far as the portal and the client can tell.
no_violations() {
    ! grep -h '"event":"violation"' "$WORK/portal.jsonl" && ! grep -h violation "$WORK/client.log"
}

# The gateway lives, and nothing in its log says that it should not.
gateway_is_well() {
    kill -0 "$(pid_of gateway)" && ! grep -i 'invariant\|sanitizer\|runtime error' "$WORK/gateway.log"
}
