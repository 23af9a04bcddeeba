/* SPDX-License-Identifier: MIT */
#include "conversation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "interrupt.h"

/* What an answer that is drawn again needs. */
#define AGAIN_TEMPERATURE 0.8f

static int session_failed(const struct talk *t, int status)
{
    return cli_fail_library(status, llmgpu_session_error(t->session));
}

/* ---- answers */

/* An answer as it comes. */
struct answer {
    char *text; // a NUL behind it; NULL: nothing came
    size_t len, room;
};

static int put(struct answer *a, const char *text, size_t len)
{
    if (a->room - a->len <= len) {
        size_t room = 2 * (a->len + len) + 256;
        char *bytes = realloc(a->text, room);
        if (!bytes)
            return cli_fail(LLMGPU_E_NOMEM, "no memory for an answer of %zu bytes", room);
        a->text = bytes;
        a->room = room;
    }
    memcpy(a->text + a->len, text, len + 1);
    a->len += len;
    if (len > 0 && (fwrite(text, 1, len, stdout) != len || fflush(stdout) != 0))
        return cli_fail(LLMGPU_E_IO, "cannot write to the standard output: %s", strerror(errno));
    return CLI_OK;
}

/* The next piece of the answer. As llmgpu_session_next_text(), but never LLMGPU_AGAIN. */
static int next_text(llmgpu_session *session, const char **text, size_t *len)
{
    int status;
    while ((status = llmgpu_session_next_text(session, text, len)) == LLMGPU_AGAIN) {
        status = llmgpu_session_wait(session, UINT64_MAX);
        if (status < 0)
            break;
    }
    return status;
}

/* Sampler and limit of an answer, and the prompt. Statuses as of talk_feed(). */
static int begin_answer(struct conversation *c, const char **why)
{
    struct talk *t = &c->talk;
    llmgpu_sampler_params sampler = c->sampler;
    sampler.seed += c->n_again;
    if (c->n_again > 0 && sampler.temperature == 0)
        sampler.temperature = AGAIN_TEMPERATURE;
    int status = llmgpu_session_set_sampler(t->session, &sampler);
    *why = llmgpu_session_error(t->session);
    if (status == 0)
        status = talk_feed(t, LLMGPU_CHAT_ANSWER, why);
    if (status == 0) {
        status = llmgpu_session_set_remaining(t->session, c->max_tokens);
        *why = llmgpu_session_error(t->session);
    }
    return status;
}

/* Generates until something ends it, which `*status` and `*why` say. CLI_OK, or CLI_FAILED when reported. */
static int stream(struct conversation *c, struct answer *a, int *status, const char **why)
{
    llmgpu_session *session = c->talk.session;
    const char *text;
    size_t len;
    int rc = CLI_OK;
    *status = begin_answer(c, why);
    if (*status < 0)
        return CLI_OK;
    while (rc == CLI_OK && (*status = next_text(session, &text, &len)) == LLMGPU_TOKEN)
        rc = put(a, text, len);
    *why = llmgpu_session_error(session);
    if (a->len > 0 && a->text[a->len - 1] != '\n')
        fputc('\n', stdout);
    if (fflush(stdout) != 0 && rc == CLI_OK)
        rc = cli_fail(LLMGPU_E_IO, "cannot write to the standard output: %s", strerror(errno));
    return rc;
}

/* Says how an answer ended, if not by itself. CLI_OK if it is one, else CLI_FAILED. */
static int judge(struct conversation *c, const struct answer *a, int status, const char *why)
{
    static const char advice[] = "/undo takes the last turn back, /reset all of them";
    llmgpu_session *session = c->talk.session;
    const char *text;
    if (status == LLMGPU_E_CANCELLED) {
        talk_note("interrupted%s", a->len ? "" : "; the question is taken back");
        return a->len ? CLI_OK : CLI_FAILED;
    }
    if (status == LLMGPU_E_CONTEXT_FULL && a->len) {
        talk_note("%s; %s", why, advice);
        return CLI_OK;
    }
    if (status < 0) {
        cli_fail_library(status, why);
        if (status == LLMGPU_E_CONTEXT_FULL)
            talk_note("the question is taken back; %s", advice);
        return CLI_FAILED;
    }
    // Would it go on?
    llmgpu_session_set_remaining(session, UINT32_MAX);
    if (c->max_tokens != UINT32_MAX && llmgpu_session_next_text(session, &text, NULL) == LLMGPU_AGAIN)
        talk_note("the answer is cut after %u tokens", c->max_tokens);
    return CLI_OK;
}

/* Has the last question answered. If it is, the answer is a message more. */
static int answer(struct conversation *c)
{
    struct talk *t = &c->talk;
    struct answer a = {0};
    const char *why = "";
    int32_t token;
    int status;
    cli_on_interrupt(CLI_INTERRUPT_CANCEL, t->session);
    int rc = stream(c, &a, &status, &why);
    bool interrupted = cli_on_interrupt(CLI_INTERRUPT_HOLD, NULL);
    if (rc == CLI_OK)
        rc = judge(c, &a, status, why);
    if (interrupted && status != LLMGPU_E_CANCELLED)
        llmgpu_session_next(t->session, &token); // it came too late; the next answer is not meant
    if (rc == CLI_OK)
        rc = talk_add(t, ROLE_ASSISTANT, a.text ? a.text : "");
    free(a.text);
    return interrupted ? CLI_INTERRUPTED : rc;
}

/* ---- turns */

int conversation_ask(struct conversation *c, const char *question)
{
    struct talk *t = &c->talk;
    size_t n = t->messages.n;
    int rc = talk_add(t, ROLE_USER, question);
    if (rc != CLI_OK)
        return rc;
    c->n_again = 0;
    rc = answer(c);
    if (t->messages.n == n + 1)
        talk_cut(t, n);
    return rc;
}

/* Whether there is a turn: the last question and its answer. */
static bool has_turn(const struct conversation *c)
{
    if (c->talk.messages.n >= 2)
        return true;
    talk_note("there is no answer yet");
    return false;
}

int conversation_again(struct conversation *c)
{
    struct talk *t = &c->talk;
    if (!has_turn(c))
        return CLI_FAILED;
    if (c->sampler.temperature == 0 && c->n_again == 0)
        talk_note("drawn with a temperature of %g: the most probable answer would be the same",
                  (double)AGAIN_TEMPERATURE);
    size_t n = t->messages.n;
    char *before = t->messages.at[--t->messages.n].content;
    talk_cut(t, n - 1);
    c->n_again++;
    int rc = answer(c);
    if (t->messages.n < n && talk_add(t, ROLE_ASSISTANT, before) != CLI_OK)
        talk_cut(t, n - 2);
    free(before);
    return rc;
}

int conversation_undo(struct conversation *c)
{
    const char *why;
    if (!has_turn(c))
        return CLI_FAILED;
    talk_cut(&c->talk, c->talk.messages.n - 2);
    c->n_again = 0;
    if (talk_settle(&c->talk, &why) < 0)
        llmgpu_session_reset(c->talk.session);
    return CLI_OK;
}

static void replace(struct conversation *c, const struct talk *fresh)
{
    bool told = c->talk.told || fresh->told;
    talk_free(&c->talk);
    c->talk = *fresh;
    c->talk.told = told;
    c->n_again = 0;
}

int conversation_reset(struct conversation *c)
{
    struct talk *t = &c->talk;
    talk_cut(t, messages_system(&t->messages) ? 1 : 0);
    talk_forget_fallback(t);
    c->n_again = 0;
    int status = llmgpu_session_reset(t->session);
    return status < 0 ? session_failed(t, status) : CLI_OK;
}

int conversation_set_system(struct conversation *c, const char *text)
{
    struct talk fresh = {0};
    int rc = talk_create(&fresh, &c->engine, &c->template_text);
    if (rc == CLI_OK)
        rc = talk_add(&fresh, ROLE_SYSTEM, text);
    if (rc == CLI_OK) {
        fresh.session = c->talk.session;
        fresh.fallback = c->talk.fallback;
        c->talk.session = NULL;
        replace(c, &fresh);
        return conversation_reset(c);
    }
    talk_free(&fresh);
    return rc;
}

/* ---- files */

/* The file beside one of messages. */
static int state_path(const char *path, char *out, size_t size)
{
    if ((size_t)snprintf(out, size, "%s.state", path) >= size)
        return cli_fail(LLMGPU_E_IO, "%.40s...: the name is too long", path);
    return CLI_OK;
}

static int get_stats(const struct talk *t, llmgpu_session_stats *stats)
{
    int status = llmgpu_session_get_stats(t->session, stats, sizeof(*stats));
    return status < 0 ? session_failed(t, status) : CLI_OK;
}

int conversation_save(struct conversation *c, const char *path)
{
    struct talk *t = &c->talk;
    llmgpu_session_stats stats;
    char state[4096];
    if (!has_turn(c))
        return CLI_FAILED;
    int rc = state_path(path, state, sizeof(state));
    if (rc == CLI_OK)
        rc = get_stats(t, &stats);
    if (rc == CLI_OK)
        rc = messages_save(&t->messages, path);
    if (rc != CLI_OK)
        return rc;
    int status = llmgpu_session_save_file(t->session, LLMGPU_STATE_FULL, NULL, state);
    if (status < 0) {
        talk_note("the messages are saved, but not what was computed of them");
        return session_failed(t, status);
    }
    talk_note("saved %zu messages in %s, and %u computed tokens in %s", t->messages.n, path, stats.n_computed,
              state);
    return CLI_OK;
}

/* What was computed, if that is there. It only saves time: the messages are what counts. */
static void restore(struct talk *t, const char *state)
{
    if (access(state, F_OK) != 0 && errno == ENOENT) {
        talk_note("there is no %s; what was computed is computed again", state);
        return;
    }
    int status = llmgpu_session_restore_file(t->session, state);
    if (status < 0)
        talk_note("%s (%s); what was computed is computed again", llmgpu_session_error(t->session),
                  llmgpu_status_name(status));
}

static int add_all(struct talk *t)
{
    for (size_t i = 0; i < t->messages.n; i++) {
        const struct message *m = &t->messages.at[i];
        int status = llmgpu_chat_add(t->chat, role_name(m->role), m->content);
        if (status < 0)
            return cli_fail_library(status, llmgpu_chat_error(t->chat));
    }
    return CLI_OK;
}

/* Another talk, with what was saved. */
static int load(struct conversation *c, const char *path, const char *state, struct talk *t)
{
    const char *why = "";
    int rc = talk_create(t, &c->engine, &c->template_text);
    if (rc == CLI_OK)
        rc = messages_load(&t->messages, path);
    if (rc == CLI_OK)
        rc = add_all(t);
    if (rc != CLI_OK)
        return rc;
    // A fork has the parameters, and costs nothing; what it shares is given back by what takes its place.
    int status = llmgpu_session_fork(&t->session, c->talk.session);
    if (status < 0)
        return cli_fail_library(status, llmgpu_context_error(c->engine.ctx));
    t->told = c->talk.told;
    t->fallback = c->talk.fallback;
    talk_forget_fallback(t);
    restore(t, state);
    status = talk_settle(t, &why);
    return status < 0 ? cli_fail_library(status, why) : CLI_OK;
}

int conversation_load(struct conversation *c, const char *path)
{
    struct talk fresh = {0};
    llmgpu_session_stats stats;
    char state[4096];
    int rc = state_path(path, state, sizeof(state));
    if (rc == CLI_OK)
        rc = load(c, path, state, &fresh);
    if (rc == CLI_OK)
        rc = get_stats(&fresh, &stats);
    if (rc != CLI_OK) {
        talk_free(&fresh);
        return rc;
    }
    replace(c, &fresh);
    talk_note("loaded %zu messages, %u tokens of which %u are computed", fresh.messages.n, stats.n_tokens,
              stats.n_computed);
    return CLI_OK;
}

/* ---- the rest */

int conversation_stats(const struct conversation *c)
{
    llmgpu_session_stats s;
    llmgpu_context_stats m;
    int rc = get_stats(&c->talk, &s);
    if (rc != CLI_OK)
        return rc;
    int status = llmgpu_context_get_stats(c->engine.ctx, &m, sizeof(m));
    if (status < 0)
        return cli_fail_library(status, llmgpu_context_error(c->engine.ctx));
    fprintf(stderr, "messages  %zu\n", c->talk.messages.n);
    fprintf(stderr, "context   %u of %u tokens (%.0f%%), %u computed\n", s.n_tokens, s.n_ctx,
            100.0 * s.n_tokens / s.n_ctx, s.n_computed);
    fprintf(stderr, "prompts   %u tokens, %.1f tokens/s\n", s.n_prompt,
            cli_per_second(s.n_prompt, s.prompt_ns));
    fprintf(stderr, "answers   %u tokens, %.1f tokens/s\n", s.n_generated,
            cli_per_second(s.n_generated, s.decode_ns));
    fprintf(stderr, "memory    %.1f MB of the device, %.1f MB at most\n", 1e-6 * (double)m.device_bytes,
            1e-6 * (double)m.device_peak);
    fprintf(stderr, "device    %s %s\n", c->engine.device.id, c->engine.device.name);
    return CLI_OK;
}

int conversation_begin(struct conversation *c, const llmgpu_session_params *params)
{
    int rc = talk_create(&c->talk, &c->engine, &c->template_text);
    return rc == CLI_OK ? cli_session_open(&c->talk.session, &c->engine, params) : rc;
}

void conversation_end(struct conversation *c)
{
    talk_free(&c->talk);
    cli_engine_close(&c->engine);
    free(c->template_text.bytes);
    *c = (struct conversation){0};
}
