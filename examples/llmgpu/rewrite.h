/* SPDX-License-Identifier: MIT
 *
 * What the commands share that write model files: a bar on the terminal, and what became of each tensor.
 */
#ifndef CLI_REWRITE_H
#define CLI_REWRITE_H

#include "common.h"
#include "json.h"

/** A file being written. */
struct cli_rewrite {
    bool json;
    FILE *out;              // for the report
    llmgpu_quantize_params params;
    char error[1024];
    /* for the rest of it: zero */
    struct json j;
    double begin, shown;    // seconds
    bool bar;               // there is a line to be taken away
    char name[48];          // of the last tensor that is done
    uint64_t n_tensors, n_changed, n_again; // written; with other weights; of these that had been quantised already
    uint64_t from_bytes, to_bytes, n_weights;
};

/** Fills in the callbacks; Ctrl-C stops the work from here on. */
void cli_rewrite_begin(struct cli_rewrite *r, bool json, uint32_t n_threads, FILE *out);
/** Ends the report with sums, or tells why there is none. CLI_OK, CLI_FAILED or CLI_INTERRUPTED. */
int cli_rewrite_end(struct cli_rewrite *r, const char *path, int status);

#endif
