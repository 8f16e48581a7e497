/* Every implementation of the checksum that this machine has gives the portable one's bits. */
#include <stdlib.h>
#include <string.h>

#include "packet/checksum.h"
#include "packet/packet_segment.h"
#include "platform/linux/linux_checksum.h"
#include "tests/packet/packet_support.h"
#include "tests/platform/new_gateway.h"

#define SIZE   2048U
#define STARTS 64U

enum content { CONTENT_RANDOM, CONTENT_ONES, CONTENT_CARRIES, CONTENT_ZEROS, CONTENT_COUNT };

static void fill(struct stream *s, uint8_t *bytes, size_t len, enum content content)
{
    static const uint8_t often[] = {0xff, 0xff, 0x00, 0x01, 0x80, 0x7f, 0xfe};
    for (size_t i = 0; i < len; i++) {
        switch (content) {
        case CONTENT_RANDOM:
            bytes[i] = (uint8_t)stream_u32(s);
            break;
        case CONTENT_ONES:
            bytes[i] = 0xff;
            break;
        case CONTENT_CARRIES:
            bytes[i] = often[stream_below(s, sizeof(often))];
            break;
        case CONTENT_ZEROS:
        case CONTENT_COUNT:
            bytes[i] = 0;
            break;
        }
    }
}

/* `out` has a guard of STARTS bytes on both sides of everything that may be written. */
static void check_one(const struct checksum_backend *backend, struct view view, uint8_t *out,
                      size_t shift)
{
    uint64_t want = checksum_sum(view);
    assert_int_equal(backend->sum(view), want);
    uint8_t *to = out + STARTS + shift;
    to[-1] = 0x5a;
    to[view.len] = 0x5a;
    assert_int_equal(backend->copy(to, view), want);
    assert_int_equal(to[-1], 0x5a);
    assert_int_equal(to[view.len], 0x5a);
    assert_true(view.len == 0 || memcmp(to, view.at, view.len) == 0);
}

static void check_backend(const struct checksum_backend *backend)
{
    struct stream s = {7};
    static uint8_t bytes[CHECKSUM_LEN_MAX + STARTS];
    static uint8_t out[CHECKSUM_LEN_MAX + 3 * STARTS];
    for (unsigned content = 0; content < CONTENT_COUNT; content++) {
        fill(&s, bytes, sizeof(bytes), (enum content)content);
        for (size_t len = 0; len <= SIZE; len++) {
            for (size_t start = 0; start < STARTS; start++) {
                check_one(backend, (struct view){bytes + start, len}, out,
                          (start * 7 + len) % STARTS);
            }
        }
        for (size_t start = 0; start < STARTS; start++) {
            check_one(backend, (struct view){bytes + start, CHECKSUM_LEN_MAX - start % 5}, out,
                      STARTS - 1 - start);
        }
    }
    assert_true(checksum_selftest(backend));
}

static void test_all_give_the_same_bits_at_every_length_and_start(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < CHECKSUM_KIND_COUNT; kind++) {
        const struct checksum_backend *backend = checksum_backend_of((enum checksum_kind)kind);
        if (!linux_checksum_has((enum gateway_checksum)kind)) {
            print_message("SKIPPED: this processor lacks the instructions of %s\n",
                          backend == NULL ? "a backend of another architecture" : backend->name);
            continue;
        }
        assert_non_null(backend);
        check_backend(backend);
    }
}

/* ---- the self-test ---- */

static uint64_t wrong_in_one_length(struct view bytes)
{
    return checksum_sum(bytes) ^ (bytes.len == 1259 ? 1U : 0U);
}

static uint64_t wrong_carry(struct view bytes)
{
    uint64_t sum = checksum_sum(bytes);
    return sum == 0xffff ? 0 : sum;
}

static uint64_t one_byte_too_many(uint8_t *to, struct view from)
{
    uint64_t sum = checksum_copy(to, from);
    to[from.len] = 0;
    return sum;
}

static uint64_t no_last_byte(uint8_t *to, struct view from)
{
    if (from.len > 1) {
        memcpy(to, from.at, from.len - 1);
    }
    return checksum_sum(from);
}

static void test_the_self_test_finds_what_is_wrong(void **state)
{
    (void)state;
    static const struct checksum_backend bad[] = {
        {"length", wrong_in_one_length, checksum_copy},
        {"carry", wrong_carry, checksum_copy},
        {"long", checksum_sum, one_byte_too_many},
        {"short", checksum_sum, no_last_byte},
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_false(checksum_selftest(&bad[i]));
    }
    assert_true(checksum_selftest(&checksum_portable));
}

/* ---- the choice ---- */

static void test_the_automatic_choice_is_the_widest_that_is_there(void **state)
{
    void *memory = NULL;
    struct gateway *gw = new_gateway(&memory);
    (void)state;
    assert_string_equal(gateway_checksum_name(gw), "portable");
    assert_int_equal(linux_checksum_choose(gw, LINUX_CHECKSUM_AUTO), ERR_NONE);
    const char *want = linux_checksum_has(GATEWAY_CHECKSUM_AVX512) ? "AVX-512"
                       : linux_checksum_has(GATEWAY_CHECKSUM_AVX2) ? "AVX2"
                                                                   : "portable";
    assert_string_equal(gateway_checksum_name(gw), want);
    gateway_deinit(gw);
    free(memory);
}

static void test_a_named_one_is_used_or_refused_but_never_exchanged_silently(void **state)
{
    static const char *const names[] = {"portable", "AVX2", "AVX-512"};
    static const char *const options[] = {"portable", "avx2", "avx512"};
    void *memory = NULL;
    struct gateway *gw = new_gateway(&memory);
    (void)state;
    for (unsigned i = 0; i < ARRAY_COUNT(names); i++) {
        enum linux_checksum wanted = LINUX_CHECKSUM_AUTO;
        assert_true(linux_checksum_parse(options[i], &wanted));
        enum err err = linux_checksum_choose(gw, wanted);
        bool has = linux_checksum_has((enum gateway_checksum)i);
        assert_int_equal(err, has ? ERR_NONE : ERR_UNSUPPORTED);
        assert_string_equal(gateway_checksum_name(gw), has ? names[i] : "portable");
    }
    gateway_deinit(gw);
    free(memory);
}

static void test_names_are_read_exactly(void **state)
{
    static const char *const bad[] = {"", "AVX2", "avx", "avx2 ", "sse"};
    enum linux_checksum out = LINUX_CHECKSUM_AVX512;
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_false(linux_checksum_parse(bad[i], &out));
        assert_int_equal(out, LINUX_CHECKSUM_AVX512);
    }
    assert_true(linux_checksum_parse("auto", &out));
    assert_int_equal(out, LINUX_CHECKSUM_AUTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_give_the_same_bits_at_every_length_and_start),
        cmocka_unit_test(test_the_self_test_finds_what_is_wrong),
        cmocka_unit_test(test_the_automatic_choice_is_the_widest_that_is_there),
        cmocka_unit_test(test_a_named_one_is_used_or_refused_but_never_exchanged_silently),
        cmocka_unit_test(test_names_are_read_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
