#include "portal/portal_url.h"

#include <string.h>

#include "tests/support/support.h"

static struct view form(struct writer *w, const char *text)
{
    portal_url_put_form(w, view_text(text));
    return writer_view(w);
}

static void test_form_encoding_matches_the_vectors(void **state)
{
    uint8_t a[128];
    uint8_t b[128];
    struct writer w = writer_of((struct span){a, sizeof(a)});
    struct writer v = writer_of((struct span){b, sizeof(b)});
    (void)state;
    assert_true(
        view_equal_text(form(&w, ".SFMyNTY.g2gDbQ==+/ x"), ".SFMyNTY.g2gDbQ%3D%3D%2B%2F+x"));
    assert_true(view_equal_text(form(&v, "gw 1 (\xc3\xb6st)~"), "gw+1+%28%C3%B6st%29%7E"));
}

static void test_form_decoding_is_the_inverse(void **state)
{
    uint8_t bytes[256];
    uint8_t text[1024];
    uint8_t back[256];
    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)i;
    }
    struct writer w = writer_of((struct span){text, sizeof(text)});
    struct writer v = writer_of((struct span){back, sizeof(back)});
    portal_url_put_form(&w, VIEW_OF(bytes));
    assert_true(portal_url_parse_form(writer_view(&w), &v));
    assert_true(view_equal(writer_view(&v), VIEW_OF(bytes)));
    v = writer_of((struct span){back, sizeof(back)});
    assert_false(portal_url_parse_form(view_text("a%2"), &v));
    v = writer_of((struct span){back, sizeof(back)});
    assert_false(portal_url_parse_form(view_text("a%zz"), &v));
}

static void test_external_ids_match_the_vectors(void **state)
{
    uint8_t text[PORTAL_EXTERNAL_ID_SIZE];
    struct writer w = writer_of((struct span){text, sizeof(text)});
    (void)state;
    portal_url_put_external_id(&w, view_text("my-gateway"));
    assert_true(view_equal_text(
        writer_view(&w), "6632e849d9fadd4a8ba782871514c58531c84ebe88ceafa62e18a69ec53a1048"));
    w = writer_of((struct span){text, sizeof(text)});
    portal_url_put_external_id(&w, view_text("4694E56C-7643-4A15-9DF3-638E5B05F570"));
    assert_true(view_equal_text(
        writer_view(&w), "c9cc2a8a01f9d3d6b2c26719965709196ae2c79214a837e28f0a751af1e2f2ca"));
}

static void test_the_target_has_the_documented_form(void **state)
{
    struct portal_url url;
    uint8_t key[32];
    uint8_t text[1024];
    struct writer w = writer_of((struct span){text, sizeof(text)});
    struct portal_login login = {view_text(".SFMyNTY.abc"), view_text("my-gateway"),
                                 view_text("gw-1"), key};
    struct view value;
    (void)state;
    for (size_t i = 0; i < sizeof(key); i++) {
        key[i] = (uint8_t)(200 + i);
    }
    assert_int_equal(portal_url_parse(view_text("wss://api.firezone.dev/"), &url), ERR_NONE);
    portal_url_put_target(&w, &url, &login);
    struct view target = writer_view(&w);
    assert_true(view_equal_text(
        target, "/gateway/websocket?token=.SFMyNTY.abc&external_id="
                "6632e849d9fadd4a8ba782871514c58531c84ebe88ceafa62e18a69ec53a1048&name=gw-1&"
                "public_key=yMnKy8zNzs%2FQ0dLT1NXW19jZ2tvc3d7f4OHi4%2BTl5uc%3D"));
    assert_true(portal_url_query(target, "name", &value));
    assert_true(view_equal_text(value, "gw-1"));
    assert_true(portal_url_query(target, "token", &value));
    assert_true(view_equal_text(value, ".SFMyNTY.abc"));
    assert_false(portal_url_query(target, "nam", &value));
}

struct row {
    const char *text;
    enum err err;
    const char *host; /* as in the Host header */
    const char *path;
    uint16_t port;
    bool tls;
};

static const struct row rows[] = {
    {"wss://h", ERR_NONE, "h", "", 443, true},
    {"https://h/", ERR_NONE, "h", "", 443, true},
    {"ws://h/x", ERR_NONE, "h", "/x", 443, false},
    {"http://h/x/", ERR_NONE, "h", "/x", 443, false},
    {"WSS://Api.Example:443/x/y/?q=1#f", ERR_NONE, "api.example", "/x/y", 443, true},
    {"ws://h:80", ERR_NONE, "h", "", 443, false},
    {"ws://h:443", ERR_NONE, "h", "", 443, false},
    {"wss://h:80", ERR_NONE, "h", "", 80, true},
    {"ws://203.0.113.20:8081", ERR_NONE, "203.0.113.20", "", 8081, false},
    {"ws://[2001:DB8::1]:8081/p", ERR_NONE, "[2001:db8::1]", "/p", 8081, false},
    {"ws://[::1]", ERR_NONE, "[::1]", "", 443, false},
    {"ws://h?token=x", ERR_NONE, "h", "", 443, false},
    {"ws://h:", ERR_NONE, "h", "", 443, false},
    {"ftp://h", ERR_ARGUMENT, NULL, NULL, 0, false},
    {"h", ERR_ARGUMENT, NULL, NULL, 0, false},
    {"", ERR_ARGUMENT, NULL, NULL, 0, false},
    {"ws:", ERR_ARGUMENT, NULL, NULL, 0, false},
    {"ws:/h", ERR_ARGUMENT, NULL, NULL, 0, false},
    {"ws://", ERR_ARGUMENT, NULL, NULL, 0, false},
    {"ws:///x", ERR_ARGUMENT, NULL, NULL, 0, false},
    {"ws://u@h", ERR_ARGUMENT, NULL, NULL, 0, false},
    {"ws://h:0", ERR_ARGUMENT, NULL, NULL, 0, false},
    {"ws://h:65536", ERR_ARGUMENT, NULL, NULL, 0, false},
    {"ws://h:x", ERR_ARGUMENT, NULL, NULL, 0, false},
    {"ws://[::1", ERR_ARGUMENT, NULL, NULL, 0, false},
    {"ws://[1.2.3.4]", ERR_ARGUMENT, NULL, NULL, 0, false},
    {"ws://[::1]x", ERR_ARGUMENT, NULL, NULL, 0, false},
    {"ws://[::1]81", ERR_ARGUMENT, NULL, NULL, 0, false},
    {"ws://h h", ERR_ARGUMENT, NULL, NULL, 0, false},
    {"ws://h/a b", ERR_ARGUMENT, NULL, NULL, 0, false},
    {"ws://h/a\r\nX:", ERR_ARGUMENT, NULL, NULL, 0, false},
};

static void test_the_table_of_base_urls(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct portal_url url;
        uint8_t text[PORTAL_HOST_SIZE_MAX + 2];
        struct writer w = writer_of((struct span){text, sizeof(text)});
        enum err err = portal_url_parse(view_text(rows[i].text), &url);
        if (err != rows[i].err) {
            fail_msg("row %zu: %s gives %s", i, rows[i].text, err_name(err));
        }
        if (err != ERR_NONE) {
            continue;
        }
        portal_url_put_host(&w, &url);
        assert_true(view_equal_text(writer_view(&w), rows[i].host));
        assert_true(
            view_equal_text((struct view){(const uint8_t *)url.path, url.path_len}, rows[i].path));
        assert_int_equal(url.port, rows[i].port);
        assert_int_equal(url.tls, rows[i].tls);
    }
}

static void test_ip_literals_are_recognised(void **state)
{
    struct portal_url url;
    (void)state;
    assert_int_equal(portal_url_parse(view_text("wss://10.0.0.1"), &url), ERR_NONE);
    assert_int_equal(url.ip.family, IP_V4);
    assert_int_equal(portal_url_parse(view_text("wss://[fd00::1]"), &url), ERR_NONE);
    assert_int_equal(url.ip.family, IP_V6);
    assert_true(view_equal_text(portal_url_host(&url), "fd00::1"));
    assert_int_equal(portal_url_parse(view_text("wss://a.example"), &url), ERR_NONE);
    assert_int_equal(url.ip.family, IP_NONE);
}

static void test_long_hosts_and_paths_are_refused(void **state)
{
    static char text[8 + PORTAL_HOST_SIZE_MAX + PORTAL_PATH_SIZE_MAX + 8];
    struct portal_url url;
    (void)state;
    (void)strcpy(text, "ws://");
    memset(text + 5, 'a', PORTAL_HOST_SIZE_MAX);
    assert_int_equal(portal_url_parse(view_text(text), &url), ERR_NONE);
    text[5 + PORTAL_HOST_SIZE_MAX] = 'a';
    assert_int_equal(portal_url_parse(view_text(text), &url), ERR_SPACE);
    (void)strcpy(text, "ws://h/");
    memset(text + 7, 'a', PORTAL_PATH_SIZE_MAX - 1);
    assert_int_equal(portal_url_parse(view_text(text), &url), ERR_NONE);
    text[6 + PORTAL_PATH_SIZE_MAX] = 'a';
    assert_int_equal(portal_url_parse(view_text(text), &url), ERR_SPACE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form_encoding_matches_the_vectors),
        cmocka_unit_test(test_form_decoding_is_the_inverse),
        cmocka_unit_test(test_external_ids_match_the_vectors),
        cmocka_unit_test(test_the_target_has_the_documented_form),
        cmocka_unit_test(test_the_table_of_base_urls),
        cmocka_unit_test(test_ip_literals_are_recognised),
        cmocka_unit_test(test_long_hosts_and_paths_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
