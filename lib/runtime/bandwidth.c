/* SPDX-License-Identifier: MIT */
#include "runtime/bandwidth.h"

#include "chain/chain.h"
#include "util/checked.h"
#include "util/clock.h"

enum { N_BUFS = 4, N_GROUPS = 1024, MAX_REPEAT = 1000 };
#define MEASURE_NS UINT64_C(300000000)
#define SUBMIT_NS UINT64_C(10000000) // of passes in one submission, so that its own cost does not show

/** Parts of the data, each small enough for one view. */
struct source {
    struct lg_buffer *bufs[N_BUFS];
    struct lg_buffer *sums, *dims;
    uint64_t part; // bytes of each
};

static int create_source(struct lg_device *dev, struct source *src)
{
    uint64_t part = UINT64_C(64) << 20; // together more than any cache
    src->part = part < dev->info.max_view_size ? part : dev->info.max_view_size / 16 * 16;
    for (int i = 0; i < N_BUFS; i++)
        LG_TRY(lg_buffer_create(dev, src->part, LG_MEM_DEVICE, &src->bufs[i]));
    LG_TRY(lg_buffer_create(dev, LG_N_DIMS * 4, LG_MEM_SHARED, &src->dims));
    return lg_buffer_create(dev, N_BUFS * N_GROUPS * 4, LG_MEM_DEVICE, &src->sums);
}

static int touch(struct lg_device *dev, const struct source *src)
{
    // Fresh pages of zeros may all be one page in the caches: write every one.
    static const uint8_t pattern[1 << 16] = {1};
    for (int i = 0; i < N_BUFS; i++)
        for (uint64_t at = 0; at + sizeof(pattern) <= src->part; at += sizeof(pattern))
            LG_TRY(lg_upload(dev, (struct lg_view){src->bufs[i], at, sizeof(pattern)}, pattern));
    return lg_device_flush(dev);
}

static int build(struct lg_chain *chain, const struct source *src)
{
    const struct lg_device_info *info = &chain->dev->info;
    // Where lanes are turns of a loop, a subgroup has no use for others beside it.
    uint32_t wg = info->kind == LG_DEVICE_SOFTWARE ? info->subgroup_size : 64;
    struct lg_read_sum_push push = {.n_words = (uint32_t)(src->part / 4)};
    for (int i = 0; i < N_BUFS; i++) {
        lg_chain_add(chain,
                     &(struct lg_chain_op){
                         .kernel = LG_K_READ_SUM,
                         .views = {lg_view_all(src->bufs[i]), {src->sums, i * N_GROUPS * 4u, N_GROUPS * 4}},
                         .spec = {wg},
                         .grid = {.grid = {N_GROUPS, 1, 1}, .dim = LG_DIM_NONE},
                         .push = &push,
                         .push_size = sizeof(push),
                         .label = "read_sum",
                     });
    }
    return lg_chain_compile(chain, false);
}

static int time_passes(struct lg_device *dev, struct lg_chain *chain, uint64_t bytes, double *out)
{
    uint64_t begin = lg_now_ns(), best = UINT64_MAX, ticket;
    uint32_t repeat = 1;
    int passes = 0;
    do {
        uint64_t t0 = lg_now_ns();
        LG_TRY(lg_program_submit(chain->program, 0, chain->program->n_slices, repeat, &ticket));
        LG_TRY(lg_device_wait(dev, ticket, UINT64_MAX));
        uint64_t ns = (lg_now_ns() - t0) / repeat;
        best = ns < best && passes ? ns : best; // the first pass warms up
        if (passes++ == 1)
            repeat = lg_min_u32(MAX_REPEAT, 1 + (uint32_t)(SUBMIT_NS / (ns + 1)));
    } while (passes < 4 || lg_now_ns() - begin < MEASURE_NS);
    *out = (double)bytes / ((double)best * 1e-9);
    return 0;
}

int lg_bandwidth_measure(struct lg_env *env, struct lg_device *dev, double *bytes_per_second)
{
    struct source src = {0};
    struct lg_chain chain = {0};
    int rc = create_source(dev, &src);
    if (rc == 0)
        rc = touch(dev, &src);
    if (rc == 0) {
        lg_chain_init(&chain, env, dev, src.dims);
        rc = build(&chain, &src);
    }
    if (rc == 0)
        rc = time_passes(dev, &chain, src.part * N_BUFS, bytes_per_second);
    lg_chain_finish(&chain);
    for (int i = 0; i < N_BUFS; i++)
        lg_buffer_destroy(src.bufs[i]);
    lg_buffer_destroy(src.sums);
    lg_buffer_destroy(src.dims);
    return rc;
}
