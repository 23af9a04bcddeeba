/* SPDX-License-Identifier: MIT */
#include "check.h"

static void rope_case(struct check *c, enum lg_kernel kernel, struct lg_rope_push push, uint32_t n_rows)
{
    enum { N_POS = 50 };
    uint32_t n_pairs = push.n_rot / 2;
    size_t n = (size_t)n_rows * push.n_heads * push.head_dim;
    struct lg_row *rows = check_zeros(n_rows, sizeof(*rows));
    float *table = check_floats(c, (size_t)N_POS * n_pairs * 2, -1, 1), *x = check_floats(c, n, -4, 4);
    for (uint32_t r = 0; r < n_rows; r++)
        rows[r].pos = check_int(c, 0, N_POS - 1);
    struct check_case k = {
        .kernel = kernel,
        .data = {rows, table, x},
        .size = {n_rows * sizeof(*rows), (size_t)N_POS * n_pairs * 8, n * 4},
        .tolerance = {[2] = {.abs = 1e-6f, .rel = 1e-6f}},
        .spec = {check_workgroup(c)},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n * 8,
    };
    k.grid[0] = CHECK_CEIL(push.n_heads * n_pairs, k.spec[0]);
    k.grid[1] = n_rows;
    k.grid[2] = 1;
    check_run(c, &k, "%u rows %u heads of %u, %u rotated, %s", n_rows, push.n_heads, push.head_dim,
              push.n_rot, push.halves ? "halves" : "pairs");
    free(rows);
    free(table);
    free(x);
}

static void rope(struct check *c, enum lg_kernel kernel)
{
    if (c->bench) {
        rope_case(c, kernel, (struct lg_rope_push){.n_heads = 14, .head_dim = 64, .n_rot = 64, .halves = 1}, 64);
        return;
    }
    for (uint32_t halves = 0; halves < 2; halves++) {
        rope_case(c, kernel, (struct lg_rope_push){.n_heads = 14, .head_dim = 64, .n_rot = 64, .halves = halves}, 3);
        rope_case(c, kernel, (struct lg_rope_push){.n_heads = 3, .head_dim = 38, .n_rot = 38, .halves = halves}, 5);
        rope_case(c, kernel, (struct lg_rope_push){.n_heads = 5, .head_dim = 80, .n_rot = 32, .halves = halves}, 2);
        rope_case(c, kernel, (struct lg_rope_push){.n_heads = 1, .head_dim = 2, .n_rot = 2, .halves = halves}, 1);
    }
}

void check_rope(struct check *c)
{
    rope(c, LG_K_ROPE);
}

void check_rope_back(struct check *c)
{
    rope(c, LG_K_ROPE_BACK);
}
