/* SPDX-License-Identifier: MIT */
#include "text/chat.h"

#include <string.h>

/* ---- variables */

/** The texts of the vocabulary's special tokens, under the names that templates know. */
static int set_special(const struct lg_vocab *vocab, struct lg_arena *arena, const struct lg_value *vars)
{
    const struct lg_vocab_special *special = lg_vocab_special(vocab);
    const struct {
        const char *name;
        int32_t id;
    } tokens[] = {
        {"bos_token", special->bos}, {"eos_token", special->eos}, {"unk_token", special->unk},
        {"sep_token", special->sep}, {"pad_token", special->pad},
    };
    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
        struct lg_str text;
        if (tokens[i].id < 0)
            continue;
        lg_vocab_piece(vocab, tokens[i].id, true, &text);
        LG_TRY(lg_value_set(arena, vars, tokens[i].name, lg_value_string(text.ptr, text.len)));
    }
    return 0;
}

int lg_chat_variables(struct lg_arena *arena, const struct lg_vocab *vocab, const struct lg_value *messages,
                      const struct lg_value *tools, bool answer, struct lg_value *out)
{
    LG_TRY(lg_value_dict(arena, out));
    LG_TRY(lg_value_set(arena, out, "messages", *messages));
    LG_TRY(lg_value_set(arena, out, "tools", *tools));
    LG_TRY(lg_value_set(arena, out, "documents", lg_value_none()));
    LG_TRY(lg_value_set(arena, out, "add_generation_prompt", lg_value_bool(answer)));
    return set_special(vocab, arena, out);
}

/* ---- ChatML */

struct text {
    char *bytes; // room is counted first, and then written
    size_t len;
};

static void put(struct text *t, const char *bytes, size_t len)
{
    if (t->bytes)
        memcpy(t->bytes + t->len, bytes, len);
    t->len += len;
}

static void put_string(struct text *t, const char *s)
{
    put(t, s, strlen(s));
}

/** A content: a text, or parts of which the texts count. */
static void put_content(struct text *t, const struct lg_value *content)
{
    if (!content)
        return;
    if (content->kind == LG_VALUE_STRING)
        put(t, content->s, content->n);
    for (uint32_t i = 0; content->kind == LG_VALUE_LIST && i < content->list->n; i++) {
        const struct lg_value *part = lg_value_get(&content->list->items[i], "text");
        if (part && part->kind == LG_VALUE_STRING)
            put(t, part->s, part->n);
    }
}

static void put_chatml(struct text *t, const struct lg_value *messages, bool answer)
{
    for (uint32_t i = 0; i < messages->list->n; i++) {
        const struct lg_value *m = &messages->list->items[i];
        put_string(t, "<|im_start|>");
        put_content(t, lg_value_get(m, "role"));
        put_string(t, "\n");
        put_content(t, lg_value_get(m, "content"));
        put_string(t, "<|im_end|>\n");
    }
    if (answer)
        put_string(t, "<|im_start|>assistant\n");
}

int lg_chat_render_chatml(struct lg_env *env, const struct lg_value *messages, bool answer,
                          struct lg_rendering *out)
{
    struct text t = {0};
    put_chatml(&t, messages, answer);
    t.bytes = out->text = lg_alloc(env, t.len + 1);
    if (!out->text)
        return lg_fail_nomem(env, "a prompt", t.len + 1);
    t.len = 0;
    put_chatml(&t, messages, answer);
    out->len = t.len;
    return 0;
}

/* ---- to tokens */

bool lg_chat_has_bos(const struct lg_vocab *vocab, const char *text, size_t len)
{
    int32_t bos = lg_vocab_special(vocab)->bos;
    struct lg_str spelled = {"", 0};
    if (bos >= 0)
        lg_vocab_piece(vocab, bos, true, &spelled);
    return spelled.len && spelled.len <= len && memcmp(text, spelled.ptr, spelled.len) == 0;
}
