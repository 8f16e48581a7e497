/* policy_hash: the keyed hash of an address and a few facts beside it. Every packet that belongs to
 * a flow takes one, so the key is made of words and not of bytes. */
#ifndef POLICY_HASH_H
#define POLICY_HASH_H

#include "base/addr.h"
#include "base/siphash.h"

/* Hashes `facts`, whose upper byte must be free, with `ip`. */
MUST_USE static inline uint64_t policy_hash_of(const struct siphash_key *key, uint64_t facts,
                                               const struct ip_addr *ip)
{
    uint64_t words[3] = {facts | (uint64_t)ip->family << 56U, load_le64(ip->bytes), 0};
    if (ip->family != IP_V6) {
        return siphash13_words(key, words, 2);
    }
    words[2] = load_le64(ip->bytes + 8);
    return siphash13_words(key, words, 3);
}

#endif /* POLICY_HASH_H */
