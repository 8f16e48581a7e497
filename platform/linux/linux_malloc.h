/* linux_malloc: what the C library's allocator does with the memory of a large message.
 *
 * The core keeps such a message in pieces (base/chunk.h) and gives them back a few at a time. Left
 * to itself the allocator collects what lies side by side and returns it to the system in one go,
 * more than a millisecond for ten megabytes; told so, it maps and unmaps each piece by itself.
 */
#ifndef LINUX_MALLOC_H
#define LINUX_MALLOC_H

/* Once, before anything large is allocated. Does nothing where the allocator cannot be told. */
void linux_malloc_in_pieces(void);

#endif /* LINUX_MALLOC_H */
