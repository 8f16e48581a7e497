#include "json/json.h"

#include <cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/support.h"

/* What the text is, read in one piece. */
static enum drop_reason read_whole(struct view text)
{
    struct json_doc doc;
    enum drop_reason reason = json_parse(&doc, text);
    json_free(&doc);
    return reason;
}

/* The same, read in parts: `size` bytes at a time, `work` of work at a time. The tree is built in
 * pieces of `most` work each. Leaves the tree. */
static enum drop_reason read_pieces(struct json_doc *doc, struct view text, size_t size,
                                    uint32_t work, uint32_t most)
{
    struct json_reader reader;
    *doc = (struct json_doc){.root = NULL};
    json_read_begin(&reader, doc);
    reader.piece_most = most;
    for (size_t at = 0; at < text.len; at += size) {
        struct view piece = view_sub(text, at, text.len - at < size ? text.len - at : size);
        for (unsigned idle = 0; piece.len > 0;) {
            size_t before = piece.len;
            uint32_t left = work;
            json_read(&reader, &piece, &left);
            idle = piece.len < before ? 0 : idle + 1; /* the end of a number takes no byte */
            assert_true(idle <= 1);                   /* every step gets somewhere, */
            assert_true(piece.len == 0 || left == 0);
            assert_true(before - piece.len <= work || reader.result != DROP_NONE); /* and not far */
        }
    }
    enum drop_reason reason = json_read_end(&reader);
    assert_true((reason == DROP_NONE) == (doc->root != NULL));
    return reason;
}

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
        enum drop_reason reason = read_whole(view_text(rows[i].text));
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
    assert_int_equal(read_whole(VIEW_OF(outside)), DROP_JSON_SYNTAX);
    assert_int_equal(read_whole(VIEW_OF(behind)), DROP_JSON_SYNTAX);
    assert_int_equal(read_whole(VIEW_OF(inside)), DROP_JSON_SYNTAX);
}

static void test_limits_hold_at_their_edges(void **state)
{
    char *text = malloc(2 * JSON_NODES_MAX + 8);
    (void)state;
    assert_non_null(text);
    memset(text, '[', JSON_DEPTH_MAX + 1);
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    text[2 * JSON_DEPTH_MAX] = 0;
    assert_int_equal(read_whole(view_text(text)), DROP_NONE);
    text[JSON_DEPTH_MAX] = '[';
    assert_int_equal(read_whole(view_text(text)), DROP_JSON_LIMIT);

    /* the array and JSON_NODES_MAX - 1 items, then one more */
    text[0] = '[';
    for (size_t i = 0; i < JSON_NODES_MAX; i++) {
        text[1 + 2 * i] = '1';
        text[2 + 2 * i] = ',';
    }
    text[2 * (JSON_NODES_MAX - 1)] = ']';
    text[2 * (JSON_NODES_MAX - 1) + 1] = 0;
    assert_int_equal(read_whole(view_text(text)), DROP_NONE);
    text[2 * (JSON_NODES_MAX - 1)] = ',';
    text[2 * JSON_NODES_MAX - 1] = '1';
    text[2 * JSON_NODES_MAX] = ']';
    text[2 * JSON_NODES_MAX + 1] = 0;
    assert_int_equal(read_whole(view_text(text)), DROP_JSON_LIMIT);
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
        assert_int_equal(read_whole(writer_view(&w)),
                         count == JSON_KEYS_MAX ? DROP_NONE : DROP_JSON_LIMIT);
    }
    (void)state;
}

static void test_every_proper_prefix_of_an_object_is_truncated(void **state)
{
    struct view text = view_text("{\"a\":[1,2.5,{\"b\":\"\\u00e9\\ud83d\\ude00\"}],\"c\":null}");
    (void)state;
    for (size_t len = 0; len < text.len; len++) {
        assert_int_equal(read_whole(view_sub(text, 0, len)), DROP_JSON_TRUNCATED);
    }
    assert_int_equal(read_whole(text), DROP_NONE);
}

/* ---- pieces ---- */

static bool is_same(const struct json_value *a, const struct json_value *b)
{
    struct view text_a = VIEW_EMPTY;
    struct view text_b = VIEW_EMPTY;
    uint64_t number_a = 0;
    uint64_t number_b = 0;
    bool same = json_text(a, &text_a) == json_text(b, &text_b) && view_equal(text_a, text_b) &&
                json_u64(a, &number_a) == json_u64(b, &number_b) && number_a == number_b &&
                json_is_object(a) == json_is_object(b) && json_count(a) == json_count(b);
    const struct json_value *item = json_first(b);
    for (const struct json_value *i = json_first(a); same && i != NULL; i = json_next(i)) {
        same = is_same(i, item);
        item = json_next(item);
    }
    return same;
}

static void check_pieces(struct view text, enum drop_reason expected)
{
    static const uint32_t works[] = {1, 2, 5, UINT32_MAX};
    static const uint32_t mosts[] = {1, JSON_PIECE_WORK, 40, 90};
    struct json_doc whole;
    struct json_doc pieces;
    enum drop_reason reason = json_parse(&whole, text);
    assert_int_equal(reason, expected);
    for (size_t size = 1; size <= text.len + 1; size += text.len > 40 && size > 7 ? 13 : 1) {
        for (size_t i = 0; i < ARRAY_COUNT(works); i++) {
            reason = read_pieces(&pieces, text, size, works[i], mosts[(size + i) % 4]);
            if (reason != expected || (reason == DROP_NONE && !is_same(whole.root, pieces.root))) {
                fail_msg("%.*s in pieces of %zu, %u of work: %s", (int)text.len, text.at, size,
                         works[i], drop_label(reason));
            }
            json_free(&pieces);
        }
    }
    json_free(&whole);
}

static void test_pieces_of_any_size_are_read_like_the_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        check_pieces(view_text(rows[i].text), rows[i].reason);
    }
    check_pieces(view_text("{\"topic\":\"gateway\",\"event\":\"\\u00e9\\ud83d\\ude00 \xc3\xa9 "
                           "\xe2\x82\xac \xf0\x9f\x98\x80\",\"ref\":18446744073709551615,"
                           "\"payload\":{\"a\":[1,-2,3.5e-1,[],{}],\"b\":null,\"c\":true}}"),
                 DROP_NONE);
}

/* A duplicate is found while the text is read, but told last: text that ends too early is another
 * matter to the portal's channel. */
static void test_a_duplicate_key_hides_nothing_else(void **state)
{
    (void)state;
    check_pieces(view_text("{\"a\":1,\"b\":2,\"a\":3}"), DROP_JSON_SYNTAX);
    check_pieces(view_text("{\"a\":1,\"b\":2,\"a\":3"), DROP_JSON_TRUNCATED);
    check_pieces(view_text("{\"a\":1,\"a\":{},\"b"), DROP_JSON_TRUNCATED);
}

/* ---- limits of strings ---- */

static void test_long_strings_are_cut_between_characters(void **state)
{
    static const char *const characters[] = {"x", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    size_t size = 2 * JSON_STRING_SIZE_MAX;
    char *text = malloc(size + 8);
    (void)state;
    assert_non_null(text);
    for (size_t c = 0; c < 4; c++) {
        for (size_t shift = 0; shift <= c; shift++) {
            struct writer w = writer_of((struct span){(uint8_t *)text, size + 8});
            struct json_doc doc;
            struct view kept = VIEW_EMPTY;
            writer_text(&w, "[\"");
            for (size_t i = 0; i < shift; i++) {
                writer_text(&w, "y");
            }
            while (w.used < size) {
                writer_text(&w, characters[c]);
            }
            writer_text(&w, "\",7]");
            assert_int_equal(read_pieces(&doc, writer_view(&w), 1000, 100000, JSON_PIECE_WORK),
                             DROP_NONE);
            assert_int_equal(json_count(doc.root), 2);
            assert_true(json_text(json_first(doc.root), &kept));
            assert_true(kept.len <= JSON_STRING_SIZE_MAX);
            assert_true(kept.len + 4 >= JSON_STRING_SIZE_MAX);
            assert_true(text_is_utf8(kept));
            assert_memory_equal(kept.at, text + 2, kept.len);
            json_free(&doc);
        }
    }
    free(text);
}

static void test_keys_are_bounded(void **state)
{
    char text[JSON_KEY_SIZE_MAX + 8];
    (void)state;
    for (size_t size = JSON_KEY_SIZE_MAX; size <= JSON_KEY_SIZE_MAX + 1; size++) {
        memset(text, 'k', sizeof(text));
        memcpy(text, "{\"", 2);
        memcpy(text + 2 + size, "\":1}", 5);
        assert_int_equal(read_whole(view_text(text)),
                         size == JSON_KEY_SIZE_MAX ? DROP_NONE : DROP_JSON_LIMIT);
    }
}

static void put_escapes(struct writer *w, unsigned count)
{
    writer_text(w, "\"");
    for (unsigned i = 0; i < count; i++) {
        writer_text(w, "\\u0061");
    }
    writer_text(w, "\"");
}

/* Keys and a string of the longest spelling, as deep as may be, behind a piece that is almost full
 * of numbers or of text: the buffer holds what comes before the piece may end. */
static void test_the_longest_spelling_has_room(void **state)
{
    enum { ROOM = 1000000 };
    uint8_t *text = malloc(ROOM);
    (void)state;
    assert_non_null(text);
    for (unsigned before = 0; before <= JSON_PIECE_WORK; before += 100) {
        struct writer w = writer_of((struct span){text, ROOM});
        struct json_doc doc;
        struct view kept = VIEW_EMPTY;
        writer_text(&w, "[1");
        for (unsigned i = 0; i < before; i += 42) {
            writer_text(&w, ",2");
        }
        for (unsigned i = 1; i < JSON_DEPTH_MAX; i++) {
            writer_text(&w, i == 1 ? ",{" : "{");
            put_escapes(&w, JSON_KEY_SIZE_MAX);
            writer_text(&w, ":");
        }
        put_escapes(&w, JSON_STRING_SIZE_MAX);
        for (unsigned i = 1; i < JSON_DEPTH_MAX; i++) {
            writer_text(&w, "}");
        }
        writer_text(&w, "]");
        assert_int_equal(json_parse(&doc, writer_view(&w)), DROP_NONE);
        const struct json_value *at = json_first(doc.root);
        while (json_next(at) != NULL) {
            at = json_next(at);
        }
        while (json_first(at) != NULL) {
            at = json_first(at);
        }
        assert_true(json_text(at, &kept));
        assert_int_equal(kept.len, JSON_STRING_SIZE_MAX / 6);
        json_free(&doc);
    }
    free(text);
}

/* ---- a reader that we did not write ---- */

static uint32_t draws = 1; /* cmocka runs one test after the other */

static uint32_t draw(uint32_t below)
{
    draws = draws * 1664525U + 1013904223U;
    return (draws >> 8) % below;
}

static void put_random(struct writer *w, unsigned depth)
{
    static const char *const scalars[] = {"null",     "true",           "false",       "0",
                                          "-17",      "123456789012",   "1.5e2",       "\"\"",
                                          "\"text\"", "\"\\n\\u20ac\"", "\"\xc3\xa9\""};
    uint32_t kind = depth == 0 ? 2 : draw(4);
    uint32_t count = draw(5);
    if (kind > 1) {
        writer_text(w, scalars[draw(ARRAY_COUNT(scalars))]);
        return;
    }
    writer_text(w, kind == 0 ? "[" : "{");
    for (uint32_t i = 0; i < count; i++) {
        uint8_t key[] = {'"', (uint8_t)('a' + i), '"', ' ', ':'};
        writer_text(w, i > 0 ? "," : " ");
        if (kind == 1) {
            writer_bytes(w, VIEW_OF(key));
        }
        put_random(w, depth - 1);
    }
    writer_text(w, kind == 0 ? "]" : "}");
}

static void check_against(const struct json_value *ours, const cJSON *theirs)
{
    struct view text = VIEW_EMPTY;
    int64_t number = 0;
    bool flag = false;
    assert_int_equal(json_is_null(ours), cJSON_IsNull(theirs));
    assert_int_equal(json_is_array(ours), cJSON_IsArray(theirs));
    assert_int_equal(json_is_object(ours), cJSON_IsObject(theirs));
    assert_int_equal(json_bool(ours, &flag), cJSON_IsBool(theirs));
    assert_true(!flag || cJSON_IsTrue(theirs));
    assert_int_equal(json_text(ours, &text), cJSON_IsString(theirs));
    if (cJSON_IsString(theirs)) {
        assert_true(view_equal_text(text, theirs->valuestring));
    }
    if (json_i64(ours, &number)) {
        assert_true(number == (int64_t)theirs->valuedouble);
    }
    const struct json_value *item = json_first(ours);
    for (const cJSON *child = theirs->child; child != NULL; child = child->next) {
        assert_non_null(item);
        if (child->string != NULL) {
            assert_ptr_equal(json_get(ours, child->string), item);
        }
        check_against(item, child);
        item = json_next(item);
    }
    assert_null(item);
}

static void test_the_tree_is_the_one_that_another_reader_builds(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 3000; round++) {
        uint8_t text[16384];
        struct json_doc doc;
        struct writer w = writer_of((struct span){text, sizeof(text)});
        put_random(&w, 5);
        if (!writer_finish(&w)) {
            continue;
        }
        cJSON *theirs = cJSON_ParseWithLength((const char *)text, w.used);
        assert_non_null(theirs);
        uint32_t most = draw(2) == 0 ? 1 + draw(300) : JSON_PIECE_WORK;
        assert_int_equal(read_pieces(&doc, writer_view(&w), 1 + draw(64), 1 + draw(64), most),
                         DROP_NONE);
        check_against(doc.root, theirs);
        json_free(&doc);
        cJSON_Delete(theirs);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_table_of_texts),
        cmocka_unit_test(test_a_nul_byte_is_refused_everywhere),
        cmocka_unit_test(test_limits_hold_at_their_edges),
        cmocka_unit_test(test_an_object_has_a_bounded_number_of_members),
        cmocka_unit_test(test_every_proper_prefix_of_an_object_is_truncated),
        cmocka_unit_test(test_pieces_of_any_size_are_read_like_the_whole),
        cmocka_unit_test(test_a_duplicate_key_hides_nothing_else),
        cmocka_unit_test(test_long_strings_are_cut_between_characters),
        cmocka_unit_test(test_keys_are_bounded),
        cmocka_unit_test(test_the_longest_spelling_has_room),
        cmocka_unit_test(test_the_tree_is_the_one_that_another_reader_builds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
