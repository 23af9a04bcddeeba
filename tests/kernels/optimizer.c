/* SPDX-License-Identifier: MIT
 * The norm of gradients, and optimizers. */
#include "check.h"

#include "adam8.h"

static struct lg_train_step some_step(struct check *c)
{
    return (struct lg_train_step){
        .lr = 1e-2f,
        .correct1 = test_randf(&c->rng, 1, 10),
        .correct2 = test_randf(&c->rng, 1, 100),
        .clip = test_randf(&c->rng, 0.1f, 2),
        .seed_lo = test_rand(&c->rng),
        .seed_hi = test_rand(&c->rng),
        .draw = check_int(c, 0, 99),
    };
}

static void sum_squares_case(struct check *c, uint32_t n, uint32_t per_group)
{
    struct lg_sum_squares_push push = {.n = n, .per_group = per_group, .first = check_int(c, 0, 5)};
    uint32_t n_groups = CHECK_CEIL(n, per_group), n_sums = n_groups + push.first + 3;
    float *x = check_floats(c, n, -1, 1), *sums = check_floats(c, n_sums, -1, 1);
    struct check_case k = {
        .kernel = LG_K_SUM_SQUARES,
        .data = {x, sums},
        .size = {(size_t)n * 4, (size_t)n_sums * 4},
        .tolerance = {[1] = {.abs = 1e-7f, .rel = 4e-6f}},
        .spec = {check_workgroup(c)},
        .grid = {n_groups, 1, 1},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n * 4,
    };
    check_run(c, &k, "%u by %u", n, per_group);
    free(x);
    free(sums);
}

void check_sum_squares(struct check *c)
{
    if (c->bench) {
        sum_squares_case(c, 1 << 22, 4096);
        return;
    }
    sum_squares_case(c, 1, 256);
    sum_squares_case(c, 5000, 256);
    sum_squares_case(c, check_int(c, 1, 50000), 256 * check_int(c, 1, 16));
}

void check_grad_norm(struct check *c)
{
    for (uint32_t n = 1; n < 4000; n = n * 7 + 1) {
        struct lg_grad_norm_push push = {.n = n};
        struct lg_train_step step = some_step(c);
        step.clip = n > 1 ? n < 10 ? 0 : 1 : 1e6f; // without an end, small enough, and not
        float *sums = check_floats(c, n, 0, 4);
        struct check_case k = {
            .kernel = LG_K_GRAD_NORM,
            .data = {&step, sums},
            .size = {sizeof(step), (size_t)n * 4, sizeof(struct lg_train_norm)},
            .tolerance = {[2] = {.abs = 1e-7f, .rel = 4e-6f}},
            .spec = {check_workgroup(c)},
            .grid = {1, 1, 1},
            .push = &push,
            .push_size = sizeof(push),
        };
        check_run(c, &k, "%u sums", n);
        free(sums);
    }
}

/* Weights of some size, their gradients and moments. */
struct tensors {
    struct lg_train_step step;
    struct lg_train_norm norm;
    float *g, *p, *m, *v;
};

static void tensors_init(struct check *c, struct tensors *t, uint32_t n)
{
    *t = (struct tensors){.step = some_step(c), .norm = {.norm = 3, .factor = 0.3f}};
    t->g = check_floats(c, n, -1, 1);
    t->p = check_floats(c, n, -1, 1);
    t->m = check_floats(c, n, -0.1f, 0.1f);
    t->v = check_floats(c, n, 0, 0.1f);
}

static void tensors_free(struct tensors *t)
{
    free(t->g);
    free(t->p);
    free(t->m);
    free(t->v);
}

static struct lg_adamw_push adamw_push(uint32_t n, uint32_t per_group)
{
    return (struct lg_adamw_push){
        .n = n,
        .per_group = per_group,
        .beta1 = 0.9f,
        .beta2 = 0.99f,
        .eps = 1e-8f,
        .weight_decay = 0.1f,
    };
}

static void adamw_case(struct check *c, uint32_t n, uint32_t per_group)
{
    struct lg_adamw_push push = adamw_push(n, per_group);
    struct tensors t;
    tensors_init(c, &t, n);
    struct check_tolerance tolerance = {.abs = 1e-6f, .rel = 4e-6f};
    struct check_case k = {
        .kernel = LG_K_ADAMW,
        .data = {&t.step, &t.norm, t.g, t.p, t.m, t.v},
        .size = {sizeof(t.step), sizeof(t.norm), (size_t)n * 4, (size_t)n * 4, (size_t)n * 4, (size_t)n * 4},
        .tolerance = {[3] = tolerance, [4] = tolerance, [5] = tolerance},
        .spec = {check_workgroup(c)},
        .grid = {CHECK_CEIL(n, per_group), 1, 1},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n * 32,
    };
    check_run(c, &k, "%u by %u", n, per_group);
    tensors_free(&t);
}

void check_adamw(struct check *c)
{
    if (c->bench) {
        adamw_case(c, 1 << 22, 4096);
        return;
    }
    adamw_case(c, 1, 256);
    adamw_case(c, 5000, 256);
    adamw_case(c, check_int(c, 1, 50000), 256 * check_int(c, 1, 16));
}

static void sgd_case(struct check *c, uint32_t n, uint32_t per_group)
{
    struct lg_sgd_push push = {.n = n, .per_group = per_group, .momentum = 0.9f, .weight_decay = 0.1f};
    struct tensors t;
    tensors_init(c, &t, n);
    struct check_tolerance tolerance = {.abs = 1e-6f, .rel = 4e-6f};
    struct check_case k = {
        .kernel = LG_K_SGD,
        .data = {&t.step, &t.norm, t.g, t.p, t.m},
        .size = {sizeof(t.step), sizeof(t.norm), (size_t)n * 4, (size_t)n * 4, (size_t)n * 4},
        .tolerance = {[3] = tolerance, [4] = tolerance},
        .spec = {check_workgroup(c)},
        .grid = {CHECK_CEIL(n, per_group), 1, 1},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n * 24,
    };
    check_run(c, &k, "%u by %u", n, per_group);
    tensors_free(&t);
}

void check_sgd(struct check *c)
{
    if (c->bench) {
        sgd_case(c, 1 << 22, 4096);
        return;
    }
    sgd_case(c, 1, 256);
    sgd_case(c, check_int(c, 1, 50000), 256 * check_int(c, 1, 16));
}

/* Codes may differ by one, where a moment was rounded otherwise just at the border of two. */
static void compare_codes(struct check *c, const struct check_case *k, uint32_t n)
{
    for (int view = 4; view <= 5; view++) {
        const uint8_t *got = k->out[view], *want = k->ref[view];
        uint32_t n_other = 0;
        for (uint32_t i = 0; i < n; i++) {
            bool beside = abs(got[i] - want[i]) <= 1 && (view == 5 || (got[i] & 128) == (want[i] & 128));
            if (!beside) {
                check_fail(c, "adamw8: binding %d [%u]: code %u, not %u", view, i, got[i], want[i]);
                return;
            }
            n_other += got[i] != want[i];
        }
        if (n_other > n / 500 + 3)
            check_fail(c, "adamw8: binding %d: %u of %u codes are not the same", view, n_other, n);
    }
}

static void adamw8_case(struct check *c, uint32_t n, uint32_t per_group)
{
    struct lg_adamw_push push = adamw_push(n, per_group);
    struct tensors t;
    tensors_init(c, &t, n);
    uint32_t n_blocks = CHECK_CEIL(n, LG_ADAM8_BLOCK);
    size_t room = (size_t)n_blocks * LG_ADAM8_BLOCK;
    uint32_t *m = check_words(c, room / 4, UINT32_MAX), *v = check_words(c, room / 4, UINT32_MAX);
    float *factors = check_zeros(n_blocks, 8);
    for (uint32_t i = 0; i < 2 * n_blocks; i++)
        factors[i] = ldexpf(1, -(int)check_int(c, 1, 12));
    if (n > LG_ADAM8_BLOCK) // a new one, of which nothing is known yet
        memset(m, 0, LG_ADAM8_BLOCK), memset(v, 0, LG_ADAM8_BLOCK), factors[0] = factors[1] = 0;
    struct check_case k = {
        .kernel = LG_K_ADAMW8,
        .data = {&t.step, &t.norm, t.g, t.p, m, v, factors},
        .size = {sizeof(t.step), sizeof(t.norm), (size_t)n * 4, (size_t)n * 4, room, room, (size_t)n_blocks * 8},
        .tolerance = {[3] = {.abs = 1e-6f, .rel = 4e-6f},
                      [4] = {.scale = NULL, .abs = INFINITY},
                      [5] = {.scale = NULL, .abs = INFINITY}},
        .spec = {check_workgroup(c)},
        .grid = {CHECK_CEIL(n, per_group), 1, 1},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n * 20,
    };
    char name[64];
    snprintf(name, sizeof(name), "adamw8 %u by %u", n, per_group);
    if (check_dispatch(c, &k, name)) {
        compare_codes(c, &k, n);
        free(k.out[4]);
        free(k.out[5]);
        k.out[4] = k.out[5] = NULL; // they have been
        check_compare(c, &k, name);
    }
    check_release(&k);
    tensors_free(&t);
    free(m);
    free(v);
    free(factors);
}

void check_adamw8(struct check *c)
{
    if (c->bench) {
        adamw8_case(c, 1 << 22, 4096);
        return;
    }
    adamw8_case(c, 1, 256);
    adamw8_case(c, 257, 256);
    adamw8_case(c, 5001, 512);
    adamw8_case(c, check_int(c, 1, 50000), 256 * check_int(c, 1, 16));
}
