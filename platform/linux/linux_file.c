#include "platform/linux/linux_file.h"

#include <time.h>

struct linux_file_id linux_file_identify(const char *path)
{
    struct stat facts;
    if (stat(path, &facts) != 0) {
        return (struct linux_file_id){0};
    }
    return (struct linux_file_id){facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtim,
                                  facts.st_ctim};
}

static bool is_same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool linux_file_is_same(const struct linux_file_id *a, const struct linux_file_id *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           is_same_time(&a->modified, &b->modified) && is_same_time(&a->changed, &b->changed);
}
