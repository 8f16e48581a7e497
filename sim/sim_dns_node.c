#include <string.h>

#include "sim/sim_dns_internal.h"

#define DNS_PORT     53U
#define UDP_SIZE_MAX 1232U /* bytes; larger answers are cut with TC, as common servers do */

/* ---- waiting answers ---- */

static struct dns_pending *pending_new(struct sim_dns *dns)
{
    for (uint32_t i = 0; i < DNS_PENDING_MAX; i++) {
        if (!dns->pending[i].used) {
            dns->pending_high = i >= dns->pending_high ? i + 1 : dns->pending_high;
            memset(&dns->pending[i], 0, sizeof dns->pending[i]);
            dns->pending[i].used = true;
            return &dns->pending[i];
        }
    }
    return NULL;
}

static void pending_end(struct sim_dns *dns, struct dns_pending *pending)
{
    pending->used = false;
    while (dns->pending_high > 0 && !dns->pending[dns->pending_high - 1].used) {
        dns->pending_high--;
    }
}

/* ---- messages ---- */

static enum dns_rcode rcode_of(enum sim_dns_failure failure)
{
    switch (failure) {
    case SIM_DNS_NXDOMAIN:
        return DNS_NXDOMAIN;
    case SIM_DNS_SERVFAIL:
    case SIM_DNS_MALFORMED:
    case SIM_DNS_TIMEOUT:
        return DNS_SERVFAIL;
    case SIM_DNS_REFUSED:
        return DNS_REFUSED;
    case SIM_DNS_OK:
    case SIM_DNS_EMPTY:
    case SIM_DNS_LATE:
    case SIM_DNS_REBIND:
    case SIM_DNS_MANY:
        return DNS_NOERROR;
    }
    UNREACHABLE();
}

static void put_record(struct dns_build *build, const struct sim_dns_record *record)
{
    struct dns_name target;
    if (record->type == SIM_DNS_TXT) {
        dns_build_text(build, view_text(record->text), record->ttl_s);
        return;
    }
    bool parsed = dns_name_parse(view_text(record->text), &target);
    ASSERT(parsed); /* sim_dns_add() looked */
    if (record->type == SIM_DNS_SRV) {
        struct dns_srv srv = {record->priority, record->weight, record->port, target};
        dns_build_srv(build, &srv, record->ttl_s);
    } else {
        dns_build_cname(build, &target, record->ttl_s);
    }
}

struct view dns_message(struct sim_dns *dns, const struct dns_msg *query,
                        const struct dns_drawn *drawn)
{
    struct writer w = writer_of((struct span){dns->message, sizeof dns->message});
    struct dns_build build = dns_build_response(&w, query, rcode_of(drawn->failure));
    for (uint32_t i = 0; i < drawn->cnames_count; i++) {
        struct dns_name target;
        bool parsed = dns_name_parse(view_text(drawn->cnames[i]), &target);
        ASSERT(parsed);
        dns_build_cname(&build, &target, drawn->ttl_s);
    }
    for (uint32_t i = 0; i < drawn->addresses_count; i++) {
        dns_build_address(&build, &drawn->addresses[i], drawn->ttl_s);
    }
    for (uint32_t i = 0; i < drawn->records_count; i++) {
        put_record(&build, drawn->records[i]);
    }
    bool fitted = dns_build_finish(&build);
    ASSERT(fitted); /* 72 records of at most 300 bytes */
    return writer_view(&w);
}

/* ---- the resolver of a platform ---- */

static enum sim_dns_type type_of_lookup(enum gateway_lookup_type type)
{
    switch (type) {
    case GATEWAY_LOOKUP_A:
        return SIM_DNS_A;
    case GATEWAY_LOOKUP_AAAA:
        return SIM_DNS_AAAA;
    case GATEWAY_LOOKUP_SRV:
        return SIM_DNS_SRV;
    case GATEWAY_LOOKUP_TXT:
        return SIM_DNS_TXT;
    }
    UNREACHABLE();
}

static struct duration resolver_start(void *self, struct clock_pair now, uint32_t gateway,
                                      const struct gateway_lookup *lookup)
{
    struct sim_dns *dns = self;
    dns->seen = instant_max(dns->seen, now.boot);
    dns->counters.lookups++;
    enum sim_dns_type type = type_of_lookup(lookup->type);
    uint64_t draw = dns_table_draw(dns, lookup->name, type);
    struct duration latency = dns_table_latency(dns, lookup->name, type, draw);
    if (latency.ns == TIME_NEVER.ns) {
        dns->counters.failures[SIM_DNS_TIMEOUT]++;
        return latency;
    }
    struct dns_pending *pending = pending_new(dns);
    if (pending != NULL) {
        pending->gateway = gateway;
        pending->lookup = lookup->lookup;
        pending->draw = draw;
    }
    return latency;
}

/* The draw that start() made; a lookup that found the table full draws from its first ordinal. */
static uint64_t resolver_draw(struct sim_dns *dns, uint32_t gateway,
                              const struct gateway_lookup *lookup)
{
    for (uint32_t i = 0; i < dns->pending_high; i++) {
        struct dns_pending *pending = &dns->pending[i];
        if (pending->used && !pending->query && pending->gateway == gateway &&
            pending->lookup == lookup->lookup) {
            uint64_t draw = pending->draw;
            pending_end(dns, pending);
            return draw;
        }
    }
    return dns_table_draw(dns, lookup->name, type_of_lookup(lookup->type));
}

static enum err result_of(enum sim_dns_failure failure)
{
    switch (failure) {
    case SIM_DNS_NXDOMAIN:
        return ERR_NAME;
    case SIM_DNS_SERVFAIL:
    case SIM_DNS_REFUSED:
    case SIM_DNS_MALFORMED:
        return ERR_IO;
    case SIM_DNS_TIMEOUT:
        return ERR_TIMEOUT;
    case SIM_DNS_OK:
    case SIM_DNS_EMPTY:
    case SIM_DNS_LATE:
    case SIM_DNS_REBIND:
    case SIM_DNS_MANY:
        return ERR_NONE;
    }
    UNREACHABLE();
}

/* SRV and TXT go to the asker as a message. */
static struct view resolver_message(struct sim_dns *dns, const struct gateway_lookup *lookup,
                                    const struct dns_drawn *drawn)
{
    uint8_t bytes[DNS_QUERY_MAX];
    struct writer w = writer_of((struct span){bytes, sizeof bytes});
    struct dns_question question = {.type = lookup->type == GATEWAY_LOOKUP_SRV ? DNS_TYPE_SRV
                                                                               : DNS_TYPE_TXT,
                                    .class = DNS_CLASS_IN};
    struct dns_msg query;
    if (!dns_name_parse(lookup->name, &question.name)) {
        return VIEW_EMPTY;
    }
    dns_msg_put_query(&w, 0, &question);
    if (dns_msg_parse(writer_view(&w), &query) != DROP_NONE) {
        return VIEW_EMPTY;
    }
    return dns_message(dns, &query, drawn);
}

static void resolver_answer(void *self, struct clock_pair now, uint32_t gateway,
                            const struct gateway_lookup *lookup, struct gateway_lookup_answer *out)
{
    struct sim_dns *dns = self;
    struct dns_drawn drawn;
    uint64_t draw = resolver_draw(dns, gateway, lookup);
    dns_table_answer(dns, lookup->name, type_of_lookup(lookup->type), now.boot, draw, &drawn);
    memset(out, 0, sizeof *out);
    out->lookup = lookup->lookup;
    out->result = result_of(drawn.failure);
    out->ttl_s = drawn.ttl_s;
    if (out->result != ERR_NONE) {
        return;
    }
    memcpy(out->addresses, drawn.addresses, sizeof out->addresses);
    out->addresses_count = drawn.addresses_count;
    if (lookup->type == GATEWAY_LOOKUP_SRV || lookup->type == GATEWAY_LOOKUP_TXT) {
        out->records = resolver_message(dns, lookup, &drawn);
    }
}

struct sim_resolver sim_dns_resolver(struct sim_dns *dns)
{
    return (struct sim_resolver){.self = dns, .start = resolver_start, .answer = resolver_answer};
}

/* ---- the server ---- */

static bool type_of_question(uint16_t type, enum sim_dns_type *out)
{
    switch (type) {
    case DNS_TYPE_A:
        *out = SIM_DNS_A;
        return true;
    case DNS_TYPE_AAAA:
        *out = SIM_DNS_AAAA;
        return true;
    case DNS_TYPE_CNAME:
        *out = SIM_DNS_CNAME;
        return true;
    case DNS_TYPE_TXT:
        *out = SIM_DNS_TXT;
        return true;
    case DNS_TYPE_SRV:
        *out = SIM_DNS_SRV;
        return true;
    default:
        return false;
    }
}

static void send_answer(struct sim_dns *dns, const struct dns_pending *pending, struct instant now,
                        struct sim_outbox *out)
{
    struct dns_msg query;
    struct view bytes = {pending->query_bytes, pending->query_len};
    if (dns_msg_parse(bytes, &query) != DROP_NONE) {
        return; /* cannot be: it was parsed before it was kept */
    }
    uint8_t text[DNS_NAME_TEXT_SIZE_MAX];
    struct writer w = writer_of((struct span){text, sizeof text});
    dns_name_put(&w, &query.question.name);
    struct dns_drawn drawn;
    enum sim_dns_type type;
    if (query.question.class == DNS_CLASS_IN && type_of_question(query.question.type, &type)) {
        dns_table_answer(dns, writer_view(&w), type, now, pending->draw, &drawn);
    } else {
        memset(&drawn, 0, sizeof drawn);
        drawn.failure = SIM_DNS_EMPTY;
    }
    struct view message = dns_message(dns, &query, &drawn);
    size_t len = dns_msg_truncate((struct span){dns->message, message.len}, UDP_SIZE_MAX);
    if (drawn.failure == SIM_DNS_MALFORMED) {
        len = len > DNS_HEADER_SIZE + 1 ? DNS_HEADER_SIZE + 1 : len;
    }
    sim_put_datagram(out, pending->local, pending->remote, (struct view){dns->message, len});
}

static void node_addresses(void *node, struct clock_pair now,
                           const struct sim_host_addresses *addresses, struct sim_outbox *out)
{
    (void)node;
    (void)now;
    if (addresses->ipv4.family != IP_NONE) {
        sim_put_bind(out, sock_addr_of(addresses->ipv4, DNS_PORT));
    }
    if (addresses->ipv6.family != IP_NONE) {
        sim_put_bind(out, sock_addr_of(addresses->ipv6, DNS_PORT));
    }
}

static void node_datagram(void *node, struct clock_pair now, const struct sim_datagram *datagram,
                          struct sim_outbox *out)
{
    struct sim_dns *dns = node;
    struct dns_msg query;
    if (datagram->local.port != DNS_PORT || datagram->bytes.len > DNS_QUERY_MAX ||
        dns_msg_parse(datagram->bytes, &query) != DROP_NONE || dns_msg_is_response(&query)) {
        dns->counters.malformed++;
        return;
    }
    uint8_t text[DNS_NAME_TEXT_SIZE_MAX];
    struct writer w = writer_of((struct span){text, sizeof text});
    dns_name_put(&w, &query.question.name);
    enum sim_dns_type type = SIM_DNS_A;
    (void)type_of_question(query.question.type, &type);
    dns->seen = instant_max(dns->seen, now.boot);
    dns->counters.lookups++;
    uint64_t draw = dns_table_draw(dns, writer_view(&w), type);
    struct duration latency = dns_table_latency(dns, writer_view(&w), type, draw);
    struct dns_pending *pending = latency.ns == TIME_NEVER.ns ? NULL : pending_new(dns);
    if (pending == NULL) {
        dns->counters.failures[SIM_DNS_TIMEOUT]++;
        return;
    }
    pending->query = true;
    pending->draw = draw;
    pending->at = instant_add(now.boot, latency);
    pending->local = datagram->local;
    pending->remote = datagram->remote;
    pending->query_len = (uint16_t)datagram->bytes.len;
    memcpy(pending->query_bytes, datagram->bytes.at, datagram->bytes.len);
    if (latency.ns == 0) {
        send_answer(dns, pending, now.boot, out);
        pending_end(dns, pending);
    }
}

static void node_timeout(void *node, struct clock_pair now, struct sim_outbox *out)
{
    struct sim_dns *dns = node;
    for (uint32_t i = 0; i < dns->pending_high; i++) {
        struct dns_pending *pending = &dns->pending[i];
        if (pending->used && pending->query && instant_reached(now.boot, pending->at)) {
            send_answer(dns, pending, now.boot, out);
            pending_end(dns, pending);
        }
    }
}

static struct wake node_wake(const void *node)
{
    const struct sim_dns *dns = node;
    struct instant next = TIME_NEVER;
    for (uint32_t i = 0; i < dns->pending_high; i++) {
        if (dns->pending[i].used && dns->pending[i].query) {
            next = instant_min(next, dns->pending[i].at);
        }
    }
    return (struct wake){next, "dns answers"};
}

static void node_restart(void *node, struct clock_pair now, const uint8_t seed[32])
{
    struct sim_dns *dns = node;
    (void)now;
    (void)seed; /* draws stay keyed by the configuration */
    memset(dns->pending, 0, sizeof dns->pending);
    dns->pending_high = 0;
}

struct sim_node sim_dns_node(struct sim_dns *dns)
{
    static const struct sim_node_ops ops = {
        .kind = "dns",
        .handle_addresses = node_addresses,
        .handle_datagram = node_datagram,
        .handle_timeout = node_timeout,
        .poll_timeout = node_wake,
        .restart = node_restart,
    };
    return (struct sim_node){&ops, dns};
}
