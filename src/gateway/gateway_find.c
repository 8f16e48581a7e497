/* Which connection an id, a key or a client of the policy means. */
#include "gateway/gateway_internal.h"

/* ---- ids: a Feistel permutation of 24 bits ---- */

static uint32_t round_value(struct gateway *gw, uint32_t half, uint32_t round)
{
    uint16_t *value = &gw->rounds.values[round][half];
    if (*value == 0) {
        uint8_t bytes[8];
        store_le32(bytes, half);
        store_le32(bytes + 4, round);
        *value = (uint16_t)((gateway_hash(gw, VIEW_OF(bytes)) & GATEWAY_ID_HALF_MASK) + 1);
    }
    return *value - 1U;
}

static uint32_t permute(struct gateway *gw, uint32_t value)
{
    uint32_t left = value >> GATEWAY_ID_HALF_BITS;
    uint32_t right = value & GATEWAY_ID_HALF_MASK;
    for (uint32_t round = 0; round < GATEWAY_ID_ROUNDS; round++) {
        uint32_t next = left ^ round_value(gw, right, round);
        left = right;
        right = next;
    }
    return left << GATEWAY_ID_HALF_BITS | right;
}

static uint32_t unpermute(struct gateway *gw, uint32_t value)
{
    uint32_t left = value >> GATEWAY_ID_HALF_BITS;
    uint32_t right = value & GATEWAY_ID_HALF_MASK;
    for (uint32_t round = GATEWAY_ID_ROUNDS; round > 0; round--) {
        uint32_t previous = right ^ round_value(gw, left, round - 1);
        right = left;
        left = previous;
    }
    return left << GATEWAY_ID_HALF_BITS | right;
}

static uint32_t index_bits(const struct gateway *gw)
{
    uint32_t last = gw->limits.clients - 1;
    return last < 2 ? 1 : 32U - (uint32_t)__builtin_clz(last);
}

uint32_t gateway_connection_make_id(struct gateway *gw, uint32_t index, uint32_t generation)
{
    return permute(gw, (generation << index_bits(gw) | index) & WG_PEER_ID_MAX);
}

/* ---- finding ---- */

struct gateway_connection *gateway_connection_of(struct gateway *gw, uint32_t policy_client)
{
    if (policy_client == POLICY_CLIENT_NONE) {
        return NULL;
    }
    struct gateway_connection *c = &gw->connections[policy_client_index(policy_client)];
    return c->used && c->policy_client == policy_client ? c : NULL;
}

uint32_t gateway_connection_index(struct gateway *gw, uint32_t id24)
{
    if (gw->recent_id_plus_one != id24 + 1) {
        uint32_t value = unpermute(gw, id24 & WG_PEER_ID_MAX);
        gw->recent_id_plus_one = id24 + 1;
        gw->recent_index = value & ((UINT32_C(1) << index_bits(gw)) - 1);
    }
    return gw->recent_index < gw->limits.clients ? gw->recent_index : GATEWAY_NONE;
}

struct gateway_connection *gateway_connection_by_id(struct gateway *gw, uint32_t id24)
{
    uint32_t index = gateway_connection_index(gw, id24);
    if (index == GATEWAY_NONE) {
        return NULL;
    }
    struct gateway_connection *c = &gw->connections[index];
    return c->used && c->id24 == id24 ? c : NULL;
}

struct gateway_connection *gateway_connection_by_key(struct gateway *gw,
                                                     const struct x25519_public *key,
                                                     const struct sock_addr *local,
                                                     const struct sock_addr *remote)
{
    uint64_t hash = gateway_hash(gw, VIEW_OF(key->bytes));
    uint32_t cursor = 0;
    struct gateway_connection *found = NULL;
    enum ice_familiarity best = ICE_STRANGE;
    for (uint32_t i = map_next(&gw->connection_by_key, hash, &cursor); i != MAP_NONE;
         i = map_next(&gw->connection_by_key, hash, &cursor)) {
        struct gateway_connection *c = &gw->connections[i];
        if (!x25519_public_equal(&c->wg.remote, key)) {
            continue;
        }
        enum ice_familiarity familiarity = ice_agent_knows(&c->ice, local, remote);
        if (found == NULL || familiarity > best) {
            found = c;
            best = familiarity;
        }
    }
    return found;
}

void gateway_connection_fetch(const struct gateway *gw, uint32_t index)
{
    const struct gateway_connection *c = &gw->connections[index];
    fetch_line(&c->path);
    fetch_line(&c->active_at);
}

void gateway_connection_fetch_session(const struct gateway *gw, uint32_t index)
{
    wg_peer_fetch(&gw->connections[index].wg);
}

/* True when the hint names a connection, and not that of the packet before. */
static bool names_another(const struct policy_hint *hints, size_t i)
{
    return hints[i].client != 0 && (i == 0 || hints[i].client != hints[i - 1].client);
}

void gateway_connection_fetch_later(const struct gateway *gw, const struct policy_hint *hints,
                                    size_t count, size_t at)
{
    if (at < count && names_another(hints, at)) {
        const struct gateway_connection *c = &gw->connections[hints[at].client - 1];
        fetch_later(&c->path);
        fetch_later(&c->active_at);
    }
    size_t then = at - GATEWAY_FETCH_APART;
    if (at >= GATEWAY_FETCH_APART && then < count && names_another(hints, then)) {
        wg_peer_fetch_later(&gw->connections[hints[then].client - 1].wg);
    }
}
