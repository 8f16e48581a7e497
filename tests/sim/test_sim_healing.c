/* Healing, measured in the simulated world: what happens to a connection when the ground under it
 * moves, and how long after the client's next request it carries packets again.
 *
 * One client, one gateway, two relays, no other fault. The client sends a probe every 250 ms. A
 * disturbance comes after 30 s; from then on the run notes when the client asked the portal for the
 * gateway, when the portal's answer (so the gateway) was there, and when the first probe that was
 * sent afterwards came back. */
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/sim_world_internal.h"

#define STEP          (50 * NS_PER_MS)
#define PROBE_STEPS   5U /* a probe every 250 ms */
#define CALM_NS       (30 * NS_PER_S)
#define PATIENCE_NS   (400 * NS_PER_S) /* an idle 1.4 client notices a dead path after 240 s */
#define BOUND_NS      (5 * NS_PER_S)
#define SUSPEND_NS    (60 * NS_PER_S)
#define OUTAGE_NS     (120 * NS_PER_S)
#define IDLE_NS       (60 * NS_PER_S)
#define STEADY_PROBES 8U /* answered in a row: healed */
#define UNDER_WAY     2U /* of the latest, not answered yet */
#define PROBES_MAX    4096U

enum disturbance {
    NAT_REBOOTS,
    NAT_BECOMES_SYMMETRIC,
    GATEWAY_MOVES,
    GATEWAY_MOVES_BEHIND_SYMMETRIC,
    HOST_SUSPENDED,
    RELAYS_RESTART,
    ONE_RELAY_RESTARTS,
    RELAYS_FORGET,
    RELAYS_OUT_OF_REACH,
    UPLINK_LOST,
    CLIENT_NAT_REBOOTS,
    DISTURBANCES,
};

static const char *const names[DISTURBANCES] = {
    "the gateway's NAT reboots",
    "the gateway's NAT reboots and becomes endpoint-dependent",
    "the gateway's address changes",
    "the gateway's address changes, behind an endpoint-dependent NAT",
    "the gateway's host is suspended for a minute",
    "both relays restart with new secrets",
    "one relay restarts with a new secret",
    "both relays lose their allocations",
    "the gateway does not reach the relays for two minutes",
    "the gateway is unplugged for two minutes",
    "the client's NAT reboots",
};

struct scene {
    enum disturbance disturbance;
    bool head_client;
    bool head_portal;
    bool relay_only;
    bool idle; /* nobody sends for a minute before the disturbance */
    uint32_t gateway_nat;
    uint32_t client_nat;
};

struct run {
    struct sim_world *world;
    uint64_t disturbed_ns;
    uint64_t asked_ns;               /* the request that the gateway answered first */
    uint64_t pending_ns;             /* the latest request */
    uint64_t answered_ns;            /* its answer */
    size_t first_probe;              /* after the disturbance */
    uint64_t replied_ns[PROBES_MAX]; /* by probe since then; 0: not yet */
    size_t probes;
};

/* What became of the probes since the disturbance. */
struct outcome {
    bool healed;        /* the last ones are answered, apart from those under way */
    uint64_t healed_ns; /* when the first answer of that row came */
    size_t lost;
};

static void observe(void *self, const struct sim_client_event *event)
{
    struct run *run = self;
    uint64_t now = run->world->sched.now_ns;
    if (run->disturbed_ns == 0) {
        return;
    }
    if (event->kind == SIM_CLIENT_INTENT) {
        run->pending_ns = now;
    } else if (event->kind == SIM_CLIENT_FLOW_CREATED && run->answered_ns == 0) {
        run->asked_ns = run->pending_ns;
        run->answered_ns = now;
    }
}

static void note_replies(struct run *run)
{
    size_t count = sim_probes_count(run->world->probes);
    for (size_t i = run->first_probe; run->disturbed_ns != 0 && i < count; i++) {
        size_t slot = i - run->first_probe;
        assert_true(slot < PROBES_MAX);
        if (run->replied_ns[slot] == 0 && sim_probe_at(run->world->probes, i)->replies > 0) {
            run->replied_ns[slot] = run->world->sched.now_ns;
        }
        run->probes = slot + 1;
    }
}

static void step(struct run *run, unsigned number)
{
    if (number % PROBE_STEPS == 0) {
        world_app_probe(run->world, 0, 0, 0, 64);
    }
    world_run_until(run->world, run->world->sched.now_ns + STEP);
    if (run->world->failure.oracle != NULL) {
        fail_msg("%s: %s", run->world->failure.oracle, run->world->failure.text);
    }
    note_replies(run);
}

static void act(struct run *run, enum sim_action_kind kind, uint32_t a, uint32_t b, uint32_t d)
{
    struct sim_action action = {
        .at_ns = run->world->sched.now_ns, .kind = kind, .a = a, .b = b, .d = d};
    world_act(run->world, &action);
}

/* Nothing passes between two nodes for a while. Nodes: client, gateway, two relays, portal. */
static void block(struct run *run, uint32_t a, uint32_t b)
{
    if (a != b) {
        struct sim_action action = {.at_ns = run->world->sched.now_ns,
                                    .kind = SIM_ACTION_block,
                                    .a = a,
                                    .b = b,
                                    .c = 2, /* both families, both ways */
                                    .d = OUTAGE_NS / NS_PER_MS};
        world_act(run->world, &action);
    }
}

static uint64_t length_of(enum disturbance disturbance)
{
    bool outage = disturbance == RELAYS_OUT_OF_REACH || disturbance == UPLINK_LOST;
    return outage ? OUTAGE_NS : disturbance == HOST_SUSPENDED ? SUSPEND_NS : 0;
}

static void disturb(struct run *run, enum disturbance disturbance)
{
    const uint32_t client = 0;
    const uint32_t gateway = 1; /* after the clients */
    switch (disturbance) {
    case NAT_REBOOTS:
        act(run, SIM_ACTION_nat_reboot, gateway, 0, 0);
        break;
    case NAT_BECOMES_SYMMETRIC:
        act(run, SIM_ACTION_nat_change, gateway, SIM_EDGE_SYMMETRIC - 1, 0);
        break;
    case GATEWAY_MOVES:
        act(run, SIM_ACTION_gateway_roam, 0, SIM_EDGE_PORT_RESTRICTED, 0);
        break;
    case GATEWAY_MOVES_BEHIND_SYMMETRIC:
        act(run, SIM_ACTION_gateway_roam, 0, SIM_EDGE_SYMMETRIC, 0);
        break;
    case HOST_SUSPENDED:
        act(run, SIM_ACTION_gateway_pause, 0, 0, SUSPEND_NS / NS_PER_MS);
        break;
    case RELAYS_RESTART:
        act(run, SIM_ACTION_relay_restart, 0, 0, 0);
        act(run, SIM_ACTION_relay_restart, 1, 0, 0);
        break;
    case ONE_RELAY_RESTARTS:
        act(run, SIM_ACTION_relay_restart, 0, 0, 0);
        break;
    case RELAYS_FORGET:
        act(run, SIM_ACTION_relay_forget, 0, 0, 0);
        act(run, SIM_ACTION_relay_forget, 1, 0, 0);
        break;
    case RELAYS_OUT_OF_REACH:
        block(run, 1, 2);
        block(run, 1, 3);
        break;
    case UPLINK_LOST:
        for (uint32_t other = 0; other < 5; other++) {
            block(run, 1, other);
        }
        break;
    case CLIENT_NAT_REBOOTS:
        act(run, SIM_ACTION_nat_reboot, client, 0, 0);
        break;
    case DISTURBANCES:
        break;
    }
}

static struct outcome outcome_of(const struct run *run)
{
    struct outcome out = {0};
    size_t end = run->probes;
    size_t row = 0;
    for (unsigned i = 0; i < UNDER_WAY && end > 0 && run->replied_ns[end - 1] == 0; i++) {
        end--;
    }
    while (row < end && run->replied_ns[end - 1 - row] != 0) {
        row++;
    }
    for (size_t i = 0; i < end; i++) {
        out.lost += run->replied_ns[i] == 0 ? 1 : 0;
    }
    out.healed = row >= STEADY_PROBES;
    out.healed_ns = row == 0 ? 0 : run->replied_ns[end - row];
    return out;
}

static struct sim_list list_of(const struct scene *scene)
{
    struct sim_list list = {.seed = 1, .options = sim_options_default()};
    struct sim_options *o = &list.options;
    o->relays = 2;
    o->head_clients = scene->head_client ? 1 : 0;
    o->head_portal = scene->head_portal ? 1 : 0;
    o->relay_mode = scene->head_portal ? 1 : 0;
    o->relay_only = scene->relay_only ? 1 : 0;
    o->gateway_nat_0 = scene->gateway_nat;
    o->client_nat_0 = scene->client_nat;
    o->nat_ports = SIM_NAT_SEQUENTIAL;
    o->client_families_0 = SIM_FAMILIES_V4;
    o->gateway_families = SIM_FAMILIES_V4;
    o->latency_client_ms = 20;
    o->latency_gateway_ms = 15;
    o->latency_relay_ms = 5;
    o->latency_portal_ms = 15;
    return list;
}

static void run_steps(struct run *run, uint64_t until_ns, bool sends)
{
    for (unsigned n = 0; run->world->sched.now_ns < until_ns; n++) {
        step(run, sends ? n : 1);
    }
}

static void tell(const struct scene *scene, const struct run *run, const struct outcome *out)
{
    static const char *const nats[] = {"open", "full cone", "restricted", "port-restricted"};
    bool asked = run->answered_ns != 0;
    int64_t took = asked ? (int64_t)(out->healed_ns - run->asked_ns) : 0;
    char line[400];
    (void)snprintf(line, sizeof(line),
                   "%s; %s client, %s portal, %s, gateway %s, client %s%s: %s after %.2f s, %zu "
                   "probes lost, asked after %.2f s, back %.2f s later",
                   names[scene->disturbance], scene->head_client ? "head" : "base",
                   scene->head_portal ? "head" : "v142", scene->relay_only ? "relayed" : "direct",
                   nats[scene->gateway_nat], nats[scene->client_nat], scene->idle ? ", idle" : "",
                   out->healed ? "healed" : "NOT HEALED",
                   (double)(out->healed_ns - run->disturbed_ns) / 1e9, out->lost,
                   asked ? (double)(run->asked_ns - run->disturbed_ns) / 1e9 : 0.0,
                   took > 0 ? (double)took / 1e9 : 0.0);
    if (getenv("HEALING_LINES") != NULL) {
        printf("%s\n", line);
    }
    if (!out->healed || took > (int64_t)BOUND_NS) {
        fail_msg("%s", line);
    }
}

static void play(const struct scene *scene)
{
    struct sim_list list = list_of(scene);
    struct sim_world_config config = {.list = &list};
    if (getenv("HEALING_VERBOSE") != NULL) {
        config.verbose = stdout;
        config.verbose_from_ns = CALM_NS - NS_PER_S;
    }
    struct run *run = calloc(1, sizeof(*run));
    assert_non_null(run);
    run->world = sim_world_new(&config);
    run_steps(run, CALM_NS, true);
    const struct sim_probe *last =
        sim_probe_at(run->world->probes, sim_probes_count(run->world->probes) - UNDER_WAY - 1);
    assert_true(last->replies > 0);
    if (scene->idle) {
        run_steps(run, CALM_NS + IDLE_NS, false);
    }
    sim_client_observe(run->world->clients[0], observe, run);
    run->first_probe = sim_probes_count(run->world->probes);
    run->disturbed_ns = run->world->sched.now_ns;
    disturb(run, scene->disturbance);
    uint64_t end = run->disturbed_ns + PATIENCE_NS;
    uint64_t least = run->disturbed_ns + length_of(scene->disturbance);
    struct outcome out = {0};
    for (unsigned n = 0; run->world->sched.now_ns < end; n++) {
        step(run, n);
        out = outcome_of(run);
        if (run->world->sched.now_ns <= least) {
            run->answered_ns = 0; /* what is asked before the end is in vain */
        }
        if (out.healed && run->world->sched.now_ns > least + STEADY_PROBES * NS_PER_S) {
            break;
        }
    }
    tell(scene, run, &out);
    sim_world_free(run->world);
    sim_list_free(&list);
    free(run);
}

/* Every pair of properties occurs; the portal's generation and the client's NAT follow from the
 * others. */
static void play_all(enum disturbance disturbance)
{
    for (unsigned i = 0; i < 16; i++) {
        bool odd = (i ^ i >> 1 ^ i >> 2 ^ i >> 3) % 2 == 1;
        struct scene scene = {
            .disturbance = disturbance,
            .head_client = (i & 1) != 0,
            .relay_only = (i & 2) != 0,
            .gateway_nat = (i & 4) != 0 ? SIM_EDGE_FULL_CONE : SIM_EDGE_PORT_RESTRICTED,
            .idle = (i & 8) != 0,
            .head_portal = odd,
            .client_nat = odd ^ (i & 1) ? SIM_EDGE_PORT_RESTRICTED : SIM_EDGE_OPEN};
        if (disturbance >= HOST_SUSPENDED && (i & 4) != 0) {
            scene.gateway_nat = SIM_EDGE_OPEN; /* not what is disturbed */
        }
        if (disturbance == CLIENT_NAT_REBOOTS) {
            scene.relay_only = false; /* there it is the client that has to allocate anew */
            scene.client_nat = SIM_EDGE_PORT_RESTRICTED;
        }
        play(&scene);
    }
}

#define HEALS(name, disturbance)                                                                   \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        play_all(disturbance);                                                                     \
    }

HEALS(a_nat_that_reboots, NAT_REBOOTS)
HEALS(a_nat_that_becomes_endpoint_dependent, NAT_BECOMES_SYMMETRIC)
HEALS(another_local_address, GATEWAY_MOVES)
HEALS(another_local_address_behind_an_endpoint_dependent_nat, GATEWAY_MOVES_BEHIND_SYMMETRIC)
HEALS(a_suspended_host, HOST_SUSPENDED)
HEALS(relays_that_restart_with_new_secrets, RELAYS_RESTART)
HEALS(one_relay_that_restarts_with_a_new_secret, ONE_RELAY_RESTARTS)
HEALS(relays_that_lose_their_allocations, RELAYS_FORGET)
HEALS(relays_out_of_reach_for_minutes, RELAYS_OUT_OF_REACH)
HEALS(a_gateway_without_network_for_minutes, UPLINK_LOST)
HEALS(a_nat_of_the_client_that_reboots, CLIENT_NAT_REBOOTS)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_nat_that_reboots),
        cmocka_unit_test(a_nat_that_becomes_endpoint_dependent),
        cmocka_unit_test(another_local_address),
        cmocka_unit_test(another_local_address_behind_an_endpoint_dependent_nat),
        cmocka_unit_test(a_suspended_host),
        cmocka_unit_test(relays_that_restart_with_new_secrets),
        cmocka_unit_test(one_relay_that_restarts_with_a_new_secret),
        cmocka_unit_test(relays_that_lose_their_allocations),
        cmocka_unit_test(relays_out_of_reach_for_minutes),
        cmocka_unit_test(a_gateway_without_network_for_minutes),
        cmocka_unit_test(a_nat_of_the_client_that_reboots),
    };
    cmocka_set_test_filter(getenv("HEALING_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
