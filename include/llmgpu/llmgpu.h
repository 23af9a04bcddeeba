/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libllmgpu: runs GGUF language models on any Vulkan 1.2 GPU, or on the CPU.
 *
 *     llmgpu_context *ctx;          a device
 *     llmgpu_model   *model;        weights and tokenizer, shared
 *     llmgpu_session *session;      one conversation
 *
 *     llmgpu_context_create(&ctx, NULL);
 *     llmgpu_model_load(&model, ctx, "model.gguf", NULL);
 *     llmgpu_session_create(&session, model, NULL);
 *     llmgpu_tokenize(model, text, strlen(text), LLMGPU_TOKENIZE_ADD_SPECIAL, tokens, capacity, &n);
 *     llmgpu_session_feed(session, tokens, n);
 *     while (llmgpu_session_next(session, &token) == 1)
 *         ...;
 *
 * General rules. Every function returns 0 (or a count) or a negative llmgpu_status. Handles come through `out`, the first
 * argument, which is set to NULL on failure. Free functions accept NULL. The library never prints, exits, aborts, reads
 * the environment for its behaviour, or keeps global state.
 */
#ifndef LLMGPU_H
#define LLMGPU_H

#include "llmgpu/version.h"
#include "llmgpu/error.h"
#include "llmgpu/context.h"
#include "llmgpu/file.h"
#include "llmgpu/model.h"
#include "llmgpu/session.h"

#endif
