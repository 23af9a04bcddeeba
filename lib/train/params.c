/* SPDX-License-Identifier: MIT */
#include "train/params.h"

#include <math.h>
#include <stdio.h>

#include "gguf/quants.h"
#include "model/lora_parts.h"
#include "random.h"
#include "util/checked.h"

enum {
    ALIGN = 64,     // numbers
    PIECE = 1 << 18, // numbers that are copied at once
};

/* ---- the list ------------------------------------------------------------------------------------------------- */

static int add_tensor(struct lg_train_params *p, uint64_t rows, uint64_t cols, struct lg_train_tensor **out)
{
    uint64_t n, end;
    if (rows > UINT32_MAX || cols > UINT32_MAX || !lg_mul_u64(rows, cols, &n) || !lg_align_u64(n, ALIGN, &end) ||
        !lg_add_u64(p->n, end, &end) || end > UINT64_MAX / sizeof(float))
        return lg_fail(p->env, LLMGPU_E_NOMEM, "what is trained is too large");
    if (p->n_tensors == p->cap_tensors) {
        uint32_t cap = p->cap_tensors ? 2 * p->cap_tensors : 64;
        struct lg_train_tensor *tensors = lg_resize(p->env, p->tensors, cap * sizeof(*tensors));
        if (!tensors)
            return lg_fail_nomem(p->env, "the list of what is trained", cap * sizeof(*tensors));
        p->tensors = tensors;
        p->cap_tensors = cap;
    }
    struct lg_train_tensor *t = &p->tensors[p->n_tensors++];
    *t = (struct lg_train_tensor){.rows = (uint32_t)rows, .cols = (uint32_t)cols, .at = p->n};
    p->n = end;
    p->n_params += n;
    *out = t;
    return 0;
}

/** Rows [first, first + rows) of a tensor as a weight. Kernels read 16 bytes at a time, and what is between tensors is theirs. */
static int weight_of(const struct lg_train_params *p, const struct lg_train_tensor *t, uint32_t first, uint32_t rows,
                     struct lg_weight *out)
{
    uint64_t begin = (t->at + (uint64_t)first * t->cols) * sizeof(float);
    uint64_t bytes = (uint64_t)rows * t->cols * sizeof(float);
    if (begin % lg_max_u32(16, p->model->dev->info.view_align))
        return lg_fail(p->env, LLMGPU_E_UNSUPPORTED, "tensor '%s': device '%s' binds nothing at its row %u", t->name,
                       p->model->dev->info.id, first);
    *out = (struct lg_weight){
        .view = {.offset = begin, .size = (bytes + 15) / 16 * 16},
        .type = LG_TYPE_F32,
        .rows = rows,
        .cols = t->cols,
        .row_bytes = t->cols * (uint32_t)sizeof(float),
    };
    return 0;
}

/* ---- adapters ---------------------------------------------------------------------------------------------------- */

/** Whether a layer has what a name stands for. */
static bool has(const struct lg_model *model, uint32_t layer, const struct lg_lora_name *name)
{
    const struct lg_weight *w = lg_layer_target(&model->w.layers[layer], name->first);
    return w->view.buf && (name->first > LG_TARGET_V || name->fused == model->fused_qkv);
}

static int add_pair(struct lg_train_params *p, uint32_t layer, const struct lg_lora_name *name, uint32_t rank, float scale)
{
    const struct lg_layer *l = &p->model->w.layers[layer];
    struct lg_train_tensor *a, *b;
    struct lg_train_pair *pairs = &p->pairs[(size_t)layer * LG_N_TARGETS];
    uint32_t rows = 0;
    for (uint32_t i = 0; i < name->n; i++)
        rows += lg_layer_target(l, name->first + i)->rows;
    LG_TRY(add_tensor(p, rank, lg_layer_target(l, name->first)->cols, &a));
    snprintf(a->name, sizeof(a->name), "blk.%u.%s.weight.lora_a", layer, name->gguf);
    LG_TRY(add_tensor(p, rows, rank, &b));
    snprintf(b->name, sizeof(b->name), "blk.%u.%s.weight.lora_b", layer, name->gguf);
    a = b - 1; // the list may have moved
    uint32_t first = 0;
    for (uint32_t i = 0; i < name->n; i++) {
        struct lg_train_pair *pair = &pairs[name->first + i];
        uint32_t n = lg_layer_target(l, name->first + i)->rows;
        LG_TRY(weight_of(p, a, 0, rank, &pair->a));
        LG_TRY(weight_of(p, b, first, n, &pair->b));
        pair->scale = scale;
        first += n;
    }
    p->rank = lg_max_u32(p->rank, rank);
    return 0;
}

static int begin_adapter(struct lg_train_params *p, struct lg_env *env, const struct lg_model *model)
{
    *p = (struct lg_train_params){.env = env, .model = model};
    p->pairs = lg_alloc_array(env, (size_t)model->hp.n_layers * LG_N_TARGETS, sizeof(*p->pairs));
    return p->pairs ? 0 : lg_fail_nomem(env, "an adapter's pairs", model->hp.n_layers * LG_N_TARGETS * sizeof(*p->pairs));
}

static int end_adapter(struct lg_train_params *p)
{
    return p->n_tensors ? 0 : lg_fail(p->env, LLMGPU_E_INVALID, "the model has none of the matrices that are to be trained");
}

int lg_train_params_adapter(struct lg_train_params *p, struct lg_env *env, const struct lg_model *model,
                            const struct lg_train_shape *shape)
{
    LG_TRY(begin_adapter(p, env, model));
    for (uint32_t i = 0; i < model->hp.n_layers; i++) {
        for (uint32_t k = 0; k < LG_N_LORA_NAMES; k++) {
            const struct lg_lora_name *name = &lg_lora_names[k];
            uint32_t meant = ((1u << name->n) - 1) << name->first;
            if ((shape->targets & meant) && has(model, i, name))
                LG_TRY(add_pair(p, i, name, shape->rank, shape->scale));
        }
    }
    return end_adapter(p);
}

/** A layer's numbers of an adapter, as lg_lora_write() leaves them. */
struct written {
    uint8_t *numbers;
    struct lg_lora_pair pairs[LG_N_TARGETS];
};

static int write_layer(struct lg_train_params *p, const struct lg_lora *lora, uint32_t layer, struct written *out)
{
    uint64_t size = lora->layer_bytes + 16;
    out->numbers = lg_alloc(p->env, size);
    if (!out->numbers)
        return lg_fail_nomem(p->env, "an adapter's numbers", size);
    lg_lora_write(lora, layer, out->numbers, 0, out->pairs);
    return 0;
}

int lg_train_params_like(struct lg_train_params *p, struct lg_env *env, const struct lg_model *model, const struct lg_lora *lora)
{
    LG_TRY(begin_adapter(p, env, model));
    for (uint32_t i = 0; i < model->hp.n_layers; i++) {
        struct written w;
        LG_TRY(write_layer(p, lora, i, &w));
        int rc = 0;
        for (uint32_t k = 0; k < LG_N_LORA_NAMES && rc == 0; k++) {
            const struct lg_lora_name *name = &lg_lora_names[k];
            const struct lg_lora_pair *pair = &w.pairs[name->first];
            if (pair->rank && has(model, i, name))
                rc = add_pair(p, i, name, pair->rank, pair->factor);
        }
        lg_free(env, w.numbers);
        LG_TRY(rc);
    }
    return end_adapter(p);
}

int lg_train_params_alpha(const struct lg_train_params *p, struct lg_env *env, float *out)
{
    bool ones = true, same = true;
    float alpha = 0;
    for (size_t i = 0; i < (size_t)p->model->hp.n_layers * LG_N_TARGETS; i++) {
        const struct lg_train_pair *pair = &p->pairs[i];
        if (pair->a.rows == 0)
            continue;
        float own = pair->scale * (float)pair->a.rows;
        same = same && (alpha == 0 || fabsf(own - alpha) <= 1e-6f * fabsf(alpha));
        ones = ones && pair->scale == 1;
        alpha = alpha == 0 ? own : alpha;
    }
    if (!same && !ones)
        return lg_fail(env, LLMGPU_E_UNSUPPORTED, "a file has one alpha, and the factors of this adapter's pairs need several");
    *out = same ? alpha : 0;
    return 0;
}

/* ---- all weights --------------------------------------------------------------------------------------------------- */

static int take(void *user, const struct lg_gguf_tensor *t, uint32_t first, uint32_t rows, uint32_t cols,
                struct lg_weight *out)
{
    struct lg_train_params *p = user;
    struct lg_train_tensor *own = NULL;
    for (uint32_t i = p->n_tensors; i-- > 0 && !own;)
        if (p->tensors[i].from == t)
            own = &p->tensors[i];
    if (t->type != LG_TYPE_F32 && t->type != LG_TYPE_F16 && t->type != LG_TYPE_BF16)
        return lg_fail(p->env, LLMGPU_E_UNSUPPORTED, "tensor '%.*s' is %s: only F32, F16 and BF16 can be trained",
                       (int)t->name.len, t->name.ptr, lg_type_info(t->type)->name);
    if (!own) {
        LG_TRY(add_tensor(p, t->dims[1], t->dims[0], &own));
        snprintf(own->name, sizeof(own->name), "%.*s", (int)t->name.len, t->name.ptr);
        own->from = t;
    }
    if (cols > 0)
        return weight_of(p, own, first, rows, out);
    LG_TRY(weight_of(p, own, 0, 1, out));
    out->cols = rows;
    out->row_bytes = rows * (uint32_t)sizeof(float);
    out->view.offset += (uint64_t)first * sizeof(float);
    out->view.size = (uint64_t)rows * sizeof(float);
    if (out->view.offset % lg_max_u32(16, p->model->dev->info.view_align))
        return lg_fail(p->env, LLMGPU_E_UNSUPPORTED, "tensor '%s': device '%s' binds nothing at its number %u", own->name,
                       p->model->dev->info.id, first);
    return 0;
}

int lg_train_params_whole(struct lg_train_params *p, struct lg_env *env, const struct lg_model *model)
{
    *p = (struct lg_train_params){.env = env, .model = model};
    p->taker = (struct lg_weight_taker){.take = take, .user = p};
    return lg_model_rebind(model, env, &p->taker, &p->whole);
}

/* ---- places, first numbers ------------------------------------------------------------------------------------------ */

static void place_weight(struct lg_weight *w, struct lg_buffer *buf)
{
    if (w->rows)
        w->view.buf = buf;
}

static void place_layer(struct lg_layer *l, struct lg_buffer *buf)
{
    struct lg_weight *all[] = {&l->attn_norm, &l->attn_norm_b, &l->wq, &l->wk, &l->wv,   &l->bq,
                               &l->bk,        &l->bv,          &l->wo, &l->bo, &l->ffn_norm, &l->ffn_norm_b,
                               &l->gate,      &l->gate_b,      &l->up, &l->up_b, &l->down, &l->down_b};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        place_weight(all[i], buf);
}

void lg_train_params_place(struct lg_train_params *p, struct lg_buffer *buf)
{
    struct lg_weights *w = &p->whole.w;
    p->buf = buf;
    for (size_t i = 0; p->pairs && i < (size_t)p->model->hp.n_layers * LG_N_TARGETS; i++) {
        place_weight(&p->pairs[i].a, buf);
        place_weight(&p->pairs[i].b, buf);
    }
    if (p->pairs)
        return;
    struct lg_weight *rest[] = {&w->tok_embd, &w->pos_embd, &w->out_norm, &w->out_norm_b, &w->output};
    for (size_t i = 0; i < sizeof(rest) / sizeof(rest[0]); i++)
        place_weight(rest[i], buf);
    for (uint32_t i = 0; i < p->model->hp.n_layers; i++)
        place_layer(&w->layers[i], buf);
}

static int upload(struct lg_train_params *p, uint64_t at, const float *values, uint64_t n)
{
    struct lg_view to = {.buf = p->buf, .offset = at * sizeof(float), .size = n * sizeof(float)};
    return lg_upload(p->model->dev, to, values);
}

/** Uniform between -1 / sqrt(cols) and that, as PEFT begins. */
static void fill_at_random(float *values, uint64_t first, uint64_t n, uint32_t tensor, uint32_t cols, uint64_t seed)
{
    float bound = 1.0f / sqrtf((float)cols);
    uint32_t own = lg_random_draw((uint32_t)seed, (uint32_t)(seed >> 32), tensor);
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits = lg_random_mix(own + (uint32_t)(first + i)) >> 8;
        values[i] = bound * ((float)bits / 8388608.0f - 1.0f);
    }
}

/** Numbers of a tensor of the model's file. */
static int fetch(struct lg_train_params *p, const struct lg_gguf_tensor *t, uint64_t first, uint64_t n, float *values)
{
    uint64_t bytes = lg_type_info(t->type)->block_bytes;
    uint8_t *raw = lg_alloc(p->env, n * bytes);
    if (!raw)
        return lg_fail_nomem(p->env, "a piece of a weight", n * bytes);
    int rc = 0;
    if (t->data)
        memcpy(raw, t->data + first * bytes, n * bytes);
    else
        rc = lg_gguf_fetch(p->model->gguf, p->env, t->offset + first * bytes, n * bytes, raw);
    if (rc == 0)
        lg_dequantize(t->type, raw, values, n);
    lg_free(p->env, raw);
    return rc;
}

static bool is_a(const struct lg_train_tensor *t)
{
    return t->name[strlen(t->name) - 1] == 'a';
}

static int begin_tensor(struct lg_train_params *p, uint32_t index, float *values, uint64_t seed)
{
    const struct lg_train_tensor *t = &p->tensors[index];
    uint64_t all = (uint64_t)t->rows * t->cols;
    for (uint64_t first = 0; first < all; first += PIECE) {
        uint64_t n = lg_min_u64(PIECE, all - first);
        if (t->from)
            LG_TRY(fetch(p, t->from, first, n, values));
        else if (is_a(t))
            fill_at_random(values, first, n, index, t->cols, seed);
        else
            memset(values, 0, n * sizeof(*values));
        LG_TRY(upload(p, t->at + first, values, n));
    }
    return 0;
}

static float half_or_float(const uint8_t *numbers, bool half, uint64_t i)
{
    float value;
    if (half)
        lg_dequantize(LG_TYPE_F16, numbers + 2 * i, &value, 1);
    else
        memcpy(&value, numbers + 4 * i, sizeof(value));
    return value;
}

/** Rows of what lg_lora_write() left: A as it is, or B, which is there by columns. */
static int begin_half(struct lg_train_params *p, const struct lg_weight *to, const uint8_t *numbers, bool half, bool turned)
{
    uint64_t n = (uint64_t)to->rows * to->cols, stride = lg_div_up(turned ? to->rows : to->cols, 4) * 4;
    float *values = lg_alloc_array(p->env, n, sizeof(*values));
    if (!values)
        return lg_fail_nomem(p->env, "half of a pair", n * sizeof(*values));
    for (uint64_t i = 0; i < n; i++) {
        uint64_t row = i / to->cols, col = i % to->cols;
        values[i] = half_or_float(numbers, half, turned ? col * stride + row : row * stride + col);
    }
    int rc = upload(p, to->view.offset / sizeof(float), values, n);
    lg_free(p->env, values);
    return rc;
}

static int begin_layer(struct lg_train_params *p, const struct lg_lora *lora, uint32_t layer)
{
    struct written w;
    LG_TRY(write_layer(p, lora, layer, &w));
    int rc = 0;
    for (uint32_t k = 0; k < LG_N_TARGETS && rc == 0; k++) {
        const struct lg_train_pair *pair = &p->pairs[(size_t)layer * LG_N_TARGETS + k];
        const struct lg_lora_pair *from = &w.pairs[k];
        if (!pair->a.rows)
            continue;
        rc = begin_half(p, &pair->a, w.numbers + 8 * (uint64_t)from->a_at, from->half_size, false);
        if (rc == 0)
            rc = begin_half(p, &pair->b, w.numbers + 8 * (uint64_t)from->b_at, from->half_size, true);
    }
    lg_free(p->env, w.numbers);
    return rc;
}

int lg_train_params_begin(struct lg_train_params *p, const struct lg_lora *lora, uint64_t seed)
{
    int rc = 0;
    for (uint32_t i = 0; lora && i < p->model->hp.n_layers; i++)
        LG_TRY(begin_layer(p, lora, i));
    float *values = lora ? NULL : lg_alloc_array(p->env, PIECE, sizeof(*values));
    if (!lora && !values)
        return lg_fail_nomem(p->env, "first numbers", PIECE * sizeof(*values));
    for (uint32_t i = 0; !lora && i < p->n_tensors && rc == 0; i++)
        rc = begin_tensor(p, i, values, seed);
    lg_free(p->env, values);
    return rc < 0 ? rc : lg_device_flush(p->model->dev);
}

void lg_train_params_finish(struct lg_train_params *p)
{
    if (!p->env)
        return;
    lg_free(p->env, p->tensors);
    lg_free(p->env, p->pairs);
    lg_free(p->env, p->whole.w.layers);
    memset(p, 0, sizeof(*p));
}
