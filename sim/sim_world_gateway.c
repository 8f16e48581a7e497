#include "sim/sim_world_internal.h"

#include <stdlib.h>
#include <string.h>

#define API_URL         "wss://" WORLD_NAME_PORTAL
#define PARTITION_MAX_S 86400U
#define RECORD_NAME_MAX 512U
#define SUPERVISOR_MS   5000U /* a process that ended by itself is started again after this */

/* A packet of a resource host on its way to the gateway. */
struct inbound {
    struct world_gateway *gateway;
    size_t len;
    uint8_t bytes[];
};

struct world_gateway *world_gateway_of(struct sim_world *world, uint32_t net)
{
    for (uint32_t i = 0; i < SIM_GATEWAYS_MAX; i++) {
        if (world->gateways[i].world != NULL && world->gateways[i].net == net) {
            return &world->gateways[i];
        }
    }
    return NULL;
}

struct clock_pair world_gateway_now(const struct world_gateway *gateway)
{
    return sim_platform_now(sim_gateway_platform(gateway->gateway));
}

/* ---- resource hosts ---- */

/* Whether a grant covers the answer now: the client may send what is answered. */
static bool is_covered(const struct inbound *inbound, const struct sim_packet *answer)
{
    const struct world_gateway *gateway = inbound->gateway;
    struct sim_packet asked = *answer;
    uint32_t client = 0;
    asked.source = answer->destination;
    asked.destination = answer->source;
    asked.destination_port = answer->source_port;
    asked.icmp_type =
        answer->source.family == IP_V4 ? 8 : 128; /* echo request; else not looked at */
    struct sim_verdict verdict = sim_model_judge(
        gateway->world->model, gateway->index, world_gateway_now(gateway).unix_ns, &asked, &client);
    return verdict.oracle == NULL;
}

/* The answer that the inbound packet is to a probe; NULL: it is none. */
static struct sim_probe *answered_by(const struct inbound *inbound, struct sim_packet *answer)
{
    bool damaged = false;
    struct view bytes = {inbound->bytes, inbound->len};
    if (sim_packet_read(bytes, answer) != NULL || sim_packet_is_icmp_error(answer)) {
        return NULL;
    }
    return sim_probe_of(inbound->gateway->world->probes, answer->payload, &damaged);
}

/* The gateway has judged the answer, and it was not covered when it came: what the gateway was told
 * in the same moment counts too. */
static void inbound_judged(void *context, uint64_t value)
{
    struct inbound *inbound = context;
    struct sim_packet answer;
    struct sim_probe *probe = answered_by(inbound, &answer);
    (void)value;
    if (is_covered(inbound, &answer)) {
        probe->permitted++;
    } else {
        probe->refused++;
    }
    free(inbound);
}

static void inbound_arrives(void *context, uint64_t value)
{
    struct inbound *inbound = context;
    (void)value;
    struct world_gateway *gateway = inbound->gateway;
    if (!sim_gateway_is_running(gateway->gateway)) {
        free(inbound);
        return;
    }
    struct sim_packet answer;
    struct sim_probe *probe = answered_by(inbound, &answer);
    /* One that is busy judges it later, when another rule may hold. */
    bool covered = probe != NULL && is_covered(inbound, &answer);
    bool is_sure = probe != NULL && sim_gateway_is_drained(gateway->gateway) && !covered;
    sim_platform_tun(sim_gateway_platform(gateway->gateway),
                     (struct view){inbound->bytes, inbound->len});
    if (is_sure) {
        sim_sched_in(&gateway->world->sched, (struct duration){0}, inbound_judged, inbound, 0);
        return;
    }
    if (probe != NULL) {
        probe->permitted++;
        probe->covered += covered ? 1 : 0;
    }
    free(inbound);
}

static void host_emit(void *self, struct duration delay, struct view packet)
{
    struct world_gateway *gateway = self;
    struct inbound *inbound = malloc(sizeof(*inbound) + packet.len);
    ASSERT(inbound != NULL);
    inbound->gateway = gateway;
    inbound->len = packet.len;
    memcpy(inbound->bytes, packet.at, packet.len);
    sim_sched_in(&gateway->world->sched, delay, inbound_arrives, inbound, 0);
}

static void hosts_wake(void *context, uint64_t value)
{
    struct world_gateway *gateway = context;
    (void)value;
    if (gateway->hosts_wake_ns != gateway->world->sched.now_ns) {
        return;
    }
    gateway->hosts_wake_ns = UINT64_MAX;
    sim_hosts_timeout(gateway->hosts, (struct instant){gateway->world->sched.now_ns}, host_emit,
                      gateway);
    world_hosts_plan(gateway);
}

bool world_has_streams(const struct sim_world *world)
{
    return world->options.group_data_only == 0;
}

void world_host_restore(struct world_gateway *gateway, uint32_t host)
{
    enum sim_host_behaviour behaviour = gateway->behaviours[host];
    sim_hosts_set(gateway->hosts, sim_hosts_at(gateway->hosts, host), behaviour,
                  DURATION_MS(behaviour == SIM_HOST_SLOW ? 1500 : 1));
}

void world_hosts_plan(struct world_gateway *gateway)
{
    uint64_t at = sim_hosts_next(gateway->hosts).ns;
    if (at != UINT64_MAX && at != gateway->hosts_wake_ns) {
        gateway->hosts_wake_ns = at;
        sim_sched_at(&gateway->world->sched, at, hosts_wake, gateway, 0);
    }
}

/* ---- what leaves the TUN device ---- */

static bool same_flow(const struct sim_probe *probe, const struct sim_packet *packet)
{
    bool udp = probe->packet.protocol == SIM_PROTO_UDP;
    if (udp) {
        return packet->protocol == SIM_PROTO_UDP &&
               packet->destination_port == probe->packet.destination_port;
    }
    return sim_packet_is_echo_request(packet);
}

static void judge_probe(struct world_gateway *gateway, struct sim_probe *probe,
                        const struct sim_packet *packet, uint32_t client)
{
    struct sim_world *world = gateway->world;
    if (probe->hostile) {
        world_fail(world, "O-02", "a hostile packet of client %u left the TUN device",
                   probe->client);
    }
    if (probe->client != client) {
        world_fail(world, "O-02", "a packet of client %u left as one of client %u", probe->client,
                   client);
    }
    if (!same_flow(probe, packet)) {
        world_fail(world, "O-05", "protocol or destination port changed on the way");
    }
    if (probe->resource != WORLD_NOBODY &&
        world->policy.resources[probe->resource].kind != SIM_RESOURCE_DNS &&
        !ip_equal(&probe->packet.destination, &packet->destination)) {
        world_fail(world, "O-05", "the destination changed on the way");
    }
    probe->seen_inside++;
    world->report.probes_inside++;
    if (probe->seen_inside > 1) {
        world_fail(world, "O-04", "probe %llu of client %u was delivered twice",
                   (unsigned long long)(probe->id & UINT32_MAX), probe->client);
    }
}

/* An address that stands behind a name; no network or host has one of these. */
static bool is_named(const struct sim_world *world, const struct ip_addr *ip)
{
    bool v4 = ip->family == IP_V4 && ip->bytes[0] == 172 && ip->bytes[1] == 20;
    bool v6 = ip->family == IP_V6 && ip->bytes[0] == 0xfd && ip->bytes[1] == 0x20;
    return world->names_count > 0 && (v4 || v6);
}

/* A client that restarts numbers its names anew. Until the gateway hears of a proxy address under
 * another name it goes on with the old ones, then it ends every session of the client: nothing is
 * promised to connections in between. When the world is judged all names were told again. */
static bool is_between_numberings(const struct sim_world *world, uint32_t client, uint16_t port)
{
    for (uint32_t i = 0; i < WORLD_TCP_MAX; i++) {
        const struct world_tcp *app = &world->tcp[i];
        if (app->tcp != NULL && app->client == client && app->tcp->local.port == port) {
            return world->client_restarted[client] && !app->demanded;
        }
    }
    return world->client_restarted[client];
}

static void judge_packet(struct world_gateway *gateway, const struct sim_packet *packet)
{
    struct sim_world *world = gateway->world;
    uint64_t unix_ns = sim_gateway_decision_unix(gateway->gateway);
    uint32_t client = 0;
    struct sim_verdict verdict =
        sim_model_judge(world->model, gateway->index, unix_ns, packet, &client);
    if (verdict.oracle != NULL) {
        world_fail(world, verdict.oracle, "%s (protocol %u, port %u)", verdict.text,
                   packet->protocol, packet->destination_port);
        return;
    }
    /* The judge tells connections apart by their port, which FAULT_PORT_WRAP gives to several. */
    bool tells = (world->options.fault_points >> FAULT_PORT_WRAP & 1U) == 0;
    if (tells && packet->protocol == SIM_PROTO_TCP && is_named(world, &packet->destination) &&
        !is_between_numberings(world, client, packet->source_port)) {
        sim_judge_flow(world->judge, gateway->index, client, world->sched.now_ns, packet);
    }
    if (sim_packet_is_icmp_error(packet)) {
        world_fail(world, "O-01", "an ICMP error of a client left the TUN device");
    }
    bool damaged = false;
    struct sim_probe *probe = sim_probe_of(world->probes, packet->payload, &damaged);
    if (damaged) {
        world_fail(world, "O-05", "the payload of a probe was changed on the way");
    }
    if (probe != NULL) {
        judge_probe(gateway, probe, packet, client);
    } else if (packet->protocol != SIM_PROTO_TCP) {
        world_fail(world, "O-05", "a packet that no application sent left the TUN device");
    }
}

static void tun_packet(void *self, uint32_t index, struct view bytes)
{
    struct sim_world *world = self;
    struct world_gateway *gateway = &world->gateways[index];
    struct sim_packet packet;
    const char *wrong = sim_packet_read(bytes, &packet);
    if (wrong != NULL) {
        world_fail(world, "O-05", "a packet into the resource network is wrong: %s", wrong);
        return;
    }
    judge_packet(gateway, &packet);
    enum sim_host_behaviour behaviour;
    bool own = sim_hosts_find(gateway->kernel, &packet.destination, &behaviour);
    wrong = sim_hosts_packet(own ? gateway->kernel : gateway->hosts,
                             (struct instant){world->sched.now_ns}, bytes, host_emit, gateway);
    if (wrong != NULL) {
        world_fail(world, "O-05", "a resource host got a bad packet: %s", wrong);
    }
    world_hosts_plan(gateway);
}

static void tun_configured(void *self, uint32_t index, const struct gateway_tun_config *config)
{
    struct sim_world *world = self;
    const struct sim_gateway_identity *identity = world_identity(world, index);
    if (!ip_equal(&config->ipv4, &identity->tunnel_v4) ||
        !ip_equal(&config->ipv6, &identity->tunnel_v6)) {
        world_fail(world, "O-13", "the TUN device got other addresses than the portal gave");
    }
}

static void asked(void *self, uint32_t index, const struct gateway_lookup *lookup)
{
    struct sim_world *world = self;
    if (lookup->type == GATEWAY_LOOKUP_A || lookup->type == GATEWAY_LOOKUP_AAAA) {
        sim_cached_asked(world->cached, index, lookup->name, lookup->lookup);
    }
}

static void answered(void *self, uint32_t index, const struct gateway_lookup_answer *answer)
{
    struct sim_world *world = self;
    bool failed = answer->result != ERR_NONE && answer->result != ERR_NAME;
    sim_cached_answered(world->cached, index, answer->lookup, failed,
                        answer->addresses_count > 0 ? answer->ttl_s : UINT32_MAX);
}

static void bad_output(void *self, uint32_t index, const char *text)
{
    (void)index;
    world_fail(self, "O-13", "%s", text);
}

/* ---- hooks of the gateway node ---- */

void world_judge_failed(void *self, const char *oracle, const char *text)
{
    world_fail(self, oracle, "%s", text);
}

uint64_t world_judge_decided(void *self, uint32_t gateway)
{
    const struct sim_world *world = self;
    return sim_gateway_decision_ns(world->gateways[gateway].gateway);
}

static void on_failed(void *self, const char *oracle, const char *text)
{
    world_fail(self, oracle, "%s", text);
}

/* Before its first join a gateway gives up after 15 s without a portal (spec/portal.md section
 * 10.1), and it ends when the portal of today serves another process with its identity (section
 * 10.2): the ERRORs that faults explain. */
static bool is_explained(const struct world_gateway *gateway, const struct trace_event *event)
{
    bool in_vain = (!gateway->joined || gateway->starved) && !gateway->world->healed;
    return event->event == EV_PORTAL_FATAL && (in_vain || gateway->sent_away);
}

/* What gives a gateway a reason to speak unasked. */
static void tell_quiet(struct sim_world *world, uint32_t index, enum trace_id event)
{
    static const enum trace_id wake[] = {
        EV_CONNECTION_NEW, EV_CONNECTION_PATH, EV_CANDIDATE_LOCAL, EV_CANDIDATE_REMOTE, EV_REVOKED,
        EV_EXPIRED,        EV_PORTAL_MESSAGE,  EV_RELAY_LOST,      EV_RELAY_READY};
    for (size_t i = 0; i < ARRAY_COUNT(wake); i++) {
        if (event == wake[i]) {
            sim_quiet_woken(world->quiet, index, world->sched.now_ns);
        }
    }
    if (event == EV_RELAY_LOST) {
        sim_quiet_relay_lost(world->quiet, index, world->sched.now_ns);
    }
    if (event == EV_RELAY_FAILED) {
        sim_quiet_relay_failed(world->quiet, index, world->sched.now_ns);
    }
}

/* The gateway obeys a goodbye, which takes every right of the client. That it was said is the
 * client's word, when it was heard the gateway's. */
static void take_goodbye(struct sim_world *world, uint32_t index, const struct trace_event *event)
{
    uint32_t client = sim_policy_client(&world->policy, &event->id);
    bool *said = client == UINT32_MAX ? NULL : &world->gateways[index].goodbyes[client];
    if (event->event == EV_CONNECTION_CLOSED && said != NULL && *said &&
        view_equal_text(event->text, "the client said goodbye")) {
        *said = false;
        sim_model_goodbye(world->model, index, client);
    }
}

static void on_event(void *self, uint32_t index, const struct trace_event *event)
{
    struct sim_world *world = self;
    struct world_gateway *gateway = &world->gateways[index];
    gateway->joined = gateway->joined || event->event == EV_PORTAL_JOINED;
    gateway->renewed = gateway->renewed && event->event != EV_PORTAL_LOST;
    tell_quiet(world, index, event->event);
    if (event->event == EV_DNS_QUERY) {
        sim_cached_wanted(world->cached, index, event->text, world->sched.now_ns);
    } else if (event->event == EV_DNS_DONE) {
        sim_cached_served(world->cached, index, event->text, world->sched.now_ns);
    }
    take_goodbye(world, index, event);
    sim_states_event(world->states, index, sim_policy_client(&world->policy, &event->id),
                     event->event, event->value, world->sched.now_ns);
    world->report.seen[event->event]++;
    world->report.refused[event->reason] += event->reason != DROP_NONE ? 1 : 0;
    if (world->options.sabotage == SIM_SABOTAGE_TOKEN && event->event == EV_PORTAL_JOINED) {
        sim_trace_text(world->trace, (uint16_t)gateway->net, SIM_KIND_STATE, "joined with %s",
                       world_identity(world, index)->token);
    }
    if (trace_level_of(event->event) == TRACE_ERROR && !is_explained(gateway, event)) {
        world_fail(world, "O-16", "gateway %u: %s: %.*s", index, trace_name(event->event),
                   (int)event->text.len, (const char *)event->text.at);
    }
}

/* O-17: what the platform carried is what the gateway counted. */
static void check_counters(struct sim_world *world, struct world_gateway *gateway)
{
    struct gateway *core = sim_gateway_core(gateway->gateway);
    if (core == NULL || !sim_gateway_is_drained(gateway->gateway)) {
        return;
    }
    const struct gateway_counters *counted = gateway_counters(core);
    const struct sim_platform_counts *carried =
        sim_platform_counts(sim_gateway_platform(gateway->gateway));
    if (counted->udp_in_datagrams != carried->udp_in ||
        counted->tun_in_packets != carried->tun_in) {
        world_fail(world, "O-17",
                   "inputs: counted %llu datagrams and %llu packets, carried %llu and %llu",
                   (unsigned long long)counted->udp_in_datagrams,
                   (unsigned long long)counted->tun_in_packets, (unsigned long long)carried->udp_in,
                   (unsigned long long)carried->tun_in);
    }
    bool is_sent = carried->udp_lost || counted->udp_out_datagrams == carried->udp_out;
    bool is_written = carried->tun_lost || counted->tun_out_packets == carried->tun_out;
    if (!is_sent || !is_written) {
        world_fail(world, "O-17",
                   "outputs: counted %llu datagrams and %llu packets, carried %llu and %llu",
                   (unsigned long long)counted->udp_out_datagrams,
                   (unsigned long long)counted->tun_out_packets,
                   (unsigned long long)carried->udp_out, (unsigned long long)carried->tun_out);
    }
}

/* ---- memory ---- */

void world_memory_back(struct world_gateway *gateway)
{
    struct sim_memory *memory = sim_gateway_memory(gateway->gateway);
    if (memory->is_short) {
        sim_memory_end(memory);
        gateway->fed_ns = gateway->world->sched.now_ns;
    }
}

void world_init_told(struct world_gateway *gateway, bool keeps)
{
    struct sim_world *world = gateway->world;
    const struct gateway *core = sim_gateway_core(gateway->gateway);
    gateway->renews = core != NULL && gateway_shortage(core).lost && !gateway->renewed;
    if (gateway->renews) {
        gateway->renewed = true;
        sim_model_renew(world->model, gateway->index);
    } else if (!keeps) {
        sim_model_init(world->model, gateway->index);
    }
}

/* True when the gateway knows all that it was told. With memory it reads soon what has waited. */
static bool has_heard(struct sim_world *world, struct world_gateway *gateway)
{
    const struct gateway *core = sim_gateway_core(gateway->gateway);
    struct gateway_shortage shortage = gateway_shortage(core);
    bool is_short = sim_gateway_memory(gateway->gateway)->is_short;
    gateway->renewed = gateway->renewed && shortage.lost;
    if (shortage.waits && !is_short && sim_gateway_is_drained(gateway->gateway) &&
        world->sched.now_ns > gateway->fed_ns + WORLD_MEMORY_MS * NS_PER_MS) {
        world_fail(world, "O-03", "memory is back, and a message of the portal still waits");
    }
    return !shortage.waits && !shortage.lost;
}

static void on_stepped(void *self, uint32_t index)
{
    struct sim_world *world = self;
    struct world_gateway *gateway = &world->gateways[index];
    sim_model_clock(world->model, index, sim_gateway_decision_unix(gateway->gateway));
    if (has_heard(world, gateway) && sim_gateway_is_drained(gateway->gateway)) {
        sim_model_settle(world->model, index);
    }
    check_counters(world, gateway);
}

static void on_ended(void *self, uint32_t index, int exit_code)
{
    struct sim_world *world = self;
    sim_model_forget(world->model, index);
    sim_judge_boot(world->judge, index);
    sim_rekey_boot(world->rekey, index);
    sim_cached_boot(world->cached, index);
    sim_states_boot(world->states, index);
    world->gateways[index].joined = false;
    world->gateways[index].starved = sim_gateway_memory(world->gateways[index].gateway)->is_short;
    world->gateways[index].renews = false;
    world->gateways[index].renewed = false;
    world->gateways[index].sent_away = false;
    if (exit_code >= 0 && world->gateways[index].wanted) {
        world_undo_later(world, UNDO_GATEWAY_START, index, 0, SUPERVISOR_MS);
    }
}

/* ---- recordings ---- */

static void record_bytes(void *self, struct view bytes)
{
    struct world_gateway *gateway = self;
    gateway->record_failed =
        gateway->record_failed || fwrite(bytes.at, 1, bytes.len, gateway->record) != bytes.len;
}

static void record_end(struct world_gateway *gateway)
{
    if (gateway->record != NULL && (fclose(gateway->record) != 0 || gateway->record_failed)) {
        (void)fprintf(stderr, "a recording could not be written\n");
    }
    gateway->record = NULL;
}

static struct driver_recorder on_boot(void *self, uint32_t index)
{
    struct sim_world *world = self;
    struct world_gateway *gateway = &world->gateways[index];
    char name[RECORD_NAME_MAX];
    record_end(gateway);
    (void)snprintf(name, sizeof(name), "%s-%u-%u", world->config.record, index,
                   sim_platform_boot(sim_gateway_platform(gateway->gateway)));
    gateway->record = fopen(name, "wb");
    if (gateway->record == NULL) {
        (void)fprintf(stderr, "%s cannot be written\n", name);
        return (struct driver_recorder){NULL, NULL};
    }
    return (struct driver_recorder){record_bytes, gateway};
}

/* ---- building ---- */

static struct gateway_limits small_limits(const struct sim_options *options)
{
    struct gateway_limits limits = gateway_limits_default();
    limits.clients = 32;
    limits.relays = 8;
    limits.resources_per_client = 32;
    limits.nat_sessions = 16384;
    limits.nat_sessions_per_client = 4096;
    limits.nat_expired_per_client = 512;
    limits.lookups = 64;
    limits.dns_cache = 32;
    limits.flows = options->flow_records;
    return limits;
}

struct sim_platform_faults world_platform(const struct sim_world *world)
{
    const struct sim_options *o = &world->options;
    return (struct sim_platform_faults){
        .batch_max = o->batch_max,
        .train_max = o->train_max,
        .group_data_only = o->group_data_only != 0,
        .tun_train_max = o->tun_train_max,
        .tun_offload = o->tun_offload,
        .sabotage = o->sabotage,
    };
}

void world_gateway_build(struct sim_world *world, uint32_t index)
{
    const struct sim_options *o = &world->options;
    struct world_gateway *gateway = &world->gateways[index];
    const struct sim_gateway_identity *identity = world_identity(world, index);
    gateway->world = world;
    gateway->index = index;
    gateway->hosts_wake_ns = UINT64_MAX;
    gateway->kernel = sim_hosts_new(&world->rng, SIM_GATEWAYS_MAX + index);
    sim_hosts_set(gateway->kernel, identity->tunnel_v4, SIM_HOST_RST, DURATION_MS(0));
    sim_hosts_set(gateway->kernel, identity->tunnel_v6, SIM_HOST_RST, DURATION_MS(0));
    struct sim_gateway_config config = {
        .platform =
            {
                .gateway = index,
                .node = gateway->net,
                .clock = {.boot_offset_ns = WORLD_BOOT_OFFSET + index * NS_PER_S,
                          .unix_start_ns = WORLD_UNIX_START_NS,
                          .drift_ppm = (int32_t)o->drift_ppm * (index % 2 == 0 ? 1 : -1)},
                .sched = &world->sched,
                .trace = world->trace,
                .rng = &world->rng,
                .net = world->net,
                .streams = world->streams,
                .resolver = sim_dns_resolver(world->dns),
                .own_addresses = o->own_addresses != 0,
                .world = {.self = world,
                          .tun_packet = tun_packet,
                          .tun_configured = tun_configured,
                          .asked = asked,
                          .answered = answered,
                          .bad_output = bad_output},
            },
        .limits = small_limits(o),
        .api_url = API_URL,
        .token = identity->token,
        .firezone_id = identity->firezone_id,
        .name = identity->name,
        .nat64_translate = o->nat64_icmp == 0,
        .portal_v2 = o->portal_v2 != 0,
        .aead = (enum gateway_aead)o->aead,
        .partition_max_s = PARTITION_MAX_S,
        .wake_delay = {o->wake_delay_us * NS_PER_US},
        .fault_points = o->fault_points,
        .self = world,
        .failed = on_failed,
        .event = on_event,
        .stepped = on_stepped,
        .ended = on_ended,
        .recorder = world->config.record == NULL ? NULL : on_boot,
    };
    gateway->gateway = sim_gateway_new(&config);
    sim_judge_gateway(world->judge, index, (uint16_t)gateway->net);
    sim_quiet_gateway(world->quiet, index, (uint16_t)gateway->net);
    sim_rekey_gateway(world->rekey, index, (uint16_t)gateway->net);
    if (index < SIM_TWIN) {
        sim_judge_secret(world->judge, view_text(identity->token));
    }
    struct sim_platform_faults faults = world_platform(world);
    faults.udp_block_ppm = o->udp_block_ppm;
    faults.udp_block = DURATION_MS(3);
    faults.udp_error_ppm = o->udp_error_ppm;
    faults.udp_error = ERR_UNREACHABLE;
    faults.icmp_ppm = o->icmp_ppm;
    faults.tun_block_ppm = o->tun_block_ppm;
    faults.tun_block = DURATION_MS(3);
    *sim_platform_faults(sim_gateway_platform(gateway->gateway)) = faults;
}

/* Packets that were on their way when the world ended belong to nobody else. */
static void free_inbound(struct world_gateway *gateway)
{
    const struct sim_sched *sched = &gateway->world->sched;
    for (size_t i = 0; i < sched->count; i++) {
        struct inbound *inbound = sched->heap[i].context;
        bool is_inbound =
            sched->heap[i].run == inbound_arrives || sched->heap[i].run == inbound_judged;
        if (is_inbound && inbound->gateway == gateway) {
            free(inbound);
        }
    }
}

void world_gateway_free(struct world_gateway *gateway)
{
    free_inbound(gateway);
    record_end(gateway);
    sim_gateway_free(gateway->gateway);
    sim_hosts_free(gateway->hosts);
    sim_hosts_free(gateway->kernel);
}
