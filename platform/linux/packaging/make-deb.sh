#!/bin/sh
# make-deb.sh: the Debian package: binary, unit, user, network script. usage: make-deb.sh BUILD
# Needs dpkg-deb alone. What the binary is linked to becomes its dependencies, as this system packages it.
set -eu
cd "$(dirname "$0")/../../.."
build=$1
here=platform/linux/packaging
version=$(sed -n 's/^#define GATEWAY_VERSION "\([^"]*\)".*/\1/p' src/gateway/gateway.h)
arch=$(dpkg --print-architecture)
root=$build/deb
package=$build/firezone-gateway_${version}_$arch.deb

rm -rf "$root"
install -D -m 755 "$build/firezone-gateway" "$root/usr/bin/firezone-gateway"
install -D -m 755 $here/firezone-gateway-network "$root/usr/lib/firezone/firezone-gateway-network"
install -D -m 644 $here/firezone-gateway.service "$root/usr/lib/systemd/system/firezone-gateway.service"
install -D -m 644 $here/firezone-gateway.sysusers "$root/usr/lib/sysusers.d/firezone-gateway.conf"
install -d -m 755 "$root/etc/firezone" "$root/DEBIAN"
for page in OPERATIONS DEPLOYMENT SECURITY; do
    install -D -m 644 "docs/$page.md" "$root/usr/share/doc/firezone-gateway/$page.md"
done

# libc6 and the packages of the other libraries; on merged systems each is known by one of two paths.
libraries=$(ldd "$build/firezone-gateway" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p')
depends=$(for library in $libraries; do
    dpkg-query -S "$library" 2>/dev/null || dpkg-query -S "/usr$library" 2>/dev/null ||
        dpkg-query -S "${library#/usr}"
done | sed 's/:.*//' | sort -u | paste -sd, | sed 's/,/, /g')

cat >"$root/DEBIAN/control" <<CONTROL
Package: firezone-gateway
Version: $version
Architecture: $arch
Maintainer: Firezone Gateway in C <root@localhost>
Section: net
Priority: optional
Depends: $depends
Recommends: nftables | iptables, ca-certificates
Description: gateway between WireGuard tunnels of Firezone clients and a private network
 Needs no open port: it keeps a control connection to the portal and finds its
 clients through ICE and TURN relays. The token goes to
 /etc/firezone/gateway-token, settings to /etc/firezone/gateway.env.
CONTROL

# Nothing starts by itself: there is no token yet. A unit in /etc wins over this package's, and what runs by
# it is not ours to start or stop.
cat >"$root/DEBIAN/postinst" <<'POSTINST'
#!/bin/sh
set -e
other=/etc/systemd/system/firezone-gateway.service
if [ "$1" = configure ]; then
    chmod 700 /etc/firezone
    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers firezone-gateway.conf
    fi
    if [ -e "$other" ]; then
        echo "firezone-gateway: $other wins over the unit of this package;" >&2
        echo "firezone-gateway: see /usr/share/doc/firezone-gateway/DEPLOYMENT.md" >&2
    fi
    if [ ! -s /etc/firezone/gateway-token ]; then
        echo "firezone-gateway: put the token into /etc/firezone/gateway-token, then" >&2
        echo "firezone-gateway: systemctl enable --now firezone-gateway" >&2
    fi
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        [ -e "$other" ] || systemctl try-restart firezone-gateway.service
    fi
fi
POSTINST
cat >"$root/DEBIAN/prerm" <<'PRERM'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ] && [ ! -e /etc/systemd/system/firezone-gateway.service ]; then
    systemctl disable --now firezone-gateway.service
fi
PRERM
cat >"$root/DEBIAN/postrm" <<'POSTRM'
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
POSTRM
chmod 755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm" "$root/DEBIAN/postrm"
dpkg-deb --root-owner-group --build "$root" "$package" >/dev/null
echo "$package"
