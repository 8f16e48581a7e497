#!/bin/sh
# Installs the Debian packages that a group of targets needs; does nothing when all are there.
# usage: install.sh build|test|bench|check|demo [...]
set -eu

BUILD="gcc make pkg-config libc6-dev linux-libc-dev libsodium-dev libmbedtls-dev libcjson-dev libwslay-dev libb2-dev
  libipsec-mb-dev libc-ares-dev libmnl-dev libseccomp-dev libcap-ng-dev"
DEMO="iproute2 nftables nginx-light unbound curl procps openssl iputils-ping ca-certificates"
TEST="libcmocka-dev clang-14 libclang-rt-14-dev binutils coturn wireguard-go wireguard-tools libnice-dev libglib2.0-dev
  iperf3 iptables tshark netcat-openbsd $DEMO"
BENCH="iperf3 ethtool wireguard-go wireguard-tools $DEMO"
CHECK="clang-format-14 clang-tidy-14 valgrind $TEST"

wanted=$BUILD
for group in "$@"; do
    case $group in
    build) ;;
    demo) wanted="$wanted $DEMO" ;;
    test) wanted="$wanted $TEST" ;;
    bench) wanted="$wanted $BENCH" ;;
    check) wanted="$wanted $CHECK" ;;
    *) echo "install.sh: unknown group $group" >&2; exit 2 ;;
    esac
done

missing=
for package in $wanted; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ]; then
    echo "install.sh: these packages are missing and only root can install them:$missing" >&2
    exit 1
fi

# Packages that bring a daemon must not start it: policy-rc.d says no while we install.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# shellcheck disable=SC2086
if ! { apt-get install -y --no-install-recommends $missing ||
       { apt-get update && apt-get install -y --no-install-recommends $missing; }; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    exit 1
fi
rm -f "$log"
