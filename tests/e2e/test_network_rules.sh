#!/bin/sh
# The packaged script that sets forwarding and masquerade, with nftables and with iptables alone: traffic
# of the tunnel passes a host whose FORWARD chain denies everything, and leaves under the host's address;
# again is harmless; "down" takes it away. A pair of interfaces stands in for the tunnel.
# usage: test_network_rules.sh BUILD
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/net.sh
NAMESPACES="peer gw resource"
SCRIPT=platform/linux/packaging/firezone-gateway-network

for ns in $NAMESPACES; do
    ip netns add "$P-$ns"
    ip -n "$P-$ns" link set lo up
done
cable peer eth0 gw tun-firezone
cable gw eth1 resource eth0
address peer eth0 100.64.0.10/11 fd00:2021:1111::a/107
address gw tun-firezone 100.64.0.1/11 fd00:2021:1111::1/107
address gw eth1 10.3.0.1/24 fd33::1/64
address resource eth0 10.3.0.10/24 fd33::10/64
ip -n "$P-peer" route add default via 100.64.0.1
ip -n "$P-peer" -6 route add default via fd00:2021:1111::1
# The resource knows no way back to the tunnel's ranges: only masqueraded packets are answered.
in_ns gw iptables -P FORWARD DROP
in_ns gw ip6tables -P FORWARD DROP
# A host there that takes the gateway's own address of the tunnel, which IPv6 lets pass.
ip -n "$P-resource" -6 address add fd00:2021:1111::1/128 dev lo nodad
ip -n "$P-resource" -6 route add fd00:2021:1111::a via fd33::1
in_ns peer ip6tables -I INPUT -s fd00:2021:1111::1 -p icmpv6 --icmpv6-type echo-request

# Directories of commands: without nftables, and with one that the kernel refuses.
for dir in iptables refused; do
    mkdir "$WORK/$dir"
    for tool in iptables ip6tables cat sh; do
        ln -s "$(command -v $tool)" "$WORK/$dir/$tool"
    done
done
printf '#!/bin/sh\nexit 1\n' >"$WORK/refused/nft"
chmod +x "$WORK/refused/nft"

rules() { # up or down
    if [ "$tools" = nft ]; then
        in_ns gw sh $SCRIPT "$1"
    else
        in_ns gw env PATH="$WORK/$tools" sh $SCRIPT "$1" 2>>"$WORK/rules.log"
    fi
}
reaches() { in_ns peer ping -n -c 1 -W 2 "$1" >>"$WORK/ping.log" 2>&1; }
blocked() { ! in_ns peer ping -n -c 1 -W 0.3 "$1" >>"$WORK/ping.log" 2>&1; }
both_reach() { wait_for 5 reaches 10.3.0.10 && wait_for 5 reaches fd33::10; }
both_blocked() { blocked 10.3.0.10 && blocked fd33::10; }
# How often the rules stand there: one copy each, however often they were set.
copies() {
    if [ "$tools" != nft ]; then
        in_ns gw iptables -t nat -S POSTROUTING | grep -c MASQUERADE || true
    else
        in_ns gw nft list ruleset | grep -c 'ip saddr 100.64.0.0/11 masquerade' || true
    fi
}
forged_count() { in_ns peer ip6tables -nvxL INPUT | awk '/fd00:2021:1111::1/ { print $1 }'; }
forge() {
    in_ns peer ip6tables -Z INPUT
    in_ns resource ping -n -c 2 -i 0.2 -W 0.5 -I fd00:2021:1111::1 fd00:2021:1111::a >>"$WORK/ping.log" 2>&1 || :
}
drop_copies() { in_ns gw ip6tables -S FORWARD | grep -c -- '-j DROP' || true; }
forward_copies() { in_ns gw ip6tables -S FORWARD | grep -c -- '-i tun-firezone -j ACCEPT' || true; }
is() { [ "$("$2")" = "$1" ]; }
setting() { [ "$(in_ns gw cat "/proc/sys/$1")" = "$2" ]; }

for tools in nft iptables refused; do
    for name in net/ipv4/ip_forward net/ipv6/conf/all/forwarding net/ipv6/conf/default/forwarding; do
        in_ns gw sh -c "echo 0 >/proc/sys/$name"
    done
    check "$tools: without rules nothing passes" both_blocked
    check "$tools: up succeeds" rules up
    check "$tools: both families pass and are masqueraded" both_reach
    for name in net/ipv4/ip_forward net/ipv4/conf/all/src_valid_mark net/ipv6/conf/all/forwarding \
        net/ipv6/conf/default/forwarding; do
        check "$tools: $name is on" setting $name 1
    done
    check "$tools: IPv6 is on" setting net/ipv6/conf/all/disable_ipv6 0
    forge
    check "$tools: nobody behind speaks for the gateway's host" is 0 forged_count
    check "$tools: up again is harmless" rules up
    check "$tools: one masquerade rule" is 1 copies
    check "$tools: one accept rule" is 1 forward_copies
    check "$tools: one drop rule" is 1 drop_copies
    check "$tools: down succeeds" rules down
    check "$tools: no masquerade rule is left" is 0 copies
    check "$tools: no accept rule is left" is 0 forward_copies
    check "$tools: no drop rule is left" is 0 drop_copies
    check "$tools: nothing passes any more" both_blocked
    check "$tools: down again is harmless" rules down
done
# A host that forwards takes no router's advertisements, unless told to: who took them goes on taking them.
accepts_ra() { in_ns gw cat "/proc/sys/net/ipv6/conf/$1/accept_ra"; }
set_conf() { in_ns gw sh -c "echo $3 >/proc/sys/net/ipv6/conf/$1/$2"; }
for name in takes leaves routes; do
    ip -n "$P-gw" link add "$name" type veth peer name "$name-far"
    set_conf $name forwarding 0
    set_conf $name accept_ra 1
done
set_conf leaves accept_ra 0
set_conf routes forwarding 1
rules_are() { [ "$(accepts_ra takes) $(accepts_ra leaves) $(accepts_ra routes)" = "$1" ]; }
for again in first second; do
    check "up succeeds with several interfaces, $again time" in_ns gw sh $SCRIPT up
    check "an interface that took advertisements takes them, others are left alone" rules_are "2 0 1"
done
! sh $SCRIPT sideways 2>"$WORK/usage.log" || fail "an unknown action is accepted"
check "an unknown action is a usage error" grep -q '^usage:' "$WORK/usage.log"
