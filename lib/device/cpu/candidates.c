/* SPDX-License-Identifier: MIT
 * The most probable tokens of each row in their order, and the token that is asked for. A NaN weighs nothing
 * and comes behind everything else. */
#include <math.h>
#include <string.h>

#include "device/cpu/grid.h"

/* A row, and what makes probabilities of its logits. */
struct row {
    const float *logits;
    uint32_t n;
    float max;
    double log_sum;
};

static void normalise(struct row *row)
{
    double sum = 0;
    row->max = -INFINITY;
    for (uint32_t i = 0; i < row->n; i++)
        row->max = row->logits[i] > row->max ? row->logits[i] : row->max;
    for (uint32_t i = 0; i < row->n; i++) {
        float logit = row->logits[i];
        if (logit == logit)
            sum += logit == row->max ? 1 : expf(logit - row->max);
    }
    row->log_sum = log(sum);
}

static struct lg_candidate candidate(const struct row *row, uint32_t token)
{
    float logit = row->logits[token];
    double below = logit == row->max ? 0 : (double)logit - row->max; // also where both are infinite
    return (struct lg_candidate){token, logit == logit ? (float)(below - row->log_sum) : -INFINITY};
}

/* Whether a comes before b, which has the lower id. */
static bool before(float a, float b)
{
    return a > b || (a == a && b != b);
}

/* The ids of the n largest, by insertion. */
static void select_top(const struct row *row, uint32_t *top, uint32_t n)
{
    uint32_t n_found = 0;
    for (uint32_t id = 0; id < row->n; id++) {
        float logit = row->logits[id];
        if (n_found == n && !before(logit, row->logits[top[n - 1]]))
            continue;
        uint32_t at = n_found < n ? n_found++ : n - 1;
        for (; at > 0 && before(logit, row->logits[top[at - 1]]); at--)
            top[at] = top[at - 1];
        top[at] = id;
    }
}

void lg_cpu_candidates(const struct lg_cpu_args *args, uint32_t first, uint32_t last)
{
    const struct lg_candidates_push *push = args->push;
    const uint32_t *ids = args->view[1];
    for (uint32_t r = first; r < last; r++) {
        struct row row = {.logits = (const float *)args->view[0] + (size_t)r * push->n_cols,
                          .n = push->n_cols};
        struct lg_candidate *out = (struct lg_candidate *)args->view[2] + (size_t)r * (LG_MAX_CANDIDATES + 1);
        uint32_t top[LG_MAX_CANDIDATES], n = lg_min_u32(push->n, push->n_cols);
        normalise(&row);
        select_top(&row, top, n);
        for (uint32_t i = 0; i < n; i++)
            out[i] = candidate(&row, top[i]);
        uint32_t asked = ids[(size_t)r * push->id_stride + push->id_offset];
        out[LG_MAX_CANDIDATES] = candidate(&row, lg_min_u32(asked, push->n_cols - 1));
    }
}
