#include "portal/portal_queue.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "tests/support/support.h"

#define TWIN_MAX PORTAL_QUEUE_MESSAGES_MAX

/* The naive twin: message i is its number, repeated; equal numbers never wait twice. */
struct twin {
    uint32_t numbers[TWIN_MAX];
    uint32_t sizes[TWIN_MAX];
    uint32_t count;
};

static struct view payload_of(uint8_t *bytes, uint32_t number, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(number >> 8 * (i % 4));
    }
    return (struct view){bytes, size};
}

static void check_first(const struct portal_queue *queue, const struct twin *twin, uint8_t *bytes)
{
    enum portal_event event = PORTAL_EVENT_JOIN;
    struct view payload;
    assert_int_equal(portal_queue_peek(queue, &event, &payload), twin->count > 0);
    if (twin->count > 0) {
        assert_int_equal(event, PORTAL_EVENT_CANDIDATES);
        assert_true(view_equal(payload, payload_of(bytes, twin->numbers[0], twin->sizes[0])));
    }
}

static void test_the_queue_agrees_with_its_naive_twin(void **state)
{
    static const uint8_t seed[RNG_SEED_SIZE] = {9};
    static struct twin twin;
    struct portal_queue *queue = calloc(1, sizeof(*queue));
    uint8_t *bytes = malloc(PORTAL_PAYLOAD_SIZE_MAX);
    struct rng rng;
    uint32_t full = 0;
    (void)state;
    assert_non_null(queue);
    assert_non_null(bytes);
    rng_init(&rng, seed);
    for (uint32_t i = 0; i < 20000; i++) {
        if (rng_below(&rng, 5) < 3) {
            uint32_t size = 4 + rng_below(&rng, rng_below(&rng, 8) == 0 ? 32000 : 600);
            enum err err =
                portal_queue_push(queue, PORTAL_EVENT_CANDIDATES, payload_of(bytes, i, size));
            full += err == ERR_FULL;
            if (err == ERR_NONE) {
                twin.numbers[twin.count] = i;
                twin.sizes[twin.count++] = size;
            }
        } else if (twin.count > 0) {
            portal_queue_pop(queue);
            twin.count--;
            memmove(twin.numbers, twin.numbers + 1, twin.count * sizeof(twin.numbers[0]));
            memmove(twin.sizes, twin.sizes + 1, twin.count * sizeof(twin.sizes[0]));
        }
        assert_int_equal(queue->count, twin.count);
        check_first(queue, &twin, bytes);
    }
    assert_true(full > 100);
    free(bytes);
    free(queue);
}

static void test_equal_messages_wait_once_but_events_differ(void **state)
{
    struct portal_queue *queue = calloc(1, sizeof(*queue));
    struct view text = view_text("{}");
    (void)state;
    assert_int_equal(portal_queue_push(queue, PORTAL_EVENT_CANDIDATES, text), ERR_NONE);
    assert_int_equal(portal_queue_push(queue, PORTAL_EVENT_CANDIDATES, text), ERR_EXISTS);
    assert_int_equal(portal_queue_push(queue, PORTAL_EVENT_NO_RELAYS, text), ERR_NONE);
    portal_queue_pop(queue);
    assert_int_equal(portal_queue_push(queue, PORTAL_EVENT_CANDIDATES, text), ERR_NONE);
    free(queue);
}

static void test_sizes_hold_at_their_edges(void **state)
{
    struct portal_queue *queue = calloc(1, sizeof(*queue));
    uint8_t *bytes = calloc(1, PORTAL_PAYLOAD_SIZE_MAX + 1);
    struct view text = {bytes, PORTAL_PAYLOAD_SIZE_MAX + 1};
    (void)state;
    assert_int_equal(portal_queue_push(queue, PORTAL_EVENT_CANDIDATES, text), ERR_TOO_BIG);
    text.len--;
    for (uint32_t i = 0; i < PORTAL_QUEUE_SIZE / PORTAL_PAYLOAD_SIZE_MAX; i++) {
        store_be32(bytes, i);
        assert_int_equal(portal_queue_push(queue, PORTAL_EVENT_CANDIDATES, text), ERR_NONE);
    }
    assert_int_equal(portal_queue_push(queue, PORTAL_EVENT_CANDIDATES, view_text("x")), ERR_FULL);
    portal_queue_pop(queue);
    assert_int_equal(portal_queue_push(queue, PORTAL_EVENT_CANDIDATES, view_text("x")), ERR_NONE);
    free(bytes);
    free(queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_queue_agrees_with_its_naive_twin),
        cmocka_unit_test(test_equal_messages_wait_once_but_events_differ),
        cmocka_unit_test(test_sizes_hold_at_their_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
