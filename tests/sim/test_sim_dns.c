#include "sim/sim_dns.h"

#include <stdlib.h>
#include <string.h>

#include "dns/dns_msg.h"
#include "tests/support/support.h"

static struct clock_pair at_ms(uint64_t ms)
{
    return (struct clock_pair){{ms * NS_PER_MS}, ms * NS_PER_MS};
}

static struct ip_addr ip_of(const char *text)
{
    struct ip_addr ip;
    assert_true(ip_parse(view_text(text), &ip));
    return ip;
}

static struct sim_dns *start(void)
{
    struct sim_dns_config config = {.seed = {5}, .all = {.latency = DURATION_MS(20)}};
    struct sim_dns *dns = sim_dns_new(&config);
    assert_non_null(dns);
    assert_int_equal(sim_dns_add_address(dns, "Web.Corp.Test", ip_of("10.3.0.2")), ERR_NONE);
    assert_int_equal(sim_dns_add_address(dns, "web.corp.test.", ip_of("fd33::2")), ERR_NONE);
    return dns;
}

/* Looks a name up; returns the latency in ms and fills `out`. */
static uint64_t look_up(struct sim_dns *dns, const char *name, enum gateway_lookup_type type,
                        uint64_t now_ms, struct gateway_lookup_answer *out)
{
    static uint32_t id;
    struct sim_resolver resolver = sim_dns_resolver(dns);
    struct gateway_lookup lookup = {.lookup = ++id, .type = type, .name = view_text(name)};
    struct duration latency = resolver.start(resolver.self, at_ms(now_ms), 0, &lookup);
    if (latency.ns == TIME_NEVER.ns) {
        return UINT64_MAX;
    }
    uint64_t due = now_ms + latency.ns / NS_PER_MS;
    resolver.answer(resolver.self, at_ms(due), 0, &lookup, out);
    assert_int_equal(out->lookup, id);
    return latency.ns / NS_PER_MS;
}

static void test_addresses_are_found_whatever_the_case(void **state)
{
    (void)state;
    struct sim_dns *dns = start();
    struct gateway_lookup_answer answer;
    assert_int_equal(look_up(dns, "WEB.corp.test", GATEWAY_LOOKUP_A, 0, &answer), 20);
    assert_int_equal(answer.result, ERR_NONE);
    assert_int_equal(answer.addresses_count, 1);
    struct ip_addr expected = ip_of("10.3.0.2");
    assert_true(ip_equal(&answer.addresses[0], &expected));
    assert_int_equal(answer.ttl_s, SIM_DNS_TTL_S);
    (void)look_up(dns, "web.corp.test", GATEWAY_LOOKUP_AAAA, 0, &answer);
    assert_int_equal(answer.addresses_count, 1);
    assert_int_equal(answer.addresses[0].family, IP_V6);
    (void)look_up(dns, "nobody.corp.test", GATEWAY_LOOKUP_A, 0, &answer);
    assert_int_equal(answer.result, ERR_NAME);
    (void)look_up(dns, "web.corp.test", GATEWAY_LOOKUP_TXT, 0, &answer);
    assert_int_equal(answer.result, ERR_NONE); /* it exists */
    assert_int_equal(answer.addresses_count, 0);
    sim_dns_free(dns);
}

static void test_records_begin_and_end(void **state)
{
    (void)state;
    struct sim_dns *dns = start();
    struct gateway_lookup_answer answer;
    struct sim_dns_record record = {.type = SIM_DNS_A,
                                    .address = ip_of("10.3.0.9"),
                                    .ttl_s = 7,
                                    .from = {1000 * NS_PER_MS},
                                    .until = {2000 * NS_PER_MS}};
    assert_int_equal(sim_dns_add(dns, "web.corp.test", &record), ERR_NONE);
    static const struct {
        uint64_t at; /* of the answer */
        unsigned count;
    } rows[] = {{999, 1}, {1000, 2}, {1999, 2}, {2000, 1}};
    for (unsigned i = 0; i < 4; i++) {
        (void)look_up(dns, "web.corp.test", GATEWAY_LOOKUP_A, rows[i].at - 20, &answer);
        assert_int_equal(answer.addresses_count, rows[i].count);
        assert_int_equal(answer.ttl_s, rows[i].count == 2 ? 7 : SIM_DNS_TTL_S);
    }
    sim_dns_end(dns, "web.corp.test", SIM_DNS_A, (struct instant){3000 * NS_PER_MS});
    (void)look_up(dns, "web.corp.test", GATEWAY_LOOKUP_A, 2980, &answer);
    assert_int_equal(answer.result, ERR_NONE); /* AAAA is left */
    assert_int_equal(answer.addresses_count, 0);
    sim_dns_free(dns);
}

static void test_a_change_during_a_slow_lookup_shows(void **state)
{
    (void)state;
    struct sim_dns *dns = start();
    struct sim_resolver resolver = sim_dns_resolver(dns);
    struct gateway_lookup lookup = {.lookup = 1, .name = view_text("web.corp.test")};
    struct gateway_lookup_answer answer;
    struct duration latency = resolver.start(resolver.self, at_ms(0), 0, &lookup);
    assert_int_equal(latency.ns, 20 * NS_PER_MS);
    sim_dns_end(dns, "web.corp.test", SIM_DNS_A, (struct instant){10 * NS_PER_MS});
    assert_int_equal(sim_dns_add_address(dns, "web.corp.test", ip_of("10.3.0.99")), ERR_NONE);
    resolver.answer(resolver.self, at_ms(20), 0, &lookup, &answer);
    assert_int_equal(answer.addresses_count, 1);
    assert_int_equal(answer.addresses[0].bytes[3], 99);
    sim_dns_free(dns);
}

static void test_every_failure_has_its_result(void **state)
{
    (void)state;
    static const struct {
        enum sim_dns_failure failure;
        enum err result;
        unsigned addresses;
        uint64_t latency;
    } rows[] = {
        {SIM_DNS_OK, ERR_NONE, 1, 20},      {SIM_DNS_NXDOMAIN, ERR_NAME, 0, 20},
        {SIM_DNS_SERVFAIL, ERR_IO, 0, 20},  {SIM_DNS_REFUSED, ERR_IO, 0, 20},
        {SIM_DNS_EMPTY, ERR_NONE, 0, 20},   {SIM_DNS_TIMEOUT, ERR_NONE, 0, UINT64_MAX},
        {SIM_DNS_LATE, ERR_NONE, 1, 11000}, {SIM_DNS_REBIND, ERR_NONE, 1, 20},
        {SIM_DNS_MANY, ERR_NONE, 64, 20},   {SIM_DNS_MALFORMED, ERR_IO, 0, 20},
    };
    struct sim_dns *dns = start();
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct gateway_lookup_answer answer = {0};
        struct sim_dns_behaviour behaviour = {.failure = rows[i].failure};
        assert_int_equal(sim_dns_behave(dns, "web.corp.test", &behaviour), ERR_NONE);
        assert_int_equal(look_up(dns, "web.corp.test", GATEWAY_LOOKUP_A, 0, &answer),
                         rows[i].latency);
        assert_int_equal(answer.result, rows[i].result);
        assert_int_equal(answer.addresses_count, rows[i].addresses);
        if (rows[i].failure != SIM_DNS_OK) {
            assert_int_equal(sim_dns_counters(dns)->failures[rows[i].failure], 1);
        }
    }
    sim_dns_free(dns);
}

static void test_a_failure_spares_the_types_that_it_should(void **state)
{
    (void)state;
    struct sim_dns *dns = start();
    struct gateway_lookup_answer answer;
    struct sim_dns_behaviour behaviour = {.failure = SIM_DNS_TIMEOUT, .spared = 1U << SIM_DNS_A};
    assert_int_equal(sim_dns_behave(dns, "web.corp.test", &behaviour), ERR_NONE);
    assert_int_equal(look_up(dns, "web.corp.test", GATEWAY_LOOKUP_A, 0, &answer), 20);
    assert_int_equal(answer.addresses_count, 1);
    assert_int_equal(look_up(dns, "web.corp.test", GATEWAY_LOOKUP_AAAA, 0, &answer), UINT64_MAX);
    behaviour.spared = 1U << SIM_DNS_AAAA;
    assert_int_equal(sim_dns_behave(dns, "", &behaviour), ERR_NONE);
    assert_int_equal(look_up(dns, "web.corp.test", GATEWAY_LOOKUP_A, 0, &answer), UINT64_MAX);
    assert_int_equal(look_up(dns, "web.corp.test", GATEWAY_LOOKUP_AAAA, 0, &answer), UINT64_MAX);
    sim_dns_free(dns);
}

static void test_rebinding_answers_only_forbidden_addresses_of_the_family(void **state)
{
    (void)state;
    struct sim_dns *dns = start();
    struct sim_dns_behaviour behaviour = {.failure = SIM_DNS_REBIND};
    assert_int_equal(sim_dns_behave(dns, "", &behaviour), ERR_NONE);
    assert_int_equal(sim_dns_forbidden(dns, ip_of("198.51.100.1")), ERR_NONE);
    bool own = false;
    for (unsigned i = 0; i < 100; i++) {
        struct gateway_lookup_answer answer;
        (void)look_up(dns, "web.corp.test", i % 2 == 0 ? GATEWAY_LOOKUP_A : GATEWAY_LOOKUP_AAAA, 0,
                      &answer);
        assert_int_equal(answer.addresses_count, 1);
        assert_int_equal(answer.addresses[0].family, i % 2 == 0 ? IP_V4 : IP_V6);
        assert_int_not_equal(answer.addresses[0].bytes[0], 10);
        own = own || (i % 2 == 0 && answer.addresses[0].bytes[0] == 198);
    }
    assert_true(own);
    sim_dns_free(dns);
}

static void test_failures_by_percentage_are_drawn_by_name_and_ordinal(void **state)
{
    (void)state;
    bool failed[2][200];
    for (unsigned run = 0; run < 2; run++) {
        struct sim_dns *dns = start();
        struct sim_dns_behaviour behaviour = {.failure = SIM_DNS_SERVFAIL, .failure_percent = 30};
        assert_int_equal(sim_dns_behave(dns, "web.corp.test", &behaviour), ERR_NONE);
        unsigned count = 0;
        for (unsigned i = 0; i < 200; i++) {
            struct gateway_lookup_answer answer;
            if (run == 1) {
                (void)look_up(dns, "other.test", GATEWAY_LOOKUP_A, 0, &answer); /* disturbs not */
            }
            (void)look_up(dns, "web.corp.test", GATEWAY_LOOKUP_A, 0, &answer);
            failed[run][i] = answer.result == ERR_IO;
            count += failed[run][i];
        }
        assert_in_range(count, 30, 90);
        sim_dns_free(dns);
    }
    assert_memory_equal(failed[0], failed[1], sizeof failed[0]);
}

static void test_aliases_are_followed_and_loops_are_servfail(void **state)
{
    (void)state;
    struct sim_dns *dns = start();
    struct gateway_lookup_answer answer;
    struct sim_dns_record alias = {
        .type = SIM_DNS_CNAME, .text = "web.corp.test", .until = TIME_NEVER};
    assert_int_equal(sim_dns_add(dns, "www.corp.test", &alias), ERR_NONE);
    (void)look_up(dns, "www.corp.test", GATEWAY_LOOKUP_A, 0, &answer);
    assert_int_equal(answer.addresses_count, 1);
    alias.text = "b.test";
    assert_int_equal(sim_dns_add(dns, "a.test", &alias), ERR_NONE);
    alias.text = "a.test";
    assert_int_equal(sim_dns_add(dns, "b.test", &alias), ERR_NONE);
    (void)look_up(dns, "a.test", GATEWAY_LOOKUP_A, 0, &answer);
    assert_int_equal(answer.result, ERR_IO);
    alias.text = "bad..name";
    assert_int_equal(sim_dns_add(dns, "c.test", &alias), ERR_ARGUMENT);
    sim_dns_free(dns);
}

static void test_srv_and_txt_come_as_messages(void **state)
{
    (void)state;
    struct sim_dns *dns = start();
    struct gateway_lookup_answer answer;
    struct sim_dns_record srv = {.type = SIM_DNS_SRV,
                                 .text = "web.corp.test",
                                 .priority = 1,
                                 .weight = 2,
                                 .port = 443,
                                 .until = TIME_NEVER};
    struct sim_dns_record txt = {.type = SIM_DNS_TXT, .text = "hello", .until = TIME_NEVER};
    assert_int_equal(sim_dns_add(dns, "_http._tcp.corp.test", &srv), ERR_NONE);
    assert_int_equal(sim_dns_add(dns, "_http._tcp.corp.test", &txt), ERR_NONE);
    (void)look_up(dns, "_http._tcp.corp.test", GATEWAY_LOOKUP_SRV, 0, &answer);
    struct dns_msg msg;
    struct dns_record record;
    struct dns_srv parsed;
    assert_int_equal(dns_msg_parse(answer.records, &msg), DROP_NONE);
    struct dns_walk walk = dns_msg_walk_answers(&msg);
    assert_true(dns_msg_next(&msg, &walk, &record));
    assert_true(dns_record_srv(&msg, &record, &parsed));
    assert_int_equal(parsed.port, 443);
    (void)look_up(dns, "_http._tcp.corp.test", GATEWAY_LOOKUP_TXT, 0, &answer);
    assert_int_equal(dns_msg_parse(answer.records, &msg), DROP_NONE);
    struct view text;
    walk = dns_msg_walk_answers(&msg);
    assert_true(dns_msg_next(&msg, &walk, &record));
    assert_true(dns_record_text(&record, &text));
    assert_true(view_equal_text(text, "hello"));
    sim_dns_free(dns);
}

static size_t query(struct sim_dns *dns, const char *name, uint16_t type, uint64_t now_ms,
                    struct sim_outbox *out)
{
    uint8_t bytes[512];
    struct writer w = writer_of((struct span){bytes, sizeof bytes});
    struct dns_question question = {.type = type, .class = DNS_CLASS_IN};
    assert_true(dns_name_parse(view_text(name), &question.name));
    dns_msg_put_query(&w, 77, &question);
    struct sim_datagram datagram = {.local = sock_addr_of(ip_of("192.0.2.53"), 53),
                                    .remote = sock_addr_of(ip_of("192.0.2.1"), 5000),
                                    .bytes = writer_view(&w)};
    struct sim_node node = sim_dns_node(dns);
    sim_outbox_clear(out);
    node.ops->handle_datagram(node.self, at_ms(now_ms), &datagram, out);
    return sim_outbox_count(out);
}

static void test_the_server_answers_queries_after_its_latency(void **state)
{
    (void)state;
    struct sim_dns *dns = start();
    struct sim_outbox *out = sim_outbox_new();
    struct sim_node node = sim_dns_node(dns);
    assert_int_equal(query(dns, "web.corp.test", DNS_TYPE_A, 0, out), 0);
    assert_int_equal(node.ops->poll_timeout(node.self).at.ns, 20 * NS_PER_MS);
    node.ops->handle_timeout(node.self, at_ms(19), out);
    assert_int_equal(sim_outbox_count(out), 0);
    node.ops->handle_timeout(node.self, at_ms(20), out);
    assert_int_equal(sim_outbox_count(out), 1);
    assert_true(instant_is_never(node.ops->poll_timeout(node.self).at));
    struct dns_msg msg;
    bool good;
    struct ip_addr addresses[4];
    const struct sim_out *sent = sim_outbox_at(out, 0);
    assert_int_equal(sent->datagram.remote.port, 5000);
    assert_int_equal(dns_msg_parse(sent->datagram.bytes, &msg), DROP_NONE);
    assert_int_equal(msg.id, 77);
    assert_int_equal(dns_msg_rcode(&msg), DNS_NOERROR);
    assert_int_equal(dns_msg_addresses(&msg, addresses, 4, &good), 1);
    sim_outbox_free(out);
    sim_dns_free(dns);
}

static void test_the_server_fails_as_told(void **state)
{
    (void)state;
    static const struct {
        enum sim_dns_failure failure;
        int rcode; /* -1: silence, -2: unreadable */
    } rows[] = {{SIM_DNS_NXDOMAIN, DNS_NXDOMAIN},
                {SIM_DNS_SERVFAIL, DNS_SERVFAIL},
                {SIM_DNS_REFUSED, DNS_REFUSED},
                {SIM_DNS_EMPTY, DNS_NOERROR},
                {SIM_DNS_TIMEOUT, -1},
                {SIM_DNS_MALFORMED, -2}};
    struct sim_dns *dns = start();
    struct sim_outbox *out = sim_outbox_new();
    struct sim_dns_behaviour fast = {.failure = SIM_DNS_OK};
    assert_int_equal(sim_dns_behave(dns, "", &fast), ERR_NONE);
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sim_dns_behaviour behaviour = {.failure = rows[i].failure};
        assert_int_equal(sim_dns_behave(dns, "web.corp.test", &behaviour), ERR_NONE);
        size_t count = query(dns, "web.corp.test", DNS_TYPE_A, 0, out);
        assert_int_equal(count, rows[i].rcode == -1 ? 0 : 1);
        if (count == 0) {
            continue;
        }
        struct dns_msg msg;
        enum drop_reason reason = dns_msg_parse(sim_outbox_at(out, 0)->datagram.bytes, &msg);
        assert_int_equal(reason == DROP_NONE, rows[i].rcode >= 0);
        if (reason == DROP_NONE) {
            assert_int_equal(dns_msg_rcode(&msg), rows[i].rcode);
            assert_int_equal(msg.answers_count, 0);
        }
    }
    assert_int_equal(query(dns, "web.corp.test", DNS_TYPE_MX, 0, out), 1);
    sim_outbox_free(out);
    sim_dns_free(dns);
}

static void test_garbage_is_counted_and_dropped(void **state)
{
    (void)state;
    struct sim_dns *dns = start();
    struct sim_outbox *out = sim_outbox_new();
    struct sim_node node = sim_dns_node(dns);
    uint8_t bytes[40] = {0};
    for (size_t len = 0; len <= sizeof bytes; len++) {
        struct sim_datagram datagram = {.local = sock_addr_of(ip_of("192.0.2.53"), 53),
                                        .remote = sock_addr_of(ip_of("192.0.2.1"), 5000),
                                        .bytes = {bytes, len}};
        node.ops->handle_datagram(node.self, at_ms(0), &datagram, out);
    }
    assert_int_equal(sim_outbox_count(out), 0);
    assert_int_equal(sim_dns_counters(dns)->malformed, sizeof bytes + 1);
    sim_outbox_free(out);
    sim_dns_free(dns);
}

static void test_full_tables_say_so_and_ended_records_make_room(void **state)
{
    (void)state;
    struct sim_dns *dns = start();
    for (unsigned i = 2; i < SIM_DNS_RECORDS_MAX; i++) {
        assert_int_equal(sim_dns_add_address(dns, "big.test", ip_of("10.0.0.1")), ERR_NONE);
    }
    assert_int_equal(sim_dns_add_address(dns, "big.test", ip_of("10.0.0.1")), ERR_FULL);
    sim_dns_end(dns, "big.test", SIM_DNS_A, (struct instant){NS_PER_S});
    struct gateway_lookup_answer answer;
    (void)look_up(dns, "web.corp.test", GATEWAY_LOOKUP_A, 5000, &answer);
    assert_int_equal(sim_dns_add_address(dns, "new.test", ip_of("10.0.0.1")), ERR_NONE);
    (void)look_up(dns, "new.test", GATEWAY_LOOKUP_A, 5000, &answer);
    assert_int_equal(answer.addresses_count, 1);
    sim_dns_free(dns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_are_found_whatever_the_case),
        cmocka_unit_test(test_records_begin_and_end),
        cmocka_unit_test(test_a_change_during_a_slow_lookup_shows),
        cmocka_unit_test(test_every_failure_has_its_result),
        cmocka_unit_test(test_a_failure_spares_the_types_that_it_should),
        cmocka_unit_test(test_rebinding_answers_only_forbidden_addresses_of_the_family),
        cmocka_unit_test(test_failures_by_percentage_are_drawn_by_name_and_ordinal),
        cmocka_unit_test(test_aliases_are_followed_and_loops_are_servfail),
        cmocka_unit_test(test_srv_and_txt_come_as_messages),
        cmocka_unit_test(test_the_server_answers_queries_after_its_latency),
        cmocka_unit_test(test_the_server_fails_as_told),
        cmocka_unit_test(test_garbage_is_counted_and_dropped),
        cmocka_unit_test(test_full_tables_say_so_and_ended_records_make_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
