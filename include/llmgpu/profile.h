/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Profiles: where the time of a pass through the model goes, kernel by kernel. Experimental.
 */
#ifndef LLMGPU_PROFILE_H
#define LLMGPU_PROFILE_H

#include "llmgpu/session.h"

#ifdef LLMGPU_EXPERIMENTAL

#ifdef __cplusplus
extern "C" {
#endif

/**
 * What a pass took. It keeps its model alive.
 *
 * @par Thread-safety: immutable once created; any thread may use it
 */
typedef struct llmgpu_profile llmgpu_profile;

/** Which pass. */
enum llmgpu_profile_phase {
    LLMGPU_PROFILE_PREFILL = 0, /**< of many tokens that were fed, without an answer */
    LLMGPU_PROFILE_DECODE = 1,  /**< of one token, with the choice of the next */
};

/** Facts about a pass. */
typedef struct llmgpu_profile_info {
    uint64_t pass_ns;      /**< nanoseconds of it, with its submission: the median of those measured */
    uint64_t kernels_ns;   /**< nanoseconds of its dispatches: the sum over all rows */
    uint32_t n_rows;       /**< of the profile */
    uint32_t n_dispatches; /**< kernel dispatches of a pass */
    uint32_t n_barriers;   /**< barriers of a pass */
    uint32_t n_tokens;     /**< that it computes */
} llmgpu_profile_info;

/** The dispatches of one kernel under one label, together. */
typedef struct llmgpu_profile_row {
    char kernel[48];   /**< its name */
    char label[48];    /**< what it was dispatched for */
    uint32_t calls;    /**< dispatches in a pass */
    uint32_t reserved; /**< 0 */
    uint64_t ns;       /**< nanoseconds of them: the sum of the medians of each */
    uint64_t bytes; /**< that they must read and write at the least: weights, activations, keys and values */
    uint64_t flops; /**< operations on numbers that their formulas have; 0: not known */
} llmgpu_profile_row;

/**
 * Runs the pass that a session would do next some times, each dispatch on the clock, and once before that off
 * the clock. What it computes is nobody's; it attends to the tokens that the session has computed. Clocks
 * have a price of their own, which is in the times: a few nanoseconds on the CPU device, up to some
 * microseconds a dispatch on others.
 *
 * @param out      to be freed with llmgpu_profile_free(); NULL on failure
 * @param session  whose conversation stays as it is
 * @param phase    an llmgpu_profile_phase
 * @param n_tokens of a prefill pass, 1 .. llmgpu_session_params::n_batch; 1 for a decode pass
 * @param n_passes that are measured, 1 .. 1000
 * @return 0; LLMGPU_E_CONTEXT_FULL when there is no room for them; LLMGPU_E_UNSUPPORTED on a device without
 * time stamps; LLMGPU_E_CANCELLED; LLMGPU_E_NOMEM; LLMGPU_E_LIMIT; LLMGPU_E_BUSY from within a callback;
 * LLMGPU_E_INVALID; a device failure. The sentence is llmgpu_session_error().
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_profile_create(llmgpu_profile **out, llmgpu_session *session, int phase,
                                                  uint32_t n_tokens, uint32_t n_passes);

/**
 * Frees a profile.
 *
 * @param profile NULL is allowed
 */
LLMGPU_EXPERIMENTAL_API void llmgpu_profile_free(llmgpu_profile *profile);

/**
 * Reads the facts.
 *
 * @param profile to read
 * @param out     to fill
 * @param size    sizeof(llmgpu_profile_info)
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_profile_get_info(const llmgpu_profile *profile, llmgpu_profile_info *out,
                                                    size_t size);

/**
 * Reads a row. The first is that of the most time.
 *
 * @param profile to read
 * @param index   0 .. llmgpu_profile_info::n_rows - 1
 * @param out     to fill
 * @param size    sizeof(llmgpu_profile_row)
 * @return 0; LLMGPU_E_INVALID, also beyond the end
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_profile_get_row(const llmgpu_profile *profile, uint32_t index,
                                                   llmgpu_profile_row *out, size_t size);

/**
 * Measures what a dispatch costs inside a submission, with the barrier before it: of many that each copy a
 * few words of what the one before it wrote.
 *
 * @param ctx whose device
 * @param ns  nanoseconds of each, the best of some submissions
 * @return 0, LLMGPU_E_NOMEM, or a device failure; the sentence is llmgpu_context_error()
 * @par Thread-safety: safe
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_context_measure_dispatch(llmgpu_context *ctx, double *ns);

#ifdef __cplusplus
}
#endif

#endif

#endif
