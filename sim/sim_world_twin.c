/* Second processes with the id and the token of a gateway: somebody started it twice, or copied its
 * host. The portal of 2024 serves both and says everything to both, today's the first one; what
 * either may do follows from what it was told itself. Before liveness is judged they are gone. */
#include "sim/sim_world_internal.h"

#include <stdio.h>

#define FIRST_NUMBER 100U /* of their addresses, apart from everybody else's */

static_assert(SIM_TWIN == 2, "the range of option gateways");

const struct sim_gateway_identity *world_identity(const struct sim_world *world, uint32_t index)
{
    return &world->policy.gateways[index % SIM_TWIN];
}

uint32_t world_process(struct sim_world *world, uint32_t stream)
{
    uint32_t net = sim_stream_peer(world->streams, world->portal_node.net, stream);
    const struct world_gateway *gateway = world_gateway_of(world, net);
    return gateway == NULL ? WORLD_NOBODY : gateway->index;
}

static struct world_gateway *twin_of(struct sim_world *world, const struct sim_action *action)
{
    return &world->gateways[action->a % world->policy.gateways_count + SIM_TWIN];
}

/* It stands in the same networks as the gateway: the hosts there are the same. */
static void build(struct sim_world *world, uint32_t first, uint32_t kind)
{
    const struct world_gateway *like = &world->gateways[first];
    uint32_t index = first + SIM_TWIN;
    struct world_gateway *twin = &world->gateways[index];
    char name[16];
    (void)snprintf(name, sizeof(name), "twin%u", first);
    twin->hosts = sim_hosts_new(&world->rng, index);
    sim_hosts_streams(twin->hosts, world_has_streams(world));
    for (uint32_t i = 0; i < sim_hosts_count(like->hosts); i++) {
        world_host_put(twin, sim_hosts_at(like->hosts, i), like->behaviours[i]);
    }
    twin->net = world_add_host_node(world, kind, world->options.gateway_families,
                                    FIRST_NUMBER + first, name);
    twin->edge = sim_net_edge(world->net, twin->net);
    sim_states_gateway_edge(world->states, index, kind);
    world_gateway_build(world, index);
    world_gateway_link(world, index, true);
    world_forbid_direct(world);
}

bool act_twin_start(struct sim_world *world, const struct sim_action *action)
{
    struct world_gateway *twin = twin_of(world, action);
    if (twin->wanted) {
        return false;
    }
    if (twin->world == NULL) {
        build(world, action->a % world->policy.gateways_count, action->b % SIM_EDGE_KINDS);
    }
    twin->wanted = true;
    sim_gateway_start(twin->gateway);
    twin->boots++;
    return true;
}

bool act_twin_stop(struct sim_world *world, const struct sim_action *action)
{
    struct world_gateway *twin = twin_of(world, action);
    if (!twin->wanted) {
        return false;
    }
    twin->wanted = false;
    if (action->b % 2 == 0) {
        sim_gateway_crash(twin->gateway);
    } else {
        sim_gateway_shutdown(twin->gateway);
    }
    return true;
}

void world_twins_stop(struct sim_world *world)
{
    for (uint32_t i = SIM_TWIN; i < SIM_GATEWAYS_MAX; i++) {
        world->gateways[i].wanted = false;
        if (world->gateways[i].world != NULL) {
            sim_gateway_crash(world->gateways[i].gateway);
        }
    }
}
