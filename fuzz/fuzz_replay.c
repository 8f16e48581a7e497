/* fuzz_replay: a damaged file of `--record`: what stands in front of it, and the inputs fed back
 * into a whole gateway. The first byte chooses. Nothing but ERR_SYNTAX may come of it; every
 * invariant holds afterwards. */
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "platform/driver.h"
#include "platform/driver_replay.h"
#include "platform/driver_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct gateway_limits limits = {
    .clients = 2,
    .relays = 2,
    .resources_per_client = 4,
    .nat_sessions = 16,
    .nat_sessions_per_client = 8,
    .nat_expired_per_client = 4,
    .lookups = 2,
    .dns_cache = 2,
};

/* Memory as a gateway gets it: zeroed, and touched only where it is used. */
static void *fresh_memory(void)
{
    static void *memory;
    size_t size = gateway_size(&limits);
    if (memory == NULL) {
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ASSERT(memory != MAP_FAILED);
    }
    int failed = madvise(memory, size, MADV_DONTNEED);
    ASSERT(failed == 0);
    return memory;
}

static struct gateway *build(void)
{
    static const uint8_t seed[32] = {1};
    struct gateway_config config = {
        .api_url = view_text("ws://127.0.0.1:4000"),
        .token = view_text("token"),
        .firezone_id = view_text("id"),
        .name = view_text("name"),
        .user_agent = view_text("Test/1.0.0 connlib/1.5.2"),
        .partition_max_s = 86400,
    };
    struct clock_pair start = {{NS_PER_S}, UINT64_C(1700000000) * NS_PER_S};
    struct gateway *gateway = NULL;
    enum err err =
        gateway_init(fresh_memory(), &limits, &config, start, seed, (struct trace){0}, &gateway);
    ASSERT(err == ERR_NONE);
    return gateway;
}

static void feed(struct view recording)
{
    static uint8_t room[DRIVER_REPLAY_ROOM];
    struct gateway *gateway = build();
    struct driver_replay_result result;
    enum err err = driver_replay(gateway, recording, (struct span){room, sizeof(room)},
                                 &(struct driver_replay_watch){0}, &result);
    ASSERT(err == ERR_NONE || err == ERR_SYNTAX);
    gateway_check(gateway);
    gateway_deinit(gateway);
}

/* What is understood is written and read again to the same. */
static void decode(struct view bytes)
{
    static uint8_t first[DRIVER_RUN_MAX];
    static uint8_t second[DRIVER_RUN_MAX];
    struct driver_run run;
    struct view rest;
    if (!driver_run_decode(bytes, &run, &rest)) {
        return;
    }
    ASSERT(rest.len < bytes.len);
    struct writer w = writer_of((struct span){first, sizeof(first)});
    if (!driver_run_encode(&run, &w)) {
        return; /* longer than a driver writes */
    }
    struct view again = writer_view(&w);
    bool ok = driver_run_decode(again, &run, &rest);
    ASSERT(ok && rest.len == 0);
    w = writer_of((struct span){second, sizeof(second)});
    ok = driver_run_encode(&run, &w);
    ASSERT(ok && view_equal(again, writer_view(&w)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct view rest = {data + 1, size - 1};
    if (data[0] == 0) {
        decode(rest);
    } else {
        feed(rest);
    }
    return 0;
}
