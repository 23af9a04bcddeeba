/* SPDX-License-Identifier: MIT
 * loss_part, loss_rows and loss_back. */
#include "check.h"

/* Rows of logits of one part of a vocabulary, and targets in it, outside of it and nowhere. */
struct loss {
    struct lg_loss_push push;
    uint32_t n_rows;
    float *logits;
    uint32_t *targets;
    struct lg_loss_state *states;
};

static void loss_init(struct check *c, struct loss *l, uint32_t n_cols, uint32_t n_rows, uint32_t first)
{
    *l = (struct loss){.push = {.n_cols = n_cols, .first = first}, .n_rows = n_rows};
    l->logits = check_floats(c, (size_t)n_cols * n_rows, -20, 20);
    l->targets = check_words(c, n_rows, first + 2 * n_cols);
    l->states = check_zeros(n_rows, sizeof(*l->states));
    for (uint32_t r = 0; r < n_rows; r++) {
        if (r % 3 == 1)
            l->targets[r] = LG_NO_TARGET;
        if (r % 3 == 2)
            l->targets[r] = first + check_int(c, 0, n_cols - 1);
        l->states[r] = (struct lg_loss_state){
            .top = test_randf(&c->rng, 10, 30),
            .sum = test_randf(&c->rng, 1, 100),
            .logit = test_randf(&c->rng, -9, 9),
        };
    }
}

static void loss_free(struct loss *l)
{
    free(l->logits);
    free(l->targets);
    free(l->states);
}

static void loss_part_case(struct check *c, uint32_t n_cols, uint32_t n_rows, uint32_t first)
{
    struct loss l;
    loss_init(c, &l, n_cols, n_rows, first);
    size_t n = (size_t)n_cols * n_rows;
    struct check_case k = {
        .kernel = LG_K_LOSS_PART,
        .data = {l.logits, l.targets, l.states},
        .size = {n * 4, (size_t)n_rows * 4, n_rows * sizeof(*l.states)},
        .tolerance = {[2] = {.abs = 1e-6f, .rel = 2e-5f}},
        .spec = {check_workgroup(c)},
        .grid = {n_rows, 1, 1},
        .push = &l.push,
        .push_size = sizeof(l.push),
        .bytes = (double)n * 4,
    };
    check_run(c, &k, "%ux%u from %u", n_rows, n_cols, first);
    loss_free(&l);
}

void check_loss_part(struct check *c)
{
    if (c->bench) {
        loss_part_case(c, 16384, 64, 0);
        return;
    }
    loss_part_case(c, 1, 1, 0);
    loss_part_case(c, 1000, 4, 0);
    loss_part_case(c, 32003, 2, 32003);
    loss_part_case(c, check_int(c, 1, 3000), 7, check_int(c, 1, 99));
}

void check_loss_rows(struct check *c)
{
    for (uint32_t n_rows = 1; n_rows < 100; n_rows += 33) {
        struct loss l;
        loss_init(c, &l, 10, n_rows, 0);
        struct lg_rowwise_push push = {.n_cols = 1};
        struct check_case k = {
            .kernel = LG_K_LOSS_ROWS,
            .data = {l.targets, l.states},
            .size = {(size_t)n_rows * 4, n_rows * sizeof(*l.states), (size_t)n_rows * 4},
            .tolerance = {[2] = {.abs = 1e-6f, .rel = 2e-6f}},
            .spec = {check_workgroup(c)},
            .grid = {n_rows, 1, 1},
            .push = &push,
            .push_size = sizeof(push),
        };
        check_run(c, &k, "%u rows", n_rows);
        loss_free(&l);
    }
}

static void loss_back_case(struct check *c, uint32_t n_cols, uint32_t n_rows, uint32_t first)
{
    struct loss l;
    loss_init(c, &l, n_cols, n_rows, first);
    struct lg_train_step step = {.loss_scale = 0.125f};
    size_t n = (size_t)n_cols * n_rows;
    struct check_case k = {
        .kernel = LG_K_LOSS_BACK,
        .data = {&step, l.logits, l.targets, l.states},
        .size = {sizeof(step), n * 4, (size_t)n_rows * 4, n_rows * sizeof(*l.states), n * 4},
        .tolerance = {[4] = {.abs = 1e-8f, .rel = 2e-5f}},
        .spec = {check_workgroup(c)},
        .push = &l.push,
        .push_size = sizeof(l.push),
        .bytes = (double)n * 8,
    };
    k.grid[0] = CHECK_CEIL(n_cols, k.spec[0]);
    k.grid[1] = n_rows;
    k.grid[2] = 1;
    check_run(c, &k, "%ux%u from %u", n_rows, n_cols, first);
    loss_free(&l);
}

void check_loss_back(struct check *c)
{
    if (c->bench) {
        loss_back_case(c, 16384, 64, 0);
        return;
    }
    loss_back_case(c, 1, 1, 0);
    loss_back_case(c, 1000, 4, 0);
    loss_back_case(c, 32003, 2, 32003);
    loss_back_case(c, check_int(c, 1, 3000), 7, check_int(c, 1, 99));
}
