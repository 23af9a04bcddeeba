/* SPDX-License-Identifier: MIT */
#ifndef LG_RUNTIME_ESTIMATE_H
#define LG_RUNTIME_ESTIMATE_H

#include "runtime/session.h"

/** Bytes that a model and its sessions take of a device's memory. */
struct lg_estimate {
    uint64_t weights; // the model itself
    uint64_t caches;  // keys and values
    uint64_t work;    // everything else
    uint64_t mapped;  // of the file where the device reads it in place; in none of the others
};

/**
 * Runs the making of sessions and of their passes on a dry device.
 *
 * @param model  opened, without weights; it is left so
 * @param like   the device it is for
 * @param params of each session; not read when n_sessions is 0
 * @param kv_type LG_KV_*
 * @return 0, or what would keep such sessions from being made there, but for their size
 */
int lg_estimate(struct lg_model *model, const struct lg_device_info *like, const struct lg_session_params *params,
                uint32_t n_sessions, uint32_t kv_type, struct lg_estimate *out);

#endif
