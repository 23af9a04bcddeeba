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

/** A way to decode. */
enum way {
    FUSED, // where the device has it
    PLAIN,
    PACKED, // in 8 bits, where the device has it
    FUSED_AS_GPU, // with the sizes that GPUs take
    PLAIN_AS_GPU,
};

static void set_way(struct lg_tuning *tune, enum way way)
{
    struct lg_tuning gpu = *tune;
    struct lg_device_info info = use.dev->info;
    tune->fused_decode &= way == FUSED || way == FUSED_AS_GPU;
    tune->fused_head = tune->fused_decode;
    tune->int8 = way == PACKED ? tune->int8 : LG_INT8_NONE;
    if (way < FUSED_AS_GPU || info.kind == LG_DEVICE_CPU)
        return;
    info.kind = LG_DEVICE_DISCRETE;
    gpu = lg_tuning_choose(&info);
    tune->matvec_wg = gpu.matvec_wg;
    tune->matvec_rows = gpu.matvec_rows;
    tune->matvec_rows_per_wg = gpu.matvec_rows_per_wg;
    tune->matvec_groups = gpu.matvec_groups;
    tune->matvec_x_rows = gpu.matvec_x_rows;
    tune->fused_wg = gpu.fused_wg;
    tune->fused_rows = gpu.fused_rows;
    tune->fused_rows_per_wg = gpu.fused_rows_per_wg;
}

static void check_way(const char *what, enum way way)
{
    static const uint32_t counts[] = {1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 32, 33};
    struct lg_pass pass = {0};
    REQUIRE_INT(use_load(&use, m.file.data, m.file.size), ==, 0);
    REQUIRE_INT(use.model->hp.n_vocab, <=, MAX_VOCAB);
    set_way(&use.engine.tune, way);
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

/** A driver that runs on a CPU takes long to compile its own sizes. */
static void check_model(const char *what, bool in_own_sizes)
{
    bool software = use.dev->info.kind == LG_DEVICE_SOFTWARE;
    model_write(&m);
    for (int way = software && !in_own_sizes ? FUSED_AS_GPU : FUSED; way <= (software ? PLAIN_AS_GPU : PACKED); way++)
        check_way(what, (enum way)way);
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
        check_model(types[i].name, types[i].type == LG_TYPE_Q8_0);
    }
}

/** Other norms and activations, widths that no vector unit would like. */
static void check_odd(void)
{
    struct model_shape shape = model_tiny("gpt2");
    model_init(&m, &shape);
    check_model("gpt2", false);
    shape = model_tiny("llama");
    shape.n_embd = 21;
    shape.n_heads = shape.n_kv = 3;
    shape.head_dim = 6;
    shape.n_ff = 37;
    model_init(&m, &shape);
    model_set(&m, "llama.rope.dimension_count", LG_GGUF_U32, 4);
    check_model("odd widths", false);
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
