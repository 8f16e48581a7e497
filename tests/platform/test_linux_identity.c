#undef _FORTIFY_SOURCE /* its gethostname() is an inline function, and ours takes its place */
#include "platform/linux/linux_identity.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "tests/support/support.h"

#define MACHINE_VECTOR "eeefe5d1cb3807dfc3ae24794878ec3147027390d839d1d718d8e42bcfde3336"

/* What the next gethostname() says; NULL: it fails. */
static const char *host_name;

int gethostname(char *out, size_t size)
{
    if (host_name == NULL || strlen(host_name) >= size) {
        return -1;
    }
    (void)snprintf(out, size, "%s", host_name);
    return 0;
}

/* A fresh directory for each test. */
struct place {
    char directory[64];
    char id_file[128];
    char machine_id[128];
};

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    (void)snprintf(place->directory, sizeof(place->directory), "/tmp/fz-identity-XXXXXX");
    if (mkdtemp(place->directory) == NULL) {
        return -1;
    }
    (void)snprintf(place->id_file, sizeof(place->id_file), "%s/sub/gateway_id", place->directory);
    (void)snprintf(place->machine_id, sizeof(place->machine_id), "%s/machine-id", place->directory);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    char path[160];
    (void)unlink(place->id_file);
    (void)unlink(place->machine_id);
    (void)snprintf(path, sizeof(path), "%s/FIREZONE_TOKEN", place->directory);
    (void)unlink(path);
    (void)snprintf(path, sizeof(path), "%s/sub", place->directory);
    (void)rmdir(path);
    int failed = rmdir(place->directory);
    free(place);
    return failed;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static void write_id_file(const struct place *place, const char *text)
{
    char path[160];
    (void)snprintf(path, sizeof(path), "%s/sub", place->directory);
    (void)mkdir(path, 0700);
    write_file(place->id_file, text);
}

static const char *id_of(const struct place *place, const char *env,
                         char out[LINUX_IDENTITY_ID_MAX + 1])
{
    struct linux_identity_paths paths = {place->id_file, place->machine_id};
    assert_int_equal(linux_identity_id(env, &paths, out), ERR_NONE);
    return out;
}

static void test_the_environment_wins(void **state)
{
    const struct place *place = *state;
    char out[LINUX_IDENTITY_ID_MAX + 1];
    write_id_file(place, "from-file");
    assert_string_equal(id_of(place, "from-env", out), "from-env");
    assert_string_equal(id_of(place, "", out), "from-file");
    assert_string_equal(id_of(place, NULL, out), "from-file");
}

static void test_the_id_file_is_plain_text_or_json(void **state)
{
    const struct place *place = *state;
    char out[LINUX_IDENTITY_ID_MAX + 1];
    write_id_file(place, "3f0b7c1c-0000-4000-8000-000000000001\n");
    assert_string_equal(id_of(place, NULL, out), "3f0b7c1c-0000-4000-8000-000000000001\n");
    write_id_file(place, "{\"id\":\"abc\"}");
    assert_string_equal(id_of(place, NULL, out), "abc");
    write_id_file(place, "{ \"other\": 1, \"id\" : \"x y\" }\n");
    assert_string_equal(id_of(place, NULL, out), "x y");
    write_id_file(place, "{\"id\":17}");
    assert_string_equal(id_of(place, NULL, out), "{\"id\":17}");
}

/* Another id would be another gateway in the portal. */
static void test_an_id_file_that_cannot_be_read_is_no_missing_one(void **state)
{
    const struct place *place = *state;
    char out[LINUX_IDENTITY_ID_MAX + 1];
    struct linux_identity_paths paths = {place->directory, place->machine_id};
    write_file(place->machine_id, "0123456789abcdef0123456789abcdef\n");
    assert_int_equal(linux_identity_id(NULL, &paths, out), ERR_IO); /* it is a directory */
}

/* Computed with another tool: HMAC-SHA256 over the raw file, newline included. */
static void test_the_machine_id_is_keyed(void **state)
{
    const struct place *place = *state;
    char out[LINUX_IDENTITY_ID_MAX + 1];
    write_file(place->machine_id, "0123456789abcdef0123456789abcdef\n");
    assert_string_equal(id_of(place, NULL, out), MACHINE_VECTOR);
    assert_int_equal(access(place->id_file, F_OK), -1);
}

static void test_an_empty_id_file_counts_as_none(void **state)
{
    const struct place *place = *state;
    char out[LINUX_IDENTITY_ID_MAX + 1];
    write_id_file(place, "");
    write_file(place->machine_id, "0123456789abcdef0123456789abcdef\n");
    assert_string_equal(id_of(place, NULL, out), MACHINE_VECTOR);
}

/* Names in the directory of the id file. */
static unsigned files_beside(const struct place *place)
{
    char path[160];
    unsigned count = 0;
    (void)snprintf(path, sizeof(path), "%s/sub", place->directory);
    DIR *directory = opendir(path);
    assert_non_null(directory);
    for (const struct dirent *entry = readdir(directory); entry != NULL;
         entry = readdir(directory)) {
        count += entry->d_name[0] != '.';
    }
    assert_int_equal(closedir(directory), 0);
    return count;
}

/* A part of an id would be the identity of another gateway from the next start on. */
static void test_a_disk_that_is_full_leaves_no_part_of_an_id(void **state)
{
    const struct place *place = *state;
    struct linux_identity_paths paths = {place->id_file, place->machine_id};
    char out[LINUX_IDENTITY_ID_MAX + 1];
    struct rlimit before;
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction old;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(sigaction(SIGXFSZ, &ignore, &old), 0);
    struct rlimit small = {10, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum err err = linux_identity_id(NULL, &paths, out);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(sigaction(SIGXFSZ, &old, NULL), 0);
    assert_int_equal(err, ERR_DISK);
    assert_int_equal(access(place->id_file, F_OK), -1);
    assert_int_equal(files_beside(place), 0);
}

static void test_what_a_crash_left_behind_is_no_hindrance(void **state)
{
    const struct place *place = *state;
    char out[LINUX_IDENTITY_ID_MAX + 1];
    char again[LINUX_IDENTITY_ID_MAX + 1];
    char left[160];
    write_id_file(place, ""); /* an empty file is replaced, too */
    (void)snprintf(left, sizeof(left), "%s.new", place->id_file);
    write_file(left, "{\"id\":\"half");
    id_of(place, NULL, out);
    assert_int_equal(strlen(out), 64);
    assert_string_equal(id_of(place, NULL, again), out);
    assert_int_equal(files_beside(place), 1);
}

static void test_a_new_id_is_written_and_found_again(void **state)
{
    const struct place *place = *state;
    char first[LINUX_IDENTITY_ID_MAX + 1];
    char second[LINUX_IDENTITY_ID_MAX + 1];
    struct stat facts;
    id_of(place, NULL, first);
    assert_int_equal(strlen(first), 64);
    assert_string_equal(id_of(place, NULL, second), first);
    assert_int_equal(stat(place->id_file, &facts), 0);
    assert_int_equal(facts.st_mode & 07, 0);
    assert_int_equal(unlink(place->id_file), 0);
    assert_string_not_equal(id_of(place, NULL, second), first);
}

static void test_an_id_that_cannot_be_kept_is_an_error(void **state)
{
    const struct place *place = *state;
    char out[LINUX_IDENTITY_ID_MAX + 1];
    struct linux_identity_paths paths = {"/nonexistent/deeper/gateway_id", place->machine_id};
    assert_int_equal(linux_identity_id(NULL, &paths, out), ERR_NOT_FOUND);
    char huge[LINUX_IDENTITY_ID_MAX + 2];
    memset(huge, 'a', sizeof(huge) - 1);
    huge[sizeof(huge) - 1] = '\0';
    assert_int_equal(linux_identity_id(huge, &paths, out), ERR_SPACE);
    huge[LINUX_IDENTITY_ID_MAX] = '\0';
    assert_int_equal(linux_identity_id(huge, &paths, out), ERR_NONE);
}

static void test_a_name_may_be_empty_and_defaults_to_the_host(void **state)
{
    (void)state;
    char out[LINUX_IDENTITY_NAME_MAX + 1];
    assert_int_equal(linux_identity_name("", out), ERR_NONE);
    assert_string_equal(out, "");
    assert_int_equal(linux_identity_name("gw 1", out), ERR_NONE);
    assert_string_equal(out, "gw 1");
    host_name = "the-host";
    assert_int_equal(linux_identity_name(NULL, out), ERR_NONE);
    assert_string_equal(out, "the-host");
}

static bool is_random_uuid(const char *text)
{
    struct uuid id;
    return strlen(text) == UUID_TEXT_SIZE && uuid_parse(view_text(text), &id) && text[14] == '4' &&
           strchr("89ab", text[19]) != NULL;
}

static void test_a_host_without_a_usable_name_gets_a_random_one(void **state)
{
    (void)state;
    static const char *const unusable[] = {NULL, "", "caf\xe9"};
    char first[LINUX_IDENTITY_NAME_MAX + 1];
    char second[LINUX_IDENTITY_NAME_MAX + 1];
    for (size_t i = 0; i < ARRAY_COUNT(unusable); i++) {
        host_name = unusable[i];
        assert_int_equal(linux_identity_name(NULL, first), ERR_NONE);
        assert_int_equal(linux_identity_name(NULL, second), ERR_NONE);
        assert_true(is_random_uuid(first) && is_random_uuid(second));
        assert_string_not_equal(first, second);
    }
    host_name = "caf\xc3\xa9";
    assert_int_equal(linux_identity_name(NULL, first), ERR_NONE);
    assert_string_equal(first, host_name);
}

static void test_white_space_leaves_a_token_of_any_source(void **state)
{
    (void)state;
    char out[LINUX_IDENTITY_TOKEN_MAX + 1];
    char huge[LINUX_IDENTITY_TOKEN_MAX + 2];
    assert_int_equal(linux_identity_token(" .SFM\nyNTY.\tabc\r\n", "/nonexistent", out), ERR_NONE);
    assert_string_equal(out, ".SFMyNTY.abc");
    assert_int_equal(linux_identity_token(" \n", "/nonexistent", out), ERR_NOT_FOUND);
    memset(huge, 'x', sizeof(huge));
    huge[sizeof(huge) - 1] = '\0';
    assert_int_equal(linux_identity_token(huge, NULL, out), ERR_SPACE);
    huge[sizeof(huge) - 2] = '\0';
    assert_int_equal(linux_identity_token(huge, NULL, out), ERR_NONE);
}

/* As the start script of the reference's container takes it. */
static void test_a_token_may_be_the_path_of_its_file(void **state)
{
    const struct place *place = *state;
    char out[LINUX_IDENTITY_TOKEN_MAX + 1];
    write_file(place->machine_id, " .SFMyNTY.abc\n");
    assert_int_equal(linux_identity_token(place->machine_id, NULL, out), ERR_NONE);
    assert_string_equal(out, ".SFMyNTY.abc");
    assert_int_equal(linux_identity_token("/nonexistent/token", NULL, out), ERR_NOT_FOUND);
}

static void test_the_token_of_a_credential_is_trimmed(void **state)
{
    const struct place *place = *state;
    char path[160];
    char out[LINUX_IDENTITY_TOKEN_MAX + 1];
    (void)snprintf(path, sizeof(path), "%s/FIREZONE_TOKEN", place->directory);
    assert_int_equal(linux_identity_token(NULL, place->directory, out), ERR_NOT_FOUND);
    write_file(path, " \n\tto ken\r\n");
    assert_int_equal(linux_identity_token(NULL, place->directory, out), ERR_NONE);
    assert_string_equal(out, "token");
    write_file(path, " \n");
    assert_int_equal(linux_identity_token(NULL, place->directory, out), ERR_NOT_FOUND);
}

static void test_user_agents(void **state)
{
    (void)state;
    static const struct {
        const char *id;
        const char *version;
        const char *machine;
        const char *kernel;
        const char *expected;
    } rows[] = {
        {"ubuntu", "22.04", "x86_64", "6.8.0-31-generic",
         "Ubuntu/22.4.0 connlib/1.5.2 (x86_64; 6.8.0-31-generic)"},
        {"debian", "12", "aarch64", "6.1.0", "Debian/12.0.0 connlib/1.5.2 (aarch64; 6.1.0)"},
        {"alpine", "3.20.3", "x86_64", "", "Alpine Linux/3.20.3 connlib/1.5.2 (x86_64)"},
        {"amzn", "2", "", "5.10", "Amazon Linux AMI/2.0.0 connlib/1.5.2 (5.10)"},
        {"rhel", "9.4", "", "", "Red Hat Enterprise Linux/9.4.0 connlib/1.5.2"},
        {"selfmade", "", "", "", "Linux/Unknown connlib/1.5.2"},
        {"arch", "rolling", "", "", "Arch Linux/rolling connlib/1.5.2"},
        {"debian", "12.", "", "", "Debian/12. connlib/1.5.2"},
        {"debian", "1.2.3.4", "", "", "Debian/1.2.3.4 connlib/1.5.2"},
        {"debian", "12", "x\xc3\xa9", "a\nb", "Debian/12.0.0 connlib/1.5.2 (x??; a?b)"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char out[LINUX_IDENTITY_AGENT_MAX + 1];
        struct linux_identity_system system = {view_text(rows[i].id), view_text(rows[i].version),
                                               view_text(rows[i].machine),
                                               view_text(rows[i].kernel)};
        linux_identity_agent_of(&system, "1.5.2", out);
        assert_string_equal(out, rows[i].expected);
    }
}

static void test_the_agent_of_this_system_has_one_version_word(void **state)
{
    (void)state;
    char out[LINUX_IDENTITY_AGENT_MAX + 1];
    linux_identity_agent("1.5.2", out);
    const char *word = strstr(out, " connlib/1.5.2");
    assert_non_null(word);
    assert_null(strstr(word + 2, "connlib/"));
    assert_non_null(strchr(out, '('));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_environment_wins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_id_file_is_plain_text_or_json, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_id_file_that_cannot_be_read_is_no_missing_one,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_machine_id_is_keyed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_empty_id_file_counts_as_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_disk_that_is_full_leaves_no_part_of_an_id, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_what_a_crash_left_behind_is_no_hindrance, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_new_id_is_written_and_found_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_an_id_that_cannot_be_kept_is_an_error, set_up,
                                        tear_down),
        cmocka_unit_test(test_a_name_may_be_empty_and_defaults_to_the_host),
        cmocka_unit_test(test_a_host_without_a_usable_name_gets_a_random_one),
        cmocka_unit_test(test_white_space_leaves_a_token_of_any_source),
        cmocka_unit_test_setup_teardown(test_a_token_may_be_the_path_of_its_file, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_token_of_a_credential_is_trimmed, set_up,
                                        tear_down),
        cmocka_unit_test(test_user_agents),
        cmocka_unit_test(test_the_agent_of_this_system_has_one_version_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
