/* fuzz_json: any bytes as a JSON text; what is accepted is walked completely. */
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_doc doc;
    if (json_parse(&doc, (struct view){data, size}) == DROP_NONE) {
        walk(doc.root);
        json_free(&doc);
    }
    return 0;
}
