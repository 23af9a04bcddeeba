/* SPDX-License-Identifier: MIT
 *
 * A file that becomes an adapter of a small model, whatever it says: it is refused with a sentence, or sessions use it.
 * The same with an allocation that fails. What does not begin as GGUF is a configuration, a NUL and a safetensors file.
 */
#include "fuzz.h"
#include "heap.h"
#include "model/safetensors.h"
#include "model_use.h"

enum { MAX_SIZE = 64 << 10, N_CTX = 16, N_BASES = 2 }; // bytes and tokens, so that a run is short

static struct test_heap heap;
static struct lg_env env;
static struct lg_device *dev;
static struct model_build base;
static struct use bases[N_BASES];

static void open_bases(void)
{
    static const char *const archs[N_BASES] = {"llama", "gpt2"};
    struct lg_device_options options = {.name = "cpu", .n_threads = 1};
    test_heap_env(&env, &heap, 0);
    REQUIRE_INT(lg_device_open(&env, &options, &dev), ==, 0);
    for (int i = 0; i < N_BASES; i++) {
        struct model_shape shape = model_tiny(archs[i]);
        shape.n_layers = 1;
        model_init(&base, &shape);
        model_write(&base);
        bases[i] = (struct use){.env = &env, .dev = dev};
        REQUIRE_INT(use_load(&bases[i], base.file.data, base.file.size), ==, 0);
        REQUIRE_INT(use_start(&bases[i], N_CTX, false), ==, 0);
    }
}

static int use_lora(struct use *u, const struct lg_lora *lora, int *seat)
{
    int32_t tokens[2];
    float log_probs[2];
    LG_TRY(*seat = lg_engine_seat_lora(&u->engine, lora));
    lg_session_set_lora(&u->session, (uint32_t)*seat, 0.5f);
    lg_session_reset(&u->session);
    LG_TRY(use_generate(&u->session, 5, 3, tokens, 2));
    return lg_session_score(&u->session, (const int32_t[]){1, 2, 3}, 3, &(struct lg_scores){.log_probs = log_probs});
}

static int load_peft(const struct lg_model *model, const uint8_t *data, size_t size, struct lg_lora **lora)
{
    struct lg_safetensors *st;
    const uint8_t *end = size ? memchr(data, '\0', size) : NULL;
    size_t n = end ? (size_t)(end - data) : size, used = end ? n + 1 : size;
    LG_TRY(lg_safetensors_parse(&env, "adapter.safetensors", data + used, size - used, &st));
    return lg_lora_load_peft(&env, model, st, (const char *)data, n, lora);
}

static int load(const struct lg_model *model, const uint8_t *data, size_t size, struct lg_lora **lora)
{
    struct lg_gguf *gguf;
    if (size < 4 || memcmp(data, "GGUF", 4) != 0)
        return load_peft(model, data, size, lora);
    LG_TRY(lg_gguf_parse(&env, "adapter.gguf", data, size, &gguf));
    return lg_lora_load_gguf(&env, model, gguf, lora);
}

static int try(struct use *u, const uint8_t *data, size_t size, uint64_t fail_at)
{
    struct lg_lora *lora = NULL;
    int seat = 0;
    uint64_t used = atomic_load(&dev->stats.memory_used);
    size_t live = heap.live;
    env.error[0] = '\0';
    heap.fail_at = fail_at ? heap.n + fail_at : 0;
    int rc = load(u->model, data, size, &lora);
    if (rc == 0)
        rc = use_lora(u, lora, &seat);
    heap.fail_at = 0;
    if (rc < 0) {
        REQUIRE(rc == LLMGPU_E_FORMAT || rc == LLMGPU_E_UNSUPPORTED || rc == LLMGPU_E_NOMEM);
        REQUIRE(*env.error);
    }
    lg_session_set_lora(&u->session, 0, 0);
    lg_session_reset(&u->session);
    if (seat > 0)
        lg_engine_unseat_lora(&u->engine, (uint32_t)seat);
    lg_lora_destroy(lora);
    REQUIRE_INT(atomic_load(&dev->stats.memory_used), ==, used);
    REQUIRE_INT(heap.live, ==, live);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > MAX_SIZE)
        return 0;
    if (!dev)
        open_bases();
    uint64_t fail_at = 1;
    for (size_t i = 0; i < size; i += size / 16 + 1)
        fail_at = fail_at * 31 + data[i];
    for (int i = 0; i < N_BASES; i++) {
        int rc = try(&bases[i], data, size, 0), failed = try(&bases[i], data, size, 1 + fail_at % 60);
        REQUIRE(failed == rc || failed == LLMGPU_E_NOMEM);
    }
    return 0;
}
