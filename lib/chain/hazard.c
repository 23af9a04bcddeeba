/* SPDX-License-Identifier: MIT */
#include "chain/chain.h"

/** Bytes that a dispatch touches. */
struct range {
    const struct lg_buffer *buf;
    uint64_t begin, end;
    uint8_t access;  // lg_access
    uint32_t choice; // of the dispatch
};

enum { MAX_RANGES = LG_MAX_VIEWS + 1 };

/** The ranges of a dispatch: its views, and the grid that it reads when it is indirect. */
static uint32_t ranges_of(const struct lg_dispatch *op, struct range *out)
{
    const struct lg_kernel_info *info = &lg_kernel_infos[op->kernel];
    uint32_t n = 0;
    for (uint32_t i = 0; i < info->n_views; i++) {
        const struct lg_view *v = &op->views[i];
        out[n++] = (struct range){v->buf, v->offset, v->offset + v->size, info->access[i], op->choice};
    }
    if (op->indirect.buf)
        out[n++] = (struct range){op->indirect.buf, op->indirect.offset,
                                  op->indirect.offset + op->indirect.size, LG_READ, op->choice};
    return n;
}

static bool conflict(const struct range *a, const struct range *b)
{
    bool exclusive = a->choice && a->choice == b->choice;
    return !exclusive && a->buf == b->buf && a->begin < b->end && b->begin < a->end &&
           ((a->access | b->access) & LG_WRITE);
}

static bool any_conflict(const struct range *a, uint32_t n_a, const struct range *b, uint32_t n_b)
{
    for (uint32_t i = 0; i < n_a; i++)
        for (uint32_t j = 0; j < n_b; j++)
            if (conflict(&a[i], &b[j]))
                return true;
    return false;
}

int lg_hazards_derive(struct lg_env *env, struct lg_dispatch *ops, uint32_t n_ops)
{
    // What the dispatches since the last barrier touch.
    struct range *open = lg_alloc_array(env, (size_t)n_ops * MAX_RANGES, sizeof(*open));
    if (!open)
        return lg_fail_nomem(env, "hazards", (uint64_t)n_ops * MAX_RANGES * sizeof(*open));
    uint32_t n_open = 0;
    for (uint32_t i = 0; i < n_ops; i++) {
        struct range own[MAX_RANGES];
        uint32_t n_own = ranges_of(&ops[i], own);
        ops[i].barrier = any_conflict(own, n_own, open, n_open);
        if (ops[i].barrier)
            n_open = 0;
        for (uint32_t r = 0; r < n_own; r++)
            open[n_open++] = own[r];
    }
    lg_free(env, open);
    return 0;
}

int lg_hazards_verify(struct lg_env *env, const struct lg_dispatch *ops, uint32_t n_ops)
{
    for (uint32_t i = 0; i < n_ops; i++) {
        struct range a[MAX_RANGES], b[MAX_RANGES];
        uint32_t n_a = ranges_of(&ops[i], a);
        for (uint32_t j = i + 1; j < n_ops && !ops[j].barrier; j++) {
            uint32_t n_b = ranges_of(&ops[j], b);
            if (any_conflict(a, n_a, b, n_b))
                return lg_fail(env, LLMGPU_E_INTERNAL,
                               "no barrier between dispatch %u (%s) and dispatch %u (%s)", i,
                               lg_kernel_infos[ops[i].kernel].name, j, lg_kernel_infos[ops[j].kernel].name);
        }
    }
    return 0;
}
