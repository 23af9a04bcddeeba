/* SPDX-License-Identifier: MIT */
#include "train/slices.h"

#include "util/checked.h"
#include "util/clock.h"

enum {
    SHARE_SUBMITS = 6, // a submission is worth its cost when its slices take this many times that
};

uint32_t lg_trainer_place(const struct lg_trainer *t, uint32_t slice)
{
    return !t->run.fine ? slice : slice > 0 ? t->chain.marks[slice - 1] : 0;
}

struct lg_train_part lg_trainer_part(const struct lg_trainer *t)
{
    return t->run.fine ? (struct lg_train_part){t->fine, t->fine_ns}
                       : (struct lg_train_part){t->chain.program, t->slice_ns};
}

bool lg_trainer_is_cancelled(const struct lg_trainer *t)
{
    return t->how.cancelled && atomic_load(t->how.cancelled);
}

/** What a slice is expected to take; 0: that is not known. */
static uint64_t expected_ns(const struct lg_trainer *t, const struct lg_train_part *p, uint32_t slice)
{
    if (!p->ns)
        return 0;
    return t->run.fine && !lg_chain_runs(&t->chain, slice, t->batch.dims->map) ? 1 : p->ns[slice];
}

/** Whether one fits; of one that is not known half of a budget is enough, as more will hardly be left another
 * time. */
static bool fits(uint64_t ns, uint64_t submit_ns, const struct lg_train_budget *b)
{
    return ns > 0 ? ns <= b->left_ns && submit_ns <= b->left_ns - ns : b->left_ns > b->whole_ns / 2;
}

/**
 * How many slices from `first` on are submitted at once. One that was never measured goes alone; of short
 * ones only half of what is left is spent, so that what they take beyond their expectation is seen before all
 * is given away.
 */
static uint32_t slices_of(const struct lg_trainer *t, const struct lg_train_part *p, uint32_t first,
                          uint32_t end, const struct lg_train_budget *b)
{
    uint64_t submit_ns = t->run.fine ? t->submit_ns : 0, sum = submit_ns;
    uint64_t share = t->run.fine ? lg_max_u64(b->left_ns / 2, SHARE_SUBMITS * submit_ns) : b->left_ns;
    uint32_t n = 0;
    if (b->left_ns == UINT64_MAX)
        return end - first;
    for (; first + n < end; n++) {
        uint64_t ns = expected_ns(t, p, first + n), most = n > 0 && share < b->left_ns ? share : b->left_ns;
        if (ns == 0 || sum > most || ns > most - sum)
            break;
        sum += ns;
    }
    return n == 0 && (b->first || fits(expected_ns(t, p, first), submit_ns, b)) ? 1 : n;
}

/** A measurement moves what is expected: quickly up, slowly down, unless it was far off. */
static void learn(uint64_t *expected, uint64_t ns)
{
    if (*expected == 0 || *expected > 8 * ns)
        *expected = *expected == 0 ? ns : 2 * ns;
    else if (ns > *expected)
        *expected += (ns - *expected) / 2;
    else
        *expected -= (*expected - ns) / 8;
}

void lg_trainer_scale_times(struct lg_trainer *t, uint32_t rows)
{
    if (!t->run.fine || rows <= t->fine_rows)
        return;
    for (uint32_t i = 0; t->fine_rows > 0 && i < t->chain.n_ops; i++)
        t->fine_ns[i] *= lg_div_up(rows, t->fine_rows);
    t->fine_rows = rows;
}

/** What slices [first, first + n) took, of `took` with the submission. */
static int measure(struct lg_trainer *t, const struct lg_train_part *p, uint32_t first, uint32_t n,
                   uint64_t took)
{
    uint32_t n_ops = t->chain.n_ops, rows = ((const uint32_t *)t->batch.dims->map)[LG_DIM_ROWS];
    uint64_t *times = t->fine_ns + n_ops, sum = 0;
    for (uint32_t i = first; !t->run.fine && p->ns && i < first + n; i++)
        p->ns[i] = lg_max_u64(1, took / n);
    if (!t->run.fine)
        return 0;
    if (t->dev->info.timestamps)
        LG_TRY(lg_program_times(p->program, times));
    for (uint32_t i = first; i < first + n; i++) {
        uint64_t ns = (t->dev->info.timestamps ? times[i] : took / n) + 1;
        sum += ns;
        if (lg_chain_runs(&t->chain, i, t->batch.dims->map) && (rows == t->fine_rows || ns > p->ns[i]))
            learn(&p->ns[i], ns);
    }
    learn(&t->submit_ns, took > sum ? took - sum : 1);
    return 0;
}

int lg_trainer_run(struct lg_trainer *t, const struct lg_train_part *p, uint32_t *slice, uint32_t end,
                   struct lg_train_budget *b)
{
    uint64_t ticket, start = lg_now_ns();
    uint32_t n = slices_of(t, p, *slice, end, b);
    if (n == 0)
        return 0;
    t->dev->stop = *slice < lg_trainer_place(t, t->graph.step_slice)
                       ? t->how.cancelled
                       : NULL; // never in the middle of the optimizer
    int rc = lg_program_submit(p->program, *slice, n, 1, &ticket);
    if (rc == 0)
        rc = lg_device_wait(t->dev, ticket, UINT64_MAX);
    t->dev->stop = NULL;
    LG_TRY(rc);
    uint64_t took = lg_now_ns() - start;
    LG_TRY(measure(t, p, *slice, n, took));
    *slice += n;
    t->work_ns += took;
    t->run.result.work_ns += took;
    b->first = false;
    if (b->left_ns != UINT64_MAX)
        b->left_ns = took < b->left_ns ? b->left_ns - took : 0;
    return 1;
}

int lg_trainer_build_fine(struct lg_trainer *t)
{
    uint32_t n = t->chain.n_ops;
    if (t->fine)
        return 0;
    uint32_t *cuts = lg_alloc_array(t->env, n, sizeof(*cuts));
    uint64_t *ns = lg_alloc_array(t->env, 2 * (size_t)n, sizeof(*ns));
    int rc = cuts && ns ? 0 : lg_fail_nomem(t->env, "slices", 2 * n * sizeof(*ns));
    for (uint32_t i = 1; rc == 0 && i < n; i++)
        cuts[i - 1] = i;
    if (rc == 0)
        rc = lg_chain_record(&t->chain, cuts, n - 1, t->dev->info.timestamps, &t->fine);
    lg_free(t->env, cuts);
    if (rc == 0)
        t->fine_ns = ns;
    else
        lg_free(t->env, ns);
    return rc;
}

uint64_t lg_trainer_longest(const struct lg_trainer *t)
{
    uint64_t longest = 0;
    for (uint32_t i = 0; t->fine && i < t->chain.n_ops; i++)
        longest = lg_max_u64(longest, t->fine_ns[i]);
    return longest + t->submit_ns;
}

bool lg_trainer_fits(const struct lg_trainer *t, uint64_t left_ns, uint64_t budget_ns)
{
    struct lg_train_part part = lg_trainer_part(t);
    return fits(expected_ns(t, &part, t->run.slice), t->submit_ns,
                &(struct lg_train_budget){.left_ns = left_ns, .whole_ns = budget_ns});
}
