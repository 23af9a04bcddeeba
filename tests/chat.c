/* SPDX-License-Identifier: MIT
 *
 * Conversations through the public API: what a template makes of messages, what becomes of templates that cannot be used,
 * and what each turn costs. The interpreter of templates is tests/template_jinja.py's.
 */
#include "heap.h"
#include "llmgpu/llmgpu.h"

static llmgpu_context *ctx;
static llmgpu_model *model;

static llmgpu_chat *open_chat(const char *template)
{
    llmgpu_chat *chat;
    REQUIRE_INT(llmgpu_chat_create(&chat, model, template, template ? strlen(template) : 0), ==, 0);
    return chat;
}

/** The prompt, once its size is known. */
static const char *render(llmgpu_chat *chat, uint32_t flags)
{
    static char text[4096];
    size_t len, again;
    int rc = llmgpu_chat_render(chat, flags, NULL, 0, &len);
    if (rc != LLMGPU_E_RANGE && !(rc == 0 && len == 0))
        fprintf(stderr, "%s\n", llmgpu_chat_error(chat));
    REQUIRE(rc == LLMGPU_E_RANGE || (rc == 0 && len == 0));
    REQUIRE(len < sizeof(text));
    memset(text, '#', sizeof(text));
    REQUIRE_INT(llmgpu_chat_render(chat, flags, text, len + 1, &again), ==, 0);
    REQUIRE(again == len && text[len] == '\0' && text[len + 1] == '#');
    return text;
}

static void check_messages(void)
{
    static const char template[] =
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}|{{ m['content'] }}{% if m.extra is defined %}|"
        "{{ m.extra | tojson }}{% endif %}]{% endfor %}{% if tools %}{{ tools | length }}{% endif %}"
        "{% if mood is defined %}{{ mood }}{% endif %}{% if add_generation_prompt %}>{% endif %}";
    llmgpu_chat *chat = open_chat(template);
    llmgpu_model_info info;
    char bos[64] = "", expected[512];
    size_t n = 0;
    llmgpu_model_get_info(model, &info, sizeof(info));
    if (info.token_bos >= 0)
        REQUIRE_INT(llmgpu_detokenize(model, &info.token_bos, 1, LLMGPU_TOKENIZE_PARSE_SPECIAL, bos, 63, &n), ==, 0);

    REQUIRE_STR(render(chat, 0), bos);
    REQUIRE_INT(llmgpu_chat_add(chat, "system", "be \"good\""), ==, 0);
    REQUIRE_INT(llmgpu_chat_add_json(chat, "{\"role\": \"user\", \"content\": \"h\\u00e9\", \"extra\": {\"a\": [1, null]}}"),
                ==, 0);
    REQUIRE_INT(llmgpu_chat_count(chat), ==, 2);
    snprintf(expected, sizeof(expected), "%s[system|be \"good\"][user|h\xc3\xa9|{\"a\": [1, null]}]>", bos);
    REQUIRE_STR(render(chat, LLMGPU_CHAT_ANSWER), expected);

    REQUIRE_INT(llmgpu_chat_set_tools(chat, "[{\"type\": \"function\"}, {}]"), ==, 0);
    REQUIRE_INT(llmgpu_chat_set_variable(chat, "mood", "\"grumpy\""), ==, 0);
    REQUIRE_INT(llmgpu_chat_set_variable(chat, "mood", "\"calm\""), ==, 0);
    REQUIRE_INT(llmgpu_chat_truncate(chat, 1), ==, 0);
    snprintf(expected, sizeof(expected), "%s[system|be \"good\"]2calm", bos);
    REQUIRE_STR(render(chat, 0), expected);
    REQUIRE_INT(llmgpu_chat_set_tools(chat, NULL), ==, 0);
    REQUIRE_INT(llmgpu_chat_set_variable(chat, "mood", NULL), ==, 0);
    REQUIRE_INT(llmgpu_chat_set_variable(chat, "never", NULL), ==, 0);
    snprintf(expected, sizeof(expected), "%s[system|be \"good\"]", bos);
    REQUIRE_STR(render(chat, 0), expected);
    llmgpu_chat_free(chat);
}

static void check_refused(void)
{
    llmgpu_chat *chat = open_chat(NULL);
    static const char *const not_objects[] = {"", "[]", "3", "{", "{\"role\": }", "{} {}", "nul"};
    for (size_t i = 0; i < sizeof(not_objects) / sizeof(not_objects[0]); i++) {
        REQUIRE_INT(llmgpu_chat_add_json(chat, not_objects[i]), ==, LLMGPU_E_FORMAT);
        REQUIRE(*llmgpu_chat_error(chat));
    }
    REQUIRE_INT(llmgpu_chat_set_tools(chat, "{}"), ==, LLMGPU_E_FORMAT);
    REQUIRE_INT(llmgpu_chat_set_variable(chat, "x", "}"), ==, LLMGPU_E_FORMAT);
    REQUIRE_INT(llmgpu_chat_truncate(chat, 1), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_chat_count(chat), ==, 0);
    llmgpu_chat_free(chat);
}

/** Templates that cannot be used: a named error, or ChatML for those who ask for it. */
static void check_fallback(void)
{
    static const struct {
        const char *template, *says;
    } bad[] = {
        {"{% for m in messages %}", "line 1"},
        {"\n{{ raise_exception('Roles must alternate') }}", "Roles must alternate"},
        {"{% for i in range(1000000000) %}{% endfor %}", "range"},
        {"{{ messages.__class__ }}{{ messages.x.y }}", "line 1"},
        {"{% set s = namespace(x='a') %}{% for i in range(60) %}{% set s.x = s.x + s.x %}{% endfor %}", ""},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        llmgpu_chat *chat = open_chat(bad[i].template);
        size_t len;
        REQUIRE_INT(llmgpu_chat_add(chat, "user", "Hello."), ==, 0);
        REQUIRE_INT(llmgpu_chat_add_json(chat, "{\"role\": \"assistant\", \"content\": [{\"type\": \"text\", \"text\": "
                                               "\"Hm.\"}, {\"type\": \"image\"}]}"), ==, 0);
        REQUIRE_INT(llmgpu_chat_render(chat, 0, NULL, 0, &len), ==, LLMGPU_E_TEMPLATE);
        if (!strstr(llmgpu_chat_error(chat), bad[i].says))
            fprintf(stderr, "%s\n", llmgpu_chat_error(chat));
        REQUIRE(strstr(llmgpu_chat_error(chat), bad[i].says));
        REQUIRE_STR(render(chat, LLMGPU_CHAT_ANSWER | LLMGPU_CHAT_FALLBACK),
                    "<|im_start|>user\nHello.<|im_end|>\n<|im_start|>assistant\nHm.<|im_end|>\n<|im_start|>assistant\n");
        llmgpu_chat_free(chat);
    }
}

/** Each turn feeds its own tokens only, and answers as a session that is fed all at once. */
static void check_turns(void)
{
    static const char *const turns[] = {"Who are you?", "What do you sell?", "Goodbye."};
    llmgpu_chat *chat = open_chat(NULL), *whole = open_chat(NULL);
    llmgpu_session *s, *fresh;
    llmgpu_session_stats stats;
    uint32_t before = 0;
    REQUIRE_INT(llmgpu_session_create(&s, model, NULL), ==, 0);
    REQUIRE_INT(llmgpu_chat_add(chat, "system", "Your name is Brenna. You are the blacksmith of Oakford."), ==, 0);
    REQUIRE_INT(llmgpu_chat_add(whole, "system", "Your name is Brenna. You are the blacksmith of Oakford."), ==, 0);
    for (int i = 0; i < 3; i++) {
        llmgpu_chat_add(chat, "user", turns[i]);
        llmgpu_chat_add(whole, "user", turns[i]);
        REQUIRE_INT(llmgpu_chat_feed(chat, s, LLMGPU_CHAT_ANSWER | LLMGPU_CHAT_FALLBACK), ==, 0);
        llmgpu_session_get_stats(s, &stats, sizeof(stats));
        REQUIRE(i == 0 || stats.n_prompt - before < 24);
        before = stats.n_prompt;

        REQUIRE_INT(llmgpu_session_create(&fresh, model, NULL), ==, 0);
        REQUIRE_INT(llmgpu_chat_feed(whole, fresh, LLMGPU_CHAT_ANSWER | LLMGPU_CHAT_FALLBACK), ==, 0);
        int32_t a[512], b[512];
        size_t n_a, n_b;
        REQUIRE_INT(llmgpu_session_get_tokens(s, a, 512, &n_a), ==, 0);
        REQUIRE_INT(llmgpu_session_get_tokens(fresh, b, 512, &n_b), ==, 0);
        REQUIRE(n_a == n_b && memcmp(a, b, n_a * sizeof(*a)) == 0);
        llmgpu_session_free(fresh);

        char answer[1024] = "";
        const char *text;
        int rc;
        llmgpu_session_set_remaining(s, 40);
        while ((rc = llmgpu_session_next_text(s, &text, NULL)) > 0) {
            if (rc == LLMGPU_AGAIN)
                REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
            else
                strncat(answer, text, sizeof(answer) - strlen(answer) - 1);
        }
        REQUIRE_INT(rc, ==, 0);
        REQUIRE(*answer);
        llmgpu_session_set_remaining(s, UINT32_MAX);
        llmgpu_chat_add(chat, "assistant", answer);
        llmgpu_chat_add(whole, "assistant", answer);
    }
    // The same once more: one token is computed again, to answer from.
    llmgpu_chat_truncate(chat, llmgpu_chat_count(chat) - 1);
    REQUIRE_INT(llmgpu_chat_feed(chat, s, LLMGPU_CHAT_ANSWER | LLMGPU_CHAT_FALLBACK), ==, 0);
    llmgpu_session_get_stats(s, &stats, sizeof(stats));
    REQUIRE_INT(stats.n_prompt - before, ==, 1);
    llmgpu_chat_free(chat);
    llmgpu_chat_free(whole);
    llmgpu_session_free(s);
}

/** A chat keeps its model, and a session of another one is not fed. */
static void check_handles(const char *path)
{
    llmgpu_model *other;
    llmgpu_session *s;
    llmgpu_chat *chat;
    REQUIRE_INT(llmgpu_model_load(&other, ctx, path, NULL), ==, 0);
    REQUIRE_INT(llmgpu_chat_create(&chat, other, NULL, 0), ==, 0);
    REQUIRE_INT(llmgpu_session_create(&s, model, NULL), ==, 0);
    llmgpu_model_free(other);
    llmgpu_chat_add(chat, "user", "Hello.");
    REQUIRE_INT(llmgpu_chat_feed(chat, s, LLMGPU_CHAT_FALLBACK), ==, LLMGPU_E_INVALID);
    REQUIRE(strstr(llmgpu_chat_error(chat), "another model"));
    REQUIRE(*render(chat, LLMGPU_CHAT_FALLBACK));
    llmgpu_session_free(s);
    llmgpu_chat_free(chat);
}

static int talk(llmgpu_model *m)
{
    llmgpu_chat *chat;
    size_t len;
    LG_TRY(llmgpu_chat_create(&chat, m, NULL, 0));
    int rc = llmgpu_chat_add(chat, "user", "Hello.");
    if (rc == 0)
        rc = llmgpu_chat_add_json(chat, "{\"role\": \"assistant\", \"content\": \"Hm.\"}");
    if (rc == 0)
        rc = llmgpu_chat_set_tools(chat, "[{\"name\": \"buy\"}]");
    if (rc == 0)
        rc = llmgpu_chat_set_variable(chat, "mood", "\"grumpy\"");
    if (rc == 0)
        rc = llmgpu_chat_render(chat, LLMGPU_CHAT_FALLBACK, NULL, 0, &len);
    llmgpu_chat_free(chat);
    return rc == LLMGPU_E_RANGE ? 0 : rc;
}

/** Each allocation fails once. */
static void check_memory(const char *path)
{
    struct test_heap heap = {0};
    llmgpu_context *own;
    llmgpu_model *m;
    llmgpu_model_params vocab;
    llmgpu_context_params p;
    llmgpu_context_params_init(&p, sizeof(p));
    p.device = "cpu";
    p.n_threads = 1;
    p.alloc = test_heap_alloc;
    p.resize = test_heap_resize;
    p.release = test_heap_release;
    p.alloc_user = &heap;
    REQUIRE_INT(llmgpu_context_create(&own, &p), ==, 0);
    llmgpu_model_params_init(&vocab, sizeof(vocab));
    vocab.vocab_only = 1;
    REQUIRE_INT(llmgpu_model_load(&m, own, path, &vocab), ==, 0);
    size_t before = heap.live;
    uint64_t n = 0;
    for (int rc = -1; rc < 0;) {
        heap.fail_at = heap.n + ++n;
        rc = talk(m);
        heap.fail_at = 0;
        REQUIRE(rc == 0 || rc == LLMGPU_E_NOMEM);
        REQUIRE_INT(heap.live, ==, before);
    }
    REQUIRE(n > 20);
    llmgpu_model_free(m);
    llmgpu_context_free(own);
    REQUIRE_INT(heap.live, ==, 0);
}

int main(void)
{
    char path[1024];
    llmgpu_context_params p;
    REQUIRE(getenv("LLMGPU_BUNDLED"));
    snprintf(path, sizeof(path), "%s/tavern-3.7m-q8_0.gguf", getenv("LLMGPU_BUNDLED"));
    llmgpu_context_params_init(&p, sizeof(p));
    p.device = "cpu";
    REQUIRE_INT(llmgpu_context_create(&ctx, &p), ==, 0);
    REQUIRE_INT(llmgpu_model_load(&model, ctx, path, NULL), ==, 0);
    check_messages();
    check_refused();
    check_fallback();
    check_turns();
    check_handles(path);
    check_memory(path);
    llmgpu_model_free(model);
    llmgpu_context_free(ctx);
    return 0;
}
