/* What fzdev writes into its logs: never a secret unless asked for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/dev/dev_log.h"
#include "tests/support/support.h"

static void covers(const char *text, const char *want)
{
    uint8_t room[512];
    struct writer w = writer_of((struct span){room, sizeof room});
    dev_log_cover(&w, view_text(text));
    assert_true(writer_finish(&w));
    struct view got = writer_view(&w);
    assert_int_equal(got.len, strlen(want));
    assert_memory_equal(got.at, want, got.len);
}

static void secrets_are_covered_wherever_they_stand(void **state)
{
    (void)state;
    covers("{\"preshared_key\":\"c2VjcmV0\",\"ref\":1}", "{\"preshared_key\":\"*\",\"ref\":1}");
    covers("{\"a\":{\"username\":\"u\",\"password\":\"p\"}}",
           "{\"a\":{\"username\":\"u\",\"password\":\"*\"}}");
    covers("{\"stamp_secret\":\"x\\\"y\",\"b\":2}", "{\"stamp_secret\":\"*\",\"b\":2}");
    covers("/gateway/websocket?token=abc&name=n", "/gateway/websocket?token=*&name=n");
    covers("/gateway/websocket?name=n&token=abc", "/gateway/websocket?name=n&token=*");
    covers("{\"token\":\"", "{\"token\":\"*");
}

static void everything_else_stays(void **state)
{
    (void)state;
    covers("", "");
    covers("{\"event\":\"phx_join\",\"payload\":{}}", "{\"event\":\"phx_join\",\"payload\":{}}");
}

static void a_line_is_one_json_object(void **state)
{
    (void)state;
    char path[] = "/tmp/fzdev-log-XXXXXX";
    char line[256];
    struct dev_log log;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(dev_log_open(&log, path, false));
    struct json_writer *w = dev_log_start(&log, (struct instant){1234567890});
    assert_non_null(w);
    json_field_string(w, "way", "in");
    dev_log_message(&log, "message", view_text("{\"token\":\"abc\"}"));
    dev_log_message(&log, "request", view_text("GET /?token=abc"));
    dev_log_end(&log);
    dev_log_close(&log);
    FILE *file = fdopen(fd, "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    assert_string_equal(line, "{\"ms\":1234.567,\"way\":\"in\",\"message\":{\"token\":\"*\"},"
                              "\"request\":\"GET /?token=*\"}\n");
    (void)fclose(file);
    (void)unlink(path);
}

static void without_a_file_nothing_is_written(void **state)
{
    (void)state;
    struct dev_log log;
    assert_true(dev_log_open(&log, NULL, false));
    assert_null(dev_log_start(&log, (struct instant){0}));
    dev_log_message(&log, "message", view_text("{}"));
    dev_log_end(&log);
    dev_log_close(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secrets_are_covered_wherever_they_stand),
        cmocka_unit_test(everything_else_stays),
        cmocka_unit_test(a_line_is_one_json_object),
        cmocka_unit_test(without_a_file_nothing_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
