#include "base/chunk.h"

#include <string.h>

#include "tests/support/support.h"

/* A list of chunks with one letter each. */
static struct chunk_list list_of(const char *letters)
{
    struct chunk_list list = {NULL, NULL};
    for (; *letters != 0; letters++) {
        struct chunk *chunk = chunk_add(&list, 4);
        assert_non_null(chunk);
        chunk->bytes[chunk->front++] = (uint8_t)*letters;
    }
    return list;
}

/* Reads it from both ends. */
static void check(const struct chunk_list *list, const char *letters)
{
    size_t count = strlen(letters);
    size_t at = 0;
    for (const struct chunk *c = list->first; c != NULL; c = c->next) {
        assert_true(at < count && c->bytes[0] == (uint8_t)letters[at]);
        at++;
    }
    assert_int_equal(at, count);
    for (const struct chunk *c = list->last; c != NULL; c = c->prev) {
        assert_true(at > 0 && c->bytes[0] == (uint8_t)letters[at - 1]);
        at--;
    }
    assert_int_equal(at, 0);
}

static void test_lists_keep_their_order_when_they_move(void **state)
{
    struct chunk_list a = list_of("ab");
    struct chunk_list b = list_of("cde");
    struct chunk_list none = {NULL, NULL};
    (void)state;
    chunk_move(&a, &b);
    check(&a, "abcde");
    check(&b, "");
    chunk_move(&b, &none);
    check(&b, "");
    chunk_move_first(&b, &a);
    chunk_move_first(&b, &a);
    check(&a, "cde");
    check(&b, "ab");
    chunk_move(&none, &b);
    chunk_move_first(&b, &none);
    chunk_move_first(&b, &none);
    check(&b, "ab");
    check(&none, "");
    chunk_free_all(&a);
    chunk_free_all(&b);
}

static void test_the_newest_are_given_back_first(void **state)
{
    struct chunk_list list = list_of("abcde");
    (void)state;
    assert_false(chunk_free_some(&list, 2));
    check(&list, "abc");
    assert_false(chunk_free_some(&list, 0));
    check(&list, "abc");
    assert_true(chunk_free_some(&list, 3));
    check(&list, "");
    assert_true(chunk_free_some(&list, 1));
    list = list_of("a");
    assert_true(chunk_free_some(&list, UINT32_MAX));
    check(&list, "");
}

static void test_joined_chunks_are_one(void **state)
{
    struct chunk_list list = list_of("abc");
    (void)state;
    assert_true(chunk_join(&list));
    assert_ptr_equal(list.first, list.last);
    assert_int_equal(list.first->front, 3);
    assert_memory_equal(list.first->bytes, "abc", 3);
    chunk_free_all(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists_keep_their_order_when_they_move),
        cmocka_unit_test(test_the_newest_are_given_back_first),
        cmocka_unit_test(test_joined_chunks_are_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
