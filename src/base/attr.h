/* attr: compiler attributes used across the tree. */
#ifndef BASE_ATTR_H
#define BASE_ATTR_H

#define MUST_USE           __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a)  __attribute__((format(printf, f, a)))
#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif /* BASE_ATTR_H */
