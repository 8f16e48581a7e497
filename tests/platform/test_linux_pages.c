/* The move must not be seen by who uses the memory, and only what is in use may move. */
#include "platform/linux/linux_pages.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/support/support.h"

#define RANGES 20U /* more than one look reaches */
#define SIZE   ((size_t)(RANGES + 1) * LINUX_PAGES_HUGE)

struct area {
    uint8_t *memory;
    uint8_t *ranges;
    struct linux_pages pages;
    struct clock_pair now;
};

static struct area *new_area(void)
{
    struct area *a = calloc(1, sizeof(*a));
    assert_non_null(a);
    a->memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(a->memory != MAP_FAILED);
    linux_pages_stay_small(a->memory, SIZE);
    a->now = (struct clock_pair){{NS_PER_S}, NS_PER_S};
    if (linux_pages_open(&a->pages, a->memory, SIZE, NULL) != ERR_NONE) {
        (void)munmap(a->memory, SIZE);
        free(a);
        print_message("skipped: no huge pages here\n");
        skip();
    }
    a->ranges = a->pages.ranges;
    assert_true(a->pages.count >= RANGES);
    return a;
}

static void end_area(struct area *a)
{
    linux_pages_close(&a->pages);
    linux_pages_tick(&a->pages, a->now, true); /* closed: nothing happens */
    assert_int_equal(munmap(a->memory, SIZE), 0);
    free(a);
}

static uint8_t content(uint32_t range, uint32_t page)
{
    return (uint8_t)(1 + (range * 31U + page) % 255U);
}

static void write_pages(struct area *a, uint32_t range, uint32_t first, uint32_t end)
{
    for (uint32_t page = first; page < end; page++) {
        memset(a->ranges + (size_t)range * LINUX_PAGES_HUGE + (size_t)page * LINUX_PAGES_SMALL + 7,
               content(range, page), 100);
    }
}

static void check_pages(const struct area *a, uint32_t range, uint32_t count)
{
    for (uint32_t page = 0; page < LINUX_PAGES_IN_RANGE; page++) {
        const uint8_t *at =
            a->ranges + (size_t)range * LINUX_PAGES_HUGE + (size_t)page * LINUX_PAGES_SMALL;
        uint8_t want = page < count ? content(range, page) : 0;
        assert_int_equal(at[6], 0);
        assert_int_equal(at[7], want);
        assert_int_equal(at[106], want);
        assert_int_equal(at[107], 0);
    }
}

/* Some rounds of a loop that wakes so seldom that every call is due, also after a page that was
 * long to find. False: the system had no huge page. */
static bool pass(struct area *a)
{
    for (uint32_t i = 0; i < 4 * RANGES; i++) {
        linux_pages_tick(&a->pages, a->now, true);
        a->now.boot = instant_add(a->now.boot, DURATION_S(LINUX_PAGES_REST_S));
    }
    return !a->pages.lack_told;
}

static void test_a_range_in_use_moves_and_keeps_its_content(void **state)
{
    (void)state;
    struct area *a = new_area();
    write_pages(a, 1, 0, LINUX_PAGES_IN_RANGE);
    write_pages(a, 2, 0, LINUX_PAGES_MIN);
    write_pages(a, 3, 0, LINUX_PAGES_MIN - 1);
    write_pages(a, RANGES - 1, 0, LINUX_PAGES_MIN);
    if (pass(a)) {
        assert_int_equal(a->pages.huge, 3);
        assert_true(a->pages.is_huge[1] && a->pages.is_huge[2] && a->pages.is_huge[RANGES - 1]);
        assert_false(a->pages.is_huge[3]);
    }
    check_pages(a, 0, 0);
    check_pages(a, 1, LINUX_PAGES_IN_RANGE);
    check_pages(a, 2, LINUX_PAGES_MIN);
    check_pages(a, 3, LINUX_PAGES_MIN - 1);
    check_pages(a, RANGES - 1, LINUX_PAGES_MIN);
    end_area(a);
}

static void test_what_fills_later_moves_later(void **state)
{
    (void)state;
    struct area *a = new_area();
    write_pages(a, 5, 0, 10);
    (void)pass(a);
    assert_int_equal(a->pages.huge, 0);
    write_pages(a, 5, 10, LINUX_PAGES_MIN);
    if (pass(a)) {
        assert_int_equal(a->pages.huge, 1);
    }
    write_pages(a, 5, LINUX_PAGES_MIN, LINUX_PAGES_IN_RANGE);
    (void)pass(a);
    assert_true(a->pages.huge <= 1);
    check_pages(a, 5, LINUX_PAGES_IN_RANGE);
    end_area(a);
}

/* What an idle process costs: after a round that found nothing only the count of touches is read.
 */
static void test_nothing_is_looked_at_while_nothing_is_touched(void **state)
{
    (void)state;
    struct area *a = new_area();
    (void)pass(a);
    size_t at = a->pages.at;
    size_t looked = a->pages.looked;
    assert_true(looked >= a->pages.count);
    (void)pass(a);
    assert_true(a->pages.at == at && a->pages.looked == looked);
    write_pages(a, 5, 0, LINUX_PAGES_TOUCHES);
    linux_pages_tick(&a->pages, a->now, true);
    assert_true(a->pages.at != at);
    end_area(a);
}

/* A busy loop is not kept waiting for it, and does not put it off for ever. */
static void test_a_busy_loop_puts_a_look_off_once(void **state)
{
    (void)state;
    struct area *a = new_area();
    a->pages.next_at = a->now.boot;
    linux_pages_tick(&a->pages, a->now, false);
    assert_int_equal(a->pages.looked, 0);
    a->now.boot = instant_add(a->now.boot, DURATION_MS(LINUX_PAGES_EVERY_MS));
    linux_pages_tick(&a->pages, a->now, false);
    assert_true(a->pages.looked > 0);
    size_t looked = a->pages.looked;
    a->now.boot = a->pages.next_at;
    linux_pages_tick(&a->pages, a->now, false);
    assert_int_equal(a->pages.looked, looked);
    linux_pages_tick(&a->pages, a->now, true);
    assert_true(a->pages.looked > looked);
    end_area(a);
}

/* One call does one half, and none comes before its time. */
static void test_a_call_does_little(void **state)
{
    (void)state;
    struct area *a = new_area();
    write_pages(a, 0, 0, LINUX_PAGES_IN_RANGE);
    write_pages(a, 1, 0, LINUX_PAGES_IN_RANGE);
    linux_pages_tick(&a->pages, a->now, true);
    if (a->pages.spare != NULL) {
        assert_int_equal(a->pages.huge, 0);
        a->pages.next_at = a->now.boot; /* however long the system had searched */
        write_pages(a, 0, 0, LINUX_PAGES_IN_RANGE);
        linux_pages_tick(&a->pages, a->now, true);
        assert_int_equal(a->pages.huge, 1);
        linux_pages_tick(&a->pages, a->now, true);
        assert_null(a->pages.spare);
        a->now.boot = instant_add(a->now.boot, DURATION_MS(LINUX_PAGES_EVERY_MS));
        linux_pages_tick(&a->pages, a->now, true);
        linux_pages_tick(&a->pages, a->now, true);
        assert_true(a->pages.huge <= 2);
    }
    check_pages(a, 0, LINUX_PAGES_IN_RANGE);
    check_pages(a, 1, LINUX_PAGES_IN_RANGE);
    end_area(a);
}

static void test_memory_below_one_range_is_left_alone(void **state)
{
    (void)state;
    static uint8_t small[3 * LINUX_PAGES_SMALL];
    struct linux_pages pages;
    struct clock_pair now = {{NS_PER_S}, NS_PER_S};
    linux_pages_stay_small(small, sizeof(small));
    linux_pages_stay_small(small + 1, 5);
    if (linux_pages_open(&pages, small, sizeof(small), NULL) == ERR_NONE) {
        assert_int_equal(pages.count, 0);
    }
    linux_pages_tick(&pages, now, true);
    assert_null(pages.spare);
    linux_pages_close(&pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_range_in_use_moves_and_keeps_its_content),
        cmocka_unit_test(test_what_fills_later_moves_later),
        cmocka_unit_test(test_nothing_is_looked_at_while_nothing_is_touched),
        cmocka_unit_test(test_a_busy_loop_puts_a_look_off_once),
        cmocka_unit_test(test_a_call_does_little),
        cmocka_unit_test(test_memory_below_one_range_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
