/* Bytes become events of a TURN client's life: time passes, the owner wishes things, and the relay
 * answers the newest request with whatever the bytes say, signed or not. */
#include <string.h>

#include "base/assert.h"
#include "turn/turn_client.h"

#define TRANSMITS_PER_EVENT_MAX 4096U

static struct turn_client client; /* far too large for the stack; initialised by each run */

struct fuzz {
    struct reader in;
    struct rng rng;
    struct instant now;
    struct sock_addr server[2];
    struct sock_addr local[2];
    struct stun_txn txn; /* of the newest request */
    uint16_t method;
    unsigned family;
    uint8_t key[STUN_LONG_TERM_KEY_SIZE];
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct sock_addr some_peer(struct fuzz *f)
{
    uint8_t choice = reader_u8(&f->in);
    struct sock_addr peer = sock_addr_of(ip_v4(192, 0, 2, choice & 7), (uint16_t)(choice >> 5));
    if ((choice & 8) != 0) {
        peer.ip = f->local[1].ip;
    }
    return peer;
}

static void note_transmits(struct fuzz *f)
{
    struct turn_transmit out;
    for (unsigned i = 0; turn_client_poll_transmit(&client, &out); i++) {
        struct stun_msg msg;
        ASSERT(i < TRANSMITS_PER_EVENT_MAX);
        ASSERT(stun_msg_decode(out.bytes, &msg) == DROP_NONE);
        f->txn = msg.txn;
        f->method = msg.method;
        f->family = sock_addr_equal(&out.remote, &f->server[1]) ? 1 : 0;
    }
    struct turn_event event;
    for (unsigned i = 0; turn_client_poll_event(&client, &event); i++) {
        ASSERT(i < 32);
    }
}

static void put_attributes(struct fuzz *f, struct stun_writer *s)
{
    uint8_t flags = reader_u8(&f->in);
    struct sock_addr v4 = sock_addr_of(ip_v4(198, 51, 100, flags), 50000);
    struct sock_addr v6 = sock_addr_of(f->local[1].ip, 50000);
    if ((flags & 1) != 0) {
        stun_put_xor_address(s, STUN_ATTR_XOR_RELAYED_ADDRESS, &v4);
    }
    if ((flags & 2) != 0) {
        stun_put_xor_address(s, STUN_ATTR_XOR_RELAYED_ADDRESS, &v6);
    }
    if ((flags & 4) != 0) {
        stun_put_xor_address(s, STUN_ATTR_XOR_MAPPED_ADDRESS, &v4);
    }
    if ((flags & 8) != 0) {
        stun_put_lifetime(s, reader_be32(&f->in));
    }
    if ((flags & 16) != 0) {
        stun_put_nonce(s, (flags & 32) != 0 ? view_text("one") : view_text("another"));
    }
    if ((flags & 64) != 0) {
        stun_put_realm(s, (flags & 128) != 0 ? view_text("elsewhere") : view_text("firezone"));
    }
}

static void input(struct fuzz *f, struct view datagram)
{
    struct turn_data data;
    enum turn_input result = turn_client_handle_input(
        &client, &f->server[f->family], &f->local[f->family], datagram, f->now, &data);
    if (result == TURN_INPUT_DATA) {
        ASSERT(data.offset + data.length <= datagram.len);
        ASSERT(data.peer.ip.family != IP_NONE && data.relayed.ip.family != IP_NONE);
    }
}

static void answer(struct fuzz *f)
{
    static const uint16_t codes[] = {300, 400, 401, 403, 420, 437, 438, 440,
                                     441, 443, 486, 500, 508, 699, 401, 438};
    uint8_t bytes[512];
    uint8_t kind = reader_u8(&f->in);
    struct stun_writer s;
    bool error = (kind & 1) != 0;
    stun_start(&s, (struct span){bytes, sizeof(bytes)}, f->method,
               error ? STUN_ERROR : STUN_SUCCESS, &f->txn);
    if (error) {
        stun_put_error(&s, codes[(kind >> 4) & 15], VIEW_EMPTY);
    }
    put_attributes(f, &s);
    if ((kind & 2) != 0) {
        stun_put_integrity(&s, VIEW_OF(f->key));
    }
    input(f, stun_finish(&s));
}

static void start(struct fuzz *f, bool again)
{
    uint8_t choice = reader_u8(&f->in);
    struct turn_client_config config = {
        .server_v4 = f->server[0],
        .server_v6 = (choice & 1) != 0 ? f->server[1] : (struct sock_addr){0},
        .username = (choice & 2) != 0 ? view_text("1:a") : view_text("2:b"),
        .password = view_text("secret"),
        .realm = view_text("firezone"),
        .software = (choice & 4) != 0 ? view_text("snownet") : VIEW_EMPTY,
    };
    stun_long_term_key(config.username, config.realm, config.password, f->key);
    enum err err = again ? turn_client_update(&client, &config, f->now)
                         : turn_client_init(&client, &config, &f->rng, f->now);
    ASSERT(err == ERR_NONE);
}

static void wish(struct fuzz *f, uint8_t what)
{
    struct sock_addr peer = some_peer(f);
    uint16_t number = 0;
    switch (what & 7) {
    case 0:
        turn_client_bind_channel(&client, &peer, f->now);
        break;
    case 1:
        if (turn_client_channel(&client, &peer, f->now, &number)) {
            ASSERT(number >= CHANNEL_NUMBER_MIN && number <= CHANNEL_NUMBER_MAX);
        }
        break;
    case 2:
        turn_client_note_sent(&client, f->now);
        break;
    case 3:
        turn_client_refresh(&client, f->now);
        break;
    case 4:
        turn_client_handle_unreachable(&client, &f->server[peer.port & 1], f->now);
        break;
    case 5:
        start(f, true);
        break;
    case 6:
        turn_client_close(&client, f->now);
        break;
    default:
        f->family = peer.port & 1;
        break;
    }
}

/* On to the next wake-up if there is one, or a jump of up to about an hour. */
static void pass_time(struct fuzz *f, uint8_t what)
{
    struct instant next = turn_client_poll_timeout(&client).at;
    if ((what & 32) != 0 || instant_is_never(next)) {
        next = instant_add(f->now, DURATION_S((what & 31) * 120U));
    }
    f->now = next;
    turn_client_handle_timeout(&client, f->now);
}

static void step(struct fuzz *f)
{
    uint8_t what = reader_u8(&f->in);
    switch (what >> 6) {
    case 0:
        answer(f);
        break;
    case 1:
        wish(f, what);
        break;
    case 2:
        pass_time(f, what);
        break;
    default:
        input(f, reader_take(&f->in, what & 31));
        break;
    }
    note_transmits(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t seed[RNG_SEED_SIZE] = {3};
    static const uint8_t server6[16] = {0x20, 0x01, 0x0D, 0xB8, 0, 1};
    static const uint8_t local6[16] = {0x20, 0x01, 0x0D, 0xB8, 0, 2};
    struct fuzz f = {.in = reader_of((struct view){data, size}), .now = {NS_PER_S}};
    rng_init(&f.rng, seed);
    f.server[0] = sock_addr_of(ip_v4(203, 0, 113, 10), 3478);
    f.server[1] = sock_addr_of(ip_from_bytes(IP_V6, server6), 3478);
    f.local[0] = sock_addr_of(ip_v4(10, 2, 0, 2), 52625);
    f.local[1] = sock_addr_of(ip_from_bytes(IP_V6, local6), 52625);
    start(&f, false);
    note_transmits(&f);
    while (reader_ok(&f.in) && f.in.rest.len > 0) {
        step(&f);
        /* Whatever was said, the next wake-up is ahead once this instant's work is done. */
        for (unsigned i = 0; instant_reached(f.now, turn_client_poll_timeout(&client).at); i++) {
            ASSERT(i < 64);
            turn_client_handle_timeout(&client, f.now);
            note_transmits(&f);
        }
    }
    turn_client_wipe(&client);
    return 0;
}
