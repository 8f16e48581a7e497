#include "dns/dns_name.h"

#include <string.h>

#include "tests/support/support.h"

/* xorshift64*: the dns folder does not depend on crypto. */
static uint32_t stream_u32(uint64_t *state)
{
    *state ^= *state >> 12U;
    *state ^= *state << 25U;
    *state ^= *state >> 27U;
    return (uint32_t)(*state * UINT64_C(2685821657736338717) >> 32U);
}

static struct dns_name name_of(const char *text)
{
    struct dns_name name;
    assert_true(dns_name_parse(view_text(text), &name));
    return name;
}

static void assert_text(const struct dns_name *name, const char *expected)
{
    uint8_t text[DNS_NAME_TEXT_SIZE_MAX];
    struct writer w = writer_of((struct span){text, sizeof(text)});
    dns_name_put(&w, name);
    assert_true(writer_finish(&w));
    assert_true(view_equal_text(writer_view(&w), expected));
}

/* spec/dataplane.md section 2.3 */
static void test_text_forms_are_normalised(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {".", "."},
        {"example.com", "example.com"},
        {"example.com.", "example.com"},
        {"ExAmple.COM", "ExAmple.COM"},
        {"a\\.b.c", "a\\.b.c"},
        {"a\\046b.c", "a\\.b.c"},
        {"a b.c", "a\\ b.c"},
        {"a\\\\b", "a\\\\b"},
        {"\\000\\255.x", "\\000\\255.x"},
        {"\\097bc", "abc"},
        {"\\*.x", "*.x"},
        {"_srv._tcp.x", "_srv._tcp.x"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct dns_name name = name_of(rows[i][0]);
        assert_text(&name, rows[i][1]);
    }
}

static void test_bad_text_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",      "..",     ".a",     "a..b",   "a..",   "\\[x",     "a.\\[x", "a\\",
        "a\\25", "a\\2x5", "a\\12x", "a\\256", "a\x7f", "\xc3\xa9", "a\tb",   "a\\\t",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct dns_name name = {.size = 99};
        assert_false(dns_name_parse(view_text(rows[i]), &name));
        assert_int_equal(name.size, 99);
    }
}

static void test_limits_of_labels_and_names(void **state)
{
    (void)state;
    char text[300];
    memset(text, 'a', sizeof(text));
    struct dns_name name;
    assert_true(dns_name_parse((struct view){(const uint8_t *)text, 63}, &name));
    assert_false(dns_name_parse((struct view){(const uint8_t *)text, 64}, &name));
    for (size_t i = 63; i < sizeof(text); i += 64) {
        text[i] = '.';
    }
    /* 253 characters are 255 bytes on the wire. */
    assert_true(dns_name_parse((struct view){(const uint8_t *)text, 253}, &name));
    assert_int_equal(name.size, DNS_NAME_SIZE_MAX);
    assert_false(dns_name_parse((struct view){(const uint8_t *)text, 254}, &name));
}

static void test_any_wire_name_survives_its_text_form(void **state)
{
    (void)state;
    uint64_t stream = 1;
    for (int round = 0; round < 2000; round++) {
        uint8_t wire[DNS_NAME_SIZE_MAX];
        size_t used = 0;
        uint32_t labels = stream_u32(&stream) % 6;
        for (uint32_t i = 0; i < labels; i++) {
            size_t len = 1 + stream_u32(&stream) % 63;
            if (used + 1 + len + 1 > sizeof(wire)) {
                break;
            }
            wire[used] = (uint8_t)len;
            for (size_t k = 1; k <= len; k++) {
                wire[used + k] = (uint8_t)stream_u32(&stream);
            }
            wire[used + 1] = wire[used + 1] == '[' ? 'x' : wire[used + 1];
            used += 1 + len;
        }
        wire[used++] = 0;
        struct dns_name name;
        struct dns_name again;
        assert_true(dns_name_from_wire((struct view){wire, used}, &name));
        uint8_t text[DNS_NAME_TEXT_SIZE_MAX];
        struct writer w = writer_of((struct span){text, sizeof(text)});
        dns_name_put(&w, &name);
        assert_true(writer_finish(&w));
        assert_true(dns_name_parse(writer_view(&w), &again));
        assert_true(view_equal(dns_name_wire(&name), dns_name_wire(&again)));
        struct dns_name lower = dns_name_lower(&name);
        assert_true(dns_name_equal(&lower, &name));
        assert_int_equal(dns_name_compare(&lower, &name), 0);
        for (size_t cut = 0; cut < used; cut++) {
            assert_false(dns_name_from_wire((struct view){wire, cut}, &again));
        }
    }
}

static void test_comparison_ignores_case_and_orders_from_the_right(void **state)
{
    (void)state;
    /* RFC 4034 section 6.1 */
    static const char *const rows[] = {
        "example",   "a.example",       "yljkjljk.a.example", "Z.a.example",     "zABC.a.EXAMPLE",
        "z.example", "\\001.z.example", "*.z.example",        "\\200.z.example",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
            struct dns_name a = name_of(rows[i]);
            struct dns_name b = name_of(rows[k]);
            int order = dns_name_compare(&a, &b);
            assert_int_equal((order > 0) - (order < 0), (i > k) - (i < k));
            assert_int_equal(dns_name_equal(&a, &b), i == k);
        }
    }
}

static void test_names_within_a_zone(void **state)
{
    (void)state;
    struct dns_name zone = name_of("Corp.Example");
    struct dns_name inside = name_of("a.b.corp.example");
    struct dns_name beside = name_of("acorp.example");
    struct dns_name root = name_of(".");
    assert_true(dns_name_is_within(&inside, &zone));
    assert_true(dns_name_is_within(&zone, &zone));
    assert_true(dns_name_is_within(&zone, &root));
    assert_false(dns_name_is_within(&beside, &zone));
    assert_false(dns_name_is_within(&root, &zone));
}

static void test_unsafe_labels_are_recognised(void **state)
{
    (void)state;
    struct dns_name plain = name_of("a-b._c.d");
    struct dns_name dot = name_of("a\\.b.c");
    struct dns_name slash = name_of("a/b.c");
    assert_true(dns_name_is_safe(&plain));
    assert_false(dns_name_is_safe(&dot));
    assert_false(dns_name_is_safe(&slash));
}

static void test_reverse_names(void **state)
{
    (void)state;
    static const uint8_t v4[] = {100, 96, 0, 1};
    static const uint8_t v6[16] = {0xfd, 0x00, 0x20, 0x21, 0x11, 0x11, 0x80};
    struct dns_name name = dns_name_reverse(VIEW_OF(v4));
    assert_text(&name, "1.0.96.100.in-addr.arpa");
    name = dns_name_reverse(VIEW_OF(v6));
    assert_text(&name, "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.1.1.1.1.1.2.0.2.0.0.d.f.ip6.arpa");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_forms_are_normalised),
        cmocka_unit_test(test_bad_text_is_refused),
        cmocka_unit_test(test_limits_of_labels_and_names),
        cmocka_unit_test(test_any_wire_name_survives_its_text_form),
        cmocka_unit_test(test_comparison_ignores_case_and_orders_from_the_right),
        cmocka_unit_test(test_names_within_a_zone),
        cmocka_unit_test(test_unsafe_labels_are_recognised),
        cmocka_unit_test(test_reverse_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
