/* SPDX-License-Identifier: MIT */
#include "graph/back_ops.h"

#include <math.h>

#include "graph/matmul.h"
#include "util/checked.h"

#define MATMUL_BACK(lower, UPPER) [LG_TYPE_##UPPER] = LG_K_MATMUL_BACK_##UPPER,
static const enum lg_kernel matmul_back_kernels[] = {LG_WEIGHT_TYPES(MATMUL_BACK)};

#define PUSH(p) .push = &(p), .push_size = sizeof(p)

static struct lg_view all(struct lg_buffer *buf)
{
    return lg_view_all(buf);
}

static struct lg_view dims_of(const struct lg_train_graph *t)
{
    return all(t->g.batch->dims);
}

/** {x, ceil(T / per_group), 1} workgroups. */
static struct lg_grid_rule rows_at_y(const struct lg_train_graph *t, uint32_t x, uint32_t per_group)
{
    return (struct lg_grid_rule){.grid = {x, 0, 1}, .dim = t->g.dim, .axis = 1, .per_group = per_group};
}

/** {T, 1, 1} workgroups. */
static struct lg_grid_rule row_each(const struct lg_train_graph *t)
{
    return (struct lg_grid_rule){.grid = {0, 1, 1}, .dim = t->g.dim, .axis = 0, .per_group = 1};
}

/** {x, y, 1} workgroups, which all rows meet; none without rows. */
static struct lg_grid_rule over_rows(const struct lg_train_graph *t, uint32_t x, uint32_t y)
{
    return (struct lg_grid_rule){.grid = {x, y, 0}, .dim = t->g.dim, .axis = 2, .per_group = INT32_MAX};
}

/** {ceil(n_cols / flat_wg), T, 1} workgroups. */
static struct lg_grid_rule each(const struct lg_train_graph *t, uint32_t n_cols)
{
    return rows_at_y(t, lg_div_up(n_cols, t->g.tune.flat_wg), 1);
}

struct lg_view lg_train_grad(const struct lg_train_graph *t, const struct lg_weight *w)
{
    if (!w->view.buf || w->view.buf != t->state.params)
        return (struct lg_view){0};
    return (struct lg_view){.buf = t->state.grads, .offset = w->view.offset, .size = w->view.size};
}

static const struct lg_device_info *info_of(const struct lg_train_graph *t)
{
    return &t->g.chain->dev->info;
}

/* ---- element by element -------------------------------------------------------------------------------------------- */

void lg_back_zero(struct lg_train_graph *t, struct lg_view x, uint32_t n_cols)
{
    struct lg_rowwise_push push = {.n_cols = n_cols};
    lg_graph_add(&t->g, &(struct lg_chain_op){
                            .kernel = LG_K_ZERO,
                            .views = {x},
                            .spec = {t->g.tune.flat_wg},
                            .grid = each(t, n_cols),
                            PUSH(push),
                            .label = "zero",
                        });
}

void lg_back_scale_add(struct lg_train_graph *t, struct lg_view x, struct lg_view y, float scale, uint32_t n_cols)
{
    struct lg_scale_add_push push = {.n_cols = n_cols, .scale = scale};
    lg_graph_add(&t->g, &(struct lg_chain_op){
                            .kernel = LG_K_SCALE_ADD,
                            .views = {x, y},
                            .spec = {t->g.tune.flat_wg},
                            .grid = each(t, n_cols),
                            PUSH(push),
                            .label = "scale_add",
                        });
}

void lg_back_dropout(struct lg_train_graph *t, struct lg_view x, struct lg_view y, uint32_t n_cols, uint32_t site)
{
    struct lg_dropout_push push = {
        .n_cols = n_cols,
        .drop = (uint32_t)((double)t->dropout * 4294967296.0),
        .site = site,
        .scale = 1 / (1 - t->dropout),
    };
    lg_graph_add(&t->g, &(struct lg_chain_op){
                            .kernel = LG_K_DROPOUT,
                            .views = {all(t->step), x, y},
                            .spec = {t->g.tune.flat_wg},
                            .grid = each(t, n_cols),
                            PUSH(push),
                            .label = "dropout",
                        });
}

void lg_back_silu_mul(struct lg_train_graph *t, struct lg_view gate, struct lg_view up, struct lg_view df)
{
    struct lg_rowwise_push push = {.n_cols = t->g.model->hp.n_ff};
    lg_graph_add(&t->g, &(struct lg_chain_op){
                            .kernel = LG_K_SILU_MUL_BACK,
                            .views = {gate, up, df, gate, up},
                            .spec = {t->g.tune.flat_wg},
                            .grid = each(t, push.n_cols),
                            PUSH(push),
                            .label = "silu_mul_back",
                        });
}

void lg_back_gelu(struct lg_train_graph *t, struct lg_view x, struct lg_view df)
{
    struct lg_rowwise_push push = {.n_cols = t->g.model->hp.n_ff};
    lg_graph_add(&t->g, &(struct lg_chain_op){
                            .kernel = LG_K_GELU_BACK,
                            .views = {x, df, df},
                            .spec = {t->g.tune.flat_wg},
                            .grid = each(t, push.n_cols),
                            PUSH(push),
                            .label = "gelu_back",
                        });
}

void lg_back_rope(struct lg_train_graph *t, struct lg_view dx, uint32_t n_heads)
{
    const struct lg_hparams *hp = &t->g.model->hp;
    if (hp->rope == LG_ROPE_NONE)
        return;
    struct lg_rope_push push = {
        .n_heads = n_heads,
        .head_dim = hp->head_dim,
        .n_rot = hp->n_rot,
        .halves = hp->rope == LG_ROPE_HALVES,
    };
    lg_graph_add(&t->g, &(struct lg_chain_op){
                            .kernel = LG_K_ROPE_BACK,
                            .views = {all(t->g.batch->rows), all(t->g.batch->rope), dx},
                            .spec = {t->g.tune.flat_wg},
                            .grid = each(t, n_heads * hp->n_rot / 2),
                            PUSH(push),
                            .label = "rope_back",
                        });
}

/* ---- the loss --------------------------------------------------------------------------------------------------- */

/** Rows [first, first + n) of a matrix; the last go to its end, with what pads it. */
static struct lg_view rows_of(const struct lg_weight *w, struct lg_view v, uint32_t first, uint32_t n)
{
    uint64_t begin = (uint64_t)first * w->row_bytes;
    v.offset += begin;
    v.size = first + n == w->rows ? v.size - begin : (uint64_t)n * w->row_bytes;
    return v;
}

void lg_train_gather(struct lg_train_graph *t, struct lg_view x, struct lg_view y)
{
    uint32_t n_cols = t->g.model->hp.n_embd;
    struct lg_embed_push push = {
        .n_cols = n_cols,
        .row_bytes = n_cols * (uint32_t)sizeof(float),
        .row_end = t->g.batch->max_rows,
        .id_stride = 1,
    };
    lg_graph_add(&t->g, &(struct lg_chain_op){
                            .kernel = LG_K_EMBED_F32,
                            .views = {all(t->g.batch->out_ids), x, y},
                            .spec = {t->g.tune.flat_wg},
                            .grid = rows_at_y(t, lg_div_up(lg_div_up(n_cols, 32), t->g.tune.flat_wg), 1),
                            PUSH(push),
                            .label = "gather",
                        });
}

void lg_back_gather(struct lg_train_graph *t, struct lg_view y, struct lg_view x)
{
    struct lg_embed_back_push push = {
        .n_cols = t->g.model->hp.n_embd,
        .row_end = t->g.batch->max_rows,
        .id_stride = 1,
        .dim = t->g.dim,
    };
    lg_graph_add(&t->g, &(struct lg_chain_op){
                            .kernel = LG_K_EMBED_BACK,
                            .views = {dims_of(t), all(t->in_order), all(t->g.batch->out_ids), y, x},
                            .spec = {t->g.tune.flat_wg},
                            .grid = each(t, push.n_cols),
                            PUSH(push),
                            .label = "gather_back",
                        });
}

/** The tile of a product of n columns. */
static void choose_tile(struct lg_train_graph *t, uint32_t n)
{
    if (lg_train_forward_tile(info_of(t), n, t->g.max_rows, &t->g.tune.matmul_tiles[0]))
        t->g.tune.matmul_form = LG_MATMUL_BLOCKS;
}

void lg_train_linear(struct lg_train_graph *t, struct lg_view x, const struct lg_weight *w, const struct lg_weight *bias,
                     struct lg_view y)
{
    choose_tile(t, w->rows);
    lg_op_linear(&t->g, x, w, bias, y);
}

void lg_back_logits(struct lg_train_graph *t, struct lg_view x, const struct lg_weight *w, uint32_t first, uint32_t n,
                    struct lg_view logits)
{
    struct lg_matmul_push push = {
        .n_cols = w->cols,
        .n_rows = n,
        .row_bytes = w->row_bytes,
        .y_stride = n,
        .dim = t->g.dim,
    };
    choose_tile(t, n);
    lg_matmul_add(&t->g, LG_PRODUCT_FLOAT32, x, w->type, rows_of(w, w->view, first, n), logits, &push);
}

void lg_back_loss_part(struct lg_train_graph *t, struct lg_view logits, uint32_t first, uint32_t n)
{
    struct lg_loss_push push = {.n_cols = n, .first = first};
    lg_graph_add(&t->g, &(struct lg_chain_op){
                            .kernel = LG_K_LOSS_PART,
                            .views = {logits, all(t->g.batch->targets), t->acts.state},
                            .spec = {t->g.tune.vocab_wg},
                            .grid = row_each(t),
                            PUSH(push),
                            .label = "loss_part",
                        });
}

void lg_back_loss_rows(struct lg_train_graph *t)
{
    struct lg_rowwise_push push = {.n_cols = 1};
    lg_graph_add(&t->g, &(struct lg_chain_op){
                            .kernel = LG_K_LOSS_ROWS,
                            .views = {all(t->g.batch->targets), t->acts.state, t->acts.losses},
                            .spec = {t->g.tune.row_wg},
                            .grid = row_each(t),
                            PUSH(push),
                            .label = "loss_rows",
                        });
}

void lg_back_loss(struct lg_train_graph *t, struct lg_view logits, uint32_t first, uint32_t n)
{
    struct lg_loss_push push = {.n_cols = n, .first = first};
    lg_graph_add(&t->g, &(struct lg_chain_op){
                            .kernel = LG_K_LOSS_BACK,
                            .views = {all(t->step), logits, all(t->g.batch->targets), t->acts.state, logits},
                            .spec = {t->g.tune.flat_wg},
                            .grid = each(t, n),
                            PUSH(push),
                            .label = "loss_back",
                        });
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

/** How many rows of a matrix one view may span; a part begins at a multiple of the view alignment. */
static uint32_t rows_per_view(const struct lg_train_graph *t, const struct lg_weight *w)
{
    const struct lg_device_info *info = &t->g.chain->dev->info;
    uint32_t rows = (uint32_t)lg_min_u64(info->max_view_size / w->row_bytes, w->rows);
    return rows < w->rows && rows > info->view_align ? rows / info->view_align * info->view_align : rows;
}

void lg_back_matmul(struct lg_train_graph *t, struct lg_view dy, const struct lg_weight *w, uint32_t first, uint32_t n,
                    struct lg_view dx, bool add)
{
    struct lg_matmul_tile tile = lg_train_back_tile(info_of(t), &t->tune, w->cols, t->g.max_rows);
    uint32_t step = rows_per_view(t, w);
    for (uint32_t at = 0; at < n; at += step) {
        uint32_t rows = lg_min_u32(step, n - at);
        struct lg_matmul_back_push push = {
            .n_cols = w->cols,
            .n_rows = rows,
            .row_bytes = w->row_bytes,
            .y_stride = n,
            .row_begin = at,
            .dim = t->g.dim,
            .add = add || at > 0,
        };
        lg_graph_add(&t->g, &(struct lg_chain_op){
                                .kernel = matmul_back_kernels[w->type],
                                .views = {dims_of(t), dy, rows_of(w, w->view, first + at, rows), dx},
                                .spec = {tile.wg, tile.m, tile.n},
                                .grid = rows_at_y(t, lg_div_up(w->cols, tile.m), tile.n),
                                PUSH(push),
                                .label = "matmul_back",
                            });
    }
}

void lg_back_weight(struct lg_train_graph *t, struct lg_view x, struct lg_view dy, const struct lg_weight *w, uint32_t first,
                    uint32_t n, float scale)
{
    struct lg_view dw = lg_train_grad(t, w);
    if (!dw.buf)
        return;
    struct lg_matmul_tile tile = lg_train_weight_tile(info_of(t), &t->tune, n, w->cols);
    uint32_t step = rows_per_view(t, w);
    for (uint32_t at = 0; at < n; at += step) {
        uint32_t rows = lg_min_u32(step, n - at);
        struct lg_weight_back_push push = {
            .n_cols = w->cols,
            .n_rows = rows,
            .y_stride = n,
            .row_begin = at,
            .dim = t->g.dim,
            .scale = scale,
        };
        lg_graph_add(&t->g, &(struct lg_chain_op){
                                .kernel = LG_K_WEIGHT_BACK,
                                .views = {dims_of(t), x, dy, rows_of(w, dw, first + at, rows)},
                                .spec = {tile.wg, tile.m, tile.n},
                                .grid = over_rows(t, lg_div_up(w->cols, tile.n), lg_div_up(rows, tile.m)),
                                PUSH(push),
                                .label = "weight_back",
                            });
    }
}

void lg_back_bias(struct lg_train_graph *t, struct lg_view dy, const struct lg_weight *b)
{
    struct lg_view db = b ? lg_train_grad(t, b) : (struct lg_view){0};
    if (!db.buf)
        return;
    struct lg_column_push push = {.n_cols = b->cols, .dim = t->g.dim};
    lg_graph_add(&t->g, &(struct lg_chain_op){
                            .kernel = LG_K_BIAS_BACK,
                            .views = {dims_of(t), dy, db},
                            .spec = {t->g.tune.flat_wg},
                            .grid = over_rows(t, lg_div_up(b->cols, t->g.tune.flat_wg), 1),
                            PUSH(push),
                            .label = "bias_back",
                        });
}

/* ---- norms, attention, embeddings ------------------------------------------------------------------------------------ */

void lg_back_norm(struct lg_train_graph *t, struct lg_view x, const struct lg_weight *weight, const struct lg_weight *bias,
                  struct lg_view dy, struct lg_view dx)
{
    bool layer = t->g.model->hp.norm == LG_NORM_LAYER;
    struct lg_norm_push push = {.n_cols = weight->cols, .eps = t->g.model->hp.norm_eps};
    lg_graph_add(&t->g, &(struct lg_chain_op){
                            .kernel = layer ? LG_K_LAYER_NORM_BACK : LG_K_RMS_NORM_BACK,
                            .views = {x, weight->view, dy, dx, t->acts.norm},
                            .spec = {t->g.tune.row_wg},
                            .grid = row_each(t),
                            PUSH(push),
                            .label = "norm_back",
                        });
    struct lg_view dw = lg_train_grad(t, weight), db = layer ? lg_train_grad(t, bias) : (struct lg_view){0};
    struct lg_column_push columns = {.n_cols = weight->cols, .dim = t->g.dim};
    if (!dw.buf)
        return;
    lg_graph_add(&t->g, &(struct lg_chain_op){
                            .kernel = layer ? LG_K_LAYER_NORM_WEIGHT_BACK : LG_K_RMS_NORM_WEIGHT_BACK,
                            .views = {dims_of(t), x, dy, t->acts.norm, dw, db},
                            .spec = {t->g.tune.flat_wg},
                            .grid = over_rows(t, lg_div_up(columns.n_cols, t->g.tune.flat_wg), 1),
                            PUSH(columns),
                            .label = "norm_weight_back",
                        });
}

static struct lg_attention_train_push attention_push(const struct lg_train_graph *t)
{
    const struct lg_hparams *hp = &t->g.model->hp;
    return (struct lg_attention_train_push){
        .n_heads = hp->n_heads,
        .n_kv = hp->n_kv,
        .head_dim = hp->head_dim,
        .dim = t->g.dim,
        .scale = 1.0f / sqrtf((float)hp->head_dim),
    };
}

void lg_train_attention(struct lg_train_graph *t, const struct lg_train_kept *kept)
{
    const struct lg_train_tuning *tune = &t->tune;
    struct lg_attention_train_push push = attention_push(t);
    uint32_t groups = push.n_kv * lg_div_up(push.n_heads / push.n_kv, tune->attention_heads);
    lg_graph_add(&t->g, &(struct lg_chain_op){
                            .kernel = LG_K_ATTENTION_TRAIN,
                            .views = {dims_of(t), all(t->g.batch->rows), kept->q, kept->k, kept->v, kept->a, kept->lse},
                            .spec = {tune->attention_wg, 0, tune->attention_rows, tune->attention_heads},
                            .grid = rows_at_y(t, groups, tune->attention_rows),
                            PUSH(push),
                            .label = "attention_train",
                        });
}

void lg_back_attention(struct lg_train_graph *t, const struct lg_train_kept *kept, struct lg_view da)
{
    struct lg_train_acts *a = &t->acts;
    const struct lg_train_tuning *tune = &t->tune;
    struct lg_attention_train_push push = attention_push(t);
    uint32_t groups = push.n_kv * lg_div_up(push.n_heads / push.n_kv, tune->attention_heads);
    struct lg_chain_op op = {
        .kernel = LG_K_ATTENTION_BACK_Q,
        .views = {dims_of(t), all(t->g.batch->rows), kept->q, kept->k, kept->v, kept->a, kept->lse, da, a->dq, a->delta},
        .spec = {tune->attention_wg, 0, tune->attention_rows, tune->attention_heads},
        .grid = rows_at_y(t, groups, tune->attention_rows),
        PUSH(push),
        .label = "attention_back_q",
    };
    lg_graph_add(&t->g, &op);
    struct lg_view views[] = {dims_of(t), all(t->g.batch->rows), kept->q, kept->k, kept->v,
                              kept->lse,  a->delta,              da,      a->dk,   a->dv};
    for (uint32_t i = 0; i < sizeof(views) / sizeof(views[0]); i++)
        op.views[i] = views[i];
    op.kernel = LG_K_ATTENTION_BACK_KV;
    op.grid = rows_at_y(t, push.n_kv, tune->attention_rows);
    op.label = "attention_back_kv";
    lg_graph_add(&t->g, &op);
}

void lg_back_embed(struct lg_train_graph *t, const struct lg_weight *table, enum lg_row_word word, struct lg_buffer *order,
                   struct lg_view dx)
{
    struct lg_view de = lg_train_grad(t, table);
    if (!de.buf)
        return;
    uint32_t step = rows_per_view(t, table);
    for (uint32_t first = 0; first < table->rows; first += step) {
        uint32_t n = lg_min_u32(step, table->rows - first);
        struct lg_embed_back_push push = {
            .n_cols = table->cols,
            .row_begin = first,
            .row_end = first + n,
            .id_stride = sizeof(struct lg_row) / 4,
            .id_offset = word,
            .dim = t->g.dim,
        };
        lg_graph_add(&t->g, &(struct lg_chain_op){
                                .kernel = LG_K_EMBED_BACK,
                                .views = {dims_of(t), all(order), all(t->g.batch->rows), dx, rows_of(table, de, first, n)},
                                .spec = {t->g.tune.flat_wg},
                                .grid = each(t, table->cols),
                                PUSH(push),
                                .label = "embed_back",
                            });
    }
}
