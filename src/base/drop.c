#include "base/drop.h"

#include "base/assert.h"

const char *drop_label(enum drop_reason reason)
{
    static const char *const labels[] = {
#define DROP_LABEL(name, label, text) label,
        DROP_TABLE(DROP_LABEL)
#undef DROP_LABEL
    };
    ASSERT(reason < DROP_COUNT);
    return labels[reason];
}

const char *drop_text(enum drop_reason reason)
{
    static const char *const texts[] = {
#define DROP_TEXT(name, label, text) text,
        DROP_TABLE(DROP_TEXT)
#undef DROP_TEXT
    };
    ASSERT(reason < DROP_COUNT);
    return texts[reason];
}
