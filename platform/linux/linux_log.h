/* linux_log: trace events as lines on a file descriptor, human-readable or JSON.
 *
 * One line an event: time in UTC with milliseconds, level, text. Lines of level TRACE are bounded
 * to LINUX_LOG_TRACE_PER_S a second; what was left out is said once a second. A descriptor that
 * would block loses lines instead of stopping the gateway. Colours only on terminals. Flow records
 * are JSON lines of their own kind ("type":"flow") among them.
 * Source: spec/portal.md sections 9.1 and 10.6.
 */
#ifndef LINUX_LOG_H
#define LINUX_LOG_H

#include "base/trace.h"
#include "gateway/gateway_io.h"

#define LINUX_LOG_LINE_MAX    1024U
#define LINUX_LOG_FLOW_MAX    3584U /* bytes of the line of a flow record */
#define LINUX_LOG_TRACE_PER_S 1000U

struct linux_log {
    int fd;
    int level; /* most verbose enum trace_level to print; -1: none */
    bool json;
    bool colour;
    uint64_t second;     /* of the current budget */
    uint32_t lines;      /* TRACE lines in it */
    uint64_t suppressed; /* lines left out since last said */
};

struct linux_log_options {
    int fd;
    int level;
    bool json;
};

void linux_log_init(struct linux_log *log, const struct linux_log_options *options);
/* The sink to hand to the core; `log` must outlive it. */
struct trace linux_log_trace(struct linux_log *log);
/* Writes one line of our own, e.g. at start. */
void linux_log_line(struct linux_log *log, enum trace_level level, uint64_t unix_ns,
                    const char *text);
/* Formats one line with its newline; used by the sink and by tests. */
void linux_log_put(struct writer *w, const struct linux_log *log, const struct trace_event *event);
/* Writes a flow record as one JSON line, in whatever form the log has. */
void linux_log_flow(struct linux_log *log, const struct gateway_flow *flow);
/* Formats that line with its newline. */
void linux_log_put_flow(struct writer *w, const struct gateway_flow *flow);
/* Writes `unix_ns` as 2026-01-02T03:04:05.678Z. */
void linux_log_put_time(struct writer *w, uint64_t unix_ns);

#endif /* LINUX_LOG_H */
