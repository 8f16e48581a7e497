/* bench_growth: curves over peers and flows, on a world that has them. */
#ifndef TESTS_BENCH_GROWTH_H
#define TESTS_BENCH_GROWTH_H

#include "tests/bench/bench.h"
#include "tests/bench/bench_world.h"

/* The world has all its clients connected and world_open_flows() has made WORLD_FLOWS flows. */
void bench_growth(const struct bench_report *report, struct world *world);

#endif /* TESTS_BENCH_GROWTH_H */
