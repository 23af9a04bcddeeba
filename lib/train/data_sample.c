/* SPDX-License-Identifier: MIT
 *
 * A line of JSON as tokens. Text is encoded in parts, whose borders are where answers begin and end: so a
 * prompt is cut into tokens as it is when a model is asked, and no token is half of an answer.
 */
#include <string.h>

#include "text/chat.h"
#include "train/data_parts.h"
#include "util/checked.h"

enum { MAX_VALUES = 256 << 20 }; // bytes that a line may take as values

/** A line being read. */
struct work {
    struct lg_env *env;
    const struct lg_sample_reader *reader;
    struct lg_arena *arena;
    const struct lg_value *line;
    struct lg_sample *out;
};

void lg_sample_free(struct lg_env *env, struct lg_sample *sample)
{
    lg_free(env, sample->tokens);
    lg_free(env, sample->counts);
    *sample = (struct lg_sample){0};
}

static int reserve(struct work *w, size_t n)
{
    struct lg_sample *s = w->out;
    if (n <= s->cap)
        return 0;
    size_t room = n + n / 2, size;
    if (room > INT32_MAX || !lg_mul_size(room, sizeof(*s->tokens), &size))
        return lg_fail(w->env, LLMGPU_E_FORMAT, "more tokens than can be counted");
    int32_t *tokens = lg_resize(w->env, s->tokens, size);
    s->tokens = tokens ? tokens : s->tokens;
    uint8_t *counts = lg_resize(w->env, s->counts, room);
    s->counts = counts ? counts : s->counts;
    if (!tokens || !counts)
        return lg_fail_nomem(w->env, "the tokens of a sample", size);
    s->cap = (uint32_t)room;
    return 0;
}

static int put_tokens(struct work *w, const int32_t *tokens, size_t n, bool counts)
{
    size_t all;
    if (n == 0)
        return 0;
    if (!lg_add_size(w->out->n, n, &all))
        return lg_fail(w->env, LLMGPU_E_FORMAT, "more tokens than can be counted");
    LG_TRY(reserve(w, all));
    memcpy(w->out->tokens + w->out->n, tokens, n * sizeof(*tokens));
    memset(w->out->counts + w->out->n, counts || w->reader->all, n);
    w->out->n = (uint32_t)all;
    return 0;
}

/** Puts an end token behind a text, but not behind another. */
static int put_end(struct work *w)
{
    const struct lg_vocab *vocab = w->reader->vocab;
    const struct lg_vocab_special *special = lg_vocab_special(vocab);
    int32_t end = special->eos >= 0 ? special->eos : special->eot;
    if (end < 0 || (w->out->n > 0 && lg_vocab_is_end(vocab, w->out->tokens[w->out->n - 1])))
        return 0;
    return put_tokens(w, &end, 1, true);
}

/** How many of an answer's tokens a model has to say: up to its last end token. What follows is the
 * template's. */
static size_t count_said(const struct lg_vocab *vocab, const int32_t *tokens, size_t n)
{
    for (size_t i = n; i > 0; i--)
        if (lg_vocab_is_end(vocab, tokens[i - 1]))
            return i;
    return n;
}

/** Whether what comes next follows text, and not a special token or nothing. */
static bool follows_text(const struct work *w)
{
    const struct lg_sample *s = w->out;
    return s->n > 0 && !(lg_vocab_attr(w->reader->vocab, s->tokens[s->n - 1]) &
                         (LG_TOKEN_CONTROL | LG_TOKEN_USER_DEFINED));
}

static int put_text(struct work *w, const char *text, size_t len, bool counts)
{
    const struct lg_vocab *vocab = w->reader->vocab;
    const struct lg_vocab_special *special = lg_vocab_special(vocab);
    int32_t *tokens;
    size_t n;
    if (w->out->n == 0 && special->add_bos && special->bos >= 0 && !lg_chat_has_bos(vocab, text, len))
        LG_TRY(put_tokens(w, &special->bos, 1, false));
    uint32_t flags = LG_ENCODE_PARSE_SPECIAL | (follows_text(w) ? LG_ENCODE_CONTINUE : 0);
    LG_TRY(lg_vocab_encode(vocab, w->env, text, len, flags, &tokens, &n));
    size_t said = counts ? count_said(vocab, tokens, n) : 0;
    int rc = put_tokens(w, tokens, said, true);
    if (rc == 0)
        rc = put_tokens(w, tokens + said, n - said, false);
    lg_free(w->env, tokens);
    return rc;
}

/* ---- shapes */

static int bad(const struct work *w, const char *what)
{
    return lg_fail(w->env, LLMGPU_E_FORMAT, "%s", what);
}

static bool is_text(const struct lg_value *v)
{
    return v && v->kind == LG_VALUE_STRING;
}

static int check_messages(const struct work *w, const struct lg_value *messages, uint32_t *n_answers)
{
    *n_answers = 0;
    if (messages->kind != LG_VALUE_LIST || messages->list->n == 0)
        return bad(w, "its messages are no list, or an empty one");
    for (uint32_t i = 0; i < messages->list->n; i++) {
        const struct lg_value *m = &messages->list->items[i], *role = lg_value_get(m, "role");
        if (m->kind != LG_VALUE_DICT || !is_text(role))
            return lg_fail(w->env, LLMGPU_E_FORMAT, "message %u has no role", i + 1);
        for (uint32_t p = 0; p < m->dict->n; p++)
            if (m->dict->pairs[2 * p].kind != LG_VALUE_STRING)
                return bad(w, "a member of a message has no name");
        *n_answers += lg_is_answer(m);
    }
    return 0;
}

static int put_plain(struct work *w, const struct lg_value *messages)
{
    for (uint32_t i = 0; i < messages->list->n; i++) {
        const struct lg_value *m = &messages->list->items[i], *content = lg_value_get(m, "content");
        bool answer = lg_is_answer(m);
        if (!is_text(content))
            return lg_fail(w->env, LLMGPU_E_FORMAT, "message %u has no text as its content", i + 1);
        LG_TRY(put_text(w, content->s, content->n, answer));
        if (answer)
            LG_TRY(put_end(w));
    }
    return 0;
}

static int put_parts(struct work *w, const struct lg_rendering *text, const struct lg_span *spans, uint32_t n)
{
    size_t at = 0;
    for (uint32_t i = 0; i < n; at = spans[i++].end) {
        LG_TRY(put_text(w, text->text + at, spans[i].begin - at, false));
        LG_TRY(put_text(w, text->text + spans[i].begin, spans[i].end - spans[i].begin, true));
    }
    return at < text->len ? put_text(w, text->text + at, text->len - at, false) : 0;
}

static int put_messages(struct work *w, const struct lg_value *messages)
{
    const struct lg_value *tools = lg_value_get(w->line, "tools"), none = lg_value_none();
    struct lg_rendering text = {0};
    uint32_t n;
    LG_TRY(check_messages(w, messages, &n));
    if (w->reader->plain)
        return put_plain(w, messages);
    struct lg_span *spans = lg_arena_array(w->arena, n, sizeof(*spans));
    if (!spans)
        return lg_fail_nomem(w->env, "the messages", w->arena->used);
    tools = tools && tools->kind == LG_VALUE_LIST ? tools : &none;
    int rc = lg_find_answers(w->env, w->reader, w->arena, messages, tools, &text, spans);
    if (rc == 0)
        rc = put_parts(w, &text, spans, n);
    lg_free(w->env, text.text);
    return rc;
}

static int make_message(struct work *w, const char *role, const char *text, size_t len, struct lg_value *out)
{
    LG_TRY(lg_value_dict(w->arena, out));
    LG_TRY(lg_value_set(w->arena, out, "role", lg_value_string(role, strlen(role))));
    return lg_value_set(w->arena, out, "content", lg_value_string(text, len));
}

/** A question and its answer. */
static int put_pair(struct work *w, const char *question, size_t len, const struct lg_value *answer)
{
    struct lg_value *items = lg_arena_array(w->arena, 2, sizeof(*items)), list;
    int rc = items ? make_message(w, "user", question, len, &items[0]) : LLMGPU_E_NOMEM;
    if (rc == 0)
        rc = make_message(w, "assistant", answer->s, answer->n, &items[1]);
    if (rc == 0)
        rc = lg_value_list(w->arena, items, 2, &list);
    return rc < 0 ? lg_fail_nomem(w->env, "the messages", w->arena->used) : put_messages(w, &list);
}

static int read_prompt(struct work *w, const struct lg_value *prompt)
{
    const struct lg_value *completion = lg_value_get(w->line, "completion");
    if (!is_text(prompt) || !is_text(completion))
        return bad(w, "its prompt and completion are not both texts");
    return put_pair(w, prompt->s, prompt->n, completion);
}

static int read_instruction(struct work *w, const struct lg_value *instruction)
{
    const struct lg_value *input = lg_value_get(w->line, "input"), *output = lg_value_get(w->line, "output");
    bool has_input = is_text(input) && input->n > 0;
    if (!is_text(instruction) || !is_text(output) ||
        (input && !is_text(input) && input->kind != LG_VALUE_NONE))
        return bad(w, "its instruction, input and output are not all texts");
    if (!has_input)
        return put_pair(w, instruction->s, instruction->n, output);
    size_t len = (size_t)instruction->n + 2 + input->n;
    char *both = lg_arena_bytes(w->arena, len);
    if (!both)
        return lg_fail_nomem(w->env, "the messages", len);
    memcpy(both, instruction->s, instruction->n);
    memcpy(both + instruction->n, "\n\n", 2);
    memcpy(both + instruction->n + 2, input->s, input->n);
    return put_pair(w, both, len, output);
}

static int read_text(struct work *w, const struct lg_value *text)
{
    if (!is_text(text))
        return bad(w, "its text is none");
    LG_TRY(put_text(w, text->s, text->n, false));
    LG_TRY(put_end(w));
    if (w->out->n > 0)
        memset(w->out->counts, 1, w->out->n);
    return 0;
}

static int read_tokens(struct work *w, const struct lg_value *tokens)
{
    const struct lg_value *mask = lg_value_get(w->line, "mask");
    int64_t n_vocab = lg_vocab_size(w->reader->vocab);
    if (w->reader->n_vocab > 0)
        n_vocab = w->reader->n_vocab;
    if (tokens->kind != LG_VALUE_LIST ||
        (mask && (mask->kind != LG_VALUE_LIST || mask->list->n != tokens->list->n)))
        return bad(w, "its tokens and mask are not lists of the same length");
    LG_TRY(reserve(w, tokens->list->n));
    for (uint32_t i = 0; i < tokens->list->n; i++) {
        const struct lg_value *token = &tokens->list->items[i], *counts = mask ? &mask->list->items[i] : NULL;
        if (token->kind != LG_VALUE_INT || token->i < 0 || token->i >= n_vocab)
            return lg_fail(w->env, LLMGPU_E_FORMAT, "token %u is no id of the vocabulary, 0 .. %lld", i,
                           (long long)n_vocab - 1);
        if (counts &&
            ((counts->kind != LG_VALUE_INT && counts->kind != LG_VALUE_BOOL) || (counts->i | 1) != 1))
            return lg_fail(w->env, LLMGPU_E_FORMAT, "the mask of token %u is not 0 or 1", i);
        int32_t id = (int32_t)token->i;
        LG_TRY(put_tokens(w, &id, 1, !counts || counts->i == 1));
    }
    return 0;
}

static int read_shape(struct work *w)
{
    static const struct {
        const char *name;
        int (*read)(struct work *w, const struct lg_value *value);
    } shapes[] = {
        {"messages", put_messages},        {"tokens", read_tokens}, {"prompt", read_prompt},
        {"instruction", read_instruction}, {"text", read_text}, // last: some files repeat the sample there,
                                                                // in a format of theirs
    };
    if (w->line->kind != LG_VALUE_DICT)
        return bad(w, "it is no object");
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        const struct lg_value *value = lg_value_get(w->line, shapes[i].name);
        if (value)
            return shapes[i].read(w, value);
    }
    return bad(w, "it has none of messages, tokens, prompt, instruction and text");
}

static bool is_empty(struct lg_str line)
{
    while (line.len > 0 && (line.ptr[line.len - 1] == ' ' || line.ptr[line.len - 1] == '\t' ||
                            line.ptr[line.len - 1] == '\r'))
        line.len--;
    return line.len == 0;
}

int lg_sample_read(struct lg_env *env, const struct lg_sample_reader *reader, struct lg_str line,
                   struct lg_sample *out)
{
    struct lg_arena arena;
    struct lg_value value;
    struct work w = {.env = env, .reader = reader, .arena = &arena, .line = &value, .out = out};
    out->n = 0;
    if (is_empty(line))
        return 0;
    if (line.len > LG_MAX_LINE)
        return lg_fail(env, LLMGPU_E_FORMAT, "it has %zu bytes, more than %d", line.len, LG_MAX_LINE);
    lg_arena_init(&arena, env, MAX_VALUES);
    int rc = lg_json_parse(env, &arena, line.ptr, line.len, &value);
    if (rc == 0)
        rc = read_shape(&w);
    if (rc == LLMGPU_E_NOMEM && arena.full)
        rc = lg_fail(env, LLMGPU_E_FORMAT, "it takes more than %d bytes of memory", MAX_VALUES);
    lg_arena_finish(&arena);
    if (rc < 0)
        out->n = 0;
    return rc;
}
