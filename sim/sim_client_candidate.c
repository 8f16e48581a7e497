/* Candidates and pairs: what may be tried, in which order, and which pair is chosen.
 * Source: spec/connectivity.md sections 5.4, 5.6 to 5.9 and 5.16. */
#include <string.h>

#include "sim/sim_client_ice.h"

/* ---- priorities ---- */

static uint32_t preference_of(const struct client_link *link, enum ice_kind kind,
                              const struct sock_addr *addr, bool cross_family)
{
    static const uint32_t first[] = {
        [ICE_HOST] = 65535, [ICE_PRFLX] = 49151, [ICE_SRFLX] = 32767, [ICE_RELAY] = 16383};
    uint32_t value = first[kind] - (addr->ip.family == IP_V4 ? 1U : 0U);
    for (uint32_t i = 0; i < link->locals_count; i++) {
        if (link->locals[i].kind == kind && link->locals[i].addr.ip.family == addr->ip.family) {
            value -= 2;
        }
    }
    return cross_family ? value - 1000U : value;
}

uint32_t client_priority_of(enum ice_kind kind, uint32_t preference)
{
    static const uint32_t type[] = {
        [ICE_HOST] = 126, [ICE_PRFLX] = 110, [ICE_SRFLX] = 100, [ICE_RELAY] = 2};
    return type[kind] * UINT32_C(16777216) + preference * 256U + 255U;
}

/* The client controls: G is the local candidate. */
static uint64_t pair_priority(uint32_t g, uint32_t d)
{
    uint64_t low = g < d ? g : d;
    uint64_t high = g < d ? d : g;
    return (low << 32) + 2 * high + (g > d ? 1 : 0);
}

/* ---- pairs ---- */

void client_pair_remove(struct client_link *link, uint32_t index)
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

struct client_pair *client_pair_find(struct client_link *link, uint32_t local, uint32_t remote)
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

void client_pair_add(const struct sim_client *client, struct client_link *link, uint32_t local,
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
        client_pair_remove(link, CLIENT_PAIRS_MAX - 1);
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
void client_pair_nominate(struct sim_client *client, struct client_link *link)
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
        client_pair_add(client, link, local, i);
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
    own->priority = client_priority_of(own->kind, own->preference);
    link->locals_count++;
    pair_local(client, link, index);
    signal_local(client, link, index);
}

static void drop_pairs_of(struct client_link *link, bool local, uint32_t candidate)
{
    for (uint32_t i = link->pairs_count; i > 0; i--) {
        uint32_t which = local ? link->pairs[i - 1].local : link->pairs[i - 1].remote;
        if (which == candidate) {
            client_pair_remove(link, i - 1);
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
        client_pair_nominate(client, link);
    }
}

static void pair_remote(const struct sim_client *client, struct client_link *link, uint32_t remote)
{
    for (uint32_t i = 0; i < link->locals_count; i++) {
        client_pair_add(client, link, i, remote);
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
void client_ice_bind(struct sim_client *client, const struct client_link *link,
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
    client_ice_bind(client, link, &peer);
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
            client_pair_nominate(client, link);
            return;
        }
    }
}
