#include "ice/ice_candidate.h"

#include <string.h>

#include "base/text.h"
#include "crypto/rng.h"
#include "tests/support/support.h"

static struct sock_addr addr_of(const char *text)
{
    struct sock_addr addr;
    assert_true(sock_addr_parse(view_text(text), &addr));
    return addr;
}

/* Text of a candidate, null-terminated in `out`. */
static void put(char out[ICE_CANDIDATE_TEXT_SIZE_MAX + 1], const struct ice_candidate *candidate)
{
    struct writer w = writer_of((struct span){(uint8_t *)out, ICE_CANDIDATE_TEXT_SIZE_MAX});
    ice_candidate_put(&w, candidate);
    assert_true(writer_finish(&w));
    out[w.used] = '\0';
}

/* All candidates that the reference implementation signalled in two recorded sessions, with the
 * bases that produced their foundations. The first eight are of 1.4.2: default priority, no raddr.
 */
static const struct {
    const char *text;
    const char *base;
    enum ip_family socket_family;
} recorded[] = {
    {"candidate:fffeff026eeee01f50eaaa84 1 udp 50331391 203.0.113.10 49324 typ relay",
     "203.0.113.10:49324", IP_V4},
    {"candidate:fffeff026eeee01f50eaaa84 1 udp 50331391 203.0.113.10 52363 typ relay",
     "203.0.113.10:52363", IP_V4},
    {"candidate:fffeff641643197acc490b2d 1 udp 1694498559 203.0.113.40 50041 typ srflx",
     "10.2.0.2:50041", IP_V4},
    {"candidate:fffeff64ff900b377c7bd761 1 udp 1694498559 203.0.113.30 37067 typ srflx",
     "10.1.0.2:37067", IP_V4},
    {"candidate:fffeff7e9c8d418c673a516c 1 udp 2130706175 10.2.0.2 50041 typ host",
     "10.2.0.2:50041", IP_V4},
    {"candidate:fffeff7eabfae12c9eab3a0 1 udp 2130706175 10.1.0.2 37067 typ host", "10.1.0.2:37067",
     IP_V4},
    {"candidate:ffffff0225d9d6433848b6bf 1 udp 50331647 2001:db8:113::10 49324 typ relay",
     "[2001:db8:113::10]:49324", IP_V6},
    {"candidate:ffffff0225d9d6433848b6bf 1 udp 50331647 2001:db8:113::10 52363 typ relay",
     "[2001:db8:113::10]:52363", IP_V6},
    {"candidate:ff173c0294109ed7d625a817 1 udp 37492735 2001:db8:113::10 55730 typ relay raddr :: "
     "rport 0 ufrag jfui",
     "[2001:db8:113::10]:55730", IP_V4},
    {"candidate:ff173c0294109ed7d625a817 1 udp 37492735 2001:db8:113::10 63989 typ relay raddr :: "
     "rport 0 ufrag 26zf",
     "[2001:db8:113::10]:63989", IP_V4},
    {"candidate:fffe3f02c339247ab51c0a72 1 udp 37748479 203.0.113.10 55730 typ relay raddr 0.0.0.0 "
     "rport 0 ufrag jfui",
     "203.0.113.10:55730", IP_V4},
    {"candidate:fffe3f02c339247ab51c0a72 1 udp 37748479 203.0.113.10 63989 typ relay raddr 0.0.0.0 "
     "rport 0 ufrag 26zf",
     "203.0.113.10:63989", IP_V4},
    {"candidate:fffe7f6413bff3dde9484124 1 udp 1686109951 203.0.113.40 52625 typ srflx raddr "
     "0.0.0.0 rport 0 ufrag jfui",
     "10.2.0.2:52625", IP_V4},
    {"candidate:fffe7f64f9e49d5019cab2fd 1 udp 1686109951 203.0.113.30 52625 typ srflx raddr "
     "0.0.0.0 rport 0 ufrag 26zf",
     "10.1.0.2:52625", IP_V4},
    {"candidate:fffeff7e9c8d418c673a516c 1 udp 2130706175 10.2.0.2 52625 typ host ufrag jfui",
     "10.2.0.2:52625", IP_V4},
    {"candidate:fffeff7eabfae12c9eab3a0 1 udp 2130706175 10.1.0.2 52625 typ host ufrag 26zf",
     "10.1.0.2:52625", IP_V4},
};
#define RECORDED_OLD 8U

static struct ice_candidate construct(enum ice_kind kind, const struct sock_addr *addr,
                                      const struct sock_addr *base, enum ip_family socket_family)
{
    switch (kind) {
    case ICE_HOST:
        return ice_candidate_host(addr);
    case ICE_SRFLX:
        return ice_candidate_srflx(addr, base);
    case ICE_RELAY:
        return ice_candidate_relay(addr, socket_family);
    case ICE_PRFLX:
        break;
    }
    fail();
    return ice_candidate_host(addr);
}

static void test_recorded_candidates_are_written_to_the_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(recorded); i++) {
        struct ice_candidate parsed;
        assert_int_equal(ice_candidate_parse(view_text(recorded[i].text), &parsed), DROP_NONE);
        struct sock_addr base = addr_of(recorded[i].base);
        struct ice_candidate candidate =
            construct((enum ice_kind)parsed.kind, &parsed.addr, &base, recorded[i].socket_family);
        if (i < RECORDED_OLD) {
            candidate.priority = ice_priority_default((enum ice_kind)candidate.kind,
                                                      (enum ip_family)candidate.addr.ip.family);
            memset(&candidate.raddr, 0, sizeof(candidate.raddr));
        } else {
            ice_candidate_set_ufrag(&candidate, ice_candidate_ufrag(&parsed));
        }
        char text[ICE_CANDIDATE_TEXT_SIZE_MAX + 1];
        put(text, &candidate);
        assert_string_equal(text, recorded[i].text);
    }
}

static void test_recorded_candidates_are_parsed_field_by_field(void **state)
{
    (void)state;
    struct ice_candidate c;
    assert_int_equal(ice_candidate_parse(view_text(recorded[8].text), &c), DROP_NONE);
    assert_int_equal(c.kind, ICE_RELAY);
    assert_int_equal(c.priority, 37492735);
    assert_int_equal(c.local_preference, 15383);
    struct sock_addr addr = addr_of("[2001:db8:113::10]:55730");
    assert_true(sock_addr_equal(&c.addr, &addr));
    assert_true(sock_addr_equal(&c.base, &addr));
    struct sock_addr raddr = addr_of("[::]:0");
    assert_true(sock_addr_equal(&c.raddr, &raddr));
    assert_true(view_equal_text(ice_candidate_ufrag(&c), "jfui"));
    assert_int_equal(ice_candidate_parse(view_text(recorded[0].text), &c), DROP_NONE);
    assert_int_equal(c.raddr.ip.family, IP_NONE);
    assert_int_equal(c.ufrag_size, 0);
}

static void test_recorded_texts_of_1_4_2_sort_relay_srflx_host(void **state)
{
    (void)state;
    assert_true(strcmp(recorded[0].text, recorded[2].text) < 0);
    assert_true(strcmp(recorded[2].text, recorded[4].text) < 0);
}

static void test_priorities_are_those_of_section_5_4(void **state)
{
    (void)state;
    static const struct {
        enum ice_kind kind;
        enum ip_family family;
        bool cross;
        uint32_t nth;
        uint32_t internal;
        uint32_t signalled_by_142;
        uint32_t attribute;
    } rows[] = {
        {ICE_HOST, IP_V4, false, 0, 2130706175, 2130706175, 1862270719},
        {ICE_HOST, IP_V6, false, 0, 2130706431, 2130706431, 1862270975},
        {ICE_SRFLX, IP_V4, false, 0, 1686109951, 1694498559, 1853882111},
        {ICE_RELAY, IP_V4, false, 0, 37748479, 50331391, 1849687807},
        {ICE_RELAY, IP_V6, false, 0, 37748735, 50331647, 1849688063},
        {ICE_RELAY, IP_V6, true, 0, 37492735, 50331647, 1849432063},
        {ICE_HOST, IP_V4, false, 2, 2130706175 - 4 * 256, 2130706175, 1862270719 - 4 * 256},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uint16_t preference =
            ice_local_preference(rows[i].kind, rows[i].family, rows[i].cross, rows[i].nth);
        assert_int_equal(ice_priority(rows[i].kind, preference), rows[i].internal);
        assert_int_equal(ice_priority_default(rows[i].kind, rows[i].family),
                         rows[i].signalled_by_142);
        assert_int_equal(ice_priority(ICE_PRFLX, preference), rows[i].attribute);
    }
    assert_int_equal(ice_local_preference(ICE_RELAY, IP_V4, true, UINT32_MAX), 0);
}

static void test_pair_priority_is_that_of_section_8(void **state)
{
    (void)state;
    assert_true(ice_pair_priority(2130706175, 2130706175) == UINT64_C(9151313343271665150));
    assert_true(ice_pair_priority(2, 1) == (UINT64_C(1) << 32) + 5);
    assert_true(ice_pair_priority(1, 2) == (UINT64_C(1) << 32) + 4);
    assert_true(ice_pair_priority(UINT32_MAX, UINT32_MAX) ==
                (UINT64_C(0xffffffff) << 32) + UINT64_C(0x1fffffffe));
}

static void test_address_validity_is_that_of_section_5_3(void **state)
{
    (void)state;
    static const struct {
        const char *ip;
        bool valid;
    } rows[] = {
        {"10.0.0.1", true},     {"127.0.0.1", true},
        {"169.254.1.1", false}, {"255.255.255.255", false},
        {"224.0.0.1", false},   {"0.0.0.0", false},
        {"::1", true},          {"fe80::1", true},
        {"ff02::1", false},     {"::", false},
        {"2001:db8::", true},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct ip_addr ip;
        assert_true(ip_parse(view_text(rows[i].ip), &ip));
        assert_int_equal(ice_address_is_valid(&ip), rows[i].valid);
    }
    struct ip_addr none = {IP_NONE, {0}};
    assert_false(ice_address_is_valid(&none));
}

static void test_invalidation_repeats_raddr_but_neither_ufrag_nor_priority(void **state)
{
    (void)state;
    struct sock_addr addr = addr_of("203.0.113.10:55730");
    struct ice_candidate candidate = ice_candidate_relay(&addr, IP_V4);
    ice_candidate_set_ufrag(&candidate, view_text("jfui"));
    uint8_t text[ICE_CANDIDATE_TEXT_SIZE_MAX];
    struct writer w = writer_of((struct span){text, sizeof(text)});
    ice_candidate_put_invalidation(&w, &candidate);
    assert_true(view_equal_text(writer_view(&w),
                                "candidate:fffeff02c339247ab51c0a72 1 udp 50331391 203.0.113.10 "
                                "55730 typ relay raddr 0.0.0.0 rport 0"));
    struct ice_candidate parsed;
    assert_int_equal(ice_candidate_parse(writer_view(&w), &parsed), DROP_NONE);
    assert_true(ice_candidate_matches(&parsed, &candidate));
}

static void test_a_candidate_matches_by_address_raddr_and_kind_only(void **state)
{
    (void)state;
    struct sock_addr addr = addr_of("203.0.113.10:1");
    struct sock_addr base = addr_of("10.0.0.1:1");
    struct ice_candidate a = ice_candidate_srflx(&addr, &base);
    struct ice_candidate b = a;
    b.priority = 1;
    b.base = addr;
    ice_candidate_set_ufrag(&b, view_text("x"));
    assert_true(ice_candidate_matches(&a, &b));
    b.addr.port = 2;
    assert_false(ice_candidate_matches(&a, &b));
    b = a;
    memset(&b.raddr, 0, sizeof(b.raddr));
    assert_false(ice_candidate_matches(&a, &b));
    b = a;
    b.kind = ICE_RELAY;
    assert_false(ice_candidate_matches(&a, &b));
}

static void test_parser_takes_extensions_in_any_order(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "candidate:1 1 UDP 5 10.0.0.1 9 typ srflx ufrag abcd rport 7 raddr 10.9.9.9",
        "candidate:1 1 udp 5 10.0.0.1 9 typ srflx x 0 raddr 10.9.9.9 rport 7 y 1 ufrag abcd z 50",
        "candidate:1  1 Udp 5 10.0.0.1 9  typ srflx raddr 10.9.9.9 rport 7 ufrag abcd ufrag zzzz",
        "candidate:1 1 udp 5 10.0.0.1 9 typ srflx raddr 10.9.9.9 rport 7 ufrag abcd trailing",
    };
    struct sock_addr raddr = addr_of("10.9.9.9:7");
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        struct ice_candidate c;
        assert_int_equal(ice_candidate_parse(view_text(texts[i]), &c), DROP_NONE);
        assert_true(sock_addr_equal(&c.raddr, &raddr));
        assert_true(view_equal_text(ice_candidate_ufrag(&c), "abcd"));
    }
}

static void test_parser_refuses_what_is_no_candidate_and_leaves_the_output(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "candidate:",
        "candidat:1 1 udp 5 10.0.0.1 9 typ host",
        "candidate: 1 udp 5 10.0.0.1 9 typ host",
        "candidate:1 2 udp 5 10.0.0.1 9 typ host",
        "candidate:1 1 tcp 5 10.0.0.1 9 typ host",
        "candidate:1 1 udp 4294967296 10.0.0.1 9 typ host",
        "candidate:1 1 udp -1 10.0.0.1 9 typ host",
        "candidate:1 1 udp 5 10.0.0.256 9 typ host",
        "candidate:1 1 udp 5 host.local 9 typ host",
        "candidate:1 1 udp 5 169.254.0.1 9 typ host",
        "candidate:1 1 udp 5 0.0.0.0 9 typ host",
        "candidate:1 1 udp 5 10.0.0.1 0 typ host",
        "candidate:1 1 udp 5 10.0.0.1 65536 typ host",
        "candidate:1 1 udp 5 10.0.0.1 9 type host",
        "candidate:1 1 udp 5 10.0.0.1 9 typ",
        "candidate:1 1 udp 5 10.0.0.1 9 typ guest",
        "candidate:1 1 udp 5 10.0.0.1 9 typ srflx raddr 10.0.0.2",
        "candidate:1 1 udp 5 10.0.0.1 9 typ srflx rport 2",
        "candidate:1 1 udp 5 10.0.0.1 9 typ srflx raddr x rport 2",
        "candidate:1 1 udp 5 10.0.0.1 9 typ srflx raddr 10.0.0.2 rport 65536",
        "candidate:1 1 udp 5 10.0.0.1 9 typ host ufrag",
        "candidate:1 1 udp 5 10.0.0.1 9 typ host ufrag 0123456789abcdef0123456789abcdef0",
    };
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        struct ice_candidate c;
        memset(&c, 0xa5, sizeof(c));
        struct ice_candidate before = c;
        assert_int_equal(ice_candidate_parse(view_text(texts[i]), &c), DROP_ICE_CANDIDATE);
        assert_memory_equal(&c, &before, sizeof(c));
    }
}

static void test_every_truncation_either_parses_or_is_refused(void **state)
{
    (void)state;
    struct view whole = view_text(recorded[8].text);
    for (size_t len = 0; len < whole.len; len++) {
        struct ice_candidate c;
        enum drop_reason reason = ice_candidate_parse(view_sub(whole, 0, len), &c);
        assert_true(reason == DROP_NONE || reason == DROP_ICE_CANDIDATE);
        if (len < 70) {
            assert_int_equal(reason, DROP_ICE_CANDIDATE);
        }
    }
}

static struct ip_addr random_ip(struct rng *rng)
{
    struct ip_addr ip;
    do {
        uint8_t bytes[16];
        rng_bytes(rng, bytes, sizeof(bytes));
        ip = ip_from_bytes(rng_below(rng, 2) == 0 ? IP_V4 : IP_V6, bytes);
    } while (!ice_address_is_valid(&ip));
    return ip;
}

static void test_what_is_written_is_read_back(void **state)
{
    (void)state;
    static const uint8_t seed[RNG_SEED_SIZE] = {1};
    struct rng rng;
    rng_init(&rng, seed);
    for (int i = 0; i < 2000; i++) {
        struct ice_candidate c;
        memset(&c, 0, sizeof(c));
        c.kind = (uint8_t)rng_below(&rng, 4);
        c.addr = sock_addr_of(random_ip(&rng), (uint16_t)(1 + rng_below(&rng, 65535)));
        c.base = c.addr;
        c.priority = rng_u32(&rng);
        c.local_preference = (uint16_t)(c.priority >> 8);
        if (rng_below(&rng, 2) == 0) {
            c.raddr = sock_addr_of(random_ip(&rng), (uint16_t)rng_below(&rng, 65536));
        }
        size_t size = rng_below(&rng, ICE_UFRAG_SIZE_MAX + 1);
        if (size > 0) {
            ice_candidate_set_ufrag(
                &c, (struct view){(const uint8_t *)"abcdefghijklmnopqrstuvwxyz+/0123", size});
        }
        char text[ICE_CANDIDATE_TEXT_SIZE_MAX + 1];
        put(text, &c);
        struct ice_candidate parsed;
        assert_int_equal(ice_candidate_parse(view_text(text), &parsed), DROP_NONE);
        assert_memory_equal(&parsed, &c, sizeof(c));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded_candidates_are_written_to_the_byte),
        cmocka_unit_test(test_recorded_candidates_are_parsed_field_by_field),
        cmocka_unit_test(test_recorded_texts_of_1_4_2_sort_relay_srflx_host),
        cmocka_unit_test(test_priorities_are_those_of_section_5_4),
        cmocka_unit_test(test_pair_priority_is_that_of_section_8),
        cmocka_unit_test(test_address_validity_is_that_of_section_5_3),
        cmocka_unit_test(test_invalidation_repeats_raddr_but_neither_ufrag_nor_priority),
        cmocka_unit_test(test_a_candidate_matches_by_address_raddr_and_kind_only),
        cmocka_unit_test(test_parser_takes_extensions_in_any_order),
        cmocka_unit_test(test_parser_refuses_what_is_no_candidate_and_leaves_the_output),
        cmocka_unit_test(test_every_truncation_either_parses_or_is_refused),
        cmocka_unit_test(test_what_is_written_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
