/* SPDX-License-Identifier: MIT
 *
 * A host that renders on one thread while the library works on others, on the host's device and its one
 * queue, under validation with synchronisation and threading checks: no message, right pixels, and the tokens
 * of a device of the library's own.
 */
#include "llmgpu/llmgpu.h"
#include "renderer.h"
#include "test.h"

enum { N_ANSWER = 24 };

static const char prompt[] =
    "<|im_start|>system\nYour name is Brenna. You are the blacksmith of Oakford. You are "
    "grumpy.<|im_end|>\n<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n";

static char model_path[1024];
static char error[512];

static struct {
    struct renderer renderer;
    atomic_bool stop;
    atomic_uint n_frames;
} host;

/* ---- the host
 * ---------------------------------------------------------------------------------------------------- */

static void *render(void *arg)
{
    (void)arg;
    while (!atomic_load(&host.stop))
        REQUIRE_INT(renderer_draw(&host.renderer, atomic_fetch_add(&host.n_frames, 1)), ==, 0);
    return NULL;
}

static void lock_queue(void *user)
{
    pthread_mutex_lock(user);
}

static void unlock_queue(void *user)
{
    pthread_mutex_unlock(user);
}

static llmgpu_vulkan_device describe(struct renderer *r)
{
    return (llmgpu_vulkan_device){
        .size = sizeof(llmgpu_vulkan_device),
        .queue_family = r->family,
        .get_instance_proc_addr = (void *)vkGetInstanceProcAddr,
        .instance = r->instance,
        .physical_device = r->physical,
        .device = r->device,
        .queue = r->queue,
        .api_version = VK_API_VERSION_1_2,
        .features = &r->features,
        .lock_queue = lock_queue,
        .unlock_queue = unlock_queue,
        .queue_user = &r->queue_lock,
    };
}

/* ---- answers
 * ----------------------------------------------------------------------------------------------------- */

static void require_ok(int rc, const char *sentence)
{
    if (rc < 0)
        fprintf(stderr, "%s: %s\n", llmgpu_status_name(rc), sentence);
    REQUIRE_INT(rc, ==, 0);
}

static int create_context(llmgpu_context **ctx, const char *device, const llmgpu_vulkan_device *vulkan)
{
    llmgpu_context_params params;
    REQUIRE_INT(llmgpu_context_params_init(&params, sizeof(params)), ==, 0);
    params.device = device;
    params.vulkan = vulkan;
    params.check = vulkan != NULL;
    params.error = error;
    params.error_size = sizeof(error);
    return llmgpu_context_create(ctx, &params);
}

static llmgpu_session *create_session(llmgpu_context *ctx, llmgpu_model *model)
{
    llmgpu_session *session;
    llmgpu_session_params params;
    llmgpu_sampler_params sampler;
    REQUIRE_INT(llmgpu_session_params_init(&params, sizeof(params)), ==, 0);
    REQUIRE_INT(llmgpu_sampler_params_init(&sampler, sizeof(sampler)), ==, 0);
    params.n_ctx = 128;
    params.ignore_end = 1;
    sampler.temperature = 1;
    sampler.top_p = 0.95f;
    sampler.seed = 11;
    require_ok(llmgpu_session_create(&session, model, &params), llmgpu_context_error(ctx));
    require_ok(llmgpu_session_set_sampler(session, &sampler), llmgpu_session_error(session));
    return session;
}

/** Takes tokens, by the calling thread's work or the background thread's. */
static void take(llmgpu_session *session, int32_t *out, int n)
{
    for (int i = 0; i < n; i++) {
        require_ok(llmgpu_session_wait(session, UINT64_MAX), llmgpu_session_error(session));
        REQUIRE_INT(llmgpu_session_next(session, &out[i]), ==, LLMGPU_TOKEN);
    }
}

static void ask(llmgpu_session *session)
{
    require_ok(llmgpu_session_feed_text(session, prompt, strlen(prompt), LLMGPU_TOKENIZE_PARSE_SPECIAL),
               llmgpu_session_error(session));
}

static void answer(llmgpu_context *ctx, llmgpu_model *model, int32_t out[N_ANSWER])
{
    llmgpu_session *session = create_session(ctx, model);
    ask(session);
    take(session, out, N_ANSWER);
    llmgpu_session_free(session);
}

/** Loads the model and lets it answer, first blocking and then in the background. */
static void answer_twice(llmgpu_context *ctx, int32_t out[2][N_ANSWER])
{
    llmgpu_model *model;
    require_ok(llmgpu_model_load(&model, ctx, model_path, NULL), llmgpu_context_error(ctx));
    answer(ctx, model, out[0]);
    require_ok(llmgpu_context_start(ctx), llmgpu_context_error(ctx));
    answer(ctx, model, out[1]);
    require_ok(llmgpu_context_stop(ctx), llmgpu_context_error(ctx));
    llmgpu_model_free(model);
}

/** The id of the library's own device on the renderer's physical device. */
static void find_own(char id[32])
{
    VkPhysicalDeviceProperties props;
    vkGetPhysicalDeviceProperties(host.renderer.physical, &props);
    llmgpu_device_list *list;
    llmgpu_device_info info;
    id[0] = '\0';
    REQUIRE_INT(llmgpu_device_list_create(&list), ==, 0);
    for (uint32_t i = 0; i < llmgpu_device_list_count(list); i++) {
        REQUIRE_INT(llmgpu_device_list_get(list, i, &info, sizeof(info)), ==, 0);
        if (!id[0] && strcmp(info.name, props.deviceName) == 0)
            memcpy(id, info.id, sizeof(info.id));
    }
    llmgpu_device_list_free(list);
    REQUIRE(id[0]);
}

/* ---- the tests
 * --------------------------------------------------------------------------------------------------- */

static void require_refused(const llmgpu_vulkan_device *vulkan, int code, const char *part)
{
    llmgpu_context *ctx;
    REQUIRE_INT(create_context(&ctx, NULL, vulkan), ==, code);
    if (!strstr(error, part))
        fprintf(stderr, "'%s' does not say '%s'\n", error, part);
    REQUIRE(!ctx && strstr(error, part));
}

static void check_refusals(void)
{
    llmgpu_vulkan_device vulkan = describe(&host.renderer);
    vulkan.size = 0;
    require_refused(&vulkan, LLMGPU_E_INVALID, "a struct of 0 bytes");
    vulkan = describe(&host.renderer);
    vulkan.queue = NULL;
    require_refused(&vulkan, LLMGPU_E_INVALID, "no queue");
    vulkan = describe(&host.renderer);
    vulkan.unlock_queue = NULL;
    require_refused(&vulkan, LLMGPU_E_INVALID, "unlock_queue");
    VkPhysicalDeviceFeatures2 nothing = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2};
    vulkan = describe(&host.renderer);
    vulkan.features = &nothing;
    require_refused(&vulkan, LLMGPU_E_UNSUPPORTED, "timelineSemaphore");
}

struct guest {
    llmgpu_context *ctx;
    int32_t found[2][N_ANSWER];
};

static void *use(void *guest)
{
    struct guest *g = guest;
    answer_twice(g->ctx, g->found);
    return NULL;
}

/** Contexts on the host's device, one and then two at once, beside the renderer. */
static void check_shared(int32_t expected[N_ANSWER])
{
    struct guest guests[2];
    for (int n = 1; n <= 2; n++) {
        pthread_t threads[2];
        unsigned before = atomic_load(&host.n_frames);
        llmgpu_vulkan_device vulkan = describe(&host.renderer);
        llmgpu_device_info info;
        if (n == 2) // the system's loader, which is this one
            vulkan.get_instance_proc_addr = NULL;
        require_ok(create_context(&guests[n - 1].ctx, NULL, &vulkan), error);
        memset(&vulkan, 0xff, sizeof(vulkan)); // it is read by the call alone
        REQUIRE_INT(llmgpu_context_get_device(guests[n - 1].ctx, &info, sizeof(info)), ==, 0);
        REQUIRE_STR(info.id, "vulkan:host");
        for (int i = 0; i < n; i++)
            REQUIRE_INT(pthread_create(&threads[i], NULL, use, &guests[i]), ==, 0);
        for (int i = 0; i < n; i++) {
            REQUIRE_INT(pthread_join(threads[i], NULL), ==, 0);
            for (int k = 0; k < 2; k++)
                REQUIRE(memcmp(guests[i].found[k], expected, sizeof(guests[i].found[k])) == 0);
        }
        REQUIRE_INT(atomic_load(&host.n_frames), >, before);
    }
    llmgpu_context_free(guests[0].ctx);
    llmgpu_context_free(guests[1].ctx);
}

/** In the middle of an answer the host makes a new device, as it must after a loss; the answer goes on there.
 */
static void check_moved(int32_t expected[N_ANSWER])
{
    static struct renderer second;
    int32_t found[N_ANSWER];
    llmgpu_context *ctx;
    llmgpu_model *model;
    llmgpu_vulkan_device vulkan = describe(&host.renderer);
    require_ok(create_context(&ctx, NULL, &vulkan), error);
    require_ok(llmgpu_model_load(&model, ctx, model_path, NULL), llmgpu_context_error(ctx));
    llmgpu_session *session = create_session(ctx, model);
    ask(session);
    take(session, found, N_ANSWER / 2);
    REQUIRE_INT(renderer_create(&second, host.renderer.messenger != VK_NULL_HANDLE), ==, 0);
    vulkan = describe(&second);
    require_ok(llmgpu_context_recover(ctx, &vulkan), llmgpu_context_error(ctx));
    take(session, found + N_ANSWER / 2, N_ANSWER - N_ANSWER / 2);
    REQUIRE(memcmp(found, expected, sizeof(found)) == 0);
    llmgpu_session_free(session);
    llmgpu_model_free(model);
    llmgpu_context_free(ctx);
    REQUIRE_INT(renderer_draw(&second, 0), ==, 0);
    renderer_destroy(&second);
    REQUIRE_INT(second.n_messages, ==, 0);
}

int main(void)
{
    const char *bundled = getenv("LLMGPU_BUNDLED");
    if (!bundled)
        return TEST_SKIP;
    snprintf(model_path, sizeof(model_path), "%s/tavern-3.7m-q8_0.gguf", bundled);
    int rc = renderer_create(&host.renderer, true);
    if (rc == RENDERER_NO_DEVICE) { // or no validation layer
        renderer_destroy(&host.renderer);
        rc = renderer_create(&host.renderer, false);
    }
    if (rc == RENDERER_NO_DEVICE)
        return TEST_SKIP;
    REQUIRE_INT(rc, ==, 0);

    char id[32];
    int32_t expected[2][N_ANSWER];
    llmgpu_context *own;
    find_own(id);
    require_ok(create_context(&own, id, NULL), error);
    answer_twice(own, expected);
    REQUIRE(memcmp(expected[0], expected[1], sizeof(expected[0])) == 0);
    llmgpu_context_free(own);

    pthread_t thread;
    check_refusals();
    REQUIRE_INT(pthread_create(&thread, NULL, render, NULL), ==, 0);
    check_shared(expected[0]);
    check_moved(expected[0]);
    atomic_store(&host.stop, true);
    REQUIRE_INT(pthread_join(thread, NULL), ==, 0);
    for (unsigned i = 0; i < 3; i++) // the device is still the host's
        REQUIRE_INT(renderer_draw(&host.renderer, i), ==, 0);
    printf("%u frames beside the library\n", atomic_load(&host.n_frames));
    renderer_destroy(&host.renderer);
    REQUIRE_INT(host.renderer.n_messages, ==, 0);
    return 0;
}
