/* SPDX-License-Identifier: MIT */
#include "runtime/tune.h"

#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "llmgpu/version.h"
#include "runtime/pass.h"
#include "runtime/run.h"
#include "runtime/tunings.h"
#include "util/checked.h"
#include "util/clock.h"
#include "util/filemap.h"
#include "util/newfile.h"

enum {
    LAYERS = 4,   // of the model, so that their weights are not all in a cache
    PAGES = 16,   // of the caches
    ROWS = 256,   // of a prefill
    DEPTH = 64,   // position of a decoded token
    RUNS = 3,     // of a candidate after one that warms up; the shortest counts
    WORTH = 32,   // a candidate is taken when it saves one part of so many
};
#define LIMIT_NS UINT64_C(300000000) // after which no other candidate is begun

/** A choice: which candidates there are, and the pass that tells which is the fastest. */
struct choice {
    const char *name;
    bool (*candidate)(const struct lg_device_info *info, uint32_t i, struct lg_tuning *tune);
    enum lg_phase phase;
    enum lg_pass_tail tail;
    uint32_t rows, pos;
    bool whole; // all candidates are tried at once: they round, and answers are not to change with the next start
};

/* What products are made of comes first, since sizes are of these. */
static const struct choice choices[] = {
    {"decode", lg_tuning_decode, LG_DECODE, LG_TAIL_SAMPLE, 1, DEPTH, true},
    {"prefill", lg_tuning_prefill, LG_PREFILL, LG_TAIL_NONE, ROWS, 0, true},
    {"matvec", lg_tuning_matvec, LG_DECODE, LG_TAIL_SAMPLE, 1, DEPTH, false},
    {"fused", lg_tuning_fused, LG_DECODE, LG_TAIL_SAMPLE, 1, DEPTH, false},
    {"matmul", lg_tuning_matmul, LG_PREFILL, LG_TAIL_NONE, ROWS, 0, false},
    {"packed", lg_tuning_packed, LG_PREFILL, LG_TAIL_NONE, ROWS, 0, false},
    {"coop", lg_tuning_coop, LG_PREFILL, LG_TAIL_NONE, ROWS, 0, false},
};

/** One lg_tune(). */
struct tuner {
    struct lg_env *env;
    struct lg_engine *target;
    struct lg_model model; // the target's, with fewer layers
    struct lg_engine engine; // of that
    bool ready;              // it has its buffers
    struct lg_tunings known;
    bool learnt; // something that is not in the file
    uint64_t end_ns;
};

/* ---- what the result depends on */

static uint64_t add_weight(uint64_t key, const struct lg_weight *w)
{
    uint32_t facts[] = {w->type, w->rows, w->cols};
    return XXH3_64bits_withSeed(facts, sizeof(facts), key);
}

static uint64_t key_of(const struct lg_model *model, const struct lg_tuning *tune, const struct choice *c)
{
    const struct lg_hparams *hp = &model->hp;
    uint32_t products[] = {tune->int8, tune->half, tune->decode, tune->prefill, tune->prefill_plain};
    uint32_t facts[] = {LLMGPU_VERSION_MAJOR, LLMGPU_VERSION_MINOR, LLMGPU_VERSION_PATCH, hp->n_heads, hp->n_kv, hp->head_dim};
    uint64_t key = XXH3_64bits(c->name, strlen(c->name));
    key = XXH3_64bits_withSeed(facts, sizeof(facts), key);
    key = XXH3_64bits_withSeed(products, sizeof(products), key);
    for (uint32_t i = 0; i < hp->n_layers; i++)
        for (uint32_t t = 0; t < LG_N_TARGETS; t++)
            key = add_weight(key, lg_layer_target(&model->w.layers[i], t));
    return add_weight(key, &model->w.output);
}

/* ---- the file */

static void read_known(struct tuner *t)
{
    const struct lg_device *dev = t->target->dev;
    struct lg_filemap map = {0};
    t->known.n = 0;
    if (access(dev->tuning_path, R_OK) != 0)
        return;
    if (lg_filemap_open(t->env, dev->tuning_path, &map) < 0)
        lg_log(t->env, LG_LOG_WARN, "measured sizes: %s", t->env->error);
    else if (map.size > 0 && !lg_tunings_parse(&t->known, dev->tuning_key, map.data, map.size))
        lg_log(t->env, LG_LOG_WARN, "measured sizes: '%s' is damaged and was ignored", dev->tuning_path);
    lg_filemap_close(&map);
}

static void write_known(struct tuner *t)
{
    const struct lg_device *dev = t->target->dev;
    uint8_t bytes[LG_MAX_TUNINGS_BYTES];
    struct lg_newfile file = {0};
    lg_newfile_folders(dev->tuning_path);
    int rc = lg_newfile_open(t->env, dev->tuning_path, &file);
    if (rc == 0)
        rc = lg_newfile_write(&file, bytes, lg_tunings_write(&t->known, dev->tuning_key, bytes));
    rc = lg_newfile_close(&file, rc);
    if (rc < 0)
        lg_log(t->env, LG_LOG_WARN, "measured sizes were not kept: %s", t->env->error);
}

/* ---- measuring */

static int make_ready(struct tuner *t)
{
    struct lg_engine *e = &t->engine;
    if (t->ready)
        return 0;
    LG_TRY(lg_engine_grow(e, PAGES, PAGES, ROWS));
    for (uint32_t i = 0; i < PAGES; i++)
        ((uint32_t *)e->batch.pages->map)[i] = i;
    t->ready = true;
    return 0;
}

static int time_pass(struct lg_engine *e, const struct choice *c, struct lg_pass *pass, uint64_t *ns)
{
    const struct lg_program *program = pass->chain.program;
    static const int32_t tokens[ROWS];
    *ns = UINT64_MAX;
    lg_batch_write(lg_engine_batch(e, c->phase), 0, tokens, c->rows, c->pos);
    lg_batch_dims(lg_engine_batch(e, c->phase), c->rows, c->phase == LG_DECODE, 0, 0, 0);
    for (int i = 0; i <= RUNS; i++) {
        uint64_t begin = lg_now_ns(), ticket;
        LG_TRY(lg_program_submit(pass->chain.program, 0, program->n_slices, 1, &ticket));
        LG_TRY(lg_device_wait(e->dev, ticket, UINT64_MAX));
        uint64_t took = lg_now_ns() - begin;
        if (i > 0 && took < *ns)
            *ns = took;
    }
    return 0;
}

static int measure(struct tuner *t, const struct choice *c, const struct lg_tuning *tune, uint64_t *ns)
{
    struct lg_pass pass = {0};
    LG_TRY(make_ready(t));
    t->engine.tune = *tune;
    int rc = lg_pass_build(&t->engine, &pass, NULL, c->phase, c->tail, c->rows);
    if (rc == 0)
        rc = time_pass(&t->engine, c, &pass, ns);
    lg_pass_finish(&pass);
    return rc;
}

/** Tries candidates from found->n_tried on, while there is time or until all were. */
static int try_others(struct tuner *t, const struct choice *c, uint32_t n, struct lg_tuning_found *found)
{
    const struct lg_device_info *info = &t->target->dev->info;
    struct lg_tuning tune = t->target->tune;
    c->candidate(info, found->chosen, &tune);
    LG_TRY(measure(t, c, &tune, &found->ns)); // again, so that all were measured under the same load
    found->n_tried = lg_max_u32(1, found->n_tried);
    do {
        uint64_t ns;
        c->candidate(info, found->n_tried, &tune);
        LG_TRY(measure(t, c, &tune, &ns));
        if (ns < found->ns - found->ns / WORTH) {
            found->ns = ns;
            found->chosen = found->n_tried;
        }
    } while (++found->n_tried < n && (c->whole || lg_now_ns() < t->end_ns));
    return 0;
}

static int make_choice(struct tuner *t, const struct choice *c)
{
    const struct lg_device_info *info = &t->target->dev->info;
    struct lg_tuning scratch = t->target->tune;
    uint32_t n = 0;
    while (c->candidate(info, n, &scratch))
        n++;
    if (n < 2)
        return 0;
    struct lg_tuning_found found = {.key = key_of(&t->model, &t->target->tune, c)};
    const struct lg_tuning_found *known = lg_tunings_find(&t->known, found.key);
    if (known && known->n_tried <= n)
        found = *known;
    int rc = 0;
    if (found.n_tried < n && (c->whole || lg_now_ns() < t->end_ns)) {
        rc = try_others(t, c, n, &found);
        lg_log(t->env, LG_LOG_INFO, "measured %s: candidate %u of %u tried of %u is the fastest, %.3f ms", c->name,
               found.chosen + 1, found.n_tried, n, 1e-6 * (double)found.ns);
        t->learnt |= found.n_tried > 0;
    }
    if (found.n_tried > 0) {
        c->candidate(info, found.chosen, &t->target->tune);
        lg_tunings_put(&t->known, &found);
    }
    return rc;
}

static int tune(struct tuner *t)
{
    t->model = *t->target->model;
    t->model.hp.n_layers = lg_min_u32(t->model.hp.n_layers, LAYERS);
    lg_engine_init(&t->engine, t->env, &t->model);
    t->engine.tuned = true;
    read_known(t);
    int rc = 0;
    for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]) && rc == 0; i++)
        rc = make_choice(t, &choices[i]);
    if (t->learnt)
        write_known(t);
    lg_engine_finish(&t->engine);
    return rc;
}

int lg_tune(struct lg_engine *e)
{
    if (e->tuned || !e->dev->tuning_path)
        return 0;
    struct tuner *t = lg_alloc(e->env, sizeof(*t));
    if (!t)
        return lg_fail_nomem(e->env, "measuring", sizeof(*t));
    t->env = e->env;
    t->target = e;
    t->end_ns = lg_now_ns() + LIMIT_NS;
    int rc = tune(t);
    lg_free(e->env, t);
    if (rc == LLMGPU_E_CANCELLED || e->dev->lost)
        return rc < 0 ? rc : LLMGPU_E_DEVICE_LOST;
    if (rc < 0)
        lg_log(e->env, LG_LOG_WARN, "not all sizes were measured: %s", e->env->error);
    e->tuned = true;
    return 0;
}
