// SPDX-License-Identifier: MIT
//
// Reading the caches: rows of all heads, as push.h lays them out. KV_TYPE is known when the pipeline is made.
//
// Before the inclusion: `p` with n_kv and head_dim, K_BINDING and V_BINDING, KV_CONSTANT.

layout(constant_id = KV_CONSTANT) const uint KV_TYPE = LG_KV_F32;

layout(binding = K_BINDING) readonly buffer KWords { uint k_words[]; };
layout(binding = K_BINDING) readonly buffer KWords2 { uvec2 k_words2[]; };
layout(binding = K_BINDING) readonly buffer KFloats4 { vec4 k_floats4[]; };
layout(binding = V_BINDING) readonly buffer VWords { uint v_words[]; };
layout(binding = V_BINDING) readonly buffer VWords2 { uvec2 v_words2[]; };
layout(binding = V_BINDING) readonly buffer VFloats4 { vec4 v_floats4[]; };

// The row of the caches that a key of a slot has.
uint cell_of(uint slot, uint key)
{
    return pages[slot * p.max_pages + key / p.page_size] * p.page_size + key % p.page_size;
}

uint kv_cols()
{
    return p.n_kv * p.head_dim;
}

// Where the word with elements 4 * i and on is in a row of blocks, and the one with their factor.
uint quants_at(uint i)
{
    return KV_TYPE == LG_KV_Q8_0 ? i : i / 8 * 4 + i % 4;
}

uint scale_at(uint i)
{
    return LG_KV_SCALES_AT(KV_TYPE, kv_cols()) + i / 16;
}

ivec4 quants_of(uint word, uint i)
{
    if (KV_TYPE == LG_KV_Q8_0)
        return ivec4(word << 24, word << 16, word << 8, word) >> 24;
    word = (i & 4) == 0 ? word : word >> 4;
    return ivec4(word & 15, word >> 8 & 15, word >> 16 & 15, word >> 24 & 15) - 8;
}

float scale_of(uint word, uint i)
{
    vec2 both = unpackHalf2x16(word);
    return (i & 8) == 0 ? both.x : both.y;
}

vec4 halves_of(uvec2 words)
{
    return vec4(unpackHalf2x16(words.x), unpackHalf2x16(words.y));
}

// Elements [4 * i, 4 * i + 4) of a row; head_dim is a multiple of 4.
vec4 key4(uint cell, uint i)
{
    if (KV_TYPE == LG_KV_F32)
        return k_floats4[cell * (kv_cols() / 4) + i];
    if (KV_TYPE == LG_KV_F16)
        return halves_of(k_words2[cell * (kv_cols() / 4) + i]);
    uint row = cell * LG_KV_ROW_WORDS(KV_TYPE, kv_cols());
    return vec4(quants_of(k_words[row + quants_at(i)], i)) * scale_of(k_words[row + scale_at(i)], i);
}

vec4 value4(uint cell, uint i)
{
    if (KV_TYPE == LG_KV_F32)
        return v_floats4[cell * (kv_cols() / 4) + i];
    if (KV_TYPE == LG_KV_F16)
        return halves_of(v_words2[cell * (kv_cols() / 4) + i]);
    uint row = cell * LG_KV_ROW_WORDS(KV_TYPE, kv_cols());
    return vec4(quants_of(v_words[row + quants_at(i)], i)) * scale_of(v_words[row + scale_at(i)], i);
}

#ifdef KV_ELEMENTS
// Element i of a row.
float key1(uint cell, uint i)
{
    uint row = cell * LG_KV_ROW_WORDS(KV_TYPE, kv_cols());
    if (KV_TYPE == LG_KV_F32)
        return uintBitsToFloat(k_words[row + i]);
    if (KV_TYPE == LG_KV_F16)
        return unpackHalf2x16(k_words[row + i / 2] >> i % 2 * 16).x;
    return quants_of(k_words[row + quants_at(i / 4)] >> i % 4 * 8, i / 4).x * scale_of(k_words[row + scale_at(i / 4)], i / 4);
}

float value1(uint cell, uint i)
{
    uint row = cell * LG_KV_ROW_WORDS(KV_TYPE, kv_cols());
    if (KV_TYPE == LG_KV_F32)
        return uintBitsToFloat(v_words[row + i]);
    if (KV_TYPE == LG_KV_F16)
        return unpackHalf2x16(v_words[row + i / 2] >> i % 2 * 16).x;
    return quants_of(v_words[row + quants_at(i / 4)] >> i % 4 * 8, i / 4).x * scale_of(v_words[row + scale_at(i / 4)], i / 4);
}
#endif
