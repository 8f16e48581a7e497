/* linux_malloc: what the C library's allocator does with the memory of a large message.
 *
 * The core keeps the text of such a message in chunks (base/chunk.h) and what was read from it in
 * many small blocks (json/json.h), and gives both back a few at a time. Left to itself the
 * allocator collects what lies side by side and returns it to the system in one go, more than a
 * millisecond for ten megabytes, and joins small blocks that are free all at once, six
 * milliseconds for 65 536 authorizations. Told so, it maps and unmaps each chunk by itself, joins a
 * block when it is freed, and returns the end of the heap a little at a time.
 */
#ifndef LINUX_MALLOC_H
#define LINUX_MALLOC_H

/* Once, before anything large is allocated. Does nothing where the allocator cannot be told. */
void linux_malloc_in_pieces(void);

#endif /* LINUX_MALLOC_H */
