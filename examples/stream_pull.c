/* SPDX-License-Identifier: MIT
 *
 * An answer that is pulled, piece by piece, by a loop that has something else to do as well.
 * stream_pull [MODEL [DEVICE]]
 *
 * The same twice: first the loop lends the library two milliseconds of each of its rounds, then a thread of
 * the library does the work and the loop sleeps on a file descriptor.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include <llmgpu/llmgpu.h>

static const char prompt[] =
    "<|im_start|>system\n"
    "Your name is Brenna. You are the blacksmith of Oakford. You are grumpy.<|im_end|>\n"
    "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n";

enum { BUDGET_US = 2000, FRAME_MS = 16 };

/* What the loop is there for: a game, a window, a server. Here it counts. */
static void draw_frame(unsigned *frames)
{
    ++*frames;
}

static int ask(llmgpu_session *session)
{
    int rc = llmgpu_session_reset(session);
    return rc ? rc : llmgpu_session_feed_text(session, prompt, strlen(prompt), LLMGPU_TOKENIZE_PARSE_SPECIAL);
}

/* All that is there. LLMGPU_AGAIN when more is to come, LLMGPU_DONE when that was it. */
static int take_text(llmgpu_session *session)
{
    const char *text;
    int rc;
    while ((rc = llmgpu_session_next_text(session, &text, NULL)) == LLMGPU_TOKEN)
        fputs(text, stdout);
    fflush(stdout);
    return rc;
}

static int with_steps(llmgpu_context *ctx, llmgpu_session *session)
{
    unsigned frames = 0;
    int rc = ask(session);
    if (rc != 0)
        return rc;
    while ((rc = take_text(session)) == LLMGPU_AGAIN) {
        draw_frame(&frames);
        rc = llmgpu_context_step(ctx, BUDGET_US);
        if (rc < 0)
            return rc;
    }
    printf("\n-- %u frames were drawn meanwhile\n", frames);
    return rc;
}

static int with_thread(llmgpu_context *ctx, llmgpu_session *session)
{
    unsigned frames = 0, wakes = 0;
    struct pollfd pollfd = {.fd = llmgpu_session_fd(session), .events = POLLIN};
    int rc = pollfd.fd < 0 ? pollfd.fd : ask(session);
    if (rc == 0)
        rc = llmgpu_context_start(ctx);
    if (rc != 0)
        return rc;
    while ((rc = take_text(session)) == LLMGPU_AGAIN) {
        if (poll(&pollfd, 1, FRAME_MS) > 0)
            wakes++;
        else
            draw_frame(&frames);
    }
    llmgpu_context_stop(ctx);
    printf("\n-- %u frames were drawn, and the loop was woken %u times\n", frames, wakes);
    return rc;
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "examples/models/tavern-3.7m-q8_0.gguf";
    char error[256] = "";
    llmgpu_context *ctx = NULL;
    llmgpu_model *model = NULL;
    llmgpu_session *session = NULL;
    llmgpu_context_params params;
    llmgpu_context_params_init(&params, sizeof(params));
    params.device = argc > 2 ? argv[2] : "auto";
    params.error = error;
    params.error_size = sizeof(error);

    int rc = llmgpu_context_create(&ctx, &params);
    rc = rc ? rc : llmgpu_model_load(&model, ctx, path, NULL);
    rc = rc ? rc : llmgpu_session_create(&session, model, NULL);
    rc = rc ? rc : with_steps(ctx, session);
    rc = rc ? rc : with_thread(ctx, session);
    if (rc) {
        const char *why = session ? llmgpu_session_error(session) : ctx ? llmgpu_context_error(ctx) : error;
        fprintf(stderr, "stream_pull: %s (%s)\n", *why ? why : llmgpu_context_error(ctx),
                llmgpu_status_name(rc));
    }

    llmgpu_session_free(session);
    llmgpu_model_free(model);
    llmgpu_context_free(ctx);
    return rc != 0;
}
