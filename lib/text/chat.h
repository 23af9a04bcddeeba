/* SPDX-License-Identifier: MIT
 *
 * Conversations as text: what a chat template sees, and the ChatML format for models without one.
 */
#ifndef LG_TEXT_CHAT_H
#define LG_TEXT_CHAT_H

#include "text/template.h"
#include "text/vocab.h"

/**
 * Fills the variables that every template knows: messages, tools, documents, add_generation_prompt, and the
 * texts of special tokens.
 *
 * @param messages a list
 * @param tools    a list, or none
 * @param answer   whether the text is to end with what begins the assistant's answer
 */
int lg_chat_variables(struct lg_arena *arena, const struct lg_vocab *vocab, const struct lg_value *messages,
                      const struct lg_value *tools, bool answer, struct lg_value *out);

/**
 * Renders without a template: <|im_start|>role, a line break, the content, <|im_end|>. Of contents in parts,
 * the texts count.
 *
 * @param messages a list
 * @param answer   as above
 * @return 0 or LLMGPU_E_NOMEM
 */
int lg_chat_render_chatml(struct lg_env *env, const struct lg_value *messages, bool answer,
                          struct lg_rendering *out);

/** Whether a text begins with BOS as it is written. */
bool lg_chat_has_bos(const struct lg_vocab *vocab, const char *text, size_t len);

#endif
