#include "json/json.h"

#include <cJSON.h>
#include <string.h>

#include "base/assert.h"

/* The tree builder keeps numbers as doubles, which hold 53 bits. After it ran, the double's storage
 * of every number takes the exact 64-bit value instead, and its int says what that is. No number
 * is ever used as a double. */
enum json_number {
    JSON_NOT_INTEGER,
    JSON_NOT_NEGATIVE, /* the storage holds the value */
    JSON_NEGATIVE,     /* the storage holds the amount below zero */
};

static_assert(sizeof(((cJSON *)NULL)->valuedouble) == sizeof(uint64_t), "a double holds a u64");

static const cJSON *node_of(const struct json_value *value)
{
    return (const cJSON *)(const void *)value;
}

static const struct json_value *value_of(const cJSON *node)
{
    return (const struct json_value *)(const void *)node;
}

/* Returns the node behind `node` in the order of the text; NULL behind the last. `stack` holds the
 * `depth` nodes that enclose it. */
static cJSON *next_in_text(cJSON *node, cJSON **stack, uint32_t *depth)
{
    if (node->child != NULL) {
        ASSERT(*depth < JSON_DEPTH_MAX);
        stack[(*depth)++] = node;
        return node->child;
    }
    while (node->next == NULL && *depth > 0) {
        node = stack[--(*depth)];
    }
    return *depth == 0 ? NULL : node->next;
}

static bool object_has_duplicates(const cJSON *object)
{
    for (const cJSON *a = object->child; a != NULL; a = a->next) {
        for (const cJSON *b = a->next; b != NULL; b = b->next) {
            if (strcmp(a->string, b->string) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* Stores the exact value of the number token. */
static void keep_number(cJSON *node, struct view token)
{
    uint64_t amount = 0;
    bool negative = token.at[0] == '-';
    struct view digits = negative ? view_sub(token, 1, token.len - 1) : token;
    node->valueint = JSON_NOT_INTEGER;
    if (!text_parse_u64(digits, &amount)) {
        return; /* a fraction, an exponent, or beyond 64 bits */
    }
    node->valueint = negative && amount != 0 ? JSON_NEGATIVE : JSON_NOT_NEGATIVE;
    memcpy(&node->valuedouble, &amount, sizeof(amount));
}

/* Walks the tree and the text together. False on a duplicate key. */
static bool finish_tree(cJSON *root, struct view text)
{
    cJSON *stack[JSON_DEPTH_MAX];
    uint32_t depth = 0;
    size_t at = 0;
    for (cJSON *node = root; node != NULL; node = next_in_text(node, stack, &depth)) {
        if (cJSON_IsObject(node) && object_has_duplicates(node)) {
            return false;
        }
        if (cJSON_IsNumber(node)) {
            struct view token;
            bool found = json_scan_next_number(text, &at, &token);
            ASSERT(found);
            keep_number(node, token);
        }
    }
    return true;
}

enum drop_reason json_parse(struct json_doc *doc, struct view text)
{
    doc->root = NULL;
    enum drop_reason reason = json_scan(text, NULL);
    if (reason != DROP_NONE) {
        return reason;
    }
    cJSON *root = cJSON_ParseWithLengthOpts((const char *)text.at, text.len, NULL, 0);
    if (root == NULL) {
        return DROP_JSON_LIMIT; /* the scanner accepts nothing that is not JSON: out of memory */
    }
    if (!finish_tree(root, text)) {
        cJSON_Delete(root);
        return DROP_JSON_SYNTAX;
    }
    doc->root = value_of(root);
    return DROP_NONE;
}

void json_free(struct json_doc *doc)
{
    union {
        const struct json_value *read_only;
        cJSON *owned;
    } root = {.read_only = doc->root};
    cJSON_Delete(root.owned);
    doc->root = NULL;
}

const struct json_value *json_get(const struct json_value *object, const char *key)
{
    if (!json_is_object(object)) {
        return NULL;
    }
    for (const cJSON *item = node_of(object)->child; item != NULL; item = item->next) {
        if (strcmp(item->string, key) == 0) {
            return value_of(item);
        }
    }
    return NULL;
}

bool json_is_null(const struct json_value *value)
{
    return cJSON_IsNull(node_of(value));
}

bool json_is_object(const struct json_value *value)
{
    return cJSON_IsObject(node_of(value));
}

bool json_is_array(const struct json_value *value)
{
    return cJSON_IsArray(node_of(value));
}

const struct json_value *json_first(const struct json_value *value)
{
    if (!json_is_array(value) && !json_is_object(value)) {
        return NULL;
    }
    return value_of(node_of(value)->child);
}

const struct json_value *json_next(const struct json_value *item)
{
    return value_of(node_of(item)->next);
}

bool json_text(const struct json_value *value, struct view *out)
{
    if (!cJSON_IsString(node_of(value))) {
        return false;
    }
    *out = view_text(node_of(value)->valuestring);
    return true;
}

bool json_bool(const struct json_value *value, bool *out)
{
    if (!cJSON_IsBool(node_of(value))) {
        return false;
    }
    *out = cJSON_IsTrue(node_of(value));
    return true;
}

/* Reads the exact integer that keep_number() stored. */
static enum json_number number_of(const struct json_value *value, uint64_t *amount)
{
    const cJSON *node = node_of(value);
    if (!cJSON_IsNumber(node) || node->valueint == JSON_NOT_INTEGER) {
        return JSON_NOT_INTEGER;
    }
    memcpy(amount, &node->valuedouble, sizeof(*amount));
    return node->valueint == JSON_NEGATIVE ? JSON_NEGATIVE : JSON_NOT_NEGATIVE;
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
    enum json_number kind = number_of(value, &amount);
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
