// SPDX-License-Identifier: MIT
//
// Reading rows of x in groups of 32, and the product of such a group with a group of weights. Rows that meet blocks of
// weights have a multiple of 32 elements and are read as vectors; rows that meet plain numbers may have any length.
//
// Before the inclusion: weights.glsl, and X_BINDING, the binding of x.

#ifdef HAS_TAIL
layout(binding = X_BINDING) readonly buffer X { float x_buf[]; };
layout(binding = X_BINDING) readonly buffer X4 { vec4 x4_buf[]; };

void load_x(uint at, out vec4 x[8])
{
    [[unroll]] for (uint i = 0; i < 8; i++)
        x[i] = vec4(x_buf[at + i * 4], x_buf[at + i * 4 + 1], x_buf[at + i * 4 + 2], x_buf[at + i * 4 + 3]);
}

// n elements, then zeros
void load_x_tail(uint at, uint n, out vec4 x[8])
{
    [[unroll]] for (uint i = 0; i < 32; i++)
        x[i / 4][i % 4] = i < n ? x_buf[at + min(i, n - 1)] : 0;
}
#else
layout(binding = X_BINDING) readonly buffer X { vec4 x_buf[]; };

void load_x(uint at, out vec4 x[8])
{
    [[unroll]] for (uint i = 0; i < 8; i++)
        x[i] = x_buf[at / 4 + i];
}
#endif

#ifndef X_INT8
float dot2(vec2 a, vec2 b)
{
    return fma(a.x, b.x, a.y * b.y);
}

float dot16(vec4 a0, vec4 a1, vec4 a2, vec4 a3, vec4 b0, vec4 b1, vec4 b2, vec4 b3)
{
    vec4 v = fma(a3, b3, fma(a2, b2, fma(a1, b1, a0 * b0)));
    return (v.x + v.y) + (v.z + v.w);
}

// the sums of the two halves of x, for the weights' offsets
vec2 half_sums(vec4 x[8])
{
    vec4 a = x[0] + x[1] + x[2] + x[3], b = x[4] + x[5] + x[6] + x[7];
    return vec2((a.x + a.y) + (a.z + a.w), (b.x + b.y) + (b.z + b.w));
}

float dot32(Group g, vec4 x[8], vec2 x_sum)
{
    vec2 sums = vec2(dot16(g.quant[0], g.quant[1], g.quant[2], g.quant[3], x[0], x[1], x[2], x[3]),
                     dot16(g.quant[4], g.quant[5], g.quant[6], g.quant[7], x[4], x[5], x[6], x[7]));
#ifdef HAS_TAIL
    return sums.x + sums.y;
#elif defined(HAS_OFFSET)
    return dot2(g.scale, sums) + dot2(g.offset, x_sum);
#else
    return dot2(g.scale, sums);
#endif
}
#endif
