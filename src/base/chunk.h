/* chunk: lists of small pieces of memory, for text of the portal.
 *
 * The only part of src/ that calls malloc and free (docs/decisions/0001), on the control path. A
 * piece is small, so that no single call takes long: a list is moved as a whole in O(1) and given
 * back a few pieces at a time, newest first (an allocator that gets neighbours back from the top
 * returns them one by one, else all at once).
 */
#ifndef BASE_CHUNK_H
#define BASE_CHUNK_H

#include "base/bytes.h"

#define CHUNK_SIZE_MAX 65280U /* bytes of one; with its head below 64 KiB */

/* Used from both ends: `front` bytes from the start, what lies behind `back` from the end. */
struct chunk {
    struct chunk *prev;
    struct chunk *next;
    uint32_t size;  /* bytes */
    uint32_t front; /* first free byte */
    uint32_t back;  /* first byte behind the free ones; `size` while nothing is taken there */
    bool is_end;    /* of a message; the owner's */
    _Alignas(16) uint8_t bytes[];
};

/* Zeroed memory is an empty list. */
struct chunk_list {
    struct chunk *first; /* oldest */
    struct chunk *last;
};

/* Appends an empty chunk of `size` bytes. NULL: no memory. Asserts: size <= CHUNK_SIZE_MAX. */
struct chunk *chunk_add(struct chunk_list *list, uint32_t size);
/* Moves all of `from` behind `to`. */
void chunk_move(struct chunk_list *to, struct chunk_list *from);
/* Moves the oldest chunk of `from` behind `to`. Asserts that there is one. */
void chunk_move_first(struct chunk_list *to, struct chunk_list *from);
/* Frees up to `count` chunks, the newest first; true when none is left. */
bool chunk_free_some(struct chunk_list *list, uint32_t count);
void chunk_free_all(struct chunk_list *list);
/* Makes one chunk of all that the list's fronts hold, however long: for those whose time does not
 * matter. False: no memory, nothing has changed. */
MUST_USE bool chunk_join(struct chunk_list *list);

#endif /* BASE_CHUNK_H */
