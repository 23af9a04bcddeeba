/* SPDX-License-Identifier: MIT
 *
 * A chain on the device that the first argument names: replayed without recording again, several times in one
 * submission, with sizes that the device itself reads, in slices, and on the clock.
 */
#include "chain/chain.h"
#include "test.h"

enum { ROWS = 16, COLS = 100, N_ADDS = 40 };

struct fixture {
    struct lg_env env;
    struct lg_device *dev;
    struct lg_buffer *dims, *x, *b;
    struct lg_chain chain;
    float expected;
};

/** x += b, N_ADDS times in a row: every dispatch depends on the one before. b is 1 everywhere. */
static void build(struct fixture *f, bool timestamps)
{
    struct lg_add_push push = {.n_cols = COLS, .b_stride = COLS};
    lg_chain_init(&f->chain, &f->env, f->dev, f->dims);
    for (int i = 0; i < N_ADDS; i++) {
        if (i % 10 == 0)
            lg_chain_mark(&f->chain);
        struct lg_chain_op op = {
            .kernel = LG_K_ADD,
            .views = {lg_view_all(f->x), lg_view_all(f->b)},
            .spec = {64},
            .grid = {.grid = {(COLS + 63) / 64, 0, 1}, .dim = LG_DIM_ROWS, .axis = 1, .per_group = 1},
            .push = &push,
            .push_size = sizeof(push),
            .label = "add",
        };
        lg_chain_add(&f->chain, &op);
    }
    REQUIRE_INT(lg_chain_compile(&f->chain, timestamps), ==, 0);
}

static void set_rows(struct fixture *f, uint32_t rows)
{
    ((uint32_t *)f->dims->map)[LG_DIM_ROWS] = rows;
}

static void submit(struct fixture *f, uint32_t first, uint32_t n, uint32_t repeat)
{
    uint64_t ticket;
    REQUIRE_INT(lg_program_submit(f->chain.program, first, n, repeat, &ticket), ==, 0);
    REQUIRE_INT(lg_device_wait(f->dev, ticket, UINT64_MAX), ==, 0);
}

/** Every element of the first `rows` rows is as expected, the others are 0. */
static void require_x(struct fixture *f, uint32_t rows)
{
    float x[ROWS * COLS];
    REQUIRE_INT(lg_download(f->dev, lg_view_all(f->x), x), ==, 0);
    for (uint32_t i = 0; i < ROWS * COLS; i++)
        REQUIRE(x[i] == (i < rows * COLS ? f->expected : 0));
}

static void test_replay(struct fixture *f)
{
    build(f, false);
    REQUIRE_INT(f->chain.program->n_slices, ==, 5); // the plan, and four times ten adds
    uint64_t pipelines = f->dev->stats.pipelines, submits = f->dev->stats.submits;
    set_rows(f, 5);
    static const uint32_t repeats[] = {1, 1, 7, 20};
    for (int i = 0; i < 4; i++) {
        submit(f, 0, 5, repeats[i]);
        f->expected += (float)(N_ADDS * repeats[i]);
        require_x(f, 5);
    }
    REQUIRE_INT(f->dev->stats.submits - submits, ==, 4);
    REQUIRE_INT(f->dev->stats.pipelines, ==, pipelines);

    // A dim of 0 makes every dispatch empty.
    set_rows(f, 0);
    submit(f, 0, 5, 3);
    require_x(f, 5);

    // Slice after slice is the same as all at once.
    set_rows(f, 5);
    for (uint32_t s = 0; s < 5; s++)
        submit(f, s, 1, 1);
    f->expected += N_ADDS;
    require_x(f, 5);
    lg_chain_finish(&f->chain);
}

static void test_slices(struct fixture *f)
{
    build(f, true);
    set_rows(f, 5);
    submit(f, 0, f->chain.program->n_slices, 1); // compiles shaders where a driver does so late
    submit(f, 0, f->chain.program->n_slices, 1);
    f->expected += 2 * N_ADDS;
    uint64_t ns[N_ADDS + 1], total = 0, most = 0;
    REQUIRE_INT(lg_program_times(f->chain.program, ns), ==, 0);
    for (int i = 0; i <= N_ADDS; i++) {
        total += ns[i];
        most = ns[i] > most ? ns[i] : most;
    }
    REQUIRE_INT(total, >, 0);

    uint64_t budget = total / 8 > most ? total / 8 : most;
    uint32_t at_least = (uint32_t)((total + budget - 1) / budget);
    REQUIRE_INT(lg_chain_slice(&f->chain, budget), ==, 0);
    uint32_t n = f->chain.program->n_slices;
    REQUIRE_INT(n, >=, at_least);
    REQUIRE_INT(n, <=, 2 * at_least + 1); // two neighbours together are over the budget
    for (uint32_t s = 0; s < n; s++)
        submit(f, s, 1, 1);
    f->expected += N_ADDS;
    require_x(f, 5);

    REQUIRE_INT(lg_chain_slice(&f->chain, UINT64_MAX), ==, 0); // the last submission ran one slice
    REQUIRE_INT(f->chain.program->n_slices, ==, 1);
    submit(f, 0, 1, 1);
    f->expected += N_ADDS;
    require_x(f, 5);
    lg_chain_finish(&f->chain);
}

static void run(const char *device, bool check)
{
    struct fixture f = {0};
    lg_env_init(&f.env);
    struct lg_device_options options = {.name = device, .check = check};
    int rc = lg_device_open(&f.env, &options, &f.dev);
    if (rc == LLMGPU_E_NO_DEVICE)
        exit(TEST_SKIP);
    if (rc == LLMGPU_E_UNSUPPORTED && check)
        return; // no validation layer on this machine
    REQUIRE_INT(rc, ==, 0);
    float ones[ROWS * COLS];
    for (int i = 0; i < ROWS * COLS; i++)
        ones[i] = 1;
    REQUIRE_INT(lg_buffer_create(f.dev, LG_N_DIMS * 4, LG_MEM_SHARED, &f.dims), ==, 0);
    REQUIRE_INT(lg_buffer_create(f.dev, sizeof(ones), LG_MEM_DEVICE, &f.x), ==, 0);
    REQUIRE_INT(lg_buffer_create(f.dev, sizeof(ones), LG_MEM_DEVICE, &f.b), ==, 0);
    REQUIRE_INT(lg_upload(f.dev, lg_view_all(f.b), ones), ==, 0);
    test_replay(&f);
    test_slices(&f);
    REQUIRE_INT(f.dev->check_messages, ==, 0);
    lg_buffer_destroy(f.dims);
    lg_buffer_destroy(f.x);
    lg_buffer_destroy(f.b);
    lg_device_close(f.dev);
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    run(device, false);
    run(device, true);
    return 0;
}
