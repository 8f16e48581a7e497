#include "platform/linux/linux_log.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/text.h"

#define SECONDS_PER_DAY 86400U
#define TEXT_MAX        ((LINUX_LOG_LINE_MAX - 128U) / 2) /* in JSON each character may take two */

void linux_log_init(struct linux_log *log, const struct linux_log_options *options)
{
    memset(log, 0, sizeof(*log));
    log->fd = options->fd;
    log->level = options->level;
    log->json = options->json;
    log->colour = !options->json && isatty(options->fd) == 1;
}

/* ---- formatting ---- */

static void put_digits(struct writer *w, uint64_t value, unsigned digits)
{
    uint64_t unit = 1;
    for (unsigned i = 1; i < digits; i++) {
        unit *= 10;
    }
    for (; unit > 0; unit /= 10) {
        text_put_char(w, (char)('0' + value / unit % 10));
    }
}

/* Days since 1970 to a date of the Gregorian calendar: eras of 400 years, years from March. */
static void put_date(struct writer *w, uint64_t days)
{
    uint64_t shifted = days + 719468; /* days from 0000-03-01 to 1970-01-01 */
    uint64_t era = shifted / 146097;
    uint64_t day_of_era = shifted % 146097;
    uint64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint64_t month_from_march = (5 * day_of_year + 2) / 153;
    uint64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    put_digits(w, era * 400 + year_of_era + (month <= 2 ? 1 : 0), 4);
    text_put_char(w, '-');
    put_digits(w, month, 2);
    text_put_char(w, '-');
    put_digits(w, day_of_year - (153 * month_from_march + 2) / 5 + 1, 2);
}

void linux_log_put_time(struct writer *w, uint64_t unix_ns)
{
    uint64_t seconds = unix_ns / NS_PER_S;
    put_date(w, seconds / SECONDS_PER_DAY);
    text_put_char(w, 'T');
    put_digits(w, seconds / 3600 % 24, 2);
    text_put_char(w, ':');
    put_digits(w, seconds / 60 % 60, 2);
    text_put_char(w, ':');
    put_digits(w, seconds % 60, 2);
    text_put_char(w, '.');
    put_digits(w, unix_ns % NS_PER_S / NS_PER_MS, 3);
    text_put_char(w, 'Z');
}

struct level_name {
    const char *human; /* five columns */
    const char *json;
    const char *colour;
};

static const struct level_name *level_name(enum trace_level level)
{
    static const struct level_name names[] = {
        [TRACE_ERROR] = {"ERROR", "ERROR", "\033[31m"},
        [TRACE_WARN] = {" WARN", "WARNING", "\033[33m"},
        [TRACE_INFO] = {" INFO", "INFO", "\033[32m"},
        [TRACE_DEBUG] = {"DEBUG", "DEBUG", "\033[34m"},
        [TRACE_TRACE] = {"TRACE", "DEBUG", "\033[35m"},
    };
    return &names[level];
}

/* "\u" and four digits: what JSON or whoever reads it by lines has no other spelling for. */
static void put_json_escape(struct writer *w, uint32_t code)
{
    uint8_t unit[2];
    ASSERT(code <= UINT16_MAX); /* so are all that are not printable */
    store_be16(unit, (uint16_t)code);
    writer_text(w, "\\u");
    text_put_hex(w, VIEW_OF(unit));
}

/* JSON string characters. UTF-8 stays; a byte that is none becomes \xff in the text that is read.
 */
static void put_json_text(struct writer *w, struct view text)
{
    while (text.len > 0) {
        uint32_t code = 0;
        size_t size = text_first_char(text, &code);
        if (size == 0) {
            size = 1;
            writer_text(w, "\\\\x");
            text_put_hex(w, view_sub(text, 0, 1));
        } else if (code == '"' || code == '\\') {
            text_put_char(w, '\\');
            text_put_char(w, (char)code);
        } else if (text_is_printable(code)) {
            writer_bytes(w, view_sub(text, 0, size));
        } else {
            put_json_escape(w, code);
        }
        text = view_sub(text, size, text.len - size);
    }
}

/* One line of either form around a finished text. */
static void put_line(struct writer *w, const struct linux_log *log, enum trace_level level,
                     uint64_t unix_ns, struct view text)
{
    const struct level_name *name = level_name(level);
    if (log->json) {
        writer_text(w, "{\"time\":\"");
        linux_log_put_time(w, unix_ns);
        writer_text(w, "\",\"severity\":\"");
        writer_text(w, name->json);
        writer_text(w, "\",\"message\":\"");
        put_json_text(w, text);
        writer_text(w, "\"}\n");
        return;
    }
    linux_log_put_time(w, unix_ns);
    text_put_char(w, ' ');
    writer_text(w, log->colour ? name->colour : "");
    writer_text(w, name->human);
    writer_text(w, log->colour ? "\033[0m" : "");
    text_put_char(w, ' ');
    writer_bytes(w, text);
    text_put_char(w, '\n');
}

/* The event as text; an environment failure is said in words. */
static struct view describe(struct writer *w, const struct trace_event *event)
{
    trace_put(w, event);
    if (event->event == EV_ENVIRONMENT && event->value < ERR_COUNT) {
        writer_text(w, " (");
        writer_text(w, err_text((enum err)event->value));
        writer_text(w, ")");
    }
    return w->failed ? view_text(trace_name(event->event)) : writer_view(w);
}

void linux_log_put(struct writer *w, const struct linux_log *log, const struct trace_event *event)
{
    uint8_t room[TEXT_MAX];
    struct writer text = writer_of((struct span){room, sizeof(room)});
    put_line(w, log, trace_level_of(event->event), event->at.unix_ns, describe(&text, event));
}

/* ---- writing ---- */

/* Loses the line when the descriptor would block: a stopped reader must not stop the gateway. */
static void write_out(struct linux_log *log, struct view line)
{
    struct pollfd poll_fd = {.fd = log->fd, .events = POLLOUT};
    if (poll(&poll_fd, 1, 0) != 1 || (poll_fd.revents & POLLOUT) == 0) {
        log->suppressed++;
        return;
    }
    ssize_t written = write(log->fd, line.at, line.len);
    log->suppressed += written < 0 ? 1 : 0;
}

void linux_log_line(struct linux_log *log, enum trace_level level, uint64_t unix_ns,
                    const char *text)
{
    uint8_t room[LINUX_LOG_LINE_MAX];
    struct writer w = writer_of((struct span){room, sizeof(room)});
    if ((int)level > log->level) {
        return;
    }
    put_line(&w, log, level, unix_ns, view_text(text));
    if (!w.failed) {
        write_out(log, writer_view(&w));
    }
}

/* Says once a second how many lines were left out. */
static void report_suppressed(struct linux_log *log, uint64_t unix_ns)
{
    uint8_t room[LINUX_LOG_LINE_MAX];
    uint8_t text_room[64];
    struct writer text = writer_of((struct span){text_room, sizeof(text_room)});
    struct writer w = writer_of((struct span){room, sizeof(room)});
    writer_text(&text, "log lines left out: ");
    text_put_u64(&text, log->suppressed);
    log->suppressed = 0;
    put_line(&w, log, TRACE_WARN, unix_ns, writer_view(&text));
    write_out(log, writer_view(&w));
}

static void emit(void *sink, const struct trace_event *event)
{
    struct linux_log *log = sink;
    uint8_t room[LINUX_LOG_LINE_MAX];
    enum trace_level level = trace_level_of(event->event);
    if ((int)level > log->level) {
        return;
    }
    uint64_t second = event->at.unix_ns / NS_PER_S;
    if (second != log->second) {
        log->second = second;
        log->lines = 0;
        if (log->suppressed > 0) {
            report_suppressed(log, event->at.unix_ns);
        }
    }
    if (level == TRACE_TRACE && ++log->lines > LINUX_LOG_TRACE_PER_S) {
        log->suppressed++;
        return;
    }
    struct writer w = writer_of((struct span){room, sizeof(room)});
    linux_log_put(&w, log, event);
    if (!w.failed) {
        write_out(log, writer_view(&w));
    }
}

struct trace linux_log_trace(struct linux_log *log)
{
    return (struct trace){emit, log};
}

/* ---- flow records ---- */

static void put_member(struct writer *w, const char *name)
{
    writer_text(w, ",\"");
    writer_text(w, name);
    writer_text(w, "\":");
}

static void put_number(struct writer *w, const char *name, uint64_t value)
{
    put_member(w, name);
    text_put_u64(w, value);
}

static void put_moment(struct writer *w, const char *name, uint64_t unix_ns)
{
    put_member(w, name);
    text_put_char(w, '"');
    linux_log_put_time(w, unix_ns);
    text_put_char(w, '"');
}

static void put_id(struct writer *w, const char *name, const struct uuid *id)
{
    put_member(w, name);
    text_put_char(w, '"');
    uuid_put(w, id);
    text_put_char(w, '"');
}

/* "<end>_ip" and "<end>_port". */
static void put_end(struct writer *w, const char *ip, const char *port,
                    const struct sock_addr *addr)
{
    put_member(w, ip);
    text_put_char(w, '"');
    ip_put(w, &addr->ip);
    text_put_char(w, '"');
    put_number(w, port, addr->port);
}

static void put_outers(struct writer *w, const struct gateway_flow *flow)
{
    put_member(w, "outers");
    text_put_char(w, '[');
    for (uint32_t i = 0; i < flow->outers_count; i++) {
        const struct gateway_flow_outer *outer = &flow->outers[i];
        writer_text(w, i == 0 ? "{" : ",{");
        writer_text(w, "\"path_activated_at\":\"");
        linux_log_put_time(w, outer->since_unix_ns);
        text_put_char(w, '"');
        put_end(w, "src_ip", "src_port", &outer->source);
        if (outer->destination.ip.family != IP_NONE) {
            put_end(w, "dst_ip", "dst_port", &outer->destination);
        }
        text_put_char(w, '}');
    }
    text_put_char(w, ']');
}

void linux_log_put_flow(struct writer *w, const struct gateway_flow *flow)
{
    writer_text(w, "{\"time\":\"");
    linux_log_put_time(w, flow->ended ? flow->end_unix_ns : flow->start_unix_ns);
    writer_text(w, flow->ended ? "\",\"type\":\"flow\",\"event\":\"end\""
                               : "\",\"type\":\"flow\",\"event\":\"start\"");
    put_member(w, "protocol");
    writer_text(w, flow->protocol == 6 ? "\"tcp\"" : "\"udp\"");
    put_id(w, "client_id", &flow->client);
    put_id(w, "resource_id", &flow->resource);
    put_end(w, "inner_src_ip", "inner_src_port", &flow->source);
    put_end(w, "inner_dst_ip", "inner_dst_port", &flow->destination);
    if (flow->domain.len > 0) {
        put_member(w, "domain");
        text_put_char(w, '"');
        put_json_text(w, flow->domain);
        text_put_char(w, '"');
    }
    put_outers(w, flow);
    put_moment(w, "flow_start", flow->start_unix_ns);
    if (flow->ended) {
        put_moment(w, "flow_end", flow->end_unix_ns);
        put_moment(w, "last_packet", flow->last_packet_unix_ns);
        put_number(w, "rx_packets", flow->rx_packets);
        put_number(w, "tx_packets", flow->tx_packets);
        put_number(w, "rx_bytes", flow->rx_bytes);
        put_number(w, "tx_bytes", flow->tx_bytes);
    }
    writer_text(w, "}\n");
}

void linux_log_flow(struct linux_log *log, const struct gateway_flow *flow)
{
    uint8_t room[LINUX_LOG_FLOW_MAX];
    struct writer w = writer_of((struct span){room, sizeof(room)});
    linux_log_put_flow(&w, flow);
    if (!w.failed) {
        write_out(log, writer_view(&w));
    }
}
