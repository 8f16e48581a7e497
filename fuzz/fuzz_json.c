/* fuzz_json: any bytes as a JSON text, at once and in pieces, with the same result; of what is
 * accepted the trees are compared, with that of cJSON alone, too. */
#include <cJSON.h>

#include "base/assert.h"
#include "json/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The two trees are the one that cJSON makes of the text by itself. */
static void compare(const struct json_value *a, const struct json_value *b, const cJSON *theirs)
{
    struct view text_a = VIEW_EMPTY;
    struct view text_b = VIEW_EMPTY;
    uint64_t numbers[2] = {0};
    int64_t integers[2] = {0};
    ASSERT(json_text(a, &text_a) == json_text(b, &text_b) && view_equal(text_a, text_b));
    ASSERT(!cJSON_IsString(theirs) || view_equal_text(text_a, theirs->valuestring));
    ASSERT(json_u64(a, &numbers[0]) == json_u64(b, &numbers[1]) && numbers[0] == numbers[1]);
    ASSERT(json_i64(a, &integers[0]) == json_i64(b, &integers[1]) && integers[0] == integers[1]);
    ASSERT(json_is_null(a) == cJSON_IsNull(theirs) && json_is_null(b) == cJSON_IsNull(theirs));
    ASSERT(json_is_array(a) == cJSON_IsArray(theirs) && json_is_array(b) == cJSON_IsArray(theirs));
    ASSERT(json_is_object(a) == cJSON_IsObject(theirs));
    ASSERT(json_count(a) == json_count(b));
    const struct json_value *item_a = json_first(a);
    const struct json_value *item_b = json_first(b);
    for (const cJSON *item = theirs->child; item != NULL; item = item->next) {
        ASSERT(item_a != NULL && item_b != NULL);
        ASSERT(item->string == NULL || json_get(b, item->string) == item_b);
        compare(item_a, item_b, item); /* the reader bounds the depth */
        item_a = json_next(item_a);
        item_b = json_next(item_b);
    }
    ASSERT(item_a == NULL && item_b == NULL);
}

/* Pieces and work follow from the text, so that a saved input says all. */
static enum drop_reason read_pieces(struct json_doc *doc, struct view text)
{
    struct json_reader reader;
    uint32_t draw = 0;
    json_read_begin(&reader, doc);
    reader.piece_most = 1 + (uint32_t)text.len % 61;
    while (text.len > 0) {
        size_t size = 1 + draw % 7;
        struct view piece = view_sub(text, 0, size < text.len ? size : text.len);
        text = view_sub(text, piece.len, text.len - piece.len);
        draw = draw * 31U + piece.at[0];
        while (piece.len > 0) {
            uint32_t work = 1 + draw % 5;
            json_read(&reader, &piece, &work);
        }
    }
    return json_read_end(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_doc doc;
    struct json_doc pieces = {.root = NULL};
    enum drop_reason reason = json_parse(&doc, (struct view){data, size});
    ASSERT(read_pieces(&pieces, (struct view){data, size}) == reason);
    if (reason == DROP_NONE) {
        cJSON *theirs = cJSON_ParseWithLength((const char *)data, size);
        ASSERT(theirs != NULL);
        compare(doc.root, pieces.root, theirs);
        cJSON_Delete(theirs);
        json_free(&doc);
    }
    json_free(&pieces);
    return 0;
}
