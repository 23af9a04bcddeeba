/* SPDX-License-Identifier: MIT
 * attention and kv_write, over page tables in random order. */
#include "check.h"

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

static void kv_write_case(struct check *c, uint32_t n_cols, uint32_t page_size, uint32_t n_rows)
{
    enum { MAX_PAGES = 4 };
    struct lg_kv_write_push push = {.n_cols = n_cols, .page_size = page_size, .max_pages = MAX_PAGES};
    size_t n = (size_t)n_rows * n_cols, n_cache = (size_t)N_SLOTS * MAX_PAGES * page_size * n_cols;
    uint32_t *pages = random_pages(c, MAX_PAGES), first = check_int(c, 0, page_size);
    struct lg_row *rows = check_zeros(n_rows, sizeof(*rows));
    for (uint32_t r = 0; r < n_rows; r++)
        rows[r] = (struct lg_row){.pos = first + r / N_SLOTS, .slot = r % N_SLOTS};
    float *kv[2] = {check_floats(c, n, -1, 1), check_floats(c, n, -1, 1)};
    float *cache[2] = {check_floats(c, n_cache, -1, 1), check_floats(c, n_cache, -1, 1)};
    struct check_case k = {
        .kernel = LG_K_KV_WRITE,
        .data = {rows, pages, kv[0], kv[1], cache[0], cache[1]},
        .size = {n_rows * sizeof(*rows), N_SLOTS * MAX_PAGES * 4, n * 4, n * 4, n_cache * 4, n_cache * 4},
        .spec = {check_workgroup(c)},
        .push = &push,
        .push_size = sizeof(push),
        .bytes = (double)n * 16,
    };
    k.grid[0] = CHECK_CEIL(n_cols, k.spec[0]);
    k.grid[1] = n_rows;
    k.grid[2] = 1;
    check_run(c, &k, "%u rows of %u, pages of %u", n_rows, n_cols, page_size);
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
        kv_write_case(c, 128, 64, 64);
        return;
    }
    kv_write_case(c, 128, 16, 9);
    kv_write_case(c, 76, 3, 6);
    kv_write_case(c, 1024, 32, 1);
}

struct shape {
    uint32_t n_heads, n_kv, head_dim, page_size, max_pages;
    bool by_lane; // the form for software drivers
};

/* Rows at the given position and at random ones; cells that belong to no key before them hold NaN. */
static void attention_case(struct check *c, struct shape s, uint32_t n_rows, uint32_t pos)
{
    struct lg_attention_push push = {
        .n_heads = s.n_heads,
        .n_kv = s.n_kv,
        .head_dim = s.head_dim,
        .page_size = s.page_size,
        .max_pages = s.max_pages,
        .scale = 1 / sqrtf((float)s.head_dim),
    };
    uint32_t lanes = c->dev->info.subgroup_size;
    size_t n_q = (size_t)n_rows * s.n_heads * s.head_dim, width = (size_t)s.n_kv * s.head_dim;
    size_t n_cells = (size_t)N_SLOTS * s.max_pages * s.page_size;
    uint32_t *pages = random_pages(c, s.max_pages), last[N_SLOTS] = {0};
    struct lg_row *rows = check_zeros(n_rows, sizeof(*rows));
    for (uint32_t r = 0; r < n_rows; r++) {
        rows[r] =
            (struct lg_row){.pos = r == 0 ? pos : check_int(c, 0, pos), .slot = check_int(c, 0, N_SLOTS - 1)};
        if (rows[r].pos > last[rows[r].slot])
            last[rows[r].slot] = rows[r].pos;
    }
    float *q = check_floats(c, n_q, -3, 3);
    float *keys = check_floats(c, n_cells * width, -2, 2), *values = check_floats(c, n_cells * width, -2, 2);
    for (uint32_t slot = 0; slot < N_SLOTS; slot++) {
        for (uint32_t p = last[slot] + 1; p < s.max_pages * s.page_size; p++) {
            size_t cell = (size_t)pages[slot * s.max_pages + p / s.page_size] * s.page_size + p % s.page_size;
            for (size_t i = 0; i < width; i++)
                keys[cell * width + i] = values[cell * width + i] = NAN;
        }
    }
    struct check_case k = {
        .kernel = LG_K_ATTENTION,
        .data = {rows, pages, q, keys, values},
        .size = {n_rows * sizeof(*rows), (size_t)N_SLOTS * s.max_pages * 4, n_q * 4, n_cells * width * 4,
                 n_cells * width * 4, n_q * 4},
        .tolerance = {[5] = {.abs = 4e-6f, .rel = 4e-6f}},
        .spec = {s.by_lane ? lanes : check_workgroup(c), CHECK_CEIL(s.head_dim, lanes),
                 s.by_lane ? s.head_dim / 4 : 0},
        .grid = {s.n_heads, n_rows, 1},
        .push = &push,
        .push_size = sizeof(push),
        .flops = 4.0 * s.n_heads * n_rows * (pos + 1) * s.head_dim,
    };
    check_run(c, &k, "%u rows at %u, %u/%u heads of %u, pages of %u, wg %u, form %d", n_rows, pos, s.n_heads,
              s.n_kv, s.head_dim, s.page_size, k.spec[0], s.by_lane);
    free(pages);
    free(rows);
    free(q);
    free(keys);
    free(values);
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
}
