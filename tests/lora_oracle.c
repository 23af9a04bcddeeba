/* SPDX-License-Identifier: MIT
 *
 * The adapter cases of the reference data mixed in one batch, on the device that the first argument names: of each model all
 * adapters at all scales and none, with two adapters at once as one of both their ranks. Sessions begin and end while the
 * others go on, and bring and take their adapters along. What they answer is the reference's, and so are the logits of texts
 * that are scored between two tokens of the others.
 */
#define LLMGPU_EXPERIMENTAL
#include <unistd.h>

#include "gguf/quants.h"
#include "gguf_build.h"
#include "json.h"
#include "llmgpu/llmgpu.h"
#include "util/filemap.h"

enum { MAX_CASES = 8, MAX_TOKENS = 32, N_TOP = 32, APART = 3 };

static const double logit_limit = 1e-4; // float32 against float64

static const char *shared, *device;
static struct build combined, tensors, data;

/** A session of the batch. */
struct talk {
    const struct json *about; // NULL: no adapter
    char path[512];           // of the adapter
    float scale;
    llmgpu_lora *lora;
    llmgpu_session *session;
    uint32_t n_given;
    int32_t answer[MAX_TOKENS];
};

static void path_of(char path[512], const char *name)
{
    snprintf(path, 512, "%s/oracle/visible/lora/%s", shared, name);
}

/* ---- two adapters as one ------------------------------------------------------------------------- */

struct half {
    struct lg_filemap map;
    struct lg_gguf *gguf;
    double factor; // alpha * scale
};

static void open_half(struct lg_env *env, struct half *h, const char *name, double scale)
{
    char path[512];
    float alpha;
    path_of(path, name);
    REQUIRE_INT(lg_filemap_open(env, path, &h->map), ==, 0);
    REQUIRE_INT(lg_gguf_parse(env, path, h->map.data, h->map.size, &h->gguf), ==, 0);
    REQUIRE_INT(lg_gguf_get_f32(h->gguf, env, "adapter.lora.alpha", &alpha), ==, 1);
    h->factor = alpha * scale;
}

static const struct lg_gguf_tensor *find(const struct half *h, const char *name, char which)
{
    char full[160];
    snprintf(full, sizeof(full), "%s.lora_%c", name, which);
    return lg_gguf_find_tensor(h->gguf, full);
}

/** [A1; A2] or [f1 B1, f2 B2] of a matrix, row by row; f is what alpha and scale come to, so the file's alpha is 0. */
static void put_matrix(const struct half halves[2], const char *name, char which, uint32_t *n_tensors)
{
    char full[160];
    const struct lg_gguf_tensor *t[2] = {find(&halves[0], name, which), find(&halves[1], name, which)};
    const struct lg_gguf_tensor *any = t[0] ? t[0] : t[1];
    bool a = which == 'a';
    uint64_t rank = 0, n_rows = a ? 1 : any->dims[1];
    for (int i = 0; i < 2; i++)
        rank += t[i] ? t[i]->dims[a] : 0;
    snprintf(full, sizeof(full), "%s.lora_%c", name, which);
    build_tensor(&tensors, full, 2, a ? (const uint64_t[]){any->dims[0], rank} : (const uint64_t[]){rank, any->dims[1]},
                 LG_TYPE_F32, data.size);
    for (uint64_t row = 0; row < n_rows; row++) {
        for (int i = 0; i < 2; i++) {
            if (!t[i])
                continue;
            REQUIRE_INT(t[i]->type, ==, LG_TYPE_F32);
            uint64_t n = a ? t[i]->dims[0] * t[i]->dims[1] : t[i]->dims[0];
            const float *from = (const float *)(const void *)t[i]->data + row * n;
            for (uint64_t k = 0; k < n; k++)
                build_f32(&data, a ? from[k] : (float)(from[k] * halves[i].factor / (double)n));
        }
    }
    build_align(&data, 32);
    ++*n_tensors;
}

/** Both names of the second, which has all that the first has. */
static void combine(char path[512], const struct json *about)
{
    struct lg_env env;
    struct half halves[2];
    uint32_t n_tensors = 0;
    const struct json *name = json_get(about, "adapters")->first, *scale = json_get(about, "scales")->first;
    lg_env_init(&env);
    for (int i = 0; i < 2; i++, name = name->next, scale = scale->next)
        open_half(&env, &halves[i], name->str, scale->number);
    tensors.size = data.size = 0;
    for (uint64_t i = 0; i < halves[1].gguf->n_tensors; i++) {
        const struct lg_gguf_tensor *t = &halves[1].gguf->tensors[i];
        char matrix[128];
        snprintf(matrix, sizeof(matrix), "%.*s", (int)t->name.len - 7, t->name.ptr); // without ".lora_a"
        put_matrix(halves, matrix, t->name.ptr[t->name.len - 1], &n_tensors);
    }
    build_header(&combined, 3, n_tensors, 4);
    build_kv_str(&combined, "general.type", "adapter");
    build_kv_str(&combined, "general.architecture", json_get(about, "base")->str);
    build_kv_str(&combined, "adapter.type", "lora");
    build_key(&combined, "adapter.lora.alpha", LG_GGUF_F32);
    build_f32(&combined, 0);
    build_bytes(&combined, tensors.data, tensors.size);
    build_align(&combined, 32);
    build_bytes(&combined, data.data, data.size);
    for (int i = 0; i < 2; i++) {
        lg_gguf_close(halves[i].gguf);
        lg_filemap_close(&halves[i].map);
    }
    snprintf(path, 512, "/tmp/llmgpu-two-XXXXXX");
    int fd = mkstemp(path);
    REQUIRE(fd >= 0 && write(fd, combined.data, combined.size) == (ssize_t)combined.size);
    close(fd);
}

/* ---- sessions ------------------------------------------------------------------------------------ */

static uint32_t tokens_of(const struct json *list, int32_t *out)
{
    uint32_t n = 0;
    for (const struct json *t = list->first; t; t = t->next, n++) {
        REQUIRE_INT(n, <, MAX_TOKENS);
        out[n] = (int32_t)t->number;
    }
    return n;
}

static llmgpu_session *open_session(llmgpu_model *model, const struct talk *t)
{
    llmgpu_session *s;
    llmgpu_session_params p;
    llmgpu_session_params_init(&p, sizeof(p));
    p.n_ctx = 256;
    p.ignore_end = 1;
    p.n_candidates = N_TOP;
    REQUIRE_INT(llmgpu_session_create(&s, model, &p), ==, 0);
    if (t->lora)
        REQUIRE_INT(llmgpu_session_set_lora(s, t->lora, t->scale), ==, 0);
    return s;
}

static void begin(llmgpu_context *ctx, llmgpu_model *model, struct talk *t, const struct json *prompt)
{
    int32_t tokens[MAX_TOKENS];
    uint32_t n = tokens_of(prompt, tokens);
    if (t->about && llmgpu_lora_load(&t->lora, model, t->path) < 0)
        fprintf(stderr, "%s: %s\n", t->path, llmgpu_context_error(ctx));
    REQUIRE(!t->about || t->lora);
    t->session = open_session(model, t);
    REQUIRE_INT(llmgpu_session_feed(t->session, tokens, n), ==, 0);
}

static float *expected_logits(const struct talk *t, size_t *n)
{
    char path[512];
    const struct json *exact = json_get(t->about, "logits_f64");
    path_of(path, exact ? exact->str : json_get(t->about, "logits")->str);
    float *logits = (float *)(void *)test_read_file(path, n);
    REQUIRE(logits);
    *n /= sizeof(*logits);
    return logits;
}

/** The probabilities that came with the first token are those of the last row. */
static void check_top(const struct talk *t)
{
    llmgpu_candidate top[N_TOP];
    size_t n, n_top;
    float *logits = expected_logits(t, &n);
    uint32_t n_vocab = (uint32_t)json_get(t->about, "shape")->first->next->number;
    const float *row = logits + n - n_vocab;
    double sum = 0;
    for (uint32_t i = 0; i < n_vocab; i++)
        sum += exp((double)row[i]);
    REQUIRE_INT(llmgpu_session_get_candidates(t->session, NULL, top, N_TOP, &n_top), ==, 0);
    REQUIRE_INT(n_top, ==, N_TOP);
    for (uint32_t i = 0; i < N_TOP; i++)
        REQUIRE(fabs(top[i].log_prob - (row[top[i].token] - log(sum))) <= 2 * logit_limit);
    free(logits);
}

static void take(struct talk *t)
{
    REQUIRE_INT(llmgpu_session_next(t->session, &t->answer[t->n_given]), ==, LLMGPU_TOKEN);
    if (t->n_given == 0 && t->about)
        check_top(t);
    t->n_given++;
}

/** While the others are in the middle of their answers. */
static void check_scores(llmgpu_model *model, const struct talk *t)
{
    int32_t tokens[MAX_TOKENS];
    size_t n;
    float *expected = expected_logits(t, &n), *found = malloc(n * sizeof(*found));
    uint32_t n_tokens = tokens_of(json_get(t->about, "prompt"), tokens);
    llmgpu_session *s = open_session(model, t);
    REQUIRE(found);
    REQUIRE_INT(llmgpu_session_score(s, tokens, n_tokens, NULL, found), ==, 0);
    double worst = 0;
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)found[i] - expected[i]));
    printf("%s x %g: %.1e\n", t->path, (double)t->scale, worst);
    REQUIRE(worst <= logit_limit);
    llmgpu_session_free(s);
    free(found);
    free(expected);
}

static void end(struct talk *t)
{
    int32_t expected[MAX_TOKENS];
    if (t->about) {
        REQUIRE_INT(tokens_of(json_get(t->about, "greedy"), expected), ==, MAX_TOKENS);
        REQUIRE(memcmp(t->answer, expected, sizeof(expected)) == 0);
    }
    llmgpu_session_free(t->session);
    llmgpu_lora_free(t->lora);
    t->session = NULL;
    t->lora = NULL;
}

/* ---- a model -------------------------------------------------------------------------------------- */

static llmgpu_context *open_context(void)
{
    char error[512];
    llmgpu_context *ctx;
    llmgpu_context_params p;
    llmgpu_context_params_init(&p, sizeof(p));
    p.device = device;
    p.check = strcmp(device, "cpu") != 0;
    p.precision = LLMGPU_PRECISION_FLOAT32; // greedy tokens too are those of exact arithmetic
    p.error = error;
    p.error_size = sizeof(error);
    int rc = llmgpu_context_create(&ctx, &p);
    if (rc == LLMGPU_E_NO_DEVICE) {
        fprintf(stderr, "%s\n", error);
        exit(TEST_SKIP);
    }
    REQUIRE_INT(rc, ==, 0);
    return ctx;
}

/** All talks, the first `n` of which have adapters, beginning APART tokens after each other. */
static void run(llmgpu_context *ctx, llmgpu_model *model, struct talk *talks, uint32_t n)
{
    const struct json *prompt = json_get(talks[0].about, "prompt");
    uint32_t n_begun = 0, n_ended = 0, most = 0;
    for (uint32_t step = 0; n_ended < n; step++) {
        if (n_begun < n && step == APART * n_begun) {
            begin(ctx, model, &talks[n_begun], prompt);
            n_begun++;
        }
        REQUIRE_INT(llmgpu_context_step(ctx, UINT32_MAX), >=, 0);
        most = n_begun - n_ended > most ? n_begun - n_ended : most;
        for (uint32_t i = 0; i < n_begun; i++) {
            if (!talks[i].session)
                continue;
            take(&talks[i]);
            if (talks[i].n_given == MAX_TOKENS / 2 && talks[i].about)
                check_scores(model, &talks[i]);
            if (talks[i].n_given == MAX_TOKENS) {
                end(&talks[i]);
                n_ended++;
            }
        }
    }
    REQUIRE_INT(most, ==, n); // all of them at once
}

static bool same_model(const struct json *a, const struct json *b)
{
    return strcmp(json_get(a, "model")->str, json_get(b, "model")->str) == 0;
}

/** All cases of the model that `first` is of, and sessions without an adapter among them. */
static uint32_t check_model(const struct json *cases, const struct json *first)
{
    static struct talk talks[MAX_CASES + 2], plain[1];
    char path[512];
    llmgpu_context *ctx = open_context();
    llmgpu_model *model;
    uint32_t n = 0, n_cases = 0;
    path_of(path, json_get(first, "model")->str);
    memset(talks, 0, sizeof(talks));
    memset(plain, 0, sizeof(plain));
    REQUIRE_INT(llmgpu_model_load(&model, ctx, path, NULL), ==, 0);
    for (const struct json *c = cases->first; c; c = c->next) {
        if (!same_model(c, first))
            continue;
        REQUIRE_INT(n_cases, <, MAX_CASES);
        struct talk *t = &talks[n++];
        *t = (struct talk){.about = c, .scale = 1};
        if (json_get(c, "adapters")) {
            combine(t->path, c);
        } else {
            path_of(t->path, json_get(c, "adapter")->str);
            t->scale = (float)json_get(c, "scale")->number;
        }
        n += n_cases++ == 0; // the second is one without an adapter
    }
    begin(ctx, model, &plain[0], json_get(first, "prompt"));
    while (plain[0].n_given < MAX_TOKENS) { // before there are adapters
        REQUIRE_INT(llmgpu_context_step(ctx, UINT32_MAX), >=, 0);
        take(&plain[0]);
    }
    end(&plain[0]);
    run(ctx, model, talks, n);
    REQUIRE(memcmp(talks[1].answer, plain[0].answer, sizeof(plain[0].answer)) == 0);
    for (uint32_t i = 0; i < n; i++)
        if (talks[i].about && json_get(talks[i].about, "adapters"))
            unlink(talks[i].path);
    llmgpu_context_stats stats;
    REQUIRE_INT(llmgpu_context_get_stats(ctx, &stats, sizeof(stats)), ==, 0);
    REQUIRE_INT(stats.check_messages, ==, 0);
    llmgpu_model_free(model);
    llmgpu_context_free(ctx);
    return n_cases;
}

int main(int argc, char **argv)
{
    char path[512];
    device = argc > 1 ? argv[1] : "cpu";
    shared = getenv("LLMGPU_SHARED");
    if (!shared || !*shared) {
        fprintf(stderr, "no shared data beside this checkout\n");
        return TEST_SKIP;
    }
    path_of(path, "manifest.json");
    struct json *manifest = json_load(path);
    const struct json *cases = json_get(manifest, "cases");
    uint32_t n_cases = 0;
    for (const struct json *c = cases->first; c; c = c->next) {
        bool seen = false;
        for (const struct json *before = cases->first; before != c; before = before->next)
            seen |= same_model(before, c);
        n_cases += seen ? 0 : check_model(cases, c);
    }
    REQUIRE_INT(n_cases, ==, cases->len);
    json_free(manifest);
    return 0;
}
