#include "platform/linux/linux_checksum.h"

#include <string.h>

bool linux_checksum_parse(const char *text, enum linux_checksum *out)
{
    static const char *const names[] = {[LINUX_CHECKSUM_AUTO] = "auto",
                                        [LINUX_CHECKSUM_PORTABLE] = "portable",
                                        [LINUX_CHECKSUM_AVX2] = "avx2",
                                        [LINUX_CHECKSUM_AVX512] = "avx512"};
    for (unsigned i = 0; i < ARRAY_COUNT(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (enum linux_checksum)i;
            return true;
        }
    }
    return false;
}

bool linux_checksum_has(enum gateway_checksum checksum)
{
#if defined(__x86_64__)
    switch (checksum) {
    case GATEWAY_CHECKSUM_AVX2:
        return __builtin_cpu_supports("avx2") != 0;
    case GATEWAY_CHECKSUM_AVX512:
        return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0;
    case GATEWAY_CHECKSUM_PORTABLE:
    case GATEWAY_CHECKSUM_COUNT:
        break;
    }
#endif
    return checksum == GATEWAY_CHECKSUM_PORTABLE;
}

static enum err use(struct gateway *gateway, enum gateway_checksum checksum)
{
    return linux_checksum_has(checksum) ? gateway_use_checksum(gateway, checksum) : ERR_UNSUPPORTED;
}

enum err linux_checksum_choose(struct gateway *gateway, enum linux_checksum wanted)
{
    switch (wanted) {
    case LINUX_CHECKSUM_AUTO:
        if (use(gateway, GATEWAY_CHECKSUM_AVX512) == ERR_NONE ||
            use(gateway, GATEWAY_CHECKSUM_AVX2) == ERR_NONE) {
            return ERR_NONE;
        }
        return use(gateway, GATEWAY_CHECKSUM_PORTABLE);
    case LINUX_CHECKSUM_PORTABLE:
        return use(gateway, GATEWAY_CHECKSUM_PORTABLE);
    case LINUX_CHECKSUM_AVX2:
        return use(gateway, GATEWAY_CHECKSUM_AVX2);
    case LINUX_CHECKSUM_AVX512:
        return use(gateway, GATEWAY_CHECKSUM_AVX512);
    }
    UNREACHABLE();
}
