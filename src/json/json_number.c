/* RFC 8259 section 6: [ minus ] int [ frac ] [ exp ], no leading zeros. */
#include "json/json_number.h"

#include "base/assert.h"
#include "json/json_piece.h"

void json_number_start(struct json_reader *r, uint8_t c)
{
    r->lex = JSON_LEX_NUMBER;
    r->is_negative = c == '-';
    r->is_beyond = false;
    r->number_len = 1;
    r->amount = c == '-' ? 0 : (uint64_t)(c - '0');
    r->number = c == '-' ? JSON_NUMBER_MINUS : c == '0' ? JSON_NUMBER_ZERO : JSON_NUMBER_INTEGER;
    json_piece_put(r, &c, 1);
}

void json_number_done(struct json_reader *r)
{
    bool integer = r->number == JSON_NUMBER_ZERO || r->number == JSON_NUMBER_INTEGER;
    enum json_number_kind kind = !integer || r->is_beyond           ? JSON_NO_INTEGER
                                 : r->is_negative && r->amount != 0 ? JSON_NEGATIVE
                                                                    : JSON_NOT_NEGATIVE;
    r->lex = JSON_LEX_BETWEEN;
    if (r->number_len > JSON_NUMBER_SIZE_MAX) {
        json_refuse(r, DROP_JSON_LIMIT);
        return;
    }
    json_piece_put_number(r, kind);
    json_value_done(r);
}

static void take_digit(struct json_reader *r, uint8_t c)
{
    uint64_t digit = (uint64_t)(c - '0');
    r->is_beyond = r->is_beyond || r->amount > (UINT64_MAX - digit) / 10;
    r->amount = r->amount * 10 + digit;
}

/* Where the number stands behind `c`; false: `c` does not belong to it. */
static bool number_next(struct json_reader *r, uint8_t c)
{
    bool is_e = c == 'e' || c == 'E';
    switch (r->number) {
    case JSON_NUMBER_MINUS:
        r->number = c == '0' ? JSON_NUMBER_ZERO : JSON_NUMBER_INTEGER;
        return json_is_digit(c);
    case JSON_NUMBER_ZERO:
    case JSON_NUMBER_INTEGER:
        if (json_is_digit(c)) {
            return r->number == JSON_NUMBER_INTEGER;
        }
        r->number = c == '.' ? JSON_NUMBER_POINT : (is_e ? JSON_NUMBER_E : r->number);
        return c == '.' || is_e;
    case JSON_NUMBER_POINT:
        r->number = JSON_NUMBER_FRACTION;
        return json_is_digit(c);
    case JSON_NUMBER_FRACTION:
        r->number = is_e ? JSON_NUMBER_E : r->number;
        return is_e || json_is_digit(c);
    case JSON_NUMBER_E:
        r->number = json_is_digit(c) ? JSON_NUMBER_EXPONENT : JSON_NUMBER_SIGN;
        return json_is_digit(c) || c == '+' || c == '-';
    case JSON_NUMBER_SIGN:
        r->number = JSON_NUMBER_EXPONENT;
        return json_is_digit(c);
    case JSON_NUMBER_EXPONENT:
        return json_is_digit(c);
    }
    UNREACHABLE();
}

static bool may_end(enum json_number_state state)
{
    return state == JSON_NUMBER_ZERO || state == JSON_NUMBER_INTEGER ||
           state == JSON_NUMBER_FRACTION || state == JSON_NUMBER_EXPONENT;
}

bool json_number_may_end(const struct json_reader *r)
{
    return may_end(r->number);
}

bool json_number_take(struct json_reader *r, uint8_t c)
{
    enum json_number_state before = r->number;
    if (number_next(r, c)) {
        if (++r->number_len <= JSON_NUMBER_SIZE_MAX) {
            json_piece_put(r, &c, 1);
        }
        if (r->number == JSON_NUMBER_INTEGER) {
            take_digit(r, c);
        }
        return true;
    }
    r->number = before;
    if (!may_end(before) || (before == JSON_NUMBER_ZERO && json_is_digit(c))) {
        json_refuse(r, DROP_JSON_SYNTAX);
        return true;
    }
    json_number_done(r);
    return false;
}
