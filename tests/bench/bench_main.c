/* The benchmarks that need no kernel. usage: bench [--json FILE] [--commit ID] [--ms N] [--only ID]
 *              [--checksum auto|portable|avx2|avx512]
 *        bench --counts    (under callgrind, see counts.sh)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "platform/linux/linux_malloc.h"
#include "tests/bench/bench.h"

int main(int argc, char **argv)
{
    struct bench_report report = {
        .commit = "unknown", .budget_ms = 2000, .sums = bench_sums_of("auto")};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--json") == 0) {
            report.json_path = argv[i + 1];
        } else if (strcmp(argv[i], "--commit") == 0) {
            report.commit = argv[i + 1];
        } else if (strcmp(argv[i], "--only") == 0) {
            report.only = argv[i + 1];
        } else if (strcmp(argv[i], "--ms") == 0) {
            report.budget_ms = (uint32_t)strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--checksum") == 0) {
            report.sums = bench_sums_of(argv[i + 1]);
            if (report.sums == NULL) {
                printf("SKIPPED: this processor has no checksums of the kind %s\n", argv[i + 1]);
                return 0;
            }
        } else {
            (void)fprintf(stderr, "usage: bench [--json FILE] [--commit ID] [--ms N] [--only ID] "
                                  "[--checksum NAME]\n");
            return 2;
        }
    }
    linux_malloc_in_pieces(); /* as the program does */
    if (argc == 2 && strcmp(argv[1], "--counts") == 0 && sodium_init() >= 0) {
        bench_counts();
        return 0;
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (sodium_init() < 0) {
        return 1;
    }
    printf("checksums of the whole core: %s\n", report.sums->name);
    printf("%-14s %-46s %10s  %10s\n", "id", "parameters", "median", "min");
    bench_micro(&report);
    bench_parts(&report);
    bench_tables(&report);
    bench_core(&report);
    bench_control(&report);
    bench_targets(bench_best_aead());
    return 0;
}
