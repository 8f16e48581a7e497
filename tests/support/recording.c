#include "tests/support/recording.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/support.h"

static const char *text_of(const cJSON *object, const char *key)
{
    return cJSON_GetStringValue(cJSON_GetObjectItem(object, key));
}

static void take_line(struct recording *recording, cJSON *root)
{
    const char *kind = text_of(root, "kind");
    const char *dir = text_of(root, "dir");
    const cJSON *msg = cJSON_GetObjectItem(root, "msg");
    if (strcmp(kind, "gateway") == 0 && strcmp(dir, "connect") != 0) {
        assert_true(recording->count < RECORDING_LINES_MAX);
        recording->lines[recording->count++] = root;
        return;
    }
    const char *secret = text_of(cJSON_GetObjectItem(msg, "payload"), "stamp_secret");
    if (secret != NULL) {
        (void)snprintf(recording->relay_secret, sizeof(recording->relay_secret), "%s", secret);
    }
    cJSON_Delete(root);
}

struct recording recording_load(const char *folder)
{
    struct recording recording = {.count = 0};
    char path[128];
    size_t len = 0;
    (void)snprintf(path, sizeof(path), "tests/vectors/recorded/%s/portal.jsonl", folder);
    char *text = support_read_file(path, &len);
    assert_non_null(text);
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        cJSON *root = cJSON_Parse(line);
        assert_non_null(root);
        take_line(&recording, root);
    }
    free(text);
    assert_true(recording.count > 5);
    assert_int_equal(strlen(recording.relay_secret), 64);
    return recording;
}

void recording_free(struct recording *recording)
{
    for (size_t i = 0; i < recording->count; i++) {
        cJSON_Delete(recording->lines[i]);
    }
}

const cJSON *recording_message(const struct recording *recording, size_t at, const char *dir)
{
    const cJSON *root = recording->lines[at];
    return strcmp(text_of(root, "dir"), dir) == 0 ? cJSON_GetObjectItem(root, "msg") : NULL;
}

uint64_t recording_time_ns(const struct recording *recording, size_t at)
{
    double seconds = cJSON_GetNumberValue(cJSON_GetObjectItem(recording->lines[at], "t"));
    return (uint64_t)(seconds * 1e6 + 0.5) * 1000U;
}

bool recording_is_event(const cJSON *msg, const char *event)
{
    return strcmp(text_of(msg, "event"), event) == 0;
}

void recording_check_shape(const cJSON *a, const cJSON *b)
{
    assert_int_equal(a->type, b->type);
    if (cJSON_IsArray(a)) {
        if (a->child != NULL && b->child != NULL) {
            recording_check_shape(a->child, b->child);
        }
        return;
    }
    const cJSON *x = a->child;
    const cJSON *y = b->child;
    for (; x != NULL && y != NULL; x = x->next, y = y->next) {
        assert_string_equal(x->string, y->string);
        recording_check_shape(x, y);
    }
    assert_ptr_equal(x, y); /* both ended */
}

void recording_check_refusals(const struct gateway_counters *counters)
{
    static const enum drop_reason reasons[] = {
        DROP_PORTAL_FIELD, DROP_PORTAL_UNKNOWN, DROP_PORTAL_LIMIT, DROP_PORTAL_REPLY,
        DROP_PORTAL_REF,   DROP_PHX_ENVELOPE,   DROP_JSON_SYNTAX,  DROP_ICE_CANDIDATE,
    };
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        assert_int_equal(counters->drops[reasons[i]], 0);
    }
}
