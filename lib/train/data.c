/* SPDX-License-Identifier: MIT
 *
 * The place in a data set. What comes next depends on (pass, index, samples that wait) alone, so that is all
 * that a checkpoint needs.
 *
 * Packing: a micro-batch takes the oldest sample that waits, then each that still fits, and reads on until
 * WAITING of them wait that do not. The oldest always fits into an empty one, so none waits for ever.
 */
#include "train/data.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "train/data_parts.h"
#include "util/checked.h"

enum { WAITING = 32 };

/** Rounds of the permutation that chooses what is split off; passes count from 0. */
#define SPLIT_ROUND UINT64_MAX

/** What the parts of a data set share. */
struct source {
    uint32_t refs;
    struct lg_env env;
    struct lg_lines lines;
    struct lg_sample_reader reader;
    struct lg_template *template;
    struct lg_data_params params;
    struct lg_order split; // lines that stand before n_split in it are for validation
    uint64_t n_split;
};

struct waiting {
    uint64_t line;
    struct lg_sample sample; // as long as it may be
};

struct lg_data {
    struct lg_env *env;
    struct source *source;
    bool validates; // it is what was split off
    bool pack, shuffle, strict;
    uint32_t n_told, n_passes;

    uint64_t pass, index; // of the next line
    bool usable;          // some line of this pass was
    uint64_t fingerprint; // once it is
    bool known;
    struct lg_order order; // of this pass
    struct waiting waiting[WAITING];
    uint32_t n_waiting;

    struct lg_sample sample;
    struct lg_data_stats stats;
};

/* ---- opening, closing */

static void release(struct source *s)
{
    if (--s->refs > 0)
        return;
    struct lg_env env = s->env;
    lg_lines_close(&env, &s->lines);
    lg_template_destroy(s->template);
    lg_free(&env, s);
}

void lg_data_close(struct lg_data *data)
{
    if (!data)
        return;
    struct lg_env *env = data->env;
    for (uint32_t i = 0; i < WAITING; i++)
        lg_sample_free(env, &data->waiting[i].sample);
    lg_sample_free(env, &data->sample);
    release(data->source);
    lg_free(env, data);
}

static int open_source(struct lg_env *env, const struct lg_vocab *vocab, const char *const *paths,
                       size_t n_paths, const struct lg_data_params *params, struct source *s)
{
    s->params = *params;
    s->params.template_text = NULL;
    s->reader = (struct lg_sample_reader){
        .vocab = vocab, .n_vocab = params->n_vocab, .plain = params->plain, .all = params->all};
    if (params->template_text && !params->plain)
        LG_TRY(lg_template_parse(&s->env, params->template_text, params->template_len, NULL, &s->template));
    s->reader.template = s->template;
    return lg_lines_open(env, paths, n_paths, &s->lines);
}

/** A place in a source, which it holds. */
static int create(struct lg_env *env, struct source *s, struct lg_data **out)
{
    struct lg_data *data = lg_alloc(env, sizeof(*data));
    *out = data;
    if (!data)
        return lg_fail_nomem(env, "a data set", sizeof(*data));
    s->refs++;
    data->env = env;
    data->source = s;
    data->pack = s->params.pack;
    data->shuffle = s->params.shuffle;
    data->strict = s->params.strict;
    data->n_told = s->params.n_told;
    data->n_passes = s->params.n_passes;
    return 0;
}

int lg_data_open(struct lg_env *env, const struct lg_vocab *vocab, const char *const *paths, size_t n_paths,
                 const struct lg_data_params *params, struct lg_data **out)
{
    assert(params->n_ctx >= 1 && params->n_ctx <= LG_DATA_MAX_CTX);
    assert(params->n_batch >= 1 && params->n_batch <= LG_DATA_MAX_BATCH);
    *out = NULL;
    struct source *s = lg_alloc(env, sizeof(*s));
    if (!s)
        return lg_fail_nomem(env, "a data set", sizeof(*s));
    s->refs = 1;
    lg_env_child(&s->env, env);
    int rc = open_source(env, vocab, paths, n_paths, params, s);
    if (rc < 0 && s->env.error[0])
        memcpy(env->error, s->env.error, sizeof(env->error));
    if (rc == 0)
        rc = create(env, s, out);
    release(s);
    if (rc < 0)
        return rc;
    (*out)->stats.n_lines = s->lines.n;
    lg_data_rewind(*out);
    return 0;
}

int lg_data_split(struct lg_data *data, struct lg_env *env, double share, struct lg_data **out)
{
    struct source *s = data->source;
    *out = NULL;
    if (!(share > 0 && share < 1) || s->lines.n < 2)
        return lg_fail(data->env, LLMGPU_E_INVALID, "%g of %llu lines is nothing to be split off", share,
                       (unsigned long long)s->lines.n);
    if (s->n_split > 0 || data->pass || data->index)
        return lg_fail(data->env, LLMGPU_E_INVALID, "a data set is split once, and before it is read");
    LG_TRY(create(env, s, out));
    uint64_t n = (uint64_t)(share * (double)s->lines.n + 0.5);
    s->n_split = n < 1 ? 1 : n < s->lines.n ? n : s->lines.n - 1;
    s->split = lg_order_make(s->lines.n, s->params.seed, SPLIT_ROUND);
    (*out)->validates = true;
    (*out)->shuffle = false;
    (*out)->n_passes = 1;
    (*out)->stats.n_lines = s->n_split;
    data->stats.n_lines -= s->n_split;
    data->known = false;
    lg_data_rewind(*out);
    return 0;
}

/* ---- lines */

static void begin_pass(struct lg_data *data, uint64_t pass, uint64_t index)
{
    data->pass = pass;
    data->index = index;
    data->usable = false;
    data->order = lg_order_make(data->source->lines.n, data->source->params.seed, pass);
}

void lg_data_rewind(struct lg_data *data)
{
    data->n_waiting = 0;
    begin_pass(data, 0, 0);
}

/** 1 with the next line of this part; 0 when all passes are over. */
static int next_line(struct lg_data *data, uint64_t *line)
{
    const struct source *s = data->source;
    for (;;) {
        if (data->index == s->lines.n) {
            if (!data->usable)
                return lg_fail(data->env, LLMGPU_E_FORMAT, "%s: no line%s can be used",
                               s->lines.files[0].path, data->validates ? " that was split off" : "");
            if (data->n_passes > 0 && data->pass + 1 >= data->n_passes)
                return 0;
            begin_pass(data, data->pass + 1, 0);
        }
        uint64_t at = data->index++;
        *line = data->shuffle ? lg_order_at(&data->order, at) : at;
        if (s->n_split == 0 || (lg_order_at(&s->split, *line) < s->n_split) == data->validates)
            return 1;
        LG_TRY(lg_poll_at(data->env, at));
    }
}

const char *lg_data_where(const struct lg_data *data, uint64_t line, uint64_t *number)
{
    const struct lg_data_file *file = lg_lines_file(&data->source->lines, line);
    *number = line - file->first + 1;
    return file->path;
}

/** Deals with a line that cannot be used, of which the sentence says why. */
static int refuse(struct lg_data *data, uint64_t line, int rc)
{
    char why[sizeof(data->env->error)];
    uint64_t number;
    const char *path = lg_data_where(data, line, &number);
    memcpy(why, data->env->error, sizeof(why));
    if (data->strict)
        return lg_fail(data->env, rc, "%s:%llu: %s", path, (unsigned long long)number, why);
    data->env->error[0] = '\0';
    if (data->stats.n_bad < data->n_told)
        lg_log(data->env, LG_LOG_WARN, "%s:%llu: %s; the line is skipped", path, (unsigned long long)number,
               why);
    if (++data->stats.n_bad == data->n_told)
        lg_log(data->env, LG_LOG_WARN, "lines that are skipped from here on are only counted");
    return 0;
}

static int read_line(struct lg_data *data, uint64_t line, struct lg_sample *out)
{
    const struct source *s = data->source;
    return lg_sample_read(data->env, &s->reader, lg_lines_get(&s->lines, line), out);
}

/** Cuts a sample to what fits into a context, and says whether anything of it is learned. */
static bool cut(const struct lg_data *data, struct lg_sample *sample)
{
    uint32_t n_ctx = data->source->params.n_ctx;
    sample->n = lg_min_u32(sample->n, n_ctx + 1);
    for (uint32_t i = 1; i < sample->n; i++)
        if (sample->counts[i])
            return true;
    return false;
}

/** 1 with the next sample of this part; 0 when all passes are over. */
static int next_sample(struct lg_data *data, struct lg_sample *out, uint64_t *line)
{
    for (;;) {
        int rc = next_line(data, line);
        if (rc <= 0)
            return rc;
        rc = read_line(data, *line, out);
        if (rc == LLMGPU_E_FORMAT || rc == LLMGPU_E_TEMPLATE) {
            LG_TRY(refuse(data, *line, rc));
            continue;
        }
        LG_TRY(rc);
        uint32_t n = out->n;
        bool learns = cut(data, out);
        if (n == 0)
            continue;
        data->stats.max_rows = lg_max_u32(data->stats.max_rows, n - 1);
        data->stats.n_cut += out->n < n;
        data->stats.cut_tokens += n - out->n;
        data->stats.n_idle += !learns;
        if (learns) {
            data->usable = true;
            return 1;
        }
    }
}

/* ---- micro-batches */

uint32_t lg_data_max_rows(const struct lg_data *data)
{
    const struct lg_data_params *p = &data->source->params;
    size_t n = (size_t)p->n_ctx * p->n_batch;
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

static void add(struct lg_data *data, struct lg_train_batch *batch, const struct lg_sample *sample)
{
    uint32_t n = batch->n_targets;
    lg_train_batch_add(batch, sample->tokens, sample->counts, sample->n);
    data->stats.n_samples++;
    data->stats.n_rows += sample->n - 1;
    data->stats.n_targets += batch->n_targets - n;
}

/** Takes one out of those that wait; its memory goes to the end. */
static void take(struct lg_data *data, uint32_t i)
{
    struct waiting taken = data->waiting[i];
    data->n_waiting--;
    memmove(data->waiting + i, data->waiting + i + 1, (data->n_waiting - i) * sizeof(taken));
    data->waiting[data->n_waiting] = taken;
}

static int fill_packed(struct lg_data *data, struct lg_train_batch *batch)
{
    uint32_t left = lg_data_max_rows(data);
    for (uint32_t i = 0;;) {
        if (i == data->n_waiting) {
            struct waiting *last = &data->waiting[i];
            int rc = i < WAITING ? next_sample(data, &last->sample, &last->line) : 0;
            if (rc <= 0)
                return rc;
            data->n_waiting++;
        }
        const struct lg_sample *sample = &data->waiting[i].sample;
        if (sample->n - 1 > left) {
            i++;
            continue;
        }
        add(data, batch, sample);
        left -= sample->n - 1;
        take(data, i);
        if (left == 0)
            return 0;
    }
}

static int fill(struct lg_data *data, struct lg_train_batch *batch)
{
    uint64_t line;
    if (data->pack)
        return fill_packed(data, batch);
    for (uint32_t i = 0; i < data->source->params.n_batch; i++) {
        int rc = next_sample(data, &data->sample, &line);
        if (rc <= 0)
            return rc;
        add(data, batch, &data->sample);
    }
    return 0;
}

int lg_data_next(struct lg_data *data, struct lg_train_batch *batch)
{
    assert(batch->max_rows >= lg_data_max_rows(data));
    batch->n_rows = batch->n_samples = batch->n_targets = 0;
    LG_TRY(fill(data, batch));
    data->stats.n_batches += batch->n_samples > 0;
    return batch->n_samples > 0;
}

const struct lg_data_stats *lg_data_stats(const struct lg_data *data)
{
    return &data->stats;
}

int lg_data_count(struct lg_data *data, struct lg_data_stats *out)
{
    struct lg_data *other;
    struct lg_train_batch batch = {0};
    LG_TRY(create(data->env, data->source, &other));
    other->validates = data->validates;
    other->shuffle = data->shuffle;
    other->n_told = 0;
    other->n_passes = 1;
    other->stats.n_lines = data->stats.n_lines;
    lg_data_rewind(other);
    int rc = lg_train_batch_create(data->env, lg_data_max_rows(data), &batch);
    while (rc == 0 && (rc = lg_data_next(other, &batch)) > 0)
        rc = lg_poll(data->env);
    *out = other->stats;
    lg_train_batch_free(data->env, &batch);
    lg_data_close(other);
    return rc;
}

uint64_t lg_data_n_lines(const struct lg_data *data)
{
    return data->source->lines.n;
}

int lg_data_read(struct lg_data *data, uint64_t line, const int32_t **tokens, const uint8_t **counts,
                 uint32_t *n)
{
    int rc = read_line(data, line, &data->sample);
    *tokens = data->sample.tokens;
    *counts = data->sample.counts;
    *n = rc < 0 ? 0 : data->sample.n;
    return rc;
}

/* ---- places: magic; how many samples wait, and whether a line was usable; fingerprint; pass; index; lines
 * that wait */

static const char magic[8] = {'L', 'G', 'P', 'L', 'A', 'C', 'E', '1'};

enum { PLACE_HEAD = 40 };

_Static_assert(PLACE_HEAD + WAITING * 8 <= LG_DATA_PLACE_BYTES, "a place has room");

static void put_u64(uint8_t *out, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get_u64(const uint8_t *in)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v |= (uint64_t)in[i] << 8 * i;
    return v;
}

/** What makes the order and the length of samples: the places of all lines, and what was asked for. */
static uint64_t fingerprint(const struct lg_data *data)
{
    const struct source *s = data->source;
    const struct lg_data_params *p = &s->params;
    uint64_t facts[] = {s->lines.n, s->lines.n_files, p->n_ctx, p->n_batch, p->all,         p->pack,
                        p->shuffle, p->plain,         p->seed,  s->n_split, data->validates};
    uint8_t bytes[sizeof(facts)];
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++)
        put_u64(bytes + 8 * i, facts[i]);
    uint64_t hash = XXH3_64bits(bytes, sizeof(bytes));
    for (uint64_t i = 0; i < s->lines.n; i++) {
        put_u64(bytes, s->lines.offsets[i]);
        put_u64(bytes + 8, hash);
        hash = XXH3_64bits(bytes, 16);
    }
    for (size_t i = 0; i < s->lines.n_files; i++) {
        put_u64(bytes, s->lines.files[i].map.size);
        put_u64(bytes + 8, hash);
        hash = XXH3_64bits(bytes, 16);
    }
    return hash;
}

static uint64_t known_fingerprint(struct lg_data *data)
{
    if (!data->known)
        data->fingerprint = fingerprint(data);
    data->known = true;
    return data->fingerprint;
}

size_t lg_data_save(struct lg_data *data, uint8_t *out)
{
    memcpy(out, magic, sizeof(magic));
    put_u64(out + 8, data->n_waiting | (uint64_t)data->usable << 32);
    put_u64(out + 16, known_fingerprint(data));
    put_u64(out + 24, data->pass);
    put_u64(out + 32, data->index);
    for (uint32_t i = 0; i < data->n_waiting; i++)
        put_u64(out + PLACE_HEAD + 8 * (size_t)i, data->waiting[i].line);
    return PLACE_HEAD + 8 * (size_t)data->n_waiting;
}

/** Reads again a line that waited. */
static int wait_again(struct lg_data *data, uint64_t line)
{
    struct waiting *w = &data->waiting[data->n_waiting];
    w->line = line;
    if (line >= data->source->lines.n)
        return lg_fail(data->env, LLMGPU_E_FORMAT, "a place in a data set that it does not have");
    LG_TRY(read_line(data, line, &w->sample));
    if (!cut(data, &w->sample))
        return lg_fail(data->env, LLMGPU_E_FORMAT, "a place in a data set whose samples have changed");
    data->n_waiting++;
    return 0;
}

static int restore(struct lg_data *data, const uint8_t *place, size_t size)
{
    static const char what[] = "a place in a data set";
    if (size < PLACE_HEAD || memcmp(place, magic, sizeof(magic)) != 0)
        return lg_fail(data->env, LLMGPU_E_FORMAT, "this is not %s", what);
    uint64_t facts = get_u64(place + 8), pass = get_u64(place + 24), index = get_u64(place + 32);
    uint32_t n = (uint32_t)facts;
    if (n > WAITING || facts >> 33 || size != PLACE_HEAD + 8 * (size_t)n)
        return lg_fail(data->env, LLMGPU_E_FORMAT, "%s of a size that it cannot have", what);
    if (get_u64(place + 16) != known_fingerprint(data) || index > data->source->lines.n)
        return lg_fail(data->env, LLMGPU_E_FORMAT, "%s of other files or other parameters", what);
    begin_pass(data, pass, index);
    data->usable = facts >> 32;
    for (uint32_t i = 0; i < n; i++)
        LG_TRY(wait_again(data, get_u64(place + PLACE_HEAD + 8 * (size_t)i)));
    return 0;
}

int lg_data_restore(struct lg_data *data, const uint8_t *place, size_t size)
{
    lg_data_rewind(data);
    int rc = restore(data, place, size);
    if (rc < 0)
        lg_data_rewind(data);
    return rc;
}
