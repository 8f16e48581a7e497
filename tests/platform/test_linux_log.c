#include "platform/linux/linux_log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/text.h"
#include "tests/support/support.h"

#define AT_NS UINT64_C(1735689599999000000) /* 2024-12-31T23:59:59.999Z */

static const char *format(bool json, bool colour, const struct trace_event *event, char *room)
{
    struct linux_log log = {.fd = -1, .level = TRACE_TRACE, .json = json, .colour = colour};
    struct writer w = writer_of((struct span){(uint8_t *)room, LINUX_LOG_LINE_MAX - 1});
    linux_log_put(&w, &log, event);
    assert_true(writer_finish(&w));
    room[w.used] = '\0';
    return room;
}

static void test_times_are_iso_8601_in_utc(void **state)
{
    (void)state;
    static const struct {
        uint64_t ns;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {AT_NS, "2024-12-31T23:59:59.999Z"},
        {UINT64_C(951782400000000000), "2000-02-29T00:00:00.000Z"},
        {UINT64_C(951868799123456789), "2000-02-29T23:59:59.123Z"},
        {UINT64_C(4107542400000000000), "2100-03-01T00:00:00.000Z"},
        {UINT64_C(1709164800000000000), "2024-02-29T00:00:00.000Z"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char room[64] = {0};
        struct writer w = writer_of((struct span){(uint8_t *)room, sizeof(room) - 1});
        linux_log_put_time(&w, rows[i].ns);
        assert_string_equal(room, rows[i].text);
    }
}

static void test_human_lines(void **state)
{
    (void)state;
    char room[LINUX_LOG_LINE_MAX];
    struct trace_event event = {.event = EV_PORTAL_LOST,
                                .at = {{1}, AT_NS},
                                .text = view_text("closed\x1b[2J\n"),
                                .value = 612};
    assert_string_equal(
        format(false, false, &event, room),
        "2024-12-31T23:59:59.999Z  WARN portal_lost value=612 text=\"closed.[2J.\"\n");
    assert_non_null(strstr(format(false, true, &event, room), "\033[33m WARN\033[0m"));
}

static void test_json_lines_escape_their_text(void **state)
{
    (void)state;
    char room[LINUX_LOG_LINE_MAX];
    struct trace_event event = {
        .event = EV_ENVIRONMENT, .at = {{1}, AT_NS}, .text = view_text("a\"b\\"), .value = ERR_IO};
    assert_string_equal(format(true, true, &event, room),
                        "{\"time\":\"2024-12-31T23:59:59.999Z\",\"severity\":\"WARNING\","
                        "\"message\":\"environment value=12 text=\\\"a.b\\\\\\\" "
                        "(input or output failed)\"}\n");
}

static const char *domain_in_flow(const char *domain, char room[LINUX_LOG_FLOW_MAX])
{
    static const char key[] = "\"domain\":\"";
    struct gateway_flow flow = {.protocol = 6,
                                .source = sock_addr_of(ip_v4(100, 64, 0, 9), 4000),
                                .destination = sock_addr_of(ip_v4(10, 3, 0, 2), 443),
                                .domain = view_text(domain)};
    struct writer w = writer_of((struct span){(uint8_t *)room, LINUX_LOG_FLOW_MAX - 1});
    linux_log_put_flow(&w, &flow);
    assert_true(writer_finish(&w));
    assert_true(text_is_utf8(writer_view(&w)));
    room[w.used] = '\0';
    char *at = strstr(room, key);
    assert_non_null(at);
    at += sizeof(key) - 1;
    *strstr(at, "\",\"outers") = '\0';
    return at;
}

static void test_json_text_is_utf8_whatever_comes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *json;
    } rows[] = {
        {"m\xc3\xbcnchen.\xe6\x97\xa5\xe6\x9c\xac", "m\xc3\xbcnchen.\xe6\x97\xa5\xe6\x9c\xac"},
        {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
        {"\xff", "\\\\xff"},
        {"a\xe2\x82", "a\\\\xe2\\\\x82"},
        {"\xe2\x82z", "\\\\xe2\\\\x82z"},
        {"\xc0\xaf", "\\\\xc0\\\\xaf"},
        {"\xe0\x80\xaf", "\\\\xe0\\\\x80\\\\xaf"},
        {"\xed\xa0\x80", "\\\\xed\\\\xa0\\\\x80"},
        {"\xf4\x90\x80\x80", "\\\\xf4\\\\x90\\\\x80\\\\x80"},
        {"\xe2\x80\xa8\xe2\x80\xa9", "\\u2028\\u2029"},
        {"\xe2\x80\xae", "\\u202e"},
        {"a\nb\tc\x1b[2J\x7f\xc2\x9b", "a\\u000ab\\u0009c\\u001b[2J\\u007f\\u009b"},
        {"\"\\", "\\\"\\\\"},
    };
    char room[LINUX_LOG_FLOW_MAX];
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        assert_string_equal(domain_in_flow(rows[i].text, room), rows[i].json);
    }
}

static void test_names_of_other_alphabets_can_be_read(void **state)
{
    (void)state;
    char room[LINUX_LOG_LINE_MAX];
    struct trace_event event = {
        .event = EV_DNS_QUERY,
        .at = {{1}, AT_NS},
        .text = view_text("m\xc3\xbcnchen\xff\xe2\x80\xae\xc2\x9b.\xe6\x97\xa5")};
    assert_non_null(
        strstr(format(false, false, &event, room), "text=\"m\xc3\xbcnchen....\xe6\x97\xa5\""));
    assert_non_null(
        strstr(format(true, false, &event, room), "text=\\\"m\xc3\xbcnchen....\xe6\x97\xa5\\\""));
}

/* Each of these takes two characters in JSON. */
static void test_a_line_of_json_holds_every_text_that_fits_a_line(void **state)
{
    (void)state;
    char text[LINUX_LOG_LINE_MAX];
    char room[LINUX_LOG_LINE_MAX];
    memset(text, '\\', sizeof(text));
    for (size_t len = 0; len < sizeof(text); len++) {
        struct trace_event event = {
            .event = EV_DNS_QUERY, .at = {{1}, AT_NS}, .text = {(const uint8_t *)text, len}};
        assert_non_null(strstr(format(true, false, &event, room), "\"}\n"));
    }
}

static void test_a_text_too_long_leaves_the_event_name(void **state)
{
    (void)state;
    char room[LINUX_LOG_LINE_MAX];
    char text[2000];
    memset(text, 'x', sizeof(text));
    struct trace_event event = {.event = EV_DNS_QUERY, .at = {{1}, AT_NS}, .text = VIEW_OF(text)};
    assert_string_equal(format(false, false, &event, room),
                        "2024-12-31T23:59:59.999Z DEBUG DNS_QUERY\n");
}

static const char *format_flow(const struct gateway_flow *flow, char room[LINUX_LOG_FLOW_MAX])
{
    struct writer w = writer_of((struct span){(uint8_t *)room, LINUX_LOG_FLOW_MAX - 1});
    linux_log_put_flow(&w, flow);
    assert_true(writer_finish(&w));
    room[w.used] = '\0';
    return room;
}

static void test_flow_records_are_json_lines(void **state)
{
    (void)state;
    char room[LINUX_LOG_FLOW_MAX];
    struct gateway_flow flow = {
        .protocol = 6,
        .client = {{0xaa, [15] = 1}},
        .resource = {{0xbb, [15] = 2}},
        .source = sock_addr_of(ip_v4(100, 64, 0, 9), 4000),
        .destination = sock_addr_of(ip_v4(10, 3, 0, 2), 443),
        .domain = view_text("web.\"corp\""),
        .outers_count = 2,
        .outers = {{sock_addr_of(ip_v4(203, 0, 113, 50), 52625),
                    sock_addr_of(ip_v4(10, 2, 0, 2), 52625), AT_NS},
                   {sock_addr_of(ip_v4(203, 0, 113, 10), 50000), {{0}, 0}, AT_NS}},
        .start_unix_ns = AT_NS,
        .last_packet_unix_ns = AT_NS + NS_PER_S,
        .end_unix_ns = AT_NS + 2 * NS_PER_S,
        .rx_packets = 1,
        .tx_packets = 2,
        .rx_bytes = 3,
        .tx_bytes = 4,
    };
#define FLOW_HEAD(time, event)                                                                     \
    "{\"time\":\"" time "\",\"type\":\"flow\",\"event\":\"" event "\",\"protocol\":\"tcp\","       \
    "\"client_id\":\"aa000000-0000-0000-0000-000000000001\","                                      \
    "\"resource_id\":\"bb000000-0000-0000-0000-000000000002\","                                    \
    "\"inner_src_ip\":\"100.64.0.9\",\"inner_src_port\":4000,\"inner_dst_ip\":\"10.3.0.2\","       \
    "\"inner_dst_port\":443,\"domain\":\"web.\\\"corp\\\"\",\"outers\":[{\"path_activated_at\":"   \
    "\"2024-12-31T23:59:59.999Z\",\"src_ip\":\"203.0.113.50\",\"src_port\":52625,"                 \
    "\"dst_ip\":\"10.2.0.2\",\"dst_port\":52625},{\"path_activated_at\":"                          \
    "\"2024-12-31T23:59:59.999Z\",\"src_ip\":\"203.0.113.10\",\"src_port\":50000}],"               \
    "\"flow_start\":\"2024-12-31T23:59:59.999Z\""
    assert_string_equal(format_flow(&flow, room),
                        FLOW_HEAD("2024-12-31T23:59:59.999Z", "start") "}\n");
    flow.ended = true;
    assert_string_equal(
        format_flow(&flow, room),
        FLOW_HEAD(
            "2025-01-01T00:00:01.999Z",
            "end") ",\"flow_end\":"
                   "\"2025-01-01T00:00:01.999Z\",\"last_packet\":\"2025-01-01T00:00:00.999Z\","
                   "\"rx_packets\":1,\"tx_packets\":2,\"rx_bytes\":3,\"tx_bytes\":4}\n");
}

/* A pipe as the log's descriptor. */
struct pipe_log {
    int fd[2];
    struct linux_log log;
};

static void open_pipe_log(struct pipe_log *p, int level)
{
    assert_int_equal(pipe2(p->fd, O_NONBLOCK), 0);
    struct linux_log_options options = {p->fd[1], level, false};
    linux_log_init(&p->log, &options);
    assert_false(p->log.colour);
}

static size_t count_lines(struct pipe_log *p)
{
    char room[4096];
    size_t lines = 0;
    ssize_t got = 0;
    while ((got = read(p->fd[0], room, sizeof(room))) > 0) {
        for (ssize_t i = 0; i < got; i++) {
            lines += room[i] == '\n' ? 1 : 0;
        }
    }
    return lines;
}

static void close_pipe_log(struct pipe_log *p)
{
    (void)close(p->fd[0]);
    (void)close(p->fd[1]);
}

static void test_colours_are_for_terminals_and_people(void **state)
{
    (void)state;
    struct linux_log log;
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    const char *name = NULL;
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) {
        print_message("skipped: no terminal here\n");
        skip();
    }
    name = ptsname(master);
    assert_non_null(name);
    int terminal = open(name, O_RDWR | O_NOCTTY);
    assert_true(terminal >= 0);
    linux_log_init(&log, &(struct linux_log_options){terminal, TRACE_INFO, false});
    assert_true(log.colour);
    linux_log_init(&log, &(struct linux_log_options){terminal, TRACE_INFO, true});
    assert_false(log.colour);
    int file = open("/dev/null", O_WRONLY);
    linux_log_init(&log, &(struct linux_log_options){file, TRACE_INFO, false});
    assert_false(log.colour);
    (void)close(file);
    (void)close(terminal);
    (void)close(master);
}

static void test_levels_filter(void **state)
{
    (void)state;
    struct pipe_log p;
    open_pipe_log(&p, TRACE_INFO);
    struct trace trace = linux_log_trace(&p.log);
    trace_emit(&trace, &(struct trace_event){.event = EV_SHUTDOWN, .at = {{1}, AT_NS}});
    trace_emit(&trace, &(struct trace_event){.event = EV_HANDSHAKE, .at = {{1}, AT_NS}});
    trace_emit(&trace, &(struct trace_event){.event = EV_PORTAL_LOST, .at = {{1}, AT_NS}});
    assert_int_equal(count_lines(&p), 2);
    p.log.level = -1;
    trace_emit(&trace, &(struct trace_event){.event = EV_PORTAL_FATAL, .at = {{1}, AT_NS}});
    linux_log_line(&p.log, TRACE_ERROR, AT_NS, "text");
    assert_int_equal(count_lines(&p), 0);
    close_pipe_log(&p);
}

static void test_packet_lines_are_bounded_per_second(void **state)
{
    (void)state;
    struct pipe_log p;
    open_pipe_log(&p, TRACE_TRACE);
    struct trace trace = linux_log_trace(&p.log);
    struct trace_event event = {.event = EV_DROP, .reason = DROP_FILTER, .at = {{1}, AT_NS}};
    size_t lines = 0;
    for (size_t i = 0; i < LINUX_LOG_TRACE_PER_S + 50; i++) {
        trace_emit(&trace, &event);
        lines += count_lines(&p);
    }
    assert_int_equal(lines, LINUX_LOG_TRACE_PER_S);
    assert_int_equal(p.log.suppressed, 50);
    event.at.unix_ns += NS_PER_S;
    trace_emit(&trace, &event);
    assert_int_equal(count_lines(&p), 2); /* what was left out, and the event */
    assert_int_equal(p.log.suppressed, 0);
    close_pipe_log(&p);
}

static void test_a_reader_that_stops_loses_lines_only(void **state)
{
    (void)state;
    struct pipe_log p;
    open_pipe_log(&p, TRACE_INFO);
    struct trace trace = linux_log_trace(&p.log);
    for (size_t i = 0; i < 5000; i++) {
        trace_emit(&trace, &(struct trace_event){.event = EV_SHUTDOWN, .at = {{1}, AT_NS}});
    }
    assert_true(p.log.suppressed > 0);
    close_pipe_log(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times_are_iso_8601_in_utc),
        cmocka_unit_test(test_human_lines),
        cmocka_unit_test(test_json_lines_escape_their_text),
        cmocka_unit_test(test_json_text_is_utf8_whatever_comes),
        cmocka_unit_test(test_names_of_other_alphabets_can_be_read),
        cmocka_unit_test(test_a_line_of_json_holds_every_text_that_fits_a_line),
        cmocka_unit_test(test_a_text_too_long_leaves_the_event_name),
        cmocka_unit_test(test_flow_records_are_json_lines),
        cmocka_unit_test(test_colours_are_for_terminals_and_people),
        cmocka_unit_test(test_levels_filter),
        cmocka_unit_test(test_packet_lines_are_bounded_per_second),
        cmocka_unit_test(test_a_reader_that_stops_loses_lines_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
