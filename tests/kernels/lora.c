/* SPDX-License-Identifier: MIT
 * lora_down and lora_up: rows of several slots, with different adapters or none. */
#include "check.h"

#include "gguf/quants.h"

enum { N_SLOTS = 5, N_SEATS = 3, N_TARGETS = 2 };

/* A batch whose rows have adapters of different ranks and sizes of numbers. */
struct lora {
    uint32_t n_in, n_out, n_rows, max_rank;
    struct lg_row *rows;
    struct lg_slot_lora slots[N_SLOTS];
    struct lg_lora_pair pairs[N_SEATS * N_TARGETS];
    uint8_t *weights;
    size_t size;
    float *x, *t, *y;
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

static void lora_init(struct check *c, struct lora *l, uint32_t n_in, uint32_t n_out, uint32_t max_rank,
                      uint32_t n_rows)
{
    *l = (struct lora){.n_in = n_in, .n_out = n_out, .n_rows = n_rows, .max_rank = max_rank};
    for (uint32_t i = 0; i < N_SEATS * N_TARGETS; i++) {
        struct lg_lora_pair *pair = &l->pairs[i];
        pair->half_size = i & 1;
        pair->rank = i == 0 ? max_rank : c->bench ? max_rank / 2 : check_int(c, 0, max_rank);
        pair->factor = test_randf(&c->rng, 0.5f, 2);
        pair->a_at = put_matrix(c, l, pair->rank, n_in, pair->half_size);
        pair->b_at = put_matrix(c, l, pair->rank, n_out, pair->half_size);
    }
    for (uint32_t i = 0; i < N_SLOTS; i++)
        l->slots[i] = (struct lg_slot_lora){i % (N_SEATS + 1), test_randf(&c->rng, -1, 1)};
    l->rows = check_zeros(n_rows, sizeof(*l->rows));
    for (uint32_t r = 0; r < n_rows; r++)
        l->rows[r].slot = c->bench || r == 0 ? 1 : check_int(c, 0, N_SLOTS - 1);
    l->x = check_floats(c, (size_t)n_rows * n_in, -1, 1);
    l->t = check_floats(c, (size_t)n_rows * max_rank, -1, 1);
    l->y = check_floats(c, (size_t)n_rows * n_out, -1, 1);
}

static void lora_free(struct lora *l)
{
    free(l->rows);
    free(l->weights);
    free(l->x);
    free(l->t);
    free(l->y);
}

static struct check_case lora_case(const struct lora *l, const struct lg_lora_push *push)
{
    return (struct check_case){
        .data = {l->rows, l->slots, l->pairs, l->weights},
        .size = {l->n_rows * sizeof(*l->rows), sizeof(l->slots), sizeof(l->pairs), l->size},
        .push = push,
        .push_size = sizeof(*push),
        .flops = 2.0 * push->n_cols * l->max_rank * l->n_rows,
    };
}

static void down_case(struct check *c, uint32_t n_in, uint32_t rank, uint32_t n_rows)
{
    struct lora l;
    lora_init(c, &l, n_in, 4, rank, n_rows);
    for (uint32_t target = 0; target < (c->bench ? 1 : N_TARGETS); target++) {
        struct lg_lora_push push = {n_in, target, N_TARGETS, rank};
        struct check_case k = lora_case(&l, &push);
        uint32_t wg = check_workgroup(c), each = check_int(c, 1, 3), lanes = c->dev->info.subgroup_size;
        k.kernel = LG_K_LORA_DOWN;
        k.data[4] = l.x;
        k.data[5] = l.t;
        k.size[4] = (size_t)n_rows * n_in * 4;
        k.size[5] = (size_t)n_rows * rank * 4;
        k.tolerance[5] = (struct check_tolerance){.abs = 4e-6f * sqrtf((float)n_in), .rel = 2e-6f};
        k.spec[0] = wg;
        k.spec[1] = each;
        k.grid[0] = CHECK_CEIL(rank, wg / lanes * each);
        k.grid[1] = n_rows;
        k.grid[2] = 1;
        k.ref_grid_x = CHECK_CEIL(rank, wg * each);
        check_run(c, &k, "%u to rank %u, %u rows, target %u", n_in, rank, n_rows, target);
    }
    lora_free(&l);
}

static void up_case(struct check *c, uint32_t n_out, uint32_t rank, uint32_t n_rows)
{
    struct lora l;
    lora_init(c, &l, 4, n_out, rank, n_rows);
    for (uint32_t target = 0; target < (c->bench ? 1 : N_TARGETS); target++) {
        struct lg_lora_push push = {n_out, target, N_TARGETS, rank};
        struct check_case k = lora_case(&l, &push);
        k.kernel = LG_K_LORA_UP;
        k.data[4] = l.t;
        k.data[5] = l.y;
        k.size[4] = (size_t)n_rows * rank * 4;
        k.size[5] = (size_t)n_rows * n_out * 4;
        k.tolerance[5] = (struct check_tolerance){.abs = 4e-6f * sqrtf((float)rank), .rel = 2e-6f};
        k.spec[0] = check_workgroup(c);
        k.grid[0] = CHECK_CEIL(CHECK_CEIL(n_out, 4), k.spec[0]);
        k.grid[1] = n_rows;
        k.grid[2] = 1;
        check_run(c, &k, "rank %u to %u, %u rows, target %u", rank, n_out, n_rows, target);
    }
    lora_free(&l);
}

void check_lora_down(struct check *c)
{
    if (c->bench) {
        down_case(c, 4864, 16, 1);
        down_case(c, 4864, 16, 64);
        return;
    }
    down_case(c, 1, 1, 1);
    down_case(c, 896, 16, 3);
    for (int i = 0; i < 4; i++)
        down_case(c, check_int(c, 1, 1000), check_int(c, 1, 40), check_int(c, 1, 9));
}

void check_lora_up(struct check *c)
{
    if (c->bench) {
        up_case(c, 4864, 16, 1);
        up_case(c, 4864, 16, 64);
        return;
    }
    up_case(c, 1, 1, 1);
    up_case(c, 896, 16, 3);
    for (int i = 0; i < 4; i++)
        up_case(c, check_int(c, 1, 1000), check_int(c, 1, 40), check_int(c, 1, 9));
}
