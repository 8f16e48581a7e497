#include "portal/portal_url.h"

#include <string.h>

#include "base/text.h"
#include "crypto/sha256.h"

#define PORT_DEFAULT 443U /* also for plain text: the reference asks for no other default */

struct scheme {
    const char *name;
    bool tls;
    uint16_t port; /* a URL parser drops this port from the URL */
};

static const struct scheme schemes[] = {
    {"http", false, 80},
    {"https", true, 443},
    {"ws", false, 80},
    {"wss", true, 443},
};

/* Index of the first byte of `text` that is in `stops`, or its length. */
static size_t find_any(struct view text, const char *stops)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] != 0 && strchr(stops, text.at[i]) != NULL) {
            return i;
        }
    }
    return text.len;
}

static struct view tail(struct view text, size_t from)
{
    return view_sub(text, from, text.len - from);
}

static bool is_host_char(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
}

static enum err parse_host(struct view host, bool bracketed, struct portal_url *out)
{
    if (host.len == 0) {
        return ERR_ARGUMENT;
    }
    if (host.len > PORTAL_HOST_SIZE_MAX) {
        return ERR_SPACE;
    }
    bool literal = ip_parse(host, &out->ip);
    if (bracketed && (!literal || out->ip.family != IP_V6)) {
        return ERR_ARGUMENT;
    }
    for (size_t i = 0; i < host.len; i++) {
        uint8_t c = host.at[i];
        if (!is_host_char(c) && !(bracketed && c == ':')) {
            return ERR_ARGUMENT;
        }
        out->host[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    out->host_len = (uint16_t)host.len;
    return ERR_NONE;
}

/* What stands between "//" and the path. */
static enum err parse_authority(struct view text, const struct scheme *scheme,
                                struct portal_url *out)
{
    bool bracketed = text.len > 0 && text.at[0] == '[';
    struct view inner = bracketed ? tail(text, 1) : text;
    size_t end = find_any(inner, bracketed ? "]" : ":");
    if (bracketed && end == inner.len) {
        return ERR_ARGUMENT;
    }
    struct view rest = tail(inner, bracketed ? end + 1 : end);
    uint16_t port = PORT_DEFAULT;
    if (rest.len > 1) {
        if (rest.at[0] != ':' || !text_parse_u16(tail(rest, 1), &port) || port == 0) {
            return ERR_ARGUMENT;
        }
    } else if (rest.len == 1 && rest.at[0] != ':') {
        return ERR_ARGUMENT;
    }
    out->port = port == scheme->port ? PORT_DEFAULT : port;
    return parse_host(view_sub(inner, 0, end), bracketed, out);
}

static enum err parse_path(struct view path, struct portal_url *out)
{
    if (path.len > 0 && path.at[path.len - 1] == '/') {
        path.len--;
    }
    if (path.len > PORTAL_PATH_SIZE_MAX) {
        return ERR_SPACE;
    }
    for (size_t i = 0; i < path.len; i++) {
        if (path.at[i] <= 0x20 || path.at[i] >= 0x7f) {
            return ERR_ARGUMENT;
        }
        out->path[i] = (char)path.at[i];
    }
    out->path_len = (uint16_t)path.len;
    return ERR_NONE;
}

static const struct scheme *find_scheme(struct view name)
{
    for (size_t i = 0; i < ARRAY_COUNT(schemes); i++) {
        if (view_equal_nocase(name, view_text(schemes[i].name))) {
            return &schemes[i];
        }
    }
    return NULL;
}

enum err portal_url_parse(struct view text, struct portal_url *out)
{
    *out = (struct portal_url){0};
    size_t colon = find_any(text, ":");
    const struct scheme *scheme = find_scheme(view_sub(text, 0, colon));
    if (scheme == NULL || text.len - colon < 3 || text.at[colon + 1] != '/' ||
        text.at[colon + 2] != '/') {
        return ERR_ARGUMENT;
    }
    struct view rest = tail(text, colon + 3);
    rest = view_sub(rest, 0, find_any(rest, "?#"));
    size_t slash = find_any(rest, "/");
    out->tls = scheme->tls;
    enum err err = parse_authority(view_sub(rest, 0, slash), scheme, out);
    return err != ERR_NONE ? err : parse_path(tail(rest, slash), out);
}

struct view portal_url_host(const struct portal_url *url)
{
    return (struct view){(const uint8_t *)url->host, url->host_len};
}

void portal_url_put_host(struct writer *w, const struct portal_url *url)
{
    bool brackets = url->ip.family == IP_V6;
    writer_text(w, brackets ? "[" : "");
    writer_bytes(w, portal_url_host(url));
    writer_text(w, brackets ? "]" : "");
}

void portal_url_put_target(struct writer *w, const struct portal_url *url,
                           const struct portal_login *login)
{
    uint8_t key_text[44];
    struct writer key = writer_of((struct span){key_text, sizeof(key_text)});
    text_put_base64(&key, (struct view){login->public_key, 32}, true);
    writer_bytes(w, (struct view){(const uint8_t *)url->path, url->path_len});
    if (login->token.len > 0) {
        writer_text(w, "/gateway/websocket?token=");
        portal_url_put_form(w, login->token);
        writer_text(w, "&external_id=");
    } else {
        writer_text(w, "/gateway/v2/websocket?external_id=");
    }
    portal_url_put_external_id(w, login->firezone_id);
    writer_text(w, "&name=");
    portal_url_put_form(w, login->name);
    writer_text(w, "&public_key=");
    portal_url_put_form(w, writer_view(&key));
}

void portal_url_put_form(struct writer *w, struct view text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.at[i];
        if ((is_host_char(c)) || c == '*') {
            writer_u8(w, c);
        } else if (c == ' ') {
            text_put_char(w, '+');
        } else {
            text_put_char(w, '%');
            text_put_char(w, digits[c >> 4]);
            text_put_char(w, digits[c & 15U]);
        }
    }
}

bool portal_url_parse_form(struct view text, struct writer *out)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.at[i];
        if (c == '%') {
            if (text.len - i < 3 || !text_parse_hex(view_sub(text, i + 1, 2), &c, 1)) {
                return false;
            }
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        writer_u8(out, c);
    }
    return writer_finish(out);
}

bool portal_url_query(struct view target, const char *key, struct view *out)
{
    size_t question = find_any(target, "?");
    struct view name = view_text(key);
    while (question < target.len) {
        target = tail(target, question + 1);
        question = find_any(target, "&");
        struct view pair = view_sub(target, 0, question);
        size_t equals = find_any(pair, "=");
        if (view_equal(view_sub(pair, 0, equals), name)) {
            *out = equals < pair.len ? tail(pair, equals + 1) : VIEW_EMPTY;
            return true;
        }
    }
    return false;
}

void portal_url_put_external_id(struct writer *w, struct view firezone_id)
{
    uint8_t digest[SHA256_SIZE];
    sha256(firezone_id, digest);
    text_put_hex(w, VIEW_OF(digest));
}
