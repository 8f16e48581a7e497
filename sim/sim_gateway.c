#include "sim/sim_gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform/driver_run.h"
#include "sim/sim_aside.h"

#define USER_AGENT "Debian/12.0.0 connlib/1.5.2 (x86_64; 6.1.0)"

struct sim_gateway {
    struct sim_gateway_config config;
    struct sim_platform *platform;
    struct driver driver;
    struct sim_fault fault;
    struct sim_aside aside;
    struct sim_memory memory;
    uint32_t boots;
    void *area;
    size_t size;
    struct gateway *core;
    bool running;
    bool paused;
    bool holding;
    bool leaves; /* asked to by a signal or the portal */
    int exit_code;
    uint64_t wake_ns;   /* world time of the planned step; UINT64_MAX: none */
    uint64_t queued_ns; /* time of the latest future event of ours in the heap */
    uint64_t last_step_ns;
    uint32_t steps_at_once;
    uint64_t decided_ns;
    uint64_t decided_unix_ns; /* while outputs are held back: when they were made */
};

static struct sim_sched *sched_of(const struct sim_gateway *gateway)
{
    return gateway->config.platform.sched;
}

static void fail(struct sim_gateway *gateway, const char *oracle, const char *text)
{
    gateway->config.failed(gateway->config.self, oracle, text);
}

/* ---- trace of the core ---- */

static void on_event(void *self, const struct trace_event *event)
{
    struct sim_gateway *gateway = self;
    struct sim_memory *memory = sim_memory_leave();
    uint8_t text[400];
    struct writer w = writer_of((struct span){text, sizeof(text) - 1});
    trace_put(&w, event);
    text[w.used] = 0;
    const struct sim_platform_config *p = &gateway->config.platform;
    sim_trace_text(p->trace, (uint16_t)p->node, SIM_KIND_STATE, "%s", (const char *)text);
    gateway->leaves =
        gateway->leaves || event->event == EV_SHUTDOWN || event->event == EV_PORTAL_FATAL;
    gateway->config.event(gateway->config.self, p->gateway, event);
    sim_memory_return(memory);
}

/* ---- stepping ---- */

static void wake(void *context, uint64_t value);

static void plan(struct sim_gateway *gateway, uint64_t at_ns)
{
    uint64_t now = sched_of(gateway)->now_ns;
    at_ns = at_ns < now ? now : at_ns;
    if (at_ns >= gateway->wake_ns) {
        return;
    }
    gateway->wake_ns = at_ns;
    if (at_ns > now && at_ns == gateway->queued_ns) {
        return; /* the event of an earlier plan is still there */
    }
    gateway->queued_ns = at_ns > now ? at_ns : gateway->queued_ns;
    sim_sched_at(sched_of(gateway), at_ns, wake, gateway, 0);
}

static void poke(void *self)
{
    struct sim_gateway *gateway = self;
    if (gateway->running && !gateway->paused) {
        plan(gateway, 0);
    }
}

static void ended(struct sim_gateway *gateway, int exit_code)
{
    const struct sim_platform_config *p = &gateway->config.platform;
    gateway->exit_code = exit_code;
    sim_trace_text(p->trace, (uint16_t)p->node, SIM_KIND_STATE, "exit %d", exit_code);
    gateway->running = false;
    gateway_deinit(gateway->core);
    gateway->core = NULL;
    sim_stream_reset_node(p->streams, p->node);
    sim_net_set_up(p->net, p->node, false);
    sim_platform_reboot(gateway->platform);
    gateway->config.ended(gateway->config.self, p->gateway, exit_code);
}

static void watch_time(struct sim_gateway *gateway, const struct driver_result *result)
{
    uint64_t now = sched_of(gateway)->now_ns;
    gateway->steps_at_once = now == gateway->last_step_ns ? gateway->steps_at_once + 1 : 0;
    gateway->last_step_ns = now;
    if (gateway->steps_at_once > SIM_BUSY_LOOP_MAX) {
        fail(gateway, "O-12", "busy loop: the gateway steps without time moving");
        gateway->steps_at_once = 0;
    }
    struct instant boot = sim_platform_now(gateway->platform).boot;
    bool late = instant_reached(boot, result->next.at);
    if (late && !result->again && !gateway->holding && !result->exit) {
        char text[160];
        (void)snprintf(text, sizeof(text), "a wake-up is due after the timer call: %s",
                       result->next.why);
        fail(gateway, "O-12", text);
    }
}

static void watch_end(struct sim_gateway *gateway)
{
    if (gateway->leaves && gateway_counters(gateway->core)->connections != 0) {
        fail(gateway, "O-11", "the gateway ends without taking leave of its clients");
    }
}

static void step(struct sim_gateway *gateway)
{
    uint32_t ready = sim_platform_ready(gateway->platform);
    struct clock_pair now = sim_platform_now(gateway->platform);
    if (!gateway->holding) {
        gateway->decided_unix_ns = now.unix_ns;
        gateway->decided_ns = sched_of(gateway)->now_ns;
    }
    sim_memory_enter(&gateway->memory);
    struct driver_result result = driver_step(&gateway->driver, now, ready);
    (void)sim_memory_leave();
    gateway->holding = result.udp_blocked || result.tun_blocked;
    gateway_check(gateway->core);
    watch_time(gateway, &result);
    gateway->config.stepped(gateway->config.self, gateway->config.platform.gateway);
    if (result.exit) {
        watch_end(gateway);
        ended(gateway, result.exit_code);
        return;
    }
    if (gateway->holding) {
        uint64_t at = sim_platform_unblock_at(gateway->platform);
        plan(gateway, at == UINT64_MAX ? 0 : at);
        return;
    }
    if (result.again || sim_platform_ready(gateway->platform) != 0) {
        plan(gateway, 0);
        return;
    }
    uint64_t at = sim_clock_world(sim_platform_clock(gateway->platform), result.next.at);
    if (at != UINT64_MAX) {
        plan(gateway, at + gateway->config.wake_delay.ns);
    }
}

/* Plans that were overtaken by an earlier one find another `wake_ns` and do nothing. */
static void wake(void *context, uint64_t value)
{
    struct sim_gateway *gateway = context;
    (void)value;
    if (gateway->wake_ns != sched_of(gateway)->now_ns) {
        return;
    }
    gateway->wake_ns = UINT64_MAX;
    if (gateway->running && !gateway->paused) {
        step(gateway);
    }
}

/* ---- life ---- */

struct sim_gateway *sim_gateway_new(const struct sim_gateway_config *config)
{
    struct sim_gateway *gateway = calloc(1, sizeof(*gateway));
    ASSERT(gateway != NULL);
    gateway->config = *config;
    gateway->config.platform.world.poke = poke;
    gateway->config.platform.world.poke_self = gateway;
    gateway->wake_ns = UINT64_MAX;
    gateway->exit_code = -1;
    gateway->size = gateway_size(&config->limits);
    gateway->size = (gateway->size + 63) / 64 * 64;
    gateway->area = aligned_alloc(64, gateway->size);
    ASSERT(gateway->area != NULL);
    gateway->platform = sim_platform_new(&gateway->config.platform);
    sim_aside_init(&gateway->aside, sim_platform_table(gateway->platform));
    sim_fault_init(&gateway->fault, config->platform.rng, config->platform.gateway,
                   config->fault_points);
    return gateway;
}

void sim_gateway_free(struct sim_gateway *gateway)
{
    if (gateway == NULL) {
        return;
    }
    if (gateway->core != NULL) {
        gateway_deinit(gateway->core);
    }
    sim_platform_free(gateway->platform);
    free(gateway->area);
    free(gateway);
}

struct sim_platform *sim_gateway_platform(struct sim_gateway *gateway)
{
    return gateway->platform;
}

struct sim_fault *sim_gateway_fault(struct sim_gateway *gateway)
{
    return &gateway->fault;
}

struct sim_memory *sim_gateway_memory(struct sim_gateway *gateway)
{
    return &gateway->memory;
}

struct gateway *sim_gateway_core(struct sim_gateway *gateway)
{
    return gateway->core;
}

static struct driver_recorder start_recording(struct sim_gateway *gateway,
                                              const struct driver_run *run)
{
    const struct sim_gateway_config *c = &gateway->config;
    struct driver_recorder recorder = {NULL, NULL};
    if (c->recorder != NULL) {
        recorder = c->recorder(c->self, c->platform.gateway);
    }
    if (recorder.write != NULL) {
        uint8_t room[2048];
        struct writer w = writer_of((struct span){room, sizeof(room)});
        bool fits = driver_run_encode(run, &w);
        ASSERT(fits);
        recorder.write(recorder.self, writer_view(&w));
    }
    return recorder;
}

void sim_gateway_start(struct sim_gateway *gateway)
{
    if (gateway->running) {
        return;
    }
    const struct sim_gateway_config *c = &gateway->config;
    struct gateway_config config = {
        .api_url = view_text(c->api_url),
        .token = view_text(c->token),
        .firezone_id = view_text(c->firezone_id),
        .name = view_text(c->name),
        .user_agent = view_text(USER_AGENT),
        .partition_max_s = c->partition_max_s,
        .nat64_translate = c->nat64_translate,
        .refuse_own_addresses = c->platform.own_addresses,
        .fault = sim_fault_boot(&gateway->fault, gateway->boots++),
        .portal_v2 = c->portal_v2,
    };
    uint8_t seed[32];
    const struct platform *table = sim_platform_table(gateway->platform);
    table->entropy(table->self, seed);
    struct trace trace = {on_event, gateway};
    memset(gateway->area, 0, gateway->size);
    enum err err = gateway_init(gateway->area, &c->limits, &config,
                                sim_platform_now(gateway->platform), seed, trace, &gateway->core);
    ASSERT(err == ERR_NONE);
    err = gateway_use_aead(gateway->core, c->aead);
    ASSERT(err == ERR_NONE || err == ERR_UNSUPPORTED);
    struct driver_run run = {.limits = c->limits, .config = config};
    run.started = sim_platform_now(gateway->platform);
    memcpy(run.seed, seed, sizeof(run.seed));
    driver_init(&gateway->driver, gateway->core, &gateway->aside.table,
                start_recording(gateway, &run), trace);
    gateway->running = true;
    gateway->paused = false;
    gateway->holding = false;
    gateway->leaves = false;
    gateway->exit_code = -1;
    sim_net_set_up(c->platform.net, c->platform.node, true);
    plan(gateway, 0);
}

void sim_gateway_crash(struct sim_gateway *gateway)
{
    if (gateway->running) {
        ended(gateway, -1);
    }
}

void sim_gateway_shutdown(struct sim_gateway *gateway)
{
    if (gateway->running) {
        sim_platform_shutdown(gateway->platform);
    }
}

void sim_gateway_pause(struct sim_gateway *gateway)
{
    gateway->paused = true;
}

void sim_gateway_resume(struct sim_gateway *gateway)
{
    if (gateway->paused) {
        gateway->paused = false;
        poke(gateway);
    }
}

bool sim_gateway_is_running(const struct sim_gateway *gateway)
{
    return gateway->running;
}

int sim_gateway_exit_code(const struct sim_gateway *gateway)
{
    return gateway->exit_code;
}

uint64_t sim_gateway_decision_unix(const struct sim_gateway *gateway)
{
    return gateway->decided_unix_ns;
}

uint64_t sim_gateway_decision_ns(const struct sim_gateway *gateway)
{
    return gateway->decided_ns;
}

bool sim_gateway_is_drained(const struct sim_gateway *gateway)
{
    return !gateway->holding && !gateway->paused && sim_platform_ready(gateway->platform) == 0;
}
