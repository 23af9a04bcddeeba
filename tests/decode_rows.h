/* SPDX-License-Identifier: MIT
 *
 * Decode passes of several rows, each of a sequence of its own: what a test and a benchmark of them share.
 */
#ifndef LG_TESTS_DECODE_ROWS_H
#define LG_TESTS_DECODE_ROWS_H

#include "model_use.h"
#include "runtime/pass.h"
#include "runtime/run.h"

/** Makes room for n_rows sequences of up to n_ctx tokens. */
static inline void rows_start(struct lg_engine *e, uint32_t n_rows, uint32_t n_ctx)
{
    uint32_t pages = (n_ctx + LG_PAGE_SIZE - 1) / LG_PAGE_SIZE;
    REQUIRE_INT(n_rows, <=, LG_MAX_SLOTS);
    REQUIRE_INT(lg_engine_grow(e, n_rows * pages, pages, n_rows), ==, 0);
    for (uint32_t i = 0; i < n_rows * pages; i++)
        ((uint32_t *)e->batch.pages->map)[i] = i;
}

/** Row i of the next pass. */
static inline void rows_set(struct lg_engine *e, uint32_t i, uint32_t slot, uint32_t token, uint32_t pos)
{
    ((struct lg_row *)e->batch.rows->map)[i] = (struct lg_row){.token = token, .pos = pos, .slot = slot};
    ((uint32_t *)e->batch.out_ids->map)[i] = i;
}

/** Computes the logits of the first n rows. */
static inline void rows_run(struct lg_engine *e, struct lg_pass *pass, uint32_t n)
{
    uint64_t ticket;
    lg_batch_dims(&e->batch, n, n, 0, 0, 0);
    REQUIRE_INT(lg_program_submit(pass->chain.program, 0, pass->chain.program->n_slices, 1, &ticket), ==, 0);
    REQUIRE_INT(lg_device_wait(e->dev, ticket, UINT64_MAX), ==, 0);
}

#endif
