#!/bin/sh
# What routers say about a name's packets: time exceeded, a narrow link, a dead host. SRV and TXT
# through the gateway. Names of the other family in both modes. usage: test_dataplane.sh BUILD
set -eu
cd "$(dirname "$0")/../.."
PERSONALITY=head # asks the gateway for SRV and TXT
. tests/e2e/net.sh

# says TEXT COMMAND...: the command's output has the text; its status does not count.
says() {
    _text=$1
    shift
    in_ns client "$@" 2>&1 | tee "$WORK/said" | grep -q "$_text" || { cat "$WORK/said" >&2; return 1; }
}

# query NETCAT-FLAGS NAMESPACE SERVER PORT TYPE LABEL...: a DNS query by hand; the answer as text.
query() {
    _flags=$1 _space=$2 _server=$3 _port=$4 _type=$5
    shift 5
    _bytes='\022\064\001\000\000\001\000\000\000\000\000\000'
    _size=17
    for _label in "$@"; do
        _bytes="$_bytes\\$(printf %03o ${#_label})$_label"
        _size=$((_size + ${#_label} + 1))
    done
    _bytes="$_bytes\\000\\000\\$(printf %03o "$_type")\\000\\001"
    # The length stands in front on TCP.
    [ "$_flags" = -u ] || _bytes="\\000\\$(printf %03o "$_size")$_bytes"
    # shellcheck disable=SC2059
    printf "$_bytes" | in_ns "$_space" timeout 3 nc $_flags -w 1 "$_server" "$_port" | tr -c '[:print:]' '.'
}
answers() { # TEXT and the rest as above
    _want=$1
    shift
    query "$@" >"$WORK/answer"
    grep -q "$_want" "$WORK/answer" || { cat "$WORK/answer" >&2; return 1; }
}

sent_all() { [ "$(fetch --data-binary "@$WORK/upload" -w '%{size_upload}' "$@")" = "taken 300000" ]; }

net_up
start_all
check "page by name" page_is -4 http://web.corp.test/

check "the first router speaks for a name, IPv4" says "Time to live exceeded" ping -4 -t 1 -c 1 -W 2 web.corp.test
check "the first router speaks for a name, IPv6" says "Hop limit" ping -6 -t 1 -c 1 -W 2 web.corp.test
check "the first router speaks across families" says "Hop limit" ping -6 -t 1 -c 1 -W 2 four.corp.test
check "the first router speaks for a network" says "Time to live exceeded" ping -t 1 -c 1 -W 2 10.3.0.11

ip -n "$P-gw" route change 10.3.0.0/24 dev eth1 src 10.3.0.1 mtu lock 1000
check "a narrow link is told, IPv4" says "mtu = 1000" ping -4 -M do -s 1100 -c 1 -W 2 web.corp.test
check "a narrow link is told across families" says "mtu.1020" ping -6 -M do -s 1100 -c 1 -W 2 four.corp.test
head -c 300000 /dev/zero >"$WORK/upload"
check "TCP fits itself through the narrow link" sent_all -4 http://web.corp.test/take
ip -n "$P-gw" route change 10.3.0.0/24 dev eth1 src 10.3.0.1

in_ns gw sysctl -qw net.ipv4.neigh.eth1.retrans_time_ms=100
check "a dead host is an error at once and no silence" says "Host Unreachable" ping -4 -c 2 -W 3 dead.corp.test

check "SRV through the tunnel" answers target -u client 100.100.111.1 53 33 _ldap corp test
check "TXT through the tunnel" answers "of the private network" -u client 100.100.111.1 53 16 web corp test
check "TXT of the gateway's own server, UDP over IPv6" answers "of the private network" -u gw fd00:2021:1111::2 53535 16 web corp test
check "SRV of the gateway's own server, TCP" answers target -4 gw 100.64.0.2 53535 33 _ldap corp test
check "SRV of the gateway's own server, TCP from a client that ends its side" answers target "-4 -N" gw 100.64.0.2 53535 33 _ldap corp test
check "TXT of the gateway's own server, TCP over IPv6" answers "of the private network" -6 gw fd00:2021:1111::2 53535 16 web corp test

check "a name that has IPv4 only, asked over IPv6" page_is -6 http://four.corp.test/
check "a name that has IPv6 only, asked over IPv4" page_is -4 http://six.corp.test/
stop client
stop gateway
GATEWAY_FLAGS="--nat64 icmp"
start_gateway
wait_for 10 gateway_ready || fail "the gateway does not get ready again"
start_client --port 53001
check "without translation: the name's own family" page_is -4 http://four.corp.test/
check "without translation: the other family is refused at once" refused -6 http://four.corp.test/
check "without translation: the name's own family, IPv6" page_is -6 http://six.corp.test/
check "without translation: the other family is refused at once, IPv4" refused -4 http://six.corp.test/
check "applications that try both families get there" page_is http://four.corp.test/
check "nobody broke a protocol" no_violations
check "the gateway is well" gateway_is_well
