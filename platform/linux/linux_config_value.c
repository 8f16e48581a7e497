#include "platform/linux/linux_config_value.h"

#include <string.h>

#include "base/text.h"
#include "base/trace.h"

/* Seconds of a unit, or for units below a second how many make one. */
struct unit {
    const char *name;
    uint64_t seconds;
    uint64_t per_second;
};

static const struct unit *find_unit(struct view name)
{
    static const struct unit units[] = {
        {"nanos", 0, 1000000000},
        {"nsec", 0, 1000000000},
        {"ns", 0, 1000000000},
        {"usec", 0, 1000000},
        {"us", 0, 1000000},
        {"millis", 0, 1000},
        {"msec", 0, 1000},
        {"ms", 0, 1000},
        {"seconds", 1, 1},
        {"second", 1, 1},
        {"secs", 1, 1},
        {"sec", 1, 1},
        {"s", 1, 1},
        {"minutes", 60, 1},
        {"minute", 60, 1},
        {"mins", 60, 1},
        {"min", 60, 1},
        {"m", 60, 1},
        {"hours", 3600, 1},
        {"hour", 3600, 1},
        {"hrs", 3600, 1},
        {"hr", 3600, 1},
        {"h", 3600, 1},
        {"days", 86400, 1},
        {"day", 86400, 1},
        {"d", 86400, 1},
        {"weeks", 604800, 1},
        {"week", 604800, 1},
        {"w", 604800, 1},
        {"months", 2630016, 1},
        {"month", 2630016, 1},
        {"M", 2630016, 1},
        {"years", 31557600, 1},
        {"year", 31557600, 1},
        {"y", 31557600, 1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(units); i++) {
        if (view_equal_text(name, units[i].name)) {
            return &units[i];
        }
    }
    return NULL;
}

/* Cuts the longest prefix of digits, or else of letters. */
static struct view take_while(struct view *text, bool digits)
{
    size_t len = 0;
    while (len < text->len) {
        uint8_t c = text->at[len];
        bool is_digit = c >= '0' && c <= '9';
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (digits ? !is_digit : !is_letter) {
            break;
        }
        len++;
    }
    struct view taken = view_sub(*text, 0, len);
    *text = view_sub(*text, len, text->len - len);
    return taken;
}

static void skip_spaces(struct view *text)
{
    while (text->len > 0 && text->at[0] == ' ') {
        *text = view_sub(*text, 1, text->len - 1);
    }
}

bool linux_config_duration(struct view text, uint64_t *seconds)
{
    uint64_t total = 0;
    skip_spaces(&text);
    if (text.len == 0) {
        return false;
    }
    while (text.len > 0) {
        uint64_t number = 0;
        bool is_number = text_parse_u64(take_while(&text, true), &number);
        skip_spaces(&text);
        const struct unit *unit = find_unit(take_while(&text, false));
        skip_spaces(&text);
        if (!is_number || unit == NULL) {
            return false;
        }
        uint64_t part = number / unit->per_second + (number % unit->per_second != 0 ? 1 : 0);
        if (unit->seconds > 1) {
            if (number > UINT64_MAX / unit->seconds) {
                return false;
            }
            part = number * unit->seconds;
        }
        if (total > UINT64_MAX - part) {
            return false;
        }
        total += part;
    }
    *seconds = total;
    return true;
}

/* ---- log levels ---- */

static int level_of_word(struct view word)
{
    static const struct {
        const char *word;
        int level;
    } levels[] = {
        {"off", -1},
        {"0", -1},
        {"error", TRACE_ERROR},
        {"1", TRACE_ERROR},
        {"warn", TRACE_WARN},
        {"2", TRACE_WARN},
        {"info", TRACE_INFO},
        {"3", TRACE_INFO},
        {"debug", TRACE_DEBUG},
        {"4", TRACE_DEBUG},
        {"trace", TRACE_TRACE},
        {"5", TRACE_TRACE},
    };
    for (size_t i = 0; i < ARRAY_COUNT(levels); i++) {
        if (view_equal_nocase(word, view_text(levels[i].word))) {
            return levels[i].level;
        }
    }
    return -2; /* not a level */
}

int linux_config_log_level(const char *text)
{
    struct view rest = view_text(text);
    int best = -2;
    while (rest.len > 0) {
        const uint8_t *comma = memchr(rest.at, ',', rest.len);
        size_t len = comma == NULL ? rest.len : (size_t)(comma - rest.at);
        struct view part = view_sub(rest, 0, len);
        size_t next = comma == NULL ? len : len + 1;
        rest = view_sub(rest, next, rest.len - next);
        for (size_t i = part.len; i > 0; i--) {
            if (part.at[i - 1] == '=') {
                part = view_sub(part, i, part.len - i);
                break;
            }
        }
        skip_spaces(&part);
        while (part.len > 0 && part.at[part.len - 1] == ' ') {
            part.len--;
        }
        int level = level_of_word(part);
        best = level > best ? level : best;
    }
    return best == -2 ? (int)TRACE_INFO : best;
}

/* ---- versions ---- */

bool linux_config_is_version(struct view text)
{
    uint64_t ignored = 0;
    for (int i = 0; i < 3; i++) {
        if (!text_parse_u64(take_while(&text, true), &ignored)) {
            return false;
        }
        if (i < 2) {
            if (text.len == 0 || text.at[0] != '.') {
                return false;
            }
            text = view_sub(text, 1, text.len - 1);
        }
    }
    return text.len == 0;
}
