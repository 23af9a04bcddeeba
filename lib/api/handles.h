/* SPDX-License-Identifier: MIT
 *
 * What the public handles are. The functions of this directory check arguments, take the turn where they work on the
 * device, and call one layer below.
 *
 * Handles count who needs them: a context its models, a model its sessions (and chats, decoders, adapters), and each the
 * caller who has not freed it yet.
 */
#ifndef LG_API_HANDLES_H
#define LG_API_HANDLES_H

#include <pthread.h>

#ifndef LLMGPU_EXPERIMENTAL
#define LLMGPU_EXPERIMENTAL
#endif
#include "llmgpu/llmgpu.h"
#include "runtime/save.h"
#include "runtime/scheduler.h"
#include "text/stop.h"
#include "train/trainer.h"

struct llmgpu_context {
    _Atomic uint32_t refs;
    struct lg_env env;     // its error is the context's, under `lock`
    struct lg_env dev_env; // of the device and all that works on it, with the scheduler's turn
    pthread_mutex_t lock;  // env.error, and the list of models for who has not the turn
    struct lg_scheduler sched;
    struct lg_device *dev;            // changed with the turn
    struct lg_device_options options; // to open it again; strings are owned
    bool hosted;                      // it is one of the host's
    bool in_place;                    // it, as it was opened first, reads files where they are mapped
    struct llmgpu_context_params params; // for the limits
    llmgpu_model *models;             // a list
    uint32_t n_models;
    _Atomic int cancel_load; // counts up: loads that began before are to end
};

struct llmgpu_model {
    _Atomic uint32_t refs;
    llmgpu_context *ctx;
    llmgpu_model *next, **link; // in the context's list
    struct lg_env env; // of the model; its error is told while it is loaded, with the turn
    struct lg_model *model;
    struct lg_engine engine; // shared by the model's sessions
    uint64_t load_ns, put_ns;       // what loading took, and of that putting the weights on the device
    struct lg_later later;          // its destruction
    struct lg_state_model identity; // what saved states say of it,
    _Atomic int identified;         // once this is set
    llmgpu_trainer *trainers;       // a list; needs the turn
};

/** An answer as text. */
struct lg_answer {
    struct lg_decoder decoder;
    struct lg_stops stops;
    struct lg_stop_state stop;
    char *text; // the piece that was given last
    size_t cap;
    bool ended;   // its last piece was given
    bool limited; // llmgpu_session_generate() has limited what may still come
};

/** Where the text of an answer is: half a character, the beginning of a stop text. */
struct lg_place {
    struct lg_decoder decoder;
    struct lg_stop_state stop;
};

struct llmgpu_session {
    _Atomic uint32_t refs; // the caller's, and those of calls that call back
    llmgpu_model *model;
    struct lg_env env; // its error is the session's
    struct lg_session session;
    pthread_mutex_t lock; // of `answer`; recursive, because of logs. Taken before the scheduler's, and after the turn
    struct lg_answer answer;
    llmgpu_lora *lora;     // NULL: none; changed with the turn
    _Atomic int is_agent;  // it serves a queue of requests
    struct lg_later later; // its destruction
};

struct llmgpu_lora {
    _Atomic uint32_t refs;
    llmgpu_model *model;
    struct lg_lora *lora;
    uint32_t seat; // of the model's engine
    struct lg_later later; // its destruction
};

enum lg_started { LG_STARTED_NONE, LG_STARTED_RUNS, LG_STARTED_ENDED };

struct llmgpu_trainer {
    llmgpu_model *model;
    llmgpu_trainer *next, **link; // in the model's list; needs the turn
    struct lg_env env;            // its error is the trainer's, on the caller's thread
    struct lg_env work_env;       // of who works on it, with the turn
    struct lg_trainer *trainer;   // NULL once its device is gone; changed with the turn
    _Atomic int cancelled;
    struct lg_filler filler;      // of a step that was started
    enum lg_started started;      // from here on changed with the scheduler's lock
    int status;                   // of a step that has ended: 1 or a failure,
    struct lg_train_result result; // what it did,
    char sentence[sizeof(((struct lg_env *)0)->error)]; // or why it failed
    llmgpu_trainer_info info;
    struct lg_later later;        // its destruction
};

/** Takes trainers off a device that is lost; needs the turn. */
void lg_api_trainers_drop(llmgpu_model *model);

llmgpu_latency lg_api_latency(const struct lg_latency *latency);

void lg_api_context_ref(llmgpu_context *ctx);
void lg_api_context_unref(llmgpu_context *ctx);
/** Adds a loaded model to its context, which it keeps alive. */
void lg_api_model_join(llmgpu_model *model);
void lg_api_model_ref(llmgpu_model *model);
void lg_api_model_unref(llmgpu_model *model);
/** NULL is allowed. */
void lg_api_lora_ref(llmgpu_lora *lora);
void lg_api_lora_unref(llmgpu_lora *lora);

void lg_api_session_ref(llmgpu_session *session);
void lg_api_session_unref(llmgpu_session *session);

/** Parameters of a session of that model, checked. NULL: the defaults. */
int lg_api_session_params(struct lg_env *env, const llmgpu_context *ctx, const struct lg_model *model,
                          const llmgpu_session_params *from, struct lg_session_params *to);

/** The sampler of public parameters, checked. NULL: greedy. */
int lg_api_sampler(struct lg_env *env, const llmgpu_sampler_params *from, struct lg_sampler *to);

/** Finds out what states of the model agree with, `identity`; its file is asked the first time, with the turn. */
int lg_api_identify(struct lg_env *env, llmgpu_model *model);

/** Tokens of a text by llmgpu_tokenize_flags, to be freed with `env`. */
int lg_api_encode(const llmgpu_model *model, struct lg_env *env, const char *text, size_t len, uint32_t flags,
                  int32_t **tokens, size_t *n_tokens);

/** LLMGPU_E_INVALID for a token outside the vocabulary. */
int lg_api_check_tokens(llmgpu_session *session, const int32_t *tokens, size_t n);

/** Feeds tokens that are known to be in the vocabulary. */
int lg_api_feed(llmgpu_session *session, const int32_t *tokens, size_t n);
/** Begins another text; needs the session's lock. */
void lg_api_answer_reset(llmgpu_session *session);
/** The same, and takes back a limit that was set until then. */
void lg_api_answer_begin(llmgpu_session *session);
/** Limits how many tokens may still be given; `limited`: until another text begins. */
int lg_api_answer_limit(llmgpu_session *session, uint32_t n, bool limited);
void lg_api_answer_finish(llmgpu_session *session);
/** Finds out where a text is behind n tokens, unaligned int32, that were given elsewhere. Nothing of it is given. */
int lg_api_answer_replay(llmgpu_session *session, const void *tokens, uint32_t n, struct lg_place *place);
/** Begins a text there. */
void lg_api_answer_resume(llmgpu_session *session, const struct lg_place *place);

/** Opens the context's device, or the host's when one is given. Failures are in dev_env. */
int lg_api_device_open(llmgpu_context *ctx, const llmgpu_vulkan_device *vulkan, struct lg_device **out);

/** Takes the turn to work on the context's device. LLMGPU_E_BUSY from within a callback, LLMGPU_E_DEVICE_LOST when there is
 * none to work on; the sentence is in `env`. */
int lg_api_enter(llmgpu_context *ctx, struct lg_env *env);
/** The same for a session's call that can be cancelled. */
int lg_api_enter_session(llmgpu_session *session);
/** Gives it back. When `rc` is a failure without a sentence in `env`, the device's is taken over. Returns rc. */
int lg_api_leave(llmgpu_context *ctx, struct lg_env *env, int rc);

/** Makes a failure's sentence, which is in `env`, the context's. Returns rc. */
int lg_api_report(llmgpu_context *ctx, const struct lg_env *env, int rc);

/** Copies a device's description into the public form. */
void lg_api_device_info(const struct lg_device_info *from, llmgpu_device_info *to);

#endif
