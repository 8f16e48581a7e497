#include "portal/portal_credentials.h"

#include <string.h>

#include "tests/support/support.h"

struct keys {
    struct portal_pair pair;
    uint8_t client[32];
    uint8_t gateway[32];
};

static void fill(uint8_t *out, unsigned first)
{
    for (unsigned i = 0; i < 32; i++) {
        out[i] = (uint8_t)(first + i);
    }
}

static void vector_keys(struct keys *k)
{
    fill(k->client, 1);
    fill(k->gateway, 200);
    assert_true(uuid_parse(view_text("0b7e2c1a-5d34-4f6e-9a10-6c2f8e91d001"), &k->pair.client));
    assert_true(uuid_parse(view_text("c4d5e6f7-0819-4a2b-8c3d-4e5f60718293"), &k->pair.gateway));
    k->pair.client_key = k->client;
    k->pair.gateway_key = k->gateway;
}

static void test_ice_credentials_match_the_vector(void **state)
{
    struct keys k;
    struct portal_ice_pair out;
    (void)state;
    vector_keys(&k);
    portal_credentials_ice(&k.pair, &out);
    assert_memory_equal(out.client_ufrag, "exet", 4);
    assert_memory_equal(out.client_password, "4isq5s5b5m7g5sp3ybjcfg", 22);
    assert_memory_equal(out.gateway_ufrag, "biq5", 4);
    assert_memory_equal(out.gateway_password, "dikv3r4zazktilgi4kak2a", 22);
}

#define STAMP "c3f1a5b2-0b43-4a1c-8d6f-3f0a6f1f6c11"

static void test_turn_passwords_match_the_vectors(void **state)
{
    struct keys k;
    char salt[PORTAL_TURN_PASSWORD_SIZE];
    char password[PORTAL_TURN_PASSWORD_SIZE];
    (void)state;
    vector_keys(&k);
    portal_credentials_turn_password(1735689600, view_text(STAMP),
                                     view_text("AAECAwQFBgcICQoLDA0ODw"), password);
    assert_memory_equal(password, "xWpfQ6Do1mKcZt6cs474hDnMAxipg+v63jIIj1S/Xyo", 43);
    portal_credentials_turn_salt(k.gateway, salt);
    assert_memory_equal(salt, "mUcFP7WPbmu09l3Z2NB82bdisRPDj3jwGcaptH5tVD8", 43);
    portal_credentials_turn_password(2145916800, view_text(STAMP), VIEW_OF(salt), password);
    assert_memory_equal(password, "qy/GWIXRncOX3sXpmQr6J9+izQlsRQgWxVIbWsRNhjg", 43);
}

static void test_the_preshared_key_matches_the_vector(void **state)
{
    struct keys k;
    uint8_t secrets[64];
    uint8_t psk[32];
    uint8_t text[44];
    struct writer w = writer_of((struct span){text, sizeof(text)});
    (void)state;
    vector_keys(&k);
    fill(secrets, 0);
    fill(secrets + 32, 32);
    portal_credentials_psk(&k.pair, secrets, secrets + 32, psk);
    text_put_base64(&w, VIEW_OF(psk), true);
    assert_true(view_equal_text(writer_view(&w), "3CPar8zgvRKyQuane9GeoiPOkrQJWdZGkoOWo4Avqlo="));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ice_credentials_match_the_vector),
        cmocka_unit_test(test_turn_passwords_match_the_vectors),
        cmocka_unit_test(test_the_preshared_key_matches_the_vector),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
