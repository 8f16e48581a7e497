/* What happens to the host of a gateway besides moving: its families, its TUN device. */
#include "sim/sim_world_internal.h"

/* The process is not told: it sees its streams break, and sends that fail. */
bool act_gateway_family(struct sim_world *world, const struct sim_action *action)
{
    struct world_gateway *gateway = &world->gateways[action->a % world->policy.gateways_count];
    struct sim_host_addresses addresses = *sim_net_addresses(world->net, gateway->net);
    if (addresses.ipv4.family == IP_NONE || addresses.ipv6.family == IP_NONE) {
        return false; /* it would be left with nothing */
    }
    gateway->lost = addresses;
    *(action->b % 2 == 0 ? &addresses.ipv4 : &addresses.ipv6) = (struct ip_addr){0};
    sim_net_set_addresses(world->net, gateway->net, &addresses);
    sim_stream_orphan_node(world->streams, gateway->net);
    world_undo_later(world, UNDO_FAMILY, gateway->index, 0, action->d);
    return true;
}

void world_family_restore(struct world_gateway *gateway)
{
    struct sim_net *net = gateway->world->net;
    const struct sim_host_addresses *now = sim_net_addresses(net, gateway->net);
    bool same = (now->ipv4.family == IP_NONE && ip_equal(&now->ipv6, &gateway->lost.ipv6)) ||
                (now->ipv6.family == IP_NONE && ip_equal(&now->ipv4, &gateway->lost.ipv4));
    if (same && gateway->lost.ipv4.family != IP_NONE) {
        sim_net_set_addresses(net, gateway->net, &gateway->lost);
    }
}

/* The process takes its leave, and again at each start, until the device is back. */
bool act_tun_gone(struct sim_world *world, const struct sim_action *action)
{
    uint32_t index = action->a % world->policy.gateways_count;
    struct sim_platform *platform = sim_gateway_platform(world->gateways[index].gateway);
    sim_platform_faults(platform)->tun_gone = true;
    sim_platform_poke(platform);
    world_undo_later(world, UNDO_TUN, index, 0, action->d);
    return true;
}

/* Whoever is started after this process has sockets. */
bool act_udp_gone(struct sim_world *world, const struct sim_action *action)
{
    uint32_t index = action->a % world->policy.gateways_count;
    struct sim_gateway *gateway = world->gateways[index].gateway;
    if (!sim_gateway_is_running(gateway)) {
        return false;
    }
    sim_platform_faults(sim_gateway_platform(gateway))->udp_gone = true;
    sim_platform_poke(sim_gateway_platform(gateway));
    return true;
}
