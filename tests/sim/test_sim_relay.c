#include "sim/sim_relay.h"

#include <string.h>

#include "crypto/rng.h"
#include "portal/portal_credentials.h"
#include "sim/sim_relay_decode.h"
#include "stun/channel_data.h"
#include "stun/stun_auth.h"
#include "stun/stun_msg.h"
#include "tests/support/support.h"

#define SECRET_1 "4c98bf59c99b3e467ecd7cf9d6b3e5279645fca59be67bc5bb4af3cf653761ab"
#define USER_1   "1892160000:n23JJ2wKKtt30oXi"
#define UNIX_S   1735689600U

struct fixture {
    struct sim_relay *relay;
    struct sim_outbox *out;
    struct clock_pair now;
    struct sock_addr server;
    struct sock_addr client;
    uint8_t txn;
    char nonce[64];
    size_t nonce_len;
    uint8_t key[16];
    struct stun_msg answer;
    struct view answer_bytes;
    uint8_t answer_copy[2048];
};

/* What a request carries; zero: nothing. */
struct request {
    uint16_t method;
    const char *username;
    bool nonce;
    bool sign;
    bool wrong_key;
    bool no_transport;
    uint8_t transport;
    enum ip_family requested;
    enum ip_family additional;
    enum ip_family additional_old;
    bool has_lifetime;
    uint32_t lifetime;
    uint16_t channel;
    struct sock_addr peer;
    bool transport_in_refresh;
    bool same_txn;
};

static struct sock_addr address4(uint8_t last, uint16_t port)
{
    return sock_addr_of(ip_v4(203, 0, 113, last), port);
}

static struct sock_addr address6(uint8_t last, uint16_t port)
{
    uint8_t bytes[16] = {0x20, 0x01, 0x0d, 0xb8};
    bytes[15] = last;
    return sock_addr_of(ip_from_bytes(IP_V6, bytes), port);
}

static void start_with(struct fixture *f, struct sim_relay_config config,
                       struct sim_host_addresses addresses)
{
    memset(f, 0, sizeof *f);
    memcpy(config.secret, SECRET_1, sizeof SECRET_1);
    f->relay = sim_relay_new(&config);
    f->out = sim_outbox_new();
    f->now = (struct clock_pair){{NS_PER_S}, UNIX_S * NS_PER_S};
    f->server = address4(7, 3478);
    f->client = address4(30, 50000);
    char password[PORTAL_TURN_PASSWORD_SIZE];
    portal_credentials_turn_password(1892160000, view_text(SECRET_1), view_text("n23JJ2wKKtt30oXi"),
                                     password);
    assert_memory_equal(password, "00hqldgk5xLeKKOB+xls9mHMVtgqzie9DulfgQwMv68", 43);
    stun_long_term_key(view_text(USER_1), view_text("firezone"), VIEW_OF(password), f->key);
    sim_relay_handle_addresses(f->relay, f->now, &addresses, f->out);
    sim_outbox_clear(f->out);
}

static void start(struct fixture *f, enum sim_relay_mode mode)
{
    start_with(f, (struct sim_relay_config){.mode = mode},
               (struct sim_host_addresses){address4(7, 0).ip, address6(7, 0).ip});
}

static void stop(struct fixture *f)
{
    sim_relay_node(f->relay).ops->check(f->relay);
    sim_outbox_free(f->out);
    sim_relay_free(f->relay);
}

static void pass(struct fixture *f, uint64_t ms)
{
    f->now.boot.ns += ms * NS_PER_MS;
    f->now.unix_ns += ms * NS_PER_MS;
    if (instant_reached(f->now.boot, sim_relay_poll_timeout(f->relay).at)) {
        sim_relay_handle_timeout(f->relay, f->now, f->out);
    }
    assert_false(instant_reached(f->now.boot, sim_relay_poll_timeout(f->relay).at));
    sim_outbox_clear(f->out);
}

/* Returns how many datagrams came out; the last one is in f->answer_bytes. */
/* What the fast path would pass on, the node sends: exactly that. */
static void check_passage(const struct fixture *f, const struct sim_relay_passage *passage)
{
    assert_int_equal(sim_outbox_count(f->out), 1);
    const struct sim_datagram *sent = &sim_outbox_at(f->out, 0)->datagram;
    size_t front = passage->channel == 0 ? 0 : 4;
    assert_true(sock_addr_equal(&sent->local, &passage->local));
    assert_true(sock_addr_equal(&sent->remote, &passage->remote));
    assert_int_equal(sent->bytes.len, front + passage->payload.len);
    assert_memory_equal(sent->bytes.at + front, passage->payload.at, passage->payload.len);
    if (front != 0) {
        assert_int_equal(load_be16(sent->bytes.at), passage->channel);
        assert_int_equal(load_be16(sent->bytes.at + 2), passage->payload.len);
    }
}

/* True when `sent` is data that came out of or goes into a channel. */
static bool is_channel_traffic(const struct sim_datagram *came, struct view sent)
{
    bool to_peer = came->bytes.len > 4 && came->bytes.at[0] >= 0x40 &&
                   sent.len + 4 <= came->bytes.len && came->local.port == 3478;
    return to_peer || (sent.len > 4 && sent.at[0] >= 0x40 && came->local.port != 3478);
}

static size_t feed(struct fixture *f, struct sock_addr from, struct sock_addr to, struct view bytes)
{
    sim_outbox_clear(f->out);
    struct sim_datagram datagram = {.local = to, .remote = from, .bytes = bytes};
    struct sim_relay_passage passage;
    bool passes = sim_relay_pass(f->relay, f->now, &datagram, &passage);
    sim_relay_handle_datagram(f->relay, f->now, &datagram, f->out);
    if (passes) {
        check_passage(f, &passage);
    }
    size_t count = 0;
    for (size_t i = 0; i < sim_outbox_count(f->out); i++) {
        const struct sim_out *out = sim_outbox_at(f->out, i);
        if (out->kind == SIM_OUT_DATAGRAM) {
            count++;
            if (out->datagram.bytes.len > 0) {
                memcpy(f->answer_copy, out->datagram.bytes.at, out->datagram.bytes.len);
            }
            f->answer_bytes = (struct view){f->answer_copy, out->datagram.bytes.len};
            assert_true(passes || !is_channel_traffic(&datagram, f->answer_bytes));
        }
    }
    return count;
}

static const struct sim_datagram *sent(struct fixture *f)
{
    for (size_t i = 0; i < sim_outbox_count(f->out); i++) {
        if (sim_outbox_at(f->out, i)->kind == SIM_OUT_DATAGRAM) {
            return &sim_outbox_at(f->out, i)->datagram;
        }
    }
    return NULL;
}

static struct view build(struct fixture *f, const struct request *r, struct span room)
{
    struct stun_txn txn = {{r->same_txn ? f->txn : ++f->txn, 2, 3}};
    struct stun_writer s;
    stun_start(&s, room, r->method, STUN_REQUEST, &txn);
    if ((r->method == STUN_ALLOCATE && !r->no_transport) || r->transport_in_refresh) {
        stun_put_requested_transport(&s, r->transport != 0 ? r->transport : STUN_TRANSPORT_UDP);
    }
    if (r->requested != IP_NONE) {
        stun_put_family(&s, STUN_ATTR_REQUESTED_ADDRESS_FAMILY, r->requested);
    }
    if (r->additional != IP_NONE) {
        stun_put_family(&s, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, r->additional);
    }
    if (r->additional_old != IP_NONE) {
        stun_put_family(&s, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY_DRAFT, r->additional_old);
    }
    if (r->has_lifetime) {
        stun_put_lifetime(&s, r->lifetime);
    }
    if (r->peer.ip.family != IP_NONE) {
        stun_put_xor_address(&s, STUN_ATTR_XOR_PEER_ADDRESS, &r->peer);
    }
    if (r->channel != 0) {
        stun_put_channel_number(&s, r->channel);
    }
    if (r->username != NULL) {
        stun_put_username(&s, view_text(r->username));
        stun_put_realm(&s, view_text("firezone"));
    }
    if (r->nonce) {
        stun_put_nonce(&s, (struct view){(const uint8_t *)f->nonce, f->nonce_len});
    }
    if (r->sign) {
        uint8_t key[16];
        memcpy(key, f->key, 16);
        key[0] ^= r->wrong_key ? 1 : 0;
        stun_put_integrity(&s, VIEW_OF(key));
    }
    return stun_finish(&s);
}

/* Sends the request and returns the error code of the answer, 0 for success, -1 for silence. */
static int ask_from(struct fixture *f, struct sock_addr client, const struct request *r)
{
    uint8_t room[1024];
    struct view bytes = build(f, r, (struct span){room, sizeof room});
    if (feed(f, client, f->server, bytes) == 0) {
        return -1;
    }
    assert_int_equal(stun_msg_decode(f->answer_bytes, &f->answer), DROP_NONE);
    assert_int_equal(f->answer.method, r->method);
    assert_int_equal(f->answer.txn.bytes[0], f->txn);
    assert_true(sock_addr_equal(&sent(f)->local, &f->server));
    assert_true(sock_addr_equal(&sent(f)->remote, &client));
    if (f->answer.nonce.at != NULL) {
        f->nonce_len = f->answer.nonce.len;
        memcpy(f->nonce, f->answer.nonce.at, f->nonce_len);
    }
    return f->answer.class == STUN_SUCCESS ? 0 : f->answer.error_code;
}

static int ask(struct fixture *f, const struct request *r)
{
    return ask_from(f, f->client, r);
}

static bool answer_is_signed(const struct fixture *f)
{
    return f->answer.integrity_at != 0 &&
           stun_msg_check_integrity(f->answer_bytes, &f->answer, VIEW_OF(f->key));
}

static struct request full(uint16_t method)
{
    return (struct request){.method = method, .username = USER_1, .nonce = true, .sign = true};
}

/* Gets a nonce the way the mode permits. */
static void challenge(struct fixture *f)
{
    int code = ask(f, &(struct request){.method = STUN_ALLOCATE});
    assert_int_equal(code, 401);
}

static void allocate(struct fixture *f)
{
    challenge(f);
    struct request r = full(STUN_ALLOCATE);
    r.additional = IP_V6;
    r.additional_old = IP_V6;
    int code = ask(f, &r);
    assert_int_equal(code, 0);
    assert_true(answer_is_signed(f));
}

static int bind_channel(struct fixture *f, uint16_t number, struct sock_addr peer)
{
    struct request r = full(STUN_CHANNEL_BIND);
    r.channel = number;
    r.peer = peer;
    return ask(f, &r);
}

/* ---- section 3.1 ---- */

static void test_refresh_response_of_the_vector_has_the_right_key(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    uint8_t key[16];
    support_unhex("e444d93976b92ec355c14337c9a9d3fb", key, sizeof key);
    assert_memory_equal(f.key, key, 16);
    allocate(&f);
    /* A REFRESH with the transaction id of the vector gives the bytes of the vector. */
    uint8_t room[512];
    struct stun_txn txn;
    support_unhex("0102030405060708090a0b0c", txn.bytes, sizeof txn.bytes);
    struct stun_writer s;
    stun_start(&s, (struct span){room, sizeof room}, STUN_REFRESH, STUN_REQUEST, &txn);
    stun_put_lifetime(&s, 600);
    stun_put_username(&s, view_text(USER_1));
    stun_put_nonce(&s, (struct view){(const uint8_t *)f.nonce, f.nonce_len});
    stun_put_integrity(&s, VIEW_OF(f.key));
    assert_int_equal(feed(&f, f.client, f.server, stun_finish(&s)), 1);
    uint8_t expected[64];
    size_t len = support_unhex("010400202112a4420102030405060708090a0b0c000d000400000258"
                               "0008001424c16cce400045469cf29260fcad9b3ef4809212",
                               expected, sizeof expected);
    assert_int_equal(f.answer_bytes.len, len);
    assert_memory_equal(f.answer_bytes.at, expected, len);
    stop(&f);
}

/* ---- section 2 ---- */

static void test_first_byte_decides_and_the_rest_is_silence(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    uint8_t byte[24] = {0};
    assert_int_equal(feed(&f, f.client, f.server, (struct view){byte, 0}), 0);
    for (unsigned first = 0; first < 256; first++) {
        byte[0] = (uint8_t)first;
        assert_int_equal(feed(&f, f.client, f.server, VIEW_OF(byte)), 0);
    }
    stop(&f);
}

static void test_binding_tells_the_address_and_nothing_else(void **state)
{
    (void)state;
    const enum sim_relay_mode modes[] = {SIM_RELAY_V142, SIM_RELAY_HEAD, SIM_RELAY_COTURN};
    for (unsigned i = 0; i < 3; i++) {
        struct fixture f;
        start(&f, modes[i]);
        assert_int_equal(ask(&f, &(struct request){.method = STUN_BINDING}), 0);
        assert_true(sock_addr_equal(&f.answer.mapped, &f.client));
        assert_int_equal(f.answer.integrity_at, 0);
        assert_int_equal(f.answer.software.at != NULL, modes[i] != SIM_RELAY_V142);
        if (modes[i] == SIM_RELAY_V142) {
            assert_int_equal(f.answer_bytes.len, 20 + 12);
        }
        f.client = address6(30, 50000);
        f.server = address6(7, 3478);
        assert_int_equal(ask(&f, &(struct request){.method = STUN_BINDING}), 0);
        assert_true(sock_addr_equal(&f.answer.mapped, &f.client));
        stop(&f);
    }
}

static void test_unknown_requests_get_400_indications_nothing(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    assert_int_equal(ask(&f, &(struct request){.method = 0x00B}), 400);
    assert_int_equal(f.answer.integrity_at, 0);
    uint8_t room[128];
    for (unsigned class = 1; class < 4; class ++) {
        struct stun_writer s;
        struct stun_txn txn = {{9}};
        stun_start(&s, (struct span){room, sizeof room}, STUN_SEND, (enum stun_class) class, &txn);
        assert_int_equal(feed(&f, f.client, f.server, stun_finish(&s)), 0);
    }
    stop(&f);
}

static void test_broken_attributes_are_400_by_value_and_500_by_length(void **state)
{
    (void)state;
    static const struct {
        uint16_t type;
        const char *value;
        int code;
    } rows[] = {
        {STUN_ATTR_LIFETIME, "0000", 500},
        {STUN_ATTR_LIFETIME, "000002580000", 500},
        {STUN_ATTR_MESSAGE_INTEGRITY, "00", 500},
        {STUN_ATTR_XOR_PEER_ADDRESS, "0003aaaa00000000", 400},
        {STUN_ATTR_XOR_PEER_ADDRESS, "0001aaaa000000", 500},
        {STUN_ATTR_XOR_PEER_ADDRESS, "00", 500},
        {STUN_ATTR_REQUESTED_ADDRESS_FAMILY, "03000000", 400},
        {STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, "01", 500},
        {STUN_ATTR_USERNAME, "ff", 400},
        {STUN_ATTR_NONCE, "c0af", 400},
        {STUN_ATTR_CHANNEL_NUMBER, "50000000", 400},
        {STUN_ATTR_CHANNEL_NUMBER, "3fff0000", 400},
    };
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t value[32];
        size_t len = support_unhex(rows[i].value, value, sizeof value);
        uint8_t room[128];
        struct stun_writer s;
        struct stun_txn txn = {{(uint8_t)(i + 1)}};
        stun_start(&s, (struct span){room, sizeof room}, STUN_CHANNEL_BIND, STUN_REQUEST, &txn);
        stun_put(&s, rows[i].type, (struct view){value, len});
        assert_int_equal(feed(&f, f.client, f.server, stun_finish(&s)), 1);
        assert_int_equal(stun_msg_decode(f.answer_bytes, &f.answer), DROP_NONE);
        assert_int_equal(f.answer.error_code, rows[i].code);
        assert_int_equal(f.answer.integrity_at, 0);
        assert_null(f.answer.nonce.at);
    }
    stop(&f);
}

static void test_missing_required_attributes_are_400_before_authentication(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    struct request r = full(STUN_ALLOCATE);
    r.nonce = false;
    r.no_transport = true;
    assert_int_equal(ask(&f, &r), 400);
    assert_int_equal(f.answer.integrity_at, 0);
    assert_int_equal(ask(&f, &(struct request){.method = STUN_CHANNEL_BIND, .channel = 0x4000}),
                     400);
    assert_int_equal(
        ask(&f, &(struct request){.method = STUN_CHANNEL_BIND, .peer = address4(9, 9)}), 400);
    stop(&f);
}

static void test_trailing_and_missing_bytes_are_silence(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    uint8_t room[256];
    struct request r = {.method = STUN_ALLOCATE};
    struct view bytes = build(&f, &r, (struct span){room, sizeof room});
    for (size_t len = 0; len < bytes.len; len++) {
        assert_int_equal(feed(&f, f.client, f.server, view_sub(bytes, 0, len)), 0);
    }
    room[bytes.len] = 0;
    assert_int_equal(feed(&f, f.client, f.server, (struct view){room, bytes.len + 4}), 0);
    assert_int_equal(feed(&f, f.client, f.server, bytes), 1);
    stop(&f);
}

/* ---- section 3 ---- */

static void test_order_of_checks_in_authentication(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    struct request r = {.method = STUN_REFRESH};
    assert_int_equal(ask(&f, &r), 401); /* no integrity */
    assert_int_equal(f.answer.integrity_at, 0);
    r.sign = true;
    assert_int_equal(ask(&f, &r), 401); /* no user name */
    r.username = USER_1;
    assert_int_equal(ask(&f, &r), 401); /* no nonce; signed with the right key */
    assert_true(answer_is_signed(&f));
    assert_true(view_equal_text(f.answer.realm, "firezone"));
    assert_int_equal(f.answer.nonce.len, 36);
    r.nonce = true;
    memcpy(f.nonce, "not a uuid", 10);
    f.nonce_len = 10;
    assert_int_equal(ask(&f, &r), 401);
    memcpy(f.nonce, "00000000-0000-0000-0000-000000000000", 36);
    f.nonce_len = 36;
    assert_int_equal(ask(&f, &r), 438);
    assert_true(answer_is_signed(&f));
    r.wrong_key = true;
    assert_int_equal(ask(&f, &r), 401);
    assert_true(answer_is_signed(&f)); /* with the key that the sender lacks */
    r.wrong_key = false;
    assert_int_equal(ask(&f, &r), 437); /* authenticated */
    r.username = "1892160000:a:b";
    assert_int_equal(ask(&f, &r), -1); /* cannot be signed */
    r.username = "1735689599:n23JJ2wKKtt30oXi";
    assert_int_equal(ask(&f, &r), 401); /* expired */
    stop(&f);
}

static void test_a_nonce_serves_exactly_100_requests_of_anybody(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    challenge(&f);
    struct request r = full(STUN_CREATE_PERMISSION);
    char nonce[36];
    memcpy(nonce, f.nonce, 36);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(ask_from(&f, address4((uint8_t)i, 1000), &r), 0);
    }
    assert_int_equal(ask(&f, &r), 438);
    assert_memory_not_equal(f.nonce, nonce, 36);
    assert_int_equal(ask(&f, &r), 0);
    stop(&f);
}

static void test_head_binds_nonces_to_the_socket_and_repeats_them(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_HEAD);
    challenge(&f);
    char nonce[36];
    memcpy(nonce, f.nonce, 36);
    challenge(&f);
    assert_memory_equal(f.nonce, nonce, 36);
    struct request r = full(STUN_CREATE_PERMISSION);
    assert_int_equal(ask_from(&f, address4(31, 1), &r), 438);
    memcpy(f.nonce, nonce, 36);
    for (unsigned i = 0; i < 10000; i++) {
        assert_int_equal(ask(&f, &r), 0);
    }
    assert_int_equal(ask(&f, &r), 438);
    assert_true(view_equal_text(view_sub(f.answer.software, 0, 19), "firezone-relay; rev"));
    f.client.port = 0;
    assert_int_equal(ask(&f, &(struct request){.method = STUN_BINDING}), -1);
    stop(&f);
}

static void test_nonce_fault_uses_them_up_early(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    sim_relay_faults(f.relay)->nonce_uses = 2;
    challenge(&f);
    struct request r = full(STUN_CREATE_PERMISSION);
    assert_int_equal(ask(&f, &r), 0);
    assert_int_equal(ask(&f, &r), 0);
    assert_int_equal(ask(&f, &r), 438);
    assert_int_equal(ask(&f, &r), 0);
    stop(&f);
}

/* ---- section 4 ---- */

static void test_allocation_families_follow_the_table(void **state)
{
    (void)state;
    enum { V4 = 1, V6 = 2 };
    static const struct {
        int stack;
        enum ip_family requested;
        enum ip_family additional;
        int result; /* code, or families | 1000 */
    } rows[] = {
        {V4, IP_NONE, IP_NONE, 1000 | V4},
        {V4 | V6, IP_V4, IP_NONE, 1000 | V4},
        {V6, IP_V6, IP_NONE, 1000 | V6},
        {V4 | V6, IP_V6, IP_NONE, 1000 | V6},
        {V4 | V6, IP_NONE, IP_V6, 1000 | V4 | V6},
        {V4, IP_NONE, IP_V6, 1000 | V4},
        {V6, IP_NONE, IP_V6, 1000 | V6},
        {V4 | V6, IP_V4, IP_V6, 400},
        {V4 | V6, IP_NONE, IP_V4, 400},
        {V6, IP_NONE, IP_NONE, 440},
        {V6, IP_V4, IP_NONE, 440},
        {V4, IP_V6, IP_NONE, 440},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (unsigned by_fault = 0; by_fault < 2; by_fault++) {
            struct fixture f;
            bool v4 = (rows[i].stack & V4) != 0;
            bool v6 = (rows[i].stack & V6) != 0;
            struct sim_host_addresses addresses = {0};
            if (v4 || by_fault != 0) {
                addresses.ipv4 = address4(7, 0).ip;
            }
            if (v6 || by_fault != 0) {
                addresses.ipv6 = address6(7, 0).ip;
            }
            start_with(&f, (struct sim_relay_config){.mode = SIM_RELAY_V142}, addresses);
            if (by_fault != 0 && (!v4 || !v6)) {
                sim_relay_faults(f.relay)->family_only = v4 ? IP_V4 : IP_V6;
            }
            challenge(&f);
            struct request r = full(STUN_ALLOCATE);
            r.requested = rows[i].requested;
            r.additional = rows[i].additional;
            int code = ask(&f, &r);
            if (rows[i].result < 1000) {
                assert_int_equal(code, rows[i].result);
                assert_true(answer_is_signed(&f));
            } else {
                assert_int_equal(code, 0);
                assert_int_equal(f.answer.relayed_v4.ip.family != IP_NONE,
                                 ((rows[i].result - 1000) & V4) != 0);
                assert_int_equal(f.answer.relayed_v6.ip.family != IP_NONE,
                                 ((rows[i].result - 1000) & V6) != 0);
                uint16_t port = f.answer.relayed_v4.port | f.answer.relayed_v6.port;
                assert_true(port >= 49152);
                assert_true(f.answer.relayed_v4.port == 0 || f.answer.relayed_v4.port == port);
                assert_true(f.answer.relayed_v6.port == 0 || f.answer.relayed_v6.port == port);
                assert_true(sock_addr_equal(&f.answer.mapped, &f.client));
                assert_int_equal(f.answer.lifetime_s, 600);
            }
            stop(&f);
        }
    }
}

static void test_second_allocate_is_437_even_with_the_same_transaction(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    allocate(&f);
    struct request r = full(STUN_ALLOCATE);
    r.same_txn = true;
    assert_int_equal(ask(&f, &r), 437);
    assert_true(answer_is_signed(&f));
    r.method = STUN_REFRESH;
    r.has_lifetime = true;
    assert_int_equal(ask(&f, &r), 0);
    assert_int_equal(f.answer.lifetime_s, 0);
    r = full(STUN_ALLOCATE);
    assert_int_equal(ask(&f, &r), 0);
    stop(&f);
}

static void test_lifetimes_are_capped_and_end_inclusively(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    challenge(&f);
    struct request r = full(STUN_ALLOCATE);
    r.has_lifetime = true;
    r.lifetime = 99999;
    assert_int_equal(ask(&f, &r), 0);
    assert_int_equal(f.answer.lifetime_s, 3600);
    r = full(STUN_REFRESH);
    r.has_lifetime = true;
    r.lifetime = 5;
    assert_int_equal(ask(&f, &r), 0);
    assert_int_equal(f.answer.lifetime_s, 5);
    pass(&f, 4999);
    assert_int_equal(sim_relay_allocations(f.relay), 1);
    pass(&f, 1);
    assert_int_equal(sim_relay_allocations(f.relay), 0);
    assert_int_equal(ask(&f, &r), 437);
    stop(&f);
}

static void test_a_full_range_is_508(void **state)
{
    (void)state;
    struct fixture f;
    start_with(&f,
               (struct sim_relay_config){
                   .mode = SIM_RELAY_V142, .port_lowest = 60000, .port_highest = 60002},
               (struct sim_host_addresses){address4(7, 0).ip, {0}});
    challenge(&f);
    struct request r = full(STUN_ALLOCATE);
    for (uint8_t i = 0; i < 3; i++) {
        assert_int_equal(ask_from(&f, address4(i, 1), &r), 0);
    }
    assert_int_equal(ask_from(&f, address4(100, 1), &r), 508);
    r = full(STUN_REFRESH);
    r.has_lifetime = true;
    assert_int_equal(ask_from(&f, address4(1, 1), &r), 0);
    r = full(STUN_ALLOCATE);
    assert_int_equal(ask_from(&f, address4(100, 1), &r), 0);
    stop(&f);
}

static void test_the_allocation_table_is_full_at_its_capacity(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    sim_relay_faults(f.relay)->nonce_uses = 1000000;
    challenge(&f);
    struct request r = full(STUN_ALLOCATE);
    for (uint16_t i = 0; i < SIM_RELAY_ALLOCATIONS_MAX; i++) {
        assert_int_equal(ask_from(&f, address4(9, (uint16_t)(1000 + i)), &r), 0);
    }
    assert_int_equal(ask_from(&f, address4(9, 999), &r), 508);
    stop(&f);
}

static void test_wrong_transport_is_400_and_fault_508_comes_first(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    challenge(&f);
    struct request r = full(STUN_ALLOCATE);
    r.transport = 6;
    assert_int_equal(ask(&f, &r), 400);
    assert_true(answer_is_signed(&f));
    sim_relay_faults(f.relay)->full = true;
    assert_int_equal(ask(&f, &r), 508);
    assert_int_equal(sim_relay_errors(f.relay, 508), 1);
    stop(&f);
}

static void test_head_gives_a_user_name_one_allocation(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_HEAD);
    allocate(&f);
    f.client = address4(31, 2);
    allocate(&f);
    assert_int_equal(sim_relay_allocations(f.relay), 1);
    struct request r = full(STUN_REFRESH);
    assert_int_equal(ask(&f, &r), 0);
    stop(&f);
}

/* ---- section 6 ---- */

static void test_channel_binding_follows_its_life_cycle(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    struct sock_addr a = address4(40, 1000);
    struct sock_addr b = address4(40, 1001);
    challenge(&f);
    struct request bind = full(STUN_CHANNEL_BIND);
    bind.channel = 0x4000;
    bind.peer = a;
    assert_int_equal(ask(&f, &bind), 437);
    struct request r = full(STUN_ALLOCATE);
    r.has_lifetime = true;
    r.lifetime = 3600;
    assert_int_equal(ask(&f, &r), 0);
    assert_int_equal(bind_channel(&f, 0x4000, address6(1, 1)), 443);
    assert_int_equal(bind_channel(&f, 0x4000, a), 0);
    assert_int_equal(f.answer_bytes.len, 20 + 24); /* MESSAGE-INTEGRITY alone */
    assert_int_equal(bind_channel(&f, 0x4001, a), 400);
    assert_int_equal(bind_channel(&f, 0x4000, b), 400);
    assert_int_equal(bind_channel(&f, 0x4001, b), 0);
    pass(&f, 599999);
    assert_int_equal(bind_channel(&f, 0x4000, a), 0); /* 0x4000 lives on */
    pass(&f, 1);                                      /* 0x4001 is unbound now */
    assert_int_equal(sim_relay_counters(f.relay)->channels_expired, 1);
    assert_int_equal(bind_channel(&f, 0x4001, a), 400);
    assert_int_equal(bind_channel(&f, 0x4002, b), 400);
    pass(&f, 299999);
    assert_int_equal(bind_channel(&f, 0x4002, b), 400);
    pass(&f, 1);
    assert_int_equal(bind_channel(&f, 0x4002, b), 0);
    r = full(STUN_REFRESH);
    r.has_lifetime = true;
    assert_int_equal(ask(&f, &r), 0);
    assert_int_equal(ask(&f, &(struct request){.method = STUN_ALLOCATE,
                                               .username = USER_1,
                                               .nonce = true,
                                               .sign = true}),
                     0);
    assert_int_equal(bind_channel(&f, 0x4005, a), 0); /* no cool-down after deletion */
    stop(&f);
}

static void test_an_unbound_channel_can_be_bound_again_to_its_peer(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    sim_relay_faults(f.relay)->binding_lifetime_s = 10;
    allocate(&f);
    struct sock_addr relayed = f.answer.relayed_v4;
    assert_int_equal(bind_channel(&f, 0x4000, address4(40, 1000)), 0);
    uint8_t payload[3] = {1, 2, 3};
    assert_int_equal(feed(&f, address4(40, 1000), relayed, VIEW_OF(payload)), 1);
    pass(&f, 10000);
    assert_int_equal(feed(&f, address4(40, 1000), relayed, VIEW_OF(payload)), 0);
    assert_int_equal(bind_channel(&f, 0x4000, address4(40, 1000)), 0);
    assert_int_equal(feed(&f, address4(40, 1000), relayed, VIEW_OF(payload)), 1);
    stop(&f);
}

static void test_data_flows_both_ways_and_only_for_the_exact_peer(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    allocate(&f);
    struct sock_addr v4 = f.answer.relayed_v4;
    struct sock_addr v6 = f.answer.relayed_v6;
    struct sock_addr peer = address4(40, 1000);
    struct sock_addr peer6 = address6(40, 1000);
    assert_int_equal(bind_channel(&f, 0x4000, peer), 0);
    assert_int_equal(bind_channel(&f, 0x4FFF, peer6), 0);
    uint8_t data[] = {0x40, 0x00, 0x00, 0x03, 'a', 'b', 'c', 0xEE};
    assert_int_equal(feed(&f, f.client, f.server, VIEW_OF(data)), 1); /* with a byte too many */
    assert_true(sock_addr_equal(&sent(&f)->local, &v4));
    assert_true(sock_addr_equal(&sent(&f)->remote, &peer));
    assert_true(view_equal_text(sent(&f)->bytes, "abc"));
    data[0] = 0x4F;
    data[1] = 0xFF;
    data[3] = 0;
    assert_int_equal(feed(&f, f.client, f.server, (struct view){data, 4}), 1); /* empty, to v6 */
    assert_true(sock_addr_equal(&sent(&f)->local, &v6));
    assert_int_equal(sent(&f)->bytes.len, 0);
    assert_int_equal(feed(&f, peer, v4, view_text("xyz")), 1);
    assert_true(sock_addr_equal(&sent(&f)->local, &f.server));
    assert_true(sock_addr_equal(&sent(&f)->remote, &f.client));
    assert_memory_equal(sent(&f)->bytes.at, "\x40\x00\x00\x03xyz", 7);
    assert_int_equal(sent(&f)->bytes.len, 7);
    assert_int_equal(feed(&f, address4(40, 1001), v4, view_text("xyz")), 0); /* other port */
    assert_int_equal(feed(&f, address4(41, 1000), v4, view_text("xyz")), 0); /* other address */
    assert_int_equal(feed(&f, peer, address4(7, 50001), view_text("x")), 0); /* no allocation */
    data[1] = 0xFE;                                                          /* unbound */
    assert_int_equal(feed(&f, f.client, f.server, (struct view){data, 4}), 0);
    data[1] = 0xFF;
    data[3] = 5; /* longer than the datagram */
    assert_int_equal(feed(&f, f.client, f.server, VIEW_OF(data)), 0);
    assert_int_equal(feed(&f, address4(99, 9), f.server, (struct view){data, 4}), 0);
    stop(&f);
}

static void test_ebpf_mode_drops_inexact_lengths(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_HEAD_EBPF);
    allocate(&f);
    assert_int_equal(bind_channel(&f, 0x4000, address4(40, 1000)), 0);
    uint8_t data[] = {0x40, 0x00, 0x00, 0x03, 'a', 'b', 'c', 0};
    assert_int_equal(feed(&f, f.client, f.server, VIEW_OF(data)), 0);
    assert_int_equal(feed(&f, f.client, f.server, (struct view){data, 7}), 1);
    stop(&f);
}

/* ---- section 7 ---- */

static void test_create_permission_succeeds_without_allocation(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    challenge(&f);
    struct request r = full(STUN_CREATE_PERMISSION);
    assert_int_equal(ask(&f, &r), 0);
    assert_int_equal(f.answer_bytes.len, 20 + 24);
    r.sign = false;
    assert_int_equal(ask(&f, &r), 401);
    stop(&f);
}

/* ---- section 12: faults ---- */

static void test_restart_voids_nonces_first_and_credentials_then(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    allocate(&f);
    uint8_t seed[32] = {7};
    sim_relay_restart(f.relay, seed, f.out);
    assert_string_not_equal(sim_relay_secret(f.relay), SECRET_1);
    assert_int_equal(strlen(sim_relay_secret(f.relay)), 64);
    struct request r = full(STUN_REFRESH);
    assert_int_equal(ask(&f, &r), 438);
    assert_false(answer_is_signed(&f));
    assert_int_equal(ask(&f, &r), 401);
    assert_int_equal(sim_relay_allocations(f.relay), 0);
    stop(&f);
}

static void test_state_loss_keeps_the_secret(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    allocate(&f);
    sim_outbox_clear(f.out);
    sim_relay_forget(f.relay, f.out);
    assert_int_equal(sim_outbox_count(f.out), 2); /* both ports are given back */
    assert_int_equal(sim_outbox_at(f.out, 0)->kind, SIM_OUT_UNBIND);
    struct request r = full(STUN_REFRESH);
    assert_int_equal(ask(&f, &r), 438);
    assert_int_equal(ask(&f, &r), 437);
    assert_true(answer_is_signed(&f));
    stop(&f);
}

static void test_deaf_window_loses_data_but_not_requests(void **state)
{
    (void)state;
    struct fixture f;
    unsigned deaf = 0;
    for (uint8_t seed = 0; seed < 20; seed++) {
        struct sim_relay_config config = {.mode = SIM_RELAY_V142, .seed = {seed}};
        start_with(&f, config, (struct sim_host_addresses){address4(7, 0).ip, address6(7, 0).ip});
        sim_relay_faults(f.relay)->deaf_max = DURATION_MS(1000);
        allocate(&f);
        struct sock_addr relayed = f.answer.relayed_v4;
        assert_int_equal(bind_channel(&f, 0x4000, address4(40, 1000)), 0);
        deaf += feed(&f, address4(40, 1000), relayed, view_text("x")) == 0;
        pass(&f, 1000);
        assert_int_equal(feed(&f, address4(40, 1000), relayed, view_text("x")), 1);
        stop(&f);
    }
    assert_true(deaf > 15);
}

static void test_switches_silence_and_unsigned_and_rejected(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    allocate(&f);
    struct request r = full(STUN_ALLOCATE);
    sim_relay_faults(f.relay)->unsigned_errors = true;
    assert_int_equal(ask(&f, &r), 437);
    assert_int_equal(f.answer.integrity_at, 0);
    sim_relay_faults(f.relay)->reject_credentials = true;
    assert_int_equal(ask(&f, &r), 401);
    sim_relay_faults(f.relay)->reject_credentials = false;
    sim_relay_faults(f.relay)->lifetime_max_s = 30;
    r = full(STUN_REFRESH);
    assert_int_equal(ask(&f, &r), 0);
    assert_int_equal(f.answer.lifetime_s, 30);
    assert_int_equal(bind_channel(&f, 0x4000, address4(40, 1)), 0);
    sim_relay_expire_channels(f.relay);
    uint8_t data[] = {0x40, 0, 0, 0};
    assert_int_equal(feed(&f, f.client, f.server, VIEW_OF(data)), 0);
    sim_relay_faults(f.relay)->drop_requests = true;
    assert_int_equal(ask(&f, &r), -1);
    assert_int_equal(ask(&f, &(struct request){.method = STUN_BINDING}), 0);
    sim_relay_faults(f.relay)->silent = true;
    assert_int_equal(ask(&f, &(struct request){.method = STUN_BINDING}), -1);
    stop(&f);
}

static void test_credentials_expire_in_the_middle_of_a_session(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_V142);
    allocate(&f);
    f.now.unix_ns = UINT64_C(1892160000) * NS_PER_S;
    struct request r = full(STUN_REFRESH);
    assert_int_equal(ask(&f, &r), 0);
    f.now.unix_ns += NS_PER_S;
    assert_int_equal(ask(&f, &r), 401);
    stop(&f);
}

/* ---- section 10.4: coturn ---- */

static void test_coturn_wants_a_first_allocate_without_credentials(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_COTURN);
    struct request r = full(STUN_ALLOCATE);
    r.nonce = false;
    assert_int_equal(ask(&f, &r), 400);
    assert_int_equal(f.answer.integrity_at, 0);
    challenge(&f);
    assert_int_equal(f.answer.integrity_at, 0);
    assert_int_equal(f.nonce_len, 16);
    assert_true(f.answer.nonce.at < f.answer.realm.at); /* NONCE, REALM */
    r.nonce = true;
    r.wrong_key = true;
    assert_int_equal(ask(&f, &r), 401);
    assert_int_equal(f.answer.integrity_at, 0);
    r.wrong_key = false;
    assert_int_equal(ask(&f, &r), 0);
    assert_true(answer_is_signed(&f));
    stop(&f);
}

static void test_coturn_nonces_belong_to_a_socket_and_last_600_s(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_COTURN);
    allocate(&f);
    struct request r = full(STUN_REFRESH);
    r.has_lifetime = true;
    r.lifetime = 3600;
    assert_int_equal(ask(&f, &r), 0);
    pass(&f, 599000);
    assert_int_equal(ask(&f, &r), 0);
    pass(&f, 1000);
    assert_int_equal(ask(&f, &r), 438);
    assert_int_equal(f.answer.integrity_at, 0);
    assert_int_equal(ask(&f, &r), 0);
    stop(&f);
}

static void test_coturn_refuses_transport_in_refresh_with_420(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_COTURN);
    allocate(&f);
    struct request r = full(STUN_REFRESH);
    r.transport_in_refresh = true;
    assert_int_equal(ask(&f, &r), 420);
    assert_true(answer_is_signed(&f));
    assert_int_equal(f.answer.unknown_types.len, 2);
    assert_int_equal(load_be16(f.answer.unknown_types.at), 0x0019);
    stop(&f);
    start(&f, SIM_RELAY_V142);
    allocate(&f);
    assert_int_equal(ask(&f, &r), 0);
    stop(&f);
}

static void test_coturn_knows_only_the_drafts_family_number(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_COTURN);
    challenge(&f);
    struct request r = full(STUN_ALLOCATE);
    r.additional = IP_V6;
    assert_int_equal(ask(&f, &r), 0);
    assert_int_equal(f.answer.relayed_v4.ip.family, IP_V4);
    assert_int_equal(f.answer.relayed_v6.ip.family, IP_NONE);
    f.client = address4(31, 1);
    allocate(&f); /* both numbers */
    assert_int_equal(f.answer.relayed_v6.ip.family, IP_V6);
    assert_int_not_equal(f.answer.relayed_v4.port, f.answer.relayed_v6.port);
    stop(&f);
    start(&f, SIM_RELAY_V142);
    challenge(&f);
    r.additional = IP_NONE;
    r.additional_old = IP_V6;
    assert_int_equal(ask(&f, &r), 0);
    assert_int_equal(f.answer.relayed_v6.ip.family, IP_NONE);
    stop(&f);
}

static void test_coturn_has_a_minimum_lifetime(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_COTURN);
    allocate(&f);
    struct request r = full(STUN_REFRESH);
    r.has_lifetime = true;
    r.lifetime = 10;
    assert_int_equal(ask(&f, &r), 0);
    assert_int_equal(f.answer.lifetime_s, 600);
    stop(&f);
}

static void test_coturn_session_lingers_after_deletion(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_COTURN);
    allocate(&f);
    struct request del = full(STUN_REFRESH);
    del.has_lifetime = true;
    assert_int_equal(ask(&f, &del), 0);
    assert_int_equal(f.answer.lifetime_s, 0);
    pass(&f, 999);
    struct request alloc = full(STUN_ALLOCATE);
    assert_int_equal(ask(&f, &alloc), 437);
    assert_int_equal(f.answer.integrity_at, 0);
    pass(&f, 501);
    assert_int_equal(ask(&f, &alloc), 438);
    assert_int_equal(ask(&f, &alloc), 0);
    assert_int_equal(ask(&f, &del), 0);
    struct request refresh = full(STUN_REFRESH);
    assert_int_equal(ask(&f, &refresh), 0); /* revives it */
    pass(&f, 2000);
    assert_int_equal(sim_relay_allocations(f.relay), 1);
    stop(&f);
}

static void test_coturn_repeats_the_answer_to_a_repeated_allocate(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_COTURN);
    allocate(&f);
    struct sock_addr relayed = f.answer.relayed_v4;
    struct request r = full(STUN_ALLOCATE);
    r.same_txn = true;
    assert_int_equal(ask(&f, &r), 0);
    assert_true(sock_addr_equal(&f.answer.relayed_v4, &relayed));
    r.same_txn = false;
    assert_int_equal(ask(&f, &r), 437);
    assert_int_equal(f.answer.integrity_at, 0);
    stop(&f);
}

static void test_coturn_delivers_other_ports_as_data_indications(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_COTURN);
    allocate(&f);
    struct sock_addr relayed = f.answer.relayed_v4;
    assert_int_equal(feed(&f, address4(40, 1), relayed, view_text("no")), 0);
    assert_int_equal(bind_channel(&f, 0x7000, address4(40, 1000)), 0);
    assert_int_equal(feed(&f, address4(40, 1000), relayed, view_text("hi")), 1);
    assert_int_equal(sent(&f)->bytes.at[0], 0x70);
    struct sock_addr other = address4(40, 2000);
    assert_int_equal(feed(&f, other, relayed, view_text("hello")), 1);
    assert_int_equal(stun_msg_decode(f.answer_bytes, &f.answer), DROP_NONE);
    assert_int_equal(f.answer.method, STUN_DATA);
    assert_int_equal(f.answer.class, STUN_INDICATION);
    assert_true(sock_addr_equal(&f.answer.peer, &other));
    assert_true(view_equal_text(f.answer.data, "hello"));
    uint8_t room[128];
    struct stun_writer s;
    struct stun_txn txn = {{1}};
    stun_start(&s, (struct span){room, sizeof room}, STUN_SEND, STUN_INDICATION, &txn);
    stun_put_xor_address(&s, STUN_ATTR_XOR_PEER_ADDRESS, &other);
    stun_put(&s, STUN_ATTR_DATA, view_text("back"));
    assert_int_equal(feed(&f, f.client, f.server, stun_finish(&s)), 1);
    assert_true(view_equal_text(sent(&f)->bytes, "back"));
    assert_true(sock_addr_equal(&sent(&f)->remote, &other));
    stop(&f);
}

static void test_coturn_sessions_belong_to_one_user_name(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, SIM_RELAY_COTURN);
    allocate(&f);
    char password[PORTAL_TURN_PASSWORD_SIZE];
    portal_credentials_turn_password(1892160001, view_text(SECRET_1), view_text("b"), password);
    stun_long_term_key(view_text("1892160001:b"), view_text("firezone"), VIEW_OF(password), f.key);
    struct request r = full(STUN_REFRESH);
    r.username = "1892160001:b";
    assert_int_equal(ask(&f, &r), 441);
    stop(&f);
}

/* ---- hostile bytes ---- */

static void test_random_and_mutated_datagrams_never_break_the_relay(void **state)
{
    (void)state;
    for (unsigned mode = SIM_RELAY_V142; mode <= SIM_RELAY_COTURN; mode++) {
        struct fixture f;
        start(&f, (enum sim_relay_mode)mode);
        allocate(&f);
        struct rng rng;
        uint8_t seed[32] = {(uint8_t)mode};
        rng_init(&rng, seed);
        for (unsigned i = 0; i < 3000; i++) {
            uint8_t room[512];
            struct request r = full(i % 2 == 0 ? STUN_CHANNEL_BIND : STUN_REFRESH);
            r.channel = 0x4000;
            r.peer = address4(40, 1000);
            size_t len = build(&f, &r, (struct span){room, sizeof room}).len;
            if (i % 5 == 0) {
                rng_bytes(&rng, room + 20, len - 20);
            }
            for (unsigned flips = rng_below(&rng, 4); flips > 0; flips--) {
                room[rng_below(&rng, (uint32_t)len)] ^= (uint8_t)(1U << rng_below(&rng, 8));
            }
            (void)feed(&f, f.client, f.server, (struct view){room, len});
        }
        stop(&f);
    }
}

static void test_same_seed_gives_the_same_bytes(void **state)
{
    (void)state;
    uint8_t first[512];
    size_t first_len = 0;
    for (unsigned run = 0; run < 2; run++) {
        struct fixture f;
        start(&f, SIM_RELAY_V142);
        allocate(&f);
        if (run == 0) {
            first_len = f.answer_bytes.len;
            memcpy(first, f.answer_bytes.at, first_len);
        } else {
            assert_int_equal(first_len, f.answer_bytes.len);
            assert_memory_equal(first, f.answer_bytes.at, first_len);
        }
        stop(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refresh_response_of_the_vector_has_the_right_key),
        cmocka_unit_test(test_first_byte_decides_and_the_rest_is_silence),
        cmocka_unit_test(test_binding_tells_the_address_and_nothing_else),
        cmocka_unit_test(test_unknown_requests_get_400_indications_nothing),
        cmocka_unit_test(test_broken_attributes_are_400_by_value_and_500_by_length),
        cmocka_unit_test(test_missing_required_attributes_are_400_before_authentication),
        cmocka_unit_test(test_trailing_and_missing_bytes_are_silence),
        cmocka_unit_test(test_order_of_checks_in_authentication),
        cmocka_unit_test(test_a_nonce_serves_exactly_100_requests_of_anybody),
        cmocka_unit_test(test_head_binds_nonces_to_the_socket_and_repeats_them),
        cmocka_unit_test(test_nonce_fault_uses_them_up_early),
        cmocka_unit_test(test_allocation_families_follow_the_table),
        cmocka_unit_test(test_second_allocate_is_437_even_with_the_same_transaction),
        cmocka_unit_test(test_lifetimes_are_capped_and_end_inclusively),
        cmocka_unit_test(test_a_full_range_is_508),
        cmocka_unit_test(test_the_allocation_table_is_full_at_its_capacity),
        cmocka_unit_test(test_wrong_transport_is_400_and_fault_508_comes_first),
        cmocka_unit_test(test_head_gives_a_user_name_one_allocation),
        cmocka_unit_test(test_channel_binding_follows_its_life_cycle),
        cmocka_unit_test(test_an_unbound_channel_can_be_bound_again_to_its_peer),
        cmocka_unit_test(test_data_flows_both_ways_and_only_for_the_exact_peer),
        cmocka_unit_test(test_ebpf_mode_drops_inexact_lengths),
        cmocka_unit_test(test_create_permission_succeeds_without_allocation),
        cmocka_unit_test(test_restart_voids_nonces_first_and_credentials_then),
        cmocka_unit_test(test_state_loss_keeps_the_secret),
        cmocka_unit_test(test_deaf_window_loses_data_but_not_requests),
        cmocka_unit_test(test_switches_silence_and_unsigned_and_rejected),
        cmocka_unit_test(test_credentials_expire_in_the_middle_of_a_session),
        cmocka_unit_test(test_coturn_wants_a_first_allocate_without_credentials),
        cmocka_unit_test(test_coturn_nonces_belong_to_a_socket_and_last_600_s),
        cmocka_unit_test(test_coturn_refuses_transport_in_refresh_with_420),
        cmocka_unit_test(test_coturn_knows_only_the_drafts_family_number),
        cmocka_unit_test(test_coturn_has_a_minimum_lifetime),
        cmocka_unit_test(test_coturn_session_lingers_after_deletion),
        cmocka_unit_test(test_coturn_repeats_the_answer_to_a_repeated_allocate),
        cmocka_unit_test(test_coturn_delivers_other_ports_as_data_indications),
        cmocka_unit_test(test_coturn_sessions_belong_to_one_user_name),
        cmocka_unit_test(test_random_and_mutated_datagrams_never_break_the_relay),
        cmocka_unit_test(test_same_seed_gives_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
