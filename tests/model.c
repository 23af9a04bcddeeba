/* SPDX-License-Identifier: MIT
 *
 * From a file to a token, on the device that the first argument names: small models of each family generate,
 * and each lie in a file is refused with a sentence that says what and where.
 */
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap.h"
#include "llmgpu/llmgpu.h"
#include "model_use.h"

static struct model_build m;
static struct test_heap heap;
static struct lg_env env;
static struct use use;

/* ---- changes to a model ------------------------------------------------------------------------------ */

enum change_kind {
    NONE,
    NUMBER, // metadata `name`, an u32 or, when it is not whole or negative, an f32
    FLOAT,  // the same, always an f32
    TEXT,   // metadata
    ARRAY,  // metadata, of `number` and as many as there are layers
    STEPS,  // the same, ascending
    DROP,   // metadata
    DROP_T, // a tensor
    ROWS,   // of a tensor
    COLS,   // of a tensor
    TYPE,   // of a tensor
    FILL,   // a tensor with F32s
    ADD,    // a vector of `number` F32s
};

struct change {
    enum change_kind kind;
    const char *name;
    double number;
    const char *text;
};

static void apply(const struct change *c)
{
    bool is_u32 =
        c->kind == NUMBER && c->number >= 0 && c->number == floor(c->number) && c->number <= UINT32_MAX;
    struct model_tensor *t = c->kind >= ROWS && c->kind <= FILL ? model_tensor(&m, c->name) : NULL;
    struct model_kv *kv;
    switch (c->kind) {
    case NONE: break;
    case NUMBER:
    case FLOAT: model_set(&m, c->name, is_u32 ? LG_GGUF_U32 : LG_GGUF_F32, c->number); break;
    case TEXT: model_set_text(&m, c->name, c->text); break;
    case ARRAY:
    case STEPS:
        kv = model_set(&m, c->name, LG_GGUF_I32, c->number);
        kv->n = 2;
        kv->step = c->kind == STEPS;
        break;
    case DROP: model_drop(&m, c->name); break;
    case DROP_T: model_drop_tensor(&m, c->name); break;
    case ROWS: t->dims[1] = (uint64_t)c->number; break;
    case COLS: t->dims[0] = (uint64_t)c->number; break;
    case TYPE: t->type = (uint32_t)c->number; break;
    case FILL:
        t->type = LG_TYPE_F32;
        t->filled = true;
        t->fill = (float)c->number;
        break;
    case ADD: model_add(&m, c->name, 0, 0, (uint64_t)c->number, LG_TYPE_F32); break;
    }
}

static void make(const struct model_shape *shape, const struct change *changes, size_t n)
{
    model_init(&m, shape);
    for (size_t i = 0; i < n; i++)
        apply(&changes[i]);
    model_write(&m);
}

static void require_nothing_left(void)
{
    use_end(&use);
    REQUIRE_INT(atomic_load(&use.dev->stats.memory_used), ==, 0);
    REQUIRE_INT(use.dev->check_messages, ==, 0);
}

/* ---- models that work -------------------------------------------------------------------------------- */

static void require_works(const char *what, bool finite)
{
    int32_t tokens[6];
    float log_probs[4];
    for (int sampled = 0; sampled < 2; sampled++) {
        int rc = sampled ? 0 : use_load(&use, m.file.data, m.file.size);
        if (rc == 0)
            rc = use_start(&use, 16, sampled);
        if (rc == 0)
            rc = use_generate(&use.session, 40, 6, tokens, 6);
        if (rc == 0)
            rc = lg_session_score(&use.session, (const int32_t[]){7, 8, 9, 10, 11}, 5,
                                  &(struct lg_scores){.log_probs = log_probs});
        if (rc < 0)
            fprintf(stderr, "%s: %s\n", what, env.error);
        REQUIRE_INT(rc, ==, 0);
        for (int i = 0; i < 4 && finite; i++)
            REQUIRE(isfinite(log_probs[i]) && log_probs[i] < 0);
        lg_session_finish(&use.session);
    }
    require_nothing_left();
}

static void check_families(void)
{
    static const char *const archs[] = {"llama", "qwen2", "gpt2"};
    for (size_t i = 0; i < 3; i++) {
        struct model_shape shape = model_tiny(archs[i]);
        make(&shape, NULL, 0);
        require_works(archs[i], true);
        // Nothing that a vector unit or a workgroup would like.
        shape.n_embd = 21;
        shape.n_heads = shape.n_kv = 3;
        shape.n_ff = 37;
        shape.n_vocab = 301;
        shape.untied = true;
        const struct change even = {NUMBER, "llama.rope.dimension_count", 6, NULL};
        const struct change even2 = {NUMBER, "qwen2.rope.dimension_count", 4, NULL};
        make(&shape, (const struct change[]){even, even2}, 2);
        require_works("odd widths", true);
        shape.head_dim = 2;
        shape.vector_type = LG_TYPE_F16;
        make(&shape, NULL, 0);
        require_works("heads of a size of their own, vectors in F16", true);
    }
}

static void check_types(void)
{
    static const enum lg_type types[] = {
#define TYPE(lower, UPPER) LG_TYPE_##UPPER,
        LG_WEIGHT_TYPES(TYPE)
#undef TYPE
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        struct model_shape shape = model_tiny("llama");
        shape.type = types[i];
        shape.n_layers = 1;
        if (lg_type_info(types[i])->block_elements == 256)
            shape.n_embd = shape.n_ff = 256;
        make(&shape, NULL, 0);
        require_works(lg_type_info(types[i])->name, true);
    }
}

/** What a file may say in more than one way. */
static void check_accepted(void)
{
    static const struct {
        const char *arch;
        struct change c[3];
    } all[] = {
        {"llama",
         {{ARRAY, "llama.attention.head_count", 4, NULL}, {ARRAY, "llama.attention.head_count_kv", 2, NULL}}},
        {"llama", {{ARRAY, "llama.feed_forward_length", 64, NULL}}},
        {"llama", {{FLOAT, "llama.block_count", 2, NULL}}},
        {"llama", {{NUMBER, "llama.rope.freq_base", 500000, NULL}}},
        {"llama",
         {{TEXT, "llama.rope.scaling.type", 0, "linear"}, {FLOAT, "llama.rope.scaling.factor", 4, NULL}}},
        {"llama", {{FLOAT, "llama.rope.scaling.factor", 0, NULL}}},
        {"llama",
         {{TEXT, "llama.rope.scaling.type", 0, "none"}, {FLOAT, "llama.rope.scaling.factor", -3, NULL}}},
        {"llama",
         {{TEXT, "llama.rope.scaling.type", 0, "llama3"},
          {ADD, "rope_freqs.weight", 4, NULL},
          {FILL, "rope_freqs.weight", 2, NULL}}},
        {"llama", {{DROP, "llama.rope.freq_base", 0, NULL}}},
        {"llama", {{ADD, "blk.1.attn_output.bias", 32, NULL}, {ADD, "blk.0.ffn_gate.bias", 64, NULL}}},
        {"llama", {{ADD, "something.else", 3, NULL}}},
        {"llama",
         {{TYPE, "output_norm.weight", LG_TYPE_F16, NULL},
          {TYPE, "blk.0.attn_norm.weight", LG_TYPE_BF16, NULL}}},
        {"llama",
         {{TYPE, "blk.1.ffn_norm.weight", LG_TYPE_Q8_0, NULL},
          {TYPE, "blk.1.ffn_up.weight", LG_TYPE_Q4_0, NULL}}},
        {"llama", {{FLOAT, "llama.attention.layer_norm_rms_epsilon", 0, NULL}}},
        {"llama", {{NUMBER, "llama.context_length", 1 << 28, NULL}}},
        {"gpt2", {{NUMBER, "gpt2.attention.head_count_kv", 4, NULL}}},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct model_shape shape = model_tiny(all[i].arch);
        make(&shape, all[i].c, 3);
        require_works(all[i].c[0].name, true);
    }
}

/** Every spelling of a quantity is read as the first one. */
static void check_spellings(void)
{
    static const struct {
        const char *arch, *key, *others[4];
    } all[] = {
        {"llama", "block_count", {"n_layer", "num_hidden_layers", "num_layers"}},
        {"llama", "embedding_length", {"n_embd", "hidden_size", "d_model"}},
        {"llama", "feed_forward_length", {"n_ff", "intermediate_size", "n_inner"}},
        {"llama", "attention.head_count", {"head_count", "n_head", "num_attention_heads"}},
        {"llama", "attention.head_count_kv", {"head_count_kv", "n_head_kv", "num_key_value_heads"}},
        {"llama", "context_length", {"n_ctx", "max_position_embeddings", "n_positions"}},
        {"llama", "attention.layer_norm_rms_epsilon", {"attention.layer_norm_epsilon", "rms_norm_eps"}},
        {"llama", "rope.freq_base", {"rope_theta"}},
        {"gpt2", "attention.layer_norm_epsilon", {"layer_norm_epsilon"}},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct model_shape shape = model_tiny(all[i].arch);
        struct lg_hparams expected;
        make(&shape, NULL, 0);
        REQUIRE_INT(use_load(&use, m.file.data, m.file.size), ==, 0);
        expected = use.model->hp;
        use_end(&use);
        for (int k = 0; k < 8; k++) { // with the architecture's prefix and without
            const char *other = all[i].others[k / 2];
            char key[64];
            if (!other)
                break;
            model_init(&m, &shape);
            snprintf(key, sizeof(key), "%s.%s", all[i].arch, all[i].key);
            struct model_kv *kv = model_kv(&m, key);
            snprintf(kv->key, sizeof(kv->key), "%s%s%s", k % 2 ? "" : all[i].arch, k % 2 ? "" : ".", other);
            model_write(&m);
            REQUIRE_INT(use_load(&use, m.file.data, m.file.size), ==, 0);
            REQUIRE(memcmp(&use.model->hp, &expected, sizeof(expected)) == 0);
            require_nothing_left();
        }
    }
}

/** Weights that are no numbers give tokens all the same, whichever way they are chosen. */
static void check_nan(void)
{
    static const double values[] = {NAN, INFINITY, -INFINITY, 3e38};
    static const char *const tensors[] = {"token_embd.weight", "blk.0.attn_q.weight", "blk.1.attn_v.weight",
                                          "blk.1.ffn_down.weight", "output_norm.weight"};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        for (size_t k = 0; k < sizeof(tensors) / sizeof(tensors[0]); k++) {
            struct model_shape shape = model_tiny("llama");
            make(&shape, &(struct change){FILL, tensors[k], values[i], NULL}, 1);
            require_works(tensors[k], false);
        }
    }
}

/* ---- lies -------------------------------------------------------------------------------------------- */

struct lie {
    const char *arch;
    struct change c[2];
    int code;
    const char *says;
};

enum { FORMAT = LLMGPU_E_FORMAT, UNSUPPORTED = LLMGPU_E_UNSUPPORTED, IQ4_NL = 20 };

static const struct lie lies[] = {
    // the architecture
    {"llama", {{DROP, "general.architecture", 0, NULL}}, FORMAT, "'general.architecture' is missing"},
    {"llama", {{TEXT, "general.architecture", 0, "mamba"}}, UNSUPPORTED, "'mamba'"},
    {"llama", {{NUMBER, "general.architecture", 3, NULL}}, FORMAT, "general.architecture"},
    {"llama", {{TEXT, "general.architecture", 0, "qwen2"}}, FORMAT, "'qwen2.block_count' is missing"},

    // sizes
    {"llama", {{DROP, "llama.block_count", 0, NULL}}, FORMAT, "'llama.block_count' is missing"},
    {"llama", {{DROP, "llama.embedding_length", 0, NULL}}, FORMAT, "'llama.embedding_length' is missing"},
    {"llama", {{DROP, "llama.attention.head_count", 0, NULL}}, FORMAT, "head_count' is missing"},
    {"llama", {{TEXT, "llama.block_count", 0, "2"}}, FORMAT, "'llama.block_count' is not a number"},
    {"llama", {{NUMBER, "llama.block_count", 0, NULL}}, FORMAT, "block count of 0"},
    {"llama", {{NUMBER, "llama.block_count", 3, NULL}}, FORMAT, "'blk.2.attn_norm.weight' is missing"},
    {"llama", {{NUMBER, "llama.block_count", 4e9, NULL}}, FORMAT, "block count of 4000000000"},
    {"llama", {{NUMBER, "llama.block_count", 1e12, NULL}}, FORMAT, "'llama.block_count' is 1e+12"},
    {"llama", {{NUMBER, "llama.block_count", -1, NULL}}, FORMAT, "'llama.block_count' is -1"},
    {"llama", {{FLOAT, "llama.block_count", 1.5, NULL}}, FORMAT, "'llama.block_count' is 1.5"},
    {"llama", {{FLOAT, "llama.block_count", NAN, NULL}}, FORMAT, "'llama.block_count' is nan"},
    {"llama", {{NUMBER, "llama.embedding_length", 0, NULL}}, FORMAT, "embedding length of 0"},
    {"llama",
     {{NUMBER, "llama.embedding_length", 64, NULL}},
     FORMAT,
     "'token_embd.weight' is [283, 32], not [283, 64]"},
    {"llama",
     {{NUMBER, "llama.embedding_length", 4294967292, NULL}},
     FORMAT,
     "embedding length of 4294967292"},
    {"llama", {{NUMBER, "llama.feed_forward_length", 0, NULL}}, FORMAT, "feed-forward length of 0"},
    {"llama",
     {{NUMBER, "llama.feed_forward_length", 96, NULL}},
     FORMAT,
     "'blk.0.ffn_gate.weight' is [64, 32], not [96, 32]"},
    {"llama",
     {{STEPS, "llama.feed_forward_length", 64, NULL}},
     UNSUPPORTED,
     "feed_forward_length' differs from layer to layer"},
    {"llama", {{NUMBER, "llama.context_length", 0, NULL}}, FORMAT, "context length of 0"},
    {"llama", {{NUMBER, "llama.context_length", 4e9, NULL}}, FORMAT, "context length of 4000000000"},
    {"gpt2",
     {{NUMBER, "gpt2.context_length", 1000, NULL}},
     FORMAT,
     "'position_embd.weight' is [64, 32], not [1000, 32]"},

    // heads
    {"llama", {{NUMBER, "llama.attention.head_count", 0, NULL}}, FORMAT, "head count of 0"},
    {"llama",
     {{NUMBER, "llama.attention.head_count", 5, NULL}},
     FORMAT,
     "5 heads do not divide a width of 32"},
    {"llama", {{NUMBER, "llama.attention.head_count", 4e9, NULL}}, FORMAT, "4000000000 heads"},
    {"llama", {{NUMBER, "llama.attention.head_count", 32, NULL}}, FORMAT, "1 rotated elements in heads of 1"},
    {"llama", {{STEPS, "llama.attention.head_count", 4, NULL}}, UNSUPPORTED, "head_count' differs"},
    {"llama", {{NUMBER, "llama.attention.head_count_kv", 0, NULL}}, FORMAT, "key/value head count of 0"},
    {"llama", {{NUMBER, "llama.attention.head_count_kv", 3, NULL}}, FORMAT, "key/value head count of 3"},
    {"llama", {{NUMBER, "llama.attention.head_count_kv", 8, NULL}}, FORMAT, "key/value head count of 8"},
    {"llama",
     {{NUMBER, "llama.attention.head_count_kv", 4, NULL}},
     FORMAT,
     "'blk.0.attn_k.weight' is [16, 32], not [32, 32]"},
    {"gpt2",
     {{NUMBER, "gpt2.attention.head_count_kv", 2, NULL}},
     FORMAT,
     "'blk.0.attn_qkv.weight' is [96, 32], not [64, 32]"},
    {"llama",
     {{NUMBER, "llama.attention.key_length", 257, NULL}},
     UNSUPPORTED,
     "heads of 257 elements: at most 256"},
    {"llama", {{NUMBER, "llama.attention.key_length", 0, NULL}}, FORMAT, "head size of 0"},
    {"llama", {{NUMBER, "llama.attention.value_length", 4, NULL}}, UNSUPPORTED, "keys of 8 and values of 4"},

    // rotation and norms
    {"llama", {{NUMBER, "llama.rope.dimension_count", 0, NULL}}, FORMAT, "0 rotated elements in heads of 8"},
    {"llama", {{NUMBER, "llama.rope.dimension_count", 7, NULL}}, FORMAT, "7 rotated elements"},
    {"llama", {{NUMBER, "llama.rope.dimension_count", 10, NULL}}, FORMAT, "10 rotated elements"},
    {"llama", {{FLOAT, "llama.rope.freq_base", 0, NULL}}, FORMAT, "rope base of 0"},
    {"llama", {{FLOAT, "llama.rope.freq_base", -1, NULL}}, FORMAT, "rope base of -1"},
    {"llama", {{FLOAT, "llama.rope.freq_base", NAN, NULL}}, FORMAT, "'llama.rope.freq_base' is nan"},
    {"qwen2", {{FLOAT, "qwen2.rope.freq_base", INFINITY, NULL}}, FORMAT, "'qwen2.rope.freq_base' is inf"},
    {"llama", {{TEXT, "llama.rope.scaling.type", 0, "yarn"}}, UNSUPPORTED, "rope scaling 'yarn'"},
    {"llama", {{NUMBER, "llama.rope.scaling.type", 1, NULL}}, FORMAT, "rope.scaling.type"},
    {"llama",
     {{FLOAT, "llama.rope.scaling.factor", NAN, NULL}},
     FORMAT,
     "'llama.rope.scaling.factor' is nan"},
    {"llama", {{FLOAT, "llama.rope.scaling.factor", -2, NULL}}, FORMAT, "scaling factor of -2"},
    {"llama", {{FLOAT, "llama.rope.scaling.factor", 1e-42, NULL}}, FORMAT, "scaling factor of 1"},
    {"llama", {{ADD, "rope_freqs.weight", 5, NULL}}, FORMAT, "'rope_freqs.weight' is not a vector of 4 F32"},
    {"llama",
     {{ADD, "rope_freqs.weight", 4, NULL}, {TYPE, "rope_freqs.weight", LG_TYPE_F16, NULL}},
     FORMAT,
     "rope_freqs"},
    {"llama",
     {{ADD, "rope_freqs.weight", 4, NULL}, {FILL, "rope_freqs.weight", 0, NULL}},
     FORMAT,
     "element 0 is 0"},
    {"llama",
     {{ADD, "rope_freqs.weight", 4, NULL}, {FILL, "rope_freqs.weight", NAN, NULL}},
     FORMAT,
     "element 0 is nan"},
    {"llama",
     {{ADD, "rope_freqs.weight", 4, NULL}, {FILL, "rope_freqs.weight", INFINITY, NULL}},
     FORMAT,
     "element 0 is inf"},
    {"llama", {{DROP, "llama.attention.layer_norm_rms_epsilon", 0, NULL}}, FORMAT, "epsilon' is missing"},
    {"llama", {{FLOAT, "llama.attention.layer_norm_rms_epsilon", NAN, NULL}}, FORMAT, "epsilon' is nan"},
    {"llama", {{FLOAT, "llama.attention.layer_norm_rms_epsilon", -1e-5, NULL}}, FORMAT, "epsilon of -1e-05"},
    {"gpt2", {{FLOAT, "gpt2.attention.layer_norm_epsilon", -1, NULL}}, FORMAT, "epsilon of -1"},

    // tensors
    {"llama", {{DROP_T, "token_embd.weight", 0, NULL}}, FORMAT, "'token_embd.weight' is missing"},
    {"llama", {{DROP_T, "output_norm.weight", 0, NULL}}, FORMAT, "'output_norm.weight' is missing"},
    {"llama", {{DROP_T, "blk.1.ffn_down.weight", 0, NULL}}, FORMAT, "'blk.1.ffn_down.weight' is missing"},
    {"gpt2", {{DROP_T, "blk.0.attn_qkv.bias", 0, NULL}}, FORMAT, "'blk.0.attn_qkv.bias' is missing"},
    {"gpt2", {{DROP_T, "position_embd.weight", 0, NULL}}, FORMAT, "'position_embd.weight' is missing"},
    {"llama",
     {{ROWS, "token_embd.weight", 282, NULL}},
     FORMAT,
     "'token_embd.weight' has 282 rows for 283 tokens"},
    {"llama",
     {{COLS, "token_embd.weight", 31, NULL}},
     FORMAT,
     "'token_embd.weight' is [283, 31], not [283, 32]"},
    {"llama",
     {{ROWS, "blk.0.attn_v.weight", 15, NULL}},
     FORMAT,
     "'blk.0.attn_v.weight' is [15, 32], not [16, 32]"},
    {"llama",
     {{COLS, "blk.1.ffn_down.weight", 32, NULL}},
     FORMAT,
     "'blk.1.ffn_down.weight' is [32, 32], not [32, 64]"},
    {"llama",
     {{COLS, "blk.0.attn_norm.weight", 33, NULL}},
     FORMAT,
     "'blk.0.attn_norm.weight' is [1, 33], not [1, 32]"},
    {"llama", {{ROWS, "output_norm.weight", 2, NULL}}, 0, NULL}, // a vector's second dimension is not written
    {"qwen2", {{COLS, "blk.1.attn_k.bias", 32, NULL}}, FORMAT, "'blk.1.attn_k.bias' is [1, 32], not [1, 16]"},
    {"gpt2",
     {{ROWS, "blk.1.attn_qkv.weight", 95, NULL}},
     FORMAT,
     "'blk.1.attn_qkv.weight' is [95, 32], not [96, 32]"},
    {"llama", {{ADD, "output.weight", 32, NULL}}, FORMAT, "'output.weight' is [1, 32], not [283, 32]"},
    {"llama",
     {{TYPE, "blk.1.attn_q.weight", IQ4_NL, NULL}},
     UNSUPPORTED,
     "'blk.1.attn_q.weight' has type IQ4_NL"},
    {"llama",
     {{TYPE, "token_embd.weight", IQ4_NL, NULL}},
     UNSUPPORTED,
     "'token_embd.weight' has type IQ4_NL"},
    {"llama",
     {{TYPE, "blk.0.attn_norm.weight", IQ4_NL, NULL}},
     UNSUPPORTED,
     "'blk.0.attn_norm.weight' has type IQ4_NL"},
    {"llama", {{TYPE, "blk.0.attn_norm.weight", 24, NULL}}, UNSUPPORTED, "has type I8, which has no kernels"},
};

static void check_lies(void)
{
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        const struct lie *lie = &lies[i];
        struct model_shape shape = model_tiny(lie->arch);
        make(&shape, lie->c, 2);
        env.error[0] = '\0';
        int rc = use_load(&use, m.file.data, m.file.size);
        bool right = rc == lie->code && (!lie->says || strstr(env.error, lie->says));
        if (!right)
            fprintf(stderr, "%s %s: %d '%s', not %d '%s'\n", lie->arch, lie->c[0].name, rc, env.error,
                    lie->code, lie->says ? lie->says : "");
        REQUIRE(right);
        require_nothing_left();
    }
    struct model_shape wide = model_tiny("llama");
    wide.n_ff = 256;
    make(&wide, &(struct change){TYPE, "blk.0.ffn_down.weight", 17, NULL}, 1);
    REQUIRE_INT(use_load(&use, m.file.data, m.file.size), ==, UNSUPPORTED);
    REQUIRE(strstr(env.error, "'blk.0.ffn_down.weight' has type IQ2_XS, which has no kernels"));
    require_nothing_left();
}

/* ---- room -------------------------------------------------------------------------------------------- */

static uint64_t budget;

static int fixed_budget(struct lg_device *dev, uint64_t *available)
{
    (void)dev;
    *available = budget;
    return 0;
}

/** A device that has no room left says so, at loading and at the first session. */
static void check_budget(void)
{
    const struct lg_device_ops *ops = use.dev->ops;
    struct lg_device_ops poor = *ops;
    poor.memory_budget = fixed_budget;
    use.dev->ops = &poor;
    struct model_shape shape = model_tiny("llama");
    make(&shape, NULL, 0);
    budget = 1000;
    REQUIRE_INT(use_load(&use, m.file.data, m.file.size), ==, LLMGPU_E_NOMEM);
    REQUIRE(strstr(env.error, "the weights take"));
    require_nothing_left();
    budget = 1 << 20;
    REQUIRE_INT(use_load(&use, m.file.data, m.file.size), ==, 0);
    REQUIRE_INT(use_start(&use, 1 << 20, false), ==, LLMGPU_E_NOMEM);
    REQUIRE(strstr(env.error, "the caches of 1048576 tokens take 256 MiB"));
    REQUIRE_INT(use_start(&use, 16, false), ==, 0);
    require_nothing_left();
    use.dev->ops = ops;
}

/** A device whose views are small gets its matrices in parts and fewer rows a pass, and computes the same. */
static void check_narrow(void)
{
    int32_t tokens[101], out[2][8];
    char path[1024];
    struct lg_session_params params = use_params(128, false);
    uint64_t all = use.dev->info.max_view_size;
    REQUIRE(getenv("LLMGPU_BUNDLED"));
    snprintf(path, sizeof(path), "%s/tavern-3.7m-q8_0.gguf", getenv("LLMGPU_BUNDLED"));
    for (int i = 0; i < 101; i++)
        tokens[i] = 7 * i; // from all parts of the vocabulary's table
    tokens[99] = 2000;
    params.n_batch = 128;
    for (int narrow = 0; narrow < 2; narrow++) {
        // A table of 544 KiB, and 3 KiB of activations a row.
        use.dev->info.max_view_size = narrow ? 1 << 18 : all;
        REQUIRE_INT(lg_model_load(&env, use.dev, path, false, &use.model), ==, 0);
        REQUIRE_INT(use_engine(&use), ==, 0);
        REQUIRE_INT(lg_session_init(&use.session, &env, &use.sched, &use.engine, &params), ==, 0);
        REQUIRE_INT(use.engine.batch.max_rows, ==, narrow ? 85 : 128);
        REQUIRE_INT(lg_session_feed(&use.session, tokens, 101), ==, 0);
        REQUIRE_INT(use_generate(&use.session, 0, 0, out[narrow], 8), ==, 0);
        require_nothing_left();
    }
    REQUIRE(memcmp(out[0], out[1], sizeof(out[0])) == 0);
    use.dev->info.max_view_size = all;
}

static void check_context(void)
{
    int32_t tokens[20] = {0}, out[8], again[8];
    struct model_shape shape = model_tiny("llama");
    make(&shape, NULL, 0);
    REQUIRE_INT(use_load(&use, m.file.data, m.file.size), ==, 0);
    REQUIRE_INT(use_start(&use, 16, false), ==, 0);
    REQUIRE_INT(use_generate(&use.session, 3, 8, out, 8), ==, 0);
    lg_session_reset(&use.session);
    REQUIRE_INT(lg_session_feed(&use.session, tokens, 17), ==, LLMGPU_E_CONTEXT_FULL);
    REQUIRE(strstr(env.error, "17 tokens do not fit: 0 of the context's 16 are taken"));
    REQUIRE_INT(lg_session_feed(&use.session, tokens, SIZE_MAX / 8), ==, LLMGPU_E_CONTEXT_FULL);
    REQUIRE_INT(lg_session_score(&use.session, tokens, 17, &(struct lg_scores){0}), ==, LLMGPU_E_CONTEXT_FULL);
    REQUIRE_INT(use_generate(&use.session, 3, 8, again, 8), ==, 0); // nothing was added
    REQUIRE(memcmp(out, again, sizeof(out)) == 0);
    require_nothing_left();
}

static int (*real_wait)(struct lg_device *, uint64_t, uint64_t);

/** Stops a submission that was over already, as a request does that comes at its end. */
static int wait_cancelled(struct lg_device *dev, uint64_t ticket, uint64_t timeout_ns)
{
    LG_TRY(real_wait(dev, ticket, timeout_ns));
    lg_session_cancel(&use.session);
    return lg_fail(dev->env, LLMGPU_E_CANCELLED, "cancelled");
}

/** What was fed before a cancelled answer is still there when more is fed. */
static void check_cancelled(void)
{
    int32_t expected[6], found[6];
    struct model_shape shape = model_tiny("qwen2");
    make(&shape, NULL, 0);
    REQUIRE_INT(use_load(&use, m.file.data, m.file.size), ==, 0);
    REQUIRE_INT(use_start(&use, 32, true), ==, 0);
    REQUIRE_INT(use_generate(&use.session, 3, 6, expected, 6), ==, 0);
    lg_session_reset(&use.session);

    const struct lg_device_ops *ops = use.dev->ops;
    struct lg_device_ops stopped = *ops;
    real_wait = ops->wait;
    stopped.wait = wait_cancelled;
    use.session.params.tokens_per_submit = 4;
    REQUIRE_INT(use_generate(&use.session, 3, 4, found, 0), ==, 0);
    REQUIRE_INT(lg_scheduler_wait(&use.sched, &use.session, LG_WAIT_PREFILL, UINT64_MAX), ==, 0);
    use.dev->ops = &stopped;
    REQUIRE_INT(use_next(&use.session, found), ==, LLMGPU_E_CANCELLED);
    use.dev->ops = ops;
    REQUIRE_INT(use_generate(&use.session, 7, 2, found, 6), ==, 0);
    REQUIRE(memcmp(found, expected, sizeof(found)) == 0);
    require_nothing_left();
}

/* ---- files, through the public functions --------------------------------------------------------------- */

static llmgpu_context *open_context(const char *device)
{
    llmgpu_context *ctx;
    llmgpu_context_params p;
    llmgpu_context_params_init(&p, sizeof(p));
    p.device = device;
    p.n_threads = 1;
    REQUIRE_INT(llmgpu_context_create(&ctx, &p), ==, 0);
    return ctx;
}

static void refuse(llmgpu_context *ctx, const char *path, int code, const char *says)
{
    llmgpu_model *model = (llmgpu_model *)&m;
    int rc = llmgpu_model_load(&model, ctx, path, NULL);
    if (rc != code || !strstr(llmgpu_context_error(ctx), says))
        fprintf(stderr, "%s: %d '%s'\n", path ? path : "NULL", rc, llmgpu_context_error(ctx));
    REQUIRE_INT(rc, ==, code);
    REQUIRE(!model && strstr(llmgpu_context_error(ctx), says));
}

static void make_temporary(char path[], const void *data, size_t size)
{
    int fd = mkstemp(path);
    REQUIRE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
}

static const char *bundled(void)
{
    static char path[1024];
    REQUIRE(getenv("LLMGPU_BUNDLED"));
    snprintf(path, sizeof(path), "%s/tavern-3.7m-q8_0.gguf", getenv("LLMGPU_BUNDLED"));
    return path;
}

static void check_paths(llmgpu_context *ctx)
{
    char empty[] = "/tmp/llmgpu-test-XXXXXX";
    make_temporary(empty, "", 0);
    refuse(ctx, NULL, LLMGPU_E_INVALID, "no path");
    refuse(ctx, "", LLMGPU_E_IO, "cannot open ''");
    refuse(ctx, "/tmp", LLMGPU_E_IO, "'/tmp': not a regular file");
    refuse(ctx, "/nowhere/model.gguf", LLMGPU_E_IO, "'/nowhere/model.gguf'");
    refuse(ctx, empty, LLMGPU_E_FORMAT, empty);
    unlink(empty);
}

/** The bundled model, shorter and shorter. */
static void check_truncated(llmgpu_context *ctx)
{
    struct stat st;
    char path[] = "/tmp/llmgpu-test-XXXXXX";
    FILE *f = fopen(bundled(), "rb");
    REQUIRE(f && fstat(fileno(f), &st) == 0);
    size_t size = (size_t)st.st_size;
    uint8_t *data = malloc(size);
    REQUIRE(data && fread(data, 1, size, f) == size);
    fclose(f);
    make_temporary(path, data, size);
    free(data);
    for (size_t n = size - 1, step = 1; n > 0; step = step * 5 / 4 + 1, n -= n < step ? n : step) {
        REQUIRE_INT(truncate(path, (off_t)n), ==, 0);
        refuse(ctx, path, LLMGPU_E_FORMAT, " ");
    }
    for (off_t n = 300000; n > 0; n = n * 15 / 16 - 1) {
        REQUIRE_INT(truncate(path, n), ==, 0); // also longer again, with zeros
        refuse(ctx, path, LLMGPU_E_FORMAT, " ");
    }
    unlink(path);
}

/** A file of a TiB, almost all of it a hole. */
static void check_too_large(llmgpu_context *ctx)
{
    char path[] = "/tmp/llmgpu-test-XXXXXX";
    struct model_shape shape = model_tiny("llama");
    model_init(&m, &shape);
    model_add(&m, "huge", 0, 1 << 12, 1 << 26, LG_TYPE_F32);
    uint64_t data = model_write_head(&m);
    make_temporary(path, m.file.data, m.file.size);
    if (truncate(path, (off_t)(m.file.size + data)) == 0) // not every file system has such files
        refuse(ctx, path, LLMGPU_E_NOMEM, "the weights take 1048576 MiB");
    unlink(path);
}

#if !defined(__SANITIZE_ADDRESS__) // which has mapped more than any limit
/** A process that may have no more memory: refused, and a smaller session works. */
static void use_little_memory(void)
{
    llmgpu_context *ctx = open_context("cpu");
    llmgpu_model *model;
    llmgpu_session *s;
    llmgpu_session_params p;
    unsigned long pages;
    REQUIRE_INT(llmgpu_model_load(&model, ctx, bundled(), NULL), ==, 0);
    FILE *f = fopen("/proc/self/statm", "r");
    REQUIRE(f && fscanf(f, "%lu", &pages) == 1);
    fclose(f);
    rlim_t limit = pages * (rlim_t)sysconf(_SC_PAGESIZE) + (32 << 20);
    REQUIRE_INT(setrlimit(RLIMIT_AS, &(struct rlimit){limit, limit}), ==, 0);

    llmgpu_session_params_init(&p, sizeof(p));
    p.n_ctx = 1 << 16;
    REQUIRE_INT(llmgpu_session_create(&s, model, &p), ==, LLMGPU_E_NOMEM);
    REQUIRE(!s && strstr(llmgpu_context_error(ctx), "out of memory"));
    p.n_ctx = 64;
    REQUIRE_INT(llmgpu_session_create(&s, model, &p), ==, 0);
    int32_t token = 5;
    REQUIRE_INT(llmgpu_session_feed(s, &token, 1), ==, 0);
    REQUIRE_INT(llmgpu_session_wait(s, UINT64_MAX), ==, 0);
    REQUIRE_INT(llmgpu_session_next(s, &token), ==, LLMGPU_TOKEN);
    llmgpu_session_free(s);
    llmgpu_model_free(model);
    llmgpu_context_free(ctx);
}

static void check_limit(void)
{
    int status;
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        use_little_memory();
        exit(0);
    }
    REQUIRE(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    REQUIRE_INT(WEXITSTATUS(status), ==, 0);
}
#endif

/* ---- all of it ----------------------------------------------------------------------------------------- */

static void check_inside(const char *device)
{
    struct lg_device_options options = {.name = device, .n_threads = 2, .check = true};
    test_heap_env(&env, &heap, 0);
    use.env = &env;
    int rc = lg_device_open(&env, &options, &use.dev);
    if (rc == LLMGPU_E_NO_DEVICE) {
        fprintf(stderr, "%s\n", env.error);
        exit(TEST_SKIP);
    }
    REQUIRE_INT(rc, ==, 0);
    check_families();
    if (strcmp(device, "cpu") == 0) // elsewhere each is many pipelines; tests/kernels has them
        check_types();
    check_accepted();
    check_spellings();
    check_nan();
    check_lies();
    check_budget();
    check_narrow();
    check_context();
    check_cancelled();
    lg_device_close(use.dev);
    REQUIRE_INT(heap.live, ==, 0);
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    check_inside(device);
    llmgpu_context *ctx = open_context(device);
    check_paths(ctx);
    check_truncated(ctx);
    check_too_large(ctx);
    llmgpu_context_free(ctx);
#if !defined(__SANITIZE_ADDRESS__)
    if (strcmp(device, "cpu") == 0)
        check_limit();
#endif
    return 0;
}
