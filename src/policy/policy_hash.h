/* policy_hash: the keyed hash of an address and a few facts beside it. Every packet that belongs to
 * a flow takes one, so the key is made of words and not of bytes. */
#ifndef POLICY_HASH_H
#define POLICY_HASH_H

#include "base/addr.h"
#include "base/siphash.h"

/* SipHash of the words `facts`, with the family in the upper byte that must be free, and the
 * address: one of IPv4, two of IPv6. */
MUST_USE static inline uint64_t policy_hash_of(const struct siphash_key *key, uint64_t facts,
                                               const struct ip_addr *ip)
{
    struct siphash_state s = siphash_start(key);
    uint64_t length = 16;
    siphash_word(&s, facts | (uint64_t)ip->family << 56U);
    siphash_word(&s, load_le64(ip->bytes));
    if (ip->family == IP_V6) {
        siphash_word(&s, load_le64(ip->bytes + 8));
        length = 24;
    }
    siphash_word(&s, length << 56U);
    return siphash_end(&s);
}

#endif /* POLICY_HASH_H */
