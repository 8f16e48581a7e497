/* Life, timers and the owner's wishes. */
#include "turn/turn_client.h"

#include <sodium.h>
#include <string.h>

#include "base/assert.h"
#include "turn/turn_state.h"

#define KEEP_ALIVE DURATION_S(25) /* spec/connectivity.md 3.6: keeps the NAT entry open */
#define KEEP_ALIVE_SENDING                                                                         \
    DURATION_S(50)                          /* while we send: finds a changed address all the same \
                                             */
#define PROBE_PAUSE          DURATION_S(10) /* between probes because of ICMP errors */
#define CHANNEL_RETRY        DURATION_S(1)  /* a refresh that found no free request slot */
#define SOON                 DURATION_S(1)  /* an attempt that is due by then is not hurried */
#define QUIET                DURATION_S(5)  /* without an answer: worth a look */
#define ROUNDS_MAX           2U   /* ladders against a relay that answers other requests */
#define CHANNELS_PER_TIMEOUT 256U /* bounds one call; the rest is due at once */

/* ---- configuration ---- */

static bool is_server_valid(const struct sock_addr *server, enum ip_family family)
{
    return server->ip.family == IP_NONE || (server->ip.family == family && server->port != 0);
}

static enum err check_config(const struct turn_client_config *config)
{
    bool none = config->server_v4.ip.family == IP_NONE && config->server_v6.ip.family == IP_NONE;
    bool texts = config->username.len > 0 && config->username.len <= TURN_USERNAME_MAX &&
                 config->realm.len > 0 && config->realm.len < TURN_TEXT_MAX &&
                 config->software.len < TURN_TEXT_MAX;
    bool servers =
        is_server_valid(&config->server_v4, IP_V4) && is_server_valid(&config->server_v6, IP_V6);
    return none || !texts || !servers ? ERR_ARGUMENT : ERR_NONE;
}

static void copy_text(struct turn_text *out, struct view text)
{
    ASSERT(text.len <= sizeof(out->bytes));
    out->len = text.len;
    if (text.len > 0) {
        memcpy(out->bytes, text.at, text.len);
    }
}

static void set_credentials(struct turn_credentials *out, const struct turn_client_config *config)
{
    ASSERT(config->username.len <= sizeof(out->username));
    *out = (struct turn_credentials){.username_len = config->username.len};
    memcpy(out->username, config->username.at, config->username.len);
    stun_long_term_key(config->username, config->realm, config->password, out->key);
}

static bool credentials_equal(const struct turn_credentials *a, const struct turn_credentials *b)
{
    return a->username_len == b->username_len &&
           memcmp(a->username, b->username, a->username_len) == 0 &&
           sodium_memcmp(a->key, b->key, sizeof(a->key)) == 0;
}

/* ---- life ---- */

/* The owner wants this relay: what failed before no longer counts. */
static void start_over(struct turn_client *c, struct instant now)
{
    turn_state_lose(c);
    c->failure = TURN_FAILURE_NONE;
    c->told_failure = TURN_FAILURE_NONE;
    turn_state_start(c, now);
}

enum err turn_client_init(struct turn_client *c, const struct turn_client_config *config,
                          struct rng *rng, struct instant now)
{
    enum err err = check_config(config);
    if (err != ERR_NONE) {
        return err;
    }
    memset(c, 0, offsetof(struct turn_client, channels));
    c->rng = rng;
    c->server[TURN_SERVER_V4] = config->server_v4;
    c->server[TURN_SERVER_V6] = config->server_v6;
    copy_text(&c->realm, config->realm);
    copy_text(&c->software, config->software);
    set_credentials(&c->credentials, config);
    c->expires_at = TIME_NEVER;
    c->refresh_at = TIME_NEVER;
    heap_init(&c->deadlines, c->heap_order, c->heap_position, c->heap_at, TURN_REQUESTS_MAX);
    struct siphash_key hash_key = {rng_u64(rng), rng_u64(rng)};
    turn_channels_init(&c->channels, hash_key);
    turn_state_start(c, now);
    return ERR_NONE;
}

enum err turn_client_update(struct turn_client *c, const struct turn_client_config *config,
                            struct instant now)
{
    enum err err = check_config(config);
    if (err != ERR_NONE) {
        return err;
    }
    bool same_servers = sock_addr_equal(&c->server[TURN_SERVER_V4], &config->server_v4) &&
                        sock_addr_equal(&c->server[TURN_SERVER_V6], &config->server_v6);
    struct turn_credentials fresh;
    set_credentials(&fresh, config);
    const struct turn_credentials *newest =
        c->has_credentials_next ? &c->credentials_next : &c->credentials;
    bool same = same_servers && !c->closing && credentials_equal(&fresh, newest);
    if (!same) {
        c->credentials_next = fresh;
        c->has_credentials_next = true;
    }
    sodium_memzero(&fresh, sizeof(fresh));
    copy_text(&c->realm, config->realm);
    copy_text(&c->software, config->software);
    if (same) {
        return ERR_NONE;
    }
    if (c->allocated && same_servers) {
        turn_state_refresh(c, true, now);
        return ERR_NONE;
    }
    c->server[TURN_SERVER_V4] = config->server_v4;
    c->server[TURN_SERVER_V6] = config->server_v6;
    c->closing = false;
    c->closed = false;
    c->nonce.len = same_servers ? c->nonce.len : 0;
    c->challenge++;
    for (unsigned i = 0; i < 2 && !same_servers; i++) {
        c->srflx[i] = (struct turn_slot){0};
        c->host[i] = (struct turn_slot){0};
    }
    start_over(c, now); /* adopts the new credentials */
    return ERR_NONE;
}

void turn_client_close(struct turn_client *c, struct instant now)
{
    if (c->closing) {
        return;
    }
    uint8_t active = c->active;
    bool exists = c->allocated || turn_request_is(c, TURN_SLOT_ALLOCATION, TURN_REQUEST_ALLOCATE);
    c->has_credentials_next = false; /* the allocation is given back with what made it */
    turn_state_lose(c);
    c->pending_count = 0;
    c->restart_at = TIME_NEVER;
    c->closing = true;
    c->closed = !exists || active == TURN_SERVER_NONE;
    if (!c->closed) {
        turn_request_start(c, TURN_SLOT_ALLOCATION, TURN_REQUEST_DELETE, active, now);
        turn_request_make_probe(c, TURN_SLOT_ALLOCATION, now);
    }
}

void turn_client_wipe(struct turn_client *c)
{
    sodium_memzero(&c->credentials, sizeof(c->credentials));
    sodium_memzero(&c->credentials_next, sizeof(c->credentials_next));
}

/* ---- timers ---- */

/* The active server did not answer: another of its addresses may. */
static void lose_server(struct turn_client *c, struct instant now)
{
    bool worth_a_try = c->was_ready;
    turn_state_lose(c);
    c->active = TURN_SERVER_NONE;
    if (worth_a_try) {
        turn_state_start(c, now);
    } else {
        turn_state_fail(c, TURN_FAILURE_TIMEOUT, now);
    }
}

/* A request went unanswered although the relay answered others meanwhile: loss, or a relay that
 * ignores just this one. */
static void repeat(struct turn_client *c, uint32_t slot, struct instant now)
{
    struct turn_request *request = &c->requests[slot];
    request->rounds++;
    if (request->rounds <= ROUNDS_MAX) {
        request->is_probe = false;
        turn_request_restart(c, slot, now);
        return;
    }
    if (request->kind == TURN_REQUEST_CHANNEL_BIND) {
        uint16_t channel = request->channel;
        turn_request_end(c, slot);
        turn_channels_refuse(&c->channels, channel, now);
        return;
    }
    lose_server(c, now);
}

static void handle_expired(struct turn_client *c, uint32_t slot, struct instant now)
{
    struct turn_request request = c->requests[slot];
    if (c->closing) {
        turn_request_end(c, slot);
        c->closed = true;
        return;
    }
    if (request.server == c->active) {
        /* spec/connectivity.md 3.4: no answer from the active server ends the allocation. */
        if (instant_before(request.first_sent_at, c->answered_at)) {
            repeat(c, slot, now);
        } else {
            lose_server(c, now);
        }
        return;
    }
    turn_request_end(c, slot);
    if (c->active == TURN_SERVER_NONE && !turn_requests_any(c)) {
        turn_state_fail(c, TURN_FAILURE_TIMEOUT, now);
    }
}

static void handle_requests(struct turn_client *c, struct instant now)
{
    uint32_t slot = heap_pop_due(&c->deadlines, now);
    while (slot != HEAP_NONE) {
        if (turn_request_advance(c, slot, now) == TURN_LADDER_EXPIRED) {
            handle_expired(c, slot, now);
        }
        slot = heap_pop_due(&c->deadlines, now);
    }
}

static struct instant keep_alive_at(const struct turn_client *c)
{
    bool idle = c->allocated && !c->requests[c->active].used;
    if (!idle) {
        return TIME_NEVER;
    }
    return instant_min(instant_add(c->sent_at, KEEP_ALIVE),
                       instant_add(c->answered_at, KEEP_ALIVE_SENDING));
}

static void handle_allocation(struct turn_client *c, struct instant now)
{
    if (c->allocated && instant_reached(now, c->expires_at)) {
        turn_state_lose(c);
        turn_state_allocate(c, now);
    }
    if (c->allocated && instant_reached(now, c->refresh_at)) {
        turn_state_refresh(c, false, now);
    }
    if (instant_reached(now, keep_alive_at(c))) {
        c->sent_at = now;
        turn_request_start(c, c->active, TURN_REQUEST_BINDING, c->active, now);
    }
    if (instant_reached(now, c->retry_at)) {
        c->retry_at = TIME_NEVER;
        turn_state_allocate(c, now);
    }
    if (instant_reached(now, c->restart_at)) {
        turn_state_start(c, now);
    }
}

static void handle_channels(struct turn_client *c, struct instant now)
{
    bool more = true;
    for (unsigned i = 0; more && i < CHANNELS_PER_TIMEOUT; i++) {
        uint16_t index = turn_channels_pop_due(&c->channels, now, &more);
        if (index == TURN_CHANNEL_NONE) {
            continue;
        }
        if (turn_request_has_room(c)) {
            turn_request_start_channel(c, index, now);
        } else {
            turn_channels_postpone(&c->channels, index, instant_add(now, CHANNEL_RETRY));
        }
    }
}

void turn_client_handle_timeout(struct turn_client *c, struct instant now)
{
    handle_requests(c, now);
    if (!c->closing) {
        handle_allocation(c, now);
        handle_channels(c, now);
        turn_state_drain_pending(c, now);
    }
}

struct wake turn_client_poll_timeout(const struct turn_client *c)
{
    struct wake wake = {heap_next(&c->deadlines), "turn request"};
    if (c->closing) {
        return wake;
    }
    wake = wake_min(wake, (struct wake){c->expires_at, "turn expiry"});
    wake = wake_min(wake, (struct wake){c->refresh_at, "turn refresh"});
    wake = wake_min(wake, (struct wake){keep_alive_at(c), "turn keep-alive"});
    wake = wake_min(wake, (struct wake){c->retry_at, "turn retry"});
    wake = wake_min(wake, (struct wake){c->restart_at, "turn restart"});
    return wake_min(wake, (struct wake){turn_channels_next(&c->channels), "turn channel"});
}

/* ---- wishes of the owner ---- */

void turn_client_refresh(struct turn_client *c, struct instant now)
{
    if (c->closing) {
        return;
    }
    if (c->allocated) {
        const struct turn_request *request = &c->requests[TURN_SLOT_ALLOCATION];
        bool probing =
            turn_request_is(c, TURN_SLOT_ALLOCATION, TURN_REQUEST_REFRESH) && request->is_probe;
        if (!probing) {
            turn_state_refresh(c, true, now);
            turn_state_ask_mapped(c, now);
        }
    } else if (turn_client_is_suspended(c) &&
               instant_before(instant_add(now, SOON), instant_min(c->retry_at, c->restart_at))) {
        start_over(c, now);
    }
}

void turn_client_refresh_quiet(struct turn_client *c, struct instant now)
{
    if (c->allocated && !instant_before(now, instant_add(c->answered_at, QUIET))) {
        turn_client_refresh(c, now);
    }
}

void turn_client_handle_unreachable(struct turn_client *c, const struct sock_addr *server,
                                    struct instant now)
{
    bool active = c->active != TURN_SERVER_NONE && sock_addr_equal(&c->server[c->active], server);
    bool probing = turn_request_is(c, TURN_SLOT_ALLOCATION, TURN_REQUEST_REFRESH);
    if (!active || !c->allocated || probing ||
        instant_before(now, instant_add(c->probed_at, PROBE_PAUSE))) {
        return;
    }
    c->probed_at = now;
    turn_state_refresh(c, true, now);
}

void turn_client_bind_channel(struct turn_client *c, const struct sock_addr *peer,
                              struct instant now)
{
    if (c->closing || peer->ip.family == IP_NONE || peer->port == 0) {
        return;
    }
    if (!c->allocated) {
        turn_state_push_pending(c, peer);
        return;
    }
    bool family = turn_client_relayed(c, (enum ip_family)peer->ip.family).ip.family != IP_NONE;
    if (!family) {
        return;
    }
    if (!turn_request_has_room(c)) {
        turn_state_push_pending(c, peer);
        return;
    }
    uint16_t index = turn_channels_ask(&c->channels, peer, now);
    if (index != TURN_CHANNEL_NONE) {
        turn_request_start_channel(c, index, now);
    }
}

bool turn_client_channel(struct turn_client *c, const struct sock_addr *peer, struct instant now,
                         uint16_t *number)
{
    uint16_t index = turn_channels_find(&c->channels, peer);
    if (index == TURN_CHANNEL_NONE || !turn_channel_is_usable(&c->channels.entries[index], now)) {
        turn_client_bind_channel(c, peer, now);
        return false;
    }
    *number = (uint16_t)(CHANNEL_NUMBER_MIN + index);
    return true;
}

void turn_client_note_sent(struct turn_client *c, struct instant now)
{
    c->sent_at = now;
}
