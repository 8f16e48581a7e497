#include "sim/sim_client.h"

#include <stdlib.h>
#include <string.h>

#include "sim/sim_client_internal.h"

#define HANDSHAKES_PER_S 1000U

/* ---- helpers for all files ---- */

static uint32_t gateway_index(const struct sim_client *client, const struct uuid *gateway)
{
    const struct sim_policy *policy = client->config.policy;
    for (uint32_t i = 0; policy != NULL && i < policy->gateways_count; i++) {
        if (uuid_equal(&policy->gateways[i].id, gateway)) {
            return i;
        }
    }
    return UINT32_MAX;
}

static const char *event_name(enum sim_client_event_kind kind)
{
    switch (kind) {
    case SIM_CLIENT_ONLINE:
        return "online";
    case SIM_CLIENT_OFFLINE:
        return "offline";
    case SIM_CLIENT_INTENT:
        return "intent";
    case SIM_CLIENT_FLOW_CREATED:
        return "flow created";
    case SIM_CLIENT_FLOW_FAILED:
        return "flow failed";
    case SIM_CLIENT_PATH_RELAY:
        return "relay";
    case SIM_CLIENT_PATH_DIRECT:
        return "direct";
    case SIM_CLIENT_HANDSHAKE:
        return "handshake";
    case SIM_CLIENT_DOMAIN_ACTIVE:
        return "domain active";
    case SIM_CLIENT_DOMAIN_INACTIVE:
        return "domain inactive";
    case SIM_CLIENT_DISCONNECTED:
        return "disconnected";
    default:
        UNREACHABLE();
    }
}

static enum sim_note_kind note_kind(enum sim_client_event_kind kind)
{
    if (kind == SIM_CLIENT_PATH_RELAY || kind == SIM_CLIENT_PATH_DIRECT) {
        return SIM_NOTE_CLIENT_PATH;
    }
    if (kind == SIM_CLIENT_HANDSHAKE) {
        return SIM_NOTE_CLIENT_UP;
    }
    return kind == SIM_CLIENT_DISCONNECTED ? SIM_NOTE_CLIENT_DOWN : SIM_NOTE_TEXT;
}

void client_event(struct sim_client *client, enum sim_client_event_kind kind,
                  const struct uuid *gateway, const struct uuid *resource, const char *text)
{
    struct sim_note note = {.kind = note_kind(kind), .grant.gateway = UINT32_MAX};
    struct sim_client_event event = {.kind = kind, .at = client->now, .text = view_text(text)};
    note.grant.client = client->config.id;
    if (gateway != NULL) {
        note.grant.gateway = gateway_index(client, gateway);
        event.gateway = *gateway;
    }
    if (resource != NULL) {
        note.grant.resource = *resource;
        event.resource = *resource;
    }
    note.text = view_text(kind == SIM_CLIENT_DISCONNECTED ? text : event_name(kind));
    sim_put_note(client->out, &note);
    if (client->observe != NULL) {
        client->observe(client->observe_self, &event);
    }
}

void client_note_goodbye(struct sim_client *client, const struct uuid *gateway)
{
    struct sim_note note = {
        .kind = SIM_NOTE_CLIENT_GOODBYE,
        .grant = {.client = client->config.id, .gateway = gateway_index(client, gateway)},
    };
    sim_put_note(client->out, &note);
}

struct client_packet *client_queue_take(struct client_queue *queue)
{
    struct client_packet *packet = queue->first;
    if (packet != NULL) {
        queue->first = packet->next;
        queue->last = queue->first == NULL ? NULL : queue->last;
        queue->count--;
    }
    return packet;
}

/* HEAD: byte-identical packets wait once, and so does a TCP connection's SYN. */
static bool is_repeated(struct view a, struct view b)
{
    if (view_equal(a, b)) {
        return true;
    }
    struct packet_info one;
    struct packet_info two;
    uint8_t copies[2][PACKET_INNER_MTU];
    if (a.len > PACKET_INNER_MTU || b.len > PACKET_INNER_MTU) {
        return false;
    }
    memcpy(copies[0], a.at, a.len);
    memcpy(copies[1], b.at, b.len);
    struct packet first = packet_of((struct span){copies[0], a.len}, 0, a.len);
    struct packet second = packet_of((struct span){copies[1], b.len}, 0, b.len);
    return packet_parse(&first, &one) == DROP_NONE && packet_parse(&second, &two) == DROP_NONE &&
           one.kind == PACKET_TCP && two.kind == PACKET_TCP && one.tcp_flags == PACKET_TCP_SYN &&
           two.tcp_flags == PACKET_TCP_SYN && ip_equal(&one.source, &two.source) &&
           ip_equal(&one.destination, &two.destination) && one.source_port == two.source_port &&
           one.destination_port == two.destination_port;
}

void client_queue_put(struct sim_client *client, struct client_queue *queue, struct view packet,
                      uint32_t limit)
{
    for (struct client_packet *at = queue->first; client_is_head(client) && at != NULL;
         at = at->next) {
        if (at->len == packet.len && is_repeated((struct view){at->bytes, at->len}, packet)) {
            memcpy(at->bytes, packet.at, packet.len);
            return;
        }
    }
    client->counters.buffered++;
    if (queue->count == limit) {
        free(client_queue_take(queue));
        client->counters.buffer_drops++;
    }
    struct client_packet *entry = malloc(sizeof(*entry) + packet.len);
    ASSERT(entry != NULL);
    entry->next = NULL;
    entry->len = packet.len;
    memcpy(entry->bytes, packet.at, packet.len);
    if (queue->last == NULL) {
        queue->first = entry;
    } else {
        queue->last->next = entry;
    }
    queue->last = entry;
    queue->count++;
}

void client_queue_clear(struct sim_client *client, struct client_queue *queue)
{
    struct client_packet *packet = NULL;
    while ((packet = client_queue_take(queue)) != NULL) {
        client->counters.buffer_drops++;
        free(packet);
    }
}

struct sock_addr client_local(const struct sim_client *client, enum ip_family family)
{
    return sock_addr_of(family == IP_V4 ? client->host.ipv4 : client->host.ipv6,
                        client->config.port);
}

void client_random_txn(struct sim_client *client, struct stun_txn *txn)
{
    rng_bytes(&client->rng, txn->bytes, sizeof txn->bytes);
}

/* ---- life ---- */

static void begin(struct sim_client *client, struct clock_pair now, struct sim_outbox *out)
{
    client->now = now;
    client->out = out;
}

static void start(struct sim_client *client, struct clock_pair now)
{
    static const uint8_t no_key[32];
    struct x25519_private key;
    memcpy(key.bytes, client->config.private_key, sizeof key.bytes);
    if (memcmp(key.bytes, no_key, sizeof no_key) == 0) {
        rng_bytes(&client->rng, key.bytes, sizeof key.bytes);
    }
    wg_node_init(&client->node, &key, &now, HANDSHAKES_PER_S);
    client->link_id_next = rng_u32(&client->rng) & WG_PEER_ID_MAX;
    client->portal.backoff = DURATION_MS(500);
    client->portal.retry_at = now.boot;
    client->started = true;
}

static void add_addresses(struct sim_client *client)
{
    const struct ip_addr *ips[2] = {&client->host.ipv4, &client->host.ipv6};
    for (size_t i = 0; i < 2; i++) {
        if (ips[i]->family != IP_NONE) {
            sim_put_bind(client->out, sock_addr_of(*ips[i], client->config.port));
        }
    }
}

static void remove_addresses(struct sim_client *client)
{
    const struct ip_addr *ips[2] = {&client->host.ipv4, &client->host.ipv6};
    for (size_t i = 0; i < 2; i++) {
        if (ips[i]->family != IP_NONE) {
            sim_put_unbind(client->out, sock_addr_of(*ips[i], client->config.port));
        }
    }
}

static void reset(struct sim_client *client)
{
    for (uint32_t i = 0; i < CLIENT_LINKS_MAX; i++) {
        if (client->links[i].used) {
            client_link_close(client, &client->links[i], "reset");
        }
    }
    client_relays_clear(client);
    client_portal_drop(client);
    client->portal.backoff = DURATION_MS(500);
    client->portal.retry_at = client->now.boot;
}

static void handle_addresses(void *self, struct clock_pair now,
                             const struct sim_host_addresses *addresses, struct sim_outbox *out)
{
    struct sim_client *client = self;
    begin(client, now, out);
    if (client->ended) {
        return;
    }
    if (!client->started) {
        start(client, now);
        client->host = *addresses;
        add_addresses(client);
        client_portal_open(client);
        return;
    }
    if (ip_equal(&client->host.ipv4, &addresses->ipv4) &&
        ip_equal(&client->host.ipv6, &addresses->ipv6)) {
        return;
    }
    remove_addresses(client);
    client->host = *addresses;
    add_addresses(client);
    reset(client);
    client_portal_open(client);
}

static void handle_inner(struct sim_client *client, const struct sim_datagram *datagram)
{
    struct stun_msg msg;
    if (stun_is_message(datagram->bytes)) {
        if (stun_msg_decode(datagram->bytes, &msg) != DROP_NONE) {
            client->counters.bad_datagrams++;
            return;
        }
        for (uint32_t i = 0; i < CLIENT_LINKS_MAX; i++) {
            if (client->links[i].used &&
                client_ice_handle(client, &client->links[i], datagram, &msg)) {
                return;
            }
        }
        client->counters.bad_datagrams++;
        return;
    }
    if (!client_link_wireguard(client, datagram)) {
        client->counters.bad_datagrams++;
    }
}

static void handle_datagram(void *self, struct clock_pair now, const struct sim_datagram *datagram,
                            struct sim_outbox *out)
{
    struct sim_client *client = self;
    begin(client, now, out);
    struct client_inner inner = {0};
    if (!client->started || client->ended || datagram->bytes.len > 2048) {
        return;
    }
    if (!client_relay_handle(client, datagram, &inner)) {
        handle_inner(client, inner.is_data ? &inner.datagram : datagram);
    }
    client_links_timeout(client);
}

static void handle_stream(void *self, struct clock_pair now,
                          const struct gateway_stream_event *event, struct sim_outbox *out)
{
    struct sim_client *client = self;
    begin(client, now, out);
    if (client->started && !client->ended) {
        client_portal_handle(client, event);
        client_links_timeout(client);
    }
}

static void handle_tun(void *self, struct clock_pair now, struct view packet,
                       struct sim_outbox *out)
{
    sim_client_send_ip(self, now, packet, out);
}

static void handle_timeout(void *self, struct clock_pair now, struct sim_outbox *out)
{
    struct sim_client *client = self;
    begin(client, now, out);
    if (client->started && !client->ended) {
        client_portal_timeout(client);
        client_relays_timeout(client);
        client_links_timeout(client);
    }
}

static struct wake poll_timeout(const void *self)
{
    const struct sim_client *client = self;
    if (!client->started || client->ended) {
        return WAKE_NEVER;
    }
    struct wake wake = client_portal_wake(client);
    wake = wake_min(wake, client_relays_wake(client));
    return wake_min(wake, client_links_wake(client));
}

/* Frees what waits and forgets everything but the configuration and the observer. */
static void clear(struct sim_client *client)
{
    client_portal_free(client);
    client_flow_clear(client);
    for (uint32_t i = 0; i < CLIENT_LINKS_MAX; i++) {
        client_queue_clear(client, &client->links[i].waiting);
        if (client->links[i].used) {
            wg_peer_wipe(&client->links[i].peer);
        }
    }
}

static void restart(void *self, struct clock_pair now, const uint8_t seed[32])
{
    struct sim_client *client = self;
    clear(client);
    struct kept {
        struct sim_client_config config;
        struct sim_client_counters counters;
        void (*observe)(void *self, const struct sim_client_event *event);
        void *observe_self;
        uint32_t stream_last; /* ids are never reused, not even by the next life */
    } kept = {client->config, client->counters, client->observe, client->observe_self,
              client->portal.stream_last};
    memset(client, 0, sizeof *client);
    client->config = kept.config;
    client->counters = kept.counters;
    client->observe = kept.observe;
    client->observe_self = kept.observe_self;
    client->portal.stream_last = kept.stream_last;
    client->now = now;
    rng_init(&client->rng, seed);
}

static void check(const void *self)
{
    const struct sim_client *client = self;
    for (uint32_t i = 0; i < CLIENT_LINKS_MAX; i++) {
        const struct client_link *link = &client->links[i];
        if (!link->used) {
            continue;
        }
        ASSERT(link->pairs_count <= CLIENT_PAIRS_MAX);
        ASSERT(link->has_path || link->state == CLIENT_CONNECTING);
        for (uint32_t k = 0; k < link->pairs_count; k++) {
            ASSERT(link->pairs[k].local < link->locals_count);
            ASSERT(link->pairs[k].remote < link->remotes_count);
        }
        wg_peer_check(&link->peer);
    }
}

static const struct sim_node_ops CLIENT_OPS = {
    .kind = "client",
    .handle_addresses = handle_addresses,
    .handle_datagram = handle_datagram,
    .handle_stream = handle_stream,
    .handle_tun = handle_tun,
    .handle_timeout = handle_timeout,
    .poll_timeout = poll_timeout,
    .restart = restart,
    .check = check,
};

struct sim_client *sim_client_new(const struct sim_client_config *config)
{
    struct sim_client *client = calloc(1, sizeof(*client));
    ASSERT(client != NULL);
    client->config = *config;
    if (client->config.port == 0) {
        client->config.port = SIM_CLIENT_PORT_HEAD;
    }
    rng_init(&client->rng, config->seed);
    return client;
}

void sim_client_free(struct sim_client *client)
{
    if (client != NULL) {
        clear(client);
        free(client);
    }
}

struct sim_node sim_client_node(struct sim_client *client)
{
    return (struct sim_node){&CLIENT_OPS, client};
}

void sim_client_observe(struct sim_client *client,
                        void (*observe)(void *self, const struct sim_client_event *event),
                        void *self)
{
    client->observe = observe;
    client->observe_self = self;
}

void sim_client_send_ip(struct sim_client *client, struct clock_pair now, struct view packet,
                        struct sim_outbox *out)
{
    begin(client, now, out);
    if (client->started && !client->ended) {
        client_flow_outbound(client, packet);
        client_links_timeout(client);
    }
}

void sim_client_shutdown(struct sim_client *client, struct clock_pair now, struct sim_outbox *out)
{
    begin(client, now, out);
    if (!client->started || client->ended) {
        return;
    }
    for (uint32_t i = 0; i < CLIENT_LINKS_MAX; i++) {
        struct client_link *link = &client->links[i];
        if (link->used) {
            client_link_goodbye(client, link);
            client_link_close(client, link, "shutdown");
        }
    }
    client_relays_delete(client);
    client_portal_end(client);
    remove_addresses(client);
    client->ended = true;
}

void sim_client_obey(struct sim_client *client, struct clock_pair now, struct sim_outbox *out)
{
    begin(client, now, out);
    client->config.lawless = false;
    client_resources_obey(client);
}

void sim_client_reset(struct sim_client *client, struct clock_pair now, struct sim_outbox *out)
{
    begin(client, now, out);
    if (client->started && !client->ended) {
        reset(client);
        client_portal_open(client);
    }
}

void sim_client_reconnect_portal(struct sim_client *client, struct clock_pair now,
                                 struct sim_outbox *out)
{
    begin(client, now, out);
    if (client->started && !client->ended) {
        client_portal_drop(client);
        client_portal_open(client);
    }
}

void sim_client_forget_gateway(struct sim_client *client, struct clock_pair now,
                               const struct uuid *gateway, struct sim_outbox *out)
{
    begin(client, now, out);
    struct client_link *link = client_link_find(client, gateway);
    if (link != NULL) {
        client_link_close(client, link, "forgotten");
    }
}

bool sim_client_is_online(const struct sim_client *client)
{
    return client->online;
}

const struct sim_client_counters *sim_client_counters(const struct sim_client *client)
{
    return &client->counters;
}

struct sim_client_status sim_client_status(const struct sim_client *client, struct clock_pair now,
                                           const struct uuid *gateway)
{
    struct sim_client_status status = {.unheard = TIME_NEVER};
    for (uint32_t i = 0; i < CLIENT_LINKS_MAX; i++) {
        const struct client_link *link = &client->links[i];
        if (link->used && uuid_equal(&link->gateway, gateway)) {
            status.exists = true;
            status.has_path = link->has_path;
            status.relayed = link->has_path && (link->path.relayed || link->path.peer_relayed);
            status.has_session = wg_peer_has_session(&link->peer, now.boot);
            status.idle = link->state == CLIENT_IDLE;
            status.remote = link->path.remote;
            if (!instant_is_never(link->peer.no_reply_at)) {
                status.unheard.ns = link->peer.no_reply_at.ns - WG_NO_REPLY_S * NS_PER_S;
            }
        }
    }
    return status;
}

struct sim_host_addresses sim_client_tunnel(const struct sim_client *client)
{
    return (struct sim_host_addresses){client->tunnel_v4, client->tunnel_v6};
}

const uint8_t *sim_client_public_key(const struct sim_client *client)
{
    return client->node.own.public_key.bytes;
}

size_t sim_client_routes(const struct sim_client *client, struct ip_prefix *out, size_t max,
                         bool *internet)
{
    static const char *const fixed[] = {"100.96.0.0/11", "fd00:2021:1111:8000::/107",
                                        "100.64.0.0/11", "fd00:2021:1111::/107"};
    size_t count = 0;
    *internet = false;
    for (size_t i = 0; i < ARRAY_COUNT(fixed) && count < max; i++) {
        bool good = ip_prefix_parse(view_text(fixed[i]), &out[count]);
        ASSERT(good);
        count++;
    }
    for (uint32_t i = 0; i < CLIENT_RESOURCES_MAX; i++) {
        const struct client_resource *resource = &client->resources[i];
        *internet = *internet || (resource->used && resource->kind == SIM_RESOURCE_INTERNET);
        if (resource->used && resource->kind == SIM_RESOURCE_CIDR && count < max) {
            out[count] = resource->prefix;
            count++;
        }
    }
    return count;
}
