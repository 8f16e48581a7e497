/* What a hostile client or a hostile host behind the gateway may send: any packet, made of fields
 * that matter and damaged at random. Whatever passes is judged anew by a reader of its own that
 * knows only what was granted: alice has one network with a filter, one without, and one name; bob
 * has the Internet. */
#include "tests/policy/policy_world.h"

#define ROUNDS 300000U
#define PROXY4 "100.96.0.1"
#define PROXY6 "fd00:2021:1111:8000::1"
#define REAL4  "10.0.9.1"

static const char *const V4[] = {
    ALICE_V4,  BOB_V4,        GW_V4,      "10.0.0.5",    "10.0.1.5",
    REAL4,     PROXY4,        "8.8.8.8",  "100.96.0.2",  "127.0.0.1",
    "0.0.0.0", "224.0.0.251", "10.0.2.5", "192.168.1.1", "255.255.255.255"};
static const char *const V6[] = {ALICE_V6,
                                 BOB_V6,
                                 GW_V6,
                                 PROXY6,
                                 "fd00:2021:1111:8000::2",
                                 "2001:db8::5",
                                 "64:ff9b::a00:5",
                                 "64:ff9b::808:808",
                                 "::ffff:10.0.0.5",
                                 "fe80::1",
                                 "ff02::1",
                                 "::"};
static const uint8_t PROTOCOLS[] = {6,  6, 6,  17, 17, 17, 1,  58, 0,   43,  44,
                                    60, 4, 41, 47, 50, 51, 59, 94, 132, 136, 255};
static const uint16_t PORTS[] = {0, 1, 53, 79, 80, 90, 91, 443, 65535};
static const uint8_t TYPES[] = {0, 1, 2, 3, 4, 5, 8, 11, 12, 13, 128, 129, 133, 134, 137, 255};

/* What the reader of this test finds in a packet. */
struct seen {
    bool is_whole; /* no fragment, headers readable */
    struct ip_addr source;
    struct ip_addr destination;
    uint8_t protocol;
    uint16_t source_port;
    uint16_t destination_port;
    uint8_t type;
};

#define PICK(w, table) ((table)[rng_below(&(w)->rng, sizeof(table) / sizeof((table)[0]))])

static size_t put_l4(struct world *w, uint8_t protocol, uint8_t *at)
{
    memset(at, 0, 60);
    store_be16(at, PICK(w, PORTS));
    store_be16(at + 2, PICK(w, PORTS));
    if (protocol == 6) {
        at[12] = 0x50;
        at[13] = (uint8_t)rng_below(&w->rng, 64);
        return 24;
    }
    if (protocol == 17) {
        store_be16(at + 4, 20);
        return 20;
    }
    if (protocol == 1 || protocol == 58) {
        at[0] = PICK(w, TYPES);
        at[1] = (uint8_t)rng_below(&w->rng, 3);
        store_be16(at + 4, PICK(w, PORTS));
    }
    return 16;
}

/* An error may quote a packet of the receiver, whole or not. */
static size_t put_quote(struct world *w, bool is_v4, const struct ip_addr *receiver, uint8_t *at)
{
    struct ip_addr to = is_v4 ? ip(PICK(w, V4)) : ip(PICK(w, V6));
    struct ip_addr from = rng_below(&w->rng, 4) == 0 ? to : *receiver;
    size_t header = is_v4 ? 20 : 40;
    uint8_t protocol = rng_below(&w->rng, 2) == 0 ? 6 : 17;
    memset(at, 0, header);
    size_t l4 = put_l4(w, protocol, at + header);
    if (is_v4) {
        at[0] = 0x45;
        store_be16(at + 2, (uint16_t)(header + l4));
        at[9] = protocol;
        memcpy(at + 12, from.bytes, 4);
        memcpy(at + 16, to.bytes, 4);
    } else {
        at[0] = 0x60;
        store_be16(at + 4, (uint16_t)l4);
        at[6] = protocol;
        memcpy(at + 8, from.bytes, 16);
        memcpy(at + 24, to.bytes, 16);
    }
    return header + l4 - rng_below(&w->rng, 20);
}

static size_t put_v4(struct world *w, const struct ip_addr *source, const struct ip_addr *to,
                     uint8_t *at)
{
    uint8_t protocol = PICK(w, PROTOCOLS);
    size_t len = 20 + put_l4(w, protocol, at + 20);
    memset(at, 0, 20);
    if (protocol == 1 && rng_below(&w->rng, 2) == 0) {
        len = 28 + put_quote(w, true, to, at + 28);
    }
    at[0] = 0x45;
    store_be16(at + 2, (uint16_t)len);
    if (rng_below(&w->rng, 8) == 0) {
        store_be16(at + 6, (uint16_t)rng_u32(&w->rng));
    }
    at[8] = 64;
    at[9] = protocol;
    memcpy(at + 12, source->bytes, 4);
    memcpy(at + 16, to->bytes, 4);
    return len;
}

static size_t put_v6(struct world *w, const struct ip_addr *source, const struct ip_addr *to,
                     uint8_t *at)
{
    uint8_t *next = at + 6;
    size_t len = 40;
    memset(at, 0, 40);
    while (rng_below(&w->rng, 3) == 0 && len < 80) { /* extension headers, right or wrong */
        static const uint8_t KINDS[] = {0, 43, 44, 60};
        *next = PICK(w, KINDS);
        memset(at + len, 0, 8);
        at[len + 3] = (uint8_t)(rng_below(&w->rng, 4) == 0 ? rng_below(&w->rng, 4) : 0);
        next = at + len;
        len += 8;
    }
    *next = PICK(w, PROTOCOLS);
    size_t l4 = len;
    len += put_l4(w, *next, at + len);
    if (*next == 58 && rng_below(&w->rng, 2) == 0) {
        len = l4 + 8 + put_quote(w, false, to, at + l4 + 8);
    }
    at[0] = 0x60;
    store_be16(at + 4, (uint16_t)(len - 40));
    at[7] = 64;
    memcpy(at + 8, source->bytes, 16);
    memcpy(at + 24, to->bytes, 16);
    return len;
}

static struct seen read_packet(const uint8_t *at)
{
    struct seen out = {.is_whole = true};
    const uint8_t *l4 = at + 20;
    if (at[0] >> 4 == 4) {
        out.is_whole = (load_be16(at + 6) & 0x3fff) == 0;
        out.protocol = at[9];
        out.source = ip_from_bytes(IP_V4, at + 12);
        out.destination = ip_from_bytes(IP_V4, at + 16);
        l4 = at + (size_t)(at[0] & 15) * 4;
    } else {
        out.protocol = at[6];
        out.source = ip_from_bytes(IP_V6, at + 8);
        out.destination = ip_from_bytes(IP_V6, at + 24);
        l4 = at + 40;
        for (uint32_t i = 0; i < PACKET_EXTENSIONS_MAX && packet_is_extension(out.protocol); i++) {
            bool is_stop = out.protocol == 43 && l4[3] != 0;
            bool is_part = out.protocol == 44 && (load_be16(l4 + 2) & 0xfff9) != 0;
            out.is_whole = out.is_whole && !is_stop && !is_part;
            size_t size = out.protocol == 44 ? 8 : 8 * ((size_t)l4[1] + 1);
            out.protocol = l4[0];
            l4 += size;
        }
    }
    bool has_ports = out.protocol == 6 || out.protocol == 17;
    out.source_port = has_ports ? load_be16(l4) : 0;
    out.destination_port = has_ports ? load_be16(l4 + 2) : 0;
    out.type = l4[0];
    return out;
}

static bool within(const struct ip_addr *ip_, const char *text)
{
    struct ip_prefix p = prefix(text);
    return ip_prefix_contains(&p, ip_);
}

static bool is(const struct ip_addr *ip_, const char *text)
{
    struct ip_addr other = ip(text);
    return ip_equal(ip_, &other);
}

/* Not for the Internet resource; of IPv6 through a NAT64, too. */
static bool is_inner(const struct ip_addr *far)
{
    static const char *const INNER[] = {
        "0.0.0.0/8",      "10.0.0.0/8",     "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12",  "192.168.0.0/16", "224.0.0.0/3",   "::/127",      "::ffff:0:0/96",
        "64:ff9b:1::/48", "fc00::/7",       "fe80::/10",     "ff00::/8"};
    struct ip_addr end = *far;
    if (within(far, "64:ff9b::/96")) {
        end = ip_from_bytes(IP_V4, far->bytes + 12);
    }
    bool found = false;
    for (size_t i = 0; i < ARRAY_COUNT(INNER); i++) {
        found = found || within(&end, INNER[i]);
    }
    return found;
}

/* What may be exchanged with `far` by itself, `port` being the one there. */
static bool is_granted(const struct seen *p, bool is_alice, const struct ip_addr *far,
                       uint16_t port)
{
    if (is_alice) {
        return within(far, "10.0.1.0/24") ||
               (within(far, "10.0.0.0/24") && p->protocol == 6 && port >= 80 && port <= 90);
    }
    return !is_inner(far);
}

static bool is_icmp_error(const struct seen *p)
{
    return (p->protocol == 1 && (p->type >= 3 && p->type <= 12 && p->type != 8)) ||
           (p->protocol == 58 && p->type < 128);
}

static void check_out(const struct world *w, bool is_alice, const struct seen *p)
{
    const struct packet_info *left = &w->result.info;
    assert_true(p->is_whole);
    assert_true(is(&p->source, is_alice ? ALICE_V4 : BOB_V4) ||
                is(&p->source, is_alice ? ALICE_V6 : BOB_V6));
    if (is(&p->destination, PROXY4) || is(&p->destination, PROXY6)) {
        assert_true(is_alice && p->protocol == 17 && p->destination_port == 53);
        assert_ip(left->destination, REAL4);
        assert_ip(left->source, ALICE_V4);
        return;
    }
    assert_true(ip_equal(&left->destination, &p->destination));
    if (is(&p->destination, GW_V4) || is(&p->destination, GW_V6)) {
        assert_true(p->protocol == 6 || p->protocol == 17 || p->protocol == 1 || p->protocol == 58);
        return;
    }
    assert_false(is_icmp_error(p));
    assert_true(is_granted(p, is_alice, &p->destination, p->destination_port));
}

static void check_in(const struct world *w, bool is_alice, const struct seen *p)
{
    const struct packet_info *left = &w->result.info;
    assert_true(p->is_whole);
    assert_true(is(&p->destination, is_alice ? ALICE_V4 : BOB_V4) ||
                is(&p->destination, is_alice ? ALICE_V6 : BOB_V6));
    assert_false(p->protocol == 1 && p->type == 5);
    if (is(&p->source, GW_V4) || is(&p->source, GW_V6) || is_icmp_error(p)) {
        return;
    }
    if (is(&left->source, PROXY4) || is(&left->source, PROXY6)) {
        assert_true(is_alice && is(&p->source, REAL4) && p->protocol == 17);
        assert_int_equal(p->source_port, 53);
        return;
    }
    assert_true(ip_equal(&left->source, &p->source));
    assert_true(is_granted(p, is_alice, &p->source, p->source_port));
}

static void damage(struct world *w, size_t *len)
{
    uint32_t dice = rng_below(&w->rng, 8);
    uint8_t *at = w->room + WORLD_HEADROOM;
    if (dice == 0) {
        at[rng_below(&w->rng, (uint32_t)*len)] ^= (uint8_t)(1U << rng_below(&w->rng, 8));
    } else if (dice == 1) {
        *len -= rng_below(&w->rng, 12);
    }
}

static void test_nothing_passes_that_is_not_granted(void **state)
{
    (void)state;
    struct world w;
    uint32_t passed[2][2] = {{0}};
    struct policy_rule web = tcp(80, 90);
    struct policy_rule names = udp(53, 53);
    world_open(&w, small_limits(), (struct policy_options){.nat64_translate = true});
    world_people(&w);
    grant(&w, w.alice, cidr(1, "10.0.0.0/24"), &web);
    grant(&w, w.alice, cidr(2, "10.0.1.0/24"), NULL);
    grant(&w, w.alice, dns(3, "foo.com"), &names);
    grant(&w, w.bob, internet(4), NULL);
    assert_int_equal(assign(&w, 3, "foo.com", PROXY4 " " PROXY6, REAL4), POLICY_ACTIVE);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        bool is_out = rng_below(&w.rng, 2) == 0;
        bool is_alice = rng_below(&w.rng, 2) == 0;
        bool is_v4 = rng_below(&w.rng, 2) == 0;
        struct ip_addr own =
            is_v4 ? ip(is_alice ? ALICE_V4 : BOB_V4) : ip(is_alice ? ALICE_V6 : BOB_V6);
        struct ip_addr far = is_v4 ? ip(PICK(&w, V4)) : ip(PICK(&w, V6));
        struct ip_addr any = is_v4 ? ip(PICK(&w, V4)) : ip(PICK(&w, V6));
        own = rng_below(&w.rng, 10) == 0 ? any : own;
        uint8_t *at = w.room + WORLD_HEADROOM;
        const struct ip_addr *from = is_out ? &own : &far;
        const struct ip_addr *to = is_out ? &far : &own;
        size_t len = is_v4 ? put_v4(&w, from, to, at) : put_v6(&w, from, to, at);
        uint32_t client = is_alice ? w.alice : w.bob;
        enum policy_action action;
        damage(&w, &len);
        struct seen seen = read_packet(at);
        w.packet = packet_of((struct span){w.room, WORLD_ROOM_SIZE}, WORLD_HEADROOM, len);
        if (is_out) {
            action = policy_outbound(w.policy, client, &w.packet, w.now, &w.result);
        } else {
            action = policy_inbound(w.policy, &w.packet, w.now, &client, &w.result);
        }
        if (action == POLICY_FORWARD) {
            (is_out ? check_out : check_in)(&w, client == w.alice, &seen);
            passed[is_out ? 1 : 0][client == w.alice ? 1 : 0]++;
        } else {
            assert_int_not_equal(w.result.reason, DROP_NONE);
        }
        world_sleep(&w, NS_PER_MS);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_true(passed[i / 2][i % 2] > 500); /* it is about something */
    }
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_passes_that_is_not_granted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
