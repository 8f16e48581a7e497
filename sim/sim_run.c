#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/sim_command.h"
#include "sim/sim_pcap.h"
#include "sim/sim_timeline.h"

/* The only way for panic_at() to reach the run in progress: it has no context. */
static const struct sim_world *watched;
static uint64_t watched_seed;

void sim_watch(const struct sim_world *world, uint64_t seed)
{
    watched = world;
    watched_seed = seed;
}

void sim_print_panic(const char *file, int line, const char *what)
{
    uint64_t now = watched == NULL ? 0 : sim_world_now(watched);
    (void)printf("ASSERT at %" PRIu64 ".%06" PRIu64
                 " s: %s:%d: %s; reproduce: fzsim --seed %" PRIu64 "\n",
                 now / NS_PER_S, now % NS_PER_S / NS_PER_US, file, line, what, watched_seed);
    if (watched != NULL) {
        sim_trace_dump(sim_world_trace(watched), stdout);
    }
    (void)fflush(stdout);
}

void sim_print_hex(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        (void)printf("%02x", bytes[i]);
    }
}

void sim_print_reproduce(const struct sim_arguments *arguments, uint64_t seed)
{
    if (arguments->actions != NULL) {
        (void)printf("reproduce: fzsim --actions %s", arguments->actions);
    } else {
        (void)printf("reproduce: fzsim --seed %" PRIu64, seed);
    }
    for (unsigned i = 0; i < arguments->overrides_count; i++) {
        (void)printf(" --set %s", arguments->overrides[i]);
    }
    (void)printf("\n");
}

static void print_report(const struct sim_report *r)
{
    (void)printf("events %" PRIu64 ", records %" PRIu64 ", simulated %" PRIu64 " s, boots %" PRIu64
                 ", datagrams %" PRIu64 ", drops %" PRIu64 "\n",
                 r->events, r->records, r->simulated_ns / NS_PER_S, r->boots, r->datagrams,
                 r->drops);
    (void)printf("probes %" PRIu64 ": inside %" PRIu64 ", replied %" PRIu64 ", refused %" PRIu64
                 ", required %" PRIu64 "; TCP finished %" PRIu64 ", failed %" PRIu64
                 "; paths direct %" PRIu64 ", relayed %" PRIu64 "\n",
                 r->probes, r->probes_inside, r->probes_replied, r->probes_refused, r->required,
                 r->tcp_finished, r->tcp_failed, r->direct_paths, r->relay_paths);
    for (uint32_t i = 0; i < SIM_ACTION_COUNT; i++) {
        if (r->actions[i] != 0) {
            (void)printf("%s %" PRIu64 "\n", sim_action_name((enum sim_action_kind)i),
                         r->actions[i]);
        }
    }
}

static void print_checkpoints(const struct sim_trace *trace)
{
    for (size_t i = 0;; i++) {
        const uint8_t *digest = sim_trace_checkpoint(trace, i);
        if (digest == NULL) {
            return;
        }
        (void)printf("checkpoint %zu ", i);
        sim_print_hex(digest, SIM_DIGEST_SIZE);
        (void)printf("\n");
    }
}

/* One record with all its bytes, so that two programs can be compared. */
static void print_record(void *self, const struct sim_record *record)
{
    const struct sim_arguments *arguments = self;
    if (record->sequence < arguments->records_first || record->sequence >= arguments->records_end) {
        return;
    }
    (void)printf("record %u %" PRIu64 ".%09" PRIu64 " node %u %s ", record->sequence,
                 record->at_ns / NS_PER_S, record->at_ns % NS_PER_S, record->node,
                 sim_kind_name(record->kind));
    sim_print_hex(record->bytes.at, record->bytes.len);
    (void)printf("\n");
}

/* Where the records of a run go besides its digest. */
struct outlets {
    struct sim_arguments arguments;
    struct sim_trace_tap taps[3];
    size_t count;
    FILE *file;
    struct sim_pcap *pcap;
    struct sim_timeline *timeline;
};

static bool open_outlets(const struct sim_arguments *arguments, const struct sim_list *list,
                         struct outlets *out)
{
    memset(out, 0, sizeof(*out));
    out->arguments = *arguments;
    if (arguments->records_end > arguments->records_first) {
        out->taps[out->count++] = (struct sim_trace_tap){print_record, &out->arguments};
    }
    if (arguments->timeline) {
        out->timeline = sim_timeline_new(stdout);
        out->taps[out->count++] = (struct sim_trace_tap){sim_timeline_see, out->timeline};
    }
    if (arguments->pcap != NULL) {
        char comment[64];
        (void)snprintf(comment, sizeof(comment), "fzsim --seed %" PRIu64, list->seed);
        out->file = fopen(arguments->pcap, "wb");
        if (out->file == NULL) {
            (void)fprintf(stderr, "%s: %s\n", arguments->pcap, strerror(errno));
            return false;
        }
        out->pcap = sim_pcap_new(out->file, comment);
        out->taps[out->count++] = (struct sim_trace_tap){sim_pcap_see, out->pcap};
    }
    return true;
}

static void write_keys(const struct sim_world *world, struct outlets *outlets)
{
    uint8_t key[32];
    for (uint32_t i = 0; outlets->pcap != NULL && sim_world_client_key(world, i, key); i++) {
        sim_pcap_key(outlets->pcap, key);
    }
}

static bool close_outlets(struct outlets *outlets)
{
    sim_pcap_free(outlets->pcap);
    sim_timeline_free(outlets->timeline);
    return outlets->file == NULL || fclose(outlets->file) == 0;
}

enum sim_exit sim_run_list(const struct sim_arguments *arguments, const struct sim_list *list,
                           uint8_t digest[SIM_DIGEST_SIZE])
{
    struct outlets outlets;
    if (!open_outlets(arguments, list, &outlets)) {
        memset(digest, 0, SIM_DIGEST_SIZE);
        return SIM_EXIT_ENVIRONMENT;
    }
    struct sim_world_config config = {
        .list = list,
        .verbose = arguments->verbose ? stdout : NULL,
        .taps = outlets.taps,
        .taps_count = outlets.count,
        .verbose_from_ns = arguments->from_s * NS_PER_S,
        .record = arguments->record,
        .until_ns = arguments->until_s * NS_PER_S,
    };
    struct sim_world *world = sim_world_new(&config);
    write_keys(world, &outlets);
    sim_watch(world, list->seed);
    const struct sim_failure *failure = sim_world_run(world);
    sim_trace_digest(sim_world_trace(world), digest);
    enum sim_exit code = SIM_EXIT_GOOD;
    if (failure->oracle != NULL) {
        code = failure->oracle[0] == 'L' ? SIM_EXIT_LIVENESS : SIM_EXIT_SAFETY;
        (void)printf("%s at %" PRIu64 ".%06" PRIu64 " s; ", failure->oracle,
                     failure->at_ns / NS_PER_S, failure->at_ns % NS_PER_S / NS_PER_US);
        sim_print_reproduce(arguments, list->seed);
        (void)printf("  %s\n", failure->text);
        if (!arguments->quiet) {
            sim_trace_dump(sim_world_trace(world), stdout);
        }
    }
    struct sim_report report;
    sim_world_report(world, &report);
    if (arguments->campaign != NULL) {
        sim_campaign_add(arguments->campaign, list->seed, &report, sim_world_states(world));
    } else if (arguments->report) {
        print_report(&report);
        const struct sim_state_sets *states = sim_world_states(world);
        (void)printf("states %" PRIu64 ", pairs %" PRIu64 "\n", sim_states_count(states->states),
                     sim_states_count(states->pairs));
    }
    if (arguments->digest) {
        print_checkpoints(sim_world_trace(world));
    }
    sim_watch(NULL, 0);
    sim_world_free(world);
    return close_outlets(&outlets) ? code : SIM_EXIT_ENVIRONMENT;
}

static void print_options(const struct sim_options *options)
{
    for (uint32_t i = 0; i < sim_options_count(); i++) {
        (void)printf("%s=%u%s\n", sim_option_name(i), sim_option_get(options, i),
                     sim_option_get(options, i) == sim_option_simple(i) ? "" : " *");
    }
}

static bool apply_overrides(const struct sim_arguments *arguments, struct sim_options *options)
{
    for (unsigned i = 0; i < arguments->overrides_count; i++) {
        char name[64];
        const char *equals = strchr(arguments->overrides[i], '=');
        size_t len = equals == NULL ? 0 : (size_t)(equals - arguments->overrides[i]);
        if (len == 0 || len >= sizeof(name)) {
            return false;
        }
        memcpy(name, arguments->overrides[i], len);
        name[len] = '\0';
        if (!sim_option_set(options, name, strtoull(equals + 1, NULL, 10))) {
            return false;
        }
    }
    return true;
}

/* Options and actions of a run. */
static bool load(const struct sim_arguments *arguments, uint64_t seed, struct sim_list *list)
{
    if (arguments->actions == NULL) {
        struct sim_options options = sim_options_draw(seed);
        bool good = apply_overrides(arguments, &options);
        *list = sim_list_generate(seed, &options);
        return good;
    }
    FILE *file = fopen(arguments->actions, "r");
    unsigned line = 0;
    if (file == NULL) {
        (void)fprintf(stderr, "%s: %s\n", arguments->actions, strerror(errno));
        return false;
    }
    enum err err = sim_list_load(file, list, &line);
    (void)fclose(file);
    if (err != ERR_NONE) {
        (void)fprintf(stderr, "%s:%u: %s\n", arguments->actions, line, err_text(err));
        return false;
    }
    return apply_overrides(arguments, &list->options);
}

bool sim_load(const struct sim_arguments *arguments, uint64_t seed, struct sim_list *list)
{
    bool good = load(arguments, seed, list);
    if (good && arguments->record != NULL) {
        list->options.fault_points = 0; /* a recording holds inputs, not what fires inside */
    }
    return good;
}

bool sim_save(const char *path, const struct sim_list *list)
{
    if (path == NULL) {
        return true;
    }
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return false;
    }
    sim_list_save(list, file);
    return fclose(file) == 0;
}

enum sim_exit sim_run_seed(const struct sim_arguments *arguments, uint64_t seed)
{
    struct sim_list list;
    if (!sim_load(arguments, seed, &list) || !sim_save(arguments->save, &list)) {
        return SIM_EXIT_ENVIRONMENT;
    }
    if (arguments->options) {
        print_options(&list.options);
    }
    uint8_t digest[SIM_DIGEST_SIZE];
    enum sim_exit code = sim_run_list(arguments, &list, digest);
    if (arguments->twice) {
        uint8_t again[SIM_DIGEST_SIZE];
        (void)sim_run_list(arguments, &list, again);
        if (memcmp(digest, again, sizeof(digest)) != 0) {
            (void)printf("S-11 not deterministic; ");
            sim_print_reproduce(arguments, list.seed);
            code = SIM_EXIT_DETERMINISM;
        }
    }
    if (!arguments->quiet) {
        (void)printf("seed %" PRIu64 " %s digest ", list.seed,
                     code == SIM_EXIT_GOOD ? "ok" : "failed");
        sim_print_hex(digest, sizeof(digest));
        (void)printf("\n");
    }
    sim_list_free(&list);
    (void)fflush(stdout);
    return code;
}
