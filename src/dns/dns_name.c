#include "dns/dns_name.h"

#include <string.h>

#include "base/assert.h"
#include "base/text.h"

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* Reads what follows a backslash. */
static uint8_t read_escape(struct reader *r)
{
    uint8_t first = reader_u8(r);
    if (!is_digit(first)) {
        /* An escaped character stands for itself; so must it be printable. */
        r->failed = r->failed || first < 0x20 || first > 0x7e;
        return first;
    }
    uint8_t second = reader_u8(r);
    uint8_t third = reader_u8(r);
    unsigned value = (first - '0') * 100U + (second - '0') * 10U + (third - '0');
    if (!is_digit(second) || !is_digit(third) || value > 255) {
        r->failed = true;
    }
    return (uint8_t)value;
}

/* Reads one label and the dot after it, if any. `at_end` tells whether the text ended. */
static void read_label(struct reader *r, struct writer *w, bool *at_end)
{
    uint8_t *len = writer_reserve(w, 1);
    size_t start = w->used;
    /* "\[" would start a binary label, RFC 2673. */
    if (r->rest.len >= 2 && r->rest.at[0] == '\\' && r->rest.at[1] == '[') {
        r->failed = true;
    }
    *at_end = true;
    while (r->rest.len > 0 && !r->failed && !w->failed) {
        uint8_t c = reader_u8(r);
        if (c == '.') {
            *at_end = false;
            break;
        }
        bool is_escape = c == '\\';
        r->failed = r->failed || c < 0x20 || c > 0x7e;
        writer_u8(w, is_escape ? read_escape(r) : c);
    }
    size_t size = w->used - start;
    if (len == NULL || w->failed || size == 0 || size > DNS_LABEL_SIZE_MAX) {
        r->failed = true;
        return;
    }
    *len = (uint8_t)size;
}

bool dns_name_parse(struct view text, struct dns_name *out)
{
    struct dns_name name = {.size = 1};
    if (view_equal_text(text, ".")) {
        *out = name;
        return true;
    }
    struct reader r = reader_of(text);
    struct writer w = writer_of((struct span){name.wire, sizeof(name.wire)});
    bool at_end = false;
    do {
        read_label(&r, &w, &at_end);
    } while (!at_end && r.rest.len > 0 && !r.failed);
    writer_u8(&w, 0);
    if (!reader_finish(&r) || !writer_finish(&w)) {
        return false;
    }
    name.size = (uint8_t)w.used;
    *out = name;
    return true;
}

static void put_byte(struct writer *w, uint8_t c)
{
    if (c < 0x20 || c > 0x7e) {
        writer_u8(w, '\\');
        writer_u8(w, (uint8_t)('0' + c / 100));
        writer_u8(w, (uint8_t)('0' + c / 10 % 10));
        writer_u8(w, (uint8_t)('0' + c % 10));
        return;
    }
    if (c == ' ' || c == '.' || c == '\\') {
        writer_u8(w, '\\');
    }
    writer_u8(w, c);
}

void dns_name_put(struct writer *w, const struct dns_name *name)
{
    if (dns_name_is_root(name)) {
        writer_u8(w, '.');
        return;
    }
    for (size_t at = 0; name->wire[at] != 0; at += 1U + name->wire[at]) {
        if (at > 0) {
            writer_u8(w, '.');
        }
        for (size_t i = 1; i <= name->wire[at]; i++) {
            put_byte(w, name->wire[at + i]);
        }
    }
}

bool dns_name_from_wire(struct view wire, struct dns_name *out)
{
    if (wire.len == 0 || wire.len > DNS_NAME_SIZE_MAX) {
        return false;
    }
    size_t at = 0;
    while (at < wire.len && wire.at[at] != 0) {
        if (wire.at[at] > DNS_LABEL_SIZE_MAX) {
            return false;
        }
        at += 1U + wire.at[at];
    }
    if (at + 1 != wire.len) {
        return false;
    }
    *out = (struct dns_name){.size = (uint8_t)wire.len};
    memcpy(out->wire, wire.at, wire.len);
    return true;
}

struct view dns_name_wire(const struct dns_name *name)
{
    return (struct view){name->wire, name->size};
}

bool dns_name_is_root(const struct dns_name *name)
{
    return name->size == 1;
}

static bool has_byte(struct view label, uint8_t byte)
{
    for (size_t i = 0; i < label.len; i++) {
        if (label.at[i] == byte) {
            return true;
        }
    }
    return false;
}

bool dns_name_is_safe(const struct dns_name *name)
{
    for (size_t at = 0; name->wire[at] != 0; at += 1U + name->wire[at]) {
        struct view label = {name->wire + at + 1, name->wire[at]};
        if (has_byte(label, '.') || has_byte(label, '/')) {
            return false;
        }
    }
    return true;
}

/* Length bytes are below 'A', so the whole wire form can be compared as letters. */
bool dns_name_equal(const struct dns_name *a, const struct dns_name *b)
{
    static_assert(DNS_LABEL_SIZE_MAX < 'A', "a length byte is never a letter");
    return view_equal_nocase(dns_name_wire(a), dns_name_wire(b));
}

/* Stores the offsets of the labels; returns how many. */
static size_t label_offsets(const struct dns_name *name, uint8_t out[DNS_NAME_LABELS_MAX])
{
    size_t count = 0;
    for (size_t at = 0; name->wire[at] != 0; at += 1U + name->wire[at]) {
        ASSERT(count < DNS_NAME_LABELS_MAX);
        out[count++] = (uint8_t)at;
    }
    return count;
}

static int compare_labels(const uint8_t *a, const uint8_t *b)
{
    size_t shorter = a[0] < b[0] ? a[0] : b[0];
    for (size_t i = 1; i <= shorter; i++) {
        int order = (int)lower(a[i]) - (int)lower(b[i]);
        if (order != 0) {
            return order;
        }
    }
    return (int)a[0] - (int)b[0];
}

int dns_name_compare(const struct dns_name *a, const struct dns_name *b)
{
    uint8_t labels_a[DNS_NAME_LABELS_MAX];
    uint8_t labels_b[DNS_NAME_LABELS_MAX];
    size_t count_a = label_offsets(a, labels_a);
    size_t count_b = label_offsets(b, labels_b);
    while (count_a > 0 && count_b > 0) {
        count_a--;
        count_b--;
        int order = compare_labels(a->wire + labels_a[count_a], b->wire + labels_b[count_b]);
        if (order != 0) {
            return order;
        }
    }
    return (count_a > 0 ? 1 : 0) - (count_b > 0 ? 1 : 0);
}

struct dns_name dns_name_lower(const struct dns_name *name)
{
    struct dns_name result = *name;
    for (size_t i = 0; i < result.size; i++) {
        result.wire[i] = lower(result.wire[i]);
    }
    return result;
}

bool dns_name_is_within(const struct dns_name *name, const struct dns_name *zone)
{
    struct view wanted = dns_name_wire(zone);
    for (size_t at = 0;; at += 1U + name->wire[at]) {
        struct view rest = {name->wire + at, name->size - at};
        if (rest.len <= wanted.len) {
            return view_equal_nocase(rest, wanted);
        }
    }
}

static void put_ipv4_labels(struct writer *w, struct view address)
{
    for (size_t i = address.len; i > 0; i--) {
        text_put_u64(w, address.at[i - 1]);
        writer_u8(w, '.');
    }
    writer_text(w, "in-addr.arpa");
}

static void put_ipv6_labels(struct writer *w, struct view address)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = address.len; i > 0; i--) {
        writer_u8(w, (uint8_t)digits[address.at[i - 1] & 0x0fU]);
        writer_u8(w, '.');
        writer_u8(w, (uint8_t)digits[address.at[i - 1] >> 4U]);
        writer_u8(w, '.');
    }
    writer_text(w, "ip6.arpa");
}

struct dns_name dns_name_reverse(struct view address)
{
    ASSERT(address.len == 4 || address.len == 16);
    uint8_t text[80];
    struct writer w = writer_of((struct span){text, sizeof(text)});
    if (address.len == 4) {
        put_ipv4_labels(&w, address);
    } else {
        put_ipv6_labels(&w, address);
    }
    struct dns_name name = {.size = 0};
    bool is_parsed = dns_name_parse(writer_view(&w), &name);
    ASSERT(is_parsed);
    return name;
}
