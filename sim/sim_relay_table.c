#include <string.h>

#include "sim/sim_relay_internal.h"

#define UNBOUND_FOR DURATION_S(300) /* cool-down of a channel, spec/relay.md section 6 */

/* ---- hashing: keyed, over a canonical encoding ---- */

static uint64_t hash_address(const struct sim_relay *relay, uint32_t owner,
                             const struct sock_addr *address)
{
    uint8_t bytes[4 + 1 + 16 + 2];
    store_be32(bytes, owner);
    bytes[4] = address->ip.family;
    memcpy(bytes + 5, address->ip.bytes, 16);
    store_be16(bytes + 21, address->port);
    return siphash13(&relay->key, VIEW_OF(bytes));
}

static uint64_t hash_number(const struct sim_relay *relay, uint16_t allocation, uint16_t number)
{
    uint8_t bytes[4];
    store_be16(bytes, allocation);
    store_be16(bytes + 2, number);
    return siphash13(&relay->key, VIEW_OF(bytes));
}

static uint16_t index_of(const struct sim_relay *relay, const struct relay_allocation *allocation)
{
    return (uint16_t)(allocation - relay->allocations);
}

/* ---- allocations ---- */

static void reset_indexes(struct sim_relay *relay)
{
    uint32_t clients = map_slots_for(SIM_RELAY_ALLOCATIONS_MAX);
    uint32_t channels = map_slots_for(SIM_RELAY_CHANNELS_MAX);
    memset(relay->slots, 0, (clients + 2U * channels) * sizeof *relay->slots);
    map_init(&relay->by_client, relay->slots, SIM_RELAY_ALLOCATIONS_MAX);
    map_init(&relay->by_number, relay->slots + clients, SIM_RELAY_CHANNELS_MAX);
    map_init(&relay->by_peer, relay->slots + clients + channels, SIM_RELAY_CHANNELS_MAX);
    memset(relay->by_port, 0xFF, sizeof relay->by_port);
}

void relay_table_clear(struct sim_relay *relay, struct sim_outbox *out)
{
    for (uint32_t i = 0; i < SIM_RELAY_ALLOCATIONS_MAX; i++) {
        if (relay->allocations[i].used) {
            relay_allocation_end(relay, &relay->allocations[i], out);
        }
    }
    memset(relay->nonces, 0, sizeof relay->nonces);
    memset(relay->allocations, 0, sizeof relay->allocations);
    memset(relay->channels, 0, sizeof relay->channels);
    memset(relay->permissions, 0, sizeof relay->permissions);
    relay->allocations_count = 0;
    relay->channels_high = 0;
    relay->permissions_high = 0;
    reset_indexes(relay);
    relay->next_at = TIME_NEVER;
}

struct relay_allocation *relay_allocation_of(struct sim_relay *relay,
                                             const struct sock_addr *client)
{
    uint32_t cursor = 0;
    uint64_t hash = hash_address(relay, 0, client);
    for (;;) {
        uint32_t i = map_next(&relay->by_client, hash, &cursor);
        if (i == MAP_NONE) {
            return NULL;
        }
        if (sock_addr_equal(&relay->allocations[i].client, client)) {
            return &relay->allocations[i];
        }
    }
}

struct relay_allocation *relay_allocation_add(struct sim_relay *relay,
                                              const struct sock_addr *client)
{
    for (uint32_t i = 0; i < SIM_RELAY_ALLOCATIONS_MAX; i++) {
        struct relay_allocation *allocation = &relay->allocations[i];
        if (allocation->used) {
            continue;
        }
        memset(allocation, 0, sizeof *allocation);
        allocation->used = true;
        allocation->client = *client;
        allocation->expires_at = TIME_NEVER;
        relay->allocations_count++;
        bool fitted = map_insert(&relay->by_client, hash_address(relay, 0, client), i);
        ASSERT(fitted);
        return allocation;
    }
    return NULL;
}

bool relay_allocation_has(const struct relay_allocation *allocation, enum ip_family family)
{
    return (family == IP_V4 ? allocation->v4 : allocation->v6).ip.family != IP_NONE;
}

static bool port_is_free(const struct sim_relay *relay, uint16_t port)
{
    return relay->by_port[0][port] == RELAY_NOBODY && relay->by_port[1][port] == RELAY_NOBODY;
}

/* Uniform over the range, drawn again while taken; a full range ends at the first free port. */
static uint16_t draw_port(struct sim_relay *relay)
{
    uint32_t lowest = relay->config.port_lowest;
    uint32_t range = (uint32_t)relay->config.port_highest - lowest + 1U;
    for (uint32_t i = 0; i < 16; i++) {
        uint16_t port = (uint16_t)(lowest + rng_below(&relay->rng, range));
        if (port_is_free(relay, port)) {
            return port;
        }
    }
    for (uint32_t i = 0; i < range; i++) {
        if (port_is_free(relay, (uint16_t)(lowest + i))) {
            return (uint16_t)(lowest + i);
        }
    }
    return 0;
}

uint16_t relay_allocation_open(struct sim_relay *relay, struct relay_allocation *allocation,
                               enum ip_family family, struct sim_outbox *out)
{
    /* The second family takes the first one's number, except in coturn. */
    uint16_t port = 0;
    if (!relay_is_coturn(relay)) {
        port = (uint16_t)(allocation->v4.port | allocation->v6.port);
    }
    if (port == 0) {
        port = draw_port(relay);
    }
    if (port == 0) {
        return 0;
    }
    struct ip_addr ip = family == IP_V4 ? relay->addresses.ipv4 : relay->addresses.ipv6;
    struct sock_addr *relayed = family == IP_V4 ? &allocation->v4 : &allocation->v6;
    *relayed = sock_addr_of(ip, port);
    relay->by_port[family == IP_V4 ? 0 : 1][port] = index_of(relay, allocation);
    sim_put_bind(out, *relayed);
    return port;
}

static void close_port(struct sim_relay *relay, struct sock_addr *relayed, struct sim_outbox *out)
{
    if (relayed->ip.family == IP_NONE) {
        return;
    }
    relay->by_port[relayed->ip.family == IP_V4 ? 0 : 1][relayed->port] = RELAY_NOBODY;
    if (out != NULL) {
        sim_put_unbind(out, *relayed);
    }
    memset(relayed, 0, sizeof *relayed);
}

void relay_allocation_end(struct sim_relay *relay, struct relay_allocation *allocation,
                          struct sim_outbox *out)
{
    ASSERT(allocation->used);
    uint16_t index = index_of(relay, allocation);
    for (uint32_t i = 0; i < relay->channels_high; i++) {
        if (relay->channels[i].used && relay->channels[i].allocation == index) {
            relay_channel_end(relay, &relay->channels[i]);
        }
    }
    for (uint32_t i = 0; i < relay->permissions_high; i++) {
        if (relay->permissions[i].allocation == index) {
            relay->permissions[i].used = false;
        }
    }
    close_port(relay, &allocation->v4, out);
    close_port(relay, &allocation->v6, out);
    map_remove(&relay->by_client, hash_address(relay, 0, &allocation->client), index);
    allocation->used = false;
    relay->allocations_count--;
    relay->counters.allocations_ended++;
}

struct relay_allocation *relay_allocation_at_port(struct sim_relay *relay,
                                                  const struct sock_addr *local)
{
    uint16_t index = relay->by_port[local->ip.family == IP_V4 ? 0 : 1][local->port];
    return index == RELAY_NOBODY ? NULL : &relay->allocations[index];
}

/* ---- channels ---- */

struct relay_channel *relay_channel_by_number(struct sim_relay *relay,
                                              const struct relay_allocation *allocation,
                                              uint16_t number)
{
    uint16_t owner = index_of(relay, allocation);
    uint32_t cursor = 0;
    uint64_t hash = hash_number(relay, owner, number);
    for (;;) {
        uint32_t i = map_next(&relay->by_number, hash, &cursor);
        if (i == MAP_NONE) {
            return NULL;
        }
        if (relay->channels[i].allocation == owner && relay->channels[i].number == number) {
            return &relay->channels[i];
        }
    }
}

struct relay_channel *relay_channel_by_peer(struct sim_relay *relay,
                                            const struct relay_allocation *allocation,
                                            const struct sock_addr *peer)
{
    uint16_t owner = index_of(relay, allocation);
    uint32_t cursor = 0;
    uint64_t hash = hash_address(relay, owner, peer);
    for (;;) {
        uint32_t i = map_next(&relay->by_peer, hash, &cursor);
        if (i == MAP_NONE) {
            return NULL;
        }
        struct relay_channel *channel = &relay->channels[i];
        if (channel->allocation == owner && sock_addr_equal(&channel->peer, peer)) {
            return channel;
        }
    }
}

struct relay_channel *relay_channel_add(struct sim_relay *relay,
                                        const struct relay_allocation *allocation, uint16_t number,
                                        const struct sock_addr *peer)
{
    for (uint32_t i = 0; i < SIM_RELAY_CHANNELS_MAX; i++) {
        struct relay_channel *channel = &relay->channels[i];
        if (channel->used) {
            continue;
        }
        memset(channel, 0, sizeof *channel);
        channel->used = true;
        channel->number = number;
        channel->allocation = index_of(relay, allocation);
        channel->peer = *peer;
        channel->expires_at = TIME_NEVER;
        relay->channels_high = i >= relay->channels_high ? i + 1 : relay->channels_high;
        bool fitted =
            map_insert(&relay->by_number, hash_number(relay, channel->allocation, number), i);
        fitted = map_insert(&relay->by_peer, hash_address(relay, channel->allocation, peer), i) &&
                 fitted;
        ASSERT(fitted);
        return channel;
    }
    return NULL;
}

void relay_channel_end(struct sim_relay *relay, struct relay_channel *channel)
{
    ASSERT(channel->used);
    uint32_t i = (uint32_t)(channel - relay->channels);
    map_remove(&relay->by_number, hash_number(relay, channel->allocation, channel->number), i);
    map_remove(&relay->by_peer, hash_address(relay, channel->allocation, &channel->peer), i);
    channel->used = false;
}

/* ---- permissions ---- */

bool relay_permission_set(struct sim_relay *relay, const struct relay_allocation *allocation,
                          const struct ip_addr *peer, struct instant until)
{
    uint16_t owner = index_of(relay, allocation);
    struct relay_permission *free_slot = NULL;
    for (uint32_t i = 0; i < SIM_RELAY_PERMISSIONS_MAX; i++) {
        struct relay_permission *permission = &relay->permissions[i];
        if (permission->used && permission->allocation == owner &&
            ip_equal(&permission->peer, peer)) {
            permission->expires_at = instant_max(permission->expires_at, until);
            return true;
        }
        if (!permission->used && free_slot == NULL) {
            free_slot = permission;
        }
    }
    if (free_slot == NULL) {
        return false;
    }
    *free_slot = (struct relay_permission){true, owner, *peer, until};
    uint32_t high = (uint32_t)(free_slot - relay->permissions) + 1;
    relay->permissions_high = high > relay->permissions_high ? high : relay->permissions_high;
    return true;
}

bool relay_permission_has(const struct sim_relay *relay, const struct relay_allocation *allocation,
                          const struct ip_addr *peer, struct instant now)
{
    uint16_t owner = index_of(relay, allocation);
    for (uint32_t i = 0; i < relay->permissions_high; i++) {
        const struct relay_permission *permission = &relay->permissions[i];
        if (permission->used && permission->allocation == owner &&
            ip_equal(&permission->peer, peer) && !instant_reached(now, permission->expires_at)) {
            return true;
        }
    }
    return false;
}

/* ---- time: allocations first, then bindings, then cool-downs (spec/relay.md section 12) ---- */

static void advance_allocations(struct sim_relay *relay, struct instant now, struct sim_outbox *out)
{
    for (uint32_t i = 0; i < SIM_RELAY_ALLOCATIONS_MAX && relay->allocations_count > 0; i++) {
        struct relay_allocation *allocation = &relay->allocations[i];
        if (!allocation->used) {
            continue;
        }
        if (!instant_reached(now, allocation->expires_at)) {
            relay->next_at = instant_min(relay->next_at, allocation->expires_at);
            continue;
        }
        if (relay_is_coturn(relay)) {
            relay_auth_forget_client(relay, &allocation->client); /* the session ends */
        }
        relay_allocation_end(relay, allocation, out);
    }
}

static void advance_channel(struct sim_relay *relay, struct relay_channel *channel,
                            struct instant now)
{
    if (channel->bound && instant_reached(now, channel->expires_at)) {
        channel->bound = false;
        /* coturn knows no cool-down. */
        struct duration cool_down = relay_is_coturn(relay) ? DURATION_ZERO : UNBOUND_FOR;
        channel->expires_at = instant_add(channel->expires_at, cool_down);
        relay->counters.channels_expired++;
    }
    if (!channel->bound && instant_reached(now, channel->expires_at)) {
        relay_channel_end(relay, channel);
        return;
    }
    relay->next_at = instant_min(relay->next_at, channel->expires_at);
}

void relay_table_advance(struct sim_relay *relay, struct instant now, struct sim_outbox *out)
{
    relay->next_at = TIME_NEVER;
    advance_allocations(relay, now, out);
    for (uint32_t i = 0; i < relay->channels_high; i++) {
        if (relay->channels[i].used) {
            advance_channel(relay, &relay->channels[i], now);
        }
    }
    for (uint32_t i = 0; i < relay->permissions_high; i++) {
        if (relay->permissions[i].used && instant_reached(now, relay->permissions[i].expires_at)) {
            relay->permissions[i].used = false;
        }
    }
}
