/* SPDX-License-Identifier: MIT
 *
 * Where the answers are. A template is a program, so its text is compared, not parsed. The conversation up to
 * an answer, with what asks for it, and the conversation with that answer, are beginnings of the whole for
 * nearly every template; then the answer is what the second has more than the first: exactly what the model
 * is to say when it is asked. Where they are not (a template that shows older answers in another way, or does
 * not begin with one), the content is replaced by two others that differ from their first to their last byte:
 * what these two texts have in common before and behind is not the answer.
 */
#include <string.h>

#include "text/chat.h"
#include "train/data_parts.h"

/** What templates that ask for the date are told, so that samples are the same every day: the first of 2025.
 */
#define NOW INT64_C(1735689600)

struct finder {
    struct lg_env *env;
    const struct lg_sample_reader *reader;
    struct lg_arena *arena;
    const struct lg_value *messages, *tools;
    const struct lg_rendering *whole;
};

bool lg_is_answer(const struct lg_value *message)
{
    static const char name[] = "assistant";
    const struct lg_value *role = lg_value_get(message, "role");
    return role && role->kind == LG_VALUE_STRING && role->n == sizeof(name) - 1 &&
           memcmp(role->s, name, role->n) == 0;
}

static int no_room(const struct finder *f, int rc)
{
    return rc == LLMGPU_E_NOMEM ? lg_fail_nomem(f->env, "the messages", f->arena->used) : rc;
}

static int render(const struct finder *f, const struct lg_value *messages, bool answer,
                  struct lg_rendering *out)
{
    struct lg_value vars;
    *out = (struct lg_rendering){0};
    LG_TRY(no_room(f, lg_chat_variables(f->arena, f->reader->vocab, messages, f->tools, answer, &vars)));
    if (!f->reader->template)
        return lg_chat_render_chatml(f->env, messages, answer, out);
    return lg_template_render(f->reader->template, f->env, &vars, NOW, out);
}

/** The first n messages; 0 when the template refuses them. */
static int render_first(const struct finder *f, uint32_t n, bool answer, struct lg_rendering *out)
{
    struct lg_value first;
    LG_TRY(no_room(f, lg_value_list(f->arena, f->messages->list->items, n, &first)));
    int rc = render(f, &first, answer, out);
    return rc == LLMGPU_E_TEMPLATE ? 0 : rc < 0 ? rc : 1;
}

static bool begins_with(const struct lg_rendering *text, const struct lg_rendering *with)
{
    return with->len <= text->len && memcmp(text->text, with->text, with->len) == 0;
}

/** By what comes before an answer, and that with it: 1, or 0 when these are no beginnings. */
static int find_by_beginnings(const struct finder *f, uint32_t i, struct lg_span *out)
{
    struct lg_rendering before = {0}, with = {0};
    int rc = render_first(f, i, true, &before);
    if (rc > 0 && i + 1 < f->messages->list->n)
        rc = render_first(f, i + 1, false, &with);
    if (rc > 0) {
        const struct lg_rendering *to = with.text ? &with : f->whole;
        *out = (struct lg_span){before.len, to->len};
        rc = begins_with(to, &before) && begins_with(f->whole, to);
    }
    lg_free(f->env, before.text);
    lg_free(f->env, with.text);
    return rc;
}

/** The conversation with another content of message i. */
static int render_replaced(const struct finder *f, uint32_t i, const char *content, struct lg_rendering *out)
{
    const struct lg_list *from = f->messages->list;
    const struct lg_dict *old = from->items[i].dict;
    struct lg_value *items = lg_arena_array(f->arena, from->n, sizeof(*items)), list;
    if (!items)
        return no_room(f, LLMGPU_E_NOMEM);
    memcpy(items, from->items, from->n * sizeof(*items));
    LG_TRY(no_room(f, lg_value_dict(f->arena, &items[i])));
    for (uint32_t p = 0; p < old->n; p++) {
        char *key = lg_arena_bytes(f->arena, old->pairs[2 * p].n + 1);
        if (!key)
            return no_room(f, LLMGPU_E_NOMEM);
        memcpy(key, old->pairs[2 * p].s, old->pairs[2 * p].n);
        key[old->pairs[2 * p].n] = '\0';
        LG_TRY(no_room(f, lg_value_set(f->arena, &items[i], key, old->pairs[2 * p + 1])));
    }
    LG_TRY(
        no_room(f, lg_value_set(f->arena, &items[i], "content", lg_value_string(content, strlen(content)))));
    LG_TRY(no_room(f, lg_value_list(f->arena, items, from->n, &list)));
    return render(f, &list, false, out);
}

static size_t count_common(const char *a, const char *b, size_t most, bool from_end)
{
    size_t n = 0;
    while (n < most && (from_end ? a[-1 - (ptrdiff_t)n] == b[-1 - (ptrdiff_t)n] : a[n] == b[n]))
        n++;
    return n;
}

/** The end token that follows a text, with spaces before it, belongs to the answer: bytes of both, or 0. */
static int count_end(const struct finder *f, const char *text, size_t len, size_t *out)
{
    enum { LONGEST = 64 };
    size_t spaces = 0, n;
    int32_t *tokens;
    struct lg_str piece;
    *out = 0;
    while (spaces < len && text[spaces] == ' ')
        spaces++;
    size_t room = len - spaces < LONGEST ? len - spaces : LONGEST;
    LG_TRY(lg_vocab_encode(f->reader->vocab, f->env, text + spaces, room,
                           LG_ENCODE_PARSE_SPECIAL | LG_ENCODE_CONTINUE, &tokens, &n));
    if (n > 0 && lg_vocab_is_end(f->reader->vocab, tokens[0])) {
        lg_vocab_piece(f->reader->vocab, tokens[0], true, &piece);
        *out = spaces + piece.len;
    }
    lg_free(f->env, tokens);
    return 0;
}

/** By two other contents: 1, or 0 when the whole is not like these two around them. */
static int find_by_others(const struct finder *f, uint32_t i, struct lg_span *out)
{
    struct lg_rendering a = {0}, b = {0};
    const struct lg_rendering *whole = f->whole;
    int rc = render_replaced(f, i, "AxxxA", &a);
    if (rc == 0)
        rc = render_replaced(f, i, "ByyyB", &b);
    if (rc == 0) {
        size_t least = a.len < b.len ? a.len : b.len;
        size_t before = count_common(a.text, b.text, least, false);
        size_t behind = count_common(a.text + a.len, b.text + b.len, least - before, true);
        if (before < a.len && before + behind <= whole->len && memcmp(whole->text, a.text, before) == 0 &&
            memcmp(whole->text + whole->len - behind, a.text + a.len - behind, behind) == 0) {
            size_t end;
            rc = count_end(f, whole->text + whole->len - behind, behind, &end);
            *out = (struct lg_span){before, whole->len - behind + end};
            rc = rc < 0 ? rc : 1;
        }
    }
    lg_free(f->env, a.text);
    lg_free(f->env, b.text);
    return rc == LLMGPU_E_TEMPLATE ? 0 : rc;
}

int lg_find_answers(struct lg_env *env, const struct lg_sample_reader *reader, struct lg_arena *arena,
                    const struct lg_value *messages, const struct lg_value *tools, struct lg_rendering *text,
                    struct lg_span *spans)
{
    struct finder f = {
        .env = env, .reader = reader, .arena = arena, .messages = messages, .tools = tools, .whole = text};
    size_t n = 0, behind = 0;
    LG_TRY(render(&f, messages, false, text));
    for (uint32_t i = 0; i < messages->list->n; i++) {
        if (!lg_is_answer(&messages->list->items[i]))
            continue;
        int rc = find_by_beginnings(&f, i, &spans[n]);
        if (rc == 0)
            rc = find_by_others(&f, i, &spans[n]);
        LG_TRY(rc);
        if (rc == 0 || spans[n].begin < behind || spans[n].end < spans[n].begin)
            return lg_fail(env, LLMGPU_E_TEMPLATE,
                           "the template does not show where the answer of message %u is", i + 1);
        behind = spans[n++].end;
    }
    return 0;
}
