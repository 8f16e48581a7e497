#include "sim/sim_world_internal.h"

#include <string.h>

#define STRAY_PORT    9999U
#define HOSTILE_PORT  7777U
#define NOISE_MAX     64U
#define TEMPTED_TIMES 4U
#define TEMPTED_MS    3000U
#define TEMPTED_BYTES 64U
#define TEMPTATION    0x7e39U /* a stream of its own beside those of clients */

static uint32_t client_of(const struct sim_world *world, const struct sim_action *action)
{
    return action->a % world->policy.clients_count;
}

static struct ip_addr tunnel_of(const struct sim_world *world, uint32_t client, uint8_t family)
{
    const struct sim_client_identity *identity = &world->policy.clients[client];
    return family == IP_V4 ? identity->tunnel_v4 : identity->tunnel_v6;
}

/* ---- traffic ---- */

bool act_probe(struct sim_world *world, const struct sim_action *action)
{
    world_app_probe(world, client_of(world, action), action->b % world->targets_count, action->c,
                    action->d % 1200);
    return true;
}

bool act_tcp(struct sim_world *world, const struct sim_action *action)
{
    world_app_tcp(world, client_of(world, action), action->b % world->targets_count, action->c,
                  action->d % 9000);
    return true;
}

bool act_resolve(struct sim_world *world, const struct sim_action *action)
{
    if (world->names_count == 0) {
        return false;
    }
    world_app_resolve(world, client_of(world, action), action->b % world->names_count);
    return true;
}

bool act_stray(struct sim_world *world, const struct sim_action *action)
{
    static const char *const nowhere[] = {
        "10.99.0.1", "192.168.0.1", "100.64.0.2", "100.127.255.1", "fd10:99::1",
        "fe80::1",   "127.0.0.1",   "224.0.0.5",  "8.8.8.8",       "fd00:2021:1111::2",
    };
    uint32_t client = client_of(world, action);
    struct sim_packet packet = {
        .protocol = SIM_PROTO_UDP, .source_port = STRAY_PORT, .destination_port = 80};
    bool parsed =
        ip_parse(view_text(nowhere[action->b % ARRAY_COUNT(nowhere)]), &packet.destination);
    ASSERT(parsed);
    if (action->c % 4 == 2) {
        packet.destination =
            tunnel_of(world, (client + 1) % world->policy.clients_count, packet.destination.family);
    }
    packet.source = tunnel_of(world, client, packet.destination.family);
    if (action->c % 4 == 1) {
        packet.protocol = packet.source.family == IP_V4 ? SIM_PROTO_ICMP : SIM_PROTO_ICMPV6;
    }
    world_app_packet(world, client, &packet, 64, false);
    return true;
}

/* An ICMP error about nothing, towards a granted address. */
static void send_false_error(struct sim_world *world, uint32_t client, struct sim_packet *packet)
{
    bool v4 = packet->destination.family == IP_V4;
    packet->protocol = v4 ? SIM_PROTO_ICMP : SIM_PROTO_ICMPV6;
    packet->icmp_type = v4 ? 3 : 1;
    packet->icmp_code = 1;
    uint8_t bytes[SIM_PACKET_MAX];
    struct writer w = writer_of((struct span){bytes, sizeof(bytes)});
    sim_packet_put(&w, packet);
    world_app_raw(world, client, writer_view(&w));
}

/* Bytes that begin like an IP packet of the family and go on as noise. */
static void send_noise(struct sim_world *world, const struct sim_action *action, uint8_t family)
{
    uint32_t client = client_of(world, action);
    struct sim_dice dice =
        sim_dice_at(&world->rng, sim_stream_of(SIM_FAMILY_HOSTILE, client, action->c),
                    action->at_ns / NS_PER_MS);
    uint8_t noise[NOISE_MAX];
    sim_dice_bytes(&dice, noise, sizeof(noise));
    noise[0] = (uint8_t)((family == IP_V4 ? 0x40U : 0x60U) | (noise[0] & 0x0fU));
    world_app_raw(world, client, (struct view){noise, 1 + action->d % NOISE_MAX});
}

/* Inner packets that no honest host sends, towards a target that may be granted. */
bool act_hostile(struct sim_world *world, const struct sim_action *action)
{
    const struct world_target *target = &world->targets[action->c % world->targets_count];
    uint32_t client = client_of(world, action);
    uint8_t family = target->ip.family;
    if (family == IP_NONE) {
        return false;
    }
    struct sim_packet packet = {
        .source = tunnel_of(world, client, family),
        .destination = target->ip,
        .protocol = SIM_PROTO_UDP,
        .source_port = HOSTILE_PORT,
        .destination_port = 53,
    };
    switch (action->b % 4) {
    case 0: /* nobody's source */
        packet.source.bytes[family == IP_V4 ? 3 : 15] ^= 0x80U;
        world_app_packet(world, client, &packet, 64, true);
        return true;
    case 1: /* another client's source */
        packet.source = tunnel_of(world, (client + 1) % world->policy.clients_count, family);
        if (world->policy.clients_count > 1) {
            world_app_packet(world, client, &packet, 64, true);
        }
        return world->policy.clients_count > 1;
    case 2:
        send_false_error(world, client, &packet);
        return true;
    default:
        send_noise(world, action, family);
        return true;
    }
}

/* ---- what lawless clients do about changes of policy ---- */

static void tempted(void *context, uint64_t value)
{
    struct sim_world *world = context;
    if (!world->healed) {
        world_app_probe(world, (uint32_t)(value >> 48U), (uint32_t)(value >> 32U & 0xffffU),
                        (uint32_t)value, TEMPTED_BYTES);
    }
}

/* They try the resource at once, in all ways: what was permitted and what may be permitted now. */
static void tempt(struct sim_world *world, uint32_t resource)
{
    uint64_t stream = sim_stream_of(SIM_FAMILY_HOSTILE, TEMPTATION, resource);
    for (uint32_t client = 0; client < world->policy.clients_count; client++) {
        for (uint32_t target = 0; target < world->targets_count; target++) {
            if ((world->options.lawless >> client & 1U) == 0 ||
                world->targets[target].resource != resource) {
                continue;
            }
            struct sim_dice dice =
                sim_dice_at(&world->rng, stream, world->sched.now_ns ^ (client << 8U) ^ target);
            for (uint32_t i = 0; i < TEMPTED_TIMES; i++) {
                uint64_t kind = sim_dice_below(&dice, 16);
                uint64_t after_ms = sim_dice_between(&dice, 50, TEMPTED_MS);
                sim_sched_in(&world->sched, DURATION_MS(after_ms), tempted, world,
                             (uint64_t)client << 48U | (uint64_t)target << 32U | kind);
            }
        }
    }
}

/* ---- policy ---- */

/* `c`: small numbers mean no expiry, others a life of up to four minutes. */
static struct sim_grant grant_of(const struct sim_world *world, const struct sim_action *action)
{
    uint32_t resource = action->b % world->policy.resources_count;
    uint64_t life = action->c % 64;
    uint64_t unix_s = world_now(world, &world->portal_node).unix_ns / NS_PER_S;
    return (struct sim_grant){
        .client = world->policy.clients[client_of(world, action)].id,
        .resource = world->policy.resources[resource].id,
        .gateway = world->policy.resources[resource].gateway,
        .expires_unix_s = life < 8 ? 0 : unix_s + life * 4,
    };
}

static bool done(struct sim_world *world, enum err err)
{
    world_node_flush(&world->portal_node);
    return err == ERR_NONE;
}

bool act_grant(struct sim_world *world, const struct sim_action *action)
{
    struct world_node *portal = &world->portal_node;
    struct sim_grant grant = grant_of(world, action);
    return done(world,
                sim_portal_grant(world->portal, world_now(world, portal), &grant, portal->outbox));
}

bool act_revoke(struct sim_world *world, const struct sim_action *action)
{
    struct world_node *portal = &world->portal_node;
    tempt(world, action->b % world->policy.resources_count);
    return done(world,
                sim_portal_revoke(world->portal, world_now(world, portal), client_of(world, action),
                                  action->b % world->policy.resources_count, portal->outbox));
}

bool act_reject(struct sim_world *world, const struct sim_action *action)
{
    struct world_node *portal = &world->portal_node;
    tempt(world, action->b % world->policy.resources_count);
    return done(world,
                sim_portal_reject(world->portal, world_now(world, portal), client_of(world, action),
                                  action->b % world->policy.resources_count, portal->outbox));
}

bool act_extend(struct sim_world *world, const struct sim_action *action)
{
    struct world_node *portal = &world->portal_node;
    struct sim_grant grant = grant_of(world, action);
    return done(world,
                sim_portal_extend(world->portal, world_now(world, portal), &grant, portal->outbox));
}

bool act_filters(struct sim_world *world, const struct sim_action *action)
{
    struct world_node *portal = &world->portal_node;
    struct sim_resource form = world->policy.resources[action->a % world->policy.resources_count];
    if (form.kind == SIM_RESOURCE_INTERNET) {
        return false;
    }
    world_filters(&form, action->b % 4);
    tempt(world, action->a % world->policy.resources_count);
    return done(world, sim_portal_update_resource(world->portal, world_now(world, portal), &form,
                                                  portal->outbox));
}

/* ---- the table ---- */

void world_act(struct sim_world *world, const struct sim_action *action)
{
    static bool (*const functions[])(struct sim_world *, const struct sim_action *) = {
#define WORLD_ACT_ROW(name, traffic, event, text) act_##name,
        SIM_ACTION_TABLE(WORLD_ACT_ROW)
#undef WORLD_ACT_ROW
    };
    ASSERT(action->kind < SIM_ACTION_COUNT);
    sim_trace_text(world->trace, SIM_NODE_WORLD, SIM_KIND_ACTION, "%s %u %u %u %u",
                   sim_action_name(action->kind), action->a, action->b, action->c, action->d);
    if (functions[action->kind](world, action)) {
        world->report.actions[action->kind]++;
        if (sim_action_is_change(action->kind)) {
            sim_states_fault(world->states, action->kind);
        }
    }
}
