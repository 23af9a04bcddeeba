/* SPDX-License-Identifier: MIT
 *
 * A program of somebody else's: program MODEL prints a few words of it, computed on the CPU.
 */
#include <stdio.h>
#include <string.h>

#include <llmgpu/llmgpu.h>

static int print(void *user, const char *text, size_t len)
{
    (void)user;
    return fwrite(text, 1, len, stdout) != len;
}

int main(int argc, char **argv)
{
    static const char prompt[] = "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n";
    llmgpu_context_params params;
    llmgpu_context *ctx = NULL;
    llmgpu_model *model = NULL;
    llmgpu_session *session = NULL;
    int rc = llmgpu_context_params_init(&params, sizeof params);

    params.device = "cpu";
    if (rc == 0)
        rc = llmgpu_context_create(&ctx, &params);
    if (rc == 0)
        rc = llmgpu_model_load(&model, ctx, argc > 1 ? argv[1] : "", NULL);
    if (rc == 0)
        rc = llmgpu_session_create(&session, model, NULL);
    if (rc == 0)
        rc = llmgpu_session_feed_text(session, prompt, strlen(prompt), LLMGPU_TOKENIZE_PARSE_SPECIAL);
    if (rc == 0)
        rc = llmgpu_session_generate(session, 12, print, NULL);
    if (rc < 0)
        fprintf(stderr, "%s\n", llmgpu_status_name(rc));
    llmgpu_context_free(ctx);
    llmgpu_model_free(model);
    llmgpu_session_free(session);
    return rc < 0;
}
