/* SPDX-License-Identifier: MIT
 *
 * What the public handles are. The functions of this directory check arguments, take the context's lock and
 * call one layer below.
 */
#ifndef LG_API_HANDLES_H
#define LG_API_HANDLES_H

#include <pthread.h>

#include "llmgpu/llmgpu.h"
#include "runtime/session.h"

struct llmgpu_context {
    struct lg_env env;    // its error is the context's
    pthread_mutex_t lock; // held by every call that works on the device
    struct lg_device *dev;
    llmgpu_log_fn log;
    void *log_user;
};

struct llmgpu_model {
    llmgpu_context *ctx;
    struct lg_model *model;
    struct lg_env engine_env;
    struct lg_engine engine; // shared by the model's sessions
};

struct llmgpu_session {
    llmgpu_model *model;
    struct lg_env env; // its error is the session's
    struct lg_session session;
};

/** Copies a device's description into the public form. */
void lg_api_device_info(const struct lg_device_info *from, llmgpu_device_info *to);

#endif
