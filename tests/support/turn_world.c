#include "tests/support/turn_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/support.h"

#define ONE_WAY       DURATION_MS(5)
#define EXCHANGES_MAX 100000U
#define LINGER        DURATION_MS(1200)
#define CHANNEL_LIFE  DURATION_S(600)

/* ---- the relay ---- */

static void nonce_text(const struct relay *r, char out[32])
{
    (void)snprintf(out, 32, "nonce-%u", r->nonce_number);
}

static void fresh_nonce(struct relay *r)
{
    r->nonce_number++;
    r->nonce_uses = r->nonce_uses_max;
}

void relay_forget(struct relay *r)
{
    r->allocated = false;
    memset(r->channel_bound, 0, sizeof(r->channel_bound));
    r->nonce_number += 1000;
    r->nonce_uses = 0;
}

static void relay_key(const struct relay *r, uint8_t key[STUN_LONG_TERM_KEY_SIZE])
{
    const char *pass = r->has_secret ? r->pass : "a secret that nobody has";
    stun_long_term_key(view_text(r->user), view_text("firezone"), view_text(pass), key);
}

struct reply {
    struct stun_writer s;
    uint8_t bytes[256];
};

static struct view reply_error(struct relay *r, struct reply *out, const struct stun_msg *msg,
                               uint16_t code, bool is_signed)
{
    stun_start(&out->s, (struct span){out->bytes, sizeof(out->bytes)}, msg->method, STUN_ERROR,
               &msg->txn);
    stun_put_error(&out->s, code, view_text("refused"));
    if (code == 401 || code == 438) {
        char nonce[32];
        fresh_nonce(r);
        nonce_text(r, nonce);
        if (r->damaged_nonces > 0) {
            r->damaged_nonces--;
            nonce[0] ^= 1;
        }
        stun_put_realm(&out->s, view_text("firezone"));
        stun_put_nonce(&out->s, view_text(nonce));
    }
    if (is_signed) {
        uint8_t key[STUN_LONG_TERM_KEY_SIZE];
        relay_key(r, key);
        stun_put_integrity(&out->s, VIEW_OF(key));
    }
    return stun_finish(&out->s);
}

static void reply_start(struct reply *out, const struct stun_msg *msg)
{
    stun_start(&out->s, (struct span){out->bytes, sizeof(out->bytes)}, msg->method, STUN_SUCCESS,
               &msg->txn);
}

static struct view reply_finish(struct relay *r, struct reply *out)
{
    uint8_t key[STUN_LONG_TERM_KEY_SIZE];
    relay_key(r, key);
    key[0] ^= r->forge_success ? 1 : 0;
    stun_put_integrity(&out->s, VIEW_OF(key));
    return stun_finish(&out->s);
}

/* The code that refuses the request for want of authentication, else 0. */
static uint16_t authenticate(struct relay *r, struct view datagram, const struct stun_msg *msg)
{
    if (msg->integrity_at == 0 || msg->username.at == NULL || msg->nonce.at == NULL) {
        return r->coturn && msg->integrity_at != 0 ? 400 : 401;
    }
    char nonce[32];
    nonce_text(r, nonce);
    if (msg->nonce.len == 0 || msg->nonce.at[0] != (uint8_t)nonce[0]) {
        return 401; /* not of the form of a nonce (relay.md 3.3) */
    }
    if (!view_equal_text(msg->nonce, nonce) || r->nonce_uses == 0) {
        return 438;
    }
    r->nonce_uses--;
    uint8_t key[STUN_LONG_TERM_KEY_SIZE];
    relay_key(r, key);
    bool known = view_equal_text(msg->username, r->user);
    return known && stun_msg_check_integrity(datagram, msg, VIEW_OF(key)) ? 0 : 401;
}

static bool is_allocated(const struct relay *r, const struct sock_addr *mapped, struct instant now)
{
    return r->allocated && sock_addr_equal(&r->allocated_for, mapped) &&
           instant_before(now, r->expires_at);
}

static struct view serve_allocate(struct relay *r, struct reply *out, const struct stun_msg *msg,
                                  const struct sock_addr *mapped, struct instant now)
{
    static const uint8_t v6[16] = {0x20, 0x01, 0x0D, 0xB8, 0, 9};
    assert_int_equal(msg->transport, STUN_TRANSPORT_UDP);
    if (is_allocated(r, mapped, now)) {
        return reply_error(r, out, msg, 437, true);
    }
    uint16_t port = (uint16_t)(50000 + r->allocations++);
    struct sock_addr relayed4 = sock_addr_of(ip_v4(198, 51, 100, 1), port);
    struct sock_addr relayed6 = sock_addr_of(ip_from_bytes(IP_V6, v6), port);
    bool both = r->coturn ? msg->additional_family_old == IP_V6 : msg->additional_family == IP_V6;
    r->allocated = true;
    r->allocated_for = *mapped;
    r->expires_at = instant_add(now, DURATION_S(r->lifetime_s));
    memset(r->channel_bound, 0, sizeof(r->channel_bound));
    reply_start(out, msg);
    if (msg->requested_family != IP_V6) {
        stun_put_xor_address(&out->s, STUN_ATTR_XOR_RELAYED_ADDRESS, &relayed4);
    }
    if ((both && !r->v4_only) || msg->requested_family == IP_V6) {
        stun_put_xor_address(&out->s, STUN_ATTR_XOR_RELAYED_ADDRESS, &relayed6);
    }
    stun_put_xor_address(&out->s, STUN_ATTR_XOR_MAPPED_ADDRESS, mapped);
    stun_put_lifetime(&out->s, r->lifetime_s);
    return reply_finish(r, out);
}

static struct view serve_refresh(struct relay *r, struct reply *out, const struct stun_msg *msg,
                                 const struct sock_addr *mapped, struct instant now)
{
    assert_int_equal(msg->transport, 0);
    assert_int_equal(msg->additional_family, IP_NONE);
    if (!is_allocated(r, mapped, now)) {
        return reply_error(r, out, msg, 437, true);
    }
    uint32_t lifetime_s = msg->has_lifetime ? msg->lifetime_s : r->lifetime_s;
    if (lifetime_s == 0) {
        r->allocated = false;
        r->deletes++;
        r->lingers_until = r->coturn ? instant_add(now, LINGER) : now;
    }
    r->expires_at = instant_add(now, DURATION_S(lifetime_s));
    reply_start(out, msg);
    stun_put_lifetime(&out->s, lifetime_s);
    return reply_finish(r, out);
}

static struct view serve_channel(struct relay *r, struct reply *out, const struct stun_msg *msg,
                                 const struct sock_addr *mapped, struct instant now)
{
    if (!is_allocated(r, mapped, now)) {
        return reply_error(r, out, msg, 437, true);
    }
    assert_true(msg->has_channel && msg->channel >= 0x4000 && msg->channel <= 0x4FFF);
    unsigned index = msg->channel - 0x4000U;
    struct duration life = DURATION_S(900);
    bool taken = r->channel_bound[index] &&
                 instant_before(now, instant_add(r->channel_at[index], life)) &&
                 !sock_addr_equal(&r->channel_peer[index], &msg->peer);
    for (unsigned i = 0; i < WORLD_CHANNELS && !taken; i++) {
        taken = i != index && r->channel_bound[i] &&
                sock_addr_equal(&r->channel_peer[i], &msg->peer) &&
                instant_before(now, instant_add(r->channel_at[i], life));
    }
    if (taken) {
        return reply_error(r, out, msg, 400, true);
    }
    r->channel_bound[index] = true;
    r->channel_peer[index] = msg->peer;
    r->channel_at[index] = now;
    reply_start(out, msg);
    return reply_finish(r, out);
}

static struct view serve(struct relay *r, struct view datagram, const struct sock_addr *mapped,
                         struct instant now, struct reply *out)
{
    struct stun_msg msg;
    assert_int_equal(stun_msg_decode(datagram, &msg), DROP_NONE);
    assert_int_equal(msg.class, STUN_REQUEST);
    r->seen[msg.method & 15]++;
    r->last = msg;
    r->last_signed = msg.integrity_at != 0;
    if (msg.method == STUN_BINDING) {
        reply_start(out, &msg);
        stun_put_xor_address(&out->s, STUN_ATTR_XOR_MAPPED_ADDRESS, mapped);
        return stun_finish(&out->s);
    }
    if (r->coturn && msg.method == STUN_ALLOCATE && instant_before(now, r->lingers_until)) {
        return reply_error(r, out, &msg, 437, false);
    }
    uint16_t refusal = authenticate(r, datagram, &msg);
    if (refusal != 0) {
        return reply_error(r, out, &msg, refusal, !r->coturn && msg.username.at != NULL);
    }
    if (r->fail_count > 0 && r->fail_method == msg.method) {
        r->fail_count--;
        r->allocated = r->allocated && !r->fail_forgets;
        return reply_error(r, out, &msg, r->fail_code, !r->fail_unsigned);
    }
    switch (msg.method) {
    case STUN_ALLOCATE:
        return serve_allocate(r, out, &msg, mapped, now);
    case STUN_REFRESH:
        return serve_refresh(r, out, &msg, mapped, now);
    case STUN_CHANNEL_BIND:
        return serve_channel(r, out, &msg, mapped, now);
    default:
        fail();
        return VIEW_EMPTY;
    }
}

/* ---- the world ---- */

struct turn_client_config world_config(const struct world *w)
{
    return (struct turn_client_config){
        .server_v4 = w->relay.addr[0],
        .server_v6 = w->relay.addr[1],
        .username = view_text("1735689600:c2FsdA"),
        .password = view_text("c2VjcmV0LXBhc3N3b3Jk"),
        .realm = view_text("firezone"),
        .software = view_text("snownet"),
    };
}

struct world *world_new(unsigned families)
{
    static const uint8_t server6[16] = {0x20, 0x01, 0x0D, 0xB8, 0, 1};
    static const uint8_t local6[16] = {0x20, 0x01, 0x0D, 0xB8, 0, 2};
    static const uint8_t seed[RNG_SEED_SIZE] = {1};
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    w->client = calloc(1, sizeof(*w->client));
    assert_non_null(w->client);
    rng_init(&w->rng, seed);
    w->now = (struct instant){1000 * NS_PER_S};
    struct relay *r = &w->relay;
    r->user = "1735689600:c2FsdA";
    r->pass = "c2VjcmV0LXBhc3N3b3Jk";
    r->has_secret = true;
    r->nonce_uses_max = 100;
    r->lifetime_s = 600;
    if (families != 6) {
        r->addr[0] = sock_addr_of(ip_v4(203, 0, 113, 10), 3478);
        r->mapped[0] = sock_addr_of(ip_v4(203, 0, 113, 40), 52625);
        w->local[0] = sock_addr_of(ip_v4(10, 2, 0, 2), 52625);
    }
    if (families != 4) {
        r->addr[1] = sock_addr_of(ip_from_bytes(IP_V6, server6), 3478);
        r->mapped[1] = sock_addr_of(ip_from_bytes(IP_V6, local6), 52625);
        w->local[1] = r->mapped[1];
    }
    struct turn_client_config config = world_config(w);
    assert_int_equal(turn_client_init(w->client, &config, &w->rng, w->now), ERR_NONE);
    return w;
}

void world_free(struct world *w)
{
    turn_client_wipe(w->client);
    free(w->client);
    free(w);
}

static void drain_events(struct world *w)
{
    struct turn_event event;
    while (turn_client_poll_event(w->client, &event)) {
        assert_true(w->events_count < WORLD_EVENTS_MAX);
        w->events[w->events_count++] = event;
    }
}

/* The relay takes a request; its answer arrives unless it is lost. */
static enum turn_input deliver(struct world *w, const struct world_request *request, bool is_lost)
{
    struct relay *r = &w->relay;
    struct reply reply;
    w->now = instant_add(w->now, ONE_WAY);
    struct view answer = serve(r, (struct view){request->bytes, request->len},
                               &r->mapped[request->family], w->now, &reply);
    w->now = instant_add(w->now, ONE_WAY);
    struct turn_data data;
    return is_lost ? TURN_INPUT_DROPPED
                   : turn_client_handle_input(w->client, &r->addr[request->family],
                                              &w->local[request->family], answer, w->now, &data);
}

/* RFC 8489 section 6.2.1: what has the id of an earlier request is that request, byte for byte. */
static void check_txn(const struct world *w, struct view request)
{
    for (unsigned i = 0; i < WORLD_HISTORY; i++) {
        const struct world_request *sent = &w->history[i];
        if (sent->len > 0 && memcmp(sent->bytes + 8, request.at + 8, STUN_TXN_SIZE) == 0) {
            assert_int_equal(sent->len, request.len);
            assert_memory_equal(sent->bytes, request.at, request.len);
        }
    }
}

static void deliver_as_fated(struct world *w, const struct world_request *request)
{
    struct world_request late = w->late;
    enum world_fate fate = (enum world_fate)odometer_choose(w->odometer, WORLD_FATES);
    w->fated--;
    w->late.len = 0;
    if (fate == WORLD_LATE) {
        w->late = *request;
    }
    for (unsigned n = fate == WORLD_TWICE ? 2 : 1; n > 0; n--) {
        if (fate != WORLD_LOST && fate != WORLD_LATE) {
            (void)deliver(w, request, fate == WORLD_ANSWER_LOST);
        }
    }
    if (late.len > 0) {
        (void)deliver(w, &late, false);
    }
}

static void exchange(struct world *w, const struct turn_transmit *transmit)
{
    struct relay *r = &w->relay;
    check_txn(w, transmit->bytes);
    struct world_request *request = &w->history[w->requests % WORLD_HISTORY];
    request->family = sock_addr_equal(&transmit->remote, &r->addr[0]) ? 0 : 1;
    request->len = transmit->bytes.len;
    memcpy(request->bytes, transmit->bytes.at, transmit->bytes.len);
    w->requests++;
    assert_true(w->requests < EXCHANGES_MAX);
    bool lost = r->lose_every > 0 && w->requests % r->lose_every == 0;
    if (r->silent || lost || r->mapped[request->family].ip.family == IP_NONE) {
        return;
    }
    struct stun_msg head;
    assert_int_equal(stun_msg_decode_header(transmit->bytes, &head), DROP_NONE);
    if (w->odometer != NULL && w->fated > 0 &&
        (w->fated_method == 0 || w->fated_method == head.method)) {
        deliver_as_fated(w, request);
        return;
    }
    enum turn_input input = deliver(w, request, false);
    assert_true(input == TURN_INPUT_HANDLED || input == TURN_INPUT_DROPPED);
}

enum turn_input world_repeat(struct world *w, unsigned number, bool is_lost)
{
    assert_true(number < w->requests && w->requests - number <= WORLD_HISTORY);
    enum turn_input input = deliver(w, &w->history[number % WORLD_HISTORY], is_lost);
    drain_events(w);
    return input;
}

void world_settle(struct world *w)
{
    struct turn_transmit transmit;
    while (turn_client_poll_transmit(w->client, &transmit)) {
        exchange(w, &transmit);
        drain_events(w);
    }
    drain_events(w);
}

void world_pass(struct world *w, struct duration d)
{
    struct instant end = instant_add(w->now, d);
    world_settle(w);
    struct wake wake = turn_client_poll_timeout(w->client);
    while (!instant_before(end, wake.at)) {
        w->now = instant_max(w->now, wake.at);
        turn_client_handle_timeout(w->client, w->now);
        world_settle(w);
        wake = turn_client_poll_timeout(w->client);
    }
    w->now = instant_max(w->now, end);
}

enum turn_input world_peer_sends(struct world *w, uint16_t number, struct turn_data *data)
{
    static const uint8_t payload[] = {4, 0, 0, 0, 1, 2, 3};
    uint8_t bytes[CHANNEL_DATA_HEADER_SIZE + sizeof(payload)];
    channel_data_put_header(bytes, number, sizeof(payload));
    memcpy(bytes + CHANNEL_DATA_HEADER_SIZE, payload, sizeof(payload));
    struct sock_addr from = turn_client_active_server(w->client);
    unsigned family = from.ip.family == IP_V6 ? 1 : 0;
    return turn_client_handle_input(w->client, &from, &w->local[family], VIEW_OF(bytes), w->now,
                                    data);
}

unsigned world_count(const struct world *w, enum turn_event_kind kind)
{
    unsigned count = 0;
    for (unsigned i = 0; i < w->events_count; i++) {
        count += w->events[i].kind == kind;
    }
    return count;
}

void world_forget_events(struct world *w)
{
    w->events_count = 0;
}
