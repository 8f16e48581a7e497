# paths.sh: ways from a client to a server for macro.sh. Sourced after tests/e2e/net.sh, whose functions it uses; a
# smaller network than there, because NATs would only dilute what is compared:
#
#   client 203.0.113.30 ------- wan (bridge) ------- 203.0.113.40 gw 10.3.0.1 ------- resource (iperf3, port 80; fzdev load)
#       [line: fzdev link]      |          |                                             10.3.0.10, fd33::10, 10.3.0.53 (unbound)
#                    portal 203.0.113.20   relay1 203.0.113.10                           10.3.0.11, 10.3.0.12
#
# Client, gateway, portal and relay also have 2001:db8:113::/64. The server's address decides about the way, so that
# three can be up at once and be measured in turn: 10.3.0.10 and fd33::10 are reached through our tunnel, 10.3.0.11
# through wireguard-go, 10.3.0.12 by plain forwarding. The gateway's host has the packaged rules (connection tracking,
# masquerade) on every path.

CROWD=8
NAMESPACES="wan client line gw portal relay1 resource $(seq -f crowd%.0f $CROWD | tr '\n' ' ')"
SERVER=10.3.0.10
FORWARDED=10.3.0.12
DEB_CLIENT=100.64.0.110 # masqueraded as ours are
PORT=80
LOAD_PORT=7100
RELAY_SECRET=$(printf '%064d' 7)
CABLES="client:eth0 gw:eth0 gw:eth1 resource:eth0"

plug_client() {
    cable client eth0 wan client
    ip -n "$P-wan" link set client master br0
    dress_client
}

# The same with a line of fzdev link in between; flags of it.
plug_client_by_line() {
    cable client eth0 line near
    cable line far wan client
    [ -z "${WIRE:-}" ] || wire_like on
    ip -n "$P-wan" link set client master br0
    rm -f "$WORK/line.log"
    spawn line line "$FZDEV" link --a near --b far "$@"
    wait_for 5 grep -q joined "$WORK/line.log" || fail "the line does not start"
    dress_client
}

dress_client() {
    address client eth0 203.0.113.30/24 2001:db8:113::30/64
    ip -n "$P-client" route add default via 203.0.113.40
}

unplug_client() {
    stop line
    ip -n "$P-client" link del eth0
    ip -n "$P-line" link del far 2>/dev/null || true
}

bench_net_up() {
    for _ns in $NAMESPACES; do
        ip netns add "$P-$_ns"
        ip -n "$P-$_ns" link set lo up
        mkdir -p "/etc/netns/$P-$_ns"
        printf '127.0.0.1 localhost\n203.0.113.20 portal.test\n2001:db8:113::20 portal.test\n' >"/etc/netns/$P-$_ns/hosts"
        echo "nameserver 127.0.0.1" >"/etc/netns/$P-$_ns/resolv.conf"
    done
    echo "nameserver 10.3.0.53" >"/etc/netns/$P-gw/resolv.conf"
    ip -n "$P-wan" link add br0 type bridge forward_delay 0 mcast_snooping 0
    ip -n "$P-wan" link set br0 up
    plug portal 203.0.113.20/24 2001:db8:113::20/64
    plug relay1 203.0.113.10/24 2001:db8:113::10/64
    plug gw 203.0.113.40/24 2001:db8:113::40/64
    cable gw eth1 resource eth0
    address gw eth1 10.3.0.1/24 fd33::1/64
    address resource eth0 10.3.0.10/24 10.3.0.11/24 10.3.0.12/24 10.3.0.53/24 fd33::10/64
    ip -n "$P-resource" route add 203.0.113.30 via 10.3.0.1
    plug_client
    # A rule without a number, as our tunnel brings it, gets one below the second in the list: only 0 stays before it.
    for _address in 10.3.0.11 $FORWARDED; do
        ip -n "$P-client" rule add pref 0 to $_address lookup main
    done
    ip -n "$P-gw" rule add pref 0 to $DEB_CLIENT lookup main
    gateway_rules
    CIDR_FILTERS=
    MORE_CLIENTS=$(seq $CROWD | awk '{
        printf ",{\"id\":\"66666666-6666-4666-8666-66666666666%d\",\"token\":\"crowd-%d\",\"ipv4\":\"100.64.1.%d\",\"ipv6\":\"fd00:2021:1111::1:%d\"}", $1, $1, $1, $1 }')
    PORTAL_LISTEN='--listen [2001:db8:113::20]:443'
    write_policy
    start_dns
    start_portal
    start_relay 1
    wait_for 5 relays_joined 1 || fail "the relay does not join"
    spawn iperf resource iperf3 -s -p $PORT
    spawn load resource "$FZDEV" load --serve --port $LOAD_PORT
    for _n in $(seq $CROWD); do
        plug "crowd$_n" "203.0.113.10$_n/24"
        ip -n "$P-crowd$_n" route add default via 203.0.113.40
        ip -n "$P-crowd$_n" rule add pref 0 to $FORWARDED lookup main
        ip -n "$P-resource" route add "203.0.113.10$_n" via 10.3.0.1
        spawn "iperf$_n" resource iperf3 -s -p "520$_n"
    done
}

# A wire segments and merges at its ends, a plain pair of virtual interfaces hands super-packets through.
wire_like() { # on or off
    case $1 in
    on) _tso=off _gro=on WIRE=1 ;;
    off) _tso=on _gro=off WIRE= ;;
    esac
    for _cable in $CABLES; do
        in_ns "${_cable%:*}" ethtool -K "${_cable#*:}" tso $_tso tx-udp-segmentation $_tso gro $_gro
    done
    for _port in client gw; do
        in_ns wan ethtool -K $_port tso $_tso tx-udp-segmentation $_tso
    done
}

# ---- paths ----

# Flags of the gateway for a rung of the ladder; fails for what is no rung.
rung_flags() {
    case $1 in
    all) ;;
    libsodium) echo --aead=libsodium ;;
    avx2) echo --aead=avx2 ;;
    tso) echo --tun-offload=tso ;;
    no-tun) echo --tun-offload=none ;;
    no-gso) echo --no-gso ;;
    no-gro) echo --no-gro ;;
    reference | plain-tun) echo --tun-offload=none --aead=libsodium ;;
    none) echo --tun-offload=none --no-gso --no-gro ;;
    *) return 1 ;;
    esac
}

# use PATH: what is measured next. It must be up.
use() {
    PATH_NAME=$1
    TARGET=$SERVER
    MEASURED=
    case $PATH_NAME in
    forward) TARGET=$FORWARDED ;;
    deb) TARGET=10.3.0.11 MEASURED=$(pid_of deb-gateway) ;;
    named) TARGET=four.corp.test MEASURED=$(pid_of gateway) ;;
    6-in-*) TARGET=fd33::10 MEASURED=$(pid_of gateway) ;;
    *) MEASURED=$(pid_of gateway) ;;
    esac
    wait_for 10 in_ns client ping -q -c 1 -W 1 "$TARGET" || fail "no way on path $PATH_NAME"
}

# path_up PATH: brings it up beside what is up, and uses it. Ours is one path at a time.
path_up() {
    case $1 in
    forward) ;;
    deb) deb_up ;;
    null) ours_up "$BUILD/bench-null/firezone-gateway" "$BUILD/bench-null/fzdev" --aead=libsodium ;;
    relayed) ours_up "$GATEWAY" "$FZDEV" "" --no-direct ;;
    # The client has what the gateway has: its batches would make the gateway's.
    reference) ours_up "$GATEWAY" "$FZDEV" "$(rung_flags reference)" --tun-offload none --libsodium ;;
    *-in-6) ours_up "$GATEWAY" "$FZDEV" "" --address6 2001:db8:113::30 ;;
    *) ours_up "$GATEWAY" "$FZDEV" "$(rung_flags "$1")" ;;
    esac
    use "$1"
}

path_down() {
    for _process in client gateway deb-client deb-gateway; do
        stop $_process
    done
    MEASURED=
}

ours_up() { # GATEWAY FZDEV FLAGS [client flags]
    GATEWAY_FLAGS=$3
    _gateway=$GATEWAY
    _fzdev=$FZDEV
    GATEWAY=$1
    FZDEV=$2
    shift 3
    case " $* " in *" --address6 "*) ;; *) set -- --address4 203.0.113.30 "$@" ;; esac
    start_gateway
    wait_for 10 gateway_ready || fail "the gateway does not get ready"
    start_client "$@"
    GATEWAY=$_gateway
    FZDEV=$_fzdev
}

start_crowd_client() { # NUMBER
    : >"$WORK/crowd$1.jsonl"
    SSL_CERT_FILE="$WORK/tls/ca.pem" spawn "crowd$1" "crowd$1" "$FZDEV" client --portal wss://portal.test \
        --token "crowd-$1" --name "crowd-$1" --events "$WORK/crowd$1.jsonl"
    wait_for 10 in_ns "crowd$1" ping -q -c 1 -W 1 $SERVER || fail "client $1 of the crowd does not get through"
}

# wireguard-go of the distribution on both ends.
deb_up() {
    for _end in client gw; do
        [ -e "$WORK/$_end.key" ] || (umask 077 && wg genkey >"$WORK/$_end.key")
    done
    spawn deb-client client wireguard-go -f "$P-c"
    spawn deb-gateway gw wireguard-go -f "$P-g"
    wait_for 5 ip -n "$P-client" link show "$P-c" || fail "wireguard-go does not start"
    wait_for 5 ip -n "$P-gw" link show "$P-g" || fail "wireguard-go does not start"
    wait_for 5 in_ns client wg set "$P-c" private-key "$WORK/client.key" \
        peer "$(wg pubkey <"$WORK/gw.key")" endpoint 203.0.113.40:51820 allowed-ips 10.3.0.0/24 || fail "wg set"
    wait_for 5 in_ns gw wg set "$P-g" listen-port 51820 private-key "$WORK/gw.key" \
        peer "$(wg pubkey <"$WORK/client.key")" allowed-ips $DEB_CLIENT/32 || fail "wg set"
    ip -n "$P-client" addr add $DEB_CLIENT/32 dev "$P-c"
    ip -n "$P-client" link set "$P-c" mtu 1280 up
    ip -n "$P-client" route add 10.3.0.11/32 dev "$P-c" src $DEB_CLIENT
    ip -n "$P-gw" link set "$P-g" mtu 1280 up
    ip -n "$P-gw" route add $DEB_CLIENT/32 dev "$P-g"
}

# herd NAME [fzdev herd flags]: a gateway whose portal and clients are one process; what it says is in $WORK/NAME.log.
herd() {
    _name=$1
    shift
    rm -f "$WORK/$_name.log"
    spawn "$_name" client "$FZDEV" herd --listen 203.0.113.30:8008 --gateway 203.0.113.40:52625 --own 203.0.113.30 \
        --target $SERVER --relay 203.0.113.10:3478 --relay-secret $RELAY_SECRET "$@"
    wait_for 5 grep -q listening "$WORK/$_name.log" || fail "the herd does not start"
}
start_herd_gateway() {
    FIREZONE_TOKEN=herd FIREZONE_API_URL=ws://203.0.113.30:8008 FIREZONE_ID=herd FIREZONE_NAME=herd \
        HEALTH_CHECK_ADDR=127.0.0.1:8080 RUST_LOG="${GATEWAY_LOG:-warn}" spawn gateway gw "$GATEWAY"
    MEASURED=$(pid_of gateway)
}
# The herd ends by itself; what it starts with needs the gateway's id.
await() { # NAME
    wait "$(pid_of "$1")" || fail "$1: $(tail -n 3 "$WORK/$1.log")"
    rm -f "$WORK/$1.pid"
}
