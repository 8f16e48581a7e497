#include "json/json.h"

#include <string.h>

#include "json/json_tree.h"

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

const struct json_value *json_get(const struct json_value *object, const char *key)
{
    if (!json_is_object(object)) {
        return NULL;
    }
    for (const cJSON *item = json_node(object)->child; item != NULL; item = item->next) {
        if (strcmp(item->string, key) == 0) {
            return json_value(item);
        }
    }
    return NULL;
}

bool json_is_null(const struct json_value *value)
{
    return json_is_node(json_node(value), cJSON_NULL);
}

bool json_is_object(const struct json_value *value)
{
    return json_is_node(json_node(value), cJSON_Object);
}

bool json_is_array(const struct json_value *value)
{
    return json_is_node(json_node(value), cJSON_Array);
}

uint32_t json_count(const struct json_value *value)
{
    return json_is_array(value) || json_is_object(value) ? (uint32_t)json_node(value)->valueint : 0;
}

const struct json_value *json_first(const struct json_value *value)
{
    return value == NULL ? NULL : json_value(json_node(value)->child);
}

const struct json_value *json_next(const struct json_value *item)
{
    return json_value(json_node(item)->next);
}

bool json_text(const struct json_value *value, struct view *out)
{
    const cJSON *node = json_node(value);
    if (!json_is_node(node, cJSON_String)) {
        return false;
    }
    *out = (struct view){(const uint8_t *)node->valuestring, (size_t)node->valueint};
    return true;
}

bool json_bool(const struct json_value *value, bool *out)
{
    const cJSON *node = json_node(value);
    if (!json_is_node(node, cJSON_True) && !json_is_node(node, cJSON_False)) {
        return false;
    }
    *out = node->type == cJSON_True;
    return true;
}

/* Reads the exact integer that json_tree_add() stored. */
static enum json_number_kind number_of(const struct json_value *value, uint64_t *amount)
{
    const cJSON *node = json_node(value);
    if (!json_is_node(node, cJSON_Number)) {
        return JSON_NO_INTEGER;
    }
    memcpy(amount, &node->valuedouble, sizeof(*amount));
    return (enum json_number_kind)node->valueint;
}

bool json_u64(const struct json_value *value, uint64_t *out)
{
    uint64_t amount = 0;
    if (number_of(value, &amount) != JSON_NOT_NEGATIVE) {
        return false;
    }
    *out = amount;
    return true;
}

bool json_i64(const struct json_value *value, int64_t *out)
{
    uint64_t amount = 0;
    enum json_number_kind kind = number_of(value, &amount);
    if (kind == JSON_NOT_NEGATIVE && amount <= INT64_MAX) {
        *out = (int64_t)amount;
        return true;
    }
    if (kind == JSON_NEGATIVE && amount <= (uint64_t)INT64_MAX + 1) {
        *out = -(int64_t)(amount - 1) - 1;
        return true;
    }
    return false;
}
