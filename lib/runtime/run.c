/* SPDX-License-Identifier: MIT */
#include "runtime/run.h"

#include <string.h>

#include "runtime/pass.h"
#include "util/checked.h"
#include "util/clock.h"

/** A submission that can be cancelled between slices should be over in about this time. */
#define SUBMIT_NS UINT64_C(25000000)

enum {
    FIRST_STEP_ROWS = 16,
    SHARE_SUBMITS = 6, // a submission under a budget is worth its cost when its dispatches take this many times that
};

void lg_batch_dims(const struct lg_batch *batch, uint32_t rows, uint32_t out, uint32_t sample, uint32_t score, uint32_t top)
{
    uint32_t *dims = batch->dims->map;
    memset(dims, 0, LG_N_DIMS * sizeof(*dims));
    dims[LG_DIM_ROWS] = rows;
    dims[LG_DIM_OUT] = out;
    dims[LG_DIM_SAMPLE] = sample;
    dims[LG_DIM_SCORE] = score;
    dims[LG_DIM_TOP] = top;
}

/** Rows [row, row + n) of the batch. */
static void write_rows(const struct lg_batch *batch, uint32_t row, uint32_t slot, const int32_t *tokens, uint32_t n,
                       uint32_t pos, bool drafted)
{
    struct lg_row *rows = batch->rows->map;
    uint32_t *out_ids = batch->out_ids->map;
    for (uint32_t i = 0; i < n; i++) {
        rows[row + i] = (struct lg_row){
            .token = (uint32_t)tokens[i], .pos = pos + i, .slot = slot, .draft = drafted ? 1 + i : 0};
        out_ids[row + i] = row + i;
    }
}

void lg_batch_write(const struct lg_batch *batch, uint32_t slot, const int32_t *tokens, uint32_t n, uint32_t pos)
{
    write_rows(batch, 0, slot, tokens, n, pos, false);
}

static const struct lg_batch *batch_of(const struct lg_engine *e, enum lg_run_kind kind)
{
    return lg_engine_batch(e, kind == LG_RUN_DECODE ? LG_DECODE : LG_PREFILL);
}

/** Passes count from the first row on: what is told candidates comes first, then what is only sampled. */
static int place_of(const struct lg_member *m)
{
    return m->replay ? 2 : m->top ? 0 : 1;
}

void lg_run_begin(struct lg_engine *e, struct lg_pass *pass, enum lg_run_kind kind, const struct lg_member *members,
                  uint32_t n, uint32_t repeat, uint32_t most)
{
    struct lg_run *r = &e->runs[kind];
    const struct lg_batch *batch = batch_of(e, kind);
    uint32_t counts[3] = {0};
    lg_run_drop_kind(e, kind);
    r->pass = pass;
    r->kind = kind;
    r->fine = r->finished = false;
    r->next = r->rows = 0;
    r->repeat = repeat;
    r->most = most;
    r->n_begun = r->n_done = 0;
    r->n_members = n;
    for (int place = 0; place < 3; place++) {
        for (uint32_t i = 0; i < n; i++) {
            if (place_of(&members[i]) != place)
                continue;
            r->members[i] = members[i];
            r->members[i].row = r->rows;
            write_rows(batch, r->rows, members[i].slot, members[i].tokens, members[i].n, members[i].pos,
                       members[i].drafted);
            r->rows += members[i].n;
            counts[place] += members[i].n;
        }
    }
    uint32_t out = kind == LG_RUN_DECODE ? counts[0] + counts[1] : 0;
    lg_batch_dims(batch, r->rows, out, out, 0, kind == LG_RUN_DECODE ? counts[0] : 0);
}

void lg_run_drop_kind(struct lg_engine *e, enum lg_run_kind kind)
{
    struct lg_run *r = &e->runs[kind];
    if (r->n_begun > r->n_done) // of a device that is lost nothing is to be waited for
        (void)lg_device_wait(e->dev, r->tickets[(r->n_begun - 1) % LG_MAX_FLYING], UINT64_MAX);
    r->pass = NULL;
    r->finished = false;
    r->n_members = r->n_begun = r->n_done = 0;
}

void lg_run_drop(struct lg_engine *e)
{
    for (int kind = 0; kind < LG_N_RUN_KINDS; kind++)
        lg_run_drop_kind(e, (enum lg_run_kind)kind);
}

bool lg_run_any(const struct lg_engine *e)
{
    return e->runs[LG_RUN_PREFILL].pass || e->runs[LG_RUN_DECODE].pass;
}

bool lg_run_has(const struct lg_engine *e, const struct lg_session *s)
{
    for (int kind = 0; kind < LG_N_RUN_KINDS; kind++)
        for (uint32_t i = 0; i < e->runs[kind].n_members; i++)
            if (e->runs[kind].members[i].owner == s)
                return true;
    return false;
}

static int run(struct lg_engine *e, const struct lg_piece *pieces, uint32_t n)
{
    uint64_t ticket;
    LG_TRY(lg_device_submit(e->dev, pieces, n, &ticket));
    return lg_device_wait(e->dev, ticket, UINT64_MAX);
}

/* ---- without a budget: the slices of the chains */

uint32_t lg_run_slices(const struct lg_pass *pass, uint32_t n)
{
    if (pass->slice_ns == 0)
        return 1;
    uint64_t fit = SUBMIT_NS / pass->slice_ns;
    return fit >= n ? n : lg_max_u32(1, (uint32_t)fit);
}

int lg_run_submit(struct lg_engine *e, struct lg_pass *pass, uint32_t first, uint32_t n, uint32_t repeat)
{
    const struct lg_piece piece = {pass->chain.program, first, n, repeat};
    uint64_t begin = lg_now_ns();
    LG_TRY(run(e, &piece, 1));
    pass->slice_ns = (lg_now_ns() - begin) / ((uint64_t)n * repeat) + 1;
    return 0;
}

/** What of a pass is submitted next. */
static struct lg_piece piece_of(const struct lg_run *r)
{
    struct lg_program *program = r->pass->chain.program;
    uint32_t n = program->n_slices - r->next;
    if (r->rows > 1 && r->repeat == 1)
        n = lg_run_slices(r->pass, n);
    return (struct lg_piece){program, r->next, n, r->repeat};
}

static int count_unfinished(const struct lg_engine *e)
{
    int n = 0;
    for (int kind = 0; kind < LG_N_RUN_KINDS; kind++)
        n += e->runs[kind].pass && !e->runs[kind].finished;
    return n;
}

static int progress_of(const struct lg_engine *e)
{
    return count_unfinished(e) ? LG_RUN_GOES_ON : LG_RUN_FINISHED;
}

/** The next pieces of all passes that run, in one submission. */
static int advance_coarse(struct lg_engine *e)
{
    struct lg_piece pieces[LG_N_RUN_KINDS];
    struct lg_run *runs[LG_N_RUN_KINDS];
    uint32_t n = 0;
    for (int kind = LG_N_RUN_KINDS; kind-- > 0;) { // who waits for a token is not to wait for prompts
        struct lg_run *r = &e->runs[kind];
        if (!r->pass)
            continue;
        runs[n] = r;
        pieces[n++] = piece_of(r);
    }
    if (n == 1)
        LG_TRY(lg_run_submit(e, runs[0]->pass, pieces[0].first, pieces[0].n, pieces[0].repeat));
    else
        LG_TRY(run(e, pieces, n)); // which of them took how long is not known
    for (uint32_t i = 0; i < n; i++) {
        runs[i]->next += pieces[i].n;
        runs[i]->finished = runs[i]->next == pieces[i].program->n_slices;
    }
    return progress_of(e);
}

/* ---- one behind the other */

bool lg_run_may_fly(const struct lg_engine *e)
{
    const struct lg_run *r = &e->runs[LG_RUN_DECODE];
    if (!r->pass || r->most <= r->n_begun || r->fine || r->next > 0 || e->runs[LG_RUN_PREFILL].pass)
        return false;
    uint32_t n = r->pass->chain.program->n_slices;
    return lg_run_slices(r->pass, n) == n; // a request to stop is answered after two of them
}

bool lg_run_flies(const struct lg_engine *e)
{
    return e->runs[LG_RUN_DECODE].n_begun > e->runs[LG_RUN_DECODE].n_done;
}

bool lg_run_is_busy(const struct lg_engine *e)
{
    const struct lg_run *r = &e->runs[LG_RUN_DECODE];
    return lg_run_flies(e) &&
           lg_device_wait(e->dev, r->tickets[(r->n_begun - 1) % LG_MAX_FLYING], 0) == LLMGPU_E_TIMEOUT;
}

/** Sees that up to n passes are under way, and waits for the first of them. */
static int fly(struct lg_engine *e, uint32_t n)
{
    struct lg_run *r = &e->runs[LG_RUN_DECODE];
    uint32_t n_slices = r->pass->chain.program->n_slices;
    const struct lg_piece piece = {r->pass->chain.program, 0, n_slices, 1};
    uint64_t begin = lg_run_flies(e) ? r->seen_ns : lg_now_ns();
    while (r->n_begun - r->n_done < n && r->n_begun < r->most) {
        LG_TRY(lg_device_submit(e->dev, &piece, 1, &r->tickets[r->n_begun % LG_MAX_FLYING]));
        r->n_begun++;
    }
    LG_TRY(lg_device_wait(e->dev, r->tickets[r->n_done % LG_MAX_FLYING], UINT64_MAX));
    r->n_done++;
    r->seen_ns = lg_now_ns();
    r->pass->slice_ns = (r->seen_ns - begin) / n_slices + 1;
    r->finished = r->n_begun == r->n_done;
    return progress_of(e);
}

/* ---- under a budget: dispatches */

/** From here on in dispatches. A slice of the chain begins at a mark. */
static int refine(struct lg_engine *e, struct lg_run *r)
{
    if (r->fine)
        return 0;
    LG_TRY(lg_pass_build_fine(e, r->pass));
    r->next = r->next ? r->pass->chain.marks[r->next - 1] : 0;
    r->fine = true;
    return 0;
}

/**
 * What the next submission may take of what is left: half of it while that is much more than submitting costs, so that
 * what one takes beyond its expectation (caches went cold, a clock went down) is seen before all is given away.
 */
static uint64_t share_of(const struct lg_engine *e, uint64_t left_ns)
{
    uint64_t worth = SHARE_SUBMITS * e->submit_ns;
    return left_ns / 2 > worth ? left_ns / 2 : worth;
}

/** What dispatch i is expected to take; 0: it was never measured, and does not stay out of a pass of these rows. */
static uint64_t expected_ns(const struct lg_run *r, uint32_t i)
{
    const struct lg_pass *pass = r->pass;
    if (!lg_chain_runs(&pass->chain, i, pass->chain.dims->map))
        return 1;
    bool decode = r->kind == LG_RUN_DECODE && pass->fine_rows;
    return pass->fine_ns[i] * (decode ? lg_div_up(r->rows, pass->fine_rows) : 1); // at the most
}

/** How many dispatches fit; one that was never measured goes alone. */
static uint32_t count_fitting(const struct lg_engine *e, const struct lg_run *r, const struct lg_room *room)
{
    uint64_t share_ns = share_of(e, room->left_ns);
    uint64_t used = e->submit_ns;
    uint32_t n = 0, left = r->pass->fine->n_slices - r->next;
    for (; n < left; n++) {
        uint64_t ns = expected_ns(r, r->next + n);
        if (ns == 0 || used + ns > (n > 0 && share_ns < room->left_ns ? share_ns : room->left_ns))
            break;
        used += ns;
    }
    // Half of the budget may be too little for one that was never measured, but more will hardly be left another time.
    bool unknown = n == 0 && expected_ns(r, r->next) == 0 && room->left_ns > e->submit_ns &&
                   room->left_ns > room->budget_ns / 2;
    return n == 0 && (room->first || unknown) ? 1 : n;
}

/** A new measurement moves what is expected: quickly up, slowly down, unless it was far off (a driver compiled). */
static void learn(uint64_t *expected, uint64_t ns)
{
    if (*expected == 0)
        *expected = ns;
    else if (ns > *expected)
        *expected += (ns - *expected) / 2;
    else if (*expected > 8 * ns)
        *expected = 2 * ns;
    else
        *expected -= (*expected - ns) / 8;
}

/** What the dispatches [next, next + n) took, of `wall` nanoseconds with the submission. */
static int measure(struct lg_engine *e, const struct lg_run *r, uint32_t n, uint64_t wall)
{
    struct lg_pass *pass = r->pass;
    uint64_t *times = pass->fine_ns + pass->fine->n_slices, sum = 0;
    bool full = r->kind == LG_RUN_DECODE || (r->kind == LG_RUN_PREFILL && r->rows >= e->step_rows);
    if (e->dev->info.timestamps)
        LG_TRY(lg_program_times(pass->fine, times));
    for (uint32_t i = r->next; i < r->next + n; i++) {
        uint64_t ns = (e->dev->info.timestamps ? times[i] : wall / n) + 1;
        sum += ns;
        if (!lg_chain_runs(&pass->chain, i, pass->chain.dims->map))
            continue;
        if (full || ns > pass->fine_ns[i])
            learn(&pass->fine_ns[i], ns);
    }
    learn(&e->submit_ns, wall > sum ? wall - sum : 1);
    return 0;
}

static void scale_rows(struct lg_engine *e, uint32_t rows)
{
    struct lg_pass *pass = e->runs[LG_RUN_PREFILL].pass;
    for (uint32_t i = 0; rows > e->step_rows && i < pass->fine->n_slices; i++)
        pass->fine_ns[i] *= 2; // at the most
    e->step_rows = rows;
}

/**
 * Chooses how many rows the next prefill has: as many as let the longest dispatch fit well into the budget. Fewer rows are
 * kept only where they made it shorter; a device may take as long for one row as for eight.
 */
static void choose_rows(struct lg_engine *e, uint64_t longest, uint64_t budget_ns)
{
    if (e->runs[LG_RUN_PREFILL].rows != e->step_rows)
        return;
    if (e->halved_from && longest > e->halved_from / 4 * 3) {
        e->least_rows = 2 * e->step_rows;
        scale_rows(e, e->least_rows);
        e->halved_from = 0;
        return;
    }
    e->halved_from = 0;
    if (longest > budget_ns / 3 * 2 && e->step_rows > e->least_rows) {
        e->halved_from = longest;
        scale_rows(e, e->step_rows / 2);
    } else if (longest < budget_ns / 5 && 2 * e->step_rows <= e->prefill_rows)
        scale_rows(e, 2 * e->step_rows);
}

static int advance_fine(struct lg_engine *e, struct lg_run *r, const struct lg_room *room)
{
    LG_TRY(refine(e, r));
    uint32_t n = count_fitting(e, r, room);
    if (n == 0)
        return LG_RUN_NO_ROOM;
    const struct lg_piece piece = {r->pass->fine, r->next, n, 1};
    uint64_t begin = lg_now_ns();
    LG_TRY(run(e, &piece, 1));
    LG_TRY(measure(e, r, n, lg_now_ns() - begin));
    r->next += n;
    if (r->next < r->pass->fine->n_slices)
        return LG_RUN_GOES_ON;
    uint64_t longest = 0;
    for (uint32_t i = 0; i < r->pass->fine->n_slices; i++)
        longest = expected_ns(r, i) > longest ? expected_ns(r, i) : longest;
    r->pass->longest_ns = longest;
    r->pass->fine_rows = r->rows;
    if (r->kind == LG_RUN_PREFILL)
        choose_rows(e, longest, room->budget_ns);
    r->finished = true;
    return progress_of(e);
}

static void init_step_rows(struct lg_engine *e)
{
    if (e->step_rows)
        return;
    e->step_rows = lg_min_u32(FIRST_STEP_ROWS, e->prefill_rows);
    e->least_rows = 1;
}

int lg_run_advance(struct lg_engine *e, const struct lg_room *room)
{
    struct lg_run *decode = &e->runs[LG_RUN_DECODE], *r = decode->pass ? decode : &e->runs[LG_RUN_PREFILL];
    init_step_rows(e);
    if (lg_run_flies(e) || (room->n_ahead > 1 && lg_run_may_fly(e)))
        return fly(e, lg_min_u32(room->n_ahead, LG_MAX_FLYING));
    if (room->budgeted)
        return advance_fine(e, r, room);
    if (!r->fine)
        return advance_coarse(e);
    // What was begun under a budget is ended in dispatches.
    struct lg_room rest = {.budgeted = true, .first = true, .left_ns = SUBMIT_NS, .budget_ns = SUBMIT_NS};
    return advance_fine(e, r, &rest);
}

/* ---- warming up */

/** A whole pass for nobody, dispatch by dispatch. */
static int run_through(struct lg_engine *e)
{
    const struct lg_room room = {.budgeted = true, .first = true, .left_ns = SUBMIT_NS, .budget_ns = SUBMIT_NS};
    int rc;
    do {
        rc = lg_run_advance(e, &room);
    } while (rc == LG_RUN_GOES_ON);
    return rc < 0 ? rc : 0;
}

/** The first time a driver compiles; only what comes after counts. */
static void forget_times(struct lg_pass *pass)
{
    memset(pass->fine_ns, 0, pass->fine->n_slices * sizeof(*pass->fine_ns));
}

uint32_t lg_run_first_rows(struct lg_engine *e)
{
    init_step_rows(e);
    return lg_min_u32(FIRST_STEP_ROWS, e->step_rows);
}

/** A pass for nobody. */
static void begin_for_nobody(struct lg_engine *e, struct lg_pass *pass, enum lg_run_kind kind, uint32_t slot, uint32_t n,
                             uint32_t pos)
{
    static const int32_t tokens[FIRST_STEP_ROWS];
    struct lg_member m = {
        .slot = slot, .tokens = tokens, .n = n, .pos = pos, .drafted = kind == LG_RUN_DECODE && n > 1};
    if (kind == LG_RUN_DECODE)
        *lg_engine_sampler(e, slot) = (struct lg_sampler){.top_p = 1, .repeat_penalty = 1, .n_remaining = 1};
    lg_run_drop(e);
    lg_run_begin(e, pass, kind, &m, 1, 1, 1);
}

static int warm_up(struct lg_engine *e, struct lg_pass *decode, uint32_t slot, uint32_t pos, uint32_t rows)
{
    // Sessions decode together, and kernels for several rows are others than those for one.
    uint32_t decode_rows = lg_min_u32(rows, lg_min_u32(decode->max_rows, (uint32_t)__builtin_popcountll(e->slots)));
    struct lg_pass *prefill = &lg_engine_passes(e, slot)->prefill;
    for (int round = 0; round < 2; round++) {
        begin_for_nobody(e, prefill, LG_RUN_PREFILL, slot, rows, pos);
        LG_TRY(run_through(e));
        begin_for_nobody(e, decode, LG_RUN_DECODE, slot, 1, pos);
        LG_TRY(run_through(e));
        if (decode_rows > 1) {
            begin_for_nobody(e, decode, LG_RUN_DECODE, slot, decode_rows, pos);
            LG_TRY(run_through(e));
        }
        if (round == 0) {
            forget_times(prefill);
            forget_times(decode);
        }
    }
    return 0;
}

int lg_run_warm_up(struct lg_engine *e, struct lg_pass *decode, uint32_t slot, uint32_t pos, uint32_t rows)
{
    int rc = warm_up(e, decode, slot, pos, rows);
    lg_run_drop(e); // whose pass was running begins it again
    return rc;
}
