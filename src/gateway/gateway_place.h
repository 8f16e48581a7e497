/* gateway_place: a fair share of a small table that strangers fill, such as connections to a
 * listener.
 *
 * Every place has a holder, named by its address. In a full table a newcomer whose holder has less
 * than others takes a place from who has most; so nobody who fills the table keeps others out.
 */
#ifndef GATEWAY_PLACE_H
#define GATEWAY_PLACE_H

#include "base/addr.h"
#include "base/attr.h"
#include "base/time.h"

struct gateway_place {
    struct ip_addr holder;
    struct instant since; /* the oldest goes first */
    bool is_idle;         /* nobody waits for anything there */
};

/* Which of `count` taken places the newcomer gets: one of the holder with most, if that one has at
 * least two more than the newcomer; an idle one is enough if it has one more. `count`: none. */
MUST_USE size_t gateway_place_find(const struct gateway_place *places, size_t count,
                                   const struct ip_addr *newcomer);

#endif /* GATEWAY_PLACE_H */
