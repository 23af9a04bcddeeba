/* SPDX-License-Identifier: MIT */
#include "graph/work.h"

#include <string.h>

#include "util/checked.h"

/* ---- bytes: what a view holds of the pass's rows */

enum role {
    ROLE_WHOLE,  // weights, and what else is read or written from end to end
    ROLE_ROWS,   // activations
    ROLE_CACHE,  // keys or values of a layer
    ROLE_RECORD, // what the host writes for a pass, a few words of which are read
};

static enum role role_of(const struct lg_work_frame *f, const struct lg_buffer *buf)
{
    const struct lg_batch *b = f->batch;
    const struct lg_buffer *const records[] = {b->dims,    b->rows,   b->out_ids, b->pages, b->samplers, b->history,
                                               b->biases, b->masks, b->ring, b->loras, b->targets, b->rope};
    if (buf == f->acts || buf == f->results)
        return ROLE_ROWS;
    for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++)
        if (buf == records[i])
            return ROLE_RECORD;
    for (uint32_t i = 0; i < f->n_layers; i++)
        if (buf == b->k_cache[i] || buf == b->v_cache[i])
            return ROLE_CACHE;
    return ROLE_WHOLE;
}

/** A kernel that writes to a cache writes its rows' tokens; one that reads it reads all tokens up to them. */
static uint64_t cache_tokens(const struct lg_work_frame *f, uint8_t access, uint32_t n_rows)
{
    uint64_t tokens = access & LG_WRITE ? n_rows : (uint64_t)f->pos + n_rows;
    return tokens < f->cache_tokens ? tokens : f->cache_tokens;
}

static uint64_t view_bytes(const struct lg_work_frame *f, const struct lg_view *v, uint8_t access,
                           uint32_t n_rows)
{
    uint64_t times = access == (LG_READ | LG_WRITE) ? 2 : 1;
    switch (role_of(f, v->buf)) {
    case ROLE_ROWS: return times * (v->size / lg_max_u32(1, f->max_rows) * n_rows);
    case ROLE_CACHE:
        return v->size / (f->cache_tokens ? f->cache_tokens : 1) * cache_tokens(f, access, n_rows);
    case ROLE_RECORD: return 0;
    case ROLE_WHOLE: return times * v->size;
    }
    return 0;
}

static uint64_t bytes_of_views(const struct lg_work_frame *f, const struct lg_dispatch *d, uint32_t n_rows)
{
    const struct lg_kernel_info *info = &lg_kernel_infos[d->kernel];
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < info->n_views; i++)
        bytes += view_bytes(f, &d->views[i], info->access[i], n_rows);
    return bytes;
}

/* ---- kernels */

#define READ_PUSH(type, name, dispatch) \
    struct type name;                   \
    memcpy(&name, (dispatch)->push, sizeof(name))

/** A row of the table for each row of the batch, though the view is of all. */
static uint64_t embed_bytes(const struct lg_work_frame *f, const struct lg_dispatch *d, uint32_t n_rows)
{
    (void)f;
    READ_PUSH(lg_embed_push, push, d);
    return (uint64_t)n_rows * (push.row_bytes + push.n_cols * (uint64_t)sizeof(float));
}

/** A few words here and there, however long the row is. */
static uint64_t no_bytes(const struct lg_work_frame *f, const struct lg_dispatch *d, uint32_t n_rows)
{
    (void)f;
    (void)d;
    (void)n_rows;
    return 0;
}

static uint64_t matmul_flops(const struct lg_work_frame *f, const struct lg_dispatch *d, uint32_t n_rows)
{
    (void)f;
    READ_PUSH(lg_matmul_push, push, d);
    return 2 * (uint64_t)push.n_cols * push.n_rows * n_rows;
}

static uint64_t lora_down_flops(const struct lg_work_frame *f, const struct lg_dispatch *d, uint32_t n_rows)
{
    (void)f;
    READ_PUSH(lg_lora_push, push, d);
    return 2 * (uint64_t)push.n_cols * push.n * push.t_stride * n_rows;
}

static uint64_t lora_up_flops(const struct lg_work_frame *f, const struct lg_dispatch *d, uint32_t n_rows)
{
    (void)f;
    READ_PUSH(lg_lora_push, push, d);
    uint64_t n_cols = 0;
    for (uint32_t m = push.first; m < push.first + push.n; m++)
        n_cols += push.n_rows[m];
    return 2 * n_cols * push.t_stride * n_rows;
}

/** Three for each rotated element: two products and a sum. */
static uint64_t rope_flops(const struct lg_work_frame *f, const struct lg_dispatch *d, uint32_t n_rows)
{
    (void)f;
    READ_PUSH(lg_rope_push, push, d);
    return 3 * (uint64_t)push.n_heads * push.n_rot * n_rows;
}

static uint64_t qkv_flops(const struct lg_work_frame *f, const struct lg_dispatch *d, uint32_t n_rows)
{
    (void)f;
    READ_PUSH(lg_qkv_push, push, d);
    uint64_t all = (uint64_t)push.n_rows[0] + push.n_rows[1] + push.n_rows[2];
    return 2 * push.n_cols * all * n_rows;
}

static uint64_t project_flops(const struct lg_work_frame *f, const struct lg_dispatch *d, uint32_t n_rows)
{
    (void)f;
    READ_PUSH(lg_project_push, push, d);
    return 2 * (uint64_t)push.n_cols * push.n_rows * n_rows;
}

static uint64_t ffn_flops(const struct lg_work_frame *f, const struct lg_dispatch *d, uint32_t n_rows)
{
    (void)f;
    READ_PUSH(lg_ffn_push, push, d);
    return (d->spec[3] & LG_FUSED_GATED ? 4 : 2) * (uint64_t)push.n_cols * push.n_rows * n_rows;
}

/** Row r has pos + r + 1 keys; with each, a product of D with the key and one with the value. */
static uint64_t attention_flops(const struct lg_work_frame *f, const struct lg_dispatch *d, uint32_t n_rows)
{
    READ_PUSH(lg_attention_push, push, d);
    uint64_t keys = (uint64_t)n_rows * f->pos + (uint64_t)n_rows * (n_rows + 1) / 2;
    return 4 * (uint64_t)push.n_heads * push.head_dim * keys;
}

/** Queries and results of its rows, and the caches; what the parts of a split row leave for each other is not
 * needed. */
static uint64_t attention_bytes(const struct lg_work_frame *f, const struct lg_dispatch *d, uint32_t n_rows)
{
    READ_PUSH(lg_attention_push, push, d);
    uint64_t bytes = 2 * (uint64_t)n_rows * push.n_heads * push.head_dim * sizeof(float);
    for (uint32_t i = 0; i < lg_kernel_infos[d->kernel].n_views; i++)
        if (role_of(f, d->views[i].buf) == ROLE_CACHE)
            bytes += view_bytes(f, &d->views[i], LG_READ, n_rows);
    return bytes;
}

static uint64_t matmul_back_flops(const struct lg_work_frame *f, const struct lg_dispatch *d, uint32_t n_rows)
{
    (void)f;
    READ_PUSH(lg_matmul_back_push, push, d);
    return 2 * (uint64_t)push.n_cols * push.n_rows * n_rows;
}

static uint64_t weight_back_flops(const struct lg_work_frame *f, const struct lg_dispatch *d, uint32_t n_rows)
{
    (void)f;
    READ_PUSH(lg_weight_back_push, push, d);
    return 2 * (uint64_t)push.n_cols * push.n_rows * n_rows;
}

/** With each key a row sees, a product of D for each sum over it; as of one sample. */
static uint64_t products_of_keys(const struct lg_dispatch *d, uint32_t n_rows, uint64_t sums)
{
    READ_PUSH(lg_attention_train_push, push, d);
    return sums * push.n_heads * push.head_dim * ((uint64_t)n_rows * (n_rows + 1));
}

static uint64_t attention_train_flops(const struct lg_work_frame *f, const struct lg_dispatch *d, uint32_t n_rows)
{
    (void)f;
    return products_of_keys(d, n_rows, 2);
}

static uint64_t attention_back_q_flops(const struct lg_work_frame *f, const struct lg_dispatch *d, uint32_t n_rows)
{
    (void)f;
    return products_of_keys(d, n_rows, 3);
}

static uint64_t attention_back_kv_flops(const struct lg_work_frame *f, const struct lg_dispatch *d, uint32_t n_rows)
{
    (void)f;
    return products_of_keys(d, n_rows, 4);
}

typedef uint64_t work_fn(const struct lg_work_frame *f, const struct lg_dispatch *d, uint32_t n_rows);

// clang-format off

/** Each an alternative; `each` is for kernels whose push constants begin with the elements of a row. */
static const struct rule {
    uint32_t each; // operations of an element
    work_fn *flops;
    work_fn *bytes; // NULL: those of the views
} rules[LG_K_COUNT] = {
    [LG_K_RMS_NORM] = {.each = 4},
    [LG_K_LAYER_NORM] = {.each = 8},
    [LG_K_ROPE] = {.flops = rope_flops},
    [LG_K_RMS_NORM_BACK] = {.each = 9},
    [LG_K_LAYER_NORM_BACK] = {.each = 14},
    [LG_K_RMS_NORM_WEIGHT_BACK] = {.each = 4},
    [LG_K_LAYER_NORM_WEIGHT_BACK] = {.each = 5},
    [LG_K_ROPE_BACK] = {.flops = rope_flops},
    [LG_K_SILU_MUL_BACK] = {.each = 9},
    [LG_K_GELU_BACK] = {.each = 15},
    [LG_K_ATTENTION_TRAIN] = {.flops = attention_train_flops},
    [LG_K_ATTENTION_BACK_Q] = {.flops = attention_back_q_flops},
    [LG_K_ATTENTION_BACK_KV] = {.flops = attention_back_kv_flops},
    [LG_K_WEIGHT_BACK] = {.flops = weight_back_flops},
    [LG_K_BIAS_BACK] = {.each = 1},
    [LG_K_SCALE_ADD] = {.each = 2},
    [LG_K_LOSS_PART] = {.each = 3},
    [LG_K_LOSS_BACK] = {.each = 3},
    [LG_K_EMBED_BACK] = {.each = 1},
    [LG_K_DROPOUT] = {.each = 1},
    [LG_K_ATTENTION] = {.flops = attention_flops, .bytes = attention_bytes},
    [LG_K_ATTENTION_TILE] = {.flops = attention_flops, .bytes = attention_bytes},
    [LG_K_ATTENTION_SPLIT] = {.flops = attention_flops, .bytes = attention_bytes},
    [LG_K_SILU_MUL] = {.each = 5},
    [LG_K_GELU] = {.each = 8},
    [LG_K_ADD] = {.each = 1},
    [LG_K_QUANTIZE] = {.each = 3},
    [LG_K_HALVE] = {.each = 2},
    [LG_K_LORA_DOWN] = {.flops = lora_down_flops},
    [LG_K_LORA_UP] = {.flops = lora_up_flops},
    [LG_K_PENALTIES] = {.bytes = no_bytes},
    [LG_K_SAMPLE] = {.bytes = no_bytes}, // of a greedy sampler
    [LG_K_NEXT_ROWS] = {.bytes = no_bytes},
#define TYPED(lower, UPPER)                          \
    [LG_K_EMBED_##UPPER] = {.bytes = embed_bytes},   \
    [LG_K_MATVEC_##UPPER] = {.flops = matmul_flops}, \
    [LG_K_MATMUL_##UPPER] = {.flops = matmul_flops}, \
    [LG_K_MATMUL_BACK_##UPPER] = {.flops = matmul_back_flops}, \
    [LG_K_QKV_##UPPER] = {.flops = qkv_flops},       \
    [LG_K_PROJECT_##UPPER] = {.flops = project_flops}, \
    [LG_K_FFN_##UPPER] = {.flops = ffn_flops},
    LG_WEIGHT_TYPES(TYPED)
#undef TYPED
#define INT8(lower, UPPER)                                \
    [LG_K_MATVEC_I8_##UPPER] = {.flops = matmul_flops},   \
    [LG_K_MATMUL_I8_##UPPER] = {.flops = matmul_flops},   \
    [LG_K_QKV_I8_##UPPER] = {.flops = qkv_flops},         \
    [LG_K_PROJECT_I8_##UPPER] = {.flops = project_flops}, \
    [LG_K_FFN_I8_##UPPER] = {.flops = ffn_flops},
    LG_BLOCK_TYPES(INT8)
#undef INT8
#define HALF(lower, UPPER)                                \
    [LG_K_MATMUL_HALF_##UPPER] = {.flops = matmul_flops}, \
    [LG_K_MATMUL_COOP_##UPPER] = {.flops = matmul_flops},
    LG_HALF_TYPES(HALF)
#undef HALF
};

// clang-format on

struct lg_work lg_work_of(const struct lg_work_frame *f, const struct lg_dispatch *d, uint32_t dim)
{
    const struct rule *rule = &rules[d->kernel];
    uint32_t n_rows = f->dims[dim == LG_DIM_NONE ? LG_DIM_ROWS : dim], n_cols = 0;
    if (n_rows == 0)
        return (struct lg_work){0};
    struct lg_work work = {.bytes = (rule->bytes ? rule->bytes : bytes_of_views)(f, d, n_rows)};
    if (rule->each)
        memcpy(&n_cols, d->push, sizeof(n_cols));
    work.flops = rule->flops ? rule->flops(f, d, n_rows) : (uint64_t)rule->each * n_cols * n_rows;
    return work;
}
