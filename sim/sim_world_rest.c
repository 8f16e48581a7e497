#include "sim/sim_world_internal.h"

#define CALM_S      30U /* what was still under way comes to its end */
#define QUIET_S     60U
#define EMPTY_S     1100U /* an idle connection is dead after 1 000 s without an answer */
#define KEEPALIVE_S 27U   /* between two messages of an idle gateway to its relay, at most */
#define LEAVE_S     3U    /* until a gateway has ended, and until a goodbye is heard */

/* O-14: what is alive is kept alive, and that is all. */
static void be_quiet(struct sim_world *world)
{
    world_run_until(world, world->sched.now_ns + CALM_S * NS_PER_S);
    sim_quiet_judge(world->quiet, true);
    world_run_until(world, world->sched.now_ns + QUIET_S * NS_PER_S);
    sim_quiet_judge(world->quiet, false);
}

/* Option farewell. */
enum { FAREWELL_RIGHTS, FAREWELL_SIGNAL, FAREWELL_BEREFT };

static bool has_tunnel(const struct sim_world *world, uint32_t client, uint32_t gateway)
{
    struct sim_client_status status =
        sim_client_status(world->clients[client], world_now(world, &world->client_nodes[client]),
                          &world->policy.gateways[gateway].id);
    return status.exists && status.has_path && status.has_session;
}

/* The first client whose rights are taken away at the end. */
static uint32_t first_to_go(const struct sim_world *world)
{
    return world->options.sabotage == SIM_SABOTAGE_KEEP ? 1 : 0;
}

/* Which clients would hear a goodbye of which gateway. */
static void note_tunnels(struct sim_world *world, bool had[SIM_CLIENTS_MAX][SIM_GATEWAYS_MAX])
{
    world_say_again(world); /* keys that are about to end are renewed */
    world_run_until(world, world->sched.now_ns + LEAVE_S * NS_PER_S);
    for (uint32_t c = 0; c < world->policy.clients_count; c++) {
        for (uint32_t g = 0; g < world->policy.gateways_count; g++) {
            uint64_t unix_ns = world_gateway_now(&world->gateways[g]).unix_ns;
            had[c][g] = has_tunnel(world, c, g) && sim_model_holds(world->model, g, c, unix_ns);
        }
    }
}

/* L-07: with its last right a client is told goodbye, which today's obeys at once. */
static void be_sent_away(struct sim_world *world)
{
    struct world_node *portal = &world->portal_node;
    bool had[SIM_CLIENTS_MAX][SIM_GATEWAYS_MAX] = {{false}};
    note_tunnels(world, had);
    for (uint32_t c = 0; c < world->policy.clients_count; c++) {
        for (uint32_t r = 0; c >= first_to_go(world) && r < world->policy.resources_count; r++) {
            (void)sim_portal_reject(world->portal, world_now(world, portal), c, r, portal->outbox);
        }
    }
    world_node_flush(portal);
    world_run_until(world, world->sched.now_ns + LEAVE_S * NS_PER_S);
    for (uint32_t c = 0; c < world->policy.clients_count; c++) {
        for (uint32_t g = 0; g < world->policy.gateways_count; g++) {
            if (had[c][g] && has_tunnel(world, c, g) && !sim_model_holds(world->model, g, c, 0)) {
                world_fail(world, "L-07", "gateway %u took every right of client %u without a word",
                           g, c);
            }
        }
    }
}

static bool is_bereft(const struct sim_world *world)
{
    return world->options.farewell == FAREWELL_BEREFT;
}

/* L-08: a gateway that is told to end ends, and so does one that loses its TUN device. */
static void end_gateways(struct sim_world *world)
{
    int code = is_bereft(world) ? 1 : 0;
    for (uint32_t i = 0; i < world->policy.gateways_count; i++) {
        struct sim_platform *platform = sim_gateway_platform(world->gateways[i].gateway);
        world->gateways[i].wanted = false;
        if (is_bereft(world)) {
            sim_platform_faults(platform)->tun_gone = true;
            sim_platform_poke(platform);
        } else {
            sim_gateway_shutdown(world->gateways[i].gateway);
        }
    }
    world_run_until(world, world->sched.now_ns + LEAVE_S * NS_PER_S);
    for (uint32_t i = 0; i < world->policy.gateways_count; i++) {
        if (sim_gateway_is_running(world->gateways[i].gateway) ||
            sim_gateway_exit_code(world->gateways[i].gateway) != code) {
            world_fail(world, "L-08", "gateway %u does not end as it has to", i);
        }
    }
}

static void start_gateways(struct sim_world *world)
{
    for (uint32_t i = 0; i < world->policy.gateways_count; i++) {
        struct world_gateway *gateway = &world->gateways[i];
        sim_platform_faults(sim_gateway_platform(gateway->gateway))->tun_gone = false;
        gateway->wanted = true;
        gateway->boots++;
        sim_gateway_start(gateway->gateway);
    }
}

/* L-08: a gateway that ends says so to its clients; today's end their tunnels at once. */
static void be_left(struct sim_world *world)
{
    bool had[SIM_CLIENTS_MAX][SIM_GATEWAYS_MAX] = {{false}};
    note_tunnels(world, had);
    end_gateways(world);
    for (uint32_t c = 0; c < world->policy.clients_count; c++) {
        for (uint32_t g = 0; g < world->policy.gateways_count; g++) {
            if (had[c][g] && has_tunnel(world, c, g)) {
                world_fail(world, "L-08", "gateway %u left client %u without a word", g, c);
            }
        }
    }
    start_gateways(world);
}

/* L-08: a gateway that ends gives back what it has at its relays. Behind a NAT that forgets it
 * between two keepalives it cannot: an allocation belongs to the address that made it. */
static void be_gone(struct sim_world *world)
{
    end_gateways(world);
    for (uint32_t i = 0; i < world->policy.relays_count; i++) {
        uint32_t left = sim_relay_allocations(world->relays[i]);
        if (left > 0 && world->options.nat_timeout_s > KEEPALIVE_S) {
            world_fail(world, "L-08", "relay %u holds %u allocations of nobody", i, left);
        }
    }
}

/* O-11: what was made for clients is gone with their last right. */
static void be_empty(struct sim_world *world)
{
    struct world_node *portal = &world->portal_node;
    sim_portal_purge(world->portal, world_now(world, portal), first_to_go(world), portal->outbox);
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
    if (world->failure.oracle == NULL && world->options.head_clients != 0) {
        if (world->options.farewell == FAREWELL_RIGHTS) {
            be_sent_away(world);
        } else {
            be_left(world);
        }
    }
    if (world->failure.oracle == NULL) {
        be_empty(world);
    }
    if (world->failure.oracle == NULL) {
        be_gone(world);
    }
}
