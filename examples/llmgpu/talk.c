/* SPDX-License-Identifier: MIT */
#include "talk.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Where the fall-back format ends a message; models without a template seldom have a token for it. */
static const char fallback_stop[] = "<|im_end|>";

void talk_note(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("llmgpu: ", stderr);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
}

int talk_create(struct talk *t, const struct cli_engine *engine, const struct cli_text *template_text)
{
    *t = (struct talk){.has_template = template_text->bytes != NULL};
    int status = llmgpu_chat_create(&t->chat, engine->model, template_text->bytes, template_text->len);
    return status < 0 ? cli_fail_library(status, llmgpu_context_error(engine->ctx)) : CLI_OK;
}

void talk_free(struct talk *t)
{
    llmgpu_chat_free(t->chat);
    llmgpu_session_free(t->session);
    messages_free(&t->messages);
    *t = (struct talk){0};
}

int talk_add(struct talk *t, enum role role, const char *content)
{
    int rc = messages_add(&t->messages, role, content);
    if (rc != CLI_OK)
        return rc;
    int status = llmgpu_chat_add(t->chat, role_name(role), content);
    if (status == 0)
        return CLI_OK;
    messages_cut(&t->messages, t->messages.n - 1);
    return cli_fail_library(status, llmgpu_chat_error(t->chat));
}

void talk_cut(struct talk *t, size_t n)
{
    messages_cut(&t->messages, n);
    llmgpu_chat_truncate(t->chat, (uint32_t)n);
}

/* The fall-back format from here on. */
static int fall_back(struct talk *t)
{
    if (!t->told)
        talk_note("%s; the conversation is in the ChatML format instead, which the model may not know",
                  llmgpu_chat_error(t->chat));
    t->told = true;
    int status = llmgpu_session_add_stop(t->session, fallback_stop, strlen(fallback_stop));
    t->fallback = status == 0;
    return status;
}

void talk_forget_fallback(struct talk *t)
{
    if (t->fallback)
        llmgpu_session_clear_stops(t->session);
    t->fallback = false;
}

int talk_feed(struct talk *t, uint32_t flags, const char **why)
{
    int status = 0;
    if (!t->fallback) {
        status = llmgpu_chat_feed(t->chat, t->session, flags);
        *why = llmgpu_chat_error(t->chat);
        if (status != LLMGPU_E_TEMPLATE || t->has_template)
            return status;
        status = fall_back(t);
        *why = llmgpu_session_error(t->session);
    }
    if (status == 0) {
        status = llmgpu_chat_feed(t->chat, t->session, flags | LLMGPU_CHAT_FALLBACK);
        *why = llmgpu_chat_error(t->chat);
    }
    return status;
}

int talk_settle(struct talk *t, const char **why)
{
    // Some templates refuse a system message alone.
    return t->messages.n > 1 ? talk_feed(t, 0, why) : llmgpu_session_reset(t->session);
}

int talk_check_template(struct talk *t)
{
    size_t n = t->messages.n, len;
    int rc = talk_add(t, ROLE_USER, "?");
    if (rc != CLI_OK)
        return rc;
    int status = llmgpu_chat_render(t->chat, LLMGPU_CHAT_ANSWER, NULL, 0, &len);
    if (status < 0 && status != LLMGPU_E_RANGE)
        rc = cli_fail_library(status, llmgpu_chat_error(t->chat));
    talk_cut(t, n);
    return rc;
}
