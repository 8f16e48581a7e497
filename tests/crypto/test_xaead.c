#include "tests/support/support.h"

#include <string.h>

#include "crypto/xaead.h"

/* draft-irtf-cfrg-xchacha-03 appendix A.3.1. */
static void test_vector_of_the_draft(void **state)
{
    (void)state;
    static const char plain[] =
        "Ladies and Gentlemen of the class of '99: If I could offer you only "
        "one tip for the future, sunscreen would be it.";
    struct view text = {(const uint8_t *)plain, sizeof(plain) - 1};
    struct key32 key;
    uint8_t nonce[XAEAD_NONCE_SIZE];
    uint8_t ad[12];
    uint8_t tag[XAEAD_TAG_SIZE];
    uint8_t start[16];
    uint8_t sealed[sizeof(plain) + XAEAD_TAG_SIZE];
    for (size_t i = 0; i < KEY_SIZE; i++) {
        key.bytes[i] = (uint8_t)(0x80 + i);
    }
    for (size_t i = 0; i < XAEAD_NONCE_SIZE; i++) {
        nonce[i] = (uint8_t)(0x40 + i);
    }
    support_unhex("50515253c0c1c2c3c4c5c6c7", ad, sizeof(ad));
    support_unhex("bd6d179d3e83d43b9576579493c0e939", start, sizeof(start));
    support_unhex("c0875924c1c7987947deafd8780acf49", tag, sizeof(tag));
    xaead_seal(&key, nonce, VIEW_OF(ad), text, sealed);
    assert_memory_equal(sealed, start, sizeof(start));
    assert_memory_equal(sealed + text.len, tag, sizeof(tag));

    uint8_t opened[sizeof(plain)] = {0};
    struct view whole = {sealed, text.len + XAEAD_TAG_SIZE};
    assert_true(xaead_open(&key, nonce, VIEW_OF(ad), whole, opened));
    assert_memory_equal(opened, plain, text.len);
    for (size_t i = 0; i < whole.len; i++) {
        sealed[i] ^= 1;
        assert_false(xaead_open(&key, nonce, VIEW_OF(ad), whole, opened));
        assert_int_equal(opened[0], 0);
        sealed[i] ^= 1;
    }
    for (size_t len = 0; len < whole.len; len++) {
        assert_false(xaead_open(&key, nonce, VIEW_OF(ad), (struct view){sealed, len}, opened));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vector_of_the_draft),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
