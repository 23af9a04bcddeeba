/* SPDX-License-Identifier: MIT
 * Each fast kernel of the CPU device against its reference, for every instruction set of this machine, bit
 * for bit. */
#include "test.h"

#include <math.h>

#include "device/cpu/fast.h"
#include "gguf/kv_rows.h"
#include "gguf/quants.h"
#include "util/checked.h"

static struct test_rng rng = {1};

struct type {
    const char *name;
    enum lg_type type;
    enum lg_kernel matvec, matmul;
};

static const struct type types[] = {
#define TYPE(lower, UPPER) {#lower, LG_TYPE_##UPPER, LG_K_MATVEC_##UPPER, LG_K_MATMUL_##UPPER},
    LG_WEIGHT_TYPES(TYPE)};

static const struct type block_types[] = {
#define BLOCK_TYPE(lower, UPPER) {#lower, LG_TYPE_##UPPER, LG_K_MATVEC_I8_##UPPER, LG_K_MATMUL_I8_##UPPER},
    LG_BLOCK_TYPES(BLOCK_TYPE)};

enum {
    N_TYPES = sizeof(types) / sizeof(types[0]),
    N_BLOCK_TYPES = sizeof(block_types) / sizeof(block_types[0]),
};

/* Offsets of the 16-bit scales in a block, the only bytes that cannot be just anything. */
static const struct {
    enum lg_type type;
    int at[2];
} halves[] = {
    {LG_TYPE_Q4_0, {0, 0}}, {LG_TYPE_Q4_1, {0, 2}},     {LG_TYPE_Q5_0, {0, 0}},     {LG_TYPE_Q5_1, {0, 2}},
    {LG_TYPE_Q8_0, {0, 0}}, {LG_TYPE_Q2_K, {80, 82}},   {LG_TYPE_Q3_K, {108, 108}}, {LG_TYPE_Q4_K, {0, 2}},
    {LG_TYPE_Q5_K, {0, 2}}, {LG_TYPE_Q6_K, {208, 208}},
};

static uint16_t random_half(void)
{
    return (uint16_t)((test_rand(&rng) & 0x83ff) | test_randu(&rng, 0, 16)
                                                       << 10); // subnormal numbers included
}

static void fill_weights(enum lg_type type, uint8_t *data, size_t size)
{
    const struct lg_type_info *info = lg_type_info(type);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)test_rand(&rng);
    for (size_t i = 0; i < size; i += info->block_bytes) {
        if (type == LG_TYPE_F32) {
            float f = test_randf(&rng, -1, 1);
            memcpy(data + i, &f, sizeof(f));
        } else if (type == LG_TYPE_BF16) {
            float f = test_randf(&rng, -1, 1);
            memcpy(data + i, (const uint8_t *)&f + 2, 2);
        } else if (type == LG_TYPE_F16) {
            uint16_t h = random_half();
            memcpy(data + i, &h, sizeof(h));
        }
        for (size_t j = 0; j < sizeof(halves) / sizeof(halves[0]); j++) {
            for (int k = 0; k < 2 && halves[j].type == type; k++) {
                uint16_t h = random_half();
                memcpy(data + i + halves[j].at[k], &h, sizeof(h));
            }
        }
    }
}

static float *random_floats(size_t n)
{
    float *x = malloc(n * sizeof(*x) + 1);
    for (size_t i = 0; i < n; i++)
        x[i] = test_randf(&rng, -2, 2);
    return x;
}

/* Runs a kernel over its whole grid, in pieces of random size. */
static void run(lg_cpu_kernel_fn *fn, const struct lg_cpu_args *args)
{
    uint32_t n = args->grid[0] * args->grid[1] * args->grid[2];
    for (uint32_t i = 0; i < n;) {
        uint32_t take = test_randu(&rng, 1, n - i);
        fn(args, i, i + take);
        i += take;
    }
}

/* Equal bits, or NaN both. */
static bool is_same(float a, float b)
{
    return memcmp(&a, &b, sizeof(a)) == 0 || (a != a && b != b);
}

/* Calls the reference and the fast version, if there is one; `out` is the view that they write, of `size` bytes. */
static void compare(enum lg_cpu_isa isa, enum lg_kernel kernel, struct lg_cpu_args args, int out, size_t size)
{
    if (!lg_cpu_isa_kernel(isa, kernel))
        return;
    void *expected = malloc(size), *got = malloc(size);
    memcpy(expected, args.view[out], size);
    memcpy(got, args.view[out], size);
    lg_cpu_kernel_fn *fast = lg_cpu_isa_kernel(isa, kernel);
    args.view[out] = expected;
    run(lg_cpu_kernels[kernel], &args);
    args.view[out] = got;
    run(fast, &args);
    size_t i = 0;
    while (i < size / sizeof(float) && is_same(((const float *)expected)[i], ((const float *)got)[i]))
        i++;
    if (i < size / sizeof(float)) {
        fprintf(stderr, "%s, kernel %d: element %zu is %a, not %a\n", lg_cpu_isa_name(isa), (int)kernel, i,
                ((const float *)got)[i], ((const float *)expected)[i]);
        exit(1);
    }
    free(expected);
    free(got);
}

/* A product of some weights with some rows of x, for both kernels. */
struct product {
    struct lg_matmul_push push;
    uint32_t dims[LG_N_DIMS], spec[LG_MAX_SPEC], n_x;
    size_t y_size;
    uint8_t *block, *w;
    float *y;
};

static void make_product(struct product *p, const struct type *t, uint32_t min_blocks, uint32_t max_blocks)
{
    const struct lg_type_info *info = lg_type_info(t->type);
    uint32_t unit = info->block_elements, n_cols = unit * test_randu(&rng, min_blocks, max_blocks);
    uint32_t n_rows = test_randu(&rng, 1, 43), skipped = test_randu(&rng, 0, 3);
    *p = (struct product){
        .n_x = test_randu(&rng, 0, 9) ? test_randu(&rng, 1, 37) : test_randu(&rng, 120, 150),
        .push = {.n_cols = n_cols,
                 .n_rows = n_rows,
                 .row_bytes = n_cols / unit * info->block_bytes,
                 .y_stride = n_rows + skipped + test_randu(&rng, 0, 3),
                 .row_begin = skipped,
                 .dim = test_randu(&rng, 0, LG_N_DIMS - 1)},
        .spec = {1, test_randu(&rng, 1, 40), test_randu(&rng, 1, test_randu(&rng, 1, 150))},
    };
    p->dims[p->push.dim] = p->n_x;
    size_t w_size = (size_t)p->push.row_bytes * n_rows;
    p->block = malloc(w_size + 1);
    p->w = p->block + (w_size & 1); // exact end; any alignment
    fill_weights(t->type, p->w, w_size);
    p->y_size = (size_t)p->n_x * p->push.y_stride * sizeof(float);
    p->y = random_floats(p->y_size / sizeof(float));
}

/* Compares both kernels and frees it. */
static void check_product(enum lg_cpu_isa isa, struct product *p, const struct type *t, void *x)
{
    uint32_t groups = (p->push.n_rows + p->spec[1] - 1) / p->spec[1];
    struct lg_cpu_args one = {
        .view = {p->w, x, p->y}, .push = &p->push, .spec = p->spec, .grid = {groups, p->n_x, 1}};
    compare(isa, t->matvec, one, 2, p->y_size);
    struct lg_cpu_args many = {.view = {p->dims, p->w, x, p->y},
                               .push = &p->push,
                               .spec = p->spec,
                               .grid = {groups, (p->n_x + p->spec[2] - 1) / p->spec[2], 1}};
    compare(isa, t->matmul, many, 3, p->y_size);
    free(p->block);
    free(p->y);
    free(x);
}

static void check_type(enum lg_cpu_isa isa, const struct type *t)
{
    struct product p;
    uint32_t unit = lg_type_info(t->type)->block_elements;
    make_product(&p, t, 1, unit == 1 ? 900 : unit == 32 ? 40 : 5);
    check_product(isa, &p, t, random_floats((size_t)p.n_x * p.push.n_cols));
}

/* x in 8 bits, now and then with what has no place there; quantising it is compared, too. */
static void *random_i8(enum lg_cpu_isa isa, uint32_t n_cols, uint32_t n_x)
{
    size_t n = (size_t)n_x * n_cols, size = (size_t)n_x * LG_I8_ROW_BYTES(n_cols);
    float *x = random_floats(n);
    static const float odd[] = {NAN, INFINITY, 1e-42f, 3e38f, 0};
    for (uint32_t i = 0; i < 3 && test_randu(&rng, 0, 3) == 0; i++)
        x[test_randu(&rng, 0, (uint32_t)n - 1)] = odd[test_randu(&rng, 0, 4)];
    for (uint32_t i = test_randu(&rng, 0, (uint32_t)n); i < n && i % 70; i++)
        x[i] = i % 3 ? 0 : 1e-41f; // blocks of subnormal numbers
    void *row = aligned_alloc(64, size);
    memset(row, 0x55, size);
    struct lg_rowwise_push push = {.n_cols = n_cols};
    struct lg_cpu_args args = {.view = {x, row}, .push = &push, .grid = {n_x, 1, 1}};
    compare(isa, LG_K_QUANTIZE, args, 1, size);
    run(lg_cpu_kernels[LG_K_QUANTIZE], &args);
    free(x);
    return row;
}

/* Rows that are long are not made ready at once. */
static void check_i8(enum lg_cpu_isa isa, const struct type *t, bool is_long)
{
    struct product p;
    uint32_t unit = lg_type_info(t->type)->block_elements;
    make_product(&p, t, is_long ? 16384 / unit + 1 : 1, (is_long ? 16384 + 2560 : 2560) / unit);
    check_product(isa, &p, t, random_i8(isa, p.push.n_cols, p.n_x));
}

static uint8_t *random_cache(uint32_t type, size_t n_cells, uint32_t width)
{
    size_t row_bytes = lg_kv_row_bytes(type, width);
    uint8_t *cache = malloc(n_cells * row_bytes);
    for (size_t i = 0; i < n_cells; i++) {
        float *row = random_floats(width);
        lg_kv_encode(type, row, width, 0, width, cache + i * row_bytes);
        free(row);
    }
    return cache;
}

static void check_attention(enum lg_cpu_isa isa)
{
    enum { MAX_PAGES = 8, SLOTS = 2, MAX_ROWS = 20 };
    uint32_t n_kv = test_randu(&rng, 1, 3), sharing = test_randu(&rng, 1, 9), type = test_randu(&rng, 0, 3);
    struct lg_attention_push push = {
        .n_heads = n_kv * sharing,
        .n_kv = n_kv,
        .head_dim = type >= LG_KV_Q8_0       ? 32 * test_randu(&rng, 1, 8)
                    : test_randu(&rng, 0, 3) ? 8 * test_randu(&rng, 1, 18)
                                             : test_randu(&rng, 1, 256),
        .page_size = test_randu(&rng, 1, 40),
        .max_pages = MAX_PAGES,
        .scale = 0.1f,
        .dim = test_randu(&rng, 0, LG_N_DIMS - 1),
    };
    uint32_t n_rows = test_randu(&rng, 1, MAX_ROWS), dims[LG_N_DIMS] = {0}, pages[SLOTS * MAX_PAGES];
    struct lg_row rows[MAX_ROWS] = {0};
    for (uint32_t i = 0; i < SLOTS * MAX_PAGES; i++)
        pages[i] = i * 5 % (SLOTS * MAX_PAGES);
    for (uint32_t i = 0; i < n_rows; i++) {
        rows[i].pos = test_randu(&rng, 0, MAX_PAGES * push.page_size - 1);
        rows[i].slot = test_randu(&rng, 0, SLOTS - 1);
        if (i > 0 && test_randu(&rng, 0, 3)) // in most cases the next of its sequence
            rows[i] = (struct lg_row){.pos = (rows[i - 1].pos + 1) % (MAX_PAGES * push.page_size),
                                      .slot = rows[i - 1].slot};
    }
    dims[push.dim] = n_rows;
    size_t n_y = (size_t)n_rows * push.n_heads * push.head_dim,
           n_cells = (size_t)SLOTS * MAX_PAGES * push.page_size;
    float *q = random_floats(n_y), *y = random_floats(n_y);
    uint8_t *k = random_cache(type, n_cells, n_kv * push.head_dim),
            *v = random_cache(type, n_cells, n_kv * push.head_dim);
    uint32_t spec[LG_MAX_SPEC] = {[2] = test_randu(&rng, 1, 17), [3] = test_randu(&rng, 0, sharing), [4] = type};
    uint32_t heads = spec[3] ? spec[3] : 1;
    struct lg_cpu_args args = {
        .view = {rows, pages, q, k, v, y},
        .push = &push,
        .spec = spec,
        .grid = {n_kv * ((sharing + heads - 1) / heads), n_rows, 1},
    };
    compare(isa, LG_K_ATTENTION, args, 5, n_y * sizeof(float));
    args.grid[1] = (n_rows + spec[2] - 1) / spec[2] + test_randu(&rng, 0, 1);
    memmove(args.view + 1, args.view, 6 * sizeof(args.view[0]));
    args.view[0] = dims;
    compare(isa, LG_K_ATTENTION_TILE, args, 6, n_y * sizeof(float));
    free(q);
    free(k);
    free(v);
    free(y);
}

/* Rows of three slots: none, float32 and float16. */
static void check_lora(enum lg_cpu_isa isa)
{
    bool wide_rows = test_randu(&rng, 0, 15) == 0;
    uint32_t n_cols = test_randu(&rng, 1, wide_rows ? 2500 : 300), max_rank = test_randu(&rng, 1, 40);
    uint32_t n_rows = test_randu(&rng, 1, wide_rows ? 3 : 20);
    uint32_t first = test_randu(&rng, 0, 1), n = 2 - first, wide = n_rows * LG_LORA_MATRICES;
    struct lg_lora_push push = {.first = first,
                                .n = n,
                                .n_cols = n_cols,
                                .n_rows = {test_randu(&rng, 1, n_cols), n_cols},
                                .y_at = {n_rows * n_cols, 0},
                                .n_targets = 1,
                                .t_stride = max_rank,
                                .flags = test_randu(&rng, 0, 1) * LG_LORA_WHOLE | test_randu(&rng, 0, 3)};
    struct lg_slot_lora slots[3] = {{0, 1}, {1, 0.5f}, {2, -2}};
    struct lg_lora_pair pairs[2] = {
        {.rank = test_randu(&rng, 1, max_rank), .factor = 1.5f},
        {.rank = test_randu(&rng, 1, max_rank), .half_size = 1, .factor = 0.3f},
    };
    size_t units = (n_cols + 3) / 4, f32_size = units * 16 * pairs[0].rank,
           f16_size = units * 8 * pairs[1].rank;
    uint8_t *weights = malloc(f32_size + f16_size);
    fill_weights(LG_TYPE_F32, weights, f32_size);
    fill_weights(LG_TYPE_F16, weights + f32_size, f16_size);
    pairs[1].a_at = pairs[1].b_at = (uint32_t)(f32_size / 8);
    struct lg_row rows[20] = {0};
    for (uint32_t i = 0; i < n_rows; i++)
        rows[i].slot = i && test_randu(&rng, 0, 2) ? rows[i - 1].slot : test_randu(&rng, 0, 2);
    float *x = random_floats((size_t)n_rows * n_cols), *t = random_floats((size_t)wide * max_rank);
    float *y = random_floats((size_t)n_rows * n_cols * 2), *bias = random_floats(n_cols);
    uint32_t spec[LG_MAX_SPEC] = {test_randu(&rng, 1, 600), test_randu(&rng, 1, 3)};

    struct lg_cpu_args args = {.view = {rows, slots, pairs, weights, x, t}, .push = &push, .spec = spec};
    memcpy(args.grid, (uint32_t[3]){n * lg_div_up(max_rank, spec[0] * spec[1]), n_rows, 1}, sizeof(args.grid));
    compare(isa, LG_K_LORA_DOWN, args, 5, (size_t)wide * max_rank * sizeof(float));
    args.view[4] = t;
    args.view[5] = args.view[6] = bias;
    args.view[8] = y;
    args.grid[0] = 0;
    for (uint32_t m = first; m < 2; m++)
        args.grid[0] += lg_div_up(push.n_rows[m], 4 * spec[0]);
    compare(isa, LG_K_LORA_UP, args, 8, (size_t)n_rows * n_cols * 2 * sizeof(float));
    free(weights);
    free(y);
    free(bias);
    free(x);
    free(t);
}

/* A row with a few odd numbers in it, or of them alone. */
static void spoil(float *x, size_t n)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY, 0, -0.0f, 1e30f, -3e38f};
    bool all = test_randu(&rng, 0, 9) == 0;
    for (size_t i = 0; i < n; i++) {
        if (all || test_randu(&rng, 0, 99) == 0)
            x[i] = odd[test_randu(&rng, 0, 6)];
    }
}

/* Rows of n_cols in spans of spec[0]. */
static void check_elementwise(enum lg_cpu_isa isa)
{
    uint32_t n_cols = test_randu(&rng, 1, 300), n_rows = test_randu(&rng, 1, 4);
    uint32_t spec[LG_MAX_SPEC] = {test_randu(&rng, 1, 400)};
    size_t n = (size_t)n_cols * n_rows;
    float *a = random_floats(n), *b = random_floats(n), *y = random_floats(n);
    for (size_t i = 0; i < n; i++)
        a[i] *= test_randf(&rng, 0, 50);
    struct lg_rowwise_push rowwise = {.n_cols = n_cols};
    struct lg_add_push add = {.n_cols = n_cols, .b_stride = test_randu(&rng, 0, 1) ? n_cols : 0};
    struct lg_norm_push norm = {.n_cols = n_cols, .eps = 1e-5f};
    struct lg_cpu_args args = {.view = {a, b, y}, .push = &rowwise, .spec = spec};
    memcpy(args.grid, (uint32_t[3]){(n_cols + spec[0] - 1) / spec[0], n_rows, 1}, sizeof(args.grid));
    compare(isa, LG_K_SILU_MUL, args, 2, n * sizeof(float));
    args.view[1] = y;
    compare(isa, LG_K_GELU, args, 1, n * sizeof(float));
    args.view[1] = b;
    args.push = &add;
    compare(isa, LG_K_ADD, args, 0, n * sizeof(float));
    args = (struct lg_cpu_args){.view = {a, b, y}, .push = &norm, .spec = spec, .grid = {n_rows, 1, 1}};
    compare(isa, LG_K_RMS_NORM, args, 2, n * sizeof(float));
    float *bias = random_floats(n_cols);
    args.view[2] = bias;
    args.view[3] = y;
    compare(isa, LG_K_LAYER_NORM, args, 3, n * sizeof(float));
    free(a);
    free(b);
    free(y);
    free(bias);
}

static void check_rope(enum lg_cpu_isa isa)
{
    enum { MAX_POS = 5, ROWS = 3 };
    struct lg_rope_push push = {.n_heads = test_randu(&rng, 1, 5),
                                .n_rot = 2 * test_randu(&rng, 1, 40),
                                .halves = test_randu(&rng, 0, 1)};
    push.head_dim = push.n_rot + test_randu(&rng, 0, 9);
    struct lg_row rows[ROWS] = {{.pos = 4}, {.pos = 0}, {.pos = 2}};
    uint32_t spec[LG_MAX_SPEC] = {test_randu(&rng, 1, 90)}, n_pairs = push.n_heads * push.n_rot / 2;
    size_t n = (size_t)ROWS * push.n_heads * push.head_dim;
    float *table = random_floats((size_t)MAX_POS * push.n_rot), *x = random_floats(n);
    struct lg_cpu_args args = {.view = {rows, table, x}, .push = &push, .spec = spec};
    memcpy(args.grid, (uint32_t[3]){(n_pairs + spec[0] - 1) / spec[0], ROWS, 1}, sizeof(args.grid));
    compare(isa, LG_K_ROPE, args, 2, n * sizeof(float));
    free(table);
    free(x);
}

/* argmax, log_prob and sample of rows as long as a vocabulary. */
static void check_logits(enum lg_cpu_isa isa)
{
    enum { ROWS = 2 };
    uint32_t n = test_randu(&rng, 0, 4) ? test_randu(&rng, 1, 90) : test_randu(&rng, 1, 5000);
    float *logits = random_floats((size_t)n * ROWS), probs[ROWS];
    for (size_t i = 0; i < (size_t)n * ROWS; i++)
        logits[i] = test_randu(&rng, 0, 1) ? logits[i] * 6 : (float)test_randu(&rng, 0, 20);
    uint32_t targets[ROWS] = {test_randu(&rng, 0, n - 1), test_randu(&rng, 0, n - 1)};
    struct lg_rowwise_push push = {.n_cols = n};
    struct lg_cpu_args args = {.view = {logits, targets, probs}, .push = &push, .grid = {ROWS, 1, 1}};
    compare(isa, LG_K_LOG_PROB, args, 2, sizeof(probs));
    if (test_randu(&rng, 0, 1))
        spoil(logits, n);
    struct {
        uint32_t index;
        float value;
    } best[ROWS];
    args.view[1] = best;
    compare(isa, LG_K_ARGMAX, args, 1, sizeof(best));

    lg_cpu_kernel_fn *sample[2] = {lg_cpu_kernels[LG_K_SAMPLE], lg_cpu_isa_kernel(isa, LG_K_SAMPLE)};
    lg_cpu_kernels[LG_K_ARGMAX](&args, 0, ROWS);
    struct lg_sampler samplers[ROWS];
    for (int i = 0; i < ROWS; i++) {
        samplers[i] = (struct lg_sampler){
            .temperature = test_randf(&rng, -0.1f, 3),
            .top_k = test_randu(&rng, 0, 1) ? test_randu(&rng, 0, 20) : 0,
            .top_p = test_randu(&rng, 0, 1) ? test_randf(&rng, 0.01f, 1) : 1,
            .min_p = test_randu(&rng, 0, 1) ? test_randf(&rng, 0, 0.3f) : 0,
            .seed_lo = test_rand(&rng),
            .n_remaining = 9,
        };
    }
    static uint32_t history[ROWS * LG_HISTORY], ring[ROWS * LG_RING], dims[LG_N_DIMS];
    uint32_t out_ids[ROWS] = {0, 1};
    struct lg_row rows[ROWS] = {{.pos = test_randu(&rng, 0, 999)}, {.pos = 5, .slot = 1}}, old[ROWS];
    memcpy(old, rows, sizeof(old));
    struct lg_sampler fresh[ROWS];
    memcpy(fresh, samplers, sizeof(fresh));
    uint32_t token[2][ROWS];
    for (int fast = 0; fast < 2 && sample[1]; fast++) {
        memcpy(rows, old, sizeof(old));
        memcpy(samplers, fresh, sizeof(fresh));
        args = (struct lg_cpu_args){.view = {logits, best, out_ids, rows, samplers, history, ring, dims},
                                    .push = &push,
                                    .grid = {ROWS, 1, 1}};
        run(sample[fast], &args);
        token[fast][0] = rows[0].token;
        token[fast][1] = rows[1].token;
    }
    REQUIRE(!sample[1] || memcmp(token[0], token[1], sizeof(token[0])) == 0);
    free(logits);
}

int main(void)
{
    int n_isas = 0;
    for (int isa = 0; isa < LG_CPU_ISA_COUNT; isa++) {
        n_isas += lg_cpu_isa_kernel(isa, LG_K_MATVEC_F32) != NULL;
        for (int round = 0; round < 30; round++) {
            for (int t = 0; t < N_TYPES; t++)
                check_type(isa, &types[t]);
            for (int t = 0; t < N_BLOCK_TYPES; t++)
                check_i8(isa, &block_types[t], round == 0);
            check_attention(isa);
            for (int i = 0; i < 20; i++) {
                check_elementwise(isa);
                check_rope(isa);
                check_logits(isa);
            }
            check_lora(isa);
        }
        printf("%s: the same bits as the reference\n", lg_cpu_isa_name(isa));
    }
    REQUIRE_INT(n_isas, >=, 1);
    for (int isa = LG_CPU_ISA_COUNT - 1; isa >= 0; isa--) { // the best that there is
        lg_cpu_kernel_fn *attention = lg_cpu_isa_kernel(isa, LG_K_ATTENTION);
        if (attention) {
            REQUIRE(lg_cpu_fast(LG_K_ATTENTION) == attention);
            break;
        }
    }
    return 0;
}
