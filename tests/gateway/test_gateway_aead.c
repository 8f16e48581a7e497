/* The choice of the AEAD implementation: traffic is the same with each. */
#include "tests/support/gateway_rig.h"
#include "tests/support/support.h"

static const char *const names[GATEWAY_AEAD_COUNT] = {
    [GATEWAY_AEAD_LIBSODIUM] = "libsodium",
    [GATEWAY_AEAD_IPSEC_SSE] = "ipsec-mb SSE",
    [GATEWAY_AEAD_IPSEC_AVX2] = "ipsec-mb AVX2",
    [GATEWAY_AEAD_IPSEC_AVX512] = "ipsec-mb AVX512",
};

static void test_a_gateway_starts_with_libsodium(void **state)
{
    struct rig *rig = rig_new();
    (void)state;
    assert_string_equal(gateway_aead_name(rig->gw), "libsodium");
    rig_free(rig);
}

/* A tunnel that was set up with one implementation goes on with every other. */
static void test_traffic_flows_with_every_implementation_of_this_machine(void **state)
{
    struct rig *rig = rig_new();
    unsigned tried = 0;
    (void)state;
    rig->clients[0].is_direct = true;
    rig_join(rig);
    rig_connect(rig, 0, RIG_CIDR4);
    for (unsigned i = 0; i < GATEWAY_AEAD_COUNT; i++) {
        enum err err = gateway_use_aead(rig->gw, (enum gateway_aead)i);
        if (err == ERR_NONE) {
            tried++;
            assert_string_equal(gateway_aead_name(rig->gw), names[i]);
        } else {
            assert_int_equal(err, ERR_UNSUPPORTED);
            assert_string_equal(gateway_aead_name(rig->gw), "libsodium");
        }
        assert_true(rig_reaches_tun(rig, 0, ip_v4(10, 3, 0, 9), 80));
        assert_true(rig_reaches_client(rig, 0, ip_v4(10, 3, 0, 9), 80));
    }
    assert_true(tried >= 1);
    rig_free(rig);
}

static void test_a_trial_opens_what_it_sealed_at_every_size(void **state)
{
    struct rig *rig = rig_new();
    (void)state;
    for (unsigned i = 0; i < GATEWAY_AEAD_COUNT; i++) {
        if (gateway_use_aead(rig->gw, (enum gateway_aead)i) != ERR_NONE) {
            continue;
        }
        for (size_t size = 0; size <= GATEWAY_DATAGRAM_MAX; size += 167) {
            assert_true(gateway_aead_trial(rig->gw, 2, size));
        }
    }
    rig_join(rig);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_gateway_starts_with_libsodium),
        cmocka_unit_test(test_traffic_flows_with_every_implementation_of_this_machine),
        cmocka_unit_test(test_a_trial_opens_what_it_sealed_at_every_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
