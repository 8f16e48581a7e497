#include "sim/sim_world_internal.h"

#include <string.h>

/* The bound of the liveness phase, from the constants of the protocols (seconds). Everything that
 * can be pending when the faults end runs out within it, one after the other at worst:
 *   90  the portal's backoff (spec/portal.md section 3.3), 45 heartbeats until a dead stream shows
 *   10  upgrade, join, init and the client's own reconnect
 *   25  a relay declared dead and allocated again (spec/simulation.md section 8.2)
 *   17  ICE loss detection of today's client, 10 for the new checks
 *   20  a handshake that is given up, 10 the DNS lookup, 10 resend rules of the client */
#define BACKOFF_S   90U
#define HEARTBEAT_S 45U
#define JOIN_S      10U
#define RELAY_S     25U
#define ICE_S       27U
#define HANDSHAKE_S                                                                                \
    30U /* and a try more: a client of today with the portal of 2024 may hold another key */
#define LOOKUP_S 20U
#define SETTLE_S (BACKOFF_S + HEARTBEAT_S + JOIN_S + RELAY_S + ICE_S + HANDSHAKE_S + LOOKUP_S)
/* A client that sends through its relay all the time asks for its address no more: that a NAT has
 * given it another shows when it renews its allocation, after half of its life. */
#define REMAPPED_S (300U + RELAY_S + ICE_S)
#define HEARD_S    12U /* a passive keepalive after 10 s, and the slowest way there and back */
#define UPLOAD_S   (HEARD_S + 3U) /* of data that nothing answers */
#define DOWNLOAD_S                                                                                 \
    30U                 /* of data that the client need not answer: 15 s, and time for a handshake \
                         */
#define PROBE_KINDS 16U /* protocols times port classes of world_port() */
#define ROUND_S     2U  /* between two rounds of warm-up traffic */
#define NONE_SILENT UINT32_MAX
#define STEADY_S    30U /* between two looks at what was lost */
/* Until there is another path when a relay falls silent: its end is found, ICE begins anew. */
#define FAILOVER_S  (RELAY_S + ICE_S + HANDSHAKE_S + LOOKUP_S)
#define DEMANDS_MAX 3U /* the last one is judged whatever happens meanwhile */

static void heal_gateway(struct sim_world *world, struct world_gateway *gateway)
{
    struct sim_platform *platform = sim_gateway_platform(gateway->gateway);
    *sim_platform_faults(platform) = world_platform(world);
    sim_platform_clock(platform)->unix_shift_ns = 0;
    world_memory_back(gateway);
    for (uint32_t host = 0; host < sim_hosts_count(gateway->hosts); host++) {
        world_host_restore(gateway, host);
    }
    sim_hosts_streams(gateway->hosts, false);
    sim_gateway_fault(gateway->gateway)->calm = true;
    sim_gateway_resume(gateway->gateway);
    if (!sim_gateway_is_running(gateway->gateway)) {
        sim_gateway_start(gateway->gateway);
        gateway->boots++;
    }
}

static void heal_portal(struct sim_world *world)
{
    struct world_node *portal = &world->portal_node;
    struct clock_pair now = world_now(world, portal);
    *sim_portal_faults(world->portal) = (struct sim_portal_faults){0};
    *sim_stream_faults(world->streams, portal->net) =
        (struct sim_stream_faults){.segment_max = world->options.segment_max};
    for (uint32_t i = 0; i < world->policy.relays_count; i++) {
        *sim_relay_faults(world->relays[i]) = (struct sim_relay_faults){0};
        (void)sim_portal_restore_relay(world->portal, now, i, portal->outbox);
    }
    /* Clients are not under test: they start from a fresh init, with every relay in it. */
    for (uint32_t i = 0; i < world->policy.clients_count; i++) {
        (void)sim_portal_disconnect_client(world->portal, now, i, SIM_PORTAL_CLOSE_1012,
                                           portal->outbox);
    }
    world_node_flush(portal);
}

static void heal(struct sim_world *world)
{
    sim_trace_text(world->trace, SIM_NODE_WORLD, SIM_KIND_FAULT, "everything is repaired");
    world->healed = true;
    sim_quiet_healed(world->quiet, world->sched.now_ns);
    sim_net_heal(world->net);
    world_forbid_direct(world);
    world_links(world, false);
    for (uint32_t i = 0; i < world->policy.clients_count; i++) {
        struct world_node *node = &world->client_nodes[i];
        sim_client_obey(world->clients[i], world_now(world, node), node->outbox);
        world_node_flush(node);
    }
    heal_portal(world);
    world_twins_stop(world);
    for (uint32_t i = 0; i < world->policy.gateways_count; i++) {
        world_family_restore(&world->gateways[i]);
        heal_gateway(world, &world->gateways[i]);
    }
    struct sim_dns_behaviour good = {.latency = DURATION_MS(world->options.dns_latency_ms)};
    for (uint32_t i = 0; i < world->names_count; i++) {
        struct sim_dns_behaviour plain = {0};
        (void)sim_dns_behave(world->dns, world->names[i].text, &plain);
    }
    (void)sim_dns_behave(world->dns, "", &good);
}

/* Whether ICE can succeed at all between the client and the gateway while relay `silent` is; the
 * atlas. */
static bool is_promised(const struct sim_world *world, uint32_t client, uint32_t gateway,
                        uint32_t silent)
{
    uint32_t c = world->client_nodes[client].net;
    uint32_t g = world->gateways[gateway].net;
    struct sim_place a = sim_net_place(world->net, c);
    struct sim_place b = sim_net_place(world->net, g);
    for (uint32_t i = 0; i < world->policy.relays_count; i++) {
        if (i == silent) {
            continue;
        }
        struct sim_place r = sim_net_place(world->net, world->relay_nodes[i].net);
        bool client_reaches = (a.has_v4 && r.has_v4) || (a.has_v6 && r.has_v6);
        bool gateway_reaches = (b.has_v4 && r.has_v4) || (b.has_v6 && r.has_v6);
        if (client_reaches && gateway_reaches) {
            return true;
        }
    }
    /* Without a relay of its family nobody learns an address to offer, not even its own. */
    return false;
}

static void warm_up(struct sim_world *world, uint32_t round)
{
    for (uint32_t c = 0; c < world->policy.clients_count; c++) {
        for (uint32_t n = 0; round % 3 == 0 && n < world->names_count; n++) {
            world_app_resolve(world, c, n);
        }
        for (uint32_t t = 0; t < world->targets_count; t++) {
            /* Every kind in turn, so that whatever filters permit has made its flow before. */
            world_app_probe(world, c, t, (round + t) % PROBE_KINDS, 32);
        }
    }
}

/* How long everything may take to come right from the beginning of the phase. */
static uint32_t settle_s(const struct sim_world *world, uint64_t start_ns)
{
    uint64_t remapped_ns = world->remapped_ns + REMAPPED_S * NS_PER_S;
    bool is_later = world->remapped_ns > 0 && remapped_ns > start_ns + SETTLE_S * NS_PER_S;
    return is_later ? (uint32_t)((remapped_ns - start_ns) / NS_PER_S) : SETTLE_S;
}

static void demand(struct sim_world *world)
{
    for (uint32_t c = 0; c < world->policy.clients_count; c++) {
        for (uint32_t t = 0; t < world->targets_count; t++) {
            if (!is_promised(world, c, world->targets[t].gateway, NONE_SILENT)) {
                continue;
            }
            /* Half of the kinds for each target: an older client holds 32 packets for a name at
             * most while its mapping is renewed. */
            for (uint32_t kind = t % 2; kind < PROBE_KINDS; kind += 2) {
                world_app_probe(world, c, t, kind, 80 * kind);
            }
            world_app_tcp(world, c, t, 1, 4000);
        }
    }
}

/* Whatever ran short of memory has heard of every right again. */
static void judge_hearing(struct sim_world *world)
{
    for (uint32_t i = 0; i < world->policy.gateways_count; i++) {
        const struct gateway *core = sim_gateway_core(world->gateways[i].gateway);
        if (core != NULL && (gateway_shortage(core).waits || gateway_shortage(core).lost)) {
            world_fail(world, "L-03", "gateway %u has not read what its memory was too short for",
                       i);
        }
    }
}

static bool is_missing(const struct sim_probe *probe)
{
    bool missing = probe->expect == SIM_EXPECT_REPLY && probe->replies == 0;
    bool unanswered =
        probe->expect == SIM_EXPECT_ERROR && probe->errors == 0 && probe->replies == 0;
    return missing || unanswered;
}

static bool is_unfinished(const struct world_tcp *app)
{
    return app->tcp != NULL && app->required && !sim_tcp_is_over(app->tcp);
}

static uint64_t flows_created(const struct sim_world *world)
{
    uint64_t count = 0;
    for (uint32_t c = 0; c < world->policy.clients_count; c++) {
        count += sim_client_counters(world->clients[c])->flows_created;
    }
    return count;
}

/* Demands nothing any more of what was sent until now; false: nothing is missing. */
static bool forgive(struct sim_world *world)
{
    bool any = false;
    for (size_t i = 0; i < sim_probes_count(world->probes); i++) {
        struct sim_probe *probe = sim_probe_at(world->probes, i);
        any = any || is_missing(probe);
        probe->expect = is_missing(probe) ? SIM_EXPECT_ANY : probe->expect;
    }
    for (uint32_t i = 0; i < WORLD_TCP_MAX; i++) {
        struct world_tcp *app = &world->tcp[i];
        any = any || is_unfinished(app);
        app->required = app->required && !is_unfinished(app);
    }
    return any;
}

/* Demands everything. A client that is granted something at that moment makes its tunnel anew with
 * the key of the grant, and what was on its way in the old one is lost: then once more. */
static void demand_until_undisturbed(struct sim_world *world)
{
    for (uint32_t i = 0; i < DEMANDS_MAX && world->failure.oracle == NULL; i++) {
        uint64_t flows = flows_created(world);
        demand(world);
        world_run_until(world, world->sched.now_ns + WORLD_ANSWER_S * NS_PER_S);
        bool last = i + 1 == DEMANDS_MAX || flows_created(world) == flows;
        if (last || !forgive(world)) {
            return;
        }
    }
}

/* ---- one-way traffic ---- */

static void all_hosts(struct sim_world *world, enum sim_host_behaviour behaviour)
{
    for (uint32_t g = 0; g < world->policy.gateways_count; g++) {
        struct sim_hosts *hosts = world->gateways[g].hosts;
        for (uint32_t i = 0; i < sim_hosts_count(hosts); i++) {
            sim_hosts_set(hosts, sim_hosts_at(hosts, i), behaviour, DURATION_MS(1));
        }
    }
}

static void all_streams(struct sim_world *world, bool on)
{
    for (uint32_t g = 0; g < world->policy.gateways_count; g++) {
        sim_hosts_streams(world->gateways[g].hosts, on);
    }
}

static void restore_hosts(struct sim_world *world)
{
    for (uint32_t g = 0; g < world->policy.gateways_count; g++) {
        for (uint32_t i = 0; i < sim_hosts_count(world->gateways[g].hosts); i++) {
            world_host_restore(&world->gateways[g], i);
        }
    }
}

/* Sends once more what was answered last of this client's datagrams to the gateway, if any was. */
static void say_again(struct sim_world *world, uint32_t client, uint32_t gateway)
{
    for (size_t i = sim_probes_count(world->probes); i > 0; i--) {
        const struct sim_probe *probe = sim_probe_at(world->probes, i - 1);
        if (probe->client == client && probe->gateway == gateway && probe->replies > 0 &&
            probe->packet.protocol == SIM_PROTO_UDP) {
            struct sim_packet packet = probe->packet;
            world_app_packet(world, client, &packet, probe->payload_len, false);
            return;
        }
    }
}

void world_say_again(struct sim_world *world)
{
    for (uint32_t c = 0; c < world->policy.clients_count; c++) {
        for (uint32_t g = 0; g < world->policy.gateways_count; g++) {
            say_again(world, c, g);
        }
    }
}

/* L-04: a client whose data nothing answers hears a keepalive (spec/wireguard.md section 8). */
static void judge_tunnels(struct sim_world *world)
{
    for (uint32_t c = 0; c < world->policy.clients_count; c++) {
        struct clock_pair now = world_now(world, &world->client_nodes[c]);
        for (uint32_t g = 0; g < world->policy.gateways_count; g++) {
            struct sim_client_status status =
                sim_client_status(world->clients[c], now, &world->policy.gateways[g].id);
            if (status.has_path && status.has_session &&
                instant_reached(now.boot, instant_add(status.unheard, DURATION_S(HEARD_S)))) {
                world_fail(world, "L-04",
                           "client %u sent data to gateway %u and heard nothing for %u s", c, g,
                           HEARD_S);
                return;
            }
        }
    }
}

/* Clients send and hosts say nothing. */
static void upload(struct sim_world *world)
{
    all_hosts(world, SIM_HOST_SILENT);
    for (uint32_t s = 0; s < UPLOAD_S && world->failure.oracle == NULL; s++) {
        world_say_again(world);
        world_run_until(world, world->sched.now_ns + NS_PER_S);
        judge_tunnels(world);
    }
    restore_hosts(world);
}

/* L-05: what a host goes on sending arrives; one answer may be on its way. */
static void judge_streams(struct sim_world *world, size_t first)
{
    for (size_t i = first; i < sim_probes_count(world->probes); i++) {
        const struct sim_probe *probe = sim_probe_at(world->probes, i);
        if (probe->replies > 0 && probe->replies + 1 < probe->covered) {
            world_fail_probe(world, "L-05", probe,
                             "was answered on and on, and answers are missing");
            return;
        }
    }
}

/* Hosts send and clients say nothing: what the gateway does is judged by O-18, too. */
static void download(struct sim_world *world)
{
    size_t first = sim_probes_count(world->probes);
    uint64_t flows = flows_created(world);
    if (!world_has_streams(world)) {
        return;
    }
    all_streams(world, true);
    all_hosts(world, SIM_HOST_STREAM);
    world_say_again(world);
    world_run_until(world, world->sched.now_ns + DOWNLOAD_S * NS_PER_S);
    if (flows_created(world) == flows) {
        judge_streams(world, first);
    }
    restore_hosts(world);
    all_streams(world, false);
}

static void judge(struct sim_world *world, const char *oracle, const char *oracle_tcp)
{
    for (size_t i = 0; i < sim_probes_count(world->probes); i++) {
        const struct sim_probe *probe = sim_probe_at(world->probes, i);
        if (is_missing(probe)) {
            world_fail_probe(world, oracle, probe,
                             probe->seen_inside > 0 ? "was delivered but its answer is missing"
                                                    : "never reached the resource network");
            return;
        }
    }
    for (uint32_t i = 0; i < WORLD_TCP_MAX; i++) {
        const struct world_tcp *app = &world->tcp[i];
        if (is_unfinished(app)) {
            world_fail(world, oracle_tcp,
                       "a TCP connection of client %u to resource %u is not over in time",
                       app->client, app->resource);
            return;
        }
    }
}

/* One of the kinds of one target a round for each client. */
static void use(struct sim_world *world, uint32_t round)
{
    for (uint32_t c = 0; c < world->policy.clients_count; c++) {
        uint32_t t = (round + c) % world->targets_count;
        if (is_promised(world, c, world->targets[t].gateway, NONE_SILENT)) {
            world_app_probe(world, c, t, (round / world->targets_count + t) % PROBE_KINDS, 64);
        }
    }
}

/* L-05: what works goes on working. A client that is granted something meanwhile makes its tunnel
 * anew, and nothing is demanded of that time. */
static void stay(struct sim_world *world)
{
    uint32_t round = 0;
    for (uint32_t s = 0; s < world->options.steady_s && world->failure.oracle == NULL;
         s += STEADY_S) {
        uint64_t flows = flows_created(world);
        for (uint32_t i = 0; i < STEADY_S / ROUND_S; i++) {
            use(world, round++);
            world_run_until(world, world->sched.now_ns + ROUND_S * NS_PER_S);
        }
        world_run_until(world, world->sched.now_ns + WORLD_ANSWER_S * NS_PER_S);
        if (flows_created(world) != flows) {
            (void)forgive(world);
        } else if (world->failure.oracle == NULL) {
            judge(world, "L-05", "L-05");
        }
    }
}

static bool may_fall_silent(const struct sim_world *world, uint32_t relay)
{
    bool may = relay < world->policy.relays_count;
    for (uint32_t c = 0; c < world->policy.clients_count; c++) {
        for (uint32_t g = 0; g < world->policy.gateways_count; g++) {
            may = may && is_promised(world, c, g, relay) == is_promised(world, c, g, NONE_SILENT);
        }
    }
    return may;
}

/* L-06: without one of its relays, everything works again soon. */
static void fail_over(struct sim_world *world)
{
    uint32_t relay = world->options.failover - 1;
    if (world->options.failover == 0 || !may_fall_silent(world, relay)) {
        return;
    }
    sim_trace_text(world->trace, SIM_NODE_WORLD, SIM_KIND_FAULT, "relay %u falls silent", relay);
    sim_relay_faults(world->relays[relay])->silent = true;
    world->judging = false;
    for (uint32_t s = 0; s < FAILOVER_S && world->failure.oracle == NULL; s += ROUND_S) {
        warm_up(world, s / ROUND_S);
        world_run_until(world, world->sched.now_ns + ROUND_S * NS_PER_S);
    }
    world->judging = true;
    if (world->failure.oracle == NULL) {
        demand_until_undisturbed(world);
    }
    if (world->failure.oracle == NULL) {
        judge(world, "L-06", "L-06");
    }
    sim_relay_faults(world->relays[relay])->silent = false;
}

void world_live(struct sim_world *world)
{
    heal(world);
    uint64_t start = world->sched.now_ns;
    for (uint32_t s = 0; s < settle_s(world, start) && world->failure.oracle == NULL;
         s += ROUND_S) {
        warm_up(world, s / ROUND_S);
        world_run_until(world, start + (uint64_t)(s + ROUND_S) * NS_PER_S);
    }
    if (world->failure.oracle != NULL) {
        return;
    }
    world->judging = true;
    judge_hearing(world);
    demand_until_undisturbed(world);
    if (world->failure.oracle == NULL) {
        judge(world, "L-01", "L-02");
    }
    if (world->failure.oracle == NULL) {
        stay(world);
    }
    if (world->failure.oracle == NULL) {
        fail_over(world);
    }
    world->judging = false;
    if (world->failure.oracle == NULL) {
        upload(world);
    }
    if (world->failure.oracle == NULL) {
        download(world);
    }
    if (world->failure.oracle == NULL) {
        world_rest(world);
    }
}
