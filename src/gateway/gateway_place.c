#include "gateway/gateway_place.h"

static size_t count_of(const struct gateway_place *places, size_t count,
                       const struct ip_addr *holder)
{
    size_t held = 0;
    for (size_t i = 0; i < count; i++) {
        held += ip_equal(&places[i].holder, holder) ? 1 : 0;
    }
    return held;
}

size_t gateway_place_find(const struct gateway_place *places, size_t count,
                          const struct ip_addr *newcomer)
{
    size_t own = count_of(places, count, newcomer);
    size_t best = count;
    size_t most = 0;
    if (2 * own >= count) {
        return count; /* nobody can have two more; this is what a flood costs */
    }
    for (size_t i = 0; i < count; i++) {
        const struct gateway_place *place = &places[i];
        size_t held = count_of(places, count, &place->holder);
        if (held < own + 2 && (held < own + 1 || !place->is_idle)) {
            continue;
        }
        if (held > most || (held == most && instant_before(place->since, places[best].since))) {
            most = held;
            best = i;
        }
    }
    return best;
}
