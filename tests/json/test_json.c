#include "json/json.h"

#include <string.h>

#include "tests/support/failing_malloc.h"
#include "tests/support/support.h"

static enum drop_reason parse(struct json_doc *doc, const char *text)
{
    return json_parse(doc, view_text(text));
}

static void test_integers_are_exact_over_64_bits(void **state)
{
    struct json_doc doc;
    uint64_t u = 0;
    int64_t i = 0;
    (void)state;
    assert_int_equal(parse(&doc, "{\"3\":[1,\"2 3\"],\"a\":18446744073709551615,"
                                 "\"b\":-9223372036854775808,\"c\":9007199254740993,\"d\":-0,"
                                 "\"e\":18446744073709551616,\"f\":1.0,\"g\":1e2}"),
                     DROP_NONE);
    assert_true(json_get_u64(doc.root, "a", &u));
    assert_true(u == UINT64_MAX);
    assert_false(json_get_i64(doc.root, "a", &i));
    assert_true(json_get_i64(doc.root, "b", &i));
    assert_true(i == INT64_MIN);
    assert_false(json_get_u64(doc.root, "b", &u));
    assert_true(json_get_u64(doc.root, "c", &u));
    assert_true(u == UINT64_C(9007199254740993));
    assert_true(json_get_u64(doc.root, "d", &u));
    assert_true(u == 0);
    assert_false(json_get_u64(doc.root, "e", &u));
    assert_false(json_get_u64(doc.root, "f", &u));
    assert_false(json_get_u64(doc.root, "g", &u));
    assert_true(json_u64(json_first(json_get(doc.root, "3")), &u));
    assert_true(u == 1);
    json_free(&doc);
}

static void test_duplicate_keys_are_refused_after_unescaping(void **state)
{
    struct json_doc doc;
    (void)state;
    assert_int_equal(parse(&doc, "{\"a\":1,\"a\":2}"), DROP_JSON_SYNTAX);
    assert_int_equal(parse(&doc, "{\"a\":1,\"\\u0061\":2}"), DROP_JSON_SYNTAX);
    assert_int_equal(parse(&doc, "[{\"b\":{\"x\":1,\"y\":2,\"x\":3}}]"), DROP_JSON_SYNTAX);
    assert_null(doc.root);
    assert_int_equal(parse(&doc, "{\"a\":1,\"A\":2,\"b\":{\"a\":1}}"), DROP_NONE);
    json_free(&doc);
}

static void test_keys_are_case_sensitive(void **state)
{
    struct json_doc doc;
    bool flag = false;
    (void)state;
    assert_int_equal(parse(&doc, "{\"Flag\":true}"), DROP_NONE);
    assert_false(json_get_bool(doc.root, "flag", &flag));
    assert_true(json_get_bool(doc.root, "Flag", &flag));
    assert_true(flag);
    json_free(&doc);
}

static void test_null_and_absent_differ_where_they_should(void **state)
{
    struct json_doc doc;
    uint16_t port = 7;
    bool is_some = true;
    uint64_t at = 1;
    (void)state;
    assert_int_equal(parse(&doc, "{\"n\":null,\"p\":65535,\"big\":65536,\"neg\":-5}"), DROP_NONE);
    assert_true(json_get_u16_opt(doc.root, "absent", &port));
    assert_int_equal(port, 7);
    assert_false(json_get_u16_opt(doc.root, "n", &port));
    assert_true(json_get_u16_opt(doc.root, "p", &port));
    assert_int_equal(port, 65535);
    assert_false(json_get_u16_opt(doc.root, "big", &port));
    assert_null(json_get_some(doc.root, "n"));
    assert_non_null(json_get(doc.root, "n"));
    assert_true(json_get_unix_or_null(doc.root, "n", &is_some, &at));
    assert_false(is_some);
    assert_false(json_get_unix_or_null(doc.root, "absent", &is_some, &at));
    assert_true(json_get_unix_or_null(doc.root, "neg", &is_some, &at));
    assert_true(is_some && at == 0);
    json_free(&doc);
}

static void test_typed_members_follow_their_spellings(void **state)
{
    struct json_doc doc;
    struct uuid id;
    struct ip_addr ip;
    struct sock_addr addr;
    struct ip_prefix prefix;
    uint8_t key[JSON_KEY32_SIZE];
    (void)state;
    assert_int_equal(parse(&doc,
                           "{\"id\":\"{4694E56C-7643-4A15-9DF3-638E5B05F570}\",\"v4\":\"10.0.0.1\","
                           "\"v6\":\"fd00::1\",\"a4\":\"1.2.3.4:5\",\"a6\":\"[::1]:6\","
                           "\"p\":\"10.0.0.0/8\",\"host\":\"a.example:5\",\"bits\":\"10.0.0.1/8\","
                           "\"key\":\"AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\","
                           "\"short\":\"AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA\"}"),
                     DROP_NONE);
    assert_true(json_get_uuid(doc.root, "id", &id));
    assert_int_equal(id.bytes[0], 0x46);
    assert_true(json_get_ipv4(doc.root, "v4", &ip));
    assert_false(json_get_ipv6(doc.root, "v4", &ip));
    assert_true(json_get_ipv6(doc.root, "v6", &ip));
    assert_true(json_get_sockaddr(doc.root, "a4", &addr));
    assert_int_equal(addr.port, 5);
    assert_true(json_get_sockaddr(doc.root, "a6", &addr));
    assert_false(json_get_sockaddr(doc.root, "host", &addr));
    assert_true(json_get_prefix(doc.root, "p", &prefix));
    assert_false(json_get_prefix(doc.root, "bits", &prefix));
    assert_false(json_get_prefix(doc.root, "v4", &prefix));
    assert_true(json_get_key32(doc.root, "key", key));
    assert_int_equal(key[31], 32);
    assert_false(json_get_key32(doc.root, "short", key));
    json_free(&doc);
}

static void test_every_failing_allocation_is_survived(void **state)
{
    static const char item[] = ",{\"b\":1,\"c\":[\"d\"]}";
    char text[12000];
    unsigned number = 1;
    bool done = false;
    (void)state;
    /* a long string, so that the buffer grows; enough values for several pieces */
    memset(text, 'a', sizeof(text));
    memcpy(text, "{\"key\":[\"", 9);
    text[10000] = '"';
    size_t at = 10001;
    for (; at + 40 < sizeof(text); at += strlen(item)) {
        memcpy(text + at, item, strlen(item));
    }
    text[at++] = ']';
    text[at++] = '}';
    for (; !done; number++) {
        struct json_doc doc = {.root = NULL};
        struct json_trash trash = {NULL};
        struct json_reader reader;
        struct view left = {(const uint8_t *)text, at};
        uint32_t work = UINT32_MAX;
        json_read_begin(&reader, &doc);
        reader.piece_most = 1000;
        arm(number, true);
        json_read(&reader, &left, &work);
        enum drop_reason reason = json_read_end(&reader);
        done = !disarm();
        assert_int_equal(reason, done ? DROP_NONE : DROP_JSON_MEMORY);
        assert_true(done == (doc.root != NULL));
        json_release(&doc, &trash);
        assert_true(json_free_some(&trash, JSON_NODES_MAX));
    }
    assert_true(number > 300);
}

static void test_what_is_released_is_freed_a_few_values_at_a_time(void **state)
{
    static const char *const texts[] = {"7", "{\"a\":[1,[],{\"b\":\"c\"}],\"d\":null}", "[2]"};
    struct json_trash trash = {NULL};
    struct json_doc doc;
    unsigned calls = 0;
    (void)state;
    assert_true(json_free_some(&trash, 1));
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        assert_int_equal(parse(&doc, texts[i]), DROP_NONE);
        json_release(&doc, &trash);
        assert_null(doc.root);
        json_release(&doc, &trash); /* an empty document adds nothing */
    }
    for (calls = 1; !json_free_some(&trash, 1); calls++) {
    }
    assert_int_equal(calls, 1 + 7 + 2);
    assert_int_equal(parse(&doc, texts[1]), DROP_NONE);
    json_release(&doc, &trash);
    assert_false(json_free_some(&trash, 6));
    assert_true(json_free_some(&trash, 1));
}

static void test_deep_trees_are_walked_to_their_end(void **state)
{
    char text[2 * JSON_DEPTH_MAX + 3];
    struct json_doc doc;
    uint64_t value = 0;
    (void)state;
    memset(text, '[', JSON_DEPTH_MAX);
    text[JSON_DEPTH_MAX] = '7';
    memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX);
    text[2 * JSON_DEPTH_MAX + 1] = 0;
    assert_int_equal(parse(&doc, text), DROP_NONE);
    const struct json_value *at = doc.root;
    for (unsigned i = 0; i < JSON_DEPTH_MAX; i++) {
        at = json_first(at);
    }
    assert_true(json_u64(at, &value));
    assert_true(value == 7);
    json_free(&doc);
}

static void test_scalars_are_documents(void **state)
{
    struct json_doc doc;
    uint64_t value = 0;
    (void)state;
    assert_int_equal(parse(&doc, " 42 "), DROP_NONE);
    assert_true(json_u64(doc.root, &value));
    assert_true(value == 42);
    assert_null(json_first(doc.root));
    assert_int_equal(json_count(doc.root), 0);
    assert_null(json_get(doc.root, "x"));
    assert_null(json_get(NULL, "x"));
    json_free(&doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers_are_exact_over_64_bits),
        cmocka_unit_test(test_duplicate_keys_are_refused_after_unescaping),
        cmocka_unit_test(test_keys_are_case_sensitive),
        cmocka_unit_test(test_null_and_absent_differ_where_they_should),
        cmocka_unit_test(test_typed_members_follow_their_spellings),
        cmocka_unit_test(test_every_failing_allocation_is_survived),
        cmocka_unit_test(test_what_is_released_is_freed_a_few_values_at_a_time),
        cmocka_unit_test(test_deep_trees_are_walked_to_their_end),
        cmocka_unit_test(test_scalars_are_documents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
