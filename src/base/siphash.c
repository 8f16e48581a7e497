#include "base/siphash.h"

uint64_t siphash13(const struct siphash_key *key, struct view bytes)
{
    struct siphash_state s = siphash_start(key);
    size_t whole = bytes.len / 8 * 8;
    for (size_t i = 0; i < whole; i += 8) {
        siphash_word(&s, load_le64(bytes.at + i));
    }
    uint64_t last = (uint64_t)(bytes.len & 0xffU) << 56;
    for (size_t i = whole; i < bytes.len; i++) {
        last |= (uint64_t)bytes.at[i] << (8 * (i - whole));
    }
    siphash_word(&s, last);
    return siphash_end(&s);
}
