#include "sim/sim_client_bulk.h"

#include <stdlib.h>

#include "packet/packet_segment.h"
#include "sim/sim_client_internal.h"
#include "sim/sim_trains.h"

#define BATCH      256U /* messages sealed or opened together */
#define GROUPS_MAX 32U

struct bulk_open {
    struct wg_open open;
    struct client_link *link;
};

/* Consecutive packets of one flow on their way to the TUN device. */
struct bulk_group {
    struct packet_group group;
    struct gateway_tun_group out;
};

struct sim_client_bulk {
    struct sim_client *client;
    const struct aead_backend *aead;
    struct sim_client_sink sink;
    bool tcp;
    bool udp;
    struct sim_trains trains;
    struct aead_item items[BATCH]; /* of one direction at a time */
    uint32_t seal_count;
    struct bulk_open opens[BATCH];
    uint32_t open_count;
    struct bulk_group groups[GROUPS_MAX];
    uint32_t groups_count;
};

struct sim_client_bulk *sim_client_bulk_new(struct sim_client *client,
                                            const struct aead_backend *aead,
                                            const struct sim_client_sink *sink)
{
    struct sim_client_bulk *bulk = calloc(1, sizeof *bulk);
    if (bulk == NULL || !sim_trains_init(&bulk->trains)) {
        free(bulk);
        return NULL;
    }
    bulk->client = client;
    bulk->aead = aead;
    bulk->sink = *sink;
    return bulk;
}

void sim_client_bulk_free(struct sim_client_bulk *bulk)
{
    if (bulk != NULL) {
        sim_trains_free(&bulk->trains);
        free(bulk);
    }
}

void sim_client_bulk_offload(struct sim_client_bulk *bulk, bool tcp, bool udp)
{
    bulk->tcp = tcp;
    bulk->udp = udp;
}

/* False when the node is not there. */
static bool begin(struct sim_client_bulk *bulk, struct clock_pair now, struct sim_outbox *out)
{
    struct sim_client *client = bulk->client;
    client->now = now;
    client->out = out;
    return client->started && !client->ended;
}

/* ---- host to network ---- */

static void send_all(struct sim_client_bulk *bulk)
{
    aead_seal_batch(bulk->aead, bulk->items, bulk->seal_count);
    bulk->seal_count = 0;
    for (uint32_t i = 0; i < bulk->trains.count; i++) {
        bulk->sink.send(bulk->sink.self, &bulk->trains.trains[i]);
    }
    sim_trains_clear(&bulk->trains);
}

/* Where the link's messages go now; *number is 0 on a direct path. */
static bool way_of(struct sim_client *client, const struct client_link *link,
                   struct gateway_train *head, uint16_t *number)
{
    *head = (struct gateway_train){.local = link->path.local, .remote = link->path.remote};
    *number = 0;
    if (!link->path.relayed) {
        return true;
    }
    if (link->path.relay == CLIENT_NONE ||
        !client_relay_channel(client, link->path.relay, &link->path.remote, number,
                              &head->remote)) {
        return false;
    }
    head->local = client_local(client, head->remote.ip.family);
    return true;
}

static void seal_segment(struct sim_client_bulk *bulk, struct wg_seal *seal,
                         const struct gateway_train *head, uint16_t number,
                         const struct packet_segments *segments, uint32_t index)
{
    size_t len = packet_segment_size(segments, index);
    size_t front = number == 0 ? 0 : CHANNEL_DATA_HEADER_SIZE;
    size_t size = front + WG_DATA_OVERHEAD + len;
    if (bulk->seal_count == BATCH || !sim_trains_fits(&bulk->trains, size)) {
        send_all(bulk);
    }
    uint8_t *at = sim_trains_room(&bulk->trains);
    uint8_t *message = at + front;
    if (number != 0) {
        channel_data_put_header(at, number, WG_DATA_OVERHEAD + len);
    }
    (void)packet_segment_write(segments, index, (struct span){message + WG_DATA_HEADER_SIZE, len});
    wg_seal_next(seal, message, len, &bulk->items[bulk->seal_count++]);
    sim_trains_add(&bulk->trains, head, size);
}

/* True when the tunnel took the packet. */
static bool seal_packet(struct sim_client_bulk *bulk, struct client_link *link,
                        const struct packet_segments *segments)
{
    struct sim_client *client = bulk->client;
    struct gateway_train head;
    struct wg_seal seal;
    uint16_t number = 0;
    if (!way_of(client, link, &head, &number) ||
        wg_peer_seal_begin(&link->peer, segments->count, client->now.boot, &seal) != DROP_NONE) {
        return false;
    }
    size_t bytes = 0;
    for (uint32_t i = 0; i < segments->count; i++) {
        bytes += packet_segment_size(segments, i);
        seal_segment(bulk, &seal, &head, number, segments, i);
    }
    wg_peer_seal_finish(&link->peer, client->now.boot, bytes);
    client->counters.sent += segments->count;
    client_link_wake_up(client, link);
    link->active_out_at = client->now.boot;
    return true;
}

bool sim_client_bulk_tun(struct sim_client_bulk *bulk, struct clock_pair now,
                         const struct gateway_tun_packet *packet, struct sim_outbox *out)
{
    struct packet_info info;
    struct packet_segments segments;
    struct packet parsed = packet_of(packet->bytes, 0, packet->bytes.len);
    struct packet_offload offload = {(enum packet_gso)packet->offload.gso, packet->offload.gso_size,
                                     packet->offload.checksum_needed};
    parsed.checksum_partial = packet->offload.checksum_needed;
    if (!begin(bulk, now, out) || packet_parse(&parsed, &info) != DROP_NONE) {
        return false;
    }
    struct client_link *link = client_flow_open(bulk->client, &info);
    return link != NULL && packet_segments_init(&segments, &parsed, &info, &offload) == DROP_NONE &&
           packet_segment_size(&segments, 0) <= PACKET_INNER_MTU &&
           seal_packet(bulk, link, &segments);
}

/* ---- network to host ---- */

static void deliver_all(struct sim_client_bulk *bulk)
{
    for (uint32_t i = 0; i < bulk->groups_count; i++) {
        struct bulk_group *g = &bulk->groups[i];
        struct packet_offload offload = packet_group_finish(&g->group);
        g->out.slices[0] = packet_view(&g->group.first);
        g->out.offload = (struct gateway_offload){(enum gateway_gso)offload.gso, offload.gso_size,
                                                  offload.checksum_needed};
        bulk->sink.tun(bulk->sink.self, &g->out);
    }
    bulk->groups_count = 0;
}

/* A packet may join only the newest group of its flow. */
static bool join(struct sim_client_bulk *bulk, const struct packet *packet,
                 const struct packet_info *info)
{
    for (uint32_t i = bulk->groups_count; i > 0; i--) {
        struct bulk_group *g = &bulk->groups[i - 1];
        if (!packet_group_is_flow(&g->group, info)) {
            continue;
        }
        if (!packet_group_append(&g->group, packet, info)) {
            return false;
        }
        g->out.slices[g->out.slices_count++] = packet_payload(packet, info);
        return true;
    }
    return false;
}

static void coalesce(struct sim_client_bulk *bulk, const struct packet *packet,
                     const struct packet_info *info)
{
    if (join(bulk, packet, info)) {
        return;
    }
    if (bulk->groups_count == GROUPS_MAX) {
        deliver_all(bulk);
    }
    bool able = (info->kind == PACKET_TCP && bulk->tcp) || (info->kind == PACKET_UDP && bulk->udp);
    struct bulk_group *g = &bulk->groups[bulk->groups_count++];
    packet_group_start(&g->group, packet, info, able ? GATEWAY_TUN_SLICES_MAX : 1U);
    g->out.slices_count = 1;
}

/* Takes one decrypted packet. */
static void deliver(struct sim_client_bulk *bulk, struct client_link *link, struct span bytes)
{
    struct sim_client *client = bulk->client;
    struct packet_info info;
    struct packet packet = packet_of(bytes, 0, bytes.len);
    if (p2p_is_control(view_of_span(bytes)) || packet_parse(&packet, &info) != DROP_NONE ||
        info.kind == PACKET_ICMP_ERROR || client_dns_is_answer(&info) ||
        !client_flow_is_source(client, link, &info.source)) {
        deliver_all(bulk);
        client_flow_inbound(client, link, view_of_span(bytes));
        return;
    }
    client->counters.received++;
    coalesce(bulk, &packet, &info);
}

static void open_all(struct sim_client_bulk *bulk)
{
    struct sim_client *client = bulk->client;
    uint32_t count = bulk->open_count;
    for (uint32_t i = 0; i < count; i++) {
        bulk->items[i] = bulk->opens[i].open.item;
    }
    aead_open_batch(bulk->aead, bulk->items, count);
    bulk->open_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct bulk_open *slot = &bulk->opens[i];
        enum drop_reason reason = wg_peer_open_finish(&slot->link->peer, &slot->open,
                                                      bulk->items[i].ok, client->now.boot);
        if (reason != DROP_NONE) {
            client->counters.bad_datagrams++;
        } else if (client_link_opened(client, slot->link, &slot->open)) {
            deliver(bulk, slot->link, slot->open.plaintext);
        }
    }
    deliver_all(bulk);
}

bool sim_client_bulk_datagram(struct sim_client_bulk *bulk, struct clock_pair now,
                              const struct gateway_datagram *datagram, struct sim_outbox *out)
{
    struct sim_client *client = bulk->client;
    struct view bytes = view_of_span(datagram->bytes);
    struct client_inner inner = {0};
    struct sim_datagram whole = {datagram->local, datagram->remote, bytes, datagram->ecn};
    if (!begin(bulk, now, out)) {
        return false;
    }
    if (channel_data_is(bytes) && !client_relay_handle(client, &whole, &inner) && inner.is_data) {
        bytes = inner.datagram.bytes;
    }
    struct client_link *link = wg_msg_type(bytes) == WG_TYPE_DATA
                                   ? client_link_of_index(client, wg_msg_receiver_index(bytes))
                                   : NULL;
    struct span message = {datagram->bytes.at + (bytes.at - datagram->bytes.at), bytes.len};
    if (bulk->open_count == BATCH) {
        open_all(bulk);
    }
    struct bulk_open *slot = &bulk->opens[bulk->open_count];
    if (link == NULL ||
        wg_peer_open_begin(&link->peer, message, now.boot, &slot->open) != DROP_NONE) {
        return false;
    }
    slot->link = link;
    bulk->open_count++;
    return true;
}

void sim_client_bulk_flush(struct sim_client_bulk *bulk, struct clock_pair now,
                           struct sim_outbox *out)
{
    if (begin(bulk, now, out)) {
        send_all(bulk);
        open_all(bulk);
        client_links_timeout(bulk->client);
    }
}
