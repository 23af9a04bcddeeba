/* SPDX-License-Identifier: MIT
 *
 * Conversations: a list of messages, rendered by the model's template.
 */
#include <string.h>
#include <time.h>

#include "api/handles.h"
#include "text/chat.h"

enum { MAX_VALUES = 256 << 20 }; // bytes that messages may take as values of a template

/** One message: a JSON object, or a role and a content. */
struct message {
    char *json;
    char *role, *content;
};

struct variable {
    char *name, *json;
};

struct llmgpu_chat {
    llmgpu_model *model;
    struct lg_env env;
    struct message *messages;
    uint32_t n_messages, cap_messages;
    struct variable *variables;
    uint32_t n_variables;
    char *tools; // JSON; NULL: none
    char *own;   // template of the caller; NULL: the model's
    size_t own_len;
    struct lg_template *parsed[2]; // without and with tools; NULL: not yet
};

/* ---- creating, freeing */

static void free_message(llmgpu_chat *chat, const struct message *m)
{
    lg_free(&chat->env, m->json);
    lg_free(&chat->env, m->role);
    lg_free(&chat->env, m->content);
}

/** Frees the list, but not its hold on the model. */
static void destroy(llmgpu_chat *chat)
{
    struct lg_env *env = &chat->model->ctx->env;
    for (uint32_t i = 0; i < chat->n_messages; i++)
        free_message(chat, &chat->messages[i]);
    for (uint32_t i = 0; i < chat->n_variables; i++) {
        lg_free(env, chat->variables[i].name);
        lg_free(env, chat->variables[i].json);
    }
    lg_template_destroy(chat->parsed[0]);
    lg_template_destroy(chat->parsed[1]);
    lg_free(env, chat->messages);
    lg_free(env, chat->variables);
    lg_free(env, chat->tools);
    lg_free(env, chat->own);
    lg_free(env, chat);
}

int llmgpu_chat_create(llmgpu_chat **out, llmgpu_model *model, const char *template_text, size_t template_len)
{
    if (!out)
        return LLMGPU_E_INVALID;
    *out = NULL;
    if (!model)
        return LLMGPU_E_INVALID;
    struct lg_env env;
    lg_env_child(&env, &model->ctx->env);
    llmgpu_chat *chat = lg_alloc(&env, sizeof(*chat));
    if (!chat)
        return LLMGPU_E_NOMEM;
    chat->model = model;
    lg_env_child(&chat->env, &model->ctx->env);
    if (template_text && !(chat->own = lg_strndup(&chat->env, template_text, template_len))) {
        destroy(chat);
        return LLMGPU_E_NOMEM;
    }
    chat->own_len = template_text ? template_len : 0;
    lg_api_model_ref(model);
    *out = chat;
    return 0;
}

void llmgpu_chat_free(llmgpu_chat *chat)
{
    if (!chat)
        return;
    llmgpu_model *model = chat->model;
    destroy(chat);
    lg_api_model_unref(model);
}

const char *llmgpu_chat_error(const llmgpu_chat *chat)
{
    return chat ? chat->env.error : "";
}

/* ---- messages */

/** Begins a call: errors from here on are this call's. */
static void clear(llmgpu_chat *chat)
{
    chat->env.error[0] = '\0';
}

/** Whether a text is JSON of that kind. */
static int check_json(llmgpu_chat *chat, const char *text, enum lg_value_kind kind, const char *what)
{
    struct lg_arena arena;
    struct lg_value value = {0};
    lg_arena_init(&arena, &chat->env, MAX_VALUES);
    int rc = lg_json_parse(&chat->env, &arena, text, strlen(text), &value);
    if (rc == 0 && kind != LG_VALUE_UNDEFINED && value.kind != kind)
        rc = lg_fail(&chat->env, LLMGPU_E_FORMAT, "%s", what);
    lg_arena_finish(&arena);
    return rc;
}

static int copy(llmgpu_chat *chat, const char *from, char **to)
{
    *to = lg_strndup(&chat->env, from, strlen(from));
    return *to ? 0 : lg_fail_nomem(&chat->env, "a message", strlen(from) + 1);
}

static int append(llmgpu_chat *chat, const struct message *m)
{
    if (chat->n_messages == chat->cap_messages) {
        uint32_t cap = chat->cap_messages ? 2 * chat->cap_messages : 16;
        struct message *messages = lg_resize(&chat->env, chat->messages, cap * sizeof(*messages));
        if (!messages)
            return lg_fail_nomem(&chat->env, "a list of messages", cap * sizeof(*messages));
        chat->messages = messages;
        chat->cap_messages = cap;
    }
    chat->messages[chat->n_messages++] = *m;
    return 0;
}

int llmgpu_chat_add(llmgpu_chat *chat, const char *role, const char *content)
{
    if (!chat || !role || !content)
        return LLMGPU_E_INVALID;
    clear(chat);
    struct message m = {0};
    int rc = copy(chat, role, &m.role);
    if (rc == 0)
        rc = copy(chat, content, &m.content);
    if (rc == 0)
        rc = append(chat, &m);
    if (rc < 0)
        free_message(chat, &m);
    return rc;
}

int llmgpu_chat_add_json(llmgpu_chat *chat, const char *message)
{
    if (!chat || !message)
        return LLMGPU_E_INVALID;
    clear(chat);
    struct message m = {0};
    LG_TRY(check_json(chat, message, LG_VALUE_DICT, "a message is a JSON object"));
    LG_TRY(copy(chat, message, &m.json));
    int rc = append(chat, &m);
    if (rc < 0)
        free_message(chat, &m);
    return rc;
}

int llmgpu_chat_truncate(llmgpu_chat *chat, uint32_t n)
{
    if (!chat)
        return LLMGPU_E_INVALID;
    clear(chat);
    if (n > chat->n_messages)
        return lg_fail(&chat->env, LLMGPU_E_INVALID, "%u messages cannot stay of %u", n, chat->n_messages);
    while (chat->n_messages > n)
        free_message(chat, &chat->messages[--chat->n_messages]);
    return 0;
}

uint32_t llmgpu_chat_count(const llmgpu_chat *chat)
{
    return chat ? chat->n_messages : 0;
}

int llmgpu_chat_set_tools(llmgpu_chat *chat, const char *tools)
{
    if (!chat)
        return LLMGPU_E_INVALID;
    clear(chat);
    char *json = NULL;
    if (tools) {
        LG_TRY(check_json(chat, tools, LG_VALUE_LIST, "tools are a JSON array"));
        LG_TRY(copy(chat, tools, &json));
    }
    lg_free(&chat->env, chat->tools);
    chat->tools = json;
    return 0;
}

static struct variable *find_variable(llmgpu_chat *chat, const char *name)
{
    for (uint32_t i = 0; i < chat->n_variables; i++)
        if (strcmp(chat->variables[i].name, name) == 0)
            return &chat->variables[i];
    return NULL;
}

static int add_variable(llmgpu_chat *chat, const char *name, char *json)
{
    struct variable *all =
        lg_resize(&chat->env, chat->variables, ((size_t)chat->n_variables + 1) * sizeof(*chat->variables));
    if (!all)
        return lg_fail_nomem(&chat->env, "a template's variables", (chat->n_variables + 1) * sizeof(*all));
    chat->variables = all;
    LG_TRY(copy(chat, name, &all[chat->n_variables].name));
    all[chat->n_variables++].json = json;
    return 0;
}

int llmgpu_chat_set_variable(llmgpu_chat *chat, const char *name, const char *value)
{
    if (!chat || !name)
        return LLMGPU_E_INVALID;
    clear(chat);
    struct variable *v = find_variable(chat, name);
    char *json = NULL;
    if (value) {
        LG_TRY(check_json(chat, value, LG_VALUE_UNDEFINED, NULL));
        LG_TRY(copy(chat, value, &json));
    }
    int rc = 0;
    if (v && value) {
        lg_free(&chat->env, v->json);
        v->json = json;
    } else if (v) {
        lg_free(&chat->env, v->name);
        lg_free(&chat->env, v->json);
        *v = chat->variables[--chat->n_variables];
    } else if (value && (rc = add_variable(chat, name, json)) < 0)
        lg_free(&chat->env, json);
    return rc;
}

/* ---- what a template sees */

static int make_message(llmgpu_chat *chat, struct lg_arena *arena, const struct message *m, struct lg_value *out)
{
    if (m->json)
        return lg_json_parse(&chat->env, arena, m->json, strlen(m->json), out);
    LG_TRY(lg_value_dict(arena, out));
    LG_TRY(lg_value_set(arena, out, "role", lg_value_string(m->role, strlen(m->role))));
    return lg_value_set(arena, out, "content", lg_value_string(m->content, strlen(m->content)));
}

static int make_messages(llmgpu_chat *chat, struct lg_arena *arena, struct lg_value *out)
{
    struct lg_value *items = lg_arena_array(arena, chat->n_messages, sizeof(*items));
    if (!items)
        return LLMGPU_E_NOMEM;
    for (uint32_t i = 0; i < chat->n_messages; i++)
        LG_TRY(make_message(chat, arena, &chat->messages[i], &items[i]));
    return lg_value_list(arena, items, chat->n_messages, out);
}

static int make_variables(llmgpu_chat *chat, struct lg_arena *arena, uint32_t flags, struct lg_value *vars)
{
    struct lg_value messages, tools = lg_value_none(), value;
    LG_TRY(make_messages(chat, arena, &messages));
    if (chat->tools)
        LG_TRY(lg_json_parse(&chat->env, arena, chat->tools, strlen(chat->tools), &tools));
    LG_TRY(lg_chat_variables(arena, chat->model->model->vocab, &messages, &tools, flags & LLMGPU_CHAT_ANSWER, vars));
    for (uint32_t i = 0; i < chat->n_variables; i++) {
        const struct variable *v = &chat->variables[i];
        LG_TRY(lg_json_parse(&chat->env, arena, v->json, strlen(v->json), &value));
        LG_TRY(lg_value_set(arena, vars, v->name, value));
    }
    return 0;
}

/* ---- templates */

/** The text of the template that is to be used. */
static int find_template(llmgpu_chat *chat, struct lg_str *out)
{
    const struct lg_gguf *gguf = chat->model->model->gguf;
    if (chat->own) {
        *out = (struct lg_str){chat->own, chat->own_len};
        return 0;
    }
    int found = 0;
    if (chat->tools)
        found = lg_gguf_get_str(gguf, &chat->env, "tokenizer.chat_template.tool_use", out);
    if (found == 0)
        found = lg_gguf_get_str(gguf, &chat->env, "tokenizer.chat_template", out);
    if (found == 0)
        return lg_fail(&chat->env, LLMGPU_E_TEMPLATE, "the model has no chat template");
    return found < 0 ? LLMGPU_E_TEMPLATE : 0;
}

static int get_template(llmgpu_chat *chat, const struct lg_template **out)
{
    struct lg_template **parsed = &chat->parsed[chat->tools != NULL];
    struct lg_str text;
    if (!*parsed) {
        LG_TRY(find_template(chat, &text));
        LG_TRY(lg_template_parse(&chat->env, text.ptr, text.len, NULL, parsed));
    }
    *out = *parsed;
    return 0;
}

/* ---- rendering */

static int render_values(llmgpu_chat *chat, const struct lg_value *vars, uint32_t flags, struct lg_rendering *out)
{
    const struct lg_template *template;
    int rc = get_template(chat, &template);
    if (rc == 0)
        rc = lg_template_render(template, &chat->env, vars, (int64_t)time(NULL), out);
    if (rc == LLMGPU_E_TEMPLATE && flags & LLMGPU_CHAT_FALLBACK)
        rc = lg_chat_render_chatml(&chat->env, lg_value_get(vars, "messages"), flags & LLMGPU_CHAT_ANSWER, out);
    return rc;
}

static int render(llmgpu_chat *chat, uint32_t flags, struct lg_rendering *out)
{
    const uint32_t all = LLMGPU_CHAT_ANSWER | LLMGPU_CHAT_FALLBACK;
    struct lg_arena arena;
    struct lg_value vars;
    *out = (struct lg_rendering){0};
    if (flags & ~all)
        return lg_fail(&chat->env, LLMGPU_E_INVALID, "flags 0x%x that there are not", flags & ~all);
    lg_arena_init(&arena, &chat->env, MAX_VALUES);
    int rc = make_variables(chat, &arena, flags, &vars);
    if (rc == 0)
        rc = render_values(chat, &vars, flags, out);
    else if (rc == LLMGPU_E_NOMEM && !*chat->env.error)
        lg_fail_nomem(&chat->env, "the messages", arena.used);
    lg_arena_finish(&arena);
    return rc;
}

int llmgpu_chat_render(llmgpu_chat *chat, uint32_t flags, char *text, size_t capacity, size_t *len)
{
    if (!chat || !len || (!text && capacity))
        return LLMGPU_E_INVALID;
    clear(chat);
    struct lg_rendering r;
    *len = 0;
    LG_TRY(render(chat, flags, &r));
    *len = r.len;
    if (r.len <= capacity && r.len)
        memcpy(text, r.text, r.len);
    if (r.len < capacity)
        text[r.len] = '\0';
    lg_free(&chat->env, r.text);
    return r.len <= capacity ? 0 : LLMGPU_E_RANGE;
}

/* ---- to a session */

/** The prompt as tokens, to be freed. BOS is put in front where the model asks for it and the template did not. */
static int tokenize(llmgpu_chat *chat, uint32_t flags, int32_t **tokens, size_t *n)
{
    const struct lg_vocab *vocab = chat->model->model->vocab;
    struct lg_rendering r;
    LG_TRY(render(chat, flags, &r));
    uint32_t how = LG_ENCODE_PARSE_SPECIAL | (lg_chat_has_bos(vocab, r.text, r.len) ? 0 : LG_ENCODE_ADD_SPECIAL);
    int rc = lg_vocab_encode(vocab, &chat->env, r.text, r.len, how, tokens, n);
    lg_free(&chat->env, r.text);
    return rc;
}

/** How many tokens a session has in common with a prompt, and how many it has. The last one of the prompt does not count:
 * it is computed for the answer. */
static uint32_t count_common(const llmgpu_session *session, const int32_t *tokens, size_t n, uint32_t *n_session)
{
    const struct lg_session *s = &session->session;
    uint32_t common = 0;
    pthread_mutex_lock(&s->sched->lock);
    *n_session = s->n_visible;
    while (common < s->n_visible && common + 1 < n && s->tokens[common] == tokens[common])
        common++;
    pthread_mutex_unlock(&s->sched->lock);
    return common;
}

static int feed_tokens(llmgpu_chat *chat, llmgpu_session *session, const int32_t *tokens, size_t n)
{
    uint32_t n_session, common = count_common(session, tokens, n, &n_session);
    session->env.error[0] = '\0';
    int rc = common < n_session ? lg_session_rewind(&session->session, common) : 0;
    if (rc == 0)
        rc = lg_api_feed(session, tokens + common, n - common);
    if (rc < 0)
        memcpy(chat->env.error, session->env.error, sizeof(chat->env.error));
    return rc;
}

int llmgpu_chat_feed(llmgpu_chat *chat, llmgpu_session *session, uint32_t flags)
{
    if (!chat || !session)
        return LLMGPU_E_INVALID;
    clear(chat);
    if (session->model != chat->model)
        return lg_fail(&chat->env, LLMGPU_E_INVALID, "the session is of another model");
    int32_t *tokens = NULL;
    size_t n;
    LG_TRY(tokenize(chat, flags, &tokens, &n));
    int rc = feed_tokens(chat, session, tokens, n);
    lg_free(&chat->env, tokens);
    return rc;
}
