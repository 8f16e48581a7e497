#!/bin/sh
# Moving from Firezone's gateway: the block of docs/DEPLOYMENT.md that takes the settings over, on units as
# its install scripts have written them; and the package over one of the same name with a higher version, and
# back. usage: test_moving.sh BUILD
set -eu
cd "$(dirname "$0")/../.."
build=$1
work=$(mktemp -d /tmp/fz-moving.XXXXXX)
trap 'rm -rf "$work"' EXIT

. tests/e2e/check.sh

# The block behind the comment that names this test.
awk '/tests\/e2e\/test_moving.sh runs this block/ { found = 1; next }
    found && /^```sh/ { inside = 1; next }
    inside && /^```/ { exit }
    inside' docs/DEPLOYMENT.md >"$work/block.sh"
check "the block is there" grep -q gateway.env "$work/block.sh"

# take_over: runs it with an /etc of its own.
take_over() {
    unshare -m sh -euc 'mount --bind "$1/etc" /etc && exec sh -eu "$1/block.sh"' sh "$work"
}
has() { grep -qx "$1" "$work/etc/firezone/gateway.env"; }
new_etc() {
    rm -rf "$work/etc"
    mkdir -p "$work/etc/firezone" "$work/etc/systemd/system"
    unit=$work/etc/systemd/system/firezone-gateway.service
}

new_etc
cat >"$unit" <<UNIT
[Service]
Environment="FIREZONE_NAME=my gateway"
Environment="FIREZONE_ID=11111111-1111-4111-8111-111111111111"
Environment="FIREZONE_TOKEN=.SFMyNTY.abc=="
Environment="FIREZONE_API_URL=wss://api.firezone.dev"
Environment="RUST_LOG=info"
Environment="RUST_LOG_STYLE=never"
Environment="LOG_FORMAT="
ExecStart=/usr/local/bin/firezone-gateway
UNIT
check "an older unit is taken over" take_over
check "with its name" has "FIREZONE_NAME=my gateway"
check "its id" has "FIREZONE_ID=11111111-1111-4111-8111-111111111111"
check "its portal" has "FIREZONE_API_URL=wss://api.firezone.dev"
check "its level" has "RUST_LOG=info"
check "and nothing else" [ "$(wc -l <"$work/etc/firezone/gateway.env")" = 4 ]
check "the token stands in its file" [ "$(cat "$work/etc/firezone/gateway-token")" = ".SFMyNTY.abc==" ]
check "which is root's alone" [ "$(stat -c %a "$work/etc/firezone/gateway-token")" = 600 ]

new_etc
echo token-of-the-file >"$work/etc/firezone/gateway-token"
cat >"$unit" <<UNIT
[Service]
LoadCredential=FIREZONE_TOKEN:/etc/firezone/gateway-token
Environment="FIREZONE_NAME=gw"
Environment="FIREZONE_ID=11111111-1111-4111-8111-111111111111"
UNIT
check "a newer unit is taken over" take_over
check "with its name" has "FIREZONE_NAME=gw"
check "the token that is there stays" [ "$(cat "$work/etc/firezone/gateway-token")" = token-of-the-file ]

# A package with the name, the paths and the version of Firezone's, and nothing in it.
other=$work/other
mkdir -p "$other/DEBIAN" "$other/usr/bin" "$other/usr/lib/systemd/system" "$other/usr/lib/sysusers.d" \
    "$other/usr/lib/tmpfiles.d"
for file in usr/bin/firezone-gateway usr/bin/firezone-gateway-init usr/bin/firezone \
    usr/lib/systemd/system/firezone-gateway.service usr/lib/sysusers.d/firezone-gateway.conf \
    usr/lib/tmpfiles.d/firezone-gateway.conf; do
    echo "the other one's" >"$other/$file"
done
cat >"$other/DEBIAN/control" <<CONTROL
Package: firezone-gateway
Version: 1.6.0
Architecture: $(dpkg --print-architecture)
Maintainer: nobody <root@localhost>
Description: stands in for another package
CONTROL
dpkg-deb --root-owner-group --build "$other" "$work/other.deb" >/dev/null
ours=$(platform/linux/packaging/make-deb.sh "$build")

# dpkg works on a copy of this system that forgets what is written to it.
mkdir "$work/copy"
cat >"$work/in_copy.sh" <<'COPY'
set -eu
work=$1
ours=$2
mount -t tmpfs none "$work/copy"
mkdir "$work/copy/upper" "$work/copy/work" "$work/copy/root"
mount -t overlay none -o "lowerdir=/,upperdir=$work/copy/upper,workdir=$work/copy/work" "$work/copy/root" || exit 77
root=$work/copy/root
mkdir -p "$root/tmp" "$root/etc/firezone"
cp "$ours" "$root/tmp/ours.deb"
cp "$work/other.deb" "$root/tmp/other.deb"
put() { chroot "$root" dpkg --log=/dev/null -i "/tmp/$1.deb" >"$work/dpkg.log" 2>&1; }
state() { chroot "$root" dpkg-query -W -f '${Version} ${db:Status-Status}' firezone-gateway; }
unit=$root/usr/lib/systemd/system/firezone-gateway.service
binary=$root/usr/bin/firezone-gateway
ok() {
    what=$1
    shift
    "$@" || {
        cat "$work/dpkg.log"
        echo "FAILED: $what"
        exit 1
    }
    echo "ok: $what"
}
is_ours() { [ "$(state)" != "1.6.0 installed" ] && grep -q WatchdogSec "$unit" && "$binary" --version >/dev/null; }
is_other() { [ "$(state)" = "1.6.0 installed" ] && grep -q "the other one's" "$unit" "$binary"; }
is_gone() { ! [ -e "$root/usr/bin/firezone-gateway-init" ] && ! [ -e "$root/usr/lib/tmpfiles.d/firezone-gateway.conf" ]; }
ok "the other package installs" put other
ok "and is there" is_other
echo token >"$root/etc/firezone/gateway-token"
echo FIREZONE_NAME=gw >"$root/etc/firezone/gateway-env"
ok "this one goes in its place" put ours
ok "with binary and unit" is_ours
ok "and the other one's own files are gone" is_gone
ok "token and settings stay" [ "$(cat "$root/etc/firezone/gateway-token" "$root/etc/firezone/gateway-env")" = "token
FIREZONE_NAME=gw" ]
ok "its user is there" grep -q '^firezone:' "$root/etc/passwd"
ok "the other one comes back" put other
ok "and is there again" is_other
ok "this one again" put ours
take() { chroot "$root" dpkg --log=/dev/null -r firezone-gateway >"$work/dpkg.log" 2>&1; }
ok "it can be removed" take
ok "its files are gone" [ ! -e "$binary" ]
ok "the token is not" [ -s "$root/etc/firezone/gateway-token" ]
COPY
code=0
unshare -m sh "$work/in_copy.sh" "$work" "$ours" || code=$?
if [ $code = 77 ]; then
    echo "skipped: no overlay file system here"
    exit 0
fi
exit $code
