#include "tests/support/support.h"

#include <string.h>

#include "crypto/x25519.h"

/* RFC 7748 section 5.2, first vector. */
static void test_vector_of_rfc_7748(void **state)
{
    (void)state;
    struct x25519_private scalar;
    struct x25519_public point;
    struct key32 shared;
    uint8_t want[KEY_SIZE];
    support_unhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4", scalar.bytes,
                  32);
    support_unhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c", point.bytes,
                  32);
    support_unhex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552", want, 32);
    assert_true(x25519_shared(&scalar, &point, &shared));
    assert_memory_equal(shared.bytes, want, 32);
}

/* RFC 7748 section 5.2: k = u = 9, then k, u = X25519(k, u), k. */
static void test_thousand_iterations_of_rfc_7748(void **state)
{
    (void)state;
    struct x25519_private k = {{9}};
    struct x25519_public u = {{9}};
    struct key32 result;
    uint8_t want[KEY_SIZE];
    for (int i = 1; i <= 1000; i++) {
        assert_true(x25519_shared(&k, &u, &result));
        memcpy(u.bytes, k.bytes, KEY_SIZE);
        memcpy(k.bytes, result.bytes, KEY_SIZE);
        if (i == 1) {
            support_unhex("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079", want,
                          32);
            assert_memory_equal(k.bytes, want, 32);
        }
    }
    support_unhex("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51", want, 32);
    assert_memory_equal(k.bytes, want, 32);
}

static void test_points_of_low_order_are_refused(void **state)
{
    (void)state;
    static const char *const points[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    struct x25519_private key = {{1, 2, 3}};
    for (size_t i = 0; i < ARRAY_COUNT(points); i++) {
        struct x25519_public point;
        struct key32 shared = {{0xff}};
        struct key32 zero = {{0}};
        support_unhex(points[i], point.bytes, 32);
        assert_false(x25519_shared(&key, &point, &shared));
        assert_memory_equal(shared.bytes, zero.bytes, KEY_SIZE);
    }
}

static void test_generated_pairs_agree_and_depend_on_the_seed_alone(void **state)
{
    (void)state;
    uint8_t seed[RNG_SEED_SIZE] = {7};
    struct rng rng;
    struct x25519_pair a;
    struct x25519_pair b;
    struct x25519_pair again;
    rng_init(&rng, seed);
    x25519_generate(&a, &rng);
    x25519_generate(&b, &rng);
    rng_init(&rng, seed);
    x25519_generate(&again, &rng);
    assert_true(x25519_public_equal(&a.public_key, &again.public_key));
    assert_false(x25519_public_equal(&a.public_key, &b.public_key));
    struct key32 ab;
    struct key32 ba;
    assert_true(x25519_shared(&a.private_key, &b.public_key, &ab));
    assert_true(x25519_shared(&b.private_key, &a.public_key, &ba));
    assert_memory_equal(ab.bytes, ba.bytes, KEY_SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vector_of_rfc_7748),
        cmocka_unit_test(test_thousand_iterations_of_rfc_7748),
        cmocka_unit_test(test_points_of_low_order_are_refused),
        cmocka_unit_test(test_generated_pairs_agree_and_depend_on_the_seed_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
