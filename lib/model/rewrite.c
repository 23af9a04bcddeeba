/* SPDX-License-Identifier: MIT */
#include "model/rewrite.h"

#include <math.h>
#include <stdio.h>

#include "gguf/quantize.h"
#include "gguf/writer.h"
#include "model/loader.h"
#include "model/merge.h"
#include "util/checked.h"
#include "util/pool.h"

enum {
    PIECE = 1 << 14,  // weights that a thread takes at once: blocks of every type in whole numbers
    N_PIECES = 1 << 8, // that are encoded before they are written
    PART = 256,       // weights that are decoded again to be compared
    COPY = 16 << 20,  // bytes that are copied between two looks at the watch
};

static const uint64_t nowhere = UINT64_MAX;

/** What a thread finds of a piece. */
struct piece {
    double sum, error;  // of squares: of weights, and of what the type makes different
    float max_error;
    uint64_t not_finite; // index of such a weight in the tensor, or nowhere
};

struct job {
    struct lg_env *env;
    const struct lg_gguf *in;
    const struct lg_rewrite_options *options;
    struct lg_mix_shape shape;
    struct lg_newfile file;
    struct lg_gguf_writer writer;
    struct lg_pool *pool;
    float *weights;       // N_PIECES * PIECE
    uint8_t *blocks;      // of these
    struct piece *pieces; // N_PIECES
    /* the tensor at hand */
    const struct lg_gguf_tensor *from;
    enum lg_type type;
    struct lg_merge_tensor merge; // .n is 0: nothing is added
    uint64_t first, n;    // weights of it that are encoded now
};

static int fail(const struct job *job, int code, const char *what)
{
    char name[LG_GGUF_QUOTE];
    return lg_fail(job->env, code, "tensor '%s': %s", lg_gguf_quote(job->from->name, name), what);
}

/** Bytes of n weights, a whole number of blocks. */
static uint64_t bytes_of(enum lg_type type, uint64_t n)
{
    const struct lg_type_info *info = lg_type_info(type);
    return n / info->block_elements * info->block_bytes;
}

static enum lg_type type_of(const struct job *job, const struct lg_gguf_tensor *t)
{
    return job->options->mix ? lg_mix_type(job->options->mix, &job->shape, t) : t->type;
}

/* ---- a piece, on some thread */

static uint64_t find_not_finite(const float *x, uint64_t n)
{
    uint32_t sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum |= (uint32_t)!(fabsf(x[i]) <= __FLT_MAX__);
    for (uint64_t i = 0; sum && i < n; i++)
        if (!isfinite(x[i]))
            return i;
    return nowhere;
}

/** Decodes again, and compares. */
static void measure(enum lg_type type, const float *x, const uint8_t *blocks, uint64_t n, struct piece *p)
{
    float y[PART];
    for (uint64_t at = 0; at < n; at += PART) {
        uint64_t m = n - at < PART ? n - at : PART;
        float sum[8] = {0}, error[8] = {0}, top[8] = {0};
        lg_dequantize(type, blocks + bytes_of(type, at), y, m);
        for (uint64_t i = 0; i < m / 8 * 8; i += 8) {
            for (int k = 0; k < 8; k++) {
                float e = y[i + k] - x[at + i + k];
                sum[k] += x[at + i + k] * x[at + i + k];
                error[k] += e * e;
                top[k] = fabsf(e) > top[k] ? fabsf(e) : top[k];
            }
        }
        for (uint64_t i = m / 8 * 8; i < m; i++) {
            float e = y[i] - x[at + i];
            sum[i % 8] += x[at + i] * x[at + i];
            error[i % 8] += e * e;
            top[i % 8] = fmaxf(top[i % 8], fabsf(e));
        }
        for (int k = 0; k < 8; k++) {
            p->sum += (double)sum[k];
            p->error += (double)error[k];
            p->max_error = fmaxf(p->max_error, top[k]);
        }
    }
}

static void encode_pieces(void *user, uint32_t begin, uint32_t end)
{
    struct job *job = user;
    for (uint32_t i = begin; i < end; i++) {
        uint64_t at = (uint64_t)i * PIECE, n = job->n - at < PIECE ? job->n - at : PIECE;
        float *x = job->weights + at;
        uint8_t *blocks = job->blocks + bytes_of(job->type, at);
        struct piece *p = &job->pieces[i];
        lg_decode_weights(job->from->type, job->from->data + bytes_of(job->from->type, job->first + at), x, n);
        lg_merge_add(&job->merge, job->first + at, n, x);
        *p = (struct piece){.not_finite = find_not_finite(x, n)};
        if (p->not_finite != nowhere) {
            p->not_finite += job->first + at;
            continue;
        }
        lg_quantize(job->type, x, blocks, n);
        measure(job->type, x, blocks, n, p);
    }
}

/* ---- a tensor */

static int add_up(const struct job *job, uint32_t n_pieces, struct lg_rewritten *out)
{
    char what[96];
    for (uint32_t i = 0; i < n_pieces; i++) {
        const struct piece *p = &job->pieces[i];
        if (p->not_finite != nowhere) {
            snprintf(what, sizeof(what), "weight %llu is not finite", (unsigned long long)p->not_finite);
            return fail(job, LLMGPU_E_FORMAT, what);
        }
        out->rms += p->sum;
        out->rmse += p->error;
        out->max_error = fmax(out->max_error, (double)p->max_error);
    }
    if (isfinite(out->rmse))
        return 0;
    snprintf(what, sizeof(what), "its weights are too large for %s", lg_type_info(job->type)->name);
    return fail(job, LLMGPU_E_FORMAT, what);
}

static int encode(struct job *job, uint64_t n, struct lg_rewritten *out)
{
    const struct lg_gguf_tensor *t = job->from;
    if (!lg_type_has_kernels(t->type))
        return fail(job, LLMGPU_E_UNSUPPORTED, "its type cannot be decoded");
    for (job->first = 0; job->first < n; job->first += job->n) {
        uint64_t left = n - job->first, room = (uint64_t)N_PIECES * PIECE;
        job->n = left < room ? left : room;
        uint64_t at = bytes_of(t->type, job->first), size = bytes_of(t->type, job->n);
        uint32_t n_pieces = (uint32_t)((job->n + PIECE - 1) / PIECE);
        lg_gguf_lend(job->in, t->offset + at, size);
        lg_pool_run(job->pool, encode_pieces, job, n_pieces, 1);
        lg_gguf_take_back(job->in, t->offset + at, size);
        LG_TRY(add_up(job, n_pieces, out));
        LG_TRY(lg_gguf_write_data(&job->writer, job->blocks, bytes_of(job->type, job->n)));
        LG_TRY(lg_watch_add(job->env, size));
    }
    out->rms = sqrt(out->rms / (double)n);
    out->rmse = sqrt(out->rmse / (double)n);
    return 0;
}

static int copy(struct job *job)
{
    const struct lg_gguf_tensor *t = job->from;
    for (uint64_t at = 0, size; at < t->size; at += size) {
        size = t->size - at < COPY ? t->size - at : COPY;
        LG_TRY(lg_gguf_write_data(&job->writer, lg_gguf_lend(job->in, t->offset + at, size), size));
        lg_gguf_take_back(job->in, t->offset + at, size);
        LG_TRY(lg_watch_add(job->env, size));
    }
    return 0;
}

static int rewrite_tensor(struct job *job, const struct lg_gguf_tensor *t)
{
    const struct lg_rewrite_options *o = job->options;
    struct lg_rewritten out = {.from = t, .type = type_of(job, t)};
    uint64_t n = t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3]; // the reader has seen that it fits
    job->from = t;
    job->type = out.type;
    if (o->merge)
        LG_TRY(lg_merge_begin(o->merge, job->env, t, &job->merge));
    out.merged = job->merge.n > 0;
    int rc = out.merged || out.type != t->type ? encode(job, n, &out) : copy(job);
    lg_merge_end(&job->merge, job->env);
    LG_TRY(rc);
    out.size = bytes_of(out.type, n);
    if (o->report)
        o->report(o->user, &out);
    return 0;
}

/* ---- the file */

/** Metadata as it was, but for what says how it is quantised. */
static int describe(struct job *job)
{
    static const char file_type[] = "general.file_type", version[] = "general.quantization_version";
    const struct lg_gguf *in = job->in;
    const struct lg_mix *mix = job->options->mix;
    struct lg_gguf_writer *w = &job->writer;
    for (uint64_t i = 0; i < in->n_kv; i++)
        if (!mix || (!lg_str_eq(in->kv[i].key, file_type) && !lg_str_eq(in->kv[i].key, version)))
            LG_TRY(lg_gguf_put(w, &in->kv[i]));
    if (!mix)
        return 0;
    LG_TRY(lg_gguf_put_u32(w, file_type, mix->file_type));
    return lg_gguf_put_u32(w, version, 2);
}

static int list_tensors(struct job *job)
{
    for (uint64_t i = 0; i < job->in->n_tensors; i++) {
        struct lg_gguf_tensor t = job->in->tensors[i];
        t.type = type_of(job, &t);
        LG_TRY(lg_gguf_add_tensor(&job->writer, &t));
    }
    return 0;
}

static int prepare(struct job *job)
{
    struct lg_env *env = job->env;
    uint32_t n_threads = job->options->n_threads;
    const size_t n = (size_t)N_PIECES * PIECE;
    LG_TRY(lg_mix_shape(env, job->in, &job->shape));
    LG_TRY(describe(job));
    LG_TRY(list_tensors(job));
    job->weights = lg_alloc_array(env, n, sizeof(float));
    job->blocks = lg_alloc_array(env, n, sizeof(float)); // no type has more bytes
    job->pieces = lg_alloc_array(env, N_PIECES, sizeof(*job->pieces));
    if (!job->weights || !job->blocks || !job->pieces)
        return lg_fail_nomem(env, "a piece of a tensor", 2 * n * sizeof(float));
    return lg_pool_create(env, n_threads ? n_threads : lg_pool_processors(), &job->pool);
}

static int write_all(struct job *job)
{
    const struct lg_gguf *in = job->in;
    struct lg_gguf_sink sink = lg_gguf_sink_to(&job->file);
    uint64_t total = 0;
    for (uint64_t i = 0; i < in->n_tensors; i++)
        total += in->tensors[i].size; // inside the file, and none overlaps another
    lg_watch_begin(job->env, total);
    LG_TRY(lg_gguf_write_header(&job->writer, &sink));
    for (uint64_t i = 0; i < in->n_tensors; i++)
        LG_TRY(rewrite_tensor(job, &in->tensors[i]));
    LG_TRY(lg_gguf_write_end(&job->writer));
    return lg_watch_end(job->env);
}

int lg_rewrite(struct lg_env *env, const struct lg_gguf *in, const char *path, const struct lg_rewrite_options *options)
{
    struct job job = {.env = env, .in = in, .options = options};
    lg_gguf_writer_init(&job.writer, env);
    int rc = prepare(&job);
    if (rc == 0)
        rc = lg_newfile_open(env, path, &job.file);
    if (rc == 0)
        rc = lg_newfile_close(&job.file, write_all(&job));
    lg_pool_destroy(job.pool);
    lg_gguf_writer_finish(&job.writer);
    lg_free(env, job.weights);
    lg_free(env, job.blocks);
    lg_free(env, job.pieces);
    return rc;
}
