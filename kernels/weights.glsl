// SPDX-License-Identifier: MIT
//
// Decoding of weight rows, one format per compilation (-DW_Q4_K and so on). Weights come in groups of 32; a group of any
// format is 32 small numbers and, for each half of it, a factor and an offset:
//
//     weight[i] = scale[i / 16] * quant[i] + offset[i / 16]
//
// load_unit() reads GROUPS neighbouring groups at once, decode() then gives each of them. GPUs take one group at a time;
// a driver that runs on a CPU pays for each load more than for its bytes, and takes four.
//
// The storage buffer is read 16 bytes at a time, wherever a row or a block begins: a run of bytes is covered by aligned
// loads, then shifted into place. So the last 16 bytes of a view may be read as a whole; its size is to be rounded up to
// a multiple of 16.
//
// Before the inclusion: W_BINDING, the binding of the weights, and GROUPS, a constant: 1, 2 or 4. With X_INT8 the small
// numbers stay integers, four in a word, for products with activations that are so too (quantize.glsl). Those of a format
// that counts from below 0 are unsigned then, and the offset makes up for it.

#if defined(W_Q4_K) || defined(W_Q5_K)
#define W_ALIGN 16 // bytes: of rows and blocks
#elif defined(W_F32) || defined(W_Q4_1) || defined(W_Q5_1) || defined(W_Q2_K)
#define W_ALIGN 4
#else
#define W_ALIGN 2
#endif

layout(binding = W_BINDING) readonly buffer Weights { uint w[]; };
layout(binding = W_BINDING) readonly buffer Weights4 { uvec4 w4[]; };

#ifdef X_INT8
#define QUANTS uint // four
#else
#define QUANTS vec4
#endif

struct Group {
    QUANTS quant[8];
    vec2 scale;
    vec2 offset;
};

// ---- runs of bytes --------------------------------------------------------------------------------------------------

const uint MAX_RUN = 36; // 16-byte units of the longest unit, 512 bytes of float32, with spare ones
uvec4 run[MAX_RUN];

// Puts `size` bytes from an even address on into run[first ..]. n = ceil(size / 16); run[first + n] is used as well.
void load_run(uint first, uint byte, uint size)
{
    uint at = byte >> 4, n = (size + 15) / 16;
    [[unroll]] for (uint i = 0; i < n; i++)
        run[first + i] = w4[at + i];
#if W_ALIGN < 16
    run[first + n] = uvec4(0);
    if ((byte & 15) + size > n * 16)
        run[first + n] = w4[at + n];
    bool by8 = (byte & 8) != 0, by4 = (byte & 4) != 0, by2 = (byte & 2) != 0;
    [[unroll]] for (uint i = 0; i < n; i++)
        run[first + i] = by8 ? uvec4(run[first + i].zw, run[first + i + 1].xy) : run[first + i];
    uvec2 end = by8 ? run[first + n].zw : run[first + n].xy;
    run[first + n].xy = end;
    [[unroll]] for (uint i = 0; i < n; i++)
        run[first + i] = by4 ? uvec4(run[first + i].yzw, run[first + i + 1].x) : run[first + i];
#if W_ALIGN < 4
    run[first + n].x = by4 ? end.y : end.x;
    [[unroll]] for (uint i = 0; i < n; i++) {
        uvec4 shifted = run[first + i] >> 16 | uvec4(run[first + i].yzw, run[first + i + 1].x) << 16;
        run[first + i] = by2 ? shifted : run[first + i];
    }
#endif
#endif
}

uint run_word(uint first, uint i)
{
    return run[first + i / 4][i % 4];
}

// 32 bits from an even byte of the run on
uint run_at(uint first, uint byte)
{
    uint word = run_word(first, byte / 4);
    return byte % 4 == 0 ? word : word >> 16 | run_word(first, byte / 4 + 1) << 16;
}

// ---- numbers --------------------------------------------------------------------------------------------------------

// the four bytes of a word as floats
vec4 bytes4(uint word)
{
    return vec4(word & 0xff, (word >> 8) & 0xff, (word >> 16) & 0xff, word >> 24);
}

vec4 signed_bytes4(uint word)
{
    return vec4(ivec4(word << 24, word << 16, word << 8, word) >> 24);
}

// The four bytes of a word less a bias. The integers of a group are made less by it in its offset.
#ifdef X_INT8
#define LESS(word, bias) (word)
#define SIGNED(word) (word)
#define BIAS_OFFSET(r, bias) (-(bias) * (r).scale)
#else
#define LESS(word, bias) (bytes4(word) - (bias))
#define SIGNED(word) signed_bytes4(word)
#define BIAS_OFFSET(r, bias) vec2(0)
#endif

// float16 in the lower half of a word
float half_at(uint word)
{
    return unpackHalf2x16(word).x;
}

// 4 bits of `high`, from bit `bit` on, as bit 4 of four bytes
uint fifth_bits(uint high, uint bit)
{
    uint b = (high >> bit) & 15;
    return (b | b << 7 | b << 14 | b << 21) << 4 & 0x10101010;
}

// Sixteen bytes of two 4-bit numbers each, the lower ones before the upper ones, and perhaps a fifth bit for each.
void nibbles(uint byte, uint high, float bias, inout Group r)
{
    [[unroll]] for (uint i = 0; i < 4; i++) {
        uint q = run_at(0, byte + i * 4);
        r.quant[i] = LESS((q & 0x0f0f0f0f) | fifth_bits(high, i * 4), bias);
        r.quant[i + 4] = LESS(((q >> 4) & 0x0f0f0f0f) | fifth_bits(high, i * 4 + 16), bias);
    }
}

#if defined(W_F32) || defined(W_F16) || defined(W_BF16)
// ---- plain numbers: rows of any length ------------------------------------------------------------------------------
#define HAS_TAIL

#if defined(W_F32)
const uint GROUP_BYTES = 128;
#else
const uint GROUP_BYTES = 64;
#endif

#if defined(W_F16)
#define PAIR(word) unpackHalf2x16(word)
#else
#define PAIR(word) uintBitsToFloat(uvec2((word) << 16, (word) & 0xffff0000u))
#endif

Group plain()
{
    Group r;
    r.scale = vec2(1);
    r.offset = vec2(0);
    return r;
}

void load_unit(uint row_byte, uint u)
{
    load_run(0, row_byte + u * (GROUPS * GROUP_BYTES), GROUPS * GROUP_BYTES);
}

Group decode(uint u, uint c)
{
    Group r = plain();
    [[unroll]] for (uint i = 0; i < 8; i++) {
#if defined(W_F32)
        r.quant[i] = uintBitsToFloat(run[c * 8 + i]);
#else
        r.quant[i] = vec4(PAIR(run_word(0, c * 16 + i * 2)), PAIR(run_word(0, c * 16 + i * 2 + 1)));
#endif
    }
    return r;
}

// the numbers of 16 bytes
void plain16(uvec4 bytes, out vec4 v[128 / GROUP_BYTES])
{
#if defined(W_F32)
    v[0] = uintBitsToFloat(bytes);
#else
    v[0] = vec4(PAIR(bytes.x), PAIR(bytes.y));
    v[1] = vec4(PAIR(bytes.z), PAIR(bytes.w));
#endif
}

// weight k of a row
float load_weight(uint row_byte, uint k)
{
#if defined(W_F32)
    return uintBitsToFloat(w[(row_byte >> 2) + k]);
#else
    uint byte = row_byte + k * 2;
    return PAIR(bitfieldExtract(w[byte >> 2], int(byte & 2) * 8, 16)).x;
#endif
}

#elif defined(W_Q4_0) || defined(W_Q4_1) || defined(W_Q5_0) || defined(W_Q5_1) || defined(W_Q8_0)
// ---- blocks of 32 ---------------------------------------------------------------------------------------------------

#if defined(W_Q4_0)
const uint BLOCK = 18;
#elif defined(W_Q4_1)
const uint BLOCK = 20;
#elif defined(W_Q5_0)
const uint BLOCK = 22;
#elif defined(W_Q5_1)
const uint BLOCK = 24;
#else
const uint BLOCK = 34;
#endif
#if defined(W_Q4_1) || defined(W_Q5_1)
#define HAS_OFFSET
#endif

void load_unit(uint row_byte, uint u)
{
    load_run(0, row_byte + u * (GROUPS * BLOCK), GROUPS * BLOCK);
}

Group decode(uint u, uint c)
{
    Group r;
    uint byte = c * BLOCK, head = run_at(0, byte);
    r.scale = vec2(half_at(head));
    r.offset = vec2(0);
#if defined(W_Q4_0)
    r.offset = BIAS_OFFSET(r, 8);
    nibbles(byte + 2, 0, 8, r); // d float16, quants 16 bytes: d * (q - 8)
#elif defined(W_Q4_1)
    nibbles(byte + 4, 0, 0, r); // d, m float16, quants 16 bytes: d * q + m
    r.offset = unpackHalf2x16(head).yy;
#elif defined(W_Q5_0)
    r.offset = BIAS_OFFSET(r, 16);
    nibbles(byte + 6, run_at(0, byte + 2), 16, r); // d float16, fifth bits 4 bytes, quants 16 bytes: d * (q - 16)
#elif defined(W_Q5_1)
    nibbles(byte + 8, run_at(0, byte + 4), 0, r); // d, m float16, fifth bits 4 bytes, quants 16 bytes: d * q + m
    r.offset = unpackHalf2x16(head).yy;
#else
    [[unroll]] for (uint i = 0; i < 8; i++) // d float16, quants 32 signed bytes: d * q
        r.quant[i] = SIGNED(run_at(0, byte + 2 + i * 4));
#endif
    return r;
}

#else
// ---- blocks of 256: eight groups, j = 0 .. 7, in two halves ---------------------------------------------------------

#define UNIT_BLOCK(u) ((u) * GROUPS >> 3)
#define UNIT_GROUP(u, c) (((u) * GROUPS & 7) + (c)) // j

#if defined(W_Q2_K)
#define HAS_OFFSET
// 16 bytes (4-bit scale, 4-bit minimum), quants of 2 bits 64 bytes, d and dmin float16: d * scale * q - dmin * minimum
uint unit_scales[2]; // the second of GROUPS 4
vec2 unit_d;

void load_unit(uint row_byte, uint u)
{
    uint byte = row_byte + UNIT_BLOCK(u) * 84, j = UNIT_GROUP(u, 0);
    unit_d = unpackHalf2x16(w[(byte >> 2) + 20]);
    unit_scales[0] = w[(byte >> 2) + (j >> 1)] >> (j & 1) * 16;
    if (GROUPS > 2)
        unit_scales[1] = w[(byte >> 2) + (j >> 1) + 1];
    load_run(0, byte + 16 + (j >> 2) * 32, 32);
}

Group decode(uint u, uint c)
{
    Group r;
    uint sc = unit_scales[c >> 1] >> (c & 1) * 16, shift = (UNIT_GROUP(u, c) & 3) * 2;
    r.scale = unit_d.x * vec2(sc & 15, (sc >> 8) & 15);
    r.offset = -(unit_d.y * vec2((sc >> 4) & 15, (sc >> 12) & 15));
    [[unroll]] for (uint i = 0; i < 8; i++)
        r.quant[i] = LESS((run_word(0, i) >> shift) & 0x03030303, 0);
    return r;
}

#elif defined(W_Q3_K)
// high bits 32 bytes, lower 2 bits 64 bytes, sixteen 6-bit scales in 12 bytes, d float16:
// d * (scale - 32) * (q - 4), where q has 3 bits
void load_unit(uint row_byte, uint u)
{
    uint byte = row_byte + UNIT_BLOCK(u) * 110;
    load_run(0, byte, 32);
    load_run(3, byte + 32 + (UNIT_GROUP(u, 0) >> 2) * 32, 32);
    load_run(6, byte + 96, 14);
}

Group decode(uint u, uint c)
{
    Group r;
    uint j = UNIT_GROUP(u, c), shift = (j & 3) * 2;
    // Scale s has its lower 4 bits in byte s % 8 (from s = 8 on the upper half of the byte) and its upper 2 in byte
    // 8 + s % 4, at bit 2 * (s / 4). This group has s = 2j and 2j + 1.
    uint low = run[6][(j >> 1) & 1] >> (j & 1) * 16 >> (j >> 2) * 4;
    uint high = run[6].z >> (j & 1) * 16 >> (j >> 1) * 2;
    uint sc = (low & 0x0f0f) | (high & 0x0303) << 4;
    r.scale = half_at(run[6].w) * (vec2(sc & 0xff, sc >> 8) - 32);
    r.offset = BIAS_OFFSET(r, 4);
    [[unroll]] for (uint i = 0; i < 8; i++)
        r.quant[i] = LESS(((run_word(3, i) >> shift) & 0x03030303) | ((run_word(0, i) >> j) & 0x01010101) << 2, 4);
    return r;
}

#elif defined(W_Q4_K) || defined(W_Q5_K)
#define HAS_OFFSET
// d and dmin float16, eight 6-bit scales and minimums in 12 bytes, in Q5_K the fifth bits 32 bytes (bit j of a byte
// belongs to group j), quants 128 bytes: d * scale * q - dmin * minimum
uvec4 unit_head;

void load_unit(uint row_byte, uint u)
{
    uint n_quants = GROUPS > 2 ? 64 : 32; // two groups share 32 bytes
#if defined(W_Q4_K)
    uint byte = row_byte + UNIT_BLOCK(u) * 144;
    load_run(2, byte + 16 + (UNIT_GROUP(u, 0) >> 1) * 32, n_quants);
#else
    uint byte = row_byte + UNIT_BLOCK(u) * 176;
    load_run(0, byte + 16, 32);
    load_run(2, byte + 48 + (UNIT_GROUP(u, 0) >> 1) * 32, n_quants);
#endif
    unit_head = w4[byte >> 4];
}

// (scale, minimum) of group j: 6 bits of bytes j and j + 4 for j < 4; above, 4 bits of byte j + 4 and 2 more on top of
// bytes j - 4 and j
vec2 scale_min(uvec3 packed, uint j)
{
    uvec3 p = packed >> (j & 3) * 8;
    uint sc = j < 4 ? p.x & 63 : (p.z & 15) | ((p.x & 0xc0) >> 2);
    uint mn = j < 4 ? p.y & 63 : ((p.z >> 4) & 15) | ((p.y & 0xc0) >> 2);
    return vec2(sc, mn);
}

Group decode(uint u, uint c)
{
    Group r;
    uint j = UNIT_GROUP(u, c), shift = (j & 1) * 4;
    vec2 v = unpackHalf2x16(unit_head.x) * scale_min(unit_head.yzw, j);
    r.scale = v.xx;
    r.offset = -v.yy;
    [[unroll]] for (uint i = 0; i < 8; i++) {
        uint q = (run_word(2 + (c >> 1) * 2, i) >> shift) & 0x0f0f0f0f;
#if defined(W_Q5_K)
        q |= ((run_word(0, i) >> j) & 0x01010101) << 4;
#endif
        r.quant[i] = LESS(q, 0);
    }
    return r;
}

#elif defined(W_Q6_K)
// lower 4 bits 128 bytes, upper 2 bits 64 bytes, scales 16 signed bytes, d float16: d * scale * (q - 32)
void load_unit(uint row_byte, uint u)
{
    uint byte = row_byte + UNIT_BLOCK(u) * 210, j = UNIT_GROUP(u, 0);
    load_run(0, byte + (j >> 2) * 64 + (j & 1) * 32, GROUPS > 1 ? 64 : 32);
    load_run(5, byte + 128 + (j >> 2) * 32, 32);
    load_run(8, byte + 192, 18);
}

Group decode(uint u, uint c)
{
    Group r;
    uint j = UNIT_GROUP(u, c), l_shift = (j & 2) * 2, h_shift = (j & 3) * 2;
    int sc = int(((j >> 2) == 0 ? run[8][(j >> 1) & 1] : run[8][2 + ((j >> 1) & 1)]) >> (j & 1) * 16);
    r.scale = half_at(run[9].x) * vec2(bitfieldExtract(sc, 0, 8), bitfieldExtract(sc, 8, 8));
    r.offset = BIAS_OFFSET(r, 32);
    [[unroll]] for (uint i = 0; i < 8; i++) {
        uint l = (run_word((c & 1) * 2, i) >> l_shift) & 0x0f0f0f0f;
        uint h = (run_word(5, i) >> h_shift) & 0x03030303;
        r.quant[i] = LESS(l | h << 4, 32);
    }
    return r;
}
#else
#error "no weight format chosen"
#endif
#endif

// Whether group g of a row is there as a whole; the other one, the last of a row of plain numbers, is read number by number.
bool is_whole(uint g, uint n_cols)
{
#ifdef HAS_TAIL
    return (g + 1) * 32 <= n_cols;
#else
    return true;
#endif
}

#ifdef X_INT8
// Whether the two halves of a group may have two scales.
#if defined(W_Q2_K) || defined(W_Q3_K) || defined(W_Q6_K)
#define TWO_SCALES
#endif
#ifndef W_Q8_0
#define HAS_INT_OFFSET
#endif
#else
// the weights of group c of the unit, as the format defines them
void decoded(uint u, uint c, out vec4 v[8])
{
    Group r = decode(u, c);
    [[unroll]] for (uint i = 0; i < 8; i++) {
#ifdef HAS_OFFSET
        v[i] = r.scale[i / 4] * r.quant[i] + r.offset[i / 4];
#elif defined(HAS_TAIL)
        v[i] = r.quant[i];
#else
        v[i] = r.scale[i / 4] * r.quant[i];
#endif
    }
}

// 32 consecutive weights, zeros past the end of the row; for kernels with GROUPS 1.
void decode32(uint row_byte, uint g, uint n_cols, out vec4 v[8])
{
#ifdef HAS_TAIL
    if (!is_whole(g, n_cols)) {
        for (uint i = 0; i < 32; i++)
            v[i / 4][i % 4] = g * 32 + i < n_cols ? load_weight(row_byte, min(g * 32 + i, n_cols - 1)) : 0;
        return;
    }
#endif
    load_unit(row_byte, g);
    decoded(g, 0, v);
}
#endif
