#include "turn/turn_state.h"

#include "base/assert.h"

#define RESTART_AFTER_TIMEOUT DURATION_S(30) /* a silent relay: two BINDINGs each time */
#define RESTART_AFTER_REFUSAL                                                                      \
    DURATION_S(300)                   /* a relay that said no will hardly change its mind          \
                                       */
#define SHORT_LIFE     DURATION_S(30) /* of an allocation that the relay ended soon */
#define ANEW_PAUSE_S   UINT64_C(1)    /* after the second of these; doubles up to 32 s */
#define ANEW_SHIFT_MAX 5U
#define LIFETIME_S_MAX UINT32_C(3600) /* relays grant at most this; more is not believed */

bool turn_address_is_usable(const struct sock_addr *addr)
{
    const struct ip_addr *ip = &addr->ip;
    if (ip->family == IP_NONE || addr->port == 0 || ip_is_unspecified(ip) || ip_is_multicast(ip)) {
        return false;
    }
    struct ip_addr broadcast = ip_v4(255, 255, 255, 255);
    return !(ip->family == IP_V4 && ip_is_link_local(ip)) && !ip_equal(ip, &broadcast);
}

void turn_state_start(struct turn_client *c, struct instant now)
{
    ASSERT(!c->allocated);
    c->active = TURN_SERVER_NONE;
    c->was_ready = false;
    c->retries = 0;
    c->mismatches = 0;
    c->families = TURN_FAMILIES_BOTH;
    c->retry_at = TIME_NEVER;
    c->restart_at = TIME_NEVER;
    c->has_credentials = true;
    turn_state_ask_mapped(c, now);
}

void turn_state_ask_mapped(struct turn_client *c, struct instant now)
{
    for (uint8_t server = TURN_SERVER_V4; server <= TURN_SERVER_V6; server++) {
        if (c->server[server].ip.family != IP_NONE && !c->requests[server].used) {
            turn_request_start(c, server, TURN_REQUEST_BINDING, server, now);
        }
    }
}

void turn_state_allocate(struct turn_client *c, struct instant now)
{
    bool busy = c->requests[TURN_SLOT_ALLOCATION].used;
    if (c->active == TURN_SERVER_NONE || c->allocated || c->closing || busy ||
        !c->has_credentials) {
        return;
    }
    c->retry_at = TIME_NEVER;
    turn_request_start(c, TURN_SLOT_ALLOCATION, TURN_REQUEST_ALLOCATE, c->active, now);
}

bool turn_state_adopt(struct turn_client *c)
{
    if (!c->has_credentials_next) {
        return false;
    }
    c->credentials = c->credentials_next;
    c->has_credentials = true;
    c->has_credentials_next = false;
    c->credentials_generation++;
    c->challenge++;
    return true;
}

void turn_state_lose(struct turn_client *c)
{
    turn_requests_clear(c);
    turn_channels_reset(&c->channels);
    c->allocated = false;
    c->expires_at = TIME_NEVER;
    c->refresh_at = TIME_NEVER;
    c->retry_at = TIME_NEVER;
    c->allocated_from = (struct sock_addr){0};
    for (unsigned i = 0; i < 2; i++) {
        c->relayed[i].addr = (struct sock_addr){0};
        c->relayed[i].base = (struct sock_addr){0};
    }
    (void)turn_state_adopt(c);
}

void turn_state_begin_anew(struct turn_client *c, struct instant now)
{
    bool is_short = instant_before(now, instant_add(c->allocated_at, SHORT_LIFE));
    turn_state_lose(c);
    c->short_lives = is_short ? c->short_lives + 1 : 0;
    if (c->short_lives < 2) {
        turn_state_allocate(c, now);
        return;
    }
    uint32_t shift = c->short_lives - 2;
    shift = shift < ANEW_SHIFT_MAX ? shift : ANEW_SHIFT_MAX;
    c->retry_at = instant_add(now, DURATION_S(ANEW_PAUSE_S << shift));
}

void turn_state_fail(struct turn_client *c, enum turn_failure failure, struct instant now)
{
    ASSERT(failure != TURN_FAILURE_NONE);
    turn_state_lose(c);
    c->active = TURN_SERVER_NONE;
    c->failure = failure;
    c->pending_count = 0;
    bool silent = failure == TURN_FAILURE_TIMEOUT;
    c->restart_at = instant_add(now, silent ? RESTART_AFTER_TIMEOUT : RESTART_AFTER_REFUSAL);
}

void turn_state_extend(struct turn_client *c, uint32_t lifetime_s, struct instant now)
{
    ASSERT(lifetime_s > 0);
    uint32_t seconds = lifetime_s < LIFETIME_S_MAX ? lifetime_s : LIFETIME_S_MAX;
    c->expires_at = instant_add(now, DURATION_S(seconds));
    c->refresh_at = instant_add(now, DURATION_MS((uint64_t)seconds * 500U));
}

void turn_state_refresh(struct turn_client *c, bool probe, struct instant now)
{
    ASSERT(c->allocated);
    ASSERT(c->active < TURN_SERVER_NONE);
    c->refresh_at = TIME_NEVER; /* the answer, or the lack of one, sets what comes next */
    turn_request_start(c, TURN_SLOT_ALLOCATION, TURN_REQUEST_REFRESH, c->active, now);
    if (probe) {
        turn_request_make_probe(c, TURN_SLOT_ALLOCATION, now);
    }
}

/* ---- peers that wait for a channel ---- */

static uint32_t pending_index(const struct turn_client *c, uint32_t i)
{
    return (c->pending_first + i) % TURN_PENDING_MAX;
}

static bool is_pending(const struct turn_client *c, const struct sock_addr *peer)
{
    for (uint32_t i = 0; i < c->pending_count; i++) {
        if (sock_addr_equal(&c->pending[pending_index(c, i)], peer)) {
            return true;
        }
    }
    return false;
}

bool turn_client_knows_peer(const struct turn_client *c, const struct sock_addr *peer)
{
    return turn_channels_find(&c->channels, peer) != TURN_CHANNEL_NONE || is_pending(c, peer);
}

void turn_state_push_pending(struct turn_client *c, const struct sock_addr *peer)
{
    if (is_pending(c, peer)) {
        return;
    }
    if (c->pending_count == TURN_PENDING_MAX) { /* the oldest makes room */
        c->pending_first = (c->pending_first + 1) % TURN_PENDING_MAX;
        c->pending_count--;
    }
    c->pending[pending_index(c, c->pending_count)] = *peer;
    c->pending_count++;
}

void turn_state_drain_pending(struct turn_client *c, struct instant now)
{
    while (c->allocated && c->pending_count > 0 && turn_request_has_room(c)) {
        struct sock_addr peer = c->pending[c->pending_first];
        c->pending_first = (c->pending_first + 1) % TURN_PENDING_MAX;
        c->pending_count--;
        turn_client_bind_channel(c, &peer, now);
    }
}
