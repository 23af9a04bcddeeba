/* SPDX-License-Identifier: MIT
 * Hazards and slices: the derived barriers are right (the checker agrees), needed (dropping any one is noticed) and few
 * (a list of independent dispatches gets none). */
#include "chain/chain.h"
#include "test.h"

enum { N_BUFS = 5, N_OPS = 60 };

static struct lg_buffer bufs[N_BUFS];

static struct lg_dispatch add_op(struct lg_view x, struct lg_view b)
{
    return (struct lg_dispatch){.kernel = LG_K_ADD, .views = {x, b}}; // writes x, reads b
}

static struct lg_view view(uint32_t buf, uint64_t offset, uint64_t size)
{
    return (struct lg_view){&bufs[buf], offset, size};
}

static void test_simple(struct lg_env *env)
{
    struct lg_dispatch ops[] = {
        add_op(view(0, 0, 64), view(1, 0, 64)),    // writes 0
        add_op(view(2, 0, 64), view(1, 0, 64)),    // independent: both read 1
        add_op(view(0, 64, 64), view(1, 0, 64)),   // another part of 0
        add_op(view(3, 0, 64), view(0, 32, 64)),   // reads both parts of 0: barrier
        add_op(view(1, 0, 64), view(4, 0, 64)),    // writes what was read before that barrier: none needed
        add_op(view(3, 0, 64), view(4, 0, 64)),    // writes what dispatch 3 wrote: barrier
        add_op(view(4, 0, 64), view(2, 0, 64)),    // writes what dispatch 5 reads: barrier
    };
    static const bool expected[] = {false, false, false, true, false, true, true};
    REQUIRE_INT(lg_hazards_derive(env, ops, 7), ==, 0);
    for (int i = 0; i < 7; i++)
        REQUIRE_INT(ops[i].barrier, ==, expected[i]);
    REQUIRE_INT(lg_hazards_verify(env, ops, 7), ==, 0);
}

static void test_indirect(struct lg_env *env)
{
    struct lg_dispatch ops[] = {
        add_op(view(0, 0, 64), view(1, 0, 64)),
        add_op(view(2, 0, 64), view(3, 0, 64)),
    };
    ops[1].indirect = view(0, 16, 12); // the first writes the second's grid
    REQUIRE_INT(lg_hazards_derive(env, ops, 2), ==, 0);
    REQUIRE(ops[1].barrier);
    ops[1].barrier = false;
    REQUIRE_INT(lg_hazards_verify(env, ops, 2), ==, LLMGPU_E_INTERNAL);
    REQUIRE(strstr(env->error, "add"));
}

static void test_random(struct lg_env *env, struct test_rng *rng)
{
    struct lg_dispatch ops[N_OPS];
    for (int i = 0; i < N_OPS; i++)
        ops[i] = add_op(view(test_randu(rng, 0, N_BUFS - 1), test_randu(rng, 0, 7) * 32, test_randu(rng, 1, 4) * 32),
                        view(test_randu(rng, 0, N_BUFS - 1), test_randu(rng, 0, 7) * 32, test_randu(rng, 1, 4) * 32));
    REQUIRE_INT(lg_hazards_derive(env, ops, N_OPS), ==, 0);
    REQUIRE_INT(lg_hazards_verify(env, ops, N_OPS), ==, 0);
    for (int i = 0; i < N_OPS; i++) {
        if (!ops[i].barrier)
            continue;
        ops[i].barrier = false;
        REQUIRE_INT(lg_hazards_verify(env, ops, N_OPS), ==, LLMGPU_E_INTERNAL);
        ops[i].barrier = true;
    }
}

/* Of dispatches that are a choice one runs: they need no order among themselves, but one with what is around them. */
static void test_choice(struct lg_env *env)
{
    struct lg_dispatch ops[] = {
        add_op(view(0, 0, 64), view(1, 0, 64)),
        add_op(view(2, 0, 64), view(0, 0, 64)), // reads what dispatch 0 wrote: barrier
        add_op(view(2, 0, 64), view(0, 0, 64)), // the same in another way: none
        add_op(view(2, 0, 64), view(0, 0, 64)),
        add_op(view(2, 0, 64), view(0, 0, 64)), // of another choice: barrier
        add_op(view(3, 0, 64), view(2, 0, 64)), // reads what one of them wrote: barrier
    };
    static const bool expected[] = {false, true, false, false, true, true};
    for (int i = 1; i < 4; i++)
        ops[i].choice = 1;
    ops[4].choice = 2;
    REQUIRE_INT(lg_hazards_derive(env, ops, 6), ==, 0);
    for (int i = 0; i < 6; i++)
        REQUIRE_INT(ops[i].barrier, ==, expected[i]);
    REQUIRE_INT(lg_hazards_verify(env, ops, 6), ==, 0);
    ops[2].choice = 2;
    REQUIRE_INT(lg_hazards_verify(env, ops, 6), ==, LLMGPU_E_INTERNAL);
}

static void test_slices(void)
{
    static const uint64_t ns[] = {10, 20, 30, 100, 5, 5, 5, 5};
    uint32_t cuts[8];
    REQUIRE_INT(lg_slices_choose(ns, 8, 60, cuts), ==, 2); // 10+20+30 | 100 | 5+5+5+5
    REQUIRE_INT(cuts[0], ==, 3);
    REQUIRE_INT(cuts[1], ==, 4);
    REQUIRE_INT(lg_slices_choose(ns, 8, 1000, cuts), ==, 0);
    REQUIRE_INT(lg_slices_choose(ns, 8, 1, cuts), ==, 7);
    REQUIRE_INT(lg_slices_choose(ns, 0, 1, cuts), ==, 0);
}

int main(void)
{
    struct lg_env env;
    lg_env_init(&env);
    test_simple(&env);
    test_indirect(&env);
    test_choice(&env);
    struct test_rng rng = {42};
    for (int round = 0; round < 200; round++)
        test_random(&env, &rng);
    test_slices();
    return 0;
}
