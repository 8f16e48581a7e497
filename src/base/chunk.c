#include "base/chunk.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

static struct chunk *add(struct chunk_list *list, uint32_t size)
{
    struct chunk *chunk = malloc(sizeof(*chunk) + size);
    if (chunk == NULL) {
        return NULL;
    }
    *chunk = (struct chunk){.prev = list->last, .size = size, .back = size};
    if (list->last == NULL) {
        list->first = chunk;
    } else {
        list->last->next = chunk;
    }
    list->last = chunk;
    return chunk;
}

struct chunk *chunk_add(struct chunk_list *list, uint32_t size)
{
    ASSERT(size <= CHUNK_SIZE_MAX);
    return add(list, size);
}

void chunk_move(struct chunk_list *to, struct chunk_list *from)
{
    if (from->first == NULL) {
        return;
    }
    from->first->prev = to->last;
    if (to->last == NULL) {
        to->first = from->first;
    } else {
        to->last->next = from->first;
    }
    to->last = from->last;
    *from = (struct chunk_list){NULL, NULL};
}

void chunk_move_first(struct chunk_list *to, struct chunk_list *from)
{
    struct chunk *chunk = from->first;
    ASSERT(chunk != NULL);
    from->first = chunk->next;
    if (from->first == NULL) {
        from->last = NULL;
    } else {
        from->first->prev = NULL;
    }
    chunk->next = NULL;
    struct chunk_list one = {chunk, chunk};
    chunk_move(to, &one);
}

bool chunk_free_some(struct chunk_list *list, uint32_t count)
{
    for (; count > 0 && list->last != NULL; count--) {
        struct chunk *chunk = list->last;
        list->last = chunk->prev;
        free(chunk);
    }
    if (list->last == NULL) {
        list->first = NULL;
    } else {
        list->last->next = NULL;
    }
    return list->last == NULL;
}

void chunk_free_all(struct chunk_list *list)
{
    while (!chunk_free_some(list, UINT32_MAX)) {
    }
}

bool chunk_join(struct chunk_list *list)
{
    struct chunk_list joined = {NULL, NULL};
    uint32_t total = 0;
    for (const struct chunk *c = list->first; c != NULL; c = c->next) {
        total += c->front;
    }
    struct chunk *whole = add(&joined, total);
    if (whole == NULL) {
        return false;
    }
    for (const struct chunk *c = list->first; c != NULL; c = c->next) {
        memcpy(whole->bytes + whole->front, c->bytes, c->front);
        whole->front += c->front;
    }
    chunk_free_all(list);
    *list = joined;
    return true;
}
