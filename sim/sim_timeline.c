#include "sim/sim_timeline.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NODES_MAX 48U
#define WIDTH     18
#define CELL_MAX  64U
#define NAME_SIZE 16U
#define TEXT_MAX  72U

struct column {
    char name[NAME_SIZE]; /* empty: nothing seen of it */
    uint64_t sent;
    uint64_t received;
    uint64_t lost;
};

struct sim_timeline {
    FILE *to;
    struct column columns[NODES_MAX];
    bool grown;      /* the head of the table is to be written (again) */
    uint64_t period; /* of the counts, since the start */
};

struct sim_timeline *sim_timeline_new(FILE *to)
{
    struct sim_timeline *timeline = calloc(1, sizeof(*timeline));
    ASSERT(timeline != NULL);
    timeline->to = to;
    return timeline;
}

static void put_head(struct sim_timeline *t)
{
    (void)fprintf(t->to, "%14s", "");
    for (unsigned i = 0; i < NODES_MAX; i++) {
        if (t->columns[i].name[0] != '\0') {
            (void)fprintf(t->to, " %-*s", WIDTH, t->columns[i].name);
        }
    }
    (void)fprintf(t->to, "\n");
    t->grown = false;
}

/* One line of counts for the period that ends. */
static void put_counts(struct sim_timeline *t)
{
    bool any = false;
    for (unsigned i = 0; i < NODES_MAX; i++) {
        any = any || t->columns[i].sent + t->columns[i].received + t->columns[i].lost > 0;
    }
    if (!any) {
        return;
    }
    if (t->grown) {
        put_head(t);
    }
    (void)fprintf(t->to, "%6" PRIu64 "..%-6" PRIu64, t->period * SIM_TIMELINE_EVERY_S,
                  (t->period + 1) * SIM_TIMELINE_EVERY_S);
    for (unsigned i = 0; i < NODES_MAX; i++) {
        struct column *c = &t->columns[i];
        char cell[CELL_MAX];
        if (c->name[0] == '\0') {
            continue;
        }
        (void)snprintf(cell, sizeof(cell), ">%" PRIu64 " <%" PRIu64 " x%" PRIu64, c->sent,
                       c->received, c->lost);
        (void)fprintf(t->to, " %-*s", WIDTH, cell);
        c->sent = 0;
        c->received = 0;
        c->lost = 0;
    }
    (void)fprintf(t->to, "\n");
}

void sim_timeline_free(struct sim_timeline *timeline)
{
    if (timeline != NULL) {
        put_counts(timeline);
        free(timeline);
    }
}

static void count(struct sim_timeline *t, const struct sim_record *record)
{
    struct column *c = &t->columns[record->node];
    if (c->name[0] == '\0') {
        (void)snprintf(c->name, sizeof(c->name), "%s", record->name);
        t->grown = true;
    }
    c->sent += record->kind == SIM_KIND_SENT ? 1 : 0;
    c->received += record->kind == SIM_KIND_DELIVERED ? 1 : 0;
    c->lost += record->kind == SIM_KIND_DROPPED ? 1 : 0;
}

/* Refusals of single packets and talk with the portal are too many for a table. */
static bool is_worth_a_line(const struct sim_record *record)
{
    static const char *const talk[] = {"drop ",      "portal_message", "portal_sent",
                                       "candidate_", "dns_",           "handshake"};
    if (record->kind != SIM_KIND_STATE) {
        return record->kind == SIM_KIND_ACTION || record->kind == SIM_KIND_FAULT ||
               record->kind == SIM_KIND_ORACLE;
    }
    for (size_t i = 0; i < ARRAY_COUNT(talk); i++) {
        size_t len = strlen(talk[i]);
        if (record->payload.len >= len && memcmp(record->payload.at, talk[i], len) == 0) {
            return false;
        }
    }
    return true;
}

static void put_line(struct sim_timeline *t, const struct sim_record *record)
{
    size_t len = record->payload.len < TEXT_MAX ? record->payload.len : TEXT_MAX;
    (void)fprintf(t->to, "%7" PRIu64 ".%03" PRIu64 "    %-9s %-7s %.*s\n", record->at_ns / NS_PER_S,
                  record->at_ns % NS_PER_S / NS_PER_MS, record->name, sim_kind_name(record->kind),
                  (int)len, (const char *)record->payload.at);
}

void sim_timeline_see(void *self, const struct sim_record *record)
{
    struct sim_timeline *t = self;
    uint64_t period = record->at_ns / (SIM_TIMELINE_EVERY_S * NS_PER_S);
    if (period != t->period) {
        put_counts(t);
        t->period = period;
    }
    if (is_worth_a_line(record)) {
        put_line(t, record);
    } else if (record->node < NODES_MAX &&
               (record->kind == SIM_KIND_SENT || record->kind == SIM_KIND_DELIVERED ||
                record->kind == SIM_KIND_DROPPED)) {
        count(t, record);
    }
}
