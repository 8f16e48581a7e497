/* assert: checks of our own reasoning. They stay on in release builds.
 *
 * Bytes from outside never reach an ASSERT: refused input is a drop reason, a failing environment
 * an error code. Each program (gateway, simulator, tests, fuzzers) defines panic_at(), so that
 * there is no hook variable and the simulator can add seed and virtual time to the report.
 */
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

#include <assert.h> /* static_assert only; the assert() macro of this header is never used */

/* Reports a broken invariant and ends the process. Never returns. Defined by each program. */
_Noreturn void panic_at(const char *file, int line, const char *what);

#define ASSERT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            panic_at(__FILE__, __LINE__, #condition);                                              \
        }                                                                                          \
    } while (0)

#define UNREACHABLE() panic_at(__FILE__, __LINE__, "unreachable")

#endif /* BASE_ASSERT_H */
