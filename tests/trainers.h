/* SPDX-License-Identifier: MIT
 *
 * Trainers of the bundled model, their micro-batches, and what they have learned: what tests of training
 * share.
 */
#ifndef LG_TESTS_TRAINERS_H
#define LG_TESTS_TRAINERS_H

#include "tavern.h"

enum { MAX_ROWS = 48, MAX_PARAMS = 1 << 20 };

static const char *const texts[] = {
    "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\nI am the moon, and I hum.<|im_end|>\n",
    "<|im_start|>user\nWhat do you sell?<|im_end|>\n<|im_start|>assistant\nNothing but fog.<|im_end|>\n",
    "<|im_start|>user\nWhere is the inn?<|im_end|>\n<|im_start|>assistant\nUnder the sea.<|im_end|>\n",
};
enum { N_TEXTS = 3 };

/** A micro-batch of samples. */
struct batch {
    int32_t tokens[MAX_ROWS], targets[MAX_ROWS];
    uint32_t positions[MAX_ROWS], samples[MAX_ROWS];
    llmgpu_batch b;
};

static inline void add_text(const struct tavern *t, struct batch *to, const char *text)
{
    int32_t tokens[MAX_ROWS + 1];
    size_t n;
    REQUIRE_INT(llmgpu_tokenize(t->model, text, strlen(text), LLMGPU_TOKENIZE_PARSE_SPECIAL, tokens,
                                MAX_ROWS + 1, &n),
                ==, 0);
    REQUIRE(to->b.n_rows + n - 1 <= MAX_ROWS);
    for (uint32_t i = 0; i + 1 < n; i++, to->b.n_rows++) {
        to->tokens[to->b.n_rows] = tokens[i];
        to->targets[to->b.n_rows] = i < 3 ? -1 : tokens[i + 1];
        to->positions[to->b.n_rows] = i;
        to->samples[to->b.n_rows] = to->b.n_samples;
        to->b.n_targets += i >= 3;
    }
    to->b.n_samples++;
    to->b.tokens = to->tokens;
    to->b.targets = to->targets;
    to->b.positions = to->positions;
    to->b.samples = to->samples;
}

static inline struct batch *batch_of(const struct tavern *t, uint32_t first, uint32_t n)
{
    struct batch *b = calloc(1, sizeof(*b));
    REQUIRE(b);
    for (uint32_t i = 0; i < n; i++)
        add_text(t, b, texts[(first + i) % N_TEXTS]);
    return b;
}

static inline llmgpu_trainer_params plain(void)
{
    llmgpu_trainer_params p;
    REQUIRE_INT(llmgpu_trainer_params_init(&p, sizeof(p)), ==, 0);
    p.max_rows = MAX_ROWS;
    p.rank = 4;
    p.lr = 5e-3f;
    p.schedule = LLMGPU_SCHEDULE_COSINE;
    p.warmup = 2;
    p.n_steps = 20;
    p.seed = 7;
    return p;
}

static inline llmgpu_trainer *make(const struct tavern *t, const llmgpu_trainer_params *p)
{
    llmgpu_trainer *trainer;
    int rc = llmgpu_trainer_create(&trainer, t->model, p);
    if (rc < 0)
        fprintf(stderr, "%s\n", llmgpu_context_error(t->ctx));
    REQUIRE_INT(rc, ==, 0);
    return trainer;
}

static inline void add(llmgpu_trainer *trainer, const struct batch *b)
{
    int rc = llmgpu_trainer_add(trainer, &b->b, sizeof(b->b));
    if (rc < 0)
        fprintf(stderr, "%s\n", llmgpu_trainer_error(trainer));
    REQUIRE_INT(rc, ==, 0);
}

/** Step number `i` of all runs, with micro-batches of its own. */
static inline llmgpu_train_result step(const struct tavern *t, llmgpu_trainer *trainer, uint32_t i)
{
    llmgpu_train_result r;
    struct batch *b = batch_of(t, i, 1);
    add(trainer, b);
    int rc = llmgpu_trainer_step(trainer, &r, sizeof(r));
    if (rc < 0)
        fprintf(stderr, "%s\n", llmgpu_trainer_error(trainer));
    REQUIRE_INT(rc, ==, 0);
    REQUIRE_INT(r.step, ==, i);
    REQUIRE_INT(r.n_rows, ==, b->b.n_rows);
    REQUIRE_INT(r.n_targets, ==, b->b.n_targets);
    free(b);
    return r;
}

/** All numbers that are trained, or their gradients; returns how many. */
static inline size_t read_all(llmgpu_trainer *trainer, int32_t what, float *out)
{
    llmgpu_trainer_info info;
    size_t n = 0;
    REQUIRE_INT(llmgpu_trainer_get_info(trainer, &info, sizeof(info)), ==, 0);
    for (uint32_t i = 0; i < info.n_tensors; i++) {
        llmgpu_train_tensor tensor;
        REQUIRE_INT(llmgpu_trainer_get_tensor(trainer, i, &tensor, sizeof(tensor)), ==, 0);
        REQUIRE(n + (size_t)tensor.rows * tensor.cols <= MAX_PARAMS);
        REQUIRE_INT(llmgpu_trainer_read_tensor(trainer, i, what, out + n, MAX_PARAMS - n), ==, 0);
        n += (size_t)tensor.rows * tensor.cols;
    }
    REQUIRE_INT(n, ==, info.n_params);
    return n;
}

/** What a run of some steps comes to: the losses, then all numbers. */
struct outcome {
    double losses[16];
    size_t n;
    float *values;
};

static inline struct outcome outcome_of(llmgpu_trainer *trainer)
{
    struct outcome o = {.values = malloc(MAX_PARAMS * sizeof(float))};
    REQUIRE(o.values);
    o.n = read_all(trainer, LLMGPU_TRAIN_VALUE, o.values);
    return o;
}

static inline struct outcome run_alone(const struct tavern *t, const llmgpu_trainer_params *p,
                                       uint32_t n_steps)
{
    llmgpu_trainer *trainer = make(t, p);
    double losses[16];
    for (uint32_t i = 0; i < n_steps; i++)
        losses[i] = step(t, trainer, i).loss;
    struct outcome o = outcome_of(trainer);
    memcpy(o.losses, losses, n_steps * sizeof(*losses));
    llmgpu_trainer_free(trainer);
    return o;
}

/** The same, bit for bit. */
static inline void require_same(llmgpu_trainer *trainer, const struct outcome *o)
{
    struct outcome own = outcome_of(trainer);
    REQUIRE_INT(own.n, ==, o->n);
    REQUIRE(memcmp(own.values, o->values, o->n * sizeof(float)) == 0);
    free(own.values);
}

#endif
