/* SPDX-License-Identifier: MIT
 *
 * Random numbers that depend on nothing but what they are for: a counter-based generator (Threefry-2x32 of Salmon and
 * others, 2011, with 20 rounds) whose key is the sampler's seed and whose counter is the number of the drawn token and a
 * candidate's id. Shared by C and GLSL; only 32-bit additions, rotations and exclusive ors, so it gives the same bits
 * on every device.
 */
#ifndef LG_KERNELS_RANDOM_H
#define LG_KERNELS_RANDOM_H

#include "push.h"

#ifdef GL_core_profile
#define LG_RANDOM_FN
#define LG_RANDOM_FLOAT(u) float(u)
#else
#define LG_RANDOM_FN static inline
#define LG_RANDOM_FLOAT(u) ((float)(u))
#endif

#define LG_THREEFRY_ROUND(r)                                                                                 \
    x0 += x1;                                                                                                \
    x1 = (x1 << r | x1 >> (32 - r)) ^ x0;
#define LG_THREEFRY_ROUNDS_A                                                                                 \
    LG_THREEFRY_ROUND(13) LG_THREEFRY_ROUND(15) LG_THREEFRY_ROUND(26) LG_THREEFRY_ROUND(6)
#define LG_THREEFRY_ROUNDS_B                                                                                 \
    LG_THREEFRY_ROUND(17) LG_THREEFRY_ROUND(29) LG_THREEFRY_ROUND(16) LG_THREEFRY_ROUND(24)
#define LG_THREEFRY_KEY(a, b, i)                                                                             \
    x0 += a;                                                                                                 \
    x1 += b + i;

/* 32 random bits for candidate `token` of the n-th sampled token. */
LG_RANDOM_FN lg_uint lg_random_bits(lg_uint seed_lo, lg_uint seed_hi, lg_uint n, lg_uint token)
{
    lg_uint k2 = seed_lo ^ seed_hi ^ 0x1bd11bdau;
    lg_uint x0 = n + seed_lo;
    lg_uint x1 = token + seed_hi;
    LG_THREEFRY_ROUNDS_A
    LG_THREEFRY_KEY(seed_hi, k2, 1u)
    LG_THREEFRY_ROUNDS_B
    LG_THREEFRY_KEY(k2, seed_lo, 2u)
    LG_THREEFRY_ROUNDS_A
    LG_THREEFRY_KEY(seed_lo, seed_hi, 3u)
    LG_THREEFRY_ROUNDS_B
    LG_THREEFRY_KEY(seed_hi, k2, 4u)
    LG_THREEFRY_ROUNDS_A
    LG_THREEFRY_KEY(k2, seed_lo, 5u)
    return x0;
}

/* Uniform in (0, 1), exact in float32: (the upper 23 bits + 1/2) * 2^-23. */
LG_RANDOM_FN float lg_random_unit(lg_uint bits)
{
    return (LG_RANDOM_FLOAT(bits >> 9) + 0.5f) * 1.1920928955078125e-7f;
}

#endif
