/* SPDX-License-Identifier: MIT
 *
 * Training against PyTorch in float64: losses, every gradient, and runs of 50 steps.
 *
 *     train_oracle DEVICE grads|full|runs
 */
#include <unistd.h>

#include "json.h"
#include "train/trainer.h"

static const char *const folder = "oracle/visible/train";

struct fixture {
    struct lg_env env;
    struct lg_device *dev;
    struct lg_model *model;
    struct lg_trainer *trainer;
    double worst; // of all tensors so far, of their largest element
};

static const char *path_of(const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return test_shared_path(path);
}

static const struct json *child(const struct json *node, const char *key)
{
    const struct json *found = json_get(node, key);
    REQUIRE(found);
    return found;
}

static float *read_floats(const char *name, size_t *n)
{
    FILE *file = fopen(path_of(name), "rb");
    REQUIRE(file);
    fseek(file, 0, SEEK_END);
    size_t size = (size_t)ftell(file);
    float *values = malloc(size);
    rewind(file);
    REQUIRE(values && fread(values, 1, size, file) == size);
    fclose(file);
    *n = size / sizeof(*values);
    return values;
}

/* ---- trainers -------------------------------------------------------------------------------------------------------- */

static void require_ok(struct fixture *f, int rc)
{
    if (rc < 0)
        fprintf(stderr, "%d: %s\n", rc, f->env.error);
    REQUIRE(rc >= 0);
}

static void open_device(struct fixture *f, const char *device, bool check)
{
    struct lg_device_options options = {.name = device, .check = check};
    lg_env_init(&f->env);
    require_ok(f, lg_device_open(&f->env, &options, &f->dev));
}

static struct lg_trainer_params plain_params(void)
{
    return (struct lg_trainer_params){
        .max_rows = 128,
        .optimizer = LG_OPTIMIZER_ADAMW,
        .schedule = {.kind = LG_SCHEDULE_CONSTANT, .lr = 0},
        .beta1 = 0.9f,
        .beta2 = 0.999f,
        .eps = 1e-8f,
        .momentum = 0.9f,
    };
}

static void begin(struct fixture *f, const char *model, const struct lg_trainer_params *params)
{
    require_ok(f, lg_model_load(&f->env, f->dev, path_of(model), false, &f->model));
    require_ok(f, lg_trainer_create(&f->env, f->model, params, &f->trainer));
}

static void end(struct fixture *f)
{
    REQUIRE_INT(f->dev->check_messages, ==, 0);
    lg_trainer_destroy(f->trainer);
    lg_model_destroy(f->model);
    f->trainer = NULL;
    f->model = NULL;
}

/** Sequences of 33 tokens: 32 rows each, whose first 8 targets do not count. */
static void add_sequences(struct fixture *f, const int32_t *const *tokens, uint32_t n)
{
    enum { TOKENS = 33, SKIPPED = 8 };
    struct lg_train_batch batch;
    uint8_t counts[TOKENS];
    for (int i = 0; i < TOKENS; i++)
        counts[i] = i > SKIPPED;
    require_ok(f, lg_train_batch_create(&f->env, n * (TOKENS - 1), &batch));
    for (uint32_t i = 0; i < n; i++)
        lg_train_batch_add(&batch, tokens[i], counts, TOKENS);
    require_ok(f, lg_trainer_add(f->trainer, &batch));
    lg_train_batch_free(&f->env, &batch);
}

static struct lg_train_result step(struct fixture *f)
{
    struct lg_train_result result;
    require_ok(f, lg_trainer_work(f->trainer, UINT64_MAX, &result));
    return result;
}

/* ---- gradients ------------------------------------------------------------------------------------------------------ */

/** Each tensor of the index against what was computed, which has others' places: nothing is missing on either side. */
static double compare(const struct fixture *f, const struct json *grads, const float *own)
{
    size_t n_wanted;
    const struct json *index = child(grads, "index");
    float *wanted = read_floats(child(grads, "file")->str, &n_wanted);
    double worst = 0;
    REQUIRE_INT(index->len, ==, f->trainer->params.n_tensors);
    for (uint32_t i = 0; i < f->trainer->params.n_tensors; i++) {
        const struct lg_train_tensor *t = &f->trainer->params.tensors[i];
        const struct json *entry = child(index, t->name);
        size_t n = (size_t)t->rows * t->cols, at = (size_t)child(entry, "offset")->number;
        double largest = 1e-30, off = 0;
        REQUIRE(at + n <= n_wanted);
        for (size_t k = 0; k < n; k++) {
            largest = fmax(largest, fabs(wanted[at + k]));
            off = fmax(off, fabs((double)own[t->at + k] - wanted[at + k]));
        }
        if (!(off / largest <= 1e-4))
            fprintf(stderr, "%s: off by %g of %g\n", t->name, off, largest);
        worst = fmax(worst, off / largest);
    }
    free(wanted);
    return worst;
}

static void check_loss(const char *name, const struct json *entry, double loss)
{
    double wanted = child(entry, "loss")->number;
    printf("%s: loss %.8f, off by %.1e\n", name, loss, fabs(loss - wanted));
    REQUIRE(fabs(loss - wanted) <= 1e-4 * wanted);
}

static void sequences_of(const struct json *entry, int32_t rows[2][33], const int32_t *tokens[2])
{
    uint32_t r = 0;
    for (const struct json *row = child(entry, "tokens")->first; row; row = row->next, r++) {
        REQUIRE(r < 2 && row->len == 33);
        uint32_t i = 0;
        for (const struct json *token = row->first; token; token = token->next)
            rows[r][i++] = (int32_t)token->number;
        tokens[r] = rows[r];
    }
}

/** Both ways of keeping activations; the last time in pieces, for which the samples come twice: the mean is the same. */
static void check_gradients(struct fixture *f, const char *name, const struct json *entry, const char *model,
                            const int32_t *const *tokens, struct lg_trainer_params params)
{
    const int32_t *const twice[] = {tokens[0], tokens[1], tokens[0], tokens[1]};
    for (int way = f->dev->info.kind == LG_DEVICE_CPU ? 0 : 2; way < 3; way++) {
        params.checkpoint = way != 1;
        params.scratch = way == 2 ? 1 : 0;
        begin(f, model, &params);
        require_ok(f, lg_trainer_keep_gradients(f->trainer, true));
        add_sequences(f, twice, way == 2 ? 4 : 2);
        struct lg_train_result result = step(f);
        check_loss(name, entry, result.loss);
        double worst = compare(f, child(entry, "grads"), f->trainer->gradients);
        printf("%s: gradients off by %.1e\n", name, worst);
        REQUIRE(worst <= 1e-4);
        if (json_get(entry, "grad_norm"))
            REQUIRE(fabs(result.grad_norm - child(entry, "grad_norm")->number) < 1e-4 * result.grad_norm);
        end(f);
    }
}

/** A model that was trained is a file that says the same, and can be trained on. */
static void check_export(struct fixture *f, const char *model, const int32_t *const *tokens, struct lg_trainer_params params)
{
    char path[64];
    snprintf(path, sizeof(path), "train-oracle-%d.tmp", (int)getpid());
    params.schedule.lr = 1e-3;
    params.checkpoint = true;
    begin(f, model, &params);
    add_sequences(f, tokens, 2);
    step(f);
    require_ok(f, lg_trainer_export(f->trainer, path, false));
    add_sequences(f, tokens, 2);
    double loss = step(f).loss;
    end(f);
    require_ok(f, lg_model_load(&f->env, f->dev, path, false, &f->model));
    require_ok(f, lg_trainer_create(&f->env, f->model, &params, &f->trainer));
    add_sequences(f, tokens, 2);
    REQUIRE(step(f).loss == loss);
    end(f);
    unlink(path);
}

static const char *const minis[] = {"llama-mini", "llama-tied-mini", "qwen2-mini", "gpt2-mini"};

static int32_t *run_tokens(void)
{
    size_t n;
    return (int32_t *)read_floats("tokens.i32", &n); // as many bytes
}

static void test_grads(struct fixture *f, const struct json *manifest)
{
    const struct json *all = child(manifest, "lora_grads");
    const char *const bases[][2] = {{"llama-f32", "../models/llama/model-f32.gguf"},
                                    {"llama-q4_k", "../quant/Q4_K/model.gguf"}};
    int32_t *run = run_tokens();
    for (int i = 0; i < 2; i++) {
        const int32_t *tokens[2] = {run, run + 5 * 33};
        struct lg_trainer_params params = plain_params();
        char init[1024];
        snprintf(init, sizeof(init), "%s", path_of("lora-init.gguf"));
        params.init = init;
        check_gradients(f, bases[i][0], child(all, bases[i][0]), bases[i][1], tokens, params);
    }
    free(run);
    for (size_t i = 0; i < sizeof(minis) / sizeof(minis[0]); i++) {
        const struct json *entry = child(all, minis[i]);
        struct lg_trainer_params params = plain_params();
        int32_t rows[2][33];
        const int32_t *tokens[2];
        char init[1024];
        snprintf(init, sizeof(init), "%s", path_of(child(entry, "adapter")->str));
        params.init = init;
        sequences_of(entry, rows, tokens);
        check_gradients(f, minis[i], entry, child(entry, "model")->str, tokens, params);
    }
}

static void test_full(struct fixture *f, const struct json *manifest)
{
    for (size_t i = 0; i < sizeof(minis) / sizeof(minis[0]); i++) {
        const struct json *entry = child(child(manifest, "full_grads"), minis[i]);
        struct lg_trainer_params params = plain_params();
        int32_t rows[2][33];
        const int32_t *tokens[2];
        params.whole = true;
        sequences_of(entry, rows, tokens);
        check_gradients(f, minis[i], entry, child(entry, "model")->str, tokens, params);
        check_export(f, child(entry, "model")->str, tokens, params);
    }
}

/* ---- runs ------------------------------------------------------------------------------------------------------------ */

/** The largest difference from an adapter as it was recorded, of its largest number. */
static double compare_adapter(struct fixture *f, const struct json *recorded)
{
    float *own = calloc(f->trainer->params.n, sizeof(*own));
    REQUIRE(own);
    for (uint32_t i = 0; i < f->trainer->params.n_tensors; i++)
        require_ok(f, lg_trainer_read(f->trainer, i, own + f->trainer->params.tensors[i].at));
    double worst = compare(f, recorded, own);
    free(own);
    return worst;
}

static void run(struct fixture *f, const char *name, const struct json *entry, uint32_t n_steps)
{
    bool sgd = strncmp(name, "sgd", 3) == 0, q4 = strstr(name, "q4_k");
    struct lg_trainer_params params = plain_params();
    int32_t *all = run_tokens();
    const struct json *loss = child(entry, "loss_float64")->first, *lr = child(entry, "lr")->first;
    const struct json *norm = child(entry, "grad_norm_float64")->first;
    double worst = 0;
    char init[1024];
    snprintf(init, sizeof(init), "%s", path_of("lora-init.gguf"));
    params.init = init;
    params.checkpoint = true;
    params.optimizer = sgd ? LG_OPTIMIZER_SGD : LG_OPTIMIZER_ADAMW;
    params.weight_decay = sgd ? 0 : 0.01f;
    params.clip = 1;
    params.schedule = (struct lg_schedule){
        .kind = LG_SCHEDULE_COSINE, .lr = child(entry, "peak_lr")->number, .warmup = 5, .n_steps = 50};
    begin(f, q4 ? "../quant/Q4_K/model.gguf" : "../models/llama/model-f32.gguf", &params);
    for (uint32_t i = 0; i < n_steps; i++, loss = loss->next, lr = lr->next, norm = norm->next) {
        const int32_t *tokens[2] = {all + 2 * i % 8 * 33, all + (2 * i + 1) % 8 * 33};
        add_sequences(f, tokens, 2);
        struct lg_train_result r = step(f);
        REQUIRE(fabs(r.lr - lr->number) <= 1e-12);
        REQUIRE(fabs(r.grad_norm - norm->number) <= 0.01 * norm->number);
        worst = fmax(worst, fabs(r.loss - loss->number) / loss->number);
        REQUIRE(fabs(r.loss - loss->number) <= 1e-3 * loss->number);
        if (i == 0)
            printf("%s: adapter off by %.1e after a step\n", name, compare_adapter(f, child(entry, "after_step_1")));
    }
    printf("%s: losses off by %.1e", name, worst);
    if (n_steps == 50)
        printf(", adapter by %.1e", compare_adapter(f, child(entry, "final")));
    printf("\n");
    end(f);
    free(all);
}

static void test_runs(struct fixture *f, const struct json *manifest)
{
    const char *const names[] = {"adamw-f32", "sgd-f32", "adamw-q4_k", "sgd-q4_k"};
    uint32_t n_steps = f->dev->info.kind == LG_DEVICE_CPU ? 50 : 8;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        run(f, names[i], child(child(manifest, "runs"), names[i]), n_steps);
}

int main(int argc, char **argv)
{
    struct fixture f = {0};
    REQUIRE(argc == 3);
    if (!test_shared())
        return TEST_SKIP;
    struct json *manifest = json_load(path_of("manifest.json"));
    open_device(&f, argv[1], strcmp(argv[2], "runs") != 0);
    if (strcmp(argv[2], "grads") == 0)
        test_grads(&f, manifest);
    else if (strcmp(argv[2], "full") == 0)
        test_full(&f, manifest);
    else
        test_runs(&f, manifest);
    lg_device_close(f.dev);
    json_free(manifest);
    return 0;
}
