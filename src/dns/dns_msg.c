#include "dns/dns_msg.h"

#include <string.h>

#include "base/assert.h"

#define POINTER_MARK 0xc0U

/* Reads the name at *at, which may be compressed, and moves *at behind it. Every pointer must aim
 * below the place that the last one aimed at, so the reading ends, and not into the header; there
 * are no more of them than labels in the longest name. */
static bool read_name(struct view msg, size_t *at, struct dns_name *out)
{
    struct dns_name name = {.size = 0};
    size_t used = 0;
    size_t i = *at;
    size_t limit = *at; /* pointers aim below this */
    size_t jumps = 0;
    for (;;) {
        if (i >= msg.len) {
            return false;
        }
        uint8_t len = msg.at[i];
        if ((len & POINTER_MARK) == POINTER_MARK) {
            if (i + 1 >= msg.len) {
                return false;
            }
            size_t target = load_be16(msg.at + i) & 0x3fffU;
            if (target >= limit || target < DNS_HEADER_SIZE || jumps == DNS_NAME_LABELS_MAX) {
                return false;
            }
            *at = jumps > 0 ? *at : i + 2;
            jumps++;
            limit = target;
            i = target;
            continue;
        }
        size_t size = 1U + len;
        if (len > DNS_LABEL_SIZE_MAX || size > msg.len - i || size > DNS_NAME_SIZE_MAX - used) {
            return false;
        }
        memcpy(name.wire + used, msg.at + i, size);
        used += size;
        i += size;
        if (len == 0) {
            break;
        }
    }
    *at = jumps > 0 ? *at : i;
    name.size = (uint8_t)used;
    *out = name;
    return true;
}

enum drop_reason dns_msg_parse(struct view bytes, struct dns_msg *out)
{
    *out = (struct dns_msg){.bytes = bytes};
    if (bytes.len < DNS_HEADER_SIZE || bytes.len > DNS_MSG_SIZE_MAX ||
        load_be16(bytes.at + 4) != 1) {
        return DROP_DNS_MALFORMED;
    }
    size_t at = DNS_HEADER_SIZE;
    if (!read_name(bytes, &at, &out->question.name) || bytes.len - at < 4) {
        return DROP_DNS_MALFORMED;
    }
    out->id = load_be16(bytes.at);
    out->flags = load_be16(bytes.at + 2);
    out->answers_count = load_be16(bytes.at + 6);
    out->question.type = load_be16(bytes.at + at);
    out->question.class = load_be16(bytes.at + at + 2);
    out->records_offset = at + 4;
    return DROP_NONE;
}

uint8_t dns_msg_rcode(const struct dns_msg *msg)
{
    return (uint8_t)(msg->flags & DNS_RCODE_MASK);
}

bool dns_msg_is_response(const struct dns_msg *msg)
{
    return (msg->flags & DNS_FLAG_RESPONSE) != 0;
}

bool dns_msg_is_answer(const struct dns_msg *response, const struct dns_msg *query)
{
    return dns_msg_is_response(response) && response->id == query->id &&
           response->question.type == query->question.type &&
           response->question.class == query->question.class &&
           dns_name_equal(&response->question.name, &query->question.name);
}

struct dns_walk dns_msg_walk_answers(const struct dns_msg *msg)
{
    return (struct dns_walk){.offset = msg->records_offset, .left = msg->answers_count};
}

/* Reads one record and moves *at behind it. */
static bool read_record(struct view msg, size_t *at, struct dns_record *out)
{
    if (!read_name(msg, at, &out->name) || msg.len - *at < 10) {
        return false;
    }
    const uint8_t *fixed = msg.at + *at;
    out->type = load_be16(fixed);
    out->class = load_be16(fixed + 2);
    out->ttl_s = load_be32(fixed + 4);
    size_t data_len = load_be16(fixed + 8);
    *at += 10;
    if (data_len > msg.len - *at) {
        return false;
    }
    out->data_offset = *at;
    out->data = view_sub(msg, *at, data_len);
    *at += data_len;
    return true;
}

bool dns_msg_next(const struct dns_msg *msg, struct dns_walk *walk, struct dns_record *out)
{
    *out = (struct dns_record){.type = 0};
    if (walk->left == 0 || walk->failed) {
        return false;
    }
    walk->left--;
    walk->failed = !read_record(msg->bytes, &walk->offset, out);
    return !walk->failed;
}

bool dns_record_address(const struct dns_record *record, struct ip_addr *out)
{
    if (record->class != DNS_CLASS_IN) {
        return false;
    }
    if (record->type == DNS_TYPE_A && record->data.len == 4) {
        *out = ip_from_bytes(IP_V4, record->data.at);
        return true;
    }
    if (record->type == DNS_TYPE_AAAA && record->data.len == 16) {
        *out = ip_from_bytes(IP_V6, record->data.at);
        return true;
    }
    return false;
}

/* Reads a name that fills the record's data from `skip` on. */
static bool read_data_name(const struct dns_msg *msg, const struct dns_record *record, size_t skip,
                           struct dns_name *out)
{
    size_t at = record->data_offset + skip;
    return record->data.len > skip && read_name(msg->bytes, &at, out) &&
           at == record->data_offset + record->data.len;
}

bool dns_record_name(const struct dns_msg *msg, const struct dns_record *record,
                     struct dns_name *out)
{
    bool has_name = record->type == DNS_TYPE_PTR || record->type == DNS_TYPE_CNAME;
    return has_name && record->class == DNS_CLASS_IN && read_data_name(msg, record, 0, out);
}

bool dns_record_srv(const struct dns_msg *msg, const struct dns_record *record, struct dns_srv *out)
{
    if (record->type != DNS_TYPE_SRV || record->class != DNS_CLASS_IN ||
        !read_data_name(msg, record, 6, &out->target)) {
        return false;
    }
    out->priority = load_be16(record->data.at);
    out->weight = load_be16(record->data.at + 2);
    out->port = load_be16(record->data.at + 4);
    return true;
}

bool dns_record_text(const struct dns_record *record, struct view *out)
{
    if (record->type != DNS_TYPE_TXT || record->class != DNS_CLASS_IN || record->data.len == 0 ||
        record->data.at[0] > record->data.len - 1) {
        return false;
    }
    *out = view_sub(record->data, 1, record->data.at[0]);
    return true;
}

size_t dns_msg_addresses(const struct dns_msg *msg, struct ip_addr *out, size_t max, bool *ok)
{
    struct dns_walk walk = dns_msg_walk_answers(msg);
    struct dns_record record;
    size_t count = 0;
    while (dns_msg_next(msg, &walk, &record)) {
        struct ip_addr address;
        if (count < max && dns_record_address(&record, &address)) {
            out[count++] = address;
        }
    }
    *ok = !walk.failed;
    return count;
}

static void put_question(struct writer *w, const struct dns_question *question)
{
    writer_bytes(w, dns_name_wire(&question->name));
    writer_be16(w, question->type);
    writer_be16(w, question->class);
}

/* Appends the header of a message with one question and, so far, no records. */
static void put_header(struct writer *w, uint16_t id, uint16_t flags)
{
    writer_be16(w, id);
    writer_be16(w, flags);
    writer_be16(w, 1);
    writer_zeros(w, 6);
}

void dns_msg_put_query(struct writer *w, uint16_t id, const struct dns_question *question)
{
    put_header(w, id, DNS_FLAG_RECURSION_DESIRED);
    put_question(w, question);
}

struct dns_build dns_build_response(struct writer *w, const struct dns_msg *query,
                                    enum dns_rcode rcode)
{
    struct dns_build build = {.w = w, .start = w->used};
    unsigned kept = query->flags & (DNS_OPCODE_MASK | DNS_FLAG_RECURSION_DESIRED);
    unsigned flags = DNS_FLAG_RESPONSE | DNS_FLAG_RECURSION_AVAILABLE | kept | (unsigned)rcode;
    put_header(w, query->id, (uint16_t)flags);
    put_question(w, &query->question);
    return build;
}

/* Appends a record up to its data's length; the owner is a pointer to the question. */
static void put_record_head(struct dns_build *build, enum dns_type type, uint32_t ttl_s,
                            size_t data_len)
{
    struct writer *w = build->w;
    writer_be16(w, (uint16_t)(POINTER_MARK << 8U | DNS_HEADER_SIZE));
    writer_be16(w, (uint16_t)type);
    writer_be16(w, DNS_CLASS_IN);
    writer_be32(w, ttl_s);
    writer_be16(w, (uint16_t)data_len);
    if (build->answers_count == UINT16_MAX) {
        w->failed = true;
        return;
    }
    build->answers_count++;
}

void dns_build_address(struct dns_build *build, const struct ip_addr *address, uint32_t ttl_s)
{
    ASSERT(address->family == IP_V4 || address->family == IP_V6);
    enum dns_type type = address->family == IP_V4 ? DNS_TYPE_A : DNS_TYPE_AAAA;
    put_record_head(build, type, ttl_s, ip_size(address));
    writer_bytes(build->w, ip_view(address));
}

static void put_name_record(struct dns_build *build, enum dns_type type,
                            const struct dns_name *target, uint32_t ttl_s)
{
    put_record_head(build, type, ttl_s, target->size);
    writer_bytes(build->w, dns_name_wire(target));
}

void dns_build_ptr(struct dns_build *build, const struct dns_name *target, uint32_t ttl_s)
{
    put_name_record(build, DNS_TYPE_PTR, target, ttl_s);
}

void dns_build_cname(struct dns_build *build, const struct dns_name *target, uint32_t ttl_s)
{
    put_name_record(build, DNS_TYPE_CNAME, target, ttl_s);
}

void dns_build_srv(struct dns_build *build, const struct dns_srv *srv, uint32_t ttl_s)
{
    put_record_head(build, DNS_TYPE_SRV, ttl_s, 6U + srv->target.size);
    writer_be16(build->w, srv->priority);
    writer_be16(build->w, srv->weight);
    writer_be16(build->w, srv->port);
    writer_bytes(build->w, dns_name_wire(&srv->target));
}

void dns_build_text(struct dns_build *build, struct view text, uint32_t ttl_s)
{
    ASSERT(text.len <= DNS_TXT_STRING_MAX);
    put_record_head(build, DNS_TYPE_TXT, ttl_s, 1 + text.len);
    writer_u8(build->w, (uint8_t)text.len);
    writer_bytes(build->w, text);
}

bool dns_build_finish(struct dns_build *build)
{
    struct writer *w = build->w;
    if (!writer_finish(w) || w->used - build->start > DNS_MSG_SIZE_MAX) {
        return false;
    }
    store_be16(w->out.at + build->start + 6, build->answers_count);
    return true;
}

void dns_msg_put_empty(struct writer *w, const struct dns_msg *query, enum dns_rcode rcode)
{
    struct dns_build build = dns_build_response(w, query, rcode);
    w->failed = !dns_build_finish(&build);
}

size_t dns_msg_truncate(struct span message, size_t max)
{
    struct dns_msg msg;
    if (dns_msg_parse(view_of_span(message), &msg) != DROP_NONE) {
        return 0;
    }
    if (message.len <= max) {
        return message.len;
    }
    if (msg.records_offset > max) {
        return 0;
    }
    store_be16(message.at + 2, (uint16_t)(msg.flags | DNS_FLAG_TRUNCATED));
    memset(message.at + 6, 0, 6); /* no records of any section */
    return msg.records_offset;
}
