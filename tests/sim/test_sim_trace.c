#include "sim/sim_trace.h"

#include <string.h>

#include "tests/support/support.h"

static struct sock_addr at(uint8_t last)
{
    return (struct sock_addr){ip_v4(203, 0, 113, last), 1000};
}

static void put_datagram(struct sim_trace *trace, enum sim_kind kind, uint8_t from, uint8_t to,
                         const char *text)
{
    struct sock_addr ends[2] = {at(from), at(to)};
    sim_trace_datagram(trace, kind == SIM_KIND_DELIVERED ? to : from, kind, ends, view_text(text),
                       NULL);
}

/* Goal: the bytes that are hashed are the documented form. */
static void test_the_digest_is_blake2s_over_the_canonical_form(void **state)
{
    (void)state;
    uint64_t now = UINT64_C(0x0102030405060708);
    struct sim_trace *trace = sim_trace_new();
    sim_trace_set_clock(trace, &now);
    sim_trace_text(trace, 0x1122, SIM_KIND_STATE, "%s %d", "hi", 5);
    uint8_t digest[SIM_DIGEST_SIZE];
    sim_trace_digest(trace, digest);
    const uint8_t record[] = {
        0x08,
        0x07,
        0x06,
        0x05,
        0x04,
        0x03,
        0x02,
        0x01, /* time */
        0,
        0,
        0,
        0, /* sequence */
        0x22,
        0x11, /* node */
        SIM_KIND_STATE,
        0, /* kind */
        4,
        0,
        0,
        0, /* length */
        'h',
        'i',
        ' ',
        '5',
    };
    uint8_t expected[SIM_DIGEST_SIZE];
    assert_int_equal(blake2s(expected, record, NULL, sizeof(expected), sizeof(record), 0), 0);
    assert_memory_equal(digest, expected, sizeof(digest));
    sim_trace_free(trace);
}

static void test_every_field_of_a_record_changes_the_digest(void **state)
{
    (void)state;
    uint8_t digests[6][SIM_DIGEST_SIZE];
    for (unsigned i = 0; i < 6; i++) {
        uint64_t now = i == 1 ? 1 : 0;
        struct sim_trace *trace = sim_trace_new();
        sim_trace_set_clock(trace, &now);
        struct sock_addr ends[2] = {at(1), at(i == 2 ? 3 : 2)};
        sim_trace_datagram(trace, i == 3 ? 2 : 1, i == 4 ? SIM_KIND_DROPPED : SIM_KIND_SENT, ends,
                           view_text(i == 5 ? "b" : "a"), NULL);
        sim_trace_digest(trace, digests[i]);
        for (unsigned j = 0; j < i; j++) {
            assert_memory_not_equal(digests[i], digests[j], SIM_DIGEST_SIZE);
        }
        sim_trace_free(trace);
    }
}

static void test_readers_do_not_change_the_digest(void **state)
{
    (void)state;
    uint8_t digests[2][SIM_DIGEST_SIZE];
    for (unsigned i = 0; i < 2; i++) {
        uint64_t now = 0;
        struct sim_trace *trace = sim_trace_new();
        sim_trace_set_clock(trace, &now);
        FILE *sink = i == 1 ? tmpfile() : NULL;
        sim_trace_set_text(trace, sink, 0);
        for (now = 0; now < 3000; now++) {
            sim_trace_bytes(trace, 3, SIM_KIND_TUN_IN, 7, view_text("packet"));
            if (i == 1 && now % 500 == 0) {
                uint8_t ignored[SIM_DIGEST_SIZE];
                sim_trace_digest(trace, ignored);
            }
        }
        sim_trace_digest(trace, digests[i]);
        assert_int_equal(sim_trace_count(trace), 3000);
        assert_non_null(sim_trace_checkpoint(trace, 1));
        assert_null(sim_trace_checkpoint(trace, 2));
        if (sink != NULL) {
            assert_true(ftell(sink) > 3000);
            assert_int_equal(fclose(sink), 0);
        }
        sim_trace_free(trace);
    }
    assert_memory_equal(digests[0], digests[1], SIM_DIGEST_SIZE);
}

static void test_stream_digests_ignore_the_order_between_peers(void **state)
{
    (void)state;
    uint8_t digests[3][SIM_DIGEST_SIZE];
    for (unsigned i = 0; i < 3; i++) {
        struct sim_trace *trace = sim_trace_new();
        if (i == 0) {
            put_datagram(trace, SIM_KIND_SENT, 1, 2, "to two");
            put_datagram(trace, SIM_KIND_SENT, 1, 3, "to three");
        } else {
            put_datagram(trace, SIM_KIND_SENT, 1, 3, "to three");
            put_datagram(trace, SIM_KIND_SENT, 1, 2, i == 1 ? "to two" : "to twO");
        }
        sim_trace_streams_digest(trace, digests[i]);
        sim_trace_free(trace);
    }
    assert_memory_equal(digests[0], digests[1], SIM_DIGEST_SIZE);
    assert_memory_not_equal(digests[0], digests[2], SIM_DIGEST_SIZE);
}

static void test_the_dump_shows_the_last_records_oldest_first(void **state)
{
    (void)state;
    uint64_t now = 0;
    struct sim_trace *trace = sim_trace_new();
    sim_trace_set_clock(trace, &now);
    sim_trace_set_name(trace, 4, "client0");
    for (unsigned i = 0; i < SIM_RECORDS_KEPT + 10; i++) {
        sim_trace_text(trace, 4, SIM_KIND_NOTE, "record %u", i);
    }
    FILE *file = tmpfile();
    assert_non_null(file);
    sim_trace_dump(trace, file);
    rewind(file);
    char line[512];
    assert_non_null(fgets(line, sizeof(line), file));
    assert_non_null(strstr(line, "client0"));
    assert_non_null(strstr(line, "record 10"));
    unsigned lines = 1;
    while (fgets(line, sizeof(line), file) != NULL) {
        lines++;
    }
    assert_int_equal(lines, SIM_RECORDS_KEPT);
    assert_non_null(strstr(line, "record 73"));
    assert_int_equal(fclose(file), 0);
    sim_trace_free(trace);
}

static void count(void *self, const struct sim_record *record)
{
    unsigned *drops = self;
    *drops += record->cause != NULL && strcmp(record->cause, "loss") == 0 ? 1 : 0;
}

static void test_a_tap_sees_drops_with_their_cause(void **state)
{
    (void)state;
    unsigned drops = 0;
    struct sim_trace *trace = sim_trace_new();
    sim_trace_add_tap(trace, (struct sim_trace_tap){count, &drops});
    struct sock_addr ends[2] = {at(1), at(2)};
    sim_trace_datagram(trace, 1, SIM_KIND_DROPPED, ends, view_text("x"), "loss");
    assert_int_equal(drops, 1);
    sim_trace_free(trace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_digest_is_blake2s_over_the_canonical_form),
        cmocka_unit_test(test_every_field_of_a_record_changes_the_digest),
        cmocka_unit_test(test_readers_do_not_change_the_digest),
        cmocka_unit_test(test_stream_digests_ignore_the_order_between_peers),
        cmocka_unit_test(test_the_dump_shows_the_last_records_oldest_first),
        cmocka_unit_test(test_a_tap_sees_drops_with_their_cause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
