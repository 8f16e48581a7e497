/* Every STUN datagram of two recorded sessions of the reference implementation is understood, and
 * every MESSAGE-INTEGRITY and FINGERPRINT in them is right. */
#include "tests/support/support.h"

#include <cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "stun/channel_data.h"
#include "stun/stun_auth.h"
#include "stun/stun_msg.h"
#include "tests/support/pcap.h"

#define KEYS_MAX 64U

struct key {
    uint8_t bytes[64];
    size_t len;
};

struct keys {
    struct key list[KEYS_MAX];
    size_t count;
};

static void add_key(struct keys *keys, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < keys->count; i++) {
        if (keys->list[i].len == len && memcmp(keys->list[i].bytes, bytes, len) == 0) {
            return;
        }
    }
    assert_true(keys->count < KEYS_MAX && len <= sizeof(keys->list[0].bytes));
    memcpy(keys->list[keys->count].bytes, bytes, len);
    keys->list[keys->count].len = len;
    keys->count++;
}

/* Any object with user name and password gives the key of a relay and the key of an ICE agent. */
static void collect(struct keys *keys, const cJSON *node)
{
    const cJSON *user = cJSON_GetObjectItemCaseSensitive(node, "username");
    const cJSON *pass = cJSON_GetObjectItemCaseSensitive(node, "password");
    if (cJSON_IsString(user) && cJSON_IsString(pass)) {
        uint8_t key[STUN_LONG_TERM_KEY_SIZE];
        stun_long_term_key(view_text(user->valuestring), view_text("firezone"),
                           view_text(pass->valuestring), key);
        add_key(keys, key, sizeof(key));
        struct view bytes = view_text(pass->valuestring);
        add_key(keys, bytes.at, bytes.len);
    }
    const cJSON *child = NULL;
    cJSON_ArrayForEach(child, node)
    {
        collect(keys, child);
    }
}

static void load_keys(struct keys *keys, const char *path)
{
    *keys = (struct keys){0};
    size_t len = 0;
    char *text = support_read_file(path, &len);
    assert_non_null(text);
    const char *line = text;
    while (*line != '\0') {
        const char *end = strchr(line, '\n');
        size_t line_len = end == NULL ? strlen(line) : (size_t)(end - line);
        cJSON *json = cJSON_ParseWithLength(line, line_len);
        assert_non_null(json);
        collect(keys, json);
        cJSON_Delete(json);
        line += line_len + (end == NULL ? 0 : 1);
    }
    free(text);
}

static bool is_signed_by_any(const struct keys *keys, struct view datagram,
                             const struct stun_msg *msg)
{
    for (size_t i = 0; i < keys->count; i++) {
        struct view key = {keys->list[i].bytes, keys->list[i].len};
        if (stun_msg_check_integrity(datagram, msg, key)) {
            return true;
        }
    }
    return false;
}

struct tally {
    unsigned stun;
    unsigned with_integrity;
    unsigned with_fingerprint;
    unsigned relayed;
    unsigned channels;
};

static void check_datagram(const struct keys *keys, struct view datagram, struct tally *tally)
{
    if (channel_data_is(datagram)) {
        struct channel_data data;
        assert_int_equal(channel_data_decode(datagram, &data), DROP_NONE);
        /* Not always the whole rest: the capture shows trains of datagrams in one piece (GSO). */
        assert_true(data.length <= datagram.len - CHANNEL_DATA_HEADER_SIZE);
        tally->channels++;
        struct view inner = view_sub(datagram, CHANNEL_DATA_HEADER_SIZE, data.length);
        if (inner.len > 0 && !channel_data_is(inner)) {
            check_datagram(keys, inner, tally);
        }
        return;
    }
    if (!stun_is_message(datagram)) {
        return;
    }
    struct stun_msg msg;
    assert_int_equal(stun_msg_decode(datagram, &msg), DROP_NONE);
    tally->stun++;
    tally->relayed += msg.relayed_v4.ip.family == IP_V4;
    if (msg.integrity_at != 0) {
        assert_true(is_signed_by_any(keys, datagram, &msg));
        tally->with_integrity++;
    }
    if (msg.fingerprint_at != 0) {
        assert_true(stun_msg_check_fingerprint(datagram, &msg));
        tally->with_fingerprint++;
    }
}

static void check_capture(const char *capture, const char *portal)
{
    struct keys *keys = calloc(1, sizeof(*keys));
    assert_non_null(keys);
    load_keys(keys, portal);
    assert_true(keys->count >= 4);
    struct pcap pcap;
    assert_true(pcap_open(&pcap, capture));
    struct pcap_datagram datagram;
    struct tally tally = {0};
    while (pcap_next(&pcap, &datagram)) {
        check_datagram(keys, datagram.payload, &tally);
    }
    pcap_close(&pcap);
    free(keys);
    print_message("%s: %u STUN, %u signed, %u fingerprints, %u ChannelData\n", capture, tally.stun,
                  tally.with_integrity, tally.with_fingerprint, tally.channels);
    assert_true(tally.stun > 20);
    assert_true(tally.with_integrity > 10);
    assert_true(tally.with_fingerprint > 0);
    assert_true(tally.relayed > 0);
    assert_true(tally.channels > 0);
}

static void the_gateways_side_of_the_base_session_is_understood(void **state)
{
    (void)state;
    check_capture("tests/vectors/recorded/base/gateway-wire.pcap",
                  "tests/vectors/recorded/base/portal.jsonl");
}

static void the_relays_side_of_the_base_session_is_understood(void **state)
{
    (void)state;
    check_capture("tests/vectors/recorded/base/relay-wire.pcap",
                  "tests/vectors/recorded/base/portal.jsonl");
}

static void the_gateways_side_of_the_head_session_is_understood(void **state)
{
    (void)state;
    check_capture("tests/vectors/recorded/head/gateway-wire.pcap",
                  "tests/vectors/recorded/head/portal.jsonl");
}

static void the_relays_side_of_the_head_session_is_understood(void **state)
{
    (void)state;
    check_capture("tests/vectors/recorded/head/relay-wire.pcap",
                  "tests/vectors/recorded/head/portal.jsonl");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_gateways_side_of_the_base_session_is_understood),
        cmocka_unit_test(the_relays_side_of_the_base_session_is_understood),
        cmocka_unit_test(the_gateways_side_of_the_head_session_is_understood),
        cmocka_unit_test(the_relays_side_of_the_head_session_is_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
