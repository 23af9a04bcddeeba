/* SPDX-License-Identifier: MIT */
#include "model/merge.h"

#include "model/lora_parts.h"
#include "util/checked.h"

int lg_merge_open(struct lg_env *env, const char *base, const struct lg_merge_source *sources, uint32_t n,
                  struct lg_merge **out)
{
    struct lg_device_options options = {.name = "cpu", .n_threads = 1};
    struct lg_merge *merge = lg_alloc(env, sizeof(*merge));
    *out = NULL;
    if (!merge)
        return lg_fail_nomem(env, "a merger", sizeof(*merge));
    *merge = (struct lg_merge){.env = env};
    merge->loras = lg_alloc_array(env, n, sizeof(struct lg_lora *));
    merge->scales = lg_alloc_array(env, n, sizeof(float));
    int rc = 0;
    if (!merge->loras || !merge->scales)
        rc = lg_fail_nomem(env, "the list of adapters", n * sizeof(struct lg_lora *));
    if (rc == 0)
        rc = lg_device_open(env, &options, &merge->dev);
    if (rc == 0)
        rc = lg_model_load(env, merge->dev, base, false, &merge->model);
    for (; rc == 0 && merge->n < n; merge->n += rc == 0) {
        merge->scales[merge->n] = sources[merge->n].scale;
        rc = lg_lora_load(env, merge->model, sources[merge->n].path, &merge->loras[merge->n]);
    }
    if (rc < 0)
        lg_merge_close(merge);
    else
        *out = merge;
    return rc;
}

void lg_merge_close(struct lg_merge *merge)
{
    if (!merge)
        return;
    for (uint32_t i = 0; i < merge->n; i++)
        lg_lora_destroy(merge->loras[i]);
    lg_model_destroy(merge->model);
    lg_device_close(merge->dev);
    lg_free(merge->env, merge->loras);
    lg_free(merge->env, merge->scales);
    lg_free(merge->env, merge);
}

/** Decodes an adapter's part for one matrix of a tensor, which begins at row `first`. */
static int add_pair(const struct lg_merge *merge, struct lg_env *env, uint32_t i, uint32_t layer, uint32_t target,
                    uint64_t first, struct lg_merge_tensor *out)
{
    const struct lg_lora_part *part = &merge->loras[i]->parts[layer * LG_N_TARGETS + target];
    const struct lg_weight *w = lg_layer_target(&merge->model->w.layers[layer], target);
    if (part->rank == 0)
        return 0;
    size_t n_a = (size_t)part->rank * w->cols, n_b = (size_t)part->rank * w->rows; // both are in a file
    struct lg_merge_pair *pair = &out->pairs[out->n++];
    *pair = (struct lg_merge_pair){.first_row = first, .n_rows = w->rows, .rank = part->rank};
    pair->a = lg_alloc_array(env, n_a, sizeof(float));
    pair->b = lg_alloc_array(env, n_b, sizeof(float));
    if (!pair->a || !pair->b)
        return lg_fail_nomem(env, "an adapter's matrices", (n_a + n_b) * sizeof(float));
    lg_lora_decode(part, w, pair->a, pair->b);
    float factor = merge->scales[i] * lg_lora_factor(merge->loras[i], part->rank);
    for (size_t k = 0; k < n_b; k++)
        pair->b[k] *= factor;
    return 0;
}

int lg_merge_begin(const struct lg_merge *merge, struct lg_env *env, const struct lg_gguf_tensor *t,
                   struct lg_merge_tensor *out)
{
    uint32_t layer;
    const struct lg_lora_name *name = lg_lora_find_name(t->name, &layer);
    *out = (struct lg_merge_tensor){.cols = t->dims[0]};
    if (!name || layer >= merge->model->hp.n_layers || merge->n == 0)
        return 0;
    const struct lg_layer *l = &merge->model->w.layers[layer];
    if (name->first <= LG_TARGET_V && name->fused != merge->model->fused_qkv)
        return 0;
    out->pairs = lg_alloc_array(env, (size_t)merge->n * name->n, sizeof(*out->pairs));
    if (!out->pairs)
        return lg_fail_nomem(env, "the pairs of a tensor", (uint64_t)merge->n * name->n * sizeof(*out->pairs));
    int rc = 0;
    for (uint32_t i = 0; i < merge->n; i++) {
        uint64_t row = 0;
        for (uint32_t k = 0; k < name->n && rc == 0; k++) {
            rc = add_pair(merge, env, i, layer, name->first + k, row, out);
            row += lg_layer_target(l, name->first + k)->rows;
        }
    }
    if (rc < 0)
        lg_merge_end(out, env);
    return rc;
}

void lg_merge_end(struct lg_merge_tensor *t, struct lg_env *env)
{
    for (uint32_t i = 0; i < t->n; i++) {
        lg_free(env, t->pairs[i].a);
        lg_free(env, t->pairs[i].b);
    }
    lg_free(env, t->pairs);
    *t = (struct lg_merge_tensor){0};
}

/** Columns [first, first + n) of a row of the pair's. */
static void add_row(const struct lg_merge_pair *pair, uint64_t cols, uint64_t row, uint64_t first, uint64_t n, float *x)
{
    const float *b = pair->b + row * pair->rank;
    for (uint32_t r = 0; r < pair->rank; r++) {
        const float *a = pair->a + r * cols + first, f = b[r];
        for (uint64_t c = 0; c < n; c++)
            x[c] += f * a[c];
    }
}

void lg_merge_add(const struct lg_merge_tensor *t, uint64_t first, uint64_t n, float *x)
{
    for (uint64_t size; t->n && n > 0; first += size, x += size, n -= size) {
        uint64_t row = first / t->cols, col = first % t->cols;
        size = t->cols - col < n ? t->cols - col : n;
        for (uint32_t i = 0; i < t->n; i++) {
            const struct lg_merge_pair *pair = &t->pairs[i];
            if (row >= pair->first_row && row - pair->first_row < pair->n_rows)
                add_row(pair, t->cols, row - pair->first_row, col, size, x);
        }
    }
}
