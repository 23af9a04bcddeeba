/* SPDX-License-Identifier: MIT
 * attention and kv_write, over page tables in random order. */
#include "check.h"
#include "gguf/kv_rows.h"

enum { N_SLOTS = 3 };

/* A page table per slot; no page has two owners. */
static uint32_t *random_pages(struct check *c, uint32_t max_pages)
{
    uint32_t n = N_SLOTS * max_pages, *pages = check_zeros(n, sizeof(*pages));
    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = check_int(c, 0, i);
        pages[i] = pages[j];
        pages[j] = i;
    }
    return pages;
}

/* What a cell of the caches comes to differ by where a device rounds otherwise: a place of float16, or a step of a block. */
static float step_of(uint32_t type, const float *ref, uint32_t i)
{
    float most = 0;
    for (uint32_t j = i / 32 * 32; j < i / 32 * 32 + 32 && type >= LG_KV_Q8_0; j++)
        most = fmaxf(most, fabsf(ref[j]));
    return type == LG_KV_F32    ? 0
           : type == LG_KV_F16  ? fabsf(ref[i]) * 0x1p-10f + 0x1p-24f
           : type == LG_KV_Q8_0 ? most * 1.001f / 127
                                : most * 1.001f / 8;
}

/* Rows as numbers; most come out equal, and those that do not are beside what the reference has. */
static void compare_rows(struct check *c, const struct check_case *k, int view, uint32_t type, uint32_t n_cols,
                         const char *name)
{
    size_t row_bytes = lg_kv_row_bytes(type, n_cols), n_rows = k->size[view] / row_bytes, n_other = 0;
    float *got = check_zeros(n_cols, sizeof(*got)), *ref = check_zeros(n_cols, sizeof(*ref));
    for (size_t r = 0; r < n_rows; r++) {
        lg_kv_decode(type, (const uint8_t *)k->out[view] + r * row_bytes, n_cols, 0, n_cols, got);
        lg_kv_decode(type, (const uint8_t *)k->ref[view] + r * row_bytes, n_cols, 0, n_cols, ref);
        for (uint32_t i = 0; i < n_cols; i++) {
            n_other += got[i] != ref[i];
            if (!(fabsf(got[i] - ref[i]) <= step_of(type, ref, i)))
                check_fail(c, "%s: element %u of row %zu is %g, not %g", name, i, r, (double)got[i], (double)ref[i]);
        }
    }
    // Halves may be cut instead of rounded, which moves the factors of blocks as well.
    if (type == LG_KV_F32 && n_other)
        check_fail(c, "%s: %zu elements differ", name, n_other);
    free(got);
    free(ref);
}

static void kv_write_case(struct check *c, uint32_t type, uint32_t n_cols, uint32_t page_size, uint32_t n_rows)
{
    enum { MAX_PAGES = 4 };
    struct lg_kv_write_push push = {.n_cols = n_cols, .page_size = page_size, .max_pages = MAX_PAGES};
    size_t n = (size_t)n_rows * n_cols,
           cache_bytes = (size_t)N_SLOTS * MAX_PAGES * page_size * lg_kv_row_bytes(type, n_cols);
    uint32_t *pages = random_pages(c, MAX_PAGES), first = check_int(c, 0, page_size);
    struct lg_row *rows = check_zeros(n_rows, sizeof(*rows));
    for (uint32_t r = 0; r < n_rows; r++)
        rows[r] = (struct lg_row){.pos = first + r / N_SLOTS, .slot = r % N_SLOTS};
    float *kv[2] = {check_floats(c, n, -1, 1), check_floats(c, n, -1, 1)};
    void *cache[2] = {check_zeros(cache_bytes, 1), check_zeros(cache_bytes, 1)};
    for (size_t i = 0; i < n && n_rows > 1; i += check_int(c, 1, 40)) // blocks without anything, and large ones
        kv[i % 2][i] *= check_int(c, 0, 3) ? 0 : 1000;
    struct check_case k = {
        .kernel = LG_K_KV_WRITE,
        .data = {rows, pages, kv[0], kv[1], cache[0], cache[1]},
        .size = {n_rows * sizeof(*rows), N_SLOTS * MAX_PAGES * 4, n * 4, n * 4, cache_bytes, cache_bytes},
        .spec = {type < LG_KV_Q8_0 ? check_workgroup(c) : 16 * check_int(c, 1, 8), type},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n * 16,
    };
    k.grid[0] = CHECK_CEIL(n_cols, k.spec[0] * LG_KV_UNIT(type));
    k.grid[1] = n_rows;
    k.grid[2] = 1;
    char name[96];
    snprintf(name, sizeof(name), "kv_write type %u, %u rows of %u, pages of %u", type, n_rows, n_cols, page_size);
    if (c->bench) {
        check_run(c, &k, "%s", name);
    } else if (check_dispatch(c, &k, name)) {
        compare_rows(c, &k, 4, type, n_cols, name);
        compare_rows(c, &k, 5, type, n_cols, name);
        check_release(&k);
    }
    free(pages);
    free(rows);
    for (int i = 0; i < 2; i++) {
        free(kv[i]);
        free(cache[i]);
    }
}

void check_kv_write(struct check *c)
{
    if (c->bench) {
        kv_write_case(c, LG_KV_F32, 128, 64, 64);
        kv_write_case(c, LG_KV_Q8_0, 128, 64, 64);
        return;
    }
    for (uint32_t type = 0; type < LG_N_KV_TYPES; type++) {
        kv_write_case(c, type, 128, 16, 9);
        kv_write_case(c, type, type < LG_KV_Q8_0 ? 76 : 96, 3, 6);
        kv_write_case(c, type, type < LG_KV_Q8_0 ? 33 : 32, 5, 2);
        kv_write_case(c, type, 1024, 32, 1);
    }
}

struct shape {
    uint32_t n_heads, n_kv, head_dim, page_size, max_pages;
    bool by_lane; // attention in the form for software drivers
    uint32_t type;
};

/* Random inputs of a batch; cells that belong to no key of a row hold NaN. */
struct scene {
    struct lg_attention_push push;
    struct lg_row *rows;
    uint32_t *pages;
    float *q;
    uint8_t *keys, *values;
    size_t n_rows, n_pages, n_q, cache_bytes;
    uint32_t type;
};

/* A cache of random rows. */
static uint8_t *random_cache(struct check *c, uint32_t type, size_t n_cells, uint32_t width)
{
    size_t row_bytes = lg_kv_row_bytes(type, width);
    uint8_t *cache = check_zeros(n_cells, row_bytes);
    for (size_t i = 0; i < n_cells; i++) {
        float *row = check_floats(c, width, -2, 2);
        lg_kv_encode(type, row, width, 0, width, cache + i * row_bytes);
        free(row);
    }
    return cache;
}

/* Rows at the given position and at random ones before it; `runs`: neighbours are of one slot, one after the
 * other. */
static void scene_init(struct check *c, struct scene *s, struct shape shape, uint32_t n_rows, uint32_t pos,
                       bool runs)
{
    *s = (struct scene){
        .push = {.n_heads = shape.n_heads,
                 .n_kv = shape.n_kv,
                 .head_dim = shape.head_dim,
                 .page_size = shape.page_size,
                 .max_pages = shape.max_pages,
                 .scale = 1 / sqrtf((float)shape.head_dim),
                 .dim = check_int(c, 0, LG_N_DIMS - 1)},
        .n_rows = n_rows,
        .n_pages = (size_t)N_SLOTS * shape.max_pages,
        .n_q = (size_t)n_rows * shape.n_heads * shape.head_dim,
        .type = shape.type,
    };
    uint32_t last[N_SLOTS] = {0}, width = shape.n_kv * shape.head_dim;
    size_t n_cells = s->n_pages * shape.page_size, row_bytes = lg_kv_row_bytes(shape.type, width);
    s->pages = random_pages(c, shape.max_pages);
    s->rows = check_zeros(n_rows, sizeof(*s->rows));
    for (uint32_t r = 0; r < n_rows; r++) {
        struct lg_row *row = &s->rows[r];
        *row =
            (struct lg_row){.pos = r == 0 ? pos : check_int(c, 0, pos), .slot = check_int(c, 0, N_SLOTS - 1)};
        if (runs && r > 0 && check_int(c, 0, 7) > 0)
            *row = (struct lg_row){.pos = (row[-1].pos + 1) % (pos + 1), .slot = row[-1].slot};
        last[row->slot] = row->pos > last[row->slot] ? row->pos : last[row->slot];
    }
    s->q = check_floats(c, s->n_q, -3, 3);
    s->cache_bytes = n_cells * row_bytes;
    s->keys = random_cache(c, shape.type, n_cells, width);
    s->values = random_cache(c, shape.type, n_cells, width);
    for (uint32_t slot = 0; slot < N_SLOTS; slot++) {
        for (uint32_t p = last[slot] + 1; p < shape.max_pages * shape.page_size; p++) {
            uint32_t page = s->pages[slot * shape.max_pages + p / shape.page_size];
            size_t cell = (size_t)page * shape.page_size + p % shape.page_size;
            memset(s->keys + cell * row_bytes, 0xff, row_bytes); // NaN, as are the factors of blocks
            memset(s->values + cell * row_bytes, 0xff, row_bytes);
        }
    }
}

static void scene_free(struct scene *s)
{
    free(s->pages);
    free(s->rows);
    free(s->q);
    free(s->keys);
    free(s->values);
}

/* The bindings from `at` on, y the last of them. */
static void scene_bind(const struct scene *s, struct check_case *k, int at)
{
    const void *data[] = {s->rows, s->pages, s->q, s->keys, s->values};
    size_t size[] = {
        s->n_rows * sizeof(*s->rows), s->n_pages * 4, s->n_q * 4, s->cache_bytes, s->cache_bytes, s->n_q * 4};
    memcpy(&k->data[at], data, sizeof(data));
    memcpy(&k->size[at], size, sizeof(size));
    k->spec[4] = s->type;
    k->tolerance[at + 5] = (struct check_tolerance){.abs = 4e-6f, .rel = 4e-6f};
    k->push = &s->push;
    k->push_size = sizeof(s->push);
    for (size_t r = 0; r < s->n_rows; r++)
        k->flops += 4.0 * s->push.n_heads * (s->rows[r].pos + 1) * s->push.head_dim;
}

static void attention_case(struct check *c, struct shape shape, uint32_t n_rows, uint32_t pos)
{
    struct scene s;
    scene_init(c, &s, shape, n_rows, pos, false);
    uint32_t lanes = c->dev->info.subgroup_size;
    struct check_case k = {
        .kernel = LG_K_ATTENTION,
        .spec = {shape.by_lane ? lanes : check_workgroup(c), CHECK_CEIL(shape.head_dim, lanes),
                 shape.by_lane ? shape.head_dim / 4 : 0},
        .grid = {shape.n_heads, n_rows, 1},
    };
    scene_bind(&s, &k, 0);
    check_run(c, &k, "%u rows at %u, %u/%u heads of %u, pages of %u, wg %u, form %d", n_rows, pos,
              shape.n_heads, shape.n_kv, shape.head_dim, shape.page_size, k.spec[0], shape.by_lane);
    scene_free(&s);
}

void check_attention(struct check *c)
{
    if (c->bench) {
        bool software = c->dev->info.kind == LG_DEVICE_SOFTWARE;
        attention_case(c, (struct shape){14, 2, 64, 64, 16, software}, 1, 1000);
        attention_case(c, (struct shape){14, 2, 64, 64, 16, software}, 16, 500);
        return;
    }
    attention_case(c, (struct shape){14, 2, 64, 16, 20, false}, 2, 300);
    attention_case(c, (struct shape){4, 4, 38, 7, 9, false}, 5, 60);
    attention_case(c, (struct shape){2, 1, 80, 32, 2, false}, 4, 33);
    attention_case(c, (struct shape){6, 2, 96, 5, 3, false}, 3, 0);
    attention_case(c, (struct shape){2, 2, 128, 16, 4, false}, 3, 7);
    attention_case(c, (struct shape){2, 1, 256, 16, 4, false}, 3, check_int(c, 1, 63));
    attention_case(c, (struct shape){1, 1, 1, 16, 4, false}, 3, check_int(c, 1, 63));
    attention_case(c, (struct shape){14, 2, 64, 16, 20, true}, 2, 300);
    attention_case(c, (struct shape){6, 2, 96, 5, 3, true}, 3, 0);
    attention_case(c, (struct shape){2, 1, 80, 32, 2, true}, 4, 33);
    attention_case(c, (struct shape){2, 1, 4, 16, 4, true}, 3, check_int(c, 1, 63));
    attention_case(c, (struct shape){4, 4, 38, 7, 9, false, LG_KV_F16}, 5, 60);
    attention_case(c, (struct shape){3, 3, 3, 7, 9, false, LG_KV_F16}, 5, 60);
    attention_case(c, (struct shape){2, 1, 4, 16, 4, true, LG_KV_F16}, 3, check_int(c, 1, 63));
    for (uint32_t type = LG_KV_F16; type < LG_N_KV_TYPES; type++) {
        for (int by_lane = 0; by_lane < 2; by_lane++) {
            attention_case(c, (struct shape){14, 2, 64, 16, 20, by_lane, type}, 2, 300);
            attention_case(c, (struct shape){6, 3, 96, 5, 3, by_lane, type}, 3, check_int(c, 1, 14));
            attention_case(c, (struct shape){2, 1, 32, 16, 4, by_lane, type}, 3, check_int(c, 1, 63));
        }
        attention_case(c, (struct shape){2, 1, 256, 16, 4, false, type}, 3, check_int(c, 1, 63));
    }
}

/* Whether the last row alone comes out as it does among others, bit for bit. */
static void check_alone(struct check *c, const struct check_case *all, int rows_at, const char *name)
{
    const struct lg_attention_push *push = all->push;
    size_t row = all->size[rows_at] / sizeof(struct lg_row) - 1,
           width = (size_t)push->n_heads * push->head_dim * 4;
    uint32_t dims[LG_N_DIMS] = {0};
    dims[push->dim] = 1;
    struct check_case k = *all;
    if (rows_at > 0)
        k.data[0] = dims;
    k.data[rows_at] = (const struct lg_row *)all->data[rows_at] + row;
    k.size[rows_at] = sizeof(struct lg_row);
    k.data[rows_at + 2] = (const uint8_t *)all->data[rows_at + 2] + row * width;
    k.size[rows_at + 2] = k.size[rows_at + 5] = width;
    k.grid[rows_at > 0 ? 1 : 2] = 1;
    if (!check_dispatch(c, &k, name))
        return;
    if (memcmp(k.out[rows_at + 5], (const uint8_t *)all->out[rows_at + 5] + row * width, width) != 0)
        check_fail(c, "%s: a row alone has other bits", name);
    check_release(&k);
}

static void run_with_alone(struct check *c, struct check_case *k, int rows_at, const char *name)
{
    if (c->bench) {
        check_run(c, k, "%s", strchr(name, ' ') + 1); // the kernel's name comes by itself
        return;
    }
    if (!check_dispatch(c, k, name))
        return;
    check_compare(c, k, name);
    check_alone(c, k, rows_at, name);
    check_release(k);
}

static void tile_case(struct check *c, struct shape shape, uint32_t heads, uint32_t n_rows, uint32_t pos)
{
    struct scene s;
    scene_init(c, &s, shape, n_rows, pos, true);
    uint32_t dims[LG_N_DIMS] = {0}, rows = 32 / heads, parts = CHECK_CEIL(shape.n_heads / shape.n_kv, heads);
    dims[s.push.dim] = n_rows;
    struct check_case k = {
        .kernel = LG_K_ATTENTION_TILE,
        .data = {dims},
        .size = {sizeof(dims)},
        .spec = {128, shape.head_dim / 4, rows, heads},
        .grid = {shape.n_kv * parts, CHECK_CEIL(n_rows, rows) + 1, 1},
    };
    scene_bind(&s, &k, 1);
    char name[128];
    snprintf(name, sizeof(name), "attention_tile %u rows to %u, %u/%u heads of %u, %u together", n_rows, pos,
             shape.n_heads, shape.n_kv, shape.head_dim, heads);
    run_with_alone(c, &k, 1, name);
    scene_free(&s);
}

void check_attention_tile(struct check *c)
{
    if (c->bench) {
        tile_case(c, (struct shape){14, 2, 64, 32, 16, false}, 7, 256, 511);
        tile_case(c, (struct shape){32, 8, 64, 32, 16, false}, 4, 256, 511);
        tile_case(c, (struct shape){32, 8, 128, 32, 16, false}, 4, 64, 511);
        return;
    }
    tile_case(c, (struct shape){14, 2, 64, 16, 20, false}, 7, 33, 200);
    tile_case(c, (struct shape){14, 2, 64, 16, 20, false}, 3, 17, 70);
    tile_case(c, (struct shape){4, 4, 36, 7, 9, false}, 1, 50, 60);
    tile_case(c, (struct shape){8, 2, 80, 32, 2, false}, 4, 19, 63);
    tile_case(c, (struct shape){6, 2, 128, 5, 30, false}, 3, 11, 149);
    tile_case(c, (struct shape){2, 1, 4, 16, 4, false}, 2, 1, check_int(c, 0, 63));
    tile_case(c, (struct shape){32, 1, 12, 16, 4, false}, 8, 5, check_int(c, 0, 63));
    tile_case(c, (struct shape){4, 4, 36, 7, 9, false, LG_KV_F16}, 1, 50, 60);
    for (uint32_t type = LG_KV_F16; type < LG_N_KV_TYPES; type++) {
        tile_case(c, (struct shape){14, 2, 64, 16, 20, false, type}, 7, 33, 200);
        tile_case(c, (struct shape){9, 3, 96, 5, 30, false, type}, 3, 11, 149);
        tile_case(c, (struct shape){2, 1, 32, 16, 4, false, type}, 2, 1, check_int(c, 0, 63));
    }
}

static void split_case(struct check *c, struct shape shape, uint32_t heads, uint32_t splits, uint32_t n_rows,
                       uint32_t pos)
{
    struct scene s;
    scene_init(c, &s, shape, n_rows, pos, false);
    uint32_t parts = CHECK_CEIL(shape.n_heads / shape.n_kv, heads), wg = check_workgroup(c);
    size_t n_parts = s.n_q / shape.head_dim * splits * (shape.head_dim + 4),
           n_done = shape.n_kv * parts * n_rows;
    float *sums = check_zeros(n_parts, sizeof(*sums));
    uint32_t *done = check_zeros(n_done, sizeof(*done));
    struct check_case k = {
        .kernel = LG_K_ATTENTION_SPLIT,
        .data = {[6] = sums, [7] = done},
        .size = {[6] = n_parts * sizeof(*sums), [7] = n_done * sizeof(*done)},
        .tolerance = {[6] = {.abs = INFINITY}},
        .spec = {wg < shape.head_dim / 4 ? 64
                 : wg > 256              ? 256
                                         : wg,
                 shape.head_dim / 4, splits, heads},
        .grid = {shape.n_kv * parts, splits, n_rows},
    };
    scene_bind(&s, &k, 0);
    char name[128];
    snprintf(name, sizeof(name),
             "attention_split %u rows at %u, %u/%u heads of %u, %u together, %u splits, wg %u", n_rows, pos,
             shape.n_heads, shape.n_kv, shape.head_dim, heads, splits, k.spec[0]);
    run_with_alone(c, &k, 0, name);
    scene_free(&s);
    free(sums);
    free(done);
}

void check_attention_split(struct check *c)
{
    if (c->bench) {
        split_case(c, (struct shape){14, 2, 64, 32, 32, false}, 7, 32, 1, 100);
        split_case(c, (struct shape){14, 2, 64, 32, 32, false}, 7, 32, 1, 1000);
        return;
    }
    split_case(c, (struct shape){14, 2, 64, 16, 40, false}, 7, 16, 3, 600);
    split_case(c, (struct shape){14, 2, 64, 16, 40, false}, 3, 2, 2, 600);
    split_case(c, (struct shape){4, 4, 36, 7, 60, false}, 1, 4, 5, 400);
    split_case(c, (struct shape){8, 2, 80, 32, 10, false}, 4, 8, 4, 300);
    split_case(c, (struct shape){6, 2, 128, 5, 60, false}, 3, 3, 3, check_int(c, 0, 299));
    split_case(c, (struct shape){2, 1, 256, 16, 20, false}, 2, 5, 2, check_int(c, 0, 319));
    split_case(c, (struct shape){2, 1, 4, 16, 20, false}, 2, 32, 2, check_int(c, 128, 319));
    split_case(c, (struct shape){2, 1, 8, 16, 4, false}, 2, 1, 2, check_int(c, 0, 63));
    split_case(c, (struct shape){4, 4, 36, 7, 60, false, LG_KV_F16}, 1, 4, 5, 400);
    for (uint32_t type = LG_KV_F16; type < LG_N_KV_TYPES; type++) {
        split_case(c, (struct shape){14, 2, 64, 16, 40, false, type}, 7, 16, 3, 600);
        split_case(c, (struct shape){9, 3, 96, 5, 60, false, type}, 3, 3, 3, check_int(c, 0, 299));
        split_case(c, (struct shape){2, 1, 32, 16, 20, false, type}, 2, 5, 2, check_int(c, 0, 319));
    }
}
