/* SPDX-License-Identifier: MIT
 * Decoding of weight blocks: bit for bit what the format's reference gives, on real, random and extreme
 * blocks. */
#include "gguf/quants.h"
#include "test.h"

static uint32_t float_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

static bool same_float(float a, float b)
{
    return float_bits(a) == float_bits(b) || (isnan(a) && isnan(b));
}

static void *read_shared(const char *path, size_t *size)
{
    FILE *f = fopen(test_shared_path(path), "rb");
    if (!f)
        fprintf(stderr, "missing: %s\n", test_shared_path(path));
    REQUIRE(f);
    REQUIRE(fseek(f, 0, SEEK_END) == 0);
    *size = (size_t)ftell(f);
    rewind(f);
    void *data = malloc(*size ? *size : 1);
    REQUIRE(data && fread(data, 1, *size, f) == *size);
    fclose(f);
    return data;
}

static void check_blocks(enum lg_type type, const char *set)
{
    const struct lg_type_info *info = lg_type_info(type);
    char path[256];
    size_t n_bytes, n_expected;
    snprintf(path, sizeof(path), "oracle/visible/quant/%s/%s.blocks.bin", info->name, set);
    uint8_t *blocks = read_shared(path, &n_bytes);
    snprintf(path, sizeof(path), "oracle/visible/quant/%s/%s.f32.bin", info->name, set);
    float *expected = read_shared(path, &n_expected);

    size_t n = n_bytes / info->block_bytes * info->block_elements;
    REQUIRE_INT(n_bytes % info->block_bytes, ==, 0);
    REQUIRE_INT(n_expected, ==, n * sizeof(float));
    REQUIRE_INT(n, >, 0);
    float *got = malloc(n * sizeof(float));
    REQUIRE(got);
    lg_dequantize(type, blocks, got, n);
    for (size_t i = 0; i < n; i++) {
        if (same_float(got[i], expected[i]))
            continue;
        fprintf(stderr, "%s, %s: weight %zu is %a, not %a\n", info->name, set, i, (double)got[i],
                (double)expected[i]);
        exit(1);
    }
    free(got);
    free(expected);
    free(blocks);
}

/** F32 weights are their own values, read from any alignment. */
static void check_f32(void)
{
    const float values[] = {0.0f, -0.0f, 1.0f, -1.5f, 0x1p-149f, INFINITY, 3.25e38f};
    enum { N = sizeof(values) / sizeof(values[0]) };
    uint8_t odd[sizeof(values) + 1];
    float got[N];
    memcpy(odd + 1, values, sizeof(values));
    lg_dequantize(LG_TYPE_F32, odd + 1, got, N);
    for (size_t i = 0; i < N; i++)
        REQUIRE_INT(float_bits(got[i]), ==, float_bits(values[i]));
}

/** All halves survive the way through float. */
static void check_f16_roundtrip(void)
{
    for (uint32_t h = 0; h <= 0xffff; h++) {
        float f = lg_f16_to_f32((uint16_t)h);
        uint16_t back = lg_f32_to_f16(f);
        if ((h & 0x7fff) > 0x7c00) {
            REQUIRE(isnan(f));
            REQUIRE((back & 0x7fff) > 0x7c00);
            REQUIRE_INT(back & 0x8000, ==, h & 0x8000);
        } else {
            REQUIRE_INT(back, ==, h);
        }
    }
}

/** The float just between two halves goes to the even one, its neighbours to the nearer one. */
static void check_f16_rounding(void)
{
    for (uint32_t h = 0; h < 0x7c00; h++) {
        float lo = lg_f16_to_f32((uint16_t)h);
        float hi = h == 0x7bff ? 65536.0f : lg_f16_to_f32((uint16_t)(h + 1));
        float mid = (lo + hi) * 0.5f;
        uint16_t even = (uint16_t)(h + (h & 1));
        REQUIRE_INT(lg_f32_to_f16(mid), ==, even);
        REQUIRE_INT(lg_f32_to_f16(-mid), ==, even | 0x8000);
        REQUIRE_INT(lg_f32_to_f16(nextafterf(mid, 0.0f)), ==, h);
        REQUIRE_INT(lg_f32_to_f16(nextafterf(mid, INFINITY)), ==, h + 1);
    }
    REQUIRE_INT(lg_f32_to_f16(INFINITY), ==, 0x7c00);
    REQUIRE_INT(lg_f32_to_f16(-INFINITY), ==, 0xfc00);
    REQUIRE_INT(lg_f32_to_f16(3.0e38f), ==, 0x7c00);
    REQUIRE_INT(lg_f32_to_f16(0x1p-149f), ==, 0);
}

static void check_types(void)
{
    int known = 0;
    for (uint32_t type = 0; type < 1000; type++) {
        const struct lg_type_info *info = lg_type_info(type);
        if (!info)
            continue;
        known++;
        REQUIRE(info->name && info->block_elements > 0 && info->block_bytes > 0);
        REQUIRE_INT(256 % info->block_elements, ==, 0);
    }
    REQUIRE_INT(known, ==, 35);
    REQUIRE(!lg_type_info(4) && !lg_type_info(31) && !lg_type_info(UINT32_MAX));
#define CHECK_NAME(lower, upper) REQUIRE_STR(lg_type_info(LG_TYPE_##upper)->name, #upper);
    LG_WEIGHT_TYPES(CHECK_NAME)
#undef CHECK_NAME
}

int main(void)
{
    check_types();
    check_f32();
    check_f16_roundtrip();
    check_f16_rounding();
    if (!test_shared())
        return TEST_SKIP;
    static const char *const sets[] = {"tensor", "random", "edge"};
#define CHECK(lower, upper)                 \
    for (int s = 0; s < 3; s++)             \
        if (LG_TYPE_##upper != LG_TYPE_F32) \
            check_blocks(LG_TYPE_##upper, sets[s]);
    LG_WEIGHT_TYPES(CHECK)
#undef CHECK
    return 0;
}
