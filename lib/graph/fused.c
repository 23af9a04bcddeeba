/* SPDX-License-Identifier: MIT */
#include "graph/fused.h"

#include "graph/matmul.h"
#include "util/checked.h"

#define QKV(lower, UPPER) [LG_TYPE_##UPPER] = LG_K_QKV_##UPPER,
#define PROJECT(lower, UPPER) [LG_TYPE_##UPPER] = LG_K_PROJECT_##UPPER,
#define FFN(lower, UPPER) [LG_TYPE_##UPPER] = LG_K_FFN_##UPPER,
#define QKV_I8(lower, UPPER) [LG_TYPE_##UPPER] = LG_K_QKV_I8_##UPPER,
#define PROJECT_I8(lower, UPPER) [LG_TYPE_##UPPER] = LG_K_PROJECT_I8_##UPPER,
#define FFN_I8(lower, UPPER) [LG_TYPE_##UPPER] = LG_K_FFN_I8_##UPPER,
enum step { QKV_STEP, PROJECT_STEP, FFN_STEP };
enum { N_TYPES = LG_TYPE_BF16 + 1 };
static const enum lg_kernel float_kernels[][N_TYPES] = {
    [QKV_STEP] = {LG_WEIGHT_TYPES(QKV)},
    [PROJECT_STEP] = {LG_WEIGHT_TYPES(PROJECT)},
    [FFN_STEP] = {LG_WEIGHT_TYPES(FFN)},
};
static const enum lg_kernel i8_kernels[][N_TYPES] = {
    [QKV_STEP] = {LG_BLOCK_TYPES(QKV_I8)},
    [PROJECT_STEP] = {LG_BLOCK_TYPES(PROJECT_I8)},
    [FFN_STEP] = {LG_BLOCK_TYPES(FFN_I8)},
};

enum {
    N_QKV = 3,
    MAX_GROUPS = 1 << 15, // workgroups of a dispatch in one direction that every device takes
};

#define PUSH(p) .push = &(p), .push_size = sizeof(p)

static bool fuses(const struct lg_graph *g)
{
    return g->tune.fused_decode && g->phase == LG_DECODE;
}

static enum lg_kernel kernel_of(const struct lg_graph *g, enum step step, enum lg_type type)
{
    return (lg_product_of(g, type) == LG_PRODUCT_INT8 ? i8_kernels : float_kernels)[step][type];
}

static uint32_t form_of(const struct lg_graph *g)
{
    return g->model->hp.norm == LG_NORM_LAYER ? LG_FUSED_LAYER_NORM : 0;
}

static uint32_t groups_of(const struct lg_graph *g, uint32_t n_rows)
{
    return lg_div_up(n_rows, g->tune.fused_rows_per_wg);
}

/** Fills in what all have: a subgroup's rows of matrices, and a row of x for each at y. */
static void add(struct lg_graph *g, struct lg_chain_op *op, uint32_t n_rows, uint32_t form)
{
    const uint32_t spec[LG_MAX_SPEC] = {g->tune.fused_wg, g->tune.fused_rows, g->tune.matvec_groups, form};
    for (uint32_t i = 0; i < LG_MAX_SPEC; i++)
        op->spec[i] = spec[i];
    op->grid =
        (struct lg_grid_rule){.grid = {groups_of(g, n_rows), 0, 1}, .dim = g->dim, .axis = 1, .per_group = 1};
    lg_graph_add_products(g, op);
}

/** The view of a vector, or of another one in its place: a binding that is not read has to be something. */
static struct lg_view or_else(const struct lg_weight *vector, struct lg_view other)
{
    return vector && vector->view.buf ? vector->view : other;
}

/** One view over n matrices of one type; false when they do not lie in one, or too far from each other. */
static bool span(const struct lg_graph *g, const struct lg_weight *const *w, uint32_t n, struct lg_view *out)
{
    uint64_t begin = w[0]->view.offset, end = begin;
    for (uint32_t i = 0; i < n; i++) {
        const struct lg_view *v = &w[i]->view;
        if (v->buf != w[0]->view.buf || w[i]->type != w[0]->type)
            return false;
        begin = v->offset < begin ? v->offset : begin;
        end = v->offset + v->size > end ? v->offset + v->size : end;
    }
    *out = (struct lg_view){.buf = w[0]->view.buf, .offset = begin, .size = end - begin};
    return out->size <= g->chain->dev->info.max_view_size && out->size <= UINT32_MAX;
}

/**
 * What adapters make of norm(x) for n matrices, and their biases: the step then takes it for biases of each row. Rows without
 * an adapter thus come to the same bits as in a pass without any.
 */
static void add_whole(struct lg_graph *g, const struct lg_weight *const *w, const struct lg_weight *const *bias, uint32_t n,
                      const struct lg_weight *norm, const struct lg_weight *norm_bias)
{
    if (!g->adapters)
        return;
    lg_op_norm(g, g->acts.x, norm, norm_bias, g->acts.h);
    lg_op_lora_down(g, g->acts.h, w, n);
    lg_op_lora_whole(g, w, bias, n);
}

/* ---- q, k and v */

/** Matrices [first, end) in dispatch number `index`. What it does not make it needs a place for all the same:
 * activations that only the ordinary kernels have a use for, others in each dispatch, so that no two seem to
 * write the same. */
static void add_qkv(struct lg_graph *g, const struct lg_layer *l, uint32_t layer, uint32_t first,
                    uint32_t end, struct lg_view weights, uint32_t index)
{
    const struct lg_hparams *hp = &g->model->hp;
    const struct lg_acts *a = &g->acts;
    const struct lg_batch *b = g->batch;
    const struct lg_weight *const w[] = {&l->wq, &l->wk, &l->wv}, *const bias[] = {&l->bq, &l->bk, &l->bv};
    const struct lg_view spare[][2] = {{a->k, a->v}, {a->h, a->f}, {a->gate, a->up}};
    bool apart = b->kv_type != LG_KV_F32;
    uint32_t each = g->adapters ? LG_QKV_EACH : 0;
    const struct lg_view made[] = {a->q, apart ? a->k : lg_view_all(b->k_cache[layer]),
                                   apart ? a->v : lg_view_all(b->v_cache[layer])};
    struct lg_qkv_push push = {
        .n_cols = w[first]->cols,
        .row_bytes = w[first]->row_bytes,
        .eps = hp->norm_eps,
        .head_dim = hp->head_dim,
        .n_rot = hp->rope == LG_ROPE_NONE ? 0 : hp->n_rot,
        .flags = (hp->rope == LG_ROPE_HALVES ? LG_QKV_HALVES : 0) | (apart ? LG_QKV_APART : 0) | each,
        .page_size = b->page_size,
        .max_pages = b->max_pages,
    };
    struct lg_view rows = lg_view_all(b->rows), norm = l->attn_norm.view;
    struct lg_chain_op op = {
        .kernel = kernel_of(g, QKV_STEP, w[first]->type),
        .views = {rows, lg_view_all(b->pages), push.n_rot ? lg_view_all(b->rope) : rows, a->x, norm,
                  or_else(&l->attn_norm_b, norm), weights},
        PUSH(push),
        .label = "qkv",
    };
    uint32_t n_rows = 0, n_spare = 0;
    for (uint32_t m = 0; m < N_QKV; m++) {
        bool makes = m >= first && m < end;
        op.views[7 + m] = each ? a->add[m] : or_else(bias[m], norm);
        bool stays = apart && m > 0; // what another dispatch makes of it
        op.views[10 + m] = makes || stays ? made[m] : spare[index][n_spare++];
        if (!makes)
            continue;
        push.n_rows[m] = w[m]->rows;
        push.at[m] = (uint32_t)(w[m]->view.offset - weights.offset);
        push.flags |= each || bias[m]->view.buf ? LG_QKV_BIAS(m) : 0;
        n_rows += w[m]->rows;
    }
    add(g, &op, n_rows, form_of(g));
}

bool lg_fused_qkv(struct lg_graph *g, const struct lg_layer *l, uint32_t layer)
{
    const struct lg_hparams *hp = &g->model->hp;
    const struct lg_weight *const w[] = {&l->wq, &l->wk, &l->wv}, *const bias[] = {&l->bq, &l->bk, &l->bv};
    struct lg_view view;
    bool possible = fuses(g) && (hp->rope == LG_ROPE_NONE || hp->head_dim % 2 == 0);
    for (uint32_t m = 0; m < N_QKV; m++)
        possible = possible && span(g, w + m, 1, &view);
    if (!possible || groups_of(g, w[0]->rows + w[1]->rows + w[2]->rows) > MAX_GROUPS)
        return false;
    add_whole(g, w, bias, N_QKV, &l->attn_norm, &l->attn_norm_b);
    for (uint32_t first = 0, end, index = 0; first < N_QKV; first = end, index++) {
        for (end = N_QKV; !span(g, w + first, end - first, &view); end--)
            ;
        add_qkv(g, l, layer, first, end, view, index);
    }
    if (g->batch->kv_type != LG_KV_F32)
        lg_op_kv_write(g, layer, g->acts.k, g->acts.v);
    return true;
}

/* ---- projections */

bool lg_fused_project(struct lg_graph *g, struct lg_view y, const struct lg_weight *w,
                      const struct lg_weight *bias)
{
    struct lg_view weights;
    if (!fuses(g) || !span(g, &w, 1, &weights) || groups_of(g, w->rows) > MAX_GROUPS)
        return false;
    struct lg_project_push push = {
        .n_cols = w->cols,
        .n_rows = w->rows,
        .row_bytes = w->row_bytes,
        .bias = bias->view.buf != NULL,
    };
    struct lg_chain_op op = {
        .kernel = kernel_of(g, PROJECT_STEP, w->type),
        .views = {weights, y, or_else(bias, y), g->acts.x},
        PUSH(push),
        .label = "project",
    };
    lg_op_lora_down(g, y, &w, 1);
    add(g, &op, w->rows, 0);
    lg_op_lora_up(g, &w, 1, &g->acts.x);
    return true;
}

/* ---- feed-forward and head */

bool lg_fused_ffn(struct lg_graph *g, const struct lg_layer *l)
{
    const struct lg_hparams *hp = &g->model->hp;
    bool gated = hp->ffn == LG_FFN_SILU_GATED;
    const struct lg_weight *const w[] = {&l->up, &l->gate}, *const bias[] = {&l->up_b, &l->gate_b};
    const struct lg_acts *a = &g->acts;
    uint32_t n_rows = gated ? 2 * l->up.rows : l->up.rows;
    struct lg_view weights, norm = l->ffn_norm.view;
    if (!fuses(g) || !span(g, w, gated ? 2 : 1, &weights) || groups_of(g, n_rows) > MAX_GROUPS)
        return false;
    add_whole(g, w, bias, gated ? 2 : 1, &l->ffn_norm, &l->ffn_norm_b);
    struct lg_ffn_push push = {
        .n_cols = l->up.cols,
        .n_rows = l->up.rows,
        .row_bytes = l->up.row_bytes,
        .eps = hp->norm_eps,
        .gate_at = gated ? (uint32_t)(l->gate.view.offset - weights.offset) : 0,
        .up_at = (uint32_t)(l->up.view.offset - weights.offset),
        .gate_bias = g->adapters ? 2 : l->gate_b.view.buf != NULL,
        .up_bias = g->adapters ? 2 : l->up_b.view.buf != NULL,
    };
    struct lg_chain_op op = {
        .kernel = kernel_of(g, FFN_STEP, l->up.type),
        .views = {a->x, norm, or_else(&l->ffn_norm_b, norm), weights,
                  g->adapters ? a->add[gated ? 1 : 0] : or_else(&l->gate_b, norm),
                  g->adapters ? a->add[0] : or_else(&l->up_b, norm), a->f},
        PUSH(push),
        .label = "ffn",
    };
    add(g, &op, n_rows, form_of(g) | (gated ? LG_FUSED_GATED : LG_FUSED_GELU));
    return true;
}

bool lg_fused_head(struct lg_graph *g)
{
    const struct lg_weights *w = &g->model->w;
    const struct lg_weight *const output = &w->output;
    struct lg_view weights, norm = w->out_norm.view;
    if (!fuses(g) || !g->tune.fused_head || !span(g, &output, 1, &weights) ||
        groups_of(g, output->rows) > MAX_GROUPS)
        return false;
    struct lg_ffn_push push = {
        .n_cols = output->cols,
        .n_rows = output->rows,
        .row_bytes = output->row_bytes,
        .eps = g->model->hp.norm_eps,
    };
    struct lg_chain_op op = {
        .kernel = kernel_of(g, FFN_STEP, output->type),
        .views = {g->acts.x, norm, or_else(&w->out_norm_b, norm), weights, norm, norm, g->acts.logits},
        PUSH(push),
        .label = "head",
    };
    g->dim = LG_DIM_OUT;
    lg_chain_mark(g->chain);
    add(g, &op, output->rows, form_of(g));
    return true;
}
