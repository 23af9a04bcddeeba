/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Data sets for training: JSONL files, read through a model's tokenizer and chat template into micro-batches. Experimental.
 *
 *     llmgpu_dataset_open(&dataset, model, paths, n_paths, &params);
 *     llmgpu_dataset_split(&validation, dataset, 0.05);
 *     while (llmgpu_dataset_next(dataset, &batch, sizeof(batch)) > 0)
 *         ...
 *
 * Each line is a JSON object, a sample in one of these shapes; other members are ignored:
 *
 *     {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}], "tools": [...]}
 *     {"prompt": "...", "completion": "..."}
 *     {"instruction": "...", "input": "...", "output": "..."}     "input" may be missing
 *     {"text": "..."}
 *     {"tokens": [1, 2, 3], "mask": [0, 1, 1]}                    "mask" may be missing: 1 where a token counts
 *
 * Messages become text by the model's chat template; prompt and completion, instruction and output are such a conversation of
 * two messages. Answers of the role "assistant" count, to the token that ends them. A text counts whole, and an end token is put
 * behind it. Tokens are taken as they are.
 *
 * Files are mapped, not read: memory is needed for 8 bytes a line, whatever the size of the lines. They must stay as they are
 * until the data set is freed.
 */
#ifndef LLMGPU_DATASET_H
#define LLMGPU_DATASET_H

#include "llmgpu/model.h"

#ifdef LLMGPU_EXPERIMENTAL

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A data set and a place in it. It keeps its model alive, of which it needs the vocabulary only.
 *
 * @par Thread-safety: one thread at a time, and no other one that uses a data set which was split from it
 */
typedef struct llmgpu_dataset llmgpu_dataset;

/** Which tokens count. */
enum llmgpu_dataset_loss {
    LLMGPU_DATASET_ANSWERS = 0, /**< those of answers, and of texts; default */
    LLMGPU_DATASET_ALL = 1,     /**< all but the first of each sample, whatever a mask says */
};

/** Parameters of llmgpu_dataset_open(). All is copied. */
typedef struct llmgpu_dataset_params {
    uint32_t size;    /**< set by llmgpu_dataset_params_init() */
    uint32_t n_ctx;   /**< rows of a sample at most, 1 .. 1048576, default 512; longer ones are cut at their end */
    uint32_t n_batch; /**< a micro-batch is at most this many times n_ctx rows, 1 .. 4096, default 1 */
    int32_t loss;     /**< an llmgpu_dataset_loss */
    int32_t pack;     /**< 1 (default): as many samples as fit share a micro-batch; 0: n_batch of them do */
    int32_t shuffle;  /**< 1 (default): each pass over the files has another order; 0: that of the files */
    int32_t strict;   /**< 1: a line that cannot be used is a failure; 0 (default): it is skipped and counted */
    int32_t plain;    /**< 1: without a template, what messages say is put one behind the other; 0 (default) */
    uint32_t n_told;  /**< lines skipped that are told to the log; default 5 */
    uint32_t n_passes; /**< over the files; 0 (default): without end */
    uint64_t seed;    /**< of the order and of what is split off; default 0 */
    const char *template_text; /**< in place of the model's template; NULL (default): the model's, or ChatML where it has none */
    size_t template_len;       /**< its bytes */
} llmgpu_dataset_params;

/**
 * Fills the defaults.
 *
 * @param params to fill
 * @param size   sizeof(llmgpu_dataset_params); see llmgpu_context_params_init()
 * @return 0 or LLMGPU_E_INVALID
 * @par Thread-safety: safe
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_dataset_params_init(llmgpu_dataset_params *params, size_t size);

/**
 * Opens files as one data set, in this order, and finds where their lines begin.
 *
 * @param out     to be freed with llmgpu_dataset_free(); NULL on failure
 * @param model   whose tokenizer and template are used
 * @param paths   of the files
 * @param n_paths how many
 * @param params  NULL: defaults
 * @return 0; LLMGPU_E_IO; LLMGPU_E_FORMAT when there is no line; LLMGPU_E_NOMEM; LLMGPU_E_TEMPLATE when
 *         `template_text` cannot be used; LLMGPU_E_INVALID. The sentence is llmgpu_model_error().
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_dataset_open(llmgpu_dataset **out, llmgpu_model *model, const char *const *paths,
                                                size_t n_paths, const llmgpu_dataset_params *params);

/**
 * Frees a data set; what was split from it stays.
 *
 * @param dataset NULL is allowed
 */
LLMGPU_EXPERIMENTAL_API void llmgpu_dataset_free(llmgpu_dataset *dataset);

/**
 * The sentence of the last failed call on this data set.
 *
 * @param dataset NULL is allowed
 * @return "" when there was none; valid until the next call on it
 */
LLMGPU_EXPERIMENTAL_API const char *llmgpu_dataset_error(const llmgpu_dataset *dataset);

/**
 * Takes a part of the lines away for validation, chosen by the seed alone. Before anything was read.
 *
 * @param out     receives these lines, once, in the order of the files; to be freed with llmgpu_dataset_free(); NULL on failure
 * @param dataset gives them from now on no more
 * @param share   of the lines, above 0 and below 1; at least one line is taken and one stays
 * @return 0; LLMGPU_E_INVALID, also when it is split already or read from; LLMGPU_E_NOMEM
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_dataset_split(llmgpu_dataset **out, llmgpu_dataset *dataset, double share);

/**
 * A micro-batch: rows of samples, one after another. The rows of a sample are contiguous and its positions ascend from 0; a row
 * attends to rows of its own sample only.
 */
typedef struct llmgpu_batch {
    uint32_t n_rows;           /**< at most n_ctx * n_batch */
    uint32_t n_samples;        /**< whose rows they are */
    uint32_t n_targets;        /**< rows whose target counts, 1 or more */
    uint32_t reserved;         /**< 0 */
    const int32_t *tokens;     /**< n_rows of them */
    const int32_t *targets;    /**< the token that should follow each; -1: it does not count */
    const uint32_t *positions; /**< of each row in its sample */
    const uint32_t *samples;   /**< of each row, 0 .. n_samples - 1, ascending */
} llmgpu_batch;

/**
 * Reads the next micro-batch.
 *
 * @param dataset where
 * @param out     to fill; the arrays are valid until the next call on the data set
 * @param size    sizeof(llmgpu_batch)
 * @return 1; 0 when n_passes are over; LLMGPU_E_FORMAT when no line can be used, or with `strict` one cannot;
 *         LLMGPU_E_TEMPLATE likewise, for the model's template; LLMGPU_E_NOMEM; LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_dataset_next(llmgpu_dataset *dataset, llmgpu_batch *out, size_t size);

/**
 * Goes back to the beginning.
 *
 * @param dataset where
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_dataset_rewind(llmgpu_dataset *dataset);

/** What was found in a data set. */
typedef struct llmgpu_dataset_stats {
    uint64_t n_lines;   /**< of its files, and of its part of them after a split; some may be empty */
    uint64_t n_samples; /**< that could be used */
    uint64_t n_bad;     /**< lines that could not */
    uint64_t n_idle;    /**< samples that were left out, having no token that counts */
    uint64_t n_cut;     /**< samples that were longer than n_ctx */
    uint64_t cut_tokens; /**< that they lost */
    uint64_t n_rows;    /**< of all samples */
    uint64_t n_targets; /**< rows whose target counts */
    uint64_t n_batches; /**< micro-batches */
    uint32_t max_rows;  /**< of the longest sample, before it was cut */
    uint32_t reserved;  /**< 0 */
} llmgpu_dataset_stats;

/**
 * Counts what has been read since the data set was opened.
 *
 * @param dataset where
 * @param out     to fill
 * @param size    sizeof(llmgpu_dataset_stats)
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_dataset_get_stats(const llmgpu_dataset *dataset, llmgpu_dataset_stats *out, size_t size);

/**
 * Reads the whole data set once and counts, without changing the place. Nothing is told to the log.
 *
 * @param dataset where
 * @param out     to fill, with the counts of one pass in the order of the first
 * @param size    sizeof(llmgpu_dataset_stats)
 * @return 0, or as llmgpu_dataset_next()
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_dataset_count(llmgpu_dataset *dataset, llmgpu_dataset_stats *out, size_t size);

/**
 * Reads one line of the files, whole.
 *
 * @param dataset  where
 * @param line     from 0, in the order of the files
 * @param tokens   receives the sample's tokens; may be NULL when `capacity` is 0
 * @param counts   receives 1 for each token that counts, else 0; as many; may be NULL
 * @param capacity of both arrays
 * @param n_tokens receives how many there are; 0 for an empty line
 * @return 0; LLMGPU_E_RANGE when the room is too small; LLMGPU_E_FORMAT or LLMGPU_E_TEMPLATE when the line cannot be used;
 *         LLMGPU_E_NOMEM; LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_dataset_get_sample(llmgpu_dataset *dataset, uint64_t line, int32_t *tokens, uint8_t *counts,
                                                      size_t capacity, size_t *n_tokens);

/**
 * Says where a line is.
 *
 * @param dataset where
 * @param line    from 0, in the order of the files
 * @param path    receives the file's path, valid until the data set is freed
 * @param number  receives the line's number in that file, from 1
 * @return 0 or LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_dataset_get_line(const llmgpu_dataset *dataset, uint64_t line, const char **path,
                                                    uint64_t *number);

/**
 * Saves the place: what comes next.
 *
 * @param dataset  where
 * @param data     receives bytes that another machine can read; may be NULL when `capacity` is 0
 * @param capacity bytes at `data`
 * @param size     receives how many there are, at most 1024
 * @return 0; LLMGPU_E_RANGE when the room is too small; LLMGPU_E_INVALID
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_dataset_save(llmgpu_dataset *dataset, void *data, size_t capacity, size_t *size);

/**
 * Goes to a place that was saved; what comes next is what would have come then.
 *
 * @param dataset of the same files, parameters and split
 * @param data    what llmgpu_dataset_save() gave
 * @param size    its bytes
 * @return 0; LLMGPU_E_FORMAT when it is no such place, or one of other data; LLMGPU_E_NOMEM; LLMGPU_E_INVALID. After a failure the
 *         place is the beginning.
 */
LLMGPU_EXPERIMENTAL_API int llmgpu_dataset_restore(llmgpu_dataset *dataset, const void *data, size_t size);

#ifdef __cplusplus
}
#endif

#endif

#endif
