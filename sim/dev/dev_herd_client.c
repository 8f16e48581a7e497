/* One client of a herd. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "packet/packet_build.h"
#include "platform/linux/linux_addr.h"
#include "sim/dev/dev_herd.h"
#include "stun/stun_msg.h"

#define RETRY        DURATION_MS(250)
#define PRIORITY     1862270975U
#define ROOM_SIZE    2048U
#define ECHO_REPLY   0U
#define ECHO_AT      20U /* behind the IPv4 header */
#define STAMP_AT     28U
#define STAMP_SIZE   8U
#define HANDSHAKES_S 1000U

/* ---- sending ---- */

static void transmit(const struct herd_client *client, struct view bytes)
{
    (void)send(client->watch.fd, bytes.at, bytes.len, MSG_DONTWAIT); /* lost, as on any network */
}

static void check(struct herd_client *client)
{
    uint8_t bytes[256];
    char own[HERD_UFRAG_SIZE];
    char other[HERD_UFRAG_SIZE];
    struct stun_txn txn = {{0xee}};
    struct stun_writer s;
    store_be32(txn.bytes + 4, client->number);
    herd_ufrag(own, 'c', client->number);
    herd_ufrag(other, 'g', client->number);
    stun_start(&s, (struct span){bytes, sizeof bytes}, STUN_BINDING, STUN_REQUEST, &txn);
    stun_put_ice_username(&s, view_text(other), view_text(own));
    stun_put_controlling(&s, 1U + client->number);
    stun_put_priority(&s, PRIORITY);
    stun_put_use_candidate(&s);
    stun_put_integrity(&s, view_text(herd_gateway_password));
    stun_put_fingerprint(&s);
    transmit(client, stun_finish(&s));
}

static void poll_tunnel(struct herd_client *client, struct instant now)
{
    uint8_t message[WG_INITIATION_SIZE];
    size_t len;
    while ((len = wg_peer_poll_transmit(&client->wg, now, &client->herd->rng,
                                        (struct span){message, sizeof message})) > 0) {
        transmit(client, (struct view){message, len});
    }
}

void herd_client_ping(struct herd_client *client, struct clock_pair now)
{
    uint8_t room[ROOM_SIZE] = {0};
    uint8_t payload[ROOM_SIZE / 2U] = {0};
    struct packet_build_ip ip = {.source = herd_tunnel_ipv4(client->number),
                                 .destination = client->herd->target};
    struct packet_build_echo echo = {.id = (uint16_t)client->number, .seq = client->pings++};
    struct writer w =
        writer_of((struct span){room + WG_DATA_HEADER_SIZE, ROOM_SIZE - WG_DATA_OVERHEAD});
    store_be64(payload, now.boot.ns);
    packet_build_echo(&w, &ip, &echo, (struct view){payload, client->herd->payload});
    ASSERT(writer_finish(&w));
    struct span message = {room, w.used + WG_DATA_OVERHEAD};
    if (wg_peer_seal(&client->wg, message, now.boot) == DROP_NONE) {
        transmit(client, view_of_span(message));
    }
}

/* ---- receiving ---- */

static void answer_check(const struct herd_client *client, const struct stun_txn *txn)
{
    uint8_t bytes[128];
    struct stun_writer s;
    stun_start(&s, (struct span){bytes, sizeof bytes}, STUN_BINDING, STUN_SUCCESS, txn);
    stun_put_xor_address(&s, STUN_ATTR_XOR_MAPPED_ADDRESS, &client->herd->gateway);
    stun_put_integrity(&s, view_text(herd_client_password));
    stun_put_fingerprint(&s);
    transmit(client, stun_finish(&s));
}

static void take_stun(struct herd_client *client, struct view datagram, struct clock_pair now)
{
    struct stun_msg msg;
    if (stun_msg_decode(datagram, &msg) != DROP_NONE) {
        return;
    }
    if (msg.class == STUN_REQUEST) {
        answer_check(client, &msg.txn);
    } else if (msg.class == STUN_SUCCESS && client->state == HERD_CHECKING) {
        client->state = HERD_SHAKING;
        client->retry_at = TIME_NEVER; /* the tunnel repeats by itself */
        wg_peer_initiate(&client->wg, now.boot);
    }
}

static void take_reply(struct herd_client *client, struct view packet, struct clock_pair now)
{
    struct herd *herd = client->herd;
    if (packet.len < STAMP_AT + STAMP_SIZE || packet.at[ECHO_AT] != ECHO_REPLY) {
        return;
    }
    if (client->state == HERD_PINGING) {
        client->state = HERD_UP;
        client->took = instant_since(now.boot, client->started_at);
        client->retry_at = TIME_NEVER;
        herd->up++;
    } else if (herd->measures) {
        uint64_t us = (now.boot.ns - load_be64(packet.at + STAMP_AT)) / NS_PER_US;
        client->answered++;
        if (herd->trips_count < herd->trips_max) {
            herd->trips[herd->trips_count++] = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
        }
    }
}

static void take_datagram(struct herd_client *client, struct span bytes, struct clock_pair now)
{
    struct view datagram = view_of_span(bytes);
    struct wg_open open;
    switch (wg_msg_type(datagram)) {
    case WG_TYPE_NONE:
        take_stun(client, datagram, now);
        break;
    case WG_TYPE_RESPONSE:
        if (wg_peer_handle_response(&client->wg, datagram, now.boot) == DROP_NONE &&
            client->state == HERD_SHAKING) {
            client->state = HERD_PINGING;
            client->retry_at = instant_add(now.boot, RETRY);
            herd_client_ping(client, now);
        }
        break;
    case WG_TYPE_COOKIE_REPLY:
        (void)!wg_peer_handle_cookie_reply(&client->wg, datagram, now.boot);
        break;
    case WG_TYPE_DATA:
        if (wg_peer_open(&client->wg, bytes, now.boot, &open) == DROP_NONE && !open.is_keepalive) {
            take_reply(client, view_of_span(open.plaintext), now);
        }
        break;
    case WG_TYPE_INITIATION: /* tunnels live for less than a renewal */
        break;
    }
    poll_tunnel(client, now.boot);
}

static void readable(void *self, uint32_t events)
{
    struct herd_client *client = self;
    uint8_t room[ROOM_SIZE];
    ssize_t got;
    (void)events;
    while ((got = recv(client->watch.fd, room, sizeof room, MSG_DONTWAIT)) >= 0) {
        take_datagram(client, (struct span){room, (size_t)got}, dev_now());
    }
}

/* ---- life ---- */

static int open_socket(const struct herd *herd, uint16_t *port)
{
    struct sockaddr_storage address;
    struct sock_addr local = {herd->own, 0};
    socklen_t size = linux_addr_to(&local, &address);
    int fd = socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0) {
        goto failed;
    }
    size = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        goto failed;
    }
    *port = linux_addr_from(&address).port;
    size = linux_addr_to(&herd->gateway, &address);
    if (connect(fd, (struct sockaddr *)&address, size) == 0) {
        return fd;
    }
failed:
    fprintf(stderr, "fzdev herd: socket of a client: %s\n", strerror(errno));
    if (fd >= 0) {
        (void)close(fd);
    }
    return -1;
}

bool herd_client_start(struct herd *herd, uint32_t number)
{
    struct herd_client *client = &herd->clients[number];
    struct clock_pair now = dev_now();
    struct x25519_private key;
    struct wg_peer_config wg = {.remote = herd->portal.gateway_key,
                                .psk = {{1}},
                                .id = number & WG_PEER_ID_MAX,
                                .role = WG_ROLE_CLIENT,
                                .era = WG_ERA_HEAD,
                                .rekey_attempt_s = WG_ATTEMPT_S_HEAD,
                                .windows = wg_windows_of(client->windows)};
    int fd = open_socket(herd, &client->port);
    if (fd < 0) {
        return false;
    }
    rng_bytes(&herd->rng, key.bytes, sizeof key.bytes);
    client->herd = herd;
    client->number = number;
    client->state = HERD_ASKED;
    client->started_at = now.boot;
    client->retry_at = TIME_NEVER; /* the portal's connection loses nothing */
    wg_node_init(&client->node, &key, &now, HANDSHAKES_S);
    enum err err = wg_peer_init(&client->wg, &client->node, &wg, now.boot);
    ASSERT(err == ERR_NONE);
    client->watch = (struct dev_watch){fd, readable, client};
    if (!dev_loop_watch(&herd->loop, &client->watch, EPOLLIN)) {
        return false;
    }
    herd_portal_authorize(herd, client);
    return true;
}

void herd_client_authorized(struct herd_client *client)
{
    if (client->state == HERD_ASKED) {
        client->state = HERD_CHECKING;
        client->retry_at = instant_add(dev_now().boot, RETRY);
        check(client);
    }
}

void herd_client_tick(struct herd_client *client, struct clock_pair now)
{
    if (client->state == HERD_NEW) {
        return;
    }
    if (instant_reached(now.boot, client->retry_at)) {
        client->retry_at = instant_add(now.boot, RETRY);
        if (client->state == HERD_CHECKING) {
            check(client);
        } else if (client->state == HERD_PINGING) {
            herd_client_ping(client, now);
        }
    }
    if (instant_reached(now.boot, wg_peer_poll_timeout(&client->wg).at)) {
        wg_peer_handle_timeout(&client->wg, now.boot, &client->herd->rng);
        poll_tunnel(client, now.boot);
    }
}

void herd_client_end(struct herd_client *client)
{
    if (client->state != HERD_NEW) {
        client->herd->up -= client->state == HERD_UP ? 1U : 0U;
        client->state = HERD_NEW;
        dev_loop_forget(&client->herd->loop, &client->watch);
        (void)close(client->watch.fd);
        wg_peer_wipe(&client->wg);
    }
}
