/* Beginning and end: the limits, where the tables stand in memory, the first state. */
#include "gateway/gateway_internal.h"

#include <sodium.h>

#include "crypto/aead_ipsec.h"
#include "crypto/x25519.h"

#define HANDSHAKES_PER_S 2000U /* before cookies, design section 8.2 */

struct gateway_limits gateway_limits_default(void)
{
    struct policy_limits policy = policy_limits_default();
    return (struct gateway_limits){
        .clients = policy.clients,
        .relays = 16,
        .resources_per_client = policy.resources_per_client,
        .nat_sessions = policy.nat_sessions,
        .nat_sessions_per_client = policy.nat_sessions_per_client,
        .nat_expired_per_client = policy.nat_expired_per_client,
        .lookups = 1024,
        .dns_cache = 512,
    };
}

static struct policy_limits to_policy_limits(const struct gateway_limits *limits)
{
    struct policy_limits policy = policy_limits_default();
    policy.clients = limits->clients;
    policy.resources_per_client = limits->resources_per_client;
    policy.nat_sessions = limits->nat_sessions;
    policy.nat_sessions_per_client = limits->nat_sessions_per_client;
    policy.nat_expired_per_client = limits->nat_expired_per_client;
    uint64_t proxies = (uint64_t)limits->clients * policy.proxies_per_client;
    uint64_t domains = (uint64_t)limits->clients * 16U;
    policy.proxies = policy.proxies < proxies ? policy.proxies : (uint32_t)proxies;
    policy.domains = policy.domains < domains ? policy.domains : (uint32_t)domains;
    return policy;
}

/* Where the tables stand in the gateway's memory; NULL everywhere while measuring. */
struct layout {
    struct gateway_relay *relays;
    struct gateway_connection *connections;
    struct wg_window *windows;
    struct blocks blocks;
    struct gateway_resolve *resolves;
    struct gateway_cached *cache;
    struct map_slot *relay_by_server;
    struct map_slot *connection_by_ufrag;
    struct map_slot *connection_by_key;
    struct map_slot *resolve_by_id;
    struct map_slot *cache_by_name;
    uint32_t *heap_order;
    uint32_t *heap_position;
    struct instant *heap_at;
    uint8_t *tx;
    struct gateway_train_record *trains;
    struct gateway_tun_record *tun_out;
    struct gateway_open_slot *open_slots;
    uint8_t *aead_memory;
    struct gateway_waiting *waiting;
    struct gateway_group *groups;
    struct gateway_inbound *inbound;
    uint8_t *inbound_last;
    struct gateway_flow_record *flows;
    struct map_slot *flow_by_key;
};

static struct map_slot *take_slots(struct arena *arena, uint32_t capacity)
{
    return arena_take(arena, map_slots_for(capacity), sizeof(struct map_slot));
}

static struct layout lay_out(struct arena *arena, const struct gateway_limits *limits)
{
    struct layout l;
    uint32_t records = limits->clients + limits->relays;
    l.relays = arena_take(arena, limits->relays, sizeof(*l.relays));
    l.connections = arena_take(arena, limits->clients, sizeof(*l.connections));
    l.windows = arena_take(arena, (size_t)limits->clients * WG_SESSIONS_MAX, sizeof(*l.windows));
    struct blocks_counts counts = ICE_BLOCKS(limits->clients);
    for (uint32_t i = 0; i < BLOCKS_CLASSES; i++) {
        /* of signals and of held messages */
        counts.of[i] += limits->clients * (i <= 2 ? 2U : (i == 3 ? 1U : 0U));
    }
    blocks_init(&l.blocks, arena, &counts);
    l.resolves = arena_take(arena, limits->lookups, sizeof(*l.resolves));
    l.cache = arena_take(arena, limits->dns_cache, sizeof(*l.cache));
    l.relay_by_server = take_slots(arena, 2 * limits->relays);
    l.connection_by_ufrag = take_slots(arena, limits->clients);
    l.connection_by_key = take_slots(arena, limits->clients);
    l.resolve_by_id = take_slots(arena, 2 * limits->lookups);
    l.cache_by_name = take_slots(arena, limits->dns_cache);
    l.heap_order = arena_take(arena, records, sizeof(*l.heap_order));
    l.heap_position = arena_take(arena, records, sizeof(*l.heap_position));
    l.heap_at = arena_take(arena, records, sizeof(*l.heap_at));
    l.tx = arena_take(arena, GATEWAY_TX_SIZE, 1);
    l.trains = arena_take(arena, GATEWAY_TRAINS_MAX, sizeof(*l.trains));
    l.tun_out = arena_take(arena, GATEWAY_TUN_OUT_MAX, sizeof(*l.tun_out));
    l.open_slots = arena_take(arena, GATEWAY_AEAD_BATCH, sizeof(*l.open_slots));
    l.aead_memory = arena_take(arena, aead_ipsec_size(), 1);
    l.waiting = arena_take(arena, GATEWAY_AEAD_BATCH, sizeof(*l.waiting));
    l.groups = arena_take(arena, GATEWAY_GROUPS_MAX, sizeof(*l.groups));
    l.inbound = arena_take(arena, GATEWAY_TUN_BATCH_MAX, sizeof(*l.inbound));
    l.inbound_last = arena_take(arena, limits->clients, sizeof(*l.inbound_last));
    l.flows = arena_take(arena, limits->flows, sizeof(*l.flows));
    l.flow_by_key = limits->flows == 0 ? NULL : take_slots(arena, limits->flows);
    return l;
}

static void use_layout(struct gateway *gw, const struct layout *l)
{
    const struct gateway_limits *limits = &gw->limits;
    gw->relays = l->relays;
    gw->connections = l->connections;
    gw->windows = l->windows;
    gw->ice_memory.blocks = l->blocks;
    gw->resolves = l->resolves;
    gw->cache = l->cache;
    map_init(&gw->relay_by_server, l->relay_by_server, 2 * limits->relays);
    map_init(&gw->connection_by_ufrag, l->connection_by_ufrag, limits->clients);
    map_init(&gw->connection_by_key, l->connection_by_key, limits->clients);
    map_init(&gw->resolve_by_id, l->resolve_by_id, 2 * limits->lookups);
    map_init(&gw->cache_by_name, l->cache_by_name, limits->dns_cache);
    heap_init(&gw->timers, l->heap_order, l->heap_position, l->heap_at,
              limits->clients + limits->relays);
    gw->tx = l->tx;
    gw->trains = l->trains;
    gw->tun_out = l->tun_out;
    gw->open_slots = l->open_slots;
    gw->aead_memory = (struct span){l->aead_memory, aead_ipsec_size()};
    gw->waiting = l->waiting;
    gw->groups = l->groups;
    gw->inbound = l->inbound;
    gw->inbound_last = l->inbound_last;
    gateway_flow_init(gw, l->flows, l->flow_by_key);
}

size_t gateway_size(const struct gateway_limits *limits)
{
    struct arena arena = {NULL, 0};
    struct policy_limits policy = to_policy_limits(limits);
    struct policy_options options = {true, false};
    (void)arena_take(&arena, 1, sizeof(struct gateway));
    (void)lay_out(&arena, limits);
    struct policy *measured = policy_init(&arena, &policy, &options, NULL);
    ASSERT(measured == NULL);
    return arena.used;
}

static enum err start_portal(struct gateway *gw, const struct gateway_config *config)
{
    struct portal_client_config portal = {
        .api_url = config->api_url,
        .token = config->token,
        .firezone_id = config->firezone_id,
        .name = config->name,
        .public_key = gw->wg.own.public_key.bytes,
        .user_agent = config->user_agent,
        .v2 = config->portal_v2,
        .v2_only = config->portal_v2_only,
        .partition_max_s = config->partition_max_s,
        .next_id = &gw->next_id,
        .rng = &gw->rng,
    };
    return portal_client_init(&gw->portal, &portal, gw->now);
}

static void start_keys(struct gateway *gw)
{
    struct x25519_private key;
    uint8_t hash_key[16];
    rng_bytes(&gw->rng, key.bytes, sizeof(key.bytes));
    rng_bytes(&gw->rng, hash_key, sizeof(hash_key));
    gw->hash_key = (struct siphash_key){load_le64(hash_key), load_le64(hash_key + 8)};
    gw->id24_mask = rng_u32(&gw->rng) & WG_PEER_ID_MAX;
    wg_node_init(&gw->wg, &key, &gw->now, HANDSHAKES_PER_S);
    x25519_private_wipe(&key);
    sodium_memzero(hash_key, sizeof(hash_key));
}

enum err gateway_init(void *memory, const struct gateway_limits *limits,
                      const struct gateway_config *config, struct clock_pair now,
                      const uint8_t seed[32], struct trace trace, struct gateway **out)
{
    struct arena arena = {memory, 0};
    struct policy_limits policy = to_policy_limits(limits);
    struct policy_options options = {config->nat64_translate, config->refuse_own_addresses};
    struct gateway *gw = arena_take(&arena, 1, sizeof(*gw));
    ASSERT((uintptr_t)memory % ARENA_ALIGN == 0);
    ASSERT(limits->clients > 0 && limits->clients <= POLICY_CLIENTS_MAX);
    gw->limits = *limits;
    gw->trace = trace;
    gw->now = now;
    gw->nat64_translate = config->nat64_translate;
    gw->health = config->health;
    gw->dirty_relays.first = GATEWAY_NONE;
    gw->dirty_connections.first = GATEWAY_NONE;
    gw->signal_connections.first = GATEWAY_NONE;
    gw->unused_connections = (struct gateway_list){GATEWAY_NONE, GATEWAY_NONE};
    gw->shutdown_at = TIME_NEVER;
    gw->rejoin_at = TIME_NEVER;
    gw->resolve_deadline = TIME_NEVER;
    gw->aead = aead_backend_libsodium();
    gw->sums = &checksum_portable;
    rng_init(&gw->rng, seed);
    gw->rng.fault = config->fault;
    gw->next_id = FAULT(config->fault, FAULT_ID_WRAP) ? UINT32_MAX - 3 : 1;
    start_keys(gw);
    struct layout layout = lay_out(&arena, limits);
    use_layout(gw, &layout);
    if (FAULT(config->fault, FAULT_GENERATION_WRAP)) {
        gw->connections[0].generation = UINT32_MAX - 2; /* before the first comes */
    }
    gw->policy = policy_init(&arena, &policy, &options, &gw->rng);
    if (gw->health.ip.family != IP_NONE) {
        gw->listens_due = 1U << GATEWAY_LISTENER_HEALTH;
    }
    enum err err = start_portal(gw, config);
    if (err == ERR_NONE) {
        *out = gw;
    }
    return err;
}

void gateway_deinit(struct gateway *gw)
{
    portal_client_deinit(&gw->portal);
    for (uint32_t i = 0; i < gw->limits.clients; i++) {
        if (gw->connections_count > 0 && gw->connections[i].used) {
            wg_peer_wipe(&gw->connections[i].wg);
        }
    }
    for (uint32_t r = 0; r < gw->limits.relays; r++) {
        if (gw->relays[r].used) {
            turn_client_wipe(&gw->relays[r].turn);
        }
    }
    wg_node_wipe(&gw->wg);
    sodium_memzero(&gw->rng, sizeof(gw->rng));
}
