#include "platform/linux/linux_aead.h"

#include <string.h>
#include <time.h>

#define PASSES  2U /* over all, so that one slow moment does not hit every round of one of them */
#define ROUNDS  4U /* the quickest counts: anything slower was disturbed */
#define BATCHES 2U
#define PACKET  GATEWAY_INNER_MTU

bool linux_aead_parse(const char *text, enum linux_aead *out)
{
    static const char *const names[] = {
        [LINUX_AEAD_AUTO] = "auto", [LINUX_AEAD_LIBSODIUM] = "libsodium", [LINUX_AEAD_SSE] = "sse",
        [LINUX_AEAD_AVX2] = "avx2", [LINUX_AEAD_AVX512] = "avx512",
    };
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (enum linux_aead)i;
            return true;
        }
    }
    return false;
}

/* Time that this thread had the processor: on a busy machine the clock on the wall measures the
 * neighbours. */
static uint64_t now_ns(void)
{
    struct timespec t = {0};
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* Nanoseconds of the quickest round; UINT64_MAX when the backend does not work here. */
static uint64_t measure(struct gateway *gateway, enum gateway_aead aead)
{
    uint64_t best = UINT64_MAX;
    if (gateway_use_aead(gateway, aead) != ERR_NONE ||
        !gateway_aead_trial(gateway, BATCHES, PACKET)) {
        return UINT64_MAX;
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t start = now_ns();
        bool ok = gateway_aead_trial(gateway, BATCHES, PACKET);
        uint64_t took = now_ns() - start;
        if (!ok) {
            return UINT64_MAX;
        }
        best = took < best ? took : best;
    }
    return best;
}

static enum gateway_aead find_fastest(struct gateway *gateway)
{
    enum gateway_aead fastest = GATEWAY_AEAD_LIBSODIUM;
    uint64_t best = UINT64_MAX;
    for (unsigned i = 0; i < PASSES * GATEWAY_AEAD_COUNT; i++) {
        uint64_t took = measure(gateway, (enum gateway_aead)(i % GATEWAY_AEAD_COUNT));
        if (took < best) {
            best = took;
            fastest = (enum gateway_aead)(i % GATEWAY_AEAD_COUNT);
        }
    }
    return fastest;
}

enum err linux_aead_choose(struct gateway *gateway, enum linux_aead wanted)
{
    switch (wanted) {
    case LINUX_AEAD_AUTO:
        return gateway_use_aead(gateway, find_fastest(gateway));
    case LINUX_AEAD_LIBSODIUM:
        return gateway_use_aead(gateway, GATEWAY_AEAD_LIBSODIUM);
    case LINUX_AEAD_SSE:
        return gateway_use_aead(gateway, GATEWAY_AEAD_IPSEC_SSE);
    case LINUX_AEAD_AVX2:
        return gateway_use_aead(gateway, GATEWAY_AEAD_IPSEC_AVX2);
    case LINUX_AEAD_AVX512:
        return gateway_use_aead(gateway, GATEWAY_AEAD_IPSEC_AVX512);
    }
    UNREACHABLE();
}
