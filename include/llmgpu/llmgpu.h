/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libllmgpu: runs GGUF language models on any Vulkan 1.2 GPU, or on the CPU.
 *
 *     llmgpu_context *ctx;          a device
 *     llmgpu_model   *model;        weights and tokenizer, shared
 *     llmgpu_session *session;      one conversation
 *     llmgpu_lora    *lora;         an adapter (experimental)
 *
 *     llmgpu_context_create(&ctx, NULL);
 *     llmgpu_model_load(&model, ctx, "model.gguf", NULL);
 *     llmgpu_session_create(&session, model, NULL);
 *     llmgpu_session_feed_text(session, text, strlen(text), LLMGPU_TOKENIZE_ADD_SPECIAL);
 *     llmgpu_session_generate(session, 256, on_text, NULL);
 *
 * General rules. Every function that can fail returns 0 (or a count) or a negative llmgpu_status. Handles come through
 * `out`, the first argument, which is set to NULL on failure. Free functions accept NULL, and handles may be freed in any
 * order: what is built on another keeps it alive. The library never prints, exits, aborts, reads the environment for its
 * behaviour, or keeps global state.
 *
 * Threads. Each handle says how threads may use it; a function that says nothing of its own is as its first handle.
 *
 * Structs. Parameter structs begin with their size and are filled by an init function that is given it; getters are given
 * the size of what they fill. Members are only ever appended, so programs and libraries of different age work together:
 * what the older side does not know has its default, which is always 0 or NULL for members that were appended.
 *
 * The ABI. Within a soname nothing is removed or changed but what is marked LLMGPU_EXPERIMENTAL.
 */
#ifndef LLMGPU_H
#define LLMGPU_H

#include "llmgpu/version.h"
#include "llmgpu/error.h"
#include "llmgpu/context.h"
#include "llmgpu/file.h"
#include "llmgpu/model.h"
#include "llmgpu/session.h"
#include "llmgpu/chat.h"
#include "llmgpu/lora.h"
#include "llmgpu/train.h"
#include "llmgpu/agent.h"
#include "llmgpu/cache.h"
#include "llmgpu/profile.h"
#include "llmgpu/dataset.h"
#include "llmgpu/quantize.h"
#include "llmgpu/pacer.h"

#endif
