/* The benchmarks that need no kernel. usage: bench [--json FILE] [--commit ID] [--ms N] [--only ID]
 *        bench --counts    (under callgrind, see counts.sh)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "tests/bench/bench.h"

int main(int argc, char **argv)
{
    struct bench_report report = {NULL, "unknown", NULL, 2000};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--json") == 0) {
            report.json_path = argv[i + 1];
        } else if (strcmp(argv[i], "--commit") == 0) {
            report.commit = argv[i + 1];
        } else if (strcmp(argv[i], "--only") == 0) {
            report.only = argv[i + 1];
        } else if (strcmp(argv[i], "--ms") == 0) {
            report.budget_ms = (uint32_t)strtoul(argv[i + 1], NULL, 10);
        } else {
            (void)fprintf(stderr,
                          "usage: bench [--json FILE] [--commit ID] [--ms N] [--only ID]\n");
            return 2;
        }
    }
    if (argc == 2 && strcmp(argv[1], "--counts") == 0 && sodium_init() >= 0) {
        bench_counts();
        return 0;
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (sodium_init() < 0) {
        return 1;
    }
    printf("%-14s %-46s %10s  %10s\n", "id", "parameters", "median", "min");
    bench_micro(&report);
    bench_parts(&report);
    bench_tables(&report);
    bench_core(&report);
    bench_control(&report);
    bench_targets(bench_best_aead());
    return 0;
}
