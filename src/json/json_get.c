/* The typed getters, which need no look into the tree. */
#include "json/json.h"

const struct json_value *json_get_some(const struct json_value *object, const char *key)
{
    const struct json_value *value = json_get(object, key);
    return json_is_null(value) ? NULL : value;
}

bool json_has(const struct json_value *object, const char *key)
{
    return json_get(object, key) != NULL;
}

bool json_u16(const struct json_value *value, uint16_t *out)
{
    uint64_t wide = 0;
    if (!json_u64(value, &wide) || wide > UINT16_MAX) {
        return false;
    }
    *out = (uint16_t)wide;
    return true;
}

bool json_uuid(const struct json_value *value, struct uuid *out)
{
    struct view text;
    return json_text(value, &text) && uuid_parse(text, out);
}

bool json_ip(const struct json_value *value, struct ip_addr *out)
{
    struct view text;
    return json_text(value, &text) && ip_parse(text, out);
}

bool json_get_array(const struct json_value *object, const char *key, const struct json_value **out)
{
    const struct json_value *value = json_get(object, key);
    if (!json_is_array(value)) {
        return false;
    }
    *out = value;
    return true;
}

bool json_get_text(const struct json_value *object, const char *key, struct view *out)
{
    return json_text(json_get(object, key), out);
}

bool json_get_bool(const struct json_value *object, const char *key, bool *out)
{
    return json_bool(json_get(object, key), out);
}

bool json_get_u64(const struct json_value *object, const char *key, uint64_t *out)
{
    return json_u64(json_get(object, key), out);
}

bool json_get_i64(const struct json_value *object, const char *key, int64_t *out)
{
    return json_i64(json_get(object, key), out);
}

bool json_get_uuid(const struct json_value *object, const char *key, struct uuid *out)
{
    return json_uuid(json_get(object, key), out);
}

bool json_get_ip(const struct json_value *object, const char *key, struct ip_addr *out)
{
    return json_ip(json_get(object, key), out);
}

static bool get_ip_of_family(const struct json_value *value, enum ip_family family,
                             struct ip_addr *out)
{
    struct ip_addr ip;
    if (!json_ip(value, &ip) || ip.family != family) {
        return false;
    }
    *out = ip;
    return true;
}

bool json_get_ipv4(const struct json_value *object, const char *key, struct ip_addr *out)
{
    return get_ip_of_family(json_get(object, key), IP_V4, out);
}

bool json_get_ipv6(const struct json_value *object, const char *key, struct ip_addr *out)
{
    return get_ip_of_family(json_get(object, key), IP_V6, out);
}

bool json_get_sockaddr(const struct json_value *object, const char *key, struct sock_addr *out)
{
    struct view text;
    return json_get_text(object, key, &text) && sock_addr_parse(text, out);
}

bool json_get_prefix(const struct json_value *object, const char *key, struct ip_prefix *out)
{
    struct view text;
    return json_get_text(object, key, &text) && ip_prefix_parse(text, out);
}

bool json_get_key32(const struct json_value *object, const char *key, uint8_t out[JSON_KEY32_SIZE])
{
    struct view text;
    return json_get_text(object, key, &text) && text_parse_base64(text, out, JSON_KEY32_SIZE);
}

bool json_get_u16_opt(const struct json_value *object, const char *key, uint16_t *out)
{
    return !json_has(object, key) || json_u16(json_get(object, key), out);
}

bool json_get_bool_opt(const struct json_value *object, const char *key, bool *out)
{
    return !json_has(object, key) || json_bool(json_get(object, key), out);
}

bool json_get_unix_or_null(const struct json_value *object, const char *key, bool *is_some,
                           uint64_t *out)
{
    const struct json_value *value = json_get(object, key);
    int64_t seconds = 0;
    if (json_is_null(value)) {
        *is_some = false;
        *out = 0;
        return true;
    }
    if (!json_i64(value, &seconds)) {
        return false;
    }
    *is_some = true;
    *out = seconds < 0 ? 0 : (uint64_t)seconds;
    return true;
}
