#include "sim/sim_world_internal.h"

#include <string.h>

#define MOVES_MAX     5U /* edges and outer addresses are bounded */
#define STRANGER_PORT 4444U
#define STRANGER_MAX  1400U
#define SHUTDOWN_MS   5000U /* the orderly end is given this long before the next start */

/* ---- network ---- */

static uint32_t net_of(const struct sim_world *world, uint32_t number)
{
    uint32_t clients = world->policy.clients_count;
    uint32_t gateways = world->policy.gateways_count;
    uint32_t relays = world->policy.relays_count;
    number %= clients + gateways + relays + 1;
    if (number < clients) {
        return world->client_nodes[number].net;
    }
    number -= clients;
    if (number < gateways) {
        return world->gateways[number].net;
    }
    number -= gateways;
    return number < relays ? world->relay_nodes[number].net : world->portal_node.net;
}

bool act_block(struct sim_world *world, const struct sim_action *action)
{
    uint32_t a = net_of(world, action->a);
    uint32_t b = net_of(world, action->b);
    static const enum sim_families families[] = {SIM_FAMILIES_V4, SIM_FAMILIES_V6,
                                                 SIM_FAMILIES_BOTH};
    if (a == b) {
        return false;
    }
    sim_net_block(world->net, a, b, families[action->c % 3], true);
    if (action->c / 3 % 2 == 0) {
        sim_net_block(world->net, b, a, families[action->c % 3], true);
    }
    world_undo_later(world, UNDO_BLOCK, a, b, action->d);
    return true;
}

static void worsen(struct sim_link *link, uint32_t kind, uint32_t strength)
{
    switch (kind) {
    case 0:
        link->loss_ppm = strength * 40000;
        break;
    case 1:
        link->latency_ns += strength * 40 * NS_PER_MS;
        break;
    case 2:
        link->duplicate_ppm = strength * 40000;
        link->duplicate_delay_ns = 2 * NS_PER_S;
        break;
    case 3:
        link->reorder_ppm = strength * 40000;
        link->reorder_delay_ns = 300 * NS_PER_MS;
        break;
    case 4:
        link->flip_ppm = strength * 20000;
        break;
    default:
        link->bytes_per_s = strength * 4000;
        link->queue_bytes = 8000;
        break;
    }
}

bool act_link(struct sim_world *world, const struct sim_action *action)
{
    uint32_t net = net_of(world, action->a);
    struct sim_link link = *sim_net_link(world->net, net, SIM_UP);
    worsen(&link, action->b % 6, 1 + action->c % 16);
    sim_net_set_link(world->net, net, SIM_UP, &link);
    sim_net_set_link(world->net, net, SIM_DOWN, &link);
    world_undo_later(world, UNDO_LINK, net, 0, action->d);
    return true;
}

static void note_remapped(struct sim_world *world, uint32_t edge)
{
    for (uint32_t i = 0; i < world->policy.clients_count; i++) {
        if (world->client_edges[i] == edge) {
            world->remapped_ns = world->sched.now_ns;
        }
    }
}

bool act_nat_reboot(struct sim_world *world, const struct sim_action *action)
{
    uint32_t edge = sim_net_edge(world->net, net_of(world, action->a));
    if (edge == SIM_EDGE_NONE) {
        return false;
    }
    sim_net_reboot_edge(world->net, edge);
    note_remapped(world, edge);
    return true;
}

bool act_nat_change(struct sim_world *world, const struct sim_action *action)
{
    uint32_t edge = sim_net_edge(world->net, net_of(world, action->a));
    uint32_t kind = 1 + action->b % (SIM_EDGE_KINDS - 1U); /* it stays a NAT */
    if (edge == SIM_EDGE_NONE) {
        return false;
    }
    struct sim_nat_config config = world_edge(world, kind, 0);
    sim_net_change_edge(world->net, edge, config.mapping, config.filtering);
    note_remapped(world, edge);
    return true;
}

/* ---- clients ---- */

bool act_client_roam(struct sim_world *world, const struct sim_action *action)
{
    uint32_t client = action->a % world->policy.clients_count;
    if (world->client_moves[client] >= MOVES_MAX) {
        return false;
    }
    world->client_moves[client]++;
    sim_stream_orphan_node(world->streams, world->client_nodes[client].net);
    world_set_client_addresses(world, client, action->b % SIM_EDGE_KINDS);
    world_node_addresses(&world->client_nodes[client]);
    return true;
}

bool act_client_restart(struct sim_world *world, const struct sim_action *action)
{
    uint32_t client = action->a % world->policy.clients_count;
    world_node_restart(&world->client_nodes[client]);
    world->client_restarted[client] = true;
    for (uint32_t i = 0; i < SIM_GATEWAYS_MAX; i++) {
        sim_judge_flows_forget(world->judge, i); /* it numbers its proxy addresses anew */
    }
    return true;
}

/* ---- relays ---- */

bool act_relay_restart(struct sim_world *world, const struct sim_action *action)
{
    if (world->policy.relays_count == 0) {
        return false;
    }
    uint32_t index = action->a % world->policy.relays_count;
    world_node_restart(&world->relay_nodes[index]);
    world_relay_announce(world, index);
    return true;
}

bool act_relay_forget(struct sim_world *world, const struct sim_action *action)
{
    if (world->policy.relays_count == 0) {
        return false;
    }
    uint32_t index = action->a % world->policy.relays_count;
    if (action->b % 2 == 0) {
        sim_relay_forget(world->relays[index], world->relay_nodes[index].outbox);
    } else {
        sim_relay_forget_nonces(world->relays[index]);
    }
    world_node_flush(&world->relay_nodes[index]);
    return true;
}

bool act_relay_leave(struct sim_world *world, const struct sim_action *action)
{
    struct world_node *portal = &world->portal_node;
    if (world->policy.relays_count == 0) {
        return false;
    }
    uint32_t index = action->a % world->policy.relays_count;
    enum err err =
        sim_portal_remove_relay(world->portal, world_now(world, portal), index, portal->outbox);
    world_node_flush(portal);
    world_undo_later(world, UNDO_RELAY_LEAVE, index, 0, action->d);
    return err == ERR_NONE;
}

bool act_relay_fault(struct sim_world *world, const struct sim_action *action)
{
    if (world->policy.relays_count == 0) {
        return false;
    }
    uint32_t index = action->a % world->policy.relays_count;
    struct sim_relay_faults *faults = sim_relay_faults(world->relays[index]);
    bool *const switches[] = {&faults->silent, &faults->full, &faults->reject_credentials,
                              &faults->drop_requests, &faults->drop_data};
    uint32_t kind = action->b % (ARRAY_COUNT(switches) + 1);
    if (kind < ARRAY_COUNT(switches)) {
        *switches[kind] = true;
    } else {
        faults->nonce_uses = 2;
    }
    world_undo_later(world, UNDO_RELAY_FAULT, index, 0, action->d);
    return true;
}

/* ---- portal ---- */

static void set_portal_fault(struct sim_portal_faults *faults, uint32_t kind)
{
    static const uint16_t statuses[] = {429, 500, 503, 404, 403};
    bool *const switches[] = {&faults->http_garbage,  &faults->ignore_upgrades,
                              &faults->ignore_joins,  &faults->ignore_heartbeats,
                              &faults->no_relays,     &faults->duplicate_pushes,
                              &faults->unknown_fields};
    uint32_t which = kind % (ARRAY_COUNT(switches) + 3);
    if (which < ARRAY_COUNT(switches)) {
        *switches[which] = true;
    } else if (which == ARRAY_COUNT(switches)) {
        faults->http_status = statuses[kind % ARRAY_COUNT(statuses)];
        faults->http_retry_after_s = kind % 3;
    } else if (which == ARRAY_COUNT(switches) + 1) {
        faults->fragment_size = 1 + kind;
        faults->fragment_pings = kind % 2 == 0;
    } else {
        faults->delay = DURATION_MS(100 * kind);
    }
}

bool act_portal_fault(struct sim_world *world, const struct sim_action *action)
{
    set_portal_fault(sim_portal_faults(world->portal), action->b);
    world_undo_later(world, UNDO_PORTAL_FAULT, 0, 0, action->d);
    world_node_flush(&world->portal_node);
    return true;
}

bool act_portal_stream(struct sim_world *world, const struct sim_action *action)
{
    struct sim_stream_faults *faults = sim_stream_faults(world->streams, world->portal_node.net);
    switch (action->b % 5) {
    case 0:
        faults->refuse = true;
        break;
    case 1:
        faults->silent = true;
        break;
    case 2:
        faults->tls_failure = action->c % 2 == 0 ? ERR_TLS : ERR_TLS_CERTIFICATE;
        break;
    case 3:
        faults->half_open = true;
        break;
    default:
        faults->cut_after = 1 + (uint64_t)action->c * 97;
        break;
    }
    world_undo_later(world, UNDO_PORTAL_STREAM, 0, 0, action->d);
    return true;
}

bool act_portal_end(struct sim_world *world, const struct sim_action *action)
{
    struct world_node *portal = &world->portal_node;
    enum sim_portal_end end = (enum sim_portal_end)(action->b % SIM_PORTAL_END_COUNT);
    enum err err = sim_portal_disconnect_gateway(world->portal, world_now(world, portal),
                                                 action->a % world->policy.gateways_count, end,
                                                 portal->outbox);
    world_node_flush(portal);
    return err == ERR_NONE;
}

bool act_portal_wrong(struct sim_world *world, const struct sim_action *action)
{
    struct world_node *portal = &world->portal_node;
    uint32_t gateway = action->a % world->policy.gateways_count;
    enum sim_portal_wrong wrong = (enum sim_portal_wrong)(action->b % SIM_PORTAL_WRONG_COUNT);
    enum err err = sim_portal_misbehave(world->portal, world_now(world, portal), gateway, wrong,
                                        portal->outbox);
    world_node_flush(portal);
    if (err == ERR_NONE && (wrong == SIM_PORTAL_BAD_FRAME || wrong == SIM_PORTAL_BROKEN_UTF8 ||
                            wrong == SIM_PORTAL_TRUNCATED_JSON)) {
        portal->broken_stream = portal->last_stream;
    }
    return err == ERR_NONE;
}

/* ---- gateways ---- */

static struct world_gateway *gateway_of(struct sim_world *world, const struct sim_action *action)
{
    return &world->gateways[action->a % world->policy.gateways_count];
}

bool act_gateway_crash(struct sim_world *world, const struct sim_action *action)
{
    struct world_gateway *gateway = gateway_of(world, action);
    sim_gateway_crash(gateway->gateway);
    world_undo_later(world, UNDO_GATEWAY_START, gateway->index, 0, action->d);
    return true;
}

bool act_gateway_shutdown(struct sim_world *world, const struct sim_action *action)
{
    struct world_gateway *gateway = gateway_of(world, action);
    sim_gateway_shutdown(gateway->gateway);
    world_undo_later(world, UNDO_GATEWAY_START, gateway->index, 0, action->d + SHUTDOWN_MS);
    return true;
}

bool act_gateway_pause(struct sim_world *world, const struct sim_action *action)
{
    struct world_gateway *gateway = gateway_of(world, action);
    sim_gateway_pause(gateway->gateway);
    sim_rekey_paused(world->rekey, gateway->index);
    world_undo_later(world, UNDO_GATEWAY_RESUME, gateway->index, 0, action->d);
    return true;
}

bool act_gateway_roam(struct sim_world *world, const struct sim_action *action)
{
    struct world_gateway *gateway = gateway_of(world, action);
    if (gateway->moves >= MOVES_MAX) {
        return false;
    }
    gateway->moves++;
    sim_stream_orphan_node(world->streams, gateway->net);
    world_set_gateway_addresses(world, gateway->index, action->b % SIM_EDGE_KINDS);
    return true;
}

bool act_clock_jump(struct sim_world *world, const struct sim_action *action)
{
    struct world_gateway *gateway = gateway_of(world, action);
    struct sim_clock *clock = sim_platform_clock(sim_gateway_platform(gateway->gateway));
    int64_t seconds = (int64_t)action->c * (action->b % 3 == 0 ? 3600 : 1);
    clock->unix_shift_ns += (action->b % 2 == 0 ? 1 : -1) * seconds * (int64_t)NS_PER_S;
    return true;
}

bool act_environment(struct sim_world *world, const struct sim_action *action)
{
    static const enum err errors[] = {ERR_UNREACHABLE, ERR_PERMISSION, ERR_IO, ERR_TOO_BIG};
    struct world_gateway *gateway = gateway_of(world, action);
    struct sim_platform_faults *faults =
        sim_platform_faults(sim_gateway_platform(gateway->gateway));
    switch (action->b % 3) {
    case 0:
        faults->udp_block_ppm = 300000;
        faults->udp_block = DURATION_MS(1 + action->c);
        break;
    case 1:
        faults->udp_error_ppm = 300000;
        faults->udp_error = errors[action->c % ARRAY_COUNT(errors)];
        break;
    default:
        faults->tun_block_ppm = 300000;
        faults->tun_block = DURATION_MS(1 + action->c);
        break;
    }
    world_undo_later(world, UNDO_ENVIRONMENT, gateway->index, 0, action->d);
    return true;
}

/* A recording holds inputs only, not what fails inside. */
bool act_memory(struct sim_world *world, const struct sim_action *action)
{
    /* Sizes are drawn most: frames pass, and JSON does not, so that messages wait. */
    static const enum sim_memory_kind kinds[] = {SIM_MEMORY_ALL,   SIM_MEMORY_BEHIND,
                                                 SIM_MEMORY_EACH,  SIM_MEMORY_LARGE,
                                                 SIM_MEMORY_LARGE, SIM_MEMORY_LARGE};
    static const uint32_t sizes[] = {64, 1000, 4000, 4000};
    struct world_gateway *gateway = gateway_of(world, action);
    enum sim_memory_kind kind = kinds[action->b % ARRAY_COUNT(kinds)];
    uint32_t number = 1 + action->c % 40;
    if (world->config.record != NULL) {
        return false;
    }
    if (kind == SIM_MEMORY_EACH) {
        number = 2 + action->c % 15;
    } else if (kind == SIM_MEMORY_LARGE) {
        number = sizes[action->c % ARRAY_COUNT(sizes)];
    }
    sim_memory_begin(sim_gateway_memory(gateway->gateway), kind, number);
    gateway->starved = true;
    world_undo_later(world, UNDO_MEMORY, gateway->index, 0, action->d);
    return true;
}

/* ---- names and hosts ---- */

bool act_dns_change(struct sim_world *world, const struct sim_action *action)
{
    if (world->names_count == 0) {
        return false;
    }
    world_name_addresses(world, action->b % world->names_count);
    return true;
}

bool act_dns_fault(struct sim_world *world, const struct sim_action *action)
{
    if (world->names_count == 0) {
        return false;
    }
    static const uint32_t spared[] = {0, 1U << SIM_DNS_A, 1U << SIM_DNS_AAAA};
    uint32_t kinds = SIM_DNS_LATE + 1;
    uint32_t index = action->b % world->names_count;
    struct sim_dns_behaviour behaviour = {.failure = (enum sim_dns_failure)(action->c % kinds),
                                          .spared =
                                              spared[action->c / kinds % ARRAY_COUNT(spared)]};
    enum err err = sim_dns_behave(world->dns, world->names[index].text, &behaviour);
    world_undo_later(world, UNDO_DNS, index, 0, action->d);
    return err == ERR_NONE;
}

bool act_host_change(struct sim_world *world, const struct sim_action *action)
{
    struct world_gateway *gateway = gateway_of(world, action);
    uint32_t count = sim_hosts_count(gateway->hosts);
    if (count == 0) {
        return false;
    }
    uint32_t host = action->b % count;
    sim_hosts_set(gateway->hosts, sim_hosts_at(gateway->hosts, host),
                  (enum sim_host_behaviour)(action->c % SIM_HOST_STREAM), DURATION_MS(2));
    world_undo_later(world, UNDO_HOST, gateway->index, host, action->d);
    return true;
}

/* ---- attackers ---- */

/* A datagram comes from nowhere. */
static void appear(struct world_gateway *gateway, const struct sim_datagram *datagram)
{
    struct sock_addr ends[2] = {datagram->remote, datagram->local};
    sim_trace_datagram(gateway->world->trace, (uint16_t)gateway->net, SIM_KIND_DELIVERED, ends,
                       datagram->bytes, NULL);
    struct sim_datagram back = {
        .local = datagram->local, .remote = datagram->remote, .bytes = datagram->bytes};
    for (unsigned i = 0; i < 4 && gateway->world->options.sabotage == SIM_SABOTAGE_STRANGER; i++) {
        (void)sim_net_send(gateway->world->net, gateway->net, &back);
    }
    sim_platform_datagram(sim_gateway_platform(gateway->gateway), datagram);
}

/* Behind an edge nobody reaches the gateway unasked: the bytes appear at its socket. */
bool act_stranger(struct sim_world *world, const struct sim_action *action)
{
    static const uint8_t firsts[] = {0, 1, 2, 3, 4, 20, 0x40, 0x4f, 0x50, 0xff};
    struct world_gateway *gateway = gateway_of(world, action);
    struct sim_dice dice = sim_dice_at(
        &world->rng, sim_stream_of(SIM_FAMILY_HOSTILE, 99, action->c), action->at_ns / NS_PER_MS);
    uint8_t bytes[STRANGER_MAX];
    sim_dice_bytes(&dice, bytes, sizeof(bytes));
    bytes[0] = firsts[action->b % ARRAY_COUNT(firsts)];
    if (action->c % 2 == 0) {
        memset(bytes + 1, 0, 3); /* the reserved bytes of WireGuard */
    }
    struct sim_datagram seen = {
        .local = {sim_net_addresses(world->net, gateway->net)->ipv4, SIM_GATEWAY_UDP_PORT},
        .remote = {sim_net_addresses(world->net, world->stranger_net)->ipv4,
                   (uint16_t)(STRANGER_PORT + action->c)},
        .bytes = {bytes, 1 + action->d % STRANGER_MAX},
    };
    if (seen.local.ip.family == IP_NONE || !sim_gateway_is_running(gateway->gateway)) {
        return false;
    }
    appear(gateway, &seen);
    return true;
}

bool act_replay(struct sim_world *world, const struct sim_action *action)
{
    uint32_t kept =
        world->captures_count < WORLD_CAPTURE_MAX ? world->captures_count : WORLD_CAPTURE_MAX;
    if (kept == 0) {
        return false;
    }
    struct world_capture *capture = &world->captures[(action->a * 4 + action->c) % kept];
    struct world_gateway *gateway = &world->gateways[capture->gateway];
    if (capture->len == 0 || !sim_gateway_is_running(gateway->gateway)) {
        return false;
    }
    struct sim_datagram datagram = capture->datagram;
    datagram.bytes = (struct view){capture->bytes, capture->len};
    if (action->b % 2 == 1) {
        datagram.remote.port ^= 0x55U;
    }
    appear(gateway, &datagram);
    return true;
}
