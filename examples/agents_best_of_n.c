/* SPDX-License-Identifier: MIT
 *
 * Several answers to one question, of which the best is taken: the prompt is computed once, forks of that
 * session draw an answer each at the same time, and the one whose tokens are the most probable on average is
 * the best.
 *
 *     agents_best_of_n [MODEL [DEVICE]]
 */
#include <stdio.h>
#include <string.h>

#include <llmgpu/llmgpu.h>

enum { N = 8, MAX_TOKENS = 32 };

static const char prompt[] =
    "<|im_start|>system\n"
    "Your name is Brenna. You are the blacksmith of Oakford. You are grumpy.<|im_end|>\n"
    "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n";

struct attempt {
    llmgpu_session *session;
    int32_t tokens[MAX_TOKENS];
    unsigned n;
    double log_prob; // of all of them
    int over;
};

/* A copy of the session that draws with a seed of its own. What is computed is shared, not copied. */
static int begin(struct attempt *a, llmgpu_session *asked, unsigned seed)
{
    llmgpu_sampler_params sampler;
    llmgpu_sampler_params_init(&sampler, sizeof(sampler));
    sampler.temperature = 1;
    sampler.top_p = 0.95f;
    sampler.seed = seed;
    int rc = llmgpu_session_fork(&a->session, asked);
    rc = rc ? rc : llmgpu_session_set_sampler(a->session, &sampler);
    return rc ? rc : llmgpu_session_set_remaining(a->session, MAX_TOKENS);
}

/* Takes what there is. */
static int take(struct attempt *a)
{
    int rc;
    int32_t token;
    while ((rc = llmgpu_session_next(a->session, &token)) == LLMGPU_TOKEN) {
        llmgpu_candidate chosen;
        size_t n;
        rc = llmgpu_session_get_candidates(a->session, &chosen, NULL, 0, &n);
        if (rc < 0)
            return rc;
        a->tokens[a->n++] = token;
        a->log_prob += chosen.log_prob;
    }
    a->over = rc == LLMGPU_DONE;
    return rc < 0 ? rc : 0;
}

/* All of them get on together. */
static int generate(llmgpu_context *ctx, struct attempt *attempts)
{
    for (int n_over = 0; n_over < N;) {
        int rc = llmgpu_context_step(ctx, UINT32_MAX);
        if (rc < 0)
            return rc;
        n_over = 0;
        for (int i = 0; i < N; i++) {
            rc = attempts[i].over ? 0 : take(&attempts[i]);
            if (rc < 0)
                return rc;
            n_over += attempts[i].over;
        }
    }
    return 0;
}

static int print(const llmgpu_model *model, const struct attempt *a, const char *mark)
{
    char text[1024];
    size_t len;
    int rc = llmgpu_detokenize(model, a->tokens, a->n, 0, text, sizeof(text) - 1, &len);
    if (rc < 0)
        return rc;
    text[len] = '\0';
    printf("%s %6.3f %s\n", mark, a->log_prob / a->n, text);
    return 0;
}

static int run(llmgpu_context *ctx, llmgpu_model *model, llmgpu_session *asked)
{
    struct attempt attempts[N] = {0};
    int best = 0;
    int rc = llmgpu_session_feed_text(asked, prompt, strlen(prompt), LLMGPU_TOKENIZE_PARSE_SPECIAL);
    rc = rc ? rc : llmgpu_session_prefill(asked);
    for (int i = 0; i < N && rc == 0; i++)
        rc = begin(&attempts[i], asked, (unsigned)i + 1);
    rc = rc ? rc : generate(ctx, attempts);
    for (int i = 0; i < N && rc == 0; i++) {
        if (attempts[i].log_prob / attempts[i].n > attempts[best].log_prob / attempts[best].n)
            best = i;
        rc = print(model, &attempts[i], " ");
    }
    rc = rc ? rc : print(model, &attempts[best], "best:");
    for (int i = 0; i < N; i++)
        llmgpu_session_free(attempts[i].session);
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
    llmgpu_session_params session_params;
    llmgpu_context_params_init(&params, sizeof(params));
    params.device = argc > 2 ? argv[2] : "auto";
    params.error = error;
    params.error_size = sizeof(error);
    llmgpu_session_params_init(&session_params, sizeof(session_params));
    session_params.n_ctx = 128;
    session_params.n_candidates = 1; // that makes the chosen token's probability known as well

    int rc = llmgpu_context_create(&ctx, &params);
    rc = rc ? rc : llmgpu_model_load(&model, ctx, path, NULL);
    rc = rc ? rc : llmgpu_session_create(&session, model, &session_params);
    rc = rc ? rc : run(ctx, model, session);
    if (rc < 0)
        fprintf(stderr, "agents_best_of_n: %s (%s)\n",
                session && *llmgpu_session_error(session) ? llmgpu_session_error(session)
                : ctx                                     ? llmgpu_context_error(ctx)
                                                          : error,
                llmgpu_status_name(rc));

    llmgpu_session_free(session);
    llmgpu_model_free(model);
    llmgpu_context_free(ctx);
    return rc < 0;
}
