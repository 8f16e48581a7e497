/* fuzz_json: any bytes as a JSON text, at once and in pieces, with the same result; what is
 * accepted is walked completely. */
#include "base/assert.h"
#include "json/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct json_value *value)
{
    struct view text;
    uint64_t number = 0;
    int64_t integer = 0;
    (void)!json_text(value, &text);
    (void)!json_u64(value, &number);
    (void)!json_i64(value, &integer);
    for (const struct json_value *item = json_first(value); item != NULL; item = json_next(item)) {
        walk(item); /* the parser bounds the depth */
    }
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
    json_free(&pieces);
    if (reason == DROP_NONE) {
        walk(doc.root);
        json_free(&doc);
    }
    return 0;
}
