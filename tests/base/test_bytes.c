#include "tests/support/support.h"

#include "base/bytes.h"

static void test_reader_stays_failed_after_the_first_overrun(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {1, 2, 3, 4, 5};
    struct reader r = reader_of(VIEW_OF(bytes));
    assert_int_equal(reader_be16(&r), 0x0102);
    assert_int_equal(reader_le16(&r), 0x0403);
    assert_false(reader_finish(&r));
    assert_int_equal(reader_be32(&r), 0);
    assert_false(reader_ok(&r));
    assert_int_equal(reader_u8(&r), 0); /* the byte is there, the reader is not */
    assert_false(reader_finish(&r));
}

static void test_reader_finishes_only_when_everything_was_used(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct reader r = reader_of(VIEW_OF(bytes));
    assert_true(reader_be64(&r) == UINT64_C(0x0102030405060708));
    assert_true(reader_finish(&r));
}

static void test_writer_never_overruns(void **state)
{
    (void)state;
    uint8_t room[5] = {0, 0, 0, 0, 0x55};
    struct writer w = writer_of((struct span){room, 4});
    writer_be16(&w, 0x0102);
    writer_le32(&w, 1);
    assert_false(writer_finish(&w));
    writer_u8(&w, 9);
    assert_int_equal(writer_view(&w).len, 0);
    assert_int_equal(room[4], 0x55);
}

static void test_views_compare_bytewise(void **state)
{
    (void)state;
    assert_true(view_compare(view_text("a"), view_text("b")) < 0);
    assert_true(view_compare(view_text("ab"), view_text("a")) > 0);
    assert_int_equal(view_compare(VIEW_EMPTY, VIEW_EMPTY), 0);
    assert_true(view_equal_nocase(view_text("UpGrade"), view_text("uPgRADE")));
    assert_false(view_equal_nocase(view_text("@"), view_text("`")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader_stays_failed_after_the_first_overrun),
        cmocka_unit_test(test_reader_finishes_only_when_everything_was_used),
        cmocka_unit_test(test_writer_never_overruns),
        cmocka_unit_test(test_views_compare_bytewise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
