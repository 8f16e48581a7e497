/* fuzz_dns: arbitrary bytes as a DNS message, as a name and as a pattern.
 *
 * The first byte chooses: 0 message, 1 name in text form, else a pattern and a name divided by the
 * first zero byte.
 */
#include <string.h>

#include "base/assert.h"
#include "dns/dns_msg.h"
#include "dns/dns_pattern.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_name(const struct dns_name *name)
{
    uint8_t text[DNS_NAME_TEXT_SIZE_MAX];
    struct writer w = writer_of((struct span){text, sizeof(text)});
    dns_name_put(&w, name);
    ASSERT(writer_finish(&w));
    struct dns_name again;
    ASSERT(dns_name_parse(writer_view(&w), &again));
    ASSERT(view_equal(dns_name_wire(name), dns_name_wire(&again)));
    ASSERT(dns_name_from_wire(dns_name_wire(name), &again));
    ASSERT(dns_name_compare(name, &again) == 0);
}

static void walk(const struct dns_msg *msg)
{
    struct dns_walk walk = dns_msg_walk_answers(msg);
    struct dns_record record;
    while (dns_msg_next(msg, &walk, &record)) {
        struct dns_name name;
        struct dns_srv srv;
        struct view text;
        check_name(&record.name);
        if (dns_record_name(msg, &record, &name)) {
            check_name(&name);
        }
        if (dns_record_srv(msg, &record, &srv)) {
            check_name(&srv.target);
        }
        ASSERT(!dns_record_text(&record, &text) || text.len < record.data.len);
    }
    struct ip_addr addresses[4];
    bool ok = false;
    ASSERT(dns_msg_addresses(msg, addresses, 4, &ok) <= 4);
}

static void fuzz_msg(struct view bytes)
{
    struct dns_msg msg;
    if (dns_msg_parse(bytes, &msg) != DROP_NONE) {
        return;
    }
    check_name(&msg.question.name);
    walk(&msg);
    uint8_t room[1500];
    struct writer w = writer_of((struct span){room, sizeof(room)});
    dns_msg_put_empty(&w, &msg, DNS_SERVFAIL);
    struct dns_msg answer;
    ASSERT(dns_msg_parse(writer_view(&w), &answer) == DROP_NONE);
    ASSERT(dns_msg_is_answer(&answer, &msg));
    if (bytes.len <= sizeof(room)) {
        memcpy(room, bytes.at, bytes.len);
        size_t len = dns_msg_truncate((struct span){room, bytes.len}, 100);
        ASSERT(len <= 100);
        ASSERT(len == 0 || dns_msg_parse((struct view){room, len}, &answer) == DROP_NONE);
    }
}

static void fuzz_name(struct view bytes)
{
    struct dns_name name;
    if (dns_name_parse(bytes, &name)) {
        check_name(&name);
    }
}

static void fuzz_pattern(struct view bytes)
{
    const uint8_t *zero = bytes.len > 0 ? memchr(bytes.at, 0, bytes.len) : NULL;
    struct dns_name name;
    if (zero == NULL) {
        return;
    }
    size_t at = (size_t)(zero - bytes.at);
    struct view pattern = view_sub(bytes, 0, at);
    if (!dns_name_parse(view_sub(bytes, at + 1, bytes.len - at - 1), &name)) {
        return;
    }
    bool is_match = dns_pattern_matches(pattern, &name);
    ASSERT(!is_match || dns_pattern_is_valid(pattern));
    ASSERT(dns_pattern_compare(pattern, pattern) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct view rest = {data + 1, size - 1};
    if (data[0] == 0) {
        fuzz_msg(rest);
    } else if (data[0] == 1) {
        fuzz_name(rest);
    } else {
        fuzz_pattern(rest);
    }
    return 0;
}
