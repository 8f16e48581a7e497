/* Channels of an allocation. Source: spec/connectivity.md sections 2.5, 3.7 and 3.8. */
#include <string.h>

#include "sim/sim_client_turn.h"

#define CHANNEL_LIFE_S    600U
#define CHANNEL_REFRESH_S 300U
#define CHANNEL_REUSE_S   900U

static bool is_usable(const struct sim_client *client, const struct client_channel *channel)
{
    return channel->used && (channel->bound || client_is_head(client)) &&
           instant_before(client->now.boot,
                          instant_add(channel->bound_at, DURATION_S(CHANNEL_LIFE_S)));
}

static struct client_channel *channel_to(struct client_relay *relay, const struct sock_addr *peer)
{
    for (uint32_t i = 0; i < CLIENT_CHANNELS_MAX; i++) {
        if (relay->channels[i].used && sock_addr_equal(&relay->channels[i].peer, peer)) {
            return &relay->channels[i];
        }
    }
    return NULL;
}

static void bind_channel(struct sim_client *client, struct client_relay *relay, uint32_t index)
{
    if (!client_turn_in_flight(relay, STUN_CHANNEL_BIND, index)) {
        (void)client_turn_ask(
            client, relay, (struct client_request){.method = STUN_CHANNEL_BIND, .channel = index});
    }
}

void client_channel_want(struct client_relay *relay, const struct sock_addr *peer)
{
    for (uint32_t i = 0; i < relay->waiting_count; i++) {
        if (sock_addr_equal(&relay->waiting[i], peer)) {
            return;
        }
    }
    if (relay->waiting_count < CLIENT_CHANNELS_MAX) {
        relay->waiting[relay->waiting_count] = *peer;
        relay->waiting_count++;
    }
}

static struct client_channel *new_channel(const struct sim_client *client,
                                          struct client_relay *relay, const struct sock_addr *peer)
{
    for (uint32_t i = 0; i < CLIENT_CHANNELS_MAX; i++) {
        struct client_channel *channel = &relay->channels[i];
        struct instant reusable = instant_add(channel->bound_at, DURATION_S(CHANNEL_REUSE_S));
        if (channel->used && instant_before(client->now.boot, reusable)) {
            continue;
        }
        *channel = (struct client_channel){.used = true,
                                           .number = relay->next_number,
                                           .peer = *peer,
                                           .bound_at = client->now.boot};
        relay->next_number = relay->next_number == CHANNEL_NUMBER_MAX
                                 ? CHANNEL_NUMBER_MIN
                                 : (uint16_t)(relay->next_number + 1U);
        return channel;
    }
    return NULL;
}

void client_relay_bind(struct sim_client *client, uint32_t index, const struct sock_addr *peer)
{
    struct client_relay *relay = &client->relays[index];
    if (!relay->used) {
        return;
    }
    if (!client_turn_has_allocation(relay)) {
        client_channel_want(relay, peer);
        return;
    }
    if (relay->relayed[peer->ip.family == IP_V6].ip.family == IP_NONE) {
        return;
    }
    struct client_channel *channel = channel_to(relay, peer);
    if (channel == NULL) {
        channel = new_channel(client, relay, peer);
    }
    if (channel != NULL && !(channel->bound && is_usable(client, channel))) {
        bind_channel(client, relay, (uint32_t)(channel - relay->channels));
    }
}

bool client_relay_channel(struct sim_client *client, uint32_t index, const struct sock_addr *peer,
                          uint16_t *number, struct sock_addr *server)
{
    struct client_relay *relay = &client->relays[index];
    const struct client_channel *channel = channel_to(relay, peer);
    if (!relay->used || !relay->has_active || channel == NULL || !is_usable(client, channel)) {
        return false;
    }
    *number = channel->number;
    *server = relay->servers[relay->active];
    if (client_is_head(client)) {
        relay->keepalive_at = client_later(client, DURATION_S(KEEPALIVE_S));
    }
    return true;
}

bool client_relay_send(struct sim_client *client, uint32_t index, const struct sock_addr *peer,
                       struct view bytes)
{
    uint8_t room[CHANNEL_DATA_HEADER_SIZE + 2048];
    uint16_t number = 0;
    struct sock_addr server;
    if (bytes.len > 2048 || !client_relay_channel(client, index, peer, &number, &server)) {
        return false;
    }
    channel_data_put_header(room, number, bytes.len);
    memcpy(room + CHANNEL_DATA_HEADER_SIZE, bytes.at, bytes.len);
    sim_put_datagram(client->out, client_local(client, server.ip.family), server,
                     (struct view){room, CHANNEL_DATA_HEADER_SIZE + bytes.len});
    return true;
}

void client_channel_data(struct sim_client *client, struct client_relay *relay,
                         const struct sim_datagram *datagram, struct client_inner *inner)
{
    struct channel_data header;
    if (channel_data_decode(datagram->bytes, &header) != DROP_NONE) {
        client->counters.bad_datagrams++;
        return;
    }
    for (uint32_t i = 0; i < CLIENT_CHANNELS_MAX; i++) {
        struct client_channel *channel = &relay->channels[i];
        if (!channel->used || channel->number != header.number || !channel->bound) {
            continue;
        }
        struct sock_addr own = relay->relayed[channel->peer.ip.family == IP_V6];
        if (own.ip.family == IP_NONE) {
            return;
        }
        channel->received = true;
        *inner = (struct client_inner){
            .is_data = true,
            .relay = client_relay_index(client, relay),
            .datagram = {.local = own,
                         .remote = channel->peer,
                         .bytes =
                             view_sub(datagram->bytes, CHANNEL_DATA_HEADER_SIZE, header.length)}};
        return;
    }
    client->counters.bad_datagrams++;
}

void client_channels_timeout(struct sim_client *client, struct client_relay *relay)
{
    for (uint32_t i = 0; i < CLIENT_CHANNELS_MAX; i++) {
        const struct client_channel *channel = &relay->channels[i];
        struct instant due = instant_add(channel->bound_at, DURATION_S(CHANNEL_REFRESH_S));
        if (channel->used && channel->bound && channel->received &&
            instant_reached(client->now.boot, due)) {
            bind_channel(client, relay, i);
        }
    }
}

struct instant client_channels_next(const struct client_relay *relay)
{
    struct instant at = TIME_NEVER;
    for (uint32_t i = 0; i < CLIENT_CHANNELS_MAX; i++) {
        const struct client_channel *channel = &relay->channels[i];
        if (channel->used && channel->bound && channel->received &&
            !client_turn_in_flight(relay, STUN_CHANNEL_BIND, i)) {
            at = instant_min(at, instant_add(channel->bound_at, DURATION_S(CHANNEL_REFRESH_S)));
        }
    }
    return at;
}
