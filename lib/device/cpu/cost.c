/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "device/cpu/cpu.h"
#include "gguf/types.h"

enum {
    TYPICAL_KEYS = 128, // of an attention whose length nobody knows yet
    EXP = 8,            // what an exponential costs
};

/* Kernels whose workgroup takes a row: its length is the first word of the push constants. */
static uint64_t row(const struct lg_dispatch *d)
{
    uint32_t n_cols;
    memcpy(&n_cols, d->push, sizeof(n_cols));
    return n_cols;
}

static uint64_t exp_row(const struct lg_dispatch *d)
{
    return EXP * row(d);
}

static uint64_t element(const struct lg_dispatch *d)
{
    return d->spec[0];
}

static uint64_t exp_element(const struct lg_dispatch *d)
{
    return EXP * (uint64_t)d->spec[0];
}

static uint64_t embed(const struct lg_dispatch *d)
{
    return 32 * (uint64_t)d->spec[0];
}

static uint64_t attention(const struct lg_dispatch *d)
{
    struct lg_attention_push push;
    memcpy(&push, d->push, sizeof(push));
    return 2 * TYPICAL_KEYS * (uint64_t)push.head_dim * (d->spec[3] ? d->spec[3] : 1);
}

static uint64_t attention_tile(const struct lg_dispatch *d)
{
    return attention(d) * d->spec[2];
}

static uint64_t matvec(const struct lg_dispatch *d)
{
    return row(d) * d->spec[0] * d->spec[1];
}

static uint64_t matmul(const struct lg_dispatch *d)
{
    return row(d) * d->spec[1] * d->spec[2];
}

/* Each row of x meets weights of its own, so it is not shared as other products are. */
static uint64_t lora_down(const struct lg_dispatch *d)
{
    struct lg_lora_push push;
    memcpy(&push, d->push, sizeof(push));
    return (uint64_t)push.n_cols * d->spec[0] * d->spec[1];
}

static uint64_t lora_up(const struct lg_dispatch *d)
{
    struct lg_lora_push push;
    memcpy(&push, d->push, sizeof(push));
    uint64_t n_cols = 0;
    for (uint32_t m = push.first; m < push.first + push.n; m++)
        n_cols = push.n_rows[m] > n_cols ? push.n_rows[m] : n_cols;
    return (n_cols < 4 * d->spec[0] ? n_cols : 4 * (uint64_t)d->spec[0]) * push.t_stride;
}

static uint64_t read_sum(const struct lg_dispatch *d)
{
    return row(d) / (d->grid[0] ? d->grid[0] : 1);
}

/* For the columns that a workgroup takes, a number of each row. */
static uint64_t columns(const struct lg_dispatch *d)
{
    return TYPICAL_KEYS * (uint64_t)d->spec[0];
}

static uint64_t matmul_back(const struct lg_dispatch *d)
{
    struct lg_matmul_back_push push;
    memcpy(&push, d->push, sizeof(push));
    return (uint64_t)push.n_rows * d->spec[1] * d->spec[2];
}

static uint64_t weight_back(const struct lg_dispatch *d)
{
    return TYPICAL_KEYS * (uint64_t)d->spec[1] * d->spec[2];
}

static uint64_t attention_train(const struct lg_dispatch *d)
{
    struct lg_attention_train_push push;
    memcpy(&push, d->push, sizeof(push));
    return 4 * TYPICAL_KEYS * (uint64_t)push.head_dim * d->spec[2] * d->spec[3];
}

static uint64_t attention_back_kv(const struct lg_dispatch *d)
{
    struct lg_attention_train_push push;
    memcpy(&push, d->push, sizeof(push));
    return 8 * TYPICAL_KEYS * (uint64_t)push.head_dim * d->spec[2] * (push.n_heads / push.n_kv);
}

/* The second word of the push constants: elements of a workgroup. */
static uint64_t optimizer(const struct lg_dispatch *d)
{
    struct lg_sum_squares_push push;
    memcpy(&push, d->push, sizeof(push));
    return 4 * (uint64_t)push.per_group;
}

typedef uint64_t cost_fn(const struct lg_dispatch *d);

static cost_fn *const costs[LG_K_COUNT] = {[LG_K_PLAN] = row,
                                           [LG_K_RMS_NORM] = row,
                                           [LG_K_LAYER_NORM] = row,
                                           [LG_K_ROPE] = element,
                                           [LG_K_KV_WRITE] = element,
                                           [LG_K_ATTENTION] = attention,
                                           [LG_K_ATTENTION_TILE] = attention_tile,
                                           [LG_K_ATTENTION_SPLIT] = attention,
                                           [LG_K_SILU_MUL] = exp_element,
                                           [LG_K_GELU] = exp_element,
                                           [LG_K_ADD] = element,
                                           [LG_K_LORA_DOWN] = lora_down,
                                           [LG_K_LORA_UP] = lora_up,
                                           [LG_K_COPY] = element,
                                           [LG_K_ZERO] = element,
                                           [LG_K_QUANTIZE] = row,
                                           [LG_K_HALVE] = row,
                                           [LG_K_SOFTMAX] = exp_row,
                                           [LG_K_ARGMAX] = row,
                                           [LG_K_LOG_PROB] = exp_row,
                                           [LG_K_CANDIDATES] = exp_row,
                                           [LG_K_PENALTIES] = row,
                                           [LG_K_READ_SUM] = read_sum,
                                           [LG_K_SAMPLE] = exp_row,
                                           [LG_K_WEIGHT_BACK] = weight_back,
                                           [LG_K_BIAS_BACK] = columns,
                                           [LG_K_SCALE_ADD] = element,
                                           [LG_K_RMS_NORM_BACK] = row,
                                           [LG_K_RMS_NORM_WEIGHT_BACK] = columns,
                                           [LG_K_LAYER_NORM_BACK] = row,
                                           [LG_K_LAYER_NORM_WEIGHT_BACK] = columns,
                                           [LG_K_ROPE_BACK] = element,
                                           [LG_K_SILU_MUL_BACK] = exp_element,
                                           [LG_K_GELU_BACK] = exp_element,
                                           [LG_K_ATTENTION_TRAIN] = attention_train,
                                           [LG_K_ATTENTION_BACK_Q] = attention_train,
                                           [LG_K_ATTENTION_BACK_KV] = attention_back_kv,
                                           [LG_K_LOSS_PART] = exp_row,
                                           [LG_K_LOSS_BACK] = exp_element,
                                           [LG_K_EMBED_BACK] = element,
                                           [LG_K_DROPOUT] = exp_element,
                                           [LG_K_SUM_SQUARES] = optimizer,
                                           [LG_K_ADAMW] = optimizer,
                                           [LG_K_ADAMW8] = optimizer,
                                           [LG_K_SGD] = optimizer,
#define TYPED(lower, UPPER) \
    [LG_K_MATMUL_BACK_##UPPER] = matmul_back, \
    [LG_K_EMBED_##UPPER] = embed, [LG_K_MATVEC_##UPPER] = matvec, [LG_K_MATMUL_##UPPER] = matmul, \
    [LG_K_QKV_##UPPER] = matvec, [LG_K_PROJECT_##UPPER] = matvec, [LG_K_FFN_##UPPER] = matvec,
                                           LG_WEIGHT_TYPES(TYPED)
#undef TYPED
#define TYPED(lower, UPPER) [LG_K_MATVEC_I8_##UPPER] = matvec, [LG_K_MATMUL_I8_##UPPER] = matmul,
                                           LG_BLOCK_TYPES(TYPED)
#undef TYPED
#define TYPED(lower, UPPER) [LG_K_MATMUL_COOP_##UPPER] = matmul,
                                           LG_HALF_TYPES(TYPED)
#undef TYPED
};

bool lg_cpu_is_shared(enum lg_kernel kernel)
{
    return costs[kernel] == matvec;
}

uint64_t lg_cpu_cost(const struct lg_dispatch *dispatch)
{
    uint64_t cost = costs[dispatch->kernel] ? costs[dispatch->kernel](dispatch) : 0;
    return cost ? cost : 1;
}
