#include "tests/support/wg_vectors.h"

#include "crypto/blake2s.h"

static void test_digests_equal_the_vectors(void **state)
{
    (void)state;
    cJSON *root = vectors_load();
    const cJSON *rows = vectors_member(vectors_member(root, "blake2s"), "vectors");
    size_t count = 0;
    const cJSON *row = NULL;
    cJSON_ArrayForEach(row, rows)
    {
        uint8_t data[512];
        uint8_t key[64];
        uint8_t want[BLAKE2S_SIZE];
        uint8_t got[BLAKE2S_SIZE];
        size_t data_len = vectors_hex(row, "data", data, sizeof(data));
        size_t key_len = vectors_hex(row, "key", key, sizeof(key));
        size_t size = vectors_hex(row, "digest", want, sizeof(want));
        assert_int_equal(size, vectors_number(row, "digest_size"));
        blake2s_digest((struct view){key, key_len}, (struct view){data, data_len},
                       (struct span){got, size});
        assert_memory_equal(got, want, size);
        if (key_len == 0 && size == BLAKE2S_SIZE) {
            size_t half = data_len / 2;
            blake2s_hash((struct view){data, half}, (struct view){data + half, data_len - half},
                         got);
            assert_memory_equal(got, want, size);
        }
        count++;
    }
    assert_int_equal(count, 19);
    cJSON_Delete(root);
}

/* RFC 7693 appendix E. */
static void selftest_sequence(uint8_t *out, size_t len, uint32_t seed)
{
    uint32_t a = UINT32_C(0xdead4bad) * seed;
    uint32_t b = 1;
    for (size_t i = 0; i < len; i++) {
        uint32_t t = a + b;
        a = b;
        b = t;
        out[i] = (uint8_t)(t >> 24);
    }
}

static void test_grand_hash_of_rfc_7693_appendix_e(void **state)
{
    (void)state;
    static const size_t digest_sizes[] = {16, 20, 28, 32};
    static const size_t input_sizes[] = {0, 3, 64, 65, 255, 1024};
    uint8_t all[4 * 6 * 2 * BLAKE2S_SIZE];
    size_t used = 0;
    for (size_t i = 0; i < 4; i++) {
        size_t size = digest_sizes[i];
        for (size_t j = 0; j < 6; j++) {
            uint8_t input[1024];
            uint8_t key[BLAKE2S_SIZE];
            selftest_sequence(input, input_sizes[j], (uint32_t)input_sizes[j]);
            selftest_sequence(key, size, (uint32_t)size);
            struct view message = {input, input_sizes[j]};
            blake2s_digest(VIEW_EMPTY, message, (struct span){all + used, size});
            blake2s_digest((struct view){key, size}, message,
                           (struct span){all + used + size, size});
            used += 2 * size;
        }
    }
    uint8_t got[BLAKE2S_SIZE];
    uint8_t want[BLAKE2S_SIZE];
    blake2s_hash((struct view){all, used}, VIEW_EMPTY, got);
    support_unhex("6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe", want, 32);
    assert_memory_equal(got, want, 32);
}

static void test_hmac_equals_the_vectors(void **state)
{
    (void)state;
    cJSON *root = vectors_load();
    size_t count = 0;
    const cJSON *row = NULL;
    cJSON_ArrayForEach(row, vectors_member(root, "hmac_blake2s"))
    {
        uint8_t key[128];
        uint8_t data[128];
        uint8_t want[BLAKE2S_SIZE];
        uint8_t got[BLAKE2S_SIZE];
        size_t key_len = vectors_hex(row, "key", key, sizeof(key));
        size_t data_len = vectors_hex(row, "data", data, sizeof(data));
        vectors_hex_exact(row, "mac", want, sizeof(want));
        for (size_t cut = 0; cut <= data_len; cut++) {
            blake2s_hmac((struct view){key, key_len}, (struct view){data, cut},
                         (struct view){data + cut, data_len - cut}, got);
            assert_memory_equal(got, want, sizeof(want));
        }
        count++;
    }
    assert_int_equal(count, 6);
    cJSON_Delete(root);
}

static void test_key_derivation_equals_the_vectors(void **state)
{
    (void)state;
    cJSON *root = vectors_load();
    size_t count_rows = 0;
    const cJSON *row = NULL;
    cJSON_ArrayForEach(row, vectors_member(vectors_member(root, "kdf"), "vectors"))
    {
        uint8_t key[64];
        uint8_t input[64];
        struct key32 want[3];
        size_t key_len = vectors_hex(row, "key", key, sizeof(key));
        size_t input_len = vectors_hex(row, "input", input, sizeof(input));
        vectors_hex_exact(row, "t1", want[0].bytes, KEY_SIZE);
        vectors_hex_exact(row, "t2", want[1].bytes, KEY_SIZE);
        vectors_hex_exact(row, "t3", want[2].bytes, KEY_SIZE);
        for (size_t count = 1; count <= 3; count++) {
            struct key32 got[3] = {0};
            struct key32 *const outputs[] = {&got[0], &got[1], &got[2]};
            blake2s_kdf((struct view){key, key_len}, (struct view){input, input_len}, outputs,
                        count);
            assert_memory_equal(got, want, count * KEY_SIZE);
        }
        count_rows++;
    }
    assert_int_equal(count_rows, 3);
    cJSON_Delete(root);
}

static void test_the_key_may_be_the_first_output(void **state)
{
    (void)state;
    struct key32 chain = {{1, 2, 3}};
    struct key32 first;
    struct key32 second;
    struct key32 other;
    struct key32 *const apart[] = {&first, &second};
    struct key32 *const in_place[] = {&chain, &other};
    blake2s_kdf(VIEW_OF(chain.bytes), VIEW_EMPTY, apart, 2);
    blake2s_kdf(VIEW_OF(chain.bytes), VIEW_EMPTY, in_place, 2);
    assert_memory_equal(chain.bytes, first.bytes, KEY_SIZE);
    assert_memory_equal(other.bytes, second.bytes, KEY_SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digests_equal_the_vectors),
        cmocka_unit_test(test_grand_hash_of_rfc_7693_appendix_e),
        cmocka_unit_test(test_hmac_equals_the_vectors),
        cmocka_unit_test(test_key_derivation_equals_the_vectors),
        cmocka_unit_test(test_the_key_may_be_the_first_output),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
