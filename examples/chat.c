/* SPDX-License-Identifier: MIT
 *
 * A conversation: each line of the standard input is answered. chat [MODEL [DEVICE]]
 *
 * The messages are the program's, the tokens the session's: llmgpu_chat_feed() brings the session to the
 * messages, so that a turn costs its own tokens only, and taking messages back is all it takes to go back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llmgpu/llmgpu.h>

static const char persona[] = "Your name is Brenna. You are the blacksmith of Oakford. You are grumpy.";

/* An answer is shown as it comes, and kept to become a message. */
struct answer {
    char *text;
    size_t len;
};

static int take(void *user, const char *text, size_t len)
{
    struct answer *answer = user;
    char *longer = realloc(answer->text, answer->len + len + 1);
    if (!longer)
        return 1;
    answer->text = longer;
    memcpy(longer + answer->len, text, len + 1);
    answer->len += len;
    return fwrite(text, 1, len, stdout) != len || fflush(stdout) != 0;
}

/* Says what failed, in the library's words. */
static int failed(int rc, const char *sentence)
{
    fprintf(stderr, "chat: %s (%s)\n", sentence, llmgpu_status_name(rc));
    return rc;
}

static int turn(llmgpu_chat *chat, llmgpu_session *session, const char *question)
{
    struct answer answer = {NULL, 0};
    int rc = llmgpu_chat_add(chat, "user", question);
    if (rc == 0)
        rc = llmgpu_chat_feed(chat, session, LLMGPU_CHAT_ANSWER | LLMGPU_CHAT_FALLBACK);
    if (rc != 0)
        return failed(rc, llmgpu_chat_error(chat));
    rc = llmgpu_session_generate(session, 256, take, &answer);
    puts("");
    if (rc != 0)
        failed(rc, llmgpu_session_error(session));
    else if ((rc = llmgpu_chat_add(chat, "assistant", answer.text ? answer.text : "")) != 0)
        failed(rc, llmgpu_chat_error(chat));
    free(answer.text);
    return rc;
}

static int converse(llmgpu_chat *chat, llmgpu_session *session)
{
    char line[4096];
    // Where the fall-back format ends a message. Models that have a token for it end there by themselves.
    int rc = llmgpu_session_add_stop(session, "<|im_end|>", strlen("<|im_end|>"));
    if (rc != 0)
        return failed(rc, llmgpu_session_error(session));
    rc = llmgpu_chat_add(chat, "system", persona);
    if (rc != 0)
        return failed(rc, llmgpu_chat_error(chat));
    while (rc == 0 && fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = '\0';
        rc = turn(chat, session, line);
        if (rc == LLMGPU_E_CONTEXT_FULL) {
            fprintf(stderr, "chat: we begin anew\n");
            rc = llmgpu_chat_truncate(chat, 1);
        }
    }
    return rc;
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "examples/models/tavern-3.7m-q8_0.gguf";
    char error[256] = "";
    llmgpu_context *ctx = NULL;
    llmgpu_model *model = NULL;
    llmgpu_session *session = NULL;
    llmgpu_chat *chat = NULL;
    llmgpu_context_params params;
    llmgpu_context_params_init(&params, sizeof(params));
    params.device = argc > 2 ? argv[2] : "auto";
    params.error = error;
    params.error_size = sizeof(error);

    int rc = llmgpu_context_create(&ctx, &params);
    rc = rc ? rc : llmgpu_model_load(&model, ctx, path, NULL);
    rc = rc ? rc : llmgpu_session_create(&session, model, NULL);
    rc = rc ? rc : llmgpu_chat_create(&chat, model, NULL, 0);
    if (rc == 0)
        rc = converse(chat, session);
    else
        failed(rc, ctx ? llmgpu_context_error(ctx) : error);

    llmgpu_chat_free(chat);
    llmgpu_session_free(session);
    llmgpu_model_free(model);
    llmgpu_context_free(ctx);
    return rc != 0;
}
