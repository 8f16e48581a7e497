#include "base/err.h"

#include "base/assert.h"

const char *err_text(enum err err)
{
    static const char *const texts[] = {
#define ERR_TEXT(name, text) text,
        ERR_TABLE(ERR_TEXT)
#undef ERR_TEXT
    };
    ASSERT(err < ERR_COUNT);
    return texts[err];
}

const char *err_name(enum err err)
{
    static const char *const names[] = {
#define ERR_NAME_TEXT(name, text) #name,
        ERR_TABLE(ERR_NAME_TEXT)
#undef ERR_NAME_TEXT
    };
    ASSERT(err < ERR_COUNT);
    return names[err];
}
