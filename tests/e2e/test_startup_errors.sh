#!/bin/sh
# What the gateway says and how it exits when it cannot start. usage: test_startup_errors.sh BUILD
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/net.sh

# exits WHAT CODE WORDS COMMAND...: within 5 s with this code and words (a pattern) in its output.
exits() {
    _what=$1
    _code=$2
    _words=$3
    shift 3
    _rc=0
    timeout -s KILL 5 ip netns exec "$P-gw" env -u FIREZONE_TOKEN HEALTH_CHECK_ADDR=127.0.0.1:8080 "$@" \
        >"$WORK/start.log" 2>&1 </dev/null || _rc=$?
    if [ $_rc != "$_code" ] || ! grep -Eiq "$_words" "$WORK/start.log"; then
        cat "$WORK/start.log" >&2
        fail "$_what: exit code $_rc, wanted $_code and words like \"$_words\""
    fi
    if [ "$(grep -c secret-token "$WORK/start.log")" != 0 ]; then
        fail "$_what: the token was printed"
    fi
    echo "ok: $_what"
}

net_up
write_policy
start_portal
export SSL_CERT_FILE="$WORK/tls/ca.pem"
exits "help" 0 "firezone" "$GATEWAY" --help
exits "version" 0 "[0-9]+\.[0-9]+" "$GATEWAY" --version
exits "unknown option" 2 "unknown option" "$GATEWAY" --no-such-option
exits "no token" 2 "token" "$GATEWAY"
exits "URL that is none" 2 "url" FIREZONE_TOKEN=secret-token FIREZONE_API_URL=not-a-url FIREZONE_ID=x "$GATEWAY"
exits "URL of another scheme" 1 "url" FIREZONE_TOKEN=secret-token FIREZONE_API_URL=ftp://portal.test FIREZONE_ID=x \
    "$GATEWAY"
exits "a token that the portal refuses" 1 "401|token|unauthor" \
    FIREZONE_TOKEN=secret-token FIREZONE_API_URL=wss://portal.test FIREZONE_ID=x "$GATEWAY"
exits "the same without a log" 1 "^firezone-gateway: ended: the portal refuses the token\$" RUST_LOG=off \
    FIREZONE_TOKEN=secret-token FIREZONE_API_URL=wss://portal.test FIREZONE_ID=x "$GATEWAY"
check "its last words are one line" [ "$(wc -l <"$WORK/start.log")" = 1 ]
exits "no CAP_NET_ADMIN" 1 "NET_ADMIN|permission|root" \
    FIREZONE_TOKEN=secret-token FIREZONE_API_URL=wss://portal.test FIREZONE_ID=x \
    setpriv --bounding-set -net_admin --inh-caps -net_admin "$GATEWAY"
exits "no CAP_NET_ADMIN, unchecked" 1 "tun|permission" \
    FIREZONE_TOKEN=secret-token FIREZONE_API_URL=wss://portal.test FIREZONE_ID=x \
    setpriv --bounding-set -net_admin --inh-caps -net_admin "$GATEWAY" --no-check
ip -n "$P-gw" link add name tun-firezone type veth
exits "the TUN device's name is another interface's" 1 "TUN device.*name is taken" \
    FIREZONE_TOKEN=secret-token FIREZONE_API_URL=wss://portal.test FIREZONE_ID=x "$GATEWAY"
ip -n "$P-gw" link del tun-firezone
exits "an id file that cannot be read" 1 "gateway_id cannot be used" \
    FIREZONE_TOKEN=secret-token FIREZONE_API_URL=wss://portal.test \
    unshare -m sh -c 'mkdir -p /var/lib/firezone && mount -t tmpfs none /var/lib/firezone &&
        mkdir /var/lib/firezone/gateway_id && exec "$0"' "$GATEWAY"
exits "a token whose file is not there" 1 "token.*file cannot be read" \
    FIREZONE_TOKEN=/nonexistent/secret-token FIREZONE_API_URL=wss://portal.test FIREZONE_ID=x "$GATEWAY"
exits "no TUN device" 1 "tun" FIREZONE_TOKEN=secret-token FIREZONE_API_URL=wss://portal.test FIREZONE_ID=x \
    unshare -m sh -c 'mount -t tmpfs -o nodev none /dev/net && exec "$0"' "$GATEWAY"
exits "no TUN device and no right to make one" 1 "there is no /dev/net/tun" \
    FIREZONE_TOKEN=secret-token FIREZONE_API_URL=wss://portal.test FIREZONE_ID=x \
    unshare -m sh -c 'mount -t tmpfs none /dev/net && exec setpriv --bounding-set -mknod --inh-caps -mknod "$0"' "$GATEWAY"
# Whatever the number of descriptors that are left, the reason is told.
for left in 4 5 6 7 8 10 12 16 24 32; do
    exits "$left file descriptors" 1 "file descriptors" FIREZONE_TOKEN=secret-token \
        FIREZONE_API_URL=wss://portal.test FIREZONE_ID=x sh -c "ulimit -n $left && exec \"\$0\"" "$GATEWAY"
done
mkfifo "$WORK/fifo"
exits "a recording to a FIFO that nobody reads" 1 "recording cannot be created: .*FIFO" \
    FIREZONE_TOKEN=secret-token FIREZONE_API_URL=wss://portal.test FIREZONE_ID=x \
    "$GATEWAY" --record "$WORK/fifo" --record-plain
exits "a recording to a directory" 1 "recording cannot be created: it is a directory" \
    FIREZONE_TOKEN=secret-token FIREZONE_API_URL=wss://portal.test FIREZONE_ID=x \
    "$GATEWAY" --record "$WORK" --record-plain
exits "a recording to a full device" 1 "the recording ends here: .*no space is left" \
    FIREZONE_TOKEN=secret-token FIREZONE_API_URL=wss://portal.test FIREZONE_ID=x \
    "$GATEWAY" --record /dev/full --record-plain
