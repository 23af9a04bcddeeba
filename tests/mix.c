/* SPDX-License-Identifier: MIT
 *
 * Which type each tensor has in a mix: the choices that widely used files of these names have, for models of several depths and
 * widths; and those of the files of the shared data.
 */
#include "model/mix.h"
#include "test.h"

enum shape { SHAPE_A, SHAPE_B, SHAPE_C, SHAPE_D, SHAPE_F, SHAPE_G, SHAPE_H };

static const struct {
    struct lg_mix_shape shape;
    uint64_t width, ff; // lengths of rows
} shapes[] = {
    [SHAPE_A] = {{4, 2, false}, 256, 512},
    [SHAPE_B] = {{24, 4, true}, 256, 512},
    [SHAPE_C] = {{24, 1, false}, 192, 512},
    [SHAPE_D] = {{80, 8, false}, 256, 256},
    [SHAPE_F] = {{10, 2, true}, 160, 172},
    [SHAPE_G] = {{12, 1, true}, 256, 1024},
    [SHAPE_H] = {{22, 4, false}, 256, 320},
};

/*
 * A letter for each layer, or one for all: F32 f, F16 h, BF16 b, Q4_0 0, Q4_1 1, Q5_0 p, Q5_1 q, Q8_0 8, Q2_K 2 .. Q6_K 6. The last
 * is of the token table and, where there is one, of the output matrix.
 */
static const struct {
    enum shape shape;
    const char *mix, *values, *attention_out, *down, *up, *head;
} facts[] = {
    // clang-format off
    {SHAPE_A, "Q2_K", "3", "3", "3", "2", "26"},
    {SHAPE_A, "Q3_K_S", "3", "3", "3", "3", "36"},
    {SHAPE_A, "Q3_K_M", "5544", "4", "4", "3", "36"},
    {SHAPE_A, "Q3_K_L", "5", "5", "5", "3", "36"},
    {SHAPE_A, "Q4_0", "0", "0", "0", "0", "06"},
    {SHAPE_A, "Q4_1", "1", "1", "1", "1", "16"},
    {SHAPE_A, "Q4_K_S", "5", "4", "4", "4", "46"},
    {SHAPE_A, "Q4_K_M", "4466", "4", "4466", "4", "46"},
    {SHAPE_A, "Q5_0", "p", "p", "p", "p", "p6"},
    {SHAPE_A, "Q5_1", "q", "q", "q", "q", "q6"},
    {SHAPE_A, "Q5_K_S", "5", "5", "5", "5", "56"},
    {SHAPE_A, "Q5_K_M", "5566", "5", "5566", "5", "56"},
    {SHAPE_A, "Q6_K", "6", "6", "6", "6", "66"},
    {SHAPE_A, "Q8_0", "8", "8", "8", "8", "88"},
    {SHAPE_A, "F16", "h", "h", "h", "h", "hh"},
    {SHAPE_A, "BF16", "b", "b", "b", "b", "bb"},
    {SHAPE_B, "Q2_K", "4", "3", "3", "2", "6-"},
    {SHAPE_B, "Q3_K_M", "554444444444444444444444", "4", "544444444444444444444444", "3", "6-"},
    {SHAPE_B, "Q4_0", "0", "0", "0", "0", "6-"},
    {SHAPE_B, "Q4_K_S", "555544444444444444444444", "4", "555444444444444444444444", "4", "6-"},
    {SHAPE_B, "Q4_K_M", "666446446446446446446666", "4", "666446446446446446446666", "4", "6-"},
    {SHAPE_B, "Q5_K_M", "666556556556556556556666", "5", "666556556556556556556666", "5", "6-"},
    {SHAPE_B, "Q8_0", "8", "8", "8", "8", "8-"},
    {SHAPE_C, "Q2_K", "0", "0", "3", "0", "08"},
    {SHAPE_C, "Q3_K_M", "qqpppppppppppppppppppppp", "p", "544444444444444444444444", "0", "08"},
    {SHAPE_C, "Q3_K_L", "q", "q", "5", "0", "08"},
    {SHAPE_C, "Q4_0", "0", "0", "0", "0", "08"},
    {SHAPE_C, "Q4_K_S", "qqqqpppppppppppppppppppp", "p", "555444444444444444444444", "p", "p8"},
    {SHAPE_C, "Q4_K_M", "888pp8pp8pp8pp8pp8pp8888", "p", "666446446446446446446666", "p", "p8"},
    {SHAPE_C, "Q5_K_M", "888qq8qq8qq8qq8qq8qq8888", "q", "666556556556556556556666", "q", "q8"},
    {SHAPE_C, "Q6_K", "8", "8", "6", "8", "88"},
    {SHAPE_D, "Q2_K", "5", "3", "3", "2", "26"},
    {SHAPE_D, "Q3_K_S", "5", "3", "3", "3", "36"},
    {SHAPE_F, "Q3_K_M", "qqpppppppp", "p", "h", "0", "8-"},
    {SHAPE_F, "Q4_1", "1", "1", "h", "1", "8-"},
    {SHAPE_F, "Q4_K_M", "8pp8pp8p88", "p", "h", "p", "8-"},
    {SHAPE_F, "Q8_0", "8", "8", "h", "8", "8-"},
    {SHAPE_G, "Q2_K", "3", "3", "3", "2", "6-"},
    {SHAPE_G, "Q4_K_M", "644644644666", "4", "644644644666", "4", "6-"},
    {SHAPE_G, "Q5_K_S", "5", "5", "5", "5", "6-"},
    {SHAPE_H, "Q3_K_M", "5544444444444444444444", "4", "qppppppppppppppppppppp", "3", "36"},
    {SHAPE_H, "Q4_K_S", "5555444444444444444444", "4", "qqpppppppppppppppppppp", "4", "46"},
    {SHAPE_H, "Q5_K_M", "6655655655655655655666", "5", "88qq8qq8qq8qq8qq8qq888", "5", "56"},
    // clang-format on
};

static enum lg_type type_of(char letter)
{
    static const struct {
        char letter;
        enum lg_type type;
    } letters[] = {
        {'f', LG_TYPE_F32},  {'h', LG_TYPE_F16},  {'b', LG_TYPE_BF16}, {'0', LG_TYPE_Q4_0}, {'1', LG_TYPE_Q4_1},
        {'p', LG_TYPE_Q5_0}, {'q', LG_TYPE_Q5_1}, {'8', LG_TYPE_Q8_0}, {'2', LG_TYPE_Q2_K}, {'3', LG_TYPE_Q3_K},
        {'4', LG_TYPE_Q4_K}, {'5', LG_TYPE_Q5_K}, {'6', LG_TYPE_Q6_K},
    };
    for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++)
        if (letters[i].letter == letter)
            return letters[i].type;
    REQUIRE(!"a letter");
    return LG_TYPE_F32;
}

static void check_tensor(size_t fact, const char *name, uint64_t row, char letter)
{
    const struct lg_mix *mix = lg_mix_find(facts[fact].mix);
    struct lg_gguf_tensor t = {
        .name = {name, strlen(name)}, .n_dims = 2, .dims = {row, 64, 1, 1}, .type = LG_TYPE_F32};
    REQUIRE(mix);
    enum lg_type type = lg_mix_type(mix, &shapes[facts[fact].shape].shape, &t);
    if (type == type_of(letter))
        return;
    fprintf(stderr, "%s, %u layers: %s is %s\n", mix->name, shapes[facts[fact].shape].shape.n_layers, name,
            lg_type_info(type)->name);
    exit(1);
}

static void check_layers(size_t fact, const char *name, uint64_t row, const char *letters)
{
    uint32_t n = shapes[facts[fact].shape].shape.n_layers;
    REQUIRE(strlen(letters) == 1 || strlen(letters) == n);
    for (uint32_t i = 0; i < n; i++) {
        char full[64];
        snprintf(full, sizeof(full), "blk.%u.%s.weight", i, name);
        check_tensor(fact, full, row, letters[1] ? letters[i] : letters[0]);
    }
}

static void check_facts(void)
{
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        uint64_t width = shapes[facts[i].shape].width, ff = shapes[facts[i].shape].ff;
        check_layers(i, "attn_v", width, facts[i].values);
        check_layers(i, "attn_qkv", width, facts[i].values);
        check_layers(i, "attn_output", width, facts[i].attention_out);
        check_layers(i, "ffn_down", ff, facts[i].down);
        check_layers(i, "ffn_up", width, facts[i].up);
        check_layers(i, "ffn_gate", width, facts[i].up);
        check_layers(i, "attn_q", width, facts[i].up);
        check_layers(i, "attn_k", width, facts[i].up);
        check_tensor(i, "token_embd.weight", width, facts[i].head[0]);
        if (!shapes[facts[i].shape].shape.tied)
            check_tensor(i, "output.weight", width, facts[i].head[1]);
    }
}

/** What no mix changes. */
static void check_kept(void)
{
    static const struct lg_gguf_tensor kept[] = {
        {.name = {"blk.0.attn_norm.weight", 22}, .n_dims = 1, .dims = {256, 1, 1, 1}, .type = LG_TYPE_F32},
        {.name = {"blk.0.attn_norm.weight", 22}, .n_dims = 2, .dims = {256, 2, 1, 1}, .type = LG_TYPE_F32},
        {.name = {"position_embd.weight", 20}, .n_dims = 2, .dims = {256, 64, 1, 1}, .type = LG_TYPE_F16},
        {.name = {"blk.0.attn_q.bias", 17}, .n_dims = 1, .dims = {256, 1, 1, 1}, .type = LG_TYPE_F32},
        {.name = {"rope_freqs.weight", 17}, .n_dims = 1, .dims = {32, 1, 1, 1}, .type = LG_TYPE_F32},
        {.name = {"blk.0.attn_q.weight.lora_a", 26}, .n_dims = 2, .dims = {256, 8, 1, 1}, .type = LG_TYPE_F32},
    };
    struct lg_mix_shape shape = {4, 1, false};
    const struct lg_mix *mix;
    for (uint32_t i = 0; (mix = lg_mix_at(i)); i++) {
        REQUIRE(lg_mix_find(mix->name) == mix);
        for (size_t k = 0; k < sizeof(kept) / sizeof(kept[0]); k++)
            REQUIRE_INT(lg_mix_type(mix, &shape, &kept[k]), ==, kept[k].type);
    }
    REQUIRE(lg_mix_find("q4_k_m") == lg_mix_find("Q4_K_M") && lg_mix_find("Q4_K") == lg_mix_find("Q4_K_M"));
    REQUIRE(!lg_mix_find("Q4_K_X") && !lg_mix_find("") && !lg_mix_find("IQ4_NL"));
}

/** Held against a file of a mix: its own types. */
static void check_file(const char *path, const char *mix)
{
    struct lg_env env;
    struct lg_gguf *gguf;
    struct lg_mix_shape shape;
    lg_env_init(&env);
    REQUIRE_INT(lg_gguf_open(&env, test_shared_path(path), &gguf), ==, 0);
    REQUIRE_INT(lg_mix_shape(&env, gguf, &shape), ==, 0);
    for (uint64_t i = 0; i < gguf->n_tensors; i++) {
        const struct lg_gguf_tensor *t = &gguf->tensors[i];
        enum lg_type type = lg_mix_type(lg_mix_find(mix), &shape, t);
        if (type != t->type)
            fprintf(stderr, "%s: %.*s is %s, not %s\n", path, (int)t->name.len, t->name.ptr, lg_type_info(t->type)->name,
                    lg_type_info(type)->name);
        REQUIRE(type == t->type);
    }
    uint32_t file_type = 0;
    REQUIRE(lg_gguf_get_u32(gguf, &env, "general.file_type", &file_type) == 1);
    REQUIRE_INT(file_type, ==, lg_mix_find(mix)->file_type);
    lg_gguf_close(gguf);
}

int main(void)
{
    check_facts();
    check_kept();
    if (!test_shared())
        return TEST_SKIP;
    check_file("oracle/visible/quant/mix-Q2_K.gguf", "Q2_K");
    check_file("oracle/visible/quant/mix-Q3_K_L.gguf", "Q3_K_L");
    check_file("oracle/visible/quant/mix-Q4_K_M.gguf", "Q4_K_M");
    check_file("models/stories3M-q4_k_m.gguf", "Q4_K_M");
    check_file("models/stories3M-q4_0.gguf", "Q4_0");
    check_file("models/stories3M-q8_0.gguf", "Q8_0");
    check_file("models/stories260K-q4_k_m.gguf", "Q4_K_M");
    check_file("models/stories260K-q5_0.gguf", "Q5_0");
    check_file("models/atome-vanilla-1m-q4_0.gguf", "Q4_0");
    return 0;
}
