/* json_tree: the tree of values, built by cJSON. Private to src/json/.
 *
 * cJSON reads a text in one call, so it gets a large one in pieces, each a small text of its own:
 * the arrays and objects that were open where a piece begins are opened again at its front, those
 * open at its end are closed there, and its tree is hung to the end of the one so far.
 *
 * What a cJSON node of ours holds: a number its exact 64 bits in the storage of `valuedouble` (a
 * double has 53) and in `valueint` what they are; a string its length in `valueint`; an array or
 * object the number of its items there. No number is ever used as a double.
 */
#ifndef JSON_JSON_TREE_H
#define JSON_JSON_TREE_H

#include <cJSON.h>

#include "json/json.h"

enum json_number_kind {
    JSON_NO_INTEGER,   /* a fraction, an exponent, or beyond 64 bits */
    JSON_NOT_NEGATIVE, /* an integer */
    JSON_NEGATIVE,     /* `amount` below zero */
};

struct json_number {
    uint64_t amount;
    enum json_number_kind kind;
};

struct json_piece {
    struct view text;                /* one value */
    uint32_t depth;                  /* arrays and objects that it opens again: each one's first */
    const struct json_number *first; /* its numbers in the order of the text; each further one */
    uint32_t count;                  /* lies before the last */
};

/* Hangs the piece to the tree of `doc`. *has_duplicate becomes true when an object has two members
 * of one name now. False: no memory; the tree stays as it is. */
MUST_USE bool json_tree_add(struct json_doc *doc, const struct json_piece *piece,
                            bool *has_duplicate);

static inline const cJSON *json_node(const struct json_value *value)
{
    return (const cJSON *)(const void *)value;
}

static inline const struct json_value *json_value(const cJSON *node)
{
    return (const struct json_value *)(const void *)node;
}

static inline bool json_is_node(const cJSON *node, int type)
{
    return node != NULL && node->type == type;
}

#endif /* JSON_JSON_TREE_H */
