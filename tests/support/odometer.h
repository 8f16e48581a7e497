/* odometer: every sequence of choices, one run each.
 *
 *   uint64_t runs = odometer_run(scene);
 *
 * The scene asks odometer_choose() at each choice point; later choices may depend on earlier ones.
 * Source: spec/simulation.md S-23.
 */
#ifndef TESTS_ODOMETER_H
#define TESTS_ODOMETER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/assert.h"

#define ODOMETER_MAX 16U

struct odometer {
    uint8_t digits[ODOMETER_MAX];
    uint8_t limits[ODOMETER_MAX];
    uint32_t at;   /* choices made in this run */
    uint64_t runs; /* that have ended */
};

/* One of 0 .. count - 1. */
static inline uint32_t odometer_choose(struct odometer *o, uint8_t count)
{
    ASSERT(o->at < ODOMETER_MAX && count > 0);
    o->limits[o->at] = count;
    ASSERT(o->digits[o->at] < count); /* else the scene is not a function of its choices */
    return o->digits[o->at++];
}

/* Ends a run; false when there is no other. */
static inline bool odometer_next(struct odometer *o)
{
    uint32_t used = o->at;
    o->runs++;
    o->at = 0;
    while (used > 0 && o->digits[used - 1] + 1U == o->limits[used - 1]) {
        o->digits[--used] = 0;
    }
    if (used == 0) {
        return false;
    }
    o->digits[used - 1]++;
    return true;
}

/* Runs the scene once for each sequence; returns how many there are. */
static inline uint64_t odometer_run(void (*scene)(struct odometer *o))
{
    struct odometer o = {0};
    do {
        scene(&o);
    } while (odometer_next(&o));
    return o.runs;
}

#endif /* TESTS_ODOMETER_H */
