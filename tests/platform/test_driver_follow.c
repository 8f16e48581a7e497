/* What the platform says of itself reaches the gateway and its recording: what the TUN device
 * takes, once per change, and what its calls carried, when somebody may ask. */
#include <stdlib.h>
#include <string.h>

#include "gateway/gateway_internal.h"
#include "platform/driver_replay.h"
#include "tests/platform/new_gateway.h"

#define LOG_SIZE 65536U

struct world {
    uint32_t offload;
    struct gateway_io_counters io;
    size_t used;
    uint8_t log[LOG_SIZE];
};

static uint32_t tun_offload(void *self)
{
    const struct world *world = self;
    return world->offload;
}

static void entropy(void *self, uint8_t out[32])
{
    (void)self;
    memset(out, 3, 32);
}

static void lookup(void *self, const struct gateway_lookup *wanted)
{
    (void)self;
    (void)wanted;
}

static enum err listen_at(void *self, const struct gateway_listen *listen)
{
    (void)self;
    (void)listen;
    return ERR_NONE;
}

static void keep(void *self, struct view bytes)
{
    struct world *world = self;
    assert_true(bytes.len <= LOG_SIZE - world->used);
    memcpy(world->log + world->used, bytes.at, bytes.len);
    world->used += bytes.len;
}

/* How many records of one kind the recording holds. */
static unsigned count_records(const struct world *world, enum driver_input kind)
{
    struct reader r = reader_of((struct view){world->log, world->used});
    unsigned count = 0;
    (void)reader_take(&r, 7); /* the header */
    while (r.rest.len > 0) {
        count += reader_u8(&r) == kind ? 1 : 0;
        (void)reader_take(&r, 16);
        (void)reader_take(&r, reader_le32(&r));
        assert_true(reader_ok(&r));
    }
    return count;
}

static void offloads_are_told_once_per_change_and_replayed(void **state)
{
    static const uint32_t steps[] = {0, 3, 3, 1, 1, 2};
    struct world *world = calloc(1, sizeof(*world));
    struct platform table = {.self = world,
                             .entropy = entropy,
                             .tun_offload = tun_offload,
                             .lookup = lookup,
                             .listen = listen_at};
    struct driver driver;
    void *memory[2];
    (void)state;
    assert_non_null(world);
    struct gateway *gw = new_gateway(&memory[0]);
    driver_init(&driver, gw, &table, (struct driver_recorder){keep, world},
                (struct trace){NULL, NULL});
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct clock_pair now = {{NS_PER_S + i}, NS_PER_S + i};
        world->offload = steps[i];
        struct driver_result result = driver_step(&driver, now, 0);
        assert_false(result.exit);
        assert_int_equal(gw->tun_offload_tcp, (steps[i] & PLATFORM_TUN_TCP) != 0);
        assert_int_equal(gw->tun_offload_udp, (steps[i] & PLATFORM_TUN_UDP) != 0);
    }
    assert_int_equal(count_records(world, DRIVER_INPUT_OFFLOAD), 3);
    struct gateway *again = new_gateway(&memory[1]);
    struct span room = {malloc(DRIVER_REPLAY_ROOM), DRIVER_REPLAY_ROOM};
    assert_non_null(room.at);
    struct view recording = {world->log, world->used};
    struct driver_replay_watch watch = {0};
    struct driver_replay_result result;
    assert_int_equal(driver_replay(again, recording, room, &watch, &result), ERR_NONE);
    assert_false(again->tun_offload_tcp);
    assert_true(again->tun_offload_udp);
    gateway_deinit(gw);
    gateway_deinit(again);
    free(room.at);
    free(memory[0]);
    free(memory[1]);
    free(world);
}

static void io_counters(void *self, struct gateway_io_counters *out)
{
    const struct world *world = self;
    *out = world->io;
}

static bool no_event(void *self, struct platform_event *out)
{
    (void)self;
    (void)out;
    return false;
}

static void counters_are_told_before_an_event_and_replayed(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    struct platform table = {.self = world,
                             .entropy = entropy,
                             .io_counters = io_counters,
                             .event = no_event,
                             .lookup = lookup,
                             .listen = listen_at};
    struct driver driver;
    void *memory[2];
    (void)state;
    assert_non_null(world);
    struct gateway *gw = new_gateway(&memory[0]);
    driver_init(&driver, gw, &table, (struct driver_recorder){keep, world},
                (struct trace){NULL, NULL});
    driver.send_errors = 5;
    driver.tun_write_errors = 8;
    static const struct {
        uint64_t at_ms;
        uint32_t ready;
        uint64_t seen;
    } steps[] = {
        {1000, 0, 0},
        {1010, PLATFORM_READY_EVENT, 2},
        {1020, PLATFORM_READY_EVENT, 2}, /* not more often than ten times a second */
        {1110, PLATFORM_READY_EVENT, 4},
        {1300, 0, 4},
    };
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct clock_pair now = {{steps[i].at_ms * NS_PER_MS}, steps[i].at_ms * NS_PER_MS};
        world->io = (struct gateway_io_counters){i + 1, 2, 3, 4, 0, 6, 7, 0, UINT64_MAX, 10};
        assert_false(driver_step(&driver, now, steps[i].ready).exit);
        assert_int_equal(gateway_counters(gw)->io.wakeups, steps[i].seen);
    }
    const struct gateway_io_counters want = {4, 2, 3, 4, 5, 6, 7, 8, UINT64_MAX, 10};
    assert_memory_equal(&gateway_counters(gw)->io, &want, sizeof(want));
    assert_int_equal(count_records(world, DRIVER_INPUT_COUNTERS), 2);
    struct gateway *again = new_gateway(&memory[1]);
    struct span room = {malloc(DRIVER_REPLAY_ROOM), DRIVER_REPLAY_ROOM};
    assert_non_null(room.at);
    struct view recording = {world->log, world->used};
    struct driver_replay_watch watch = {0};
    struct driver_replay_result result;
    assert_int_equal(driver_replay(again, recording, room, &watch, &result), ERR_NONE);
    assert_memory_equal(&gateway_counters(again)->io, &want, sizeof(want));
    gateway_deinit(gw);
    gateway_deinit(again);
    free(room.at);
    free(memory[0]);
    free(memory[1]);
    free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(offloads_are_told_once_per_change_and_replayed),
        cmocka_unit_test(counters_are_told_before_an_event_and_replayed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
