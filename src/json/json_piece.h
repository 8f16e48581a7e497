/* json_piece: what the reader accepted and is not in the tree yet. Private to src/json/.
 *
 * Where memory runs out, the text is refused with DROP_JSON_MEMORY.
 */
#ifndef JSON_JSON_PIECE_H
#define JSON_JSON_PIECE_H

#include "json/json_tree.h"

#define JSON_WORK_VALUE 40U /* of a value, beside its bytes */

/* The first reason counts. */
static inline void json_refuse(struct json_reader *r, enum drop_reason reason)
{
    if (r->result == DROP_NONE) {
        r->result = reason;
    }
}

/* A value is complete. */
static inline void json_value_done(struct json_reader *r)
{
    r->want = r->depth == 0 ? JSON_WANT_NOTHING : JSON_WANT_COMMA_OR_END;
}

void json_piece_put(struct json_reader *r, const void *bytes, uint32_t count);
/* The exact value of a number whose text was put: r->amount. */
void json_piece_put_number(struct json_reader *r, enum json_number_kind kind);
/* The end of the array or object at depth `level`. */
void json_piece_put_end(struct json_reader *r, uint32_t level);
/* Makes a part of the tree of the piece; begins one inside of what is open. */
void json_piece_end(struct json_reader *r);
void json_piece_begin(struct json_reader *r);

#endif /* JSON_JSON_PIECE_H */
