/* SPDX-License-Identifier: MIT
 *
 * Many short sessions that come and go over a few slots, on the device that the first argument names; the second says how
 * many. They are cancelled, run into deadlines, are forked, have adapters, drafts and different priorities, in a pool that is
 * too small for all: nothing is lost, nobody waits for long, and who is left alone says what it says alone.
 */
#define LLMGPU_EXPERIMENTAL
#include <unistd.h>

#include "api/handles.h"
#include "heap.h"
#include "llmgpu/llmgpu.h"
#include "lora_build.h"

enum { N_SLOTS = 30, N_CTX = 64, MAX_PROMPT = 40, MAX_ANSWER = 20, N_TALKS = 150, N_ADAPTERS = 3, N_PERSONAS = 3 };

static struct model_build build, adapter_build;
static struct test_rng rng = {23};
static struct test_heap heap;

static struct fixture {
    llmgpu_context *ctx;
    llmgpu_model *model;
    llmgpu_lora *adapters[N_ADAPTERS];
} f;

/** What a session is to say, and what it says alone. */
struct talk {
    int32_t prompt[MAX_PROMPT], answer[MAX_ANSWER];
    uint32_t n_prompt, n_answer, n_draft;
    llmgpu_session_params params;
    llmgpu_sampler_params sampler;
    llmgpu_lora *lora;
};

static struct talk talks[N_TALKS];

/** Of a slot that is taken. */
struct visitor {
    llmgpu_session *s;
    const struct talk *talk;
    int32_t answer[MAX_ANSWER];
    uint32_t n;
    bool spoiled; // its answer may be cut off: it was cancelled or has a deadline
};

static void open_all(const char *device, uint64_t max_kv_memory)
{
    char error[512], path[] = "/tmp/llmgpu-soak-XXXXXX";
    llmgpu_context_params p;
    llmgpu_context_params_init(&p, sizeof(p));
    p.device = device;
    p.n_threads = 1;
    p.max_kv_memory = max_kv_memory;
    p.error = error;
    p.error_size = sizeof(error);
    p.alloc = test_heap_alloc;
    p.resize = test_heap_resize;
    p.release = test_heap_release;
    p.alloc_user = &heap;
    int rc = llmgpu_context_create(&f.ctx, &p);
    if (rc == LLMGPU_E_NO_DEVICE) {
        fprintf(stderr, "%s\n", error);
        exit(TEST_SKIP);
    }
    REQUIRE_INT(rc, ==, 0);
    REQUIRE_INT(llmgpu_model_load_memory(&f.model, f.ctx, build.file.data, build.file.size, NULL), ==, 0);
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    for (int i = 0; i < N_ADAPTERS; i++) {
        struct lora_shape lora = {.rank = 4u << i, .alpha = 8};
        lora_write(&adapter_build, &build, &lora, 100 + (uint64_t)i);
        REQUIRE(ftruncate(fd, 0) == 0 && pwrite(fd, adapter_build.file.data, adapter_build.file.size, 0) > 0);
        REQUIRE_INT(llmgpu_lora_load(&f.adapters[i], f.model, path), ==, 0);
    }
    close(fd);
    unlink(path);
}

static void close_all(void)
{
    for (int i = 0; i < N_ADAPTERS; i++)
        llmgpu_lora_free(f.adapters[i]);
    llmgpu_model_free(f.model);
    llmgpu_context_free(f.ctx);
    REQUIRE_INT(heap.live, ==, 0);
}

/** Some begin with a persona that others have too. */
static void make_talk(struct talk *t)
{
    uint32_t persona = test_randu(&rng, 0, N_PERSONAS);
    *t = (struct talk){.n_prompt = test_randu(&rng, persona ? 34 : 1, MAX_PROMPT), .n_answer = test_randu(&rng, 1, MAX_ANSWER)};
    for (uint32_t i = 0; i < t->n_prompt; i++)
        t->prompt[i] = persona && i < 33 ? (int32_t)(3 + persona * 10 + i) : (int32_t)test_randu(&rng, 3, 200);
    llmgpu_session_params_init(&t->params, sizeof(t->params));
    t->params.n_ctx = N_CTX;
    t->params.n_batch = test_randu(&rng, 8, 40);
    t->params.ignore_end = 1;
    t->params.tokens_per_submit = test_randu(&rng, 0, 3) ? 1 : test_randu(&rng, 2, 6);
    t->params.priority = test_randu(&rng, 0, 4) ? 0 : (int32_t)test_randu(&rng, 0, 2) - 1;
    llmgpu_sampler_params_init(&t->sampler, sizeof(t->sampler));
    t->sampler.temperature = test_randu(&rng, 0, 2) ? 1 : 0;
    t->sampler.seed = test_rand(&rng);
    t->n_draft = test_randu(&rng, 0, 3) ? 0 : test_randu(&rng, 1, 6);
    t->lora = test_randu(&rng, 0, 2) ? NULL : f.adapters[test_randu(&rng, 0, N_ADAPTERS - 1)];
}

static llmgpu_session *begin(const struct talk *t)
{
    llmgpu_session *s;
    REQUIRE_INT(llmgpu_session_create(&s, f.model, &t->params), ==, 0);
    REQUIRE_INT(llmgpu_session_set_sampler(s, &t->sampler), ==, 0);
    if (t->lora)
        REQUIRE_INT(llmgpu_session_set_lora(s, t->lora, 1), ==, 0);
    if (t->n_draft)
        REQUIRE_INT(llmgpu_session_set_speculation(s, LLMGPU_SPECULATION_LOOKUP, t->n_draft, NULL), ==, 0);
    REQUIRE_INT(llmgpu_session_set_remaining(s, t->n_answer), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, t->prompt, t->n_prompt), ==, 0);
    return s;
}

static void say_alone(struct talk *t)
{
    llmgpu_session *s = begin(t);
    for (uint32_t n = 0; n < t->n_answer;) {
        int rc = llmgpu_session_next(s, &t->answer[n]);
        REQUIRE(rc == LLMGPU_TOKEN || rc == LLMGPU_AGAIN);
        n += rc == LLMGPU_TOKEN;
        if (rc == LLMGPU_AGAIN)
            REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    }
    llmgpu_session_free(s);
}

/* ---- visitors */

static struct visitor visitors[N_SLOTS];
static uint32_t n_begun, n_whole, n_cut, n_forked;

static void arrive(struct visitor *v)
{
    *v = (struct visitor){.talk = &talks[test_randu(&rng, 0, N_TALKS - 1)]};
    v->s = begin(v->talk);
    n_begun++;
    if (test_randu(&rng, 0, 9) == 0) {
        v->spoiled = true;
        REQUIRE_INT(llmgpu_session_set_deadline(v->s, test_randu(&rng, 1, 20)), ==, 0);
    }
}

/** A copy in a free slot, which goes on with the same answer. */
static void fork_into(struct visitor *to, const struct visitor *v)
{
    *to = *v;
    to->spoiled = v->spoiled;
    if (llmgpu_session_fork(&to->s, v->s) != 0) {
        to->s = NULL;
        return;
    }
    if (v->talk->lora)
        REQUIRE_INT(llmgpu_session_set_lora(to->s, v->talk->lora, 1), ==, 0);
    n_begun++;
    n_forked++;
}

static void leave(struct visitor *v)
{
    bool whole = v->n == v->talk->n_answer;
    REQUIRE(whole || v->spoiled);
    REQUIRE(memcmp(v->answer, v->talk->answer, v->n * sizeof(*v->answer)) == 0);
    n_whole += whole;
    n_cut += !whole;
    llmgpu_session_free(v->s);
    v->s = NULL;
}

static void look(struct visitor *v)
{
    int32_t token;
    int rc;
    while ((rc = llmgpu_session_next(v->s, &token)) == LLMGPU_TOKEN)
        v->answer[v->n++] = token;
    if (rc == LLMGPU_AGAIN)
        return;
    REQUIRE(rc == LLMGPU_DONE || (v->spoiled && (rc == LLMGPU_E_CANCELLED || rc == LLMGPU_E_TIMEOUT)));
    leave(v);
}

static void disturb(struct visitor *v)
{
    if (!v->s || test_randu(&rng, 0, 99) >= 4)
        return;
    switch (test_randu(&rng, 0, 2)) {
    case 0:
        v->spoiled = true;
        llmgpu_session_cancel(v->s);
        break;
    case 1:
        v->spoiled = true;
        leave(v);
        break;
    default:
        for (int i = 0; i < N_SLOTS; i++) {
            if (!visitors[i].s) {
                fork_into(&visitors[i], v);
                break;
            }
        }
    }
}

static void check(void)
{
    int rc = lg_engine_check_pages(&f.model->engine);
    if (rc < 0)
        fprintf(stderr, "%s\n", f.ctx->dev_env.error);
    REQUIRE_INT(rc, ==, 0);
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    uint32_t n = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 500;
    struct model_shape shape = model_tiny("llama");
    model_init(&build, &shape);
    model_write(&build);
    open_all(device, 0);
    uint64_t kv = 12 * lg_engine_cache_bytes(&f.model->engine, N_CTX);
    close_all();
    open_all(device, kv);
    for (int i = 0; i < N_TALKS; i++) {
        make_talk(&talks[i]);
        say_alone(&talks[i]);
    }
    bool any = true;
    while (n_begun < n || any) {
        for (int i = 0; i < N_SLOTS; i++)
            if (!visitors[i].s && n_begun < n && test_randu(&rng, 0, 3) == 0)
                arrive(&visitors[i]);
        REQUIRE_INT(llmgpu_context_step(f.ctx, test_randu(&rng, 0, 3) ? test_randu(&rng, 100, 3000) : UINT32_MAX), >=, 0);
        check();
        any = false;
        for (int i = 0; i < N_SLOTS; i++) {
            if (visitors[i].s)
                look(&visitors[i]);
            disturb(&visitors[i]);
            any |= visitors[i].s != NULL;
        }
    }
    llmgpu_context_stats stats;
    REQUIRE_INT(llmgpu_context_get_stats(f.ctx, &stats, sizeof(stats)), ==, 0);
    printf("%u sessions: %u whole, %u cut off, %u forked; %llu passes, %llu tokens of prompts shared, %llu pages out, %llu in; "
           "the longest wait %llu passes\n",
           n_begun, n_whole, n_cut, n_forked, (unsigned long long)stats.passes, (unsigned long long)stats.shared_tokens,
           (unsigned long long)stats.pages_out, (unsigned long long)stats.pages_in,
           (unsigned long long)stats.longest_wait);
    REQUIRE(n_whole > n / 4 && n_cut > n / 50 && n_forked > n / 100);
    REQUIRE(stats.shared_tokens > 0 && stats.pages_out > 0 && stats.pages_in > 0);
    // Each pass is for who waits longest, and a priority of 1 is worth less than all others' turns.
    REQUIRE_INT(stats.longest_wait, <=, 2 * N_SLOTS);
    REQUIRE_INT(stats.n_sessions, ==, 0);
    check();
    close_all();
    return 0;
}
