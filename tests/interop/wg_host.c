/* wg_host: see wg_host.h. */
#include "tests/interop/wg_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "packet/packet_build.h"

struct wg_host *wg_host_new(const struct interop *interop, const struct wg_host_config *config)
{
    struct wg_host *host = calloc(1, sizeof(*host));
    if (host == NULL) {
        abort();
    }
    interop_rng(&host->rng);
    struct clock_pair start = interop_clock();
    wg_node_init(&host->node, &config->own, &start, config->handshakes_per_s);
    struct wg_peer_config peer = {
        .remote = config->remote_key,
        .psk = config->psk,
        .id = rng_u32(&host->rng) & WG_PEER_ID_MAX,
        .role = config->role,
        .era = WG_ERA_OURS,
        .rekey_attempt_s = WG_ATTEMPT_S_HEAD,
        .windows = wg_windows_of(host->windows),
    };
    if (wg_peer_init(&host->peer, &host->node, &peer, start.boot) != ERR_NONE) {
        abort();
    }
    host->backend = config->backend;
    host->remote = config->remote;
    struct sock_addr local = config->local;
    host->fd = interop_udp(interop, interop->home, &local);
    return host;
}

void wg_host_free(struct wg_host *host)
{
    if (host != NULL) {
        wg_peer_check(&host->peer);
        wg_peer_wipe(&host->peer);
        wg_node_wipe(&host->node);
        close(host->fd);
        free(host);
    }
}

/* ---- pings ---- */

size_t wg_host_echo_size(enum ip_family family, unsigned seq)
{
    size_t least = family == IP_V4 ? 28U : 48U;
    return least + seq * 5U % (WG_HOST_SIZE_MAX - least + 1U);
}

static void echo_payload(uint8_t *out, size_t len, unsigned seq)
{
    for (size_t i = 0; i < len; i++) {
        out[i] = (uint8_t)(seq * 31U + i * 7U);
    }
}

static size_t echo_payload_size(enum ip_family family, unsigned seq)
{
    return wg_host_echo_size(family, seq) - (family == IP_V4 ? 28U : 48U);
}

size_t wg_host_echo(enum ip_family family, const struct ip_addr *source,
                    const struct ip_addr *destination, unsigned seq, struct span out)
{
    uint8_t payload[WG_HOST_SIZE_MAX];
    size_t len = echo_payload_size(family, seq);
    echo_payload(payload, len, seq);
    struct packet_build_ip ip = {.source = *source, .destination = *destination};
    struct packet_build_echo echo = {.id = WG_HOST_ECHO_ID, .seq = (uint16_t)seq};
    struct writer w = writer_of(out);
    packet_build_echo(&w, &ip, &echo, (struct view){payload, len});
    return writer_finish(&w) ? w.used : 0;
}

bool wg_host_echo_is(enum ip_family family, unsigned seq, struct view payload)
{
    uint8_t expected[WG_HOST_SIZE_MAX];
    size_t len = echo_payload_size(family, seq);
    echo_payload(expected, len, seq);
    return view_equal(payload, (struct view){expected, len});
}

/* ---- sending ---- */

static void transmit(struct wg_host *host, struct view message)
{
    enum wg_type type = wg_msg_type(message);
    if (type == WG_TYPE_INITIATION) {
        static const uint8_t none[WG_MAC_SIZE] = {0};
        host->sent_mac2 = memcmp(message.at + message.len - WG_MAC_SIZE, none, WG_MAC_SIZE) != 0;
    }
    host->sent[type]++;
    if (host->remote.ip.family != IP_NONE && !(host->mute && type == WG_TYPE_RESPONSE)) {
        interop_send(host->fd, &host->remote, message);
    }
}

/* Seals and sends the packets that wait, as one batch of the backend. */
static void flush_out(struct wg_host *host)
{
    struct aead_item items[WG_HOST_BATCH];
    struct wg_seal seal;
    struct instant now = interop_now();
    size_t count = host->out_count;
    host->out_count = 0;
    if (count == 0) {
        return;
    }
    enum drop_reason reason = wg_peer_seal_begin(&host->peer, (uint32_t)count, now, &seal);
    if (reason != DROP_NONE) {
        host->refused[reason]++;
        return;
    }
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        wg_seal_next(&seal, host->out[i].bytes, host->out[i].len, &items[i]);
        bytes += host->out[i].len;
    }
    aead_seal_batch(&host->backend, items, count);
    wg_peer_seal_finish(&host->peer, now, bytes);
    for (size_t i = 0; i < count; i++) {
        transmit(host, (struct view){host->out[i].bytes, host->out[i].len + WG_DATA_OVERHEAD});
    }
}

/* Room for one more packet to be sealed. */
static struct wg_host_slot *next_out(struct wg_host *host)
{
    if (host->out_count == WG_HOST_BATCH) {
        flush_out(host);
    }
    return &host->out[host->out_count++];
}

void wg_host_ping(struct wg_host *host, const struct ip_addr *source,
                  const struct ip_addr *destination, unsigned seq)
{
    struct wg_host_slot *slot = next_out(host);
    slot->len = wg_host_echo((enum ip_family)source->family, source, destination, seq,
                             (struct span){slot->bytes + WG_DATA_HEADER_SIZE, WG_HOST_SIZE_MAX});
}

/* ---- receiving ---- */

static void answer(struct wg_host *host, const struct packet *packet,
                   const struct packet_info *info)
{
    struct wg_host_slot *slot = next_out(host);
    struct view echo = packet_view(packet);
    struct packet_build_ip ip = {.source = info->destination, .destination = info->source};
    struct packet_build_echo reply = {
        .is_reply = true,
        .id = info->source_port,
        .seq = load_be16(echo.at + info->l4_offset + 6U),
    };
    struct writer w = writer_of((struct span){slot->bytes + WG_DATA_HEADER_SIZE, WG_HOST_SIZE_MAX});
    packet_build_echo(&w, &ip, &reply, packet_payload(packet, info));
    slot->len = writer_finish(&w) ? w.used : 0;
    host->answered++;
}

static void note_reply(struct wg_host *host, const struct packet *packet,
                       const struct packet_info *info)
{
    unsigned seq = load_be16(packet_view(packet).at + info->l4_offset + 6U);
    bool right =
        info->source_port == WG_HOST_ECHO_ID && seq < WG_HOST_ECHOES && !host->replied[seq] &&
        packet_checksums_ok(packet, info) &&
        wg_host_echo_is((enum ip_family)info->source.family, seq, packet_payload(packet, info));
    if (right) {
        host->replied[seq] = true;
        host->replies++;
    } else {
        host->wrong_replies++;
    }
}

static void take_plaintext(struct wg_host *host, const struct wg_open *open)
{
    struct packet_info info;
    host->confirmations += open->is_first ? 1U : 0U;
    host->keepalives += open->is_keepalive ? 1U : 0U;
    if (open->is_keepalive) {
        return;
    }
    struct packet packet = packet_of(open->plaintext, 0, open->plaintext.len);
    if (packet_parse(&packet, &info) != DROP_NONE) {
        return;
    }
    if (info.kind == PACKET_ICMP_ECHO_REQUEST) {
        answer(host, &packet, &info);
    } else if (info.kind == PACKET_ICMP_ECHO_REPLY) {
        note_reply(host, &packet, &info);
    }
}

/* Opens the data messages that wait, as one batch of the backend. */
static void flush_in(struct wg_host *host)
{
    struct wg_open opens[WG_HOST_BATCH];
    struct aead_item items[WG_HOST_BATCH];
    struct instant now = interop_now();
    size_t count = 0;
    for (size_t i = 0; i < host->in_count; i++) {
        struct span message = {host->in[i].bytes, host->in[i].len};
        enum drop_reason reason = wg_peer_open_begin(&host->peer, message, now, &opens[count]);
        if (reason == DROP_NONE) {
            items[count] = opens[count].item;
            count++;
        } else {
            host->refused[reason]++;
        }
    }
    aead_open_batch(&host->backend, items, count);
    for (size_t i = 0; i < count; i++) {
        enum drop_reason reason = wg_peer_open_finish(&host->peer, &opens[i], items[i].ok, now);
        host->refused[reason]++;
        if (reason == DROP_NONE) {
            take_plaintext(host, &opens[i]);
        }
    }
    host->in_count = 0;
}

static enum drop_reason take_initiation(struct wg_host *host, const struct wg_arrival *arrival)
{
    struct wg_initiation initiation;
    uint8_t cookie[WG_COOKIE_REPLY_SIZE];
    uint8_t response[WG_RESPONSE_SIZE];
    static const uint8_t none[WG_MAC_SIZE] = {0};
    host->received_mac2 =
        memcmp(arrival->message.at + WG_INITIATION_SIZE - WG_MAC_SIZE, none, WG_MAC_SIZE) != 0;
    struct wg_verdict verdict =
        wg_node_receive_initiation(&host->node, arrival, &host->rng, &initiation, cookie);
    if (verdict.kind == WG_VERDICT_COOKIE_REPLY) {
        transmit(host, VIEW_OF(cookie));
    }
    if (verdict.kind != WG_VERDICT_ACCEPTED) {
        return verdict.reason;
    }
    enum drop_reason reason =
        wg_peer_handle_initiation(&host->peer, &initiation, arrival->now, &host->rng, response);
    if (reason == DROP_NONE) {
        transmit(host, VIEW_OF(response));
    }
    return reason;
}

static enum drop_reason take_response(struct wg_host *host, const struct wg_arrival *arrival)
{
    uint8_t cookie[WG_COOKIE_REPLY_SIZE];
    struct wg_verdict verdict = wg_node_check_response(&host->node, arrival, &host->rng, cookie);
    if (verdict.kind != WG_VERDICT_ACCEPTED) {
        return verdict.reason;
    }
    return wg_peer_handle_response(&host->peer, arrival->message, arrival->now);
}

static void take(struct wg_host *host, const uint8_t *bytes, size_t len,
                 const struct sock_addr *from)
{
    struct wg_arrival arrival = {{bytes, len}, *from, interop_now()};
    enum drop_reason reason = DROP_NONE;
    enum wg_type type = wg_msg_type(arrival.message);
    host->received[type]++;
    if (type == WG_TYPE_DATA) {
        struct wg_host_slot *slot = &host->in[host->in_count++];
        slot->len = len;
        memcpy(slot->bytes, bytes, len);
        if (host->in_count == WG_HOST_BATCH) {
            flush_in(host);
        }
        return;
    }
    flush_in(host);
    if (type == WG_TYPE_INITIATION) {
        host->remote = host->remote.ip.family == IP_NONE ? *from : host->remote;
        reason = take_initiation(host, &arrival);
    } else if (type == WG_TYPE_RESPONSE) {
        reason = take_response(host, &arrival);
    } else if (type == WG_TYPE_COOKIE_REPLY) {
        reason = wg_peer_handle_cookie_reply(&host->peer, arrival.message, arrival.now);
    }
    host->refused[reason]++;
}

void wg_host_step(struct wg_host *host)
{
    uint8_t room[WG_HOST_ROOM];
    struct sock_addr from;
    size_t len = 0;
    flush_out(host);
    interop_poll(&host->fd, 1, wg_peer_poll_timeout(&host->peer).at);
    while (interop_receive(host->fd, (struct span){room, sizeof(room)}, &from, &len)) {
        take(host, room, len, &from);
    }
    flush_in(host);
    flush_out(host);
    struct instant now = interop_now();
    if (instant_reached(now, wg_peer_poll_timeout(&host->peer).at)) {
        wg_peer_handle_timeout(&host->peer, now, &host->rng);
    }
    while ((len = wg_peer_poll_transmit(&host->peer, now, &host->rng,
                                        (struct span){room, sizeof(room)})) > 0) {
        transmit(host, (struct view){room, len});
    }
}

bool wg_host_until(struct wg_host *host, bool (*done)(const struct wg_host *), uint64_t ms)
{
    struct instant end = instant_add(interop_now(), DURATION_MS(ms));
    while (!done(host)) {
        if (!instant_before(interop_now(), end)) {
            return false;
        }
        wg_host_step(host);
    }
    return true;
}

void wg_host_pass(struct wg_host *host, uint64_t ms)
{
    struct instant end = instant_add(interop_now(), DURATION_MS(ms));
    while (instant_before(interop_now(), end)) {
        wg_host_step(host);
    }
}
