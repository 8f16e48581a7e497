#include "platform/linux/linux_record.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/text.h"
#include "platform/linux/linux_addr.h"
#include "platform/linux/linux_platform.h"

#define STREAM_KEY  crypto_secretstream_xchacha20poly1305_KEYBYTES
#define STREAM_HEAD crypto_secretstream_xchacha20poly1305_HEADERBYTES
#define STREAM_MORE crypto_secretstream_xchacha20poly1305_ABYTES
#define SEALED_KEY  (STREAM_KEY + crypto_box_SEALBYTES)

struct linux_record {
    int fd;
    bool sealed;
    enum err state;
    bool told; /* that it failed */
    struct trace trace;
    struct instant flush_at; /* when what waits is written out; TIME_NEVER: nothing waits */
    size_t used;
    crypto_secretstream_xchacha20poly1305_state stream;
    uint8_t chunk[DRIVER_SEAL_CHUNK];
    uint8_t out[4 + DRIVER_SEAL_CHUNK + STREAM_MORE];
};

static void write_all(struct linux_record *record, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    while (len > 0 && record->state == ERR_NONE) {
        ssize_t done = write(record->fd, at, len);
        if (done < 0 && errno != EINTR) {
            record->state = linux_err(errno);
        } else if (done > 0) {
            at += done;
            len -= (size_t)done;
        }
    }
}

/* Writes what waits as one chunk. */
static void write_chunk(struct linux_record *record, uint8_t tag)
{
    record->flush_at = TIME_NEVER;
    if (!record->sealed) {
        write_all(record, record->chunk, record->used);
        record->used = 0;
        return;
    }
    unsigned long long len = 0;
    int failed = crypto_secretstream_xchacha20poly1305_push(
        &record->stream, record->out + 4, &len, record->chunk, record->used, NULL, 0, tag);
    ASSERT(failed == 0);
    store_le32(record->out, (uint32_t)len);
    write_all(record, record->out, 4 + (size_t)len);
    sodium_memzero(record->chunk, record->used);
    record->used = 0;
}

static void start_sealed(struct linux_record *record, const uint8_t public_key[32])
{
    uint8_t key[STREAM_KEY];
    uint8_t sealed_key[SEALED_KEY];
    uint8_t head[STREAM_HEAD];
    crypto_secretstream_xchacha20poly1305_keygen(key);
    int failed = crypto_box_seal(sealed_key, key, sizeof(key), public_key);
    failed |= crypto_secretstream_xchacha20poly1305_init_push(&record->stream, head, key);
    sodium_memzero(key, sizeof(key));
    if (failed != 0) {
        record->state = ERR_CRYPTO; /* a public key of low order */
        return;
    }
    write_all(record, DRIVER_SEAL_HEADER, sizeof(DRIVER_SEAL_HEADER) - 1);
    write_all(record, sealed_key, sizeof(sealed_key));
    write_all(record, head, sizeof(head));
}

/* A file that was there keeps its mode when it is opened. */
static bool make_private(int fd)
{
    struct stat facts;
    return fstat(fd, &facts) == 0 && (!S_ISREG(facts.st_mode) || fchmod(fd, 0600) == 0);
}

static void tell(struct linux_record *record)
{
    struct trace_event event = {
        .event = EV_ENVIRONMENT,
        .at = linux_clock_now(),
        .text = view_text("the recording ends here: it cannot be written"),
        .value = (uint64_t)record->state,
    };
    if (record->state != ERR_NONE && !record->told) {
        record->told = true;
        trace_emit(&record->trace, &event);
    }
}

void linux_record_tell(struct linux_record *record, struct trace trace)
{
    record->trace = trace;
}

/* What the operator can do something about, in words. */
static const char *open_failure(int error)
{
    switch (error) {
    case ENXIO:
        return "it is a FIFO that nobody reads, or a socket";
    case EISDIR:
        return "it is a directory";
    case ELOOP:
        return "it is a symbolic link";
    case ENOENT:
    case ENOTDIR:
        return "there is no such directory";
    default:
        return err_text(linux_err(error));
    }
}

/* Opens the file; NULL, or a sentence. */
static const char *open_file(struct linux_record *record, const char *file)
{
    const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    record->fd = open(file, flags, 0600);
    if (record->fd < 0 || !make_private(record->fd)) {
        return open_failure(errno);
    }
    int ignored = fcntl(record->fd, F_SETPIPE_SZ, LINUX_RECORD_PIPE);
    (void)ignored;
    return NULL;
}

struct linux_record *linux_record_create(const char *file, const uint8_t public_key[32],
                                         const char **why)
{
    struct linux_record *record = calloc(1, sizeof(*record));
    *why = err_text(ERR_MEMORY);
    if (record == NULL) {
        return NULL;
    }
    record->flush_at = TIME_NEVER;
    record->sealed = public_key != NULL;
    *why = open_file(record, file);
    if (*why == NULL && record->sealed) {
        start_sealed(record, public_key);
        *why = record->state == ERR_NONE ? NULL : err_text(record->state);
    }
    if (*why != NULL) {
        record->state = record->state == ERR_NONE ? ERR_IO : record->state; /* nothing to write */
        linux_record_finish(record);
        return NULL;
    }
    return record;
}

void linux_record_finish(struct linux_record *record)
{
    if (record == NULL) {
        return;
    }
    if (record->state == ERR_NONE) {
        write_chunk(record, crypto_secretstream_xchacha20poly1305_TAG_FINAL);
    }
    tell(record);
    if (record->fd >= 0) {
        (void)close(record->fd);
    }
    sodium_memzero(record, sizeof(*record));
    free(record);
}

static void record_bytes(void *self, struct view bytes)
{
    struct linux_record *record = self;
    while (bytes.len > 0 && record->state == ERR_NONE) {
        size_t room = DRIVER_SEAL_CHUNK - record->used;
        size_t part = bytes.len < room ? bytes.len : room;
        memcpy(record->chunk + record->used, bytes.at, part);
        record->used += part;
        bytes = view_sub(bytes, part, bytes.len - part);
        if (record->used == DRIVER_SEAL_CHUNK) {
            write_chunk(record, 0);
        }
    }
}

void linux_record_start(struct linux_record *record, const struct driver_run *run)
{
    struct span room = {malloc(DRIVER_RUN_MAX), DRIVER_RUN_MAX};
    if (room.at == NULL) {
        record->state = ERR_MEMORY;
        return;
    }
    struct writer w = writer_of(room);
    if (driver_run_encode(run, &w)) {
        record_bytes(record, writer_view(&w));
    } else {
        record->state = ERR_SPACE;
    }
    sodium_memzero(room.at, room.len);
    free(room.at);
}

struct driver_recorder linux_record_recorder(struct linux_record *record)
{
    return (struct driver_recorder){record_bytes, record};
}

void linux_record_tick(struct linux_record *record, struct instant now)
{
    tell(record);
    if (record->used == 0 || record->state != ERR_NONE) {
        return;
    }
    if (instant_is_never(record->flush_at)) {
        record->flush_at = instant_add(now, DURATION_S(LINUX_RECORD_FLUSH_S));
    } else if (instant_reached(now, record->flush_at)) {
        write_chunk(record, 0);
    }
}

enum err linux_record_state(const struct linux_record *record)
{
    return record->state;
}
