#include "json/json_piece.h"

#include <string.h>

#include "base/assert.h"

#define MEMORY_FIRST 4096U /* bytes of the first buffer: a common message */
#define OPENER       4U    /* bytes of the longest, `{"":` */
#define ESCAPE       6U    /* bytes of the longest escape */
#define TOKENS       64U   /* bytes of a number, and of all commas, colons and quotation marks */

/* A piece that is not full takes at most one more member. */
static_assert(JSON_DEPTH_MAX * (OPENER + 1) + JSON_PIECE_WORK + ESCAPE * JSON_KEY_SIZE_MAX +
                      JSON_STRING_SIZE_MAX + TOKENS +
                      sizeof(struct json_number) * (JSON_PIECE_WORK / JSON_WORK_VALUE + 2) <=
                  CHUNK_SIZE_MAX,
              "a piece fits into a chunk");
static_assert(JSON_STRING_SIZE_MAX >= ESCAPE * JSON_KEY_SIZE_MAX, "no key is cut");

/* The text lies at the front of the buffer, the numbers at its end. */

static struct chunk *grow(struct json_reader *r, uint32_t size)
{
    struct chunk_list grown = {NULL, NULL};
    const struct chunk *old = r->doc->piece.last;
    uint32_t front = old == NULL ? 0 : old->front;
    uint32_t behind = old == NULL ? 0 : old->size - old->back;
    uint32_t next = old == NULL ? MEMORY_FIRST : old->size;
    ASSERT(front + behind + size <= CHUNK_SIZE_MAX);
    while (next < front + behind + size) {
        next = next < CHUNK_SIZE_MAX / 2 ? 2 * next : CHUNK_SIZE_MAX;
    }
    struct chunk *chunk = chunk_add(&grown, next);
    if (chunk == NULL) {
        json_refuse(r, DROP_JSON_MEMORY);
        return NULL;
    }
    chunk->front = front;
    chunk->back = chunk->size - behind;
    if (old != NULL) {
        memcpy(chunk->bytes, old->bytes, front);
        memcpy(chunk->bytes + chunk->back, old->bytes + old->back, behind);
    }
    chunk_free_all(&r->doc->piece);
    r->doc->piece = grown;
    return chunk;
}

/* Returns the buffer with room for `size` bytes, and for the ends of all that may be open behind
 * them; NULL: no memory, the text is refused. */
static struct chunk *room_for(struct json_reader *r, uint32_t size)
{
    struct chunk *last = r->doc->piece.last;
    size += JSON_DEPTH_MAX;
    return last != NULL && last->back - last->front >= size ? last : grow(r, size);
}

void json_piece_put(struct json_reader *r, const void *bytes, uint32_t count)
{
    struct chunk *chunk = room_for(r, count);
    if (chunk != NULL) {
        memcpy(chunk->bytes + chunk->front, bytes, count);
        chunk->front += count;
    }
}

void json_piece_put_number(struct json_reader *r, enum json_number_kind kind)
{
    struct json_number number = {r->amount, kind};
    struct chunk *chunk = room_for(r, sizeof(number));
    if (chunk != NULL) {
        chunk->back -= (uint32_t)sizeof(number);
        memcpy(chunk->bytes + chunk->back, &number, sizeof(number));
        r->numbers++;
    }
}

void json_piece_put_end(struct json_reader *r, uint32_t level)
{
    json_piece_put(r, r->is_object[level] ? "}" : "]", 1);
}

void json_piece_begin(struct json_reader *r)
{
    struct chunk *chunk = r->doc->piece.last;
    chunk->front = 0;
    chunk->back = chunk->size;
    r->numbers = 0;
    r->piece_work = 0;
    r->piece_depth = r->depth;
    for (uint32_t i = 0; i < r->depth; i++) {
        bool is_last = i + 1 == r->depth;
        r->has_item[i] = !is_last;
        json_piece_put(r, r->is_object[i] ? "{\"\":" : "[",
                       r->is_object[i] ? (is_last ? 1 : OPENER) : 1);
    }
}

void json_piece_end(struct json_reader *r)
{
    for (uint32_t i = r->depth; i > 0; i--) {
        json_piece_put_end(r, i - 1);
    }
    const struct chunk *chunk = r->doc->piece.last;
    const struct json_number *end =
        (const struct json_number *)(const void *)(chunk->bytes + chunk->size);
    struct json_piece piece = {{chunk->bytes, chunk->front}, r->piece_depth, end - 1, r->numbers};
    if (!json_tree_add(r->doc, &piece, &r->has_duplicate)) {
        json_refuse(r, DROP_JSON_MEMORY);
    }
}
