/* SPDX-License-Identifier: MIT
 * qkv_*, project_* and ffn_*, and their forms in 8 bits. */
#include "check.h"

#include "device/cpu/activation.h"
#include "device/cpu/norm.h"
#include "device/cpu/round_i8.h"
#include "gguf/quants.h"
#include "util/checked.h"

enum {
    N_SLOTS = 2,
    MAX_PAGES = 3,
    PAGE_SIZE = 5,
    N_CELLS = N_SLOTS * MAX_PAGES * PAGE_SIZE,
    N_POS = MAX_PAGES * PAGE_SIZE,
};

/* How a workgroup is made: spec[0..2], and spec[4], how many rows of x it takes. */
struct split {
    uint32_t wg, rows, groups, x_rows;
};

/* A GPU's form and a software driver's; both have to be right everywhere. */
static struct split gpu_split(const struct check *c)
{
    return (struct split){.wg = lg_max_u32(64, c->dev->info.subgroup_size), .rows = 4, .groups = 1};
}

static struct split software_split(const struct check *c, bool int8)
{
    if (int8) // which is for GPUs only, whose rows do not go by in a loop
        return (struct split){.wg = c->dev->info.subgroup_size, .rows = 8, .groups = 1};
    return (struct split){.wg = c->dev->info.subgroup_size, .rows = 64, .groups = 4};
}

/* Whether the type stands for others: what does not depend on the type is tried with plain numbers, with
 * blocks, and with blocks that have offsets. A driver takes long to compile each. */
static bool tries_all(enum lg_type type)
{
    return type == LG_TYPE_F32 || type == LG_TYPE_Q8_0 || type == LG_TYPE_Q4_K;
}

/* Rows of x, how they are normalised, and matrices that lie in one view. */
struct input {
    enum lg_type type;
    bool int8; // they are rounded before they meet the matrices
    bool each; // they have biases of their own
    uint32_t n_cols, n_t, row_bytes, form;
    float *x, *norm, *norm_bias, *h; // h: x normalised, when it is
    uint8_t *w;
    size_t w_size;
};

/* A matrix of the input. */
struct matrix {
    uint32_t n_rows, at; // bytes
    float *bias; // [n_t] of them for input.each
    float *value, *slack; // [n_t][n_rows] products with the bias, and how far they may be off
};

static void input_init(struct check *c, struct input *in, enum lg_type type, bool int8, uint32_t n_cols, uint32_t n_t,
                       uint32_t form)
{
    const struct lg_type_info *info = lg_type_info(type);
    *in = (struct input){.type = type, .int8 = int8, .n_cols = n_cols, .n_t = n_t, .form = form};
    in->row_bytes = n_cols / info->block_elements * info->block_bytes;
    in->x = check_floats(c, (size_t)n_t * n_cols, -2, 3);
    in->norm = check_floats(c, n_cols, -1, 1);
    in->norm_bias = check_floats(c, n_cols, -1, 1);
    in->h = check_zeros((size_t)n_t * n_cols, sizeof(float));
    for (uint32_t t = 0; t < n_t; t++) {
        const float *x = in->x + (size_t)t * n_cols;
        const float *bias = form & LG_FUSED_LAYER_NORM ? in->norm_bias : NULL;
        struct lg_cpu_norm norm = lg_cpu_norm_of(x, n_cols, 1e-5f, in->norm, bias);
        lg_cpu_normalise(&norm, x, 0, n_cols, in->h + (size_t)t * n_cols);
    }
}

static void input_free(struct input *in)
{
    free(in->x);
    free(in->norm);
    free(in->norm_bias);
    free(in->h);
    free(in->w);
}

/* A number halfway between two steps may become either, for what it was rounded before; two of a row do. */
static float largest_steps(const struct input *in, const float *weights, const float *x)
{
    float most = 0;
    for (uint32_t k = 0; k < in->n_cols && in->int8; k += 32) {
        float largest = 0, weight = 0;
        for (uint32_t i = k; i < k + 32; i++) {
            largest = fmaxf(largest, fabsf(x[i]));
            weight = fmaxf(weight, fabsf(weights[i]));
        }
        most = fmaxf(most, largest / 127 * weight);
    }
    return 2 * most;
}

/* Puts a matrix behind the others into the view and finds what its products with `exact` are. */
static void add_matrix(struct check *c, struct input *in, struct matrix *m, uint32_t n_rows,
                       const float *exact)
{
    float *rows = check_zeros((size_t)in->n_t * in->n_cols, sizeof(*rows));
    memcpy(rows, exact, (size_t)in->n_t * in->n_cols * sizeof(*rows));
    for (uint32_t t = 0; t < in->n_t && in->int8; t++)
        lg_round_i8(rows + (size_t)t * in->n_cols, in->n_cols);
    size_t size = check_weights_size(in->type, n_rows, in->n_cols), gap = 16 * check_int(c, 0, 3);
    *m = (struct matrix){.n_rows = n_rows, .at = (uint32_t)(in->w_size + gap)};
    in->w = realloc(in->w, in->w_size + gap + size);
    REQUIRE(in->w);
    memset(in->w + in->w_size, 0xff, gap);
    uint8_t *w = check_weights(c, in->type, n_rows, in->n_cols);
    memcpy(in->w + m->at, w, size);
    in->w_size += gap + size;
    m->bias = check_floats(c, (size_t)n_rows * in->n_t, -1, 1);
    m->value = check_zeros((size_t)in->n_t * n_rows, sizeof(float));
    m->slack = check_zeros((size_t)in->n_t * n_rows, sizeof(float));
    float *row = check_zeros(in->n_cols, sizeof(*row));
    for (uint32_t r = 0; r < n_rows; r++) {
        lg_dequantize(in->type, w + (size_t)r * in->row_bytes, row, in->n_cols);
        for (uint32_t t = 0; t < in->n_t; t++) {
            double sum = m->bias[(in->each ? t * n_rows : 0) + r], magnitude = 0;
            for (uint32_t i = 0; i < in->n_cols; i++) {
                double product = (double)row[i] * rows[(size_t)t * in->n_cols + i];
                sum += product;
                magnitude += fabs(product);
            }
            m->value[(size_t)t * n_rows + r] = (float)sum;
            m->slack[(size_t)t * n_rows + r] =
                (float)magnitude * 6e-6f + 1e-6f + largest_steps(in, row, rows + (size_t)t * in->n_cols);
        }
    }
    free(rows);
    free(row);
    free(w);
}

static void matrix_free(struct matrix *m)
{
    free(m->bias);
    free(m->value);
    free(m->slack);
}

static void set_split(struct check *c, struct check_case *k, struct split split, uint32_t n_rows,
                      uint32_t n_t, uint32_t form)
{
    const uint32_t spec[] = {split.wg, split.rows, split.groups, form, split.x_rows};
    memcpy(k->spec, spec, sizeof(spec));
    k->grid[0] = CHECK_CEIL(n_rows, split.wg / c->dev->info.subgroup_size * split.rows);
    k->grid[1] = n_t;
    k->grid[2] = 1;
    k->ref_grid_x = CHECK_CEIL(n_rows, split.wg * split.rows);
}

/* ---- q, k and v */

struct heads {
    uint32_t n_heads, n_kv, head_dim, n_rot;
    bool halves;
    uint32_t made, biased; // bit m: matrix m is
    bool apart;            // k and v go to rows of their own
};

/* Each row at a position of its own, on pages in random order. */
static void random_rows(struct check *c, struct lg_row *rows, uint32_t n_t,
                        uint32_t pages[N_SLOTS * MAX_PAGES])
{
    for (uint32_t i = 0; i < N_SLOTS * MAX_PAGES; i++) {
        uint32_t j = check_int(c, 0, i);
        pages[i] = pages[j];
        pages[j] = i;
    }
    for (uint32_t t = 0; t < n_t; t++)
        rows[t] = (struct lg_row){.pos = check_int(c, 0, N_POS / 4) + t / N_SLOTS * 4, .slot = t % N_SLOTS};
}

/* What the elements of a row of matrix m may be off, at where they are put; rotation mixes two of them. */
static float *slack_at(const struct matrix *m, const struct lg_row *rows, uint32_t n_t, const uint32_t *pages,
                       bool cache)
{
    float *slack = check_zeros((size_t)(cache ? N_CELLS : n_t) * m->n_rows, sizeof(float));
    for (uint32_t t = 0; t < n_t; t++) {
        uint32_t page = pages[rows[t].slot * MAX_PAGES + rows[t].pos / PAGE_SIZE];
        size_t at = cache ? (size_t)page * PAGE_SIZE + rows[t].pos % PAGE_SIZE : t;
        float most = 0;
        for (uint32_t r = 0; r < m->n_rows; r++)
            most = fmaxf(most, m->slack[(size_t)t * m->n_rows + r]);
        for (uint32_t r = 0; r < m->n_rows; r++)
            slack[at * m->n_rows + r] = 2 * most;
    }
    return slack;
}

static void qkv_case(struct check *c, enum lg_kernel kernel, enum lg_type type, bool int8, struct split split,
                     struct heads s, uint32_t n_cols, uint32_t n_t, uint32_t form)
{
    struct input in;
    struct matrix m[3];
    struct lg_row rows[8] = {0};
    uint32_t pages[N_SLOTS * MAX_PAGES] = {0}, n_pairs = s.n_rot / 2, n_all = 0;
    const uint32_t widths[] = {s.n_heads * s.head_dim, s.n_kv * s.head_dim, s.n_kv * s.head_dim};
    const size_t n_cells = s.apart ? n_t : N_CELLS;
    size_t bias_size = sizeof(float);
    struct lg_qkv_push push = {
        .n_cols = n_cols,
        .eps = 1e-5f,
        .head_dim = s.head_dim,
        .n_rot = s.n_rot,
        .flags = (s.halves ? LG_QKV_HALVES : 0) | (s.apart ? LG_QKV_APART : 0) | s.biased,
        .page_size = PAGE_SIZE,
        .max_pages = MAX_PAGES,
    };
    input_init(c, &in, type, int8, n_cols, n_t, form);
    in.each = check_int(c, 0, 1);
    push.flags |= in.each ? LG_QKV_EACH : 0;
    push.row_bytes = in.row_bytes;
    random_rows(c, rows, n_t, pages);
    for (int i = 2; i >= 0; i--)
        add_matrix(c, &in, &m[i], widths[i], in.h);
    for (int i = 0; i < 3; i++) {
        push.at[i] = m[i].at;
        push.n_rows[i] = s.made >> i & 1 ? widths[i] : 0;
        n_all += push.n_rows[i];
    }
    bias_size *= in.each ? n_t : 1;
    float *table = check_floats(c, (size_t)N_POS * n_pairs * 2 + 1, -1, 1), *before[3], *slack[3];
    struct check_case k = {
        .kernel = kernel,
        .data = {rows, pages, table, in.x, in.norm, in.norm_bias, in.w, m[0].bias, m[1].bias, m[2].bias},
        .size = {n_t * sizeof(*rows), sizeof(pages), ((size_t)N_POS * n_pairs * 2 + 1) * 4,
                 (size_t)n_t * n_cols * 4, n_cols * 4, n_cols * 4, in.w_size, widths[0] * bias_size,
                 widths[1] * bias_size, widths[2] * bias_size, (size_t)n_t * widths[0] * 4, n_cells * widths[1] * 4,
                 n_cells * widths[2] * 4},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n_all * in.row_bytes * n_t,
        .flops = 2.0 * n_all * n_cols * n_t,
    };
    for (int i = 0; i < 3; i++) {
        k.data[10 + i] = before[i] = check_floats(c, k.size[10 + i] / 4, -1, 1);
        slack[i] = slack_at(&m[i], rows, n_t, pages, i > 0 && !s.apart);
        k.tolerance[10 + i] = (struct check_tolerance){.rel = 1e-6f, .scale = slack[i]};
    }
    set_split(c, &k, split, n_all, n_t, form);
    check_run(
        c, &k,
        "%u/%u heads of %u, %u rotated %d, made %u, biased %u, %u columns, %u rows of x, wg %u, form %u",
        s.n_heads, s.n_kv, s.head_dim, s.n_rot, s.halves, s.made, s.biased, n_cols, n_t, split.wg, k.spec[3]);
    for (int i = 0; i < 3; i++) {
        free(before[i]);
        free(slack[i]);
        matrix_free(&m[i]);
    }
    free(table);
    input_free(&in);
}

static void qkv(struct check *c, enum lg_kernel kernel, enum lg_type type, bool int8)
{
    uint32_t block = lg_type_info(type)->block_elements;
    if (int8 && !c->dev->info.int_dot && c->dev->info.kind != LG_DEVICE_CPU)
        return;
    struct split gpu = gpu_split(c), software = software_split(c, int8);
    if (c->bench) {
        qkv_case(c, kernel, type, int8, c->dev->info.kind == LG_DEVICE_SOFTWARE ? software : gpu,
                 (struct heads){14, 2, 64, 64, true, 7, 7}, block == 256 ? 1024 : 896, 1, 0);
        return;
    }
    qkv_case(c, kernel, type, int8, gpu, (struct heads){3, 1, 10, 10, true, 7, 7}, block == 1 ? 33 : block, 2, 0);
    qkv_case(c, kernel, type, int8, gpu, (struct heads){4, 2, 6, 4, false, 7, 2},
             block == 1 ? check_int(c, 1, 300) : block * 3, 3, 0);
    qkv_case(c, kernel, type, int8, software, (struct heads){7, 1, 16, 12, true, 3, 5},
             block == 1 ? 300 : block * 5, 2, 0);
    qkv_case(c, kernel, type, int8, software, (struct heads){2, 2, 8, 8, false, 4, 4}, block == 1 ? 128 : block * 4,
             4, 0);
    qkv_case(c, kernel, type, int8, gpu, (struct heads){4, 2, 6, 4, true, 7, 2, true}, block == 1 ? 64 : block, 3, 0);
    if (!tries_all(type))
        return;
    gpu.x_rows = 4;
    qkv_case(c, kernel, type, int8, gpu, (struct heads){2, 2, 6, 4, true, 5, 2, true}, block == 1 ? 64 : block, 6, 0);
    qkv_case(c, kernel, type, int8, gpu, (struct heads){4, 2, 6, 4, true, 7, 2}, block == 1 ? 77 : block * 3, 6, 0);
    qkv_case(c, kernel, type, int8, gpu, (struct heads){2, 2, 5, 0, false, 7, 7}, block == 1 ? 127 : block * 2, 1,
             LG_FUSED_LAYER_NORM);
    qkv_case(c, kernel, type, int8, software, (struct heads){3, 3, 7, 0, false, 2, 0},
             block == 1 ? check_int(c, 1, 300) : block, 2, LG_FUSED_LAYER_NORM);
}

/* ---- projections */

static void project_case(struct check *c, enum lg_kernel kernel, enum lg_type type, bool int8, struct split split,
                         uint32_t n_rows, uint32_t n_cols, uint32_t n_t)
{
    struct input in;
    struct matrix m;
    input_init(c, &in, type, int8, n_cols, n_t, 0);
    add_matrix(c, &in, &m, n_rows, in.x);
    struct lg_project_push push = {
        .n_cols = n_cols,
        .n_rows = n_rows,
        .row_bytes = in.row_bytes,
        .bias = check_int(c, 0, 1),
    };
    float *before = check_floats(c, (size_t)n_t * n_rows, -1, 1);
    struct check_case k = {
        .kernel = kernel,
        .data = {in.w + m.at, in.x, m.bias, before},
        .size = {in.w_size - m.at, (size_t)n_t * n_cols * 4, n_rows * 4, (size_t)n_t * n_rows * 4},
        .tolerance = {[3] = {.rel = 1e-6f, .scale = m.slack}},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n_rows * in.row_bytes * n_t,
        .flops = 2.0 * n_rows * n_cols * n_t,
    };
    set_split(c, &k, split, n_rows, n_t, 0);
    check_run(c, &k, "%ux%u, %u rows of x, wg %u, bias %u", n_rows, n_cols, n_t, split.wg, push.bias);
    free(before);
    matrix_free(&m);
    input_free(&in);
}

static void project(struct check *c, enum lg_kernel kernel, enum lg_type type, bool int8)
{
    uint32_t block = lg_type_info(type)->block_elements;
    if (int8 && !c->dev->info.int_dot && c->dev->info.kind != LG_DEVICE_CPU)
        return;
    struct split gpu = gpu_split(c), software = software_split(c, int8);
    if (c->bench) {
        project_case(c, kernel, type, int8, c->dev->info.kind == LG_DEVICE_SOFTWARE ? software : gpu, 896,
                     block == 256 ? 4864 / 256 * 256 : 4864, 1);
        return;
    }
    project_case(c, kernel, type, int8, gpu, 13, block == 1 ? 33 : block, 2);
    project_case(c, kernel, type, int8, gpu, 33, block == 1 ? check_int(c, 1, 400) : block * check_int(c, 1, 9), 3);
    if (tries_all(type)) {
        gpu.x_rows = 4;
        project_case(c, kernel, type, int8, gpu, 21, block == 1 ? 77 : block * 3, 7);
    }
    project_case(c, kernel, type, int8, software, 127, block == 1 ? 127 : block * 3, 1);
    project_case(c, kernel, type, int8, software, 1, block == 1 ? 256 : block * 4, 2);
}

/* ---- feed-forward */

/* The slack of the activation's result, from those of what goes into it. */
static void activate(const struct input *in, const struct matrix *gate, struct matrix *up)
{
    for (size_t i = 0; i < (size_t)in->n_t * up->n_rows; i++) {
        if (in->form & LG_FUSED_GATED)
            up->slack[i] = 1.2f * gate->slack[i] * (fabsf(up->value[i]) + up->slack[i]) +
                           fabsf(lg_cpu_silu(gate->value[i])) * (up->slack[i] + 4e-6f * fabsf(up->value[i]));
        else if (in->form & LG_FUSED_GELU)
            up->slack[i] = 1.2f * up->slack[i] + 4e-6f * fabsf(up->value[i]);
    }
}

static void ffn_case(struct check *c, enum lg_kernel kernel, enum lg_type type, bool int8, struct split split,
                     uint32_t n_rows, uint32_t n_cols, uint32_t n_t, uint32_t form)
{
    struct input in;
    struct matrix up, gate = {0};
    bool gated = form & LG_FUSED_GATED;
    input_init(c, &in, type, int8, n_cols, n_t, form);
    in.each = check_int(c, 0, 1);
    size_t bias_size = (in.each ? n_t : 1) * n_rows * sizeof(float);
    add_matrix(c, &in, &up, n_rows, in.h);
    if (gated)
        add_matrix(c, &in, &gate, n_rows, in.h);
    struct lg_ffn_push push = {
        .n_cols = n_cols,
        .n_rows = n_rows,
        .row_bytes = in.row_bytes,
        .eps = 1e-5f,
        .gate_at = gate.at,
        .up_at = up.at,
        .gate_bias = !gated ? 0 : in.each ? 2 : 1,
        .up_bias = in.each ? 2 : 1,
    };
    activate(&in, &gate, &up);
    struct check_case k = {
        .kernel = kernel,
        .data = {in.x, in.norm, in.norm_bias, in.w, gated ? gate.bias : up.bias, up.bias},
        .size = {(size_t)n_t * n_cols * 4, n_cols * 4, n_cols * 4, in.w_size, bias_size, bias_size,
                 (size_t)n_t * n_rows * 4},
        .tolerance = {[6] = {.rel = 4e-6f, .scale = up.slack}},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n_rows * in.row_bytes * (gated ? 2 : 1) * n_t,
        .flops = 2.0 * n_rows * n_cols * (gated ? 2 : 1) * n_t,
    };
    set_split(c, &k, split, gated ? 2 * n_rows : n_rows, n_t, form);
    check_run(c, &k, "%ux%u, %u rows of x, wg %u, form %u", n_rows, n_cols, n_t, split.wg, k.spec[3]);
    matrix_free(&up);
    matrix_free(&gate);
    input_free(&in);
}

static void ffn(struct check *c, enum lg_kernel kernel, enum lg_type type, bool int8)
{
    uint32_t block = lg_type_info(type)->block_elements;
    if (int8 && !c->dev->info.int_dot && c->dev->info.kind != LG_DEVICE_CPU)
        return;
    struct split gpu = gpu_split(c), software = software_split(c, int8);
    if (c->bench) {
        ffn_case(c, kernel, type, int8, c->dev->info.kind == LG_DEVICE_SOFTWARE ? software : gpu, 4864,
                 block == 256 ? 1024 : 896, 1, LG_FUSED_GATED);
        return;
    }
    ffn_case(c, kernel, type, int8, gpu, 13, block == 1 ? 33 : block, 2, LG_FUSED_GATED);
    ffn_case(c, kernel, type, int8, software, 127, block == 1 ? 127 : block * 3, 1, LG_FUSED_GATED);
    if (!tries_all(type))
        return;
    gpu.x_rows = 4;
    ffn_case(c, kernel, type, int8, gpu, 33, block == 1 ? check_int(c, 1, 400) : block * 3, 3,
             LG_FUSED_GELU | LG_FUSED_LAYER_NORM);
    ffn_case(c, kernel, type, int8, gpu, 21, block == 1 ? 77 : block * 3, 9, LG_FUSED_GATED);
    ffn_case(c, kernel, type, int8, gpu, 70, block == 1 ? 96 : block * 2, 1, 0);
    ffn_case(c, kernel, type, int8, software, 33, block == 1 ? check_int(c, 1, 700) : block * 5, 2, LG_FUSED_GELU);
    ffn_case(c, kernel, type, int8, software, 1, block == 1 ? 256 : block * 4, 1, LG_FUSED_LAYER_NORM);
}

#define CHECK_STEPS(lower, UPPER)                                 \
    void check_qkv_##lower(struct check *c)                       \
    {                                                             \
        qkv(c, LG_K_QKV_##UPPER, LG_TYPE_##UPPER, false);         \
    }                                                             \
    void check_project_##lower(struct check *c)                   \
    {                                                             \
        project(c, LG_K_PROJECT_##UPPER, LG_TYPE_##UPPER, false); \
    }                                                             \
    void check_ffn_##lower(struct check *c)                       \
    {                                                             \
        ffn(c, LG_K_FFN_##UPPER, LG_TYPE_##UPPER, false);         \
    }
LG_WEIGHT_TYPES(CHECK_STEPS)

#define CHECK_I8_STEPS(lower, UPPER)                                \
    void check_qkv_i8_##lower(struct check *c)                      \
    {                                                               \
        qkv(c, LG_K_QKV_I8_##UPPER, LG_TYPE_##UPPER, true);         \
    }                                                               \
    void check_project_i8_##lower(struct check *c)                  \
    {                                                               \
        project(c, LG_K_PROJECT_I8_##UPPER, LG_TYPE_##UPPER, true); \
    }                                                               \
    void check_ffn_i8_##lower(struct check *c)                      \
    {                                                               \
        ffn(c, LG_K_FFN_I8_##UPPER, LG_TYPE_##UPPER, true);         \
    }
LG_BLOCK_TYPES(CHECK_I8_STEPS)
