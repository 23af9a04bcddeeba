/* SPDX-License-Identifier: MIT
 * Kernels over rows of logits: softmax, argmax, log_prob, candidates, penalties. */
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

enum oddity {
    NONE,
    TIES,
    NANS,
    ALL_NANS,
    INFINITIES,
    ALL_MINUS_INFINITY,
    SIGNED_ZEROS, // which are equal
    N_ODDITIES,
};

static float *odd_logits(struct check *c, size_t n, enum oddity oddity)
{
    float *x = check_floats(c, n, -9, 9);
    for (size_t i = 0; i < n; i++) {
        if (oddity == TIES)
            x[i] = floorf(x[i] / 4);
        if (oddity == ALL_NANS || (oddity == NANS && check_int(c, 0, 1)))
            x[i] = NAN;
        if (oddity == ALL_MINUS_INFINITY || (oddity == INFINITIES && check_int(c, 0, 4) == 0))
            x[i] = -INFINITY;
        if (oddity == INFINITIES && check_int(c, 0, 9) == 0)
            x[i] = INFINITY;
        if (oddity == SIGNED_ZEROS)
            x[i] = check_int(c, 0, 1) ? 0.0f : -0.0f;
    }
    return x;
}

static void argmax_case(struct check *c, uint32_t n_cols, uint32_t n_rows, enum oddity oddity)
{
    struct lg_rowwise_push push = {.n_cols = n_cols};
    struct check_case k = rowwise_case(c, LG_K_ARGMAX, &push, n_rows);
    size_t n = (size_t)n_cols * n_rows;
    float *x = odd_logits(c, n, oddity);
    k.data[0] = x;
    k.size[0] = n * 4;
    k.size[1] = (size_t)n_rows * 8;
    check_run(c, &k, "%ux%u, oddity %d", n_rows, n_cols, oddity);
    free(x);
}

void check_argmax(struct check *c)
{
    for (int i = 0; i < N_VOCABULARIES && !c->bench; i++) {
        for (int oddity = 0; oddity < SIGNED_ZEROS; oddity++)
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

static const char *const oddity_names[N_ODDITIES] = {
    [NONE] = "plain",
    [TIES] = "ties",
    [NANS] = "NaN",
    [ALL_NANS] = "all NaN",
    [INFINITIES] = "infinities",
    [ALL_MINUS_INFINITY] = "all -infinity",
    [SIGNED_ZEROS] = "signed zeros",
};

/* Tokens must be the same; log-probabilities, of logits below 20, as exact as those of log_prob. */
static void compare_candidates(struct check *c, const struct check_case *k, uint32_t n_rows, const char *name)
{
    const struct lg_candidate *got = k->out[2], *want = k->ref[2];
    for (uint32_t i = 0; i < n_rows * (LG_MAX_CANDIDATES + 1); i++) {
        float a = got[i].log_prob, b = want[i].log_prob;
        bool same = memcmp(&a, &b, sizeof(a)) == 0 || fabsf(a - b) <= 2e-5f + 2e-6f * fabsf(b);
        if (got[i].token != want[i].token || !same) {
            check_fail(c, "%s: entry %u is {%u, %g}, not {%u, %g}", name, i, got[i].token, (double)a,
                       want[i].token, (double)b);
            return;
        }
    }
}

static void candidates_case(struct check *c, uint32_t n_cols, uint32_t n_rows, uint32_t n, enum oddity oddity)
{
    struct lg_candidates_push push = {.n_cols = n_cols, .n = n, .id_stride = check_int(c, 1, 4)};
    push.id_offset = check_int(c, 0, push.id_stride - 1);
    size_t n_logits = (size_t)n_cols * n_rows;
    float *x = odd_logits(c, n_logits, oddity);
    uint32_t *ids = check_words(c, (size_t)n_rows * push.id_stride, n_cols);
    struct check_case k = {
        .kernel = LG_K_CANDIDATES,
        .data = {x, ids},
        .size = {n_logits * 4, (size_t)n_rows * push.id_stride * 4,
                 (size_t)n_rows * (LG_MAX_CANDIDATES + 1) * sizeof(struct lg_candidate)},
        .spec = {check_workgroup(c)},
        .grid = {n_rows, 1, 1},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = 4.0 * (double)n_logits,
    };
    char name[128];
    snprintf(name, sizeof(name), "candidates %u of %ux%u, %s", n, n_rows, n_cols, oddity_names[oddity]);
    if (check_dispatch(c, &k, name))
        compare_candidates(c, &k, n_rows, name);
    check_release(&k);
    free(x);
    free(ids);
}

void check_candidates(struct check *c)
{
    for (int i = 0; i < N_VOCABULARIES && !c->bench; i++) {
        for (int oddity = 0; oddity < N_ODDITIES; oddity++)
            candidates_case(c, vocabularies[i], check_int(c, 1, 3), check_int(c, 1, LG_MAX_CANDIDATES),
                            (enum oddity)oddity);
        candidates_case(c, vocabularies[i], 1, 1, TIES);
        candidates_case(c, vocabularies[i], 2, LG_MAX_CANDIDATES, NONE);
    }
    if (c->bench)
        candidates_case(c, 151936, 1, LG_MAX_CANDIDATES, NONE);
}

/* Distinct tokens for each slot, one of them never to be drawn; some lie outside of the vocabulary. */
static struct lg_bias *make_biases(struct check *c, uint32_t n_slots, uint32_t n_vocab)
{
    struct lg_bias *biases = check_zeros(n_slots * LG_MAX_BIAS, sizeof(*biases));
    for (uint32_t i = 0; i < n_slots * LG_MAX_BIAS; i++) {
        uint32_t stride = n_vocab > 2 * LG_MAX_BIAS ? n_vocab / LG_MAX_BIAS : 1;
        biases[i] = (struct lg_bias){i % LG_MAX_BIAS * stride, test_randf(&c->rng, -5, 5)};
        if (i % LG_MAX_BIAS == 1)
            biases[i].bias = -INFINITY;
    }
    return biases;
}

/* Two output rows among four rows, each with a slot of its own. */
static void penalties_case(struct check *c, uint32_t n_vocab, bool off)
{
    enum { N_OUT = 2, N_ROWS = 4, N_SLOTS = 5 };
    struct lg_sample_push push = {.n_vocab = n_vocab};
    struct lg_row rows[N_ROWS] = {
        {.slot = 4}, {.slot = 0, .draft = check_int(c, 0, 9)}, {.slot = 1}, {.slot = 3, .draft = check_int(c, 0, 9)}};
    uint32_t out_ids[N_OUT] = {1, 3};
    struct lg_sampler samplers[N_SLOTS];
    memset(samplers, 0, sizeof(samplers));
    for (int i = 0; i < N_SLOTS; i++) {
        samplers[i].repeat_penalty = off ? 1 : test_randf(&c->rng, 0.8f, 2);
        samplers[i].frequency_penalty = off ? 0 : test_randf(&c->rng, -1, 1);
        samplers[i].presence_penalty = off ? 0 : test_randf(&c->rng, -1, 1);
        samplers[i].penalty_last_n = check_int(c, 0, LG_HISTORY);
        samplers[i].n_history = check_int(c, 0, 3 * LG_HISTORY);
        samplers[i].n_bias = off ? 0 : check_int(c, 0, 1) * check_int(c, 0, LG_MAX_BIAS);
        samplers[i].masked = off ? 0 : check_int(c, 0, 1);
    }
    size_t mask_words = (size_t)N_SLOTS * LG_MASK_WORDS(n_vocab);
    struct lg_bias *biases = make_biases(c, N_SLOTS, n_vocab);
    uint32_t *masks = check_words(c, mask_words, UINT32_MAX);
    uint32_t *history = check_words(c, N_SLOTS * LG_HISTORY, n_vocab < 40 ? n_vocab + 2 : 40);
    float *logits = check_floats(c, (size_t)N_OUT * n_vocab, -9, 9);
    struct check_case k = {
        .kernel = LG_K_PENALTIES,
        .data = {rows, out_ids, samplers, history, biases, masks, logits},
        .size = {sizeof(rows), sizeof(out_ids), sizeof(samplers), N_SLOTS * LG_HISTORY * 4,
                 N_SLOTS * LG_MAX_BIAS * sizeof(*biases), mask_words * 4, (size_t)N_OUT * n_vocab * 4},
        .tolerance = {[6] = {.abs = 1e-5f, .rel = 1e-6f}},
        .spec = {check_workgroup(c)},
        .grid = {N_OUT, 1, 1},
        .push = &push,
        .push_size = sizeof(push),
    };
    check_run(c, &k, "vocabulary %u%s", n_vocab, off ? ", off" : "");
    free(history);
    free(biases);
    free(masks);
    free(logits);
}

void check_penalties(struct check *c)
{
    for (int i = 0; i < N_VOCABULARIES; i++)
        penalties_case(c, vocabularies[i], i == 0);
    for (int i = 0; i < 12; i++)
        penalties_case(c, i % 2 ? 100 : 1500, false);
}
