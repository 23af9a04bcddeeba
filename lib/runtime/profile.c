/* SPDX-License-Identifier: MIT */
#include "runtime/profile.h"

#include <stdlib.h>
#include <string.h>

#include "graph/work.h"
#include "runtime/pass.h"
#include "runtime/run.h"
#include "runtime/sharing.h"
#include "util/checked.h"
#include "util/clock.h"

/** A pass that is profiled. */
struct profiler {
    struct lg_session *s;
    struct lg_engine *engine;
    struct lg_pass *pass;
    struct lg_program *program; // the pass's dispatches in its slices, measured
    enum lg_run_kind kind;
    uint32_t pos, n_tokens, n_passes;
    int32_t *tokens;  // [n_tokens]
    uint64_t *ns;     // [n_passes][n_ops] of each dispatch
    uint64_t *piece;  // [n_ops] of the last submission
    uint64_t *column; // [n_passes]
    uint64_t *walls;  // [n_passes] of the whole
};

/** Builds the pass that the session's next one would be. */
static int prepare(struct profiler *p)
{
    struct lg_session *s = p->s;
    struct lg_engine *e = p->engine;
    LG_TRY(lg_share_need_room(s, p->pos, p->n_tokens));
    *lg_engine_lora(e, s->slot) = s->lora;
    struct lg_passes *passes = lg_engine_passes(e, s->slot);
    const struct lg_adapters *adapters = lg_engine_adapters(e, s->slot);
    bool top = s->params.n_candidates > 0;
    if (p->kind == LG_RUN_PREFILL) {
        p->pass = &passes->prefill;
        LG_TRY(lg_pass_build(e, p->pass, adapters, LG_PREFILL, LG_TAIL_NONE, e->prefill_rows));
    } else {
        p->pass = top ? &passes->decode_top : &passes->decode;
        LG_TRY(lg_pass_build(e, p->pass, adapters, LG_DECODE, top ? LG_TAIL_SAMPLE_TOP : LG_TAIL_SAMPLE, 1));
    }
    lg_run_drop(e); // whose pass it was begins it again
    struct lg_chain *chain = &p->pass->chain;
    return lg_chain_record(chain, chain->marks, chain->n_marks, true, &p->program);
}

static int allocate(struct profiler *p)
{
    struct lg_env *env = p->engine->env;
    size_t n_ops = p->program->n_ops, n_passes = p->n_passes;
    p->tokens = lg_alloc_array(env, p->n_tokens, sizeof(*p->tokens));
    p->ns = lg_alloc_array(env, n_passes, n_ops * sizeof(*p->ns));
    p->piece = lg_alloc_array(env, n_ops, sizeof(*p->piece));
    p->column = lg_alloc_array(env, n_passes, sizeof(*p->column));
    p->walls = lg_alloc_array(env, n_passes, sizeof(*p->walls));
    if (!p->tokens || !p->ns || !p->piece || !p->column || !p->walls)
        return lg_fail_nomem(env, "a profile", n_passes * n_ops * sizeof(*p->ns));
    for (uint32_t i = 0; i < p->n_tokens; i++)
        p->tokens[i] = (int32_t)(i % p->engine->model->hp.n_vocab);
    return 0;
}

static void set_up(struct profiler *p)
{
    struct lg_session *s = p->s;
    bool decode = p->kind == LG_RUN_DECODE;
    struct lg_member m = {
        .slot = s->slot, .tokens = p->tokens, .n = p->n_tokens, .pos = p->pos, .top = decode && s->params.n_candidates > 0};
    if (decode) {
        pthread_mutex_lock(&s->sched->lock);
        lg_session_set_up_sampler(s, 1);
        pthread_mutex_unlock(&s->sched->lock);
    }
    lg_run_begin(p->engine, p->pass, p->kind, &m, 1, 1, 1);
}

/** One pass in submissions as long as those of a real one; `ns` and `wall` may be NULL. */
static int run_once(struct profiler *p, uint64_t *ns, uint64_t *wall)
{
    struct lg_device *dev = p->engine->dev;
    uint32_t n_slices = p->program->n_slices, n;
    set_up(p);
    for (uint32_t first = 0; first < n_slices; first += n) {
        uint64_t ticket, begin = lg_now_ns();
        n = p->kind == LG_RUN_DECODE ? n_slices : lg_run_slices(p->pass, n_slices - first);
        LG_TRY(lg_program_submit(p->program, first, n, 1, &ticket));
        LG_TRY(lg_device_wait(dev, ticket, UINT64_MAX));
        uint64_t took = lg_now_ns() - begin;
        p->pass->slice_ns = took / n + 1;
        if (!ns)
            continue;
        *wall += took;
        LG_TRY(lg_program_times(p->program, p->piece));
        for (uint32_t i = 0; i < p->program->n_ops; i++)
            ns[i] += p->piece[i]; // 0 for what was not submitted
    }
    return 0;
}

static int compare_ns(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t median(uint64_t *values, uint32_t n)
{
    qsort(values, n, sizeof(*values), compare_ns);
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

static uint64_t median_of_op(const struct profiler *p, uint32_t op)
{
    for (uint32_t i = 0; i < p->n_passes; i++)
        p->column[i] = p->ns[(size_t)i * p->program->n_ops + op];
    return median(p->column, p->n_passes);
}

/* ---- adding up */

static struct lg_work_frame frame_of(const struct profiler *p)
{
    const struct lg_engine *e = p->engine;
    const struct lg_batch *batch = lg_engine_batch(e, p->kind == LG_RUN_DECODE ? LG_DECODE : LG_PREFILL);
    struct lg_work_frame frame = {
        .batch = batch,
        .acts = p->pass->acts,
        .results = p->pass->top,
        .max_rows = p->pass->max_rows,
        .n_layers = e->model->hp.n_layers,
        .cache_tokens = (uint64_t)e->n_pages * e->batch.page_size,
        .pos = p->pos,
    };
    memcpy(frame.dims, batch->dims->map, sizeof(frame.dims));
    return frame;
}

static struct lg_profile_row *row_of(struct lg_profile *profile, const char *kernel, const char *label)
{
    for (uint32_t i = 0; i < profile->n_rows; i++)
        if (strcmp(profile->rows[i].kernel, kernel) == 0 && strcmp(profile->rows[i].label, label) == 0)
            return &profile->rows[i];
    struct lg_profile_row *row = &profile->rows[profile->n_rows++];
    *row = (struct lg_profile_row){.kernel = kernel, .label = label};
    return row;
}

static int compare_rows(const void *a, const void *b)
{
    uint64_t x = ((const struct lg_profile_row *)a)->ns, y = ((const struct lg_profile_row *)b)->ns;
    return (x < y) - (x > y);
}

static int add_up(const struct profiler *p, struct lg_profile *out)
{
    const struct lg_chain *chain = &p->pass->chain;
    const struct lg_work_frame frame = frame_of(p);
    out->rows = lg_alloc_array(p->engine->env, chain->n_ops, sizeof(*out->rows));
    if (!out->rows)
        return lg_fail_nomem(p->engine->env, "a profile", chain->n_ops * sizeof(*out->rows));
    for (uint32_t i = 0; i < chain->n_ops; i++) {
        const struct lg_dispatch *op = &chain->ops[i];
        struct lg_profile_row *row =
            row_of(out, lg_kernel_infos[op->kernel].name, chain->labels[i] ? chain->labels[i] : "");
        struct lg_work work = {0};
        if (lg_chain_runs(chain, i, frame.dims))
            work = lg_work_of(&frame, op, chain->rules[i].dim);
        row->calls++;
        row->ns += median_of_op(p, i);
        row->bytes += work.bytes;
        row->flops += work.flops;
        out->n_barriers += op->barrier;
    }
    out->n_dispatches = chain->n_ops;
    out->pass_ns = median(p->walls, p->n_passes);
    qsort(out->rows, out->n_rows, sizeof(*out->rows), compare_rows);
    return 0;
}

static int run(struct profiler *p, struct lg_profile *out)
{
    LG_TRY(prepare(p));
    LG_TRY(allocate(p));
    p->s->sched->dev->stop = &p->s->cancelled;
    LG_TRY(run_once(p, NULL, NULL));
    for (uint32_t i = 0; i < p->n_passes; i++)
        LG_TRY(run_once(p, p->ns + (size_t)i * p->program->n_ops, &p->walls[i]));
    set_up(p); // the last sample has left no rows for a next pass
    return add_up(p, out);
}

int lg_profile_run(struct lg_session *s, enum lg_run_kind kind, uint32_t n_tokens, uint32_t n_passes,
                   struct lg_profile *out)
{
    struct lg_engine *e = s->engine;
    struct profiler p = {.s = s, .engine = e, .kind = kind, .n_tokens = n_tokens, .n_passes = n_passes};
    *out = (struct lg_profile){0};
    pthread_mutex_lock(&s->sched->lock);
    p.pos = s->n_past;
    pthread_mutex_unlock(&s->sched->lock);
    if (!e->dev->info.timestamps)
        return lg_fail(e->env, LLMGPU_E_UNSUPPORTED, "the device '%s' measures no dispatches",
                       e->dev->info.id);
    if (n_tokens > s->params.n_ctx - p.pos)
        return lg_fail(e->env, LLMGPU_E_CONTEXT_FULL,
                       "%u tokens and a pass of %u do not fit into a context of %u", p.pos, n_tokens,
                       s->params.n_ctx);
    int rc = run(&p, out);
    lg_run_drop(e);
    lg_program_destroy(p.program);
    lg_free(e->env, p.tokens);
    lg_free(e->env, p.ns);
    lg_free(e->env, p.piece);
    lg_free(e->env, p.column);
    lg_free(e->env, p.walls);
    return lg_session_end_work(s, rc);
}

void lg_profile_finish(struct lg_env *env, struct lg_profile *profile)
{
    lg_free(env, profile->rows);
    *profile = (struct lg_profile){0};
}

/* ---- a dispatch that does next to nothing */

enum { N_COPIES = 1024, COPY_WORDS = 64, N_ROUNDS = 20 };

/** Two rows, copied to each other in turn, so that each copy needs what the one before it wrote. */
static int build_copies(struct lg_chain *chain, struct lg_buffer *const rows[2])
{
    const struct lg_tuning tune = lg_tuning_choose(&chain->dev->info);
    struct lg_rowwise_push push = {.n_cols = COPY_WORDS};
    for (uint32_t i = 0; i < N_COPIES; i++) {
        struct lg_chain_op op = {
            .kernel = LG_K_COPY,
            .views = {lg_view_all(rows[i % 2]), lg_view_all(rows[(i + 1) % 2])},
            .spec = {tune.flat_wg},
            .grid = {.grid = {lg_div_up(COPY_WORDS, tune.flat_wg), 1, 1}, .dim = LG_DIM_NONE},
            .push = &push,
            .push_size = sizeof(push),
            .label = "copy",
        };
        lg_chain_add(chain, &op);
    }
    return lg_chain_compile(chain, false);
}

static int time_copies(struct lg_device *dev, struct lg_chain *chain, double *out)
{
    uint64_t best = UINT64_MAX, ticket;
    for (int i = 0; i < N_ROUNDS; i++) {
        uint64_t begin = lg_now_ns();
        LG_TRY(lg_program_submit(chain->program, 0, chain->program->n_slices, 1, &ticket));
        LG_TRY(lg_device_wait(dev, ticket, UINT64_MAX));
        uint64_t ns = lg_now_ns() - begin;
        best = ns < best ? ns : best;
    }
    *out = (double)best / N_COPIES;
    return 0;
}

int lg_dispatch_measure(struct lg_env *env, struct lg_device *dev, double *ns)
{
    struct lg_buffer *rows[2] = {0}, *dims = NULL;
    struct lg_chain chain = {0};
    int rc = lg_buffer_create(dev, LG_N_DIMS * sizeof(uint32_t), LG_MEM_SHARED, &dims);
    for (int i = 0; i < 2 && rc == 0; i++)
        rc = lg_buffer_create(dev, COPY_WORDS * sizeof(uint32_t), LG_MEM_DEVICE, &rows[i]);
    if (rc == 0) {
        lg_chain_init(&chain, env, dev, dims);
        rc = build_copies(&chain, rows);
    }
    if (rc == 0)
        rc = time_copies(dev, &chain, ns);
    lg_chain_finish(&chain);
    lg_buffer_destroy(rows[0]);
    lg_buffer_destroy(rows[1]);
    lg_buffer_destroy(dims);
    return rc;
}
