#include "platform/linux/linux_malloc.h"

#include <malloc.h>

#define PIECE_SIZE 61440  /* bytes; a chunk of the largest size is a little larger */
#define KEPT_SIZE  262144 /* free bytes at the end of the heap; more goes back to the system */

void linux_malloc_in_pieces(void)
{
#ifdef __GLIBC__
    (void)mallopt(M_MMAP_THRESHOLD, PIECE_SIZE);
    (void)mallopt(M_TRIM_THRESHOLD, KEPT_SIZE);
    (void)mallopt(M_MXFAST, 0);
#endif
}
