/* json_number: the reader's way through a number, byte by byte. Private to src/json/. */
#ifndef JSON_JSON_NUMBER_H
#define JSON_JSON_NUMBER_H

#include "json/json_tree.h"

static inline bool json_is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* `c` is the first byte: a digit or the minus. */
void json_number_start(struct json_reader *r, uint8_t c);
/* False: the number is over, `c` still to be taken. */
MUST_USE bool json_number_take(struct json_reader *r, uint8_t c);
/* True when the text may end where the number stands; then json_number_done() ends it. */
MUST_USE bool json_number_may_end(const struct json_reader *r);
void json_number_done(struct json_reader *r);

#endif /* JSON_JSON_NUMBER_H */
