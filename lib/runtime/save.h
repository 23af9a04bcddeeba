/* SPDX-License-Identifier: MIT
 *
 * Sessions to saved states and back; state.h has the bytes.
 */
#ifndef LG_RUNTIME_SAVE_H
#define LG_RUNTIME_SAVE_H

#include "runtime/session.h"
#include "runtime/state.h"

/** What a session was when its saving began. */
struct lg_save {
    struct lg_session *session;
    struct lg_state_model model;
    struct lg_state state;
    void *block;   // what `state` points to
    uint64_t size; // bytes that lg_save_write() will write
};

/** What states of a model agree with; reads the file for it. */
int lg_save_identify(const struct lg_model *model, struct lg_env *env, struct lg_state_model *out);

/**
 * Notes what a session is. For a full state the turn is needed, from here until it is written.
 *
 * @param base a session of the same model: what the two have in common is left out; NULL: nothing is
 */
int lg_save_begin(struct lg_save *save, struct lg_session *s, bool full, const struct lg_session *base,
                  const struct lg_state_model *model);
/** Writes it in pieces; a failure of put() is returned. */
int lg_save_write(const struct lg_save *save, int (*put)(void *user, const void *data, size_t size),
                  void *user);
/** A zeroed one is allowed. */
void lg_save_finish(struct lg_save *save);

/**
 * Puts a parsed state in the place of the conversation. A full one needs the turn. On failure the
 * conversation is as before; after one of the device some of it may have to be computed again.
 */
int lg_session_restore(struct lg_session *s, const struct lg_state_model *model,
                       const struct lg_state *state);

/** Bytes of the largest state that fits into a context of n_ctx tokens, and no more than a few beyond. */
uint64_t lg_save_limit(const struct lg_state_model *model, uint32_t n_ctx);

#endif
