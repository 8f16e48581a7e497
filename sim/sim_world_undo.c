#include "sim/sim_world_internal.h"

static void undo_gateway(struct sim_world *world, enum world_undo what, uint32_t index)
{
    struct world_gateway *gateway = &world->gateways[index];
    if (what == UNDO_GATEWAY_RESUME) {
        sim_gateway_resume(gateway->gateway);
    } else if (what == UNDO_ENVIRONMENT) {
        struct sim_platform_faults *faults =
            sim_platform_faults(sim_gateway_platform(gateway->gateway));
        faults->udp_block_ppm = 0;
        faults->udp_error_ppm = 0;
        faults->tun_block_ppm = 0;
    } else if (what == UNDO_MEMORY) {
        world_memory_back(gateway);
    } else if (what == UNDO_TUN) {
        sim_platform_faults(sim_gateway_platform(gateway->gateway))->tun_gone = false;
    } else if (what == UNDO_FAMILY) {
        world_family_restore(gateway);
    } else if (gateway->wanted && !sim_gateway_is_running(gateway->gateway)) {
        sim_gateway_start(gateway->gateway);
        gateway->boots++;
    }
}

static void undo_portal_stream(struct sim_world *world)
{
    struct sim_stream_faults *faults = sim_stream_faults(world->streams, world->portal_node.net);
    *faults = (struct sim_stream_faults){.segment_max = world->options.segment_max};
}

static void undo_names(struct sim_world *world, enum world_undo what, uint32_t a, uint32_t b)
{
    if (what == UNDO_DNS) {
        struct sim_dns_behaviour good = {0};
        (void)sim_dns_behave(world->dns, world->names[a].text, &good);
        return;
    }
    world_host_restore(&world->gateways[a], b);
}

static void undo_network(struct sim_world *world, enum world_undo what, uint32_t a, uint32_t b)
{
    if (what == UNDO_BLOCK) {
        sim_net_block(world->net, a, b, SIM_FAMILIES_BOTH, false);
        sim_net_block(world->net, b, a, SIM_FAMILIES_BOTH, false);
        world_forbid_direct(world);
    } else {
        world_links(world, true);
    }
}

static void undo(void *context, uint64_t value)
{
    struct sim_world *world = context;
    enum world_undo what = (enum world_undo)(value >> 48U);
    uint32_t a = (uint32_t)(value >> 32U) & 0xffffU;
    uint32_t b = (uint32_t)value;
    struct world_node *portal = &world->portal_node;
    sim_trace_text(world->trace, SIM_NODE_WORLD, SIM_KIND_FAULT, "end of %u (%u, %u)",
                   (unsigned)what, a, b);
    if (world->healed && what != UNDO_GATEWAY_START) {
        return; /* everything has been repaired already */
    }
    switch (what) {
    case UNDO_BLOCK:
    case UNDO_LINK:
        undo_network(world, what, a, b);
        break;
    case UNDO_RELAY_FAULT:
        *sim_relay_faults(world->relays[a]) = (struct sim_relay_faults){0};
        break;
    case UNDO_RELAY_LEAVE:
        (void)sim_portal_restore_relay(world->portal, world_now(world, portal), a, portal->outbox);
        world_node_flush(portal);
        break;
    case UNDO_PORTAL_FAULT:
        *sim_portal_faults(world->portal) = (struct sim_portal_faults){0};
        break;
    case UNDO_PORTAL_STREAM:
        undo_portal_stream(world);
        break;
    case UNDO_GATEWAY_START:
    case UNDO_GATEWAY_RESUME:
    case UNDO_ENVIRONMENT:
    case UNDO_FAMILY:
    case UNDO_TUN:
    case UNDO_MEMORY:
        undo_gateway(world, what, a);
        break;
    case UNDO_DNS:
    case UNDO_HOST:
        undo_names(world, what, a, b);
        break;
    default:
        UNREACHABLE();
    }
}

/* What is to be undone travels in the number of the event. */
void world_undo_later(struct sim_world *world, enum world_undo what, uint32_t a, uint32_t b,
                      uint32_t ms)
{
    uint64_t value = (uint64_t)what << 48U | (uint64_t)(a & 0xffffU) << 32U | b;
    sim_sched_in(&world->sched, DURATION_MS(ms), undo, world, value);
}
