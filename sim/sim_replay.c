/* fzsim replay: a recorded gateway runs once more. */
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "platform/driver_replay.h"
#include "platform/driver_run.h"
#include "platform/driver_seal.h"
#include "sim/sim_command.h"

#define KEY_TEXT_MAX 128U
#define TEXT_MAX     400U

struct file {
    uint8_t *bytes;
    size_t len;
};

/* What the watcher prints with. */
struct shown {
    uint64_t started_ns;
    uint64_t now_ns;
    bool verbose;
    char reason[TEXT_MAX]; /* of the exit */
};

static bool read_file(const char *path, struct file *out)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return false;
    }
    out->len = 0;
    size_t room = 0;
    size_t got = 1;
    while (got > 0) {
        if (room - out->len < 65536) {
            room = room == 0 ? 1U << 20U : room * 2;
            out->bytes = realloc(out->bytes, room);
            ASSERT(out->bytes != NULL);
        }
        got = fread(out->bytes + out->len, 1, room - out->len, file);
        out->len += got;
    }
    bool good = ferror(file) == 0;
    (void)fclose(file);
    return good;
}

static bool read_key(const char *path, uint8_t secret[32])
{
    char text[KEY_TEXT_MAX] = {0};
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return false;
    }
    bool good = fgets(text, sizeof(text), file) != NULL;
    text[strcspn(text, "\r\n ")] = '\0';
    good = good && driver_seal_parse_key(text, secret);
    if (!good) {
        (void)fprintf(stderr, "%s: not a secret key of 32 bytes in hex or base64\n", path);
    }
    sodium_memzero(text, sizeof(text));
    (void)fclose(file);
    return good;
}

/* Replaces a sealed file by what is in it; a plain one stays. */
static bool unseal(const char *path, const char *key_path, struct file *file)
{
    size_t mark = sizeof(DRIVER_SEAL_HEADER) - 1;
    if (file->len < mark || memcmp(file->bytes, DRIVER_SEAL_HEADER, mark) != 0) {
        return true;
    }
    uint8_t secret[32];
    uint8_t public[32];
    if (key_path == NULL) {
        (void)fprintf(stderr, "%s: sealed; --key FILE names the secret key that opens it\n", path);
        return false;
    }
    if (!read_key(key_path, secret) || crypto_scalarmult_base(public, secret) != 0) {
        return false;
    }
    struct file open = {malloc(file->len), 0};
    ASSERT(open.bytes != NULL);
    enum err err = driver_seal_open((struct view){file->bytes, file->len}, public, secret,
                                    (struct span){open.bytes, file->len}, &open.len);
    sodium_memzero(secret, sizeof(secret));
    free(file->bytes);
    *file = open;
    if (err == ERR_CLOSED) {
        (void)fprintf(stderr, "%s: cut short; what is whole is replayed\n", path);
    } else if (err != ERR_NONE) {
        (void)fprintf(stderr, "%s: does not open with this key: %s\n", path, err_text(err));
    }
    return err == ERR_NONE || err == ERR_CLOSED;
}

/* ---- what is printed ---- */

static void print_time(const struct shown *shown)
{
    uint64_t ns = shown->now_ns - shown->started_ns;
    (void)printf("%6" PRIu64 ".%06" PRIu64 " ", ns / NS_PER_S, ns % NS_PER_S / NS_PER_US);
}

static void on_input(void *self, struct clock_pair now, enum driver_input kind, struct view body)
{
    struct shown *shown = self;
    shown->now_ns = now.boot.ns;
    if (shown->verbose) {
        print_time(shown);
        (void)printf("in  %-9s %zu bytes\n", driver_input_name(kind), body.len);
    }
}

static void put_text(struct writer *w, struct view text)
{
    for (size_t i = 0; i < text.len; i++) {
        writer_u8(w, text.at[i] >= 0x20 && text.at[i] < 0x7f ? text.at[i] : (uint8_t)'.');
    }
}

static void put_number(struct writer *w, const char *name, uint64_t number)
{
    writer_text(w, name);
    text_put_u64(w, number);
}

static void put_output(struct writer *w, const struct gateway_output *out)
{
    size_t len = 0;
    switch (out->kind) {
    case GATEWAY_OUT_TRAIN:
        writer_text(w, "udp to ");
        sock_addr_put(w, &out->u.train.remote);
        put_number(w, " bytes ", out->u.train.bytes.len);
        put_number(w, " segment ", out->u.train.segment_size);
        break;
    case GATEWAY_OUT_TUN:
        for (uint32_t i = 0; i < out->u.tun->slices_count; i++) {
            len += out->u.tun->slices[i].len;
        }
        put_number(w, "tun bytes ", len);
        put_number(w, " segment ", out->u.tun->offload.gso_size);
        break;
    case GATEWAY_OUT_TUN_CONFIGURE:
        writer_text(w, "tun addresses ");
        ip_put(w, &out->u.tun_config.ipv4);
        writer_text(w, " ");
        ip_put(w, &out->u.tun_config.ipv6);
        break;
    case GATEWAY_OUT_STREAM_OPEN:
        put_number(w, "stream open ", out->u.open.stream);
        writer_text(w, " to ");
        sock_addr_put(w, &out->u.open.remote);
        break;
    case GATEWAY_OUT_STREAM_SEND:
        put_number(w, "stream send ", out->u.send.stream);
        put_number(w, " bytes ", out->u.send.bytes.len);
        break;
    case GATEWAY_OUT_STREAM_CLOSE:
        put_number(w, "stream close ", out->u.close);
        break;
    case GATEWAY_OUT_LISTEN:
        writer_text(w, "listen ");
        sock_addr_put(w, &out->u.listen.local);
        break;
    case GATEWAY_OUT_LISTENER_SEND:
        writer_text(w, "listener to ");
        sock_addr_put(w, &out->u.datagram.remote);
        put_number(w, " bytes ", out->u.datagram.bytes.len);
        break;
    case GATEWAY_OUT_LOOKUP:
        put_number(w, "lookup type ", (uint64_t)out->u.lookup.type);
        writer_text(w, " ");
        put_text(w, out->u.lookup.name);
        break;
    case GATEWAY_OUT_FLOW:
        writer_text(w, out->u.flow->ended ? "flow end " : "flow start ");
        sock_addr_put(w, &out->u.flow->source);
        writer_text(w, " to ");
        sock_addr_put(w, &out->u.flow->destination);
        break;
    case GATEWAY_OUT_EXIT:
        put_number(w, "exit ", (uint64_t)out->u.exit.code);
        writer_text(w, " ");
        put_text(w, out->u.exit.reason);
        break;
    }
}

static void on_output(void *self, const struct gateway_output *out)
{
    struct shown *shown = self;
    uint8_t line[TEXT_MAX];
    struct writer w = writer_of((struct span){line, sizeof(line)});
    if (out->kind == GATEWAY_OUT_EXIT) {
        struct writer reason =
            writer_of((struct span){(uint8_t *)shown->reason, sizeof(shown->reason) - 1});
        put_text(&reason, out->u.exit.reason);
        shown->reason[reason.used] = '\0';
    }
    if (shown->verbose) {
        print_time(shown);
        put_output(&w, out);
        (void)printf("out %.*s\n", (int)w.used, (const char *)line);
    }
}

static void print_result(const struct driver_replay_result *result, const struct shown *shown)
{
    uint64_t ns =
        result->last.boot.ns < shown->started_ns ? 0 : result->last.boot.ns - shown->started_ns;
    (void)printf("inputs %" PRIu64 ", outputs %" PRIu64 ", %" PRIu64 ".%03" PRIu64 " s\n",
                 result->inputs, result->outputs, ns / NS_PER_S, ns % NS_PER_S / NS_PER_MS);
    if (result->exited) {
        (void)printf("exit %d: %s\n", result->exit_code, shown->reason);
    } else {
        (void)printf("no exit: the recording ends while the gateway runs\n");
    }
    if (result->differs) {
        (void)printf("S-30 the recorded run put out something else by output %" PRIu64 "\n",
                     result->differs_at);
    } else {
        (void)printf("%" PRIu64 " recorded digests agree\n", result->checks);
    }
    (void)printf("digest ");
    sim_print_hex(result->digest, sizeof(result->digest));
    (void)printf("\n");
}

/* ---- the run ---- */

static enum sim_exit replay_into(struct gateway *gw, struct view recording, struct shown *shown)
{
    struct span room = {malloc(DRIVER_REPLAY_ROOM), DRIVER_REPLAY_ROOM};
    struct driver_replay_watch watch = {.self = shown, .input = on_input, .output = on_output};
    struct driver_replay_result result;
    ASSERT(room.at != NULL);
    enum err err = driver_replay(gw, recording, room, &watch, &result);
    free(room.at);
    print_result(&result, shown);
    if (err != ERR_NONE) {
        (void)printf("the recording is cut or damaged after input %" PRIu64 "\n", result.inputs);
    }
    if (result.differs) {
        return SIM_EXIT_DETERMINISM;
    }
    return err == ERR_NONE ? SIM_EXIT_GOOD : SIM_EXIT_ENVIRONMENT;
}

static enum sim_exit replay(const char *path, bool verbose, const struct driver_run *run,
                            struct view recording)
{
    struct shown shown = {
        .started_ns = run->started.boot.ns, .now_ns = run->started.boot.ns, .verbose = verbose};
    struct trace silent = {NULL, NULL};
    struct gateway *gw = NULL;
    enum sim_exit code = SIM_EXIT_ENVIRONMENT;
    size_t size = gateway_size(&run->limits);
    /* The limits of a real gateway: mapped without being reserved, as there. */
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        (void)fprintf(stderr, "%s: no memory for its limits\n", path);
        return code;
    }
    enum err err =
        gateway_init(memory, &run->limits, &run->config, run->started, run->seed, silent, &gw);
    if (err == ERR_NONE) {
        code = replay_into(gw, recording, &shown);
        gateway_deinit(gw);
    } else {
        (void)fprintf(stderr, "%s: its configuration is refused: %s\n", path, err_text(err));
    }
    (void)munmap(memory, size);
    return code;
}

enum sim_exit sim_replay(const char *path, const char *key_path, bool verbose)
{
    struct file file = {NULL, 0};
    struct driver_run run;
    struct view recording;
    enum sim_exit code = SIM_EXIT_ENVIRONMENT;
    if (read_file(path, &file) && unseal(path, key_path, &file)) {
        if (driver_run_decode((struct view){file.bytes, file.len}, &run, &recording)) {
            code = replay(path, verbose, &run, recording);
        } else {
            (void)fprintf(stderr, "%s: not a recording\n", path);
        }
    }
    free(file.bytes);
    return code;
}
