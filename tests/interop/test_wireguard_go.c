/* Our WireGuard tunnels against wireguard-go: handshakes of either side, cookies, pings.
 *
 * We are 10.9.0.2 outside and 10.77.0.2, fd77::2 inside; wireguard-go is 10.9.0.1 outside, and its
 * kernel answers on 10.77.0.1 and fd77::1.
 */
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "crypto/aead_ipsec.h"
#include "tests/interop/wg_host.h"

#define SECONDS_MAX  80U
#define ANSWER_MS    4000U
#define RETRY_MS     8000U  /* covers one repeated initiation, 5 s and jitter */
#define SILENCE_MS   15600U /* covers 15 s without an answer and its jitter */
#define OUR_PORT     5000U
#define ITS_PORT     51820U
#define KEY_TEXT_MAX 48U
#define FLIGHT       16U
#define FLOOD        3000U

struct world {
    struct interop interop;
    int ns; /* of wireguard-go */
    char name[16];
    struct interop_child child;
    struct rng rng;
    struct x25519_pair ours;
    struct x25519_pair its;
    struct wg_psk psk;
    struct ip_addr inside_ours[2]; /* IPv4, IPv6 */
    struct ip_addr inside_its[2];
    int icmp[2]; /* raw sockets of its kernel */
    struct wg_host *host;
};

/* ---- wireguard-go ---- */

static void put_file(const char *name, const uint8_t key[KEY_SIZE])
{
    char path[64];
    uint8_t text[KEY_TEXT_MAX];
    struct writer w = writer_of((struct span){text, sizeof(text)});
    text_put_base64(&w, (struct view){key, KEY_SIZE}, true);
    snprintf(path, sizeof(path), INTEROP_DIR "/%s", name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, w.used, file), w.used);
    assert_int_equal(fclose(file), 0);
}

static void key_text(const uint8_t key[KEY_SIZE], char out[KEY_TEXT_MAX])
{
    memset(out, 0, KEY_TEXT_MAX);
    struct writer w = writer_of((struct span){(uint8_t *)out, KEY_TEXT_MAX - 1U});
    text_put_base64(&w, (struct view){key, KEY_SIZE}, true);
}

static void remove_peer(const struct world *world)
{
    char key[KEY_TEXT_MAX];
    key_text(world->ours.public_key.bytes, key);
    interop_shell(world->ns, "wg set %s peer %s remove", world->name, key);
}

/* Makes us a peer of wireguard-go; it forgets whatever sessions there were. */
static void set_peer(const struct world *world, const struct wg_psk *psk)
{
    char key[KEY_TEXT_MAX];
    key_text(world->ours.public_key.bytes, key);
    put_file("psk", psk->bytes);
    remove_peer(world);
    interop_shell(world->ns,
                  "wg set %s peer %s preshared-key " INTEROP_DIR
                  "/psk endpoint 10.9.0.2:%u allowed-ips 10.77.0.2/32,fd77::2/128",
                  world->name, key, OUR_PORT);
}

static void start_wireguard_go(struct world *world)
{
    /* One thread, so that a flood loads it on a machine with many processors, too. */
    const char *argv[] = {
        "env", "LOG_LEVEL=verbose", "GOMAXPROCS=1", "wireguard-go", "-f", world->name, NULL};
    interop_require("wireguard-go");
    interop_require("wg");
    world->child = interop_spawn(world->ns, "wireguard-go.log", argv);
    char socket_path[64];
    snprintf(socket_path, sizeof(socket_path), "/run/wireguard/%s.sock", world->name);
    for (unsigned i = 0; access(socket_path, F_OK) != 0; i++) {
        assert_true(i < 500 && interop_alive(&world->child));
        interop_wait(10);
    }
    put_file("key", world->its.private_key.bytes);
    interop_shell(world->ns,
                  "wg set %s private-key " INTEROP_DIR "/key listen-port %u; "
                  "ip addr add 10.77.0.1/24 dev %s; ip addr add fd77::1/64 dev %s nodad; "
                  "ip link set %s mtu 1280 up",
                  world->name, ITS_PORT, world->name, world->name, world->name);
}

static struct ip_addr address(const char *text)
{
    struct ip_addr ip;
    assert_true(ip_parse(view_text(text), &ip));
    return ip;
}

static int world_start(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    interop_begin(&world->interop, SECONDS_MAX);
    interop_rng(&world->rng);
    world->ns = interop_namespace(&world->interop);
    interop_link(world->interop.home, "10.9.0.2/24", world->ns, "10.9.0.1/24");
    snprintf(world->name, sizeof(world->name), "wgi%d", (int)getpid());
    x25519_generate(&world->ours, &world->rng);
    x25519_generate(&world->its, &world->rng);
    rng_bytes(&world->rng, world->psk.bytes, sizeof(world->psk.bytes));
    world->inside_ours[0] = address("10.77.0.2");
    world->inside_ours[1] = address("fd77::2");
    world->inside_its[0] = address("10.77.0.1");
    world->inside_its[1] = address("fd77::1");
    world->icmp[0] = interop_icmp(&world->interop, world->ns, IP_V4);
    world->icmp[1] = interop_icmp(&world->interop, world->ns, IP_V6);
    *state = world;
    start_wireguard_go(world);
    return 0;
}

static int world_end(void **state)
{
    struct world *world = *state;
    interop_stop(&world->child);
    free(world);
    return 0;
}

static int host_end(void **state)
{
    struct world *world = *state;
    wg_host_free(world->host);
    world->host = NULL;
    return 0;
}

/* ---- our side ---- */

static struct wg_host_config config_of(const struct world *world, enum wg_role role)
{
    struct wg_host_config config = {
        .local = sock_addr_of(ip_v4(10, 9, 0, 2), OUR_PORT),
        .own = world->ours.private_key,
        .remote_key = world->its.public_key,
        .psk = world->psk,
        .role = role,
        .handshakes_per_s = WG_HANDSHAKES_PER_S_DEFAULT,
        .backend = aead_backend_libsodium(),
    };
    if (role == WG_ROLE_CLIENT) {
        config.remote = sock_addr_of(ip_v4(10, 9, 0, 1), ITS_PORT);
    }
    return config;
}

static struct wg_host *host_new(struct world *world, const struct wg_host_config *config)
{
    world->host = wg_host_new(&world->interop, config);
    return world->host;
}

static bool has_session(const struct wg_host *host)
{
    return wg_peer_has_session(&host->peer, interop_now());
}

static bool is_at_rest(const struct wg_host *host)
{
    return !host->peer.attempting;
}

static bool has_confirmed(const struct wg_host *host)
{
    return host->confirmations > 0;
}

static bool has_been_renewed(const struct wg_host *host)
{
    return host->confirmations >= 2;
}

/* ---- pings ---- */

/* Its kernel pings us: this makes wireguard-go start a handshake when it has no session. */
static void it_pings(const struct world *world, size_t family, unsigned seq)
{
    uint8_t room[WG_HOST_SIZE_MAX];
    enum ip_family version = family == 0 ? IP_V4 : IP_V6;
    size_t header = family == 0 ? 20U : 40U;
    size_t len = wg_host_echo(version, &world->inside_its[family], &world->inside_ours[family], seq,
                              (struct span){room, sizeof(room)});
    struct sock_addr to = sock_addr_of(world->inside_ours[family], 0);
    assert_true(len > header);
    interop_send(world->icmp[family], &to, (struct view){room + header, len - header});
}

/* Counts the right answers that its kernel has got. */
static unsigned its_answers(const struct world *world, size_t family)
{
    uint8_t room[WG_HOST_ROOM];
    struct sock_addr from;
    size_t len = 0;
    unsigned count = 0;
    size_t header = family == 0 ? 20U : 0U; /* raw IPv6 sockets give no IP header */
    while (interop_receive(world->icmp[family], (struct span){room, sizeof(room)}, &from, &len)) {
        const uint8_t *icmp = room + header;
        bool is_reply = len >= header + 8U && icmp[0] == (family == 0 ? 0 : 129) &&
                        load_be16(icmp + 4) == WG_HOST_ECHO_ID;
        if (is_reply) {
            assert_true(wg_host_echo_is(family == 0 ? IP_V4 : IP_V6, load_be16(icmp + 6),
                                        (struct view){icmp + 8, len - header - 8U}));
            count++;
        }
    }
    return count;
}

static void it_pings_and_is_answered(const struct world *world, size_t family, unsigned count)
{
    unsigned answered = 0;
    for (unsigned seq = 0; seq < count; seq++) {
        it_pings(world, family, seq);
        if (seq % FLIGHT == FLIGHT - 1U || seq + 1U == count) {
            struct instant end = instant_add(interop_now(), DURATION_MS(ANSWER_MS));
            while (answered < seq + 1U && instant_before(interop_now(), end)) {
                wg_host_step(world->host);
                answered += its_answers(world, family);
            }
            assert_int_equal(answered, seq + 1U);
        }
    }
}

static void we_ping_and_are_answered(const struct world *world, size_t family, unsigned count)
{
    struct wg_host *host = world->host;
    memset(host->replied, 0, sizeof(host->replied));
    host->replies = 0;
    for (unsigned seq = 0; seq < count; seq++) {
        wg_host_ping(host, &world->inside_ours[family], &world->inside_its[family], seq);
        if (seq % FLIGHT == FLIGHT - 1U || seq + 1U == count) {
            struct instant end = instant_add(interop_now(), DURATION_MS(ANSWER_MS));
            while (host->replies < seq + 1U && instant_before(interop_now(), end)) {
                wg_host_step(host);
            }
            assert_int_equal(host->replies, seq + 1U);
        }
    }
    assert_int_equal(host->wrong_replies, 0);
}

static void pings_work(const struct world *world, unsigned count)
{
    for (size_t family = 0; family < 2U; family++) {
        it_pings_and_is_answered(world, family, count);
        we_ping_and_are_answered(world, family, count);
    }
}

/* ---- tests ---- */

static void wireguard_go_initiates_and_we_respond(void **state)
{
    struct world *world = *state;
    struct wg_host_config config = config_of(world, WG_ROLE_GATEWAY);
    struct wg_host *host = host_new(world, &config);
    set_peer(world, &world->psk);
    it_pings(world, 0, 0);
    assert_true(wg_host_until(host, has_confirmed, ANSWER_MS));
    wg_host_pass(host, 50);
    assert_int_equal(its_answers(world, 0), 1);
    assert_int_equal(host->received[WG_TYPE_INITIATION], 1);
    assert_int_equal(host->sent[WG_TYPE_INITIATION], 0);
    pings_work(world, 260);
}

static void we_initiate_and_wireguard_go_responds(void **state)
{
    struct world *world = *state;
    struct wg_host_config config = config_of(world, WG_ROLE_CLIENT);
    struct wg_host *host = host_new(world, &config);
    set_peer(world, &world->psk);
    wg_peer_initiate(&host->peer, interop_now());
    assert_true(wg_host_until(host, has_session, ANSWER_MS));
    assert_int_equal(host->received[WG_TYPE_RESPONSE], 1);
    pings_work(world, 260);
    assert_int_equal(host->received[WG_TYPE_INITIATION], 0);
}

static void a_backend_carries_traffic(struct world *world, const struct aead_backend *backend)
{
    struct wg_host_config config = config_of(world, WG_ROLE_GATEWAY);
    config.backend = *backend;
    struct wg_host *host = host_new(world, &config);
    set_peer(world, &world->psk);
    it_pings(world, 0, 0);
    assert_true(wg_host_until(host, has_confirmed, ANSWER_MS));
    wg_host_pass(host, 50);
    assert_int_equal(its_answers(world, 0), 1);
    pings_work(world, 128);
    assert_int_equal(host->refused[DROP_WG_TAG], 0);
    (void)host_end((void *[]){world});
}

static void every_instruction_set_of_ipsec_mb_carries_traffic(void **state)
{
    struct world *world = *state;
    size_t size = aead_ipsec_size();
    unsigned tried = 0;
    uint8_t *memory = size == 0 ? NULL : aligned_alloc(AEAD_IPSEC_ALIGN, size);
    for (enum aead_ipsec_arch arch = AEAD_IPSEC_SSE; arch < AEAD_IPSEC_ARCH_COUNT; arch++) {
        struct aead_backend backend;
        if (memory != NULL &&
            aead_ipsec_init((struct span){memory, size}, arch, &backend) == ERR_NONE) {
            a_backend_carries_traffic(world, &backend);
            print_message("carried by %s\n", backend.name);
            tried++;
        }
    }
    assert_true(tried > 0 || size == 0);
    free(memory);
}

static void keys_are_renewed_while_traffic_flows(void **state)
{
    struct world *world = *state;
    struct wg_host_config config = config_of(world, WG_ROLE_CLIENT);
    struct wg_host *host = host_new(world, &config);
    set_peer(world, &world->psk);
    for (unsigned round = 1; round <= 6; round++) {
        wg_peer_initiate(&host->peer, interop_now());
        struct instant end = instant_add(interop_now(), DURATION_MS(ANSWER_MS));
        while (host->received[WG_TYPE_RESPONSE] < round) {
            assert_true(instant_before(interop_now(), end));
            /* The old session carries what is sent meanwhile. */
            wg_host_ping(host, &world->inside_ours[0], &world->inside_its[0], round);
            wg_host_step(host);
        }
        wg_host_pass(host, 30); /* answers to the pings above */
        host->wrong_replies = 0;
        pings_work(world, 20);
    }
    assert_int_equal(host->sent[WG_TYPE_INITIATION], 6);
    assert_int_equal(host->refused[DROP_WG_TAG], 0);
    assert_int_equal(host->refused[DROP_WG_REPLAYED], 0);
}

static void both_may_initiate_at_once(void **state)
{
    struct world *world = *state;
    struct wg_host_config config = config_of(world, WG_ROLE_CLIENT);
    struct wg_host *host = host_new(world, &config);
    for (unsigned round = 0; round < 3; round++) {
        /* Of two that cross, ours may stay unanswered and is then repeated after 5 s. */
        assert_true(wg_host_until(host, is_at_rest, 2 * ANSWER_MS));
        set_peer(world, &world->psk);
        it_pings(world, 0, 0);
        wg_peer_initiate(&host->peer, interop_now());
        host->confirmations = 0;
        assert_true(wg_host_until(host, has_session, ANSWER_MS));
        wg_host_pass(host, 100);
        (void)its_answers(world, 0);
        pings_work(world, 20);
    }
    assert_true(host->received[WG_TYPE_INITIATION] >= 3);
    assert_true(host->sent[WG_TYPE_INITIATION] >= 3);
}

static void keepalives_of_wireguard_go_are_understood(void **state)
{
    struct world *world = *state;
    char key[KEY_TEXT_MAX];
    struct wg_host_config config = config_of(world, WG_ROLE_GATEWAY);
    struct wg_host *host = host_new(world, &config);
    set_peer(world, &world->psk);
    key_text(world->ours.public_key.bytes, key);
    interop_shell(world->ns, "wg set %s peer %s persistent-keepalive 1", world->name, key);
    wg_host_pass(host, 2500);
    assert_int_equal(host->confirmations, 1);
    assert_true(host->keepalives >= 2);
}

/* Silence of ours: what it sent stays unanswered for 15 s, and it renews the session. */
static void wireguard_go_renews_an_unanswered_session(void **state)
{
    struct world *world = *state;
    struct wg_host_config config = config_of(world, WG_ROLE_GATEWAY);
    struct wg_host *host = host_new(world, &config);
    set_peer(world, &world->psk);
    it_pings_and_is_answered(world, 0, 5);
    it_pings(world, 0, 0);
    interop_wait(SILENCE_MS);
    assert_true(wg_host_until(host, has_been_renewed, ANSWER_MS));
    wg_host_pass(host, 100);
    (void)its_answers(world, 0);
    pings_work(world, 20);
}

static void a_wrong_psk_gives_no_session(void **state)
{
    struct world *world = *state;
    struct wg_psk wrong = world->psk;
    wrong.bytes[31] ^= 0x80U;
    struct wg_host_config config = config_of(world, WG_ROLE_GATEWAY);
    struct wg_host *host = host_new(world, &config);
    set_peer(world, &wrong);
    it_pings(world, 0, 0);
    wg_host_pass(host, 300);
    assert_int_equal(host->received[WG_TYPE_INITIATION], 1);
    assert_int_equal(host->sent[WG_TYPE_RESPONSE], 1);
    assert_int_equal(host->confirmations, 0);
    assert_false(has_session(host));
    set_peer(world, &world->psk);
    it_pings_and_is_answered(world, 0, 5);
}

/* The client was told the new PSK, we hold it as pending: the restarted client gets in at once. */
static void a_new_psk_is_adopted_when_the_other_side_starts_anew(void **state)
{
    struct world *world = *state;
    struct wg_psk newer = world->psk;
    newer.bytes[0] ^= 1U;
    struct wg_host_config config = config_of(world, WG_ROLE_GATEWAY);
    struct wg_host *host = host_new(world, &config);
    set_peer(world, &world->psk);
    it_pings_and_is_answered(world, 0, 1);
    wg_peer_set_pending_psk(&host->peer, &newer, interop_now());
    it_pings_and_is_answered(world, 0, 20); /* the old session goes on */
    set_peer(world, &newer);
    it_pings_and_is_answered(world, 0, 20);
    assert_int_equal(host->received[WG_TYPE_INITIATION], 2);
    assert_int_equal(host->confirmations, 2);
}

/* ---- load ---- */

/* Reads everything; returns how many cookie replies there were. */
static unsigned cookies_at(int fd)
{
    uint8_t room[WG_HOST_ROOM];
    struct sock_addr from;
    size_t len = 0;
    unsigned count = 0;
    while (interop_receive(fd, (struct span){room, sizeof(room)}, &from, &len)) {
        count += wg_msg_type((struct view){room, len}) == WG_TYPE_COOKIE_REPLY ? 1U : 0U;
    }
    return count;
}

/* Sends initiations with a right mac1 and nothing else: each costs wireguard-go one X25519. Waits
 * until its queue is empty again; the load counts for one second more. */
static void flood(struct world *world, int fd)
{
    uint8_t junk[WG_INITIATION_SIZE];
    struct wg_mac_keys macs;
    struct sock_addr to = sock_addr_of(ip_v4(10, 9, 0, 1), ITS_PORT);
    wg_mac_keys_of(&macs, &world->its.public_key);
    for (unsigned i = 0; i < FLOOD; i++) {
        rng_bytes(&world->rng, junk, sizeof(junk));
        memcpy(junk, (const uint8_t[]){1, 0, 0, 0}, 4);
        wg_cookie_stamp((struct span){junk, sizeof(junk)}, &macs, NULL);
        interop_send(fd, &to, VIEW_OF(junk));
    }
    unsigned total = 0;
    unsigned fresh = 1;
    for (unsigned i = 0; i < 50 && fresh > 0; i++) {
        interop_wait(50);
        fresh = cookies_at(fd);
        total += fresh;
    }
    assert_int_equal(fresh, 0);
    assert_true(total > 0);
}

static void a_cookie_of_wireguard_go_gets_us_in_under_load(void **state)
{
    struct world *world = *state;
    struct wg_host_config config = config_of(world, WG_ROLE_CLIENT);
    struct wg_host *host = host_new(world, &config);
    struct sock_addr local = sock_addr_of(ip_v4(10, 9, 0, 2), 0);
    int fd = interop_udp(&world->interop, world->interop.home, &local);
    set_peer(world, &world->psk);
    flood(world, fd);
    wg_peer_initiate(&host->peer, interop_now());
    wg_host_pass(host, 300);
    assert_int_equal(host->received[WG_TYPE_COOKIE_REPLY], 1);
    assert_int_equal(host->received[WG_TYPE_RESPONSE], 0);
    assert_int_equal(host->refused[DROP_WG_COOKIE] + host->refused[DROP_WG_UNEXPECTED], 0);
    assert_false(host->sent_mac2);

    /* Load again just before our initiation is repeated. */
    struct instant retry_at = wg_peer_poll_timeout(&host->peer).at;
    assert_true(instant_before(interop_now(), instant_sub(retry_at, DURATION_MS(600))));
    interop_wait(instant_since(retry_at, interop_now()).ns / NS_PER_MS - 500U);
    flood(world, fd);
    assert_true(wg_host_until(host, has_session, RETRY_MS));
    assert_true(host->sent_mac2);
    assert_int_equal(host->sent[WG_TYPE_INITIATION], 2);
    assert_int_equal(host->received[WG_TYPE_COOKIE_REPLY], 1);
    pings_work(world, 20);
    close(fd);
}

static void our_cookie_gets_wireguard_go_in_under_load(void **state)
{
    struct world *world = *state;
    struct wg_host_config config = config_of(world, WG_ROLE_GATEWAY);
    config.handshakes_per_s = 0; /* always under load */
    struct wg_host *host = host_new(world, &config);
    set_peer(world, &world->psk);
    it_pings(world, 0, 0);
    assert_true(wg_host_until(host, has_confirmed, RETRY_MS));
    assert_int_equal(host->sent[WG_TYPE_COOKIE_REPLY], 1);
    assert_int_equal(host->received[WG_TYPE_INITIATION], 2);
    assert_true(host->received_mac2);
    wg_host_pass(host, 50);
    (void)its_answers(world, 0);
    pings_work(world, 20);
}

#define WITH_HOST(test) cmocka_unit_test_teardown(test, host_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_HOST(wireguard_go_initiates_and_we_respond),
        WITH_HOST(we_initiate_and_wireguard_go_responds),
        WITH_HOST(every_instruction_set_of_ipsec_mb_carries_traffic),
        WITH_HOST(keys_are_renewed_while_traffic_flows),
        WITH_HOST(both_may_initiate_at_once),
        WITH_HOST(keepalives_of_wireguard_go_are_understood),
        WITH_HOST(wireguard_go_renews_an_unanswered_session),
        WITH_HOST(a_wrong_psk_gives_no_session),
        WITH_HOST(a_new_psk_is_adopted_when_the_other_side_starts_anew),
        WITH_HOST(a_cookie_of_wireguard_go_gets_us_in_under_load),
        WITH_HOST(our_cookie_gets_wireguard_go_in_under_load),
    };
    int failed = cmocka_run_group_tests_name("wireguard-go", tests, world_start, world_end);
    if (failed != 0) {
        interop_print_logs();
    }
    return failed == 0 ? 0 : 1;
}
