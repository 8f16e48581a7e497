#include "tests/bench/bench.h"
#include "platform/linux/linux_checksum.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "base/assert.h"
#include "base/time.h"

static volatile uint64_t kept;

void bench_keep(uint64_t value)
{
    kept = value;
}

static uint64_t read_clock(clockid_t clock)
{
    struct timespec t;
    int failed = clock_gettime(clock, &t);
    ASSERT(failed == 0);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t bench_now_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t bench_cpu_ns(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t bench_clock_ns(void)
{
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t start = bench_cpu_ns();
        uint64_t took = bench_cpu_ns() - start;
        least = took < least ? took : least;
    }
    return least;
}

struct samples {
    uint64_t tenths[BENCH_ROUNDS_MAX * BENCH_AGAIN]; /* of a nanosecond, per operation */
    uint32_t count;
};

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* One round of a case. */
static void sample(const struct bench_case *c, void (*again)(void *self), struct samples *out)
{
    static uint64_t clock;
    if (clock == 0) {
        clock = bench_clock_ns();
    }
    if (c->prepare != NULL) {
        c->prepare(c->self);
    }
    for (unsigned i = 0; i < (again == NULL ? 1 : BENCH_AGAIN); i++) {
        if (i > 0) {
            again(c->self);
        }
        uint64_t start = bench_cpu_ns();
        c->run(c->self);
        uint64_t took = bench_cpu_ns() - start;
        took = took > clock ? took - clock : 0;
        out->tenths[out->count++] = took * 10U / c->operations;
    }
}

/* "model name" of the first processor. */
static void read_cpu(char *out, size_t size)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");
    (void)snprintf(out, size, "unknown");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon != NULL) {
            colon[strcspn(colon, "\n\"\\")] = '\0';
            (void)snprintf(out, size, "%s", colon + 2);
            break;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
}

#define RESULTS_MAX 512U

static struct bench_result results[RESULTS_MAX];
static size_t results_count;

const struct checksum_backend *bench_sums_of(const char *name)
{
    enum linux_checksum wanted;
    if (!linux_checksum_parse(name, &wanted)) {
        return NULL;
    }
    for (int kind = GATEWAY_CHECKSUM_COUNT - 1; kind >= 0; kind--) {
        bool is_wanted = wanted == LINUX_CHECKSUM_AUTO || (int)wanted == kind + 1;
        if (is_wanted && linux_checksum_has((enum gateway_checksum)kind)) {
            return checksum_backend_of((enum checksum_kind)kind);
        }
    }
    return NULL;
}

static void print_json(const struct bench_report *report, const struct bench_result *r)
{
    struct utsname kernel;
    char cpu[128];
    FILE *file = report->json_path == NULL ? NULL : fopen(report->json_path, "a");
    if (file == NULL || uname(&kernel) != 0) {
        return;
    }
    read_cpu(cpu, sizeof(cpu));
    (void)fprintf(file,
                  "{\"id\":\"%s\",\"params\":\"%s\",\"median\":%llu.%llu,\"min\":%llu.%llu,"
                  "\"max\":%llu.%llu,\"n\":%u,\"unit\":\"%s\",\"commit\":\"%s\",\"cpu\":\"%s\","
                  "\"checksums\":\"%s\",\"kernel\":\"%s\"}\n",
                  r->id, r->params, (unsigned long long)r->median / 10,
                  (unsigned long long)r->median % 10, (unsigned long long)r->min / 10,
                  (unsigned long long)r->min % 10, (unsigned long long)r->max / 10,
                  (unsigned long long)r->max % 10, r->count, r->unit, report->commit, cpu,
                  report->sums->name, kernel.release);
    (void)fclose(file);
}

void bench_result(const struct bench_report *report, const struct bench_result *result)
{
    struct bench_result r = *result;
    if (r.min == 0 && r.max == 0) {
        r.min = r.median;
        r.max = r.median;
    }
    printf("%-14s %-46s %8llu.%llu  %8llu.%llu  %s\n", r.id, r.params,
           (unsigned long long)r.median / 10, (unsigned long long)r.median % 10,
           (unsigned long long)r.min / 10, (unsigned long long)r.min % 10, r.unit);
    print_json(report, &r);
    ASSERT(results_count < RESULTS_MAX);
    results[results_count++] = r;
}

uint64_t bench_measured(const char *name, bool *is_known)
{
    char own[160];
    for (size_t i = 0; i < results_count; i++) {
        (void)snprintf(own, sizeof(own), "%s %s", results[i].id, results[i].params);
        if (strcmp(own, name) == 0) {
            *is_known = true;
            return results[i].median;
        }
    }
    *is_known = false;
    return 0;
}

static void tell_samples(const struct bench_report *report, const struct bench_case *c,
                         const struct samples *s)
{
    static char unit[32];
    struct bench_result r = {.id = c->id,
                             .unit = unit,
                             .median = s->tenths[s->count / 2],
                             .min = s->tenths[0],
                             .max = s->tenths[s->count - 1],
                             .count = s->count};
    (void)snprintf(unit, sizeof(unit), "ns/%s", c->unit);
    (void)snprintf(r.params, sizeof(r.params), "%s", c->params);
    bench_result(report, &r);
}

bool bench_wants(const struct bench_report *report, const char *id)
{
    size_t len = report->only == NULL ? 0 : strlen(report->only);
    size_t own = strlen(id);
    return report->only == NULL || strncmp(report->only, id, len < own ? len : own) == 0;
}

bool bench_wants_any(const struct bench_report *report, const char *ids)
{
    char copy[128];
    (void)snprintf(copy, sizeof(copy), "%s", ids);
    for (char *id = strtok(copy, " "); id != NULL; id = strtok(NULL, " ")) {
        if (bench_wants(report, id)) {
            return true;
        }
    }
    return false;
}

/* `only` is the beginning of "id parameters". */
static bool wants(const struct bench_report *report, const struct bench_case *c)
{
    char name[160];
    (void)snprintf(name, sizeof(name), "%s %s", c->id, c->params);
    return report->only == NULL || strncmp(name, report->only, strlen(report->only)) == 0;
}

void bench_group(const struct bench_report *report, const struct bench_case *cases, size_t count)
{
    struct samples *samples = calloc(count, sizeof(*samples));
    struct samples warm = {{0}, 0};
    ASSERT(samples != NULL && count <= BENCH_CASES_MAX);
    uint64_t end = bench_now_ns() + (uint64_t)report->budget_ms * NS_PER_MS;
    uint32_t least = report->rounds_min > 0 ? report->rounds_min : BENCH_ROUNDS_MIN;
    for (uint32_t round = 0; round <= BENCH_ROUNDS_MAX; round++) {
        if (round > least && bench_now_ns() > end) {
            break;
        }
        for (size_t i = 0; i < count; i++) {
            warm.count = 0;
            if (wants(report, &cases[i])) {
                sample(&cases[i], report->again, round == 0 ? &warm : &samples[i]);
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (samples[i].count > 0) {
            qsort(samples[i].tenths, samples[i].count, sizeof(uint64_t), compare);
            tell_samples(report, &cases[i], &samples[i]);
        }
    }
    (void)fflush(stdout);
    free(samples);
}

/* ---- a cipher without work ---- */

static void null_seal(void *ctx, struct aead_item *items, size_t count)
{
    (void)ctx;
    for (size_t i = 0; i < count; i++) {
        memset(items[i].data + items[i].len, 0, AEAD_TAG_SIZE);
    }
}

static void null_open(void *ctx, struct aead_item *items, size_t count)
{
    (void)ctx;
    for (size_t i = 0; i < count; i++) {
        items[i].ok = true;
    }
}

struct aead_backend bench_null_aead(void)
{
    return (struct aead_backend){.name = "null", .seal = null_seal, .open = null_open, .ctx = NULL};
}
