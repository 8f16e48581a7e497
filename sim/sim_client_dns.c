/* Names: the stub resolver, proxy addresses, and telling the gateway about them.
 * Source: spec/dataplane.md sections 2, 8.4, 13.2, 13.4 and 13.7. */
#include <stdlib.h>
#include <string.h>

#include "dns/dns_pattern.h"
#include "packet/packet_build.h"
#include "packet/packet_rewrite.h"
#include "sim/sim_client_internal.h"

#define ASK_AGAIN_S    2U
#define FORWARD_LIFE_S 60U
#define DNS_PORT       53U
#define TUN_DNS_PORT   53535U
#define PROXY_TTL_S    1U

/* ---- proxy addresses ---- */

static struct ip_addr proxy_v4(uint32_t number)
{
    uint32_t host = UINT32_C(0x64600001) + number;
    if (host >= UINT32_C(0x64646f00)) {
        host += 256; /* the resolver's own range 100.100.111.0/24 */
    }
    return ip_v4((uint8_t)(host >> 24), (uint8_t)(host >> 16), (uint8_t)(host >> 8), (uint8_t)host);
}

static struct ip_addr proxy_v6(uint32_t number)
{
    uint8_t bytes[16] = {0xfd, 0x00, 0x20, 0x21, 0x11, 0x11, 0x80, 0x00};
    store_be32(bytes + 12, number);
    return ip_from_bytes(IP_V6, bytes);
}

static struct client_resource *resource_of(struct sim_client *client, const struct dns_name *name)
{
    struct client_resource *best = NULL;
    for (uint32_t i = 0; i < CLIENT_RESOURCES_MAX; i++) {
        struct client_resource *resource = &client->resources[i];
        if (!resource->used || resource->kind != SIM_RESOURCE_DNS ||
            !dns_pattern_matches(view_text(resource->pattern), name)) {
            continue;
        }
        if (best == NULL ||
            dns_pattern_compare(view_text(resource->pattern), view_text(best->pattern)) < 0) {
            best = resource;
        }
    }
    return best;
}

struct client_name *client_name_of_proxy(struct sim_client *client, const struct ip_addr *ip)
{
    bool v4 = ip->family == IP_V4 && ip->bytes[0] == 100;
    bool v6 = ip->family == IP_V6 && ip->bytes[0] == 0xfd && ip->bytes[6] == 0x80;
    for (uint32_t i = 0; (v4 || v6) && i < CLIENT_NAMES_MAX && client->names[i].used; i++) {
        struct client_name *name = &client->names[i];
        for (uint32_t k = 0; k < CLIENT_PROXIES; k++) {
            if (ip_equal(v4 ? &name->v4[k] : &name->v6[k], ip)) {
                return name;
            }
        }
    }
    return NULL;
}

struct client_name *client_name_resolve(struct sim_client *client, const struct dns_name *asked)
{
    struct client_resource *resource = resource_of(client, asked);
    if (resource == NULL) {
        return NULL;
    }
    uint32_t i = 0;
    for (; i < CLIENT_NAMES_MAX && client->names[i].used; i++) {
        if (dns_name_equal(&client->names[i].name, asked) &&
            uuid_equal(&client->names[i].resource, &resource->id)) {
            return &client->names[i];
        }
    }
    if (i == CLIENT_NAMES_MAX) {
        return NULL;
    }
    struct client_name *name = &client->names[i];
    *name = (struct client_name){.used = true, .name = *asked, .resource = resource->id};
    for (uint32_t k = 0; k < CLIENT_PROXIES; k++) {
        name->v4[k] = proxy_v4(client->proxies_v4++);
        name->v6[k] = proxy_v6(client->proxies_v6++);
    }
    return name;
}

/* ---- AssignedIps and DomainStatus ---- */

static struct client_link *link_of(struct sim_client *client, const struct client_name *name)
{
    const struct client_resource *resource = client_resource_find(client, &name->resource);
    return resource == NULL || !resource->has_gateway
               ? NULL
               : client_link_find(client, &resource->gateway);
}

void client_name_ask(struct sim_client *client, struct client_name *name)
{
    struct client_link *link = link_of(client, name);
    struct p2p_assigned_ips msg = {.resource = name->resource, .domain = name->name};
    uint8_t room[P2P_PACKET_SIZE_MAX];
    if (link == NULL) {
        return;
    }
    for (uint32_t i = 0; i < CLIENT_PROXIES; i++) {
        msg.proxy_ips[i] = name->v4[i];
        msg.proxy_ips[CLIENT_PROXIES + i] = name->v6[i];
    }
    msg.proxy_ips_count = 2 * CLIENT_PROXIES;
    size_t len = p2p_encode_assigned_ips((struct span){room, sizeof room}, &msg);
    ASSERT(len > 0);
    if (name->nat == CLIENT_NAT_NONE) {
        name->nat = CLIENT_NAT_PENDING;
    }
    name->asked_at = client->now.boot;
    client_link_send(client, link, (struct view){room, len});
}

void client_names_update(struct sim_client *client)
{
    for (uint32_t i = 0; i < CLIENT_NAMES_MAX && client->names[i].used; i++) {
        struct client_name *name = &client->names[i];
        struct instant again = instant_add(name->asked_at, DURATION_S(ASK_AGAIN_S));
        bool waits = name->nat == CLIENT_NAT_PENDING || name->nat == CLIENT_NAT_RECREATING;
        if (name->nat == CLIENT_NAT_NONE || (waits && instant_reached(client->now.boot, again))) {
            client_name_ask(client, name);
        }
    }
}

void client_name_queried(struct sim_client *client, struct client_name *name)
{
    if (!client_is_head(client)) {
        name->nat = CLIENT_NAT_NONE;
    } else if (name->nat == CLIENT_NAT_CONFIRMED || name->nat == CLIENT_NAT_FAILED) {
        name->hold = name->nat == CLIENT_NAT_FAILED;
        name->nat = CLIENT_NAT_RECREATING;
        name->asked_at = (struct instant){0};
    }
    client_names_update(client);
}

static void flush(struct sim_client *client, struct client_link *link, struct client_name *name)
{
    struct client_packet *packet = NULL;
    while ((packet = client_queue_take(&name->waiting)) != NULL) {
        client_link_send(client, link, (struct view){packet->bytes, packet->len});
        free(packet);
    }
}

static void name_event(struct sim_client *client, const struct client_link *link,
                       const struct client_name *name, bool active)
{
    char text[DNS_NAME_TEXT_SIZE_MAX + 1] = {0};
    struct writer w = writer_of((struct span){(uint8_t *)text, sizeof text - 1});
    dns_name_put(&w, &name->name);
    client_event(client, active ? SIM_CLIENT_DOMAIN_ACTIVE : SIM_CLIENT_DOMAIN_INACTIVE,
                 &link->gateway, &name->resource, text);
}

void client_name_status(struct sim_client *client, const struct client_link *from,
                        const struct p2p_domain_status *status)
{
    for (uint32_t i = 0; i < CLIENT_NAMES_MAX && client->names[i].used; i++) {
        struct client_name *name = &client->names[i];
        struct client_link *link = link_of(client, name);
        bool is_it = link == from && dns_name_equal(&name->name, &status->domain) &&
                     (!client_is_head(client) || uuid_equal(&name->resource, &status->resource));
        if (!is_it || name->nat == CLIENT_NAT_NONE) {
            continue;
        }
        name_event(client, link, name, status->active);
        if (status->active) {
            name->nat = CLIENT_NAT_CONFIRMED;
            flush(client, link, name);
        } else if (client_is_head(client)) {
            name->nat = CLIENT_NAT_FAILED;
            flush(client, link, name);
        }
    }
}

/* ---- lookups of applications ---- */

void sim_client_resolve(struct sim_client *client, struct clock_pair now, const char *name,
                        uint16_t type, struct sim_outbox *out)
{
    struct dns_name asked;
    struct sim_note note = {.kind = SIM_NOTE_RESOLVED, .text = view_text(name)};
    client->now = now;
    client->out = out;
    note.grant.client = client->config.id;
    note.grant.gateway = UINT32_MAX;
    struct client_name *entry = NULL;
    if (client->started && !client->ended && dns_name_parse(view_text(name), &asked)) {
        entry = client_name_resolve(client, &asked);
    }
    for (uint32_t i = 0; entry != NULL && i < 2 * CLIENT_PROXIES; i++) {
        bool v4 = i < CLIENT_PROXIES;
        if (type == SIM_CLIENT_ANY || type == (v4 ? DNS_TYPE_A : DNS_TYPE_AAAA)) {
            note.addresses[note.addresses_count] =
                v4 ? entry->v4[i] : entry->v6[i - CLIENT_PROXIES];
            note.addresses_count++;
        }
    }
    if (entry != NULL) {
        note.grant.resource = entry->resource;
        client_name_queried(client, entry);
    }
    sim_put_note(out, &note);
    client_links_timeout(client);
}

/* ---- DNS over the TUN device ---- */

bool client_dns_is_sentinel(const struct ip_addr *ip)
{
    static const uint8_t v6[15] = {0xfd, 0x00, 0x20, 0x21, 0x11, 0x11, 0x80, 0x00,
                                   0x01, 0x00, 0x01, 0x00, 0x01, 0x11, 0x00};
    return ip->family == IP_V4 ? ip->bytes[0] == 100 && ip->bytes[1] == 100 && ip->bytes[2] == 111
                               : memcmp(ip->bytes, v6, sizeof v6) == 0;
}

static void answer(struct sim_client *client, const struct packet_info *info, struct view message)
{
    uint8_t room[PACKET_INNER_MTU];
    struct writer w = writer_of((struct span){room, sizeof room});
    struct packet_build_ip ip = {.source = info->destination, .destination = info->source};
    struct packet_build_ports ports = {.source = info->destination_port,
                                       .destination = info->source_port};
    packet_build_udp(&w, &ip, ports, message);
    if (writer_finish(&w)) {
        sim_put_tun(client->out, writer_view(&w));
    }
}

static void build_addresses(struct dns_build *build, const struct client_name *name, bool v4)
{
    for (uint32_t i = 0; i < CLIENT_PROXIES; i++) {
        dns_build_address(build, v4 ? &name->v4[i] : &name->v6[i], PROXY_TTL_S);
    }
}

static struct client_name *name_of_reverse(struct sim_client *client, const struct dns_name *asked)
{
    for (uint32_t i = 0; i < CLIENT_NAMES_MAX && client->names[i].used; i++) {
        struct client_name *name = &client->names[i];
        for (uint32_t k = 0; k < CLIENT_PROXIES; k++) {
            struct dns_name v4 = dns_name_reverse(ip_view(&name->v4[k]));
            struct dns_name v6 = dns_name_reverse(ip_view(&name->v6[k]));
            if (dns_name_equal(&v4, asked) || dns_name_equal(&v6, asked)) {
                return name;
            }
        }
    }
    return NULL;
}

/* Hands a question to the gateway's resolver. Without a path the application asks again later. */
static void forward(struct sim_client *client, const struct packet *packet,
                    const struct packet_info *info, struct client_name *name, uint16_t id)
{
    struct client_link *link = link_of(client, name);
    if (link == NULL) {
        struct client_resource *resource = client_resource_find(client, &name->resource);
        if (resource != NULL) {
            client_flow_intend(client, resource);
        }
        return;
    }
    struct ip_addr server = info->source.family == IP_V4 ? link->tunnel_v4 : link->tunnel_v6;
    if (server.family == IP_NONE) {
        return;
    }
    uint32_t slot = 0;
    while (slot + 1 < ARRAY_COUNT(client->forwards) && client->forwards[slot].used &&
           instant_before(client->now.boot, client->forwards[slot].until)) {
        slot++;
    }
    client->forwards[slot] =
        (struct client_forward){.used = true,
                                .id = id,
                                .application = sock_addr_of(info->source, info->source_port),
                                .sentinel = sock_addr_of(info->destination, info->destination_port),
                                .server = sock_addr_of(server, TUN_DNS_PORT),
                                .until = instant_add(client->now.boot, DURATION_S(FORWARD_LIFE_S))};
    struct packet out = *packet;
    struct packet_info out_info = *info;
    packet_set_destination(&out, &out_info, &server);
    packet_set_destination_port(&out, &out_info, TUN_DNS_PORT);
    client_link_send(client, link, packet_view(&out));
}

static bool is_forwarded(const struct sim_client *client, uint16_t type)
{
    return client_is_head(client) && (type == DNS_TYPE_SRV || type == DNS_TYPE_TXT);
}

static void answer_query(struct sim_client *client, const struct packet *packet,
                         const struct packet_info *info, const struct dns_msg *query)
{
    uint8_t room[PACKET_INNER_MTU];
    struct writer w = writer_of((struct span){room, sizeof room});
    const struct dns_question *question = &query->question;
    struct dns_name canary;
    bool good = dns_name_parse(view_text("use-application-dns.net"), &canary);
    ASSERT(good);
    struct client_name *reverse =
        question->type == DNS_TYPE_PTR ? name_of_reverse(client, &question->name) : NULL;
    struct client_name *name =
        reverse != NULL ? reverse : client_name_resolve(client, &question->name);
    bool is_address = question->type == DNS_TYPE_A || question->type == DNS_TYPE_AAAA;
    if (name != NULL && is_forwarded(client, question->type)) {
        forward(client, packet, info, name, query->id);
        return;
    }
    if (name == NULL || (reverse == NULL && !is_address && question->type != DNS_TYPE_HTTPS)) {
        bool refused = !dns_name_equal(&question->name, &canary);
        dns_msg_put_empty(&w, query, refused ? DNS_REFUSED : DNS_NXDOMAIN);
        answer(client, info, writer_view(&w));
        return;
    }
    struct dns_build build = dns_build_response(&w, query, DNS_NOERROR);
    if (reverse != NULL) {
        dns_build_ptr(&build, &reverse->name, PROXY_TTL_S);
    } else if (is_address) {
        build_addresses(&build, name, question->type == DNS_TYPE_A);
    }
    if (dns_build_finish(&build)) {
        answer(client, info, writer_view(&w));
    }
    client_name_queried(client, name);
}

bool client_dns_outbound(struct sim_client *client, const struct packet *packet,
                         const struct packet_info *info)
{
    struct dns_msg query;
    if (!client_dns_is_sentinel(&info->destination)) {
        return false;
    }
    if (info->kind == PACKET_UDP && info->destination_port == DNS_PORT &&
        dns_msg_parse(packet_payload(packet, info), &query) == DROP_NONE &&
        !dns_msg_is_response(&query)) {
        answer_query(client, packet, info, &query);
    }
    return true;
}

bool client_dns_is_answer(const struct packet_info *info)
{
    return info->kind == PACKET_UDP && info->source_port == TUN_DNS_PORT;
}

bool client_dns_inbound(struct sim_client *client, const struct packet *packet,
                        const struct packet_info *info)
{
    if (!client_dns_is_answer(info)) {
        return false;
    }
    struct view payload = packet_payload(packet, info);
    for (uint32_t i = 0; i < ARRAY_COUNT(client->forwards) && payload.len >= 2; i++) {
        struct client_forward *entry = &client->forwards[i];
        if (!entry->used || entry->id != load_be16(payload.at) ||
            !ip_equal(&entry->server.ip, &info->source) ||
            entry->application.port != info->destination_port) {
            continue;
        }
        entry->used = false;
        struct packet out = *packet;
        struct packet_info out_info = *info;
        packet_set_source(&out, &out_info, &entry->sentinel.ip);
        packet_set_source_port(&out, &out_info, entry->sentinel.port);
        sim_put_tun(client->out, packet_view(&out));
        return true;
    }
    return false;
}
