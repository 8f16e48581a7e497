#include "tests/support/support.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/aead.h"
#include "crypto/aead_ipsec.h"
#include "crypto/rng.h"

#define LEN_MAX   2048U
#define BATCH_MAX 64U
#define GUARD     16U /* canary bytes around every item: the assembly is invisible to sanitizers */
#define STRIDE    (GUARD + LEN_MAX + AEAD_TAG_SIZE + GUARD)
#define CANARY    0xa5

struct rig {
    uint8_t keys[BATCH_MAX][KEY_SIZE];
    uint8_t reference[BATCH_MAX * STRIDE];
    uint8_t candidate[BATCH_MAX * STRIDE];
    struct aead_item reference_items[BATCH_MAX];
    struct aead_item candidate_items[BATCH_MAX];
};

static struct rig *rig_new(void)
{
    struct rig *rig = malloc(sizeof(*rig));
    assert_non_null(rig);
    return rig;
}

static void rig_fill(struct rig *rig, size_t count, struct rng *rng, size_t first_len)
{
    memset(rig->reference, CANARY, count * STRIDE);
    for (size_t i = 0; i < count; i++) {
        size_t len = i == 0 ? first_len : rng_below(rng, LEN_MAX + 1);
        uint8_t *data = rig->reference + i * STRIDE + GUARD;
        rng_bytes(rng, rig->keys[i], KEY_SIZE);
        rng_bytes(rng, data, len);
        rig->reference_items[i] = (struct aead_item){
            .key = rig->keys[i], .counter = rng_u64(rng), .data = data, .len = len};
        rig->candidate_items[i] = rig->reference_items[i];
        rig->candidate_items[i].data = rig->candidate + i * STRIDE + GUARD;
    }
    memcpy(rig->candidate, rig->reference, count * STRIDE);
}

static void rig_compare(const struct rig *rig, size_t count)
{
    assert_memory_equal(rig->reference, rig->candidate, count * STRIDE);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(rig->reference_items[i].ok, rig->candidate_items[i].ok);
    }
}

/* Every length from 0 to 2048 in batches of 1 to 64, sealed and opened, a few damaged. */
static void compare_backends(const struct aead_backend *candidate)
{
    struct aead_backend reference = aead_backend_libsodium();
    struct rig *rig = rig_new();
    struct rng rng;
    uint8_t seed[RNG_SEED_SIZE] = {3};
    rng_init(&rng, seed);
    for (size_t len = 0; len <= LEN_MAX; len++) {
        size_t count = 1 + len % BATCH_MAX;
        rig_fill(rig, count, &rng, len);
        aead_seal_batch(&reference, rig->reference_items, count);
        aead_seal_batch(candidate, rig->candidate_items, count);
        rig_compare(rig, count);
        size_t bad = rng_below(&rng, (uint32_t)count);
        size_t at = rng_below(&rng, (uint32_t)(rig->reference_items[bad].len + AEAD_TAG_SIZE));
        rig->reference_items[bad].data[at] ^= 1;
        rig->candidate_items[bad].data[at] ^= 1;
        aead_open_batch(&reference, rig->reference_items, count);
        aead_open_batch(candidate, rig->candidate_items, count);
        rig_compare(rig, count);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(rig->candidate_items[i].ok, i != bad);
        }
        for (size_t i = 0; i < rig->candidate_items[bad].len; i++) {
            assert_int_equal(rig->candidate_items[bad].data[i], 0);
        }
    }
    free(rig);
}

static void test_every_instruction_set_of_ipsec_mb_equals_libsodium(void **state)
{
    (void)state;
    size_t size = aead_ipsec_size();
    if (size == 0) {
        skip();
    }
    uint8_t *memory = aligned_alloc(AEAD_IPSEC_ALIGN, size);
    assert_non_null(memory);
    size_t tried = 0;
    for (enum aead_ipsec_arch arch = AEAD_IPSEC_SSE; arch < AEAD_IPSEC_ARCH_COUNT; arch++) {
        struct aead_backend backend;
        enum err err = aead_ipsec_init((struct span){memory, size}, arch, &backend);
        if (err == ERR_UNSUPPORTED) {
            continue;
        }
        assert_int_equal(err, ERR_NONE);
        assert_true(aead_selftest(&backend));
        compare_backends(&backend);
        tried++;
    }
    assert_true(tried > 0);
    free(memory);
}

static void test_batches_beyond_one_burst_are_finished(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    size_t size = aead_ipsec_size();
    if (size == 0) {
        skip();
    }
    uint8_t *memory = aligned_alloc(AEAD_IPSEC_ALIGN, size);
    struct aead_backend backend;
    if (aead_ipsec_init((struct span){memory, size}, AEAD_IPSEC_SSE, &backend) != ERR_NONE) {
        free(memory);
        skip();
    }
    static uint8_t data[COUNT][32 + AEAD_TAG_SIZE];
    static struct aead_item items[COUNT];
    uint8_t key[KEY_SIZE] = {1};
    for (size_t i = 0; i < COUNT; i++) {
        memset(data[i], (int)i, sizeof(data[i]));
        items[i] = (struct aead_item){.key = key, .counter = i, .data = data[i], .len = 32};
    }
    aead_seal_batch(&backend, items, COUNT);
    struct aead_backend reference = aead_backend_libsodium();
    aead_open_batch(&reference, items, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(items[i].ok);
        assert_int_equal(data[i][31], (uint8_t)i);
    }
    free(memory);
}

static void test_too_little_memory_is_an_error(void **state)
{
    (void)state;
    size_t size = aead_ipsec_size();
    if (size == 0) {
        skip();
    }
    uint8_t *memory = aligned_alloc(AEAD_IPSEC_ALIGN, size);
    struct aead_backend backend;
    assert_int_equal(aead_ipsec_init((struct span){memory, size - 1}, AEAD_IPSEC_SSE, &backend),
                     ERR_SPACE);
    free(memory);
}

static void test_libsodium_passes_the_self_test(void **state)
{
    (void)state;
    struct aead_backend backend = aead_backend_libsodium();
    assert_true(aead_selftest(&backend));
}

/* A backend with one planted error: ciphertext of messages of 100 bytes is wrong in one bit. */
static void broken_seal(void *ctx, struct aead_item *items, size_t count)
{
    (void)ctx;
    struct aead_backend good = aead_backend_libsodium();
    aead_seal_batch(&good, items, count);
    for (size_t i = 0; i < count; i++) {
        if (items[i].len == 100) {
            items[i].data[99] ^= 1;
        }
    }
}

/* A backend with another planted error: it does not look at tags. */
static void careless_open(void *ctx, struct aead_item *items, size_t count)
{
    (void)ctx;
    struct aead_backend good = aead_backend_libsodium();
    aead_open_batch(&good, items, count);
    for (size_t i = 0; i < count; i++) {
        items[i].ok = true;
    }
}

static void test_the_self_test_finds_planted_errors(void **state)
{
    (void)state;
    struct aead_backend broken = aead_backend_libsodium();
    broken.seal = broken_seal;
    assert_false(aead_selftest(&broken));
    struct aead_backend careless = aead_backend_libsodium();
    careless.open = careless_open;
    assert_false(aead_selftest(&careless));
}

/* The nonce is four zero bytes and the counter, little-endian; tags cover the associated data. */
static void test_one_message_with_associated_data(void **state)
{
    (void)state;
    struct key32 key;
    uint8_t ad[12] = {0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7};
    uint8_t plain[60];
    uint8_t sealed[60 + AEAD_TAG_SIZE];
    uint8_t want[60 + AEAD_TAG_SIZE];
    uint8_t nonce[12] = {0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1};
    for (size_t i = 0; i < KEY_SIZE; i++) {
        key.bytes[i] = (uint8_t)(0x80 + i);
    }
    memset(plain, 'x', sizeof(plain));
    assert_int_equal(crypto_aead_chacha20poly1305_ietf_encrypt(want, NULL, plain, sizeof(plain), ad,
                                                               sizeof(ad), NULL, nonce, key.bytes),
                     0);
    aead_seal(&key, UINT64_C(0x0102030405060708), VIEW_OF(ad), VIEW_OF(plain), sealed);
    assert_memory_equal(sealed, want, sizeof(want));
    uint8_t opened[60];
    assert_true(
        aead_open(&key, UINT64_C(0x0102030405060708), VIEW_OF(ad), VIEW_OF(sealed), opened));
    assert_memory_equal(opened, plain, sizeof(plain));
    assert_false(
        aead_open(&key, UINT64_C(0x0102030405060709), VIEW_OF(ad), VIEW_OF(sealed), opened));
    uint8_t zeros[60] = {0};
    assert_memory_equal(opened, zeros, sizeof(zeros));
    for (size_t len = 0; len < sizeof(sealed); len++) {
        assert_false(aead_open(&key, UINT64_C(0x0102030405060708), VIEW_OF(ad),
                               (struct view){sealed, len}, opened));
    }
}

int main(void)
{
    if (sodium_init() < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_instruction_set_of_ipsec_mb_equals_libsodium),
        cmocka_unit_test(test_batches_beyond_one_burst_are_finished),
        cmocka_unit_test(test_too_little_memory_is_an_error),
        cmocka_unit_test(test_libsodium_passes_the_self_test),
        cmocka_unit_test(test_the_self_test_finds_planted_errors),
        cmocka_unit_test(test_one_message_with_associated_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
