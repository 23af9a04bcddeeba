/* SPDX-License-Identifier: MIT
 *
 * The smallest program: it opens a device, loads a model and lets it answer. hello [MODEL [DEVICE]]
 */
#include <stdio.h>
#include <string.h>

#include <llmgpu/llmgpu.h>

static const char prompt[] =
    "<|im_start|>system\n"
    "Your name is Brenna. You are the blacksmith of Oakford. You are grumpy.<|im_end|>\n"
    "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n";

static int print(void *user, const char *text, size_t len)
{
    (void)user;
    return fwrite(text, 1, len, stdout) != len || fflush(stdout) != 0;
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
    rc = rc ? rc : llmgpu_session_feed_text(session, prompt, strlen(prompt), LLMGPU_TOKENIZE_PARSE_SPECIAL);
    rc = rc ? rc : llmgpu_session_generate(session, 128, print, NULL);
    if (rc == 0)
        puts("");
    else
        fprintf(stderr, "hello: %s (%s)\n",
                session ? llmgpu_session_error(session)
                : ctx   ? llmgpu_context_error(ctx)
                        : error,
                llmgpu_status_name(rc));

    llmgpu_session_free(session);
    llmgpu_model_free(model);
    llmgpu_context_free(ctx);
    return rc != 0;
}
