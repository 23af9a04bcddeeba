/* SPDX-License-Identifier: MIT
 * Typed access to metadata. */
#include <math.h>

#include "gguf/internal.h"

static const struct {
    const char *name;
    uint8_t size; // bytes; 0 when it varies
} types[] = {
    [LG_GGUF_U8] = {"u8", 1},       [LG_GGUF_I8] = {"i8", 1},     [LG_GGUF_U16] = {"u16", 2},
    [LG_GGUF_I16] = {"i16", 2},     [LG_GGUF_U32] = {"u32", 4},   [LG_GGUF_I32] = {"i32", 4},
    [LG_GGUF_F32] = {"f32", 4},     [LG_GGUF_BOOL] = {"bool", 1}, [LG_GGUF_STRING] = {"string", 0},
    [LG_GGUF_ARRAY] = {"array", 0}, [LG_GGUF_U64] = {"u64", 8},   [LG_GGUF_I64] = {"i64", 8},
    [LG_GGUF_F64] = {"f64", 8},
};

#define N_TYPES (sizeof(types) / sizeof(types[0]))

const char *lg_gguf_type_name(enum lg_gguf_type type)
{
    return (uint32_t)type < N_TYPES ? types[type].name : "?";
}

size_t lg_gguf_type_size(uint32_t type)
{
    return type < N_TYPES ? types[type].size : 0;
}

static enum lg_gguf_type item_type(const struct lg_gguf_kv *kv)
{
    return kv->type == LG_GGUF_ARRAY ? kv->array_type : kv->type;
}

/** The little-endian bits of element i. */
static uint64_t load_bits(const struct lg_gguf_kv *kv, uint64_t i)
{
    size_t size = types[item_type(kv)].size;
    const uint8_t *p = kv->data + i * size;
    uint64_t bits = 0;
    for (size_t b = 0; b < size; b++)
        bits |= (uint64_t)p[b] << 8 * b;
    return bits;
}

static double load_float(const struct lg_gguf_kv *kv, uint64_t i)
{
    uint64_t bits = load_bits(kv, i);
    if (item_type(kv) == LG_GGUF_F64) {
        double value;
        memcpy(&value, &bits, sizeof(value));
        return value;
    }
    uint32_t half = (uint32_t)bits;
    float value;
    memcpy(&value, &half, sizeof(value));
    return (double)value;
}

static bool is_float(enum lg_gguf_type type)
{
    return type == LG_GGUF_F32 || type == LG_GGUF_F64;
}

static bool is_integer(enum lg_gguf_type type)
{
    return lg_gguf_type_size(type) && !is_float(type) && type != LG_GGUF_BOOL;
}

static int64_t saturate(double value)
{
    if (isnan(value))
        return 0;
    if (value >= 0x1p63)
        return INT64_MAX;
    return value < -0x1p63 ? INT64_MIN : (int64_t)value;
}

int64_t lg_gguf_integer(const struct lg_gguf_kv *kv, uint64_t i)
{
    uint64_t bits = load_bits(kv, i);
    switch (item_type(kv)) {
    case LG_GGUF_I8: return (int8_t)bits;
    case LG_GGUF_I16: return (int16_t)bits;
    case LG_GGUF_I32: return (int32_t)bits;
    case LG_GGUF_I64: return (int64_t)bits;
    case LG_GGUF_F32:
    case LG_GGUF_F64: return saturate(load_float(kv, i));
    default: return bits > INT64_MAX ? INT64_MAX : (int64_t)bits;
    }
}

double lg_gguf_number(const struct lg_gguf_kv *kv, uint64_t i)
{
    if (is_float(item_type(kv)))
        return load_float(kv, i);
    if (item_type(kv) == LG_GGUF_U64)
        return (double)load_bits(kv, i);
    return (double)lg_gguf_integer(kv, i);
}

static int fail_type(const struct lg_gguf_kv *kv, struct lg_env *env, const char *wanted)
{
    char key[LG_GGUF_QUOTE];
    lg_gguf_quote(kv->key, key);
    if (kv->type == LG_GGUF_ARRAY)
        return lg_fail(env, LLMGPU_E_FORMAT, "key '%s': is an array of %s, not %s", key,
                       lg_gguf_type_name(kv->array_type), wanted);
    return lg_fail(env, LLMGPU_E_FORMAT, "key '%s': is of type %s, not %s", key, lg_gguf_type_name(kv->type),
                   wanted);
}

int lg_gguf_get_u32(const struct lg_gguf *gguf, struct lg_env *env, const char *key, uint32_t *out)
{
    const struct lg_gguf_kv *kv = lg_gguf_find(gguf, key);
    if (!kv)
        return 0;
    if (!is_integer(kv->type))
        return fail_type(kv, env, "an integer");
    int64_t value = lg_gguf_integer(kv, 0);
    char quoted[LG_GGUF_QUOTE];
    if (value < 0 || value > UINT32_MAX)
        return lg_fail(env, LLMGPU_E_FORMAT, "key '%s': %.0f does not fit in 32 bits",
                       lg_gguf_quote(kv->key, quoted), lg_gguf_number(kv, 0));
    *out = (uint32_t)value;
    return 1;
}

int lg_gguf_get_f32(const struct lg_gguf *gguf, struct lg_env *env, const char *key, float *out)
{
    const struct lg_gguf_kv *kv = lg_gguf_find(gguf, key);
    if (!kv)
        return 0;
    if (!is_float(kv->type) && !is_integer(kv->type))
        return fail_type(kv, env, "a number");
    double value = lg_gguf_number(kv, 0);
    char quoted[LG_GGUF_QUOTE];
    if (isfinite(value) && fabs(value) > (double)__FLT_MAX__)
        return lg_fail(env, LLMGPU_E_FORMAT, "key '%s': %g does not fit in a float",
                       lg_gguf_quote(kv->key, quoted), value);
    *out = (float)value;
    return 1;
}

int lg_gguf_get_bool(const struct lg_gguf *gguf, struct lg_env *env, const char *key, bool *out)
{
    const struct lg_gguf_kv *kv = lg_gguf_find(gguf, key);
    if (!kv)
        return 0;
    if (kv->type != LG_GGUF_BOOL)
        return fail_type(kv, env, "a bool");
    *out = kv->data[0] != 0;
    return 1;
}

int lg_gguf_get_str(const struct lg_gguf *gguf, struct lg_env *env, const char *key, struct lg_str *out)
{
    const struct lg_gguf_kv *kv = lg_gguf_find(gguf, key);
    if (!kv)
        return 0;
    if (kv->type != LG_GGUF_STRING)
        return fail_type(kv, env, "a string");
    *out = kv->strings[0];
    return 1;
}
