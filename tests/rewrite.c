/* SPDX-License-Identifier: MIT
 *
 * Models written anew: what is kept and what changes, in files and in what is reported; a file that is there stays until a new one
 * is; what cannot be written is told with the tensor's name. Adapters merged: what the merged model computes against the base
 * with its adapters, and adapters that were saved and read again.
 */
#define LLMGPU_EXPERIMENTAL
#include <sys/stat.h>
#include <unistd.h>

#include "gguf/quants.h"
#include "heap.h"
#include "llmgpu/llmgpu.h"
#include "lora_build.h"
#include "model/lora.h"
#include "model/lora_save.h"
#include "model/merge.h"
#include "model/rewrite.h"

static struct model_build build, adapter;
static char folder[] = "/tmp/llmgpu-rewrite-XXXXXX";

static const char *path(const char *name)
{
    static char paths[64][256];
    static unsigned next;
    char *p = paths[next++ % 64];
    snprintf(p, sizeof(paths[0]), "%s/%s", folder, name);
    return p;
}

static void write_file(const char *to, const struct build *b)
{
    FILE *f = fopen(to, "wb");
    REQUIRE(f && fwrite(b->data, 1, b->size, f) == b->size);
    REQUIRE(fclose(f) == 0);
}

/** A small model in F32, some of whose rows suit every type. */
static void make_model(const char *arch, const char *to)
{
    struct model_shape shape = model_tiny(arch);
    shape.n_ff = 256;
    shape.type = LG_TYPE_F32;
    model_init(&build, &shape);
    model_write(&build);
    write_file(to, &build.file);
}

static struct lg_gguf *open_file(struct lg_env *env, const char *name)
{
    struct lg_gguf *gguf;
    int rc = lg_gguf_open(env, name, &gguf);
    if (rc < 0)
        fprintf(stderr, "%s\n", env->error);
    REQUIRE_INT(rc, ==, 0);
    return gguf;
}

/* ---- quantising */

struct seen {
    uint32_t n;
    uint64_t done, total, last;
    int stop_at; // the call of progress that stops
    double worst;
};

static int progress(void *user, uint64_t done, uint64_t total)
{
    struct seen *s = user;
    REQUIRE(done >= s->done && done <= total && (s->total == 0 || s->total == total));
    s->done = done;
    s->total = total;
    return s->stop_at && --s->stop_at == 0;
}

static void report(void *user, const llmgpu_quantize_tensor *t)
{
    struct seen *s = user;
    s->n++;
    s->last = t->to_bytes;
    REQUIRE(t->rmse <= t->max_error && t->n_dims >= 1 && t->name_len > 0);
    REQUIRE((t->rmse > 0) <= (strcmp(t->from_type, t->to_type) != 0));
    s->worst = t->rms > 0 && t->rmse / t->rms > s->worst ? t->rmse / t->rms : s->worst;
}

static llmgpu_quantize_params params_for(struct seen *seen, char *error, size_t size)
{
    llmgpu_quantize_params p;
    *seen = (struct seen){0};
    REQUIRE_INT(llmgpu_quantize_params_init(&p, sizeof(p)), ==, 0);
    p.progress = progress;
    p.progress_user = seen;
    p.report = report;
    p.report_user = seen;
    p.error = error;
    p.error_size = size;
    p.n_threads = 2;
    return p;
}

/** Types, metadata, and that what is decoded is near what was there. */
static void check_written(const char *from, const char *to, const char *type, double limit)
{
    struct lg_env env;
    struct lg_mix_shape shape;
    uint32_t file_type = 99, version = 99;
    lg_env_init(&env);
    struct lg_gguf *a = open_file(&env, from), *b = open_file(&env, to);
    REQUIRE_INT(lg_mix_shape(&env, a, &shape), ==, 0);
    REQUIRE(lg_gguf_get_u32(b, &env, "general.file_type", &file_type) == 1);
    REQUIRE_INT(file_type, ==, lg_mix_find(type)->file_type);
    REQUIRE(lg_gguf_get_u32(b, &env, "general.quantization_version", &version) == 1 && version == 2);
    for (uint64_t i = 0; i < a->n_kv; i++)
        REQUIRE(b->n_kv >= a->n_kv && b->kv[i].n == a->kv[i].n);
    REQUIRE_INT(a->n_tensors, ==, b->n_tensors);
    for (uint64_t i = 0; i < a->n_tensors; i++) {
        const struct lg_gguf_tensor *x = &a->tensors[i], *y = &b->tensors[i];
        size_t n = (size_t)(x->dims[0] * x->dims[1] * x->dims[2] * x->dims[3]);
        REQUIRE(x->name.len == y->name.len && memcmp(x->name.ptr, y->name.ptr, x->name.len) == 0);
        REQUIRE_INT(y->type, ==, lg_mix_type(lg_mix_find(type), &shape, x));
        float *p = malloc(n * sizeof(float)), *q = malloc(n * sizeof(float));
        REQUIRE(p && q);
        lg_dequantize(x->type, x->data, p, n);
        lg_dequantize(y->type, y->data, q, n);
        double sum = 0, error = 0;
        for (size_t k = 0; k < n; k++) {
            sum += (double)p[k] * (double)p[k];
            error += ((double)p[k] - (double)q[k]) * ((double)p[k] - (double)q[k]);
        }
        REQUIRE(sqrt(error) <= limit * sqrt(sum));
        free(p);
        free(q);
    }
    lg_gguf_close(a);
    lg_gguf_close(b);
}

static void check_types(void)
{
    const char *from = path("base.gguf"), *to = path("out.gguf"), *type;
    make_model("llama", from);
    for (uint32_t i = 0; (type = llmgpu_quantize_type(i)); i++) {
        struct seen seen;
        char error[256];
        llmgpu_quantize_params p = params_for(&seen, error, sizeof(error));
        double limit = type[1] == '2' ? 0.4 : type[1] == '3' ? 0.2 : 0.12;
        int rc = llmgpu_quantize(from, to, type, &p);
        if (rc < 0)
            fprintf(stderr, "%s: %s\n", type, error);
        REQUIRE_INT(rc, ==, 0);
        REQUIRE_INT(seen.n, ==, build.n_tensors);
        REQUIRE(seen.done == seen.total && seen.worst <= limit);
        check_written(from, to, type, limit);
    }
}

/** The number of threads changes nothing, and quantising what is quantised is the same as from what it decodes to. */
static void check_same(void)
{
    struct seen seen;
    char error[256];
    llmgpu_quantize_params p = params_for(&seen, error, sizeof(error));
    struct lg_env env;
    lg_env_init(&env);
    make_model("qwen2", path("base.gguf"));
    for (uint32_t n = 1; n <= 3; n++) {
        char name[16];
        p = params_for(&seen, error, sizeof(error));
        p.n_threads = n;
        snprintf(name, sizeof(name), "%u.gguf", n);
        REQUIRE_INT(llmgpu_quantize(path("base.gguf"), path(name), "Q4_K_M", &p), ==, 0);
    }
    struct lg_gguf *a = open_file(&env, path("1.gguf"));
    for (uint32_t n = 2; n <= 3; n++) {
        char name[16];
        snprintf(name, sizeof(name), "%u.gguf", n);
        struct lg_gguf *b = open_file(&env, path(name));
        REQUIRE(a->file_size == b->file_size && memcmp(a->file, b->file, a->file_size) == 0);
        lg_gguf_close(b);
    }
    lg_gguf_close(a);
    p = params_for(&seen, error, sizeof(error));
    REQUIRE_INT(llmgpu_quantize(path("1.gguf"), path("f32.gguf"), "F32", &p), ==, 0);
    p = params_for(&seen, error, sizeof(error));
    REQUIRE_INT(llmgpu_quantize(path("1.gguf"), path("a.gguf"), "Q4_1", &p), ==, 0);
    p = params_for(&seen, error, sizeof(error));
    REQUIRE_INT(llmgpu_quantize(path("f32.gguf"), path("b.gguf"), "Q4_1", &p), ==, 0);
    a = open_file(&env, path("a.gguf"));
    struct lg_gguf *b = open_file(&env, path("b.gguf"));
    REQUIRE(a->file_size == b->file_size && memcmp(a->file, b->file, a->file_size) == 0);
    lg_gguf_close(a);
    lg_gguf_close(b);
}

static size_t count_files(void)
{
    char command[300], line[16] = "";
    snprintf(command, sizeof(command), "ls %s | wc -l", folder);
    FILE *f = popen(command, "r");
    REQUIRE(f && fgets(line, sizeof(line), f));
    pclose(f);
    return (size_t)atoi(line);
}

static void must_fail(const char *from, const char *to, const char *type, llmgpu_quantize_params *p, int code, const char *word)
{
    size_t before = count_files();
    int rc = llmgpu_quantize(from, to, type, p);
    if (rc != code || !strstr(p->error, word))
        fprintf(stderr, "%d: %s\n", rc, p->error);
    REQUIRE_INT(rc, ==, code);
    REQUIRE(strstr(p->error, word));
    REQUIRE_INT(count_files(), ==, before);
}

/** The tensor of the model's file, whose numbers the test changes. */
static float *weights_of(const char *name)
{
    struct lg_env env;
    struct lg_gguf *gguf;
    lg_env_init(&env);
    REQUIRE_INT(lg_gguf_parse(&env, "build", build.file.data, build.file.size, &gguf), ==, 0);
    const struct lg_gguf_tensor *t = lg_gguf_find_tensor(gguf, name);
    REQUIRE(t && t->type == LG_TYPE_F32);
    size_t at = (size_t)t->offset;
    lg_gguf_close(gguf);
    return (float *)(void *)(build.file.data + at);
}

static void check_failures(void)
{
    static const float wrong[] = {NAN, INFINITY, -INFINITY};
    struct seen seen;
    char error[512];
    llmgpu_quantize_params p = params_for(&seen, error, sizeof(error));
    const char *from = path("bad.gguf"), *to = path("out.gguf");
    FILE *old = fopen(to, "wb");
    REQUIRE(old && fputs("old", old) > 0 && fclose(old) == 0);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        make_model("llama", from);
        memcpy(weights_of("blk.1.ffn_up.weight") + 301, &wrong[i], sizeof(float));
        write_file(from, &build.file);
        must_fail(from, to, "Q4_K_M", &p, LLMGPU_E_FORMAT, "tensor 'blk.1.ffn_up.weight': weight 301 is not finite");
        params_for(&seen, error, sizeof(error));
    }
    make_model("llama", from);
    memcpy(weights_of("blk.0.attn_q.weight") + 7, &(float){1e20f}, sizeof(float));
    write_file(from, &build.file);
    must_fail(from, to, "Q8_0", &p, LLMGPU_E_FORMAT, "'blk.0.attn_q.weight': its weights are too large for Q8_0");
    seen = (struct seen){0};
    must_fail(from, to, "F16", &p, LLMGPU_E_FORMAT, "too large for F16");
    seen = (struct seen){0};
    make_model("llama", from);
    seen.stop_at = 3;
    must_fail(from, to, "Q8_0", &p, LLMGPU_E_CANCELLED, "cancelled");
    seen = (struct seen){0};
    must_fail(from, to, "Q9_0", &p, LLMGPU_E_INVALID, "no type 'Q9_0'");
    must_fail(path("none.gguf"), to, "Q8_0", &p, LLMGPU_E_IO, "none.gguf");
    must_fail(from, path("none/out.gguf"), "Q8_0", &p, LLMGPU_E_IO, "none/out.gguf");
    must_fail(to, path("other.gguf"), "Q8_0", &p, LLMGPU_E_FORMAT, "not a GGUF file");
    char text[4] = "";
    old = fopen(to, "rb");
    REQUIRE(old && fread(text, 1, 3, old) == 3 && strcmp(text, "old") == 0);
    fclose(old);
    // and a file in place of itself
    seen = (struct seen){0};
    REQUIRE_INT(llmgpu_quantize(from, from, "Q8_0", &p), ==, 0);
    struct stat st;
    REQUIRE(stat(from, &st) == 0 && (size_t)st.st_size < build.file.size / 2);
}

/** Each allocation fails in turn. */
static void check_allocations(void)
{
    struct lg_env env, plain;
    struct test_heap heap;
    int rc;
    uint64_t n = 0;
    lg_env_init(&plain);
    make_model("gpt2", path("base.gguf"));
    struct lg_gguf *in = open_file(&plain, path("base.gguf"));
    struct lg_rewrite_options options = {.mix = lg_mix_find("Q3_K_M"), .n_threads = 2};
    do {
        test_heap_env(&env, &heap, ++n);
        rc = lg_rewrite(&env, in, path("out.gguf"), &options);
        REQUIRE(rc == 0 || rc == LLMGPU_E_NOMEM);
        REQUIRE_INT(heap.live, ==, 0);
    } while (rc != 0);
    REQUIRE_INT(n, >, 5);
    lg_gguf_close(in);
}

/** The same of merging, with types as they were and as they are to be. */
static void check_merge_allocations(void)
{
    struct lora_shape shape = {.rank = 3, .alpha = 6};
    make_model("llama", path("base.gguf"));
    lora_write(&adapter, &build, &shape, 21);
    write_file(path("lora.gguf"), &adapter.file);
    const struct lg_merge_source source = {.path = path("lora.gguf"), .scale = 0.5f};
    for (int quantized = 0; quantized < 2; quantized++) {
        uint64_t n = 0;
        int rc;
        do {
            struct lg_env env;
            struct test_heap heap;
            struct lg_merge *merge = NULL;
            struct lg_gguf *in = NULL;
            test_heap_env(&env, &heap, ++n);
            rc = lg_merge_open(&env, path("base.gguf"), &source, 1, &merge);
            if (rc == 0)
                rc = lg_gguf_open(&env, path("base.gguf"), &in);
            struct lg_rewrite_options options = {
                .mix = quantized ? lg_mix_find("Q4_0") : NULL, .n_threads = 2, .merge = merge};
            if (rc == 0)
                rc = lg_rewrite(&env, in, path("merged.gguf"), &options);
            lg_gguf_close(in);
            lg_merge_close(merge);
            REQUIRE(rc == 0 || (rc == LLMGPU_E_NOMEM && *env.error));
            REQUIRE_INT(heap.live, ==, 0);
        } while (rc != 0);
        REQUIRE_INT(n, >, 20);
    }
}

/* ---- merging */

static const int32_t prompt[] = {40, 7, 99, 7, 100, 13, 41, 50, 2};

enum { N_PROMPT = sizeof(prompt) / sizeof(prompt[0]), N_MERGED = 2 };

/** Logits of all positions; free() them. */
static float *logits_of(const char *model_path, const char *lora_path, float scale, uint32_t *n_vocab)
{
    llmgpu_context *ctx;
    llmgpu_model *model;
    llmgpu_session *session;
    llmgpu_model_info info;
    llmgpu_context_params cp;
    llmgpu_lora *lora = NULL;
    float log_probs[N_PROMPT];
    llmgpu_context_params_init(&cp, sizeof(cp));
    cp.device = "cpu";
    cp.precision = LLMGPU_PRECISION_FLOAT32;
    REQUIRE_INT(llmgpu_context_create(&ctx, &cp), ==, 0);
    REQUIRE_INT(llmgpu_model_load(&model, ctx, model_path, NULL), ==, 0);
    REQUIRE_INT(llmgpu_model_get_info(model, &info, sizeof(info)), ==, 0);
    REQUIRE_INT(llmgpu_session_create(&session, model, NULL), ==, 0);
    if (lora_path) {
        REQUIRE_INT(llmgpu_lora_load(&lora, model, lora_path), ==, 0);
        REQUIRE_INT(llmgpu_session_set_lora(session, lora, scale), ==, 0);
    }
    float *logits = calloc((size_t)N_PROMPT * info.n_vocab, sizeof(float));
    REQUIRE(logits);
    REQUIRE_INT(llmgpu_session_score(session, prompt, N_PROMPT, log_probs, logits), ==, 0);
    *n_vocab = info.n_vocab;
    llmgpu_lora_free(lora);
    llmgpu_session_free(session);
    llmgpu_model_free(model);
    llmgpu_context_free(ctx);
    return logits;
}

static double distance(const float *a, const float *b, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

static void merge(const char *base, const char *lora, float scale, const char *to, const char *type)
{
    char error[512] = "";
    struct seen seen;
    llmgpu_quantize_params p = params_for(&seen, error, sizeof(error));
    p.report = NULL;
    int rc = llmgpu_merge(base, &(llmgpu_merge_adapter){.path = lora, .scale = scale}, 1, to, type, &p);
    if (rc < 0)
        fprintf(stderr, "%s\n", error);
    REQUIRE_INT(rc, ==, 0);
}

static void check_merge(const char *arch)
{
    static const struct lora_shape shape = {.rank = 4, .alpha = 8};
    uint32_t n;
    make_model(arch, path("base.gguf"));
    lora_write(&adapter, &build, &shape, 11);
    write_file(path("lora.gguf"), &adapter.file);
    merge(path("base.gguf"), path("lora.gguf"), 0.5f, path("merged.gguf"), NULL);
    float *plain = logits_of(path("base.gguf"), NULL, 0, &n);
    float *expected = logits_of(path("base.gguf"), path("lora.gguf"), 0.5f, &n);
    float *got = logits_of(path("merged.gguf"), NULL, 0, &n);
    double effect = distance(plain, expected, (size_t)N_PROMPT * n), error = distance(got, expected, (size_t)N_PROMPT * n);
    printf("%s: the adapter moves logits by %.3g, merging by %.3g\n", arch, effect, error);
    REQUIRE(effect > 1e-2 && error < 1e-4 && error < 1e-3 * effect);
    // In another type it is what quantising the merged model gives
    struct seen seen;
    char text[256];
    llmgpu_quantize_params p = params_for(&seen, text, sizeof(text));
    struct lg_env env;
    lg_env_init(&env);
    merge(path("base.gguf"), path("lora.gguf"), 0.5f, path("a.gguf"), "Q4_K_M");
    REQUIRE_INT(llmgpu_quantize(path("merged.gguf"), path("b.gguf"), "Q4_K_M", &p), ==, 0);
    struct lg_gguf *a = open_file(&env, path("a.gguf")), *b = open_file(&env, path("b.gguf"));
    REQUIRE(a->file_size == b->file_size && memcmp(a->file, b->file, a->file_size) == 0);
    lg_gguf_close(a);
    lg_gguf_close(b);
    free(plain);
    free(expected);
    free(got);
}

/** Two adapters at once are one after the other. */
static void check_two(void)
{
    llmgpu_merge_adapter both[N_MERGED] = {{.path = path("lora.gguf"), .scale = 0.5f}, {.path = path("two.gguf"), .scale = -1}};
    struct lora_shape shape = {.rank = 2, .alpha = 0, .only = "attn", .a_type = LG_TYPE_F16, .b_type = LG_TYPE_F16};
    uint32_t n;
    make_model("llama", path("base.gguf"));
    lora_write(&adapter, &build, &(struct lora_shape){.rank = 4, .alpha = 8}, 11);
    write_file(both[0].path, &adapter.file);
    lora_write(&adapter, &build, &shape, 12);
    write_file(both[1].path, &adapter.file);
    merge(path("base.gguf"), both[0].path, both[0].scale, path("1.gguf"), NULL);
    merge(path("1.gguf"), both[1].path, both[1].scale, path("2.gguf"), NULL);
    REQUIRE_INT(llmgpu_merge(path("base.gguf"), both, N_MERGED, path("3.gguf"), NULL, NULL), ==, 0);
    float *first = logits_of(path("1.gguf"), NULL, 0, &n), *a = logits_of(path("2.gguf"), NULL, 0, &n);
    float *b = logits_of(path("3.gguf"), NULL, 0, &n);
    REQUIRE(distance(a, b, (size_t)N_PROMPT * n) < 1e-4);
    REQUIRE(distance(first, b, (size_t)N_PROMPT * n) > 1e-2);
    free(first);
    free(a);
    free(b);
    REQUIRE_INT(llmgpu_merge(path("base.gguf"), both, 0, path("3.gguf"), NULL, NULL), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(llmgpu_merge(path("base.gguf"), both, 65, path("3.gguf"), NULL, NULL), ==, LLMGPU_E_INVALID);
    both[1].scale = NAN;
    REQUIRE_INT(llmgpu_merge(path("base.gguf"), both, 2, path("3.gguf"), NULL, NULL), ==, LLMGPU_E_INVALID);
    both[1].scale = 1;
    both[1].reserved = 1;
    REQUIRE_INT(llmgpu_merge(path("base.gguf"), both, 2, path("3.gguf"), NULL, NULL), ==, LLMGPU_E_UNSUPPORTED);
}

/* ---- saving */

enum { MAX_MATRICES = 32 };

/** An adapter's numbers as a trainer has them, of what was read. */
struct trained {
    struct lg_lora_content content;
    struct lg_lora_matrix matrices[MAX_MATRICES];
    char names[MAX_MATRICES][64];
    float *numbers[2 * MAX_MATRICES];
};

static void take_numbers(struct trained *t, const struct lg_gguf *gguf)
{
    memset(t, 0, sizeof(*t));
    t->content = (struct lg_lora_content){.name = "a test's", .alpha = 8, .matrices = t->matrices};
    for (uint64_t i = 0; i < gguf->n_tensors; i += 2) { // pairs come together
        const struct lg_gguf_tensor *a = &gguf->tensors[i], *b = a + 1;
        uint32_t n = t->content.n++;
        REQUIRE(n < MAX_MATRICES);
        snprintf(t->names[n], sizeof(t->names[n]), "%.*s", (int)a->name.len - 7, a->name.ptr);
        for (int half = 0; half < 2; half++) {
            const struct lg_gguf_tensor *from = half ? b : a;
            size_t size = (size_t)(from->dims[0] * from->dims[1]);
            float *to = t->numbers[2 * n + (uint32_t)half] = malloc(size * sizeof(float));
            REQUIRE(to);
            lg_dequantize(from->type, from->data, to, size);
        }
        t->matrices[n] = (struct lg_lora_matrix){
            .name = t->names[n],
            .rank = (uint32_t)a->dims[1],
            .rows = (uint32_t)b->dims[1],
            .cols = (uint32_t)a->dims[0],
            .a = t->numbers[2 * n],
            .b = t->numbers[2 * n + 1],
        };
    }
}

/** Each allocation of saving fails in turn, and what is written last is there when all is. */
static void check_saved_allocations(const struct lg_model *model, const struct lg_lora_content *content)
{
    for (int peft = 0; peft < 2; peft++) {
        uint64_t n = 0;
        int rc;
        do {
            struct lg_env env;
            struct test_heap heap;
            test_heap_env(&env, &heap, ++n);
            rc = peft ? lg_lora_save_peft(&env, model, content, path("short")) :
                        lg_lora_save_gguf(&env, model, content, path("short.gguf"));
            REQUIRE(rc == 0 || (rc == LLMGPU_E_NOMEM && *env.error));
            REQUIRE_INT(heap.live, ==, 0);
            REQUIRE((rc == 0) == (access(path(peft ? "short/adapter_config.json" : "short.gguf"), R_OK) == 0));
        } while (rc != 0);
        REQUIRE_INT(n, >, 2);
    }
}

/** Requires that both adapters are the same to the last bit, as the device has them. */
static void compare_loras(const struct lg_model *model, const struct lg_lora *a, const struct lg_lora *b)
{
    REQUIRE(a->n_targets == b->n_targets && a->rank == b->rank && a->layer_bytes == b->layer_bytes);
    for (uint32_t i = 0; i < model->hp.n_layers; i++) {
        struct lg_lora_pair p[LG_N_TARGETS], q[LG_N_TARGETS];
        uint8_t *x = calloc(1, a->layer_bytes), *y = calloc(1, b->layer_bytes);
        REQUIRE(x && y);
        lg_lora_write(a, i, x, 0, p);
        lg_lora_write(b, i, y, 0, q);
        REQUIRE(memcmp(x, y, a->layer_bytes) == 0);
        for (uint32_t k = 0; k < LG_N_TARGETS; k++)
            REQUIRE(fabsf(p[k].factor - q[k].factor) <= 1e-6f * fabsf(p[k].factor) && p[k].rank == q[k].rank);
        free(x);
        free(y);
    }
}

static void check_saved(const char *arch, bool half, bool by_root)
{
    struct lora_shape shape = {.rank = 4, .alpha = 8};
    struct lg_env env;
    struct lg_device *dev;
    struct lg_model *model;
    struct lg_lora *a, *b;
    struct trained trained;
    lg_env_init(&env);
    shape.a_type = shape.b_type = half ? LG_TYPE_F16 : LG_TYPE_F32;
    make_model(arch, path("base.gguf"));
    lora_write(&adapter, &build, &shape, 21);
    write_file(path("lora.gguf"), &adapter.file);
    REQUIRE_INT(lg_device_open(&env, &(struct lg_device_options){.name = "cpu", .n_threads = 1}, &dev), ==, 0);
    REQUIRE_INT(lg_model_load(&env, dev, path("base.gguf"), false, &model), ==, 0);
    struct lg_gguf *gguf = open_file(&env, path("lora.gguf"));
    take_numbers(&trained, gguf);
    trained.content.half = half;
    trained.content.by_root = by_root;
    REQUIRE_INT(lg_lora_save_gguf(&env, model, &trained.content, path("saved.gguf")), ==, 0);
    REQUIRE_INT(lg_lora_save_peft(&env, model, &trained.content, path("new/saved")), ==, 0);
    REQUIRE_INT(lg_lora_load(&env, model, path("saved.gguf"), &a), ==, 0);
    REQUIRE_STR(a->name, "a test's");
    int rc = lg_lora_load(&env, model, path("new/saved"), &b);
    if (rc < 0)
        fprintf(stderr, "%s\n", env.error);
    REQUIRE_INT(rc, ==, 0);
    REQUIRE(fabsf(a->alpha - (by_root ? 16 : 8)) < 1e-5f && b->alpha == 8 && b->by_root == by_root);
    compare_loras(model, a, b);
    lg_lora_destroy(b);
    if (!by_root) { // the file that the numbers are from
        REQUIRE_INT(lg_lora_load(&env, model, path("lora.gguf"), &b), ==, 0);
        compare_loras(model, a, b);
        lg_lora_destroy(b);
    }
    lg_lora_destroy(a);
    if (strcmp(arch, "llama") == 0 && !half && !by_root)
        check_saved_allocations(model, &trained.content);

    // What cannot be saved
    struct lg_lora_matrix *last = &trained.matrices[trained.content.n - 1];
    float kept = trained.numbers[0][3];
    trained.numbers[0][3] = half ? 1e6f : NAN;
    REQUIRE_INT(lg_lora_save_gguf(&env, model, &trained.content, path("saved.gguf")), ==, LLMGPU_E_INVALID);
    REQUIRE_INT(lg_lora_save_peft(&env, model, &trained.content, path("new/saved")), ==, LLMGPU_E_INVALID);
    trained.numbers[0][3] = kept;
    last->rank = 3;
    REQUIRE_INT(lg_lora_save_peft(&env, model, &trained.content, path("new/saved")), ==, LLMGPU_E_UNSUPPORTED);
    REQUIRE_INT(lg_lora_save_gguf(&env, model, &trained.content, path("saved.gguf")), ==, by_root ? LLMGPU_E_UNSUPPORTED : 0);
    last->name = "blk.99.attn_q.weight";
    REQUIRE_INT(lg_lora_save_gguf(&env, model, &trained.content, path("saved.gguf")), <, 0);
    trained.content.n = 0;
    REQUIRE_INT(lg_lora_save_gguf(&env, model, &trained.content, path("saved.gguf")), ==, LLMGPU_E_INVALID);

    for (uint32_t i = 0; i < 2 * MAX_MATRICES; i++)
        free(trained.numbers[i]);
    lg_gguf_close(gguf);
    lg_model_destroy(model);
    lg_device_close(dev);
}

int main(void)
{
    REQUIRE(mkdtemp(folder));
    check_types();
    check_same();
    check_failures();
    check_allocations();
    check_merge_allocations();
    static const char *const archs[] = {"llama", "qwen2", "gpt2"};
    for (size_t i = 0; i < 3; i++) {
        check_merge(archs[i]);
        check_saved(archs[i], false, false);
        check_saved(archs[i], true, false);
        check_saved(archs[i], false, true);
    }
    check_two();
    char command[300];
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command) == 0 ? 0 : 1;
}
