/* SPDX-License-Identifier: MIT
 *
 * A file that becomes a model, whatever it says: it is refused with a sentence, or it generates and scores.
 * The same with an allocation that fails; and the very same, to the sentence and the last bit, when the file
 * is read by callbacks.
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

/** What a model gives, greedy and sampled; or why it does not. */
struct outcome {
    int32_t tokens[2][2];
    float log_probs[2][2];
    char sentence[sizeof(((struct lg_env *)0)->error)];
};

static int generate(struct use *u, struct outcome *out)
{
    uint32_t last = u->model->hp.n_vocab - 1;
    llmgpu_candidate top[3];
    for (int sampled = 0; sampled < 2; sampled++) {
        LG_TRY(use_start(u, N_CTX, sampled));
        struct lg_scores scores = {.log_probs = out->log_probs[sampled], .top = top, .n_top = 1};
        LG_TRY(use_generate(&u->session, (int32_t)last, 3, out->tokens[sampled], 2));
        LG_TRY(lg_session_score(&u->session, (const int32_t[]){(int32_t)last, 0, (int32_t)last / 2}, 3, &scores));
        for (int i = 0; i < 3; i++)
            REQUIRE(top[i].token >= 0 && (uint32_t)top[i].token <= last);
        lg_session_finish(&u->session);
    }
    return 0;
}

/** With a window of 0 bytes, from memory. */
static int try(const uint8_t *data, size_t size, uint64_t window, uint64_t fail_at, struct outcome *out)
{
    struct use u = {.env = &env, .dev = dev};
    struct stream stream = {.data = data, .size = size};
    size_t live = heap.live;
    memset(out, 0, sizeof(*out));
    env.error[0] = '\0';
    heap.fail_at = fail_at ? heap.n + fail_at : 0;
    int rc = window ? use_load_stream(&u, &stream, window) : use_load(&u, data, size);
    if (rc == 0)
        rc = generate(&u, out);
    if (rc < 0) {
        require_refused(rc);
        memcpy(out->sentence, env.error, sizeof(out->sentence));
    }
    use_end(&u);
    REQUIRE_INT(stream.n_closed, ==, window > 0);
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
    struct outcome out, read, other;
    int rc = try(data, size, 0, 0, &out);
    REQUIRE_INT(try(data, size, 1 + size % 8192, 0, &read), ==, rc);
    if (rc != LLMGPU_E_NOMEM) // which tells how much there was just then
        REQUIRE_STR(read.sentence, out.sentence);
    REQUIRE(rc < 0 || memcmp(&read, &out, sizeof(out)) == 0);
    uint64_t fail_at = 1;
    for (size_t i = 0; i < size; i += size / 16 + 1)
        fail_at = fail_at * 31 + data[i];
    for (uint64_t window = 0; window <= 4096; window += 4096) {
        int failed = try(data, size, window, 1 + fail_at % 200, &other);
        REQUIRE(failed == rc || failed == LLMGPU_E_NOMEM);
    }
    return 0;
}
