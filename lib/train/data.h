/* SPDX-License-Identifier: MIT
 *
 * Data sets: lines of JSONL files as samples, samples as micro-batches. Independent of devices.
 *
 *   data_lines.c   the files, and where their lines begin
 *   data_sample.c  a line as tokens and what of them counts
 *   data_spans.c   where the answers are in a conversation that a template has rendered
 *   data_order.c   a permutation of any number of lines that takes no memory
 *   data.c         the place in a data set: what comes next
 *
 * Thread-safety: one thread at a time for all places in the same source.
 */
#ifndef LG_TRAIN_DATA_H
#define LG_TRAIN_DATA_H

#include <stdbool.h>

#include "text/vocab.h"
#include "train/batch.h"

enum {
    LG_DATA_MAX_CTX = 1 << 20,
    LG_DATA_MAX_BATCH = 4096,
    LG_DATA_PLACE_BYTES = 1024, // a saved place takes at most so many
};

struct lg_data_params {
    uint32_t n_ctx, n_batch;
    bool all;  // every token counts, not only answers
    bool pack; // as many samples as fit into a micro-batch, not n_batch of them
    bool shuffle;
    bool strict;       // a bad line is a failure
    bool plain;        // no template
    uint32_t n_told;   // bad lines that are told to the log
    uint32_t n_passes; // 0: without end
    uint64_t seed;
    uint32_t n_vocab;          // ids that pre-tokenised samples may have; 0: those of the vocabulary
    const char *template_text; // NULL: ChatML
    size_t template_len;
};

/** Counts, as in llmgpu_dataset_stats. */
struct lg_data_stats {
    uint64_t n_lines, n_samples, n_bad, n_idle, n_cut, cut_tokens, n_rows, n_targets, n_batches;
    uint32_t max_rows;
};

struct lg_data;

/**
 * Opens files and finds their lines.
 *
 * @param env   must outlive it, and has the sentences of its errors
 * @param vocab must outlive it
 * @return 0; LLMGPU_E_IO, LLMGPU_E_FORMAT (no line), LLMGPU_E_TEMPLATE, LLMGPU_E_NOMEM
 */
int lg_data_open(struct lg_env *env, const struct lg_vocab *vocab, const char *const *paths, size_t n_paths,
                 const struct lg_data_params *params, struct lg_data **out);
/** NULL is allowed. */
void lg_data_close(struct lg_data *data);
/**
 * Takes `share` of the lines away into another data set, which reads them once in order and has its errors in
 * `env`. LLMGPU_E_INVALID, LLMGPU_E_NOMEM.
 */
int lg_data_split(struct lg_data *data, struct lg_env *env, double share, struct lg_data **out);

/**
 * Fills an empty batch, of at least n_ctx * n_batch rows.
 *
 * @return 1; 0 when n_passes are over; LLMGPU_E_FORMAT when no line can be used; LLMGPU_E_TEMPLATE, as that
 * when `strict`; LLMGPU_E_NOMEM
 */
int lg_data_next(struct lg_data *data, struct lg_train_batch *batch);
/** To the beginning. */
void lg_data_rewind(struct lg_data *data);
/** What has been read since it was opened. */
const struct lg_data_stats *lg_data_stats(const struct lg_data *data);
/** What one pass gives. */
int lg_data_count(struct lg_data *data, struct lg_data_stats *out);

/** Rows of a batch at most. */
uint32_t lg_data_max_rows(const struct lg_data *data);

/** Lines of the files, whatever part of them this is. */
uint64_t lg_data_n_lines(const struct lg_data *data);
/** Where a line is: the file, and its number there from 1. */
const char *lg_data_where(const struct lg_data *data, uint64_t line, uint64_t *number);
/** Reads a line whole; what `out` points to is valid until the next call. 0, LLMGPU_E_FORMAT,
 * LLMGPU_E_TEMPLATE, LLMGPU_E_NOMEM. */
int lg_data_read(struct lg_data *data, uint64_t line, const int32_t **tokens, const uint8_t **counts,
                 uint32_t *n);

/** The place as bytes, at most LG_DATA_PLACE_BYTES. Returns how many. */
size_t lg_data_save(struct lg_data *data, uint8_t *out);
/** Goes to a saved place. LLMGPU_E_FORMAT when the bytes are none of this data set, LLMGPU_E_NOMEM; then it
 * is at the beginning. */
int lg_data_restore(struct lg_data *data, const uint8_t *place, size_t size);

#endif
