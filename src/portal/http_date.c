#include "portal/http_date.h"

#include "base/text.h"
#include "portal/http_head.h"

struct date {
    uint64_t year;
    uint64_t month; /* 1..12 */
    uint64_t day;   /* 1..31 */
    uint64_t hour;
    uint64_t minute;
    uint64_t second; /* 60: a leap second, counted as the next one */
};

static bool parse_month(struct view text, uint64_t *month)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (size_t i = 0; i < 12; i++) {
        if (view_equal(text, (struct view){(const uint8_t *)names + 3 * i, 3})) {
            *month = i + 1;
            return true;
        }
    }
    return false;
}

static bool parse_number(struct view text, size_t digits, uint64_t *out)
{
    return text.len == digits && text_parse_u64(text, out);
}

/* hh:mm:ss */
static bool parse_time(struct view text, struct date *out)
{
    struct view rest;
    struct view hour = http_split(text, ':', &rest);
    struct view minute = http_split(rest, ':', &rest);
    return parse_number(hour, 2, &out->hour) && parse_number(minute, 2, &out->minute) &&
           parse_number(rest, 2, &out->second) && out->hour < 24 && out->minute < 60 &&
           out->second <= 60;
}

/* 06 Nov 1994 08:49:37 GMT, or 06-Nov-94 08:49:37 GMT */
static bool parse_after_comma(struct view text, struct date *out)
{
    struct view rest;
    bool dashes = text.len > 2 && text.at[2] == '-';
    uint8_t separator = dashes ? '-' : ' ';
    struct view day = http_split(text, separator, &rest);
    struct view month = http_split(rest, separator, &rest);
    struct view year = http_split(rest, ' ', &rest);
    struct view time = http_split(rest, ' ', &rest);
    if (!parse_number(day, 2, &out->day) || !parse_month(month, &out->month) ||
        !parse_number(year, dashes ? 2 : 4, &out->year) || !parse_time(time, out)) {
        return false;
    }
    if (dashes) {
        out->year += out->year < 70 ? 2000 : 1900;
    }
    return view_equal_text(rest, "GMT");
}

/* Nov  6 08:49:37 1994, behind the day of the week */
static bool parse_asctime(struct view text, struct date *out)
{
    struct view rest;
    struct view month = http_split(text, ' ', &rest);
    bool short_day = rest.len > 1 && rest.at[0] == ' ';
    struct view day = http_split(short_day ? http_trim(rest) : rest, ' ', &rest);
    struct view time = http_split(rest, ' ', &rest);
    return parse_month(month, &out->month) && parse_number(day, short_day ? 1 : 2, &out->day) &&
           parse_time(time, out) && parse_number(rest, 4, &out->year);
}

static bool is_leap(uint64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static uint64_t days_of_month(uint64_t year, uint64_t month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && is_leap(year) ? 1U : 0U);
}

/* Days from 1970-01-01 to the first of January of `year`, which is at least 1970. */
static uint64_t days_to_year(uint64_t year)
{
    uint64_t before = year - 1;
    uint64_t leap_days = before / 4 - before / 100 + before / 400;
    uint64_t leap_days_1970 = 1969 / 4 - 1969 / 100 + 1969 / 400;
    return (year - 1970) * 365 + leap_days - leap_days_1970;
}

static bool to_unix(const struct date *date, uint64_t *unix_s)
{
    if (date->year < 1970 || date->day == 0 || date->day > days_of_month(date->year, date->month)) {
        return false;
    }
    uint64_t days = days_to_year(date->year) + date->day - 1;
    for (uint64_t month = 1; month < date->month; month++) {
        days += days_of_month(date->year, month);
    }
    *unix_s = ((days * 24 + date->hour) * 60 + date->minute) * 60 + date->second;
    return true;
}

bool http_parse_date(struct view text, uint64_t *unix_s)
{
    struct date date = {0};
    struct view rest;
    struct view weekday = http_split(text, ',', &rest);
    bool parsed = false;
    if (weekday.len < text.len) {
        parsed = rest.len > 1 && rest.at[0] == ' ' &&
                 parse_after_comma(view_sub(rest, 1, rest.len - 1), &date);
    } else {
        (void)http_split(text, ' ', &rest);
        parsed = parse_asctime(rest, &date);
    }
    return parsed && to_unix(&date, unix_s);
}
