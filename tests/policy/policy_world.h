/* policy_world: a small policy with two clients, and packets to send through it. */
#ifndef TESTS_POLICY_WORLD_H
#define TESTS_POLICY_WORLD_H

#include <stdlib.h>
#include <string.h>

#include "packet/packet_build.h"
#include "packet/packet_icmp.h"
#include "packet/packet_rewrite.h"
#include "policy/policy.h"
#include "tests/support/support.h"

#define WORLD_HEADROOM  64U
#define WORLD_ROOM_SIZE (WORLD_HEADROOM + 65536U)
#define WORLD_HELPER    __attribute__((unused, noinline)) static

struct world {
    void *memory;
    struct policy *policy;
    struct rng rng;
    struct clock_pair now;
    uint32_t alice;
    uint32_t bob;
    uint8_t *room;
    uint8_t *answer;
    struct packet packet;
    struct policy_result result;
};

#define ALICE_V4 "100.64.0.10"
#define ALICE_V6 "fd00:2021:1111::a"
#define BOB_V4   "100.64.0.11"
#define BOB_V6   "fd00:2021:1111::b"
#define GW_V4    "100.64.0.1"
#define GW_V6    "fd00:2021:1111::1"

WORLD_HELPER struct ip_addr ip(const char *text)
{
    struct ip_addr out = {0};
    assert_true(ip_parse(view_text(text), &out));
    return out;
}

WORLD_HELPER struct ip_prefix prefix(const char *text)
{
    struct ip_prefix out = {0};
    assert_true(ip_prefix_parse(view_text(text), &out));
    return out;
}

WORLD_HELPER struct uuid id(uint8_t n)
{
    struct uuid out = {{0}};
    out.bytes[0] = 0x10;
    out.bytes[15] = n;
    return out;
}

WORLD_HELPER struct dns_name name(const char *text)
{
    struct dns_name out;
    assert_true(dns_name_parse(view_text(text), &out));
    return out;
}

WORLD_HELPER struct policy_limits small_limits(void)
{
    return (struct policy_limits){.clients = 4,
                                  .resources_per_client = 8,
                                  .nat_sessions = 64,
                                  .nat_sessions_per_client = 48,
                                  .nat_expired_per_client = 8,
                                  .proxies = 64,
                                  .proxies_per_client = 40,
                                  .domains = 16};
}

WORLD_HELPER void world_open(struct world *w, struct policy_limits limits,
                             struct policy_options options)
{
    struct arena measure = {NULL, 0};
    uint8_t seed[RNG_SEED_SIZE] = {7};
    memset(w, 0, sizeof *w);
    rng_init(&w->rng, seed);
    assert_null(policy_init(&measure, &limits, &options, NULL));
    w->memory = aligned_alloc(ARENA_ALIGN, measure.used);
    assert_non_null(w->memory);
    memset(w->memory, 0, measure.used);
    w->room = calloc(1, WORLD_ROOM_SIZE);
    w->answer = calloc(1, POLICY_REPLY_SIZE_MAX);
    assert_non_null(w->room);
    assert_non_null(w->answer);
    struct arena arena = {w->memory, 0};
    w->policy = policy_init(&arena, &limits, &options, &w->rng);
    assert_int_equal(arena.used, measure.used);
    w->now = (struct clock_pair){{NS_PER_S * 1000}, NS_PER_S * 1700000000};
    policy_set_gateway_addresses(w->policy, ip(GW_V4), ip(GW_V6));
    w->result.buffer = (struct span){w->answer, POLICY_REPLY_SIZE_MAX};
}

WORLD_HELPER void world_people(struct world *w)
{
    struct uuid alice = id(201);
    struct uuid bob = id(202);
    assert_int_equal(policy_client_upsert(w->policy, &alice, ip(ALICE_V4), ip(ALICE_V6), &w->alice),
                     ERR_NONE);
    assert_int_equal(policy_client_upsert(w->policy, &bob, ip(BOB_V4), ip(BOB_V6), &w->bob),
                     ERR_NONE);
}

WORLD_HELPER void world_init(struct world *w)
{
    world_open(w, small_limits(), (struct policy_options){.nat64_translate = false});
    world_people(w);
}

WORLD_HELPER void world_deinit(struct world *w)
{
    policy_check(w->policy);
    free(w->room);
    free(w->answer);
    free(w->memory);
}

WORLD_HELPER void world_sleep(struct world *w, uint64_t ns)
{
    w->now.boot.ns += ns;
    w->now.unix_ns += ns;
}

/* ---- grants ---- */

WORLD_HELPER struct policy_rule tcp(uint16_t first, uint16_t last)
{
    return (struct policy_rule){POLICY_PROTOCOL_TCP, first, last};
}

WORLD_HELPER struct policy_rule udp(uint16_t first, uint16_t last)
{
    return (struct policy_rule){POLICY_PROTOCOL_UDP, first, last};
}

WORLD_HELPER struct policy_rule icmp(void)
{
    return (struct policy_rule){POLICY_PROTOCOL_ICMP, 0, 0};
}

WORLD_HELPER struct policy_resource cidr(uint8_t n, const char *text)
{
    return (struct policy_resource){.id = id(n), .kind = POLICY_KIND_CIDR, .prefix = prefix(text)};
}

WORLD_HELPER struct policy_resource dns(uint8_t n, const char *pattern)
{
    return (struct policy_resource){
        .id = id(n), .kind = POLICY_KIND_DNS, .pattern = view_text(pattern)};
}

WORLD_HELPER struct policy_resource internet(uint8_t n)
{
    return (struct policy_resource){.id = id(n), .kind = POLICY_KIND_INTERNET};
}

/* Grants for ever; `rule` NULL: everything. */
WORLD_HELPER void grant(struct world *w, uint32_t client, struct policy_resource resource,
                        const struct policy_rule *rule)
{
    resource.rules = rule;
    resource.rules_count = rule == NULL ? 0 : 1;
    assert_int_equal(policy_authorize(w->policy, client, &resource, POLICY_NEVER), ERR_NONE);
}

WORLD_HELPER bool revoke(struct world *w, uint32_t client, uint8_t n)
{
    struct uuid resource = id(n);
    struct policy_ended ended;
    assert_int_equal(policy_revoke(w->policy, client, &resource, &ended), ERR_NONE);
    return ended.emptied;
}

/* Splits "a b c" into addresses. */
WORLD_HELPER size_t ips(const char *text, struct ip_addr *out, size_t max)
{
    size_t count = 0;
    while (*text != '\0') {
        size_t len = strcspn(text, " ");
        assert_true(count < max);
        assert_true(ip_parse((struct view){(const uint8_t *)text, len}, &out[count]));
        count++;
        text += len + (text[len] == ' ' ? 1 : 0);
    }
    return count;
}

WORLD_HELPER enum policy_status assign(struct world *w, uint8_t resource, const char *domain,
                                       const char *proxies, const char *resolved)
{
    struct ip_addr p[40];
    struct ip_addr r[40];
    struct dns_name wanted = name(domain);
    struct policy_assign request = {.resource = id(resource),
                                    .domain = &wanted,
                                    .proxies = p,
                                    .proxies_count = ips(proxies, p, 40),
                                    .resolved = r,
                                    .resolved_count = ips(resolved, r, 40)};
    uint32_t refused = 0;
    return policy_assign(w->policy, w->alice, &request, w->now, &refused);
}

/* ---- packets ---- */

struct flow {
    char protocol; /* 't', 'u', 'i' echo request, 'r' echo reply, 'x' another protocol */
    const char *source;
    const char *destination;
    uint16_t source_port;
    uint16_t destination_port;
    uint8_t flags;  /* TCP */
    size_t payload; /* bytes */
    bool may_fragment;
};

WORLD_HELPER struct flow flow(char protocol, const char *source, const char *destination,
                              uint16_t source_port, uint16_t destination_port)
{
    return (struct flow){.protocol = protocol,
                         .source = source,
                         .destination = destination,
                         .source_port = source_port,
                         .destination_port = destination_port,
                         .flags = PACKET_TCP_ACK,
                         .payload = 12};
}

WORLD_HELPER void put(struct world *w, struct flow f)
{
    static const uint8_t PAYLOAD[65000];
    struct writer out =
        writer_of((struct span){w->room + WORLD_HEADROOM, WORLD_ROOM_SIZE - WORLD_HEADROOM});
    struct packet_build_ip header = {
        .source = ip(f.source), .destination = ip(f.destination), .may_fragment = f.may_fragment};
    struct packet_build_ports ports = {f.source_port, f.destination_port};
    struct view payload = {PAYLOAD, f.payload};
    if (f.protocol == 't') {
        struct packet_build_tcp segment = {.ports = ports, .flags = f.flags};
        packet_build_tcp(&out, &header, &segment, payload);
    } else if (f.protocol == 'u') {
        packet_build_udp(&out, &header, ports, payload);
    } else if (f.protocol == 'x') {
        packet_build_raw(&out, &header, 47, payload);
    } else {
        struct packet_build_echo echo = {f.protocol == 'r', f.source_port, 1};
        packet_build_echo(&out, &header, &echo, payload);
    }
    struct view bytes = writer_view(&out);
    assert_true(writer_finish(&out));
    w->packet = packet_of((struct span){w->room, WORLD_ROOM_SIZE}, WORLD_HEADROOM, bytes.len);
}

WORLD_HELPER void put_raw(struct world *w, const char *source, const char *destination,
                          uint8_t protocol)
{
    static const uint8_t PAYLOAD[40];
    struct writer out =
        writer_of((struct span){w->room + WORLD_HEADROOM, WORLD_ROOM_SIZE - WORLD_HEADROOM});
    struct packet_build_ip header = {.source = ip(source), .destination = ip(destination)};
    packet_build_raw(&out, &header, protocol, VIEW_OF(PAYLOAD));
    struct view bytes = writer_view(&out);
    assert_true(writer_finish(&out));
    w->packet = packet_of((struct span){w->room, WORLD_ROOM_SIZE}, WORLD_HEADROOM, bytes.len);
}

/* What is forwarded has right checksums and headers that agree with the result. */
WORLD_HELPER void check_forwarded(const struct world *w)
{
    struct packet_info info;
    assert_int_equal(packet_parse(&w->packet, &info), DROP_NONE);
    assert_true(packet_checksums_ok(&w->packet, &info));
    assert_true(ip_equal(&info.source, &w->result.info.source));
    assert_true(ip_equal(&info.destination, &w->result.info.destination));
    assert_int_equal(info.source_port, w->result.info.source_port);
    assert_int_equal(info.destination_port, w->result.info.destination_port);
}

WORLD_HELPER enum policy_action out(struct world *w, uint32_t client, struct flow f)
{
    put(w, f);
    enum policy_action action = policy_outbound(w->policy, client, &w->packet, w->now, &w->result);
    if (action == POLICY_FORWARD) {
        check_forwarded(w);
    }
    return action;
}

/* The number of the resource that permitted the last packet. */
WORLD_HELPER uint8_t permitted_by(const struct world *w, uint32_t client)
{
    return policy_resource_of(w->policy, client, &w->result).bytes[15];
}

WORLD_HELPER enum policy_action in_again(struct world *w)
{
    uint32_t client = 0;
    enum policy_action action = policy_inbound(w->policy, &w->packet, w->now, &client, &w->result);
    if (action == POLICY_FORWARD) {
        check_forwarded(w);
    }
    return action;
}

WORLD_HELPER enum policy_action in(struct world *w, struct flow f)
{
    put(w, f);
    return in_again(w);
}

#define assert_ip(actual, text)                                                                    \
    do {                                                                                           \
        struct ip_addr expected_ = ip(text);                                                       \
        assert_true(ip_equal(&(actual), &expected_));                                              \
    } while (0)

/* Parses the answer and says which ICMP error it is: type * 256 + code. */
WORLD_HELPER int answer_kind(const struct world *w)
{
    uint8_t copy[POLICY_REPLY_SIZE_MAX];
    struct packet_info info;
    memcpy(copy, w->result.reply.at, w->result.reply.len);
    struct packet packet = packet_of((struct span){copy, sizeof copy}, 0, w->result.reply.len);
    assert_int_equal(packet_parse(&packet, &info), DROP_NONE);
    assert_true(packet_checksums_ok(&packet, &info));
    return info.icmp_type * 256 + info.icmp_code;
}

#define PROHIBITED_V4 (3 * 256 + 13)
#define PROHIBITED_V6 (1 * 256 + 1)
#define NETWORK_V4    (3 * 256 + 0)
#define NETWORK_V6    (1 * 256 + 3)
#define TOO_BIG_V4    (3 * 256 + 4)
#define TOO_BIG_V6    (2 * 256 + 0)

#endif /* TESTS_POLICY_WORLD_H */
