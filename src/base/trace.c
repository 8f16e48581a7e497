#include "base/trace.h"

#include <string.h>

void trace_emit(const struct trace *trace, const struct trace_event *event)
{
    if (trace->emit != NULL) {
        trace->emit(trace->sink, event);
    }
}

enum trace_level trace_level_of(enum trace_id event)
{
    static const enum trace_level levels[] = {
#define TRACE_LEVEL(name, level, text) level,
        TRACE_TABLE(TRACE_LEVEL)
#undef TRACE_LEVEL
    };
    ASSERT(event < EV_COUNT);
    return levels[event];
}

const char *trace_name(enum trace_id event)
{
    static const char *const names[] = {
#define TRACE_NAME(name, level, text) #name,
        TRACE_TABLE(TRACE_NAME)
#undef TRACE_NAME
    };
    ASSERT(event < EV_COUNT);
    return names[event] + 3; /* without EV_ */
}

static bool uuid_is_zero(const struct uuid *id)
{
    static const struct uuid zero;
    return uuid_equal(id, &zero);
}

/* Text of outside origin: what is not printable UTF-8, and a quotation mark, is shown as a dot. */
static void put_printable(struct writer *w, struct view text)
{
    while (text.len > 0) {
        uint32_t code = 0;
        size_t size = text_first_char(text, &code);
        if (size > 0 && text_is_printable(code) && code != '"') {
            writer_bytes(w, view_sub(text, 0, size));
        } else {
            writer_u8(w, '.');
        }
        size += size == 0 ? 1 : 0;
        text = view_sub(text, size, text.len - size);
    }
}

void trace_put(struct writer *w, const struct trace_event *event)
{
    const char *name = trace_name(event->event);
    for (size_t i = 0; name[i] != '\0'; i++) {
        writer_u8(w, (uint8_t)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] - 'A' + 'a' : name[i]));
    }
    if (event->reason != DROP_NONE) {
        writer_text(w, " reason=");
        writer_text(w, drop_label(event->reason));
    }
    if (!uuid_is_zero(&event->id)) {
        writer_text(w, " id=");
        uuid_put(w, &event->id);
    }
    if (!uuid_is_zero(&event->id2)) {
        writer_text(w, " resource=");
        uuid_put(w, &event->id2);
    }
    if (event->remote.ip.family != IP_NONE) {
        writer_text(w, " remote=");
        sock_addr_put(w, &event->remote);
    }
    if (event->value != 0) {
        writer_text(w, " value=");
        text_put_u64(w, event->value);
    }
    if (event->text.len != 0) {
        writer_text(w, " text=\"");
        put_printable(w, event->text);
        writer_text(w, "\"");
    }
}
