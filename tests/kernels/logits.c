/* SPDX-License-Identifier: MIT
 * Kernels over rows of logits: softmax, argmax, log_prob, penalties. */
#include "check.h"

static const uint32_t vocabularies[] = {1, 2, 13, 1000, 32003};
enum { N_VOCABULARIES = sizeof(vocabularies) / sizeof(vocabularies[0]) };

static struct check_case rowwise_case(struct check *c, enum lg_kernel kernel,
                                      const struct lg_rowwise_push *push, uint32_t n_rows)
{
    return (struct check_case){
        .kernel = kernel,
        .spec = {check_workgroup(c)},
        .grid = {n_rows, 1, 1},
        .push = push,
        .push_size = sizeof(*push),
        .bytes = 4.0 * push->n_cols * n_rows,
    };
}

static void softmax_case(struct check *c, uint32_t n_cols, uint32_t n_rows)
{
    struct lg_rowwise_push push = {.n_cols = n_cols};
    struct check_case k = rowwise_case(c, LG_K_SOFTMAX, &push, n_rows);
    size_t n = (size_t)n_cols * n_rows;
    float *x = check_floats(c, n, 480, 500);
    k.data[0] = x;
    k.size[0] = k.size[1] = n * 4;
    k.tolerance[1] = (struct check_tolerance){.abs = 1e-9f, .rel = 2e-5f};
    check_run(c, &k, "%ux%u", n_rows, n_cols);
    free(x);
}

void check_softmax(struct check *c)
{
    for (int i = 0; i < N_VOCABULARIES && !c->bench; i++)
        softmax_case(c, vocabularies[i], check_int(c, 1, 3));
    if (c->bench)
        softmax_case(c, 151936, 1);
}

enum oddity { NONE, TIES, NANS, ALL_MINUS_INFINITY, N_ODDITIES };

static void argmax_case(struct check *c, uint32_t n_cols, uint32_t n_rows, enum oddity oddity)
{
    struct lg_rowwise_push push = {.n_cols = n_cols};
    struct check_case k = rowwise_case(c, LG_K_ARGMAX, &push, n_rows);
    size_t n = (size_t)n_cols * n_rows;
    float *x = check_floats(c, n, -9, 9);
    for (size_t i = 0; i < n; i++) {
        if (oddity == TIES)
            x[i] = floorf(x[i] / 4);
        if ((oddity == NANS && check_int(c, 0, 1)) || (oddity == NANS && n_cols == 1))
            x[i] = NAN;
        if (oddity == ALL_MINUS_INFINITY)
            x[i] = -INFINITY;
    }
    k.data[0] = x;
    k.size[0] = n * 4;
    k.size[1] = (size_t)n_rows * 8;
    check_run(c, &k, "%ux%u, oddity %d", n_rows, n_cols, oddity);
    free(x);
}

void check_argmax(struct check *c)
{
    for (int i = 0; i < N_VOCABULARIES && !c->bench; i++) {
        for (int oddity = 0; oddity < N_ODDITIES; oddity++)
            argmax_case(c, vocabularies[i], check_int(c, 1, 3), (enum oddity)oddity);
    }
    if (c->bench)
        argmax_case(c, 151936, 1, NONE);
}

static void log_prob_case(struct check *c, uint32_t n_cols, uint32_t n_rows)
{
    struct lg_rowwise_push push = {.n_cols = n_cols};
    struct check_case k = rowwise_case(c, LG_K_LOG_PROB, &push, n_rows);
    size_t n = (size_t)n_cols * n_rows;
    float *x = check_floats(c, n, -20, 20);
    uint32_t *targets = check_words(c, n_rows, n_cols);
    k.data[0] = x;
    k.data[1] = targets;
    k.size[0] = n * 4;
    k.size[1] = k.size[2] = (size_t)n_rows * 4;
    k.tolerance[2] = (struct check_tolerance){.abs = 2e-5f, .rel = 2e-6f};
    check_run(c, &k, "%ux%u", n_rows, n_cols);
    free(x);
    free(targets);
}

void check_log_prob(struct check *c)
{
    for (int i = 0; i < N_VOCABULARIES && !c->bench; i++)
        log_prob_case(c, vocabularies[i], check_int(c, 1, 3));
    if (c->bench)
        log_prob_case(c, 151936, 1);
}

/* Two output rows among four rows, each with a slot of its own. */
static void penalties_case(struct check *c, uint32_t n_vocab, bool off)
{
    enum { N_OUT = 2, N_ROWS = 4, N_SLOTS = 5 };
    struct lg_sample_push push = {.n_vocab = n_vocab};
    struct lg_row rows[N_ROWS] = {{.slot = 4}, {.slot = 0}, {.slot = 1}, {.slot = 3}};
    uint32_t out_ids[N_OUT] = {1, 3};
    struct lg_sampler samplers[N_SLOTS];
    memset(samplers, 0, sizeof(samplers));
    for (int i = 0; i < N_SLOTS; i++) {
        samplers[i].repeat_penalty = off ? 1 : test_randf(&c->rng, 0.8f, 2);
        samplers[i].frequency_penalty = off ? 0 : test_randf(&c->rng, -1, 1);
        samplers[i].presence_penalty = off ? 0 : test_randf(&c->rng, -1, 1);
        samplers[i].penalty_last_n = check_int(c, 0, LG_HISTORY);
        samplers[i].n_history = check_int(c, 0, 3 * LG_HISTORY);
    }
    uint32_t *history = check_words(c, N_SLOTS * LG_HISTORY, n_vocab < 40 ? n_vocab + 2 : 40);
    float *logits = check_floats(c, (size_t)N_OUT * n_vocab, -9, 9);
    struct check_case k = {
        .kernel = LG_K_PENALTIES,
        .data = {rows, out_ids, samplers, history, logits},
        .size = {sizeof(rows), sizeof(out_ids), sizeof(samplers), N_SLOTS * LG_HISTORY * 4,
                 (size_t)N_OUT * n_vocab * 4},
        .tolerance = {[4] = {.abs = 1e-5f, .rel = 1e-6f}},
        .spec = {check_workgroup(c)},
        .grid = {N_OUT, 1, 1},
        .push = &push,
        .push_size = sizeof(push),
    };
    check_run(c, &k, "vocabulary %u%s", n_vocab, off ? ", off" : "");
    free(history);
    free(logits);
}

void check_penalties(struct check *c)
{
    for (int i = 0; i < N_VOCABULARIES; i++)
        penalties_case(c, vocabularies[i], i == 0);
    for (int i = 0; i < 4; i++)
        penalties_case(c, 100, false);
}
