/* SPDX-License-Identifier: MIT
 *
 * A file that becomes a model, whatever it says: it is refused with a sentence, or it generates and scores.
 * The same with an allocation that fails.
 */
#include "fuzz.h"
#include "heap.h"
#include "model_use.h"

enum { MAX_SIZE = 64 << 10, N_CTX = 16 }; // bytes and tokens, so that a run is short

static struct test_heap heap;
static struct lg_env env;
static struct lg_device *dev; // opened once: it looks at the machine, which takes longer than all else

static void require_refused(int rc)
{
    REQUIRE(rc == LLMGPU_E_FORMAT || rc == LLMGPU_E_UNSUPPORTED || rc == LLMGPU_E_NOMEM);
    REQUIRE(*env.error);
}

static int generate(struct use *u)
{
    int32_t tokens[2];
    float log_probs[2];
    uint32_t last = u->model->hp.n_vocab - 1;
    llmgpu_candidate top[3];
    struct lg_scores scores = {.log_probs = log_probs, .top = top, .n_top = 1};
    for (int sampled = 0; sampled < 2; sampled++) {
        LG_TRY(use_start(u, N_CTX, sampled));
        LG_TRY(use_generate(&u->session, (int32_t)last, 3, tokens, 2));
        LG_TRY(lg_session_score(&u->session, (const int32_t[]){(int32_t)last, 0, (int32_t)last / 2}, 3, &scores));
        for (int i = 0; i < 3; i++)
            REQUIRE(top[i].token >= 0 && (uint32_t)top[i].token <= last);
        lg_session_finish(&u->session);
    }
    return 0;
}

static int try(const uint8_t *data, size_t size, uint64_t fail_at)
{
    struct use u = {.env = &env, .dev = dev};
    size_t live = heap.live;
    env.error[0] = '\0';
    heap.fail_at = fail_at ? heap.n + fail_at : 0;
    int rc = use_load(&u, data, size);
    if (rc == 0)
        rc = generate(&u);
    if (rc < 0)
        require_refused(rc);
    use_end(&u);
    heap.fail_at = 0;
    REQUIRE_INT(atomic_load(&dev->stats.memory_used), ==, 0);
    REQUIRE_INT(heap.live, ==, live);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lg_device_options options = {.name = "cpu", .n_threads = 1};
    if (size > MAX_SIZE)
        return 0;
    if (!dev) {
        test_heap_env(&env, &heap, 0);
        REQUIRE_INT(lg_device_open(&env, &options, &dev), ==, 0);
    }
    int rc = try(data, size, 0);
    uint64_t fail_at = 1;
    for (size_t i = 0; i < size; i += size / 16 + 1)
        fail_at = fail_at * 31 + data[i];
    int failed = try(data, size, 1 + fail_at % 200);
    REQUIRE(failed == rc || failed == LLMGPU_E_NOMEM);
    return 0;
}
