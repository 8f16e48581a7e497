/* json_writer: writes JSON into a span, keys in the order of the calls, no spaces.
 *
 * The output is byte-identical to the reference's serialiser: `"` `\` and the short escapes \b \f
 * \n \r \t, other control characters as \u00xx in lower case, everything else as UTF-8. The caller
 * keeps the calls balanced; commas and colons are the writer's. Failures (no room, text that is not
 * UTF-8) are sticky and show in json_writer_finish().
 */
#ifndef JSON_JSON_WRITER_H
#define JSON_JSON_WRITER_H

#include "base/addr.h"
#include "base/bytes.h"
#include "base/text.h"

struct json_writer {
    struct writer out;
    bool comma; /* the next value or key of this level needs a comma */
};

struct json_writer json_writer_of(struct span out);
/* The text so far; *out is empty and the result false once something failed. */
MUST_USE bool json_writer_finish(const struct json_writer *w, struct view *out);

void json_open_object(struct json_writer *w);
void json_close_object(struct json_writer *w);
void json_open_array(struct json_writer *w);
void json_close_array(struct json_writer *w);
void json_put_key(struct json_writer *w, const char *key); /* a value must follow */

void json_put_null(struct json_writer *w);
void json_put_bool(struct json_writer *w, bool value);
void json_put_u64(struct json_writer *w, uint64_t value);
void json_put_i64(struct json_writer *w, int64_t value);
void json_put_text(struct json_writer *w, struct view text);
void json_put_string(struct json_writer *w, const char *text);
void json_put_uuid(struct json_writer *w, const struct uuid *uuid);
void json_put_ip(struct json_writer *w, const struct ip_addr *ip);
void json_put_sockaddr(struct json_writer *w, const struct sock_addr *addr);
void json_put_prefix(struct json_writer *w, const struct ip_prefix *prefix);
void json_put_base64(struct json_writer *w, struct view bytes); /* standard, with padding */
/* Text that is already JSON; the caller vouches for it. */
void json_put_raw(struct json_writer *w, struct view json);

/* Key and value in one call. */
void json_field_null(struct json_writer *w, const char *key);
void json_field_bool(struct json_writer *w, const char *key, bool value);
void json_field_u64(struct json_writer *w, const char *key, uint64_t value);
void json_field_text(struct json_writer *w, const char *key, struct view text);
void json_field_string(struct json_writer *w, const char *key, const char *text);
void json_field_uuid(struct json_writer *w, const char *key, const struct uuid *uuid);
void json_field_ip(struct json_writer *w, const char *key, const struct ip_addr *ip);

#endif /* JSON_JSON_WRITER_H */
