/* SPDX-License-Identifier: MIT
 * Which function encodes a type, and the plain types. */
#include "gguf/quantize.h"

#include "gguf/quantize_table.h"

uint16_t lg_f32_to_bf16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    if ((bits & 0x7fffffffu) > 0x7f800000u) // NaN: quiet
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static void store_u16(uint8_t *b, uint16_t h)
{
    b[0] = (uint8_t)h;
    b[1] = (uint8_t)(h >> 8);
}

static void quantize_f32(const float *x, uint8_t *b)
{
    uint32_t bits;
    memcpy(&bits, x, sizeof(bits));
    for (int i = 0; i < 4; i++)
        b[i] = (uint8_t)(bits >> 8 * i);
}

static void quantize_f16(const float *x, uint8_t *b)
{
    store_u16(b, lg_f32_to_f16(*x));
}

static void quantize_bf16(const float *x, uint8_t *b)
{
    store_u16(b, lg_f32_to_bf16(*x));
}

/** The function of a type, for this machine. */
static lg_quantize_fn *find(enum lg_type type)
{
    static lg_quantize_fn *const plain[LG_QUANTIZE_TYPES] = {
        [LG_TYPE_F32] = quantize_f32, [LG_TYPE_F16] = quantize_f16, [LG_TYPE_BF16] = quantize_bf16,
    };
    if (plain[type])
        return plain[type];
    bool small = lg_type_info(type)->block_elements == 32;
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2"))
        return small ? lg_quantize_32_avx2[type] : lg_quantize_256_avx2[type];
#endif
    return small ? lg_quantize_32_portable[type] : lg_quantize_256_portable[type];
}

void lg_quantize(enum lg_type type, const float *src, void *dst, size_t n)
{
    const struct lg_type_info *info = lg_type_info(type);
    lg_quantize_fn *encode = find(type);
    uint8_t *block = dst;
    for (size_t i = 0; i < n; i += info->block_elements, block += info->block_bytes)
        encode(src + i, block);
}

void lg_decode_weights(enum lg_type type, const void *src, float *dst, size_t n)
{
    if (type == LG_TYPE_F32) {
        memcpy(dst, src, n * sizeof(float));
        return;
    }
    if (type != LG_TYPE_F16) {
        lg_dequantize(type, src, dst, n);
        return;
    }
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2")) {
        lg_quantize_32_avx2_decode_f16(src, dst, n);
        return;
    }
#endif
    lg_quantize_32_portable_decode_f16(src, dst, n);
}
