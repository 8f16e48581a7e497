/* new_gateway: a small gateway without a world, for tests of what drives it or is chosen early. */
#ifndef TESTS_PLATFORM_NEW_GATEWAY_H
#define TESTS_PLATFORM_NEW_GATEWAY_H

#include <stdlib.h>
#include <string.h>

#include "gateway/gateway.h"
#include "tests/support/support.h"

/* *memory: to be freed after gateway_deinit(). */
static inline struct gateway *new_gateway(void **memory)
{
    struct gateway_limits limits = {8, 4, 8, 256, 64, 16, 4, 4, 4};
    struct gateway_config config = {.api_url = view_text("ws://portal.example"),
                                    .token = view_text("t"),
                                    .firezone_id = view_text("i"),
                                    .name = view_text("n"),
                                    .user_agent = view_text("a")};
    struct clock_pair now = {{NS_PER_S}, NS_PER_S};
    static const uint8_t seed[32] = {1};
    struct gateway *gw = NULL;
    size_t size = (gateway_size(&limits) + 63) / 64 * 64;
    *memory = aligned_alloc(64, size);
    assert_non_null(*memory);
    memset(*memory, 0, size);
    assert_int_equal(
        gateway_init(*memory, &limits, &config, now, seed, (struct trace){NULL, NULL}, &gw),
        ERR_NONE);
    return gw;
}

#endif /* TESTS_PLATFORM_NEW_GATEWAY_H */
