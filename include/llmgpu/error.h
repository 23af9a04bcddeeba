/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Error codes. Every function of the library that can fail returns 0 (or a count) on success and one of these negative
 * values on failure; the sentence that says what and where is on the handle (llmgpu_context_error() and its kin),
 * but for functions that are given it as const: these leave no sentence.
 * Values are never renumbered.
 */
#ifndef LLMGPU_ERROR_H
#define LLMGPU_ERROR_H

#include "llmgpu/version.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What went wrong. */
enum llmgpu_status {
    LLMGPU_OK = 0,               /**< success */
    LLMGPU_E_INVALID = -1,       /**< an argument is NULL, out of range or in the wrong state: mend the call */
    LLMGPU_E_NOMEM = -2,         /**< host or device memory is exhausted: free some or ask for less */
    LLMGPU_E_IO = -3,            /**< a file cannot be opened or read */
    LLMGPU_E_FORMAT = -4,        /**< a file is truncated, lies about its sizes, or is not what it says */
    LLMGPU_E_UNSUPPORTED = -5,   /**< a well-formed file or device asks for what this build cannot do */
    LLMGPU_E_NO_DEVICE = -6,     /**< no device of that name */
    LLMGPU_E_DEVICE = -7,        /**< a driver call failed */
    LLMGPU_E_DEVICE_LOST = -8,   /**< the device is gone; the context stays lost until it is created again */
    LLMGPU_E_CONTEXT_FULL = -9,  /**< no room for another token in the session's context */
    LLMGPU_E_CANCELLED = -10,    /**< stopped on request */
    LLMGPU_E_TIMEOUT = -11,      /**< the time given was over before the work was */
    LLMGPU_E_RANGE = -12,        /**< the caller's buffer is too small; the needed size is reported */
    LLMGPU_E_LIMIT = -13,        /**< a limit that the host has set is reached; the sentence names it */
    LLMGPU_E_TEMPLATE = -14,     /**< the model has no chat template, or one that cannot be used */
    LLMGPU_E_BUSY = -15,         /**< called from within a callback of a call that is still running on this context */
    LLMGPU_E_INTERNAL = -99,     /**< an invariant of the library does not hold: please report it */
};

/**
 * The name of a code, such as "LLMGPU_E_FORMAT".
 *
 * @param status any value
 * @return a static string, "unknown error" for values that are not codes; never NULL
 * @par Thread-safety: safe
 */
LLMGPU_API const char *llmgpu_status_name(int status);

#ifdef __cplusplus
}
#endif

#endif
