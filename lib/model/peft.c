/* SPDX-License-Identifier: MIT
 * Adapters as PEFT saves them: what the configuration says, and the names of tensors. */
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

#include "model/loader.h"
#include "model/lora_parts.h"
#include "model/safetensors.h"
#include "text/template.h"
#include "util/checked.h"

enum {
    MAX_CONFIG = 1 << 20,     // bytes
    CONFIG_MEMORY = 64 << 20, // of its values
};

#define MAX_ALPHA 1e9

/* ---- the configuration */

/** What it says. */
struct config {
    int64_t rank;
    bool patterned; // ranks of some modules are others
};

static int fail_key(const struct lg_lora *lora, int code, const char *key, const char *what)
{
    return lg_fail(lora->env, code, "the adapter's configuration: '%s' %s", key, what);
}

/** Missing, null, false, empty, or "none". */
static bool is_off(const struct lg_value *v)
{
    if (!v || v->kind == LG_VALUE_NONE)
        return true;
    switch (v->kind) {
    case LG_VALUE_BOOL: return !v->i;
    case LG_VALUE_LIST: return v->list->n == 0;
    case LG_VALUE_DICT: return v->dict->n == 0;
    case LG_VALUE_STRING: return lg_str_eq((struct lg_str){v->s, v->n}, "none");
    default: return false;
    }
}

/** Kinds of adapters that compute something else, or expect another base. */
static int check_kind(const struct lg_lora *lora, const struct lg_value *config)
{
    static const char *const others[] = {
        "alpha_pattern",     "bias",           "layer_replication", "lora_bias",     "modules_to_save",
        "target_parameters", "trainable_token_indices", "use_dora", "use_qalora",
    };
    static const char *const inits[] = {"eva", "gaussian", "orthogonal"};
    const struct lg_value *type = lg_value_get(config, "peft_type"), *init = lg_value_get(config, "init_lora_weights");
    if (!type || type->kind != LG_VALUE_STRING)
        return fail_key(lora, LLMGPU_E_FORMAT, "peft_type", "is no text");
    if (!lg_str_eq((struct lg_str){type->s, type->n}, "LORA"))
        return fail_key(lora, LLMGPU_E_UNSUPPORTED, "peft_type", "is not LORA");
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (!is_off(lg_value_get(config, others[i])))
            return fail_key(lora, LLMGPU_E_UNSUPPORTED, others[i], "is not supported");
    bool usual = !init || init->kind != LG_VALUE_STRING;
    for (size_t i = 0; i < sizeof(inits) / sizeof(inits[0]) && !usual; i++)
        usual = lg_str_eq((struct lg_str){init->s, init->n}, inits[i]);
    return usual ? 0 : fail_key(lora, LLMGPU_E_UNSUPPORTED, "init_lora_weights", "is one that changes the base");
}

static int read_values(struct lg_lora *lora, const struct lg_value *root, struct config *config)
{
    LG_TRY(check_kind(lora, root));
    const struct lg_value *r = lg_value_get(root, "r"), *alpha = lg_value_get(root, "lora_alpha"),
                          *stable = lg_value_get(root, "use_rslora");
    if (!r || r->kind != LG_VALUE_INT || r->i < 1 || r->i > LG_MAX_RANK)
        return fail_key(lora, LLMGPU_E_FORMAT, "r", "is no whole number of 1 .. 1024");
    if (!alpha || (alpha->kind != LG_VALUE_INT && alpha->kind != LG_VALUE_FLOAT))
        return fail_key(lora, LLMGPU_E_FORMAT, "lora_alpha", "is no number");
    double value = alpha->kind == LG_VALUE_INT ? (double)alpha->i : alpha->f;
    if (!(fabs(value) <= MAX_ALPHA))
        return fail_key(lora, LLMGPU_E_FORMAT, "lora_alpha", "is too large");
    lora->alpha = (float)value;
    if (stable && stable->kind != LG_VALUE_BOOL && stable->kind != LG_VALUE_NONE)
        return fail_key(lora, LLMGPU_E_FORMAT, "use_rslora", "is neither true nor false");
    lora->by_root = stable && stable->kind == LG_VALUE_BOOL && stable->i;
    config->rank = r->i;
    config->patterned = !is_off(lg_value_get(root, "rank_pattern"));
    return 0;
}

static int read_config(struct lg_lora *lora, const char *text, size_t size, struct config *config)
{
    struct lg_arena arena;
    struct lg_value root;
    if (size > MAX_CONFIG)
        return lg_fail(lora->env, LLMGPU_E_FORMAT, "the adapter's configuration has %zu bytes, more than %d", size,
                       MAX_CONFIG);
    lg_arena_init(&arena, lora->env, CONFIG_MEMORY);
    int rc = lg_json_parse(lora->env, &arena, size ? text : "", size, &root); // an empty file is mapped to nothing
    if (rc == 0 && root.kind != LG_VALUE_DICT)
        rc = lg_fail(lora->env, LLMGPU_E_FORMAT, "the adapter's configuration is no object");
    if (rc == 0)
        rc = read_values(lora, &root, config);
    lg_arena_finish(&arena);
    return rc;
}

/* ---- tensors */

/** What a module of a layer is; NULL when it is nothing that adapters may add to. */
static const struct lg_lora_name *find_name(const struct lg_lora *lora, struct lg_str s, uint32_t *layer)
{
    bool gpt2 = lora->model->family == &lg_arch_gpt2;
    if (!lg_lora_take_prefix(&s, "base_model.model."))
        return NULL;
    lg_lora_take_prefix(&s, gpt2 ? "transformer." : "model."); // missing where it was trained without a head
    if (!lg_lora_take_prefix(&s, gpt2 ? "h." : "layers.") || !lg_lora_take_number(&s, layer) ||
        !lg_lora_take_prefix(&s, "."))
        return NULL;
    for (size_t i = 0; i < LG_N_LORA_NAMES; i++) {
        const char *module = gpt2 ? lg_lora_names[i].gpt2 : lg_lora_names[i].peft;
        if (module && lg_str_eq(s, module))
            return &lg_lora_names[i];
    }
    return NULL;
}

/** The other half of a pair; NULL when it is missing. */
static const struct lg_gguf_tensor *find_half(const struct lg_lora *lora, const struct lg_gguf_tensor *t, size_t letter)
{
    char name[128];
    if (t->name.len > sizeof(name))
        return NULL;
    memcpy(name, t->name.ptr, t->name.len);
    name[letter] = name[letter] == 'A' ? 'B' : 'A';
    return lg_safetensors_find(lora->safetensors, (struct lg_str){name, t->name.len});
}

/** Takes a tensor; the halves are taken together, with lora_A. */
static int read_tensor(struct lg_lora *lora, const struct lg_gguf_tensor *t, const struct config *config)
{
    struct lg_str base = t->name;
    uint32_t layer = 0;
    bool is_a = lg_lora_take_suffix(&base, ".lora_A.weight");
    if (!is_a && !lg_lora_take_suffix(&base, ".lora_B.weight"))
        return lg_lora_fail(lora, LLMGPU_E_UNSUPPORTED, t, "only .lora_A.weight and .lora_B.weight are supported");
    const struct lg_lora_name *name = find_name(lora, base, &layer);
    if (!name)
        return lg_lora_fail(lora, LLMGPU_E_UNSUPPORTED, t, "adapters to this module are not supported");
    LG_TRY(lg_lora_check_target(lora, t, layer, name));
    const struct lg_gguf_tensor *other = find_half(lora, t, base.len + strlen(".lora_"));
    if (!other)
        return lg_lora_fail(lora, LLMGPU_E_FORMAT, t, "its other half is missing");
    if (!is_a)
        return 0;
    if (!config->patterned && t->dims[1] != (uint64_t)config->rank)
        return lg_lora_fail(lora, LLMGPU_E_FORMAT, t, "its rank is not the configuration's r");
    return lg_lora_add_pair(lora, t, other, layer, name, lora->model->hp.rope == LG_ROPE_PAIRS);
}

static int read_all(struct lg_lora *lora, const char *config_text, size_t config_size)
{
    struct config config = {0};
    LG_TRY(read_config(lora, config_text, config_size, &config));
    for (uint32_t i = 0; i < lora->safetensors->n_tensors; i++)
        LG_TRY(read_tensor(lora, &lora->safetensors->tensors[i], &config));
    return 0;
}

int lg_lora_load_peft(struct lg_env *env, const struct lg_model *model, struct lg_safetensors *safetensors,
                      const char *config, size_t config_size, struct lg_lora **out)
{
    struct lg_lora *lora = NULL;
    *out = NULL;
    int rc = lg_lora_create(env, model, &lora);
    if (rc < 0) {
        lg_safetensors_close(safetensors);
        return rc;
    }
    lora->safetensors = safetensors;
    return lg_lora_finish(lora, read_all(lora, config, config_size), out);
}

/* ---- files */

/** Names of the two files. */
struct paths {
    char *weights, *config; // one allocation
};

/** A folder's, or those of a file and what is beside it. */
static int find_files(struct lg_env *env, const char *path, struct paths *out)
{
    static const char weights[] = "adapter_model.safetensors", config[] = "adapter_config.json";
    struct stat st;
    bool folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    const char *slash = strrchr(path, '/');
    size_t len = strlen(path), n = folder ? len : slash ? (size_t)(slash - path) + 1 : 0, room;
    if (!lg_add_size(len, sizeof(weights) + 1, &room) || !lg_mul_size(room, 2, &room))
        return lg_fail(env, LLMGPU_E_INVALID, "the path is too long");
    out->weights = lg_alloc(env, room);
    if (!out->weights)
        return lg_fail_nomem(env, "a path", room);
    out->config = out->weights + room / 2;
    if (folder)
        snprintf(out->weights, room / 2, "%s/%s", path, weights);
    else
        memcpy(out->weights, path, len + 1);
    snprintf(out->config, room / 2, "%.*s%s%s", (int)n, path, folder ? "/" : "", config);
    return 0;
}

static int load_files(struct lg_env *env, const struct lg_model *model, const struct paths *paths, struct lg_lora **out)
{
    struct lg_safetensors *safetensors;
    struct lg_filemap config;
    LG_TRY(lg_filemap_open(env, paths->config, &config));
    int rc = lg_safetensors_open(env, paths->weights, &safetensors);
    if (rc == 0)
        rc = lg_lora_load_peft(env, model, safetensors, (const char *)config.data, config.size, out);
    lg_filemap_close(&config);
    return rc;
}

int lg_lora_load_peft_file(struct lg_env *env, const struct lg_model *model, const char *path, struct lg_lora **out)
{
    struct paths paths = {0};
    *out = NULL;
    LG_TRY(find_files(env, path, &paths));
    int rc = load_files(env, model, &paths, out);
    lg_free(env, paths.weights);
    return rc;
}
