/* SPDX-License-Identifier: MIT
 * The reference kernels against other ways to compute the same: plain double arithmetic, sorting, cases by
 * hand. */
#include "test.h"

#include <float.h>

#include "device/cpu/exp.h"
#include "device/cpu/kernel.h"
#include "gguf/quants.h"
#include "random.h"

static struct test_rng rng = {7};

/* Runs a kernel on its whole grid. */
static void run(enum lg_kernel kernel, struct lg_cpu_args args)
{
    lg_cpu_kernels[kernel](&args, 0, args.grid[0] * args.grid[1] * args.grid[2]);
}

static void fill(float *x, size_t n, float lo, float hi)
{
    for (size_t i = 0; i < n; i++)
        x[i] = test_randf(&rng, lo, hi);
}

static bool is_close(double got, double expected, double tolerance)
{
    return fabs(got - expected) <= tolerance * (1 + fabs(expected));
}

/* The device's exponential, from where it is 0 to where it is infinite. */
static void test_exp(void)
{
    for (int i = 0; i < 2000000; i++) {
        float x = test_randf(&rng, i % 2 ? -86.6f : -1, i % 2 ? 88.72f : 1);
        REQUIRE(fabs(lg_exp(x) / exp(x) - 1) < 1.2e-7);
    }
    REQUIRE(lg_exp(0) == 1 && lg_exp(-0.0f) == 1);
    REQUIRE(lg_exp(-86.7f) == 0 && lg_exp(-INFINITY) == 0 && lg_exp(-FLT_MAX) == 0);
    REQUIRE(lg_exp(88.73f) == INFINITY && lg_exp(INFINITY) == INFINITY && lg_exp(FLT_MAX) == INFINITY);
    REQUIRE(isnan(lg_exp(NAN)));
}

static void test_norms(void)
{
    enum { N = 37, ROWS = 3 };
    float x[ROWS * N], w[N], b[N], rms[ROWS * N], layer[ROWS * N];
    fill(x, ROWS * N, -3, 5);
    fill(w, N, -1, 1);
    fill(b, N, -1, 1);
    struct lg_norm_push push = {.n_cols = N, .eps = 0.01f};
    run(LG_K_RMS_NORM, (struct lg_cpu_args){.view = {x, w, rms}, .push = &push, .grid = {ROWS, 1, 1}});
    run(LG_K_LAYER_NORM, (struct lg_cpu_args){.view = {x, w, b, layer}, .push = &push, .grid = {ROWS, 1, 1}});
    for (int r = 0; r < ROWS; r++) {
        double mean = 0, square = 0;
        for (int i = 0; i < N; i++) {
            mean += x[r * N + i] / (double)N;
            square += (double)x[r * N + i] * x[r * N + i] / N;
        }
        for (int i = 0; i < N; i++) {
            double v = x[r * N + i], var = square - mean * mean;
            REQUIRE(is_close(rms[r * N + i], v / sqrt(square + 0.01) * w[i], 1e-6));
            REQUIRE(is_close(layer[r * N + i], (v - mean) / sqrt(var + 0.01) * w[i] + b[i], 1e-5));
        }
    }
}

/* A rotation by the angle pos * 0.3^pair, of 3 pairs in heads of 8. */
static void test_rope(uint32_t halves)
{
    enum { HEADS = 2, DIM = 8, ROT = 6, MAX_POS = 9, ROWS = 2 };
    float table[MAX_POS * ROT], x[ROWS * HEADS * DIM], before[ROWS * HEADS * DIM];
    for (int i = 0; i < MAX_POS * ROT / 2; i++) {
        double angle = i / (ROT / 2) * pow(0.3, i % (ROT / 2));
        table[2 * i] = (float)cos(angle);
        table[2 * i + 1] = (float)sin(angle);
    }
    fill(x, ROWS * HEADS * DIM, -1, 1);
    memcpy(before, x, sizeof(x));
    struct lg_row rows[ROWS] = {{.pos = 8}, {.pos = 3}};
    struct lg_rope_push push = {.n_heads = HEADS, .head_dim = DIM, .n_rot = ROT, .halves = halves};
    uint32_t spec[LG_MAX_SPEC] = {4};
    run(LG_K_ROPE,
        (struct lg_cpu_args){.view = {rows, table, x}, .push = &push, .spec = spec, .grid = {2, ROWS, 1}});
    for (int h = 0; h < ROWS * HEADS; h++) {
        const float *old = before + h * DIM, *new = x + h *DIM;
        for (int p = 0; p < ROT / 2; p++) {
            int a = halves ? p : 2 * p, b = halves ? p + ROT / 2 : 2 * p + 1;
            double angle = rows[h / HEADS].pos * pow(0.3, p);
            REQUIRE(is_close(new[a], old[a] * cos(angle) - old[b] * sin(angle), 1e-6));
            REQUIRE(is_close(new[b], old[a] * sin(angle) + old[b] * cos(angle), 1e-6));
        }
        REQUIRE(memcmp(old + ROT, new + ROT, (DIM - ROT) * sizeof(float)) == 0);
    }
}

/* Writes keys and values of a sequence through scattered pages, then attends: the same as softmax over all at
 * once. */
static void test_attention(void)
{
    enum { HEADS = 4, KV = 2, DIM = 6, PAGE = 4, MAX_PAGES = 5, LEN = 17, COLS = KV * DIM, SLOT = 1 };
    float k[LEN * COLS], v[LEN * COLS], q[LEN * HEADS * DIM], y[LEN * HEADS * DIM];
    static float k_cache[11 * PAGE * COLS], v_cache[11 * PAGE * COLS];
    uint32_t pages[2 * MAX_PAGES] = {0, 0, 0, 0, 0, 9, 2, 10, 4, 7};
    struct lg_row rows[LEN];
    for (uint32_t i = 0; i < LEN; i++)
        rows[i] = (struct lg_row){.pos = i, .slot = SLOT};
    fill(k, LEN * COLS, -1, 1);
    fill(v, LEN * COLS, -1, 1);
    fill(q, LEN * HEADS * DIM, -4, 4);
    uint32_t spec[LG_MAX_SPEC] = {5};
    struct lg_kv_write_push write = {.n_cols = COLS, .page_size = PAGE, .max_pages = MAX_PAGES};
    run(LG_K_KV_WRITE, (struct lg_cpu_args){.view = {rows, pages, k, v, k_cache, v_cache},
                                            .push = &write,
                                            .spec = spec,
                                            .grid = {(COLS + 4) / 5, LEN, 1}});
    struct lg_attention_push push = {.n_heads = HEADS,
                                     .n_kv = KV,
                                     .head_dim = DIM,
                                     .page_size = PAGE,
                                     .max_pages = MAX_PAGES,
                                     .scale = 0.7f};
    run(LG_K_ATTENTION, (struct lg_cpu_args){.view = {rows, pages, q, k_cache, v_cache, y},
                                             .push = &push,
                                             .spec = spec,
                                             .grid = {HEADS, LEN, 1}});
    for (int r = 0; r < LEN; r++) {
        for (int h = 0; h < HEADS; h++) {
            double p[LEN], sum = 0;
            for (int j = 0; j <= r; j++) {
                double dot = 0;
                for (int i = 0; i < DIM; i++)
                    dot += (double)q[(r * HEADS + h) * DIM + i] * k[j * COLS + h / 2 * DIM + i];
                sum += p[j] = exp(dot * 0.7);
            }
            for (int i = 0; i < DIM; i++) {
                double expected = 0;
                for (int j = 0; j <= r; j++)
                    expected += p[j] / sum * v[j * COLS + h / 2 * DIM + i];
                REQUIRE(is_close(y[(r * HEADS + h) * DIM + i], expected, 1e-5));
            }
        }
    }
}

static void test_activations(void)
{
    enum { N = 41 };
    float gate[N], up[N], silu[N], gelu[N];
    fill(gate, N, -9, 9);
    fill(up, N, -2, 2);
    struct lg_rowwise_push push = {.n_cols = N};
    uint32_t spec[LG_MAX_SPEC] = {8};
    run(LG_K_SILU_MUL,
        (struct lg_cpu_args){.view = {gate, up, silu}, .push = &push, .spec = spec, .grid = {6, 1, 1}});
    run(LG_K_GELU,
        (struct lg_cpu_args){.view = {gate, gelu}, .push = &push, .spec = spec, .grid = {6, 1, 1}});
    for (int i = 0; i < N; i++) {
        double x = gate[i];
        REQUIRE(is_close(silu[i], x / (1 + exp(-x)) * up[i], 1e-6));
        REQUIRE(is_close(gelu[i], 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))), 1e-6));
    }
}

static void test_logits(void)
{
    enum { N = 6 };
    float logits[2][N] = {{1, NAN, 7, 7, -2, 3}, {-5, -INFINITY, -4, -6, -4, -5}}, p[2][N], scores[2];
    struct {
        uint32_t index;
        float value;
    } best[2];
    struct lg_rowwise_push push = {.n_cols = N};
    uint32_t targets[2] = {0, 3}, grid[3] = {2, 1, 1};
    struct lg_cpu_args args = {.view = {logits, best}, .push = &push};
    memcpy(args.grid, grid, sizeof(grid));
    run(LG_K_ARGMAX, args);
    REQUIRE(best[0].index == 2 && best[0].value == 7 && best[1].index == 2 && best[1].value == -4);
    logits[0][1] = 0;
    args.view[1] = p;
    run(LG_K_SOFTMAX, args);
    args.view[1] = targets;
    args.view[2] = scores;
    run(LG_K_LOG_PROB, args);
    for (int r = 0; r < 2; r++) {
        double sum = 0;
        for (int i = 0; i < N; i++)
            sum += exp(logits[r][i]);
        for (int i = 0; i < N; i++)
            REQUIRE(is_close(p[r][i], exp(logits[r][i]) / sum, 1e-6));
        REQUIRE(is_close(scores[r], log(exp(logits[r][targets[r]]) / sum), 1e-6));
    }
}

/* All types: rows of a part of a table, in pieces that are not whole blocks. */
static void test_embed(void)
{
    static const struct {
        enum lg_type type;
        enum lg_kernel kernel;
    } types[] = {
#define TYPE(lower, UPPER) {LG_TYPE_##UPPER, LG_K_EMBED_##UPPER},
        LG_WEIGHT_TYPES(TYPE)};
    enum { COLS = 512, ROWS = 4 };
    for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
        const struct lg_type_info *info = lg_type_info(types[t].type);
        uint32_t row_bytes = COLS / info->block_elements * info->block_bytes;
        uint8_t *table = malloc((size_t)row_bytes * 3);
        for (size_t i = 0; i < (size_t)row_bytes * 3; i++)
            table[i] = (uint8_t)test_randu(&rng, 0, 0x3b); // no NaN in any format
        float y[ROWS * COLS], expected[COLS];
        for (int i = 0; i < ROWS * COLS; i++)
            y[i] = 99;
        struct lg_row rows[ROWS] = {
            {.token = 12}, {.token = 9}, {.token = 10}, {.token = 13}}; // the part: 10 to 12
        struct lg_embed_push push = {.n_cols = COLS,
                                     .row_bytes = row_bytes,
                                     .row_begin = 10,
                                     .row_end = 13,
                                     .id_stride = 4,
                                     .id_offset = 0};
        uint32_t spec[LG_MAX_SPEC] = {3};
        run(types[t].kernel,
            (struct lg_cpu_args){
                .view = {rows, table, y}, .push = &push, .spec = spec, .grid = {6, ROWS, 1}});
        for (int r = 0; r < ROWS; r++) {
            uint32_t id = rows[r].token;
            for (int i = 0; i < COLS; i++)
                expected[i] = 99;
            if (id >= 10 && id < 13)
                lg_dequantize(types[t].type, table + (size_t)(id - 10) * row_bytes, expected, COLS);
            REQUIRE(memcmp(expected, y + r * COLS, sizeof(expected)) == 0);
        }
        free(table);
    }
}

static void test_read_sum(void)
{
    enum { N = 1000, GROUPS = 7 };
    uint32_t words[N], sums[GROUPS], expected = 0, got = 0;
    for (int i = 0; i < N; i++)
        expected += words[i] = test_rand(&rng);
    struct lg_read_sum_push push = {.n_words = N};
    run(LG_K_READ_SUM, (struct lg_cpu_args){.view = {words, sums}, .push = &push, .grid = {GROUPS, 1, 1}});
    for (int i = 0; i < GROUPS; i++)
        got += sums[i];
    REQUIRE_INT(got, ==, expected);
}

/* History 5 5 6 of slot 1, the window of three beginning behind the ring's end; biases of slot 0 and its mask. */
static void test_penalties(void)
{
    enum { VOCAB = 8 };
    static uint32_t history[2 * LG_HISTORY];
    static struct lg_bias biases[2 * LG_MAX_BIAS] = {{2, 0.5f}, {4, -INFINITY}, {VOCAB, 1}, {1, 9}};
    uint32_t masks[2] = {0xfffffff7, 0};
    struct lg_sampler samplers[2] = {{.repeat_penalty = 1, .n_bias = 3, .masked = 1}, {0}};
    samplers[1] = (struct lg_sampler){.repeat_penalty = 2,
                                      .frequency_penalty = 0.5f,
                                      .presence_penalty = 0.25f,
                                      .penalty_last_n = 3,
                                      .n_history = LG_HISTORY + 1};
    history[LG_HISTORY + 253] = 3; // before the window
    history[LG_HISTORY + 254] = 5;
    history[LG_HISTORY + 255] = 5;
    history[LG_HISTORY] = 6;
    struct lg_row rows[3] = {{0}, {.slot = 1}, {.slot = 0}};
    uint32_t out_ids[2] = {1, 2};
    float logits[2][VOCAB] = {{1, 1, 1, 1, 1, 4, -4, 1}, {1, 2, 3, 4, 5, 6, 7, 8}}, old[2][VOCAB];
    memcpy(old, logits, sizeof(old));
    struct lg_sample_push push = {.n_vocab = VOCAB};
    run(LG_K_PENALTIES, (struct lg_cpu_args){.view = {rows, out_ids, samplers, history, biases, masks, logits},
                                             .push = &push,
                                             .grid = {2, 1, 1}});
    old[0][5] = 4 / 2.0f - (2 * 0.5f + 0.25f);
    old[0][6] = -4 * 2.0f - (0.5f + 0.25f);
    old[1][2] = 3 + 0.5f;
    old[1][3] = -INFINITY; // by the mask
    old[1][4] = -INFINITY;
    REQUIRE(memcmp(old, logits, sizeof(old)) == 0);
}

/* ---- sampling ----------------------------------------------------------------------------------- */

enum { MAX_VOCAB = 300 };

struct scene {
    float logits[MAX_VOCAB];
    struct {
        uint32_t index;
        float value;
    } best;
    uint32_t out_id, history[2 * LG_HISTORY], ring[2 * LG_RING], dims[LG_N_DIMS];
    struct lg_row rows[3];
    struct lg_sampler samplers[2];
};

/* A token, and the next pass's rows. */
static uint32_t sample(struct scene *s, uint32_t n_vocab)
{
    struct lg_sample_push push = {.n_vocab = n_vocab};
    uint32_t token = UINT32_MAX;
    run(LG_K_ARGMAX, (struct lg_cpu_args){.view = {s->logits, &s->best}, .push = &push, .grid = {1, 1, 1}});
    run(LG_K_SAMPLE, (struct lg_cpu_args){.view = {s->logits, &s->best, &s->out_id, s->rows, s->samplers,
                                                   s->history, s->ring, &token},
                                          .push = &push,
                                          .grid = {1, 1, 1}});
    s->dims[LG_DIM_SAMPLE] = 1;
    run(LG_K_NEXT_ROWS,
        (struct lg_cpu_args){.view = {s->samplers, &token, &s->out_id, s->rows, s->dims}, .grid = {1, 1, 1}});
    REQUIRE(s->dims[LG_DIM_ROWS] == 0 || s->rows[0].token == token);
    return token;
}

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* The smallest logit that is kept, by sorting. */
static float smallest_kept(const struct scene *s, const struct lg_sampler *p, uint32_t n)
{
    float sorted[MAX_VOCAB];
    memcpy(sorted, s->logits, n * sizeof(float));
    qsort(sorted, n, sizeof(float), descending);
    float max = sorted[0], least = p->top_k > 0 && p->top_k < n ? sorted[p->top_k - 1] : -INFINITY;
    if (p->top_p < 1) {
        uint64_t total = 0, mass = 0, units = (uint64_t)lrintf(p->top_p * 65536);
        for (uint32_t i = 0; i < n && sorted[i] >= least; i++)
            total += (uint64_t)(expf(sorted[i] - max) * 16777216.0f + 0.5f);
        for (uint32_t i = 0; i < n && sorted[i] >= least; i++) {
            mass += (uint64_t)(expf(sorted[i] - max) * 16777216.0f + 0.5f);
            if (mass * 65536 >= total * units) {
                least = sorted[i];
                break;
            }
        }
    }
    return p->min_p > 0 ? fmaxf(least, max + logf(p->min_p)) : least;
}

static uint32_t expected_token(const struct scene *s, const struct lg_sampler *p, uint32_t pos, uint32_t n)
{
    float least = smallest_kept(s, p, n), max = -INFINITY, most = -INFINITY;
    uint32_t draw = lg_random_draw(p->seed_lo, p->seed_hi, pos), token = 0;
    for (uint32_t i = 0; i < n; i++)
        max = fmaxf(max, s->logits[i]);
    for (uint32_t i = 0; i < n; i++) {
        float score = (s->logits[i] - max) / p->temperature + lg_random_gumbel(draw, i);
        if (s->logits[i] >= least && score > most) {
            most = score;
            token = i;
        }
    }
    return token;
}

static void test_filters(void)
{
    struct scene *s = calloc(1, sizeof(*s));
    for (int round = 0; round < 3000; round++) {
        uint32_t n = test_randu(&rng, 1, round % 3 ? 22 : MAX_VOCAB);
        for (uint32_t i = 0; i < n; i++) // a few values, so that many are equal
            s->logits[i] =
                round % 2 ? test_randf(&rng, -8, 8) : (float)test_randu(&rng, 0, 12) * 0.5f - 3.25f;
        struct lg_sampler p = {
            .temperature = test_randf(&rng, 0.3f, 4),
            .top_k = test_randu(&rng, 0, 1) ? test_randu(&rng, 0, 20) : 0,
            .top_p = test_randu(&rng, 0, 1) ? test_randf(&rng, 0.01f, 1) : 1,
            .min_p = test_randu(&rng, 0, 1) ? test_randf(&rng, 0, 0.3f) : 0,
            .seed_lo = test_rand(&rng),
            .seed_hi = test_rand(&rng),
            .n_sampled = test_randu(&rng, 0, 5000),
            .n_remaining = 9,
        };
        s->samplers[1] = p;
        uint32_t pos = test_randu(&rng, 0, 5000);
        s->rows[2] = (struct lg_row){.token = 1, .pos = pos, .slot = 1};
        s->out_id = 2;
        REQUIRE_INT(sample(s, n), ==, expected_token(s, &p, pos, n));
    }
    free(s);
}

/* What a sampled token changes: history, ring, counters, the next pass's row and sizes. */
static void test_state(void)
{
    struct scene *s = calloc(1, sizeof(*s));
    s->logits[5] = 3;
    s->samplers[1] =
        (struct lg_sampler){.n_history = LG_HISTORY + 2, .n_sampled = LG_RING + 1, .n_remaining = 2};
    s->rows[2] = (struct lg_row){.token = 1, .pos = 41, .slot = 1};
    s->out_id = 2;
    s->dims[LG_DIM_ROWS] = 3;
    s->dims[LG_DIM_SCORE] = 1;
    REQUIRE_INT(sample(s, 10), ==, 5);
    REQUIRE(s->rows[0].pos == 42 && s->rows[0].slot == 1 && s->out_id == 0);
    REQUIRE(s->history[LG_HISTORY + 2] == 5 && s->ring[LG_RING + 1] == 5);
    REQUIRE(s->samplers[1].n_history == LG_HISTORY + 3 && s->samplers[1].n_sampled == LG_RING + 2);
    REQUIRE(s->samplers[1].n_remaining == 1 && !s->samplers[1].ended);
    REQUIRE(s->dims[LG_DIM_ROWS] == 1 && s->dims[LG_DIM_OUT] == 1 && s->dims[LG_DIM_SAMPLE] == 1);
    REQUIRE_INT(s->dims[LG_DIM_SCORE], ==, 0);
    sample(s, 10); // the last that may be sampled
    REQUIRE(s->rows[0].pos == 42 && s->samplers[1].ended && s->dims[LG_DIM_ROWS] == 0 &&
            s->dims[LG_DIM_SAMPLE] == 0);
    s->samplers[1].n_remaining = 5;
    s->samplers[1].n_end = 2;
    s->samplers[1].end[1] = 5;
    sample(s, 10);
    REQUIRE(s->samplers[1].ended && s->samplers[1].n_remaining == 4);
    free(s);
}

/* Draws follow the softmax: each share within five standard deviations. */
static void test_distribution(void)
{
    enum { N = 7, DRAWS = 40000 };
    struct scene *s = calloc(1, sizeof(*s));
    uint32_t counts[N] = {0};
    double sum = 0;
    for (int i = 0; i < N; i++) {
        s->logits[i] = (float)i * 0.8f;
        sum += exp(s->logits[i] / 0.9);
    }
    s->samplers[0] =
        (struct lg_sampler){.temperature = 0.9f, .top_p = 1, .seed_lo = 1234, .n_remaining = UINT32_MAX};
    for (int i = 0; i < DRAWS; i++)
        counts[sample(s, N)]++;
    for (int i = 0; i < N; i++) {
        double p = exp(s->logits[i] / 0.9) / sum;
        REQUIRE(fabs(counts[i] - p * DRAWS) < 5 * sqrt(p * (1 - p) * DRAWS));
    }
    free(s);
}

/* Logits that a broken model may give: still a token of the vocabulary. */
static void test_strange_logits(void)
{
    struct scene *s = calloc(1, sizeof(*s));
    const float values[] = {NAN, -INFINITY, INFINITY};
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 20; i++)
            s->logits[i] = values[round % 3];
        if (round >= 3)
            s->logits[11] = 1;
        s->samplers[0] =
            (struct lg_sampler){.temperature = 1, .top_p = 0.9f, .top_k = 5, .min_p = 0.1f, .n_remaining = 5};
        uint32_t token = sample(s, 20);
        REQUIRE(token < 20 && (round % 3 == 2 || round < 3 || token == 11));
    }
    free(s);
}

int main(void)
{
    test_exp();
    test_norms();
    test_rope(0);
    test_rope(1);
    test_attention();
    test_activations();
    test_logits();
    test_embed();
    test_read_sum();
    test_penalties();
    test_filters();
    test_state();
    test_distribution();
    test_strange_logits();
    return 0;
}
