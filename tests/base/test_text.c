#include "tests/support/support.h"

#include <string.h>

#include "base/text.h"

static struct view put(struct writer *w, uint8_t *room, size_t size)
{
    *w = writer_of((struct span){room, size});
    return VIEW_EMPTY;
}

static void assert_text(const struct writer *w, const char *expected)
{
    struct view got = writer_view(w);
    assert_int_equal(got.len, strlen(expected));
    assert_memory_equal(got.at, expected, got.len);
}

static void test_numbers_print_without_padding(void **state)
{
    (void)state;
    uint8_t room[64];
    struct writer w;
    put(&w, room, sizeof(room));
    text_put_u64(&w, 0);
    text_put_char(&w, ' ');
    text_put_u64(&w, UINT64_MAX);
    text_put_char(&w, ' ');
    text_put_hex64(&w, 0xfffeff7eU);
    assert_text(&w, "0 18446744073709551615 fffeff7e");
}

static void test_numbers_parse_exactly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
        uint64_t value;
    } rows[] = {
        {"0", true, 0},
        {"007", true, 7},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"99999999999999999999", false, 0},
        {"", false, 0},
        {"-1", false, 0},
        {"+1", false, 0},
        {"1 ", false, 0},
        {"0x10", false, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uint64_t value = 42;
        assert_int_equal(text_parse_u64(view_text(rows[i].text), &value), rows[i].good);
        assert_true(value == (rows[i].good ? rows[i].value : 42));
    }
    uint16_t port = 1;
    assert_true(text_parse_u16(view_text("65535"), &port));
    assert_int_equal(port, 65535);
    assert_false(text_parse_u16(view_text("65536"), &port));
}

/* RFC 4648 section 10. */
static void test_base64_and_base32_follow_the_rfc_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *plain;
        const char *base64;
        const char *base32;
    } rows[] = {
        {"", "", ""},
        {"f", "Zg==", "my"},
        {"fo", "Zm8=", "mzxq"},
        {"foo", "Zm9v", "mzxw6"},
        {"foob", "Zm9vYg==", "mzxw6yq"},
        {"fooba", "Zm9vYmE=", "mzxw6ytb"},
        {"foobar", "Zm9vYmFy", "mzxw6ytboi"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uint8_t room[64];
        uint8_t back[64];
        struct writer w;
        size_t len = strlen(rows[i].plain);
        put(&w, room, sizeof(room));
        text_put_base64(&w, view_text(rows[i].plain), true);
        assert_text(&w, rows[i].base64);
        assert_true(text_parse_base64(view_text(rows[i].base64), back, len));
        assert_memory_equal(back, rows[i].plain, len);
        put(&w, room, sizeof(room));
        text_put_base32(&w, view_text(rows[i].plain));
        assert_text(&w, rows[i].base32);
    }
}

static void test_base64_refuses_other_spellings(void **state)
{
    (void)state;
    uint8_t out[4];
    assert_false(text_parse_base64(view_text("Zg"), out, 1));
    assert_false(text_parse_base64(view_text("Zh=="), out, 1)); /* non-zero trailing bits */
    assert_false(text_parse_base64(view_text("Zm9v"), out, 2));
    assert_false(text_parse_base64(view_text("Zm9-"), out, 3));
    assert_false(text_parse_base64(view_text("Z==="), out, 1));
    assert_false(text_parse_base64(view_text("===="), out, 1));
}

static void test_utf8_refuses_overlong_surrogates_and_cuts(void **state)
{
    (void)state;
    assert_true(text_is_utf8(view_text("h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80")));
    static const char *const bad[] = {"\xc0\x80",     "\xed\xa0\x80",    "\xf4\x90\x80\x80",
                                      "\x80",         "\xe2\x82",        "\xff",
                                      "\xe0\x80\x80", "\xf0\x80\x80\x80"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_false(text_is_utf8(view_text(bad[i])));
    }
}

static void test_the_first_character_of_a_text(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
        uint32_t code;
        bool printable;
    } rows[] = {
        {"az", 1, 'a', true},
        {"\xc3\xbcz", 2, 0xfc, true},
        {"\xe6\x97\xa5z", 3, 0x65e5, true},
        {"\xf0\x9f\x98\x80z", 4, 0x1f600, true},
        {"\xf4\x8f\xbf\xbf", 4, 0x10ffff, true},
        {"\n", 1, '\n', false},
        {"\x7f", 1, 0x7f, false},
        {"\xc2\x9b", 2, 0x9b, false},       /* a control sequence of one character */
        {"\xe2\x80\xa8", 3, 0x2028, false}, /* line separator */
        {"\xe2\x80\xae", 3, 0x202e, false}, /* turns the direction of what follows */
        {"\xe2\x81\xa6", 3, 0x2066, false},
        {"\xef\xbb\xbf", 3, 0xfeff, false},
        {"\xe2\x82", 0, 0, false},
        {"\xc0\x80", 0, 0, false},
        {"\xed\xa0\x80", 0, 0, false},
        {"", 0, 0, false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uint32_t code = 0;
        assert_int_equal(text_first_char(view_text(rows[i].text), &code), rows[i].len);
        if (rows[i].len > 0) {
            assert_int_equal(code, rows[i].code);
            assert_int_equal(text_is_printable(code), rows[i].printable);
        }
    }
}

static void test_uuid_accepts_its_four_spellings(void **state)
{
    (void)state;
    static const char *const good[] = {
        "0b7e2c1a-5d34-4f6e-9a10-6c2f8e91d001", "0B7E2C1A5D344F6E9A106C2F8E91D001",
        "{0b7e2c1a-5d34-4f6e-9a10-6c2f8e91d001}", "URN:uuid:0b7e2c1a-5d34-4f6e-9a10-6c2f8e91d001"};
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        struct uuid id;
        uint8_t room[40];
        struct writer w;
        assert_true(uuid_parse(view_text(good[i]), &id));
        put(&w, room, sizeof(room));
        uuid_put(&w, &id);
        assert_text(&w, good[0]);
    }
    struct uuid id;
    assert_false(uuid_parse(view_text("0b7e2c1a-5d34-4f6e-9a10-6c2f8e91d00"), &id));
    assert_false(uuid_parse(view_text("0b7e2c1a_5d34-4f6e-9a10-6c2f8e91d001"), &id));
    assert_false(uuid_parse(view_text("0b7e2c1a-5d34-4f6e-9a10-6c2f8e91d00g"), &id));
    assert_false(uuid_parse(VIEW_EMPTY, &id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_print_without_padding),
        cmocka_unit_test(test_numbers_parse_exactly),
        cmocka_unit_test(test_base64_and_base32_follow_the_rfc_vectors),
        cmocka_unit_test(test_base64_refuses_other_spellings),
        cmocka_unit_test(test_utf8_refuses_overlong_surrogates_and_cuts),
        cmocka_unit_test(test_the_first_character_of_a_text),
        cmocka_unit_test(test_uuid_accepts_its_four_spellings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
