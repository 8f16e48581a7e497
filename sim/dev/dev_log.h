/* dev_log: files of JSON lines, flushed line by line; secrets are covered unless asked for. */
#ifndef DEV_LOG_H
#define DEV_LOG_H

#include <stdio.h>

#include "base/time.h"
#include "json/json_writer.h"

#define DEV_LOG_LINE_MAX (256U * 1024U) /* characters; longer lines are left out */

struct dev_log {
    FILE *file; /* NULL: nothing is written */
    bool secrets;
    uint8_t *line;
    uint8_t *covered;
    struct json_writer w;
};

/* `path` NULL: no log; "-": standard output. False when the file cannot be opened (said on stderr).
 */
MUST_USE bool dev_log_open(struct dev_log *log, const char *path, bool secrets);
void dev_log_close(struct dev_log *log);
/* Starts a line with `ms` (boot time with microseconds) and returns the writer for more fields, or
 * NULL when there is no log. */
struct json_writer *dev_log_start(struct dev_log *log, struct instant at);
void dev_log_end(struct dev_log *log);
/* Copies `text` with the values of secret keys and query parameters replaced by "*". */
void dev_log_cover(struct writer *w, struct view text);
/* A field whose value is a message: JSON as it is, other text as text; covered unless `secrets`. */
void dev_log_message(struct dev_log *log, const char *key, struct view text);

#endif /* DEV_LOG_H */
