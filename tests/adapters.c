/* SPDX-License-Identifier: MIT
 *
 * Adapters from a file to what they add, on the device that the first argument names: against models whose
 * matrices were changed by as much, with each lie in a file refused, in and out of their seats, and with
 * allocations that fail.
 */
#include "gguf/quants.h"
#include "heap.h"
#include "lora_build.h"
#include "model_use.h"

enum { N_SCORED = 7, N_OUT = 6 };

static struct model_build base, adapter;
static struct test_heap heap;
static struct lg_env env;
static struct use use;

static const int32_t scored[N_SCORED] = {40, 7, 99, 7, 200, 13, 41};

/* ---- loading ------------------------------------------------------------------------------------------- */

static int load_lora(const struct model_build *m, struct lg_lora **out)
{
    struct lg_gguf *gguf;
    LG_TRY(lg_gguf_parse(&env, "adapter.gguf", m->file.data, m->file.size, &gguf));
    return lg_lora_load_gguf(&env, use.model, gguf, out);
}

/** Loads what must load, and seats it. */
static uint32_t seat_lora(const struct model_build *m, struct lg_lora **out)
{
    int rc = load_lora(m, out);
    if (rc == 0)
        rc = lg_engine_seat_lora(&use.engine, *out);
    if (rc < 0)
        fprintf(stderr, "%s\n", env.error);
    REQUIRE_INT(rc, >=, 1);
    return (uint32_t)rc;
}

static void unseat_lora(struct lg_lora *lora, uint32_t seat)
{
    lg_engine_unseat_lora(&use.engine, seat);
    lg_lora_destroy(lora);
}

static void open_base(void)
{
    REQUIRE_INT(use_load(&use, base.file.data, base.file.size), ==, 0);
    REQUIRE_INT(use_start(&use, 32, false), ==, 0);
}

static void require_nothing_left(void)
{
    use_end(&use);
    REQUIRE_INT(atomic_load(&use.dev->stats.memory_used), ==, 0);
    REQUIRE_INT(use.dev->check_messages, ==, 0);
}

static float *score(struct lg_session *s)
{
    float *logits = malloc(N_SCORED * sizeof(float) * use.model->hp.n_vocab);
    REQUIRE(logits);
    int rc = lg_session_score(s, scored, N_SCORED, &(struct lg_scores){.logits = logits});
    if (rc < 0)
        fprintf(stderr, "%s\n", env.error);
    REQUIRE_INT(rc, ==, 0);
    return logits;
}

static double largest_difference(const float *a, const float *b)
{
    double worst = 0;
    for (uint32_t i = 0; i < N_SCORED * use.model->hp.n_vocab; i++)
        worst = fmax(worst, fabs((double)a[i] - b[i]));
    return worst;
}

/* ---- against changed matrices ---------------------------------------------------------------------------
 */

static float *floats_of(const struct lg_gguf_tensor *t)
{
    size_t n = t->dims[0] * t->dims[1];
    float *values = malloc(n * sizeof(*values));
    REQUIRE(values);
    lg_dequantize(t->type, t->data, values, n);
    return values;
}

/** W += factor * B A, in the file itself. */
static void change_matrix(const struct lg_gguf_tensor *w, const struct lg_gguf_tensor *a,
                          const struct lg_gguf_tensor *b, double factor)
{
    REQUIRE_INT(w->type, ==, LG_TYPE_F32);
    float *av = floats_of(a), *bv = floats_of(b), *wv = floats_of(w);
    for (uint64_t m = 0; m < w->dims[1]; m++) {
        for (uint64_t k = 0; k < w->dims[0]; k++) {
            double sum = 0;
            for (uint64_t i = 0; i < a->dims[1]; i++)
                sum += (double)bv[m * a->dims[1] + i] * av[i * w->dims[0] + k];
            wv[m * w->dims[0] + k] += (float)(factor * sum);
        }
    }
    memcpy((void *)w->data, wv, w->size);
    free(av);
    free(bv);
    free(wv);
}

/** Changes base.file by what adapter.file says. */
static void merge(double scale)
{
    struct lg_env plain;
    struct lg_gguf *model, *lora;
    float alpha = 0;
    lg_env_init(&plain);
    REQUIRE_INT(lg_gguf_parse(&plain, "base", base.file.data, base.file.size, &model), ==, 0);
    REQUIRE_INT(lg_gguf_parse(&plain, "adapter", adapter.file.data, adapter.file.size, &lora), ==, 0);
    lg_gguf_get_f32(lora, &plain, "adapter.lora.alpha", &alpha);
    for (uint64_t i = 0; i < lora->n_tensors; i++) {
        const struct lg_gguf_tensor *a = &lora->tensors[i];
        char name[64];
        snprintf(name, sizeof(name), "%.*s", (int)a->name.len, a->name.ptr);
        char *end = strstr(name, ".lora_a");
        if (!end)
            continue;
        end[6] = 'b';
        const struct lg_gguf_tensor *b = lg_gguf_find_tensor(lora, name);
        *end = 0;
        const struct lg_gguf_tensor *w = lg_gguf_find_tensor(model, name);
        REQUIRE(b && w);
        change_matrix(w, a, b, scale * (alpha == 0 ? 1 : alpha / (double)a->dims[1]));
    }
    lg_gguf_close(lora);
    lg_gguf_close(model);
}

/** With the adapter as with changed matrices; without it, or at another scale, not. */
static void check_merged(const struct model_shape *shape, const struct lora_shape *l, float scale)
{
    struct lg_lora *lora;
    int32_t tokens[N_OUT], expected_tokens[N_OUT];
    struct model_shape f32 = *shape;
    f32.type = LG_TYPE_F32;
    model_init(&base, &f32);
    model_write(&base);
    lora_write(&adapter, &base, l, 7);

    open_base();
    uint32_t seat = seat_lora(&adapter, &lora);
    float *plain = score(&use.session);
    lg_session_set_lora(&use.session, seat, scale);
    float *found = score(&use.session);
    lg_session_reset(&use.session);
    REQUIRE_INT(use_generate(&use.session, 40, 6, tokens, N_OUT), ==, 0);
    lg_session_set_lora(&use.session, 0, scale);
    float *again = score(&use.session);
    REQUIRE(largest_difference(again, plain) == 0);
    unseat_lora(lora, seat);
    require_nothing_left();

    merge(scale);
    open_base();
    float *expected = score(&use.session);
    lg_session_reset(&use.session);
    REQUIRE_INT(use_generate(&use.session, 40, 6, expected_tokens, N_OUT), ==, 0);
    double off = largest_difference(found, expected), effect = largest_difference(plain, expected);
    if (!(off < 2e-5 && effect > 0.02))
        fprintf(stderr, "%s, rank %u: off by %g, of %g\n", shape->arch, l->rank, off, effect);
    REQUIRE(off < 2e-5 && effect > 0.02);
    REQUIRE(memcmp(tokens, expected_tokens, sizeof(tokens)) == 0);
    require_nothing_left();
    free(plain);
    free(found);
    free(again);
    free(expected);
}

static void check_families(void)
{
    static const char *const archs[] = {"llama", "qwen2", "gpt2"};
    bool fast = use.dev->info.kind == LG_DEVICE_CPU; // a driver takes long for each model
    for (size_t i = 0; i < 3; i++) {
        struct model_shape shape = model_tiny(archs[i]);
        struct lora_shape l = {.rank = 4, .alpha = 8, .a_type = LG_TYPE_F32, .b_type = LG_TYPE_F32};
        check_merged(&shape, &l, 0.5f);
        l = (struct lora_shape){.rank = 5, .a_type = LG_TYPE_F16, .b_type = LG_TYPE_F16}; // alpha 0: factor 1
        if (fast)
            check_merged(&shape, &l, -0.25f);
        // Nothing that a vector unit or a workgroup would like.
        shape.n_embd = 21;
        shape.n_heads = shape.n_kv = 3;
        shape.head_dim = 2;
        shape.n_ff = 37;
        check_merged(&shape, &l, 0.2f);
    }
    // What the two halves may be stored as; blocks of 32 need such widths.
    static const struct lora_shape stored[] = {
        {32, 16, LG_TYPE_F16, LG_TYPE_F32, NULL},
        {32, 16, LG_TYPE_Q8_0, LG_TYPE_Q4_0, NULL},
        {1, 1, LG_TYPE_BF16, LG_TYPE_F16, NULL},
        {70, 64, LG_TYPE_F16, LG_TYPE_F16, "attn_v"},
        {3, 3, LG_TYPE_F32, LG_TYPE_F32, "blk.1.ffn_down"},
    };
    struct model_shape llama = model_tiny("llama");
    for (size_t i = 0; i < sizeof(stored) / sizeof(stored[0]); i += fast ? 1 : 3)
        check_merged(&llama, &stored[i], 0.3f);
}

/* ---- lies ------------------------------------------------------------------------------------------------
 */

enum lie_kind {
    TEXT,   // metadata, `text`
    NUMBER, // metadata, an f32
    DROP,   // metadata
    DROP_T, // a tensor
    DIM0,   // of a tensor: fastest
    DIM1,
    DIM2,
    TYPE, // of a tensor
    NAME, // of a tensor, becomes `text`
    ALL,  // tensors are dropped
};

struct lie {
    const char *arch;
    enum lie_kind kind;
    const char *name, *text;
    double number;
    int code;
    const char *says;
};

enum { FORMAT = LLMGPU_E_FORMAT, UNSUPPORTED = LLMGPU_E_UNSUPPORTED, IQ4_NL = 20 };

#define Q_A "blk.0.attn_q.weight.lora_a"
#define Q_B "blk.0.attn_q.weight.lora_b"

static const struct lie lies[] = {
    // what it is
    {"llama", DROP, "general.type", NULL, 0, FORMAT, "'general.type' is missing"},
    {"llama", TEXT, "general.type", "model", 0, UNSUPPORTED, "'general.type' is 'model', not 'adapter'"},
    {"llama", NUMBER, "general.type", NULL, 3, FORMAT, "general.type"},
    {"llama", DROP, "adapter.type", NULL, 0, FORMAT, "'adapter.type' is missing"},
    {"llama", TEXT, "adapter.type", "control\x1b[2J", 0, UNSUPPORTED, "'control\\x1b[2J', not 'lora'"},
    {"llama", DROP, "general.architecture", NULL, 0, FORMAT, "'general.architecture' is missing"},
    {"llama", TEXT, "general.architecture", "qwen2", 0, UNSUPPORTED, "is 'qwen2', not 'llama'"},
    {"llama", NUMBER, "adapter.lora.alpha", NULL, NAN, FORMAT, "'adapter.lora.alpha' is nan"},
    {"llama", NUMBER, "adapter.lora.alpha", NULL, INFINITY, FORMAT, "'adapter.lora.alpha' is inf"},
    {"llama", TEXT, "adapter.lora.alpha", "16", 0, FORMAT, "adapter.lora.alpha"},
    {"llama", NUMBER, "general.name", NULL, 1, FORMAT, "general.name"},
    {"llama", NUMBER, "adapter.alora.invocation_tokens", NULL, 1, UNSUPPORTED, "tokens invoke"},

    // which tensors
    {"llama", ALL, NULL, NULL, 0, FORMAT, "no tensors"},
    {"llama", DROP_T, Q_A, NULL, 0, FORMAT, "tensor '" Q_B "': its other half is missing"},
    {"llama", DROP_T, Q_B, NULL, 0, FORMAT, "tensor '" Q_A "': its other half is missing"},
    {"llama", NAME, Q_A, "blk.0.attn_q.weight", 0, UNSUPPORTED, "only .lora_a and .lora_b"},
    {"llama", NAME, Q_A, "blk.0.attn_q.weight.lora_magnitude", 0, UNSUPPORTED, "only .lora_a and .lora_b"},
    {"llama", NAME, Q_A, "lora_a", 0, UNSUPPORTED, "tensor 'lora_a': only"},
    {"llama", NAME, Q_A, ".lora_a", 0, UNSUPPORTED, "tensor '.lora_a': adapters to this tensor"},
    {"llama", NAME, Q_A, "output.weight.lora_a", 0, UNSUPPORTED,
     "'output.weight.lora_a': adapters to this tensor"},
    {"llama", NAME, Q_A, "token_embd.weight.lora_a", 0, UNSUPPORTED, "adapters to this tensor"},
    {"llama", NAME, Q_A, "blk.0.attn_norm.weight.lora_a", 0, UNSUPPORTED, "adapters to this tensor"},
    {"llama", NAME, Q_A, "blk.0.attn_q.bias.lora_a", 0, UNSUPPORTED, "adapters to this tensor"},
    {"llama", NAME, Q_A, "blk..attn_q.weight.lora_a", 0, UNSUPPORTED, "adapters to this tensor"},
    {"llama", NAME, Q_A, "blk.00.attn_q.weight.lora_a", 0, UNSUPPORTED, "adapters to this tensor"},
    {"llama", NAME, Q_A, "blk.-1.attn_q.weight.lora_a", 0, UNSUPPORTED, "adapters to this tensor"},
    {"llama", NAME, Q_A, "blk.0x1.attn_q.weight.lora_a", 0, UNSUPPORTED, "adapters to this tensor"},
    {"llama", NAME, Q_A, "blk.4294967296.attn_q.weight.lora_a", 0, UNSUPPORTED, "adapters to this tensor"},
    {"llama", NAME, Q_A, "blk.2.attn_q.weight.lora_a", 0, UNSUPPORTED, "the model has no such tensor"},
    {"llama", NAME, Q_A, "blk.999999.attn_q.weight.lora_a", 0, UNSUPPORTED, "the model has no such tensor"},
    {"llama", NAME, Q_A, "blk.0.attn_qkv.weight.lora_a", 0, UNSUPPORTED, "the model has no such tensor"},
    {"gpt2", NAME, "blk.0.attn_qkv.weight.lora_a", "blk.0.attn_q.weight.lora_a", 0, UNSUPPORTED,
     "the model has no such tensor"},
    {"gpt2", NAME, "blk.0.ffn_up.weight.lora_a", "blk.0.ffn_gate.weight.lora_a", 0, UNSUPPORTED,
     "the model has no such tensor"},
    {"llama", NAME, Q_A, "\x1b[2J\n.lora_a", 0, UNSUPPORTED,
     "tensor '\\x1b[2J\\x0a.lora_a': adapters to this"},

    // shapes
    {"llama", DIM0, Q_A, NULL, 31, UNSUPPORTED, "tensor '" Q_A "' is [4, 31], not [rank, 32]"},
    {"llama", DIM2, Q_A, NULL, 2, UNSUPPORTED, "tensor '" Q_A "' is"},
    {"llama", DIM1, Q_B, NULL, 16, UNSUPPORTED, "tensor '" Q_B "' is [16, 4], not [32, rank]"},
    {"llama", DIM2, Q_B, NULL, 3, UNSUPPORTED, "tensor '" Q_B "' is"},
    {"llama", DIM0, Q_B, NULL, 3, FORMAT, "tensor '" Q_B "' has rank 3, its other half 4"},
    {"llama", DIM1, Q_A, NULL, 2000, FORMAT, "has rank 4, its other half 2000"},
    {"gpt2", DIM1, "blk.1.attn_qkv.weight.lora_b", NULL, 32, UNSUPPORTED, "is [32, 4], not [96, rank]"},
    {"llama", TYPE, Q_A, NULL, IQ4_NL, UNSUPPORTED, "tensor '" Q_A "': its type is not supported"},
    {"llama", TYPE, Q_B, NULL, 24 /* I8 */, UNSUPPORTED, "tensor '" Q_B "': its type is not supported"},
};

static void tell(const struct lie *lie)
{
    struct model_tensor *t =
        lie->kind >= DIM0 && lie->kind <= NAME ? model_tensor(&adapter, lie->name) : NULL;
    switch (lie->kind) {
    case TEXT: model_set_text(&adapter, lie->name, lie->text); break;
    case NUMBER: model_set(&adapter, lie->name, LG_GGUF_F32, lie->number); break;
    case DROP: model_drop(&adapter, lie->name); break;
    case DROP_T: model_drop_tensor(&adapter, lie->name); break;
    case DIM0: t->dims[0] = (uint64_t)lie->number; break;
    case DIM1: t->dims[1] = (uint64_t)lie->number; break;
    case DIM2:
        t->dims[2] = (uint64_t)lie->number;
        t->n_dims = 3;
        break;
    case TYPE: t->type = (uint32_t)lie->number; break;
    case NAME: snprintf(t->name, sizeof(t->name), "%s", lie->text); break;
    case ALL: adapter.n_tensors = 0; break;
    }
}

static void require_refused(const char *what, int code, const char *says)
{
    struct lg_lora *lora = (struct lg_lora *)&adapter;
    env.error[0] = '\0';
    int rc = load_lora(&adapter, &lora);
    if (rc != code || !strstr(env.error, says))
        fprintf(stderr, "%s: %d '%s', not %d '%s'\n", what, rc, env.error, code, says);
    REQUIRE_INT(rc, ==, code);
    REQUIRE(!lora && strstr(env.error, says));
    for (const char *c = env.error; *c; c++)
        REQUIRE(*c >= 0x20 && *c < 0x7f);
}

static void check_lies(void)
{
    static const char *const archs[] = {"llama", "gpt2"};
    const struct lora_shape l = {.rank = 4, .alpha = 8};
    for (size_t a = 0; a < 2; a++) {
        struct model_shape shape = model_tiny(archs[a]);
        model_init(&base, &shape);
        model_write(&base);
        REQUIRE_INT(use_load(&use, base.file.data, base.file.size), ==, 0);
        for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
            if (strcmp(lies[i].arch, archs[a]) != 0)
                continue;
            lora_init(&adapter, &base, &l);
            tell(&lies[i]);
            model_write(&adapter);
            size_t live = heap.live;
            require_refused(lies[i].name ? lies[i].name : "all", lies[i].code, lies[i].says);
            REQUIRE_INT(heap.live, ==, live);
        }
        // The largest rank that is taken, and one more.
        for (uint32_t rank = LG_MAX_RANK; a == 0 && rank <= LG_MAX_RANK + 1; rank++) {
            const struct lora_shape large = {.rank = rank, .alpha = 8, .only = "blk.1.attn_q"};
            lora_write(&adapter, &base, &large, 7);
            if (rank > LG_MAX_RANK) {
                require_refused("rank", UNSUPPORTED, "has rank 1025; at most 1024 is supported");
            } else {
                struct lg_lora *lora;
                uint32_t seat = seat_lora(&adapter, &lora);
                unseat_lora(lora, seat);
            }
        }
        require_nothing_left();
    }
}

/* ---- seats -----------------------------------------------------------------------------------------------
 */

/** Answers of one session with each of several adapters. */
enum { N_LORAS = 4 };

static struct model_build adapters[N_LORAS];

static void make_adapters(void)
{
    static const struct lora_shape shapes[N_LORAS] = {{.rank = 8, .alpha = 16},
                                                      {.rank = 3, .alpha = 6, .only = "attn"},
                                                      {.rank = 8, .alpha = 16},
                                                      {.rank = 12, .alpha = 4}};
    struct model_shape shape = model_tiny("qwen2");
    model_init(&base, &shape);
    model_write(&base);
    for (int i = 0; i < N_LORAS; i++)
        lora_write(&adapters[i], &base, &shapes[i], (uint64_t)i + 1);
}

static void require_answer(struct lg_session *s, uint32_t seat, const float *expected)
{
    lg_session_set_lora(s, seat, 0.5f);
    float *found = score(s);
    REQUIRE(largest_difference(found, expected) == 0);
    free(found);
}

static void check_seats(void)
{
    struct lg_lora *loras[N_LORAS];
    uint32_t seats[N_LORAS];
    float *alone[N_LORAS];
    make_adapters();
    open_base();
    for (int i = 0; i < N_LORAS; i++) {
        seats[i] = seat_lora(&adapters[i], &loras[i]);
        REQUIRE_INT(seats[i], ==, 1);
        lg_session_set_lora(&use.session, seats[i], 0.5f);
        alone[i] = score(&use.session);
        lg_session_set_lora(&use.session, 0, 0);
        unseat_lora(loras[i], seats[i]);
        for (int k = 0; k < i; k++)
            REQUIRE(largest_difference(alone[i], alone[k]) > 0.01);
    }
    uint64_t used = atomic_load(&use.dev->stats.memory_used);

    // Each as alone, however many there are.
    for (int i = 0; i < 3; i++) {
        seats[i] = seat_lora(&adapters[i], &loras[i]);
        for (int k = 0; k <= i; k++)
            require_answer(&use.session, seats[k], alone[k]);
    }
    // A gap is used again, without anything being made anew.
    lg_session_set_lora(&use.session, 0, 0);
    unseat_lora(loras[0], seats[0]);
    struct lg_buffer *buffer = use.engine.bank.adapters.weights;
    struct lg_program *program = use.engine.adapted.score.chain.program;
    REQUIRE(buffer && program);
    REQUIRE_INT(seat_lora(&adapters[0], &loras[0]), ==, seats[0]);
    REQUIRE(use.engine.bank.adapters.weights == buffer && use.engine.adapted.score.chain.program == program);
    // One that is too large for it is not squeezed in.
    unseat_lora(loras[1], seats[1]);
    REQUIRE_INT(seat_lora(&adapters[2], &loras[1]), ==, seats[1]);
    REQUIRE(!use.engine.adapted.score.chain.program);
    require_answer(&use.session, seats[0], alone[0]);
    require_answer(&use.session, seats[1], alone[2]);
    require_answer(&use.session, seats[2], alone[2]);
    lg_session_set_lora(&use.session, 0, 0);
    unseat_lora(loras[1], seats[1]);
    REQUIRE_INT(seat_lora(&adapters[1], &loras[1]), ==, seats[1]);
    // What does not fit makes all of them move, while one is in the middle of an answer.
    int32_t tokens[N_OUT], expected[N_OUT];
    lg_session_set_lora(&use.session, seats[1], 0.5f);
    lg_session_reset(&use.session);
    REQUIRE_INT(use_generate(&use.session, 40, 6, expected, N_OUT), ==, 0);
    lg_session_reset(&use.session);
    REQUIRE_INT(use_generate(&use.session, 40, 6, tokens, N_OUT / 2), ==, 0);
    seats[3] = seat_lora(&adapters[3], &loras[3]);
    REQUIRE_INT(seats[3], ==, 4);
    REQUIRE(!use.engine.adapted.score.chain.program);
    REQUIRE_INT(use_generate(&use.session, 0, 0, tokens + N_OUT / 2, N_OUT / 2), ==, 0);
    REQUIRE(memcmp(tokens, expected, sizeof(tokens)) == 0);
    for (int i = 0; i < N_LORAS; i++)
        require_answer(&use.session, seats[i], alone[i]);

    // With the last of them everything goes.
    lg_session_set_lora(&use.session, 0, 0);
    for (int i = 0; i < N_LORAS; i++)
        unseat_lora(loras[i], seats[i]);
    REQUIRE_INT(atomic_load(&use.dev->stats.memory_used), ==, used);
    for (int i = 0; i < N_LORAS; i++)
        free(alone[i]);
    require_nothing_left();
}

static void check_all_taken(void)
{
    struct lg_lora *loras[LG_MAX_SEATS], *one_more;
    make_adapters();
    REQUIRE_INT(use_load(&use, base.file.data, base.file.size), ==, 0);
    for (uint32_t i = 0; i < LG_MAX_SEATS; i++)
        REQUIRE_INT(seat_lora(&adapters[1], &loras[i]), ==, i + 1);
    REQUIRE_INT(load_lora(&adapters[1], &one_more), ==, 0);
    REQUIRE_INT(lg_engine_seat_lora(&use.engine, one_more), ==, LLMGPU_E_LIMIT);
    REQUIRE(strstr(env.error, "all 64 adapters"));
    lg_lora_destroy(one_more);
    for (uint32_t i = 0; i < LG_MAX_SEATS; i++)
        unseat_lora(loras[i], i + 1);
    require_nothing_left();
}

/** Beyond what the device binds at once, or has. */
static void check_limits(void)
{
    struct lg_lora *loras[2];
    make_adapters();
    REQUIRE_INT(use_load(&use, base.file.data, base.file.size), ==, 0);
    uint64_t max_view = use.dev->info.max_view_size;
    uint32_t seat = seat_lora(&adapters[0], &loras[0]);
    uint64_t used = atomic_load(&use.dev->stats.memory_used);
    use.dev->info.max_view_size = loras[0]->layer_bytes + 255;
    REQUIRE_INT(load_lora(&adapters[2], &loras[1]), ==, 0);
    REQUIRE_INT(lg_engine_seat_lora(&use.engine, loras[1]), ==, UNSUPPORTED);
    REQUIRE(strstr(env.error, "binds at most"));
    REQUIRE_INT(atomic_load(&use.dev->stats.memory_used), ==, used);
    use.dev->info.max_view_size = max_view;
    REQUIRE_INT(lg_engine_seat_lora(&use.engine, loras[1]), ==, 2);
    unseat_lora(loras[1], 2);
    unseat_lora(loras[0], seat);
    require_nothing_left();
}

/* ---- failing allocations
 * ----------------------------------------------------------------------------------- */

static int load_and_use(struct lg_lora **lora, int *seat, int32_t out[N_OUT])
{
    float *logits = malloc(N_SCORED * sizeof(float) * use.model->hp.n_vocab);
    int rc = load_lora(&adapters[3], lora);
    if (rc == 0)
        rc = *seat = lg_engine_seat_lora(&use.engine, *lora);
    if (rc > 0) {
        lg_session_set_lora(&use.session, (uint32_t)rc, 0.5f);
        lg_session_reset(&use.session);
        rc = use_generate(&use.session, 40, 6, out, N_OUT);
    }
    if (rc >= 0)
        rc = lg_session_score(&use.session, scored, N_SCORED, &(struct lg_scores){.logits = logits});
    free(logits);
    return rc;
}

/** The second adapter of a session that goes on with the first in between. */
static void check_failures(void)
{
    struct lg_lora *first, *second;
    int32_t expected[2][N_OUT], out[N_OUT];
    int seat;
    make_adapters();
    open_base();
    uint32_t first_seat = seat_lora(&adapters[0], &first);
    lg_session_set_lora(&use.session, first_seat, 0.5f);
    REQUIRE_INT(use_generate(&use.session, 40, 6, expected[0], N_OUT), ==, 0);
    uint64_t n = 0;
    for (bool failed = true; failed;) {
        env.error[0] = '\0';
        second = NULL;
        seat = 0;
        heap.fail_at = ++n == 1 ? 0 : heap.n + n - 1; // the first time nothing fails
        int rc = load_and_use(&second, &seat, out);
        failed = n == 1 || heap.n >= heap.fail_at;
        heap.fail_at = 0;
        if (rc < 0) {
            if (rc != LLMGPU_E_NOMEM || !*env.error)
                fprintf(stderr, "request %llu: %d '%s'\n", (unsigned long long)n - 1, rc, env.error);
            REQUIRE_INT(rc, ==, LLMGPU_E_NOMEM);
            REQUIRE(*env.error);
        } else if (n == 1) {
            memcpy(expected[1], out, sizeof(out));
        } else {
            REQUIRE(memcmp(out, expected[1], sizeof(out)) == 0);
        }
        lg_session_set_lora(&use.session, first_seat, 0.5f);
        if (seat > 0)
            lg_engine_unseat_lora(&use.engine, (uint32_t)seat);
        lg_lora_destroy(second);
        lg_session_reset(&use.session);
        REQUIRE_INT(use_generate(&use.session, 40, 6, out, N_OUT), ==, 0);
        REQUIRE(memcmp(out, expected[0], sizeof(out)) == 0);
        // From the beginning, with buffers that have no room for the second.
        lg_session_set_lora(&use.session, 0, 0);
        unseat_lora(first, first_seat);
        first_seat = seat_lora(&adapters[0], &first);
        lg_session_set_lora(&use.session, first_seat, 0.5f);
    }
    printf("%llu requests fail on the way to a second adapter's answer\n", (unsigned long long)n - 2);
    REQUIRE_INT(n, >, 20);
    lg_session_set_lora(&use.session, 0, 0);
    unseat_lora(first, first_seat);
    require_nothing_left();
}

/** False when the machine has no such device. */
static bool open_device(const char *device, bool check)
{
    struct lg_device_options options = {.name = device, .n_threads = 2, .check = check};
    test_heap_env(&env, &heap, 0);
    use.env = &env;
    int rc = lg_device_open(&env, &options, &use.dev);
    if (rc < 0)
        fprintf(stderr, "%s\n", env.error);
    REQUIRE(rc == 0 || rc == LLMGPU_E_NO_DEVICE);
    return rc == 0;
}

static void close_device(void)
{
    lg_device_close(use.dev);
    REQUIRE_INT(heap.live, ==, 0);
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    if (!open_device(device, true))
        return TEST_SKIP;
    check_families();
    check_lies();
    check_seats();
    check_all_taken();
    check_limits();
    close_device();
    REQUIRE(open_device(device, false));
    check_failures();
    close_device();
    return 0;
}
