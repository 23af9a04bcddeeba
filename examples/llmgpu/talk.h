/* SPDX-License-Identifier: MIT
 *
 * Messages, and a session that is brought to them: what a conversation is to a model.
 */
#ifndef CLI_TALK_H
#define CLI_TALK_H

#include "common.h"
#include "messages.h"

/** Zeros are one that holds nothing and can be freed. */
struct talk {
    struct messages messages;
    llmgpu_chat *chat; // the same messages
    llmgpu_session *session;
    bool has_template; // given by the user, in place of the model's own
    bool fallback;     // the messages are in the fall-back format
    bool told;         // the user knows
};

/** Begins with no message and no session. `template_text`: without bytes, the model's own. CLI_OK or
 * CLI_FAILED. */
int talk_create(struct talk *t, const struct cli_engine *engine, const struct cli_text *template_text);
void talk_free(struct talk *t);

/** Adds a message. CLI_OK, or CLI_FAILED when reported. */
int talk_add(struct talk *t, enum role role, const char *content);
/** Removes the messages from `n` on. */
void talk_cut(struct talk *t, size_t n);

/**
 * Brings the session to the messages. As llmgpu_chat_feed(), with its sentence in `why`, but that it goes
 * over to the fall-back format where it has to and says so once. A template that the user gave has no
 * fall-back.
 */
int talk_feed(struct talk *t, uint32_t flags, const char **why);
/** The same without a question to answer, so that the session holds these messages and no others. */
int talk_settle(struct talk *t, const char **why);
/** Tries the template with a question. CLI_OK, or CLI_FAILED when reported. */
int talk_check_template(struct talk *t);
/** Goes back to the model's own format. */
void talk_forget_fallback(struct talk *t);

/** Writes a line to the standard error. */
void talk_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
