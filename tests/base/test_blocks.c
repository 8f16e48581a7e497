#include "base/blocks.h"

#include <signal.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/support.h"

#define SIZE (2 * (BLOCKS_SIZE_0 + BLOCKS_SIZE_1 + BLOCKS_SIZE_2 + BLOCKS_SIZE_3) + BLOCKS_SIZE_MAX)

static const struct blocks_counts some = {{2, 2, 2, 2, 1}};
static const size_t sizes[] = {BLOCKS_SIZE_0, BLOCKS_SIZE_1, BLOCKS_SIZE_2, BLOCKS_SIZE_3,
                               BLOCKS_SIZE_MAX};

static struct blocks *start(void)
{
    static struct blocks blocks;
    alignas(ARENA_ALIGN) static uint8_t bytes[SIZE];
    struct arena arena = {bytes, 0};
    memset(bytes, 0, sizeof(bytes));
    blocks_init(&blocks, &arena, &some);
    assert_int_equal(arena.used, SIZE);
    return &blocks;
}

static void check_used(const struct blocks *blocks, uint32_t class, uint32_t count)
{
    struct blocks_counts used = {{0}};
    if (class < BLOCKS_CLASSES) {
        used.of[class] = count;
    }
    blocks_check(blocks, &used);
}

static void test_a_list_moves_between_classes_and_keeps_its_bytes(void **state)
{
    (void)state;
    struct blocks *blocks = start();
    uint8_t *list = NULL;
    size_t size = 0;
    for (uint32_t class = 0; class < BLOCKS_CLASSES; class ++) {
        for (size_t to = sizes[class] - 2; to <= sizes[class]; to++) {
            list = blocks_resize(blocks, list, size, to);
            memset(list + size, (int)class + 1, to - size);
            size = to;
            check_used(blocks, class, 1);
        }
    }
    for (uint32_t class = BLOCKS_CLASSES - 1; class > 0; class --) {
        for (size_t i = sizes[class - 1]; i < sizes[class]; i++) {
            assert_int_equal(list[i], class + 1);
        }
        list = blocks_resize(blocks, list, size, sizes[class - 1] + 1);
        check_used(blocks, class, 1);
        list = blocks_resize(blocks, list, sizes[class - 1] + 1, sizes[class - 1]);
        size = sizes[class - 1];
        check_used(blocks, class - 1, 1);
    }
    assert_null(blocks_resize(blocks, list, size, 0));
    check_used(blocks, BLOCKS_CLASSES, 0);
}

static void test_what_was_given_back_is_taken_before_fresh_memory(void **state)
{
    (void)state;
    struct blocks *blocks = start();
    void *first = blocks_resize(blocks, NULL, 0, 1);
    void *second = blocks_resize(blocks, NULL, 0, BLOCKS_SIZE_0);
    assert_ptr_not_equal(first, second);
    (void)!blocks_resize(blocks, first, 1, 0);
    (void)!blocks_resize(blocks, second, BLOCKS_SIZE_0, 0);
    check_used(blocks, 0, 0);
    assert_ptr_equal(blocks_resize(blocks, NULL, 0, 7), second);
    assert_ptr_equal(blocks_resize(blocks, NULL, 0, 7), first);
    check_used(blocks, 0, 2);
}

/* Runs one of the mistakes below in a child, which has to die of it. */
static void check_panics(void (*mistake)(struct blocks *blocks, void *big))
{
    struct blocks *blocks = start();
    void *big = blocks_resize(blocks, NULL, 0, BLOCKS_SIZE_MAX);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)!freopen("/dev/null", "w", stderr);
        (void)signal(SIGABRT, SIG_DFL);
        mistake(blocks, big);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    check_used(blocks, BLOCKS_CLASSES - 1, 1);
}

static void take_too_many(struct blocks *blocks, void *big)
{
    (void)big;
    (void)!blocks_resize(blocks, NULL, 0, BLOCKS_SIZE_MAX);
}

static void take_too_much(struct blocks *blocks, void *big)
{
    (void)!blocks_resize(blocks, big, BLOCKS_SIZE_MAX, BLOCKS_SIZE_MAX + 1U);
}

static void tell_another_size(struct blocks *blocks, void *big)
{
    (void)!blocks_resize(blocks, big, BLOCKS_SIZE_3, 0);
}

static void forget_an_owner(struct blocks *blocks, void *big)
{
    (void)big;
    check_used(blocks, BLOCKS_CLASSES, 0);
}

static void count_an_owner_twice(struct blocks *blocks, void *big)
{
    struct blocks_counts used = {{0}};
    blocks_count(blocks, big, BLOCKS_SIZE_MAX, &used);
    blocks_count(blocks, big, BLOCKS_SIZE_MAX, &used);
    blocks_check(blocks, &used);
}

static void point_into_a_block(struct blocks *blocks, void *big)
{
    struct blocks_counts used = {{0}};
    blocks_count(blocks, (uint8_t *)big + 8, BLOCKS_SIZE_MAX, &used);
}

static void test_mistakes_of_the_owner_panic(void **state)
{
    (void)state;
    check_panics(take_too_many);
    check_panics(take_too_much);
    check_panics(tell_another_size);
    check_panics(forget_an_owner);
    check_panics(count_an_owner_twice);
    check_panics(point_into_a_block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_list_moves_between_classes_and_keeps_its_bytes),
        cmocka_unit_test(test_what_was_given_back_is_taken_before_fresh_memory),
        cmocka_unit_test(test_mistakes_of_the_owner_panic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
