/* linux_file: which file stands at a path, to notice that it is another one or has changed.
 *
 * A time of change alone misses a copy that keeps its times, a link that leads elsewhere, and two
 * writes within one tick of the file system's clock. Links are followed.
 */
#ifndef LINUX_FILE_H
#define LINUX_FILE_H

#include <stdbool.h>
#include <sys/stat.h>

struct linux_file_id {
    dev_t device;
    ino_t inode; /* 0: there is no file */
    off_t size;
    struct timespec modified;
    struct timespec changed;
};

/* Looks at `path`. All zero: nothing is there, or it cannot be looked at. */
struct linux_file_id linux_file_identify(const char *path);
bool linux_file_is_same(const struct linux_file_id *a, const struct linux_file_id *b);

#endif /* LINUX_FILE_H */
