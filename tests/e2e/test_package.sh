#!/bin/sh
# The Debian package: what is in it, with which rights, and that what comes out of it runs.
# usage: test_package.sh BUILD
set -eu
cd "$(dirname "$0")/../.."
build=$1
work=$(mktemp -d /tmp/fz-package.XXXXXX)
trap 'rm -rf "$work"' EXIT

check() {
    what=$1
    shift
    "$@" || {
        echo "FAILED: $what" >&2
        exit 1
    }
    echo "ok: $what"
}

package=$(platform/linux/packaging/make-deb.sh "$build")
field() { dpkg-deb -f "$package" "$1"; }
version=$("$build/firezone-gateway" --version)
check "its version is the binary's" [ "firezone-gateway $(field Version)" = "$version" ]
check "for this architecture" [ "$(field Architecture)" = "$(dpkg --print-architecture)" ]
for library in libc6 libsodium libmbedtls libcares\|libc-ares libcjson libmnl libseccomp; do
    check "it depends on $library" sh -c "dpkg-deb -f '$package' Depends | grep -qE '$library'"
done

dpkg-deb --contents "$package" | awk '{ print $1, $2, $6 }' >"$work/contents"
while read -r rights path; do
    check "$path, $rights" grep -qx -- "$rights root/root ./$path" "$work/contents"
done <<LIST
-rwxr-xr-x usr/bin/firezone-gateway
-rwxr-xr-x usr/lib/firezone/firezone-gateway-network
-rw-r--r-- lib/systemd/system/firezone-gateway.service
-rw-r--r-- usr/lib/sysusers.d/firezone-gateway.conf
drwxr-xr-x etc/firezone/
LIST

dpkg-deb -x "$package" "$work/root"
check "the binary runs" [ "$("$work/root/usr/bin/firezone-gateway" --version)" = "$version" ]
# What the unit names is in the package.
unit=$work/root/lib/systemd/system/firezone-gateway.service
for path in $(sed -n 's/^Exec[A-Za-z]*=+*\(\/[^ ]*\).*/\1/p' "$unit"); do
    check "the unit finds $path" [ -x "$work/root$path" ]
done
check "its user is made" grep -q '^u firezone' "$work/root/usr/lib/sysusers.d/firezone-gateway.conf"
dpkg-deb -e "$package" "$work/control"
for script in postinst prerm; do
    check "$script is a script without faults" sh -n "$work/control/$script"
done
check "an installation would have what it needs" dpkg --dry-run --force-not-root -i "$package"
