/* SPDX-License-Identifier: MIT
 *
 * A coordinator with workers. Each part of a shopping list goes to a worker; all of them work at the same
 * time. What they write in brackets are actions, which functions of this program carry out: their results
 * come back to the worker by mail, and what the worker makes of it comes to the coordinator by mail, who
 * joins the parts.
 *
 *     agents_swarm [MODEL [DEVICE]]
 *
 * Models as small as the bundled one do not use tools by themselves, so the answer is begun for it: "[price",
 * say. The rest of the action, up to a stop text, is the model's.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LLMGPU_EXPERIMENTAL
#include <llmgpu/llmgpu.h>

enum { COORDINATOR, N_WORKERS = 6, MAX_TEXT = 512 };

/* What happens to a number that a worker names, as a sentence. */
typedef void tool_fn(long number, char *out, size_t size);

static void price(long number, char *out, size_t size)
{
    snprintf(out, size, "%ld coins, with the discount %ld", number, number - number / 10);
}

static void roll(long number, char *out, size_t size)
{
    long sides = number > 0 ? number : 6;
    snprintf(out, size, "a die with %ld sides shows %ld", sides, (sides * 7 + 3) % sides + 1);
}

static const struct tool {
    const char *name;
    tool_fn *run;
} tools[] = {{"price", price}, {"roll", roll}};

struct worker {
    const char *persona, *part;
    const char *tool;
    char action[2 * MAX_TEXT], result[MAX_TEXT], report[MAX_TEXT];
    uint64_t id;
};

static struct worker workers[N_WORKERS] = {
    {.persona = "Brenna. You are the blacksmith", .part = "How much is the sword?", .tool = "price"},
    {.persona = "Tom. You are the innkeeper", .part = "How much is the bread?", .tool = "price"},
    {.persona = "Edda. You are a hunter", .part = "Roll the dice.", .tool = "roll"},
    {.persona = "Finn. You are a guard", .part = "How much is the torch?", .tool = "price"},
    {.persona = "Mara. You are the healer", .part = "How much is the potion?", .tool = "price"},
    {.persona = "Rolf. You are a farmer", .part = "How much is the rope?", .tool = "price"},
};

/* Everybody is an agent that remembers; a worker's actions end where a bracket or a sentence does. */
static int add(llmgpu_agents *agents, llmgpu_model *model, int is_worker)
{
    llmgpu_session *session;
    llmgpu_agent_params params;
    llmgpu_agent_params_init(&params, sizeof(params));
    params.keep = 1;
    params.own_only = 1;
    params.persona =
        is_worker ? NULL : "Your name is Tom. You are the innkeeper of Oakford. You are cheerful.";
    int rc = llmgpu_session_create(&session, model, NULL);
    if (rc == 0 && is_worker)
        rc = llmgpu_session_add_stop(session, "]", 1);
    if (rc == 0 && is_worker)
        rc = llmgpu_session_add_stop(session, ".", 1);
    rc = rc ? rc : llmgpu_agents_add(agents, session, &params);
    llmgpu_session_free(session);
    return rc < 0 ? rc : 0;
}

static int submit(llmgpu_agents *agents, int agent, const char *role, const char *text, int mail_to,
                  uint64_t *id)
{
    llmgpu_request request;
    llmgpu_sampler_params sampler;
    llmgpu_sampler_params_init(&sampler, sizeof(sampler));
    sampler.temperature = 0.7f;
    sampler.top_p = 0.9f;
    sampler.seed = (unsigned)agent;
    llmgpu_request_init(&request, sizeof(request));
    request.role = role;
    request.text = text;
    request.len = strlen(text);
    request.flags = role ? 0 : LLMGPU_TOKENIZE_PARSE_SPECIAL;
    request.agent = agent;
    request.mail_to = mail_to;
    request.max_tokens = 24;
    request.sampler = &sampler;
    return llmgpu_agents_submit(agents, &request, id);
}

/* Takes what ended first. */
static int take(llmgpu_agents *agents, llmgpu_result *result, char *text)
{
    int rc = llmgpu_agents_wait(agents, 0, UINT64_MAX);
    rc = rc ? rc : llmgpu_agents_take(agents, 0, result, sizeof(*result), text, MAX_TEXT);
    return rc < 0 ? rc : result->status;
}

static int hand_out(llmgpu_agents *agents, int agent)
{
    struct worker *w = &workers[agent - 1];
    char text[MAX_TEXT];
    snprintf(text, sizeof(text),
             "<|im_start|>system\nYour name is %s of Oakford.<|im_end|>\n<|im_start|>user\n%s<|im_end|>\n"
             "<|im_start|>assistant\n[%s ",
             w->persona, w->part, w->tool);
    return submit(agents, agent, NULL, text, -1, &w->id);
}

/* The action that a worker wrote: its name is the tool's, and the first number in it is what it is about. */
static void carry_out(struct worker *w, const char *written)
{
    const char *number = written;
    snprintf(w->action, sizeof(w->action), "%s %s", w->tool, written);
    while (*number && !isdigit((unsigned char)*number))
        number++;
    for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++)
        if (strcmp(w->tool, tools[i].name) == 0)
            tools[i].run(strtol(number, NULL, 10), w->result, sizeof(w->result));
}

/* The result goes to the worker's mailbox, and is read in front of the request that follows. */
static int give_back(llmgpu_agents *agents, int agent, const char *written)
{
    struct worker *w = &workers[agent - 1];
    char mail[2 * MAX_TEXT];
    carry_out(w, written);
    snprintf(mail, sizeof(mail), "] %s.", w->result);
    int rc = llmgpu_agents_mail(agents, agent, "tool", mail, strlen(mail));
    return rc ? rc
              : submit(agents, agent, NULL,
                       "<|im_end|>\n<|im_start|>user\nWhat do you say to that?<|im_end|>\n"
                       "<|im_start|>assistant\n",
                       COORDINATOR, &w->id);
}

static int work(llmgpu_agents *agents)
{
    llmgpu_result result;
    char text[MAX_TEXT];
    int rc = 0;
    for (int i = 1; i <= N_WORKERS && rc == 0; i++)
        rc = hand_out(agents, i);
    for (int n_reports = 0; n_reports < N_WORKERS && rc == 0;) {
        rc = take(agents, &result, text);
        if (rc < 0)
            return rc;
        struct worker *w = &workers[result.agent - 1];
        if (w->result[0] == '\0') {
            rc = give_back(agents, result.agent, text);
        } else {
            snprintf(w->report, sizeof(w->report), "%s", text);
            n_reports++;
        }
    }
    return rc;
}

static int run(llmgpu_agents *agents, llmgpu_model *model)
{
    llmgpu_agents_stats stats;
    llmgpu_result result;
    char text[MAX_TEXT];
    int rc = 0;
    for (int i = 0; i <= N_WORKERS && rc == 0; i++)
        rc = add(agents, model, i != COORDINATOR);
    rc = rc ? rc : work(agents);
    for (int i = 0; i < N_WORKERS && rc == 0; i++)
        printf("%s: %s\n    [%s] %s\n    %s\n", workers[i].persona, workers[i].part, workers[i].action,
               workers[i].result, workers[i].report);
    rc = rc ? rc : submit(agents, COORDINATOR, "user", "What do you say to that?", -1, NULL);
    rc = rc ? rc : take(agents, &result, text);
    rc = rc ? rc : llmgpu_agents_get_stats(agents, &stats, sizeof(stats));
    if (rc < 0)
        return rc;
    printf("the coordinator, of %u tokens of reports: %s\n", result.n_prompt, text);
    printf("%llu requests, %llu messages\n", (unsigned long long)stats.submitted,
           (unsigned long long)stats.mail_delivered);
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
        fprintf(stderr, "agents_swarm: %s (%s)\n",
                agents && *llmgpu_agents_error(agents) ? llmgpu_agents_error(agents)
                : ctx                                  ? llmgpu_context_error(ctx)
                                                       : error,
                llmgpu_status_name(rc));

    llmgpu_agents_free(agents);
    llmgpu_model_free(model);
    llmgpu_context_free(ctx);
    return rc < 0;
}
