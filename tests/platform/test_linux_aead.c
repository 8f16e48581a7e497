#include <stdlib.h>

#include "platform/linux/linux_aead.h"
#include "tests/platform/new_gateway.h"

static void test_the_automatic_choice_always_finds_one_that_works(void **state)
{
    void *memory = NULL;
    struct gateway *gw = new_gateway(&memory);
    (void)state;
    assert_int_equal(linux_aead_choose(gw, LINUX_AEAD_AUTO), ERR_NONE);
    assert_true(gateway_aead_trial(gw, 1, 1280));
    gateway_deinit(gw);
    free(memory);
}

static void test_a_named_one_is_used_or_refused_but_never_exchanged_silently(void **state)
{
    static const struct {
        enum linux_aead wanted;
        const char *name;
    } rows[] = {
        {LINUX_AEAD_LIBSODIUM, "libsodium"},
        {LINUX_AEAD_SSE, "ipsec-mb SSE"},
        {LINUX_AEAD_AVX2, "ipsec-mb AVX2"},
        {LINUX_AEAD_AVX512, "ipsec-mb AVX512"},
    };
    void *memory = NULL;
    struct gateway *gw = new_gateway(&memory);
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        enum err err = linux_aead_choose(gw, rows[i].wanted);
        assert_true(err == ERR_NONE || (i > 0 && err == ERR_UNSUPPORTED));
        assert_string_equal(gateway_aead_name(gw), err == ERR_NONE ? rows[i].name : "libsodium");
    }
    gateway_deinit(gw);
    free(memory);
}

static void test_names_are_read_exactly(void **state)
{
    static const char *const good[] = {"auto", "libsodium", "sse", "avx2", "avx512"};
    static const char *const bad[] = {"", "AVX2", "avx", "avx2 ", "openssl"};
    enum linux_aead out = LINUX_AEAD_AVX512;
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        assert_true(linux_aead_parse(good[i], &out));
        assert_int_equal(out, i);
        assert_false(linux_aead_parse(bad[i], &out));
        assert_int_equal(out, i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_automatic_choice_always_finds_one_that_works),
        cmocka_unit_test(test_a_named_one_is_used_or_refused_but_never_exchanged_silently),
        cmocka_unit_test(test_names_are_read_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
