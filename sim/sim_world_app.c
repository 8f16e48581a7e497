#include "sim/sim_world_internal.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_PORT 10000U

/* ---- sending ---- */

void world_app_raw(struct sim_world *world, uint32_t client, struct view packet)
{
    struct world_node *node = &world->client_nodes[client];
    if (!node->up) {
        return;
    }
    sim_trace_bytes(world->trace, (uint16_t)node->net, SIM_KIND_TUN_IN, 0, packet);
    node->node.ops->handle_tun(node->node.self, world_now(world, node), packet, node->outbox);
    world_node_flush(node);
}

uint16_t world_port(uint32_t class)
{
    static const uint16_t ports[] = {53, 80, 443, 1000, 5300, 5301, 40000, 65535};
    return ports[class % ARRAY_COUNT(ports)];
}

static uint16_t fresh_port(struct sim_world *world)
{
    world->next_port = world->next_port < FIRST_PORT ? FIRST_PORT : world->next_port;
    return world->next_port++;
}

/* Where an application of the client sends packets for a target; false: the name has no proxy
 * address of the family yet. */
static bool destination_of(const struct sim_world *world, uint32_t client,
                           const struct world_target *target, uint32_t which, struct ip_addr *out)
{
    if (target->ip.family != IP_NONE) {
        *out = target->ip;
        return true;
    }
    const struct world_name *name = &world->names[target->name];
    uint32_t found = 0;
    struct ip_addr matching[SIM_NOTE_ADDRESSES_MAX];
    for (uint32_t i = 0; i < name->proxies_count[client]; i++) {
        if (name->proxies[client][i].family == (uint8_t)target->family) {
            matching[found++] = name->proxies[client][i];
        }
    }
    if (found == 0) {
        return false;
    }
    *out = matching[which % found];
    return true;
}

static struct ip_addr source_of(const struct sim_world *world, uint32_t client,
                                const struct ip_addr *destination)
{
    const struct sim_client_identity *identity = &world->policy.clients[client];
    return destination->family == IP_V4 ? identity->tunnel_v4 : identity->tunnel_v6;
}

static struct sim_probe *send_probe(struct sim_world *world, uint32_t client,
                                    const struct sim_packet *packet, size_t payload_len)
{
    uint8_t bytes[SIM_PACKET_MAX];
    struct writer w = writer_of((struct span){bytes, sizeof(bytes)});
    struct sim_probe *probe = sim_probe_new(world->probes, packet, payload_len, &w);
    ASSERT(writer_finish(&w));
    probe->client = client;
    probe->resource = WORLD_NOBODY;
    probe->gateway = WORLD_NOBODY;
    probe->sent_ns = world->sched.now_ns;
    size_t index = sim_probes_count(world->probes) - 1;
    world->report.probes++;
    world_app_raw(world, client, writer_view(&w));
    return sim_probe_at(world->probes, index);
}

void world_app_packet(struct sim_world *world, uint32_t client, const struct sim_packet *packet,
                      size_t payload_len, bool hostile)
{
    struct sim_probe *probe = send_probe(world, client, packet, payload_len);
    probe->hostile = hostile;
}

/* How the host behind a target answers; DNS names have echo hosts only. */
static enum sim_host_behaviour behaviour_of(const struct sim_world *world,
                                            const struct world_target *target)
{
    enum sim_host_behaviour behaviour = SIM_HOST_ECHO;
    if (target->ip.family != IP_NONE) {
        (void)!sim_hosts_find(world->gateways[target->gateway].hosts, &target->ip, &behaviour);
    }
    return behaviour;
}

/* Whether the client will ask anew for a right that the gateway has forgotten: it must hear
 * "prohibited". To somebody with the Internet resource a gateway says of private addresses that
 * there is no network (spec/dataplane.md section 3.6), which makes nobody ask. */
static bool asks_again(struct sim_world *world, uint32_t client, uint32_t gateway, uint64_t until)
{
    for (uint32_t i = 0; i < world->policy.resources_count; i++) {
        const struct sim_resource *resource = &world->policy.resources[i];
        struct sim_grant grant = {world->policy.clients[client].id, resource->id, gateway, 0};
        if (resource->kind == SIM_RESOURCE_INTERNET &&
            sim_model_standing(world->model, &grant, until, &resource) != SIM_STANDING_NONE) {
            return false;
        }
    }
    return world_asks_again(world, client);
}

static enum sim_expect expect_of(struct sim_world *world, uint32_t client,
                                 const struct world_target *target, const struct sim_packet *packet)
{
    if (!world->judging) {
        return SIM_EXPECT_ANY;
    }
    uint64_t until =
        world_gateway_now(&world->gateways[target->gateway]).unix_ns + WORLD_ANSWER_S * NS_PER_S;
    const struct sim_resource *resource = &world->policy.resources[target->resource];
    struct sim_grant grant = {world->policy.clients[client].id, resource->id, target->gateway, 0};
    enum sim_standing standing = sim_model_standing(world->model, &grant, until, &resource);
    bool granted = sim_portal_permitted(world->portal, client, target->resource,
                                        world_now(world, &world->portal_node).unix_ns / NS_PER_S);
    if (standing == SIM_STANDING_ENDED ||
        (standing == SIM_STANDING_STALE && !asks_again(world, client, target->gateway, until))) {
        return SIM_EXPECT_ANY;
    }
    /* The portal forgot to tell the gateway; the client does know, and filters by itself. */
    bool now_permitted =
        granted && sim_filters_permit(&world->policy.resources[target->resource], packet);
    if (standing == SIM_STANDING_GOOD && !now_permitted) {
        return SIM_EXPECT_ANY;
    }
    if ((standing != SIM_STANDING_GOOD && !granted) || !sim_filters_permit(resource, packet)) {
        return SIM_EXPECT_NOTHING;
    }
    enum sim_host_behaviour behaviour = behaviour_of(world, target);
    bool echoes = behaviour == SIM_HOST_ECHO || behaviour == SIM_HOST_CHATTY ||
                  behaviour == SIM_HOST_SLOW || behaviour == SIM_HOST_STREAM;
    bool icmp = packet->protocol == SIM_PROTO_ICMP || packet->protocol == SIM_PROTO_ICMPV6;
    if (echoes || (behaviour == SIM_HOST_RST && icmp)) {
        return SIM_EXPECT_REPLY;
    }
    return SIM_EXPECT_ANY;
}

/* With --nat64=icmp a name without addresses of the family is answered by an ICMP error. */
static bool needs_translation(const struct sim_world *world, const struct world_target *target)
{
    const struct world_name *name = &world->names[target->name];
    return target->ip.family == IP_NONE && !(target->family == IP_V4 ? name->has_v4 : name->has_v6);
}

void world_app_probe(struct sim_world *world, uint32_t client, uint32_t target_index, uint32_t kind,
                     size_t payload_len)
{
    const struct world_target *target = &world->targets[target_index];
    struct sim_packet packet = {.source_port = fresh_port(world)};
    if (!destination_of(world, client, target, kind, &packet.destination)) {
        world_app_resolve(world, client, target->name);
        return;
    }
    packet.source = source_of(world, client, &packet.destination);
    if (kind % 2 == 0) {
        packet.protocol = target->family == IP_V4 ? SIM_PROTO_ICMP : SIM_PROTO_ICMPV6;
    } else {
        packet.protocol = SIM_PROTO_UDP;
        packet.destination_port = world_port(kind / 2);
    }
    enum sim_expect expect = expect_of(world, client, target, &packet);
    if (expect == SIM_EXPECT_REPLY && needs_translation(world, target) &&
        world->options.nat64_icmp != 0) {
        expect = SIM_EXPECT_ERROR;
    }
    size_t index = sim_probes_count(world->probes);
    send_probe(world, client, &packet, payload_len);
    struct sim_probe *probe = sim_probe_at(world->probes, index);
    probe->resource = target->resource;
    probe->gateway = target->gateway;
    probe->expect = expect;
    world->report.required += expect == SIM_EXPECT_REPLY ? 1 : 0;
}

void world_app_resolve(struct sim_world *world, uint32_t client, uint32_t name)
{
    struct world_node *node = &world->client_nodes[client];
    if (node->up) {
        sim_client_resolve(world->clients[client], world_now(world, node), world->names[name].text,
                           SIM_CLIENT_ANY, node->outbox);
        world_node_flush(node);
    }
}

void world_app_resolved(struct sim_world *world, uint32_t client, const struct sim_note *note)
{
    for (uint32_t i = 0; i < world->names_count; i++) {
        struct world_name *name = &world->names[i];
        if (view_equal_text(note->text, name->text)) {
            memcpy(name->proxies[client], note->addresses, sizeof(note->addresses));
            name->proxies_count[client] = note->addresses_count;
        }
    }
}

/* ---- TCP ---- */

static void tcp_emit(void *self, const struct sim_packet *packet)
{
    const struct world_tcp *app = self;
    uint8_t bytes[SIM_PACKET_MAX];
    struct writer w = writer_of((struct span){bytes, sizeof(bytes)});
    sim_packet_put(&w, packet);
    ASSERT(writer_finish(&w));
    world_app_raw(app->world, app->client, writer_view(&w));
}

static uint8_t tcp_byte(uint32_t seed, size_t at)
{
    return (uint8_t)(seed * 13 + at * 5 + (at >> 7U));
}

static void tcp_judge(struct world_tcp *app)
{
    struct sim_world *world = app->world;
    if (app->judged || !sim_tcp_is_over(app->tcp)) {
        return;
    }
    app->judged = true;
    bool finished = app->tcp->state == SIM_TCP_FINISHED;
    world->report.tcp_finished += finished ? 1 : 0;
    world->report.tcp_failed += finished ? 0 : 1;
    if (app->required && !finished) {
        world_fail(world, "L-02", "a TCP connection of client %u to resource %u did not finish",
                   app->client, app->resource);
    }
    bool intact = app->tcp->received <= app->bytes;
    for (size_t i = 0; intact && i < app->tcp->received; i++) {
        intact = app->tcp->in[i] == tcp_byte(app->tcp->first_seq, i);
    }
    if (!intact || (finished && app->tcp->received != app->bytes)) {
        world_fail(world, "O-05", "a TCP stream of client %u came back changed", app->client);
    }
}

static void tcp_wake(void *context, uint64_t value);

static void tcp_plan(struct world_tcp *app)
{
    struct sim_world *world = app->world;
    bool all_back = app->tcp->received == app->bytes && !app->closing;
    if (app->tcp->state == SIM_TCP_ESTABLISHED && all_back) {
        app->closing = true;
        sim_tcp_close(app->tcp, (struct instant){world->sched.now_ns}, tcp_emit, app);
    }
    tcp_judge(app);
    uint64_t at = sim_tcp_next(app->tcp).ns;
    if (at != UINT64_MAX && at != app->wake_ns) {
        app->wake_ns = at;
        sim_sched_at(&world->sched, at, tcp_wake, app, 0);
    }
}

static void tcp_wake(void *context, uint64_t value)
{
    struct world_tcp *app = context;
    (void)value;
    if (app->wake_ns != app->world->sched.now_ns) {
        return;
    }
    app->wake_ns = UINT64_MAX;
    sim_tcp_timeout(app->tcp, (struct instant){app->world->sched.now_ns}, tcp_emit, app);
    tcp_plan(app);
}

static struct world_tcp *tcp_slot(struct sim_world *world)
{
    for (uint32_t i = 0; i < WORLD_TCP_MAX; i++) {
        struct world_tcp *app = &world->tcp[(world->tcp_next + i) % WORLD_TCP_MAX];
        if (app->tcp == NULL || sim_tcp_is_over(app->tcp)) {
            world->tcp_next = (world->tcp_next + i + 1) % WORLD_TCP_MAX;
            return app;
        }
    }
    return NULL;
}

void world_app_tcp(struct sim_world *world, uint32_t client, uint32_t target_index, uint32_t kind,
                   size_t bytes)
{
    const struct world_target *target = &world->targets[target_index];
    struct sock_addr ends[2] = {{.port = fresh_port(world)}, {.port = world_port(kind)}};
    if (!destination_of(world, client, target, kind, &ends[1].ip)) {
        world_app_resolve(world, client, target->name);
        return;
    }
    ends[0].ip = source_of(world, client, &ends[1].ip);
    struct world_tcp *app = tcp_slot(world);
    if (app == NULL) {
        return;
    }
    struct sim_tcp *tcp = app->tcp != NULL ? app->tcp : calloc(1, sizeof(*tcp));
    ASSERT(tcp != NULL);
    bytes = bytes < SIM_TCP_BUFFER ? bytes : SIM_TCP_BUFFER;
    struct sim_packet like = {.protocol = SIM_PROTO_TCP, .destination_port = ends[1].port};
    *app = (struct world_tcp){
        .world = world,
        .client = client,
        .resource = target->resource,
        .tcp = tcp,
        .bytes = bytes,
        .wake_ns = UINT64_MAX,
        .started_ns = world->sched.now_ns,
        .demanded = world->judging,
        .required = expect_of(world, client, target, &like) == SIM_EXPECT_REPLY &&
                    !(needs_translation(world, target) && world->options.nat64_icmp != 0),
    };
    struct sim_dice dice =
        sim_dice_of(&world->rng, sim_stream_of(SIM_FAMILY_PAYLOAD, client, ends[0].port));
    struct instant now = {world->sched.now_ns};
    sim_tcp_connect(tcp, now, ends, (uint32_t)sim_dice_u64(&dice), tcp_emit, app);
    uint8_t *data = malloc(bytes + 1);
    ASSERT(data != NULL);
    for (size_t i = 0; i < bytes; i++) {
        data[i] = tcp_byte(tcp->first_seq, i);
    }
    bool queued = sim_tcp_send(tcp, now, (struct view){data, bytes}, tcp_emit, app);
    ASSERT(queued);
    free(data);
    tcp_plan(app);
}

/* ---- receiving ---- */

void world_fail_probe(struct sim_world *world, const char *oracle, const struct sim_probe *probe,
                      const char *what)
{
    uint8_t to[IP_TEXT_SIZE_MAX + 1] = {0};
    struct writer w = writer_of((struct span){to, IP_TEXT_SIZE_MAX});
    ip_put(&w, &probe->packet.destination);
    world_fail(world, oracle,
               "client %u: probe %llu to resource %u at gateway %u (%s, protocol %u, port %u, %zu "
               "bytes) %s",
               probe->client, (unsigned long long)(probe->id & UINT32_MAX), probe->resource,
               probe->gateway, (const char *)to, probe->packet.protocol,
               probe->packet.destination_port, probe->payload_len, what);
}

static bool tcp_receive(struct sim_world *world, uint32_t client, const struct sim_packet *packet)
{
    struct sock_addr local = sock_addr_of(packet->destination, packet->destination_port);
    struct sock_addr remote = sock_addr_of(packet->source, packet->source_port);
    for (uint32_t i = 0; i < WORLD_TCP_MAX; i++) {
        struct world_tcp *app = &world->tcp[i];
        if (app->tcp != NULL && app->client == client &&
            sock_addr_equal(&app->tcp->local, &local) &&
            sock_addr_equal(&app->tcp->remote, &remote)) {
            sim_tcp_handle(app->tcp, (struct instant){world->sched.now_ns}, packet, tcp_emit, app);
            tcp_plan(app);
            return true;
        }
    }
    /* A connection whose slot was given to another is over for both sides: the client's kernel
     * would answer RST; here the segment just ends. */
    return packet->destination_port >= FIRST_PORT;
}

static void receive_error(struct sim_world *world, uint32_t client, const struct sim_packet *packet)
{
    struct sim_packet quoted;
    const char *wrong = sim_packet_read_quoted(packet->payload, &quoted);
    if (wrong != NULL) {
        world_fail(world, "O-05", "an ICMP error quotes a bad packet: %s", wrong);
        return;
    }
    if (quoted.protocol == SIM_PROTO_TCP) {
        for (uint32_t i = 0; i < WORLD_TCP_MAX; i++) {
            struct world_tcp *app = &world->tcp[i];
            if (app->tcp != NULL && app->client == client &&
                app->tcp->local.port == quoted.source_port) {
                sim_tcp_unreachable(app->tcp);
                tcp_judge(app);
            }
        }
        return;
    }
    struct sim_probe *probe = sim_probe_quoted(world->probes, client, &quoted);
    if (probe == NULL) {
        world_fail(world, "O-06", "an ICMP error at client %u quotes a packet it never sent",
                   client);
        return;
    }
    probe->errors++;
    world->report.probes_refused++;
    if (probe->expect == SIM_EXPECT_REPLY) {
        world_fail_probe(world, "L-01", probe, "was answered by an ICMP error");
    }
}

static void judge_reply(struct sim_world *world, uint32_t client, const struct sim_packet *packet,
                        struct sim_probe *probe)
{
    if (probe->client != client) {
        world_fail(world, "O-02", "client %u got the reply to a probe of client %u", client,
                   probe->client);
    }
    bool udp = probe->packet.protocol == SIM_PROTO_UDP;
    bool back = ip_equal(&packet->source, &probe->packet.destination) &&
                ip_equal(&packet->destination, &probe->packet.source);
    bool port = !udp || (packet->destination_port == probe->packet.source_port &&
                         (packet->source_port | 1U) == (probe->packet.destination_port | 1U));
    bool echo =
        udp ? packet->protocol == SIM_PROTO_UDP
            : sim_packet_is_echo_reply(packet) && packet->icmp_rest == probe->packet.icmp_rest;
    if (!back || !port || !echo) {
        world_fail(world, "O-05", "a reply to client %u has other addresses, ports or ids", client);
    }
    probe->replies++;
    world->report.probes_replied++;
    if (probe->replies > probe->permitted) {
        bool is_refused = probe->replies <= probe->permitted + probe->refused;
        world_fail(world, is_refused ? "O-03" : "O-04",
                   is_refused ? "client %u got an answer that no grant covers any more"
                              : "client %u got a reply twice",
                   client);
    }
    if (probe->expect == SIM_EXPECT_NOTHING) {
        world_fail(world, "L-03", "a forbidden probe of client %u was answered", client);
    }
}

void world_app_receive(struct sim_world *world, uint32_t client, struct view bytes)
{
    struct world_node *node = &world->client_nodes[client];
    sim_trace_bytes(world->trace, (uint16_t)node->net, SIM_KIND_TUN_OUT, 0, bytes);
    struct sim_packet packet;
    const char *wrong = sim_packet_read(bytes, &packet);
    if (wrong != NULL) {
        world_fail(world, "O-05", "client %u got a bad packet: %s", client, wrong);
        return;
    }
    if (sim_packet_is_icmp_error(&packet)) {
        receive_error(world, client, &packet);
        return;
    }
    if (packet.protocol == SIM_PROTO_TCP && tcp_receive(world, client, &packet)) {
        return;
    }
    bool damaged = false;
    struct sim_probe *probe = sim_probe_of(world->probes, packet.payload, &damaged);
    if (damaged) {
        world_fail(world, "O-05", "the payload of a reply to client %u was changed", client);
    } else if (probe == NULL) {
        world_fail(world, "O-02", "client %u got a packet that answers nothing (protocol %u)",
                   client, packet.protocol);
    } else {
        judge_reply(world, client, &packet, probe);
    }
}
