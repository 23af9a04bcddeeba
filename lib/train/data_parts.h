/* SPDX-License-Identifier: MIT
 *
 * What data sets are made of. Private to lib/train.
 */
#ifndef LG_TRAIN_DATA_PARTS_H
#define LG_TRAIN_DATA_PARTS_H

#include "text/template.h"
#include "train/data.h"
#include "util/filemap.h"

/* ---- data_order.c */

enum { LG_ORDER_ROUNDS = 8 };

/** A permutation of 0 .. n - 1. A plain value. */
struct lg_order {
    uint64_t n;
    uint32_t half; // bits of half a number
    uint32_t keys[LG_ORDER_ROUNDS];
};

/** The permutation of a seed and a round; `n` is at most 2^62. */
struct lg_order lg_order_make(uint64_t n, uint64_t seed, uint64_t round);
/** What stands at a place, both below n. */
uint64_t lg_order_at(const struct lg_order *order, uint64_t place);

/* ---- data_lines.c */

enum { LG_MAX_LINE = 64 << 20 }; // bytes

struct lg_data_file {
    char *path;
    struct lg_filemap map;
    uint64_t first; // of its lines
};

struct lg_lines {
    struct lg_data_file *files;
    size_t n_files;
    uint64_t *offsets; // where each begins in its file
    uint64_t n;
};

/** Maps files and finds their lines; those of a file that ends without a line break end with it. */
int lg_lines_open(struct lg_env *env, const char *const *paths, size_t n_paths, struct lg_lines *out);
/** A zeroed value is allowed. */
void lg_lines_close(struct lg_env *env, struct lg_lines *lines);
/** A line, without its end and without a byte order mark. */
struct lg_str lg_lines_get(const struct lg_lines *lines, uint64_t line);
/** The file of a line. */
const struct lg_data_file *lg_lines_file(const struct lg_lines *lines, uint64_t line);

/* ---- data_sample.c */

/** A line as tokens. A plain value; zero it to begin. */
struct lg_sample {
    int32_t *tokens;
    uint8_t *counts; // 1: it is to be learned
    uint32_t n, cap;
};

/** How lines become samples. */
struct lg_sample_reader {
    const struct lg_vocab *vocab;
    const struct lg_template *template; // NULL: ChatML
    uint32_t n_vocab;                   // ids there are; 0: those of the vocabulary
    bool plain, all;
};

/**
 * Reads a line.
 *
 * @param out what it held is replaced; nothing is in it for an empty line
 * @return 0; LLMGPU_E_FORMAT, LLMGPU_E_TEMPLATE for a line that cannot be used; LLMGPU_E_NOMEM
 */
int lg_sample_read(struct lg_env *env, const struct lg_sample_reader *reader, struct lg_str line,
                   struct lg_sample *out);
void lg_sample_free(struct lg_env *env, struct lg_sample *sample);

/* ---- data_spans.c */

/** A part of a conversation's text. */
struct lg_span {
    size_t begin, end;
};

/**
 * Renders a conversation and finds in it the answers: what a model has to say, from where it is asked to.
 *
 * @param messages a list of dictionaries
 * @param tools    a list, or none
 * @param text     to be freed with lg_free()
 * @param spans    room for one for each message of the role "assistant", in their order
 * @return 0; LLMGPU_E_TEMPLATE, also when the template does not show where an answer is; LLMGPU_E_NOMEM
 */
int lg_find_answers(struct lg_env *env, const struct lg_sample_reader *reader, struct lg_arena *arena,
                    const struct lg_value *messages, const struct lg_value *tools, struct lg_rendering *text,
                    struct lg_span *spans);
/** Whether a message is of that role. */
bool lg_is_answer(const struct lg_value *message);

#endif
