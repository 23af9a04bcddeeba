/* SPDX-License-Identifier: MIT
 *
 * A conversation with a model, as the user sees it: questions, answers, files.
 */
#ifndef CLI_CONVERSATION_H
#define CLI_CONVERSATION_H

#include "talk.h"

struct conversation {
    struct cli_engine engine;
    struct talk talk;
    struct cli_text template_text; // in place of the model's own; `bytes` is NULL: none
    llmgpu_sampler_params sampler;
    uint32_t max_tokens; // of an answer
    uint32_t n_again;    // how often the last question was answered again
};

/**
 * Begins one on an open engine. `engine`, `template_text`, `sampler` and `max_tokens` are set before. All
 * functions here answer CLI_OK, or CLI_FAILED when reported; the conversation then is as it was.
 */
int conversation_begin(struct conversation *c, const llmgpu_session_params *params);
/** Also of zeros. The engine is closed, too. */
void conversation_end(struct conversation *c);

/** Asks, and writes the answer to the standard output as it comes. CLI_INTERRUPTED after a Ctrl-C: what came
 * is kept. */
int conversation_ask(struct conversation *c, const char *question);
/** Takes the last answer back and draws another. As above. */
int conversation_again(struct conversation *c);
/** Takes the last question and its answer back. */
int conversation_undo(struct conversation *c);
/** Forgets all but the system message. */
int conversation_reset(struct conversation *c);
/** Begins anew with another system message. */
int conversation_set_system(struct conversation *c, const char *text);

/** Writes the messages to a file, and what was computed of them to one beside it, whose name has ".state"
 * behind. */
int conversation_save(struct conversation *c, const char *path);
/** Goes on with what was saved. */
int conversation_load(struct conversation *c, const char *path);

/** Writes the counters to the standard error. */
int conversation_stats(const struct conversation *c);

#endif
