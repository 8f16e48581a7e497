#include "sim/sim_world_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "crypto/x25519.h"

#define STRANGERS     400U /* 60 KB of init: more than a gateway reads in one go */
#define PORTAL_PORT   443U
#define RELAY_PORT    3478U
#define NAME_TTL_V4_S 60U
#define NAME_TTL_V6_S 25U
#define NAMES_PER_DNS 2U

/* ---- identities ---- */

static struct uuid draw_uuid(const struct sim_world *world, uint32_t kind, uint32_t index)
{
    struct sim_dice dice =
        sim_dice_of(&world->rng, sim_stream_of(SIM_FAMILY_IDENTITY, kind, index));
    struct uuid id;
    sim_dice_bytes(&dice, id.bytes, sizeof(id.bytes));
    id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0fU) | 0x40U);
    id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3fU) | 0x80U);
    return id;
}

static void draw_seed(const struct sim_world *world, uint32_t kind, uint32_t index,
                      uint8_t seed[32])
{
    struct sim_dice dice =
        sim_dice_of(&world->rng, sim_stream_of(SIM_FAMILY_IDENTITY, 0x100U + kind, index));
    sim_dice_bytes(&dice, seed, 32);
}

static struct ip_addr parse_ip(const char *text)
{
    struct ip_addr ip = {0};
    bool good = ip_parse(view_text(text), &ip);
    ASSERT(good);
    return ip;
}

static struct ip_addr PRINTF_LIKE(1, 2) format_ip(const char *format, ...)
{
    char text[64];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return parse_ip(text);
}

static void build_identities(struct sim_world *world)
{
    struct sim_policy *p = &world->policy;
    p->clients_count = world->options.clients;
    for (uint32_t i = 0; i < p->clients_count; i++) {
        struct sim_client_identity *c = &p->clients[i];
        c->id = draw_uuid(world, 1, i);
        c->tunnel_v4 = format_ip("100.64.1.%u", 10 + i);
        c->tunnel_v6 = format_ip("fd00:2021:1111::1:%x", 0x10 + i);
        struct x25519_private key;
        draw_seed(world, 1, i, key.bytes);
        struct x25519_pair pair;
        x25519_pair_of(&pair, &key);
        memcpy(c->private_key, pair.private_key.bytes, 32);
        memcpy(c->public_key, pair.public_key.bytes, 32);
        c->head = world->options.head_clients != 0;
    }
    p->gateways_count = world->options.gateways;
    for (uint32_t i = 0; i < p->gateways_count; i++) {
        struct sim_gateway_identity *g = &p->gateways[i];
        g->id = draw_uuid(world, 2, i);
        g->tunnel_v4 = format_ip("100.64.0.%u", 2 + i);
        g->tunnel_v6 = format_ip("fd00:2021:1111::%x", 2 + i);
        (void)snprintf(g->firezone_id, SIM_NAME_MAX, "gateway-%u-of-the-simulation", i);
        (void)snprintf(g->token, SIM_NAME_MAX, "token-of-gateway-%u", i);
        (void)snprintf(g->name, SIM_NAME_MAX, "gateway %u", i);
    }
    p->relays_count = world->options.relays;
    for (uint32_t i = 0; i < p->relays_count; i++) {
        struct sim_relay_identity *r = &p->relays[i];
        bool v4 = (world->options.relay_families & SIM_FAMILIES_V4) != 0;
        bool v6 = (world->options.relay_families & SIM_FAMILIES_V6) != 0;
        r->id = draw_uuid(world, 3, i);
        r->ipv4 = v4 ? format_ip("51.15.1.%u", 1 + i) : (struct ip_addr){0};
        r->ipv6 = v6 ? format_ip("2a01:4f8:51::%x", 1 + i) : (struct ip_addr){0};
        r->port = RELAY_PORT;
    }
    p->portal_v4 = parse_ip("51.15.0.1");
    p->portal_v6 = parse_ip("2a01:4f8:50::1");
    (void)snprintf(p->portal_host, SIM_NAME_MAX, "%s", WORLD_NAME_PORTAL);
    p->default_expiry_s = world->options.expiry_s;
    p->masquerade_v4 = true;
    p->masquerade_v6 = true;
}

/* ---- resources ---- */

void world_filters(struct sim_resource *resource, uint32_t kind)
{
    resource->filters_count = 0;
    if (kind == 1 || kind == 3) {
        resource->filters[resource->filters_count++] = (struct sim_filter){SIM_FILTER_ICMP, 0, 0};
    }
    if (kind == 2) {
        resource->filters[resource->filters_count++] = (struct sim_filter){SIM_FILTER_TCP, 80, 443};
        resource->filters[resource->filters_count++] =
            (struct sim_filter){SIM_FILTER_UDP, 1000, 5300};
    }
    if (kind == 3) {
        resource->filters[resource->filters_count++] = (struct sim_filter){SIM_FILTER_UDP, 53, 53};
        resource->filters[resource->filters_count++] =
            (struct sim_filter){SIM_FILTER_TCP, 0, 65535};
    }
}

static struct sim_resource *add_resource(struct sim_world *world, enum sim_resource_kind kind,
                                         const char *name)
{
    struct sim_policy *p = &world->policy;
    ASSERT(p->resources_count < SIM_RESOURCES_MAX);
    ASSERT(p->gateways_count > 0);
    uint32_t index = p->resources_count++;
    struct sim_resource *r = &p->resources[index];
    r->id = draw_uuid(world, 4, index);
    r->kind = kind;
    r->gateway = index % p->gateways_count;
    (void)snprintf(r->name, SIM_NAME_MAX, "%s %u", name, index);
    /* Every second resource carries the filters of the option. */
    world_filters(r, index % 2 == 0 ? world->options.filters : 0);
    return r;
}

static void add_target(struct sim_world *world, const struct world_target *target)
{
    ASSERT(world->targets_count < WORLD_TARGETS_MAX);
    world->targets[world->targets_count++] = *target;
}

void world_host_put(struct world_gateway *gateway, struct ip_addr ip,
                    enum sim_host_behaviour behaviour)
{
    enum sim_host_behaviour known;
    if (gateway->hosts == NULL || sim_hosts_find(gateway->hosts, &ip, &known)) {
        return; /* a name came back to an address that it had before */
    }
    uint32_t host = sim_hosts_count(gateway->hosts);
    gateway->behaviours[host] = behaviour;
    sim_hosts_set(gateway->hosts, ip, behaviour, DURATION_MS(0));
    world_host_restore(gateway, host);
}

static void add_host(struct sim_world *world, uint32_t resource, struct ip_addr ip,
                     enum sim_host_behaviour behaviour)
{
    uint32_t index = world->policy.resources[resource].gateway;
    world_host_put(&world->gateways[index], ip, behaviour);
    world_host_put(&world->gateways[index + SIM_TWIN], ip, behaviour);
}

static void add_network(struct sim_world *world, bool v4, uint32_t number)
{
    struct sim_resource *r = add_resource(world, SIM_RESOURCE_CIDR, "network");
    uint32_t resource = world->policy.resources_count - 1;
    struct ip_addr base =
        v4 ? format_ip("10.%u.0.0", 20 + number) : format_ip("fd10:%x::", 0x20 + number);
    r->prefix = (struct ip_prefix){base, v4 ? 24 : 64};
    for (uint32_t host = 1; host <= 2; host++) {
        struct ip_addr ip = base;
        ip.bytes[v4 ? 3 : 15] = (uint8_t)host;
        bool odd = host == 2;
        add_host(world, resource, ip,
                 odd ? (enum sim_host_behaviour)world->options.odd_hosts : SIM_HOST_ECHO);
        add_target(world, &(struct world_target){.resource = resource,
                                                 .gateway = r->gateway,
                                                 .ip = ip,
                                                 .family = v4 ? IP_V4 : IP_V6});
    }
}

static void add_internet(struct sim_world *world)
{
    struct sim_resource *r = add_resource(world, SIM_RESOURCE_INTERNET, "internet");
    uint32_t resource = world->policy.resources_count - 1;
    r->filters_count = 0;
    const char *const texts[2] = {"93.184.215.14", "2606:2800:21f::14"};
    for (unsigned i = 0; i < 2; i++) {
        struct ip_addr ip = parse_ip(texts[i]);
        add_host(world, resource, ip, SIM_HOST_ECHO);
        add_target(world, &(struct world_target){.resource = resource,
                                                 .gateway = r->gateway,
                                                 .ip = ip,
                                                 .family = i == 0 ? IP_V4 : IP_V6});
    }
}

static void give_address(struct sim_world *world, uint32_t index, struct ip_addr ip)
{
    struct world_name *name = &world->names[index];
    struct sim_dns_record record = {
        .type = ip.family == IP_V4 ? SIM_DNS_A : SIM_DNS_AAAA,
        .address = ip,
        .ttl_s = ip.family == IP_V4 ? NAME_TTL_V4_S : NAME_TTL_V6_S,
        .until = TIME_NEVER,
    };
    enum err err = sim_dns_add(world->dns, name->text, &record);
    ASSERT(err == ERR_NONE);
    add_host(world, name->resource, ip, SIM_HOST_ECHO);
    sim_model_address(world->model, name->text, ip);
}

void world_name_addresses(struct sim_world *world, uint32_t index)
{
    struct world_name *name = &world->names[index];
    struct instant now = {WORLD_BOOT_OFFSET + world->sched.now_ns};
    if (name->generation > 0) {
        sim_dns_end(world->dns, name->text, SIM_DNS_A, now);
        sim_dns_end(world->dns, name->text, SIM_DNS_AAAA, now);
    }
    uint32_t turn = name->generation++ % 4;
    if (name->has_v4) {
        give_address(world, index, format_ip("172.20.%u.%u", index, 1 + turn));
    }
    if (name->has_v6) {
        give_address(world, index, format_ip("fd20:%x::%x", index, 1 + turn));
    }
}

static void add_name(struct sim_world *world, uint32_t resource, const char *text)
{
    ASSERT(world->names_count < WORLD_NAMES_MAX);
    uint32_t index = world->names_count++;
    struct world_name *name = &world->names[index];
    name->resource = resource;
    /* Both families, IPv4 only, IPv6 only, in turn: translation between families happens. */
    name->has_v4 = index % 3 != 2;
    name->has_v6 = index % 3 != 1;
    (void)snprintf(name->text, SIM_NAME_MAX, "%s", text);
    world_name_addresses(world, index);
    uint32_t gateway = world->policy.resources[resource].gateway;
    for (unsigned family = 0; family < 2; family++) {
        add_target(world, &(struct world_target){.resource = resource,
                                                 .gateway = gateway,
                                                 .name = index,
                                                 .family = family == 0 ? IP_V4 : IP_V6});
    }
}

static void add_domain(struct sim_world *world, uint32_t number)
{
    static const char *const patterns[] = {"*.one.example", "two.example", "**.three.example"};
    static const char *const names[][NAMES_PER_DNS] = {
        {"a.one.example", "b.one.example"},
        {"two.example", ""},
        {"three.example", "x.y.three.example"},
    };
    struct sim_resource *r = add_resource(world, SIM_RESOURCE_DNS, "domain");
    uint32_t resource = world->policy.resources_count - 1;
    (void)snprintf(r->pattern, SIM_NAME_MAX, "%s", patterns[number % 3]);
    for (uint32_t i = 0; i < NAMES_PER_DNS; i++) {
        if (names[number % 3][i][0] != '\0') {
            add_name(world, resource, names[number % 3][i]);
        }
    }
}

static void build_resources(struct sim_world *world)
{
    for (uint32_t i = 0; i < world->options.cidr_v4; i++) {
        add_network(world, true, i);
    }
    for (uint32_t i = 0; i < world->options.cidr_v6; i++) {
        add_network(world, false, i);
    }
    for (uint32_t i = 0; i < world->options.dns_resources; i++) {
        add_domain(world, i);
    }
    if (world->options.internet != 0 || world->policy.resources_count == 0) {
        add_internet(world);
    }
}

/* ---- network ---- */

struct sim_nat_config world_edge(const struct sim_world *world, uint32_t kind, uint32_t number)
{
    const struct sim_options *o = &world->options;
    struct sim_nat_config config = {
        .translate_v4 = kind != SIM_EDGE_OPEN,
        .firewall_v6 = kind != SIM_EDGE_OPEN && kind != SIM_EDGE_FULL_CONE,
        .mapping = SIM_NAT_INDEPENDENT,
        .filtering = SIM_NAT_ADDRESS_AND_PORT,
        .ports = (enum sim_nat_ports)o->nat_ports,
        .hairpin = o->nat_hairpin != 0,
        .refresh_inbound = o->nat_refresh_inbound != 0,
        .timeout_s = o->nat_timeout_s,
        .outer = format_ip("51.15.2.%u", 1 + number),
    };
    switch (kind) {
    case SIM_EDGE_FULL_CONE:
        config.filtering = SIM_NAT_INDEPENDENT;
        break;
    case SIM_EDGE_RESTRICTED:
        config.filtering = SIM_NAT_ADDRESS;
        break;
    case SIM_EDGE_SYMMETRIC:
        config.mapping = SIM_NAT_ADDRESS_AND_PORT;
        break;
    case SIM_EDGE_SYMMETRIC_ADDRESS:
        config.mapping = SIM_NAT_ADDRESS;
        break;
    default:
        break;
    }
    return config;
}

static struct sim_host_addresses inner_addresses(uint32_t kind, uint32_t families, uint32_t number)
{
    struct sim_host_addresses a = {0};
    if ((families & SIM_FAMILIES_V4) != 0) {
        a.ipv4 = kind == SIM_EDGE_OPEN ? format_ip("51.15.3.%u", 1 + number)
                                       : format_ip("192.168.%u.2", number);
    }
    if ((families & SIM_FAMILIES_V6) != 0) {
        a.ipv6 = format_ip("2a01:4f8:%x::2", 0x100 + number);
    }
    return a;
}

static struct sim_link clean_link(uint64_t latency_ms)
{
    return (struct sim_link){.latency_ns = latency_ms * NS_PER_MS};
}

static struct sim_link faulty_link(const struct sim_options *o, uint64_t latency_ms)
{
    struct sim_link link = clean_link(latency_ms);
    link.jitter_ns = o->jitter_us * NS_PER_US;
    link.loss_ppm = o->loss_ppm;
    link.burst_enter_ppm = o->burst_enter_ppm;
    link.burst_leave_ppm = 100000;
    link.burst_loss_ppm = 900000;
    link.duplicate_ppm = o->duplicate_ppm;
    link.duplicate_delay_ns = 500 * NS_PER_MS;
    link.reorder_ppm = o->reorder_ppm;
    link.reorder_delay_ns = 100 * NS_PER_MS;
    link.flip_ppm = o->flip_ppm;
    link.truncate_ppm = o->truncate_ppm;
    return link;
}

static void set_links(struct sim_world *world, uint32_t net, uint64_t latency_ms, bool faulty)
{
    struct sim_link link =
        faulty ? faulty_link(&world->options, latency_ms) : clean_link(latency_ms);
    sim_net_set_link(world->net, net, SIM_UP, &link);
    sim_net_set_link(world->net, net, SIM_DOWN, &link);
}

void world_gateway_link(struct sim_world *world, uint32_t index, bool faulty)
{
    set_links(world, world->gateways[index].net, world->options.latency_gateway_ms, faulty);
}

void world_links(struct sim_world *world, bool faulty)
{
    const struct sim_options *o = &world->options;
    set_links(world, world->portal_node.net, o->latency_portal_ms, false);
    for (uint32_t i = 0; i < world->policy.relays_count; i++) {
        set_links(world, world->relay_nodes[i].net, o->latency_relay_ms, false);
    }
    for (uint32_t i = 0; i < world->policy.clients_count; i++) {
        set_links(world, world->client_nodes[i].net, o->latency_client_ms, faulty);
    }
    for (uint32_t i = 0; i < SIM_GATEWAYS_MAX; i++) {
        if (world->gateways[i].world != NULL) {
            world_gateway_link(world, i, faulty);
        }
    }
}

void world_forbid_direct(struct sim_world *world)
{
    for (uint32_t c = 0; world->options.relay_only != 0 && c < world->policy.clients_count; c++) {
        for (uint32_t g = 0; g < SIM_GATEWAYS_MAX; g++) {
            if (world->gateways[g].world == NULL) {
                continue;
            }
            uint32_t client = world->client_nodes[c].net;
            uint32_t gateway = world->gateways[g].net;
            sim_net_block(world->net, client, gateway, SIM_FAMILIES_BOTH, true);
            sim_net_block(world->net, gateway, client, SIM_FAMILIES_BOTH, true);
        }
    }
}

/* ---- nodes ---- */

static uint32_t option_of(const struct sim_world *world, const char *stem, uint32_t index)
{
    char name[48];
    (void)snprintf(name, sizeof(name), "%s_%u", stem, index);
    for (uint32_t i = 0; i < sim_options_count(); i++) {
        if (strcmp(sim_option_name(i), name) == 0) {
            return sim_option_get(&world->options, i);
        }
    }
    UNREACHABLE();
}

uint32_t world_add_host_node(struct sim_world *world, uint32_t kind, uint32_t families,
                             uint32_t number, const char *name)
{
    uint32_t edge = SIM_EDGE_NONE;
    if (kind != SIM_EDGE_OPEN) {
        struct sim_nat_config config = world_edge(world, kind, number);
        edge = sim_net_add_edge(world->net, &config, SIM_EDGE_NONE);
    }
    uint32_t net = sim_net_add_node(world->net, edge, name);
    struct sim_host_addresses addresses = inner_addresses(kind, families, number);
    sim_net_set_addresses(world->net, net, &addresses);
    return net;
}

/* Moves a node behind a new edge, with the addresses of `number`. Returns the edge. */
static uint32_t move_node(struct sim_world *world, uint32_t net, uint32_t kind, uint32_t families,
                          uint32_t number)
{
    uint32_t edge = SIM_EDGE_NONE;
    if (kind != SIM_EDGE_OPEN) {
        struct sim_nat_config config = world_edge(world, kind, number);
        edge = sim_net_add_edge(world->net, &config, SIM_EDGE_NONE);
    }
    struct sim_host_addresses addresses = inner_addresses(kind, families, number);
    sim_net_move(world->net, net, edge);
    sim_net_set_addresses(world->net, net, &addresses);
    return edge;
}

void world_set_client_addresses(struct sim_world *world, uint32_t client, uint32_t edge_kind)
{
    uint32_t number = 40 + client + 4 * world->client_moves[client];
    uint32_t families = option_of(world, "client_families", client);
    sim_states_client_edge(world->states, client, edge_kind);
    world->client_edges[client] =
        move_node(world, world->client_nodes[client].net, edge_kind, families, number);
}

void world_set_gateway_addresses(struct sim_world *world, uint32_t index, uint32_t edge_kind)
{
    struct world_gateway *gateway = &world->gateways[index];
    uint32_t number = 80 + index + 2 * gateway->moves;
    sim_states_gateway_edge(world->states, index, edge_kind);
    gateway->edge =
        move_node(world, gateway->net, edge_kind, world->options.gateway_families, number);
}

static void build_portal(struct sim_world *world)
{
    uint32_t net = sim_net_add_node(world->net, SIM_EDGE_NONE, "portal");
    struct sim_host_addresses addresses = {world->policy.portal_v4, world->policy.portal_v6};
    sim_net_set_addresses(world->net, net, &addresses);
    sim_stream_listen(world->streams, net, PORTAL_PORT);
    sim_stream_faults(world->streams, net)->segment_max = world->options.segment_max;
    struct sim_portal_config config = {
        .generation = world->options.head_portal != 0 ? SIM_PORTAL_HEAD : SIM_PORTAL_V142,
        .credentials = SIM_PORTAL_FIREZONE,
        .policy = &world->policy,
        .permit_all = true,
        .strangers = STRANGERS,
    };
    draw_seed(world, 5, 0, config.seed);
    world->portal = sim_portal_new(&config);
    world_node_start(world, &world->portal_node, sim_portal_node(world->portal), net);
}

void world_relay_announce(struct sim_world *world, uint32_t relay)
{
    struct world_node *portal = &world->portal_node;
    enum err err = sim_portal_replace_relay(world->portal, world_now(world, portal), relay,
                                            sim_relay_secret(world->relays[relay]), portal->outbox);
    ASSERT(err == ERR_NONE);
    world_node_flush(portal);
}

static void build_relay(struct sim_world *world, uint32_t index)
{
    struct sim_relay_identity *identity = &world->policy.relays[index];
    char name[16];
    (void)snprintf(name, sizeof(name), "relay%u", index);
    uint32_t net = sim_net_add_node(world->net, SIM_EDGE_NONE, name);
    struct sim_host_addresses addresses = {identity->ipv4, identity->ipv6};
    sim_net_set_addresses(world->net, net, &addresses);
    struct sim_relay_config config = {.mode = (enum sim_relay_mode)world->options.relay_mode};
    draw_seed(world, 6, index, config.seed);
    world->relays[index] = sim_relay_new(&config);
    (void)snprintf(identity->secret, SIM_NAME_MAX, "%s", sim_relay_secret(world->relays[index]));
    world_node_start(world, &world->relay_nodes[index], sim_relay_node(world->relays[index]), net);
}

bool world_asks_again(const struct sim_world *world, uint32_t client)
{
    return world->policy.clients[client].head && world->options.head_portal != 0;
}

static void build_client(struct sim_world *world, uint32_t index)
{
    char name[16];
    (void)snprintf(name, sizeof(name), "client%u", index);
    uint32_t net = world_add_host_node(world, option_of(world, "client_nat", index),
                                       option_of(world, "client_families", index), index, name);
    world->client_edges[index] = sim_net_edge(world->net, net);
    const struct sim_client_identity *identity = &world->policy.clients[index];
    struct sim_client_config config = {
        .personality = identity->head ? SIM_CLIENT_HEAD : SIM_CLIENT_BASE,
        .transport = SIM_CLIENT_LINES,
        .id = identity->id,
        .portal_v4 = {world->policy.portal_v4, PORTAL_PORT},
        .portal_v6 = {world->policy.portal_v6, PORTAL_PORT},
        .asks_again = world_asks_again(world, index),
        .lawless = (world->options.lawless >> index & 1U) != 0,
        .policy = &world->policy,
    };
    memcpy(config.private_key, identity->private_key, sizeof(config.private_key));
    draw_seed(world, 7, index, config.seed);
    world->clients[index] = sim_client_new(&config);
    world_node_start(world, &world->client_nodes[index], sim_client_node(world->clients[index]),
                     net);
}

static void build_gateway(struct sim_world *world, uint32_t index)
{
    char name[16];
    (void)snprintf(name, sizeof(name), "gateway%u", index);
    struct world_gateway *gateway = &world->gateways[index];
    gateway->net = world_add_host_node(world, option_of(world, "gateway_nat", index),
                                       world->options.gateway_families, 20 + index, name);
    gateway->edge = sim_net_edge(world->net, gateway->net);
    gateway->wanted = true;
    world_gateway_build(world, index);
}

static void build_dns(struct sim_world *world)
{
    struct sim_dns_config config = {0};
    config.all.latency = DURATION_MS(world->options.dns_latency_ms);
    config.all.jitter = DURATION_MS(5);
    draw_seed(world, 8, 0, config.seed);
    world->dns = sim_dns_new(&config);
    enum err err = sim_dns_add_address(world->dns, WORLD_NAME_PORTAL, world->policy.portal_v4);
    ASSERT(err == ERR_NONE);
    err = sim_dns_add_address(world->dns, WORLD_NAME_PORTAL, world->policy.portal_v6);
    ASSERT(err == ERR_NONE);
}

void world_build(struct sim_world *world)
{
    build_identities(world);
    world->model = sim_model_new(&world->policy);
    build_dns(world);
    for (uint32_t i = 0; i < world->policy.gateways_count; i++) {
        world->gateways[i].hosts = sim_hosts_new(&world->rng, i);
        sim_hosts_streams(world->gateways[i].hosts, world_has_streams(world));
    }
    build_resources(world);
    for (uint32_t i = 0; i < world->policy.relays_count; i++) {
        build_relay(world, i);
    }
    build_portal(world);
    for (uint32_t i = 0; i < world->policy.gateways_count; i++) {
        build_gateway(world, i);
    }
    for (uint32_t i = 0; i < world->policy.clients_count; i++) {
        build_client(world, i);
    }
    world->stranger_net = sim_net_add_node(world->net, SIM_EDGE_NONE, "stranger");
    struct sim_host_addresses stranger = {parse_ip("51.15.9.9"), parse_ip("2a01:4f8:99::9")};
    sim_net_set_addresses(world->net, world->stranger_net, &stranger);
    sim_judge_stranger(world->judge, stranger.ipv4);
    sim_judge_stranger(world->judge, stranger.ipv6);
    world_links(world, true);
    world_forbid_direct(world);
    for (uint32_t i = 0; i < world->policy.gateways_count; i++) {
        sim_gateway_start(world->gateways[i].gateway);
        world->gateways[i].boots++;
    }
}
