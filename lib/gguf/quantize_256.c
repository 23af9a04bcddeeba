/* SPDX-License-Identifier: MIT
 *
 * The types with blocks of 256 weights. Groups of 16 or 32 are fitted on their own; then their scales become small whole
 * multiples of one float16 for the block, the codes are chosen anew for what the multiples decode to, and that float16 is
 * fitted to all codes of the block.
 */
#include "gguf/quantize_fit.h"
#include "gguf/quantize_table.h"

enum {
    BLOCK = 256,
    MAX_GROUPS = 16,
    ROUNDS = 2, // of fitting the block's scales to the codes and the codes to the scales
};

#define SHARE 1.0f // of the mean square, in what a weight counts

static void store_f16(uint8_t *b, uint16_t h)
{
    b[0] = (uint8_t)h;
    b[1] = (uint8_t)(h >> 8);
}

/** False, and a block that decodes to what is not finite, when weights are too large or not finite. */
INLINE bool has_room(const float *x, uint8_t *b, size_t size, size_t d_at)
{
    memset(b, 0, size);
    if (fit_magnitude(x, BLOCK) <= LG_FIT_LARGEST)
        return true;
    store_f16(b + d_at, 0x7c00);
    return false;
}

static float clamp(float v, float low, float high)
{
    return fminf(fmaxf(v, low), high);
}

/* ---- with minima: Q2_K, Q4_K, Q5_K ------------------------------------------------------------------ */

/** A block: x = d * scale * q - dmin * min, group by group. */
struct lines {
    uint16_t d, dmin; // float16
    uint8_t scale[MAX_GROUPS], min[MAX_GROUPS];
    float q[BLOCK];
};

/** Codes for the scales that are there, and their sums. */
INLINE void choose_codes(const float *x, const float *w, int size, float levels, struct lines *out, struct fit_sums *sums)
{
    float d = lg_f16_to_f32(out->d), dmin = lg_f16_to_f32(out->dmin);
    for (int g = 0; g < BLOCK / size; g++) {
        float scale = d * (float)out->scale[g], min = dmin * (float)out->min[g];
        fit_codes(x + g * size, size, -min, scale > 0 ? 1 / scale : 0, 0, levels, out->q + g * size);
        sums[g] = fit_add_up(x + g * size, w + g * size, out->q + g * size, size);
    }
}

/** The block's two scales for codes that are there. */
static void fit_block(const struct fit_range *range, int size, struct lines *out, const struct fit_sums *sums)
{
    float aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
    for (int g = 0; g < BLOCK / size; g++) {
        float a = out->scale[g], b = -(float)out->min[g];
        aa += a * a * sums[g].qq;
        ab += a * b * sums[g].q;
        bb += b * b * range[g].w;
        ax += a * sums[g].qx;
        bx += b * range[g].wx;
    }
    float det = aa * bb - ab * ab, d = aa > 0 ? ax / aa : 0, dmin = 0;
    if (det > 1e-6f * aa * bb) {
        d = (ax * bb - bx * ab) / det;
        dmin = (bx * aa - ax * ab) / det;
    }
    if (d > 0 && dmin >= 0) {
        out->d = lg_f32_to_f16(d);
        out->dmin = lg_f32_to_f16(dmin);
    }
}

/** All of it for groups of `size` weights, codes 0 .. levels and multiples 0 .. most. */
INLINE void fit_lines(const float *x, int size, float levels, float most, int tries, float step, struct lines *out)
{
    struct fit_line line[MAX_GROUPS];
    struct fit_sums sums[MAX_GROUPS];
    struct fit_range range[MAX_GROUPS];
    float w[BLOCK], top_scale = 0, top_min = 0;
    for (int g = 0; g < BLOCK / size; g++) {
        const float *part = x + g * size;
        fit_importance(part, size, SHARE, w + g * size);
        line[g] = fit_between(part, w + g * size, size, levels, true, tries, step);
        range[g] = fit_range(part, w + g * size, size);
        top_scale = fmaxf(top_scale, line[g].scale);
        top_min = fmaxf(top_min, line[g].min);
    }
    out->d = lg_f32_to_f16(top_scale / most);
    out->dmin = lg_f32_to_f16(top_min / most);
    float d = lg_f16_to_f32(out->d), dmin = lg_f16_to_f32(out->dmin);
    for (int g = 0; g < BLOCK / size; g++) {
        out->scale[g] = (uint8_t)(d > 0 ? clamp(rintf(line[g].scale / d), 0, most) : 0);
        out->min[g] = (uint8_t)(dmin > 0 ? clamp(rintf(line[g].min / dmin), 0, most) : 0);
    }
    choose_codes(x, w, size, levels, out, sums);
    for (int i = 0; i < ROUNDS; i++) {
        fit_block(range, size, out, sums);
        choose_codes(x, w, size, levels, out, sums);
    }
}

static void quantize_q2_k(const float *x, uint8_t *b)
{
    struct lines l;
    if (!has_room(x, b, 84, 80))
        return;
    fit_lines(x, 16, 3, 15, 10, 0.1f, &l);
    for (int g = 0; g < 16; g++)
        b[g] = (uint8_t)(l.scale[g] | l.min[g] << 4);
    for (int g = 0; g < 8; g++)
        for (int i = 0; i < 32; i++)
            b[16 + g / 4 * 32 + i] |= (uint8_t)((int)l.q[g * 32 + i] << g % 4 * 2);
    store_f16(b + 80, l.d);
    store_f16(b + 82, l.dmin);
}

/** Eight scales and eight minima of 6 bits as 12 bytes: see unpack_scale() of quants.c. */
static void pack_scales(const struct lines *l, uint8_t *s)
{
    for (int g = 0; g < 4; g++) {
        s[g] = (uint8_t)(l->scale[g] | l->scale[g + 4] >> 4 << 6);
        s[g + 4] = (uint8_t)(l->min[g] | l->min[g + 4] >> 4 << 6);
        s[g + 8] = (uint8_t)((l->scale[g + 4] & 15) | l->min[g + 4] << 4);
    }
}

static void quantize_q4_k(const float *x, uint8_t *b)
{
    struct lines l;
    if (!has_room(x, b, 144, 0))
        return;
    fit_lines(x, 32, 15, 63, 10, 0.2f, &l);
    store_f16(b, l.d);
    store_f16(b + 2, l.dmin);
    pack_scales(&l, b + 4);
    for (int g = 0; g < 8; g++)
        for (int i = 0; i < 32; i++)
            b[16 + g / 2 * 32 + i] |= (uint8_t)((int)l.q[g * 32 + i] << g % 2 * 4);
}

static void quantize_q5_k(const float *x, uint8_t *b)
{
    struct lines l;
    if (!has_room(x, b, 176, 0))
        return;
    fit_lines(x, 32, 31, 63, 10, 0.2f, &l);
    store_f16(b, l.d);
    store_f16(b + 2, l.dmin);
    pack_scales(&l, b + 4);
    for (int g = 0; g < 8; g++)
        for (int i = 0; i < 32; i++) {
            int code = (int)l.q[g * 32 + i];
            b[16 + i] |= (uint8_t)(code >> 4 << g);
            b[48 + g / 2 * 32 + i] |= (uint8_t)((code & 15) << g % 2 * 4);
        }
}

/* ---- without: Q3_K, Q6_K ---------------------------------------------------------------------------- */

enum { SMALL = 16, N_SMALL = BLOCK / SMALL };

/** A block: x = d * scale * q, group by group. */
struct factors {
    uint16_t d; // float16
    int8_t scale[N_SMALL];
    float q[BLOCK];
};

INLINE void choose_signed(const float *x, const float *w, float half, struct factors *out, struct fit_sums *sums)
{
    float d = lg_f16_to_f32(out->d);
    for (int g = 0; g < N_SMALL; g++) {
        float scale = d * (float)out->scale[g];
        fit_codes(x + g * SMALL, SMALL, 0, scale != 0 ? 1 / scale : 0, -half, half - 1, out->q + g * SMALL);
        sums[g] = fit_add_up(x + g * SMALL, w + g * SMALL, out->q + g * SMALL, SMALL);
    }
}

/** For codes -half .. half - 1 and multiples -most .. most - 1. */
INLINE void fit_factors(const float *x, float half, float most, bool both, int tries, float step, struct factors *out)
{
    struct fit_sums sums[N_SMALL];
    float w[BLOCK], scale[N_SMALL], top = 0;
    for (int g = 0; g < N_SMALL; g++) {
        fit_importance(x + g * SMALL, SMALL, SHARE, w + g * SMALL);
        scale[g] = fit_around(x + g * SMALL, w + g * SMALL, SMALL, half, both, tries, step);
        if (fabsf(scale[g]) > fabsf(top))
            top = scale[g];
    }
    out->d = lg_f32_to_f16(top / -most);
    float d = lg_f16_to_f32(out->d);
    for (int g = 0; g < N_SMALL; g++)
        out->scale[g] = (int8_t)(d != 0 ? clamp(rintf(scale[g] / d), -most, most - 1) : 0);
    choose_signed(x, w, half, out, sums);
    for (int i = 0; i < ROUNDS; i++) {
        float xx = 0, xy = 0;
        for (int g = 0; g < N_SMALL; g++) {
            float a = out->scale[g];
            xx += a * a * sums[g].qq;
            xy += a * sums[g].qx;
        }
        if (xx > 0)
            out->d = lg_f32_to_f16(xy / xx);
        choose_signed(x, w, half, out, sums);
    }
}

static void quantize_q3_k(const float *x, uint8_t *b)
{
    struct factors f;
    if (!has_room(x, b, 110, 108))
        return;
    fit_factors(x, 4, 32, true, 10, 0.1f, &f);
    for (int g = 0; g < 8; g++)
        for (int i = 0; i < 32; i++) {
            int code = (int)f.q[g * 32 + i] + 4;
            b[i] |= (uint8_t)(code >> 2 << g);
            b[32 + g / 4 * 32 + i] |= (uint8_t)((code & 3) << g % 4 * 2);
        }
    for (int s = 0; s < N_SMALL; s++) {
        int code = f.scale[s] + 32;
        b[96 + s % 8] |= (uint8_t)((code & 15) << s / 8 * 4);
        b[104 + s % 4] |= (uint8_t)(code >> 4 << s / 4 * 2);
    }
    store_f16(b + 108, f.d);
}

static void quantize_q6_k(const float *x, uint8_t *b)
{
    struct factors f;
    if (!has_room(x, b, 210, 208))
        return;
    fit_factors(x, 32, 128, false, 8, 0.3f, &f);
    for (int g = 0; g < 8; g++)
        for (int i = 0; i < 32; i++) {
            int code = (int)f.q[g * 32 + i] + 32;
            b[g / 4 * 64 + g % 2 * 32 + i] |= (uint8_t)((code & 15) << g % 4 / 2 * 4);
            b[128 + g / 4 * 32 + i] |= (uint8_t)(code >> 4 << g % 4 * 2);
        }
    for (int s = 0; s < N_SMALL; s++)
        b[192 + s] = (uint8_t)f.scale[s];
    store_f16(b + 208, f.d);
}

lg_quantize_table QUANTIZE_TABLE = {
    [LG_TYPE_Q2_K] = quantize_q2_k, [LG_TYPE_Q3_K] = quantize_q3_k, [LG_TYPE_Q4_K] = quantize_q4_k,
    [LG_TYPE_Q5_K] = quantize_q5_k, [LG_TYPE_Q6_K] = quantize_q6_k,
};
