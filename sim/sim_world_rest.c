#include "sim/sim_world_internal.h"

#define CALM_S  30U /* what was still under way comes to its end */
#define QUIET_S 60U
#define EMPTY_S 1100U /* an idle connection is dead after 1 000 s without an answer */

/* O-14: what is alive is kept alive, and that is all. */
static void be_quiet(struct sim_world *world)
{
    world_run_until(world, world->sched.now_ns + CALM_S * NS_PER_S);
    sim_quiet_judge(world->quiet, true);
    world_run_until(world, world->sched.now_ns + QUIET_S * NS_PER_S);
    sim_quiet_judge(world->quiet, false);
}

/* O-11: what was made for clients is gone with their last right. */
static void be_empty(struct sim_world *world)
{
    struct world_node *portal = &world->portal_node;
    bool keeps = world->options.sabotage == SIM_SABOTAGE_KEEP;
    sim_portal_purge(world->portal, world_now(world, portal), keeps ? 1 : 0, portal->outbox);
    world_node_flush(portal);
    for (uint32_t i = 0; i < world->policy.clients_count; i++) {
        world->client_nodes[i].up = false; /* gone without a word */
    }
    world_run_until(world, world->sched.now_ns + EMPTY_S * NS_PER_S);
    for (uint32_t i = 0; i < world->policy.gateways_count; i++) {
        struct gateway *core = sim_gateway_core(world->gateways[i].gateway);
        if (core == NULL) {
            continue;
        }
        const struct gateway_counters *c = gateway_counters(core);
        if (c->clients != 0 || c->connections != 0 || c->nat_sessions != 0 || c->lookups != 0) {
            world_fail(world, "O-11",
                       "without rights gateway %u holds %u clients, %u connections, %u sessions of "
                       "its NAT, %u lookups",
                       i, c->clients, c->connections, c->nat_sessions, c->lookups);
        }
    }
}

void world_rest(struct sim_world *world)
{
    be_quiet(world);
    if (world->failure.oracle == NULL) {
        be_empty(world);
    }
}
