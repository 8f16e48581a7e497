#include "dns/dns_pattern.h"

#include <string.h>

#include "base/text.h"

enum token_kind {
    TOKEN_END,     /* of the pattern */
    TOKEN_DOT,     /* the separator */
    TOKEN_LITERAL, /* `from` */
    TOKEN_ANY,     /* ? */
    TOKEN_STAR,    /* * */
    TOKEN_LABELS,  /* ** and the dot after it, if any */
    TOKEN_CLASS,   /* [...] */
    TOKEN_INVALID,
};

struct token {
    enum token_kind kind;
    uint8_t literal;    /* TOKEN_LITERAL */
    bool is_negated;    /* TOKEN_CLASS */
    struct view class_; /* TOKEN_CLASS: between the brackets, without "!" */
    size_t next;        /* where the following token starts */
};

/* Returns the length of the UTF-8 character at `at`; the text is known to be valid. */
static size_t character_size(const uint8_t *at)
{
    if (*at < 0x80) {
        return 1;
    }
    if (*at < 0xe0) {
        return 2;
    }
    return *at < 0xf0 ? 3 : 4;
}

/* Reads a class. The first character after "[" or "[!" is a member even if it is "]". */
static struct token read_class(struct view pattern, size_t at)
{
    struct token token = {.kind = TOKEN_CLASS};
    size_t start = at + 1;
    if (start < pattern.len && pattern.at[start] == '!') {
        token.is_negated = true;
        start++;
    }
    if (start >= pattern.len) {
        token.kind = TOKEN_INVALID;
        return token;
    }
    size_t end = start + character_size(pattern.at + start);
    while (end < pattern.len && pattern.at[end] != ']') {
        end++;
    }
    if (end >= pattern.len) {
        token.kind = TOKEN_INVALID;
        return token;
    }
    token.class_ = view_sub(pattern, start, end - start);
    token.next = end + 1;
    return token;
}

/* Reads one or two stars; "**" must be a whole label and takes the dot after it. */
static struct token read_stars(struct view pattern, size_t at)
{
    size_t end = at;
    while (end < pattern.len && pattern.at[end] == '*') {
        end++;
    }
    size_t count = end - at;
    if (count == 1) {
        return (struct token){.kind = TOKEN_STAR, .next = end};
    }
    bool starts_label = at == 0 || pattern.at[at - 1] == '.';
    bool ends_label = end == pattern.len || pattern.at[end] == '.';
    if (count > 2 || !starts_label || !ends_label) {
        return (struct token){.kind = TOKEN_INVALID};
    }
    return (struct token){.kind = TOKEN_LABELS, .next = end < pattern.len ? end + 1 : end};
}

static struct token read_token(struct view pattern, size_t at)
{
    if (at >= pattern.len) {
        return (struct token){.kind = TOKEN_END, .next = at};
    }
    switch (pattern.at[at]) {
    case '.':
        return (struct token){.kind = TOKEN_DOT, .next = at + 1};
    case '?':
        return (struct token){.kind = TOKEN_ANY, .next = at + 1};
    case '*':
        return read_stars(pattern, at);
    case '[':
        return read_class(pattern, at);
    default:
        return (struct token){.kind = TOKEN_LITERAL, .literal = pattern.at[at], .next = at + 1};
    }
}

static bool has_forbidden(struct view pattern)
{
    for (size_t i = 0; i < pattern.len; i++) {
        bool is_escaped_dot =
            pattern.at[i] == '\\' && i + 1 < pattern.len && pattern.at[i + 1] == '.';
        if (pattern.at[i] == '/' || is_escaped_dot) {
            return true;
        }
    }
    return false;
}

bool dns_pattern_is_valid(struct view pattern)
{
    if (pattern.len == 0 || pattern.len > DNS_PATTERN_SIZE_MAX || !text_is_utf8(pattern) ||
        has_forbidden(pattern)) {
        return false;
    }
    struct token token = read_token(pattern, 0);
    while (token.kind != TOKEN_END && token.kind != TOKEN_INVALID) {
        token = read_token(pattern, token.next);
    }
    return token.kind == TOKEN_END;
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

static bool is_letter(uint8_t c)
{
    return lower(c) >= 'a' && lower(c) <= 'z';
}

/* Reads the next character's first byte; a character outside ASCII counts as 255, which is more
 * than any character of a name. */
static uint8_t class_next(struct view *members)
{
    size_t size = character_size(members->at);
    size = size < members->len ? size : members->len;
    uint8_t c = members->at[0] < 0x80 ? members->at[0] : 255;
    *members = view_sub(*members, size, members->len - size);
    return c;
}

/* A range ignores case only between two letters. */
static bool in_range(uint8_t from, uint8_t to, uint8_t c)
{
    if (is_letter(from) && is_letter(to) && lower(c) >= lower(from) && lower(c) <= lower(to)) {
        return true;
    }
    return c >= from && c <= to;
}

static bool in_class(struct view members, uint8_t c)
{
    while (members.len > 0) {
        uint8_t from = class_next(&members);
        bool is_range = members.len >= 2 && members.at[0] == '-';
        if (is_range) {
            (void)class_next(&members);
            uint8_t to = class_next(&members);
            if (in_range(from, to, c)) {
                return true;
            }
        } else if (lower(from) == lower(c)) {
            return true;
        }
    }
    return false;
}

static bool matches_one(const struct token *token, uint8_t c)
{
    switch (token->kind) {
    case TOKEN_LITERAL:
        return lower(token->literal) == lower(c);
    case TOKEN_ANY:
        return true;
    case TOKEN_CLASS:
        return in_class(token->class_, c) != token->is_negated;
    case TOKEN_END:
    case TOKEN_DOT:
    case TOKEN_STAR:
    case TOKEN_LABELS:
    case TOKEN_INVALID:
        return false;
    }
    return false;
}

/* Matches one label of the pattern, from `at` to its dot or end, with the whole label `name`. Gives
 * in *end where the pattern's label ends. On a mismatch only the last star needs to be retried: it
 * alone can take more characters. */
static bool matches_label(struct view pattern, size_t at, struct view name, size_t *end)
{
    size_t star_next = SIZE_MAX; /* the token after the last star */
    size_t star_name = 0;
    size_t i = 0;
    for (;;) {
        struct token token = read_token(pattern, at);
        if (token.kind == TOKEN_STAR) {
            star_next = token.next;
            star_name = i;
            at = token.next;
            continue;
        }
        bool is_end = token.kind == TOKEN_END || token.kind == TOKEN_DOT;
        if (is_end && i == name.len) {
            *end = at;
            return true;
        }
        if (!is_end && i < name.len && matches_one(&token, name.at[i])) {
            i++;
            at = token.next;
            continue;
        }
        if (star_next == SIZE_MAX || star_name == name.len) {
            return false;
        }
        star_name++;
        i = star_name;
        at = star_next;
    }
}

static size_t label_end(struct view name, size_t at)
{
    while (at < name.len && name.at[at] != '.') {
        at++;
    }
    return at;
}

/* Matches label by label; "**" is to labels what "*" is to characters. Positions are starts of
 * labels; a name is over at name.len + 1. */
static bool matches_glob(struct view pattern, struct view name)
{
    size_t labels_next = SIZE_MAX; /* the pattern after the last "**" */
    size_t labels_name = 0;
    size_t at = 0;
    size_t i = 0;
    while (i <= name.len) {
        struct token token = read_token(pattern, at);
        if (token.kind == TOKEN_LABELS) {
            if (token.next == pattern.len && pattern.at[pattern.len - 1] == '*') {
                return true;
            }
            labels_next = token.next;
            labels_name = i;
            at = token.next;
            continue;
        }
        size_t name_end = label_end(name, i);
        size_t end = 0;
        bool is_match = matches_label(pattern, at, view_sub(name, i, name_end - i), &end);
        bool pattern_over = is_match && end == pattern.len;
        if (pattern_over && name_end == name.len) {
            return true;
        }
        if (is_match && !pattern_over) {
            at = end + 1;
            i = name_end + 1;
            continue;
        }
        if (labels_next == SIZE_MAX) {
            return false;
        }
        labels_name = label_end(name, labels_name) + 1;
        i = labels_name;
        at = labels_next;
    }
    return false;
}

bool dns_pattern_matches(struct view pattern, const struct dns_name *name)
{
    if (!dns_pattern_is_valid(pattern) || !dns_name_is_safe(name)) {
        return false;
    }
    uint8_t text[DNS_NAME_TEXT_SIZE_MAX];
    struct writer w = writer_of((struct span){text, sizeof(text)});
    dns_name_put(&w, name);
    struct view candidate = writer_view(&w);
    if (pattern.len > 2 && pattern.at[0] == '*' && pattern.at[1] == '.' &&
        view_equal(view_sub(pattern, 2, pattern.len - 2), candidate)) {
        return true;
    }
    return matches_glob(pattern, candidate);
}

/* Rank of the pattern's character before `end`, and where the one before it ends. */
static int rank_before(struct view pattern, size_t *end)
{
    uint8_t c = pattern.at[*end - 1];
    *end -= 1;
    if (c == '?') {
        return 256;
    }
    if (c != '*') {
        return 255 - c; /* literals: the greater one first */
    }
    if (*end > 0 && pattern.at[*end - 1] == '*') {
        *end -= 1;
        return 258;
    }
    return 257;
}

int dns_pattern_compare(struct view a, struct view b)
{
    size_t end_a = a.len;
    size_t end_b = b.len;
    while (end_a > 0 && end_b > 0) {
        int order = rank_before(a, &end_a) - rank_before(b, &end_b);
        if (order != 0) {
            return order;
        }
    }
    return (end_a > 0 ? 1 : 0) - (end_b > 0 ? 1 : 0);
}
