/* SPDX-License-Identifier: MIT
 *
 * What flows back through each step of training. Steps that are linear are held against their transpose: dy . f(x) is
 * f'(dy) . x, with f the reference of the way forward. The others are against central differences of their formula in double
 * precision, and that formula against the reference. Optimizers are against theirs, and have to arrive.
 */
#include "test.h"

#include "adam8.h"
#include "device/cpu/kernel.h"
#include "gguf/quants.h"

static struct test_rng rng = {11};

/* Runs a kernel on its whole grid. */
static void run(enum lg_kernel kernel, struct lg_cpu_args args)
{
    lg_cpu_kernels[kernel](&args, 0, args.grid[0] * args.grid[1] * args.grid[2]);
}

static float *floats(size_t n, float lo, float hi)
{
    float *x = malloc(n * sizeof(*x));
    REQUIRE(x);
    for (size_t i = 0; i < n; i++)
        x[i] = test_randf(&rng, lo, hi);
    return x;
}

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

static bool is_close(double got, double expected, double tolerance)
{
    return fabs(got - expected) <= tolerance * (1 + fabs(expected));
}

/* ---- differences --------------------------------------------------------------------------------- */

/* A step as a formula: y of x. */
typedef void formula(const void *user, const double *x, double *y);

enum { MAX_N = 4000 };

/* Holds `dx` against the differences of dy . f(x), and y, which the reference made, against f(x). */
static void check_slopes(formula *f, const void *user, const float *x, size_t n_x, const float *y, const float *dy, size_t n_y,
                         const float *dx)
{
    static double at[MAX_N], above[MAX_N], below[MAX_N];
    double largest = 0;
    REQUIRE(n_x <= MAX_N && n_y <= MAX_N);
    for (size_t i = 0; i < n_x; i++) {
        at[i] = x[i];
        largest = fmax(largest, fabs(dx[i]));
    }
    f(user, at, above);
    for (size_t i = 0; i < n_y; i++)
        REQUIRE(is_close(y[i], above[i], 4e-6));
    for (size_t i = 0; i < n_x; i++) {
        const double h = 1e-5;
        at[i] = x[i] + h;
        f(user, at, above);
        at[i] = x[i] - h;
        f(user, at, below);
        at[i] = x[i];
        double slope = 0;
        for (size_t j = 0; j < n_y; j++)
            slope += dy[j] * (above[j] - below[j]) / (2 * h);
        REQUIRE(fabs(dx[i] - slope) <= 4e-6 * largest);
    }
}

enum { N = 37, ROWS = 3, N_ALL = N * ROWS };

/* ---- norms --------------------------------------------------------------------------------------- */

/* x, then the weights, then the biases. */
static void norm_formula(const void *user, const double *x, double *y)
{
    bool layer = *(const bool *)user;
    const double *w = x + N_ALL, *b = w + N;
    for (int r = 0; r < ROWS; r++, x += N, y += N) {
        double mean = 0, square = 0;
        for (int i = 0; i < N && layer; i++)
            mean += x[i] / N;
        for (int i = 0; i < N; i++)
            square += (x[i] - mean) * (x[i] - mean) / N;
        for (int i = 0; i < N; i++)
            y[i] = (x[i] - mean) / sqrt(square + 0.01) * w[i] + (layer ? b[i] : 0);
    }
}

static void test_norm(bool layer)
{
    size_t n_x = N_ALL + N + (layer ? N : 0);
    float *x = floats(n_x, -2, 3), *w = x + N_ALL, *b = w + N, *dy = floats(N_ALL, -1, 1), *dx = calloc(n_x, sizeof(*dx));
    float y[N_ALL], kept[2 * ROWS], before = 0.5f;
    struct lg_norm_push push = {.n_cols = N, .eps = 0.01f};
    struct lg_column_push columns = {.n_cols = N, .dim = LG_DIM_ROWS};
    uint32_t dims[LG_N_DIMS] = {ROWS}, spec[LG_MAX_SPEC] = {7};
    REQUIRE(dx);
    struct lg_cpu_args forward = {.view = {x, w, layer ? b : y, y}, .push = &push, .grid = {ROWS, 1, 1}};
    run(layer ? LG_K_LAYER_NORM : LG_K_RMS_NORM, forward);
    struct lg_cpu_args back = {.view = {x, w, dy, dx, kept}, .push = &push, .grid = {ROWS, 1, 1}};
    for (size_t i = 0; i < n_x; i++)
        dx[i] = before; // to which all is added
    run(layer ? LG_K_LAYER_NORM_BACK : LG_K_RMS_NORM_BACK, back);
    struct lg_cpu_args weights = {
        .view = {dims, x, dy, kept, dx + N_ALL, dx + N_ALL + N}, .push = &columns, .spec = spec, .grid = {6, 1, 1}};
    run(layer ? LG_K_LAYER_NORM_WEIGHT_BACK : LG_K_RMS_NORM_WEIGHT_BACK, weights);
    for (size_t i = 0; i < n_x; i++)
        dx[i] -= before;
    check_slopes(norm_formula, &layer, x, n_x, y, dy, N_ALL, dx);
    free(x);
    free(dy);
    free(dx);
}

/* ---- activations --------------------------------------------------------------------------------- */

/* Gates, then what they are multiplied by. */
static void silu_mul_formula(const void *user, const double *x, double *y)
{
    (void)user;
    for (int i = 0; i < N_ALL; i++)
        y[i] = x[i] / (1 + exp(-x[i])) * x[N_ALL + i];
}

static void test_silu_mul(void)
{
    float *x = floats(2 * N_ALL, -6, 6), *dy = floats(N_ALL, -1, 1), y[N_ALL], dx[2 * N_ALL];
    struct lg_rowwise_push push = {.n_cols = N};
    uint32_t spec[LG_MAX_SPEC] = {10};
    run(LG_K_SILU_MUL,
        (struct lg_cpu_args){.view = {x, x + N_ALL, y}, .push = &push, .spec = spec, .grid = {4, ROWS, 1}});
    memcpy(dx, x, sizeof(dx)); // in place
    run(LG_K_SILU_MUL_BACK, (struct lg_cpu_args){.view = {dx, dx + N_ALL, dy, dx, dx + N_ALL},
                                                 .push = &push,
                                                 .spec = spec,
                                                 .grid = {4, ROWS, 1}});
    check_slopes(silu_mul_formula, NULL, x, 2 * N_ALL, y, dy, N_ALL, dx);
    free(x);
    free(dy);
}

static void gelu_formula(const void *user, const double *x, double *y)
{
    (void)user;
    for (int i = 0; i < N_ALL; i++)
        y[i] = x[i] / 2 * (1 + tanh(0.7978845608028654 * (x[i] + 0.044715 * x[i] * x[i] * x[i])));
}

static void test_gelu(void)
{
    float *x = floats(N_ALL, -6, 6), *dy = floats(N_ALL, -1, 1), y[N_ALL], dx[N_ALL];
    struct lg_rowwise_push push = {.n_cols = N};
    uint32_t spec[LG_MAX_SPEC] = {10};
    run(LG_K_GELU, (struct lg_cpu_args){.view = {x, y}, .push = &push, .spec = spec, .grid = {4, ROWS, 1}});
    memcpy(dx, dy, sizeof(dx)); // in place
    run(LG_K_GELU_BACK,
        (struct lg_cpu_args){.view = {x, dx, dx}, .push = &push, .spec = spec, .grid = {4, ROWS, 1}});
    check_slopes(gelu_formula, NULL, x, N_ALL, y, dy, N_ALL, dx);
    free(x);
    free(dy);
}

/* ---- attention ----------------------------------------------------------------------------------- */

enum { HEADS = 4, KV = 2, DIM = 5, T = 11, N_Q = T * HEADS * DIM, N_K = T * KV * DIM };

/* Samples of 4, 1 and 6 rows, the last not from position 0. */
static const struct lg_row attention_rows[T] = {{.pos = 0, .slot = 8}, {.pos = 1, .slot = 8}, {.pos = 2, .slot = 8},
                                                {.pos = 3, .slot = 8}, {.pos = 0, .slot = 2}, {.pos = 5, .slot = 5},
                                                {.pos = 6, .slot = 5}, {.pos = 7, .slot = 5}, {.pos = 9, .slot = 5},
                                                {.pos = 10, .slot = 5}, {.pos = 11, .slot = 5}};

/* q, k, v; a. */
static void attention_formula(const void *user, const double *x, double *y)
{
    (void)user;
    for (int row = 0; row < T; row++) {
        for (int head = 0; head < HEADS; head++) {
            const double *q = x + (row * HEADS + head) * DIM;
            double *a = y + (row * HEADS + head) * DIM, sum = 0;
            memset(a, 0, DIM * sizeof(*a));
            for (int key = 0; key <= row; key++) {
                const double *k = x + N_Q + (key * KV + head / (HEADS / KV)) * DIM, *v = k + N_K;
                double score = 0, same = attention_rows[key].slot == attention_rows[row].slot;
                for (int i = 0; i < DIM; i++)
                    score += q[i] * k[i];
                double p = same * exp(0.4 * score);
                sum += p;
                for (int i = 0; i < DIM; i++)
                    a[i] += p * v[i];
            }
            for (int i = 0; i < DIM; i++)
                a[i] /= sum;
        }
    }
}

static void test_attention(uint32_t rows, uint32_t heads)
{
    enum { N_X = N_Q + 2 * N_K };
    float *x = floats(N_X, -1.5f, 1.5f), *da = floats(N_Q, -1, 1), a[N_Q], lse[T * HEADS], delta[T * HEADS], dx[N_X];
    struct lg_attention_train_push push = {
        .n_heads = HEADS, .n_kv = KV, .head_dim = DIM, .dim = LG_DIM_ROWS, .scale = 0.4f};
    struct lg_row samples[T];
    memcpy(samples, attention_rows, sizeof(samples));
    uint32_t dims[LG_N_DIMS] = {T}, spec[LG_MAX_SPEC] = {1, 0, rows, heads};
    struct lg_cpu_args args = {
        .view = {dims, samples, x, x + N_Q, x + N_Q + N_K, a, lse, da, dx, delta},
        .push = &push,
        .spec = spec,
        .grid = {KV * ((HEADS / KV + heads - 1) / heads), (T + rows - 1) / rows, 1},
    };
    run(LG_K_ATTENTION_TRAIN, args);
    run(LG_K_ATTENTION_BACK_Q, args);
    memcpy(args.view + 5, (void *[]){lse, delta, da, dx + N_Q, dx + N_Q + N_K}, 5 * sizeof(void *));
    args.grid[0] = KV;
    run(LG_K_ATTENTION_BACK_KV, args);
    check_slopes(attention_formula, NULL, x, N_X, a, da, N_Q, dx);
    free(x);
    free(da);
}

/* ---- the loss ------------------------------------------------------------------------------------ */

static const uint32_t loss_targets[ROWS] = {36, LG_NO_TARGET, 3};

static void loss_formula(const void *user, const double *x, double *y)
{
    (void)user;
    for (int r = 0; r < ROWS; r++, x += N) {
        double sum = 0;
        for (int i = 0; i < N; i++)
            sum += exp(x[i]);
        y[r] = loss_targets[r] == LG_NO_TARGET ? 0 : log(sum) - x[loss_targets[r]];
    }
}

/* The vocabulary in parts of `part`. */
static void test_loss(uint32_t part)
{
    float *x = floats(N_ALL, -4, 4), dy[ROWS] = {0.25f, 0.25f, 0.25f}, losses[ROWS], dx[N_ALL], logits[N_ALL];
    struct lg_loss_state states[ROWS];
    struct lg_train_step step = {.loss_scale = 0.25f};
    uint32_t targets[ROWS], spec[LG_MAX_SPEC] = {10};
    memset(states, 0xff, sizeof(states));
    memcpy(targets, loss_targets, sizeof(targets));
    for (int back = 0; back < 2; back++) {
        for (uint32_t first = 0; first < N; first += part) {
            struct lg_loss_push push = {.n_cols = first + part < N ? part : N - first, .first = first};
            for (uint32_t r = 0; r < ROWS; r++)
                memcpy(logits + r * push.n_cols, x + r * N + first, push.n_cols * sizeof(*x));
            struct lg_cpu_args args = {.view = {logits, targets, states}, .push = &push, .spec = spec, .grid = {ROWS, 1, 1}};
            struct lg_cpu_args back_args = {.view = {&step, logits, targets, states, logits}, // in place
                                            .push = &push,
                                            .spec = spec,
                                            .grid = {(push.n_cols + 9) / 10, ROWS, 1}};
            run(back ? LG_K_LOSS_BACK : LG_K_LOSS_PART, back ? back_args : args);
            for (uint32_t r = 0; r < ROWS && back; r++)
                memcpy(dx + r * N + first, logits + r * push.n_cols, push.n_cols * sizeof(*x));
        }
    }
    run(LG_K_LOSS_ROWS, (struct lg_cpu_args){.view = {targets, states, losses}, .grid = {ROWS, 1, 1}});
    check_slopes(loss_formula, NULL, x, N_ALL, losses, dy, ROWS, dx);
    free(x);
}

/* ---- what is linear ------------------------------------------------------------------------------ */

/* dy . (x w^T) = (dy w) . x, the product backwards in two parts of w; and dw . u = dy . (x u^T) for any u. */
static void test_product(enum lg_kernel forward, enum lg_kernel back, enum lg_type type, uint32_t k)
{
    enum { M = 70, PART = 45, ROWS_X = 9 };
    const struct lg_type_info *info = lg_type_info(type);
    uint32_t dims[LG_N_DIMS] = {ROWS_X}, spec[LG_MAX_SPEC] = {1, 32, 4}, row_bytes = k / info->block_elements * info->block_bytes;
    float *x = floats((size_t)ROWS_X * k, -1, 1), *y = floats(ROWS_X * M, -1, 1), *dy = floats(ROWS_X * M, -1, 1);
    float *dx = floats((size_t)ROWS_X * k, -1, 1);
    uint8_t *w = malloc((size_t)M * row_bytes);
    REQUIRE(w);
    for (uint32_t i = 0; i < M * row_bytes; i++)
        w[i] = i % 2 ? 0x20 + test_rand(&rng) % 16 : (uint8_t)test_rand(&rng); // finite as float16, and as float32
    struct lg_matmul_push push = {.n_cols = k, .n_rows = M, .row_bytes = row_bytes, .y_stride = M};
    run(forward, (struct lg_cpu_args){.view = {dims, w, x, y}, .push = &push, .spec = spec, .grid = {3, 3, 1}});
    for (uint32_t begin = 0; begin < M; begin += PART) {
        struct lg_matmul_back_push part = {.n_cols = k,
                                           .n_rows = begin ? M - PART : PART,
                                           .row_bytes = row_bytes,
                                           .y_stride = M,
                                           .row_begin = begin,
                                           .add = begin > 0};
        run(back, (struct lg_cpu_args){.view = {dims, dy, w + begin * row_bytes, dx},
                                       .push = &part,
                                       .spec = spec,
                                       .grid = {(k + 31) / 32, 3, 1}});
    }
    double there = dot(dy, y, ROWS_X * M), again = dot(dx, x, (size_t)ROWS_X * k);
    double size = sqrt(dot(dy, dy, ROWS_X * M) * dot(y, y, ROWS_X * M));
    REQUIRE(size > 0 && fabs(there - again) <= 1e-6 * size);
    free(x);
    free(y);
    free(dy);
    free(dx);
    free(w);
}

static void test_weights(void)
{
    enum { M = 13, K = 21, ROWS_X = 9, STRIDE = 20, BEGIN = 3 };
    uint32_t dims[LG_N_DIMS] = {[LG_DIM_OUT] = ROWS_X}, spec[LG_MAX_SPEC] = {5, 4, 8};
    float *x = floats(ROWS_X * K, -1, 1), *u = floats(M * K, -1, 1), *dy = floats(ROWS_X * STRIDE, -1, 1), *dw = floats(M * K, -1, 1);
    float *db = floats(STRIDE, -1, 1), y[ROWS_X * STRIDE] = {0};
    double before = dot(dw, u, M * K), columns = 0;
    struct lg_matmul_push push = {
        .n_cols = K, .n_rows = M, .row_bytes = K * 4, .y_stride = STRIDE, .row_begin = BEGIN, .dim = LG_DIM_OUT};
    struct lg_weight_back_push back = {
        .n_cols = K, .n_rows = M, .y_stride = STRIDE, .row_begin = BEGIN, .dim = LG_DIM_OUT, .scale = 0.5f};
    run(LG_K_MATMUL_F32, (struct lg_cpu_args){.view = {dims, u, x, y}, .push = &push, .spec = spec, .grid = {4, 2, 1}});
    run(LG_K_WEIGHT_BACK, (struct lg_cpu_args){.view = {dims, x, dy, dw}, .push = &back, .spec = spec, .grid = {3, 4, 1}});
    REQUIRE(is_close(dot(dw, u, M * K) - before, 0.5 * dot(dy, y, ROWS_X * STRIDE), 4e-6));

    for (int i = 0; i < STRIDE; i++)
        columns -= db[i];
    struct lg_column_push column = {.n_cols = STRIDE, .dim = LG_DIM_OUT};
    run(LG_K_BIAS_BACK, (struct lg_cpu_args){.view = {dims, dy, db}, .push = &column, .spec = spec, .grid = {4, 1, 1}});
    for (int i = 0; i < STRIDE; i++)
        columns += db[i];
    for (int i = 0; i < ROWS_X * STRIDE; i++)
        columns -= dy[i];
    REQUIRE(fabs(columns) < 2e-5);
    free(x);
    free(u);
    free(dy);
    free(dw);
    free(db);
}

static void test_rope(uint32_t halves)
{
    enum { HEAD = 8, ROT = 6, N_HEADS = 3, N_X = ROWS * N_HEADS * HEAD };
    float *table = floats(10 * ROT, -1, 1), *x = floats(N_X, -1, 1), *dy = floats(N_X, -1, 1), y[N_X], dx[N_X];
    struct lg_row rows[ROWS] = {{.pos = 8}, {.pos = 3}, {.pos = 0}};
    struct lg_rope_push push = {.n_heads = N_HEADS, .head_dim = HEAD, .n_rot = ROT, .halves = halves};
    uint32_t spec[LG_MAX_SPEC] = {4};
    memcpy(y, x, sizeof(y));
    memcpy(dx, dy, sizeof(dx));
    run(LG_K_ROPE, (struct lg_cpu_args){.view = {rows, table, y}, .push = &push, .spec = spec, .grid = {3, ROWS, 1}});
    run(LG_K_ROPE_BACK, (struct lg_cpu_args){.view = {rows, table, dx}, .push = &push, .spec = spec, .grid = {3, ROWS, 1}});
    REQUIRE(is_close(dot(dy, y, N_X), dot(dx, x, N_X), 1e-6));
    free(table);
    free(x);
    free(dy);
}

/* A table whose rows 2 .. 6 are in the view. */
static void test_embed(void)
{
    enum { COLS = 10, BEGIN = 2, END = 7, N_T = 8 };
    uint32_t ids[N_T] = {3, 9, 3, 0, 6, 2, 3, 6}, order[N_T] = {3, 5, 0, 2, 6, 4, 7, 1}, dims[LG_N_DIMS] = {N_T};
    uint32_t spec[LG_MAX_SPEC] = {1};
    float *table = floats((END - BEGIN) * COLS, -1, 1), *dy = floats(N_T * COLS, -1, 1), y[N_T * COLS] = {0};
    float de[(END - BEGIN) * COLS] = {0};
    struct lg_embed_push push = {
        .n_cols = COLS, .row_bytes = COLS * 4, .row_begin = BEGIN, .row_end = END, .id_stride = 1};
    struct lg_embed_back_push back = {.n_cols = COLS, .row_begin = BEGIN, .row_end = END, .id_stride = 1};
    run(LG_K_EMBED_F32, (struct lg_cpu_args){.view = {ids, table, y}, .push = &push, .spec = spec, .grid = {1, N_T, 1}});
    run(LG_K_EMBED_BACK,
        (struct lg_cpu_args){.view = {dims, order, ids, dy, de}, .push = &back, .spec = spec, .grid = {COLS, N_T, 1}});
    REQUIRE(is_close(dot(dy, y, N_T * COLS), dot(de, table, (END - BEGIN) * COLS), 1e-6));
    free(table);
    free(dy);
}

/* What dropout leaves out forwards it does backwards, another draw leaves out others, and on average nothing changes. */
static void test_dropout(void)
{
    enum { COLS = 500, N_X = 40 * COLS };
    float *ones = floats(N_X, 1, 1), first[N_X], again[N_X], other[N_X];
    struct lg_train_step step = {.seed_lo = 4, .draw = 7};
    struct lg_dropout_push push = {.n_cols = COLS, .drop = 1u << 30, .site = 3, .scale = 4.0f / 3};
    uint32_t spec[LG_MAX_SPEC] = {100};
    struct lg_cpu_args args = {.view = {&step, ones, first}, .push = &push, .spec = spec, .grid = {5, 40, 1}};
    run(LG_K_DROPOUT, args);
    args.view[2] = again;
    run(LG_K_DROPOUT, args);
    step.draw++;
    args.view[2] = other;
    run(LG_K_DROPOUT, args);
    double sum = 0, same = 0;
    for (int i = 0; i < N_X; i++) {
        sum += first[i] / N_X;
        same += (first[i] > 0) == (other[i] > 0);
    }
    REQUIRE(memcmp(first, again, sizeof(first)) == 0);
    REQUIRE(fabs(sum - 1) < 0.02 && fabs(same / N_X - 0.625) < 0.02);
    free(ones);
}

/* ---- optimizers ---------------------------------------------------------------------------------- */

enum optimizer { ADAMW, ADAMW8, SGD };

/* Numbers to be learnt, and all that an optimizer keeps of them. */
struct learner {
    struct lg_train_step step;
    struct lg_train_norm norm;
    float g[N_ALL * 9], p[N_ALL * 9], m[N_ALL * 9], v[N_ALL * 9];
    uint32_t m8[256], v8[256];
    float factors[8], sums[8];
};
enum { N_LEARNT = N_ALL * 9, PER_GROUP = 256, N_GROUPS = (N_LEARNT + PER_GROUP - 1) / PER_GROUP };

static void take_step(struct learner *l, enum optimizer how, int t, float lr, float decay)
{
    l->step.lr = lr;
    l->step.draw = (uint32_t)t;
    l->step.correct1 = (float)(1 / (1 - pow(0.9, t)));
    l->step.correct2 = (float)(1 / (1 - pow(0.99, t)));
    struct lg_sum_squares_push squares = {.n = N_LEARNT, .per_group = PER_GROUP};
    struct lg_grad_norm_push sums = {.n = N_GROUPS};
    run(LG_K_SUM_SQUARES, (struct lg_cpu_args){.view = {l->g, l->sums}, .push = &squares, .grid = {N_GROUPS, 1, 1}});
    run(LG_K_GRAD_NORM, (struct lg_cpu_args){.view = {&l->step, l->sums, &l->norm}, .push = &sums, .grid = {1, 1, 1}});
    struct lg_adamw_push adamw = {N_LEARNT, PER_GROUP, 0.9f, 0.99f, 1e-8f, decay};
    struct lg_sgd_push sgd = {N_LEARNT, PER_GROUP, 0.9f, decay};
    struct lg_cpu_args args = {.view = {&l->step, &l->norm, l->g, l->p, l->m, l->v}, .push = &adamw, .grid = {N_GROUPS, 1, 1}};
    if (how == SGD)
        args.push = &sgd;
    if (how == ADAMW8)
        memcpy(args.view + 4, (void *[]){l->m8, l->v8, l->factors}, 3 * sizeof(void *));
    run(how == SGD ? LG_K_SGD : how == ADAMW8 ? LG_K_ADAMW8 : LG_K_ADAMW, args);
}

/* Against the formulas in double precision. */
static void test_steps(enum optimizer how)
{
    static struct learner l;
    static double p[N_LEARNT], m[N_LEARNT], v[N_LEARNT];
    memset(&l, 0, sizeof(l));
    memset(m, 0, sizeof(m));
    memset(v, 0, sizeof(v));
    for (int i = 0; i < N_LEARNT; i++)
        p[i] = l.p[i] = test_randf(&rng, -1, 1);
    l.step.clip = 1;
    for (int t = 1; t <= 20; t++) {
        double norm = 0;
        for (int i = 0; i < N_LEARNT; i++) {
            l.g[i] = test_randf(&rng, -1, 1) * (t % 2 ? 1 : 0.001f);
            norm += (double)l.g[i] * l.g[i];
        }
        double factor = fmin(1, 1 / (sqrt(norm) + 1e-6));
        for (int i = 0; i < N_LEARNT; i++) {
            double g = l.g[i] * factor;
            m[i] = how == SGD ? 0.9 * m[i] + g : 0.9 * m[i] + 0.1 * g;
            v[i] = 0.99 * v[i] + 0.01 * g * g;
            double adam = m[i] / (1 - pow(0.9, t)) / (sqrt(v[i] / (1 - pow(0.99, t))) + 1e-8);
            p[i] = p[i] * (1 - 0.01 * 0.1) - 0.01 * (how == SGD ? m[i] : adam);
        }
        take_step(&l, how, t, 0.01f, 0.1f);
        REQUIRE(is_close(l.norm.norm, sqrt(norm), 1e-6) && is_close(l.norm.factor, factor, 1e-6));
        for (int i = 0; i < N_LEARNT; i++) {
            REQUIRE(is_close(l.p[i], p[i], 2e-6));
            REQUIRE(l.g[i] == 0);
        }
    }
}

/* How far from the minimum of a badly scaled bowl with noisy slopes an optimizer is after some steps. */
static double distance_after(enum optimizer how, float lr, int n_steps)
{
    static struct learner l;
    memset(&l, 0, sizeof(l));
    l.step.seed_lo = 9;
    rng.state = 5;
    for (int t = 1; t <= n_steps; t++) {
        float now = lr * (float)(n_steps - t + 1) / (float)n_steps;
        for (int i = 0; i < N_LEARNT; i++) {
            float steep = ldexpf(1, -(i % 12));
            l.g[i] = steep * (l.p[i] - 1 + test_randf(&rng, -1, 1));
        }
        take_step(&l, how, t, now, 0);
    }
    double sum = 0;
    for (int i = 0; i < N_LEARNT; i++)
        sum += (l.p[i] - 1) * (l.p[i] - 1);
    return sqrt(sum / N_LEARNT);
}

/* The codes of 8 bits say what they stand for within 1/16, and on average exactly. */
static void test_codes(void)
{
    for (int i = 0; i < 200; i++) {
        float x = ldexpf(test_randf(&rng, 0.5f, 1), -(int)test_randu(&rng, 0, 12)), got;
        uint32_t bits;
        double sum = 0;
        enum { TIMES = 20000 };
        memcpy(&bits, &x, 4);
        for (uint32_t j = 0; j < TIMES; j++) {
            uint32_t code = lg_adam8_code(bits, lg_adam8_chance(17, j), LG_ADAM8_FIRST);
            REQUIRE(code <= LG_ADAM8_FIRST);
            uint32_t back = lg_adam8_bits(code, LG_ADAM8_FIRST);
            memcpy(&got, &back, 4);
            REQUIRE(fabsf(got - x) <= x / 8);
            sum += got / TIMES;
        }
        REQUIRE(fabs(sum - x) < 2e-3 * x);
    }
}

int main(void)
{
    test_norm(false);
    test_norm(true);
    test_silu_mul();
    test_gelu();
    test_attention(1, 1);
    test_attention(4, 2);
    test_loss(N);
    test_loss(10);
#define PRODUCT(lower, UPPER) \
    test_product(LG_K_MATMUL_##UPPER, LG_K_MATMUL_BACK_##UPPER, LG_TYPE_##UPPER, lg_type_info(LG_TYPE_##UPPER)->block_elements == 1 ? 75 : 256);
    LG_WEIGHT_TYPES(PRODUCT)
    test_weights();
    test_rope(0);
    test_rope(1);
    test_embed();
    test_dropout();
    test_steps(ADAMW);
    test_steps(SGD);
    test_codes();
    double adamw = distance_after(ADAMW, 0.02f, 1000), adamw8 = distance_after(ADAMW8, 0.02f, 1000);
    printf("AdamW arrives within %.4f, with moments in 8 bits %.4f\n", adamw, adamw8);
    REQUIRE(adamw < 0.1 && adamw8 < 1.1 * adamw);
    return 0;
}
