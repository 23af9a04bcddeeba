/* SPDX-License-Identifier: MIT
 *
 * Characters of a tavern in a game's loop at 60 Hz: each frame gives the library two milliseconds. What they
 * know of the place is the same for all, and computed once; who they are, and what was said to them before,
 * is each one's own. A line begins with one of a few words, which is what the character does: the most
 * probable of them is put in the place of whatever else the model would begin with.
 *
 *     npc_dialogue [MODEL [DEVICE [BUDGET_US]]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <llmgpu/llmgpu.h>

enum {
    N_NPCS = 3,
    N_TURNS = 3,
    N_ACTIONS = 4,
    FRAME_US = 16667,
    MAX_FRAMES = 6000,
    MAX_TOKENS = 32,
    MAX_LINE = 512
};

static const char place[] =
    "It is evening in the tavern of Oakford. A fire burns, it rains outside, and a stranger comes in. ";
static const char *const personas[N_NPCS] = {
    "Your name is Brenna. You are the blacksmith of Oakford. You are grumpy.",
    "Your name is Tom. You are the innkeeper of Oakford. You are cheerful.",
    "Your name is Edda. You are a hunter of Oakford. You are calm.",
};
static const char *const names[N_NPCS] = {"Brenna", "Tom", "Edda"};
static const char *const questions[N_TURNS] = {"Who are you?", "Is the forest safe?", "Thank you. Goodbye."};

static const struct action {
    const char *word, *what;
} actions[N_ACTIONS] = {{"Bah", "slams a fist"}, {"Ha", "laughs"}, {"Good", "nods"}, {"Hmph", "frowns"}};

struct npc {
    llmgpu_session *session;
    llmgpu_chat *chat;
    int turn;   /* N_TURNS: it has said everything */
    int acting; /* the word that it begins with is not known yet */
    int action;
    unsigned n_begin; /* tokens of the session before its line */
    char line[MAX_LINE];
};

struct game {
    llmgpu_context *ctx;
    llmgpu_model *model;
    struct npc npcs[N_NPCS];
    int32_t words[N_ACTIONS]; /* the first token of each */
    uint32_t budget_us;
    unsigned n_frames;
    double steps_us[MAX_FRAMES];
};

static double now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return 1e6 * (double)ts.tv_sec + 1e-3 * (double)ts.tv_nsec;
}

/* Says the next thing to a character. What it remembers is the list of messages. */
static int say(struct npc *npc)
{
    llmgpu_session_stats stats;
    npc->line[0] = '\0';
    npc->acting = 1;
    int rc = llmgpu_chat_add(npc->chat, "user", questions[npc->turn]);
    rc = rc ? rc : llmgpu_chat_feed(npc->chat, npc->session, LLMGPU_CHAT_ANSWER | LLMGPU_CHAT_FALLBACK);
    rc = rc ? rc : llmgpu_session_set_remaining(npc->session, MAX_TOKENS);
    rc = rc ? rc : llmgpu_session_get_stats(npc->session, &stats, sizeof(stats));
    npc->n_begin = stats.n_tokens;
    return rc;
}

/* The most probable of the words that a line may begin with takes the place of the first token. */
static int act(struct game *g, struct npc *npc)
{
    llmgpu_candidate top[32];
    size_t n;
    npc->acting = 0;
    npc->action = N_ACTIONS - 1; /* none of them is probable */
    int rc = llmgpu_session_get_candidates(npc->session, NULL, top, 32, &n);
    for (size_t i = n; i-- > 0 && rc == 0;)
        for (int k = 0; k < N_ACTIONS; k++)
            npc->action = top[i].token == g->words[k] ? k : npc->action;
    const char *word = actions[npc->action].word;
    snprintf(npc->line, sizeof(npc->line), "%s", word);
    rc = rc ? rc : llmgpu_session_rewind(npc->session, npc->n_begin);
    rc = rc ? rc : llmgpu_session_feed_text(npc->session, word, strlen(word), 0);
    return rc ? rc : llmgpu_session_set_remaining(npc->session, MAX_TOKENS);
}

/* The line is whole: it is shown, and remembered. */
static int finish(struct game *g, struct npc *npc)
{
    int i = (int)(npc - g->npcs);
    printf("%5u  You to %s: %s\n       %s %s: \"%s\"\n", g->n_frames, names[i], questions[npc->turn],
           names[i], actions[npc->action].what, npc->line);
    int rc = llmgpu_chat_add(npc->chat, "assistant", npc->line);
    npc->turn++;
    return rc || npc->turn == N_TURNS ? rc : say(npc);
}

/* Takes what a character has to say; nothing here waits. */
static int listen(struct game *g, struct npc *npc)
{
    const char *text;
    size_t len;
    int32_t token;
    int rc;
    if (npc->acting) {
        rc = llmgpu_session_next(npc->session, &token);
        return rc == LLMGPU_TOKEN ? act(g, npc) : rc == LLMGPU_DONE ? LLMGPU_E_INTERNAL : rc;
    }
    while ((rc = llmgpu_session_next_text(npc->session, &text, &len)) == LLMGPU_TOKEN)
        strncat(npc->line, text, sizeof(npc->line) - 1 - strlen(npc->line));
    return rc == LLMGPU_DONE ? finish(g, npc) : rc;
}

/* A frame of the game: what it draws takes no time here. */
static int frame(struct game *g, double *next_us, int *n_talking)
{
    double begin = now_us();
    int used = llmgpu_context_step(g->ctx, g->budget_us), rc = 0;
    g->steps_us[g->n_frames] = now_us() - begin;
    *n_talking = 0;
    for (int i = 0; i < N_NPCS && rc >= 0; i++) {
        if (g->npcs[i].turn < N_TURNS)
            rc = listen(g, &g->npcs[i]);
        *n_talking += g->npcs[i].turn < N_TURNS;
    }
    g->n_frames++;
    *next_us += FRAME_US;
    double left = *next_us - now_us();
    if (left > 0)
        nanosleep(&(struct timespec){.tv_nsec = (long)(left * 1e3)}, NULL);
    return used < 0 ? used : rc < 0 ? rc : 0;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int play(struct game *g)
{
    llmgpu_context_stats stats;
    double next_us = now_us();
    int n_talking = N_NPCS, rc = 0;
    while (n_talking > 0 && rc == 0 && g->n_frames < MAX_FRAMES)
        rc = frame(g, &next_us, &n_talking);
    rc = rc ? rc : llmgpu_context_get_stats(g->ctx, &stats, sizeof(stats));
    if (rc < 0)
        return rc;
    qsort(g->steps_us, g->n_frames, sizeof(*g->steps_us), ascending);
    printf(
        "%u frames, a step took %.0f us in half of them and %.0f us at the 99th per cent, of %u us given\n",
        g->n_frames, g->steps_us[g->n_frames / 2], g->steps_us[(g->n_frames - 1) * 99 / 100], g->budget_us);
    printf("%llu tokens of prompts were computed, %llu were the same as another's\n",
           (unsigned long long)stats.prompt_tokens, (unsigned long long)stats.shared_tokens);
    return 0;
}

static int create(struct game *g, int i)
{
    struct npc *npc = &g->npcs[i];
    char persona[MAX_LINE];
    llmgpu_session_params params;
    llmgpu_session_params_init(&params, sizeof(params));
    params.n_ctx = 512;
    params.n_candidates = 32;
    snprintf(persona, sizeof(persona), "%s%s", place, personas[i]);
    int rc = llmgpu_session_create(&npc->session, g->model, &params);
    rc = rc ? rc : llmgpu_chat_create(&npc->chat, g->model, NULL, 0);
    rc = rc ? rc : llmgpu_chat_add(npc->chat, "system", persona);
    return rc ? rc : say(npc);
}

static int open_all(struct game *g, const char *path, const char *device, char *error, size_t size)
{
    int32_t tokens[16];
    size_t n;
    llmgpu_context_params params;
    llmgpu_context_params_init(&params, sizeof(params));
    params.device = device;
    params.error = error;
    params.error_size = size;
    int rc = llmgpu_context_create(&g->ctx, &params);
    rc = rc ? rc : llmgpu_model_load(&g->model, g->ctx, path, NULL);
    for (int i = 0; i < N_ACTIONS && rc == 0; i++) {
        rc = llmgpu_tokenize(g->model, actions[i].word, strlen(actions[i].word), 0, tokens, 16, &n);
        g->words[i] = tokens[0];
    }
    for (int i = 0; i < N_NPCS && rc == 0; i++)
        rc = create(g, i);
    return rc ? rc : llmgpu_session_warm_up(g->npcs[0].session); /* behind the loading screen */
}

int main(int argc, char **argv)
{
    static struct game g;
    char error[256] = "";
    g.budget_us = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 2000;
    int rc = open_all(&g, argc > 1 ? argv[1] : "examples/models/tavern-3.7m-q8_0.gguf",
                      argc > 2 ? argv[2] : "auto", error, sizeof(error));
    rc = rc ? rc : play(&g);
    if (rc < 0)
        fprintf(stderr, "npc_dialogue: %s (%s)\n", g.ctx ? llmgpu_context_error(g.ctx) : error,
                llmgpu_status_name(rc));
    for (int i = 0; i < N_NPCS; i++) {
        llmgpu_chat_free(g.npcs[i].chat);
        llmgpu_session_free(g.npcs[i].session);
    }
    llmgpu_model_free(g.model);
    llmgpu_context_free(g.ctx);
    return rc < 0;
}
