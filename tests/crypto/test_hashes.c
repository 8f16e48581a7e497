/* Published vectors of the hashes that STUN needs. */
#include "tests/support/support.h"

#include "base/text.h"
#include "crypto/crc32.h"
#include "crypto/hmac_sha1.h"
#include "crypto/md5.h"
#include "crypto/sha256.h"

static void expect(const uint8_t *got, size_t len, const char *hex)
{
    uint8_t want[64];
    assert_int_equal(support_unhex(hex, want, sizeof(want)), len);
    assert_memory_equal(got, want, len);
}

static void hmac(struct view key, struct view text, size_t chunk, const char *hex)
{
    struct hmac_sha1_key prepared;
    struct hmac_sha1 mac;
    uint8_t tag[HMAC_SHA1_SIZE];
    hmac_sha1_key_init(&prepared, key);
    for (unsigned twice = 0; twice < 2; twice++) { /* a prepared key serves again and again */
        hmac_sha1_start(&mac, &prepared);
        for (size_t at = 0; at < text.len; at += chunk) {
            size_t len = text.len - at < chunk ? text.len - at : chunk;
            hmac_sha1_update(&mac, view_sub(text, at, len));
        }
        hmac_sha1_finish(&mac, tag);
        expect(tag, sizeof(tag), hex);
    }
}

static void hmac_sha1_gives_the_tags_of_rfc_2202(void **state)
{
    (void)state;
    uint8_t key[80];
    for (size_t i = 0; i < sizeof(key); i++) {
        key[i] = 0xAA;
    }
    struct view jefe = view_text("what do ya want for nothing?");
    struct view large = view_text("Test Using Larger Than Block-Size Key - Hash Key First");
    for (size_t chunk = 1; chunk < 60; chunk += 7) {
        hmac(view_text("Jefe"), jefe, chunk, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        hmac(VIEW_OF(key), large, chunk, "aa4ae5e15272d00e95705637ce8a3b55ed402112");
    }
}

static void md5_gives_the_digests_of_rfc_1321(void **state)
{
    (void)state;
    struct md5 md5;
    uint8_t digest[MD5_SIZE];
    md5_start(&md5);
    md5_finish(&md5, digest);
    expect(digest, sizeof(digest), "d41d8cd98f00b204e9800998ecf8427e");
    md5_start(&md5);
    md5_update(&md5, view_text("message "));
    md5_update(&md5, view_text("digest"));
    md5_finish(&md5, digest);
    expect(digest, sizeof(digest), "f96b697d7cb7938d525a2f31aaf161d0");
}

static void sha256_gives_known_digests_and_the_portals_ice_credentials(void **state)
{
    (void)state;
    uint8_t digest[SHA256_SIZE];
    sha256(view_text("abc"), digest);
    expect(digest, sizeof(digest),
           "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    /* spec/connectivity.md section 8 */
    sha256(view_text("c1111111-1111-4111-8111-111111111111:"
                     "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=:"
                     "a2222222-2222-4222-8222-222222222222:"
                     "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="),
           digest);
    uint8_t text[64];
    struct writer w = writer_of((struct span){text, sizeof(text)});
    text_put_base32(&w, VIEW_OF(digest));
    assert_true(writer_finish(&w));
    assert_true(
        view_equal_text(writer_view(&w), "k5fdsfl3nrmziix5dcaydtq4xd7ddgswa5thzjjwfmbfcrzbylca"));
}

static void crc32_gives_the_check_value_whole_and_in_parts(void **state)
{
    (void)state;
    struct view text = view_text("123456789");
    assert_int_equal(crc32(text), 0xCBF43926);
    assert_int_equal(crc32(VIEW_EMPTY), 0);
    for (size_t at = 0; at <= text.len; at++) {
        uint32_t crc = crc32(view_sub(text, 0, at));
        assert_int_equal(crc32_more(crc, view_sub(text, at, text.len - at)), 0xCBF43926);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hmac_sha1_gives_the_tags_of_rfc_2202),
        cmocka_unit_test(md5_gives_the_digests_of_rfc_1321),
        cmocka_unit_test(sha256_gives_known_digests_and_the_portals_ice_credentials),
        cmocka_unit_test(crc32_gives_the_check_value_whole_and_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
