// SPDX-License-Identifier: MIT
//
// The integer product of a group of weights with a group of x in 8 bits. The instruction is named by its number in SPIR-V,
// as not every compiler has a function for it: OpSDot on four signed bytes of a word, PackedVectorFormat4x8Bit.
//
// Before the inclusion: X_INT8 and weights.glsl.
#extension GL_EXT_spirv_intrinsics : require

spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019], id = 4450)
int packed_dot(uint a, uint b, spirv_literal int format);

#define DOT4(a, b) packed_dot(a, b, 0)

// d and sums: of x, as quantize32() makes them
float int_dot32(Group g, uint x[8], float d, vec2 sums)
{
    ivec2 dots = ivec2(0);
    [[unroll]] for (uint i = 0; i < 8; i++)
        dots[i / 4] += DOT4(g.quant[i], x[i]);
    // Sums of products are fma(), so that no driver has a choice.
#ifdef TWO_SCALES
    float v = d * fma(g.scale.x, float(dots.x), g.scale.y * float(dots.y));
#else
    float v = d * g.scale.x * float(dots.x + dots.y);
#endif
#ifdef HAS_INT_OFFSET
    v = fma(g.offset.x, sums.x, fma(g.offset.y, sums.y, v));
#endif
    return v;
}
