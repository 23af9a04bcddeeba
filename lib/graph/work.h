/* SPDX-License-Identifier: MIT
 *
 * What a dispatch of a pass has to do at the least, for profiles: the bytes that it must read and write, each
 * once, and the operations on numbers that its formula has. A device that does more, because it reads
 * something twice, is slower than it need be.
 *
 * Bytes come from the views and need nothing said of a kernel; operations, and bytes where that is wrong,
 * come from one table (work.c), in which a kernel is one line. One that is not there has bytes and no
 * operations.
 */
#ifndef LG_GRAPH_WORK_H
#define LG_GRAPH_WORK_H

#include "graph/graph.h"

/** The pass that a dispatch is in. Its rows are tokens of one sequence, at positions `pos` and on. */
struct lg_work_frame {
    const struct lg_batch *batch;
    const struct lg_buffer *acts, *results; // rows for max_rows of them; either may be NULL
    uint32_t max_rows;
    uint32_t n_layers;
    uint64_t cache_tokens; // that the caches have room for
    uint32_t dims[LG_N_DIMS];
    uint32_t pos;
};

struct lg_work {
    uint64_t bytes, flops;
};

/** `dim`: the LG_DIM_* that the dispatch's grid follows, or LG_DIM_NONE. Nothing when that is 0. */
struct lg_work lg_work_of(const struct lg_work_frame *frame, const struct lg_dispatch *dispatch,
                          uint32_t dim);

#endif
