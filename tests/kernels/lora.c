/* SPDX-License-Identifier: MIT
 * lora_down and lora_up: rows of several slots, with different adapters or none, for some of several matrices. */
#include "check.h"

#include "gguf/quants.h"

enum { N_SLOTS = 5, N_SEATS = 3, N_MATRICES = LG_LORA_MATRICES, N_TARGETS = N_MATRICES + 1 };

/* A batch whose rows have adapters of different ranks and sizes of numbers. */
struct lora {
    uint32_t n_in, n_rows, max_rank;
    uint32_t n_out[N_MATRICES], y_at[N_MATRICES], n_y;
    struct lg_row *rows;
    struct lg_slot_lora slots[N_SLOTS];
    struct lg_lora_pair pairs[N_SEATS * N_TARGETS];
    uint8_t *weights;
    size_t size;
    float *x, *t, *y, *bias[N_MATRICES];
};

/* Places a matrix of `rank` rows; returns where, in units of 8 bytes. */
static uint32_t put_matrix(struct check *c, struct lora *l, uint32_t rank, uint32_t n_cols, bool half_size)
{
    size_t row = CHECK_CEIL(n_cols, 4) * (half_size ? 8u : 16u), at = l->size;
    l->size = CHECK_CEIL(at + rank * row, 16) * 16;
    l->weights = realloc(l->weights, l->size);
    REQUIRE(l->weights);
    memset(l->weights + at, 0xff, l->size - at); // what is padding must not be used
    for (uint32_t i = 0; i < rank; i++) {
        for (uint32_t k = 0; k < n_cols; k++) {
            float value = test_randf(&c->rng, -1, 1);
            uint16_t half = lg_f32_to_f16(value);
            memcpy(l->weights + at + i * row + k * (half_size ? 2 : 4), half_size ? (void *)&half : &value,
                   half_size ? 2 : 4);
        }
        size_t used = (size_t)n_cols * (half_size ? 2 : 4);
        memset(l->weights + at + i * row + used, 0, row - used);
    }
    return (uint32_t)(at / 8);
}

/* Target m is matrix m of n_out[m] columns; the last one is nobody's. */
static void lora_init(struct check *c, struct lora *l, uint32_t n_in, uint32_t n_out, uint32_t max_rank, uint32_t n_rows)
{
    *l = (struct lora){.n_in = n_in, .n_rows = n_rows, .max_rank = max_rank};
    for (uint32_t m = 0; m < N_MATRICES; m++) {
        l->n_out[m] = m == 0 || c->bench ? n_out : check_int(c, 1, n_out);
        l->y_at[m] = l->n_y + (c->bench ? 0 : check_int(c, 0, 5));
        l->n_y = l->y_at[m] + l->n_out[m] * n_rows;
        l->bias[m] = check_floats(c, l->n_out[m], -1, 1);
    }
    for (uint32_t i = 0; i < N_SEATS * N_TARGETS; i++) {
        struct lg_lora_pair *pair = &l->pairs[i];
        uint32_t m = i % N_TARGETS;
        pair->half_size = i / N_TARGETS & 1;
        pair->rank = i == 0 ? max_rank : c->bench ? max_rank / 2 : check_int(c, 0, max_rank);
        pair->factor = test_randf(&c->rng, 0.5f, 2);
        pair->a_at = put_matrix(c, l, pair->rank, n_in, pair->half_size);
        pair->b_at = put_matrix(c, l, pair->rank, m < N_MATRICES ? l->n_out[m] : 1, pair->half_size);
    }
    for (uint32_t i = 0; i < N_SLOTS; i++)
        l->slots[i] = (struct lg_slot_lora){i % (N_SEATS + 1), test_randf(&c->rng, -1, 1)};
    l->rows = check_zeros(n_rows, sizeof(*l->rows));
    for (uint32_t r = 0; r < n_rows; r++)
        l->rows[r].slot = c->bench || r == 0 ? 1 : check_int(c, 0, N_SLOTS - 1);
    l->x = check_floats(c, (size_t)n_rows * n_in, -1, 1);
    l->t = check_floats(c, (size_t)n_rows * N_MATRICES * max_rank, -1, 1);
    l->y = check_floats(c, l->n_y, -1, 1);
}

static void lora_free(struct lora *l)
{
    for (uint32_t m = 0; m < N_MATRICES; m++)
        free(l->bias[m]);
    free(l->rows);
    free(l->weights);
    free(l->x);
    free(l->t);
    free(l->y);
}

static struct lg_lora_push push_of(const struct lora *l, uint32_t first, uint32_t n, uint32_t flags)
{
    struct lg_lora_push push = {
        .first = first, .n = n, .n_cols = l->n_in, .n_targets = N_TARGETS, .t_stride = l->max_rank, .flags = flags};
    for (uint32_t m = 0; m < N_MATRICES; m++) {
        push.n_rows[m] = l->n_out[m];
        push.y_at[m] = l->y_at[m];
        push.target[m] = m;
    }
    return push;
}

static struct check_case lora_case(const struct lora *l, const struct lg_lora_push *push)
{
    return (struct check_case){
        .data = {l->rows, l->slots, l->pairs, l->weights},
        .size = {l->n_rows * sizeof(*l->rows), sizeof(l->slots), sizeof(l->pairs), l->size},
        .push = push,
        .push_size = sizeof(*push),
    };
}

/* Matrices [first, first + n). */
static void down_case(struct check *c, uint32_t n_in, uint32_t rank, uint32_t n_rows, uint32_t first, uint32_t n)
{
    struct lora l;
    lora_init(c, &l, n_in, 4, rank, n_rows);
    struct lg_lora_push push = push_of(&l, first, n, 0);
    struct check_case k = lora_case(&l, &push);
    uint32_t wg = check_workgroup(c), each = check_int(c, 1, 3), lanes = c->dev->info.subgroup_size;
    k.kernel = LG_K_LORA_DOWN;
    k.data[4] = l.x;
    k.data[5] = l.t;
    k.size[4] = (size_t)n_rows * n_in * 4;
    k.size[5] = (size_t)n_rows * N_MATRICES * rank * 4;
    k.tolerance[5] = (struct check_tolerance){.abs = 4e-6f * sqrtf((float)n_in), .rel = 2e-6f};
    k.spec[0] = wg;
    k.spec[1] = each;
    k.grid[0] = n * CHECK_CEIL(rank, wg / lanes * each);
    k.grid[1] = n_rows;
    k.grid[2] = 1;
    k.ref_grid_x = n * CHECK_CEIL(rank, wg * each);
    k.flops = 2.0 * n_in * rank * n_rows * n;
    check_run(c, &k, "%u to rank %u, %u rows, matrices %u + %u", n_in, rank, n_rows, first, n);
    lora_free(&l);
}

static void up_case(struct check *c, uint32_t n_out, uint32_t rank, uint32_t n_rows, uint32_t first, uint32_t n,
                    uint32_t flags)
{
    struct lora l;
    lora_init(c, &l, 4, n_out, rank, n_rows);
    struct lg_lora_push push = push_of(&l, first, n, flags);
    struct check_case k = lora_case(&l, &push);
    k.kernel = LG_K_LORA_UP;
    k.data[4] = l.t;
    k.size[4] = (size_t)n_rows * N_MATRICES * rank * 4;
    k.spec[0] = check_workgroup(c);
    for (uint32_t m = 0; m < N_MATRICES; m++) {
        k.data[5 + m] = l.bias[m];
        k.size[5 + m] = l.n_out[m] * 4u;
        bool of_grid = m >= first && m < first + n;
        k.grid[0] += of_grid ? CHECK_CEIL(CHECK_CEIL(l.n_out[m], 4), k.spec[0]) : 0;
        k.flops += of_grid ? 2.0 * l.n_out[m] * rank * n_rows : 0;
    }
    k.data[8] = l.y;
    k.size[8] = l.n_y * 4u;
    k.tolerance[8] = (struct check_tolerance){.abs = 4e-6f * sqrtf((float)rank), .rel = 2e-6f};
    k.grid[1] = n_rows;
    k.grid[2] = 1;
    check_run(c, &k, "rank %u to %u, %u rows, matrices %u + %u, flags %x", rank, n_out, n_rows, first, n, flags);
    lora_free(&l);
}

void check_lora_down(struct check *c)
{
    if (c->bench) {
        down_case(c, 4864, 16, 1, 0, 1);
        down_case(c, 4864, 16, 64, 0, 1);
        down_case(c, 896, 16, 8, 0, 3);
        return;
    }
    down_case(c, 1, 1, 1, 0, 1);
    down_case(c, 896, 16, 3, 0, 3);
    for (uint32_t i = 0; i < 6; i++) {
        uint32_t first = i % N_MATRICES;
        down_case(c, check_int(c, 1, 1000), check_int(c, 1, 40), check_int(c, 1, 9), first,
                  check_int(c, 1, N_MATRICES - first));
    }
}

void check_lora_up(struct check *c)
{
    if (c->bench) {
        up_case(c, 4864, 16, 1, 0, 1, 0);
        up_case(c, 4864, 16, 64, 0, 1, 0);
        up_case(c, 896, 16, 8, 0, 3, 0);
        return;
    }
    up_case(c, 1, 1, 1, 0, 1, 0);
    up_case(c, 896, 16, 3, 0, 3, 0);
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t first = i % N_MATRICES;
        up_case(c, check_int(c, 1, 1000), check_int(c, 1, 40), check_int(c, 1, 9), first,
                check_int(c, 1, N_MATRICES - first), i % 2 ? LG_LORA_WHOLE | check_int(c, 0, 7) : 0);
    }
}
