/* SPDX-License-Identifier: MIT
 *
 * A chain: the list of kernel dispatches that makes up one token pass (or one step of anything else), built
 * once and replayed. A builder says what each dispatch reads and writes by naming its buffer views in the
 * kernel's order (the kernel list knows which of them are written); from that the chain derives the barriers.
 * Nobody writes one by hand.
 *
 * Sizes that change from pass to pass live in the device buffer `dims`. A dispatch whose grid follows a dim
 * gets its workgroup counts from a table that the chain's first dispatch, `plan`, computes on the device: the
 * recorded commands never change, and a dim of 0 makes the dispatches that depend on it cost nothing.
 *
 * Building cannot fail half-way: the first failure is kept, later calls do nothing, and lg_chain_compile()
 * reports it.
 */
#ifndef LG_CHAIN_CHAIN_H
#define LG_CHAIN_CHAIN_H

#include "device/device.h"
#include "push.h"

/** A dispatch as a builder states it. */
struct lg_chain_op {
    enum lg_kernel kernel;
    struct lg_view views[LG_MAX_VIEWS]; // as many as the kernel has bindings
    uint32_t spec[LG_MAX_SPEC];         // spec[0]: workgroup size
    struct lg_grid_rule grid;           // workgroups; see push.h
    const void *push;                   // copied
    uint32_t push_size;                 // bytes
    const char *label;                  // what a profile calls it; a string that outlives the chain
    bool otherwise;                     // it never runs in a pass in which the one before it, or one that this is an
                                        // alternative to, does: their ranges exclude one another
};

struct lg_chain {
    struct lg_env *env;
    struct lg_device *dev;
    struct lg_buffer *dims;     // uint32[LG_N_DIMS]; not owned
    struct lg_dispatch *ops;    // ops[0] is the plan
    struct lg_grid_rule *rules; // of each op
    const char **labels;        // of each op
    uint32_t n_ops, cap_ops;
    uint32_t *marks; // ops at which a slice may begin, ascending (lg_chain_mark)
    uint32_t n_marks, cap_marks;
    struct lg_buffer *rules_buf, *grids_buf; // once compiled
    struct lg_program *program;              // once compiled
    bool timestamps;                         // of the program
    int status;                              // the first failure
};

/** Begins an empty chain over a device; `dims` must outlive it. */
void lg_chain_init(struct lg_chain *chain, struct lg_env *env, struct lg_device *dev, struct lg_buffer *dims);
/** Whether dispatch i does anything in a pass of these sizes. */
bool lg_chain_runs(const struct lg_chain *chain, uint32_t i, const uint32_t dims[LG_N_DIMS]);
/** Frees everything; a zeroed chain is allowed. */
void lg_chain_finish(struct lg_chain *chain);

/** Appends a dispatch. */
void lg_chain_add(struct lg_chain *chain, const struct lg_chain_op *op);
/** Says that a slice may begin at the next dispatch (a layer's border, say). */
void lg_chain_mark(struct lg_chain *chain);

/**
 * Derives barriers, uploads the grid rules and compiles the program with a slice at each mark.
 *
 * @param timestamps measure each dispatch (lg_program_times() of chain->program)
 */
int lg_chain_compile(struct lg_chain *chain, bool timestamps);
/** Another program of a compiled chain's dispatches, with slices beginning at `cuts`; the caller destroys it, before
 * the chain. */
int lg_chain_record(struct lg_chain *chain, const uint32_t *cuts, uint32_t n_cuts, bool timestamps,
                    struct lg_program **out);

/* ---- hazards (hazard.c)
 * ------------------------------------------------------------------------------------------ */

/**
 * Sets `barrier` on the fewest dispatches such that no two dispatches without a barrier between them touch
 * the same bytes, one of them writing. Taking each barrier as late as possible is optimal for a list in
 * order.
 */
int lg_hazards_derive(struct lg_env *env, struct lg_dispatch *ops, uint32_t n_ops);
/**
 * The checker: looks at every pair of dispatches with no barrier between them and answers LLMGPU_E_INTERNAL
 * naming the first two that conflict. Quadratic and independent of lg_hazards_derive(), for tests and debug
 * mode.
 */
int lg_hazards_verify(struct lg_env *env, const struct lg_dispatch *ops, uint32_t n_ops);

/* ---- slices (slice.c)
 * ------------------------------------------------------------------------------------------ */

/**
 * Cuts a compiled chain anew so that no slice costs more than a budget, as the last run took: the fewest
 * slices, each as long as possible. A single dispatch above the budget is a slice of its own. The chain must
 * be compiled with timestamps and have run as a whole.
 *
 * @return 0; LLMGPU_E_UNSUPPORTED without timestamps; LLMGPU_E_NOMEM or a device failure, the chain being as
 * before
 */
int lg_chain_slice(struct lg_chain *chain, uint64_t budget_ns);

/**
 * The choice behind it.
 *
 * @param ns   measured nanoseconds of each dispatch
 * @param cuts room for n_ops values: ascending ops that begin a slice, the first (0) not listed
 * @return number of cuts
 */
uint32_t lg_slices_choose(const uint64_t *ns, uint32_t n_ops, uint64_t budget_ns, uint32_t *cuts);

#endif
