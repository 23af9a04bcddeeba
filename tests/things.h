/* SPDX-License-Identifier: MIT
 *
 * One of each thing that the public API makes, for tests of calls that are wrong.
 */
#ifndef LG_TESTS_THINGS_H
#define LG_TESTS_THINGS_H

#include <sys/stat.h>
#include <unistd.h>

#include "api.h"
#include "lora_build.h"

enum { ROOM = 4096 };

/** One of each thing, and places for results. */
struct things {
    struct api f;
    llmgpu_session *s, *other;
    llmgpu_chat *chat;
    llmgpu_decoder *decoder;
    llmgpu_lora *lora;
    llmgpu_agents *agents;
    llmgpu_session *worker; // of their only agent
    llmgpu_profile *profile;
    llmgpu_sensors *sensors;
    llmgpu_sensor_params sensor_params;
    llmgpu_pacer *pacer;
    llmgpu_pacer_params pacer_params;
    llmgpu_dataset *dataset;
    llmgpu_trainer *trainer;
    llmgpu_model_cache *cache; // knows a model "tiny"
    llmgpu_file *file;
    llmgpu_device_list *list;
    char model_path[64], lora_path[64], state_path[64], data_path[64], folder[64], out_path[64];
    const char *data_paths[1];
    char state[1 << 16];
    size_t state_size;
    llmgpu_context_params context_params;
    llmgpu_model_params model_params;
    llmgpu_session_params session_params;
    llmgpu_sampler_params sampler_params;
    llmgpu_agents_params agents_params;
    llmgpu_agent_params agent_params;
    llmgpu_request request;
    uint64_t id;
    llmgpu_model_cache_params cache_params;
    llmgpu_dataset_params dataset_params;
    llmgpu_trainer_params trainer_params;
    uint8_t place[1024], counts[256];
    size_t place_size;
    llmgpu_quantize_params quantize_params;
    llmgpu_merge_adapter adapter;
    llmgpu_io io;
    int32_t token, tokens[256];
    float floats[ROOM];
    llmgpu_candidate candidates[64];
    llmgpu_logit_bias bias;
    char text[ROOM];
    const char *piece;
    size_t n;
    double number;
    union {
        llmgpu_device_info device;
        llmgpu_context_stats context_stats;
        llmgpu_model_info model;
        llmgpu_lora_info lora;
        llmgpu_result result;
        llmgpu_agents_stats agents_stats;
        llmgpu_model_cache_entry cache_entry;
        llmgpu_model_cache_stats cache_stats;
        llmgpu_profile_info profile;
        llmgpu_profile_row profile_row;
        llmgpu_dataset_stats dataset_stats;
        llmgpu_batch batch;
        llmgpu_trainer_info trainer;
        llmgpu_train_tensor train_tensor;
        llmgpu_train_result train_result;
        llmgpu_reading reading;
        llmgpu_energy energy;
        llmgpu_pacer_stats pacer_stats;
        llmgpu_file_info file;
        llmgpu_file_metadata metadata;
        llmgpu_file_value value;
        llmgpu_file_tensor tensor;
        llmgpu_estimate estimate;
        llmgpu_session_stats session_stats;
    } info;
};

static inline void write_file(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    REQUIRE(file);
    REQUIRE_INT(fwrite(data, 1, size, file), ==, size);
    REQUIRE_INT(fclose(file), ==, 0);
}

static inline int read_tiny(void *user, uint64_t offset, void *to, size_t n)
{
    (void)user;
    memcpy(to, api_tiny()->file.data + offset, n);
    return 0;
}

/** A session that could go on, as every call finds it. */
static inline void begin_call(struct things *t)
{
    REQUIRE_INT(llmgpu_context_stop(t->f.ctx), ==, 0);
    REQUIRE_INT(llmgpu_session_reset(t->s), ==, 0);
    REQUIRE_INT(llmgpu_session_set_deadline(t->s, 0), ==, 0);
    REQUIRE_INT(llmgpu_session_set_notify(t->s, NULL, NULL), ==, 0);
    REQUIRE_INT(llmgpu_session_clear_stops(t->s), ==, 0);
    REQUIRE_INT(llmgpu_session_set_remaining(t->s, UINT32_MAX), ==, 0);
    REQUIRE_INT(llmgpu_session_set_sampler(t->s, NULL), ==, 0);
    REQUIRE_INT(llmgpu_session_set_logit_bias(t->s, NULL, 0), ==, 0);
    REQUIRE_INT(llmgpu_session_set_mask(t->s, NULL, NULL), ==, 0);
    int rc = llmgpu_session_feed(t->s, t->f.ids, 5);
    if (rc == LLMGPU_E_CANCELLED)
        rc = llmgpu_session_feed(t->s, t->f.ids, 5);
    REQUIRE_INT(rc, ==, 0);
    api_take(t->s, &t->token, 1);
    while (llmgpu_agents_take(t->agents, 0, &t->info.result, sizeof(t->info.result), t->text, ROOM) == LLMGPU_TAKEN) {
    }
    REQUIRE_INT(llmgpu_chat_truncate(t->chat, 0), ==, 0);
    REQUIRE_INT(llmgpu_chat_add(t->chat, "user", "Who are you?"), ==, 0);
}

/** A folder with a model of that name in it, and a cache that has looked there. */
static inline void open_cache(struct things *t)
{
    char path[sizeof(t->folder) + 16];
    snprintf(t->folder, sizeof(t->folder), "/tmp/llmgpu-misuse-%d", (int)getpid());
    snprintf(path, sizeof(path), "%s/tiny.gguf", t->folder);
    REQUIRE(mkdir(t->folder, 0700) == 0);
    write_file(path, api_tiny()->file.data, api_tiny()->file.size);
    llmgpu_model_cache_params_init(&t->cache_params, sizeof(t->cache_params));
    REQUIRE_INT(llmgpu_model_cache_create(&t->cache, t->f.ctx, &t->cache_params), ==, 0);
    REQUIRE_INT(llmgpu_model_cache_scan(t->cache, t->folder), ==, 1);
}

static inline void close_cache(struct things *t)
{
    char path[sizeof(t->folder) + 16];
    snprintf(path, sizeof(path), "%s/tiny.gguf", t->folder);
    llmgpu_model_cache_free(t->cache);
    unlink(path);
    rmdir(t->folder);
}

/** A data set of a few tokens, and a place in it. */
static inline void open_data(struct things *t)
{
    static const char lines[] = "{\"tokens\":[1,2,3]}\n{\"tokens\":[2,3,1,2]}\n{\"tokens\":[3,1]}\n";
    snprintf(t->data_path, sizeof(t->data_path), "/tmp/llmgpu-misuse-%d.jsonl", (int)getpid());
    write_file(t->data_path, lines, sizeof(lines) - 1);
    t->data_paths[0] = t->data_path;
    llmgpu_dataset_params_init(&t->dataset_params, sizeof(t->dataset_params));
    t->dataset_params.n_ctx = 16;
    REQUIRE_INT(llmgpu_dataset_open(&t->dataset, t->f.model, t->data_paths, 1, &t->dataset_params), ==, 0);
    REQUIRE_INT(llmgpu_dataset_save(t->dataset, t->place, sizeof(t->place), &t->place_size), ==, 0);
}

/** A small trainer. */
static inline void open_trainer(struct things *t)
{
    llmgpu_trainer_params_init(&t->trainer_params, sizeof(t->trainer_params));
    t->trainer_params.max_rows = 16;
    t->trainer_params.rank = 2;
    REQUIRE_INT(llmgpu_trainer_create(&t->trainer, t->f.model, &t->trainer_params), ==, 0);
}

static inline void open_things(struct things *t, const char *device)
{
    static struct model_build adapter;
    const struct lora_shape shape = {.rank = 2, .alpha = 4, .a_type = LG_TYPE_F32, .b_type = LG_TYPE_F32};
    memset(t, 0, sizeof(*t));
    api_open_tiny(&t->f, device, NULL);
    snprintf(t->model_path, sizeof(t->model_path), "/tmp/llmgpu-misuse-%d.gguf", (int)getpid());
    snprintf(t->lora_path, sizeof(t->lora_path), "/tmp/llmgpu-misuse-%d.lora.gguf", (int)getpid());
    t->adapter = (llmgpu_merge_adapter){.path = t->lora_path, .scale = 1};
    snprintf(t->out_path, sizeof(t->out_path), "/tmp/llmgpu-misuse-%d.out.gguf", (int)getpid());
    snprintf(t->state_path, sizeof(t->state_path), "/tmp/llmgpu-misuse-%d.state", (int)getpid());
    write_file(t->model_path, api_tiny()->file.data, api_tiny()->file.size);
    lora_write(&adapter, api_tiny(), &shape, 1);
    write_file(t->lora_path, adapter.file.data, adapter.file.size);

    llmgpu_context_params_init(&t->context_params, sizeof(t->context_params));
    t->context_params.device = device;
    llmgpu_model_params_init(&t->model_params, sizeof(t->model_params));
    t->session_params = api_params(64);
    t->session_params.n_candidates = 4;
    llmgpu_sampler_params_init(&t->sampler_params, sizeof(t->sampler_params));
    t->io = (llmgpu_io){.size = sizeof(t->io), .file_size = api_tiny()->file.size, .read = read_tiny};
    llmgpu_agents_params_init(&t->agents_params, sizeof(t->agents_params));
    llmgpu_agent_params_init(&t->agent_params, sizeof(t->agent_params));
    llmgpu_request_init(&t->request, sizeof(t->request));
    t->request.text = "a";
    t->request.len = 1;
    t->request.max_tokens = 2;
    REQUIRE_INT(llmgpu_agents_create(&t->agents, t->f.model, &t->agents_params), ==, 0);
    t->worker = api_session(&t->f, 64, GREEDY);
    REQUIRE_INT(llmgpu_agents_add(t->agents, t->worker, &t->agent_params), ==, 0);
    t->s = api_session_with(&t->f, &t->session_params, GREEDY);
    t->other = api_asked(&t->f, 64, GREEDY);
    REQUIRE_INT(llmgpu_chat_create(&t->chat, t->f.model, NULL, 0), ==, 0);
    REQUIRE_INT(llmgpu_decoder_create(&t->decoder, t->f.model, 0), ==, 0);
    REQUIRE_INT(llmgpu_lora_load(&t->lora, t->f.model, t->lora_path), ==, 0);
    llmgpu_sensor_params_init(&t->sensor_params, sizeof(t->sensor_params));
    t->sensor_params.device = "cpu";
    t->sensor_params.root = "/nowhere";
    REQUIRE_INT(llmgpu_sensors_open(&t->sensors, &t->sensor_params), ==, 0);
    llmgpu_pacer_params_init(&t->pacer_params, sizeof(t->pacer_params));
    REQUIRE_INT(llmgpu_pacer_create(&t->pacer, &t->pacer_params), ==, 0);
    REQUIRE_INT(llmgpu_profile_create(&t->profile, t->other, LLMGPU_PROFILE_DECODE, 1, 1), ==, 0);
    open_cache(t);
    open_data(t);
    open_trainer(t);
    REQUIRE_INT(llmgpu_file_open(&t->file, t->model_path, NULL, 0), ==, 0);
    REQUIRE_INT(llmgpu_device_list_create(&t->list), ==, 0);
    REQUIRE_INT(llmgpu_session_save(t->other, LLMGPU_STATE_COMPACT, NULL, t->state, sizeof(t->state), &t->state_size),
                ==, 0);
    REQUIRE_INT(llmgpu_session_save_file(t->other, LLMGPU_STATE_FULL, NULL, t->state_path), ==, 0);
}

static inline void close_things(struct things *t)
{
    unlink(t->model_path);
    unlink(t->lora_path);
    unlink(t->state_path);
    unlink(t->data_path);
    unlink(t->out_path);
    close_cache(t);
    llmgpu_trainer_free(t->trainer);
    llmgpu_dataset_free(t->dataset);
    llmgpu_device_list_free(t->list);
    llmgpu_file_close(t->file);
    llmgpu_agents_free(t->agents);
    llmgpu_session_free(t->worker);
    llmgpu_session_free(t->s);
    llmgpu_session_free(t->other);
    llmgpu_profile_free(t->profile);
    llmgpu_pacer_free(t->pacer);
    llmgpu_sensors_free(t->sensors);
    llmgpu_lora_free(t->lora);
    llmgpu_decoder_free(t->decoder);
    llmgpu_chat_free(t->chat);
    api_close(&t->f);
}

/** 0 when it is a string. */
static inline int is_text(const char *text)
{
    return text && strlen(text) < 600 ? 0 : -1000;
}

#endif
