#include "sim/sim_world.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "sim/sim_world_internal.h"

#define BUSY_MAX 20000U /* events of all nodes without time moving */

void world_fail(struct sim_world *world, const char *oracle, const char *format, ...)
{
    char text[sizeof(world->failure.text)];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    sim_trace_text(world->trace, SIM_NODE_WORLD, SIM_KIND_ORACLE, "%s %s", oracle, text);
    if (world->failure.oracle == NULL) {
        world->failure.oracle = oracle;
        world->failure.at_ns = world->sched.now_ns;
        memcpy(world->failure.text, text, sizeof(text));
    }
}

struct sim_world *sim_world_new(const struct sim_world_config *config)
{
    struct sim_world *world = calloc(1, sizeof(*world));
    ASSERT(world != NULL);
    world->config = *config;
    world->options = config->list->options;
    world->rng = sim_rng_of(config->list->seed);
    sim_sched_init(&world->sched);
    world->trace = sim_trace_new();
    sim_trace_set_clock(world->trace, &world->sched.now_ns);
    if (config->verbose != NULL) {
        sim_trace_set_text(world->trace, config->verbose, config->verbose_from_ns);
    }
    struct sim_judge_config judge = {world, world_judge_failed, world_judge_decided};
    world->judge = sim_judge_new(&judge);
    sim_trace_add_tap(world->trace, (struct sim_trace_tap){sim_judge_see, world->judge});
    world->states = sim_states_new();
    world->quiet = sim_quiet_new(world, world_judge_failed);
    sim_trace_add_tap(world->trace, (struct sim_trace_tap){sim_quiet_see, world->quiet});
    world->cached = sim_cached_new(&judge);
    world->rekey = sim_rekey_new(&judge);
    sim_trace_add_tap(world->trace, (struct sim_trace_tap){sim_rekey_see, world->rekey});
    for (size_t i = 0; i < config->taps_count; i++) {
        sim_trace_add_tap(world->trace, config->taps[i]);
    }
    world->net = sim_net_new(&world->sched, world->trace, &world->rng, world_datagram, world);
    struct sim_stream_sink sink = {world, world_stream, world_mark};
    world->streams = sim_streams_new(&world->sched, world->trace, &world->rng, world->net, sink);
    world->probes = sim_probes_new();
    world_build(world);
    return world;
}

void sim_world_free(struct sim_world *world)
{
    if (world == NULL) {
        return;
    }
    for (uint32_t i = 0; i < world->policy.clients_count; i++) {
        sim_client_free(world->clients[i]);
        sim_outbox_free(world->client_nodes[i].outbox);
    }
    for (uint32_t i = 0; i < world->policy.relays_count; i++) {
        sim_relay_free(world->relays[i]);
        sim_outbox_free(world->relay_nodes[i].outbox);
    }
    for (uint32_t i = 0; i < SIM_GATEWAYS_MAX; i++) {
        if (world->gateways[i].world != NULL) {
            world_gateway_free(&world->gateways[i]);
        }
    }
    for (uint32_t i = 0; i < WORLD_TCP_MAX; i++) {
        free(world->tcp[i].tcp);
    }
    sim_portal_free(world->portal);
    sim_outbox_free(world->portal_node.outbox);
    sim_dns_free(world->dns);
    sim_streams_free(world->streams);
    sim_net_free(world->net);
    sim_probes_free(world->probes);
    sim_model_free(world->model);
    sim_judge_free(world->judge);
    sim_quiet_free(world->quiet);
    sim_rekey_free(world->rekey);
    sim_cached_free(world->cached);
    sim_states_free(world->states);
    sim_trace_free(world->trace);
    sim_sched_free(&world->sched);
    free(world->pending);
    free(world);
}

void world_run_until(struct sim_world *world, uint64_t at_ns)
{
    while (world->failure.oracle == NULL && sim_sched_step(&world->sched, at_ns)) {
        if (world->sched.ran_at_once > BUSY_MAX) {
            world_fail(world, "O-12", "busy loop: %u events without time moving", BUSY_MAX);
        }
    }
}

const struct sim_failure *sim_world_run(struct sim_world *world)
{
    const struct sim_list *list = world->config.list;
    uint64_t end = world->options.duration_s * NS_PER_S;
    bool cut = world->config.until_ns != 0 && world->config.until_ns < end;
    end = cut ? world->config.until_ns : end;
    for (size_t i = 0; i < list->count && list->actions[i].at_ns < end; i++) {
        world_run_until(world, list->actions[i].at_ns);
        if (world->failure.oracle != NULL) {
            return &world->failure;
        }
        world_act(world, &list->actions[i]);
    }
    world_run_until(world, end);
    if (world->failure.oracle == NULL && !cut && world->options.liveness != 0) {
        world_live(world);
    }
    return &world->failure;
}

const struct sim_trace *sim_world_trace(const struct sim_world *world)
{
    return world->trace;
}

bool sim_world_client_key(const struct sim_world *world, uint32_t index, uint8_t key[32])
{
    if (index >= world->policy.clients_count) {
        return false;
    }
    memcpy(key, world->policy.clients[index].private_key, 32);
    return true;
}

const struct sim_state_sets *sim_world_states(const struct sim_world *world)
{
    return sim_states_sets(world->states);
}

uint64_t sim_world_now(const struct sim_world *world)
{
    return world->sched.now_ns;
}

void sim_world_report(struct sim_world *world, struct sim_report *out)
{
    *out = world->report;
    out->events = world->sched.ran;
    out->records = sim_trace_count(world->trace);
    out->simulated_ns = world->sched.now_ns;
    out->datagrams = sim_net_counts(world->net)->sent;
    out->drops = sim_net_counts(world->net)->dropped;
    for (uint32_t i = 0; i < SIM_GATEWAYS_MAX; i++) {
        if (world->gateways[i].world == NULL) {
            continue;
        }
        out->boots += world->gateways[i].boots;
        const struct sim_platform_counts *counts =
            sim_platform_counts(sim_gateway_platform(world->gateways[i].gateway));
        out->joined[0] += counts->udp_in_joined;
        out->joined[1] += counts->udp_out_joined;
        out->joined[2] += counts->tun_joined;
        out->joined[3] += counts->tun_out_cut;
        const struct sim_fault *fault = sim_gateway_fault(world->gateways[i].gateway);
        for (uint32_t k = 0; k < FAULT_COUNT; k++) {
            out->faults[k] += fault->fired[k];
        }
    }
}
