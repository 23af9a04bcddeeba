/* SPDX-License-Identifier: MIT */
#include "model/lora_save.h"

#include <math.h>
#include <stdio.h>

#include "gguf/quantize.h"
#include "gguf/writer.h"
#include "model/loader.h"
#include "model/lora.h"
#include "model/lora_parts.h"
#include "util/checked.h"

enum { MAX_NAME = 96, ALIGN_HEADER = 8 };

/** A matrix of the content, with what it is. */
struct target {
    const struct lg_lora_matrix *m;
    const struct lg_lora_name *name;
    uint32_t layer;
};

static int fail(struct lg_env *env, int code, const struct lg_lora_matrix *m, const char *what)
{
    return lg_fail(env, code, "an adapter to '%.64s': %s", m->name, what);
}

/* ---- what is given */

static bool all_fit(const float *x, size_t n, bool half)
{
    float most = half ? 65504.0f : __FLT_MAX__;
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(x[i]) <= most))
            return false;
    return true;
}

static int find_target(struct lg_env *env, const struct lg_model *model, const struct lg_lora_content *c, uint32_t i,
                       struct target *out)
{
    const struct lg_lora_matrix *m = &c->matrices[i];
    *out = (struct target){.m = m};
    out->name = lg_lora_find_name((struct lg_str){m->name, strlen(m->name)}, &out->layer);
    if (!out->name || out->layer >= model->hp.n_layers ||
        (out->name->first <= LG_TARGET_V && out->name->fused != model->fused_qkv))
        return fail(env, LLMGPU_E_INVALID, m, "the model has no such matrix");
    if (m->rank < 1 || m->rank > LG_MAX_RANK || m->rows < 1 || m->cols < 1)
        return fail(env, LLMGPU_E_INVALID, m, "its shape is out of range");
    if (!all_fit(m->a, (size_t)m->rank * m->cols, c->half) || !all_fit(m->b, (size_t)m->rank * m->rows, c->half))
        return fail(env, LLMGPU_E_INVALID, m, "its numbers are not finite or too large");
    return 0;
}

static int check(struct lg_env *env, const struct lg_lora_content *c, bool one_rank)
{
    if (c->n == 0)
        return lg_fail(env, LLMGPU_E_INVALID, "an adapter without matrices");
    if (!isfinite(c->alpha) || c->alpha == 0) // readers take 0 for none, and then 1 for the factor
        return lg_fail(env, LLMGPU_E_INVALID, "an adapter's alpha is %g", (double)c->alpha);
    for (uint32_t i = 1; i < c->n && one_rank; i++)
        if (c->matrices[i].rank != c->matrices[0].rank)
            return fail(env, LLMGPU_E_UNSUPPORTED, &c->matrices[i], "its rank is not that of the others");
    return 0;
}

/* ---- numbers, row by row */

/** Where rows go: a writer's data or a file. */
struct rows {
    struct lg_env *env;
    struct lg_gguf_sink sink;
    uint8_t *row; // as it is written
    bool half;
};

static int write_row(struct rows *r, const float *x, uint32_t n)
{
    enum lg_type type = r->half ? LG_TYPE_F16 : LG_TYPE_F32;
    lg_quantize(type, x, r->row, n);
    return r->sink.write(r->sink.user, r->row, (size_t)n * lg_type_info(type)->block_bytes);
}

/** The model's row that a file by halves has at row i, where the model has pairs in each head of `head` rows. */
static uint32_t row_by_halves(uint32_t i, uint32_t head)
{
    uint32_t at = i % head, half = head / 2;
    return i - at + (at < half ? 2 * at : 2 * (at - half) + 1);
}

static int write_a(struct rows *r, const struct lg_lora_matrix *m)
{
    for (uint32_t i = 0; i < m->rank; i++)
        LG_TRY(write_row(r, m->a + (size_t)i * m->cols, m->cols));
    return 0;
}

/** @param head 0: in the model's order */
static int write_b(struct rows *r, const struct lg_lora_matrix *m, uint32_t head)
{
    for (uint32_t i = 0; i < m->rows; i++)
        LG_TRY(write_row(r, m->b + (size_t)(head ? row_by_halves(i, head) : i) * m->rank, m->rank));
    return 0;
}

static int make_row(struct rows *r, const struct lg_lora_content *c)
{
    size_t most = 1;
    for (uint32_t i = 0; i < c->n; i++) {
        const struct lg_lora_matrix *m = &c->matrices[i];
        most = m->cols > most ? m->cols : most;
        most = m->rank > most ? m->rank : most;
    }
    r->half = c->half;
    r->row = lg_alloc_array(r->env, most, sizeof(float));
    return r->row ? 0 : lg_fail_nomem(r->env, "a row of an adapter", most * sizeof(float));
}

/* ---- GGUF */

static int describe(struct lg_gguf_writer *w, const struct lg_model *model, const struct lg_lora_content *c)
{
    float root = c->by_root ? sqrtf((float)c->matrices[0].rank) : 1;
    LG_TRY(lg_gguf_put_str(w, "general.type", "adapter"));
    LG_TRY(lg_gguf_put_str(w, "general.architecture", model->arch));
    if (c->name)
        LG_TRY(lg_gguf_put_str(w, "general.name", c->name));
    LG_TRY(lg_gguf_put_u32(w, "general.file_type", c->half));
    LG_TRY(lg_gguf_put_str(w, "adapter.type", "lora"));
    LG_TRY(lg_gguf_put_f32(w, "adapter.lora.alpha", c->alpha * root));
    for (uint32_t i = 0; i < 2 * c->n; i++) {
        const struct lg_lora_matrix *m = &c->matrices[i / 2];
        char name[MAX_NAME];
        int n = snprintf(name, sizeof(name), "%s.lora_%c", m->name, i % 2 ? 'b' : 'a');
        struct lg_gguf_tensor t = {
            .name = {name, (size_t)n},
            .n_dims = 2,
            .dims = {i % 2 ? m->rank : m->cols, i % 2 ? m->rows : m->rank, 1, 1},
            .type = c->half ? LG_TYPE_F16 : LG_TYPE_F32,
        };
        LG_TRY(lg_gguf_add_tensor(w, &t));
    }
    return 0;
}

static int to_writer(void *user, const void *data, size_t size)
{
    return lg_gguf_write_data(user, data, size);
}

static int write_gguf(struct lg_gguf_writer *w, struct lg_newfile *file, const struct lg_lora_content *c)
{
    struct lg_gguf_sink sink = lg_gguf_sink_to(file);
    struct rows rows = {.env = w->env, .sink = {to_writer, w}};
    LG_TRY(lg_gguf_write_header(w, &sink));
    LG_TRY(make_row(&rows, c));
    int rc = 0;
    for (uint32_t i = 0; i < c->n && rc == 0; i++) {
        rc = write_a(&rows, &c->matrices[i]);
        if (rc == 0)
            rc = write_b(&rows, &c->matrices[i], 0);
    }
    lg_free(w->env, rows.row);
    return rc == 0 ? lg_gguf_write_end(w) : rc;
}

int lg_lora_save_gguf(struct lg_env *env, const struct lg_model *model, const struct lg_lora_content *content,
                      const char *path)
{
    struct lg_gguf_writer w;
    struct lg_newfile file;
    struct target target;
    LG_TRY(check(env, content, content->by_root));
    for (uint32_t i = 0; i < content->n; i++)
        LG_TRY(find_target(env, model, content, i, &target));
    lg_gguf_writer_init(&w, env);
    int rc = describe(&w, model, content);
    if (rc == 0)
        rc = lg_newfile_open(env, path, &file);
    if (rc == 0)
        rc = lg_newfile_close(&file, write_gguf(&w, &file, content));
    lg_gguf_writer_finish(&w);
    return rc;
}

/* ---- PEFT */

/** A text that grows; `bytes` is NULL when there was no memory. */
struct text {
    struct lg_env *env;
    char *bytes;
    size_t len, room;
};

static int __attribute__((format(printf, 2, 3))) add(struct text *t, const char *format, ...)
{
    char piece[512];
    va_list args;
    va_start(args, format);
    size_t n = (size_t)vsnprintf(piece, sizeof(piece), format, args);
    va_end(args);
    if (t->len + n + 1 > t->room) {
        size_t room = 2 * t->room + 1024;
        char *grown = lg_resize(t->env, t->bytes, room);
        if (!grown)
            return lg_fail_nomem(t->env, "the header of an adapter", room);
        t->bytes = grown;
        t->room = room;
    }
    memcpy(t->bytes + t->len, piece, n + 1);
    t->len += n;
    return 0;
}

static const char *module_of(const struct lg_model *model, const struct target *t)
{
    return model->family == &lg_arch_gpt2 ? t->name->gpt2 : t->name->peft;
}

static int find_module(struct lg_env *env, const struct lg_model *model, const struct lg_lora_content *c, uint32_t i,
                       struct target *out)
{
    LG_TRY(find_target(env, model, c, i, out));
    if (!module_of(model, out))
        return fail(env, LLMGPU_E_INVALID, out->m, "the model has no such matrix");
    return 0;
}

/** The header of the safetensors, with spaces behind it. */
static int write_header(struct text *t, const struct lg_model *model, const struct lg_lora_content *c)
{
    bool gpt2 = model->family == &lg_arch_gpt2;
    struct target target;
    uint64_t at = 0, size = c->half ? 2 : 4;
    LG_TRY(add(t, "{\"__metadata__\":{\"format\":\"pt\"}"));
    for (uint32_t i = 0; i < 2 * c->n; i++) {
        const struct lg_lora_matrix *m = &c->matrices[i / 2];
        uint32_t rows = i % 2 ? m->rows : m->rank, cols = i % 2 ? m->rank : m->cols;
        uint64_t end = at + (uint64_t)rows * cols * size;
        LG_TRY(find_module(t->env, model, c, i / 2, &target));
        LG_TRY(add(t, ",\"base_model.model.%s.%u.%s.lora_%c.weight\":{\"dtype\":\"%s\",\"shape\":[%u,%u],"
                      "\"data_offsets\":[%llu,%llu]}",
                   gpt2 ? "transformer.h" : "model.layers", target.layer, module_of(model, &target), i % 2 ? 'B' : 'A',
                   c->half ? "F16" : "F32", rows, cols, (unsigned long long)at, (unsigned long long)end));
        at = end;
    }
    LG_TRY(add(t, "}"));
    while (t->len % ALIGN_HEADER)
        LG_TRY(add(t, " "));
    return 0;
}

/** The last part of a module's name, such as "q_proj". */
static const char *short_name(const char *module)
{
    const char *dot = strrchr(module, '.');
    return dot ? dot + 1 : module;
}

static int write_config(struct text *t, const struct lg_model *model, const struct lg_lora_content *c)
{
    const char *seen[LG_N_LORA_NAMES] = {0};
    struct target target;
    uint32_t n = 0;
    LG_TRY(add(t, "{\n  \"peft_type\": \"LORA\",\n  \"task_type\": \"CAUSAL_LM\",\n  \"base_model_name_or_path\": null,\n"));
    LG_TRY(add(t, "  \"r\": %u,\n  \"lora_alpha\": %.9g,\n  \"use_rslora\": %s,\n  \"lora_dropout\": 0.0,\n",
               c->matrices[0].rank, (double)c->alpha, c->by_root ? "true" : "false"));
    LG_TRY(add(t, "  \"bias\": \"none\",\n  \"fan_in_fan_out\": %s,\n  \"init_lora_weights\": true,\n",
               model->family == &lg_arch_gpt2 ? "true" : "false"));
    LG_TRY(add(t, "  \"inference_mode\": true,\n  \"target_modules\": ["));
    for (uint32_t i = 0; i < c->n; i++) {
        LG_TRY(find_module(t->env, model, c, i, &target));
        // gpt2 has two modules of one short name, so there the longer one is given
        const char *module = module_of(model, &target);
        const char *name = model->family == &lg_arch_gpt2 ? module : short_name(module);
        uint32_t k = 0;
        while (k < n && strcmp(seen[k], name) != 0)
            k++;
        if (k < n)
            continue;
        LG_TRY(add(t, "%s\"%s\"", n ? ", " : "", name));
        seen[n++] = name;
    }
    return add(t, "]\n}\n");
}

static int write_tensors(struct lg_newfile *file, const struct lg_model *model, const struct lg_lora_content *c,
                         const struct text *header)
{
    struct rows rows = {.env = file->env, .sink = lg_gguf_sink_to(file)};
    struct target target;
    uint8_t length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)header->len >> 8 * i);
    LG_TRY(lg_newfile_write(file, length, sizeof(length)));
    LG_TRY(lg_newfile_write(file, header->bytes, header->len));
    LG_TRY(make_row(&rows, c));
    int rc = 0;
    for (uint32_t i = 0; i < c->n && rc == 0; i++) {
        rc = find_module(file->env, model, c, i, &target);
        bool pairs = rc == 0 && model->hp.rope == LG_ROPE_PAIRS && target.name->first <= LG_TARGET_K;
        if (rc == 0)
            rc = write_a(&rows, target.m);
        if (rc == 0)
            rc = write_b(&rows, target.m, pairs ? model->hp.head_dim : 0);
    }
    lg_free(file->env, rows.row);
    return rc;
}

static int write_files(struct lg_env *env, const struct lg_model *model, const struct lg_lora_content *c, char *path,
                       size_t room, const char *folder)
{
    struct text header = {.env = env}, config = {.env = env};
    struct lg_newfile file;
    int rc = write_header(&header, model, c);
    if (rc == 0)
        rc = write_config(&config, model, c);
    snprintf(path, room, "%s/adapter_model.safetensors", folder);
    lg_newfile_folders(path);
    if (rc == 0)
        rc = lg_newfile_open(env, path, &file);
    if (rc == 0)
        rc = lg_newfile_close(&file, write_tensors(&file, model, c, &header));
    snprintf(path, room, "%s/adapter_config.json", folder);
    if (rc == 0)
        rc = lg_newfile_open(env, path, &file);
    if (rc == 0)
        rc = lg_newfile_close(&file, lg_newfile_write(&file, config.bytes, config.len));
    lg_free(env, header.bytes);
    lg_free(env, config.bytes);
    return rc;
}

int lg_lora_save_peft(struct lg_env *env, const struct lg_model *model, const struct lg_lora_content *content,
                      const char *folder)
{
    size_t room = strlen(folder) + sizeof("/adapter_model.safetensors");
    LG_TRY(check(env, content, true));
    char *path = lg_alloc(env, room);
    if (!path)
        return lg_fail_nomem(env, "a path", room);
    int rc = write_files(env, model, content, path, room, folder);
    lg_free(env, path);
    return rc;
}
