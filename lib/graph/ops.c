/* SPDX-License-Identifier: MIT */
#include "graph/matmul.h"
#include "graph/ops.h"

#include "util/checked.h"

/** The kernels of a family by weight type; the loader refuses types that are not there. */
#define EMBED(lower, UPPER) [LG_TYPE_##UPPER] = LG_K_EMBED_##UPPER,
#define MATVEC(lower, UPPER) [LG_TYPE_##UPPER] = LG_K_MATVEC_##UPPER,
static const enum lg_kernel embed_kernels[] = {LG_WEIGHT_TYPES(EMBED)};
static const enum lg_kernel matvec_kernels[] = {LG_WEIGHT_TYPES(MATVEC)};
#define MATVEC_I8(lower, UPPER) [LG_TYPE_##UPPER] = LG_K_MATVEC_I8_##UPPER,
static const enum lg_kernel matvec_i8_kernels[] = {LG_BLOCK_TYPES(MATVEC_I8)};

/** Workgroups of a dispatch in one direction: every device takes this many, and it is a multiple of every
 * view alignment. */
enum { MAX_GROUPS = 1 << 15 };

#define PUSH(p) .push = &(p), .push_size = sizeof(p)

void lg_graph_add(struct lg_graph *g, const struct lg_chain_op *op)
{
    const struct lg_kernel_info *info = &lg_kernel_infos[op->kernel];
    for (uint32_t i = 0; i < info->n_views && g->in_i8.buf; i++) {
        if ((info->access[i] & LG_WRITE) && lg_views_overlap(&op->views[i], &g->in_i8))
            g->in_i8.buf = NULL; // its rows in 8 bits are of what was there before
    }
    lg_chain_add(g->chain, op);
}

void lg_graph_add_products(struct lg_graph *g, struct lg_chain_op *op)
{
    enum { SPEC_X_ROWS = 4 };
    bool several = g->max_rows > 1 && g->tune.matvec_x_rows > 1;
    op->grid.up_to = several ? 1 : 0;
    lg_graph_add(g, op);
    if (!several)
        return;
    op->spec[SPEC_X_ROWS] = g->tune.matvec_x_rows;
    op->grid.above = 1;
    op->grid.up_to = 0;
    op->otherwise = true;
    lg_graph_add(g, op);
}

/** {x, T, 1} workgroups. */
static struct lg_grid_rule rows_at_y(const struct lg_graph *g, uint32_t x)
{
    return (struct lg_grid_rule){.grid = {x, 0, 1}, .dim = g->dim, .axis = 1, .per_group = 1};
}

/** {T, 1, 1} workgroups, one for each row. */
static struct lg_grid_rule row_each(const struct lg_graph *g)
{
    return (struct lg_grid_rule){.grid = {0, 1, 1}, .dim = g->dim, .axis = 0, .per_group = 1};
}

static struct lg_view all(struct lg_buffer *buf)
{
    return lg_view_all(buf);
}

/**
 * How many rows of a matrix one view may span: all, unless the device's limit asks for parts. A part begins
 * at a multiple of the view alignment.
 */
static uint32_t rows_per_view(const struct lg_graph *g, const struct lg_weight *w)
{
    const struct lg_device_info *info = &g->chain->dev->info;
    if (w->view.size <= info->max_view_size)
        return w->rows;
    uint32_t rows = (uint32_t)(info->max_view_size / w->row_bytes);
    return rows > info->view_align ? rows / info->view_align * info->view_align : rows;
}

/** Rows [first, first + n) of a matrix. */
static struct lg_view rows_view(const struct lg_weight *w, uint32_t first, uint32_t n)
{
    struct lg_view v = w->view;
    uint64_t begin = (uint64_t)first * w->row_bytes;
    v.offset += begin;
    v.size = first + n == w->rows ? w->view.size - begin : (uint64_t)n * w->row_bytes;
    return v;
}

void lg_op_embed(struct lg_graph *g, const struct lg_weight *table, enum lg_row_word word, struct lg_view y)
{
    uint32_t step = rows_per_view(g, table), groups = lg_div_up(lg_div_up(table->cols, 32), g->tune.flat_wg);
    for (uint32_t first = 0; first < table->rows; first += step) {
        uint32_t n = lg_min_u32(step, table->rows - first);
        struct lg_embed_push push = {
            .n_cols = table->cols,
            .row_bytes = table->row_bytes,
            .row_begin = first,
            .row_end = first + n,
            .id_stride = sizeof(struct lg_row) / 4,
            .id_offset = word,
        };
        struct lg_chain_op op = {
            .kernel = embed_kernels[table->type],
            .views = {all(g->batch->rows), rows_view(table, first, n), y},
            .spec = {g->tune.flat_wg},
            .grid = rows_at_y(g, groups),
            PUSH(push),
            .label = "embed",
        };
        lg_graph_add(g, &op);
    }
}

void lg_op_norm(struct lg_graph *g, struct lg_view x, const struct lg_weight *weight,
                const struct lg_weight *bias, struct lg_view y)
{
    const struct lg_hparams *hp = &g->model->hp;
    struct lg_norm_push push = {.n_cols = weight->cols, .eps = hp->norm_eps};
    struct lg_chain_op op = {
        .kernel = LG_K_RMS_NORM,
        .views = {x, weight->view, y},
        .spec = {g->tune.row_wg},
        .grid = row_each(g),
        PUSH(push),
        .label = "norm",
    };
    if (hp->norm == LG_NORM_LAYER) {
        op.kernel = LG_K_LAYER_NORM;
        op.views[2] = bias->view;
        op.views[3] = y;
    }
    lg_graph_add(g, &op);
}

/** acts.i8 = x (T, n_cols) in 8 bits or in float16, unless it is that already */
static void pack(struct lg_graph *g, enum lg_product how, struct lg_view x, uint32_t n_cols)
{
    bool half = how != LG_PRODUCT_INT8;
    if (g->in_i8.buf == x.buf && g->in_i8.offset == x.offset && g->in_half == half)
        return;
    struct lg_rowwise_push push = {.n_cols = n_cols};
    struct lg_chain_op op = {
        .kernel = half ? LG_K_HALVE : LG_K_QUANTIZE,
        .views = {x, g->acts.i8},
        .spec = {g->tune.row_wg},
        .grid = row_each(g),
        PUSH(push),
        .label = half ? "halve" : "quantize",
    };
    lg_graph_add(g, &op);
    g->in_i8 = x;
    g->in_half = half;
}

static void add_product(struct lg_graph *g, struct lg_view x, const struct lg_weight *w, struct lg_view y,
                        uint32_t first, uint32_t n)
{
    const struct lg_tuning *t = &g->tune;
    enum lg_product how = lg_product_of(g, w->type);
    if (how != LG_PRODUCT_FLOAT32) {
        pack(g, how, x, w->cols);
        x = g->acts.i8;
    }
    struct lg_matmul_push push = {
        .n_cols = w->cols,
        .n_rows = n,
        .row_bytes = w->row_bytes,
        .y_stride = w->rows,
        .row_begin = first,
        .dim = g->dim,
    };
    struct lg_view part = rows_view(w, first, n);
    if (g->phase == LG_PREFILL) {
        lg_matmul_add(g, how, x, w->type, part, y, &push);
        return;
    }
    struct lg_chain_op op = {
        .kernel = (how == LG_PRODUCT_INT8 ? matvec_i8_kernels : matvec_kernels)[w->type],
        .views = {part, x, y},
        .spec = {t->matvec_wg, t->matvec_rows, t->matvec_groups},
        .grid = rows_at_y(g, lg_div_up(n, t->matvec_rows_per_wg)),
        PUSH(push),
        .label = "matvec",
    };
    lg_graph_add_products(g, &op);
}

static void add_bias(struct lg_graph *g, struct lg_view x, const struct lg_weight *bias)
{
    struct lg_add_push push = {.n_cols = bias->cols, .b_stride = 0};
    struct lg_chain_op op = {
        .kernel = LG_K_ADD,
        .views = {x, bias->view},
        .spec = {g->tune.flat_wg},
        .grid = rows_at_y(g, lg_div_up(bias->cols, g->tune.flat_wg)),
        PUSH(push),
        .label = "bias",
    };
    lg_graph_add(g, &op);
}

void lg_op_linear(struct lg_graph *g, struct lg_view x, const struct lg_weight *w,
                  const struct lg_weight *bias, struct lg_view y)
{
    uint32_t per_group = lg_min_u32(g->tune.matvec_rows_per_wg, lg_matmul_least_m(&g->tune));
    uint32_t step = lg_min_u32(rows_per_view(g, w), MAX_GROUPS * per_group);
    for (uint32_t first = 0; first < w->rows; first += step)
        add_product(g, x, w, y, first, lg_min_u32(step, w->rows - first));
    if (bias && bias->view.buf)
        add_bias(g, y, bias);
}

void lg_op_rope(struct lg_graph *g, struct lg_view x, uint32_t n_heads)
{
    const struct lg_hparams *hp = &g->model->hp;
    if (hp->rope == LG_ROPE_NONE)
        return;
    struct lg_rope_push push = {
        .n_heads = n_heads,
        .head_dim = hp->head_dim,
        .n_rot = hp->n_rot,
        .halves = hp->rope == LG_ROPE_HALVES,
    };
    struct lg_chain_op op = {
        .kernel = LG_K_ROPE,
        .views = {all(g->batch->rows), all(g->batch->rope), x},
        .spec = {g->tune.flat_wg},
        .grid = rows_at_y(g, lg_div_up(n_heads * hp->n_rot / 2, g->tune.flat_wg)),
        PUSH(push),
        .label = "rope",
    };
    lg_graph_add(g, &op);
}

void lg_op_kv_write(struct lg_graph *g, uint32_t layer, struct lg_view k, struct lg_view v)
{
    const struct lg_batch *b = g->batch;
    struct lg_kv_write_push push = {
        .n_cols = g->model->hp.n_kv * g->model->hp.head_dim,
        .page_size = b->page_size,
        .max_pages = b->max_pages,
    };
    struct lg_chain_op op = {
        .kernel = LG_K_KV_WRITE,
        .views = {all(b->rows), all(b->pages), k, v, all(b->k_cache[layer]), all(b->v_cache[layer])},
        .spec = {g->tune.flat_wg, b->kv_type},
        .grid = rows_at_y(g, lg_div_up(push.n_cols, LG_KV_UNIT(b->kv_type) * g->tune.flat_wg)),
        PUSH(push),
        .label = "kv_write",
    };
    lg_graph_add(g, &op);
}

void lg_op_silu_mul(struct lg_graph *g, struct lg_view gate, struct lg_view up, struct lg_view y)
{
    struct lg_rowwise_push push = {.n_cols = g->model->hp.n_ff};
    struct lg_chain_op op = {
        .kernel = LG_K_SILU_MUL,
        .views = {gate, up, y},
        .spec = {g->tune.flat_wg},
        .grid = rows_at_y(g, lg_div_up(push.n_cols, g->tune.flat_wg)),
        PUSH(push),
        .label = "silu_mul",
    };
    lg_graph_add(g, &op);
}

void lg_op_gelu(struct lg_graph *g, struct lg_view x, struct lg_view y)
{
    struct lg_rowwise_push push = {.n_cols = g->model->hp.n_ff};
    struct lg_chain_op op = {
        .kernel = LG_K_GELU,
        .views = {x, y},
        .spec = {g->tune.flat_wg},
        .grid = rows_at_y(g, lg_div_up(push.n_cols, g->tune.flat_wg)),
        PUSH(push),
        .label = "gelu",
    };
    lg_graph_add(g, &op);
}

void lg_op_add(struct lg_graph *g, struct lg_view x, struct lg_view b, uint32_t n_cols)
{
    struct lg_add_push push = {.n_cols = n_cols, .b_stride = n_cols};
    struct lg_chain_op op = {
        .kernel = LG_K_ADD,
        .views = {x, b},
        .spec = {g->tune.flat_wg},
        .grid = rows_at_y(g, lg_div_up(n_cols, g->tune.flat_wg)),
        PUSH(push),
        .label = "add",
    };
    lg_graph_add(g, &op);
}

void lg_op_argmax(struct lg_graph *g, struct lg_view logits, struct lg_view best)
{
    struct lg_rowwise_push push = {.n_cols = g->model->hp.n_vocab};
    struct lg_chain_op op = {
        .kernel = LG_K_ARGMAX,
        .views = {logits, best},
        .spec = {g->tune.vocab_wg},
        .grid = row_each(g),
        PUSH(push),
        .label = "argmax",
    };
    lg_graph_add(g, &op);
}

void lg_op_penalties(struct lg_graph *g, struct lg_view logits)
{
    const struct lg_batch *b = g->batch;
    struct lg_sample_push push = {.n_vocab = g->model->hp.n_vocab};
    lg_graph_add(g, &(struct lg_chain_op){
                     .kernel = LG_K_PENALTIES,
                     .views = {all(b->rows), all(b->out_ids), all(b->samplers), all(b->history), all(b->biases),
                               all(b->masks ? b->masks : b->biases), logits}, // nobody's is read, then
                     .spec = {g->tune.row_wg},
                     .grid = row_each(g),
                     PUSH(push),
                     .label = "penalties",
                 });
}

void lg_op_sample(struct lg_graph *g, struct lg_view logits, struct lg_view best)
{
    const struct lg_batch *b = g->batch;
    struct lg_sample_push push = {.n_vocab = g->model->hp.n_vocab};
    struct lg_chain_op op = {
        .kernel = LG_K_SAMPLE,
        .views = {logits, best, all(b->out_ids), all(b->rows), all(b->samplers), all(b->history),
                  all(b->ring), all(b->targets)},
        .spec = {g->tune.vocab_wg},
        .grid = row_each(g),
        PUSH(push),
        .label = "sample",
    };
    lg_graph_add(g, &op);
}

void lg_op_next_rows(struct lg_graph *g)
{
    const struct lg_batch *b = g->batch;
    struct lg_chain_op op = {
        .kernel = LG_K_NEXT_ROWS,
        .views = {all(b->samplers), all(b->targets), all(b->out_ids), all(b->rows), all(b->dims)},
        .spec = {g->tune.row_wg},
        .grid = {.grid = {0, 1, 1}, .dim = g->dim, .axis = 0, .per_group = INT32_MAX},
        .label = "next_rows",
    };
    lg_graph_add(g, &op);
}

void lg_op_log_prob(struct lg_graph *g, struct lg_view logits, struct lg_view out)
{
    struct lg_rowwise_push push = {.n_cols = g->model->hp.n_vocab};
    struct lg_chain_op op = {
        .kernel = LG_K_LOG_PROB,
        .views = {logits, all(g->batch->targets), out},
        .spec = {g->tune.vocab_wg},
        .grid = row_each(g),
        PUSH(push),
        .label = "log_prob",
    };
    lg_graph_add(g, &op);
}

void lg_op_copy(struct lg_graph *g, struct lg_view x, struct lg_view y, uint32_t n_cols)
{
    struct lg_rowwise_push push = {.n_cols = n_cols};
    struct lg_chain_op op = {
        .kernel = LG_K_COPY,
        .views = {x, y},
        .spec = {g->tune.flat_wg},
        .grid = rows_at_y(g, lg_div_up(n_cols, g->tune.flat_wg)),
        PUSH(push),
        .label = "copy",
    };
    lg_graph_add(g, &op);
}

void lg_op_candidates(struct lg_graph *g, struct lg_view logits, struct lg_buffer *ids, uint32_t id_stride,
                      struct lg_view out)
{
    struct lg_candidates_push push = {
        .n_cols = g->model->hp.n_vocab,
        .n = LG_MAX_CANDIDATES,
        .id_stride = id_stride,
    };
    struct lg_chain_op op = {
        .kernel = LG_K_CANDIDATES,
        .views = {logits, all(ids), out},
        .spec = {g->tune.vocab_wg},
        .grid = row_each(g),
        PUSH(push),
        .label = "candidates",
    };
    lg_graph_add(g, &op);
}
