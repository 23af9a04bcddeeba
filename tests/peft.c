/* SPDX-License-Identifier: MIT
 *
 * Adapters as PEFT saves them, against the same numbers in a GGUF file; with each lie in header and configuration refused,
 * files that end anywhere, allocations that fail, and the ways in which files are found.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "gguf/quants.h"
#include "heap.h"
#include "lora_build.h"
#include "model/lora.h"
#include "model/safetensors.h"
#include "model_use.h"

enum { MAX_TEXT = 1 << 14, MAX_FILE = 1 << 19, RANK = 4 };

static struct model_build base, adapter;
static struct test_heap heap;
static struct lg_env env;
static struct use use;

/** What PEFT would save. */
static struct peft {
    char header[MAX_TEXT], config[MAX_TEXT / 4];
    uint8_t data[MAX_FILE];
    size_t data_size;
    uint8_t file[MAX_FILE + MAX_TEXT];
    size_t size;
} saved;

/* ---- making one */

static const char *module_of(const char *arch, const char *matrix)
{
    static const struct {
        const char *matrix, *usual, *gpt2;
    } names[] = {
        {"attn_qkv", NULL, "attn.c_attn"},          {"attn_q", "self_attn.q_proj", NULL},
        {"attn_k", "self_attn.k_proj", NULL},       {"attn_v", "self_attn.v_proj", NULL},
        {"attn_output", "self_attn.o_proj", "attn.c_proj"}, {"ffn_gate", "mlp.gate_proj", NULL},
        {"ffn_up", "mlp.up_proj", "mlp.c_fc"},      {"ffn_down", "mlp.down_proj", "mlp.c_proj"},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i].matrix, matrix) == 0)
            return strcmp(arch, "gpt2") == 0 ? names[i].gpt2 : names[i].usual;
    return NULL;
}

/** The rows of each head: the even ones, then the odd ones. */
static void copy_halves(const uint8_t *from, size_t row, size_t n_rows, size_t head, uint8_t *to)
{
    for (size_t first = 0; first < n_rows; first += head)
        for (size_t odd = 0; odd < 2; odd++)
            for (size_t i = odd; i < head; i += 2, to += row)
                memcpy(to, from + (first + i) * row, row);
}

/** A tensor of the GGUF file. */
static void add_tensor(const char *arch, const struct lg_gguf_tensor *t)
{
    char matrix[32], half;
    unsigned layer;
    char name[64];
    snprintf(name, sizeof(name), "%.*s", (int)t->name.len, t->name.ptr);
    REQUIRE_INT(sscanf(name, "blk.%u.%31[a-z_].weight.lora_%c", &layer, matrix, &half), ==, 3);
    const char *module = module_of(arch, matrix);
    REQUIRE(module && saved.data_size + t->size <= sizeof(saved.data));
    size_t at = strlen(saved.header);
    snprintf(saved.header + at, sizeof(saved.header) - at,
             "%s\"base_model.model.%s.%u.%s.lora_%c.weight\":{\"dtype\":\"%s\",\"shape\":[%llu,%llu],\"data_offsets\":[%zu,%zu]}",
             at > 1 ? "," : "", strcmp(arch, "gpt2") == 0 ? "transformer.h" : "model.layers", layer, module,
             half == 'a' ? 'A' : 'B', lg_type_info(t->type)->name, (unsigned long long)t->dims[1],
             (unsigned long long)t->dims[0], saved.data_size, saved.data_size + (size_t)t->size);
    bool pairs = strcmp(arch, "llama") == 0 && (strcmp(matrix, "attn_q") == 0 || strcmp(matrix, "attn_k") == 0);
    if (half == 'b' && pairs)
        copy_halves(t->data, t->size / t->dims[1], t->dims[1], use.model->hp.head_dim, saved.data + saved.data_size);
    else
        memcpy(saved.data + saved.data_size, t->data, t->size);
    saved.data_size += t->size;
}

/** The file of header and data as they are. */
static void assemble(void)
{
    uint64_t n = strlen(saved.header);
    for (int i = 0; i < 8; i++)
        saved.file[i] = (uint8_t)(n >> 8 * i);
    memcpy(saved.file + 8, saved.header, n);
    memcpy(saved.file + 8 + n, saved.data, saved.data_size);
    saved.size = 8 + n + saved.data_size;
}

/** A base, and an adapter for it in both forms. */
static void make(const char *arch, const struct lora_shape *shape)
{
    struct model_shape s = model_tiny(arch);
    struct lg_gguf *gguf;
    model_init(&base, &s);
    model_write(&base);
    REQUIRE_INT(use_load(&use, base.file.data, base.file.size), ==, 0);
    lora_write(&adapter, &base, shape, 5);
    REQUIRE_INT(lg_gguf_parse(&env, "adapter", adapter.file.data, adapter.file.size, &gguf), ==, 0);
    saved.data_size = 0;
    strcpy(saved.header, "{");
    for (uint64_t i = 0; i < gguf->n_tensors; i++)
        add_tensor(arch, &gguf->tensors[i]);
    strcat(saved.header, "}");
    lg_gguf_close(gguf);
    snprintf(saved.config, sizeof(saved.config),
             "{\"peft_type\": \"LORA\", \"r\": %u, \"lora_alpha\": %g, \"use_rslora\": false, \"bias\": \"none\", "
             "\"modules_to_save\": null, \"rank_pattern\": {}, \"alpha_pattern\": {}, \"init_lora_weights\": true}",
             shape->rank, (double)shape->alpha);
    assemble();
}

static void drop(void)
{
    use_end(&use);
    REQUIRE_INT(atomic_load(&use.dev->stats.memory_used), ==, 0);
}

static int load(struct lg_lora **out)
{
    struct lg_safetensors *st;
    *out = NULL;
    LG_TRY(lg_safetensors_parse(&env, "adapter.safetensors", saved.file, saved.size, &st));
    return lg_lora_load_peft(&env, use.model, st, saved.config, strlen(saved.config), out);
}

static void must_load(struct lg_lora **out)
{
    int rc = load(out);
    if (rc < 0)
        fprintf(stderr, "%s\n", env.error);
    REQUIRE_INT(rc, ==, 0);
}

/* ---- the same numbers */

/** What a layer comes to on the device, pairs first. */
static uint8_t *written(const struct lg_lora *lora, uint32_t layer)
{
    size_t n_pairs = LG_N_TARGETS * sizeof(struct lg_lora_pair);
    uint8_t *out = calloc(1, lora->layer_bytes + 16 * n_pairs);
    REQUIRE(out);
    lg_lora_write(lora, layer, out + 16 * n_pairs, 0, (struct lg_lora_pair *)out);
    return out;
}

static void check_same(const char *arch, const struct lora_shape *shape)
{
    struct lg_lora *lora, *expected;
    struct lg_gguf *gguf;
    make(arch, shape);
    must_load(&lora);
    REQUIRE_INT(lg_gguf_parse(&env, "adapter", adapter.file.data, adapter.file.size, &gguf), ==, 0);
    REQUIRE_INT(lg_lora_load_gguf(&env, use.model, gguf, &expected), ==, 0);
    REQUIRE_INT(lora->n_targets, ==, expected->n_targets);
    REQUIRE_INT(lora->rank, ==, shape->rank);
    REQUIRE_INT(lora->layer_bytes, ==, expected->layer_bytes);
    for (uint32_t i = 0; i < use.model->hp.n_layers; i++) {
        uint8_t *a = written(lora, i), *b = written(expected, i);
        REQUIRE(memcmp(a, b, lora->layer_bytes + 16 * LG_N_TARGETS * sizeof(struct lg_lora_pair)) == 0);
        free(a);
        free(b);
    }
    lg_lora_destroy(expected);
    lg_lora_destroy(lora);
    drop();
}

static void check_all_same(void)
{
    static const char *const archs[] = {"llama", "qwen2", "gpt2"};
    for (size_t i = 0; i < 3; i++) {
        check_same(archs[i], &(struct lora_shape){.rank = RANK, .alpha = 8});
        check_same(archs[i], &(struct lora_shape){.rank = 3, .alpha = 0.5f, .a_type = LG_TYPE_F16, .b_type = LG_TYPE_F16});
        check_same(archs[i], &(struct lora_shape){.rank = 7, .alpha = 7, .a_type = LG_TYPE_BF16, .b_type = LG_TYPE_F16});
        check_same(archs[i], &(struct lora_shape){.rank = 1, .alpha = 1, .only = "ffn_down"});
    }
}

/* ---- changes of a text */

static void replace(char *text, size_t room, const char *from, const char *to)
{
    static char rest[MAX_TEXT];
    char *at = strstr(text, from);
    if (!at)
        fprintf(stderr, "no '%s' in %s\n", from, text);
    REQUIRE(at && strlen(text) + strlen(to) < room);
    strcpy(rest, at + strlen(from));
    strcpy(at, to);
    strcat(at, rest);
}

/** What the configuration may say. */
static void check_factors(void)
{
    static const struct {
        const char *from, *to;
        float factor;
    } cases[] = {
        {"\"use_rslora\": false", "\"use_rslora\": true", 8 / 2.0f},
        {"\"use_rslora\": false", "\"use_rslora\": null", 8 / 4.0f},
        {"\"use_rslora\": false, ", "", 8 / 4.0f},
        {"\"lora_alpha\": 8", "\"lora_alpha\": 0", 0},
        {"\"lora_alpha\": 8", "\"lora_alpha\": -2.5e0", -2.5f / 4},
        {"\"r\": 4", "\"r\": 9", -1}, // no pair has it
        {"\"rank_pattern\": {}", "\"rank_pattern\": {\"q_proj\": 4}", 8 / 4.0f},
        {"\"init_lora_weights\": true", "\"init_lora_weights\": \"gaussian\"", 8 / 4.0f},
        {"\"modules_to_save\": null", "\"modules_to_save\": []", 8 / 4.0f},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lg_lora *lora;
        make("qwen2", &(struct lora_shape){.rank = RANK, .alpha = 8});
        replace(saved.config, sizeof(saved.config), cases[i].from, cases[i].to);
        int rc = load(&lora);
        REQUIRE_INT(rc, ==, cases[i].factor == -1 ? LLMGPU_E_FORMAT : 0);
        if (rc == 0) {
            uint8_t *out = written(lora, 1);
            for (int k = 0; k < LG_N_TARGETS; k++)
                REQUIRE(((struct lg_lora_pair *)out)[k].factor == cases[i].factor);
            free(out);
        }
        lg_lora_destroy(lora);
        drop();
    }
}

enum { FORMAT = LLMGPU_E_FORMAT, UNSUPPORTED = LLMGPU_E_UNSUPPORTED };

#define Q "base_model.model.model.layers.0.self_attn.q_proj"

static const struct lie {
    bool config; // of the configuration; otherwise of the header
    const char *from, *to;
    int code;
    const char *says;
} lies[] = {
    // the configuration
    {true, "{", "[", FORMAT, "JSON"},
    {true, "\"LORA\"", "\"IA3\"", UNSUPPORTED, "'peft_type' is not LORA"},
    {true, "\"LORA\"", "3", FORMAT, "'peft_type' is no text"},
    {true, "\"peft_type\": \"LORA\", ", "", FORMAT, "'peft_type'"},
    {true, "\"r\": 4", "\"r\": 0", FORMAT, "'r'"},
    {true, "\"r\": 4", "\"r\": 1025", FORMAT, "'r'"},
    {true, "\"r\": 4", "\"r\": 4.0", FORMAT, "'r'"},
    {true, "\"r\": 4", "\"r\": -4", FORMAT, "'r'"},
    {true, "\"r\": 4", "\"r\": 99999999999999999999", FORMAT, "'r'"},
    {true, "\"r\": 4", "\"r\": 5", FORMAT, "its rank is not the configuration's r"},
    {true, "\"lora_alpha\": 8", "\"lora_alpha\": \"8\"", FORMAT, "'lora_alpha' is no number"},
    {true, "\"lora_alpha\": 8", "\"lora_alpha\": 1e300", FORMAT, "'lora_alpha' is too large"},
    {true, "\"lora_alpha\": 8, ", "", FORMAT, "'lora_alpha'"},
    {true, "\"use_rslora\": false", "\"use_rslora\": 1", FORMAT, "'use_rslora'"},
    {true, "\"bias\": \"none\"", "\"bias\": \"all\"", UNSUPPORTED, "'bias' is not supported"},
    {true, "\"modules_to_save\": null", "\"modules_to_save\": [\"lm_head\"]", UNSUPPORTED, "'modules_to_save'"},
    {true, "\"alpha_pattern\": {}", "\"alpha_pattern\": {\"q_proj\": 3}", UNSUPPORTED, "'alpha_pattern'"},
    {true, "\"rank_pattern\": {}", "\"use_dora\": true", UNSUPPORTED, "'use_dora'"},
    {true, "\"init_lora_weights\": true", "\"init_lora_weights\": \"pissa_niter_4\"", UNSUPPORTED, "changes the base"},

    // names
    {false, Q ".lora_A.weight", Q ".lora_B.weightx", UNSUPPORTED, "only .lora_A.weight"},
    {false, Q ".lora_A", Q ".lora_magnitude_vector", UNSUPPORTED, "only .lora_A.weight"},
    {false, Q ".lora_A", "model.layers.0.self_attn.q_proj.lora_A", UNSUPPORTED, "adapters to this module"},
    {false, Q ".lora_A", "base_model.model.model.layers.00.self_attn.q_proj.lora_A", UNSUPPORTED, "this module"},
    {false, Q ".lora_A", "base_model.model.model.layers.9.self_attn.q_proj.lora_A", UNSUPPORTED, "the model has no such"},
    {false, Q ".lora_A", "base_model.model.model.layers.999999.self_attn.q_proj.lora_A", UNSUPPORTED, "has no such"},
    {false, Q ".lora_A", "base_model.model.transformer.h.0.attn.c_attn.lora_A", UNSUPPORTED, "this module"},
    {false, Q ".lora_A", "base_model.model.lm_head.lora_A", UNSUPPORTED, "this module"},
    {false, Q ".lora_A", "\\u001b[2J.lora_A", UNSUPPORTED, "\\x1b"},
    {false, Q ".lora_B", Q ".lora_A", FORMAT, "its other half is missing"},

    // tensors
    {false, "\"dtype\":\"F32\"", "\"dtype\":\"I8\"", UNSUPPORTED, "only F32, F16 and BF16"},
    {false, "\"dtype\":\"F32\"", "\"dtype\":\"F16\"", FORMAT, "do not fit its shape"},
    {false, "\"dtype\":\"F32\"", "\"dtype\":1", FORMAT, "its dtype is no text"},
    {false, "\"dtype\":\"F32\",", "", FORMAT, "its dtype is no text"},
    {false, "\"shape\":[4,", "\"shape\":[0,", FORMAT, "whole numbers above 0"},
    {false, "\"shape\":[4,", "\"shape\":[-4,", FORMAT, "whole numbers above 0"},
    {false, "\"shape\":[4,", "\"shape\":[4.0,", FORMAT, "whole numbers above 0"},
    {false, "\"shape\":[4,", "\"shape\":[2,2,", FORMAT, "its rank is not"},
    {false, "\"shape\":[4,", "\"shape\":[1,1,1,4,", UNSUPPORTED, "more than 4 dimensions"},
    {false, "\"shape\":[4,", "\"shape\":[9223372036854775807,", FORMAT, "its shape is too large"},
    {false, "\"shape\":[4,", "\"shape\":[4611686018427387904,4,", FORMAT, "its shape is too large"},
    {false, "\"shape\":", "\"shapes\":", FORMAT, "its shape is no list"},
    {false, "\"data_offsets\":[0,", "\"data_offsets\":[4,", FORMAT, "do not fit its shape"},
    {false, "\"data_offsets\":[0,", "\"data_offsets\":[-1,", FORMAT, "not two whole numbers"},
    {false, "\"data_offsets\":[0,", "\"data_offsets\":[0,0,", FORMAT, "not two whole numbers"},
    {false, "\"data_offsets\":[0,", "\"data_offsets\":[9999999,", FORMAT, "not inside the file"},
    {false, "\"data_offsets\":[0,", "\"data_offsets\":[0,9999", FORMAT, "not inside the file"},
    {false, "{\"dtype\"", "7,\"x\":{\"dtype\"", FORMAT, "it is no object"},
    {false, "}}", "}", FORMAT, "JSON"},
    {false, "{\"base", "[\"base", FORMAT, "JSON"},
};

static void check_lies(void)
{
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct lg_lora *lora;
        make("llama", &(struct lora_shape){.rank = RANK, .alpha = 8});
        if (lies[i].config)
            replace(saved.config, sizeof(saved.config), lies[i].from, lies[i].to);
        else
            replace(saved.header, sizeof(saved.header), lies[i].from, lies[i].to);
        assemble();
        env.error[0] = '\0';
        int rc = load(&lora);
        if (rc != lies[i].code || !strstr(env.error, lies[i].says))
            fprintf(stderr, "'%s' for '%s': %d, %s\n", lies[i].to, lies[i].from, rc, env.error);
        REQUIRE_INT(rc, ==, lies[i].code);
        REQUIRE(strstr(env.error, lies[i].says));
        drop();
    }
}

/** A file that ends anywhere, or whose length says something else. */
static void check_ends(void)
{
    struct lg_lora *lora;
    make("qwen2", &(struct lora_shape){.rank = RANK, .alpha = 8, .only = "blk.0.attn_q"});
    size_t size = saved.size, header = strlen(saved.header);
    for (saved.size = 0; saved.size < size; saved.size += saved.size < header + 16 ? 1 : 97) {
        REQUIRE_INT(load(&lora), ==, LLMGPU_E_FORMAT);
        REQUIRE(*env.error);
    }
    saved.size = size;
    static const uint64_t lengths[] = {0, 1, 1 << 20, (16 << 20) + 1, UINT64_MAX, UINT64_MAX - 7, INT64_MAX};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        memcpy(saved.file, &lengths[i], 8);
        REQUIRE_INT(load(&lora), ==, LLMGPU_E_FORMAT);
    }
    assemble();
    must_load(&lora);
    lg_lora_destroy(lora);
    drop();
}

static void check_allocations(void)
{
    struct lg_lora *lora;
    make("llama", &(struct lora_shape){.rank = RANK, .alpha = 8});
    size_t live = heap.live;
    int rc = LLMGPU_E_NOMEM;
    uint64_t n = 0;
    while (rc < 0) {
        heap.fail_at = heap.n + ++n;
        rc = load(&lora);
        heap.fail_at = 0;
        REQUIRE(rc == 0 || rc == LLMGPU_E_NOMEM);
        REQUIRE(rc == 0 || heap.live == live);
    }
    REQUIRE_INT(n, >, 5);
    lg_lora_destroy(lora);
    drop();
}

/* ---- files */

static void write_file(const char *folder, const char *name, const void *data, size_t size, char path[256])
{
    snprintf(path, 256, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    REQUIRE(file && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

static void check_files(void)
{
    char folder[] = "/tmp/llmgpu-peft-XXXXXX", weights[256], config[256], other[256];
    struct lg_lora *lora;
    REQUIRE(mkdtemp(folder));
    make("llama", &(struct lora_shape){.rank = RANK, .alpha = 8});
    write_file(folder, "adapter_model.safetensors", saved.file, saved.size, weights);
    REQUIRE_INT(lg_lora_load(&env, use.model, folder, &lora), ==, LLMGPU_E_IO);
    REQUIRE(strstr(env.error, "adapter_config.json"));
    write_file(folder, "adapter_config.json", "", 0, config);
    REQUIRE_INT(lg_lora_load(&env, use.model, folder, &lora), ==, LLMGPU_E_FORMAT);
    write_file(folder, "adapter_config.json", saved.config, strlen(saved.config), config);
    write_file(folder, "named.gguf", saved.file, saved.size, other);
    const char *paths[] = {folder, weights, other};
    for (int i = 0; i < 3; i++) {
        REQUIRE_INT(lg_lora_load(&env, use.model, paths[i], &lora), ==, 0);
        REQUIRE(lora->safetensors && lora->n_targets == 14);
        lg_lora_destroy(lora);
    }
    REQUIRE_INT(chdir(folder), ==, 0);
    REQUIRE_INT(lg_lora_load(&env, use.model, "named.gguf", &lora), ==, 0);
    lg_lora_destroy(lora);
    REQUIRE_INT(lg_lora_load(&env, use.model, ".", &lora), ==, 0);
    lg_lora_destroy(lora);
    REQUIRE_INT(chdir("/"), ==, 0);
    write_file(folder, "named.gguf", adapter.file.data, adapter.file.size, other); // is one after all
    REQUIRE_INT(lg_lora_load(&env, use.model, other, &lora), ==, 0);
    REQUIRE(lora->gguf);
    lg_lora_destroy(lora);
    unlink(weights);
    REQUIRE_INT(lg_lora_load(&env, use.model, folder, &lora), ==, LLMGPU_E_IO);
    REQUIRE(strstr(env.error, "adapter_model.safetensors"));
    unlink(config);
    unlink(other);
    rmdir(folder);
    drop();
}

int main(void)
{
    struct lg_device_options options = {.name = "cpu", .n_threads = 1};
    test_heap_env(&env, &heap, 0);
    use.env = &env;
    REQUIRE_INT(lg_device_open(&env, &options, &use.dev), ==, 0);
    check_all_same();
    check_factors();
    check_lies();
    check_ends();
    check_allocations();
    check_files();
    lg_device_close(use.dev);
    REQUIRE_INT(heap.live, ==, 0);
    return 0;
}
