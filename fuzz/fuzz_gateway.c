/* fuzz_gateway: bytes become decisions in a small world around one whole gateway: what the portal,
 * relays, clients, names, the TUN device, listeners and clocks do. Clients hold real tunnels, so
 * that inner packets of any shape arrive correctly encrypted. Every invariant is checked after
 * every input (the rig does it), and outputs must be well-formed for those who receive them. */
#include <stdio.h>
#include <string.h>

#include "p2p/p2p.h"
#include "packet/packet_build.h"
#include "tests/support/gateway_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEPS_MAX 96U
#define BYTES_MAX 2000U

struct fuzz {
    struct rig *rig;
    struct reader r;
    uint32_t streams; /* accepted so far */
    uint8_t packet[BYTES_MAX + 64];
};

/* ---- what the input says ---- */

static struct view take_bytes(struct fuzz *f, size_t max)
{
    size_t len = f->r.rest.len >= 2 ? reader_be16(&f->r) : 0;
    len = len < f->r.rest.len ? len : f->r.rest.len;
    return reader_take(&f->r, len < max ? len : max);
}

static const char *take_text(struct fuzz *f, char *out, size_t size)
{
    struct view bytes = take_bytes(f, size - 1);
    memcpy(out, bytes.len > 0 ? bytes.at : (const uint8_t *)"", bytes.len);
    out[bytes.len] = 0;
    return out;
}

/* ---- the portal ---- */

static const char *resource_of(uint8_t arg)
{
    static const char *const resources[] = {
        RIG_CIDR4,
        RIG_CIDR6,
        RIG_DNS,
        "{\"id\":\"44444444-4444-4444-8444-444444444444\",\"type\":\"internet\"}",
        "{\"id\":\"" RIG_CIDR4_ID "\",\"type\":\"cidr\",\"address\":\"10.3.0.0/24\",\"name\":\"n\","
        "\"filters\":[{\"protocol\":\"udp\",\"port_range_start\":80,\"port_range_end\":90}]}",
        "{\"id\":\"" RIG_DNS_ID "\",\"type\":\"dns\",\"address\":\"**\",\"name\":\"n\","
        "\"filters\":[{\"protocol\":\"icmp\"},{\"protocol\":\"tcp\"}]}",
        "{\"id\":\"" RIG_DNS_ID "\",\"type\":\"dns\",\"address\":\"a\",\"name\":\"n\","
        "\"filters\":null}",
        "{\"id\":\"" RIG_CIDR6_ID "\",\"type\":\"cidr\",\"address\":\"::/0\",\"name\":\"n\","
        "\"filters\":[]}",
    };
    return resources[arg % (sizeof(resources) / sizeof(resources[0]))];
}

static void authorize(struct fuzz *f, uint8_t arg)
{
    char expires[32] = "null";
    if ((arg & 0x80) != 0) {
        (void)snprintf(expires, sizeof(expires), "%llu",
                       (unsigned long long)(f->rig->now.unix_ns / NS_PER_S) + (arg & 0x3f));
    }
    rig_push_authorize(f->rig, arg & 3, resource_of(arg >> 2 & 7), expires);
}

static void say(struct fuzz *f, uint8_t arg)
{
    static const char *const events[] = {
        "init",
        "relays_presence",
        "authorize_flow",
        "reject_access",
        "ice_candidates",
        "invalidate_ice_candidates",
        "allow_access",
        "resource_updated",
        "access_authorization_expiry_updated",
        "request_connection",
        "disconnect",
        "phx_error",
        "phx_close",
        "phx_reply",
    };
    static char text[BYTES_MAX + 1];
    rig_push(f->rig, events[arg % (sizeof(events) / sizeof(events[0]))],
             take_text(f, text, sizeof(text)));
}

static void say_well_formed(struct fuzz *f, uint8_t arg)
{
    struct rig *rig = f->rig;
    static const char *const ids[] = {RIG_CIDR4_ID, RIG_CIDR6_ID, RIG_DNS_ID, "x"};
    switch (arg & 7) {
    case 0:
        rig_push_init(rig);
        break;
    case 1:
        rig_push_presence(rig, arg >> 3 & 3, arg >> 5 & 3);
        break;
    case 2:
        rig_push_reject(rig, arg >> 3 & 3, ids[arg >> 5 & 3]);
        break;
    case 3:
        rig_push(rig, "resource_updated", resource_of(arg >> 3));
        break;
    case 4:
        rig->portal.authorizations = (arg & 8) != 0 ? "[]" : NULL;
        rig->portal.relays = arg >> 4 & 3;
        break;
    case 5:
        rig->portal.is_absent = (arg & 8) != 0;
        rig->portal.is_silent = (arg & 16) != 0;
        break;
    case 6:
        if (rig->portal.stream != 0) {
            rig_portal_drop(rig);
        }
        break;
    default: {
        char text[300];
        (void)take_text(f, text, sizeof(text));
        rig_push_candidate(rig, arg >> 3 & 3,
                           (arg & 32) != 0 ? "invalidate_ice_candidates" : "ice_candidates", text);
        break;
    }
    }
}

/* ---- clients ---- */

static void change_client(struct fuzz *f, uint8_t arg)
{
    struct rig_client *c = &f->rig->clients[arg & 3];
    switch (arg >> 2 & 7) {
    case 0:
        rig_client_start(f->rig, arg & 3);
        rig_client_tell(f->rig, arg & 3);
        break;
    case 1:
        if (c->is_used) {
            rig_client_tell(f->rig, arg & 3);
        }
        break;
    case 2:
        c->is_direct = !c->is_direct;
        break;
    case 3:
        c->is_mute = !c->is_mute;
        break;
    case 4:
        c->psk.bytes[1]++;
        break;
    case 5:
        c->gateway_password[0] = (char)(c->gateway_password[0] == 'g' ? 'h' : 'g');
        break;
    case 6:
        c->ecn = arg >> 5 & 3;
        break;
    default:
        if (c->is_used) {
            wg_peer_initiate(&c->wg, f->rig->now.boot);
        }
        break;
    }
    rig_settle(f->rig);
}

static struct ip_addr some_address(uint8_t arg)
{
    static const struct ip_addr addresses[] = {
        {IP_V4, {10, 3, 0, 2}},
        {IP_V6, {0xfd, 0x33, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}},
        {IP_V4, {100, 96, 0, 1}},
        {IP_V6, {0xfd, 0, 0x20, 0x21, 0x11, 0x11, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 1}},
        {IP_V4, {8, 8, 8, 8}},
        {IP_V4, {100, 70, 1, 2}},
        {IP_V4, {100, 64, 1, 1}},
        {IP_V4, {127, 0, 0, 1}},
    };
    return addresses[arg % (sizeof(addresses) / sizeof(addresses[0]))];
}

/* A packet between a client and an address; returns its size. */
static size_t put_packet(struct fuzz *f, uint8_t arg, bool outbound)
{
    const struct rig_client *c = &f->rig->clients[arg & 3];
    struct ip_addr other = some_address(arg >> 2 & 7);
    const struct ip_addr *own = other.family == IP_V4 ? &c->ipv4 : &c->ipv6;
    struct packet_build_ip ip = {.source = outbound ? *own : other,
                                 .destination = outbound ? other : *own,
                                 .traffic_class = arg >> 6};
    struct view payload = take_bytes(f, BYTES_MAX - 100);
    struct writer w = writer_of((struct span){f->packet, sizeof(f->packet)});
    struct packet_build_ports ports = {outbound ? 4000 : 80, outbound ? 80 : 4000};
    if (payload.len % 3 == 0) {
        packet_build_udp(&w, &ip, ports, payload);
    } else if (payload.len % 3 == 1) {
        struct packet_build_tcp tcp = {.ports = ports, .flags = payload.at[0], .window = 1};
        packet_build_tcp(&w, &ip, &tcp, payload);
    } else {
        struct packet_build_echo echo = {.is_reply = !outbound, .id = 7};
        packet_build_echo(&w, &ip, &echo, payload);
    }
    return writer_finish(&w) ? w.used : 0;
}

static bool can_send(const struct fuzz *f, uint8_t arg)
{
    return f->rig->clients[arg & 3].is_used;
}

static void client_packet(struct fuzz *f, uint8_t arg)
{
    size_t len = put_packet(f, arg, true);
    if (can_send(f, arg) && len > 0) {
        (void)rig_client_send(f->rig, arg & 3, (struct view){f->packet, len});
    }
}

static void client_raw(struct fuzz *f, uint8_t arg)
{
    struct view bytes = take_bytes(f, BYTES_MAX);
    if (can_send(f, arg)) {
        (void)rig_client_send(f->rig, arg & 3, bytes);
    }
}

static void client_control(struct fuzz *f, uint8_t arg)
{
    struct writer w = writer_of((struct span){f->packet, sizeof(f->packet)});
    struct p2p_assigned_ips msg = {.proxy_ips_count = 2};
    static const char *const names[] = {"a.corp.test", "b.corp.test", "A.corp.test", "a.test"};
    bool known = uuid_parse(view_text(RIG_DNS_ID), &msg.resource) &&
                 dns_name_parse(view_text(names[arg >> 2 & 3]), &msg.domain);
    ASSERT(known);
    msg.proxy_ips[0] = some_address(2);
    msg.proxy_ips[1] = some_address(arg >> 5);
    if ((arg & 0x10) != 0) {
        packet_build_p2p(&w, arg >> 5, take_bytes(f, BYTES_MAX));
    } else {
        w.used = p2p_encode_assigned_ips((struct span){f->packet, sizeof(f->packet)}, &msg);
    }
    if (can_send(f, arg)) {
        (void)rig_client_send(f->rig, arg & 3, (struct view){f->packet, w.used});
    }
}

/* A genuine message, bent at one place, repeated, or as part of a train. */
static void client_bent(struct fuzz *f, uint8_t arg)
{
    uint8_t message[BYTES_MAX];
    uint8_t bend = reader_u8(&f->r);
    size_t len = put_packet(f, arg, true);
    if (!can_send(f, arg) || len == 0 || len > BYTES_MAX - 64) {
        return;
    }
    len = rig_client_seal(f->rig, arg & 3, (struct view){f->packet, len}, message);
    if (len == 0) {
        return;
    }
    rig_client_datagram(f->rig, arg & 3, (struct view){message, len});
    message[bend % len] ^= (uint8_t)(1U << (bend & 7));
    rig_client_datagram(f->rig, arg & 3, (struct view){message, len});
    message[bend % len] ^= (uint8_t)(1U << (bend & 7));
    rig_client_datagram(f->rig, arg & 3, (struct view){message, len});
    if (f->rig->to_gateway.count > 0) {
        f->rig->to_gateway.items[f->rig->to_gateway.count - 1].segment_size =
            (uint16_t)(bend % 2 == 0 ? 0 : 1 + bend);
    }
    rig_settle(f->rig);
}

/* ---- the network ---- */

static void datagram(struct fuzz *f, uint8_t arg)
{
    struct sock_addr gateway = sock_addr_of(ip_v4(10, 2, 0, 2), 52625);
    struct sock_addr from = sock_addr_of(ip_v4(192, 0, 2, 66), 4242);
    if ((arg & 1) != 0) {
        from = f->rig->relays[arg >> 1 & 1].server;
    } else if ((arg & 2) != 0) {
        from = f->rig->clients[arg >> 2 & 3].mapped;
    }
    rig_udp(f->rig, gateway, from, take_bytes(f, BYTES_MAX));
    f->rig->to_gateway.items[f->rig->to_gateway.count - 1].segment_size = arg >> 4;
    rig_settle(f->rig);
}

/* Any bytes of a peer through the relay. */
static void relayed(struct fuzz *f, uint8_t arg)
{
    rig_relay_peer(f->rig, arg & 1, f->rig->clients[arg >> 1 & 3].mapped,
                   take_bytes(f, BYTES_MAX - 100), arg >> 6);
    rig_settle(f->rig);
}

static void change_relay(struct fuzz *f, uint8_t arg)
{
    struct rig_relay *r = &f->rig->relays[arg & 1];
    r->is_silent = (arg & 2) != 0;
    r->loses_data = (arg & 4) != 0;
    r->forgets = (arg & 8) != 0;
    r->nonce_number += arg >> 4 & 1;
    r->password[0] = (char)('p' + (arg >> 5 & 1));
}

static void tun(struct fuzz *f, uint8_t arg)
{
    struct gateway_offload offload = {(enum gateway_gso)(arg >> 6), 0, (arg & 0x20) != 0};
    offload.gso_size = offload.gso == GATEWAY_GSO_NONE ? 0 : reader_u8(&f->r);
    size_t len = put_packet(f, arg, false);
    if (len > 0) {
        rig_tun_offload(f->rig, (struct view){f->packet, len}, offload);
    }
}

static void tun_raw(struct fuzz *f, uint8_t arg)
{
    struct gateway_offload offload = {(enum gateway_gso)(arg & 3), arg, (arg & 4) != 0};
    struct view bytes = take_bytes(f, BYTES_MAX);
    if (bytes.len > 0) {
        rig_tun_offload(f->rig, bytes, offload);
    }
}

static void answer_lookup(struct fuzz *f, uint8_t arg)
{
    static const enum err results[] = {ERR_NONE, ERR_NAME, ERR_TIMEOUT, ERR_IO};
    struct ip_addr addresses[3] = {some_address(arg >> 2), some_address(arg >> 5), some_address(0)};
    enum err result = results[arg & 3];
    for (size_t i = 0; i < RIG_LOOKUPS_MAX; i++) {
        const struct rig_lookup *lookup = &f->rig->lookups[i];
        if (!lookup->is_open) {
            continue;
        }
        if (lookup->type == GATEWAY_LOOKUP_SRV || lookup->type == GATEWAY_LOOKUP_TXT) {
            rig_answer_records(f->rig, i, result, take_bytes(f, BYTES_MAX));
        } else {
            rig_answer(f->rig, i, result, addresses, result == ERR_NONE ? arg >> 6 : 0, arg);
        }
        return;
    }
}

static void local_stream(struct fuzz *f, uint8_t arg)
{
    uint32_t stream = 1 + (arg >> 3) % 20;
    f->rig->stream_room = (arg & 4) != 0 ? 50 : SIZE_MAX;
    f->rig->stream_remote.ip = ip_v4(100, 64, 1, arg >> 6);
    switch (arg & 3) {
    case 0:
        f->streams++;
        rig_accept(f->rig, f->streams, (enum gateway_listener)(arg % GATEWAY_LISTENER_COUNT));
        break;
    case 1:
        rig_stream_bytes(f->rig, stream, take_bytes(f, BYTES_MAX));
        break;
    case 2:
        rig_stream_writable(f->rig, stream);
        break;
    default:
        rig_stream_closed(f->rig, stream);
        break;
    }
}

static void pass_time(struct fuzz *f, uint8_t arg)
{
    rig_pass(f->rig, DURATION_MS((uint64_t)arg * arg));
}

static void jump(struct fuzz *f, uint8_t arg)
{
    uint64_t ns = (uint64_t)(arg & 0x7f) * 600 * NS_PER_S;
    struct rig *rig = f->rig;
    if ((arg & 0x80) == 0) {
        rig->now.unix_ns += ns;
    } else {
        rig->now.unix_ns -= ns < rig->now.unix_ns ? ns : rig->now.unix_ns;
    }
    if ((arg & 1) != 0) { /* a suspend: nothing ran meanwhile */
        rig->now.boot = instant_add(rig->now.boot, (struct duration){ns / 16});
    }
    rig_pass(rig, DURATION_MS(1));
}

/* ---- steps ---- */

static void step(struct fuzz *f)
{
    static void (*const steps[])(struct fuzz *, uint8_t) = {
        pass_time,     authorize, change_client,   client_packet, client_raw, client_control,
        client_bent,   datagram,  relayed,         change_relay,  tun,        tun_raw,
        answer_lookup, say,       say_well_formed, local_stream,  jump,
    };
    static char text[BYTES_MAX + 1];
    uint8_t what = reader_u8(&f->r);
    uint8_t arg = reader_u8(&f->r);
    if (what < 0xe0) {
        steps[what % (sizeof(steps) / sizeof(steps[0]))](f, arg);
    } else if (what < 0xf0) {
        rig_push_raw(f->rig, take_text(f, text, sizeof(text)));
    } else if (what < 0xf8) {
        rig_listener(f->rig, GATEWAY_LISTENER_DNS_UDP4 + (arg & 1), f->rig->clients[0].host,
                     take_bytes(f, BYTES_MAX));
    } else if (what < 0xff) {
        uint8_t seed[32] = {arg};
        gateway_handle_reseed(f->rig->gw, seed);
    } else if (arg > 0xff - GATEWAY_END_COUNT) {
        rig_end(f->rig, (enum gateway_end)(0xff - arg));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gateway_limits limits = rig_limits();
    struct fuzz f;
    memset(&f, 0, sizeof(f));
    f.r = reader_of((struct view){data, size});
    uint8_t options = reader_u8(&f.r);
    limits.clients = 3; /* fewer than there are */
    f.rig = rig_new_with(&limits, (options & 1) != 0);
    f.rig->portal.is_head = (options & 2) != 0;
    f.rig->portal.relays = options >> 2 & 3;
    f.rig->batch = (options & 16) != 0 ? 64 : 1;
    f.rig->clients[0].is_direct = (options & 32) != 0;
    gateway_set_tun_offload(f.rig->gw, (options & 64) != 0, (options & 128) != 0);
    rig_settle(f.rig);
    for (size_t i = 0; i < STEPS_MAX && f.r.rest.len >= 2 && !f.rig->exited; i++) {
        step(&f);
        rig_forget(f.rig);
        rig_list_clear(&f.rig->sent);
        rig_list_clear(&f.rig->datagrams);
    }
    rig_free(f.rig);
    return 0;
}
