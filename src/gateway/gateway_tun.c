#include "gateway/gateway_internal.h"

#include <string.h>

#include "packet/packet_rewrite.h"
#include "stun/channel_data.h"

#define COUNTERS_LEFT 20U /* of a session that FAULT_COUNTER_LAST uses up */

static_assert(GATEWAY_TUN_BATCH_MAX <= UINT8_MAX, "the last packet of a batch has 8 bits");
static_assert(GATEWAY_TUN_SEGMENTS_MAX >= PACKET_SEGMENTS_MAX, "any packet alone fits");

/* ---- the transmit memory ---- */

enum drop_reason gateway_seal_begin(struct gateway *gw, struct gateway_connection *c,
                                    uint32_t count, uint8_t ecn, struct gateway_sealer *sealer)
{
    sealer->connection = c;
    sealer->now = gw->now.boot;
    sealer->channel = 0;
    sealer->data_bytes = 0;
    if (!c->has_path) {
        return DROP_NO_PATH;
    }
    sealer->head =
        (struct gateway_train){.local = c->path.local, .remote = c->path.remote, .ecn = ecn};
    if (c->path.relayed) {
        if (!gateway_relay_is_used(gw, c->relay)) {
            return DROP_NO_CHANNEL;
        }
        struct turn_client *turn = &gw->relays[c->relay].turn;
        bool bound = turn_client_channel(turn, &c->path.remote, gw->now.boot, &sealer->channel);
        gateway_relay_touch(gw, c->relay);
        sealer->head.local = (struct sock_addr){0};
        sealer->head.remote = turn_client_active_server(turn);
        if (!bound || sealer->head.remote.ip.family == IP_NONE) {
            return DROP_NO_CHANNEL;
        }
        turn_client_note_sent(turn, gw->now.boot);
    }
    if (FAULT(gw->rng.fault, FAULT_COUNTER_LAST)) {
        wg_peer_use_up(&c->wg, COUNTERS_LEFT);
    }
    return wg_peer_seal_begin(&c->wg, count, gw->now.boot, &sealer->seal);
}

static size_t header_size(const struct gateway_sealer *sealer)
{
    return (sealer->channel != 0 ? CHANNEL_DATA_HEADER_SIZE : 0) + WG_DATA_HEADER_SIZE;
}

uint8_t *gateway_seal_room(struct gateway *gw, struct gateway_sealer *sealer, size_t len)
{
    size_t header = header_size(sealer);
    ASSERT(GATEWAY_TX_SIZE - gw->tx_used >= header + len + WG_TAG_SIZE);
    return gw->tx + gw->tx_used + header;
}

/* Appends to the newest train when the datagram fits into it, else opens one. */
static void add_datagram(struct gateway *gw, const struct gateway_train *head, size_t size)
{
    uint8_t *at = gw->tx + gw->tx_used;
    struct gateway_train_record *last =
        gw->trains_count > gw->trains_next ? &gw->trains[gw->trains_count - 1] : NULL;
    gw->tx_used += size;
    bool alone = FAULT(gw->rng.fault, FAULT_TRAIN_ALONE);
    if (last != NULL && !last->closed && !alone &&
        last->train.bytes.at + last->train.bytes.len == at &&
        sock_addr_equal(&last->train.remote, &head->remote) &&
        sock_addr_equal(&last->train.local, &head->local) && last->train.ecn == head->ecn &&
        size <= last->train.segment_size && last->segments < GATEWAY_TRAIN_SEGMENTS &&
        last->train.bytes.len + size <= GATEWAY_TRAIN_BYTES) {
        last->train.bytes.len += size;
        last->closed = size < last->train.segment_size; /* a short one is always the last */
        last->segments++;
        return;
    }
    ASSERT(gw->trains != NULL);
    ASSERT(gw->trains_count < GATEWAY_TRAINS_MAX);
    struct gateway_train_record *record = &gw->trains[gw->trains_count++];
    record->train = *head;
    record->train.bytes = (struct view){at, size};
    record->train.segment_size = (uint16_t)size;
    record->segments = 1;
    record->closed = false;
}

void gateway_seal_commit(struct gateway *gw, struct gateway_sealer *sealer, uint8_t *plaintext,
                         size_t len)
{
    uint8_t *message = plaintext - WG_DATA_HEADER_SIZE;
    size_t size = header_size(sealer) + len + WG_TAG_SIZE;
    ASSERT(plaintext == gw->tx + gw->tx_used + header_size(sealer));
    if (gw->seal_count == GATEWAY_AEAD_BATCH || FAULT(gw->rng.fault, FAULT_SEAL_BATCH_ONE)) {
        gateway_seal_flush(gw);
    }
    wg_seal_next(&sealer->seal, message, len, &gw->seal_items[gw->seal_count++]);
    if (sealer->channel != 0) {
        channel_data_put_header(message - CHANNEL_DATA_HEADER_SIZE, sealer->channel,
                                len + WG_DATA_OVERHEAD);
    }
    sealer->data_bytes += len;
    add_datagram(gw, &sealer->head, size);
}

void gateway_seal_end(struct gateway *gw, struct gateway_sealer *sealer)
{
    wg_peer_seal_finish(&sealer->connection->wg, sealer->now, sealer->data_bytes);
    gateway_connection_carried(gw, sealer->connection);
}

void gateway_seal_flush(struct gateway *gw)
{
    if (gw->seal_count > 0) {
        aead_seal_batch(&gw->aead, gw->seal_items, gw->seal_count);
        gw->counters.aead_sealed += gw->seal_count;
        gw->counters.aead_seal_batches++;
        gw->seal_count = 0;
    }
}

/* True when one more message fits into what one input may leave behind. Only answers and farewells
 * to very many clients at once reach this bound; the memory holds any batch from the TUN device. */
static bool has_room(const struct gateway *gw, size_t len)
{
    return gw->trains_count < GATEWAY_TRAINS_MAX &&
           GATEWAY_TX_SIZE - gw->tx_used >= len + CHANNEL_DATA_HEADER_SIZE + WG_DATA_OVERHEAD;
}

void gateway_seal_packet(struct gateway *gw, struct gateway_connection *c, struct view packet)
{
    struct gateway_sealer sealer;
    enum drop_reason reason = DROP_WG_QUEUE;
    if (has_room(gw, packet.len)) {
        reason = gateway_seal_begin(gw, c, 1, 0, &sealer);
    }
    if (reason != DROP_NONE) {
        gateway_drop(gw, reason, NULL);
        return;
    }
    uint8_t *room = gateway_seal_room(gw, &sealer, packet.len);
    memcpy(room, packet.at, packet.len);
    gateway_seal_commit(gw, &sealer, room, packet.len);
    gateway_seal_end(gw, &sealer);
}

void gateway_send_raw(struct gateway *gw, const struct gateway_train *to, uint32_t relay,
                      struct view message)
{
    struct gateway_train head = *to;
    uint16_t number = 0;
    if (!has_room(gw, message.len)) {
        gateway_drop(gw, DROP_WG_QUEUE, &to->remote);
        return;
    }
    if (relay != GATEWAY_NONE) {
        struct turn_client *turn = &gw->relays[relay].turn;
        if (!turn_client_channel(turn, &to->remote, gw->now.boot, &number)) {
            gateway_drop(gw, DROP_NO_CHANNEL, &to->remote);
            return;
        }
        head.local = (struct sock_addr){0};
        head.remote = turn_client_active_server(turn);
        gateway_relay_touch(gw, relay);
    }
    size_t header = number != 0 ? CHANNEL_DATA_HEADER_SIZE : 0;
    if (number != 0) {
        channel_data_put_header(gw->tx + gw->tx_used, number, message.len);
    }
    memcpy(gw->tx + gw->tx_used + header, message.at, message.len);
    add_datagram(gw, &head, header + message.len);
}

void gateway_tun_emit(struct gateway *gw, struct view bytes)
{
    if (gw->tun_count == GATEWAY_TUN_OUT_MAX) {
        gateway_drop(gw, DROP_WG_QUEUE, NULL);
        return;
    }
    gw->tun_out[gw->tun_count++] =
        (struct gateway_tun_record){.bytes = bytes, .slices = 1, .inner_bytes = bytes.len};
}

/* ---- TUN -> network ---- */

/* An answer of the policy to the sender in the resource network. */
static void reply_to_tun(struct gateway *gw, struct view reply)
{
    uint8_t *at = gw->tx + gw->tx_used;
    ASSERT(GATEWAY_TX_SIZE - gw->tx_used >= reply.len);
    memcpy(at, reply.at, reply.len);
    gw->tx_used += reply.len;
    gw->counters.icmp_generated++;
    gateway_tun_emit(gw, (struct view){at, reply.len});
}

/* Notes what the policy let through, behind what goes to the same connection already. */
static enum drop_reason forward(struct gateway *gw, struct packet *packet,
                                const struct gateway_offload *offload, uint32_t client,
                                const struct policy_result *result)
{
    struct gateway_connection *c = gateway_connection_of(gw, client);
    struct gateway_inbound *in = &gw->inbound[gw->inbound_count];
    struct packet_offload cut = {PACKET_GSO_NONE, offload->gso_size, packet->checksum_partial};
    if (c == NULL) {
        return DROP_NO_PATH;
    }
    if (offload->gso != GATEWAY_GSO_NONE) {
        cut.gso = packet_gso_of(&result->info);
    }
    enum drop_reason reason = packet_segments_init(&in->segments, packet, &result->info, &cut);
    if (reason != DROP_NONE) {
        return reason;
    }
    in->segments.sums = gw->sums;
    if (packet_segment_size(&in->segments, 0) > GATEWAY_INNER_MTU) {
        return DROP_IP_TOO_BIG; /* no other segment is longer */
    }
    uint32_t places = in->segments.count;
    if (in->segments.header_size > GATEWAY_HEADERS_USUAL) {
        places *= 1 + (uint32_t)in->segments.header_size / GATEWAY_HEADERS_USUAL;
    }
    if (places > GATEWAY_TUN_SEGMENTS_MAX - gw->inbound_places) {
        return DROP_WG_QUEUE;
    }
    gw->inbound_places += places;
    uint32_t index = gw->inbound_count++;
    uint32_t connection = (uint32_t)(c - gw->connections);
    gw->inbound_connections[index] = connection;
    in->next = GATEWAY_NONE;
    in->flow = GATEWAY_NONE;
    uint32_t last = gw->inbound_last[connection]; /* or of an earlier batch */
    in->is_first = last >= index || gw->inbound_connections[last] != connection;
    if (!in->is_first) {
        gw->inbound[last].next = index;
    }
    gw->inbound_last[connection] = (uint8_t)index;
    return DROP_NONE;
}

static void judge(struct gateway *gw, const struct gateway_tun_packet *in, struct policy_hint hint)
{
    uint8_t answer[POLICY_REPLY_SIZE_MAX];
    uint32_t client;
    struct span room = {in->bytes.at - GATEWAY_TUN_HEADROOM, in->bytes.len + GATEWAY_TUN_HEADROOM};
    struct packet packet = packet_of(room, GATEWAY_TUN_HEADROOM, in->bytes.len);
    struct policy_result result; /* the policy fills the rest */
    result.hint = hint;
    result.buffer = (struct span){answer, sizeof(answer)};
    result.gso_size = in->offload.gso == GATEWAY_GSO_NONE ? 0 : in->offload.gso_size;
    packet.checksum_partial = in->offload.checksum_needed;
    gw->counters.tun_in_packets++;
    gw->counters.tun_in_bytes += in->bytes.len;
    struct packet_info came = {0};
    bool recorded = gw->limits.flows > 0 && packet_parse(&packet, &came) == DROP_NONE;
    enum drop_reason reason = DROP_NONE;
    switch (policy_inbound(gw->policy, &packet, gw->now, &client, &result)) {
    case POLICY_FORWARD:
        reason = forward(gw, &packet, &in->offload, client, &result);
        if (reason == DROP_NONE && recorded) {
            gw->inbound[gw->inbound_count - 1].flow = gateway_flow_in(gw, client, &came);
        }
        break;
    case POLICY_REPLY:
        reply_to_tun(gw, result.reply);
        reason = result.reason;
        break;
    case POLICY_DROP:
        reason = result.reason;
        break;
    }
    if (reason != DROP_NONE) {
        gateway_drop(gw, reason, NULL);
    }
}

/* Cuts a packet to the tunnel's size and seals the parts. */
static void seal_segments(struct gateway *gw, struct gateway_sealer *sealer,
                          const struct packet_segments *segments)
{
    sealer->head.ecn = segments->info.ecn;
    for (uint32_t i = 0; i < segments->count; i++) {
        size_t size = packet_segment_size(segments, i);
        uint8_t *room = gateway_seal_room(gw, sealer, size);
        (void)packet_segment_write(segments, i, (struct span){room, size});
        gateway_seal_commit(gw, sealer, room, size);
    }
}

static void record(struct gateway *gw, const struct gateway_inbound *in)
{
    const struct packet_segments *segments = &in->segments;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < segments->count; i++) {
        bytes += packet_segment_size(segments, i) - segments->info.payload_offset;
    }
    gateway_flow_received(gw, in->flow, &segments->info, segments->count, bytes);
}

/* Seals everything that the batch holds for one connection, in order, starting with `first`. */
static void seal_connection(struct gateway *gw, uint32_t first)
{
    struct gateway_connection *c = &gw->connections[gw->inbound_connections[first]];
    struct gateway_sealer sealer;
    uint32_t count = 0;
    for (uint32_t i = first; i != GATEWAY_NONE; i = gw->inbound[i].next) {
        count += gw->inbound[i].segments.count;
    }
    enum drop_reason reason = gateway_seal_begin(gw, c, count, 0, &sealer);
    for (uint32_t i = first; i != GATEWAY_NONE; i = gw->inbound[i].next) {
        if (reason != DROP_NONE) {
            gateway_drop(gw, reason, NULL);
        } else {
            seal_segments(gw, &sealer, &gw->inbound[i].segments);
            gw->counters.tun_in_segments += gw->inbound[i].segments.count;
            if (gw->inbound[i].flow != GATEWAY_NONE) {
                record(gw, &gw->inbound[i]);
            }
        }
    }
    if (reason == DROP_NONE) {
        gateway_seal_end(gw, &sealer);
    }
}

/* Judges up to GATEWAY_LOOK_AHEAD_MAX packets. */
static void judge_some(struct gateway *gw, const struct gateway_tun_packet *packets, size_t count)
{
    struct view views[GATEWAY_LOOK_AHEAD_MAX];
    memset(gw->hints, 0, count * sizeof(gw->hints[0]));
    if (count < GATEWAY_LOOK_AHEAD_MIN || FAULT(gw->rng.fault, FAULT_NO_LOOK_AHEAD)) {
        for (size_t i = 0; i < count; i++) {
            judge(gw, &packets[i], gw->hints[i]);
        }
        return;
    }
    for (size_t i = 0; i < count; i++) {
        views[i] = view_of_span(packets[i].bytes);
    }
    policy_look_ahead(gw->policy, views, count, false, gw->hints);
    for (size_t i = 0; i < count + GATEWAY_FETCH_AHEAD; i++) {
        gateway_connection_fetch_later(gw, gw->hints, count, i);
        if (i >= GATEWAY_FETCH_AHEAD) {
            judge(gw, &packets[i - GATEWAY_FETCH_AHEAD], gw->hints[i - GATEWAY_FETCH_AHEAD]);
        }
    }
}

/* All are judged before any is sealed, so that packets of one client stand together in the transmit
 * memory and make long trains, however the clients alternate. Nothing is reordered within one. */
void gateway_handle_tun(struct gateway *gw, struct clock_pair now,
                        const struct gateway_tun_packet *packets, size_t count)
{
    ASSERT(count <= GATEWAY_TUN_BATCH_MAX);
    gateway_begin(gw, now);
    gw->inbound_count = 0;
    gw->inbound_places = 0;
    for (size_t i = 0; i < count; i += GATEWAY_LOOK_AHEAD_MAX) {
        size_t left = count - i;
        judge_some(gw, packets + i, left < GATEWAY_LOOK_AHEAD_MAX ? left : GATEWAY_LOOK_AHEAD_MAX);
    }
    for (uint32_t i = 0; i < gw->inbound_count; i++) {
        if (gw->inbound[i].is_first) {
            seal_connection(gw, i);
        }
    }
    gateway_seal_flush(gw);
}
