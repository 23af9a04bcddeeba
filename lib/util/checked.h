/* SPDX-License-Identifier: MIT
 * Arithmetic that says when it overflows: each returns false and leaves *out unspecified. */
#ifndef LG_UTIL_CHECKED_H
#define LG_UTIL_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool lg_mul_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool lg_add_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline bool lg_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool lg_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/** Rounds up to a multiple of `align`, a power of two. */
static inline bool lg_align_u64(uint64_t a, uint64_t align, uint64_t *out)
{
    uint64_t sum;
    if (!lg_add_u64(a, align - 1, &sum))
        return false;
    *out = sum & ~(align - 1);
    return true;
}

static inline uint32_t lg_div_up(uint32_t a, uint32_t b)
{
    return a / b + (a % b != 0);
}

static inline uint32_t lg_min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static inline uint32_t lg_max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static inline uint64_t lg_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t lg_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif
