#include "json/json.h"

#include <string.h>

#include "base/assert.h"
#include "json/json_value.h"

enum drop_reason json_parse(struct json_doc *doc, struct view text)
{
    struct json_reader reader;
    uint32_t work = UINT32_MAX;
    *doc = (struct json_doc){.root = NULL};
    json_read_begin(&reader, doc);
    while (text.len > 0) {
        json_read(&reader, &text, &work);
        work = UINT32_MAX;
    }
    enum drop_reason reason = json_read_end(&reader);
    if (reason != DROP_NONE) {
        json_free(doc);
    }
    return reason;
}

void json_free(struct json_doc *doc)
{
    chunk_free_all(&doc->memory);
    doc->root = NULL;
}

void json_release(struct json_doc *doc, struct chunk_list *trash)
{
    chunk_move(trash, &doc->memory);
    doc->root = NULL;
}

static bool is_kind(const struct json_value *value, enum json_kind kind)
{
    return value != NULL && value->kind == (uint8_t)kind;
}

const struct json_value *json_get(const struct json_value *object, const char *key)
{
    if (!json_is_object(object)) {
        return NULL;
    }
    size_t len = strlen(key);
    for (const struct json_value *item = object->u.first; item != NULL; item = item->next) {
        if (item->key_len == len && memcmp(item->key, key, len) == 0) {
            return item;
        }
    }
    return NULL;
}

bool json_is_null(const struct json_value *value)
{
    return is_kind(value, JSON_NULL);
}

bool json_is_object(const struct json_value *value)
{
    return is_kind(value, JSON_OBJECT);
}

bool json_is_array(const struct json_value *value)
{
    return is_kind(value, JSON_ARRAY);
}

uint32_t json_count(const struct json_value *value)
{
    return json_is_array(value) || json_is_object(value) ? value->len : 0;
}

const struct json_value *json_first(const struct json_value *value)
{
    return json_is_array(value) || json_is_object(value) ? value->u.first : NULL;
}

const struct json_value *json_next(const struct json_value *item)
{
    return item->next;
}

bool json_text(const struct json_value *value, struct view *out)
{
    if (!is_kind(value, JSON_STRING)) {
        return false;
    }
    *out = (struct view){value->u.string, value->len};
    return true;
}

bool json_bool(const struct json_value *value, bool *out)
{
    if (!is_kind(value, JSON_TRUE) && !is_kind(value, JSON_FALSE)) {
        return false;
    }
    *out = is_kind(value, JSON_TRUE);
    return true;
}

bool json_u64(const struct json_value *value, uint64_t *out)
{
    if (!is_kind(value, JSON_NOT_NEGATIVE)) {
        return false;
    }
    *out = value->u.amount;
    return true;
}

bool json_i64(const struct json_value *value, int64_t *out)
{
    if (is_kind(value, JSON_NOT_NEGATIVE) && value->u.amount <= INT64_MAX) {
        *out = (int64_t)value->u.amount;
        return true;
    }
    if (is_kind(value, JSON_NEGATIVE) && value->u.amount <= (uint64_t)INT64_MAX + 1) {
        *out = -(int64_t)(value->u.amount - 1) - 1;
        return true;
    }
    return false;
}
