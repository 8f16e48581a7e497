/* The client's own ICE, controlling side only: every pair of one family is checked, the best that
 * works is nominated at once and again whenever a better one works.
 * Source: spec/connectivity.md section 5, RFC 8445. */
#include <string.h>

#include "sim/sim_client_ice.h"

struct profile {
    uint32_t tries;    /* R */
    uint64_t max_ms;   /* M */
    uint64_t first_ms; /* I */
};

static struct profile profile_of(const struct sim_client *client, const struct client_link *link)
{
    bool idle = link->state == CLIENT_IDLE;
    if (client_is_head(client)) {
        return idle ? (struct profile){4, 25000, 25000} : (struct profile){12, 1500, 250};
    }
    return idle ? (struct profile){4, 60000, 60000} : (struct profile){8, 1500, 250};
}

static struct duration delay(const struct profile *profile, uint32_t n)
{
    uint64_t ms = n == 0 ? 0 : profile->first_ms;
    for (uint32_t i = 1; i < n && ms < profile->max_ms; i++) {
        ms *= 2;
    }
    return DURATION_MS(ms < profile->max_ms ? ms : profile->max_ms);
}

/* ---- messages ---- */

static void send_from(struct sim_client *client, const struct client_candidate *own,
                      const struct sock_addr *to, struct view bytes)
{
    if (own->kind == ICE_RELAY) {
        (void)client_relay_send(client, own->relay, to, bytes);
    } else {
        sim_put_datagram(client->out, own->base, *to, bytes);
    }
}

static void send_check(struct sim_client *client, struct client_link *link,
                       struct client_pair *pair)
{
    const struct client_candidate *own = &link->locals[pair->local];
    struct client_attempt *attempt = &pair->attempts[pair->attempts_next % CLIENT_ATTEMPTS_MAX];
    struct stun_writer s;
    uint8_t room[512];
    pair->attempts_next++;
    attempt->sent_at = client->now.boot;
    attempt->nominating = pair->nomination != CLIENT_NOT_NOMINATED;
    client_random_txn(client, &attempt->txn);
    stun_start(&s, (struct span){room, sizeof room}, STUN_BINDING, STUN_REQUEST, &attempt->txn);
    stun_put_ice_username(&s, view_text(link->peer_ufrag), view_text(link->own_ufrag));
    stun_put_controlling(&s, link->tie_breaker);
    stun_put_priority(&s, client_priority_of(ICE_PRFLX, own->preference));
    if (attempt->nominating) {
        stun_put_use_candidate(&s);
    }
    stun_put_integrity(&s, view_text(link->peer_password));
    stun_put_fingerprint(&s);
    struct view bytes = stun_finish(&s);
    ASSERT(bytes.len > 0);
    send_from(client, own, &link->remotes[pair->remote].addr, bytes);
    if (pair->nomination == CLIENT_NOMINATED) {
        pair->nomination = CLIENT_NOMINATION_SENT;
    }
}

static void plan(const struct sim_client *client, const struct client_link *link,
                 struct client_pair *pair)
{
    struct profile profile = profile_of(client, link);
    struct instant now = client->now.boot;
    uint32_t n = pair->sent;
    if (pair->unanswered > 0 &&
        now.ns - pair->unanswered_since.ns > profile.max_ms * NS_PER_MS / 2) {
        n = pair->unanswered;
    }
    pair->next_at = pair->sent == 0 ? now : instant_add(pair->sent_at, delay(&profile, n));
}

static void check_pair(struct sim_client *client, struct client_link *link,
                       struct client_pair *pair)
{
    struct profile profile = profile_of(client, link);
    struct instant now = client->now.boot;
    send_check(client, link, pair);
    pair->sent_at = now;
    pair->sent += pair->sent < profile.tries ? 1 : 0;
    pair->sent = pair->sent > profile.tries ? profile.tries : pair->sent;
    if (pair->unanswered == 0) {
        pair->unanswered_since = now;
    }
    pair->unanswered++;
    plan(client, link, pair);
}

static void answer_request(struct sim_client *client, const struct client_link *link,
                           const struct client_candidate *own, const struct sim_datagram *datagram,
                           const struct stun_txn *txn)
{
    struct stun_writer s;
    uint8_t room[512];
    stun_start(&s, (struct span){room, sizeof room}, STUN_BINDING, STUN_SUCCESS, txn);
    stun_put_xor_address(&s, STUN_ATTR_XOR_MAPPED_ADDRESS, &datagram->remote);
    stun_put_integrity(&s, view_text(link->own_password));
    stun_put_fingerprint(&s);
    send_from(client, own, &datagram->remote, stun_finish(&s));
}

/* The local candidate that a datagram reached: host or relayed. */
static uint32_t local_at(const struct client_link *link, const struct sock_addr *addr)
{
    for (uint32_t i = 0; i < link->locals_count; i++) {
        const struct client_candidate *own = &link->locals[i];
        if ((own->kind == ICE_HOST || own->kind == ICE_RELAY) &&
            sock_addr_equal(&own->addr, addr)) {
            return i;
        }
    }
    return CLIENT_NONE;
}

/* The best live remote candidate at an address; a new peer-reflexive one if there is none;
 * CLIENT_NONE when the address was taken back or the list is full. */
static uint32_t remote_at(struct client_link *link, const struct sock_addr *addr, uint32_t priority)
{
    uint32_t best = CLIENT_NONE;
    bool discarded = false;
    for (uint32_t i = 0; i < link->remotes_count; i++) {
        const struct client_candidate *peer = &link->remotes[i];
        if (!sock_addr_equal(&peer->addr, addr)) {
            continue;
        }
        discarded = discarded || peer->discarded;
        if (!peer->discarded &&
            (best == CLIENT_NONE || peer->priority >= link->remotes[best].priority)) {
            best = i;
        }
    }
    if (best != CLIENT_NONE || discarded || link->remotes_count == CLIENT_REMOTES_MAX) {
        return best;
    }
    link->remotes[link->remotes_count] = (struct client_candidate){.kind = ICE_PRFLX,
                                                                   .addr = *addr,
                                                                   .base = *addr,
                                                                   .priority = priority,
                                                                   .relay = CLIENT_NONE,
                                                                   .temporary = true};
    link->remotes_count++;
    return link->remotes_count - 1;
}

static void handle_request(struct sim_client *client, struct client_link *link,
                           const struct sim_datagram *datagram, const struct stun_msg *msg)
{
    uint32_t local = local_at(link, &datagram->local);
    if (msg->use_candidate || !msg->has_priority || local == CLIENT_NONE ||
        (client->config.relay_only && link->locals[local].kind != ICE_RELAY)) {
        return;
    }
    uint32_t remote = remote_at(link, &datagram->remote, msg->priority);
    if (remote == CLIENT_NONE || link->locals[local].discarded) {
        return;
    }
    client_pair_add(client, link, local, remote);
    struct client_pair *pair = client_pair_find(link, local, remote);
    if (pair == NULL) {
        return;
    }
    pair->heard_at = client->now.boot;
    client_ice_bind(client, link, &link->remotes[remote]);
    answer_request(client, link, &link->locals[local], datagram, &msg->txn);
    if (pair->succeeded) {
        client_pair_nominate(client, link);
    } else if (!pair->triggered) {
        /* RFC 8445 section 7.3.1.4: the way is open now, whatever became of our first check. */
        pair->triggered = true;
        pair->next_at = client->now.boot;
    }
}

static void handle_success(struct sim_client *client, struct client_link *link,
                           struct client_pair *pair, const struct client_attempt *attempt)
{
    pair->succeeded = true;
    pair->unanswered = 0;
    pair->unanswered_since = TIME_NEVER;
    if (attempt->nominating && pair->nomination == CLIENT_NOMINATION_SENT) {
        pair->nomination = CLIENT_NOMINATION_DONE;
    }
    plan(client, link, pair);
    client_pair_nominate(client, link);
}

static bool handle_response(struct sim_client *client, struct client_link *link,
                            const struct sim_datagram *datagram, const struct stun_msg *msg)
{
    for (uint32_t i = 0; i < link->pairs_count; i++) {
        struct client_pair *pair = &link->pairs[i];
        for (uint32_t k = 0; k < CLIENT_ATTEMPTS_MAX && k < pair->attempts_next; k++) {
            if (!stun_txn_equal(&pair->attempts[k].txn, &msg->txn)) {
                continue;
            }
            if (stun_msg_check_integrity(datagram->bytes, msg, view_text(link->peer_password)) &&
                msg->class == STUN_SUCCESS && msg->mapped.ip.family != IP_NONE) {
                struct client_attempt attempt = pair->attempts[k];
                handle_success(client, link, pair, &attempt);
            }
            return true;
        }
    }
    return false;
}

static bool is_for(const struct client_link *link, struct view username)
{
    struct view right = VIEW_EMPTY;
    struct view left = http_split(username, ':', &right);
    return view_equal_text(left, link->own_ufrag) && view_equal_text(right, link->peer_ufrag);
}

bool client_ice_handle(struct sim_client *client, struct client_link *link,
                       const struct sim_datagram *datagram, const struct stun_msg *msg)
{
    if (msg->method != STUN_BINDING) {
        return false;
    }
    if (msg->class == STUN_SUCCESS || msg->class == STUN_ERROR) {
        return handle_response(client, link, datagram, msg);
    }
    if (msg->class != STUN_REQUEST || !is_for(link, msg->username) ||
        !stun_msg_check_integrity(datagram->bytes, msg, view_text(link->own_password))) {
        return false;
    }
    handle_request(client, link, datagram, msg);
    return true;
}

/* ---- time ---- */

static bool is_dead(const struct sim_client *client, const struct client_link *link,
                    const struct client_pair *pair)
{
    struct profile profile = profile_of(client, link);
    if (client_is_head(client) && !instant_is_never(pair->heard_at) &&
        client->now.boot.ns - pair->heard_at.ns < 15 * NS_PER_S) {
        return false;
    }
    return pair->unanswered >= profile.tries &&
           instant_reached(client->now.boot,
                           instant_add(pair->sent_at, delay(&profile, profile.tries)));
}

static void remove_dead(struct sim_client *client, struct client_link *link)
{
    bool removed = false;
    for (uint32_t i = link->pairs_count; i > 0; i--) {
        if (is_dead(client, link, &link->pairs[i - 1])) {
            client_pair_remove(link, i - 1);
            removed = true;
        }
    }
    if (removed) {
        client_pair_nominate(client, link);
    }
}

static struct client_pair *most_urgent(struct client_link *link)
{
    struct client_pair *first = NULL;
    for (uint32_t i = 0; i < link->pairs_count; i++) {
        struct client_pair *pair = &link->pairs[i];
        if (pair->nomination == CLIENT_NOMINATED) {
            return pair;
        }
        if (first == NULL || instant_before(pair->next_at, first->next_at)) {
            first = pair;
        }
    }
    return first;
}

void client_ice_timeout(struct sim_client *client, struct client_link *link)
{
    remove_dead(client, link);
    for (uint32_t i = 0; i < 2 * CLIENT_PAIRS_MAX; i++) {
        struct client_pair *pair = most_urgent(link);
        if (pair == NULL || (pair->nomination != CLIENT_NOMINATED &&
                             !instant_reached(client->now.boot, pair->next_at))) {
            return;
        }
        check_pair(client, link, pair);
    }
}

void client_ice_reset_timers(struct sim_client *client, struct client_link *link)
{
    for (uint32_t i = 0; i < link->pairs_count; i++) {
        plan(client, link, &link->pairs[i]);
    }
}

struct instant client_ice_next(const struct sim_client *client, const struct client_link *link)
{
    struct instant at = TIME_NEVER;
    for (uint32_t i = 0; i < link->pairs_count; i++) {
        at = instant_min(at, link->pairs[i].next_at);
        if (link->pairs[i].nomination == CLIENT_NOMINATED) {
            at = instant_min(at, client->now.boot);
        }
    }
    return at;
}

bool client_ice_is_possible(const struct sim_client *client, const struct client_link *link)
{
    (void)client;
    return link->pairs_count > 0 || link->remotes_count == 0 || link->locals_count == 0;
}
