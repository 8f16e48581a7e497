/* The client's own ICE, controlling side only: every pair of one family is checked, the best that
 * works is nominated at once and again whenever a better one works.
 * Source: spec/connectivity.md section 5, RFC 8445. */
#include <string.h>

#include "sim/sim_client_internal.h"

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

/* ---- priorities ---- */

static uint32_t preference_of(const struct client_link *link, enum ice_kind kind,
                              const struct sock_addr *addr, bool cross_family)
{
    static const uint32_t FIRST[] = {
        [ICE_HOST] = 65535, [ICE_PRFLX] = 49151, [ICE_SRFLX] = 32767, [ICE_RELAY] = 16383};
    uint32_t value = FIRST[kind] - (addr->ip.family == IP_V4 ? 1U : 0U);
    for (uint32_t i = 0; i < link->locals_count; i++) {
        if (link->locals[i].kind == kind && link->locals[i].addr.ip.family == addr->ip.family) {
            value -= 2;
        }
    }
    return cross_family ? value - 1000U : value;
}

static uint32_t priority_of(enum ice_kind kind, uint32_t preference)
{
    static const uint32_t TYPE[] = {
        [ICE_HOST] = 126, [ICE_PRFLX] = 110, [ICE_SRFLX] = 100, [ICE_RELAY] = 2};
    return TYPE[kind] * UINT32_C(16777216) + preference * 256U + 255U;
}

/* The client controls: G is the local candidate. */
static uint64_t pair_priority(uint32_t g, uint32_t d)
{
    uint64_t low = g < d ? g : d;
    uint64_t high = g < d ? d : g;
    return (low << 32) + 2 * high + (g > d ? 1 : 0);
}

/* ---- pairs ---- */

static void remove_pair(struct client_link *link, uint32_t index)
{
    link->pairs_count--;
    memmove(&link->pairs[index], &link->pairs[index + 1],
            (link->pairs_count - index) * sizeof(link->pairs[0]));
}

static void sort_pairs(struct client_link *link)
{
    for (uint32_t i = 1; i < link->pairs_count; i++) {
        for (uint32_t k = i; k > 0 && link->pairs[k].priority > link->pairs[k - 1].priority; k--) {
            struct client_pair swap = link->pairs[k];
            link->pairs[k] = link->pairs[k - 1];
            link->pairs[k - 1] = swap;
        }
    }
}

static struct client_pair *find_pair(struct client_link *link, uint32_t local, uint32_t remote)
{
    for (uint32_t i = 0; i < link->pairs_count; i++) {
        const struct client_candidate *base = &link->locals[link->pairs[i].local];
        if (link->pairs[i].remote == remote &&
            sock_addr_equal(&base->base, &link->locals[local].base)) {
            return &link->pairs[i];
        }
    }
    return NULL;
}

static void add_pair(const struct sim_client *client, struct client_link *link, uint32_t local,
                     uint32_t remote)
{
    const struct client_candidate *own = &link->locals[local];
    const struct client_candidate *peer = &link->remotes[remote];
    if (own->discarded || peer->discarded || own->addr.ip.family != peer->addr.ip.family ||
        own->kind == ICE_SRFLX || (client->config.relay_only && own->kind != ICE_RELAY)) {
        return;
    }
    struct client_pair pair = {.local = local,
                               .remote = remote,
                               .priority = pair_priority(own->priority, peer->priority),
                               .next_at = client->now.boot,
                               .heard_at = TIME_NEVER,
                               .unanswered_since = TIME_NEVER};
    for (uint32_t i = 0; i < link->pairs_count; i++) {
        struct client_pair *old = &link->pairs[i];
        if (!sock_addr_equal(&link->locals[old->local].base, &own->base) ||
            !sock_addr_equal(&link->remotes[old->remote].addr, &peer->addr)) {
            continue;
        }
        if (old->priority < pair.priority) {
            /* The same two addresses under a better name: keeps running. */
            old->local = local;
            old->remote = remote;
            old->priority = pair.priority;
            sort_pairs(link);
        }
        return;
    }
    if (link->pairs_count == CLIENT_PAIRS_MAX) {
        if (link->pairs[CLIENT_PAIRS_MAX - 1].priority >= pair.priority) {
            return;
        }
        remove_pair(link, CLIENT_PAIRS_MAX - 1);
    }
    link->pairs[link->pairs_count] = pair;
    link->pairs_count++;
    sort_pairs(link);
}

static bool is_path(const struct client_link *link, const struct client_pair *pair)
{
    const struct client_candidate *own = &link->locals[pair->local];
    const struct client_candidate *peer = &link->remotes[pair->remote];
    bool relayed = own->kind == ICE_RELAY;
    return link->has_path && link->path.relayed == relayed &&
           sock_addr_equal(&link->path.remote, &peer->addr) &&
           (relayed ? link->path.relay == own->relay
                    : sock_addr_equal(&link->path.local, &own->base));
}

/* A relayed candidate, or one that a check told of before it was signalled. */
static bool is_at_relay(const struct sim_client *client, const struct client_candidate *peer)
{
    bool at_relay = peer->kind == ICE_RELAY;
    for (uint32_t i = 0; i < CLIENT_RELAYS_MAX; i++) {
        const struct client_relay *relay = &client->relays[i];
        at_relay = at_relay || (relay->used && (ip_equal(&relay->servers[0].ip, &peer->addr.ip) ||
                                                ip_equal(&relay->servers[1].ip, &peer->addr.ip)));
    }
    return at_relay;
}

/* Nominates the best pair that works, if that is another than the one in use. */
static void nominate(struct sim_client *client, struct client_link *link)
{
    struct client_pair *best = NULL;
    bool current_alive = false;
    for (uint32_t i = 0; i < link->pairs_count; i++) {
        struct client_pair *pair = &link->pairs[i];
        current_alive = current_alive || (pair->succeeded && is_path(link, pair));
        if (pair->succeeded && (best == NULL || pair->priority > best->priority)) {
            best = pair;
        }
    }
    if (best == NULL || (current_alive && best->priority <= link->path_priority)) {
        return;
    }
    if (best->nomination == CLIENT_NOT_NOMINATED) {
        best->nomination = CLIENT_NOMINATED;
    }
    link->path_priority = best->priority;
    const struct client_candidate *own = &link->locals[best->local];
    struct client_path path = {.relayed = own->kind == ICE_RELAY,
                               .peer_relayed = is_at_relay(client, &link->remotes[best->remote]),
                               .relay = own->relay,
                               .local = own->base,
                               .remote = link->remotes[best->remote].addr};
    if (path.relayed) {
        memset(&path.local, 0, sizeof path.local);
    } else {
        path.relay = CLIENT_NONE;
    }
    client_link_selected(client, link, &path);
}

/* ---- candidates ---- */

static void pair_local(const struct sim_client *client, struct client_link *link, uint32_t local)
{
    for (uint32_t i = 0; i < link->remotes_count; i++) {
        add_pair(client, link, local, i);
    }
}

static bool is_signalled(const struct sim_client *client, const struct client_candidate *candidate)
{
    return candidate->kind != ICE_PRFLX &&
           (!client->config.relay_only || candidate->kind == ICE_RELAY);
}

static void signal_local(const struct sim_client *client, struct client_link *link, uint32_t index)
{
    if (is_signalled(client, &link->locals[index]) &&
        link->signalled_count < ARRAY_COUNT(link->signalled)) {
        link->signalled[link->signalled_count] = index;
        link->signalled_count++;
    }
}

void client_ice_add_local(struct sim_client *client, struct client_link *link,
                          const struct client_candidate *candidate)
{
    for (uint32_t i = 0; i < link->locals_count; i++) {
        struct client_candidate *old = &link->locals[i];
        if (old->kind != candidate->kind || !sock_addr_equal(&old->addr, &candidate->addr) ||
            !sock_addr_equal(&old->base, &candidate->base)) {
            continue;
        }
        if (old->discarded) {
            old->discarded = false;
            old->relay = candidate->relay;
            pair_local(client, link, i);
            signal_local(client, link, i);
        }
        return;
    }
    if (link->locals_count == CLIENT_LOCALS_MAX || !ice_address_is_valid(&candidate->addr.ip)) {
        return;
    }
    uint32_t index = link->locals_count;
    struct client_candidate *own = &link->locals[index];
    *own = *candidate;
    bool cross_family = false;
    if (own->kind == ICE_RELAY) {
        const struct client_relay *relay = &client->relays[own->relay];
        cross_family = client_is_head(client) &&
                       relay->servers[relay->active].ip.family != own->addr.ip.family;
    }
    own->preference = (uint16_t)preference_of(link, own->kind, &own->addr, cross_family);
    own->priority = priority_of(own->kind, own->preference);
    link->locals_count++;
    pair_local(client, link, index);
    signal_local(client, link, index);
}

static void drop_pairs_of(struct client_link *link, bool local, uint32_t candidate)
{
    for (uint32_t i = link->pairs_count; i > 0; i--) {
        uint32_t which = local ? link->pairs[i - 1].local : link->pairs[i - 1].remote;
        if (which == candidate) {
            remove_pair(link, i - 1);
        }
    }
}

void client_ice_drop_relay(struct sim_client *client, struct client_link *link, uint32_t relay)
{
    bool changed = false;
    for (uint32_t i = 0; i < link->locals_count; i++) {
        struct client_candidate *own = &link->locals[i];
        if (own->kind != ICE_RELAY || own->relay != relay || own->discarded) {
            continue;
        }
        own->discarded = true;
        drop_pairs_of(link, true, i);
        changed = true;
        if (link->taken_back_count < CLIENT_LOCALS_MAX) {
            link->taken_back[link->taken_back_count] = *own;
            link->taken_back_count++;
        }
    }
    if (changed) {
        nominate(client, link);
    }
}

static void pair_remote(const struct sim_client *client, struct client_link *link, uint32_t remote)
{
    for (uint32_t i = 0; i < link->locals_count; i++) {
        add_pair(client, link, i, remote);
    }
}

static void put_remote(struct sim_client *client, struct client_link *link,
                       const struct ice_candidate *from)
{
    struct client_candidate peer = {.kind = (enum ice_kind)from->kind,
                                    .addr = from->addr,
                                    .base = from->addr,
                                    .raddr = from->raddr,
                                    .priority = from->priority,
                                    .relay = CLIENT_NONE};
    uint32_t index = link->remotes_count;
    for (uint32_t i = 0; i < link->remotes_count; i++) {
        const struct client_candidate *old = &link->remotes[i];
        bool same = old->kind == peer.kind && sock_addr_equal(&old->addr, &peer.addr);
        if (same || (old->temporary && sock_addr_equal(&old->addr, &peer.addr))) {
            index = i;
            break;
        }
    }
    if (index == CLIENT_REMOTES_MAX) {
        return;
    }
    if (index == link->remotes_count) {
        link->remotes_count++;
    }
    link->remotes[index] = peer;
    pair_remote(client, link, index);
}

/* A channel to the peer, so that the relay lets its packets through. */
static void bind_peer(struct sim_client *client, const struct client_link *link,
                      const struct client_candidate *peer)
{
    if (peer->kind != ICE_HOST && link->relay != CLIENT_NONE) {
        client_relay_bind(client, link->relay, &peer->addr);
    }
}

void client_ice_add_remote(struct sim_client *client, struct client_link *link, struct view text)
{
    struct ice_candidate candidate;
    if (ice_candidate_parse(text, &candidate) != DROP_NONE) {
        return;
    }
    struct view ufrag = ice_candidate_ufrag(&candidate);
    if (ufrag.len > 0 && !view_equal_text(ufrag, link->peer_ufrag)) {
        return;
    }
    /* 1.4 ignores what arrives after the selection. */
    if (!client_is_head(client) && link->state != CLIENT_CONNECTING) {
        return;
    }
    link->had_remote = true;
    put_remote(client, link, &candidate);
    struct client_candidate peer = {.kind = (enum ice_kind)candidate.kind, .addr = candidate.addr};
    bind_peer(client, link, &peer);
    if (client_is_head(client)) {
        client_link_wake_up(client, link);
    }
}

void client_ice_remove_remote(struct sim_client *client, struct client_link *link, struct view text)
{
    struct ice_candidate candidate;
    if (ice_candidate_parse(text, &candidate) != DROP_NONE) {
        return;
    }
    for (uint32_t i = 0; i < link->remotes_count; i++) {
        struct client_candidate *peer = &link->remotes[i];
        if (!peer->discarded && peer->kind == (enum ice_kind)candidate.kind &&
            sock_addr_equal(&peer->addr, &candidate.addr) &&
            sock_addr_equal(&peer->raddr, &candidate.raddr)) {
            peer->discarded = true;
            drop_pairs_of(link, false, i);
            nominate(client, link);
            return;
        }
    }
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
    stun_put_priority(&s, priority_of(ICE_PRFLX, own->preference));
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
    add_pair(client, link, local, remote);
    struct client_pair *pair = find_pair(link, local, remote);
    if (pair == NULL) {
        return;
    }
    pair->heard_at = client->now.boot;
    bind_peer(client, link, &link->remotes[remote]);
    answer_request(client, link, &link->locals[local], datagram, &msg->txn);
    if (pair->succeeded) {
        nominate(client, link);
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
    nominate(client, link);
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
            remove_pair(link, i - 1);
            removed = true;
        }
    }
    if (removed) {
        nominate(client, link);
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
