/* coturn: see coturn.h. */
#include "tests/interop/coturn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "crypto/hmac_sha1.h"
#include "stun/stun_msg.h"

#define SECRET     "interop-secret"
#define DATABASE   INTEROP_DIR "/turndb"
#define START_MS   5000U
#define REALM_FLAG "--realm=firezone"

/* True when the server answers a BINDING request from its own namespace. */
static bool answers(int fd, const struct sock_addr *server, struct rng *rng)
{
    uint8_t room[INTEROP_DATAGRAM_MAX];
    struct stun_txn txn;
    rng_bytes(rng, txn.bytes, sizeof(txn.bytes));
    struct stun_writer writer;
    stun_start(&writer, (struct span){room, sizeof(room)}, STUN_BINDING, STUN_REQUEST, &txn);
    interop_send(fd, server, stun_finish(&writer));
    interop_poll(&fd, 1, TIME_NEVER);
    struct sock_addr from;
    size_t len = 0;
    return interop_receive(fd, (struct span){room, sizeof(room)}, &from, &len);
}

static void wait_until_ready(const struct interop *interop, const struct coturn *coturn,
                             const char *ip)
{
    struct rng rng;
    interop_rng(&rng);
    struct sock_addr local = {.port = 0};
    if (!ip_parse(view_text(ip), &local.ip)) {
        abort();
    }
    struct sock_addr server = sock_addr_of(local.ip, COTURN_PORT);
    int fd = interop_udp(interop, coturn->ns, &local);
    struct instant end = instant_add(interop_now(), DURATION_MS(START_MS));
    while (!answers(fd, &server, &rng)) {
        if (!interop_alive(&coturn->child) || !instant_before(interop_now(), end)) {
            fputs("interop: coturn does not start\n", stderr);
            interop_print_logs();
            exit(1);
        }
    }
    close(fd);
}

void coturn_start(const struct interop *interop, struct coturn *coturn)
{
    char listen[2][64];
    char relay[2][64];
    char stale[64];
    const char *ips[2] = {coturn->ip_v4, coturn->ip_v6};
    const char *argv[32] = {"turnserver",        "-n",
                            REALM_FLAG,          "--listening-port=3478",
                            "--min-port=49152",  "--max-port=65535",
                            "--no-tls",          "--no-dtls",
                            "--no-tcp",          "--no-tcp-relay",
                            "--no-cli",          "--fingerprint",
                            "--log-file=stdout", "--simple-log",
                            "--verbose",         "--pidfile=" INTEROP_DIR "/coturn.pid",
                            "--userdb=" DATABASE};
    size_t count = 17;
    for (size_t i = 0; i < 2U && ips[i] != NULL; i++) {
        snprintf(listen[i], sizeof(listen[i]), "--listening-ip=%s", ips[i]);
        snprintf(relay[i], sizeof(relay[i]), "--relay-ip=%s", ips[i]);
        argv[count++] = listen[i];
        argv[count++] = relay[i];
    }
    if (coturn->stale_nonce_s != NULL) {
        snprintf(stale, sizeof(stale), "--stale-nonce=%s", coturn->stale_nonce_s);
        argv[count++] = stale;
    }
    if (coturn->accounts == COTURN_SECRET) {
        argv[count++] = "--use-auth-secret";
        argv[count++] = "--static-auth-secret=" SECRET;
    } else {
        argv[count++] = "--lt-cred-mech";
    }
    coturn->child = interop_spawn(coturn->ns, "coturn.log", argv);
    for (size_t i = 0; i < 2U && ips[i] != NULL; i++) {
        wait_until_ready(interop, coturn, ips[i]);
    }
}

void coturn_stop(struct coturn *coturn)
{
    interop_kill(&coturn->child);
}

struct coturn_user coturn_user(const char *salt, int seconds)
{
    struct coturn_user user;
    memset(&user, 0, sizeof(user));
    snprintf(user.name, sizeof(user.name), "%lld:%s", (long long)time(NULL) + seconds, salt);
    uint8_t mac[HMAC_SHA1_SIZE];
    struct hmac_sha1_key key;
    struct hmac_sha1 state;
    hmac_sha1_key_init(&key, view_text(SECRET));
    hmac_sha1_start(&state, &key);
    hmac_sha1_update(&state, view_text(user.name));
    hmac_sha1_finish(&state, mac);
    struct writer w =
        writer_of((struct span){(uint8_t *)user.password, sizeof(user.password) - 1U});
    text_put_base64(&w, VIEW_OF(mac), true);
    return user;
}

void coturn_add_user(const struct coturn *coturn, const struct coturn_user *user)
{
    interop_require("turnadmin");
    interop_shell(coturn->ns, "turnadmin -a -b " DATABASE " -u '%s' -r firezone -p '%s'",
                  user->name, user->password);
}
