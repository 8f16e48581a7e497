#include "sim/sim_relay.h"

#include <stdlib.h>
#include <string.h>

#include "sim/sim_relay_internal.h"
#include "stun/channel_data.h"

#define RELAY_DATAGRAM_MAX 65507U /* bytes, the largest UDP payload over IPv4 */

/* ---- life ---- */

struct sim_relay *sim_relay_new(const struct sim_relay_config *config)
{
    struct sim_relay *relay = calloc(1, sizeof *relay);
    uint32_t slots =
        map_slots_for(SIM_RELAY_ALLOCATIONS_MAX) + 2U * map_slots_for(SIM_RELAY_CHANNELS_MAX);
    if (relay == NULL) {
        return NULL;
    }
    relay->slots = calloc(slots, sizeof *relay->slots);
    if (relay->slots == NULL) {
        free(relay);
        return NULL;
    }
    relay->config = *config;
    relay->config.port = config->port != 0 ? config->port : SIM_RELAY_PORT;
    relay->config.port_lowest =
        config->port_lowest != 0 ? config->port_lowest : SIM_RELAY_PORT_LOWEST;
    relay->config.port_highest =
        config->port_highest != 0 ? config->port_highest : SIM_RELAY_PORT_HIGHEST;
    ASSERT(relay->config.port_lowest <= relay->config.port_highest);
    rng_init(&relay->rng, config->seed);
    relay->key = (struct siphash_key){rng_u64(&relay->rng), rng_u64(&relay->rng)};
    if (config->secret[0] != '\0') {
        memcpy(relay->secret, config->secret, sizeof relay->secret);
        relay->secret[sizeof relay->secret - 1] = '\0';
    } else {
        relay_auth_renew_secret(relay);
    }
    relay_table_clear(relay, NULL);
    return relay;
}

void sim_relay_free(struct sim_relay *relay)
{
    if (relay != NULL) {
        free(relay->slots);
        free(relay);
    }
}

void sim_relay_forget(struct sim_relay *relay, struct sim_outbox *out)
{
    relay_table_clear(relay, out);
}

void sim_relay_forget_nonces(struct sim_relay *relay)
{
    memset(relay->nonces, 0, sizeof relay->nonces);
}

void sim_relay_restart(struct sim_relay *relay, const uint8_t seed[32], struct sim_outbox *out)
{
    relay_table_clear(relay, out);
    rng_init(&relay->rng, seed);
    relay_auth_renew_secret(relay);
}

void sim_relay_expire_channels(struct sim_relay *relay)
{
    for (uint32_t i = 0; i < relay->channels_high; i++) {
        if (relay->channels[i].used) {
            relay_channel_end(relay, &relay->channels[i]);
            relay->counters.channels_expired++;
        }
    }
}

struct sim_relay_faults *sim_relay_faults(struct sim_relay *relay)
{
    return &relay->faults;
}

const struct sim_relay_counters *sim_relay_counters(const struct sim_relay *relay)
{
    return &relay->counters;
}

const char *sim_relay_secret(const struct sim_relay *relay)
{
    return relay->secret;
}

uint32_t sim_relay_allocations(const struct sim_relay *relay)
{
    return relay->allocations_count;
}

void relay_send(struct sim_relay *relay, struct sim_outbox *out, const struct sim_datagram *d)
{
    if (relay->faults.silent) {
        relay->counters.dropped++;
        return;
    }
    sim_put_datagram(out, d->local, d->remote, d->bytes);
}

/* ---- data: client -> peer ---- */

static void send_to_peer(struct relay_call *call, const struct relay_allocation *allocation,
                         const struct sock_addr *peer, struct view payload)
{
    struct sim_relay *relay = call->relay;
    if (relay->faults.drop_data ||
        !relay_allocation_has(allocation, (enum ip_family)peer->ip.family)) {
        relay->counters.dropped++;
        return;
    }
    if (!instant_reached(call->now.boot, allocation->ready_at)) {
        relay->counters.deaf_dropped++;
        relay->counters.dropped++;
        return;
    }
    relay->counters.to_peer++;
    relay_send(
        relay, call->out,
        &(struct sim_datagram){.local = peer->ip.family == IP_V4 ? allocation->v4 : allocation->v6,
                               .remote = *peer,
                               .bytes = payload});
}

/* The bound channel that a client's ChannelData names, and what it carries; NULL: there is none. */
static const struct relay_channel *
named_channel(struct sim_relay *relay, const struct sim_datagram *datagram, struct view *payload)
{
    struct channel_data header;
    struct view bytes = datagram->bytes;
    uint16_t last = relay_is_coturn(relay) ? CHANNEL_NUMBER_RFC_MAX : CHANNEL_NUMBER_MAX;
    const struct relay_allocation *allocation = relay_allocation_of(relay, &datagram->remote);
    if (channel_data_decode(bytes, &header) != DROP_NONE || header.number > last ||
        allocation == NULL) {
        return NULL;
    }
    /* spec/relay.md section 11: the kernel wants the length to be exact. */
    if (relay->config.mode == SIM_RELAY_HEAD_EBPF &&
        header.length != bytes.len - CHANNEL_DATA_HEADER_SIZE) {
        return NULL;
    }
    const struct relay_channel *channel = relay_channel_by_number(relay, allocation, header.number);
    *payload = view_sub(bytes, CHANNEL_DATA_HEADER_SIZE, header.length);
    return channel != NULL && channel->bound ? channel : NULL;
}

static void handle_channel_data(struct relay_call *call)
{
    struct sim_relay *relay = call->relay;
    struct view payload;
    const struct relay_channel *channel = named_channel(relay, call->datagram, &payload);
    if (channel == NULL) {
        relay->counters.dropped++;
        return;
    }
    send_to_peer(call, &relay->allocations[channel->allocation], &channel->peer, payload);
}

/* Send indications exist in coturn only. */
static void handle_indication(struct relay_call *call)
{
    struct sim_relay *relay = call->relay;
    const struct sim_relay_request *request = &call->request;
    const struct relay_allocation *allocation = relay_allocation_of(relay, &call->datagram->remote);
    if (!relay_is_coturn(relay) || request->header.class != STUN_INDICATION ||
        request->header.method != STUN_SEND || allocation == NULL || request->data.at == NULL ||
        !relay_permission_has(relay, allocation, &request->peer.ip, call->now.boot)) {
        relay->counters.dropped++;
        return;
    }
    send_to_peer(call, allocation, &request->peer, request->data);
}

/* ---- data: peer -> client ---- */

static void send_channel_data(struct relay_call *call, const struct relay_allocation *allocation,
                              uint16_t number)
{
    struct view payload = call->datagram->bytes;
    uint8_t *bytes = malloc(CHANNEL_DATA_HEADER_SIZE + payload.len);
    ASSERT(bytes != NULL);
    channel_data_put_header(bytes, number, payload.len);
    if (payload.len > 0) {
        memcpy(bytes + CHANNEL_DATA_HEADER_SIZE, payload.at, payload.len);
    }
    relay_send(call->relay, call->out,
               &(struct sim_datagram){.local = allocation->local,
                                      .remote = allocation->client,
                                      .bytes = {bytes, CHANNEL_DATA_HEADER_SIZE + payload.len}});
    free(bytes);
}

/* coturn: permissions are per address, so other ports of a peer arrive as Data indications. */
static void send_data_indication(struct relay_call *call, const struct relay_allocation *allocation)
{
    size_t room = call->datagram->bytes.len + 64U;
    uint8_t *bytes = malloc(room);
    ASSERT(bytes != NULL);
    struct stun_txn txn;
    rng_bytes(&call->relay->rng, txn.bytes, sizeof txn.bytes);
    struct stun_writer s;
    stun_start(&s, (struct span){bytes, room}, STUN_DATA, STUN_INDICATION, &txn);
    stun_put_xor_address(&s, STUN_ATTR_XOR_PEER_ADDRESS, &call->datagram->remote);
    stun_put(&s, STUN_ATTR_DATA, call->datagram->bytes);
    struct view message = stun_finish(&s);
    if (message.len > 0) {
        relay_send(call->relay, call->out,
                   &(struct sim_datagram){
                       .local = allocation->local, .remote = allocation->client, .bytes = message});
    }
    free(bytes);
}

static void handle_peer_data(struct relay_call *call, const struct relay_allocation *allocation)
{
    struct sim_relay *relay = call->relay;
    const struct sock_addr *peer = &call->datagram->remote;
    if (!instant_reached(call->now.boot, allocation->ready_at)) {
        relay->counters.deaf_dropped++;
        relay->counters.dropped++;
        return;
    }
    const struct relay_channel *channel = relay_channel_by_peer(relay, allocation, peer);
    bool bound = channel != NULL && channel->bound;
    bool permitted = relay_is_coturn(relay) &&
                     relay_permission_has(relay, allocation, &peer->ip, call->now.boot);
    if (relay->faults.drop_data || allocation->lingering || (!bound && !permitted) ||
        call->datagram->bytes.len > RELAY_DATAGRAM_MAX - CHANNEL_DATA_HEADER_SIZE) {
        relay->counters.dropped++;
        return;
    }
    relay->counters.to_client++;
    if (bound) {
        send_channel_data(call, allocation, channel->number);
    } else {
        send_data_indication(call, allocation);
    }
}

/* ---- data of bound channels, for the fast path ---- */

static bool pass_to_peer(struct sim_relay *relay, struct instant now,
                         const struct sim_datagram *datagram, struct sim_relay_passage *out)
{
    const struct relay_channel *channel = named_channel(relay, datagram, &out->payload);
    if (channel == NULL || out->payload.len == 0) {
        return false;
    }
    const struct relay_allocation *allocation = &relay->allocations[channel->allocation];
    if (!relay_allocation_has(allocation, (enum ip_family)channel->peer.ip.family) ||
        !instant_reached(now, allocation->ready_at)) {
        return false;
    }
    out->local = channel->peer.ip.family == IP_V4 ? allocation->v4 : allocation->v6;
    out->remote = channel->peer;
    out->channel = 0;
    relay->counters.to_peer++;
    return true;
}

static bool pass_to_client(struct sim_relay *relay, struct instant now,
                           const struct sim_datagram *datagram, struct sim_relay_passage *out)
{
    const struct relay_allocation *allocation = relay_allocation_at_port(relay, &datagram->local);
    if (allocation == NULL || allocation->lingering ||
        !instant_reached(now, allocation->ready_at)) {
        return false;
    }
    const struct relay_channel *channel =
        relay_channel_by_peer(relay, allocation, &datagram->remote);
    if (channel == NULL || !channel->bound || datagram->bytes.len == 0) {
        return false;
    }
    *out = (struct sim_relay_passage){allocation->local, allocation->client, channel->number,
                                      datagram->bytes};
    relay->counters.to_client++;
    return true;
}

bool sim_relay_pass(struct sim_relay *relay, struct clock_pair now,
                    const struct sim_datagram *datagram, struct sim_relay_passage *out)
{
    if (relay->faults.silent || relay->faults.drop_data) {
        return false;
    }
    return datagram->local.port == relay->config.port
               ? pass_to_peer(relay, now.boot, datagram, out)
               : pass_to_client(relay, now.boot, datagram, out);
}

/* ---- the node's face ---- */

void sim_relay_handle_addresses(struct sim_relay *relay, struct clock_pair now,
                                const struct sim_host_addresses *addresses, struct sim_outbox *out)
{
    (void)now;
    relay->addresses = *addresses;
    if (addresses->ipv4.family != IP_NONE) {
        sim_put_bind(out, sock_addr_of(addresses->ipv4, relay->config.port));
    }
    if (addresses->ipv6.family != IP_NONE) {
        sim_put_bind(out, sock_addr_of(addresses->ipv6, relay->config.port));
    }
}

static void handle_stun(struct relay_call *call)
{
    enum sim_relay_decoded decoded = sim_relay_decode(call->datagram->bytes, &call->request);
    switch (decoded) {
    case SIM_RELAY_GARBAGE:
        call->relay->counters.dropped++;
        return;
    case SIM_RELAY_BAD_VALUE:
        relay_turn_error(call, 400, false);
        return;
    case SIM_RELAY_BAD_LENGTH:
        relay_turn_error(call, 500, false);
        return;
    case SIM_RELAY_DECODED:
        break;
    }
    if (call->request.header.class == STUN_REQUEST) {
        relay_turn_request(call);
        relay_table_advance(call->relay, call->now.boot, call->out); /* sets the next deadline */
        return;
    }
    handle_indication(call);
}

static void handle_client(struct relay_call *call)
{
    struct view bytes = call->datagram->bytes;
    /* HEAD drops what nobody could answer. */
    if (bytes.len == 0 || (relay_is_head(call->relay) && call->datagram->remote.port == 0)) {
        call->relay->counters.dropped++;
        return;
    }
    if (bytes.at[0] <= 0x03) {
        handle_stun(call);
        return;
    }
    uint8_t last = relay_is_coturn(call->relay) ? 0x7F : 0x4F;
    if (bytes.at[0] >= 0x40 && bytes.at[0] <= last) {
        handle_channel_data(call);
        return;
    }
    call->relay->counters.dropped++;
}

void sim_relay_handle_datagram(struct sim_relay *relay, struct clock_pair now,
                               const struct sim_datagram *datagram, struct sim_outbox *out)
{
    struct relay_call call = {.relay = relay, .now = now, .datagram = datagram, .out = out};
    if (relay->faults.silent) {
        relay->counters.dropped++;
        return;
    }
    if (datagram->local.port == relay->config.port) {
        handle_client(&call);
        return;
    }
    const struct relay_allocation *allocation = relay_allocation_at_port(relay, &datagram->local);
    if (allocation == NULL) {
        relay->counters.dropped++;
        return;
    }
    handle_peer_data(&call, allocation);
}

void sim_relay_handle_timeout(struct sim_relay *relay, struct clock_pair now,
                              struct sim_outbox *out)
{
    relay_table_advance(relay, now.boot, out);
}

struct wake sim_relay_poll_timeout(const struct sim_relay *relay)
{
    return (struct wake){relay->next_at, "relay tables"};
}

static void node_addresses(void *node, struct clock_pair now,
                           const struct sim_host_addresses *addresses, struct sim_outbox *out)
{
    sim_relay_handle_addresses(node, now, addresses, out);
}

static void node_datagram(void *node, struct clock_pair now, const struct sim_datagram *datagram,
                          struct sim_outbox *out)
{
    sim_relay_handle_datagram(node, now, datagram, out);
}

static void node_timeout(void *node, struct clock_pair now, struct sim_outbox *out)
{
    sim_relay_handle_timeout(node, now, out);
}

static struct wake node_wake(const void *node)
{
    return sim_relay_poll_timeout(node);
}

static void node_restart(void *node, struct clock_pair now, const uint8_t seed[32])
{
    (void)now;
    sim_relay_restart(node, seed, NULL);
}

static void node_check(const void *node)
{
    const struct sim_relay *relay = node;
    uint32_t used = 0;
    for (uint32_t i = 0; i < SIM_RELAY_ALLOCATIONS_MAX; i++) {
        used += relay->allocations[i].used;
    }
    ASSERT(used == relay->allocations_count);
    for (uint32_t i = 0; i < relay->channels_high; i++) {
        const struct relay_channel *channel = &relay->channels[i];
        ASSERT(!channel->used || relay->allocations[channel->allocation].used);
    }
}

struct sim_node sim_relay_node(struct sim_relay *relay)
{
    static const struct sim_node_ops ops = {
        .kind = "relay",
        .handle_addresses = node_addresses,
        .handle_datagram = node_datagram,
        .handle_timeout = node_timeout,
        .poll_timeout = node_wake,
        .restart = node_restart,
        .check = node_check,
    };
    return (struct sim_node){&ops, relay};
}
