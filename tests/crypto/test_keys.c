#include "tests/support/support.h"

#include "crypto/keys.h"

static void test_wiped_keys_are_zero(void **state)
{
    (void)state;
    struct key32 key = {{1, 2, 3}};
    struct wg_psk psk = {{1, 2, 3}};
    struct x25519_private scalar = {{1, 2, 3}};
    const uint8_t zeros[KEY_SIZE] = {0};
    key32_wipe(&key);
    wg_psk_wipe(&psk);
    x25519_private_wipe(&scalar);
    secret_wipe(NULL, 0);
    assert_memory_equal(key.bytes, zeros, KEY_SIZE);
    assert_memory_equal(psk.bytes, zeros, KEY_SIZE);
    assert_memory_equal(scalar.bytes, zeros, KEY_SIZE);
}

static void test_keys_that_differ_in_any_bit_are_not_equal(void **state)
{
    (void)state;
    struct wg_psk a = {{9}};
    for (size_t i = 0; i < 8U * KEY_SIZE; i++) {
        struct wg_psk b = a;
        assert_true(wg_psk_equal(&a, &b));
        b.bytes[i / 8] ^= (uint8_t)(1U << (i % 8));
        assert_false(wg_psk_equal(&a, &b));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wiped_keys_are_zero),
        cmocka_unit_test(test_keys_that_differ_in_any_bit_are_not_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
