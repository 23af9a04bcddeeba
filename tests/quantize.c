/* SPDX-License-Identifier: MIT
 *
 * Encoding of weights: what each type loses on normal noise, against what the format's reference loses; the same bytes as the
 * reference where the format leaves no choice; and weights that are odd in some way.
 */
#include "gguf/quantize.h"
#include "gguf/quantize_table.h"
#include "test.h"

enum { MOST = 256 * 512, ROOM = MOST * 4 };

static float decoded[MOST];
static uint8_t blocks[ROOM], others[ROOM];

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

static size_t bytes_of(enum lg_type type, size_t n)
{
    const struct lg_type_info *info = lg_type_info(type);
    return n / info->block_elements * info->block_bytes;
}

/** Root mean square of what blocks differ by. */
static double rmse(enum lg_type type, const float *x, const uint8_t *from, size_t n)
{
    double sum = 0;
    lg_dequantize(type, from, decoded, n);
    for (size_t i = 0; i < n; i++)
        sum += ((double)decoded[i] - (double)x[i]) * ((double)decoded[i] - (double)x[i]);
    return sqrt(sum / (double)n);
}

/** Types whose blocks follow from the weights. */
static bool has_one_way(enum lg_type type)
{
    return type == LG_TYPE_F16 || type == LG_TYPE_BF16 || type == LG_TYPE_Q4_0 || type == LG_TYPE_Q8_0;
}

/** The reference's blocks of the same weights. */
static void check_oracle(enum lg_type type, const char *set, const char *weights, bool all_rows)
{
    char path[256];
    size_t size, n_bytes;
    snprintf(path, sizeof(path), "oracle/visible/quant/%s", weights);
    float *x = read_shared(path, &size);
    size_t n = size / sizeof(float);
    snprintf(path, sizeof(path), "oracle/visible/quant/%s/%s.blocks.bin", lg_type_info(type)->name, set);
    uint8_t *expected = read_shared(path, &n_bytes);
    REQUIRE(n <= MOST && n_bytes == bytes_of(type, n));
    lg_quantize(type, x, blocks, n);
    double ours = rmse(type, x, blocks, n), theirs = rmse(type, x, expected, n);
    printf("%-5s %-6s %.6f, the reference's %.6f\n", lg_type_info(type)->name, set, ours, theirs);
    if (has_one_way(type))
        REQUIRE(memcmp(blocks, expected, n_bytes) == 0);
    if (all_rows)
        REQUIRE(ours <= 1.02 * theirs);
    free(expected);
    free(x);
}

/** What each row's largest weight allows, for weights of any size. */
static void check_scales(enum lg_type type)
{
    // of the range of a block; those with a nibble for scales have coarser ones
    static const double limits[] = {
        [LG_TYPE_F32] = 0,      [LG_TYPE_F16] = 0.0005, [LG_TYPE_BF16] = 0.004, [LG_TYPE_Q8_0] = 0.005,
        [LG_TYPE_Q4_0] = 0.14,  [LG_TYPE_Q4_1] = 0.1,   [LG_TYPE_Q5_0] = 0.07,  [LG_TYPE_Q5_1] = 0.05,
        [LG_TYPE_Q2_K] = 0.5,   [LG_TYPE_Q3_K] = 0.3,   [LG_TYPE_Q4_K] = 0.13,  [LG_TYPE_Q5_K] = 0.07,
        [LG_TYPE_Q6_K] = 0.04,
    };
    struct test_rng rng = {7};
    float x[512];
    for (int round = 0; round < 200; round++) {
        float size = powf(10, test_randf(&rng, -2, 3)), shift = round % 3 == 0 ? size * test_randf(&rng, -1, 1) : 0, top = 0;
        for (int i = 0; i < 512; i++) {
            x[i] = size * test_randf(&rng, -1, 1) + shift;
            top = fmaxf(top, fabsf(x[i]));
        }
        lg_quantize(type, x, blocks, 512);
        lg_dequantize(type, blocks, decoded, 512);
        for (int i = 0; i < 512; i++) {
            if (fabs((double)decoded[i] - (double)x[i]) <= limits[type] * (double)top)
                continue;
            fprintf(stderr, "%s, round %d: weight %d is %g, not %g; the largest is %g\n", lg_type_info(type)->name, round, i,
                    (double)decoded[i], (double)x[i], (double)top);
            exit(1);
        }
    }
}

static void fill(float *x, float value)
{
    for (int i = 0; i < 256; i++)
        x[i] = value;
}

static bool is_finite(enum lg_type type, const float *x)
{
    bool finite = true;
    lg_quantize(type, x, blocks, 256);
    lg_dequantize(type, blocks, decoded, 256);
    for (int i = 0; i < 256; i++)
        finite &= isfinite(decoded[i]) != 0;
    return finite;
}

/** Steps from 0 to the largest weight that a block can have at one value of its float16. */
static int codes_of(enum lg_type type)
{
    switch (type) {
    case LG_TYPE_Q2_K: return 3 * 15;
    case LG_TYPE_Q3_K: return 4 * 32;
    case LG_TYPE_Q4_K: return 15 * 63;
    case LG_TYPE_Q5_K: return 31 * 63;
    case LG_TYPE_Q6_K: return 32 * 128;
    default: return INT32_MAX;
    }
}

static void check_odd(enum lg_type type)
{
    float x[256];
    const bool is_block = lg_type_info(type)->block_elements > 1;
    fill(x, 0);
    REQUIRE(is_finite(type, x));
    for (int i = 0; i < 256; i++)
        REQUIRE(decoded[i] == 0);
    static const float constants[] = {1, -1, 0.37f, -0.37f, 1000, -1000};
    for (size_t k = 0; k < sizeof(constants) / sizeof(constants[0]); k++) {
        fill(x, constants[k]);
        REQUIRE(is_finite(type, x));
        for (int i = 0; i < 256; i++)
            REQUIRE(fabsf(decoded[i] - constants[k]) <= 0.005f * fabsf(constants[k]));
    }
    static const float tiny[] = {1e-6f, 1e-12f, 1e-30f, 1e-37f, 1e-40f, -1e-45f};
    for (size_t k = 0; k < sizeof(tiny) / sizeof(tiny[0]); k++) {
        fill(x, tiny[k]);
        x[3] = -tiny[k];
        REQUIRE(is_finite(type, x));
        for (int i = 0; i < 256; i++)
            REQUIRE(fabsf(decoded[i]) <= 1e-4f);
    }
    // One weight beside which the others are nothing
    fill(x, 1e-3f);
    x[100] = 2000;
    REQUIRE(is_finite(type, x));
    REQUIRE(fabsf(decoded[100] - 2000) <= 20);
    // Too large for one scale, and for some types also for a scale of scales
    fill(x, 0.5f);
    x[17] = 1e8f;
    REQUIRE(is_finite(type, x) == (lg_type_info(type)->block_elements != 32 && type != LG_TYPE_F16 &&
                                   1e8f / (float)codes_of(type) < 65504));
    // What no scale holds is told by what it decodes to
    static const float large[] = {2e9f, 1e12f, 1e30f, 3e38f, INFINITY, -INFINITY, NAN};
    for (size_t k = 0; k < sizeof(large) / sizeof(large[0]); k++) {
        fill(x, 0.5f);
        x[17] = large[k];
        REQUIRE(is_finite(type, x) == (isfinite(large[k]) && (type == LG_TYPE_F32 || type == LG_TYPE_BF16)));
        fill(x, large[k]);
        REQUIRE(is_finite(type, x) == (isfinite(large[k]) && !is_block && type != LG_TYPE_F16));
    }
}

/** Halves go away from 0. */
static void check_halves(void)
{
    static const float halves[] = {127, 0.5f, -0.5f, 1.5f, -1.5f, 2.5f, -2.5f, 126.5f, -126.5f, 0.49999997f, 0};
    static const int8_t codes[] = {127, 1, -1, 2, -2, 3, -3, 127, -127, 0, 0};
    float x[32] = {0};
    memcpy(x, halves, sizeof(halves));
    lg_quantize(LG_TYPE_Q8_0, x, blocks, 32);
    REQUIRE(memcmp(blocks + 2, codes, sizeof(codes)) == 0);
}

/** What other instruction sets give. */
static void check_variants(void)
{
#ifdef __x86_64__
    struct test_rng rng = {3};
    float x[256];
    for (int round = 0; round < 300 && __builtin_cpu_supports("avx2"); round++) {
        float size = powf(10, test_randf(&rng, -9, 7));
        for (int i = 0; i < 256; i++)
            x[i] = size * (test_randf(&rng, -1, 1) + test_randf(&rng, -1, 1) * test_randf(&rng, 0, 1));
        for (uint32_t type = 0; type < LG_QUANTIZE_TYPES; type++) {
            lg_quantize_fn *plain = lg_quantize_32_portable[type], *fast = lg_quantize_32_avx2[type];
            plain = plain ? plain : lg_quantize_256_portable[type];
            fast = fast ? fast : lg_quantize_256_avx2[type];
            REQUIRE(!plain == !fast);
            if (!plain)
                continue;
            plain(x, blocks);
            fast(x, others);
            REQUIRE(memcmp(blocks, others, lg_type_info(type)->block_bytes) == 0);
        }
    }
#endif
}

/** The fast way to decode gives the same floats, all halves among them. */
static void check_decoding(void)
{
    static uint16_t halves[65536 + 5];
    static float expected[65536 + 5], got[65536 + 5];
    for (uint32_t i = 0; i < 65536 + 5; i++)
        halves[i] = (uint16_t)(i * 40503);
    for (size_t n = 65536; n <= 65536 + 5; n++) {
        lg_dequantize(LG_TYPE_F16, halves, expected, n);
        lg_decode_weights(LG_TYPE_F16, halves, got, n);
        REQUIRE(memcmp(expected, got, n * sizeof(float)) == 0);
    }
    lg_decode_weights(LG_TYPE_F32, expected, got, 100);
    REQUIRE(memcmp(expected, got, 100 * sizeof(float)) == 0);
    lg_decode_weights(LG_TYPE_BF16, halves, got, 3);
    REQUIRE(got[1] == lg_bf16_to_f32(halves[1]));
}

/** To nearest even, with NaN as NaN. */
static void check_bf16(void)
{
    for (uint32_t h = 0; h < 0x7f80; h++) {
        float low = lg_bf16_to_f32((uint16_t)h), high = lg_bf16_to_f32((uint16_t)(h + 1));
        uint32_t bits = h << 16 | 0x8000u;
        float middle;
        memcpy(&middle, &bits, sizeof(middle));
        REQUIRE_INT(lg_f32_to_bf16(low), ==, h);
        REQUIRE_INT(lg_f32_to_bf16(-low), ==, h | 0x8000);
        REQUIRE_INT(lg_f32_to_bf16(middle), ==, h + (h & 1));
        REQUIRE_INT(lg_f32_to_bf16(nextafterf(middle, 0)), ==, h);
        REQUIRE_INT(lg_f32_to_bf16(nextafterf(middle, INFINITY)), ==, h + 1);
        REQUIRE(high > low);
    }
    REQUIRE(isnan(lg_bf16_to_f32(lg_f32_to_bf16(NAN))));
    REQUIRE_INT(lg_f32_to_bf16(INFINITY), ==, 0x7f80);
}

int main(void)
{
    check_bf16();
    check_decoding();
    check_halves();
    check_variants();
#define CHECK(lower, upper)        \
    check_scales(LG_TYPE_##upper); \
    check_odd(LG_TYPE_##upper);
    LG_WEIGHT_TYPES(CHECK)
#undef CHECK
    if (!test_shared())
        return TEST_SKIP;
#define CHECK(lower, upper) check_oracle(LG_TYPE_##upper, "gauss", "gauss_256x512.bin", true);
    LG_BLOCK_TYPES(CHECK)
#undef CHECK
#define CHECK(lower, upper)             \
    if (LG_TYPE_##upper != LG_TYPE_F32) \
        check_oracle(LG_TYPE_##upper, "edge", "edge_8x256.bin", false);
    LG_WEIGHT_TYPES(CHECK)
#undef CHECK
    return 0;
}
