#include "json/json_tree.h"

#include <string.h>

#include "base/assert.h"

static_assert(CJSON_VERSION_MAJOR == 1 && CJSON_VERSION_MINOR == 7 && CJSON_VERSION_PATCH >= 15,
              "the first item's `prev` is the last item");
static_assert(sizeof(((cJSON *)NULL)->valuedouble) == sizeof(uint64_t), "a double holds a u64");

/* A place in the tree. */
struct place {
    cJSON *node;
    cJSON *around[JSON_DEPTH_MAX]; /* the arrays and objects around it */
    uint32_t depth;
};

static cJSON *owned(struct json_value *value)
{
    return (cJSON *)(void *)value;
}

static struct json_value *value_of(cJSON *node)
{
    return (struct json_value *)(void *)node;
}

/* ---- building ---- */

/* Hangs the items `first` to `last` behind those of `around`. */
static void append(cJSON *around, cJSON *first, cJSON *last)
{
    if (around->child == NULL) {
        around->child = first;
    } else {
        first->prev = around->child->prev;
        first->prev->next = first;
    }
    around->child->prev = last;
}

/* Hangs what is new in `piece` to the arrays and objects at the end of `tree`, of which it opens
 * `depth` again. Returns the place of the first new value; its node is NULL if there is none. */
static struct place merge(cJSON *tree, cJSON *piece, uint32_t depth)
{
    struct place new = {.node = NULL};
    cJSON *around = tree;
    for (uint32_t i = 0; piece != NULL; i++) {
        cJSON *again = NULL;
        cJSON *open = around;
        cJSON *first = piece->child;
        new.around[i] = around;
        if (i + 1 < depth) {
            again = first;
            open = around->child->prev;
            first = again->next;
            again->next = NULL;
        }
        if (first != NULL) {
            append(around, first, piece->child->prev);
            new.node = first;
            new.depth = i + 1;
        }
        piece->child = NULL;
        cJSON_Delete(piece);
        piece = again;
        around = open;
    }
    return new;
}

/* Goes to the next value in the order of the text; NULL behind the last. */
static void go_on(struct place *at)
{
    cJSON *node = at->node;
    if (node->child != NULL) {
        ASSERT(at->depth < JSON_DEPTH_MAX);
        at->around[at->depth++] = node;
        at->node = node->child;
        return;
    }
    while (node->next == NULL && at->depth > 0) {
        node = at->around[--at->depth];
    }
    at->node = at->depth == 0 ? NULL : node->next;
}

static bool is_duplicate(const cJSON *object, const cJSON *member)
{
    for (const cJSON *item = object->child; item != member; item = item->next) {
        if (strcmp(item->string, member->string) == 0) {
            return true;
        }
    }
    return false;
}

bool json_tree_add(struct json_doc *doc, const struct json_piece *piece, bool *has_duplicate)
{
    struct place at = {
        .node = cJSON_ParseWithLengthOpts((const char *)piece->text.at, piece->text.len, NULL, 0)};
    const struct json_number *number = piece->first;
    if (at.node == NULL) {
        return false; /* the reader lets nothing pass that is not JSON */
    }
    if (doc->tree == NULL) {
        doc->tree = value_of(at.node);
    } else {
        at = merge(owned(doc->tree), at.node, piece->depth);
    }
    for (; at.node != NULL; go_on(&at)) {
        cJSON *around = at.depth == 0 ? NULL : at.around[at.depth - 1];
        if (around != NULL) {
            around->valueint++;
        }
        if (json_is_node(around, cJSON_Object) && is_duplicate(around, at.node)) {
            *has_duplicate = true;
        }
        if (at.node->type == cJSON_String) {
            at.node->valueint = (int)strlen(at.node->valuestring);
        } else if (at.node->type == cJSON_Number) {
            ASSERT(piece->first - number < (ptrdiff_t)piece->count);
            at.node->valueint = (int)number->kind;
            memcpy(&at.node->valuedouble, &number->amount, sizeof(number->amount));
            number--;
        }
    }
    ASSERT(piece->first - number == (ptrdiff_t)piece->count);
    return true;
}

/* ---- freeing ---- */

void json_free(struct json_doc *doc)
{
    cJSON_Delete(owned(doc->tree));
    chunk_free_all(&doc->piece);
    *doc = (struct json_doc){.root = NULL};
}

void json_release(struct json_doc *doc, struct json_trash *trash)
{
    if (doc->tree != NULL) {
        owned(doc->tree)->prev = owned(trash->last);
        trash->last = doc->tree;
        doc->tree = NULL;
    }
    json_free(doc);
}

bool json_free_some(struct json_trash *trash, uint32_t count)
{
    for (; count > 0 && trash->last != NULL; count--) {
        cJSON *around = NULL;
        cJSON *node = owned(trash->last);
        while (node->child != NULL) {
            around = node;
            node = node->child->prev;
        }
        if (around == NULL) {
            trash->last = value_of(node->prev);
        } else if (around->child == node) {
            around->child = NULL;
        } else {
            node->prev->next = NULL;
            around->child->prev = node->prev;
        }
        cJSON_Delete(node);
    }
    return trash->last == NULL;
}
