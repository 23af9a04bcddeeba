/* SPDX-License-Identifier: MIT
 *
 * What programs give that is out of range, on the device that the first argument names: structs of the wrong size, which
 * are those of older and newer programs too, and numbers that mean nothing. Each is refused with a code, and none does
 * harm.
 */
#include <float.h>

#include "things.h"

/* ---- structs of wrong sizes */

enum { LARGEST = 4096, FILL = 0xa5 }; // no struct is larger, so no library takes one for real

/** A function that fills a struct of the caller's. */
static int fill_context_params(struct things *t, void *out, size_t size)
{
    (void)t;
    return llmgpu_context_params_init(out, size);
}

static int fill_model_params(struct things *t, void *out, size_t size)
{
    (void)t;
    return llmgpu_model_params_init(out, size);
}

static int fill_session_params(struct things *t, void *out, size_t size)
{
    (void)t;
    return llmgpu_session_params_init(out, size);
}

static int fill_sampler_params(struct things *t, void *out, size_t size)
{
    (void)t;
    return llmgpu_sampler_params_init(out, size);
}

static int fill_device(struct things *t, void *out, size_t size)
{
    return llmgpu_context_get_device(t->f.ctx, out, size);
}

static int fill_listed_device(struct things *t, void *out, size_t size)
{
    return llmgpu_device_list_get(t->list, 0, out, size);
}

static int fill_context_stats(struct things *t, void *out, size_t size)
{
    return llmgpu_context_get_stats(t->f.ctx, out, size);
}

static int fill_file_info(struct things *t, void *out, size_t size)
{
    return llmgpu_file_get_info(t->file, out, size);
}

static int fill_metadata(struct things *t, void *out, size_t size)
{
    return llmgpu_file_get_metadata(t->file, 0, out, size);
}

static int fill_value(struct things *t, void *out, size_t size)
{
    return llmgpu_file_get_value(t->file, 0, 0, out, size);
}

static int fill_tensor(struct things *t, void *out, size_t size)
{
    return llmgpu_file_get_tensor(t->file, 0, out, size);
}

static int fill_estimate(struct things *t, void *out, size_t size)
{
    return llmgpu_model_estimate(out, size, t->f.ctx, t->model_path, NULL, NULL, 1);
}

static int fill_model_info(struct things *t, void *out, size_t size)
{
    return llmgpu_model_get_info(t->f.model, out, size);
}

static int fill_session_stats(struct things *t, void *out, size_t size)
{
    return llmgpu_session_get_stats(t->s, out, size);
}

static int fill_lora_info(struct things *t, void *out, size_t size)
{
    return llmgpu_lora_get_info(t->lora, out, size);
}

static int fill_quantize_params(struct things *t, void *out, size_t size)
{
    (void)t;
    return llmgpu_quantize_params_init(out, size);
}

static int fill_agents_params(struct things *t, void *out, size_t size)
{
    (void)t;
    return llmgpu_agents_params_init(out, size);
}

static int fill_agent_params(struct things *t, void *out, size_t size)
{
    (void)t;
    return llmgpu_agent_params_init(out, size);
}

static int fill_request(struct things *t, void *out, size_t size)
{
    (void)t;
    return llmgpu_request_init(out, size);
}

static int fill_result(struct things *t, void *out, size_t size)
{
    return llmgpu_agents_take(t->agents, 0, out, size, NULL, 0);
}

static int fill_agents_stats(struct things *t, void *out, size_t size)
{
    return llmgpu_agents_get_stats(t->agents, out, size);
}

static int fill_profile_info(struct things *t, void *out, size_t size)
{
    return llmgpu_profile_get_info(t->profile, out, size);
}

static int fill_profile_row(struct things *t, void *out, size_t size)
{
    return llmgpu_profile_get_row(t->profile, 0, out, size);
}

static int fill_dataset_params(struct things *t, void *out, size_t size)
{
    (void)t;
    return llmgpu_dataset_params_init(out, size);
}

static int fill_batch(struct things *t, void *out, size_t size)
{
    int rc = llmgpu_dataset_next(t->dataset, out, size);
    return rc == 1 ? 0 : rc;
}

static int fill_dataset_stats(struct things *t, void *out, size_t size)
{
    return llmgpu_dataset_get_stats(t->dataset, out, size);
}

static int fill_dataset_counts(struct things *t, void *out, size_t size)
{
    return llmgpu_dataset_count(t->dataset, out, size);
}

static int fill_trainer_params(struct things *t, void *out, size_t size)
{
    (void)t;
    return llmgpu_trainer_params_init(out, size);
}

static int fill_trainer_info(struct things *t, void *out, size_t size)
{
    return llmgpu_trainer_get_info(t->trainer, out, size);
}

static int fill_train_tensor(struct things *t, void *out, size_t size)
{
    return llmgpu_trainer_get_tensor(t->trainer, 0, out, size);
}

static const struct filled {
    int (*fill)(struct things *t, void *out, size_t size);
    size_t size;
    bool begins_with_size;
} filled[] = {
    {fill_context_params, sizeof(llmgpu_context_params), true},
    {fill_model_params, sizeof(llmgpu_model_params), true},
    {fill_session_params, sizeof(llmgpu_session_params), true},
    {fill_sampler_params, sizeof(llmgpu_sampler_params), true},
    {fill_device, sizeof(llmgpu_device_info), false},
    {fill_listed_device, sizeof(llmgpu_device_info), false},
    {fill_context_stats, sizeof(llmgpu_context_stats), false},
    {fill_file_info, sizeof(llmgpu_file_info), false},
    {fill_metadata, sizeof(llmgpu_file_metadata), false},
    {fill_value, sizeof(llmgpu_file_value), false},
    {fill_tensor, sizeof(llmgpu_file_tensor), false},
    {fill_estimate, sizeof(llmgpu_estimate), false},
    {fill_model_info, sizeof(llmgpu_model_info), false},
    {fill_session_stats, sizeof(llmgpu_session_stats), false},
    {fill_lora_info, sizeof(llmgpu_lora_info), false},
    {fill_quantize_params, sizeof(llmgpu_quantize_params), true},
    {fill_agents_params, sizeof(llmgpu_agents_params), true},
    {fill_agent_params, sizeof(llmgpu_agent_params), true},
    {fill_request, sizeof(llmgpu_request), true},
    {fill_result, sizeof(llmgpu_result), false},
    {fill_agents_stats, sizeof(llmgpu_agents_stats), false},
    {fill_profile_info, sizeof(llmgpu_profile_info), false},
    {fill_profile_row, sizeof(llmgpu_profile_row), false},
    {fill_dataset_params, sizeof(llmgpu_dataset_params), true},
    {fill_batch, sizeof(llmgpu_batch), false},
    {fill_dataset_stats, sizeof(llmgpu_dataset_stats), false},
    {fill_dataset_counts, sizeof(llmgpu_dataset_stats), false},
    {fill_trainer_params, sizeof(llmgpu_trainer_params), true},
    {fill_trainer_info, sizeof(llmgpu_trainer_info), false},
    {fill_train_tensor, sizeof(llmgpu_train_tensor), false},
};

/** What a library that knows `own` bytes does for a caller who has room for `size`. */
static void check_fill(struct things *t, const struct filled *f, size_t size)
{
    static uint8_t out[LARGEST + 64];
    bool good = size >= f->size && size <= LARGEST;
    memset(out, FILL, sizeof(out));
    REQUIRE_INT(f->fill(t, out, size), ==, good ? 0 : LLMGPU_E_INVALID);
    for (size_t i = good ? size : 0; i < sizeof(out); i++)
        REQUIRE_INT(out[i], ==, FILL); // what is not the caller's struct is not touched
    for (size_t i = f->size; good && i < size; i++)
        REQUIRE_INT(out[i], ==, 0); // and what the library does not know is zero
    uint32_t said;
    memcpy(&said, out, sizeof(said));
    REQUIRE(!good || !f->begins_with_size || said == size);
}

static void test_filled(struct things *t)
{
    for (size_t i = 0; i < sizeof(filled) / sizeof(filled[0]); i++) {
        size_t own = filled[i].size;
        // structs have grown by up to three times since they were first there: a quarter is too small for any version
        const size_t sizes[] = {0, 1, 3, own / 4, own, own + 64, LARGEST, LARGEST + 1, 1 << 20, UINT32_MAX, SIZE_MAX};
        for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
            check_fill(t, &filled[i], sizes[k]);
    }
}

/** A function that is given a struct which says its size. */
static int give_context_params(struct things *t, const void *params)
{
    llmgpu_context *made;
    (void)t;
    int rc = llmgpu_context_create(&made, params);
    llmgpu_context_free(made);
    return rc;
}

static int give_load_params(struct things *t, const void *params)
{
    llmgpu_model *made;
    int rc = llmgpu_model_load(&made, t->f.ctx, t->model_path, params);
    llmgpu_model_free(made);
    return rc;
}

static int give_memory_params(struct things *t, const void *params)
{
    llmgpu_model *made;
    int rc = llmgpu_model_load_memory(&made, t->f.ctx, api_tiny()->file.data, api_tiny()->file.size, params);
    llmgpu_model_free(made);
    return rc;
}

static int give_io_params(struct things *t, const void *params)
{
    llmgpu_model *made;
    int rc = llmgpu_model_load_io(&made, t->f.ctx, &t->io, params);
    llmgpu_model_free(made);
    return rc;
}

static int give_io(struct things *t, const void *io)
{
    llmgpu_model *made;
    int rc = llmgpu_model_load_io(&made, t->f.ctx, io, NULL);
    llmgpu_model_free(made);
    return rc;
}

static int give_estimate_params(struct things *t, const void *params)
{
    return llmgpu_model_estimate(&t->info.estimate, sizeof(t->info.estimate), t->f.ctx, t->model_path, params, NULL, 1);
}

static int give_estimate_session(struct things *t, const void *params)
{
    return llmgpu_model_estimate(&t->info.estimate, sizeof(t->info.estimate), t->f.ctx, t->model_path, NULL, params, 1);
}

static int give_session_params(struct things *t, const void *params)
{
    llmgpu_session *made;
    int rc = llmgpu_session_create(&made, t->f.model, params);
    llmgpu_session_free(made);
    return rc;
}

static int give_sampler_params(struct things *t, const void *params)
{
    return llmgpu_session_set_sampler(t->s, params);
}

/** One that is refused later, at the latest because nothing is in it. */
static int give_vulkan_device(struct things *t, const void *device)
{
    llmgpu_context *made;
    llmgpu_context_params p = t->context_params;
    p.device = NULL;
    p.vulkan = device;
    int rc = llmgpu_context_create(&made, &p);
    llmgpu_context_free(made);
    REQUIRE_INT(rc, <, 0);
    return rc;
}

static void check_give(struct things *t, int (*give)(struct things *t, const void *params), const void *good, size_t own)
{
    static uint8_t params[LARGEST + 64];
    const uint32_t bad[] = {0, 3, (uint32_t)own / 2, LARGEST + 1, 1 << 20, UINT32_MAX};
    memset(params, 0, sizeof(params));
    memcpy(params, good, own);
    int usual = give(t, params);
    REQUIRE(usual == 0 || give == give_vulkan_device);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        memcpy(params, &bad[i], sizeof(bad[i]));
        REQUIRE_INT(give(t, params), ==, LLMGPU_E_INVALID);
    }
    const uint32_t larger[] = {(uint32_t)own + 1, (uint32_t)own + 64, LARGEST};
    for (size_t i = 0; i < sizeof(larger) / sizeof(larger[0]); i++) {
        memcpy(params, &larger[i], sizeof(larger[i]));
        REQUIRE_INT(give(t, params), ==, usual); // a caller who is newer, and wants nothing of it
        params[larger[i] - 1] = 1;
        REQUIRE_INT(give(t, params), ==, LLMGPU_E_UNSUPPORTED);
        params[larger[i] - 1] = 0;
    }
}

static void test_given(struct things *t)
{
    llmgpu_model_params model;
    llmgpu_session_params session = api_params(64);
    llmgpu_sampler_params sampler;
    llmgpu_vulkan_device vulkan = {.size = sizeof(vulkan)};
    llmgpu_model_params_init(&model, sizeof(model));
    llmgpu_sampler_params_init(&sampler, sizeof(sampler));
    check_give(t, give_context_params, &t->context_params, sizeof(t->context_params));
    check_give(t, give_load_params, &model, sizeof(model));
    check_give(t, give_memory_params, &model, sizeof(model));
    check_give(t, give_io_params, &model, sizeof(model));
    check_give(t, give_io, &t->io, sizeof(t->io));
    check_give(t, give_estimate_params, &model, sizeof(model));
    check_give(t, give_estimate_session, &session, sizeof(session));
    check_give(t, give_session_params, &session, sizeof(session));
    check_give(t, give_sampler_params, &sampler, sizeof(sampler));
    check_give(t, give_vulkan_device, &vulkan, sizeof(vulkan));
}

/* ---- numbers out of range */

static void test_sampler_numbers(struct things *t)
{
    static const struct {
        size_t at;
        float bad[6]; // the last of them again and again
    } members[] = {
        {offsetof(llmgpu_sampler_params, temperature), {-1, -1e-30f, 101, FLT_MAX, INFINITY, NAN}},
        {offsetof(llmgpu_sampler_params, top_p), {0, -1, 1.001f, -INFINITY, INFINITY, NAN}},
        {offsetof(llmgpu_sampler_params, min_p), {-1, 1.001f, -INFINITY, INFINITY, 2, NAN}},
        {offsetof(llmgpu_sampler_params, repeat_penalty), {0, -1, 101, -INFINITY, INFINITY, NAN}},
        {offsetof(llmgpu_sampler_params, frequency_penalty), {-101, 101, -INFINITY, INFINITY, FLT_MAX, NAN}},
        {offsetof(llmgpu_sampler_params, presence_penalty), {-101, 101, -INFINITY, INFINITY, FLT_MAX, NAN}},
    };
    llmgpu_sampler_params p;
    int32_t token;
    begin_call(t);
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        for (int k = 0; k < 6; k++) {
            llmgpu_sampler_params_init(&p, sizeof(p));
            memcpy((char *)&p + members[i].at, &members[i].bad[k], sizeof(float));
            REQUIRE_INT(llmgpu_session_set_sampler(t->s, &p), ==, LLMGPU_E_INVALID);
            REQUIRE(*llmgpu_session_error(t->s));
        }
    }
    llmgpu_sampler_params_init(&p, sizeof(p));
    p.penalty_last_n = 257;
    REQUIRE_INT(llmgpu_session_set_sampler(t->s, &p), ==, LLMGPU_E_INVALID);
    p.penalty_last_n = 256;
    p.reserved = 1;
    REQUIRE_INT(llmgpu_session_set_sampler(t->s, &p), ==, LLMGPU_E_UNSUPPORTED);
    p.reserved = 0;

    // The ends of the ranges are usable.
    static const float ends[][6] = {
        {100, 1, 0, 1, 0, 0},         {1e-38f, 1e-38f, 0, 1e-38f, -100, -100}, {1e-45f, 1, 1, 100, 100, 100},
        {FLT_MIN, 1e-45f, 1, 100, 0, 0}, {0, 1e-38f, 1, 1e-45f, 100, -100},
    };
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        p.temperature = ends[i][0], p.top_p = ends[i][1], p.min_p = ends[i][2], p.repeat_penalty = ends[i][3];
        p.frequency_penalty = ends[i][4], p.presence_penalty = ends[i][5];
        p.top_k = i % 2 ? UINT32_MAX : 1;
        p.seed = UINT64_MAX;
        REQUIRE_INT(llmgpu_session_set_sampler(t->s, &p), ==, 0);
        for (int k = 0; k < 4; k++) {
            api_take(t->s, &token, 1);
            REQUIRE(token >= 0 && (uint32_t)token < t->f.n_vocab);
        }
    }
}

static void test_session_numbers(struct things *t)
{
    static const struct {
        uint32_t n_ctx, n_batch, tokens_per_submit, n_candidates, reserved;
        int rc;
    } all[] = {
        {1, 1, 1, 0, 0, 0},
        {64, 4096, 64, 32, 0, 0},
        {(1 << 24) + 1, 1, 1, 0, 0, LLMGPU_E_INVALID},
        {UINT32_MAX, 1, 1, 0, 0, LLMGPU_E_INVALID},
        {64, 0, 1, 0, 0, LLMGPU_E_INVALID},
        {64, 4097, 1, 0, 0, LLMGPU_E_INVALID},
        {64, UINT32_MAX, 1, 0, 0, LLMGPU_E_INVALID},
        {64, 1, 0, 0, 0, LLMGPU_E_INVALID},
        {64, 1, 65, 0, 0, LLMGPU_E_INVALID},
        {64, 1, UINT32_MAX, 0, 0, LLMGPU_E_INVALID},
        {64, 1, 1, 33, 0, LLMGPU_E_INVALID},
        {64, 1, 1, UINT32_MAX, 0, LLMGPU_E_INVALID},
        {64, 1, 1, 0, 1, LLMGPU_E_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        llmgpu_session_params p = api_params(all[i].n_ctx);
        llmgpu_session *s;
        p.n_batch = all[i].n_batch;
        p.tokens_per_submit = all[i].tokens_per_submit;
        p.n_candidates = all[i].n_candidates;
        p.reserved = all[i].reserved;
        REQUIRE_INT(llmgpu_session_create(&s, t->f.model, &p), ==, all[i].rc);
        REQUIRE((all[i].rc == 0) == (s != NULL));
        REQUIRE(s || *llmgpu_context_error(t->f.ctx));
        REQUIRE_INT(llmgpu_model_estimate(&t->info.estimate, sizeof(t->info.estimate), t->f.ctx, t->model_path, NULL, &p,
                                          1), ==, all[i].rc);
        if (s) { // one token of context is one
            REQUIRE_INT(llmgpu_session_feed(s, t->f.ids, 1), ==, 0);
            REQUIRE_INT(api_next(s, &t->token), ==, LLMGPU_TOKEN);
        }
        llmgpu_session_free(s);
    }
    int rc = llmgpu_model_estimate(&t->info.estimate, sizeof(t->info.estimate), t->f.ctx, t->model_path, NULL, NULL,
                                   UINT32_MAX);
    REQUIRE(rc <= 0);
}

static int fail_read(void *user, uint64_t offset, void *to, size_t n)
{
    (void)user;
    (void)offset;
    (void)to;
    (void)n;
    return -1;
}

static void count_close(void *user)
{
    ++*(int *)user;
}

static void test_load_numbers(struct things *t)
{
    llmgpu_model *m;
    llmgpu_model_params p;
    llmgpu_model_params_init(&p, sizeof(p));
    const void *data = api_tiny()->file.data;
    size_t size = api_tiny()->file.size;
    static const struct {
        uint64_t offset, length;
    } parts[] = {{UINT64_MAX, 0}, {0, UINT64_MAX}, {UINT64_MAX, UINT64_MAX}, {1, 0}, {4, 8}, {0, 16}, {1, UINT64_MAX}};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        p.file_offset = parts[i].offset;
        p.file_length = parts[i].length;
        REQUIRE_INT(llmgpu_model_load(&m, t->f.ctx, t->model_path, &p), <, 0);
        REQUIRE_INT(llmgpu_model_load_memory(&m, t->f.ctx, data, size, &p), <, 0);
        REQUIRE_INT(llmgpu_model_load_io(&m, t->f.ctx, &t->io, &p), <, 0);
        REQUIRE(!m && *llmgpu_context_error(t->f.ctx));
    }
    REQUIRE_INT(llmgpu_model_load_memory(&m, t->f.ctx, data, 0, NULL), ==, LLMGPU_E_FORMAT);
    REQUIRE_INT(llmgpu_model_load_memory(&m, t->f.ctx, data, SIZE_MAX, NULL), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_model_load(&m, t->f.ctx, "", NULL), ==, LLMGPU_E_IO);
    REQUIRE_INT(llmgpu_model_load(&m, t->f.ctx, "/", NULL), ==, LLMGPU_E_IO);

    // Callbacks that lie or fail; what was given to be closed is closed once.
    int n_closed = 0;
    llmgpu_io io = {.size = sizeof(io), .file_size = size, .read = fail_read, .close = count_close, .user = &n_closed};
    REQUIRE_INT(llmgpu_model_load_io(&m, t->f.ctx, &io, NULL), ==, LLMGPU_E_IO);
    io.file_size = UINT64_MAX;
    REQUIRE_INT(llmgpu_model_load_io(&m, t->f.ctx, &io, NULL), ==, LLMGPU_E_INVALID);
    io.read = NULL;
    REQUIRE_INT(llmgpu_model_load_io(&m, t->f.ctx, &io, NULL), ==, LLMGPU_E_INVALID);
    io.reserved = 1;
    REQUIRE_INT(llmgpu_model_load_io(&m, t->f.ctx, &io, NULL), ==, LLMGPU_E_UNSUPPORTED);
    REQUIRE_INT(n_closed, ==, 4);
}

static void release(void *user, void *ptr)
{
    (void)user;
    free(ptr);
}

static void test_context_numbers(struct things *t)
{
    static char name[ROOM];
    char error[64];
    llmgpu_context *ctx;
    llmgpu_context_params p;
    const char *const names[] = {"", "gpu", "vulkan:", "vulkan:-1", "vulkan:99", "vulkan:4294967296", "CPU", name};
    memset(name, 'x', ROOM - 1);
    llmgpu_context_params_init(&p, sizeof(p));
    p.error = error;
    p.error_size = sizeof(error);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        p.device = names[i];
        int rc = llmgpu_context_create(&ctx, &p);
        REQUIRE(rc == LLMGPU_E_NO_DEVICE && !ctx && strlen(error) > 0 && strlen(error) < sizeof(error));
    }
    p.device = t->f.device;
    p.priority = -1;
    REQUIRE_INT(llmgpu_context_create(&ctx, &p), ==, LLMGPU_E_INVALID);
    p.priority = LLMGPU_PRIORITY_REALTIME + 1;
    REQUIRE_INT(llmgpu_context_create(&ctx, &p), ==, LLMGPU_E_INVALID);
    p.priority = LLMGPU_PRIORITY_LOW;
    p.release = release; // one of three
    REQUIRE_INT(llmgpu_context_create(&ctx, &p), ==, LLMGPU_E_INVALID);
    p.release = NULL;
    p.error_size = 1;
    error[0] = 'x';
    REQUIRE_INT(llmgpu_context_create(&ctx, &p), ==, 0);
    REQUIRE_INT(error[0], ==, '\0');
    REQUIRE_INT(llmgpu_context_step(ctx, 0), ==, 0);
    REQUIRE_INT(llmgpu_context_step(ctx, UINT32_MAX), ==, 0);
    llmgpu_context_free(ctx);
}

static void test_token_numbers(struct things *t)
{
    const int32_t bad[] = {-1, INT32_MIN, INT32_MAX, (int32_t)t->f.n_vocab};
    begin_call(t);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int32_t ids[2] = {1, bad[i]};
        REQUIRE_INT(llmgpu_session_feed(t->s, ids, 2), ==, LLMGPU_E_INVALID);
        REQUIRE_INT(llmgpu_session_score(t->s, ids, 2, t->floats, NULL), ==, LLMGPU_E_INVALID);
        REQUIRE_INT(llmgpu_session_score_top(t->s, ids, 2, NULL, 1, t->candidates), ==, LLMGPU_E_INVALID);
        REQUIRE_INT(llmgpu_session_embed(t->s, ids, 2, 0, 0, t->floats), ==, LLMGPU_E_INVALID);
        REQUIRE_INT(llmgpu_session_add_stop_token(t->s, bad[i]), ==, LLMGPU_E_INVALID);
        REQUIRE_INT(llmgpu_detokenize(t->f.model, ids, 2, 0, t->text, ROOM, &t->n), ==, LLMGPU_E_INVALID);
        REQUIRE_INT(llmgpu_decoder_push(t->decoder, bad[i], &t->piece, &t->n), ==, LLMGPU_E_INVALID);
        REQUIRE_INT(llmgpu_model_is_end(t->f.model, bad[i]), ==, 0);
    }
    // A count that cannot be is refused before anything is read.
    const size_t many[] = {65, 1 << 20, SIZE_MAX / 4, SIZE_MAX};
    for (size_t i = 0; i < sizeof(many) / sizeof(many[0]); i++) {
        REQUIRE_INT(llmgpu_session_feed(t->s, t->f.ids, many[i]), ==, LLMGPU_E_CONTEXT_FULL);
        REQUIRE_INT(llmgpu_session_score(t->s, t->f.ids, many[i], NULL, NULL), ==, LLMGPU_E_CONTEXT_FULL);
        REQUIRE_INT(llmgpu_session_score_top(t->s, t->f.ids, many[i], NULL, 1, t->candidates), ==, LLMGPU_E_CONTEXT_FULL);
        REQUIRE_INT(llmgpu_session_embed(t->s, t->f.ids, many[i], 3, 0, t->floats), ==, LLMGPU_E_CONTEXT_FULL);
    }
    REQUIRE_INT(llmgpu_detokenize(t->f.model, t->f.ids, SIZE_MAX, 0, NULL, 0, &t->n), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_tokenize(t->f.model, "a", SIZE_MAX, 0, NULL, 0, &t->n), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_feed_text(t->s, "a", SIZE_MAX, 0), ==, LLMGPU_E_INVALID);
    // None is no failure where that makes sense.
    REQUIRE_INT(llmgpu_session_feed(t->s, NULL, 0), ==, 0);
    REQUIRE_INT(llmgpu_session_feed_text(t->s, NULL, 0, 0), ==, 0);
    REQUIRE_INT(llmgpu_tokenize(t->f.model, NULL, 0, 0, NULL, 0, &t->n), ==, 0);
    REQUIRE_INT(llmgpu_detokenize(t->f.model, NULL, 0, 0, NULL, 0, &t->n), ==, 0);
    REQUIRE_INT(llmgpu_session_score(t->s, t->f.ids, 0, NULL, NULL), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_embed(t->s, t->f.ids, 0, 0, 0, t->floats), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_tokenize(t->f.model, "abc", 3, 0, NULL, 0, &t->n), ==, LLMGPU_E_RANGE);
    REQUIRE_INT(t->n, >, 0);
    REQUIRE_INT(llmgpu_detokenize(t->f.model, t->f.ids, 3, 0, NULL, 0, &t->n), ==, LLMGPU_E_RANGE);
}

static void test_other_numbers(struct things *t)
{
    begin_call(t);
    for (uint32_t flags = 8; flags; flags <<= 1) {
        REQUIRE_INT(llmgpu_tokenize(t->f.model, "a", 1, flags, t->tokens, 256, &t->n), ==, LLMGPU_E_INVALID);
        REQUIRE_INT(llmgpu_detokenize(t->f.model, t->f.ids, 1, flags, t->text, ROOM, &t->n), ==, LLMGPU_E_INVALID);
        REQUIRE_INT(llmgpu_session_feed_text(t->s, "a", 1, flags), ==, LLMGPU_E_INVALID);
        llmgpu_decoder *d;
        REQUIRE_INT(llmgpu_decoder_create(&d, t->f.model, flags), ==, LLMGPU_E_INVALID);
        REQUIRE_INT(llmgpu_chat_render(t->chat, flags, t->text, ROOM, &t->n), ==, LLMGPU_E_INVALID);
        REQUIRE_INT(llmgpu_chat_feed(t->chat, t->s, flags), ==, LLMGPU_E_INVALID);
    }
    REQUIRE_INT(llmgpu_session_rewind(t->s, UINT32_MAX), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_add_stop(t->s, "a", 0), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_add_stop(t->s, t->text, 257), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_add_stop(t->s, t->text, SIZE_MAX), ==, LLMGPU_E_INVALID);
    for (int i = 0; i < 16; i++)
        REQUIRE_INT(llmgpu_session_add_stop(t->s, "stop", 4), ==, 0);
    REQUIRE_INT(llmgpu_session_add_stop(t->s, "stop", 4), ==, LLMGPU_E_LIMIT);
    const int32_t priorities[] = {-9, 9, INT32_MIN, INT32_MAX};
    for (int i = 0; i < 4; i++)
        REQUIRE_INT(llmgpu_session_set_priority(t->s, priorities[i]), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_set_priority(t->s, -8), ==, 0);
    REQUIRE_INT(llmgpu_session_set_deadline(t->s, UINT32_MAX), ==, 0);
    REQUIRE_INT(llmgpu_session_wait(t->s, 0), ==, LLMGPU_E_TIMEOUT);
    REQUIRE_INT(llmgpu_session_wait(t->s, UINT64_MAX - 1), ==, 0);
    const int kinds[] = {-1, 2, INT32_MAX, INT32_MIN};
    for (int i = 0; i < 4; i++) {
        REQUIRE_INT(llmgpu_session_save(t->s, kinds[i], NULL, t->state, sizeof(t->state), &t->n), ==, LLMGPU_E_INVALID);
        REQUIRE_INT(llmgpu_session_save_file(t->s, kinds[i], NULL, t->state_path), ==, LLMGPU_E_INVALID);
        REQUIRE_INT(llmgpu_session_embed(t->s, t->f.ids, 2, kinds[i] == 2 ? 4 : kinds[i], 0, t->floats), ==,
                    LLMGPU_E_INVALID);
    }
    const uint32_t tops[] = {0, 33, UINT32_MAX};
    for (int i = 0; i < 3; i++)
        REQUIRE_INT(llmgpu_session_score_top(t->s, t->f.ids, 2, NULL, tops[i], t->candidates), ==, LLMGPU_E_INVALID);
    const llmgpu_logit_bias biases[] = {{-1, 1}, {(int32_t)t->f.n_vocab, 1}, {INT32_MIN, 1}, {INT32_MAX, 1}, {0, 1000.5f},
                                        {0, -1001}, {0, NAN}, {0, INFINITY}};
    for (int i = 0; i < 8; i++)
        REQUIRE_INT(llmgpu_session_set_logit_bias(t->s, &biases[i], 1), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_set_logit_bias(t->s, biases, 257), ==, LLMGPU_E_LIMIT);
    REQUIRE_INT(llmgpu_session_set_logit_bias(t->s, biases, SIZE_MAX), ==, LLMGPU_E_LIMIT);
    const float scales[] = {NAN, INFINITY, -INFINITY, 101, -101};
    for (int i = 0; i < 5; i++)
        REQUIRE_INT(llmgpu_session_set_lora(t->s, t->lora, scales[i]), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_profile_get_row(t->profile, UINT32_MAX, &t->info.profile_row, sizeof(t->info.profile_row)), ==,
                LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_file_get_metadata(t->file, UINT64_MAX, &t->info.metadata, sizeof(t->info.metadata)), ==,
                LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_file_get_value(t->file, UINT64_MAX, 0, &t->info.value, sizeof(t->info.value)), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_file_get_value(t->file, 0, UINT64_MAX, &t->info.value, sizeof(t->info.value)), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_file_get_tensor(t->file, UINT64_MAX, &t->info.tensor, sizeof(t->info.tensor)), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_device_list_get(t->list, UINT32_MAX, &t->info.device, sizeof(t->info.device)), ==, LLMGPU_E_INVALID);
    for (int status = -200; status < 50; status++)
        REQUIRE_INT(is_text(llmgpu_status_name(status)), ==, 0);
    REQUIRE_INT(is_text(llmgpu_status_name(INT32_MIN)), ==, 0);
    REQUIRE_INT(is_text(llmgpu_status_name(INT32_MAX)), ==, 0);
}

/** Each of these is refused. */
static void check_agents(struct things *t, size_t at, uint32_t value, int code)
{
    llmgpu_agents *made;
    llmgpu_agents_params p;
    REQUIRE_INT(llmgpu_agents_params_init(&p, sizeof(p)), ==, 0);
    memcpy((char *)&p + at, &value, sizeof(value));
    REQUIRE_INT(llmgpu_agents_create(&made, t->f.model, &p), ==, code);
    REQUIRE(!made && llmgpu_model_error(t->f.model)[0]);
}

static void test_agents(struct things *t)
{
    const int32_t nobody[] = {-1, 1, 63, 64, INT32_MAX, INT32_MIN};
    const int32_t tokens[] = {-1, (int32_t)t->f.n_vocab, INT32_MAX};
    char name[80];
    begin_call(t);
    check_agents(t, offsetof(llmgpu_agents_params, max_requests), 0, LLMGPU_E_INVALID);
    check_agents(t, offsetof(llmgpu_agents_params, max_requests), 65537, LLMGPU_E_INVALID);
    check_agents(t, offsetof(llmgpu_agents_params, max_owners), 0, LLMGPU_E_INVALID);
    check_agents(t, offsetof(llmgpu_agents_params, max_owners), UINT32_MAX, LLMGPU_E_INVALID);
    check_agents(t, offsetof(llmgpu_agents_params, max_mail), 0, LLMGPU_E_INVALID);
    check_agents(t, offsetof(llmgpu_agents_params, max_mail), 4097, LLMGPU_E_INVALID);
    check_agents(t, offsetof(llmgpu_agents_params, max_text), 0, LLMGPU_E_INVALID);
    check_agents(t, offsetof(llmgpu_agents_params, max_text), (1 << 24) + 1, LLMGPU_E_INVALID);
    check_agents(t, offsetof(llmgpu_agents_params, ageing_ms), (1 << 24) + 1, LLMGPU_E_INVALID);
    check_agents(t, offsetof(llmgpu_agents_params, reserved), 1, LLMGPU_E_UNSUPPORTED);
    for (size_t i = 0; i < sizeof(nobody) / sizeof(nobody[0]); i++) {
        REQUIRE_INT(llmgpu_agents_remove(t->agents, nobody[i]), ==, LLMGPU_E_INVALID);
        REQUIRE_INT(llmgpu_agents_mail(t->agents, nobody[i], NULL, "a", 1), ==, LLMGPU_E_INVALID);
        llmgpu_request r = t->request;
        r.mail_to = nobody[i];
        REQUIRE_INT(llmgpu_agents_submit(t->agents, &r, NULL), ==, nobody[i] == -1 ? 0 : LLMGPU_E_INVALID);
        r = t->request;
        r.agent = nobody[i];
        REQUIRE_INT(llmgpu_agents_submit(t->agents, &r, NULL), ==, nobody[i] == -1 ? 0 : LLMGPU_E_INVALID);
        r = t->request;
        r.tokens = tokens + i % 3;
        r.n_tokens = 1;
        REQUIRE_INT(llmgpu_agents_submit(t->agents, &r, NULL), ==, LLMGPU_E_INVALID);
        r = t->request;
        r.priority = i % 2 ? 17 : -17;
        REQUIRE_INT(llmgpu_agents_submit(t->agents, &r, NULL), ==, LLMGPU_E_INVALID);
    }
    REQUIRE_INT(llmgpu_agents_mail(t->agents, 0, NULL, "a", SIZE_MAX), ==, LLMGPU_E_LIMIT);
    llmgpu_request r = t->request;
    r.len = SIZE_MAX;
    REQUIRE_INT(llmgpu_agents_submit(t->agents, &r, NULL), ==, LLMGPU_E_LIMIT);
    r = t->request;
    r.flags = 1u << 31;
    REQUIRE_INT(llmgpu_agents_submit(t->agents, &r, NULL), ==, LLMGPU_E_INVALID);
    memset(name, 'a', sizeof(name));
    name[64] = '\0';
    r = t->request;
    r.owner = name;
    REQUIRE_INT(llmgpu_agents_submit(t->agents, &r, NULL), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_agents_set_quota(t->agents, name, 1, 1, 1), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_agents_set_quota(t->agents, name + 1, UINT32_MAX, UINT32_MAX, UINT32_MAX), ==, 0);
    r.owner = name + 1;
    r.max_wait_ms = r.max_run_ms = r.max_tokens = UINT32_MAX;
    REQUIRE_INT(llmgpu_agents_submit(t->agents, &r, NULL), ==, 0);
    REQUIRE_INT(llmgpu_agents_cancel(t->agents, UINT64_MAX), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_agents_cancel(t->agents, 0), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_agents_take(t->agents, UINT64_MAX, &t->info.result, sizeof(t->info.result), NULL, 0), ==,
                LLMGPU_TAKE_NOTHING);
    REQUIRE_INT(llmgpu_context_step(t->f.ctx, UINT32_MAX), >, 0);
    REQUIRE_INT(llmgpu_agents_wait(t->agents, 0, UINT64_MAX - 1), ==, 0);
}

static void test_chat(struct things *t)
{
    static char deep[ROOM];
    const char *const bad[] = {"", "{", "[]", "1", "\"a\"", "{\"a\":}", "{} {}", "nul", deep};
    llmgpu_chat *chat;
    begin_call(t);
    memset(deep, '[', ROOM - 1);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        REQUIRE_INT(llmgpu_chat_add_json(t->chat, bad[i]), ==, LLMGPU_E_FORMAT);
    REQUIRE_INT(llmgpu_chat_set_tools(t->chat, "{}"), ==, LLMGPU_E_FORMAT);
    REQUIRE_INT(llmgpu_chat_set_variable(t->chat, "a", "{"), ==, LLMGPU_E_FORMAT);
    REQUIRE_INT(llmgpu_chat_set_variable(t->chat, "none", NULL), ==, 0);
    REQUIRE_INT(llmgpu_chat_count(t->chat), ==, 1);
    REQUIRE_INT(llmgpu_chat_truncate(t->chat, 2), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_chat_render(t->chat, 0, t->text, ROOM, &t->n), ==, LLMGPU_E_TEMPLATE); // the model has none
    REQUIRE_INT(llmgpu_chat_render(t->chat, LLMGPU_CHAT_FALLBACK, NULL, 0, &t->n), ==, LLMGPU_E_RANGE);
    REQUIRE_INT(t->n, >, 0);
    REQUIRE_INT(llmgpu_chat_create(&chat, t->f.model, "a", SIZE_MAX), ==, LLMGPU_E_NOMEM);
    REQUIRE(!chat);
    REQUIRE_INT(llmgpu_chat_create(&chat, t->f.model, "{% for", 6), ==, 0); // told when it is used
    REQUIRE_INT(llmgpu_chat_render(chat, 0, t->text, ROOM, &t->n), ==, LLMGPU_E_TEMPLATE);
    REQUIRE_INT(llmgpu_chat_feed(chat, t->s, 0), ==, LLMGPU_E_TEMPLATE);
    llmgpu_chat_free(chat);
}

int main(int argc, char **argv)
{
    static struct things t;
    open_things(&t, argc > 1 ? argv[1] : "cpu");
    test_filled(&t);
    test_given(&t);
    test_sampler_numbers(&t);
    test_session_numbers(&t);
    test_load_numbers(&t);
    test_context_numbers(&t);
    test_token_numbers(&t);
    test_other_numbers(&t);
    test_agents(&t);
    test_chat(&t);
    close_things(&t);
    return 0;
}
