// SPDX-License-Identifier: MIT
//
// Decoding of weight rows, one format per compilation (-DW_Q4_K and so on). A row is read in groups of 32 weights; a
// group of any format is 32 small numbers and, for each half of it, a factor and an offset:
//
//     weight[i] = scale[i / 16] * quant[i] + offset[i / 16]
//
// The storage buffer is bound as words. Rows and blocks may begin at any even byte; a word is read only if at least one
// byte of it belongs to the row.
//
// Before the inclusion: W_BINDING, the binding of the weights.

layout(binding = W_BINDING) readonly buffer Weights { uint w[]; };

struct Group {
    vec4 quant[8];
    vec2 scale;
    vec2 offset;
};

// (float16 in the lower half, float16 in the upper half)
#define halves(word) unpackHalf2x16(word)

// 16 bits at an even byte address
uint load16(uint byte)
{
    return bitfieldExtract(w[byte >> 2], int(byte & 2) * 8, 16);
}

// `word` and its successor in memory, as seen from an address that is `shift` bits (0 or 16) later
uint funnel(uint word, uint next, uint shift)
{
    return word >> shift | (next << 1) << (31 - shift);
}

// the four bytes of a word as floats
vec4 bytes4(uint word)
{
    return vec4(word & 0xff, (word >> 8) & 0xff, (word >> 16) & 0xff, word >> 24);
}

vec4 signed_bytes4(uint word)
{
    ivec4 v = ivec4(word << 24, word << 16, word << 8, word);
    return vec4(v >> 24);
}

// 4-bit numbers of 16 bytes: the lower halves are quants 0..15, the upper ones 16..31
#define NIBBLES(group, words, bias)                        \
    for (uint i = 0; i < 4; i++) {                         \
        group.quant[i] = bytes4(words[i] & 0x0f0f0f0f) - bias; \
        group.quant[i + 4] = bytes4((words[i] >> 4) & 0x0f0f0f0f) - bias; \
    }

#if defined(W_F32) || defined(W_F16) || defined(W_BF16)
// ---- plain numbers: rows of any length ------------------------------------------------------------------------------
#define HAS_TAIL

#if defined(W_F32)
float load_weight(uint row_byte, uint i)
{
    return uintBitsToFloat(w[(row_byte >> 2) + i]);
}

Group decode(uint row_byte, uint g)
{
    Group r;
    uint at = (row_byte >> 2) + g * 32;
    for (uint i = 0; i < 8; i++)
        r.quant[i] = uintBitsToFloat(uvec4(w[at + i * 4], w[at + i * 4 + 1], w[at + i * 4 + 2], w[at + i * 4 + 3]));
    r.scale = vec2(1);
    r.offset = vec2(0);
    return r;
}
#else
#if defined(W_F16)
#define PAIR(word) unpackHalf2x16(word)
#else
#define PAIR(word) uintBitsToFloat(uvec2(word << 16, word & 0xffff0000u))
#endif
float load_weight(uint row_byte, uint i)
{
    return PAIR(load16(row_byte + i * 2)).x;
}

Group decode(uint row_byte, uint g)
{
    Group r;
    uint byte = row_byte + g * 64, at = byte >> 2, shift = (byte & 2) * 8;
    uint word = w[at];
    for (uint i = 0; i < 16; i++) {
        // an aligned group ends with word 15; word 16 may be beyond the buffer then
        uint next = w[at + (i < 15 ? i + 1 : 15 + (shift >> 4))];
        vec2 pair = PAIR(funnel(word, next, shift));
        r.quant[i / 2][(i % 2) * 2] = pair.x;
        r.quant[i / 2][(i % 2) * 2 + 1] = pair.y;
        word = next;
    }
    r.scale = vec2(1);
    r.offset = vec2(0);
    return r;
}
#endif

// The last group of a row whose length is not a multiple of 32: n weights, then zeros.
Group decode_tail(uint row_byte, uint g, uint n)
{
    Group r;
    for (uint i = 0; i < 32; i++)
        r.quant[i / 4][i % 4] = i < n ? load_weight(row_byte, g * 32 + min(i, n - 1)) : 0;
    r.scale = vec2(1);
    r.offset = vec2(0);
    return r;
}

#elif defined(W_Q4_0)
// ---- blocks of 32 ---------------------------------------------------------------------------------------------------
// d float16, quants 16 bytes: d * (q - 8)
Group decode(uint row_byte, uint g)
{
    Group r;
    uint byte = row_byte + g * 18, at = byte >> 2, shift = (byte & 2) * 8;
    uint v[5] = uint[](w[at], w[at + 1], w[at + 2], w[at + 3], w[at + 4]);
    uint q[4];
    for (uint i = 0; i < 4; i++)
        q[i] = funnel(v[i], v[i + 1], 16);
    if (shift != 0)
        q = uint[](v[1], v[2], v[3], v[4]);
    NIBBLES(r, q, 8)
    r.scale = vec2(halves(v[0] >> shift).x);
    r.offset = vec2(0);
    return r;
}

#elif defined(W_Q4_1)
#define HAS_OFFSET
// d, m float16, quants 16 bytes: d * q + m
Group decode(uint row_byte, uint g)
{
    Group r;
    uint at = (row_byte >> 2) + g * 5;
    uint q[4] = uint[](w[at + 1], w[at + 2], w[at + 3], w[at + 4]);
    NIBBLES(r, q, 0)
    vec2 dm = halves(w[at]);
    r.scale = dm.xx;
    r.offset = dm.yy;
    return r;
}

#elif defined(W_Q5_0) || defined(W_Q5_1)
// 4 bits of `high`, from bit `bit` on, as bit 4 of four bytes
uint fifth_bits(uint high, uint bit)
{
    uint b = bitfieldExtract(high, int(bit), 4);
    return (b | b << 7 | b << 14 | b << 21) << 4 & 0x10101010;
}

void quants5(uint q[4], uint high, float bias, inout Group r)
{
    for (uint i = 0; i < 4; i++) {
        r.quant[i] = bytes4((q[i] & 0x0f0f0f0f) | fifth_bits(high, i * 4)) - bias;
        r.quant[i + 4] = bytes4(((q[i] >> 4) & 0x0f0f0f0f) | fifth_bits(high, i * 4 + 16)) - bias;
    }
}

#if defined(W_Q5_0)
// d float16, fifth bits 4 bytes, quants 16 bytes: d * (q - 16)
Group decode(uint row_byte, uint g)
{
    Group r;
    uint byte = row_byte + g * 22, at = byte >> 2, shift = (byte & 2) * 8;
    uint v[6] = uint[](w[at], w[at + 1], w[at + 2], w[at + 3], w[at + 4], w[at + 5]);
    uint q[5];
    for (uint i = 0; i < 5; i++)
        q[i] = shift != 0 ? v[i + 1] : funnel(v[i], v[i + 1], 16);
    quants5(uint[](q[1], q[2], q[3], q[4]), q[0], 16, r);
    r.scale = vec2(halves(v[0] >> shift).x);
    r.offset = vec2(0);
    return r;
}
#else
#define HAS_OFFSET
// d, m float16, fifth bits 4 bytes, quants 16 bytes: d * q + m
Group decode(uint row_byte, uint g)
{
    Group r;
    uint at = (row_byte >> 2) + g * 6;
    quants5(uint[](w[at + 2], w[at + 3], w[at + 4], w[at + 5]), w[at + 1], 0, r);
    vec2 dm = halves(w[at]);
    r.scale = dm.xx;
    r.offset = dm.yy;
    return r;
}
#endif

#elif defined(W_Q8_0)
// d float16, quants 32 signed bytes: d * q
Group decode(uint row_byte, uint g)
{
    Group r;
    uint byte = row_byte + g * 34, at = byte >> 2, shift = (byte & 2) * 8;
    uint word = w[at];
    r.scale = vec2(halves(word >> shift).x);
    r.offset = vec2(0);
    for (uint i = 0; i < 8; i++) {
        uint next = w[at + 1 + i];
        r.quant[i] = signed_bytes4(shift != 0 ? next : funnel(word, next, 16));
        word = next;
    }
    return r;
}

#elif defined(W_Q2_K)
// ---- blocks of 256: group j of a block, j < 8 -----------------------------------------------------------------------
#define HAS_OFFSET
// 16 bytes (4-bit scale, 4-bit minimum), quants of 2 bits 64 bytes, d and dmin float16: d * scale * q - dmin * minimum
Group decode(uint row_byte, uint g)
{
    Group r;
    uint at = (row_byte >> 2) + (g >> 3) * 21, j = g & 7;
    vec2 d = halves(w[at + 20]);
    uint sc = bitfieldExtract(w[at + (j >> 1)], int(j & 1) * 16, 16);
    r.scale = d.x * vec2(sc & 15, (sc >> 8) & 15);
    r.offset = -(d.y * vec2((sc >> 4) & 15, sc >> 12));
    uint q_at = at + 4 + (j >> 2) * 8, shift = (j & 3) * 2;
    for (uint i = 0; i < 8; i++)
        r.quant[i] = bytes4((w[q_at + i] >> shift) & 0x03030303);
    return r;
}

#elif defined(W_Q3_K)
// high bits 32 bytes, lower 2 bits 64 bytes, sixteen 6-bit scales in 12 bytes, d float16:
// d * (scale - 32) * (q - 4), where q has 3 bits
Group decode(uint row_byte, uint g)
{
    Group r;
    uint byte = row_byte + (g >> 3) * 110, j = g & 7;
    uint at = byte >> 2, shift = (byte & 2) * 8, step = shift >> 4;
    // scale s: lower 4 bits in byte s % 8 (upper half of the byte from 8 on), upper 2 bits at 2 * (s / 4) of byte 8 + s % 4
    uint s = j * 2, sc_byte = byte + 96;
    uint low = load16(sc_byte + (s & 7)) >> ((s >> 3) * 4);
    uint high = load16(sc_byte + 8 + (s & 3)) >> ((s >> 2) * 2);
    uint sc = (low & 0x0f0f) | (high & 0x0303) << 4;
    float d = halves(load16(byte + 108)).x;
    r.scale = d * (vec2(sc & 0xff, sc >> 8) - 32);
    r.offset = vec2(0);
    uint q_at = at + 8 + (j >> 2) * 8, q_word = w[q_at], h_word = w[at];
    for (uint i = 0; i < 8; i++) {
        uint q_next = w[q_at + i + 1], h_next = w[at + i + 1];
        uint q = (funnel(q_word, q_next, shift) >> ((j & 3) * 2)) & 0x03030303;
        uint h = (funnel(h_word, h_next, shift) >> j) & 0x01010101;
        r.quant[i] = bytes4(q | h << 2) - 4;
        q_word = q_next;
        h_word = h_next;
    }
    return r;
}

#elif defined(W_Q4_K) || defined(W_Q5_K)
#define HAS_OFFSET
// Both begin with d and dmin float16 and eight 6-bit scales and minimums in 12 bytes; bind the blocks' 16-byte units.
layout(binding = W_BINDING) readonly buffer Weights4 { uvec4 w4[]; };

// (scale, minimum) of group j: 6 bits in bytes j and j + 4 for j < 4; above, 4 bits in byte j + 4 and 2 more on top of
// bytes j - 4 and j
vec2 scale_min(uvec3 packed, uint j)
{
    uint b = (j & 3) * 8;
    uvec3 p = packed >> b;
    uint sc = j < 4 ? p.x & 63 : (p.z & 15) | ((p.x & 0xc0) >> 2);
    uint mn = j < 4 ? p.y & 63 : ((p.z >> 4) & 15) | ((p.y & 0xc0) >> 2);
    return vec2(sc, mn);
}

void scales_k(uvec4 head, uint j, inout Group r)
{
    vec2 v = halves(head.x) * scale_min(head.yzw, j);
    r.scale = v.xx;
    r.offset = -v.yy;
}

#if defined(W_Q4_K)
// quants 128 bytes: d * scale * q - dmin * minimum
Group decode(uint row_byte, uint g)
{
    Group r;
    uint at = (row_byte >> 4) + (g >> 3) * 9, j = g & 7;
    scales_k(w4[at], j, r);
    uint q_at = at + 1 + (j >> 1) * 2, shift = (j & 1) * 4;
    for (uint i = 0; i < 2; i++) {
        uvec4 q = (w4[q_at + i] >> shift) & 0x0f0f0f0f;
        for (uint k = 0; k < 4; k++)
            r.quant[i * 4 + k] = bytes4(q[k]);
    }
    return r;
}
#else
// fifth bits 32 bytes (bit j of a byte belongs to group j), quants 128 bytes: d * scale * q - dmin * minimum
Group decode(uint row_byte, uint g)
{
    Group r;
    uint at = (row_byte >> 4) + (g >> 3) * 11, j = g & 7;
    scales_k(w4[at], j, r);
    uint q_at = at + 3 + (j >> 1) * 2, shift = (j & 1) * 4;
    for (uint i = 0; i < 2; i++) {
        uvec4 q = ((w4[q_at + i] >> shift) & 0x0f0f0f0f) | ((w4[at + 1 + i] >> j) & 0x01010101) << 4;
        for (uint k = 0; k < 4; k++)
            r.quant[i * 4 + k] = bytes4(q[k]);
    }
    return r;
}
#endif

#elif defined(W_Q6_K)
// lower 4 bits 128 bytes, upper 2 bits 64 bytes, scales 16 signed bytes, d float16: d * scale * (q - 32)
Group decode(uint row_byte, uint g)
{
    Group r;
    uint byte = row_byte + (g >> 3) * 210, j = g & 7;
    uint at = byte >> 2, shift = (byte & 2) * 8;
    int sc = int(load16(byte + 192 + j * 2));
    float d = halves(load16(byte + 208)).x;
    r.scale = d * vec2(bitfieldExtract(sc, 0, 8), bitfieldExtract(sc, 8, 8));
    r.offset = vec2(0);
    uint l_at = at + (j >> 2) * 16 + (j & 1) * 8, h_at = at + 32 + (j >> 2) * 8;
    uint l_shift = (j & 2) * 2, h_shift = (j & 3) * 2;
    uint l_word = w[l_at], h_word = w[h_at];
    for (uint i = 0; i < 8; i++) {
        uint l_next = w[l_at + i + 1], h_next = w[h_at + i + 1];
        uint l = (funnel(l_word, l_next, shift) >> l_shift) & 0x0f0f0f0f;
        uint h = (funnel(h_word, h_next, shift) >> h_shift) & 0x03030303;
        r.quant[i] = bytes4(l | h << 4) - 32;
        l_word = l_next;
        h_word = h_next;
    }
    return r;
}
#else
#error "no weight format chosen"
#endif

// 32 consecutive weights as the format defines them.
void decode32(uint row_byte, uint g, uint n_cols, out vec4 v[8])
{
#ifdef HAS_TAIL
    if ((g + 1) * 32 > n_cols) {
        v = decode_tail(row_byte, g, n_cols - g * 32).quant;
        return;
    }
#endif
    Group r = decode(row_byte, g);
    for (uint i = 0; i < 8; i++) {
#ifdef HAS_OFFSET
        v[i] = r.scale[i / 4] * r.quant[i] + r.offset[i / 4];
#else
        v[i] = r.scale[i / 4] * r.quant[i];
#endif
    }
}
