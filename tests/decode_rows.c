/* SPDX-License-Identifier: MIT
 *
 * Decoding for several sessions in one pass, on the device that the first argument names: each row's logits are those
 * that it has in a pass of its own, bit for bit.
 */
#include "decode_rows.h"

enum { MAX_ROWS = 33, N_POS = 3, MAX_VOCAB = 512 };

static struct model_build m;
static struct lg_env env;
static struct use use;
static float alone[N_POS][MAX_ROWS][MAX_VOCAB], together[MAX_ROWS * MAX_VOCAB];

static uint32_t token_of(uint32_t row, uint32_t pos)
{
    return (7 + 31 * row + 101 * pos) % use.model->hp.n_vocab;
}

static void set_row(uint32_t i, uint32_t row, uint32_t pos)
{
    rows_set(&use.engine, i, row, token_of(row, pos), pos);
}

static void read_logits(const struct lg_pass *pass, uint32_t n, float *out)
{
    struct lg_view logits = pass->views.logits;
    logits.size = (uint64_t)n * use.model->hp.n_vocab * sizeof(float);
    REQUIRE_INT(lg_download(use.dev, logits, out), ==, 0);
}

static void run_alone(struct lg_pass *pass)
{
    for (uint32_t pos = 0; pos < N_POS; pos++)
        for (uint32_t row = 0; row < MAX_ROWS; row++) {
            set_row(0, row, pos);
            rows_run(&use.engine, pass, 1);
            read_logits(pass, 1, alone[pos][row]);
        }
}

/** The same again, n rows at once. */
static void run_together(const char *what, struct lg_pass *pass, uint32_t n)
{
    uint32_t n_vocab = use.model->hp.n_vocab, n_other = 0;
    for (uint32_t pos = 0; pos < N_POS; pos++) {
        for (uint32_t i = 0; i < n; i++)
            set_row(i, MAX_ROWS - n + i, pos);
        rows_run(&use.engine, pass, n);
        read_logits(pass, n, together);
        for (uint32_t i = 0; i < n; i++)
            n_other += memcmp(together + (size_t)i * n_vocab, alone[pos][MAX_ROWS - n + i], n_vocab * sizeof(float)) != 0;
    }
    if (n_other)
        fprintf(stderr, "%s: of %u rows at once, %u have other logits than alone\n", what, n, n_other);
    REQUIRE_INT(n_other, ==, 0);
}

/** One way to decode, of those that the device has. */
static void check_way(const char *what, bool fused, enum lg_int8 int8)
{
    static const uint32_t counts[] = {1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 32, 33};
    struct lg_pass pass = {0};
    REQUIRE_INT(use_load(&use, m.file.data, m.file.size), ==, 0);
    REQUIRE_INT(use.model->hp.n_vocab, <=, MAX_VOCAB);
    use.engine.tune.fused_decode &= fused;
    use.engine.tune.fused_head = use.engine.tune.fused_decode;
    use.engine.tune.int8 = int8 < use.engine.tune.int8 ? int8 : use.engine.tune.int8;
    rows_start(&use.engine, MAX_ROWS, N_POS);
    REQUIRE_INT(lg_pass_build(&use.engine, &pass, NULL, LG_DECODE, LG_TAIL_SAMPLE, MAX_ROWS), ==, 0);
    run_alone(&pass);
    REQUIRE(memcmp(alone[1][0], alone[1][1], sizeof(alone[1][0])) != 0);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        run_together(what, &pass, counts[i]);
    lg_pass_finish(&pass);
    use_end(&use);
    REQUIRE_INT(use.dev->check_messages, ==, 0);
}

static void check_model(const char *what)
{
    model_write(&m);
    check_way(what, true, LG_INT8_NONE);
    check_way(what, false, LG_INT8_ALL);
}

static void check_types(void)
{
    static const struct {
        enum lg_type type;
        const char *name;
    } types[] = {{LG_TYPE_F32, "f32"}, {LG_TYPE_F16, "f16"}, {LG_TYPE_Q8_0, "q8_0"}, {LG_TYPE_Q5_0, "q5_0"}, {LG_TYPE_Q4_K, "q4_k"}};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        struct model_shape shape = model_tiny("qwen2");
        shape.type = types[i].type;
        shape.untied = true;
        if (types[i].type == LG_TYPE_Q4_K) {
            shape.n_embd = 256;
            shape.n_ff = 512;
        }
        model_init(&m, &shape);
        check_model(types[i].name);
    }
}

/** Other norms and activations, widths that no vector unit would like. */
static void check_odd(void)
{
    struct model_shape shape = model_tiny("gpt2");
    model_init(&m, &shape);
    check_model("gpt2");
    shape = model_tiny("llama");
    shape.n_embd = 21;
    shape.n_heads = shape.n_kv = 3;
    shape.head_dim = 6;
    shape.n_ff = 37;
    model_init(&m, &shape);
    model_set(&m, "llama.rope.dimension_count", LG_GGUF_U32, 4);
    check_model("odd widths");
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
    check_types();
    check_odd();
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
