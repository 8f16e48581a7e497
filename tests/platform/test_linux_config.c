#include "platform/linux/linux_config.h"

#include <stdlib.h>
#include <string.h>

#include "platform/linux/linux_config_value.h"
#include "tests/support/support.h"

static const char *const no_env[] = {NULL};
static const char *const token_env[] = {"FIREZONE_TOKEN=t0ken", NULL};

struct parsed {
    struct linux_config config;
    enum linux_config_verdict verdict;
    char message[LINUX_CONFIG_MESSAGE_MAX];
};

static struct parsed parse(const char *const *argv, const char *const *envp)
{
    struct parsed p;
    p.verdict = linux_config_parse(&p.config, argv, envp, p.message);
    return p;
}

#define ARGS(...) ((const char *const[]){"firezone-gateway", __VA_ARGS__, NULL})
#define ENV(...)  ((const char *const[]){__VA_ARGS__, NULL})

static void test_defaults_are_those_of_the_reference(void **state)
{
    (void)state;
    struct parsed p = parse(ARGS("t0ken"), no_env);
    assert_int_equal(p.verdict, LINUX_CONFIG_RUN);
    assert_string_equal(p.config.token, "t0ken");
    assert_string_equal(p.config.api_url, "wss://api.firezone.dev");
    assert_null(p.config.name);
    assert_null(p.config.id);
    assert_int_equal(p.config.health.port, 8080);
    assert_true(ip_is_unspecified(&p.config.health.ip));
    assert_int_equal(p.config.log_level, TRACE_INFO);
    assert_int_equal(p.config.log_format, LINUX_CONFIG_HUMAN);
    assert_true(p.config.partition_max_s == 86400);
    assert_true(p.config.nat64_translate);
    assert_int_equal(p.config.listen_port, 52625);
    assert_string_equal(p.config.client_version, "1.5.2");
    assert_string_equal(p.config.tun_name, "tun-firezone");
    assert_string_equal(p.config.aead, "auto");
    assert_int_equal(p.config.limits.clients, gateway_limits_default().clients);
    assert_false(p.config.no_check);
    assert_string_equal(p.message, "");
}

static void test_every_variable_of_the_reference_is_read(void **state)
{
    (void)state;
    struct parsed p = parse(
        ARGS(NULL),
        ENV("FIREZONE_TOKEN=tok", "FIREZONE_API_URL=ws://h:1", "FIREZONE_NAME=", "FIREZONE_ID=me",
            "FIREZONE_NO_TELEMETRY=true", "HEALTH_CHECK_ADDR=[::1]:81", "RUST_LOG=debug",
            "FIREZONE_NO_CHECK=true", "FIREZONE_LOG_FORMAT=json", "FIREZONE_FLOW_LOGS=false",
            "FIREZONE_METRICS=stdout", "OTLP_GRPC_ENDPOINT=h:4317",
            "FIREZONE_VALIDATE_CHECKSUMS=true", "FIREZONE_NO_INC_BUF=true",
            "FIREZONE_MAX_PARTITION_TIME=1h 30m", "FIREZONE_NUM_TUN_THREADS=many",
            "FIREZONE_UDP_RECV_BUFFER_SIZE=1000", "FIREZONE_UDP_SEND_BUFFER_SIZE=2000",
            "CREDENTIALS_DIRECTORY=/run/c", "LOG_FORMAT=ignored", "FIREZONE_TOKENS=ignored"));
    assert_int_equal(p.verdict, LINUX_CONFIG_RUN);
    assert_string_equal(p.config.token, "tok");
    assert_string_equal(p.config.api_url, "ws://h:1");
    assert_string_equal(p.config.name, "");
    assert_string_equal(p.config.id, "me");
    assert_true(p.config.no_telemetry);
    assert_int_equal(p.config.health.ip.family, IP_V6);
    assert_int_equal(p.config.health.port, 81);
    assert_int_equal(p.config.log_level, TRACE_DEBUG);
    assert_int_equal(p.config.log_format, LINUX_CONFIG_JSON);
    assert_true(p.config.no_check);
    assert_false(p.config.flow_logs);
    assert_int_equal(p.config.max_flows, 65536);
    assert_string_equal(p.config.metrics, "stdout");
    assert_string_equal(p.config.otlp_endpoint, "h:4317");
    assert_true(p.config.validate_checksums);
    assert_true(p.config.no_increase_buffers);
    assert_true(p.config.partition_max_s == 5400);
    assert_int_equal(p.config.udp_receive_buffer, 1000);
    assert_int_equal(p.config.udp_send_buffer, 2000);
    assert_string_equal(p.config.credentials_directory, "/run/c");
}

static void test_an_option_beats_its_variable(void **state)
{
    (void)state;
    struct parsed p =
        parse(ARGS("-u", "ws://a", "--firezone-name=b", "-ic", "-m=2h", "--log-format", "json",
                   "cli", "--nat64=icmp", "--tun-offload=tso", "--portal-api=auto", "--no-gso",
                   "--listen-port", "0", "--no-huge-pages", "--core-dumps"),
              ENV("FIREZONE_TOKEN=env", "FIREZONE_API_URL=ws://env", "FIREZONE_NAME=env",
                  "FIREZONE_ID=env", "FIREZONE_LOG_FORMAT=human"));
    assert_int_equal(p.verdict, LINUX_CONFIG_RUN);
    assert_string_equal(p.config.token, "cli");
    assert_string_equal(p.config.api_url, "ws://a");
    assert_string_equal(p.config.name, "b");
    assert_string_equal(p.config.id, "c");
    assert_true(p.config.partition_max_s == 7200);
    assert_int_equal(p.config.log_format, LINUX_CONFIG_JSON);
    assert_false(p.config.nat64_translate);
    assert_int_equal(p.config.offload, LINUX_CONFIG_OFFLOAD_TSO);
    assert_int_equal(p.config.portal_api, LINUX_CONFIG_PORTAL_AUTO);
    assert_true(p.config.no_gso);
    assert_true(p.config.no_huge_pages);
    assert_true(p.config.core_dumps);
    assert_false(p.config.no_gro);
    assert_false(p.config.no_sandbox);
    assert_int_equal(p.config.listen_port, 0);
}

static void test_limits_are_options_and_shown_with_defaults(void **state)
{
    (void)state;
    struct parsed p = parse(ARGS("t", "--max-clients=5", "--max-nat-sessions", "77"), no_env);
    assert_int_equal(p.verdict, LINUX_CONFIG_RUN);
    assert_int_equal(p.config.limits.clients, 5);
    assert_int_equal(p.config.limits.nat_sessions, 77);

    char *room = calloc(1, 16384);
    assert_non_null(room);
    struct writer w = writer_of((struct span){(uint8_t *)room, 16383});
    linux_config_help(&w);
    assert_true(writer_finish(&w));
    const char *line = strstr(room, "--max-clients");
    assert_non_null(line);
    assert_non_null(strstr(line, "[16384]"));
    assert_non_null(strstr(room, "FIREZONE_MAX_PARTITION_TIME"));
    free(room);
}

static void test_questions_win_over_everything_behind_them(void **state)
{
    (void)state;
    assert_int_equal(parse(ARGS("--help"), no_env).verdict, LINUX_CONFIG_HELP);
    assert_int_equal(parse(ARGS("-h", "--nonsense"), no_env).verdict, LINUX_CONFIG_HELP);
    assert_int_equal(parse(ARGS("-V"), no_env).verdict, LINUX_CONFIG_VERSION);
    assert_int_equal(parse(ARGS("--version"), ENV("FIREZONE_NO_CHECK=bad")).verdict,
                     LINUX_CONFIG_VERSION);
}

static void test_usage_errors(void **state)
{
    (void)state;
    static const struct {
        const char *argument;
        const char *value;
    } rows[] = {
        {"--nonsense", NULL},
        {"-x", NULL},
        {"--api-url", NULL},
        {"--api-url", "no-scheme"},
        {"--health-check-addr", "8080"},
        {"--health-check-addr", "localhost:8080"},
        {"--log-format", "xml"},
        {"--max-partition-time", "5"},
        {"--max-partition-time", "5 fortnights"},
        {"--no-telemetry=true", NULL},
        {"--listen-port", "65536"},
        {"--listen-port", "-1"},
        {"--listen-port", "53"},
        {"--max-clients", "0"},
        {"--max-clients", "4294967296"},
        {"--nat64", "maybe"},
        {"--tun-offload", "gso"},
        {"--portal-api", "v3"},
        {"--aead", "fast"},
        {"--checksum", "sse"},
        {"--client-version", "1.5"},
        {"--client-version", "1.5.2-dev"},
        {"--tun-name", ""},
        {"--tun-name", "sixteen-letters-"},
        {"--tun-name", "a/b"},
        {"--tun-name", "a b"},
        {"--tun-name", "tun:1"},
        {"--tun-name", "tun%d"},
        {"--tun-name", ".."},
        {"--record", "file"},
        {"--record-plain", NULL},
        {"second", "third"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct parsed p = parse(ARGS(rows[i].argument, rows[i].value), token_env);
        if (p.verdict != LINUX_CONFIG_USAGE) {
            print_error("row %zu was accepted\n", i);
        }
        assert_int_equal(p.verdict, LINUX_CONFIG_USAGE);
        assert_true(strlen(p.message) > 0);
    }
}

static void test_flag_variables_are_true_or_false_only(void **state)
{
    (void)state;
    static const char *const bad[] = {"FIREZONE_NO_TELEMETRY=1", "FIREZONE_NO_TELEMETRY=yes",
                                      "FIREZONE_NO_TELEMETRY=", "FIREZONE_NO_TELEMETRY=TRUE"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_int_equal(parse(ARGS("t"), ENV(bad[i])).verdict, LINUX_CONFIG_USAGE);
    }
    assert_int_equal(parse(ARGS("t"), ENV("FIREZONE_NO_TELEMETRY=false")).verdict,
                     LINUX_CONFIG_RUN);
}

static void test_a_token_is_needed_and_never_repeated(void **state)
{
    (void)state;
    assert_int_equal(parse(ARGS(NULL), no_env).verdict, LINUX_CONFIG_USAGE);
    assert_int_equal(parse(ARGS(NULL), ENV("FIREZONE_TOKEN=")).verdict, LINUX_CONFIG_USAGE);
    struct parsed p = parse(ARGS(NULL), ENV("FIREZONE_TOKEN=", "CREDENTIALS_DIRECTORY=/c"));
    assert_int_equal(p.verdict, LINUX_CONFIG_RUN);
    assert_null(p.config.token);
    p = parse(ARGS("--", "-begins-with-a-dash"), no_env);
    assert_int_equal(p.verdict, LINUX_CONFIG_RUN);
    assert_string_equal(p.config.token, "-begins-with-a-dash");
    p = parse(ARGS("--s3cret", "s3cret", "s3cret"), no_env);
    assert_int_equal(p.verdict, LINUX_CONFIG_USAGE);
    assert_null(strstr(p.message, "s3cret"));
}

static void test_recording_without_a_key_must_be_insisted_on(void **state)
{
    (void)state;
    assert_int_equal(parse(ARGS("t", "--record", "f"), no_env).verdict, LINUX_CONFIG_USAGE);
    assert_int_equal(parse(ARGS("t", "--record", "f", "--record-plain"), no_env).verdict,
                     LINUX_CONFIG_RUN);
    assert_int_equal(parse(ARGS("t", "--record", "f", "--record-to", "k"), no_env).verdict,
                     LINUX_CONFIG_RUN);
}

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
        uint64_t seconds;
    } rows[] = {
        {"24h", true, 86400},
        {"1day", true, 86400},
        {"1day 2h 30m", true, 95400},
        {"1h30m", true, 5400},
        {"90s", true, 90},
        {" 5 min ", true, 300},
        {"1500ms", true, 2},
        {"1ns", true, 1},
        {"0s", true, 0},
        {"2weeks", true, 1209600},
        {"1M", true, 2630016},
        {"1m", true, 60},
        {"1y", true, 31557600},
        {"", false, 0},
        {"5", false, 0},
        {"h", false, 0},
        {"-5s", false, 0},
        {"5H", false, 0},
        {"1.5h", false, 0},
        {"584554530872y", false, 0},
        {"18446744073709551615s 1s", false, 0},
        {"99999999999999999999s", false, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uint64_t seconds = 7;
        bool good = linux_config_duration(view_text(rows[i].text), &seconds);
        if (good != rows[i].good || (good && seconds != rows[i].seconds)) {
            print_error("'%s': %d, %llu\n", rows[i].text, good, (unsigned long long)seconds);
        }
        assert_int_equal(good, rows[i].good);
        assert_true(seconds == (good ? rows[i].seconds : 7));
    }
}

static void test_log_levels_reduce_to_the_most_verbose(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int level;
    } rows[] = {
        {"info", TRACE_INFO},
        {"INFO", TRACE_INFO},
        {"debug", TRACE_DEBUG},
        {"trace", TRACE_TRACE},
        {"warn", TRACE_WARN},
        {"error", TRACE_ERROR},
        {"off", -1},
        {"5", TRACE_TRACE},
        {"info,wire=trace", TRACE_TRACE},
        {"warn,connlib_gateway=debug,boringtun=error", TRACE_DEBUG},
        {"off,x=warn", TRACE_WARN},
        {"x=off", -1},
        {" info , y=debug ", TRACE_DEBUG},
        {"", TRACE_INFO},
        {"nonsense", TRACE_INFO},
        {"a=b=c,", TRACE_INFO},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        if (linux_config_log_level(rows[i].text) != rows[i].level) {
            print_error("'%s'\n", rows[i].text);
        }
        assert_int_equal(linux_config_log_level(rows[i].text), rows[i].level);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_those_of_the_reference),
        cmocka_unit_test(test_every_variable_of_the_reference_is_read),
        cmocka_unit_test(test_an_option_beats_its_variable),
        cmocka_unit_test(test_limits_are_options_and_shown_with_defaults),
        cmocka_unit_test(test_questions_win_over_everything_behind_them),
        cmocka_unit_test(test_usage_errors),
        cmocka_unit_test(test_flag_variables_are_true_or_false_only),
        cmocka_unit_test(test_a_token_is_needed_and_never_repeated),
        cmocka_unit_test(test_recording_without_a_key_must_be_insisted_on),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_log_levels_reduce_to_the_most_verbose),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
