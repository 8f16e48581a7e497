/* Which place of a full table a newcomer gets. */
#include "gateway/gateway_place.h"
#include "tests/support/support.h"

#define ROW_MAX 6U

/* A place is a letter: its holder, in capitals while it is idle. */
struct row {
    const char *places;
    const char *ages; /* a digit each: the higher, the older; NULL: the later, the older */
    char newcomer;
    size_t expected;
};

static struct ip_addr holder_of(char letter)
{
    bool is_idle = letter >= 'A' && letter <= 'Z';
    return ip_v4(192, 0, 2, (uint8_t)(is_idle ? letter - 'A' + 'a' : letter));
}

static void test_table_of_places(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"aaaa", NULL, 'b', 3},   /* the oldest of who has most */
        {"aaaa", "1423", 'b', 1}, /* wherever it stands */
        {"aaabbb", NULL, 'c', 5}, /* two have as many: the oldest of both */
        {"bbbaaa", "111119", 'c', 5}, {"aaab", NULL, 'b', 2}, /* two more than the newcomer */
        {"aabc", NULL, 'b', 4},                               /* one more is not enough */
        {"aAbc", NULL, 'b', 1},                               /* unless nobody waits for it */
        {"abcd", NULL, 'e', 4},                               /* nobody has two more than none */
        {"abCd", NULL, 'e', 2},       {"aabb", NULL, 'a', 4}, /* half of the table is enough */
        {"AABB", NULL, 'a', 4},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct gateway_place places[ROW_MAX];
        size_t count = strlen(rows[i].places);
        for (size_t k = 0; k < count; k++) {
            char letter = rows[i].places[k];
            uint64_t age = rows[i].ages == NULL ? k : (uint64_t)rows[i].ages[k];
            places[k] = (struct gateway_place){
                .holder = holder_of(letter), .since = {1000 - age}, .is_idle = letter < 'a'};
        }
        struct ip_addr newcomer = holder_of(rows[i].newcomer);
        size_t got = gateway_place_find(places, count, &newcomer);
        if (got != rows[i].expected) {
            fail_msg("%s: place %zu", rows[i].places, got);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_of_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
