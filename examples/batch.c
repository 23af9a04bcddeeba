/* SPDX-License-Identifier: MIT
 *
 * Many prompts answered at once: the same ones by one agent after another, and by as many as there are
 * prompts, which share every pass over the weights. Prints the answers, and how fast they came. batch [MODEL
 * [DEVICE]]
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LLMGPU_EXPERIMENTAL
#include <llmgpu/llmgpu.h>

enum { N_NAMES = 6, N_QUESTIONS = 4, N_PROMPTS = N_NAMES * N_QUESTIONS, MAX_TOKENS = 32 };

static const char *const names[N_NAMES] = {
    "Brenna. You are the blacksmith", "Tom. You are the innkeeper", "Edda. You are a hunter",
    "Finn. You are a guard",          "Mara. You are the healer",   "Rolf. You are a farmer",
};
static const char *const questions[N_QUESTIONS] = {"Who are you?", "What do you sell?", "Is the forest safe?",
                                                   "Goodbye."};

/* What came of each prompt. */
struct answers {
    char texts[N_PROMPTS][512];
    unsigned n_tokens;
    double seconds;
};

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static int submit(llmgpu_agents *agents, int i, uint64_t *id)
{
    char text[512];
    llmgpu_request request;
    snprintf(text, sizeof(text),
             "<|im_start|>system\nYour name is %s of Oakford.<|im_end|>\n<|im_start|>user\n%s<|im_end|>\n"
             "<|im_start|>assistant\n",
             names[i % N_NAMES], questions[i / N_NAMES]);
    llmgpu_request_init(&request, sizeof(request));
    request.text = text;
    request.len = strlen(text);
    request.flags = LLMGPU_TOKENIZE_PARSE_SPECIAL;
    request.max_tokens = MAX_TOKENS;
    return llmgpu_agents_submit(agents, &request, id);
}

static int answer(llmgpu_agents *agents, struct answers *out)
{
    uint64_t ids[N_PROMPTS];
    double begin = now();
    for (int i = 0; i < N_PROMPTS; i++) {
        int rc = submit(agents, i, &ids[i]);
        if (rc < 0)
            return rc;
    }
    for (int i = 0; i < N_PROMPTS; i++) {
        llmgpu_result result;
        int rc = llmgpu_agents_wait(agents, ids[i], UINT64_MAX);
        if (rc == 0)
            rc = llmgpu_agents_take(agents, ids[i], &result, sizeof(result), out->texts[i],
                                    sizeof(out->texts[i]));
        if (rc < 0 || result.status < 0)
            return rc < 0 ? rc : result.status;
        out->n_tokens += result.n_generated;
    }
    out->seconds = now() - begin;
    return 0;
}

/* Agents are made of sessions, which the library keeps for as long as it needs them. */
static int add(llmgpu_agents *agents, llmgpu_model *model)
{
    llmgpu_session *session;
    llmgpu_session_params params;
    llmgpu_session_params_init(&params, sizeof(params));
    params.n_ctx = 128;
    int rc = llmgpu_session_create(&session, model, &params);
    if (rc == 0)
        rc = llmgpu_agents_add(agents, session, NULL);
    llmgpu_session_free(session);
    return rc < 0 ? rc : 0;
}

static int run(llmgpu_agents *agents, llmgpu_model *model)
{
    static struct answers warm, lone, together;
    int rc = add(agents, model);
    rc = rc ? rc : answer(agents, &warm); // what the first passes make ready is not counted
    rc = rc ? rc : answer(agents, &lone);
    for (int i = 1; i < N_PROMPTS && rc == 0; i++)
        rc = add(agents, model);
    memset(&warm, 0, sizeof(warm));
    rc = rc ? rc : answer(agents, &warm);
    rc = rc ? rc : answer(agents, &together);
    if (rc < 0)
        return rc;
    for (int i = 0; i < N_PROMPTS; i++)
        printf("%s: %s\n    %s\n", names[i % N_NAMES], questions[i / N_NAMES], together.texts[i]);
    printf("one by one:  %u tokens, %.0f tok/s\n", lone.n_tokens, lone.n_tokens / lone.seconds);
    printf("%d at once: %u tokens, %.0f tok/s\n", N_PROMPTS, together.n_tokens,
           together.n_tokens / together.seconds);
    printf("the answers are %s\n",
           memcmp(lone.texts, together.texts, sizeof(lone.texts)) == 0 ? "the same" : "different");
    return 0;
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "examples/models/tavern-3.7m-q8_0.gguf";
    char error[256] = "";
    llmgpu_context *ctx = NULL;
    llmgpu_model *model = NULL;
    llmgpu_agents *agents = NULL;
    llmgpu_context_params params;
    llmgpu_context_params_init(&params, sizeof(params));
    params.device = argc > 2 ? argv[2] : "auto";
    params.error = error;
    params.error_size = sizeof(error);

    int rc = llmgpu_context_create(&ctx, &params);
    rc = rc ? rc : llmgpu_model_load(&model, ctx, path, NULL);
    rc = rc ? rc : llmgpu_agents_create(&agents, model, NULL);
    rc = rc ? rc : run(agents, model);
    if (rc < 0)
        fprintf(stderr, "batch: %s (%s)\n",
                agents && *llmgpu_agents_error(agents) ? llmgpu_agents_error(agents)
                : ctx                                  ? llmgpu_context_error(ctx)
                                                       : error,
                llmgpu_status_name(rc));

    llmgpu_agents_free(agents);
    llmgpu_model_free(model);
    llmgpu_context_free(ctx);
    return rc < 0;
}
