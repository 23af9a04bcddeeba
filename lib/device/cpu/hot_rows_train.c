/* SPDX-License-Identifier: MIT
 *
 * Passes over rows in training: norms and activations backwards, the loss, optimizers. Compiled once for each instruction set
 * with HOT_TABLE as the name of its table; the arithmetic is that of the references, bit for bit.
 */
#include <math.h>

#include "device/cpu/fast.h"
#include "device/cpu/grid.h"
#include "device/cpu/rows.h"

/* ---- norms --------------------------------------------------------------------------------------- */

/* The sums of g = dy * w and of g x', x' = (x - mean) * factor. */
struct slopes {
    double plain, products;
};

INLINE struct slopes slopes_of(const float *x, const float *w, const float *dy, uint32_t n, float mean, float factor)
{
    struct wide_sum plain = {0}, products = {0};
    double rest[2][LG_SUM_LANES];
    uint32_t whole = n - n % LG_SUM_LANES;
    for (uint32_t i = 0; i < whole; i += LG_SUM_LANES) {
        float g[LG_SUM_LANES], gx[LG_SUM_LANES];
        for (int j = 0; j < LG_SUM_LANES; j += VEC) {
            vec v = load(dy + i + j) * load(w + i + j);
            store(g + j, v);
            store(gx + j, v * ((load(x + i + j) - mean) * factor));
        }
        add_all(&plain, g);
        add_all(&products, gx);
    }
    for (uint32_t i = whole; i < n; i++) {
        float g = dy[i] * w[i];
        rest[0][i - whole] = g;
        rest[1][i - whole] = g * ((x[i] - mean) * factor);
    }
    return (struct slopes){add_rest(&plain, rest[0], n - whole), add_rest(&products, rest[1], n - whole)};
}

INLINE void norm_back(const struct lg_cpu_args *args, bool layer, uint32_t first, uint32_t last)
{
    const struct lg_norm_push *push = args->push;
    const float *restrict w = args->view[1];
    uint32_t n = push->n_cols;
    for (uint32_t r = first; r < last; r++) {
        const float *restrict x = (const float *)args->view[0] + (size_t)r * n;
        const float *restrict dy = (const float *)args->view[2] + (size_t)r * n;
        float *restrict dx = (float *)args->view[3] + (size_t)r * n, *kept = (float *)args->view[4] + 2 * (size_t)r;
        double middle = layer ? sum_of(x, n) / n : 0;
        float mean = kept[0] = (float)middle, factor = kept[1] = (float)(1.0 / sqrt(sum_of_squares(x, n, middle) / n + push->eps));
        struct slopes s = slopes_of(x, w, dy, n, mean, factor);
        float plain = layer ? (float)(s.plain / n) : 0, slope = (float)(s.products / n);
        for (uint32_t i = 0; i < n; i++)
            dx[i] += factor * (dy[i] * w[i] - plain - (x[i] - mean) * factor * slope);
    }
}

static void rms_norm_back(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    norm_back(args, false, first, last);
}

static void layer_norm_back(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    norm_back(args, true, first, last);
}

/* ---- sums over the rows of a batch: of several columns at a time, and of each in order ---------- */

enum { COLUMNS = 64 };

INLINE void norm_weight_columns(const struct lg_cpu_args *args, float *db, uint32_t begin, uint32_t n)
{
    const struct lg_column_push *push = args->push;
    uint32_t n_t = ((const uint32_t *)args->view[0])[push->dim];
    const float *kept = args->view[3];
    float *dw = (float *)args->view[4] + begin;
    _Alignas(64) float sum[COLUMNS] = {0}, plain[COLUMNS] = {0};
    for (size_t t = 0; t < n_t; t++) {
        const float *restrict x = (const float *)args->view[1] + t * push->n_cols + begin;
        const float *restrict dy = (const float *)args->view[2] + t * push->n_cols + begin;
        float mean = kept[2 * t], factor = kept[2 * t + 1];
        for (uint32_t i = 0; i < n; i++)
            sum[i] += dy[i] * ((x[i] - mean) * factor);
        for (uint32_t i = 0; i < n && db; i++)
            plain[i] += dy[i];
    }
    for (uint32_t i = 0; i < n; i++)
        dw[i] += sum[i];
    for (uint32_t i = 0; i < n && db; i++)
        db[begin + i] += plain[i];
}

static void bias_columns(const struct lg_cpu_args *args, uint32_t begin, uint32_t n)
{
    const struct lg_column_push *push = args->push;
    uint32_t n_t = ((const uint32_t *)args->view[0])[push->dim];
    float *db = (float *)args->view[2] + begin;
    _Alignas(64) float sum[COLUMNS] = {0};
    for (size_t t = 0; t < n_t; t++) {
        const float *restrict dy = (const float *)args->view[1] + t * push->n_cols + begin;
        for (uint32_t i = 0; i < n; i++)
            sum[i] += dy[i];
    }
    for (uint32_t i = 0; i < n; i++)
        db[i] += sum[i];
}

enum columns_of { RMS_NORM, LAYER_NORM, BIAS };

INLINE void over_columns(const struct lg_cpu_args *args, enum columns_of what, uint32_t first, uint32_t last)
{
    const struct lg_column_push *push = args->push;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        for (uint32_t i = s.begin, n; i < s.end; i += n) {
            n = lg_min_u32(s.end - i, COLUMNS);
            if (what == BIAS)
                bias_columns(args, i, n);
            else
                norm_weight_columns(args, what == LAYER_NORM ? args->view[5] : NULL, i, n);
        }
    }
}

static void rms_norm_weight_back(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    over_columns(args, RMS_NORM, first, last);
}

static void layer_norm_weight_back(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    over_columns(args, LAYER_NORM, first, last);
}

static void bias_back(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    over_columns(args, BIAS, first, last);
}

/* ---- activations --------------------------------------------------------------------------------- */

/* Elements [i, i + n) of a span, n at most VEC. Results may take the place of what they are made of. */
INLINE void silu_mul_back_vec(const float *gate, const float *up, const float *df, float *dgate, float *dup, uint32_t n)
{
    vec x = n < VEC ? load_some(gate, n) : load(gate), u = n < VEC ? load_some(up, n) : load(up);
    vec d = n < VEC ? load_some(df, n) : load(df), s = 1.0f / (1.0f + exp_vec(-x));
    vec to_gate = d * u * (s * (1.0f + x * (1.0f - s))), to_up = d * (x * s);
    if (n < VEC) {
        store_some(dgate, to_gate, n);
        store_some(dup, to_up, n);
    } else {
        store(dgate, to_gate);
        store(dup, to_up);
    }
}

static void silu_mul_back(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_rowwise_push *push = args->push;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        float *v[5];
        for (int i = 0; i < 5; i++)
            v[i] = (float *)args->view[i] + (size_t)s.row * push->n_cols;
        for (uint32_t i = s.begin; i < s.end; i += VEC)
            silu_mul_back_vec(v[0] + i, v[1] + i, v[2] + i, v[3] + i, v[4] + i, lg_min_u32(s.end - i, VEC));
    }
}

INLINE vec gelu_slope(vec x)
{
    vec u = 0.7978845608f * (x + 0.044715f * x * x * x), s = 1.0f / (1.0f + exp_vec(-2.0f * u));
    return s * (1.0f + 2.0f * x * (1.0f - s) * (0.7978845608f * (1.0f + 0.134145f * x * x)));
}

static void gelu_back(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_rowwise_push *push = args->push;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        const float *x = (const float *)args->view[0] + (size_t)s.row * push->n_cols;
        const float *dy = (const float *)args->view[1] + (size_t)s.row * push->n_cols;
        float *dx = (float *)args->view[2] + (size_t)s.row * push->n_cols;
        uint32_t i = s.begin;
        for (; s.end - i >= VEC; i += VEC)
            store(dx + i, load(dy + i) * gelu_slope(load(x + i)));
        store_some(dx + i, load_some(dy + i, s.end - i) * gelu_slope(load_some(x + i, s.end - i)), s.end - i);
    }
}

static void scale_add(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_scale_add_push *push = args->push;
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        const float *restrict x = (const float *)args->view[0] + (size_t)s.row * push->n_cols;
        float *restrict y = (float *)args->view[1] + (size_t)s.row * push->n_cols;
        for (uint32_t i = s.begin; i < s.end; i++)
            y[i] += push->scale * x[i];
    }
}

/* ---- the loss ------------------------------------------------------------------------------------ */

static void loss_part(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_loss_push *push = args->push;
    const uint32_t *targets = args->view[1];
    struct lg_loss_state *states = args->view[2];
    for (uint32_t r = first; r < last; r++) {
        const float *logits = (const float *)args->view[0] + (size_t)r * push->n_cols;
        struct lg_loss_state s = push->first ? states[r] : (struct lg_loss_state){.top = -INFINITY};
        float top = max_of(logits, push->n_cols);
        top = top > s.top ? top : s.top;
        s.sum = (float)(s.sum * lg_exp(s.top - top) + sum_of_exps(logits, push->n_cols, top));
        s.top = top;
        if (targets[r] - push->first < push->n_cols)
            s.logit = logits[targets[r] - push->first];
        states[r] = s;
    }
}

static void loss_back(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_loss_push *push = args->push;
    const struct lg_train_step *step = args->view[0];
    const uint32_t *targets = args->view[2];
    const struct lg_loss_state *states = args->view[3];
    for (uint32_t g = first; g < last; g++) {
        struct lg_cpu_span s = lg_cpu_span(args, g, args->spec[0], push->n_cols);
        const float *logits = (const float *)args->view[1] + (size_t)s.row * push->n_cols;
        float *dlogits = (float *)args->view[4] + (size_t)s.row * push->n_cols;
        uint32_t target = targets[s.row], own = target - push->first, i = s.begin;
        float factor = target == LG_NO_TARGET ? 0 : step->loss_scale / states[s.row].sum, top = states[s.row].top;
        for (; s.end - i >= VEC; i += VEC)
            store(dlogits + i, factor * exp_vec(load(logits + i) - top));
        store_some(dlogits + i, factor * exp_vec(load_some(logits + i, s.end - i) - top), s.end - i);
        if (target != LG_NO_TARGET && own >= s.begin && own < s.end)
            dlogits[own] -= step->loss_scale;
    }
}

/* ---- optimizers ---------------------------------------------------------------------------------- */

static void adamw(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_adamw_push *push = args->push;
    const struct lg_train_step *step = args->view[0];
    float factor = ((const struct lg_train_norm *)args->view[1])->factor, kept = 1 - step->lr * push->weight_decay;
    float b1 = push->beta1, b2 = push->beta2, eps = push->eps, lr = step->lr, c1 = step->correct1, c2 = step->correct2;
    float *restrict g = args->view[2], *restrict p = args->view[3], *restrict m = args->view[4], *restrict v = args->view[5];
    for (uint32_t group = first; group < last; group++) {
        struct lg_cpu_span s = lg_cpu_span(args, group, push->per_group, push->n);
        for (uint32_t i = s.begin; i < s.end; i++) {
            float grad = g[i] * factor;
            m[i] = b1 * m[i] + (1 - b1) * grad;
            v[i] = b2 * v[i] + (1 - b2) * (grad * grad);
            p[i] = p[i] * kept - lr * (m[i] * c1) / (sqrtf(v[i] * c2) + eps);
            g[i] = 0;
        }
    }
}

lg_cpu_fast_table HOT_TABLE = {[LG_K_RMS_NORM_BACK] = rms_norm_back, [LG_K_LAYER_NORM_BACK] = layer_norm_back,
                               [LG_K_RMS_NORM_WEIGHT_BACK] = rms_norm_weight_back,
                               [LG_K_LAYER_NORM_WEIGHT_BACK] = layer_norm_weight_back,
                               [LG_K_BIAS_BACK] = bias_back,
                               [LG_K_SILU_MUL_BACK] = silu_mul_back, [LG_K_GELU_BACK] = gelu_back,
                               [LG_K_SCALE_ADD] = scale_add,         [LG_K_LOSS_PART] = loss_part,
                               [LG_K_LOSS_BACK] = loss_back,         [LG_K_ADAMW] = adamw};
