#include "json/json_writer.h"

#include "tests/support/support.h"
#include "json/json.h"

static void put_sample(struct json_writer *w)
{
    struct ip_addr ip = ip_v4(10, 0, 0, 1);
    struct sock_addr addr = sock_addr_of(ip, 53);
    struct ip_prefix prefix = ip_prefix_host(ip);
    static const uint8_t bytes[] = {1, 2, 3, 4};
    json_open_object(w);
    json_field_u64(w, "max", UINT64_MAX);
    json_put_key(w, "list");
    json_open_array(w);
    json_put_i64(w, INT64_MIN);
    json_put_i64(w, -1);
    json_put_null(w);
    json_put_bool(w, true);
    json_open_object(w);
    json_close_object(w);
    json_put_ip(w, &ip);
    json_put_sockaddr(w, &addr);
    json_put_prefix(w, &prefix);
    json_put_base64(w, VIEW_OF(bytes));
    json_close_array(w);
    json_field_string(w, "text", "a\"\\\b\f\n\r\t\x01\x1f/\x7f\xc3\xa9");
    json_field_bool(w, "no", false);
    json_close_object(w);
}

static const char sample[] =
    "{\"max\":18446744073709551615,\"list\":[-9223372036854775808,-1,null,true,{},\"10.0.0.1\","
    "\"10.0.0.1:53\",\"10.0.0.1/32\",\"AQIDBA==\"],"
    "\"text\":\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001f/\x7f\xc3\xa9\",\"no\":false}";

static void test_output_has_the_order_and_escapes_of_the_reference(void **state)
{
    uint8_t bytes[512];
    struct json_writer w = json_writer_of((struct span){bytes, sizeof(bytes)});
    struct view text;
    (void)state;
    put_sample(&w);
    assert_true(json_writer_finish(&w, &text));
    assert_true(view_equal_text(text, sample));
}

static void test_what_was_written_reads_back(void **state)
{
    struct json_doc doc;
    struct view text;
    (void)state;
    assert_int_equal(json_parse(&doc, view_text(sample)), DROP_NONE);
    assert_true(json_get_text(doc.root, "text", &text));
    assert_true(view_equal_text(text, "a\"\\\b\f\n\r\t\x01\x1f/\x7f\xc3\xa9"));
    assert_int_equal(json_count(json_get(doc.root, "list")), 9);
    json_free(&doc);
}

static void test_lack_of_room_at_every_size_is_a_failure(void **state)
{
    uint8_t bytes[512];
    struct view text;
    (void)state;
    for (size_t len = 0; len < sizeof(sample) - 1; len++) {
        struct json_writer w = json_writer_of((struct span){bytes, len});
        put_sample(&w);
        assert_false(json_writer_finish(&w, &text));
        assert_int_equal(text.len, 0);
    }
}

static void test_text_that_is_not_utf8_fails(void **state)
{
    uint8_t bytes[64];
    struct json_writer w = json_writer_of((struct span){bytes, sizeof(bytes)});
    struct view text;
    (void)state;
    json_put_string(&w, "\xff");
    assert_false(json_writer_finish(&w, &text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output_has_the_order_and_escapes_of_the_reference),
        cmocka_unit_test(test_what_was_written_reads_back),
        cmocka_unit_test(test_lack_of_room_at_every_size_is_a_failure),
        cmocka_unit_test(test_text_that_is_not_utf8_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
