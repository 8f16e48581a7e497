#include "policy/policy_nat.h"

#include <string.h>

#include "base/assert.h"
#include "packet/packet.h"
#include "policy/policy_hash.h"
#include "policy/policy_nat_state.h"

void policy_nat_init(struct policy_nat *nat, struct arena *arena,
                     const struct policy_nat_limits *limits, struct siphash_key key)
{
    memset(nat, 0, sizeof *nat);
    nat->limits = *limits;
    nat->key = key;
    policy_pool_init(&nat->pool, arena, limits->sessions);
    nat->sessions = arena_take(arena, limits->sessions, sizeof *nat->sessions);
    nat->clients = arena_take(arena, limits->clients, sizeof *nat->clients);
    nat->owners = arena_take(arena, (limits->clients + 63) / 64, sizeof *nat->owners);
    nat->ports = arena_take(arena, POLICY_NAT_PORT_MAPS, sizeof *nat->ports);
    uint32_t slots = map_slots_for(limits->sessions);
    map_init(&nat->inside, arena_take(arena, slots, sizeof(struct map_slot)), limits->sessions);
    map_init(&nat->outside, arena_take(arena, slots, sizeof(struct map_slot)), limits->sessions);
}

/* ---- records ---- */

struct ip_addr policy_nat_inside_ip(const struct policy_nat_session *session)
{
    ASSERT((session->flags & POLICY_NAT_EXPIRED) == 0);
    return ip_from_bytes((session->flags & POLICY_NAT_INSIDE_V6) != 0 ? IP_V6 : IP_V4,
                         session->u.inside_ip);
}

struct ip_addr policy_nat_outside_ip(const struct policy_nat_session *session)
{
    return ip_from_bytes((session->flags & POLICY_NAT_OUTSIDE_V6) != 0 ? IP_V6 : IP_V4,
                         session->outside_ip);
}

enum policy_nat_kind policy_nat_kind_of(const struct policy_nat_session *session)
{
    return (enum policy_nat_kind)(session->flags & POLICY_NAT_KIND_MASK);
}

static uint32_t index_of(const struct policy_nat_session *session)
{
    return (session->client - 1) & 0xffffU;
}

bool policy_nat_is_doomed(const struct policy_nat *nat, const struct policy_nat_session *session)
{
    return session->client - 1 != policy_nat_owner(nat, index_of(session));
}

struct policy_nat_tuple policy_nat_outside_of(const struct policy_nat_session *session)
{
    return (struct policy_nat_tuple){index_of(session), policy_nat_kind_of(session),
                                     session->outside_port, policy_nat_outside_ip(session)};
}

struct policy_nat_tuple policy_nat_inside_of(const struct policy_nat_session *session)
{
    return (struct policy_nat_tuple){index_of(session), policy_nat_kind_of(session),
                                     session->inside_port, policy_nat_inside_ip(session)};
}

static uint32_t idle_s(const struct policy_nat_session *session)
{
    if ((session->flags & POLICY_NAT_FIN_OUT) != 0 && (session->flags & POLICY_NAT_FIN_IN) != 0) {
        return POLICY_NAT_CLOSED_S;
    }
    if ((session->flags & POLICY_NAT_CONFIRMED) == 0) {
        return POLICY_NAT_UNCONFIRMED_S;
    }
    switch (policy_nat_kind_of(session)) {
    case POLICY_NAT_TCP:
        return POLICY_NAT_TCP_S;
    case POLICY_NAT_UDP:
    case POLICY_NAT_ICMP:
        return POLICY_NAT_DATAGRAM_S;
    }
    UNREACHABLE();
}

struct instant policy_nat_ends_at(const struct policy_nat_session *session)
{
    return instant_add((struct instant){session->last_ns}, DURATION_S(idle_s(session)));
}

/* ---- hashing ---- */

static uint64_t tuple_hash(const struct policy_nat *nat, uint32_t owner,
                           const struct policy_nat_tuple *tuple)
{
    return policy_hash_of(&nat->key, policy_nat_facts(owner, tuple->port, tuple->kind), &tuple->ip);
}

static bool tuple_equal(const struct policy_nat_tuple *a, const struct policy_nat_tuple *b)
{
    return a->client == b->client && a->kind == b->kind && a->port == b->port &&
           ip_equal(&a->ip, &b->ip);
}

static bool is_outside(const struct policy_nat_session *session, uint32_t owner,
                       const struct policy_nat_tuple *outside)
{
    struct policy_nat_tuple found = policy_nat_outside_of(session);
    return session->client == owner + 1 && tuple_equal(&found, outside);
}

/* Only a live session has an inside tuple. */
static bool is_inside(const struct policy_nat_session *session, uint32_t owner,
                      const struct policy_nat_tuple *inside)
{
    if (session->client != owner + 1 || (session->flags & POLICY_NAT_EXPIRED) != 0) {
        return false;
    }
    struct policy_nat_tuple found = policy_nat_inside_of(session);
    return tuple_equal(&found, inside);
}

uint32_t policy_nat_outside_record(const struct policy_nat *nat,
                                   const struct policy_nat_tuple *outside)
{
    uint32_t owner = policy_nat_owner(nat, outside->client);
    if (nat->guess != 0 && is_outside(&nat->sessions[nat->guess - 1], owner, outside)) {
        return nat->guess - 1;
    }
    uint64_t hash = tuple_hash(nat, owner, outside);
    uint32_t cursor = 0;
    uint32_t at = map_next(&nat->outside, hash, &cursor);
    while (at != MAP_NONE) {
        if (is_outside(&nat->sessions[at], owner, outside)) {
            return at;
        }
        at = map_next(&nat->outside, hash, &cursor);
    }
    return POLICY_NONE;
}

static uint32_t inside_record(const struct policy_nat *nat, const struct policy_nat_tuple *inside)
{
    uint32_t owner = policy_nat_owner(nat, inside->client);
    if (nat->guess != 0 && is_inside(&nat->sessions[nat->guess - 1], owner, inside)) {
        return nat->guess - 1;
    }
    uint64_t hash = tuple_hash(nat, owner, inside);
    uint32_t cursor = 0;
    uint32_t at = map_next(&nat->inside, hash, &cursor);
    while (at != MAP_NONE) {
        if (is_inside(&nat->sessions[at], owner, inside)) {
            return at;
        }
        at = map_next(&nat->inside, hash, &cursor);
    }
    return POLICY_NONE;
}

/* ---- the end of sessions ---- */

static void inside_forget(struct policy_nat *nat, uint32_t at)
{
    const struct policy_nat_session *session = &nat->sessions[at];
    struct policy_nat_tuple inside = policy_nat_inside_of(session);
    bool removed = map_remove(&nat->inside, tuple_hash(nat, session->client - 1, &inside), at);
    ASSERT(removed);
}

static void set_owns(struct policy_nat *nat, uint32_t client, bool owns)
{
    uint64_t bit = UINT64_C(1) << client % 64;
    nat->owners[client / 64] =
        owns ? nat->owners[client / 64] | bit : nat->owners[client / 64] & ~bit;
}

/* Frees a record that is in no list any more. */
static void record_free(struct policy_nat *nat, uint32_t at)
{
    struct policy_nat_session *session = &nat->sessions[at];
    struct policy_nat_tuple outside = policy_nat_outside_of(session);
    bool removed = map_remove(&nat->outside, tuple_hash(nat, session->client - 1, &outside), at);
    ASSERT(removed);
    session->client = 0;
    policy_pool_give(&nat->pool, at);
}

/* Frees a remembered tuple. */
static void expired_free(struct policy_nat *nat, uint32_t at)
{
    const struct policy_nat_session *session = &nat->sessions[at];
    ASSERT((session->flags & POLICY_NAT_EXPIRED) != 0);
    policy_nat_list_unage(nat, at);
    if (policy_nat_is_doomed(nat, session)) {
        policy_nat_list_unlink(nat, &nat->doomed_expired, at);
    } else {
        struct policy_nat_client *client = &nat->clients[index_of(session)];
        policy_nat_list_unlink(nat, &client->expired, at);
        set_owns(nat, index_of(session), client->live.count + client->expired.count > 0);
    }
    record_free(nat, at);
}

/* Turns a live session into a remembered tuple. */
static void session_end(struct policy_nat *nat, uint32_t at)
{
    struct policy_nat_session *session = &nat->sessions[at];
    ASSERT(session->client != 0);
    struct policy_nat_client *client = &nat->clients[index_of(session)];
    struct policy_nat_tuple outside = policy_nat_outside_of(session);
    inside_forget(nat, at);
    policy_nat_list_unlink(nat, &client->live, at);
    policy_nat_ports_set(nat, &outside, false);
    session->flags |= POLICY_NAT_EXPIRED;
    policy_nat_list_append(nat, &client->expired, at);
    policy_nat_list_age(nat, at);
    if (client->expired.count > nat->limits.expired_per_client) {
        expired_free(nat, client->expired.head - 1);
    }
}

static bool ended(const struct policy_nat_session *session, struct instant now)
{
    return instant_reached(now, policy_nat_ends_at(session));
}

void policy_nat_reset_client(struct policy_nat *nat, uint32_t client)
{
    struct policy_nat_client *own = &nat->clients[client];
    policy_nat_ports_forget(nat, client);
    policy_nat_list_move(nat, &own->live, &nat->doomed_live);
    policy_nat_list_move(nat, &own->expired, &nat->doomed_expired);
    own->generation = (own->generation + 1) & 0x7fffU;
    set_owns(nat, client, false);
    policy_nat_drain(nat, POLICY_NAT_RECLAIM_MAX); /* a small client leaves nothing behind */
}

void policy_nat_drain(struct policy_nat *nat, uint32_t budget)
{
    for (; budget > 0 && nat->doomed_live.head != 0; budget--) {
        uint32_t at = nat->doomed_live.head - 1;
        inside_forget(nat, at);
        policy_nat_list_unlink(nat, &nat->doomed_live, at);
        record_free(nat, at);
    }
    for (; budget > 0 && nat->doomed_expired.head != 0; budget--) {
        expired_free(nat, nat->doomed_expired.head - 1);
    }
}

bool policy_nat_is_drained(const struct policy_nat *nat)
{
    return nat->doomed_live.head == 0 && nat->doomed_expired.head == 0;
}

/* ---- look-up ---- */

/* Where the tuple would stand among the absent. Not a defence: a collision costs a look-up. */
static uint32_t absent_index(const struct policy_nat_tuple *outside)
{
    const uint8_t *ip = outside->ip.bytes;
    uint32_t far = load_be32(ip) ^ load_be32(ip + 12);
    uint32_t own = outside->client << 16U | outside->port;
    uint32_t mix = (far * UINT32_C(0x9e3779b1) ^ own) * UINT32_C(0x85ebca6b);
    return (mix >> 16U) % POLICY_NAT_ABSENT;
}

uint32_t policy_nat_find_inside(struct policy_nat *nat, const struct policy_nat_tuple *inside,
                                struct instant now)
{
    uint32_t at = inside_record(nat, inside);
    if (at != POLICY_NONE && ended(&nat->sessions[at], now)) {
        session_end(nat, at);
        return POLICY_NONE;
    }
    return at;
}

uint32_t policy_nat_find_outside(struct policy_nat *nat, const struct policy_nat_tuple *outside,
                                 struct instant now, bool *expired)
{
    *expired = false;
    if (!policy_nat_owns(nat, outside->client)) {
        return POLICY_NONE; /* nearly every client without names */
    }
    struct policy_nat_tuple *absent = &nat->absent[absent_index(outside)];
    if (nat->guess == 0 && tuple_equal(absent, outside)) {
        return POLICY_NONE;
    }
    uint32_t at = policy_nat_outside_record(nat, outside);
    if (at == POLICY_NONE) {
        *absent = *outside;
        return POLICY_NONE;
    }
    if ((nat->sessions[at].flags & POLICY_NAT_EXPIRED) != 0) {
        *expired = true;
        return POLICY_NONE;
    }
    if (ended(&nat->sessions[at], now)) {
        session_end(nat, at);
        *expired = true;
        return POLICY_NONE;
    }
    return at;
}

/* ---- opening ---- */

/* Ends dead sessions among the client's oldest; the living ones go to the end of the queue, so that
 * each call looks at others. */
static void reclaim(struct policy_nat *nat, struct policy_nat_client *client, struct instant now)
{
    policy_nat_drain(nat, POLICY_NAT_RECLAIM_MAX);
    for (uint32_t i = 0; i < POLICY_NAT_RECLAIM_MAX && client->live.head != 0; i++) {
        uint32_t at = client->live.head - 1;
        if (ended(&nat->sessions[at], now)) {
            session_end(nat, at);
        } else {
            policy_nat_list_unlink(nat, &client->live, at);
            policy_nat_list_append(nat, &client->live, at);
        }
    }
}

/* Takes a record: a free one, else that of the oldest remembered tuple. */
static uint32_t record_take(struct policy_nat *nat)
{
    uint32_t at = policy_pool_take(&nat->pool);
    if (at == POLICY_NONE && nat->aged.head != 0) {
        expired_free(nat, nat->aged.head - 1);
        at = policy_pool_take(&nat->pool);
    }
    return at;
}

/* Finds who has most sessions; who had most is still good while it has half of what it may have. */
static void find_heaviest(struct policy_nat *nat, struct instant now)
{
    const struct policy_nat_client *clients = nat->clients;
    if (clients[nat->heaviest].live.count > nat->limits.sessions_per_client / 2 ||
        !policy_rate_allow(&nat->scans_rate, now, POLICY_NAT_SCANS_PER_S)) {
        return;
    }
    for (uint32_t i = 0; i < nat->limits.clients; i++) {
        if (clients[i].live.count > clients[nat->heaviest].live.count) {
            nat->heaviest = i;
        }
    }
}

/* Makes room in a full table for a client that has less than its share. */
static void displace(struct policy_nat *nat, const struct policy_nat_client *newcomer,
                     struct instant now)
{
    uint32_t share = nat->limits.sessions / POLICY_NAT_SHARE;
    if (newcomer->live.count >= share) {
        return;
    }
    find_heaviest(nat, now);
    const struct policy_nat_client *heaviest = &nat->clients[nat->heaviest];
    if (heaviest->live.count > share) {
        session_end(nat, heaviest->live.head - 1);
    }
}

uint32_t policy_nat_open(struct policy_nat *nat, const struct policy_nat_tuple *inside,
                         const struct ip_addr *real, struct instant now)
{
    struct policy_nat_client *client = &nat->clients[inside->client];
    ASSERT(inside_record(nat, inside) == POLICY_NONE);
    if (client->live.count >= nat->limits.sessions_per_client ||
        policy_nat_live_count(nat) >= nat->limits.sessions) {
        reclaim(nat, client, now);
    }
    if (policy_nat_live_count(nat) >= nat->limits.sessions) {
        displace(nat, client, now);
    }
    if (client->live.count >= nat->limits.sessions_per_client ||
        policy_nat_live_count(nat) >= nat->limits.sessions) {
        return POLICY_NONE;
    }
    struct policy_nat_tuple outside = {inside->client, inside->kind, inside->port, *real};
    if (!policy_nat_choose_port(nat, &outside, now, &outside.port)) {
        reclaim(nat, client, now); /* the dead hold their ports until they are found */
        if (!policy_nat_choose_port(nat, &outside, now, &outside.port)) {
            return POLICY_NONE;
        }
    }
    uint32_t old = policy_nat_outside_record(nat, &outside);
    if (old != POLICY_NONE) {
        expired_free(nat, old); /* the tuple lives again */
    }
    uint32_t at = record_take(nat);
    ASSERT(at != POLICY_NONE);
    struct policy_nat_session *session = &nat->sessions[at];
    memset(session, 0, sizeof *session);
    memcpy(session->u.inside_ip, inside->ip.bytes, sizeof session->u.inside_ip);
    memcpy(session->outside_ip, real->bytes, sizeof session->outside_ip);
    session->last_ns = now.ns;
    session->client = policy_nat_owner(nat, inside->client) + 1;
    session->inside_port = inside->port;
    session->outside_port = outside.port;
    session->flags = (uint8_t)((unsigned)inside->kind |
                               (inside->ip.family == IP_V6 ? (unsigned)POLICY_NAT_INSIDE_V6 : 0U) |
                               (real->family == IP_V6 ? (unsigned)POLICY_NAT_OUTSIDE_V6 : 0U));
    policy_nat_list_append(nat, &client->live, at);
    set_owns(nat, inside->client, true);
    nat->absent[absent_index(&outside)].ip.family = IP_NONE;
    uint32_t owner = policy_nat_owner(nat, inside->client);
    bool inserted = map_insert(&nat->inside, tuple_hash(nat, owner, inside), at) &&
                    map_insert(&nat->outside, tuple_hash(nat, owner, &outside), at);
    ASSERT(inserted);
    policy_nat_ports_set(nat, &outside, true);
    return at;
}

void policy_nat_touch(struct policy_nat *nat, uint32_t session, enum policy_nat_direction direction,
                      uint8_t tcp_flags, struct instant now)
{
    struct policy_nat_session *own = &nat->sessions[session];
    ASSERT(own->client != 0);
    ASSERT((own->flags & POLICY_NAT_EXPIRED) == 0);
    unsigned flags = own->flags;
    if (direction == POLICY_NAT_IN) {
        flags |= POLICY_NAT_CONFIRMED;
    }
    if (direction == POLICY_NAT_OUT && (tcp_flags & PACKET_TCP_SYN) != 0) {
        flags &= ~(unsigned)(POLICY_NAT_FIN_OUT | POLICY_NAT_FIN_IN);
    }
    if ((tcp_flags & PACKET_TCP_FIN) != 0) {
        flags |=
            direction == POLICY_NAT_IN ? (unsigned)POLICY_NAT_FIN_IN : (unsigned)POLICY_NAT_FIN_OUT;
    }
    own->flags = (uint8_t)flags;
    own->last_ns = now.ns;
    if ((tcp_flags & PACKET_TCP_RST) != 0) {
        session_end(nat, session);
    }
}

void policy_nat_set_far_port(struct policy_nat *nat, uint32_t session, uint16_t far_port)
{
    struct policy_nat_session *own = &nat->sessions[session];
    if (own->far_port != far_port) {
        own->far_port = far_port;
        own->flags &= (uint8_t) ~(unsigned)(POLICY_NAT_FIN_OUT | POLICY_NAT_FIN_IN);
    }
}

static void forget_expired(struct policy_nat *nat, const struct policy_nat_tuple *outside)
{
    uint32_t at = policy_nat_outside_record(nat, outside);
    if (at != POLICY_NONE) { /* a client may be permitted to remember none */
        expired_free(nat, at);
    }
}

/* Gives a session another port outside; where none is free it ends. */
static void session_move(struct policy_nat *nat, uint32_t at, struct instant now)
{
    struct policy_nat_session *session = &nat->sessions[at];
    struct policy_nat_tuple old = policy_nat_outside_of(session);
    struct policy_nat_tuple outside = old;
    outside.port = old.port == POLICY_NAT_PORTS - 1 ? 1 : (uint16_t)(old.port + 1);
    if (!policy_nat_choose_port(nat, &outside, now, &outside.port)) {
        session_end(nat, at);
        forget_expired(nat, &old);
        return;
    }
    forget_expired(nat, &outside);
    uint32_t owner = session->client - 1;
    bool moved = map_remove(&nat->outside, tuple_hash(nat, owner, &old), at);
    session->outside_port = outside.port;
    nat->absent[absent_index(&outside)].ip.family = IP_NONE;
    moved = moved && map_insert(&nat->outside, tuple_hash(nat, owner, &outside), at);
    ASSERT(moved);
    policy_nat_ports_set(nat, &old, false);
    policy_nat_ports_set(nat, &outside, true);
}

static bool is_connected(const struct policy_nat_session *session)
{
    unsigned fins = session->flags & ((unsigned)POLICY_NAT_FIN_OUT | (unsigned)POLICY_NAT_FIN_IN);
    return policy_nat_kind_of(session) == POLICY_NAT_TCP &&
           (session->flags & POLICY_NAT_CONFIRMED) != 0 &&
           fins != ((unsigned)POLICY_NAT_FIN_OUT | (unsigned)POLICY_NAT_FIN_IN);
}

bool policy_nat_yield(struct policy_nat *nat, const struct policy_nat_tuple *outside,
                      struct instant now)
{
    bool expired = false;
    uint32_t at = policy_nat_find_outside(nat, outside, now, &expired);
    if (expired) {
        forget_expired(nat, outside);
    }
    if (at != POLICY_NONE && is_connected(&nat->sessions[at])) {
        return false;
    }
    if (at != POLICY_NONE) {
        session_move(nat, at, now);
    }
    return true;
}

uint32_t policy_nat_live_count(const struct policy_nat *nat)
{
    return nat->pool.used - nat->aged.count;
}

void policy_nat_sweep(struct policy_nat *nat, struct instant now)
{
    uint32_t budget = nat->pool.fresh < POLICY_NAT_SLICE ? nat->pool.fresh : POLICY_NAT_SLICE;
    for (uint32_t i = 0; i < budget; i++) {
        uint32_t at = nat->sweep_at;
        nat->sweep_at = at + 1 < nat->pool.fresh ? at + 1 : 0;
        const struct policy_nat_session *session = &nat->sessions[at];
        if (session->client != 0 && (session->flags & POLICY_NAT_EXPIRED) == 0 &&
            ended(session, now) && !policy_nat_is_doomed(nat, session)) {
            session_end(nat, at);
        }
    }
}

struct duration policy_nat_sweep_pause(const struct policy_nat *nat)
{
    uint64_t slices = nat->pool.fresh / POLICY_NAT_SLICE + 1;
    return duration_min(DURATION_MS(POLICY_NAT_SWEEP_EVERY_MS),
                        DURATION_MS(POLICY_NAT_SWEEP_S * 1000U / slices));
}
