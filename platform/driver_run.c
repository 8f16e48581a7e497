#include "platform/driver_run.h"

#include <string.h>

#define RUN_REFUSE_OWN     1U
#define RUN_PORTAL_V2      2U
#define RUN_PORTAL_V2_ONLY 4U

static const char mark[] = "FZRUN2\n";

static void put_text(struct writer *w, struct view text)
{
    if (text.len > UINT16_MAX) {
        w->failed = true;
        return;
    }
    writer_le16(w, (uint16_t)text.len);
    writer_bytes(w, text);
}

static struct view get_text(struct reader *r)
{
    uint16_t len = reader_le16(r);
    return reader_take(r, len);
}

static void put_limits(struct writer *w, const struct gateway_limits *limits)
{
    writer_le32(w, limits->clients);
    writer_le32(w, limits->relays);
    writer_le32(w, limits->resources_per_client);
    writer_le32(w, limits->nat_sessions);
    writer_le32(w, limits->nat_sessions_per_client);
    writer_le32(w, limits->nat_expired_per_client);
    writer_le32(w, limits->lookups);
    writer_le32(w, limits->dns_cache);
    writer_le32(w, limits->flows);
}

static void get_limits(struct reader *r, struct gateway_limits *limits)
{
    limits->clients = reader_le32(r);
    limits->relays = reader_le32(r);
    limits->resources_per_client = reader_le32(r);
    limits->nat_sessions = reader_le32(r);
    limits->nat_sessions_per_client = reader_le32(r);
    limits->nat_expired_per_client = reader_le32(r);
    limits->lookups = reader_le32(r);
    limits->dns_cache = reader_le32(r);
    limits->flows = reader_le32(r);
}

bool driver_run_encode(const struct driver_run *run, struct writer *w)
{
    const struct gateway_config *config = &run->config;
    writer_text(w, mark);
    uint8_t *len = writer_reserve(w, 4);
    size_t start = w->used;
    put_limits(w, &run->limits);
    writer_le64(w, run->started.boot.ns);
    writer_le64(w, run->started.unix_ns);
    writer_bytes(w, VIEW_OF(run->seed));
    writer_u8(w, config->health.ip.family);
    writer_bytes(w, VIEW_OF(config->health.ip.bytes));
    writer_le16(w, config->health.port);
    writer_le64(w, config->partition_max_s);
    writer_u8(w, config->nat64_translate ? 1 : 0);
    writer_u8(w, (uint8_t)((config->refuse_own_addresses ? RUN_REFUSE_OWN : 0U) |
                           (config->portal_v2 ? RUN_PORTAL_V2 : 0U) |
                           (config->portal_v2_only ? RUN_PORTAL_V2_ONLY : 0U)));
    put_text(w, config->api_url);
    put_text(w, config->token);
    put_text(w, config->firezone_id);
    put_text(w, config->name);
    put_text(w, config->user_agent);
    if (!writer_finish(w)) {
        return false;
    }
    store_le32(len, (uint32_t)(w->used - start));
    return true;
}

bool driver_run_decode(struct view bytes, struct driver_run *run, struct view *rest)
{
    struct reader r = reader_of(bytes);
    memset(run, 0, sizeof(*run));
    bool marked = view_equal_text(reader_take(&r, sizeof(mark) - 1), mark);
    uint32_t len = reader_le32(&r);
    struct reader body = reader_of(reader_take(&r, len));
    if (!marked || !reader_ok(&r)) {
        return false;
    }
    struct gateway_config *config = &run->config;
    get_limits(&body, &run->limits);
    run->started.boot.ns = reader_le64(&body);
    run->started.unix_ns = reader_le64(&body);
    reader_copy(&body, run->seed, sizeof(run->seed));
    config->health.ip.family = reader_u8(&body);
    reader_copy(&body, config->health.ip.bytes, sizeof(config->health.ip.bytes));
    config->health.port = reader_le16(&body);
    config->partition_max_s = reader_le64(&body);
    config->nat64_translate = reader_u8(&body) != 0;
    uint8_t flags = reader_u8(&body);
    config->refuse_own_addresses = (flags & RUN_REFUSE_OWN) != 0;
    config->portal_v2 = (flags & RUN_PORTAL_V2) != 0;
    config->portal_v2_only = (flags & RUN_PORTAL_V2_ONLY) != 0;
    config->api_url = get_text(&body);
    config->token = get_text(&body);
    config->firezone_id = get_text(&body);
    config->name = get_text(&body);
    config->user_agent = get_text(&body);
    *rest = r.rest;
    return reader_finish(&body) && instant_is_reading(run->started.boot);
}
