/* SPDX-License-Identifier: MIT
 *
 * AdamW's moments in 8 bits, for C and GLSL alike. A block of LG_ADAM8_BLOCK numbers has a power of two that all of them are
 * below in magnitude; by it they are in [0, 1), where a code is the upper bits of a float32: 3 of its mantissa, and of its
 * exponent those that differ. The second moment has 31 powers of two that way, the first, with its sign, 15.
 *
 * A moment changes by less in a step than its codes are apart. So what is rounded goes up or down by chance, in proportion to
 * where it lies between the two: on average nothing is lost.
 */
#ifndef LG_KERNELS_ADAM8_H
#define LG_KERNELS_ADAM8_H

#include "random.h"

#define LG_ADAM8_FIRST 127u  /* the largest code of a first moment's magnitude */
#define LG_ADAM8_SECOND 255u /* and of a second moment */
#define LG_ADAM8_ONE 1016u   /* the upper 12 bits of 1.0f */

/* The float's bits, of one in [0, 1), as a code of 0 .. most. */
LG_SHARED_FN lg_uint lg_adam8_code(lg_uint bits, lg_uint chance, lg_uint most)
{
    lg_uint upper = (bits + (chance & 0xfffffu)) >> 20u;
    upper = upper < LG_ADAM8_ONE ? upper : LG_ADAM8_ONE;
    return upper + most > LG_ADAM8_ONE ? upper + most - LG_ADAM8_ONE : 0u;
}

/* The bits of the float that a code stands for. */
LG_SHARED_FN lg_uint lg_adam8_bits(lg_uint code, lg_uint most)
{
    return code > 0u ? (code + LG_ADAM8_ONE - most) << 20u : 0u;
}

/* The exponent's field of the power of two for a block whose largest magnitude has these bits. */
LG_SHARED_FN lg_uint lg_adam8_exponent(lg_uint bits)
{
    lg_uint e = (bits >> 23u) + 1u;
    return e < 253u ? e : 253u;
}

/* The chance of element i of a tensor. */
LG_SHARED_FN lg_uint lg_adam8_chance(lg_uint draw, lg_uint i)
{
    return lg_random_mix(draw ^ lg_random_mix(i));
}

#endif
