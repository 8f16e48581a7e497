#include "platform/linux/linux_pages.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"

#define SETTINGS "/sys/kernel/mm/transparent_hugepage/"

static bool read_setting(const char *path, char out[64])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t got = read(fd, out, 63);
    (void)close(fd);
    out[got > 0 ? got : 0] = '\0';
    return got > 0;
}

static bool is_supported(void)
{
    char enabled[64];
    char size[64];
    return sysconf(_SC_PAGESIZE) == (long)LINUX_PAGES_SMALL &&
           read_setting(SETTINGS "enabled", enabled) && strstr(enabled, "[never]") == NULL &&
           read_setting(SETTINGS "hpage_pmd_size", size) &&
           strtoul(size, NULL, 10) == LINUX_PAGES_HUGE;
}

void linux_pages_stay_small(void *memory, size_t size)
{
    uintptr_t skip =
        (LINUX_PAGES_SMALL - (uintptr_t)memory % LINUX_PAGES_SMALL) % LINUX_PAGES_SMALL;
    if (size > skip) {
        /* A system without huge pages does not know the request. */
        (void)madvise((uint8_t *)memory + skip, size - skip, MADV_NOHUGEPAGE);
    }
}

enum err linux_pages_open(struct linux_pages *pages, void *memory, size_t size,
                          struct linux_log *log)
{
    memset(pages, 0, sizeof(*pages));
    if (!is_supported()) {
        return ERR_UNSUPPORTED;
    }
    uintptr_t skip = (LINUX_PAGES_HUGE - (uintptr_t)memory % LINUX_PAGES_HUGE) % LINUX_PAGES_HUGE;
    size_t count = size > skip ? (size - skip) / LINUX_PAGES_HUGE : 0;
    pages->is_huge = calloc(count + 1, sizeof(*pages->is_huge));
    if (pages->is_huge == NULL) {
        return ERR_MEMORY;
    }
    pages->ranges = (uint8_t *)memory + skip;
    pages->count = count < LINUX_PAGES_MAX ? count : LINUX_PAGES_MAX;
    pages->log = log;
    return ERR_NONE;
}

static uint32_t in_use(uint8_t *range)
{
    unsigned char small[LINUX_PAGES_IN_RANGE];
    uint32_t count = 0;
    if (mincore(range, LINUX_PAGES_HUGE, small) != 0) {
        return 0;
    }
    for (size_t i = 0; i < LINUX_PAGES_IN_RANGE; i++) {
        count += small[i] & 1U;
    }
    return count;
}

/* Returns a range of fresh memory that is one huge page already; NULL: the system has none. */
static uint8_t *take_huge(void)
{
    size_t room = (size_t)2 * LINUX_PAGES_HUGE;
    uint8_t *mapped = mmap(NULL, room, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) {
        return NULL;
    }
    size_t before = (LINUX_PAGES_HUGE - (uintptr_t)mapped % LINUX_PAGES_HUGE) % LINUX_PAGES_HUGE;
    uint8_t *range = mapped + before;
    if (before > 0) {
        (void)munmap(mapped, before);
    }
    (void)munmap(range + LINUX_PAGES_HUGE, LINUX_PAGES_HUGE - before);
    bool advised = madvise(range, LINUX_PAGES_HUGE, MADV_HUGEPAGE) == 0;
    *(volatile uint8_t *)range = 0; /* the first touch decides */
    if (advised && in_use(range) == LINUX_PAGES_IN_RANGE) {
        return range;
    }
    (void)munmap(range, LINUX_PAGES_HUGE);
    return NULL;
}

static uint64_t cpu_ns(void)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return (uint64_t)at.tv_sec * NS_PER_S + (uint64_t)at.tv_nsec;
}

static void say(struct linux_pages *pages, enum trace_level level, struct clock_pair now,
                const char *text)
{
    if (pages->log != NULL) {
        linux_log_line(pages->log, level, now.unix_ns, text);
    }
}

/* The first half: a huge page for range `at`. */
static void prepare(struct linux_pages *pages, struct clock_pair now)
{
    uint64_t before = cpu_ns();
    pages->spare = take_huge();
    if (pages->spare == NULL && !pages->lack_told) {
        pages->lack_told = true;
        say(pages, TRACE_WARN, now, "the system has no huge page free; tables stay on small ones");
    }
    if (pages->spare == NULL || cpu_ns() - before > LINUX_PAGES_SLOW_NS) {
        pages->next_at = instant_add(now.boot, DURATION_S(LINUX_PAGES_REST_S));
    }
}

/* The second half: the content moves, the addresses stay. */
static void move(struct linux_pages *pages)
{
    uint8_t *range = pages->ranges + pages->at * LINUX_PAGES_HUGE;
    memcpy(pages->spare, range, LINUX_PAGES_HUGE);
    void *moved = mremap(pages->spare, LINUX_PAGES_HUGE, LINUX_PAGES_HUGE,
                         MREMAP_MAYMOVE | MREMAP_FIXED, range);
    ASSERT(moved == range); /* else `range` may be gone already, and the tables with it */
    pages->spare = NULL;
    pages->is_huge[pages->at] = true;
    pages->huge++;
}

/* Tells how many there are, once a whole round has found no more. */
static void tell(struct linux_pages *pages, struct clock_pair now)
{
    char line[96];
    if (pages->looked < pages->count || pages->huge == pages->told ||
        instant_before(now.boot, pages->tell_at)) {
        return;
    }
    pages->told = pages->huge;
    pages->tell_at = instant_add(now.boot, DURATION_S(LINUX_PAGES_TELL_S));
    (void)snprintf(line, sizeof(line), "%u MiB of the tables are in huge pages",
                   pages->huge * (LINUX_PAGES_HUGE >> 20U));
    say(pages, TRACE_INFO, now, line);
}

/* First touches of pages by the process, those of other memory included. */
static uint64_t touches(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_minflt : 0;
}

/* Whether there may be something to find: a whole round found nothing, and little was touched
 * since. */
static bool may_find(struct linux_pages *pages)
{
    if (pages->looked > 0 && pages->looked < pages->count) {
        return true;
    }
    uint64_t now = touches();
    if (pages->looked > 0 && now - pages->touched < LINUX_PAGES_TOUCHES) {
        return false;
    }
    pages->looked = 0;
    pages->touched = now;
    return true;
}

void linux_pages_tick(struct linux_pages *pages, struct clock_pair now, bool is_idle)
{
    struct instant latest = instant_add(pages->next_at, DURATION_MS(LINUX_PAGES_EVERY_MS));
    if (pages->count == 0 || instant_before(now.boot, is_idle ? pages->next_at : latest)) {
        return;
    }
    pages->next_at = instant_add(now.boot, DURATION_MS(LINUX_PAGES_EVERY_MS));
    if (pages->spare != NULL) {
        move(pages);
        return;
    }
    for (uint32_t looks = 0; looks < LINUX_PAGES_LOOKS && may_find(pages); looks++) {
        if (!pages->is_huge[pages->at] &&
            in_use(pages->ranges + pages->at * LINUX_PAGES_HUGE) >= LINUX_PAGES_MIN) {
            pages->looked = 0;
            pages->next_at = now.boot;
            prepare(pages, now);
            return;
        }
        pages->at = (pages->at + 1) % pages->count;
        pages->looked++;
    }
    tell(pages, now);
}

void linux_pages_close(struct linux_pages *pages)
{
    if (pages->spare != NULL) {
        (void)munmap(pages->spare, LINUX_PAGES_HUGE);
    }
    free(pages->is_huge);
    memset(pages, 0, sizeof(*pages));
}
