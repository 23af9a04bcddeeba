/* SPDX-License-Identifier: MIT */
#include "train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train/slices.h"
#include "util/checked.h"

enum { PIECE = 1 << 20 }; // bytes that are copied at once

/* ---- creating ----------------------------------------------------------------------------------------------------- */

static int list_params(struct lg_trainer *t, const struct lg_lora *lora)
{
    const struct lg_trainer_params *how = &t->how;
    if (how->whole)
        return lg_train_params_whole(&t->params, t->env, t->model);
    if (lora)
        return lg_train_params_like(&t->params, t->env, t->model, lora);
    return lg_train_params_adapter(&t->params, t->env, t->model, &how->shape);
}

/** Begins a chain, from this trainer's buffers. */
static void init_graph(struct lg_trainer *t, struct lg_chain *chain, float dropout)
{
    struct lg_train_graph *g = &t->graph;
    lg_chain_init(chain, t->env, t->dev, t->batch.dims);
    g->g = (struct lg_graph){
        .chain = chain,
        .model = t->how.whole ? &t->params.whole : t->model,
        .batch = &t->batch,
        .tune = lg_tuning_choose(&t->dev->info),
        .phase = LG_PREFILL,
        .dim = LG_DIM_ROWS,
        .max_rows = t->how.max_rows,
    };
    g->tune = lg_train_tuning_choose(&t->dev->info);
    g->acts = t->acts;
    g->pairs = t->params.pairs;
    g->piece_rows = t->room.piece_rows;
    g->n_pieces = lg_div_up(t->how.max_rows, t->room.piece_rows);
    g->part_rows = t->room.part_rows;
    g->again = t->how.checkpoint;
    g->dropout = dropout;
}

static int build(struct lg_trainer *t)
{
    struct lg_train_graph *g = &t->graph;
    uint64_t before = t->dev->stats.memory_used;
    if (t->how.dropout > 0) {
        init_graph(t, &t->forward, 0);
        lg_train_forward(g);
        LG_TRY(lg_chain_compile(&t->forward, false));
    }
    init_graph(t, &t->chain, t->how.dropout);
    lg_train_forward(g);
    lg_train_backward(g);
    lg_train_optimize(g);
    LG_TRY(lg_chain_compile(&t->chain, false));
    t->device_bytes += t->dev->stats.memory_used - before;
    t->slice_ns = lg_alloc_array(t->env, t->chain.program->n_slices, sizeof(*t->slice_ns));
    t->order_keys = lg_alloc_array(t->env, t->how.max_rows, sizeof(*t->order_keys));
    return t->slice_ns && t->order_keys ? 0 : lg_fail_nomem(t->env, "a trainer's lists", t->how.max_rows * sizeof(uint64_t));
}

static int create(struct lg_trainer *t, const struct lg_lora *lora)
{
    if (t->model->vocab_only)
        return lg_fail(t->env, LLMGPU_E_INVALID, "the model was loaded without weights");
    LG_TRY(list_params(t, lora));
    LG_TRY(lg_train_room_plan(t, &t->room));
    LG_TRY(lg_train_room_take(t));
    lg_train_params_place(&t->params, t->graph.state.params);
    LG_TRY(lg_train_params_begin(&t->params, lora, t->how.seed));
    return build(t);
}

int lg_trainer_create(struct lg_env *env, const struct lg_model *model, const struct lg_trainer_params *how,
                      struct lg_trainer **out)
{
    struct lg_lora *lora = NULL;
    *out = NULL;
    struct lg_trainer *t = lg_alloc(env, sizeof(*t));
    if (!t)
        return lg_fail_nomem(env, "a trainer", sizeof(*t));
    t->env = env;
    t->model = model;
    t->dev = model->dev;
    t->how = *how;
    t->n_processes = 1;
    int rc = how->init ? lg_lora_load(env, model, how->init, &lora) : 0;
    if (rc == 0)
        rc = create(t, lora);
    lg_lora_destroy(lora);
    t->how.init = NULL;
    if (rc < 0) {
        lg_trainer_destroy(t);
        return rc;
    }
    *out = t;
    return 0;
}

static void clear_queue(struct lg_trainer *t)
{
    for (uint32_t i = 0; i < t->n_queue; i++)
        lg_train_batch_free(t->env, &t->queue[i]);
    t->n_queue = 0;
}

void lg_trainer_destroy(struct lg_trainer *t)
{
    if (!t)
        return;
    lg_program_destroy(t->fine);
    lg_free(t->env, t->fine_ns);
    lg_chain_finish(&t->chain);
    lg_chain_finish(&t->forward);
    lg_train_room_free(t);
    lg_train_params_finish(&t->params);
    clear_queue(t);
    lg_free(t->env, t->queue);
    lg_free(t->env, t->slice_ns);
    lg_free(t->env, t->order_keys);
    lg_free(t->env, t->gradients);
    lg_free(t->env, t);
}

/* ---- micro-batches -------------------------------------------------------------------------------------------------- */

static int bad_row(const struct lg_trainer *t, uint32_t row, const char *what, int64_t value)
{
    return lg_fail(t->env, LLMGPU_E_INVALID, "row %u of a micro-batch: %s %lld", row, what, (long long)value);
}

static int check_batch(const struct lg_trainer *t, const struct lg_train_batch *b)
{
    uint32_t V = t->model->hp.n_vocab, n_targets = 0;
    uint32_t n_pos = t->model->w.pos_embd.view.buf ? t->model->hp.n_ctx_train : UINT32_MAX;
    if (b->n_rows == 0 || b->n_rows > t->how.max_rows)
        return lg_fail(t->env, LLMGPU_E_INVALID, "a micro-batch of %u rows: 1 to %u are possible", b->n_rows, t->how.max_rows);
    for (uint32_t i = 0; i < b->n_rows; i++) {
        bool same = i > 0 && b->sample[i] == b->sample[i - 1];
        if (b->tokens[i] < 0 || (uint32_t)b->tokens[i] >= V)
            return bad_row(t, i, "there is no token", b->tokens[i]);
        if (b->targets[i] < -1 || b->targets[i] >= (int64_t)V)
            return bad_row(t, i, "there is no token", b->targets[i]);
        if (b->pos[i] != (same ? b->pos[i - 1] + 1 : 0))
            return bad_row(t, i, "positions of a sample count from 0, this is", b->pos[i]);
        if (b->pos[i] >= n_pos)
            return bad_row(t, i, "the model has no position", b->pos[i]);
        if (b->sample[i] != (i == 0 ? 0 : b->sample[i - 1] + !same))
            return bad_row(t, i, "samples are numbered from 0, this is", b->sample[i]);
        n_targets += b->targets[i] >= 0;
    }
    if (n_targets == 0)
        return lg_fail(t->env, LLMGPU_E_INVALID, "a micro-batch without a target");
    return 0;
}

static uint32_t count_targets(const struct lg_train_batch *b)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->n_rows; i++)
        n += b->targets[i] >= 0;
    return n;
}

int lg_trainer_add(struct lg_trainer *t, const struct lg_train_batch *batch)
{
    struct lg_train_batch copy;
    if (t->run.active)
        return lg_fail(t->env, LLMGPU_E_INVALID, "a step is under way");
    LG_TRY(check_batch(t, batch));
    if (t->n_queue == t->cap_queue) {
        uint32_t cap = t->cap_queue ? 2 * t->cap_queue : 8;
        struct lg_train_batch *queue = lg_resize(t->env, t->queue, cap * sizeof(*queue));
        if (!queue)
            return lg_fail_nomem(t->env, "the list of micro-batches", cap * sizeof(*queue));
        t->queue = queue;
        t->cap_queue = cap;
    }
    LG_TRY(lg_train_batch_create(t->env, batch->n_rows, &copy));
    size_t size = batch->n_rows * sizeof(*copy.tokens);
    copy.n_rows = batch->n_rows;
    copy.n_samples = batch->n_samples;
    copy.n_targets = count_targets(batch);
    memcpy(copy.tokens, batch->tokens, size);
    memcpy(copy.targets, batch->targets, size);
    memcpy(copy.pos, batch->pos, size);
    memcpy(copy.sample, batch->sample, size);
    t->queue[t->n_queue++] = copy;
    return 0;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/** Rows by ascending id, those of an id in their order. */
static void put_order(struct lg_trainer *t, struct lg_buffer *to, const uint32_t *ids, uint32_t n)
{
    uint32_t *order = to->map;
    for (uint32_t i = 0; i < n; i++)
        t->order_keys[i] = (uint64_t)ids[i] << 32 | i;
    qsort(t->order_keys, n, sizeof(*t->order_keys), by_number);
    for (uint32_t i = 0; i < n; i++)
        order[i] = (uint32_t)t->order_keys[i];
}

/** Gives the device a micro-batch. */
static void put_batch(struct lg_trainer *t, const struct lg_train_batch *b)
{
    uint32_t *dims = t->batch.dims->map, *targets = t->batch.targets->map, *out_ids = t->batch.out_ids->map, n_out = 0;
    struct lg_row *rows = t->batch.rows->map;
    memset(dims, 0, t->batch.dims->size);
    dims[LG_DIM_ROWS] = b->n_rows;
    for (uint32_t i = 0; i < t->graph.n_pieces; i++) {
        uint32_t first = i * t->room.piece_rows;
        dims[LG_N_DIMS + i] = first < b->n_rows ? lg_min_u32(t->room.piece_rows, b->n_rows - first) : 0;
    }
    for (uint32_t i = 0; i < b->n_rows; i++) {
        rows[i] = (struct lg_row){.token = (uint32_t)b->tokens[i], .pos = b->pos[i], .slot = b->sample[i]};
        if (b->targets[i] < 0)
            continue;
        out_ids[n_out] = i;
        targets[n_out++] = (uint32_t)b->targets[i];
    }
    dims[LG_DIM_OUT] = n_out;
    if (!t->how.whole)
        return;
    put_order(t, t->graph.order[0], (const uint32_t *)b->tokens, b->n_rows);
    put_order(t, t->graph.order[1], b->pos, b->n_rows);
}

/** Of the rows that have targets, as the device has them one behind the other. */
static double sum_losses(const struct lg_trainer *t, uint32_t n)
{
    const float *losses = t->acts.losses.buf->map;
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += losses[i];
    return sum;
}

/* ---- steps ---------------------------------------------------------------------------------------------------------- */

static int zero_gradients(struct lg_trainer *t)
{
    uint64_t size = t->graph.state.grads->size;
    uint8_t *zeros = lg_alloc(t->env, PIECE);
    int rc = zeros ? 0 : lg_fail_nomem(t->env, "zeros", PIECE);
    for (uint64_t at = 0; at < size && rc == 0; at += PIECE)
        rc = lg_upload(t->dev, (struct lg_view){t->graph.state.grads, at, lg_min_u64(PIECE, size - at)}, zeros);
    lg_free(t->env, zeros);
    return rc < 0 ? rc : lg_device_flush(t->dev);
}

/** Has all processes agree on sums. */
static int reduce(struct lg_trainer *t, float *values, size_t n)
{
    if (t->reduce && t->reduce(t->reduce_user, values, n) != 0)
        return lg_fail(t->env, LLMGPU_E_IO, "the sum over all processes failed");
    return 0;
}

static int begin_step(struct lg_trainer *t)
{
    struct lg_train_run *run = &t->run;
    if (t->n_queue == 0)
        return lg_fail(t->env, LLMGPU_E_INVALID, "a step without a micro-batch");
    *run = (struct lg_train_run){.active = true, .result.step = t->step};
    if (t->stale)
        LG_TRY(zero_gradients(t));
    t->stale = false;
    for (uint32_t i = 0; i < t->n_queue; i++) {
        run->result.n_rows += t->queue[i].n_rows;
        run->result.n_targets += t->queue[i].n_targets;
    }
    run->n_batches = t->n_queue;
    float counts[3] = {(float)run->result.n_targets, (float)run->result.n_rows, (float)t->n_queue};
    LG_TRY(reduce(t, counts, 3));
    if (t->reduce) {
        run->result.n_targets = (uint64_t)counts[0];
        run->result.n_rows = (uint64_t)counts[1];
        run->n_batches = (uint64_t)counts[2];
    }
    run->scale = 1.0 / (double)run->result.n_targets;
    return 0;
}

/** What the kernels are told of the step and the micro-batch. */
static void put_step(struct lg_trainer *t)
{
    struct lg_train_step *step = t->graph.step->map;
    double n = (double)(t->step + 1);
    t->run.result.lr = lg_schedule_rate(&t->how.schedule, t->step);
    *step = (struct lg_train_step){
        .lr = (float)t->run.result.lr,
        .correct1 = (float)(1 / (1 - pow(t->how.beta1, n))),
        .correct2 = (float)(1 / (1 - pow(t->how.beta2, n))),
        .loss_scale = (float)t->run.scale,
        .clip = t->how.clip,
        .seed_lo = (uint32_t)t->how.seed,
        .seed_hi = (uint32_t)(t->how.seed >> 32),
        .draw = (uint32_t)(t->n_draws + (uint64_t)t->run.batch * t->n_processes + t->process),
    };
}

/** Micro-batches, until all are forth and back: 1; 0 when the budget is over before. */
static int work_on_batches(struct lg_trainer *t, struct lg_train_budget *b)
{
    struct lg_train_run *run = &t->run;
    const struct lg_train_part part = lg_trainer_part(t);
    uint32_t end = lg_trainer_place(t, t->graph.norm_slice);
    while (run->batch < t->n_queue) {
        if (lg_trainer_is_cancelled(t))
            return LLMGPU_E_CANCELLED;
        if (run->slice == 0) {
            lg_trainer_scale_times(t, t->queue[run->batch].n_rows);
            put_batch(t, &t->queue[run->batch]);
            put_step(t);
        }
        int rc = lg_trainer_run(t, &part, &run->slice, end, b);
        if (rc <= 0)
            return rc;
        if (run->slice < end)
            continue;
        run->loss += sum_losses(t, t->queue[run->batch].n_targets);
        run->batch++;
        run->slice = run->batch < t->n_queue ? 0 : end;
    }
    return 1;
}

/** Brings gradients to the host where they are wanted there, and back when they have changed. */
static int exchange(struct lg_trainer *t)
{
    struct lg_train_state *s = &t->graph.state;
    float *values = t->gradients;
    if (!t->reduce && !values)
        return 0;
    if (!values)
        values = lg_alloc_array(t->env, s->n + 1, sizeof(*values));
    if (!values)
        return lg_fail_nomem(t->env, "gradients", (s->n + 1) * sizeof(*values));
    int rc = lg_download(t->dev, lg_view_all(s->grads), values);
    values[s->n] = (float)t->run.loss;
    if (rc == 0)
        rc = reduce(t, values, s->n + 1);
    if (rc == 0 && t->reduce) {
        t->run.loss = values[s->n];
        rc = lg_upload(t->dev, lg_view_all(s->grads), values);
    }
    if (values != t->gradients)
        lg_free(t->env, values);
    return rc < 0 ? rc : lg_device_flush(t->dev);
}

/** Looks whether there is a step to be made of the gradients. */
static int check_norm(struct lg_trainer *t)
{
    struct lg_train_run *run = &t->run;
    const struct lg_train_norm *norm = t->graph.norm->map;
    run->result.grad_norm = norm->norm;
    run->result.loss = run->loss * run->scale;
    if (lg_trainer_is_cancelled(t))
        return LLMGPU_E_CANCELLED;
    if (!isfinite(norm->norm) || !isfinite(run->result.loss))
        return lg_fail(t->env, LLMGPU_E_FORMAT, "step %llu: the loss is %g, and the norm of the gradients %g",
                       (unsigned long long)t->step, run->result.loss, (double)norm->norm);
    return 0;
}

/** The norm, then the step: 1; 0 when the budget is over before. */
static int optimize(struct lg_trainer *t, struct lg_train_budget *b)
{
    struct lg_train_run *run = &t->run;
    const struct lg_train_part part = lg_trainer_part(t);
    uint32_t step = lg_trainer_place(t, t->graph.step_slice),
             end = run->fine ? t->chain.n_ops : part.program->n_slices;
    int rc = run->exchanged ? 0 : exchange(t);
    run->exchanged = true;
    for (rc = rc < 0 ? rc : 1; rc == 1 && run->slice < step;)
        rc = lg_trainer_run(t, &part, &run->slice, step, b);
    if (rc == 1 && run->slice == step)
        LG_TRY(check_norm(t));
    while (rc == 1 && run->slice < end)
        rc = lg_trainer_run(t, &part, &run->slice, end, b);
    return rc;
}

/** Leaves nothing of a step that failed; its gradients are zeroed before the next one. */
static int give_up(struct lg_trainer *t, int rc)
{
    t->run.active = false;
    t->stale = true;
    clear_queue(t);
    if (rc == LLMGPU_E_CANCELLED) {
        atomic_store(t->how.cancelled, 0);
        rc = lg_fail(t->env, rc, "the step was cancelled");
    }
    return rc;
}

static int work(struct lg_trainer *t, uint64_t budget_ns)
{
    struct lg_train_budget budget = {.left_ns = budget_ns, .whole_ns = budget_ns, .first = true};
    if (!t->run.active)
        LG_TRY(begin_step(t));
    int done = work_on_batches(t, &budget);
    return done == 1 ? optimize(t, &budget) : done;
}

int lg_trainer_refine(struct lg_trainer *t)
{
    LG_TRY(lg_trainer_build_fine(t));
    if (!t->run.active) {
        bool nothing = t->n_queue == 0;
        int rc = begin_step(t);
        if (rc < 0)
            return nothing ? rc : give_up(t, rc);
    }
    if (!t->run.fine) {
        t->run.fine = true;
        t->run.slice = lg_trainer_place(t, t->run.slice);
    }
    return 0;
}

int lg_trainer_work(struct lg_trainer *t, uint64_t budget_ns, struct lg_train_result *out)
{
    bool nothing = !t->run.active && t->n_queue == 0;
    int rc = work(t, lg_max_u64(budget_ns, 1));
    if (rc < 0)
        return nothing ? rc : give_up(t, rc);
    if (rc == 0)
        return 0;
    t->step++;
    t->n_draws += t->run.n_batches;
    t->rows += t->run.result.n_rows;
    t->run.active = false;
    clear_queue(t);
    *out = t->run.result;
    return 1;
}

int lg_trainer_evaluate(struct lg_trainer *t, const struct lg_train_batch *batch, uint64_t budget_ns, double *loss)
{
    struct lg_train_run *run = &t->run;
    const struct lg_train_part part = t->forward.program
                                          ? (struct lg_train_part){t->forward.program, NULL}
                                          : (struct lg_train_part){t->chain.program, t->slice_ns};
    uint32_t end = t->forward.program ? part.program->n_slices : t->graph.back_slice;
    struct lg_train_budget budget = {.left_ns = budget_ns, .whole_ns = budget_ns, .first = true};
    if (run->active)
        return lg_fail(t->env, LLMGPU_E_INVALID, "a step is under way");
    if (!run->evaluating) {
        LG_TRY(check_batch(t, batch));
        *run = (struct lg_train_run){.evaluating = true};
        put_batch(t, batch);
        put_step(t);
    }
    int rc = 1;
    while (run->slice < end && rc == 1)
        rc = lg_trainer_is_cancelled(t) ? LLMGPU_E_CANCELLED
                                        : lg_trainer_run(t, &part, &run->slice, end, &budget);
    if (rc == 0)
        return 0;
    run->evaluating = false;
    if (rc == LLMGPU_E_CANCELLED) {
        atomic_store(t->how.cancelled, 0);
        rc = lg_fail(t->env, rc, "the evaluation was cancelled");
    }
    LG_TRY(rc);
    *loss = sum_losses(t, count_targets(batch));
    return 1;
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

int lg_trainer_read(struct lg_trainer *t, uint32_t tensor, float *values)
{
    const struct lg_train_tensor *from = &t->params.tensors[tensor];
    uint64_t size = (uint64_t)from->rows * from->cols * sizeof(float);
    struct lg_view all = {.buf = t->graph.state.params, .offset = from->at * sizeof(float), .size = size};
    for (uint64_t at = 0; at < size; at += PIECE) {
        struct lg_view v = {.buf = all.buf, .offset = all.offset + at, .size = lg_min_u64(PIECE, size - at)};
        LG_TRY(lg_download(t->dev, v, (uint8_t *)values + at));
    }
    return 0;
}

int lg_trainer_keep_gradients(struct lg_trainer *t, bool keep)
{
    if (!keep) {
        lg_free(t->env, t->gradients);
        t->gradients = NULL;
        return 0;
    }
    if (!t->gradients)
        t->gradients = lg_alloc_array(t->env, t->graph.state.n + 1, sizeof(*t->gradients));
    return t->gradients ? 0 : lg_fail_nomem(t->env, "gradients", (t->graph.state.n + 1) * sizeof(float));
}
