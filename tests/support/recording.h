/* recording: what a recorded portal and a real gateway said to each other, for replays of it.
 *
 * Lines of tests/vectors/recorded/FOLDER/portal.jsonl. Everything here fails the test that calls it
 * when the file is not as expected.
 */
#ifndef TESTS_RECORDING_H
#define TESTS_RECORDING_H

#include <cJSON.h>

#include "gateway/gateway.h"

#define RECORDING_LINES_MAX 64U

struct recording {
    cJSON *lines[RECORDING_LINES_MAX]; /* messages on the gateway's connection, in order */
    size_t count;
    char relay_secret[65]; /* of the relay in the session: passwords follow from it */
};

struct recording recording_load(const char *folder);
void recording_free(struct recording *recording);

/* The message of a line; NULL when it went the other way. `dir`: "to" or "from" the gateway. */
const cJSON *recording_message(const struct recording *recording, size_t at, const char *dir);
/* When the portal saw it, in nanoseconds. */
MUST_USE uint64_t recording_time_ns(const struct recording *recording, size_t at);
MUST_USE bool recording_is_event(const cJSON *msg, const char *event);

/* Asserts: both values have the same types, keys and order of keys, all the way down. Of arrays the
 * first items count. */
void recording_check_shape(const cJSON *a, const cJSON *b);
/* Asserts: the gateway refused nothing that a portal said. */
void recording_check_refusals(const struct gateway_counters *counters);

#endif /* TESTS_RECORDING_H */
