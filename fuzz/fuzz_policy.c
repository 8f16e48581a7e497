/* Bytes become grants, assignments, packets and time; the invariants are walked after each step. */
#include <stdlib.h>
#include <string.h>

#include "packet/packet_rewrite.h"
#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROOM_SIZE 2048U
#define HEADROOM  64U
#define STEPS_MAX 400U

struct machine {
    struct policy *policy;
    struct reader in;
    struct clock_pair now;
    uint32_t handles[4];
    uint8_t room[ROOM_SIZE];
    uint8_t answer[POLICY_REPLY_SIZE_MAX];
};

static const char *const NAMES[] = {"a.com", "b.com", "x.y.com", "c.org"};
static const char *const PATTERNS[] = {"a.com", "*.com", "**.com", "?.org", "[", "**"};

static struct uuid pick_id(struct machine *m)
{
    struct uuid out = {{0}};
    out.bytes[3] = reader_u8(&m->in) % 6;
    return out;
}

static uint32_t pick_client(struct machine *m)
{
    return m->handles[reader_u8(&m->in) % 4];
}

/* Few addresses, so that they meet; every range is among them. */
static struct ip_addr pick_ip(struct machine *m)
{
    uint8_t kind = reader_u8(&m->in);
    uint8_t host = reader_u8(&m->in);
    uint8_t v6[16] = {0xfd, 0, 0x20, 0x21, 0x11, 0x11, (kind & 8) != 0 ? 0x80 : 0, 0};
    v6[15] = host % 8;
    switch (kind % 8) {
    case 0:
        return ip_v4(100, 64, 0, host % 8);
    case 1:
        return ip_v4(100, 96, 0, host % 16);
    case 2:
        return ip_v4(10, 0, 0, host % 4);
    case 3:
    case 4:
        return ip_from_bytes(IP_V6, v6);
    case 5:
        v6[0] = 0x20;
        return ip_from_bytes(IP_V6, v6);
    default:
        return ip_v4(host, kind, 0, 1);
    }
}

static void step_client(struct machine *m)
{
    uint8_t slot = reader_u8(&m->in) % 4;
    struct uuid id = pick_id(m);
    uint32_t handle = 0;
    if (policy_client_upsert(m->policy, &id, pick_ip(m), pick_ip(m), &handle) == ERR_NONE) {
        m->handles[slot] = handle;
    }
}

static struct policy_resource pick_resource(struct machine *m, struct policy_rule rules[4])
{
    struct policy_resource out = {.id = pick_id(m), .rules = rules};
    uint8_t shape = reader_u8(&m->in);
    out.kind = (enum policy_kind)(shape % 3);
    out.rules_count = (shape >> 2) % 5;
    out.prefix.ip = pick_ip(m);
    out.prefix.len = reader_u8(&m->in);
    out.pattern = view_text(PATTERNS[out.prefix.len % (sizeof PATTERNS / sizeof PATTERNS[0])]);
    for (size_t i = 0; i < out.rules_count; i++) {
        rules[i].protocol = (enum policy_protocol)(reader_u8(&m->in) % 4);
        rules[i].port_first = reader_u8(&m->in);
        rules[i].port_last = reader_be16(&m->in);
    }
    return out;
}

static void step_grant(struct machine *m)
{
    struct policy_rule rules[4];
    uint32_t client = pick_client(m);
    uint8_t expiry = reader_u8(&m->in);
    struct policy_resource resource = pick_resource(m, rules);
    uint64_t expires_s =
        expiry == 0 ? POLICY_NEVER : m->now.unix_ns / NS_PER_S + expiry - UINT64_C(16);
    uint32_t updated = 0;
    enum err err = (expiry & 1) != 0 ? policy_authorize(m->policy, client, &resource, expires_s)
                                     : policy_update_begin(m->policy, &resource);
    if (err == ERR_NONE && (expiry & 2) != 0) { /* else the next update interrupts it */
        err = policy_update_next(m->policy, expiry & 4U, &updated);
    }
    (void)err;
}

static void step_end(struct machine *m)
{
    struct policy_ended ended;
    uint8_t how = reader_u8(&m->in);
    uint32_t client = pick_client(m);
    struct uuid resource = pick_id(m);
    struct uuid who = pick_id(m);
    switch (how % 4) {
    case 0:
        policy_client_remove(m->policy, client);
        break;
    case 1:
        while (policy_remove_resource(m->policy, &resource, &ended)) {
        }
        break;
    case 2:
        policy_retain_begin(m->policy);
        (void)policy_retain_keep(m->policy, &who, &resource, how);
        for (uint32_t budget = 1000; policy_retain_end(m->policy, &budget, &ended);) {
        }
        break;
    default: {
        enum err err = policy_revoke(m->policy, client, &resource, &ended);
        (void)err;
        break;
    }
    }
}

static void step_assign(struct machine *m)
{
    struct ip_addr proxies[8];
    struct ip_addr resolved[4];
    struct dns_name domain;
    uint32_t refused = 0;
    uint32_t client = pick_client(m);
    uint8_t shape = reader_u8(&m->in);
    if (!dns_name_parse(view_text(NAMES[shape % 4]), &domain)) {
        abort();
    }
    struct policy_assign request = {.resource = pick_id(m),
                                    .domain = &domain,
                                    .proxies = proxies,
                                    .proxies_count = (shape >> 2) % 9,
                                    .resolved = resolved,
                                    .resolved_count = (shape >> 5) % 5};
    for (size_t i = 0; i < request.proxies_count; i++) {
        proxies[i] = pick_ip(m);
        if ((shape & 3) != 0) { /* mostly in range */
            proxies[i] = ip_v4(100, 96, 0, proxies[i].bytes[3]);
        }
    }
    for (size_t i = 0; i < request.resolved_count; i++) {
        resolved[i] = pick_ip(m);
    }
    uint8_t lookup = reader_u8(&m->in);
    request.order = lookup % 8;
    request.failed_ipv4 = (lookup & 8) != 0;
    request.failed_ipv6 = (lookup & 16) != 0;
    enum policy_status before = policy_check_assign(m->policy, client, &request, m->now);
    enum policy_status after = policy_assign(m->policy, client, &request, m->now, &refused);
    if (before == POLICY_INACTIVE && after == POLICY_ACTIVE) {
        abort();
    }
}

/* A plausible header over arbitrary bytes: addresses from the small set, right lengths. */
static struct packet make_packet(struct machine *m, bool outward)
{
    static const uint8_t PROTOCOLS[] = {6, 17, 1, 58, 47, 0, 44, 255};
    uint8_t shape = reader_u8(&m->in);
    struct ip_addr tunnel = ip_v4(100, 64, 0, (shape >> 3) % 8);
    struct ip_addr other = pick_ip(m);
    if (other.family == IP_V6) {
        uint8_t v6[16] = {0xfd, 0, 0x20, 0x21, 0x11, 0x11};
        v6[15] = (shape >> 3) % 8;
        tunnel = ip_from_bytes(IP_V6, v6);
    }
    uint8_t *at = m->room + HEADROOM;
    size_t header = other.family == IP_V6 ? 40 : 20;
    size_t body = reader_u8(&m->in);
    struct view payload = reader_take(&m->in, body < m->in.rest.len ? body : m->in.rest.len);
    memset(at, 0, header);
    if (payload.len > 0) {
        memcpy(at + header, payload.at, payload.len);
    }
    const struct ip_addr *source = outward ? &tunnel : &other;
    const struct ip_addr *destination = outward ? &other : &tunnel;
    if (other.family == IP_V6) {
        at[0] = 0x60;
        store_be16(at + 4, (uint16_t)payload.len);
        at[6] = PROTOCOLS[shape % 8];
        memcpy(at + 8, source->bytes, 16);
        memcpy(at + 24, destination->bytes, 16);
    } else {
        at[0] = 0x45;
        store_be16(at + 2, (uint16_t)(header + payload.len));
        at[6] = (shape & 0x40) != 0 ? 0x40 : 0;
        at[8] = 64;
        at[9] = PROTOCOLS[shape % 8];
        memcpy(at + 12, source->bytes, 4);
        memcpy(at + 16, destination->bytes, 4);
    }
    return packet_of((struct span){m->room, ROOM_SIZE}, HEADROOM, header + payload.len);
}

static void step_packet(struct machine *m)
{
    struct policy_result result = {.buffer = {m->answer, sizeof m->answer}};
    uint8_t how = reader_u8(&m->in);
    bool outward = (how & 1) != 0;
    uint32_t client = pick_client(m);
    struct packet packet = make_packet(m, outward);
    struct packet_info info;
    if ((how & 2) != 0 && packet_parse(&packet, &info) == DROP_NONE) {
        packet_recompute_checksums(&packet, &info);
    }
    enum policy_action action = outward
                                    ? policy_outbound(m->policy, client, &packet, m->now, &result)
                                    : policy_inbound(m->policy, &packet, m->now, &client, &result);
    if ((action == POLICY_FORWARD) != (result.reason == DROP_NONE) ||
        (action == POLICY_REPLY) != (result.reply.len > 0)) {
        abort();
    }
    if (action == POLICY_FORWARD &&
        (packet_parse(&packet, &info) != DROP_NONE || packet.len > PACKET_INNER_MTU)) {
        abort(); /* what we let through must itself be acceptable */
    }
}

static void step_time(struct machine *m)
{
    struct policy_ended ended;
    uint64_t gap_ns = (uint64_t)reader_u8(&m->in) * NS_PER_S;
    m->now.boot.ns += gap_ns;
    m->now.unix_ns += gap_ns - (reader_u8(&m->in) % 64) * NS_PER_S;
    if (policy_expire(m->policy, m->now, &ended) && ended.emptied) {
        policy_client_remove(m->policy, ended.client);
    }
    policy_handle_timeout(m->policy, m->now);
    if (instant_before(policy_poll_timeout(m->policy).at, m->now.boot)) {
        abort();
    }
}

static void step(struct machine *m)
{
    uint8_t what = reader_u8(&m->in);
    switch (what % 8) {
    case 0:
        step_client(m);
        break;
    case 1:
        step_grant(m);
        break;
    case 2:
        step_assign(m);
        break;
    case 3:
        step_end(m);
        break;
    case 4:
        step_time(m);
        break;
    default:
        step_packet(m);
        break;
    }
}

static void prepare(struct machine *m)
{
    for (uint8_t i = 0; i < 2; i++) {
        struct uuid id = {{0}};
        id.bytes[3] = i;
        uint8_t v6[16] = {0xfd, 0, 0x20, 0x21, 0x11, 0x11};
        v6[15] = i;
        enum err err = policy_client_upsert(m->policy, &id, ip_v4(100, 64, 0, i),
                                            ip_from_bytes(IP_V6, v6), &m->handles[i]);
        (void)err;
    }
    m->now = (struct clock_pair){{NS_PER_S}, NS_PER_S * 1000000};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct policy_limits limits = {.clients = 3,
                                   .resources_per_client = 4,
                                   .nat_sessions = 12,
                                   .nat_sessions_per_client = 8,
                                   .nat_expired_per_client = 3,
                                   .proxies = 16,
                                   .proxies_per_client = 12,
                                   .domains = 3};
    struct machine *m = calloc(1, sizeof *m);
    uint8_t seed[RNG_SEED_SIZE] = {1};
    struct rng rng;
    if (m == NULL || size == 0) {
        free(m);
        return 0;
    }
    struct policy_options options = {.nat64_translate = (data[0] & 1) != 0};
    struct arena measure = {NULL, 0};
    rng_init(&rng, seed);
    (void)policy_init(&measure, &limits, &options, NULL);
    void *memory = aligned_alloc(ARENA_ALIGN, measure.used);
    if (memory == NULL) {
        free(m);
        return 0;
    }
    memset(memory, 0, measure.used);
    struct arena arena = {memory, 0};
    m->policy = policy_init(&arena, &limits, &options, &rng);
    m->in = reader_of((struct view){data + 1, size - 1});
    prepare(m);
    for (uint32_t i = 0; i < STEPS_MAX && m->in.rest.len > 0 && reader_ok(&m->in); i++) {
        step(m);
        policy_check(m->policy);
    }
    free(memory);
    free(m);
    return 0;
}
