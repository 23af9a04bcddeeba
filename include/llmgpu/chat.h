/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Conversations as messages: the model's own chat template makes a prompt of them.
 *
 * Templates are programs in a subset of Jinja that come inside model files. They are interpreted with limits on steps,
 * depth and output, and see nothing but the messages.
 */
#ifndef LLMGPU_CHAT_H
#define LLMGPU_CHAT_H

#include "llmgpu/session.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A list of messages. It keeps its model alive.
 *
 * @par Thread-safety: one thread at a time
 */
typedef struct llmgpu_chat llmgpu_chat;

/** Flags of llmgpu_chat_render() and llmgpu_chat_feed(). */
enum llmgpu_chat_flags {
    LLMGPU_CHAT_ANSWER = 1,   /**< end with what begins the assistant's answer */
    LLMGPU_CHAT_FALLBACK = 2, /**< use the ChatML format when the model has no template, or one that cannot be used */
};

/**
 * Begins an empty list.
 *
 * @param out           to be freed with llmgpu_chat_free(); NULL on failure
 * @param model         whose template is used; the one named "tool_use" when there are tools and the file has it
 * @param template_text a template in place of the model's own, copied; NULL: the model's
 * @param template_len  its bytes
 * @return 0; LLMGPU_E_NOMEM; LLMGPU_E_INVALID. A template that cannot be used is told when it is.
 */
LLMGPU_API int llmgpu_chat_create(llmgpu_chat **out, llmgpu_model *model, const char *template_text,
                                  size_t template_len);

/**
 * Frees a list.
 *
 * @param chat NULL is allowed
 */
LLMGPU_API void llmgpu_chat_free(llmgpu_chat *chat);

/**
 * The sentence of the last failed call on this list.
 *
 * @param chat NULL is allowed
 * @return "" when there was none; valid until the next call on the list
 */
LLMGPU_API const char *llmgpu_chat_error(const llmgpu_chat *chat);

/**
 * Appends a message.
 *
 * @param chat    where it is added
 * @param role    "system", "user", "assistant", "tool" or another that the template knows; copied, NUL at the end
 * @param content UTF-8, copied, NUL at the end
 * @return 0, LLMGPU_E_NOMEM, LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_chat_add(llmgpu_chat *chat, const char *role, const char *content);

/**
 * Appends a message with more than two members: a JSON object such as
 * {"role": "assistant", "content": "", "tool_calls": [...]}.
 *
 * @param chat    where it is added
 * @param message copied, NUL at the end
 * @return 0; LLMGPU_E_FORMAT when it is no JSON object; LLMGPU_E_NOMEM; LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_chat_add_json(llmgpu_chat *chat, const char *message);

/**
 * Removes the last messages.
 *
 * @param chat where they are
 * @param n    how many of the first stay, at most llmgpu_chat_count(); 0: none
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_chat_truncate(llmgpu_chat *chat, uint32_t n);

/**
 * Counts the messages.
 *
 * @param chat NULL is allowed
 * @return how many there are
 */
LLMGPU_API uint32_t llmgpu_chat_count(const llmgpu_chat *chat);

/**
 * Says which tools the model may call.
 *
 * @param chat  of which conversation
 * @param tools a JSON array as chat services take it, copied, NUL at the end; NULL: none
 * @return as llmgpu_chat_add_json()
 */
LLMGPU_API int llmgpu_chat_set_tools(llmgpu_chat *chat, const char *tools);

/**
 * Sets another variable of the template.
 *
 * @param chat  of which conversation
 * @param name  "enable_thinking", "date_string", ...; copied, NUL at the end
 * @param value JSON, copied, NUL at the end; NULL: the variable is removed
 * @return as llmgpu_chat_add_json()
 */
LLMGPU_API int llmgpu_chat_set_variable(llmgpu_chat *chat, const char *name, const char *value);

/**
 * The prompt of the messages so far.
 *
 * @param chat     the messages
 * @param flags    llmgpu_chat_flags
 * @param text     receives the prompt, and a NUL behind it where there is room; may be NULL when `capacity` is 0
 * @param capacity bytes at `text`
 * @param len      bytes of the prompt, also when the room is too small
 * @return 0; LLMGPU_E_RANGE; LLMGPU_E_TEMPLATE when the template is missing, too large for the limits, uses what the
 *         subset lacks, or refuses the messages (its own words are in the sentence); LLMGPU_E_NOMEM; LLMGPU_E_INVALID
 */
LLMGPU_API int llmgpu_chat_render(llmgpu_chat *chat, uint32_t flags, char *text, size_t capacity, size_t *len);

/**
 * Brings a session to the prompt of the messages so far: what it has in common with its tokens stays, the rest is
 * rewound, and what is missing is fed. So each turn costs its own tokens only.
 *
 * @param chat    the messages
 * @param session of the same model
 * @param flags   llmgpu_chat_flags
 * @return as llmgpu_chat_render() and llmgpu_session_feed(); the sentence is llmgpu_chat_error()
 */
LLMGPU_API int llmgpu_chat_feed(llmgpu_chat *chat, llmgpu_session *session, uint32_t flags);

#ifdef __cplusplus
}
#endif

#endif
