/* SPDX-License-Identifier: MIT
 *
 * A character that talks while a game renders, both on one Vulkan device and one queue: the device is the
 * game's, and the library is given the use of it. The renderer (renderer.c) is the game's own; what a host
 * has to do for llmgpu is here: describe the device, and share the lock of its queue.
 *
 *     host_vulkan [MODEL]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <llmgpu/llmgpu.h>

#include "renderer.h"

enum { MAX_FRAMES = 100000, MAX_TOKENS = 48, SKIPPED = 77 };

static const char prompt[] =
    "<|im_start|>system\n"
    "Your name is Brenna. You are the blacksmith of Oakford. You are grumpy.<|im_end|>\n"
    "<|im_start|>user\n"
    "Who are you?<|im_end|>\n"
    "<|im_start|>assistant\n";

/* Called by the library around each of its submissions, on the thread that does its work. The renderer takes
 * the same lock around its own, and that is all the two have to agree on. */
static void lock_queue(void *user)
{
    pthread_mutex_lock(user);
}

static void unlock_queue(void *user)
{
    pthread_mutex_unlock(user);
}

/* A context on the renderer's device. The description is read during the call; the handles stay the
 * renderer's. */
static int create_context(llmgpu_context **ctx, struct renderer *r, char *error, size_t error_size)
{
    llmgpu_vulkan_device vulkan = {
        .size = sizeof(vulkan),
        .get_instance_proc_addr = (void *)vkGetInstanceProcAddr, // or that of SDL, GLFW, volk, ...
        .instance = r->instance,
        .physical_device = r->physical,
        .device = r->device,
        .queue_family = r->family,
        .queue = r->queue,
        .api_version = VK_API_VERSION_1_2, // as the instance was created with
        .features = &r->features,          // as the device was created with; so would be .extensions
        .lock_queue = lock_queue,
        .unlock_queue = unlock_queue,
        .queue_user = &r->queue_lock,
    };
    llmgpu_context_params params;
    llmgpu_context_params_init(&params, sizeof(params));
    params.vulkan = &vulkan;
    params.error = error;
    params.error_size = error_size;
    return llmgpu_context_create(ctx, &params);
}

static double now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return 1e3 * (double)ts.tv_sec + 1e-6 * (double)ts.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Renders frame after frame until the answer is over, and shows the text as it comes. Returns the number of
 * frames. */
static int render_and_listen(struct renderer *r, llmgpu_session *session, double *frames)
{
    const char *text;
    int n = 0, rc = LLMGPU_AGAIN;
    while (rc != LLMGPU_DONE && n < MAX_FRAMES) {
        double begin = now_ms();
        if (renderer_draw(r, (unsigned)n) < 0)
            return -1;
        frames[n++] = now_ms() - begin;
        while ((rc = llmgpu_session_next_text(session, &text, NULL)) == LLMGPU_TOKEN)
            fputs(text, stdout);
        if (rc < 0)
            return rc;
        fflush(stdout);
    }
    return n;
}

/* The work is done by the library's own thread; this one only renders and takes what is there. */
static int talk(struct renderer *r, llmgpu_context *ctx, llmgpu_session *session, double *frames)
{
    int rc = llmgpu_session_feed_text(session, prompt, strlen(prompt), LLMGPU_TOKENIZE_PARSE_SPECIAL);
    if (rc == 0)
        rc = llmgpu_session_set_remaining(session, MAX_TOKENS);
    if (rc == 0)
        rc = llmgpu_context_start(ctx);
    if (rc < 0)
        return rc;
    int n = render_and_listen(r, session, frames);
    llmgpu_context_stop(ctx);
    if (n > 0) {
        qsort(frames, (size_t)n, sizeof(*frames), ascending);
        printf("\n%d frames beside it: p50 %.2f ms, p99 %.2f ms, max %.2f ms\n", n, frames[n / 2],
               frames[(int)(0.99 * (n - 1))], frames[n - 1]);
    }
    return n < 0 ? n : 0;
}

static int run(struct renderer *r, const char *path, double *frames)
{
    llmgpu_context *ctx = NULL;
    llmgpu_model *model = NULL;
    llmgpu_session *session = NULL;
    char error[512] = "";
    int rc = create_context(&ctx, r, error, sizeof(error));
    if (rc == 0)
        rc = llmgpu_model_load(&model, ctx, path, NULL);
    if (rc == 0)
        rc = llmgpu_session_create(&session, model, NULL);
    if (rc == 0)
        rc = llmgpu_session_warm_up(session); // behind the loading screen
    if (rc == 0)
        rc = talk(r, ctx, session, frames);
    if (rc < 0)
        fprintf(stderr, "%s: %s\n", llmgpu_status_name(rc),
                session ? llmgpu_session_error(session)
                : ctx   ? llmgpu_context_error(ctx)
                        : error);
    llmgpu_session_free(session);
    llmgpu_model_free(model);
    llmgpu_context_free(ctx); // before the device goes
    return rc;
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "examples/models/tavern-3.7m-q8_0.gguf";
    double *frames = malloc(MAX_FRAMES * sizeof(*frames));
    struct renderer renderer;
    int rc = renderer_create(&renderer, false);
    if (rc == RENDERER_NO_DEVICE)
        fprintf(stderr, "there is no Vulkan device to render with\n");
    else if (rc == 0 && frames)
        rc = run(&renderer, path, frames);
    renderer_destroy(&renderer);
    free(frames);
    return rc == RENDERER_NO_DEVICE ? SKIPPED : rc != 0;
}
