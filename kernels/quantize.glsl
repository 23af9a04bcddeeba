// SPDX-License-Identifier: MIT
//
// 32 numbers in 8 bits, q = round(v / d) to nearest even with d = max |v| / 127. What is not finite makes d a NaN, what is
// subnormal is nothing.

const uint NOT_FINITE = 0x7f800000u;

// v / 127 to the last bit, which a division need not be: 128 times a quotient is exact, and so are both differences.
float over_127(float v)
{
    const float inverse = 1.0 / 127.0;
    precise float q = v * inverse, rest = (v - 128 * q) + q;
    precise float exact = q + rest * inverse;
    return exact;
}

// q: four in a word. sums: d times the sum of each half of q.
void quantize32(vec4 v[8], out uint q[8], out float d, out vec2 sums)
{
    // Numbers without their signs are in the order of their bits.
    uvec4 most = uvec4(0);
    [[unroll]] for (uint i = 0; i < 8; i++)
        most = max(most, floatBitsToUint(v[i]) & 0x7fffffff);
    uint largest = max(max(most.x, most.y), max(most.z, most.w));
    bool finite = largest < NOT_FINITE;
    float scale = over_127(uintBitsToFloat(largest));
    bool counts = finite && scale >= uintBitsToFloat(0x00800000u); // a subnormal one is nothing
    float inverse = counts ? 1 / scale : 0;
    d = finite ? (counts ? scale : 0) : uintBitsToFloat(0x7fc00000u);
    vec4 sum[2] = vec4[](vec4(0), vec4(0));
    [[unroll]] for (uint i = 0; i < 8; i++) {
        vec4 r = counts ? roundEven(v[i] * inverse) : vec4(0);
        uvec4 b = uvec4(ivec4(r)) & 0xff;
        q[i] = b.x | b.y << 8 | b.z << 16 | b.w << 24;
        sum[i / 4] += r; // integers, and so exact
    }
    sums = d * vec2((sum[0].x + sum[0].y) + (sum[0].z + sum[0].w), (sum[1].x + sum[1].y) + (sum[1].z + sum[1].w));
}
