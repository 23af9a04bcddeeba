/* SPDX-License-Identifier: MIT
 *
 * Calls that are wrong, on the device that the first argument names: each answers a code, and none does harm. NULL for
 * every pointer of every public function in turn (tests/repo/misuse.py holds the list against the headers), calls in a
 * wrong order, and states that were never saved. Numbers and sizes are tests/ranges.c's.
 */
#include "things.h"

/* ---- NULL for each pointer in turn */

/** Pointer number i of a call, or NULL when it is that one's turn. */
#define P(i, pointer) (null == (i) ? NULL : (pointer))

#define CALL(name, call)                                    \
    static int call_##name(struct things *t, int null)      \
    {                                                       \
        (void)t;                                            \
        (void)null;                                         \
        return call;                                        \
    }

/** What a creating call made is freed; what failed made nothing. */
#define CREATE(name, type, destroy, call)                   \
    static int call_##name(struct things *t, int null)      \
    {                                                       \
        (void)t;                                            \
        type *made = NULL;                                  \
        int rc = call;                                      \
        REQUIRE(rc == 0 || !made);                          \
        destroy(made);                                      \
        return rc;                                          \
    }

static void do_nothing(void *user)
{
    (void)user;
}

CALL(llmgpu_version, is_text(llmgpu_version()))
CALL(llmgpu_status_name, is_text(llmgpu_status_name(12345)))
CALL(llmgpu_context_params_init, llmgpu_context_params_init(P(0, &t->context_params), sizeof(t->context_params)))
CREATE(llmgpu_context_create, llmgpu_context, llmgpu_context_free,
       llmgpu_context_create(P(0, &made), P(1, &t->context_params)))
CALL(llmgpu_context_free, (llmgpu_context_free(NULL), 0))
CALL(llmgpu_context_error, is_text(llmgpu_context_error(P(0, t->f.ctx))))
CALL(llmgpu_context_step, llmgpu_context_step(P(0, t->f.ctx), 1))
CALL(llmgpu_context_start, llmgpu_context_start(P(0, t->f.ctx)))
CALL(llmgpu_context_stop, llmgpu_context_stop(P(0, t->f.ctx)))
CALL(llmgpu_context_cancel, (llmgpu_context_cancel(P(0, t->f.ctx)), 0))
CALL(llmgpu_context_recover, llmgpu_context_recover(P(0, t->f.ctx), P(1, (llmgpu_vulkan_device *)NULL)))
CREATE(llmgpu_device_list_create, llmgpu_device_list, llmgpu_device_list_free,
       llmgpu_device_list_create(P(0, &made)))
CALL(llmgpu_device_list_count, (int)llmgpu_device_list_count(P(0, t->list)))
CALL(llmgpu_device_list_get, llmgpu_device_list_get(P(0, t->list), 0, P(1, &t->info.device), sizeof(t->info.device)))
CALL(llmgpu_device_list_free, (llmgpu_device_list_free(NULL), 0))
CALL(llmgpu_context_get_device, llmgpu_context_get_device(P(0, t->f.ctx), P(1, &t->info.device), sizeof(t->info.device)))
CALL(llmgpu_context_get_stats,
     llmgpu_context_get_stats(P(0, t->f.ctx), P(1, &t->info.context_stats), sizeof(t->info.context_stats)))
CALL(llmgpu_context_measure_bandwidth,
     null < 0 ? 0 : llmgpu_context_measure_bandwidth(P(0, t->f.ctx), P(1, &t->number))) // it takes long
CREATE(llmgpu_file_open, llmgpu_file, llmgpu_file_close,
       llmgpu_file_open(P(0, &made), P(1, t->model_path), P(2, t->text), ROOM))
CALL(llmgpu_file_close, (llmgpu_file_close(NULL), 0))
CALL(llmgpu_file_get_info, llmgpu_file_get_info(P(0, t->file), P(1, &t->info.file), sizeof(t->info.file)))
CALL(llmgpu_file_get_metadata,
     llmgpu_file_get_metadata(P(0, t->file), 0, P(1, &t->info.metadata), sizeof(t->info.metadata)))
CALL(llmgpu_file_get_value, llmgpu_file_get_value(P(0, t->file), 0, 0, P(1, &t->info.value), sizeof(t->info.value)))
CALL(llmgpu_file_get_tensor, llmgpu_file_get_tensor(P(0, t->file), 0, P(1, &t->info.tensor), sizeof(t->info.tensor)))
CALL(llmgpu_model_params_init, llmgpu_model_params_init(P(0, &t->model_params), sizeof(t->model_params)))
CREATE(llmgpu_model_load, llmgpu_model, llmgpu_model_free,
       llmgpu_model_load(P(0, &made), P(1, t->f.ctx), P(2, t->model_path), P(3, &t->model_params)))
CREATE(llmgpu_model_load_memory, llmgpu_model, llmgpu_model_free,
       llmgpu_model_load_memory(P(0, &made), P(1, t->f.ctx), P(2, api_tiny()->file.data), api_tiny()->file.size,
                                P(3, &t->model_params)))
CREATE(llmgpu_model_load_io, llmgpu_model, llmgpu_model_free,
       llmgpu_model_load_io(P(0, &made), P(1, t->f.ctx), P(2, &t->io), P(3, &t->model_params)))
CALL(llmgpu_model_free, (llmgpu_model_free(NULL), 0))
CALL(llmgpu_model_error, is_text(llmgpu_model_error(P(0, t->f.model))))
CALL(llmgpu_model_estimate,
     llmgpu_model_estimate(P(0, &t->info.estimate), sizeof(t->info.estimate), P(1, t->f.ctx), P(2, t->model_path),
                           P(3, &t->model_params), P(4, &t->session_params), 1))
CALL(llmgpu_model_get_info, llmgpu_model_get_info(P(0, t->f.model), P(1, &t->info.model), sizeof(t->info.model)))
CALL(llmgpu_tokenize, llmgpu_tokenize(P(0, t->f.model), P(1, "abc"), 3, 0, P(2, t->tokens), 256, P(3, &t->n)))
CALL(llmgpu_detokenize, llmgpu_detokenize(P(0, t->f.model), P(1, t->f.ids), 3, 0, P(2, t->text), ROOM, P(3, &t->n)))
CALL(llmgpu_model_is_end, llmgpu_model_is_end(P(0, t->f.model), 1))
CREATE(llmgpu_decoder_create, llmgpu_decoder, llmgpu_decoder_free,
       llmgpu_decoder_create(P(0, &made), P(1, t->f.model), 0))
CALL(llmgpu_decoder_push, llmgpu_decoder_push(P(0, t->decoder), 5, P(1, &t->piece), P(2, &t->n)))
CALL(llmgpu_decoder_finish, llmgpu_decoder_finish(P(0, t->decoder), P(1, &t->piece), P(2, &t->n)))
CALL(llmgpu_decoder_free, (llmgpu_decoder_free(NULL), 0))
CALL(llmgpu_sampler_params_init, llmgpu_sampler_params_init(P(0, &t->sampler_params), sizeof(t->sampler_params)))
CALL(llmgpu_session_params_init, llmgpu_session_params_init(P(0, &t->session_params), sizeof(t->session_params)))
CREATE(llmgpu_session_create, llmgpu_session, llmgpu_session_free,
       llmgpu_session_create(P(0, &made), P(1, t->f.model), P(2, &t->session_params)))
CREATE(llmgpu_session_fork, llmgpu_session, llmgpu_session_free, llmgpu_session_fork(P(0, &made), P(1, t->s)))
CALL(llmgpu_session_free, (llmgpu_session_free(NULL), 0))
CALL(llmgpu_session_error, is_text(llmgpu_session_error(P(0, t->s))))
CALL(llmgpu_session_set_sampler, llmgpu_session_set_sampler(P(0, t->s), P(1, &t->sampler_params)))
CALL(llmgpu_session_set_logit_bias, llmgpu_session_set_logit_bias(P(0, t->s), P(1, &t->bias), 1))
CALL(llmgpu_session_set_mask, llmgpu_session_set_mask(P(0, t->s), NULL, P(1, t)))
CALL(llmgpu_session_feed, llmgpu_session_feed(P(0, t->s), P(1, t->f.ids), 3))
CALL(llmgpu_session_feed_text, llmgpu_session_feed_text(P(0, t->s), P(1, "abc"), 3, 0))
CALL(llmgpu_session_next, llmgpu_session_next(P(0, t->s), P(1, &t->token)))
CALL(llmgpu_session_next_text, llmgpu_session_next_text(P(0, t->s), P(1, &t->piece), P(2, &t->n)))
CALL(llmgpu_session_wait, llmgpu_session_wait(P(0, t->s), UINT64_MAX))
CALL(llmgpu_session_prefill, llmgpu_session_prefill(P(0, t->s)))
CALL(llmgpu_session_warm_up, llmgpu_session_warm_up(P(0, t->s)))
CALL(llmgpu_session_generate, llmgpu_session_generate(P(0, t->s), 3, NULL, P(1, t)))
CALL(llmgpu_session_set_remaining, llmgpu_session_set_remaining(P(0, t->s), 3))
CALL(llmgpu_session_add_stop, llmgpu_session_add_stop(P(0, t->s), P(1, "abc"), 3))
CALL(llmgpu_session_add_stop_token, llmgpu_session_add_stop_token(P(0, t->s), 3))
CALL(llmgpu_session_clear_stops, llmgpu_session_clear_stops(P(0, t->s)))
CALL(llmgpu_session_cancel, (llmgpu_session_cancel(P(0, t->s)), 0))
CALL(llmgpu_session_set_priority, llmgpu_session_set_priority(P(0, t->s), 1))
CALL(llmgpu_session_set_speculation, llmgpu_session_set_speculation(P(0, t->s), LLMGPU_SPECULATION_LOOKUP, 4,
                                                                     P(1, (llmgpu_session *)NULL)))
CALL(llmgpu_session_set_deadline, llmgpu_session_set_deadline(P(0, t->s), 1000))
CALL(llmgpu_session_fd, llmgpu_session_fd(P(0, t->s)))
CALL(llmgpu_session_set_notify, llmgpu_session_set_notify(P(0, t->s), P(1, do_nothing), P(2, t)))
CALL(llmgpu_session_reset, llmgpu_session_reset(P(0, t->s)))
CALL(llmgpu_session_rewind, llmgpu_session_rewind(P(0, t->s), 1))
CALL(llmgpu_session_get_tokens, llmgpu_session_get_tokens(P(0, t->s), P(1, t->tokens), 256, P(2, &t->n)))
CALL(llmgpu_session_save, llmgpu_session_save(P(0, t->s), LLMGPU_STATE_FULL, P(1, t->other), P(2, t->state),
                                              sizeof(t->state), P(3, &t->state_size)))
CALL(llmgpu_session_save_file, llmgpu_session_save_file(P(0, t->other), LLMGPU_STATE_FULL, P(1, t->s),
                                                        P(2, t->state_path)))
CALL(llmgpu_session_restore, llmgpu_session_restore(P(0, t->s), P(1, t->state), t->state_size))
CALL(llmgpu_session_restore_file, llmgpu_session_restore_file(P(0, t->s), P(1, t->state_path)))
CALL(llmgpu_session_get_candidates,
     llmgpu_session_get_candidates(P(0, t->s), P(1, t->candidates), P(2, t->candidates), 4, P(3, &t->n)))
CALL(llmgpu_session_score, llmgpu_session_score(P(0, t->s), P(1, t->f.ids), 4, P(2, t->floats), P(3, t->floats)))
CALL(llmgpu_session_score_top,
     llmgpu_session_score_top(P(0, t->s), P(1, t->f.ids), 4, P(2, t->floats), 4, P(3, t->candidates)))
CALL(llmgpu_session_embed, llmgpu_session_embed(P(0, t->s), P(1, t->f.ids), 4, LLMGPU_POOLING_MEAN, 1, P(2, t->floats)))
CALL(llmgpu_session_get_stats,
     llmgpu_session_get_stats(P(0, t->s), P(1, &t->info.session_stats), sizeof(t->info.session_stats)))
CREATE(llmgpu_chat_create, llmgpu_chat, llmgpu_chat_free,
       llmgpu_chat_create(P(0, &made), P(1, t->f.model), P(2, "{{ 1 }}"), 7))
CALL(llmgpu_chat_free, (llmgpu_chat_free(NULL), 0))
CALL(llmgpu_chat_error, is_text(llmgpu_chat_error(P(0, t->chat))))
CALL(llmgpu_chat_add, llmgpu_chat_add(P(0, t->chat), P(1, "user"), P(2, "abc")))
CALL(llmgpu_chat_add_json, llmgpu_chat_add_json(P(0, t->chat), P(1, "{\"role\": \"user\", \"content\": \"\"}")))
CALL(llmgpu_chat_truncate, llmgpu_chat_truncate(P(0, t->chat), 0))
CALL(llmgpu_chat_count, (int)llmgpu_chat_count(P(0, t->chat)))
CALL(llmgpu_chat_set_tools, llmgpu_chat_set_tools(P(0, t->chat), P(1, "[]")))
CALL(llmgpu_chat_set_variable, llmgpu_chat_set_variable(P(0, t->chat), P(1, "a"), P(2, "1")))
CALL(llmgpu_chat_render, llmgpu_chat_render(P(0, t->chat), LLMGPU_CHAT_FALLBACK, P(1, t->text), ROOM, P(2, &t->n)))
CALL(llmgpu_chat_feed, llmgpu_chat_feed(P(0, t->chat), P(1, t->s), LLMGPU_CHAT_FALLBACK))
CREATE(llmgpu_lora_load, llmgpu_lora, llmgpu_lora_free,
       llmgpu_lora_load(P(0, &made), P(1, t->f.model), P(2, t->lora_path)))
CALL(llmgpu_lora_free, (llmgpu_lora_free(NULL), 0))
CALL(llmgpu_lora_get_info, llmgpu_lora_get_info(P(0, t->lora), P(1, &t->info.lora), sizeof(t->info.lora)))
CALL(llmgpu_model_cache_params_init, llmgpu_model_cache_params_init(P(0, &t->cache_params), sizeof(t->cache_params)))
CREATE(llmgpu_model_cache_create, llmgpu_model_cache, llmgpu_model_cache_free,
       llmgpu_model_cache_create(P(0, &made), P(1, t->f.ctx), P(2, &t->cache_params)))
CALL(llmgpu_model_cache_free, (llmgpu_model_cache_free(NULL), 0))
CALL(llmgpu_model_cache_scan, llmgpu_model_cache_scan(P(0, t->cache), P(1, t->folder)))
CALL(llmgpu_model_cache_get,
     llmgpu_model_cache_get(P(0, t->cache), 0, P(1, &t->info.cache_entry), sizeof(t->info.cache_entry)))
CREATE(llmgpu_model_cache_acquire, llmgpu_model, llmgpu_model_free,
       llmgpu_model_cache_acquire(P(0, t->cache), P(1, "tiny"), P(2, &made)))
CALL(llmgpu_model_cache_pin, llmgpu_model_cache_pin(P(0, t->cache), P(1, "tiny"), 1))
CALL(llmgpu_quantize_params_init,
     llmgpu_quantize_params_init(P(0, &t->quantize_params), sizeof(t->quantize_params)))
CALL(llmgpu_quantize_type, is_text(llmgpu_quantize_type(0)))
CALL(llmgpu_quantize, llmgpu_quantize(P(0, t->model_path), P(1, t->out_path), P(2, "Q8_0"),
                                      P(3, (llmgpu_quantize_params *)NULL)))
CALL(llmgpu_merge, llmgpu_merge(P(0, t->model_path), P(1, &t->adapter), 1, P(2, t->out_path), P(3, "F16"),
                                P(4, (llmgpu_quantize_params *)NULL)))
CALL(llmgpu_model_cache_get_stats,
     llmgpu_model_cache_get_stats(P(0, t->cache), P(1, &t->info.cache_stats), sizeof(t->info.cache_stats)))
CREATE(llmgpu_profile_create, llmgpu_profile, llmgpu_profile_free,
       llmgpu_profile_create(P(0, &made), P(1, t->s), LLMGPU_PROFILE_DECODE, 1, 1))
CALL(llmgpu_profile_free, (llmgpu_profile_free(NULL), 0))
CALL(llmgpu_profile_get_info,
     llmgpu_profile_get_info(P(0, t->profile), P(1, &t->info.profile), sizeof(t->info.profile)))
CALL(llmgpu_profile_get_row,
     llmgpu_profile_get_row(P(0, t->profile), 0, P(1, &t->info.profile_row), sizeof(t->info.profile_row)))
CALL(llmgpu_context_measure_dispatch, llmgpu_context_measure_dispatch(P(0, t->f.ctx), P(1, &t->number)))
CALL(llmgpu_session_set_lora, llmgpu_session_set_lora(P(0, t->s), P(1, t->lora), 1))

/** From another one, since each is split once. */
static int split_data(struct things *t, int null)
{
    llmgpu_dataset *whole, *part = NULL;
    REQUIRE_INT(llmgpu_dataset_open(&whole, t->f.model, t->data_paths, 1, NULL), ==, 0);
    int rc = llmgpu_dataset_split(P(0, &part), P(1, whole), 0.5);
    REQUIRE(rc == 0 || !part);
    llmgpu_dataset_free(part);
    llmgpu_dataset_free(whole);
    return rc;
}

CALL(llmgpu_dataset_params_init, llmgpu_dataset_params_init(P(0, &t->dataset_params), sizeof(t->dataset_params)))
CREATE(llmgpu_dataset_open, llmgpu_dataset, llmgpu_dataset_free,
       llmgpu_dataset_open(P(0, &made), P(1, t->f.model), P(2, t->data_paths), 1, P(3, &t->dataset_params)))
CALL(llmgpu_dataset_free, (llmgpu_dataset_free(NULL), 0))
CALL(llmgpu_dataset_error, is_text(llmgpu_dataset_error(P(0, t->dataset))))
CALL(llmgpu_dataset_split, split_data(t, null))
CALL(llmgpu_dataset_next, llmgpu_dataset_next(P(0, t->dataset), P(1, &t->info.batch), sizeof(t->info.batch)))
CALL(llmgpu_dataset_rewind, llmgpu_dataset_rewind(P(0, t->dataset)))
CALL(llmgpu_dataset_get_stats,
     llmgpu_dataset_get_stats(P(0, t->dataset), P(1, &t->info.dataset_stats), sizeof(t->info.dataset_stats)))
CALL(llmgpu_dataset_count,
     llmgpu_dataset_count(P(0, t->dataset), P(1, &t->info.dataset_stats), sizeof(t->info.dataset_stats)))
CALL(llmgpu_dataset_get_sample,
     llmgpu_dataset_get_sample(P(0, t->dataset), 1, P(1, t->tokens), P(2, t->counts), 256, P(3, &t->n)))
CALL(llmgpu_dataset_get_line, llmgpu_dataset_get_line(P(0, t->dataset), 1, P(1, &t->piece), P(2, &t->id)))
CALL(llmgpu_dataset_save, llmgpu_dataset_save(P(0, t->dataset), P(1, t->place), sizeof(t->place), P(2, &t->place_size)))
CALL(llmgpu_dataset_restore, llmgpu_dataset_restore(P(0, t->dataset), P(1, t->place), t->place_size))

/** Another agent, which goes again. */
/** Whatever is under way is done with, and a micro-batch is there. */
static const llmgpu_batch *begin_step(struct things *t, llmgpu_batch *batch)
{
    llmgpu_dataset_rewind(t->dataset);
    REQUIRE_INT(llmgpu_dataset_next(t->dataset, batch, sizeof(*batch)), ==, 1);
    (void)llmgpu_trainer_step(t->trainer, NULL, 0);
    REQUIRE_INT(llmgpu_trainer_add(t->trainer, batch, sizeof(*batch)), ==, 0);
    return batch;
}

static int add_batch(struct things *t, int null)
{
    llmgpu_batch batch;
    begin_step(t, &batch);
    return llmgpu_trainer_add(P(0, t->trainer), P(1, &batch), sizeof(batch));
}

static int do_step(struct things *t, int null)
{
    llmgpu_batch batch;
    begin_step(t, &batch);
    return llmgpu_trainer_step(P(0, t->trainer), P(1, &t->info.train_result), sizeof(t->info.train_result));
}

static int do_some(struct things *t, int null)
{
    llmgpu_batch batch;
    begin_step(t, &batch);
    return llmgpu_trainer_step_some(P(0, t->trainer), 1000000, P(1, &t->info.train_result), sizeof(t->info.train_result));
}

static int evaluate_batch(struct things *t, int null)
{
    llmgpu_batch batch;
    begin_step(t, &batch);
    return llmgpu_trainer_evaluate(P(0, t->trainer), P(1, &batch), sizeof(batch), P(2, &t->number));
}

/** A step that was started is done, and asked for. */
static void end_step(struct things *t)
{
    (void)llmgpu_trainer_wait(t->trainer, UINT64_MAX);
    (void)llmgpu_trainer_poll(t->trainer, NULL, 0);
}

static int start_step(struct things *t, int null)
{
    llmgpu_batch batch;
    begin_step(t, &batch);
    int rc = llmgpu_trainer_start(P(0, t->trainer), 50);
    end_step(t);
    return rc;
}

static int poll_step(struct things *t, int null)
{
    llmgpu_batch batch;
    begin_step(t, &batch);
    REQUIRE_INT(llmgpu_trainer_start(t->trainer, 0), ==, 0);
    int rc = llmgpu_trainer_poll(P(0, t->trainer), P(1, &t->info.train_result), sizeof(t->info.train_result));
    end_step(t);
    return rc;
}

static int wait_step(struct things *t, int null)
{
    llmgpu_batch batch;
    begin_step(t, &batch);
    REQUIRE_INT(llmgpu_trainer_start(t->trainer, 0), ==, 0);
    int rc = llmgpu_trainer_wait(P(0, t->trainer), UINT64_MAX);
    end_step(t);
    return rc;
}

static int load_checkpoint(struct things *t, int null)
{
    (void)llmgpu_trainer_step(t->trainer, NULL, 0);
    REQUIRE_INT(llmgpu_trainer_save_checkpoint(t->trainer, t->state_path, "it", 2), ==, 0);
    return llmgpu_trainer_load_checkpoint(P(0, t->trainer), P(1, t->state_path), P(2, t->text), sizeof(t->text), P(3, &t->n));
}

CALL(llmgpu_trainer_params_init, llmgpu_trainer_params_init(P(0, &t->trainer_params), sizeof(t->trainer_params)))
CREATE(llmgpu_trainer_create, llmgpu_trainer, llmgpu_trainer_free,
       llmgpu_trainer_create(P(0, &made), P(1, t->f.model), P(2, &t->trainer_params)))
CALL(llmgpu_trainer_free, (llmgpu_trainer_free(NULL), 0))
CALL(llmgpu_trainer_error, is_text(llmgpu_trainer_error(P(0, t->trainer))))
CALL(llmgpu_trainer_add, add_batch(t, null))
CALL(llmgpu_trainer_step, do_step(t, null))
CALL(llmgpu_trainer_step_some, do_some(t, null))
CALL(llmgpu_trainer_evaluate, evaluate_batch(t, null))
CALL(llmgpu_trainer_cancel, (llmgpu_trainer_cancel(NULL), 0))
CALL(llmgpu_trainer_start, start_step(t, null))
CALL(llmgpu_trainer_poll, poll_step(t, null))
CALL(llmgpu_trainer_wait, wait_step(t, null))
CALL(llmgpu_trainer_stop, llmgpu_trainer_stop(P(0, t->trainer)))
CALL(llmgpu_trainer_set_reduce, llmgpu_trainer_set_reduce(P(0, t->trainer), NULL, P(1, t->text), 0, 1))
CALL(llmgpu_trainer_save, llmgpu_trainer_save(P(0, t->trainer), P(1, t->state_path), LLMGPU_SAVE_GGUF))
CALL(llmgpu_trainer_save_checkpoint, llmgpu_trainer_save_checkpoint(P(0, t->trainer), P(1, t->state_path), P(2, t->text), 2))
CALL(llmgpu_trainer_load_checkpoint, load_checkpoint(t, null))
CALL(llmgpu_trainer_get_tensor,
     llmgpu_trainer_get_tensor(P(0, t->trainer), 0, P(1, &t->info.train_tensor), sizeof(t->info.train_tensor)))
CALL(llmgpu_trainer_read_tensor, llmgpu_trainer_read_tensor(P(0, t->trainer), 0, LLMGPU_TRAIN_VALUE, P(1, t->floats), ROOM))
CALL(llmgpu_trainer_keep_gradients, llmgpu_trainer_keep_gradients(P(0, t->trainer), 1))
CALL(llmgpu_trainer_get_info, llmgpu_trainer_get_info(P(0, t->trainer), P(1, &t->info.trainer), sizeof(t->info.trainer)))
CALL(llmgpu_sensor_params_init, llmgpu_sensor_params_init(P(0, &t->sensor_params), sizeof(t->sensor_params)))
CREATE(llmgpu_sensors_open, llmgpu_sensors, llmgpu_sensors_free, llmgpu_sensors_open(P(0, &made), P(1, &t->sensor_params)))
CALL(llmgpu_sensors_free, (llmgpu_sensors_free(NULL), 0))
CALL(llmgpu_sensors_read, llmgpu_sensors_read(P(0, t->sensors), P(1, &t->info.reading), sizeof(t->info.reading)))
CALL(llmgpu_sensors_energy, llmgpu_sensors_energy(P(0, t->sensors), P(1, &t->info.energy), sizeof(t->info.energy)))
CALL(llmgpu_sensors_describe, llmgpu_sensors_describe(P(0, t->sensors), P(1, t->text), ROOM, P(2, &t->n)))
CALL(llmgpu_pacer_params_init, llmgpu_pacer_params_init(P(0, &t->pacer_params), sizeof(t->pacer_params)))
CREATE(llmgpu_pacer_create, llmgpu_pacer, llmgpu_pacer_free, llmgpu_pacer_create(P(0, &made), P(1, &t->pacer_params)))
CALL(llmgpu_pacer_free, (llmgpu_pacer_free(NULL), 0))
CALL(llmgpu_pacer_observe, llmgpu_pacer_observe(P(0, t->pacer), P(1, &t->info.reading), sizeof(t->info.reading), 1))
CALL(llmgpu_pacer_pause, llmgpu_pacer_pause(P(0, t->pacer), 1, 1))
CALL(llmgpu_pacer_get_stats, llmgpu_pacer_get_stats(P(0, t->pacer), P(1, &t->info.pacer_stats), sizeof(t->info.pacer_stats)))
CALL(llmgpu_pacer_status, llmgpu_pacer_status(P(0, t->pacer), P(1, t->text), ROOM, P(2, &t->n)))

static int add_agent(struct things *t, int null)
{
    int agent = llmgpu_agents_add(P(0, t->agents), P(1, t->s), P(2, &t->agent_params));
    if (agent >= 0)
        REQUIRE_INT(llmgpu_agents_remove(t->agents, agent), ==, 0);
    return agent;
}

static int remove_agent(struct things *t, int null)
{
    int agent = llmgpu_agents_add(t->agents, t->s, NULL), rc = llmgpu_agents_remove(P(0, t->agents), agent);
    if (rc < 0)
        REQUIRE_INT(llmgpu_agents_remove(t->agents, agent), ==, 0);
    return rc;
}

static int cancel_request(struct things *t, int null)
{
    REQUIRE_INT(llmgpu_agents_submit(t->agents, &t->request, &t->id), ==, 0);
    return llmgpu_agents_cancel(P(0, t->agents), t->id);
}

CALL(llmgpu_agents_params_init, llmgpu_agents_params_init(P(0, &t->agents_params), sizeof(t->agents_params)))
CREATE(llmgpu_agents_create, llmgpu_agents, llmgpu_agents_free,
       llmgpu_agents_create(P(0, &made), P(1, t->f.model), P(2, &t->agents_params)))
CALL(llmgpu_agents_free, (llmgpu_agents_free(NULL), 0))
CALL(llmgpu_agents_error, is_text(llmgpu_agents_error(P(0, t->agents))))
CALL(llmgpu_agent_params_init, llmgpu_agent_params_init(P(0, &t->agent_params), sizeof(t->agent_params)))
CALL(llmgpu_agents_add, add_agent(t, null))
CALL(llmgpu_agents_remove, remove_agent(t, null))
CALL(llmgpu_agents_mail, llmgpu_agents_mail(P(0, t->agents), 0, P(1, "user"), P(2, "a"), 1))
CALL(llmgpu_request_init, (null < 0 ? 0 : llmgpu_request_init(P(0, &t->request), sizeof(t->request))))
CALL(llmgpu_agents_submit, llmgpu_agents_submit(P(0, t->agents), P(1, &t->request), P(2, &t->id)))
CALL(llmgpu_agents_cancel, cancel_request(t, null))
CALL(llmgpu_agents_set_quota, llmgpu_agents_set_quota(P(0, t->agents), P(1, "a"), 0, 0, 0))
CALL(llmgpu_agents_take,
     llmgpu_agents_take(P(0, t->agents), 0, P(1, &t->info.result), sizeof(t->info.result), P(2, t->text), ROOM))
CALL(llmgpu_agents_wait, llmgpu_agents_wait(P(0, t->agents), 0, UINT64_MAX))
CALL(llmgpu_agents_get_stats,
     llmgpu_agents_get_stats(P(0, t->agents), P(1, &t->info.agents_stats), sizeof(t->info.agents_stats)))

/**
 * All public functions. A letter for each pointer, what the call answers when it is NULL: I LLMGPU_E_INVALID, - as
 * with one.
 */
#define ROW(name, letters) {#name, letters, call_##name}
static const struct row {
    const char *name, *letters;
    int (*call)(struct things *t, int null);
} rows[] = {
    ROW(llmgpu_version, ""),
    ROW(llmgpu_status_name, ""),
    ROW(llmgpu_context_params_init, "I"),
    ROW(llmgpu_context_create, "I-"),
    ROW(llmgpu_context_free, "-"),
    ROW(llmgpu_context_error, "-"),
    ROW(llmgpu_context_step, "I"),
    ROW(llmgpu_context_start, "I"),
    ROW(llmgpu_context_stop, "I"),
    ROW(llmgpu_context_cancel, "-"),
    ROW(llmgpu_context_recover, "I-"),
    ROW(llmgpu_device_list_create, "I"),
    ROW(llmgpu_device_list_count, "-"),
    ROW(llmgpu_device_list_get, "II"),
    ROW(llmgpu_device_list_free, "-"),
    ROW(llmgpu_context_get_device, "II"),
    ROW(llmgpu_context_get_stats, "II"),
    ROW(llmgpu_context_measure_bandwidth, "II"),
    ROW(llmgpu_file_open, "II-"),
    ROW(llmgpu_file_close, "-"),
    ROW(llmgpu_file_get_info, "II"),
    ROW(llmgpu_file_get_metadata, "II"),
    ROW(llmgpu_file_get_value, "II"),
    ROW(llmgpu_file_get_tensor, "II"),
    ROW(llmgpu_model_params_init, "I"),
    ROW(llmgpu_model_load, "III-"),
    ROW(llmgpu_model_load_memory, "III-"),
    ROW(llmgpu_model_load_io, "III-"),
    ROW(llmgpu_model_free, "-"),
    ROW(llmgpu_model_error, "-"),
    ROW(llmgpu_model_estimate, "III--"),
    ROW(llmgpu_model_get_info, "II"),
    ROW(llmgpu_tokenize, "IIII"),
    ROW(llmgpu_detokenize, "IIII"),
    ROW(llmgpu_model_is_end, "-"),
    ROW(llmgpu_decoder_create, "II"),
    ROW(llmgpu_decoder_push, "II-"),
    ROW(llmgpu_decoder_finish, "II-"),
    ROW(llmgpu_decoder_free, "-"),
    ROW(llmgpu_sampler_params_init, "I"),
    ROW(llmgpu_session_params_init, "I"),
    ROW(llmgpu_session_create, "II-"),
    ROW(llmgpu_session_fork, "II"),
    ROW(llmgpu_session_free, "-"),
    ROW(llmgpu_session_error, "-"),
    ROW(llmgpu_session_set_sampler, "I-"),
    ROW(llmgpu_session_set_logit_bias, "II"),
    ROW(llmgpu_session_set_mask, "I-"),
    ROW(llmgpu_session_feed, "II"),
    ROW(llmgpu_session_feed_text, "II"),
    ROW(llmgpu_session_next, "II"),
    ROW(llmgpu_session_next_text, "II-"),
    ROW(llmgpu_session_wait, "I"),
    ROW(llmgpu_session_prefill, "I"),
    ROW(llmgpu_session_warm_up, "I"),
    ROW(llmgpu_session_generate, "I-"),
    ROW(llmgpu_session_set_remaining, "I"),
    ROW(llmgpu_session_add_stop, "II"),
    ROW(llmgpu_session_add_stop_token, "I"),
    ROW(llmgpu_session_clear_stops, "I"),
    ROW(llmgpu_session_cancel, "-"),
    ROW(llmgpu_session_set_priority, "I"),
    ROW(llmgpu_session_set_speculation, "I-"),
    ROW(llmgpu_session_set_deadline, "I"),
    ROW(llmgpu_session_fd, "I"),
    ROW(llmgpu_session_set_notify, "I--"),
    ROW(llmgpu_session_reset, "I"),
    ROW(llmgpu_session_rewind, "I"),
    ROW(llmgpu_session_get_tokens, "III"),
    ROW(llmgpu_session_save, "I-II"),
    ROW(llmgpu_session_save_file, "I-I"),
    ROW(llmgpu_session_restore, "II"),
    ROW(llmgpu_session_restore_file, "II"),
    ROW(llmgpu_session_get_candidates, "I-II"),
    ROW(llmgpu_session_score, "II--"),
    ROW(llmgpu_session_score_top, "II-I"),
    ROW(llmgpu_session_embed, "III"),
    ROW(llmgpu_session_get_stats, "II"),
    ROW(llmgpu_chat_create, "II-"),
    ROW(llmgpu_chat_free, "-"),
    ROW(llmgpu_chat_error, "-"),
    ROW(llmgpu_chat_add, "III"),
    ROW(llmgpu_chat_add_json, "II"),
    ROW(llmgpu_chat_truncate, "I"),
    ROW(llmgpu_chat_count, "-"),
    ROW(llmgpu_chat_set_tools, "I-"),
    ROW(llmgpu_chat_set_variable, "II-"),
    ROW(llmgpu_chat_render, "III"),
    ROW(llmgpu_chat_feed, "II"),
    ROW(llmgpu_lora_load, "III"),
    ROW(llmgpu_lora_free, "-"),
    ROW(llmgpu_lora_get_info, "II"),
    ROW(llmgpu_model_cache_params_init, "I"),
    ROW(llmgpu_model_cache_create, "II-"),
    ROW(llmgpu_model_cache_free, "-"),
    ROW(llmgpu_model_cache_scan, "II"),
    ROW(llmgpu_model_cache_get, "II"),
    ROW(llmgpu_model_cache_acquire, "III"),
    ROW(llmgpu_model_cache_pin, "II"),
    ROW(llmgpu_model_cache_get_stats, "II"),
    ROW(llmgpu_session_set_lora, "I-"),
    ROW(llmgpu_quantize_params_init, "I"),
    ROW(llmgpu_quantize_type, ""),
    ROW(llmgpu_quantize, "III-"),
    ROW(llmgpu_merge, "III--"),
    ROW(llmgpu_agents_params_init, "I"),
    ROW(llmgpu_agents_create, "II-"),
    ROW(llmgpu_agents_free, "-"),
    ROW(llmgpu_agents_error, "-"),
    ROW(llmgpu_agent_params_init, "I"),
    ROW(llmgpu_agents_add, "II-"),
    ROW(llmgpu_agents_remove, "I"),
    ROW(llmgpu_agents_mail, "I-I"),
    ROW(llmgpu_request_init, "I"),
    ROW(llmgpu_agents_submit, "II-"),
    ROW(llmgpu_agents_cancel, "I"),
    ROW(llmgpu_agents_set_quota, "I-"),
    ROW(llmgpu_agents_take, "III"),
    ROW(llmgpu_agents_wait, "I"),
    ROW(llmgpu_agents_get_stats, "II"),
    ROW(llmgpu_profile_create, "II"),
    ROW(llmgpu_profile_free, "-"),
    ROW(llmgpu_profile_get_info, "II"),
    ROW(llmgpu_profile_get_row, "II"),
    ROW(llmgpu_context_measure_dispatch, "II"),
    ROW(llmgpu_dataset_params_init, "I"),
    ROW(llmgpu_dataset_open, "III-"),
    ROW(llmgpu_dataset_free, "-"),
    ROW(llmgpu_dataset_error, "-"),
    ROW(llmgpu_dataset_split, "II"),
    ROW(llmgpu_dataset_next, "II"),
    ROW(llmgpu_dataset_rewind, "I"),
    ROW(llmgpu_dataset_get_stats, "II"),
    ROW(llmgpu_dataset_count, "II"),
    ROW(llmgpu_dataset_get_sample, "II-I"),
    ROW(llmgpu_dataset_get_line, "III"),
    ROW(llmgpu_dataset_save, "III"),
    ROW(llmgpu_dataset_restore, "II"),
    ROW(llmgpu_trainer_params_init, "I"),
    ROW(llmgpu_trainer_create, "II-"),
    ROW(llmgpu_trainer_free, "-"),
    ROW(llmgpu_trainer_error, "-"),
    ROW(llmgpu_trainer_add, "II"),
    ROW(llmgpu_trainer_step, "I-"),
    ROW(llmgpu_trainer_step_some, "I-"),
    ROW(llmgpu_trainer_evaluate, "III"),
    ROW(llmgpu_trainer_cancel, "-"),
    ROW(llmgpu_trainer_start, "I"),
    ROW(llmgpu_trainer_poll, "I-"),
    ROW(llmgpu_trainer_wait, "I"),
    ROW(llmgpu_trainer_stop, "I"),
    ROW(llmgpu_trainer_set_reduce, "I-"),
    ROW(llmgpu_trainer_save, "II"),
    ROW(llmgpu_trainer_save_checkpoint, "III"),
    ROW(llmgpu_trainer_load_checkpoint, "III-"),
    ROW(llmgpu_trainer_get_tensor, "II"),
    ROW(llmgpu_trainer_read_tensor, "II"),
    ROW(llmgpu_trainer_keep_gradients, "I"),
    ROW(llmgpu_trainer_get_info, "II"),
    ROW(llmgpu_sensor_params_init, "I"),
    ROW(llmgpu_sensors_open, "I-"),
    ROW(llmgpu_sensors_free, "-"),
    ROW(llmgpu_sensors_read, "II"),
    ROW(llmgpu_sensors_energy, "II"),
    ROW(llmgpu_sensors_describe, "III"),
    ROW(llmgpu_pacer_params_init, "I"),
    ROW(llmgpu_pacer_create, "I-"),
    ROW(llmgpu_pacer_free, "-"),
    ROW(llmgpu_pacer_observe, "I-"),
    ROW(llmgpu_pacer_pause, "I"),
    ROW(llmgpu_pacer_get_stats, "II"),
    ROW(llmgpu_pacer_status, "III"),
};

/** A device that was opened anew has no trainers. */
static void revive_trainer(struct things *t)
{
    if (llmgpu_trainer_get_tensor(t->trainer, 0, &t->info.train_tensor, sizeof(t->info.train_tensor)) == 0)
        return;
    llmgpu_trainer_free(t->trainer);
    open_trainer(t);
}

static void test_null(struct things *t)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        begin_call(t);
        revive_trainer(t);
        int rc = row->call(t, -1);
        if (rc < 0)
            fprintf(stderr, "%s: %s, %s\n", row->name, llmgpu_context_error(t->f.ctx), llmgpu_session_error(t->s));
        REQUIRE_INT(rc, >=, 0); // it is accepted with all of them
        for (int null = 0; row->letters[null]; null++) {
            begin_call(t);
            rc = row->call(t, null);
            bool refused = rc == LLMGPU_E_INVALID;
            if (refused != (row->letters[null] == 'I') || (!refused && rc < 0)) {
                fprintf(stderr, "%s with NULL for pointer %d: %d\n", row->name, null, rc);
                exit(1);
            }
        }
    }
    begin_call(t);
}

/* ---- a wrong order */

static void test_order(struct things *t)
{
    llmgpu_session *s = api_session(&t->f, 64, GREEDY), *fork;
    llmgpu_model_params p;
    llmgpu_model *words, *second;
    // Of a conversation that has not begun.
    REQUIRE_INT(llmgpu_session_next(s, &t->token), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_next_text(s, &t->piece, &t->n), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_generate(s, 3, NULL, NULL), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0); // next() has something to say
    REQUIRE_INT(llmgpu_session_prefill(s), ==, 0);
    REQUIRE_INT(llmgpu_session_rewind(s, 1), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_rewind(s, 0), ==, 0);
    REQUIRE_INT(llmgpu_session_get_candidates(s, NULL, t->candidates, 4, &t->n), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_warm_up(s), ==, 0);
    REQUIRE_INT(llmgpu_session_fork(&fork, s), ==, 0);
    llmgpu_session_free(fork);
    REQUIRE_INT(llmgpu_session_save(s, LLMGPU_STATE_FULL, NULL, t->state, sizeof(t->state), &t->state_size), ==, 0);
    REQUIRE_INT(llmgpu_session_restore(s, t->state, t->state_size), ==, 0);
    REQUIRE_INT(llmgpu_decoder_finish(t->decoder, &t->piece, &t->n), ==, 0);
    REQUIRE_INT(llmgpu_decoder_finish(t->decoder, &t->piece, &t->n), ==, 0);

    // Threads that run, or do not.
    REQUIRE_INT(llmgpu_context_stop(t->f.ctx), ==, 0);
    REQUIRE_INT(llmgpu_context_start(t->f.ctx), ==, 0);
    REQUIRE_INT(llmgpu_context_start(t->f.ctx), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_context_stop(t->f.ctx), ==, 0);

    // Of another model, and of one without weights.
    llmgpu_model_params_init(&p, sizeof(p));
    p.vocab_only = 1;
    REQUIRE_INT(llmgpu_model_load(&words, t->f.ctx, t->model_path, &p), ==, 0);
    REQUIRE_INT(llmgpu_session_create(&fork, words, NULL), ==, LLMGPU_E_INVALID);
    llmgpu_lora *lora;
    REQUIRE_INT(llmgpu_lora_load(&lora, words, t->lora_path), <, 0);
    REQUIRE(!lora);
    REQUIRE_INT(llmgpu_model_load(&second, t->f.ctx, api_bundled(), NULL), ==, 0);
    struct api f = t->f;
    f.model = second;
    llmgpu_session *stranger = api_session(&f, 64, GREEDY);
    REQUIRE_INT(llmgpu_session_restore(stranger, t->state, t->state_size), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_save(s, LLMGPU_STATE_FULL, stranger, t->state, sizeof(t->state), &t->n), ==,
                LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_chat_feed(t->chat, stranger, LLMGPU_CHAT_FALLBACK), ==, LLMGPU_E_INVALID);
    llmgpu_session_free(stranger);
    llmgpu_model_free(second);
    llmgpu_model_free(words);
    llmgpu_session_free(s);
}

/** Saved states that are cut off or were never one leave the session as it was. */
static void test_garbage(struct things *t)
{
    struct test_rng rng = {1};
    static char state[sizeof(t->state)];
    int32_t expected[4], found[4];
    size_t size;
    begin_call(t);
    REQUIRE_INT(llmgpu_session_save(t->other, LLMGPU_STATE_FULL, NULL, t->state, sizeof(t->state), &size), ==, 0);
    api_take(t->s, expected, 4);
    begin_call(t);
    for (size_t n = 0; n < size; n += 1 + n / 16)
        REQUIRE_INT(llmgpu_session_restore(t->s, t->state, n), <, 0);
    for (int i = 0; i < 300; i++) {
        memcpy(state, t->state, size);
        for (uint32_t k = test_randu(&rng, 1, 8); k > 0; k--)
            state[test_randu(&rng, 0, (uint32_t)size - 1)] ^= (char)test_randu(&rng, 1, 255);
        if (i % 3 == 0)
            for (size_t k = 0; k < size; k++)
                state[k] = (char)test_rand(&rng);
        REQUIRE_INT(llmgpu_session_restore(t->s, state, size), <, 0);
    }
    api_take(t->s, found, 4);
    require_same(found, expected, 4);
}

int main(int argc, char **argv)
{
    static struct things t;
    open_things(&t, argc > 1 ? argv[1] : "cpu");
    test_null(&t);
    test_order(&t);
    test_garbage(&t);
    close_things(&t);
    return 0;
}
