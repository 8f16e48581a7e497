/* linux_pages: huge pages for memory that is mapped whole and touched as it fills.
 *
 * The gateway's tables have room for every limit and hold next to nothing in an idle process. With
 * huge pages from the start each first touch would take 2 MiB; without them look-ups among a
 * million flows or thousands of peers spend their time on the translation of addresses. So the
 * system is told to use none by itself, and a range of 2 MiB gets a huge page once three quarters
 * of its small pages are in use anyway: memory grows by a third of such a range at most. What is in
 * use is asked of the system, range after range, and again once the process has touched more; whose
 * the memory is and what it holds does not matter here.
 *
 * A range is copied into a huge page, which then takes the place of the small ones under the same
 * addresses. That is one thread's work between two of its own steps, so nobody can see half of it;
 * it must be the only thread that uses the memory. madvise(MADV_COLLAPSE) would do the same but
 * waits for every processor, milliseconds under load. One call of linux_pages_tick() does one of
 * the two halves, 0.2 to 0.4 ms each. Nothing is ever split again.
 */
#ifndef LINUX_PAGES_H
#define LINUX_PAGES_H

#include "platform/linux/linux_log.h"

#define LINUX_PAGES_HUGE     2097152U /* bytes of a huge page */
#define LINUX_PAGES_SMALL    4096U
#define LINUX_PAGES_IN_RANGE (LINUX_PAGES_HUGE / LINUX_PAGES_SMALL)
#define LINUX_PAGES_MIN      (LINUX_PAGES_IN_RANGE * 3U / 4U) /* small ones in use */
#define LINUX_PAGES_EVERY_MS 100U                             /* between two looks */
#define LINUX_PAGES_LOOKS    16U    /* ranges looked at, up to 6 us each */
#define LINUX_PAGES_TOUCHES  64U    /* of pages, before which no more are looked at */
#define LINUX_PAGES_MAX      16384U /* ranges: far from how many parts the system lets a map have */
#define LINUX_PAGES_TELL_S   60U    /* between two lines about how many there are */
#define LINUX_PAGES_REST_S   30U    /* after the system had none, or searched too long for one */
#define LINUX_PAGES_SLOW_NS  1000000U /* processor time of finding one that counts as too long */

/* Zeroed: no memory, every call does nothing. */
struct linux_pages {
    uint8_t *ranges;  /* the first whole range; aligned to LINUX_PAGES_HUGE */
    size_t count;     /* whole ranges; 0: huge pages are not used */
    bool *is_huge;    /* by range */
    size_t at;        /* the range to look at next, or that gets the spare page */
    size_t looked;    /* ranges without finding one, since the last one that was found */
    uint64_t touched; /* first touches of the process when `looked` was 0 */
    uint8_t *spare;   /* a huge page for range `at`; NULL: none */
    uint32_t huge;    /* ranges that have one */
    uint32_t told;    /* of these, how many the log knows of */
    bool lack_told;
    struct instant next_at;
    struct instant tell_at;
    struct linux_log *log; /* may be NULL */
};

/* Takes care of `size` bytes at `memory`, an anonymous private mapping or a part of one, from now
 * until linux_pages_close(). `log` is borrowed and may be NULL. Works before the process is
 * confined. ERR_UNSUPPORTED: the system has no huge pages of 2 MiB or its administrator permits
 * none; ERR_MEMORY: no room for the books. The memory stays on small pages then. */
MUST_USE enum err linux_pages_open(struct linux_pages *pages, void *memory, size_t size,
                                   struct linux_log *log);
/* Asks the system to keep the memory on small pages: what it does by itself suits no table. */
void linux_pages_stay_small(void *memory, size_t size);
/* Looks at some ranges, or does half of a move. Call it between two steps of the loop. `is_idle`:
 * nothing waits to be done; else it waits a little for such a moment. */
void linux_pages_tick(struct linux_pages *pages, struct clock_pair now, bool is_idle);
/* Forgets the memory, which keeps its pages. */
void linux_pages_close(struct linux_pages *pages);

#endif /* LINUX_PAGES_H */
