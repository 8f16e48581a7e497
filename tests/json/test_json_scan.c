#include "json/json_scan.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/support.h"

struct row {
    const char *text;
    enum drop_reason reason;
};

static const struct row rows[] = {
    {"", DROP_JSON_TRUNCATED},
    {"  ", DROP_JSON_TRUNCATED},
    {"{", DROP_JSON_TRUNCATED},
    {"{\"a\"", DROP_JSON_TRUNCATED},
    {"{\"a\":", DROP_JSON_TRUNCATED},
    {"{\"a\":1", DROP_JSON_TRUNCATED},
    {"{\"a\":1,", DROP_JSON_TRUNCATED},
    {"\"abc", DROP_JSON_TRUNCATED},
    {"\"\\u12", DROP_JSON_TRUNCATED},
    {"\"\\ud83d", DROP_JSON_TRUNCATED},
    {"tru", DROP_JSON_TRUNCATED},
    {"-", DROP_JSON_TRUNCATED},
    {"1.", DROP_JSON_TRUNCATED},
    {"1e", DROP_JSON_TRUNCATED},
    {"{}", DROP_NONE},
    {" [ ] ", DROP_NONE},
    {"\t{\r\n\"a\" : [1, -0.5e+3 , true,false,null,\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u20aC\"] }",
     DROP_NONE},
    {"\"\\ud83d\\ude00\"", DROP_NONE},
    {"{} x", DROP_JSON_SYNTAX},
    {"{}{}", DROP_JSON_SYNTAX},
    {"[1,]", DROP_JSON_SYNTAX},
    {"{\"a\":1,}", DROP_JSON_SYNTAX},
    {"{a:1}", DROP_JSON_SYNTAX},
    {"{\"a\" 1}", DROP_JSON_SYNTAX},
    {"[1 2]", DROP_JSON_SYNTAX},
    {"[}", DROP_JSON_SYNTAX},
    {"{]", DROP_JSON_SYNTAX},
    {"01", DROP_JSON_SYNTAX},
    {"-01", DROP_JSON_SYNTAX},
    {"+1", DROP_JSON_SYNTAX},
    {".5", DROP_JSON_SYNTAX},
    {"1.e1", DROP_JSON_SYNTAX},
    {"0x10", DROP_JSON_SYNTAX},
    {"1.5.5", DROP_JSON_SYNTAX},
    {"trueX", DROP_JSON_SYNTAX},
    {"NaN", DROP_JSON_SYNTAX},
    {"'a'", DROP_JSON_SYNTAX},
    {"\"\\x\"", DROP_JSON_SYNTAX},
    {"\"\\u12g4\"", DROP_JSON_SYNTAX},
    {"\"\\u0000\"", DROP_JSON_SYNTAX},
    {"{\"a\\u0000b\":1}", DROP_JSON_SYNTAX},
    {"\"\\ud83d\"", DROP_JSON_SYNTAX},
    {"\"\\ude00\"", DROP_JSON_SYNTAX},
    {"\"\\ud83d\\u0041\"", DROP_JSON_SYNTAX},
    {"\"a\nb\"", DROP_JSON_SYNTAX},
    {"\xef\xbb\xbf{}", DROP_JSON_SYNTAX},
    {"\"\xc0\x80\"", DROP_JSON_SYNTAX},
    {"\"\xed\xa0\x80\"", DROP_JSON_SYNTAX},
    {"\"\xff\"", DROP_JSON_SYNTAX},
    {"\x01{}", DROP_JSON_SYNTAX},
    {"11111111111111111111111111111111111111111", DROP_JSON_LIMIT},
};

static void test_the_table_of_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        enum drop_reason reason = json_scan(view_text(rows[i].text), NULL);
        if (reason != rows[i].reason) {
            fail_msg("row %zu: %s gives %s", i, rows[i].text, drop_label(reason));
        }
    }
}

static void test_a_nul_byte_is_refused_everywhere(void **state)
{
    static const uint8_t outside[] = {'{', 0, '}'};
    static const uint8_t behind[] = {'{', '}', 0};
    static const uint8_t inside[] = {'"', 'a', 0, '"'};
    (void)state;
    assert_int_equal(json_scan(VIEW_OF(outside), NULL), DROP_JSON_SYNTAX);
    assert_int_equal(json_scan(VIEW_OF(behind), NULL), DROP_JSON_SYNTAX);
    assert_int_equal(json_scan(VIEW_OF(inside), NULL), DROP_JSON_SYNTAX);
}

static void test_limits_hold_at_their_edges(void **state)
{
    struct json_scan_info info;
    char *text = malloc(2 * JSON_NODES_MAX + 8);
    (void)state;
    assert_non_null(text);
    memset(text, '[', JSON_DEPTH_MAX + 1);
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    text[2 * JSON_DEPTH_MAX] = 0;
    assert_int_equal(json_scan(view_text(text), &info), DROP_NONE);
    assert_int_equal(info.depth, JSON_DEPTH_MAX);
    assert_int_equal(info.nodes, JSON_DEPTH_MAX);
    text[JSON_DEPTH_MAX] = '[';
    assert_int_equal(json_scan(view_text(text), NULL), DROP_JSON_LIMIT);

    /* the array and JSON_NODES_MAX - 1 items, then one more */
    text[0] = '[';
    for (size_t i = 0; i < JSON_NODES_MAX; i++) {
        text[1 + 2 * i] = '1';
        text[2 + 2 * i] = ',';
    }
    text[2 * (JSON_NODES_MAX - 1)] = ']';
    text[2 * (JSON_NODES_MAX - 1) + 1] = 0;
    assert_int_equal(json_scan(view_text(text), &info), DROP_NONE);
    assert_int_equal(info.nodes, JSON_NODES_MAX);
    text[2 * (JSON_NODES_MAX - 1)] = ',';
    text[2 * JSON_NODES_MAX - 1] = '1';
    text[2 * JSON_NODES_MAX] = ']';
    text[2 * JSON_NODES_MAX + 1] = 0;
    assert_int_equal(json_scan(view_text(text), NULL), DROP_JSON_LIMIT);
    free(text);
}

static void test_an_object_has_a_bounded_number_of_members(void **state)
{
    for (unsigned count = JSON_KEYS_MAX; count <= JSON_KEYS_MAX + 1; count++) {
        uint8_t text[16 * (JSON_KEYS_MAX + 2)];
        struct writer w = writer_of((struct span){text, sizeof(text)});
        writer_text(&w, "{");
        for (unsigned i = 0; i < count; i++) {
            uint8_t key[] = {'"', (uint8_t)('A' + i / 26), (uint8_t)('a' + i % 26), '"', ':', '1'};
            writer_text(&w, i == 0 ? "" : ",");
            writer_bytes(&w, VIEW_OF(key));
        }
        writer_text(&w, "}");
        assert_int_equal(json_scan(writer_view(&w), NULL),
                         count == JSON_KEYS_MAX ? DROP_NONE : DROP_JSON_LIMIT);
    }
    (void)state;
}

static void test_numbers_are_found_in_order_and_never_inside_strings(void **state)
{
    struct view text = view_text("{\"1\":[\"\\\"2\",-3.5e1],\"x\\\\\":40,\"y\":[0]}");
    static const char *const expected[] = {"-3.5e1", "40", "0"};
    struct view token;
    size_t at = 0;
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++) {
        assert_true(json_scan_next_number(text, &at, &token));
        assert_true(view_equal_text(token, expected[i]));
    }
    assert_false(json_scan_next_number(text, &at, &token));
}

static void test_every_proper_prefix_of_an_object_is_truncated(void **state)
{
    struct view text = view_text("{\"a\":[1,2.5,{\"b\":\"\\u00e9\\ud83d\\ude00\"}],\"c\":null}");
    (void)state;
    for (size_t len = 0; len < text.len; len++) {
        assert_int_equal(json_scan(view_sub(text, 0, len), NULL), DROP_JSON_TRUNCATED);
    }
    assert_int_equal(json_scan(text, NULL), DROP_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_table_of_texts),
        cmocka_unit_test(test_a_nul_byte_is_refused_everywhere),
        cmocka_unit_test(test_limits_hold_at_their_edges),
        cmocka_unit_test(test_an_object_has_a_bounded_number_of_members),
        cmocka_unit_test(test_numbers_are_found_in_order_and_never_inside_strings),
        cmocka_unit_test(test_every_proper_prefix_of_an_object_is_truncated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
