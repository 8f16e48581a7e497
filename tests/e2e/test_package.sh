#!/bin/sh
# The Debian package: what is in it, with which rights, and that what comes out of it runs.
# usage: test_package.sh BUILD
set -eu
cd "$(dirname "$0")/../.."
build=$1
work=$(mktemp -d /tmp/fz-package.XXXXXX)
trap 'rm -rf "$work"' EXIT

. tests/e2e/check.sh

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
-rw-r--r-- usr/lib/systemd/system/firezone-gateway.service
-rw-r--r-- usr/lib/sysusers.d/firezone-gateway.conf
drwxr-xr-x etc/firezone/
-rw-r--r-- usr/share/doc/firezone-gateway/OPERATIONS.md
-rw-r--r-- usr/share/doc/firezone-gateway/DEPLOYMENT.md
LIST

dpkg-deb -x "$package" "$work/root"
check "the binary runs" [ "$("$work/root/usr/bin/firezone-gateway" --version)" = "$version" ]
# What the unit names is in the package.
unit=$work/root/usr/lib/systemd/system/firezone-gateway.service
for path in $(sed -n 's/^Exec[A-Za-z]*=+*\(\/[^ ]*\).*/\1/p' "$unit"); do
    check "the unit finds $path" [ -x "$work/root$path" ]
done
check "its user is made" grep -q '^u firezone' "$work/root/usr/lib/sysusers.d/firezone-gateway.conf"
dpkg-deb -e "$package" "$work/control"
for script in postinst prerm postrm; do
    check "$script is a script without faults" sh -n "$work/control/$script"
done

# The scripts with an /etc and commands of their own: what they ask of the supervisor, and what they say.
# With the unit of Firezone's installer in its place the supervisor is not to touch what runs.
mkdir "$work/bin"
for command in systemctl systemd-sysusers; do
    printf '#!/bin/sh\necho %s "$@" >>"%s/asked"\n' $command "$work" >"$work/bin/$command"
done
chmod +x "$work/bin"/*
run_script() { # SCRIPT ACTION
    : >"$work/asked"
    unshare -m sh -c 'mount --bind "$1/etc" /etc && mount -t tmpfs none /run && mkdir -p /run/systemd/system &&
        PATH="$1/bin:$PATH" exec sh "$1/control/$2" "$3"' sh "$work" "$1" "$2" >"$work/said" 2>&1
}
asked() { grep -q "^$1" "$work/asked"; }
said() { grep -q "$1" "$work/said"; }
mkdir -p "$work/etc/firezone" "$work/etc/systemd/system"
check "postinst runs" run_script postinst configure
check "it makes the user" asked "systemd-sysusers firezone-gateway.conf"
check "it restarts what runs" asked "systemctl try-restart firezone-gateway.service"
check "it says that there is no token" said "gateway-token"
check "the directory of the token is root's alone" [ "$(stat -c %a "$work/etc/firezone")" = 700 ]
echo token >"$work/etc/firezone/gateway-token"
check "postinst runs again" run_script postinst configure
check "and has nothing to say" [ ! -s "$work/said" ]
check "prerm runs at a removal" run_script prerm remove
check "and stops the gateway" asked "systemctl disable --now firezone-gateway.service"
check "prerm runs at an upgrade" run_script prerm upgrade
check "and stops nothing" [ ! -s "$work/asked" ]
touch "$work/etc/systemd/system/firezone-gateway.service"
check "postinst runs beside a unit of the administrator's" run_script postinst configure
check "it says that it wins" said "/etc/systemd/system/firezone-gateway.service"
check "and leaves it running" sh -c "! grep -q restart '$work/asked'"
check "prerm runs beside it" run_script prerm remove
check "and leaves it running too" [ ! -s "$work/asked" ]

# What stands in a Firezone package's place goes on to be read.
for file in gateway-preset-env gateway-env gateway.env; do
    check "the unit reads $file" grep -qx "EnvironmentFile=-/etc/firezone/$file" "$unit"
done
check "its own comes last and wins" \
    [ "$(grep EnvironmentFile "$unit" | tail -n 1)" = "EnvironmentFile=-/etc/firezone/gateway.env" ]
if command -v systemd-analyze >/dev/null; then
    # Other units of this machine, and paths of the package that are not installed, are not our concern.
    systemd-analyze verify "$unit" >"$work/verify" 2>&1 || true
    check "the supervisor knows every line of the unit" \
        sh -c "! grep 'firezone-gateway.service:[0-9]' '$work/verify'"
fi
check "an installation would have what it needs" dpkg --dry-run --force-not-root -i "$package"
