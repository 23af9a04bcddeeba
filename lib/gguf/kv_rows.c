/* SPDX-License-Identifier: MIT */
#include "gguf/kv_rows.h"

#include <math.h>

#include "gguf/quants.h"

enum { BLOCK = 32 };

static const float max_half = 65504;

static void put_half(uint8_t *at, float x)
{
    uint16_t h = lg_f32_to_f16(x > max_half ? max_half : x < -max_half ? -max_half : x);
    memcpy(at, &h, sizeof(h));
}

static float get_half(const uint8_t *at)
{
    uint16_t h;
    memcpy(&h, at, sizeof(h));
    return lg_f16_to_f32(h);
}

/** The largest, with its sign. */
static float largest(const float *x)
{
    float m = 0;
    for (int i = 0; i < BLOCK; i++)
        m = fabsf(x[i]) > fabsf(m) ? x[i] : m;
    return m;
}

/** A factor, or 0 if float16 takes it for that: then all are zeros. */
static float factor_of(float d)
{
    return lg_f32_to_f16(d) & 0x7fff ? d : 0;
}

static float encode_8(const float *x, uint8_t *q)
{
    float d = factor_of(fabsf(largest(x)) / 127), by = d == 0 ? 0 : 1 / d;
    for (int i = 0; i < BLOCK; i++) {
        float scaled = rintf(x[i] * by);
        q[i] = (uint8_t)(int)(scaled > 127 ? 127 : scaled < -127 ? -127 : scaled);
    }
    return d;
}

static uint8_t nibble(float scaled)
{
    return (uint8_t)(scaled + 8.5f < 0 ? 0 : scaled + 8.5f > 15 ? 15 : scaled + 8.5f);
}

static float encode_4(const float *x, uint8_t *q)
{
    float d = factor_of(largest(x) / -8), by = d == 0 ? 0 : 1 / d;
    for (int i = 0; i < BLOCK / 2; i++)
        q[i] = (uint8_t)(nibble(x[i] * by) | nibble(x[i + BLOCK / 2] * by) << 4);
    return d;
}

static void encode_halves(const float *x, uint32_t n, uint32_t begin, uint32_t end, uint8_t *row)
{
    for (uint32_t i = begin; i < end; i++)
        put_half(row + (size_t)i * 2, x[i - begin]);
    if (end == n && n % 2)
        put_half(row + (size_t)n * 2, 0);
}

static void encode_blocks(uint32_t type, const float *x, uint32_t n, uint32_t begin, uint32_t end, uint8_t *row)
{
    uint8_t *scales = row + (size_t)LG_KV_SCALES_AT(type, n) * 4;
    uint32_t bytes = type == LG_KV_Q8_0 ? BLOCK : BLOCK / 2;
    for (uint32_t b = begin / BLOCK; b < end / BLOCK; b++, x += BLOCK) {
        uint8_t *q = row + (size_t)b * bytes;
        put_half(scales + (size_t)b * 2, type == LG_KV_Q8_0 ? encode_8(x, q) : encode_4(x, q));
    }
    if (end == n && n / BLOCK % 2)
        put_half(scales + (size_t)(n / BLOCK) * 2, 0);
}

void lg_kv_encode(uint32_t type, const float *x, uint32_t n, uint32_t begin, uint32_t end, void *row)
{
    if (type == LG_KV_F32)
        memcpy((float *)row + begin, x, (end - begin) * sizeof(*x));
    else if (type == LG_KV_F16)
        encode_halves(x, n, begin, end, row);
    else
        encode_blocks(type, x, n, begin, end, row);
}

static void decode_block(uint32_t type, const uint8_t *q, float d, float *y)
{
    for (int i = 0; i < BLOCK; i++) {
        int small = type == LG_KV_Q8_0 ? (int8_t)q[i] : (q[i % 16] >> (i < 16 ? 0 : 4) & 15) - 8;
        y[i] = (float)small * d;
    }
}

void lg_kv_decode(uint32_t type, const void *row, uint32_t n, uint32_t begin, uint32_t end, float *y)
{
    const uint8_t *bytes = row;
    if (type == LG_KV_F32) {
        memcpy(y, (const float *)row + begin, (end - begin) * sizeof(*y));
        return;
    }
    for (uint32_t i = begin; type == LG_KV_F16 && i < end; i++)
        y[i - begin] = get_half(bytes + (size_t)i * 2);
    const uint8_t *scales = bytes + (size_t)LG_KV_SCALES_AT(type, n) * 4;
    uint32_t block_bytes = type == LG_KV_Q8_0 ? BLOCK : BLOCK / 2;
    for (uint32_t b = begin / BLOCK; type != LG_KV_F16 && b < end / BLOCK; b++, y += BLOCK)
        decode_block(type, bytes + (size_t)b * block_bytes, get_half(scales + (size_t)b * 2), y);
}
