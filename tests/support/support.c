#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/text.h"

_Noreturn void panic_at(const char *file, int line, const char *what)
{
    (void)fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, what);
    abort();
}

size_t support_unhex(const char *hex, uint8_t *out, size_t size)
{
    size_t len = strlen(hex);
    if (len / 2 > size || !text_parse_hex(view_text(hex), out, len / 2)) {
        panic_at(__FILE__, __LINE__, hex);
    }
    return len / 2;
}

char *support_read_file(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return NULL;
    }
    (void)fseek(file, 0, SEEK_END);
    long size = ftell(file);
    (void)fseek(file, 0, SEEK_SET);
    char *text = size < 0 ? NULL : malloc((size_t)size + 1);
    if (text != NULL) {
        *len = fread(text, 1, (size_t)size, file);
        text[*len] = '\0';
    }
    (void)fclose(file);
    return text;
}
