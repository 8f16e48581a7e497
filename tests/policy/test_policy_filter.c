#include "policy/policy_filter.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "tests/support/support.h"

static struct policy_rule rule(enum policy_protocol protocol, uint16_t first, uint16_t last)
{
    return (struct policy_rule){protocol, first, last};
}

static bool permits(const struct policy_filter *filter, enum policy_protocol protocol,
                    uint16_t port)
{
    return policy_filter_permits(filter, (struct policy_subject){protocol, port});
}

static void test_empty_list_admits_everything(void **state)
{
    (void)state;
    struct policy_filter filter;
    assert_int_equal(policy_filter_build(&filter, NULL, 0), ERR_NONE);
    assert_true(permits(&filter, POLICY_PROTOCOL_TCP, 1));
    assert_true(permits(&filter, POLICY_PROTOCOL_ICMP, 0));
    assert_true(permits(&filter, POLICY_PROTOCOL_UNKNOWN, 0));
}

static void test_unknown_protocol_keeps_the_list_non_empty(void **state)
{
    (void)state;
    struct policy_filter filter;
    struct policy_rule rules[] = {rule(POLICY_PROTOCOL_UNKNOWN, 0, 65535)};
    assert_int_equal(policy_filter_build(&filter, rules, 1), ERR_NONE);
    assert_false(permits(&filter, POLICY_PROTOCOL_TCP, 1));
    assert_false(permits(&filter, POLICY_PROTOCOL_UNKNOWN, 0));
}

static void test_reversed_range_matches_nothing(void **state)
{
    (void)state;
    struct policy_filter filter;
    struct policy_rule rules[] = {rule(POLICY_PROTOCOL_TCP, 80, 79)};
    assert_int_equal(policy_filter_build(&filter, rules, 1), ERR_NONE);
    assert_false(permits(&filter, POLICY_PROTOCOL_TCP, 79));
    assert_false(permits(&filter, POLICY_PROTOCOL_TCP, 80));
}

static void test_ends_of_ranges_are_inclusive(void **state)
{
    (void)state;
    struct policy_filter filter;
    struct policy_rule rules[] = {
        rule(POLICY_PROTOCOL_TCP, 80, 90), rule(POLICY_PROTOCOL_UDP, 0, 0),
        rule(POLICY_PROTOCOL_UDP, 65535, 65535), rule(POLICY_PROTOCOL_ICMP, 5, 4)};
    assert_int_equal(policy_filter_build(&filter, rules, 4), ERR_NONE);
    assert_false(permits(&filter, POLICY_PROTOCOL_TCP, 79));
    assert_true(permits(&filter, POLICY_PROTOCOL_TCP, 80));
    assert_true(permits(&filter, POLICY_PROTOCOL_TCP, 90));
    assert_false(permits(&filter, POLICY_PROTOCOL_TCP, 91));
    assert_true(permits(&filter, POLICY_PROTOCOL_UDP, 0));
    assert_false(permits(&filter, POLICY_PROTOCOL_UDP, 1));
    assert_true(permits(&filter, POLICY_PROTOCOL_UDP, 65535));
    assert_true(permits(&filter, POLICY_PROTOCOL_ICMP, 0));
}

static void test_capacity_counts_merged_ranges(void **state)
{
    (void)state;
    struct policy_filter filter;
    struct policy_rule rules[200];
    for (uint16_t i = 0; i < 200; i++) {
        rules[i] = rule(POLICY_PROTOCOL_TCP, (uint16_t)(i * 3), (uint16_t)(i * 3));
    }
    assert_int_equal(policy_filter_build(&filter, rules, POLICY_FILTER_RANGES_MAX), ERR_NONE);
    assert_int_equal(filter.tcp.count, POLICY_FILTER_RANGES_MAX);
    assert_int_equal(policy_filter_build(&filter, rules, POLICY_FILTER_RANGES_MAX + 1), ERR_FULL);
    assert_false(permits(&filter, POLICY_PROTOCOL_TCP, 0));
    rules[POLICY_FILTER_RANGES_MAX] = rule(POLICY_PROTOCOL_TCP, 1, 1); /* touches the first one */
    assert_int_equal(policy_filter_build(&filter, rules, POLICY_FILTER_RANGES_MAX + 1), ERR_NONE);
    assert_true(permits(&filter, POLICY_PROTOCOL_TCP, 1));
    for (uint16_t i = 0; i < 200; i++) { /* adjacent ones merge into one */
        rules[i] = rule(POLICY_PROTOCOL_TCP, (uint16_t)(199 - i), (uint16_t)(199 - i));
    }
    assert_int_equal(policy_filter_build(&filter, rules, 200), ERR_NONE);
    assert_int_equal(filter.tcp.count, 1);
}

static void test_port_sets_agree_with_a_bitmap(void **state)
{
    (void)state;
    struct rng rng;
    uint8_t seed[RNG_SEED_SIZE] = {3};
    uint8_t *twin = malloc(65536);
    assert_non_null(twin);
    rng_init(&rng, seed);
    for (uint32_t round = 0; round < 200; round++) {
        struct policy_rule rules[40];
        struct policy_filter filter;
        uint32_t count = 1 + rng_below(&rng, 40);
        uint32_t span = 1U << rng_below(&rng, 17);
        memset(twin, 0, 65536);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t first = rng_below(&rng, span);
            uint32_t last = first + rng_below(&rng, 1U << rng_below(&rng, 12));
            last = last > 65535 ? 65535 : last;
            rules[i] = rule(POLICY_PROTOCOL_UDP, (uint16_t)first, (uint16_t)last);
            memset(twin + first, 1, last - first + 1);
        }
        assert_int_equal(policy_filter_build(&filter, rules, count), ERR_NONE);
        policy_filter_check(&filter);
        for (uint32_t port = 0; port < 65536; port++) {
            assert_int_equal(permits(&filter, POLICY_PROTOCOL_UDP, (uint16_t)port), twin[port]);
        }
        assert_false(permits(&filter, POLICY_PROTOCOL_TCP, rules[0].port_first));
    }
    free(twin);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_list_admits_everything),
        cmocka_unit_test(test_unknown_protocol_keeps_the_list_non_empty),
        cmocka_unit_test(test_reversed_range_matches_nothing),
        cmocka_unit_test(test_ends_of_ranges_are_inclusive),
        cmocka_unit_test(test_capacity_counts_merged_ranges),
        cmocka_unit_test(test_port_sets_agree_with_a_bitmap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
