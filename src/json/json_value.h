/* json_value: a value of the tree. Private to src/json/. */
#ifndef JSON_JSON_VALUE_H
#define JSON_JSON_VALUE_H

#include "json/json.h"

enum json_kind {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NO_INTEGER,   /* a fraction, an exponent, or beyond 64 bits */
    JSON_NOT_NEGATIVE, /* an integer */
    JSON_NEGATIVE,     /* `amount` below zero */
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

struct json_value {
    union {
        uint64_t amount;
        const uint8_t *string;
        const struct json_value *first;
    } u;
    const struct json_value *next;
    const uint8_t *key; /* of a member */
    uint32_t len;       /* bytes of a string; items */
    uint16_t key_len;
    uint8_t kind;
};

#endif /* JSON_JSON_VALUE_H */
