#include "sim/dev/dev_log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "json/json.h"

bool dev_log_open(struct dev_log *log, const char *path, bool secrets)
{
    *log = (struct dev_log){.secrets = secrets};
    if (path == NULL) {
        return true;
    }
    log->file = strcmp(path, "-") == 0 ? stdout : fopen(path, "ae");
    log->line = malloc(DEV_LOG_LINE_MAX);
    log->covered = malloc(DEV_LOG_LINE_MAX);
    if (log->file == NULL || log->line == NULL || log->covered == NULL) {
        fprintf(stderr, "fzdev: cannot write %s: %s\n", path, strerror(errno));
        return false;
    }
    return true;
}

void dev_log_close(struct dev_log *log)
{
    if (log->file != NULL && log->file != stdout) {
        (void)fclose(log->file);
    }
    free(log->line);
    free(log->covered);
    *log = (struct dev_log){0};
}

struct json_writer *dev_log_start(struct dev_log *log, struct instant at)
{
    char ms[32];
    if (log->file == NULL) {
        return NULL;
    }
    uint64_t us = at.ns / NS_PER_US;
    (void)snprintf(ms, sizeof ms, "%llu.%03llu", (unsigned long long)(us / 1000),
                   (unsigned long long)(us % 1000));
    log->w = json_writer_of((struct span){log->line, DEV_LOG_LINE_MAX});
    json_open_object(&log->w);
    json_put_key(&log->w, "ms");
    json_put_raw(&log->w, view_text(ms));
    return &log->w;
}

void dev_log_end(struct dev_log *log)
{
    struct view line;
    if (log->file == NULL) {
        return;
    }
    json_close_object(&log->w);
    if (json_writer_finish(&log->w, &line)) {
        (void)fwrite(line.at, 1, line.len, log->file);
        (void)fputc('\n', log->file);
        (void)fflush(log->file);
    }
}

/* ---- secrets ---- */

/* What stands before a secret, and the characters that end it. */
struct cover {
    const char *before;
    const char *ends;
};

static const struct cover *cover_at(struct view text, size_t at)
{
    static const struct cover covers[] = {
        {"\"token\":\"", "\""},        {"\"preshared_key\":\"", "\""},
        {"\"password\":\"", "\""},     {"\"stamp_secret\":\"", "\""},
        {"\"private_key\":\"", "\""},  {"\"client_preshared_key\":\"", "\""},
        {"\"ingest_token\":\"", "\""}, {"token=", "& \""},
    };
    for (size_t i = 0; i < sizeof covers / sizeof covers[0]; i++) {
        size_t len = strlen(covers[i].before);
        if (text.len - at >= len && memcmp(text.at + at, covers[i].before, len) == 0) {
            return &covers[i];
        }
    }
    return NULL;
}

void dev_log_cover(struct writer *w, struct view text)
{
    size_t at = 0;
    while (at < text.len) {
        const struct cover *cover = cover_at(text, at);
        if (cover == NULL) {
            writer_u8(w, text.at[at++]);
            continue;
        }
        writer_text(w, cover->before);
        writer_u8(w, '*');
        at += strlen(cover->before);
        while (at < text.len && strchr(cover->ends, text.at[at]) == NULL) {
            at += text.at[at] == '\\' ? 2U : 1U;
        }
    }
}

void dev_log_message(struct dev_log *log, const char *key, struct view text)
{
    struct json_doc doc = {0};
    if (log->file == NULL) {
        return;
    }
    if (!log->secrets) {
        struct writer w = writer_of((struct span){log->covered, DEV_LOG_LINE_MAX});
        dev_log_cover(&w, text);
        text = writer_view(&w);
    }
    json_put_key(&log->w, key);
    if (json_parse(&doc, text) == DROP_NONE) {
        json_put_raw(&log->w, text);
    } else {
        json_put_text(&log->w, text_is_utf8(text) ? text : VIEW_EMPTY);
    }
    json_free(&doc);
}
