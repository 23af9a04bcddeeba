/* SPDX-License-Identifier: MIT
 *
 * The random numbers of sampling, for C and GLSL alike: a hash of (seed, position, token), so that a draw
 * depends on nothing else, whatever order or device computes it.
 */
#ifndef LG_KERNELS_RANDOM_H
#define LG_KERNELS_RANDOM_H

#include "push.h"

#ifdef GL_core_profile
#define LG_SHARED_FN
#define lg_log_f32(x) log(x)
#else
#include <math.h>
#define LG_SHARED_FN static inline
#define lg_log_f32(x) logf(x)
#endif

/* The output permutation of PCG-RXS-M-XS-32 (O'Neill 2014): a bijection of 32-bit words that mixes well. */
LG_SHARED_FN lg_uint lg_random_mix(lg_uint x)
{
    lg_uint state = x * 747796405u + 2891336453u;
    lg_uint word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return (word >> 22u) ^ word;
}

/* What the tokens of one draw have in common; `pos` is that of the row whose logits are drawn from. */
LG_SHARED_FN lg_uint lg_random_draw(lg_uint seed_lo, lg_uint seed_hi, lg_uint pos)
{
    return lg_random_mix(lg_random_mix(lg_random_mix(seed_lo) ^ seed_hi) + pos);
}

/* What the columns of a row have in common in one of several uses of a draw. */
LG_SHARED_FN lg_uint lg_random_row(lg_uint draw, lg_uint site, lg_uint row)
{
    return lg_random_mix(lg_random_mix(draw + site) + row);
}

/*
 * A number of the standard Gumbel distribution, -log(-log(1 - v)) with v uniform in (0, 1): of all tokens the one with
 * the largest logit / temperature + gumbel is a sample of the softmax. GPUs compute log near 1 with an absolute error
 * only, so small v (the large numbers, the ones that decide) go through the series of -log(1 - v).
 */
LG_SHARED_FN float lg_random_gumbel(lg_uint draw, lg_uint token)
{
    lg_uint bits = lg_random_mix(draw ^ lg_random_mix(token)) >> 9u;
    float v = bits;
    v = (v + 0.5f) * 1.1920928955078125e-7f; /* 2^-23 */
    float e = -lg_log_f32(1.0f - v);
    if (v < 0.125f) {
        float tail = v * (0.25f + v * (0.2f + v * (0.16666667f + v * 0.14285715f)));
        e = v * (1.0f + v * (0.5f + v * (0.33333334f + tail)));
    }
    return -lg_log_f32(e);
}

#endif
