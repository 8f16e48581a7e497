/* turn_host: see turn_host.h. */
#include "tests/interop/turn_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stun/channel_data.h"

struct turn_client_config turn_host_config(const struct coturn *coturn,
                                           const struct coturn_user *user)
{
    struct turn_client_config config = {
        .username = view_text(user->name),
        .password = view_text(user->password),
        .realm = view_text("firezone"),
        .software = view_text("interop"),
    };
    if (ip_parse(view_text(coturn->ip_v4), &config.server_v4.ip)) {
        config.server_v4.port = COTURN_PORT;
    }
    if (coturn->ip_v6 != NULL && ip_parse(view_text(coturn->ip_v6), &config.server_v6.ip)) {
        config.server_v6.port = COTURN_PORT;
    }
    return config;
}

static struct turn_client_config config_of_locals(const struct turn_host *host,
                                                  struct turn_client_config config)
{
    if (host->fd[0] < 0) {
        memset(&config.server_v4, 0, sizeof(config.server_v4));
    }
    if (host->fd[1] < 0) {
        memset(&config.server_v6, 0, sizeof(config.server_v6));
    }
    return config;
}

struct turn_host *turn_host_new(const struct interop *interop, const char *local_v4,
                                const char *local_v6, const struct coturn *coturn,
                                const struct coturn_user *user)
{
    struct turn_host *host = calloc(1, sizeof(*host));
    struct turn_client *client = calloc(1, sizeof(*client));
    if (host == NULL || client == NULL) {
        abort();
    }
    host->client = client;
    interop_rng(&host->rng);
    const char *locals[2] = {local_v4, local_v6};
    for (size_t i = 0; i < 2U; i++) {
        host->fd[i] = -1;
        if (locals[i] != NULL) {
            host->local[i] = interop_address(locals[i]);
            host->fd[i] = interop_udp(interop, interop->home, &host->local[i]);
        }
    }
    struct turn_client_config config = config_of_locals(host, turn_host_config(coturn, user));
    if (turn_client_init(client, &config, &host->rng, interop_now()) != ERR_NONE) {
        fputs("interop: turn_client_init() refuses the configuration\n", stderr);
        exit(1);
    }
    turn_host_drain(host);
    return host;
}

void turn_host_free(struct turn_host *host)
{
    if (host != NULL) {
        for (size_t i = 0; i < 2U; i++) {
            if (host->fd[i] >= 0) {
                close(host->fd[i]);
            }
        }
        turn_client_wipe(host->client);
        free(host->client);
        free(host);
    }
}

static void count_answer(struct turn_host *host, struct view datagram)
{
    struct stun_msg msg;
    if (stun_is_message(datagram) && stun_msg_decode(datagram, &msg) == DROP_NONE) {
        if (msg.class == STUN_SUCCESS && msg.method < 16U) {
            host->successes[msg.method]++;
        }
        if (msg.class == STUN_ERROR && msg.error_code < 700U) {
            host->errors[msg.error_code]++;
        }
    }
}

enum turn_input turn_host_input(struct turn_host *host, size_t index, const struct sock_addr *from,
                                struct view datagram, struct turn_data *data)
{
    enum turn_input input = turn_client_handle_input(host->client, from, &host->local[index],
                                                     datagram, interop_now(), data);
    if (input == TURN_INPUT_HANDLED || input == TURN_INPUT_DROPPED) {
        count_answer(host, datagram);
    }
    if (input == TURN_INPUT_DROPPED) {
        host->dropped[data->reason]++;
    }
    return input;
}

void turn_host_drain(struct turn_host *host)
{
    struct turn_transmit transmit;
    struct turn_event event;
    struct instant now = interop_now();
    if (instant_reached(now, turn_client_poll_timeout(host->client).at)) {
        turn_client_handle_timeout(host->client, now);
    }
    while (turn_client_poll_transmit(host->client, &transmit)) {
        interop_send(host->fd[transmit.remote.ip.family == IP_V4 ? 0 : 1], &transmit.remote,
                     transmit.bytes);
    }
    while (turn_client_poll_event(host->client, &event)) {
        host->events[event.kind]++;
    }
}

static void keep(struct turn_host *host, const uint8_t *datagram, const struct turn_data *data)
{
    if (host->inbox_count < TURN_HOST_INBOX) {
        struct turn_host_data *slot = &host->inbox[host->inbox_count++];
        slot->peer = data->peer;
        slot->relayed = data->relayed;
        slot->len = data->length;
        memcpy(slot->bytes, datagram + data->offset, data->length);
    }
}

void turn_host_step(struct turn_host *host)
{
    uint8_t room[INTEROP_DATAGRAM_MAX];
    struct sock_addr from;
    struct turn_data data;
    size_t len = 0;
    interop_poll(host->fd, 2, turn_client_poll_timeout(host->client).at);
    for (size_t i = 0; i < 2U; i++) {
        while (host->fd[i] >= 0 &&
               interop_receive(host->fd[i], (struct span){room, sizeof(room)}, &from, &len)) {
            if (turn_host_input(host, i, &from, (struct view){room, len}, &data) ==
                TURN_INPUT_DATA) {
                keep(host, room, &data);
            }
        }
    }
    turn_host_drain(host);
}

bool turn_host_until(struct turn_host *host, bool (*done)(const struct turn_host *), uint64_t ms)
{
    struct instant end = instant_add(interop_now(), DURATION_MS(ms));
    turn_host_drain(host);
    while (!done(host)) {
        if (!instant_before(interop_now(), end)) {
            return false;
        }
        turn_host_step(host);
    }
    return true;
}

void turn_host_pass(struct turn_host *host, uint64_t ms)
{
    struct instant end = instant_add(interop_now(), DURATION_MS(ms));
    turn_host_drain(host);
    while (instant_before(interop_now(), end)) {
        turn_host_step(host);
    }
}

bool turn_host_send(struct turn_host *host, const struct sock_addr *peer, struct view bytes)
{
    uint8_t room[CHANNEL_DATA_HEADER_SIZE + INTEROP_DATAGRAM_MAX];
    uint16_t number = 0;
    struct instant now = interop_now();
    bool has_channel = turn_client_channel(host->client, peer, now, &number);
    if (has_channel) {
        struct sock_addr server = turn_client_active_server(host->client);
        channel_data_put_header(room, number, bytes.len);
        memcpy(room + CHANNEL_DATA_HEADER_SIZE, bytes.at, bytes.len);
        interop_send(host->fd[server.ip.family == IP_V4 ? 0 : 1], &server,
                     (struct view){room, CHANNEL_DATA_HEADER_SIZE + bytes.len});
        turn_client_note_sent(host->client, now);
    }
    turn_host_drain(host);
    return has_channel;
}
