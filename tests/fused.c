/* SPDX-License-Identifier: MIT
 *
 * Fused steps against the ordinary kernels, in whole passes on the device that the first argument names:
 * which dispatches each way has, where barriers are, and that the logits are the same but for rounding. And the same with
 * activations in fewer bits, as far as the device has them.
 */
#include "model_use.h"
#include "util/checked.h"

enum { N_PROMPT = 9, N_STEPS = 12, MAX_VOCAB = 512 };

static struct model_build m;
static struct lg_env env;
static struct use use;

/** How a pass is built; the last four of fewer bits. */
enum way { PLAIN, FUSED, FUSED_HEAD, N_FLOAT, PLAIN_INT8 = N_FLOAT, FUSED_INT8, HALF, HALF_INT8, N_WAYS };

static const struct {
    bool fused, head;
    enum lg_product decode, prefill, prefill_plain;
} ways[] = {
    [PLAIN] = {0},
    [FUSED] = {.fused = true},
    [FUSED_HEAD] = {.fused = true, .head = true},
    [PLAIN_INT8] = {.decode = LG_PRODUCT_INT8, .prefill = LG_PRODUCT_INT8},
    [FUSED_INT8] = {.fused = true, .decode = LG_PRODUCT_INT8, .prefill = LG_PRODUCT_INT8},
    [HALF] = {.prefill = LG_PRODUCT_HALF, .prefill_plain = LG_PRODUCT_HALF},
    [HALF_INT8] = {.prefill = LG_PRODUCT_INT8, .prefill_plain = LG_PRODUCT_HALF}, // one after the other of one x
};

/** The decode pass of one way: its kernels, and what it computed. */
struct outcome {
    uint32_t n_qkv, n_project, n_ffn, n_head, n_matvec, n_norm, n_quantize;
    uint32_t n_open_qkv; // without a barrier before
    uint32_t n_vocab;
    int32_t tokens[N_STEPS];
    float logits[N_STEPS][MAX_VOCAB];
};

static struct outcome outcomes[N_WAYS];

static void count_ops(const struct lg_chain *chain, struct outcome *o)
{
    const struct {
        const char *label;
        uint32_t *n;
    } counts[] = {{"qkv", &o->n_qkv},   {"project", &o->n_project}, {"ffn", &o->n_ffn},
                  {"head", &o->n_head}, {"matvec", &o->n_matvec},   {"norm", &o->n_norm},
                  {"quantize", &o->n_quantize}};
    for (uint32_t i = 0; i < chain->n_ops; i++) {
        for (size_t k = 0; k < sizeof(counts) / sizeof(counts[0]); k++)
            *counts[k].n += strcmp(chain->labels[i], counts[k].label) == 0;
        o->n_open_qkv += strcmp(chain->labels[i], "qkv") == 0 && !chain->ops[i].barrier;
    }
}

static void run_way(enum way way, struct outcome *o)
{
    *o = (struct outcome){0};
    REQUIRE_INT(use_load(&use, m.file.data, m.file.size), ==, 0);
    REQUIRE_INT(use_start(&use, 64, false), ==, 0);
    struct lg_tuning *tune = &use.engine.tune; // passes are built when they are first needed
    tune->fused_decode = ways[way].fused;
    tune->fused_head = ways[way].head;
    tune->int8 = tune->half = way < N_FLOAT ? LG_INT8_NONE : LG_INT8_ALL;
    tune->decode = ways[way].decode;
    tune->prefill = ways[way].prefill;
    tune->prefill_plain = ways[way].prefill_plain;
    tune->fused_rows = lg_min_u32(tune->fused_rows, way < N_FLOAT ? 64 : 4); // a driver takes long to compile more
    tune->fused_rows_per_wg = tune->fused_wg / use.dev->info.subgroup_size * tune->fused_rows;
    o->n_vocab = use.model->hp.n_vocab;
    REQUIRE_INT(o->n_vocab, <=, MAX_VOCAB);
    for (uint32_t i = 0; i < N_STEPS; i++) {
        REQUIRE_INT(use_generate(&use.session, 40 + 31 * (int32_t)i, i ? 1 : N_PROMPT, &o->tokens[i], 1), ==,
                    0);
        struct lg_view logits = use.engine.plain.decode.views.logits;
        logits.size = o->n_vocab * sizeof(float);
        REQUIRE_INT(lg_download(use.dev, logits, o->logits[i]), ==, 0);
    }
    count_ops(&use.engine.plain.decode.chain, o);
    use_end(&use);
    REQUIRE_INT(use.dev->check_messages, ==, 0);
}

/** How far logits of one way are from those of the ordinary kernels, as a share of the largest, for as long as both saw the
 * same tokens. */
static float distance(const struct outcome *got, const struct outcome *want)
{
    float most = 0, scale = 0;
    for (uint32_t s = 0; s < N_STEPS && (s == 0 || got->tokens[s - 1] == want->tokens[s - 1]); s++) {
        for (uint32_t i = 0; i < want->n_vocab; i++) {
            most = fmaxf(most, fabsf(got->logits[s][i] - want->logits[s][i]));
            scale = fmaxf(scale, fabsf(want->logits[s][i]));
        }
    }
    REQUIRE(scale > 0);
    return most / scale;
}

static void require_close(const char *what, const struct outcome *got, const struct outcome *want)
{
    float far = distance(got, want);
    if (!(far <= 1e-4f))
        fprintf(stderr, "%s: off by %g\n", what, (double)far);
    REQUIRE(far <= 1e-4f);
    REQUIRE_INT(got->tokens[0], ==, want->tokens[0]);
}

/** What a model's steps become when they are fused, a layer each. */
struct expected {
    uint32_t n_qkv, n_open_qkv, n_project, n_ffn,
        n_matvec; // n_matvec: with the head, which is not fused at first
};

static void check_model(const char *what, struct expected e)
{
    model_write(&m);
    for (int way = 0; way < N_FLOAT; way++)
        run_way((enum way)way, &outcomes[way]);
    const struct outcome *plain = &outcomes[PLAIN], *fused = &outcomes[FUSED], *head = &outcomes[FUSED_HEAD];
    REQUIRE_INT(plain->n_qkv + plain->n_project + plain->n_ffn + plain->n_head, ==, 0);
    REQUIRE_INT(fused->n_qkv, ==, e.n_qkv);
    REQUIRE_INT(fused->n_open_qkv, ==, e.n_open_qkv);
    REQUIRE_INT(fused->n_project, ==, e.n_project);
    REQUIRE_INT(fused->n_ffn, ==, e.n_ffn);
    REQUIRE_INT(fused->n_matvec, ==, e.n_matvec);
    REQUIRE_INT(fused->n_head, ==, 0);
    REQUIRE_INT(head->n_head, ==, 1);
    REQUIRE_INT(head->n_matvec, ==, e.n_matvec - 1);
    REQUIRE_INT(head->n_norm, ==, fused->n_norm - 1);
    require_close(what, fused, plain);
    require_close(what, head, plain);
}

/** The model has two layers; these are what both have together. */
static const struct expected all_fused = {.n_qkv = 2, .n_project = 4, .n_ffn = 2, .n_matvec = 1};

static void check_families(void)
{
    static const char *const archs[] = {"llama", "qwen2", "gpt2"};
    for (size_t i = 0; i < 3; i++) {
        struct model_shape shape = model_tiny(archs[i]);
        model_init(&m, &shape);
        check_model(archs[i], all_fused);
        shape.type = LG_TYPE_Q8_0;
        shape.untied = true;
        model_init(&m, &shape);
        check_model(archs[i], all_fused);
    }
}

/** Heads of which a part is rotated, widths that no vector unit would like, biases where few models have
 * them. */
static void check_odd(void)
{
    struct model_shape shape = model_tiny("llama");
    shape.n_embd = 21;
    shape.n_heads = shape.n_kv = 3;
    shape.head_dim = 6;
    shape.n_ff = 37;
    model_init(&m, &shape);
    model_set(&m, "llama.rope.dimension_count", LG_GGUF_U32, 4);
    model_add(&m, "blk.1.attn_output.bias", 0, 0, 21, LG_TYPE_F32);
    model_add(&m, "blk.0.ffn_gate.bias", 0, 0, 37, LG_TYPE_F32);
    check_model("odd widths", all_fused);
    // The two of a pair cannot be neighbours.
    shape.head_dim = 7;
    model_init(&m, &shape);
    model_set(&m, "llama.rope.dimension_count", LG_GGUF_U32, 4);
    check_model("odd heads", (struct expected){.n_project = 4, .n_ffn = 2, .n_matvec = 1 + 6});
}

/** Mixtures of types: a dispatch for each, which need not wait for one another. */
static void check_mixed(void)
{
    struct model_shape shape = model_tiny("qwen2");
    model_init(&m, &shape);
    model_tensor(&m, "blk.0.attn_v.weight")->type = LG_TYPE_Q8_0;
    model_tensor(&m, "blk.1.attn_q.weight")->type = LG_TYPE_Q5_0;
    model_tensor(&m, "blk.1.attn_k.weight")->type = LG_TYPE_Q4_0;
    check_model(
        "q, k and v of several types",
        (struct expected){.n_qkv = 2 + 3, .n_open_qkv = 1 + 2, .n_project = 4, .n_ffn = 2, .n_matvec = 1});
    model_init(&m, &shape);
    model_tensor(&m, "blk.1.ffn_gate.weight")->type = LG_TYPE_Q8_0;
    check_model("gate and up of two types",
                (struct expected){.n_qkv = 2, .n_project = 4, .n_ffn = 1, .n_matvec = 1 + 2});
}

/** Products of all kinds beside each other, x being quantised, halved or as it is for one after the other. */
static void check_fewer_bits(void)
{
    struct model_shape shape = model_tiny("qwen2");
    const struct lg_device_info *info = &use.dev->info;
    if (!info->int_dot || !info->float16)
        return;
    shape.type = LG_TYPE_Q8_0;
    shape.untied = true;
    model_init(&m, &shape);
    model_tensor(&m, "blk.0.attn_q.weight")->type = LG_TYPE_F16;
    model_tensor(&m, "blk.1.attn_k.weight")->type = LG_TYPE_F32;
    model_tensor(&m, "blk.1.attn_v.weight")->type = LG_TYPE_Q4_0;
    model_tensor(&m, "blk.1.ffn_up.weight")->type = LG_TYPE_BF16;
    model_write(&m);
    run_way(PLAIN, &outcomes[PLAIN]);
    for (int way = N_FLOAT; way < N_WAYS; way++) {
        run_way((enum way)way, &outcomes[way]);
        float far = distance(&outcomes[way], &outcomes[PLAIN]);
        if (!(far > 0 && far < 0.03f))
            fprintf(stderr, "way %d: off by %g\n", way, (double)far);
        REQUIRE(far > 0 && far < 0.03f); // it is rounded
    }
    REQUIRE_INT(outcomes[PLAIN_INT8].n_qkv, ==, 0);
    REQUIRE_INT(outcomes[PLAIN_INT8].n_quantize, ==, 9); // a layer has four inputs, the head one
    REQUIRE_INT(outcomes[FUSED_INT8].n_qkv, ==, 2 + 3);
    REQUIRE_INT(outcomes[FUSED_INT8].n_quantize, ==, 2); // the second gate, and the head
    REQUIRE_INT(outcomes[HALF].n_quantize, ==, 0);
}

static void run(const char *device, bool check)
{
    struct lg_device_options options = {.name = device, .check = check};
    lg_env_init(&env);
    use = (struct use){.env = &env};
    int rc = lg_device_open(&env, &options, &use.dev);
    if (rc == LLMGPU_E_NO_DEVICE)
        exit(TEST_SKIP);
    if (rc == LLMGPU_E_UNSUPPORTED && check)
        return; // no validation layer on this machine
    REQUIRE_INT(rc, ==, 0);
    check_families();
    check_odd();
    check_mixed();
    check_fewer_bits();
    REQUIRE_INT(atomic_load(&use.dev->stats.memory_used), ==, 0);
    lg_device_close(use.dev);
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    run(device, false);
    run(device, true);
    return 0;
}
