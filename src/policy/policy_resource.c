/* Authorizations: who holds which resource, with which filters, until when. */
#include <string.h>

#include "base/assert.h"
#include "policy/policy_state.h"

/* ---- records ---- */

static uint32_t find_slot(const struct policy *policy, uint32_t client_index, const struct uuid *id,
                          enum policy_grant_state state)
{
    for (uint32_t slot = 0; slot < policy->clients[client_index].slots_used; slot++) {
        const struct policy_grant *grant = policy_grant_at(policy, client_index, slot);
        if (grant->state == state && uuid_equal(&grant->id, id)) {
            return slot;
        }
    }
    return POLICY_NONE;
}

uint32_t policy_grant_find(const struct policy *policy, uint32_t client_index,
                           const struct uuid *id)
{
    return find_slot(policy, client_index, id, POLICY_GRANT_LIVE);
}

bool policy_grant_is_valid(const struct policy_grant *grant, struct clock_pair now)
{
    return grant->state == POLICY_GRANT_LIVE &&
           (grant->expires_ns == UINT64_MAX || grant->expires_ns > now.unix_ns);
}

static uint64_t expires_ns(uint64_t expires_unix_s)
{
    return expires_unix_s > UINT64_MAX / NS_PER_S ? UINT64_MAX : expires_unix_s * NS_PER_S;
}

/* ---- holders of a resource ---- */

static uint32_t resource_find(const struct policy *policy, const struct uuid *id)
{
    uint64_t hash = policy_hash_id(policy, id);
    uint32_t cursor = 0;
    uint32_t at = map_next(&policy->resources_by_id, hash, &cursor);
    while (at != MAP_NONE && !uuid_equal(&policy->resources[at].id, id)) {
        at = map_next(&policy->resources_by_id, hash, &cursor);
    }
    return at;
}

static void holder_add(struct policy *policy, uint32_t at)
{
    struct policy_grant *grant = &policy->grants[at];
    uint32_t resource = resource_find(policy, &grant->id);
    if (resource == MAP_NONE) {
        resource = policy_pool_take(&policy->resources_pool);
        ASSERT(resource != POLICY_NONE); /* as many resources as grants */
        policy->resources[resource] = (struct policy_resource_record){grant->id, 0};
        bool inserted =
            map_insert(&policy->resources_by_id, policy_hash_id(policy, &grant->id), resource);
        ASSERT(inserted);
    }
    grant->resource = resource;
    grant->prev = 0;
    grant->next = policy->resources[resource].holders;
    if (grant->next != 0) {
        policy->grants[grant->next - 1].prev = at + 1;
    }
    policy->resources[resource].holders = at + 1;
}

static void holder_remove(struct policy *policy, uint32_t at)
{
    struct policy_grant *grant = &policy->grants[at];
    struct policy_resource_record *resource = &policy->resources[grant->resource];
    if (policy->update_at == at + 1) {
        policy->update_at = grant->next; /* it ends in the middle of an update */
    }
    if (grant->prev != 0) {
        policy->grants[grant->prev - 1].next = grant->next;
    } else {
        resource->holders = grant->next;
    }
    if (grant->next != 0) {
        policy->grants[grant->next - 1].prev = grant->prev;
    }
    if (resource->holders == 0) {
        bool removed = map_remove(&policy->resources_by_id, policy_hash_id(policy, &resource->id),
                                  grant->resource);
        ASSERT(removed);
        policy_pool_give(&policy->resources_pool, grant->resource);
    }
}

/* ---- changes ---- */

static void client_changed(struct policy *policy, uint32_t client_index)
{
    struct policy_client *client = &policy->clients[client_index];
    policy_epoch_bump(client);
    client->expires_min_ns = UINT64_MAX;
    for (uint32_t slot = 0; slot < client->slots_used; slot++) {
        const struct policy_grant *grant = policy_grant_at(policy, client_index, slot);
        if (grant->state == POLICY_GRANT_LIVE && grant->expires_ns < client->expires_min_ns) {
            client->expires_min_ns = grant->expires_ns;
        }
    }
}

static void set_filter(struct policy *policy, struct policy_grant *grant,
                       const struct policy_filter *filter)
{
    grant->admits_any = filter->any;
    if (!filter->any) {
        policy_rules_of(policy, grant)->filter = *filter;
    }
}

static void set_expiry(struct policy *policy, uint32_t at, uint64_t expires_unix_s)
{
    policy->grants[at].expires_ns = expires_ns(expires_unix_s);
    /* UINT64_MAX is TIME_NEVER: such a grant has no place in the heap. */
    heap_set(&policy->expiry, at, (struct instant){policy->grants[at].expires_ns});
}

/* Returns a slot for a new grant: one that was dormant for this very id, a free or fresh one, else
 * the first dormant one. POLICY_NONE when every slot holds a live grant. */
static uint32_t slot_take(struct policy *policy, uint32_t client_index, const struct uuid *id)
{
    struct policy_client *client = &policy->clients[client_index];
    uint32_t dormant = POLICY_NONE;
    for (uint32_t slot = client->slots_used; slot-- > 0;) {
        const struct policy_grant *grant = policy_grant_at(policy, client_index, slot);
        if (grant->state == POLICY_GRANT_DORMANT) {
            dormant = slot;
            if (uuid_equal(&grant->id, id)) {
                return slot;
            }
        }
    }
    for (uint32_t slot = 0; slot < client->slots_used; slot++) {
        if (policy_grant_at(policy, client_index, slot)->state == POLICY_GRANT_FREE) {
            return slot;
        }
    }
    if (client->slots_used < policy->limits.resources_per_client) {
        client->slots_used++;
        return client->slots_used - 1;
    }
    if (dormant != POLICY_NONE) {
        policy_proxies_forget_slot(policy, client_index, dormant);
    }
    return dormant;
}

static enum err grant_new(struct policy *policy, uint32_t client_index,
                          const struct policy_resource *resource, uint32_t *slot)
{
    *slot = slot_take(policy, client_index, &resource->id);
    if (*slot == POLICY_NONE) {
        return ERR_FULL;
    }
    struct policy_grant *grant = policy_grant_at(policy, client_index, *slot);
    bool revived = grant->state == POLICY_GRANT_DORMANT && uuid_equal(&grant->id, &resource->id);
    memset(grant, 0, sizeof *grant);
    grant->state = POLICY_GRANT_LIVE;
    grant->kind = (uint8_t)resource->kind;
    grant->id = resource->id;
    if (resource->kind == POLICY_KIND_CIDR) {
        grant->prefix = resource->prefix;
    }
    if (resource->kind == POLICY_KIND_DNS) {
        struct policy_rules *rules = policy_rules_of(policy, grant);
        rules->pattern_size = (uint32_t)resource->pattern.len;
        memcpy(rules->pattern, resource->pattern.at, resource->pattern.len);
    }
    if (revived) {
        policy_proxies_recheck_slot(policy, client_index, *slot);
    }
    holder_add(policy, policy_grant_index(policy, client_index, *slot));
    policy->clients[client_index].live++;
    policy->grants_live++;
    return ERR_NONE;
}

static bool prefix_is_valid(const struct ip_prefix *prefix)
{
    return ip_size(&prefix->ip) != 0 && prefix->len <= ip_size(&prefix->ip) * 8;
}

enum err policy_authorize(struct policy *policy, uint32_t client,
                          const struct policy_resource *resource, uint64_t expires_unix_s)
{
    if (policy_client_at(policy, client) == NULL) {
        return ERR_NOT_FOUND;
    }
    if (resource->kind == POLICY_KIND_DNS &&
        (resource->pattern.len == 0 || resource->pattern.len > POLICY_PATTERN_SIZE_MAX)) {
        return ERR_ARGUMENT;
    }
    if (resource->kind == POLICY_KIND_CIDR && !prefix_is_valid(&resource->prefix)) {
        return ERR_ARGUMENT;
    }
    /* The Internet resource has no filters. */
    struct policy_filter filter = {0};
    enum err err =
        policy_filter_build(&filter, resource->rules,
                            resource->kind == POLICY_KIND_INTERNET ? 0 : resource->rules_count);
    if (err != ERR_NONE) {
        return err;
    }
    uint32_t index = policy_client_index(client);
    uint32_t slot = policy_grant_find(policy, index, &resource->id);
    if (slot == POLICY_NONE) {
        err = grant_new(policy, index, resource, &slot);
        if (err != ERR_NONE) {
            return err;
        }
    }
    struct policy_grant *grant = policy_grant_at(policy, index, slot);
    if (grant->kind != (uint8_t)resource->kind) {
        return ERR_STATE;
    }
    set_filter(policy, grant, &filter);
    grant->mark = policy->retain_mark;
    set_expiry(policy, policy_grant_index(policy, index, slot), expires_unix_s);
    client_changed(policy, index);
    return ERR_NONE;
}

bool policy_has_resource(const struct policy *policy, uint32_t client, const struct uuid *resource)
{
    return policy_client_at(policy, client) != NULL &&
           policy_grant_find(policy, policy_client_index(client), resource) != POLICY_NONE;
}

enum err policy_set_expiry(struct policy *policy, uint32_t client, const struct uuid *resource,
                           uint64_t expires_unix_s)
{
    if (policy_client_at(policy, client) == NULL) {
        return ERR_NOT_FOUND;
    }
    uint32_t index = policy_client_index(client);
    uint32_t slot = policy_grant_find(policy, index, resource);
    if (slot == POLICY_NONE) {
        return ERR_NOT_FOUND;
    }
    set_expiry(policy, policy_grant_index(policy, index, slot), expires_unix_s);
    client_changed(policy, index);
    return ERR_NONE;
}

/* ---- the end of grants ---- */

static void grant_end(struct policy *policy, uint32_t at, struct policy_ended *ended)
{
    uint32_t client_index = at % policy->limits.clients;
    uint32_t slot = at / policy->limits.clients;
    struct policy_client *client = &policy->clients[client_index];
    struct policy_grant *grant = &policy->grants[at];
    ASSERT(grant->state == POLICY_GRANT_LIVE);
    ASSERT(client->live > 0);
    holder_remove(policy, at);
    heap_set(&policy->expiry, at, TIME_NEVER);
    bool in_use =
        grant->kind == POLICY_KIND_DNS && policy_proxies_use_slot(policy, client_index, slot);
    grant->state = in_use ? POLICY_GRANT_DORMANT : POLICY_GRANT_FREE;
    client->live--;
    policy->grants_live--;
    client_changed(policy, client_index);
    *ended = (struct policy_ended){policy_client_handle(policy, client_index), client->id,
                                   grant->id, client->live == 0};
}

enum err policy_revoke(struct policy *policy, uint32_t client, const struct uuid *resource,
                       struct policy_ended *ended)
{
    *ended = (struct policy_ended){0};
    if (policy_client_at(policy, client) == NULL) {
        return ERR_NOT_FOUND;
    }
    uint32_t index = policy_client_index(client);
    uint32_t slot = policy_grant_find(policy, index, resource);
    if (slot == POLICY_NONE) {
        return ERR_NOT_FOUND;
    }
    grant_end(policy, policy_grant_index(policy, index, slot), ended);
    return ERR_NONE;
}

void policy_grants_clear(struct policy *policy, uint32_t client_index)
{
    struct policy_client *client = &policy->clients[client_index];
    for (uint32_t slot = 0; slot < client->slots_used; slot++) {
        struct policy_grant *grant = policy_grant_at(policy, client_index, slot);
        if (grant->state == POLICY_GRANT_LIVE) {
            struct policy_ended ended;
            grant_end(policy, policy_grant_index(policy, client_index, slot), &ended);
        }
        grant->state = POLICY_GRANT_FREE;
    }
    client->slots_used = 0;
}

bool policy_remove_resource(struct policy *policy, const struct uuid *resource,
                            struct policy_ended *ended)
{
    uint32_t at = resource_find(policy, resource);
    if (at == MAP_NONE) {
        return false;
    }
    grant_end(policy, policy->resources[at].holders - 1, ended);
    return true;
}

bool policy_expire(struct policy *policy, struct clock_pair now, struct policy_ended *ended)
{
    policy->clock = now;
    struct instant next = heap_next(&policy->expiry);
    if (instant_is_never(next) || next.ns > now.unix_ns) {
        return false;
    }
    grant_end(policy, policy->expiry.order[0], ended);
    return true;
}

/* ---- updates ---- */

enum err policy_update_begin(struct policy *policy, const struct policy_resource *resource)
{
    uint32_t record = resource_find(policy, &resource->id);
    enum err err =
        policy_filter_build(&policy->update_filter, resource->rules, resource->rules_count);
    policy->update_at = 0;
    if (record == MAP_NONE || resource->kind == POLICY_KIND_INTERNET) {
        return ERR_NONE;
    }
    policy->update_kind = (uint8_t)resource->kind;
    policy->update_at = policy->resources[record].holders;
    return err;
}

enum err policy_update_next(struct policy *policy, uint32_t budget, uint32_t *updated)
{
    enum err err = ERR_NONE;
    for (; budget > 0 && policy->update_at != 0; budget--) {
        uint32_t at = policy->update_at - 1;
        struct policy_grant *grant = &policy->grants[at];
        policy->update_at = grant->next;
        static const struct policy_filter closed;
        bool is_other = grant->kind != policy->update_kind;
        err = is_other ? ERR_STATE : err;
        set_filter(policy, grant, is_other ? &closed : &policy->update_filter);
        policy_epoch_bump(&policy->clients[at % policy->limits.clients]);
        (*updated)++;
    }
    return err;
}

bool policy_update_is_done(const struct policy *policy)
{
    return policy->update_at == 0;
}

/* ---- retain ---- */

void policy_retain_begin(struct policy *policy)
{
    policy->retain_mark++;
    policy->retain_at = 0;
}

bool policy_retain_keep(struct policy *policy, const struct uuid *client,
                        const struct uuid *resource, uint64_t expires_unix_s)
{
    uint32_t handle = policy_client_find(policy, client);
    if (handle == POLICY_CLIENT_NONE ||
        policy_set_expiry(policy, handle, resource, expires_unix_s) != ERR_NONE) {
        return false;
    }
    uint32_t index = policy_client_index(handle);
    uint32_t slot = policy_grant_find(policy, index, resource);
    policy_grant_at(policy, index, slot)->mark = policy->retain_mark;
    return true;
}

bool policy_retain_end(struct policy *policy, uint32_t *budget, struct policy_ended *ended)
{
    uint32_t per_client = policy->limits.resources_per_client;
    uint32_t end = policy->clients_pool.fresh * per_client;
    for (; *budget > 0 && policy->retain_at < end; (*budget)--) {
        uint32_t client_index = policy->retain_at / per_client;
        uint32_t slot = policy->retain_at % per_client;
        const struct policy_client *client = &policy->clients[client_index];
        if (!client->used || slot >= client->slots_used) {
            policy->retain_at = (client_index + 1) * per_client; /* never touch unused slots */
            continue;
        }
        policy->retain_at++;
        uint32_t at = policy_grant_index(policy, client_index, slot);
        const struct policy_grant *grant = &policy->grants[at];
        if (grant->state == POLICY_GRANT_LIVE && grant->mark != policy->retain_mark) {
            (*budget)--;
            grant_end(policy, at, ended);
            return true;
        }
    }
    return false;
}
