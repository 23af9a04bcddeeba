/* SPDX-License-Identifier: MIT
 *
 * The bundled model on a device, through the public API: what tests of single features share.
 */
#ifndef LG_TESTS_TAVERN_H
#define LG_TESTS_TAVERN_H

#include "heap.h"
#include "llmgpu/llmgpu.h"

/** What the smith is told of herself, and what she is asked. */
static const char tavern_persona[] =
    "<|im_start|>system\nYour name is Brenna. You are the blacksmith of Oakford. You are "
    "grumpy.<|im_end|>\n";
static const char tavern_question[] = "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n";
static const char tavern_more[] =
    "<|im_end|>\n<|im_start|>user\nWhat do you sell?<|im_end|>\n<|im_start|>assistant\n";

struct tavern {
    struct test_heap heap; // of the context
    llmgpu_context *ctx;
    llmgpu_model *model;
    llmgpu_model_info info;
};

/** Ends the program with TEST_SKIP when there is no such device. */
static inline void tavern_open(struct tavern *t, const char *device, bool check)
{
    char error[512], path[1024];
    llmgpu_context_params p;
    memset(t, 0, sizeof(*t));
    REQUIRE_INT(llmgpu_context_params_init(&p, sizeof(p)), ==, 0);
    p.device = device;
    p.check = check;
    p.precision = LLMGPU_PRECISION_FAST; // scores are held against what is generated
    p.alloc = test_heap_alloc;
    p.resize = test_heap_resize;
    p.release = test_heap_release;
    p.alloc_user = &t->heap;
    p.error = error;
    p.error_size = sizeof(error);
    int rc = llmgpu_context_create(&t->ctx, &p);
    if (rc < 0)
        fprintf(stderr, "%s\n", error);
    if (rc == LLMGPU_E_NO_DEVICE)
        exit(TEST_SKIP);
    REQUIRE_INT(rc, ==, 0);
    REQUIRE(getenv("LLMGPU_BUNDLED"));
    snprintf(path, sizeof(path), "%s/tavern-3.7m-q8_0.gguf", getenv("LLMGPU_BUNDLED"));
    REQUIRE_INT(llmgpu_model_load(&t->model, t->ctx, path, NULL), ==, 0);
    REQUIRE_INT(llmgpu_model_get_info(t->model, &t->info, sizeof(t->info)), ==, 0);
}

static inline void tavern_close(struct tavern *t)
{
    llmgpu_context_stats stats;
    REQUIRE_INT(llmgpu_context_get_stats(t->ctx, &stats, sizeof(stats)), ==, 0);
    REQUIRE_INT(stats.check_messages, ==, 0);
    llmgpu_model_free(t->model);
    llmgpu_context_free(t->ctx);
    REQUIRE_INT(t->heap.live, ==, 0);
}

static inline llmgpu_session_params tavern_params(uint32_t n_ctx)
{
    llmgpu_session_params p;
    REQUIRE_INT(llmgpu_session_params_init(&p, sizeof(p)), ==, 0);
    p.n_ctx = n_ctx;
    p.ignore_end = 1;
    return p;
}

static inline llmgpu_session *tavern_session(struct tavern *t, const llmgpu_session_params *p)
{
    llmgpu_session *s;
    int rc = llmgpu_session_create(&s, t->model, p);
    if (rc < 0)
        fprintf(stderr, "%s\n", llmgpu_context_error(t->ctx));
    REQUIRE_INT(rc, ==, 0);
    return s;
}

static inline void tavern_feed(llmgpu_session *s, const char *text)
{
    REQUIRE_INT(llmgpu_session_feed_text(s, text, strlen(text), LLMGPU_TOKENIZE_PARSE_SPECIAL), ==, 0);
}

/** The next token, once it is there. */
static inline int tavern_next(llmgpu_session *s, int32_t *token)
{
    int rc;
    while ((rc = llmgpu_session_next(s, token)) == LLMGPU_AGAIN)
        REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    return rc;
}

static inline void tavern_take(llmgpu_session *s, int32_t *out, int n)
{
    for (int i = 0; i < n; i++) {
        int rc = tavern_next(s, &out[i]);
        if (rc < 0)
            fprintf(stderr, "%s\n", llmgpu_session_error(s));
        REQUIRE_INT(rc, ==, LLMGPU_TOKEN);
    }
}

static inline llmgpu_session_stats tavern_stats(const llmgpu_session *s)
{
    llmgpu_session_stats stats;
    REQUIRE_INT(llmgpu_session_get_stats(s, &stats, sizeof(stats)), ==, 0);
    return stats;
}

#endif
