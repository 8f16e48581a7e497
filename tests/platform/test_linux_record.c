#include "platform/linux/linux_record.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/support.h"

#define PATH_SIZE 64

struct keys {
    uint8_t public_key[32];
    uint8_t secret_key[32];
};

static struct keys new_keys(void)
{
    struct keys keys;
    assert_true(sodium_init() >= 0);
    crypto_box_keypair(keys.public_key, keys.secret_key);
    return keys;
}

static void new_path(char path[PATH_SIZE])
{
    (void)snprintf(path, PATH_SIZE, "/tmp/fz-record-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
}

/* Takes a file's bytes and removes it. */
static char *take_file(const char *path, size_t *len)
{
    char *bytes = support_read_file(path, len);
    assert_non_null(bytes);
    (void)unlink(path);
    return bytes;
}

static void write_bytes(struct linux_record *record, const uint8_t *bytes, size_t len, size_t step)
{
    struct driver_recorder recorder = linux_record_recorder(record);
    for (size_t at = 0; at < len; at += step) {
        size_t part = len - at < step ? len - at : step;
        recorder.write(recorder.self, (struct view){bytes + at, part});
    }
}

/* A sealed file of `len` pseudo-random bytes. */
static char *sealed_file(const struct keys *keys, uint8_t *content, size_t len, size_t *file_len)
{
    char path[PATH_SIZE];
    const char *why = NULL;
    new_path(path);
    struct linux_record *record = linux_record_create(path, keys->public_key, &why);
    assert_non_null(record);
    randombytes_buf_deterministic(content, len, keys->public_key);
    write_bytes(record, content, len, 777);
    assert_int_equal(linux_record_state(record), ERR_NONE);
    linux_record_finish(record);
    return take_file(path, file_len);
}

static void test_a_sealed_recording_opens_with_its_key_only(void **state)
{
    (void)state;
    enum { SIZE = 150000 };
    struct keys keys = new_keys();
    struct keys other = new_keys();
    uint8_t *content = malloc(SIZE);
    size_t file_len = 0;
    size_t len = 0;
    char *file = sealed_file(&keys, content, SIZE, &file_len);
    uint8_t *out = malloc(file_len);
    struct view view = {(const uint8_t *)file, file_len};
    struct span room = {out, file_len};
    assert_int_equal(driver_seal_open(view, keys.public_key, keys.secret_key, room, &len),
                     ERR_NONE);
    assert_int_equal(len, SIZE);
    assert_memory_equal(out, content, SIZE);
    assert_int_equal(driver_seal_open(view, other.public_key, other.secret_key, room, &len),
                     ERR_CRYPTO);
    /* nothing of the content stands in the file */
    assert_null(memmem(file, file_len, content, 16));
    free(out);
    free(content);
    free(file);
}

static void test_a_cut_recording_is_read_up_to_its_last_whole_chunk(void **state)
{
    (void)state;
    enum { SIZE = 70000 };
    struct keys keys = new_keys();
    uint8_t *content = malloc(SIZE);
    size_t file_len = 0;
    char *file = sealed_file(&keys, content, SIZE, &file_len);
    uint8_t *out = malloc(file_len);
    for (size_t cut = 0; cut < file_len; cut += cut < 200 ? 1 : 1511) {
        size_t len = SIZE;
        enum err err = driver_seal_open((struct view){(const uint8_t *)file, cut}, keys.public_key,
                                        keys.secret_key, (struct span){out, file_len}, &len);
        assert_true(err == ERR_SYNTAX || err == ERR_CLOSED);
        assert_true(len == 0 || len == DRIVER_SEAL_CHUNK);
        assert_memory_equal(out, content, len);
    }
    free(out);
    free(content);
    free(file);
}

static void test_every_flipped_bit_is_noticed(void **state)
{
    (void)state;
    enum { SIZE = 100 };
    struct keys keys = new_keys();
    uint8_t content[SIZE];
    size_t file_len = 0;
    char *file = sealed_file(&keys, content, SIZE, &file_len);
    uint8_t *out = malloc(file_len);
    for (size_t bit = 0; bit < file_len * 8; bit++) {
        size_t len = 0;
        file[bit / 8] ^= (char)(1U << bit % 8);
        enum err err =
            driver_seal_open((struct view){(const uint8_t *)file, file_len}, keys.public_key,
                             keys.secret_key, (struct span){out, file_len}, &len);
        assert_int_not_equal(err, ERR_NONE);
        assert_int_equal(len, 0);
        file[bit / 8] ^= (char)(1U << bit % 8);
    }
    free(out);
    free(file);
}

static void test_a_plain_recording_is_the_bytes_and_private(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    const char *why = NULL;
    struct stat facts;
    size_t len = 0;
    new_path(path);
    assert_int_equal(chmod(path, 0644), 0);
    struct linux_record *record = linux_record_create(path, NULL, &why);
    assert_non_null(record);
    assert_int_equal(stat(path, &facts), 0);
    assert_int_equal(facts.st_mode & 0777, 0600);
    write_bytes(record, (const uint8_t *)"plain text", 10, 3);
    linux_record_finish(record);
    char *file = take_file(path, &len);
    assert_int_equal(len, 10);
    assert_memory_equal(file, "plain text", 10);
    free(file);
}

static void test_what_waits_is_written_within_a_second(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    const char *why = NULL;
    struct stat facts;
    struct instant now = {5 * NS_PER_S};
    new_path(path);
    struct linux_record *record = linux_record_create(path, NULL, &why);
    assert_non_null(record);
    linux_record_tick(record, now);
    write_bytes(record, (const uint8_t *)"abc", 3, 3);
    linux_record_tick(record, now);
    linux_record_tick(record, instant_add(now, DURATION_MS(999)));
    assert_int_equal(stat(path, &facts), 0);
    assert_int_equal(facts.st_size, 0);
    linux_record_tick(record, instant_add(now, DURATION_S(LINUX_RECORD_FLUSH_S)));
    assert_int_equal(stat(path, &facts), 0);
    assert_int_equal(facts.st_size, 3);
    linux_record_finish(record);
    (void)unlink(path);
}

/* Keeps the last event's text. */
static void keep_text(void *sink, const struct trace_event *event)
{
    struct writer w = writer_of((struct span){sink, PATH_SIZE - 1});
    memset(sink, 0, PATH_SIZE);
    assert_int_equal(event->event, EV_ENVIRONMENT);
    writer_bytes(&w, event->text);
}

static void test_what_cannot_be_written_is_refused_with_the_reason(void **state)
{
    (void)state;
    static const char link[] = "/tmp/fz-record-link";
    char path[PATH_SIZE];
    const char *why = NULL;
    new_path(path);
    (void)unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_null(linux_record_create(path, NULL, &why)); /* and nothing waits */
    assert_string_equal(why, "it is a FIFO that nobody reads, or a socket");
    assert_null(linux_record_create("/tmp", NULL, &why));
    assert_string_equal(why, "it is a directory");
    (void)unlink(link);
    assert_int_equal(symlink(path, link), 0);
    assert_null(linux_record_create(link, NULL, &why));
    assert_string_equal(why, "it is a symbolic link");
    (void)unlink(link);
    assert_null(linux_record_create("/dev/null/file", NULL, &why));
    assert_string_equal(why, "there is no such directory");
    struct keys keys = new_keys();
    assert_null(linux_record_create("/dev/full", keys.public_key, &why));
    assert_string_equal(why, "no space is left on the device");
    (void)unlink(path);
}

/* More than one chunk waits in the pipe; a reader that stops ends the recording, not the gateway.
 */
static void test_a_fifo_holds_what_its_reader_has_not_taken_yet(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    const char *why = NULL;
    const size_t some = (size_t)4 * DRIVER_SEAL_CHUNK;
    uint8_t *bytes = calloc(1, (size_t)64 * DRIVER_SEAL_CHUNK);
    new_path(path);
    (void)unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    int reader = open(path, O_RDONLY | O_NONBLOCK);
    struct linux_record *record = linux_record_create(path, NULL, &why);
    assert_non_null(record);
    write_bytes(record, bytes, some, some);
    assert_int_equal(linux_record_state(record), ERR_NONE);
    assert_int_equal(read(reader, bytes, some), some);
    write_bytes(record, bytes, (size_t)64 * DRIVER_SEAL_CHUNK, some);
    assert_int_equal(linux_record_state(record), ERR_WOULD_BLOCK);
    linux_record_finish(record);
    (void)close(reader);
    (void)unlink(path);
    free(bytes);
}

static void test_failures_end_the_recording_only(void **state)
{
    (void)state;
    const char *why = NULL;
    struct keys keys = new_keys();
    static const uint8_t low_order[32];
    char path[PATH_SIZE];
    assert_null(linux_record_create("/nonexistent/file", keys.public_key, &why));
    assert_string_equal(why, "there is no such directory");
    new_path(path);
    assert_null(linux_record_create(path, low_order, &why));
    assert_string_equal(why, err_text(ERR_CRYPTO));
    (void)unlink(path);
    struct stat before;
    struct stat after;
    char said[PATH_SIZE] = "";
    assert_int_equal(stat("/dev/full", &before), 0);
    struct linux_record *record = linux_record_create("/dev/full", NULL, &why);
    assert_non_null(record);
    assert_int_equal(stat("/dev/full", &after), 0);
    assert_int_equal(after.st_mode, before.st_mode); /* the mode of a device is not ours */
    linux_record_tell(record, (struct trace){keep_text, said});
    uint8_t *much = calloc(1, 2 * (size_t)DRIVER_SEAL_CHUNK);
    linux_record_tick(record, (struct instant){0});
    assert_string_equal(said, "");
    write_bytes(record, much, 2 * (size_t)DRIVER_SEAL_CHUNK, 10000);
    assert_int_equal(linux_record_state(record), ERR_DISK);
    linux_record_tick(record, (struct instant){0});
    assert_string_equal(said, "the recording ends here: it cannot be written");
    said[0] = '\0';
    linux_record_tick(record, (struct instant){0});
    linux_record_finish(record);
    assert_string_equal(said, ""); /* once */
    free(much);
    record = linux_record_create("/dev/full", NULL, &why);
    assert_non_null(record);
    linux_record_tell(record, (struct trace){keep_text, said});
    write_bytes(record, (const uint8_t *)"few", 3, 3);
    linux_record_finish(record);
    assert_string_equal(said, "the recording ends here: it cannot be written");
}

static void test_keys_are_hex_or_base64(void **state)
{
    (void)state;
    uint8_t key[32];
    assert_true(driver_seal_parse_key(
        "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F", key));
    assert_int_equal(key[31], 31);
    memset(key, 0, sizeof(key));
    assert_true(driver_seal_parse_key("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", key));
    assert_int_equal(key[31], 31);
    assert_false(driver_seal_parse_key("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", key));
    assert_false(driver_seal_parse_key("", key));
    assert_false(driver_seal_parse_key("00", key));
}

static struct driver_run example_run(void)
{
    struct driver_run run = {
        .limits = {1, 2, 3, 4, 5, 6, 7, 8, 9},
        .started = {{UINT64_C(0x1122334455667788)}, UINT64_C(0x99aabbccddeeff00)},
        .config = {.api_url = view_text("ws://h"),
                   .token = view_text("tok"),
                   .firezone_id = view_text("id"),
                   .name = VIEW_EMPTY,
                   .user_agent = view_text("agent"),
                   .health = sock_addr_of(ip_v4(1, 2, 3, 4), 80),
                   .partition_max_s = 86400,
                   .nat64_translate = true,
                   .portal_v2 = true},
    };
    memset(run.seed, 0x5a, sizeof(run.seed));
    return run;
}

static void test_the_start_of_a_run_round_trips(void **state)
{
    (void)state;
    uint8_t room[1024];
    struct driver_run run = example_run();
    struct driver_run got;
    struct view rest;
    struct writer w = writer_of((struct span){room, sizeof(room)});
    assert_true(driver_run_encode(&run, &w));
    writer_text(&w, "FZREC1\n");
    assert_true(driver_run_decode(writer_view(&w), &got, &rest));
    assert_true(view_equal_text(rest, "FZREC1\n"));
    assert_memory_equal(&got.limits, &run.limits, sizeof(run.limits));
    assert_memory_equal(got.seed, run.seed, sizeof(run.seed));
    assert_true(got.started.boot.ns == run.started.boot.ns);
    assert_true(got.started.unix_ns == run.started.unix_ns);
    assert_true(view_equal(got.config.api_url, run.config.api_url));
    assert_true(view_equal(got.config.token, run.config.token));
    assert_true(view_equal(got.config.firezone_id, run.config.firezone_id));
    assert_int_equal(got.config.name.len, 0);
    assert_true(view_equal(got.config.user_agent, run.config.user_agent));
    assert_true(sock_addr_equal(&got.config.health, &run.config.health));
    assert_true(got.config.partition_max_s == 86400);
    assert_true(got.config.nat64_translate);
    assert_true(got.config.portal_v2);
    assert_false(got.config.portal_v2_only);
    assert_false(got.config.refuse_own_addresses);
}

static void test_a_start_at_a_time_that_no_clock_reads_is_refused(void **state)
{
    (void)state;
    uint8_t room[1024];
    struct driver_run run = example_run();
    struct driver_run got;
    struct view rest;
    run.started.boot.ns = INT64_MAX;
    struct writer w = writer_of((struct span){room, sizeof(room)});
    assert_true(driver_run_encode(&run, &w));
    assert_true(driver_run_decode(writer_view(&w), &got, &rest));
    run.started.boot.ns++;
    w = writer_of((struct span){room, sizeof(room)});
    assert_true(driver_run_encode(&run, &w));
    assert_false(driver_run_decode(writer_view(&w), &got, &rest));
}

static void test_a_cut_start_is_refused_at_every_length(void **state)
{
    (void)state;
    uint8_t room[1024];
    struct driver_run run = example_run();
    struct view rest;
    struct writer w = writer_of((struct span){room, sizeof(room)});
    assert_true(driver_run_encode(&run, &w));
    for (size_t len = 0; len < w.used; len++) {
        struct driver_run got;
        assert_false(driver_run_decode((struct view){room, len}, &got, &rest));
        struct writer small = writer_of((struct span){malloc(len + 1), len});
        assert_false(driver_run_encode(&run, &small));
        free(small.out.at);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_sealed_recording_opens_with_its_key_only),
        cmocka_unit_test(test_a_cut_recording_is_read_up_to_its_last_whole_chunk),
        cmocka_unit_test(test_every_flipped_bit_is_noticed),
        cmocka_unit_test(test_a_plain_recording_is_the_bytes_and_private),
        cmocka_unit_test(test_what_waits_is_written_within_a_second),
        cmocka_unit_test(test_what_cannot_be_written_is_refused_with_the_reason),
        cmocka_unit_test(test_a_fifo_holds_what_its_reader_has_not_taken_yet),
        cmocka_unit_test(test_failures_end_the_recording_only),
        cmocka_unit_test(test_keys_are_hex_or_base64),
        cmocka_unit_test(test_the_start_of_a_run_round_trips),
        cmocka_unit_test(test_a_start_at_a_time_that_no_clock_reads_is_refused),
        cmocka_unit_test(test_a_cut_start_is_refused_at_every_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
