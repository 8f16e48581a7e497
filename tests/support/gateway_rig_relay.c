#include "tests/support/gateway_rig.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "stun/channel_data.h"
#include "stun/stun_auth.h"
#include "stun/stun_msg.h"

#define LIFETIME_S 600U

static struct sock_addr gateway_mapped(void)
{
    return sock_addr_of(ip_v4(203, 0, 113, 40), 52625);
}

void rig_relay_init(struct rig *rig, size_t relay)
{
    struct rig_relay *r = &rig->relays[relay];
    r->server = sock_addr_of(ip_v4(203, 0, 113, (uint8_t)(10 + relay)), 3478);
    r->relayed = sock_addr_of(ip_v4(203, 0, 113, (uint8_t)(10 + relay)), 50000);
    (void)snprintf(r->username, sizeof(r->username), "2145916800:salt%zu", relay);
    (void)snprintf(r->password, sizeof(r->password), "password of relay %zu", relay);
}

struct reply {
    struct stun_writer s;
    uint8_t bytes[512];
};

static void start(struct reply *out, const struct stun_msg *msg, enum stun_class class)
{
    stun_start(&out->s, (struct span){out->bytes, sizeof(out->bytes)}, msg->method, class,
               &msg->txn);
}

static void finish(struct rig *rig, const struct rig_relay *r, struct reply *out, bool is_signed)
{
    if (is_signed) {
        uint8_t key[STUN_LONG_TERM_KEY_SIZE];
        stun_long_term_key(view_text(r->username), view_text("firezone"), view_text(r->password),
                           key);
        stun_put_integrity(&out->s, VIEW_OF(key));
    }
    struct view bytes = stun_finish(&out->s);
    ASSERT(bytes.len > 0);
    rig_udp(rig, rig->host, r->server, bytes);
}

static void put_nonce(const struct rig_relay *r, char out[32])
{
    (void)snprintf(out, 32, "nonce-%u", r->nonce_number);
}

static void refuse(struct rig *rig, struct rig_relay *r, const struct stun_msg *msg, uint16_t code)
{
    struct reply out;
    char nonce[32];
    start(&out, msg, STUN_ERROR);
    stun_put_error(&out.s, code, view_text("refused"));
    if (code == 401 || code == 438) {
        put_nonce(r, nonce);
        stun_put_realm(&out.s, view_text("firezone"));
        stun_put_nonce(&out.s, view_text(nonce));
    }
    finish(rig, r, &out, false);
}

static bool is_authentic(const struct rig_relay *r, struct view datagram,
                         const struct stun_msg *msg)
{
    uint8_t key[STUN_LONG_TERM_KEY_SIZE];
    char nonce[32];
    put_nonce(r, nonce);
    stun_long_term_key(view_text(r->username), view_text("firezone"), view_text(r->password), key);
    return msg->integrity_at != 0 && view_equal_text(msg->username, r->username) &&
           view_equal_text(msg->nonce, nonce) &&
           stun_msg_check_integrity(datagram, msg, VIEW_OF(key));
}

static void serve_binding(struct rig *rig, struct rig_relay *r, const struct stun_msg *msg)
{
    struct reply out;
    struct sock_addr mapped = gateway_mapped();
    start(&out, msg, STUN_SUCCESS);
    stun_put_xor_address(&out.s, STUN_ATTR_XOR_MAPPED_ADDRESS, &mapped);
    finish(rig, r, &out, false);
}

static void serve_allocate(struct rig *rig, struct rig_relay *r, const struct stun_msg *msg)
{
    struct reply out;
    struct sock_addr mapped = gateway_mapped();
    if (r->is_allocated && !r->forgets) {
        refuse(rig, r, msg, 437);
        return;
    }
    r->is_allocated = true;
    r->forgets = false;
    r->allocates++;
    r->relayed.port++;
    r->deaf_until = instant_add(rig->now.boot, r->deaf);
    memset(r->is_bound, 0, sizeof(r->is_bound));
    start(&out, msg, STUN_SUCCESS);
    stun_put_xor_address(&out.s, STUN_ATTR_XOR_RELAYED_ADDRESS, &r->relayed);
    if (r->relayed6.ip.family == IP_V6 && msg->additional_family == IP_V6) {
        r->relayed6.port++;
        stun_put_xor_address(&out.s, STUN_ATTR_XOR_RELAYED_ADDRESS, &r->relayed6);
    }
    stun_put_xor_address(&out.s, STUN_ATTR_XOR_MAPPED_ADDRESS, &mapped);
    stun_put_lifetime(&out.s, LIFETIME_S);
    finish(rig, r, &out, true);
}

static void serve_refresh(struct rig *rig, struct rig_relay *r, const struct stun_msg *msg)
{
    struct reply out;
    uint32_t lifetime_s = msg->has_lifetime ? msg->lifetime_s : LIFETIME_S;
    if (!r->is_allocated || r->forgets) {
        refuse(rig, r, msg, 437);
        return;
    }
    r->refreshes++;
    if (lifetime_s == 0) {
        r->deletes++;
        r->is_allocated = false;
    }
    start(&out, msg, STUN_SUCCESS);
    stun_put_lifetime(&out.s, lifetime_s);
    finish(rig, r, &out, true);
}

static void serve_bind(struct rig *rig, struct rig_relay *r, const struct stun_msg *msg)
{
    struct reply out;
    size_t channel = (size_t)msg->channel - CHANNEL_NUMBER_MIN;
    if (!r->is_allocated || r->forgets) {
        refuse(rig, r, msg, 437);
        return;
    }
    ASSERT(msg->has_channel && msg->channel >= CHANNEL_NUMBER_MIN);
    if (channel >= RIG_CHANNELS) {
        refuse(rig, r, msg, 508);
        return;
    }
    r->binds++;
    r->is_bound[channel] = true;
    r->peers[channel] = msg->peer;
    start(&out, msg, STUN_SUCCESS);
    finish(rig, r, &out, true);
}

static void serve(struct rig *rig, struct rig_relay *r, struct view datagram)
{
    struct stun_msg msg;
    enum drop_reason reason = stun_msg_decode(datagram, &msg);
    ASSERT(reason == DROP_NONE);
    if (msg.class != STUN_REQUEST) {
        return;
    }
    if (msg.method == STUN_BINDING) {
        serve_binding(rig, r, &msg);
    } else if (!is_authentic(r, datagram, &msg)) {
        refuse(rig, r, &msg, 401);
    } else if (msg.method == STUN_ALLOCATE) {
        serve_allocate(rig, r, &msg);
    } else if (msg.method == STUN_REFRESH) {
        serve_refresh(rig, r, &msg);
    } else {
        ASSERT(msg.method == STUN_CHANNEL_BIND);
        serve_bind(rig, r, &msg);
    }
}

static bool carries_data(const struct rig *rig, const struct rig_relay *r)
{
    return r->is_allocated && !r->forgets && !r->loses_data &&
           instant_reached(rig->now.boot, r->deaf_until);
}

static void forward(struct rig *rig, struct rig_relay *r, struct view datagram)
{
    struct channel_data data;
    enum drop_reason reason = channel_data_decode(datagram, &data);
    ASSERT(reason == DROP_NONE);
    ASSERT(CHANNEL_DATA_HEADER_SIZE + data.length == datagram.len); /* never padded */
    size_t channel = (size_t)data.number - CHANNEL_NUMBER_MIN;
    if (!carries_data(rig, r) || channel >= RIG_CHANNELS || !r->is_bound[channel]) {
        return;
    }
    r->data_in++;
    for (size_t i = 0; i < RIG_CLIENTS; i++) {
        if (sock_addr_equal(&rig->clients[i].mapped, &r->peers[channel])) {
            rig_client_handle(rig, i, r->relayed,
                              view_sub(datagram, CHANNEL_DATA_HEADER_SIZE, data.length));
        }
    }
}

void rig_relay_handle(struct rig *rig, size_t relay, struct view datagram)
{
    struct rig_relay *r = &rig->relays[relay];
    if (r->is_silent) {
        return;
    }
    if (channel_data_is(datagram)) {
        forward(rig, r, datagram);
    } else {
        serve(rig, r, datagram);
    }
}

void rig_relay_peer(struct rig *rig, size_t relay, struct sock_addr peer, struct view data,
                    uint8_t ecn)
{
    struct rig_relay *r = &rig->relays[relay];
    uint8_t bytes[2048];
    if (r->is_silent || !carries_data(rig, r)) {
        return;
    }
    for (size_t i = 0; i < RIG_CHANNELS; i++) {
        if (!r->is_bound[i] || !sock_addr_equal(&r->peers[i], &peer)) {
            continue;
        }
        ASSERT(data.len + CHANNEL_DATA_HEADER_SIZE <= sizeof(bytes));
        channel_data_put_header(bytes, (uint16_t)(CHANNEL_NUMBER_MIN + i), data.len);
        if (data.len > 0) {
            memcpy(bytes + CHANNEL_DATA_HEADER_SIZE, data.at, data.len);
        }
        r->data_out++;
        rig_udp(rig, rig->host, r->server,
                (struct view){bytes, data.len + CHANNEL_DATA_HEADER_SIZE});
        rig->to_gateway.items[rig->to_gateway.count - 1].ecn = ecn;
        return;
    }
}
