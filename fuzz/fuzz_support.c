/* What every fuzz target needs: the end of a broken invariant is a crash that the fuzzer sees. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"

_Noreturn void panic_at(const char *file, int line, const char *what)
{
    (void)fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, what);
    abort();
}
