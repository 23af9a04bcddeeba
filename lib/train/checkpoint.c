/* SPDX-License-Identifier: MIT
 *
 * A trainer on disk, in the bytes of this machine's order:
 *
 *     struct header | parameters | moments | their factors | the caller's bytes | XXH3 of all before
 *
 * It is written beside the file that it replaces and takes its name when all of it is on disk, so whoever dies on the way leaves
 * a whole one. When it is read, nothing is changed before all of it has been checked.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <string.h>

#include "train/trainer.h"
#include "util/checked.h"
#include "util/filemap.h"
#include "util/newfile.h"

enum { VERSION = 1, MAX_EXTRA = 1 << 20, PIECE = 1 << 20 };

static const char magic[8] = {'L', 'L', 'M', 'G', 'T', 'R', 'N', '\n'};

struct header {
    char magic[8];
    uint32_t version;
    uint32_t optimizer;
    uint64_t model;  // its fingerprint
    uint64_t shapes; // hash of what is trained, and how
    uint64_t n;      // numbers
    uint64_t step, n_draws, rows, work_ns, seed;
    uint64_t n_extra;
};

/** What must be the same for the same steps to follow, beside the model. */
static uint64_t hash_shapes(const struct lg_trainer *t)
{
    XXH3_state_t hash;
    const float numbers[] = {t->how.dropout, t->how.beta1, t->how.beta2, t->how.eps, t->how.momentum};
    XXH3_64bits_reset(&hash);
    XXH3_64bits_update(&hash, numbers, sizeof(numbers));
    for (uint32_t i = 0; i < t->params.n_tensors; i++) {
        const struct lg_train_tensor *p = &t->params.tensors[i];
        const uint64_t sizes[] = {p->rows, p->cols, p->at};
        XXH3_64bits_update(&hash, p->name, strlen(p->name));
        XXH3_64bits_update(&hash, sizes, sizeof(sizes));
    }
    for (size_t i = 0; t->params.pairs && i < (size_t)t->model->hp.n_layers * LG_N_TARGETS; i++)
        XXH3_64bits_update(&hash, &t->params.pairs[i].scale, sizeof(float));
    return XXH3_64bits_digest(&hash);
}

static int identify(const struct lg_trainer *t, struct header *out)
{
    *out = (struct header){
        .version = VERSION,
        .optimizer = t->how.optimizer,
        .shapes = hash_shapes(t),
        .n = t->params.n,
        .step = t->step,
        .n_draws = t->n_draws,
        .rows = t->rows,
        .work_ns = t->work_ns,
        .seed = t->how.seed,
    };
    memcpy(out->magic, magic, sizeof(magic));
    return lg_model_fingerprint(t->model, t->env, &out->model);
}

enum { N_PARTS = 4 };

/** What is on the device, in the file's order; some may be missing. */
static void list_parts(const struct lg_trainer *t, struct lg_buffer *parts[N_PARTS])
{
    const struct lg_train_state *s = &t->graph.state;
    struct lg_buffer *all[N_PARTS] = {s->params, s->m, s->v, s->factors};
    memcpy(parts, all, sizeof(all));
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

struct writer {
    struct lg_newfile file;
    XXH3_state_t hash;
};

static int put(struct writer *w, const void *data, size_t size)
{
    if (size > 0)
        XXH3_64bits_update(&w->hash, data, size);
    return lg_newfile_write(&w->file, data, size);
}

static int put_buffer(struct lg_trainer *t, struct writer *w, struct lg_buffer *buf, uint8_t *piece)
{
    for (uint64_t at = 0; at < buf->size; at += PIECE) {
        struct lg_view v = {.buf = buf, .offset = at, .size = lg_min_u64(PIECE, buf->size - at)};
        LG_TRY(lg_download(t->dev, v, piece));
        LG_TRY(put(w, piece, v.size));
    }
    return 0;
}

static int put_all(struct lg_trainer *t, struct writer *w, const struct header *header, const void *extra, uint8_t *piece)
{
    struct lg_buffer *parts[N_PARTS];
    list_parts(t, parts);
    LG_TRY(put(w, header, sizeof(*header)));
    for (uint32_t i = 0; i < N_PARTS; i++)
        if (parts[i])
            LG_TRY(put_buffer(t, w, parts[i], piece));
    LG_TRY(put(w, extra, header->n_extra));
    uint64_t hash = XXH3_64bits_digest(&w->hash);
    return lg_newfile_write(&w->file, &hash, sizeof(hash));
}

int lg_trainer_save(struct lg_trainer *t, const char *path, const void *extra, size_t n_extra)
{
    struct header header;
    struct writer w;
    if (t->run.active)
        return lg_fail(t->env, LLMGPU_E_INVALID, "a step is under way");
    if (n_extra > MAX_EXTRA)
        return lg_fail(t->env, LLMGPU_E_INVALID, "%zu bytes beside a checkpoint: at most %d", n_extra, MAX_EXTRA);
    LG_TRY(identify(t, &header));
    header.n_extra = n_extra;
    XXH3_64bits_reset(&w.hash);
    uint8_t *piece = lg_alloc(t->env, PIECE);
    if (!piece)
        return lg_fail_nomem(t->env, "a piece of a checkpoint", PIECE);
    int rc = lg_newfile_open(t->env, path, &w.file);
    if (rc == 0)
        rc = lg_newfile_close(&w.file, put_all(t, &w, &header, extra, piece));
    lg_free(t->env, piece);
    return rc;
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

static uint64_t device_bytes(const struct lg_trainer *t)
{
    struct lg_buffer *parts[N_PARTS];
    uint64_t sum = 0;
    list_parts(t, parts);
    for (uint32_t i = 0; i < N_PARTS; i++)
        sum += parts[i] ? parts[i]->size : 0;
    return sum;
}

/** Holds a file against its own words, then against this trainer. */
static int check(const struct lg_trainer *t, const struct lg_filemap *map, const char *path, struct header *header)
{
    struct header own;
    uint64_t hash;
    if (map->size < sizeof(*header) + sizeof(hash) || memcmp(map->data, magic, sizeof(magic)) != 0)
        return lg_fail(t->env, LLMGPU_E_FORMAT, "'%s' is no checkpoint", path);
    memcpy(header, map->data, sizeof(*header));
    memcpy(&hash, map->data + map->size - sizeof(hash), sizeof(hash));
    if (hash != XXH3_64bits(map->data, map->size - sizeof(hash)))
        return lg_fail(t->env, LLMGPU_E_FORMAT, "'%s' is damaged", path);
    if (header->version != VERSION)
        return lg_fail(t->env, LLMGPU_E_UNSUPPORTED, "'%s' has version %u, not %d", path, header->version, VERSION);
    LG_TRY(identify(t, &own));
    if (header->model != own.model)
        return lg_fail(t->env, LLMGPU_E_UNSUPPORTED, "'%s' is of another model", path);
    if (header->shapes != own.shapes || header->n != own.n || header->optimizer != own.optimizer || header->seed != own.seed)
        return lg_fail(t->env, LLMGPU_E_UNSUPPORTED, "'%s' is of a trainer with other parameters", path);
    if (header->n_extra > MAX_EXTRA || map->size - sizeof(*header) - sizeof(hash) != device_bytes(t) + header->n_extra)
        return lg_fail(t->env, LLMGPU_E_FORMAT, "'%s' has %zu bytes, which its parts have not", path, map->size);
    return 0;
}

static int bring_back(struct lg_trainer *t, const uint8_t *data)
{
    struct lg_buffer *parts[N_PARTS];
    list_parts(t, parts);
    for (uint32_t i = 0; i < N_PARTS; i++) {
        for (uint64_t at = 0; parts[i] && at < parts[i]->size; at += PIECE) {
            struct lg_view v = {.buf = parts[i], .offset = at, .size = lg_min_u64(PIECE, parts[i]->size - at)};
            LG_TRY(lg_upload(t->dev, v, data));
            data += v.size;
        }
    }
    return lg_device_flush(t->dev);
}

static int load(struct lg_trainer *t, const struct lg_filemap *map, const char *path, void *extra, size_t capacity,
                size_t *n_extra)
{
    struct header header;
    LG_TRY(check(t, map, path, &header));
    *n_extra = (size_t)header.n_extra;
    if (*n_extra > capacity)
        return lg_fail(t->env, LLMGPU_E_RANGE, "'%s' has %zu bytes of the caller's, and there is room for %zu", path, *n_extra,
                       capacity);
    LG_TRY(bring_back(t, map->data + sizeof(header)));
    if (*n_extra > 0)
        memcpy(extra, map->data + sizeof(header) + device_bytes(t), *n_extra);
    t->step = header.step;
    t->n_draws = header.n_draws;
    t->rows = header.rows;
    t->work_ns = header.work_ns;
    return 0;
}

int lg_trainer_load(struct lg_trainer *t, const char *path, void *extra, size_t capacity, size_t *n_extra)
{
    struct lg_filemap map;
    *n_extra = 0;
    if (t->run.active)
        return lg_fail(t->env, LLMGPU_E_INVALID, "a step is under way");
    LG_TRY(lg_filemap_open(t->env, path, &map));
    int rc = load(t, &map, path, extra, capacity, n_extra);
    lg_filemap_close(&map);
    return rc;
}
