#include "sim/sim_model.h"

#include <stdlib.h>
#include <string.h>

#include "base/time.h"

#define GRANTS_MAX 1024U

/* What one gateway knows of one (client, resource). `old_*` hold while a change is pending. */
struct grant {
    bool live;
    bool ending; /* live ends when the gateway has settled */
    bool fresh;  /* told since the gateway has settled: it may not have read that yet */
    bool known;  /* to this boot of the gateway, live or not, and not forgotten by a goodbye */
    bool stale;  /* was known once */
    bool lapsed; /* the gateway's clock was beyond the expiry: it may have let go for good */
    uint32_t client;
    uint32_t resource;
    uint32_t gateway;
    uint64_t expires_unix_s; /* 0: never */
    uint64_t old_expires_unix_s;
    struct sim_resource form;
    struct sim_resource old_form;
    bool has_old;
    bool unsure; /* the change may never be read: both rules hold until the next one */
};

struct name {
    char name[SIM_NAME_MAX];
    struct ip_addr addresses[SIM_MODEL_ADDRESSES_MAX];
    uint32_t count;
};

struct sim_model {
    const struct sim_policy *policy;
    struct grant grants[GRANTS_MAX];
    uint32_t grants_count;
    struct name names[SIM_MODEL_NAMES_MAX];
    uint32_t names_count;
};

struct sim_model *sim_model_new(const struct sim_policy *policy)
{
    struct sim_model *model = calloc(1, sizeof(*model));
    ASSERT(model != NULL);
    model->policy = policy;
    return model;
}

void sim_model_free(struct sim_model *model)
{
    free(model);
}

/* ---- facts ---- */

void sim_model_address(struct sim_model *model, const char *name, struct ip_addr ip)
{
    struct name *n = NULL;
    for (uint32_t i = 0; i < model->names_count && n == NULL; i++) {
        n = strcmp(model->names[i].name, name) == 0 ? &model->names[i] : NULL;
    }
    if (n == NULL) {
        ASSERT(model->names_count < SIM_MODEL_NAMES_MAX && strlen(name) < SIM_NAME_MAX);
        n = &model->names[model->names_count++];
        memcpy(n->name, name, strlen(name) + 1);
    }
    for (uint32_t i = 0; i < n->count; i++) {
        if (ip_equal(&n->addresses[i], &ip)) {
            return;
        }
    }
    ASSERT(n->count < SIM_MODEL_ADDRESSES_MAX);
    n->addresses[n->count++] = ip;
}

static struct grant *find(struct sim_model *model, uint32_t client, uint32_t resource,
                          uint32_t gateway)
{
    for (uint32_t i = 0; i < model->grants_count; i++) {
        struct grant *g = &model->grants[i];
        if (g->client == client && g->resource == resource && g->gateway == gateway) {
            return g;
        }
    }
    return NULL;
}

static struct grant *find_named(struct sim_model *model, const struct sim_grant *grant)
{
    uint32_t client = sim_policy_client(model->policy, &grant->client);
    uint32_t resource = sim_policy_resource(model->policy, &grant->resource);
    return find(model, client, resource, grant->gateway);
}

static bool unexpired(uint64_t expires_unix_s, uint64_t unix_ns)
{
    return expires_unix_s == 0 || unix_ns < expires_unix_s * NS_PER_S;
}

/* Keeps the rule of before, for as long as the change is pending. A second change while one is
 * pending keeps the oldest. */
static void keep_old(struct grant *g)
{
    if (g->live && !g->has_old) {
        g->old_form = g->form;
        g->old_expires_unix_s = g->expires_unix_s;
        g->has_old = true;
    }
}

void sim_model_grant(struct sim_model *model, const struct sim_grant *grant,
                     const struct sim_resource *resource)
{
    struct grant *g = find_named(model, grant);
    if (g == NULL) {
        ASSERT(model->grants_count < GRANTS_MAX);
        g = &model->grants[model->grants_count++];
        memset(g, 0, sizeof(*g));
        g->client = sim_policy_client(model->policy, &grant->client);
        g->resource = sim_policy_resource(model->policy, &grant->resource);
        g->gateway = grant->gateway;
        ASSERT(g->client != UINT32_MAX && g->resource != UINT32_MAX);
    }
    keep_old(g);
    g->unsure = false;
    g->live = true;
    g->ending = false;
    g->fresh = true;
    g->known = true;
    g->lapsed = false;
    g->expires_unix_s = grant->expires_unix_s;
    g->form = *resource;
}

void sim_model_grant_unsure(struct sim_model *model, const struct sim_grant *grant,
                            const struct sim_resource *resource)
{
    sim_model_grant(model, grant, resource);
    find_named(model, grant)->unsure = true;
}

void sim_model_expiry(struct sim_model *model, const struct sim_grant *grant)
{
    struct grant *g = find_named(model, grant);
    if (g != NULL && g->live) {
        keep_old(g);
        g->expires_unix_s = grant->expires_unix_s;
    }
}

void sim_model_retain(struct sim_model *model, const struct sim_grant *grant)
{
    struct grant *g = find_named(model, grant);
    if (g != NULL && g->live) {
        keep_old(g);
        g->ending = false;
        g->expires_unix_s = grant->expires_unix_s;
    }
}

void sim_model_clock(struct sim_model *model, uint32_t gateway, uint64_t unix_ns)
{
    for (uint32_t i = 0; i < model->grants_count; i++) {
        struct grant *g = &model->grants[i];
        if (g->gateway == gateway && !unexpired(g->expires_unix_s, unix_ns)) {
            g->lapsed = true;
        }
    }
}

void sim_model_revoke(struct sim_model *model, const struct sim_grant *grant)
{
    struct grant *g = find_named(model, grant);
    if (g != NULL && g->live) {
        g->ending = true;
    }
}

void sim_model_resource(struct sim_model *model, uint32_t gateway,
                        const struct sim_resource *resource)
{
    for (uint32_t i = 0; i < model->grants_count; i++) {
        struct grant *g = &model->grants[i];
        if (g->gateway == gateway && g->live && uuid_equal(&g->form.id, &resource->id)) {
            keep_old(g);
            g->unsure = false;
            g->form = *resource;
        }
    }
}

void sim_model_init(struct sim_model *model, uint32_t gateway)
{
    for (uint32_t i = 0; i < model->grants_count; i++) {
        struct grant *g = &model->grants[i];
        if (g->gateway == gateway && g->live) {
            g->ending = true;
        }
    }
}

void sim_model_renew(struct sim_model *model, uint32_t gateway)
{
    for (uint32_t i = 0; i < model->grants_count; i++) {
        struct grant *g = &model->grants[i];
        if (g->gateway == gateway) {
            g->ending = g->live;
            g->stale = g->stale || g->known;
            g->known = false;
        }
    }
}

void sim_model_settle(struct sim_model *model, uint32_t gateway)
{
    for (uint32_t i = 0; i < model->grants_count; i++) {
        struct grant *g = &model->grants[i];
        if (g->gateway == gateway) {
            g->live = g->live && !g->ending;
            g->ending = false;
            g->fresh = false;
            g->has_old = g->has_old && g->unsure;
        }
    }
}

void sim_model_goodbye(struct sim_model *model, uint32_t gateway, uint32_t client)
{
    for (uint32_t i = 0; i < model->grants_count; i++) {
        struct grant *g = &model->grants[i];
        if (g->gateway == gateway && g->client == client) {
            g->stale = g->stale || g->known;
            g->known = false;
            g->ending = g->live && !g->fresh;
        }
    }
}

void sim_model_forget(struct sim_model *model, uint32_t gateway)
{
    for (uint32_t i = 0; i < model->grants_count; i++) {
        struct grant *g = &model->grants[i];
        if (g->gateway == gateway) {
            g->live = false;
            g->stale = g->stale || g->known;
            g->known = false;
            g->ending = false;
            g->has_old = false;
        }
    }
}

/* ---- rules ---- */

bool sim_filters_permit(const struct sim_resource *resource, const struct sim_packet *packet)
{
    if (resource->filters_count == 0) {
        return true;
    }
    bool icmp = packet->protocol == SIM_PROTO_ICMP || packet->protocol == SIM_PROTO_ICMPV6;
    for (uint32_t i = 0; i < resource->filters_count; i++) {
        const struct sim_filter *f = &resource->filters[i];
        bool in_range =
            packet->destination_port >= f->port_first && packet->destination_port <= f->port_last;
        if ((f->protocol == SIM_FILTER_ICMP && icmp) ||
            (f->protocol == SIM_FILTER_TCP && packet->protocol == SIM_PROTO_TCP && in_range) ||
            (f->protocol == SIM_FILTER_UDP && packet->protocol == SIM_PROTO_UDP && in_range)) {
            return true;
        }
    }
    return false;
}

static char lower(char c)
{
    if (c >= 'A' && c <= 'Z') {
        c = (char)(c + ('a' - 'A'));
    }
    return c;
}

static size_t label_size(const char *text)
{
    size_t len = 0;
    while (text[len] != '\0' && text[len] != '.') {
        len++;
    }
    return len;
}

/* One label against one pattern label with ? and *. */
static bool label_matches(const char *pattern, size_t pattern_len, const char *label, size_t len)
{
    if (pattern_len == 0) {
        return len == 0;
    }
    if (pattern[0] == '*') {
        for (size_t skip = 0; skip <= len; skip++) {
            if (label_matches(pattern + 1, pattern_len - 1, label + skip, len - skip)) {
                return true;
            }
        }
        return false;
    }
    bool same = len > 0 && (pattern[0] == '?' || lower(pattern[0]) == lower(label[0]));
    return same && label_matches(pattern + 1, pattern_len - 1, label + 1, len - 1);
}

static const char *next_label(const char *text, size_t len)
{
    return text[len] == '.' ? text + len + 1 : text + len;
}

static bool glob(const char *pattern, const char *name)
{
    if (*pattern == '\0') {
        return *name == '\0';
    }
    size_t pattern_len = label_size(pattern);
    const char *rest = next_label(pattern, pattern_len);
    size_t len = label_size(name);
    if (pattern_len == 2 && pattern[0] == '*' && pattern[1] == '*') {
        if (glob(rest, name)) {
            return true;
        }
        return *name != '\0' && glob(pattern, next_label(name, len));
    }
    return *name != '\0' && label_matches(pattern, pattern_len, name, len) &&
           glob(rest, next_label(name, len));
}

bool sim_pattern_matches(const char *pattern, const char *name)
{
    if (strncmp(pattern, "*.", 2) == 0 && strcmp(pattern + 2, name) == 0) {
        return true;
    }
    return glob(pattern, name);
}

bool sim_ip_is_private(const struct ip_addr *ip)
{
    static const char *const prefixes[] = {
        "0.0.0.0/8",     "10.0.0.0/8",     "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/4",   "240.0.0.0/4", "::/128",
        "::1/128",       "fc00::/7",       "fe80::/10",     "ff00::/8",    "::ffff:0:0/96",
    };
    for (size_t i = 0; i < ARRAY_COUNT(prefixes); i++) {
        struct ip_prefix prefix;
        bool parsed = ip_prefix_parse(view_text(prefixes[i]), &prefix);
        ASSERT(parsed);
        if (ip_prefix_contains(&prefix, ip)) {
            return true;
        }
    }
    return false;
}

static bool name_has(const struct sim_model *model, const char *pattern, const struct ip_addr *ip)
{
    for (uint32_t i = 0; i < model->names_count; i++) {
        const struct name *n = &model->names[i];
        if (!sim_pattern_matches(pattern, n->name)) {
            continue;
        }
        for (uint32_t a = 0; a < n->count; a++) {
            if (ip_equal(&n->addresses[a], ip)) {
                return true;
            }
        }
    }
    return false;
}

static bool covers(const struct sim_model *model, const struct sim_resource *resource,
                   const struct ip_addr *ip)
{
    switch (resource->kind) {
    case SIM_RESOURCE_CIDR:
        return ip_prefix_contains(&resource->prefix, ip);
    case SIM_RESOURCE_DNS:
        return name_has(model, resource->pattern, ip);
    case SIM_RESOURCE_INTERNET:
        return !sim_ip_is_private(ip);
    default:
        UNREACHABLE();
    }
}

static bool form_permits(const struct sim_model *model, const struct sim_resource *form,
                         const struct sim_packet *packet)
{
    return covers(model, form, &packet->destination) && sim_filters_permit(form, packet);
}

static uint32_t owner_of(const struct sim_policy *policy, const struct ip_addr *ip)
{
    for (uint32_t i = 0; i < policy->clients_count; i++) {
        if (ip_equal(&policy->clients[i].tunnel_v4, ip) ||
            ip_equal(&policy->clients[i].tunnel_v6, ip)) {
            return i;
        }
    }
    return UINT32_MAX;
}

/* To the gateway itself, spec/dataplane.md section 3.6: needs a right to something, not to this. */
static bool is_to_itself(const struct sim_model *model, uint32_t gateway,
                         const struct sim_packet *packet)
{
    const struct sim_gateway_identity *own = &model->policy->gateways[gateway % SIM_TWIN];
    return (ip_equal(&packet->destination, &own->tunnel_v4) ||
            ip_equal(&packet->destination, &own->tunnel_v6)) &&
           (packet->protocol == SIM_PROTO_UDP || packet->protocol == SIM_PROTO_TCP ||
            sim_packet_is_echo_request(packet));
}

static bool grant_permits(const struct sim_model *model, const struct grant *g, uint64_t unix_ns,
                          const struct sim_packet *packet)
{
    if (unexpired(g->expires_unix_s, unix_ns) && form_permits(model, &g->form, packet)) {
        return true;
    }
    return g->has_old && unexpired(g->old_expires_unix_s, unix_ns) &&
           form_permits(model, &g->old_form, packet);
}

struct sim_verdict sim_model_judge(const struct sim_model *model, uint32_t gateway,
                                   uint64_t unix_ns, const struct sim_packet *packet,
                                   uint32_t *client)
{
    *client = owner_of(model->policy, &packet->source);
    if (*client == UINT32_MAX) {
        return (struct sim_verdict){"O-02", "the source is no client's tunnel address"};
    }
    struct sim_verdict verdict = {"O-01", "no grant of the client covers this packet"};
    if (is_to_itself(model, gateway, packet) && sim_model_holds(model, gateway, *client, 0)) {
        return SIM_VERDICT_GOOD;
    }
    for (uint32_t i = 0; i < model->grants_count; i++) {
        const struct grant *g = &model->grants[i];
        if (g->client != *client || g->gateway != gateway) {
            continue;
        }
        bool fits = form_permits(model, &g->form, packet);
        if (g->live && grant_permits(model, g, unix_ns, packet)) {
            return SIM_VERDICT_GOOD;
        }
        if (fits) {
            verdict = g->live ? (struct sim_verdict){"O-01", "the grant has expired"}
                              : (struct sim_verdict){"O-03", "the grant was revoked"};
        }
    }
    return verdict;
}

/* A client takes processes of one identity for one gateway: what another of them was told it does
 * not ask this one for. */
static bool is_twin_told(const struct sim_model *model, uint32_t client, uint32_t resource,
                         uint32_t gateway)
{
    for (uint32_t i = 0; i < model->grants_count; i++) {
        const struct grant *g = &model->grants[i];
        if (g->client == client && g->resource == resource && g->gateway != gateway &&
            g->gateway % SIM_TWIN == gateway % SIM_TWIN && (g->known || g->stale)) {
            return true;
        }
    }
    return false;
}

enum sim_standing sim_model_standing(const struct sim_model *model, const struct sim_grant *grant,
                                     uint64_t until_unix_ns, const struct sim_resource **form)
{
    uint32_t client = sim_policy_client(model->policy, &grant->client);
    uint32_t resource = sim_policy_resource(model->policy, &grant->resource);
    bool told = is_twin_told(model, client, resource, grant->gateway);
    for (uint32_t i = 0; i < model->grants_count; i++) {
        const struct grant *g = &model->grants[i];
        if (g->client != client || g->resource != resource || g->gateway != grant->gateway) {
            continue;
        }
        if (!g->known) {
            return g->stale || told ? SIM_STANDING_STALE : SIM_STANDING_NONE;
        }
        bool settled = g->live && !g->ending && !g->has_old && !g->lapsed;
        *form = &g->form;
        return settled && unexpired(g->expires_unix_s, until_unix_ns) ? SIM_STANDING_GOOD
                                                                      : SIM_STANDING_ENDED;
    }
    return told ? SIM_STANDING_STALE : SIM_STANDING_NONE;
}

bool sim_model_holds(const struct sim_model *model, uint32_t gateway, uint32_t client,
                     uint64_t unix_ns)
{
    for (uint32_t i = 0; i < model->grants_count; i++) {
        const struct grant *g = &model->grants[i];
        if (g->client == client && g->gateway == gateway && g->live &&
            unexpired(g->expires_unix_s, unix_ns)) {
            return true;
        }
    }
    return false;
}
