/* SPDX-License-Identifier: MIT
 * Attention in training: samples of several lengths in a batch. */
#include "check.h"

#include "util/checked.h"

/* A batch of samples, and what its kernels read. */
struct scene {
    struct lg_attention_train_push push;
    uint32_t n_t, longest;
    uint32_t dims[LG_N_DIMS];
    struct lg_row *rows;
    float *q, *k, *v, *a, *lse, *da, *delta;
};

/* Sample numbers are in no order, and positions may begin anywhere and leave some out. */
static void scene_init(struct check *c, struct scene *s, struct lg_attention_train_push push, uint32_t n_t,
                       uint32_t longest)
{
    *s = (struct scene){.push = push, .n_t = n_t, .longest = longest, .dims = {[LG_DIM_OUT] = n_t}};
    s->push.dim = LG_DIM_OUT;
    s->push.scale = 1 / sqrtf((float)push.head_dim);
    s->rows = check_zeros(n_t, sizeof(*s->rows));
    for (uint32_t begin = 0, sample = 90; begin < n_t; sample -= 7) {
        uint32_t end = lg_min_u32(n_t, begin + (c->bench ? longest : check_int(c, 1, longest)));
        uint32_t pos = sample % 2 ? 0 : check_int(c, 0, 9);
        for (; begin < end; begin++, pos += 1 + (sample % 3 == 0))
            s->rows[begin] = (struct lg_row){.pos = pos, .slot = sample};
    }
    size_t n_q = (size_t)n_t * push.n_heads * push.head_dim, n_k = (size_t)n_t * push.n_kv * push.head_dim;
    s->q = check_floats(c, n_q, -2, 2);
    s->k = check_floats(c, n_k, -2, 2);
    s->v = check_floats(c, n_k, -1, 1);
    s->da = check_floats(c, n_q, -1, 1);
    s->a = check_floats(c, n_q, -1, 1);
    s->lse = check_zeros((size_t)n_t * push.n_heads, 4);
    s->delta = check_floats(c, (size_t)n_t * push.n_heads, -1, 1);
}

static void scene_free(struct scene *s)
{
    free(s->rows);
    free(s->q);
    free(s->k);
    free(s->v);
    free(s->a);
    free(s->lse);
    free(s->da);
    free(s->delta);
}

static size_t q_size(const struct scene *s)
{
    return (size_t)s->n_t * s->push.n_heads * s->push.head_dim * 4;
}

static size_t k_size(const struct scene *s)
{
    return (size_t)s->n_t * s->push.n_kv * s->push.head_dim * 4;
}

static size_t number_size(const struct scene *s)
{
    return (size_t)s->n_t * s->push.n_heads * 4;
}

/* What the rows see: lse and delta that belong to q, k, v and da, from the references. */
static void find_lse(struct scene *s, const uint32_t *spec)
{
    uint32_t grid_x = s->push.n_kv * CHECK_CEIL(s->push.n_heads / s->push.n_kv, spec[3]);
    float *dq = check_zeros(1, q_size(s));
    struct lg_cpu_args args = {
        .view = {s->dims, s->rows, s->q, s->k, s->v, s->a, s->lse, s->da, dq, s->delta},
        .push = &s->push,
        .spec = spec,
        .grid = {grid_x, CHECK_CEIL(s->n_t, spec[2]), 1},
    };
    lg_cpu_attention_train(&args, 0, args.grid[0] * args.grid[1]);
    lg_cpu_attention_back_q(&args, 0, args.grid[0] * args.grid[1]);
    free(dq);
}

static struct check_case scene_case(struct check *c, const struct scene *s, const uint32_t *spec)
{
    struct check_case k = {
        .data = {s->dims, s->rows, s->q, s->k, s->v},
        .size = {sizeof(s->dims), s->n_t * sizeof(*s->rows), q_size(s), k_size(s), k_size(s)},
        .push = &s->push,
        .push_size = sizeof(s->push),
    };
    memcpy(k.spec, spec, sizeof(k.spec));
    k.grid[0] = s->push.n_kv * CHECK_CEIL(s->push.n_heads / s->push.n_kv, spec[3]);
    k.grid[1] = CHECK_CEIL(s->n_t, spec[2]) + !c->bench; // one more than there is to do
    k.grid[2] = 1;
    // of a triangle of keys for each row
    k.flops = 2.0 * s->n_t * (s->longest + 1) / 2 * s->push.n_heads * s->push.head_dim;
    return k;
}

static void attention_train_case(struct check *c, enum lg_kernel kernel, struct lg_attention_train_push push,
                                 const uint32_t *spec, uint32_t n_t, uint32_t longest)
{
    struct scene s;
    scene_init(c, &s, push, n_t, longest);
    struct check_case k = scene_case(c, &s, spec);
    k.kernel = kernel;
    size_t q = q_size(&s), n = number_size(&s);
    if (kernel == LG_K_ATTENTION_TRAIN) {
        k.size[5] = q;
        k.size[6] = n;
        k.tolerance[5] = (struct check_tolerance){.abs = 4e-6f, .rel = 4e-6f};
        k.tolerance[6] = (struct check_tolerance){.abs = 4e-6f, .rel = 4e-6f};
        k.flops *= 2;
    } else {
        find_lse(&s, spec);
        const void *q_data[] = {s.a, s.lse, s.da}, *kv_data[] = {s.lse, s.delta, s.da};
        size_t q_sizes[] = {q, n, q, q, n}, kv_sizes[] = {n, n, q, k_size(&s), k_size(&s)};
        bool to_q = kernel == LG_K_ATTENTION_BACK_Q;
        memcpy(k.data + 5, to_q ? q_data : kv_data, sizeof(q_data));
        memcpy(k.size + 5, to_q ? q_sizes : kv_sizes, sizeof(q_sizes));
        k.tolerance[8] = k.tolerance[9] = (struct check_tolerance){.abs = 4e-5f, .rel = 1e-5f};
        k.flops *= to_q ? 3 : 4;
        k.grid[0] = to_q ? k.grid[0] : push.n_kv;
    }
    check_run(c, &k, "%u rows, samples of %u, %u heads of %u, %u of keys, spec %u %u %u %u", n_t, longest, push.n_heads,
              push.head_dim, push.n_kv, spec[0], spec[1], spec[2], spec[3]);
    scene_free(&s);
}

static void attention_train(struct check *c, enum lg_kernel kernel)
{
    struct lg_attention_train_push qwen = {.n_heads = 14, .n_kv = 2, .head_dim = 64};
    if (c->bench) {
        bool cpu = c->dev->info.kind == LG_DEVICE_CPU;
        uint32_t spec[LG_MAX_SPEC] = {cpu ? 1 : 64, 0, cpu ? 24 : 1, 1}, tiles[LG_MAX_SPEC] = {128, 0, 16, 1};
        attention_train_case(c, kernel, qwen, spec, 512, 256);
        if (!cpu)
            attention_train_case(c, kernel, qwen, tiles, 512, 256);
        return;
    }
    for (int i = 0; i < 16; i++) {
        static const uint32_t dims[] = {64, 16, 80, 128, 256, 38, 1, 96};
        uint32_t n_kv = check_int(c, 1, 3);
        struct lg_attention_train_push push = {.n_heads = n_kv * check_int(c, 1, 5), .n_kv = n_kv, .head_dim = dims[i % 8]};
        uint32_t spec[LG_MAX_SPEC] = {check_workgroup(c), 0, check_int(c, 1, 5), check_int(c, 1, 4)};
        if (i >= 8 && c->dev->info.max_workgroup >= 128) { // in tiles, where the head goes in them
            spec[0] = 128;
            spec[2] = i == 8 ? 16 : check_int(c, 2, 40);
        }
        attention_train_case(c, kernel, push, spec, i == 0 ? 1 : check_int(c, 2, 150), check_int(c, 1, 150));
    }
}

void check_attention_train(struct check *c)
{
    attention_train(c, LG_K_ATTENTION_TRAIN);
}

void check_attention_back_q(struct check *c)
{
    attention_train(c, LG_K_ATTENTION_BACK_Q);
}

void check_attention_back_kv(struct check *c)
{
    attention_train(c, LG_K_ATTENTION_BACK_KV);
}
