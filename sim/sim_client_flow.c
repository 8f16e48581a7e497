/* Authorizations, and the way of packets between applications and tunnels.
 * Source: spec/dataplane.md sections 13.1, 13.3 and 13.5 to 13.8. */
#include <stdlib.h>
#include <string.h>

#include "packet/packet_icmp.h"
#include "sim/sim_client_internal.h"

#define INTENT_AGAIN_S 2U
#define WAITING_FLOW   128U
#define WAITING_NAME   32U

void client_flow_clear(struct sim_client *client)
{
    for (uint32_t i = 0; i < CLIENT_RESOURCES_MAX; i++) {
        client_queue_clear(client, &client->resources[i].waiting);
    }
    for (uint32_t i = 0; i < CLIENT_NAMES_MAX; i++) {
        client_queue_clear(client, &client->names[i].waiting);
    }
}

/* ---- where a packet belongs ---- */

static struct client_resource *longest_match(struct sim_client *client, const struct ip_addr *ip)
{
    struct client_resource *best = NULL;
    for (uint32_t i = 0; i < CLIENT_RESOURCES_MAX; i++) {
        struct client_resource *resource = &client->resources[i];
        if (!resource->used || resource->kind != SIM_RESOURCE_CIDR ||
            !ip_prefix_contains(&resource->prefix, ip)) {
            continue;
        }
        bool longer = best == NULL || resource->prefix.len > best->prefix.len;
        /* Equal networks: the connected one, else the highest id. */
        bool equal = best != NULL && resource->prefix.len == best->prefix.len;
        bool rather = equal && (resource->has_gateway != best->has_gateway
                                    ? resource->has_gateway
                                    : uuid_compare(&resource->id, &best->id) > 0);
        best = longer || rather ? resource : best;
    }
    return best;
}

static bool is_tunnel_range(const struct ip_addr *ip)
{
    static const char *const ranges[] = {"100.64.0.0/10", "fd00:2021:1111::/48"};
    for (size_t i = 0; i < ARRAY_COUNT(ranges); i++) {
        struct ip_prefix prefix;
        bool good = ip_prefix_parse(view_text(ranges[i]), &prefix);
        ASSERT(good);
        if (ip_prefix_contains(&prefix, ip)) {
            return true;
        }
    }
    return false;
}

static struct client_resource *resource_for(struct sim_client *client, const struct ip_addr *ip,
                                            struct client_name **name)
{
    *name = client_name_of_proxy(client, ip);
    if (*name != NULL) {
        return client_resource_find(client, &(*name)->resource);
    }
    struct client_resource *resource = longest_match(client, ip);
    for (uint32_t i = 0; resource == NULL && !is_tunnel_range(ip) && i < CLIENT_RESOURCES_MAX;
         i++) {
        if (client->resources[i].used && client->resources[i].kind == SIM_RESOURCE_INTERNET) {
            resource = &client->resources[i];
        }
    }
    return resource;
}

/* HEAD: refuses by itself what the gateway would refuse, and hears goodbyes. */
static bool obeys(const struct sim_client *client)
{
    return client_is_head(client) && !client->config.lawless;
}

/* The resource's filters, as the gateway will apply them. */
static bool is_permitted(const struct sim_client *client, const struct client_resource *resource,
                         const struct packet_info *info)
{
    if (!obeys(client) || !resource->filtered) {
        return true;
    }
    bool icmp = info->protocol == PACKET_PROTOCOL_ICMP || info->protocol == PACKET_PROTOCOL_ICMPV6;
    for (uint32_t i = 0; i < resource->filters_count; i++) {
        const struct sim_filter *filter = &resource->filters[i];
        bool ports = info->destination_port >= filter->port_first &&
                     info->destination_port <= filter->port_last;
        if ((filter->protocol == SIM_FILTER_ICMP && icmp) ||
            (filter->protocol == SIM_FILTER_TCP && info->kind == PACKET_TCP && ports) ||
            (filter->protocol == SIM_FILTER_UDP && info->kind == PACKET_UDP && ports)) {
            return true;
        }
    }
    return false;
}

static void prohibit(struct sim_client *client, const struct packet *packet,
                     const struct packet_info *info)
{
    uint8_t room[PACKET_INNER_MTU];
    client->counters.refused_filter++;
    size_t len = packet_icmp_answer((struct span){room, sizeof room}, packet, info,
                                    (struct packet_icmp_answer){PACKET_ANSWER_PROHIBITED, 0});
    if (len > 0) {
        sim_put_tun(client->out, (struct view){room, len});
    }
}

/* ---- authorizations ---- */

void client_flow_intend(struct sim_client *client, struct client_resource *resource)
{
    struct instant again = instant_add(resource->asked_at, DURATION_S(INTENT_AGAIN_S));
    if (resource->asked && !instant_reached(client->now.boot, again)) {
        return;
    }
    resource->asked = true;
    resource->asked_at = client->now.boot;
    client->counters.intents++;
    client_event(client, SIM_CLIENT_INTENT, NULL, &resource->id, "");
    client_say_create_flow(client, resource);
}

static bool must_hold(const struct client_name *name)
{
    return name->nat == CLIENT_NAT_PENDING || (name->nat == CLIENT_NAT_RECREATING && name->hold);
}

static void to_gateway(struct sim_client *client, struct client_link *link,
                       struct client_name *name, struct view packet)
{
    if (name != NULL && name->nat == CLIENT_NAT_NONE) {
        client_name_ask(client, name);
    }
    if (name != NULL && must_hold(name)) {
        client_queue_put(client, &name->waiting, packet, WAITING_NAME);
        struct instant again = instant_add(name->asked_at, DURATION_S(INTENT_AGAIN_S));
        if (client_is_head(client) && instant_reached(client->now.boot, again)) {
            client_name_ask(client, name);
        }
        return;
    }
    client_link_send(client, link, packet);
}

void client_flow_created(struct sim_client *client, const struct json_value *payload)
{
    struct uuid id;
    if (!json_get_uuid(payload, "resource_id", &id)) {
        return;
    }
    struct client_resource *resource = client_resource_find(client, &id);
    if (resource == NULL) {
        return;
    }
    resource->asked = false;
    struct client_link *link = client_link_upsert(client, payload);
    if (link == NULL) {
        return;
    }
    client->counters.flows_created++;
    resource->has_gateway = true;
    resource->gateway = link->gateway;
    client_event(client, SIM_CLIENT_FLOW_CREATED, &link->gateway, &resource->id, "");
    if (resource->kind == SIM_RESOURCE_DNS) {
        client_names_update(client);
    }
    struct client_packet *packet = NULL;
    while ((packet = client_queue_take(&resource->waiting)) != NULL) {
        struct packet view = packet_of((struct span){packet->bytes, packet->len}, 0, packet->len);
        struct packet_info info;
        if (packet_parse(&view, &info) == DROP_NONE) {
            struct client_name *name = client_name_of_proxy(client, &info.destination);
            to_gateway(client, link, name, (struct view){packet->bytes, packet->len});
        }
        free(packet);
    }
}

void client_flow_failed(struct sim_client *client, const struct json_value *payload)
{
    struct uuid id;
    struct view reason = VIEW_EMPTY;
    char text[64] = {0};
    if (!json_get_uuid(payload, "resource_id", &id)) {
        return;
    }
    if (json_get_text(payload, "reason", &reason) && reason.len < sizeof text) {
        memcpy(text, reason.at, reason.len);
    }
    struct client_resource *resource = client_resource_find(client, &id);
    client->counters.flows_failed++;
    client_event(client, SIM_CLIENT_FLOW_FAILED, NULL, &id, text);
    if (resource != NULL) {
        client_queue_clear(client, &resource->waiting);
    }
}

void client_flow_gateway_gone(struct sim_client *client, const struct uuid *gateway)
{
    for (uint32_t i = 0; i < CLIENT_RESOURCES_MAX; i++) {
        struct client_resource *resource = &client->resources[i];
        if (!resource->used || !resource->has_gateway || !uuid_equal(&resource->gateway, gateway)) {
            continue;
        }
        resource->has_gateway = false;
        for (uint32_t k = 0; k < CLIENT_NAMES_MAX; k++) {
            struct client_name *name = &client->names[k];
            if (name->used && uuid_equal(&name->resource, &resource->id)) {
                name->nat = CLIENT_NAT_NONE;
                client_queue_clear(client, &name->waiting);
            }
        }
    }
}

/* ---- outbound ---- */

static bool is_own(const struct sim_client *client, const struct ip_addr *ip)
{
    return ip_equal(ip, &client->tunnel_v4) || ip_equal(ip, &client->tunnel_v6);
}

/* Nothing that an application may send: it disappears. */
static bool is_forbidden(const struct sim_client *client, const struct packet_info *info)
{
    return ip_is_multicast(&info->destination) || (obeys(client) && !is_own(client, &info->source));
}

struct client_link *client_flow_open(struct sim_client *client, const struct packet_info *info)
{
    struct client_name *name = NULL;
    if (is_forbidden(client, info) || client_dns_is_sentinel(&info->destination)) {
        return NULL;
    }
    const struct client_resource *resource = resource_for(client, &info->destination, &name);
    if (resource == NULL || !resource->has_gateway || !is_permitted(client, resource, info) ||
        (name != NULL && (name->nat == CLIENT_NAT_NONE || must_hold(name)))) {
        return NULL;
    }
    struct client_link *link = client_link_find(client, &resource->gateway);
    return link != NULL && link->has_path && link->waiting.first == NULL ? link : NULL;
}

/* To some gateway that the client has a path to. */
static void send_uncovered(struct sim_client *client, const struct packet_info *info,
                           struct view bytes)
{
    uint32_t first = info->source_port;
    for (uint32_t i = 0; i < CLIENT_LINKS_MAX; i++) {
        struct client_link *link = &client->links[(first + i) % CLIENT_LINKS_MAX];
        if (link->used && link->has_path) {
            client_link_send(client, link, bytes);
            return;
        }
    }
}

void client_flow_outbound(struct sim_client *client, struct view bytes)
{
    uint8_t copy[PACKET_INNER_MTU];
    struct packet_info info;
    struct client_name *name = NULL;
    if (bytes.len > sizeof copy || bytes.len == 0) {
        return;
    }
    memcpy(copy, bytes.at, bytes.len);
    struct packet packet = packet_of((struct span){copy, bytes.len}, 0, bytes.len);
    if (packet_parse(&packet, &info) != DROP_NONE) {
        return;
    }
    if (is_forbidden(client, &info)) {
        return;
    }
    if (client_dns_outbound(client, &packet, &info)) {
        return;
    }
    struct client_resource *resource = resource_for(client, &info.destination, &name);
    if (resource == NULL) {
        client->counters.no_resource++;
        if (client->config.lawless) {
            send_uncovered(client, &info, bytes);
        }
        return;
    }
    if (!is_permitted(client, resource, &info)) {
        prohibit(client, &packet, &info);
        return;
    }
    struct client_link *link =
        resource->has_gateway ? client_link_find(client, &resource->gateway) : NULL;
    if (link == NULL) {
        client_queue_put(client, &resource->waiting, bytes, WAITING_FLOW);
        client_flow_intend(client, resource);
        return;
    }
    to_gateway(client, link, name, bytes);
}

/* ---- inbound ---- */

bool client_flow_is_source(struct sim_client *client, const struct client_link *link,
                           const struct ip_addr *ip)
{
    if (client->config.lawless) {
        return true;
    }
    if (client_is_head(client) &&
        (ip_equal(ip, &link->tunnel_v4) || ip_equal(ip, &link->tunnel_v6))) {
        return true;
    }
    const struct client_name *name = client_name_of_proxy(client, ip);
    const struct client_resource *own =
        name == NULL ? NULL : client_resource_find(client, &name->resource);
    if (own != NULL) {
        return own->has_gateway && uuid_equal(&own->gateway, &link->gateway);
    }
    for (uint32_t i = 0; i < CLIENT_RESOURCES_MAX; i++) {
        const struct client_resource *resource = &client->resources[i];
        bool mine = resource->used && resource->has_gateway &&
                    uuid_equal(&resource->gateway, &link->gateway);
        if (mine &&
            (resource->kind == SIM_RESOURCE_INTERNET ||
             (resource->kind == SIM_RESOURCE_CIDR && ip_prefix_contains(&resource->prefix, ip)))) {
            return true;
        }
    }
    return false;
}

static void take_control(struct sim_client *client, struct client_link *link, struct view bytes)
{
    struct p2p_msg msg;
    if (p2p_decode(bytes, &msg) != DROP_NONE) {
        return;
    }
    if (msg.event == P2P_DOMAIN_STATUS) {
        client_name_status(client, link, &msg.u.domain_status);
    } else if (msg.event == P2P_GOODBYE && obeys(client)) {
        client->counters.goodbyes++;
        client_link_close(client, link, "goodbye");
    }
}

/* ICMPv4 3/13, ICMPv6 1/1. */
static bool is_prohibited(const struct packet_info *info)
{
    return info->version == 4
               ? info->icmp_type == PACKET_ICMPV4_UNREACHABLE && info->icmp_code == 13
               : info->icmp_type == PACKET_ICMPV6_UNREACHABLE && info->icmp_code == 1;
}

/* A gateway that prohibits may know less than we do: a grant can cross a goodbye. Asks the portal
 * anew, whatever the filters say; the error itself is the application's. */
static void take_refusal(struct sim_client *client, const struct packet *packet,
                         const struct packet_info *info)
{
    struct packet_icmp_error error;
    struct client_name *name = NULL;
    if (!client->config.asks_again || info->kind != PACKET_ICMP_ERROR || !is_prohibited(info) ||
        packet_icmp_error_parse(packet, info, &error) != DROP_NONE) {
        return;
    }
    struct client_resource *resource = resource_for(client, &error.quote_destination, &name);
    if (resource != NULL) {
        client_flow_intend(client, resource);
    }
}

void client_flow_inbound(struct sim_client *client, struct client_link *link, struct view bytes)
{
    uint8_t copy[2048];
    struct packet_info info;
    if (p2p_is_control(bytes)) {
        take_control(client, link, bytes);
        return;
    }
    memcpy(copy, bytes.at, bytes.len);
    struct packet packet = packet_of((struct span){copy, bytes.len}, 0, bytes.len);
    bool good = packet_parse(&packet, &info) == DROP_NONE;
    if (!good || !client_flow_is_source(client, link, &info.source)) {
        client->counters.refused_source++;
        return;
    }
    client->counters.received++;
    take_refusal(client, &packet, &info);
    if (!client_dns_inbound(client, &packet, &info)) {
        sim_put_tun(client->out, bytes);
    }
}
