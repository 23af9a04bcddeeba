/* SPDX-License-Identifier: MIT
 *
 * Two agents who argue, and a judge. What one says comes to the other by mail, in front of the next request;
 * each remembers what was said. The judge reads all of it, and is for whose words are the more likely ones to
 * them.
 *
 *     agents_debate [MODEL [DEVICE]]
 */
#include <stdio.h>
#include <string.h>

#define LLMGPU_EXPERIMENTAL
#include <llmgpu/llmgpu.h>

enum { BRENNA, TOM, N_SPEAKERS, N_ROUNDS = 3, MAX_TOKENS = 32, MAX_SCORED = 128 };

static const char *const names[N_SPEAKERS] = {"Brenna", "Tom"};
static const char *const personas[N_SPEAKERS] = {
    "Your name is Brenna. You are the blacksmith of Oakford. You are grumpy.",
    "Your name is Tom. You are the innkeeper of Oakford. You are cheerful.",
};
static const char *const questions[N_ROUNDS] = {"Is the forest safe?", "What do you say to that?",
                                                "So who is right?"};

static int add(llmgpu_agents *agents, llmgpu_model *model, int who)
{
    llmgpu_session *session;
    llmgpu_agent_params params;
    llmgpu_sampler_params sampler;
    llmgpu_agent_params_init(&params, sizeof(params));
    params.persona = personas[who];
    params.keep = 1;
    params.own_only = 1;
    llmgpu_sampler_params_init(&sampler, sizeof(sampler));
    sampler.temperature = 0.8f;
    sampler.top_p = 0.9f;
    sampler.seed = 7 + (unsigned)who;
    int rc = llmgpu_session_create(&session, model, NULL);
    rc = rc ? rc : llmgpu_session_set_sampler(session, &sampler);
    rc = rc ? rc : llmgpu_agents_add(agents, session, &params);
    llmgpu_session_free(session);
    return rc == who || rc < 0 ? rc : LLMGPU_E_INTERNAL; // they are numbered as they come
}

/* One of them speaks; the other finds it in the mailbox. */
static int speak(llmgpu_agents *agents, int who, const char *question, char *text, size_t size)
{
    llmgpu_request request;
    llmgpu_result result;
    uint64_t id;
    llmgpu_request_init(&request, sizeof(request));
    request.role = "user";
    request.text = question;
    request.len = strlen(question);
    request.agent = who;
    request.mail_to = 1 - who;
    request.max_tokens = MAX_TOKENS;
    int rc = llmgpu_agents_submit(agents, &request, &id);
    rc = rc ? rc : llmgpu_agents_wait(agents, id, UINT64_MAX);
    rc = rc ? rc : llmgpu_agents_take(agents, id, &result, sizeof(result), text, size);
    return rc < 0 ? rc : result.status < 0 ? result.status : result.mail_status;
}

/* How likely the judge finds a text, on average over its tokens. */
static int judge(llmgpu_session *session, const llmgpu_model *model, const char *text, double *mean)
{
    char prompt[4096];
    int32_t tokens[MAX_SCORED];
    float log_probs[MAX_SCORED];
    size_t n_before, n;
    int len = snprintf(
        prompt, sizeof(prompt),
        "<|im_start|>system\nYour name is Edda. You are a hunter of Oakford. You are calm.<|im_end|>\n"
        "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n",
        questions[0]);
    int rc = llmgpu_tokenize(model, prompt, (size_t)len, LLMGPU_TOKENIZE_PARSE_SPECIAL, tokens, MAX_SCORED,
                             &n_before);
    rc =
        rc ? rc : llmgpu_tokenize(model, text, strlen(text), 0, tokens + n_before, MAX_SCORED - n_before, &n);
    rc = rc ? rc : llmgpu_session_score(session, tokens, n_before + n, log_probs, NULL);
    *mean = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        *mean += (double)log_probs[n_before - 1 + i] / (double)n;
    return rc;
}

static int debate(llmgpu_agents *agents, llmgpu_model *model, llmgpu_session *session)
{
    double points[N_SPEAKERS] = {0};
    int rc = 0;
    for (int who = 0; who < N_SPEAKERS && rc >= 0; who++)
        rc = add(agents, model, who);
    for (int round = 0; round < N_ROUNDS && rc >= 0; round++) {
        printf("-- %s\n", questions[round]);
        for (int who = 0; who < N_SPEAKERS && rc >= 0; who++) {
            char text[1024];
            double mean = 0;
            rc = speak(agents, who, questions[round], text, sizeof(text));
            rc = rc < 0 ? rc : judge(session, model, text, &mean);
            points[who] += mean / N_ROUNDS;
            if (rc >= 0)
                printf("%s: %s\n", names[who], text);
        }
    }
    llmgpu_agents_stats stats;
    rc = rc < 0 ? rc : llmgpu_agents_get_stats(agents, &stats, sizeof(stats));
    if (rc < 0)
        return rc;
    printf("-- %llu messages were delivered, %u wait\n", (unsigned long long)stats.mail_delivered,
           stats.n_mail);
    printf("the judge: %s %.3f, %s %.3f: %s\n", names[0], points[0], names[1], points[1],
           names[points[TOM] > points[BRENNA] ? TOM : BRENNA]);
    return 0;
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "examples/models/tavern-3.7m-q8_0.gguf";
    char error[256] = "";
    llmgpu_context *ctx = NULL;
    llmgpu_model *model = NULL;
    llmgpu_session *session = NULL;
    llmgpu_agents *agents = NULL;
    llmgpu_context_params params;
    llmgpu_context_params_init(&params, sizeof(params));
    params.device = argc > 2 ? argv[2] : "auto";
    params.error = error;
    params.error_size = sizeof(error);

    int rc = llmgpu_context_create(&ctx, &params);
    rc = rc ? rc : llmgpu_model_load(&model, ctx, path, NULL);
    rc = rc ? rc : llmgpu_session_create(&session, model, NULL);
    rc = rc ? rc : llmgpu_agents_create(&agents, model, NULL);
    rc = rc ? rc : debate(agents, model, session);
    if (rc < 0)
        fprintf(stderr, "agents_debate: %s (%s)\n",
                agents && *llmgpu_agents_error(agents) ? llmgpu_agents_error(agents)
                : ctx                                  ? llmgpu_context_error(ctx)
                                                       : error,
                llmgpu_status_name(rc));

    llmgpu_agents_free(agents);
    llmgpu_session_free(session);
    llmgpu_model_free(model);
    llmgpu_context_free(ctx);
    return rc < 0;
}
