/* SPDX-License-Identifier: MIT
 * plan and read_sum. */
#include "check.h"

static void plan_case(struct check *c, uint32_t n_rules)
{
    struct lg_plan_push push = {.n_rules = n_rules};
    uint32_t *dims = check_words(c, LG_N_DIMS, 700);
    struct lg_grid_rule *rules = check_zeros(n_rules, sizeof(*rules));
    uint32_t *grids = check_zeros(n_rules, 16);
    dims[0] = 0;
    dims[1] = 8; // the ends of a range, which the first rules try
    for (uint32_t i = 0; i < n_rules; i++) {
        rules[i] = (struct lg_grid_rule){
            .grid = {check_int(c, 1, 99), check_int(c, 1, 99), check_int(c, 1, 99)},
            .dim = check_int(c, 0, LG_N_DIMS),
            .axis = check_int(c, 0, 2),
            .per_group = check_int(c, 1, 64),
            .above = check_int(c, 0, 1) * check_int(c, 0, 500),
            .up_to = check_int(c, 0, 1) * check_int(c, 0, 700),
        };
        if (rules[i].dim == LG_N_DIMS)
            rules[i].dim = LG_DIM_NONE;
        if (i < 4) {
            rules[i].dim = 1;
            rules[i].above = 7 + i % 2;
            rules[i].up_to = 7 + i / 2;
        }
    }
    struct check_case k = {
        .kernel = LG_K_PLAN,
        .data = {dims, rules, grids}, // the fourth word of a grid is nobody's
        .size = {LG_N_DIMS * 4, n_rules * sizeof(*rules), (size_t)n_rules * 16},
        .spec = {check_workgroup(c)},
        .grid = {1, 1, 1},
        .push = &push,
        .push_size = sizeof(push),
    };
    check_run(c, &k, "%u rules", n_rules);
    free(dims);
    free(rules);
    free(grids);
}

void check_plan(struct check *c)
{
    plan_case(c, 1);
    plan_case(c, 700);
}

static void read_sum_case(struct check *c, uint32_t n_words, uint32_t n_groups)
{
    struct lg_read_sum_push push = {.n_words = n_words};
    uint32_t *words = check_words(c, n_words, 0xffffffffu);
    struct check_case k = {
        .kernel = LG_K_READ_SUM,
        .data = {words},
        .size = {(size_t)n_words * 4, (size_t)n_groups * 4},
        .spec = {check_workgroup(c)},
        .grid = {n_groups, 1, 1},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n_words * 4,
    };
    check_run(c, &k, "%u words by %u", n_words, n_groups);
    free(words);
}

void check_read_sum(struct check *c)
{
    if (c->bench) {
        read_sum_case(c, 16 << 20, 256);
        return;
    }
    read_sum_case(c, 4, 3);
    read_sum_case(c, 4 * 12345, 7);
    read_sum_case(c, 4 * 999, 64);
}
