/* SPDX-License-Identifier: MIT
 *
 * Saved sessions through the public API, on the device that the first argument names: what goes on from a
 * saved state is what would have been without, and a state that cannot be used changes nothing.
 */
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model_build.h"
#include "tavern.h"

enum { N_CTX = 192, N_REST = 16 };

static struct tavern t;
static char folder[] = "/tmp/llmgpu-saved-XXXXXX";

/** The bytes of a saved state. */
struct bytes {
    uint8_t *data;
    size_t size;
};

static struct bytes save(llmgpu_session *s, int kind, const llmgpu_session *base)
{
    struct bytes b;
    size_t again;
    REQUIRE_INT(llmgpu_session_save(s, kind, base, NULL, 0, &b.size), ==, LLMGPU_E_RANGE);
    b.data = malloc(b.size);
    REQUIRE(b.data);
    REQUIRE_INT(llmgpu_session_save(s, kind, base, b.data, b.size - 1, &again), ==, LLMGPU_E_RANGE);
    REQUIRE_INT(llmgpu_session_save(s, kind, base, b.data, b.size, &again), ==, 0);
    REQUIRE_INT(again, ==, b.size);
    return b;
}

static void restore(llmgpu_session *s, struct bytes b)
{
    int rc = llmgpu_session_restore(s, b.data, b.size);
    if (rc < 0)
        fprintf(stderr, "%s\n", llmgpu_session_error(s));
    REQUIRE_INT(rc, ==, 0);
}

static void require_refused(llmgpu_session *s, struct bytes b, int code, const char *sentence)
{
    int rc = llmgpu_session_restore(s, b.data, b.size);
    if (rc != code || !strstr(llmgpu_session_error(s), sentence))
        fprintf(stderr, "%d '%s'\n", rc, llmgpu_session_error(s));
    REQUIRE_INT(rc, ==, code);
    REQUIRE(strstr(llmgpu_session_error(s), sentence));
}

static void require_same_tokens(const llmgpu_session *a, const llmgpu_session *b)
{
    int32_t tokens[2][N_CTX + 1];
    size_t n[2];
    REQUIRE_INT(llmgpu_session_get_tokens(a, tokens[0], N_CTX + 1, &n[0]), ==, 0);
    REQUIRE_INT(llmgpu_session_get_tokens(b, tokens[1], N_CTX + 1, &n[1]), ==, 0);
    REQUIRE_INT(n[0], ==, n[1]);
    REQUIRE(memcmp(tokens[0], tokens[1], n[0] * sizeof(tokens[0][0])) == 0);
}

static void set_sampler(llmgpu_session *s, bool drawn)
{
    llmgpu_sampler_params p;
    REQUIRE_INT(llmgpu_sampler_params_init(&p, sizeof(p)), ==, 0);
    p.temperature = drawn ? 1.3f : 0;
    p.top_k = drawn ? 60 : 0;
    p.top_p = drawn ? 0.97f : 1;
    p.repeat_penalty = drawn ? 1.2f : 1;
    p.presence_penalty = drawn ? 0.25f : 0;
    p.seed = 0x123456789;
    REQUIRE_INT(llmgpu_session_set_sampler(s, &p), ==, 0);
}

/** A conversation of two questions, the second answer begun. */
static llmgpu_session *converse(struct tavern *where, bool drawn, uint32_t tokens_per_submit)
{
    llmgpu_session_params p = tavern_params(N_CTX);
    p.tokens_per_submit = tokens_per_submit;
    int32_t tokens[16];
    llmgpu_session *s = tavern_session(where, &p);
    set_sampler(s, drawn);
    tavern_feed(s, tavern_persona);
    tavern_feed(s, tavern_question);
    tavern_take(s, tokens, 12);
    tavern_feed(s, tavern_more);
    tavern_take(s, tokens, 9);
    return s;
}

/** What a session says next. Others are held against it. */
static void go_on(llmgpu_session *s, int32_t out[N_REST])
{
    tavern_take(s, out, N_REST);
}

static void require_goes_on(llmgpu_session *s, const int32_t expected[N_REST])
{
    int32_t found[N_REST];
    go_on(s, found);
    for (int i = 0; i < N_REST; i++)
        REQUIRE_INT(found[i], ==, expected[i]);
}

static llmgpu_session *fresh(void)
{
    llmgpu_session_params p = tavern_params(N_CTX);
    return tavern_session(&t, &p);
}

/** Also with tokens that were sampled and not taken when it was saved: they are none of the state's. */
static void test_continuation(void)
{
    for (int i = 0; i < 8; i++) {
        bool drawn = i & 1;
        int kind = i & 2 ? LLMGPU_STATE_FULL : LLMGPU_STATE_COMPACT;
        int32_t expected[N_REST];
        llmgpu_session *s = converse(&t, drawn, i & 4 ? 5 : 1), *other = fresh();
        llmgpu_session_stats before = tavern_stats(s);
        struct bytes b = save(s, kind, NULL);
        tavern_feed(other, "Something else altogether."); // goes away
        restore(other, b);
        require_same_tokens(s, other);
        llmgpu_session_stats after = tavern_stats(other);
        REQUIRE_INT(after.n_prompt, ==, before.n_prompt);
        REQUIRE_INT(after.n_generated, ==, before.n_generated);
        go_on(s, expected);
        require_goes_on(other, expected);
        restore(s, b); // back in time
        require_goes_on(s, expected);
        llmgpu_session_free(s);
        llmgpu_session_free(other);
        free(b.data);
    }
}

/** A full state goes on at once; what it holds comes out of it again. */
static void test_full(void)
{
    llmgpu_session *s = converse(&t, true, 1), *other = fresh();
    int32_t expected[N_REST];
    struct bytes b = save(s, LLMGPU_STATE_FULL, NULL);
    restore(other, b);
    llmgpu_session_stats stats = tavern_stats(other);
    REQUIRE_INT(stats.n_computed, ==, stats.n_tokens - 1);
    struct bytes again = save(other, LLMGPU_STATE_FULL, NULL);
    REQUIRE_INT(again.size, ==, b.size);
    REQUIRE(memcmp(again.data, b.data, b.size) == 0);
    go_on(s, expected);
    require_goes_on(other, expected);
    stats = tavern_stats(other);
    REQUIRE_INT(stats.prompt_submits, ==, 0);
    REQUIRE_INT(stats.decode_submits, ==, N_REST);
    llmgpu_session_free(s);
    llmgpu_session_free(other);
    free(b.data);
    free(again.data);
}

/** What is computed again is the same, bit for bit: a prompt by passes over it, an answer token by token. */
static void test_computed_again(void)
{
    llmgpu_session *s = converse(&t, false, 1), *other = fresh();
    struct bytes compact = save(s, LLMGPU_STATE_COMPACT, NULL), full = save(s, LLMGPU_STATE_FULL, NULL);
    restore(other, compact);
    REQUIRE_INT(tavern_stats(other).n_computed, ==, 0);
    REQUIRE_INT(llmgpu_session_prefill(other), ==, 0);
    struct bytes again = save(other, LLMGPU_STATE_FULL, NULL);
    REQUIRE_INT(again.size, ==, full.size);
    REQUIRE(memcmp(again.data, full.data, full.size) == 0);
    free(compact.data);
    free(full.data);
    free(again.data);
    llmgpu_session_free(s);
    llmgpu_session_free(other);
}

/** The same of what a lost device has forgotten. */
static void test_recovered(void)
{
    llmgpu_session *s = converse(&t, true, 1), *other = fresh();
    int32_t expected[N_REST];
    struct bytes full = save(s, LLMGPU_STATE_FULL, NULL);
    REQUIRE_INT(llmgpu_context_recover(t.ctx, NULL), ==, 0);
    REQUIRE_INT(tavern_stats(s).n_computed, ==, 0);
    REQUIRE_INT(llmgpu_session_prefill(s), ==, 0);
    struct bytes again = save(s, LLMGPU_STATE_FULL, NULL);
    REQUIRE(again.size == full.size && memcmp(again.data, full.data, full.size) == 0);
    restore(other, full);
    go_on(s, expected);
    require_goes_on(other, expected);
    free(full.data);
    free(again.data);
    llmgpu_session_free(s);
    llmgpu_session_free(other);
}

/** While a thread works ahead. */
static void test_background(void)
{
    REQUIRE_INT(llmgpu_context_start(t.ctx), ==, 0);
    for (int kind = 0; kind < 2; kind++) {
        llmgpu_session *s = converse(&t, true, 1), *other = fresh();
        int32_t expected[N_REST];
        struct bytes b = {.data = malloc(1 << 20)};
        REQUIRE(b.data);
        REQUIRE_INT(llmgpu_session_save(s, kind, NULL, b.data, 1 << 20, &b.size), ==, 0);
        restore(other, b);
        go_on(s, expected);
        restore(s, b);
        require_goes_on(other, expected);
        require_goes_on(s, expected);
        free(b.data);
        llmgpu_session_free(s);
        llmgpu_session_free(other);
    }
    REQUIRE_INT(llmgpu_context_stop(t.ctx), ==, 0);
}

static void test_delta(void)
{
    llmgpu_session *base = fresh(), *s, *other;
    int32_t tokens[16], expected[N_REST];
    tavern_feed(base, tavern_persona);
    REQUIRE_INT(llmgpu_session_prefill(base), ==, 0);
    uint32_t n_persona = tavern_stats(base).n_tokens;
    REQUIRE_INT(llmgpu_session_fork(&s, base), ==, 0);
    set_sampler(s, true);
    tavern_feed(s, tavern_question);
    tavern_take(s, tokens, 10);
    struct bytes whole[2], delta[2];
    for (int kind = 0; kind < 2; kind++) {
        whole[kind] = save(s, kind, NULL);
        delta[kind] = save(s, kind, base);
    }
    uint32_t n_rest = tavern_stats(s).n_tokens - n_persona;
    uint64_t kv_row = 2 * sizeof(float) * 4 * 32; // at the least, of any model here
    REQUIRE_INT(whole[0].size, <, 8 * (n_persona + n_rest) + 1024);
    REQUIRE_INT(delta[0].size, <, 8 * n_rest + 200);
    REQUIRE_INT(delta[1].size + (n_persona - 1) * kv_row, <=, whole[1].size);
    go_on(s, expected);

    for (int kind = 0; kind < 2; kind++) {
        REQUIRE_INT(llmgpu_session_fork(&other, base), ==, 0);
        restore(other, delta[kind]);
        if (kind == LLMGPU_STATE_FULL)
            REQUIRE_INT(tavern_stats(other).n_computed, ==, n_persona + n_rest - 1);
        require_goes_on(other, expected);
        restore(other, delta[kind]); // it begins with the same still
        require_goes_on(other, expected);
        llmgpu_session_free(other);

        other = fresh(); // the same beginning, computed nowhere yet
        tavern_feed(other, tavern_persona);
        restore(other, delta[kind]);
        require_goes_on(other, expected);
        REQUIRE_INT(llmgpu_session_reset(other), ==, 0);
        tavern_feed(other, tavern_question);
        require_refused(other, delta[kind], LLMGPU_E_INVALID, "begin with");
        llmgpu_session_free(other);
        free(whole[kind].data);
        free(delta[kind].data);
    }

    // The fork's pages were its own: the base says what it would have said.
    tavern_feed(base, tavern_question);
    other = fresh();
    tavern_feed(other, tavern_persona);
    tavern_feed(other, tavern_question);
    go_on(other, expected);
    require_goes_on(base, expected);
    llmgpu_session_free(base);
    llmgpu_session_free(s);
    llmgpu_session_free(other);
}

/** Of a session against itself, and of one that has nothing in common. */
static void test_delta_edges(void)
{
    llmgpu_session *s = converse(&t, false, 1), *empty = fresh(), *other = fresh();
    int32_t expected[N_REST];
    struct bytes self = save(s, LLMGPU_STATE_COMPACT, s), none = save(s, LLMGPU_STATE_COMPACT, empty);
    struct bytes all = save(s, LLMGPU_STATE_COMPACT, NULL), nothing = save(empty, LLMGPU_STATE_FULL, NULL);
    REQUIRE_INT(self.size, <, 200);
    REQUIRE(none.size == all.size && memcmp(none.data, all.data, all.size) == 0);
    restore(s, self);
    restore(other, all);
    go_on(s, expected);
    require_goes_on(other, expected);
    restore(other, nothing);
    REQUIRE_INT(tavern_stats(other).n_tokens, ==, 0);
    int32_t token;
    REQUIRE_INT(llmgpu_session_next(other, &token), ==, LLMGPU_E_INVALID);
    free(self.data);
    free(none.data);
    free(all.data);
    free(nothing.data);
    llmgpu_session_free(s);
    llmgpu_session_free(empty);
    llmgpu_session_free(other);
}

/** An answer that was over stays so. */
static void test_ended(void)
{
    llmgpu_session_params p = tavern_params(N_CTX);
    p.ignore_end = 0;
    llmgpu_session *s = tavern_session(&t, &p), *other = tavern_session(&t, &p);
    int32_t token;
    tavern_feed(s, tavern_persona);
    tavern_feed(s, tavern_question);
    while (tavern_next(s, &token) == LLMGPU_TOKEN)
        ;
    struct bytes b = save(s, LLMGPU_STATE_FULL, NULL);
    restore(other, b);
    REQUIRE_INT(llmgpu_session_next(other, &token), ==, LLMGPU_DONE);
    int32_t expected[N_REST];
    llmgpu_session *both[] = {s, other};
    for (int i = 0; i < 2; i++)
        tavern_feed(both[i], "\n<|im_start|>user\nWhat do you sell?<|im_end|>\n<|im_start|>assistant\n");
    tavern_take(s, expected, 4);
    for (int i = 0; i < 4; i++) {
        REQUIRE_INT(tavern_next(other, &token), ==, LLMGPU_TOKEN);
        REQUIRE_INT(token, ==, expected[i]);
    }
    free(b.data);
    llmgpu_session_free(s);
    llmgpu_session_free(other);
}

/** Appends pieces of an answer, at most so many. */
static int read_text(llmgpu_session *s, char *out, int n_pieces)
{
    const char *piece;
    int rc = LLMGPU_AGAIN;
    for (int i = 0; i < n_pieces; i++) {
        while ((rc = llmgpu_session_next_text(s, &piece, NULL)) == LLMGPU_AGAIN)
            REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
        if (rc != LLMGPU_TOKEN)
            break;
        strcat(out, piece);
    }
    return rc;
}

static llmgpu_session *asked(const char *stop)
{
    llmgpu_session_params p = tavern_params(N_CTX);
    p.ignore_end = 0;
    llmgpu_session *s = tavern_session(&t, &p);
    if (stop)
        REQUIRE_INT(llmgpu_session_add_stop(s, stop, strlen(stop)), ==, 0);
    tavern_feed(s, tavern_persona);
    tavern_feed(s, tavern_question);
    return s;
}

/** What comes of an answer that was saved and goes on in another session. */
static void finish_elsewhere(llmgpu_session *s, const char *stop, char *out)
{
    struct bytes b = save(s, LLMGPU_STATE_COMPACT, NULL);
    llmgpu_session *other = asked(stop);
    restore(other, b);
    REQUIRE_INT(read_text(other, out, 1000), ==, LLMGPU_DONE);
    llmgpu_session_free(other);
    free(b.data);
}

/** An answer saved anywhere in it goes on as a text, and ends at a stop text that lies across. */
static void test_text(void)
{
    char whole[2048] = "", stop[9] = "", expected[2048] = "";
    llmgpu_session *s = asked(NULL);
    REQUIRE_INT(read_text(s, whole, 1000), ==, LLMGPU_DONE);
    llmgpu_session_free(s);
    REQUIRE(strlen(whole) > 24);
    memcpy(stop, whole + 13, 8);
    s = asked(stop);
    REQUIRE_INT(read_text(s, expected, 1000), ==, LLMGPU_DONE);
    REQUIRE(strlen(expected) == (size_t)(strstr(whole, stop) - whole));
    llmgpu_session_free(s);

    int rc = LLMGPU_TOKEN;
    for (int n = 0; n < 1000 && rc != LLMGPU_DONE; n++) {
        char found[2048] = "";
        s = asked(stop);
        rc = read_text(s, found, n);
        finish_elsewhere(s, stop, found);
        REQUIRE_STR(found, expected);
        llmgpu_session_free(s);
    }
    REQUIRE_INT(rc, ==, LLMGPU_DONE);

    // Also between two tokens that a stop text lies across, where next_text() does not pause.
    s = asked(stop);
    int32_t token;
    while (tavern_next(s, &token) == LLMGPU_TOKEN) {
        char found[2048] = "";
        finish_elsewhere(s, stop, found);
        size_t n = strlen(found), all = strlen(expected);
        REQUIRE(n <= all && strcmp(found, expected + all - n) == 0);
    }
    llmgpu_session_free(s);
}

/** Each byte; the session says afterwards what it would have said. */
static void test_damage(void)
{
    llmgpu_session *s = converse(&t, true, 1), *other = converse(&t, false, 1);
    int32_t expected[N_REST];
    struct bytes b = save(s, LLMGPU_STATE_COMPACT, NULL), before = save(other, LLMGPU_STATE_FULL, NULL);
    for (size_t i = 0; i < b.size; i++) {
        b.data[i] ^= 0x20;
        int rc = llmgpu_session_restore(other, b.data, b.size);
        REQUIRE(rc == LLMGPU_E_FORMAT || (rc == LLMGPU_E_UNSUPPORTED && i >= 8 && i < 12));
        REQUIRE(*llmgpu_session_error(other));
        b.data[i] ^= 0x20;
        REQUIRE_INT(llmgpu_session_restore(other, b.data, i), ==, LLMGPU_E_FORMAT);
    }
    REQUIRE_INT(llmgpu_session_restore(other, NULL, 0), ==, LLMGPU_E_FORMAT);
    struct bytes after = save(other, LLMGPU_STATE_FULL, NULL);
    REQUIRE(after.size == before.size && memcmp(after.data, before.data, before.size) == 0);
    llmgpu_session *same = converse(&t, false, 1);
    go_on(same, expected);
    require_goes_on(other, expected);
    free(b.data);
    free(before.data);
    free(after.data);
    llmgpu_session_free(s);
    llmgpu_session_free(other);
    llmgpu_session_free(same);
}

/** What does not fit, and what a limit forbids. */
static void test_room(void)
{
    llmgpu_session *s = converse(&t, false, 1);
    llmgpu_session_stats stats = tavern_stats(s);
    for (int kind = 0; kind < 2; kind++) {
        struct bytes b = save(s, kind, NULL);
        llmgpu_session_params p = tavern_params(stats.n_tokens - 2);
        llmgpu_session *small = tavern_session(&t, &p);
        tavern_feed(small, tavern_question);
        require_refused(small, b, LLMGPU_E_CONTEXT_FULL, "does not fit");
        REQUIRE(tavern_stats(small).n_tokens > 0);
        llmgpu_session_free(small);

        p = tavern_params(stats.n_tokens - 1); // the last token lies behind it, as where it was sampled
        small = tavern_session(&t, &p);
        restore(small, b);
        int32_t token;
        REQUIRE_INT(tavern_next(small, &token), ==, LLMGPU_E_CONTEXT_FULL);
        llmgpu_session_free(small);

        p = tavern_params(N_CTX);
        p.max_prompt_tokens = stats.n_prompt - 1;
        llmgpu_session *limited = tavern_session(&t, &p);
        require_refused(limited, b, LLMGPU_E_LIMIT, "max_prompt_tokens");
        llmgpu_session_free(limited);
        p.max_prompt_tokens = 0;
        p.max_generated_tokens = stats.n_generated - 1;
        limited = tavern_session(&t, &p);
        require_refused(limited, b, LLMGPU_E_LIMIT, "max_generated_tokens");
        llmgpu_session_free(limited);
        free(b.data);
    }
    llmgpu_session_free(s);
}

/* ---- files
 * ------------------------------------------------------------------------------------------------------- */

static const char *in_folder(const char *name)
{
    static char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static int count_files(void)
{
    DIR *dir = opendir(folder);
    REQUIRE(dir);
    int n = 0;
    for (struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

static struct bytes read_file(const char *path)
{
    struct bytes b = {0};
    FILE *file = fopen(path, "rb");
    REQUIRE(file);
    fseek(file, 0, SEEK_END);
    b.size = (size_t)ftell(file);
    rewind(file);
    b.data = malloc(b.size);
    REQUIRE(b.data && fread(b.data, 1, b.size, file) == b.size);
    fclose(file);
    return b;
}

/** As a disk that is full. */
static void limit_files(size_t bytes)
{
    struct rlimit limit;
    REQUIRE_INT(getrlimit(RLIMIT_FSIZE, &limit), ==, 0);
    limit.rlim_cur = bytes ? bytes : limit.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    REQUIRE_INT(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
}

static void test_files(void)
{
    llmgpu_session *s = converse(&t, true, 1), *other = fresh();
    int32_t expected[N_REST];
    const char *path = in_folder("brenna.state");
    struct bytes full = save(s, LLMGPU_STATE_FULL, NULL), compact = save(s, LLMGPU_STATE_COMPACT, NULL);
    REQUIRE_INT(llmgpu_session_save_file(s, LLMGPU_STATE_COMPACT, NULL, path), ==, 0);
    struct bytes read = read_file(path);
    REQUIRE(read.size == compact.size && memcmp(read.data, compact.data, compact.size) == 0);
    REQUIRE_INT(count_files(), ==, 1);

    // What cannot be written leaves the old file, and nothing else.
    limit_files(full.size - 1);
    REQUIRE_INT(llmgpu_session_save_file(s, LLMGPU_STATE_FULL, NULL, path), ==, LLMGPU_E_IO);
    REQUIRE(strstr(llmgpu_session_error(s), "brenna.state"));
    limit_files(0);
    REQUIRE_INT(count_files(), ==, 1);
    REQUIRE_INT(llmgpu_session_restore_file(other, path), ==, 0);
    require_same_tokens(s, other);

    REQUIRE_INT(llmgpu_session_save_file(s, LLMGPU_STATE_FULL, NULL, path), ==, 0);
    REQUIRE_INT(count_files(), ==, 1);
    go_on(s, expected);
    REQUIRE_INT(llmgpu_session_restore_file(other, path), ==, 0);
    require_goes_on(other, expected);

    REQUIRE_INT(llmgpu_session_save_file(s, LLMGPU_STATE_FULL, NULL, in_folder("no/such")), ==, LLMGPU_E_IO);
    REQUIRE_INT(llmgpu_session_restore_file(other, in_folder("none")), ==, LLMGPU_E_IO);
    REQUIRE_INT(llmgpu_session_restore_file(other, folder), ==, LLMGPU_E_IO);
    REQUIRE_INT(truncate(in_folder("brenna.state"), (off_t)full.size - 5), ==, 0);
    REQUIRE_INT(llmgpu_session_restore_file(other, path), ==, LLMGPU_E_FORMAT);
    REQUIRE_INT(truncate(path, 0), ==, 0);
    REQUIRE_INT(llmgpu_session_restore_file(other, path), ==, LLMGPU_E_FORMAT);
    REQUIRE_INT(truncate(path, (off_t)1 << 40), ==, 0); // a sparse file of nothing
    REQUIRE_INT(llmgpu_session_restore_file(other, path), ==, LLMGPU_E_CONTEXT_FULL);
    REQUIRE_INT(unlink(path), ==, 0);
    free(full.data);
    free(compact.data);
    free(read.data);
    llmgpu_session_free(s);
    llmgpu_session_free(other);
}

/* ---- models
 * ------------------------------------------------------------------------------------------------------ */

static struct model_build m;

/** A tiny model; `change` makes it another. */
static llmgpu_model *load_tiny(void (*change)(void))
{
    struct model_shape shape = {.arch = "llama",
                                .n_layers = 2,
                                .n_embd = 32,
                                .n_heads = 2,
                                .n_kv = 1,
                                .n_ff = 48,
                                .n_ctx = 64,
                                .type = LG_TYPE_F32};
    model_init(&m, &shape);
    if (change)
        change();
    model_write(&m);
    FILE *file = fopen(in_folder("tiny.gguf"), "wb");
    REQUIRE(file && fwrite(m.file.data, 1, m.file.size, file) == m.file.size);
    fclose(file);
    llmgpu_model *model;
    REQUIRE_INT(llmgpu_model_load(&model, t.ctx, in_folder("tiny.gguf"), NULL), ==, 0);
    REQUIRE_INT(unlink(in_folder("tiny.gguf")), ==, 0);
    return model;
}

static void other_name(void)
{
    model_set_text(&m, "general.name", "another name");
}

/** A norm of the last layer, as of another fine-tune. */
static void other_weight(void)
{
    model_tensor(&m, "blk.1.ffn_norm.weight")->filled = true;
    model_tensor(&m, "blk.1.ffn_norm.weight")->fill = 0.5f;
}

static void other_scale(void)
{
    model_set_f32(&m, "llama", "rope.freq_base", 12345);
}

static void test_models(void)
{
    static const struct {
        void (*change)(void);
        bool same;
    } cases[] = {{NULL, true}, {other_name, true}, {other_weight, false}, {other_scale, false}};
    llmgpu_model *model = load_tiny(NULL);
    llmgpu_session_params p = tavern_params(32);
    llmgpu_session *s, *other;
    const int32_t tokens[] = {5, 6, 7};
    REQUIRE_INT(llmgpu_session_create(&s, model, &p), ==, 0);
    REQUIRE_INT(llmgpu_session_feed(s, tokens, 3), ==, 0);
    struct bytes b = save(s, LLMGPU_STATE_COMPACT, NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        llmgpu_model *another = load_tiny(cases[i].change);
        size_t size;
        REQUIRE_INT(llmgpu_session_create(&other, another, &p), ==, 0);
        if (cases[i].same)
            restore(other, b);
        else
            require_refused(other, b, LLMGPU_E_INVALID, "another model");
        int rc = llmgpu_session_save(s, LLMGPU_STATE_COMPACT, other, NULL, 0, &size);
        REQUIRE_INT(rc, ==, cases[i].same ? LLMGPU_E_RANGE : LLMGPU_E_INVALID);
        llmgpu_session_free(other);
        llmgpu_model_free(another);
    }
    llmgpu_session_free(s);
    llmgpu_model_free(model);
    free(b.data);
}

/* ---- allocations that fail
 * --------------------------------------------------------------------------------------- */

enum action { SAVE_COMPACT, SAVE_FULL, SAVE_FILE, RESTORE_COMPACT, RESTORE_FULL, RESTORE_FILE, N_ACTIONS };

static int act(enum action action, llmgpu_session *s, const llmgpu_session *base,
               const struct bytes states[2])
{
    static uint8_t room[1 << 20];
    const char *path = in_folder("failing.state");
    size_t size;
    switch (action) {
    case SAVE_COMPACT: return llmgpu_session_save(s, LLMGPU_STATE_COMPACT, base, room, sizeof(room), &size);
    case SAVE_FULL: return llmgpu_session_save(s, LLMGPU_STATE_FULL, base, room, sizeof(room), &size);
    case SAVE_FILE: return llmgpu_session_save_file(s, LLMGPU_STATE_FULL, base, path);
    case RESTORE_COMPACT: return llmgpu_session_restore(s, states[0].data, states[0].size);
    case RESTORE_FULL: return llmgpu_session_restore(s, states[1].data, states[1].size);
    default: return llmgpu_session_restore_file(s, path);
    }
}

/** Each allocation of each call fails once. The sessions share pages, so that restoring has to find others. */
static void test_failing_allocations(void)
{
    llmgpu_session *s = converse(&t, true, 1), *fork;
    struct bytes states[2] = {save(s, LLMGPU_STATE_COMPACT, NULL), save(s, LLMGPU_STATE_FULL, NULL)};
    int32_t expected[N_REST];
    uint64_t n_failed = 0;
    go_on(s, expected);
    for (int action = 0; action < N_ACTIONS; action++) {
        restore(s, states[1]);
        REQUIRE_INT(llmgpu_session_fork(&fork, s), ==, 0);
        int rc;
        for (uint64_t after = 1;
             (t.heap.fail_at = t.heap.n + after, rc = act((enum action)action, fork, NULL, states)) < 0;
             after++, n_failed++) {
            t.heap.fail_at = 0;
            REQUIRE_INT(rc, ==, LLMGPU_E_NOMEM);
            REQUIRE(*llmgpu_session_error(fork));
            REQUIRE_INT(count_files(), ==, action > SAVE_FILE);
            require_same_tokens(fork, s);
        }
        t.heap.fail_at = 0;
        require_goes_on(fork, expected);
        require_goes_on(s, expected);
        llmgpu_session_free(fork);
    }
    REQUIRE_INT(n_failed, >, 10);
    REQUIRE_INT(unlink(in_folder("failing.state")), ==, 0);
    free(states[0].data);
    free(states[1].data);
    llmgpu_session_free(s);
}

/* ---- devices
 * ----------------------------------------------------------------------------------------------------- */

/** Between contexts, of one device or two. What is said after may differ between devices; that it goes on may
 * not. */
static void test_contexts(const char *device, bool same)
{
    struct tavern there;
    tavern_open(&there, device, false);
    for (int kind = 0; kind < 2; kind++) {
        llmgpu_session *s = converse(&there, true, 1), *other = fresh();
        int32_t expected[N_REST], found[N_REST];
        struct bytes b = save(s, kind, NULL);
        restore(other, b);
        require_same_tokens(s, other);
        go_on(s, expected);
        go_on(other, found);
        if (same)
            REQUIRE(memcmp(found, expected, sizeof(found)) == 0);
        free(b.data);
        llmgpu_session_free(s);
        llmgpu_session_free(other);
    }
    tavern_close(&there);
}

static void test_misuse(void)
{
    llmgpu_session *s = fresh();
    size_t size;
    char room[8];
    REQUIRE_INT(llmgpu_session_save(NULL, 0, NULL, NULL, 0, &size), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_save(s, 0, NULL, NULL, 0, NULL), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_save(s, 0, NULL, NULL, 8, &size), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_save(s, 2, NULL, room, 8, &size), ==, LLMGPU_E_INVALID);
    REQUIRE(strstr(llmgpu_session_error(s), "kind 2"));
    REQUIRE_INT(llmgpu_session_save_file(s, 0, NULL, NULL), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_restore(NULL, room, 8), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_restore(s, NULL, 8), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_session_restore_file(s, NULL), ==, LLMGPU_E_INVALID);
    llmgpu_session_free(s);
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    tavern_open(&t, device, false);
    REQUIRE(mkdtemp(folder));
    test_continuation();
    test_full();
    test_computed_again();
    test_recovered();
    test_background();
    test_delta();
    test_delta_edges();
    test_ended();
    test_text();
    test_damage();
    test_room();
    test_files();
    test_models();
    test_failing_allocations();
    test_contexts(device, true);
    if (strcmp(device, "cpu") != 0)
        test_contexts("cpu", false);
    test_misuse();
    REQUIRE_INT(rmdir(folder), ==, 0);
    tavern_close(&t);
    return 0;
}
