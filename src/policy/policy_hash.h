/* policy_hash: the keyed hash of an address and a few facts beside it. Every packet that belongs to
 * a flow takes one, so the key is made of words and not of bytes. */
#ifndef POLICY_HASH_H
#define POLICY_HASH_H

#include "base/addr.h"
#include "base/siphash.h"

/* SipHash of the word `facts`, with the family in the upper byte that must be free, and the
 * address: of IPv4 what is left beside the length in the last word, of IPv6 two words. */
MUST_USE static inline uint64_t policy_hash_at(const struct siphash_key *key, uint64_t facts,
                                               uint8_t family, const uint8_t *address)
{
    struct siphash_state s = siphash_start(key);
    siphash_word(&s, facts | (uint64_t)family << 56U);
    if (family == IP_V6) {
        siphash_word(&s, load_le64(address));
        siphash_word(&s, load_le64(address + 8));
        siphash_word(&s, UINT64_C(24) << 56U);
    } else {
        siphash_word(&s, UINT64_C(12) << 56U | load_le32(address));
    }
    return siphash_end(&s);
}

MUST_USE static inline uint64_t policy_hash_of(const struct siphash_key *key, uint64_t facts,
                                               const struct ip_addr *ip)
{
    return policy_hash_at(key, facts, ip->family, ip->bytes);
}

#endif /* POLICY_HASH_H */
