#include "dns/dns_pattern.h"

#include <string.h>

#include "tests/support/support.h"

static bool matches(const char *pattern, const char *text)
{
    struct dns_name name;
    assert_true(dns_name_parse(view_text(text), &name));
    return dns_pattern_matches(view_text(pattern), &name);
}

/* spec/dataplane.md section 4.1, the table and the rules around it */
static void test_truth_table(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        const char *name;
        bool expected;
    } rows[] = {
        {"**.example.com", "example.com", true},
        {"app.**.example.com", "app.bar.foo.example.com", true},
        {"app.**.example.com", "app.example.com", true},
        {"**.example.com", "foo.bar.example.com", true},
        {"**.example.com", "barexample.com", false},
        {"*.example.com", "foo.example.com", true},
        {"*.example.com", "example.com", true},
        {"*.example.com", "EXAMPLE.com", false}, /* the one case-sensitive comparison */
        {"*.example.com", "a.b.example.com", false},
        {"foo.*.example.com", "foo.bar.example.com", true},
        {"app.*.*.example.com", "app.foo.bar.example.com", true},
        {"app.f??.example.com", "app.foo.example.com", true},
        {"app.f??.example.com", "app.fo.example.com", false},
        {"*?*.example.com", "app.example.com", true},
        {"*?*.example.com", "example.com", false},
        {"app.**.web.**.example.com", "app.web.example.com", true},
        {"app.**.web.**.example.com", "app.a.web.web.b.c.example.com", true},
        {"app.**.web.**.example.com", "app.a.example.com", false},
        {"app.*.example.com", "app.foo.bar.example.com", false},
        {"app.*com", "app.foo.com", false},
        {"app?com", "app.com", false},
        {"example.com", "example.com", true},
        {"example.com", "EXAMPLE.Com", true},
        {"ExAmple.com", "example.com", true},
        {"example.com", "a.example.com", false},
        {"example.com", "example.com.org", false},
        {"example", "example.com", false},
        {"**", "a.b.c", true},
        {"a.**", "a.b.c", true},
        {"a.**", "a", false},
        {"**.**.c", "c", true},
        {"**.a.**.a.b", "a.a.b", true},
        {"**.a.**.a.b", "a.b", false},
        {"*", "a", true},
        {"*", "a.b", false},
        {"*a*b*c", "xxaxxbxxc", true},
        {"*a*b*c", "xxaxxcxxb", false},
        /* A class holds characters of any size; names have none beyond ASCII in text. */
        {"[\xc3\xb6\xe2\x82\xac"
         "a].x",
         "a.x", true},
        {"[\xf0\x9f\x98\x80z].x", "z.x", true},
        {"[!\xc3\xb6].x", "a.x", true},
        {"\xc3\xb6.x", "a.x", false},
        {"[abc].x", "B.x", true},
        {"[abc].x", "d.x", false},
        {"[a-c]1.x", "b1.x", true},
        {"[A-C]1.x", "b1.x", true},
        {"[0-4].x", "5.x", false},
        {"[!a-c].x", "d.x", true},
        {"[!a-c].x", "B.x", false},
        {"[!a]x", "b.x", false},
        {"a[.]b", "a.b", false}, /* a class never matches the separator */
        {"a[!b]c", "a.c", false},
        {"[]].x", "].x", true},
        {"[a-].x", "-.x", true},
        {"AZ.x", "az.X", true},
        {"@[.x", "`{.x", false}, /* around the letters */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool result = matches(rows[i].pattern, rows[i].name);
        if (result != rows[i].expected) {
            print_error("%s against %s\n", rows[i].pattern, rows[i].name);
        }
        assert_int_equal(result, rows[i].expected);
    }
}

static void test_invalid_patterns_match_nothing(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",   "***", "a.***.b", "**a", "a**", "a**.b", "a.**b", "[",
        "[]", "[!",  "[!]",     "a[b", "a/b", "a\\.b", "\xff",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_false(dns_pattern_is_valid(view_text(rows[i])));
        assert_false(matches(rows[i], "a"));
        assert_false(matches(rows[i], "a.b"));
    }
}

/* design section 8.4 */
static void test_names_with_dots_or_slashes_inside_labels_match_nothing(void **state)
{
    (void)state;
    assert_false(matches("**", "a\\.b"));
    assert_false(matches("*.example.com", "evil/x.example.com"));
    assert_false(matches("**.example.com", "a\\.b.example.com"));
    assert_true(matches("**", "a\\ b"));
}

/* spec/dataplane.md section 4.1 (pattern_ordering) */
static void test_precedence(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "example.com",   "bar.example.com", "*.bar.example.com", "foo.example.com", "?.example.com",
        "*.example.com", "**.example.com",  "*ample.com",        "*.com",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
            int order = dns_pattern_compare(view_text(rows[i]), view_text(rows[k]));
            if ((order > 0) - (order < 0) != (i > k) - (i < k)) {
                print_error("%s and %s\n", rows[i], rows[k]);
            }
            assert_int_equal((order > 0) - (order < 0), (i > k) - (i < k));
        }
    }
}

static void test_hostile_patterns_end_soon(void **state)
{
    (void)state;
    char pattern[DNS_PATTERN_SIZE_MAX + 1] = {0};
    for (size_t i = 0; i + 2 < sizeof(pattern); i += 2) {
        memcpy(pattern + i, "*a", 2);
    }
    char text[64] = {0};
    memset(text, 'a', 63);
    assert_false(matches(pattern, text)); /* more letters than the label has */
    char labels[DNS_PATTERN_SIZE_MAX + 1] = {0};
    for (size_t i = 0; i + 5 < sizeof(labels); i += 5) {
        memcpy(labels + i, "**.a.", 5);
    }
    labels[1019] = 'b';
    char many[254] = {0};
    for (size_t i = 0; i < 253; i++) {
        many[i] = i % 2 == 0 ? 'a' : '.';
    }
    assert_false(matches(labels, many));
    char too_long[DNS_PATTERN_SIZE_MAX + 2] = {0};
    memset(too_long, 'a', sizeof(too_long) - 1);
    assert_false(dns_pattern_is_valid(view_text(too_long)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truth_table),
        cmocka_unit_test(test_invalid_patterns_match_nothing),
        cmocka_unit_test(test_names_with_dots_or_slashes_inside_labels_match_nothing),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_hostile_patterns_end_soon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
