/*
 * Replaces memcpy and memmove of musl, which begin with an instruction of 30 cycles: more than a typical copy of
 * Python's, which has about 20 bytes, takes in all; and memcmp, which compares byte by byte.
 *
 * Each step reads everything that it copies before it writes, so the blocks may overlap.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t Two __attribute__((may_alias, aligned(1)));
typedef uint32_t Four __attribute__((may_alias, aligned(1)));
typedef uint64_t Eight __attribute__((may_alias, aligned(1)));
/* The size must precede the alignment, or gcc assumes that the vector is aligned. */
typedef long long Vector __attribute__((vector_size(16)));
typedef Vector Sixteen __attribute__((may_alias, aligned(1)));

/* Copy `size` bytes, from one to two times the size of `type`, as two parts that may overlap. */
#define COPY(type)                                                                           \
    do {                                                                                     \
        type first = *(const type *)source, last = *(const type *)(source + size - sizeof(type)); \
        *(type *)target = first;                                                             \
        *(type *)(target + size - sizeof(type)) = last;                                      \
    } while (0)

void *memmove(void *to, const void *from, size_t size)
{
    char *target = to;
    const char *source = from;

    if (size > 32 && (uintptr_t)target - (uintptr_t)source >= size) { /* not into bytes that are still to be read */
        Vector last = *(const Sixteen *)(source + size - 16);
        for (size_t i = 0; i < size - 16; i += 16)
            *(Sixteen *)(target + i) = *(const Sixteen *)(source + i);
        *(Sixteen *)(target + size - 16) = last;
    } else if (size > 32) {
        Vector first = *(const Sixteen *)source;
        for (size_t i = size; i > 16; i -= 16)
            *(Sixteen *)(target + i - 16) = *(const Sixteen *)(source + i - 16);
        *(Sixteen *)target = first;
    } else if (size >= 16) {
        COPY(Sixteen);
    } else if (size >= 8) {
        COPY(Eight);
    } else if (size >= 4) {
        COPY(Four);
    } else if (size >= 2) {
        COPY(Two);
    } else if (size == 1) {
        *target = *source;
    }
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size) __attribute__((alias("memmove")));

int memcmp(const void *one, const void *other, size_t size)
{
    const unsigned char *left = one, *right = other;

    for (; size >= sizeof(Eight) && *(const Eight *)left == *(const Eight *)right; size -= sizeof(Eight)) {
        left += sizeof(Eight);
        right += sizeof(Eight);
    }
    for (; size > 0 && *left == *right; size--) {
        left++;
        right++;
    }
    return size == 0 ? 0 : *left - *right;
}
