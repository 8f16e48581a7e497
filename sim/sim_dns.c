#include "sim/sim_dns.h"

#include <stdlib.h>
#include <string.h>

#include "sim/sim_dns_internal.h"

#define LATE_DEFAULT DURATION_S(11) /* one second beyond the gateway's patience */

/* ---- life ---- */

static void forbid_text(struct sim_dns *dns, const char *text)
{
    struct ip_addr ip;
    bool parsed = ip_parse(view_text(text), &ip);
    ASSERT(parsed);
    enum err err = sim_dns_forbidden(dns, ip);
    ASSERT(err == ERR_NONE);
}

struct sim_dns *sim_dns_new(const struct sim_dns_config *config)
{
    static const char *const texts[] = {
        "127.0.0.1",
        "0.0.0.0",
        "169.254.1.1",
        "224.0.0.1",
        "100.64.0.1",
        "100.96.0.1",
        "::1",
        "::",
        "fe80::1",
        "ff02::1",
        "fd00:2021:1111::1",
        "fd00:2021:1111:8000::1",
    };
    struct sim_dns *dns = calloc(1, sizeof *dns);
    if (dns == NULL) {
        return NULL;
    }
    dns->config = *config;
    dns->key.k0 = load_le64(config->seed);
    dns->key.k1 = load_le64(config->seed + 8) ^ load_le64(config->seed + 16);
    for (uint32_t i = 0; i < ARRAY_COUNT(texts); i++) {
        forbid_text(dns, texts[i]);
    }
    return dns;
}

void sim_dns_free(struct sim_dns *dns)
{
    if (dns == NULL) {
        return;
    }
    for (uint32_t i = 0; i < dns->rows_count; i++) {
        free(dns->rows[i].text);
    }
    free(dns);
}

const struct sim_dns_counters *sim_dns_counters(const struct sim_dns *dns)
{
    return &dns->counters;
}

enum err sim_dns_forbidden(struct sim_dns *dns, struct ip_addr address)
{
    if (dns->forbidden_count == DNS_FORBIDDEN_MAX) {
        return ERR_FULL;
    }
    dns->forbidden[dns->forbidden_count++] = address;
    return ERR_NONE;
}

/* ---- names ---- */

/* Lower case, without trailing dot; false when too long. */
static bool canonical(struct view name, char out[SIM_DNS_NAME_SIZE])
{
    size_t len = name.len;
    if (len > 1 && name.at[len - 1] == '.') {
        len--;
    }
    if (len >= SIM_DNS_NAME_SIZE) {
        return false;
    }
    memset(out, 0, SIM_DNS_NAME_SIZE);
    for (size_t i = 0; i < len; i++) {
        uint8_t c = name.at[i];
        out[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20U : c);
    }
    return true;
}

static uint32_t entry_find(const struct sim_dns *dns, const char *canonical_name)
{
    for (uint32_t i = 0; i < dns->entries_count; i++) {
        if (strcmp(dns->entries[i].name, canonical_name) == 0) {
            return i;
        }
    }
    return DNS_NOBODY;
}

static uint32_t entry_of(const struct sim_dns *dns, struct view name)
{
    char text[SIM_DNS_NAME_SIZE];
    return canonical(name, text) ? entry_find(dns, text) : DNS_NOBODY;
}

static enum err entry_make(struct sim_dns *dns, const char *name, uint32_t *out)
{
    char text[SIM_DNS_NAME_SIZE];
    if (!canonical(view_text(name), text)) {
        return ERR_ARGUMENT;
    }
    *out = entry_find(dns, text);
    if (*out != DNS_NOBODY) {
        return ERR_NONE;
    }
    if (dns->entries_count == SIM_DNS_NAMES_MAX) {
        return ERR_FULL;
    }
    *out = dns->entries_count++;
    memcpy(dns->entries[*out].name, text, sizeof text);
    return ERR_NONE;
}

/* ---- records ---- */

/* A slot that nobody can see any more, or a new one. */
static struct dns_row *row_slot(struct sim_dns *dns)
{
    if (dns->rows_count < SIM_DNS_RECORDS_MAX) {
        return &dns->rows[dns->rows_count++];
    }
    for (uint32_t i = 0; i < dns->rows_count; i++) {
        if (instant_before(dns->rows[i].record.until, dns->seen)) {
            free(dns->rows[i].text);
            return &dns->rows[i];
        }
    }
    return NULL;
}

static bool record_is_good(const struct sim_dns_record *record)
{
    switch (record->type) {
    case SIM_DNS_A:
        return record->address.family == IP_V4;
    case SIM_DNS_AAAA:
        return record->address.family == IP_V6;
    case SIM_DNS_TXT:
        return record->text != NULL && strlen(record->text) <= SIM_DNS_TEXT_MAX;
    case SIM_DNS_CNAME:
    case SIM_DNS_SRV: {
        struct dns_name target;
        return record->text != NULL && strlen(record->text) < SIM_DNS_NAME_SIZE &&
               dns_name_parse(view_text(record->text), &target);
    }
    }
    UNREACHABLE();
}

enum err sim_dns_add(struct sim_dns *dns, const char *name, const struct sim_dns_record *record)
{
    uint32_t entry;
    if (!record_is_good(record)) {
        return ERR_ARGUMENT;
    }
    enum err err = entry_make(dns, name, &entry);
    if (err != ERR_NONE) {
        return err;
    }
    struct dns_row *row = row_slot(dns);
    if (row == NULL) {
        return ERR_FULL;
    }
    *row = (struct dns_row){.entry = entry, .record = *record};
    row->record.ttl_s = record->ttl_s > 0 ? record->ttl_s : SIM_DNS_TTL_S;
    if (record->text != NULL) {
        size_t size = strlen(record->text) + 1;
        row->text = malloc(size);
        ASSERT(row->text != NULL);
        memcpy(row->text, record->text, size);
    }
    row->record.text = row->text;
    return ERR_NONE;
}

enum err sim_dns_add_address(struct sim_dns *dns, const char *name, struct ip_addr address)
{
    struct sim_dns_record record = {
        .type = address.family == IP_V4 ? SIM_DNS_A : SIM_DNS_AAAA,
        .address = address,
        .until = TIME_NEVER,
    };
    return sim_dns_add(dns, name, &record);
}

void sim_dns_end(struct sim_dns *dns, const char *name, enum sim_dns_type type, struct instant now)
{
    uint32_t entry = entry_of(dns, view_text(name));
    for (uint32_t i = 0; entry != DNS_NOBODY && i < dns->rows_count; i++) {
        struct dns_row *row = &dns->rows[i];
        if (row->entry == entry && row->record.type == type) {
            row->record.until = instant_min(row->record.until, now);
        }
    }
}

enum err sim_dns_behave(struct sim_dns *dns, const char *name,
                        const struct sim_dns_behaviour *behaviour)
{
    uint32_t entry;
    if (name[0] == '\0') {
        dns->config.all = *behaviour;
        return ERR_NONE;
    }
    enum err err = entry_make(dns, name, &entry);
    if (err == ERR_NONE) {
        dns->entries[entry].behaviour = *behaviour;
    }
    return err;
}

/* ---- draws: keyed by name, type and the ordinal of the lookup of that name ---- */

static uint64_t hash_draw(const struct sim_dns *dns, const char *name, uint32_t type,
                          uint64_t ordinal)
{
    uint8_t bytes[SIM_DNS_NAME_SIZE + 12];
    memcpy(bytes, name, SIM_DNS_NAME_SIZE);
    store_le32(bytes + SIM_DNS_NAME_SIZE, type);
    store_le64(bytes + SIM_DNS_NAME_SIZE + 4, ordinal);
    return siphash13(&dns->key, VIEW_OF(bytes));
}

/* Further independent numbers of one draw. */
static uint64_t derive(const struct sim_dns *dns, uint64_t draw, uint32_t what)
{
    uint8_t bytes[12];
    store_le64(bytes, draw);
    store_le32(bytes + 8, what);
    return siphash13(&dns->key, VIEW_OF(bytes));
}

enum { DRAW_FAILURE, DRAW_JITTER, DRAW_JITTER_OWN, DRAW_CHOICE };

uint64_t dns_table_draw(struct sim_dns *dns, struct view name, enum sim_dns_type type)
{
    char text[SIM_DNS_NAME_SIZE];
    if (!canonical(name, text)) {
        return 0;
    }
    uint32_t entry = entry_find(dns, text);
    uint64_t ordinal = entry == DNS_NOBODY ? 0 : dns->entries[entry].lookups++;
    return hash_draw(dns, text, type, ordinal);
}

static struct sim_dns_behaviour own_behaviour(const struct sim_dns *dns, struct view name)
{
    uint32_t entry = entry_of(dns, name);
    return entry == DNS_NOBODY ? (struct sim_dns_behaviour){.failure = SIM_DNS_OK}
                               : dns->entries[entry].behaviour;
}

static bool is_spared(const struct sim_dns_behaviour *rule, enum sim_dns_type type)
{
    return rule->failure == SIM_DNS_OK || (rule->spared >> (uint32_t)type & 1U) != 0;
}

static enum sim_dns_failure failure_of(const struct sim_dns *dns, struct view name,
                                       enum sim_dns_type type, uint64_t draw, struct duration *late)
{
    struct sim_dns_behaviour rule = own_behaviour(dns, name);
    if (is_spared(&rule, type)) {
        rule = dns->config.all;
    }
    *late = rule.late.ns > 0 ? rule.late : LATE_DEFAULT;
    uint32_t percent = rule.failure_percent > 0 ? rule.failure_percent : 100;
    bool fails = !is_spared(&rule, type) && derive(dns, draw, DRAW_FAILURE) % 100 < percent;
    return fails ? rule.failure : SIM_DNS_OK;
}

static uint64_t delay_of(const struct sim_dns *dns, const struct sim_dns_behaviour *rule,
                         uint64_t draw, uint32_t what)
{
    uint64_t jitter = rule->jitter.ns > 0 ? derive(dns, draw, what) % rule->jitter.ns : 0;
    return rule->latency.ns + jitter;
}

struct duration dns_table_latency(const struct sim_dns *dns, struct view name,
                                  enum sim_dns_type type, uint64_t draw)
{
    struct sim_dns_behaviour own = own_behaviour(dns, name);
    struct duration late;
    enum sim_dns_failure failure = failure_of(dns, name, type, draw, &late);
    if (failure == SIM_DNS_TIMEOUT) {
        return (struct duration){TIME_NEVER.ns};
    }
    if (failure == SIM_DNS_LATE) {
        return late;
    }
    return (struct duration){delay_of(dns, &dns->config.all, draw, DRAW_JITTER) +
                             delay_of(dns, &own, draw, DRAW_JITTER_OWN)};
}

/* ---- answers ---- */

static bool row_is_valid(const struct dns_row *row, uint32_t entry, struct instant now)
{
    return row->entry == entry && instant_reached(now, row->record.from) &&
           instant_before(now, row->record.until);
}

static const struct sim_dns_record *cname_of(const struct sim_dns *dns, uint32_t entry,
                                             struct instant now)
{
    for (uint32_t i = 0; i < dns->rows_count; i++) {
        if (dns->rows[i].record.type == SIM_DNS_CNAME && row_is_valid(&dns->rows[i], entry, now)) {
            return &dns->rows[i].record;
        }
    }
    return NULL;
}

static void take_record(struct dns_drawn *out, const struct sim_dns_record *record)
{
    bool address = record->type == SIM_DNS_A || record->type == SIM_DNS_AAAA;
    if (address && out->addresses_count < GATEWAY_LOOKUP_ADDRESSES_MAX) {
        out->addresses[out->addresses_count++] = record->address;
    } else if (!address && out->records_count < DNS_ANSWERS_MAX) {
        out->records[out->records_count++] = record;
    } else {
        return;
    }
    out->ttl_s = record->ttl_s < out->ttl_s ? record->ttl_s : out->ttl_s;
}

/* A name exists while it has any record. Follows aliases. */
static void answer_from_table(const struct sim_dns *dns, struct view name, enum sim_dns_type type,
                              struct instant now, struct dns_drawn *out)
{
    uint32_t entry = entry_of(dns, name);
    const struct sim_dns_record *alias = NULL;
    while (type != SIM_DNS_CNAME && entry != DNS_NOBODY &&
           (alias = cname_of(dns, entry, now)) != NULL) {
        if (out->cnames_count == SIM_DNS_CNAMES_MAX) {
            out->failure = SIM_DNS_SERVFAIL;
            return;
        }
        out->cnames[out->cnames_count++] = alias->text;
        out->ttl_s = alias->ttl_s < out->ttl_s ? alias->ttl_s : out->ttl_s;
        entry = entry_of(dns, view_text(alias->text));
    }
    bool exists = false;
    for (uint32_t i = 0; entry != DNS_NOBODY && i < dns->rows_count; i++) {
        if (!row_is_valid(&dns->rows[i], entry, now)) {
            continue;
        }
        exists = true;
        if (dns->rows[i].record.type == type) {
            take_record(out, &dns->rows[i].record);
        }
    }
    if (!exists) {
        out->failure = SIM_DNS_NXDOMAIN;
    } else if (out->addresses_count == 0 && out->records_count == 0) {
        out->failure = SIM_DNS_EMPTY;
    }
}

static void answer_forbidden(const struct sim_dns *dns, enum sim_dns_type type, uint64_t draw,
                             struct dns_drawn *out)
{
    enum ip_family family = type == SIM_DNS_A ? IP_V4 : IP_V6;
    uint32_t start = (uint32_t)(derive(dns, draw, DRAW_CHOICE) % dns->forbidden_count);
    for (uint32_t i = 0; i < dns->forbidden_count && out->addresses_count == 0; i++) {
        const struct ip_addr *ip = &dns->forbidden[(start + i) % dns->forbidden_count];
        if (ip->family == family) {
            out->addresses[out->addresses_count++] = *ip;
        }
    }
}

/* The real ones first, then others up to the limit. */
static void answer_many(enum sim_dns_type type, struct dns_drawn *out)
{
    for (uint32_t n = 1; out->addresses_count < GATEWAY_LOOKUP_ADDRESSES_MAX; n++) {
        uint8_t bytes[16] = {0x20, 0x01, 0x0d, 0xb8};
        bytes[15] = (uint8_t)n;
        out->addresses[out->addresses_count++] =
            type == SIM_DNS_A ? ip_v4(198, 18, 0, (uint8_t)n) : ip_from_bytes(IP_V6, bytes);
    }
}

void dns_table_answer(struct sim_dns *dns, struct view name, enum sim_dns_type type,
                      struct instant now, uint64_t draw, struct dns_drawn *out)
{
    struct duration late;
    bool address = type == SIM_DNS_A || type == SIM_DNS_AAAA;
    memset(out, 0, sizeof *out);
    out->ttl_s = SIM_DNS_TTL_S;
    dns->seen = instant_max(dns->seen, now);
    enum sim_dns_failure failure = failure_of(dns, name, type, draw, &late);
    switch (failure) {
    case SIM_DNS_OK:
    case SIM_DNS_LATE:
        answer_from_table(dns, name, type, now, out);
        break;
    case SIM_DNS_MANY:
        answer_from_table(dns, name, type, now, out);
        if (address && (out->failure == SIM_DNS_OK || out->failure == SIM_DNS_EMPTY)) {
            out->failure = SIM_DNS_OK;
            answer_many(type, out);
        }
        break;
    case SIM_DNS_REBIND:
        if (address) {
            answer_forbidden(dns, type, draw, out);
        } else {
            answer_from_table(dns, name, type, now, out);
        }
        break;
    case SIM_DNS_NXDOMAIN:
    case SIM_DNS_SERVFAIL:
    case SIM_DNS_REFUSED:
    case SIM_DNS_EMPTY:
    case SIM_DNS_TIMEOUT:
    case SIM_DNS_MALFORMED:
        out->failure = failure;
        break;
    }
    enum sim_dns_failure counted = out->failure != SIM_DNS_OK ? out->failure : failure;
    if (counted == SIM_DNS_OK) {
        dns->counters.answers++;
    } else {
        dns->counters.failures[counted]++;
    }
}
